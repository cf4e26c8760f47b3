/* See kv.h. Pages are taken from a stack of free ones; a sequence's table names the page of each of its 64 positions. */
#include "kv.h"

#include <sys/mman.h>

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

static const struct store_row {
    uint32_t value_bytes;
    bool scaled;
    void (*convert)(const slm_kernels *kernels, const float *x, int32_t n, piece *out);
    void (*scatter)(const piece *from, int32_t n, uint8_t *page, int64_t at);
} stores[SLM_N_STORES] = {
    [SLM_STORE_F16] = {sizeof(slm_f16), false, convert_f16, scatter_f16},
    [SLM_STORE_F32] = {sizeof(float), false, convert_f32, scatter_f32},
    [SLM_STORE_Q8_0] = {sizeof(int8_t), true, convert_q8_0, scatter_q8_0},
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
    *n_bytes = per_seq + slm__alloc_cost((uint64_t)kv.groups[KV_GLOBAL].n_pages);
    for (int i = 0; i < N_KV_GROUPS; i++) {
        *n_bytes += slm__alloc_cost(data[i]) +
                    2 * slm__alloc_cost((uint64_t)kv.groups[i].n_pages * sizeof(int32_t)) +
                    slm__alloc_cost(table_entries(&kv) * sizeof(int32_t)) + 2 * per_seq;
    }
    return SLM_OK;
}

/* A long text touches all of the cache for each token, a few KiB here and there: with small pages of memory each touch is a miss. It
 * is a wish, and whole large pages only: what lies around belongs to others. */
static void ask_for_large_pages(uint8_t *data, uint64_t n_bytes) {
#if defined(MADV_HUGEPAGE)
    const uint64_t size = 2 << 20;
    uint64_t skip = (size - (uintptr_t)data % size) % size;
    if (n_bytes < skip + size) return;
    madvise(data + skip, (n_bytes - skip) / size * size, MADV_HUGEPAGE);
#else
    (void)data, (void)n_bytes;
#endif
}

static bool group_init(slm__kv_group *g, const slm__kv *kv, uint64_t data_bytes) {
    const slm_allocator *a = kv->allocator;
    g->data = slm__alloc(a, data_bytes);
    g->n_users = slm__alloc_array(a, (uint64_t)g->n_pages, sizeof(int32_t));
    g->free_pages = slm__alloc_array(a, (uint64_t)g->n_pages, sizeof(int32_t));
    g->tables = slm__alloc_array(a, table_entries(kv), sizeof(int32_t));
    g->begin = slm__alloc_array(a, (uint64_t)kv->n_seq, sizeof(int32_t));
    g->end = slm__alloc_array(a, (uint64_t)kv->n_seq, sizeof(int32_t));
    if (!g->data || !g->n_users || !g->free_pages || !g->tables || !g->begin || !g->end)
        return false;
    ask_for_large_pages(g->data, data_bytes);
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
    kv->n_filled = slm__alloc(allocator, (uint64_t)kv->groups[KV_GLOBAL].n_pages);
    bool ok = kv->lengths && kv->n_filled;
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
    }
    slm__free(kv->allocator, kv->lengths);
    slm__free(kv->allocator, kv->n_filled);
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
    for (int32_t l = 0; l < g->n_layer; l++) {
        uint8_t *layer = g->data + (uint64_t)l * (uint64_t)g->n_pages * kv->page_bytes;
        memcpy(layer + (uint64_t)to * kv->page_bytes, layer + (uint64_t)from * kv->page_bytes,
               (size_t)kv->page_bytes);
    }
}

/* Hold pages up to `end`, and the one that is written to next for itself; false: there are not so many. */
static bool take_to(slm__kv *kv, slm__kv_group *g, int32_t seq, int32_t end) {
    int32_t *table = table_of(kv, g, seq), shared = shared_page(kv, g, seq);
    if (shared >= 0 && end * SLM_PAGE > kv->lengths[seq]) {
        if (g->n_free == 0) return false;
        int32_t own = take(g);
        copy_page(kv, g, shared, own);
        table[kv->lengths[seq] / SLM_PAGE] = own;
        give_back(kv, g, shared);
        if (g == &kv->groups[KV_GLOBAL]) fill(kv, own, kv->lengths[seq] % SLM_PAGE);
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
}

/* Give back the pages before `begin`. */
static void drop_before(slm__kv *kv, slm__kv_group *g, int32_t seq, int32_t begin) {
    const int32_t *table = table_of(kv, g, seq);
    while (g->begin[seq] < begin && g->begin[seq] < g->end[seq])
        give_back(kv, g, table[g->begin[seq]++]);
}

int32_t slm__kv_cost(const slm__kv *kv, int32_t seq, int32_t length) {
    int32_t more = length - kv->lengths[seq];
    bool copies = more > 0 && shared_page(kv, &kv->groups[KV_GLOBAL], seq) >= 0;
    return more + (copies ? kv->lengths[seq] % SLM_PAGE : 0);
}

slm_status slm__kv_grow(slm__kv *kv, int32_t seq, int32_t length, slm_error *err) {
    slm__kv_group *g = &kv->groups[KV_GLOBAL];
    if (length == kv->lengths[seq] || take_to(kv, g, seq, pages_for(length))) return SLM_OK;
    return slm__fail(err, SLM_ERR_CONTEXT_FULL, "sequence %d: no page left for position %d", seq,
                     g->end[seq] * SLM_PAGE);
}

void slm__kv_slide(slm__kv *kv, int32_t seq, int32_t end) {
    slm__kv_group *g = &kv->groups[KV_LOCAL];
    int32_t seen = kv->lengths[seq] - g->window + 1 - SLM_KV_BEHIND;
    if (g->n_pages == 0 || end == kv->lengths[seq]) return;
    if (g->window && seen > 0) drop_before(kv, g, seq, seen / SLM_PAGE);
    take_to(kv, g, seq, pages_for(end));
}

void slm__kv_fork(slm__kv *kv, int32_t from, int32_t to, int32_t length) {
    for (int i = 0; i < N_KV_GROUPS; i++) {
        slm__kv_group *g = &kv->groups[i];
        if (g->n_pages == 0) continue;
        g->begin[to] = g->begin[from];
        g->end[to] = pages_for(length);
        for (int32_t p = g->begin[to]; p < g->end[to]; p++) {
            int32_t page = table_of(kv, g, from)[p];
            table_of(kv, g, to)[p] = page;
            g->n_users[page]++;
        }
    }
    kv->lengths[to] = length;
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
    return g->begin[seq] == 0 ? 0 : g->begin[seq] * SLM_PAGE + g->window - 1;
}

/* ---- Storing ---- */

/* One position of a head into a part with n_values a position: as a column [n_values, 64] or a row [64, n_values]. */
static void store_head(const slm__kv *kv, const slm_kernels *kernels, const float *x, uint8_t *part,
                       int32_t n_values, int32_t slot, bool column) {
    const struct store_row *store = &stores[kv->store];
    slm_f16 *scales = (slm_f16 *)(part + values_size(kv->store, n_values)) + slot;
    for (int32_t d = 0; d < kv->head_dim; d += PIECE) {
        int32_t n = kv->head_dim - d < PIECE ? kv->head_dim - d : PIECE;
        piece p;
        store->convert(kernels, x + d, n, &p);
        if (column) {
            store->scatter(&p, n, part, (int64_t)d * SLM_PAGE + slot);
        } else {
            uint64_t at = (uint64_t)slot * (uint64_t)n_values + (uint64_t)d;
            memcpy(part + at * store->value_bytes, p.values, (size_t)n * store->value_bytes);
        }
        for (int32_t b = 0; store->scaled && b < slm__n_blocks(n); b++)
            scales[(d / SLM_QBLOCK + b) * SLM_PAGE] = p.scales[b];
    }
}

void slm__kv_store(const slm__kv *kv, const slm_kernels *kernels, int32_t layer, int32_t seq,
                   int32_t pos, const float *k, const float *v) {
    int32_t page = pos / SLM_PAGE, slot = pos % SLM_PAGE;
    for (int32_t head = 0; head < kv->n_head_kv; head++) {
        store_head(kv, kernels, k + (int64_t)head * kv->head_dim,
                   slm__kv_keys(kv, layer, seq, page, head), kv->head_dim, slot, true);
        store_head(kv, kernels, v + (int64_t)head * kv->head_dim,
                   slm__kv_values(kv, layer, seq, page, head), kv->head_dim_stored, slot, false);
    }
}
