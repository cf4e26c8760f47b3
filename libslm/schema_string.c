/*
 * Strings. Regular expressions and lengths speak of the code points of a value; in the text a few of them have to be escaped. One expression
 * becomes rules as it is written, its counts stay counts; several of them, or one that a length cuts through, go by an automaton.
 */
#include "schema_impl.h"

#include "unicode.h"

/* ---- Formats ---- */

#define YEAR "(000[1-9]|00[1-9]\\d|0[1-9]\\d\\d|[1-9]\\d{3})"
#define LEAP "(\\d\\d(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)"
#define DATE                                                                      \
    "(" YEAR "-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]" \
    "\\d|30)|02-(0[1-9]|1\\d|2[0-8]))|" LEAP "-02-29)"
#define TIME   "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)"
#define ATEXT  "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
#define LABEL  "[A-Za-z0-9](-?[A-Za-z0-9]){0,22}"
#define LETTER "[A-Za-z0-9]"
#define BYTE   "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"

/* RFC 3339 (years from 1, no leap seconds), RFC 4122, RFC 2673. Addresses are dot-atoms of RFC 5321, shorter than its limits. */
static const struct {
    const char *name, *regex;
} formats[] = {
    {"date", "^" DATE "$"},
    {"time", "^" TIME "$"},
    {"date-time", "^" DATE "T" TIME "$"},
    {"uuid", "^[\\da-fA-F]{8}-([\\da-fA-F]{4}-){3}[\\da-fA-F]{12}$"},
    {"email", "^" ATEXT "(\\.?" ATEXT "){0,31}@" LABEL "(\\." LABEL "){1,3}$"},
    {"ipv4", "^" BYTE "(\\." BYTE "){3}$"},
};

/* An address that a maxLength cuts through: its own counts would be multiplied by that of the length. The local part has 64 characters at most. */
static const char short_email[] =
    "^" ATEXT "(\\.?" ATEXT ")*@" LETTER "(-*" LETTER ")*(\\." LETTER "(-*" LETTER ")*)+$";
static const char short_local[] = "^[^@]{1,64}@";
enum { LONGEST_EMAIL = 247 };

static const char *format_regex(slm__str name) {
    for (size_t i = 0; i < SLM_COUNT(formats); i++)
        if (slm__str_eq(name, formats[i].name)) return formats[i].regex;
    return NULL;
}

bool slm__format_known(slm__str name) { return format_regex(name) != NULL; }

/* ---- Characters ---- */

static const slm__range hex_digits[] = {{'0', '9'}, {'A', 'F'}, {'a', 'f'}};

static int32_t one_char(slm__draft *d, const slm__range *ranges, size_t n) {
    return slm__draft_class(d, ranges, n);
}

/* \u00XX of control characters that have no letter of their own, for one first digit. */
static int32_t control_escapes(slm__draft *d, const slm__range *ranges, uint32_t n, uint32_t high) {
    slm__range low[32];
    uint32_t used = 0;
    for (uint32_t c = high * 16; c < high * 16 + 16; c++) {
        if (slm__escape_letter(c) != 'u' || !slm__chars_has(ranges, n, c)) continue;
        uint32_t digit = c % 16;
        if (digit < 10) {
            low[used++] = (slm__range){'0' + digit, '0' + digit};
        } else {
            low[used++] = (slm__range){'A' + digit - 10, 'A' + digit - 10};
            low[used++] = (slm__range){'a' + digit - 10, 'a' + digit - 10};
        }
    }
    if (used == 0) return 0;
    return slm__draft_pair(d, slm__draft_text(d, high ? "u001" : "u000", 4),
                           one_char(d, low, used));
}

/* A code point of the ranges as a text has it: escaped if it must be. */
static int32_t emit_class(slm__draft *d, void *user, const slm__range *ranges, uint32_t n) {
    static const slm__range raw[] = {{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0x10FFFF}};
    static const uint8_t lettered[] = {'"', '\\', '\b', '\f', '\n', '\r', '\t'};
    slm__schema *s = user;
    slm__chars all = {.ranges = (slm__range *)(uintptr_t)ranges, .n = n}, plain = {0},
               letters = {0};
    for (size_t i = 0; i < SLM_COUNT(raw); i++)
        if (!slm__chars_clip(&s->arena, &all, raw[i].first, raw[i].last, &plain))
            return slm__schema_no_memory(s);
    for (size_t i = 0; i < SLM_COUNT(lettered); i++) {
        uint32_t letter = (uint32_t)slm__escape_letter(lettered[i]);
        if (slm__chars_has(ranges, n, lettered[i]) &&
            !slm__chars_add(&s->arena, &letters, letter, letter))
            return slm__schema_no_memory(s);
    }
    int32_t escapes = slm__draft_alt(d,
                                     (int32_t[]){slm__draft_class(d, letters.ranges, letters.n),
                                                 control_escapes(d, ranges, n, 0),
                                                 control_escapes(d, ranges, n, 1)},
                                     3);
    if (escapes) escapes = slm__draft_pair(d, slm__draft_text(d, "\\", 1), escapes);
    return slm__draft_either(d, slm__draft_class(d, plain.ranges, plain.n), escapes);
}

static int32_t hex(slm__draft *d, uint32_t n) {
    return slm__draft_repeat(d, one_char(d, hex_digits, 3), n, n);
}

/* "D8" to "DB", or "DC" to "DF", and two more digits. */
static int32_t half_pair(slm__draft *d, bool second) {
    static const slm__range d_digit[] = {{'D', 'D'}, {'d', 'd'}};
    static const slm__range first_digits[] = {{'8', '9'}, {'A', 'B'}, {'a', 'b'}};
    static const slm__range second_digits[] = {{'C', 'F'}, {'c', 'f'}};
    int32_t digit = second ? one_char(d, second_digits, 2) : one_char(d, first_digits, 3);
    return slm__draft_seq(d, (int32_t[]){one_char(d, d_digit, 2), digit, hex(d, 2)}, 3);
}

/* Any code point in any way that JSON has. */
static int32_t any_char(slm__draft *d) {
    static const slm__range raw[] = {{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0x10FFFF}};
    static const slm__range letters[] = {{'"', '"'}, {'/', '/'}, {'\\', '\\'}, {'b', 'b'},
                                         {'f', 'f'}, {'n', 'n'}, {'r', 'r'},   {'t', 't'}};
    static const slm__range not_d[] = {{'0', '9'}, {'A', 'C'}, {'E', 'F'}, {'a', 'c'}, {'e', 'f'}};
    static const slm__range d_digit[] = {{'D', 'D'}, {'d', 'd'}}, to_7[] = {{'0', '7'}};
    int32_t plain = slm__draft_pair(d, one_char(d, not_d, SLM_COUNT(not_d)), hex(d, 3));
    int32_t below =
        slm__draft_seq(d, (int32_t[]){one_char(d, d_digit, 2), one_char(d, to_7, 1), hex(d, 2)}, 3);
    int32_t pair = slm__draft_seq(
        d, (int32_t[]){half_pair(d, false), slm__draft_text(d, "\\u", 2), half_pair(d, true)}, 3);
    int32_t unicode = slm__draft_pair(d, slm__draft_text(d, "u", 1),
                                      slm__draft_alt(d, (int32_t[]){plain, below, pair}, 3));
    int32_t letter = one_char(d, letters, SLM_COUNT(letters));
    int32_t escape =
        slm__draft_pair(d, slm__draft_text(d, "\\", 1), slm__draft_either(d, letter, unicode));
    return slm__draft_either(d, one_char(d, raw, SLM_COUNT(raw)), escape);
}

static int32_t quoted(slm__schema *s, int32_t content) {
    return slm__draft_seq(
        &s->draft, (int32_t[]){slm__text_node(s, "\""), content, slm__text_node(s, "\"")}, 3);
}

int32_t slm__any_string(slm__schema *s) {
    slm__draft *d = &s->draft;
    if (s->string_rule < 0) {
        s->string_rule = slm__draft_rule_new(d);
        int32_t node = quoted(s, slm__draft_repeat(d, any_char(d), 0, UINT32_MAX));
        slm__draft_define(d, s->string_rule, node);
    }
    return slm__schema_ok(s) ? slm__draft_ref(d, s->string_rule) : 0;
}

/* ---- Expressions as they are written ---- */

/* As deep as the expression (SLM__REGEX_DEPTH groups, three calls each). */
static int32_t emit_regex(slm__schema *s, const slm__regex_node *r) {
    slm__draft *d = &s->draft;
    if (!slm__schema_ok(s)) return 0;
    if (r->kind == REGEX_CLASS) return emit_class(d, s, r->ranges, r->n);
    if (r->kind == REGEX_REPEAT)
        return slm__draft_repeat(d, emit_regex(s, r->first), r->min, r->max);
    int32_t *items = slm__arena_take(&s->arena, r->n, sizeof *items);
    uint32_t n = 0;
    if (!items) return slm__schema_no_memory(s);
    for (const slm__regex_node *p = r->first; p; p = p->next) items[n++] = emit_regex(s, p);
    return r->kind == REGEX_SEQ ? slm__draft_seq(d, items, n) : slm__draft_alt(d, items, n);
}

/* An alternative of the whole expression: its parts without the anchors, and whether anything may come before and after. */
typedef struct alternative {
    const slm__regex_node *first, *end; /* parts; end: the one behind the last */
    bool open_begin, open_end;
    uint64_t shortest, longest;
    const slm__regex_node *variable; /* the only part whose length varies */
    uint32_t n_variable;             /* parts whose length varies         */
} alternative;

/* False: anchors elsewhere than at the ends. */
static bool look(const slm__regex_node *r, alternative *a) {
    *a = (alternative){.first = r->kind == REGEX_SEQ ? r->first : r,
                       .end = r->kind == REGEX_SEQ ? NULL : r->next,
                       .open_begin = true,
                       .open_end = true};
    for (; a->first != a->end && a->first->kind == REGEX_BEGIN; a->first = a->first->next)
        a->open_begin = false;
    const slm__regex_node *p = a->first;
    for (; p != a->end && p->kind != REGEX_END; p = p->next) {
        if (p->anchors) return false;
        a->shortest += p->shortest;
        a->longest = a->longest > UINT64_MAX - p->longest ? UINT64_MAX : a->longest + p->longest;
        if (p->shortest == p->longest) continue;
        a->variable = p;
        a->n_variable++;
    }
    const slm__regex_node *rest = p;
    for (; rest != a->end; rest = rest->next) {
        if (rest->kind != REGEX_END) return false;
        a->open_end = false;
    }
    a->end = p;
    a->n_variable += (uint32_t)a->open_begin + a->open_end;
    if (a->open_begin || a->open_end) a->longest = UINT64_MAX;
    return true;
}

static int32_t anything(slm__schema *s, uint32_t min, uint32_t max) {
    static const slm__range all[] = {{0, 0xD7FF}, {0xE000, 0x10FFFF}};
    return slm__draft_repeat(&s->draft, emit_class(&s->draft, s, all, 2), min, max);
}

/* Cut the one part that varies to what the length leaves it. False: it is no repetition of something of fixed length. */
static bool cut(const alternative *a, uint32_t min, uint32_t max, uint32_t *from, uint32_t *to) {
    const slm__regex_node *v = a->variable;
    uint64_t each = v ? v->first->shortest : 1, fixed = a->shortest - (v ? v->shortest : 0);
    if (v && (v->kind != REGEX_REPEAT || each != v->first->longest || each == 0)) return false;
    uint64_t low = min > fixed ? (min - fixed + each - 1) / each : 0;
    uint64_t high = max == UINT32_MAX ? UINT32_MAX : max < fixed ? 0 : (max - fixed) / each;
    *from = v && v->min > low ? v->min : (uint32_t)low;
    *to = v && v->max < high ? v->max : (uint32_t)high;
    if (max < fixed) *from = 1, *to = 0;
    return true;
}

/* False: it takes an automaton. */
static bool emit_alternative(slm__schema *s, const alternative *a, uint32_t min, uint32_t max,
                             int32_t *node) {
    bool inside = a->shortest >= min && (a->longest <= max || max == UINT32_MAX);
    uint32_t from = 0, to = UINT32_MAX, n = 0;
    *node = 0;
    if (a->longest < min || (a->shortest > max && max != UINT32_MAX)) return true;
    if (!inside && (a->n_variable != 1 || !cut(a, min, max, &from, &to))) return false;
    if (from > to) return true;
    for (const slm__regex_node *p = a->first; p != a->end; p = p->next) n++;
    int32_t *items = slm__arena_take(&s->arena, (uint64_t)n + 2, sizeof *items);
    if (!items) return slm__schema_no_memory(s) == 0;
    n = 0;
    if (a->open_begin) items[n++] = anything(s, inside ? 0 : from, inside ? UINT32_MAX : to);
    for (const slm__regex_node *p = a->first; p != a->end; p = p->next) {
        bool cut_here = !inside && p == a->variable;
        items[n++] = cut_here ? slm__draft_repeat(&s->draft, emit_regex(s, p->first), from, to)
                              : emit_regex(s, p);
    }
    if (a->open_end) items[n++] = anything(s, inside ? 0 : from, inside ? UINT32_MAX : to);
    *node = slm__schema_ok(s) ? slm__draft_seq(&s->draft, items, n) : 0;
    return true;
}

static bool emit_directly(slm__schema *s, const slm__regex_node *r, uint32_t min, uint32_t max,
                          int32_t *node) {
    bool many = r->kind == REGEX_ALT;
    int32_t *items = slm__arena_take(&s->arena, many ? r->n : 1, sizeof *items);
    uint32_t n = 0;
    if (!items) return slm__schema_no_memory(s) == 0;
    const slm__regex_node *end = many ? NULL : r->next;
    for (const slm__regex_node *p = many ? r->first : r; p != end; p = p->next) {
        alternative a;
        if (!look(p, &a) || !emit_alternative(s, &a, min, max, &items[n++])) return false;
    }
    *node = slm__schema_ok(s) ? slm__draft_alt(&s->draft, items, n) : 0;
    return true;
}

/* ---- Expressions of a branch ---- */

typedef struct slm__expressions {
    slm__str *texts;
    slm__schema_value **where;
    const slm__regex_node **parsed;
    const slm__recognizer **nfas; /* NULL: not built yet */
    uint32_t n;
} expressions;

static void add_expression(slm__schema *s, expressions *e, slm__str text,
                           slm__schema_value *where) {
    if (!slm__schema_spend(s, 1 + (uint64_t)e->n)) return;
    for (uint32_t i = 0; i < e->n; i++)
        if (slm__same_text(e->texts[i], text)) return;
    e->texts[e->n] = text;
    e->where[e->n++] = where;
}

static bool collect(slm__schema *s, const slm__branch *b, uint32_t max, expressions *e) {
    uint64_t most = 3 * (uint64_t)b->n;
    e->texts = slm__arena_take(&s->arena, most, sizeof *e->texts);
    e->where = slm__arena_take(&s->arena, most, sizeof *e->where);
    e->parsed = slm__arena_take(&s->arena, most, sizeof *e->parsed);
    if (!e->texts || !e->where || !e->parsed) return slm__schema_no_memory(s) != 0;
    for (uint32_t i = 0; i < b->n; i++) {
        slm__schema_value *pattern = slm__word(b->schemas[i], "pattern");
        slm__schema_value *format = slm__word(b->schemas[i], "format");
        const char *regex = format ? format_regex(format->text) : NULL;
        if (regex && max < LONGEST_EMAIL && slm__str_eq(format->text, "email")) {
            add_expression(s, e, (slm__str){short_local, strlen(short_local)}, format);
            regex = short_email;
        }
        if (pattern) add_expression(s, e, pattern->text, pattern);
        if (regex) add_expression(s, e, (slm__str){regex, strlen(regex)}, format);
    }
    for (uint32_t i = 0; i < e->n && slm__schema_ok(s); i++) {
        slm__regex_node *parsed;
        slm_error err;
        slm_status status =
            slm__regex_parse(&s->arena, e->texts[i].ptr, e->texts[i].len, &parsed, &err);
        if (status != SLM_OK) {
            slm__schema_fail(s, status, e->where[i], "%s", err.message);
            return false;
        }
        e->parsed[i] = parsed;
    }
    return slm__schema_ok(s);
}

static bool build_all(slm__schema *s, expressions *e) {
    if (e->nfas) return true;
    e->nfas = slm__arena_take(&s->arena, e->n, sizeof *e->nfas);
    if (!e->nfas) return slm__schema_no_memory(s) != 0;
    for (uint32_t i = 0; i < e->n; i++) {
        slm__recognizer *nfa;
        slm_error err;
        slm_status status = slm__recognizer_build(&s->arena, e->parsed[i], &nfa, &err);
        if (status != SLM_OK) {
            slm__schema_fail(s, status, e->where[i], "%s", err.message);
            return false;
        }
        e->nfas[i] = nfa;
    }
    return true;
}

static int32_t emit_automaton(slm__schema *s, expressions *e, uint32_t min, uint32_t max) {
    slm_error err;
    int32_t node = 0;
    if (!build_all(s, e)) return 0;
    slm_status status = slm__recognizer_emit(&s->arena, e->nfas, e->n, min, max, &s->draft,
                                             emit_class, s, &node, &s->work, &err);
    if (status != SLM_OK) return slm__schema_fail(s, status, e->where[0], "%s", err.message);
    slm__schema_suspect(s, (int32_t)s->draft.nodes[node].at, e->where[0]);
    return node;
}

static int32_t constant(slm__schema *s, const slm__branch *b, expressions *e, uint32_t min,
                        uint32_t max) {
    slm__str text = b->constant->text;
    uint32_t n = 0;
    if (!build_all(s, e)) return 0;
    for (size_t i = 0; i < text.len; i++) n += ((uint8_t)text.ptr[i] & 0xC0) != 0x80;
    if (n < min || n > max)
        return slm__schema_contradiction(s, b->constant, SLM_ERR_RANGE,
                                         "the constant has %u characters", n);
    for (uint32_t i = 0; i < e->n; i++) {
        bool fits = false;
        slm_error err;
        slm_status status =
            slm__recognizer_test(&s->arena, e->nfas[i], text.ptr, text.len, &fits, &s->work, &err);
        if (status != SLM_OK) return slm__schema_fail(s, status, e->where[i], "%s", err.message);
        if (!fits)
            return slm__schema_contradiction(s, e->where[i], SLM_ERR_FORMAT,
                                             "it does not fit the constant");
    }
    return slm__value_node(s, b->constant);
}

int32_t slm__schema_string(slm__schema *s, slm__branch *b) {
    slm__schema_value *low = NULL, *high = NULL;
    uint32_t min = slm__schema_count(b, "minLength", false, &low);
    uint32_t max = slm__schema_count(b, "maxLength", true, &high);
    expressions *e = b->expressions;
    if (!e) {
        e = b->expressions = slm__arena_take(&s->arena, 1, sizeof *e);
        if (!e) return slm__schema_no_memory(s);
        if (!collect(s, b, max, e)) return 0;
    }
    if (min > max)
        return slm__schema_contradiction(s, low, SLM_ERR_RANGE, "minLength %u and maxLength %u",
                                         min, max);
    if (b->constant) return constant(s, b, e, min, max);
    if (e->n == 0 && min == 0 && max == UINT32_MAX) return slm__any_string(s);
    if (e->n == 0) return quoted(s, slm__draft_repeat(&s->draft, any_char(&s->draft), min, max));
    int32_t node = 0;
    bool done = e->n == 1 && emit_directly(s, e->parsed[0], min, max, &node);
    if (!slm__schema_ok(s)) return 0;
    if (!done) node = emit_automaton(s, e, min, max);
    if (node == 0) return slm__schema_contradiction(s, e->where[0], SLM_ERR_FORMAT, "no text fits");
    return quoted(s, node);
}

/* ---- Keys ---- */

/* Names with a common prefix of `at` bytes, sorted: list[from .. to). What is none of them and goes on from there. As deep as a
 * name, which is why long ones are not told apart beyond KEY_DEPTH code points: there nothing may follow. */
enum { KEY_DEPTH = 200 };

static uint32_t char_at(slm__str name, size_t at, size_t *len) {
    return slm__utf8_read((const uint8_t *)name.ptr + at, name.len - at, len);
}

static int32_t any_key_char(slm__schema *s, const slm__chars *but) {
    static const slm__range raw[] = {{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0x10FFFF}};
    slm__chars rest = *but, plain = {0};
    if (!slm__chars_tidy(&s->arena, &rest) || !slm__chars_negate(&s->arena, &rest))
        return slm__schema_no_memory(s);
    for (size_t i = 0; i < SLM_COUNT(raw); i++)
        if (!slm__chars_clip(&s->arena, &rest, raw[i].first, raw[i].last, &plain))
            return slm__schema_no_memory(s);
    return slm__draft_class(&s->draft, plain.ranges, plain.n);
}

static int32_t none_of(slm__schema *s, const slm__str *list, uint32_t n, size_t at, int depth) {
    slm__draft *d = &s->draft;
    uint32_t i = 0, n_nodes = 0;
    slm__chars but = {0};
    int32_t *nodes = slm__arena_take(&s->arena, (uint64_t)n + 2, sizeof *nodes);
    if (!nodes || !slm__schema_ok(s)) return slm__schema_no_memory(s);
    if (depth > KEY_DEPTH) return 0;
    while (i < n && list[i].len == at) i++;
    if (i == 0) nodes[n_nodes++] = slm__draft_seq(d, NULL, 0); /* no name ends here */
    while (i < n) {
        size_t len, other;
        uint32_t cp = char_at(list[i], at, &len), end = i;
        while (end < n && char_at(list[end], at, &other) == cp) end++;
        if (!slm__chars_add(&s->arena, &but, cp, cp)) return slm__schema_no_memory(s);
        if (cp >= 0x20 && cp != '"' && cp != '\\') {
            slm__range same = {cp, cp};
            nodes[n_nodes++] = slm__draft_pair(d, slm__draft_class(d, &same, 1),
                                               none_of(s, list + i, end - i, at + len, depth + 1));
        }
        i = end;
    }
    slm__chars none = {0};
    int32_t more = slm__draft_repeat(d, any_key_char(s, &none), 0, UINT32_MAX);
    nodes[n_nodes++] = slm__draft_pair(d, any_key_char(s, &but), more);
    return slm__schema_ok(s) ? slm__draft_alt(d, nodes, n_nodes) : 0;
}

static bool before(slm__str a, slm__str b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.ptr, b.ptr, n) : 0;
    return c ? c < 0 : a.len < b.len;
}

static void sift(slm__str *list, uint32_t i, uint32_t n) {
    for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(list[child], list[child + 1])) child++;
        if (!before(list[i], list[child])) return;
        slm__str x = list[i];
        list[i] = list[child];
        list[child] = x;
    }
}

int32_t slm__key_node(slm__schema *s, const slm__str *names, uint32_t n) {
    slm__str *sorted = slm__arena_take(&s->arena, n, sizeof *sorted);
    if (!sorted) return slm__schema_no_memory(s);
    if (n) memcpy(sorted, names, n * sizeof *sorted);
    for (uint32_t i = n / 2; i-- > 0;) sift(sorted, i, n); /* heapsort */
    for (uint32_t last = n; last-- > 1;) {
        slm__str x = sorted[0];
        sorted[0] = sorted[last];
        sorted[last] = x;
        sift(sorted, 0, last);
    }
    return quoted(s, none_of(s, sorted, n, 0, 0));
}
