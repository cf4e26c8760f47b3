/* A quantizer: what each tensor of a model becomes. */
#ifndef SLM_QUANTIZER_H
#define SLM_QUANTIZER_H

#include "gguf_write.h"
#include "mixture.h"
#include "model.h"

struct slm_quantizer {
    slm_allocator allocator;
    const slm_model *model;
    const slm__mixture *mixture;
    slm_threads *threads; /* or NULL: n_threads of its own, while it works */
    int32_t n_threads;
    bool requantize;
    slm_progress_fn progress;
    void *progress_user;
    slm_importance_fn importance;
    void *importance_user;
    slm_type *wanted, *types; /* [n_tensors]; types: wanted, or what fits */
    slm__key *keys;           /* [n_keys] what the new file has beyond or instead of the model's */
    uint8_t *key_bytes;       /* their names and values */
    int32_t n_keys;
    slm__gguf_change change;
};

/* The type by that name, and what tensor `index` would become for it. RANGE, ARGUMENT, UNSUPPORTED, CHANGED. */
slm_status slm__quantizer_type(const slm_quantizer *q, int32_t index, const char *name,
                               slm_type *wanted, slm_type *type, slm_error *err);

#endif
