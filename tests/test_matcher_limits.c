/* What hostile grammars can make masks and texts cost: it has an end, and where that is depends on the grammar, the vocabulary and the text alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../libslm/machine.h"
#include "support/bound.h"
#include "support/strict.h"
#include "support/suite.h"

static slm_error err;

/* Bytes, and 3,000 tokens of 30 letters behind 'b'. */
static void open_long_tokens(tokens *t) {
    uint32_t seed = 1;
    *t = (tokens){.v = {.pre = "gpt-2"}};
    vb_begin(&t->v);
    for (int i = 0; i < 3000; i++) {
        char text[31] = {0};
        for (int k = 0; k < 30; k++) {
            seed = seed * 1664525u + 1013904223u;
            text[k] = (char)('c' + (seed >> 8) % 24);
        }
        vb_token(&t->v, text, VB_USER);
    }
    t->model = vb_open(&t->v);
    t->n = t->v.n;
}

/* The status of a text's mask. */
static slm_status mask_behind(slm_matcher *m, const char *text) {
    const uint64_t *mask;
    slm_matcher_reset(m);
    ck_assert_int_eq(slm_matcher_accept_text(m, text, strlen(text), &err), SLM_OK);
    return slm_matcher_mask(m, &mask, &err);
}

#define TOO_MUCH_FOR_A_MASK "the tokens that may come: more than 134217728 steps"

/* Each of the rules is a state that nearly all tokens fit: what is found out for each alone is too much for all of them. */
START_TEST(test_fault_61_seven_thousand_rules) {
    tokens t;
    open_long_tokens(&t);
    char *grammar =
        many_rules("root ::= \"(\" (", "r%d | ", "r0)\n", "r%d ::= [^b] r%d \"b\" | \"c\"\n", 7000);
    double begin = strict_seconds();
    bound b = bind_text(&t, grammar);
    for (int i = 0; i < 3; i++) {
        slm_matcher_reset(b.m);
        ck_assert(allowed(mask_of(b.m), '('));
        ASSERT_FAILS(mask_behind(b.m, "("), SLM_ERR_LIMIT, TOO_MUCH_FOR_A_MASK);
    }
    ck_assert_double_lt(strict_seconds() - begin, sanitized() ? 30 : 6);
    free(grammar);
    release(&b);
    close_tokens(&t);
}
END_TEST

/* Two halves of the rules are not too much, all of them are; also where others have done the halves before. */
START_TEST(test_fault_61_whoever_comes_first) {
    enum { HALF = 200 };
    tokens t;
    open_long_tokens(&t);
    char text[60 * 2 * HALF + 200], *p = text;
    p += sprintf(p, "root ::= \"x\" (first | second) | \"y\" first | \"z\" second\n");
    for (int k = 0; k < 2; k++) {
        p += sprintf(p, "%s ::= r%d", k ? "second" : "first", k * HALF);
        for (int i = 1; i < HALF; i++) p += sprintf(p, " | r%d", k * HALF + i);
        p += sprintf(p, "\n");
    }
    for (int i = 0; i < 2 * HALF; i++) p += sprintf(p, "r%d ::= [^b] r%d \"b\" | \"c\"\n", i, i);
    bound one = bind_text(&t, text), other = bind_text(&t, text);
    for (int i = 0; i < 2; i++)
        ASSERT_FAILS(mask_behind(one.m, "x"), SLM_ERR_LIMIT, TOO_MUCH_FOR_A_MASK);
    slm_matcher *second;
    ck_assert_int_eq(slm_matcher_create(other.c, NULL, &second, &err), SLM_OK);
    ck_assert_int_eq(mask_behind(second, "y"), SLM_OK);
    ck_assert_int_eq(mask_behind(second, "z"), SLM_OK);
    ck_assert_int_eq(mask_behind(other.m, "z"), SLM_OK);
    for (int i = 0; i < 2; i++) {
        ASSERT_FAILS(mask_behind(other.m, "x"), SLM_ERR_LIMIT, TOO_MUCH_FOR_A_MASK);
        ASSERT_FAILS(mask_behind(second, "x"), SLM_ERR_LIMIT, TOO_MUCH_FOR_A_MASK);
    }
    ck_assert_int_eq(mask_behind(one.m, "y"), SLM_OK);
    slm_matcher_free(second);
    release(&one);
    release(&other);
    close_tokens(&t);
}
END_TEST

/* Thousands of places that read any of thousands of tokens: a byte costs some milliseconds at most, then it is LIMIT. */
START_TEST(test_fault_61_text_is_bounded) {
    enum { MANY = 3000, STEPS = 300 };
    tokens t;
    open_long_tokens(&t);
    char *grammar = malloc(100 + 12 * MANY), *p = grammar;
    ck_assert_ptr_nonnull(grammar);
    p += sprintf(p, "root ::= (x{300,2000} \"b\"){300,2000}\nx ::= (\"a\" (\"c\"");
    for (int i = 0; i < MANY; i++) p += sprintf(p, "|<[%d]>", i);
    sprintf(p, ")?){1,500}{1,300} \"c\"? | \"ab\" x?\n");
    bound b = bind_text(&t, grammar);
    free(grammar);
    slm_status s = SLM_OK;
    int n = 0;
    double begin = strict_seconds();
    for (; n < STEPS && s == SLM_OK; n++) s = slm_matcher_accept_text(b.m, "a", 1, &err);
    ck_assert_double_lt(strict_seconds() - begin, sanitized() ? 20 : 4);
    ck_assert_int_eq(s, SLM_ERR_LIMIT);
    ck_assert_str_eq(
        err.message,
        "too many ways to read the text: more than 1048576 steps for a byte or a token");
    /* the same where what came before is remembered, by a token, and where it is forgotten */
    for (int round = 0; round < 2; round++) {
        slm_matcher_reset(b.m);
        for (int i = 0; i < n - 1; i++) accept(b.m, 'a');
        ASSERT_FAILS(slm_matcher_accept(b.m, 'a', &err), SLM_ERR_LIMIT, "for a byte or a token");
        ck_assert_int_eq(slm_matcher_rollback(b.m, 2, &err), SLM_OK);
        accept(b.m, 'a');
    }
    release(&b);
    close_tokens(&t);
}
END_TEST

/* A copy has to hold all that can be taken back: here more places than a new machine may have. */
START_TEST(test_fault_61_too_wide_to_copy) {
    tokens t;
    open_tokens(&t);
    bound b = bind_text(
        &t, "root ::= (x{300,2000} \"b\"){300,2000}\nx ::= \"a\"{1,500}{1,300} \"c\"? | \"ab\" x?");
    slm_matcher *copy;
    slm_status s = slm_matcher_clone(b.m, &copy, &err);
    ck_assert_int_eq(s, SLM_OK);
    int n = 0;
    for (; s == SLM_OK && n < 800; n++) {
        slm_matcher_free(copy);
        accept(b.m, 'a');
        s = slm_matcher_clone(b.m, &copy, &err);
    }
    ck_assert_int_eq(s, SLM_ERR_LIMIT);
    ck_assert_ptr_null(copy);
    ck_assert_int_gt(n, 10);
    ck_assert_str_eq(
        err.message,
        "too many places in the grammar are needed at a time, to go on and to step back");
    accept(b.m, 'a'); /* it goes on itself, and can be taken back a little less */
    ck_assert_int_eq(slm_matcher_rollback(b.m, 5, &err), SLM_OK);
    accept(b.m, 'a');
    release(&b);
    close_tokens(&t);
}
END_TEST

/* What is remembered costs as much as when it was found out. */
START_TEST(work_does_not_depend_on_the_past) {
    static const char text[] = "x aabac(bb(aac) b) a";
    static const char rules[] = "root ::= ([a-c] | \" \" | \"(\" root \")\"){0,9} | \"x\" root+";
    slm_grammar *g;
    slm__machine m;
    uint64_t work[3];
    ck_assert_int_eq(slm_grammar_parse(rules, strlen(rules), NULL, &g, &err), SLM_OK);
    ck_assert_int_eq(slm__machine_init(&m, g, &g->allocator, &err), SLM_OK);
    slm__mark mark = slm__machine_mark(&m);
    for (int i = 0; i < 3; i++) {
        if (i == 2) slm__machine_release(&m, mark);
        uint32_t set = slm__machine_start(&m);
        work[i] = m.work;
        for (const char *c = text; *c; c++) set = slm__machine_byte(&m, set, (uint8_t)*c);
        ck_assert_uint_gt(set, SET_ENDED);
        work[i] = m.work - work[i];
    }
    ck_assert_uint_gt(work[0], 20);
    ck_assert_uint_eq(work[1], work[0]);
    ck_assert_uint_eq(work[2], work[0]);
    slm__machine_free(&m);
    slm_grammar_free(g);
}
END_TEST

/* ---- Frames made to collide ---- */

enum { LETTERS = 26, WORDS = LETTERS * LETTERS * LETTERS };

static void word_of(int i, char *word) {
    for (int k = 2; k >= 0; k--, i /= LETTERS) word[k] = (char)('a' + i % LETTERS);
}

/* root ::= "aaa" root "aaa" | "aab" root "aab" ... | ".": any word may open the next bracket. */
static slm_grammar *words_grammar(void) {
    char *text = malloc(32 * WORDS + 100), *p = text + sprintf(text, "root ::= \".\"");
    ck_assert_ptr_nonnull(text);
    for (int i = 0; i < WORDS; i++) {
        char word[4] = {0};
        word_of(i, word);
        p += sprintf(p, "|\"%s\"root\"%s\"", word, word);
    }
    slm_grammar *g;
    ck_assert_msg(slm_grammar_parse(text, (size_t)(p - text), NULL, &g, &err) == SLM_OK, "%s",
                  err.message);
    free(text);
    return g;
}

static uint32_t read_word(slm__machine *m, uint32_t set, int i) {
    char word[3];
    word_of(i, word);
    for (int k = 0; k < 3; k++) set = slm__machine_byte(m, set, (uint8_t)word[k]);
    ck_assert_uint_gt(set, SET_ENDED);
    return set;
}

/* The frame of what was opened last. */
static uint32_t innermost(const slm__machine *m, uint32_t set) {
    uint32_t frame = 0;
    for (uint32_t i = 0; i < m->sets.p[set].n; i++)
        if (m->places.p[m->sets.p[set].at + i].frame > frame)
            frame = m->places.p[m->sets.p[set].at + i].frame;
    return frame;
}

/* Longest way in a tree, and its nodes. Each link leads to a newer one, so no stack is needed. */
static uint32_t measure_tree(const slm__machine *m, uint32_t head, uint32_t *n_nodes) {
    uint32_t *depth = calloc(m->frames.n, sizeof *depth), deepest = 0;
    ck_assert_ptr_nonnull(depth);
    *n_nodes = 0;
    if (m->frame_heads[head] != 0) depth[m->frame_heads[head] - 1] = 1;
    for (uint32_t i = 0; i < m->frames.n; i++) {
        if (depth[i] == 0) continue;
        ++*n_nodes;
        if (depth[i] > deepest) deepest = depth[i];
        for (int k = 0; k < 2; k++) {
            uint32_t below = m->frames.p[i].below[k];
            if (below != 0) depth[below - 1] = depth[i] + 1;
        }
    }
    free(depth);
    return deepest;
}

/* A text that opens, of all brackets that it may open, the one whose frame falls to the first tree: it holds most of the frames, and its ways are short. */
START_TEST(test_fault_61_frames_made_to_collide) {
    enum { OPEN = 1500 };
    static uint32_t ret[WORDS];
    slm_grammar *g = words_grammar();
    slm__machine m;
    ck_assert_int_eq(slm__machine_init(&m, g, &g->allocator, &err), SLM_OK);
    slm__mark mark = slm__machine_mark(&m);
    uint32_t start = slm__machine_start(&m);
    for (int i = 0; i < WORDS; i++) {
        uint32_t behind = read_word(&m, start, i); /* which may move the frames */
        ret[i] = m.frames.p[innermost(&m, behind)].ret;
        if (slm__machine_full(&m, mark)) {
            slm__machine_release(&m, mark);
            start = slm__machine_start(&m);
        }
    }
    slm__machine_release(&m, mark);
    uint32_t set = slm__machine_start(&m), n_nodes;
    for (int n = 0; n < OPEN; n++) {
        slm__frame f = {.parent = n == 0 ? FRAME_END : innermost(&m, set), .body = SLM__NO_STATE};
        int best = 0;
        for (int i = 0; i < WORDS; i++) {
            f.ret = ret[i];
            if (slm__frame_hash(&f) % SLM__HEADS != 0) continue;
            best = i;
            break;
        }
        set = read_word(&m, set, best);
    }
    uint32_t deepest = measure_tree(&m, 0, &n_nodes);
    ck_assert_uint_gt(n_nodes, OPEN / 3);
    ck_assert_uint_le(deepest, 32);
    slm__machine_release(&m, mark); /* all of it can be taken out again */
    measure_tree(&m, 0, &n_nodes);
    ck_assert_uint_eq(n_nodes, 0);
    for (uint32_t i = 0; i < mark.frames; i++)
        ck_assert_uint_eq(m.frames.p[i].below[0] | m.frames.p[i].below[1], 0);
    slm__machine_free(&m);
    slm_grammar_free(g);
}
END_TEST

int main(void) {
    Suite *s = suite_create("matcher_limits");
    TCase *t = tcase_create("limits");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, test_fault_61_seven_thousand_rules);
    tcase_add_test(t, test_fault_61_whoever_comes_first);
    tcase_add_test(t, test_fault_61_text_is_bounded);
    tcase_add_test(t, test_fault_61_too_wide_to_copy);
    tcase_add_test(t, work_does_not_depend_on_the_past);
    tcase_add_test(t, test_fault_61_frames_made_to_collide);
    suite_add_tcase(s, t);
    return run_suite(s);
}
