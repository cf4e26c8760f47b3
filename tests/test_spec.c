/* Speculation gives the tokens of plain decoding, whatever is drafted, whoever drafts it. */
#include <stdlib.h>

#include "support/spec_case.h"

/* ---- Equality ---- */

START_TEST(test_lookup_gives_the_same_tokens) {
    static const int32_t n_drafts[] = {1, 2, 3, 8, 16, 64};
    int64_t accepted = 0, rejected = 0;
    for (uint64_t seed = 1; seed <= 24; seed++) {
        task t = new_task(seed, (int)(seed % N_KINDS));
        t.spec.n_draft = n_drafts[seed % 6];
        t.spec.n_match_max = 1 + (int32_t)(seed % 5);
        t.capacities = seed % 2 ? seed : 0;
        t.past_end = seed % 4 < 2;
        compare(&t);
        accepted += got.info.n_accepted;
        rejected += got.info.n_drafted - got.info.n_accepted;
    }
    ck_assert_int_gt(accepted, 300); /* both happened */
    ck_assert_int_gt(rejected, 300);
}
END_TEST

START_TEST(test_each_kind_of_sampler) {
    for (int kind = 0; kind < N_KINDS; kind++) {
        for (uint64_t seed = 100; seed < 103; seed++) {
            task t = new_task(seed, kind);
            t.past_end = true;
            t.n = 150;
            compare(&t);
        }
    }
}
END_TEST

/* Steps that remember something from token to token: random numbers, mu, the text, how long it is. */
START_TEST(test_each_step_of_the_sampler) {
    static const slm_string banned[] = {{"a", 1}, {"\x80\x81", 2}, {"w3", 2}};
    for (uint64_t seed = 300; seed < 324; seed++) {
        task t = new_task(seed, 0);
        slm_sampler_params *p = &t.sampler;
        p->temperature = .2f + .1f * (float)(seed % 5);
        p->n_dry_breakers = 0;
        if (seed % 8 == 0) p->mirostat = 2, p->mirostat_tau = 1.5f;
        if (seed % 8 == 1) p->xtc_probability = .4f, p->xtc_threshold = .05f;
        if (seed % 8 == 2) p->dry_multiplier = .6f, p->dry_last_n = 70;
        if (seed % 8 == 3) p->typical_p = .9f, p->dynatemp_range = .3f;
        if (seed % 8 == 4) p->model = big.model, p->min_tokens = 60, p->top_n_sigma = 2;
        if (seed % 8 == 5) p->frequency_penalty = .2f, p->presence_penalty = .3f;
        if (seed % 8 == 6)
            p->model = big.model, p->banned_strings = banned, p->n_banned_strings = 3;
        if (seed % 8 == 7) p->order = "temperature,xtc,top_p", p->xtc_probability = .5f;
        if (seed % 8 == 7) p->top_p = .9f;
        if (seed % 3 == 0) t.draft = other.model;
        t.capacities = seed % 2 ? seed : 0;
        t.past_end = seed % 4 < 2;
        compare(&t);
    }
}
END_TEST

START_TEST(test_the_same_model_drafts_what_it_will_say) {
    for (uint64_t seed = 1; seed < 5; seed++) {
        task t = new_task(seed, 0);
        t.draft = big.model;
        t.spec.n_match_max = 0;
        t.past_end = true;
        t.spec.always = true;
        plain(&t, &want);
        speculative(&t, &got);
        assert_same(&want, &got);
        ck_assert_int_eq(got.info.n_accepted, got.info.n_drafted);
        ck_assert_int_eq(got.info.n_steps, (t.n + t.spec.n_draft) / (t.spec.n_draft + 1));
    }
}
END_TEST

START_TEST(test_a_draft_model_gives_the_same_tokens) {
    for (uint64_t seed = 1; seed <= 24; seed++) {
        task t = new_task(seed, (int)(seed % N_KINDS));
        t.draft = seed % 3 ? other.model : big.model;
        t.spec.n_draft = 1 + (int32_t)(seed % 7);
        if (seed % 2) t.spec.n_match_max = 0;
        t.capacities = seed % 5 ? seed : 0;
        t.past_end = seed % 4 < 2;
        compare(&t);
    }
}
END_TEST

START_TEST(test_a_model_that_drafts_badly_is_seldom_asked) {
    task t = new_task(7, 5);
    t.draft = small.model;
    t.spec.n_match_max = 0;
    t.past_end = true;
    t.n = 300;
    plain(&t, &want);
    speculative(&t, &got);
    assert_same(&want, &got);
    ck_assert_int_gt(got.info.n_drafted, 4); /* but again and again */
    ck_assert_int_lt(got.info.n_drafted, 40);
    t.draft = NULL; /* text without any repetition */
    t.spec = slm_speculator_defaults();
    speculative(&t, &got);
    assert_same(&want, &got);
    ck_assert_int_lt(got.info.n_drafted, 15);
}
END_TEST

START_TEST(test_repetition_is_drafted) {
    task t = new_task(3, 0); /* a random model soon repeats itself */
    t.n = MAX_TOKENS;
    t.past_end = true;
    plain(&t, &want);
    speculative(&t, &got);
    assert_same(&want, &got);
    ck_assert_int_lt(got.info.n_steps, t.n / 3);
    ck_assert_int_gt(got.info.n_accepted, got.info.n_drafted * 9 / 10);
}
END_TEST

/* The steps too are the same on every machine: nothing asks a clock. */
START_TEST(test_steps_do_not_depend_on_threads) {
    task t = new_task(12, 4);
    t.past_end = true;
    t.n = 200;
    t.draft = other.model;
    t.n_threads = 1;
    speculative(&t, &want);
    t.n_threads = 3;
    speculative(&t, &got);
    assert_same(&want, &got);
    ck_assert_int_eq(want.info.n_steps, got.info.n_steps);
    ck_assert_int_eq(want.info.n_drafted, got.info.n_drafted);
}
END_TEST

START_TEST(test_other_sequences) {
    for (uint64_t seed = 1; seed <= 8; seed++) {
        task t = new_task(seed, (int)(seed % 3));
        t.sequence = (int32_t)(seed % 3);
        t.n_other = 20 + (int32_t)seed;
        if (seed > 4) t.draft = other.model;
        compare(&t);
    }
}
END_TEST

/* Tokens go from the middle of the text, of the cache of both models and of one that is behind; plain decoding says what comes then. */
START_TEST(test_removing_tokens) {
    for (uint64_t seed = 1; seed <= 6; seed++) {
        task t = new_task(seed, (int)(seed % 3));
        t.n_ctx = 400;
        t.past_end = true;
        slm_context *ctx[2] = {context(big.model, &t, 1), context(big.model, &t, 9)},
                    *draft = context(other.model, &t, 1);
        slm_sampler *s[2] = {sampler_of(&t), sampler_of(&t)};
        slm_speculator_params p = slm_speculator_defaults();
        slm_speculator *spec;
        if (seed % 2) p.draft = draft;
        p.always = true;
        GOOD(slm_speculator_create(ctx[1], &p, &spec, &err));
        GOOD(slm_decode_tokens(ctx[0], t.prompt, t.n_prompt, &err));
        GOOD(slm_speculator_accept(spec, t.prompt, t.n_prompt, &err));
        for (int round = 0; round < 3; round++) {
            want.n = got.n = 0;
            for (; want.n < 60; want.n++) {
                slm_token *next = &want.tokens[want.n];
                GOOD(slm_sampler_sample(s[0], slm_logits(ctx[0], 0), N_VOCAB, next, &err));
                if (want.n < 59) GOOD(slm_decode_tokens(ctx[0], next, 1, &err));
            }
            t.n = 60;
            go_on(&t, spec, s[1], &got);
            ck_assert_int_eq(got.n, 60);
            ck_assert_int_eq(memcmp(want.tokens, got.tokens, 60 * sizeof *got.tokens), 0);
            GOOD(slm_seq_remove(ctx[0], 0, 3 + round, 40, &err));
            GOOD(slm_speculator_remove(spec, 3 + round, 40, &err));
            GOOD(slm_decode_tokens(ctx[0], &want.tokens[59], 1, &err));
        }
        ck_assert_int_eq(slm_speculator_remove(spec, -1, 5, &err), SLM_ERR_RANGE);
        ck_assert_int_eq(slm_speculator_remove(spec, 6, 5, &err), SLM_ERR_RANGE);
        ck_assert_int_eq(slm_speculator_remove(spec, 6, 4000, &err), SLM_ERR_RANGE);
        ck_assert_int_eq(slm_speculator_remove(NULL, 0, 1, &err), SLM_ERR_ARGUMENT);
        slm_speculator_info info = {.size = sizeof info};
        GOOD(slm_speculator_get_info(spec, &info));
        GOOD(slm_speculator_remove(spec, 5, info.n_tokens, &err)); /* the end, as a cut */
        ck_assert_int_eq(slm_seq_length(ctx[1], 0), 5);
        slm_speculator_free(spec);
        for (int i = 0; i < 2; i++) slm_sampler_free(s[i]), slm_context_free(ctx[i]);
        slm_context_free(draft);
    }
}
END_TEST

/* Two speculators take turns on two sequences of one context, and neither sees the other. */
START_TEST(test_two_speculators_share_a_context) {
    task t[2] = {new_task(5, 0), new_task(6, 2)};
    text texts[2] = {0};
    slm_context *ctx = context(big.model, &t[0], 9);
    slm_context *draft = context(other.model, &t[0], 1);
    slm_speculator *spec[2];
    slm_sampler *s[2];
    for (int i = 0; i < 2; i++) {
        slm_speculator_params p = slm_speculator_defaults();
        p.sequence = i;
        p.draft = draft;
        p.always = true;
        s[i] = sampler_of(&t[i]);
        GOOD(slm_speculator_create(ctx, &p, &spec[i], &err));
        GOOD(slm_speculator_accept(spec[i], t[i].prompt, t[i].n_prompt, &err));
    }
    for (int step = 1; step <= 10; step++)
        for (int i = 0; i < 2; i++) {
            t[i].n = step * 8;
            t[i].past_end = true;
            go_on(&t[i], spec[i], s[i], &texts[i]);
        }
    for (int i = 0; i < 2; i++) {
        plain(&t[i], &want);
        probe(s[i], &texts[i]);
        assert_same(&want, &texts[i]);
        slm_speculator_free(spec[i]);
        slm_sampler_free(s[i]);
    }
    slm_context_free(ctx);
    slm_context_free(draft);
}
END_TEST

/* ---- Ends ---- */

START_TEST(test_context_full_comes_when_it_would_come) {
    for (uint64_t seed = 1; seed <= 12; seed++) {
        task t = new_task(seed, (int)(seed % 3));
        t.n_ctx = 64 + (int32_t)seed;
        t.past_end = true;
        t.n = 200;
        t.n_other = seed % 2 ? 0 : 21; /* places that the text cannot have */
        if (seed % 3 == 0) t.draft = big.model;
        compare(&t);
        ck_assert_int_eq(got.end, SLM_ERR_CONTEXT_FULL);
        ck_assert_int_eq(got.n, t.n_ctx - t.n_other - t.n_prompt + 1);
    }
}
END_TEST

/* The draft model's context may be shorter. */
START_TEST(test_draft_context_full) {
    task t = new_task(8, 0);
    t.past_end = true;
    plain(&t, &want);
    slm_speculator_params p = slm_speculator_defaults();
    slm_context *ctx = context(big.model, &t, 9);
    task shorter = t;
    shorter.n_ctx = t.n_prompt + 20;
    p.draft = context(big.model, &shorter, 1);
    p.n_match_max = 0;
    p.always = true;
    slm_speculator *spec;
    GOOD(slm_speculator_create(ctx, &p, &spec, &err));
    GOOD(slm_speculator_accept(spec, t.prompt, t.n_prompt, &err));
    slm_sampler *s = sampler_of(&t);
    got = (text){0};
    go_on(&t, spec, s, &got);
    probe(s, &got);
    assert_same(&want, &got);
    ck_assert_int_gt(got.info.n_accepted, 10);
    ck_assert_int_lt(got.info.n_accepted, 30);
    slm_speculator_free(spec);
    slm_sampler_free(s);
    slm_context_free(ctx);
    slm_context_free(p.draft);
}
END_TEST

/* Token 0 (<|end|>) takes the place of a token that the text repeats, so it is drafted, and chosen. */
START_TEST(test_end_of_generation_among_drafts) {
    made m;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        build(&m, 20 + seed, true);
        open_made(&m);
        task t = new_task(seed, 0);
        t.model = m.model;
        t.past_end = true;
        t.n = 120;
        plain(&t, &want);
        slm_token repeated = want.tokens[110];
        close_made(&m);
        build(&m, 20 + seed, true);
        memcpy(embedding(&m, 0), embedding(&m, repeated), N_EMBD * sizeof(float));
        for (int i = 0; i < N_EMBD; i++) output(&m, 0)[i] = output(&m, repeated)[i] * 1.0625f;
        open_made(&m);
        t.model = m.model;
        t.draft = seed % 2 ? NULL : m.model;
        t.capacities = seed / 2;
        plain(&t, &want);
        int n_ends = 0;
        for (int i = 0; i < want.n; i++) n_ends += want.tokens[i] == 0;
        ck_assert_int_ge(n_ends, 2);
        compare(&t);
        ck_assert_int_gt(got.info.n_accepted, 10);
        t.past_end = false;
        compare(&t);
        ck_assert_int_eq(got.tokens[got.n - 1], 0);
        close_made(&m);
    }
}
END_TEST

/* ---- The text and the caches ---- */

/* Whether the caller has decoded the prompt, half of it or nothing, in both contexts: the same tokens. */
START_TEST(test_prompt_decoded_by_the_caller) {
    task t = new_task(30, 0);
    plain(&t, &want);
    for (int half = 0; half < 3; half++) {
        int32_t held = t.n_prompt * half / 2, n;
        slm_speculator_params p = slm_speculator_defaults();
        slm_context *ctx = context(big.model, &t, 9);
        slm_speculator *spec;
        slm_sampler *s = sampler_of(&t);
        p.draft = context(big.model, &t, 1);
        p.n_match_max = 0;
        p.always = true;
        GOOD(slm_speculator_create(ctx, &p, &spec, &err));
        if (held > 0) { /* more than the speculator knows of */
            GOOD(slm_decode_tokens(ctx, t.prompt, held, &err));
            GOOD(slm_speculator_accept(spec, t.prompt, held - 1, &err));
            ASSERT_FAILS(slm_speculate(spec, s, got.tokens, 4, &n, &err), SLM_ERR_RANGE, "holds");
            GOOD(slm_speculator_truncate(spec, 0, &err));
            ck_assert_int_eq(slm_seq_length(ctx, 0), 0);
            GOOD(slm_decode_tokens(ctx, t.prompt, held, &err));
            GOOD(slm_decode_tokens(p.draft, t.prompt, held, &err));
        }
        GOOD(slm_speculator_accept(spec, t.prompt, t.n_prompt, &err));
        got = (text){0};
        go_on(&t, spec, s, &got);
        probe(s, &got);
        assert_same(&want, &got);
        ck_assert_int_eq(got.info.n_accepted, got.info.n_drafted);
        ck_assert_int_eq(got.info.n_steps, (want.n + 8) / 9); /* none without drafts */
        slm_speculator_free(spec);
        slm_sampler_free(s);
        slm_context_free(ctx);
        slm_context_free(p.draft);
    }
}
END_TEST

/* A second turn after the first one, and the first one again after going back. */
START_TEST(test_truncate_and_go_on) {
    task t = new_task(33, 0);
    t.past_end = true;
    t.n = 40;
    slm_context *ctx = context(big.model, &t, 9);
    slm_speculator_params p = slm_speculator_defaults();
    slm_speculator *spec;
    p.draft = context(other.model, &t, 1);
    p.always = true;
    GOOD(slm_speculator_create(ctx, &p, &spec, &err));
    GOOD(slm_speculator_accept(spec, t.prompt, t.n_prompt, &err));
    plain(&t, &want);
    for (int turn = 0; turn < 3; turn++) {
        slm_sampler *s = sampler_of(&t);
        got = (text){0};
        go_on(&t, spec, s, &got);
        probe(s, &got);
        assert_same(&want, &got);
        slm_sampler_free(s);
        GOOD(slm_speculator_truncate(spec, t.n_prompt + turn - 1, &err));
        ck_assert_int_le(slm_seq_length(ctx, 0), t.n_prompt + turn - 1);
        if (turn == 0) GOOD(slm_speculator_accept(spec, &t.prompt[t.n_prompt - 1], 1, &err));
        if (turn == 1) { /* the text goes on otherwise */
            t.prompt[t.n_prompt] = 99;
            GOOD(slm_speculator_accept(spec, &t.prompt[t.n_prompt], 1, &err));
            ck_assert_int_eq(t.n_prompt++, 34);
            plain(&t, &want);
        }
    }
    slm_speculator_free(spec);
    slm_context_free(ctx);
    slm_context_free(p.draft);
}
END_TEST

START_TEST(test_room_for_the_text) {
    task t = new_task(1, 0);
    t.n_ctx = 8;
    slm_context *ctx = context(big.model, &t, 4);
    slm_speculator *spec;
    slm_speculator_info info = {.size = sizeof info};
    slm_token ten[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    GOOD(slm_speculator_create(ctx, NULL, &spec, &err));
    GOOD(slm_speculator_get_info(spec, &info));
    ck_assert_int_eq(info.n_draft, 3); /* by n_logits */
    ASSERT_FAILS(slm_speculator_accept(spec, ten, 10, &err), SLM_ERR_CONTEXT_FULL, "of 8");
    GOOD(slm_speculator_accept(spec, ten, 9, &err));
    ASSERT_FAILS(slm_speculator_accept(spec, ten, 1, &err), SLM_ERR_CONTEXT_FULL, "9 of 8");
    slm_sampler *s = sampler_of(&t);
    int32_t n;
    ASSERT_FAILS(slm_speculate(spec, s, ten, 5, &n, &err), SLM_ERR_CONTEXT_FULL, "8");
    GOOD(slm_speculator_truncate(spec, 8, &err));
    GOOD(slm_speculate(spec, s, ten, 5, &n, &err));
    ck_assert_int_eq(n, 1);
    slm_sampler_free(s);
    slm_speculator_free(spec);
    slm_context_free(ctx);
}
END_TEST

/* What a grammar leaves no choice about is drafted, and comes in the way that the model would have chosen: as other tokens, perhaps. */
START_TEST(test_grammars_give_the_same_tokens) {
    static const char *const texts[] = {
        "root ::= (\"{\\\"name\\\": \\\"\" [a-z]{3} \"\\\", \\\"number\\\": \" [1-9] [0-9]? "
        "\"}\")+",
        "root ::= \"ab\" root | \"the end\"",
        "root ::= (\"word258\" | \"word259word260\" | \"abababab\")*",
        "root ::= [^x]*",
    };
    for (size_t g = 0; g < sizeof texts / sizeof *texts; g++) {
        slm_grammar *grammar;
        slm_constraint *constraint;
        slm_matcher *matcher;
        GOOD(slm_grammar_parse(texts[g], strlen(texts[g]), NULL, &grammar, &err));
        GOOD(slm_constraint_create(grammar, big.model, NULL, &constraint, &err));
        GOOD(slm_matcher_create(constraint, NULL, &matcher, &err));
        for (uint64_t seed = 1; seed <= 6; seed++) {
            task t = new_task(seed, (int)(seed % N_KINDS));
            t.matcher = matcher;
            if (seed % 3 == 0) t.draft = other.model;
            t.capacities = seed % 2 ? seed : 0;
            t.n = 120;
            compare(&t);
            if (g > 0 || t.capacities) continue;
            t.spec.always = false;
            speculative(&t, &got);
            ck_assert_int_lt(got.info.n_steps, got.n / 2); /* 20 of 25 characters have no choice */
        }
        slm_matcher_free(matcher);
        slm_constraint_free(constraint);
        slm_grammar_free(grammar);
    }
}
END_TEST

/* A context that is full in the midst of what must come: as without drafts, and nothing is drafted behind its end. */
START_TEST(test_fault_73_context_full_in_what_must_come) {
    char gbnf[300] = "root ::= \"";
    size_t n = strlen(gbnf);
    memset(gbnf + n, 'x', 200);
    strcpy(gbnf + n + 200, "\"");
    slm_grammar *grammar;
    slm_constraint *constraint;
    slm_matcher *matcher;
    GOOD(slm_grammar_parse(gbnf, strlen(gbnf), NULL, &grammar, &err));
    GOOD(slm_constraint_create(grammar, big.model, NULL, &constraint, &err));
    GOOD(slm_matcher_create(constraint, NULL, &matcher, &err));
    for (int32_t room = 1; room < 20; room++) {
        task t = new_task(3, 0);
        t.n_ctx = t.n_prompt + room;
        t.n = 100;
        t.matcher = matcher;
        compare(&t);
        ck_assert_int_eq(want.end, SLM_ERR_CONTEXT_FULL);
    }
    slm_matcher_free(matcher);
    slm_constraint_free(constraint);
    slm_grammar_free(grammar);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("spec");
    TCase *c = tcase_create("spec");
    tcase_set_timeout(c, 240);
    tcase_add_checked_fixture(c, spec_setup, spec_teardown);
    tcase_add_test(c, test_lookup_gives_the_same_tokens);
    tcase_add_test(c, test_each_kind_of_sampler);
    tcase_add_test(c, test_each_step_of_the_sampler);
    tcase_add_test(c, test_the_same_model_drafts_what_it_will_say);
    tcase_add_test(c, test_a_draft_model_gives_the_same_tokens);
    tcase_add_test(c, test_a_model_that_drafts_badly_is_seldom_asked);
    tcase_add_test(c, test_repetition_is_drafted);
    tcase_add_test(c, test_steps_do_not_depend_on_threads);
    tcase_add_test(c, test_grammars_give_the_same_tokens);
    tcase_add_test(c, test_fault_73_context_full_in_what_must_come);
    tcase_add_test(c, test_other_sequences);
    tcase_add_test(c, test_two_speculators_share_a_context);
    tcase_add_test(c, test_removing_tokens);
    tcase_add_test(c, test_context_full_comes_when_it_would_come);
    tcase_add_test(c, test_draft_context_full);
    tcase_add_test(c, test_end_of_generation_among_drafts);
    tcase_add_test(c, test_prompt_decoded_by_the_caller);
    tcase_add_test(c, test_truncate_and_go_on);
    tcase_add_test(c, test_room_for_the_text);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
