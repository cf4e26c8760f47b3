/* Plain C for every slot of the table: the specification (docs/numerics.md). Other tables give these bits. */
#include "kernels.h"

#include "unpack.h"
#include "tables.h"

#define X(name, id, n, type, ...) {#name, id, n, sizeof(type)},
const slm_type_info slm__type_info[SLM_N_TYPES] = {SLM_BLOCK_TYPES(X)};
#undef X

/* Sum of partial sums by halves: with 4, (t0 + t2) + (t1 + t3). The last + 0 turns -0 into +0, so that padding with zeros never
 * shows. `n` is a power of two; t is spent. */
static float tree_sum(float *t, int n) {
    for (int half = n / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) t[i] += t[i + half];
    }
    return t[0] + 0.0f;
}

/* ---- Weights as floats (of quantized types: unpack.h) ---- */

static float f32_weight(const void *w, int64_t i) { return ((const float *)w)[i]; }
static float f16_weight(const void *w, int64_t i) { return slm__from_f16(((const slm_f16 *)w)[i]); }
static float bf16_weight(const void *w, int64_t i) {
    return slm__from_bf16(((const slm_bf16 *)w)[i]);
}

#define weight_F32  f32_weight
#define weight_F16  f16_weight
#define weight_BF16 bf16_weight

#define X(name, ...)                                                      \
    static void dequantize_##name(const void *w, int64_t n, float *out) { \
        for (int64_t i = 0; i < n; i++) out[i] = weight_##name(w, i);     \
    }
SLM_FLOAT_TYPES(X)
#undef X

/* ---- Matrix products ---- */

size_t slm__matmul_scratch(int32_t n_in) {
    /* reference mode: a strip as floats, and below it what the product of floats takes: a row more. Unpacked strips take less (strip_tmpl.h) */
    size_t row = (size_t)slm__n_blocks_stored(n_in) * SLM_QBLOCK * sizeof(float);
    return row * (SLM_STRIP + 1) + 4096;
}

/* What a block comes to with integers of activations. */
typedef struct block_sums {
    int32_t s[2]; /* codes * q over each half */
    int32_t k;    /* k * q over the block     */
} block_sums;

static block_sums sums_of_block(const slm_unit *u, const slm_acts *x, int64_t block) {
    block_sums sums = {{0, 0}, 0};
    for (int j = 0; j < SLM_QBLOCK; j += 4) { /* activations lie in groups of four */
        int8_t q[4];
        memcpy(q, x->q + slm__act_at(block, j), sizeof q);
        for (int i = 0; i < 4; i++) sums.s[j / 16] += u->q[j / 16][j % 16 + i] * q[i];
    }
    for (int i = 0; i < 2; i++) sums.k += u->k[i] * x->half[block * 2 + i];
    return sums;
}

/* The product of a block with activations that have scale 1. sum: of their integers. */
static float block_dot(slm_geometry geometry, const slm_unit *u, block_sums sums, float sum) {
    float both = u->d[0] * (float)(sums.s[0] + sums.s[1]);
    switch (geometry) {
    case SLM_SCALE: return both;
    case SLM_SCALE_MIN: return fmaf(u->m, sum, both);
    case SLM_SCALE_MIN16: return fmaf(u->m, (float)sums.k, both);
    case SLM_SCALE16: return fmaf(u->d[1], (float)sums.s[1], u->d[0] * (float)sums.s[0]);
    }
    return 0;
}

static inline void matmul_quant(unpack_fn unpack, slm_geometry geometry, const slm_matmul *m,
                                int32_t row, int32_t n_rows, void *scratch) {
    const slm_acts *x = m->x;
    int32_t nb = slm__n_blocks(m->n_in), stored = slm__n_blocks_stored(m->n_in);
    slm_unit *units = scratch;
    for (int32_t r = row; r < row + n_rows; r++) {
        const uint8_t *w = m->w + (uint64_t)r * m->row_bytes;
        for (int32_t b = 0; b < nb; b++) unpack(w, b, &units[b]);
        for (int32_t t = 0; t < m->n_tokens; t++) {
            int64_t at = (int64_t)slm__act_rows(x, t) * stored;
            float stripe[SLM_STRIPES] = {0};
            for (int32_t b = 0; b < nb; b++) {
                block_sums sums = sums_of_block(&units[b], x, at + b);
                if (x->wide) {
                    block_sums low = sums_of_block(&units[b], x, at + stored + b);
                    for (int i = 0; i < 2; i++) sums.s[i] = SLM_WIDE * sums.s[i] + low.s[i];
                    sums.k = SLM_WIDE * sums.k + low.k;
                }
                float u = block_dot(geometry, &units[b], sums, x->sum[at + b]);
                stripe[b % SLM_STRIPES] = fmaf(x->d[at + b], u, stripe[b % SLM_STRIPES]);
            }
            m->out[t * m->out_stride + r] = tree_sum(stripe, SLM_STRIPES);
        }
    }
}

#define X(name, id, bw, type, geometry, ...)                                                     \
    static void matmul_##name(const slm_matmul *m, int32_t row, int32_t n_rows, void *scratch) { \
        matmul_quant(unpack_##name, SLM_##geometry, m, row, n_rows, scratch);                    \
    }
SLM_QUANT_TYPES(X)
#undef X

static inline void matmul_float(void (*dequantize)(const void *, int64_t, float *),
                                const slm_matmul *m, int32_t row, int32_t n_rows, void *scratch) {
    float *w = scratch;
    for (int32_t r = row; r < row + n_rows; r++) {
        dequantize(m->w + (uint64_t)r * m->row_bytes, m->n_in, w);
        for (int32_t t = 0; t < m->n_tokens; t++) {
            const float *x = m->x->x + (int64_t)t * m->n_in;
            float lane[SLM_LANES] = {0};
            for (int32_t i = 0; i < m->n_in; i++) {
                lane[i % SLM_LANES] = fmaf(w[i], x[i], lane[i % SLM_LANES]);
            }
            m->out[t * m->out_stride + r] = tree_sum(lane, SLM_LANES);
        }
    }
}

#define X(name, ...)                                                                             \
    static void matmul_##name(const slm_matmul *m, int32_t row, int32_t n_rows, void *scratch) { \
        matmul_float(dequantize_##name, m, row, n_rows, scratch);                                \
    }
SLM_FLOAT_TYPES(X)
#undef X

/* ---- Activations to 8 bits, or 16 ---- */

/* The first n of a block of 32 as integers of at most `most`, q [32], the rest zero; returns the scale. */
static float block_codes(const float *x, int32_t n, float most, int16_t *q) {
    uint32_t max_bits = 0; /* as integers, absolute values order as floats do, with NaN above all */
    for (int j = 0; j < n; j++) {
        uint32_t a = slm__bits(x[j]) & 0x7fffffff;
        max_bits = a > max_bits ? a : max_bits;
    }
    float max = slm__float(max_bits);
    memset(q, 0, SLM_QBLOCK * sizeof *q);
    if (max_bits >= 0x7f800000)
        return slm__float(0x7fc00000); /* NaN or infinity: every product with this block is NaN */
    if (max < 1e-30f) return 0;        /* most / max must not overflow */
    float scale = most / max;
    for (int j = 0; j < n; j++) q[j] = (int16_t)(int)((x[j] * scale + SLM_ROUND) - SLM_ROUND);
    return max / most;
}

static int32_t values_of_block(int32_t n, int32_t b) {
    int32_t left = n - b * SLM_QBLOCK;
    return left < 0 ? 0 : left > SLM_QBLOCK ? SLM_QBLOCK : left;
}

/* As the row's block `block`. Returns the sum of the codes. */
static int32_t store_codes(const slm_acts *a, int64_t block, const int16_t codes[SLM_QBLOCK]) {
    int16_t *half = a->half + block * 2;
    half[0] = half[1] = 0;
    for (int j = 0; j < SLM_QBLOCK; j++) {
        a->q[slm__act_at(block, j)] = (int8_t)codes[j];
        half[j / 16] = (int16_t)(half[j / 16] + codes[j]);
    }
    return half[0] + half[1];
}

static void quantize(const slm_acts *a, int32_t token) {
    int32_t stored = slm__n_blocks_stored(a->n);
    int64_t at = (int64_t)token * stored;
    const float *x = a->x + (int64_t)token * a->n;
    for (int32_t b = 0; b < stored; b++, at++) {
        int16_t codes[SLM_QBLOCK];
        a->d[at] = block_codes(x + b * SLM_QBLOCK, values_of_block(a->n, b), 127, codes);
        a->sum[at] = (float)store_codes(a, at, codes);
    }
}

void slm__quantize_wide(const slm_acts *a, int32_t token) {
    int32_t stored = slm__n_blocks_stored(a->n);
    int64_t at = (int64_t)token * 2 * stored;
    const float *x = a->x + (int64_t)token * a->n;
    for (int32_t b = 0; b < stored; b++, at++) {
        int16_t codes[SLM_QBLOCK], high[SLM_QBLOCK];
        a->d[at] = block_codes(x + b * SLM_QBLOCK, values_of_block(a->n, b), SLM_WIDE_MAX, codes);
        for (int j = 0; j < SLM_QBLOCK; j++) {
            high[j] = (int16_t)((codes[j] + (codes[j] < 0 ? -127 : 127)) / SLM_WIDE);
            codes[j] = (int16_t)(codes[j] - SLM_WIDE * high[j]);
        }
        int32_t sum = SLM_WIDE * store_codes(a, at, high);
        a->sum[at] = (float)(sum + store_codes(a, at + stored, codes));
        a->d[at + stored] = a->sum[at + stored] = 0;
    }
}

/* ---- Rows of floats ---- */

static void rms_norm(const float *x, const float *w, int32_t n, float eps, float *out) {
    float lane[SLM_LANES] = {0};
    for (int32_t i = 0; i < n; i++) lane[i % SLM_LANES] = fmaf(x[i], x[i], lane[i % SLM_LANES]);
    float scale = 1.0f / sqrtf(tree_sum(lane, SLM_LANES) / (float)n + eps);
    for (int32_t i = 0; i < n; i++) out[i] = x[i] * scale * w[i];
}

static void silu_mul(const float *gate, const float *up, int32_t n, float *out) {
    for (int32_t i = 0; i < n; i++) out[i] = gate[i] / (1.0f + slm__expf(-gate[i])) * up[i];
}

static void gelu_mul(const float *gate, const float *up, int32_t n, float *out) {
    for (int32_t i = 0; i < n; i++) {
        float z = gate[i] * fmaf(gate[i] * gate[i], SLM_GELU_C3, SLM_GELU_C1);
        out[i] = gate[i] / (1.0f + slm__expf(-z)) * up[i];
    }
}

static float capped(float x, float cap) {
    return cap * (1.0f - 2.0f / (1.0f + slm__expf(x / cap * 2.0f)));
}

static void soft_cap(float *x, int32_t n, float cap) {
    for (int32_t i = 0; i < n; i++) x[i] = capped(x[i], cap);
}

static void weights(const float *x, int32_t n, float max, float temperature, float *out) {
    for (int32_t i = 0; i < n; i++) out[i] = slm__expf((x[i] - max) / temperature);
}

static void add(float *x, const float *y, int32_t n) {
    for (int32_t i = 0; i < n; i++) x[i] += y[i];
}

static void to_f16(const float *x, int32_t n, slm_f16 *out) {
    for (int32_t i = 0; i < n; i++) out[i] = slm__to_f16(x[i]);
}

static void to_q8(const float *x, int32_t n, int8_t *q, slm_f16 *d) {
    for (int32_t i = 0; i < n; i += SLM_QBLOCK) {
        int16_t codes[SLM_QBLOCK];
        int32_t here = n - i < SLM_QBLOCK ? n - i : SLM_QBLOCK;
        d[i / SLM_QBLOCK] = slm__to_f16(block_codes(x + i, here, 127, codes));
        for (int j = 0; j < here; j++) q[i + j] = (int8_t)codes[j];
    }
}

/* ---- Attention over one page ---- */

static float i8_value(const void *p, int64_t i) { return ((const int8_t *)p)[i]; }

/* Stored with scales: the 32 values of a block are summed up before their scale comes in. */
static inline float key_score(float (*load)(const void *, int64_t), const slm_attn_page *a,
                              const float *q, int32_t j) {
    float score = 0, part = 0;
    for (int32_t d = 0; d < a->head_dim; d++) {
        part = fmaf(q[d], load(a->k, (int64_t)d * SLM_PAGE + j), part);
        if (!a->k_scale || (d % SLM_QBLOCK != SLM_QBLOCK - 1 && d != a->head_dim - 1)) continue;
        score = fmaf(slm__from_f16(a->k_scale[d / SLM_QBLOCK * SLM_PAGE + j]), part, score);
        part = 0;
    }
    return a->k_scale ? score : part;
}

static inline void attn_page(float (*load)(const void *, int64_t), const slm_attn_page *a) {
    int32_t stored = a->head_dim_stored;
    for (int32_t i = 0; i < a->n_q; i++) {
        const float *q = a->q + (int64_t)i * stored;
        float *out = a->out + (int64_t)i * stored;
        int32_t first = a->first[i], last = a->last[i];
        float p[SLM_PAGE], lane[SLM_LANES] = {0};

        float max = -INFINITY;
        for (int32_t j = first; j <= last; j++) {
            float score = key_score(load, a, q, j);
            if (a->soft_cap > 0) score = capped(score, a->soft_cap);
            p[j] = score;
            max = score > max ? score : max;
        }
        max += 0.0f;
        for (int32_t j = first; j <= last; j++) {
            p[j] = slm__expf(p[j] - max);
            lane[j % SLM_LANES] += p[j];
        }
        a->max[i] = max;
        a->sum[i] = tree_sum(lane, SLM_LANES);

        for (int32_t d = 0; d < stored; d++) out[d] = 0;
        for (int32_t j = first; j <= last; j++) {
            for (int32_t d = 0; d < stored; d++) {
                float pj = p[j];
                if (a->v_scale) pj *= slm__from_f16(a->v_scale[d / SLM_QBLOCK * SLM_PAGE + j]);
                out[d] = fmaf(pj, load(a->v, (int64_t)j * stored + d), out[d]);
            }
        }
    }
}

static void attn_page_f16(const slm_attn_page *a) { attn_page(f16_weight, a); }
static void attn_page_f32(const slm_attn_page *a) { attn_page(f32_weight, a); }
static void attn_page_q8_0(const slm_attn_page *a) { attn_page(i8_value, a); }

static void attn_merge(float *max, float *sum, float *out, float page_max, float page_sum,
                       const float *page_out, int32_t n) {
    float new_max = page_max > *max ? page_max : *max;
    float old = slm__expf(*max - new_max), new = slm__expf(page_max - new_max);
    *max = new_max;
    *sum = fmaf(*sum, old, page_sum * new);
    for (int32_t i = 0; i < n; i++) out[i] = fmaf(out[i], old, page_out[i] * new);
}

/* ---- The table ---- */

#define SLM_DEQUANTIZE(name, ...) [SLM_##name] = dequantize_##name,
#define SLM_MATMUL(name, ...)     [SLM_##name] = matmul_##name,

const slm_kernels slm__kernels_c = {
    .name = "c",
    .dequantize = {SLM_BLOCK_TYPES(SLM_DEQUANTIZE)},
    .matmul = {SLM_BLOCK_TYPES(SLM_MATMUL)},
    .quantize = quantize,
    .rms_norm = rms_norm,
    .silu_mul = silu_mul,
    .gelu_mul = gelu_mul,
    .soft_cap = soft_cap,
    .weights = weights,
    .add = add,
    .to_f16 = to_f16,
    .to_q8 = to_q8,
    .search = slm__search_c,
    .attn_page = {[SLM_STORE_F16] = attn_page_f16,
                  [SLM_STORE_F32] = attn_page_f32,
                  [SLM_STORE_Q8_0] = attn_page_q8_0},
    .attn_merge = attn_merge,
};
