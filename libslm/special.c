#include "special.h"

/* Bytes of all texts together: vocabularies have up to a hundred thousand. Texts that end each other ("a", "aa" ...): each may be found
 * at every byte of a text, so their number bounds the memory of a call; real ones have two or three. */
enum { MAX_BYTES = 1 << 17, MAX_NESTED = 32 };

/* ---- Building ---- */

/* No text ends with more than MAX_NESTED others. */
static bool check_nested(const slm__strings *s) {
    for (int32_t i = 0; i < s->n; i++) {
        int nested = 0;
        for (int32_t k = i; (k = slm__strings_within(s, k)) >= 0;)
            if (++nested > MAX_NESTED) return false;
    }
    return true;
}

/* Longest first; what is equally long stays in order. Counting, as lengths are below 65537. */
static bool sort_by_length(slm__special *s, const slm_allocator *allocator) {
    enum { LENGTHS = 65538 };
    uint32_t *start = slm__alloc_array(allocator, LENGTHS, sizeof *start);
    slm__special_token *sorted = slm__alloc_array(allocator, s->n_tokens, sizeof *sorted);
    if (start && sorted) {
        for (uint32_t i = 0; i < s->n_tokens; i++) start[s->tokens[i].text.len]++;
        for (uint32_t l = LENGTHS - 1, sum = 0; l-- > 0;) {
            uint32_t n = start[l];
            start[l] = sum;
            sum += n;
        }
        for (uint32_t i = 0; i < s->n_tokens; i++)
            sorted[start[s->tokens[i].text.len]++] = s->tokens[i];
        slm__special_token *unsorted = s->tokens;
        s->tokens = sorted;
        sorted = unsorted;
    }
    bool ok = start && sorted;
    slm__free(allocator, start);
    slm__free(allocator, sorted);
    return ok;
}

slm_status slm__special_build(slm__special *s, slm__special_token *tokens, uint32_t n_tokens,
                              const slm_allocator *allocator, slm_error *err) {
    s->tokens = tokens;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n_tokens; i++) {
        if (tokens[i].text.len == 0) continue;
        bytes += tokens[i].text.len;
        if (tokens[i].plain) s->any_plain = true;
        tokens[s->n_tokens++] = tokens[i];
    }
    if (bytes > MAX_BYTES) {
        return slm__fail(err, SLM_ERR_LIMIT,
                         "tokenizer.ggml.token_type: special tokens of %llu bytes, at most %d",
                         (unsigned long long)bytes, MAX_BYTES);
    }
    slm_string *texts = slm__alloc_array(allocator, s->n_tokens, sizeof *texts);
    bool ok = texts && sort_by_length(s, allocator);
    for (uint32_t i = 0; ok && i < s->n_tokens; i++)
        texts[i] = (slm_string){s->tokens[i].text.ptr, s->tokens[i].text.len};
    ok = ok && slm__strings_make(allocator, texts, (int32_t)s->n_tokens, bytes, &s->strings);
    slm__free(allocator, texts);
    if (!ok) return slm__fail(err, SLM_ERR_NOMEM, "no memory for %u special tokens", s->n_tokens);
    if (check_nested(&s->strings)) return SLM_OK;
    return slm__fail(err, SLM_ERR_LIMIT,
                     "tokenizer.ggml.token_type: more than %d special tokens that end each other",
                     MAX_NESTED);
}

void slm__special_free(slm__special *s, const slm_allocator *allocator) {
    slm__free(allocator, s->tokens);
    slm__strings_free(allocator, &s->strings);
    *s = (slm__special){0};
}

/* ---- Finding ---- */

typedef struct matches {
    const slm_allocator *allocator;
    slm__span
        *spans; /* `token` is an index into the special tokens for now; in order of their ends */
    size_t n, capacity;
} matches;

static bool add_match(matches *m, slm__span span) {
    if (m->n == m->capacity) {
        size_t capacity = m->capacity ? m->capacity * 2 : 16;
        slm__span *spans = slm__alloc_array(m->allocator, capacity, sizeof *spans);
        if (!spans) return false;
        if (m->n) memcpy(spans, m->spans, m->n * sizeof *spans);
        slm__free(m->allocator, m->spans);
        m->spans = spans;
        m->capacity = capacity;
    }
    m->spans[m->n++] = span;
    return true;
}

static bool find_all(const slm__special *s, const uint8_t *text, size_t n, bool all,
                     const uint8_t *marks, matches *m) {
    const slm__strings *strings = &s->strings;
    int32_t state = 0;
    for (size_t i = 0; i < n; i++) {
        if (state == 0) {
            while (i < n && strings->root[text[i]] == 0) i++;
            if (i == n) break;
        }
        state = slm__strings_next(strings, state, text[i]);
        for (int32_t k = strings->nodes[state].found; k >= 0; k = slm__strings_within(strings, k)) {
            const slm__special_token *t = &s->tokens[k];
            uint32_t len = (uint32_t)t->text.len;
            bool counts = t->plain || (all && !(marks && memchr(marks + i + 1 - len, 1, len)));
            if (counts && !add_match(m, (slm__span){(uint32_t)(i + 1) - len, len, (slm_token)k}))
                return false;
        }
    }
    return true;
}

/* Places of the matches in the order of their tokens (so longest first), then of the text. */
static bool sort_by_token(const slm__special *s, const matches *m, uint32_t *order) {
    uint32_t *start = slm__alloc_array(m->allocator, s->n_tokens, sizeof *start);
    if (!start) return false;
    for (size_t i = 0; i < m->n; i++) start[m->spans[i].token]++;
    for (uint32_t t = 0, sum = 0; t < s->n_tokens; t++) {
        uint32_t n = start[t];
        start[t] = sum;
        sum += n;
    }
    for (size_t i = 0; i < m->n; i++) order[start[m->spans[i].token]++] = (uint32_t)i;
    slm__free(m->allocator, start);
    return true;
}

static bool bit(const uint8_t *bits, uint32_t i) { return bits[i >> 3] >> (i & 7) & 1; }

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Add the free spaces around it that the token takes along. */
static void strip(const slm__special_token *t, slm__span *span, const char *text, size_t n_bytes,
                  const uint8_t *taken) {
    while (t->strip_left && span->at > 0 && is_space(text[span->at - 1]) &&
           !bit(taken, span->at - 1))
        span->at--, span->len++;
    while (t->strip_right && span->at + span->len < n_bytes &&
           is_space(text[span->at + span->len]) && !bit(taken, span->at + span->len))
        span->len++;
}

/* Keep those that get their place; the others' length becomes 0. Whoever came before is at least as long, so an overlap
 * shows at the first or the last byte. */
static bool choose(const slm__special *s, matches *m, const char *text, size_t n_bytes) {
    uint32_t *order = slm__alloc_array(m->allocator, m->n, sizeof *order);
    uint8_t *taken = slm__alloc(m->allocator, n_bytes / 8 + 1);
    bool ok = order && taken && sort_by_token(s, m, order);
    for (size_t i = 0; i < m->n && ok; i++) {
        slm__span *span = &m->spans[order[i]];
        if (bit(taken, span->at) || bit(taken, span->at + span->len - 1)) {
            span->len = 0;
            continue;
        }
        strip(&s->tokens[span->token], span, text, n_bytes, taken);
        for (uint32_t k = span->at; k < span->at + span->len; k++)
            taken[k >> 3] |= (uint8_t)(1 << (k & 7));
    }
    slm__free(m->allocator, order);
    slm__free(m->allocator, taken);
    return ok;
}

bool slm__special_find(const slm__special *s, const char *text, size_t n_bytes, bool all,
                       const uint8_t *marks, const slm_allocator *allocator, slm__span **spans,
                       size_t *n) {
    *spans = NULL;
    *n = 0;
    if (s->n_tokens == 0 || (!all && !s->any_plain)) return true;
    matches m = {.allocator = allocator};
    bool ok = find_all(s, (const uint8_t *)text, n_bytes, all, marks, &m);
    if (ok && m.n > 0) ok = choose(s, &m, text, n_bytes);
    if (!ok) {
        slm__free(allocator, m.spans);
        return false;
    }
    for (size_t i = 0; i < m.n; i++) {
        if (m.spans[i].len == 0) continue;
        m.spans[*n] = m.spans[i];
        m.spans[*n].token = s->tokens[m.spans[i].token].token;
        (*n)++;
    }
    *spans = m.spans;
    return true;
}
