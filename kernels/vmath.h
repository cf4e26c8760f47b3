/* Scalar mathematics with defined bits: conversions of f16 and bf16, exp in float, and what the rotary tables need in double.
 *
 * libm differs from machine to machine in the last bit; these do not, as they consist of IEEE operations in a fixed
 * order (docs/numerics.md). The float exp is also the specification of the vector one in the simd_*.h files.
 */
#ifndef SLM_VMATH_H
#define SLM_VMATH_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "blocks.h"

_Static_assert(FLT_EVAL_METHOD == 0,
               "float operations must round to float: use SSE2, not the x87 unit");

static inline uint32_t slm__bits(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float slm__float(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* ---- f16, bf16 ---- */

static inline float slm__from_bf16(slm_bf16 h) { return slm__float((uint32_t)h << 16); }

/* Exact. A NaN becomes quiet and keeps its payload, as the conversion instructions do. */
static inline float slm__from_f16(slm_f16 h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 1023;
    if (exponent == 31)
        return slm__float(sign | 0x7f800000 | mantissa << 13 | (mantissa ? 0x400000u : 0));
    if (exponent == 0) { /* zero or subnormal: mantissa * 2^-24, exact in f32 */
        return slm__float(sign | slm__bits((float)mantissa * 0x1p-24f));
    }
    return slm__float(sign | (exponent + 112) << 23 | mantissa << 13);
}

/* Round to nearest, ties to even. */
static inline slm_f16 slm__to_f16(float x) {
    uint32_t u = slm__bits(x), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    if (a > 0x7f800000) return (slm_f16)(sign | 0x7e00 | (a >> 13 & 1023)); /* NaN */
    if (a >= 0x477ff000) return (slm_f16)(sign | 0x7c00); /* 65520 and above: infinity */
    if (a < 0x38800000) { /* below 2^-14: add so that the last bit of the sum is 2^-24 */
        uint32_t sum = slm__bits(slm__float(a) + 0.5f);
        return (slm_f16)(sign | (sum - 0x3f000000));
    }
    uint32_t odd = a >> 13 & 1;
    return (slm_f16)(sign | ((a - 0x38000000 + 0xfff + odd) >> 13));
}

/* ---- exp in float ---- */

/* The argument is held within EXP_LO .. EXP_HI, so the result is never 0, subnormal or infinite: 1.6e-38 to 1.7e38.
 * exp(x) = 2^n * e^r with n = round(x / ln 2) and |r| <= ln(2) / 2; e^r = 1 + r + r^2 * p(r), p fitted at the
 * Chebyshev nodes (error of the whole below 1.1 ulp). exp(0) is exactly 1. NaN gives NaN. */
#define SLM_EXP_LO (-87.0f)
#define SLM_EXP_HI 88.0f
#define SLM_LOG2E  0x1.715476p+0f
#define SLM_LN2_HI 0x1.62e4p-1f /* 15 bits: n * LN2_HI is exact */
#define SLM_LN2_LO 0x1.7f7d1cp-20f
#define SLM_ROUND  12582912.0f /* 1.5 * 2^23: adding it rounds to an integer */
#define SLM_EXP_C2 0.5f
#define SLM_EXP_C3 0x1.5554dcp-3f
#define SLM_EXP_C4 0x1.55551ap-5f
#define SLM_EXP_C5 0x1.120b7cp-7f
#define SLM_EXP_C6 0x1.6d1116p-10f

static inline float slm__expf(float x) {
    x = x < SLM_EXP_LO ? SLM_EXP_LO : x;
    x = x > SLM_EXP_HI ? SLM_EXP_HI : x;
    float shifted = fmaf(x, SLM_LOG2E, SLM_ROUND);
    float n = shifted - SLM_ROUND;
    float r = fmaf(n, -SLM_LN2_HI, x);
    r = fmaf(n, -SLM_LN2_LO, r);
    float p = fmaf(SLM_EXP_C6, r, SLM_EXP_C5);
    p = fmaf(p, r, SLM_EXP_C4);
    p = fmaf(p, r, SLM_EXP_C3);
    p = fmaf(p, r, SLM_EXP_C2);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    return p *
           slm__float((slm__bits(shifted) << 23) + 0x3f800000); /* exact: 2^n, p is at least 0.7 */
}

/* gelu(x) = x / 2 * (1 + tanh(z / 2)) = x / (1 + exp(-z)), z = 2 sqrt(2 / pi) (x + 0.044715 x^3)   (Hendrycks and Gimpel 2016,
 * arXiv:1606.08415) */
#define SLM_GELU_C1 0x1.988454p+0f /* 2 sqrt(2 / pi) */
#define SLM_GELU_C3 0x1.2444f2p-4f /* times 0.044715 */

/* ---- log2, exp2, sine and cosine in double, for tables made once ---- */

/* x > 0 and normal. x = 2^e * m with m in [sqrt(1/2), sqrt(2)); ln m = 2 atanh(t), t = (m - 1) / (m + 1). */
static inline double slm__log2d(double x) {
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    int e = (int)(u >> 52 & 0x7ff) - 1023;
    u = (u & 0xfffffffffffff) | 0x3ff0000000000000;
    double m;
    memcpy(&m, &u, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        e++;
    }
    double t = (m - 1) / (m + 1), t2 = t * t, sum = 0;
    for (int k = 23; k >= 1; k -= 2) sum = sum * t2 + 1.0 / k;
    return e + 2 * t * sum * 1.4426950408889634;
}

/* |x| < 1000. */
static inline double slm__exp2d(double x) {
    int n = (int)(x + (x < 0 ? -0.5 : 0.5));
    double r = (x - n) * 0.6931471805599453, sum = 1;
    for (int k = 17; k >= 1; k--) sum = sum * r / k + 1;
    uint64_t u = (uint64_t)(n + 1023) << 52;
    double scale;
    memcpy(&scale, &u, sizeof scale);
    return sum * scale;
}

/* x >= 0; to the last bits below 1e7, still the same on every machine beyond. Reduced by multiples of pi/2, taken off in two parts, the first of 33 bits. */
static inline void slm__sincosd(double x, double *sine, double *cosine) {
    int64_t n = (int64_t)(x * 0.6366197723675814 + 0.5);
    double r = (x - (double)n * 1.57079632673412561417) - (double)n * 6.07710050650619224932e-11;
    double r2 = r * r, s = 1, c = 1;
    for (int k = 19; k >= 3; k -= 2) s = 1 - s * r2 / (k * (k - 1));
    for (int k = 20; k >= 2; k -= 2) c = 1 - c * r2 / (k * (k - 1));
    s *= r;
    *sine = n & 2 ? -(n & 1 ? c : s) : (n & 1 ? c : s);
    *cosine = (n + 1) & 2 ? -(n & 1 ? s : c) : (n & 1 ? s : c);
}

/* 2^(e - 128), below the normal numbers for e of 0 and 1; 255 is NaN (OCP MX v1.0, 5.4.1). */
static inline float mxfp4_scale(uint8_t e) {
    if (e == 255) return slm__float(0x7fc00000);
    return slm__float(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

#endif
