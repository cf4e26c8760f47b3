/* The vector vocabulary on AVX2 with FMA and F16C, and AVX-VNNI where the compiler may use it: a vector is two registers. */
#ifndef SLM_SIMD_AVX2_H
#define SLM_SIMD_AVX2_H

#include <immintrin.h>

#include "kernels.h"
#include "simd_x86.h"
#include "vmath.h"

#define SLM_FROM_F16  _cvtsh_ss
#define SLM_TO_F16(x) _cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT)

typedef struct {
    __m256 a, b;
} vf; /* 16 floats   */
typedef struct {
    __m256i a, b;
} vi; /* 16 integers */

enum { FLOAT_ROWS = 2, FLOAT_TOKENS = 3, ATTN_SUMS = 4 };
enum { LONE_ROW_BYTES = 0 }; /* never (float_tmpl.h) */

/* ---- 16 floats ---- */

/* Lanes whose bit is set, as all ones. */
INLINE vi lane_mask(uint32_t bits) {
    const __m256i bit_a = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i bit_b = _mm256_slli_epi32(bit_a, 8);
    __m256i all = _mm256_set1_epi32((int)bits);
    return (vi){_mm256_cmpeq_epi32(_mm256_and_si256(all, bit_a), bit_a),
                _mm256_cmpeq_epi32(_mm256_and_si256(all, bit_b), bit_b)};
}

INLINE vf vf_zero(void) { return (vf){_mm256_setzero_ps(), _mm256_setzero_ps()}; }
INLINE vf vf_set1(float x) { return (vf){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INLINE vf vf_load(const float *p) { return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INLINE vf vf_load_n(const float *p, int n) {
    vi m = lane_mask((1u << n) - 1);
    return (vf){_mm256_maskload_ps(p, m.a), _mm256_maskload_ps(p + 8, m.b)};
}
INLINE void vf_store(float *p, vf x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
INLINE void vf_store_n(float *p, vf x, int n) {
    vi m = lane_mask((1u << n) - 1);
    _mm256_maskstore_ps(p, m.a, x.a);
    _mm256_maskstore_ps(p + 8, m.b, x.b);
}

#define EACH_F(op) \
    (vf) { _mm256_##op(a.a, b.a), _mm256_##op(a.b, b.b) }
INLINE vf vf_add(vf a, vf b) { return EACH_F(add_ps); }
INLINE vf vf_sub(vf a, vf b) { return EACH_F(sub_ps); }
INLINE vf vf_mul(vf a, vf b) { return EACH_F(mul_ps); }
INLINE vf vf_div(vf a, vf b) { return EACH_F(div_ps); }
/* The second argument where one is NaN. */
INLINE vf vf_max(vf a, vf b) { return EACH_F(max_ps); }
INLINE vf vf_min(vf a, vf b) { return EACH_F(min_ps); }
INLINE vf vf_fma(vf a, vf b, vf c) {
    return (vf){_mm256_fmadd_ps(a.a, b.a, c.a), _mm256_fmadd_ps(a.b, b.b, c.b)};
}
/* To nearest, ties to even. */
INLINE vf vf_round(vf a) {
    return (vf){_mm256_round_ps(a.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                _mm256_round_ps(a.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
/* `yes` where a > b, else `no`. */
INLINE vf vf_pick(vf a, vf b, vf yes, vf no) {
    return (vf){_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(a.a, b.a, _CMP_GT_OQ)),
                _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(a.b, b.b, _CMP_GT_OQ))};
}
/* Number of the first lane of a that is `top`; there is one. */
INLINE int vf_first(vf a, float top) {
    __m256 t = _mm256_set1_ps(top);
    return __builtin_ctz((unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a.a, t, _CMP_EQ_OQ)) |
                         (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a.b, t, _CMP_EQ_OQ)) << 8);
}
/* Lane i of a where bit i is set, else of b. */
INLINE vf vf_select(uint32_t bits, vf a, vf b) {
    vi m = lane_mask(bits);
    return (vf){_mm256_blendv_ps(b.a, a.a, _mm256_castsi256_ps(m.a)),
                _mm256_blendv_ps(b.b, a.b, _mm256_castsi256_ps(m.b))};
}
/* By halves: lane i + lane i + 8, then + 4, + 2, + 1. */
INLINE float vf_fold(vf x) {
    __m256 y = _mm256_add_ps(x.a, x.b);
    return fold128(_mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1)));
}
/* The highest lane; none is NaN. */
INLINE float vf_highest(vf x) {
    __m256 y = _mm256_max_ps(x.a, x.b);
    return highest128(_mm_max_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1)));
}
INLINE vf vf_load_f16(const slm_f16 *p) {
    return (vf){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8)))};
}
INLINE void vf_store_f16(slm_f16 *p, vf x) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
INLINE __m256 bf16_half(const slm_bf16 *p) {
    __m256i x = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(x, 16));
}
INLINE vf vf_load_bf16(const slm_bf16 *p) { return (vf){bf16_half(p), bf16_half(p + 8)}; }

INLINE __m256 i8_half(const int8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
INLINE vf vf_load_i8(const int8_t *p) { return (vf){i8_half(p), i8_half(p + 8)}; }

/* ---- 16 integers ---- */

INLINE vi vi_zero(void) { return (vi){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
INLINE vi vi_set1(int32_t x) { return (vi){_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }

#define EACH_I(op) \
    (vi) { _mm256_##op(a.a, b.a), _mm256_##op(a.b, b.b) }
INLINE vi vi_add(vi a, vi b) { return EACH_I(add_epi32); }
INLINE vi vi_and(vi a, vi b) { return EACH_I(and_si256); }
INLINE vi vi_max(vi a, vi b) { return EACH_I(max_epi32); }
INLINE vi vi_shl23(vi a) { return (vi){_mm256_slli_epi32(a.a, 23), _mm256_slli_epi32(a.b, 23)}; }
INLINE vi vi_from_bits(vf a) { return (vi){_mm256_castps_si256(a.a), _mm256_castps_si256(a.b)}; }
INLINE vf vf_from_bits(vi a) { return (vf){_mm256_castsi256_ps(a.a), _mm256_castsi256_ps(a.b)}; }
INLINE vi vi_round(vf a) { /* to nearest, ties to even */
    return (vi){_mm256_cvtps_epi32(a.a), _mm256_cvtps_epi32(a.b)};
}
INLINE void vi_store_i8(int8_t *p, vi a) { /* the low 8 bits, so that saturation never acts */
    __m256i low = _mm256_set1_epi32(255);
    __m256i words = _mm256_packus_epi32(_mm256_and_si256(a.a, low), _mm256_and_si256(a.b, low));
    words = _mm256_permute4x64_epi64(words, 0xd8);
    _mm_storeu_si128((__m128i *)p, _mm_packus_epi16(_mm256_castsi256_si128(words),
                                                    _mm256_extracti128_si256(words, 1)));
}
INLINE int32_t vi_sum(vi a) {
    __m256i x = _mm256_add_epi32(a.a, a.b);
    __m128i y = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    y = _mm_add_epi32(y, _mm_shuffle_epi32(y, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(y, _mm_shuffle_epi32(y, 0xb1)));
}
INLINE int32_t vi_highest(vi a) {
    __m256i x = _mm256_max_epi32(a.a, a.b);
    __m128i y = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    y = _mm_max_epi32(y, _mm_shuffle_epi32(y, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(y, _mm_shuffle_epi32(y, 0xb1)));
}

/* ---- One register, for products of quantized rows (steps.h, few_tmpl.h, strip_tmpl.h): a row is 128 bits ---- */

enum { ROWS = 2, TILE_VECTORS = 2, TILE_TOKENS = 4 };

typedef uint8_t rb __attribute__((vector_size(32)));
typedef uint16_t rh __attribute__((vector_size(32)));
typedef uint32_t rw __attribute__((vector_size(32)));
typedef int32_t ri __attribute__((vector_size(32)));
typedef float rf __attribute__((vector_size(32)));

/* 16 bytes at `at` of each row. */
INLINE rw load_rows(const uint8_t *const w[ROWS], int64_t at) {
    __m128i low = _mm_loadu_si128((const __m128i *)(w[0] + at));
    return (rw)_mm256_inserti128_si256(_mm256_castsi128_si256(low),
                                       _mm_loadu_si128((const __m128i *)(w[1] + at)), 1);
}
/* The same 16 bytes in every row. */
INLINE rw rw_all4(const void *p) {
    return (rw)_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));
}
/* Within each row: bytes by number (above 127: zero), lane k everywhere, lanes of a and b in turn. */
INLINE rb shuffle(rw x, const uint8_t order[16]) {
    return (rb)_mm256_shuffle_epi8((__m256i)x, (__m256i)rw_all4(order));
}
/* The same with an order for each row. */
INLINE rb shuffle_by(rw x, rw order) { return (rb)_mm256_shuffle_epi8((__m256i)x, (__m256i)order); }
INLINE rw dup_lane(rw x, int k) {
    __m256i v = (__m256i)x;
    return (rw)(k == 0   ? _mm256_shuffle_epi32(v, 0x00)
                : k == 1 ? _mm256_shuffle_epi32(v, 0x55)
                : k == 2 ? _mm256_shuffle_epi32(v, 0xaa)
                         : _mm256_shuffle_epi32(v, 0xff));
}
INLINE rw zip_lo32(rw a, rw b) { return (rw)_mm256_unpacklo_epi32((__m256i)a, (__m256i)b); }
INLINE rw zip_hi32(rw a, rw b) { return (rw)_mm256_unpackhi_epi32((__m256i)a, (__m256i)b); }
INLINE rw zip_lo64(rw a, rw b) { return (rw)_mm256_unpacklo_epi64((__m256i)a, (__m256i)b); }
INLINE rw zip_hi64(rw a, rw b) { return (rw)_mm256_unpackhi_epi64((__m256i)a, (__m256i)b); }

/* x added to the bytes of q where `bits` are set in h. */
INLINE rb add_where(rb q, rb h, rb bits, rb x) { return q + ((rb)((h & bits) == bits) & x); }
INLINE rf rf_fma(rf a, rf b, rf c) { return (rf)_mm256_fmadd_ps(a, b, c); }
INLINE rf to_float(ri a) { return (rf)_mm256_cvtepi32_ps((__m256i)a); }
INLINE ri madd16(rw a, rw b) { return (ri)_mm256_madd_epi16((__m256i)a, (__m256i)b); }
/* Of each row: lane 0 + lane 1 of a, 2 + 3, then those of b. No lane is above `most`: what fits in 16 bits takes an instruction less. */
INLINE ri pair_sums(int most, ri a, ri b) {
    __m256 x = (__m256)a, y = (__m256)b;
    return most <= INT16_MAX
               ? madd16((rw)_mm256_packs_epi32((__m256i)a, (__m256i)b), (rw){0} + 0x10001u)
               : (ri)(rw)_mm256_shuffle_ps(x, y, 0x88) + (ri)(rw)_mm256_shuffle_ps(x, y, 0xdd);
}
/* Lanes below 2^16, read as f16. */
INLINE rf from_f16(rw x) {
    __m256i h = _mm256_permute4x64_epi64(_mm256_packus_epi32((__m256i)x, (__m256i)x), 0x08);
    return (rf)_mm256_cvtph_ps(_mm256_castsi256_si128(h));
}
/* The first four f16 of each row. */
INLINE rf first_f16s(rw x) {
    __m256i v = (__m256i)x;
    return (rf)_mm256_cvtph_ps(
        _mm_unpacklo_epi64(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
}
/* The lower and the upper halves of lanes as f16. */
INLINE void from_f16_pairs(rw x, rf *low, rf *high) {
    __m256i both = _mm256_packus_epi32((__m256i)(x & 0xffff), (__m256i)(x >> 16));
    both = _mm256_permute4x64_epi64(both, 0xd8);
    *low = (rf)_mm256_cvtph_ps(_mm256_castsi256_si128(both));
    *high = (rf)_mm256_cvtph_ps(_mm256_extracti128_si256(both, 1));
}

/* The f16 at `at`, or two from there on, of four blocks of each row, without loads of what lies between them. */
#define GATHERS_F16 1
INLINE int word16(const uint8_t *p) {
    uint16_t x;
    memcpy(&x, p, sizeof x);
    return x;
}
INLINE int word32(const uint8_t *p) {
    int x;
    memcpy(&x, p, sizeof x);
    return x;
}

INLINE rf gather_f16(const uint8_t *const w[ROWS], int64_t at, int stride) {
    __m128i x[ROWS];
    for (int r = 0; r < ROWS; r++) {
        const uint8_t *p = w[r] + at;
        x[r] = _mm_cvtsi32_si128(word16(p));
        x[r] = _mm_insert_epi16(x[r], word16(p + stride), 1);
        x[r] = _mm_insert_epi16(x[r], word16(p + 2 * stride), 2);
        x[r] = _mm_insert_epi16(x[r], word16(p + 3 * stride), 3);
    }
    return (rf)_mm256_cvtph_ps(_mm_unpacklo_epi64(x[0], x[1]));
}
INLINE void gather_f16_pairs(const uint8_t *const w[ROWS], int64_t at, int stride, rf *first,
                             rf *second) {
    const __m128i order = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    __m128i x[ROWS];
    for (int r = 0; r < ROWS; r++) {
        const uint8_t *p = w[r] + at;
        x[r] = _mm_cvtsi32_si128(word32(p));
        x[r] = _mm_insert_epi32(x[r], word32(p + stride), 1);
        x[r] = _mm_insert_epi32(x[r], word32(p + 2 * stride), 2);
        x[r] = _mm_insert_epi32(x[r], word32(p + 3 * stride), 3);
        x[r] = _mm_shuffle_epi8(x[r], order);
    }
    *first = (rf)_mm256_cvtph_ps(_mm_unpacklo_epi64(x[0], x[1]));
    *second = (rf)_mm256_cvtph_ps(_mm_unpackhi_epi64(x[0], x[1]));
}

/* The sum of the four lanes of each row, (0 + 2) + (1 + 3), then + 0: one float a row. */
INLINE void fold_rows(rf x, float out[ROWS]) {
    __m256 y = _mm256_add_ps(x, _mm256_permute_ps(x, 0x4e));
    y = _mm256_add_ps(y, _mm256_permute_ps(y, 0xb1));
    y = _mm256_add_ps(y, _mm256_setzero_ps());
    _mm_storel_pi((__m64 *)(void *)out,
                  _mm_unpacklo_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1)));
}

/* vf_fold() + 0 of each row of floats. */
INLINE void vf_fold_rows(const vf x[FLOAT_ROWS], float out[FLOAT_ROWS]) {
    __m256 a = _mm256_add_ps(x[0].a, x[0].b), b = _mm256_add_ps(x[1].a, x[1].b);
    fold_rows(
        (rf)_mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31)),
        out);
}

/* The sums of two vectors of rows (a, b) for two tokens: the rows of a, then those of b. */
INLINE void fold_square(rf a0, rf b0, rf a1, rf b1, float *out0, float *out1) {
    __m256 x = (__m256)((rf)zip_lo64((rw)a0, (rw)b0) + (rf)zip_hi64((rw)a0, (rw)b0));
    __m256 y = (__m256)((rf)zip_lo64((rw)a1, (rw)b1) + (rf)zip_hi64((rw)a1, (rw)b1));
    x = _mm256_add_ps(_mm256_shuffle_ps(x, y, 0x88), _mm256_shuffle_ps(x, y, 0xdd));
    x = _mm256_add_ps(x, _mm256_setzero_ps()); /* of each row: a0, b0, a1, b1 */
    x = _mm256_permutevar8x32_ps(x, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm_storeu_ps(out0, _mm256_castps256_ps128(x));
    _mm_storeu_ps(out1, _mm256_extractf128_ps(x, 1));
}

/* Dot products of groups of four codes, at most `max` or signed, with activations of -127 .. 127, added to a sum. A run of them begins with
 * dot_first() and ends with dot_last(); both are given the sum, as one or the other adds it. rdots: a run in the making. */
typedef ri rdots;
#if defined(__AVXVNNI__)
/* vpdpbusd wants one side unsigned: signed codes are kept as w + 128. */
enum { SIGNED_ZERO = 128 };
#define DOT_RUN(max) 8
INLINE rb signed_codes(rw x) { return (rb)(x ^ 0x80808080u); }
INLINE rdots dot_more(int max, rdots part, rb w, rw a) {
    (void)max;
    return (rdots)_mm256_dpbusd_avx_epi32((__m256i)part, (__m256i)w, (__m256i)a);
}
INLINE rdots dot_first(int max, ri sum, rb w, rw a) { return dot_more(max, sum, w, a); }
INLINE ri dot_last(rdots part, ri sum) {
    (void)sum;
    return part;
}
#else
/* Pairs of products are added in 16 bits, over as many groups as fit (DOT_RUN), then widened. Signed codes:
 * |w| * (a with the sign of w), which needs all of 16 bits. */
enum { SIGNED_ZERO = 0 };
#define DOT_RUN    DOT_RUN16
INLINE rb signed_codes(rw x) { return (rb)x; }
INLINE rdots products16(int max, rb w, rw a) {
    __m256i x = (__m256i)w, y = (__m256i)a;
    return (rdots)(are_signed(max)
                       ? _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(y, x))
                       : _mm256_maddubs_epi16(x, y));
}
INLINE rdots dot_more(int max, rdots part, rb w, rw a) {
    __m256i sum = _mm256_add_epi16((__m256i)part, (__m256i)products16(max, w, a));
    OPAQUE(sum); /* a chain: of a tree there are more sums than registers */
    return (rdots)sum;
}
INLINE rdots dot_first(int max, ri sum, rb w, rw a) {
    (void)sum;
    return products16(max, w, a);
}
INLINE ri dot_last(rdots part, ri sum) {
    return sum + (ri)_mm256_madd_epi16((__m256i)part, _mm256_set1_epi16(1));
}

/* Wide activations in one sum. Signed codes meet them as words, even places in one register and odd ones in another: fewer instructions
 * than high and low parts by themselves. Sums of other codes are multiplied as they are widened. */
#define JOINS_WIDE 1
INLINE __m256i even_words(__m256i x) { return _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8); }
INLINE __m256i odd_words(__m256i x) { return _mm256_srai_epi16(x, 8); }
/* Before signed codes, high and low become even and odd. */
INLINE void join_acts(int max, rw *high, rw *low) {
    if (!are_signed(max)) return;
    __m256i h = (__m256i)*high, l = (__m256i)*low, wide = _mm256_set1_epi16(SLM_WIDE);
    *high = (rw)_mm256_add_epi16(_mm256_mullo_epi16(even_words(h), wide), even_words(l));
    *low = (rw)_mm256_add_epi16(_mm256_mullo_epi16(odd_words(h), wide), odd_words(l));
}
/* n, 1 or 2, vectors of codes, w[0] and w[4], with activations in the same places: 4 * 64 * 127 is below 2^15. */
INLINE ri dot_wide(int max, int n, const rb *w, const rw *high, const rw *low) {
    if (!are_signed(max)) {
        rdots h = products16(max, w[0], high[0]), l = products16(max, w[0], low[0]);
        if (n == 2) h = dot_more(max, h, w[4], high[4]), l = dot_more(max, l, w[4], low[4]);
        return dot_last(l, (ri)_mm256_madd_epi16((__m256i)h, _mm256_set1_epi16(SLM_WIDE)));
    }
    ri sum = {0};
    for (int i = 0; i < 4 * n; i += 4) {
        ri even = (ri)_mm256_madd_epi16(even_words((__m256i)w[i]), (__m256i)high[i]);
        sum += even + (ri)_mm256_madd_epi16(odd_words((__m256i)w[i]), (__m256i)low[i]);
    }
    return sum;
}
#endif

#endif
