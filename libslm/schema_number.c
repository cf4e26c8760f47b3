/*
 * Numbers between limits, digit by digit. Limits are rounded to a grid (integers; or so many digits behind the point that a double still
 * tells all numbers apart), signs are taken apart, and for each count of digits before the point the numbers from `low` to `high` are
 * those whose digits follow both for a while, then one of them, then neither.
 */
#include "schema_impl.h"

enum {
    DIGITS = 18,        /* of an integer without a limit: it fits 64 bits                     */
    DOUBLE_DIGITS = 15, /* decimal digits that a double always tells apart                    */
    WHOLE_DIGITS = 9,   /* before the point, where there is a limit on one side only          */
    MAX_MODULUS = 10000,
    MODULUS_DIGITS = 20,
    MAX_MODULUS_RULES = 20000,
};

typedef struct digits {
    slm__schema *s;
    slm__schema_value *where;
    int32_t n_fraction;
    uint32_t modulus; /* 1: none                                                        */
    int32_t *states;  /* [MODULUS_DIGITS + 1][modulus] rules for what may follow; -1    */
    uint32_t n_states;
    int32_t n_whole; /* of the numbers at hand, and their limits                        */
    int32_t n;
    char low[2 * SLM__DIGITS + 2], high[2 * SLM__DIGITS + 2];
    uint32_t low_rest[MODULUS_DIGITS + 1], high_rest[MODULUS_DIGITS + 1]; /* of the first digits */
} digits;

static int32_t digit_class(slm__schema *s, int first, int last) {
    slm__range r = {(uint32_t)('0' + first), (uint32_t)('0' + last)};
    return first > last ? 0 : slm__draft_class(&s->draft, &r, 1);
}

static int32_t empty(const digits *g) { return slm__draft_seq(&g->s->draft, NULL, 0); }

static int32_t some_digits(const digits *g, int32_t min, int32_t max) {
    return slm__draft_repeat(&g->s->draft, digit_class(g->s, 0, 9), (uint32_t)min, (uint32_t)max);
}

static int32_t point(const digits *g, int32_t behind) {
    return slm__draft_pair(&g->s->draft, slm__text_node(g->s, "."), behind);
}

static bool all_are(const char *d, int32_t from, int32_t to, char digit) {
    for (int32_t i = from; i < to; i++)
        if (d[i] != digit) return false;
    return true;
}

/* ---- Multiples ---- */

static uint64_t common_divisor(uint64_t a, uint64_t b) {
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* `left` more digits that make a multiple, if those before leave `rest`. Digits that do not matter any more make rests equal. As deep
 * as there are digits, MODULUS_DIGITS at most. */
static int32_t multiple(digits *g, int32_t left, uint32_t rest) {
    slm__draft *d = &g->s->draft;
    if (left == 0) return rest == 0 ? empty(g) : 0;
    uint64_t power = 1;
    for (int32_t i = 0; i < left && i < 19; i++) power *= 10;
    rest %= (uint32_t)(g->modulus / common_divisor(g->modulus, power));
    int32_t *state = &g->states[(uint32_t)left * g->modulus + rest];
    if (*state < 0) {
        int32_t nodes[10];
        if (++g->n_states > MAX_MODULUS_RULES)
            return slm__schema_fail(g->s, SLM_ERR_LIMIT, g->where,
                                    "multipleOf takes more than %d states", MAX_MODULUS_RULES);
        int32_t rule = *state = slm__draft_rule_new(d);
        for (int digit = 0; digit < 10 && slm__schema_ok(g->s); digit++)
            nodes[digit] =
                slm__draft_pair(d, digit_class(g->s, digit, digit),
                                multiple(g, left - 1, (rest * 10 + (uint32_t)digit) % g->modulus));
        if (!slm__schema_ok(g->s)) return 0;
        slm__draft_define(d, rule, slm__draft_alt(d, nodes, 10));
    }
    return slm__draft_ref(d, *state);
}

/* ---- Digits from a place on ---- */

/* Any. Behind the point as many as are left, or none. */
static int32_t free_from(digits *g, int32_t at, uint32_t rest) {
    if (g->modulus > 1) return multiple(g, g->n_whole - at, rest);
    if (at > g->n_whole) return some_digits(g, 0, g->n - at);
    int32_t fraction =
        g->n_fraction ? slm__draft_maybe(&g->s->draft, point(g, some_digits(g, 1, g->n_fraction)))
                      : empty(g);
    return slm__draft_pair(&g->s->draft, some_digits(g, g->n_whole - at, g->n_whole - at),
                           fraction);
}

/* A digit of first to last, then any. */
static int32_t one_of(digits *g, int first, int last, int32_t at, uint32_t rest) {
    slm__draft *d = &g->s->draft;
    int32_t nodes[10], n = 0;
    if (first > last) return 0;
    if (g->modulus == 1)
        return slm__draft_pair(d, digit_class(g->s, first, last), free_from(g, at + 1, 0));
    for (int digit = first; digit <= last; digit++)
        nodes[n++] =
            slm__draft_pair(d, digit_class(g->s, digit, digit),
                            free_from(g, at + 1, (rest * 10 + (uint32_t)digit) % g->modulus));
    return slm__draft_alt(d, nodes, (size_t)n);
}

static int32_t this_digit(digits *g, char digit, int32_t behind) {
    return slm__draft_pair(&g->s->draft, digit_class(g->s, digit - '0', digit - '0'), behind);
}

/* What begins at a place, with the point if it is there, or nothing more if the number may end. */
static int32_t at_place(digits *g, int32_t at, int32_t node, bool may_end) {
    if (at == g->n_whole) node = point(g, node);
    return may_end && at >= g->n_whole ? slm__draft_maybe(&g->s->draft, node) : node;
}

static uint32_t rest_at(const digits *g, const uint32_t *rests, int32_t at) {
    return g->modulus > 1 ? rests[at] : 0;
}

static int32_t end(const digits *g, uint32_t rest) { return rest == 0 ? empty(g) : 0; }

/* From the place on not below `low`. */
static int32_t low_from(digits *g, int32_t from) {
    int32_t at = g->n;
    while (at > from && g->low[at - 1] == '0') at--;
    int32_t node = at == g->n ? end(g, rest_at(g, g->low_rest, at))
                              : free_from(g, at, rest_at(g, g->low_rest, at));
    while (at-- > from) {
        int digit = g->low[at] - '0';
        int32_t more = one_of(g, digit + 1, 9, at, rest_at(g, g->low_rest, at));
        node = slm__draft_either(&g->s->draft, more, this_digit(g, g->low[at], node));
        node = at_place(g, at, node, false);
    }
    return node;
}

/* From the place on not above `high`. */
static int32_t high_from(digits *g, int32_t from) {
    int32_t at = g->n;
    while (at > from && g->high[at - 1] == '9') at--;
    int32_t node = at == g->n ? end(g, rest_at(g, g->high_rest, at))
                              : free_from(g, at, rest_at(g, g->high_rest, at));
    while (at-- > from) {
        int digit = g->high[at] - '0';
        int32_t less = one_of(g, 0, digit - 1, at, rest_at(g, g->high_rest, at));
        node = slm__draft_either(&g->s->draft, less, this_digit(g, g->high[at], node));
        node = at_place(g, at, node, true);
    }
    return node;
}

static void find_rests(const digits *g, const char *text, uint32_t *rests) {
    rests[0] = 0;
    for (int32_t i = 0; i < g->n; i++)
        rests[i + 1] = (rests[i] * 10 + (uint32_t)(text[i] - '0')) % g->modulus;
}

/* All digits: as long as `low` and `high` agree they are given. */
static int32_t between(digits *g) {
    slm__draft *d = &g->s->draft;
    if (g->modulus > 1) {
        find_rests(g, g->low, g->low_rest);
        find_rests(g, g->high, g->high_rest);
    }
    if (all_are(g->low, 0, g->n, '0') && all_are(g->high, 0, g->n, '9')) return free_from(g, 0, 0);
    int32_t at = 0;
    while (at < g->n && g->low[at] == g->high[at]) at++;
    int32_t node;
    if (at == g->n) {
        node = end(g, rest_at(g, g->low_rest, at));
    } else {
        int first = g->low[at] - '0' + 1, last = g->high[at] - '0' - 1;
        int32_t middle = one_of(g, first, last, at, rest_at(g, g->low_rest, at));
        node = slm__draft_alt(d,
                              (int32_t[]){middle, this_digit(g, g->low[at], low_from(g, at + 1)),
                                          this_digit(g, g->high[at], high_from(g, at + 1))},
                              3);
        node = at_place(g, at, node, all_are(g->low, at, g->n, '0'));
    }
    while (at-- > 0)
        node = at_place(g, at, this_digit(g, g->low[at], node), all_are(g->low, at, g->n, '0'));
    return node;
}

/* ---- Magnitudes ---- */

static void write_digits(const digits *g, const slm__decimal *a, char *out) {
    for (int32_t i = 0; i < g->n; i++)
        out[i] = (char)('0' + slm__decimal_digit(a, g->n_whole - 1 - i));
}

/* Numbers of n_whole digits before the point, none of which is a leading zero, from a to b. */
static int32_t of_length(digits *g, const slm__decimal *a, const slm__decimal *b, int32_t n_whole) {
    g->n_whole = n_whole;
    g->n = n_whole + g->n_fraction;
    if (slm__decimal_whole(a) < n_whole) {
        memset(g->low, '0', (size_t)g->n);
        g->low[0] = '1';
    } else {
        write_digits(g, a, g->low);
    }
    if (slm__decimal_whole(b) > n_whole)
        memset(g->high, '9', (size_t)g->n);
    else
        write_digits(g, b, g->high);
    return between(g);
}

/* Of all lengths between the shortest and the longest nothing is asked but the first digit. */
static int32_t of_lengths(digits *g, int32_t from, int32_t to) {
    slm__draft *d = &g->s->draft;
    g->n_whole = 1;
    g->n = 1 + g->n_fraction;
    int32_t first = digit_class(g->s, 1, 9), more = some_digits(g, from - 1, to - 1);
    return slm__draft_seq(d, (int32_t[]){first, more, free_from(g, 1, 0)}, 3);
}

/* 0 <= a <= b, on the grid. */
static int32_t magnitudes(digits *g, const slm__decimal *a, const slm__decimal *b) {
    int32_t from = slm__decimal_whole(a), to = slm__decimal_whole(b), n = 0;
    int32_t *nodes = slm__arena_take(&g->s->arena, (uint64_t)(to - from) + 1, sizeof *nodes);
    if (!nodes) return slm__schema_no_memory(g->s);
    nodes[n++] = of_length(g, a, b, from);
    if (g->modulus == 1 && to - from > 1)
        nodes[n++] = of_lengths(g, from + 1, to - 1);
    else
        for (int32_t l = from + 1; l < to; l++) nodes[n++] = of_length(g, a, b, l);
    if (to > from) nodes[n++] = of_length(g, a, b, to);
    return slm__draft_alt(&g->s->draft, nodes, (size_t)n);
}

/* low <= high, on the grid. -0 is never written. */
static int32_t signed_range(digits *g, const slm__decimal *low, const slm__decimal *high) {
    slm__decimal zero = {0}, a, b;
    int32_t below = 0, above = 0;
    if (low->negative) {
        a = *high;
        a.negative = false;
        if (!high->negative) { /* from the smallest step */
            a = zero;
            slm__decimal_round(&a, -g->n_fraction, true, true);
        }
        b = *low;
        b.negative = false;
        below = slm__draft_pair(&g->s->draft, slm__text_node(g->s, "-"), magnitudes(g, &a, &b));
    }
    if (!high->negative) above = magnitudes(g, low->negative ? &zero : low, high);
    return slm__draft_either(&g->s->draft, above, below);
}

/* ---- Limits ---- */

typedef struct limit {
    slm__decimal at;
    bool given, beyond; /* beyond: the limit itself is not allowed */
    slm__schema_value *where;
} limit;

static bool tighten(slm__schema *s, limit *l, slm__schema_value *schema, const char *word,
                    bool beyond, bool low) {
    slm__schema_value *v = slm__word(schema, word);
    slm__decimal d;
    if (!v) return true;
    if (!slm__decimal_read(v->text, &d)) {
        slm__schema_fail(s, SLM_ERR_LIMIT, v, "a number of more than %d digits", SLM__DIGITS);
        return false;
    }
    int c = l->given ? slm__decimal_compare(&d, &l->at) : low ? 1 : -1;
    if (c == 0) l->beyond = l->beyond || beyond;
    if (low ? c > 0 : c < 0) *l = (limit){d, true, beyond, v};
    return true;
}

static bool find_limits(slm__schema *s, const slm__branch *b, limit *low, limit *high) {
    for (uint32_t i = 0; i < b->n; i++) {
        slm__schema_value *schema = b->schemas[i];
        if (!tighten(s, low, schema, "minimum", false, true) ||
            !tighten(s, low, schema, "exclusiveMinimum", true, true) ||
            !tighten(s, high, schema, "maximum", false, false) ||
            !tighten(s, high, schema, "exclusiveMaximum", true, false))
            return false;
    }
    return true;
}

/* The integer of which an integer has to be a multiple: a fraction in lowest terms counts by its numerator. */
static bool find_modulus(slm__schema *s, const slm__branch *b, digits *g, bool *fractional) {
    g->modulus = 1;
    for (uint32_t i = 0; i < b->n; i++) {
        slm__schema_value *v = slm__word(b->schemas[i], "multipleOf");
        slm__decimal d, digits_only;
        if (!v) continue;
        uint64_t p = 0, q = 1;
        if (slm__decimal_read(v->text, &d) && d.n <= 9 && d.e <= 9 && d.e >= -9) {
            digits_only = d;
            digits_only.e = 0;
            p = slm__decimal_mod(&digits_only, (uint64_t)1 << 59);
            for (int32_t e = d.e; e > 0; e--) p *= 10;
            for (int32_t e = d.e; e < 0; e++) q *= 10;
            uint64_t common = common_divisor(p, q);
            p /= common;
            q /= common;
        }
        if (q > 1) *fractional = true;
        if (p && p <= MAX_MODULUS) p = p / common_divisor(p, g->modulus) * g->modulus;
        if (p == 0 || p > MAX_MODULUS) {
            slm__schema_fail(s, SLM_ERR_UNSUPPORTED, v, "multiples of more than %d", MAX_MODULUS);
            return false;
        }
        g->modulus = (uint32_t)p;
        g->where = v;
    }
    return true;
}

/* A number of so many nines. */
static slm__decimal nines(int32_t n, bool negative) {
    slm__decimal d = {.negative = negative, .n = n};
    memset(d.digits, '9', (size_t)n);
    return d;
}

/* Where one side is open. */
static void open_end(limit *l, const limit *other, bool high, int32_t least) {
    if (l->given) return;
    int32_t n = other->given ? slm__decimal_whole(&other->at) : 0;
    bool same_side = other->given && other->at.n && other->at.negative != high;
    l->at = nines(same_side && n > least ? n : least, !high);
    if (same_side && n >= SLM__DIGITS) l->at = other->at;
}

/* ---- Nodes ---- */

static int32_t out_of_range(slm__schema *s, const limit *low, const limit *high) {
    return slm__schema_contradiction(s, low->given ? low->where : high->where, SLM_ERR_RANGE,
                                     "no number is within the limits");
}

static int32_t integers(digits *g, limit low, limit high) {
    slm__schema *s = g->s;
    bool fits = slm__decimal_round(&low.at, 0, true, low.given && low.beyond) &&
                slm__decimal_round(&high.at, 0, false, high.given && high.beyond);
    open_end(&high, &low, true, DIGITS);
    open_end(&low, &high, false, DIGITS);
    if (slm__decimal_compare(&low.at, &high.at) > 0) return out_of_range(s, &low, &high);
    if (g->modulus > 1) {
        fits = fits && slm__decimal_whole(&low.at) <= MODULUS_DIGITS &&
               slm__decimal_whole(&high.at) <= MODULUS_DIGITS;
        uint64_t n = (uint64_t)g->modulus * (MODULUS_DIGITS + 1);
        g->states = slm__arena_take(&s->arena, n, sizeof *g->states);
        if (!g->states) return slm__schema_no_memory(s);
        memset(g->states, 0xff, n * sizeof *g->states);
    }
    if (!fits)
        return slm__schema_fail(s, SLM_ERR_LIMIT, low.given ? low.where : high.where,
                                "a limit of too many digits");
    return signed_range(g, &low.at, &high.at);
}

/* Decimals without an exponent, of at most DOUBLE_DIGITS digits: who reads them as doubles sees the same order. */
static int32_t decimals(digits *g, limit low, limit high) {
    slm__schema *s = g->s;
    open_end(&high, &low, true, WHOLE_DIGITS);
    open_end(&low, &high, false, WHOLE_DIGITS);
    int32_t whole = slm__decimal_whole(&low.at), other = slm__decimal_whole(&high.at);
    if (whole < other) whole = other;
    int32_t fraction = slm__decimal_fraction(&low.at);
    other = slm__decimal_fraction(&high.at);
    if (fraction < other) fraction = other;
    if (slm__decimal_compare(&low.at, &high.at) > 0) return out_of_range(s, &low, &high);
    g->n_fraction = DOUBLE_DIGITS - whole;
    if (g->n_fraction < 1 || fraction > g->n_fraction)
        return slm__schema_fail(s, SLM_ERR_UNSUPPORTED, low.given ? low.where : high.where,
                                "limits of numbers with more than %d digits", DOUBLE_DIGITS);
    slm__decimal_round(&low.at, -g->n_fraction, true, low.beyond);
    slm__decimal_round(&high.at, -g->n_fraction, false, high.beyond);
    if (slm__decimal_compare(&low.at, &high.at) > 0) return out_of_range(s, &low, &high);
    return signed_range(g, &low.at, &high.at);
}

/* -?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?([eE][+-]?[0-9]{1,2})? */
static int32_t any_number(digits *g) {
    slm__draft *d = &g->s->draft;
    static const slm__range e[] = {{'E', 'E'}, {'e', 'e'}}, sign[] = {{'+', '+'}, {'-', '-'}};
    int32_t whole = slm__draft_either(
        d, slm__text_node(g->s, "0"),
        slm__draft_pair(d, digit_class(g->s, 1, 9), some_digits(g, 0, DIGITS - 1)));
    int32_t exponent = slm__draft_seq(d,
                                      (int32_t[]){slm__draft_class(d, e, 2),
                                                  slm__draft_maybe(d, slm__draft_class(d, sign, 2)),
                                                  some_digits(g, 1, 2)},
                                      3);
    return slm__draft_seq(d,
                          (int32_t[]){slm__draft_maybe(d, slm__text_node(g->s, "-")), whole,
                                      slm__draft_maybe(d, point(g, some_digits(g, 1, DIGITS - 1))),
                                      slm__draft_maybe(d, exponent)},
                          4);
}

static int32_t constant(digits *g, const slm__branch *b, const limit *low, const limit *high) {
    slm__decimal d;
    if (!slm__decimal_read(b->constant->text, &d))
        return slm__schema_fail(g->s, SLM_ERR_LIMIT, b->constant, "a number of more than %d digits",
                                SLM__DIGITS);
    int l = low->given ? slm__decimal_compare(&d, &low->at) : 1;
    int h = high->given ? slm__decimal_compare(&high->at, &d) : 1;
    if (l < (low->given && low->beyond) || h < (high->given && high->beyond))
        return out_of_range(g->s, low, high);
    if (g->where && (!slm__decimal_is_integer(&d) || slm__decimal_mod(&d, g->modulus)))
        return slm__schema_contradiction(g->s, g->where, SLM_ERR_RANGE,
                                         "the constant is no multiple");
    return slm__value_node(g->s, b->constant);
}

int32_t slm__schema_number(slm__schema *s, const slm__branch *b) {
    digits *g = slm__arena_take(&s->arena, 1, sizeof *g);
    limit low = {0}, high = {0};
    bool fractional = false;
    if (!g) return slm__schema_no_memory(s);
    g->s = s;
    if (!find_limits(s, b, &low, &high) || !find_modulus(s, b, g, &fractional)) return 0;
    bool whole =
        b->constant ? slm__value_type(b->constant) == TYPE_INTEGER : !(b->types & TYPE_FRACTION);
    if (fractional && !whole)
        return slm__schema_fail(s, SLM_ERR_UNSUPPORTED, g->where,
                                "multiples of a fraction, where the number need not be an integer");
    if (b->constant) return constant(g, b, &low, &high);
    if (whole || g->modulus > 1 || g->where) return integers(g, low, high);
    return low.given || high.given ? decimals(g, low, high) : any_number(g);
}
