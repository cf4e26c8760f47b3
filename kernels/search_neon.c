/* NEON: the search for scales. */
#include "simd_neon.h"

#define SLM_SEARCH slm__search_neon
#include "search_tmpl.h"
