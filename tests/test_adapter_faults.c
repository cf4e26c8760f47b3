/* Adapters that are none, adapters for another model, calls that cannot be served: refused by name, and all stays as it was. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../libslm/context.h"
#include "support/adapter_case.h"
#include "support/check_alloc.h"
#include "support/smallest_model.h"
#include "support/strict.h"
#include "support/suite.h"

enum { N_EMBD = 4, N_KV = 2, N_FF = 6 }; /* of the smallest model */

static gguf_build model_file, b;
static slm_model *model;
static slm_context *ctx;
static slm_error err;
static float base[SMALLEST_VOCAB];

static void first_logits(float *out) {
    slm_token tokens[] = {1, 2, 3};
    ck_assert_int_eq(slm_seq_truncate(ctx, 0, 0, NULL), SLM_OK);
    ck_assert_int_eq(slm_decode_tokens(ctx, tokens, 3, NULL), SLM_OK);
    memcpy(out, slm_logits(ctx, 0), sizeof base);
}

static slm_context *create(const slm_allocator *allocator, int32_t n_batch, int32_t n_threads) {
    slm_context_params p = slm_context_defaults();
    slm_context *out;
    if (allocator) p.allocator = *allocator;
    p.n_ctx = 64;
    p.n_batch = n_batch;
    p.n_threads = n_threads;
    ck_assert_msg(slm_context_create(model, &p, &out, &err) == SLM_OK, "%s", err.message);
    return out;
}

static void setup(void) {
    size_t n;
    smallest_model(&model_file, &(smallest_params){.all_tensors = 1});
    const void *file = gb_finish(&model_file, &n);
    ck_assert_int_eq(slm_model_open_memory(file, n, NULL, &model, &err), SLM_OK);
    ctx = create(NULL, 8, 1);
    first_logits(base);
}

static void teardown(void) {
    slm_context_free(ctx);
    slm_model_close(model);
    gb_free(&model_file);
    gb_free(&b);
}

/* ---- Files ---- */

static const float numbers[16] = {0.5f, -0.25f, 1, 0.125f, -1, 0.75f, 0.5f, -0.5f,
                                  0.3f, 0.6f,   1, -0.1f,  -1, 0.2f,  0.4f, 0.8f};

static void factor(const char *name, int64_t columns, int64_t rows) {
    size_t n = (size_t)(columns * rows) * sizeof(float);
    float *data = malloc(n);
    ck_assert_ptr_nonnull(data);
    for (int64_t i = 0; i < columns * rows; i++) data[i] = numbers[i % 16];
    gb_tensor(&b, name, 0, 2, (int64_t[]){columns, rows}, data, n);
    free(data);
}

static void pair(int64_t rank) {
    factor("blk.0.attn_k.weight.lora_a", N_EMBD, rank);
    factor("blk.0.attn_k.weight.lora_b", rank, N_KV);
}

/* A good one in `b`, two matrices. */
static void good(void) {
    gb_reset(&b);
    adapter_keys(&b, "llama", 2);
    pair(1);
    factor("output.weight.lora_a", N_EMBD, 2);
    factor("output.weight.lora_b", 2, SMALLEST_VOCAB);
}

static slm_adapter *open_good(const slm_allocator *allocator) {
    slm_adapter *a;
    size_t n;
    good();
    const void *file = gb_finish(&b, &n);
    ck_assert_msg(slm_adapter_open_memory(model, file, n, allocator, &a, &err) == SLM_OK, "%s",
                  err.message);
    return a;
}

/* Opened from exactly n bytes: an orderly error, or an adapter that computes. Returns the status. */
static slm_status open_strictly(const void *data, size_t n) {
    void *copy = strict_copy(data, n);
    check_alloc counts = {0};
    slm_allocator allocator = check_allocator(&counts);
    slm_adapter *a;
    float logits[SMALLEST_VOCAB];
    memset(&err, 0xaa, sizeof err);
    slm_status s = slm_adapter_open_memory(model, copy, n, &allocator, &a, &err);
    ck_assert_uint_le(counts.peak, (16 << 20) + 2 * (uint64_t)n);
    if (s == SLM_OK) {
        slm_status set =
            slm_context_set_adapters(ctx, (const slm_adapter *[]){a}, (float[]){1}, 1, NULL);
        ck_assert(set == SLM_OK || set == SLM_ERR_RANGE);
        slm_token tokens[] = {1, 2, 3};
        ck_assert_int_eq(slm_seq_truncate(ctx, 0, 0, NULL), SLM_OK);
        slm_status decoded = slm_decode_tokens(ctx, tokens, 3, NULL);
        ck_assert(decoded == SLM_OK || decoded == SLM_ERR_NUMERIC);
        ck_assert_int_eq(slm_context_set_adapters(ctx, NULL, NULL, 0, NULL), SLM_OK);
        slm_adapter_close(a);
        first_logits(logits);
        ck_assert_int_eq(memcmp(logits, base, sizeof base), 0);
    } else {
        strict_message(&err, s);
        ck_assert_ptr_null(a);
    }
    ck_assert_int_eq(counts.n_live, 0);
    free(copy);
    return s;
}

static void expect(slm_status wanted, const char *says) {
    size_t n;
    const void *file = gb_finish(&b, &n);
    slm_status s = open_strictly(file, n);
    ck_assert_msg(s == wanted, "%s: %s, expected %s: %s", says, slm_status_name(s),
                  slm_status_name(wanted), s == SLM_OK ? "" : err.message);
    if (s != SLM_OK) ck_assert_msg(strstr(err.message, says), "%s: %s", says, err.message);
}

START_TEST(test_fault_2_adapter_cut_at_every_byte) {
    size_t n;
    good();
    const void *file = gb_finish(&b, &n);
    ck_assert_int_eq(open_strictly(file, n), SLM_OK);
    for (size_t cut = 0; cut < n; cut++)
        ck_assert_int_eq(open_strictly(file, cut), SLM_ERR_TRUNCATED);
}
END_TEST

START_TEST(test_every_flipped_bit_of_an_adapter) {
    size_t n, accepted = 0, refused = 0;
    good();
    uint8_t *file = (uint8_t *)(uintptr_t)gb_finish(&b, &n);
    for (size_t bit = 0; bit < 8 * n; bit++) {
        file[bit / 8] ^= (uint8_t)(1 << bit % 8);
        *(open_strictly(file, n) == SLM_OK ? &accepted : &refused) += 1;
        file[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    ck_assert_uint_gt(accepted, 100);
    ck_assert_uint_gt(refused, 1000);
}
END_TEST

/* ---- Keys ---- */

typedef struct key_case {
    const char *type, *arch, *kind;
    slm_status status;
    const char *says;
} key_case;

static const key_case key_cases[] = {
    {"adapter", "llama", "lora", SLM_OK, ""},
    {NULL, "llama", "lora", SLM_ERR_UNSUPPORTED, "general.type is missing"},
    {"model", "llama", "lora", SLM_ERR_UNSUPPORTED, "\"model\", expected \"adapter\""},
    {"adapter", NULL, "lora", SLM_ERR_MISMATCH, "general.architecture is missing"},
    {"adapter", "qwen2", "lora", SLM_ERR_MISMATCH, "\"qwen2\", expected \"llama\""},
    {"adapter", "llama", NULL, SLM_ERR_UNSUPPORTED, "adapter.type is missing"},
    {"adapter", "llama", "dora\x1b", SLM_ERR_UNSUPPORTED, "\"dora\\x1b\", expected \"lora\""},
};

START_TEST(test_fault_27_adapter_of_another_kind) {
    const key_case *c = &key_cases[_i];
    gb_reset(&b);
    if (c->type) gb_str(&b, "general.type", c->type);
    if (c->arch) gb_str(&b, "general.architecture", c->arch);
    if (c->kind) gb_str(&b, "adapter.type", c->kind);
    pair(2);
    expect(c->status, c->says);
}
END_TEST

START_TEST(test_fault_15_adapter_key_of_another_type) {
    gb_reset(&b);
    gb_u32(&b, "general.type", 1);
    expect(SLM_ERR_TYPE, "general.type");
    gb_reset(&b);
    gb_str(&b, "general.type", "adapter");
    gb_str(&b, "general.architecture", "llama");
    gb_str(&b, "adapter.type", "lora");
    gb_u32(&b, "adapter.lora.alpha", 8);
    pair(1);
    expect(SLM_ERR_TYPE, "adapter.lora.alpha");
}
END_TEST

START_TEST(test_fault_32_alpha_is_no_number) {
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        gb_reset(&b);
        adapter_keys(&b, "llama", bad[i]);
        pair(1);
        expect(SLM_ERR_RANGE, "adapter.lora.alpha");
    }
}
END_TEST

START_TEST(test_adapter_that_begins_later) {
    good();
    gb_array(&b, "adapter.alora.invocation_tokens", GB_U32, (uint32_t[]){1, 2}, 2);
    expect(SLM_ERR_UNSUPPORTED, "adapter.alora.invocation_tokens");
}
END_TEST

/* ---- Tensors ---- */

typedef struct tensor_case {
    struct {
        const char *name;
        int64_t columns, rows; /* 0: there is none */
    } t[2];
    slm_status status;
    const char *says;
} tensor_case;

#define K "blk.0.attn_k.weight"
static const tensor_case tensor_cases[] = {
    {{{0}}, SLM_ERR_MISMATCH, "without tensors"},
    {{{K ".lora_a", N_EMBD, 2}}, SLM_ERR_MISMATCH, K ".lora_a, byte"},
    {{{K ".lora_b", 2, N_KV}}, SLM_ERR_MISMATCH, "without its .lora_a"},
    {{{K ".lora_a", N_EMBD + 1, 2}, {K ".lora_b", 2, N_KV}}, SLM_ERR_MISMATCH, K ".lora_a, byte"},
    {{{K ".lora_a", N_EMBD, 2}, {K ".lora_b", 2, N_KV + 1}}, SLM_ERR_MISMATCH, "expected [2, 2]"},
    {{{K ".lora_a", N_EMBD, 2}, {K ".lora_b", 3, N_KV}}, SLM_ERR_MISMATCH, K ".lora_b, byte"},
    {{{K ".lora_a", 2, N_EMBD}, {K ".lora_b", N_KV, 2}}, SLM_ERR_MISMATCH, K ".lora_a, byte"},
    {{{K, N_EMBD, 2}}, SLM_ERR_UNSUPPORTED, K ", byte"},
    {{{K ".lora_m", N_EMBD, 2}}, SLM_ERR_UNSUPPORTED, ".lora_m, byte"},
    {{{".lora_a", N_EMBD, 2}}, SLM_ERR_UNSUPPORTED, "neither"},
    {{{"a", N_EMBD, 2}}, SLM_ERR_UNSUPPORTED, "tensor a, byte"},
    {{{"blk.1.attn_k.weight.lora_a", N_EMBD, 2}}, SLM_ERR_MISMATCH, "llama, 1 layers"},
    {{{"blk.0.attn_qkv.weight.lora_a", N_EMBD, 2}}, SLM_ERR_MISMATCH, "attn_qkv.weight.lora_a"},
    {{{"blk.0.attn_norm.weight.lora_a", N_EMBD, 1}}, SLM_ERR_UNSUPPORTED, "attn_norm"},
    {{{"output_norm.weight.lora_b", N_EMBD, 1}}, SLM_ERR_UNSUPPORTED, "output_norm"},
    {{{"blk.0.attn_q.bias.lora_a", N_EMBD, 1}}, SLM_ERR_UNSUPPORTED, "attn_q.bias"},
    {{{"rope_freqs.weight.lora_a", 1, 1}}, SLM_ERR_UNSUPPORTED, "rope_freqs"},
    {{{"token_embd.weight.lora_a", SMALLEST_VOCAB, 2}, {"token_embd.weight.lora_b", N_EMBD, 2}},
     SLM_ERR_UNSUPPORTED,
     "token_embd"},
    {{{K ".lora_a", N_EMBD, 65537}, {K ".lora_b", 65537, N_KV}}, SLM_ERR_LIMIT, "rank 65537"},
    {{{K ".lora_a", N_EMBD, 300}, {K ".lora_b", 300, N_KV}}, SLM_OK, ""}, /* more than columns */
    {{{"blk.0.ffn_down.weight.lora_a", N_FF, 2}, {"blk.0.ffn_down.weight.lora_b", 2, N_EMBD}},
     SLM_OK,
     ""},
};

START_TEST(test_fault_35_adapter_tensors) {
    const tensor_case *c = &tensor_cases[_i];
    gb_reset(&b);
    adapter_keys(&b, "llama", 4);
    for (int i = 0; i < 2 && c->t[i].name; i++) factor(c->t[i].name, c->t[i].columns, c->t[i].rows);
    expect(c->status, c->says);
}
END_TEST

/* ---- Calls ---- */

START_TEST(test_fault_66_null_and_half_an_allocator) {
    slm_adapter *a = (slm_adapter *)&b;
    slm_adapter_info info = {.size = sizeof info};
    slm_allocator half = {.free = (void (*)(void *, void *))(uintptr_t)1};
    slm_model *vocabulary;
    slm_model_params p = slm_model_defaults();
    size_t n;
    ASSERT_FAILS(slm_adapter_open(model, NULL, NULL, &a, &err), SLM_ERR_ARGUMENT, "path");
    ck_assert_ptr_null(a);
    ASSERT_FAILS(slm_adapter_open(NULL, "x", NULL, &a, &err), SLM_ERR_ARGUMENT, "model");
    ASSERT_FAILS(slm_adapter_open(model, "x", NULL, NULL, &err), SLM_ERR_ARGUMENT, "out");
    ASSERT_FAILS(slm_adapter_open(model, "x", &half, &a, &err), SLM_ERR_ARGUMENT, "allocator");
    ASSERT_FAILS(slm_adapter_open_memory(model, NULL, 1, NULL, &a, &err), SLM_ERR_ARGUMENT, "data");
    good();
    const char *file = gb_finish(&b, &n);
    ASSERT_FAILS(slm_adapter_open_memory(model, file + 8, n - 8, NULL, &a, &err), SLM_ERR_ARGUMENT,
                 "aligned");
    p.vocab_only = true;
    ck_assert_int_eq(
        slm_model_open_memory(model_file.file.data, model_file.file.n, &p, &vocabulary, NULL),
        SLM_OK);
    ASSERT_FAILS(slm_adapter_open_memory(vocabulary, file, n, NULL, &a, &err), SLM_ERR_UNSUPPORTED,
                 "without its weights");
    slm_model_close(vocabulary);
    slm_adapter_close(NULL);
    a = open_good(NULL);
    ck_assert_int_eq(slm_adapter_get_info(NULL, &info), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_adapter_get_info(a, NULL), SLM_ERR_ARGUMENT);
    info.size--;
    ck_assert_int_eq(slm_adapter_get_info(a, &info), SLM_ERR_ARGUMENT);
    info.size++;
    ck_assert_int_eq(slm_adapter_get_info(a, &info), SLM_OK);
    ck_assert(info.n_matrices == 2 && info.max_rank == 2 && info.alpha == 2);
    ck_assert_uint_eq(info.n_params, N_EMBD + N_KV + 2 * (N_EMBD + SMALLEST_VOCAB));
    ck_assert_uint_eq(info.file_bytes, b.file.n);
    slm_adapter_close(a);
}
END_TEST

/* After each failure the context goes on with what it had. */
START_TEST(test_fault_69_scales_and_lists_that_cannot_be) {
    slm_model *twin;
    slm_adapter *other, *a = open_good(NULL);
    const slm_adapter *list[SLM_MAX_ADAPTERS + 1];
    float scales[SLM_MAX_ADAPTERS + 1], with[SMALLEST_VOCAB], again[SMALLEST_VOCAB];
    for (int i = 0; i <= SLM_MAX_ADAPTERS; i++) list[i] = a, scales[i] = 1;
    ck_assert_int_eq(slm_context_set_adapters(ctx, list, scales, 1, &err), SLM_OK);
    first_logits(with);
    ck_assert_int_ne(memcmp(with, base, sizeof base), 0);
    ck_assert_int_eq(
        slm_model_open_memory(model_file.file.data, model_file.file.n, NULL, &twin, NULL), SLM_OK);
    ck_assert_int_eq(slm_adapter_open_memory(twin, b.file.data, b.file.n, NULL, &other, NULL),
                     SLM_OK);
    static const float bad[] = {NAN, INFINITY, -INFINITY, 3e38f}; /* the last one times alpha */
    for (int i = 0; i < 4; i++) {
        scales[1] = bad[i];
        ASSERT_FAILS(slm_context_set_adapters(ctx, list, scales, 2, &err), SLM_ERR_RANGE,
                     "adapter 1: scale");
    }
    scales[1] = 1;
    ASSERT_FAILS(slm_context_set_adapters(ctx, list, scales, -1, &err), SLM_ERR_RANGE, "-1");
    ASSERT_FAILS(slm_context_set_adapters(ctx, list, scales, SLM_MAX_ADAPTERS + 1, &err),
                 SLM_ERR_RANGE, "65");
    ASSERT_FAILS(slm_context_set_adapters(ctx, NULL, scales, 1, &err), SLM_ERR_ARGUMENT, "NULL");
    ASSERT_FAILS(slm_context_set_adapters(ctx, list, NULL, 1, &err), SLM_ERR_ARGUMENT, "NULL");
    ASSERT_FAILS(slm_context_set_adapters(NULL, list, scales, 1, &err), SLM_ERR_ARGUMENT, "NULL");
    list[1] = NULL;
    ASSERT_FAILS(slm_context_set_adapters(ctx, list, scales, 2, &err), SLM_ERR_ARGUMENT,
                 "adapter 1 is NULL");
    list[1] = other;
    ASSERT_FAILS(slm_context_set_adapters(ctx, list, scales, 2, &err), SLM_ERR_MISMATCH,
                 "adapter 1 was opened for another model");
    first_logits(again);
    ck_assert_int_eq(memcmp(with, again, sizeof with), 0);
    ck_assert_int_eq(slm_context_set_adapters(ctx, NULL, NULL, 0, NULL), SLM_OK);
    slm_adapter_close(a), slm_adapter_close(other);
    slm_model_close(twin);
}
END_TEST

/* The same context from within its own call. */
static bool set_within(void *user, float done) {
    (void)done;
    slm_context **inner = user;
    ck_assert_int_eq(slm_context_set_adapters(*inner, NULL, NULL, 0, NULL), SLM_ERR_BUSY);
    *inner = NULL;
    return false;
}

START_TEST(test_fault_71_set_while_it_computes) {
    slm_context *busy, *seen;
    slm_context_params p = slm_context_defaults();
    slm_token token = 1;
    p.n_ctx = 64;
    p.progress = set_within;
    p.progress_user = &seen;
    ck_assert_int_eq(slm_context_create(model, &p, &busy, NULL), SLM_OK);
    seen = busy;
    ck_assert_int_eq(slm_decode_tokens(busy, &token, 1, NULL), SLM_ERR_CANCELLED);
    ck_assert_ptr_null(seen);
    slm_context_free(busy);
}
END_TEST

START_TEST(test_fault_84_nth_allocation_fails) {
    size_t n;
    good();
    const void *file = gb_finish(&b, &n);
    for (long nth = 1;; nth++) {
        check_alloc counts = {.fail_at = nth};
        slm_allocator allocator = check_allocator(&counts);
        slm_adapter *a;
        slm_status s = slm_adapter_open_memory(model, file, n, &allocator, &a, &err);
        if (s == SLM_OK) {
            ck_assert_int_gt(nth, 5);
            slm_adapter_close(a);
            ck_assert_int_eq(counts.n_live, 0);
            return;
        }
        ck_assert_int_eq(s, SLM_ERR_NOMEM);
        ck_assert_ptr_null(a);
        ck_assert_int_eq(counts.n_live, 0);
    }
}
END_TEST

/* No memory for another list: the old one stays. And what it takes is what slm.h says. */
START_TEST(test_fault_84_no_memory_to_set) {
    for (int32_t n_batch = 1; n_batch <= 64; n_batch *= 8) {
        check_alloc counts = {0};
        slm_allocator allocator = check_allocator(&counts);
        slm_adapter *a = open_good(NULL);
        const slm_adapter *list[] = {a, a, a};
        const float scales[] = {1, 1, 1};
        slm_context *own = create(&allocator, n_batch, 3);
        uint64_t before = counts.n_bytes, most = 3 * (24 * (uint64_t)n_batch * 128 + 1024) +
                                                 3 * (64 * (uint64_t)n_batch + 68 * 128 + 24576);
        ck_assert_int_eq(slm_context_set_adapters(own, list, scales, 3, &err), SLM_OK);
        ck_assert_uint_gt(counts.n_bytes, before);
        ck_assert_uint_le(counts.n_bytes - before, most);
        counts.fail_from = counts.n_calls + 1;
        ASSERT_FAILS(slm_context_set_adapters(own, list, scales, 2, &err), SLM_ERR_NOMEM,
                     "2 adapters");
        ck_assert_int_eq(own->lora.n, 3);
        slm_token tokens[] = {1, 2, 3};
        ck_assert_int_eq(slm_decode_tokens(own, tokens, 3, NULL), SLM_OK); /* nothing is taken */
        ck_assert_int_eq(slm_context_set_adapters(own, NULL, NULL, 0, NULL), SLM_OK);
        ck_assert_uint_eq(counts.n_bytes, before);
        slm_context_free(own);
        ck_assert_int_eq(counts.n_live, 0);
        slm_adapter_close(a);
    }
}
END_TEST

/* Weights that are not finite are found where they come out. */
START_TEST(test_fault_90_adapter_with_nan) {
    float nan = NAN;
    slm_token token = 1;
    slm_adapter *a = open_good(NULL);
    memcpy(b.file.data + b.file.n - sizeof nan, &nan, sizeof nan); /* of the output matrix */
    ck_assert_int_eq(
        slm_context_set_adapters(ctx, (const slm_adapter *[]){a}, (float[]){1}, 1, NULL), SLM_OK);
    ASSERT_FAILS(slm_decode_tokens(ctx, &token, 1, &err), SLM_ERR_NUMERIC, "row 0");
    ck_assert_int_eq(slm_context_set_adapters(ctx, NULL, NULL, 0, NULL), SLM_OK);
    slm_adapter_close(a);
}
END_TEST

START_TEST(test_adapter_from_a_file) {
    char path[] = "/tmp/slm_adapter_XXXXXX";
    float memory[SMALLEST_VOCAB], file[SMALLEST_VOCAB];
    int fd = mkstemp(path);
    slm_adapter *a = open_good(NULL), *mapped;
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, b.file.data, b.file.n), (ssize_t)b.file.n);
    close(fd);
    ck_assert_int_eq(slm_adapter_open(model, path, NULL, &mapped, &err), SLM_OK);
    unlink(path);
    slm_context_set_adapters(ctx, (const slm_adapter *[]){a}, (float[]){2}, 1, NULL);
    first_logits(memory);
    slm_context_set_adapters(ctx, (const slm_adapter *[]){mapped}, (float[]){2}, 1, NULL);
    first_logits(file);
    ck_assert_int_eq(memcmp(memory, file, sizeof file), 0);
    ck_assert_int_ne(memcmp(memory, base, sizeof base), 0);
    ck_assert_int_eq(slm_context_set_adapters(ctx, NULL, NULL, 0, NULL), SLM_OK);
    slm_adapter_close(mapped);
    ASSERT_FAILS(slm_adapter_open(model, path, NULL, &mapped, &err), SLM_ERR_IO, path);
    slm_adapter_close(a);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("adapter faults");
    TCase *c = tcase_create("adapter faults");
    tcase_set_timeout(c, 300);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, test_fault_2_adapter_cut_at_every_byte);
    tcase_add_test(c, test_every_flipped_bit_of_an_adapter);
    tcase_add_loop_test(c, test_fault_27_adapter_of_another_kind, 0,
                        (int)(sizeof key_cases / sizeof *key_cases));
    tcase_add_test(c, test_fault_15_adapter_key_of_another_type);
    tcase_add_test(c, test_fault_32_alpha_is_no_number);
    tcase_add_test(c, test_adapter_that_begins_later);
    tcase_add_loop_test(c, test_fault_35_adapter_tensors, 0,
                        (int)(sizeof tensor_cases / sizeof *tensor_cases));
    tcase_add_test(c, test_fault_66_null_and_half_an_allocator);
    tcase_add_test(c, test_fault_69_scales_and_lists_that_cannot_be);
    tcase_add_test(c, test_fault_71_set_while_it_computes);
    tcase_add_test(c, test_fault_84_nth_allocation_fails);
    tcase_add_test(c, test_fault_84_no_memory_to_set);
    tcase_add_test(c, test_fault_90_adapter_with_nan);
    tcase_add_test(c, test_adapter_from_a_file);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
