/* The vector vocabulary on AVX-512: a vector is one register. */
#ifndef SLM_SIMD_AVX512_H
#define SLM_SIMD_AVX512_H

#include <immintrin.h>

#include "simd_x86.h"
#include "vmath.h"

#define SLM_FROM_F16  _cvtsh_ss
#define SLM_TO_F16(x) _cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT)

typedef __m512 vf;  /* 16 floats      */
typedef __m512i vi; /* 16 integers    */

enum { FLOAT_ROWS = 4, FLOAT_TOKENS = 6, ATTN_SUMS = 16 };
/* Of floats, rows so short meet a single token one by one: one stream through memory. */
enum { LONE_ROW_BYTES = 4096 };

/* ---- 16 floats ---- */

INLINE __mmask16 first_lanes(int n) { return (__mmask16)((1u << n) - 1); }

INLINE vf vf_zero(void) { return _mm512_setzero_ps(); }
INLINE vf vf_set1(float x) { return _mm512_set1_ps(x); }
INLINE vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE vf vf_load_n(const float *p, int n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
INLINE void vf_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
INLINE void vf_store_n(float *p, vf x, int n) { _mm512_mask_storeu_ps(p, first_lanes(n), x); }
INLINE vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
INLINE vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
INLINE vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
INLINE vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
/* The second argument where one is NaN. */
INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
INLINE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
/* To nearest, ties to even. */
INLINE vf vf_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT); }
/* `yes` where a > b, else `no`. */
INLINE vf vf_pick(vf a, vf b, vf yes, vf no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), no, yes);
}
/* Number of the first lane of a that is `top`; there is one. */
INLINE int vf_first(vf a, float top) {
    return __builtin_ctz(_mm512_cmp_ps_mask(a, _mm512_set1_ps(top), _CMP_EQ_OQ));
}
/* Lane i of a where bit i is set, else of b. */
INLINE vf vf_select(uint32_t bits, vf a, vf b) {
    return _mm512_mask_blend_ps((__mmask16)bits, b, a);
}
/* By halves: lane i + lane i + 8, then + 4, + 2, + 1. */
INLINE float vf_fold(vf x) {
    __m256 y = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    return fold128(_mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1)));
}
/* The highest lane; none is NaN. */
INLINE float vf_highest(vf x) {
    __m256 y = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    return highest128(_mm_max_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1)));
}
INLINE vf vf_load_f16(const slm_f16 *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
INLINE void vf_store_f16(slm_f16 *p, vf x) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
INLINE vf vf_load_bf16(const slm_bf16 *p) {
    __m512i x = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(x, 16));
}
INLINE vf vf_load_i8(const int8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

/* ---- 16 integers ---- */

INLINE vi vi_zero(void) { return _mm512_setzero_si512(); }
INLINE vi vi_set1(int32_t x) { return _mm512_set1_epi32(x); }
INLINE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
INLINE vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
INLINE vi vi_max(vi a, vi b) { return _mm512_max_epi32(a, b); }
INLINE vi vi_shl23(vi a) { return _mm512_slli_epi32(a, 23); }
INLINE vi vi_from_bits(vf a) { return _mm512_castps_si512(a); }
INLINE vf vf_from_bits(vi a) { return _mm512_castsi512_ps(a); }
INLINE vi vi_round(vf a) { return _mm512_cvtps_epi32(a); } /* to nearest, ties to even */
INLINE void vi_store_i8(int8_t *p, vi a) {
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(a));
}
INLINE int32_t vi_sum(vi a) { return _mm512_reduce_add_epi32(a); }
INLINE int32_t vi_highest(vi a) { return _mm512_reduce_max_epi32(a); }

/* Lane by lane an entry of 32 by number. Others do without (search_tmpl.h). */
#define LOOK_UP32 1
INLINE vf vf_look_up32(const float table[32], vi number) {
    return _mm512_permutex2var_ps(_mm512_loadu_ps(table), number, _mm512_loadu_ps(table + 16));
}

/* ---- For products of quantized rows (steps.h, few_tmpl.h, strip_tmpl.h): a row is 128 bits ---- */

/* 4 x 3, not 2 x 6: loads that repeat 16 bytes cost more than others (docs/design.md). */
enum { ROWS = 4, TILE_VECTORS = 4, TILE_TOKENS = 3 };

typedef uint8_t rb __attribute__((vector_size(64)));
typedef uint16_t rh __attribute__((vector_size(64)));
typedef uint32_t rw __attribute__((vector_size(64)));
typedef int32_t ri __attribute__((vector_size(64)));
typedef float rf __attribute__((vector_size(64)));

/* 16 bytes at `at` of each row. */
INLINE rw load_rows(const uint8_t *const w[ROWS], int64_t at) {
    __m128i x0 = _mm_loadu_si128((const __m128i *)(w[0] + at));
    __m128i x1 = _mm_loadu_si128((const __m128i *)(w[1] + at));
    __m128i x2 = _mm_loadu_si128((const __m128i *)(w[2] + at));
    __m128i x3 = _mm_loadu_si128((const __m128i *)(w[3] + at));
    __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(x0), x1, 1);
    __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(x2), x3, 1);
    return (rw)_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* ---- Parts of four blocks in one stream of 16 (stride: bytes of a block) ----
 *
 * Any 32 words of two whole vectors come together in one instruction, where single parts take four loads, and three instructions to
 * join them. Blocks and parts change places by that: swap_lanes(). */
#define SWAPS 1

/* Whether four blocks are within two vectors. Not blocks of 16 bytes, which are those of a super-block: its scales do not swap. */
INLINE bool quads_fit(int stride) { return stride % 2 == 0 && stride > 16 && stride <= 32; }

/* For each of 32 words, X(number); the number, among the words of the vectors at offsets a and b, of the one at offset `at`. */
#define EACH4(X, i)       X(i), X(i + 1), X(i + 2), X(i + 3)
#define EACH16(X, i)      EACH4(X, i), EACH4(X, i + 4), EACH4(X, i + 8), EACH4(X, i + 12)
#define EACH32(X)         EACH16(X, 0), EACH16(X, 16)
#define WORD_OF(at, a, b) (uint16_t)((at) < (a) + 64 ? ((at) - (a)) / 2 : 32 + ((at) - (b)) / 2)

INLINE rw words_of_two(const uint8_t *a, rh words, const uint8_t *b) {
    return (rw)_mm512_permutex2var_epi16(_mm512_loadu_si512(a), (__m512i)words,
                                         _mm512_loadu_si512(b));
}

/* Of one part: 16 bytes at `at` of each of its four blocks, block p in part p of the vector. */
INLINE rw quad_bytes(const uint8_t *stream, int part, int at, int stride) {
    const int from = 4 * part * stride + at, to = from + 3 * stride + 16, end = 16 * stride;
    const bool whole = from / 64 * 64 + 128 >= to; /* vectors that other parts load, too */
    const int a = whole ? from / 64 * 64 : from;
    const int b = !whole ? to - 64 : a + 128 <= end ? a + 64 : end - 64;
#define QUAD_WORD(i) WORD_OF(from + (i) / 8 * stride + (i) % 8 * 2, a, b)
    return words_of_two(stream + a, (rh){EACH32(QUAD_WORD)}, stream + b);
#undef QUAD_WORD
}

/* 4 bytes at `at` of each of the 16 blocks, lane by lane: from two vectors after the other. */
INLINE rw stream_words(const uint8_t *stream, int at, int stride) {
    const int end = 16 * stride;
    __m512i x = _mm512_setzero_si512();
    UNROLL
    for (int two = 0; two < end; two += 128) {
        const int a = two + 64 <= end ? two : end - 64, b = two + 128 <= end ? two + 64 : end - 64;
        __mmask32 here = 0;
        UNROLL
        for (int i = 0; i < 32; i++) {
            int place = i / 2 * stride + at + i % 2 * 2;
            here |= (uint32_t)(place >= two && place < two + 128) << i;
        }
#define LANE_WORD(i) WORD_OF((i) / 2 * stride + at + (i) % 2 * 2, a, b)
        rw y = words_of_two(stream + a, (rh){EACH32(LANE_WORD)}, stream + b);
#undef LANE_WORD
        x = _mm512_mask_blend_epi16(here, x, (__m512i)y);
    }
    return (rw)x;
}

/* Lane k of part p and lane p of part k change places. */
INLINE rw swap_lanes(rw x) {
    const __m512i from = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return (rw)_mm512_permutexvar_epi32(from, (__m512i)x);
}

/* ---- Within each part ---- */

/* The same 16 bytes in every row. */
INLINE rw rw_all4(const void *p) {
    return (rw)_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p));
}
/* Within each row: bytes by number (above 127: zero), lane k everywhere, lanes of a and b in turn. */
INLINE rb shuffle(rw x, const uint8_t order[16]) {
    return (rb)_mm512_shuffle_epi8((__m512i)x, (__m512i)rw_all4(order));
}
/* The same with an order for each row. */
INLINE rb shuffle_by(rw x, rw order) { return (rb)_mm512_shuffle_epi8((__m512i)x, (__m512i)order); }
INLINE rw dup_lane(rw x, int k) {
    __m512i v = (__m512i)x;
    return (rw)(k == 0   ? _mm512_shuffle_epi32(v, 0x00)
                : k == 1 ? _mm512_shuffle_epi32(v, 0x55)
                : k == 2 ? _mm512_shuffle_epi32(v, 0xaa)
                         : _mm512_shuffle_epi32(v, 0xff));
}
INLINE rw zip_lo32(rw a, rw b) { return (rw)_mm512_unpacklo_epi32((__m512i)a, (__m512i)b); }
INLINE rw zip_hi32(rw a, rw b) { return (rw)_mm512_unpackhi_epi32((__m512i)a, (__m512i)b); }
INLINE rw zip_lo64(rw a, rw b) { return (rw)_mm512_unpacklo_epi64((__m512i)a, (__m512i)b); }
INLINE rw zip_hi64(rw a, rw b) { return (rw)_mm512_unpackhi_epi64((__m512i)a, (__m512i)b); }

/* x added to the bytes of q where `bits` are set in h. */
INLINE rb add_where(rb q, rb h, rb bits, rb x) {
    __mmask64 where = _mm512_test_epi8_mask((__m512i)h, (__m512i)bits);
    return (rb)_mm512_mask_add_epi8((__m512i)q, where, (__m512i)q, (__m512i)x);
}
INLINE rf rf_fma(rf a, rf b, rf c) { return (rf)_mm512_fmadd_ps(a, b, c); }
INLINE rf to_float(ri a) { return (rf)_mm512_cvtepi32_ps((__m512i)a); }
INLINE ri madd16(rw a, rw b) { return (ri)_mm512_madd_epi16((__m512i)a, (__m512i)b); }
/* Of each row: lane 0 + lane 1 of a, 2 + 3, then those of b. No lane is above `most`: what fits in 16 bits takes an instruction less. */
INLINE ri pair_sums(int most, ri a, ri b) {
    __m512 x = (__m512)a, y = (__m512)b;
    return most <= INT16_MAX
               ? madd16((rw)_mm512_packs_epi32((__m512i)a, (__m512i)b), (rw){0} + 0x10001u)
               : (ri)(rw)_mm512_shuffle_ps(x, y, 0x88) + (ri)(rw)_mm512_shuffle_ps(x, y, 0xdd);
}
/* Lanes below 2^16, read as f16. */
INLINE rf from_f16(rw x) { return (rf)_mm512_cvtph_ps(_mm512_cvtepi32_epi16((__m512i)x)); }
/* The first four f16 of each row. */
INLINE rf first_f16s(rw x) {
    const __m512i rows = _mm512_setr_epi64(0, 2, 4, 6, 0, 2, 4, 6);
    return (rf)_mm512_cvtph_ps(_mm512_castsi512_si256(_mm512_permutexvar_epi64(rows, (__m512i)x)));
}
/* The lower and the upper halves of lanes as f16. */
INLINE void from_f16_pairs(rw x, rf *low, rf *high) {
    *low = from_f16(x);
    *high = from_f16(x >> 16);
}

/* The sum of the four lanes of each row, (0 + 2) + (1 + 3), then + 0: one float a row. */
INLINE void fold_rows(rf x, float out[ROWS]) {
    __m512 y = _mm512_add_ps(x, _mm512_permute_ps(x, 0x4e));
    y = _mm512_add_ps(y, _mm512_permute_ps(y, 0xb1));
    y = _mm512_add_ps(y, _mm512_setzero_ps());
    _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, y)));
}

/* Two parts of a and of b by number, plus the two others. */
#define ADD_PARTS(a, b, these, others)                               \
    ((rf)_mm512_shuffle_i32x4((__m512i)(a), (__m512i)(b), (these)) + \
     (rf)_mm512_shuffle_i32x4((__m512i)(a), (__m512i)(b), (others)))
/* vf_fold() + 0 of each row of floats. */
INLINE void vf_fold_rows(const vf x[FLOAT_ROWS], float out[FLOAT_ROWS]) {
    rf ab = ADD_PARTS(x[0], x[1], 0x44, 0xee), cd = ADD_PARTS(x[2], x[3], 0x44, 0xee);
    fold_rows(ADD_PARTS(ab, cd, 0x88, 0xdd), out);
}
#undef ADD_PARTS

/* The sums of two vectors of rows (a, b) for two tokens: the rows of a, then those of b. */
INLINE void fold_square(rf a0, rf b0, rf a1, rf b1, float *out0, float *out1) {
    __m512 x = (__m512)((rf)zip_lo64((rw)a0, (rw)b0) + (rf)zip_hi64((rw)a0, (rw)b0));
    __m512 y = (__m512)((rf)zip_lo64((rw)a1, (rw)b1) + (rf)zip_hi64((rw)a1, (rw)b1));
    x = _mm512_add_ps(_mm512_shuffle_ps(x, y, 0x88), _mm512_shuffle_ps(x, y, 0xdd));
    x = _mm512_add_ps(x, _mm512_setzero_ps()); /* of each row: a0, b0, a1, b1 */
    x = _mm512_permutexvar_ps(
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), x);
    _mm256_storeu_ps(out0, _mm512_castps512_ps256(x));
    _mm256_storeu_ps(out1, _mm512_extractf32x8_ps(x, 1));
}

/* ---- One part by itself (joined_tmpl.h) ---- */

typedef float r1 __attribute__((vector_size(16)));
INLINE r1 r1_load(const float *p) { return (r1)_mm_loadu_ps(p); }
INLINE r1 r1_fma(r1 a, r1 b, r1 c) { return (r1)_mm_fmadd_ps(a, b, c); }
INLINE r1 rf_part(rf x, int k) {
    __m512 v = (__m512)x;
    return (r1)(k == 0   ? _mm512_castps512_ps128(v)
                : k == 1 ? _mm512_extractf32x4_ps(v, 1)
                : k == 2 ? _mm512_extractf32x4_ps(v, 2)
                         : _mm512_extractf32x4_ps(v, 3));
}
INLINE rf rf_join(const r1 part[ROWS]) {
    __m256 low = _mm256_insertf128_ps(_mm256_castps128_ps256(part[0]), part[1], 1);
    __m256 high = _mm256_insertf128_ps(_mm256_castps128_ps256(part[2]), part[3], 1);
    return (rf)_mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

/* Dot products of groups of four codes, at most `max` or signed, with activations of -127 .. 127, added to a sum. A run of them begins with
 * dot_first() and ends with dot_last(); both are given the sum, as one or the other adds it. rdots: a run in the making. */
typedef ri rdots;
#if defined(__AVX512VNNI__)
/* vpdpbusd wants one side unsigned: signed codes are kept as w + 128. */
enum { SIGNED_ZERO = 128 };
#define DOT_RUN(max) 8
INLINE rb signed_codes(rw x) { return (rb)(x ^ 0x80808080u); }
INLINE rdots dot_more(int max, rdots part, rb w, rw a) {
    (void)max;
    return (rdots)_mm512_dpbusd_epi32((__m512i)part, (__m512i)w, (__m512i)a);
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
#define DOT_RUN DOT_RUN16
INLINE rb signed_codes(rw x) { return (rb)x; }
INLINE rdots products16(int max, rb w, rw a) {
    __m512i x = (__m512i)w, y = (__m512i)a;
    if (!are_signed(max)) return (rdots)_mm512_maddubs_epi16(x, y);
    y = _mm512_mask_sub_epi8(y, _mm512_movepi8_mask(x), _mm512_setzero_si512(), y);
    return (rdots)_mm512_maddubs_epi16(_mm512_abs_epi8(x), y);
}
INLINE rdots dot_more(int max, rdots part, rb w, rw a) {
    __m512i sum = _mm512_add_epi16((__m512i)part, (__m512i)products16(max, w, a));
    OPAQUE(sum); /* a chain: of a tree there are more sums than registers */
    return (rdots)sum;
}
INLINE rdots dot_first(int max, ri sum, rb w, rw a) {
    (void)sum;
    return products16(max, w, a);
}
INLINE ri dot_last(rdots part, ri sum) {
    return sum + (ri)_mm512_madd_epi16((__m512i)part, _mm512_set1_epi16(1));
}
#endif

#endif
