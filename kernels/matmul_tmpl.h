/* Matrix products, written once over the vector vocabulary of a simd_*.h and the unpackers of steps.h. Bits as ref.c.
 *
 * A step is four blocks, the four stripes, in each part (128 bits) of a vector. One token or two take their steps
 * straight from the unpacker, parts being steps of one row. More tokens sweep over a strip of rows, parts being rows, that was
 * unpacked into the thread's scratch once, so weights are read once however many tokens there are.
 */

#include <stdbool.h>

#include "kernels.h"
#include "steps.h"
#include "unpack.h"

/* What differs from type to type: constants, once inlined. */
typedef struct quant_type {
    void (*unpack)(const parts *w, int32_t i, step *s);
    slm_geometry geometry;
    int max, zero; /* codes are 0 .. max and stand for code - zero */
    int32_t block_bytes;
    int steps; /* in a whole number of blocks: 2 in a super-block, whose halves differ */
} quant_type;

/* ---- Products of steps: four blocks in each part of a vector ---- */

/* What codes that stand for code - zero have too much, in both halves of blocks or (SCALE16) in one of them, negative. halves: sums of
 * the activations in each half of the blocks. */
INLINE ri zero_offset(const quant_type *type, rw halves, int half) {
    int zero = type->zero == 128 ? SIGNED_ZERO : type->zero;
    uint32_t minus = (uint32_t)-zero & 0xffff;
    if (zero == 0) return (ri){0};
    if (type->geometry == SLM_SCALE16)
        minus <<= 16 * half;
    else
        minus *= 0x10001u;
    return madd16(halves, (rw){0} + minus);
}

/* The product with activations of scale 1 (ref.c: block_dot). s: of all 32, or of each half; sum, halves: of the activations. */
INLINE rf scaled(const quant_type *type, const ri s[2], const step *w, rw sum, rw halves) {
    rf u = w->d0 * to_float(s[0]);
    switch (type->geometry) {
    case SLM_SCALE16: return rf_fma(w->d1, to_float(s[1]), u);
    case SLM_SCALE_MIN: return rf_fma(w->d1, (rf)sum, u);
    case SLM_SCALE_MIN16: return rf_fma(w->d1, to_float(madd16(w->k, halves)), u);
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

/* ---- A few tokens: steps straight from the unpacker, nt (constant) tokens ----
 *
 * Memory is fastest when it is read in one stream. So the parts of a vector are consecutive steps of one row (of super-blocks: the same
 * half of consecutive ones), a turn, and go on from one row into the next: ROWS rows of n parts are n turns.
 */

enum { FEW_TOKENS = 2, FETCH_AHEAD = 12288, MAX_PART_BYTES = sizeof(slm_q6_k) };

/* To the second-level cache, and far ahead: the first level waits for no more than some lines at a time, which holds back the others. */
INLINE void fetch_ahead(const uint8_t *p, int32_t n_bytes) {
    UNROLL
    for (int32_t i = 0; i < n_bytes; i += 64) __builtin_prefetch(p + FETCH_AHEAD + i, 0, 2);
}

/* Where the next part begins: a step further, or a super-block. */
INLINE int32_t part_bytes(const quant_type *type) {
    return type->block_bytes * (type->steps == 1 ? SLM_STRIPES : 1);
}
INLINE int32_t n_parts(const quant_type *type, int32_t n_in) {
    return slm__n_blocks(n_in) / (SLM_STRIPES * type->steps);
}
/* Whether blocks and parts change places in the codes of a turn (steps.h). */
INLINE bool swaps(const quant_type *type) {
    return type->steps == 1 && quads_fit(type->block_bytes);
}
/* After so many turns, a row begins again with a turn. */
INLINE int32_t turn_period(int32_t n_parts) {
    int32_t period = n_parts;
    for (int rows = ROWS; rows % 2 == 0 && period % 2 == 0; rows /= 2) period /= 2;
    return period;
}

/* Activations as the codes of a step; those of a token: each turn of a period, each half, then the last step, the same in all parts. */
typedef struct turn_acts {
    rw q[8], sum, half;
} turn_acts;

INLINE int32_t n_turn_acts(const quant_type *type, int32_t n_in) {
    return turn_period(n_parts(type, n_in)) * type->steps +
           has_last_step(type, slm__n_blocks(n_in));
}

/* Four blocks in each part, from block[k] on. */
INLINE void gather_acts(bool swapped, const slm_acts *x, const int64_t block[ROWS],
                        turn_acts *out) {
    const uint8_t *q[ROWS], *sum[ROWS], *half[ROWS];
    for (int k = 0; k < ROWS; k++) {
        q[k] = (const uint8_t *)x->q + block[k] * SLM_QBLOCK;
        sum[k] = (const uint8_t *)(x->sum + block[k]);
        half[k] = (const uint8_t *)(x->half + 2 * block[k]);
    }
    for (int h = 0; h < 8; h += 4) {
        if (!swapped)
            transpose(load_rows(q, 16 * h), load_rows(q, 16 * h + 16), load_rows(q, 16 * h + 32),
                      load_rows(q, 16 * h + 48), out->q + h);
        for (int k = 0; swapped && k < ROWS; k++) {
            rw groups;
            memcpy(&groups, q[k] + 16 * h, sizeof groups);
            out->q[h + k] = swap_lanes(groups);
        }
    }
    out->sum = load_rows(sum, 0);
    out->half = load_rows(half, 0);
}

/* first: the first block of a token. */
INLINE void spread_acts(const quant_type *type, const slm_acts *x, int64_t first, turn_acts *out) {
    int32_t nb = slm__n_blocks(x->n), n_row = n_parts(type, x->n);
    int32_t n = turn_period(n_row) * type->steps;
    int64_t block[ROWS];
    for (int32_t i = 0; i < n; i++) {
        for (int k = 0; k < ROWS; k++) {
            int32_t part = (i / type->steps * ROWS + k) % n_row;
            block[k] = first + (part * type->steps + i % type->steps) * SLM_STRIPES;
        }
        gather_acts(swaps(type), x, block, &out[i]);
    }
    if (!has_last_step(type, nb)) return;
    for (int k = 0; k < ROWS; k++) block[k] = first + nb / SLM_STRIPES * SLM_STRIPES;
    gather_acts(false, x, block, &out[n]);
}

/* Of four blocks in each part and nt tokens, x[t * stride], to u[t]; sums of a block are added up over its part, and then are in its lane.
 * Codes meet all tokens before the next ones are looked at, so that few are kept. */
INLINE void turn_products(const quant_type *type, bool swapped, int nt, const step *w,
                          const turn_acts *x, int32_t stride, rf u[FEW_TOKENS]) {
    /* two halves of a block make one sum, or one each; as many of them in a run as 16 bits hold (simd_*.h) */
    const int n = type->geometry == SLM_SCALE16 || type->geometry == SLM_SCALE_MIN16 ? 1 : 2;
    /* codes of SCALE_MIN16 are not yet multiplied: 2 bits */
    const int max = type->geometry == SLM_SCALE_MIN16 ? 3 : type->max;
    const int run = DOT_RUN(max) < n ? DOT_RUN(max) : n;
    ri sum[FEW_TOKENS][2];
    UNROLL
    for (int first = 0; first < 3 - n; first++) {
        ri block[FEW_TOKENS][4] = {{{0}}};
        UNROLL
        for (int k = 0; k < 4; k++) {
            rdots dots[FEW_TOKENS];
            for (int t = 0; t < nt; t++) dots[t] = (rdots){0};
            UNROLL
            for (int i = 0; i < n; i++) {
                rb q = w->q[4 * (first + i) + k];
                UNROLL
                for (int t = 0; t < nt; t++) {
                    rw a = x[t * stride].q[4 * (first + i) + k];
                    dots[t] = i % run == 0 ? dot_first(max, block[t][k], q, a)
                                           : dot_more(max, dots[t], q, a);
                    if (i % run == run - 1) block[t][k] = dot_last(dots[t], block[t][k]);
                }
            }
        }
        UNROLL
        for (int t = 0; t < nt; t++) {
            sum[t][first] = sums_of_lanes(4 * n * 127 * max, block[t]);
            if (swapped) sum[t][first] = (ri)swap_lanes((rw)sum[t][first]);
            sum[t][first] += zero_offset(type, x[t * stride].half, first);
        }
    }
    UNROLL
    for (int t = 0; t < nt; t++) {
        const turn_acts *a = &x[t * stride];
        if (type->geometry == SLM_SCALE_MIN16) /* sums of 16 codes below 16: they fit in 16 bits */
            sum[t][0] = madd16(((rw)sum[t][0] & 0xffff) | (rw)sum[t][1] << 16, w->c);
        u[t] = scaled(type, sum[t], w, a->sum, a->half);
    }
}

/* n parts that do not follow each other, as rows (of n_row, of which `left` are to come) end in a last step, or are fewer than a
 * turn: copied so that they do. */
INLINE const uint8_t *join_parts(const quant_type *type, const uint8_t *p, int32_t n, int64_t left,
                                 int32_t n_row, int64_t gap, uint8_t *copy) {
    memset(copy, 0, (size_t)(ROWS * part_bytes(type)));
    for (int32_t k = 0; k < ROWS && k < n; k++, left--) {
        if (left == 0) left = n_row, p += gap;
        memcpy(copy + k * part_bytes(type), p + k * part_bytes(type), (size_t)part_bytes(type));
    }
    return copy;
}

/* The products of one turn, u[half][token]. */
INLINE void turn(const quant_type *type, int nt, const uint8_t *from, const turn_acts *acts,
                 int32_t stride, rf u[2][FEW_TOKENS]) {
    parts w = {.joined = true, .n_blocks = SLM_STRIPES};
    for (int k = 0; k < ROWS; k++) w.at[k] = from + k * part_bytes(type);
    UNROLL
    for (int half = 0; half < type->steps; half++) {
        step s;
        type->unpack(&w, half, &s);
        turn_products(type, swaps(type), nt, &s, acts + half, stride, u[half]);
    }
}

/* The whole parts of up to ROWS rows. A last turn that is not full makes sums of rows that are not there. */
INLINE void row_turns(const quant_type *type, int nt, const slm_matmul *m, int32_t row,
                      int32_t n_rows, const turn_acts *acts, r1 sums[ROWS][FEW_TOKENS]) {
    const int part_d = type->steps * SLM_STRIPES;
    const uint8_t *p = m->w + (uint64_t)row * m->row_bytes;
    int64_t stored = slm__n_blocks_stored(m->n_in);
    int32_t n = n_parts(type, m->n_in), stride = n_turn_acts(type, m->n_in), r = 0;
    int64_t gap = (int64_t)m->row_bytes - n * part_bytes(type);
    const float *d = m->x->d, *d_end = d + n * part_d;
    const turn_acts *x = acts, *x_end = acts + turn_period(n) * type->steps;
    r1 acc[FEW_TOKENS] = {{0}};
    for (int32_t left = n_rows * n; left > 0; left -= ROWS) {
        rf u[2][FEW_TOKENS];
        uint8_t copy[ROWS * MAX_PART_BYTES];
        const uint8_t *from = p;
        if (left < ROWS || (gap && d_end - d < ROWS * part_d))
            from = join_parts(type, p, left, (d_end - d) / part_d, n, gap, copy);
        fetch_ahead(p, ROWS * part_bytes(type));
        turn(type, nt, from, x, stride, u);
        p += ROWS * part_bytes(type);
        x += type->steps;
        if (x == x_end) x = acts;
        UNROLL
        for (int k = 0; k < ROWS; k++) {
            UNROLL
            for (int t = 0; t < nt; t++) {
                UNROLL
                for (int half = 0; half < type->steps; half++)
                    acc[t] = r1_fma(r1_load(d + t * stored + half * SLM_STRIPES),
                                    rf_part(u[half][t], k), acc[t]);
            }
            d += part_d;
            if (d < d_end) continue;
            for (int t = 0; t < nt; t++) sums[r][t] = acc[t], acc[t] = (r1){0};
            d = m->x->d, p += gap, r++;
        }
    }
}

INLINE void few_tokens(const quant_type *type, int nt, const slm_matmul *m, int32_t row,
                       int32_t n_rows, const turn_acts *acts) {
    int32_t nb = slm__n_blocks(m->n_in), n_acts = n_turn_acts(type, m->n_in);
    r1 sums[ROWS][FEW_TOKENS] = {{{0}}};
    rf acc[FEW_TOKENS];
    row_turns(type, nt, m, row, n_rows, acts, sums);
    for (int t = 0; t < nt; t++) {
        r1 rows[ROWS];
        for (int r = 0; r < ROWS; r++) rows[r] = sums[r][t];
        acc[t] = rf_join(rows);
    }
    if (has_last_step(type, nb)) { /* here, parts are rows */
        step s;
        parts w = rows_at(m, row, n_rows);
        last_step(type, m, &w, &s);
        for (int r = 0; r < ROWS; r++)
            fetch_ahead(w.at[r] + n_parts(type, m->n_in) * part_bytes(type),
                        SLM_STRIPES * type->block_bytes);
        rf u[FEW_TOKENS];
        turn_products(type, false, nt, &s, acts + n_acts - 1, n_acts, u);
        for (int t = 0; t < nt; t++) {
            const float *d = m->x->d + t * (int64_t)slm__n_blocks_stored(m->n_in);
            acc[t] = rf_fma((rf)rw_all4(d + nb / SLM_STRIPES * SLM_STRIPES), u[t], acc[t]);
        }
    }
    for (int t = 0; t < nt; t++) store_rows(acc[t], n_rows, m->out + t * m->out_stride + row);
}

INLINE void all_few_tokens(const quant_type *type, int nt, const slm_matmul *m, int32_t row,
                           int32_t n_rows, turn_acts *acts) {
    for (int t = 0; t < nt; t++)
        spread_acts(type, m->x, t * (int64_t)slm__n_blocks_stored(m->n_in),
                    acts + t * n_turn_acts(type, m->n_in));
    for (int32_t end = row + n_rows; row < end; row += ROWS)
        few_tokens(type, nt, m, row, end - row < ROWS ? end - row : ROWS, acts);
}

/* ---- Several tokens ---- */

/* The next strip, or what lies further ahead if strips are short: fetched piece by piece while this one is unpacked and multiplied, as
 * the processor drops what is more than it can wait for. */
typedef struct ahead {
    const uint8_t *at, *end;
    int64_t piece; /* for each step of a vector or a tile */
} ahead;

INLINE ahead next_strip(const slm_matmul *m, int32_t row, int32_t n_steps) {
    int64_t n_bytes = SLM_STRIP * (int64_t)m->row_bytes;
    const uint8_t *at =
        m->w + (uint64_t)row * m->row_bytes + (n_bytes > FETCH_AHEAD ? n_bytes : FETCH_AHEAD);
    int64_t tiles = m->n_tokens / TILE_TOKENS + (m->n_tokens % TILE_TOKENS + 1) / 2;
    int64_t times = (tiles + TILE_VECTORS) * n_steps * (SLM_STRIP / ROWS / TILE_VECTORS);
    return (ahead){at, at + n_bytes, (n_bytes / times / 64 + 1) * 64};
}

INLINE void fetch_piece(ahead *a) {
    if (a->at >= a->end) return;
    for (const uint8_t *end = a->at + a->piece; a->at < end; a->at += 64)
        __builtin_prefetch(a->at, 0, 2);
}

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
                if (type->geometry == SLM_SCALE_MIN16) multiply_codes(s);
                group(s);
            }
        }
        if (has_last_step(type, nb)) {
            last_step(type, m, &w, &strip[v * n_steps + whole]);
            group(&strip[v * n_steps + whole]);
        }
    }
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

/* One step of `nv` vectors of rows x `nt` tokens (both constant), in groups: acc[v][t] goes on. */
INLINE void add_step(const quant_type *type, int nv, int nt, const step *const s[],
                     const step_acts a[], rf acc[TILE_VECTORS][TILE_TOKENS]) {
    const int limit = type->geometry == SLM_SCALE16 ? 4 : 8;
    const int run = DOT_RUN(type->max) < limit ? DOT_RUN(type->max) : limit;
    ri sum[TILE_VECTORS][TILE_TOKENS][2];
    rdots part[TILE_VECTORS][TILE_TOKENS];
    UNROLL
    for (int g = 0; g < 8; g++) {
        const int half = g / limit;
        UNROLL
        for (int t = 0; t < nt; t++) {
            rw x = rw_all4(a[t].q + 16 * g);
            UNROLL
            for (int v = 0; v < nv; v++) {
                if (g % limit == 0) sum[v][t][half] = zero_offset(type, rw_all4(a[t].half), half);
                part[v][t] = g % run == 0 ? dot_first(type->max, sum[v][t][half], s[v]->q[g], x)
                                          : dot_more(type->max, part[v][t], s[v]->q[g], x);
                if (g % run == run - 1) sum[v][t][half] = dot_last(part[v][t], sum[v][t][half]);
            }
        }
    }
    UNROLL
    for (int t = 0; t < nt; t++) {
        rf d = (rf)rw_all4(a[t].d);
        UNROLL
        for (int v = 0; v < nv; v++) {
            rf u = scaled(type, sum[v][t], s[v], rw_all4(a[t].sum), rw_all4(a[t].half));
            acc[v][t] = rf_fma(d, u, acc[v][t]);
        }
    }
}

/* Two vectors of rows and two tokens (or the last one): out[token * stride + row]. */
INLINE void store_square(rf acc[TILE_VECTORS][TILE_TOKENS], int v, int t, int nt, int32_t n_rows,
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

/* TILE_VECTORS vectors and nt (constant) tokens. */
INLINE void tile(const quant_type *type, int nt, const slm_matmul *m, const step *strip,
                 int32_t token, int32_t row, int32_t n_rows, ahead *next) {
    int64_t stored = slm__n_blocks_stored(m->n_in);
    int32_t n_steps = (int32_t)stored / SLM_STRIPES;
    rf acc[TILE_VECTORS][TILE_TOKENS] = {{{0}}};
    for (int32_t i = 0; i < n_steps; i++) {
        const step *s[TILE_VECTORS];
        step_acts a[TILE_TOKENS];
        fetch_piece(next);
        for (int v = 0; v < TILE_VECTORS; v++) s[v] = &strip[v * n_steps + i];
        for (int t = 0; t < nt; t++) a[t] = acts_at(m->x, (token + t) * stored + i * SLM_STRIPES);
        add_step(type, TILE_VECTORS, nt, s, a, acc);
    }
    float *out = m->out + token * m->out_stride + row;
    UNROLL
    for (int v = 0; v < TILE_VECTORS; v += 2) {
        UNROLL
        for (int t = 0; t < nt; t += 2)
            store_square(acc, v, t, nt, n_rows - v * ROWS, out + v * ROWS, m->out_stride);
    }
}

/* All tiles of the strip with nt (constant) tokens. */
INLINE void sweep(const quant_type *type, int nt, const slm_matmul *m, const step *strip,
                  int32_t token, int32_t row, int32_t n_rows, ahead *next) {
    const int rows = TILE_VECTORS * ROWS;
    int32_t n_steps = slm__n_blocks_stored(m->n_in) / SLM_STRIPES;
    for (int32_t r = 0; r < n_rows; r += rows)
        tile(type, nt, m, strip + r / ROWS * n_steps, token, row + r, n_rows - r, next);
}

INLINE void several_tokens(const quant_type *type, const slm_matmul *m, int32_t row, int32_t n_rows,
                           step *strip) {
    const int rows = TILE_VECTORS * ROWS;
    ahead next = next_strip(m, row, slm__n_blocks_stored(m->n_in) / SLM_STRIPES);
    unpack_strip(type, m, row, n_rows, (n_rows + rows - 1) / rows * TILE_VECTORS, strip, &next);
    int32_t t = 0;
    for (; t + TILE_TOKENS <= m->n_tokens; t += TILE_TOKENS)
        sweep(type, TILE_TOKENS, m, strip, t, row, n_rows, &next);
    for (; t + 2 <= m->n_tokens; t += 2) sweep(type, 2, m, strip, t, row, n_rows, &next);
    if (t < m->n_tokens) sweep(type, 1, m, strip, t, row, n_rows, &next);
}

INLINE void matmul_quant(const quant_type *type, const slm_matmul *m, int32_t row, int32_t n_rows,
                         void *scratch) {
    if (m->n_tokens == 1) {
        all_few_tokens(type, 1, m, row, n_rows, scratch);
    } else if (m->n_tokens == 2) {
        all_few_tokens(type, 2, m, row, n_rows, scratch);
    } else {
        for (int32_t end = row + n_rows; row < end; row += SLM_STRIP)
            several_tokens(type, m, row, end - row < SLM_STRIP ? end - row : SLM_STRIP, scratch);
    }
}

#define X(name, id, bw, block, geometry, max, zero)                                              \
    _Static_assert(((bw) == 32 ? SLM_STRIPES : 1) * sizeof(block) <= MAX_PART_BYTES,             \
                   "copies of " #name);                                                          \
    static void matmul_##name(const slm_matmul *m, int32_t row, int32_t n_rows, void *scratch) { \
        const quant_type type = {step_##name, SLM_##geometry, max,                               \
                                 zero,        sizeof(block),  (bw) / 256 + 1};                   \
        matmul_quant(&type, m, row, n_rows, scratch);                                            \
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

/* Rows that come after these, some multiple of FLOAT_ROWS, begin so many bytes further. */
INLINE int64_t rows_ahead(const slm_matmul *m) {
    int64_t n_bytes = FLOAT_ROWS * (int64_t)m->row_bytes;
    return (FETCH_AHEAD / n_bytes + 1) * n_bytes;
}

INLINE void float_tile(load_weights_fn load, size_t weight_bytes, int n, const slm_matmul *m,
                       int32_t row, int32_t n_rows, int32_t token) {
    int64_t further = rows_ahead(m);
    const uint8_t *w[FLOAT_ROWS];
    const float *x = m->x->x + (int64_t)token * m->n_in;
    vf acc[FLOAT_ROWS][FLOAT_TOKENS];
    UNROLL
    for (int r = 0; r < FLOAT_ROWS; r++) {
        w[r] = m->w + (uint64_t)(row + (r < n_rows ? r : n_rows - 1)) * m->row_bytes;
        UNROLL
        for (int t = 0; t < n; t++) acc[r][t] = vf_zero();
    }
    int32_t i = 0, left = m->n_in % SLM_LANES;
    for (; i < m->n_in - left; i += SLM_LANES) {
        UNROLL
        for (int r = 0; r < FLOAT_ROWS; r++) {
            vf wr = load(w[r], i);
            if (token == 0) __builtin_prefetch(w[r] + further + (size_t)i * weight_bytes, 0, 2);
            UNROLL
            for (int t = 0; t < n; t++)
                acc[r][t] = vf_fma(wr, vf_load(x + (int64_t)t * m->n_in + i), acc[r][t]);
        }
    }
    if (left) {
        UNROLL
        for (int r = 0; r < FLOAT_ROWS; r++) {
            uint8_t tail[SLM_LANES * sizeof(float)] = {0};
            memcpy(tail, w[r] + (size_t)i * weight_bytes, (size_t)left * weight_bytes);
            vf wr = load(tail, 0);
            UNROLL
            for (int t = 0; t < n; t++)
                acc[r][t] = vf_fma(wr, vf_load_n(x + (int64_t)t * m->n_in + i, left), acc[r][t]);
        }
    }
    UNROLL
    for (int t = 0; t < n; t++) {
        UNROLL
        for (int r = 0; r < FLOAT_ROWS; r++)
            if (r < n_rows) m->out[(token + t) * m->out_stride + row + r] = lanes_sum(acc[r][t]);
    }
}

/* Rows `from` .. `end` for nt (constant) tokens. */
INLINE void float_rows(load_weights_fn load, size_t weight_bytes, int nt, const slm_matmul *m,
                       int32_t from, int32_t end, int32_t token) {
    for (int32_t r = from; r < end; r += FLOAT_ROWS)
        float_tile(load, weight_bytes, nt, m, r, end - r < FLOAT_ROWS ? end - r : FLOAT_ROWS,
                   token);
}

/* All tokens, a few at a time, none by itself where that can be had. */
INLINE void float_strip(load_weights_fn load, size_t weight_bytes, const slm_matmul *m,
                        int32_t from, int32_t end) {
    int32_t t = 0, left = m->n_tokens;
    for (; left == FLOAT_TOKENS || left > FLOAT_TOKENS + 1; t += FLOAT_TOKENS, left -= FLOAT_TOKENS)
        float_rows(load, weight_bytes, FLOAT_TOKENS, m, from, end, t);
    for (; left >= 2; t += 2, left -= 2) float_rows(load, weight_bytes, 2, m, from, end, t);
    if (left) float_rows(load, weight_bytes, 1, m, from, end, t);
}

/* So many tokens are worth making floats of a strip of rows first. */
enum { WIDEN_TOKENS = 12 };

/* A strip of rows stays in the second-level cache while all tokens pass, a few of them in the first. */
INLINE void matmul_float(load_weights_fn load, size_t weight_bytes,
                         void (*dequantize)(const void *w, int64_t n, float *out),
                         const slm_matmul *m, int32_t row, int32_t n_rows, float *scratch) {
    bool widen = weight_bytes < sizeof(float) && m->n_tokens >= WIDEN_TOKENS;
    for (int32_t end = row + n_rows; row < end; row += SLM_STRIP) {
        int32_t n = end - row < SLM_STRIP ? end - row : SLM_STRIP;
        if (!widen) {
            float_strip(load, weight_bytes, m, row, row + n);
            continue;
        }
        slm_matmul wide = *m;
        wide.w = (const uint8_t *)scratch;
        wide.row_bytes = (uint64_t)m->n_in * sizeof(float);
        wide.out = m->out + row;
        for (int32_t r = 0; r < n; r++)
            dequantize(m->w + (uint64_t)(row + r) * m->row_bytes, m->n_in,
                       scratch + (int64_t)r * m->n_in);
        float_strip(weights_F32, sizeof(float), &wide, 0, n);
    }
}

#define X(name, id, bw, type)                                                                    \
    static void matmul_##name(const slm_matmul *m, int32_t row, int32_t n_rows, void *scratch) { \
        matmul_float(weights_##name, sizeof(type), dequantize_##name, m, row, n_rows, scratch);  \
    }
SLM_FLOAT_TYPES(X)
#undef X
