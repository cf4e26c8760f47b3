/* What is known of an automaton as a whole: which states may return without reading, which can come to an end at all, and that no unit comes
 * to itself before it reads. */
#include "automaton.h"

/* An edge, by its number among those of a state (see named()). */
typedef struct watcher {
    uint32_t state, edge;
} watcher;

typedef struct call_list {
    uint32_t unit, at, end; /* into `list` */
} call_list;

enum { WHITE, GREY, BLACK };

typedef struct check {
    slm_grammar *g;
    const slm_allocator *a;
    uint32_t *out;     /* [n_states + 2], into `watchers` */
    watcher *watchers; /* edges that lead to a state or call it */
    bool *empty;       /* [n_states] may return without reading  */
    bool *live;        /* [n_states] may return                  */
    uint8_t *colour;   /* [n_states] of units                    */
    uint32_t *seen;    /* [n_states] the unit that came here last, + 1 */
    SLM_VEC(uint32_t) queue, list;
    SLM_VEC(call_list) stack;
} check;

static slm_status no_memory(slm_error *err) {
    return slm__fail(err, SLM_ERR_NOMEM, "no memory for a grammar");
}

/* Where a call goes, but for tokens. */
static uint32_t callee(const slm_grammar *g, const slm__call_edge *e) {
    return e->kind == CALL_LOOP ? g->loops.p[e->target].body : e->target;
}

/* ---- Smallest sets of states: those that may return ---- */

/* Every state that an edge of s names, in turn; false past the last. */
static bool named(const slm_grammar *g, const slm__astate *s, uint32_t i, uint32_t *state) {
    if (i < s->n_bytes) {
        *state = g->bytes.p[s->bytes + i].to;
        return true;
    }
    i -= s->n_bytes;
    if (i / 2 >= s->n_calls) return false;
    const slm__call_edge *e = &g->calls.p[s->calls + i / 2];
    *state = i % 2 == 0 || e->kind == CALL_TOKEN ? e->to : callee(g, e);
    return true;
}

static slm_status watch(check *c, slm_error *err) {
    const slm_grammar *g = c->g;
    uint32_t n = g->states.n, to;
    c->out = slm__alloc_array(c->a, (uint64_t)n + 2, sizeof *c->out);
    c->watchers = slm__alloc_array(c->a, (uint64_t)g->bytes.n + 2 * (uint64_t)g->calls.n,
                                   sizeof *c->watchers);
    if (!c->out || !c->watchers) return no_memory(err);
    for (uint32_t s = 0; s < n; s++)
        for (uint32_t i = 0; named(g, &g->states.p[s], i, &to); i++) c->out[to + 2]++;
    for (uint32_t i = 2; i <= n + 1; i++) c->out[i] += c->out[i - 1];
    for (uint32_t s = 0; s < n; s++)
        for (uint32_t i = 0; named(g, &g->states.p[s], i, &to); i++)
            c->watchers[c->out[to + 1]++] = (watcher){s, i};
    return SLM_OK;
}

static bool call_holds(const slm_grammar *g, const slm__call_edge *e, const bool *marks,
                       bool reading) {
    if (!marks[e->to]) return false;
    if (e->kind == CALL_TOKEN) return reading;
    return marks[callee(g, e)] || (e->kind == CALL_LOOP && g->loops.p[e->target].min == 0);
}

/* Does an edge of a state lead to the end of the unit? */
static bool holds(const slm_grammar *g, watcher w, const bool *marks, bool reading) {
    const slm__astate *s = &g->states.p[w.state];
    if (w.edge < s->n_bytes) return reading && marks[g->bytes.p[s->bytes + w.edge].to];
    return call_holds(g, &g->calls.p[s->calls + (w.edge - s->n_bytes) / 2], marks, reading);
}

/* Mark states that may come to the end of their unit, with or without reading. */
static slm_status mark(check *c, bool *marks, bool reading, slm_error *err) {
    c->queue.n = 0;
    if (!SLM_ROOM(c->a, &c->queue, c->g->states.n)) return no_memory(err);
    for (uint32_t s = 0; s < c->g->states.n; s++) {
        if (!c->g->states.p[s].final) continue;
        marks[s] = true;
        c->queue.p[c->queue.n++] = s;
    }
    /* a call of a loop that may be left out needs nothing but where it leads, which is watched */
    for (uint32_t i = 0; i < c->queue.n; i++) {
        uint32_t s = c->queue.p[i];
        for (uint32_t w = c->out[s]; w < c->out[s + 1]; w++) {
            uint32_t state = c->watchers[w].state;
            if (marks[state] || !holds(c->g, c->watchers[w], marks, reading)) continue;
            marks[state] = true;
            c->queue.p[c->queue.n++] = state;
        }
    }
    return SLM_OK;
}

/* ---- Left recursion ---- */

/* The units that `unit` may call before it has read anything, onto the list. */
static slm_status left_calls(check *c, uint32_t unit, slm_error *err) {
    const slm_grammar *g = c->g;
    c->queue.n = 0;
    if (!SLM_ROOM(c->a, &c->queue, g->states.n)) return no_memory(err);
    c->queue.p[c->queue.n++] = unit;
    c->seen[unit] = unit + 1;
    for (uint32_t i = 0; i < c->queue.n; i++) {
        const slm__astate *s = &g->states.p[c->queue.p[i]];
        if (!SLM_ROOM(c->a, &c->list, s->n_calls)) return no_memory(err);
        for (uint32_t k = 0; k < s->n_calls; k++) {
            const slm__call_edge *e = &g->calls.p[s->calls + k];
            if (e->kind == CALL_TOKEN) continue;
            c->list.p[c->list.n++] = callee(g, e);
            bool passes =
                c->empty[callee(g, e)] || (e->kind == CALL_LOOP && g->loops.p[e->target].min == 0);
            if (!passes || c->seen[e->to] == unit + 1) continue;
            c->seen[e->to] = unit + 1;
            c->queue.p[c->queue.n++] = e->to;
        }
    }
    return SLM_OK;
}

static slm_status enter(check *c, uint32_t unit, slm_error *err) {
    if (!SLM_ROOM(c->a, &c->stack, 1)) return no_memory(err);
    call_list x = {.unit = unit, .at = c->list.n};
    SLM_TRY(left_calls(c, unit, err));
    x.end = c->list.n;
    c->colour[unit] = GREY;
    c->stack.p[c->stack.n++] = x;
    return SLM_OK;
}

/* Depth first over the units that are reached without reading: none may be met again while it is at work. */
static slm_status search(check *c, uint32_t unit, const slm__rules *r, const int32_t *rule_of,
                         slm_error *err) {
    if (c->colour[unit] != WHITE) return SLM_OK;
    c->list.n = c->stack.n = 0;
    SLM_TRY(enter(c, unit, err));
    while (c->stack.n > 0) {
        call_list *x = &c->stack.p[c->stack.n - 1];
        if (x->at == x->end) {
            c->colour[x->unit] = BLACK;
            c->stack.n--;
            c->list.n = c->stack.n > 0 ? c->stack.p[c->stack.n - 1].end : 0;
            continue;
        }
        uint32_t next = c->list.p[x->at++];
        if (c->colour[next] == GREY)
            return slm__fail(err, SLM_ERR_FORMAT,
                             "rule \"%s\" comes to itself again before any text (left recursion)",
                             slm__show(slm__rule_name(r, rule_of[next])).text);
        if (c->colour[next] == WHITE) SLM_TRY(enter(c, next, err));
    }
    return SLM_OK;
}

static slm_status refuse_left_recursion(check *c, const slm__rules *r, const int32_t *rule_of,
                                        slm_error *err) {
    SLM_TRY(search(c, c->g->start, r, rule_of, err));
    for (uint32_t i = 0; i < c->g->calls.n; i++) {
        const slm__call_edge *e = &c->g->calls.p[i];
        if (e->kind != CALL_TOKEN) SLM_TRY(search(c, callee(c->g, e), r, rule_of, err));
    }
    return SLM_OK;
}

/* ---- All of it ---- */

static void prune(slm_grammar *g, const bool *live) {
    for (uint32_t i = 0; i < g->states.n; i++) {
        slm__astate *s = &g->states.p[i];
        uint32_t n = 0;
        for (uint32_t k = 0; k < s->n_bytes; k++)
            if (live[g->bytes.p[s->bytes + k].to])
                g->bytes.p[s->bytes + n++] = g->bytes.p[s->bytes + k];
        s->n_bytes = n;
        s->reads = n > 0;
        n = 0;
        for (uint32_t k = 0; k < s->n_calls; k++) {
            slm__call_edge e = g->calls.p[s->calls + k];
            if (!call_holds(g, &e, live, true)) continue;
            g->calls.p[s->calls + n++] = e;
            s->reads |= e.kind == CALL_TOKEN;
        }
        s->n_calls = n;
        s->tail = s->final && s->n_bytes == 0 && s->n_calls == 0;
    }
}

static slm_status finish(check *c, const slm__rules *r, const int32_t *rule_of, slm_error *err) {
    slm_grammar *g = c->g;
    uint32_t n = g->states.n;
    c->empty = slm__alloc_array(c->a, n, sizeof *c->empty);
    c->live = slm__alloc_array(c->a, n, sizeof *c->live);
    c->colour = slm__alloc_array(c->a, n, sizeof *c->colour);
    c->seen = slm__alloc_array(c->a, n, sizeof *c->seen);
    if (!c->empty || !c->live || !c->colour || !c->seen) return no_memory(err);
    SLM_TRY(watch(c, err));
    SLM_TRY(mark(c, c->empty, false, err));
    /* What may be empty need not be repeated: so rounds that read nothing need not count. */
    for (uint32_t i = 0; i < g->loops.n; i++)
        if (c->empty[g->loops.p[i].body]) g->loops.p[i].min = 0;
    SLM_TRY(mark(c, c->live, true, err));
    if (!c->live[g->start]) return slm__fail(err, SLM_ERR_FORMAT, "no text fits the grammar");
    SLM_TRY(refuse_left_recursion(c, r, rule_of, err));
    prune(g, c->live);
    return SLM_OK;
}

slm_status slm__automaton_finish(slm_grammar *g, const slm__rules *r, const int32_t *rule_of,
                                 slm_error *err) {
    check c = {.g = g, .a = &g->allocator};
    slm_status s = finish(&c, r, rule_of, err);
    slm__free(c.a, c.out);
    slm__free(c.a, c.watchers);
    slm__free(c.a, c.empty);
    slm__free(c.a, c.live);
    slm__free(c.a, c.colour);
    slm__free(c.a, c.seen);
    slm__free(c.a, c.queue.p);
    slm__free(c.a, c.list.p);
    slm__free(c.a, c.stack.p);
    return s;
}
