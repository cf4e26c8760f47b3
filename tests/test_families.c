/* Every architecture as a tiny random model: against plain double precision written from the papers, and against itself. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "support/forward_case.h"
#include "support/plain_forward.h"
#include "support/suite.h"

enum { N_TOKENS = 150 }; /* two borders of cache pages, some windows */

#define SIZES .n_vocab = 260, .n_embd = 64, .n_head = 4, .n_head_kv = 2, .n_ff = 96

static const tiny_key mistral_keys[] = {{"attention.sliding_window", 70, false}, {0}};
static const tiny_key yarn_keys[] = {{"rope.scaling.factor", 4, true},
                                     {"rope.scaling.original_context_length", 64, false},
                                     {"rope.scaling.attn_factor", 1.25, true},
                                     {0}};
static const tiny_key phi3_keys[] = {{"attention.sliding_window", 100, false},
                                     {"rope.scaling.original_context_length", 128, false},
                                     {"rope.scaling.attn_factor", 1.19, true},
                                     {0}};
static const tiny_key phi3_short_keys[] = {{"attention.sliding_window", 0, false},
                                           {"rope.scaling.original_context_length", 512, false},
                                           {"rope.scaling.attn_factor", 1.19, true},
                                           {0}};
static const tiny_key gemma2_keys[] = {{"attention.sliding_window", 64, false},
                                       {"attn_logit_softcapping", 1.5, true},
                                       {"final_logit_softcapping", 2.5, true},
                                       {0}};
static const tiny_key gemma3_keys[] = {{"attention.sliding_window", 33, false}, {0}};
static const tiny_key pattern_keys[] = {{"attention.sliding_window", 65, false},
                                        {"attention.sliding_window_pattern", 3, false},
                                        {"rope.freq_base_swa", 500, true},
                                        {0}};
static const tiny_key olmo3_keys[] = {{"attention.sliding_window", 50, false},
                                      {"rope.scaling.factor", 8, true},
                                      {"rope.scaling.original_context_length", 40, false},
                                      {0}};

/*
 * Golden: made by this test with the plain C kernels, one thread, the tokens in one batch. That they are right is said by the
 * double-precision test of the same models.
 */
static const struct {
    const char *name;
    tiny_shape shape;
    plain_options options;
    uint64_t hash;      /* of the last row of logits                                    */
    uint64_t embedding; /* of the two vectors of the text, mean and last, one after the other */
} families[] = {
    {"mistral",
     {SIZES, .n_layer = 2, .rope_base = 1e6f, .keys = mistral_keys, .seed = 21},
     {.window = 70},
     0x32ec4244b81df08au,
     0x90fde9453566fb35u},
    {"llama with yarn",
     {SIZES, .n_layer = 2, .yarn = true, .keys = yarn_keys, .seed = 22},
     {0},
     0x11e3867a9ec4deaeu,
     0x403b82742cd2dc13u},
    {"phi3, long",
     {SIZES, .arch = "phi3", .n_layer = 2, .fused = true, .long_rope = true, .keys = phi3_keys,
      .seed = 23},
     {.window = 100, .long_rope = true},
     0xca339fb284320ae0u,
     0x270e3ea365cc7909u},
    {"phi3, short",
     {SIZES, .arch = "phi3", .n_layer = 2, .fused = true, .long_rope = true, .n_rot = 8,
      .keys = phi3_short_keys, .seed = 24},
     {0},
     0xee95a1d8a57ed180u,
     0xfb89b3cd57c51aaeu},
    {"qwen3",
     {SIZES, .arch = "qwen3", .n_layer = 2, .head_dim = 24, .qk_norm = true, .rope_base = 1e6f,
      .seed = 25},
     {0},
     0xef2d61f81058f1b5u,
     0x785241988e8e26c5u},
    {"gemma2",
     {SIZES, .arch = "gemma2", .n_layer = 3, .head_dim = 32, .post_norms = true,
      .keys = gemma2_keys, .seed = 26},
     {.gelu = true, .scaled_embedding = true, .window = 64, .global_every = 2},
     0x5a4b88b0a6cfadc4u,
     0x4416aa99cce972b0u},
    {"gemma3",
     {SIZES, .arch = "gemma3", .n_layer = 7, .head_dim = 40, .post_norms = true, .qk_norm = true,
      .rope_base = 1e6f, .rope_factor = 8, .keys = gemma3_keys, .seed = 27},
     {.gelu = true,
      .scaled_embedding = true,
      .plain_local_rope = true,
      .window = 33,
      .global_every = 6},
     0x83f5cd3e5a19f7d0u,
     0x816be677a9ea565bu},
    {"gemma3, another pattern",
     {SIZES, .arch = "gemma3", .n_layer = 4, .post_norms = true, .qk_norm = true, .rope_base = 1e6f,
      .keys = pattern_keys, .seed = 28},
     {.gelu = true,
      .scaled_embedding = true,
      .plain_local_rope = true,
      .window = 65,
      .global_every = 3},
     0x60762a4d51dd2082u,
     0x6a2d717e17bc5d47u},
    {"smollm3",
     {SIZES, .arch = "smollm3", .n_layer = 5, .rope_base = 5e6f, .seed = 29},
     {.no_rope_every = 4},
     0x816ed7ba636a38e6u,
     0xedc533459d986ecdu},
    {"olmo2",
     {SIZES, .arch = "olmo2", .n_layer = 2, .untied = true, .no_pre_norms = true,
      .post_norms = true, .qk_norm_row = true, .rope_base = 5e5f, .seed = 30},
     {0},
     0x8b03c21978f21c6fu,
     0x512b7110c9f9ccd9u},
    {"olmo3",
     {SIZES, .arch = "olmo2", .n_layer = 5, .untied = true, .no_pre_norms = true,
      .post_norms = true, .qk_norm_row = true, .rope_base = 5e5f, .yarn = true, .keys = olmo3_keys,
      .seed = 31},
     {.plain_local_rope = true, .window = 50, .global_every = 4},
     0x018d2e3d76a78f6eu,
     0x4ad05fb5fbcbdd90u},
    {"gemma3, quantized",
     {.n_vocab = 260,
      .arch = "gemma3",
      .n_embd = 96,
      .n_head = 4,
      .n_head_kv = 1,
      .n_ff = 160,
      .n_layer = 7,
      .head_dim = 32,
      .post_norms = true,
      .qk_norm = true,
      .rope_base = 1e6f,
      .keys = gemma3_keys,
      .types = {SLM_Q8_0, SLM_Q4_0, SLM_Q5_0, SLM_Q5_0},
      .n_types = 4,
      .seed = 32},
     {.gelu = true,
      .scaled_embedding = true,
      .plain_local_rope = true,
      .window = 33,
      .global_every = 6},
     0xc30635007d80416bu,
     0xe4ba5e3a51d56c89u},
    {"phi3, quantized",
     {.n_vocab = 260,
      .arch = "phi3",
      .n_embd = 256,
      .n_head = 4,
      .n_head_kv = 2,
      .n_ff = 256,
      .n_layer = 2,
      .fused = true,
      .long_rope = true,
      .keys = phi3_keys,
      .types = {SLM_Q6_K, SLM_Q4_K, SLM_Q4_0, SLM_Q5_K},
      .n_types = 4,
      .seed = 33},
     {.window = 100, .long_rope = true},
     0xbbe8273a12efb26fu,
     0xc8d88850b419e9c4u},
};
enum { N_FAMILIES = sizeof families / sizeof *families };

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
    double want[260];
    ck_assert_uint_le(s->n_vocab, 260);
    fill_tokens(tokens, N_TOKENS, s->n_vocab);
    plain_forward(f.model, &families[_i].options, tokens, N_TOKENS, want);
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
