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

const slm_kernels *slm__kernels_level(int32_t index) {
    uint32_t features = slm__cpu_features();
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        if ((levels[i].needs & features) != levels[i].needs) continue;
        if (index-- == 0) return levels[i].table;
    }
    return NULL;
}

const slm_kernels *slm__kernels_named(const char *name) {
    const slm_kernels *best = NULL, *k;
    for (int32_t i = 0; (k = slm__kernels_level(i)) != NULL; i++) {
        if (name && strcmp(name, k->name) == 0) return k;
        best = k;
    }
    return name ? NULL : best;
}
