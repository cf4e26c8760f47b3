/* The subset construction (Rabin and Scott 1959) for one unit; calls, loops and tokens are symbols as bytes are. */
#include "automaton.h"
#include "sort.h"

enum { NONE = UINT32_MAX, MAX_MEMBERS = 1 << 24, ROUNDS = 8, FIRST_SLOTS = 64 };

/* A state to be: a set of states of the unit with empty edges. */
typedef struct subset {
    uint32_t at, n; /* into `members`, sorted */
    uint32_t bytes, n_bytes, calls, n_calls;
    uint32_t next; /* with the same hash */
    bool final;
} subset;

typedef struct work {
    const slm_allocator *a;
    const slm__nfa *nfa;
    uint32_t *out;   /* [n_states + 1] edges of a state, in order[]                 */
    uint32_t *order; /* [edges] those of a state by their kind: empty ones first    */
    uint32_t *stamp; /* [n_states] the last set that a state was put into           */
    uint32_t stamp_now;
    uint32_t *heads, n_heads;
    SLM_VEC(subset) sets;
    SLM_VEC(uint32_t) members;
    SLM_VEC(uint64_t) set; /* that is being made; behind its members, room to sort them */
    SLM_VEC(slm__nfa_edge) leaving;
    SLM_VEC(slm__nfa_edge) active; /* of those, the ones that the byte at hand fits */
    SLM_VEC(slm__byte_edge) bytes;
    SLM_VEC(slm__call_edge) calls;
    uint32_t *same; /* [sets] an earlier or equal one that stands for it */
    uint32_t *number;
    uint64_t *steps; /* that are left */
} work;

static slm_status no_memory(slm_error *err) {
    return slm__fail(err, SLM_ERR_NOMEM, "no memory for a grammar");
}

static slm_status too_large(slm_error *err) {
    return slm__fail(
        err, SLM_ERR_LIMIT,
        "the grammar needs more than %d states or %d edges: too many ways to read a text",
        SLM__MAX_STATES, SLM__MAX_EDGES);
}

/* Each edge that is followed, each state that is put into a set and each one that is compared is a step. */
static slm_status spend(work *w, uint64_t n, slm_error *err) {
    if (n > *w->steps)
        return slm__fail(err, SLM_ERR_LIMIT,
                         "the grammar takes more than %d steps to compile: too many ways to read "
                         "a text",
                         SLM__MAX_STEPS);
    *w->steps -= n;
    return SLM_OK;
}

static slm_status prepare(work *w, slm_error *err) {
    uint32_t n = w->nfa->n_states, n_edges = w->nfa->edges.n;
    w->out = slm__alloc_array(w->a, (uint64_t)n + 2, sizeof *w->out);
    w->order = slm__alloc_array(w->a, n_edges, sizeof *w->order);
    w->stamp = slm__alloc_array(w->a, n, sizeof *w->stamp);
    w->n_heads = FIRST_SLOTS;
    w->heads = slm__alloc_array(w->a, w->n_heads, sizeof *w->heads);
    if (!w->out || !w->order || !w->stamp || !w->heads) return no_memory(err);
    SLM_TRY(spend(w, (uint64_t)n + n_edges, err));
    for (uint32_t i = 0; i < n_edges; i++) w->out[w->nfa->edges.p[i].from + 2]++;
    for (uint32_t i = 2; i <= n + 1; i++) w->out[i] += w->out[i - 1];
    for (slm__nfa_kind kind = NFA_EMPTY; kind <= NFA_CALL; kind++)
        for (uint32_t i = 0; i < n_edges; i++)
            if (w->nfa->edges.p[i].kind == kind)
                w->order[w->out[w->nfa->edges.p[i].from + 1]++] = i;
    return SLM_OK;
}

static void release(work *w) {
    slm__free(w->a, w->out);
    slm__free(w->a, w->order);
    slm__free(w->a, w->stamp);
    slm__free(w->a, w->heads);
    slm__free(w->a, w->sets.p);
    slm__free(w->a, w->members.p);
    slm__free(w->a, w->set.p);
    slm__free(w->a, w->leaving.p);
    slm__free(w->a, w->active.p);
    slm__free(w->a, w->bytes.p);
    slm__free(w->a, w->calls.p);
    slm__free(w->a, w->same);
    slm__free(w->a, w->number);
}

/* ---- Sets ---- */

static void begin_set(work *w) {
    w->set.n = 0;
    w->stamp_now++;
}

static bool put(work *w, uint32_t state) {
    if (w->stamp[state] == w->stamp_now) return true;
    w->stamp[state] = w->stamp_now;
    if (!SLM_ROOM(w->a, &w->set, 1)) return false;
    w->set.p[w->set.n++] = state;
    return true;
}

/* Along empty edges, then sorted. */
static slm_status close_set(work *w, slm_error *err) {
    for (uint32_t i = 0; i < w->set.n; i++) {
        uint32_t s = (uint32_t)w->set.p[i], e = w->out[s];
        for (; e < w->out[s + 1]; e++) {
            const slm__nfa_edge *x = &w->nfa->edges.p[w->order[e]];
            if (x->kind != NFA_EMPTY) break;
            if (!put(w, x->to)) return no_memory(err);
        }
        SLM_TRY(spend(w, 1 + (uint64_t)(e - w->out[s]), err));
    }
    if (!SLM_ROOM(w->a, &w->set, w->set.n)) return no_memory(err);
    slm__sort(w->set.p, w->set.p + w->set.n, w->set.n, 0);
    return SLM_OK;
}

static bool grow_heads(work *w) {
    uint32_t n = 2 * w->n_heads;
    uint32_t *heads = slm__alloc_array(w->a, n, sizeof *heads);
    if (!heads) return false;
    slm__free(w->a, w->heads);
    w->heads = heads;
    w->n_heads = n;
    for (uint32_t i = 0; i < w->sets.n; i++) {
        subset *s = &w->sets.p[i];
        uint32_t h = slm__hash(w->members.p + s->at, s->n * sizeof *w->members.p) % n;
        s->next = heads[h];
        heads[h] = i + 1;
    }
    return true;
}

/* Its members, written behind those of the sets that there are. */
static slm_status store_members(work *w, subset *s, slm_error *err) {
    if ((uint64_t)w->members.n + w->set.n > MAX_MEMBERS) return too_large(err);
    if (!SLM_ROOM(w->a, &w->members, w->set.n)) return no_memory(err);
    *s = (subset){.at = w->members.n, .n = w->set.n};
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t state = (uint32_t)w->set.p[i];
        w->members.p[s->at + i] = state;
        s->final |= state == 1;
    }
    return SLM_OK;
}

/* The number of the set that was put together. */
static slm_status finish_set(work *w, uint32_t *number, slm_error *err) {
    subset s;
    SLM_TRY(close_set(w, err));
    SLM_TRY(store_members(w, &s, err));
    const uint32_t *members = w->members.p + s.at;
    size_t n_bytes = s.n * sizeof *members;
    uint32_t h = slm__hash(members, n_bytes);
    for (uint32_t i = w->heads[h % w->n_heads]; i != 0; i = w->sets.p[i - 1].next) {
        const subset *o = &w->sets.p[i - 1];
        SLM_TRY(spend(w, 1 + (uint64_t)(o->n == s.n ? s.n : 0), err));
        if (o->n == s.n && memcmp(w->members.p + o->at, members, n_bytes) == 0) {
            *number = i - 1;
            return SLM_OK;
        }
    }
    if (w->sets.n >= SLM__MAX_STATES) return too_large(err);
    if (!SLM_ROOM(w->a, &w->sets, 1) || (w->sets.n >= w->n_heads && !grow_heads(w)))
        return no_memory(err);
    s.next = w->heads[h % w->n_heads];
    w->members.n += s.n;
    *number = w->sets.n;
    w->sets.p[w->sets.n++] = s;
    w->heads[h % w->n_heads] = w->sets.n;
    return SLM_OK;
}

/* ---- Edges ---- */

/* Edges of the kind that leave the set. */
static slm_status gather(work *w, uint32_t number, slm__nfa_kind kind, slm_error *err) {
    subset s = w->sets.p[number];
    w->leaving.n = 0;
    for (uint32_t i = 0; i < s.n; i++) {
        uint32_t from = w->members.p[s.at + i];
        SLM_TRY(spend(w, 1 + (uint64_t)(w->out[from + 1] - w->out[from]), err));
        for (uint32_t e = w->out[from]; e < w->out[from + 1]; e++) {
            const slm__nfa_edge *x = &w->nfa->edges.p[w->order[e]];
            if (x->kind != kind) continue;
            if (!SLM_ROOM(w->a, &w->leaving, 1)) return no_memory(err);
            w->leaving.p[w->leaving.n++] = *x;
        }
    }
    return SLM_OK;
}

/* Order `leaving` by a key of each edge, edges of a key staying in order. */
static slm_status sort_leaving(work *w, uint64_t (*key)(const slm__nfa_edge *), slm_error *err) {
    uint32_t n = w->leaving.n;
    begin_set(w); /* its room serves */
    w->active.n = 0;
    if (!SLM_ROOM(w->a, &w->set, 2 * (uint64_t)n) || !SLM_ROOM(w->a, &w->active, n))
        return no_memory(err);
    for (uint32_t i = 0; i < n; i++) w->set.p[i] = key(&w->leaving.p[i]) << 32 | i;
    slm__sort(w->set.p, w->set.p + n, n, 0);
    if (n > 0) memcpy(w->active.p, w->leaving.p, n * sizeof *w->leaving.p);
    for (uint32_t i = 0; i < n; i++) w->leaving.p[i] = w->active.p[(uint32_t)w->set.p[i]];
    return SLM_OK;
}

static slm_status add_bytes(work *w, uint32_t number, uint32_t first, uint32_t last,
                            slm_error *err) {
    uint32_t to;
    SLM_TRY(finish_set(w, &to, err));
    subset *s = &w->sets.p[number];
    slm__byte_edge *before = s->n_bytes > 0 ? &w->bytes.p[w->bytes.n - 1] : NULL;
    if (before && before->to == to && before->last + 1u == first) {
        before->last = (uint8_t)last;
        return SLM_OK;
    }
    if (w->bytes.n >= SLM__MAX_EDGES) return too_large(err);
    if (!SLM_ROOM(w->a, &w->bytes, 1)) return no_memory(err);
    w->bytes.p[w->bytes.n++] = (slm__byte_edge){(uint8_t)first, (uint8_t)last, to};
    s->n_bytes++;
    return SLM_OK;
}

static uint64_t first_byte(const slm__nfa_edge *x) { return x->a; }

/* Borders of the ranges cut the bytes into pieces, all of whose bytes lead to the same set: to where the active edges lead. */
static slm_status byte_edges(work *w, uint32_t number, slm_error *err) {
    SLM_TRY(gather(w, number, NFA_BYTES, err));
    w->sets.p[number].bytes = w->bytes.n;
    if (w->leaving.n == 0) return SLM_OK;
    SLM_TRY(sort_leaving(w, first_byte, err));
    bool border[257] = {false};
    for (uint32_t i = 0; i < w->leaving.n; i++)
        border[w->leaving.p[i].a] = border[w->leaving.p[i].b + 1] = true;
    uint32_t begun = 0;
    for (uint32_t first = 0, last; first < 256; first = last + 1) {
        for (last = first; last < 255 && !border[last + 1];) last++;
        while (begun < w->leaving.n && w->leaving.p[begun].a <= first)
            w->active.p[w->active.n++] = w->leaving.p[begun++];
        begin_set(w);
        uint32_t kept = 0;
        SLM_TRY(spend(w, w->active.n, err));
        for (uint32_t i = 0; i < w->active.n; i++) {
            if (w->active.p[i].b < first) continue;
            w->active.p[kept++] = w->active.p[i];
            if (!put(w, w->active.p[i].to)) return no_memory(err);
        }
        w->active.n = kept;
        if (kept > 0) SLM_TRY(add_bytes(w, number, first, last, err));
    }
    return SLM_OK;
}

/* Numbers of calls are below 2^24. */
static uint64_t what_is_called(const slm__nfa_edge *x) { return (uint64_t)x->call << 24 | x->a; }

static slm_status call_edges(work *w, uint32_t number, slm_error *err) {
    SLM_TRY(gather(w, number, NFA_CALL, err));
    w->sets.p[number].calls = w->calls.n;
    if (w->leaving.n == 0) return SLM_OK;
    SLM_TRY(sort_leaving(w, what_is_called, err));
    for (uint32_t i = 0; i < w->leaving.n;) {
        slm__nfa_edge x = w->leaving.p[i];
        begin_set(w);
        for (; i < w->leaving.n && what_is_called(&w->leaving.p[i]) == what_is_called(&x); i++)
            if (!put(w, w->leaving.p[i].to)) return no_memory(err);
        uint32_t to;
        SLM_TRY(finish_set(w, &to, err));
        if (w->calls.n >= SLM__MAX_EDGES) return too_large(err);
        if (!SLM_ROOM(w->a, &w->calls, 1)) return no_memory(err);
        w->calls.p[w->calls.n++] = (slm__call_edge){x.call, x.a, to};
        w->sets.p[number].n_calls++;
    }
    return SLM_OK;
}

/* ---- Equal states ---- */

/* Where an edge of set s leads, as far as equality goes: to itself, or to what stands for it. */
static uint32_t target(const work *w, uint32_t s, uint32_t to) {
    return w->same[to] == s ? NONE : w->same[to];
}

static uint32_t mix(uint32_t h, uint32_t v) { return (h ^ v) * 0x9e3779b1u ^ (h >> 15); }

static uint32_t hash_edges(const work *w, uint32_t number) {
    const subset *s = &w->sets.p[number];
    uint32_t h = s->final;
    for (uint32_t i = 0; i < s->n_bytes; i++) {
        const slm__byte_edge *e = &w->bytes.p[s->bytes + i];
        h = mix(mix(h, e->first * 256u + e->last), target(w, number, e->to));
    }
    for (uint32_t i = 0; i < s->n_calls; i++) {
        const slm__call_edge *e = &w->calls.p[s->calls + i];
        h = mix(mix(mix(h, e->kind), e->target), target(w, number, e->to));
    }
    return h;
}

static bool equal_edges(const work *w, uint32_t a, uint32_t b) {
    const subset *s = &w->sets.p[a], *t = &w->sets.p[b];
    if (s->final != t->final || s->n_bytes != t->n_bytes || s->n_calls != t->n_calls) return false;
    for (uint32_t i = 0; i < s->n_bytes; i++) {
        const slm__byte_edge *e = &w->bytes.p[s->bytes + i], *f = &w->bytes.p[t->bytes + i];
        if (e->first != f->first || e->last != f->last ||
            target(w, a, e->to) != target(w, b, f->to))
            return false;
    }
    for (uint32_t i = 0; i < s->n_calls; i++) {
        const slm__call_edge *e = &w->calls.p[s->calls + i], *f = &w->calls.p[t->calls + i];
        if (e->kind != f->kind || e->target != f->target ||
            target(w, a, e->to) != target(w, b, f->to))
            return false;
    }
    return true;
}

/* Join states whose edges are the same, last ones first: those that an edge leads to mostly have higher numbers. That finds all equal
 * states but those on circles longer than one. */
static slm_status join_equal(work *w, slm_error *err) {
    uint32_t n = w->sets.n;
    w->same = slm__alloc_array(w->a, n, sizeof *w->same);
    if (!w->same) return no_memory(err);
    for (uint32_t i = 0; i < n; i++) w->same[i] = i;
    bool changed = true;
    for (int round = 0; round < ROUNDS && changed; round++) {
        changed = false;
        memset(w->heads, 0, w->n_heads * sizeof *w->heads);
        for (uint32_t i = n; i-- > 0;) {
            if (w->same[i] != i) continue;
            uint32_t *head = &w->heads[hash_edges(w, i) % w->n_heads], at = *head;
            for (; at != 0 && !equal_edges(w, i, at - 1); at = w->sets.p[at - 1].next)
                SLM_TRY(spend(w, 1 + (uint64_t)w->sets.p[i].n_bytes + w->sets.p[i].n_calls, err));
            if (at != 0) {
                w->same[i] = at - 1;
                changed = true;
            } else {
                w->sets.p[i].next = *head;
                *head = i + 1;
            }
        }
        for (uint32_t i = n; i-- > 0;) w->same[i] = w->same[w->same[i]];
    }
    for (uint32_t i = n; i-- > 0;)
        while (w->same[w->same[i]] != w->same[i]) w->same[i] = w->same[w->same[i]];
    return SLM_OK;
}

/* ---- Into the grammar ---- */

static slm_status add_state(work *w, slm_grammar *g, const subset *s, bool in_loop,
                            slm_error *err) {
    if (g->states.n >= SLM__MAX_STATES || g->bytes.n + s->n_bytes > SLM__MAX_EDGES ||
        g->calls.n + s->n_calls > SLM__MAX_EDGES)
        return too_large(err);
    if (!SLM_ROOM(w->a, &g->states, 1) || !SLM_ROOM(w->a, &g->bytes, s->n_bytes) ||
        !SLM_ROOM(w->a, &g->calls, s->n_calls))
        return no_memory(err);
    slm__astate x = {.bytes = g->bytes.n,
                     .calls = g->calls.n,
                     .n_bytes = s->n_bytes,
                     .n_calls = s->n_calls,
                     .final = s->final,
                     .in_loop = in_loop};
    for (uint32_t i = 0; i < s->n_bytes; i++) {
        slm__byte_edge e = w->bytes.p[s->bytes + i];
        e.to = w->number[w->same[e.to]];
        g->bytes.p[g->bytes.n++] = e;
    }
    for (uint32_t i = 0; i < s->n_calls; i++) {
        slm__call_edge e = w->calls.p[s->calls + i];
        e.to = w->number[w->same[e.to]];
        g->calls.p[g->calls.n++] = e;
    }
    g->states.p[g->states.n++] = x;
    return SLM_OK;
}

slm_status slm__determinise(slm_grammar *g, const slm__nfa *nfa, bool in_loop, uint64_t *steps,
                            uint32_t *start, slm_error *err) {
    work w = {.a = &g->allocator, .nfa = nfa, .steps = steps};
    uint32_t first = 0;
    slm_status s = prepare(&w, err);
    begin_set(&w);
    if (s == SLM_OK && !put(&w, 0)) s = no_memory(err);
    if (s == SLM_OK) s = finish_set(&w, &first, err);
    for (uint32_t i = 0; s == SLM_OK && i < w.sets.n; i++) {
        s = byte_edges(&w, i, err);
        if (s == SLM_OK) s = call_edges(&w, i, err);
    }
    if (s == SLM_OK) s = join_equal(&w, err);
    if (s == SLM_OK) {
        w.number = slm__alloc_array(w.a, w.sets.n, sizeof *w.number);
        if (!w.number) s = no_memory(err);
    }
    uint32_t n = g->states.n, begin = n;
    for (uint32_t i = 0; s == SLM_OK && i < w.sets.n; i++)
        if (w.same[i] == i) w.number[i] = n++;
    for (uint32_t i = 0; s == SLM_OK && i < w.sets.n; i++)
        if (w.same[i] == i) s = add_state(&w, g, &w.sets.p[i], in_loop, err);
    if (s == SLM_OK) *start = w.number[w.same[first]];
    for (uint32_t i = begin; s == SLM_OK && i < g->states.n; i++) g->states.p[i].unit = *start;
    release(&w);
    return s;
}
