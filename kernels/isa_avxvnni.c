/* AVX2 with AVX-VNNI: the vocabulary's dot product is one instruction. */
#include "simd_avx2.h"

#define SLM_TABLE  slm__kernels_avxvnni
#define SLM_LEVEL  "avxvnni"
#define SLM_SEARCH slm__search_avx2
#include "table_tmpl.h"
