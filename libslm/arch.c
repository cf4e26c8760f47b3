#include "arch.h"

/*
 * Sources: the published configurations and reference code of each family; Gemma 2 arXiv:2408.00118, Gemma 3 arXiv:2503.19786,
 * Phi-3 arXiv:2404.14219, OLMo 2 arXiv:2501.00656, Qwen3 arXiv:2505.09388, SmolLM3's configuration.
 *
 * llama is Llama 2 to 3.2, Mistral, SmolLM2, TinyLlama; olmo2 is OLMo 2 and 3.
 */
#define ARCHITECTURES(X)                                                                          \
    X("llama", .rope = ROPE_ADJACENT, .parts = PRE_NORMS | SPLIT)                                 \
    X("qwen2", .rope = ROPE_HALVES, .parts = PRE_NORMS | SPLIT)                                   \
    X("qwen3", .rope = ROPE_HALVES, .parts = PRE_NORMS | SPLIT | QK_NORM)                         \
    X("phi3", .rope = ROPE_HALVES, .parts = PRE_NORMS | FUSED)                                    \
    X("gemma2", .rope = ROPE_HALVES, .activation = ACT_GELU,                                      \
      .parts = PRE_NORMS | POST_NORMS | SPLIT, .scales_embedding = true, .global_every = 2,       \
      .window = 4096, .attn_cap = 50, .out_cap = 30, .wide_scale_layers = 46)                     \
    X("gemma3", .rope = ROPE_HALVES, .activation = ACT_GELU,                                      \
      .parts = PRE_NORMS | POST_NORMS | QK_NORM | SPLIT, .scales_embedding = true,                \
      .global_every = 6, .local_rope_base = 10000, .local_rope_plain = true,                      \
      .wide_scale_layers = 62)                                                                    \
    X("smollm3", .rope = ROPE_ADJACENT, .parts = PRE_NORMS | SPLIT, .no_rope_every = 4)           \
    X("olmo2", .rope = ROPE_HALVES, .parts = POST_NORMS | QK_NORM_ROW | SPLIT, .global_every = 4, \
      .local_rope_plain = true)

static const slm__arch archs[] = {
#define X(name, ...) {name, __VA_ARGS__},
    ARCHITECTURES(X)
#undef X
};

const slm__arch *slm__arch_find(slm__str name) {
    for (size_t i = 0; i < SLM_COUNT(archs); i++) {
        if (slm__str_eq(name, archs[i].name)) return &archs[i];
    }
    return NULL;
}

const char *slm__arch_names(void) {
#define X(name, ...) ", " name
    return &ARCHITECTURES(X)[2];
#undef X
}
