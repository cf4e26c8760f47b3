/* The vector vocabulary on ARM64: NEON, and the dot product and matrix product instructions where the compiler may use them. A vector is four registers.
 *
 * Source: Arm C Language Extensions, the reference of the NEON intrinsics. */
#ifndef SLM_SIMD_NEON_H
#define SLM_SIMD_NEON_H

#include <arm_neon.h>

#include "inline.h"
#include "vmath.h"

/* One instruction; a NaN becomes quiet and keeps its payload, as slm__from_f16() says. */
INLINE float f16_to_float(slm_f16 h) {
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h))), 0);
}
#define SLM_FROM_F16 f16_to_float
INLINE slm_f16 f16_from_float(float x) {
    return vget_lane_u16(vreinterpret_u16_f16(vcvt_f16_f32(vdupq_n_f32(x))), 0);
}
#define SLM_TO_F16 f16_from_float

typedef struct {
    float32x4_t a, b, c, d;
} vf; /* 16 floats   */
typedef struct {
    int32x4_t a, b, c, d;
} vi; /* 16 integers */

enum { FLOAT_ROWS = 2, FLOAT_TOKENS = 3, ATTN_SUMS = 4 };
enum { LONE_ROW_BYTES = 0 }; /* never (float_tmpl.h) */

/* ---- 16 floats ---- */

INLINE vf vf_set1(float x) {
    float32x4_t v = vdupq_n_f32(x);
    return (vf){v, v, v, v};
}
INLINE vf vf_zero(void) { return vf_set1(0); }
INLINE vf vf_load(const float *p) {
    return (vf){vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
INLINE void vf_store(float *p, vf x) {
    vst1q_f32(p, x.a);
    vst1q_f32(p + 4, x.b);
    vst1q_f32(p + 8, x.c);
    vst1q_f32(p + 12, x.d);
}
/* The first n lanes, the rest zero; there are no masked loads and stores. */
INLINE vf vf_load_n(const float *p, int n) {
    float copy[16] = {0};
    memcpy(copy, p, (size_t)n * sizeof *p);
    return vf_load(copy);
}
INLINE void vf_store_n(float *p, vf x, int n) {
    float copy[16];
    vf_store(copy, x);
    memcpy(p, copy, (size_t)n * sizeof *p);
}

#define EACH_F(op) \
    (vf) { op(x.a, y.a), op(x.b, y.b), op(x.c, y.c), op(x.d, y.d) }
INLINE vf vf_add(vf x, vf y) { return EACH_F(vaddq_f32); }
INLINE vf vf_sub(vf x, vf y) { return EACH_F(vsubq_f32); }
INLINE vf vf_mul(vf x, vf y) { return EACH_F(vmulq_f32); }
INLINE vf vf_div(vf x, vf y) { return EACH_F(vdivq_f32); }
INLINE vf vf_fma(vf x, vf y, vf z) {
    return (vf){vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c),
                vfmaq_f32(z.d, x.d, y.d)};
}
/* The second argument where one is NaN, which neither fmax nor fmaxnm would give. */
INLINE float32x4_t max4(float32x4_t x, float32x4_t y) { return vbslq_f32(vcgtq_f32(x, y), x, y); }
INLINE float32x4_t min4(float32x4_t x, float32x4_t y) { return vbslq_f32(vcltq_f32(x, y), x, y); }
INLINE vf vf_max(vf x, vf y) { return EACH_F(max4); }
INLINE vf vf_min(vf x, vf y) { return EACH_F(min4); }
/* To nearest, ties to even. */
INLINE vf vf_round(vf x) {
    return (vf){vrndnq_f32(x.a), vrndnq_f32(x.b), vrndnq_f32(x.c), vrndnq_f32(x.d)};
}
/* `yes` where x > y, else `no`. */
INLINE vf vf_pick(vf x, vf y, vf yes, vf no) {
    return (vf){
        vbslq_f32(vcgtq_f32(x.a, y.a), yes.a, no.a), vbslq_f32(vcgtq_f32(x.b, y.b), yes.b, no.b),
        vbslq_f32(vcgtq_f32(x.c, y.c), yes.c, no.c), vbslq_f32(vcgtq_f32(x.d, y.d), yes.d, no.d)};
}
/* Number of the first lane of x that is `top`; there is one. */
INLINE int vf_first(vf x, float top) {
    float lanes[16];
    int i = 0;
    vf_store(lanes, x);
    while (i < 15 && lanes[i] != top) i++;
    return i;
}
/* Lane i of x where bit i is set, else of y. */
INLINE vf vf_select(uint32_t bits, vf x, vf y) {
    const uint32x4_t bit = {1, 2, 4, 8};
    uint32x4_t all = vdupq_n_u32(bits);
    return (vf){vbslq_f32(vtstq_u32(all, bit), x.a, y.a),
                vbslq_f32(vtstq_u32(all, vshlq_n_u32(bit, 4)), x.b, y.b),
                vbslq_f32(vtstq_u32(all, vshlq_n_u32(bit, 8)), x.c, y.c),
                vbslq_f32(vtstq_u32(all, vshlq_n_u32(bit, 12)), x.d, y.d)};
}
/* (0 + 2) + (1 + 3) */
INLINE float fold128(float32x4_t x) {
    x = vaddq_f32(x, vextq_f32(x, x, 2));
    return vgetq_lane_f32(x, 0) + vgetq_lane_f32(x, 1);
}
/* By halves: lane i + lane i + 8, then + 4, + 2, + 1. */
INLINE float vf_fold(vf x) { return fold128(vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d))); }
/* vf_fold() + 0 of each row of floats. */
INLINE void vf_fold_rows(const vf x[FLOAT_ROWS], float out[FLOAT_ROWS]) {
    for (int r = 0; r < FLOAT_ROWS; r++) out[r] = vf_fold(x[r]) + 0.0f;
}
INLINE float32x4_t f16_quarter(const slm_f16 *p) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
/* The highest lane; none is NaN. */
INLINE float vf_highest(vf x) {
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.a, x.b), vmaxq_f32(x.c, x.d)));
}
INLINE vf vf_load_f16(const slm_f16 *p) {
    return (vf){f16_quarter(p), f16_quarter(p + 4), f16_quarter(p + 8), f16_quarter(p + 12)};
}
INLINE void store_f16_quarter(slm_f16 *p, float32x4_t x) {
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x)));
}
INLINE void vf_store_f16(slm_f16 *p, vf x) {
    store_f16_quarter(p, x.a);
    store_f16_quarter(p + 4, x.b);
    store_f16_quarter(p + 8, x.c);
    store_f16_quarter(p + 12, x.d);
}
INLINE float32x4_t bf16_quarter(const slm_bf16 *p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
}
INLINE vf vf_load_bf16(const slm_bf16 *p) {
    return (vf){bf16_quarter(p), bf16_quarter(p + 4), bf16_quarter(p + 8), bf16_quarter(p + 12)};
}

INLINE float32x4_t i8_quarter(int16x4_t x) { return vcvtq_f32_s32(vmovl_s16(x)); }
INLINE vf vf_load_i8(const int8_t *p) {
    int8x16_t x = vld1q_s8(p);
    int16x8_t low = vmovl_s8(vget_low_s8(x)), high = vmovl_high_s8(x);
    return (vf){i8_quarter(vget_low_s16(low)), i8_quarter(vget_high_s16(low)),
                i8_quarter(vget_low_s16(high)), i8_quarter(vget_high_s16(high))};
}

/* ---- 16 integers ---- */

INLINE vi vi_set1(int32_t x) {
    int32x4_t v = vdupq_n_s32(x);
    return (vi){v, v, v, v};
}
INLINE vi vi_zero(void) { return vi_set1(0); }

#define EACH_I(op) \
    (vi) { op(x.a, y.a), op(x.b, y.b), op(x.c, y.c), op(x.d, y.d) }
INLINE vi vi_add(vi x, vi y) { return EACH_I(vaddq_s32); }
INLINE vi vi_and(vi x, vi y) { return EACH_I(vandq_s32); }
INLINE vi vi_max(vi x, vi y) { return EACH_I(vmaxq_s32); }
INLINE vi vi_shl23(vi x) {
    return (vi){vshlq_n_s32(x.a, 23), vshlq_n_s32(x.b, 23), vshlq_n_s32(x.c, 23),
                vshlq_n_s32(x.d, 23)};
}
INLINE vi vi_from_bits(vf x) {
    return (vi){vreinterpretq_s32_f32(x.a), vreinterpretq_s32_f32(x.b), vreinterpretq_s32_f32(x.c),
                vreinterpretq_s32_f32(x.d)};
}
INLINE vf vf_from_bits(vi x) {
    return (vf){vreinterpretq_f32_s32(x.a), vreinterpretq_f32_s32(x.b), vreinterpretq_f32_s32(x.c),
                vreinterpretq_f32_s32(x.d)};
}
INLINE vi vi_round(vf x) { /* to nearest, ties to even */
    return (vi){vcvtnq_s32_f32(x.a), vcvtnq_s32_f32(x.b), vcvtnq_s32_f32(x.c), vcvtnq_s32_f32(x.d)};
}
INLINE void vi_store_i8(int8_t *p, vi x) { /* the low 8 bits */
    int16x8_t low = vcombine_s16(vmovn_s32(x.a), vmovn_s32(x.b));
    int16x8_t high = vcombine_s16(vmovn_s32(x.c), vmovn_s32(x.d));
    vst1q_s8(p, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
}
INLINE int32_t vi_sum(vi x) {
    return vaddvq_s32(vaddq_s32(vaddq_s32(x.a, x.b), vaddq_s32(x.c, x.d)));
}
INLINE int32_t vi_highest(vi x) {
    return vmaxvq_s32(vmaxq_s32(vmaxq_s32(x.a, x.b), vmaxq_s32(x.c, x.d)));
}

/* ---- One register, for products of quantized rows (steps.h, few_tmpl.h, strip_tmpl.h): it is one row ---- */

enum { ROWS = 1, SIGNED_ZERO = 0 };

typedef uint8_t rb __attribute__((vector_size(16)));
typedef uint16_t rh __attribute__((vector_size(16)));
typedef uint32_t rw __attribute__((vector_size(16)));
typedef int32_t ri __attribute__((vector_size(16)));
typedef float rf __attribute__((vector_size(16)));

/* 16 bytes at `at` of the row. */
INLINE rw load_rows(const uint8_t *const w[ROWS], int64_t at) { return (rw)vld1q_u8(w[0] + at); }
/* The same 16 bytes in every row. */
INLINE rw rw_all4(const void *p) { return (rw)vld1q_u8(p); }
/* Bytes by number (above 127: zero), lane k everywhere, lanes of a and b in turn. */
INLINE rb shuffle_by(rw x, rw order) { return (rb)vqtbl1q_u8((uint8x16_t)x, (uint8x16_t)order); }
INLINE rb shuffle(rw x, const uint8_t order[16]) { return shuffle_by(x, rw_all4(order)); }
INLINE rw dup_lane(rw x, int k) {
    uint32x4_t v = (uint32x4_t)x;
    return (rw)(k == 0   ? vdupq_laneq_u32(v, 0)
                : k == 1 ? vdupq_laneq_u32(v, 1)
                : k == 2 ? vdupq_laneq_u32(v, 2)
                         : vdupq_laneq_u32(v, 3));
}
INLINE rw zip_lo32(rw a, rw b) { return (rw)vzip1q_u32((uint32x4_t)a, (uint32x4_t)b); }
INLINE rw zip_hi32(rw a, rw b) { return (rw)vzip2q_u32((uint32x4_t)a, (uint32x4_t)b); }
INLINE rw zip_lo64(rw a, rw b) { return (rw)vzip1q_u64((uint64x2_t)a, (uint64x2_t)b); }
INLINE rw zip_hi64(rw a, rw b) { return (rw)vzip2q_u64((uint64x2_t)a, (uint64x2_t)b); }

/* x added to the bytes of q where `bits` are set in h. */
INLINE rb add_where(rb q, rb h, rb bits, rb x) { return q + ((rb)((h & bits) == bits) & x); }
INLINE rf rf_fma(rf a, rf b, rf c) {
    return (rf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
INLINE rf to_float(ri a) { return (rf)vcvtq_f32_s32((int32x4_t)a); }
INLINE ri madd16(rw a, rw b) {
    int16x8_t x = (int16x8_t)a, y = (int16x8_t)b;
    return (ri)vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y));
}
/* Lane 0 + lane 1 of a, 2 + 3, then those of b. */
INLINE ri pair_sums(int most, ri a, ri b) {
    (void)most;
    return (ri)vpaddq_s32((int32x4_t)a, (int32x4_t)b);
}
/* Lanes below 2^16, read as f16. */
INLINE rf from_f16(rw x) {
    return (rf)vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32((uint32x4_t)x)));
}
/* The first four f16. */
INLINE rf first_f16s(rw x) {
    return (rf)vcvt_f32_f16(vreinterpret_f16_u32(vget_low_u32((uint32x4_t)x)));
}
/* The lower and the upper halves of lanes as f16. */
INLINE void from_f16_pairs(rw x, rf *low, rf *high) {
    *low = from_f16(x);
    *high = (rf)vcvt_f32_f16(vreinterpret_f16_u16(vshrn_n_u32((uint32x4_t)x, 16)));
}

/* The sum of the four lanes, (0 + 2) + (1 + 3), then + 0. */
INLINE void fold_rows(rf x, float out[ROWS]) { out[0] = fold128((float32x4_t)x) + 0.0f; }

/* The sums of two vectors of rows (a, b) for two tokens: the rows of a, then those of b. */
INLINE void fold_square(rf a0, rf b0, rf a1, rf b1, float *out0, float *out1) {
    float32x4_t x = (float32x4_t)((rf)zip_lo64((rw)a0, (rw)b0) + (rf)zip_hi64((rw)a0, (rw)b0));
    float32x4_t y = (float32x4_t)((rf)zip_lo64((rw)a1, (rw)b1) + (rf)zip_hi64((rw)a1, (rw)b1));
    x = vaddq_f32(vaddq_f32(vuzp1q_f32(x, y), vuzp2q_f32(x, y)), vdupq_n_f32(0));
    vst1_f32(out0, vget_low_f32(x));
    vst1_f32(out1, vget_high_f32(x));
}

/* Dot products of groups of four codes, at most `max` or signed, with activations of -127 .. 127, added to a sum. A run of them begins with
 * dot_first() and ends with dot_last(); both are given the sum, as one or the other adds it. rdots: a run in the making. */
INLINE rb signed_codes(rw x) { return (rb)x; }

#if defined(__ARM_FEATURE_DOTPROD)
#define DOT_RUN(max) 8
typedef ri rdots;
INLINE rdots dot_more(int max, rdots part, rb w, rw a) {
    (void)max;
    return (rdots)vdotq_s32((int32x4_t)part, (int8x16_t)w, (int8x16_t)a);
}
INLINE rdots dot_first(int max, ri sum, rb w, rw a) { return dot_more(max, sum, w, a); }
INLINE ri dot_last(rdots part, ri sum) {
    (void)sum;
    return part;
}
#else
/* Products of 16 bits, those of the first two blocks and of the last two; over as many groups as fit (DOT_RUN) they are added one by one:
 * 8 * 31 * 127, 4 * 63 * 127 and 2 * 128 * 127 are below 2^15. */
#define DOT_RUN(max) ((max) <= 32 ? 8 : (max) <= 64 ? 4 : 2)
typedef struct {
    int16x8_t low, high;
} rdots;
INLINE rdots dot_first(int max, ri sum, rb w, rw a) {
    int8x16_t x = (int8x16_t)w, y = (int8x16_t)a;
    (void)max;
    (void)sum;
    return (rdots){vmull_s8(vget_low_s8(x), vget_low_s8(y)), vmull_high_s8(x, y)};
}
INLINE rdots dot_more(int max, rdots part, rb w, rw a) {
    int8x16_t x = (int8x16_t)w, y = (int8x16_t)a;
    (void)max;
    return (rdots){vmlal_s8(part.low, vget_low_s8(x), vget_low_s8(y)),
                   vmlal_high_s8(part.high, x, y)};
}
INLINE ri dot_last(rdots part, ri sum) {
    return sum + (ri)vpaddq_s32(vpaddlq_s16(part.low), vpaddlq_s16(part.high));
}
#endif

/* ---- Tiles ---- */

#if defined(__ARM_FEATURE_MATMUL_INT8)
/* Eight codes of two rows x eight activations of two tokens: lanes row 0 x token 0, 0 x 1, 1 x 0, 1 x 1 (squares_tmpl.h). */
#define SQUARES 1
enum { TILE_VECTORS = 2, TILE_TOKENS = 2 }; /* pairs of rows, of tokens */
INLINE ri dot_squares(ri sum, rb w, rw a) {
    return (ri)vmmlaq_s32((int32x4_t)sum, (int8x16_t)w, (int8x16_t)a);
}
/* 8 bytes, twice. */
INLINE rw rw_twice(const void *p) {
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return (rw)vdupq_n_u64(x);
}
/* Lane k of each of four vectors that follow each other: out[k]. */
INLINE void load_columns(const void *p, rw out[4]) {
    uint32x4x4_t x = vld4q_u32(p);
    for (int k = 0; k < 4; k++) out[k] = (rw)x.val[k];
}
/* zip_lo64() and zip_hi64(). */
INLINE void store_zip64(void *p, rw a, rw b) {
    vst2q_u64(p, (uint64x2x2_t){{(uint64x2_t)a, (uint64x2_t)b}});
}
#elif defined(__ARM_FEATURE_DOTPROD)
enum { TILE_VECTORS = 4, TILE_TOKENS = 3 };
#else
enum { TILE_VECTORS = 2, TILE_TOKENS = 3 };
#endif

#endif
