#include "figures.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "text.h"

#define MINUS      "\xe2\x88\x92"
#define PLUS_MINUS "\xc2\xa0\xc2\xb1\xc2\xa0" /* on one line */

/* ---- Numbers ---- */

static figure unknown(void) { return (figure){UNKNOWN}; }

static figure infinite(double value) {
    return value > 0 ? (figure){"\xe2\x88\x9e"} : (figure){MINUS "\xe2\x88\x9e"};
}

__attribute__((format(printf, 1, 2))) static figure print_figure(const char *format, ...) {
    figure f;
    va_list args;
    va_start(args, format);
    vsnprintf(f.s, sizeof f.s, format, args);
    va_end(args);
    return f;
}

/* A number as printf wrote it: a true minus, and none before nothing but zeros. */
static figure with_sign(const char *number, bool plus) {
    bool zero = strspn(number, "-0.") == strlen(number);
    bool minus = number[0] == '-';
    return print_figure("%s%s", zero ? "" : minus ? MINUS : plus ? "+" : "", number + minus);
}

figure figure_count(uint64_t n) {
    figure f = {""};
    char digits[24];
    size_t n_digits = (size_t)snprintf(digits, sizeof digits, "%" PRIu64, n), k = 0;
    for (size_t i = 0; i < n_digits; i++) {
        if (i > 0 && (n_digits - i) % 3 == 0) f.s[k++] = ',';
        f.s[k++] = digits[i];
    }
    f.s[k] = 0;
    return f;
}

figure figure_bytes(uint64_t n) {
    static const char *units[] = {"kB", "MB", "GB", "TB"};
    if (n == 0) return unknown();
    if (n < 1000) return print_figure("%" PRIu64 " bytes", n);
    size_t u = 0;
    double value = (double)n / 1e3;
    while (value >= 999.5 && u + 1 < sizeof units / sizeof *units) {
        value /= 1e3;
        u++;
    }
    return print_figure("%.*f %s", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value, units[u]);
}

figure figure_seconds(double seconds) {
    if (!(seconds > 0)) return unknown();
    if (isinf(seconds)) return infinite(seconds);
    if (seconds < 0.00995) return print_figure("%.2g ms", seconds * 1e3);
    if (seconds < 0.9995) return print_figure("%.0f ms", seconds * 1e3);
    if (seconds < 99.5) return print_figure("%.*f s", seconds < 9.95 ? 1 : 0, seconds);
    double minutes = floor((seconds + 0.5) / 60);
    return print_figure("%.0f min %.0f s", minutes, floor(seconds + 0.5 - 60 * minutes));
}

figure figure_fixed(double value, int decimals) {
    if (isnan(value)) return unknown();
    if (isinf(value)) return infinite(value);
    char number[64];
    snprintf(number, sizeof number, fabs(value) < 1e15 ? "%.*f" : "%.*e", decimals, value);
    return with_sign(number, false);
}

/* Where a number of this size needs too many zeros, or digits, in front. */
static bool wants_exponent(double value) {
    return value != 0 && (fabs(value) < 0.99e-5 || fabs(value) >= 1e7);
}

/* Decimals that show this many significant digits. */
static int decimals_for(double value, int digits) {
    if (value == 0) return 0;
    int d = digits - 1 - (int)floor(log10(fabs(value)));
    return d < 0 ? 0 : d > 12 ? 12 : d;
}

figure figure_digits(double value, int digits) {
    if (!isfinite(value)) return figure_fixed(value, 0);
    if (!wants_exponent(value)) return figure_fixed(value, decimals_for(value, digits));
    char number[64];
    snprintf(number, sizeof number, "%.*e", digits - 1, value);
    return with_sign(number, false);
}

figure figure_positive(double value, int digits) {
    return value > 0 ? figure_digits(value, digits) : unknown();
}

figure figure_percent(double share, int decimals) {
    if (!isfinite(share)) return figure_fixed(share, 0);
    return print_figure("%s%%", figure_fixed(100 * share, decimals).s);
}

figure figure_estimate(estimate e, double factor, bool plus, const char *unit) {
    double value = factor * e.value, error = fabs(factor * e.error);
    if (!isfinite(value)) return figure_fixed(value, 0);
    char number[64], deviation[64] = "";
    bool known = isfinite(error) && error > 0;
    if (wants_exponent(value)) {
        snprintf(number, sizeof number, "%.2e", value);
        if (known) snprintf(deviation, sizeof deviation, "%.1e", error);
    } else {
        int decimals = known ? decimals_for(error, 2) : decimals_for(value, 4);
        snprintf(number, sizeof number, "%.*f", decimals, value);
        if (known) snprintf(deviation, sizeof deviation, "%.*f", decimals, error);
    }
    return print_figure("%s%s%s%s", with_sign(number, plus).s, known ? PLUS_MINUS : "", deviation,
                        unit);
}

/* ---- Names ---- */

const subject *comparison_subject(const comparison *c, int32_t i) {
    return i < 0 ? &c->reference : &c->candidates[i].about;
}

static const char *name_of(const subject *s, int kind) {
    if (kind == NAME_TYPE) return s->type;
    return kind == NAME_FILE ? file_part(s->path) : s->path ? s->path : "";
}

/* Do all candidates have one, and another one each? "mixed" says nothing of a file. */
static bool all_differ(const comparison *c, int kind) {
    for (int32_t i = 0; i < c->n_candidates; i++) {
        const char *name = name_of(&c->candidates[i].about, kind);
        if (!name[0] || (kind == NAME_TYPE && c->n_candidates > 1 && !strcmp(name, "mixed")))
            return false;
        for (int32_t k = 0; k < i; k++)
            if (!strcmp(name, name_of(&c->candidates[k].about, kind))) return false;
    }
    return true;
}

/* What all candidates begin with, up to a character that ends a word. */
static size_t common_prefix(const comparison *c, int kind) {
    if (c->n_candidates < 2) return 0;
    const char *first = name_of(&c->candidates[0].about, kind);
    size_t n = strlen(first);
    for (int32_t i = 1; i < c->n_candidates; i++) {
        const char *name = name_of(&c->candidates[i].about, kind);
        size_t k = 0;
        while (k < n && name[k] == first[k]) k++;
        n = k;
    }
    while (n > 0 && !strchr("-._/ ", first[n - 1])) n--;
    return n;
}

naming comparison_naming(const comparison *c) {
    naming by = {.kind = NAME_TYPE};
    if (all_differ(c, NAME_TYPE)) return by;
    by.kind = all_differ(c, NAME_FILE)   ? NAME_FILE
              : all_differ(c, NAME_PATH) ? NAME_PATH
                                         : NAME_NUMBER;
    by.prefix = by.kind == NAME_NUMBER ? 0 : common_prefix(c, by.kind);
    return by;
}

/* The begin and the end of n bytes, valid UTF-8. */
static void shorten(short_name *to, size_t at, const char *s, size_t n, size_t max) {
    size_t n_chars = 0;
    uint32_t code = 0;
    for (size_t i = 0; i < n; i += utf8_visible(s + i, n - i, &code)) n_chars++;
    size_t head = n_chars <= max ? n_chars : max / 2, tail = n_chars <= max ? 0 : max - head - 1;
    for (size_t i = 0, k = 0; i < n; k++) {
        size_t length = utf8_visible(s + i, n - i, &code);
        bool shown = k < head || k + tail >= n_chars, gap = k == head && !shown;
        if (shown && (code == '\n' || code == '\t')) {
            to->s[at++] = ' ';
        } else if (gap || (shown && code == 0xfffd)) {
            memcpy(to->s + at, gap ? "\xe2\x80\xa6" : "\xef\xbf\xbd", 3);
            at += 3;
        } else if (shown) {
            memcpy(to->s + at, s + i, length);
            at += length;
        }
        i += length;
    }
    to->s[at] = 0;
}

short_name subject_name(const comparison *c, const naming *by, int32_t i, size_t max) {
    const subject *about = comparison_subject(c, i);
    short_name to = {""};
    size_t at = 0, prefix = i < 0 ? 0 : by->prefix;
    /* the reference is one of a kind: its type says what it is */
    int kind = i < 0 ? NAME_TYPE : by->kind == NAME_NUMBER ? NAME_FILE : (int)by->kind;
    if (i >= 0 && by->kind == NAME_NUMBER)
        at = (size_t)snprintf(to.s, sizeof to.s, "%d. ", (int)i + 1);
    const char *name = name_of(about, kind);
    if (!name[0] && kind == NAME_TYPE) name = file_part(about->path);
    if (!name[0]) name = "?";
    size_t n = strlen(name);
    if (prefix < n) {
        name += prefix;
        n -= prefix;
    }
    if (n > 5 && !strcmp(name + n - 5, ".gguf")) n -= 5;
    shorten(&to, at, name, n, max < 32 ? max : 32);
    return to;
}
