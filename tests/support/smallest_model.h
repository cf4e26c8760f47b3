/* The smallest llama models, made in memory: eight tokens, weights of a fixed pseudo-random pattern. For tests that
 * want a model that opens and decodes, with one thing changed. */
#ifndef TESTS_SMALLEST_MODEL_H
#define TESTS_SMALLEST_MODEL_H

#include "gguf_build.h"

enum { SMALLEST_VOCAB = 8 };

/* Zero fields are the defaults. */
typedef struct smallest_params {
    uint32_t n_embd;        /* 4                                               */
    uint32_t n_head;        /* 2                                               */
    uint32_t n_head_kv;     /* 1                                               */
    uint32_t n_ff;          /* 6                                               */
    uint32_t n_layer;       /* 1                                               */
    uint32_t type;          /* of matrices, as numbered in the file: 0 is F32  */
    int all_tensors;        /* optional ones too: output, biases, rope_freqs   */
    const char *without[8]; /* keys and tensors to leave out, for the test to add its own */
} smallest_params;

/* Keys and tensors into `b`, to be finished by the caller. */
void smallest_model(gguf_build *b, const smallest_params *p);

/* A tensor as smallest_model() makes them: `rows` 0 for a vector. */
void smallest_tensor(gguf_build *b, const char *name, uint32_t type, uint32_t columns,
                     uint32_t rows);

#endif
