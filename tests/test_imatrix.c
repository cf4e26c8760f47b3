/* Importance matrices: sums over what a model computes, in files and back, added up, and used. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../libslm/imatrix.h"
#include "support/check_alloc.h"
#include "support/strict.h"
#include "support/suite.h"
#include "support/tiny_model.h"

enum { N_VOCAB = 270, N_EMBD = 256, N_FF = 512, N_TOKENS = 37, PER_LAYER = 7 };

static const tiny_shape shape = {.n_vocab = N_VOCAB,
                                 .n_embd = N_EMBD,
                                 .n_layer = 2,
                                 .n_head = 4,
                                 .n_head_kv = 2,
                                 .n_ff = N_FF,
                                 .seed = 7};

static slm_error err;

#define GOOD(call) ck_assert_msg((call) == SLM_OK, "%s", err.message)

typedef struct fixture {
    gguf_build build;
    slm_model *model;
    char dir[32], path[64];
} fixture;

static void begin(fixture *f, const tiny_shape *s) {
    size_t n;
    memset(f, 0, sizeof *f);
    tiny_model(&f->build, s);
    const void *file = gb_finish(&f->build, &n);
    GOOD(slm_model_open_memory(file, n, NULL, &f->model, &err));
    strcpy(f->dir, "/tmp/slm_test_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/im.gguf", f->dir);
}

/* The folder holds the file, if any, and nothing else. */
static void end(fixture *f) {
    slm_model_close(f->model);
    gb_free(&f->build);
    unlink(f->path);
    ck_assert_int_eq(rmdir(f->dir), 0);
}

/* ---- Sums ---- */

/* What is shown goes to the importance matrix, and to sums of one matrix in another order: backwards, and of rows as they come. */
typedef struct watcher {
    slm_imatrix *imatrix;
    const char *name;
    int32_t n, n_rows;
    float *rows; /* [n_rows, n] */
} watcher;

static void watch(void *user, const slm_observation *o) {
    watcher *w = user;
    slm_imatrix_observe(w->imatrix, o);
    if (!o->tensor || strcmp(o->tensor, w->name) != 0) return;
    w->n = o->n;
    w->rows = realloc(w->rows, (size_t)(w->n_rows + o->n_rows) * (size_t)o->n * sizeof(float));
    memcpy(w->rows + w->n_rows * o->n, o->rows, (size_t)(o->n_rows * o->n) * sizeof(float));
    w->n_rows += o->n_rows;
}

typedef struct run_params {
    int32_t n_threads, n_batch, n_first; /* tokens of the first of two batches */
    bool output;
} run_params;

static slm_imatrix *collect(const fixture *f, run_params r, watcher *w) {
    slm_imatrix_params ip = slm_imatrix_defaults();
    ip.output_matrix = r.output;
    ip.chunk_size = 16;
    slm_imatrix *im;
    GOOD(slm_imatrix_create(f->model, &ip, &im, &err));
    slm_context_params p = slm_context_defaults();
    p.n_ctx = 64;
    p.n_batch = r.n_batch;
    p.n_logits = N_TOKENS;
    p.n_threads = r.n_threads;
    p.observe = w ? watch : slm_imatrix_observe;
    p.observe_user = w ? (void *)w : (void *)im;
    if (w) w->imatrix = im;
    slm_context *ctx;
    GOOD(slm_context_create(f->model, &p, &ctx, &err));
    slm_token tokens[N_TOKENS];
    uint8_t wanted[N_TOKENS];
    memset(wanted, r.output, sizeof wanted);
    for (int i = 0; i < N_TOKENS; i++) tokens[i] = (slm_token)(i * 23 % N_VOCAB);
    for (int32_t at = 0; at < N_TOKENS;) {
        int32_t n = at == 0 && r.n_first ? r.n_first : N_TOKENS - at;
        slm_batch b = {
            .size = sizeof b, .n_tokens = n, .tokens = tokens + at, .want_logits = wanted + at};
        GOOD(slm_decode(ctx, &b, &err));
        at += n;
    }
    slm_context_free(ctx);
    return im;
}

static slm_imatrix_tensor tensor_named(const slm_imatrix *im, const char *name) {
    slm_imatrix_tensor t = {.size = sizeof t};
    for (int32_t i = 0; slm_imatrix_get_tensor(im, i, &t) == SLM_OK; i++)
        if (strcmp(t.name, name) == 0) return t;
    ck_abort_msg("there is no %s", name);
}

static void expect_sums(const slm_imatrix *im, const watcher *w) {
    slm_imatrix_tensor t = tensor_named(im, w->name);
    ck_assert_int_eq(t.n_columns, w->n);
    ck_assert_int_eq(t.n_matrices, 1);
    ck_assert_double_eq(t.counts[0], N_TOKENS);
    ck_assert_int_eq(w->n_rows, N_TOKENS);
    float means[N_FF];
    ck_assert(slm_imatrix_importance(w->imatrix, w->name, 0, w->n, means));
    for (int32_t i = 0; i < w->n; i++) {
        long double sum = 0;
        for (int32_t r = w->n_rows; r-- > 0;) {
            long double x = (long double)w->rows[r * w->n + i];
            sum += x * x;
        }
        ck_assert_double_gt(t.sums[i], 0);
        ck_assert_double_le(fabs(t.sums[i] - (double)sum), 1e-14 * (double)sum);
        ck_assert_double_le(fabs((double)means[i] - (double)sum / N_TOKENS),
                            1e-7 * (double)sum / N_TOKENS);
    }
}

START_TEST(test_sums_of_squares) {
    static const char *const names[] = {"blk.0.attn_q.weight", "blk.1.ffn_down.weight",
                                        "token_embd.weight"};
    fixture f;
    begin(&f, &shape);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        watcher w = {.name = names[i]};
        slm_imatrix *im = collect(&f, (run_params){2, 16, 0, true}, &w);
        expect_sums(im, &w);
        slm_imatrix_info info = {.size = sizeof info};
        ck_assert_int_eq(slm_imatrix_get_info(im, &info), SLM_OK);
        ck_assert_int_eq(info.n_tensors, 2 * PER_LAYER + 1);
        ck_assert_int_eq(info.n_seen, 2 * PER_LAYER + 1);
        ck_assert_int_eq(info.n_chunks, N_TOKENS / 16);
        slm_imatrix_free(im);
        free(w.rows);
    }
    end(&f);
}
END_TEST

static void expect_equal(const slm_imatrix *a, const slm_imatrix *b) {
    slm_imatrix_tensor s = {.size = sizeof s}, t = s;
    int32_t i = 0;
    for (; slm_imatrix_get_tensor(a, i, &s) == SLM_OK; i++) {
        ck_assert_int_eq(slm_imatrix_get_tensor(b, i, &t), SLM_OK);
        ck_assert_str_eq(s.name, t.name);
        ck_assert(s.n_columns == t.n_columns && s.n_matrices == t.n_matrices);
        size_t n = (size_t)(s.n_columns * s.n_matrices);
        ck_assert_int_eq(memcmp(s.sums, t.sums, n * sizeof(double)), 0);
        ck_assert_int_eq(memcmp(s.counts, t.counts, (size_t)s.n_matrices * sizeof(double)), 0);
    }
    ck_assert_int_eq(slm_imatrix_get_tensor(b, i, &t), SLM_ERR_RANGE);
}

START_TEST(test_same_bits_however_computed) {
    static const run_params runs[] = {{1, 64, 0, false}, {2, 3, 0, false}, {3, 16, 5, false}};
    fixture f;
    begin(&f, &shape);
    slm_imatrix *first = NULL;
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        slm_imatrix *im = collect(&f, runs[i], NULL);
        if (first) {
            expect_equal(first, im);
            slm_imatrix_free(im);
        } else {
            first = im;
        }
    }
    slm_imatrix_free(first);
    end(&f);
}
END_TEST

/* Tensors that share an input are summed once; what they share is told by each observation, and any of them may be without the others. */
START_TEST(test_shared_inputs) {
    static const struct {
        const char *tensor;
        int rows; /* which */
        bool same_input;
    } steps[] = {
        {"attn_q", 0, false},  {"attn_k", 0, true},   {"attn_v", 0, true}, /* equal from here on */
        {"attn_q", 1, false},  {"attn_k", 1, true},   {"attn_v", 1, true}, /* copied             */
        {"attn_q", 2, false},  {"attn_k", 3, false},  {"attn_v", 3, true}, /* K and V differ now */
        {"attn_q", 4, false},  {"attn_k", 4, true},   {"attn_v", 4, true},   {"attn_q", 0, false},
        {"attn_q", 1, false},  {"attn_k", 1, true},   {"attn_v", 2, false},  {"unknown", 3, false},
        {"attn_k", 3, true},   {"ffn_down", 3, true}, {"attn_v", 3, true},   {"attn_q", 2, false},
        {"ffn_gate", 2, true}, {"attn_q", 4, false},  {"ffn_gate", 4, true}, {"ffn_up", 4, true},
        {"attn_q", 3, false},  {"attn_q", 3, true},   {"attn_v", 3, true},
    };
    static float rows[5 * 2 * N_EMBD];
    for (int i = 0; i < 5 * 2 * N_EMBD; i++) rows[i] = (float)(i * 37 % 101 - 50) * 0.03f;
    fixture f;
    begin(&f, &shape);
    slm_imatrix *im, *plain, *first;
    GOOD(slm_imatrix_create(f.model, NULL, &im, &err));
    GOOD(slm_imatrix_create(f.model, NULL, &plain, &err));
    GOOD(slm_imatrix_create(f.model, NULL, &first, &err));
    for (size_t i = 0; i < 2 * (sizeof steps / sizeof *steps); i++) {
        size_t s = i % (sizeof steps / sizeof *steps);
        char name[32];
        snprintf(name, sizeof name, "blk.0.%s.weight", steps[s].tensor);
        slm_observation o = {
            name, 0, 0, 2, N_EMBD, rows + steps[s].rows * 2 * N_EMBD, steps[s].same_input};
        slm_imatrix_observe(im, &o);
        o.same_input = false;
        slm_imatrix_observe(plain, &o);
        expect_equal(im, plain);
        if (i == 0) slm_imatrix_observe(first, &o);
        if (i % 7 == 4) { /* sums that change on another way */
            GOOD(slm_imatrix_add(im, first, &err));
            GOOD(slm_imatrix_add(plain, first, &err));
        }
    }
    slm_imatrix_free(im);
    slm_imatrix_free(plain);
    slm_imatrix_free(first);
    end(&f);
}
END_TEST

/* ---- Files ---- */

static slm_imatrix *open_path(const char *path) {
    slm_imatrix *im;
    GOOD(slm_imatrix_open(path, NULL, &im, &err));
    return im;
}

START_TEST(test_file_and_back) {
    fixture f;
    begin(&f, &shape);
    slm_imatrix *im = collect(&f, (run_params){2, 16, 0, false}, NULL);
    GOOD(slm_imatrix_add_dataset(im, "one.txt", &err));
    GOOD(slm_imatrix_add_dataset(im, "", &err));
    GOOD(slm_imatrix_save(im, f.path, &err));
    slm_imatrix *back = open_path(f.path);
    slm_imatrix_info info = {.size = sizeof info};
    ck_assert_int_eq(slm_imatrix_get_info(back, &info), SLM_OK);
    ck_assert(info.chunk_size == 16 && info.n_chunks == 2 && info.n_datasets == 2);
    slm_string name;
    ck_assert_int_eq(slm_imatrix_get_dataset(back, 0, &name), SLM_OK);
    ck_assert(name.n_bytes == 7 && memcmp(name.text, "one.txt", 7) == 0);
    ck_assert_int_eq(slm_imatrix_get_dataset(back, 1, &name), SLM_OK);
    ck_assert_uint_eq(name.n_bytes, 0);
    ck_assert_int_eq(slm_imatrix_get_dataset(back, 2, &name), SLM_ERR_RANGE);
    ck_assert_int_eq(info.n_tensors, 2 * PER_LAYER);
    for (int32_t i = 0; i < info.n_tensors; i++) {
        slm_imatrix_tensor s = {.size = sizeof s}, t = s;
        ck_assert_int_eq(slm_imatrix_get_tensor(im, i, &s), SLM_OK);
        ck_assert_int_eq(slm_imatrix_get_tensor(back, i, &t), SLM_OK);
        ck_assert_str_eq(s.name, t.name);
        for (int64_t j = 0; j < s.n_columns; j++)
            ck_assert_double_eq(t.sums[j], (double)(float)s.sums[j]);
        ck_assert_double_eq(t.counts[0], s.counts[0]);
    }
    slm_imatrix_free(im);
    slm_imatrix_free(back);
    end(&f);
}
END_TEST

/* Twice the same text is twice the sums; what only one has is taken over; names of texts follow each other. */
START_TEST(test_add) {
    fixture f;
    begin(&f, &shape);
    slm_imatrix *a = collect(&f, (run_params){1, 16, 0, false}, NULL),
                *b = collect(&f, (run_params){1, 16, 0, true}, NULL);
    GOOD(slm_imatrix_add_dataset(a, "a", &err));
    GOOD(slm_imatrix_add_dataset(b, "b", &err));
    GOOD(slm_imatrix_add(a, b, &err));
    slm_imatrix_info info = {.size = sizeof info};
    slm_imatrix_get_info(a, &info);
    ck_assert(info.n_tensors == 2 * PER_LAYER + 1 && info.n_datasets == 2 && info.n_chunks == 4);
    for (int32_t i = 0; i < info.n_tensors; i++) {
        slm_imatrix_tensor s = {.size = sizeof s}, t = s;
        slm_imatrix_get_tensor(a, i, &s);
        slm_imatrix_get_tensor(b, i, &t);
        ck_assert_str_eq(s.name, t.name);
        int factor = strcmp(s.name, "token_embd.weight") == 0 ? 1 : 2;
        for (int64_t j = 0; j < s.n_columns; j++)
            ck_assert_double_eq(s.sums[j], factor * t.sums[j]);
        ck_assert_double_eq(s.counts[0], factor * t.counts[0]);
    }
    slm_string name;
    ck_assert_int_eq(slm_imatrix_get_dataset(a, 1, &name), SLM_OK);
    ck_assert_int_eq(name.text[0], 'b');
    ASSERT_FAILS(slm_imatrix_add(a, a, &err), SLM_ERR_ARGUMENT, "the same");
    slm_imatrix_free(a);
    slm_imatrix_free(b);
    end(&f);
}
END_TEST

/* ---- Made by hand ---- */

static void put_tensor(gguf_build *b, const char *name, int64_t n, int64_t rows, const float *x) {
    gb_tensor(b, name, 0, rows > 1 ? 2 : 1, (int64_t[]){n, rows}, x,
              (size_t)(n * rows) * sizeof *x);
}

static const float x[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, two[3] = {2, 0, 4};

static slm_status read_built(gguf_build *b, slm_imatrix **out) {
    static const slm_allocator plain;
    check_alloc counter = {0};
    size_t n;
    const void *file = gb_finish(b, &n);
    void *copy = strict_copy(file, n);
    slm__gguf g;
    slm_status s = slm__gguf_parse(&g, copy, n, &plain, &err);
    if (s == SLM_OK) {
        slm_allocator a = out ? plain : check_allocator(&counter);
        slm_imatrix *im = NULL;
        s = slm__imatrix_read(&g, &a, &im, &err);
        ck_assert((im != NULL) == (s == SLM_OK));
        if (out)
            *out = im;
        else
            slm_imatrix_free(im);
    }
    slm__gguf_close(&g);
    ck_assert_int_eq(counter.n_live, 0);
    free(copy);
    gb_reset(b);
    return s;
}

/* Experts, of which the second has seen nothing; and all columns of several matrices in one row, as llama.cpp has them for tensors
 * whose matrices are all used. */
START_TEST(test_several_matrices) {
    gguf_build b = {0};
    gb_str(&b, "general.type", "imatrix");
    put_tensor(&b, "e.weight.in_sum2", 4, 3, x);
    gb_tensor(&b, "e.weight.counts", 0, 2, (int64_t[]){1, 3}, two, sizeof two);
    put_tensor(&b, "d.weight.in_sum2", 12, 1, x);
    put_tensor(&b, "d.weight.counts", 1, 1, two);
    slm_imatrix *im = NULL;
    GOOD(read_built(&b, &im));
    float out[4];
    ck_assert(slm_imatrix_importance(im, "e.weight", 0, 4, out));
    ck_assert(out[0] == 0.5f && out[3] == 2);
    ck_assert(!slm_imatrix_importance(im, "e.weight", 1, 4, out));
    ck_assert(slm_imatrix_importance(im, "e.weight", 2, 4, out));
    ck_assert(out[0] == 2.25f && out[3] == 3);
    ck_assert(!slm_imatrix_importance(im, "e.weight", 3, 4, out));
    ck_assert(!slm_imatrix_importance(im, "e.weight", 0, 3, out));
    ck_assert(slm_imatrix_importance(im, "d.weight", 2, 4, out));
    ck_assert(out[0] == 4.5f && out[3] == 6);
    ck_assert(!slm_imatrix_importance(im, "d.weight", 3, 4, out));
    ck_assert(!slm_imatrix_importance(im, "d.weight", -1, 4, out));
    ck_assert(!slm_imatrix_importance(im, "none", 0, 4, out));
    char path[] = "/tmp/slm_test_XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    GOOD(slm_imatrix_save(im, path, &err));
    slm_imatrix *back = open_path(path);
    expect_equal(im, back);
    unlink(path);
    slm_imatrix_free(back);
    slm_imatrix_free(im);
    gb_free(&b);
}
END_TEST

START_TEST(test_match) {
    fixture f;
    begin(&f, &shape);
    static const float many[3 * N_EMBD] = {1};
    static const struct {
        const char *name;
        int64_t n, rows;
        int32_t matched; /* or -1 */
    } cases[] = {
        {"blk.0.attn_q.weight", N_EMBD, 1, 1},      {"other.weight", 3, 1, 0},
        {"blk.0.attn_q.weight", N_EMBD - 1, 1, -1}, {"blk.0.attn_q.weight", N_EMBD, 2, -1},
        {"blk.0.attn_q.weight", N_EMBD / 2, 2, -1}, {"token_embd.weight", N_EMBD, 1, 1},
        {"blk.0.attn_norm.weight", N_EMBD, 1, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gguf_build b = {0};
        char name[64];
        slm_imatrix *im = NULL;
        int32_t n = 7;
        snprintf(name, sizeof name, "%s.in_sum2", cases[i].name);
        put_tensor(&b, name, cases[i].n, cases[i].rows, many);
        snprintf(name, sizeof name, "%s.counts", cases[i].name);
        gb_tensor(&b, name, 0, 2, (int64_t[]){1, cases[i].rows}, many,
                  (size_t)cases[i].rows * sizeof(float));
        GOOD(read_built(&b, &im));
        if (cases[i].matched < 0)
            ASSERT_FAILS(slm_imatrix_match(im, f.model, &n, &err), SLM_ERR_MISMATCH, cases[i].name);
        else
            GOOD(slm_imatrix_match(im, f.model, &n, &err));
        ck_assert_int_eq(n, cases[i].matched > 0 ? 1 : 0);
        slm_imatrix_free(im);
        gb_free(&b);
    }
    end(&f);
}
END_TEST

/* ---- Faults ---- */

START_TEST(test_fault_bad_numbers) {
    static const struct {
        float value;
        bool in_counts;
    } cases[] = {{-1, false}, {NAN, false}, {INFINITY, false},
                 {-1, true},  {NAN, true},  {-INFINITY, true}};
    gguf_build b = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float sums[4] = {1, 1, 1, 1}, count[1] = {2};
        (cases[i].in_counts ? count : sums + 3)[0] = cases[i].value;
        put_tensor(&b, "a.in_sum2", 4, 1, sums);
        put_tensor(&b, "a.counts", 1, 1, count);
        ASSERT_FAILS(read_built(&b, NULL), SLM_ERR_NUMERIC,
                     cases[i].in_counts ? "a.counts: number 0 is" : "a.in_sum2: number 3 is");
        strict_message(&err, SLM_ERR_NUMERIC);
    }
    gb_free(&b);
}
END_TEST

/* Counts are whole numbers as floats: up to 3.4e38, and rounded from 2^24 on. */
START_TEST(test_fault_large_counts) {
    static const struct {
        float count;
        int64_t n_chunks;
    } cases[] = {{3e38f, UINT32_MAX},
                 {0x1p41f, UINT32_MAX},
                 {0x1p40f, 0x80000000},
                 {32800 * 512.0f, 32800},
                 {512, 1},
                 {511, 0}};
    gguf_build b = {0};
    char path[] = "/tmp/slm_test_XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        slm_imatrix_info info = {.size = sizeof info};
        slm_imatrix *im = NULL;
        put_tensor(&b, "a.in_sum2", 4, 1, x);
        put_tensor(&b, "a.counts", 1, 1, &cases[i].count);
        GOOD(read_built(&b, &im));
        ck_assert_int_eq(slm_imatrix_get_info(im, &info), SLM_OK);
        ck_assert_int_eq(info.n_chunks, cases[i].n_chunks);
        GOOD(slm_imatrix_save(im, path, &err));
        slm_imatrix *back = open_path(path);
        expect_equal(im, back);
        slm_imatrix_free(back);
        slm_imatrix_free(im);
    }
    /* 3 windows of 11184811 tokens are 2^25 + 1, which is no float: 2^25 are still 3 */
    static const float rounded = 0x1p25f;
    slm_imatrix_info info = {.size = sizeof info};
    slm_imatrix *im = NULL;
    gb_u32(&b, "imatrix.chunk_size", 11184811);
    put_tensor(&b, "a.in_sum2", 4, 1, x);
    put_tensor(&b, "a.counts", 1, 1, &rounded);
    GOOD(read_built(&b, &im));
    ck_assert_int_eq(slm_imatrix_get_info(im, &info), SLM_OK);
    ck_assert_int_eq(info.n_chunks, 3);
    slm_imatrix_free(im);
    unlink(path);
    gb_free(&b);
}
END_TEST

START_TEST(test_fault_bad_tensors) {
    gguf_build b = {0};
    put_tensor(&b, "a.in_sum2", 4, 1, x);
    ASSERT_FAILS(read_built(&b, NULL), SLM_ERR_MISMATCH, "a.in_sum2: without its .counts");
    put_tensor(&b, "a.in_sum2", 4, 1, x);
    put_tensor(&b, "a.counts", 1, 1, two);
    put_tensor(&b, "b.counts", 1, 1, two);
    ASSERT_FAILS(read_built(&b, NULL), SLM_ERR_MISMATCH, "1 tensors called NAME.in_sum2, but 2");
    put_tensor(&b, "a.in_sum2", 4, 2, x);
    put_tensor(&b, "a.counts", 1, 1, two);
    ASSERT_FAILS(read_built(&b, NULL), SLM_ERR_MISMATCH, "a.in_sum2: shape [4, 2, 1, 1], and 1");
    gb_tensor(&b, "a.in_sum2", 0, 3, (int64_t[]){2, 1, 2}, x, 16);
    put_tensor(&b, "a.counts", 1, 1, two);
    ASSERT_FAILS(read_built(&b, NULL), SLM_ERR_MISMATCH, "a.in_sum2: shape [2, 1, 2, 1]");
    gb_tensor(&b, "a.in_sum2", 1, 1, (int64_t[]){8}, x, 16);
    put_tensor(&b, "a.counts", 1, 1, two);
    ASSERT_FAILS(read_built(&b, NULL), SLM_ERR_MISMATCH, "a.in_sum2: is not of type F32");
    put_tensor(&b, "a.in_sum2", 4, 1, x);
    gb_tensor(&b, "a.counts", 1, 1, (int64_t[]){1}, two, 2);
    ASSERT_FAILS(read_built(&b, NULL), SLM_ERR_MISMATCH, "a.counts: is not of type F32");
    put_tensor(&b, "a.in_sum2", 4, 1, x);
    put_tensor(&b, "a.counts", 1, 1, two);
    put_tensor(&b, "a.in_sum2", 4, 1, x);
    ASSERT_FAILS(read_built(&b, NULL), SLM_ERR_FORMAT, "the same name");
    put_tensor(&b, ".in_sum2", 4, 1, x);
    ASSERT_FAILS(read_built(&b, NULL), SLM_ERR_MISMATCH, "none of 1 tensors");
    ASSERT_FAILS(read_built(&b, NULL), SLM_ERR_MISMATCH, "none of 0 tensors");
    /* what it does not know is passed over */
    put_tensor(&b, "a.in_sum2", 4, 1, x);
    put_tensor(&b, "a.counts", 1, 1, two);
    put_tensor(&b, "a.in_sum", 4, 1, x);
    GOOD(read_built(&b, NULL));
    gb_free(&b);
}
END_TEST

/* As many names of texts as a file of a few MB can have: each is found at once, not by way of all before. */
START_TEST(test_fault_many_datasets) {
    enum { N = 400000 };
    gguf_build b = {0};
    char(*names)[8] = calloc(N, sizeof *names);
    const char **list = calloc(N, sizeof *list);
    ck_assert(names && list);
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "%d", i);
        list[i] = names[i];
    }
    gb_str_array(&b, "imatrix.datasets", list, N);
    put_tensor(&b, "a.in_sum2", 4, 1, x);
    put_tensor(&b, "a.counts", 1, 1, two);
    slm_imatrix *im = NULL;
    GOOD(read_built(&b, &im));
    GOOD(slm_imatrix_add_dataset(im, "last", &err));
    clock_t began = clock();
    for (int i = 0; i <= N; i++) {
        slm_string s;
        const char *expected = i < N ? names[i] : "last";
        ck_assert_int_eq(slm_imatrix_get_dataset(im, i, &s), SLM_OK);
        if (s.n_bytes != strlen(expected) || memcmp(s.text, expected, s.n_bytes) != 0)
            ck_abort_msg("name %d", i);
    }
    ck_assert_int_lt(clock() - began,
                     5 * CLOCKS_PER_SEC); /* 0.03 s; minutes by way of all before */
    slm_imatrix_free(im);
    free(names);
    free(list);
    gb_free(&b);
}
END_TEST

START_TEST(test_fault_bad_keys) {
    gguf_build b = {0};
    for (int i = 0; i < 6; i++) {
        put_tensor(&b, "a.in_sum2", 4, 1, x);
        put_tensor(&b, "a.counts", 1, 1, two);
        if (i == 0) gb_str(&b, "general.type", "model");
        if (i == 1) gb_u32(&b, "general.type", 1);
        if (i == 2) gb_u32(&b, "imatrix.chunk_size", 0);
        if (i == 3) gb_u64(&b, "imatrix.chunk_size", (uint64_t)1 << 40);
        if (i == 4) gb_str(&b, "imatrix.datasets", "x");
        if (i == 5) gb_f32(&b, "imatrix.chunk_size", 1);
        static const slm_status status[] = {SLM_ERR_MISMATCH, SLM_ERR_TYPE, SLM_ERR_RANGE,
                                            SLM_ERR_RANGE,    SLM_ERR_TYPE, SLM_ERR_TYPE};
        ASSERT_FAILS(read_built(&b, NULL), status[i],
                     i < 2    ? "general.type"
                     : i == 4 ? "imatrix.datasets"
                              : "imatrix.chunk_size");
    }
    gb_free(&b);
}
END_TEST

static void write_file(const char *path, const void *data, size_t n) {
    FILE *f = fopen(path, "wb");
    ck_assert(f && fwrite(data, 1, n, f) == n);
    fclose(f);
}

START_TEST(test_fault_files) {
    fixture f;
    begin(&f, &shape);
    slm_imatrix *im = (slm_imatrix *)&f;
    ASSERT_FAILS(slm_imatrix_open(f.path, NULL, &im, &err), SLM_ERR_IO, "No such file");
    ck_assert_ptr_null(im);
    static const char old[] = "\2\0\0\0\23\0\0\0blk.0.attn_q.weight\1\0\0\0";
    write_file(f.path, old, sizeof old);
    ASSERT_FAILS(slm_imatrix_open(f.path, NULL, &im, &err), SLM_ERR_UNSUPPORTED,
                 "from before GGUF");
    write_file(f.path, "something else, longer than a header of GGUF", 40);
    ASSERT_FAILS(slm_imatrix_open(f.path, NULL, &im, &err), SLM_ERR_FORMAT, "");
    write_file(f.path, "", 0);
    ASSERT_FAILS(slm_imatrix_open(f.path, NULL, &im, &err), SLM_ERR_TRUNCATED, "");
    ASSERT_FAILS(slm_imatrix_open(f.dir, NULL, &im, &err), SLM_ERR_IO, "");
    GOOD(slm_imatrix_create(f.model, NULL, &im, &err));
    ASSERT_FAILS(slm_imatrix_save(im, f.path, &err), SLM_ERR_ARGUMENT, "no tokens");
    slm_imatrix_free(im);
    im = collect(&f, (run_params){1, 64, 0, false}, NULL);
    ASSERT_FAILS(slm_imatrix_save(im, "/tmp/slm_no_such_folder/x", &err), SLM_ERR_IO, "No such");
    float bad[N_EMBD] = {[3] = INFINITY};
    slm_imatrix_observe(im, &(slm_observation){"blk.0.attn_k.weight", 0, 0, 1, N_EMBD, bad, false});
    ASSERT_FAILS(slm_imatrix_save(im, f.path, &err), SLM_ERR_NUMERIC, "blk.0.attn_k.weight");
    float out[N_EMBD];
    ck_assert(!slm_imatrix_importance(im, "blk.0.attn_k.weight", 0, N_EMBD, out));
    slm_imatrix_free(im);
    end(&f);
}
END_TEST

START_TEST(test_fault_arguments) {
    fixture f;
    begin(&f, &shape);
    slm_imatrix *im = NULL;
    slm_imatrix_params p = slm_imatrix_defaults();
    p.chunk_size = 0;
    ASSERT_FAILS(slm_imatrix_create(f.model, &p, &im, &err), SLM_ERR_RANGE, "chunk_size");
    p.size = 1;
    ASSERT_FAILS(slm_imatrix_create(f.model, &p, &im, &err), SLM_ERR_ARGUMENT, "params->size");
    ASSERT_FAILS(slm_imatrix_create(NULL, NULL, &im, &err), SLM_ERR_ARGUMENT, "NULL");
    ASSERT_FAILS(slm_imatrix_create(f.model, NULL, NULL, &err), SLM_ERR_ARGUMENT, "NULL");
    ASSERT_FAILS(slm_imatrix_open(NULL, NULL, &im, &err), SLM_ERR_ARGUMENT, "NULL");
    ASSERT_FAILS(slm_imatrix_save(NULL, f.path, &err), SLM_ERR_ARGUMENT, "NULL");
    ASSERT_FAILS(slm_imatrix_add_dataset(NULL, "x", &err), SLM_ERR_ARGUMENT, "NULL");
    ck_assert_int_eq(slm_imatrix_get_info(NULL, NULL), SLM_ERR_ARGUMENT);
    slm_imatrix_observe(NULL, NULL);
    ck_assert(!slm_imatrix_importance(NULL, "x", 0, 1, (float[]){0}));
    slm_imatrix_free(NULL);
    end(&f);
}
END_TEST

/* Whatever allocation fails: NOMEM, nothing held, and what was there is as it was. */
START_TEST(test_fault_84_memory) {
    fixture f;
    begin(&f, &shape);
    slm_imatrix *source = collect(&f, (run_params){1, 64, 0, true}, NULL);
    GOOD(slm_imatrix_add_dataset(source, "x", &err));
    GOOD(slm_imatrix_save(source, f.path, &err));
    int n_failed = 0;
    for (long fail_at = 1; fail_at < 200; fail_at++) {
        check_alloc counter = {.fail_at = fail_at};
        slm_imatrix_params p = slm_imatrix_defaults();
        p.allocator = check_allocator(&counter);
        slm_imatrix *im = NULL, *opened = NULL;
        slm_status s = slm_imatrix_create(f.model, &p, &im, &err);
        if (s == SLM_OK) s = slm_imatrix_open(f.path, &p, &opened, &err);
        if (s == SLM_OK) {
            s = slm_imatrix_add(im, opened, &err);
            slm_imatrix_info info = {.size = sizeof info};
            slm_imatrix_get_info(im, &info);
            ck_assert_int_eq(info.n_seen, s == SLM_OK ? 2 * PER_LAYER + 1 : 0);
            ck_assert_int_eq(info.n_datasets, s == SLM_OK);
        }
        if (s == SLM_OK) s = slm_imatrix_save(im, f.path, &err);
        ck_assert(s == SLM_OK || s == SLM_ERR_NOMEM);
        n_failed += s != SLM_OK;
        slm_imatrix_free(im);
        slm_imatrix_free(opened);
        ck_assert_int_eq(counter.n_live, 0);
        if (counter.n_calls < fail_at) break;
    }
    ck_assert_int_gt(n_failed, 40);
    slm_imatrix *back = open_path(f.path);
    slm_imatrix_free(back);
    slm_imatrix_free(source);
    end(&f);
}
END_TEST

/* ---- Its use ---- */

static double loss(const fixture *f, slm_imatrix *use, slm_imatrix *judge, const char *type,
                   int32_t index) {
    slm_quantize_params p = slm_quantize_defaults();
    p.type = "F16";
    p.n_threads = 1;
    p.importance = use ? slm_imatrix_importance : NULL;
    p.importance_user = use;
    slm_quantizer *q;
    GOOD(slm_quantizer_create(f->model, &p, &q, &err));
    slm_quantized_tensor t = {.size = sizeof t};
    ck_assert_int_eq(slm_quantizer_get_tensor(q, index, &t), SLM_OK);
    size_t n = (size_t)(t.dims[0] * t.dims[1]);
    float *exact = calloc(n, sizeof *exact), *back = calloc(n, sizeof *back), means[N_FF];
    slm_tensor_loss l = {.size = sizeof l};
    GOOD(slm_quantizer_tensor_loss(q, index, "F32", exact, &l, &err));
    GOOD(slm_quantizer_tensor_loss(q, index, type, back, &l, &err));
    ck_assert(slm_imatrix_importance(judge, t.name, 0, t.dims[0], means));
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)exact[i] - (double)back[i];
        sum += (double)means[i % (size_t)t.dims[0]] * d * d;
    }
    free(exact);
    free(back);
    slm_quantizer_free(q);
    return sum;
}

/* Weighted by what the text says that matters, errors are smaller. */
START_TEST(test_weighted_error_falls) {
    static const char *const types[] = {"Q4_0", "Q4_K", "Q2_K", "IQ4_NL", "Q6_K"};
    fixture f;
    begin(&f, &shape);
    slm_imatrix *im = collect(&f, (run_params){1, 64, 0, false}, NULL);
    int n = 0;
    slm_tensor_info info = {.size = sizeof info};
    for (int32_t i = 0; i < slm_model_n_tensors(f.model); i++) {
        ck_assert_int_eq(slm_model_get_tensor(f.model, i, &info), SLM_OK);
        if (strstr(info.name, "ffn_down") == NULL && strstr(info.name, "attn_q") == NULL) continue;
        /* behind a norm all columns are nearly alike */
        double limit = strstr(info.name, "ffn_down") ? 0.97 : 1;
        for (size_t t = 0; t < sizeof types / sizeof *types; t++, n++) {
            double with = loss(&f, im, im, types[t], i), without = loss(&f, NULL, im, types[t], i);
            ck_assert_msg(with < limit * without, "%s %s: %g, without %g", info.name, types[t],
                          with, without);
        }
    }
    ck_assert_int_eq(n, 20);
    slm_imatrix_free(im);
    end(&f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("imatrix");
    TCase *c = tcase_create("all");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, test_sums_of_squares);
    tcase_add_test(c, test_same_bits_however_computed);
    tcase_add_test(c, test_shared_inputs);
    tcase_add_test(c, test_file_and_back);
    tcase_add_test(c, test_add);
    tcase_add_test(c, test_several_matrices);
    tcase_add_test(c, test_match);
    tcase_add_test(c, test_fault_bad_numbers);
    tcase_add_test(c, test_fault_large_counts);
    tcase_add_test(c, test_fault_bad_tensors);
    tcase_add_test(c, test_fault_many_datasets);
    tcase_add_test(c, test_fault_bad_keys);
    tcase_add_test(c, test_fault_files);
    tcase_add_test(c, test_fault_arguments);
    tcase_add_test(c, test_fault_84_memory);
    tcase_add_test(c, test_weighted_error_falls);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
