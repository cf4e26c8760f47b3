/* Speculation where something fails: the status of plain decoding, and afterwards its tokens. */
#include <math.h>
#include <stdlib.h>

#include "support/check_alloc.h"
#include "support/spec_case.h"
#include "support/tiny_model.h"

/* ---- Faults ---- */

/* The float model of `seed` in place of t->model, after a change: NaN in the embedding of a token, or a huge weight in its row of
 * the output matrix, which makes its logits infinite. */
static void break_model(made *m, task *t, uint64_t seed, slm_token bad, float huge) {
    build(m, seed, true);
    if (huge != 0)
        output(m, bad)[5] = huge;
    else
        embedding(m, bad)[3] = NAN;
    open_made(m);
    t->model = m->model;
}

/* The token that the model, as it is at first, chooses after the prompt at `index`. */
static slm_token token_at(const task *t, const slm_model *model, int32_t index) {
    static text out;
    task first = *t;
    first.model = model;
    plain(&first, &out);
    ck_assert_int_gt(out.n, index);
    return out.tokens[index];
}

/* A token that is no number: drafted and not chosen, it hurts nobody; chosen, it fails where it would fail. */
START_TEST(test_fault_90_nan) {
    for (uint64_t seed = 1; seed <= 9; seed++) {
        made m;
        build(&m, 30 + seed, true);
        open_made(&m);
        task t = new_task(seed, 0);
        t.past_end = true;
        t.n = 60;
        bool by_other =
            seed % 3 == 0; /* who drafts the bad token, and the big model never chooses it */
        slm_token bad = token_at(&t, by_other ? other.model : m.model, by_other ? 0 : 40);
        close_made(&m);
        break_model(&m, &t, 30 + seed, bad, 0);
        t.draft = by_other ? other.model : seed % 3 == 1 ? m.model : NULL;
        if (t.draft) t.spec.n_match_max = 0;
        compare(&t);
        if (!by_other) ck_assert_int_eq(got.end, SLM_ERR_NUMERIC);
        close_made(&m);
    }
}
END_TEST

/* A logit of minus infinity is a mask to a sampler, and a fault to slm_decode(). */
START_TEST(test_fault_90_infinity) {
    int n_failed = 0;
    for (uint64_t seed = 1; seed <= 16; seed++) {
        made m;
        task t = new_task(seed, 2);
        break_model(&m, &t, 30 + seed, 77, seed % 2 ? 3e38f : -3e38f);
        t.past_end = true;
        t.n = 60;
        compare(&t);
        n_failed += got.end == SLM_ERR_NUMERIC;
        close_made(&m);
    }
    ck_assert_int_gt(n_failed, 4);
}
END_TEST

typedef struct stopper {
    int calls, stop_at; /* 0: never */
} stopper;

static bool stop(void *user, float done) {
    stopper *s = user;
    (void)done;
    return ++s->calls != s->stop_at;
}

START_TEST(test_fault_72_cancelled_at_any_call) {
    task t = new_task(9, 2);
    t.past_end = true;
    t.n = 24;
    plain(&t, &want);
    stopper stopped = {0};
    slm_context_params p = slm_context_defaults();
    p.n_ctx = 128;
    p.n_batch = 4; /* the prompt takes parts, drafts too */
    p.n_logits = 4;
    p.n_threads = 2;
    p.progress = stop;
    p.progress_user = &stopped;
    int n_cancelled = 0;
    for (int stop_at = 1;; stop_at++) {
        slm_speculator_params sp = slm_speculator_defaults();
        slm_context *ctx;
        slm_speculator *spec;
        slm_sampler *s = sampler_of(&t);
        GOOD(slm_context_create(big.model, &p, &ctx, &err));
        GOOD(slm_context_create(other.model, &p, &sp.draft, &err));
        sp.always = true;
        sp.n_match_max = stop_at % 2 ? 4 : 0;
        GOOD(slm_speculator_create(ctx, &sp, &spec, &err));
        GOOD(slm_speculator_accept(spec, t.prompt, t.n_prompt, &err));
        got = (text){0};
        stopped = (stopper){0, stop_at};
        go_on(&t, spec, s, &got);
        bool cancelled = got.end == SLM_ERR_CANCELLED;
        if (cancelled) go_on(&t, spec, s, &got); /* as if nothing had been */
        probe(s, &got);
        assert_same(&want, &got);
        slm_speculator_free(spec);
        slm_sampler_free(s);
        slm_context_free(sp.draft);
        slm_context_free(ctx);
        n_cancelled += cancelled;
        if (!cancelled) break;
    }
    ck_assert_int_gt(n_cancelled, 40);
}
END_TEST

START_TEST(test_fault_84_nth_allocation_fails) {
    task t = new_task(4, 2);
    plain(&t, &want);
    slm_context *ctx = context(big.model, &t, 9), *draft = context(other.model, &t, 1);
    for (long n = 1;; n++) {
        check_alloc counter = {.fail_at = n};
        slm_speculator_params p = slm_speculator_defaults();
        slm_speculator *spec;
        p.allocator = check_allocator(&counter);
        p.draft = draft;
        slm_status status = slm_speculator_create(ctx, &p, &spec, &err);
        if (status == SLM_OK) {
            ck_assert_int_gt(n, 4);
            long calls = counter.n_calls;
            slm_sampler *s = sampler_of(&t);
            GOOD(slm_speculator_accept(spec, t.prompt, t.n_prompt, &err));
            got = (text){0};
            go_on(&t, spec, s, &got);
            probe(s, &got);
            assert_same(&want, &got);
            ck_assert_int_eq(counter.n_calls, calls); /* nothing while it works */
            slm_sampler_free(s);
            slm_speculator_free(spec);
            ck_assert_int_eq(counter.n_live, 0);
            break;
        }
        ck_assert_int_eq(status, SLM_ERR_NOMEM);
        ck_assert_ptr_null(spec);
        ck_assert_int_eq(counter.n_live, 0);
    }
    slm_context_free(ctx);
    slm_context_free(draft);
}
END_TEST

/* The sampler's list cannot be had: no token, and the same one the next time. */
START_TEST(test_fault_84_sampler_without_memory) {
    task t = new_task(4, 4);
    plain(&t, &want);
    slm_context *ctx = context(big.model, &t, 9);
    check_alloc counter = {0};
    slm_speculator *spec;
    t.sampler.allocator = check_allocator(&counter);
    slm_sampler *s = sampler_of(&t);
    GOOD(slm_speculator_create(ctx, NULL, &spec, &err));
    GOOD(slm_speculator_accept(spec, t.prompt, t.n_prompt, &err));
    counter.fail_at = counter.n_calls + 1;
    slm_token token;
    int32_t n = 9;
    ASSERT_FAILS(slm_speculate(spec, s, &token, 1, &n, &err), SLM_ERR_NOMEM, "no memory");
    ck_assert_int_eq(n, 0);
    ck_assert_int_eq(slm_seq_length(ctx, 0), t.n_prompt - 1);
    got = (text){0};
    go_on(&t, spec, s, &got);
    probe(s, &got);
    assert_same(&want, &got);
    slm_speculator_free(spec);
    slm_sampler_free(s);
    slm_context_free(ctx);
}
END_TEST

/* Calls from within a call are the plainest second users. */
typedef struct intruder {
    slm_speculator *same, *second; /* of the same context */
    slm_sampler *sampler;
    int calls;
} intruder;

static bool intrude(void *user, float done) {
    intruder *i = user;
    slm_token token = 1;
    int32_t n;
    (void)done;
    if (i->calls++ > 0) return true;
    ck_assert_int_eq(slm_speculator_accept(i->same, &token, 1, NULL), SLM_ERR_BUSY);
    ck_assert_int_eq(slm_speculator_truncate(i->same, 0, NULL), SLM_ERR_BUSY);
    ck_assert_int_eq(slm_speculate(i->same, i->sampler, &token, 1, &n, NULL), SLM_ERR_BUSY);
    ck_assert_int_eq(slm_speculate(i->second, i->sampler, &token, 1, &n, NULL), SLM_ERR_BUSY);
    return true;
}

START_TEST(test_fault_71_busy) {
    task t = new_task(6, 0);
    plain(&t, &want);
    intruder in = {0};
    slm_context_params p = slm_context_defaults();
    slm_context *ctx;
    p.n_ctx = 256;
    p.n_seq_max = 2;
    p.n_logits = 9;
    p.progress = intrude;
    p.progress_user = &in;
    GOOD(slm_context_create(big.model, &p, &ctx, &err));
    slm_speculator_params sp = slm_speculator_defaults();
    GOOD(slm_speculator_create(ctx, &sp, &in.same, &err));
    sp.sequence = 1;
    GOOD(slm_speculator_create(ctx, &sp, &in.second, &err));
    in.sampler = sampler_of(&t);
    slm_speculator *both[] = {in.same, in.second};
    for (int i = 0; i < 2; i++) GOOD(slm_speculator_accept(both[i], t.prompt, t.n_prompt, &err));
    for (int i = 0; i < 2; i++) {
        slm_sampler *s = sampler_of(&t);
        got = (text){0};
        go_on(&t, both[i], s, &got);
        probe(s, &got);
        assert_same(&want, &got);
        slm_sampler_free(s);
        slm_speculator_free(both[i]);
    }
    ck_assert_int_gt(in.calls, 2);
    slm_sampler_free(in.sampler);
    slm_context_free(ctx);
}
END_TEST

START_TEST(test_fault_66_arguments) {
    task t = new_task(6, 0);
    slm_context *ctx = context(big.model, &t, 9);
    slm_speculator *s = (slm_speculator *)&err;
    slm_speculator_params p = slm_speculator_defaults();
    slm_sampler *sampler = sampler_of(&t);
    check_alloc counter = {0};
    slm_speculator_info info = {.size = sizeof info};
    slm_token token = 3;
    int32_t n = 5;
    ASSERT_FAILS(slm_speculator_create(NULL, &p, &s, &err), SLM_ERR_ARGUMENT, "context");
    ck_assert_ptr_null(s);
    ASSERT_FAILS(slm_speculator_create(ctx, &p, NULL, &err), SLM_ERR_ARGUMENT, "out");
    size_t short_struct = sizeof short_struct;
    ASSERT_FAILS(slm_speculator_create(ctx, (void *)&short_struct, &s, &err), SLM_ERR_ARGUMENT,
                 "size");
    p.draft = ctx;
    ASSERT_FAILS(slm_speculator_create(ctx, &p, &s, &err), SLM_ERR_ARGUMENT, "of its own");
    p = slm_speculator_defaults();
    p.allocator = check_allocator(&counter);
    p.allocator.alloc = NULL;
    ASSERT_FAILS(slm_speculator_create(ctx, &p, &s, &err), SLM_ERR_ARGUMENT, "allocator");
    GOOD(slm_speculator_create(ctx, NULL, &s, &err));
    ASSERT_FAILS(slm_speculate(NULL, sampler, &token, 1, &n, &err), SLM_ERR_ARGUMENT, "speculator");
    ck_assert_int_eq(n, 0);
    ASSERT_FAILS(slm_speculate(s, sampler, &token, 1, NULL, &err), SLM_ERR_ARGUMENT, "n_out");
    ASSERT_FAILS(slm_speculate(s, NULL, &token, 1, &n, &err), SLM_ERR_ARGUMENT, "sampler");
    ASSERT_FAILS(slm_speculate(s, sampler, NULL, 1, &n, &err), SLM_ERR_ARGUMENT, "out");
    ASSERT_FAILS(slm_speculate(s, sampler, &token, 0, &n, &err), SLM_ERR_RANGE, "capacity is 0");
    ASSERT_FAILS(slm_speculate(s, sampler, &token, -3, &n, &err), SLM_ERR_RANGE, "capacity");
    ASSERT_FAILS(slm_speculate(s, sampler, &token, 1, &n, &err), SLM_ERR_RANGE, "the text has 0");
    ASSERT_FAILS(slm_speculator_accept(NULL, &token, 1, &err), SLM_ERR_ARGUMENT, "speculator");
    ASSERT_FAILS(slm_speculator_accept(s, NULL, 1, &err), SLM_ERR_ARGUMENT, "tokens");
    ASSERT_FAILS(slm_speculator_accept(s, &token, -1, &err), SLM_ERR_RANGE, "-1 tokens");
    token = N_VOCAB;
    ASSERT_FAILS(slm_speculator_accept(s, &token, 1, &err), SLM_ERR_RANGE, "token 0 is 270");
    GOOD(slm_speculator_accept(s, NULL, 0, &err));
    ASSERT_FAILS(slm_speculator_truncate(NULL, 0, &err), SLM_ERR_ARGUMENT, "speculator");
    ASSERT_FAILS(slm_speculator_truncate(s, 1, &err), SLM_ERR_RANGE, "the text has 0 tokens");
    ASSERT_FAILS(slm_speculator_truncate(s, -1, &err), SLM_ERR_RANGE, "not -1");
    ck_assert_int_eq(slm_speculator_get_info(NULL, &info), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_speculator_get_info(s, NULL), SLM_ERR_ARGUMENT);
    info.size--;
    ck_assert_int_eq(slm_speculator_get_info(s, &info), SLM_ERR_ARGUMENT);
    slm_speculator_free(NULL);
    slm_speculator_free(s);
    slm_sampler_free(sampler);
    slm_context_free(ctx);
}
END_TEST

START_TEST(test_fault_67_parameters_out_of_range) {
    static const struct {
        size_t offset;
        int32_t value;
        const char *name;
    } rows[] = {
#define P(field) offsetof(slm_speculator_params, field)
        {P(sequence), -1, "sequence"},
        {P(sequence), 3, "sequence"},
        {P(n_draft), -1, "n_draft"},
        {P(n_draft), 65, "n_draft"},
        {P(n_match_max), -1, "n_match_max"},
        {P(n_match_max), 17, "n_match_max"},
        {P(n_match_min), 0, "n_match_min"},
        {P(n_match_min), 9, "n_match_min"},
        {P(draft_cost), 0, "draft_cost"},
        {P(draft_cost), INT32_MIN, "draft_cost"},
        {P(draft_cost), 0x7fc00000, "draft_cost"}, /* NaN */
        {P(draft_cost), 0x7f800000, "draft_cost"}, /* infinity */
    };
    task t = new_task(6, 0);
    slm_context *ctx = context(big.model, &t, 9);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        slm_speculator_params p = slm_speculator_defaults();
        slm_speculator *s;
        memcpy((char *)&p + rows[i].offset, &rows[i].value, sizeof rows[i].value);
        ASSERT_FAILS(slm_speculator_create(ctx, &p, &s, &err), SLM_ERR_RANGE, rows[i].name);
        ck_assert_ptr_null(s);
    }
    slm_context_params one = slm_context_defaults(); /* without sequence 1 */
    slm_speculator_params p = slm_speculator_defaults();
    slm_speculator *s;
    one.n_ctx = 64;
    p.sequence = 1;
    GOOD(slm_context_create(other.model, &one, &p.draft, &err));
    ASSERT_FAILS(slm_speculator_create(ctx, &p, &s, &err), SLM_ERR_RANGE, "draft model");
    slm_context_free(p.draft);
    slm_context_free(ctx);
}
END_TEST

static void assert_mismatch(made *draft, const char *word) {
    task t = new_task(1, 0);
    slm_context *ctx = context(big.model, &t, 9);
    slm_speculator_params p = slm_speculator_defaults();
    slm_speculator *s;
    p.draft = context(draft->model, &t, 1);
    ASSERT_FAILS(slm_speculator_create(ctx, &p, &s, &err), SLM_ERR_MISMATCH, word);
    ck_assert_ptr_null(s);
    slm_context_free(p.draft);
    slm_context_free(ctx);
}

START_TEST(test_draft_model_of_another_vocabulary) {
    made m = {0};
    tiny_shape more = {.n_vocab = N_VOCAB + 1,
                       .n_embd = 32,
                       .n_layer = 1,
                       .n_head = 2,
                       .n_head_kv = 1,
                       .n_ff = 32};
    tiny_model(&m.b, &more);
    open_made(&m);
    assert_mismatch(&m, "271 tokens, the other 270");
    close_made(&m);
    build(&m, 3, false);
    size_t n;
    gb_finish(&m.b, &n);
    char *name = memmem(m.b.file.data, n, "word268", 7);
    ck_assert_ptr_nonnull(name);
    memcpy(name, "WORD", 4);
    GOOD(slm_model_open_memory(m.b.file.data, n, NULL, &m.model, &err));
    assert_mismatch(&m, "token 268 is \"word268\", but \"WORD268\"");
    close_made(&m);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("spec_faults");
    TCase *c = tcase_create("spec_faults");
    tcase_set_timeout(c, 240);
    tcase_add_checked_fixture(c, spec_setup, spec_teardown);
    tcase_add_test(c, test_fault_90_nan);
    tcase_add_test(c, test_fault_90_infinity);
    tcase_add_test(c, test_fault_72_cancelled_at_any_call);
    tcase_add_test(c, test_fault_84_nth_allocation_fails);
    tcase_add_test(c, test_fault_84_sampler_without_memory);
    tcase_add_test(c, test_fault_71_busy);
    tcase_add_test(c, test_fault_66_arguments);
    tcase_add_test(c, test_fault_67_parameters_out_of_range);
    tcase_add_test(c, test_draft_model_of_another_vocabulary);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
