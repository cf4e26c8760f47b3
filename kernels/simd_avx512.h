/* The vector vocabulary on AVX-512: a vector is one register. See simd.md of the drivers' needs in ops_tmpl.h. */
#ifndef SLM_SIMD_AVX512_H
#define SLM_SIMD_AVX512_H

#include <immintrin.h>

#include "vmath.h"

#define SLM_FROM_F16 _cvtsh_ss

typedef __m512 vf;  /* 16 floats      */
typedef __m512i vi; /* 16 integers    */
typedef __m512i vb; /* 64 bytes       */

enum { GEMM_TOKENS = 12, GEMM_TOKENS_16 = 8, FLOAT_TOKENS = 4, ATTN_QUERIES = 4 };

/* ---- 16 floats ---- */

static inline __mmask16 first_lanes(int n) { return (__mmask16)((1u << n) - 1); }

static inline vf vf_zero(void) { return _mm512_setzero_ps(); }
static inline vf vf_set1(float x) { return _mm512_set1_ps(x); }
static inline vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
static inline vf vf_load_n(const float *p, int n) {
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
}
static inline void vf_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
static inline void vf_store_n(float *p, vf x, int n) {
    _mm512_mask_storeu_ps(p, first_lanes(n), x);
}
static inline vf vf_load4(const float *p) { return _mm512_broadcast_f32x4(_mm_loadu_ps(p)); }
static inline vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
/* The second argument where one is NaN. */
static inline vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
static inline vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
/* Lane i of a where bit i is set, else of b. */
static inline vf vf_select(uint32_t bits, vf a, vf b) {
    return _mm512_mask_blend_ps((__mmask16)bits, b, a);
}
static inline vf vf_load_f16(const slm_f16 *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
static inline void vf_store_f16(slm_f16 *p, vf x) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
static inline vf vf_load_bf16(const slm_bf16 *p) {
    __m512i x = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(x, 16));
}

/* ---- 16 integers ---- */

static inline vi vi_zero(void) { return _mm512_setzero_si512(); }
static inline vi vi_set1(int32_t x) { return _mm512_set1_epi32(x); }
static inline vi vi_load(const void *p) { return _mm512_loadu_si512(p); }
static inline vi vi_load4(const void *p) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p));
}
static inline vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
static inline vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
static inline vi vi_max(vi a, vi b) { return _mm512_max_epi32(a, b); }
static inline vi vi_shl23(vi a) { return _mm512_slli_epi32(a, 23); }
static inline vi vi_from_bits(vf a) { return _mm512_castps_si512(a); }
static inline vf vf_from_bits(vi a) { return _mm512_castsi512_ps(a); }
static inline vf vf_from_int(vi a) { return _mm512_cvtepi32_ps(a); }
static inline vi vi_round(vf a) { return _mm512_cvtps_epi32(a); } /* to nearest, ties to even */
static inline void vi_store_i8(int8_t *p, vi a) {
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(a));
}
static inline int32_t vi_sum(vi a) { return _mm512_reduce_add_epi32(a); }
static inline int32_t vi_highest(vi a) { return _mm512_reduce_max_epi32(a); }
/* Each lane: two pairs of 16-bit integers, multiplied and added. */
static inline vi vi_madd16(vi a, vi b) { return _mm512_madd_epi16(a, b); }

/* ---- 64 bytes: lane i of the sum takes the products of bytes 4i .. 4i + 3 ---- */

static inline vb vb_load(const void *p) { return _mm512_loadu_si512(p); }
static inline vb vb_set1(const int8_t *p) {
    int32_t x;
    memcpy(&x, p, sizeof x);
    return _mm512_set1_epi32(x);
}

#if defined(__AVX512VNNI__)
/* vpdpbusd wants one side unsigned: weights are kept as w + 128 (WEIGHT_FLIP turns the sign bit), and sums begin at
 * -128 * sum of the activations. */
#define WEIGHT_FLIP 0x80808080u
static inline vi vi_dot_start(int32_t bias) { return _mm512_set1_epi32(bias); }
static inline vi vi_dot_start4(const int32_t *bias) { return vi_load4(bias); }
static inline vi vi_dot(vi sum, vb w, vb a) { return _mm512_dpbusd_epi32(sum, w, a); }
#else
/* |w| * (a with the sign of w): no pair of products leaves 16 bits, as |w| <= 128 and |a| <= 127. */
#define WEIGHT_FLIP 0u
static inline vi vi_dot_start(int32_t bias) { return (void)bias, _mm512_setzero_si512(); }
static inline vi vi_dot_start4(const int32_t *bias) { return (void)bias, _mm512_setzero_si512(); }
static inline vi vi_dot(vi sum, vb w, vb a) {
    __m512i signed_a = _mm512_mask_sub_epi8(a, _mm512_movepi8_mask(w), _mm512_setzero_si512(), a);
    __m512i pairs = _mm512_maddubs_epi16(_mm512_abs_epi8(w), signed_a);
    return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}
#endif

/* c[2 * r], c[2 * r + 1]: sums of row r over blocks 0, 1 and 2, 3, eight lanes each, of which four for each half of a block.
 * Lane 4 * r + b of half[h]: the sum of row r, block b, half h. */
static inline void vi_reduce_rows(const vi c[8], vi half[2]) {
    const __m512i order = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
    __m512i x[4], y[2];
    for (int r = 0; r < 4; r++) { /* in each 128 bits: a b a b, a of blocks 0 and 1, b of 2 and 3 */
        x[r] = _mm512_add_epi32(_mm512_unpacklo_epi32(c[2 * r], c[2 * r + 1]),
                                _mm512_unpackhi_epi32(c[2 * r], c[2 * r + 1]));
    }
    for (int i = 0; i < 2; i++) { /* a b of row 2i, a b of row 2i + 1 */
        y[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(x[2 * i], x[2 * i + 1]),
                                _mm512_unpackhi_epi64(x[2 * i], x[2 * i + 1]));
    }
    half[0] = _mm512_permutexvar_epi32(order, _mm512_shuffle_i64x2(y[0], y[1], 0x88));
    half[1] = _mm512_permutexvar_epi32(order, _mm512_shuffle_i64x2(y[0], y[1], 0xdd));
}

#endif
