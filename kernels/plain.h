/* Scales of the published rounding (quantize.h). */
#ifndef SLM_PLAIN_H
#define SLM_PLAIN_H

#include "kernels.h"
#include "vmath.h"

#ifndef SLM_TO_F16
#define SLM_TO_F16 slm__to_f16
#endif

/* As f16, or the largest; then *d becomes what is stored. */
static inline slm_f16 slm__finite_f16(float *d) {
    slm_f16 bits = SLM_TO_F16(*d);
    if ((bits & 0x7fff) < 0x7c00) return bits;
    *d = *d < 0 ? -65504.0f : 65504.0f;
    return SLM_TO_F16(*d);
}

/* Of 32 weights between min and max, to p as they are stored, and to *d and *m with what codes are rounded: the scale as it is before it
 * becomes an f16. Of a type without published rounding: zeros. */
static inline void slm__plain_scales(slm_type type, const float *x, float min, float max,
                                     slm_parts *p, float *d, float *m) {
    float top = -min > max ? -min : max;
    int e = (int)(slm__bits(top) >> 23) - 2, i = 0;
    *d = *m = 0;
    p->d = p->m = 0;
    switch (type) {
    case SLM_Q4_0:
    case SLM_Q5_0: /* the weight of largest magnitude, the first of them, is the lowest level */
        while (min == -max && fabsf(x[i]) < max) i++;
        *d = (min == -max ? x[i] : -min > max ? min : max) / (type == SLM_Q4_0 ? -8 : -16);
        break;
    case SLM_Q4_1:
    case SLM_Q5_1: /* the range is that of the levels */
        *m = min;
        p->m = slm__finite_f16(m);
        *d = (max - min) / (type == SLM_Q4_1 ? 15 : 31);
        break;
    case SLM_Q8_0: *d = top / 127; break;
    case SLM_MXFP4: /* the largest weight has the exponent of the largest levels (OCP MX v1.0, 6.3) */
        p->d = (uint16_t)(e < 0 ? 0 : e);
        *d = mxfp4_scale((uint8_t)p->d);
        return;
    default: return;
    }
    p->d = slm__finite_f16(d);
}

#endif
