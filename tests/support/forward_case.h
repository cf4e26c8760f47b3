/* Tiny models run: what the tests of the forward pass share. */
#ifndef TESTS_FORWARD_CASE_H
#define TESTS_FORWARD_CASE_H

#include "../../libslm/model.h"
#include "tiny_model.h"

typedef struct fixture {
    gguf_build b;
    slm_model *model;
} fixture;

fixture open_tiny(const tiny_shape *shape);
void close_tiny(fixture f);

/* 300 positions, 3 sequences, 8 rows of logits. cpu: NULL for the highest level. */
slm_context *new_context(const slm_model *m, const char *cpu, int32_t threads, int32_t n_batch,
                         slm_kv_type kv);

void decode(slm_context *ctx, const slm_token *tokens, int32_t n);

/* The vector of n tokens of sequence 0, which is empty before and after. */
void embed(slm_context *ctx, const slm_token *tokens, int32_t n, slm_pooling pooling, float *out);

/* A text without meaning, always the same. */
void fill_tokens(slm_token *tokens, int n, uint32_t n_vocab);

/* FNV-1a, 64 bits, of a row of logits or a vector as little-endian bytes. */
uint64_t hash_row(const float *row, int32_t n);

/* The hash of the last row of logits after n tokens of that text in sequence 0, decoded in parts of so
 * many tokens; the last of `parts`, before a 0, again and again. */
uint64_t hash_of_text(slm_context *ctx, const slm_model *m, int32_t n, const int32_t *parts);

/* Largest difference of logits or of a vector, relative to their spread (root mean square). */
double distance(const float *got, const double *want, int n);

#endif
