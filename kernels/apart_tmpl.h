/* A few tokens: the parts of a vector are rows, as far from each other as the call has room, each a stream of its own. Some
 * processors read two streams faster than one, but rows that follow each other are not two to them (docs/design.md). Included by
 * matmul_tmpl.h.
 */

/* What a stream fetches is FETCH_AHEAD further in it. Behind its end it goes on in the next call, which most likely is for the rows that
 * follow: past as much of each of the other streams. */
typedef struct fetching {
    int64_t stream, left, skip; /* bytes: of a stream, until its end, of others to pass */
    bool near;
} fetching;

INLINE void fetch_parts(const parts *w, int32_t n_bytes, fetching *f) {
    UNROLL
    for (int r = 0; r < ROWS; r++) fetch_ahead(w->at[r] + f->skip, n_bytes, f->near);
    f->left -= n_bytes;
    if (f->left <= 0) f->left += f->stream, f->skip += (ROWS - 1) * f->stream;
}

/* Rows row + r * apart, of all that come before `end`; others repeat the last one. */
INLINE void apart_rows(const quant_type *type, int nt, const slm_matmul *m, int32_t row,
                       int32_t apart, int32_t end, fetching *f, const turn_acts *acts) {
    const int n_out = tokens_of(&type->codes, nt), part_d = type->steps * SLM_STRIPES;
    const int32_t nb = slm__n_blocks(m->n_in), stored = slm__n_blocks_stored(m->n_in);
    const int32_t stride = stored / SLM_STRIPES;
    const float *d = m->x->d, *d_end = d + nb / SLM_STRIPES * SLM_STRIPES;
    parts w = {.joined = false, .n_blocks = SLM_STRIPES};
    rf acc[FEW_ACTS] = {{0}}, u[FEW_ACTS];
    for (int r = 0; r < ROWS; r++) {
        int32_t at = row + r * apart;
        w.at[r] = m->w + (uint64_t)(at < end ? at : end - 1) * m->row_bytes;
    }
    const parts rows = w;
    for (; d < d_end; d += part_d, acts += type->steps) {
        fetch_parts(&w, part_bytes(type), f);
        UNROLL
        for (int half = 0; half < type->steps; half++) {
            step s;
            type->unpack(&w, half, &s);
            turn_products(&type->codes, false, nt, &s, acts + half, stride, u);
            UNROLL
            for (int t = 0; t < n_out; t++)
                acc[t] = rf_fma((rf)rw_all4(d + t * stored + half * SLM_STRIPES), u[t], acc[t]);
        }
        for (int r = 0; r < ROWS; r++) w.at[r] += part_bytes(type);
    }
    if (has_last_step(type, nb)) {
        step s;
        fetch_parts(&w, nb % SLM_STRIPES * type->block_bytes, f);
        last_step(type, m, &rows, &s);
        turn_products(&type->codes, false, nt, &s, acts, stride, u);
        for (int t = 0; t < n_out; t++) acc[t] = rf_fma((rf)rw_all4(d + t * stored), u[t], acc[t]);
    }
    for (int t = 0; t < n_out; t++) {
        float sums[ROWS];
        fold_rows(acc[t], sums);
        for (int r = 0; r < ROWS && row + r * apart < end; r++)
            m->out[t * m->out_stride + row + r * apart] = sums[r];
    }
}

/* nt (constant) rows of activations, which are one token or two. */
INLINE void few_tokens(const quant_type *type, int nt, const slm_matmul *m, int32_t row,
                       int32_t n_rows, turn_acts *acts) {
    int32_t n_acts = slm__n_blocks_stored(m->n_in) / SLM_STRIPES;
    int32_t apart = (n_rows + ROWS - 1) / ROWS;
    for (int t = 0; t < nt; t++)
        for (int32_t i = 0; i < n_acts; i++)
            repeat_acts(m->x, ((int64_t)t * n_acts + i) * SLM_STRIPES, &acts[t * n_acts + i]);
    for (int32_t i = 0; joins(&type->codes) && i < n_acts; i++)
        for (int j = 0; j < 8; j++)
            join_acts(type->codes.max, &acts[i].q[j], &acts[n_acts + i].q[j]);
    fetching f = {.stream = apart * (int64_t)m->row_bytes, .near = m->near};
    f.left = f.stream - FETCH_AHEAD;
    for (; apart > 0 && f.left <= 0; f.left += f.stream) f.skip += (ROWS - 1) * f.stream;
    for (int32_t r = row; r < row + apart; r++)
        apart_rows(type, nt, m, r, apart, row + n_rows, &f, acts);
}
