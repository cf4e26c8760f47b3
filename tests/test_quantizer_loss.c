/* Importance of columns, types set one by one, and what a tensor loses by becoming another type. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../kernels/kernels.h"
#include "../kernels/quantize.h"
#include "../libslm/gguf.h"
#include "support/gguf_build.h"
#include "support/suite.h"

/* Rows of 96 and 288: pieces of 4096 weights begin anywhere in them. Matrices of an expert have 80 rows. */
enum { ROW = 96, ROWS = 80, EXPERTS = 3, WIDE = 288, WIDE_ROWS = 1000, N_TENSORS = 3 };

static slm_error err;

/* ---- A model with experts ---- */

typedef struct fixture {
    gguf_build b;
    slm_model *model;
    const void *data;
    size_t n_bytes;
    float *experts, *wide; /* the weights */
} fixture;

static uint32_t state = 1;

static float random_unit(void) {
    return (float)((state = state * 1664525 + 1013904223) >> 8) * 0x1p-24f;
}

static float *random_weights(size_t n) {
    float *x = malloc(n * sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (size_t i = 0; i < n; i++)
        x[i] = random_unit() + random_unit() + random_unit() + random_unit() - 2;
    return x;
}

static fixture open_fixture(void) {
    static const float norm[ROW] = {1};
    fixture f = {.experts = random_weights(ROW * ROWS * EXPERTS),
                 .wide = random_weights(WIDE * WIDE_ROWS)};
    gb_tensor(&f.b, "experts.weight", 0, 3, (int64_t[]){ROW, ROWS, EXPERTS}, f.experts,
              sizeof(float) * ROW * ROWS * EXPERTS);
    gb_tensor(&f.b, "a_norm.weight", 0, 1, (int64_t[]){ROW}, norm, sizeof norm);
    gb_tensor(&f.b, "wide.weight", 0, 2, (int64_t[]){WIDE, WIDE_ROWS}, f.wide,
              sizeof(float) * WIDE * WIDE_ROWS);
    slm_model_params p = slm_model_defaults();
    p.keys_only = true;
    f.data = gb_finish(&f.b, &f.n_bytes);
    ck_assert_msg(slm_model_open_memory(f.data, f.n_bytes, &p, &f.model, &err) == SLM_OK, "%s",
                  err.message);
    return f;
}

static void close_fixture(fixture *f) {
    slm_model_close(f->model);
    gb_free(&f->b);
    free(f->experts);
    free(f->wide);
}

/* ---- Importance ---- */

typedef struct knowledge {
    float bad; /* in the last column of the last matrix of the experts, if not 0 */
    bool only_experts;
    int n_calls;
} knowledge;

/* Another for each matrix; the columns differ much. */
static void importance_of(const char *tensor, int64_t matrix, int64_t n, float *out) {
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)((i * 7 + matrix * 31 + (int64_t)strlen(tensor)) % 13 + 1) * 0.01f;
}

static bool know(void *user, const char *tensor, int64_t matrix, int64_t n, float *out) {
    knowledge *k = user;
    bool experts = strcmp(tensor, "experts.weight") == 0;
    k->n_calls++;
    ck_assert_int_eq(n, experts ? ROW : WIDE);
    ck_assert(matrix >= 0 && matrix < (experts ? EXPERTS : 1));
    importance_of(tensor, matrix, n, out);
    if (k->bad != 0 && matrix == EXPERTS - 1) out[n - 1] = k->bad;
    return experts || !k->only_experts;
}

static slm_quantizer *create(const fixture *f, const char *type, int32_t n_threads, knowledge *k) {
    slm_quantizer *q;
    slm_quantize_params p = slm_quantize_defaults();
    p.type = type;
    p.requantize = true;
    p.n_threads = n_threads;
    if (k) p.importance = know, p.importance_user = k;
    ck_assert_msg(slm_quantizer_create(f->model, &p, &q, &err) == SLM_OK, "%s", err.message);
    return q;
}

/* ---- The sums, in a loop of their own ---- */

typedef struct expected {
    float *read_back;
    double error, square;
} expected;

/* Row by row, as the kernels' own tests know them. */
static expected by_rows(const float *x, const char *name, int64_t row, int64_t rows, int64_t n,
                        slm_type type, bool weighted) {
    expected e = {.read_back = malloc((size_t)(row * rows * n) * sizeof(float))};
    uint8_t *blocks = malloc((size_t)row * sizeof(float));
    float *w = malloc((size_t)row * sizeof *w);
    ck_assert(e.read_back && blocks && w);
    for (int64_t r = 0; r < rows * n; r++) {
        float *y = e.read_back + r * row;
        importance_of(name, r / rows, row, w);
        ck_assert(slm__quantize_row(slm__kernels_named(NULL), type, SLM_ROUND_SEARCH, x + r * row,
                                    row, weighted ? w : NULL, blocks));
        slm__kernels_level(0)->dequantize[type](blocks, row, y);
        for (int64_t i = 0; i < row; i++) {
            double wi = weighted ? (double)w[i] : 1, d = (double)x[r * row + i] - (double)y[i];
            e.error += wi * d * d;
            e.square += wi * (double)x[r * row + i] * (double)x[r * row + i];
        }
    }
    free(blocks);
    free(w);
    return e;
}

static void expect_near(double a, double b) { ck_assert_double_le(fabs(a - b), 1e-10 * b); }

/* ---- Tests ---- */

static const struct {
    const char *name;
    slm_type type;
} types[] = {{"Q4_0", SLM_Q4_0}, {"q5_1", SLM_Q5_1}, {"IQ4_NL", SLM_IQ4_NL}, {"F16", SLM_F16}};

/* Each row has the importance of its columns, and each expert its own. */
START_TEST(test_loss_is_that_of_the_rows) {
    fixture f = open_fixture();
    float *got = malloc(sizeof(float) * WIDE * WIDE_ROWS);
    ck_assert_ptr_nonnull(got);
    for (int tensor = 0; tensor < N_TENSORS; tensor += 2) {
        for (int weighted = 0; weighted < 2; weighted++) {
            knowledge k = {0};
            slm_quantizer *q = create(&f, "Q8_0", 2, weighted ? &k : NULL);
            slm_type type = types[_i].type;
            bool counts = weighted && type != SLM_F16; /* a float is what is nearest */
            int64_t row = tensor ? WIDE : ROW, rows = tensor ? WIDE_ROWS : ROWS,
                    n = tensor ? 1 : EXPERTS;
            expected e =
                by_rows(tensor ? f.wide : f.experts, tensor ? "wide.weight" : "experts.weight", row,
                        rows, n, type, counts);
            slm_tensor_loss loss = {.size = sizeof loss};
            ck_assert_msg(slm_quantizer_tensor_loss(q, tensor, types[_i].name, got, &loss, &err) ==
                              SLM_OK,
                          "%s", err.message);
            ck_assert_str_eq(loss.type, slm__type_info[type].name);
            ck_assert_uint_eq(loss.n_bytes, slm__type_bytes(type, (uint64_t)(row * rows * n)));
            ck_assert_int_eq(memcmp(got, e.read_back, (size_t)(row * rows * n) * sizeof *got), 0);
            expect_near(loss.error, e.error);
            expect_near(loss.square, e.square);
            ck_assert_int_eq(k.n_calls, counts ? n : 0);
            slm_quantizer_free(q);
            free(e.read_back);
        }
    }
    free(got);
    close_fixture(&f);
}
END_TEST

/* Also with threads of the caller's. */
START_TEST(test_threads_change_no_sum) {
    fixture f = open_fixture();
    slm_tensor_loss one = {.size = sizeof one};
    slm_threads *threads;
    ck_assert_int_eq(slm_threads_create(5, NULL, &threads, &err), SLM_OK);
    for (int32_t n = 1; n <= 20; n += n < 3 ? 1 : 17) {
        slm_quantize_params p = slm_quantize_defaults();
        slm_tensor_loss loss = {.size = sizeof loss};
        slm_quantizer_info info = {.size = sizeof info};
        slm_quantizer *q;
        p.n_threads = n;
        if (n == 3) p.threads = threads;
        ck_assert_int_eq(slm_quantizer_create(f.model, &p, &q, &err), SLM_OK);
        ck_assert_int_eq(slm_quantizer_get_info(q, &info), SLM_OK);
        ck_assert_int_eq(info.n_threads, n == 3 ? 5 : n);
        ck_assert_int_eq(slm_quantizer_tensor_loss(q, 2, "Q4_0", NULL, &loss, &err), SLM_OK);
        if (n == 1) one = loss;
        ck_assert(loss.error == one.error && loss.square == one.square && loss.error > 0);
        slm_quantizer_free(q);
    }
    slm_threads_free(threads);
    close_fixture(&f);
}
END_TEST

/* The file has what the loss was told of. */
START_TEST(test_the_file_has_what_was_measured) {
    char path[] = "/tmp/slm_test_XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    fixture f = open_fixture();
    knowledge k = {.only_experts = true};
    slm_quantizer *q = create(&f, "Q8_0", 2, &k);
    ck_assert_int_eq(slm_quantizer_set_type(q, 0, "q4_1", &err), SLM_OK);
    ck_assert_int_eq(slm_quantizer_set_type(q, 2, "Q4_K", &err), SLM_OK);
    slm_quantized_tensor t = {.size = sizeof t};
    ck_assert_int_eq(slm_quantizer_get_tensor(q, 2, &t), SLM_OK);
    ck_assert_str_eq(t.to, "Q5_0"); /* rows of 288 are no blocks of 256 */
    ck_assert_str_eq(t.wanted, "Q4_K");
    ck_assert_int_eq(slm_quantizer_write(q, path, &err), SLM_OK);
    ck_assert_int_eq(k.n_calls, EXPERTS + 1);
    slm_quantizer_free(q);

    slm_model *model;
    slm_model_params mp = slm_model_defaults();
    mp.keys_only = true;
    ck_assert_msg(slm_model_open(path, &mp, &model, &err) == SLM_OK, "%s", err.message);
    fixture g = {.model = model};
    q = create(&g, "F32", 1, NULL);
    float *got = malloc(sizeof(float) * WIDE * WIDE_ROWS);
    for (int tensor = 0; tensor < N_TENSORS; tensor += 2) {
        bool experts = tensor == 0;
        expected e = experts
                         ? by_rows(f.experts, "experts.weight", ROW, ROWS, EXPERTS, SLM_Q4_1, true)
                         : by_rows(f.wide, "", WIDE, WIDE_ROWS, 1, SLM_Q5_0, false);
        slm_tensor_loss loss = {.size = sizeof loss};
        ck_assert_int_eq(
            slm_quantizer_tensor_loss(q, tensor, experts ? "Q4_1" : "Q5_0", got, &loss, &err),
            SLM_OK);
        ck_assert(loss.error == 0); /* it is that already */
        ck_assert_int_eq(memcmp(got, e.read_back,
                                (experts ? ROW * ROWS * EXPERTS : WIDE * WIDE_ROWS) * sizeof *got),
                         0);
        free(e.read_back);
    }
    free(got);
    slm_quantizer_free(q);
    slm_model_close(model);
    unlink(path);
    close_fixture(&f);
}
END_TEST

START_TEST(test_importance_that_is_no_number) {
    static const float bad[] = {NAN, INFINITY, -1e-30f};
    fixture f = open_fixture();
    for (int i = 0; i < 3; i++) {
        knowledge k = {.bad = bad[i]};
        slm_quantizer *q = create(&f, "Q4_0", 2, &k);
        slm_tensor_loss loss = {.size = sizeof loss};
        ASSERT_FAILS(slm_quantizer_tensor_loss(q, 0, "Q4_0", NULL, &loss, &err), SLM_ERR_NUMERIC,
                     "importance of column 95 of tensor experts.weight (matrix 2)");
        ck_assert(loss.error == 0 && !loss.type);
        ASSERT_FAILS(slm_quantizer_write(q, "/tmp/slm_test_none", &err), SLM_ERR_NUMERIC,
                     "experts.weight");
        ck_assert_int_ne(access("/tmp/slm_test_none", F_OK), 0);
        ck_assert_int_eq(slm_quantizer_tensor_loss(q, 0, "F16", NULL, &loss, &err), SLM_OK);
        slm_quantizer_free(q);
    }
    close_fixture(&f);
}
END_TEST

/* A plan in which a quantized tensor stays as it is needs no `requantize`; another type does. */
START_TEST(test_quantized_tensors_stay) {
    static const uint8_t blocks[2 * 34] = {0};
    for (int again = 0; again < 2; again++) {
        gguf_build b = {0};
        gb_tensor(&b, "a.weight", 8, 2, (int64_t[]){32, 2}, blocks, sizeof blocks);
        slm_model *m;
        slm_quantizer *q;
        size_t n;
        const void *data = gb_finish(&b, &n);
        slm_model_params mp = slm_model_defaults();
        mp.keys_only = true;
        ck_assert_int_eq(slm_model_open_memory(data, n, &mp, &m, &err), SLM_OK);
        slm_quantize_params p = slm_quantize_defaults();
        p.type = "Q8_0";
        p.requantize = again;
        ck_assert_int_eq(slm_quantizer_create(m, &p, &q, &err), SLM_OK);
        slm_tensor_loss loss = {.size = sizeof loss, .n_bytes = 7};
        slm_quantized_tensor t = {.size = sizeof t};
        if (again) {
            ck_assert_int_eq(slm_quantizer_set_type(q, 0, "Q4_0", &err), SLM_OK);
        } else {
            ASSERT_FAILS(slm_quantizer_set_type(q, 0, "Q4_0", &err), SLM_ERR_UNSUPPORTED,
                         "a.weight is quantized already (Q8_0)");
            ASSERT_FAILS(slm_quantizer_tensor_loss(q, 0, "Q4_0", NULL, &loss, &err),
                         SLM_ERR_UNSUPPORTED, "a.weight is quantized already (Q8_0)");
            ck_assert_uint_eq(loss.n_bytes, 7);
            ck_assert_int_eq(slm_quantizer_set_type(q, 0, "Q8_0", &err), SLM_OK);
        }
        ck_assert_int_eq(slm_quantizer_get_tensor(q, 0, &t), SLM_OK);
        ck_assert_str_eq(t.to, again ? "Q4_0" : "Q8_0");
        slm_quantizer_free(q);
        slm_model_close(m);
        gb_free(&b);
    }
}
END_TEST

START_TEST(test_what_is_refused) {
    fixture f = open_fixture();
    slm_quantizer *q = create(&f, "Q8_0", 1, NULL);
    slm_tensor_loss loss = {.size = sizeof loss - 1};
    ASSERT_FAILS(slm_quantizer_tensor_loss(q, 0, "Q4_0", NULL, &loss, &err), SLM_ERR_ARGUMENT,
                 "size");
    loss.size++;
    ASSERT_FAILS(slm_quantizer_tensor_loss(q, 0, NULL, NULL, &loss, &err), SLM_ERR_ARGUMENT,
                 "NULL");
    ASSERT_FAILS(slm_quantizer_set_type(NULL, 0, "Q4_0", &err), SLM_ERR_ARGUMENT, "NULL");
#define REFUSED(index, type, status, word)                                                       \
    ASSERT_FAILS(slm_quantizer_set_type(q, index, type, &err), SLM_ERR_##status, word);          \
    ASSERT_FAILS(slm_quantizer_tensor_loss(q, index, type, NULL, &loss, &err), SLM_ERR_##status, \
                 word)
    REFUSED(-1, "Q4_0", RANGE, "index is -1, expected 0 to 2");
    REFUSED(N_TENSORS, "Q4_0", RANGE, "index is 3");
    REFUSED(0, "Q4_K_M", ARGUMENT, "unknown type Q4_K_M, known: F32");
    REFUSED(1, "Q4_0", ARGUMENT, "a_norm.weight can only stay");
#undef REFUSED
    ck_assert_int_eq(slm_quantizer_set_type(q, 1, "F32", &err), SLM_OK);
    slm_quantizer_free(q);
    f.wide[WIDE * 7 + 3] = NAN;
    fixture g = f;
    g.b = (gguf_build){0};
    gb_tensor(&g.b, "x.weight", 0, 2, (int64_t[]){WIDE, WIDE_ROWS}, f.wide,
              sizeof(float) * WIDE * WIDE_ROWS);
    slm_model_params p = slm_model_defaults();
    p.keys_only = true;
    g.data = gb_finish(&g.b, &g.n_bytes);
    ck_assert_int_eq(slm_model_open_memory(g.data, g.n_bytes, &p, &g.model, &err), SLM_OK);
    q = create(&g, "Q8_0", 1, NULL);
    ASSERT_FAILS(slm_quantizer_tensor_loss(q, 0, "Q4_0", NULL, &loss, &err), SLM_ERR_NUMERIC,
                 "tensor x.weight: weight 3 of row 7 is NaN");
    slm_quantizer_free(q);
    slm_model_close(g.model);
    gb_free(&g.b);
    close_fixture(&f);
}
END_TEST

/* 30 layers, of which a mixture treats the first eighth in its own way. */
static fixture open_layers(void) {
    static float x[2 * 256];
    fixture f = {0};
    gb_str(&f.b, "general.architecture", "llama");
    for (int i = 0; i < 30; i++) {
        char name[40];
        snprintf(name, sizeof name, "blk.%d.ffn_down.weight", i);
        gb_tensor(&f.b, name, 0, 2, (int64_t[]){256, 2}, x, sizeof x);
    }
    slm_model_params p = slm_model_defaults();
    p.keys_only = true;
    f.data = gb_finish(&f.b, &f.n_bytes);
    ck_assert_int_eq(slm_model_open_memory(f.data, f.n_bytes, &p, &f.model, &err), SLM_OK);
    return f;
}

/* As llama-quantize chooses without and with an importance matrix. */
START_TEST(test_mixtures_with_importance) {
    static const struct {
        const char *name, *first[2], *others;
    } with[] = {{"IQ4_NL", {"Q5_K", "IQ4_NL"}, "IQ4_NL"},
                {"IQ4_XS", {"Q5_K", "IQ4_XS"}, "IQ4_XS"},
                {"Q4_0", {"Q4_0", "Q4_1"}, "Q4_0"},
                {"Q5_0", {"Q5_0", "Q5_1"}, "Q5_0"},
                {"Q4_K_S", {"Q5_K", "Q5_K"}, "Q4_K"}};
    fixture f = open_layers();
    for (size_t i = 0; i < sizeof with / sizeof *with; i++) {
        for (int known = 0; known < 2; known++) {
            knowledge k = {0};
            slm_quantizer *q = create(&f, with[i].name, 1, known ? &k : NULL);
            slm_quantized_tensor t = {.size = sizeof t};
            ck_assert_int_eq(slm_quantizer_get_tensor(q, 2, &t), SLM_OK);
            ck_assert_str_eq(t.to, with[i].first[known]);
            ck_assert_int_eq(slm_quantizer_get_tensor(q, 3, &t), SLM_OK);
            ck_assert_str_eq(t.to, with[i].others);
            slm_quantizer_free(q);
        }
    }
    close_fixture(&f);
}
END_TEST

int main(void) {
    Suite *s = suite_create("quantizer_loss");
    TCase *t = tcase_create("quantizer_loss");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, test_loss_is_that_of_the_rows, 0, (int)(sizeof types / sizeof *types));
    tcase_add_test(t, test_threads_change_no_sum);
    tcase_add_test(t, test_the_file_has_what_was_measured);
    tcase_add_test(t, test_importance_that_is_no_number);
    tcase_add_test(t, test_quantized_tensors_stay);
    tcase_add_test(t, test_what_is_refused);
    tcase_add_test(t, test_mixtures_with_importance);
    suite_add_tcase(s, t);
    return run_suite(s);
}
