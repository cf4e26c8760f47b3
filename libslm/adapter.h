/* A LoRA file bound to a model: factors found, paired and checked. Immutable. */
#ifndef SLM_ADAPTER_H
#define SLM_ADAPTER_H

#include "model.h"

/* The factors of one matrix W [n_out, n_in]. Shapes as in model.h. */
typedef struct slm__pair {
    const slm__tensor *a; /* [r, n_in]; NULL: the matrix has none  */
    const slm__tensor *b; /* [n_out, r]                            */
    float factor;         /* alpha / r, or 1                       */
} slm__pair;

struct slm_adapter {
    slm_allocator allocator;
    slm__gguf gguf;
    const slm_model *model;
    float alpha;
    int32_t n_matrices, max_rank;
    slm__pair *pairs;   /* [tensors of the model, then its views], by slm__tensor_number() */
    slm__tensor *views; /* [model->n_views] the rows of B that belong to each view */
};

#endif
