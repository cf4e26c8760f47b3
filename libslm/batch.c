/* A batch: tokens checked and given their positions, room taken for all, then computed part by part. */
#include <math.h>

#include "context.h"

static int32_t sequence_of(const slm_batch *b, int32_t i) {
    return b->sequences ? b->sequences[i] : 0;
}

static bool wants_logits(const slm_context *ctx, const slm_batch *b, int32_t i) {
    if (ctx->work.pooled) return false;
    return b->want_logits ? b->want_logits[i] != 0 : i == b->n_tokens - 1;
}

static slm_status check_token(const slm_context *ctx, const slm_batch *b, int32_t i,
                              slm_error *err) {
    int32_t seq = sequence_of(b, i), token = b->tokens[i];
    if (token < 0 || (uint32_t)token >= ctx->model->hp.n_vocab) {
        return slm__fail(err, SLM_ERR_RANGE, "token %d of the batch is %d, the vocabulary has %u",
                         i, token, ctx->model->hp.n_vocab);
    }
    if (seq < 0 || seq >= ctx->params.n_seq_max) {
        return slm__fail(err, SLM_ERR_RANGE, "token %d of the batch: sequence %d of %d", i, seq,
                         ctx->params.n_seq_max);
    }
    if (b->positions && b->positions[i] != ctx->work.next[seq]) {
        return slm__fail(err, SLM_ERR_RANGE,
                         "token %d of the batch: position %d, the next of sequence %d is %d", i,
                         b->positions[i], seq, ctx->work.next[seq]);
    }
    return SLM_OK;
}

static slm_status check_batch(slm_context *ctx, const slm_batch *b, slm_error *err) {
    if (!b || b->size != sizeof *b || (b->n_tokens > 0 && !b->tokens)) {
        return slm__fail(err, SLM_ERR_ARGUMENT, "batch or its tokens NULL, or batch->size wrong");
    }
    if (b->n_tokens < 1) return slm__fail(err, SLM_ERR_RANGE, "a batch of %d tokens", b->n_tokens);
    memcpy(ctx->work.next, ctx->kv.lengths, (size_t)ctx->params.n_seq_max * sizeof *ctx->work.next);
    int32_t n_wanted = 0;
    for (int32_t i = 0; i < b->n_tokens; i++) {
        SLM_TRY(check_token(ctx, b, i, err));
        ctx->work.next[sequence_of(b, i)]++;
        n_wanted += wants_logits(ctx, b, i);
    }
    if (n_wanted > ctx->params.n_logits) {
        return slm__fail(err, SLM_ERR_RANGE, "logits wanted for %d tokens, n_logits is %d",
                         n_wanted, ctx->params.n_logits);
    }
    int64_t cost = 0, room = slm__kv_room(&ctx->kv);
    for (int32_t s = 0; s < ctx->params.n_seq_max; s++) {
        int32_t length = ctx->work.next[s];
        cost += slm__kv_cost(&ctx->kv, s, length);
        if (length > ctx->params.n_ctx) cost = INT64_MAX / 2;
    }
    if (cost > room) {
        return slm__fail(err, SLM_ERR_CONTEXT_FULL,
                         "%d tokens more than the %d of %d positions that are free", b->n_tokens,
                         (int32_t)room, ctx->params.n_ctx);
    }
    return SLM_OK;
}

static void trim_all(slm_context *ctx) {
    for (int32_t s = 0; s < ctx->params.n_seq_max; s++) slm__kv_trim(&ctx->kv, s);
}

/* Positions, wanted rows, attention tiles and room of tokens `begin` .. `begin + n - 1`. */
static slm_status prepare_part(slm_context *ctx, const slm_batch *b, int32_t begin, int32_t n,
                               slm_error *err) {
    slm__work *w = &ctx->work;
    int32_t tile_tokens = slm__tile_tokens(&ctx->model->hp);
    w->tokens = b->tokens + begin;
    w->first = begin;
    w->n_tokens = n;
    w->n_wanted = w->n_tiles = 0;
    memcpy(w->next, ctx->kv.lengths, (size_t)ctx->params.n_seq_max * sizeof *w->next);
    for (int32_t i = 0; i < n; i++) {
        int32_t seq = sequence_of(b, begin + i);
        w->sequences[i] = seq;
        w->positions[i] = w->next[seq]++;
        if (wants_logits(ctx, b, begin + i)) w->wanted[w->n_wanted++] = i;
        slm__tile *tile = &w->tiles[w->n_tiles - (w->n_tiles > 0)];
        if (w->n_tiles > 0 && w->sequences[i - 1] == seq && tile->n_tokens < tile_tokens) {
            tile->n_tokens++;
        } else {
            w->tiles[w->n_tiles++] = (slm__tile){i, 1};
        }
    }
    for (int32_t s = 0; s < ctx->params.n_seq_max; s++) {
        if (!slm__kv_slide(&ctx->kv, s, w->next[s]))
            return slm__fail(err, SLM_ERR_CONTEXT_FULL, "no page for the window of sequence %d", s);
    }
    return SLM_OK;
}

/* What slm__tick() measures progress by. */
static void begin_progress(slm_context *ctx, const slm_batch *b) {
    const slm_model *m = ctx->model;
    uint64_t n_wanted = 0;
    for (int32_t i = 0; i < b->n_tokens; i++) n_wanted += wants_logits(ctx, b, i);
    ctx->work.cancelled = false;
    ctx->work.n_done = 0;
    ctx->work.n_all =
        m->layer_weights * (uint64_t)b->n_tokens + n_wanted * m->hp.n_vocab * m->hp.n_embd;
}

/* A pooled row, of zeros, for each sequence that the batch, just checked, adds to. */
static void begin_pooling(slm_context *ctx) {
    slm__work *w = &ctx->work;
    int32_t n = 0;
    for (int32_t s = 0; s < ctx->params.n_seq_max; s++)
        w->rows[s] = w->next[s] > ctx->kv.lengths[s] ? n++ : -1;
    memset(w->pooled, 0, (size_t)n * ctx->model->hp.n_embd * sizeof *w->pooled);
}

static slm_status compute(slm_context *ctx, const slm_batch *b, slm_error *err) {
    slm__work *w = &ctx->work;
    w->n_rows = 0;
    begin_progress(ctx, b);
    if (w->pooled) begin_pooling(ctx);
    for (int32_t begin = 0; begin < b->n_tokens; begin += ctx->params.n_batch) {
        int32_t left = b->n_tokens - begin;
        SLM_TRY(prepare_part(ctx, b, begin, left < ctx->params.n_batch ? left : ctx->params.n_batch,
                             err));
        if (!slm__forward(ctx, w->n_rows)) {
            trim_all(ctx);
            return slm__fail(err, SLM_ERR_CANCELLED, "cancelled after %d of %d tokens", begin,
                             b->n_tokens);
        }
        w->n_rows += w->n_wanted;
        for (int32_t i = 0; i < w->n_tokens; i++) {
            *slm__kv_token(&ctx->kv, w->sequences[i], w->positions[i]) = w->tokens[i];
            slm__kv_set_length(&ctx->kv, w->sequences[i], w->positions[i] + 1);
        }
    }
    return SLM_OK;
}

static slm_status check_logits(const slm_context *ctx, slm_error *err) {
    int64_t n = ctx->model->hp.n_vocab;
    for (int32_t row = 0; row < ctx->work.n_rows; row++) {
        if (!slm__all_finite(ctx->work.logits + row * n, n)) {
            return slm__fail(err, SLM_ERR_NUMERIC, "NaN or infinity in row %d of the logits", row);
        }
    }
    return SLM_OK;
}

slm_status slm__check_files(const slm_context *ctx, slm_status status, slm_error *err) {
    status = slm__guard_check(ctx->model->gguf.guard, status, err);
    for (int32_t i = 0; i < ctx->lora.n && status != SLM_ERR_CHANGED; i++)
        status = slm__guard_check(ctx->lora.adapters[i]->gguf.guard, status, err);
    return status;
}

/* Check the batch, take room for all its tokens, and compute them. */
static slm_status run_batch(slm_context *ctx, const slm_batch *b, slm_error *err) {
    SLM_TRY(slm__check_files(ctx, SLM_OK, err));
    SLM_TRY(check_batch(ctx, b, err));
    for (int32_t s = 0; s < ctx->params.n_seq_max; s++) {
        if (slm__kv_grow(&ctx->kv, s, ctx->work.next[s], err) != SLM_OK) {
            trim_all(ctx);
            return SLM_ERR_CONTEXT_FULL;
        }
    }
    return compute(ctx, b, err);
}

static slm_status decode(slm_context *ctx, const slm_batch *b, slm_error *err) {
    SLM_TRY(run_batch(ctx, b, err));
    slm_status s = slm__check_files(ctx, check_logits(ctx, err), err);
    if (s == SLM_ERR_CHANGED) ctx->work.n_rows = 0; /* of no use to anybody */
    return s;
}

slm_status slm_decode(slm_context *ctx, const slm_batch *batch, slm_error *err) {
    SLM_TRY(slm__enter(ctx, err));
    return slm__leave(ctx, decode(ctx, batch, err));
}

slm_status slm_decode_tokens(slm_context *ctx, const slm_token *tokens, int32_t n_tokens,
                             slm_error *err) {
    slm_batch batch = {.size = sizeof batch, .n_tokens = n_tokens, .tokens = tokens};
    return slm_decode(ctx, &batch, err);
}

/* ---- Embeddings ---- */

/* Divide by the length: a sum becomes what its mean would. Squares of floats are exact in binary64. */
static bool normalize(float *row, uint32_t n) {
    double squares = 0;
    for (uint32_t i = 0; i < n; i++) squares += (double)row[i] * row[i];
    if (!isfinite(squares) || squares == 0) {
        memset(row, 0, n * sizeof *row);
        return false;
    }
    double length = sqrt(squares);
    for (uint32_t i = 0; i < n; i++) row[i] = (float)(row[i] / length);
    return true;
}

static slm_status embed(slm_context *ctx, const slm_batch *b, slm_error *err) {
    slm__work *w = &ctx->work;
    SLM_TRY(run_batch(ctx, b, err));
    int32_t bad = -1;
    uint32_t n = ctx->model->hp.n_embd;
    SLM_TRY(slm__check_files(ctx, SLM_OK, err));
    for (int32_t s = ctx->params.n_seq_max; s-- > 0;)
        if (w->rows[s] >= 0 && !normalize(w->pooled + (int64_t)w->rows[s] * n, n)) bad = s;
    if (bad < 0) return SLM_OK;
    return slm__fail(err, SLM_ERR_NUMERIC,
                     "NaN, infinity or only zeros in the pooled states of sequence %d", bad);
}

slm_status slm_embed(slm_context *ctx, const slm_batch *batch, slm_pooling pooling, float *out,
                     slm_error *err) {
    slm__clear(err);
    if (!out) return slm__fail(err, SLM_ERR_ARGUMENT, "out is NULL");
    SLM_TRY(slm__check_range("pooling", (int64_t)pooling, SLM_POOL_MEAN, SLM_POOL_LAST, err));
    SLM_TRY(slm__enter(ctx, err));
    ctx->work.pooled = out;
    ctx->work.pooling = pooling;
    slm_status status = embed(ctx, batch, err);
    ctx->work.pooled = NULL;
    return slm__leave(ctx, status);
}

const float *slm_logits(const slm_context *ctx, int32_t index) {
    if (!ctx || index < 0 || index >= ctx->work.n_rows) return NULL;
    return ctx->work.logits + (int64_t)index * ctx->model->hp.n_vocab;
}
