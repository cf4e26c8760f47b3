/* The drivers over the vocabulary that was included before, and the table of them: SLM_TABLE, named SLM_LEVEL. */
#include "ops_tmpl.h"
#include "matmul_tmpl.h"
#include "tables.h"

#define SLM_DEQUANTIZE(name, ...) [SLM_##name] = dequantize_##name,
#define SLM_MATMUL(name, ...)     [SLM_##name] = matmul_##name,

const slm_kernels SLM_TABLE = {
    .name = SLM_LEVEL,
    .dequantize = {SLM_BLOCK_TYPES(SLM_DEQUANTIZE)},
    .matmul = {SLM_BLOCK_TYPES(SLM_MATMUL)},
    .quantize = quantize,
    .rms_norm = rms_norm,
    .silu_mul = silu_mul,
    .gelu_mul = gelu_mul,
    .soft_cap = soft_cap,
    .weights = weights,
    .add = add,
    .to_f16 = to_f16,
    .to_q8 = to_q8,
    .search = SLM_SEARCH,
    .attn_page = {[SLM_STORE_F16] = attn_page_f16,
                  [SLM_STORE_F32] = attn_page_f32,
                  [SLM_STORE_Q8_0] = attn_page_q8_0},
    .attn_merge = attn_merge,
};
