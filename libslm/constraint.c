#include "constraint.h"
#include "guard.h"
#include "model.h"

enum {
    WIDE_BYTES =
        16, /* a state that so many bytes fit, and that share of the tokens begins with one of them */
    WIDE_SHARE = 64,
    /* When a constraint is made: steps of walks, and what else the machine may do for each of the two. */
    FIRST_STEPS = 8 << 20,
    FIRST_WORK = 32 << 20,
    MAX_COMPARED = 1 << 24, /* texts of tokens */
};

static slm_status no_memory(slm_error *err) {
    return slm__fail(err, SLM_ERR_NOMEM, "no memory for a constraint");
}

/* The model's trie; made now, and kept by the model, if there is none. */
static slm_status trie_of(const slm_model *model, const slm__trie **out, slm_error *err) {
    slm_model *shared =
        (slm_model *)model; /* what is found out about it is no part of what it is */
    slm__trie *t = atomic_load(&shared->trie), *none = NULL;
    if (!t) {
        SLM_TRY(slm__trie_create(model->vocab, &model->allocator, &t, err));
        if (!atomic_compare_exchange_strong(&shared->trie, &none, t)) {
            slm__trie_free(t, &model->allocator);
            t = none;
        }
    }
    *out = t;
    return SLM_OK;
}

/* ---- Tokens of the grammar ---- */

static slm__str text_of(const slm_grammar *g, uint32_t symbol) {
    const slm__token_symbol *t = &g->tokens.p[symbol];
    return (slm__str){g->text.p + t->text, t->n_text};
}

/* The first token of each text, in one pass over the vocabulary: `heads` [n_heads] and `next` [symbols] are numbers of symbols + 1.
 * LIMIT where grammar and vocabulary are made to meet at the same hashes. */
static slm_status find_texts(slm_constraint *c, const uint32_t *heads, uint32_t n_heads,
                             const uint32_t *next, slm_error *err) {
    uint32_t n_compared = 0;
    for (slm_token token = 0; token < c->trie->n_vocab; token++) {
        slm__str text;
        uint32_t attributes;
        if (slm__vocab_token(c->vocab, token, &text, &attributes) != SLM_OK) continue;
        for (uint32_t i = heads[slm__hash(text.ptr, text.len) % n_heads]; i != 0; i = next[i - 1]) {
            slm__str wanted = text_of(c->grammar, i - 1);
            if (c->symbols[i - 1] == SLM_TOKEN_NONE && wanted.len == text.len &&
                memcmp(wanted.ptr, text.ptr, text.len) == 0)
                c->symbols[i - 1] = token;
            if (++n_compared > MAX_COMPARED)
                return slm__fail(err, SLM_ERR_LIMIT,
                                 "too many tokens of the grammar share a hash: more than %d "
                                 "comparisons, up to token %d",
                                 MAX_COMPARED, token);
        }
    }
    return SLM_OK;
}

static slm_status hash_symbols(slm_constraint *c, slm_error *err) {
    const slm_grammar *g = c->grammar;
    uint32_t n_heads = 2 * g->tokens.n + 1, n_texts = 0;
    uint32_t *heads = slm__alloc_array(&c->allocator, n_heads, sizeof *heads);
    uint32_t *next = slm__alloc_array(&c->allocator, g->tokens.n, sizeof *next);
    for (uint32_t i = 0; heads && next && i < g->tokens.n; i++) {
        c->symbols[i] = SLM_TOKEN_NONE;
        if (!g->tokens.p[i].by_text) continue;
        slm__str text = text_of(g, i);
        uint32_t *head = &heads[slm__hash(text.ptr, text.len) % n_heads];
        next[i] = *head;
        *head = i + 1;
        n_texts++;
    }
    bool ok = heads && next;
    slm_status s = ok ? SLM_OK : no_memory(err);
    if (n_texts > 0) s = find_texts(c, heads, n_heads, next, err);
    slm__free(&c->allocator, heads);
    slm__free(&c->allocator, next);
    return s;
}

static slm_status find_symbols(slm_constraint *c, slm_error *err) {
    const slm_grammar *g = c->grammar;
    c->symbols = slm__alloc_array(&c->allocator, g->tokens.n, sizeof *c->symbols);
    if (!c->symbols) return no_memory(err);
    SLM_TRY(hash_symbols(c, err));
    for (uint32_t i = 0; i < g->tokens.n; i++) {
        const slm__token_symbol *t = &g->tokens.p[i];
        if (!t->by_text) {
            if (t->id >= (uint32_t)c->trie->n_vocab)
                return slm__fail(err, SLM_ERR_MISMATCH,
                                 "the grammar names token %u, the vocabulary has %d", t->id,
                                 c->trie->n_vocab);
            c->symbols[i] = (slm_token)t->id;
            continue;
        }
        if (c->symbols[i] == SLM_TOKEN_NONE)
            return slm__fail(err, SLM_ERR_MISMATCH,
                             "the grammar names the token \"%s\", which the vocabulary has not",
                             slm__show(text_of(g, i)).text);
    }
    return SLM_OK;
}

/* ---- States that many tokens fit ---- */

static uint32_t tokens_below(const slm__trie *t, uint32_t from, uint32_t to) {
    return t->nodes[to].token - t->nodes[from].token;
}

/* Tokens that two bytes of fit, the first being `byte`. */
static uint32_t tokens_behind(const slm__trie *t, slm__machine *m, uint32_t state, uint8_t byte) {
    uint32_t set = slm__machine_local(m, state), n = 0, i = t->first[byte];
    if (set != SET_FAILED) set = slm__machine_byte(m, set, byte);
    for (uint32_t k = i + 1; set != SET_FAILED && i < t->first[byte + 1] && k < t->nodes[i].end;
         k = t->nodes[k].end)
        if (slm__machine_byte(m, set, t->nodes[k].byte) != SET_DEAD)
            n += tokens_below(t, k, t->nodes[k].end);
    return n;
}

/* Many bytes fit, or few, but many behind them: a space before a word. */
static bool is_wide(const slm_constraint *c, slm__machine *m, uint32_t state) {
    const slm__trie *t = c->trie;
    const slm__astate *s = &c->grammar->states.p[state];
    uint32_t n_bytes = 0, n_tokens = 0, many = t->n_tokens / WIDE_SHARE;
    for (uint32_t i = 0; i < s->n_bytes; i++) {
        const slm__byte_edge *e = &c->grammar->bytes.p[s->bytes + i];
        n_bytes += e->last - e->first + 1u;
        n_tokens += tokens_below(t, t->first[e->first], t->first[e->last + 1]);
    }
    if (n_tokens <= many || n_bytes >= WIDE_BYTES) return n_tokens > many;
    if (m->work > FIRST_WORK) return false; /* it may be slow, but not wrong */
    n_tokens = 0;
    for (uint32_t i = 0; i < s->n_bytes; i++) {
        const slm__byte_edge *e = &c->grammar->bytes.p[s->bytes + i];
        for (uint32_t b = e->first; b <= e->last; b++)
            n_tokens += tokens_behind(t, m, state, (uint8_t)b);
    }
    return n_tokens > many;
}

static void find_wide(slm_constraint *c, slm__machine *m) {
    slm__mark mark = slm__machine_mark(m);
    slm__machine_allow(m, FIRST_WORK, slm__mask_is_too_much);
    for (uint32_t i = 0; i < c->grammar->states.n; i++) {
        c->wide[i] = is_wide(c, m, i);
        if (slm__machine_full(m, mark)) slm__machine_release(m, mark);
    }
    slm__machine_release(m, mark);
}

static slm_status fill_locals(slm_constraint *c, slm__walk *w, slm_error *err) {
    slm__mark mark = slm__machine_mark(w->m);
    uint64_t end = w->m->work + FIRST_WORK;
    for (uint32_t i = 0; i < c->grammar->states.n && w->n_steps < FIRST_STEPS; i++) {
        if (!c->wide[i]) continue;
        slm__local *l;
        bool mine;
        slm_status s = slm__walk_local(w, c, i, end - w->m->work, &l, &mine, err);
        slm__machine_release(w->m, mark);
        if (s != SLM_OK && s != SLM_ERR_LIMIT) return s;
        if (mine) slm__local_free(l, &c->allocator);
        if (s == SLM_ERR_LIMIT || mine || w->m->work >= end) break; /* the rest when it is needed */
    }
    slm__clear(err);
    return SLM_OK;
}

static slm_status prepare(slm_constraint *c, slm_error *err) {
    uint32_t n = c->grammar->states.n;
    slm__machine m;
    slm__walk w = {0};
    c->wide = slm__alloc_array(&c->allocator, n, sizeof *c->wide);
    c->locals = slm__alloc_array(&c->allocator, n, sizeof *c->locals);
    if (!c->wide || !c->locals) return no_memory(err);
    SLM_TRY(find_symbols(c, err));
    SLM_TRY(slm__machine_init(&m, c->grammar, &c->allocator, err));
    find_wide(c, &m);
    slm_status s = m.status == SLM_ERR_NOMEM ? no_memory(err) : SLM_OK;
    if (s == SLM_OK) s = slm__walk_init(&w, &m, c, &c->allocator, err);
    if (s == SLM_OK) s = fill_locals(c, &w, err);
    slm__walk_free(&w);
    slm__machine_free(&m);
    return s;
}

slm_status slm_constraint_create(const slm_grammar *grammar, const slm_model *model,
                                 const slm_allocator *allocator, slm_constraint **out,
                                 slm_error *err) {
    slm__clear(err);
    if (!out) return slm__fail(err, SLM_ERR_ARGUMENT, "out is NULL");
    *out = NULL;
    if (!grammar || !model) return slm__fail(err, SLM_ERR_ARGUMENT, "grammar or model is NULL");
    slm_allocator a = allocator ? *allocator : (slm_allocator){0};
    SLM_TRY(slm__check_allocator(&a, err));
    if (!model->vocab)
        return slm__fail(err, SLM_ERR_UNSUPPORTED, "the model was opened without its vocabulary");
    slm_constraint *c = slm__alloc(&a, sizeof *c);
    if (!c) return no_memory(err);
    c->allocator = a;
    c->grammar = grammar;
    c->vocab = model->vocab;
    slm_status s = trie_of(model, &c->trie, err);
    if (s == SLM_OK) s = prepare(c, err);
    s = slm__guard_check(model->gguf.guard, s, err);
    if (s != SLM_OK)
        slm_constraint_free(c);
    else
        *out = c;
    return s;
}

void slm_constraint_free(slm_constraint *c) {
    if (!c) return;
    slm_allocator a = c->allocator;
    for (uint32_t i = 0; c->locals && i < c->grammar->states.n; i++)
        slm__local_free(c->locals[i], &a);
    slm__free(&a, c->locals);
    slm__free(&a, c->wide);
    slm__free(&a, c->symbols);
    slm__free(&a, c);
}
