/* Small random LoRA adapters for tests, and models into which they are merged. */
#ifndef TESTS_ADAPTER_CASE_H
#define TESTS_ADAPTER_CASE_H

#include "../../libslm/model.h"
#include "tiny_model.h"

typedef struct adapter_shape {
    int rank;
    float alpha;
    slm_type type_a, type_b; /* of the factors */
    const char *only;        /* factors for matrices whose "/NAME" has this in it; NULL: for all */
    uint64_t seed;
} adapter_shape;

/* The keys that every adapter has. */
void adapter_keys(gguf_build *b, const char *arch, float alpha);

/* Factors whose product, at alpha = rank, is about as large as the matrices themselves, for those of the model and its output
 * matrix. Returns how many matrices have some. */
int tiny_adapter(gguf_build *b, const slm_model *m, const adapter_shape *shape);

/* The model with all matrices in F32 and w + scale * (alpha / r) * B A in place of w, for each of n adapters, computed in double
 * precision; `base` is what it was built with. An output matrix of its own where an adapter has factors for it. */
void merged_model(gguf_build *out, const gguf_build *base, const slm_model *m,
                  const gguf_build *adapters, const float *scales, int n);

#endif
