#include "draft_walk.h"

#include <stdlib.h>

#include "../../libslm/unicode.h"

/* ---- Generating ---- */

typedef struct walk {
    const slm__draft *d;
    uint32_t *cost; /* [n_nodes] bytes of the shortest text, about */
    uint64_t state;
    size_t wanted;
    dw_text *out;
} walk;

static uint32_t draw(walk *w, uint32_t n) { /* splitmix64 */
    uint64_t z = w->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) % n);
}

enum { HUGE_COST = 1 << 28 };

static uint32_t cost_of(const walk *w, const slm__draft_node *node) {
    const slm__draft *d = w->d;
    uint64_t sum = 0, least = HUGE_COST;
    switch ((slm__draft_kind)node->kind) {
    case DRAFT_TEXT: return node->n;
    case DRAFT_CLASS: return 1;
    case DRAFT_REF: return w->cost[d->rules[node->at].node];
    case DRAFT_REPEAT: sum = (uint64_t)w->cost[node->at] * node->min; break;
    case DRAFT_SEQ:
        for (uint32_t i = 0; i < node->n; i++) sum += w->cost[d->lists[node->at + i]];
        break;
    case DRAFT_ALT:
        for (uint32_t i = 0; i < node->n; i++) {
            uint32_t c = w->cost[d->lists[node->at + i]];
            least = c < least ? c : least;
        }
        sum = least;
        break;
    }
    return sum > HUGE_COST ? HUGE_COST : (uint32_t)sum;
}

static void find_costs(walk *w) {
    w->cost = malloc(w->d->n_nodes * sizeof *w->cost);
    for (uint32_t i = 0; i < w->d->n_nodes; i++) w->cost[i] = HUGE_COST;
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t i = 0; i < w->d->n_nodes; i++) {
            if (!w->d->nodes[i].fits) continue;
            uint32_t c = cost_of(w, &w->d->nodes[i]);
            /* a little more for each rule, so that the cheapest way always ends */
            if (w->d->nodes[i].kind == DRAFT_REF && c < HUGE_COST) c++;
            changed = changed || c < w->cost[i];
            w->cost[i] = c < w->cost[i] ? c : w->cost[i];
        }
    }
}

static void put(dw_text *t, const void *bytes, size_t n) {
    if (t->n + n > t->room) {
        t->room = 2 * (t->n + n) + 64;
        t->bytes = realloc(t->bytes, t->room);
    }
    if (n) memcpy(t->bytes + t->n, bytes, n);
    t->n += n;
}

/* Ranges alike, and in large ones their begin, their end and the middle. */
static void walk_class(walk *w, const slm__draft_node *node) {
    slm__range r = w->d->ranges[node->at + draw(w, node->n)];
    uint32_t cp = r.first + draw(w, r.last - r.first + 1);
    uint32_t ascii = draw(w, 3) ? 0x7E : r.last;
    if (r.first < ascii && r.last > ascii) cp = r.first + draw(w, ascii - r.first + 1);
    if (draw(w, 20) == 0) cp = draw(w, 2) ? r.first : r.last;
    if (cp >= 0xD800 && cp <= 0xDFFF) cp = r.last > 0xDFFF ? 0xE000 : 0xD7FF;
    uint8_t bytes[4];
    put(w->out, bytes, slm__utf8_write(cp, bytes));
}

static void walk_node(walk *w, int32_t i);

static void walk_alt(walk *w, const slm__draft_node *node) {
    const int32_t *list = w->d->lists + node->at;
    int32_t best = -1;
    uint32_t n = 0;
    bool done = w->out->n >= w->wanted;
    for (uint32_t i = 0; i < node->n; i++) {
        if (!w->d->nodes[list[i]].fits) continue;
        if (done ? best < 0 || w->cost[list[i]] < w->cost[best] : draw(w, ++n) == 0) best = list[i];
    }
    walk_node(w, best);
}

static void walk_repeat(walk *w, const slm__draft_node *node) {
    uint32_t n = node->min, most = node->max - node->min;
    if (!w->d->nodes[node->at].fits) return;
    if (most < 40 && draw(w, 3) == 0)
        n += draw(w, most + 1);
    else
        while (n < node->max && draw(w, 3)) n++;
    if (w->wanted && draw(w, 30) == 0 && most < 2000) n = node->max;
    for (uint32_t i = 0; i < n && (i < node->min || w->out->n < w->wanted); i++)
        walk_node(w, (int32_t)node->at);
}

static void walk_node(walk *w, int32_t i) {
    const slm__draft_node *node = &w->d->nodes[i];
    switch ((slm__draft_kind)node->kind) {
    case DRAFT_TEXT: put(w->out, w->d->bytes + node->at, node->n); break;
    case DRAFT_CLASS: walk_class(w, node); break;
    case DRAFT_SEQ:
        for (uint32_t k = 0; k < node->n; k++) walk_node(w, w->d->lists[node->at + k]);
        break;
    case DRAFT_ALT: walk_alt(w, node); break;
    case DRAFT_REPEAT: walk_repeat(w, node); break;
    case DRAFT_REF: walk_node(w, w->d->rules[node->at].node); break;
    }
}

void dw_generate(const slm__draft *d, int32_t rule, uint64_t seed, size_t wanted, dw_text *out) {
    walk w = {.d = d, .state = seed, .wanted = wanted, .out = out};
    find_costs(&w);
    out->n = 0;
    walk_node(&w, d->rules[rule].node);
    free(w.cost);
}

/* ---- Accepting ---- */

/* Sets of places in the text as bytes; what a rule makes of a place is remembered. */
typedef struct matcher {
    const slm__draft *d;
    const uint8_t *text;
    size_t n;
    uint8_t ***known; /* [rule][place] -> set [n + 1] */
} matcher;

static void match(matcher *m, int32_t i, const uint8_t *in, uint8_t *out);

static uint8_t *new_set(const matcher *m) { return calloc(m->n + 1, 1); }

static bool add_all(const matcher *m, const uint8_t *from, uint8_t *to) {
    bool more = false;
    for (size_t i = 0; i <= m->n; i++) {
        more = more || (from[i] && !to[i]);
        to[i] |= from[i];
    }
    return more;
}

static void match_class(matcher *m, const slm__draft_node *node, const uint8_t *in, uint8_t *out) {
    for (size_t at = 0; at < m->n; at++) {
        int len = in[at] ? slm__utf8_strict(m->text + at, m->n - at) : 0;
        if (len <= 0) continue;
        size_t read;
        uint32_t cp = slm__utf8_read(m->text + at, m->n - at, &read);
        for (uint32_t i = 0; i < node->n; i++) {
            const slm__range *r = &m->d->ranges[node->at + i];
            if (cp >= r->first && cp <= r->last) out[at + (size_t)len] = 1;
        }
    }
}

static void match_seq(matcher *m, const slm__draft_node *node, const uint8_t *in, uint8_t *out) {
    uint8_t *now = new_set(m), *next = new_set(m);
    memcpy(now, in, m->n + 1);
    for (uint32_t i = 0; i < node->n; i++) {
        memset(next, 0, m->n + 1);
        match(m, m->d->lists[node->at + i], now, next);
        uint8_t *swap = now;
        now = next;
        next = swap;
    }
    add_all(m, now, out);
    free(now);
    free(next);
}

static void match_repeat(matcher *m, const slm__draft_node *node, const uint8_t *in, uint8_t *out) {
    uint8_t *now = new_set(m), *next = new_set(m);
    memcpy(now, in, m->n + 1);
    if (node->min == 0) add_all(m, now, out);
    for (uint32_t i = 1; i <= node->max && memchr(now, 1, m->n + 1); i++) {
        memset(next, 0, m->n + 1);
        match(m, (int32_t)node->at, now, next);
        uint8_t *swap = now;
        now = next;
        next = swap;
        if (i >= node->min) add_all(m, now, out);
        if (i > node->min + m->n + 1) break;
    }
    free(now);
    free(next);
}

static void match_ref(matcher *m, const slm__draft_node *node, const uint8_t *in, uint8_t *out) {
    uint8_t ***rule = &m->known[node->at];
    if (!*rule) *rule = calloc(m->n + 1, sizeof **rule);
    for (size_t at = 0; at <= m->n; at++) {
        if (!in[at]) continue;
        if (!(*rule)[at]) {
            uint8_t *one = new_set(m);
            one[at] = 1;
            (*rule)[at] = new_set(m);
            match(m, m->d->rules[node->at].node, one, (*rule)[at]);
            free(one);
        }
        add_all(m, (*rule)[at], out);
    }
}

static void match(matcher *m, int32_t i, const uint8_t *in, uint8_t *out) {
    const slm__draft_node *node = &m->d->nodes[i];
    if (!node->fits || !memchr(in, 1, m->n + 1)) return;
    switch ((slm__draft_kind)node->kind) {
    case DRAFT_TEXT:
        for (size_t at = 0; at + node->n <= m->n; at++)
            if (in[at] && memcmp(m->text + at, m->d->bytes + node->at, node->n) == 0)
                out[at + node->n] = 1;
        break;
    case DRAFT_CLASS: match_class(m, node, in, out); break;
    case DRAFT_SEQ: match_seq(m, node, in, out); break;
    case DRAFT_ALT:
        for (uint32_t k = 0; k < node->n; k++) match(m, m->d->lists[node->at + k], in, out);
        break;
    case DRAFT_REPEAT: match_repeat(m, node, in, out); break;
    case DRAFT_REF: match_ref(m, node, in, out); break;
    }
}

bool dw_accepts(const slm__draft *d, int32_t rule, const char *text, size_t n) {
    matcher m = {.d = d, .text = (const uint8_t *)text, .n = n};
    m.known = calloc(d->n_rules, sizeof *m.known);
    uint8_t *in = new_set(&m), *out = new_set(&m);
    in[0] = 1;
    match(&m, d->rules[rule].node, in, out);
    bool fits = out[n];
    for (uint32_t r = 0; r < d->n_rules; r++) {
        for (size_t i = 0; m.known[r] && i <= n; i++) free(m.known[r][i]);
        free(m.known[r]);
    }
    free(m.known);
    free(in);
    free(out);
    return fits;
}
