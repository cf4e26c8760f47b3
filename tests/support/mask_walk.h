/* Random texts of a grammar as a model would write them: by the masks of a vocabulary, token by token. */
#ifndef TESTS_MASK_WALK_H
#define TESTS_MASK_WALK_H

#include "../../include/slm.h"

typedef struct mask_walk mask_walk;

/* The vocabulary is that of a model file. Both stay until mw_free(). */
mask_walk *mw_new(const slm_model *model, const slm_grammar *g);

/* A random text, which *n bytes belong to until the next one. About `wanted` bytes: from there on each token is one that closes something, if
 * there is such. NULL: it has not ended after 1000 bytes more. The same seed gives the same text. */
const char *mw_generate(mask_walk *w, uint64_t seed, size_t wanted, size_t *n);

void mw_free(mask_walk *w);

#endif
