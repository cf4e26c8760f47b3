/* Products with one token or two, or with the two rows of a wide one: steps straight from the unpacker, a turn being one in each part of a
 * vector. Included by matmul_tmpl.h, before one of the two ways to walk through memory: apart_tmpl.h, joined_tmpl.h.
 */

enum { FEW_ACTS = 2 }; /* rows of activations */

/* Where the next part begins: a step further, or a super-block. */
INLINE int32_t part_bytes(const quant_type *type) {
    return type->block_bytes * (type->steps == 1 ? SLM_STRIPES : 1);
}

/* Activations as the codes of a step. */
typedef struct turn_acts {
    rw q[8], sum, half;
} turn_acts;

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

/* The same four blocks in all parts. */
INLINE void repeat_acts(const slm_acts *x, int64_t first, turn_acts *out) {
    int64_t block[ROWS];
    for (int k = 0; k < ROWS; k++) block[k] = first;
    gather_acts(false, x, block, out);
}

/* Rows of activations that a token has; tokens that n rows are. */
INLINE int rows_of_token(const code_type *codes) { return codes->wide ? 2 : 1; }
INLINE int tokens_of(const code_type *codes, int n) { return codes->wide ? n / 2 : n; }

/* Whether both parts of wide activations meet the codes in one sum. Sums of SCALE_MIN16 are multiplied as 16 bits, which those of wide
 * activations do not fit. */
INLINE bool joins(const code_type *codes) {
    return codes->wide && JOINS_WIDE && codes->geometry != SLM_SCALE_MIN16;
}

/* The sums with each of n (constant) rows of activations, x[t * stride], or, where they join(), with both parts of one (n is 1). Sums of
 * a block are added up over its part, and then are in its lane. Codes meet all rows before the next ones are looked at, so that few are
 * kept. */
INLINE void turn_sums(const code_type *codes, bool swapped, int n, const step *w,
                      const turn_acts *x, int32_t stride, step_sums out[FEW_ACTS]) {
    /* two halves of a block make one sum, or one each; as many of them in a run as 16 bits hold (simd_*.h) */
    const int halves = codes->geometry == SLM_SCALE16 || codes->geometry == SLM_SCALE_MIN16 ? 1 : 2;
    /* codes of SCALE_MIN16 are not yet multiplied: 2 bits */
    const int max = codes->geometry == SLM_SCALE_MIN16 ? 3 : codes->max;
    const int run = DOT_RUN(max) < halves ? DOT_RUN(max) : halves;
    UNROLL
    for (int first = 0; first < 3 - halves; first++) {
        ri block[FEW_ACTS][4] = {{{0}}};
        UNROLL
        for (int k = 0; k < 4; k++) {
            const int at = 4 * first + k;
            if (joins(codes)) {
                block[0][k] = dot_wide(max, halves, &w->q[at], &x->q[at], &x[stride].q[at]);
                continue;
            }
            rdots dots[FEW_ACTS];
            for (int t = 0; t < n; t++) dots[t] = (rdots){0};
            UNROLL
            for (int i = 0; i < halves; i++) {
                rb q = w->q[at + 4 * i];
                UNROLL
                for (int t = 0; t < n; t++) {
                    rw a = x[t * stride].q[at + 4 * i];
                    dots[t] = i % run == 0 ? dot_first(max, block[t][k], q, a)
                                           : dot_more(max, dots[t], q, a);
                    if (i % run == run - 1) block[t][k] = dot_last(dots[t], block[t][k]);
                }
            }
        }
        UNROLL
        for (int t = 0; t < n; t++) {
            ri sum =
                sums_of_lanes(4 * halves * (joins(codes) ? SLM_WIDE_MAX : 127) * max, block[t]);
            if (swapped) sum = (ri)swap_lanes((rw)sum);
            ri offset = zero_offset(codes, x[t * stride].half, first);
            if (joins(codes)) offset = wide_sum(offset, zero_offset(codes, x[stride].half, first));
            out[t].s[first] = sum + offset;
        }
    }
    if (codes->geometry != SLM_SCALE_MIN16) return;
    UNROLL
    for (int t = 0; t < n; t++) {
        /* sums of 16 codes below 4: they fit in 16 bits */
        rw both = ((rw)out[t].s[0] & 0xffff) | (rw)out[t].s[1] << 16;
        out[t].s[0] = madd16(both, w->c);
        out[t].min = madd16(w->k, x[t * stride].half);
    }
}

/* The products with nt rows, to u[token]. */
INLINE void turn_products(const code_type *codes, bool swapped, int nt, const step *w,
                          const turn_acts *x, int32_t stride, rf u[FEW_ACTS]) {
    step_sums sums[FEW_ACTS];
    turn_sums(codes, swapped, joins(codes) ? 1 : nt, w, x, stride, sums);
    if (codes->wide && !joins(codes)) add_low_sums(codes, &sums[0], &sums[1]);
    UNROLL
    for (int t = 0; t < tokens_of(codes, nt); t++)
        u[t] = scaled(codes, &sums[t], &w->d0, &w->d1, x[t * stride].sum);
}
