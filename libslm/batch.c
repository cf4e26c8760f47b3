/* A batch: tokens checked and given their positions, room taken for all, then computed part by part. */
#include "context.h"

/* A context serves one caller at a time; the second one is told so. */
static slm_status enter(slm_context *ctx, slm_error *err) {
    slm__clear(err);
    if (!ctx) return slm__fail(err, SLM_ERR_ARGUMENT, "context is NULL");
    if (atomic_exchange(&ctx->busy, true))
        return slm__fail(err, SLM_ERR_BUSY, "the context is at work in another thread");
    return SLM_OK;
}

static slm_status leave(slm_context *ctx, slm_status status) {
    atomic_store(&ctx->busy, false);
    return status;
}

static int32_t sequence_of(const slm_batch *b, int32_t i) {
    return b->sequences ? b->sequences[i] : 0;
}

static bool wants_logits(const slm_batch *b, int32_t i) {
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
        n_wanted += wants_logits(b, i);
    }
    if (n_wanted > ctx->params.n_logits) {
        return slm__fail(err, SLM_ERR_RANGE, "logits wanted for %d tokens, n_logits is %d",
                         n_wanted, ctx->params.n_logits);
    }
    for (int32_t s = 0; s < ctx->params.n_seq_max; s++) /* others may have left a page */
        slm__kv_set_length(&ctx->kv, s, ctx->kv.lengths[s]);
    int64_t cost = 0, room = ctx->params.n_ctx - ctx->kv.used;
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
static void prepare_part(slm_context *ctx, const slm_batch *b, int32_t begin, int32_t n) {
    slm__work *w = &ctx->work;
    int32_t tile_tokens = slm__tile_tokens(&ctx->model->hp);
    w->tokens = b->tokens + begin;
    w->n_tokens = n;
    w->n_wanted = w->n_tiles = 0;
    memcpy(w->next, ctx->kv.lengths, (size_t)ctx->params.n_seq_max * sizeof *w->next);
    for (int32_t i = 0; i < n; i++) {
        int32_t seq = sequence_of(b, begin + i);
        w->sequences[i] = seq;
        w->positions[i] = w->next[seq]++;
        if (wants_logits(b, begin + i)) w->wanted[w->n_wanted++] = i;
        slm__tile *tile = &w->tiles[w->n_tiles - (w->n_tiles > 0)];
        if (w->n_tiles > 0 && w->sequences[i - 1] == seq && tile->n_tokens < tile_tokens) {
            tile->n_tokens++;
        } else {
            w->tiles[w->n_tiles++] = (slm__tile){i, 1};
        }
    }
    for (int32_t s = 0; s < ctx->params.n_seq_max; s++) slm__kv_slide(&ctx->kv, s, w->next[s]);
}

/* What slm__tick() measures progress by. */
static void begin_progress(slm_context *ctx, const slm_batch *b) {
    const slm_model *m = ctx->model;
    uint64_t n_wanted = 0;
    for (int32_t i = 0; i < b->n_tokens; i++) n_wanted += wants_logits(b, i);
    ctx->work.cancelled = false;
    ctx->work.n_done = 0;
    ctx->work.n_all = m->layer_weights * (uint64_t)b->n_tokens +
                      slm__logits_parts(ctx) * n_wanted * m->hp.n_vocab * m->hp.n_embd;
}

static slm_status compute(slm_context *ctx, const slm_batch *b, slm_error *err) {
    slm__work *w = &ctx->work;
    w->n_rows = 0;
    begin_progress(ctx, b);
    for (int32_t begin = 0; begin < b->n_tokens; begin += ctx->params.n_batch) {
        int32_t left = b->n_tokens - begin;
        prepare_part(ctx, b, begin, left < ctx->params.n_batch ? left : ctx->params.n_batch);
        if (!slm__forward(ctx, w->n_rows)) {
            trim_all(ctx);
            return slm__fail(err, SLM_ERR_CANCELLED, "cancelled after %d of %d tokens", begin,
                             b->n_tokens);
        }
        w->n_rows += w->n_wanted;
        for (int32_t i = 0; i < w->n_tokens; i++) {
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

static slm_status decode(slm_context *ctx, const slm_batch *b, slm_error *err) {
    slm__guard *guard = ctx->model->gguf.guard;
    SLM_TRY(slm__guard_check(guard, SLM_OK, err));
    SLM_TRY(check_batch(ctx, b, err));
    for (int32_t s = 0; s < ctx->params.n_seq_max; s++) {
        if (slm__kv_grow(&ctx->kv, s, ctx->work.next[s], err) != SLM_OK) {
            trim_all(ctx);
            return SLM_ERR_CONTEXT_FULL;
        }
    }
    SLM_TRY(compute(ctx, b, err));
    slm_status s = slm__guard_check(guard, check_logits(ctx, err), err);
    if (s == SLM_ERR_CHANGED) ctx->work.n_rows = 0; /* of no use to anybody */
    return s;
}

slm_status slm_decode(slm_context *ctx, const slm_batch *batch, slm_error *err) {
    SLM_TRY(enter(ctx, err));
    return leave(ctx, decode(ctx, batch, err));
}

slm_status slm_decode_tokens(slm_context *ctx, const slm_token *tokens, int32_t n_tokens,
                             slm_error *err) {
    slm_batch batch = {.size = sizeof batch, .n_tokens = n_tokens, .tokens = tokens};
    return slm_decode(ctx, &batch, err);
}

const float *slm_logits(const slm_context *ctx, int32_t index) {
    if (!ctx || index < 0 || index >= ctx->work.n_rows) return NULL;
    return ctx->work.logits + (int64_t)index * ctx->model->hp.n_vocab;
}

int32_t slm_seq_length(const slm_context *ctx, int32_t sequence) {
    if (!ctx || sequence < 0 || sequence >= ctx->params.n_seq_max) return -1;
    return ctx->kv.lengths[sequence];
}

static slm_status truncate_sequence(slm_context *ctx, int32_t sequence, int32_t length,
                                    slm_error *err) {
    if (sequence < 0 || sequence >= ctx->params.n_seq_max) {
        return slm__fail(err, SLM_ERR_RANGE, "sequence %d of %d", sequence, ctx->params.n_seq_max);
    }
    if (length < 0 || length > ctx->kv.lengths[sequence]) {
        return slm__fail(err, SLM_ERR_RANGE, "sequence %d holds %d tokens, not %d", sequence,
                         ctx->kv.lengths[sequence], length);
    }
    int32_t shortest = slm__kv_shortest(&ctx->kv, sequence);
    if (length > 0 && length < ctx->kv.lengths[sequence] && length < shortest) {
        return slm__fail(err, SLM_ERR_RANGE,
                         "sequence %d cannot go on from %d tokens, only from %d: layers with a "
                         "window have given back what came before (keep_all)",
                         sequence, length, shortest);
    }
    slm__kv_set_length(&ctx->kv, sequence, length);
    slm__kv_trim(&ctx->kv, sequence);
    return SLM_OK;
}

static slm_status fork_sequence(slm_context *ctx, int32_t from, int32_t to, int32_t length,
                                slm_error *err) {
    slm__kv *kv = &ctx->kv;
    if (from < 0 || to < 0 || from >= kv->n_seq || to >= kv->n_seq || from == to)
        return slm__fail(err, SLM_ERR_RANGE, "sequences %d and %d of %d", from, to, kv->n_seq);
    if (length < 0 || length > kv->lengths[from] ||
        (length > 0 && length < slm__kv_shortest(kv, from))) {
        return slm__fail(err, SLM_ERR_RANGE, "%d tokens of sequence %d, which holds %d to %d",
                         length, from, slm__kv_shortest(kv, from), kv->lengths[from]);
    }
    if (kv->lengths[to] > 0) {
        return slm__fail(err, SLM_ERR_RANGE, "sequence %d is not empty: it holds %d tokens", to,
                         kv->lengths[to]);
    }
    if (length > 0) slm__kv_fork(kv, from, to, length);
    return SLM_OK;
}

slm_status slm_seq_fork(slm_context *ctx, int32_t from, int32_t to, int32_t length,
                        slm_error *err) {
    SLM_TRY(enter(ctx, err));
    return leave(ctx, fork_sequence(ctx, from, to, length, err));
}

slm_status slm_seq_truncate(slm_context *ctx, int32_t sequence, int32_t length, slm_error *err) {
    SLM_TRY(enter(ctx, err));
    return leave(ctx, truncate_sequence(ctx, sequence, length, err));
}
