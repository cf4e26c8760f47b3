/* See kv.h. Pages are taken from a stack of free ones; a sequence's table names the page of each of its 64 positions. */
#include "kv.h"

/* ---- How values are stored: a row per kind ---- */

/* A head's values are converted in pieces of PIECE, a whole number of blocks that share a scale. */
enum { PIECE = 64 };

typedef struct piece {
    _Alignas(16) uint8_t values[PIECE * sizeof(float)];
    slm_f16 scales[PIECE / SLM_QBLOCK];
} piece;

static void convert_f32(const slm_kernels *kernels, const float *x, int32_t n, piece *out) {
    (void)kernels;
    memcpy(out->values, x, (size_t)n * sizeof *x);
}
static void convert_f16(const slm_kernels *kernels, const float *x, int32_t n, piece *out) {
    kernels->to_f16(x, n, (slm_f16 *)out->values);
}
static void convert_q8_0(const slm_kernels *kernels, const float *x, int32_t n, piece *out) {
    kernels->to_q8(x, n, (int8_t *)out->values, out->scales);
}

/* Values from element `at` on, a page width apart. */
#define SCATTER(name, type)                                                               \
    static void scatter_##name(const piece *from, int32_t n, uint8_t *page, int64_t at) { \
        for (int32_t i = 0; i < n; i++)                                                   \
            ((type *)page)[at + (int64_t)i * SLM_PAGE] = ((const type *)from->values)[i]; \
    }
SCATTER(f32, float)
SCATTER(f16, slm_f16)
SCATTER(q8_0, int8_t)

#define GATHER(name, type)                                                               \
    static void gather_##name(const uint8_t *page, int64_t at, int32_t n, piece *out) {  \
        for (int32_t i = 0; i < n; i++)                                                  \
            ((type *)out->values)[i] = ((const type *)page)[at + (int64_t)i * SLM_PAGE]; \
    }
GATHER(f32, float)
GATHER(f16, slm_f16)
GATHER(q8_0, int8_t)

static void restore_f32(const slm_kernels *kernels, const piece *p, int32_t n, float *x) {
    (void)kernels;
    memcpy(x, p->values, (size_t)n * sizeof *x);
}
static void restore_f16(const slm_kernels *kernels, const piece *p, int32_t n, float *x) {
    kernels->dequantize[SLM_F16](p->values, n, x);
}
static void restore_q8_0(const slm_kernels *kernels, const piece *p, int32_t n, float *x) {
    float scales[PIECE / SLM_QBLOCK];
    kernels->dequantize[SLM_F16](p->scales, slm__n_blocks(n), scales);
    for (int32_t i = 0; i < n; i++)
        x[i] = scales[i / SLM_QBLOCK] * (float)((const int8_t *)p->values)[i];
}

static const struct store_row {
    uint32_t value_bytes;
    bool scaled;
    void (*convert)(const slm_kernels *kernels, const float *x, int32_t n, piece *out);
    void (*restore)(const slm_kernels *kernels, const piece *p, int32_t n, float *x);
    void (*scatter)(const piece *from, int32_t n, uint8_t *page, int64_t at);
    void (*gather)(const uint8_t *page, int64_t at, int32_t n, piece *out);
} stores[SLM_N_STORES] = {
#define STORE(name, type, scaled) \
    { sizeof(type), scaled, convert_##name, restore_##name, scatter_##name, gather_##name }
    [SLM_STORE_F16] = STORE(f16, slm_f16, false),
    [SLM_STORE_F32] = STORE(f32, float, false),
    [SLM_STORE_Q8_0] = STORE(q8_0, int8_t, true),
#undef STORE
};

/* ---- Layout ---- */

/* Keys or values of a head in a page: 64 times n_values, behind them the scales. */
static uint64_t values_size(slm_kv_store store, int32_t n_values) {
    return (uint64_t)n_values * SLM_PAGE * stores[store].value_bytes;
}

static uint64_t part_bytes(slm_kv_store store, int32_t n_values) {
    uint64_t scales = stores[store].scaled ? (uint64_t)slm__n_blocks(n_values) * SLM_PAGE : 0;
    return values_size(store, n_values) + scales * sizeof(slm_f16);
}

const slm_f16 *slm__kv_scales(const slm__kv *kv, const uint8_t *part, int32_t n_values) {
    return stores[kv->store].scaled ? (const slm_f16 *)(part + values_size(kv->store, n_values))
                                    : NULL;
}

static int32_t pages_for(int32_t positions) { return (positions + SLM_PAGE - 1) / SLM_PAGE; }

/* Pages of a sequence in layers with a window: what the first token of a batch sees and SLM_KV_BEHIND more, and the batch, which may
 * begin anywhere in a page. */
static int64_t pages_of_window(uint32_t window, int32_t n_batch) {
    int64_t n = (int64_t)window - 1 + SLM_KV_BEHIND + n_batch;
    return (n - 1 + SLM_PAGE - 1) / SLM_PAGE + 1;
}

static bool group_layout(slm__kv_group *g, const slm__kv *kv, uint32_t n_layer, int64_t n_pages,
                         uint64_t *data_bytes) {
    uint64_t pages;
    g->n_layer = (int32_t)n_layer;
    g->n_pages = (int32_t)n_pages;
    return slm__mul((uint64_t)g->n_pages, n_layer, &pages) &&
           slm__mul(kv->page_bytes, pages, data_bytes) && *data_bytes <= (uint64_t)1 << 46;
}

/* Fill in all sizes; pointers stay NULL. */
static slm_status kv_layout(slm__kv *kv, const slm__hparams *hp, const slm__kv_params *p,
                            uint64_t data_bytes[N_KV_GROUPS], slm_error *err) {
    *kv = (slm__kv){
        .store = p->store,
        .n_ctx = p->n_ctx,
        .n_seq = p->n_seq,
        .head_dim = (int32_t)hp->head_dim,
        .head_dim_stored = (int32_t)(hp->head_dim + SLM_LANES - 1) / SLM_LANES * SLM_LANES,
        .n_head_kv = (int32_t)hp->n_head_kv,
        .pages_per_seq = pages_for(p->n_ctx),
    };
    slm__kv_group *all = &kv->groups[KV_GLOBAL], *local = &kv->groups[KV_LOCAL];
    kv->key_bytes = part_bytes(p->store, kv->head_dim);
    kv->value_bytes = part_bytes(p->store, kv->head_dim_stored);
    /* the last page of each sequence may be partly empty */
    int64_t n_pages = (int64_t)pages_for(p->n_ctx) + p->n_seq - 1;
    int64_t n_local = pages_of_window(hp->window, p->n_batch) * p->n_seq;
    if (p->keep_all || n_local > n_pages) n_local = n_pages;
    if (hp->n_local == 0) n_local = 0;
    if (!p->keep_all) local->window = (int32_t)hp->window;
    if (!slm__mul(kv->key_bytes + kv->value_bytes, hp->n_head_kv, &kv->page_bytes) ||
        !group_layout(all, kv, hp->n_layer - hp->n_local, n_pages, &data_bytes[KV_GLOBAL]) ||
        !group_layout(local, kv, hp->n_local, n_local, &data_bytes[KV_LOCAL])) {
        return slm__fail(err, SLM_ERR_LIMIT, "a KV cache of %d positions is too large", p->n_ctx);
    }
    return SLM_OK;
}

static uint64_t table_entries(const slm__kv *kv) {
    return (uint64_t)kv->n_seq * (uint64_t)kv->pages_per_seq;
}

slm_status slm__kv_bytes(const slm__hparams *hp, const slm__kv_params *p, uint64_t *n_bytes,
                         slm_error *err) {
    slm__kv kv;
    uint64_t data[N_KV_GROUPS], per_seq = slm__alloc_cost((uint64_t)p->n_seq * sizeof(int32_t));
    SLM_TRY(kv_layout(&kv, hp, p, data, err));
    uint64_t pages = (uint64_t)kv.groups[KV_GLOBAL].n_pages;
    *n_bytes =
        per_seq + slm__alloc_cost(pages) + slm__alloc_cost(pages * SLM_PAGE * sizeof(slm_token));
    for (int i = 0; i < N_KV_GROUPS; i++) {
        *n_bytes += slm__alloc_cost(data[i]) +
                    2 * slm__alloc_cost((uint64_t)kv.groups[i].n_pages * sizeof(int32_t)) +
                    slm__alloc_cost(table_entries(&kv) * sizeof(int32_t)) + 3 * per_seq;
    }
    return SLM_OK;
}

static bool group_init(slm__kv_group *g, const slm__kv *kv, uint64_t data_bytes) {
    const slm_allocator *a = kv->allocator;
    g->data = slm__alloc(a, data_bytes);
    g->n_users = slm__alloc_array(a, (uint64_t)g->n_pages, sizeof(int32_t));
    g->free_pages = slm__alloc_array(a, (uint64_t)g->n_pages, sizeof(int32_t));
    g->tables = slm__alloc_array(a, table_entries(kv), sizeof(int32_t));
    g->begin = slm__alloc_array(a, (uint64_t)kv->n_seq, sizeof(int32_t));
    g->end = slm__alloc_array(a, (uint64_t)kv->n_seq, sizeof(int32_t));
    g->first = slm__alloc_array(a, (uint64_t)kv->n_seq, sizeof(int32_t));
    if (!g->data || !g->n_users || !g->free_pages || !g->tables || !g->begin || !g->end ||
        !g->first)
        return false;
    /* a long text touches all of the cache for each token, a few KiB here and there */
    slm__ask_for_large_pages(g->data, data_bytes);
    for (int32_t i = g->n_pages; i-- > 0;) g->free_pages[g->n_free++] = i;
    return true;
}

slm_status slm__kv_init(slm__kv *kv, const slm_model *m, const slm__kv_params *p,
                        const slm_allocator *allocator, slm_error *err) {
    uint64_t data[N_KV_GROUPS];
    SLM_TRY(kv_layout(kv, &m->hp, p, data, err));
    kv->allocator = allocator;
    kv->layers = m->layers;
    kv->lengths = slm__alloc_array(allocator, (uint64_t)kv->n_seq, sizeof(int32_t));
    uint64_t pages = (uint64_t)kv->groups[KV_GLOBAL].n_pages;
    kv->n_filled = slm__alloc(allocator, pages);
    kv->tokens = slm__alloc_array(allocator, pages, SLM_PAGE * sizeof(slm_token));
    bool ok = kv->lengths && kv->n_filled && kv->tokens;
    for (int i = 0; i < N_KV_GROUPS && ok; i++) ok = group_init(&kv->groups[i], kv, data[i]);
    if (ok) return SLM_OK;
    slm__kv_destroy(kv);
    return slm__fail(err, SLM_ERR_NOMEM, "no memory for a KV cache of %d positions (%llu bytes)",
                     p->n_ctx, (unsigned long long)(data[KV_GLOBAL] + data[KV_LOCAL]));
}

void slm__kv_destroy(slm__kv *kv) {
    for (int i = 0; i < N_KV_GROUPS; i++) {
        slm__kv_group *g = &kv->groups[i];
        slm__free(kv->allocator, g->data);
        slm__free(kv->allocator, g->n_users);
        slm__free(kv->allocator, g->free_pages);
        slm__free(kv->allocator, g->tables);
        slm__free(kv->allocator, g->begin);
        slm__free(kv->allocator, g->end);
        slm__free(kv->allocator, g->first);
    }
    slm__free(kv->allocator, kv->lengths);
    slm__free(kv->allocator, kv->n_filled);
    slm__free(kv->allocator, kv->tokens);
    *kv = (slm__kv){0};
}

/* ---- Pages of a sequence ---- */

static int32_t *table_of(const slm__kv *kv, const slm__kv_group *g, int32_t seq) {
    return g->tables + (int64_t)seq * kv->pages_per_seq;
}

static void fill(slm__kv *kv, int32_t page, int32_t n) {
    kv->used += n - kv->n_filled[page];
    kv->n_filled[page] = (uint8_t)n;
}

static int32_t take(slm__kv_group *g) {
    int32_t page = g->free_pages[--g->n_free];
    g->n_users[page] = 1;
    return page;
}

static void give_back(slm__kv *kv, slm__kv_group *g, int32_t page) {
    if (--g->n_users[page] > 0) return;
    g->free_pages[g->n_free++] = page;
    if (g == &kv->groups[KV_GLOBAL]) fill(kv, page, 0);
}

/* The page that the next position of the sequence goes to, if it begins before that and others hold it, too; else -1. */
static int32_t shared_page(const slm__kv *kv, const slm__kv_group *g, int32_t seq) {
    int32_t i = kv->lengths[seq] / SLM_PAGE;
    if (kv->lengths[seq] % SLM_PAGE == 0 || i >= g->end[seq]) return -1;
    int32_t page = table_of(kv, g, seq)[i];
    return g->n_users[page] > 1 ? page : -1;
}

static void copy_page(const slm__kv *kv, const slm__kv_group *g, int32_t from, int32_t to) {
    memcpy(slm__kv_page_at(kv, g, 0, to), slm__kv_page_at(kv, g, 0, from),
           (size_t)((uint64_t)g->n_layer * kv->page_bytes));
    if (g == &kv->groups[KV_GLOBAL])
        memcpy(kv->tokens + (int64_t)to * SLM_PAGE, kv->tokens + (int64_t)from * SLM_PAGE,
               SLM_PAGE * sizeof(slm_token));
}

/* The sequence has page `i` of its table, of which it uses n_filled positions, to itself. There is a free one. */
static void own(slm__kv *kv, slm__kv_group *g, int32_t seq, int32_t i, int32_t n_filled) {
    int32_t *at = table_of(kv, g, seq) + i, before = *at;
    if (g->n_users[before] == 1) return;
    *at = take(g);
    copy_page(kv, g, before, *at);
    give_back(kv, g, before);
    if (g == &kv->groups[KV_GLOBAL]) fill(kv, *at, n_filled);
}

/* Hold pages up to `end`, and the one that is written to next for itself; false: there are not so many. */
static bool take_to(slm__kv *kv, slm__kv_group *g, int32_t seq, int32_t end) {
    int32_t *table = table_of(kv, g, seq), length = kv->lengths[seq];
    if (end * SLM_PAGE > length && shared_page(kv, g, seq) >= 0) {
        if (g->n_free == 0) return false;
        own(kv, g, seq, length / SLM_PAGE, length % SLM_PAGE);
    }
    for (; g->end[seq] < end; g->end[seq]++) {
        if (g->n_free == 0) return false;
        table[g->end[seq]] = take(g);
    }
    return true;
}

/* Give back the pages from `end` on. */
static void drop_from(slm__kv *kv, slm__kv_group *g, int32_t seq, int32_t end) {
    const int32_t *table = table_of(kv, g, seq);
    while (g->end[seq] > end && g->end[seq] > g->begin[seq]) give_back(kv, g, table[--g->end[seq]]);
    if (g->end[seq] > end) g->begin[seq] = g->end[seq] = end;
    if (end == 0) g->first[seq] = 0;
}

/* Give back the pages before `begin`. */
static void drop_before(slm__kv *kv, slm__kv_group *g, int32_t seq, int32_t begin) {
    const int32_t *table = table_of(kv, g, seq);
    while (g->begin[seq] < begin && g->begin[seq] < g->end[seq])
        give_back(kv, g, table[g->begin[seq]++]);
    if (g->first[seq] < g->begin[seq] * SLM_PAGE) g->first[seq] = g->begin[seq] * SLM_PAGE;
}

int32_t slm__kv_cost(const slm__kv *kv, int32_t seq, int32_t length) {
    int32_t more = length - kv->lengths[seq];
    bool copies = more > 0 && shared_page(kv, &kv->groups[KV_GLOBAL], seq) >= 0;
    return more + (copies ? kv->lengths[seq] % SLM_PAGE : 0);
}

int32_t slm__kv_room(slm__kv *kv) {
    for (int32_t s = 0; s < kv->n_seq; s++) slm__kv_set_length(kv, s, kv->lengths[s]);
    return kv->n_ctx - kv->used;
}

slm_status slm__kv_grow(slm__kv *kv, int32_t seq, int32_t length, slm_error *err) {
    slm__kv_group *g = &kv->groups[KV_GLOBAL];
    if (length == kv->lengths[seq] || take_to(kv, g, seq, pages_for(length))) return SLM_OK;
    return slm__fail(err, SLM_ERR_CONTEXT_FULL, "sequence %d: no page left for position %d", seq,
                     g->end[seq] * SLM_PAGE);
}

bool slm__kv_slide(slm__kv *kv, int32_t seq, int32_t end) {
    slm__kv_group *g = &kv->groups[KV_LOCAL];
    if (g->n_pages == 0 || end == kv->lengths[seq]) return true;
    drop_before(kv, g, seq, slm__kv_first_needed(kv, seq) / SLM_PAGE);
    return take_to(kv, g, seq, pages_for(end));
}

void slm__kv_fork(slm__kv *kv, int32_t from, int32_t to, int32_t length) {
    for (int i = 0; i < N_KV_GROUPS; i++) {
        slm__kv_group *g = &kv->groups[i];
        if (g->n_pages == 0) continue;
        g->begin[to] = g->begin[from];
        g->first[to] = g->first[from];
        g->end[to] = pages_for(length);
        for (int32_t p = g->begin[to]; p < g->end[to]; p++) {
            int32_t page = table_of(kv, g, from)[p];
            table_of(kv, g, to)[p] = page;
            g->n_users[page]++;
        }
    }
    kv->lengths[to] = length;
}

slm_status slm__kv_place(slm__kv *kv, int32_t seq, int32_t length, int32_t first, slm_error *err) {
    slm__kv_group *g = &kv->groups[KV_LOCAL];
    if (length > slm__kv_room(kv))
        return slm__fail(err, SLM_ERR_CONTEXT_FULL, "%d positions, %d of %d are free", length,
                         kv->n_ctx - kv->used, kv->n_ctx);
    SLM_TRY(slm__kv_grow(kv, seq, length, err)); /* there are pages where there is room */
    slm__kv_set_length(kv, seq, length);
    if (g->n_pages == 0) return SLM_OK;
    g->begin[seq] = g->end[seq] = first / SLM_PAGE;
    g->first[seq] = first;
    take_to(kv, g, seq, pages_for(length));
    return SLM_OK;
}

/* Pages that others hold, too, keep what these fill. */
void slm__kv_set_length(slm__kv *kv, int32_t seq, int32_t length) {
    const slm__kv_group *g = &kv->groups[KV_GLOBAL];
    int32_t before = kv->lengths[seq], low = before < length ? before : length,
            high = before > length ? before : length;
    kv->lengths[seq] = length;
    for (int32_t i = low / SLM_PAGE; i < pages_for(high); i++) {
        int32_t page = table_of(kv, g, seq)[i], n = length - i * SLM_PAGE;
        if (g->n_users[page] == 1) fill(kv, page, n < 0 ? 0 : n > SLM_PAGE ? SLM_PAGE : n);
    }
}

void slm__kv_trim(slm__kv *kv, int32_t seq) {
    for (int i = 0; i < N_KV_GROUPS; i++)
        drop_from(kv, &kv->groups[i], seq, pages_for(kv->lengths[seq]));
}

int32_t slm__kv_shortest(const slm__kv *kv, int32_t seq) {
    const slm__kv_group *g = &kv->groups[KV_LOCAL];
    return g->first[seq] == 0 ? 0 : g->first[seq] + g->window - 1;
}

int32_t slm__kv_first_needed(const slm__kv *kv, int32_t seq) {
    const slm__kv_group *g = &kv->groups[KV_LOCAL];
    int32_t seen = kv->lengths[seq] - g->window + 1 - SLM_KV_BEHIND;
    return g->window == 0 || seen < g->first[seq] ? g->first[seq] : seen;
}

/* ---- Storing ---- */

/* Values d to d + n - 1 of a position in a part, which has n_values a position as a column [n_values, 64] (keys) or a row
 * [64, n_values] (values). */
typedef struct place {
    const slm__kv *kv;
    uint8_t *part;
    int32_t n_values, slot;
    bool column;
} place;

static slm_f16 *scales_at(const place *at, int32_t d) {
    slm_f16 *scales = (slm_f16 *)(at->part + values_size(at->kv->store, at->n_values));
    return scales + d / SLM_QBLOCK * SLM_PAGE + at->slot;
}

static uint8_t *row_at(const place *at, int32_t d) {
    return at->part + ((uint64_t)at->slot * (uint64_t)at->n_values + (uint64_t)d) *
                          stores[at->kv->store].value_bytes;
}

static void put_piece(const place *at, int32_t d, int32_t n, const piece *p) {
    const struct store_row *store = &stores[at->kv->store];
    if (at->column) {
        store->scatter(p, n, at->part, (int64_t)d * SLM_PAGE + at->slot);
    } else {
        memcpy(row_at(at, d), p->values, (size_t)n * store->value_bytes);
    }
    for (int32_t b = 0; store->scaled && b < slm__n_blocks(n); b++)
        scales_at(at, d)[b * SLM_PAGE] = p->scales[b];
}

static void get_piece(const place *at, int32_t d, int32_t n, piece *p) {
    const struct store_row *store = &stores[at->kv->store];
    if (at->column) {
        store->gather(at->part, (int64_t)d * SLM_PAGE + at->slot, n, p);
    } else {
        memcpy(p->values, row_at(at, d), (size_t)n * store->value_bytes);
    }
    for (int32_t b = 0; store->scaled && b < slm__n_blocks(n); b++)
        p->scales[b] = scales_at(at, d)[b * SLM_PAGE];
}

static int32_t piece_at(const slm__kv *kv, int32_t d) {
    return kv->head_dim - d < PIECE ? kv->head_dim - d : PIECE;
}

static void store_head(const place *at, const slm_kernels *kernels, const float *x) {
    for (int32_t d = 0; d < at->kv->head_dim; d += PIECE) {
        int32_t n = piece_at(at->kv, d);
        piece p;
        stores[at->kv->store].convert(kernels, x + d, n, &p);
        put_piece(at, d, n, &p);
    }
}

static void load_head(const place *at, const slm_kernels *kernels, float *x) {
    for (int32_t d = 0; d < at->kv->head_dim; d += PIECE) {
        int32_t n = piece_at(at->kv, d);
        piece p;
        get_piece(at, d, n, &p);
        stores[at->kv->store].restore(kernels, &p, n, x + d);
    }
}

static void copy_head(const place *from, const place *to) {
    for (int32_t d = 0; d < from->kv->head_dim; d += PIECE) {
        int32_t n = piece_at(from->kv, d);
        piece p;
        get_piece(from, d, n, &p);
        put_piece(to, d, n, &p);
    }
}

static place keys_place(const slm__kv *kv, uint8_t *head, int32_t slot) {
    return (place){kv, head, kv->head_dim, slot, true};
}

static place values_place(const slm__kv *kv, uint8_t *head, int32_t slot) {
    return (place){kv, head + kv->key_bytes, kv->head_dim_stored, slot, false};
}

void slm__kv_store(const slm__kv *kv, const slm_kernels *kernels, int32_t layer, int32_t seq,
                   int32_t pos, const float *k, const float *v) {
    for (int32_t head = 0; head < kv->n_head_kv; head++) {
        uint8_t *data = slm__kv_keys(kv, layer, seq, pos / SLM_PAGE, head);
        place keys = keys_place(kv, data, pos % SLM_PAGE),
              values = values_place(kv, data, pos % SLM_PAGE);
        store_head(&keys, kernels, k + (int64_t)head * kv->head_dim);
        store_head(&values, kernels, v + (int64_t)head * kv->head_dim);
    }
}

void slm__kv_clear(const slm__kv *kv, uint8_t *page, int32_t from, int32_t to) {
    const piece zeros = {0};
    for (int32_t head = 0; head < kv->n_head_kv; head++) {
        uint8_t *data = page + (uint64_t)head * (kv->key_bytes + kv->value_bytes);
        for (int32_t slot = from; slot < to; slot++) {
            place keys = keys_place(kv, data, slot), values = values_place(kv, data, slot);
            for (int32_t d = 0; d < kv->head_dim; d += PIECE) {
                put_piece(&keys, d, piece_at(kv, d), &zeros);
                put_piece(&values, d, piece_at(kv, d), &zeros);
            }
        }
    }
}

/* ---- Removing ---- */

/* All heads of a position of a page of one layer. */
static void copy_position(const slm__kv *kv, uint8_t *from, int32_t from_slot, uint8_t *to,
                          int32_t to_slot) {
    for (int32_t head = 0; head < kv->n_head_kv; head++) {
        uint64_t at = (uint64_t)head * (kv->key_bytes + kv->value_bytes);
        place k = keys_place(kv, from + at, from_slot), to_k = keys_place(kv, to + at, to_slot);
        place v = values_place(kv, from + at, from_slot), to_v = values_place(kv, to + at, to_slot);
        copy_head(&k, &to_k);
        copy_head(&v, &to_v);
    }
}

/* The first n positions of page `from` become those of page `to`. */
static void copy_begin_of_page(slm__kv *kv, const slm__kv_group *g, int32_t from, int32_t to,
                               int32_t n) {
    for (int32_t l = 0; l < g->n_layer; l++)
        for (int32_t slot = 0; slot < n; slot++)
            copy_position(kv, slm__kv_page_at(kv, g, l, from), slot, slm__kv_page_at(kv, g, l, to),
                          slot);
    if (g == &kv->groups[KV_GLOBAL])
        memcpy(kv->tokens + (int64_t)to * SLM_PAGE, kv->tokens + (int64_t)from * SLM_PAGE,
               (size_t)n * sizeof(slm_token));
}

/* The first position of a group that stays where it is or moves, as it will be counted. */
static int32_t first_after(const slm__kv_group *g, int32_t seq, int32_t begin, int32_t end) {
    int32_t first = g->first[seq];
    return first <= begin ? first : (first > end ? first : end) - (end - begin);
}

static slm_status check_cut(slm__kv *kv, int32_t seq, int32_t begin, int32_t end, slm_error *err) {
    const slm__kv_group *all = &kv->groups[KV_GLOBAL], *local = &kv->groups[KV_LOCAL];
    int32_t length = kv->lengths[seq] - (end - begin), seen = length - local->window + 1;
    int32_t first = first_after(local, seq, begin, end), n_copies = 0, n_positions = 0;
    if (local->window && first > 0 && first > seen)
        return slm__fail(err, SLM_ERR_RANGE,
                         "without positions %d to %d, sequence %d would see some that layers with "
                         "a window have given back (keep_all)",
                         begin, end - 1, seq);
    for (int32_t i = begin / SLM_PAGE + (end - begin) / SLM_PAGE; i < all->end[seq]; i++) {
        int32_t n = kv->lengths[seq] - i * SLM_PAGE;
        if (all->n_users[table_of(kv, all, seq)[i]] == 1) continue;
        n_copies++;
        n_positions += n < SLM_PAGE ? n : SLM_PAGE;
    }
    if (n_copies > all->n_free || n_positions > slm__kv_room(kv))
        return slm__fail(err, SLM_ERR_CONTEXT_FULL,
                         "%d positions behind those removed are shared, and no room to copy them",
                         n_positions);
    return SLM_OK;
}

/* Behind position `begin`, `less` pages go; what the page there holds before it, goes into the one that takes its place. */
static void cut_pages_behind(slm__kv *kv, slm__kv_group *g, int32_t seq, int32_t begin,
                             int32_t less) {
    int32_t *table = table_of(kv, g, seq), page = begin / SLM_PAGE, n = g->end[seq] - page - less;
    for (int32_t i = page + less; i < g->end[seq]; i++) {
        int32_t n_filled = kv->lengths[seq] - i * SLM_PAGE;
        own(kv, g, seq, i, n_filled < SLM_PAGE ? n_filled : SLM_PAGE);
    }
    if (less == 0) return;
    copy_begin_of_page(kv, g, table[page], table[page + less], begin % SLM_PAGE);
    for (int32_t i = page; i < page + less; i++) give_back(kv, g, table[i]);
    memmove(table + page, table + page + less, (size_t)n * sizeof *table);
    g->end[seq] -= less;
}

/* Nothing before position `end` is held any more; the pages from there on are counted `less` lower. Returns the first position that moves
 * `by` positions down: where that leads into the page in front, this is taken only if the window needs it, which depends on nothing but this
 * sequence and keeps it within pages_of_window(). */
static int32_t move_pages_down(slm__kv *kv, slm__kv_group *g, int32_t seq, int32_t end,
                               int32_t less, int32_t by) {
    int32_t *table = table_of(kv, g, seq), first = g->first[seq] > end ? g->first[seq] : end,
            needed = slm__kv_first_needed(kv, seq);
    int32_t seen = kv->lengths[seq] - g->window + 1 - less * SLM_PAGE;
    if (first < needed) first = needed;
    drop_before(kv, g, seq, first / SLM_PAGE);
    for (int32_t i = g->begin[seq]; i < g->end[seq]; i++) {
        own(kv, g, seq, i, 0);
        table[i - less] = table[i];
    }
    g->begin[seq] -= less;
    g->end[seq] -= less;
    first -= less * SLM_PAGE;
    int32_t lacking = by - first % SLM_PAGE;
    if (lacking > 0 && first + lacking > seen) {
        table[--g->begin[seq]] = take(g);
    } else if (lacking > 0) {
        first += lacking;
    }
    g->first[seq] = first - by;
    return first;
}

slm_status slm__kv_cut(slm__kv *kv, int32_t seq, int32_t begin, int32_t end, slm__kv_move *move,
                       slm_error *err) {
    int32_t less = (end - begin) / SLM_PAGE;
    *move = (slm__kv_move){.seq = seq, .by = (end - begin) % SLM_PAGE};
    SLM_TRY(check_cut(kv, seq, begin, end, err));
    for (int i = 0; i < N_KV_GROUPS; i++) {
        slm__kv_group *g = &kv->groups[i];
        move->from[i] = end - less * SLM_PAGE;
        if (g->n_pages == 0) continue;
        if (g->first[seq] <= begin)
            cut_pages_behind(kv, g, seq, begin, less);
        else
            move->from[i] = move_pages_down(kv, g, seq, end, less, move->by);
    }
    kv->lengths[seq] -= less * SLM_PAGE;
    for (int32_t i = move->from[KV_GLOBAL]; i < kv->lengths[seq] && move->by > 0; i++)
        *slm__kv_token(kv, seq, i - move->by) = *slm__kv_token(kv, seq, i);
    return SLM_OK;
}

void slm__kv_shift(const slm__kv *kv, const slm_kernels *kernels, int32_t layer,
                   const slm__kv_move *move, const slm__kv_turn *turn, float *head) {
    int32_t pos = move->from[kv->layers[layer].window ? KV_LOCAL : KV_GLOBAL];
    for (; pos < kv->lengths[move->seq]; pos++) {
        int32_t to = pos - move->by, slot = pos % SLM_PAGE, to_slot = to % SLM_PAGE;
        uint8_t *data = slm__kv_keys(kv, layer, move->seq, pos / SLM_PAGE, 0),
                *to_data = slm__kv_keys(kv, layer, move->seq, to / SLM_PAGE, 0);
        if (move->by > 0) copy_position(kv, data, slot, to_data, to_slot);
        for (int32_t h = 0; h < kv->n_head_kv && turn->table; h++) {
            place keys =
                keys_place(kv, to_data + (uint64_t)h * (kv->key_bytes + kv->value_bytes), to_slot);
            load_head(&keys, kernels, head);
            slm__rope_head(head, turn->table, turn->n_rot, turn->pairing);
            store_head(&keys, kernels, head);
        }
    }
}
