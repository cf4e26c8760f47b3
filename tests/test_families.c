/* Every architecture as a tiny random model: against plain double precision written from the papers, and against itself. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "support/family_case.h"
#include "support/forward_case.h"
#include "support/strict.h"
#include "support/suite.h"

enum { N_TOKENS = FAMILY_TOKENS };

static const int32_t whole[] = {N_TOKENS, 0};

START_TEST(test_family_golden_hash) {
    fixture f = open_tiny(&families[_i].shape);
    const char *cpu;
    for (int32_t l = 0; (cpu = slm_cpu_level(l)); l++) {
        slm_context *ctx = new_context(f.model, cpu, 1, 256, SLM_KV_F16);
        uint64_t h = hash_of_text(ctx, f.model, N_TOKENS, whole);
        ck_assert_msg(h == families[_i].hash, "%s, %s: 0x%016llx", families[_i].name, cpu,
                      (unsigned long long)h);
        slm_context_free(ctx);
    }
    close_tiny(f);
}
END_TEST

enum { MAX_EMBD = 256 };

/* Both vectors of the text. */
static void embed_text(slm_context *ctx, const tiny_shape *s, float *out) {
    slm_token tokens[N_TOKENS];
    fill_tokens(tokens, N_TOKENS, s->n_vocab);
    embed(ctx, tokens, N_TOKENS, SLM_POOL_MEAN, out);
    embed(ctx, tokens, N_TOKENS, SLM_POOL_LAST, out + s->n_embd);
}

START_TEST(test_family_golden_hash_of_embeddings) {
    const tiny_shape *s = &families[_i].shape;
    fixture f = open_tiny(s);
    float got[2 * MAX_EMBD];
    const char *cpu;
    for (int32_t l = 0; (cpu = slm_cpu_level(l)); l++) {
        slm_context *ctx = new_context(f.model, cpu, 1 + l, l ? 64 : 256, SLM_KV_F16);
        embed_text(ctx, s, got);
        uint64_t h = hash_row(got, 2 * (int32_t)s->n_embd);
        ck_assert_msg(h == families[_i].embedding, "%s, %s: 0x%016llx", families[_i].name, cpu,
                      (unsigned long long)h);
        slm_context_free(ctx);
    }
    close_tiny(f);
}
END_TEST

START_TEST(test_fault_92_family_bits_for_threads_and_split) {
    static const int32_t one_by_one[] = {1, 0}, uneven[] = {1, 2, 61, 1, 3, 7, 64, 5, 0},
                         *const splits[] = {one_by_one, uneven};
    fixture f = open_tiny(&families[_i].shape);
    for (int s = 0; s < 2; s++) {
        for (int32_t threads = 1; threads <= 8; threads += threads) {
            slm_context *ctx = new_context(f.model, NULL, threads, s ? 17 : 256, SLM_KV_F16);
            uint64_t h = hash_of_text(ctx, f.model, N_TOKENS, splits[s]);
            ck_assert_msg(h == families[_i].hash, "%s, split %d, %d threads", families[_i].name, s,
                          threads);
            slm_context_free(ctx);
        }
    }
    close_tiny(f);
}
END_TEST

/* As in test_forward.c: exact but for rounding in reference mode, and with weights and cache in f32. */
START_TEST(test_family_against_double_precision) {
    const tiny_shape *s = &families[_i].shape;
    fixture f = open_tiny(s);
    slm_token tokens[N_TOKENS];
    double want[FAMILY_VOCAB];
    ck_assert_uint_le(s->n_vocab, FAMILY_VOCAB);
    fill_tokens(tokens, N_TOKENS, s->n_vocab);
    plain_forward(f.model, &families[_i].options, tokens, N_TOKENS, want);
    const char *cpu;
    for (int32_t l = 0; (cpu = slm_cpu_level(l)); l++) {
        if (sanitized() && (l + _i) % 2) continue; /* that levels are equal is golden */
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
            ck_assert_msg(d < (exact ? 1e-4 : 0.2), "%s, %s: %g", families[_i].name, cpu, d);
            slm_context_free(ctx);
        }
    }
    close_tiny(f);
}
END_TEST

/* Mean and last state of the text, each of length 1. */
static void plain_embeddings(const slm_model *m, const plain_options *options, uint32_t n_vocab,
                             double *mean, double *last) {
    static double states[N_TOKENS * MAX_EMBD];
    slm_token tokens[N_TOKENS];
    uint32_t n = m->hp.n_embd;
    double mean_squares = 0, last_squares = 0;
    ck_assert_uint_le(n, MAX_EMBD);
    fill_tokens(tokens, N_TOKENS, n_vocab);
    plain_states(m, options, tokens, N_TOKENS, states);
    for (uint32_t i = 0; i < n; i++) {
        mean[i] = 0;
        for (int t = 0; t < N_TOKENS; t++) mean[i] += states[t * n + i] / N_TOKENS;
        last[i] = states[(N_TOKENS - 1) * n + i];
        mean_squares += mean[i] * mean[i];
        last_squares += last[i] * last[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        mean[i] /= sqrt(mean_squares);
        last[i] /= sqrt(last_squares);
    }
}

START_TEST(test_family_embeddings_against_double_precision) {
    const tiny_shape *s = &families[_i].shape;
    fixture f = open_tiny(s);
    float got[2 * MAX_EMBD];
    double mean[MAX_EMBD], last[MAX_EMBD];
    plain_embeddings(f.model, &families[_i].options, s->n_vocab, mean, last);
    for (int reference = 0; reference < 2; reference++) {
        slm_context_params p = slm_context_defaults();
        slm_context *ctx;
        p.n_ctx = 300;
        p.n_batch = 100;
        p.n_threads = 2;
        p.kv_type = SLM_KV_F32;
        p.reference = reference;
        ck_assert_int_eq(slm_context_create(f.model, &p, &ctx, NULL), SLM_OK);
        embed_text(ctx, s, got);
        bool exact = reference || s->n_types == 0;
        double d = distance(got, mean, (int)s->n_embd),
               e = distance(got + s->n_embd, last, (int)s->n_embd), most = exact ? 1e-4 : 0.2;
        ck_assert_msg(d < most && e < most, "%s: %g, %g", families[_i].name, d, e);
        slm_context_free(ctx);
    }
    close_tiny(f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("families");
    TCase *c = tcase_create("golden"); /* what an emulated processor has time for */
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, test_family_golden_hash, 0, N_FAMILIES);
    tcase_add_loop_test(c, test_family_golden_hash_of_embeddings, 0, N_FAMILIES);
    suite_add_tcase(suite, c);
    c = tcase_create("families");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, test_fault_92_family_bits_for_threads_and_split, 0, N_FAMILIES);
    tcase_add_loop_test(c, test_family_against_double_precision, 0, N_FAMILIES);
    tcase_add_loop_test(c, test_family_embeddings_against_double_precision, 0, N_FAMILIES);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
