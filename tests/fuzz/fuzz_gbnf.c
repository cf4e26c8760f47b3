/* Any text is read as a grammar, or refused. What comes behind its first NUL chooses tokens: masks say of each token what accept() says of it, a token of
 * a mask is accepted, and steps can be taken back. */
#include "fuzz_vocab.h"

enum { MAX_STEPS = 16, MAX_GRAMMAR = 4096 };

static fuzz_memory memory;

static bool allowed(const uint64_t *mask, slm_token token) {
    return mask[token / 64] >> token % 64 & 1;
}

/* LIMIT and NOMEM are answers, too; then there is nothing to be compared. */
static bool check_mask(slm_matcher *m, uint64_t *copy) {
    const uint64_t *mask;
    slm_error err;
    slm_status s = slm_matcher_mask(m, &mask, &err);
    fuzz_error(s, &err);
    /* there is a token for each byte, but none that ends */
    if (slm_matcher_end(m) == SLM_END_MUST)
        require(s == SLM_ERR_MISMATCH);
    else
        require(s == SLM_OK || s == SLM_ERR_LIMIT);
    if (s != SLM_OK) return false;
    memcpy(copy, mask, (FV_N + 63) / 64 * sizeof *mask);
    for (slm_token t = 0; t < FV_N; t++) {
        s = slm_matcher_accept(m, t, &err);
        fuzz_error(s, &err);
        if (s == SLM_ERR_LIMIT) return false;
        require(s == (allowed(copy, t) ? SLM_OK : SLM_ERR_MISMATCH));
        if (s == SLM_OK) require(slm_matcher_rollback(m, 1, NULL) == SLM_OK);
    }
    return true;
}

static slm_token choose(const uint64_t *mask, uint32_t which) {
    uint32_t n = 0;
    for (slm_token t = 0; t < FV_N; t++) n += allowed(mask, t);
    require(n > 0);
    which %= n;
    for (slm_token t = 0;; t++)
        if (allowed(mask, t) && which-- == 0) return t;
}

static bool check_forced(slm_matcher *m) {
    char text[300];
    slm_token tokens[300];
    size_t n;
    slm_error err;
    slm_status s = slm_matcher_forced_text(m, text, sizeof text, &n, &err);
    fuzz_error(s, &err);
    if (s != SLM_OK) return s != SLM_ERR_LIMIT;
    if (slm_matcher_accept_text(m, text, n, &err) != SLM_OK) return false;
    require(slm_matcher_rollback(m, 1, &err) == SLM_OK);
    if (slm_matcher_forced_tokens(m, tokens, 300, &n, &err) != SLM_OK) return false;
    size_t i = 0;
    while (i < n && slm_matcher_accept(m, tokens[i], &err) == SLM_OK) i++;
    require(i == n || err.status == SLM_ERR_LIMIT);
    require(slm_matcher_rollback(m, (int32_t)i, &err) == SLM_OK);
    return i == n;
}

static void generate(slm_matcher *m, const uint8_t *choices, size_t n) {
    uint64_t mask[(FV_N + 63) / 64], again[(FV_N + 63) / 64];
    slm_matcher *copy;
    slm_error err;
    if (n > MAX_STEPS) n = MAX_STEPS;
    for (size_t i = 0; i < n; i++) {
        if (!check_mask(m, mask) || !check_forced(m)) return;
        require(slm_matcher_accept(m, choose(mask, choices[i] * 7u), &err) == SLM_OK);
        if (choices[i] % 8 != 0) continue;
        require(slm_matcher_clone(m, &copy, &err) == SLM_OK);
        require(slm_matcher_rollback(copy, 1, &err) == SLM_OK);
        if (check_mask(copy, again)) require(memcmp(mask, again, sizeof mask) == 0);
        slm_matcher_free(copy);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (memory.left == 0) memory = (fuzz_memory){.left = SIZE_MAX / 2, .calls_left = UINT32_MAX};
    slm_allocator a = fuzz_allocator(&memory);
    const slm_model *model = fv_model(0, NULL);
    const uint8_t *end = n > 0 ? memchr(data, 0, n) : NULL;
    size_t n_grammar = end ? (size_t)(end - data) : n;
    if (n_grammar > MAX_GRAMMAR) n_grammar = MAX_GRAMMAR;
    slm_grammar *g;
    slm_constraint *c = NULL;
    slm_matcher *m = NULL;
    slm_error err;
    void *text = fuzz_copy(data, n_grammar);
    /* with little memory: refused for that, or as ever */
    memory.calls_left = fuzz_choice(data, n) % 64;
    slm_status less = slm_grammar_parse(text, n_grammar, &a, &g, &err);
    fuzz_error(less, &err);
    slm_grammar_free(g);
    memory.calls_left = UINT32_MAX;
    require(memory.n_live == 0);
    slm_status s = slm_grammar_parse(text, n_grammar, &a, &g, &err);
    fuzz_error(s, &err);
    require(s == SLM_OK || s == SLM_ERR_FORMAT || s == SLM_ERR_LIMIT);
    require(less == s || less == SLM_ERR_NOMEM);
    if (s == SLM_OK) {
        s = slm_constraint_create(g, model, &a, &c, &err);
        fuzz_error(s, &err);
        require(s == SLM_OK || s == SLM_ERR_MISMATCH);
    }
    if (s == SLM_OK) {
        s = slm_matcher_create(c, &a, &m, &err);
        fuzz_error(s, &err);
        require(s == SLM_OK || s == SLM_ERR_LIMIT);
    }
    if (s == SLM_OK && end) generate(m, end + 1, n - n_grammar - 1);
    slm_matcher_free(m);
    slm_constraint_free(c);
    slm_grammar_free(g);
    require(memory.n_live == 0);
    free(text);
    return 0;
}
