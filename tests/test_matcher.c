/* Token masks: which tokens of a small vocabulary may come, against the definition of random grammars (support/grammar_oracle), token by token; and
 * what matchers do besides. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/bound.h"
#include "support/check_alloc.h"
#include "support/grammar_oracle.h"
#include "support/strict.h"
#include "support/suite.h"

static slm_error err;

/* ---- Against the definition ---- */

/* May the token come behind the text? */
static bool expected(const go_grammar *g, const tokens *t, const char *text, int n,
                     slm_token token) {
    const char *p;
    size_t len;
    uint32_t attributes;
    char longer[GO_MAX_TEXT + LONGEST_TEXT];
    bool viable;
    hold(slm_token_get(t->model, token, &p, &len, &attributes) == SLM_OK, "token_get", token);
    if (attributes & SLM_TOKEN_EOG) return go_match(g, text, n, &viable) >> n & 1;
    if (attributes & (SLM_TOKEN_CONTROL | SLM_TOKEN_UNUSED)) return false;
    memcpy(longer, text, (size_t)n);
    memcpy(longer + n, p, len);
    go_match(g, longer, n + (int)len, &viable);
    return viable;
}

static void check_mask(const go_grammar *g, const tokens *t, slm_matcher *m, const char *text,
                       int n, const char *printed) {
    const uint64_t *mask = mask_of(m);
    for (slm_token i = 0; i < t->n; i++) {
        bool want = expected(g, t, text, n, i);
        if (want != allowed(mask, i))
            ck_abort_msg("%s---- %.*s: token %d, want %d", printed, n, text, i, want);
    }
    for (int i = t->n; i < (t->n + 63) / 64 * 64; i++)
        hold(!allowed(mask, i), "behind the vocabulary", i);
}

/* A random token of the mask. */
static slm_token choose(const uint64_t *mask, int n, uint32_t *seed) {
    slm_token found = -1;
    uint32_t count = 0;
    for (slm_token i = 0; i < n; i++)
        if (allowed(mask, i) && (go_random(seed) >> 8) % ++count == 0) found = i;
    ck_assert_int_ge(found, 0);
    return found;
}

/* Random texts token by token: every mask is exact, every token of it is accepted, no other; nothing leads to a dead end, and where
 * a token ends the text, the text is one of the grammar. */
static int walk_grammar(const go_grammar *g, const tokens *t, const char *printed, uint32_t *seed) {
    bound b = bind_text(t, printed);
    int finished = 0;
    for (int round = 0; round < 3; round++) {
        char text[GO_MAX_TEXT + LONGEST_TEXT];
        int n = 0;
        slm_matcher_reset(b.m);
        while (n <= GO_MAX_TEXT - LONGEST_TEXT) {
            check_mask(g, t, b.m, text, n, printed);
            slm_token token = choose(mask_of(b.m), t->n, seed);
            slm_token refused = (slm_token)((go_random(seed) >> 8) % (uint32_t)t->n);
            if (!allowed(mask_of(b.m), refused))
                ASSERT_FAILS(slm_matcher_accept(b.m, refused, &err), SLM_ERR_MISMATCH, "token");
            bool viable, whole = go_match(g, text, n, &viable) >> n & 1;
            ck_assert_int_eq(slm_matcher_end(b.m) != SLM_END_NO, whole);
            accept(b.m, token);
            if (token == t->end || token == t->other_end) {
                ck_assert(whole);
                finished++;
                break;
            }
            const char *p;
            size_t len;
            slm_token_get(t->model, token, &p, &len, NULL);
            memcpy(text + n, p, len);
            n += (int)len;
        }
    }
    release(&b);
    return finished;
}

START_TEST(masks_are_exact) {
    tokens t;
    open_tokens(&t);
    uint32_t seed = 0x9e3779b9;
    const char *more = getenv("GRAMMAR_MASKS");
    int wanted = more ? atoi(more) : 12, finished = 0;
    for (int i = 0; i < wanted;) {
        static go_grammar g;
        static char printed[1 << 16];
        go_make(&g, &seed);
        go_print(&g, printed, sizeof printed, &seed);
        if (!g.productive[g.rules[0]] || go_left_recursive(&g)) continue;
        finished += walk_grammar(&g, &t, printed, &seed);
        i++;
    }
    ck_assert_int_gt(finished, wanted / 2);
    close_tokens(&t);
}
END_TEST

/* Grammars with the states that masks are kept for, far from and close to the end of their loops. By what accept() says of each token. */
static const char *const loop_grammars[] = {
    "root ::= \"\\\"\" [^\"\\\\]{0,40} \"\\\"\" [ab]{3}",
    "root ::= \"\\\"\" [^\"\\\\]{5,12} \"\\\"\" \"b\"",
    "root ::= (\"\\\"\" [^\"\\\\]* \"\\\"\" \"\\n\"?){2,3}",
    "root ::= \"\\\"\" ([^\"\\\\] | \"\\\\\" [a-z\"\\\\])* \"\\\"\" \"ab\"",
    "root ::= [^b]{0,100} \"b\" .{3,9} \"a\"",
    "root ::= item{1,20}\nitem ::= \"a\" [^ab]{0,30} \"b\"",
    "root ::= .*",
    "root ::= ([^a] [^b]){0,50} \"aab\"",
};

static void check_by_accept(const tokens *t, slm_matcher *m) {
    const uint64_t *mask = mask_of(m);
    uint64_t copy[64];
    memcpy(copy, mask, (size_t)(t->n + 63) / 64 * sizeof *mask);
    for (slm_token i = 0; i < t->n; i++) {
        slm_status s = slm_matcher_accept(m, i, &err);
        hold(s == (allowed(copy, i) ? SLM_OK : SLM_ERR_MISMATCH), "accepted", i);
        if (s == SLM_OK) hold(slm_matcher_rollback(m, 1, &err) == SLM_OK, "taken back", i);
    }
}

START_TEST(masks_in_loops) {
    tokens t;
    open_tokens(&t);
    bound b = bind_text(&t, loop_grammars[_i]);
    uint32_t seed = 77;
    int finished = 0;
    for (int round = 0; round < 12; round++) {
        slm_matcher_reset(b.m);
        for (int step = 0; step < 60; step++) {
            check_by_accept(&t, b.m);
            slm_token token = choose(mask_of(b.m), t.n, &seed);
            accept(b.m, token);
            if (token != t.end && token != t.other_end) continue;
            finished++;
            ck_assert_int_eq(slm_matcher_end(b.m), SLM_END_MUST);
            break;
        }
    }
    ck_assert_int_gt(finished, 0);
    release(&b);
    close_tokens(&t);
}
END_TEST

/* ---- What matchers do besides ---- */

START_TEST(ends) {
    tokens t;
    open_tokens(&t);
    bound b = bind_text(&t, "root ::= \"ab\" \"c\"?");
    ck_assert_int_eq(slm_matcher_end(NULL), SLM_END_NO);
    ck_assert_int_eq(slm_matcher_end(b.m), SLM_END_NO);
    ck_assert(!allowed(mask_of(b.m), t.end));
    ASSERT_FAILS(slm_matcher_accept(b.m, t.end, &err), SLM_ERR_MISMATCH, "<|end|>");
    accept(b.m, token_of(&t, "ab"));
    ck_assert_int_eq(slm_matcher_end(b.m), SLM_END_MAY);
    ck_assert(allowed(mask_of(b.m), t.end) && allowed(mask_of(b.m), t.other_end));
    accept(b.m, token_of(&t, "c"));
    ck_assert_int_eq(slm_matcher_end(b.m), SLM_END_MUST);
    accept(b.m, t.other_end);
    ck_assert(allowed(mask_of(b.m), t.end) && !allowed(mask_of(b.m), 'c'));
    ck_assert_int_eq(slm_matcher_end(b.m), SLM_END_MUST);
    release(&b);
    close_tokens(&t);
}
END_TEST

START_TEST(steps_back) {
    tokens t;
    open_tokens(&t);
    bound b = bind_text(&t, "root ::= \"a\"{0,9999} [^a] \"b\"");
    enum { STEPS = 600 };
    uint64_t at_start[64], behind_one[64];
    size_t n = (size_t)(t.n + 63) / 64 * sizeof *at_start;
    memcpy(at_start, mask_of(b.m), n);
    ASSERT_FAILS(slm_matcher_rollback(b.m, 1, &err), SLM_ERR_RANGE, "n is 1, expected 0 to 0");
    accept(b.m, token_of(&t, "x"));
    memcpy(behind_one, mask_of(b.m), n);
    ck_assert_mem_ne(at_start, behind_one, n);
    ck_assert_int_eq(slm_matcher_rollback(b.m, 1, &err), SLM_OK);
    ck_assert_mem_eq(mask_of(b.m), at_start, n);
    for (int i = 0; i < STEPS; i++) accept(b.m, token_of(&t, "aa"));
    accept(b.m, token_of(&t, "x"));
    ck_assert_mem_eq(mask_of(b.m), behind_one, n);
    slm_matcher *copy;
    ck_assert_int_eq(slm_matcher_clone(b.m, &copy, &err), SLM_OK);
    for (int i = 0; i < 2; i++) {
        slm_matcher *m = i ? b.m : copy; /* the copy first: the other one is as it was */
        ASSERT_FAILS(slm_matcher_rollback(m, SLM_MATCHER_STEPS + 1, &err), SLM_ERR_RANGE, "256");
        ASSERT_FAILS(slm_matcher_rollback(m, -1, &err), SLM_ERR_RANGE, "-1");
        ck_assert_int_eq(slm_matcher_rollback(m, SLM_MATCHER_STEPS, &err), SLM_OK);
        ck_assert_mem_eq(mask_of(m), at_start, n); /* thousands of rounds are left */
        ASSERT_FAILS(slm_matcher_rollback(m, 1, &err), SLM_ERR_RANGE, "0 to 0");
        accept(m, token_of(&t, "x"));
        ck_assert_mem_eq(mask_of(m), behind_one, n);
    }
    slm_matcher_free(copy);
    slm_matcher_reset(b.m);
    ck_assert_mem_eq(mask_of(b.m), at_start, n);
    /* 9,999 and not one more, over many machines that were thrown away */
    for (int i = 0; i < 9999; i++) accept(b.m, 'a');
    ck_assert(!allowed(mask_of(b.m), 'a') && allowed(mask_of(b.m), 'b'));
    ck_assert_int_eq(slm_matcher_rollback(b.m, 1, &err), SLM_OK);
    ck_assert(allowed(mask_of(b.m), 'a') && !allowed(mask_of(b.m), token_of(&t, "aa")));
    release(&b);
    close_tokens(&t);
}
END_TEST

START_TEST(text_as_a_step) {
    tokens t;
    open_tokens(&t);
    bound b = bind_text(&t, "root ::= (\"x\" [^x]{0,70000} \"y\")*");
    enum { N = 70002 };
    char *text = malloc(N);
    ck_assert_ptr_nonnull(text);
    memset(text, 'a', N);
    text[0] = 'x';
    text[N - 1] = 'y';
    ck_assert_int_eq(slm_matcher_accept_text(b.m, text, N, &err), SLM_OK);
    ck_assert_int_eq(slm_matcher_end(b.m), SLM_END_MAY);
    text[69000] = 'x';
    ASSERT_FAILS(slm_matcher_accept_text(b.m, text, N, &err), SLM_ERR_MISMATCH,
                 "byte 69000, \"x\"");
    ck_assert_int_eq(slm_matcher_end(b.m), SLM_END_MAY);
    ck_assert_int_eq(slm_matcher_accept_text(b.m, "xy", 2, &err), SLM_OK);
    ck_assert_int_eq(slm_matcher_accept_text(b.m, NULL, 0, &err), SLM_OK);
    ck_assert_int_eq(slm_matcher_rollback(b.m, 3, &err), SLM_OK);
    ASSERT_FAILS(slm_matcher_rollback(b.m, 1, &err), SLM_ERR_RANGE, "n is 1");
    free(text);
    release(&b);
    close_tokens(&t);
}
END_TEST

START_TEST(test_fault_60_dead_end) {
    tokens t;
    open_tokens(&t);
    /* nothing to choose from: the only way on is a token that is never chosen, and then one that is there once */
    vocab_build v = {.model = "llama"};
    vb_token(&v, "<unk>", VB_UNKNOWN);
    vb_token(&v, "</s>", VB_CONTROL);
    vb_token(&v, "a", VB_NORMAL);
    vb_token(&v, "bb", VB_NORMAL);
    v.no_merges = true;
    gb_u32(&v.file, "tokenizer.ggml.eos_token_id", 1);
    tokens small = {.n = 4};
    ck_assert_msg(vb_try_open(&v, NULL, &small.model, &err) == SLM_OK, "%s", err.message);
    bound b = bind_text(&small, "root ::= \"ab\" \"c\"?");
    const uint64_t *mask = mask_of(b.m);
    ck_assert_uint_eq(mask[0], 4);
    accept(b.m, 2);
    ASSERT_FAILS(slm_matcher_mask(b.m, &mask, &err), SLM_ERR_MISMATCH, "dead end");
    ck_assert_ptr_null(mask);
    ASSERT_FAILS(slm_matcher_accept(b.m, 3, &err), SLM_ERR_MISMATCH,
                 "token 3, \"bb\", from its byte 1");
    ck_assert_int_eq(slm_matcher_rollback(b.m, 1, &err), SLM_OK);
    ck_assert_uint_eq(mask_of(b.m)[0], 4);
    release(&b);
    slm_model_close(small.model);
    vb_free(&v);
    close_tokens(&t);
}
END_TEST

START_TEST(test_fault_61_too_many_ways) {
    tokens t;
    open_tokens(&t);
    static char text[20000];
    memset(text, 'a', sizeof text);
    /* each count of rounds of each of the loops is a way of its own: up to 3,500 of them are kept and read on for any text */
    bound b = bind_text(
        &t, "root ::= (x{300,2000} \"b\"){300,2000}\nx ::= \"a\"{1,500}{1,300} \"c\"? | \"ab\" x?");
    ck_assert_int_eq(slm_matcher_accept_text(b.m, text, 1500, &err), SLM_OK);
    /* also where each byte is a step: then not all of them can be taken back */
    slm_matcher_reset(b.m);
    for (int i = 0; i < 800; i++) accept(b.m, 'a');
    ck_assert_int_eq(slm_matcher_rollback(b.m, 10, &err), SLM_OK);
    release(&b);
    /* ... and 9,000 are not, a rule each */
    char *grammar = many_rules("root ::= \"aaaaaaaaaaaaaaaaaaaaa\" (", "r%d | ", "r0)\n",
                               "r%d ::= \"a\" r%d \"b\" | \"c\"\n", 9000);
    b = bind_text(&t, grammar);
    free(grammar);
    for (int i = 0; i < 20; i++) accept(b.m, 'a');
    ASSERT_FAILS(slm_matcher_accept_text(b.m, text, sizeof text, &err), SLM_ERR_LIMIT,
                 "too many ways to read the text: more than 8192 places");
    /* it goes on from where it was */
    ck_assert_int_eq(slm_matcher_rollback(b.m, 3, &err), SLM_OK);
    ck_assert_int_eq(slm_matcher_accept(b.m, 'a', &err), SLM_OK);
    slm_matcher_reset(b.m);
    accept(b.m, 'a');
    release(&b);
    close_tokens(&t);
}
END_TEST

/* Brackets in brackets: as many as there may be, in time that does not grow with them, and then a true word. */
START_TEST(deep) {
    enum { OPEN = 65000, MORE = 200000 };
    tokens t;
    open_tokens(&t);
    bound b = bind_text(&t, "root ::= \"(\" root? \")\" \"x\"?");
    static char text[MORE];
    memset(text, '(', sizeof text);
    const slm_token bracket = token_of(&t, "("), x = token_of(&t, "x");
    ck_assert_int_eq(slm_matcher_accept_text(b.m, text, OPEN, &err), SLM_OK);
    slm_matcher *clone;
    ck_assert_int_eq(slm_matcher_clone(b.m, &clone, &err), SLM_OK);
    memset(text, ')', OPEN);
    ck_assert_int_eq(slm_matcher_accept_text(clone, text, OPEN, &err), SLM_OK);
    ck_assert_int_eq(slm_matcher_end(clone), SLM_END_MAY);
    slm_matcher_free(clone);
    double begin = strict_seconds();
    for (int i = 0; i < 1000; i++) {
        accept(b.m, bracket);
        const uint64_t *mask = mask_of(b.m);
        ck_assert(allowed(mask, bracket) && !allowed(mask, x));
    }
    ck_assert_double_lt(strict_seconds() - begin, sanitized() ? 20 : 3);
    /* a matcher may be a bit deeper for a while than a new one */
    ASSERT_FAILS(slm_matcher_clone(b.m, &clone, &err), SLM_ERR_LIMIT, "more than 65536 rules");
    ck_assert_ptr_null(clone);
    memset(text, '(', OPEN);
    ASSERT_FAILS(slm_matcher_accept_text(b.m, text, MORE, &err), SLM_ERR_LIMIT,
                 "open in more than 65536 rules");
    slm_matcher_reset(b.m);
    accept(b.m, bracket);
    release(&b);
    close_tokens(&t);
}
END_TEST

/* Thousands of tokens in a grammar, by name and by number, and all but each. */
START_TEST(many_tokens) {
    enum { MANY = 3000 };
    tokens t = {.v = {.pre = "gpt-2"}};
    vb_begin(&t.v);
    t.end = vb_token(&t.v, "<|end|>", VB_CONTROL);
    char *grammar = malloc(200 + 40 * MANY), *p = grammar + sprintf(grammar, "root ::= (!<|end|>");
    ck_assert_ptr_nonnull(grammar);
    for (int i = 0; i < MANY; i++) {
        char name[20];
        snprintf(name, sizeof name, "<t%d>", i);
        slm_token token = vb_token(&t.v, name, VB_CONTROL);
        p += i % 2 ? sprintf(p, " | <[%d]>", token) : sprintf(p, " | <t%d>", i);
    }
    for (int i = 0; i < 2000; i++) p += sprintf(p, " | \"x\" !<[%d]>", i + 100);
    sprintf(p, ")*");
    gb_u32(&t.v.file, "tokenizer.ggml.eos_token_id", (uint32_t)t.end);
    t.model = vb_open(&t.v);
    t.n = t.v.n;
    double begin = strict_seconds();
    bound b = bind_text(&t, grammar);
    accept(b.m, token_of(&t, "x"));
    const uint64_t *mask = mask_of(b.m);
    for (slm_token i = 0; i < t.n; i++) hold(allowed(mask, i), "of many", i);
    for (int i = 0; i < 100; i++) accept(b.m, (slm_token)(t.n - 1 - i));
    ck_assert_double_lt(strict_seconds() - begin, sanitized() ? 20 : 3);
    free(grammar);
    release(&b);
    close_tokens(&t);
}
END_TEST

/* A state that many tokens begin in, 200,000 times over: what is found out before the first text is bounded. */
START_TEST(many_wide_states) {
    tokens t;
    open_tokens(&t);
    char *grammar = malloc(200100);
    ck_assert_ptr_nonnull(grammar);
    strcpy(grammar, "root ::= \"");
    memset(grammar + 10, 'a', 200000);
    strcpy(grammar + 200010, "\"");
    double begin = strict_seconds();
    bound b = bind_text(&t, grammar);
    ck_assert(allowed(mask_of(b.m), 'a'));
    ck_assert_double_lt(strict_seconds() - begin, sanitized() ? 20 : 3);
    free(grammar);
    release(&b);
    close_tokens(&t);
}
END_TEST

/* Every prefix of a token is a set of its own: more than a machine holds. Masks are as exact, and memory is bounded. */
START_TEST(palindromes) {
    tokens t;
    open_tokens(&t);
    check_alloc c = {0};
    slm_allocator a = check_allocator(&c);
    bound b =
        bind_text(&t, "root ::= \"x\"? | \"a\" root \"a\" | \"b\" root \"b\" | \"c\" root \"c\"");
    slm_matcher *m;
    ck_assert_int_eq(slm_matcher_create(b.c, &a, &m, &err), SLM_OK);
    uint32_t seed = 5;
    for (int i = 0; i < 300; i++) {
        const uint64_t *mask = mask_of(m);
        ck_assert(allowed(mask, 'a') && allowed(mask, 'x') &&
                  allowed(mask, token_of(&t, "abababab")));
        ck_assert(!allowed(mask, token_of(&t, "xy")));
        accept(m, (slm_token) "abc"[(go_random(&seed) >> 8) % 3]);
    }
    ck_assert_uint_lt(c.peak, (16u << 20) + 64 * (uint64_t)t.n / 8);
    slm_matcher_free(m);
    ck_assert_int_eq(c.n_live, 0);
    release(&b);
    close_tokens(&t);
}
END_TEST

START_TEST(tokens_by_name) {
    tokens t;
    open_tokens(&t);
    char text[200];
    snprintf(text, sizeof text, "root ::= <think> \"a\" !<[%d]>* <[%d]> [b]?", t.user, t.user);
    bound b = bind_text(&t, text);
    const uint64_t *mask = mask_of(b.m);
    for (slm_token i = 0; i < t.n; i++) ck_assert_int_eq(allowed(mask, i), i == t.control);
    ASSERT_FAILS(slm_matcher_accept(b.m, token_of(&t, "x"), &err), SLM_ERR_MISMATCH, "token");
    accept(b.m, t.control);
    accept(b.m, token_of(&t, "a"));
    for (int round = 0; round < 2; round++) {
        mask = mask_of(b.m);
        /* all that is text, and the token that goes on */
        for (slm_token i = 0; i < t.n; i++) {
            uint32_t attributes;
            slm_token_get(t.model, i, NULL, NULL, &attributes);
            bool want = !(attributes & (SLM_TOKEN_CONTROL | SLM_TOKEN_UNUSED));
            ck_assert_int_eq(allowed(mask, i), want);
        }
        accept(b.m, token_of(&t, "xy"));
    }
    accept(b.m, t.user);
    ck_assert_int_eq(slm_matcher_end(b.m), SLM_END_MAY);
    accept(b.m, token_of(&t, "b"));
    ck_assert_int_eq(slm_matcher_end(b.m), SLM_END_MUST);
    release(&b);

    slm_grammar *g;
    slm_constraint *c;
    ck_assert_int_eq(slm_grammar_parse("root ::= <none>", 15, NULL, &g, &err), SLM_OK);
    ASSERT_FAILS(slm_constraint_create(g, t.model, NULL, &c, &err), SLM_ERR_MISMATCH, "\"<none>\"");
    ck_assert_ptr_null(c);
    slm_grammar_free(g);
    ck_assert_int_eq(slm_grammar_parse("root ::= <[99999]>", 18, NULL, &g, &err), SLM_OK);
    ASSERT_FAILS(slm_constraint_create(g, t.model, NULL, &c, &err), SLM_ERR_MISMATCH,
                 "token 99999");
    slm_grammar_free(g);
    close_tokens(&t);
}
END_TEST

START_TEST(forced) {
    tokens t;
    open_tokens(&t);
    bound b = bind_text(&t, "root ::= (\"abab\" | \"abac\") \"bb\" [^b]* \"\\u00e9\" \"bccc\"");
    char text[16];
    slm_token ids[16];
    size_t n;
    ck_assert_int_eq(slm_matcher_forced_text(b.m, text, sizeof text, &n, &err), SLM_OK);
    ck_assert_uint_eq(n, 3);
    ck_assert_mem_eq(text, "aba", 3);
    ck_assert_int_eq(slm_matcher_forced_text(b.m, text, 2, &n, &err), SLM_OK);
    ck_assert_uint_eq(n, 2);
    ck_assert_int_eq(slm_matcher_forced_text(b.m, NULL, 0, &n, &err), SLM_OK);
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(slm_matcher_accept_text(b.m, "abac", 4, &err), SLM_OK);
    ck_assert_int_eq(slm_matcher_forced_tokens(b.m, ids, 16, &n, &err), SLM_OK);
    ck_assert_uint_eq(n, 0); /* "bb" may be the start of another token */
    ck_assert_int_eq(slm_matcher_accept_text(b.m, "bb\xc3\xa9", 4, &err), SLM_OK);
    ck_assert_int_eq(slm_matcher_forced_text(b.m, text, sizeof text, &n, &err), SLM_OK);
    ck_assert_uint_eq(n, 0); /* it may go on with another one */
    accept(b.m, 'b');
    ck_assert_int_eq(slm_matcher_forced_tokens(b.m, ids, 16, &n, &err), SLM_OK);
    ck_assert_uint_eq(n, 2); /* the text ends behind them */
    ck_assert_int_eq(ids[0], token_of(&t, "cc"));
    ck_assert_int_eq(ids[1], token_of(&t, "c"));
    for (size_t i = 0; i < n; i++) accept(b.m, ids[i]);
    ck_assert_int_eq(slm_matcher_end(b.m), SLM_END_MUST);
    ck_assert_int_eq(slm_matcher_forced_tokens(b.m, ids, 16, &n, &err), SLM_OK);
    ck_assert_uint_eq(n, 0);
    release(&b);
    close_tokens(&t);
}
END_TEST

START_TEST(arguments) {
    tokens t;
    open_tokens(&t);
    bound b = bind_text(&t, "root ::= \"a\"");
    slm_constraint *c;
    slm_matcher *m;
    const uint64_t *mask;
    size_t n;
    ASSERT_FAILS(slm_constraint_create(NULL, t.model, NULL, &c, &err), SLM_ERR_ARGUMENT, "grammar");
    ASSERT_FAILS(slm_constraint_create(b.g, NULL, NULL, &c, &err), SLM_ERR_ARGUMENT, "model");
    ASSERT_FAILS(slm_constraint_create(b.g, t.model, NULL, NULL, &err), SLM_ERR_ARGUMENT, "out");
    ASSERT_FAILS(slm_matcher_create(NULL, NULL, &m, &err), SLM_ERR_ARGUMENT, "constraint");
    ASSERT_FAILS(slm_matcher_create(b.c, NULL, NULL, &err), SLM_ERR_ARGUMENT, "out");
    ASSERT_FAILS(slm_matcher_clone(NULL, &m, &err), SLM_ERR_ARGUMENT, "matcher");
    ASSERT_FAILS(slm_matcher_clone(b.m, NULL, &err), SLM_ERR_ARGUMENT, "out");
    ASSERT_FAILS(slm_matcher_mask(NULL, &mask, &err), SLM_ERR_ARGUMENT, "matcher");
    ASSERT_FAILS(slm_matcher_mask(b.m, NULL, &err), SLM_ERR_ARGUMENT, "mask");
    ASSERT_FAILS(slm_matcher_accept(NULL, 0, &err), SLM_ERR_ARGUMENT, "matcher");
    ASSERT_FAILS(slm_matcher_accept(b.m, -1, &err), SLM_ERR_RANGE, "token is -1");
    ASSERT_FAILS(slm_matcher_accept(b.m, t.n, &err), SLM_ERR_RANGE, "expected 0 to");
    ASSERT_FAILS(slm_matcher_accept_text(b.m, NULL, 1, &err), SLM_ERR_ARGUMENT, "text");
    ASSERT_FAILS(slm_matcher_rollback(NULL, 0, &err), SLM_ERR_ARGUMENT, "matcher");
    ASSERT_FAILS(slm_matcher_forced_text(b.m, NULL, 1, &n, &err), SLM_ERR_ARGUMENT, "buffer");
    ASSERT_FAILS(slm_matcher_forced_text(b.m, NULL, 0, NULL, &err), SLM_ERR_ARGUMENT, "n_bytes");
    ASSERT_FAILS(slm_matcher_forced_tokens(b.m, NULL, 1, &n, &err), SLM_ERR_ARGUMENT, "out");
    ASSERT_FAILS(slm_matcher_forced_tokens(NULL, NULL, 0, &n, &err), SLM_ERR_ARGUMENT, "matcher");
    slm_matcher_reset(NULL);
    slm_matcher_free(NULL);
    slm_constraint_free(NULL);
    release(&b);
    close_tokens(&t);
}
END_TEST

/* ---- Several threads ---- */

typedef struct worker {
    const tokens *t;
    const slm_grammar *g;
    const slm_constraint *shared;
    uint64_t sum; /* of all masks */
    bool ok;
} worker;

/* A text by a matcher of the shared constraint, then by one of the thread's own. */
static void *work(void *user) {
    worker *w = user;
    slm_constraint *own = NULL;
    slm_error e;
    w->ok = slm_constraint_create(w->g, w->t->model, NULL, &own, &e) == SLM_OK;
    for (int which = 0; w->ok && which < 2; which++) {
        slm_matcher *m;
        const uint64_t *mask;
        w->ok = slm_matcher_create(which ? own : w->shared, NULL, &m, &e) == SLM_OK;
        for (int i = 0; w->ok && i < 40; i++) {
            w->ok = slm_matcher_mask(m, &mask, &e) == SLM_OK;
            for (int k = 0; w->ok && k < (w->t->n + 63) / 64; k++) w->sum = w->sum * 31 + mask[k];
            w->ok = w->ok && slm_matcher_accept(m, i == 0 ? '"' : 'b', &e) == SLM_OK;
        }
        slm_matcher_free(m);
    }
    slm_constraint_free(own);
    return NULL;
}

/* The vocabulary is sorted once, whoever comes first; masks are the same. */
START_TEST(threads) {
    enum { THREADS = 4 };
    tokens t, other;
    open_tokens(&t);
    open_tokens(&other);
    const char *text = "root ::= \"\\\"\" [^\"]{0,60} \"\\\"\"";
    bound b = bind_text(&other, text);
    pthread_t ids[THREADS];
    worker workers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (worker){.t = &t, .g = b.g, .shared = b.c};
        ck_assert_int_eq(pthread_create(&ids[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) ck_assert_int_eq(pthread_join(ids[i], NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        ck_assert(workers[i].ok);
        ck_assert_uint_eq(workers[i].sum, workers[0].sum);
    }
    release(&b);
    close_tokens(&t);
    close_tokens(&other);
}
END_TEST

/* One text with a matcher, as far as memory goes. What fails, fails with NOMEM, and what there is stays as it was. */
static slm_status one_text(const slm_grammar *g, const tokens *t, const slm_allocator *a) {
    slm_constraint *c;
    slm_matcher *m = NULL, *copy = NULL;
    const uint64_t *mask;
    slm_status s = slm_constraint_create(g, t->model, a, &c, &err);
    if (s == SLM_OK) s = slm_matcher_create(c, a, &m, &err);
    for (int i = 0; s == SLM_OK && i < 12; i++) {
        s = slm_matcher_mask(m, &mask, &err);
        if (s == SLM_OK) s = slm_matcher_accept(m, i == 0 ? '"' : 'b', &err);
        if (s == SLM_OK && i == 5) s = slm_matcher_clone(m, &copy, &err);
        if (s == SLM_OK && copy) s = slm_matcher_accept(copy, '"', &err);
        if (s == SLM_OK && copy) s = slm_matcher_rollback(copy, 1, &err);
    }
    slm_matcher_free(copy);
    slm_matcher_free(m);
    slm_constraint_free(c);
    return s;
}

START_TEST(no_memory) {
    tokens t;
    open_tokens(&t);
    const char *text = "root ::= \"\\\"\" [^\"\\\\]{0,40} \"\\\"\" [ab]{3} <[65]>?";
    slm_grammar *g;
    ck_assert_int_eq(slm_grammar_parse(text, strlen(text), NULL, &g, &err), SLM_OK);
    check_alloc c = {0};
    slm_allocator a = check_allocator(&c);
    ck_assert_int_eq(one_text(g, &t, &a), SLM_OK);
    ck_assert_int_eq(c.n_live, 0);
    ck_assert_int_gt(c.n_calls, 30);
    for (long i = 1; i <= c.n_calls; i++) {
        for (int from = 0; from < 2; from++) {
            check_alloc failing = {.fail_at = i, .fail_from = from ? i : 0};
            a = check_allocator(&failing);
            ASSERT_FAILS(one_text(g, &t, &a), SLM_ERR_NOMEM, "no memory");
            ck_assert_int_eq(failing.n_live, 0);
        }
    }
    slm_grammar_free(g);
    close_tokens(&t);
}
END_TEST

int main(void) {
    Suite *s = suite_create("matcher");
    TCase *t = tcase_create("masks");
    tcase_set_timeout(t, 36000);
    tcase_add_test(t, masks_are_exact);
    tcase_add_loop_test(t, masks_in_loops, 0, sizeof loop_grammars / sizeof *loop_grammars);
    tcase_add_test(t, palindromes);
    suite_add_tcase(s, t);
    t = tcase_create("matcher");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, ends);
    tcase_add_test(t, steps_back);
    tcase_add_test(t, text_as_a_step);
    tcase_add_test(t, test_fault_60_dead_end);
    tcase_add_test(t, test_fault_61_too_many_ways);
    tcase_add_test(t, deep);
    tcase_add_test(t, tokens_by_name);
    tcase_add_test(t, many_tokens);
    tcase_add_test(t, many_wide_states);
    tcase_add_test(t, forced);
    tcase_add_test(t, arguments);
    tcase_add_test(t, threads);
    tcase_add_test(t, no_memory);
    suite_add_tcase(s, t);
    return run_suite(s);
}
