/* LoRA adapters: what they add is what a model has into which they are merged, with the same bits everywhere; and bad files. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../libslm/context.h"
#include "support/adapter_case.h"
#include "support/family_case.h"
#include "support/forward_case.h"
#include "support/strict.h"
#include "support/suite.h"

enum { N_TOKENS = 90, N_VOCAB = FAMILY_VOCAB }; /* a border of cache pages */

static slm_error err;

/* ---- Adapters in use ---- */

typedef struct lora {
    gguf_build b;
    slm_adapter *adapter;
} lora;

static lora open_lora(const slm_model *m, const adapter_shape *shape) {
    lora l = {{0}, NULL};
    size_t n;
    ck_assert_int_gt(tiny_adapter(&l.b, m, shape), 0);
    const void *file = gb_finish(&l.b, &n);
    ck_assert_msg(slm_adapter_open_memory(m, file, n, NULL, &l.adapter, &err) == SLM_OK, "%s",
                  err.message);
    return l;
}

static void close_lora(lora l) {
    slm_adapter_close(l.adapter);
    gb_free(&l.b);
}

static void use(slm_context *ctx, const slm_adapter *a, float scale) {
    ck_assert_msg(slm_context_set_adapters(ctx, &a, &scale, 1, &err) == SLM_OK, "%s", err.message);
}

/* Floats all the way, if `reference`. */
static slm_context *exact_context(const slm_model *m, const char *cpu, bool reference) {
    slm_context_params p = slm_context_defaults();
    slm_context *ctx;
    p.n_ctx = 300;
    p.n_threads = 2;
    p.n_batch = 50;
    p.cpu = cpu;
    p.kv_type = SLM_KV_F32;
    p.reference = reference;
    ck_assert_msg(slm_context_create(m, &p, &ctx, &err) == SLM_OK, "%s", err.message);
    return ctx;
}

static void logits_of_text(slm_context *ctx, double *out) {
    slm_token tokens[N_TOKENS];
    fill_tokens(tokens, N_TOKENS, N_VOCAB);
    ck_assert_int_eq(slm_seq_truncate(ctx, 0, 0, NULL), SLM_OK);
    decode(ctx, tokens, N_TOKENS);
    for (int i = 0; i < N_VOCAB; i++) out[i] = (double)slm_logits(ctx, 0)[i];
}

static double distance_of_text(slm_context *ctx, const double *want) {
    double got[N_VOCAB];
    float row[N_VOCAB];
    logits_of_text(ctx, got);
    for (int i = 0; i < N_VOCAB; i++) row[i] = (float)got[i];
    return distance(row, want, N_VOCAB);
}

/* ---- Merged is unmerged ---- */

static const adapter_shape every_type[][2] = {
    {{5, 7.5f, SLM_F32, SLM_F32, NULL, 1}, {1, 0, SLM_F32, SLM_F32, "attn", 2}},
    {{17, 30, SLM_F16, SLM_BF16, NULL, 3}, {8, -4, SLM_BF16, SLM_F16, "ffn", 4}},
    {{32, 16, SLM_Q8_0, SLM_Q4_0, NULL, 5}, {64, 64, SLM_F32, SLM_Q8_0, "1.", 6}},
    {{33, 20, SLM_Q5_1, SLM_F32, NULL, 7}, {160, 100, SLM_IQ4_NL, SLM_Q4_1, "out", 8}},
};
enum { N_PAIRS = sizeof every_type / sizeof *every_type };

/* Two adapters at once, of every family. */
START_TEST(test_merged_is_unmerged) {
    const family *fam = &families[_i / N_PAIRS];
    fixture f = open_tiny(&fam->shape), merged = {{0}, NULL};
    const float scales[] = {0.6f, -0.45f};
    lora l[2];
    double want[N_VOCAB];
    size_t n;
    for (int i = 0; i < 2; i++) l[i] = open_lora(f.model, &every_type[_i % N_PAIRS][i]);
    merged_model(&merged.b, &f.b, f.model, (gguf_build[]){l[0].b, l[1].b}, scales, 2);
    const void *file = gb_finish(&merged.b, &n);
    ck_assert_msg(slm_model_open_memory(file, n, NULL, &merged.model, &err) == SLM_OK, "%s",
                  err.message);
    slm_context *ctx = exact_context(merged.model, NULL, true);
    logits_of_text(ctx, want);
    slm_context_free(ctx);
    const char *cpu;
    for (int32_t level = 0; (cpu = slm_cpu_level(level)); level++) {
        if (level == 0 && slm_cpu_level(1) && _i % N_PAIRS != 2) continue; /* C takes its time */
        /* and all do under sanitizers: each level has a pair of each family */
        if (sanitized() && level > 0 && (_i + _i / N_PAIRS + level) % N_PAIRS != 0) continue;
        for (int reference = 0; reference < 2; reference++) {
            bool floats = _i % N_PAIRS < 2 && fam->shape.n_types == 0;
            ctx = exact_context(f.model, cpu, reference);
            ck_assert_double_gt(distance_of_text(ctx, want), 0.3);
            ck_assert_int_eq(
                slm_context_set_adapters(ctx, (const slm_adapter *[]){l[0].adapter, l[1].adapter},
                                         scales, 2, &err),
                SLM_OK);
            double d = distance_of_text(ctx, want);
            ck_assert_msg(d < (reference || floats ? 1e-4 : 0.25), "%s, %s: %g", fam->name, cpu, d);
            slm_context_free(ctx);
        }
    }
    close_lora(l[0]), close_lora(l[1]);
    close_tiny(f), close_tiny(merged);
}
END_TEST

/* Factors for one kind of matrix alone, of families that have their output matrix apart, not apart, capped, and fused ones. */
START_TEST(test_merged_is_unmerged_for_each_matrix) {
    static const char *const kinds[] = {"attn_q.",  "attn_k.",   "attn_v.",  "attn_output.",
                                        "ffn_gate", "ffn_up",    "ffn_down", "/output.weight",
                                        "attn_qkv", "1.attn_out"};
    static const int some[] = {0, 2, 5, 9};
    fixture f = open_tiny(&families[some[_i]].shape);
    slm_context *ctx = exact_context(f.model, NULL, true);
    double base[N_VOCAB], want[N_VOCAB];
    int n_kinds = 0;
    logits_of_text(ctx, base);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        const adapter_shape shape = {6, 6, SLM_F32, SLM_F32, kinds[k], 10 + k};
        fixture merged = {{0}, NULL};
        lora l = {{0}, NULL};
        size_t n;
        bool has = tiny_adapter(&l.b, f.model, &shape) > 0;
        gb_free(&l.b);
        if (!has) continue; /* fused, or not */
        n_kinds++;
        l = open_lora(f.model, &shape);
        merged_model(&merged.b, &f.b, f.model, &l.b, &(float){0.5f}, 1);
        const void *file = gb_finish(&merged.b, &n);
        ck_assert_int_eq(slm_model_open_memory(file, n, NULL, &merged.model, NULL), SLM_OK);
        slm_context *plain = exact_context(merged.model, NULL, true);
        logits_of_text(plain, want);
        slm_context_free(plain);
        use(ctx, l.adapter, 0.5f);
        double d = distance_of_text(ctx, want);
        ck_assert_msg(d < 1e-4, "%s, %s: %g", families[some[_i]].name, kinds[k], d);
        ck_assert_double_gt(distance_of_text(ctx, base), 0.003); /* and it does something */
        close_lora(l), close_tiny(merged);
    }
    ck_assert_int_ge(n_kinds, 6);
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

/* ---- Bits ---- */

static const adapter_shape mixed[] = {
    {33, 20, SLM_F16, SLM_F32, NULL, 21},
    {32, 50, SLM_Q8_0, SLM_Q4_0, NULL, 22},
};

/*
 * Golden: made by this test with the plain C kernels, one thread, the tokens in one batch. That they are right is said by
 * test_merged_is_unmerged.
 */
static const struct {
    int family;
    uint64_t hash;
} golden[] = {
    /* gemma2: floats, capped logits, two kinds of layers */
    {5, 0x958f57ad1a7ac088u},
    /* gemma3, quantized: the output matrix is the embedding, and what it meets has 16 bits */
    {12, 0xae0bb2a209b0802fu},
    /* phi3, quantized: fused */
    {13, 0x80f026fc48479f9du},
};
enum { N_GOLDEN = sizeof golden / sizeof *golden };

static uint64_t hash_with_two(fixture f, const char *cpu, int32_t threads, int32_t n_batch,
                              const int32_t *parts) {
    lora l[] = {open_lora(f.model, &mixed[0]), open_lora(f.model, &mixed[1])};
    const slm_adapter *both[] = {l[0].adapter, l[1].adapter};
    slm_context *ctx = new_context(f.model, cpu, threads, n_batch, SLM_KV_F16);
    ck_assert_int_eq(slm_context_set_adapters(ctx, both, (float[]){0.5f, 0.25f}, 2, &err), SLM_OK);
    uint64_t h = hash_of_text(ctx, f.model, N_TOKENS, parts);
    slm_context_free(ctx);
    close_lora(l[0]), close_lora(l[1]);
    return h;
}

static const int32_t whole[] = {N_TOKENS, 0};

START_TEST(test_golden_hash_with_adapters) {
    fixture f = open_tiny(&families[golden[_i].family].shape);
    const char *cpu;
    for (int32_t level = 0; (cpu = slm_cpu_level(level)); level++) {
        uint64_t h = hash_with_two(f, cpu, 1, 256, whole);
        ck_assert_msg(h == golden[_i].hash, "%s, %s: 0x%016llx", families[golden[_i].family].name,
                      cpu, (unsigned long long)h);
    }
    close_tiny(f);
}
END_TEST

START_TEST(test_fault_92_bits_with_adapters_for_threads_and_split) {
    static const int32_t one_by_one[] = {1, 0}, uneven[] = {1, 2, 41, 1, 3, 7, 30, 0},
                         *const splits[] = {whole, one_by_one, uneven};
    static const int32_t threads[] = {1, 2, 3, 8};
    fixture f = open_tiny(&families[golden[_i].family].shape);
    for (int s = 0; s < 3; s++) {
        for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
            uint64_t h = hash_with_two(f, NULL, threads[t], s == 2 ? 17 : 256, splits[s]);
            ck_assert_msg(h == golden[_i].hash, "split %d, %d threads", s, threads[t]);
        }
    }
    close_tiny(f);
}
END_TEST

/* Logits of several tokens of one batch, in sequences that are mixed, are those of tokens alone. */
START_TEST(test_fault_92_rows_of_a_batch_with_adapters) {
    enum { N = 8 };
    fixture f = open_tiny(&families[golden[_i].family].shape);
    lora l = open_lora(f.model, &mixed[1]);
    slm_token tokens[N];
    static float alone[N][N_VOCAB];
    fill_tokens(tokens, N, N_VOCAB);
    slm_context *ctx = new_context(f.model, NULL, 2, 64, SLM_KV_F16);
    use(ctx, l.adapter, 1.5f);
    for (int i = 0; i < N; i++) { /* token i goes to sequence i % 2 */
        slm_batch one = {sizeof one, 1, tokens + i, NULL, (int32_t[]){i % 2}, NULL};
        ck_assert_int_eq(slm_decode(ctx, &one, NULL), SLM_OK);
        memcpy(alone[i], slm_logits(ctx, 0), sizeof alone[i]);
    }
    for (int s = 0; s < 2; s++) ck_assert_int_eq(slm_seq_truncate(ctx, s, 0, NULL), SLM_OK);
    int32_t sequences[N] = {0, 1, 0, 1, 0, 1, 0, 1};
    uint8_t want[N] = {1, 1, 1, 1, 1, 1, 1, 1};
    slm_batch all = {sizeof all, N, tokens, NULL, sequences, want};
    ck_assert_int_eq(slm_decode(ctx, &all, NULL), SLM_OK);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(memcmp(slm_logits(ctx, i), alone[i], sizeof alone[i]), 0);
    slm_context_free(ctx);
    close_lora(l), close_tiny(f);
}
END_TEST

/* ---- Switching ---- */

static uint64_t hash_anew(slm_context *ctx, const slm_model *m) {
    ck_assert_int_eq(slm_seq_truncate(ctx, 0, 0, NULL), SLM_OK);
    return hash_of_text(ctx, m, FAMILY_TOKENS, (int32_t[]){FAMILY_TOKENS, 0});
}

START_TEST(test_switching_to_and_fro) {
    const int32_t family_of = golden[_i].family;
    fixture f = open_tiny(&families[family_of].shape);
    lora l[] = {open_lora(f.model, &mixed[0]), open_lora(f.model, &mixed[1])};
    const slm_adapter *both[] = {l[0].adapter, l[1].adapter}, *twice[] = {both[0], both[0]};
    slm_context *ctx = new_context(f.model, NULL, 2, 64, SLM_KV_F16);
    uint64_t first, second, together;
    ck_assert_uint_eq(hash_anew(ctx, f.model), families[family_of].hash);
    use(ctx, both[0], 1);
    first = hash_anew(ctx, f.model);
    use(ctx, both[1], 1);
    second = hash_anew(ctx, f.model);
    ck_assert_int_eq(slm_context_set_adapters(ctx, NULL, NULL, 0, &err), SLM_OK);
    ck_assert_uint_eq(hash_anew(ctx, f.model), families[family_of].hash);
    ck_assert_int_eq(slm_context_set_adapters(ctx, both, (float[]){1, 1}, 2, &err), SLM_OK);
    together = hash_anew(ctx, f.model);
    ck_assert(first != second && first != together && second != together);
    ck_assert(first != families[family_of].hash);
    ck_assert_int_eq(slm_context_set_adapters(ctx, both, (float[]){0, 1}, 2, &err), SLM_OK);
    ck_assert_uint_eq(hash_anew(ctx, f.model), second); /* a scale of 0 is none */
    ck_assert_int_eq(slm_context_set_adapters(ctx, both, (float[]){1, 0}, 2, &err), SLM_OK);
    ck_assert_uint_eq(hash_anew(ctx, f.model), first);
    ck_assert_int_eq(slm_context_set_adapters(ctx, both, (float[]){0, 0}, 2, &err), SLM_OK);
    ck_assert_uint_eq(hash_anew(ctx, f.model), families[family_of].hash);
    /* one adapter twice is not one */
    ck_assert_int_eq(slm_context_set_adapters(ctx, twice, (float[]){1, 2}, 2, &err), SLM_OK);
    ck_assert(hash_anew(ctx, f.model) != first);
    slm_context_free(ctx);
    close_lora(l[0]), close_lora(l[1]);
    close_tiny(f);
}
END_TEST

/* One adapter twice is once with the sum of the scales, to rounding; also where views of one matrix share a product. */
START_TEST(test_scales_add_up) {
    static const int some[] = {0, 2};
    fixture f = open_tiny(&families[some[_i]].shape);
    lora l = open_lora(f.model, &mixed[0]);
    slm_context *ctx = exact_context(f.model, NULL, true);
    double want[N_VOCAB];
    use(ctx, l.adapter, 1.5f);
    logits_of_text(ctx, want);
    static const float halves[][2] = {{1.25f, 0.25f}, {0.75f, 0.75f}};
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(slm_context_set_adapters(ctx,
                                                  (const slm_adapter *[]){l.adapter, l.adapter},
                                                  halves[i], 2, &err),
                         SLM_OK);
        ck_assert_double_lt(distance_of_text(ctx, want), 1e-4);
    }
    slm_context_free(ctx);
    close_lora(l), close_tiny(f);
}
END_TEST

/* Two contexts of one model work step by step with adapters of their own, a third without. */
START_TEST(test_contexts_have_adapters_of_their_own) {
    enum { N = 20, CONTEXTS = 3 };
    fixture f = open_tiny(&families[12].shape);
    lora l[] = {open_lora(f.model, &mixed[0]), open_lora(f.model, &mixed[1])};
    slm_token tokens[N];
    slm_context *ctx[CONTEXTS];
    float alone[CONTEXTS][N_VOCAB];
    fill_tokens(tokens, N, N_VOCAB);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < CONTEXTS; i++) {
            ctx[i] = new_context(f.model, NULL, 2, 64, SLM_KV_F16);
            if (i < 2) use(ctx[i], l[i].adapter, 0.8f);
            if (round == 0) decode(ctx[i], tokens, N);
            if (round == 0) memcpy(alone[i], slm_logits(ctx[i], 0), sizeof alone[i]);
        }
        for (int t = 0; t < N && round == 1; t++)
            for (int i = 0; i < CONTEXTS; i++) decode(ctx[i], tokens + t, 1);
        for (int i = 0; i < CONTEXTS; i++) {
            ck_assert_int_eq(memcmp(slm_logits(ctx[i], 0), alone[i], sizeof alone[i]), 0);
            slm_context_free(ctx[i]);
        }
    }
    ck_assert_int_ne(memcmp(alone[0], alone[1], sizeof alone[0]), 0);
    ck_assert_int_ne(memcmp(alone[0], alone[2], sizeof alone[0]), 0);
    close_lora(l[0]), close_lora(l[1]);
    close_tiny(f);
}
END_TEST

START_TEST(test_more_adapters_than_a_list_needs) {
    fixture f = open_tiny(&families[2].shape);
    lora l = open_lora(f.model, &mixed[0]);
    const slm_adapter *many[SLM_MAX_ADAPTERS + 1];
    float scales[SLM_MAX_ADAPTERS + 1];
    double want[N_VOCAB];
    for (int i = 0; i <= SLM_MAX_ADAPTERS; i++) {
        many[i] = l.adapter;
        scales[i] = (float)(i + 1) / (SLM_MAX_ADAPTERS * (SLM_MAX_ADAPTERS + 1) / 2.0f);
    }
    slm_context *ctx = exact_context(f.model, NULL, true);
    use(ctx, l.adapter, 1);
    logits_of_text(ctx, want);
    ck_assert_int_eq(slm_context_set_adapters(ctx, many, scales, SLM_MAX_ADAPTERS, &err), SLM_OK);
    ck_assert_double_lt(distance_of_text(ctx, want), 1e-4);
    ASSERT_FAILS(slm_context_set_adapters(ctx, many, scales, SLM_MAX_ADAPTERS + 1, &err),
                 SLM_ERR_RANGE, "65");
    slm_context_free(ctx);
    close_lora(l), close_tiny(f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("adapter");
    TCase *c = tcase_create("golden"); /* what an emulated processor has time for */
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, test_golden_hash_with_adapters, 0, N_GOLDEN);
    suite_add_tcase(suite, c);
    c = tcase_create("adapter");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, test_merged_is_unmerged, 0, N_FAMILIES * N_PAIRS);
    tcase_add_loop_test(c, test_merged_is_unmerged_for_each_matrix, 0, 4);
    tcase_add_loop_test(c, test_fault_92_bits_with_adapters_for_threads_and_split, 0, N_GOLDEN);
    tcase_add_loop_test(c, test_fault_92_rows_of_a_batch_with_adapters, 0, N_GOLDEN);
    tcase_add_loop_test(c, test_switching_to_and_fro, 0, N_GOLDEN);
    tcase_add_loop_test(c, test_scales_add_up, 0, 2);
    tcase_add_test(c, test_contexts_have_adapters_of_their_own);
    tcase_add_test(c, test_more_adapters_than_a_list_needs);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
