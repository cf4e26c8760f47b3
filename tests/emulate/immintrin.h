/* AVX-512 on any machine, for tests: SIMDe (Debian: libsimde-dev) has most intrinsics in plain C, this adds what it lacks or what its
 * version of Debian 12 cannot compile. Found instead of the compiler's <immintrin.h> when tests/emulate comes first on the include path.
 *
 * Source: Intel Intrinsics Guide, each function by its name. */
#ifndef TESTS_EMULATE_IMMINTRIN_H
#define TESTS_EMULATE_IMMINTRIN_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#define SIMDE_NO_NATIVE
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>

#include "vmath.h"

typedef uint16_t __mmask16;
typedef uint32_t __mmask32;
typedef uint64_t __mmask64;
#define OPAQUE(x) ((void)(x)) /* a matter of speed, and an asm of registers that are not there */

/* ---- Vectors as arrays ---- */

typedef union emu {
    simde__m512 f;
    simde__m512i i;
    simde__m256i half;
    simde__m128i quarter;
    simde__m128 part;
    float f32[16];
    int32_t i32[16];
    uint16_t u16[32];
    int16_t i16[32];
    int8_t i8[64];
    uint8_t u8[64];
} emu;

#define EMU(result, name) static inline result emu_##name
#define EACH(n)           for (int i = 0; i < (n); i++)

/* ---- Floats ---- */

EMU(simde__m512, fmadd_ps)(simde__m512 x, simde__m512 y, simde__m512 z) {
    emu a = {.f = x}, b = {.f = y}, c = {.f = z};
    EACH(16) c.f32[i] = fmaf(a.f32[i], b.f32[i], c.f32[i]);
    return c.f;
}
EMU(simde__m128, fmadd128_ps)(simde__m128 x, simde__m128 y, simde__m128 z) {
    emu a = {.part = x}, b = {.part = y}, c = {.part = z}; /* SIMDe rounds twice */
    EACH(4) c.f32[i] = fmaf(a.f32[i], b.f32[i], c.f32[i]);
    return c.part;
}
/* The second argument where one is NaN. */
EMU(simde__m512, max_ps)(simde__m512 x, simde__m512 y) {
    emu a = {.f = x}, b = {.f = y};
    EACH(16) b.f32[i] = a.f32[i] > b.f32[i] ? a.f32[i] : b.f32[i];
    return b.f;
}
EMU(simde__m512, min_ps)(simde__m512 x, simde__m512 y) {
    emu a = {.f = x}, b = {.f = y};
    EACH(16) b.f32[i] = a.f32[i] < b.f32[i] ? a.f32[i] : b.f32[i];
    return b.f;
}
EMU(simde__m512, maskz_loadu_ps)(__mmask16 mask, const float *p) {
    emu r;
    EACH(16) r.f32[i] = mask >> i & 1 ? p[i] : 0;
    return r.f;
}
EMU(void, mask_storeu_ps)(float *p, __mmask16 mask, simde__m512 x) {
    emu a = {.f = x};
    EACH(16) if (mask >> i & 1) p[i] = a.f32[i];
}
EMU(simde__m512, permute_ps)(simde__m512 x, int order) {
    emu a = {.f = x}, r;
    EACH(16) r.f32[i] = a.f32[i / 4 * 4 + (order >> 2 * (i % 4) & 3)];
    return r.f;
}
EMU(simde__m512, broadcast_f32x4)(simde__m128 x) {
    emu r;
    EACH(4) memcpy(r.f32 + 4 * i, &x, sizeof x);
    return r.f;
}

EMU(simde__m256, extractf32x8_ps)(simde__m512 x, int which) {
    emu a = {.f = x};
    simde__m256 r;
    memcpy(&r, a.f32 + 8 * which, sizeof r);
    return r;
}

/* ---- Conversions ---- */

EMU(simde__m512, cvtph_ps)(simde__m256i x) {
    emu a = {.half = x}, r;
    EACH(16) r.f32[i] = slm__from_f16(a.u16[i]);
    return r.f;
}
EMU(simde__m256i, cvtps_ph)(simde__m512 x, int rounding) {
    emu a = {.f = x}, r;
    (void)rounding; /* always to nearest */
    EACH(16) r.u16[i] = slm__to_f16(a.f32[i]);
    return r.half;
}
EMU(simde__m512, cvtepi32_ps)(simde__m512i x) {
    emu a = {.i = x}, r;
    EACH(16) r.f32[i] = (float)a.i32[i];
    return r.f;
}
EMU(simde__m512i, cvtps_epi32)(simde__m512 x) {
    emu a = {.f = x}, r;
    EACH(16) r.i32[i] = (int32_t)nearbyintf(a.f32[i]);
    return r.i;
}
EMU(simde__m512i, cvtepu16_epi32)(simde__m256i x) {
    emu a = {.half = x}, r;
    EACH(16) r.i32[i] = a.u16[i];
    return r.i;
}
EMU(simde__m512i, cvtepi8_epi32)(simde__m128i x) {
    emu a = {.quarter = x}, r;
    EACH(16) r.i32[i] = a.i8[i];
    return r.i;
}
EMU(simde__m256i, cvtepi32_epi16)(simde__m512i x) {
    emu a = {.i = x}, r;
    EACH(16) r.i16[i] = (int16_t)a.i32[i];
    return r.half;
}
EMU(simde__m128i, cvtepi32_epi8)(simde__m512i x) {
    emu a = {.i = x}, r;
    EACH(16) r.i8[i] = (int8_t)a.i32[i];
    return r.quarter;
}

/* ---- Integers ---- */

EMU(int32_t, reduce_add_epi32)(simde__m512i x) {
    emu a = {.i = x};
    uint32_t sum = 0;
    EACH(16) sum += (uint32_t)a.i32[i];
    return (int32_t)sum;
}
EMU(int32_t, reduce_max_epi32)(simde__m512i x) {
    emu a = {.i = x};
    int32_t max = a.i32[0];
    EACH(16) max = a.i32[i] > max ? a.i32[i] : max;
    return max;
}
EMU(simde__m512i, madd_epi16)(simde__m512i x, simde__m512i y) {
    emu a = {.i = x}, b = {.i = y}, r;
    EACH(16) {
        int32_t even = a.i16[2 * i] * b.i16[2 * i], odd = a.i16[2 * i + 1] * b.i16[2 * i + 1];
        r.i32[i] = (int32_t)((uint32_t)even + (uint32_t)odd);
    }
    return r.i;
}
EMU(simde__m512i, dpbusd_epi32)(simde__m512i sum, simde__m512i x, simde__m512i y) {
    emu s = {.i = sum}, a = {.i = x}, b = {.i = y};
    EACH(64) s.i32[i / 4] += a.u8[i] * b.i8[i];
    return s.i;
}
EMU(simde__m512i, shuffle_epi32)(simde__m512i x, int order) {
    emu a = {.i = x}, r;
    EACH(16) r.i32[i] = a.i32[i / 4 * 4 + (order >> 2 * (i % 4) & 3)];
    return r.i;
}
EMU(simde__m512i, broadcast_i32x4)(simde__m128i x) {
    emu r;
    EACH(4) memcpy(r.i32 + 4 * i, &x, sizeof x);
    return r.i;
}

#undef _mm_fmadd_ps
#undef _mm512_fmadd_ps
#undef _mm512_max_ps
#undef _mm512_min_ps
#undef _mm512_broadcast_f32x4
#undef _mm512_cvtepi32_ps
#undef _mm512_cvtepu16_epi32
#undef _mm512_cvtepi8_epi32
#undef _mm512_madd_epi16
#undef _mm512_dpbusd_epi32
#undef _mm512_broadcast_i32x4
#undef _cvtsh_ss
#define _cvtsh_ss               slm__from_f16
#undef _cvtss_sh
#define _cvtss_sh(x, rounding)  slm__to_f16(x)
#define _mm_fmadd_ps            emu_fmadd128_ps
#define _mm512_fmadd_ps         emu_fmadd_ps
#define _mm512_max_ps           emu_max_ps
#define _mm512_min_ps           emu_min_ps
#define _mm512_maskz_loadu_ps   emu_maskz_loadu_ps
#define _mm512_mask_storeu_ps   emu_mask_storeu_ps
#define _mm512_extractf32x8_ps  emu_extractf32x8_ps
#define _mm512_permute_ps       emu_permute_ps
#define _mm512_broadcast_f32x4  emu_broadcast_f32x4
#define _mm512_cvtph_ps         emu_cvtph_ps
#define _mm512_cvtps_ph         emu_cvtps_ph
#define _mm512_cvtepi32_ps      emu_cvtepi32_ps
#define _mm512_cvtps_epi32      emu_cvtps_epi32
#define _mm512_cvtepu16_epi32   emu_cvtepu16_epi32
#define _mm512_cvtepi8_epi32    emu_cvtepi8_epi32
#define _mm512_cvtepi32_epi16   emu_cvtepi32_epi16
#define _mm512_cvtepi32_epi8    emu_cvtepi32_epi8
#define _mm512_reduce_add_epi32 emu_reduce_add_epi32
#define _mm512_reduce_max_epi32 emu_reduce_max_epi32
#define _mm512_madd_epi16       emu_madd_epi16
#define _mm512_dpbusd_epi32     emu_dpbusd_epi32
#define _mm512_shuffle_epi32    emu_shuffle_epi32
#define _mm512_broadcast_i32x4  emu_broadcast_i32x4

#endif
