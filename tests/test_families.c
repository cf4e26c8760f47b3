/* Every architecture as a tiny random model: against plain double precision written from the papers, and against itself. */
#include <check.h>
#include <stdlib.h>

#include "support/families.h"
#include "support/forward_case.h"
#include "support/plain_forward.h"
#include "support/suite.h"

enum { N_TOKENS = TINY_FAMILY_TOKENS };

static const int32_t whole[] = {N_TOKENS, 0};

START_TEST(test_family_golden_hash) {
    fixture f = open_tiny(&tiny_families[_i].shape);
    const char *cpu;
    for (int32_t l = 0; (cpu = slm_cpu_level(l)); l++) {
        slm_context *ctx = new_context(f.model, cpu, 1, 256, SLM_KV_F16);
        uint64_t h = hash_of_text(ctx, f.model, N_TOKENS, whole);
        ck_assert_msg(h == tiny_families[_i].hash, "%s, %s: 0x%016llx", tiny_families[_i].name, cpu,
                      (unsigned long long)h);
        slm_context_free(ctx);
    }
    close_tiny(f);
}
END_TEST

START_TEST(test_fault_92_family_bits_for_threads_and_split) {
    static const int32_t one_by_one[] = {1, 0}, uneven[] = {1, 2, 61, 1, 3, 7, 64, 5, 0},
                         *const splits[] = {one_by_one, uneven};
    fixture f = open_tiny(&tiny_families[_i].shape);
    for (int s = 0; s < 2; s++) {
        for (int32_t threads = 1; threads <= 8; threads += threads) {
            slm_context *ctx = new_context(f.model, NULL, threads, s ? 17 : 256, SLM_KV_F16);
            uint64_t h = hash_of_text(ctx, f.model, N_TOKENS, splits[s]);
            ck_assert_msg(h == tiny_families[_i].hash, "%s, split %d, %d threads",
                          tiny_families[_i].name, s, threads);
            slm_context_free(ctx);
        }
    }
    close_tiny(f);
}
END_TEST

/* As in test_forward.c: exact but for rounding in reference mode, and with weights and cache in f32. */
START_TEST(test_family_against_double_precision) {
    const tiny_shape *s = &tiny_families[_i].shape;
    fixture f = open_tiny(s);
    slm_token tokens[N_TOKENS];
    double want[260];
    ck_assert_uint_le(s->n_vocab, 260);
    fill_tokens(tokens, N_TOKENS, s->n_vocab);
    plain_forward(f.model, &tiny_families[_i].options, tokens, N_TOKENS, want);
    const char *cpu;
    for (int32_t l = 0; (cpu = slm_cpu_level(l)); l++) {
        for (int reference = 0; reference < 2; reference++) {
            slm_context_params p = slm_context_defaults();
            slm_context *ctx;
            p.n_ctx = 300;
            p.cpu = cpu;
            p.n_threads = 2;
            p.kv_type = SLM_KV_F32;
            p.reference = reference;
            ck_assert_int_eq(slm_context_create(f.model, &p, &ctx, NULL), SLM_OK);
            decode(ctx, tokens, N_TOKENS);
            double d = distance(slm_logits(ctx, 0), want, (int)s->n_vocab);
            bool exact = reference || s->n_types == 0;
            ck_assert_msg(d < (exact ? 1e-4 : 0.2), "%s, %s: %g", tiny_families[_i].name, cpu, d);
            slm_context_free(ctx);
        }
    }
    close_tiny(f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("families");
    TCase *c = tcase_create("golden"); /* what an emulated processor has time for */
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, test_family_golden_hash, 0, N_TINY_FAMILIES);
    suite_add_tcase(suite, c);
    c = tcase_create("families");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, test_fault_92_family_bits_for_threads_and_split, 0, N_TINY_FAMILIES);
    tcase_add_loop_test(c, test_family_against_double_precision, 0, N_TINY_FAMILIES);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
