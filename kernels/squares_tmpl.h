/* Tiles whose vectors of sums are two rows x two tokens, of one block: a product takes eight values of the block of each (SMMLA). The four
 * stripes are vectors of their own, so nothing is folded across lanes. Activations are put together in pairs for each sweep. Included by
 * strip_tmpl.h.
 */

enum { SUM_ROWS = 2, SUM_TOKENS = 2, STRIPE_SUMS = SLM_STRIPES };
_Static_assert(ROWS == 1 && TILE_VECTORS == 2, "keep_steps(), store_tile()");
#define TILE_RUN(max) TILE_GROUPS
INLINE rdots tile_more(int max, rdots part, rb w, rw a) {
    (void)max;
    return dot_squares(part, w, a);
}
INLINE rdots tile_first(int max, ri sum, rb w, rw a) { return tile_more(max, sum, w, a); }

#define acts_lanes rw_twice

/* Lane b of both, each twice: out[b]. */
INLINE void twice_each(rw first, rw second, rw out[4]) {
    rw low = zip_lo32(first, second), high = zip_hi32(first, second);
    out[0] = zip_lo32(low, low);
    out[1] = zip_hi32(low, low);
    out[2] = zip_lo32(high, high);
    out[3] = zip_hi32(high, high);
}

/* Four blocks of two rows: [4 groups of eight, of the first row and the second]; lanes are the first row, again, the second, again. */
INLINE void keep_steps(const code_type *codes, const step s[2], tile_weights out[4]) {
    rw d0[4], d1[4], k[4];
    twice_each((rw)s[0].d0, (rw)s[1].d0, d0);
    if (codes->geometry != SLM_SCALE) twice_each((rw)s[0].d1, (rw)s[1].d1, d1);
    if (codes->geometry == SLM_SCALE_MIN16) twice_each(s[0].k, s[1].k, k);
    UNROLL
    for (int b = 0; b < 4; b++) {
        UNROLL
        for (int h = 0; h < 2; h++) {
            rw first = (rw)s[0].q[4 * h + b], second = (rw)s[1].q[4 * h + b];
            out[b].q[2 * h] = (rb)zip_lo64(first, second);
            out[b].q[2 * h + 1] = (rb)zip_hi64(first, second);
        }
        out[b].d0 = (rf)d0[b];
        if (codes->geometry != SLM_SCALE) out[b].d1 = (rf)d1[b];
        if (codes->geometry == SLM_SCALE_MIN16) out[b].k = k[b];
    }
}

/* ---- Activations ---- */

/* Lanes of both in turn: two of each block, which acts_lanes() repeats. */
INLINE void in_turn(const void *first, const void *second, void *to) {
    rw a = rw_all4(first), b = rw_all4(second), out[2] = {zip_lo32(a, b), zip_hi32(a, b)};
    memcpy(to, out, sizeof out);
}

/* Four blocks of two rows, from `first` and `second` on: four vectors. */
INLINE void pair_blocks(const slm_acts *x, int64_t first, int64_t second, vector_acts to) {
    UNROLL
    for (int h = 0; h < 2; h++) {
        rw a[4], b[4];
        load_columns(x->q + first * SLM_QBLOCK + 64 * h, a);
        load_columns(x->q + second * SLM_QBLOCK + 64 * h, b);
        UNROLL
        for (int k = 0; k < 4; k++) store_zip64(to.q + (k * TILE_GROUPS + 2 * h) * 16, a[k], b[k]);
    }
    in_turn(x->d + first, x->d + second, to.d);
    in_turn(x->sum + first, x->sum + second, to.sum);
    in_turn(x->half + 2 * first, x->half + 2 * second, to.half);
}

/* nt rows of two tokens each, from act_row on. Of an odd number of tokens the last one is both. */
INLINE vector_acts sweep_acts(const code_type *codes, int nt, const slm_matmul *m, int32_t act_row,
                              void *room) {
    const int rows = rows_of_token(codes);
    int32_t stored = slm__n_blocks_stored(m->n_in);
    int64_t n = (int64_t)nt * stored;
    float *d = (float *)((int8_t *)room + n * TILE_GROUPS * 16);
    vector_acts x = {room, d, d + n * ACT_LANES, (int16_t *)(d + n * ACT_LANES * 2)};
    for (int t = 0; t < nt; t++) {
        int32_t token = SUM_TOKENS * ((act_row + t) / rows), part = (act_row + t) % rows;
        int32_t other = token + 1 < m->n_tokens ? token + 1 : token;
        int64_t first = (int64_t)(token * rows + part) * stored,
                second = (int64_t)(other * rows + part) * stored;
        for (int32_t b = 0; b < stored; b += SLM_STRIPES)
            pair_blocks(m->x, first + b, second + b, acts_at(&x, (int64_t)t * stored + b));
    }
    return x;
}

/* The first n_rows rows of a tile for nt (constant) pairs of tokens. */
INLINE void store_tile(rf acc[STRIPE_SUMS][TILE_VECTORS][TILE_ACTS], int nt, const slm_matmul *m,
                       int32_t token, int32_t row, int32_t n_rows) {
    UNROLL
    for (int t = 0; t < nt; t++) {
        rw sums[TILE_VECTORS];
        UNROLL
        for (int v = 0; v < TILE_VECTORS; v++)
            sums[v] = (rw)((acc[0][v][t] + acc[2][v][t]) + (acc[1][v][t] + acc[3][v][t]) + 0.0f);
        rw low = zip_lo32(sums[0], sums[1]), high = zip_hi32(sums[0], sums[1]);
        rw of_token[SUM_TOKENS] = {zip_lo32(low, high), zip_hi32(low, high)};
        for (int u = 0; u < SUM_TOKENS && token + SUM_TOKENS * t + u < m->n_tokens; u++) {
            float *out = m->out + (token + SUM_TOKENS * t + u) * m->out_stride + row;
            if (n_rows >= TILE_VECTORS * SUM_ROWS)
                memcpy(out, &of_token[u], sizeof of_token[u]);
            else
                memcpy(out, &of_token[u], (size_t)n_rows * sizeof *out);
        }
    }
}
