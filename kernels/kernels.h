/* The table of kernels: everything that computes on arrays, once per instruction set.
 *
 * Each slot's contract is below; the order of its float operations is in docs/numerics.md, and ref.c, plain C, is the
 * specification: every other table gives its bits. Kernels know nothing of models, files or threads; they allocate nothing
 * and hold no state. Pointers need the alignment of their type only, and no two overlap unless the contract says so.
 */
#ifndef SLM_KERNELS_H
#define SLM_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "blocks.h"

enum {
    SLM_QBLOCK = 32, /* activations that share a scale                          */
    SLM_STRIPES = 4, /* block b of a row adds to partial sum b mod 4            */
    SLM_LANES = 16,  /* float i of a sum in f32 adds to partial sum i mod 16    */
    SLM_PAGE = 64,   /* positions in a page of the KV cache                     */
    SLM_STRIP = 16,  /* rows that a matrix product unpacks at a time            */
};

/* Blocks of 32 in `n` values, and the number that is stored: up to a whole number of stripes, the rest zero. */
static inline int32_t slm__n_blocks(int32_t n) { return (n + SLM_QBLOCK - 1) / SLM_QBLOCK; }
static inline int32_t slm__n_blocks_stored(int32_t n) {
    return (slm__n_blocks(n) + SLM_STRIPES - 1) / SLM_STRIPES * SLM_STRIPES;
}

/*
 * The inputs of a matrix product: one row of n values per token, as floats and, where a quantized matrix wants them,
 * as integers with a scale per 32: x ~ d * q. nb = slm__n_blocks_stored(n).
 *
 * Four blocks (the stripes) lie together, in groups of four values, so that a vector of four lanes holds a group of each:
 * slm__act_at() says where a value is.
 *
 * Wide ones have 16 bits, 255 * high + low. A token has one row, or if wide two: token t the rows 2t, the high parts, and 2t + 1,
 * the low ones; its d and its sum, of the whole integers, are in row 2t.
 */
typedef struct slm_acts {
    int32_t n;     /* values of a row                                              */
    bool wide;     /* see above                                                    */
    float *x;      /* [n_tokens, n]                                                */
    int8_t *q;     /* [n_rows, nb / 4, 8 groups, 4 blocks, 4 values], -127 .. 127  */
    float *d;      /* [n_rows, nb]                                                 */
    float *sum;    /* [n_rows, nb]     sum of q over the block, exact              */
    int16_t *half; /* [n_rows, nb, 2]  sums of q over each half of the block       */
} slm_acts;

/* Rows that so many tokens have. */
static inline int32_t slm__act_rows(const slm_acts *x, int32_t n_tokens) {
    return x->wide ? 2 * n_tokens : n_tokens;
}

enum { SLM_WIDE = 255, SLM_WIDE_MAX = SLM_WIDE * 127 + 127 };

/* Where value j (0 .. 31) of block b of a row lies in q. */
static inline int64_t slm__act_at(int64_t b, int j) {
    return b / SLM_STRIPES * (SLM_STRIPES * SLM_QBLOCK) + j / 4 * 16 + b % SLM_STRIPES * 4 + j % 4;
}

/* out[t * out_stride + r] = sum over k of w[r, k] * x[t, k] */
typedef struct slm_matmul {
    const uint8_t *w; /* [n_out, n_in] in blocks, without gaps */
    uint64_t row_bytes;
    int32_t n_in;      /* a whole number of blocks     */
    int32_t n_out;     /* of all rows, not only those that one call computes */
    int32_t n_tokens;  /* at least 1 */
    const slm_acts *x; /* [n_tokens, n_in]             */
    float *out;
    int64_t out_stride;
    bool near; /* quantized weights are fetched into the first-level cache: slm__fetches_near() */
} slm_matmul;

/* Rows [row, row + n_rows) for all tokens. `scratch`: slm__matmul_scratch(n_in) bytes, aligned to 64, one per thread. */
typedef void (*slm_matmul_fn)(const slm_matmul *m, int32_t row, int32_t n_rows, void *scratch);

size_t slm__matmul_scratch(int32_t n_in);

/* Fill rows 2 * token and 2 * token + 1 of q, d, sum, half from row `token` of x: wide activations. The same
 * code on every level, as few rows are wide. */
void slm__quantize_wide(const slm_acts *a, int32_t token);

/* One page of 64 positions of one KV head against n_q queries (of all heads that share it, of one token or more). */
typedef struct slm_attn_page {
    const void *k; /* [head_dim, 64]: a position is a column                 */
    const void *v; /* [64, head_dim_stored]                                  */
    const slm_f16 *k_scale,
        *v_scale;       /* SLM_STORE_Q8_0: [blocks of 32 in head_dim, 64]; else NULL */
    const void *next_k; /* keys that will be asked for next: fetched meanwhile. NULL: unknown */
    int32_t head_dim;
    int32_t head_dim_stored; /* rounded up to 16; what is beyond head_dim is zero */
    int32_t n_q;
    const float *q; /* [n_q, head_dim_stored], scaled                         */
    const int32_t *first,
        *last; /* [n_q]: query i sees positions first[i] .. last[i] of the page, 0 <= first <= last < 64 */
    float soft_cap; /* > 0: scores are cap * tanh(score / cap)                */
    float *max;     /* [n_q] out: the highest score                           */
    float *sum;     /* [n_q] out: sum of exp(score - max)                     */
    float *out;     /* [n_q, head_dim_stored] out: sum of exp(score - max) * v */
} slm_attn_page;

/* Q8_0: integers of 8 bits, 32 values of a position of a head share a scale. */
typedef enum slm_kv_store {
    SLM_STORE_F16,
    SLM_STORE_F32,
    SLM_STORE_Q8_0,
    SLM_N_STORES
} slm_kv_store;

/* A block, taken apart. Codes count from the lowest level, 0; scales of groups are as the formula in blocks.h has them. */
typedef struct slm_parts {
    uint16_t d, m;  /* bits of the scale and, if the type has one, of the minimum (or its scale) */
    int16_t sc[16]; /* scale of each group: sc - 32 in Q3_K and IQ4_XS */
    int16_t mn[16]; /* minimum of each group */
    uint8_t code[256];
} slm_parts;

typedef struct slm_kernels {
    const char *name; /* of the level: "c", "avx2", ... */

    /* n weights of a row (a whole number of blocks) as floats. */
    void (*dequantize[SLM_N_TYPES])(const void *w, int64_t n, float *out);

    slm_matmul_fn matmul[SLM_N_TYPES];

    /* Fill row `token` of q, d, sum, half from row `token` of x. */
    void (*quantize)(const slm_acts *a, int32_t token);

    /* out = x / sqrt(mean(x^2) + eps) * w; out may be x. */
    void (*rms_norm)(const float *x, const float *w, int32_t n, float eps, float *out);

    /* out = gate / (1 + exp(-gate)) * up; out may be gate or up. */
    void (*silu_mul)(const float *gate, const float *up, int32_t n, float *out);

    /* out = gelu(gate) * up, the form with tanh; out may be gate or up. */
    void (*gelu_mul)(const float *gate, const float *up, int32_t n, float *out);

    /* x = cap * tanh(x / cap) */
    void (*soft_cap)(float *x, int32_t n, float cap);

    /* out = exp((x - max) / temperature), at least exp(-87). */
    void (*weights)(const float *x, int32_t n, float max, float temperature, float *out);

    /* x += y */
    void (*add)(float *x, const float *y, int32_t n);

    void (*to_f16)(const float *x, int32_t n, slm_f16 *out);

    /* q [n] and a scale for each 32 of them, d [slm__n_blocks(n)]: x ~ d * q. */
    void (*to_q8)(const float *x, int32_t n, int8_t *q, slm_f16 *d);

    /* Scales, minima and codes of a block of a quantized type with a small sum of w * error^2. x [a block], finite; w [a block], how
     * much each weight counts, finite and >= 0, or NULL: all alike. */
    void (*search)(slm_type type, const float *x, const float *w, slm_parts *p);

    void (*attn_page[SLM_N_STORES])(const slm_attn_page *a);

    /* Fold the result of a page into that of the pages before it: max, sum, out [n] are both in and out. */
    void (*attn_merge)(float *max, float *sum, float *out, float page_max, float page_sum,
                       const float *page_out, int32_t n);
} slm_kernels;

/* Tables by rising level, "c" first; NULL past the last that this machine can run. */
const slm_kernels *slm__kernels_level(int32_t index);

/* The table of that name, or NULL: unknown, or not on this machine. NULL name: the highest. */
const slm_kernels *slm__kernels_named(const char *name);

/* For slm_matmul.near: whether this processor is known to read faster so (docs/design.md). */
bool slm__fetches_near(void);

#endif
