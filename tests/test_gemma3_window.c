/* A real model with windows, far past them: memory and time stay flat at sixteen times the window; sixteen sequences share a prefix. Ends
 * with 77 (skipped) where the model cannot be had, and under sanitizers, which would take minutes: tiny models go the same ways there. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "support/kv_case.h"
#include "support/strict.h"
#include "support/suite.h"

enum { WINDOW = 512, BATCH = 256, FAR = 16 * WINDOW, NOT_HERE = 77 };

static slm_model *model;

static slm_token token_at(int32_t i) { return 1000 + i * 331 % 90000; }

static slm_context *create(int32_t n_ctx, int32_t n_seq, bool keep_all) {
    slm_context_params p = slm_context_defaults();
    slm_context *ctx;
    slm_error err;
    p.n_ctx = n_ctx;
    p.n_seq_max = p.n_logits = n_seq;
    p.n_batch = BATCH;
    p.keep_all = keep_all;
    ck_assert_msg(slm_context_create(model, &p, &ctx, &err) == SLM_OK, "%s", err.message);
    return ctx;
}

/* Let sequence 0 grow to `length` tokens; logits for the last. */
static void grow(slm_context *ctx, int32_t length) {
    for (int32_t at = slm_seq_length(ctx, 0); at < length;) {
        slm_token tokens[BATCH];
        int32_t n = length - at < BATCH ? length - at : BATCH;
        for (int32_t i = 0; i < n; i++) tokens[i] = token_at(at++);
        decode(ctx, tokens, n);
    }
}

/* Attention of the first layer, which has a window, for the last part of the batch: if it took less than *least seconds, remember. */
static void time_attention(slm_context *ctx, double *least) {
    double begin = strict_seconds();
    slm__attention(ctx, 0);
    double took = strict_seconds() - begin;
    if (took < *least) *least = took;
}

/* Near and far in turn, the shortest of many, so that other work on the machine meets both. */
static void check_flat(slm_context *near, slm_context *far, const char *what) {
    double near_time = 1e9, far_time = 1e9;
    for (int i = 0; i < 100; i++) {
        time_attention(near, &near_time);
        time_attention(far, &far_time);
    }
    printf(
        "attention of a layer with a window, %s, at 1,024 and at %d positions: %.1f and %.1f us\n",
        what, FAR, near_time * 1e6, far_time * 1e6);
    /* without a window it would be eight times; on a busy machine one of them may never have had all threads */
    ck_assert_double_lt(far_time, 3 * near_time);
}

START_TEST(test_memory_and_time_are_flat_past_the_window) {
    slm_context *near = create(1025, 1, false), *far = create(FAR + 1, 1, false);
    const slm__kv_group *local = &far->kv.groups[KV_LOCAL];
    ck_assert_int_eq((int32_t)model->layers[0].window, WINDOW);
    ck_assert_int_le(local->n_pages * SLM_PAGE, WINDOW + BATCH + 2 * SLM_PAGE);
    grow(near, 1024);
    grow(far, 1024);
    int32_t held = local->end[0] - local->begin[0];
    grow(far, FAR);
    ck_assert_int_le(local->end[0] - local->begin[0], held);
    check_flat(near, far, "256 tokens");
    grow(near, 1025);
    grow(far, FAR + 1);
    check_flat(near, far, "one token");
    slm_context_free(near), slm_context_free(far);
}
END_TEST

START_TEST(test_sixteen_sequences_share_a_thousand_tokens) {
    enum { SEQS = 16, PREFIX = 1000, MORE = 12 };
    slm_context *ctx = create(PREFIX + SEQS * (MORE + SLM_PAGE), SEQS, false),
                *alone = create(PREFIX + MORE, 1, true);
    int32_t n_vocab = (int32_t)model->hp.n_vocab;
    uint64_t want[SEQS][MORE];
    slm_token tokens[SEQS];
    int32_t sequences[SEQS];
    uint8_t wants[SEQS];
    grow(alone, PREFIX);
    for (int s = 0; s < SEQS; s++) {
        ck_assert_int_eq(slm_seq_truncate(alone, 0, PREFIX, NULL), SLM_OK);
        for (int i = 0; i < MORE; i++) {
            decode(alone, &(slm_token){token_at(5000 + s * MORE + i)}, 1);
            want[s][i] = hash_row(slm_logits(alone, 0), n_vocab);
        }
    }
    double begin = strict_seconds();
    grow(ctx, PREFIX);
    double computed = strict_seconds() - begin;
    begin = strict_seconds();
    for (int s = 1; s < SEQS; s++) ck_assert_int_eq(slm_seq_fork(ctx, 0, s, PREFIX, NULL), SLM_OK);
    double forked = strict_seconds() - begin;
    const slm__kv_group *all = &ctx->kv.groups[KV_GLOBAL], *local = &ctx->kv.groups[KV_LOCAL];
    int32_t before = all->n_pages - all->n_free, local_before = local->n_pages - local->n_free;
    ck_assert_int_eq(ctx->kv.used, PREFIX);
    ck_assert_int_eq(before, (PREFIX + SLM_PAGE - 1) / SLM_PAGE);
    for (int i = 0; i < MORE; i++) {
        for (int s = 0; s < SEQS; s++) {
            tokens[s] = token_at(5000 + s * MORE + i);
            sequences[s] = s;
            wants[s] = 1;
        }
        slm_batch b = {.size = sizeof b,
                       .n_tokens = SEQS,
                       .tokens = tokens,
                       .sequences = sequences,
                       .want_logits = wants};
        ck_assert_int_eq(slm_decode(ctx, &b, NULL), SLM_OK);
        for (int s = 0; s < SEQS; s++)
            ck_assert_uint_eq(hash_row(slm_logits(ctx, s), n_vocab), want[s][i]);
    }
    check_pages(ctx);
    printf("a prefix of %d tokens: computed in %.0f ms, fifteen forks in %.3f ms; pages of layers "
           "without and with a window: %d and %d, with %d tokens more in "
           "each of %d sequences %d and %d\n",
           PREFIX, computed * 1e3, forked * 1e3, before, local_before, MORE, SEQS,
           all->n_pages - all->n_free, local->n_pages - local->n_free);
    ck_assert_double_lt(forked, computed / 20);
    /* each sequence has its own last page, begun by the prefix, and no other */
    ck_assert_int_eq(all->n_pages - all->n_free, before + SEQS - 1);
    slm_context_free(ctx), slm_context_free(alone);
}
END_TEST

int main(void) {
    if (sanitized()) {
        puts("not under sanitizers");
        return NOT_HERE;
    }
    int status = system("tools/get-model.sh --gemma3 >/dev/null");
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_HERE) {
        puts("the model could not be had: no network");
        return NOT_HERE;
    }
    slm_error err;
    if (slm_model_open("models/gemma-3-270m.Q4_K_M.gguf", NULL, &model, &err) != SLM_OK) {
        puts(err.message);
        return 1;
    }
    Suite *suite = suite_create("gemma3_window");
    TCase *c = tcase_create("window");
    tcase_set_timeout(c, 600);
    tcase_add_test(c, test_memory_and_time_are_flat_past_the_window);
    tcase_add_test(c, test_sixteen_sequences_share_a_thousand_tokens);
    suite_add_tcase(suite, c);
    int code = run_suite(suite);
    slm_model_close(model);
    return code;
}
