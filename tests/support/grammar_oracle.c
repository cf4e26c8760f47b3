#include "grammar_oracle.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>

static const uint32_t letters[] = {'a', 'b', 'c', '"', 0xe9, 0x20ac, 0x20ad, 0x1f600, '\n', '\\'};
enum { N_LETTERS = sizeof letters / sizeof *letters };

static uint32_t below(uint32_t *seed, uint32_t n) { return (go_random(seed) >> 8) % n; }

static uint32_t letter(uint32_t *seed) {
    return letters[below(seed, below(seed, 3) ? 3 : N_LETTERS)];
}

static int encode(uint32_t cp, char *out) {
    unsigned char *p = (unsigned char *)out;
    if (cp < 0x80) {
        p[0] = (unsigned char)cp;
        return 1;
    }
    int n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--, cp >>= 6) p[i] = (unsigned char)(0x80 | (cp & 0x3f));
    p[0] = (unsigned char)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | cp);
    return n;
}

/* ---- Making ---- */

static int add_node(go_grammar *g, go_node x) {
    if (g->n_nodes >= GO_MAX_NODES) ck_abort_msg("too many nodes");
    g->nodes[g->n_nodes] = x;
    return g->n_nodes++;
}

static int make_text(go_grammar *g, uint32_t *seed) {
    go_node x = {.kind = GO_TEXT};
    for (uint32_t i = below(seed, 4); i > 0; i--) x.n += encode(letter(seed), x.text + x.n);
    return add_node(g, x);
}

static int make_class(go_grammar *g, uint32_t *seed) {
    go_node x = {.kind = GO_CLASS, .n = 1 + (int)below(seed, 3), .negated = below(seed, 3) == 0};
    for (int i = 0; i < x.n; i++) {
        uint32_t a = letter(seed), b = below(seed, 2) ? a : letter(seed);
        x.ranges[i][0] = a < b ? a : b;
        x.ranges[i][1] = a < b ? b : a;
    }
    if (x.negated && below(seed, 4) == 0) x.n = 0; /* any: printed as a point */
    return add_node(g, x);
}

static int make_node(go_grammar *g, int depth, uint32_t *seed);

static int make_list(go_grammar *g, int depth, uint32_t *seed) {
    go_node x = {.kind = below(seed, 2) ? GO_SEQ : GO_ALT};
    x.n = (int)below(seed, 4) + (x.kind == GO_ALT);
    for (int i = 0; i < x.n; i++) x.parts[i] = make_node(g, depth - 1, seed);
    return add_node(g, x);
}

static int make_repeat(go_grammar *g, int depth, uint32_t *seed) {
    static const int counts[][2] = {{0, GO_ENDLESS}, {1, GO_ENDLESS}, {0, 1},    {0, 3},  {2, 2},
                                    {2, 5},          {3, GO_ENDLESS}, {0, 0},    {0, 70}, {1, 9},
                                    {12, 20},        {9, GO_ENDLESS}, {0, 2000}, {0, 12}, {6, 6}};
    go_node x = {.kind = GO_REPEAT, .parts = {make_node(g, depth - 1, seed)}};
    uint32_t i = below(seed, sizeof counts / sizeof *counts);
    x.min = counts[i][0];
    x.max = counts[i][1];
    return add_node(g, x);
}

static int make_node(go_grammar *g, int depth, uint32_t *seed) {
    uint32_t kind = below(seed, depth > 0 ? 10 : 4);
    if (kind < 2) return make_text(g, seed);
    if (kind == 2) return make_class(g, seed);
    if (kind == 3)
        return add_node(g,
                        (go_node){.kind = GO_REF, .rule = (int)below(seed, (uint32_t)g->n_rules)});
    if (kind < 8) return make_list(g, depth, seed);
    return make_repeat(g, depth, seed);
}

static void find_attributes(go_grammar *g);

void go_make(go_grammar *g, uint32_t *seed) {
    do {
        memset(g, 0, sizeof *g);
        g->n_rules = 1 + (int)below(seed, GO_MAX_RULES - 3);
        for (int i = 0; i < g->n_rules; i++) {
            if (g->n_nodes > GO_MAX_NODES / 3)
                g->rules[i] = make_text(g, seed);
            else
                g->rules[i] = make_node(g, 1 + (int)below(seed, 3), seed);
        }
        find_attributes(g);
    } while (below(seed, 8) && (!g->productive[g->rules[0]] || go_left_recursive(g)));
}

/* ---- Printing ---- */

typedef struct printer {
    char *out;
    size_t n, capacity;
    uint32_t *seed;
} printer;

static void put(printer *p, const char *text) {
    size_t n = strlen(text);
    if (p->n + n >= p->capacity) ck_abort_msg("a grammar that is too long");
    memcpy(p->out + p->n, text, n + 1);
    p->n += n;
}

static void put_char(printer *p, uint32_t cp) {
    char text[16] = {0};
    uint32_t how = below(p->seed, 6);
    if (how == 0)
        snprintf(text, sizeof text, "\\U%08X", (unsigned)cp);
    else if (how == 1 && cp < 0x10000)
        snprintf(text, sizeof text, "\\u%04x", (unsigned)cp);
    else if (how == 2 && cp < 0x100)
        snprintf(text, sizeof text, "\\x%02x", (unsigned)cp);
    else if (cp == '\n')
        strcpy(text, "\\n");
    else if (cp == '"' || cp == '\\')
        snprintf(text, sizeof text, "\\%c", (char)cp);
    else
        encode(cp, text);
    put(p, text);
}

static uint32_t decode(const char *text, int n, int *len) {
    const unsigned char *p = (const unsigned char *)text;
    *len = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (*len > n) ck_abort_msg("a code point that is cut off");
    uint32_t cp = *len == 1 ? p[0] : p[0] & (0xff >> (*len + 1));
    for (int i = 1; i < *len; i++) cp = cp << 6 | (p[i] & 0x3f);
    return cp;
}

static void print_node(const go_grammar *g, int node, printer *p);

static void print_leaf(const go_grammar *g, const go_node *x, printer *p) {
    char name[16];
    if (x->kind == GO_TEXT) {
        put(p, "\"");
        for (int i = 0, len; i < x->n; i += len) put_char(p, decode(x->text + i, x->n - i, &len));
        put(p, "\"");
    } else if (x->kind == GO_CLASS && x->n == 0) {
        put(p, ".");
    } else if (x->kind == GO_CLASS) {
        put(p, x->negated ? "[^" : "[");
        for (int i = 0; i < x->n; i++) {
            put_char(p, x->ranges[i][0]);
            if (x->ranges[i][0] == x->ranges[i][1]) continue;
            put(p, "-");
            put_char(p, x->ranges[i][1]);
        }
        put(p, "]");
    } else {
        snprintf(name, sizeof name, x->rule ? "r-%d" : "root", x->rule);
        put(p, name);
    }
    (void)g;
}

static void print_repeat(const go_grammar *g, const go_node *x, printer *p) {
    char text[40];
    print_node(g, x->parts[0], p);
    if (x->max == GO_ENDLESS) {
        snprintf(text, sizeof text, x->min == 0 ? "*" : x->min == 1 ? "+" : "{%d,}", x->min);
    } else if (x->min == x->max) {
        snprintf(text, sizeof text, "{%d}", x->min);
    } else {
        snprintf(text, sizeof text, x->min == 0 && x->max == 1 ? "?" : "{%d, %d}", x->min, x->max);
    }
    put(p, text);
}

static void print_node(const go_grammar *g, int node, printer *p) {
    static const char *const spaces[] = {" ", "  ", "\t", " # (\"\n", "\n ", "\r\n"};
    const go_node *x = &g->nodes[node];
    if (x->kind == GO_REPEAT) put(p, "(");
    if (x->kind == GO_SEQ || x->kind == GO_ALT) put(p, "(");
    if (x->kind == GO_REPEAT)
        print_repeat(g, x, p);
    else if (x->kind != GO_SEQ && x->kind != GO_ALT)
        print_leaf(g, x, p);
    for (int i = 0; (x->kind == GO_SEQ || x->kind == GO_ALT) && i < x->n; i++) {
        if (i > 0 && x->kind == GO_ALT) put(p, "|");
        put(p, spaces[below(p->seed, sizeof spaces / sizeof *spaces)]);
        print_node(g, x->parts[i], p);
    }
    if (x->kind == GO_REPEAT || x->kind == GO_SEQ || x->kind == GO_ALT) put(p, ")");
}

size_t go_print(const go_grammar *g, char *out, size_t capacity, uint32_t *seed) {
    printer p = {out, 0, capacity, seed};
    int first = (int)below(seed, (uint32_t)g->n_rules);
    for (int i = 0; i < g->n_rules; i++) {
        int rule = (first + i) % g->n_rules;
        char name[24];
        snprintf(name, sizeof name, rule ? "r-%d ::= " : "root ::= ", rule);
        put(&p, name);
        print_node(g, g->rules[rule], &p);
        put(&p, "\n");
    }
    return p.n;
}

/* ---- What nodes are ---- */

static bool in_class(const go_node *x, uint32_t cp) {
    if (cp >= 0xd800 && cp < 0xe000) return false;
    for (int i = 0; i < x->n; i++)
        if (cp >= x->ranges[i][0] && cp <= x->ranges[i][1]) return !x->negated;
    return x->negated;
}

/* Does some text fit (`empty` false), or the empty one? */
static bool attribute(const go_grammar *g, const go_node *x, const bool *of, bool empty) {
    bool all = true, any = false;
    for (int i = 0; (x->kind == GO_SEQ || x->kind == GO_ALT) && i < x->n; i++) {
        all &= of[x->parts[i]];
        any |= of[x->parts[i]];
    }
    switch (x->kind) {
    case GO_TEXT: return !empty || x->n == 0;
    case GO_CLASS: return !empty;
    case GO_SEQ: return all;
    case GO_ALT: return any;
    case GO_REPEAT: return x->min == 0 || of[x->parts[0]];
    case GO_REF: return of[g->rules[x->rule]];
    }
    return false;
}

static void find_attributes(go_grammar *g) {
    for (bool changed = true; changed;) {
        changed = false;
        for (int i = 0; i < g->n_nodes; i++) {
            bool p = attribute(g, &g->nodes[i], g->productive, false);
            bool e = attribute(g, &g->nodes[i], g->nullable, true);
            changed |= p != g->productive[i] || e != g->nullable[i];
            g->productive[i] = p;
            g->nullable[i] = e;
        }
    }
}

/* Rules that the node may call, as bits: first, or anywhere. */
static uint32_t calls(const go_grammar *g, int node, bool anywhere) {
    const go_node *x = &g->nodes[node];
    uint32_t found = 0;
    if (x->kind == GO_REF) return 1u << x->rule;
    if (x->kind == GO_REPEAT) return x->max == 0 ? 0 : calls(g, x->parts[0], anywhere);
    for (int i = 0; (x->kind == GO_SEQ || x->kind == GO_ALT) && i < x->n; i++) {
        found |= calls(g, x->parts[i], anywhere);
        if (x->kind == GO_SEQ && !anywhere && !g->nullable[x->parts[i]]) break;
    }
    return found;
}

static uint32_t closure(const go_grammar *g, uint32_t from, bool anywhere) {
    for (uint32_t before = 0; before != from;) {
        before = from;
        for (int i = 0; i < g->n_rules; i++)
            if (before >> i & 1) from |= calls(g, g->rules[i], anywhere);
    }
    return from;
}

bool go_left_recursive(const go_grammar *g) {
    uint32_t reached = closure(g, 1, true);
    for (int i = 0; i < g->n_rules; i++) {
        if (!(reached >> i & 1)) continue;
        if (closure(g, calls(g, g->rules[i], false), false) >> i & 1) return true;
    }
    return false;
}

/* ---- Matching ---- */

typedef struct match {
    const go_grammar *g;
    const char *text;
    int n;
    uint64_t ends[GO_MAX_RULES][GO_MAX_TEXT + 1];
    bool viable[GO_MAX_RULES][GO_MAX_TEXT + 1];
} match;

static uint64_t ends_of(const match *m, int node, int at);

static uint64_t ends_from(const match *m, int node, uint64_t from) {
    uint64_t to = 0;
    for (int i = 0; i <= m->n; i++)
        if (from >> i & 1) to |= ends_of(m, node, i);
    return to;
}

/* The code point that stands at `at` whole and well-formed; its length or 0. */
static int code_point(const match *m, int at, uint32_t *cp) {
    if (at >= m->n) return 0;
    unsigned char lead = (unsigned char)m->text[at];
    int len = lead < 0x80   ? 1
              : lead < 0xc2 ? 0
              : lead < 0xe0 ? 2
              : lead < 0xf0 ? 3
              : lead < 0xf5 ? 4
                            : 0;
    if (len == 0 || at + len > m->n) return 0;
    char again[4];
    *cp = decode(m->text + at, m->n - at, &len);
    return encode(*cp, again) == len && memcmp(again, m->text + at, (size_t)len) == 0 ? len : 0;
}

static uint64_t ends_of_repeat(const match *m, const go_node *x, int at) {
    uint64_t now = UINT64_C(1) << at, all = x->min == 0 ? now : 0;
    for (int k = 1; now != 0 && (x->max == GO_ENDLESS || k <= x->max); k++) {
        uint64_t next = ends_from(m, x->parts[0], now);
        if (k >= x->min) all |= next;
        if (next == now) return all | now; /* and so for ever */
        now = next;
    }
    return all;
}

static uint64_t ends_of(const match *m, int node, int at) {
    const go_node *x = &m->g->nodes[node];
    uint64_t set = UINT64_C(1) << at, some = 0;
    uint32_t cp;
    int len;
    switch (x->kind) {
    case GO_TEXT:
        return x->n <= m->n - at && memcmp(x->text, m->text + at, (size_t)x->n) == 0 ? set << x->n
                                                                                     : 0;
    case GO_CLASS: len = code_point(m, at, &cp); return len > 0 && in_class(x, cp) ? set << len : 0;
    case GO_SEQ:
        for (int i = 0; i < x->n; i++) set = ends_from(m, x->parts[i], set);
        return set;
    case GO_ALT:
        for (int i = 0; i < x->n; i++) some |= ends_of(m, x->parts[i], at);
        return some;
    case GO_REPEAT: return ends_of_repeat(m, x, at);
    case GO_REF: return m->ends[x->rule][at];
    }
    return 0;
}

static bool is_begin(const match *m, int node, int at);

static bool begins_from(const match *m, int node, uint64_t from) {
    for (int i = 0; i <= m->n; i++)
        if (from >> i & 1 && is_begin(m, node, i)) return true;
    return false;
}

/* Some code point of the class begins with what is left, 1 to 3 bytes, or is it. Those that begin so are a range; if one of them is in the class,
 * so is one at its borders or at one of the class's. */
static bool class_begins(const match *m, const go_node *x, int at) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t cp, low, high;
    int len = code_point(m, at, &cp), left = m->n - at, whole;
    if (len > 0) return len == left && in_class(x, cp);
    unsigned char lead = (unsigned char)m->text[at];
    whole = lead < 0xc2 || lead > 0xf4 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (left >= whole) return false;
    char text[4];
    for (int i = 0; i < left; i++) {
        text[i] = m->text[at + i];
        if (i > 0 && ((unsigned char)text[i] & 0xc0) != 0x80) return false;
    }
    memset(text + left, 0x80, (size_t)(whole - left));
    low = decode(text, whole, &len);
    memset(text + left, 0xbf, (size_t)(whole - left));
    high = decode(text, whole, &len);
    if (low < least[whole]) low = least[whole];
    if (high > 0x10ffff) high = 0x10ffff;
    uint32_t borders[20] = {low, high, 0xd7ff, 0xe000};
    int n = 4;
    for (int i = 0; i < x->n; i++)
        for (int k = 0; k < 2; k++) {
            borders[n++] = x->ranges[i][k];
            borders[n++] = x->ranges[i][k] + (k ? 1 : (uint32_t)-1);
        }
    for (int i = 0; i < n; i++)
        if (borders[i] >= low && borders[i] <= high && in_class(x, borders[i])) return true;
    return false;
}

static bool repeat_begins(const match *m, const go_node *x, int at) {
    uint64_t now = UINT64_C(1) << at;
    for (int k = 0; now != 0 && (x->max == GO_ENDLESS || k < x->max) && k < 4000; k++) {
        if (begins_from(m, x->parts[0], now)) return true;
        uint64_t next = ends_from(m, x->parts[0], now);
        if (next == now) return false;
        now = next;
    }
    return false;
}

/* Some text of the node begins with all that is left from `at` on. */
static bool is_begin(const match *m, int node, int at) {
    const go_node *x = &m->g->nodes[node];
    if (at == m->n) return m->g->productive[node];
    if (ends_of(m, node, at) >> m->n & 1) return true;
    uint64_t set = UINT64_C(1) << at;
    int left = m->n - at;
    switch (x->kind) {
    case GO_TEXT: return left <= x->n && memcmp(x->text, m->text + at, (size_t)left) == 0;
    case GO_CLASS: return class_begins(m, x, at);
    case GO_SEQ:
        if (!m->g->productive[node]) return false;
        for (int i = 0; i < x->n; i++) {
            if (begins_from(m, x->parts[i], set)) return true;
            set = ends_from(m, x->parts[i], set);
        }
        return false;
    case GO_ALT:
        for (int i = 0; i < x->n; i++)
            if (is_begin(m, x->parts[i], at)) return true;
        return false;
    case GO_REPEAT: return m->g->productive[x->parts[0]] && repeat_begins(m, x, at);
    case GO_REF: return m->viable[x->rule][at];
    }
    return false;
}

uint64_t go_match(const go_grammar *g, const char *text, int n, bool *viable) {
    static match m;
    memset(&m, 0, sizeof m);
    m.g = g;
    m.text = text;
    m.n = n;
    for (bool changed = true; changed;) {
        changed = false;
        for (int rule = 0; rule < g->n_rules; rule++)
            for (int at = n; at >= 0; at--) {
                uint64_t e = ends_of(&m, g->rules[rule], at);
                changed |= e != m.ends[rule][at];
                m.ends[rule][at] = e;
            }
    }
    for (bool changed = true; changed;) {
        changed = false;
        for (int rule = 0; rule < g->n_rules; rule++)
            for (int at = n; at >= 0; at--) {
                bool v = is_begin(&m, g->rules[rule], at);
                changed |= v != m.viable[rule][at];
                m.viable[rule][at] = v;
            }
    }
    *viable = m.viable[0][0];
    return m.ends[0][0];
}

/* ---- Sampling ---- */

static void sample_node(const go_grammar *g, int node, char *out, int *n, int depth,
                        uint32_t *seed) {
    const go_node *x = &g->nodes[node];
    if (*n >= GO_MAX_TEXT - 8 || depth > 30) return;
    if (x->kind == GO_TEXT) {
        int len = x->n < 8 ? x->n : 8;
        memcpy(out + *n, x->text, (size_t)len);
        *n += len;
    } else if (x->kind == GO_CLASS) {
        for (int tries = 0; tries < 20; tries++) {
            uint32_t cp = letter(seed);
            if (!in_class(x, cp)) continue;
            *n += encode(cp, out + *n);
            return;
        }
    } else if (x->kind == GO_SEQ) {
        for (int i = 0; i < x->n; i++) sample_node(g, x->parts[i], out, n, depth + 1, seed);
    } else if (x->kind == GO_ALT) {
        sample_node(g, x->parts[below(seed, (uint32_t)x->n)], out, n, depth + 1, seed);
    } else if (x->kind == GO_REPEAT) {
        uint32_t span = x->max == GO_ENDLESS ? 6 : (uint32_t)(x->max - x->min + 1);
        int times = x->min + (int)below(seed, span < 14 ? span : 14);
        for (int i = 0; i < times; i++) sample_node(g, x->parts[0], out, n, depth + 1, seed);
    } else {
        sample_node(g, g->rules[x->rule], out, n, depth + 1, seed);
    }
}

int go_sample(const go_grammar *g, char *out, uint32_t *seed) {
    int n = 0;
    sample_node(g, g->rules[0], out, &n, 0, seed);
    if (n > GO_MAX_TEXT) n = GO_MAX_TEXT;
    return n;
}
