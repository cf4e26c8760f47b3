/* A real model, whole: one hash of its logits on every level, for any number of threads and any split of the prompt. Ends with 77
 * (skipped) where the model cannot be had. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "support/forward_case.h"
#include "support/strict.h"
#include "support/suite.h"

enum { N_TOKENS = 140, N_SHORT = 12, NOT_HERE = 77 };

static slm_model *model;

/* Numbers of tokens, the last one again and again. */
static const int32_t splits[][8] = {{N_TOKENS},       {1},         {7}, {64, 1, 63, 12},
                                    {1, 2, 3, 90, 5}, {100, 39, 1}};
static const int32_t short_split[] = {8, 1, 0};

/* The first n tokens of the prompt. */
static uint64_t run(const char *cpu, int32_t threads, int32_t n_tokens, const int32_t *parts) {
    slm_context_params p = slm_context_defaults();
    slm_model_info info = {.size = sizeof info};
    slm_context *ctx;
    slm_error err;
    slm_token tokens[N_TOKENS];
    for (int i = 0; i < N_TOKENS; i++) tokens[i] = 100 + i * 331 % 40000;
    p.n_ctx = N_TOKENS;
    p.n_threads = threads;
    p.cpu = cpu;
    ck_assert_int_eq(slm_model_get_info(model, &info), SLM_OK);
    ck_assert_msg(slm_context_create(model, &p, &ctx, &err) == SLM_OK, "%s", err.message);
    for (int32_t at = 0; at<n_tokens; at += *parts, parts += parts[1]> 0) {
        int32_t n = *parts < n_tokens - at ? *parts : n_tokens - at;
        ck_assert_msg(slm_decode_tokens(ctx, tokens + at, n, &err) == SLM_OK, "%s", err.message);
    }
    uint64_t h = hash_row(slm_logits(ctx, 0), info.n_vocab);
    slm_context_free(ctx);
    return h;
}

/* Made by this test with plain C, one thread, the prompt whole; and of its first N_SHORT tokens. */
static const uint64_t golden = 0xeff3b57b2788d758u, golden_short = 0xe120482a4903c31bu;

START_TEST(test_fault_92_golden_hash_of_a_short_prompt) {
    const char *cpu;
    /* plain C takes longest, under sanitizers minutes: it has the whole prompt or, there, the short one */
    for (int32_t l = sanitized() ? 0 : 1; (cpu = slm_cpu_level(l)); l++) {
        uint64_t h = run(cpu, 2, N_SHORT, short_split);
        ck_assert_msg(h == golden_short, "%s: 0x%016llx", cpu, (unsigned long long)h);
    }
}
END_TEST

START_TEST(test_fault_92_golden_hash_on_every_level) {
    const char *cpu;
    for (int32_t l = sanitized() ? 1 : 0; (cpu = slm_cpu_level(l)); l++) {
        uint64_t h = run(cpu, 2, N_TOKENS, splits[0]);
        ck_assert_msg(h == golden, "%s: 0x%016llx", cpu, (unsigned long long)h);
    }
}
END_TEST

START_TEST(test_fault_92_golden_hash_for_every_split_and_thread_count) {
    static const int32_t threads[] = {1, 8, 3}; /* two: above */
    size_t first = sanitized() ? 2 : 0;
    for (size_t t = first; t < sizeof threads / sizeof *threads; t++) {
        for (size_t s = 2 * first; s < sizeof splits / sizeof *splits; s++) {
            uint64_t h = run(NULL, threads[t], N_TOKENS, splits[s]);
            ck_assert_msg(h == golden, "%d threads, split %zu: 0x%016llx", threads[t], s,
                          (unsigned long long)h);
        }
    }
}
END_TEST

int main(void) {
    int status = system("tools/get-model.sh >/dev/null");
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_HERE) {
        puts("the model could not be had: no network");
        return NOT_HERE;
    }
    slm_error err;
    if (slm_model_open("models/SmolLM2-135M-Instruct.Q4_1.gguf", NULL, &model, &err) != SLM_OK) {
        puts(err.message);
        return 1;
    }
    Suite *suite = suite_create("smollm2");
    TCase *c = tcase_create("golden"); /* what an emulated processor has time for */
    tcase_set_timeout(c, 600);
    tcase_add_test(c, test_fault_92_golden_hash_of_a_short_prompt);
    suite_add_tcase(suite, c);
    c = tcase_create("bits");
    tcase_set_timeout(c, 600);
    tcase_add_test(c, test_fault_92_golden_hash_on_every_level);
    tcase_add_test(c, test_fault_92_golden_hash_for_every_split_and_thread_count);
    suite_add_tcase(suite, c);
    int code = run_suite(suite);
    slm_model_close(model);
    return code;
}
