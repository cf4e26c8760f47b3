/* The operations that forward.c is written in. Each runs on all threads of the context and returns when it is done. */
#ifndef SLM_OPS_H
#define SLM_OPS_H

#include "context.h"

/* x[t] = row tokens[t] of the embedding, times hp.embd_scale */
void slm__embed(slm_context *ctx);

/* work->rope: cosine and sine of position * frequency for each token and pair, once for all layers */
void slm__rope_table(slm_context *ctx);

/* normed = RMS norm of x, or x itself (weight NULL), ready for a matrix product */
void slm__norm(slm_context *ctx, const slm__tensor *weight);

/* A matrix product: out[t] = w * x[t] + bias */
typedef struct slm__product {
    const slm__tensor *w, *bias; /* bias may be NULL */
    float *out;                  /* [n_tokens, rows of w] */
} slm__product;

/* Up to SLM_MAX_PRODUCTS products with the same input in one go, with what adapters add to them. */
void slm__matmul(slm_context *ctx, const slm_acts *x, int32_t n_tokens,
                 const slm__product *products, int32_t n);

/* The input x of these products, which begins at row `first` of the caller's, for the caller's `observe`, if there is one. */
void slm__observe_input(const slm_context *ctx, const slm_acts *x, int32_t first, int32_t n_rows,
                        const slm__product *products, int32_t n);

/* q and k of a layer normed, where it says so, and turned by RoPE; then k and v into the cache */
void slm__rope_and_store(slm_context *ctx, int32_t layer);

/* Make floats in a->x ready for a matrix product */
void slm__quantize(slm_context *ctx, slm_acts *a);

/* hidden = activation(hidden) * up, ready for a matrix product */
void slm__gated(slm_context *ctx);

/* Rows of logits for the wanted tokens, from `first_row` on */
void slm__logits(slm_context *ctx, int32_t first_row);

/* pooled: to the row of its sequence each token's `normed` is added, or takes its place. */
void slm__pool_states(slm_context *ctx);

/* x += y, or the RMS norm of y (weight not NULL) */
void slm__residual(slm_context *ctx, const slm__tensor *weight);

#endif
