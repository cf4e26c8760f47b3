/* Floats to blocks: the least weighted squared error that a search over scales finds. Written once over the vector vocabulary of a
 * simd_*.h (16 lanes); the bits of all are the same, and those of simd_c.h.
 *
 * Every type is one case of one problem. A weight is s * v + m: v one of a few fixed levels, s and m those of its group. A
 * block has 1, 8 or 16 groups, with s = d * sc and m = -dmin * mn: small integers times the two numbers of the block
 * (one group: sc = 1, and m is a number of its own). recipes[], below, says for each type which levels, groups and
 * integers it has; pack.h, where their bits go.
 *
 *   1. fit()           16 ways to round a group at once: a lane is a way, so one weight at a time meets all of them and no sum is
 *                      ever folded.
 *   2. fit_groups()    s and m of a group as if they were free: the best of 16 starts, by the error that least squares gives for
 *                      the levels of each; of those as good but for rounding, the one with the lowest levels.
 *   3. settle_single() one group: s and m as the block can hold them, levels rounded anew, least squares again.
 *   4. try_integers()  several groups: a few d and dmin, and near them the best integers for each group (fit() again); then least
 *                      squares for d and dmin over all groups, and once more around what that gives.
 */
#include "inline.h"
#include "kernels.h"
/* A vocabulary with instructions for conversions defines these; the bits are the same. */
#ifndef SLM_FROM_F16
#define SLM_FROM_F16 slm__from_f16
#define SLM_TO_F16   slm__to_f16
#endif

#include "plain.h"
#include "tables.h"

enum { WAYS = SLM_LANES, MAX_GROUPS = 16, MAX_BLOCK = 256 };

/* ---- What the types are ---- */

static const int8_t iq4_book[] = {SLM_IQ4_CODES};
static const int8_t mxfp4_book[] = {-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12};

typedef struct recipe {
    float lo, hi;       /* the lowest and the highest level           */
    const int8_t *book; /* the levels, rising; NULL: whole numbers    */
    int n_groups, group;
    bool has_min;
    int sc_lo,
        sc_hi; /* the integers that sc can be; 1, 1: no integers, d and m are the group's own */
    int mn_hi;
    float span,
        step; /* starts: the largest weight at level span, span + step, ...; with minima: the range is so wide */
} recipe;

static const recipe recipes[SLM_N_TYPES] = {
    [SLM_Q4_0] = {-8, 7, NULL, 1, 32, 0, 1, 1, 0, 5.5f, 0.5f},
    [SLM_Q4_1] = {0, 15, NULL, 1, 32, 1, 1, 1, 0, 12.5f, 1},
    [SLM_Q5_0] = {-16, 15, NULL, 1, 32, 0, 1, 1, 0, 13, 0.5f},
    [SLM_Q5_1] = {0, 31, NULL, 1, 32, 1, 1, 1, 0, 28.5f, 1},
    [SLM_Q8_0] = {-127, 127, NULL, 1, 32, 0, 1, 1, 0, 120, 0.5f},
    [SLM_Q2_K] = {0, 3, NULL, 16, 16, 1, 0, 15, 15, 2, 0.5f},
    [SLM_Q3_K] = {-4, 3, NULL, 16, 16, 0, -32, 31, 0, 2.5f, 0.35f},
    [SLM_Q4_K] = {0, 15, NULL, 8, 32, 1, 0, 63, 63, 12.5f, 1},
    [SLM_Q5_K] = {0, 31, NULL, 8, 32, 1, 0, 63, 63, 28.5f, 1},
    [SLM_Q6_K] = {-32, 31, NULL, 16, 16, 0, -128, 127, 0, 26.4f, 0.8f},
    [SLM_IQ4_NL] = {-127, 113, iq4_book, 1, 32, 0, 1, 1, 0, 87, 8},
    [SLM_IQ4_XS] = {-127, 113, iq4_book, 8, 32, 0, -32, 31, 0, 87, 8},
    [SLM_MXFP4] = {-12, 12, mxfp4_book, 1, 32, 0, 1, 1, 0, 0, 0},
};

INLINE bool is_mx(const recipe *r) { return r->book == mxfp4_book; }
INLINE bool has_integers(const recipe *r) { return r->sc_hi > 1; }

/* ---- The nearest level, or its code ---- */

INLINE vf nearest_whole(vf t, vf lo, vf hi) { return vf_round(vf_min(vf_max(t, lo), hi)); }

/* From the lowest level up: the lower one where two are as near. */
INLINE vf climb(const int8_t *book, int n, bool codes, vf t) {
    vf v = vf_set1(codes ? 0 : (float)book[0]);
    UNROLL
    for (int i = 1; i < n; i++)
        v = vf_pick(t, vf_set1((float)(book[i] + book[i - 1]) * 0.5f),
                    vf_set1(codes ? (float)i : (float)book[i]), v);
    return v;
}

#ifdef LOOK_UP32
/* The number line in cells 8 wide, cell k around 8 k - 127; none has more than one middle between two levels (61 and 101 lie on the
 * border of two and are in both). */
static const float iq4_middle[32] = {1000, -115.5, 1000, 1000, -93.5, 1000, 1000, -74,
                                     1000, -57,    1000, -42,  -28.5, 1000, -16,  -4.5,
                                     1000, 7,      19,   1000, 31.5,  1000, 45.5, 61,
                                     61,   1000,   79,   1000, 101,   101,  1000, 1000};
static const float iq4_below[32] = {-127, -127, -104, -104, -104, -83, -83, -83, -65, -65, -49,
                                    -49,  -35,  -22,  -22,  -10,  1,   1,   13,  25,  25,  38,
                                    38,   53,   53,   69,   69,   89,  89,  89,  113, 113};
static const float iq4_above[32] = {-104, -104, -83, -83, -83, -65, -65, -65, -49, -49, -35,
                                    -35,  -22,  -10, -10, 1,   13,  13,  25,  38,  38,  53,
                                    53,   69,   69,  89,  89,  113, 113, 113, 113, 113};
static const float iq4_code[32] = {0, 0, 1, 1,  1,  2,  2,  2,  3,  3,  4,  4,  5,  6,  6,  7,
                                   8, 8, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 14, 15, 15};

INLINE vf nearest_iq4(bool codes, vf t) {
    t = vf_min(vf_max(t, vf_set1(-127)), vf_set1(113));
    vi cell = vi_round(vf_fma(t, vf_set1(0.125f), vf_set1(15.875f)));
    vf middle = vf_look_up32(iq4_middle, cell),
       below = vf_look_up32(codes ? iq4_code : iq4_below, cell);
    vf above = codes ? vf_add(below, vf_set1(1)) : vf_look_up32(iq4_above, cell);
    return vf_pick(t, middle, above, below);
}
#else
INLINE vf nearest_iq4(bool codes, vf t) { return climb(iq4_book, sizeof iq4_book, codes, t); }
#endif

/* Codes of whole numbers are the levels themselves, less lo later. */
INLINE vf nearest(const recipe *r, bool codes, vf t) {
    if (r->book == iq4_book) return nearest_iq4(codes, t);
    if (r->book == mxfp4_book) return climb(mxfp4_book, sizeof mxfp4_book, codes, t);
    return nearest_whole(t, vf_set1(r->lo), vf_set1(r->hi));
}

/* ---- Scales as they are stored ---- */

INLINE uint16_t f16_from(double x) {
    x = x > 65504 ? 65504 : x < -65504 ? -65504 : x;
    slm_f16 bits = SLM_TO_F16((float)x);
    return bits == 0 && x > 0 ? 1 : bits; /* zero only for zero */
}

INLINE float scale_value(const recipe *r, uint16_t bits) {
    return is_mx(r) ? mxfp4_scale((uint8_t)bits) : SLM_FROM_F16(bits);
}

/* A scale so small that its inverse overflows does as zero. */
INLINE float inverse_of(float s) { return s < 1e-37f && s > -1e-37f ? 0 : 1 / s; }

INLINE vf inverses_of(vf s) {
    vf size = vf_max(s, vf_sub(vf_zero(), s)), one = vf_set1(1), least = vf_set1(1e-37f);
    return vf_div(vf_pick(least, size, vf_zero(), one), vf_pick(least, size, one, s));
}

/* ---- The weights of a block ---- */

typedef struct block {
    double unit;        /* 2^k: weights are divided by it, so that the largest is about 1 */
    float x[MAX_BLOCK]; /* [n_groups, group], less the middle of their group */
    float w[MAX_BLOCK]; /* how much they count */
    bool weighted;      /* not all of them the same */
    float middle[MAX_GROUPS],
        size[MAX_GROUPS]; /* of the range; without minima 0, and the largest magnitude */
    float sw[MAX_GROUPS], sx[MAX_GROUPS], sxx[MAX_GROUPS]; /* sums of w, w x, w x^2 */
    float s[MAX_GROUPS], m[MAX_GROUPS];                    /* 2.: as if they were free */
} block;

/* + 0: which of two zeros is the higher is left open. */
INLINE void range_of(const float *x, int n, float *min, float *max) {
    vf lo = vf_load(x), hi = lo;
    for (int i = 16; i < n; i += 16) {
        lo = vf_min(vf_load(x + i), lo);
        hi = vf_max(vf_load(x + i), hi);
    }
    *min = -vf_highest(vf_sub(vf_zero(), lo)) + 0.0f;
    *max = vf_highest(hi) + 0.0f;
}

/* Importance that is all the same is none; beside larger ones a zero counts for a millionth, so that its weights are not left
 * anywhere. */
INLINE void load_importance(block *b, const float *importance, int n) {
    float top = 0, bottom = 0;
    if (importance) range_of(importance, n, &bottom, &top);
    b->weighted = top > bottom;
    for (int i = 0; i < n; i += 16) {
        vf w = vf_set1(1);
        if (b->weighted)
            w = vf_add(vf_div(vf_load(importance + i), vf_set1(top)), vf_set1(0x1p-20f));
        vf_store(b->w + i, w);
    }
}

INLINE void load_group(const recipe *r, block *b, int g, float min, float max) {
    float *x = b->x + g * r->group, *w = b->w + g * r->group;
    b->middle[g] = r->has_min ? (min + max) * 0.5f : 0;
    b->size[g] = r->has_min ? max - min : -min > max ? -min : max;
    if (r->n_groups == 1 && !r->has_min) return; /* needs no sums */
    vf sw = vf_zero(), sx = sw, sxx = sw, middle = vf_set1(b->middle[g]);
    for (int i = 0; i < r->group; i += 16) {
        vf xi = vf_sub(vf_load(x + i), middle), wi = vf_load(w + i), wx = vf_mul(wi, xi);
        vf_store(x + i, xi);
        sw = vf_add(sw, wi);
        sx = vf_add(sx, wx);
        sxx = vf_fma(wx, xi, sxx);
    }
    b->sw[g] = vf_fold(sw), b->sx[g] = vf_fold(sx), b->sxx[g] = vf_fold(sxx);
}

/* Multiplied by a power of two between 2^-126 and 2^126, so that no square overflows. */
INLINE void load_block(const recipe *r, block *b, const float *x, const float *importance,
                       float min, float max) {
    int n = r->n_groups * r->group;
    uint32_t e = slm__bits(-min > max ? -min : max) >> 23 & 255;
    e = e < 1 ? 1 : e > 253 ? 253 : e;
    float scale = slm__float((254 - e) << 23);
    b->unit = (double)slm__float(e << 23);
    for (int i = 0; i < n; i += 16) vf_store(b->x + i, vf_mul(vf_load(x + i), vf_set1(scale)));
    load_importance(b, importance, n);
    min *= scale, max *= scale;
    for (int g = 0; g < r->n_groups; g++) {
        if (r->n_groups > 1) range_of(b->x + g * r->group, r->group, &min, &max);
        load_group(r, b, g, min, max);
    }
}

/* ---- 1. 16 ways ---- */

/* Of each way: sums of w v, w v x, w v v. */
typedef struct sums {
    vf v, xv, vv;
} sums;

/* One weight more. */
INLINE void fit_one(const recipe *r, float x, float w, vf inverses, vf offsets, sums *t) {
    vf xi = vf_set1(x);
    vf v = nearest(r, false, r->has_min ? vf_fma(xi, inverses, offsets) : vf_mul(xi, inverses));
    vf wv = vf_mul(vf_set1(w), v);
    if (r->has_min) t->v = vf_add(t->v, wv);
    t->xv = vf_fma(wv, xi, t->xv);
    t->vv = vf_fma(wv, v, t->vv);
}

/* The level v of x is nearest to x * inverse + offset. Even and odd weights have sums of their own, as an addition takes longer than
 * all else that a weight needs. */
INLINE sums fit(const recipe *r, const block *b, int g, vf inverses, vf offsets) {
    const float *x = b->x + g * r->group, *w = b->w + g * r->group;
    sums t = {vf_zero(), vf_zero(), vf_zero()}, u = t;
    for (int i = 0; i < r->group; i += 2) {
        fit_one(r, x[i], w[i], inverses, offsets, &t);
        fit_one(r, x[i + 1], w[i + 1], inverses, offsets, &u);
    }
    return (sums){vf_add(t.v, u.v), vf_add(t.xv, u.xv), vf_add(t.vv, u.vv)};
}

/* ---- 2. A group, its scale and minimum free ---- */

INLINE float lane_of(vf a, int i) {
    float lanes[WAYS];
    vf_store(lanes, a);
    return lanes[i];
}

/* Without a minimum: the largest weight at +span and at -span, where levels are not symmetric. Each way takes from the sum of squares
 * what the projection on its levels has. */
INLINE void fit_scale(const recipe *r, block *b, int g, vf spans) {
    vf zero = vf_zero();
    sums t = fit(r, b, g, vf_mul(spans, vf_set1(inverse_of(b->size[g]))), zero);
    vf s = vf_div(vf_pick(t.vv, zero, t.xv, zero), vf_pick(t.vv, zero, t.vv, vf_set1(1)));
    vf gain = vf_mul(s, t.xv);
    b->s[g] = lane_of(s, vf_first(gain, vf_highest(gain)));
    b->m[g] = 0;
}

/* Of the ways that have as much as the best but for rounding, the one with the minimum nearest below zero: levels that leave room are
 * as good one higher and one lower, and the lowest has the least to share a dmin with. So weights that are a grid already find it again. */
INLINE int best_minimum(vf gain, vf m) {
    vf enough = vf_set1(vf_highest(gain) * (1 - 0x1p-20f));
    vf score = vf_pick(m, vf_zero(), vf_set1(-0x1p60f), m);
    score = vf_pick(enough, gain, vf_set1(-0x1p61f), score);
    return vf_first(score, vf_highest(score));
}

/* With one: the range of the weights is `span` levels wide, and what is beyond the levels (or left of them) is below, on both sides, or
 * above: offsets. x is counted from the middle of the range. */
INLINE void fit_scale_min(const recipe *r, block *b, int g, vf spans, vf offsets) {
    vf zero = vf_zero(), sw = vf_set1(b->sw[g]), sx = vf_set1(b->sx[g]);
    sums t = fit(r, b, g, vf_mul(spans, vf_set1(inverse_of(b->size[g]))), offsets);
    vf all = vf_mul(t.vv, sw), det = vf_sub(all, vf_mul(t.v, t.v)),
       least = vf_mul(all, vf_set1(1e-5f));
    vf d = vf_pick(det, least, det, vf_set1(1));
    vf s = vf_div(vf_pick(det, least, vf_sub(vf_mul(t.xv, sw), vf_mul(sx, t.v)), zero), d);
    vf m =
        vf_div(vf_pick(det, least, vf_sub(vf_mul(sx, t.vv), vf_mul(t.xv, t.v)), vf_div(sx, sw)), d);
    vf gain = vf_add(vf_mul(s, t.xv), vf_mul(m, sx));
    m = vf_add(m, vf_set1(b->middle[g]));
    int best = best_minimum(gain, m);
    b->s[g] = lane_of(s, best);
    b->m[g] = lane_of(m, best);
}

/* Levels anew for the s and m of group g: returns the error, and s and m become those that least squares has for these levels. Sums are
 * of residuals, not of x, so that nothing cancels where the error is a millionth of x. */
INLINE float settle(const recipe *r, const block *b, int g, float *s, float *m) {
    const float *x = b->x + g * r->group, *w = b->w + g * r->group;
    vf rr = vf_zero(), sr = rr, rv = rr, sv = rr, vv = rr;
    vf is = vf_set1(inverse_of(*s)), minus_s = vf_set1(-*s), min = vf_set1(*m - b->middle[g]);
    for (int i = 0; i < r->group; i += 16) {
        vf wi = vf_load(w + i), xi = vf_sub(vf_load(x + i), min);
        vf v = nearest(r, false, vf_mul(xi, is));
        vf e = vf_fma(v, minus_s, xi), we = vf_mul(wi, e), wv = vf_mul(wi, v);
        rr = vf_fma(we, e, rr);
        rv = vf_fma(we, v, rv);
        vv = vf_fma(wv, v, vv);
        if (r->has_min) sr = vf_add(sr, we), sv = vf_add(sv, wv);
    }
    float a = vf_fold(rv), v2 = vf_fold(vv);
    if (!r->has_min) {
        if (v2 > 0) *s += a / v2;
        return vf_fold(rr);
    }
    float v0 = vf_fold(sr), v1 = vf_fold(sv), sw = b->sw[g], det = v2 * sw - v1 * v1;
    bool ok = det > 1e-5f * v2 * sw;
    if (ok) *s += (a * sw - v0 * v1) / det;
    *m += ok ? (v0 * v2 - a * v1) / det : v0 / sw;
    return vf_fold(rr);
}

/* The starts are the same for all groups. With minima the first way is all levels for all of the range. */
INLINE void fit_groups(const recipe *r, block *b) {
    float spans[WAYS], offsets[WAYS];
    bool symmetric = r->lo == -r->hi;
    for (int i = 0; i < WAYS; i++) {
        float span = r->span + r->step * (float)(r->has_min ? (i - 1) / 3 : symmetric ? i : i / 2);
        if (r->has_min && i == 0) span = r->hi;
        spans[i] = r->has_min || symmetric || i % 2 ? span : -span;
        offsets[i] = span * 0.5f - (span - r->hi) * 0.5f * (float)((i + 2) % 3);
    }
    for (int g = 0; g < r->n_groups; g++) {
        if (r->has_min) {
            fit_scale_min(r, b, g, vf_load(spans), vf_load(offsets));
        } else {
            fit_scale(r, b, g, vf_load(spans));
        }
    }
}

/* ---- 3. A block of one group ---- */

/* The numbers of a block as they are stored, and their values / unit; with integers m is dmin, and a group's minimum -m * mn. */
typedef struct scales {
    uint16_t d_bits, m_bits;
    float d, m;
} scales;

INLINE scales from_bits(const recipe *r, const block *b, uint16_t d, uint16_t m) {
    scales y = {.d_bits = d, .m_bits = m};
    y.d = (float)((double)scale_value(r, d) / b->unit);
    if (r->has_min) y.m = (float)((double)scale_value(r, m) / b->unit);
    return y;
}

INLINE uint16_t stored_bits(const block *b, float x) {
    return f16_from(x == x ? (double)x * b->unit : 0);
}

INLINE scales stored(const recipe *r, const block *b, float d, float m) {
    return from_bits(r, b, stored_bits(b, d), r->has_min ? stored_bits(b, m) : 0);
}

typedef struct solution {
    scales y;
    int16_t sc[MAX_GROUPS], mn[MAX_GROUPS];
    double error;
} solution;

/* The error with these scales. */
INLINE float error_of(const recipe *r, const block *b, const scales *y) {
    float d = y->d, m = y->m;
    return settle(r, b, 0, &d, &m);
}

/* Whether the last bit of a scale or minimum is small beside the error, as for most blocks without importance. */
INLINE bool is_fine(const recipe *r, const block *b, slm_type type, const scales *y) {
    int d = y->d_bits & 0x7fff, m = y->m_bits & 0x7fff;
    if (b->weighted || type == SLM_Q8_0 || d < 0x400 || d == 0x7bff || m == 0x7bff) return false;
    return !r->has_min || fabsf(y->m) < 32 * fabsf(y->d);
}

/* What the published rounding begins with is one of the 16 ways, so what they lead to is not worse; where the last bits of scales could
 * make it so, that is measured. */
INLINE scales settle_single(const recipe *r, const block *b, slm_type type, const float *x,
                            float min, float max) {
    float d = b->s[0], m = b->m[0];
    slm_parts plain;
    settle(r, b, 0, &d, &m);
    scales y = stored(r, b, d, m);
    if (r->book || is_fine(r, b, type, &y)) return y;
    slm__plain_scales(type, x, min, max, &plain, &d, &m);
    scales z = from_bits(r, b, plain.d, plain.m);
    return error_of(r, b, &z) < error_of(r, b, &y) ? z : y;
}

/* A power of two: that of the published rounding, and those beside it. */
INLINE scales settle_mx(const recipe *r, const block *b, const float *x, float min, float max) {
    float least = INFINITY, unused;
    slm_parts plain;
    scales best = {0};
    slm__plain_scales(SLM_MXFP4, x, min, max, &plain, &unused, &unused);
    for (int i = 0; i < 3; i++) {
        int e = plain.d + (i == 2 ? -1 : i);
        if (e < 0 || e > 252) continue; /* 12 * 2^124 is finite */
        scales y = from_bits(r, b, (uint16_t)e, 0);
        float error = error_of(r, b, &y);
        if (!(error < least)) continue;
        least = error;
        best = y;
    }
    return best;
}

/* ---- 4. A block of several groups ---- */

/* Tries of d and dmin at a time, and integers near those that the free scales ask for: with a minimum, a larger one has a larger scale. */
enum { TRIES = 5, NEAR = 3, TRIES_MIN = 2, NEAR_MIN = 8 };
static const int8_t near_sc[NEAR_MIN] = {0, 1, -1, 0, 0, 1, -1, 1};
static const int8_t near_mn[NEAR_MIN] = {0, 0, 0, 1, -1, 1, -1, -1};

typedef struct attempt {
    solution found;
    float inverse_d, inverse_m;
    double rd, rm, dd, dm, mm; /* the normal equations for d and dmin */
} attempt;

INLINE int held(float x, int lo, int hi) {
    if (!(x > (float)lo)) return lo;
    if (x >= (float)hi) return hi;
    return (int)((x + SLM_ROUND) - SLM_ROUND);
}

/* Of a group, what the lanes are: n_near ways for each try. */
typedef struct ways {
    int n_tries, n_near;
    int sc[WAYS], mn[WAYS];
    float scale[WAYS], minimum[WAYS]; /* s and m, x counted from the middle */
} ways;

INLINE int within(int x, int lo, int hi) { return x < lo ? lo : x > hi ? hi : x; }

INLINE void list_ways(const recipe *r, const block *b, int g, const attempt *tries, ways *a) {
    for (int t = 0; t < a->n_tries; t++) {
        const scales *y = &tries[t].found.y;
        int sc = held(b->s[g] * tries[t].inverse_d, r->sc_lo, r->sc_hi);
        int mn = r->has_min ? held(b->m[g] * -tries[t].inverse_m, 0, r->mn_hi) : 0;
        for (int i = 0; i < a->n_near; i++) {
            int at = t * a->n_near + i;
            a->sc[at] = within(sc + near_sc[i], r->sc_lo, r->sc_hi);
            a->mn[at] = r->has_min ? within(mn + near_mn[i], 0, r->mn_hi) : 0;
            a->scale[at] = y->d * (float)a->sc[at];
            a->minimum[at] = -y->m * (float)a->mn[at] - b->middle[g];
        }
    }
}

/* The best of its ways, for each try. */
INLINE void take_ways(const recipe *r, const block *b, int g, attempt *tries, const ways *a) {
    float errors[WAYS], v1[WAYS], xv[WAYS], vv[WAYS], sx = b->sx[g], sw = b->sw[g];
    vf s = vf_load(a->scale), m = vf_load(a->minimum), is = inverses_of(s), two = vf_set1(2);
    sums t = fit(r, b, g, is, vf_mul(vf_sub(vf_zero(), m), is));
    /* sxx + s (s vv - 2 xv + 2 m v) + m (m sw - 2 sx) */
    vf of_s = vf_fma(s, t.vv, vf_mul(two, vf_sub(vf_mul(m, t.v), t.xv)));
    vf of_m = vf_fma(m, vf_set1(sw), vf_set1(-2 * sx));
    vf_store(errors, vf_fma(s, of_s, vf_fma(m, of_m, vf_set1(b->sxx[g]))));
    vf_store(v1, t.v), vf_store(xv, t.xv), vf_store(vv, t.vv);
    for (int k = 0; k < a->n_tries; k++) {
        attempt *to = &tries[k];
        int best = k * a->n_near;
        for (int i = best + 1; i < (k + 1) * a->n_near; i++)
            best = errors[i] < errors[best] ? i : best;
        double sc = a->sc[best], mn = -a->mn[best];
        float s1 = a->scale[best], m1 = a->minimum[best];
        to->found.sc[g] = (int16_t)a->sc[best], to->found.mn[g] = (int16_t)a->mn[best];
        to->found.error += (double)errors[best];
        to->rd += sc * (double)(xv[best] - s1 * vv[best] - m1 * v1[best]);
        to->dd += sc * sc * (double)vv[best];
        if (!r->has_min) continue;
        to->rm += mn * (double)(sx - s1 * v1[best] - m1 * sw);
        to->dm += sc * mn * (double)v1[best];
        to->mm += mn * mn * (double)sw;
    }
}

/* Least squares for d and dmin, the integers and levels as they are. */
static void improve(const attempt *a, float *d, float *m) {
    double det = a->dd * a->mm - a->dm * a->dm;
    *d = a->found.y.d, *m = a->found.y.m;
    if (det > 1e-9 * a->dd * a->mm) {
        *d += (float)((a->rd * a->mm - a->rm * a->dm) / det);
        *m += (float)((a->rm * a->dd - a->rd * a->dm) / det);
    } else if (a->dd > 0) {
        *d += (float)(a->rd / a->dd);
    } else if (a->mm > 0) {
        *m += (float)(a->rm / a->mm);
    }
}

/* Blocks with d, d * (1 + step), ... from `first` steps on; d and m become what is to be tried next, and the groups' scales those of the
 * best. */
INLINE void try_integers(const recipe *r, block *b, float step, int first, float *d, float *m,
                         solution *best) {
    attempt tries[TRIES];
    ways a = {.n_tries = r->has_min ? TRIES_MIN : TRIES, .n_near = r->has_min ? NEAR_MIN : NEAR};
    int k = 0;
    for (int i = 0; i < a.n_tries; i++) {
        float f = 1 + step * (float)(i + first);
        tries[i] = (attempt){.found.y = stored(r, b, *d * f, *m * f)};
        tries[i].inverse_d = inverse_of(tries[i].found.y.d);
        tries[i].inverse_m = inverse_of(tries[i].found.y.m);
    }
    for (int g = 0; g < r->n_groups; g++) {
        list_ways(r, b, g, tries, &a);
        take_ways(r, b, g, tries, &a);
    }
    for (int i = 1; i < a.n_tries; i++) k = tries[i].found.error < tries[k].found.error ? i : k;
    if (tries[k].found.error < best->error) *best = tries[k].found;
    improve(&tries[k], d, m);
    for (int g = 0; g < r->n_groups; g++) {
        b->s[g] = *d * (float)tries[k].found.sc[g];
        b->m[g] = -*m * (float)tries[k].found.mn[g];
    }
}

/* d and m to begin with: the group of largest scale gets the largest integer, the same for minima. */
INLINE solution settle_groups(const recipe *r, block *b) {
    solution best = {.error = INFINITY};
    float d = b->s[0], m = b->m[0];
    for (int g = 1; g < r->n_groups; g++) {
        if (fabsf(b->s[g]) > fabsf(d)) d = b->s[g];
        if (r->has_min && b->m[g] < m) m = b->m[g];
    }
    d /= (float)(r->sc_lo < 0 ? r->sc_lo : r->sc_hi);
    m = r->has_min && m < 0 ? m / (float)-r->mn_hi : 0;
    for (int again = 0; again < 2; again++)
        try_integers(r, b, again ? 0.01f : 0.03f, again && !r->has_min ? -2 : 0, &d, &m, &best);
    return best;
}

/* ---- Codes ---- */

INLINE void take_codes(const recipe *r, const block *b, const solution *y, slm_parts *p) {
    p->d = y->y.d_bits, p->m = y->y.m_bits;
    memcpy(p->sc, y->sc, sizeof p->sc);
    memcpy(p->mn, y->mn, sizeof p->mn);
    vf lowest = vf_set1(r->book ? 0 : r->lo);
    for (int g = 0; g < r->n_groups; g++) {
        vf is = vf_set1(inverse_of(y->y.d * (float)y->sc[g]));
        vf m = vf_set1((has_integers(r) ? -y->y.m * (float)y->mn[g] : y->y.m) - b->middle[g]);
        for (int i = g * r->group; i < (g + 1) * r->group; i += 16) {
            vf v = nearest(r, true, vf_mul(vf_sub(vf_load(b->x + i), m), is));
            vi_store_i8((int8_t *)p->code + i, vi_round(vf_sub(v, lowest)));
        }
    }
}

/* ---- Each type by itself, so that the compiler knows its numbers; one code for all where speed is no matter ---- */

INLINE void search(slm_type type, const float *x, const float *w, slm_parts *p) {
    const recipe *r = &recipes[type];
    block b;
    float min, max;
    range_of(x, r->n_groups * r->group, &min, &max);
    load_block(r, &b, x, w, min, max);
    if (!is_mx(r)) fit_groups(r, &b);
    solution y;
    if (has_integers(r)) {
        y = settle_groups(r, &b);
    } else {
        y = (solution){.sc = {1}};
        y.y = is_mx(r) ? settle_mx(r, &b, x, min, max) : settle_single(r, &b, type, x, min, max);
    }
    take_codes(r, &b, &y, p);
}

#ifdef SLM_ONE_SEARCH
void SLM_SEARCH(slm_type type, const float *x, const float *w, slm_parts *p) {
    search(type, x, w, p);
}
#else
#define X(name, ...)                                                          \
    static void search_##name(const float *x, const float *w, slm_parts *p) { \
        search(SLM_##name, x, w, p);                                          \
    }
SLM_QUANT_TYPES(X)
#undef X

void SLM_SEARCH(slm_type type, const float *x, const float *w, slm_parts *p) {
#define X(name, ...) [SLM_##name] = search_##name,
    static void (*const searches[SLM_N_TYPES])(const float *, const float *,
                                               slm_parts *) = {SLM_QUANT_TYPES(X)};
#undef X
    searches[type](x, w, p);
}
#endif
