/* Faults 27 to 37: a good container whose keys and tensors make no model that we know. Each case is the smallest good
 * model with one thing changed. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../kernels/kernels.h"
#include "../libslm/model.h"
#include "support/check_alloc.h"
#include "support/gguf_build.h"
#include "support/smallest_model.h"
#include "support/strict.h"
#include "support/suite.h"

static gguf_build b;
static slm_error err;

static void teardown(void) { gb_free(&b); }

#define ck_says(words) ck_assert_msg(strstr(err.message, words), "%s: %s", words, err.message)

static slm_status open_built(bool check_weights) {
    size_t n;
    const void *file = gb_finish(&b, &n);
    void *copy = strict_copy(file, n);
    check_alloc counts = {0};
    slm_model_params params = slm_model_defaults();
    params.allocator = check_allocator(&counts);
    params.check_weights = check_weights;
    double begin = strict_seconds();
    slm_status s = strict_open(copy, n, &params, &err);
    ck_assert_double_lt(strict_seconds() - begin, 1.0);
    ck_assert_int_eq(counts.n_live, 0);
    ck_assert_uint_le(counts.peak, (16 << 20) + 2 * (uint64_t)n);
    free(copy);
    return s;
}

static void expect(slm_status expected, const char *name, const char *says) {
    slm_status s = open_built(false);
    ck_assert_msg(s == expected, "%s %s: %s, expected %s: %s", name, says, slm_status_name(s),
                  slm_status_name(expected), s == SLM_OK ? "" : err.message);
    if (s == SLM_OK) return;
    ck_says(name);
    ck_says(says);
}

/* The smallest model without a key or tensor, which the caller may add again as it likes. */
static void without(const char *name) { smallest_model(&b, &(smallest_params){.without = {name}}); }

static void expect_u32(const char *key, uint32_t v, slm_status expected, const char *says) {
    without(key);
    gb_u32(&b, key, v);
    expect(expected, key, says);
}

/* The number contradicts tensors: the message names one of them. */
static void expect_mismatch(const char *key, uint32_t v, const char *says) {
    without(key);
    gb_u32(&b, key, v);
    expect(SLM_ERR_MISMATCH, "", says);
}

static void expect_f32(const char *key, float v, slm_status expected, const char *says) {
    without(key);
    gb_f32(&b, key, v);
    expect(expected, key, says);
}

static void expect_array(const char *key, uint32_t type, const void *v, size_t n,
                         slm_status expected, const char *says) {
    smallest_model(&b, &(smallest_params){.without = {key}, .n_layer = 2});
    gb_array(&b, key, type, v, n);
    expect(expected, key, says);
}

/* ---- The base of all cases ---- */

START_TEST(test_the_smallest_models_are_good) {
    static const smallest_params all[] = {
        {0},
        {.n_layer = 3, .n_head = 4, .n_head_kv = 2, .n_embd = 16},
        {.all_tensors = 1},
        {.type = 8, .n_embd = 32, .n_ff = 64, .all_tensors = 1},
        {.type = 12, .n_embd = 256, .n_head = 4, .n_head_kv = 4, .n_ff = 256},
    };
    for (size_t i = 0; i < SLM_COUNT(all); i++) {
        smallest_model(&b, &all[i]);
        slm_status s = open_built(true);
        ck_assert_msg(s == SLM_OK, "%s", err.message);
    }
}
END_TEST

static slm__hparams hparams_of_built(void) {
    size_t n;
    const void *file = gb_finish(&b, &n);
    slm_model *m;
    ck_assert_msg(slm_model_open_memory(file, n, NULL, &m, &err) == SLM_OK, "%s", err.message);
    slm__hparams hp = m->hp;
    slm_model_close(m);
    return hp;
}

START_TEST(test_numbers_are_read_and_completed) {
    smallest_model(&b, &(smallest_params){.n_embd = 16, .n_head = 4, .n_head_kv = 2, .n_ff = 9});
    slm__hparams hp = hparams_of_built();
    ck_assert(hp.n_embd == 16 && hp.n_head == 4 && hp.n_head_kv == 2 && hp.n_ff == 9);
    ck_assert(hp.n_ctx_train == 64 && hp.n_layer == 1 && hp.n_vocab == SMALLEST_VOCAB);
    ck_assert(hp.norm_eps == 1e-5f);
    /* what the file leaves out */
    ck_assert(hp.head_dim == 4 && hp.n_rot == 4 && hp.rope_base == 10000 && hp.rope_factor == 1);
    smallest_model(
        &b, &(smallest_params){.n_head_kv = 2, .without = {"llama.attention.head_count_kv"}});
    ck_assert_uint_eq(hparams_of_built().n_head_kv, 2);
    /* what it may say */
    without("");
    gb_f32(&b, "llama.rope.freq_base", 5e5f);
    gb_u32(&b, "llama.rope.dimension_count", 2);
    gb_u32(&b, "llama.attention.key_length", 2);
    gb_u32(&b, "llama.attention.value_length", 2);
    hp = hparams_of_built();
    ck_assert(hp.rope_base == 5e5f && hp.n_rot == 2 && hp.head_dim == 2);
}
END_TEST

START_TEST(test_rope_scaling_of_every_kind) {
    static const struct {
        const char *type, *key;
        float factor;
    } cases[] = {
        {NULL, "llama.rope.scaling.factor", 4},   {"linear", "llama.rope.scaling.factor", 4},
        {NULL, "llama.rope.scale_linear", 4},     {"linear", "llama.rope.scale_linear", 4},
        {"none", "llama.rope.scaling.factor", 1},
    };
    for (size_t i = 0; i < SLM_COUNT(cases); i++) {
        without("");
        if (cases[i].type) gb_str(&b, "llama.rope.scaling.type", cases[i].type);
        gb_f32(&b, cases[i].key, 4);
        ck_assert(hparams_of_built().rope_factor == cases[i].factor);
    }
    without("");
    gb_f32(&b, "llama.rope.scale_linear", 2); /* the newer key counts */
    gb_f32(&b, "llama.rope.scaling.factor", 3);
    ck_assert(hparams_of_built().rope_factor == 3);
}
END_TEST

/* ---- Keys ---- */

START_TEST(test_fault_27_architecture_missing_or_unknown) {
    without("general.architecture");
    expect(SLM_ERR_UNSUPPORTED, "general.architecture", "");
    char long_name[100];
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    const char *const unknown[] = {"", "Llama", "llama2", "lla", "gpt2", "llama\n", long_name};
    for (size_t i = 0; i < SLM_COUNT(unknown); i++) {
        without("general.architecture");
        gb_str(&b, "general.architecture", unknown[i]);
        expect(SLM_ERR_UNSUPPORTED, "general.architecture", i < 6 ? "known: llama" : "");
    }
    expect_u32("general.architecture", 1, SLM_ERR_TYPE, "expected string");
    without("general.architecture");
    gb_str_n(&b, "general.architecture", "llama\0x", 7); /* not "llama" because it holds that */
    expect(SLM_ERR_UNSUPPORTED, "general.architecture", "llama");
}
END_TEST

START_TEST(test_fault_28_head_counts) {
    expect_u32("llama.attention.head_count", 0, SLM_ERR_RANGE, "byte");
    expect_u32("llama.attention.head_count", 65537, SLM_ERR_RANGE, "byte");
    expect_u32("llama.attention.head_count", UINT32_MAX, SLM_ERR_RANGE, "byte");
    expect_u32("llama.attention.head_count_kv", 0, SLM_ERR_RANGE, "byte");
    expect_u32("llama.attention.head_count_kv", UINT32_MAX, SLM_ERR_RANGE, "byte");
    static const struct {
        uint32_t n_head, n_head_kv;
        const char *says;
    } wrong[] = {{2, 3, "2 heads"},
                 {2, 4, "2 heads"},
                 {4, 3, "4 heads"},
                 {65536, 1, "65536 heads"},
                 {3, 1, "3 heads"}};
    for (size_t i = 0; i < SLM_COUNT(wrong); i++) {
        smallest_model(&b, &(smallest_params){.without = {"llama.attention.head_count",
                                                          "llama.attention.head_count_kv"}});
        gb_u32(&b, "llama.attention.head_count", wrong[i].n_head);
        gb_u32(&b, "llama.attention.head_count_kv", wrong[i].n_head_kv);
        expect(SLM_ERR_RANGE, "", wrong[i].says);
    }
    expect_array("llama.attention.head_count_kv", GB_U32, (uint32_t[]){1, 0}, 2, SLM_ERR_RANGE,
                 "byte");
    expect_array("llama.attention.head_count", GB_I32, (int32_t[]){-2, -2}, 2, SLM_ERR_RANGE, "-2");
    without("llama.attention.head_count");
    gb_i32(&b, "llama.attention.head_count", -2);
    expect(SLM_ERR_RANGE, "llama.attention.head_count", "negative");
    without("llama.attention.head_count");
    expect(SLM_ERR_MISMATCH, "llama.attention.head_count", "missing");
}
END_TEST

START_TEST(test_fault_29_block_count) {
    expect_u32("llama.block_count", 0, SLM_ERR_LIMIT, "byte");
    expect_u32("llama.block_count", 4097, SLM_ERR_LIMIT, "byte");
    expect_u32("llama.block_count", 1000000000, SLM_ERR_LIMIT, "1e+09");
    expect_u32("llama.block_count", UINT32_MAX, SLM_ERR_LIMIT, "byte");
    without("llama.block_count");
    gb_u64(&b, "llama.block_count", (uint64_t)1 << 32 | 1);
    expect(SLM_ERR_LIMIT, "llama.block_count", "byte");
    without("llama.block_count");
    gb_u32(&b, "llama.block_count", 4096);
    expect(SLM_ERR_LIMIT, "4096 layers", "11 tensors");
    /* one more and one less than there are */
    expect_mismatch("llama.block_count", 2, "tensor blk.1.attn_norm.weight is missing");
    smallest_model(&b, &(smallest_params){.without = {"llama.block_count"}, .n_layer = 2});
    gb_u32(&b, "llama.block_count", 1);
    expect(SLM_ERR_MISMATCH, "tensor blk.1.attn_norm.weight", "1 layers");
    without(
        "llama.block_count"); /* where no layer has been counted, an empty array is not "one for each" */
    gb_array(&b, "llama.block_count", GB_U32, NULL, 0);
    expect(SLM_ERR_TYPE, "llama.block_count", "array of u32");
}
END_TEST

START_TEST(test_fault_30_sizes_disagree_with_tensors) {
    expect_mismatch("llama.embedding_length", 8, "[4, 8, 1, 1], expected [8, 8]");
    expect_mismatch("llama.embedding_length", 2, "");
    expect_mismatch("llama.feed_forward_length", 7, "blk.0.ffn_gate.weight");
    ck_says("[4, 6, 1, 1], expected [4, 7]");
    expect_mismatch("llama.attention.head_count_kv", 2, "blk.0.attn_k.weight");
    expect_mismatch("llama.attention.head_count", 4, "1 of 1 values"); /* no pair to turn */
    expect_mismatch("llama.attention.key_length", 4, "blk.0.attn_q.weight");
    expect_mismatch("llama.rope.dimension_count", 4, "4 of 2 values");
    expect_u32("llama.attention.value_length", 4, SLM_ERR_UNSUPPORTED, "byte");
    smallest_model(&b, &(smallest_params){.all_tensors = 1, .without = {"rope_freqs.weight"}});
    smallest_tensor(&b, "rope_freqs.weight", 0, 2, 0);
    expect(SLM_ERR_MISMATCH, "rope_freqs.weight", "expected [1, 1]");
    smallest_model(&b, &(smallest_params){.n_embd = 12, .n_head = 4}); /* heads of 3 */
    expect(SLM_ERR_MISMATCH, "RoPE", "3 of 3");
}
END_TEST

START_TEST(test_fault_31_array_for_layers_too_short) {
    static const char *const keys[] = {
        "llama.attention.head_count", "llama.attention.head_count_kv", "llama.feed_forward_length"};
    static const uint32_t values[][3] = {{2, 2, 2}, {1, 1, 1}, {6, 6, 6}};
    for (size_t i = 0; i < SLM_COUNT(keys); i++) {
        expect_array(keys[i], GB_U32, values[i], 0, SLM_ERR_MISMATCH, "0 values for 2 layers");
        expect_array(keys[i], GB_U32, values[i], 1, SLM_ERR_MISMATCH, "1 values for 2 layers");
        expect_array(keys[i], GB_I32, values[i], 3, SLM_ERR_MISMATCH, "3 values for 2 layers");
        expect_array(keys[i], GB_U32, values[i], 2, SLM_OK, "");
        expect_array(keys[i], GB_I32, values[i], 2, SLM_OK, "");
        expect_array(keys[i], GB_F32, values[i], 2, SLM_ERR_TYPE, "array of f32");
        expect_array(keys[i], GB_U64, values[i], 1, SLM_ERR_TYPE, "array of u64");
    }
    const char *pattern = "llama.attention.sliding_window_pattern";
    expect_array(pattern, GB_BOOL, "\1\1\1", 1, SLM_ERR_MISMATCH, "1 values for 2 layers");
    expect_array(pattern, GB_BOOL, "\1\1\1", 3, SLM_ERR_MISMATCH, "3 values for 2 layers");
    expect_array(pattern, GB_BOOL, "\1\0", 2, SLM_OK, "");
    expect_array(pattern, GB_U32, (uint32_t[]){1, 0}, 2, SLM_ERR_TYPE, "array of u32");
    expect_array("llama.feed_forward_length", GB_U32, (uint32_t[]){6, 7}, 2, SLM_ERR_UNSUPPORTED,
                 "differ");
    expect_array("llama.embedding_length", GB_U32, (uint32_t[]){4, 4}, 2, SLM_ERR_TYPE,
                 "array of u32");
    expect_array("llama.rope.freq_base", GB_I32, (int32_t[]){10000, 10000}, 2, SLM_ERR_TYPE,
                 "array of i32");
}
END_TEST

START_TEST(test_fault_32_rope_base_eps_scale) {
    static const float wrong[] = {0, -0.0f, -1, -1e-5f, NAN, -NAN, INFINITY, -INFINITY, 3e38f};
    static const char *const keys[] = {"llama.rope.freq_base",
                                       "llama.attention.layer_norm_rms_epsilon",
                                       "llama.rope.scaling.factor",
                                       "llama.rope.scale_linear",
                                       "llama.rope.freq_base_swa",
                                       "llama.rope.scaling.attn_factor",
                                       "llama.rope.scaling.yarn_beta_fast",
                                       "llama.rope.scaling.yarn_beta_slow",
                                       "llama.attention.scale"};
    /* where 0 is "none" */
    static const char *const or_none[] = {"llama.attn_logit_softcapping",
                                          "llama.final_logit_softcapping",
                                          "llama.rope.scaling.yarn_log_multiplier"};
    for (size_t k = 0; k < SLM_COUNT(or_none); k++) {
        for (size_t i = 2; i < SLM_COUNT(wrong); i++)
            expect_f32(or_none[k], wrong[i], SLM_ERR_RANGE, "byte");
        expect_f32(or_none[k], 0, SLM_OK, "");
    }
    for (size_t k = 0; k < SLM_COUNT(keys); k++) {
        for (size_t i = 0; i < SLM_COUNT(wrong); i++)
            expect_f32(keys[k], wrong[i], SLM_ERR_RANGE, "byte");
        without(keys[k]);
        double nan = NAN;
        gb_key_raw(&b, keys[k], GB_F64, &nan, 8);
        expect(SLM_ERR_RANGE, keys[k], "nan");
        expect_u32(keys[k], 1, SLM_ERR_TYPE, "expected f32");
        expect_f32(keys[k], 1, SLM_OK, "");
    }
    for (size_t i = 0; i < SLM_COUNT(wrong); i++) {
        smallest_model(&b, &(smallest_params){.all_tensors = 1, .without = {"rope_freqs.weight"}});
        gb_tensor(&b, "rope_freqs.weight", 0, 1, (int64_t[]){1}, &wrong[i], 4);
        expect(SLM_ERR_RANGE, "rope_freqs.weight", "byte");
    }
    without("");
    gb_str(&b, "llama.rope.scaling.type", "su");
    expect(SLM_ERR_UNSUPPORTED, "llama.rope.scaling.type", "\"su\", known: none, linear, yarn");
}
END_TEST

START_TEST(test_fault_32_windows_and_original_context) {
    expect_u32("llama.attention.sliding_window", (1u << 27) + 1, SLM_ERR_RANGE, "byte");
    expect_u32("llama.attention.sliding_window", 1, SLM_OK, "");
    expect_u32("llama.attention.sliding_window", 0, SLM_OK, "");
    expect_u32("llama.rope.scaling.original_context_length", 0, SLM_ERR_RANGE, "byte");
    expect_u32("llama.rope.scaling.original_context_length", UINT32_MAX, SLM_ERR_RANGE, "byte");
    expect_u32("llama.attention.sliding_window_pattern", UINT32_MAX, SLM_OK, "");
    expect_u32("llama.attention.sliding_window_pattern", 0, SLM_OK, "");
    expect_f32("llama.attention.sliding_window_pattern", 1, SLM_ERR_TYPE, "expected");
}
END_TEST

START_TEST(test_fault_35_factors_for_short_and_long_contexts) {
    static const float good = 1, bad[] = {0, NAN, 1e7f};
    static const char *const names[] = {"rope_factors_short.weight", "rope_factors_long.weight"};
    for (int i = 0; i < 2; i++) { /* one without the other */
        without("");
        gb_tensor(&b, names[i], 0, 1, (int64_t[]){1}, &good, 4);
        expect(SLM_ERR_MISMATCH, "rope_factors_long", "both or none");
    }
    for (int which = 0; which < 2; which++) {
        for (size_t i = 0; i < SLM_COUNT(bad); i++) {
            without("");
            for (int k = 0; k < 2; k++)
                gb_tensor(&b, names[k], 0, 1, (int64_t[]){1}, k == which ? &bad[i] : &good, 4);
            expect(SLM_ERR_RANGE, names[which], "byte");
        }
    }
    without("");
    for (int k = 0; k < 2; k++) gb_tensor(&b, names[k], 0, 1, (int64_t[]){1}, &good, 4);
    expect(SLM_OK, "", "");
}
END_TEST

START_TEST(test_fault_33_context_length) {
    expect_u32("llama.context_length", 0, SLM_ERR_RANGE, "byte");
    expect_u32("llama.context_length", UINT32_MAX, SLM_ERR_RANGE, "byte");
    expect_u32("llama.context_length", (1u << 27) + 1, SLM_ERR_RANGE, "byte");
    without("llama.context_length");
    gb_u64(&b, "llama.context_length", (uint64_t)1 << 32);
    expect(SLM_ERR_RANGE, "llama.context_length", "4.29497e+09");
    without("llama.context_length");
    gb_u64(&b, "llama.context_length", ((uint64_t)1 << 32) + 64); /* not 64 */
    expect(SLM_ERR_RANGE, "llama.context_length", "byte");
    without("llama.context_length");
    expect(SLM_ERR_MISMATCH, "llama.context_length", "missing");
    expect_u32("llama.context_length", 1, SLM_OK, "");
    expect_u32("llama.context_length", 1u << 27, SLM_OK, "");
}
END_TEST

/* The longest context of a model with many wide heads: a KV cache of more bytes than 2^46 is refused, and what is
 * accepted is told in full. */
START_TEST(test_fault_33_kv_size_multiplied_checked) {
    smallest_model(&b, &(smallest_params){.n_embd = 512,
                                          .n_head = 128,
                                          .n_head_kv = 128,
                                          .n_layer = 4,
                                          .without = {"llama.context_length"}});
    gb_u32(&b, "llama.context_length", 1u << 27);
    size_t n, bytes = 1;
    const void *file = gb_finish(&b, &n);
    slm_model *m;
    ck_assert_msg(slm_model_open_memory(file, n, NULL, &m, &err) == SLM_OK, "%s", err.message);
    slm_context_params p = slm_context_defaults();
    p.n_threads = 1;
    ck_assert_int_eq(slm_context_memory(m, &p, &bytes, &err), SLM_OK);
    /* keys in heads of 4, values in heads of 16, f16 */
    ck_assert_uint_ge(bytes, ((uint64_t)1 << 27) * 128 * 4 * (4 + 16) * 2);
    p.kv_type = SLM_KV_F32;
    p.n_seq_max = 65536;
    p.n_ctx = 1 << 27;
    slm_context *ctx = (slm_context *)&b;
    slm_status s = slm_context_memory(m, &p, &bytes, &err);
    ck_assert(s == SLM_ERR_LIMIT ||
              (s == SLM_OK && bytes > ((uint64_t)1 << 27) * 128 * 4 * 20 * 4));
    check_alloc counts = {.limit = 1 << 20};
    p.allocator = check_allocator(&counts);
    s = slm_context_create(m, &p, &ctx, &err);
    ck_assert(s == SLM_ERR_LIMIT || s == SLM_ERR_NOMEM);
    ck_assert_ptr_null(ctx);
    strict_message(&err, s);
    ck_assert_int_eq(counts.n_live, 0);
    slm_model_close(m);
}
END_TEST

START_TEST(test_fault_34_experts_used_more_than_there_are) {
    static const struct {
        uint32_t n, used;
        slm_status status;
        const char *says;
    } cases[] = {{0, 1, SLM_ERR_RANGE, "1 of 0 experts"},
                 {4, 5, SLM_ERR_RANGE, "5 of 4 experts"},
                 {4, UINT32_MAX, SLM_ERR_RANGE, "expert_used_count"},
                 {UINT32_MAX, 1, SLM_ERR_RANGE, "expert_count"},
                 {4, 2, SLM_ERR_UNSUPPORTED, "4 experts"},
                 {0, 0, SLM_OK, ""}};
    for (size_t i = 0; i < SLM_COUNT(cases); i++) {
        without("");
        gb_u32(&b, "llama.expert_count", cases[i].n);
        gb_u32(&b, "llama.expert_used_count", cases[i].used);
        expect(cases[i].status, "", cases[i].says);
    }
}
END_TEST

/* ---- Tensors ---- */

static const struct {
    const char *name;
    uint32_t columns, rows; /* 0: a vector */
    bool optional;
} tensors[] = {
    {"token_embd.weight", 4, 8, false},      {"output_norm.weight", 4, 0, false},
    {"output.weight", 4, 8, true},           {"rope_freqs.weight", 1, 0, true},
    {"blk.0.attn_norm.weight", 4, 0, false}, {"blk.0.attn_q.weight", 4, 4, false},
    {"blk.0.attn_q.bias", 4, 0, true},       {"blk.0.attn_k.weight", 4, 2, false},
    {"blk.0.attn_k.bias", 2, 0, true},       {"blk.0.attn_v.weight", 4, 2, false},
    {"blk.0.attn_v.bias", 2, 0, true},       {"blk.0.attn_output.weight", 4, 4, false},
    {"blk.0.attn_output.bias", 4, 0, true},  {"blk.0.ffn_norm.weight", 4, 0, false},
    {"blk.0.ffn_gate.weight", 4, 6, false},  {"blk.0.ffn_up.weight", 4, 6, false},
    {"blk.0.ffn_down.weight", 6, 4, false},
};

static void without_tensor(size_t i) {
    smallest_model(&b, &(smallest_params){.all_tensors = 1, .without = {tensors[i].name}});
}

/* More or fewer tokens than the embedding has rows. */
START_TEST(test_fault_38_tokens_and_rows_of_the_embedding) {
    static const char *const tokens[] = {"a",        "b",   "c",    "ab", "abc",
                                         "\xc4\xa0", "<s>", "</s>", "d",  "e"};
    static const int32_t types[10] = {1, 1, 1, 1, 1, 1, 3, 3, 1, 1};
    for (uint64_t n = SMALLEST_VOCAB - 1; n <= SMALLEST_VOCAB + 2; n++) {
        char expected[40];
        snprintf(expected, sizeof expected, "expected [4, %d]", (int)n);
        smallest_model(
            &b, &(smallest_params){.without = {"tokenizer.ggml.tokens", "tokenizer.ggml.token_type",
                                               "tokenizer.ggml.eos_token_id"}});
        gb_str_array(&b, "tokenizer.ggml.tokens", tokens, n);
        gb_array(&b, "tokenizer.ggml.token_type", GB_I32, types, n);
        if (n == SMALLEST_VOCAB)
            expect(SLM_OK, "", "");
        else
            expect(SLM_ERR_MISMATCH, "token_embd.weight", expected);
    }
}
END_TEST

/* Loop test: one tensor each. */
START_TEST(test_fault_35_tensor_missing_or_of_wrong_shape_or_type) {
    const char *name = tensors[_i].name;
    uint32_t columns = tensors[_i].columns, rows = tensors[_i].rows;
    char expected[64];
    snprintf(expected, sizeof expected, "expected [%u, %u]", columns, rows ? rows : 1);

    without_tensor((size_t)_i);
    if (tensors[_i].optional)
        expect(SLM_OK, "", "");
    else
        expect(SLM_ERR_MISMATCH, name, "missing");

    const uint32_t shapes[][2] = {
        {columns + 1, rows}, {columns, rows + 2}, {columns * 2, rows}, {rows + 7, columns}};
    for (size_t j = 0; j < SLM_COUNT(shapes); j++) {
        without_tensor((size_t)_i);
        smallest_tensor(&b, name, 0, shapes[j][0], shapes[j][1]);
        expect(SLM_ERR_MISMATCH, name, expected);
        char got[64];
        snprintf(got, sizeof got, "shape [%u, %u, 1, 1]", shapes[j][0],
                 shapes[j][1] ? shapes[j][1] : 1);
        ck_says(got);
        ck_says("byte");
    }
    static const float zeros[256] = {0};
    for (int d = 2; d < 4; d++) { /* a third or fourth dimension */
        int64_t dims[4] = {columns, rows ? rows : 1, 1, 1};
        dims[d] = 2;
        without_tensor((size_t)_i);
        gb_tensor(&b, name, 0, 4, dims, zeros, (size_t)columns * (rows ? rows : 1) * 8);
        expect(SLM_ERR_MISMATCH, name, expected);
    }
    without_tensor((size_t)_i);
    smallest_tensor(&b, name, 1, columns, rows); /* F16: good for a matrix */
    if (rows)
        expect(SLM_OK, "", "");
    else
        expect(SLM_ERR_MISMATCH, name, "type F16, expected F32");
}
END_TEST

START_TEST(test_fault_35_tensor_that_nobody_uses) {
    static const char *const names[] = {"blk.0.attn_q_norm.weight", "blk.0.ffn_gate_inp.weight",
                                        "blk.1.ffn_up.weight",      "blk.00.attn_q.weight",
                                        "token_embd.bias",          "x"};
    for (size_t i = 0; i < SLM_COUNT(names); i++) {
        without("");
        smallest_tensor(&b, names[i], 0, 4, 4);
        expect(SLM_ERR_MISMATCH, names[i], "no part of a llama model");
        ck_says("byte");
    }
}
END_TEST

/* ---- Weights ---- */

/* Loop test: one type each. The scale of the last block of a long row becomes NaN, then infinite; for types without
 * scale, a weight. Where the bytes of a scale lie: at the start of the block, or at its end. */
START_TEST(test_fault_36_weights_not_finite) {
    const slm_type_info *info = &slm__type_info[_i];
    static const uint8_t bad[2][2] = {{0x00, 0x7e}, {0x00, 0x7c}}; /* f16 NaN, inf */
    static const uint8_t bad_bf16[2][2] = {{0xc0, 0x7f}, {0x80, 0x7f}};
    static const uint8_t bad_f32[2][4] = {{0, 0, 0xc0, 0x7f}, {0, 0, 0x80, 0xff}};
    const bool at_end[SLM_N_TYPES] = {[SLM_Q2_K] = true, [SLM_Q3_K] = true, [SLM_Q6_K] = true};
    const char *name = "blk.0.ffn_down.weight";
    uint32_t n_ff = 17 * 256,
             blocks = n_ff / info->block_weights; /* more than are looked at together */
    for (int which = 0; which < 2; which++) {
        smallest_model(&b, &(smallest_params){.n_ff = n_ff, .without = {name}});
        smallest_tensor(&b, name, info->gguf_id, n_ff, 4);
        ck_assert_msg(open_built(true) == SLM_OK, "%s: %s", info->name, err.message);
        size_t block = ((size_t)3 * blocks - 1) * info->block_bytes; /* the last of row 2 */
        uint8_t *tensor = b.tensors.data + b.tensors.n - (size_t)4 * blocks * info->block_bytes;
        uint8_t *scale = tensor + block + (at_end[_i] ? info->block_bytes - 2 : 0);
        if (_i == SLM_F32)
            memcpy(scale, bad_f32[which], 4);
        else if (_i == SLM_MXFP4)
            scale[0] = 255; /* the one that is no number */
        else
            memcpy(scale, _i == SLM_BF16 ? bad_bf16[which] : bad[which], 2);
        ck_assert_int_eq(open_built(false), SLM_OK); /* not looked at unless asked */
        ck_assert_int_eq(open_built(true), SLM_ERR_NUMERIC);
        char says[128];
        size_t byte = b.file.n - (size_t)4 * blocks * info->block_bytes + block;
        snprintf(says, sizeof says, "tensor %s, row 2, byte %zu: weight ", name, byte);
        ck_says(says);
        ck_assert_int_ge(atoi(strstr(err.message, "weight ") + 7), 0);
    }
}
END_TEST

START_TEST(test_fault_36_norm_not_finite) {
    static const char *const names[] = {"output_norm.weight", "blk.0.attn_norm.weight",
                                        "blk.0.ffn_norm.weight"};
    for (size_t i = 0; i < SLM_COUNT(names); i++) {
        without(names[i]);
        gb_tensor(&b, names[i], 0, 1, (int64_t[]){4}, (float[]){1, 2, i == 1 ? -INFINITY : NAN, 1},
                  16);
        ck_assert_int_eq(open_built(true), SLM_ERR_NUMERIC);
        ck_says(names[i]);
        ck_says("row 0");
        ck_says("weight 2");
    }
}
END_TEST

static bool go_on(void *user, float done) {
    float *last = user;
    ck_assert(done >= *last && done <= 1);
    *last = done;
    return true;
}

static bool stop(void *user, float done) { return go_on(user, done) && done < 0.5f; }

START_TEST(test_checking_weights_can_be_cancelled) {
    without("");
    size_t n;
    const void *file = gb_finish(&b, &n);
    slm_model *m = (slm_model *)&b;
    float last = 0;
    slm_model_params p = slm_model_defaults();
    p.check_weights = true;
    p.progress = stop;
    p.progress_user = &last;
    ck_assert_int_eq(slm_model_open_memory(file, n, &p, &m, &err), SLM_ERR_CANCELLED);
    ck_assert_ptr_null(m);
    strict_message(&err, SLM_ERR_CANCELLED);
    ck_assert(last >= 0.5f && last < 0.8f);
    p.progress = go_on;
    last = 0;
    ck_assert_int_eq(slm_model_open_memory(file, n, &p, &m, &err), SLM_OK);
    ck_assert(last == 1);
    slm_model_close(m);
}
END_TEST

/* A codebook index outside of its table: no type of this version has a codebook, but every type has codes, and scales of
 * 4, 6 or 8 bits. Whatever they are, exactly the block is read and exactly its weights are written: the block ends, and
 * its weights end, at a page that may not be touched. Loop test: one type each, in all levels of kernels. */
START_TEST(test_fault_37_any_bits_of_a_block_stay_in_bounds) {
    const slm_type_info *info = &slm__type_info[_i];
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *in = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t *out = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(in != MAP_FAILED && out != MAP_FAILED);
    ck_assert_int_eq(mprotect(in + page, page, PROT_READ | PROT_WRITE), 0);
    ck_assert_int_eq(mprotect(out + page, page, PROT_READ | PROT_WRITE), 0);
    uint32_t weights = info->block_weights < 16 ? 16 : info->block_weights;
    size_t bytes = weights / info->block_weights * info->block_bytes;
    uint8_t *block = in + 2 * page - bytes;
    float *w = (float *)(void *)(out + 2 * page - weights * sizeof(float));
    uint64_t state = 37;
    const slm_kernels *k, *c = slm__kernels_level(0);
    for (int32_t level = 0; (k = slm__kernels_level(level)) != NULL; level++) {
        for (int round = 0; round < 2000; round++) {
            for (size_t j = 0; j < bytes; j++) {
                state = state * 6364136223846793005u + 1442695040888963407u;
                /* each byte value in every place, then random ones */
                block[j] = round < 256 ? (uint8_t)round : (uint8_t)(state >> 56);
            }
            float expected[256];
            c->dequantize[_i](block, weights, expected);
            memset(w, 0xaa, weights * sizeof(float));
            k->dequantize[_i](block, weights, w);
            bool same = true;
            for (uint32_t j = 0; j < weights; j++)
                same &= isnan(expected[j]) ? isnan(w[j]) != 0 : expected[j] == w[j];
            ck_assert_msg(same && w[-1] == 0, "%s %s, round %d", k->name, info->name, round);
        }
    }
    munmap(in, 3 * page);
    munmap(out, 3 * page);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("model_faults");
    TCase *c = tcase_create("model_faults");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, NULL, teardown);
    tcase_add_test(c, test_the_smallest_models_are_good);
    tcase_add_test(c, test_numbers_are_read_and_completed);
    tcase_add_test(c, test_rope_scaling_of_every_kind);
    tcase_add_test(c, test_fault_27_architecture_missing_or_unknown);
    tcase_add_test(c, test_fault_28_head_counts);
    tcase_add_test(c, test_fault_29_block_count);
    tcase_add_test(c, test_fault_30_sizes_disagree_with_tensors);
    tcase_add_test(c, test_fault_31_array_for_layers_too_short);
    tcase_add_test(c, test_fault_32_rope_base_eps_scale);
    tcase_add_test(c, test_fault_32_windows_and_original_context);
    tcase_add_test(c, test_fault_35_factors_for_short_and_long_contexts);
    tcase_add_test(c, test_fault_33_context_length);
    tcase_add_test(c, test_fault_33_kv_size_multiplied_checked);
    tcase_add_test(c, test_fault_34_experts_used_more_than_there_are);
    tcase_add_test(c, test_fault_38_tokens_and_rows_of_the_embedding);
    tcase_add_loop_test(c, test_fault_35_tensor_missing_or_of_wrong_shape_or_type, 0,
                        (int)SLM_COUNT(tensors));
    tcase_add_test(c, test_fault_35_tensor_that_nobody_uses);
    tcase_add_loop_test(c, test_fault_36_weights_not_finite, 0, SLM_N_TYPES);
    tcase_add_test(c, test_fault_36_norm_not_finite);
    tcase_add_test(c, test_checking_weights_can_be_cancelled);
    tcase_add_loop_test(c, test_fault_37_any_bits_of_a_block_stay_in_bounds, 0, SLM_N_TYPES);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
