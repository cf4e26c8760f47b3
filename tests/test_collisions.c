/* Texts made to have one hash, where names, strings and tokens of callers are looked up: it costs no more than a moment, and then it is LIMIT. (Tokens
 * and merges of files: test_vocab_limits.c; dictionaries of templates: test_jinja.c; places of a grammar: test_matcher_limits.c.) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../libslm/base.h"
#include "support/bound.h"
#include "support/strict.h"
#include "support/suite.h"

static slm_error err;

/* ---- Words of 28 letters and digits with the same FNV-1a ---- */

enum { LETTERS = 36, FIRST = LETTERS * LETTERS * LETTERS, LAST = FIRST * LETTERS };
enum { BLOCK = 7, BLOCKS = 11, PARTS = 4, WORD = BLOCK * PARTS };

static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void spell(uint32_t number, int n, char *out) {
    for (int i = 0; i < n; i++, number /= LETTERS) out[i] = letters[number % LETTERS];
}

static uint32_t go_on(uint32_t state, const char *text, int n) {
    for (int i = 0; i < n; i++) state = (state ^ (uint8_t)text[i]) * 16777619u;
    return state;
}

/* Blocks that lead from a state of the hash back to it: three letters forward and four backward meet. Any of them behind any other
 * does so, too. */
static void find_blocks(uint32_t from, char blocks[BLOCKS][BLOCK]) {
    static uint64_t forward[FIRST];
    uint32_t inverse = 1, n = 0;
    for (int i = 0; i < 5; i++) inverse *= 2 - 16777619u * inverse; /* Newton */
    for (uint32_t i = 0; i < FIRST; i++) {
        char text[3];
        spell(i, 3, text);
        forward[i] = (uint64_t)go_on(from, text, 3) << 32 | i;
    }
    qsort(forward, FIRST, sizeof *forward, compare);
    for (uint32_t i = 0; i < LAST && n < BLOCKS; i++) {
        char text[4];
        uint32_t state = from, low = 0, high = FIRST;
        spell(i, 4, text);
        for (int k = 3; k >= 0; k--) state = state * inverse ^ (uint8_t)text[k];
        while (high - low > 1) {
            uint32_t middle = low + (high - low) / 2;
            if (forward[middle] >> 32 <= state)
                low = middle;
            else
                high = middle;
        }
        if (forward[low] >> 32 != state) continue;
        spell((uint32_t)forward[low], 3, blocks[n]);
        memcpy(blocks[n++] + 3, text, 4);
    }
    ck_assert_uint_eq(n, BLOCKS);
}

/* `form` with %s for each of the first n words, between `begin` and `end`; to be freed. */
static char *with_words(const char *begin, const char *form, const char *end, int n) {
    char blocks[BLOCKS][BLOCK], *text = malloc(100 + (size_t)n * (strlen(form) + WORD));
    ck_assert_ptr_nonnull(text);
    const char *before = strchr(form, '%');
    bool named = form[0] == '<'; /* that belongs to the name */
    uint32_t from = slm__hash(before - named, named);
    find_blocks(from, blocks);
    char *p = text + sprintf(text, "%s", begin);
    for (int i = 0; i < n; i++) {
        char word[WORD + 1] = {0};
        for (int k = 0, number = i; k < PARTS; k++, number /= BLOCKS)
            memcpy(word + BLOCK * k, blocks[number % BLOCKS], BLOCK);
        ck_assert_uint_eq(go_on(from, word, WORD), from);
        p += sprintf(p, form, word);
    }
    sprintf(p, "%s", end);
    return text;
}

static double seconds_allowed(void) { return sanitized() ? 20 : 3; }

/* ---- Where they are looked up ---- */

static void refused(const char *begin, const char *form, const char *end, const char *says) {
    slm_grammar *g;
    char *text = with_words(begin, form, end, 9000);
    double start = strict_seconds();
    ASSERT_FAILS(slm_grammar_parse(text, strlen(text), NULL, &g, &err), SLM_ERR_LIMIT, says);
    ck_assert_double_lt(strict_seconds() - start, seconds_allowed());
    free(text);
}

START_TEST(names_of_rules) {
    refused("", "%s ::= \"a\"\n", "root ::= \"a\"\n", "too many names of equal hashes");
}
END_TEST

START_TEST(parts_of_rules) {
    refused("root ::= ", "\"%s\" | ", "\"a\"\n", "more than 33554432 parts of equal hashes");
}
END_TEST

/* The names of a grammar's tokens, and those of the vocabulary. */
START_TEST(tokens_of_grammars) {
    enum { IN_GRAMMAR = 5500, IN_VOCABULARY = 3500 };
    tokens t = {.v = {.pre = "gpt-2"}};
    vb_begin(&t.v);
    char *names = with_words("", "<%s>", "", IN_VOCABULARY);
    for (int i = 0; i < IN_VOCABULARY; i++) {
        char name[WORD + 3] = {0};
        memcpy(name, names + (size_t)i * (WORD + 2), WORD + 2);
        vb_token(&t.v, name, VB_CONTROL);
    }
    t.model = vb_open(&t.v);
    char *text = with_words("root ::= (", "<%s>|", "\"a\")*\n", IN_GRAMMAR);
    slm_grammar *g;
    slm_constraint *c;
    double start = strict_seconds();
    ck_assert_msg(slm_grammar_parse(text, strlen(text), NULL, &g, &err) == SLM_OK, "%s",
                  err.message);
    ASSERT_FAILS(slm_constraint_create(g, t.model, NULL, &c, &err), SLM_ERR_LIMIT,
                 "too many tokens of the grammar share a hash");
    ck_assert_ptr_null(c);
    ck_assert_double_lt(strict_seconds() - start, seconds_allowed());
    slm_grammar_free(g);
    free(text);
    free(names);
    close_tokens(&t);
}
END_TEST

static const struct {
    const char *begin, *form, *end;
    slm_status status;
} schemas[] = {
    {"{\"enum\":[", "\"%s\",", "0]}", SLM_OK},
    {"{\"type\":\"object\",\"required\":[", "\"%s\",", "\"a\"]}", SLM_ERR_LIMIT},
    {"{\"$ref\":\"#/$defs/a\",\"$defs\":{", "\"%s\":true,", "\"a\":{}}}", SLM_ERR_LIMIT},
    {"{\"oneOf\":[", "{\"const\":\"%s\"},", "{\"const\":0}]}", SLM_ERR_LIMIT},
};

START_TEST(strings_of_schemas) {
    slm_grammar *g = NULL;
    char *text = with_words(schemas[_i].begin, schemas[_i].form, schemas[_i].end, 9000);
    slm_schema_params p = slm_schema_defaults();
    double start = strict_seconds();
    slm_status s = slm_grammar_from_schema(text, strlen(text), &p, &g, &err);
    ck_assert_double_lt(strict_seconds() - start, seconds_allowed());
    ck_assert_msg(s == schemas[_i].status, "%d: %s: %s", _i, slm_status_name(s), err.message);
    slm_grammar_free(g);
    free(text);
}
END_TEST

int main(void) {
    Suite *s = suite_create("collisions");
    TCase *t = tcase_create("collisions");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, names_of_rules);
    tcase_add_test(t, parts_of_rules);
    tcase_add_test(t, tokens_of_grammars);
    tcase_add_loop_test(t, strings_of_schemas, 0, sizeof schemas / sizeof *schemas);
    suite_add_tcase(s, t);
    return run_suite(s);
}
