/* The vector vocabulary in plain C, as far as search_tmpl.h uses it: what the others have to give. */
#ifndef SLM_SIMD_C_H
#define SLM_SIMD_C_H

#include "inline.h"
#include "vmath.h"

typedef struct {
    float v[16];
} vf;
typedef struct {
    int32_t v[16];
} vi;

#define EACH(type, x)                                     \
    type to;                                              \
    for (int lane = 0; lane < 16; lane++) to.v[lane] = x; \
    return to

INLINE vf vf_set1(float x) { EACH(vf, x); }
INLINE vf vf_zero(void) { return vf_set1(0); }
INLINE vf vf_load(const float *p) { EACH(vf, p[lane]); }
INLINE void vf_store(float *p, vf a) { memcpy(p, a.v, sizeof a.v); }
INLINE vf vf_add(vf a, vf b) { EACH(vf, a.v[lane] + b.v[lane]); }
INLINE vf vf_sub(vf a, vf b) { EACH(vf, a.v[lane] - b.v[lane]); }
INLINE vf vf_mul(vf a, vf b) { EACH(vf, a.v[lane] * b.v[lane]); }
INLINE vf vf_div(vf a, vf b) { EACH(vf, a.v[lane] / b.v[lane]); }
INLINE vf vf_fma(vf a, vf b, vf c) { EACH(vf, fmaf(a.v[lane], b.v[lane], c.v[lane])); }
INLINE vf vf_max(vf a, vf b) { EACH(vf, a.v[lane] > b.v[lane] ? a.v[lane] : b.v[lane]); }
INLINE vf vf_min(vf a, vf b) { EACH(vf, a.v[lane] < b.v[lane] ? a.v[lane] : b.v[lane]); }
/* To nearest, ties to even, where |a| < 2^22. */
INLINE vf vf_round(vf a) { EACH(vf, (a.v[lane] + SLM_ROUND) - SLM_ROUND); }
/* `yes` where a > b, else `no`. */
INLINE vf vf_pick(vf a, vf b, vf yes, vf no) {
    EACH(vf, a.v[lane] > b.v[lane] ? yes.v[lane] : no.v[lane]);
}
/* By halves: lane i + lane i + 8, then + 4, + 2, + 1. */
INLINE float vf_fold(vf a) {
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++) a.v[i] += a.v[i + half];
    return a.v[0];
}
/* The highest lane; none is NaN. */
INLINE float vf_highest(vf a) {
    for (int i = 1; i < 16; i++) a.v[0] = a.v[i] > a.v[0] ? a.v[i] : a.v[0];
    return a.v[0];
}
/* Number of the first lane of a that is `top`; there is one. */
INLINE int vf_first(vf a, float top) {
    int i = 0;
    while (i < 15 && a.v[i] != top) i++;
    return i;
}
INLINE vi vi_round(vf a) { EACH(vi, (int32_t)((a.v[lane] + SLM_ROUND) - SLM_ROUND)); }
INLINE void vi_store_i8(int8_t *p, vi a) { /* the low 8 bits */
    for (int i = 0; i < 16; i++) ((uint8_t *)p)[i] = (uint8_t)a.v[i];
}

#endif
