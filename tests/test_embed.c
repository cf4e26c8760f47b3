/* Vectors of texts: which tokens they are of, their bits whatever computes them, and what slm_embed() refuses. That their numbers are
 * right for every architecture is tested in test_families.c. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../libslm/model.h"
#include "support/check_alloc.h"
#include "support/forward_case.h"
#include "support/plain_forward.h"
#include "support/suite.h"

enum { N_VOCAB = 260, N_EMBD = 64, N_TOKENS = 140, N_CTX = 300 };

static const tiny_key keys[] = {{"attention.sliding_window", 33, false}, {0}};
#define SIZES .n_vocab = N_VOCAB, .n_embd = N_EMBD, .n_head = 4, .n_head_kv = 2, .n_ff = 96
static const tiny_shape shapes[] = {
    {SIZES, .n_layer = 2, .types = {SLM_Q8_0, SLM_Q4_0}, .n_types = 2, .seed = 61},
    {SIZES, .arch = "gemma3", .n_layer = 7, .post_norms = true, .qk_norm = true, .keys = keys,
     .seed = 62},
    {SIZES, .n_layer = 2, .seed = 63}, /* weights are floats, the first tensor the embedding */
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes, FLOATS = 2 };
static const slm_pooling poolings[] = {SLM_POOL_MEAN, SLM_POOL_LAST};

typedef float vector[N_EMBD];
static slm_error err;

static slm_token text[N_TOKENS];
static void setup(void) { fill_tokens(text, N_TOKENS, N_VOCAB); }

static slm_context_params params(void) {
    slm_context_params p = slm_context_defaults();
    p.n_ctx = N_CTX;
    p.n_seq_max = 3;
    p.n_batch = 32;
    p.n_threads = 2;
    return p;
}

static slm_context *create(const slm_model *m, const slm_context_params *p) {
    slm_context *ctx;
    ck_assert_msg(slm_context_create(m, p, &ctx, &err) == SLM_OK, "%s", err.message);
    return ctx;
}

static slm_batch batch_of(const slm_token *tokens, int32_t n, const int32_t *sequences) {
    return (slm_batch){
        .size = sizeof(slm_batch), .n_tokens = n, .tokens = tokens, .sequences = sequences};
}

static void empty(slm_context *ctx) {
    for (int32_t s = 0; slm_seq_length(ctx, s) >= 0; s++)
        ck_assert_int_eq(slm_seq_truncate(ctx, s, 0, &err), SLM_OK);
}

static void expect_equal(const float *a, const float *b) {
    ck_assert_int_eq(memcmp(a, b, sizeof(vector)), 0);
}

/* ---- Bits ---- */

START_TEST(test_fault_92_same_bits_for_levels_threads_and_splits) {
    static const int32_t n_batches[] = {256, 64, 17, 1};
    fixture f = open_tiny(&shapes[_i]);
    vector want[2], got;
    slm_context *plain = new_context(f.model, "c", 1, 256, SLM_KV_F16);
    for (int i = 0; i < 2; i++) embed(plain, text, N_TOKENS, poolings[i], want[i]);
    slm_context_free(plain);
    ck_assert_int_ne(memcmp(want[0], want[1], sizeof(vector)), 0);
    const char *cpu;
    for (int32_t l = 0; (cpu = slm_cpu_level(l)); l++) {
        for (int k = 0; k < 4; k++) {
            slm_context *ctx = new_context(f.model, cpu, 1 + k, n_batches[k], SLM_KV_F16);
            for (int i = 0; i < 2; i++) {
                embed(ctx, text, N_TOKENS, poolings[i], got);
                expect_equal(got, want[i]);
            }
            slm_context_free(ctx);
        }
    }
    close_tiny(f);
}
END_TEST

/* Three texts whose tokens are mixed in every way give what each gives alone, in the order of their sequences. */
START_TEST(test_fault_92_neighbours_in_the_batch) {
    static const int32_t lengths[] = {70, 1, 35};
    enum { ALL = 70 + 1 + 35 };
    fixture f = open_tiny(&shapes[_i]);
    slm_context_params p = params();
    slm_context *ctx = create(f.model, &p);
    vector want[2][3], got[3];
    for (int i = 0; i < 2; i++)
        for (int s = 0; s < 3; s++) embed(ctx, text + 10 * s, lengths[s], poolings[i], want[i][s]);
    uint64_t random = 5;
    for (int round = 0; round < 6; round++) {
        slm_token tokens[ALL];
        int32_t sequences[ALL], used[3] = {0};
        for (int n = 0; n < ALL;) {
            int32_t s = (int32_t)(tiny_random(&random) % 3);
            if (used[s] == lengths[s]) continue;
            tokens[n] = text[10 * s + used[s]++];
            sequences[n++] = s;
        }
        slm_batch b = batch_of(tokens, ALL, sequences);
        ck_assert_int_eq(slm_embed(ctx, &b, poolings[round % 2], got[0], &err), SLM_OK);
        for (int s = 0; s < 3; s++) expect_equal(got[s], want[round % 2][s]);
        empty(ctx);
    }
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

/* ---- What is pooled, and where it goes ---- */

START_TEST(test_length_is_one) {
    fixture f = open_tiny(&shapes[_i]);
    slm_context_params p = params();
    slm_context *ctx = create(f.model, &p);
    for (int32_t n = 1; n <= N_TOKENS; n += 23) {
        for (int i = 0; i < 2; i++) {
            vector v;
            double squares = 0;
            embed(ctx, text, n, poolings[i], v);
            for (int k = 0; k < N_EMBD; k++) squares += (double)v[k] * v[k];
            ck_assert_double_eq_tol(squares, 1, 1e-6);
        }
    }
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

START_TEST(test_rows_are_of_the_sequences_in_the_batch) {
    fixture f = open_tiny(&shapes[_i]);
    slm_context_params p = params();
    slm_context *ctx = create(f.model, &p);
    vector zero, two, got[3];
    embed(ctx, text, 1, SLM_POOL_MEAN, zero);
    embed(ctx, text + 1, 2, SLM_POOL_MEAN, two);
    slm_token tokens[] = {text[1], text[0], text[2]};
    int32_t sequences[] = {2, 0, 2};
    slm_batch b = batch_of(tokens, 3, sequences);
    for (int k = 0; k < N_EMBD; k++) got[2][k] = 7;
    ck_assert_int_eq(slm_embed(ctx, &b, SLM_POOL_MEAN, got[0], &err), SLM_OK);
    expect_equal(got[0], zero);
    expect_equal(got[1], two);
    for (int k = 0; k < N_EMBD; k++) ck_assert(got[2][k] == 7);
    ck_assert(slm_seq_length(ctx, 0) == 1 && slm_seq_length(ctx, 1) == 0 &&
              slm_seq_length(ctx, 2) == 2);
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

/* Tokens that the sequence held before are seen, not pooled: against double precision, and whether a fork shares them or not. */
START_TEST(test_only_the_tokens_of_the_batch_are_pooled) {
    enum { PREFIX = 70, REST = N_TOKENS - PREFIX };
    fixture f = open_tiny(&shapes[FLOATS]);
    slm_context_params p = params();
    p.kv_type = SLM_KV_F32;
    slm_context *ctx = create(f.model, &p);
    int32_t ones[REST], mixed[REST];
    for (int i = 0; i < REST; i++) ones[i] = 1, mixed[i] = 1 + i % 2;
    slm_batch whole = batch_of(text + PREFIX, REST, NULL),
              forked = batch_of(text + PREFIX, REST, ones),
              two = batch_of(text + PREFIX, REST, mixed);
    static double states[N_TOKENS * N_EMBD];
    double want[N_EMBD], squares = 0;
    plain_states(f.model, NULL, text, N_TOKENS, states);
    for (int k = 0; k < N_EMBD; k++) {
        want[k] = 0;
        for (int t = PREFIX; t < N_TOKENS; t++) want[k] += states[t * N_EMBD + k];
        squares += want[k] * want[k];
    }
    for (int k = 0; k < N_EMBD; k++) want[k] /= sqrt(squares);
    vector alone, shared, many[2];
    decode(ctx, text, PREFIX);
    for (int s = 1; s < 3; s++) ck_assert_int_eq(slm_seq_fork(ctx, 0, s, PREFIX, &err), SLM_OK);
    ck_assert_int_eq(slm_embed(ctx, &whole, SLM_POOL_MEAN, alone, &err), SLM_OK);
    ck_assert_double_lt(distance(alone, want, N_EMBD), 1e-4);
    ck_assert_int_eq(slm_embed(ctx, &forked, SLM_POOL_MEAN, shared, &err), SLM_OK);
    expect_equal(shared, alone);
    /* two texts behind one prefix, in one batch: the second has every other token */
    ck_assert_int_eq(slm_seq_truncate(ctx, 1, PREFIX, &err), SLM_OK);
    ck_assert_int_eq(slm_embed(ctx, &two, SLM_POOL_MEAN, many[0], &err), SLM_OK);
    empty(ctx);
    decode(ctx, text, PREFIX);
    slm_token odd[REST / 2];
    for (int i = 0; i < REST / 2; i++) odd[i] = text[PREFIX + 2 * i + 1];
    slm_batch second = batch_of(odd, REST / 2, NULL);
    ck_assert_int_eq(slm_embed(ctx, &second, SLM_POOL_MEAN, alone, &err), SLM_OK);
    expect_equal(many[1], alone);
    ck_assert_int_ne(memcmp(many[0], many[1], sizeof(vector)), 0);
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

/* ---- The sequences afterwards ---- */

START_TEST(test_the_sequence_goes_on_as_after_decode) {
    enum { FIRST = 100 };
    fixture f = open_tiny(&shapes[_i]);
    slm_context_params p = params();
    slm_context *ctx = create(f.model, &p), *plain = create(f.model, &p);
    uint8_t want_all[FIRST];
    vector v, again;
    memset(want_all, 1, sizeof want_all);
    slm_batch b = batch_of(text, FIRST, NULL);
    embed(ctx, text, FIRST, SLM_POOL_MEAN, v);
    decode(plain, text, FIRST);
    decode(ctx, text, 1); /* rows that must not be left */
    empty(ctx);
    b.want_logits = want_all; /* more than n_logits, which does not matter */
    ck_assert_int_eq(slm_embed(ctx, &b, SLM_POOL_MEAN, again, &err), SLM_OK);
    expect_equal(again, v);
    ck_assert_ptr_null(slm_logits(ctx, 0));
    ck_assert_int_eq(slm_seq_length(ctx, 0), FIRST);
    decode(ctx, text + FIRST, N_TOKENS - FIRST);
    decode(plain, text + FIRST, N_TOKENS - FIRST);
    ck_assert_int_eq(memcmp(slm_logits(ctx, 0), slm_logits(plain, 0), N_VOCAB * sizeof(float)), 0);
    slm_context_free(ctx), slm_context_free(plain);
    close_tiny(f);
}
END_TEST

START_TEST(test_nothing_is_allocated) {
    fixture f = open_tiny(&shapes[0]);
    check_alloc counter = {0};
    slm_context_params p = params();
    p.allocator = check_allocator(&counter);
    size_t said;
    ck_assert_int_eq(slm_context_memory(f.model, &p, &said, &err), SLM_OK);
    slm_context *ctx = create(f.model, &p);
    ck_assert_uint_eq(counter.peak, said);
    long calls = counter.n_calls;
    vector v;
    for (int i = 0; i < 2; i++) embed(ctx, text, N_TOKENS, poolings[i], v);
    ck_assert_int_eq(counter.n_calls, calls);
    slm_context_free(ctx);
    ck_assert_int_eq(counter.n_live, 0);
    close_tiny(f);
}
END_TEST

/* ---- What is refused ---- */

START_TEST(test_fault_66_67_arguments) {
    fixture f = open_tiny(&shapes[0]);
    slm_context_params p = params();
    slm_context *ctx = create(f.model, &p);
    vector v = {7}, before = {7};
    slm_token tokens[] = {1, 2};
    int32_t sequences[] = {0, 3}, positions[] = {0, 2};
    slm_batch b = batch_of(tokens, 2, NULL);
    ASSERT_FAILS(slm_embed(NULL, &b, SLM_POOL_MEAN, v, &err), SLM_ERR_ARGUMENT, "context");
    ASSERT_FAILS(slm_embed(ctx, NULL, SLM_POOL_MEAN, v, &err), SLM_ERR_ARGUMENT, "batch");
    ASSERT_FAILS(slm_embed(ctx, &b, SLM_POOL_MEAN, NULL, &err), SLM_ERR_ARGUMENT, "out");
    ck_assert_int_eq(slm_embed(ctx, &b, SLM_POOL_MEAN, NULL, NULL), SLM_ERR_ARGUMENT);
    ASSERT_FAILS(slm_embed(ctx, &b, (slm_pooling)2, v, &err), SLM_ERR_RANGE, "pooling is 2");
    ASSERT_FAILS(slm_embed(ctx, &b, (slm_pooling)-1, v, &err), SLM_ERR_RANGE, "pooling is");
    b.size--;
    ASSERT_FAILS(slm_embed(ctx, &b, SLM_POOL_MEAN, v, &err), SLM_ERR_ARGUMENT, "size");
    b.size++;
    b.n_tokens = 0;
    ASSERT_FAILS(slm_embed(ctx, &b, SLM_POOL_MEAN, v, &err), SLM_ERR_RANGE, "0 tokens");
    b.n_tokens = 2;
    b.sequences = sequences;
    ASSERT_FAILS(slm_embed(ctx, &b, SLM_POOL_MEAN, v, &err), SLM_ERR_RANGE, "sequence 3");
    b.sequences = NULL;
    b.positions = positions;
    ASSERT_FAILS(slm_embed(ctx, &b, SLM_POOL_MEAN, v, &err), SLM_ERR_RANGE, "position 2");
    b.positions = NULL;
    tokens[1] = N_VOCAB;
    ASSERT_FAILS(slm_embed(ctx, &b, SLM_POOL_MEAN, v, &err), SLM_ERR_RANGE, "token 1");
    expect_equal(v, before);
    ck_assert_int_eq(slm_seq_length(ctx, 0), 0);
    decode(ctx, text, 5); /* and computes logits, as ever */
    ck_assert_ptr_nonnull(slm_logits(ctx, 0));
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

START_TEST(test_fault_73_context_full) {
    fixture f = open_tiny(&shapes[0]);
    slm_context_params p = params();
    p.n_ctx = 100;
    slm_context *ctx = create(f.model, &p);
    vector v = {7}, before = {7};
    slm_batch b = batch_of(text, 101, NULL);
    ASSERT_FAILS(slm_embed(ctx, &b, SLM_POOL_MEAN, v, &err), SLM_ERR_CONTEXT_FULL, "100 of 100");
    expect_equal(v, before);
    ck_assert_int_eq(slm_seq_length(ctx, 0), 0);
    embed(ctx, text, 100, SLM_POOL_MEAN, v);
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

typedef struct stop_after {
    int calls, stop_at;
    float last;
    slm_context *ctx;
    slm_status inner[2];
} stop_after;

static bool stop(void *user, float done) {
    stop_after *s = user;
    ck_assert_msg(done >= s->last && done <= 1, "%g after %g", (double)done, (double)s->last);
    s->last = done;
    return ++s->calls < s->stop_at;
}

START_TEST(test_fault_72_cancelled_at_any_call) {
    fixture f = open_tiny(&shapes[0]);
    slm_context_params p = params();
    slm_context *plain = create(f.model, &p);
    vector want, v;
    float row[N_VOCAB];
    embed(plain, text, 100, SLM_POOL_MEAN, want);
    decode(plain, text, 100);
    memcpy(row, slm_logits(plain, 0), sizeof row);
    slm_context_free(plain);
    stop_after s = {0};
    p.progress = stop;
    p.progress_user = &s;
    slm_context *ctx = create(f.model, &p);
    slm_batch b = batch_of(text, 100, NULL);
    for (s.stop_at = 1;; s.stop_at++) {
        s.calls = 0, s.last = 0;
        empty(ctx);
        slm_status status = slm_embed(ctx, &b, SLM_POOL_MEAN, v, &err);
        if (status == SLM_OK) break;
        ck_assert_int_eq(status, SLM_ERR_CANCELLED);
        int32_t held = slm_seq_length(ctx, 0);
        ck_assert_msg(held % 32 == 0 && held < 100, "%d tokens held", held); /* whole parts */
        s.calls = -1000000, s.last = 0;
        decode(ctx, text + held, 100 - held);
        ck_assert_int_eq(memcmp(slm_logits(ctx, 0), row, sizeof row), 0);
    }
    expect_equal(v, want);
    ck_assert_int_gt(s.stop_at, 4);
    ck_assert_float_gt(s.last, 0.9f);
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

static bool call_again(void *user, float done) {
    (void)done;
    stop_after *s = user;
    vector v;
    slm_batch b = batch_of(text, 1, NULL);
    s->inner[0] = slm_embed(s->ctx, &b, SLM_POOL_LAST, v, NULL);
    s->inner[1] = slm_decode(s->ctx, &b, NULL);
    return true;
}

START_TEST(test_fault_71_busy) {
    fixture f = open_tiny(&shapes[0]);
    slm_context_params p = params();
    stop_after s = {0};
    slm_context *plain = create(f.model, &p);
    p.progress = call_again;
    p.progress_user = &s;
    s.ctx = create(f.model, &p);
    vector want, v;
    embed(plain, text, 50, SLM_POOL_MEAN, want);
    embed(s.ctx, text, 50, SLM_POOL_MEAN, v);
    ck_assert(s.inner[0] == SLM_ERR_BUSY && s.inner[1] == SLM_ERR_BUSY);
    expect_equal(v, want);
    s = (stop_after){.ctx = s.ctx};
    decode(s.ctx, text, 1);
    ck_assert(s.inner[0] == SLM_ERR_BUSY && s.inner[1] == SLM_ERR_BUSY);
    slm_context_free(s.ctx), slm_context_free(plain);
    close_tiny(f);
}
END_TEST

/* An embedding with a NaN, or of zeros only, which the network leaves as it is: the sequence that meets it is told. */
START_TEST(test_fault_90_no_vector_for_one_sequence) {
    fixture f = {0};
    size_t n;
    tiny_model(&f.b, &shapes[FLOATS]);
    float *row = (float *)(void *)(f.b.tensors.data + 9 * N_EMBD * sizeof(float));
    for (int k = 0; k < N_EMBD; k++) row[k] = _i == 0 ? NAN : 0;
    const void *file = gb_finish(&f.b, &n);
    ck_assert_int_eq(slm_model_open_memory(file, n, NULL, &f.model, &err), SLM_OK);
    slm_context_params p = params();
    slm_context *ctx = create(f.model, &p);
    vector alone, got[3];
    static const slm_token tokens[] = {10, 9, 11};
    static const int32_t sequences[] = {0, 1, 2};
    slm_batch b = batch_of(tokens, 3, sequences);
    for (int i = 0; i < 2; i++) {
        ASSERT_FAILS(slm_embed(ctx, &b, poolings[i], got[0], &err), SLM_ERR_NUMERIC, "sequence 1");
        for (int s = 0; s < 3; s++) ck_assert_int_eq(slm_seq_length(ctx, s), 1);
        for (int k = 0; k < N_EMBD; k++) ck_assert(got[1][k] == 0);
        empty(ctx);
        for (int s = 0; s < 3; s += 2) {
            embed(ctx, tokens + s, 1, poolings[i], alone);
            expect_equal(got[s], alone);
        }
    }
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("embed");
    TCase *c = tcase_create("embed");
    tcase_set_timeout(c, 300);
    tcase_add_checked_fixture(c, setup, NULL);
    tcase_add_loop_test(c, test_fault_92_same_bits_for_levels_threads_and_splits, 0, N_SHAPES);
    tcase_add_loop_test(c, test_fault_92_neighbours_in_the_batch, 0, N_SHAPES);
    tcase_add_loop_test(c, test_length_is_one, 0, N_SHAPES);
    tcase_add_loop_test(c, test_rows_are_of_the_sequences_in_the_batch, 0, N_SHAPES);
    tcase_add_test(c, test_only_the_tokens_of_the_batch_are_pooled);
    tcase_add_loop_test(c, test_the_sequence_goes_on_as_after_decode, 0, N_SHAPES);
    tcase_add_test(c, test_nothing_is_allocated);
    tcase_add_test(c, test_fault_66_67_arguments);
    tcase_add_test(c, test_fault_73_context_full);
    tcase_add_test(c, test_fault_72_cancelled_at_any_call);
    tcase_add_test(c, test_fault_71_busy);
    tcase_add_loop_test(c, test_fault_90_no_vector_for_one_sequence, 0, 2);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
