/* What this processor offers and the operating system keeps across task switches. */
#ifndef SLM_CPU_H
#define SLM_CPU_H

#include <stdint.h>

enum {
    SLM_CPU_AVX2 = 1,   /* with FMA and F16C       */
    SLM_CPU_AVX512 = 2, /* F, BW, DQ, VL           */
    SLM_CPU_AVX512VNNI = 4,
    SLM_CPU_NEON = 8,
    SLM_CPU_NEONDOT = 16,  /* SDOT of Armv8.2    */
    SLM_CPU_AVXVNNI = 32,  /* of 256 bits, without AVX-512 */
    SLM_CPU_NEONI8MM = 64, /* SMMLA of Armv8.6  */
};

uint32_t slm__cpu_features(void);

#endif
