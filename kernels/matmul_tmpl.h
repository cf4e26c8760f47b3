/* Matrix products, written once over the vector vocabulary of a simd_*.h. Bits as ref.c.
 *
 * Few tokens: four rows at a time, lanes = 4 rows x 4 blocks, the four blocks being the four stripes.
 * Many tokens: 16 rows are unpacked into a panel in the thread's scratch, lanes = rows, and all tokens sweep over it stripe by
 * stripe, so that unpacking costs nothing and weights are read once.
 */

#include "kernels.h"
#include "unpack.h"

#define INLINE static inline __attribute__((always_inline))

/* From this number of tokens on the panel pays for its unpacking (bench/kernels). */
enum { PANEL_TOKENS = 6 };

/* 4 rows or blocks of 16 bits each as the pairs that vi_madd16 wants. */
static inline uint32_t pair16(int32_t low, int32_t high) {
    return (uint32_t)(uint16_t)low | (uint32_t)high << 16;
}

/* The product of blocks with activations of scale 1, for any assignment of lanes (ref.c: block_dot). */
INLINE vf lanes_dot(slm_geometry geometry, vi s0, vi s1, vf d0, vf d1, vf sum, vi k, vi half) {
    if (geometry == SLM_SCALE16) return vf_fma(d1, vf_from_int(s1), vf_mul(d0, vf_from_int(s0)));
    vf u = vf_mul(d0, vf_from_int(s0));
    if (geometry == SLM_SCALE_MIN) return vf_fma(d1, sum, u);
    if (geometry == SLM_SCALE_MIN16) return vf_fma(d1, vf_from_int(vi_madd16(k, half)), u);
    return u;
}

/* ---- Few tokens ---- */

enum { STEP_ROWS = 4, CHUNK_STEPS = 8, CHUNK_BLOCKS = CHUNK_STEPS * SLM_STRIPES };

/* 4 rows x 4 blocks, unpacked. Lane 4 * r + b. */
typedef struct step {
    int8_t q[STEP_ROWS][SLM_STRIPES * SLM_QBLOCK];
    float d0[SLM_LANES];
    float d1[SLM_LANES]; /* scale of the second halves (SCALE16), else the minimum */
    uint32_t k[SLM_LANES];
} step;

INLINE void unpack_step(unpack_fn unpack, slm_geometry geometry, const uint8_t *const w[STEP_ROWS],
                        int32_t b0, int32_t nb, step *s) {
    for (int r = 0; r < STEP_ROWS; r++) {
        for (int b = 0; b < SLM_STRIPES; b++) {
            slm_unit u;
            if (b0 + b < nb) {
                unpack(w[r], b0 + b, &u);
            } else {
                memset(&u, 0, sizeof u);
            }
            int lane = r * SLM_STRIPES + b;
            int8_t *q = s->q[r] + b * SLM_QBLOCK;
            for (int i = 0; i < 2; i++) {
                i8x16 codes = u.q[i] ^ (int8_t)WEIGHT_FLIP;
                memcpy(q + 16 * i, &codes, sizeof codes);
            }
            s->d0[lane] = u.d[0];
            s->d1[lane] = geometry == SLM_SCALE16 ? u.d[1] : u.m;
            if (geometry == SLM_SCALE_MIN16) s->k[lane] = pair16(u.k[0], u.k[1]);
        }
    }
}

/* Stripe sums of four rows of token t, continued over a chunk of steps that begins at block b0. */
INLINE vf rows_chunk(slm_geometry geometry, const step *steps, int n_steps, const slm_acts *x,
                     int64_t at, vf acc) {
    for (int i = 0; i < n_steps; i++, at += SLM_STRIPES) {
        const step *s = &steps[i];
        vb a01 = vb_load(x->q + at * SLM_QBLOCK), a23 = vb_load(x->q + at * SLM_QBLOCK + 64);
        vi c[2 * STEP_ROWS], halves[2];
        for (int r = 0; r < STEP_ROWS; r++) {
            c[2 * r] = vi_dot(vi_zero(), vb_load(s->q[r]), a01);
            c[2 * r + 1] = vi_dot(vi_zero(), vb_load(s->q[r] + 64), a23);
        }
        vi_reduce_rows(c, halves);
        if (geometry == SLM_SCALE16) {
            int32_t bias[2][SLM_STRIPES]; /* as x->bias, for each half */
            for (int b = 0; b < SLM_STRIPES; b++) {
                bias[0][b] = -128 * x->half[(at + b) * 2];
                bias[1][b] = -128 * x->half[(at + b) * 2 + 1];
            }
            halves[0] = vi_add(halves[0], vi_dot_start4(bias[0]));
            halves[1] = vi_add(halves[1], vi_dot_start4(bias[1]));
        } else {
            halves[0] = vi_add(vi_add(halves[0], halves[1]), vi_dot_start4(x->bias + at));
        }
        vf u = lanes_dot(geometry, halves[0], halves[1], vf_load(s->d0), vf_load(s->d1),
                         vf_load4(x->sum + at), vi_load(s->k), vi_load4(x->half + at * 2));
        acc = vf_fma(vf_load4(x->d + at), u, acc);
    }
    return acc;
}

/* Up to four rows, a few tokens. */
INLINE void few_tokens(unpack_fn unpack, slm_geometry geometry, const slm_matmul *m, int32_t row,
                       int32_t n_rows, step *steps) {
    int32_t nb = slm__n_blocks(m->n_in), stored = slm__n_blocks_stored(m->n_in);
    const uint8_t
        *w[STEP_ROWS]; /* rows that are not there repeat the last one; their results are dropped */
    for (int r = 0; r < STEP_ROWS; r++)
        w[r] = m->w + (uint64_t)(row + (r < n_rows ? r : n_rows - 1)) * m->row_bytes;

    float acc[PANEL_TOKENS][SLM_LANES];
    memset(acc, 0, sizeof acc);
    for (int32_t b0 = 0; b0 < nb; b0 += CHUNK_BLOCKS) {
        int n_steps = 0;
        for (; n_steps < CHUNK_STEPS && b0 + n_steps * SLM_STRIPES < nb; n_steps++) {
            unpack_step(unpack, geometry, w, b0 + n_steps * SLM_STRIPES, nb, &steps[n_steps]);
        }
        for (int32_t t = 0; t < m->n_tokens; t++) {
            vf sum = rows_chunk(geometry, steps, n_steps, m->x, (int64_t)t * stored + b0,
                                vf_load(acc[t]));
            vf_store(acc[t], sum);
        }
    }
    for (int32_t t = 0; t < m->n_tokens; t++) {
        for (int r = 0; r < n_rows; r++) {
            const float *s = acc[t] + r * SLM_STRIPES;
            m->out[t * m->out_stride + row + r] = ((s[0] + s[2]) + (s[1] + s[3])) + 0.0f;
        }
    }
}

/* ---- Many tokens ---- */

/* Block b of 16 rows. Group g of a row's codes, 4 bytes, in lane r of vector g. */
typedef struct panel {
    uint32_t q[8][SLM_STRIP];
    float d0[SLM_STRIP];
    float d1[SLM_STRIP]; /* as in step */
    uint32_t k[SLM_STRIP];
} panel;

typedef uint32_t u32x4 __attribute__((vector_size(16)));

/* 4 rows x 16 bytes -> 4 vectors of one group of 4 bytes of each row, for rows r .. r + 3 of groups g .. g + 3. */
INLINE void transpose_groups(const u32x4 x[4], panel *p, int g, int r) {
    u32x4 lo01 = __builtin_shufflevector(x[0], x[1], 0, 4, 1, 5),
          hi01 = __builtin_shufflevector(x[0], x[1], 2, 6, 3, 7);
    u32x4 lo23 = __builtin_shufflevector(x[2], x[3], 0, 4, 1, 5),
          hi23 = __builtin_shufflevector(x[2], x[3], 2, 6, 3, 7);
    u32x4 group[4] = {__builtin_shufflevector(lo01, lo23, 0, 1, 4, 5),
                      __builtin_shufflevector(lo01, lo23, 2, 3, 6, 7),
                      __builtin_shufflevector(hi01, hi23, 0, 1, 4, 5),
                      __builtin_shufflevector(hi01, hi23, 2, 3, 6, 7)};
    for (int i = 0; i < 4; i++) memcpy(&p->q[g + i][r], &group[i], sizeof group[i]);
}

INLINE void unpack_panel(unpack_fn unpack, slm_geometry geometry, const slm_matmul *m, int32_t row,
                         int32_t n_rows, panel *p) {
    int32_t nb = slm__n_blocks(m->n_in);
    for (int r = 0; r < SLM_STRIP; r += 4) {
        const uint8_t *w[4];
        for (int i = 0; i < 4; i++)
            w[i] = m->w + (uint64_t)(row + (r + i < n_rows ? r + i : n_rows - 1)) * m->row_bytes;
        for (int32_t b = 0; b < nb; b++) {
            u32x4 q[2][4];
            for (int i = 0; i < 4; i++) {
                slm_unit u;
                unpack(w[i], b, &u);
                q[0][i] = (u32x4)u.q[0] ^ WEIGHT_FLIP;
                q[1][i] = (u32x4)u.q[1] ^ WEIGHT_FLIP;
                p[b].d0[r + i] = u.d[0];
                p[b].d1[r + i] = geometry == SLM_SCALE16 ? u.d[1] : u.m;
                if (geometry == SLM_SCALE_MIN16) p[b].k[r + i] = pair16(u.k[0], u.k[1]);
            }
            transpose_groups(q[0], &p[b], 0, r);
            transpose_groups(q[1], &p[b], 4, r);
        }
    }
}

/* Stripe `stripe` of 16 rows and n (constant) tokens from row `at` / stored of the activations on: acc[n]. */
INLINE void panel_stripe(slm_geometry geometry, int n, const panel *p, int32_t nb, int32_t stripe,
                         const slm_acts *x, int64_t at, int64_t stored, vf *acc) {
    for (int t = 0; t < n; t++) acc[t] = vf_zero();
    for (int32_t b = stripe; b < nb; b += SLM_STRIPES) {
        const int8_t *q = x->q + (at + b) * SLM_QBLOCK;
        vi s0[GEMM_TOKENS], s1[GEMM_TOKENS];
        for (int t = 0; t < n; t++) {
            int64_t a = at + b + t * stored;
            s0[t] = vi_dot_start(geometry == SLM_SCALE16 ? -128 * x->half[a * 2] : x->bias[a]);
            s1[t] = geometry == SLM_SCALE16 ? vi_dot_start(-128 * x->half[a * 2 + 1]) : s0[t];
        }
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
            vb w = vb_load(p[b].q[g]);
            for (int t = 0; t < n; t++) {
                vi *s = geometry == SLM_SCALE16 && g >= 4 ? s1 : s0;
                s[t] = vi_dot(s[t], w, vb_set1(q + t * stored * SLM_QBLOCK + g * 4));
            }
        }
        vf d0 = vf_load(p[b].d0), d1 = vf_load(p[b].d1);
        vi k = vi_load(p[b].k);
        for (int t = 0; t < n; t++) {
            int64_t a = at + b + t * stored;
            int32_t half;
            memcpy(&half, x->half + a * 2, sizeof half);
            vf u = lanes_dot(geometry, s0[t], s1[t], d0, d1, vf_set1(x->sum[a]), k, vi_set1(half));
            acc[t] = vf_fma(vf_set1(x->d[a]), u, acc[t]);
        }
    }
}

INLINE void panel_tile(slm_geometry geometry, int n, const panel *p, const slm_matmul *m,
                       int32_t row, int32_t n_rows, int32_t token) {
    int32_t nb = slm__n_blocks(m->n_in);
    int64_t stored = slm__n_blocks_stored(m->n_in), at = token * stored;
    vf even[GEMM_TOKENS], odd[GEMM_TOKENS], acc[GEMM_TOKENS];
    panel_stripe(geometry, n, p, nb, 0, m->x, at, stored, even);
    panel_stripe(geometry, n, p, nb, 2, m->x, at, stored, acc);
    for (int t = 0; t < n; t++) even[t] = vf_add(even[t], acc[t]);
    panel_stripe(geometry, n, p, nb, 1, m->x, at, stored, odd);
    panel_stripe(geometry, n, p, nb, 3, m->x, at, stored, acc);
    for (int t = 0; t < n; t++) {
        vf sum = vf_add(vf_add(even[t], vf_add(odd[t], acc[t])), vf_zero());
        vf_store_n(m->out + (token + t) * m->out_stride + row, sum, n_rows);
    }
}

INLINE void many_tokens(unpack_fn unpack, slm_geometry geometry, const slm_matmul *m, int32_t row,
                        int32_t n_rows, panel *p) {
    const int width = geometry == SLM_SCALE16 ? GEMM_TOKENS_16 : GEMM_TOKENS;
    unpack_panel(unpack, geometry, m, row, n_rows, p);
    int32_t t = 0;
    for (; t + width <= m->n_tokens; t += width) panel_tile(geometry, width, p, m, row, n_rows, t);
    for (; width > 4 && t + 4 <= m->n_tokens; t += 4) panel_tile(geometry, 4, p, m, row, n_rows, t);
    for (; t < m->n_tokens; t++) panel_tile(geometry, 1, p, m, row, n_rows, t);
}

INLINE void matmul_quant(unpack_fn unpack, slm_geometry geometry, const slm_matmul *m, int32_t row,
                         int32_t n_rows, void *scratch) {
    int32_t end = row + n_rows;
    if (m->n_tokens < PANEL_TOKENS) {
        for (; row < end; row += STEP_ROWS) {
            few_tokens(unpack, geometry, m, row, end - row < STEP_ROWS ? end - row : STEP_ROWS,
                       scratch);
        }
    } else {
        for (; row < end; row += SLM_STRIP) {
            many_tokens(unpack, geometry, m, row, end - row < SLM_STRIP ? end - row : SLM_STRIP,
                        scratch);
        }
    }
}

#define X(name, id, bw, type, geometry)                                                          \
    static void matmul_##name(const slm_matmul *m, int32_t row, int32_t n_rows, void *scratch) { \
        matmul_quant(unpack_##name, SLM_##geometry, m, row, n_rows, scratch);                    \
    }
SLM_QUANT_TYPES(X)
#undef X

/* ---- Weights as floats: 4 rows x a few tokens, lanes along the row ---- */

typedef vf (*load_weights_fn)(const void *w, int64_t i);
static inline vf weights_F32(const void *w, int64_t i) { return vf_load((const float *)w + i); }
static inline vf weights_F16(const void *w, int64_t i) {
    return vf_load_f16((const slm_f16 *)w + i);
}
static inline vf weights_BF16(const void *w, int64_t i) {
    return vf_load_bf16((const slm_bf16 *)w + i);
}

INLINE void float_tile(load_weights_fn load, size_t weight_bytes, int n, const slm_matmul *m,
                       int32_t row, int32_t n_rows, int32_t token) {
    const uint8_t *w[STEP_ROWS];
    const float *x = m->x->x + (int64_t)token * m->n_in;
    vf acc[STEP_ROWS][FLOAT_TOKENS];
    for (int r = 0; r < STEP_ROWS; r++) {
        w[r] = m->w + (uint64_t)(row + (r < n_rows ? r : n_rows - 1)) * m->row_bytes;
        for (int t = 0; t < n; t++) acc[r][t] = vf_zero();
    }
    int32_t i = 0, left = m->n_in % SLM_LANES;
    for (; i < m->n_in - left; i += SLM_LANES) {
        for (int r = 0; r < STEP_ROWS; r++) {
            vf wr = load(w[r], i);
            for (int t = 0; t < n; t++)
                acc[r][t] = vf_fma(wr, vf_load(x + (int64_t)t * m->n_in + i), acc[r][t]);
        }
    }
    for (int r = 0; left && r < STEP_ROWS; r++) {
        uint8_t tail[SLM_LANES * sizeof(float)] = {0};
        memcpy(tail, w[r] + (size_t)i * weight_bytes, (size_t)left * weight_bytes);
        vf wr = load(tail, 0);
        for (int t = 0; t < n; t++)
            acc[r][t] = vf_fma(wr, vf_load_n(x + (int64_t)t * m->n_in + i, left), acc[r][t]);
    }
    for (int t = 0; t < n; t++) {
        for (int r = 0; r < n_rows; r++)
            m->out[(token + t) * m->out_stride + row + r] = lanes_sum(acc[r][t]);
    }
}

INLINE void matmul_float(load_weights_fn load, size_t weight_bytes, const slm_matmul *m,
                         int32_t row, int32_t n_rows) {
    for (int32_t r = row; r < row + n_rows; r += STEP_ROWS) {
        int32_t n = row + n_rows - r < STEP_ROWS ? row + n_rows - r : STEP_ROWS, t = 0;
        for (; t + FLOAT_TOKENS <= m->n_tokens; t += FLOAT_TOKENS)
            float_tile(load, weight_bytes, FLOAT_TOKENS, m, r, n, t);
        for (; t < m->n_tokens; t++) float_tile(load, weight_bytes, 1, m, r, n, t);
    }
}

#define X(name, id, bw, type)                                                                    \
    static void matmul_##name(const slm_matmul *m, int32_t row, int32_t n_rows, void *scratch) { \
        (void)scratch;                                                                           \
        matmul_float(weights_##name, sizeof(type), m, row, n_rows);                              \
    }
SLM_FLOAT_TYPES(X)
#undef X

/* ---- Rows of float types as floats (of quantized types: unpack.h) ---- */

#define X(name, id, bw, type)                                                               \
    static void dequantize_##name(const void *w, int64_t n, float *out) {                   \
        int64_t i = 0;                                                                      \
        for (; i + SLM_LANES <= n; i += SLM_LANES) vf_store(out + i, weights_##name(w, i)); \
        if (i == n) return;                                                                 \
        uint8_t tail[SLM_LANES * sizeof(float)] = {0};                                      \
        memcpy(tail, (const type *)w + i, (size_t)(n - i) * sizeof(type));                  \
        vf_store_n(out + i, weights_##name(tail, 0), (int)(n - i));                         \
    }
SLM_FLOAT_TYPES(X)
#undef X
