/* Whole files quantized: what they hold, and that a failure leaves nothing behind. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../kernels/kernels.h"
#include "../kernels/quantize.h"
#include "support/check_alloc.h"
#include "support/quantizer_case.h"
#include "support/strict.h"
#include "support/suite.h"
#include "support/tiny_model.h"

static slm_error err;
static const slm_allocator plain_allocator;

/* Rows of 256 and 768, and of 96, which are no whole super-blocks. */
#define SIZES .n_vocab = 260, .n_layer = 3, .n_head = 4, .n_head_kv = 1
static const tiny_shape shapes[] = {
    {SIZES, .n_embd = 256, .n_ff = 768, .seed = 1},
    {SIZES, .n_embd = 96, .n_ff = 256, .untied = true, .biases = true, .seed = 2},
    {SIZES, .n_embd = 256, .n_ff = 512, .types = {SLM_F16, SLM_BF16}, .n_types = 2, .seed = 3},
    {SIZES, .n_embd = 256, .n_ff = 512, .types = {SLM_Q8_0, SLM_Q4_K, SLM_F32}, .n_types = 3,
     .seed = 4},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static quantizer_case open_shape(const tiny_shape *shape) {
    quantizer_case f = {0};
    tiny_model(&f.b, shape);
    open_quantizer_case(&f);
    return f;
}

/* ---- What is in the file ---- */

/* Row by row, as the kernels' own tests know it. */
static void expect_tensor(const slm__tensor *in, const slm__tensor *out) {
    const slm_kernels *kernels = slm__kernels_named(NULL);
    int64_t row = in->dims[0];
    float *x = malloc((size_t)row * sizeof *x);
    uint8_t *bytes = aligned_alloc(64, ((size_t)out->row_bytes + 63) / 64 * 64);
    ck_assert(x && bytes);
    ck_assert_int_eq(in->n_dims, out->n_dims);
    ck_assert_int_eq(memcmp(in->dims, out->dims, sizeof in->dims), 0);
    for (uint64_t r = 0; r < in->n_bytes / in->row_bytes; r++) {
        const uint8_t *from = in->data + r * in->row_bytes, *expected = from;
        if (in->type != out->type) {
            slm__kernels_level(0)->dequantize[in->type](from, row, x);
            ck_assert(slm__quantize_row(kernels, out->type, SLM_ROUND_SEARCH, x, row, NULL, bytes));
            expected = bytes;
        }
        if (memcmp(out->data + r * out->row_bytes, expected, out->row_bytes) != 0)
            ck_abort_msg("%s, row %llu (%s)", slm__show(in->name).text, (unsigned long long)r,
                         slm__type_info[out->type].name);
    }
    free(x);
    free(bytes);
}

static bool is_set(slm__str name) {
    return slm__str_eq(name, "general.file_type") ||
           slm__str_eq(name, "general.quantization_version");
}

/* Those of the model in order; what is new comes behind them. */
static void expect_keys(const slm__gguf *in, const slm__gguf *out) {
    for (int32_t i = 0; i < out->n_keys; i++) {
        const slm__key *a = &in->keys[i], *b = &out->keys[i];
        if (i >= in->n_keys) ck_assert(is_set(b->name));
        if (i >= in->n_keys || is_set(b->name)) continue;
        ck_assert_uint_eq(a->name.len, b->name.len);
        ck_assert_int_eq(memcmp(a->name.ptr, b->name.ptr, a->name.len), 0);
        ck_assert(a->type == b->type && a->is_array == b->is_array && a->n == b->n);
        ck_assert_uint_eq(a->n_bytes, b->n_bytes);
        ck_assert_int_eq(memcmp(a->data, b->data, a->n_bytes), 0);
    }
}

/* In order, each at the next multiple of the alignment, zeros between them and behind the last. */
static void expect_layout(const slm__gguf *g) {
    uint64_t at = 0;
    for (int32_t i = 0; i < g->n_tensors; i++) {
        const slm__tensor *t = &g->tensors[i];
        ck_assert_uint_eq(t->offset, at);
        at += (t->n_bytes + g->alignment - 1) / g->alignment * g->alignment;
        const uint8_t *end = i + 1 < g->n_tensors ? g->tensors[i + 1].data : g->data + g->n_bytes;
        for (const uint8_t *p = t->data + t->n_bytes; p < end; p++) ck_assert_uint_eq(*p, 0);
    }
    ck_assert_uint_eq((uint64_t)(g->tensors[0].data - g->data) + at, g->n_bytes);
    ck_assert_uint_eq((uint64_t)(g->tensors[0].data - g->data) % g->alignment, 0);
}

static void expect_same_model(const quantizer_case *f, const written_file *w) {
    slm__gguf in;
    ck_assert_int_eq(slm__gguf_parse(&in, f->data, f->n_bytes, &plain_allocator, &err), SLM_OK);
    ck_assert_int_eq(in.n_tensors, w->gguf.n_tensors);
    ck_assert_uint_eq(in.alignment, w->gguf.alignment);
    expect_keys(&in, &w->gguf);
    expect_layout(&w->gguf);
    for (int32_t i = 0; i < in.n_tensors; i++) expect_tensor(&in.tensors[i], &w->gguf.tensors[i]);
    slm__gguf_close(&in);
}

/* What was announced is what the file has. */
static void expect_as_planned(const quantizer_case *f, const slm_quantize_params *p,
                              const written_file *w) {
    slm_quantizer *q = create_quantizer(f, p);
    slm_quantizer_info info = {.size = sizeof info};
    uint64_t sum = 0;
    ck_assert_int_eq(slm_quantizer_get_info(q, &info), SLM_OK);
    ck_assert_uint_eq(info.file_bytes, w->n);
    ck_assert_uint_eq(info.file_bytes_from, f->n_bytes);
    ck_assert_int_eq(info.n_tensors, w->gguf.n_tensors);
    for (int32_t i = 0; i < info.n_tensors; i++) {
        slm_quantized_tensor t = {.size = sizeof t};
        ck_assert_int_eq(slm_quantizer_get_tensor(q, i, &t), SLM_OK);
        ck_assert_str_eq(t.name, w->gguf.tensor_names[i]);
        ck_assert_str_eq(t.to, slm__type_info[w->gguf.tensors[i].type].name);
        ck_assert_uint_eq(t.n_bytes, w->gguf.tensors[i].n_bytes);
        sum += t.n_bytes;
    }
    ck_assert_uint_eq(info.tensor_bytes, sum);
    slm_quantizer_free(q);
}

START_TEST(test_every_type_of_every_model) {
    quantizer_case f = open_shape(&shapes[_i]);
    const char *type;
    int n = 0;
    for (; (type = slm_quantize_type(n)); n++) {
        if (sanitized() && n % 5 != _i) continue;
        slm_quantize_params p = quantizer_params(type);
        written_file w = quantize_case(&f, &p);
        expect_same_model(&f, &w);
        expect_as_planned(&f, &p, &w);
        ck_assert_uint_eq(written_u64(&w, "general.quantization_version"), 2);
        free_written(&w);
    }
    ck_assert_int_eq(n, 20);
    close_quantizer_case(&f);
}
END_TEST

/* Opens as a model, and is quantized to itself without a change of a byte. */
START_TEST(test_the_file_is_a_model) {
    quantizer_case f = open_shape(&shapes[_i]);
    slm_quantize_params p = quantizer_params("Q4_K_M");
    written_file w = quantize_case(&f, &p);
    slm_model *model;
    ck_assert_msg(slm_model_open(f.path, NULL, &model, &err) == SLM_OK, "%s", err.message);
    slm_quantizer *q;
    p.requantize = false;
    ck_assert_msg(slm_quantizer_create(model, &p, &q, &err) == SLM_OK, "%s", err.message);
    ASSERT_FAILS(slm_quantizer_write(q, f.path, &err), SLM_ERR_ARGUMENT, "itself");
    char again[80];
    snprintf(again, sizeof again, "%s/again", f.dir);
    ck_assert_int_eq(slm_quantizer_write(q, again, &err), SLM_OK);
    written_file v = read_written(again);
    ck_assert_uint_eq(v.n, w.n);
    ck_assert_int_eq(memcmp(v.data, w.data, w.n), 0);
    ck_assert_int_eq(link(f.path, again), -1);
    unlink(again);
    ck_assert_int_eq(link(f.path, again), 0); /* the same file by another name */
    ASSERT_FAILS(slm_quantizer_write(q, again, &err), SLM_ERR_ARGUMENT, "itself");
    unlink(again);
    slm_quantizer_free(q);
    slm_model_close(model);
    free_written(&v);
    free_written(&w);
    close_quantizer_case(&f);
}
END_TEST

START_TEST(test_threads_change_nothing) {
    quantizer_case f = open_shape(&shapes[0]);
    slm_quantize_params p = quantizer_params("Q3_K_M");
    p.n_threads = 1;
    written_file one = quantize_case(&f, &p);
    for (int n = 2; n <= 3; n++) {
        p.n_threads = n;
        written_file w = quantize_case(&f, &p);
        ck_assert_uint_eq(w.n, one.n);
        ck_assert_int_eq(memcmp(w.data, one.data, w.n), 0);
        free_written(&w);
    }
    free_written(&one);
    close_quantizer_case(&f);
}
END_TEST

/* Keys that exist are set in their place, whatever their type was; alignments stay. */
START_TEST(test_keys_in_place_and_alignment) {
    static const uint32_t alignments[] = {8, 64, 65536};
    static const float x[32] = {1};
    for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++) {
        quantizer_case f = {.b = {.alignment = alignments[i]}};
        gb_str(&f.b, "general.file_type", "other");
        gb_str(&f.b, "a", "");
        gb_u64(&f.b, "general.quantization_version", 1);
        gb_bool(&f.b, "b", 1);
        gb_tensor(&f.b, "x.weight", 0, 1, (int64_t[]){3}, x, 12);
        gb_tensor(&f.b, "y.weight", 0, 2, (int64_t[]){8, 2}, x, 64);
        gb_tensor(&f.b, "z.bias", 0, 2, (int64_t[]){4, 2}, x, 32);
        open_quantizer_case(&f);
        slm_quantize_params p = quantizer_params("q8_0");
        written_file w = quantize_case(&f, &p);
        expect_same_model(&f, &w);
        ck_assert_uint_eq(w.gguf.alignment, alignments[i]);
        ck_assert_int_eq(w.gguf.n_keys, 5);
        ck_assert_str_eq(w.gguf.key_names[0], "general.file_type");
        ck_assert_uint_eq(written_u64(&w, "general.file_type"), 7);
        ck_assert_uint_eq(written_u64(&w, "general.quantization_version"), 2);
        ck_assert_int_eq(w.gguf.tensors[0].type, SLM_F32);
        ck_assert_int_eq(w.gguf.tensors[1].type, SLM_F16); /* rows of 8 are no blocks */
        ck_assert_int_eq(w.gguf.tensors[2].type, SLM_F32);
        free_written(&w);
        close_quantizer_case(&f);
    }
}
END_TEST

static const char *text_key(const slm__gguf *g, const char *name, size_t *n) {
    slm__str v = {0};
    bool found = false;
    ck_assert_int_eq(slm__gguf_str(g, name, &v, &found, &err), SLM_OK);
    ck_assert(found);
    *n = v.len;
    return v.ptr;
}

/* Keys of a caller: in the place of the model's, or behind all others in their order; a longer text than before, and none. */
START_TEST(test_keys_of_a_caller) {
    quantizer_case f = open_shape(&shapes[0]);
    const slm_new_key keys[] = {{"x.text", "", 0},
                                {"general.architecture", "another architecture", 0},
                                {"x.number", NULL, 4000000000}};
    slm_quantize_params p = quantizer_params("Q8_0");
    written_file plain = quantize_case(&f, &p);
    p.keys = keys;
    p.n_keys = 3;
    written_file w = quantize_case(&f, &p);
    expect_layout(&w.gguf);
    ck_assert_int_eq(w.gguf.n_keys, plain.gguf.n_keys + 2);
    for (int32_t i = 0; i < plain.gguf.n_keys; i++)
        ck_assert_str_eq(w.gguf.key_names[i], plain.gguf.key_names[i]);
    ck_assert_str_eq(w.gguf.key_names[plain.gguf.n_keys], "x.text");
    ck_assert_str_eq(w.gguf.key_names[plain.gguf.n_keys + 1], "x.number");
    size_t n = 0;
    const char *text = text_key(&w.gguf, "general.architecture", &n);
    ck_assert_uint_eq(n, strlen(keys[1].text));
    ck_assert_int_eq(memcmp(text, keys[1].text, n), 0);
    text_key(&w.gguf, "x.text", &n);
    ck_assert_uint_eq(n, 0);
    ck_assert_uint_eq(written_u64(&w, "x.number"), 4000000000);
    for (int32_t i = 0; i < plain.gguf.n_tensors; i++) {
        const slm__tensor *a = &plain.gguf.tensors[i], *b = &w.gguf.tensors[i];
        ck_assert_uint_eq(a->n_bytes, b->n_bytes);
        ck_assert_int_eq(memcmp(a->data, b->data, a->n_bytes), 0);
    }
    free_written(&w);
    free_written(&plain);
    close_quantizer_case(&f);
}
END_TEST

START_TEST(test_fault_keys_of_a_caller) {
    quantizer_case f = open_shape(&shapes[0]);
    slm_quantizer *q;
    static char long_name[65537];
    memset(long_name, 'a', sizeof long_name - 1);
    const struct {
        slm_new_key keys[2];
        const char *word;
    } cases[] = {
        {{{"a", "x", 0}, {"a", NULL, 1}}, "key a is given twice"},
        {{{"a", "x", 0}, {"general.file_type", NULL, 1}}, "key general.file_type"},
        {{{"general.alignment", NULL, 8}, {"a", "x", 0}}, "key general.alignment"},
        {{{"", "x", 0}, {"a", "x", 0}}, "without a name"},
        {{{"a", "x", 0}, {NULL, "x", 0}}, "without a name"},
        {{{"a", "x", 0}, {long_name, "x", 0}}, "too long"},
    };
    slm_quantize_params p = quantizer_params("Q8_0");
    p.n_keys = 2;
    ASSERT_FAILS(slm_quantizer_create(f.model, &p, &q, &err), SLM_ERR_ARGUMENT, "params->keys");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        p.keys = cases[i].keys;
        ASSERT_FAILS(slm_quantizer_create(f.model, &p, &q, &err), SLM_ERR_ARGUMENT, cases[i].word);
        ck_assert_ptr_null(q);
    }
    p.n_keys = 257;
    ASSERT_FAILS(slm_quantizer_create(f.model, &p, &q, &err), SLM_ERR_RANGE, "n_keys");
    close_quantizer_case(&f);
}
END_TEST

/* ---- What goes wrong ---- */

START_TEST(test_quantized_files_only_when_asked) {
    quantizer_case f = open_shape(&shapes[3]);
    slm_quantizer *q;
    slm_quantize_params p = quantizer_params("Q4_0");
    p.requantize = false;
    ASSERT_FAILS(slm_quantizer_create(f.model, &p, &q, &err), SLM_ERR_UNSUPPORTED,
                 "is quantized already (Q");
    ck_assert_ptr_null(q);
    close_quantizer_case(&f);
}
END_TEST

START_TEST(test_one_of_several_parts) {
    quantizer_case f = {0};
    gb_u32(&f.b, "split.count", 2);
    open_quantizer_case(&f);
    slm_quantizer *q;
    ASSERT_FAILS(slm_quantizer_create(f.model, NULL, &q, &err), SLM_ERR_UNSUPPORTED, "2 parts");
    close_quantizer_case(&f);
}
END_TEST

/* Only tensors with weights of their own: none, or only keys. */
START_TEST(test_no_tensors) {
    quantizer_case f = {0};
    gb_str(&f.b, "a", "b");
    open_quantizer_case(&f);
    slm_quantize_params p = quantizer_params("Q4_0");
    written_file w = quantize_case(&f, &p);
    ck_assert_int_eq(w.gguf.n_tensors, 0);
    ck_assert_int_eq(w.gguf.n_keys, 3);
    free_written(&w);
    close_quantizer_case(&f);
}
END_TEST

START_TEST(test_weights_that_are_no_numbers) {
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    static float x[3][96];
    for (int i = 0; i < 3; i++) {
        for (int where = 0; where < 2; where++) { /* in a matrix, or in a vector that is copied */
            quantizer_case f = {0};
            memset(x, 0, sizeof x);
            x[where ? 0 : 2][41] = bad[i];
            gb_tensor(&f.b, "a.weight", 0, 2, (int64_t[]){96, where ? 1 : 3}, x,
                      where ? 384 : 1152);
            open_quantizer_case(&f);
            slm_quantizer *q = create_quantizer(
                &f,
                &(slm_quantize_params){.size = sizeof *&(slm_quantize_params){0}, .type = "Q4_0"});
            ASSERT_FAILS(slm_quantizer_write(q, f.path, &err), SLM_ERR_NUMERIC,
                         where ? "tensor a.weight: weight 41 of row 0"
                               : "tensor a.weight: weight 41 of row 2");
            ck_assert_ptr_nonnull(strstr(err.message, i ? "infinite" : "NaN"));
            ck_assert_int_eq(n_files(f.dir), 0);
            slm_quantizer_free(q);
            close_quantizer_case(&f);
        }
    }
}
END_TEST

/* A tensor of more than one slice of the work; and what is no number in its last row. */
START_TEST(test_slices) {
    enum { ROW = 256, ROWS = 1100 };
    float *x = malloc(ROW * ROWS * sizeof *x);
    ck_assert_ptr_nonnull(x);
    uint32_t state = 1;
    for (int i = 0; i < ROW * ROWS; i++)
        x[i] = (float)((state = state * 1664525 + 1013904223) >> 8) * 0x1p-24f - 0.5f;
    slm_quantize_params p = quantizer_params("Q8_0");
    p.n_threads = 3;
    for (int bad = 0; bad < 2; bad++) {
        quantizer_case f = {0};
        if (bad) x[ROW * ROWS - 2] = NAN;
        gb_tensor(&f.b, "a.weight", 0, 2, (int64_t[]){ROW, ROWS}, x, ROW * ROWS * sizeof *x);
        open_quantizer_case(&f);
        if (bad) {
            slm_quantizer *q = create_quantizer(&f, &p);
            ASSERT_FAILS(slm_quantizer_write(q, f.path, &err), SLM_ERR_NUMERIC,
                         "tensor a.weight: weight 254 of row 1099 is NaN");
            slm_quantizer_free(q);
        } else {
            written_file w = quantize_case(&f, &p);
            expect_same_model(&f, &w);
            free_written(&w);
        }
        close_quantizer_case(&f);
    }
    free(x);
}
END_TEST

typedef struct patience {
    int calls, most; /* cancel at call `most` */
    float last;
} patience;

static bool be_patient(void *user, float done) {
    patience *p = user;
    ck_assert(done >= p->last && done <= 1);
    p->last = done;
    return ++p->calls != p->most;
}

/* At each call: the old file stays, and nothing beside it. */
START_TEST(test_cancel) {
    quantizer_case f = open_shape(&shapes[1]);
    patience user = {0};
    slm_quantize_params p = quantizer_params("Q8_0");
    p.progress = be_patient;
    p.progress_user = &user;
    FILE *old = fopen(f.path, "w");
    ck_assert(old && fputs("old", old) >= 0 && fclose(old) == 0);
    slm_quantizer *q = create_quantizer(&f, &p);
    slm_status s = SLM_ERR_CANCELLED;
    for (int most = 1; s != SLM_OK; most++) {
        user = (patience){.most = most};
        s = slm_quantizer_write(q, f.path, &err);
        bool cancelled = user.calls == most;
        ck_assert_int_eq(s, cancelled ? SLM_ERR_CANCELLED : SLM_OK);
        struct stat st;
        ck_assert_int_eq(stat(f.path, &st), 0);
        ck_assert(cancelled == (st.st_size == 3));
        ck_assert_int_eq(n_files(f.dir), 1);
    }
    ck_assert_int_gt(user.calls, 30);
    ck_assert_float_eq(user.last, 1);
    slm_quantizer_free(q);
    close_quantizer_case(&f);
}
END_TEST

START_TEST(test_places_that_cannot_be_written) {
    quantizer_case f = open_shape(&shapes[1]);
    slm_quantize_params p = quantizer_params("Q8_0");
    slm_quantizer *q = create_quantizer(&f, &p);
    char path[80];
    snprintf(path, sizeof path, "%s/none/out", f.dir);
    ASSERT_FAILS(slm_quantizer_write(q, path, &err), SLM_ERR_IO, "No such file");
    ASSERT_FAILS(slm_quantizer_write(q, f.dir, &err), SLM_ERR_IO, "no regular file");
    ASSERT_FAILS(slm_quantizer_write(q, "/dev/full", &err), SLM_ERR_IO, "no regular file");
    ASSERT_FAILS(slm_quantizer_write(q, "", &err), SLM_ERR_IO, "the path is empty");
    ck_assert_int_eq(symlink("/dev/null", f.path), 0);
    ASSERT_FAILS(slm_quantizer_write(q, f.path, &err), SLM_ERR_IO, "no regular file");
    unlink(f.path);
    ck_assert_int_eq(n_files(f.dir), 0);
    slm_quantizer_free(q);
    close_quantizer_case(&f);
}
END_TEST

/* An unfinished file of a process that was killed is in nobody's way. */
START_TEST(test_left_over_part) {
    quantizer_case f = open_shape(&shapes[1]);
    char part[80];
    snprintf(part, sizeof part, "%s.part0", f.path);
    FILE *old = fopen(part, "w");
    ck_assert(old && fclose(old) == 0);
    slm_quantize_params p = quantizer_params("Q8_0");
    slm_quantizer *q = create_quantizer(&f, &p);
    ck_assert_int_eq(slm_quantizer_write(q, f.path, &err), SLM_OK);
    ck_assert_int_eq(n_files(f.dir), 2);
    ck_assert_int_eq(unlink(part), 0);
    struct stat st;
    mode_t mask = umask(0);
    umask(mask);
    ck_assert_int_eq(stat(f.path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0666 & ~mask);
    ck_assert_int_eq(chmod(f.path, 0662), 0); /* those of a file that is replaced stay */
    ck_assert_int_eq(slm_quantizer_write(q, f.path, &err), SLM_OK);
    ck_assert_int_eq(stat(f.path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0662);
    slm_quantizer_free(q);
    close_quantizer_case(&f);
}
END_TEST

/* Every allocation in turn; and how much is taken, which does not depend on the size of the tensors. */
START_TEST(test_memory) {
    quantizer_case f = open_shape(&shapes[1]);
    check_alloc counts = {0};
    slm_quantize_params p = quantizer_params("Q4_K_M");
    p.n_threads = 1;
    p.allocator = check_allocator(&counts);
    slm_status s = SLM_ERR_NOMEM;
    for (long at = 1; s != SLM_OK; at++) {
        slm_quantizer *q;
        counts = (check_alloc){.fail_at = at};
        s = slm_quantizer_create(f.model, &p, &q, &err);
        if (s == SLM_OK) s = slm_quantizer_write(q, f.path, &err);
        ck_assert_int_eq(s, counts.n_calls >= at ? SLM_ERR_NOMEM : SLM_OK);
        ck_assert_int_eq(n_files(f.dir), s == SLM_OK);
        slm_quantizer_free(q);
        ck_assert_int_eq(counts.n_live, 0);
    }
    ck_assert_int_gt(counts.n_calls, 6);
    ck_assert_uint_lt(counts.peak, 3 << 20);
    close_quantizer_case(&f);
}
END_TEST

/* The model's file is cut short after it was opened. */
START_TEST(test_file_that_changes) {
    quantizer_case f = open_shape(&shapes[0]);
    char path[80];
    snprintf(path, sizeof path, "%s/in", f.dir);
    FILE *file = fopen(path, "wb");
    ck_assert(file && fwrite(f.data, 1, f.n_bytes, file) == f.n_bytes && fclose(file) == 0);
    slm_model *model;
    slm_model_params p = slm_model_defaults();
    p.keys_only = p.guard = true;
    ck_assert_int_eq(slm_model_open(path, &p, &model, &err), SLM_OK);
    slm_quantizer *q;
    ck_assert_int_eq(slm_quantizer_create(model, NULL, &q, &err), SLM_OK);
    ck_assert_int_eq(truncate(path, 100000), 0);
    ck_assert_int_eq(slm_quantizer_write(q, f.path, &err), SLM_ERR_CHANGED);
    ck_assert_int_eq(n_files(f.dir), 1);
    slm_quantizer_free(q);
    slm_model_close(model);
    unlink(path);
    close_quantizer_case(&f);
}
END_TEST

/* The bytes of the model are overwritten between two looks at its keys: then more of them are to be written than there is room for. */
typedef struct scribbler {
    check_alloc counts;
    slm_allocator inner;
    long at; /* call number */
    char *name;
} scribbler;

static void *scribble(void *user, size_t n_bytes) {
    scribbler *s = user;
    if (s->counts.n_calls + 1 == s->at) s->name[0] ^= 1;
    return s->inner.alloc(s->inner.user, n_bytes);
}

static void scribble_free(void *user, void *p) {
    scribbler *s = user;
    s->inner.free(s->inner.user, p);
}

START_TEST(test_keys_that_change) {
    static const float x[32] = {1};
    quantizer_case f = {0};
    gb_str(&f.b, "general.file_type", "");
    gb_tensor(&f.b, "x.weight", 0, 1, (int64_t[]){3}, x, 12);
    open_quantizer_case(&f);
    scribbler user = {.name = memmem(f.data, f.n_bytes, "general.f", 9)};
    user.inner = check_allocator(&user.counts);
    slm_quantize_params p = quantizer_params("Q8_0");
    p.n_threads = 1;
    p.allocator = (slm_allocator){scribble, scribble_free, &user};
    slm_quantizer *q = create_quantizer(&f, &p);
    ck_assert_int_eq(slm_quantizer_write(q, f.path, &err), SLM_OK);
    long last = user.counts.n_calls; /* the one for the head */
    slm_quantizer_free(q);
    user.counts.n_calls = 0;
    user.at = last;
    q = create_quantizer(&f, &p);
    ASSERT_FAILS(slm_quantizer_write(q, f.path, &err), SLM_ERR_CHANGED, "was changed");
    ck_assert_int_eq(user.counts.n_calls, last);
    user.name[0] ^= 1;
    slm_quantizer_free(q);
    ck_assert_int_eq(user.counts.n_live, 0);
    close_quantizer_case(&f);
}
END_TEST

int main(void) {
    Suite *s = suite_create("quantizer");
    TCase *t = tcase_create("files");
    tcase_set_timeout(t, 600);
    tcase_add_loop_test(t, test_every_type_of_every_model, 0, N_SHAPES);
    tcase_add_loop_test(t, test_the_file_is_a_model, 0, N_SHAPES);
    tcase_add_test(t, test_threads_change_nothing);
    tcase_add_test(t, test_keys_in_place_and_alignment);
    tcase_add_test(t, test_keys_of_a_caller);
    tcase_add_test(t, test_fault_keys_of_a_caller);
    tcase_add_test(t, test_quantized_files_only_when_asked);
    tcase_add_test(t, test_one_of_several_parts);
    tcase_add_test(t, test_no_tensors);
    tcase_add_test(t, test_weights_that_are_no_numbers);
    tcase_add_test(t, test_slices);
    tcase_add_test(t, test_cancel);
    tcase_add_test(t, test_places_that_cannot_be_written);
    tcase_add_test(t, test_left_over_part);
    tcase_add_test(t, test_memory);
    tcase_add_test(t, test_file_that_changes);
    tcase_add_test(t, test_keys_that_change);
    suite_add_tcase(s, t);
    return run_suite(s);
}
