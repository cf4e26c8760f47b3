#include "kv_case.h"
#include "suite.h"

#include <stdlib.h>

slm_context *create_for_sequences(const slm_model *m, int32_t n_ctx, int32_t n_seq, int32_t n_batch,
                                  slm_kv_type kv) {
    slm_context_params p = slm_context_defaults();
    slm_context *ctx;
    slm_error err;
    p.n_ctx = n_ctx;
    p.n_batch = n_batch;
    p.n_seq_max = n_seq;
    p.n_logits = 64;
    p.n_threads = 2;
    p.kv_type = kv;
    ck_assert_msg(slm_context_create(m, &p, &ctx, &err) == SLM_OK, "%s", err.message);
    return ctx;
}

void add_to(slm_context *ctx, int32_t seq, const slm_token *tokens, int32_t n) {
    int32_t sequences[512];
    slm_error err;
    ck_assert_int_le(n, 512);
    for (int32_t i = 0; i < n; i++) sequences[i] = seq;
    slm_batch b = {.size = sizeof b, .n_tokens = n, .tokens = tokens, .sequences = sequences};
    ck_assert_msg(slm_decode(ctx, &b, &err) == SLM_OK, "%s", err.message);
}

/* The pages of a sequence reach to its end; in layers with a window they begin with the first position that is held, early enough for the
 * next token, and are no more than the window, 64 positions to cut back, a batch, and what borders of pages cost. */
static void check_held(const slm_context *ctx, const slm__kv_group *g, int32_t s) {
    int32_t length = ctx->kv.lengths[s], first = g->first[s];
    ck_assert_int_ge(g->end[s] * SLM_PAGE, length);
    if (length == 0) ck_assert_int_eq(first, 0);
    if (g->end[s] > g->begin[s]) ck_assert_int_eq(first / SLM_PAGE, g->begin[s]);
    if (first > 0) ck_assert_int_le(first, length - g->window + 1);
    if (g->window == 0) return;
    int32_t most = g->window - 1 + SLM_PAGE + ctx->params.n_batch;
    ck_assert_int_le((g->end[s] - g->begin[s] - 2) * SLM_PAGE + 2, most);
}

void check_pages(const slm_context *ctx) {
    const slm__kv *kv = &ctx->kv;
    for (int i = 0; i < N_KV_GROUPS; i++) {
        const slm__kv_group *g = &kv->groups[i];
        int32_t *users = calloc((size_t)g->n_pages + 1, sizeof *users), n_free = 0, filled = 0;
        ck_assert_ptr_nonnull(users);
        for (int32_t s = 0; s < kv->n_seq && g->n_pages > 0; s++) {
            check_held(ctx, g, s);
            for (int32_t p = g->begin[s]; p < g->end[s]; p++)
                users[g->tables[s * kv->pages_per_seq + p]]++;
        }
        for (int32_t p = 0; p < g->n_pages; p++) {
            ck_assert_int_eq(users[p], g->n_users[p]);
            n_free += users[p] == 0;
            if (i == KV_GLOBAL) filled += kv->n_filled[p];
            if (i == KV_GLOBAL && users[p] == 0) ck_assert_int_eq(kv->n_filled[p], 0);
        }
        ck_assert_int_eq(n_free, g->n_free);
        if (i == KV_GLOBAL) ck_assert_int_eq(filled, kv->used);
        free(users);
    }
}
