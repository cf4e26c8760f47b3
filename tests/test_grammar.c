/* GBNF: what is read, what is refused and where, and which texts the automaton allows. Expectations are by hand, from the format's description. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../libslm/machine.h"
#include "support/check_alloc.h"
#include "support/strict.h"
#include "support/suite.h"

static slm_error err;

static slm_grammar *compiled(const char *text) {
    slm_grammar *g;
    ck_assert_msg(slm_grammar_parse(text, strlen(text), NULL, &g, &err) == SLM_OK, "%s: %s", text,
                  err.message);
    ck_assert_int_eq(err.status, SLM_OK);
    return g;
}

enum { DEAD, BEGUN, WHOLE };

/* What the text is to the grammar. */
static int read_text(const slm_grammar *g, const char *text, size_t n) {
    slm__machine m;
    ck_assert_int_eq(slm__machine_init(&m, g, &(slm_allocator){0}, &err), SLM_OK);
    uint32_t set = slm__machine_start(&m);
    for (size_t i = 0; i < n; i++) set = slm__machine_byte(&m, set, (uint8_t)text[i]);
    ck_assert_uint_ne(set, SET_FAILED);
    int what = set == SET_DEAD ? DEAD : m.sets.p[set].ends ? WHOLE : BEGUN;
    slm__machine_free(&m);
    return what;
}

typedef struct text_case {
    const char *grammar;
    const char *whole[6], *begun[6], *dead[8];
} text_case;

static const text_case text_cases[] = {
    {"root ::= \"ab\" | \"ac\"", {"ab", "ac"}, {"", "a"}, {"b", "abc", "aa"}},
    {"root ::= [a-c]+", {"a", "cab"}, {""}, {"d", "ad"}},
    {"root ::= [^a-c]",
     {"d", "\n", "\xc3\xa9"},
     {"", "\xc3"},
     {"a", "dd", "\xff", "\xed\xa0", "\xc0"}},
    {"root ::= [-a]  [a-]  [\\]x]?", {"--", "aa]", "-ax"}, {"", "-"}, {"b", "--a"}},
    {"root ::= [\\]\\[\\-\\\\]{4}", {"[]-\\"}, {"[", "]]-"}, {"a", "[[[[["}},
    {"root ::= .", {"a", "\n", "\xf0\x9f\x98\x80"}, {"\xf0\x9f"}, {"ab", "\xf8"}},
    {"root ::= \"\\x41\\u00e9\\U0001f600\\n\\t\\r\\\"\\\\\"",
     {"A\xc3\xa9\xf0\x9f\x98\x80\n\t\r\"\\"},
     {"A\xc3"},
     {"a"}},
    {"root ::= \"\\xe9\"", {"\xc3\xa9"}, {"\xc3"}, {"\xe9"}},
    {"root ::= \"\"", {""}, {NULL}, {"a"}},
    {"root ::= ", {""}, {NULL}, {"a"}},
    {"root ::= \"a\" |", {"", "a"}, {NULL}, {"b", "aa"}},
    {"root ::= (\"a\" | (\"b\"\n|\n\"c\" # here\n) )*\n", {"", "abc", "ccc"}, {NULL}, {"d", "ad"}},
    {"# first\nroot ::=\n  \"a\" b |\n \"c\"\n\n\nb ::= \"b\"\r\nunused ::= \"x\"",
     {"ab", "c"},
     {"a"},
     {"x", "b"}},
    {"root ::= \"a\"{3}", {"aaa"}, {"", "aa"}, {"aaaa"}},
    {"root ::= \"a\"{2,}", {"aa", "aaaaaaaa"}, {"a"}, {"b"}},
    {"root ::= \"a\"{ 1 , 2 }", {"a", "aa"}, {""}, {"aaa"}},
    {"root ::= \"a\"{0,2}", {"", "aa"}, {NULL}, {"aaa"}},
    {"root ::= \"ab\"?", {"", "ab"}, {"a"}, {"abab"}},
    {"root ::= \"ab\"{0}", {""}, {NULL}, {"a"}},
    {"root ::= [a-z]{2,4}", {"ab", "abcd"}, {"", "a"}, {"abcde"}},
    {"root ::= [^x]{2,4}",
     {"ab", "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"},
     {"a", "a\xc3"},
     {"abcde", "x"}},
    {"root ::= ([^x]{2,4} \"x\"){2}", {"abxabcdx"}, {"abcd", "abx"}, {"abcde", "xx", "abxabxa"}},
    {"root ::= \"(\" root? \")\"", {"()", "((()))"}, {"(", "((", "(()"}, {")", "())"}},
    {"root ::= \"a\" root \"a\" | \"b\"", {"b", "aabaa"}, {"a", "aaba"}, {"aabaaa"}},
    {"root ::= a a\na ::= \"x\" | \"xx\"", {"xx", "xxx", "xxxx"}, {"x"}, {"xxxxx"}},
    {"root ::= x1 x-2\nx1 ::= \"1\"\nx-2 ::= \"2\"", {"12"}, {"1"}, {"2"}},
    /* rules of which some way never ends: it is taken out */
    {"root ::= \"a\" | \"b\" x\nx ::= \"c\" x", {"a"}, {""}, {"b", "bc"}},
    {"root ::= \"a\" (\"b\" x)*\nx ::= \"c\" x", {"a"}, {""}, {"ab", "abc"}},
};

START_TEST(texts) {
    const text_case *c = &text_cases[_i];
    slm_grammar *g = compiled(c->grammar);
    for (int i = 0; i < 6 && c->whole[i]; i++)
        ck_assert_msg(read_text(g, c->whole[i], strlen(c->whole[i])) == WHOLE, "%s: %s", c->grammar,
                      c->whole[i]);
    for (int i = 0; i < 6 && c->begun[i]; i++)
        ck_assert_msg(read_text(g, c->begun[i], strlen(c->begun[i])) == BEGUN, "%s: %s", c->grammar,
                      c->begun[i]);
    for (int i = 0; i < 8 && c->dead[i]; i++)
        ck_assert_msg(read_text(g, c->dead[i], strlen(c->dead[i])) == DEAD, "%s: %s", c->grammar,
                      c->dead[i]);
    ck_assert_int_eq(read_text(g, "\0", 1), strchr(c->grammar, '.') || strchr(c->grammar, '^')
                                                ? read_text(g, "d", 1)
                                                : DEAD);
    slm_grammar_free(g);
}
END_TEST

/* ---- What is refused ---- */

static void refused(const char *text, size_t n, slm_status status, const char *word) {
    slm_grammar *g = (slm_grammar *)&err;
    ASSERT_FAILS(slm_grammar_parse(text, n, NULL, &g, &err), status, word);
    ck_assert_ptr_null(g);
}

static char *repeated(const char *begin, const char *part, int n, const char *end) {
    char *text = malloc(strlen(begin) + strlen(part) * (size_t)n + strlen(end) + 1);
    ck_assert_ptr_nonnull(text);
    strcpy(text, begin);
    char *p = text + strlen(text);
    for (int i = 0; i < n; i++, p += strlen(part)) strcpy(p, part);
    strcpy(p, end);
    return text;
}

START_TEST(test_fault_54_depth) {
    char *text = repeated("root ::= ", "(", 60000, "");
    refused(text, strlen(text), SLM_ERR_LIMIT, "1:266: groups more than 256 deep");
    free(text);
    text = repeated("root ::= ", "(", 256, "\"a\"");
    char *whole = repeated(text, ")", 256, "");
    slm_grammar *g = compiled(whole);
    ck_assert_int_eq(read_text(g, "a", 1), WHOLE);
    slm_grammar_free(g);
    free(text);
    free(whole);
    /* nested repetitions without parentheses are no groups */
    text = repeated("root ::= \"a\"", "*", 60000, "");
    g = compiled(text);
    ck_assert_int_eq(read_text(g, "aaaa", 4), WHOLE);
    slm_grammar_free(g);
    free(text);
}
END_TEST

START_TEST(test_fault_55_empty_loops) {
    static const char *const grammars[] = {
        "root ::= (\"a\"*)*",
        "root ::= (\"a\"*){2,5000}",
        "root ::= ((\"a\"?)*)+",
        "root ::= (e | \"a\")*\ne ::= \"\"",
        "root ::= (\"a\" | e)*\ne ::= (\"\" | \"a\" e){3}",
        "root ::= [^b]{0,100}{2,9}",
    };
    for (size_t i = 0; i < sizeof grammars / sizeof *grammars; i++) {
        slm_grammar *g = compiled(grammars[i]);
        ck_assert_int_eq(read_text(g, "", 0), WHOLE);
        ck_assert_int_eq(read_text(g, "aaaaaaa", 7), WHOLE);
        ck_assert_int_eq(read_text(g, "aaab", 4), DEAD);
        slm_grammar_free(g);
    }
}
END_TEST

START_TEST(test_fault_55_left_recursion) {
    static const char *const grammars[] = {
        "root ::= root \"a\" | \"a\"",
        "root ::= \"b\" x\nx ::= x | \"a\"",
        "root ::= x\nx ::= \"a\"? y\ny ::= \"b\"* x | \"c\"",
        "root ::= (\"\" root)* \"a\"",
        "root ::= (root{3,2000}) \"a\" | \"b\"",
        "root ::= [^a]{0,99} root \"a\" | \"b\"",
    };
    for (size_t i = 0; i < sizeof grammars / sizeof *grammars; i++)
        refused(grammars[i], strlen(grammars[i]), SLM_ERR_FORMAT, "left recursion");
    slm_grammar *g = compiled("root ::= \"a\" root | \"b\"");
    ck_assert_int_eq(read_text(g, "aaaaab", 6), WHOLE);
    slm_grammar_free(g);
}
END_TEST

/* r0 ::= r1, or "x" r1 and one that is large enough not to be written out */
START_TEST(test_fault_55_long_chains) {
    static const char *const forms[] = {
        "r%d ::= r%d\n", "r%d ::= \"\" r%d\n", "r%d ::= (r%d)\n",
        "r%d ::= r%d | \"0123456789012345678901234567890123456789\"\n"};
    enum { CHAIN = 5000 };
    char *text = malloc(CHAIN * 80 + 200);
    ck_assert_ptr_nonnull(text);
    for (size_t form = 0; form < 4; form++) {
        for (int reversed = 0; reversed < 2; reversed++) {
            char *p = text + sprintf(text, "root ::= r0\n");
            for (int i = 0; i < CHAIN; i++) {
                int at = reversed ? CHAIN - 1 - i : i;
                p += sprintf(p, forms[form], at, at + 1);
            }
            sprintf(p, "r%d ::= \"x\"\n", CHAIN);
            slm_grammar *g = compiled(text);
            ck_assert_int_eq(read_text(g, "x", 1), WHOLE);
            ck_assert_int_eq(read_text(g, "0123", 4), form == 3 ? BEGUN : DEAD);
            slm_grammar_free(g);
        }
    }
    free(text);
}
END_TEST

START_TEST(test_fault_56_counts) {
    static const char *const grammars[] = {
        "root ::= \"a\"{0,1000000000}",     "root ::= \"a\"{1000001}",
        "root ::= \"a\"{1000001,}",         "root ::= \"a\"{99999999999999999999}",
        "root ::= \"a\"{1000}{1000}{1000}", "root ::= ((\"a\"{1000} \"b\"){1000} | \"c\"){0,1000}",
    };
    for (size_t i = 0; i < sizeof grammars / sizeof *grammars; i++)
        refused(grammars[i], strlen(grammars[i]), SLM_ERR_LIMIT, "1:");
    /* doubling rules are no counts: they are called */
    char text[2000], *p = text + sprintf(text, "root ::= d0\n");
    for (int i = 0; i < 40; i++) p += sprintf(p, "d%d ::= d%d d%d\n", i, i + 1, i + 1);
    sprintf(p, "d40 ::= \"a\"\n");
    slm_grammar *g = compiled(text);
    ck_assert_uint_lt(g->states.n, 1000);
    ck_assert_int_eq(read_text(g, "aaaaaaaaaaaaaaaa", 16), BEGUN);
    slm_grammar_free(g);
    /* 2^64 states if it were made deterministic whole */
    const char *wide = "root ::= [ab]* \"a\" ([ab] [ab] [ab] [ab] [ab] [ab] [ab] [ab]){4} [ab]";
    refused(wide, strlen(wide), SLM_ERR_LIMIT, "states");
}
END_TEST

/* Rules that are nothing but the one before, twice: written out they would double with each line. */
START_TEST(test_fault_56_doubling) {
    static const char *const first[] = {"[^\\x00-\\U0010FFFF]", "\"\"", "\"a\""};
    static const char *const between[] = {"|", ""};
    for (int i = 0; i < 6; i++) {
        char text[4000];
        slm_grammar *g = NULL;
        size_t n = (size_t)sprintf(text, "root ::= \"a\" | r60\nr0 ::= %s\n", first[i / 2]);
        for (int k = 1; k <= 60; k++)
            n += (size_t)sprintf(text + n, "r%d ::= r%d %s r%d\n", k, k - 1, between[i % 2], k - 1);
        double begin = strict_seconds();
        slm_status s = slm_grammar_parse(text, n, NULL, &g, &err);
        ck_assert_msg(s == SLM_OK || s == SLM_ERR_LIMIT, "%s", err.message);
        ck_assert_double_lt(strict_seconds() - begin, 1);
        slm_grammar_free(g);
    }
}
END_TEST

/* Parts, each with its number in it, between a begin and an end. */
typedef struct parts {
    const char *begin, *part, *end,
        *rule; /* rule NULL: none; else one for each number behind the end */
    int n;
    slm_status status;
    const char *word;
} parts;

static char *written(const parts *c) {
    char *text = malloc(1 << 21), *p = text + sprintf(text, "%s", c->begin);
    ck_assert_ptr_nonnull(text);
    for (int i = 0; i < c->n; i++) p += sprintf(p, c->part, i, i);
    p += sprintf(p, "%s\n", c->end);
    for (int i = 0; i < c->n && c->rule; i++) p += sprintf(p, c->rule, i, i);
    return text;
}

/* What takes more than linear time if it is done as it comes to mind. */
static const parts hostile[] = {
    /* an alternative each, all of which go on beside each other */
    {"root ::= ", "[0-9]* \"%d\" | ", "\"x\"", NULL, 3000, SLM_ERR_LIMIT, "steps"},
    {"root ::= ", "\"a\"? ", "\"b\"", NULL, 20000, SLM_ERR_LIMIT, "steps"},
    /* calls from one state: rules that never end, and rules that do */
    {"root ::= ", "r%d | ", "\"x\"", "r%d ::= \"a\" r%d\n", 30000, SLM_OK, ""},
    {"root ::= ", "r%d | ", "\"x\"", "r%d ::= \"a\" r%d \"b\" | \"c\"\n", 8000, SLM_OK, ""},
    /* tokens by name and by number */
    {"root ::= ", "<t%d> | !<[%d]> | ", "\"x\"", NULL, 30000, SLM_OK, ""},
};

START_TEST(test_fault_56_work) {
    const parts *c = &hostile[_i];
    char *text = written(c);
    slm_grammar *g;
    double begin = strict_seconds();
    slm_status s = slm_grammar_parse(text, strlen(text), NULL, &g, &err);
    ck_assert_double_lt(strict_seconds() - begin, sanitized() ? 20 : 4);
    ck_assert_msg(s == c->status && strstr(err.message, c->word), "%s", err.message);
    if (g) ck_assert_int_eq(read_text(g, "x", 1), WHOLE);
    slm_grammar_free(g);
    free(text);
}
END_TEST

/* Every second code point, even places of the list first: what Shell's sort with gaps of powers of two takes quadratic time for. */
START_TEST(ranges_in_any_order) {
    enum { N = 1 << 16 };
    char *text = malloc(11 * N + 100), *p = text + sprintf(text, "root ::= [");
    ck_assert_ptr_nonnull(text);
    for (unsigned i = 0; i < N; i++)
        p += sprintf(p, "\\U%08x", 0x10000 + 2 * (i / 2 + (i % 2) * N / 2));
    strcpy(p, "]");
    double begin = strict_seconds();
    slm_grammar *g = compiled(text);
    ck_assert_double_lt(strict_seconds() - begin, sanitized() ? 20 : 4);
    ck_assert_int_eq(read_text(g, "\xf0\x90\x80\x82", 4), WHOLE);
    ck_assert_int_eq(read_text(g, "\xf0\x90\x80\x83", 4), DEAD);
    ck_assert_int_eq(read_text(g, "\xf0\xaf\xbf\xbe", 4), WHOLE);
    slm_grammar_free(g);
    free(text);
}
END_TEST

/* Large counts are counted, not written out. */
START_TEST(counts) {
    slm_grammar *g = compiled("root ::= \"\\\"\" [^\"]{3,10000} \"\\\"\"");
    ck_assert_uint_lt(g->states.n, 32);
    static char text[10010];
    memset(text, 'x', sizeof text);
    text[0] = '"';
    for (int n = 0; n <= 10001; n += n < 6 || n > 9990 ? 1 : 555) {
        text[n + 1] = '"';
        ck_assert_int_eq(read_text(g, text, (size_t)n + 2), n >= 3 && n <= 10000 ? WHOLE : DEAD);
        text[n + 1] = 'x';
    }
    slm_grammar_free(g);
    g = compiled("root ::= (\"ab\" | \"c\" [0-9]){99,1000000} \"e\"");
    ck_assert_int_eq(read_text(g, "abc1e", 5), DEAD);
    char *long_text = repeated("", "abc7", 50, "e");
    ck_assert_int_eq(read_text(g, long_text, strlen(long_text)), WHOLE);
    free(long_text);
    slm_grammar_free(g);
}
END_TEST

static const struct {
    const char *text, *message;
    size_t n; /* 0: strlen */
} syntax[] = {
    {"", "1:1: there is no rule named root", 0},
    {"rot ::= \"a\"", "1:1: there is no rule named root", 0},
    {"root ::= a", "1:10: a rule that is not defined", 0},
    {"root ::= \"x\"\n  a ::= \"\xc3\xa9\" b", "2:13: a rule that is not defined", 0},
    {"root ::= \"a\"\nroot ::= \"b\"", "2:1: a rule that is defined already", 0},
    {"root ::= \"a", "1:12: the grammar ends", 0},
    {"root ::= [a", "1:12: the grammar ends", 0},
    {"root ::= [a-", "1:13: the grammar ends", 0},
    {"root ::= []", "1:10: an empty class", 0},
    {"root ::= [^]", "1:10: an empty class", 0},
    {"root ::= [z-a]", "1:11: a range that ends before", 0},
    {"root ::= \"\\q\"", "1:11: there is no such escape", 0},
    {"root ::= \"\\", "1:11: there is no such escape", 0},
    {"root ::= \"\\x4\"", "1:11: an escape of too few", 0},
    {"root ::= \"\\u12\"", "1:11: an escape of too few", 0},
    {"root ::= \"\\U00110000\"", "1:11: an escape above U+10FFFF", 0},
    {"root ::= \"\\ud800\"", "1:11: half of a surrogate pair", 0},
    {"root ::= \"\xff\"", "1:11: no valid UTF-8", 0},
    {"root ::= (\"a\"", "1:10: a group that does not end", 0},
    {"root ::= \"a\")", "1:13: expected an item", 0},
    {"root ::= (\"a\" ]", "1:15: expected an item", 0},
    {"root ::= *", "1:10: there is nothing to repeat", 0},
    {"root ::= \"a\" | +", "1:16: there is nothing to repeat", 0},
    {"root ::= (?)", "1:11: there is nothing to repeat", 0},
    {"root ::= \"a\"{", "1:14: expected a number", 0},
    {"root ::= \"a\"{,3}", "1:14: expected a number", 0},
    {"root ::= \"a\"{3", "1:15: expected }", 0},
    {"root ::= \"a\"{3,x}", "1:16: expected }", 0},
    {"root ::= \"a\"{3,2}", "1:13: at least more times", 0},
    {"root := \"a\"", "1:7: expected ::=", 0},
    {"root", "1:5: expected ::=", 0},
    {"::= \"a\"", "1:1: expected the name", 0},
    {"root ::= a_b", "1:11: expected an item", 0},
    {"root ::= \"a\"\n| \"b\"", "2:1: expected the name", 0},
    {"root ::= <a", "1:12: expected >", 0},
    {"root ::= <[1>", "1:13: expected ]>", 0},
    {"root ::= <[x]>", "1:12: expected a number", 0},
    {"root ::= !\"a\"", "1:11: expected a token", 0},
    {"root ::= \"a\"\0", "1:13: expected an item", 13},
    {"root ::= x\nx ::= \"a\" x", "no text fits", 0},
    {"root ::= [^\\x00-\\U0010ffff]", "no text fits", 0},
};

START_TEST(test_fault_57_syntax) {
    size_t n = syntax[_i].n ? syntax[_i].n : strlen(syntax[_i].text);
    refused(syntax[_i].text, n, SLM_ERR_FORMAT, syntax[_i].message);
    if (_i >= 3 && strchr(syntax[_i].message, ':'))
        ck_assert_msg(strncmp(err.message, syntax[_i].message, strlen(syntax[_i].message)) == 0,
                      "%s: %s", syntax[_i].text, err.message);
}
END_TEST

START_TEST(arguments) {
    slm_grammar *g;
    ASSERT_FAILS(slm_grammar_parse("x", 1, NULL, NULL, &err), SLM_ERR_ARGUMENT, "out");
    refused(NULL, 1, SLM_ERR_ARGUMENT, "text");
    refused(NULL, 0, SLM_ERR_FORMAT, "root");
    slm_allocator half = {.free = check_allocator(&(check_alloc){0}).free};
    ASSERT_FAILS(slm_grammar_parse("x", 1, &half, &g, &err), SLM_ERR_ARGUMENT, "allocator");
    char *text = repeated("root ::= \"", "x", 1 << 20, "\"");
    refused(text, strlen(text), SLM_ERR_LIMIT, "1048576");
    free(text);
    slm_grammar_free(NULL);
}
END_TEST

/* Every allocation fails once, and all from it on. */
START_TEST(no_memory) {
    const char *text =
        "root ::= (\"a\" [^b]{0,100} x | \"c\"){0,3} <[1]> <b>?\nx ::= \"(\" x? \")\" "
        "| \"0123456789012345678901234567890123456789\"\n";
    check_alloc c = {0};
    slm_allocator a = check_allocator(&c);
    slm_grammar *g;
    ck_assert_int_eq(slm_grammar_parse(text, strlen(text), &a, &g, &err), SLM_OK);
    slm_grammar_free(g);
    ck_assert_int_eq(c.n_live, 0);
    long n = c.n_calls;
    ck_assert_int_gt(n, 30);
    for (long i = 1; i <= n; i++) {
        for (int from = 0; from < 2; from++) {
            check_alloc failing = {.fail_at = i, .fail_from = from ? i : 0};
            a = check_allocator(&failing);
            ASSERT_FAILS(slm_grammar_parse(text, strlen(text), &a, &g, &err), SLM_ERR_NOMEM,
                         "no memory");
            ck_assert_int_eq(failing.n_live, 0);
        }
    }
}
END_TEST

/* ---- The builder ---- */

START_TEST(builder) {
    slm__rules *r;
    slm_grammar *g;
    ck_assert_int_eq(slm__rules_create(NULL, &r, &err), SLM_OK);
    int32_t a = slm__rules_text(r, "a", 1), b = slm__rules_text(r, "b", 1);
    ck_assert_int_gt(a, 0);
    ck_assert_int_ne(a, b);
    ck_assert_int_eq(slm__rules_text(r, "a", 1), a); /* equal nodes are one */
    int32_t both[2] = {a, b};
    ck_assert_int_eq(slm__rules_seq(r, both, 2), slm__rules_seq(r, both, 2));
    ck_assert_int_ne(slm__rules_seq(r, both, 2), slm__rules_alt(r, both, 2));
    slm__range ranges[] = {{'c', 'd'}, {'b', 'c'}, {0xd900, 0xdfff}, {'x', 'w'}};
    slm__range same[] = {{'b', 'd'}};
    ck_assert_int_eq(slm__rules_class(r, ranges, 4, false), slm__rules_class(r, same, 1, false));
    ck_assert_int_eq(slm__rules_class(r, ranges + 2, 2, false), slm__rules_alt(r, NULL, 0));
    ck_assert_int_eq(slm__rules_repeat(r, a, 1, 1), a);
    ck_assert_int_eq(slm__rules_repeat(r, a, 2, 1), slm__rules_alt(r, NULL, 0));
    int32_t rule = slm__rules_new(r, "item", 4), root = slm__rules_new(r, "", 0);
    int32_t list = slm__rules_repeat(r, slm__rules_ref(r, rule), 2, 3);
    slm__rules_define(r, root, list);
    ASSERT_FAILS(slm__grammar_compile(r, root, &g, &err), SLM_ERR_FORMAT,
                 "\"item\" is not defined");
    slm__rules_define(r, rule, slm__rules_alt(r, both, 2));
    ck_assert_int_eq(slm__grammar_compile(r, root, &g, &err), SLM_OK);
    ck_assert_int_eq(read_text(g, "ab", 2), WHOLE);
    ck_assert_int_eq(read_text(g, "a", 1), BEGUN);
    ck_assert_int_eq(read_text(g, "abba", 4), DEAD);
    slm_grammar_free(g);
    slm__rules_define(r, rule, a);
    ASSERT_FAILS(slm__rules_status(r, &err), SLM_ERR_RANGE, "\"item\" is defined twice");
    ck_assert_int_eq(slm__rules_text(r, "a", 1), 0); /* the first error stays */
    ASSERT_FAILS(slm__grammar_compile(r, root, &g, &err), SLM_ERR_RANGE, "twice");
    slm__rules_free(r);
    ck_assert_int_eq(slm__rules_create(NULL, &r, &err), SLM_OK);
    ck_assert_int_eq(slm__rules_ref(r, 1), 0);
    ASSERT_FAILS(slm__rules_status(r, &err), SLM_ERR_RANGE, "no rule 1");
    slm__rules_free(r);
}
END_TEST

/* The characters of strings are one automaton, however many strings there are. */
START_TEST(shared_bodies) {
    slm_grammar *one = compiled("root ::= \"1\" [^\"]{0,100} \"\\\"\"");
    slm_grammar *many =
        compiled("root ::= \"1\" [^\"]{0,100} \"\\\"\" [^\"]{2,300} \"\\\"\" [^\"]* \"\\\"\"");
    ck_assert_uint_eq(many->loops.n, 3);
    ck_assert_uint_eq(many->loops.p[0].body, many->loops.p[1].body);
    ck_assert_uint_eq(many->loops.p[0].body, many->loops.p[2].body);
    ck_assert_uint_le(many->states.n, one->states.n + 4);
    slm_grammar_free(one);
    slm_grammar_free(many);
}
END_TEST

int main(void) {
    Suite *s = suite_create("grammar");
    TCase *t = tcase_create("texts");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, texts, 0, sizeof text_cases / sizeof *text_cases);
    tcase_add_test(t, counts);
    suite_add_tcase(s, t);
    t = tcase_create("faults");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_fault_54_depth);
    tcase_add_test(t, test_fault_55_empty_loops);
    tcase_add_test(t, test_fault_55_left_recursion);
    tcase_add_test(t, test_fault_55_long_chains);
    tcase_add_test(t, test_fault_56_counts);
    tcase_add_test(t, test_fault_56_doubling);
    tcase_add_loop_test(t, test_fault_56_work, 0, sizeof hostile / sizeof *hostile);
    tcase_add_test(t, ranges_in_any_order);
    tcase_add_loop_test(t, test_fault_57_syntax, 0, sizeof syntax / sizeof *syntax);
    tcase_add_test(t, arguments);
    tcase_add_test(t, no_memory);
    suite_add_tcase(s, t);
    t = tcase_create("builder");
    tcase_add_test(t, builder);
    tcase_add_test(t, shared_bodies);
    suite_add_tcase(s, t);
    return run_suite(s);
}
