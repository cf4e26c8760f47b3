/* AVX-VNNI on any machine with AVX2, for tests: its one instruction in plain C, the rest as it is. Included before anything else.
 *
 * Source: Intel Intrinsics Guide, _mm256_dpbusd_avx_epi32. */
#ifndef TESTS_EMULATE_AVXVNNI_H
#define TESTS_EMULATE_AVXVNNI_H

#include <immintrin.h>
#include <stdint.h>

static inline __m256i emu_dpbusd(__m256i sum, __m256i x, __m256i y) {
    union {
        __m256i v;
        int32_t i32[8];
        uint8_t u8[32];
        int8_t i8[32];
    } s = {.v = sum}, a = {.v = x}, b = {.v = y};
    for (int i = 0; i < 32; i++) s.i32[i / 4] += a.u8[i] * b.i8[i];
    return s.v;
}

#define _mm256_dpbusd_avx_epi32 emu_dpbusd
#define __AVXVNNI__             1

#endif
