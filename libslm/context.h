/* A context: the KV cache, the threads and the buffers of one caller. */
#ifndef SLM_CONTEXT_H
#define SLM_CONTEXT_H

#include <stdatomic.h>

#include "adapter.h"
#include "kv.h"
#include "pool.h"

/* Consecutive tokens of one sequence that attend together. */
typedef struct slm__tile {
    int32_t token, n_tokens; /* within the part at work */
} slm__tile;

/* Buffers for the T = n_batch tokens of a part of a batch. All lie in one block, see context.c. */
typedef struct slm__work {
    const slm_token *tokens; /* [n_tokens] of the part at work, in the caller's batch */
    int32_t first;           /* index of tokens[0] there */
    int32_t n_tokens;
    int32_t layer;      /* at work; n_layer: behind the last one */
    int32_t *positions; /* [T] */
    int32_t *sequences; /* [T] */
    int32_t *wanted;    /* [T] tokens whose logits are wanted, n_wanted of them */
    int32_t n_wanted;
    slm__tile *tiles; /* [T] */
    int32_t n_tiles;
    float *rope
        [N_ROPE_KINDS]; /* [T, n_rot] cosine and sine of each pair, for layers of ROPE_GLOBAL and ROPE_LOCAL */
    float *x;          /* [T, n_embd] the residual stream          */
    slm_acts normed;   /* [T, n_embd] input of Q, K, V and of gate, up */
    slm_acts attended; /* [T, n_head * head_dim] input of wo */
    slm_acts hidden;   /* [T, n_ff] input of down            */
    slm_acts final;    /* [max_wanted, n_embd] input of the output matrix, wide if that is quantized */
    float *q;          /* [T, n_head * head_dim]             */
    float *k, *v;      /* [T, n_head_kv * head_dim]          */
    float *up;         /* [T, n_ff]                          */
    float *y;          /* [T, n_embd] what is to be added to x */
    float *logits;     /* [n_logits, n_vocab]               */
    int32_t n_rows;    /* of logits that hold                */
    float *split;      /* pages side by side, see attn.c     */
    uint8_t *scratch;  /* [n_threads, scratch_bytes]         */
    uint64_t scratch_bytes;
    int32_t *next; /* [n_seq] positions while a batch is checked */
    /* Of slm_embed(), else NULL: the caller's rows, [sequences in the batch, n_embd] */
    float *pooled;
    int32_t *rows; /* [n_seq] the row of each sequence there, or -1 */
    slm_pooling pooling;
    /* written between loops, so not beside what all threads read: */
    _Alignas(64) bool cancelled; /* by the caller: what is left of the pass does nothing */
    uint64_t n_done, n_all;      /* multiplications by weights in this call: so far, in all */
} slm__work;

/* Products with the same input, at most. */
enum { SLM_MAX_PRODUCTS = 4 };

/* What an adapter adds to one of these products: B h, h = scale * A x. */
typedef struct slm__low {
    const slm__pair *pair;
    slm_acts h; /* [n_tokens, rank] */
    float scale;
    int32_t product;  /* which of them                                        */
    int32_t n_chunks; /* to compute h; 0: an earlier one has the same         */
} slm__low;

/* The adapters that the context uses, and buffers for them in one block. All zero: none. */
typedef struct slm__lora {
    int32_t n;
    const slm_adapter **adapters; /* [n]                                      */
    float *scales;                /* [n]                                      */
    slm_acts *room; /* [SLM_MAX_PRODUCTS, n] of n_batch tokens and the adapter's max_rank each */
    slm__low *low;  /* [SLM_MAX_PRODUCTS * n] of the products at work */
    int32_t n_low;
    uint8_t *scratch; /* [n_threads, scratch_bytes] for products with B       */
    uint64_t scratch_bytes;
    float *sums;    /* [n_threads, n_sums] rows of such a product             */
    int32_t n_sums; /* at least SLM_STRIP * n_batch                           */
    void *block;
} slm__lora;

struct slm_context {
    slm_allocator allocator;
    const slm_model *model;
    slm_context_params params; /* with defaults filled in */
    const slm_kernels *kernels;
    bool near; /* slm_matmul.near */
    slm__rope_kind global_rope; /* ROPE_LONG in a long context */
    int64_t piece_cost;         /* multiply-adds of a piece of work on one thread */
    slm__pool *pool;
    slm__kv kv;
    slm__work work;
    void *block; /* of all buffers in work */
    slm__lora lora;
    atomic_bool busy; /* a call is inside */
};

/* A context serves one caller at a time: ARGUMENT or BUSY, or it is taken until slm__leave(), which passes the status on. */
slm_status slm__enter(slm_context *ctx, slm_error *err);
slm_status slm__leave(slm_context *ctx, slm_status status);

/* CHANGED if a file of the model or of the adapters was cut short while it was open: what is there reads as zeros. Else `status`. */
slm_status slm__check_files(const slm_context *ctx, slm_status status, slm_error *err);

/* RANGE unless there is such a sequence. */
slm_status slm__check_sequence(const slm_context *ctx, int32_t sequence, slm_error *err);

/* RANGE unless the sequence, which there is, holds nothing. */
slm_status slm__check_empty(const slm_context *ctx, int32_t sequence, slm_error *err);

/* The scratch memory of a thread: work.scratch_bytes. */
static inline void *slm__scratch(const slm_context *ctx, int32_t thread) {
    return ctx->work.scratch + (uint64_t)thread * ctx->work.scratch_bytes;
}

/* Queries of one KV head that a tile of attention may have. */
int32_t slm__tile_tokens(const slm__hparams *hp);

/* Tell the caller how far the call is, and ask whether to go on: between pieces of work that take less than 250 ms. */
void slm__tick(slm_context *ctx);

/* Chunks of `cost` multiply-adds that make a piece on all threads. */
int32_t slm__piece_chunks(const slm_context *ctx, int64_t cost);

/* One part of a batch through the network: fills logits rows from `first_row` on, or adds to the pooled rows. false: cancelled. */
bool slm__forward(slm_context *ctx, int32_t first_row);

/* The state behind a layer for the caller's `observe`, if there is one. */
void slm__observe_state(slm_context *ctx, int32_t layer);

/* The attention of one layer: work->q over the cache -> work->attended.x. */
void slm__attention(slm_context *ctx, int32_t layer);
uint64_t slm__attention_scratch(const slm__hparams *hp);
uint64_t slm__split_floats(const slm__hparams *hp, int32_t n_threads);

#endif
