/* Plain C, the specification: the search for scales. */
#include "simd_c.h"

#define SLM_SEARCH slm__search_c
#define SLM_ONE_SEARCH
#include "search_tmpl.h"
