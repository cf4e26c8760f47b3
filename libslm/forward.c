/* The transformer: one loop for every architecture.
 *
 *     x = embedding of the token
 *     for each layer:
 *         q, k, v = Wq n, Wk n, Wv n         n = norm(x)
 *         x += Wo attention(rope(q), rope(k), v)
 *         x += Wdown (silu(Wgate n) * (Wup n))   n = norm(x)
 *     logits = Wout norm(x)                  or norm(x) pooled over tokens, for slm_embed()
 *
 * A family's row (arch.h) says where it differs: no norm before, or another one behind a block, normed q and k, another
 * activation, a window. x has a row per token of the part of the batch at work. Every line is a loop over all threads. */
#include "ops.h"

static void attention_block(slm_context *ctx, int32_t l) {
    slm__work *w = &ctx->work;
    const slm__layer *layer = &ctx->model->layers[l];

    slm__norm(ctx, layer->attn_norm);
    slm__product qkv[] = {
        {layer->wq, layer->bq, w->q}, {layer->wk, layer->bk, w->k}, {layer->wv, layer->bv, w->v}};
    slm__matmul(ctx, &w->normed, w->n_tokens, qkv, 3);
    slm__rope_and_store(ctx, l);
    slm__attention(ctx, l);
    slm__quantize(ctx, &w->attended);
    slm__matmul(ctx, &w->attended, w->n_tokens, &(slm__product){layer->wo, layer->bo, w->y}, 1);
    slm__residual(ctx, layer->attn_post_norm);
}

static void feed_forward_block(slm_context *ctx, int32_t l) {
    slm__work *w = &ctx->work;
    const slm__layer *layer = &ctx->model->layers[l];

    slm__norm(ctx, layer->ffn_norm);
    slm__product gate_up[] = {{layer->w_gate, NULL, w->hidden.x}, {layer->w_up, NULL, w->up}};
    slm__matmul(ctx, &w->normed, w->n_tokens, gate_up, 2);
    slm__gated(ctx);
    slm__matmul(ctx, &w->hidden, w->n_tokens, &(slm__product){layer->w_down, NULL, w->y}, 1);
    slm__residual(ctx, layer->ffn_post_norm);
}

bool slm__forward(slm_context *ctx, int32_t first_row) {
    int32_t n_layer = (int32_t)ctx->model->hp.n_layer;

    slm__embed(ctx);
    slm__rope_table(ctx);
    for (int32_t l = 0; l < n_layer; l++) {
        ctx->work.layer = l;
        attention_block(ctx, l);
        feed_forward_block(ctx, l);
        slm__observe_state(ctx, l);
        slm__tick(ctx);
        if (ctx->work.cancelled) return false;
    }
    ctx->work.layer = n_layer;
    if (ctx->work.pooled) {
        slm__norm(ctx, ctx->model->output_norm);
        slm__pool_states(ctx);
    } else if (ctx->work.n_wanted > 0) {
        slm__logits(ctx, first_row);
    }
    return !ctx->work.cancelled;
}
