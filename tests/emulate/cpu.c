/* The processor of the emulated tables: what this machine has, and AVX-VNNI and AVX-512 with VNNI on top. */
#define slm__cpu_features real_cpu_features
#include "../../kernels/cpu.c"
#undef slm__cpu_features

uint32_t slm__cpu_features(void);

uint32_t slm__cpu_features(void) {
    return real_cpu_features() | SLM_CPU_AVXVNNI | SLM_CPU_AVX512 | SLM_CPU_AVX512VNNI;
}
