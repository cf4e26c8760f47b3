/* Random texts that are hard on tokenizers, the same from the same seed everywhere. */
#ifndef TESTS_TEXTS_H
#define TESTS_TEXTS_H

#include <stdbool.h>

#include "../../include/slm.h"

enum { TX_MAX_BYTES = 4096 };

typedef struct texts {
    uint64_t state;
    const slm_model *model;
    slm_token *special; /* control, user-defined and unknown tokens */
    int32_t n_special, n_tokens;
    uint8_t text[TX_MAX_BYTES];
    size_t n; /* bytes of `text` */
} texts;

/* `model` gives its tokens and must outlive it. False: no memory. */
bool tx_make(texts *t, const slm_model *model, uint64_t seed);
void tx_free(texts *t);

/*
 * The next text: words of several languages and of code, numbers, spaces, signs, emoji, combining marks, contractions, tokens, special
 * tokens and pieces of them, bytes; half of them mutated, about a fifth no valid UTF-8. No code points beyond 10FFFF and no
 * overlong spaces, which llama.cpp does not survive.
 */
void tx_next(texts *t);

/* Ids in `out`, which has room for 3 * TX_MAX_BYTES + 16; how many, or -1. */
typedef int32_t (*tx_tokenize)(void *user, const uint8_t *text, size_t n, bool special,
                               slm_token *out);

/* A line of `n` hashes (FNV-1a, 32 bits) of the ids of the first texts; false if tokenizing failed. */
bool tx_print_hashes(texts *t, int n, bool special, tx_tokenize tokenize, void *user);

#endif
