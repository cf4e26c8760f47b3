/*
 * Masks. The trie of tokens is walked with the machine: a byte down, a set on; below a dead set nothing fits.
 *
 * A place where most tokens fit (inside of a string) would walk over most of the trie, and there are as many such places as ways
 * to come there. So what does not depend on the frames is found out once for each state (slm__local), with a frame that stands for all: the
 * tokens that surely fit, and the parts of the trie where the unit returned on the way, which have to be looked at with the real
 * frames. In a loop there is always another round for the local walk, and what it notes for each token is how many it takes: where few
 * are left, tokens that take more are taken out.
 */
#include "constraint.h"

enum { MAX_LOCAL_BYTES = 32 << 20 };

static slm_status no_memory(slm_error *err) {
    return slm__fail(err, SLM_ERR_NOMEM, "no memory for a token mask");
}

slm_status slm__walk_init(slm__walk *w, slm__machine *m, const slm_constraint *c,
                          const slm_allocator *a, slm_error *err) {
    uint64_t n = (uint64_t)c->trie->longest + 1;
    *w = (slm__walk){.m = m, .t = c->trie, .a = a};
    w->sets = slm__alloc_array(a, n, sizeof *w->sets);
    w->nodes = slm__alloc_array(a, n, sizeof *w->nodes);
    w->escaped = slm__alloc_array(a, n, sizeof *w->escaped);
    w->bits = slm__alloc_array(a, c->trie->n_words, sizeof *w->bits);
    if (w->sets && w->nodes && w->escaped && w->bits) return SLM_OK;
    slm__walk_free(w);
    return no_memory(err);
}

void slm__walk_free(slm__walk *w) {
    if (!w->a) return;
    slm__free(w->a, w->sets);
    slm__free(w->a, w->nodes);
    slm__free(w->a, w->escaped);
    slm__free(w->a, w->bits);
    *w = (slm__walk){0};
}

/* ---- Walking ---- */

static void begin_walk(slm__walk *w, uint32_t set) { /* the machine is not full */
    w->sets[0] = set;
    w->escaped[0] = false;
    w->mark = slm__machine_mark(w->m);
}

/* The machine has become full: forget all sets but the first, and make those of the path again. */
static bool renew_path(slm__walk *w, uint32_t depth) {
    slm__machine_release(w->m, w->mark);
    for (uint32_t d = 1; d < depth; d++) {
        w->sets[d] = slm__machine_byte(w->m, w->sets[d - 1], w->t->nodes[w->nodes[d]].byte);
        if (w->sets[d] == SET_FAILED) return false;
    }
    return true;
}

/* Down to node i, whose parent is on the path. The set there, or SET_FAILED. */
static inline uint32_t step(slm__walk *w, uint32_t i) {
    const slm__trie_node *x = &w->t->nodes[i];
    if (!slm__machine_spend(w->m, 1)) return SET_FAILED;
    if (slm__machine_full(w->m, w->mark) && !renew_path(w, x->depth)) return SET_FAILED;
    w->n_steps++;
    w->nodes[x->depth] = i;
    return w->sets[x->depth] = slm__machine_byte(w->m, w->sets[x->depth - 1], x->byte);
}

static inline void set_tokens(const slm__trie *t, uint32_t i, uint64_t *bits) {
    for (uint32_t k = t->nodes[i].token; k < t->nodes[i + 1].token; k++)
        slm__set_bit(bits, t->tokens[k]);
}

/* Tokens of more than `longer` bytes in these nodes that the set allows. The nodes above are among them, too. */
static slm_status walk_nodes(slm__walk *w, uint32_t set, const slm__nodes *ranges, uint32_t n,
                             uint32_t longer, uint64_t *bits, slm_error *err) {
    const slm__trie *t = w->t;
    begin_walk(w, set);
    uint32_t i = 0;
    for (uint32_t k = 0; k < n; k++) {
        if (i < ranges[k].begin) i = ranges[k].begin;
        while (i < ranges[k].end) {
            if (t->nodes[i].deepest <= longer) {
                i = t->nodes[i].end;
                continue;
            }
            uint32_t next = step(w, i);
            if (next == SET_FAILED) return slm__machine_error(w->m, err);
            if (next == SET_DEAD) {
                i = t->nodes[i].end;
                continue;
            }
            if (t->nodes[i].depth > longer) set_tokens(t, i, bits);
            i++;
        }
    }
    return SLM_OK;
}

/* ---- What does not depend on the frames ---- */

typedef struct open_list {
    SLM_VEC(slm__nodes) ranges;
    uint32_t n_listed; /* nodes of the path that are listed already: depths 1 .. n_listed */
} open_list;

static bool add_range(slm__walk *w, open_list *o, uint32_t begin, uint32_t end) {
    if (o->ranges.n > 0 && o->ranges.p[o->ranges.n - 1].end == begin) {
        o->ranges.p[o->ranges.n - 1].end = end;
        return true;
    }
    if (!SLM_ROOM(w->a, &o->ranges, 1)) return false;
    o->ranges.p[o->ranges.n++] = (slm__nodes){begin, end};
    return true;
}

/* Node i and all below, with the nodes above it. */
static bool add_open(slm__walk *w, open_list *o, uint32_t i) {
    uint32_t depth = w->t->nodes[i].depth;
    for (uint32_t d = o->n_listed + 1; d < depth; d++)
        if (!add_range(w, o, w->nodes[d], w->nodes[d] + 1)) return false;
    o->n_listed = depth - 1;
    return add_range(w, o, i, w->t->nodes[i].end);
}

/* `rounds` [n_vocab] or NULL. */
static slm_status walk_local(slm__walk *w, uint32_t set, slm__local *l, uint8_t *rounds,
                             open_list *o, slm_error *err) {
    const slm__trie *t = w->t;
    begin_walk(w, set);
    for (uint32_t i = 0; i < t->n_nodes;) {
        uint32_t depth = t->nodes[i].depth;
        if (o->n_listed >= depth) o->n_listed = depth - 1;
        bool here = w->m->sets.p[w->sets[depth - 1]].escapes;
        w->escaped[depth] = w->escaped[depth - 1] || here;
        uint32_t next = step(w, i);
        if (next == SET_FAILED) return slm__machine_error(w->m, err);
        if (next == SET_DEAD) {
            if (w->escaped[depth] && !add_open(w, o, i)) return no_memory(err);
            i = t->nodes[i].end;
            continue;
        }
        if (here) l->again[t->nodes[i].byte] = true;
        set_tokens(t, i, l->sure);
        if (rounds && t->nodes[i].token < t->nodes[i + 1].token) {
            uint32_t n = slm__machine_rounds(w->m, next);
            if (n > SLM__MANY_ROUNDS) n = SLM__MANY_ROUNDS;
            for (uint32_t k = t->nodes[i].token; k < t->nodes[i + 1].token; k++)
                rounds[t->tokens[k]] = (uint8_t)n;
        }
        i++;
    }
    return SLM_OK;
}

void slm__local_free(slm__local *l, const slm_allocator *a) {
    if (!l) return;
    slm__free(a, l->sure);
    slm__free(a, l->open);
    slm__free(a, l->rounds);
    slm__free(a, l);
}

/* What was found, into l. */
static slm_status keep_local(slm__walk *w, const slm_constraint *c, slm__local *l,
                             const open_list *o, const uint8_t *rounds, slm_error *err) {
    l->n_open = o->ranges.n;
    l->open = slm__alloc_array(&c->allocator, l->n_open, sizeof *l->open);
    if (rounds) l->rounds = slm__alloc(&c->allocator, w->t->n_tokens);
    if (!l->open || (rounds && !l->rounds)) return no_memory(err);
    if (l->n_open > 0) memcpy(l->open, o->ranges.p, l->n_open * sizeof *l->open);
    for (uint32_t i = 0; rounds && i < w->t->n_tokens; i++)
        l->rounds[i] = rounds[w->t->by_length[i]];
    return SLM_OK;
}

/* By the constraint's allocator: it may stay there. */
static slm_status make_local(slm__walk *w, const slm_constraint *c, uint32_t state, slm__local *l,
                             slm_error *err) {
    open_list o = {0};
    uint8_t *rounds = NULL;
    bool in_loop = c->grammar->states.p[state].in_loop;
    slm_status s = SLM_OK;
    uint32_t set = slm__machine_local(w->m, state);
    if (set == SET_FAILED)
        s = slm__machine_error(w->m, err);
    else if (!(l->sure = slm__alloc_array(&c->allocator, w->t->n_words, sizeof *l->sure)))
        s = no_memory(err);
    else if (in_loop && !(rounds = slm__alloc(w->a, (uint64_t)w->t->n_vocab)))
        s = no_memory(err);
    if (s == SLM_OK) s = walk_local(w, set, l, rounds, &o, err);
    if (s == SLM_OK) s = keep_local(w, c, l, &o, rounds, err);
    slm__free(w->a, o.ranges.p);
    slm__free(w->a, rounds);
    return s;
}

/* Keep it for all, if there is room. */
static bool share_local(const slm_constraint *c, uint32_t state, slm__local *l) {
    slm_constraint *shared = (slm_constraint *)c; /* its cache is no part of what it means */
    slm__local *none = NULL;
    size_t n_bytes = sizeof *l + l->n_open * sizeof *l->open;
    if (l->sure) n_bytes += c->trie->n_words * sizeof *l->sure;
    if (l->rounds) n_bytes += c->trie->n_tokens;
    if (atomic_fetch_add(&shared->n_bytes, n_bytes) + n_bytes <= MAX_LOCAL_BYTES &&
        atomic_compare_exchange_strong(&shared->locals[state], &none, l))
        return true;
    atomic_fetch_sub(&shared->n_bytes, n_bytes);
    return false;
}

slm_status slm__walk_local(slm__walk *w, const slm_constraint *c, uint32_t state, uint64_t most,
                           slm__local **out, bool *mine, slm_error *err) {
    uint64_t before = w->m->work;
    slm__local *l = slm__alloc(&c->allocator, sizeof *l);
    *out = NULL;
    *mine = false;
    if (!l) return no_memory(err);
    slm__machine_allow(w->m, most, slm__mask_is_too_much);
    slm_status s = make_local(w, c, state, l, err);
    bool unknown = w->m->work > w->m->work_end && most < SLM__MASK_WORK;
    if (s == SLM_ERR_LIMIT && !unknown) { /* that is what there is to know */
        slm__free(&c->allocator, l->sure);
        l->sure = NULL;
        l->why = w->m->why;
        s = SLM_OK;
    }
    if (s != SLM_OK) {
        slm__local_free(l, &c->allocator);
        return s;
    }
    l->work = w->m->work - before;
    *out = l;
    *mine = !share_local(c, state, l);
    return SLM_OK;
}

/* As slm__walk_local(), if there is none yet. By a machine of its own: what it takes must not depend on where this text is. */
static slm_status local_of(slm__walk *w, const slm_constraint *c, uint32_t state, slm__local **out,
                           bool *mine, slm_error *err) {
    slm__machine m;
    slm__walk own = {0};
    *mine = false;
    *out = atomic_load(&c->locals[state]);
    if (*out) return SLM_OK;
    SLM_TRY(slm__machine_init(&m, c->grammar, w->a, err));
    slm_status s = slm__walk_init(&own, &m, c, w->a, err);
    if (s == SLM_OK) s = slm__walk_local(&own, c, state, SLM__MASK_WORK, out, mine, err);
    slm__walk_free(&own);
    slm__machine_free(&m);
    return s;
}

/* ---- Masks ---- */

/* Can a byte that the loop goes on with also be one behind the loop? */
static bool exit_is_open(slm__walk *w, const slm__local *l, uint32_t exit) {
    const slm__machine *m = w->m;
    const slm__place_set *s = &m->sets.p[exit];
    for (uint32_t i = 0; i < s->n; i++) {
        const slm__astate *x = &m->grammar->states.p[m->places.p[s->at + i].state];
        for (uint32_t k = 0; k < x->n_bytes; k++) {
            const slm__byte_edge *e = &m->grammar->bytes.p[x->bytes + k];
            for (uint32_t b = e->first; b <= e->last; b++)
                if (l->again[b]) return true;
        }
    }
    return false;
}

/* The sure tokens without those that take too many rounds, into w->bits. What is taken out may still fit by leaving the loop on the way. Where the
 * byte that leaves it is none that it goes on with, such tokens are open ones. Else *again: longer tokens have to be looked at. */
static slm_status few_rounds(slm__walk *w, const slm__local *l, uint32_t frame, bool *again,
                             slm_error *err) {
    const slm__trie *t = w->t;
    uint32_t rounds = w->m->frames.p[frame].max, exit = slm__machine_exit(w->m, frame);
    if (exit == SET_FAILED || !slm__machine_spend(w->m, 256 * (uint64_t)w->m->sets.p[exit].n))
        return slm__machine_error(w->m, err);
    *again = rounds >= SLM__MANY_ROUNDS || exit_is_open(w, l, exit);
    if (!slm__machine_spend(w->m, t->n_words + t->n_tokens - t->length_at[rounds + 1]))
        return slm__machine_error(w->m, err);
    memcpy(w->bits, l->sure, t->n_words * sizeof *l->sure);
    for (uint32_t i = t->length_at[rounds + 1]; i < t->n_tokens; i++)
        if (*again || l->rounds[i] > rounds)
            w->bits[t->by_length[i] / 64] &= ~(UINT64_C(1) << t->by_length[i] % 64);
    return SLM_OK;
}

/* The same for place i of a set alone. Sets behind `start` may be forgotten before. */
static slm_status walk_place(slm__walk *w, uint32_t set, uint32_t i, slm__mark start,
                             const slm__nodes *ranges, uint32_t n, uint32_t longer, uint64_t *bits,
                             slm_error *err) {
    if (n == 0) return SLM_OK;
    slm__machine_trim(w->m, start);
    uint32_t single = slm__machine_single(w->m, set, i);
    if (single == SET_FAILED) return slm__machine_error(w->m, err);
    return walk_nodes(w, single, ranges, n, longer, bits, err);
}

/* Place i of a set, with frames, in which many tokens fit. */
static slm_status mask_of_place(slm__walk *w, const slm__local *l, uint32_t set, uint32_t i,
                                slm__mark start, uint64_t *bits, slm_error *err) {
    const slm__trie *t = w->t;
    const slm__nodes all = {0, t->n_nodes};
    slm__place place = w->m->places.p[w->m->sets.p[set].at + i];
    bool again = false, in_loop = w->m->grammar->states.p[place.state].in_loop;
    uint32_t rounds = in_loop ? w->m->frames.p[place.frame].max : UINT32_MAX;
    slm_status s = SLM_OK;
    slm__machine_trim(w->m, start);
    const uint64_t *sure = l->sure;
    if (rounds < t->longest) {
        s = few_rounds(w, l, place.frame, &again, err);
        sure = w->bits;
    }
    for (uint32_t k = 0; s == SLM_OK && k < t->n_words; k++) bits[k] |= sure[k];
    if (s == SLM_OK) s = walk_place(w, set, i, start, l->open, l->n_open, 0, bits, err);
    if (s == SLM_OK && again) s = walk_place(w, set, i, start, &all, 1, rounds, bits, err);
    return s;
}

/* The places of a set in which many tokens fit. The work that a slm__local took counts, whoever did it. */
static slm_status mask_of_wide(slm__walk *w, const slm_constraint *c, uint32_t set, slm__mark start,
                               uint64_t *bits, slm_error *err) {
    slm__machine *m = w->m;
    uint32_t n = m->sets.p[set].n, of = SLM__NO_STATE;
    slm__local *l = NULL;
    bool mine = false;
    slm_status s = SLM_OK;
    for (uint32_t i = 0; s == SLM_OK && i < n; i++) {
        uint32_t state = m->places.p[m->sets.p[set].at + i].state;
        if (!c->wide[state]) continue;
        if (state != of) { /* places are sorted by state */
            if (mine) slm__local_free(l, &c->allocator);
            s = local_of(w, c, of = state, &l, &mine, err);
            if (s == SLM_OK && !l->sure) slm__machine_refuse(m, l->why);
            if (s == SLM_OK && (!l->sure || !slm__machine_spend(m, l->work)))
                s = slm__machine_error(m, err);
        }
        if (s == SLM_OK) s = mask_of_place(w, l, set, i, start, bits, err);
    }
    if (mine) slm__local_free(l, &c->allocator);
    return s;
}

/* Tokens that the places of a set read whole. Those that negated symbols fit: all but one, or all if there are two of them. */
static slm_status mask_of_tokens(const slm_constraint *c, slm__machine *m, slm__place_set s,
                                 uint64_t *bits, slm_error *err) {
    const slm_grammar *g = c->grammar;
    slm_token but = SLM_TOKEN_NONE;
    bool others = false, all = false;
    for (uint32_t i = 0; i < s.n; i++) {
        const slm__astate *x = &g->states.p[m->places.p[s.at + i].state];
        if (!slm__machine_spend(m, x->n_calls)) return slm__machine_error(m, err);
        for (uint32_t k = 0; k < x->n_calls; k++) {
            const slm__call_edge *e = &g->calls.p[x->calls + k];
            if (e->kind != CALL_TOKEN) continue;
            slm_token token = c->symbols[e->target];
            if (!g->tokens.p[e->target].negated) {
                slm__set_bit(bits, token);
                continue;
            }
            all = all || (others && token != but);
            others = true;
            but = token;
        }
    }
    for (uint32_t i = 0; others && i < c->trie->n_tokens; i++)
        if (all || c->trie->tokens[i] != but) slm__set_bit(bits, c->trie->tokens[i]);
    return SLM_OK;
}

static slm_status walk_mask(slm__walk *w, const slm_constraint *c, uint32_t set, uint64_t *bits,
                            slm_error *err) {
    slm__machine *m = w->m;
    slm__place_set s = m->sets.p[set];
    slm__mark start = slm__machine_mark(m);
    uint32_t n_wide = 0;
    for (uint32_t i = 0; i < s.n; i++) {
        n_wide += c->wide[m->places.p[s.at + i].state];
    }
    SLM_TRY(mask_of_tokens(c, m, s, bits, err));
    if (n_wide < s.n) {
        const slm__nodes all = {0, w->t->n_nodes};
        uint32_t narrow = n_wide == 0 ? set : slm__machine_without(m, set, c->wide);
        if (narrow == SET_FAILED) return slm__machine_error(m, err);
        SLM_TRY(walk_nodes(w, narrow, &all, 1, 0, bits, err));
    }
    if (n_wide > 0) SLM_TRY(mask_of_wide(w, c, set, start, bits, err));
    for (uint32_t i = 0; s.ends && i < w->t->n_eog; i++) slm__set_bit(bits, w->t->eog[i]);
    return SLM_OK;
}

slm_status slm__walk_mask(slm__walk *w, const slm_constraint *c, uint32_t set, uint64_t *bits,
                          slm_error *err) {
    slm__machine_allow(w->m, SLM__MASK_WORK, slm__mask_is_too_much);
    return walk_mask(w, c, set, bits, err);
}
