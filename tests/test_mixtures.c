/* Which tensor becomes what: mixtures by name, rows that are no whole blocks, choices of the caller, and parameters that are refused. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "support/quantizer_case.h"
#include "support/suite.h"

static slm_error err;

/* ---- Which tensor becomes what ---- */

static const char *const matrices[] = {"attn_q", "attn_k",   "attn_v",  "attn_output",
                                       "ffn_up", "ffn_gate", "ffn_down"};

/* 30 layers whose rows have `row` weights. */
static quantizer_case open_layers(int64_t row, uint32_t n_head_kv, bool tied) {
    static float x[2 * 256];
    quantizer_case f = {0};
    gb_str(&f.b, "general.architecture", "llama");
    gb_u32(&f.b, "llama.block_count", 30);
    gb_u32(&f.b, "llama.attention.head_count", 8);
    gb_u32(&f.b, "llama.attention.head_count_kv", n_head_kv);
    int64_t dims[] = {row, 2};
    size_t n = (size_t)row * 2 * sizeof *x;
    gb_tensor(&f.b, "token_embd.weight", 0, 2, dims, x, n);
    gb_tensor(&f.b, "output_norm.weight", 0, 1, dims, x, n / 2);
    for (int i = 29; i >= 0; i--) { /* the order of the file does not matter */
        for (size_t m = 0; m < sizeof matrices / sizeof *matrices; m++) {
            char name[40];
            snprintf(name, sizeof name, "blk.%d.%s.weight", i, matrices[m]);
            gb_tensor(&f.b, name, 0, 2, dims, x, n);
        }
    }
    if (!tied) gb_tensor(&f.b, "output.weight", 0, 2, dims, x, n);
    open_quantizer_case(&f);
    return f;
}

static const char *planned(const quantizer_case *f, const slm_quantizer *q, const char *name) {
    for (int32_t i = 0; i < slm_model_n_tensors(f->model); i++) {
        slm_quantized_tensor t = {.size = sizeof t};
        ck_assert_int_eq(slm_quantizer_get_tensor(q, i, &t), SLM_OK);
        if (strcmp(t.name, name) == 0) return t.to;
    }
    ck_abort_msg("no tensor %s", name);
    return "";
}

/* Bits of the weights by layer: "665555..." */
static void expect_layers(const quantizer_case *f, const slm_quantizer *q, const char *matrix,
                          const char *expected) {
    char got[31] = "", name[40];
    for (int i = 0; i < 30; i++) {
        snprintf(name, sizeof name, "blk.%d.%s.weight", i, matrix);
        const char *type = planned(f, q, name);
        got[i] = type[strcspn(type, "0123456789")];
    }
    if (strlen(expected) == 1)
        ck_assert_msg(strspn(got, expected) == 30, "%s: %s", matrix, got);
    else
        ck_assert_str_eq(got, expected);
}

/* As llama-quantize of llama.cpp chooses for a llama of 30 layers with rows of 256 and 512: bits of attn_v, attn_output, ffn_down and all
 * others, by layer or all alike, and the types of token_embd and output. */
static const struct {
    const char *type;
    uint32_t n_head_kv, file_type;
    const char *v, *o, *down, *others, *embd, *output;
} rules[] = {
#define THIRDS6(x) "666" x x "6" x x "6" x x "6" x x "6" x x "6" x x "6" x x "6" x x "6666"
    {"Q2_K", 4, 10, "3", "3", "3", "2", "Q2_K", "Q6_K"},
    {"Q2_K", 2, 10, "4", "3", "3", "2", "Q2_K", "Q6_K"},
    {"Q3_K_S", 4, 11, "3", "3", "3", "3", "Q3_K", "Q6_K"},
    {"Q3_K_M", 4, 12, "554444444444444444444444444444", "4", "544444444444444444444444444444", "3",
     "Q3_K", "Q6_K"},
    {"Q3_K_L", 4, 13, "5", "5", "5", "3", "Q3_K", "Q6_K"},
    {"Q4_K_S", 4, 14, "555544444444444444444444444444", "4", "555444444444444444444444444444", "4",
     "Q4_K", "Q6_K"},
    {"Q4_K_M", 4, 15, THIRDS6("4"), "4", THIRDS6("4"), "4", "Q4_K", "Q6_K"},
    {"Q5_K_S", 4, 16, "5", "5", "5", "5", "Q5_K", "Q6_K"},
    {"Q5_K_M", 4, 17, THIRDS6("5"), "5", THIRDS6("5"), "5", "Q5_K", "Q6_K"},
    {"Q6_K", 4, 18, "6", "6", "6", "6", "Q6_K", "Q6_K"},
    {"Q8_0", 4, 7, "8", "8", "8", "8", "Q8_0", "Q8_0"},
    {"Q4_0", 4, 2, "4", "4", "4", "4", "Q4_0", "Q6_K"},
    {"Q5_1", 4, 9, "5", "5", "5", "5", "Q5_1", "Q6_K"},
    {"IQ4_NL", 4, 25, "4", "4", "555444444444444444444444444444", "4", "IQ4_NL", "Q6_K"},
    {"IQ4_XS", 2, 30, "5", "4", "555444444444444444444444444444", "4", "IQ4_XS", "Q6_K"},
    {"F16", 4, 1, "1", "1", "1", "1", "F16", "F16"},
#undef THIRDS6
};

START_TEST(test_mixtures) {
    for (int tied = 0; tied < 2; tied++) {
        quantizer_case f = open_layers(256, rules[_i].n_head_kv, tied);
        slm_quantize_params p = quantizer_params(rules[_i].type);
        slm_quantizer *q = create_quantizer(&f, &p);
        for (size_t m = 0; m < sizeof matrices / sizeof *matrices; m++) {
            const char *expected = strcmp(matrices[m], "attn_v") == 0        ? rules[_i].v
                                   : strcmp(matrices[m], "attn_output") == 0 ? rules[_i].o
                                   : strcmp(matrices[m], "ffn_down") == 0    ? rules[_i].down
                                                                             : rules[_i].others;
            expect_layers(&f, q, matrices[m], expected);
        }
        ck_assert_str_eq(planned(&f, q, "output_norm.weight"), "F32");
        ck_assert_str_eq(planned(&f, q, "token_embd.weight"),
                         tied ? rules[_i].output : rules[_i].embd);
        if (!tied) ck_assert_str_eq(planned(&f, q, "output.weight"), rules[_i].output);
        slm_quantizer_free(q);
        written_file w = quantize_case(&f, &p);
        ck_assert_uint_eq(written_u64(&w, "general.file_type"), rules[_i].file_type);
        free_written(&w);
        close_quantizer_case(&f);
    }
}
END_TEST

/* Rows that are no whole blocks. */
START_TEST(test_fallbacks) {
    static const char *const to[][2] = {
        {"Q2_K", "IQ4_NL"},   {"Q3_K_S", "IQ4_NL"}, {"IQ4_XS", "IQ4_NL"},
        {"Q4_K_S", "Q5_0"},   {"Q5_K_S", "Q5_1"},   {"Q6_K", "Q8_0"},
        {"IQ4_NL", "IQ4_NL"}, {"Q8_0", "Q8_0"},     {"F16", "F16"}};
    for (size_t i = 0; i < sizeof to / sizeof *to; i++) {
        for (int divides = 0; divides < 2; divides++) {
            quantizer_case f = open_layers(divides ? 96 : 40, 4, true);
            slm_quantize_params p = quantizer_params(to[i][0]);
            slm_quantizer *q = create_quantizer(&f, &p);
            ck_assert_str_eq(planned(&f, q, "blk.9.attn_q.weight"), divides ? to[i][1] : "F16");
            const char *embd = strcmp(to[i][0], "F16") == 0 ? "F16" : "Q8_0";
            ck_assert_str_eq(planned(&f, q, "token_embd.weight"), divides ? embd : "F16");
            slm_quantizer_free(q);
            close_quantizer_case(&f);
        }
    }
}
END_TEST

START_TEST(test_choices) {
    quantizer_case f = open_layers(256, 4, true);
    const slm_tensor_choice choices[] = {{"blk.1?.attn_q.weight", "q8_0"},
                                         {"*attn_q*", "F32"},
                                         {"blk.*.ffn_*.weight", "IQ4_XS"},
                                         {"token_embd.weight", "BF16"}};
    slm_quantize_params p = quantizer_params("Q2_K");
    p.choices = choices;
    p.n_choices = 4;
    slm_quantizer *q = create_quantizer(&f, &p);
    ck_assert_str_eq(planned(&f, q, "blk.9.attn_q.weight"), "F32");
    ck_assert_str_eq(planned(&f, q, "blk.10.attn_q.weight"), "Q8_0");
    ck_assert_str_eq(planned(&f, q, "blk.19.attn_q.weight"), "Q8_0");
    ck_assert_str_eq(planned(&f, q, "blk.20.attn_q.weight"), "F32");
    ck_assert_str_eq(planned(&f, q, "blk.0.ffn_down.weight"), "IQ4_XS");
    ck_assert_str_eq(planned(&f, q, "blk.0.attn_k.weight"), "Q2_K");
    ck_assert_str_eq(planned(&f, q, "token_embd.weight"), "BF16");
    ck_assert_str_eq(planned(&f, q, "output_norm.weight"), "F32");
    slm_quantizer_free(q);
    close_quantizer_case(&f);
}
END_TEST

/* ---- What goes wrong ---- */

START_TEST(test_wrong_parameters) {
    quantizer_case f = open_layers(256, 4, true);
    slm_quantizer *q = (slm_quantizer *)&f;
    slm_quantize_params p = quantizer_params("Q4_K_X");
#define REFUSED(status, word)                                                          \
    ASSERT_FAILS(slm_quantizer_create(f.model, &p, &q, &err), SLM_ERR_##status, word); \
    ck_assert_ptr_null(q);
    REFUSED(ARGUMENT, "unknown type Q4_K_X, known: F32, F16");
    REFUSED(ARGUMENT, "Q4_K_M");
    REFUSED(ARGUMENT, "Q2_K");
    p.type = NULL;
    REFUSED(ARGUMENT, "type");
    p = quantizer_params("Q8_0");
    p.n_threads = -1;
    REFUSED(RANGE, "n_threads");
    p = quantizer_params("Q8_0");
    p.n_choices = 1;
    REFUSED(ARGUMENT, "choices");
    slm_tensor_choice c = {"blk.*.attn_q.weight", "Q4_K_M"};
    p.choices = &c;
    REFUSED(ARGUMENT, "unknown type Q4_K_M, known: F32"); /* a mixture is no type of blocks */
    c = (slm_tensor_choice){"*.norm.weight", "Q4_K"};
    REFUSED(ARGUMENT, "*.norm.weight matches no tensor");
    c = (slm_tensor_choice){"output_norm.weight", "Q4_K"};
    REFUSED(ARGUMENT, "no tensor that can be quantized");
    char long_one[300];
    memset(long_one, '*', sizeof long_one);
    long_one[sizeof long_one - 1] = '\0';
    c = (slm_tensor_choice){long_one, "Q4_K"};
    REFUSED(LIMIT, "pattern");
    c = (slm_tensor_choice){NULL, "Q4_K"};
    REFUSED(ARGUMENT, "choice 0");
    p = quantizer_params("Q8_0");
    p.size--;
    REFUSED(ARGUMENT, "size");
#undef REFUSED
    ck_assert_int_eq(slm_quantizer_create(NULL, NULL, &q, &err), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_quantizer_create(f.model, NULL, NULL, &err), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_quantizer_create(f.model, NULL, &q, &err), SLM_OK);
    slm_quantizer_info info = {.size = sizeof info - 1};
    slm_quantized_tensor t = {.size = sizeof t};
    ck_assert_int_eq(slm_quantizer_get_info(q, &info), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_quantizer_get_tensor(q, -1, &t), SLM_ERR_RANGE);
    ck_assert_int_eq(slm_quantizer_get_tensor(q, 212, &t), SLM_ERR_RANGE);
    ck_assert_int_eq(slm_quantizer_write(q, NULL, &err), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_quantizer_write(NULL, "out.gguf", &err), SLM_ERR_ARGUMENT);
    slm_quantizer_free(q);
    slm_quantizer_free(NULL);
    close_quantizer_case(&f);
}
END_TEST

int main(void) {
    Suite *s = suite_create("mixtures");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, test_mixtures, 0, (int)(sizeof rules / sizeof *rules));
    tcase_add_test(t, test_fallbacks);
    tcase_add_test(t, test_choices);
    tcase_add_test(t, test_wrong_parameters);
    suite_add_tcase(s, t);
    return run_suite(s);
}
