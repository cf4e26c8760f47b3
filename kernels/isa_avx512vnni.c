/* AVX-512 with VNNI: the vocabulary's dot product is one instruction. */
#include "simd_avx512.h"

#define SLM_TABLE  slm__kernels_avx512vnni
#define SLM_LEVEL  "avx512vnni"
#define SLM_SEARCH slm__search_avx512
#include "table_tmpl.h"
