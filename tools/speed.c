#include "speed.h"

#include <stdlib.h>
#include <string.h>

/* What a step reads, and what a token costs. The embedding is a table of which a token reads one row, unless it is the
 * output matrix as well. */
static void add_up_weights(const slm_model *model, work_amounts *a) {
    uint64_t embd_bytes = 0;
    double embd_ops = 0;
    for (int32_t i = 0; i < slm_model_n_tensors(model); i++) {
        slm_tensor_info t = {.size = sizeof t};
        slm_model_get_tensor(model, i, &t); /* cannot fail: i is below the number of tensors */
        double ops = 2;
        for (int d = 0; d < 4; d++) ops *= (double)t.dims[d];
        if (strcmp(t.name, "token_embd.weight") == 0) {
            embd_bytes = t.n_bytes;
            embd_ops = ops;
            continue;
        }
        a->step_bytes += t.n_bytes;
        if (strcmp(t.name, "output.weight") == 0)
            a->output_ops = ops;
        else if (t.n_dims > 1) /* not a bias or the weights of a norm */
            a->layer_ops += ops;
    }
    if (a->output_ops == 0) {
        a->step_bytes += embd_bytes;
        a->output_ops = embd_ops;
    }
}

slm_status find_amounts(const slm_model *model, const slm_context_params *params,
                        const adapter_list *adapters, work_amounts *out, slm_error *err) {
    *out = (work_amounts){0};
    slm_status status = position_bytes(model, params, &out->position_bytes, err);
    if (status != SLM_OK) return status;
    out->position_bytes -= sizeof(slm_token); /* which is kept, but not read for a token */
    add_up_weights(model, out);
    for (int32_t i = 0; adapters && i < adapters->n; i++) {
        slm_adapter_info a = {.size = sizeof a};
        slm_adapter_get_info(adapters->v[i], &a); /* cannot fail: pointers and size are good */
        out->step_bytes += a.file_bytes;
        out->layer_ops += 2 * (double)a.n_params;
    }
    return SLM_OK;
}

/* The output matrix serves the last token only. */
double prompt_token_ops(const work_amounts *a, int32_t n) {
    return a->layer_ops + a->output_ops / n;
}

/* Its sequence in the cache, half of its growth, and its share of the weights. */
double step_token_bytes(const work_amounts *a, int32_t n, int32_t n_depth, int32_t n_batch) {
    return (double)a->position_bytes * (n_depth + (n + 1) / 2.0) + (double)a->step_bytes / n_batch;
}

/* The linear congruential generator of Knuth's MMIX, its upper bits. */
void choose_tokens(slm_token *ids, int64_t n, int32_t n_vocab) {
    uint64_t x = 1;
    for (int64_t i = 0; i < n; i++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        ids[i] = (slm_token)((x >> 33) % (uint64_t)n_vocab);
    }
}

static int compare_doubles(const void *x, const void *y) {
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

double median_of(double *values, int32_t n) {
    qsort(values, (size_t)n, sizeof *values, compare_doubles);
    return (values[(n - 1) / 2] + values[n / 2]) / 2;
}
