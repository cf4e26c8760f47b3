/* Attention over the pages of the cache.
 *
 * Each page gives, for a query, the maximum, the sum and the weighted values of a softmax over its 64 positions alone; pages
 * are folded together in rising order ("online softmax", Milakov and Gimelshein 2018, arXiv:1805.02867). A query's result
 * depends on nothing but its position and the cache, so it is the same in any batch. Limits are index ranges: there is no mask.
 *
 * The work is divided into tiles of consecutive tokens times KV heads; the query heads that share a KV head go together. Where
 * that is too little for all threads (a token of a long text), pages are computed side by side and folded afterwards, in the same
 * order. */
#include "context.h"

#include <math.h>

int32_t slm__tile_tokens(const slm__hparams *hp) {
    uint32_t group = hp->n_head / hp->n_head_kv;
    return group >= 32 ? 1 : (int32_t)(32 / group);
}

/* Queries of a tile: [token, head of the group]. */
typedef struct tile_state {
    float *q;                   /* [n_q, head_dim_stored] scaled */
    float *out, *page_out;      /* [n_q, head_dim_stored] */
    float *max, *sum;           /* [n_q] */
    float *page_max, *page_sum; /* [n_q] */
    int32_t *first, *last;      /* [n_q] */
} tile_state;

static uint64_t queries(const slm__hparams *hp) {
    return (uint64_t)slm__tile_tokens(hp) * (hp->n_head / hp->n_head_kv);
}

static uint64_t stored_dim(const slm__hparams *hp) {
    return (hp->head_dim + SLM_LANES - 1) / SLM_LANES * SLM_LANES;
}

uint64_t slm__attention_scratch(const slm__hparams *hp) {
    return queries(hp) * (3 * stored_dim(hp) + 6) * sizeof(float);
}

/* In the scratch of a thread. */
static tile_state tile_in_scratch(const slm_context *ctx, int32_t thread) {
    const slm__hparams *hp = &ctx->model->hp;
    void *scratch = slm__scratch(ctx, thread);
    uint64_t n = queries(hp), rows = n * stored_dim(hp);
    tile_state s;
    s.q = scratch;
    s.out = s.q + rows;
    s.page_out = s.out + rows;
    s.max = s.page_out + rows;
    s.sum = s.max + n;
    s.page_max = s.sum + n;
    s.page_sum = s.page_max + n;
    s.first = (int32_t *)(s.page_sum + n);
    s.last = s.first + n;
    return s;
}

typedef struct attention_loop {
    slm_context *ctx;
    int32_t layer;
    int32_t first; /* page of all */
    int32_t begin; /* page 0 of the round */
} attention_loop;

typedef struct page_range {
    int32_t first, last;
} page_range;

/* Work is counted in pairs: tile * n_head_kv + KV head. */
static const slm__tile *tile_of(const attention_loop *l, int32_t pair) {
    return &l->ctx->work.tiles[pair / (int32_t)l->ctx->model->hp.n_head_kv];
}

static int32_t head_of(const attention_loop *l, int32_t pair) {
    return pair % (int32_t)l->ctx->model->hp.n_head_kv;
}

static void begin_tile(const slm_context *ctx, const slm__tile *tile, int32_t head_kv,
                       tile_state *s) {
    const slm__hparams *hp = &ctx->model->hp;
    uint32_t group = hp->n_head / hp->n_head_kv, hd = hp->head_dim;
    uint64_t stored = stored_dim(hp);
    float scale = hp->attn_scale;
    for (int32_t i = 0; i < tile->n_tokens * (int32_t)group; i++) {
        uint64_t token = (uint64_t)tile->token + (uint32_t)i / group;
        uint64_t head = (uint64_t)head_kv * group + (uint32_t)i % group;
        const float *q = ctx->work.q + (token * hp->n_head + head) * hd;
        float *row = s->q + (uint64_t)i * stored;
        for (uint32_t d = 0; d < hd; d++) row[d] = q[d] * scale;
        memset(s->out + (uint64_t)i * stored, 0, stored * sizeof(float));
        s->max[i] = -INFINITY;
        s->sum[i] = 0;
    }
}

static void end_tile(const slm_context *ctx, const slm__tile *tile, int32_t head_kv,
                     const tile_state *s) {
    const slm__hparams *hp = &ctx->model->hp;
    uint32_t group = hp->n_head / hp->n_head_kv, hd = hp->head_dim;
    for (int32_t i = 0; i < tile->n_tokens * (int32_t)group; i++) {
        uint64_t token = (uint64_t)tile->token + (uint32_t)i / group;
        uint64_t head = (uint64_t)head_kv * group + (uint32_t)i % group;
        const float *row = s->out + (uint64_t)i * stored_dim(hp);
        float *out = ctx->work.attended.x + (token * hp->n_head + head) * hd;
        float inverse = 1.0f / s->sum[i];
        for (uint32_t d = 0; d < hd; d++) out[d] = row[d] * inverse;
    }
}

static int32_t heads_of_group(const slm_context *ctx) {
    return (int32_t)(ctx->model->hp.n_head / ctx->model->hp.n_head_kv);
}

static int32_t n_queries(const slm_context *ctx, const slm__tile *tile) {
    return tile->n_tokens * heads_of_group(ctx);
}

/* The first position that a token at `position` sees. */
static int32_t window_begin(const slm_context *ctx, int32_t layer, int32_t position) {
    int64_t window = ctx->model->layers[layer].window;
    return window && position >= window ? (int32_t)(position - window + 1) : 0;
}

static int32_t first_page(const slm_context *ctx, const slm__tile *tile, int32_t layer) {
    return window_begin(ctx, layer, ctx->work.positions[tile->token]) / SLM_PAGE;
}

static int32_t last_page(const slm_context *ctx, const slm__tile *tile) {
    return ctx->work.positions[tile->token + tile->n_tokens - 1] / SLM_PAGE;
}

/* Queries of a tile that see some of the page: `begin` to `end` - 1. Those before come too early in the text; those behind have a
 * window that has left it. */
typedef struct query_range {
    int32_t begin, end;
} query_range;

static query_range queries_of(const slm_context *ctx, const slm__tile *tile, int32_t layer,
                              int32_t page) {
    int32_t begin = page * SLM_PAGE, end = tile->n_tokens,
            first_pos = ctx->work.positions[tile->token], group = heads_of_group(ctx);
    while (end > 0 && window_begin(ctx, layer, first_pos + end - 1) >= begin + SLM_PAGE) end--;
    return (query_range){(begin > first_pos ? begin - first_pos : 0) * group, end * group};
}

/* s->page_max, page_sum, page_out of the queries that see the page; the one after it, if it is at most `end`, comes next. */
static void compute_page(const slm_context *ctx, const slm__tile *tile, int32_t layer,
                         int32_t head_kv, int32_t page, int32_t end, const tile_state *s) {
    const slm__kv *kv = &ctx->kv;
    int32_t group = heads_of_group(ctx), stored = kv->head_dim_stored;
    query_range q = queries_of(ctx, tile, layer, page);
    int32_t at = q.begin;
    if (q.begin >= q.end) return;
    for (int32_t i = q.begin; i < q.end; i++) {
        int32_t position = ctx->work.positions[tile->token] + i / group;
        int32_t first = window_begin(ctx, layer, position) - page * SLM_PAGE;
        int32_t last = position - page * SLM_PAGE;
        s->first[i] = first > 0 ? first : 0;
        s->last[i] = last < SLM_PAGE ? last : SLM_PAGE - 1;
    }
    int32_t seq = ctx->work.sequences[tile->token];
    const uint8_t *k = slm__kv_keys(kv, layer, seq, page, head_kv);
    const uint8_t *v = slm__kv_values(kv, layer, seq, page, head_kv);
    slm_attn_page a = {
        .k = k,
        .v = v,
        .k_scale = slm__kv_scales(kv, k, kv->head_dim),
        .v_scale = slm__kv_scales(kv, v, stored),
        .next_k = page < end ? slm__kv_keys(kv, layer, seq, page + 1, head_kv) : NULL,
        .head_dim = kv->head_dim,
        .head_dim_stored = stored,
        .n_q = q.end - at,
        .soft_cap = ctx->model->hp.attn_cap,
        .q = s->q + (int64_t)at * stored,
        .first = s->first + at,
        .last = s->last + at,
        .max = s->page_max + at,
        .sum = s->page_sum + at,
        .out = s->page_out + (int64_t)at * stored,
    };
    ctx->kernels->attn_page[kv->store](&a);
}

static void fold_page(const slm_context *ctx, const slm__tile *tile, int32_t layer, int32_t page,
                      const tile_state *s) {
    int32_t stored = ctx->kv.head_dim_stored;
    query_range q = queries_of(ctx, tile, layer, page);
    for (int32_t i = q.begin; i < q.end; i++) {
        ctx->kernels->attn_merge(&s->max[i], &s->sum[i], s->out + (int64_t)i * stored,
                                 s->page_max[i], s->page_sum[i], s->page_out + (int64_t)i * stored,
                                 stored);
    }
}

/* ---- A tile and a KV head at a time ---- */

static void attention_chunk(void *arg, int32_t chunk, int32_t thread) {
    const attention_loop *l = arg;
    slm_context *ctx = l->ctx;
    const slm__tile *tile = tile_of(l, chunk);
    int32_t head_kv = head_of(l, chunk);
    tile_state s = tile_in_scratch(ctx, thread);

    int32_t last = last_page(ctx, tile);
    begin_tile(ctx, tile, head_kv, &s);
    for (int32_t page = first_page(ctx, tile, l->layer); page <= last; page++) {
        compute_page(ctx, tile, l->layer, head_kv, page, last, &s);
        fold_page(ctx, tile, l->layer, page, &s);
    }
    end_tile(ctx, tile, head_kv, &s);
}

/* ---- Pages side by side ---- */

/* Tiles of that many tokens at most, pages of a round, pages of a chunk. */
enum { SPLIT_TOKENS = 4, SPLIT_PAGES = 32, CHUNK_PAGES = 4 };

/* Pairs of tile and KV head for which splitting pays: with more, every thread has enough to do. */
static int32_t split_pairs(int32_t n_threads) { return n_threads > 1 ? 2 * n_threads : 0; }

/* Results of a page, or of all so far: max, sum, out of the queries of a pair. */
static uint64_t result_floats(const slm__hparams *hp) {
    uint64_t n = (uint64_t)SPLIT_TOKENS * (hp->n_head / hp->n_head_kv);
    return (n < queries(hp) ? n : queries(hp)) * (stored_dim(hp) + 2);
}

uint64_t slm__split_floats(const slm__hparams *hp, int32_t n_threads) {
    return (uint64_t)split_pairs(n_threads) * (SPLIT_PAGES + 1) * result_floats(hp);
}

static float *result_at(const attention_loop *l, int32_t pair, int32_t page) {
    const slm__hparams *hp = &l->ctx->model->hp;
    return l->ctx->work.split +
           ((uint64_t)pair * (SPLIT_PAGES + 1) + (uint64_t)page) * result_floats(hp);
}

static void set_result(float *at, int32_t n_q, float **max, float **sum, float **out) {
    *max = at;
    *sum = at + n_q;
    *out = at + 2 * n_q;
}

/* Some pages of a pair: chunk = pair * chunks of a round + place in it. */
static void pages_chunk(void *arg, int32_t chunk, int32_t thread) {
    const attention_loop *l = arg;
    slm_context *ctx = l->ctx;
    int32_t pair = chunk / (SPLIT_PAGES / CHUNK_PAGES);
    int32_t at = chunk % (SPLIT_PAGES / CHUNK_PAGES) * CHUNK_PAGES;
    const slm__tile *tile = tile_of(l, pair);
    int32_t head_kv = head_of(l, pair);
    tile_state s = tile_in_scratch(ctx, thread);
    int32_t last = last_page(ctx, tile) - l->begin;
    if (last > at + CHUNK_PAGES - 1) last = at + CHUNK_PAGES - 1;
    begin_tile(ctx, tile, head_kv, &s);
    for (int32_t i = at; i <= last; i++) {
        set_result(result_at(l, pair, i), n_queries(ctx, tile), &s.page_max, &s.page_sum,
                   &s.page_out);
        compute_page(ctx, tile, l->layer, head_kv, l->begin + i, l->begin + last, &s);
    }
}

/* The pages of a round, in order, into what came before. */
static void fold_chunk(void *arg, int32_t pair, int32_t thread) {
    const attention_loop *l = arg;
    slm_context *ctx = l->ctx;
    const slm__tile *tile = tile_of(l, pair);
    int32_t head_kv = head_of(l, pair), n_q = n_queries(ctx, tile), last = last_page(ctx, tile);
    tile_state s = tile_in_scratch(ctx, thread);
    set_result(result_at(l, pair, SPLIT_PAGES), n_q, &s.max, &s.sum, &s.out);
    if (l->begin == l->first) begin_tile(ctx, tile, head_kv, &s);
    for (int32_t i = 0; i < SPLIT_PAGES && l->begin + i <= last; i++) {
        set_result(result_at(l, pair, i), n_q, &s.page_max, &s.page_sum, &s.page_out);
        fold_page(ctx, tile, l->layer, l->begin + i, &s);
    }
    if (l->begin <= last && last < l->begin + SPLIT_PAGES) end_tile(ctx, tile, head_kv, &s);
}

static void attend_split(slm_context *ctx, int32_t layer, int32_t n_pairs, page_range pages) {
    attention_loop l = {ctx, layer, pages.first, pages.first};
    for (; l.begin <= pages.last && !ctx->work.cancelled; l.begin += SPLIT_PAGES) {
        if (l.begin > l.first) slm__tick(ctx);
        slm__pool_run(ctx->pool, 0, n_pairs * (SPLIT_PAGES / CHUNK_PAGES), pages_chunk, &l);
        slm__pool_run(ctx->pool, 0, n_pairs, fold_chunk, &l);
    }
}

/* ---- Both ---- */

/* Is a split worth two loops, and is there room for it? */
static bool splits(const slm_context *ctx, int32_t n_pairs, page_range pages, int32_t most) {
    if (n_pairs > split_pairs(slm__pool_n_threads(ctx->pool)) || most < 4) return false;
    /* windows far apart: most rounds would have nothing in them */
    if (pages.last - pages.first >= most + SPLIT_PAGES) return false;
    for (int32_t i = 0; i < ctx->work.n_tiles; i++)
        if (ctx->work.tiles[i].n_tokens > SPLIT_TOKENS) return false;
    return true;
}

/* In pieces, as slm__matmul(): a chunk is at most a tile's queries by the most pages. */
void slm__attention(slm_context *ctx, int32_t layer) {
    const slm__hparams *hp = &ctx->model->hp;
    attention_loop l = {ctx, layer, 0, 0};
    int32_t n = ctx->work.n_tiles * (int32_t)hp->n_head_kv, most = 0;
    page_range all = {INT32_MAX, 0};
    for (int32_t t = 0; t < ctx->work.n_tiles; t++) {
        const slm__tile *tile = &ctx->work.tiles[t];
        int32_t first = first_page(ctx, tile, layer), last = last_page(ctx, tile);
        all.first = first < all.first ? first : all.first;
        all.last = last > all.last ? last : all.last;
        most = last - first + 1 > most ? last - first + 1 : most;
    }
    if (splits(ctx, n, all, most)) {
        attend_split(ctx, layer, n, all);
        return;
    }
    int64_t cost = (int64_t)(queries(hp) * 2 * hp->head_dim) * most * SLM_PAGE;
    int32_t piece = slm__piece_chunks(ctx, cost);
    for (int32_t i = 0; i < n && !ctx->work.cancelled; i += piece) {
        if (i > 0) slm__tick(ctx);
        slm__pool_run(ctx->pool, i, n - i < piece ? n - i : piece, attention_chunk, &l);
    }
}
