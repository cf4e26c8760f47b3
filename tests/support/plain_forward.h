/* The transformer once more, in double precision and as plainly as the papers have it: the oracle of the forward pass. */
#ifndef TESTS_PLAIN_FORWARD_H
#define TESTS_PLAIN_FORWARD_H

#include "../../libslm/model.h"

/* What a family's papers and configuration say beyond what a Llama has. Norms are applied where the model has weights for them. */
typedef struct plain_options {
    bool gelu, scaled_embedding;
    bool plain_local_rope; /* layers with a window have no scaling of RoPE */
    bool long_rope;        /* the long factors */
    uint32_t window, global_every, no_rope_every;
} plain_options;

/* What the output matrix gets: the final states of n tokens, normed, [n, n_embd]. */
void plain_states(const slm_model *m, const plain_options *options, const slm_token *tokens, int n,
                  double *states);

/* Logits of the last of n tokens: [n_vocab]. Weights are what plain C dequantizes them to. options: NULL for Llama. */
void plain_forward(const slm_model *m, const plain_options *options, const slm_token *tokens, int n,
                   double *logits);

#endif
