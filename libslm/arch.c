#include "arch.h"

/* X(name, pairing of RoPE) */
#define ARCHITECTURES(X)      \
    X("llama", ROPE_ADJACENT) \
    X("qwen2", ROPE_HALVES)

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
