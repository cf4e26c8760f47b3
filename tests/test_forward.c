/* The forward pass: against plain double precision, and against itself: the same bits whatever the instruction set, the number
 * of threads, the parts of a prompt and the neighbours (promise 2, docs/numerics.md). */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/kernels.h"
#include "../libslm/model.h"
#include "support/forward_case.h"
#include "support/plain_forward.h"
#include "support/strict.h"
#include "support/suite.h"

enum { N_TOKENS = 150, N_VOCAB = 300 }; /* two borders of cache pages */

/* Every type of block, and a row of 3 super-blocks whose 24 blocks of 32 are whole steps. */
static const tiny_shape every_type = {
    .n_vocab = N_VOCAB,
    .n_embd = 256,
    .n_layer = 2,
    .n_head = 8,
    .n_head_kv = 2,
    .n_ff = 768,
    .rope_base = 10000,
    .types = {SLM_Q4_0, SLM_Q4_1, SLM_Q5_0, SLM_Q5_1, SLM_Q8_0, SLM_Q2_K, SLM_Q3_K, SLM_Q4_K},
    .n_types = 8,
    .seed = 7,
};
static const tiny_shape other_types = {
    .n_vocab = N_VOCAB,
    .n_embd = 256,
    .n_layer = 2,
    .n_head = 4,
    .n_head_kv = 4,
    .n_ff = 512,
    .untied = true,
    .types = {SLM_Q5_K, SLM_Q6_K, SLM_F16, SLM_BF16, SLM_F32},
    .n_types = 5,
    .seed = 8,
};
static const tiny_shape codebook_types = {
    .n_vocab = N_VOCAB,
    .n_embd = 256,
    .n_layer = 2,
    .n_head = 4,
    .n_head_kv = 1,
    .n_ff = 512,
    .types = {SLM_IQ4_NL, SLM_IQ4_XS, SLM_MXFP4},
    .n_types = 3,
    .seed = 10,
};
/* Rows that are no whole number of steps, heads that are no whole number of lanes. */
static const tiny_shape odd_sizes = {
    .n_vocab = 259,
    .n_embd = 96,
    .n_layer = 3,
    .n_head = 3,
    .n_head_kv = 1,
    .head_dim = 40,
    .n_ff = 160,
    .rope_freqs = true,
    .n_rot = 24,
    .rope_factor = 4,
    .types = {SLM_F32, SLM_Q8_0, SLM_F32, SLM_F32, SLM_F32, SLM_Q4_0, SLM_Q4_1, SLM_F32},
    .n_types = 8,
    .seed = 9,
};

/*
 * Golden: made by this test with the plain C kernels, one thread, the tokens in one batch; the other columns of the
 * same test, and plain_forward() below, say that they are right. They hold on every machine.
 */
static const struct {
    const tiny_shape *shape;
    slm_kv_type kv;
    uint64_t hash;
} golden[] = {
    {&every_type, SLM_KV_F16, 0x352eaa947f0f7220u},
    {&other_types, SLM_KV_F16, 0x193950ef2b8365aau},
    {&codebook_types, SLM_KV_F16, 0x17db56e5cd37ef17u},
    {&odd_sizes, SLM_KV_F16, 0x2b09b7ea707033bcu},
    {&every_type, SLM_KV_Q8_0, 0xbf0dc9ebf734decfu},
    {&odd_sizes, SLM_KV_Q8_0, 0xef44a3740c8c5b91u},
    {&odd_sizes, SLM_KV_F32, 0x524a533260c652bbu},
};

static uint64_t hash_of_run(const slm_model *m, slm_kv_type kv, const char *cpu, int32_t threads,
                            int32_t n_batch, const int32_t *parts) {
    slm_context *ctx = new_context(m, cpu, threads, n_batch, kv);
    uint64_t h = hash_of_text(ctx, m, N_TOKENS, parts);
    slm_context_free(ctx);
    return h;
}

static const int32_t whole[] = {N_TOKENS, 0}, one_by_one[] = {1, 0};
static const int32_t uneven[] = {1, 2, 61, 1, 3, 7, 64, 5, 0}, sevens[] = {7, 0};

START_TEST(test_golden_hash_of_logits) {
    fixture f = open_tiny(golden[_i].shape);
    const char *cpu;
    for (int32_t l = 0; (cpu = slm_cpu_level(l)); l++) {
        uint64_t h = hash_of_run(f.model, golden[_i].kv, cpu, 1, 256, whole);
        ck_assert_msg(h == golden[_i].hash, "model %d, %s: 0x%016llx", _i, cpu,
                      (unsigned long long)h);
    }
    close_tiny(f);
}
END_TEST

/* Every split, every number of threads, not each with each; one thread and the whole text are golden. Plain C takes its time, all others do
 * under sanitizers. */
static const struct {
    const int32_t *parts;
    int32_t n_batch;
    int32_t threads[5]; /* up to a 0 */
} ways[] = {
    {uneven, 17, {16, 1, 2, 8, 0}}, /* and the library's own split */
    {whole, 256, {16, 8, 3, 2, 0}},
    {one_by_one, 256, {3, 1, 0}},
    {sevens, 256, {3, 16, 0}},
};

START_TEST(test_fault_92_bits_for_every_level_threads_and_split) {
    fixture f = open_tiny(golden[_i].shape);
    const char *cpu;
    for (int32_t l = 0; (cpu = slm_cpu_level(l)); l++) {
        int n_ways = l == 0 && sanitized() ? 1 : 4, n_threads = l == 0 || sanitized() ? 1 : 4;
        for (int w = 0; w < n_ways; w++) {
            for (int t = 0; t < n_threads && ways[w].threads[t]; t++) {
                uint64_t h = hash_of_run(f.model, golden[_i].kv, cpu, ways[w].threads[t],
                                         ways[w].n_batch, ways[w].parts);
                ck_assert_msg(h == golden[_i].hash, "%s, %d threads, way %d", cpu,
                              ways[w].threads[t], w);
            }
        }
    }
    close_tiny(f);
}
END_TEST

/* Three sequences, mixed token by token in one batch, each as it is alone. */
START_TEST(test_fault_92_neighbours_in_the_batch_do_not_matter) {
    enum { N = 70, SEQS = 3 };
    fixture f = open_tiny(&every_type);
    slm_token text[SEQS][N], tokens[N * SEQS];
    int32_t sequences[N * SEQS];
    uint8_t want[N * SEQS] = {0};
    float alone[SEQS][N_VOCAB];
    fill_tokens(text[0], N * SEQS, N_VOCAB);
    for (int s = 0; s < SEQS; s++) {
        slm_context *ctx = new_context(f.model, NULL, 2, 64, SLM_KV_F16);
        decode(ctx, text[s], N);
        memcpy(alone[s], slm_logits(ctx, 0), sizeof alone[s]);
        slm_context_free(ctx);
    }
    for (int i = 0; i < N * SEQS; i++) {
        sequences[i] = i % SEQS;
        tokens[i] = text[i % SEQS][i / SEQS];
        want[i] = i / SEQS == N - 1;
    }
    slm_context *ctx = new_context(f.model, NULL, 2, 50, SLM_KV_F16);
    slm_batch batch = {sizeof batch, N * SEQS, tokens, NULL, sequences, want};
    ck_assert_int_eq(slm_decode(ctx, &batch, NULL), SLM_OK);
    for (int s = 0; s < SEQS; s++) {
        ck_assert_ptr_nonnull(slm_logits(ctx, s));
        ck_assert_int_eq(memcmp(slm_logits(ctx, s), alone[s], sizeof alone[s]), 0);
    }
    ck_assert_ptr_null(slm_logits(ctx, SEQS));
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

/* A prefix that stayed in the cache gives what computing it again gives. */
START_TEST(test_fault_92_truncated_and_continued_equals_fresh) {
    enum { N = 130, KEEP = 67 };
    fixture f = open_tiny(&every_type);
    slm_token a[N], b[N];
    fill_tokens(a, N, N_VOCAB);
    memcpy(b, a, sizeof b);
    for (int i = KEEP; i < N; i++) b[i] = (a[i] + 1) % N_VOCAB;
    slm_context *fresh = new_context(f.model, NULL, 2, 256, SLM_KV_F16),
                *reused = new_context(f.model, NULL, 2, 256, SLM_KV_F16);
    decode(fresh, b, N);
    decode(reused, a, N);
    ck_assert_int_eq(slm_seq_truncate(reused, 0, KEEP, NULL), SLM_OK);
    ck_assert_int_eq(slm_seq_length(reused, 0), KEEP);
    decode(reused, b + KEEP, N - KEEP);
    ck_assert_int_eq(memcmp(slm_logits(fresh, 0), slm_logits(reused, 0), N_VOCAB * sizeof(float)),
                     0);
    slm_context_free(fresh);
    slm_context_free(reused);
    close_tiny(f);
}
END_TEST

/* ---- Against plain_forward() ---- */

static const tiny_shape oracles[] = {
    {.n_vocab = 260,
     .n_embd = 256,
     .n_layer = 2,
     .n_head = 4,
     .n_head_kv = 2,
     .n_ff = 512,
     .seed = 11,
     .types = {SLM_IQ4_NL, SLM_IQ4_XS, SLM_MXFP4},
     .n_types = 3},
    /* rows of more than 1024: the scratch of plain C in reference mode once ended there */
    {.n_vocab = 260,
     .n_embd = 64,
     .n_layer = 1,
     .n_head = 2,
     .n_head_kv = 1,
     .n_ff = 1408,
     .types = {SLM_F32, SLM_F32, SLM_F32, SLM_F32, SLM_F32, SLM_F32, SLM_F32, SLM_Q8_0},
     .n_types = 8,
     .seed = 8},
    {.n_vocab = 260,
     .n_embd = 64,
     .n_layer = 2,
     .n_head = 4,
     .n_head_kv = 4,
     .n_ff = 96,
     .seed = 1},
    {.n_vocab = 260,
     .n_embd = 64,
     .n_layer = 2,
     .n_head = 4,
     .n_head_kv = 2,
     .n_ff = 96,
     .untied = true,
     .biases = true,
     .rope_base = 500000,
     .rope_freqs = true,
     .seed = 2},
    {.n_vocab = 260,
     .n_embd = 60,
     .n_layer = 2,
     .n_head = 6,
     .n_head_kv = 1,
     .n_ff = 100,
     .rope_factor = 2.5f,
     .n_rot = 6,
     .seed = 3},
    {.n_vocab = 260,
     .n_embd = 48,
     .n_layer = 2,
     .n_head = 2,
     .n_head_kv = 1,
     .head_dim = 72,
     .n_ff = 64,
     .seed = 4},
    {.arch = "qwen2",
     .n_vocab = 260,
     .n_embd = 64,
     .n_layer = 2,
     .n_head = 4,
     .n_head_kv = 2,
     .n_ff = 96,
     .biases = true,
     .rope_base = 1000000,
     .n_rot = 12,
     .seed = 5},
    {.n_vocab = 260,
     .n_embd = 256,
     .n_layer = 2,
     .n_head = 4,
     .n_head_kv = 2,
     .n_ff = 512,
     .seed = 6,
     .types = {SLM_Q4_0, SLM_Q4_1, SLM_Q5_0, SLM_Q5_1, SLM_Q8_0, SLM_Q2_K, SLM_Q3_K, SLM_Q4_K},
     .n_types = 8},
    {.n_vocab = 260,
     .n_embd = 256,
     .n_layer = 2,
     .n_head = 4,
     .n_head_kv = 2,
     .n_ff = 512,
     .seed = 7,
     .types = {SLM_Q5_K, SLM_Q6_K, SLM_F16, SLM_BF16, SLM_F32},
     .n_types = 5},
};

/* Reference mode is exact but for rounding; the default mode has 8-bit activations, which are good to a few per cent of the
 * spread in these models, whose weights are noise. */
START_TEST(test_logits_against_double_precision) {
    const tiny_shape *s = &oracles[_i];
    enum { N = 70 };
    fixture f = open_tiny(s);
    slm_token tokens[N];
    double *want = malloc(s->n_vocab * sizeof *want);
    ck_assert_ptr_nonnull(want);
    fill_tokens(tokens, N, s->n_vocab);
    plain_forward(f.model, NULL, tokens, N, want);
    const char *cpu;
    for (int32_t l = 0; (cpu = slm_cpu_level(l)); l++) {
        /* all exact; the default mode; the default mode with 8-bit keys and values */
        for (int run = 0; run < 3; run++) {
            int reference = run == 0;
            slm_context_params p = slm_context_defaults();
            slm_context *ctx;
            p.n_ctx = N;
            p.cpu = cpu;
            p.n_threads = 2;
            p.kv_type = run == 2 ? SLM_KV_Q8_0 : SLM_KV_F32;
            p.reference = reference;
            ck_assert_int_eq(slm_context_create(f.model, &p, &ctx, NULL), SLM_OK);
            decode(ctx, tokens, N);
            double d = distance(slm_logits(ctx, 0), want, (int)s->n_vocab);
            bool exact = run < 2 && (reference || s->n_types == 0);
            ck_assert_msg(d < (exact ? 1e-4 : 0.15), "%s, run %d: %g", cpu, run, d);
            ck_assert(exact || d > 1e-5); /* these do quantize */
            slm_context_free(ctx);
        }
    }
    free(want);
    close_tiny(f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("forward");
    int n_golden = (int)(sizeof golden / sizeof *golden);
    TCase *c = tcase_create("golden"); /* what an emulated processor has time for */
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, test_golden_hash_of_logits, 0, n_golden);
    suite_add_tcase(suite, c);
    c = tcase_create("forward");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, test_fault_92_bits_for_every_level_threads_and_split, 0, n_golden);
    tcase_add_test(c, test_fault_92_neighbours_in_the_batch_do_not_matter);
    tcase_add_test(c, test_fault_92_truncated_and_continued_equals_fresh);
    tcase_add_loop_test(c, test_logits_against_double_precision, 0,
                        (int)(sizeof oracles / sizeof *oracles));
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
