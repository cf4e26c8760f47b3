/* Rows of floats to blocks of every type: how models are made, not how they run. */
#ifndef SLM_QUANTIZE_H
#define SLM_QUANTIZE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels.h"

/* PLAIN is the published rounding, the bytes that the Python package `gguf` writes: F32, F16, BF16, Q4_0, Q4_1, Q5_0,
 * Q5_1, Q8_0 and MXFP4. Types for which none is published are searched anyway. */
typedef enum slm_rounding { SLM_ROUND_SEARCH, SLM_ROUND_PLAIN } slm_rounding;

/*
 * Write n weights (a whole number of blocks, > 0) as blocks of `type` to `out`, n / block_weights * block_bytes bytes.
 *
 * SEARCH looks for scales and codes with a small sum of importance * (x - dequantized)^2: per block never above that of PLAIN, but for
 * the rounding of scales, a thousandth. `k`: of any level, the bytes are the same. `importance`: n weights, finite and >= 0, of any unit;
 * NULL: all equal. PLAIN does not read it, but for the types it has to search.
 *
 * Blocks never hold a NaN or an infinity, and dequantize to finite weights: scales and floats beyond their format are
 * held at its largest. The same bytes on every machine (docs/numerics.md).
 *
 * Returns false, with anything in `out`, if x has a NaN or an infinity, or importance has one or a negative value.
 * Pointers need the alignment of their types (out: of the block's), and do not overlap. No allocation, no state.
 */
bool slm__quantize_row(const slm_kernels *k, slm_type type, slm_rounding rounding, const float *x,
                       int64_t n, const float *importance, void *out);

#endif
