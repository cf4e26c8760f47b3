/* See kv.h. Pages are taken from a stack of free ones; a sequence's table names the page of each of its 64 positions. */
#include "kv.h"

static int32_t pages_for(int32_t positions) { return (positions + SLM_PAGE - 1) / SLM_PAGE; }

/* Fill in all sizes; data, free_pages and tables stay NULL. */
static slm_status kv_layout(slm__kv *kv, const slm__hparams *hp, const slm__kv_params *p,
                            uint64_t *data_bytes, slm_error *err) {
    *kv = (slm__kv){
        .store = p->store,
        .n_ctx = p->n_ctx,
        .n_seq = p->n_seq,
        .n_pages = pages_for(p->n_ctx) + p->n_seq -
                   1, /* the last page of each sequence may be partly empty */
        .head_dim = (int32_t)hp->head_dim,
        .head_dim_stored = (int32_t)(hp->head_dim + SLM_LANES - 1) / SLM_LANES * SLM_LANES,
        .n_head_kv = (int32_t)hp->n_head_kv,
        .n_layer = (int32_t)hp->n_layer,
        .pages_per_seq = pages_for(p->n_ctx),
    };
    uint64_t unit = p->store == SLM_STORE_F16 ? sizeof(slm_f16) : sizeof(float);
    kv->key_bytes = (uint64_t)kv->head_dim * SLM_PAGE * unit;
    kv->value_bytes = (uint64_t)kv->head_dim_stored * SLM_PAGE * unit;
    uint64_t pages;
    if (!slm__mul(kv->key_bytes + kv->value_bytes, hp->n_head_kv, &kv->page_bytes) ||
        !slm__mul((uint64_t)kv->n_pages, hp->n_layer, &pages) ||
        !slm__mul(kv->page_bytes, pages, data_bytes) || *data_bytes > (uint64_t)1 << 46) {
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
    uint64_t data;
    SLM_TRY(kv_layout(&kv, hp, p, &data, err));
    *n_bytes = slm__alloc_cost(data) + slm__alloc_cost((uint64_t)kv.n_pages * sizeof(int32_t)) +
               slm__alloc_cost(table_entries(&kv) * sizeof(int32_t)) +
               2 * slm__alloc_cost((uint64_t)kv.n_seq * sizeof(int32_t));
    return SLM_OK;
}

slm_status slm__kv_init(slm__kv *kv, const slm__hparams *hp, const slm__kv_params *p,
                        const slm_allocator *allocator, slm_error *err) {
    uint64_t data;
    SLM_TRY(kv_layout(kv, hp, p, &data, err));
    kv->allocator = allocator;
    kv->data = slm__alloc(allocator, data);
    kv->free_pages = slm__alloc_array(allocator, (uint64_t)kv->n_pages, sizeof(int32_t));
    kv->tables = slm__alloc_array(allocator, table_entries(kv), sizeof(int32_t));
    kv->lengths = slm__alloc_array(allocator, (uint64_t)kv->n_seq, sizeof(int32_t));
    kv->n_held = slm__alloc_array(allocator, (uint64_t)kv->n_seq, sizeof(int32_t));
    if (!kv->data || !kv->free_pages || !kv->tables || !kv->lengths || !kv->n_held) {
        slm__kv_destroy(kv);
        return slm__fail(err, SLM_ERR_NOMEM,
                         "no memory for a KV cache of %d positions (%llu bytes)", p->n_ctx,
                         (unsigned long long)data);
    }
    for (int32_t i = kv->n_pages; i-- > 0;) kv->free_pages[kv->n_free++] = i;
    return SLM_OK;
}

void slm__kv_destroy(slm__kv *kv) {
    slm__free(kv->allocator, kv->data);
    slm__free(kv->allocator, kv->free_pages);
    slm__free(kv->allocator, kv->tables);
    slm__free(kv->allocator, kv->lengths);
    slm__free(kv->allocator, kv->n_held);
    *kv = (slm__kv){0};
}

slm_status slm__kv_grow(slm__kv *kv, int32_t seq, int32_t length, slm_error *err) {
    int32_t *table = kv->tables + (int64_t)seq * kv->pages_per_seq;
    for (int32_t *held = &kv->n_held[seq]; *held < pages_for(length); (*held)++) {
        if (kv->n_free == 0) {
            return slm__fail(err, SLM_ERR_CONTEXT_FULL, "sequence %d: no page left for position %d",
                             seq, *held * SLM_PAGE);
        }
        table[*held] = kv->free_pages[--kv->n_free];
    }
    return SLM_OK;
}

void slm__kv_set_length(slm__kv *kv, int32_t seq, int32_t length) {
    kv->used += length - kv->lengths[seq];
    kv->lengths[seq] = length;
}

void slm__kv_trim(slm__kv *kv, int32_t seq) {
    const int32_t *table = kv->tables + (int64_t)seq * kv->pages_per_seq;
    for (int32_t *held = &kv->n_held[seq]; *held > pages_for(kv->lengths[seq]);) {
        kv->free_pages[kv->n_free++] = table[--*held];
    }
}

/* A column of a page: value d of the head at [d, 64]. */
static void store_keys(const slm__kv *kv, const slm_kernels *kernels, uint8_t *page, int32_t slot,
                       const float *k) {
    if (kv->store == SLM_STORE_F32) {
        float *out = (float *)page;
        for (int32_t d = 0; d < kv->head_dim; d++) out[d * SLM_PAGE + slot] = k[d];
        return;
    }
    slm_f16 *out = (slm_f16 *)page, half[SLM_PAGE];
    for (int32_t d0 = 0; d0 < kv->head_dim; d0 += SLM_PAGE) {
        int32_t n = kv->head_dim - d0 < SLM_PAGE ? kv->head_dim - d0 : SLM_PAGE;
        kernels->to_f16(k + d0, n, half);
        for (int32_t d = 0; d < n; d++) out[(d0 + d) * SLM_PAGE + slot] = half[d];
    }
}

static void store_values(const slm__kv *kv, const slm_kernels *kernels, uint8_t *page, int32_t slot,
                         const float *v) {
    if (kv->store == SLM_STORE_F32) {
        memcpy((float *)page + (int64_t)slot * kv->head_dim_stored, v,
               (size_t)kv->head_dim * sizeof *v);
    } else {
        kernels->to_f16(v, kv->head_dim, (slm_f16 *)page + (int64_t)slot * kv->head_dim_stored);
    }
}

void slm__kv_store(const slm__kv *kv, const slm_kernels *kernels, int32_t layer, int32_t seq,
                   int32_t pos, const float *k, const float *v) {
    int32_t page = pos / SLM_PAGE, slot = pos % SLM_PAGE;
    for (int32_t head = 0; head < kv->n_head_kv; head++) {
        store_keys(kv, kernels, slm__kv_keys(kv, layer, seq, page, head), slot,
                   k + (int64_t)head * kv->head_dim);
        store_values(kv, kernels, slm__kv_values(kv, layer, seq, page, head), slot,
                     v + (int64_t)head * kv->head_dim);
    }
}
