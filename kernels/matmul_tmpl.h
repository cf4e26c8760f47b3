/* Matrix products, written once over the vector vocabulary of a simd_*.h and the unpackers of steps.h. Bits as ref.c.
 *
 * A step is four blocks, the four stripes, in each part (128 bits) of a vector. One token or two (of wide ones, one) take their steps
 * straight from the unpacker (few_tmpl.h). More tokens sweep over a strip of rows, parts being rows, that was
 * unpacked into the thread's scratch once, so weights are read once however many tokens there are.
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

/* ---- Products of steps: four blocks in each part of a vector ---- */

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

/* What four blocks in each part come to with integers of activations: of all 32 weights, or of each half; of minima (SCALE_MIN16). */
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
INLINE rf scaled(const code_type *codes, const step_sums *sums, const step *w, rw sum) {
    rf u = w->d0 * to_float(sums->s[0]);
    switch (codes->geometry) {
    case SLM_SCALE16: return rf_fma(w->d1, to_float(sums->s[1]), u);
    case SLM_SCALE_MIN: return rf_fma(w->d1, (rf)sum, u);
    case SLM_SCALE_MIN16: return rf_fma(w->d1, to_float(sums->min), u);
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

/* ---- A few tokens ---- */

enum { FETCH_AHEAD = 12288 };

/* To the second-level cache, and far ahead: the first level waits for no more than some lines at a time, which holds back the others. */
INLINE void fetch_ahead(const uint8_t *p, int32_t n_bytes) {
    UNROLL
    for (int32_t i = 0; i < n_bytes; i += 64) __builtin_prefetch(p + FETCH_AHEAD + i, 0, 2);
}

#include "few_tmpl.h"
#if SWAPS
#include "joined_tmpl.h"
#else
#include "apart_tmpl.h"
#endif

/* ---- Several tokens: a strip of rows, unpacked ---- */

/* Rows of activations that a tile has at most; wide ones come in pairs. */
enum { TILE_ACTS = (TILE_TOKENS + 1) / 2 * 2 };
INLINE int tile_rows(const code_type *codes) { return codes->wide ? TILE_ACTS : TILE_TOKENS; }

/* The next strip, or what lies further ahead if strips are short: fetched piece by piece while this one is unpacked and multiplied, as
 * the processor drops what is more than it can wait for. */
typedef struct ahead {
    const uint8_t *at, *end;
    int64_t piece; /* for each step of a vector or a tile */
} ahead;

_Static_assert(SLM_STRIP % (ROWS * TILE_VECTORS) == 0, "strips are whole tiles");
_Static_assert(TILE_VECTORS % 2 == 0, "store_square()");
INLINE ahead next_strip(const slm_matmul *m, int32_t row, int32_t n_steps) {
    int64_t n_bytes = SLM_STRIP * (int64_t)m->row_bytes;
    const uint8_t *at =
        m->w + (uint64_t)row * m->row_bytes + (n_bytes > FETCH_AHEAD ? n_bytes : FETCH_AHEAD);
    int64_t most = m->x->wide ? TILE_ACTS : TILE_TOKENS, n = slm__act_rows(m->x, m->n_tokens),
            tiles = n / most + (n % most + 1) / 2;
    int64_t times = (tiles + TILE_VECTORS) * n_steps * (SLM_STRIP / ROWS / TILE_VECTORS);
    return (ahead){at, at + n_bytes, (n_bytes / times / 64 + 1) * 64};
}

INLINE void fetch_piece(ahead *a) {
    if (a->at >= a->end) return;
    for (const uint8_t *end = a->at + a->piece; a->at < end; a->at += 64)
        __builtin_prefetch(a->at, 0, 2);
}

/* The activations of four blocks, the same for all rows. */
typedef struct step_acts {
    const int8_t *q; /* [8 groups] */
    const float *d, *sum;
    const int16_t *half;
} step_acts;

INLINE step_acts acts_at(const slm_acts *x, int64_t block) {
    return (step_acts){x->q + block * SLM_QBLOCK, x->d + block, x->sum + block,
                       x->half + block * 2};
}

/* One step of `nv` vectors of rows x `nt` rows of activations (both constant), in groups: acc[v][token] goes on. */
INLINE void add_step(const code_type *codes, int nv, int nt, const step *const s[],
                     const step_acts a[], rf acc[TILE_VECTORS][TILE_ACTS]) {
    const int limit = codes->geometry == SLM_SCALE16 ? 4 : 8;
    const int run = DOT_RUN(codes->max) < limit ? DOT_RUN(codes->max) : limit;
    step_sums sums[TILE_VECTORS][TILE_ACTS];
    rdots part[TILE_VECTORS][TILE_ACTS];
    UNROLL
    for (int g = 0; g < 8; g++) {
        const int half = g / limit;
        UNROLL
        for (int t = 0; t < nt; t++) {
            rw x = rw_all4(a[t].q + 16 * g);
            UNROLL
            for (int v = 0; v < nv; v++) {
                ri *sum = &sums[v][t].s[half];
                if (g % limit == 0) *sum = zero_offset(codes, rw_all4(a[t].half), half);
                part[v][t] = g % run == 0 ? dot_first(codes->max, *sum, s[v]->q[g], x)
                                          : dot_more(codes->max, part[v][t], s[v]->q[g], x);
                if (g % run == run - 1) *sum = dot_last(part[v][t], *sum);
            }
        }
    }
    const int rows = codes->wide ? 2 : 1; /* of a token */
    UNROLL
    for (int t = 0; t < nt; t += rows) {
        rf d = (rf)rw_all4(a[t].d);
        UNROLL
        for (int v = 0; v < nv; v++) {
            for (int i = t; i < t + rows && codes->geometry == SLM_SCALE_MIN16; i++)
                sums[v][i].min = madd16(s[v]->k, rw_all4(a[i].half));
            if (codes->wide) add_low_sums(codes, &sums[v][t], &sums[v][t + rows - 1]);
            rf u = scaled(codes, &sums[v][t], s[v], rw_all4(a[t].sum));
            acc[v][t / rows] = rf_fma(d, u, acc[v][t / rows]);
        }
    }
}

/* Two vectors of rows and two tokens (or the last one): out[token * stride + row]. */
INLINE void store_square(rf acc[TILE_VECTORS][TILE_ACTS], int v, int t, int nt, int32_t n_rows,
                         float *out, int64_t stride) {
    if (t + 1 < nt && n_rows >= 2 * ROWS) {
        fold_square(acc[v][t], acc[v + 1][t], acc[v][t + 1], acc[v + 1][t + 1], out + t * stride,
                    out + (t + 1) * stride);
        return;
    }
    for (int u = t; u < nt && u < t + 2; u++) {
        store_rows(acc[v][u], n_rows, out + u * stride);
        store_rows(acc[v + 1][u], n_rows - ROWS, out + u * stride + ROWS);
    }
}

/* TILE_VECTORS vectors and nt (constant) rows of activations, from `act_row` on. */
INLINE void tile(const code_type *codes, int nt, const slm_matmul *m, const step *strip,
                 int32_t act_row, int32_t row, int32_t n_rows, ahead *next) {
    const int n_out = tokens_of(codes, nt);
    int64_t stored = slm__n_blocks_stored(m->n_in);
    int32_t n_steps = (int32_t)stored / SLM_STRIPES;
    rf acc[TILE_VECTORS][TILE_ACTS] = {{{0}}};
    for (int32_t i = 0; i < n_steps; i++) {
        const step *s[TILE_VECTORS];
        step_acts a[TILE_ACTS];
        fetch_piece(next);
        for (int v = 0; v < TILE_VECTORS; v++) s[v] = &strip[v * n_steps + i];
        for (int t = 0; t < nt; t++) a[t] = acts_at(m->x, (act_row + t) * stored + i * SLM_STRIPES);
        add_step(codes, TILE_VECTORS, nt, s, a, acc);
    }
    float *out = m->out + tokens_of(codes, act_row) * m->out_stride + row;
    UNROLL
    for (int v = 0; v < TILE_VECTORS; v += 2) {
        UNROLL
        for (int t = 0; t < n_out; t += 2)
            store_square(acc, v, t, n_out, n_rows - v * ROWS, out + v * ROWS, m->out_stride);
    }
}

/* All tiles of the strip with nt (constant) rows of activations. */
INLINE void sweep(const code_type *codes, int nt, const slm_matmul *m, const step *strip,
                  int32_t act_row, int32_t row, int32_t n_rows, ahead *next) {
    const int rows = TILE_VECTORS * ROWS;
    int32_t n_steps = slm__n_blocks_stored(m->n_in) / SLM_STRIPES;
    for (int32_t r = 0; r < n_rows; r += rows)
        tile(codes, nt, m, strip + r / ROWS * n_steps, act_row, row + r, n_rows - r, next);
}

INLINE void strip_products(const code_type *codes, const slm_matmul *m, const step *strip,
                           int32_t row, int32_t n_rows, ahead next) {
    const int most = tile_rows(codes);
    int32_t t = 0, n = slm__act_rows(m->x, m->n_tokens);
    for (; t + most <= n; t += most) sweep(codes, most, m, strip, t, row, n_rows, &next);
    for (; most > 2 && t + 2 <= n; t += 2) sweep(codes, 2, m, strip, t, row, n_rows, &next);
    if (!codes->wide && t < n) sweep(codes, 1, m, strip, t, row, n_rows, &next);
}

typedef void (*strip_fn)(const slm_matmul *m, const step *strip, int32_t row, int32_t n_rows,
                         ahead next);

/* X(geometry, largest code, zero): all that SLM_QUANT_TYPES has, each once, as products of strips are most of what there is to compile. */
#define CODE_TYPES(X)   \
    X(SCALE, 15, 8)     \
    X(SCALE, 31, 16)    \
    X(SCALE, 255, 128)  \
    X(SCALE, 24, 12)    \
    X(SCALE_MIN, 15, 0) \
    X(SCALE_MIN, 31, 0) \
    X(SCALE16, 7, 4)    \
    X(SCALE16, 63, 32)  \
    X(SCALE_MIN16, 45, 0)

#define X(geometry, max, zero)                                                                  \
    static void products_##geometry##_##max##_##zero(const slm_matmul *m, const step *strip,    \
                                                     int32_t row, int32_t n_rows, ahead next) { \
        const code_type narrow = {SLM_##geometry, max, zero, false},                            \
                        wide = {SLM_##geometry, max, zero, true};                               \
        if (m->x->wide)                                                                         \
            strip_products(&wide, m, strip, row, n_rows, next);                                 \
        else                                                                                    \
            strip_products(&narrow, m, strip, row, n_rows, next);                               \
    }
CODE_TYPES(X)
#undef X

/* strip[v * n_steps + i]: step i of vector v of the strip. */
INLINE void unpack_strip(const quant_type *type, const slm_matmul *m, int32_t row, int32_t n_rows,
                         int32_t n_vectors, step *strip, ahead *next) {
    int32_t nb = slm__n_blocks(m->n_in), whole = nb / SLM_STRIPES;
    int32_t n_steps = slm__n_blocks_stored(m->n_in) / SLM_STRIPES;
    for (int32_t v = 0; v < n_vectors; v++) {
        int32_t first = v * ROWS < n_rows ? v * ROWS : n_rows - 1;
        parts w = rows_at(m, row + first, n_rows - first);
        for (int32_t i = 0; i < whole; i += type->steps) {
            UNROLL
            for (int half = 0; half < type->steps; half++) {
                fetch_piece(next);
                step *s = &strip[v * n_steps + i + half];
                type->unpack(&w, i + half, s);
                if (type->codes.geometry == SLM_SCALE_MIN16) multiply_codes(s);
                group(s);
            }
        }
        if (has_last_step(type, nb)) {
            last_step(type, m, &w, &strip[v * n_steps + whole]);
            group(&strip[v * n_steps + whole]);
        }
    }
}

INLINE void several_tokens(const quant_type *type, strip_fn products, const slm_matmul *m,
                           int32_t row, int32_t n_rows, step *strip) {
    const int rows = TILE_VECTORS * ROWS;
    ahead next = next_strip(m, row, slm__n_blocks_stored(m->n_in) / SLM_STRIPES);
    unpack_strip(type, m, row, n_rows, (n_rows + rows - 1) / rows * TILE_VECTORS, strip, &next);
    products(m, strip, row, n_rows, next);
}

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

/* ---- Weights as floats: a few rows x a few tokens, lanes along the row ---- */

typedef vf (*load_weights_fn)(const void *w, int64_t i);
static inline vf weights_F32(const void *w, int64_t i) { return vf_load((const float *)w + i); }
static inline vf weights_F16(const void *w, int64_t i) {
    return vf_load_f16((const slm_f16 *)w + i);
}
static inline vf weights_BF16(const void *w, int64_t i) {
    return vf_load_bf16((const slm_bf16 *)w + i);
}

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

/* ---- Their products ---- */

/* Values that a tile takes in before the next one does: those of its rows and of its tokens stay in the first-level cache. One token
 * meets whole rows, as they come from memory. */
enum { FLOAT_CHUNK = 512 };
_Static_assert(SLM_STRIP % FLOAT_ROWS == 0 && FLOAT_CHUNK % SLM_LANES == 0, "float_rows()");

/* Rows that come after these, some multiple of nr, begin so many bytes further. */
INLINE int64_t rows_ahead(const slm_matmul *m, int nr) {
    int64_t n_bytes = nr * (int64_t)m->row_bytes;
    return (FETCH_AHEAD / n_bytes + 1) * n_bytes;
}

/* Values [from, to) of nr rows, w, x nt tokens (both constant): acc goes on. Only the range that ends a row may end within a
 * vector. */
INLINE void add_columns(load_weights_fn load, size_t weight_bytes, int nr, int nt,
                        const slm_matmul *m, const uint8_t *const w[], int32_t token, int32_t from,
                        int32_t to, vf acc[FLOAT_ROWS][FLOAT_TOKENS]) {
    const int64_t further = rows_ahead(m, nr);
    const float *x = m->x->x + (int64_t)token * m->n_in;
    int32_t i = from, left = to % SLM_LANES;
    for (; i < to - left; i += SLM_LANES) {
        UNROLL
        for (int r = 0; r < nr; r++) {
            vf wr = load(w[r], i);
            if (token == 0) __builtin_prefetch(w[r] + further + (size_t)i * weight_bytes, 0, 2);
            UNROLL
            for (int t = 0; t < nt; t++)
                acc[r][t] = vf_fma(wr, vf_load(x + (int64_t)t * m->n_in + i), acc[r][t]);
        }
    }
    if (!left) return;
    UNROLL
    for (int r = 0; r < nr; r++) {
        uint8_t tail[SLM_LANES * sizeof(float)] = {0};
        memcpy(tail, w[r] + (size_t)i * weight_bytes, (size_t)left * weight_bytes);
        vf wr = load(tail, 0);
        UNROLL
        for (int t = 0; t < nt; t++)
            acc[r][t] = vf_fma(wr, vf_load_n(x + (int64_t)t * m->n_in + i, left), acc[r][t]);
    }
}

/* The same of rows from `row` on, of which n_rows are there. Where the columns end, the sums go to m->out. */
INLINE void float_tile(load_weights_fn load, size_t weight_bytes, int nr, int nt,
                       const slm_matmul *m, int32_t row, int32_t n_rows, int32_t token,
                       int32_t from, int32_t to, vf acc[FLOAT_ROWS][FLOAT_TOKENS]) {
    const uint8_t *w[FLOAT_ROWS];
    vf sums[FLOAT_ROWS][FLOAT_TOKENS];
    UNROLL
    for (int r = 0; r < nr; r++) {
        w[r] = m->w + (uint64_t)(row + (r < n_rows ? r : n_rows - 1)) * m->row_bytes;
        UNROLL
        for (int t = 0; t < nt; t++) sums[r][t] = from == 0 ? vf_zero() : acc[r][t];
    }
    add_columns(load, weight_bytes, nr, nt, m, w, token, from, to, sums);
    if (to < m->n_in) {
        UNROLL
        for (int r = 0; r < nr; r++) {
            UNROLL
            for (int t = 0; t < nt; t++) acc[r][t] = sums[r][t];
        }
        return;
    }
    UNROLL
    for (int t = 0; t < nt; t++) {
        float *out = m->out + (token + t) * m->out_stride + row;
        vf of_rows[FLOAT_ROWS];
        UNROLL
        for (int r = 0; r < nr; r++) of_rows[r] = sums[r][t];
        if (nr == FLOAT_ROWS && n_rows >= nr) {
            vf_fold_rows(of_rows, out);
            continue;
        }
        UNROLL
        for (int r = 0; r < nr; r++)
            if (r < n_rows) out[r] = lanes_sum(of_rows[r]);
    }
}

/* Rows `from` .. `end`, at most SLM_STRIP, for nt tokens, nr rows at a time (both constant). */
INLINE void float_rows(load_weights_fn load, size_t weight_bytes, int nr, int nt,
                       const slm_matmul *m, int32_t from, int32_t end, int32_t token) {
    const int32_t n = m->n_in, chunk = nt == 1 ? n : FLOAT_CHUNK;
    vf acc[SLM_STRIP / FLOAT_ROWS][FLOAT_ROWS][FLOAT_TOKENS]; /* of fewer rows: unused */
    for (int32_t i = 0, to; i < n; i = to) {
        to = n - i < chunk ? n : i + chunk;
        for (int32_t r = from; r < end; r += nr)
            float_tile(load, weight_bytes, nr, nt, m, r, end - r, token, i, to,
                       acc[(r - from) / FLOAT_ROWS]);
    }
}

/* Whether FLOAT_TOKENS of those that are left come next: not where that leaves one by itself and pairs would not. */
INLINE bool takes_most(int32_t left) {
    return left >= FLOAT_TOKENS && (FLOAT_TOKENS % 2 == 0 || left != FLOAT_TOKENS + 1);
}

/* All tokens, a few at a time. */
INLINE void float_strip(load_weights_fn load, size_t weight_bytes, const slm_matmul *m,
                        int32_t from, int32_t end) {
    int32_t t = 0, left = m->n_tokens;
    for (; takes_most(left); t += FLOAT_TOKENS, left -= FLOAT_TOKENS)
        float_rows(load, weight_bytes, FLOAT_ROWS, FLOAT_TOKENS, m, from, end, t);
    if (FLOAT_TOKENS > 4 && left >= 4) {
        float_rows(load, weight_bytes, FLOAT_ROWS, 4, m, from, end, t);
        t += 4, left -= 4;
    }
    for (; left >= 2; t += 2, left -= 2)
        float_rows(load, weight_bytes, FLOAT_ROWS, 2, m, from, end, t);
    if (LONE_ROW_BYTES > 0 && m->n_tokens == 1 && m->row_bytes <= LONE_ROW_BYTES)
        float_rows(load, weight_bytes, 1, 1, m, from, end, t);
    else if (left)
        float_rows(load, weight_bytes, FLOAT_ROWS, 1, m, from, end, t);
}

/* So many tokens are worth making floats of a strip of rows first. */
enum { WIDEN_TOKENS = 12 };

/* A strip of rows stays in the second-level cache while all tokens pass, a few of them in the first. */
INLINE void matmul_float(load_weights_fn load, size_t weight_bytes,
                         void (*dequantize)(const void *w, int64_t n, float *out),
                         const slm_matmul *m, int32_t row, int32_t n_rows, float *scratch) {
    bool as_floats = weight_bytes < sizeof(float) && m->n_tokens >= WIDEN_TOKENS;
    for (int32_t end = row + n_rows; row < end; row += SLM_STRIP) {
        int32_t n = end - row < SLM_STRIP ? end - row : SLM_STRIP;
        if (!as_floats) {
            float_strip(load, weight_bytes, m, row, row + n);
            continue;
        }
        slm_matmul strip = *m;
        strip.w = (const uint8_t *)scratch;
        strip.row_bytes = (uint64_t)m->n_in * sizeof(float);
        strip.out = m->out + row;
        for (int32_t r = 0; r < n; r++)
            dequantize(m->w + (uint64_t)(row + r) * m->row_bytes, m->n_in,
                       scratch + (int64_t)r * m->n_in);
        float_strip(weights_F32, sizeof(float), &strip, 0, n);
    }
}

#define X(name, id, bw, type)                                                                    \
    static void matmul_##name(const slm_matmul *m, int32_t row, int32_t n_rows, void *scratch) { \
        matmul_float(weights_##name, sizeof(type), dequantize_##name, m, row, n_rows, scratch);  \
    }
SLM_FLOAT_TYPES(X)
#undef X
