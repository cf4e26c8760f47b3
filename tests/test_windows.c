/* Layers with a window: their memory stays as it is however long the text is, and nothing that was given back is missed. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../libslm/context.h"
#include "support/forward_case.h"
#include "support/suite.h"

enum { WINDOW = 33, BATCH = 40, N_VOCAB = 260, SEQS = 3 };

/* Of a sequence: the window and a batch, in whole pages, and two more. */
enum { MOST_PAGES = (WINDOW + BATCH + SLM_PAGE - 1) / SLM_PAGE + 2 };

static const tiny_key keys[] = {{"attention.sliding_window", WINDOW, false}, {0}};
static const tiny_shape gemma3 = {.arch = "gemma3",
                                  .n_vocab = N_VOCAB,
                                  .n_embd = 64,
                                  .n_layer = 7,
                                  .n_head = 4,
                                  .n_head_kv = 2,
                                  .n_ff = 96,
                                  .post_norms = true,
                                  .qk_norm = true,
                                  .rope_base = 1e6f,
                                  .keys = keys,
                                  .seed = 41};
static const tiny_shape mistral = {.n_vocab = N_VOCAB,
                                   .n_embd = 64,
                                   .n_layer = 2,
                                   .n_head = 4,
                                   .n_head_kv = 2,
                                   .n_ff = 96,
                                   .keys = keys,
                                   .seed = 42};
static const tiny_shape *const shapes[] = {&gemma3, &mistral};

static slm_context_params params_of(int32_t n_ctx, bool keep_all) {
    slm_context_params p = slm_context_defaults();
    p.n_ctx = n_ctx;
    p.n_batch = BATCH;
    p.n_seq_max = SEQS;
    p.n_logits = 64;
    p.n_threads = 2;
    p.keep_all = keep_all;
    return p;
}

static slm_context *create(const slm_model *m, int32_t n_ctx, bool keep_all) {
    slm_context_params p = params_of(n_ctx, keep_all);
    slm_context *ctx;
    slm_error err;
    ck_assert_msg(slm_context_create(m, &p, &ctx, &err) == SLM_OK, "%s", err.message);
    return ctx;
}

static int64_t memory(const slm_model *m, int32_t n_ctx, bool keep_all) {
    slm_context_params p = params_of(n_ctx, keep_all);
    size_t n;
    ck_assert_int_eq(slm_context_memory(m, &p, &n, NULL), SLM_OK);
    return (int64_t)n;
}

static int32_t pages_held(const slm_context *ctx, int group) {
    const slm__kv_group *g = &ctx->kv.groups[group];
    int32_t n = 0;
    for (int s = 0; s < SEQS; s++) n += g->end[s] - g->begin[s];
    ck_assert_int_eq(n, g->n_pages - g->n_free);
    return n;
}

/* Beyond the window, a longer context costs what its layers without one take, and tables. */
START_TEST(test_memory_does_not_grow_with_the_context) {
    static const int n_local[] = {6, 2}, n_layer[] = {7, 2};
    fixture f = open_tiny(shapes[_i]);
    int64_t all = memory(f.model, 8192, true) - memory(f.model, 4096, true);
    int64_t windowed = memory(f.model, 8192, false) - memory(f.model, 4096, false);
    /* of pages, and the token of each position */
    int64_t tables = 4096 / SLM_PAGE * SEQS * 2 * 4 + 4096 + 4096 * (int64_t)sizeof(slm_token);
    ck_assert_int_le(windowed, all * (n_layer[_i] - n_local[_i]) / n_layer[_i] + tables);
    slm_context *ctx = create(f.model, 8192, false);
    const slm__kv_group *g = &ctx->kv.groups[KV_LOCAL];
    ck_assert_int_le(g->n_pages, SEQS * MOST_PAGES);
    ck_assert_int_eq(g->n_layer, n_local[_i]);
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

static void expect_equal_rows(const slm_context *a, const slm_context *b) {
    ck_assert_int_eq(memcmp(slm_logits(a, 0), slm_logits(b, 0), N_VOCAB * sizeof(float)), 0);
}

/* Sixteen windows, in parts of any size. */
START_TEST(test_a_long_text_is_what_it_is_when_all_is_kept) {
    enum { N = 16 * WINDOW + 7 };
    static const int32_t parts[] = {1, 200, 3, 64, 40, 5};
    fixture f = open_tiny(shapes[_i]);
    slm_token tokens[N];
    fill_tokens(tokens, N, N_VOCAB);
    slm_context *all = create(f.model, 1024, true), *ctx = create(f.model, 1024, false);
    for (int32_t at = 0, i = 0; at < N; i++) {
        int32_t n = parts[i % 6] < N - at ? parts[i % 6] : N - at;
        decode(all, tokens + at, n);
        decode(ctx, tokens + at, n);
        expect_equal_rows(all, ctx);
        ck_assert_int_le(pages_held(ctx, KV_LOCAL), MOST_PAGES);
        at += n;
    }
    ck_assert_int_gt(pages_held(all, KV_LOCAL) * SLM_PAGE, N - SLM_PAGE);
    slm_context_free(all), slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

START_TEST(test_fault_73_cut_back_further_than_is_kept) {
    enum { N = 500, NEAR = N - SLM_PAGE };
    fixture f = open_tiny(shapes[_i]);
    slm_error err;
    slm_token tokens[N];
    fill_tokens(tokens, N, N_VOCAB);
    slm_context *all = create(f.model, 1024, true), *ctx = create(f.model, 1024, false);
    decode(all, tokens, N);
    for (int32_t at = 0; at < N; at += 20) decode(ctx, tokens + at, 20);
    ck_assert_int_eq(slm_seq_truncate(ctx, 0, 200, &err), SLM_ERR_RANGE);
    ck_assert_ptr_nonnull(strstr(err.message, "cannot go on from 200 tokens"));
    ck_assert_int_eq(slm_seq_length(ctx, 0), N);
    ck_assert_int_eq(slm_seq_truncate(ctx, 0, N, &err), SLM_OK);
    ck_assert_int_eq(slm_seq_truncate(ctx, 0, NEAR, &err), SLM_OK);
    ck_assert_int_eq(slm_seq_truncate(all, 0, NEAR, &err), SLM_OK);
    decode(all, tokens, 30);
    decode(ctx, tokens, 30);
    expect_equal_rows(all, ctx);
    ck_assert_int_eq(slm_seq_truncate(ctx, 0, 0, &err), SLM_OK);
    ck_assert_int_eq(slm_seq_truncate(all, 0, 0, &err), SLM_OK);
    ck_assert(pages_held(ctx, KV_LOCAL) == 0 && pages_held(ctx, KV_GLOBAL) == 0);
    decode(all, tokens, 100);
    decode(ctx, tokens, 100);
    expect_equal_rows(all, ctx);
    slm_context_free(all), slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

/* Whatever three sequences do, there is room as long as their lengths fit, and the rows are those of a context that keeps all. */
START_TEST(test_sequences_that_come_and_go) {
    enum { N_CTX = 400, STEPS = 400 };
    fixture f = open_tiny(shapes[_i]);
    slm_context *all = create(f.model, N_CTX, true), *ctx = create(f.model, N_CTX, false);
    uint64_t random = 7;
    int computed = 0, cut = 0;
    for (int step = 0; step < STEPS; step++) {
        int32_t seq = (int32_t)(tiny_random(&random) % SEQS), length = slm_seq_length(ctx, seq);
        int32_t room = N_CTX;
        for (int s = 0; s < SEQS; s++) room -= slm_seq_length(ctx, s);
        if (tiny_random(&random) % 6 == 0 || room < 64) {
            int32_t to = tiny_random(&random) % 2 ? 0 : (int32_t)(tiny_random(&random) % 65);
            to = to && length > to ? length - to : 0;
            ck_assert_int_eq(slm_seq_truncate(ctx, seq, to, NULL), SLM_OK);
            ck_assert_int_eq(slm_seq_truncate(all, seq, to, NULL), SLM_OK);
            cut++;
            continue;
        }
        slm_token tokens[64];
        int32_t sequences[64], n = 1 + (int32_t)(tiny_random(&random) % 64);
        for (int32_t i = 0; i < n; i++) {
            tokens[i] = (slm_token)(tiny_random(&random) % N_VOCAB);
            sequences[i] = step % 3 ? seq : (int32_t)(tiny_random(&random) % SEQS);
        }
        slm_batch b = {.size = sizeof b, .n_tokens = n, .tokens = tokens, .sequences = sequences};
        ck_assert_int_eq(slm_decode(all, &b, NULL), SLM_OK);
        ck_assert_int_eq(slm_decode(ctx, &b, NULL), SLM_OK);
        expect_equal_rows(all, ctx);
        pages_held(ctx, KV_LOCAL), pages_held(ctx, KV_GLOBAL);
        computed++;
    }
    ck_assert(computed > 100 && cut > 40);
    slm_context_free(all), slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("windows");
    TCase *c = tcase_create("windows");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, test_memory_does_not_grow_with_the_context, 0, 2);
    tcase_add_loop_test(c, test_a_long_text_is_what_it_is_when_all_is_kept, 0, 2);
    tcase_add_loop_test(c, test_fault_73_cut_back_further_than_is_kept, 0, 2);
    tcase_add_loop_test(c, test_sequences_that_come_and_go, 0, 2);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
