/* The KV cache: pages of 64 positions, whose borders are absolute positions, handed out to sequences as they grow, and given back by
 * layers with a window once it has left them. */
#ifndef SLM_KV_H
#define SLM_KV_H

#include "rope.h"
#include "../kernels/kernels.h"

/* Layers that keep the same positions share their pages: all layers with a window, and all without. A page holds, for each of them and
 * each KV head, keys as [head_dim, 64] and values as [64, head_dim_stored]; with Q8_0 behind each of them its scales, [blocks of 32, 64]. */
typedef struct slm__kv_group {
    int32_t window; /* positions; 0: all are kept */
    int32_t n_layer;
    int32_t n_pages, n_free;
    uint8_t *data;       /* [n_pages, n_layer, page_bytes]: short texts touch little memory */
    int32_t *n_users;    /* [n_pages] sequences that hold the page; 0: it is free           */
    int32_t *free_pages; /* stack of n_free                                                 */
    int32_t *tables;     /* [n_seq, pages_per_seq]: page of each 64 positions that are held */
    int32_t *begin;      /* [n_seq] the first 64 positions that are held                    */
    int32_t *end;        /* [n_seq] behind the last ones                                    */
    int32_t *first;      /* [n_seq] the first position that is held, in page `begin`        */
} slm__kv_group;

enum { KV_GLOBAL, KV_LOCAL, N_KV_GROUPS };

/* Layers with a window keep so many positions more than it needs: a sequence can be cut back that far, as drafts are. */
enum { SLM_KV_BEHIND = SLM_PAGE };

typedef struct slm__kv {
    const slm_allocator *allocator;
    slm_kv_store store;
    const slm__layer *layers;
    int32_t n_ctx; /* positions over all sequences */
    int32_t n_seq;
    int32_t head_dim, head_dim_stored, n_head_kv;
    uint64_t key_bytes, value_bytes; /* of one head in one page      */
    uint64_t page_bytes;             /* of all heads of one layer    */
    int32_t pages_per_seq;
    slm__kv_group groups[N_KV_GROUPS];
    int32_t *lengths;  /* [n_seq] positions in use     */
    slm_token *tokens; /* [n_pages of KV_GLOBAL, 64] what is at each position */
    uint8_t *
        n_filled; /* [n_pages of KV_GLOBAL] positions in use; of a page that several hold, or did: at most */
    int32_t used; /* sum of n_filled              */
} slm__kv;

typedef struct slm__kv_params {
    int32_t n_ctx, n_seq;
    int32_t n_batch; /* tokens that are computed together */
    bool keep_all;   /* layers with a window give nothing back */
    slm_kv_store store;
} slm__kv_params;

/* LIMIT if the sizes overflow. */
slm_status slm__kv_bytes(const slm__hparams *hp, const slm__kv_params *p, uint64_t *n_bytes,
                         slm_error *err);

slm_status slm__kv_init(slm__kv *kv, const slm_model *m, const slm__kv_params *p,
                        const slm_allocator *allocator, slm_error *err);
void slm__kv_destroy(slm__kv *kv);

/* Positions that sequence `seq` takes to grow to `length`: a page that others hold, too, is copied before it is written to (by all but
 * the last of them, which is not foreseen here). */
int32_t slm__kv_cost(const slm__kv *kv, int32_t seq, int32_t length);

/* Positions that are free, after pages that others have left are counted anew. */
int32_t slm__kv_room(slm__kv *kv);

/* Take pages so that sequence `seq` can hold `length` positions in layers without a window. CONTEXT_FULL: those taken stay until
 * slm__kv_trim(). */
slm_status slm__kv_grow(slm__kv *kv, int32_t seq, int32_t length, slm_error *err);

/* The next tokens are computed for positions from the sequence's length to `end` - 1, n_batch at most in all sequences: layers with a
 * window give back what those do not see and take what they need, which is always there (false: it is not, and nothing may be computed). */
bool slm__kv_slide(slm__kv *kv, int32_t seq, int32_t end);

/* Sequence `to`, which is empty, holds the first `length` positions of `from`, at least slm__kv_shortest(), in the same pages. */
void slm__kv_fork(slm__kv *kv, int32_t from, int32_t to, int32_t length);

/* The sequence now holds `length` positions, at most as many as it grew to. Counts anew what it fills of pages that it holds alone. */
void slm__kv_set_length(slm__kv *kv, int32_t seq, int32_t length);

/* Give back the pages that lie beyond the length. */
void slm__kv_trim(slm__kv *kv, int32_t seq);

/* Sequence `seq`, which is empty, takes pages for `length` positions, in layers with a window from position `first` on. CONTEXT_FULL: it
 * holds nothing. */
slm_status slm__kv_place(slm__kv *kv, int32_t seq, int32_t length, int32_t first, slm_error *err);

/* The first position that layers with a window need of the sequence, and can be cut back to with all that slm__kv_slide() leaves. */
int32_t slm__kv_first_needed(const slm__kv *kv, int32_t seq);

/* The token of a position that is held. */
static inline slm_token *slm__kv_token(const slm__kv *kv, int32_t seq, int32_t pos) {
    const slm__kv_group *g = &kv->groups[KV_GLOBAL];
    int64_t page = g->tables[(int64_t)seq * kv->pages_per_seq + pos / SLM_PAGE];
    return kv->tokens + page * SLM_PAGE + pos % SLM_PAGE;
}

/* Removing positions `begin` to `end` - 1, behind which there are others, takes three steps: whole pages go and the sequence is that much
 * shorter (kv_cut); what is left to move, less than a page, moves in each layer (kv_shift), from position from[group] on; the length is
 * set (slm__kv_set_length, slm__kv_trim). */
typedef struct slm__kv_move {
    int32_t seq;
    int32_t from[N_KV_GROUPS];
    int32_t by;
} slm__kv_move;

/* RANGE: layers with a window have given back what the rest would see. CONTEXT_FULL: pages that others hold, too, would have to be copied.
 * Nothing has changed then. */
slm_status slm__kv_cut(slm__kv *kv, int32_t seq, int32_t begin, int32_t end, slm__kv_move *move,
                       slm_error *err);

/* Keys are turned by RoPE when they are stored, and once more when they move. */
typedef struct slm__kv_turn {
    const float *table; /* cosines and sines, see slm__rope_row(); NULL: the layer has no RoPE */
    int32_t n_rot;
    slm__rope_pairing pairing;
} slm__kv_turn;

/* `head` is room for head_dim floats. */
void slm__kv_shift(const slm__kv *kv, const slm_kernels *kernels, int32_t layer,
                   const slm__kv_move *move, const slm__kv_turn *turn, float *head);

/* The shortest length, but for 0, to which the sequence can be cut: layers with a window have given back what comes before. */
int32_t slm__kv_shortest(const slm__kv *kv, int32_t seq);

/* Page `at` of the pool, of layer `index` of the group: page_bytes. */
static inline uint8_t *slm__kv_page_at(const slm__kv *kv, const slm__kv_group *g, int32_t index,
                                       int32_t at) {
    return g->data + ((uint64_t)at * (uint64_t)g->n_layer + (uint64_t)index) * kv->page_bytes;
}

/* Page `page` (64 positions) of a sequence. */
static inline uint8_t *slm__kv_page(const slm__kv *kv, const slm__kv_group *g, int32_t index,
                                    int32_t seq, int32_t page) {
    return slm__kv_page_at(kv, g, index, g->tables[(int64_t)seq * kv->pages_per_seq + page]);
}

/* In it: keys and values of one head of one layer. */
static inline uint8_t *slm__kv_keys(const slm__kv *kv, int32_t layer, int32_t seq, int32_t page,
                                    int32_t head) {
    const slm__layer *l = &kv->layers[layer];
    const slm__kv_group *g = &kv->groups[l->window ? KV_LOCAL : KV_GLOBAL];
    return slm__kv_page(kv, g, l->kv_index, seq, page) +
           (uint64_t)head * (kv->key_bytes + kv->value_bytes);
}

static inline uint8_t *slm__kv_values(const slm__kv *kv, int32_t layer, int32_t seq, int32_t page,
                                      int32_t head) {
    return slm__kv_keys(kv, layer, seq, page, head) + kv->key_bytes;
}

/* Positions `from` to `to` - 1 of a page, or a copy of it, become zeros. */
void slm__kv_clear(const slm__kv *kv, uint8_t *page, int32_t from, int32_t to);

/* The scales behind keys (n_values = head_dim) or values (head_dim_stored); NULL if they are stored without. */
const slm_f16 *slm__kv_scales(const slm__kv *kv, const uint8_t *part, int32_t n_values);

/* Store keys and values of one position of one layer: k, v are [n_head_kv * head_dim]. Different positions may be stored by
 * different threads at a time. */
void slm__kv_store(const slm__kv *kv, const slm_kernels *kernels, int32_t layer, int32_t seq,
                   int32_t pos, const float *k, const float *v);

#endif
