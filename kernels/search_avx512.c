/* AVX-512: the search for scales. */
#include "simd_avx512.h"

#define SLM_SEARCH slm__search_avx512
#include "search_tmpl.h"
