/*
 * Regular expressions as automata: Thompson 1968. Several of them together, and a count of code points, become one deterministic
 * automaton by the construction of sets of states, which is written out as right-linear rules.
 */
#include "regex.h"

#include "sort.h"
#include "unicode.h"

enum { MAX_NFA = 20000, MAX_STATES = 5000, MAX_LETTERS = 10000 };
enum { MAX_WORK = 10000000 }; /* steps, of one call: less than a tenth of a second */
enum { MAX_BORDERS = 1000000 };

typedef enum nfa_kind { NFA_CLASS, NFA_SPLIT, NFA_BEGIN, NFA_END, NFA_MATCH } nfa_kind;

typedef struct nfa_state {
    nfa_kind kind;
    uint32_t a, b; /* where it goes; b for NFA_SPLIT */
    const slm__range *ranges;
    uint32_t n;
} nfa_state;

struct slm__recognizer {
    slm__arena *arena;
    nfa_state *states;
    uint32_t n, room;
    uint32_t start, rest; /* rest: what fits takes everything from here on */
};

static slm_status no_memory(slm__arena *a, slm_error *err) {
    return slm__fail(err, a->limited ? SLM_ERR_LIMIT : SLM_ERR_NOMEM,
                     "no memory for a regular expression");
}

/* ---- Building ---- */

/* The number of the new state; room was made before. */
static uint32_t add(slm__recognizer *f, nfa_state s) {
    f->states[f->n] = s;
    return f->n++;
}

static bool make_room(slm__recognizer *f, uint32_t more) {
    if (f->n + more > MAX_NFA) return false;
    nfa_state *s = slm__arena_room(f->arena, f->states, &f->room, (uint64_t)f->n + more, sizeof *s);
    if (s) f->states = s;
    return s != NULL;
}

static bool build(slm__recognizer *f, const slm__regex_node *node, uint32_t next, uint32_t *start);

static bool build_repeat(slm__recognizer *f, const slm__regex_node *node, uint32_t next,
                         uint32_t *start) {
    uint32_t at = next, copies = node->min;
    if (node->max == UINT32_MAX) {
        if (!make_room(f, 1)) return false;
        at = add(f, (nfa_state){.kind = NFA_SPLIT, .b = next});
        uint32_t body;
        if (!build(f, node->first, at, &body)) return false;
        f->states[at].a = body;
        if (copies > 0) { /* the last one that has to be is the one that comes again */
            at = body;
            copies--;
        }
    } else {
        for (uint32_t i = node->min; i < node->max; i++) {
            uint32_t body;
            if (!build(f, node->first, at, &body) || !make_room(f, 1)) return false;
            at = add(f, (nfa_state){.kind = NFA_SPLIT, .a = body, .b = next});
        }
    }
    for (uint32_t i = 0; i < copies; i++)
        if (!build(f, node->first, at, &at)) return false;
    *start = at;
    return true;
}

/* The parts of a sequence are built from the last to the first. */
static bool build_seq(slm__recognizer *f, const slm__regex_node *node, uint32_t next,
                      uint32_t *start) {
    const slm__regex_node **parts = slm__arena_take(f->arena, node->n, sizeof *parts);
    if (!parts) return false;
    uint32_t n = 0;
    for (const slm__regex_node *p = node->first; p; p = p->next) parts[n++] = p;
    while (n-- > 0)
        if (!build(f, parts[n], next, &next)) return false;
    *start = next;
    return true;
}

static bool build_alt(slm__recognizer *f, const slm__regex_node *node, uint32_t next,
                      uint32_t *start) {
    bool first = true;
    for (const slm__regex_node *p = node->first; p; p = p->next) {
        uint32_t one;
        if (!build(f, p, next, &one) || !make_room(f, 1)) return false;
        *start = first ? one : add(f, (nfa_state){.kind = NFA_SPLIT, .a = *start, .b = one});
        first = false;
    }
    return true;
}

/* As deep as the expression: three calls for each of SLM__REGEX_DEPTH groups. */
static bool build(slm__recognizer *f, const slm__regex_node *node, uint32_t next, uint32_t *start) {
    if (node->kind == REGEX_SEQ) return build_seq(f, node, next, start);
    if (node->kind == REGEX_ALT) return build_alt(f, node, next, start);
    if (node->kind == REGEX_REPEAT) return build_repeat(f, node, next, start);
    if (!make_room(f, 1)) return false;
    nfa_state s = {.kind = node->kind == REGEX_CLASS   ? NFA_CLASS
                           : node->kind == REGEX_BEGIN ? NFA_BEGIN
                                                       : NFA_END,
                   .a = next,
                   .ranges = node->ranges,
                   .n = node->n};
    *start = add(f, s);
    return true;
}

static const slm__range any[] = {{0, 0xD7FF}, {0xE000, 0x10FFFF}};

/* Any code points around what fits. */
slm_status slm__recognizer_build(slm__arena *a, const slm__regex_node *regex, slm__recognizer **out,
                                 slm_error *err) {
    slm__recognizer *f = *out = slm__arena_take(a, 1, sizeof *f);
    if (!f) return no_memory(a, err);
    f->arena = a;
    bool ok = make_room(f, 3);
    if (ok) {
        uint32_t match = add(f, (nfa_state){.kind = NFA_MATCH});
        f->rest = add(f, (nfa_state){.kind = NFA_SPLIT, .a = match + 2, .b = match});
        add(f, (nfa_state){NFA_CLASS, .a = f->rest, .ranges = any, .n = SLM_COUNT(any)});
    }
    uint32_t begin = 0;
    ok = ok && build(f, regex, f->rest, &begin) && make_room(f, 2);
    if (ok) {
        f->start = add(f, (nfa_state){.kind = NFA_SPLIT, .a = f->n + 1, .b = begin});
        add(f, (nfa_state){NFA_CLASS, .a = f->start, .ranges = any, .n = SLM_COUNT(any)});
        return SLM_OK;
    }
    if (f->n + 3 > MAX_NFA || f->n > MAX_NFA / 2)
        return slm__fail(err, SLM_ERR_LIMIT,
                         "a regular expression of more than %d states, counts written out",
                         MAX_NFA);
    return no_memory(a, err);
}

/* ---- Sets of states of several automata ---- */

typedef struct sets {
    slm__arena *arena;
    const slm__recognizer *const *nfas;
    uint32_t n_nfas, words;
    uint32_t *base;  /* [n_nfas] number of each one's first state */
    uint32_t *stack; /* of a closure                              */
    uint64_t work, most;
} sets;

static slm_status sets_init(sets *s, slm__arena *a, const slm__recognizer *const *nfas, uint32_t n,
                            uint64_t steps, slm_error *err) {
    *s = (sets){.arena = a, .nfas = nfas, .n_nfas = n};
    s->most = steps < MAX_WORK ? steps : MAX_WORK;
    s->base = slm__arena_take(a, n, sizeof *s->base);
    if (!s->base) return no_memory(a, err);
    uint32_t all = 0;
    for (uint32_t i = 0; i < n; i++) {
        s->base[i] = all;
        all += (nfas[i]->n + 63) / 64 * 64; /* a word belongs to one automaton */
    }
    s->words = all / 64;
    s->stack = slm__arena_take(a, 2 * (uint64_t)all + 2, sizeof *s->stack);
    return s->stack ? SLM_OK : no_memory(a, err);
}

static slm_status check_work(const sets *s, slm_error *err) {
    if (s->work <= s->most) return SLM_OK;
    return slm__fail(err, SLM_ERR_LIMIT, "regular expressions that take too much work");
}

static bool has(const uint64_t *set, uint32_t i) { return set[i / 64] >> i % 64 & 1; }

/* Add a state and what follows from it without a code point. begin, end: whether ^ and $ hold at the place. */
static void enter(sets *s, uint64_t *set, uint32_t f, uint32_t state, bool begin, bool end) {
    uint32_t n = 0, base = s->base[f];
    s->stack[n++] = state;
    while (n) {
        uint32_t i = s->stack[--n];
        s->work++;
        if (has(set, base + i)) continue;
        set[(base + i) / 64] |= (uint64_t)1 << (base + i) % 64;
        const nfa_state *x = &s->nfas[f]->states[i];
        bool passes =
            x->kind == NFA_SPLIT || (x->kind == NFA_BEGIN && begin) || (x->kind == NFA_END && end);
        if (passes && !has(set, base + x->a)) s->stack[n++] = x->a;
        if (x->kind == NFA_SPLIT && !has(set, base + x->b)) s->stack[n++] = x->b;
    }
}

static void enter_starts(sets *s, uint64_t *set) {
    for (uint32_t f = 0; f < s->n_nfas; f++) enter(s, set, f, s->nfas[f]->start, true, false);
}

/* What follows with a code point; `out` is empty before. */
static void step(sets *s, const uint64_t *set, uint32_t cp, uint64_t *out) {
    for (uint32_t f = 0; f < s->n_nfas; f++) {
        const slm__recognizer *nfa = s->nfas[f];
        for (uint32_t i = 0; i < nfa->n; i++) {
            if (set[(s->base[f] + i) / 64] == 0) {
                i |= 63; /* on in the next word */
                continue;
            }
            if (!has(set, s->base[f] + i) || nfa->states[i].kind != NFA_CLASS) continue;
            s->work++;
            if (slm__chars_has(nfa->states[i].ranges, nfa->states[i].n, cp))
                enter(s, out, f, nfa->states[i].a, false, false);
        }
        /* nothing that follows matters any more: equal sets are one state */
        if (!has(out, s->base[f] + nfa->rest)) continue;
        for (uint32_t i = 3; i < nfa->n; i++) {
            uint32_t bit = s->base[f] + i;
            out[bit / 64] &= ~((uint64_t)1 << bit % 64);
        }
    }
}

/* Do all of them fit if the value ends here? `scratch` has room for a set. */
static bool accepts(sets *s, const uint64_t *set, bool begin, uint64_t *scratch) {
    for (uint32_t f = 0; f < s->n_nfas; f++) {
        const slm__recognizer *nfa = s->nfas[f];
        bool match = has(set, s->base[f]);
        memset(scratch, 0, s->words * sizeof *scratch);
        for (uint32_t i = 0; i < nfa->n && !match; i++) {
            if (!has(set, s->base[f] + i)) continue;
            nfa_kind kind = nfa->states[i].kind;
            if (kind == NFA_END || (kind == NFA_BEGIN && begin))
                enter(s, scratch, f, i, begin, true);
            match = has(scratch, s->base[f]);
        }
        if (!match) return false;
    }
    return true;
}

slm_status slm__recognizer_test(slm__arena *a, const slm__recognizer *nfa, const char *text,
                                size_t n, bool *fits, uint64_t *steps, slm_error *err) {
    sets s;
    SLM_TRY(sets_init(&s, a, &nfa, 1, *steps, err));
    uint64_t *set = slm__arena_take(a, s.words, sizeof *set);
    uint64_t *next = slm__arena_take(a, s.words, sizeof *set);
    if (!set || !next) return no_memory(a, err);
    enter_starts(&s, set);
    size_t at = 0, len;
    while (at < n) {
        uint32_t cp = slm__utf8_read((const uint8_t *)text + at, n - at, &len);
        memset(next, 0, s.words * sizeof *next);
        step(&s, set, cp, next);
        s.work += s.words;
        SLM_TRY(check_work(&s, err));
        uint64_t *swap = set;
        set = next;
        next = swap;
        at += len;
    }
    *fits = accepts(&s, set, n == 0, next);
    *steps -= s.work < s.most ? s.work : s.most;
    return SLM_OK;
}

/* ---- Rules ---- */

typedef struct dfa {
    sets s;
    uint32_t min, max, cap; /* counts are kept up to `cap`        */
    slm__range *letters;    /* code points that all classes treat alike */
    uint32_t n_letters;
    uint64_t *bits; /* [n][words]                                 */
    uint32_t *counts, *hashes;
    int32_t *rules;
    uint32_t n, room_bits, room_counts, room_hashes, room_rules;
    uint32_t *table; /* numbers of states + 1, by hash            */
    slm__draft *draft;
    slm_error *err;
} dfa;

enum { TABLE = 1 << 14 }; /* more than twice MAX_STATES */

/* Every border of a class begins a letter. */
static slm_status find_letters(dfa *d) {
    slm__arena *a = d->s.arena;
    uint64_t n = 0;
    for (uint32_t f = 0; f < d->s.n_nfas; f++)
        for (uint32_t i = 0; i < d->s.nfas[f]->n; i++) n += 2 * d->s.nfas[f]->states[i].n;
    if (n > MAX_BORDERS) return slm__fail(d->err, SLM_ERR_LIMIT, "classes of too many ranges");
    uint64_t *borders = slm__arena_take(a, 2 * n, sizeof *borders);
    d->letters = slm__arena_take(a, n, sizeof *d->letters);
    if (!borders || !d->letters) return no_memory(a, d->err);
    size_t used = 0;
    for (uint32_t f = 0; f < d->s.n_nfas; f++) {
        for (uint32_t i = 0; i < d->s.nfas[f]->n; i++) {
            const nfa_state *x = &d->s.nfas[f]->states[i];
            for (uint32_t k = 0; k < x->n; k++) {
                borders[used++] = x->ranges[k].first;
                borders[used++] = x->ranges[k].last + 1;
            }
        }
    }
    slm__sort(borders, borders + n, used, 0);
    for (size_t i = 0, last = 0; i < used; last = borders[i++]) /* the first border is 0 */
        if (borders[i] > last && last != 0xD800)
            d->letters[d->n_letters++] = (slm__range){(uint32_t)last, (uint32_t)borders[i] - 1};
    d->s.work += used;
    if (d->n_letters > MAX_LETTERS)
        return slm__fail(d->err, SLM_ERR_LIMIT, "classes of more than %d ranges", MAX_LETTERS);
    return SLM_OK;
}

static uint32_t hash_of(const dfa *d, const uint64_t *bits, uint32_t count) {
    return slm__hash(bits, d->s.words * sizeof *bits) * 31 + count;
}

static slm_status add_state(dfa *d, const uint64_t *bits, uint32_t count, uint32_t hash) {
    slm__arena *a = d->s.arena;
    if (d->n >= MAX_STATES)
        return slm__fail(d->err, SLM_ERR_LIMIT,
                         "regular expressions and lengths of more than %d states together",
                         MAX_STATES);
    uint32_t n = d->n, words = d->s.words;
    d->bits = slm__arena_room(a, d->bits, &d->room_bits, (uint64_t)(n + 1) * words, sizeof *bits);
    d->counts = slm__arena_room(a, d->counts, &d->room_counts, n + 1, sizeof *d->counts);
    d->hashes = slm__arena_room(a, d->hashes, &d->room_hashes, n + 1, sizeof *d->hashes);
    d->rules = slm__arena_room(a, d->rules, &d->room_rules, n + 1, sizeof *d->rules);
    if (!d->bits || !d->counts || !d->hashes || !d->rules) return no_memory(a, d->err);
    memcpy(d->bits + (size_t)n * words, bits, words * sizeof *bits);
    d->counts[n] = count;
    d->hashes[n] = hash;
    d->rules[n] = slm__draft_rule_new(d->draft);
    d->n++;
    return SLM_OK;
}

static slm_status find_state(dfa *d, const uint64_t *bits, uint32_t count, uint32_t *out) {
    uint32_t hash = hash_of(d, bits, count), slot = hash & (TABLE - 1);
    for (; d->table[slot]; slot = (slot + 1) & (TABLE - 1), d->s.work++) {
        uint32_t i = *out = d->table[slot] - 1;
        if (d->hashes[i] == hash && d->counts[i] == count &&
            memcmp(d->bits + (size_t)i * d->s.words, bits, d->s.words * sizeof *bits) == 0)
            return SLM_OK;
    }
    *out = d->n;
    SLM_TRY(add_state(d, bits, count, hash));
    d->table[slot] = d->n;
    return SLM_OK;
}

static bool is_empty(const dfa *d, const uint64_t *set) {
    for (uint32_t f = 0; f < d->s.n_nfas; f++) {
        bool any_bit = false;
        for (uint32_t i = 0; i < d->s.nfas[f]->n && !any_bit; i++)
            any_bit = has(set, d->s.base[f] + i);
        if (!any_bit) return true;
    }
    return false;
}

/* targets[letter]: the state after it, or UINT32_MAX. */
static slm_status find_targets(dfa *d, uint32_t state, uint64_t *scratch, uint32_t *targets) {
    uint32_t count = d->counts[state];
    for (uint32_t l = 0; l < d->n_letters; l++) {
        targets[l] = UINT32_MAX;
        if (count == d->max) continue;
        memset(scratch, 0, d->s.words * sizeof *scratch);
        step(&d->s, d->bits + (size_t)state * d->s.words, d->letters[l].first, scratch);
        d->s.work += d->s.words;
        SLM_TRY(check_work(&d->s, d->err));
        if (is_empty(d, scratch)) continue;
        SLM_TRY(find_state(d, scratch, count < d->cap ? count + 1 : count, &targets[l]));
    }
    return SLM_OK;
}

/* All letters that lead to the same state become one class; they are crossed out. */
static int32_t emit_edge(dfa *d, uint32_t first, uint32_t *targets, slm__emit_fn emit, void *user,
                         slm__range *ranges) {
    uint32_t n = 0, target = targets[first];
    for (uint32_t l = first; l < d->n_letters; l++) {
        d->s.work++;
        if (targets[l] != target) continue;
        targets[l] = UINT32_MAX;
        if (n && ranges[n - 1].last + 1 == d->letters[l].first)
            ranges[n - 1].last = d->letters[l].last;
        else
            ranges[n++] = d->letters[l];
    }
    return slm__draft_pair(d->draft, emit(d->draft, user, ranges, n),
                           slm__draft_ref(d->draft, d->rules[target]));
}

static slm_status emit_state(dfa *d, uint32_t state, bool accepted, uint32_t *targets,
                             slm__emit_fn emit, void *user, slm__range *ranges, int32_t *items) {
    uint32_t n = 0;
    if (accepted) items[n++] = slm__draft_seq(d->draft, NULL, 0);
    for (uint32_t l = 0; l < d->n_letters; l++)
        if (targets[l] != UINT32_MAX) items[n++] = emit_edge(d, l, targets, emit, user, ranges);
    slm__draft_define(d->draft, d->rules[state], slm__draft_alt(d->draft, items, n));
    return d->draft->failed ? no_memory(d->s.arena, d->err) : SLM_OK;
}

static slm_status emit_all(dfa *d, slm__emit_fn emit, void *user) {
    slm__arena *a = d->s.arena;
    uint64_t *scratch = slm__arena_take(a, d->s.words, sizeof *scratch);
    uint32_t *targets = slm__arena_take(a, d->n_letters, sizeof *targets);
    slm__range *ranges = slm__arena_take(a, d->n_letters, sizeof *ranges);
    int32_t *items = slm__arena_take(a, (uint64_t)d->n_letters + 1, sizeof *items);
    d->table = slm__arena_take(a, TABLE, sizeof *d->table);
    if (!scratch || !targets || !ranges || !items || !d->table) return no_memory(a, d->err);
    enter_starts(&d->s, scratch);
    /* not in the table: ^ holds here, and nowhere else */
    SLM_TRY(add_state(d, scratch, 0, 0));
    for (uint32_t i = 0; i < d->n; i++) {
        const uint64_t *set = d->bits + (size_t)i * d->s.words;
        bool accepted = d->counts[i] >= d->min && accepts(&d->s, set, i == 0, scratch);
        SLM_TRY(find_targets(d, i, scratch, targets));
        SLM_TRY(emit_state(d, i, accepted, targets, emit, user, ranges, items));
    }
    return SLM_OK;
}

slm_status slm__recognizer_emit(slm__arena *a, const slm__recognizer *const *nfas, uint32_t n_nfas,
                                uint32_t min, uint32_t max, slm__draft *draft, slm__emit_fn emit,
                                void *user, int32_t *node, uint64_t *steps, slm_error *err) {
    dfa d = {.min = min, .max = max, .draft = draft, .err = err};
    d.cap = max == UINT32_MAX ? min : max;
    SLM_TRY(sets_init(&d.s, a, nfas, n_nfas, *steps, err));
    SLM_TRY(find_letters(&d));
    SLM_TRY(emit_all(&d, emit, user));
    *steps -= d.s.work < d.s.most ? d.s.work : d.s.most;
    *node = slm__draft_ref(draft, d.rules[0]);
    return draft->failed ? no_memory(a, err) : SLM_OK;
}
