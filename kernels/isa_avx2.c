/* AVX2 with FMA and F16C. */
#include "simd_avx2.h"

#define SLM_TABLE  slm__kernels_avx2
#define SLM_LEVEL  "avx2"
#define SLM_SEARCH slm__search_avx2
#include "table_tmpl.h"
