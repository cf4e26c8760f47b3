/* One parser for all subcommands, driven by their tables of options. */
#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Messages ---- */

static void say(const char *format, va_list args) {
    fflush(stdout);
    fputs("slm: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

int fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    say(format, args);
    va_end(args);
    return EXIT_FAILED;
}

void warn(const char *format, ...) {
    va_list args;
    va_start(args, format);
    say(format, args);
    va_end(args);
}

int fail_with(const char *what, const slm_error *err) {
    if (err->status == SLM_ERR_CANCELLED) return EXIT_INTERRUPTED;
    return fail("%s: %s (%s)", what, err->message, slm_status_name(err->status));
}

int usage_error(const command *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    say(format, args);
    va_end(args);
    fprintf(stderr, "Try 'slm %s --help'.\n", c->name);
    return EXIT_USAGE;
}

void print_help(const command *c) {
    printf("Usage: slm %s %s\n\n%s\n", c->name, c->arguments, c->summary);
    if (c->details) printf("\n%s", c->details);
    puts("\nOptions:");
    for (const option *o = c->options; o->name; o++) {
        char left[40];
        snprintf(left, sizeof left, "%s%s%s", o->name, o->value ? " " : "",
                 o->value ? o->value : "");
        printf("  %-20s %s\n", left, o->help);
    }
    printf("  %-20s %s\n", "--help", "this text");
}

/* ---- Values ---- */

static bool parse_int(const option *o, const char *text, int32_t *out) {
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (end == text || *end || errno || (double)v < o->min || (double)v > o->max) return false;
    *out = (int32_t)v;
    return true;
}

/* Digits with commas between them: no signs, no spaces, nothing left out. */
static bool parse_ints(const option *o, const char *text, int_list *out) {
    const char *p = text;
    for (out->n = 0; out->n < MAX_LIST; p++) {
        const char *begin = p;
        double v = 0; /* however many digits there are, it does not overflow */
        for (; *p >= '0' && *p <= '9'; p++) v = v * 10 + (*p - '0');
        if (p == begin || v < o->min || v > o->max) return false;
        out->v[out->n++] = (int32_t)v;
        if (*p != ',') return *p == '\0';
    }
    return false;
}

static bool parse_u64(const char *text, uint64_t *out) {
    char *end;
    if (text[0] < '0' || text[0] > '9') return false; /* strtoull would take "-1" */
    errno = 0;
    *out = strtoull(text, &end, 10);
    return !*end && !errno;
}

/* NaN fails both comparisons. */
static bool parse_float(const option *o, const char *text, float *out) {
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || !(v >= o->min && v <= o->max)) return false;
    *out = (float)v;
    return true;
}

static int store(const command *c, const option *o, const char *text, void *values) {
    void *place = (char *)values + o->offset;
    switch (o->kind) {
    case OPT_FLAG: *(bool *)place = true; return PARSED;
    case OPT_TEXT: *(const char **)place = text; return PARSED;
    case OPT_TEXTS: {
        text_list *list = place;
        if (list->n == MAX_LIST) return usage_error(c, "%s: more than %d", o->name, MAX_LIST);
        list->v[list->n++] = text;
        return PARSED;
    }
    case OPT_INT:
        if (parse_int(o, text, place)) return PARSED;
        return usage_error(c, "%s %s: expected a whole number from %.0f to %.0f", o->name, text,
                           o->min, o->max);
    case OPT_INTS:
        if (parse_ints(o, text, place)) return PARSED;
        return usage_error(c,
                           "%s %s: expected up to %d whole numbers from %.0f to %.0f, with commas "
                           "between them",
                           o->name, text, MAX_LIST, o->min, o->max);
    case OPT_U64:
        if (parse_u64(text, place)) return PARSED;
        return usage_error(c, "%s %s: expected a whole number from 0 to 2^64-1", o->name, text);
    case OPT_FLOAT:
        if (parse_float(o, text, place)) return PARSED;
        return usage_error(c, "%s %s: expected a number from %g to %g", o->name, text, o->min,
                           o->max);
    }
    return PARSED;
}

/* ---- The command line ---- */

/* The row of "--name" or "--name=value"; then *value is what follows the '='. */
static const option *find_option(const command *c, const char *arg, const char **value) {
    for (const option *o = c->options; o->name; o++) {
        size_t n = strlen(o->name);
        *value = NULL;
        if (strncmp(arg, o->name, n) != 0) continue;
        if (arg[n] == '\0') return o;
        if (arg[1] == '-' && arg[n] == '=') {
            *value = arg + n + 1;
            return o;
        }
    }
    return NULL;
}

int parse_options(const command *c, int argc, char **argv, void *values, const char **operands) {
    int n_operands = 0;
    bool only_operands = false;
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i], *value;
        if (only_operands || arg[0] != '-' || arg[1] == '\0') { /* "-" alone: standard input */
            if (n_operands == c->max_operands) return usage_error(c, "unexpected '%s'", arg);
            operands[n_operands++] = arg;
            continue;
        }
        if (strcmp(arg, "--") == 0) {
            only_operands = true;
            continue;
        }
        if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            print_help(c);
            return EXIT_DONE;
        }
        const option *o = find_option(c, arg, &value);
        if (!o) return usage_error(c, "unknown option '%s'", arg);
        if (!o->value && value) return usage_error(c, "%s takes no value", o->name);
        if (o->value && !value) {
            if (++i == argc) return usage_error(c, "%s wants a value (%s)", o->name, o->value);
            value = argv[i];
        }
        int code = store(c, o, value, values);
        if (code != PARSED) return code;
    }
    return PARSED;
}

/* ---- Options of everything that computes ---- */

static bool known_cpu(const char *name) {
    const char *level;
    for (int32_t i = 0; (level = slm_cpu_level(i)); i++)
        if (strcmp(level, name) == 0) return true;
    return false;
}

static const char *const kv_names[] = {
    [SLM_KV_F16] = "f16", [SLM_KV_F32] = "f32", [SLM_KV_Q8_0] = "q8_0"};

const char *kv_name(slm_kv_type type) { return kv_names[type]; }

int compute_params(const command *c, const compute_options *o, slm_context_params *params) {
    *params = slm_context_defaults();
    params->n_ctx = o->n_ctx;
    params->n_threads = o->n_threads;
    params->cpu = o->cpu;
    params->reference = o->reference;
    if (o->cpu && !known_cpu(o->cpu)) {
        char known[256] = "";
        const char *level;
        for (int32_t i = 0; (level = slm_cpu_level(i)); i++) {
            size_t n = strlen(known);
            snprintf(known + n, sizeof known - n, " %s", level);
        }
        return usage_error(c, "--cpu %s: this machine has:%s", o->cpu, known);
    }
    if (!o->kv) return PARSED;
    for (size_t i = 0; i < sizeof kv_names / sizeof *kv_names; i++) {
        if (strcmp(o->kv, kv_names[i]) != 0) continue;
        params->kv_type = (slm_kv_type)i;
        return PARSED;
    }
    return usage_error(c, "--kv %s: expected f16, f32 or q8_0", o->kv);
}
