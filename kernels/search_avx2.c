/* AVX2 with FMA and F16C: the search for scales. */
#include "simd_avx2.h"

#define SLM_SEARCH slm__search_avx2
#include "search_tmpl.h"
