#include "text.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- UTF-8 (the Unicode Standard, table 3-7: no surrogates, no overlong forms) ---- */

size_t utf8_decode(const char *s, size_t n, uint32_t *code) {
    static const struct {
        uint8_t first, last; /* of the first byte  */
        uint8_t low, high;   /* of the second byte */
        uint8_t length;
    } forms[] = {
        {0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    if (n == 0) return 0;
    const uint8_t *p = (const uint8_t *)s;
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        size_t length = forms[f].length;
        if (p[0] < forms[f].first || p[0] > forms[f].last) continue;
        if (length > n) return 0;
        if (length > 1 && (p[1] < forms[f].low || p[1] > forms[f].high)) return 0;
        *code = length == 1 ? p[0] : p[0] & (0x7fu >> length);
        for (size_t i = 1; i < length; i++) {
            if ((p[i] & 0xc0) != 0x80) return 0;
            *code = *code << 6 | (p[i] & 0x3f);
        }
        return length;
    }
    return 0;
}

/* ---- For people ---- */

/* Would it do something to a terminal: controls, and marks that turn the direction of text. All are below 0x10000. */
static bool is_control(uint32_t code) {
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x061c || code == 0xfeff ||
           (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}

size_t utf8_visible(const char *s, size_t n, uint32_t *code) {
    *code = 0xfffd;
    size_t length = utf8_decode(s, n, code);
    bool joiner = *code == 0x200c || *code == 0x200d; /* scripts and emoji need them */
    bool blank = *code == '\n' || *code == '\t';
    if ((*code & 0xfffe) == 0xfffe || (*code >= 0xfdd0 && *code <= 0xfdef) ||
        (is_control(*code) && !joiner && !blank))
        *code = 0xfffd;
    return length ? length : 1;
}

/* The letter after the backslash, 0 if there is none for this character. */
static char short_escape(uint32_t code) {
    switch (code) {
    case '\n': return 'n';
    case '\t': return 't';
    case '\r': return 'r';
    case '\\': return '\\';
    case '"': return '"';
    default: return 0;
    }
}

size_t print_escaped(FILE *out, const char *s, size_t n, size_t max) {
    size_t printed = 0;
    while (n > 0) {
        uint32_t code = 0;
        size_t length = utf8_decode(s, n, &code);
        char escape[20] = "";
        if (length && short_escape(code))
            snprintf(escape, sizeof escape, "\\%c", short_escape(code));
        else if (length == 0 || is_control(code))
            for (size_t i = 0; i < (length ? length : 1); i++)
                snprintf(escape + 4 * i, sizeof escape - 4 * i, "\\x%02x", (uint8_t)s[i]);
        size_t width = escape[0] ? strlen(escape) : 1;
        if (printed + width > max) {
            fputs("...", out);
            return printed + 3;
        }
        if (escape[0])
            fputs(escape, out);
        else
            fwrite(s, 1, length, out);
        printed += width;
        s += length ? length : 1;
        n -= length ? length : 1;
    }
    return printed;
}

/* ---- JSON (RFC 8259) ---- */

static void begin_value(json *j) {
    if (j->comma) fputc(',', j->out);
    j->comma = true;
}

void json_open(json *j, char bracket) {
    begin_value(j);
    fputc(bracket, j->out);
    j->comma = false;
}

void json_close(json *j, char bracket) {
    fputc(bracket, j->out);
    j->comma = true;
}

void json_name(json *j, const char *name) {
    begin_value(j);
    fprintf(j->out, "\"%s\":", name);
    j->comma = false;
}

void json_bytes(json *j, const char *s, size_t n) {
    begin_value(j);
    fputc('"', j->out);
    while (n > 0) {
        uint32_t code = 0;
        size_t length = utf8_decode(s, n, &code);
        if (length == 0)
            fputs("\xef\xbf\xbd", j->out);
        else if (short_escape(code))
            fprintf(j->out, "\\%c", short_escape(code));
        else if (is_control(code))
            fprintf(j->out, "\\u%04x", (unsigned)code);
        else
            fwrite(s, 1, length, j->out);
        s += length ? length : 1;
        n -= length ? length : 1;
    }
    fputc('"', j->out);
}

void json_text(json *j, const char *s) {
    if (s) {
        json_bytes(j, s, strlen(s));
    } else {
        begin_value(j);
        fputs("null", j->out);
    }
}

void json_int(json *j, int64_t value) {
    begin_value(j);
    fprintf(j->out, "%" PRId64, value);
}

void json_u64(json *j, uint64_t value) {
    begin_value(j);
    fprintf(j->out, "%" PRIu64, value);
}

void json_double(json *j, double value) {
    if (isfinite(value)) {
        begin_value(j);
        fprintf(j->out, "%.9g", value);
    } else {
        json_text(j, NULL);
    }
}

void json_bool(json *j, bool value) {
    begin_value(j);
    fputs(value ? "true" : "false", j->out);
}

static size_t skip_digits(const char *s, size_t n, size_t i) {
    while (i < n && s[i] >= '0' && s[i] <= '9') i++;
    return i;
}

static bool is_json_number(const char *s, size_t n) {
    size_t i = n > 0 && s[0] == '-', begin = i;
    i = skip_digits(s, n, i);
    if (i == begin || (s[begin] == '0' && i > begin + 1)) return false;
    if (i < n && s[i] == '.') {
        begin = ++i;
        i = skip_digits(s, n, i);
        if (i == begin) return false;
    }
    if (i < n && (s[i] == 'e' || s[i] == 'E')) {
        i++;
        if (i < n && (s[i] == '+' || s[i] == '-')) i++;
        begin = i;
        i = skip_digits(s, n, i);
        if (i == begin) return false;
    }
    return i == n;
}

void json_number(json *j, const char *s, size_t n) {
    if (is_json_number(s, n)) {
        begin_value(j);
        fwrite(s, 1, n, j->out);
    } else {
        json_bytes(j, s, n);
    }
}

void json_named_bytes(json *j, const char *name, const char *s, size_t n) {
    json_name(j, name);
    json_bytes(j, s, n);
}

#define NAMED(kind, type)                                           \
    void json_named_##kind(json *j, const char *name, type value) { \
        json_name(j, name);                                         \
        json_##kind(j, value);                                      \
    }
NAMED(open, char)
NAMED(text, const char *)
NAMED(int, int64_t)
NAMED(u64, uint64_t)
NAMED(double, double)
