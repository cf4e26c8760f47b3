/* Rows of floats and attention, written once over the vector vocabulary of a simd_*.h (16 lanes). Bits as ref.c. */

#include <stdbool.h>

#include "inline.h"
#include "kernels.h"

/* As slm__expf() of vmath.h, lane by lane. */
static inline vf vf_exp(vf x) {
    x = vf_max(vf_set1(SLM_EXP_LO), x);
    x = vf_min(vf_set1(SLM_EXP_HI), x);
    vf shifted = vf_fma(x, vf_set1(SLM_LOG2E), vf_set1(SLM_ROUND));
    vf n = vf_sub(shifted, vf_set1(SLM_ROUND));
    vf r = vf_fma(n, vf_set1(-SLM_LN2_HI), x);
    r = vf_fma(n, vf_set1(-SLM_LN2_LO), r);
    vf p = vf_fma(vf_set1(SLM_EXP_C6), r, vf_set1(SLM_EXP_C5));
    p = vf_fma(p, r, vf_set1(SLM_EXP_C4));
    p = vf_fma(p, r, vf_set1(SLM_EXP_C3));
    p = vf_fma(p, r, vf_set1(SLM_EXP_C2));
    p = vf_fma(p, r, vf_set1(1.0f));
    p = vf_fma(p, r, vf_set1(1.0f));
    vi scale = vi_add(vi_shl23(vi_from_bits(shifted)), vi_set1(0x3f800000));
    return vf_mul(p, vf_from_bits(scale));
}

static inline float lanes_sum(vf x) { return vf_fold(x) + 0.0f; }

static void rms_norm(const float *x, const float *w, int32_t n, float eps, float *out) {
    vf sum = vf_zero();
    int32_t i = 0;
    for (; i + SLM_LANES <= n; i += SLM_LANES) sum = vf_fma(vf_load(x + i), vf_load(x + i), sum);
    vf tail = vf_load_n(x + i, n - i);
    sum = vf_fma(tail, tail, sum);
    vf scale = vf_set1(1.0f / sqrtf(lanes_sum(sum) / (float)n + eps));
    for (i = 0; i + SLM_LANES <= n; i += SLM_LANES) {
        vf_store(out + i, vf_mul(vf_mul(vf_load(x + i), scale), vf_load(w + i)));
    }
    vf_store_n(out + i, vf_mul(vf_mul(vf_load_n(x + i, n - i), scale), vf_load_n(w + i, n - i)),
               n - i);
}

static inline vf silu_mul_lanes(vf gate, vf up) {
    vf e = vf_exp(vf_sub(vf_set1(-0.0f), gate));
    return vf_mul(vf_div(gate, vf_add(vf_set1(1.0f), e)), up);
}

static inline vf gelu_mul_lanes(vf gate, vf up) {
    vf z = vf_mul(gate, vf_fma(vf_mul(gate, gate), vf_set1(SLM_GELU_C3), vf_set1(SLM_GELU_C1)));
    vf e = vf_exp(vf_sub(vf_set1(-0.0f), z));
    return vf_mul(vf_div(gate, vf_add(vf_set1(1.0f), e)), up);
}

INLINE void gated(vf (*lanes)(vf gate, vf up), const float *gate, const float *up, int32_t n,
                  float *out) {
    int32_t i = 0;
    for (; i + SLM_LANES <= n; i += SLM_LANES)
        vf_store(out + i, lanes(vf_load(gate + i), vf_load(up + i)));
    vf_store_n(out + i, lanes(vf_load_n(gate + i, n - i), vf_load_n(up + i, n - i)), n - i);
}

static void silu_mul(const float *gate, const float *up, int32_t n, float *out) {
    gated(silu_mul_lanes, gate, up, n, out);
}
static void gelu_mul(const float *gate, const float *up, int32_t n, float *out) {
    gated(gelu_mul_lanes, gate, up, n, out);
}

static inline vf soft_cap_lanes(vf x, vf cap) {
    vf e = vf_exp(vf_mul(vf_div(x, cap), vf_set1(2.0f)));
    return vf_mul(cap, vf_sub(vf_set1(1.0f), vf_div(vf_set1(2.0f), vf_add(vf_set1(1.0f), e))));
}

static void soft_cap(float *x, int32_t n, float cap) {
    int32_t i = 0;
    for (; i + SLM_LANES <= n; i += SLM_LANES)
        vf_store(x + i, soft_cap_lanes(vf_load(x + i), vf_set1(cap)));
    vf_store_n(x + i, soft_cap_lanes(vf_load_n(x + i, n - i), vf_set1(cap)), n - i);
}

static void weights(const float *x, int32_t n, float max, float temperature, float *out) {
    vf m = vf_set1(max), t = vf_set1(temperature);
    int32_t i = 0;
    for (; i + SLM_LANES <= n; i += SLM_LANES)
        vf_store(out + i, vf_exp(vf_div(vf_sub(vf_load(x + i), m), t)));
    vf_store_n(out + i, vf_exp(vf_div(vf_sub(vf_load_n(x + i, n - i), m), t)), n - i);
}

static void add(float *x, const float *y, int32_t n) {
    for (int32_t i = 0; i < n; i++) x[i] += y[i];
}

static void to_f16(const float *x, int32_t n, slm_f16 *out) {
    int32_t i = 0;
    for (; i + SLM_LANES <= n; i += SLM_LANES) vf_store_f16(out + i, vf_load(x + i));
    if (i == n) return;
    slm_f16 tail[SLM_LANES];
    vf_store_f16(tail, vf_load_n(x + i, n - i));
    memcpy(out + i, tail, (size_t)(n - i) * sizeof *out);
}

/* ---- Activations to 8 bits ---- */

/* q: of the block's first group; a group is 4 bytes, the next 16 bytes further on (slm__act_at). */
static inline void store_groups(int8_t *q, vi x) {
    int8_t bytes[16];
    vi_store_i8(bytes, x);
    for (int g = 0; g < 4; g++) memcpy(q + 16 * g, bytes + 4 * g, 4);
}

/* A block of 32 as integers; returns the scale. */
static inline float block_codes(vf x0, vf x1, vi *q0, vi *q1) {
    const vi magnitude = vi_set1(0x7fffffff);
    int32_t max_bits = vi_highest(
        vi_max(vi_and(vi_from_bits(x0), magnitude), vi_and(vi_from_bits(x1), magnitude)));
    float max = slm__float((uint32_t)max_bits);
    *q0 = *q1 = vi_zero();
    if (max_bits >= 0x7f800000) return slm__float(0x7fc00000);
    if (max < 1e-30f) return 0;
    vf scale = vf_set1(127.0f / max);
    *q0 = vi_round(vf_mul(x0, scale));
    *q1 = vi_round(vf_mul(x1, scale));
    return max / 127.0f;
}

static inline void quantize_block(vf x0, vf x1, int8_t *q, float *d, float *sum, int16_t *half) {
    vi q0, q1;
    *d = block_codes(x0, x1, &q0, &q1);
    store_groups(q, q0);
    store_groups(q + 64, q1);
    int32_t s0 = vi_sum(q0), s1 = vi_sum(q1);
    *sum = (float)(s0 + s1);
    half[0] = (int16_t)s0;
    half[1] = (int16_t)s1;
}

/* Block b of n values, zero beyond them. */
static inline void load_block(const float *x, int32_t n, int32_t b, vf *x0, vf *x1) {
    int32_t left = n - b * SLM_QBLOCK;
    *x0 = *x1 = vf_zero();
    if (left >= SLM_QBLOCK) {
        *x0 = vf_load(x + b * SLM_QBLOCK);
        *x1 = vf_load(x + b * SLM_QBLOCK + 16);
    } else if (left > 0) {
        *x0 = vf_load_n(x + b * SLM_QBLOCK, left < 16 ? left : 16);
        if (left > 16) *x1 = vf_load_n(x + b * SLM_QBLOCK + 16, left - 16);
    }
}

static void quantize(const slm_acts *a, int32_t token) {
    int32_t stored = slm__n_blocks_stored(a->n);
    int64_t at = (int64_t)token * stored;
    const float *x = a->x + (int64_t)token * a->n;
    for (int32_t b = 0; b < stored; b++, at++) {
        vf x0, x1;
        load_block(x, a->n, b, &x0, &x1);
        quantize_block(x0, x1, a->q + slm__act_at(at, 0), a->d + at, a->sum + at, a->half + at * 2);
    }
}

static void to_q8(const float *x, int32_t n, int8_t *q, slm_f16 *d) {
    for (int32_t b = 0; b * SLM_QBLOCK < n; b++) {
        int8_t codes[SLM_QBLOCK];
        int32_t left = n - b * SLM_QBLOCK;
        vf x0, x1;
        vi q0, q1;
        load_block(x, n, b, &x0, &x1);
        slm_f16 scale[SLM_LANES];
        vf_store_f16(scale, vf_set1(block_codes(x0, x1, &q0, &q1)));
        d[b] = scale[0];
        vi_store_i8(codes, q0);
        vi_store_i8(codes + 16, q1);
        memcpy(q + b * SLM_QBLOCK, codes, (size_t)(left < SLM_QBLOCK ? left : SLM_QBLOCK));
    }
}

/* ---- Attention over one page: 64 positions are 4 vectors of lanes ---- */

enum { PAGE_VECTORS = SLM_PAGE / SLM_LANES, ATTN_QUERIES = 4 };

static inline vf load_stored_f16(const void *p, int64_t i) {
    return vf_load_f16((const slm_f16 *)p + i);
}
static inline vf load_stored_f32(const void *p, int64_t i) { return vf_load((const float *)p + i); }
static inline vf load_stored_i8(const void *p, int64_t i) {
    return vf_load_i8((const int8_t *)p + i);
}

/* Vectors of a page that n queries take at a time, a power of two: all sums stay in registers, and there are enough of them to
 * hide the latency of an fma. */
INLINE int vectors_for(int n) { return ATTN_SUMS >= 4 * n ? 4 : ATTN_SUMS >= 2 * n ? 2 : 1; }

/* How a page is stored. */
typedef struct store_kind {
    vf (*load)(const void *p, int64_t i);
    int value_bytes;
    bool scaled; /* 32 values of a position share a scale */
} store_kind;

/* Keys are walked in columns, which no prefetcher of a processor foresees. So the scores fetch the values of the page, and the values
 * the next keys: what the n-th step over `vectors` vectors will read there. */
INLINE void fetch_step(store_kind store, const void *from, int32_t n, int vectors) {
    __builtin_prefetch((const uint8_t *)from +
                       (int64_t)n * vectors * SLM_LANES * store.value_bytes);
}

INLINE void clear_sums(int n, int nv, vf (*sum)[PAGE_VECTORS]) {
    UNROLL
    for (int k = 0; k < n; k++) {
        UNROLL
        for (int v = 0; v < nv; v++) sum[k][v] = vf_zero();
    }
}

/* sum[k][v] += q . k over values from .. to of the head, for n queries and nv vectors of positions from j on. */
INLINE void score_values(store_kind store, int n, int nv, const slm_attn_page *a, const float *q,
                         int32_t from, int32_t to, int j, vf (*sum)[PAGE_VECTORS]) {
    for (int32_t d = from; d < to; d++) {
        fetch_step(store, a->v, j / (nv * SLM_LANES) * a->head_dim + d, nv);
        UNROLL
        for (int v = 0; v < nv; v++) {
            vf key = store.load(a->k, (int64_t)d * SLM_PAGE + j + v * SLM_LANES);
            UNROLL
            for (int k = 0; k < n; k++)
                sum[k][v] = vf_fma(vf_set1(q[(int64_t)k * a->head_dim_stored + d]), key, sum[k][v]);
        }
    }
}

/* The same for a page with scales: block by block, each in sums of its own. */
INLINE void score_blocks(store_kind store, int n, int nv, const slm_attn_page *a, const float *q,
                         int j, vf (*sum)[PAGE_VECTORS]) {
    for (int32_t d = 0; d < a->head_dim; d += SLM_QBLOCK) {
        vf part[ATTN_QUERIES][PAGE_VECTORS];
        clear_sums(n, nv, part);
        int32_t to = a->head_dim - d < SLM_QBLOCK ? a->head_dim : d + SLM_QBLOCK;
        score_values(store, n, nv, a, q, d, to, j, part);
        UNROLL
        for (int v = 0; v < nv; v++) {
            vf scale = vf_load_f16(a->k_scale + d / SLM_QBLOCK * SLM_PAGE + j + v * SLM_LANES);
            UNROLL
            for (int k = 0; k < n; k++) sum[k][v] = vf_fma(scale, part[k][v], sum[k][v]);
        }
    }
}

/* Scores of `n` (constant) queries from number i on against all positions of the page: p[n][64]. */
INLINE void page_scores(store_kind store, int n, const slm_attn_page *a, int32_t i,
                        float (*p)[SLM_PAGE]) {
    const float *q = a->q + (int64_t)i * a->head_dim_stored;
    const int nv = vectors_for(n);
    for (int j = 0; j < SLM_PAGE; j += nv * SLM_LANES) {
        vf score[ATTN_QUERIES][PAGE_VECTORS];
        clear_sums(n, nv, score);
        if (store.scaled) {
            score_blocks(store, n, nv, a, q, j, score);
        } else {
            score_values(store, n, nv, a, q, 0, a->head_dim, j, score);
        }
        UNROLL
        for (int k = 0; k < n; k++) {
            UNROLL
            for (int v = 0; v < nv; v++) vf_store(&p[k][j + v * SLM_LANES], score[k][v]);
        }
    }
}

/* Scores to exp(score - max), 0 outside of first .. last. */
static inline void page_softmax(float p[SLM_PAGE], int32_t first, int32_t last, float *max_out,
                                float *sum_out) {
    uint64_t seen = (last == 63 ? ~0ull : (1ull << (last + 1)) - 1) & ~0ull << first;
    vf highest = vf_set1(-INFINITY);
    UNROLL
    for (int v = 0; v < PAGE_VECTORS; v++) {
        vf x = vf_select((uint32_t)(seen >> v * SLM_LANES) & 0xffff, vf_load(p + v * SLM_LANES),
                         highest);
        highest = vf_max(x, highest); /* NaN is never the highest */
    }
    float max = vf_highest(highest) + 0.0f;
    vf sum = vf_zero();
    UNROLL
    for (int v = 0; v < PAGE_VECTORS; v++) {
        vf e = vf_exp(vf_sub(vf_load(p + v * SLM_LANES), vf_set1(max)));
        e = vf_select((uint32_t)(seen >> v * SLM_LANES) & 0xffff, e, vf_zero());
        vf_store(p + v * SLM_LANES, e);
        sum = vf_add(sum, e);
    }
    *max_out = max;
    *sum_out = lanes_sum(sum);
}

/* out[d ..] += p[j] * v[j] for j from `from` to `to` in this order, for `n` queries and `nv` vectors (constants). */
INLINE void page_values_at(store_kind store, int n, int nv, const slm_attn_page *a, int32_t i,
                           int32_t d, float (*p)[SLM_PAGE], int32_t from, int32_t to) {
    int32_t stored = a->head_dim_stored;
    float *out = a->out + (int64_t)i * stored + d;
    vf sum[ATTN_QUERIES][PAGE_VECTORS];
    UNROLL
    for (int k = 0; k < n; k++) {
        UNROLL
        for (int v = 0; v < nv; v++) sum[k][v] = vf_load(out + (int64_t)k * stored + v * SLM_LANES);
    }
    const void *next = a->next_k ? a->next_k : a->v;
    for (int32_t j = from; j <= to; j++) {
        fetch_step(store, next, d / (nv * SLM_LANES) * SLM_PAGE + j, nv);
        UNROLL
        for (int v = 0; v < nv; v++) {
            vf value = store.load(a->v, (int64_t)j * stored + d + v * SLM_LANES);
            UNROLL
            for (int k = 0; k < n; k++) sum[k][v] = vf_fma(vf_set1(p[k][j]), value, sum[k][v]);
        }
    }
    UNROLL
    for (int k = 0; k < n; k++) {
        UNROLL
        for (int v = 0; v < nv; v++) vf_store(out + (int64_t)k * stored + v * SLM_LANES, sum[k][v]);
    }
}

/* The same for the values d .. d_end of the head. */
INLINE void page_values_in(store_kind store, int n, const slm_attn_page *a, int32_t i, int32_t d,
                           int32_t d_end, float (*p)[SLM_PAGE], int32_t from, int32_t to) {
    const int wanted = vectors_for(n), block = SLM_QBLOCK / SLM_LANES;
    const int nv = store.scaled && wanted > block ? block : wanted;
    for (; d + nv * SLM_LANES <= d_end; d += nv * SLM_LANES)
        page_values_at(store, n, nv, a, i, d, p, from, to);
    for (; nv > 1 && d < d_end; d += SLM_LANES) page_values_at(store, n, 1, a, i, d, p, from, to);
}

/* Scales go to the weights of positions, block by block. */
INLINE void page_values(store_kind store, int n, const slm_attn_page *a, int32_t i,
                        float (*p)[SLM_PAGE], int32_t from, int32_t to) {
    int32_t end = a->head_dim_stored;
    if (from > to) return;
    if (!store.scaled) {
        page_values_in(store, n, a, i, 0, end, p, from, to);
        return;
    }
    for (int32_t d = 0; d < end; d += SLM_QBLOCK) {
        float scaled[ATTN_QUERIES][SLM_PAGE];
        UNROLL
        for (int j = 0; j < SLM_PAGE; j += SLM_LANES) {
            vf scale = vf_load_f16(a->v_scale + d / SLM_QBLOCK * SLM_PAGE + j);
            UNROLL
            for (int k = 0; k < n; k++) vf_store(&scaled[k][j], vf_mul(vf_load(&p[k][j]), scale));
        }
        page_values_in(store, n, a, i, d, end - d < SLM_QBLOCK ? end : d + SLM_QBLOCK, scaled, from,
                       to);
    }
}

INLINE void page_queries(store_kind store, int n, const slm_attn_page *a, int32_t i) {
    float p[ATTN_QUERIES][SLM_PAGE];
    page_scores(store, n, a, i, p);
    int32_t common_first = 0, common_last = SLM_PAGE - 1;
    if (a->soft_cap > 0) soft_cap(p[0], n * SLM_PAGE, a->soft_cap);
    UNROLL
    for (int k = 0; k < n; k++) {
        page_softmax(p[k], a->first[i + k], a->last[i + k], &a->max[i + k], &a->sum[i + k]);
        common_first = a->first[i + k] > common_first ? a->first[i + k] : common_first;
        common_last = a->last[i + k] < common_last ? a->last[i + k] : common_last;
    }
    memset(a->out + (int64_t)i * a->head_dim_stored, 0,
           (size_t)n * (size_t)a->head_dim_stored * sizeof(float));

    /* What all queries see, together; what only some see before and after, one by one: no query ever touches a
     * position outside of its range, whose bytes may be anything. */
    int together = common_first <= common_last;
    UNROLL
    for (int k = 0; k < n; k++) {
        int32_t to = together ? common_first - 1 : a->last[i + k];
        page_values(store, 1, a, i + k, p + k, a->first[i + k], to);
    }
    if (!together) return;
    page_values(store, n, a, i, p, common_first, common_last);
    UNROLL
    for (int k = 0; k < n; k++)
        page_values(store, 1, a, i + k, p + k, common_last + 1, a->last[i + k]);
}

INLINE void attn_page(store_kind store, const slm_attn_page *a) {
    int32_t i = 0;
    for (; i + ATTN_QUERIES <= a->n_q; i += ATTN_QUERIES) page_queries(store, ATTN_QUERIES, a, i);
    switch (a->n_q - i) { /* ATTN_QUERIES is 4 */
    case 3: page_queries(store, 3, a, i); break;
    case 2: page_queries(store, 2, a, i); break;
    case 1: page_queries(store, 1, a, i); break;
    default: break;
    }
}

static void attn_page_f16(const slm_attn_page *a) {
    attn_page((store_kind){load_stored_f16, sizeof(slm_f16), false}, a);
}
static void attn_page_f32(const slm_attn_page *a) {
    attn_page((store_kind){load_stored_f32, sizeof(float), false}, a);
}
static void attn_page_q8_0(const slm_attn_page *a) {
    attn_page((store_kind){load_stored_i8, sizeof(int8_t), true}, a);
}

static void attn_merge(float *max, float *sum, float *out, float page_max, float page_sum,
                       const float *page_out, int32_t n) {
    float new_max = page_max > *max ? page_max : *max;
    float old = slm__expf(*max - new_max), new = slm__expf(page_max - new_max);
    *max = new_max;
    *sum = fmaf(*sum, old, page_sum * new);
    vf old_v = vf_set1(old), new_v = vf_set1(new);
    int32_t i = 0;
    for (; i + SLM_LANES <= n; i += SLM_LANES) {
        vf_store(out + i, vf_fma(vf_load(out + i), old_v, vf_mul(vf_load(page_out + i), new_v)));
    }
    vf tail =
        vf_fma(vf_load_n(out + i, n - i), old_v, vf_mul(vf_load_n(page_out + i, n - i), new_v));
    vf_store_n(out + i, tail, n - i);
}
