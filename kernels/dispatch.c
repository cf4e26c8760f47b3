#include <string.h>

#include "tables.h"

static const struct {
    const slm_kernels *table;
    uint32_t needs;
} levels[] = {{&slm__kernels_c, 0},
#define X(name, needs) {&slm__kernels_##name, needs},
              SLM_ISA_TABLES(X)
#undef X
};

static const slm_kernels *level_of(uint32_t features, int32_t index) {
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        if ((levels[i].needs & features) != levels[i].needs) continue;
        if (index-- == 0) return levels[i].table;
    }
    return NULL;
}

/* Asking a processor takes a virtual machine many microseconds. The first level needs nothing. */
const slm_kernels *slm__kernels_level(int32_t index) {
    return level_of(index == 0 ? 0 : slm__cpu_features(), index);
}

const slm_kernels *slm__kernels_named(const char *name) {
    uint32_t features = slm__cpu_features();
    const slm_kernels *best = NULL, *k;
    for (int32_t i = 0; (k = level_of(features, i)) != NULL; i++) {
        if (name && strcmp(name, k->name) == 0) return k;
        best = k;
    }
    return name ? NULL : best;
}
