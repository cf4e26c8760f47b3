/* Tiles whose vectors of sums are a row in each part x one token, the lanes of a part the four stripes: a product takes groups of four
 * values of four blocks. Activations lie as they are asked for. Included by strip_tmpl.h.
 */

enum { SUM_ROWS = ROWS, SUM_TOKENS = 1, STRIPE_SUMS = 1 };
#define TILE_RUN   DOT_RUN
#define tile_first dot_first
#define tile_more  dot_more
#define acts_lanes rw_all4

/* A step of ROWS rows: [8 groups of four, a block in a lane]. */
INLINE void keep_steps(const code_type *codes, const step s[1], tile_weights *out) {
    UNROLL
    for (int h = 0; h < 8; h += 4) {
        rw q[4];
        transpose((rw)s->q[h], (rw)s->q[h + 1], (rw)s->q[h + 2], (rw)s->q[h + 3], q);
        UNROLL
        for (int i = 0; i < 4; i++) out->q[h + i] = (rb)q[i];
    }
    out->d0 = s->d0;
    if (codes->geometry != SLM_SCALE) out->d1 = s->d1;
    if (codes->geometry == SLM_SCALE_MIN16) out->k = s->k;
}

/* Those of m from act_row on. */
INLINE vector_acts sweep_acts(const code_type *codes, int nt, const slm_matmul *m, int32_t act_row,
                              void *room) {
    const vector_acts all = {m->x->q, m->x->d, m->x->sum, m->x->half};
    (void)codes, (void)nt, (void)room;
    return acts_at(&all, act_row * (int64_t)slm__n_blocks_stored(m->n_in) / SLM_STRIPES);
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

/* The first n_rows rows of a tile for nt (constant) tokens. */
_Static_assert(TILE_VECTORS % 2 == 0, "store_square()");
INLINE void store_tile(rf acc[STRIPE_SUMS][TILE_VECTORS][TILE_ACTS], int nt, const slm_matmul *m,
                       int32_t token, int32_t row, int32_t n_rows) {
    float *out = m->out + token * m->out_stride + row;
    UNROLL
    for (int v = 0; v < TILE_VECTORS; v += 2) {
        UNROLL
        for (int t = 0; t < nt; t += 2)
            store_square(acc[0], v, t, nt, n_rows - v * ROWS, out + v * ROWS, m->out_stride);
    }
}
