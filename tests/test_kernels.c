/* Every slot of every level against plain C, by memcmp: promise 2 at its root.
 *
 * Data are random and pathological (zero and huge scales, -128, all equal); lengths cover every tail; weights, inputs and
 * outputs lie against guard pages, so that one byte read or written outside ends the test. */
#include <check.h>
#include <stdbool.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../kernels/kernels.h"
#include "../kernels/vmath.h"
#include "support/suite.h"

static uint64_t seed = 1;

static uint32_t random_u32(void) { /* splitmix64 */
    uint64_t z = seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 16);
}

static float random_float(void) { return ((float)(random_u32() >> 8) - 8388608.0f) / 4194304.0f; }

/* ---- Memory that ends (or begins) at a page that must not be touched ---- */

typedef struct guarded {
    uint8_t *map;
    size_t map_bytes;
    void *data;
} guarded;

static guarded guarded_new(size_t n, int at_begin) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (n + page) / page * page;
    guarded g = {.map_bytes = inner + 2 * page};
    g.map = mmap(NULL, g.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(g.map, MAP_FAILED);
    ck_assert_int_eq(mprotect(g.map, page, PROT_NONE), 0);
    ck_assert_int_eq(mprotect(g.map + page + inner, page, PROT_NONE), 0);
    g.data = at_begin ? g.map + page : g.map + page + inner - n;
    return g;
}

static void guarded_free(guarded g) { munmap(g.map, g.map_bytes); }

/* ---- Random weights of a type: any bytes, with the scales made finite and of both extremes ---- */

enum { PLAIN, ZERO_SCALE, HUGE_SCALE, ALL_ONES, ALL_LOWEST, N_KINDS };

static slm_f16 random_scale(int kind) {
    if (kind == ZERO_SCALE) return 0;
    if (kind == HUGE_SCALE) return (slm_f16)(random_u32() & 1 ? 0x7bff : 0xfbff);
    return (slm_f16)((random_u32() & 0x8fff) | 0x2000);
}

static void random_block(slm_type type, int kind, uint8_t *out) {
    size_t n = slm__type_info[type].block_bytes;
    for (size_t i = 0; i < n; i++)
        out[i] = kind == ALL_ONES ? 0xff : kind == ALL_LOWEST ? 0x80 : (uint8_t)random_u32();
    float f = random_float();
    slm_f16 d = random_scale(kind), m = random_scale(kind), h = slm__to_f16(f);
    slm_bf16 b = (slm_bf16)(slm__bits(f) >> 16);
    switch (type) {
    case SLM_F32: memcpy(out, &f, 4); break;
    case SLM_F16: memcpy(out, &h, 2); break;
    case SLM_BF16: memcpy(out, &b, 2); break;
    case SLM_Q4_1:
    case SLM_Q5_1:
    case SLM_Q4_K:
    case SLM_Q5_K: memcpy(out + 2, &m, 2); /* fall through */
    case SLM_Q4_0:
    case SLM_Q5_0:
    case SLM_Q8_0:
    case SLM_IQ4_NL:
    case SLM_IQ4_XS: memcpy(out, &d, 2); break;
    case SLM_Q2_K: memcpy(out + n - 4, &d, 2), memcpy(out + n - 2, &m, 2); break;
    case SLM_Q3_K:
    case SLM_Q6_K: memcpy(out + n - 2, &d, 2); break;
    case SLM_MXFP4:
        out[0] = kind == ZERO_SCALE   ? 0
                 : kind == HUGE_SCALE ? 200
                                      : (uint8_t)(110 + random_u32() % 30);
        break;
    case SLM_N_TYPES: break;
    }
}

static void random_rows(slm_type type, int kind, size_t n_blocks, uint8_t *out) {
    for (size_t i = 0; i < n_blocks; i++)
        random_block(type, kind, out + i * slm__type_info[type].block_bytes);
}

/* ---- Activations ---- */

static const slm_kernels *plain(void) { return slm__kernels_level(0); }

/* Room for wide ones, too. Every third token, or the last of fewer, has one magnitude only, so that all its integers are the largest: in
 * one block of three positive, in one negative. */
static slm_acts acts_new(int32_t n, int32_t n_tokens) {
    size_t nb = (size_t)slm__n_blocks_stored(n) * (size_t)n_tokens * 2;
    slm_acts a = {.n = n};
    a.x = malloc((size_t)n * (size_t)n_tokens * sizeof(float));
    a.q = malloc(nb * SLM_QBLOCK);
    a.d = malloc(nb * sizeof *a.d);
    a.sum = malloc(nb * sizeof *a.sum);
    a.half = malloc(nb * 2 * sizeof *a.half);
    for (int32_t i = 0; i < n * n_tokens; i++)
        a.x[i] = random_float() * (i % 97 == 0 ? 50.0f : 1.0f);
    for (int32_t t = n_tokens < 3 ? n_tokens - 1 : 2; t < n_tokens; t += 3) {
        for (int32_t i = 0; i < n; i++) {
            int kind = i / SLM_QBLOCK % 3;
            a.x[t * n + i] = kind == 0 || (kind == 2 && random_u32() % 2) ? 0.7f : -0.7f;
        }
    }
    return a;
}

static void quantize_all(slm_acts *a, bool wide, int32_t n_tokens) {
    a->wide = wide;
    for (int32_t t = 0; t < n_tokens; t++) (wide ? slm__quantize_wide : plain()->quantize)(a, t);
}

static void acts_free(slm_acts a) { free(a.x), free(a.q), free(a.d), free(a.sum), free(a.half); }

#define FOR_EACH_LEVEL(k)                          \
    for (int32_t level_ = 1; level_ < 8; level_++) \
        for (const slm_kernels *k = slm__kernels_level(level_); k; k = NULL)

/* ---- Tests ---- */

START_TEST(test_levels_have_names_and_all_slots) {
    ck_assert_str_eq(plain()->name, "c");
    ck_assert_ptr_null(slm__kernels_named("no such level"));
    ck_assert_ptr_nonnull(slm__kernels_named(NULL));
    const char *wanted = getenv("WANTED_LEVEL"); /* of an emulator, which is to have all (run.sh) */
    if (wanted) ck_assert_msg(slm__kernels_named(wanted) != NULL, "no level %s here", wanted);
    for (int32_t i = 0; slm__kernels_level(i); i++) {
        const slm_kernels *k = slm__kernels_level(i);
        ck_assert_ptr_eq(slm__kernels_named(k->name), k);
        for (int t = 0; t < SLM_N_TYPES; t++) ck_assert(k->dequantize[t] && k->matmul[t]);
        for (int s = 0; s < SLM_N_STORES; s++) ck_assert(k->attn_page[s]);
        ck_assert(k->quantize && k->search && k->rms_norm && k->silu_mul && k->add && k->to_f16 &&
                  k->attn_merge);
    }
}
END_TEST

START_TEST(test_dequantize_equal_bits) {
    slm_type type = (slm_type)_i;
    const slm_type_info *info = &slm__type_info[type];
    for (int kind = 0; kind < N_KINDS; kind++) {
        for (int32_t blocks = 1; blocks <= 37; blocks += info->block_weights == 1 ? 1 : 3) {
            int64_t n = (int64_t)blocks * info->block_weights;
            guarded w = guarded_new((size_t)blocks * info->block_bytes, blocks & 1);
            guarded got = guarded_new((size_t)n * sizeof(float), 0);
            float *want = malloc((size_t)n * sizeof(float));
            random_rows(type, kind, (size_t)blocks, w.data);
            plain()->dequantize[type](w.data, n, want);
            FOR_EACH_LEVEL(k) {
                k->dequantize[type](w.data, n, got.data);
                ck_assert_msg(memcmp(want, got.data, (size_t)n * sizeof(float)) == 0,
                              "%s %s kind %d", k->name, info->name, kind);
            }
            free(want);
            guarded_free(w), guarded_free(got);
        }
    }
}
END_TEST

/* All levels against plain C, with activations as m has them. */
static void check_levels(const slm_matmul *m, slm_type type, int kind, void *got, void *scratch) {
    int32_t n_rows = m->n_out;
    size_t n_bytes = (size_t)(n_rows * m->n_tokens) * sizeof(float);
    plain()->matmul[type](m, 0, n_rows, scratch);
    slm_matmul to_got = *m;
    to_got.out = got;
    FOR_EACH_LEVEL(k) {
        memset(got, 0xee, n_bytes);
        int32_t first = n_rows / 3; /* in two parts: the border of a strip is nobody's business */
        k->matmul[type](&to_got, 0, first, scratch);
        k->matmul[type](&to_got, first, n_rows - first, scratch);
        ck_assert_msg(memcmp(m->out, got, n_bytes) == 0,
                      "%s %s kind %d: %d in, %d rows, %d tokens%s", k->name,
                      slm__type_info[type].name, kind, m->n_in, n_rows, m->n_tokens,
                      m->x->wide ? ", wide" : "");
    }
}

static void check_matmul(slm_type type, int kind, int32_t n_in, int32_t n_rows, int32_t n_tokens,
                         int at_begin) {
    const slm_type_info *info = &slm__type_info[type];
    uint64_t row_bytes = (uint64_t)n_in / info->block_weights * info->block_bytes;
    guarded w = guarded_new((size_t)(row_bytes * (uint64_t)n_rows), at_begin);
    guarded got = guarded_new((size_t)(n_rows * n_tokens) * sizeof(float), at_begin);
    float *want = malloc((size_t)(n_rows * n_tokens) * sizeof(float));
    void *scratch = aligned_alloc(64, (slm__matmul_scratch(n_in) + 63) / 64 * 64);
    random_rows(type, kind, (size_t)(n_in / (int32_t)info->block_weights * n_rows), w.data);
    slm_acts x = acts_new(n_in, n_tokens);
    slm_matmul m = {w.data, row_bytes, n_in, n_rows, n_tokens, &x, want, n_rows, n_rows % 2};
    for (int wide = 0; wide < (info->block_weights == 1 ? 1 : 2); wide++) {
        quantize_all(&x, wide, n_tokens);
        check_levels(&m, type, kind, got.data, scratch);
    }
    acts_free(x);
    free(want), free(scratch);
    guarded_free(w), guarded_free(got);
}

START_TEST(test_matmul_equal_bits) {
    slm_type type = (slm_type)_i;
    int32_t block = (int32_t)slm__type_info[type].block_weights;
    for (int kind = 0; kind < N_KINDS; kind++) {
        for (int32_t n_tokens = 1; n_tokens <= 33; n_tokens += n_tokens < 14 ? 1 : 19) {
            int32_t n_in = block == 1 ? 7 + 13 * n_tokens : block * (1 + n_tokens % 6);
            check_matmul(type, kind, n_in, 1 + n_tokens * 5 % 37, n_tokens, n_tokens & 1);
        }
    }
    for (int32_t blocks = 1; blocks <= 20; blocks++)
        check_matmul(type, PLAIN, block * blocks, 19, 13, 0);
    for (int32_t blocks = 1; blocks <= 40; blocks++) /* turns that go on from row to row */
        for (int32_t n_tokens = 1; n_tokens <= 2; n_tokens++)
            check_matmul(type, (blocks + n_tokens) % N_KINDS, block * blocks,
                         2 + (blocks + n_tokens) % 9, n_tokens, blocks & 1);
    for (int32_t rows = 1; rows <= 20; rows++)
        check_matmul(type, PLAIN, 256, rows, 2 + rows % 2 * 20, 0);
}
END_TEST

/* Rows of floats that are several chunks of columns, with and without a tail, and longer than those that one token meets one by one. */
START_TEST(test_matmul_of_long_float_rows) {
    static const slm_type types[] = {SLM_F32, SLM_F16, SLM_BF16};
    static const int32_t n_in[] = {511, 512, 513, 528, 1024, 1025, 2055},
                         n_rows[] = {1, 3, 4, 5, 17};
    for (size_t i = 0; i < sizeof n_in / sizeof *n_in; i++)
        for (int32_t n_tokens = 1; n_tokens <= 13; n_tokens += n_tokens < 8 ? 1 : 5)
            check_matmul(types[_i], PLAIN, n_in[i], n_rows[(i + (size_t)n_tokens) % 5], n_tokens,
                         n_tokens & 1);
}
END_TEST

/* Value i of token t as the product is to see it. */
static double activation(const slm_acts *x, bool is_float, int32_t t, int32_t i) {
    int32_t nb = slm__n_blocks_stored(x->n), row = slm__act_rows(x, t);
    int64_t block = (int64_t)row * nb + i / SLM_QBLOCK;
    if (is_float) return x->x[t * x->n + i];
    int q = x->q[slm__act_at(block, i % SLM_QBLOCK)];
    if (x->wide) q = 255 * q + x->q[slm__act_at(block + nb, i % SLM_QBLOCK)];
    return (double)x->d[block] * q;
}

/* The specification itself, against the definition in double precision: the sum of dequantized weight times
 * quantized activation. */
START_TEST(test_matmul_is_the_dot_product) {
    slm_type type = (slm_type)(_i / 2);
    enum { N = 768, ROWS = 5, TOKENS = 3 };
    const slm_type_info *info = &slm__type_info[type];
    uint64_t row_bytes = (uint64_t)N / info->block_weights * info->block_bytes;
    uint8_t *w = malloc(row_bytes * ROWS);
    random_rows(type, PLAIN, N / info->block_weights * ROWS, w);
    slm_acts x = acts_new(N, TOKENS);
    quantize_all(&x, _i % 2, TOKENS);
    void *scratch = aligned_alloc(64, (slm__matmul_scratch(N) + 63) / 64 * 64);
    float out[TOKENS][ROWS], row[N];
    slm_matmul m = {w, row_bytes, N, ROWS, TOKENS, &x, &out[0][0], ROWS, false};
    plain()->matmul[type](&m, 0, ROWS, scratch);
    for (int r = 0; r < ROWS; r++) {
        plain()->dequantize[type](w + (uint64_t)r * row_bytes, N, row);
        for (int t = 0; t < TOKENS; t++) {
            double sum = 0, size = 0;
            for (int i = 0; i < N; i++) {
                double a = activation(&x, info->block_weights == 1, t, i);
                sum += row[i] * a;
                size += fabs(row[i] * a);
            }
            ck_assert_double_le(fabs(sum - out[t][r]), size * 1e-6);
        }
    }
    acts_free(x);
    free(w), free(scratch);
}
END_TEST

/* A float among others of a row, and rows of one value. */
static const float special[] = {0,        1e-30f, 9e-31f,  1e-44f, 3e38f,
                                INFINITY, NAN,    -127.5f, 0.5f,   1.5f};

static void put_special(slm_acts *a) {
    int32_t n = a->n;
    if (n % 3 == 0) a->x[n / 2] = special[n / 3 % 10];
    for (int32_t i = 0; i < n && n % 3 == 1; i++) a->x[i] = special[n / 3 % 10];
}

/* 16 bits are 256 times finer than 8, their parts and sums what they should be (numerics.md). */
START_TEST(test_wide_activations) {
    for (int32_t n = 1; n <= 200; n++) {
        slm_acts a = acts_new(n, 3);
        int32_t nb = slm__n_blocks_stored(n);
        put_special(&a);
        quantize_all(&a, true, 3);
        for (int32_t b = 0; b < 3 * nb; b++) {
            int64_t high = b + b / nb * nb, low = high + nb;
            int32_t sums[2][2] = {{0}};
            bool finite = true;
            for (int32_t j = 0; j < SLM_QBLOCK; j++) {
                int h = a.q[slm__act_at(high, j)], l = a.q[slm__act_at(low, j)];
                int32_t i = b % nb * SLM_QBLOCK + j;
                float x = i < n ? a.x[b / nb * n + i] : 0;
                ck_assert(h > -128 && l > -128);
                sums[0][j / 16] += h, sums[1][j / 16] += l;
                finite = finite && isfinite(x);
                if (isfinite(a.d[high]) && a.d[high] > 0)
                    ck_assert_double_le(fabs(x - a.d[high] * (255.0 * h + l)), 0.505 * a.d[high]);
                else
                    ck_assert(h == 0 && l == 0);
                if (a.d[high] == 0) ck_assert(fabsf(x) < 1e-30f);
            }
            ck_assert(finite == !isnan(a.d[high]));
            for (int i = 0; i < 2; i++) {
                ck_assert_int_eq(a.half[2 * high + i], sums[0][i]);
                ck_assert_int_eq(a.half[2 * low + i], sums[1][i]);
            }
            int32_t sum = 255 * (sums[0][0] + sums[0][1]) + sums[1][0] + sums[1][1];
            ck_assert(a.sum[high] == (float)sum);
        }
        acts_free(a);
    }
}
END_TEST

START_TEST(test_quantize_equal_bits) {
    for (int32_t n = 1; n <= 200; n++) {
        slm_acts a = acts_new(n, 2), b = acts_new(n, 2);
        size_t nb = (size_t)slm__n_blocks_stored(n) * 2;
        put_special(&a);
        memcpy(b.x, a.x, (size_t)n * 2 * sizeof(float));
        for (int32_t t = 0; t < 2; t++) plain()->quantize(&a, t);
        FOR_EACH_LEVEL(k) {
            memset(b.q, 1, nb * SLM_QBLOCK);
            for (int32_t t = 0; t < 2; t++) k->quantize(&b, t);
            ck_assert_int_eq(memcmp(a.q, b.q, nb * SLM_QBLOCK), 0);
            ck_assert_int_eq(memcmp(a.d, b.d, nb * sizeof *a.d), 0);
            ck_assert_int_eq(memcmp(a.sum, b.sum, nb * sizeof *a.sum), 0);
            ck_assert_int_eq(memcmp(a.half, b.half, nb * 2 * sizeof *a.half), 0);
        }
        acts_free(a), acts_free(b);
    }
}
END_TEST

/* got: room for n floats, guarded behind its end for odd n. */
static void check_to_q8(const slm_kernels *k, const float *x, int32_t n, void *got) {
    int8_t want[130], *q = (int8_t *)got + 3 * n; /* up to the guard */
    slm_f16 scales[2][5];
    plain()->to_q8(x, n, want, scales[0]);
    k->to_q8(x, n, q, scales[1]);
    ck_assert_int_eq(memcmp(want, q, (size_t)n), 0);
    ck_assert_int_eq(memcmp(scales[0], scales[1], (size_t)slm__n_blocks(n) * sizeof **scales), 0);
    for (int32_t i = 0; i < n; i++) {
        float d = slm__from_f16(scales[1][i / SLM_QBLOCK]);
        ck_assert_float_le(fabsf(x[i] - d * q[i]), 0.51f * d + 128.0f * 0x1p-11f * d);
    }
}

START_TEST(test_rows_of_floats_equal_bits) {
    for (int32_t n = 1; n <= 130; n++) {
        guarded x = guarded_new((size_t)n * 4, n & 1), w = guarded_new((size_t)n * 4, 0);
        guarded got = guarded_new((size_t)n * 4, n & 1);
        float want[130];
        slm_f16 half[130];
        float *xs = x.data, *ws = w.data;
        for (int32_t i = 0; i < n; i++) {
            xs[i] = random_float() * (n % 4 == 0 ? 100.0f : 3.0f);
            ws[i] = random_float();
        }
        FOR_EACH_LEVEL(k) {
            plain()->rms_norm(xs, ws, n, 1e-5f, want);
            k->rms_norm(xs, ws, n, 1e-5f, got.data);
            ck_assert_int_eq(memcmp(want, got.data, (size_t)n * 4), 0);
            plain()->silu_mul(xs, ws, n, want);
            k->silu_mul(xs, ws, n, got.data);
            ck_assert_int_eq(memcmp(want, got.data, (size_t)n * 4), 0);
            plain()->gelu_mul(xs, ws, n, want);
            k->gelu_mul(xs, ws, n, got.data);
            ck_assert_int_eq(memcmp(want, got.data, (size_t)n * 4), 0);
            memcpy(want, xs, (size_t)n * 4);
            memcpy(got.data, xs, (size_t)n * 4);
            plain()->soft_cap(want, n, 1.75f);
            k->soft_cap(got.data, n, 1.75f);
            ck_assert_int_eq(memcmp(want, got.data, (size_t)n * 4), 0);
            plain()->weights(xs, n, 2.5f, 0.7f, want);
            k->weights(xs, n, 2.5f, 0.7f, got.data);
            ck_assert_int_eq(memcmp(want, got.data, (size_t)n * 4), 0);
            memcpy(want, ws, (size_t)n * 4);
            memcpy(got.data, ws, (size_t)n * 4);
            plain()->add(want, xs, n);
            k->add(got.data, xs, n);
            ck_assert_int_eq(memcmp(want, got.data, (size_t)n * 4), 0);
            plain()->to_f16(xs, n, half);
            k->to_f16(xs, n, got.data);
            ck_assert_int_eq(memcmp(half, got.data, (size_t)n * 2), 0);
            check_to_q8(k, xs, n, got.data);
            float max[2] = {-INFINITY, -INFINITY}, sum[2] = {0}, old[2][130] = {0};
            for (int page = 0; page < 3; page++) {
                plain()->attn_merge(&max[0], &sum[0], old[0], (float)page - 1, 2.5f, xs, n);
                k->attn_merge(&max[1], &sum[1], old[1], (float)page - 1, 2.5f, xs, n);
            }
            ck_assert_int_eq(memcmp(&max[0], &max[1], 4) | memcmp(&sum[0], &sum[1], 4), 0);
            ck_assert_int_eq(memcmp(old[0], old[1], (size_t)n * 4), 0);
        }
        guarded_free(x), guarded_free(w), guarded_free(got);
    }
}
END_TEST

START_TEST(test_attn_page_equal_bits) {
    slm_kv_store store = (slm_kv_store)_i;
    static const int32_t dims[] = {8, 16, 40, 64, 80, 96, 128, 256};
    for (size_t c = 0; c < sizeof dims / sizeof dims[0] * 3; c++) {
        int32_t hd = dims[c / 3], stored = (hd + 15) / 16 * 16,
                n_q = (int32_t)(c % 3) * 4 + 1 + (int32_t)c % 2;
        static const size_t units[SLM_N_STORES] = {2, 4, 1};
        size_t unit = units[store], n_scales = (size_t)slm__n_blocks(stored) * SLM_PAGE;
        guarded scales = guarded_new(2 * n_scales * sizeof(slm_f16), 0);
        slm_f16 *k_scale = scales.data, *v_scale = k_scale + n_scales;
        guarded k_page = guarded_new((size_t)hd * SLM_PAGE * unit, 0);
        guarded v_page = guarded_new((size_t)stored * SLM_PAGE * unit, 0);
        float *q = malloc((size_t)(n_q * stored) * 4), *out[2], max[2][16], sum[2][16];
        out[0] = malloc((size_t)(n_q * stored) * 4), out[1] = malloc((size_t)(n_q * stored) * 4);
        int32_t first[16], last[16];
        for (int32_t i = 0; i < n_q * stored; i++) q[i] = random_float();
        for (int32_t i = 0; i < n_q; i++) {
            first[i] = (int32_t)(random_u32() % 64);
            last[i] = first[i] + (int32_t)(random_u32() % (uint32_t)(64 - first[i]));
            if (c % 3 == 1) first[i] = 0, last[i] = 40 + i; /* a causal tile */
        }
        for (int32_t i = 0; i < stored * SLM_PAGE; i++) {
            float kx = random_float(), vx = random_float();
            slm_f16 kh = slm__to_f16(kx), vh = slm__to_f16(vx);
            int8_t kq = (int8_t)random_u32(), vq = (int8_t)random_u32();
            const void *ks[SLM_N_STORES] = {&kh, &kx, &kq}, *vs[SLM_N_STORES] = {&vh, &vx, &vq};
            if (i < hd * SLM_PAGE)
                memcpy((uint8_t *)k_page.data + (size_t)i * unit, ks[store], unit);
            memcpy((uint8_t *)v_page.data + (size_t)i * unit, vs[store], unit);
        }
        for (size_t i = 0; i < 2 * n_scales; i++)
            k_scale[i] = slm__to_f16(random_float() * (1.0f / 128));
        bool scaled = store == SLM_STORE_Q8_0;
        slm_attn_page a = {.k = k_page.data,
                           .v = v_page.data,
                           .k_scale = scaled ? k_scale : NULL,
                           .v_scale = scaled ? v_scale : NULL,
                           .head_dim = hd,
                           .head_dim_stored = stored,
                           .n_q = n_q,
                           .q = q,
                           .first = first,
                           .last = last,
                           .soft_cap = c % 5 == 2 ? 1.5f : 0,
                           .max = max[0],
                           .sum = sum[0],
                           .out = out[0]};
        plain()->attn_page[store](&a);
        a.max = max[1], a.sum = sum[1], a.out = out[1];
        FOR_EACH_LEVEL(k) {
            k->attn_page[store](&a);
            ck_assert_int_eq(memcmp(max[0], max[1], (size_t)n_q * 4) |
                                 memcmp(sum[0], sum[1], (size_t)n_q * 4),
                             0);
            ck_assert_int_eq(memcmp(out[0], out[1], (size_t)(n_q * stored) * 4), 0);
        }
        free(q), free(out[0]), free(out[1]);
        guarded_free(k_page), guarded_free(v_page), guarded_free(scales);
    }
}
END_TEST

/* A position outside of a query's range may hold anything, NaN too, without showing. */
START_TEST(test_fault_90_masked_positions_never_show) {
    enum { HD = 16, N_Q = 6 };
    float k_page[HD * SLM_PAGE], v_page[SLM_PAGE * HD], q[N_Q * HD], out[2][N_Q * HD], max[N_Q],
        sum[N_Q];
    int32_t first[N_Q], last[N_Q];
    for (int i = 0; i < HD * SLM_PAGE; i++) k_page[i] = random_float(), v_page[i] = random_float();
    for (int i = 0; i < N_Q * HD; i++) q[i] = random_float();
    for (int i = 0; i < N_Q; i++) first[i] = 3 + i, last[i] = 20 + i;
    for (int32_t level = 0; slm__kernels_level(level); level++) {
        for (int dirty = 0; dirty < 2; dirty++) {
            for (int j = 0; j < SLM_PAGE; j++) {
                if (j >= 3 && j <= 25) continue;
                for (int d = 0; d < HD; d++)
                    k_page[d * SLM_PAGE + j] = v_page[j * HD + d] = dirty ? NAN : 0;
            }
            slm_attn_page a = {.k = k_page,
                               .v = v_page,
                               .head_dim = HD,
                               .head_dim_stored = HD,
                               .n_q = N_Q,
                               .q = q,
                               .first = first,
                               .last = last,
                               .max = max,
                               .sum = sum,
                               .out = out[dirty]};
            slm__kernels_level(level)->attn_page[SLM_STORE_F32](&a);
        }
        ck_assert(out[0][0] == out[0][0]);
        ck_assert_int_eq(memcmp(out[0], out[1], sizeof out[0]), 0);
    }
}
END_TEST

START_TEST(test_gelu_and_soft_cap_against_libm) {
    const double a = sqrt(2 / acos(-1));
    for (int i = -3000; i <= 3000; i++) {
        float x = (float)i * 0.01f, one = 1, gelu, capped = x;
        double d = x;
        plain()->gelu_mul(&x, &one, 1, &gelu);
        plain()->soft_cap(&capped, 1, 5);
        double z = 2 * a * (d + 0.044715 * d * d * d), want = d / (1 + exp(-z));
        ck_assert_double_le(fabs(want - d / 2 * (1 + tanh(z / 2))), 1e-15);
        /* z is rounded, and exp() makes a relative error of it */
        ck_assert_double_le(fabs(gelu - want), (3 + fabs(z)) * 0x1p-22 * fabs(want) + 1e-36);
        ck_assert_double_le(fabs(capped - 5 * tanh(d / 5)), 2e-6);
    }
}
END_TEST

START_TEST(test_exp_against_libm) {
    double worst = 0;
    for (float x = -87.0f; x < 88.0f; x += 0.00371f) {
        double want = exp((double)x), e = fabs(slm__expf(x) - want) / want;
        worst = e > worst ? e : worst;
    }
    ck_assert_double_le(worst, 1.2e-7);
    ck_assert(slm__expf(0) == 1.0f && slm__expf(-INFINITY) > 0 && slm__expf(INFINITY) < INFINITY);
    for (uint32_t payload = 1; payload < 0x400000; payload = payload * 3 + 1) {
        ck_assert(isnan(slm__expf(slm__float(0x7f800000 | payload))));
        ck_assert(isnan(slm__expf(slm__float(0xffc00000 | payload))));
    }
}
END_TEST

START_TEST(test_double_functions_against_libm) {
    for (double x = 1e-3; x < 2e6; x *= 1.013)
        ck_assert_double_le(fabs(slm__log2d(x) - log2(x)), 1e-14);
    for (double x = -60; x < 60; x += .0371)
        ck_assert_double_le(fabs(slm__exp2d(x) / exp2(x) - 1), 1e-15);
    for (double x = 0; x < 1e6; x += 71.23) {
        double s, c;
        slm__sincosd(x, &s, &c);
        ck_assert_double_le(fabs(s - sin(x)) + fabs(c - cos(x)), 5e-16);
    }
}
END_TEST

/* Weights of a block: random, of very different groups, on the middle between levels, tiny, huge, none. */
static void search_block(int how, float *x, float *w) {
    static const float odd[] = {0, -0.0f, 61, -127, 113, 7, 45.5f, -115.5f, 0.5f, 1.5f, 2.5f, -8};
    for (int i = 0; i < 256; i++) {
        float size = how % 8 == 1 ? 1e-41f : how % 8 == 2 ? 1e38f : how % 8 == 3 ? 1e-6f : 1;
        x[i] = random_float() * size * (how & 8 && i / 32 % 2 ? 1e-3f : 1);
        if (how % 8 == 4) x[i] = odd[random_u32() % 12];
        if (how % 8 == 5) x[i] = i % 64 == 7 ? 1000 : 0;
        if (how % 8 == 6) x[i] = 5 + 0.01f * x[i];
        if (how == 7) x[i] = i & 1 ? 0 : -0.0f;
        w[i] = how & 16 && i % 3 == 0 ? 0 : fabsf(random_float());
    }
}

START_TEST(test_search_equal_bits) {
    slm_type type = (slm_type)_i;
    if (!slm__is_quantized(type)) return;
    int n = (int)slm__type_info[type].block_weights;
    guarded x = guarded_new((size_t)n * sizeof(float), 0);
    guarded w = guarded_new((size_t)n * sizeof(float), 1);
    for (int how = 0; how < 160; how++) {
        float wide[256], weights[256];
        slm_parts want, got;
        search_block(how % 32, wide, weights);
        memcpy(x.data, wide, (size_t)n * sizeof(float));
        memcpy(w.data, weights, (size_t)n * sizeof(float));
        const float *importance = how % 2 ? w.data : NULL;
        memset(&want, 0, sizeof want);
        plain()->search(type, x.data, importance, &want);
        FOR_EACH_LEVEL(k) {
            memset(&got, 0, sizeof got);
            k->search(type, x.data, importance, &got);
            ck_assert_msg(memcmp(&want, &got, sizeof got) == 0, "%s %s: how %d", k->name,
                          slm__type_info[type].name, how);
        }
    }
    guarded_free(x), guarded_free(w);
}
END_TEST

int main(void) {
    Suite *s = suite_create("kernels");
    TCase *c = tcase_create("exact");
    tcase_set_timeout(c, 300);
    tcase_add_test(c, test_levels_have_names_and_all_slots);
    tcase_add_loop_test(c, test_search_equal_bits, 0, SLM_N_TYPES);
    tcase_add_loop_test(c, test_dequantize_equal_bits, 0, SLM_N_TYPES);
    tcase_add_loop_test(c, test_matmul_equal_bits, 0, SLM_N_TYPES);
    tcase_add_loop_test(c, test_matmul_of_long_float_rows, 0, 3);
    tcase_add_loop_test(c, test_matmul_is_the_dot_product, 0, 2 * SLM_N_TYPES);
    tcase_add_test(c, test_wide_activations);
    tcase_add_test(c, test_quantize_equal_bits);
    tcase_add_test(c, test_rows_of_floats_equal_bits);
    tcase_add_loop_test(c, test_attn_page_equal_bits, 0, SLM_N_STORES);
    tcase_add_test(c, test_fault_90_masked_positions_never_show);
    tcase_add_test(c, test_exp_against_libm);
    tcase_add_test(c, test_gelu_and_soft_cap_against_libm);
    tcase_add_test(c, test_double_functions_against_libm);
    suite_add_tcase(s, c);
    return run_suite(s);
}
