#include "special.h"

/* Bytes of all texts together: vocabularies have up to a hundred thousand. Texts that end each other ("a", "aa" ...): each may be tried
 * at every byte of a text, so their number bounds the time of a call; real ones have up to 31 (Gemma's line ends). */
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

/* ---- Finding ----
 *
 * A byte of the text is the last one of several matches if tokens end each other, but at most one of them gets its place. So each such end has
 * one match: the longest that counts and, when somebody has the first byte of that, the next shorter one. Tokens are served one after the other,
 * longest first; the ends whose match is of the same token are a list.
 */

static const uint32_t NONE = UINT32_MAX;

typedef struct end_list {
    uint32_t first, last; /* NONE: empty */
} end_list;

typedef struct finder {
    const slm__special *special;
    const slm_allocator *allocator;
    const char *text;
    size_t n_bytes;
    bool all;
    const uint8_t *marks;
    slm__span
        *ends; /* [n] matches by rising end; `token` is an index into the special tokens for now */
    uint32_t n, capacity;
    uint32_t *next;  /* [n] in the list of its token */
    end_list *lists; /* [n_tokens]               */
    uint8_t *taken;  /* [n_bytes] bits           */
} finder;

static bool counts(const finder *f, int32_t k, uint32_t end) {
    const slm__special_token *t = &f->special->tokens[k];
    uint32_t len = (uint32_t)t->text.len;
    return t->plain || (f->all && !(f->marks && memchr(f->marks + end - len, 1, len)));
}

/* The match that ends at `end`: that of token k or of the longest within it that counts. False: of none. */
static bool set_match(const finder *f, int32_t k, uint32_t end, slm__span *match) {
    while (k >= 0 && !counts(f, k, end)) k = slm__strings_within(&f->special->strings, k);
    if (k < 0) return false;
    uint32_t len = (uint32_t)f->special->tokens[k].text.len;
    *match = (slm__span){end - len, len, (slm_token)k};
    return true;
}

static bool add_end(finder *f, slm__span match) {
    if (f->n == f->capacity) {
        uint32_t capacity = f->capacity ? f->capacity * 2 : 16;
        slm__span *ends = slm__alloc_array(f->allocator, capacity, sizeof *ends);
        if (!ends) return false;
        if (f->n) memcpy(ends, f->ends, f->n * sizeof *ends);
        slm__free(f->allocator, f->ends);
        f->ends = ends;
        f->capacity = capacity;
    }
    f->ends[f->n++] = match;
    return true;
}

static bool find_ends(finder *f) {
    const slm__strings *strings = &f->special->strings;
    const uint8_t *text = (const uint8_t *)f->text;
    int32_t state = 0;
    for (size_t i = 0; i < f->n_bytes; i++) {
        if (state == 0) {
            while (i < f->n_bytes && strings->root[text[i]] == 0) i++;
            if (i == f->n_bytes) break;
        }
        state = slm__strings_next(strings, state, text[i]);
        slm__span match;
        if (set_match(f, strings->nodes[state].found, (uint32_t)i + 1, &match) &&
            !add_end(f, match))
            return false;
    }
    return true;
}

/* ---- Lists of ends ---- */

static void list_end(finder *f, uint32_t i) {
    end_list *list = &f->lists[f->ends[i].token];
    f->next[i] = NONE;
    if (list->first == NONE)
        list->first = i;
    else
        f->next[list->last] = i;
    list->last = i;
}

static uint32_t merge(uint32_t *next, uint32_t a, uint32_t b) {
    uint32_t first = NONE, *to = &first;
    while (a != NONE && b != NONE) {
        uint32_t *least = a < b ? &a : &b;
        *to = *least;
        to = &next[*least];
        *least = *to;
    }
    *to = a != NONE ? a : b;
    return first;
}

/* The list in the order of the text. It is made of runs that are sorted, usually of two: those that came here first and those that had a longer
 * match. runs[k] holds 2^k of them (bottom-up merge sort, Knuth, TAOCP 3, 5.2.4). */
static uint32_t sorted(uint32_t *next, uint32_t first) {
    uint32_t runs[33], all = NONE;
    for (int k = 0; k < 33; k++) runs[k] = NONE;
    while (first != NONE) {
        uint32_t run = first, last = first;
        while (next[last] != NONE && next[last] > last) last = next[last];
        first = next[last];
        next[last] = NONE;
        int k = 0;
        for (; runs[k] != NONE; k++) {
            run = merge(next, runs[k], run);
            runs[k] = NONE;
        }
        runs[k] = run;
    }
    for (int k = 0; k < 33; k++) all = merge(next, all, runs[k]);
    return all;
}

/* ---- Choosing ---- */

static bool bit(const uint8_t *bits, uint32_t i) { return bits[i >> 3] >> (i & 7) & 1; }

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Add the free spaces around it that the token takes along. */
static void strip(const finder *f, const slm__special_token *t, slm__span *span) {
    while (t->strip_left && span->at > 0 && is_space(f->text[span->at - 1]) &&
           !bit(f->taken, span->at - 1))
        span->at--, span->len++;
    while (t->strip_right && span->at + span->len < f->n_bytes &&
           is_space(f->text[span->at + span->len]) && !bit(f->taken, span->at + span->len))
        span->len++;
}

/* The match of end i gets its place, or the end a shorter match, or, where its last byte is taken, none: its length is 0 then. Whoever came
 * before is at least as long, so an overlap shows at the first or the last byte. */
static void place(finder *f, uint32_t i) {
    slm__span *match = &f->ends[i];
    int32_t token = match->token;
    uint32_t end = match->at + match->len;
    if (bit(f->taken, end - 1)) {
        match->len = 0;
    } else if (!bit(f->taken, match->at)) {
        strip(f, &f->special->tokens[token], match);
        for (uint32_t k = match->at; k < match->at + match->len; k++)
            f->taken[k >> 3] |= (uint8_t)(1 << (k & 7));
    } else if (set_match(f, slm__strings_within(&f->special->strings, token), end, match)) {
        list_end(f, i);
    } else {
        match->len = 0;
    }
}

static bool choose(finder *f) {
    uint32_t n_tokens = f->special->n_tokens;
    f->next = slm__alloc_array(f->allocator, f->n, sizeof *f->next);
    f->lists = slm__alloc_array(f->allocator, n_tokens, sizeof *f->lists);
    f->taken = slm__alloc(f->allocator, f->n_bytes / 8 + 1);
    bool ok = f->next && f->lists && f->taken;
    for (uint32_t t = 0; t < n_tokens && ok; t++) f->lists[t] = (end_list){NONE, NONE};
    for (uint32_t i = 0; i < f->n && ok; i++) list_end(f, i);
    for (uint32_t t = 0; t < n_tokens && ok; t++) {
        for (uint32_t i = sorted(f->next, f->lists[t].first), then; i != NONE; i = then) {
            then = f->next[i];
            place(f, i);
        }
    }
    slm__free(f->allocator, f->next);
    slm__free(f->allocator, f->lists);
    slm__free(f->allocator, f->taken);
    return ok;
}

bool slm__special_find(const slm__special *s, const char *text, size_t n_bytes, bool all,
                       const uint8_t *marks, const slm_allocator *allocator, slm__span **spans,
                       size_t *n) {
    *spans = NULL;
    *n = 0;
    if (s->n_tokens == 0 || (!all && !s->any_plain)) return true;
    finder f = {.special = s,
                .allocator = allocator,
                .text = text,
                .n_bytes = n_bytes,
                .all = all,
                .marks = marks};
    bool ok = find_ends(&f);
    if (ok && f.n > 0) ok = choose(&f);
    if (!ok) {
        slm__free(allocator, f.ends);
        return false;
    }
    for (uint32_t i = 0; i < f.n; i++) {
        if (f.ends[i].len == 0) continue;
        f.ends[*n] = f.ends[i];
        f.ends[*n].token = s->tokens[f.ends[i].token].token;
        (*n)++;
    }
    *spans = f.ends;
    return true;
}
