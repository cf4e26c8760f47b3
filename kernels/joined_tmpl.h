/* A few tokens: the parts of a vector are consecutive steps of one row, in one stream. Included by matmul_tmpl.h where a whole vector can be
 * loaded as it lies (SWAPS).
 *
 * A turn is one step in each part (of super-blocks: the same half of consecutive ones), and the next one goes on where it ends, from one row
 * into the next: ROWS rows of n parts are n turns.
 */

enum { MAX_PART_BYTES = sizeof(slm_q6_k) };
#define X(name, id, bw, block, ...)                                                  \
    _Static_assert(((bw) == 32 ? SLM_STRIPES : 1) * sizeof(block) <= MAX_PART_BYTES, \
                   "copies of " #name);
SLM_QUANT_TYPES(X)
#undef X
_Static_assert(!JOINS_WIDE, "parts of wide activations are added up each by itself");

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

/* Those of a row: each turn of a period, each half, then the last step, the same in all parts. */
INLINE int32_t n_turn_acts(const quant_type *type, int32_t n_in) {
    return turn_period(n_parts(type, n_in)) * type->steps +
           has_last_step(type, slm__n_blocks(n_in));
}

/* first: the first block of a row of activations. */
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
    repeat_acts(x, first + nb / SLM_STRIPES * SLM_STRIPES, &out[n]);
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

/* The products of one turn with nt rows, u[half][token]. */
INLINE void turn(const quant_type *type, int nt, const uint8_t *from, const turn_acts *acts,
                 int32_t stride, rf u[2][FEW_ACTS]) {
    parts w = {.joined = true, .n_blocks = SLM_STRIPES};
    for (int k = 0; k < ROWS; k++) w.at[k] = from + k * part_bytes(type);
    UNROLL
    for (int half = 0; half < type->steps; half++) {
        step s;
        type->unpack(&w, half, &s);
        turn_products(&type->codes, swaps(type), nt, &s, acts + half, stride, u[half]);
    }
}

/* The whole parts of up to ROWS rows. A last turn that is not full makes sums of rows that are not there. */
INLINE void row_turns(const quant_type *type, int nt, const slm_matmul *m, int32_t row,
                      int32_t n_rows, const turn_acts *acts, r1 sums[ROWS][FEW_ACTS]) {
    const int part_d = type->steps * SLM_STRIPES, n_out = tokens_of(&type->codes, nt);
    const uint8_t *p = m->w + (uint64_t)row * m->row_bytes;
    int64_t stored = slm__n_blocks_stored(m->n_in);
    int32_t n = n_parts(type, m->n_in), stride = n_turn_acts(type, m->n_in), r = 0;
    int64_t gap = (int64_t)m->row_bytes - n * part_bytes(type);
    const float *d = m->x->d, *d_end = d + n * part_d;
    const turn_acts *x = acts, *x_end = acts + turn_period(n) * type->steps;
    r1 acc[FEW_ACTS] = {{0}};
    for (int32_t left = n_rows * n; left > 0; left -= ROWS) {
        rf u[2][FEW_ACTS];
        uint8_t copy[ROWS * MAX_PART_BYTES];
        const uint8_t *from = p;
        if (left < ROWS || (gap && d_end - d < ROWS * part_d))
            from = join_parts(type, p, left, (d_end - d) / part_d, n, gap, copy);
        fetch_ahead(p, ROWS * part_bytes(type), m->near);
        turn(type, nt, from, x, stride, u);
        p += ROWS * part_bytes(type);
        x += type->steps;
        if (x == x_end) x = acts;
        UNROLL
        for (int k = 0; k < ROWS; k++) {
            UNROLL
            for (int t = 0; t < n_out; t++) {
                UNROLL
                for (int half = 0; half < type->steps; half++)
                    acc[t] = r1_fma(r1_load(d + t * stored + half * SLM_STRIPES),
                                    rf_part(u[half][t], k), acc[t]);
            }
            d += part_d;
            if (d < d_end) continue;
            for (int t = 0; t < n_out; t++) sums[r][t] = acc[t], acc[t] = (r1){0};
            d = m->x->d, p += gap, r++;
        }
    }
}

INLINE void joined_rows(const quant_type *type, int nt, const slm_matmul *m, int32_t row,
                        int32_t n_rows, const turn_acts *acts) {
    const int n_out = tokens_of(&type->codes, nt);
    int32_t nb = slm__n_blocks(m->n_in), n_acts = n_turn_acts(type, m->n_in);
    r1 sums[ROWS][FEW_ACTS] = {{{0}}};
    rf acc[FEW_ACTS];
    row_turns(type, nt, m, row, n_rows, acts, sums);
    for (int t = 0; t < n_out; t++) {
        r1 rows[ROWS];
        for (int r = 0; r < ROWS; r++) rows[r] = sums[r][t];
        acc[t] = rf_join(rows);
    }
    if (has_last_step(type, nb)) { /* here, parts are rows */
        step s;
        parts w = rows_at(m, row, n_rows);
        last_step(type, m, &w, &s);
        for (int r = 0; r < ROWS; r++)
            fetch_ahead(w.at[r] + n_parts(type, m->n_in) * part_bytes(type), part_bytes(type),
                        m->near);
        rf u[FEW_ACTS];
        turn_products(&type->codes, false, nt, &s, acts + n_acts - 1, n_acts, u);
        for (int t = 0; t < n_out; t++) {
            const float *d = m->x->d + t * (int64_t)slm__n_blocks_stored(m->n_in);
            acc[t] = rf_fma((rf)rw_all4(d + nb / SLM_STRIPES * SLM_STRIPES), u[t], acc[t]);
        }
    }
    for (int t = 0; t < n_out; t++) store_rows(acc[t], n_rows, m->out + t * m->out_stride + row);
}

/* nt (constant) rows of activations, which are one token or two. */
INLINE void few_tokens(const quant_type *type, int nt, const slm_matmul *m, int32_t row,
                       int32_t n_rows, turn_acts *acts) {
    int32_t n_acts = n_turn_acts(type, m->n_in);
    for (int t = 0; t < nt; t++)
        spread_acts(type, m->x, t * (int64_t)slm__n_blocks_stored(m->n_in), acts + t * n_acts);
    for (int32_t end = row + n_rows; row < end; row += ROWS)
        joined_rows(type, nt, m, row, end - row < ROWS ? end - row : ROWS, acts);
}
