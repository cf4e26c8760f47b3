/* What a caller who measures gets to see of a pass: slm_context_params.observe. */
#include "ops.h"

static void observe(const slm_context *ctx, const slm_observation *o) {
    ctx->params.observe(ctx->params.observe_user, o);
}

/* Views have the name of the tensor that they are part of. */
static int32_t tensor_index(const slm_model *m, const slm__tensor *w) {
    int32_t i = slm__tensor_number(m, w), n = m->gguf.n_tensors;
    return i < n ? i : slm__tensor_number(m, slm__whole_of(m, i - n));
}

void slm__observe_input(const slm_context *ctx, const slm_acts *x, int32_t first, int32_t n_rows,
                        const slm__product *products, int32_t n) {
    const slm_model *m = ctx->model;
    int32_t seen = -1;
    if (!ctx->params.observe || ctx->work.cancelled) return;
    for (int32_t i = 0; i < n; i++) {
        int32_t index = tensor_index(m, products[i].w);
        if (index == seen) continue;
        seen = index;
        observe(ctx, &(slm_observation){m->gguf.tensor_names[index], ctx->work.layer, first, n_rows,
                                        x->n, x->x, i > 0});
    }
}

void slm__observe_state(slm_context *ctx, int32_t layer) {
    const slm__work *w = &ctx->work;
    if (!ctx->params.observe || w->cancelled) return;
    observe(ctx, &(slm_observation){NULL, layer, w->first, w->n_tokens,
                                    (int32_t)ctx->model->hp.n_embd, w->x, false});
}
