/* NEON with the matrix product of Armv8.6 (SMMLA), too: eight codes of two rows with those of two tokens in one instruction. */
#include "simd_neon.h"

#define SLM_TABLE  slm__kernels_neoni8mm
#define SLM_LEVEL  "neoni8mm"
#define SLM_SEARCH slm__search_neon
#include "table_tmpl.h"
