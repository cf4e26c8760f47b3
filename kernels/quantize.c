/* Rows of floats to blocks: the least weighted squared error that a search over scales finds.
 *
 * Every type is one case of one problem. A weight is s * v + m: v one of a few fixed levels, s and m those of its group. A
 * block has 1, 8 or 16 groups, with s = d * sc and m = -dmin * mn: small integers times the two numbers of the block
 * (one group: sc = 1, and m is a number of its own). recipes[], below, says for each type which levels, groups and
 * integers it has; pack.h, where their bits go.
 *
 *   1. measure()       all else follows from it: for given s and m, round to the nearest levels and return the error
 *                      and the sums from which least squares gives the best s and m for these levels.
 *   2. fit_group()     s and m of one group, as if they were free: from a range of starts, the best one improved.
 *   3. fit_integers()  for given d and dmin: sc and mn of each group, levels rounded anew for each that is tried.
 *   4. fit_block()     d and dmin: a few starts, then least squares over all groups.
 *
 * Not on the way from file to text: plain C, vectors of the compiler, the same operations on every machine.
 */
#include "quantize.h"

#include "pack.h"
#include "unpack.h"

typedef float f32x4 __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));

/* ---- What the types are ---- */

/* The values of v, rising: whole numbers lo .. hi, or those of a codebook. */
typedef struct levels {
    int n;
    float lo, hi;
    const int8_t *book; /* [n] or NULL */
} levels;

static const int8_t iq4_book[] = {SLM_IQ4_CODES};
static const int8_t mxfp4_book[] = {-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12};

static float level_value(const levels *l, int code) {
    return l->book ? (float)l->book[code] : l->lo + (float)code;
}

typedef struct scale_format {
    uint16_t (*from)(double); /* near the value, never infinite, zero only for zero       */
    float (*value)(uint16_t);
    uint16_t
        largest; /* bits up to these rise with the value; above them a product may be infinite */
} scale_format;

static uint16_t f16_from(double x) {
    x = x > 65504 ? 65504 : x < -65504 ? -65504 : x;
    slm_f16 bits = slm__to_f16((float)x);
    return bits == 0 && x > 0 ? 1 : bits;
}
static float f16_value(uint16_t bits) { return slm__from_f16(bits); }

/* 2^(e - 128): the exponent rounded down, its neighbours are tried anyway. */
static uint16_t e8m0_from(double x) {
    x = !(x > 0x1p-126) ? 0x1p-126 : x > 0x1p124 ? 0x1p124 : x;
    return (uint16_t)((slm__bits((float)x) >> 23) + 1);
}
static float e8m0_value(uint16_t e) { return mxfp4_scale((uint8_t)e); }

static const scale_format f16_scale = {f16_from, f16_value, 0x7bff};
static const scale_format e8m0_scale = {e8m0_from, e8m0_value, 252}; /* 12 * 2^124 is finite */

enum { MAX_GROUPS = 16, MAX_BLOCK = 256 };

/* Starts for d and then for dmin of a block: each 3% above the one before, so that fewer integers are used. */
enum { N_D = 3, N_M = 2 };
#define D_STEP 0.03f

typedef struct recipe {
    levels levels;
    int n_groups, group;
    bool has_min;
    int sc_lo,
        sc_hi; /* the integers that sc can be; 1, 1: no integers, d and m are the group's own */
    int mn_hi;
    const scale_format *scale;
    float span,
        span_step; /* starts of the search: the largest weight at level span, span + span_step, ... */
    int n_spans;
    void (*pack)(const slm_parts *p, void *block);
} recipe;

#define WHOLE(lo, hi) \
    { (hi) - (lo) + 1, lo, hi, NULL }
#define BOOK(book, lo, hi) \
    { sizeof(book), lo, hi, book }

static const recipe recipes[SLM_N_TYPES] = {
    /* levels, groups and their size, min?, sc, mn, format of d, starts, packer */
    [SLM_Q4_0] = {WHOLE(-8, 7), 1, 32, 0, 1, 1, 0, &f16_scale, 5, 0.25f, 17, pack_Q4_0},
    [SLM_Q4_1] = {WHOLE(0, 15), 1, 32, 1, 1, 1, 0, &f16_scale, 12, 0.5f, 13, pack_Q4_1},
    [SLM_Q5_0] = {WHOLE(-16, 15), 1, 32, 0, 1, 1, 0, &f16_scale, 12, 0.5f, 11, pack_Q5_0},
    [SLM_Q5_1] = {WHOLE(0, 31), 1, 32, 1, 1, 1, 0, &f16_scale, 28, 0.5f, 13, pack_Q5_1},
    [SLM_Q8_0] = {WHOLE(-127, 127), 1, 32, 0, 1, 1, 0, &f16_scale, 120, 1, 9, pack_Q8_0},
    [SLM_Q2_K] = {WHOLE(0, 3), 16, 16, 1, 0, 15, 15, &f16_scale, 2, 0.25f, 13, pack_Q2_K},
    [SLM_Q3_K] = {WHOLE(-4, 3), 16, 16, 0, -32, 31, 0, &f16_scale, 2.5f, 0.25f, 12, pack_Q3_K},
    [SLM_Q4_K] = {WHOLE(0, 15), 8, 32, 1, 0, 63, 63, &f16_scale, 12, 0.5f, 13, pack_Q4_K},
    [SLM_Q5_K] = {WHOLE(0, 31), 8, 32, 1, 0, 63, 63, &f16_scale, 28, 0.5f, 13, pack_Q5_K},
    [SLM_Q6_K] = {WHOLE(-32, 31), 16, 16, 0, -128, 127, 0, &f16_scale, 26, 0.5f, 15, pack_Q6_K},
    [SLM_IQ4_NL] = {BOOK(iq4_book, -127, 113), 1, 32, 0, 1, 1, 0, &f16_scale, 80, 4, 17,
                    pack_IQ4_NL},
    [SLM_IQ4_XS] = {BOOK(iq4_book, -127, 113), 8, 32, 0, -32, 31, 0, &f16_scale, 80, 4, 17,
                    pack_IQ4_XS},
    [SLM_MXFP4] = {BOOK(mxfp4_book, -12, 12), 1, 32, 0, 1, 1, 0, &e8m0_scale, 8, 1, 9, pack_MXFP4},
};

static bool has_integers(const recipe *r) { return r->sc_hi > 1; }

/* ---- 1. Error and sums for given scales ---- */

static inline f32x4 select4(i32x4 mask, f32x4 yes, f32x4 no) {
    return (f32x4)(((i32x4)yes & mask) | ((i32x4)no & ~mask));
}

/* From the lowest level up, a step for each middle between two that t is above. */
static inline __attribute__((always_inline)) f32x4 climb(const int8_t *book, int n, f32x4 t) {
    f32x4 v = (f32x4){0} + (float)book[0];
    for (int i = 1; i < n; i++) {
        f32x4 step = (f32x4){0} + (float)(book[i] - book[i - 1]);
        i32x4 above = t > (float)(book[i] + book[i - 1]) * 0.5f;
        v += (f32x4)((i32x4)step & above);
    }
    return v;
}

/* Each codebook by name, so that the compiler knows its numbers. */
static inline f32x4 nearest_levels(const levels *l, f32x4 t) {
    if (l->book == iq4_book) return climb(iq4_book, sizeof iq4_book, t);
    if (l->book == mxfp4_book) return climb(mxfp4_book, sizeof mxfp4_book, t);
    f32x4 lo = (f32x4){0} + l->lo, hi = (f32x4){0} + l->hi;
    t = select4(t < lo, lo, t);
    t = select4(t > hi, hi, t);
    return (t + SLM_ROUND) - SLM_ROUND;
}

/* Sums over a group, weighted: w, and products of r = x - (s * v + m) and the levels v. */
typedef struct sums {
    float rr, r, rv, v, vv, w;
} sums;

static float fold(f32x4 t) { return (t[0] + t[2]) + (t[1] + t[3]); }

/* A scale so small that its inverse overflows does as zero. */
static float inverse(float s) { return s < 1e-37f && s > -1e-37f ? 0 : 1 / s; }

/* `book` is that of the levels: a constant, so that the loop has no choice to make. */
static inline __attribute__((always_inline)) sums measure_with(const recipe *r, const int8_t *book,
                                                               const float *x, const float *w,
                                                               float s, float m) {
    f32x4 rr = {0}, sr = {0}, rv = {0}, sv = {0}, vv = {0}, sw = {0};
    float is = inverse(s);
    const levels l = {.lo = r->levels.lo, .hi = r->levels.hi, .book = book};
    for (int i = 0, n = r->group; i < n; i += 4) {
        f32x4 xi, wi;
        memcpy(&xi, x + i, sizeof xi);
        memcpy(&wi, w + i, sizeof wi);
        xi -= m;
        f32x4 v = nearest_levels(&l, xi * is), d = xi - v * s, wd = wi * d, wv = wi * v;
        rr += wd * d;
        sr += wd;
        rv += wd * v;
        sv += wv;
        vv += wv * v;
        sw += wi;
    }
    return (sums){fold(rr), fold(sr), fold(rv), fold(sv), fold(vv), fold(sw)};
}

static sums measure(const recipe *r, const float *x, const float *w, float s, float m) {
    if (r->levels.book == iq4_book) return measure_with(r, iq4_book, x, w, s, m);
    if (r->levels.book == mxfp4_book) return measure_with(r, mxfp4_book, x, w, s, m);
    return measure_with(r, NULL, x, w, s, m);
}

/* Least squares: what is to be added to s and m, and the error then (for the same levels). The sums are of residuals, not of x,
 * so that nothing cancels when the error is a millionth of x. */
static float improvement(const sums *t, bool has_min, float *ds, float *dm) {
    *ds = *dm = 0;
    if (has_min && t->w > 0) {
        float det = t->vv * t->w - t->v * t->v;
        if (det > 1e-5f * t->vv * t->w) {
            *ds = (t->rv * t->w - t->r * t->v) / det;
            *dm = (t->r * t->vv - t->rv * t->v) / det;
        } else {
            *dm = t->r / t->w;
        }
    } else if (t->vv > 0) {
        *ds = t->rv / t->vv;
    }
    return t->rr - *ds * t->rv - *dm * t->r;
}

/* ---- 2. A group, its scale and minimum free ---- */

typedef struct fit {
    float s, m, error;
} fit;

static void range_of(const float *x, int n, float *min, float *max) {
    *min = *max = x[0];
    for (int i = 1; i < n; i++) {
        *min = x[i] < *min ? x[i] : *min;
        *max = x[i] > *max ? x[i] : *max;
    }
}

/* Round and fit in turn, as long as it helps. */
static void settle(const recipe *r, const float *x, const float *w, fit *best) {
    for (int i = 0; i < 8; i++) {
        float ds, dm;
        sums t = measure(r, x, w, best->s, best->m);
        float error = improvement(&t, r->has_min, &ds, &dm);
        if (i > 0 && !(error < best->error * 0.9999f)) return;
        best->s += ds, best->m += dm, best->error = error;
    }
}

static float largest(const float *x, int n) {
    float max = 0;
    for (int i = 0; i < n; i++) max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
    return max;
}

/* Starts without a minimum: the largest weight at +span and at -span, as levels need not be symmetric. With one: the
 * range of the weights is `span` wide, and what is beyond the levels (or left of them) is below, on both sides, or above. */
static fit fit_group(const recipe *r, const float *x, const float *w) {
    float min, max;
    range_of(x, r->group, &min, &max);
    float size = r->has_min ? max - min : largest(x, r->group);
    fit best = {.error = INFINITY};
    int n_ways = r->has_min ? 3 : r->levels.lo == -r->levels.hi ? 1 : 2;
    for (int i = 0; i < r->n_spans; i++) {
        float s = size / (r->span + r->span_step * (float)i);
        for (int way = 0; way < n_ways; way++) {
            fit f = {.s = s};
            if (r->has_min)
                f.m = min + (size - s * r->levels.hi) * 0.5f * (float)way;
            else if (way)
                f.s = -s;
            float ds, dm;
            sums t = measure(r, x, w, f.s, f.m);
            f.error = improvement(&t, r->has_min, &ds, &dm);
            if (!(f.error < best.error)) continue;
            best = (fit){f.s + ds, f.m + dm, f.error};
        }
    }
    settle(r, x, w, &best);
    return best;
}

/* ---- 3. Integers of the groups ---- */

/* The numbers of a block. The search works on weights divided by 2^k, so that the largest is about 1: `unit` is 2^k. */
typedef struct task {
    const float *x, *w; /* [n_groups, group]                        */
    double unit;
    fit group[MAX_GROUPS];
} task;

typedef struct solution {
    uint16_t d_bits, m_bits;
    float d, m; /* their values / unit; with integers m is dmin, and a group's minimum -m * mn */
    int16_t sc[MAX_GROUPS], mn[MAX_GROUPS];
    double error;
} solution;

static int held(float x, int lo, int hi) {
    if (!(x > (float)lo)) return lo;
    if (x >= (float)hi) return hi;
    return (int)((x + SLM_ROUND) - SLM_ROUND);
}

/* `sc` near s / d, `mn` near m / -dmin. Each mn that is tried gets its own s first. */
static float fit_integers(const recipe *r, const task *b, int g, solution *to) {
    const float *x = b->x + g * r->group, *w = b->w + g * r->group;
    float id = inverse(to->d), best = INFINITY;
    int mn0 = held(b->group[g].m * -inverse(to->m), 0, r->mn_hi), reach = r->has_min ? 1 : 0;
    for (int mn = mn0 - reach; mn <= mn0 + reach; mn++) {
        if (mn < 0 || mn > r->mn_hi) continue;
        float s = b->group[g].s, m = -to->m * (float)mn;
        if (r->has_min) {
            sums t = measure(r, x, w, s, m);
            s += t.vv > 0 ? t.rv / t.vv : 0;
        }
        int sc0 = held(s * id, r->sc_lo, r->sc_hi);
        for (int sc = sc0 - 1; sc <= sc0 + 1; sc++) {
            if (sc < r->sc_lo || sc > r->sc_hi) continue;
            sums t = measure(r, x, w, to->d * (float)sc, m);
            if (!(t.rr < best)) continue;
            best = t.rr, to->sc[g] = (int16_t)sc, to->mn[g] = (int16_t)mn;
        }
    }
    return best;
}

static float group_scale(const solution *y, int g) { return y->d * (float)y->sc[g]; }
static float group_min(const recipe *r, const solution *y, int g) {
    if (!r->has_min) return 0;
    return has_integers(r) ? -y->m * (float)y->mn[g] : y->m;
}

/* ---- 4. A block ---- */

/* Fill a solution for these bits of d and m. */
static solution solve(const recipe *r, const task *b, uint16_t d_bits, uint16_t m_bits) {
    solution y = {.d_bits = d_bits, .m_bits = m_bits};
    y.d = (float)((double)r->scale->value(d_bits) / b->unit);
    y.m = r->has_min ? (float)((double)f16_value(m_bits) / b->unit) : 0;
    for (int g = 0; g < r->n_groups; g++) {
        y.sc[g] = 1;
        y.error += has_integers(r)
                       ? fit_integers(r, b, g, &y)
                       : measure(r, b->x + g * r->group, b->w + g * r->group, y.d, y.m).rr;
    }
    return y;
}

static void keep_better(const recipe *r, const task *b, uint16_t d, uint16_t m, solution *best) {
    if (d == best->d_bits && m == best->m_bits) return;
    solution y = solve(r, b, d, m);
    if (y.error < best->error) *best = y;
}

static uint16_t scale_bits(const scale_format *f, const task *b, float s) {
    return f->from(s == s ? (double)s * b->unit : 0);
}

/* The same scale one bit up or down, if there is one. */
static uint16_t neighbour(const scale_format *f, uint16_t bits, int step) {
    int magnitude = (bits & 0x7fff) + step;
    if (magnitude < 0 || magnitude > f->largest) return bits;
    return (uint16_t)((bits & 0x8000) | magnitude);
}

/* Without integers between them and the weights, the last bit of d and m shows. */
static void try_neighbours(const recipe *r, const task *b, solution *best) {
    uint16_t d = best->d_bits, m = best->m_bits;
    for (int i = -1; i <= 1; i++) {
        for (int j = -r->has_min; j <= r->has_min; j++)
            keep_better(r, b, neighbour(r->scale, d, i), neighbour(&f16_scale, m, j), best);
    }
}

/* Least squares for d and m over all groups, the integers and levels as they are. */
static void improve_block(const recipe *r, const task *b, const solution *y, float *d, float *m) {
    double rd = 0, rm = 0, dd = 0, dm = 0, mm = 0;
    for (int g = 0; g < r->n_groups; g++) {
        sums t = measure(r, b->x + g * r->group, b->w + g * r->group, group_scale(y, g),
                         group_min(r, y, g));
        double sc = y->sc[g], mn = !r->has_min ? 0 : has_integers(r) ? -y->mn[g] : 1;
        rd += sc * t.rv, rm += mn * t.r;
        dd += sc * sc * t.vv, dm += sc * mn * t.v, mm += mn * mn * t.w;
    }
    double det = dd * mm - dm * dm;
    *d = y->d, *m = y->m;
    if (det > 1e-9 * dd * mm) {
        *d += (float)((rd * mm - rm * dm) / det);
        *m += (float)((rm * dd - rd * dm) / det);
    } else if (dd > 0) {
        *d += (float)(rd / dd);
    } else if (mm > 0) {
        *m += (float)(rm / mm);
    }
}

/* d and m to begin with. With integers: the group of largest scale gets the largest integer, the same for minima. */
static void starts(const recipe *r, const task *b, float *d, float *m) {
    *d = b->group[0].s, *m = b->group[0].m;
    for (int g = 1; g < r->n_groups; g++) {
        const fit *f = &b->group[g];
        if (fabsf(f->s) > fabsf(*d)) *d = f->s;
        if (fabsf(f->m) > fabsf(*m)) *m = f->m;
    }
    if (!has_integers(r)) return;
    *d /= (float)(r->sc_lo < 0 ? r->sc_lo : r->sc_hi);
    if (r->has_min) *m /= (float)-r->mn_hi;
}

static solution fit_block(const recipe *r, task *b) {
    for (int g = 0; g < r->n_groups; g++)
        b->group[g] = fit_group(r, b->x + g * r->group, b->w + g * r->group);
    float d, m;
    starts(r, b, &d, &m);
    solution best = {.error = INFINITY};
    if (!has_integers(r)) {
        best = solve(r, b, scale_bits(r->scale, b, d), scale_bits(&f16_scale, b, m));
    } else {
        for (int i = 0; i < N_D; i++)
            keep_better(r, b, scale_bits(r->scale, b, d * (1 + D_STEP * (float)i)),
                        scale_bits(&f16_scale, b, m), &best);
        for (int i = 1; i < N_M && r->has_min; i++)
            keep_better(r, b, best.d_bits, scale_bits(&f16_scale, b, m * (1 + D_STEP * (float)i)),
                        &best);
    }
    for (int i = 0; i < 4; i++) {
        double before = best.error;
        improve_block(r, b, &best, &d, &m);
        keep_better(r, b, scale_bits(r->scale, b, d), scale_bits(&f16_scale, b, m), &best);
        if (!(best.error < before)) break;
    }
    if (!has_integers(r)) try_neighbours(r, b, &best);
    return best;
}

/* Levels of all weights, as codes. */
static void take_codes(const recipe *r, const task *b, const solution *y, slm_parts *p) {
    p->d = y->d_bits, p->m = y->m_bits;
    memcpy(p->sc, y->sc, sizeof p->sc);
    memcpy(p->mn, y->mn, sizeof p->mn);
    for (int i = 0; i < r->n_groups * r->group; i += 4) {
        int g = i / r->group;
        f32x4 x;
        memcpy(&x, b->x + i, sizeof x);
        f32x4 v = nearest_levels(&r->levels, (x - group_min(r, y, g)) * inverse(group_scale(y, g)));
        for (int j = 0; j < 4; j++) {
            int code = r->levels.book ? 0 : (int)(v[j] - r->levels.lo);
            while (level_value(&r->levels, code) < v[j]) code++;
            p->code[i + j] = (uint8_t)code;
        }
    }
}

/* Weights and importance of a block divided by what makes the largest about 1, so that no square overflows. Importance of
 * nothing but zeros is none; beside larger ones a zero counts for a millionth, so that its weights are not left anywhere. */
static void search_block(const recipe *r, const float *in, const float *importance, slm_parts *p) {
    float x[MAX_BLOCK], w[MAX_BLOCK], top = 0;
    int n = r->n_groups * r->group;
    float max = largest(in, n);
    uint64_t unit_bits = 0x3ff0000000000000;
    if (max > 0) { /* the exponent of a double, as a double */
        double d = max;
        memcpy(&unit_bits, &d, sizeof d);
        unit_bits &= 0x7ff0000000000000;
    }
    task b = {.x = x, .w = w};
    memcpy(&b.unit, &unit_bits, sizeof b.unit);
    for (int i = 0; i < n && importance; i++) top = importance[i] > top ? importance[i] : top;
    for (int i = 0; i < n; i++) {
        x[i] = (float)((double)in[i] / b.unit);
        w[i] = top > 0 ? importance[i] / top + 0x1p-20f : 1;
    }
    solution y = fit_block(r, &b);
    take_codes(r, &b, &y, p);
}

/* ---- The published rounding ---- */

/* As f16, or the largest; then *d becomes what is stored. */
static slm_f16 finite_f16(float *d) {
    slm_f16 bits = slm__to_f16(*d);
    if ((bits & 0x7fff) < 0x7c00) return bits;
    *d = *d < 0 ? -65504.0f : 65504.0f;
    return slm__to_f16(*d);
}

/* Codes are rounded with the scale as it is before it becomes an f16. */
static uint8_t truncated(float x, int top) {
    return (uint8_t)(!(x > 0) ? 0 : x >= (float)top ? top : (int)x);
}

/* Q4_0, Q5_0: the weight of largest magnitude, the first of them, is the lowest level. */
static void plain_scale(const recipe *r, const float *x, slm_parts *p) {
    float max = 0;
    for (int i = 0; i < 32; i++) max = fabsf(x[i]) > fabsf(max) ? x[i] : max;
    float d = max / r->levels.lo;
    p->d = finite_f16(&d);
    float id = d == 0 ? 0 : 1 / d;
    for (int i = 0; i < 32; i++)
        p->code[i] = truncated(x[i] * id + (0.5f - r->levels.lo), r->levels.n - 1);
}

/* Q4_1, Q5_1: the range is that of the levels. */
static void plain_scale_min(const recipe *r, const float *x, slm_parts *p) {
    float min, max;
    range_of(x, 32, &min, &max);
    float d = (max - min) / r->levels.hi;
    p->d = finite_f16(&d);
    p->m = finite_f16(&min);
    float id = d == 0 ? 0 : 1 / d;
    for (int i = 0; i < 32; i++) p->code[i] = truncated((x[i] - min) * id + 0.5f, r->levels.n - 1);
}

/* Q8_0: halves are rounded away from zero. */
static void plain_bytes(const recipe *r, const float *x, slm_parts *p) {
    float d = largest(x, 32) / r->levels.hi;
    p->d = finite_f16(&d);
    float id = d == 0 ? 0 : 1 / d;
    for (int i = 0; i < 32; i++) {
        float a = fabsf(x[i]) * id;
        int q = !(a < 127) ? 127 : (int)a;
        if (a < 127 && a - (float)q >= 0.5f) q++;
        p->code[i] = (uint8_t)(x[i] < 0 ? 127 - q : 127 + q);
    }
}

/* MXFP4: the largest weight has the exponent of the largest levels (OCP MX v1.0, 6.3); a tie goes towards zero. */
static void plain_mx(const recipe *r, const float *x, slm_parts *p) {
    int e = (int)(slm__bits(largest(x, 32)) >> 23) - 2;
    p->d = (uint16_t)(e < 0 ? 0 : e);
    float d = e8m0_value(p->d);
    int zero = r->levels.n / 2;
    for (int i = 0; i < 32; i++) {
        int best = zero;
        for (int k = 1; k <= zero; k++) {
            int code = x[i] < 0 ? zero - k : zero + k;
            float error = fabsf(d * level_value(&r->levels, code) - x[i]);
            if (error < fabsf(d * level_value(&r->levels, best) - x[i])) best = code;
        }
        p->code[i] = (uint8_t)best;
    }
}

typedef void (*plain_fn)(const recipe *r, const float *x, slm_parts *p);
static const plain_fn plain_rounding[SLM_N_TYPES] = {
    [SLM_Q4_0] = plain_scale,     [SLM_Q4_1] = plain_scale_min, [SLM_Q5_0] = plain_scale,
    [SLM_Q5_1] = plain_scale_min, [SLM_Q8_0] = plain_bytes,     [SLM_MXFP4] = plain_mx,
};

/* ---- Rows ---- */

/* Of a block as it will be read. */
static double block_error(slm_type type, const void *block, const float *x,
                          const float *importance) {
#define X(name, ...) [SLM_##name] = dequantize_##name,
    static void (*const dequantize[SLM_N_TYPES])(const void *, int64_t,
                                                 float *) = {SLM_QUANT_TYPES(X)};
#undef X
    float y[MAX_BLOCK];
    int n = (int)slm__type_info[type].block_weights;
    dequantize[type](block, n, y);
    double sum = 0;
    for (int i = 0; i < n; i++) {
        double d = (double)x[i] - (double)y[i];
        sum += d * d * (importance ? (double)importance[i] : 1);
    }
    return sum;
}

static void quantize_block(slm_type type, slm_rounding rounding, const float *x,
                           const float *importance, void *out) {
    const recipe *r = &recipes[type];
    plain_fn plain = plain_rounding[type];
    slm_parts p = {0};
    if (plain) {
        plain(r, x, &p);
        r->pack(&p, out);
        if (rounding == SLM_ROUND_PLAIN) return;
    }
    search_block(r, x, importance, &p);
    if (!plain) {
        r->pack(&p, out);
        return;
    }
    uint8_t found[64]; /* the largest block that has a plain rounding is of 34 bytes */
    r->pack(&p, found);
    if (block_error(type, found, x, importance) < block_error(type, out, x, importance))
        memcpy(out, found, slm__type_info[type].block_bytes);
}

static void quantize_floats(slm_type type, const float *x, int64_t n, void *out) {
    slm_f16 *half = out;
    slm_bf16 *brain = out;
    if (type == SLM_F32) memcpy(out, x, (size_t)n * sizeof *x);
    for (int64_t i = 0; i < n && type == SLM_F16; i++) {
        float held_x = x[i];
        half[i] = finite_f16(&held_x);
    }
    for (int64_t i = 0; i < n && type == SLM_BF16; i++) {
        uint32_t u = slm__bits(x[i]), top = (u + 0x7fff + (u >> 16 & 1)) >> 16;
        brain[i] = (slm_bf16)((top & 0x7fff) < 0x7f80 ? top : top - 1);
    }
}

/* Bits of floats without sign, below this: finite. */
static bool all_below(const float *x, int64_t n, uint32_t limit, uint32_t mask) {
    uint32_t above = 0;
    for (int64_t i = 0; i < n; i++) above |= (slm__bits(x[i]) & mask) >= limit;
    return !above;
}

bool slm__quantize_row(slm_type type, slm_rounding rounding, const float *x, int64_t n,
                       const float *importance, void *out) {
    if (!all_below(x, n, 0x7f800000, 0x7fffffff)) return false;
    if (!recipes[type].pack) {
        quantize_floats(type, x, n, out);
        return true;
    }
    const slm_type_info *info = &slm__type_info[type];
    uint8_t *block = out;
    if (importance && (rounding == SLM_ROUND_SEARCH || !plain_rounding[type]))
        for (int64_t i = 0; i < n; i++)
            if (!(importance[i] >= 0 && importance[i] < INFINITY)) return false;
    for (int64_t i = 0; i < n; i += info->block_weights, block += info->block_bytes)
        quantize_block(type, rounding, x + i, importance ? importance + i : NULL, block);
    return true;
}
