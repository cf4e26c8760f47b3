/* The vector vocabulary on AVX2 with FMA and F16C: a vector is two registers. */
#ifndef SLM_SIMD_AVX2_H
#define SLM_SIMD_AVX2_H

#include <immintrin.h>

#include "vmath.h"

#define SLM_FROM_F16 _cvtsh_ss

typedef struct {
    __m256 a, b;
} vf; /* 16 floats   */
typedef struct {
    __m256i a, b;
} vi;          /* 16 integers */
typedef vi vb; /* 64 bytes    */

enum { GEMM_TOKENS = 2, GEMM_TOKENS_16 = 1, FLOAT_TOKENS = 1, ATTN_QUERIES = 1 };

/* ---- 16 floats ---- */

/* Lanes whose bit is set, as all ones. */
static inline vi lane_mask(uint32_t bits) {
    const __m256i bit_a = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i bit_b = _mm256_slli_epi32(bit_a, 8);
    __m256i all = _mm256_set1_epi32((int)bits);
    return (vi){_mm256_cmpeq_epi32(_mm256_and_si256(all, bit_a), bit_a),
                _mm256_cmpeq_epi32(_mm256_and_si256(all, bit_b), bit_b)};
}

static inline vf vf_zero(void) { return (vf){_mm256_setzero_ps(), _mm256_setzero_ps()}; }
static inline vf vf_set1(float x) { return (vf){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
static inline vf vf_load(const float *p) {
    return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
static inline vf vf_load_n(const float *p, int n) {
    vi m = lane_mask((1u << n) - 1);
    return (vf){_mm256_maskload_ps(p, m.a), _mm256_maskload_ps(p + 8, m.b)};
}
static inline void vf_store(float *p, vf x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
static inline void vf_store_n(float *p, vf x, int n) {
    vi m = lane_mask((1u << n) - 1);
    _mm256_maskstore_ps(p, m.a, x.a);
    _mm256_maskstore_ps(p + 8, m.b, x.b);
}
static inline vf vf_load4(const float *p) {
    __m256 x = _mm256_broadcast_ps((const __m128 *)(const void *)p);
    return (vf){x, x};
}

#define EACH_F(op) \
    (vf) { _mm256_##op(a.a, b.a), _mm256_##op(a.b, b.b) }
static inline vf vf_add(vf a, vf b) { return EACH_F(add_ps); }
static inline vf vf_sub(vf a, vf b) { return EACH_F(sub_ps); }
static inline vf vf_mul(vf a, vf b) { return EACH_F(mul_ps); }
static inline vf vf_div(vf a, vf b) { return EACH_F(div_ps); }
/* The second argument where one is NaN. */
static inline vf vf_max(vf a, vf b) { return EACH_F(max_ps); }
static inline vf vf_min(vf a, vf b) { return EACH_F(min_ps); }
static inline vf vf_fma(vf a, vf b, vf c) {
    return (vf){_mm256_fmadd_ps(a.a, b.a, c.a), _mm256_fmadd_ps(a.b, b.b, c.b)};
}
/* Lane i of a where bit i is set, else of b. */
static inline vf vf_select(uint32_t bits, vf a, vf b) {
    vi m = lane_mask(bits);
    return (vf){_mm256_blendv_ps(b.a, a.a, _mm256_castsi256_ps(m.a)),
                _mm256_blendv_ps(b.b, a.b, _mm256_castsi256_ps(m.b))};
}
static inline vf vf_load_f16(const slm_f16 *p) {
    return (vf){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8)))};
}
static inline void vf_store_f16(slm_f16 *p, vf x) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
static inline __m256 bf16_half(const slm_bf16 *p) {
    __m256i x = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(x, 16));
}
static inline vf vf_load_bf16(const slm_bf16 *p) { return (vf){bf16_half(p), bf16_half(p + 8)}; }

/* ---- 16 integers ---- */

static inline vi vi_zero(void) { return (vi){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
static inline vi vi_set1(int32_t x) { return (vi){_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
static inline vi vi_load(const void *p) {
    const __m256i *q = p;
    return (vi){_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
static inline vi vi_load4(const void *p) {
    __m256i x = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));
    return (vi){x, x};
}

#define EACH_I(op) \
    (vi) { _mm256_##op(a.a, b.a), _mm256_##op(a.b, b.b) }
static inline vi vi_add(vi a, vi b) { return EACH_I(add_epi32); }
static inline vi vi_and(vi a, vi b) { return EACH_I(and_si256); }
static inline vi vi_max(vi a, vi b) { return EACH_I(max_epi32); }
/* Each lane: two pairs of 16-bit integers, multiplied and added. */
static inline vi vi_madd16(vi a, vi b) { return EACH_I(madd_epi16); }
static inline vi vi_shl23(vi a) {
    return (vi){_mm256_slli_epi32(a.a, 23), _mm256_slli_epi32(a.b, 23)};
}
static inline vi vi_from_bits(vf a) {
    return (vi){_mm256_castps_si256(a.a), _mm256_castps_si256(a.b)};
}
static inline vf vf_from_bits(vi a) {
    return (vf){_mm256_castsi256_ps(a.a), _mm256_castsi256_ps(a.b)};
}
static inline vf vf_from_int(vi a) {
    return (vf){_mm256_cvtepi32_ps(a.a), _mm256_cvtepi32_ps(a.b)};
}
static inline vi vi_round(vf a) { /* to nearest, ties to even */
    return (vi){_mm256_cvtps_epi32(a.a), _mm256_cvtps_epi32(a.b)};
}
static inline void vi_store_i8(int8_t *p, vi a) { /* values fit 8 bits: saturation never acts */
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a.a, a.b), 0xd8);
    _mm_storeu_si128((__m128i *)p, _mm_packs_epi16(_mm256_castsi256_si128(words),
                                                   _mm256_extracti128_si256(words, 1)));
}
static inline int32_t vi_sum(vi a) {
    __m256i x = _mm256_add_epi32(a.a, a.b);
    __m128i y = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    y = _mm_add_epi32(y, _mm_shuffle_epi32(y, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(y, _mm_shuffle_epi32(y, 0xb1)));
}
static inline int32_t vi_highest(vi a) {
    __m256i x = _mm256_max_epi32(a.a, a.b);
    __m128i y = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    y = _mm_max_epi32(y, _mm_shuffle_epi32(y, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(y, _mm_shuffle_epi32(y, 0xb1)));
}

/* ---- 64 bytes: lane i of the sum takes the products of bytes 4i .. 4i + 3 ---- */

static inline vb vb_load(const void *p) { return vi_load(p); }
static inline vb vb_set1(const int8_t *p) {
    int32_t x;
    memcpy(&x, p, sizeof x);
    return vi_set1(x);
}

/* |w| * (a with the sign of w): no pair of products leaves 16 bits, as |w| <= 128 and |a| <= 127. */
#define WEIGHT_FLIP 0u
static inline vi vi_dot_start(int32_t bias) { return (void)bias, vi_zero(); }
static inline vi vi_dot_start4(const int32_t *bias) { return (void)bias, vi_zero(); }
static inline __m256i dot_half(__m256i sum, __m256i w, __m256i a) {
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
static inline vi vi_dot(vi sum, vb w, vb a) {
    return (vi){dot_half(sum.a, w.a, a.a), dot_half(sum.b, w.b, a.b)};
}

/* One row: sums of blocks 0, 1 and 2, 3, eight lanes each -> 128 bits of the first halves of the four blocks, 128 of the second. */
static inline __m256i reduce_row(vi c01, vi c23) {
    return _mm256_hadd_epi32(_mm256_hadd_epi32(c01.a, c01.b), _mm256_hadd_epi32(c23.a, c23.b));
}

/* c[2 * r], c[2 * r + 1]: sums of row r over blocks 0, 1 and 2, 3, eight lanes each, of which four for each half of a block.
 * Lane 4 * r + b of half[h]: the sum of row r, block b, half h. */
static inline void vi_reduce_rows(const vi c[8], vi half[2]) {
    __m256i r0 = reduce_row(c[0], c[1]), r1 = reduce_row(c[2], c[3]);
    __m256i r2 = reduce_row(c[4], c[5]), r3 = reduce_row(c[6], c[7]);
    half[0] =
        (vi){_mm256_permute2x128_si256(r0, r1, 0x20), _mm256_permute2x128_si256(r2, r3, 0x20)};
    half[1] =
        (vi){_mm256_permute2x128_si256(r0, r1, 0x31), _mm256_permute2x128_si256(r2, r3, 0x31)};
}

#endif
