/* A text that is being generated: a machine of its own, the sets after the last steps, and the masks of the sets that it was in lately. */
#include "constraint.h"

enum { N_MASKS = 64, LOOK_AHEAD = 256, MOST_FORCED = 4096 };

typedef struct kept_mask {
    uint32_t set; /* SET_DEAD: free */
    uint64_t used;
    uint64_t *bits; /* [n_words] or NULL */
} kept_mask;

struct slm_matcher {
    slm_allocator allocator;
    const slm_constraint *c;
    slm__machine machine;
    slm__walk walk;
    uint32_t start, set;
    uint32_t reading;                 /* while bytes are read: the set so far */
    uint32_t back[SLM_MATCHER_STEPS]; /* the set before step i is at i % SLM_MATCHER_STEPS */
    slm__mark kept;                   /* what of the machine was needed when it was made */
    uint64_t n_steps;
    uint32_t n_back; /* that can be taken back */
    kept_mask masks[N_MASKS];
    uint64_t clock;
    bool *symbols; /* [tokens of the grammar] scratch */
};

int32_t slm__matcher_n_vocab(const slm_matcher *m) { return (int32_t)m->c->trie->n_vocab; }

static slm_status no_memory(slm_error *err) {
    return slm__fail(err, SLM_ERR_NOMEM, "no memory for a matcher");
}

/* ---- Life ---- */

static slm_status create(const slm_constraint *c, const slm_allocator *a, slm_matcher **out,
                         slm_error *err) {
    slm_matcher *m = slm__alloc(a, sizeof *m);
    if (!m) return no_memory(err);
    m->allocator = *a;
    m->c = c;
    slm_status s = slm__machine_init(&m->machine, c->grammar, a, err);
    if (s == SLM_OK) s = slm__walk_init(&m->walk, &m->machine, c, &m->allocator, err);
    m->symbols = slm__alloc_array(a, c->grammar->tokens.n, sizeof *m->symbols);
    if (s == SLM_OK && !m->symbols) s = no_memory(err);
    if (s == SLM_OK)
        *out = m;
    else
        slm_matcher_free(m);
    return s;
}

slm_status slm_matcher_create(const slm_constraint *constraint, const slm_allocator *allocator,
                              slm_matcher **out, slm_error *err) {
    slm__clear(err);
    if (!out) return slm__fail(err, SLM_ERR_ARGUMENT, "out is NULL");
    *out = NULL;
    if (!constraint) return slm__fail(err, SLM_ERR_ARGUMENT, "constraint is NULL");
    slm_allocator a = allocator ? *allocator : (slm_allocator){0};
    slm_matcher *m;
    SLM_TRY(slm__check_allocator(&a, err));
    SLM_TRY(create(constraint, &a, &m, err));
    slm__machine_allow(&m->machine, SLM__BYTE_WORK, slm__byte_is_too_much);
    m->start = m->set = slm__machine_start(&m->machine);
    if (m->set == SET_FAILED) {
        slm_status s = slm__machine_error(&m->machine, err);
        slm_matcher_free(m);
        return s;
    }
    *out = m;
    return SLM_OK;
}

void slm_matcher_free(slm_matcher *m) {
    if (!m) return;
    slm_allocator a = m->allocator;
    for (int i = 0; i < N_MASKS; i++) slm__free(&a, m->masks[i].bits);
    slm__walk_free(&m->walk);
    slm__machine_free(&m->machine);
    slm__free(&a, m->symbols);
    slm__free(&a, m);
}

/* What the matcher is in, and may be taken back to, as sets of a new machine: `to` is `from`'s matcher or a new one. */
static bool copy_sets(slm__machine *machine, const slm_matcher *from, slm_matcher *to) {
    uint32_t ids[SLM_MATCHER_STEPS + 3], n = from->n_back;
    for (uint32_t i = 0; i < n; i++)
        ids[i] = from->back[(from->n_steps - n + i) % SLM_MATCHER_STEPS];
    ids[n] = from->set;
    ids[n + 1] = from->start;
    ids[n + 2] = from->reading;
    if (!slm__machine_copy(machine, &from->machine, ids, n + 3)) return false;
    for (uint32_t i = 0; i < n; i++) to->back[(from->n_steps - n + i) % SLM_MATCHER_STEPS] = ids[i];
    to->set = ids[n];
    to->start = ids[n + 1];
    to->reading = ids[n + 2];
    to->n_back = n;
    to->n_steps = from->n_steps;
    return true;
}

slm_status slm_matcher_clone(const slm_matcher *m, slm_matcher **out, slm_error *err) {
    slm__clear(err);
    if (!out) return slm__fail(err, SLM_ERR_ARGUMENT, "out is NULL");
    *out = NULL;
    if (!m) return slm__fail(err, SLM_ERR_ARGUMENT, "matcher is NULL");
    slm_matcher *copy;
    SLM_TRY(create(m->c, &m->allocator, &copy, err));
    if (!copy_sets(&copy->machine, m, copy)) {
        slm_status s = slm__machine_error(&copy->machine, err);
        slm_matcher_free(copy);
        return s;
    }
    copy->kept = slm__machine_mark(&copy->machine);
    *out = copy;
    return SLM_OK;
}

/* Once in a while, a new machine with nothing but what is needed. What is needed does not count when it is time again: behind many open rules each
 * step would copy them all. */
static slm_status tidy(slm_matcher *m, slm_error *err) {
    if (!slm__machine_full(&m->machine, m->kept)) return SLM_OK;
    slm__machine fresh;
    for (;;) {
        SLM_TRY(slm__machine_init(&fresh, m->c->grammar, &m->allocator, err));
        if (copy_sets(&fresh, m, m)) break;
        slm_status s = slm__machine_error(&fresh, err);
        slm__machine_free(&fresh);
        if (s != SLM_ERR_LIMIT || m->n_back == 0) return s;
        m->n_back /=
            2; /* where a text can be read in thousands of ways, fewer steps can be taken back */
        slm__clear(err);
    }
    slm__machine_free(&m->machine);
    m->machine = fresh;
    m->kept = slm__machine_mark(&m->machine);
    for (int i = 0; i < N_MASKS; i++) m->masks[i].set = SET_DEAD;
    return SLM_OK;
}

/* ---- Steps ---- */

void slm_matcher_reset(slm_matcher *m) {
    if (!m) return;
    m->set = m->reading = m->start;
    m->n_back = 0;
}

static void make_step(slm_matcher *m, uint32_t next) {
    m->back[m->n_steps++ % SLM_MATCHER_STEPS] = m->set;
    if (m->n_back < SLM_MATCHER_STEPS) m->n_back++;
    m->set = next;
}

slm_status slm_matcher_rollback(slm_matcher *m, int32_t n, slm_error *err) {
    slm__clear(err);
    if (!m) return slm__fail(err, SLM_ERR_ARGUMENT, "matcher is NULL");
    SLM_TRY(slm__check_range("n", n, 0, m->n_back, err));
    if (n == 0) return SLM_OK;
    m->n_steps -= (uint64_t)n;
    m->n_back -= (uint32_t)n;
    m->set = m->back[m->n_steps % SLM_MATCHER_STEPS];
    return SLM_OK;
}

/* From m->reading on, which is dead where the bytes do not fit. *at: how many were read before. */
static slm_status read_bytes(slm_matcher *m, slm__str text, size_t *at, slm_error *err) {
    for (*at = 0; *at < text.len; ++*at) {
        SLM_TRY(tidy(m, err));
        slm__machine_allow(&m->machine, SLM__BYTE_WORK, slm__byte_is_too_much);
        uint32_t next = slm__machine_byte(&m->machine, m->reading, (uint8_t)text.ptr[*at]);
        if (next == SET_FAILED) return slm__machine_error(&m->machine, err);
        m->reading = next;
        if (next == SET_DEAD) return SLM_OK;
    }
    return SLM_OK;
}

slm_status slm_matcher_accept_text(slm_matcher *m, const char *text, size_t n_bytes,
                                   slm_error *err) {
    slm__clear(err);
    if (!m || (!text && n_bytes > 0))
        return slm__fail(err, SLM_ERR_ARGUMENT, "matcher or text is NULL");
    size_t at;
    m->reading = m->set;
    SLM_TRY(read_bytes(m, (slm__str){text, n_bytes}, &at, err));
    if (m->reading == SET_DEAD)
        return slm__fail(err, SLM_ERR_MISMATCH, "the grammar does not allow byte %zu, \"%s\"", at,
                         slm__show((slm__str){text + at, 1}).text);
    make_step(m, m->reading);
    return SLM_OK;
}

/* What places make of a token that they read whole. */
static slm_status read_token(slm_matcher *m, slm_token token, bool is_text, uint32_t *set,
                             slm_error *err) {
    const slm_grammar *g = m->c->grammar;
    *set = SET_DEAD;
    if (g->tokens.n == 0) return SLM_OK;
    for (uint32_t i = 0; i < g->tokens.n; i++)
        m->symbols[i] = g->tokens.p[i].negated ? is_text && m->c->symbols[i] != token
                                               : m->c->symbols[i] == token;
    slm__machine_allow(&m->machine, SLM__BYTE_WORK, slm__byte_is_too_much);
    *set = slm__machine_token(&m->machine, m->set, m->symbols);
    return *set == SET_FAILED ? slm__machine_error(&m->machine, err) : SLM_OK;
}

slm_status slm_matcher_accept(slm_matcher *m, slm_token token, slm_error *err) {
    slm__clear(err);
    if (!m) return slm__fail(err, SLM_ERR_ARGUMENT, "matcher is NULL");
    slm__str text;
    uint32_t attributes, whole;
    if (slm__vocab_token(m->c->vocab, token, &text, &attributes) != SLM_OK)
        return slm__fail(err, SLM_ERR_RANGE, "token is %d, expected 0 to %d", token,
                         m->c->trie->n_vocab - 1);
    size_t at = 0;
    bool is_text = slm__trie_has(text, attributes);
    m->reading = is_text ? m->set : SET_DEAD;
    if (is_text) SLM_TRY(read_bytes(m, text, &at, err));
    SLM_TRY(tidy(m, err));
    SLM_TRY(read_token(m, token, is_text, &whole, err));
    uint32_t set = m->reading;
    if (attributes & SLM_TOKEN_EOG && m->machine.sets.p[m->set].ends) set = SET_ENDED;
    set = slm__machine_join(&m->machine, set, whole);
    if (set == SET_FAILED) return slm__machine_error(&m->machine, err);
    if (set == SET_DEAD)
        return slm__fail(err, SLM_ERR_MISMATCH,
                         "the grammar does not allow token %d, \"%s\", from its byte %zu on", token,
                         slm__show(text).text, at);
    make_step(m, set);
    return SLM_OK;
}

slm_text_end slm_matcher_end(const slm_matcher *m) {
    if (!m || !m->machine.sets.p[m->set].ends) return SLM_END_NO;
    return m->machine.sets.p[m->set].n > 0 ? SLM_END_MAY : SLM_END_MUST;
}

/* ---- Masks ---- */

/* The mask of the set, or the one that was not used for the longest time, to be made. */
static kept_mask *mask_of(slm_matcher *m, uint32_t set) {
    kept_mask *oldest = &m->masks[0];
    for (int i = 0; i < N_MASKS; i++) {
        if (m->masks[i].set == set) return &m->masks[i];
        if (m->masks[i].used < oldest->used) oldest = &m->masks[i];
    }
    return oldest;
}

static slm_status fill_mask(slm_matcher *m, uint32_t set, kept_mask *k, slm_error *err) {
    uint32_t n_words = m->c->trie->n_words;
    k->set = SET_DEAD; /* until it is whole */
    if (!k->bits)
        k->bits = slm__alloc_array(&m->allocator, n_words, sizeof *k->bits);
    else
        memset(k->bits, 0, n_words * sizeof *k->bits);
    if (!k->bits) return no_memory(err);
    slm__mark mark = slm__machine_mark(&m->machine);
    slm_status s = slm__walk_mask(&m->walk, m->c, set, k->bits, err);
    slm__machine_trim(&m->machine, mark);
    SLM_TRY(s);
    uint64_t any = 0;
    for (uint32_t i = 0; i < n_words; i++) any |= k->bits[i];
    if (any == 0)
        return slm__fail(err, SLM_ERR_MISMATCH,
                         "the grammar allows no token of the vocabulary here (dead end)");
    k->set = set;
    return SLM_OK;
}

slm_status slm_matcher_mask(slm_matcher *m, const uint64_t **mask, slm_error *err) {
    slm__clear(err);
    if (!mask) return slm__fail(err, SLM_ERR_ARGUMENT, "mask is NULL");
    *mask = NULL;
    if (!m) return slm__fail(err, SLM_ERR_ARGUMENT, "matcher is NULL");
    m->reading = m->set;
    SLM_TRY(tidy(m, err));
    uint32_t set = slm__machine_clamp(&m->machine, m->set, m->c->trie->longest);
    if (set == SET_FAILED) return slm__machine_error(&m->machine, err);
    kept_mask *k = mask_of(m, set);
    if (k->set != set) SLM_TRY(fill_mask(m, set, k, err));
    k->used = ++m->clock;
    *mask = k->bits;
    return SLM_OK;
}

/* ---- What must come ---- */

/* The one byte that can follow a set whose text cannot end; false if there is none such. */
static bool only_byte(const slm__machine *m, uint32_t set, uint8_t *byte) {
    const slm__place_set *s = &m->sets.p[set];
    if (s->n == 0 || s->ends) return false;
    for (uint32_t i = 0; i < s->n; i++) {
        const slm__astate *x = &m->grammar->states.p[m->places.p[s->at + i].state];
        for (uint32_t k = 0; k < x->n_calls; k++)
            if (m->grammar->calls.p[x->calls + k].kind == CALL_TOKEN) return false;
        const slm__byte_edge *e = &m->grammar->bytes.p[x->bytes];
        if (x->n_bytes != 1 || e->first != e->last || (i > 0 && e->first != *byte)) return false;
        *byte = e->first;
    }
    return true;
}

/* m->reading is the set after them. */
static slm_status forced(slm_matcher *m, char *buffer, size_t capacity, size_t *n, slm_error *err) {
    m->reading = m->set;
    *n = 0;
    for (uint8_t byte = 0;
         *n < capacity && *n < MOST_FORCED && only_byte(&m->machine, m->reading, &byte);) {
        size_t read;
        buffer[(*n)++] = (char)byte;
        SLM_TRY(read_bytes(m, (slm__str){&buffer[*n - 1], 1}, &read, err));
    }
    return SLM_OK;
}

slm_status slm_matcher_forced_text(slm_matcher *m, char *buffer, size_t capacity, size_t *n_bytes,
                                   slm_error *err) {
    slm__clear(err);
    if (!n_bytes) return slm__fail(err, SLM_ERR_ARGUMENT, "n_bytes is NULL");
    *n_bytes = 0;
    if (!m || (!buffer && capacity > 0))
        return slm__fail(err, SLM_ERR_ARGUMENT, "matcher or buffer is NULL");
    return forced(m, buffer, capacity, n_bytes, err);
}

/* Tokens whose bytes are those of the text, as the tokenizer has them; false if it changes them (a space in front). */
static bool split_by_tokenizer(const slm_matcher *m, slm__str text, slm_token *out, size_t *n) {
    if (slm__vocab_tokenize(m->c->vocab, text.ptr, text.len, 0, out, LOOK_AHEAD, n, NULL) != SLM_OK)
        return false;
    size_t at = 0;
    for (size_t i = 0; i < *n; i++) {
        slm__str t;
        uint32_t attributes;
        if (slm__vocab_token(m->c->vocab, out[i], &t, &attributes) != SLM_OK) return false;
        if (!slm__trie_has(t, attributes) || t.len > text.len - at ||
            memcmp(text.ptr + at, t.ptr, t.len) != 0)
            return false;
        at += t.len;
    }
    return at == text.len;
}

/* The longest token each time. What is left where none fits is left out. */
static void split_by_length(const slm__trie *t, slm__str text, slm_token *out, size_t *n) {
    *n = 0;
    for (size_t at = 0, len; at < text.len; at += len) {
        uint32_t i = 0, end = t->n_nodes;
        len = 0;
        for (size_t k = at; k < text.len && i < end; k++) {
            while (i < end && t->nodes[i].byte != (uint8_t)text.ptr[k]) i = t->nodes[i].end;
            if (i >= end) break;
            if (t->nodes[i].token < t->nodes[i + 1].token) {
                out[*n] = t->tokens[t->nodes[i].token];
                len = k + 1 - at;
            }
            end = t->nodes[i++].end;
        }
        if (len == 0) return;
        ++*n;
    }
}

slm_status slm_matcher_forced_tokens(slm_matcher *m, slm_token *out, size_t capacity,
                                     size_t *n_tokens, slm_error *err) {
    slm__clear(err);
    if (!n_tokens) return slm__fail(err, SLM_ERR_ARGUMENT, "n_tokens is NULL");
    *n_tokens = 0;
    if (!m || (!out && capacity > 0))
        return slm__fail(err, SLM_ERR_ARGUMENT, "matcher or out is NULL");
    char text[LOOK_AHEAD];
    slm_token tokens[LOOK_AHEAD];
    size_t n_bytes, n;
    SLM_TRY(forced(m, text, sizeof text, &n_bytes, err));
    slm__str all = {text, n_bytes};
    if (!split_by_tokenizer(m, all, tokens, &n)) split_by_length(m->c->trie, all, tokens, &n);
    if (m->reading != SET_ENDED && n > 0) n--;
    if (n > capacity) n = capacity;
    if (n > 0) memcpy(out, tokens, n * sizeof *out);
    *n_tokens = n;
    return SLM_OK;
}
