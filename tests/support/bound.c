#include "bound.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static slm_error err;

static const char *const pieces[][2] = {{"a", "a"},
                                        {"aa", "aa"},
                                        {"aaaa", "aaaa"},
                                        {"aaaaaaaa", "a"},
                                        {"aaaaaaaaa", "aaaaaaaa"},
                                        {"a", "b"},
                                        {"b", "a"},
                                        {"ab", "ab"},
                                        {"abab", "abab"},
                                        {"b", "b"},
                                        {"b", "c"},
                                        {"bc", "a"},
                                        {"c", "c"},
                                        {"c", "\""},
                                        {"\"", "a"},
                                        {"\"", "\""},
                                        {"a", "\""},
                                        {"a\"", "b"},
                                        {"\"", "\n"},
                                        {"\n", "\n"},
                                        {"\n", "a"},
                                        {"\\", "a"},
                                        {"\\", "\\"},
                                        {"a", "\xc3"},
                                        {"\xc3", "\xa9"},
                                        {"\xa9", "b"},
                                        {"\xc3\xa9", "a"},
                                        {"\xe2", "\x82"},
                                        {"\x82", "\xac"},
                                        {"\xe2\x82", "\xac"},
                                        {"\xe2\x82", "\xad"},
                                        {"\xac", "a"},
                                        {"\xf0", "\x9f"},
                                        {"\xf0\x9f", "\x98"},
                                        {"\x98", "\x80"},
                                        {"\xf0\x9f\x98", "\x80"},
                                        {"b", "\xe2"},
                                        {"b\xe2", "\x82"},
                                        {"\xed", "\xa0"},
                                        {"abab", "c"},
                                        {"bb", "bb"},
                                        {"bbbb", "bbbb"},
                                        {"bbbbbbbb", "bb"},
                                        {"cc", "cc"},
                                        {"cccc", "cccc"},
                                        {"ab", "a"},
                                        {"aba", "b"},
                                        {"bc", "b"},
                                        {"bcb", "c"},
                                        {"x", "y"},
                                        {"xy", "z"},
                                        {" ", "a"}};

void open_tokens(tokens *t) {
    *t = (tokens){.v = {.pre = "gpt-2"}};
    vb_begin(&t->v);
    t->end = vb_token(&t->v, "<|end|>", VB_CONTROL);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        vb_merge(&t->v, pieces[i][0], pieces[i][1]);
    t->other_end = vb_token(&t->v, "<|im_end|>", VB_CONTROL);
    t->control = vb_token(&t->v, "<think>", VB_CONTROL);
    t->unused = vb_token(&t->v, "aac", VB_UNUSED);
    t->user = vb_token(&t->v, "cab", VB_USER);
    gb_u32(&t->v.file, "tokenizer.ggml.eos_token_id", (uint32_t)t->end);
    t->model = vb_open(&t->v);
    t->n = t->v.n;
    uint32_t attributes = 0;
    slm_token_get(t->model, t->end, NULL, NULL, &attributes);
    ck_assert_uint_ne(attributes & SLM_TOKEN_EOG, 0);
    slm_token_get(t->model, t->other_end, NULL, NULL, &attributes);
    ck_assert_uint_ne(attributes & SLM_TOKEN_EOG, 0);
}

void close_tokens(tokens *t) {
    slm_model_close(t->model);
    vb_free(&t->v);
}

void hold(bool condition, const char *what, slm_token token) {
    if (!condition) ck_abort_msg("%s: token %d", what, token);
}

bound bind_text(const tokens *t, const char *grammar) {
    bound b;
    ck_assert_msg(slm_grammar_parse(grammar, strlen(grammar), NULL, &b.g, &err) == SLM_OK, "%s",
                  err.message);
    ck_assert_msg(slm_constraint_create(b.g, t->model, NULL, &b.c, &err) == SLM_OK, "%s",
                  err.message);
    ck_assert_msg(slm_matcher_create(b.c, NULL, &b.m, &err) == SLM_OK, "%s", err.message);
    return b;
}

void release(bound *b) {
    slm_matcher_free(b->m);
    slm_constraint_free(b->c);
    slm_grammar_free(b->g);
}

const uint64_t *mask_of(slm_matcher *m) {
    const uint64_t *mask;
    if (slm_matcher_mask(m, &mask, &err) != SLM_OK) ck_abort_msg("%s", err.message);
    return mask;
}

void accept(slm_matcher *m, slm_token token) {
    if (slm_matcher_accept(m, token, &err) != SLM_OK) ck_abort_msg("%s", err.message);
}

slm_token token_of(const tokens *t, const char *text) {
    for (slm_token i = 0; i < t->n; i++) {
        const char *p;
        size_t n;
        hold(slm_token_get(t->model, i, &p, &n, NULL) == SLM_OK, "token_get", i);
        if (n == strlen(text) && memcmp(p, text, n) == 0) return i;
    }
    ck_abort_msg("no token %s", text);
    return -1;
}

char *many_rules(const char *begin, const char *name, const char *end, const char *definition,
                 int n) {
    char *text = malloc(200 + 80 * (size_t)n);
    ck_assert_ptr_nonnull(text);
    char *p = text + sprintf(text, "%s", begin);
    for (int i = 0; i < n; i++) p += sprintf(p, name, i);
    p += sprintf(p, "%s", end);
    for (int i = 0; i < n; i++) p += sprintf(p, definition, i, i);
    return text;
}
