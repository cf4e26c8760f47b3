/*
 * The source of a template -> tokens. Text keeps what the tags around it leave: a dash takes away all white space on its
 * side, a block or comment the newline behind it (trim_blocks) and the blanks between it and the start of its line (lstrip_blocks), a plus
 * nothing.
 */
#include "jinja.h"
#include "unicode.h"

typedef struct lexer {
    jinja *j;
    const char *s;
    uint32_t n, at;
    bool line_start; /* what was read last ended with a newline, or nothing was read */
    char open[JINJA_DEPTH];
    uint32_t n_open; /* brackets */
} lexer;

static bool looking_at(const lexer *l, uint32_t at, const char *s) {
    size_t n = strlen(s);
    return l->n - at >= n && memcmp(l->s + at, s, n) == 0;
}

static uint32_t skip_space(const lexer *l, uint32_t at) {
    for (uint32_t len; at < l->n; at += len) {
        if (!slm__j_is_space(slm__j_char(l->s + at, l->n - at, &len))) break;
    }
    return at;
}

static bool error_at(lexer *l, uint32_t at, const char *message) {
    l->j->pos = at;
    return slm__j_fail(l->j, SLM_ERR_UNSUPPORTED, "%s", message);
}

static jtoken *add_token(lexer *l, jtoken_type type, uint32_t pos) {
    jinja *j = l->j;
    if (!slm__j_step(j, 1)) return NULL;
    if (j->n_tokens == j->token_capacity) {
        uint32_t capacity = j->token_capacity ? 2 * j->token_capacity : 256;
        jtoken *tokens = slm__j_array(j, capacity, sizeof *tokens);
        if (!tokens) return NULL;
        if (j->n_tokens) memcpy(tokens, j->tokens, j->n_tokens * sizeof *tokens);
        j->tokens = tokens;
        j->token_capacity = capacity;
    }
    jtoken *t = &j->tokens[j->n_tokens++];
    *t = (jtoken){.type = (uint8_t)type, .pos = pos};
    return t;
}

static bool add_data(lexer *l, uint32_t begin, uint32_t end) {
    if (begin == end) return true;
    jtoken *t = add_token(l, T_DATA, begin);
    return t && slm__j_outside(l->j, l->s + begin, end - begin, false, &t->value);
}

/* ---- Text and the start of tags ---- */

/* Where the text from `begin` to the tag at `tag` ends, by the sign of the tag ('-', '+' or 0). */
static uint32_t text_end(const lexer *l, uint32_t begin, uint32_t tag, char sign, bool variable) {
    uint32_t end = tag;
    if (sign == '-') {
        for (uint32_t at = begin, len; at < tag; at += len) {
            if (at == begin) end = begin;
            if (!slm__j_is_space(slm__j_char(l->s + at, tag - at, &len))) end = at + len;
        }
        return end;
    }
    if (sign == '+' || variable) return tag;
    uint32_t line = tag;
    while (line > begin && l->s[line - 1] != '\n') line--;
    bool at_line = line > begin || l->line_start;
    return at_line && skip_space(l, line) >= tag ? line : tag;
}

static char sign_at(const lexer *l, uint32_t at) {
    return at < l->n && (l->s[at] == '-' || l->s[at] == '+') ? l->s[at] : 0;
}

/* Behind a tag's end at `at` ("%}", "-%}", "+%}"); 0 if there is none. `trim`: the newline behind it goes, too. */
static uint32_t tag_end(const lexer *l, uint32_t at, const char *close, bool trim) {
    if (at < l->n && l->s[at] == '-' && looking_at(l, at + 1, close))
        return skip_space(l, at + 1 + 2);
    if (trim && at < l->n && l->s[at] == '+' && looking_at(l, at + 1, close)) return at + 1 + 2;
    if (!looking_at(l, at, close)) return 0;
    at += 2;
    return trim && at < l->n && l->s[at] == '\n' ? at + 1 : at;
}

static void go_to(lexer *l, uint32_t at) {
    l->line_start = at > 0 && l->s[at - 1] == '\n';
    l->at = at;
}

static bool read_comment(lexer *l, uint32_t tag) {
    for (uint32_t at = l->at; at < l->n; at++) {
        uint32_t end = tag_end(l, at, "#}", true);
        if (!end) continue;
        go_to(l, end);
        return true;
    }
    return error_at(l, tag, "a comment without end");
}

/* Is there a block of the one word `word` at `at`; then the place behind its end, else 0. */
static uint32_t word_block(const lexer *l, uint32_t at, const char *word, bool trim) {
    at += 2;
    if (sign_at(l, at)) at++;
    at = skip_space(l, at);
    if (!looking_at(l, at, word)) return 0;
    at = skip_space(l, at + (uint32_t)strlen(word));
    if (trim) return tag_end(l, at, "%}", true);
    if (at < l->n && l->s[at] == '+') return 0;
    return tag_end(l, at, "%}", false);
}

static bool read_raw(lexer *l, uint32_t tag, uint32_t begin) {
    go_to(l, begin);
    for (uint32_t at = begin; at < l->n; at++) {
        if (!looking_at(l, at, "{%")) continue;
        if (!slm__j_step(l->j, 1)) return false;
        uint32_t end = word_block(l, at, "endraw", true);
        if (!end) continue;
        if (!add_data(l, begin, text_end(l, begin, at, sign_at(l, at + 2), false))) return false;
        go_to(l, end);
        return true;
    }
    return error_at(l, tag, "raw without endraw");
}

/* ---- Inside of tags ---- */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool is_word(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (c & 0x80);
}

/* Digits with single underscores between them: behind them; `at` itself if there are none. */
static uint32_t skip_digits(const lexer *l, uint32_t at) {
    for (uint32_t from = at; at < l->n; at++) {
        bool between = l->s[at] == '_' && at > from && l->s[at - 1] != '_' && at + 1 < l->n &&
                       is_digit(l->s[at + 1]);
        if (!is_digit(l->s[at]) && !between) break;
    }
    return at;
}

/* Behind the float that begins at `at`, or 0. */
static uint32_t float_end(const lexer *l, uint32_t at) {
    if (at > 0 && l->s[at - 1] == '.') return 0;
    uint32_t i = skip_digits(l, at), end = 0;
    if (i == at) return 0;
    if (i < l->n && l->s[i] == '.') {
        uint32_t k = skip_digits(l, i + 1);
        if (k > i + 1) i = end = k;
    }
    if (i < l->n && (l->s[i] | 0x20) == 'e') {
        uint32_t k = i + 1;
        if (k < l->n && (l->s[k] == '+' || l->s[k] == '-')) k++;
        uint32_t m = skip_digits(l, k);
        if (m > k) end = m;
    }
    return end;
}

static int digit_of(char c) {
    if (is_digit(c)) return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

static bool read_integer(lexer *l) {
    static const char bases[][2] = {{'x', 16}, {'o', 8}, {'b', 2}};
    uint32_t at = l->at, base = 10;
    for (int i = 0; i < 3 && l->s[at] == '0' && at + 2 < l->n; i++) {
        uint32_t first = at + 2 + (l->s[at + 2] == '_');
        if ((l->s[at + 1] | 0x20) != bases[i][0] || first >= l->n) continue;
        if (digit_of(l->s[first]) >= bases[i][1]) continue;
        base = (uint32_t)bases[i][1];
        at += 2;
        break;
    }
    bool zeros = base == 10 && l->s[at] == '0'; /* 012 is 0 and 12 */
    int64_t v = 0;
    for (; at < l->n; at++) {
        if (l->s[at] == '_' && at + 1 < l->n &&
            (uint32_t)digit_of(l->s[at + 1]) < (zeros ? 1 : base))
            continue;
        uint32_t d = (uint32_t)digit_of(l->s[at]);
        if (d >= (zeros ? 1 : base)) break;
        if (__builtin_mul_overflow(v, (int64_t)base, &v) ||
            __builtin_add_overflow(v, (int64_t)d, &v))
            return error_at(l, l->at, "an integer of more than 64 bits");
    }
    jtoken *t = add_token(l, T_INTEGER, l->at);
    if (!t) return false;
    t->value = JINT(v);
    l->at = at;
    return true;
}

static bool read_float(lexer *l, uint32_t end) {
    char text[400];
    size_t n = 0;
    for (uint32_t i = l->at; i < end; i++) {
        if (l->s[i] == '_') continue;
        if (n + 1 == sizeof text) return error_at(l, l->at, "a number that is too long");
        text[n++] = l->s[i];
    }
    jtoken *t = add_token(l, T_FLOAT, l->at);
    if (!t) return false;
    t->value = JFLOAT(0);
    if (!slm__j_parse_float(text, n, &t->value.u.f)) return error_at(l, l->at, "no number");
    l->at = end;
    return true;
}

/* n hexadecimal digits at `at`. */
static bool read_hex(const lexer *l, uint32_t at, uint32_t n, uint32_t *out) {
    *out = 0;
    for (uint32_t i = 0; i < n; i++) {
        int digit = at + i < l->n ? slm__hex_digit(l->s[at + i]) : -1;
        if (digit < 0) return false;
        *out = *out << 4 | (uint32_t)digit;
    }
    return true;
}

/* The escape whose backslash is at *at; moves *at behind it. As "unicode-escape" of Python. */
static bool read_escape(lexer *l, uint32_t *at, jbuf *b) {
    static const char from[] = "nrtabfv\\'\"", to[] = "\n\r\t\a\b\f\v\\'\"";
    uint32_t i = *at + 1;
    char c = l->s[i];
    uint32_t n_hex = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0, cp = 0;
    const char *simple = c ? strchr(from, c) : NULL;
    *at = i + 1;
    if (c == '\n') return true;
    if (simple) return slm__j_put(l->j, b, &to[simple - from], 1, false);
    if (n_hex) {
        if (!read_hex(l, i + 1, n_hex, &cp) || cp > 0x10ffff)
            return error_at(l, i - 1, "an escape that is cut short");
        *at = i + 1 + n_hex;
    } else if (c >= '0' && c <= '7') {
        for (i = *at - 1; i < *at + 2 && l->s[i] >= '0' && l->s[i] <= '7'; i++)
            cp = cp * 8 + (uint32_t)(l->s[i] - '0');
        *at = i;
    } else if (c == 'N') {
        return error_at(l, i - 1, "characters by name are not supported");
    } else {
        return slm__j_put(l->j, b, "\\", 1, false) && (*at = i, true);
    }
    uint8_t utf8[4];
    return slm__j_put(l->j, b, (const char *)utf8, slm__utf8_write(cp, utf8), false);
}

static bool read_string(lexer *l) {
    char quote = l->s[l->at];
    uint32_t begin = l->at + 1, end = begin;
    bool escapes = false;
    for (; end < l->n && l->s[end] != quote; end++) {
        if (l->s[end] != '\\') continue;
        escapes = true;
        if (++end >= l->n) break;
    }
    if (end >= l->n) return error_at(l, l->at, "a string without end");
    jtoken *t = add_token(l, T_STRING, l->at);
    if (!t) return false;
    if (!escapes) {
        if (!slm__j_outside(l->j, l->s + begin, end - begin, false, &t->value)) return false;
    } else {
        jbuf *b = slm__j_buf(l->j, end - begin + 1);
        if (!b) return false;
        for (uint32_t at = begin; at < end;) {
            uint32_t next = at;
            while (next < end && l->s[next] != '\\') next++;
            if (!slm__j_put(l->j, b, l->s + at, next - at, false)) return false;
            at = next;
            if (at < end && !read_escape(l, &at, b)) return false;
        }
        t->value = slm__j_whole(b);
    }
    l->at = end + 1;
    return true;
}

static bool read_operator(lexer *l) {
    static const char twos[][3] = {"//", "**", "==", "!=", ">=", "<="};
    static const char ones[] = "+-/*%~[](){}><=.:|,;";
    static const char opening[] = "([{", closing[] = ")]}";
    char c = l->s[l->at];
    uint16_t op = 0;
    for (size_t i = 0; i < SLM_COUNT(twos); i++) {
        if (looking_at(l, l->at, twos[i])) op = JOP2(twos[i][0], twos[i][1]);
    }
    if (!op && c && strchr(ones, c)) op = JOP1(c);
    if (!op) return error_at(l, l->at, "a character that nothing begins with");
    if (op == JOP1(c) && strchr(opening, c)) {
        if (l->n_open == JINJA_DEPTH) {
            l->j->pos = l->at;
            return slm__j_fail(l->j, SLM_ERR_LIMIT, "nested more than %d deep", JINJA_DEPTH);
        }
        l->open[l->n_open++] = closing[strchr(opening, c) - opening];
    } else if (op == JOP1(c) && strchr(closing, c)) {
        if (l->n_open == 0 || l->open[l->n_open - 1] != c)
            return error_at(l, l->at, "a bracket that was not opened");
        l->n_open--;
    }
    jtoken *t = add_token(l, T_OPERATOR, l->at);
    if (!t) return false;
    t->op = op;
    l->at += op > 0xff ? 2 : 1;
    return true;
}

static bool read_name(lexer *l) {
    uint32_t end = l->at;
    while (end < l->n && is_word(l->s[end])) end++;
    jtoken *t = add_token(l, T_NAME, l->at);
    if (!t || !(t->name = slm__j_name(l->j, l->s + l->at, end - l->at))) return false;
    l->at = end;
    return true;
}

/* All tokens up to the end of the tag that opened at `tag`. */
static bool read_tag(lexer *l, uint32_t tag, bool variable) {
    const char *close = variable ? "}}" : "%}";
    l->n_open = 0;
    for (;;) {
        uint32_t end = l->n_open == 0 ? tag_end(l, l->at, close, !variable) : 0;
        if (end) {
            if (!add_token(l, variable ? T_VARIABLE_END : T_BLOCK_END, l->at)) return false;
            go_to(l, end);
            return true;
        }
        l->at = skip_space(l, l->at);
        end = l->n_open == 0 ? tag_end(l, l->at, close, !variable) : 0;
        if (end) continue;
        if (l->at >= l->n) return error_at(l, tag, "a tag without end");
        char c = l->s[l->at];
        uint32_t number = is_digit(c) ? float_end(l, l->at) : 0;
        bool ok = number                  ? read_float(l, number)
                  : is_digit(c)           ? read_integer(l)
                  : is_word(c)            ? read_name(l)
                  : c == '\'' || c == '"' ? read_string(l)
                                          : read_operator(l);
        if (!ok) return false;
    }
}

/* The next "{{", "{%" or "{#" from `at` on; the end of the source if there is none. */
static uint32_t find_tag(const lexer *l, uint32_t at) {
    while (at < l->n) {
        const char *brace = memchr(l->s + at, '{', l->n - at);
        if (!brace) return l->n;
        at = (uint32_t)(brace - l->s);
        if (at + 1 < l->n && (brace[1] == '{' || brace[1] == '%' || brace[1] == '#')) return at;
        at++;
    }
    return l->n;
}

static bool read_all(lexer *l) {
    l->line_start = true;
    while (l->at < l->n) {
        uint32_t tag = find_tag(l, l->at);
        if (tag == l->n) return add_data(l, l->at, l->n);
        char kind = l->s[tag + 1], sign = sign_at(l, tag + 2);
        if (!add_data(l, l->at, text_end(l, l->at, tag, sign, kind == '{'))) return false;
        uint32_t raw = kind == '%' ? word_block(l, tag, "raw", false) : 0;
        l->at = tag + 2 + (sign != 0);
        bool ok;
        if (kind == '#')
            ok = read_comment(l, tag);
        else if (raw)
            ok = read_raw(l, tag, raw);
        else
            ok = add_token(l, kind == '{' ? T_VARIABLE_BEGIN : T_BLOCK_BEGIN, tag) &&
                 read_tag(l, tag, kind == '{');
        if (!ok) return false;
    }
    return true;
}

bool slm__j_lex(jinja *j, const char *source, size_t n) {
    if (n > JINJA_SOURCE)
        return slm__j_fail(j, SLM_ERR_UNSUPPORTED, "it has %zu bytes, at most %d", n, JINJA_SOURCE);
    char *s = slm__j_alloc(j, n + 1);
    if (!s) return false;
    uint32_t used = 0;
    for (size_t i = 0; i < n; i++) {
        bool pair = source[i] == '\r' && i + 1 < n && source[i + 1] == '\n';
        if (pair) continue;
        s[used++] = source[i] == '\r' ? '\n' : source[i];
    }
    s[used] = '\0';
    if (used > 0 && s[used - 1] == '\n') used--;
    j->source = s;
    j->n_source = used;
    lexer l = {.j = j, .s = s, .n = used};
    if (!read_all(&l)) return false;
    return add_token(&l, T_END, used);
}
