/* NEON with the dot product of Armv8.2 (SDOT): a group of four codes of four blocks in one instruction. */
#include "simd_neon.h"

#define SLM_TABLE  slm__kernels_neondot
#define SLM_LEVEL  "neondot"
#define SLM_SEARCH slm__search_neon
#include "table_tmpl.h"
