/* GBNF into the tree of rules. Groups are kept on a stack of their own; what is wrong is said with line and column. */
#include "automaton.h"
#include "unicode.h"

enum {
    MAX_TEXT = 1 << 20,
    MAX_DEPTH = 256,
    NAME_HEADS = 1 << 16,
    MAX_COMPARED = 1 << 24, /* names of one place in the table: more is a text made for that */
    MAX_CODE_POINT = 0x10ffff,
};

/* The alternatives of a group so far, and the items of the one that is being read, begin there on `nodes`: first all alternatives,
 * then the items. */
typedef struct group {
    uint32_t begin, items;
    size_t at; /* of the parenthesis */
} group;

typedef struct rule_name {
    size_t at, n; /* where it was first named */
    int32_t rule;
    uint32_t next; /* with the same hash, number + 1 */
    bool defined;
} rule_name;

typedef struct parser {
    const uint8_t *text;
    size_t n, at;
    const slm_allocator *a;
    slm__rules *r;
    slm_error *err;
    SLM_VEC(int32_t) nodes;
    SLM_VEC(rule_name) names;
    SLM_VEC(slm__range) ranges;
    SLM_VEC(char) bytes;
    uint32_t *heads, n_compared;
    group groups[MAX_DEPTH + 1];
    uint32_t depth; /* 0: in no parentheses */
} parser;

/* ---- Errors ---- */

static slm_status no_memory(parser *p) {
    return slm__fail(p->err, SLM_ERR_NOMEM, "no memory for a grammar");
}

/* "line:column: what", of the byte at `at`. */
static slm_status fail_at(parser *p, size_t at, slm_status status, const char *what) {
    unsigned long long line = 1, column = 1;
    for (size_t i = 0; i < at; i++) {
        column += (p->text[i] & 0xc0) != 0x80;
        if (p->text[i] != '\n') continue;
        line++;
        column = 1;
    }
    return slm__fail(p->err, status, "%llu:%llu: %s", line, column, what);
}

static slm_status wrong(parser *p, const char *what) {
    return fail_at(p, p->at, SLM_ERR_FORMAT, what);
}

/* The builder's error, if it has one, with the place. */
static slm_status checked(parser *p, size_t at) {
    slm_error e = {0};
    slm_status s = slm__rules_status(p->r, &e);
    return s == SLM_OK ? s : fail_at(p, at, s, e.message);
}

/* ---- Characters ---- */

static int peek(const parser *p) { return p->at < p->n ? p->text[p->at] : -1; }

static bool take(parser *p, int c) {
    if (peek(p) != c) return false;
    p->at++;
    return true;
}

static bool is_digit(int c) { return c >= '0' && c <= '9'; }

static bool is_word(int c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '-';
}

/* Spaces and comments; ends of lines too, if they mean nothing here. */
static void skip_space(parser *p, bool lines) {
    for (int c;
         (c = peek(p)) == ' ' || c == '\t' || c == '#' || (lines && (c == '\r' || c == '\n'));) {
        if (c != '#') {
            p->at++;
            continue;
        }
        while (peek(p) >= 0 && peek(p) != '\r' && peek(p) != '\n') p->at++;
    }
}

/* Behind the backslash, which is at p->at. */
static slm_status read_escape(parser *p, uint32_t *cp) {
    static const struct {
        char name;
        uint8_t n_digits, value;
    } escapes[] = {{'x', 2, 0},    {'u', 4, 0},    {'U', 8, 0},     {'t', 0, '\t'},
                   {'r', 0, '\r'}, {'n', 0, '\n'}, {'\\', 0, '\\'}, {'"', 0, '"'},
                   {'[', 0, '['},  {']', 0, ']'},  {'-', 0, '-'}};
    int c = p->at + 1 < p->n ? p->text[p->at + 1] : -1;
    size_t i = 0;
    while (i < SLM_COUNT(escapes) && escapes[i].name != c) i++;
    if (i == SLM_COUNT(escapes)) return wrong(p, "there is no such escape");
    uint32_t value = escapes[i].value;
    for (int k = 0; k < escapes[i].n_digits; k++) {
        size_t at = p->at + 2 + (size_t)k;
        int digit = at < p->n ? slm__hex_digit(p->text[at]) : -1;
        if (digit < 0) return wrong(p, "an escape of too few hexadecimal digits");
        value = value << 4 | (uint32_t)digit;
    }
    if (value > MAX_CODE_POINT) return wrong(p, "an escape above U+10FFFF");
    p->at += 2u + escapes[i].n_digits;
    *cp = value;
    return SLM_OK;
}

static slm_status read_char(parser *p, uint32_t *cp) {
    if (peek(p) < 0) return wrong(p, "the grammar ends inside of a literal or class");
    if (peek(p) == '\\') return read_escape(p, cp);
    size_t len;
    if (slm__utf8_strict(p->text + p->at, p->n - p->at) <= 0) return wrong(p, "no valid UTF-8");
    *cp = slm__utf8_read(p->text + p->at, p->n - p->at, &len);
    p->at += len;
    return SLM_OK;
}

/* ---- Items ---- */

static slm_status push(parser *p, int32_t node, size_t at) {
    SLM_TRY(checked(p, at));
    if (!SLM_ROOM(p->a, &p->nodes, 1)) return no_memory(p);
    p->nodes.p[p->nodes.n++] = node;
    return SLM_OK;
}

static slm_status read_literal(parser *p) {
    size_t begin = p->at++;
    p->bytes.n = 0;
    while (!take(p, '"')) {
        uint32_t cp;
        size_t at = p->at;
        SLM_TRY(read_char(p, &cp));
        if (cp >= 0xd800 && cp < 0xe000)
            return fail_at(p, at, SLM_ERR_FORMAT, "half of a surrogate pair");
        if (!SLM_ROOM(p->a, &p->bytes, 4)) return no_memory(p);
        p->bytes.n += (uint32_t)slm__utf8_write(cp, (uint8_t *)p->bytes.p + p->bytes.n);
    }
    return push(p, slm__rules_text(p->r, p->bytes.p, p->bytes.n), begin);
}

static slm_status read_class(parser *p) {
    size_t begin = p->at++;
    bool negated = take(p, '^');
    p->ranges.n = 0;
    while (!take(p, ']')) {
        slm__range x;
        size_t at = p->at;
        SLM_TRY(read_char(p, &x.first));
        x.last = x.first;
        if (peek(p) == '-' && p->at + 1 < p->n && p->text[p->at + 1] != ']') {
            p->at++;
            SLM_TRY(read_char(p, &x.last));
        }
        if (x.first > x.last)
            return fail_at(p, at, SLM_ERR_FORMAT, "a range that ends before it begins");
        if (!SLM_ROOM(p->a, &p->ranges, 1)) return no_memory(p);
        p->ranges.p[p->ranges.n++] = x;
    }
    if (p->ranges.n == 0) return fail_at(p, begin, SLM_ERR_FORMAT, "an empty class");
    return push(p, slm__rules_class(p->r, p->ranges.p, p->ranges.n, negated), begin);
}

static slm_status read_number(parser *p, uint32_t *out) {
    if (!is_digit(peek(p))) return wrong(p, "expected a number");
    uint64_t v = 0;
    size_t begin = p->at;
    for (; is_digit(peek(p)); p->at++) {
        v = v * 10 + (uint64_t)(peek(p) - '0');
        if (v >= UINT32_MAX)
            return fail_at(p, begin, SLM_ERR_LIMIT, "a number of 4294967295 or more");
    }
    *out = (uint32_t)v;
    return SLM_OK;
}

/* <[id]> or <text>: the text is that of the token, with the angle brackets. */
static slm_status read_token(parser *p) {
    size_t begin = p->at;
    bool negated = take(p, '!');
    size_t name = p->at;
    if (!take(p, '<')) return wrong(p, "expected a token, <text> or <[id]>");
    uint32_t id = 0;
    if (take(p, '[')) {
        SLM_TRY(read_number(p, &id));
        if (!take(p, ']') || !take(p, '>'))
            return wrong(p, "expected ]> behind the number of a token");
        return push(p, slm__rules_token(p->r, id, NULL, 0, negated), begin);
    }
    while (peek(p) >= 0 && peek(p) != '>' && peek(p) != '\n') p->at++;
    if (!take(p, '>')) return wrong(p, "expected > behind the text of a token");
    const char *text = (const char *)p->text + name;
    return push(p, slm__rules_token(p->r, 0, text, p->at - name, negated), begin);
}

/* ---- Names ---- */

/* The word that begins here, in *found; a new one is a rule to be defined. */
static slm_status read_name(parser *p, rule_name **found) {
    size_t begin = p->at;
    while (is_word(peek(p))) p->at++;
    size_t n = p->at - begin;
    if (n == 0) return wrong(p, "expected the name of a rule");
    uint32_t *head = &p->heads[slm__hash(p->text + begin, n) % NAME_HEADS];
    for (uint32_t i = *head; i != 0; i = p->names.p[i - 1].next) {
        *found = &p->names.p[i - 1];
        if ((*found)->n == n && memcmp(p->text + (*found)->at, p->text + begin, n) == 0)
            return SLM_OK;
        if (++p->n_compared > MAX_COMPARED)
            return fail_at(p, begin, SLM_ERR_LIMIT, "too many names of equal hashes");
    }
    if (!SLM_ROOM(p->a, &p->names, 1)) return no_memory(p);
    int32_t rule = slm__rules_new(p->r, (const char *)p->text + begin, n);
    SLM_TRY(checked(p, begin));
    *found = &p->names.p[p->names.n++];
    **found = (rule_name){begin, n, rule, *head, false};
    *head = p->names.n;
    return SLM_OK;
}

static slm_status read_reference(parser *p) {
    rule_name *name;
    size_t begin = p->at;
    SLM_TRY(read_name(p, &name));
    return push(p, slm__rules_ref(p->r, name->rule), begin);
}

/* ---- Repetitions and groups ---- */

static slm_status read_counts(parser *p, bool lines, uint32_t *min, uint32_t *max) {
    p->at++;
    skip_space(p, lines);
    SLM_TRY(read_number(p, min));
    *max = *min;
    skip_space(p, lines);
    if (take(p, ',')) {
        *max = UINT32_MAX;
        skip_space(p, lines);
        if (is_digit(peek(p))) SLM_TRY(read_number(p, max));
        skip_space(p, lines);
    }
    return take(p, '}') ? SLM_OK : wrong(p, "expected } or , or a number");
}

static slm_status read_repeat(parser *p, bool lines) {
    size_t begin = p->at;
    int c = peek(p);
    uint32_t min = c == '+', max = c == '?' ? 1 : UINT32_MAX;
    if (p->nodes.n == p->groups[p->depth].items) return wrong(p, "there is nothing to repeat");
    if (c != '{')
        p->at++;
    else
        SLM_TRY(read_counts(p, lines, &min, &max));
    if (min > max) return fail_at(p, begin, SLM_ERR_FORMAT, "at least more times than at most");
    int32_t node = slm__rules_repeat(p->r, p->nodes.p[p->nodes.n - 1], min, max);
    SLM_TRY(checked(p, begin));
    p->nodes.p[p->nodes.n - 1] = node;
    return SLM_OK;
}

static slm_status open_group(parser *p, size_t at) {
    if (p->depth > MAX_DEPTH) return fail_at(p, at, SLM_ERR_LIMIT, "groups more than 256 deep");
    p->groups[p->depth] = (group){p->nodes.n, p->nodes.n, at};
    return SLM_OK;
}

/* The items of this alternative become one node, behind the other alternatives. */
static slm_status end_alternative(parser *p) {
    group *g = &p->groups[p->depth];
    int32_t *items = p->nodes.p ? p->nodes.p + g->items : NULL;
    int32_t node = slm__rules_seq(p->r, items, p->nodes.n - g->items);
    p->nodes.n = g->items;
    SLM_TRY(push(p, node, p->at));
    g->items = p->nodes.n;
    return SLM_OK;
}

static slm_status end_group(parser *p, int32_t *node) {
    SLM_TRY(end_alternative(p));
    const group *g = &p->groups[p->depth];
    *node = slm__rules_alt(p->r, p->nodes.p + g->begin, p->nodes.n - g->begin);
    p->nodes.n = g->begin;
    return checked(p, g->at);
}

/* ---- Rules ---- */

/* One item or sign. *more is false at what belongs to no sequence. */
static slm_status read_item(parser *p, bool *more) {
    int c = peek(p);
    bool lines = p->depth > 0;
    slm_status s = SLM_OK;
    if (c == '"')
        s = read_literal(p);
    else if (c == '[')
        s = read_class(p);
    else if (c == '<' || c == '!')
        s = read_token(p);
    else if (is_word(c))
        s = read_reference(p);
    else if (c == '*' || c == '+' || c == '?' || c == '{')
        s = read_repeat(p, lines);
    else if (c == '.')
        s = push(p, slm__rules_class(p->r, NULL, 0, true), p->at++);
    else if (c == '|') {
        p->at++;
        lines = true;
        s = end_alternative(p);
    } else if (c == '(') {
        p->depth++;
        lines = true;
        s = open_group(p, p->at++);
    } else if (c == ')' && p->depth > 0) {
        int32_t node;
        SLM_TRY(end_group(p, &node));
        size_t at = p->groups[p->depth--].at;
        p->at++;
        lines = p->depth > 0;
        s = push(p, node, at);
    } else {
        *more = false;
    }
    if (*more && s == SLM_OK) skip_space(p, lines);
    return s;
}

static slm_status read_rule(parser *p) {
    rule_name *name;
    size_t begin = p->at;
    SLM_TRY(read_name(p, &name));
    if (name->defined) return fail_at(p, begin, SLM_ERR_FORMAT, "a rule that is defined already");
    name->defined = true;
    int32_t rule = name->rule, node; /* the name may move */
    skip_space(p, false);
    if (!take(p, ':') || !take(p, ':') || !take(p, '=')) return wrong(p, "expected ::=");
    skip_space(p, true);
    p->depth = 0;
    SLM_TRY(open_group(p, begin));
    for (bool more = true; more;) SLM_TRY(read_item(p, &more));
    if (p->depth > 0) {
        if (peek(p) >= 0) return wrong(p, "expected an item, | or )");
        return fail_at(p, p->groups[p->depth].at, SLM_ERR_FORMAT, "a group that does not end");
    }
    if (peek(p) >= 0 && peek(p) != '\r' && peek(p) != '\n')
        return wrong(p, "expected an item, | or the end of the line");
    SLM_TRY(end_group(p, &node));
    slm__rules_define(p->r, rule, node);
    SLM_TRY(checked(p, begin));
    skip_space(p, true);
    return SLM_OK;
}

static slm_status read_rules(parser *p, int32_t *root) {
    p->heads = slm__alloc_array(p->a, NAME_HEADS, sizeof *p->heads);
    if (!p->heads) return no_memory(p);
    for (skip_space(p, true); p->at < p->n;) SLM_TRY(read_rule(p));
    for (uint32_t i = 0; i < p->names.n; i++) {
        const rule_name *x = &p->names.p[i];
        if (!x->defined) return fail_at(p, x->at, SLM_ERR_FORMAT, "a rule that is not defined");
        if (x->n == 4 && memcmp(p->text + x->at, "root", 4) == 0) *root = x->rule;
    }
    return *root > 0 ? SLM_OK : fail_at(p, 0, SLM_ERR_FORMAT, "there is no rule named root");
}

static slm_status parse(parser *p, slm_grammar **out) {
    int32_t root = 0;
    SLM_TRY(slm__rules_create(p->a, &p->r, p->err));
    SLM_TRY(read_rules(p, &root));
    return slm__grammar_compile(p->r, root, out, p->err);
}

slm_status slm_grammar_parse(const char *text, size_t n_bytes, const slm_allocator *allocator,
                             slm_grammar **out, slm_error *err) {
    slm__clear(err);
    if (!out) return slm__fail(err, SLM_ERR_ARGUMENT, "out is NULL");
    *out = NULL;
    if (!text && n_bytes > 0) return slm__fail(err, SLM_ERR_ARGUMENT, "text is NULL");
    slm_allocator a = allocator ? *allocator : (slm_allocator){0};
    SLM_TRY(slm__check_allocator(&a, err));
    if (n_bytes > MAX_TEXT)
        return slm__fail(err, SLM_ERR_LIMIT, "a grammar of %zu bytes, expected at most %d", n_bytes,
                         MAX_TEXT);
    parser *p = slm__alloc(&a, sizeof *p);
    if (!p) return slm__fail(err, SLM_ERR_NOMEM, "no memory for a grammar");
    p->text = (const uint8_t *)text;
    p->n = n_bytes;
    p->a = &a;
    p->err = err;
    slm_status s = parse(p, out);
    slm__rules_free(p->r);
    slm__free(&a, p->nodes.p);
    slm__free(&a, p->names.p);
    slm__free(&a, p->ranges.p);
    slm__free(&a, p->bytes.p);
    slm__free(&a, p->heads);
    slm__free(&a, p);
    return s;
}
