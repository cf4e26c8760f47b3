/* Sequences of a context: what they hold, cutting, sharing, removing. */
#include "context.h"

int32_t slm_seq_length(const slm_context *ctx, int32_t sequence) {
    if (!ctx || sequence < 0 || sequence >= ctx->params.n_seq_max) return -1;
    return ctx->kv.lengths[sequence];
}

slm_status slm__check_sequence(const slm_context *ctx, int32_t sequence, slm_error *err) {
    if (sequence >= 0 && sequence < ctx->params.n_seq_max) return SLM_OK;
    return slm__fail(err, SLM_ERR_RANGE, "sequence %d of %d", sequence, ctx->params.n_seq_max);
}

slm_status slm__check_empty(const slm_context *ctx, int32_t sequence, slm_error *err) {
    int32_t n = ctx->kv.lengths[sequence];
    if (n == 0) return SLM_OK;
    return slm__fail(err, SLM_ERR_RANGE, "sequence %d is not empty: it holds %d tokens", sequence,
                     n);
}

static slm_status truncate_sequence(slm_context *ctx, int32_t sequence, int32_t length,
                                    slm_error *err) {
    SLM_TRY(slm__check_sequence(ctx, sequence, err));
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
    SLM_TRY(slm__check_empty(ctx, to, err));
    if (length > 0) slm__kv_fork(kv, from, to, length);
    return SLM_OK;
}

slm_status slm_seq_fork(slm_context *ctx, int32_t from, int32_t to, int32_t length,
                        slm_error *err) {
    SLM_TRY(slm__enter(ctx, err));
    return slm__leave(ctx, fork_sequence(ctx, from, to, length, err));
}

slm_status slm_seq_truncate(slm_context *ctx, int32_t sequence, int32_t length, slm_error *err) {
    SLM_TRY(slm__enter(ctx, err));
    return slm__leave(ctx, truncate_sequence(ctx, sequence, length, err));
}

/* ---- Removing ---- */

typedef struct shift_loop {
    slm_context *ctx;
    const slm__kv_move *move;
    slm__kv_turn turns[N_ROPE_KINDS];
} shift_loop;

static void shift_layer(void *arg, int32_t layer, int32_t thread) {
    const shift_loop *l = arg;
    const slm_context *ctx = l->ctx;
    slm__kv_shift(&ctx->kv, ctx->kernels, layer, l->move, &l->turns[ctx->model->layers[layer].rope],
                  slm__scratch(ctx, thread));
}

/* Keys were turned by their position: they are turned back by what that is less. */
static void turn_back(const slm_context *ctx, slm__rope_kind kind, int32_t by, float *table,
                      slm__kv_turn *turn) {
    const slm_model *m = ctx->model;
    slm__rope rope = m->rope[kind == ROPE_GLOBAL ? ctx->global_rope : kind];
    rope.scale = 1; /* they have it already */
    slm__rope_row(&rope, by, (int32_t)m->hp.n_rot, table);
    for (uint32_t i = 1; i < m->hp.n_rot; i += 2) table[i] = -table[i];
    *turn = (slm__kv_turn){table, (int32_t)m->hp.n_rot, m->arch->rope};
}

static slm_status remove_range(slm_context *ctx, int32_t sequence, int32_t begin, int32_t end,
                               slm_error *err) {
    slm__kv *kv = &ctx->kv;
    SLM_TRY(slm__check_sequence(ctx, sequence, err));
    int32_t length = kv->lengths[sequence];
    if (begin < 0 || end < begin || end > length) {
        return slm__fail(err, SLM_ERR_RANGE, "positions %d to %d (not included) of %d", begin, end,
                         length);
    }
    if (begin == end) return SLM_OK;
    if (end == length) return truncate_sequence(ctx, sequence, begin, err);
    slm__kv_move move;
    shift_loop l = {.ctx = ctx, .move = &move};
    SLM_TRY(slm__kv_cut(kv, sequence, begin, end, &move, err));
    turn_back(ctx, ROPE_GLOBAL, end - begin, ctx->work.rope[ROPE_GLOBAL], &l.turns[ROPE_GLOBAL]);
    if (ctx->model->has_local_rope)
        turn_back(ctx, ROPE_LOCAL, end - begin, ctx->work.rope[ROPE_LOCAL], &l.turns[ROPE_LOCAL]);
    slm__pool_run(ctx->pool, 0, (int32_t)ctx->model->hp.n_layer, shift_layer, &l);
    slm__kv_set_length(kv, sequence, length - (end - begin));
    slm__kv_trim(kv, sequence);
    return SLM_OK;
}

slm_status slm_seq_remove(slm_context *ctx, int32_t sequence, int32_t begin, int32_t end,
                          slm_error *err) {
    SLM_TRY(slm__enter(ctx, err));
    return slm__leave(ctx, remove_range(ctx, sequence, begin, end, err));
}

/* ---- What it holds ---- */

static slm_status copy_tokens(const slm_context *ctx, int32_t sequence, slm_token *out,
                              size_t capacity, size_t *n_tokens, slm_error *err) {
    if (!n_tokens || (capacity > 0 && !out))
        return slm__fail(err, SLM_ERR_ARGUMENT, "an argument is NULL");
    *n_tokens = 0;
    SLM_TRY(slm__check_sequence(ctx, sequence, err));
    int32_t n = ctx->kv.lengths[sequence];
    *n_tokens = (size_t)n;
    if (capacity < (size_t)n)
        return slm__fail(err, SLM_ERR_BUFFER, "%d tokens, room for %zu", n, capacity);
    for (int32_t i = 0; i < n; i++) out[i] = *slm__kv_token(&ctx->kv, sequence, i);
    return SLM_OK;
}

slm_status slm_seq_tokens(slm_context *ctx, int32_t sequence, slm_token *out, size_t capacity,
                          size_t *n_tokens, slm_error *err) {
    SLM_TRY(slm__enter(ctx, err));
    return slm__leave(ctx, copy_tokens(ctx, sequence, out, capacity, n_tokens, err));
}
