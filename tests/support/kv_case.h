/* Contexts with several sequences: what the tests of the KV cache share. */
#ifndef TESTS_KV_CASE_H
#define TESTS_KV_CASE_H

#include "../../libslm/context.h"
#include "forward_case.h"

/* Two threads, 64 rows of logits. */
slm_context *create_for_sequences(const slm_model *m, int32_t n_ctx, int32_t n_seq, int32_t n_batch,
                                  slm_kv_type kv);

/* Decode up to 512 tokens at the end of a sequence; the logits of the last are row 0. */
void add_to(slm_context *ctx, int32_t seq, const slm_token *tokens, int32_t n);

/* Every page is free or counted by those that hold it, and positions are counted once. */
void check_pages(const slm_context *ctx);

#endif
