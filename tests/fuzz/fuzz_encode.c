/* Any text becomes tokens, and these are the text. The first byte chooses the pre-tokenizer and the flags. */
#include "fuzz_vocab.h"

static fuzz_memory memory;

/* The text of the tokens; control tokens, which only `all` may bring, by their names. `out` has room. */
static size_t spell(const slm_model *m, const slm_token *tokens, size_t n, bool all, char *out) {
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        const char *text;
        size_t n_text;
        uint32_t attributes;
        require(slm_token_get(m, tokens[i], &text, &n_text, &attributes) == SLM_OK);
        require(n_text > 0);
        require(all || !(attributes & (SLM_TOKEN_CONTROL | SLM_TOKEN_UNKNOWN)));
        memcpy(out + used, text, n_text);
        used += n_text;
    }
    return used;
}

static void check_stream(const slm_model *m, const slm_token *tokens, size_t n, const char *text,
                         size_t n_text) {
    char *out = malloc(3 * n_text + 3);
    require(out != NULL);
    slm_text_stream s = {0};
    size_t used = 0, n_bytes;
    for (size_t i = 0; i < n; i++) {
        require(slm_text_stream_add(m, &s, tokens[i], out + used, 3 * n_text - used, &n_bytes) ==
                SLM_OK);
        used += n_bytes;
        require(s.n_held <= 3);
    }
    require(slm_text_stream_end(&s, out + used, 3, &n_bytes) == SLM_OK);
    used += n_bytes;
    require(fv_is_utf8(out, used));
    if (fv_is_utf8(text, n_text)) require(used == n_text && memcmp(out, text, used) == 0);
    free(out);
}

/* The text twice with a user-defined token between: what is remembered from the first changes nothing. */
static void check_twice(const slm_model *m, const char *text, size_t n, uint32_t flags,
                        const slm_token *tokens, size_t n_tokens) {
    char *twice = malloc(2 * n + 2);
    size_t capacity = 6 * n + 1, got;
    slm_token *out = malloc(capacity * sizeof *out);
    require(twice && out);
    memcpy(twice, text, n);
    memcpy(twice + n, "\1\2", 2);
    memcpy(twice + n + 2, text, n);
    require(slm_tokenize(m, twice, 2 * n + 2, flags, out, capacity, &got, NULL) == SLM_OK);
    require(got == 2 * n_tokens + 1 && out[n_tokens] == FV_MARK);
    require(memcmp(out, tokens, n_tokens * sizeof *out) == 0);
    require(memcmp(out + n_tokens + 1, tokens, n_tokens * sizeof *out) == 0);
    free(twice);
    free(out);
}

/* With less memory: refused, or the same. */
static void check_memory(const slm_model *m, const char *text, size_t n, uint32_t flags,
                         const slm_token *tokens, size_t n_tokens, uint32_t calls) {
    slm_token *out = malloc((n_tokens + 1) * sizeof *out);
    size_t got;
    slm_error err;
    uint32_t live = memory.n_live;
    require(out != NULL);
    memory.calls_left = calls;
    slm_status s = slm_tokenize(m, text, n, flags, out, n_tokens, &got, &err);
    memory.calls_left = UINT32_MAX;
    fuzz_error(s, &err);
    require(memory.n_live == live);
    require(s == SLM_OK || s == SLM_ERR_NOMEM);
    if (s == SLM_OK) require(got == n_tokens && memcmp(out, tokens, n_tokens * sizeof *out) == 0);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0) return 0;
    if (memory.left == 0) memory = (fuzz_memory){.left = SIZE_MAX / 2, .calls_left = UINT32_MAX};
    slm_allocator allocator = fuzz_allocator(&memory);
    const slm_model *m = fv_model(data[0], &allocator);
    uint32_t flags = data[0] & 4 ? SLM_TOKENIZE_SPECIAL : 0;
    n--;
    char *text = malloc(n ? n : 1), *spelt = malloc(3 * n + 1);
    slm_token *tokens = malloc((3 * n + 1) * sizeof *tokens);
    require(text && spelt && tokens);
    memcpy(text, data + 1, n);
    size_t n_tokens = 0, needed = 0;
    slm_error err;
    slm_status s = slm_tokenize(m, text, n, flags, tokens, 3 * n, &n_tokens, &err);
    fuzz_error(s, &err);
    require(s == SLM_OK && (n_tokens > 0) == (n > 0));
    s = slm_tokenize(m, text, n, flags, NULL, 0, &needed, &err);
    fuzz_error(s, &err);
    require(s == (n ? SLM_ERR_BUFFER : SLM_OK) && needed == n_tokens);
    size_t n_spelt = spell(m, tokens, n_tokens, flags != 0, spelt);
    /* a special token of half a code point takes it out of the middle: the rest is broken */
    bool halved = flags && memchr(text, 0xa9, n);
    if (fv_is_utf8(text, n) && !halved) require(n_spelt == n && memcmp(spelt, text, n) == 0);
    if (!flags) check_stream(m, tokens, n_tokens, text, n);
    check_twice(m, text, n, flags, tokens, n_tokens);
    check_memory(m, text, n, flags, tokens, n_tokens, fuzz_choice(data, n) % 12);
    free(text);
    free(spelt);
    free(tokens);
    return 0;
}
