/* Creating a context: parameters checked, everything taken at once; later only what adapters need. */
#include "context.h"

#include <math.h>

static const slm_context_params defaults = {
    .size = sizeof(slm_context_params),
    .n_batch = 256,
    .n_seq_max = 1,
    .n_logits = 1,
};

slm_context_params slm_context_defaults(void) { return defaults; }

enum { MAX_CTX = 1 << 27, MAX_BATCH = 1 << 16, MAX_SEQ = 1 << 16 };

/* `given` (or NULL) with defaults filled in, and the kernels to use. */
static slm_status complete_params(const slm_model *model, const slm_context_params *given,
                                  slm_context_params *p, const slm_kernels **kernels,
                                  slm_error *err) {
    if (!model) return slm__fail(err, SLM_ERR_ARGUMENT, "model is NULL");
    if (given && given->size != sizeof *given) {
        return slm__fail(err, SLM_ERR_ARGUMENT, "params->size is %zu, expected %zu", given->size,
                         sizeof *given);
    }
    *p = given ? *given : defaults;
    SLM_TRY(slm__check_allocator(&p->allocator, err));
    if (!model->has_weights)
        return slm__fail(err, SLM_ERR_UNSUPPORTED, "the model was opened without its weights");
    if (p->n_ctx == 0) p->n_ctx = (int32_t)model->hp.n_ctx_train;
    if (p->threads) p->n_threads = slm__pool_n_threads(p->threads);
    if (p->n_threads == 0) p->n_threads = slm__default_threads(SLM_MAX_THREADS);
    SLM_TRY(slm__check_range("n_ctx", p->n_ctx, 1, MAX_CTX, err));
    SLM_TRY(slm__check_range("n_batch", p->n_batch, 1, MAX_BATCH, err));
    SLM_TRY(slm__check_range("n_seq_max", p->n_seq_max, 1, MAX_SEQ, err));
    SLM_TRY(slm__check_range("n_logits", p->n_logits, 1, 1 << 24, err));
    SLM_TRY(slm__check_range("n_threads", p->n_threads, 1, SLM_MAX_THREADS, err));
    SLM_TRY(slm__check_range("kv_type", (int64_t)p->kv_type, SLM_KV_F16, SLM_KV_Q8_0, err));
    if (p->n_batch > p->n_ctx) p->n_batch = p->n_ctx;
    if ((int64_t)p->n_batch * model->hp.n_head_kv > INT32_MAX) {
        return slm__fail(err, SLM_ERR_LIMIT, "n_batch is %d, too many for %u KV heads", p->n_batch,
                         model->hp.n_head_kv);
    }
    *kernels = slm__kernels_named(p->cpu);
    if (!*kernels) {
        slm__str name = {p->cpu, strlen(p->cpu)};
        return slm__fail(err, SLM_ERR_UNSUPPORTED,
                         "cpu level \"%s\" is unknown or not of this machine",
                         slm__show(name).text);
    }
    return SLM_OK;
}

static slm__kv_params kv_params(const slm_context_params *p) {
    static const slm_kv_store stores[] = {
        [SLM_KV_F16] = SLM_STORE_F16, [SLM_KV_F32] = SLM_STORE_F32, [SLM_KV_Q8_0] = SLM_STORE_Q8_0};
    return (slm__kv_params){.n_ctx = p->n_ctx,
                            .n_seq = p->n_seq_max,
                            .n_batch = p->n_batch,
                            .keep_all = p->keep_all,
                            .store = stores[p->kv_type]};
}

/* ---- The buffers: one block. Laid out twice by the same lines, first without a block, to find its size ---- */

typedef struct layout {
    uint8_t *base; /* NULL: measure only */
    uint64_t at;
    bool overflow;
} layout;

static void *take(layout *l, uint64_t n, uint64_t size) {
    uint64_t bytes, end;
    void *p = l->base ? l->base + l->at : NULL;
    if (!slm__mul(n, size, &bytes) || !slm__add(l->at, bytes, &end) || end > (uint64_t)1 << 46) {
        l->overflow = true;
        return NULL;
    }
    l->at = (end + 63) / 64 * 64;
    return p;
}

/* rows: of a token, 2 if activations can be wide. */
static slm_acts take_acts(layout *l, uint64_t n_tokens, uint64_t rows, uint32_t n) {
    uint64_t blocks = n_tokens * rows * (uint64_t)slm__n_blocks_stored((int32_t)n);
    slm_acts a = {.n = (int32_t)n};
    a.x = take(l, n_tokens * n, sizeof *a.x);
    a.q = take(l, blocks * SLM_QBLOCK, sizeof *a.q);
    a.d = take(l, blocks, sizeof *a.d);
    a.sum = take(l, blocks, sizeof *a.sum);
    a.half = take(l, blocks * 2, sizeof *a.half);
    return a;
}

static uint64_t max3(uint64_t a, uint64_t b, uint64_t c) {
    uint64_t m = a > b ? a : b;
    return m > c ? m : c;
}

static void take_all(layout *l, slm__work *w, const slm__hparams *hp, const slm_context_params *p) {
    uint64_t t = (uint64_t)p->n_batch;
    uint32_t n_q = hp->n_head * hp->head_dim, n_kv = hp->n_head_kv * hp->head_dim;
    uint64_t max_wanted = (uint64_t)(p->n_logits < p->n_batch ? p->n_logits : p->n_batch);
    *w = (slm__work){0};
    w->positions = take(l, t, sizeof *w->positions);
    w->sequences = take(l, t, sizeof *w->sequences);
    w->wanted = take(l, t, sizeof *w->wanted);
    w->tiles = take(l, t, sizeof *w->tiles);
    w->rope[ROPE_GLOBAL] = take(l, t * hp->n_rot, sizeof(float));
    w->rope[ROPE_LOCAL] = take(l, t * hp->n_rot, sizeof(float));
    w->x = take(l, t * hp->n_embd, sizeof *w->x);
    w->normed = take_acts(l, t, 1, hp->n_embd);
    w->attended = take_acts(l, t, 1, n_q);
    w->hidden = take_acts(l, t, 1, hp->n_ff);
    w->final = take_acts(l, max_wanted, 2, hp->n_embd);
    w->q = take(l, t * n_q, sizeof *w->q);
    w->k = take(l, t * n_kv, sizeof *w->k);
    w->v = take(l, t * n_kv, sizeof *w->v);
    w->up = take(l, t * hp->n_ff, sizeof *w->up);
    w->y = take(l, t * hp->n_embd, sizeof *w->y);
    w->logits = take(l, (uint64_t)p->n_logits * hp->n_vocab, sizeof *w->logits);
    uint64_t widest = max3(hp->n_embd, n_q, hp->n_ff);
    w->scratch_bytes = max3(slm__matmul_scratch((int32_t)widest), slm__attention_scratch(hp), 64);
    w->scratch_bytes = (w->scratch_bytes + 63) / 64 * 64;
    w->scratch = take(l, (uint64_t)p->n_threads, w->scratch_bytes);
    w->split = take(l, slm__split_floats(hp, p->n_threads), sizeof *w->split);
    w->next = take(l, (uint64_t)p->n_seq_max, sizeof *w->next);
    w->rows = take(l, (uint64_t)p->n_seq_max, sizeof *w->rows);
}

static slm_status work_bytes(const slm__hparams *hp, const slm_context_params *p, uint64_t *n_bytes,
                             slm_error *err) {
    layout l = {0};
    slm__work w;
    take_all(&l, &w, hp, p);
    if (l.overflow)
        return slm__fail(err, SLM_ERR_LIMIT, "buffers for batches of %d are too large", p->n_batch);
    *n_bytes = l.at;
    return SLM_OK;
}

/* ---- Public ---- */

slm_status slm_context_memory(const slm_model *model, const slm_context_params *params,
                              size_t *n_bytes, slm_error *err) {
    slm__clear(err);
    slm_context_params p;
    const slm_kernels *kernels;
    if (!n_bytes) return slm__fail(err, SLM_ERR_ARGUMENT, "n_bytes is NULL");
    *n_bytes = 0;
    SLM_TRY(complete_params(model, params, &p, &kernels, err));
    uint64_t kv, work = 0;
    slm__kv_params kp = kv_params(&p);
    SLM_TRY(slm__kv_bytes(&model->hp, &kp, &kv, err));
    SLM_TRY(work_bytes(&model->hp, &p, &work, err));
    *n_bytes = (size_t)(kv + slm__alloc_cost(work) + slm__alloc_cost(sizeof(slm_context)));
    if (!p.threads) *n_bytes += (size_t)slm__pool_bytes(p.n_threads);
    return SLM_OK;
}

static slm_status fill_context(slm_context *ctx, slm_error *err) {
    const slm__hparams *hp = &ctx->model->hp;
    slm__kv_params kp = kv_params(&ctx->params);
    uint64_t bytes = 0;
    SLM_TRY(work_bytes(hp, &ctx->params, &bytes, err));
    SLM_TRY(slm__kv_init(&ctx->kv, ctx->model, &kp, &ctx->allocator, err));
    ctx->block = slm__alloc(&ctx->allocator, bytes);
    if (!ctx->block) {
        return slm__fail(err, SLM_ERR_NOMEM, "no memory for batches of %d tokens (%llu bytes)",
                         ctx->params.n_batch, (unsigned long long)bytes);
    }
    layout l = {.base = ctx->block};
    take_all(&l, &ctx->work, hp, &ctx->params);
    ctx->work.final.wide =
        !ctx->params.reference && slm__is_quantized(ctx->model->output->type); /* ops.c: logits */
    ctx->pool = ctx->params.threads;
    if (ctx->pool) return SLM_OK;
    return slm__pool_create(ctx->params.n_threads, false, &ctx->allocator, &ctx->pool, err);
}

slm_status slm_context_create(const slm_model *model, const slm_context_params *params,
                              slm_context **out, slm_error *err) {
    slm__clear(err);
    slm_context_params p;
    const slm_kernels *kernels;
    if (!out) return slm__fail(err, SLM_ERR_ARGUMENT, "out is NULL");
    *out = NULL;
    SLM_TRY(complete_params(model, params, &p, &kernels, err));
    slm_context *ctx = slm__alloc(&p.allocator, sizeof *ctx);
    if (!ctx) return slm__fail(err, SLM_ERR_NOMEM, "no memory for a context");
    ctx->allocator = p.allocator;
    ctx->model = model;
    ctx->params = p;
    ctx->kernels = kernels;
    ctx->near = slm__fetches_near();
    bool is_long = (uint32_t)p.n_ctx > model->hp.n_ctx_orig && model->rope[ROPE_LONG].freq;
    ctx->global_rope = is_long ? ROPE_LONG : ROPE_GLOBAL;
    /* vectors make more than ten times as many multiplications a second, and every piece ends with a wait */
    bool slow = p.reference || kernels == slm__kernels_level(0);
    ctx->piece_cost = INT64_C(16) << (slow ? 20 : 23);
    slm_status s = fill_context(ctx, err);
    if (s != SLM_OK) {
        slm_context_free(ctx);
        return s;
    }
    *out = ctx;
    return SLM_OK;
}

void slm_context_free(slm_context *ctx) {
    if (!ctx) return;
    if (!ctx->params.threads) slm__pool_free(ctx->pool);
    if (ctx->kv.allocator) slm__kv_destroy(&ctx->kv);
    slm_allocator allocator = ctx->allocator;
    slm__free(&allocator, ctx->block);
    slm__free(&allocator, ctx->lora.block);
    slm__free(&allocator, ctx);
}

/* ---- Adapters ---- */

enum { SUMS = 4096 }; /* floats: many rows of a product of few tokens */

/* The buffers of these adapters, without those whose scale is 0; as take_all(). */
static void take_lora(layout *l, slm__lora *lora, const slm_adapter *const *adapters,
                      const float *scales, int32_t n, const slm_context_params *p) {
    uint64_t t = (uint64_t)p->n_batch, n_low = 0;
    int32_t max_rank = 1;
    *lora = (slm__lora){0};
    for (int32_t i = 0; i < n; i++) {
        lora->n += scales[i] != 0;
        if (scales[i] != 0 && adapters[i]->max_rank > max_rank) max_rank = adapters[i]->max_rank;
    }
    lora->adapters = take(l, (uint64_t)lora->n, sizeof *lora->adapters);
    lora->scales = take(l, (uint64_t)lora->n, sizeof *lora->scales);
    n_low = (uint64_t)lora->n * SLM_MAX_PRODUCTS;
    lora->room = take(l, n_low, sizeof *lora->room);
    lora->low = take(l, n_low, sizeof *lora->low);
    for (int32_t i = 0, used = 0; i < n; i++) {
        if (scales[i] == 0) continue;
        if (l->base) lora->adapters[used] = adapters[i], lora->scales[used] = scales[i];
        for (int32_t q = 0; q < SLM_MAX_PRODUCTS; q++) {
            slm_acts room = take_acts(l, t, 1, (uint32_t)adapters[i]->max_rank);
            if (l->base) lora->room[q * lora->n + used] = room;
        }
        used++;
    }
    lora->scratch_bytes = (slm__matmul_scratch(max_rank) + 63) / 64 * 64;
    lora->scratch = take(l, (uint64_t)p->n_threads, lora->scratch_bytes);
    lora->n_sums = p->n_batch * SLM_STRIP > SUMS ? p->n_batch * SLM_STRIP : SUMS;
    lora->sums = take(l, (uint64_t)p->n_threads, (uint64_t)lora->n_sums * sizeof *lora->sums);
}

static slm_status check_adapters(const slm_context *ctx, const slm_adapter *const *adapters,
                                 const float *scales, int32_t n, slm_error *err) {
    SLM_TRY(slm__check_range("n", n, 0, SLM_MAX_ADAPTERS, err));
    if (n > 0 && (!adapters || !scales))
        return slm__fail(err, SLM_ERR_ARGUMENT, "adapters or scales are NULL");
    for (int32_t i = 0; i < n; i++) {
        if (!adapters[i]) return slm__fail(err, SLM_ERR_ARGUMENT, "adapter %d is NULL", i);
        if (adapters[i]->model != ctx->model)
            return slm__fail(err, SLM_ERR_MISMATCH, "adapter %d was opened for another model", i);
        float alpha = adapters[i]->alpha;
        if (isfinite(scales[i]) && isfinite(scales[i] * alpha)) continue;
        return slm__fail(err, SLM_ERR_RANGE,
                         "adapter %d: scale %g and alpha %g give no finite factor", i,
                         (double)scales[i], (double)alpha);
    }
    return SLM_OK;
}

static slm_status set_adapters(slm_context *ctx, const slm_adapter *const *adapters,
                               const float *scales, int32_t n, slm_error *err) {
    slm__lora lora;
    layout l = {0};
    SLM_TRY(check_adapters(ctx, adapters, scales, n, err));
    take_lora(&l, &lora, adapters, scales, n, &ctx->params);
    if (l.overflow)
        return slm__fail(err, SLM_ERR_LIMIT, "buffers for %d adapters are too large", lora.n);
    if (lora.n == 0) {
        lora = (slm__lora){0};
    } else {
        void *block = slm__alloc(&ctx->allocator, l.at);
        if (!block) {
            return slm__fail(err, SLM_ERR_NOMEM, "no memory for %d adapters (%llu bytes)", lora.n,
                             (unsigned long long)l.at);
        }
        l = (layout){.base = block};
        take_lora(&l, &lora, adapters, scales, n, &ctx->params);
        lora.block = block;
    }
    slm__free(&ctx->allocator, ctx->lora.block);
    ctx->lora = lora;
    return SLM_OK;
}

slm_status slm_context_set_adapters(slm_context *ctx, const slm_adapter *const *adapters,
                                    const float *scales, int32_t n, slm_error *err) {
    SLM_TRY(slm__enter(ctx, err));
    return slm__leave(ctx, set_adapters(ctx, adapters, scales, n, err));
}

/* ---- What it works with ---- */

slm_status slm__enter(slm_context *ctx, slm_error *err) {
    slm__clear(err);
    if (!ctx) return slm__fail(err, SLM_ERR_ARGUMENT, "context is NULL");
    if (atomic_exchange(&ctx->busy, true))
        return slm__fail(err, SLM_ERR_BUSY, "the context is at work in another thread");
    return SLM_OK;
}

slm_status slm__leave(slm_context *ctx, slm_status status) {
    atomic_store(&ctx->busy, false);
    return status;
}

int32_t slm_context_n_ctx(const slm_context *ctx) { return ctx ? ctx->params.n_ctx : 0; }

int32_t slm_context_n_threads(const slm_context *ctx) { return ctx ? ctx->params.n_threads : 0; }

const char *slm_context_cpu(const slm_context *ctx) { return ctx ? ctx->kernels->name : NULL; }

const char *slm_cpu_level(int32_t index) {
    const slm_kernels *k = index < 0 ? NULL : slm__kernels_level(index);
    return k ? k->name : NULL;
}
