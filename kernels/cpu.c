/* Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapters 14 and 15 (detection of AVX,
 * FMA, AVX2, AVX-512), and volume 2 for CPUID leaf 7; AMD64 Architecture Programmer's Manual, volume 3,
 * appendix E (families); the Linux kernel's "ARM64 ELF hwcaps". NEON is part of every ARM64. */
#include "cpu.h"

#include "kernels.h"

#if defined(__x86_64__)

#include <cpuid.h>

static uint64_t xgetbv0(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low | (uint64_t)high << 32;
}

/* Older compilers' <cpuid.h> have no name for it. */
enum { LEAF_7_1_EAX_AVXVNNI = 1 << 4 };

static int has(uint32_t bits, uint32_t wanted) { return (bits & wanted) == wanted; }

/* AMD's family 1Ah (Zen 5): in EAX of leaf 1 the base family, 15, and what is added to that. */
bool slm__fetches_near(void) {
    uint32_t a, b, c, d;
    __cpuid(0, a, b, c, d);
    if (a < 1 || b != signature_AMD_ebx) return false;
    __cpuid(1, a, b, c, d);
    return (a >> 8 & 15) == 15 && (a >> 20 & 255) == 0x1a - 15;
}

uint32_t slm__cpu_features(void) {
    uint32_t a, a71 = 0, b, c, d, b7, c7, unused, features = 0;
    __cpuid(0, a, b, c, d);
    if (a < 7) return 0;
    __cpuid(1, a, b, c, d);
    if (!has(c, bit_OSXSAVE)) return 0;
    __cpuid_count(7, 0, a, b7, c7, d);
    if (a >= 1) __cpuid_count(7, 1, a71, b, unused, d);
    uint64_t state = xgetbv0();
    int ymm = (state & 0x06) == 0x06, zmm = (state & 0xe6) == 0xe6;
    if (ymm && has(c, bit_AVX | bit_FMA | bit_F16C) && has(b7, bit_AVX2)) features |= SLM_CPU_AVX2;
    if (ymm && has(a71, LEAF_7_1_EAX_AVXVNNI)) features |= SLM_CPU_AVXVNNI;
    if (zmm && has(b7, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL)) {
        features |= SLM_CPU_AVX512;
        if (has(c7, bit_AVX512VNNI)) features |= SLM_CPU_AVX512VNNI;
    }
    return features;
}

#elif defined(__aarch64__)

#if defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#ifndef HWCAP2_I8MM /* older headers have no name for it */
#define HWCAP2_I8MM (1 << 13)
#endif
static int has_dot(void) { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }
static int has_i8mm(void) { return (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0; }
#else /* nobody to ask: what the compiler was told */
#if defined(__ARM_FEATURE_DOTPROD)
static int has_dot(void) { return 1; }
#else
static int has_dot(void) { return 0; }
#endif
#if defined(__ARM_FEATURE_MATMUL_INT8)
static int has_i8mm(void) { return 1; }
#else
static int has_i8mm(void) { return 0; }
#endif
#endif

uint32_t slm__cpu_features(void) {
    return SLM_CPU_NEON | (has_dot() ? SLM_CPU_NEONDOT : 0) | (has_i8mm() ? SLM_CPU_NEONI8MM : 0);
}

#else

uint32_t slm__cpu_features(void) { return 0; }

#endif

#if !defined(__x86_64__)
bool slm__fetches_near(void) { return false; }
#endif
