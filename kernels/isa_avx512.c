/* AVX-512 F, BW, DQ, VL. */
#include "simd_avx512.h"

#define SLM_TABLE  slm__kernels_avx512
#define SLM_LEVEL  "avx512"
#define SLM_SEARCH slm__search_avx512
#include "table_tmpl.h"
