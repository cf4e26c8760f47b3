/* Matrix products, written once over the vector vocabulary of a simd_*.h and the unpackers of steps.h. Bits as ref.c.
 *
 * A step is four blocks, the four stripes, in each part (128 bits) of a vector. One token or two (of wide ones, one) take their steps
 * straight from the unpacker (few_tmpl.h), more sweep over strips of rows that are unpacked once (strip_tmpl.h). Matrices of floats:
 * float_tmpl.h.
 */

#include <stdbool.h>

#include "kernels.h"
#include "steps.h"
#include "unpack.h"

/* What products of steps have to know: constants, once inlined. */
typedef struct code_type {
    slm_geometry geometry;
    int max, zero; /* codes are 0 .. max and stand for code - zero */
    bool wide;     /* two rows of activations make one of 16 bits */
} code_type;

/* How a type stores them. */
typedef struct quant_type {
    void (*unpack)(const parts *w, int32_t i, step *s);
    int32_t block_bytes;
    int steps;       /* in a whole number of blocks: 2 in a super-block, whose halves differ */
    code_type codes; /* wide: of few tokens only, as products of strips ask the activations */
} quant_type;

/* ---- Products of vectors: four blocks in each part (of squares_tmpl.h: one block of two rows and two tokens) ---- */

/* What codes that stand for code - zero have too much, in both halves of blocks or (SCALE16) in one of them, negative. halves: sums of
 * the activations in each half of the blocks. */
INLINE ri zero_offset(const code_type *codes, rw halves, int half) {
    int zero = codes->zero == 128 ? SIGNED_ZERO : codes->zero;
    uint32_t minus = (uint32_t)-zero & 0xffff;
    if (zero == 0) return (ri){0};
    if (codes->geometry == SLM_SCALE16)
        minus <<= 16 * half;
    else
        minus *= 0x10001u;
    return madd16(halves, (rw){0} + minus);
}

/* What a vector comes to with integers of activations: of all 32 weights, or of each half; of minima (SCALE_MIN16). */
typedef struct step_sums {
    ri s[2], min;
} step_sums;

/* SLM_WIDE * high + low */
INLINE ri wide_sum(ri high, ri low) { return (ri)((rw)high << 8) - high + low; }
_Static_assert(SLM_WIDE == (1 << 8) - 1, "wide_sum()");

/* Those of high parts become those of whole integers. */
INLINE void add_low_sums(const code_type *codes, step_sums *high, const step_sums *low) {
    high->s[0] = wide_sum(high->s[0], low->s[0]);
    if (codes->geometry == SLM_SCALE16) high->s[1] = wide_sum(high->s[1], low->s[1]);
    if (codes->geometry == SLM_SCALE_MIN16) high->min = wide_sum(high->min, low->min);
}

/* The product with activations of scale 1 (ref.c: block_dot). sum: of their integers. */
INLINE rf scaled(const code_type *codes, const step_sums *sums, const rf *d0, const rf *d1,
                 rw sum) {
    rf u = *d0 * to_float(sums->s[0]);
    switch (codes->geometry) {
    case SLM_SCALE16: return rf_fma(*d1, to_float(sums->s[1]), u);
    case SLM_SCALE_MIN: return rf_fma(*d1, (rf)sum, u);
    case SLM_SCALE_MIN16: return rf_fma(*d1, to_float(sums->min), u);
    default: return u;
    }
}

INLINE void store_rows(rf acc, int32_t n_rows, float *out) {
    if (n_rows >= ROWS) {
        fold_rows(acc, out);
    } else if (n_rows > 0) {
        float t[ROWS];
        fold_rows(acc, t);
        memcpy(out, t, (size_t)n_rows * sizeof *out);
    }
}

/* ---- Rows ---- */

/* Rows that are not there repeat the last one; their results are dropped. */
INLINE parts rows_at(const slm_matmul *m, int32_t row, int32_t n_rows) {
    parts w = {.joined = false, .n_blocks = SLM_STRIPES};
    for (int r = 0; r < ROWS; r++)
        w.at[r] = m->w + (uint64_t)(row + (r < n_rows ? r : n_rows - 1)) * m->row_bytes;
    return w;
}

/* The last step of rows whose blocks are no whole number of steps: blocks that are not there are zeros, as the activations there are. */
INLINE bool has_last_step(const quant_type *type, int32_t nb) {
    return type->steps == 1 && nb % SLM_STRIPES != 0;
}

INLINE void last_step(const quant_type *type, const slm_matmul *m, const parts *w, step *s) {
    int32_t nb = slm__n_blocks(m->n_in);
    parts p = {.joined = false, .n_blocks = nb % SLM_STRIPES};
    int64_t from = (int64_t)(nb - p.n_blocks) * type->block_bytes;
    for (int r = 0; r < ROWS; r++) p.at[r] = w->at[r] + from;
    type->unpack(&p, 0, s);
}

/* ---- A few tokens, and several ---- */

enum { FETCH_AHEAD = 12288 };

/* Weights are read once, so those far ahead come into the first level and past the others where a processor is fast with that (`near`).
 * Others wait for no more than some lines of the first level at a time, which holds back all reading: there they come into the second. */
INLINE void fetch(const uint8_t *p, int64_t n_bytes, bool near) {
    if (runtime_bool(near)) {
        for (int64_t i = 0; i < n_bytes; i += 64) __builtin_prefetch(p + i, 0, 0);
    } else {
        for (int64_t i = 0; i < n_bytes; i += 64) __builtin_prefetch(p + i, 0, 2);
    }
}

INLINE void fetch_ahead(const uint8_t *p, int32_t n_bytes, bool near) {
    fetch(p + FETCH_AHEAD, n_bytes, near);
}

#include "few_tmpl.h"
#if SWAPS
#include "joined_tmpl.h"
#else
#include "apart_tmpl.h"
#endif

#include "strip_tmpl.h"

INLINE void matmul_quant(quant_type type, strip_fn products, const slm_matmul *m, int32_t row,
                         int32_t n_rows, void *scratch) {
    if (slm__act_rows(m->x, m->n_tokens) > FEW_ACTS) {
        for (int32_t end = row + n_rows; row < end; row += SLM_STRIP)
            several_tokens(&type, products, m, row, end - row < SLM_STRIP ? end - row : SLM_STRIP,
                           scratch);
    } else if (m->x->wide) {
        type.codes.wide = true;
        few_tokens(&type, 2, m, row, n_rows, scratch);
    } else if (m->n_tokens == 2) {
        few_tokens(&type, 2, m, row, n_rows, scratch);
    } else {
        few_tokens(&type, 1, m, row, n_rows, scratch);
    }
}

#define X(name, id, bw, block, geometry, max, zero)                                              \
    static void matmul_##name(const slm_matmul *m, int32_t row, int32_t n_rows, void *scratch) { \
        const quant_type type = {                                                                \
            step_##name, sizeof(block), (bw) / 256 + 1, {SLM_##geometry, max, zero, false}};     \
        matmul_quant(type, products_##geometry##_##max##_##zero, m, row, n_rows, scratch);       \
    }
SLM_QUANT_TYPES(X)
#undef X

#include "float_tmpl.h"
