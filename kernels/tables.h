/* The tables that dispatch.c chooses from: one per isa_*.c that is part of the build. */
#ifndef SLM_TABLES_H
#define SLM_TABLES_H

#include "cpu.h"
#include "kernels.h"

/*
 * X(table, what the machine must have), in rising order. Each isa_*.c fills all slots.
 */
#if defined(__x86_64__)
#define SLM_ISA_TABLES(X)                      \
    X(avx2, SLM_CPU_AVX2)                      \
    X(avxvnni, SLM_CPU_AVX2 | SLM_CPU_AVXVNNI) \
    X(avx512, SLM_CPU_AVX2 | SLM_CPU_AVX512)   \
    X(avx512vnni, SLM_CPU_AVX2 | SLM_CPU_AVX512 | SLM_CPU_AVX512VNNI)
#elif defined(__aarch64__)
#define SLM_ISA_TABLES(X)                      \
    X(neon, SLM_CPU_NEON)                      \
    X(neondot, SLM_CPU_NEON | SLM_CPU_NEONDOT) \
    X(neoni8mm, SLM_CPU_NEON | SLM_CPU_NEONDOT | SLM_CPU_NEONI8MM)
#else
#define SLM_ISA_TABLES(X)
#endif

/* Slots that are files of their own: one for each vocabulary. */
typedef void slm_search(slm_type type, const float *x, const float *w, slm_parts *p);
slm_search slm__search_c, slm__search_avx2, slm__search_avx512, slm__search_neon;

extern const slm_kernels slm__kernels_c;
#define SLM_X(name, needs) extern const slm_kernels slm__kernels_##name;
SLM_ISA_TABLES(SLM_X)
#undef SLM_X

#endif
