#include "ops.h"

/* ---- Progress ---- */

void slm__tick(slm_context *ctx) {
    slm__work *w = &ctx->work;
    if (!ctx->params.progress || w->cancelled) return;
    float done = w->n_done < w->n_all ? (float)((double)w->n_done / (double)w->n_all) : 1;
    w->cancelled = !ctx->params.progress(ctx->params.progress_user, done);
}

/* ---- Loops over tokens ---- */

typedef void (*token_fn)(slm_context *ctx, int32_t token, const void *arg);

typedef struct token_loop {
    slm_context *ctx;
    token_fn fn;
    const void *arg;
    int32_t n_tokens;
} token_loop;

enum { TOKENS_PER_CHUNK = 8 };

static void token_chunk(void *arg, int32_t chunk, int32_t thread) {
    (void)thread;
    const token_loop *l = arg;
    int32_t end =
        (chunk + 1) * TOKENS_PER_CHUNK < l->n_tokens ? (chunk + 1) * TOKENS_PER_CHUNK : l->n_tokens;
    for (int32_t t = chunk * TOKENS_PER_CHUNK; t < end; t++) l->fn(l->ctx, t, l->arg);
}

static void for_tokens(slm_context *ctx, int32_t n_tokens, token_fn fn, const void *arg) {
    token_loop l = {ctx, fn, arg, n_tokens};
    slm__pool_run(ctx->pool, (n_tokens + TOKENS_PER_CHUNK - 1) / TOKENS_PER_CHUNK, token_chunk, &l);
}

/* Reference mode works on floats all the way. */
static void quantize_token(slm_context *ctx, const slm_acts *a, int32_t token) {
    if (!ctx->params.reference) ctx->kernels->quantize(a, token);
}

/* ---- Embedding ---- */

static void embed_token(slm_context *ctx, int32_t t, const void *arg) {
    (void)arg;
    const slm__tensor *e = ctx->model->token_embd;
    int64_t n = e->dims[0];
    float *x = ctx->work.x + t * n, scale = ctx->model->hp.embd_scale;
    ctx->kernels->dequantize[e->type](e->data + (uint64_t)ctx->work.tokens[t] * e->row_bytes, n, x);
    for (int64_t i = 0; i < n && scale != 1; i++) x[i] *= scale;
}

void slm__embed(slm_context *ctx) { for_tokens(ctx, ctx->work.n_tokens, embed_token, NULL); }

/* ---- RMS norm (Zhang and Sennrich 2019, arXiv:1910.07467) ---- */

static void rms_norm(slm_context *ctx, const slm__tensor *weight, const float *x, float *out) {
    ctx->kernels->rms_norm(x, (const float *)weight->data, (int32_t)weight->dims[0],
                           ctx->model->hp.norm_eps, out);
}

static void norm_row(slm_context *ctx, int32_t from, const slm__tensor *weight, const slm_acts *out,
                     int32_t to) {
    const float *x = ctx->work.x + (int64_t)from * out->n;
    float *normed = out->x + (int64_t)to * out->n;
    if (weight)
        rms_norm(ctx, weight, x, normed);
    else
        memcpy(normed, x, (size_t)out->n * sizeof *x);
    quantize_token(ctx, out, to);
}

static void norm_token(slm_context *ctx, int32_t t, const void *weight) {
    norm_row(ctx, t, weight, &ctx->work.normed, t);
}

void slm__norm(slm_context *ctx, const slm__tensor *weight) {
    for_tokens(ctx, ctx->work.n_tokens, norm_token, weight);
}

/* ---- RoPE ---- */

static void rope_table_token(slm_context *ctx, int32_t t, const void *arg) {
    (void)arg;
    const slm__rope *rope = ctx->model->rope;
    const slm__work *w = &ctx->work;
    int32_t n_rot = (int32_t)ctx->model->hp.n_rot;
    int64_t at = (int64_t)t * n_rot;
    slm__rope_row(&rope[ctx->global_rope], w->positions[t], n_rot, w->rope[ROPE_GLOBAL] + at);
    if (ctx->model->has_local_rope)
        slm__rope_row(&rope[ROPE_LOCAL], w->positions[t], n_rot, w->rope[ROPE_LOCAL] + at);
}

void slm__rope_table(slm_context *ctx) {
    for_tokens(ctx, ctx->work.n_tokens, rope_table_token, NULL);
}

/* The heads of q or k of a token: normed by weights of a head each, or of all of them as one row. */
static void norm_and_turn(slm_context *ctx, const slm__tensor *norm, const float *table, float *x,
                          uint32_t n_head) {
    const slm__hparams *hp = &ctx->model->hp;
    int64_t n = (int64_t)n_head * hp->head_dim;
    for (int64_t i = 0; norm && i < n; i += norm->dims[0]) rms_norm(ctx, norm, x + i, x + i);
    for (uint32_t h = 0; table && h < n_head; h++)
        slm__rope_head(x + h * hp->head_dim, table, (int32_t)hp->n_rot, ctx->model->arch->rope);
}

static void rope_and_store_token(slm_context *ctx, int32_t t, const void *arg) {
    const slm__hparams *hp = &ctx->model->hp;
    const slm__work *w = &ctx->work;
    int32_t layer = *(const int32_t *)arg, hd = (int32_t)hp->head_dim;
    const slm__layer *l = &ctx->model->layers[layer];
    const float *table = l->rope == ROPE_NONE ? NULL : w->rope[l->rope] + (int64_t)t * hp->n_rot;
    float *k = w->k + (int64_t)t * hp->n_head_kv * hd;
    norm_and_turn(ctx, l->q_norm, table, w->q + (int64_t)t * hp->n_head * hd, hp->n_head);
    norm_and_turn(ctx, l->k_norm, table, k, hp->n_head_kv);
    slm__kv_store(&ctx->kv, ctx->kernels, layer, w->sequences[t], w->positions[t], k,
                  w->v + (int64_t)t * hp->n_head_kv * hd);
}

void slm__rope_and_store(slm_context *ctx, int32_t layer) {
    for_tokens(ctx, ctx->work.n_tokens, rope_and_store_token, &layer);
}

/* ---- Matrix products ---- */

typedef struct matmul_loop {
    slm_context *ctx;
    const slm_acts *x;
    int32_t n_tokens;
    const slm__product *products;
    int32_t n;
    int32_t rows_per_chunk;
    int32_t first_chunk[5]; /* of each product, and the end */
    int32_t begin;          /* chunk 0 of the piece at work */
} matmul_loop;

/* Reference mode: rows of a quantized matrix as floats, 16 at a time, then the product of floats. */
static void matmul_reference(const slm_context *ctx, const slm__tensor *w, slm_matmul m,
                             int32_t row, int32_t n_rows, void *scratch) {
    float *strip = scratch, *out = m.out;
    m.w = scratch;
    m.row_bytes = (uint64_t)m.n_in * sizeof(float);
    for (int32_t r = 0; r < n_rows; r += SLM_STRIP) {
        int32_t n = n_rows - r < SLM_STRIP ? n_rows - r : SLM_STRIP;
        for (int32_t i = 0; i < n; i++) {
            ctx->kernels->dequantize[w->type](w->data + (uint64_t)(row + r + i) * w->row_bytes,
                                              m.n_in, strip + (int64_t)i * m.n_in);
        }
        m.n_out = n;
        m.out = out + row + r;
        ctx->kernels->matmul[SLM_F32](&m, 0, n, strip + (int64_t)SLM_STRIP * m.n_in);
    }
}

static void matmul_chunk(void *arg, int32_t chunk, int32_t thread) {
    const matmul_loop *l = arg;
    int32_t which = 0;
    chunk += l->begin;
    while (chunk >= l->first_chunk[which + 1]) which++;
    const slm__product *p = &l->products[which];
    int32_t n_rows = (int32_t)p->w->dims[1],
            row = (chunk - l->first_chunk[which]) * l->rows_per_chunk;
    int32_t n = n_rows - row < l->rows_per_chunk ? n_rows - row : l->rows_per_chunk;
    slm_matmul m = {p->w->data, p->w->row_bytes, l->x->n, n_rows, l->n_tokens,
                    l->x,       p->out,          n_rows};
    void *scratch = l->ctx->work.scratch + (uint64_t)thread * l->ctx->work.scratch_bytes;
    if (l->ctx->params.reference) {
        matmul_reference(l->ctx, p->w, m, row, n, scratch);
    } else {
        l->ctx->kernels->matmul[p->w->type](&m, row, n, scratch);
    }
    if (!p->bias) return;
    for (int32_t t = 0; t < l->n_tokens; t++) {
        l->ctx->kernels->add(p->out + (int64_t)t * n_rows + row, (const float *)p->bias->data + row,
                             n);
    }
}

int32_t slm__piece_chunks(const slm_context *ctx, int64_t cost) {
    int64_t each = ctx->piece_cost / cost;
    return slm__pool_n_threads(ctx->pool) * (int32_t)(each < 1 ? 1 : each > 4096 ? 4096 : each);
}

void slm__matmul(slm_context *ctx, const slm_acts *x, int32_t n_tokens,
                 const slm__product *products, int32_t n) {
    matmul_loop l = {ctx, x, n_tokens, products, n, 0, {0}, 0};
    int64_t rows = 0;
    for (int32_t i = 0; i < n; i++) rows += products[i].w->dims[1];
    int64_t row_cost = (int64_t)x->n * n_tokens;
    /* whole strips, some 32 chunks a thread and at least four in a piece: the last ones end at about the same time */
    int64_t share = rows / (slm__pool_n_threads(ctx->pool) * 32),
            most = ctx->piece_cost / 4 / row_cost;
    l.rows_per_chunk = (int32_t)((share < most ? share : most) / SLM_STRIP + 1) * SLM_STRIP;
    for (int32_t i = 0; i < n; i++) {
        int32_t chunks =
            (int32_t)((products[i].w->dims[1] + l.rows_per_chunk - 1) / l.rows_per_chunk);
        l.first_chunk[i + 1] = l.first_chunk[i] + chunks;
    }
    int32_t piece = slm__piece_chunks(ctx, l.rows_per_chunk * row_cost);
    for (; l.begin < l.first_chunk[n] && !ctx->work.cancelled; l.begin += piece) {
        int32_t left = l.first_chunk[n] - l.begin, here = left < piece ? left : piece;
        if (l.begin > 0) slm__tick(ctx);
        slm__pool_run(ctx->pool, here, matmul_chunk, &l);
        ctx->work.n_done += (uint64_t)(rows * row_cost / l.first_chunk[n] * here);
    }
}

/* ---- Logits ----
 *
 * The error of 8-bit activations shows nowhere as directly as here: it makes a quarter of the divergence from exact logits. So the
 * output matrix meets each row twice, as 8 bits and as 8 bits of what those left over, in one product that reads the weights
 * once: logits = W q(x) + W q(x - q(x)). */

static bool in_two_parts(const slm_context *ctx) {
    return !ctx->params.reference && slm__type_info[ctx->model->output->type].block_weights > 1;
}

uint64_t slm__logits_parts(const slm_context *ctx) { return in_two_parts(ctx) ? 2 : 1; }

static void final_norm_token(slm_context *ctx, int32_t i, const void *arg) {
    (void)arg;
    const slm__work *w = &ctx->work;
    const slm_acts *f = &w->final;
    norm_row(ctx, w->wanted[i], ctx->model->output_norm, f, i);
    if (!in_two_parts(ctx)) return;
    int32_t rest = w->n_wanted + i;
    const float *x = f->x + (int64_t)i * f->n;
    float *left = f->x + (int64_t)rest * f->n;
    int64_t block = (int64_t)i * slm__n_blocks_stored(f->n);
    for (int32_t j = 0; j < f->n; j++) {
        int64_t b = block + j / SLM_QBLOCK;
        left[j] = x[j] - f->d[b] * (float)f->q[slm__act_at(b, j % SLM_QBLOCK)];
    }
    quantize_token(ctx, f, rest);
}

static void add_rest(slm_context *ctx, int32_t i, const void *first) {
    int32_t n = (int32_t)ctx->model->hp.n_vocab;
    float *row = ctx->work.logits + (int64_t)(*(const int32_t *)first + i) * n;
    ctx->kernels->add(row, row + (int64_t)ctx->work.n_wanted * n, n);
}

static void cap_row(slm_context *ctx, int32_t i, const void *first) {
    int32_t n = (int32_t)ctx->model->hp.n_vocab;
    float *row = ctx->work.logits + (int64_t)(*(const int32_t *)first + i) * n;
    if (slm__all_finite(row, n)) /* or the cap would hide it from check_logits() */
        ctx->kernels->soft_cap(row, n, ctx->model->hp.out_cap);
}

void slm__logits(slm_context *ctx, int32_t first_row) {
    slm__work *w = &ctx->work;
    const slm_model *m = ctx->model;
    slm__product logits = {m->output, NULL, w->logits + (int64_t)first_row * m->hp.n_vocab};
    for_tokens(ctx, w->n_wanted, final_norm_token, NULL);
    slm__matmul(ctx, &w->final, in_two_parts(ctx) ? 2 * w->n_wanted : w->n_wanted, &logits, 1);
    if (in_two_parts(ctx)) for_tokens(ctx, w->n_wanted, add_rest, &first_row);
    if (m->hp.out_cap > 0) for_tokens(ctx, w->n_wanted, cap_row, &first_row);
}

/* ---- Pooling: by one thread in the order of the tokens, so that a split of the batch is not seen ---- */

void slm__pool_states(slm_context *ctx) {
    const slm__work *w = &ctx->work;
    int32_t n = w->normed.n;
    for (int32_t t = 0; t < w->n_tokens; t++) {
        float *row = w->pooled + (int64_t)w->rows[w->sequences[t]] * n;
        const float *state = w->normed.x + (int64_t)t * n;
        if (w->pooling == SLM_POOL_MEAN)
            ctx->kernels->add(row, state, n);
        else
            memcpy(row, state, (size_t)n * sizeof *row);
    }
}

/* ---- The rest ---- */

static void quantize_only(slm_context *ctx, int32_t t, const void *arg) {
    quantize_token(ctx, arg, t);
}

void slm__quantize(slm_context *ctx, slm_acts *a) {
    for_tokens(ctx, ctx->work.n_tokens, quantize_only, a);
}

static void gated_token(slm_context *ctx, int32_t t, const void *arg) {
    (void)arg;
    const slm_kernels *k = ctx->kernels;
    slm__work *w = &ctx->work;
    float *gate = w->hidden.x + (int64_t)t * w->hidden.n;
    const float *up = w->up + (int64_t)t * w->hidden.n;
    (ctx->model->arch->activation == ACT_GELU ? k->gelu_mul : k->silu_mul)(gate, up, w->hidden.n,
                                                                           gate);
    quantize_token(ctx, &w->hidden, t);
}

void slm__gated(slm_context *ctx) { for_tokens(ctx, ctx->work.n_tokens, gated_token, NULL); }

static void residual_token(slm_context *ctx, int32_t t, const void *weight) {
    int32_t n = (int32_t)ctx->model->hp.n_embd;
    float *y = ctx->work.y + (int64_t)t * n;
    if (weight) rms_norm(ctx, weight, y, y);
    ctx->kernels->add(ctx->work.x + (int64_t)t * n, y, n);
}

void slm__residual(slm_context *ctx, const slm__tensor *weight) {
    for_tokens(ctx, ctx->work.n_tokens, residual_token, weight);
}
