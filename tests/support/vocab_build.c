#include "vocab_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_alloc.h"
#include "suite.h"

char *vb_mapped(const char *bytes, size_t n) {
    /* Radford et al. 2019: bytes that print are themselves, the others follow each other from U+0100 */
    uint32_t code[256], next = 0x100;
    for (uint32_t b = 0; b < 256; b++) {
        bool prints = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        code[b] = prints ? b : next++;
    }
    char *out = malloc(2 * n + 1), *p = out;
    ck_assert_ptr_nonnull(out);
    for (size_t i = 0; i < n; i++) {
        uint32_t c = code[(unsigned char)bytes[i]];
        if (c < 0x80) {
            *p++ = (char)c;
        } else {
            *p++ = (char)(0xc0 | c >> 6);
            *p++ = (char)(0x80 | (c & 0x3f));
        }
    }
    *p = '\0';
    return out;
}

int vb_token(vocab_build *v, const char *text, int32_t type) {
    ck_assert_int_lt(v->n, VB_MAX);
    v->tokens[v->n] = strdup(text);
    v->types[v->n] = type;
    return v->n++;
}

void vb_begin(vocab_build *v) {
    if (!v->model) v->model = "gpt2";
    for (int b = 0; b < 256; b++) {
        char byte = (char)b, *text = vb_mapped(&byte, 1);
        vb_token(v, text, VB_NORMAL);
        free(text);
    }
}

void vb_merge_text(vocab_build *v, const char *text) {
    ck_assert_int_lt(v->n_merges, VB_MAX);
    v->merges[v->n_merges++] = strdup(text);
}

int vb_merge(vocab_build *v, const char *left, const char *right) {
    char *l = vb_mapped(left, strlen(left)), *r = vb_mapped(right, strlen(right));
    char text[600];
    snprintf(text, sizeof text, "%s %s", l, r);
    vb_merge_text(v, text);
    snprintf(text, sizeof text, "%s%s", l, r);
    free(l);
    free(r);
    for (int i = 0; i < v->n; i++) {
        if (strcmp(v->tokens[i], text) == 0) return i;
    }
    return vb_token(v, text, VB_NORMAL);
}

const void *vb_finish(vocab_build *v, size_t *n_bytes) {
    gguf_build *b = &v->file;
    if (v->model) gb_str(b, "tokenizer.ggml.model", v->model);
    if (v->pre) gb_str(b, "tokenizer.ggml.pre", v->pre);
    if (!v->no_tokens)
        gb_str_array(b, "tokenizer.ggml.tokens", (const char *const *)v->tokens, (size_t)v->n);
    if (!v->no_types) gb_array(b, "tokenizer.ggml.token_type", GB_I32, v->types, (uint64_t)v->n);
    if (!v->no_merges)
        gb_str_array(b, "tokenizer.ggml.merges", (const char *const *)v->merges,
                     (size_t)v->n_merges);
    return gb_finish(b, n_bytes);
}

slm_status vb_try_open(vocab_build *v, const slm_allocator *allocator, slm_model **out,
                       slm_error *err) {
    size_t n;
    const void *file = vb_finish(v, &n);
    slm_model_params p = slm_model_defaults();
    p.vocab_only = true;
    if (allocator) p.allocator = *allocator;
    return slm_model_open_memory(file, n, &p, out, err);
}

slm_model *vb_open(vocab_build *v) {
    slm_model *m;
    slm_error err;
    slm_status s = vb_try_open(v, NULL, &m, &err);
    ck_assert_msg(s == SLM_OK, "%s", err.message);
    return m;
}

slm_error vb_expect_refused(vocab_build *v, slm_status status, const char *word) {
    check_alloc counts = {0};
    slm_allocator a = check_allocator(&counts);
    slm_model *m = (slm_model *)&counts;
    slm_error err;
    slm_status s = vb_try_open(v, &a, &m, &err);
    ck_assert_msg(s == status, "%s: %s", slm_status_name(s), err.message);
    ck_assert_int_eq(err.status, status);
    ck_assert_ptr_null(m);
    ck_assert_msg(strstr(err.message, word) != NULL, "%s", err.message);
    ck_assert_int_eq(counts.n_live, 0);
    ck_assert_uint_gt(counts.n_calls, 0);
    return err;
}

void vb_free(vocab_build *v) {
    for (int i = 0; i < v->n; i++) free(v->tokens[i]);
    for (int i = 0; i < v->n_merges; i++) free(v->merges[i]);
    gb_free(&v->file);
    *v = (vocab_build){0};
}

void vb_expect(const slm_model *m, const char *text, size_t n_bytes, uint32_t flags,
               const slm_token *ids, size_t n) {
    slm_error err;
    size_t n_tokens;
    slm_token *tokens = malloc((3 * n_bytes + 2) * sizeof *tokens);
    ck_assert_ptr_nonnull(tokens);
    slm_status s = slm_tokenize(m, text, n_bytes, flags, tokens, 3 * n_bytes + 2, &n_tokens, &err);
    ck_assert_msg(s == SLM_OK, "%s", err.message);
    ck_assert_uint_eq(n_tokens, n);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(tokens[i] == ids[i], "token %zu of \"%.60s\": %d, expected %d", i, text,
                      tokens[i], ids[i]);
    free(tokens);
}

void vb_nth_allocation_fails(vocab_build *v, int (*make)(void), const char *text) {
    int refused = 0;
    bool last = false;
    for (long n = 1; !last; n++) {
        int wanted = make();
        check_alloc c = {.fail_at = n};
        slm_allocator allocator = check_allocator(&c);
        slm_error err;
        slm_model *m = NULL;
        slm_token out[4] = {-1};
        size_t n_out = 0;
        slm_status s = vb_try_open(v, &allocator, &m, &err);
        if (s == SLM_OK) s = slm_tokenize(m, text, strlen(text), 0, out, 4, &n_out, &err);
        last = c.n_calls < n;
        c.fail_at = 0;
        if (s == SLM_OK)
            ck_assert(n_out == 1 && out[0] == wanted);
        else
            ck_assert_int_eq(s, SLM_ERR_NOMEM);
        refused += s != SLM_OK;
        slm_model_close(m);
        ck_assert_int_eq(c.n_live, 0);
    }
    ck_assert_int_ge(refused, 10);
}
