/* What the x86 vocabularies share: pieces of 128 bits. */
#ifndef SLM_SIMD_X86_H
#define SLM_SIMD_X86_H

#include <immintrin.h>

#include "inline.h"

/* Lane 0 + lane 2, 1 + 3, then both. */
INLINE float fold128(__m128 x) {
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps(x, x, 1)));
}
/* The highest lane; none is NaN. */
INLINE float highest128(__m128 x) {
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps(x, x, 1)));
}

/* Where products of pairs are added in 16 bits: whether codes of 0 .. max are taken for signed bytes, and groups whose sums fit. */
INLINE bool are_signed(int max) { return max > 64; }
#define DOT_RUN16(max) ((max) <= 16 ? 8 : (max) <= 32 ? 4 : are_signed(max) ? 1 : 2)

#endif
