/* NEON of Armv8.0, which every ARM64 processor has. */
#include "simd_neon.h"

#define SLM_TABLE  slm__kernels_neon
#define SLM_LEVEL  "neon"
#define SLM_SEARCH slm__search_neon
#include "table_tmpl.h"
