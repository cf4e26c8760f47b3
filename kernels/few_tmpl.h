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

/* Tokens that n rows of activations are. */
INLINE int tokens_of(const quant_type *type, int n) { return type->wide ? n / 2 : n; }

/* Whether the two parts of wide activations are put together before they meet the codes. */
INLINE bool widens(const quant_type *type) { return type->wide && WIDENS(type->max); }

INLINE void widen_acts(turn_acts *high, turn_acts *low, int32_t n) {
    for (int32_t i = 0; i < n; i++)
        for (int j = 0; j < 8; j++) widen(&high[i].q[j], &low[i].q[j]);
}

/* The sums with each of n (constant) rows of activations, x[t * stride]; sums of a block are added up over its part, and then are in its
 * lane. Codes meet all rows before the next ones are looked at, so that few are kept. */
INLINE void turn_sums(const quant_type *type, bool swapped, int n, const step *w,
                      const turn_acts *x, int32_t stride, step_sums out[FEW_ACTS]) {
    /* two halves of a block make one sum, or one each; as many of them in a run as 16 bits hold (simd_*.h) */
    const int halves = type->geometry == SLM_SCALE16 || type->geometry == SLM_SCALE_MIN16 ? 1 : 2;
    /* codes of SCALE_MIN16 are not yet multiplied: 2 bits */
    const int max = type->geometry == SLM_SCALE_MIN16 ? 3 : type->max;
    const int run = DOT_RUN(max) < halves ? DOT_RUN(max) : halves;
    UNROLL
    for (int first = 0; first < 3 - halves; first++) {
        ri block[FEW_ACTS][4] = {{{0}}};
        UNROLL
        for (int k = 0; k < 4; k++) {
            rdots dots[FEW_ACTS];
            for (int t = 0; t < n; t++) dots[t] = (rdots){0};
            UNROLL
            for (int i = 0; i < halves; i++) {
                rb q = w->q[4 * (first + i) + k];
                UNROLL
                for (int t = 0; t < n; t++) {
                    rw a = x[t * stride].q[4 * (first + i) + k];
                    if (widens(type)) {
                        block[t][k] = dot_wide(block[t][k], q, a, x[stride].q[4 * (first + i) + k]);
                        continue;
                    }
                    dots[t] = i % run == 0 ? dot_first(max, block[t][k], q, a)
                                           : dot_more(max, dots[t], q, a);
                    if (i % run == run - 1) block[t][k] = dot_last(dots[t], block[t][k]);
                }
            }
        }
        UNROLL
        for (int t = 0; t < n; t++) {
            ri sum =
                sums_of_lanes(4 * halves * (widens(type) ? SLM_WIDE_MAX : 127) * max, block[t]);
            if (swapped) sum = (ri)swap_lanes((rw)sum);
            out[t].s[first] = sum + zero_offset(type, x[t * stride].half, first);
        }
    }
    if (type->geometry != SLM_SCALE_MIN16) return;
    UNROLL
    for (int t = 0; t < n; t++) {
        /* sums of 16 codes below 4: they fit in 16 bits */
        rw both = ((rw)out[t].s[0] & 0xffff) | (rw)out[t].s[1] << 16;
        out[t].s[0] = madd16(both, w->c);
        out[t].min = madd16(w->k, x[t * stride].half);
    }
}

/* The products with nt rows, to u[token]. */
INLINE void turn_products(const quant_type *type, bool swapped, int nt, const step *w,
                          const turn_acts *x, int32_t stride, rf u[FEW_ACTS]) {
    step_sums sums[FEW_ACTS];
    turn_sums(type, swapped, widens(type) ? 1 : nt, w, x, stride, sums);
    if (type->wide && !widens(type)) add_low_sums(type, &sums[0], &sums[1]);
    UNROLL
    for (int t = 0; t < tokens_of(type, nt); t++)
        u[t] = scaled(type, &sums[t], w, x[t * stride].sum);
}
