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

enum { TOKENS_PER_CHUNK = 2 };

static void token_chunk(void *arg, int32_t chunk, int32_t thread) {
    (void)thread;
    const token_loop *l = arg;
    int32_t end =
        (chunk + 1) * TOKENS_PER_CHUNK < l->n_tokens ? (chunk + 1) * TOKENS_PER_CHUNK : l->n_tokens;
    for (int32_t t = chunk * TOKENS_PER_CHUNK; t < end; t++) l->fn(l->ctx, t, l->arg);
}

static void for_tokens(slm_context *ctx, int32_t n_tokens, token_fn fn, const void *arg) {
    token_loop l = {ctx, fn, arg, n_tokens};
    slm__pool_run(ctx->pool, 0, (n_tokens + TOKENS_PER_CHUNK - 1) / TOKENS_PER_CHUNK, token_chunk,
                  &l);
}

/* Reference mode works on floats all the way. */
static void quantize_token(slm_context *ctx, const slm_acts *a, int32_t token) {
    if (ctx->params.reference) return;
    if (a->wide)
        slm__quantize_wide(a, token);
    else
        ctx->kernels->quantize(a, token);
}

static void quantize_only(slm_context *ctx, int32_t t, const void *arg) {
    quantize_token(ctx, arg, t);
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

/* ---- Work in pieces, between which the caller is asked whether to go on ---- */

int32_t slm__piece_chunks(const slm_context *ctx, int64_t cost) {
    int64_t each = ctx->piece_cost / cost;
    return slm__pool_n_threads(ctx->pool) * (int32_t)(each < 1 ? 1 : each > 4096 ? 4096 : each);
}

/* Chunks of `cost` multiply-adds each; `work` is what all of them count in progress. */
static void in_pieces(slm_context *ctx, int32_t n_chunks, int64_t cost, int64_t work,
                      slm__chunk_fn fn, void *arg) {
    int32_t piece = slm__piece_chunks(ctx, cost);
    for (int32_t i = 0; i < n_chunks && !ctx->work.cancelled; i += piece) {
        int32_t here = n_chunks - i < piece ? n_chunks - i : piece;
        if (i > 0) slm__tick(ctx);
        slm__pool_run(ctx->pool, i, here, fn, arg);
        ctx->work.n_done += (uint64_t)(work / n_chunks * here);
    }
}

/* ---- Matrix products ---- */

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

/* Rows [row, row + n_rows) of w for the first n_tokens of x, to out[t * stride + row ...]. */
static void multiply(const slm_context *ctx, const slm__tensor *w, const slm_acts *x,
                     int32_t n_tokens, int32_t row, int32_t n_rows, float *out, int64_t stride,
                     void *scratch) {
    slm_matmul m = {w->data, w->row_bytes, x->n,     (int32_t)w->dims[1], n_tokens, x,
                    out,     stride,       ctx->near};
    if (ctx->params.reference && slm__is_quantized(w->type))
        matmul_reference(ctx, w, m, row, n_rows, scratch);
    else
        ctx->kernels->matmul[w->type](&m, row, n_rows, scratch);
}

/* ---- What adapters add to them: B (s * A x), first s * A x for all products of a group ---- */

enum { LOW_TOKENS = 16 }; /* of a chunk, which has a strip of rows of A */

static int32_t strips(int32_t n_rows) { return (n_rows + SLM_STRIP - 1) / SLM_STRIP; }

/* The rows from `token` on. */
static slm_acts acts_from(const slm_acts *a, int32_t token) {
    int64_t block = (int64_t)slm__act_rows(a, token) * slm__n_blocks_stored(a->n);
    slm_acts from = *a;
    from.x += (int64_t)token * a->n;
    from.q += block * SLM_QBLOCK;
    from.d += block;
    from.sum += block;
    from.half += 2 * block;
    return from;
}

/* Matrices that are views of one have the same A: its product is computed for the first of them. */
static void share_low(const slm__lora *lora, slm__low *low) {
    for (const slm__low *l = lora->low; l < low; l++) {
        if (l->pair->a != low->pair->a || l->scale != low->scale) continue;
        low->h = l->h;
        low->n_chunks = 0;
        return;
    }
}

/* Fill lora->low for these products. Returns the number of chunks. */
static int32_t find_low(slm_context *ctx, int32_t n_tokens, const slm__product *products,
                        int32_t n) {
    slm__lora *lora = &ctx->lora;
    int32_t n_chunks = 0;
    lora->n_low = 0;
    for (int32_t p = 0; p < n; p++) {
        int32_t number = slm__tensor_number(ctx->model, products[p].w);
        for (int32_t a = 0; a < lora->n; a++) {
            const slm__pair *pair = &lora->adapters[a]->pairs[number];
            if (!pair->a) continue;
            slm__low *low = &lora->low[lora->n_low++];
            *low = (slm__low){.pair = pair, .h = lora->room[p * lora->n + a], .product = p};
            low->scale = lora->scales[a] * pair->factor;
            low->h.n = (int32_t)pair->a->dims[1];
            low->n_chunks = strips(low->h.n) * ((n_tokens + LOW_TOKENS - 1) / LOW_TOKENS);
            share_low(lora, low);
            n_chunks += low->n_chunks;
        }
    }
    return n_chunks;
}

typedef struct low_loop {
    slm_context *ctx;
    const slm_acts *x;
    int32_t n_tokens;
} low_loop;

/* A strip of rows of A for some tokens. */
static void low_chunk(void *arg, int32_t chunk, int32_t thread) {
    const low_loop *l = arg;
    const slm__low *low = l->ctx->lora.low;
    while (chunk >= low->n_chunks) chunk -= low++->n_chunks;
    int32_t rank = low->h.n, row = chunk % strips(rank) * SLM_STRIP;
    int32_t token = chunk / strips(rank) * LOW_TOKENS;
    int32_t n_rows = rank - row < SLM_STRIP ? rank - row : SLM_STRIP;
    int32_t n = l->n_tokens - token < LOW_TOKENS ? l->n_tokens - token : LOW_TOKENS;
    slm_acts x = acts_from(l->x, token);
    float *h = low->h.x + (int64_t)token * rank;
    multiply(l->ctx, low->pair->a, &x, n, row, n_rows, h, rank, slm__scratch(l->ctx, thread));
    for (int32_t t = 0; t < n; t++) {
        for (int32_t r = row; r < row + n_rows; r++) h[(int64_t)t * rank + r] *= low->scale;
    }
}

/* The inputs of all B of these products. Returns the largest sum of ranks of one of them. */
static int64_t make_low(slm_context *ctx, const slm_acts *x, int32_t n_tokens,
                        const slm__product *products, int32_t n) {
    low_loop loop = {ctx, x, n_tokens};
    int64_t ranks[SLM_MAX_PRODUCTS] = {0}, most = 0;
    if (ctx->lora.n == 0) return 0; /* nor is anything written that other threads read */
    int32_t n_chunks = find_low(ctx, n_tokens, products, n);
    if (n_chunks == 0) return 0;
    in_pieces(ctx, n_chunks, (int64_t)x->n * SLM_STRIP * LOW_TOKENS, 0, low_chunk, &loop);
    for (int32_t i = 0; i < ctx->lora.n_low; i++) {
        const slm__low *low = &ctx->lora.low[i];
        int64_t *sum = &ranks[low->product];
        *sum += low->h.n;
        most = *sum > most ? *sum : most;
        if (low->n_chunks > 0 && slm__is_quantized(low->pair->b->type))
            for_tokens(ctx, n_tokens, quantize_only, &low->h);
    }
    return most;
}

/* Rows [row, row + n_rows) of a product: what the adapters add to them, one adapter after the other. */
static void add_low(const slm_context *ctx, const slm__product *products, int32_t which,
                    int32_t n_tokens, int32_t row, int32_t n_rows, int32_t thread) {
    const slm__lora *lora = &ctx->lora;
    void *scratch = lora->scratch + (uint64_t)thread * lora->scratch_bytes;
    float *sums = lora->sums + (int64_t)thread * lora->n_sums;
    int64_t stride = products[which].w->dims[1];
    int32_t step = lora->n_sums / n_tokens / SLM_STRIP * SLM_STRIP, end = row + n_rows;
    for (int32_t i = 0; i < lora->n_low; i++) {
        const slm__low *low = &lora->low[i];
        if (low->product != which) continue;
        for (int32_t r = row; r < end; r += step) {
            slm__tensor b = *low->pair->b;
            int32_t n = end - r < step ? end - r : step;
            b.data += (uint64_t)r * b.row_bytes;
            b.dims[1] = n;
            multiply(ctx, &b, &low->h, n_tokens, 0, n, sums, n, scratch);
            for (int32_t t = 0; t < n_tokens; t++)
                ctx->kernels->add(products[which].out + t * stride + r, sums + (int64_t)t * n, n);
        }
    }
}

/* ---- Groups of products ---- */

typedef struct matmul_loop {
    slm_context *ctx;
    const slm_acts *x;
    int32_t n_tokens;
    int32_t rows_per_chunk;
    int32_t first_chunk[SLM_MAX_PRODUCTS + 1]; /* of each product, and the end */
    slm__product products[SLM_MAX_PRODUCTS];
} matmul_loop;

static void matmul_chunk(void *arg, int32_t chunk, int32_t thread) {
    const matmul_loop *l = arg;
    int32_t which = 0;
    while (chunk >= l->first_chunk[which + 1]) which++;
    const slm__product *p = &l->products[which];
    int32_t n_rows = (int32_t)p->w->dims[1],
            row = (chunk - l->first_chunk[which]) * l->rows_per_chunk;
    int32_t n = n_rows - row < l->rows_per_chunk ? n_rows - row : l->rows_per_chunk;
    multiply(l->ctx, p->w, l->x, l->n_tokens, row, n, p->out, n_rows, slm__scratch(l->ctx, thread));
    for (int32_t t = 0; p->bias && t < l->n_tokens; t++) {
        l->ctx->kernels->add(p->out + (int64_t)t * n_rows + row, (const float *)p->bias->data + row,
                             n);
    }
    if (l->ctx->lora.n_low > 0) add_low(l->ctx, l->products, which, l->n_tokens, row, n, thread);
}

enum { LEAST_COST = 1 << 15 }; /* multiply-adds of a chunk */

static void matmul(slm_context *ctx, const slm_acts *x, int32_t n_tokens,
                   const slm__product *products, int32_t n) {
    matmul_loop l = {ctx, x, n_tokens, 0, {0}, {{0}}};
    int64_t rows = 0;
    for (int32_t i = 0; i < n; i++) {
        l.products[i] = products[i];
        rows += products[i].w->dims[1];
    }
    int64_t ranks = make_low(ctx, x, n_tokens, products, n);
    int64_t row_cost = (x->n + ranks) * n_tokens;
    /* whole strips, some 32 chunks a thread and at least four in a piece: the last ones end at about the same time; but none of less than
     * half a microsecond, which is what it takes to get one from another thread */
    int64_t share = rows / (slm__pool_n_threads(ctx->pool) * 32), least = LEAST_COST / row_cost,
            most = ctx->piece_cost / 4 / row_cost;
    if (share < least) share = least;
    l.rows_per_chunk = (int32_t)((share < most ? share : most) / SLM_STRIP + 1) * SLM_STRIP;
    for (int32_t i = 0; i < n; i++) {
        int32_t chunks =
            (int32_t)((products[i].w->dims[1] + l.rows_per_chunk - 1) / l.rows_per_chunk);
        l.first_chunk[i + 1] = l.first_chunk[i] + chunks;
    }
    in_pieces(ctx, l.first_chunk[n], l.rows_per_chunk * row_cost, rows * x->n * n_tokens,
              matmul_chunk, &l);
}

void slm__matmul(slm_context *ctx, const slm_acts *x, int32_t n_tokens,
                 const slm__product *products, int32_t n) {
    slm__observe_input(ctx, x, ctx->work.first, n_tokens, products, n);
    matmul(ctx, x, n_tokens, products, n);
}

/* ---- Logits ----
 *
 * The error of 8-bit activations shows nowhere as directly as here: it makes a ninth to a fifth of the divergence from exact
 * logits. So the output matrix, if it is quantized, meets activations of 16 bits (kernels.h: wide). */

static void final_norm_token(slm_context *ctx, int32_t i, const void *arg) {
    (void)arg;
    const slm__work *w = &ctx->work;
    norm_row(ctx, w->wanted[i], ctx->model->output_norm, &w->final, i);
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
    slm__observe_input(ctx, &w->final, first_row, w->n_wanted, &logits, 1);
    matmul(ctx, &w->final, w->n_wanted, &logits, 1);
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
