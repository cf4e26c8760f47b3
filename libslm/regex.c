/* Reading regular expressions. */
#include "regex.h"

#include "unicode.h"

typedef struct reader {
    const uint8_t *text;
    size_t n, at;
    int depth;
    slm__arena *arena;
    slm_error *err;
} reader;

static slm_status fail(reader *r, slm_status status, size_t at, const char *what) {
    return slm__fail(r->err, status, "byte %zu: %s", at, what);
}

static slm_status no_memory(reader *r) {
    return slm__fail(r->err, r->arena->limited ? SLM_ERR_LIMIT : SLM_ERR_NOMEM,
                     "no memory for a regular expression");
}

static bool peek(const reader *r, char c) { return r->at < r->n && r->text[r->at] == (uint8_t)c; }

static bool one_of(const char *set, uint8_t c) { return c != 0 && strchr(set, c) != NULL; }

static bool take(reader *r, const char *word) {
    size_t n = strlen(word);
    if (r->n - r->at < n || memcmp(r->text + r->at, word, n) != 0) return false;
    r->at += n;
    return true;
}

/* ---- Nodes ---- */

static slm__regex_node *new_node(reader *r, slm__regex_kind kind) {
    slm__regex_node *node = slm__arena_take(r->arena, 1, sizeof *node);
    if (node) {
        node->kind = kind;
        node->product = 1;
    }
    return node;
}

static uint64_t add_lengths(uint64_t a, uint64_t b) {
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t times(uint64_t a, uint32_t n) {
    uint64_t product;
    if (a == 0 || n == 0) return 0;
    if (n == UINT32_MAX || !slm__mul(a, n, &product)) return UINT64_MAX;
    return product;
}

/* Append a part and keep the lengths. `last` is the youngest part. */
static void append(slm__regex_node *parent, slm__regex_node **last, slm__regex_node *part) {
    bool first = parent->n++ == 0;
    if (first)
        parent->first = part;
    else
        (*last)->next = part;
    *last = part;
    parent->anchors |= part->anchors;
    if (part->product > parent->product) parent->product = part->product;
    if (parent->kind == REGEX_SEQ) {
        parent->shortest = add_lengths(parent->shortest, part->shortest);
        parent->longest = add_lengths(parent->longest, part->longest);
    } else {
        if (first || part->shortest < parent->shortest) parent->shortest = part->shortest;
        if (first || part->longest > parent->longest) parent->longest = part->longest;
    }
}

static slm_status class_node(reader *r, slm__chars *set, slm__regex_node **out) {
    slm__regex_node *node = new_node(r, REGEX_CLASS);
    if (!node || !slm__chars_tidy(r->arena, set)) return no_memory(r);
    node->ranges = set->ranges;
    node->n = set->n;
    node->shortest = node->longest = 1;
    *out = node;
    return SLM_OK;
}

/* ---- Classes ---- */

static const slm__range digits[] = {{'0', '9'}};
static const slm__range word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const slm__range space[] = {
    {'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
    {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
static const slm__range line_ends[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

static const struct {
    char letter;
    bool negated;
    const slm__range *ranges;
    uint32_t n;
} class_escapes[] = {
    {'d', false, digits, SLM_COUNT(digits)}, {'D', true, digits, SLM_COUNT(digits)},
    {'w', false, word, SLM_COUNT(word)},     {'W', true, word, SLM_COUNT(word)},
    {'s', false, space, SLM_COUNT(space)},   {'S', true, space, SLM_COUNT(space)},
};

static bool add_ranges(reader *r, slm__chars *set, const slm__range *ranges, uint32_t n,
                       bool negated) {
    slm__chars part = {0};
    for (uint32_t i = 0; i < n; i++)
        if (!slm__chars_add(r->arena, &part, ranges[i].first, ranges[i].last)) return false;
    if (negated && !slm__chars_negate(r->arena, &part)) return false;
    for (uint32_t i = 0; i < part.n; i++)
        if (!slm__chars_add(r->arena, set, part.ranges[i].first, part.ranges[i].last)) return false;
    return true;
}

/* ---- Escapes ---- */

/* Exactly `n` hexadecimal digits; -1 if they are not there. */
static int64_t read_hex(reader *r, int n) {
    int64_t v = 0;
    for (int i = 0; i < n; i++) {
        int digit = r->at < r->n ? slm__hex_digit(r->text[r->at]) : -1;
        if (digit < 0) return -1;
        v = v * 16 + digit;
        r->at++;
    }
    return v;
}

/* Behind "\u{": -1 if no code point ends with "}". */
static int64_t read_braced(reader *r) {
    int64_t v = 0;
    size_t begin = r->at;
    while (r->at < r->n && slm__hex_digit(r->text[r->at]) >= 0 && v <= 0x10FFFF)
        v = v * 16 + slm__hex_digit(r->text[r->at++]);
    return r->at > begin && v <= 0x10FFFF && take(r, "}") ? v : -1;
}

/* Behind "\u". A surrogate takes a second escape; half of a pair is no code point of a value. */
static int64_t read_unicode(reader *r) {
    if (take(r, "{")) return read_braced(r);
    int64_t cp = read_hex(r, 4);
    if (cp < 0xD800 || cp > 0xDBFF || !take(r, "\\u")) return cp;
    int64_t low = read_hex(r, 4);
    if (low < 0xDC00 || low > 0xDFFF) return -1;
    return 0x10000 + ((cp - 0xD800) << 10) + (low - 0xDC00);
}

/* Behind "\": a single character; *cp -1: it is no such escape, and nothing was read but its letter. */
static slm_status read_escape(reader *r, bool in_class, int64_t *cp) {
    static const char letters[] = "tnvfr0", means[] = "\t\n\v\f\r";
    size_t begin = r->at;
    if (r->at == r->n) return fail(r, SLM_ERR_FORMAT, begin, "\\ at the end");
    uint8_t c = r->text[r->at++];
    const char *letter = c ? strchr(letters, c) : NULL;
    *cp = -1;
    if (letter) {
        *cp = means[letter - letters];
        if (c != '0' || r->at == r->n || r->text[r->at] < '0' || r->text[r->at] > '9')
            return SLM_OK;
        return fail(r, SLM_ERR_UNSUPPORTED, begin, "a number behind \\");
    }
    if (c >= '1' && c <= '9') return fail(r, SLM_ERR_UNSUPPORTED, begin, "a backreference");
    if (c == 'k') return fail(r, SLM_ERR_UNSUPPORTED, begin, "a backreference");
    if (c == 'p' || c == 'P') return fail(r, SLM_ERR_UNSUPPORTED, begin, "\\p");
    if (in_class && c == 'b') {
        *cp = '\b';
    } else if (c == 'b' || c == 'B') {
        return fail(r, SLM_ERR_UNSUPPORTED, begin, "a word boundary");
    } else if (c == 'x' || c == 'u') {
        *cp = c == 'x' ? read_hex(r, 2) : read_unicode(r);
        if (*cp < 0) return fail(r, SLM_ERR_FORMAT, begin, "no hexadecimal code point behind \\");
    } else if (c == 'c' && r->at < r->n && ((r->text[r->at] | 32) >= 'a') &&
               ((r->text[r->at] | 32) <= 'z')) {
        *cp = r->text[r->at++] & 31;
    } else if (c < 0x80 && c > 0x20 && !(c >= '0' && c <= '9') &&
               !((c | 32) >= 'a' && (c | 32) <= 'z')) {
        *cp = c; /* punctuation */
    } else if (!one_of("dDwWsS", c)) {
        return fail(r, SLM_ERR_FORMAT, begin, "an unknown escape");
    }
    return SLM_OK;
}

static int64_t read_char(reader *r) {
    size_t len;
    uint32_t cp = slm__utf8_read(r->text + r->at, r->n - r->at, &len);
    r->at += len;
    return cp;
}

/* \d and so on; the letter has just been read. */
static bool add_class_escape(reader *r, slm__chars *set) {
    char letter = (char)r->text[r->at - 1];
    for (size_t i = 0; i < SLM_COUNT(class_escapes); i++) {
        if (class_escapes[i].letter == letter)
            return add_ranges(r, set, class_escapes[i].ranges, class_escapes[i].n,
                              class_escapes[i].negated);
    }
    return false;
}

/* One end of a range, or a class: then *cp is -1 and it has been added. */
static slm_status read_class_item(reader *r, slm__chars *set, int64_t *cp) {
    if (!take(r, "\\")) {
        *cp = read_char(r);
        return SLM_OK;
    }
    SLM_TRY(read_escape(r, true, cp));
    if (*cp < 0 && !add_class_escape(r, set)) return no_memory(r);
    return SLM_OK;
}

/* Behind "[". */
static slm_status read_class(reader *r, slm__regex_node **out) {
    slm__chars set = {0};
    size_t begin = r->at - 1;
    bool negated = take(r, "^");
    while (!take(r, "]")) {
        if (r->at == r->n) return fail(r, SLM_ERR_FORMAT, begin, "[ without ]");
        int64_t first, last;
        SLM_TRY(read_class_item(r, &set, &first));
        last = first;
        size_t dash = r->at;
        if (peek(r, '-') && r->at + 1 < r->n && r->text[r->at + 1] != ']') {
            r->at++;
            SLM_TRY(read_class_item(r, &set, &last));
            if (first < 0 || last < first)
                return fail(r, SLM_ERR_FORMAT, dash, "a range that does not rise");
        }
        if (first >= 0 && !slm__chars_add(r->arena, &set, (uint32_t)first, (uint32_t)last))
            return no_memory(r);
    }
    if (negated && !(slm__chars_tidy(r->arena, &set) && slm__chars_negate(r->arena, &set)))
        return no_memory(r);
    return class_node(r, &set, out);
}

/* ---- Repetitions ---- */

/* A number; -1: none here. Capped above the limit. */
static int64_t read_number(reader *r) {
    int64_t v = -1;
    while (r->at < r->n && r->text[r->at] >= '0' && r->text[r->at] <= '9') {
        v = (v < 0 ? 0 : v * 10) + (r->text[r->at++] - '0');
        if (v > SLM__REGEX_COUNT) v = SLM__REGEX_COUNT + 1;
    }
    return v;
}

/* *found: there is one at the place, from *min to *max times. */
static slm_status read_count(reader *r, bool *found, uint32_t *min, uint32_t *max) {
    size_t begin = r->at;
    *found = true;
    *min = 0;
    *max = UINT32_MAX;
    if (take(r, "*")) {
    } else if (take(r, "+")) {
        *min = 1;
    } else if (take(r, "?")) {
        *max = 1;
    } else if (take(r, "{")) {
        int64_t low = read_number(r), high = low;
        if (low >= 0 && take(r, ",")) high = peek(r, '}') ? UINT32_MAX : read_number(r);
        if (low < 0 || high < 0 || !take(r, "}"))
            return fail(r, SLM_ERR_FORMAT, begin, "{ is not followed by a count and }");
        if (low > SLM__REGEX_COUNT || (high > SLM__REGEX_COUNT && high != UINT32_MAX))
            return slm__fail(r->err, SLM_ERR_LIMIT, "byte %zu: a count above %d", begin,
                             SLM__REGEX_COUNT);
        if (low > high)
            return fail(r, SLM_ERR_FORMAT, begin, "a count whose end is below its begin");
        *min = (uint32_t)low;
        *max = (uint32_t)high;
    } else {
        *found = false;
    }
    if (*found) take(r, "?"); /* lazy: the same values */
    return SLM_OK;
}

static slm_status read_repeat(reader *r, slm__regex_node **node) {
    size_t begin = r->at;
    bool found;
    uint32_t min, max;
    SLM_TRY(read_count(r, &found, &min, &max));
    if (!found) return SLM_OK;
    if ((*node)->anchors) return fail(r, SLM_ERR_UNSUPPORTED, begin, "a repeated ^ or $");
    slm__regex_node *repeat = new_node(r, REGEX_REPEAT);
    if (!repeat) return no_memory(r);
    repeat->first = *node;
    repeat->n = 1;
    repeat->min = min;
    repeat->max = max;
    uint64_t count = max == UINT32_MAX ? min : max;
    repeat->product = (*node)->product * (count ? count : 1);
    if (repeat->product > SLM__REGEX_PRODUCT)
        return slm__fail(r->err, SLM_ERR_LIMIT,
                         "byte %zu: counts inside of each other that multiply to more than %d",
                         begin, SLM__REGEX_PRODUCT);
    repeat->shortest = times((*node)->shortest, min);
    repeat->longest = times((*node)->longest, max);
    *node = repeat;
    if (r->at < r->n && one_of("*+?{", r->text[r->at]))
        return fail(r, SLM_ERR_FORMAT, r->at, "a count of a count");
    return SLM_OK;
}

/* ---- Structure ---- */

static slm_status read_alternatives(reader *r, slm__regex_node **out);

/* Behind "(". */
static slm_status read_group(reader *r, slm__regex_node **out) {
    size_t begin = r->at - 1;
    if (take(r, "?")) {
        if (take(r, "=") || take(r, "!") || take(r, "<=") || take(r, "<!"))
            return fail(r, SLM_ERR_UNSUPPORTED, begin, "lookaround");
        if (take(r, "<") || take(r, "P<")) {
            while (r->at < r->n && !peek(r, '>')) r->at++;
            if (!take(r, ">")) return fail(r, SLM_ERR_FORMAT, begin, "(?< without >");
        } else if (!take(r, ":")) {
            return fail(r, SLM_ERR_UNSUPPORTED, begin, "a group of this kind");
        }
    }
    if (++r->depth > SLM__REGEX_DEPTH)
        return slm__fail(r->err, SLM_ERR_LIMIT, "byte %zu: more than %d groups inside each other",
                         begin, SLM__REGEX_DEPTH);
    SLM_TRY(read_alternatives(r, out));
    r->depth--;
    return take(r, ")") ? SLM_OK : fail(r, SLM_ERR_FORMAT, begin, "( without )");
}

static slm_status read_anchor(reader *r, slm__regex_kind kind, slm__regex_node **out) {
    *out = new_node(r, kind);
    if (!*out) return no_memory(r);
    (*out)->anchors = true;
    return SLM_OK;
}

static slm_status read_atom(reader *r, slm__regex_node **out) {
    size_t begin = r->at;
    slm__chars set = {0};
    int64_t cp = -1;
    if (take(r, "(")) return read_group(r, out);
    if (take(r, "[")) return read_class(r, out);
    if (take(r, "^")) return read_anchor(r, REGEX_BEGIN, out);
    if (take(r, "$")) return read_anchor(r, REGEX_END, out);
    if (take(r, ".")) {
        if (!add_ranges(r, &set, line_ends, SLM_COUNT(line_ends), true)) return no_memory(r);
        return class_node(r, &set, out);
    }
    if (one_of("*+?{}]", r->text[r->at]))
        return fail(r, SLM_ERR_FORMAT, begin, "a character that needs \\ before it");
    if (!take(r, "\\")) {
        cp = read_char(r);
    } else {
        SLM_TRY(read_escape(r, false, &cp));
        if (cp < 0 && !add_class_escape(r, &set)) return no_memory(r);
    }
    if (cp >= 0 && !slm__chars_add(r->arena, &set, (uint32_t)cp, (uint32_t)cp)) return no_memory(r);
    return class_node(r, &set, out);
}

static slm_status read_sequence(reader *r, slm__regex_node **out) {
    slm__regex_node *seq = new_node(r, REGEX_SEQ), *last = NULL;
    if (!seq) return no_memory(r);
    while (r->at < r->n && !peek(r, '|') && !peek(r, ')')) {
        slm__regex_node *part;
        SLM_TRY(read_atom(r, &part));
        SLM_TRY(read_repeat(r, &part));
        append(seq, &last, part);
    }
    *out = seq->n == 1 ? seq->first : seq;
    return SLM_OK;
}

/* Called again for each group, SLM__REGEX_DEPTH deep at most. */
static slm_status read_alternatives(reader *r, slm__regex_node **out) {
    slm__regex_node *alt = new_node(r, REGEX_ALT), *last = NULL;
    if (!alt) return no_memory(r);
    do {
        slm__regex_node *seq = NULL;
        SLM_TRY(read_sequence(r, &seq));
        append(alt, &last, seq);
    } while (take(r, "|"));
    *out = alt->n == 1 ? alt->first : alt;
    return SLM_OK;
}

slm_status slm__regex_parse(slm__arena *a, const char *text, size_t n, slm__regex_node **out,
                            slm_error *err) {
    reader r = {.text = (const uint8_t *)text, .n = n, .arena = a, .err = err};
    SLM_TRY(read_alternatives(&r, out));
    return r.at == n ? SLM_OK : fail(&r, SLM_ERR_FORMAT, r.at, ") without (");
}
