/*
 * From rules to an automaton: measure the nodes, decide which rules and repetitions become units of their own, write each unit out as an
 * automaton with empty edges, and let determinise.c do the rest. All walks keep their own stack: the depth of a grammar does not matter.
 */
#include "automaton.h"
#include "unicode.h"

enum {
    INLINE_WEIGHT = 32, /* rules up to so large are written out where they are called     */
    UNROLL_WEIGHT = 96, /* repetitions up to so large are written out, others are counted */
    WIDE_UNROLL = 3,    /* the same for items that most characters fit                    */
    WIDE_CLASS = 48,    /* code points                                                    */
    CLASS_WEIGHT = 16,  /* of a class with more than ASCII                                */
    CALL_WEIGHT = 2,
    MAX_WEIGHT = 1 << 24,
};

typedef struct measure {
    uint32_t weight; /* states that it takes, about                    */
    bool wide;       /* most characters fit somewhere in it            */
    bool busy, done;
} measure;

typedef struct job {
    uint32_t node, from, to;
} job;

typedef struct unit {
    uint32_t node;
    int32_t rule; /* that it belongs to, for messages */
    bool in_loop;
    uint32_t start;
} unit;

typedef struct compiler {
    const slm__rules *r;
    const slm_allocator *a;
    slm_grammar *g;
    measure *measures;   /* [nodes]                                                  */
    uint8_t *separate;   /* [rules] is a unit: large, or comes back to itself        */
    uint32_t *rule_unit; /* [rules] number + 1                                       */
    uint32_t *body_unit; /* [nodes] number + 1                                       */
    uint32_t *loop_of;   /* [nodes] of a repetition that is counted, number + 1      */
    SLM_VEC(unit) units;
    SLM_VEC(job) jobs;
    SLM_VEC(int32_t) rule_of; /* [states] */
    slm__nfa nfa;
    uint64_t steps; /* that are left to make units deterministic */
} compiler;

static slm_status no_memory(slm_error *err) {
    return slm__fail(err, SLM_ERR_NOMEM, "no memory for a grammar");
}

static slm_status too_large(slm_error *err) {
    return slm__fail(err, SLM_ERR_LIMIT, "the grammar needs more than %d states or %d edges",
                     SLM__MAX_STATES, SLM__MAX_EDGES);
}

/* ---- Measuring ---- */

static uint32_t capped(uint64_t w) { return w > MAX_WEIGHT ? MAX_WEIGHT : (uint32_t)w; }

/* A repetition that is a loop of the machine, and not written out. */
static bool is_counted(const measure *item, const slm__node *x) {
    uint32_t copies = x->max == UINT32_MAX ? x->n : x->max;
    return (item->wide && x->max > WIDE_UNROLL) || (uint64_t)item->weight * copies > UNROLL_WEIGHT;
}

static measure of_class(const slm__rules *r, const slm__node *x) {
    uint64_t n = 0;
    const slm__range *ranges = r->ranges.p + x->a;
    for (uint32_t i = 0; i < x->n; i++) n += ranges[i].last - ranges[i].first + 1;
    return (measure){.weight = ranges[x->n - 1].last < 0x80 ? 1 : CLASS_WEIGHT,
                     .wide = n >= WIDE_CLASS};
}

static measure of_list(const compiler *c, const slm__node *x) {
    measure m = {0};
    for (uint32_t i = 0; i < x->n; i++) {
        const measure *item = &c->measures[c->r->items.p[x->a + i]];
        m.weight = capped((uint64_t)m.weight + item->weight);
        m.wide |= item->wide;
    }
    return m;
}

static measure of_repeat(const compiler *c, const slm__node *x) {
    const measure *item = &c->measures[x->a];
    if (is_counted(item, x)) return (measure){.weight = CALL_WEIGHT + (x->max == UINT32_MAX)};
    uint64_t copies = x->max == UINT32_MAX ? (uint64_t)x->n + 1 : x->max;
    return (measure){.weight = capped(copies * item->weight), .wide = item->wide};
}

/* All that the node is made of is measured. */
static void measure_node(compiler *c, uint32_t node) {
    const slm__node *x = &c->r->nodes.p[node];
    measure m = {.weight = 1};
    if (x->kind == NODE_TEXT) m.weight = x->n;
    if (x->kind == NODE_CLASS) m = of_class(c->r, x);
    if (x->kind == NODE_SEQ || x->kind == NODE_ALT) m = of_list(c, x);
    if (x->kind == NODE_REPEAT) m = of_repeat(c, x);
    if (x->kind == NODE_REF) {
        const measure *rule = &c->measures[c->r->rules.p[x->a].node];
        if (rule->weight > INLINE_WEIGHT) c->separate[x->a] = 1;
        m = c->separate[x->a] ? (measure){.weight = CALL_WEIGHT} : *rule;
    }
    if (m.weight == 0) m.weight = 1; /* or doubling it again and again would cost nothing */
    m.busy = false;
    m.done = true;
    c->measures[node] = m;
}

/* The i-th part of a node, 0 past the last; of a reference, what the rule is. */
static uint32_t part(const slm__rules *r, const slm__node *x, uint32_t i) {
    if (x->kind == NODE_SEQ || x->kind == NODE_ALT)
        return i < x->n ? (uint32_t)r->items.p[x->a + i] : 0;
    if (x->kind == NODE_REPEAT) return i == 0 ? x->a : 0;
    if (x->kind == NODE_REF) return i == 0 ? (uint32_t)r->rules.p[x->a].node : 0;
    return 0;
}

/* A node is met while it is being measured: a circle. There is a reference in it, as a tree has none; the nearest one becomes a
 * call, so no circle is left to be written out. */
static void cut_circle(compiler *c, uint32_t next) {
    for (size_t i = c->jobs.n; i-- > 0;) {
        const slm__node *x = &c->r->nodes.p[c->jobs.p[i].node];
        if (x->kind == NODE_REF) {
            c->separate[x->a] = 1;
            return;
        }
        if (c->jobs.p[i].node == next) return;
    }
}

/* Depth first, parts before wholes. In `jobs`, `from` is the part to look at next. */
static slm_status measure_all(compiler *c, uint32_t root, slm_error *err) {
    c->jobs.n = 0;
    if (!SLM_ROOM(c->a, &c->jobs, 1)) return no_memory(err);
    c->jobs.p[c->jobs.n++] = (job){root, 0, 0};
    while (c->jobs.n > 0) {
        job *j = &c->jobs.p[c->jobs.n - 1];
        const slm__node *x = &c->r->nodes.p[j->node];
        c->measures[j->node].busy = true;
        uint32_t next = part(c->r, x, j->from++);
        if (x->kind == NODE_REF && c->r->rules.p[x->a].node == 0)
            return slm__fail(err, SLM_ERR_FORMAT, "rule \"%s\" is not defined",
                             slm__show(slm__rule_name(c->r, (int32_t)x->a)).text);
        if (next == 0) {
            measure_node(c, j->node);
            c->jobs.n--;
        } else if (c->measures[next].busy) {
            cut_circle(c, next);
        } else if (!c->measures[next].done) {
            if (!SLM_ROOM(c->a, &c->jobs, 1)) return no_memory(err);
            c->jobs.p[c->jobs.n++] = (job){next, 0, 0};
        }
    }
    return SLM_OK;
}

/* ---- Writing out ---- */

static slm_status add_edge(compiler *c, slm__nfa_edge e, slm_error *err) {
    if (c->nfa.edges.n >= SLM__MAX_EDGES) return too_large(err);
    if (!SLM_ROOM(c->a, &c->nfa.edges, 1)) return no_memory(err);
    c->nfa.edges.p[c->nfa.edges.n++] = e;
    return SLM_OK;
}

static slm_status add_empty(compiler *c, uint32_t from, uint32_t to, slm_error *err) {
    return add_edge(c, (slm__nfa_edge){.from = from, .to = to, .kind = NFA_EMPTY}, err);
}

static slm_status add_bytes(compiler *c, uint32_t from, uint32_t to, uint8_t first, uint8_t last,
                            slm_error *err) {
    return add_edge(c, (slm__nfa_edge){from, to, NFA_BYTES, CALL_UNIT, first, last}, err);
}

static slm_status add_call(compiler *c, uint32_t from, uint32_t to, slm__call_kind kind,
                           uint32_t target, slm_error *err) {
    return add_edge(c, (slm__nfa_edge){from, to, NFA_CALL, kind, target, 0}, err);
}

static slm_status add_job(compiler *c, uint32_t node, uint32_t from, uint32_t to, slm_error *err) {
    if (!SLM_ROOM(c->a, &c->jobs, 1)) return no_memory(err);
    c->jobs.p[c->jobs.n++] = (job){node, from, to};
    return SLM_OK;
}

/* The number of the unit of a node, made if there is none; *known is number + 1 or 0. */
static slm_status unit_of(compiler *c, uint32_t *known, unit u, uint32_t *number, slm_error *err) {
    if (*known == 0) {
        if (!SLM_ROOM(c->a, &c->units, 1)) return no_memory(err);
        c->units.p[c->units.n++] = u;
        *known = c->units.n;
    }
    *number = *known - 1;
    return SLM_OK;
}

static slm_status write_text(compiler *c, const slm__node *x, const job *j, slm_error *err) {
    uint32_t at = j->from;
    for (uint32_t i = 0; i < x->n; i++) {
        uint32_t next = i + 1 < x->n ? c->nfa.n_states++ : j->to;
        uint8_t byte = (uint8_t)c->r->bytes.p[x->a + i];
        SLM_TRY(add_bytes(c, at, next, byte, byte, err));
        at = next;
    }
    return SLM_OK;
}

/* The largest end such that the code points from first, of n bytes, to it are, byte by byte, all combinations of ranges. */
static uint32_t utf8_block(uint32_t first, uint32_t last, size_t n) {
    static const uint32_t ends[] = {0x7f, 0x7ff, 0xffff, 0x10ffff};
    if (last > ends[n - 1]) last = ends[n - 1];
    for (size_t i = 1; i < n; i++) {
        uint32_t low = (1u << 6 * i) - 1;
        if ((first & ~low) == (last & ~low)) break;
        if ((first & low) != 0) return first | low;
        if ((last & low) != low) last = (last & ~low) - 1;
    }
    return last;
}

static slm_status write_class(compiler *c, const slm__node *x, const job *j, slm_error *err) {
    for (uint32_t i = 0; i < x->n; i++) {
        slm__range all = c->r->ranges.p[x->a + i];
        for (uint32_t first = all.first; first <= all.last;) {
            uint8_t low[4], high[4];
            size_t n = slm__utf8_write(first, low);
            uint32_t last = utf8_block(first, all.last, n), at = j->from;
            slm__utf8_write(last, high);
            for (size_t b = 0; b < n; b++) {
                uint32_t next = b + 1 < n ? c->nfa.n_states++ : j->to;
                SLM_TRY(add_bytes(c, at, next, low[b], high[b], err));
                at = next;
            }
            first = last + 1;
        }
    }
    return SLM_OK;
}

static slm_status write_seq(compiler *c, const slm__node *x, const job *j, slm_error *err) {
    if (x->n == 0) return add_empty(c, j->from, j->to, err);
    uint32_t at = j->from;
    for (uint32_t i = 0; i < x->n; i++) {
        uint32_t next = i + 1 < x->n ? c->nfa.n_states++ : j->to;
        SLM_TRY(add_job(c, (uint32_t)c->r->items.p[x->a + i], at, next, err));
        at = next;
    }
    return SLM_OK;
}

static slm_status write_alt(compiler *c, const slm__node *x, const job *j, slm_error *err) {
    for (uint32_t i = 0; i < x->n; i++)
        SLM_TRY(add_job(c, (uint32_t)c->r->items.p[x->a + i], j->from, j->to, err));
    return SLM_OK;
}

/* A call of the loop of repetition number `node`. */
static slm_status write_loop(compiler *c, uint32_t node, uint32_t max, uint32_t from, uint32_t to,
                             int32_t rule, slm_error *err) {
    const slm__node *x = &c->r->nodes.p[node];
    if (c->loop_of[node] == 0) {
        uint32_t body;
        unit u = {.node = x->a, .rule = rule, .in_loop = true};
        SLM_TRY(unit_of(c, &c->body_unit[x->a], u, &body, err));
        if (!SLM_ROOM(c->a, &c->g->loops, 1)) return no_memory(err);
        c->g->loops.p[c->g->loops.n++] = (slm__loop){body, x->n, max};
        c->loop_of[node] = c->g->loops.n;
    }
    return add_call(c, from, to, CALL_LOOP, c->loop_of[node] - 1, err);
}

static slm_status write_repeat(compiler *c, uint32_t node, const job *j, int32_t rule,
                               slm_error *err) {
    const slm__node *x = &c->r->nodes.p[node];
    bool counted = is_counted(&c->measures[x->a], x), endless = x->max == UINT32_MAX;
    if (counted && (!endless || c->measures[x->a].wide))
        return write_loop(c, node, x->max, j->from, j->to, rule, err);
    uint32_t at = j->from;
    if (counted) { /* so many and no more, then any number */
        at = c->nfa.n_states++;
        SLM_TRY(write_loop(c, node, x->n, j->from, at, rule, err));
    }
    uint32_t copies = counted ? 0 : endless ? x->n : x->max;
    for (uint32_t i = 0; i < copies; i++) {
        if (i >= x->n) SLM_TRY(add_empty(c, at, j->to, err));
        uint32_t next = c->nfa.n_states++;
        SLM_TRY(add_job(c, x->a, at, next, err));
        at = next;
    }
    if (endless) { /* a state of its own: others may come to the one that it began with */
        uint32_t round = c->nfa.n_states++;
        SLM_TRY(add_empty(c, at, round, err));
        SLM_TRY(add_job(c, x->a, round, round, err));
        at = round;
    }
    return add_empty(c, at, j->to, err);
}

static slm_status write_ref(compiler *c, const slm__node *x, const job *j, slm_error *err) {
    if (!c->separate[x->a])
        return add_job(c, (uint32_t)c->r->rules.p[x->a].node, j->from, j->to, err);
    uint32_t number;
    unit u = {.node = (uint32_t)c->r->rules.p[x->a].node, .rule = (int32_t)x->a};
    SLM_TRY(unit_of(c, &c->rule_unit[x->a], u, &number, err));
    return add_call(c, j->from, j->to, CALL_UNIT, number, err);
}

static slm_status write_node(compiler *c, const job *j, int32_t rule, slm_error *err) {
    const slm__node *x = &c->r->nodes.p[j->node];
    if (c->nfa.n_states > SLM__MAX_EDGES) return too_large(err);
    switch (x->kind) {
    case NODE_TEXT: return write_text(c, x, j, err);
    case NODE_CLASS: return write_class(c, x, j, err);
    case NODE_SEQ: return write_seq(c, x, j, err);
    case NODE_ALT: return write_alt(c, x, j, err);
    case NODE_REPEAT: return write_repeat(c, j->node, j, rule, err);
    case NODE_REF: return write_ref(c, x, j, err);
    case NODE_TOKEN: return add_call(c, j->from, j->to, CALL_TOKEN, x->a, err);
    case NODE_NONE: break;
    }
    return slm__fail(err, SLM_ERR_FORMAT, "the grammar has a node of no kind");
}

static slm_status write_unit(compiler *c, uint32_t number, slm_error *err) {
    unit u = c->units.p[number];
    c->nfa.n_states = 2;
    c->nfa.edges.n = c->jobs.n = 0;
    SLM_TRY(add_job(c, u.node, 0, 1, err));
    while (c->jobs.n > 0) {
        job j = c->jobs.p[--c->jobs.n];
        SLM_TRY(write_node(c, &j, u.rule, err));
    }
    SLM_TRY(slm__determinise(c->g, &c->nfa, u.in_loop, &c->steps, &c->units.p[number].start, err));
    if (!SLM_ROOM(c->a, &c->rule_of, c->g->states.n - c->rule_of.n)) return no_memory(err);
    while (c->rule_of.n < c->g->states.n) c->rule_of.p[c->rule_of.n++] = u.rule;
    return SLM_OK;
}

/* ---- All of it ---- */

static slm_status copy_tokens(compiler *c, slm_error *err) {
    slm_grammar *g = c->g;
    for (uint32_t i = 0; i < c->r->tokens.n; i++) {
        slm__token_symbol t = c->r->tokens.p[i];
        if (!SLM_ROOM(c->a, &g->tokens, 1) || !SLM_ROOM(c->a, &g->text, t.n_text))
            return no_memory(err);
        if (t.n_text > 0) memcpy(g->text.p + g->text.n, c->r->bytes.p + t.text, t.n_text);
        t.text = g->text.n;
        g->text.n += t.n_text;
        g->tokens.p[g->tokens.n++] = t;
    }
    return SLM_OK;
}

static slm_status compile(compiler *c, int32_t root, slm_error *err) {
    const slm__rules *r = c->r;
    if (root <= 0 || (uint32_t)root >= r->rules.n)
        return slm__fail(err, SLM_ERR_RANGE, "there is no rule %d in the grammar", root);
    c->measures = slm__alloc_array(c->a, r->nodes.n, sizeof *c->measures);
    c->separate = slm__alloc_array(c->a, r->rules.n, 1);
    c->rule_unit = slm__alloc_array(c->a, r->rules.n, sizeof *c->rule_unit);
    c->body_unit = slm__alloc_array(c->a, r->nodes.n, sizeof *c->body_unit);
    c->loop_of = slm__alloc_array(c->a, r->nodes.n, sizeof *c->loop_of);
    if (!c->measures || !c->separate || !c->rule_unit || !c->body_unit || !c->loop_of)
        return no_memory(err);
    uint32_t node = (uint32_t)r->rules.p[root].node, number;
    if (node == 0)
        return slm__fail(err, SLM_ERR_FORMAT, "rule \"%s\" is not defined",
                         slm__show(slm__rule_name(r, root)).text);
    SLM_TRY(measure_all(c, node, err));
    unit u = {.node = node, .rule = root};
    SLM_TRY(unit_of(c, &c->rule_unit[root], u, &number, err));
    for (uint32_t i = 0; i < c->units.n; i++) SLM_TRY(write_unit(c, i, err));
    c->g->start = c->units.p[0].start;
    for (uint32_t i = 0; i < c->g->calls.n; i++) {
        slm__call_edge *e = &c->g->calls.p[i];
        if (e->kind == CALL_UNIT) e->target = c->units.p[e->target].start;
    }
    for (uint32_t i = 0; i < c->g->loops.n; i++)
        c->g->loops.p[i].body = c->units.p[c->g->loops.p[i].body].start;
    SLM_TRY(copy_tokens(c, err));
    return slm__automaton_finish(c->g, r, c->rule_of.p, err);
}

slm_status slm__grammar_compile(slm__rules *r, int32_t root, slm_grammar **out, slm_error *err) {
    *out = NULL;
    SLM_TRY(slm__rules_status(r, err));
    slm_grammar *g = slm__alloc(&r->allocator, sizeof *g);
    if (!g) return no_memory(err);
    g->allocator = r->allocator;
    compiler c = {.r = r, .a = &r->allocator, .g = g, .steps = SLM__MAX_STEPS};
    slm_status s = compile(&c, root, err);
    slm__free(c.a, c.measures);
    slm__free(c.a, c.separate);
    slm__free(c.a, c.rule_unit);
    slm__free(c.a, c.body_unit);
    slm__free(c.a, c.loop_of);
    slm__free(c.a, c.units.p);
    slm__free(c.a, c.jobs.p);
    slm__free(c.a, c.rule_of.p);
    slm__free(c.a, c.nfa.edges.p);
    if (s != SLM_OK) {
        slm_grammar_free(g);
        return s;
    }
    *out = g;
    return SLM_OK;
}

void slm_grammar_free(slm_grammar *g) {
    if (!g) return;
    slm_allocator a = g->allocator;
    slm__free(&a, g->states.p);
    slm__free(&a, g->bytes.p);
    slm__free(&a, g->calls.p);
    slm__free(&a, g->loops.p);
    slm__free(&a, g->tokens.p);
    slm__free(&a, g->text.p);
    slm__free(&a, g);
}
