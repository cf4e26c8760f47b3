/* Several tokens: a strip of rows is unpacked into the thread's scratch once, and all tokens sweep over it in tiles, a few vectors of rows x
 * a few rows of activations. Included by matmul_tmpl.h.
 *
 * A vector of sums is a few rows x a token or two; the four stripes of numerics.md are lanes of it (lanes_tmpl.h) or vectors of their own
 * (squares_tmpl.h).
 */

/* Rows of activations that a tile has at most; wide ones come in pairs. */
enum { TILE_ACTS = (TILE_TOKENS + 1) / 2 * 2 };
INLINE int tile_acts(bool wide) { return wide ? TILE_ACTS : TILE_TOKENS; }

/* A vector of weights, and what it meets: groups of four values of four blocks, or of eight of one. */
enum { TILE_GROUPS = SQUARES ? 4 : 8, ACT_LANES = SQUARES ? 2 : 4 };

typedef struct tile_weights {
    rb q[TILE_GROUPS];
    rf d0, d1;
    rw k;
} tile_weights;

/* Vectors of activations, the same for all rows. */
typedef struct vector_acts {
    int8_t *q; /* [vectors, TILE_GROUPS, 16] */
    float *d, *sum;
    int16_t *half; /* these three [vectors, ACT_LANES], half with two of each: for acts_lanes() */
} vector_acts;

INLINE vector_acts acts_at(const vector_acts *x, int64_t i) {
    return (vector_acts){x->q + i * TILE_GROUPS * 16, x->d + i * ACT_LANES, x->sum + i * ACT_LANES,
                         x->half + i * ACT_LANES * 2};
}

#if SQUARES
#include "squares_tmpl.h"
#else
#include "lanes_tmpl.h"
#endif

/* What each step takes of the scratch: a strip, and the activations of a tile behind it. */
_Static_assert(SLM_STRIP / SUM_ROWS * STRIPE_SUMS * sizeof(tile_weights) +
                       (SQUARES ? TILE_ACTS * STRIPE_SUMS * (TILE_GROUPS * 16 + ACT_LANES * 12)
                                : 0) <=
                   SLM_STRIP * SLM_STRIPES * SLM_QBLOCK * sizeof(float),
               "slm__matmul_scratch()");

/* Vectors that a row of weights is, or one of activations. */
INLINE int32_t row_vectors(const slm_matmul *m) {
    return slm__n_blocks_stored(m->n_in) / SLM_STRIPES * STRIPE_SUMS;
}

/* Rows of activations as tiles take them. */
INLINE int32_t n_act_rows(const slm_matmul *m) {
    return slm__act_rows(m->x, (m->n_tokens + SUM_TOKENS - 1) / SUM_TOKENS);
}

/* The next strip, or what lies further ahead if strips are short: fetched piece by piece while this one is unpacked and multiplied, as
 * the processor drops what is more than it can wait for. */
typedef struct ahead {
    const uint8_t *at, *end;
    int64_t piece; /* for each step of a vector or a tile */
    bool near;
} ahead;

_Static_assert(SLM_STRIP % (SUM_ROWS * TILE_VECTORS) == 0, "strips are whole tiles");
INLINE ahead next_strip(const slm_matmul *m, int32_t row) {
    int64_t n_bytes = SLM_STRIP * (int64_t)m->row_bytes;
    const uint8_t *at =
        m->w + (uint64_t)row * m->row_bytes + (n_bytes > FETCH_AHEAD ? n_bytes : FETCH_AHEAD);
    int64_t most = tile_acts(m->x->wide), n = n_act_rows(m), tiles = n / most + (n % most + 1) / 2;
    int64_t n_steps = slm__n_blocks_stored(m->n_in) / SLM_STRIPES;
    int64_t times = (tiles + TILE_VECTORS) * n_steps * (SLM_STRIP / SUM_ROWS / TILE_VECTORS);
    return (ahead){at, at + n_bytes, (n_bytes / times / 64 + 1) * 64, m->near};
}

INLINE void fetch_piece(ahead *a) {
    if (a->at >= a->end) return;
    fetch(a->at, a->piece, a->near);
    a->at += a->piece;
}

/* ---- Products ---- */

/* TILE_VECTORS vectors of rows x nt (constant) rows of activations: acc[v][token] goes on. */
INLINE void add_vectors(const code_type *codes, int nt, const tile_weights *const w[],
                        const vector_acts a[], rf acc[TILE_VECTORS][TILE_ACTS]) {
    const int limit = codes->geometry == SLM_SCALE16 ? TILE_GROUPS / 2 : TILE_GROUPS;
    const int run = TILE_RUN(codes->max) < limit ? TILE_RUN(codes->max) : limit;
    step_sums sums[TILE_VECTORS][TILE_ACTS];
    rdots part[TILE_VECTORS][TILE_ACTS];
    UNROLL
    for (int g = 0; g < TILE_GROUPS; g++) {
        const int half = g / limit;
        rb q[TILE_VECTORS];
        UNROLL
        for (int v = 0; v < TILE_VECTORS; v++) {
            q[v] = w[v]->q[g];
            if (run > 2) OPAQUE(q[v]); /* loaded once; sums of shorter runs need the registers */
        }
        UNROLL
        for (int t = 0; t < nt; t++) {
            rw x = rw_all4(a[t].q + 16 * g);
            UNROLL
            for (int v = 0; v < TILE_VECTORS; v++) {
                ri *sum = &sums[v][t].s[half];
                if (g % limit == 0) *sum = zero_offset(codes, acts_lanes(a[t].half), half);
                part[v][t] = g % run == 0 ? tile_first(codes->max, *sum, q[v], x)
                                          : tile_more(codes->max, part[v][t], q[v], x);
                if (g % run == run - 1) *sum = dot_last(part[v][t], *sum);
            }
        }
    }
    const int rows = rows_of_token(codes);
    UNROLL
    for (int t = 0; t < nt; t += rows) {
        rf d = (rf)acts_lanes(a[t].d);
        UNROLL
        for (int v = 0; v < TILE_VECTORS; v++) {
            for (int i = t; i < t + rows && codes->geometry == SLM_SCALE_MIN16; i++)
                sums[v][i].min = madd16(w[v]->k, acts_lanes(a[i].half));
            if (codes->wide) add_low_sums(codes, &sums[v][t], &sums[v][t + rows - 1]);
            rf u = scaled(codes, &sums[v][t], &w[v]->d0, &w[v]->d1, acts_lanes(a[t].sum));
            acc[v][t / rows] = rf_fma(d, u, acc[v][t / rows]);
        }
    }
}

/* TILE_VECTORS vectors of rows and nt (constant) rows of activations, x, which are tokens from `token` on. */
INLINE void tile(const code_type *codes, int nt, const slm_matmul *m, const vector_acts *x,
                 const tile_weights *strip, int32_t token, int32_t row, int32_t n_rows,
                 ahead *next) {
    int32_t n = row_vectors(m);
    rf acc[STRIPE_SUMS][TILE_VECTORS][TILE_ACTS] = {{{{0}}}};
    for (int32_t i = 0; i < n; i += STRIPE_SUMS) {
        fetch_piece(next);
        UNROLL
        for (int stripe = 0; stripe < STRIPE_SUMS; stripe++) {
            const tile_weights *w[TILE_VECTORS];
            vector_acts a[TILE_ACTS];
            for (int v = 0; v < TILE_VECTORS; v++) w[v] = &strip[v * n + i + stripe];
            for (int t = 0; t < nt; t++) a[t] = acts_at(x, t * (int64_t)n + i + stripe);
            add_vectors(codes, nt, w, a, acc[stripe]);
        }
    }
    store_tile(acc, tokens_of(codes, nt), m, token, row, n_rows);
}

/* All tiles of the strip with nt (constant) rows of activations, from act_row on. room: behind the strip. */
INLINE void sweep(const code_type *codes, int nt, const slm_matmul *m, const tile_weights *strip,
                  int32_t act_row, int32_t row, int32_t n_rows, void *room, ahead *next) {
    const int rows = TILE_VECTORS * SUM_ROWS;
    const vector_acts x = sweep_acts(codes, nt, m, act_row, room);
    int32_t token = SUM_TOKENS * tokens_of(codes, act_row);
    for (int32_t r = 0; r < n_rows; r += rows)
        tile(codes, nt, m, &x, strip + (int64_t)r / SUM_ROWS * row_vectors(m), token, row + r,
             n_rows - r, next);
}

/* Copies of what `all` points at need not be loaded again after each store. */
INLINE void strip_products(const code_type *codes, const slm_matmul *all, const tile_weights *strip,
                           int32_t row, int32_t n_rows, void *room, ahead next) {
    const int most = tile_acts(codes->wide);
    const slm_acts x = *all->x;
    slm_matmul own = *all, *m = &own;
    own.x = &x;
    int32_t t = 0, n = n_act_rows(m);
    for (; t + most <= n; t += most) sweep(codes, most, m, strip, t, row, n_rows, room, &next);
    for (; most > 2 && t + 2 <= n; t += 2) sweep(codes, 2, m, strip, t, row, n_rows, room, &next);
    if (!codes->wide && t < n) sweep(codes, 1, m, strip, t, row, n_rows, room, &next);
}

typedef void (*strip_fn)(const slm_matmul *m, const tile_weights *strip, int32_t row,
                         int32_t n_rows, void *room, ahead next);

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

#define X(geometry, max, zero)                                                                 \
    static void products_##geometry##_##max##_##zero(const slm_matmul *m,                      \
                                                     const tile_weights *strip, int32_t row,   \
                                                     int32_t n_rows, void *room, ahead next) { \
        const code_type narrow = {SLM_##geometry, max, zero, false},                           \
                        wide = {SLM_##geometry, max, zero, true};                              \
        if (m->x->wide)                                                                        \
            strip_products(&wide, m, strip, row, n_rows, room, next);                          \
        else                                                                                   \
            strip_products(&narrow, m, strip, row, n_rows, room, next);                        \
    }
CODE_TYPES(X)
#undef X

/* ---- Unpacking ---- */

/* Rows that a vector of sums is of come from so many unpackers. */
enum { UNPACKED = SUM_ROWS / ROWS };

/* strip[v * row_vectors() + i]: vector i of the v-th SUM_ROWS rows of the strip. */
INLINE void unpack_strip(const quant_type *type, const slm_matmul *m, int32_t row, int32_t n_rows,
                         int32_t n_vectors, tile_weights *strip, ahead *next) {
    int32_t nb = slm__n_blocks(m->n_in), whole = nb / SLM_STRIPES;
    for (int32_t v = 0; v < n_vectors; v++) {
        tile_weights *to = strip + (int64_t)v * row_vectors(m);
        parts w[UNPACKED];
        step s[UNPACKED];
        for (int r = 0; r < UNPACKED; r++) {
            int32_t first = v * SUM_ROWS + r * ROWS;
            if (first >= n_rows) first = n_rows - 1;
            w[r] = rows_at(m, row + first, n_rows - first);
        }
        for (int32_t i = 0; i < whole; i += type->steps) {
            UNROLL
            for (int half = 0; half < type->steps; half++, to += STRIPE_SUMS) {
                fetch_piece(next);
                UNROLL
                for (int r = 0; r < UNPACKED; r++) {
                    type->unpack(&w[r], i + half, &s[r]);
                    if (type->codes.geometry == SLM_SCALE_MIN16) multiply_codes(&s[r]);
                }
                keep_steps(&type->codes, s, to);
            }
        }
        if (!has_last_step(type, nb)) continue;
        for (int r = 0; r < UNPACKED; r++) last_step(type, m, &w[r], &s[r]);
        keep_steps(&type->codes, s, to);
    }
}

INLINE void several_tokens(const quant_type *type, strip_fn products, const slm_matmul *m,
                           int32_t row, int32_t n_rows, tile_weights *strip) {
    const int rows = TILE_VECTORS * SUM_ROWS;
    ahead next = next_strip(m, row);
    unpack_strip(type, m, row, n_rows, (n_rows + rows - 1) / rows * TILE_VECTORS, strip, &next);
    products(m, strip, row, n_rows, strip + SLM_STRIP / SUM_ROWS * row_vectors(m), next);
}
