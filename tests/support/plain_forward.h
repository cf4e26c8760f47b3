/* The transformer once more, in double precision and as plainly as the papers have it: the oracle of the forward pass. */
#ifndef TESTS_PLAIN_FORWARD_H
#define TESTS_PLAIN_FORWARD_H

#include "../../libslm/model.h"

/* Logits of the last of n tokens: [n_vocab]. Weights are what plain C dequantizes them to. */
void plain_forward(const slm_model *m, const slm_token *tokens, int n, double *logits);

#endif
