/* What computing costs a model, to be set beside what the machine can do at best (machine.h). */
#ifndef TOOLS_SPEED_H
#define TOOLS_SPEED_H

#include "load.h"

typedef struct work_amounts {
    uint64_t step_bytes; /* of weights that a step of generation reads                     */
    double layer_ops, output_ops; /* multiplications and additions for a token: without the output
                                      matrix, and in it                                            */
    size_t position_bytes; /* of keys and values                                             */
} work_amounts;

/* adapters: NULL: none. Statuses as slm_context_memory(). */
slm_status find_amounts(const slm_model *model, const slm_context_params *params,
                        const adapter_list *adapters, work_amounts *out, slm_error *err);

/* For a token: operations, of a prompt of n; and bytes, of n tokens that follow n_depth in each of n_batch sequences. */
double prompt_token_ops(const work_amounts *a, int32_t n);
double step_token_bytes(const work_amounts *a, int32_t n, int32_t n_depth, int32_t n_batch);

/* The same tokens each time, and any. */
void choose_tokens(slm_token *ids, int64_t n, int32_t n_vocab);

/* Sorts the values. */
double median_of(double *values, int32_t n);

#endif
