#include "sampling.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io.h"

enum { MAX_LAST_N = 65536 };

static uint64_t seed_from_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return ((uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec) % 10000000000u;
}

sampling_options sampling_defaults(void) {
    sampling_options o = {.params = slm_sampler_defaults(), .dry_last_n = -1, .top_n_sigma = -1};
    o.params.temperature = 0.8f;
    o.params.top_k = 40;
    o.params.top_p = 0.95f;
    o.params.min_p = 0.05f;
    o.repeat_last_n = o.params.repeat_last_n;
    o.params.seed = seed_from_clock();
    return o;
}

/* "15043+1.5", "15043-inf" */
static bool parse_bias(const char *text, slm_logit_bias *out) {
    char *end;
    if (text[0] < '0' || text[0] > '9') return false;
    long long token = strtoll(text, &end, 10);
    if ((*end != '+' && *end != '-') || token > INT32_MAX || end[1] == '+' || end[1] == '-')
        return false;
    const char *number = end;
    double bias = strtod(number, &end);
    if (end == number || *end || isnan(bias) || bias > 3.4e38) return false;
    if (bias < -3.4e38) bias = -INFINITY;
    *out = (slm_logit_bias){(slm_token)token, (float)bias};
    return true;
}

int sampling_check(const command *c, const sampling_options *o) {
    slm_logit_bias bias;
    const struct {
        const char *name;
        const text_list *list;
    } texts[] = {
        {"--ban", &o->bans}, {"--stop", &o->stops}, {"--dry-sequence-breaker", &o->breakers}};
    for (int32_t i = 0; i < o->biases.n; i++)
        if (!parse_bias(o->biases.v[i], &bias))
            return usage_error(c, "--logit-bias %s: expected a token id, + or -, and a number",
                               o->biases.v[i]);
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++)
        for (int32_t i = 0; i < texts[t].list->n; i++)
            if (texts[t].list->v[i][0] == '\0')
                return usage_error(c, "%s: the text is empty", texts[t].name);
    if (o->grammar && o->schema) return usage_error(c, "--grammar and --schema exclude each other");
    if (o->params.mirostat == 1) return usage_error(c, "--mirostat 1: only version 2 is there");
    return PARSED;
}

/* ---- Texts: \n, \t, \r and \\ stand for what they do in C ---- */

typedef struct texts {
    slm_string v[MAX_LIST];
    int32_t n;
    char *bytes;
} texts;

static size_t unescape(const char *text, char *out) {
    static const char from[] = "ntr\\\"'", to[] = "\n\t\r\\\"'";
    size_t n = 0;
    for (const char *p = text; *p; p++) {
        const char *found = *p == '\\' && p[1] ? strchr(from, p[1]) : NULL;
        out[n++] = found ? to[found - from] : *p;
        p += found != NULL;
    }
    return n;
}

static bool read_texts(const text_list *list, texts *out) {
    size_t n_bytes = 1;
    for (int32_t i = 0; i < list->n; i++) n_bytes += strlen(list->v[i]);
    *out = (texts){.bytes = malloc(n_bytes), .n = list->n};
    if (!out->bytes) return false;
    char *p = out->bytes;
    for (int32_t i = 0; i < list->n; i++) {
        out->v[i] = (slm_string){p, unescape(list->v[i], p)};
        p += out->v[i].n_bytes;
    }
    return true;
}

/* ---- Sampler and stop strings ---- */

static int create(slm_sampler_params *p, const sampling_options *o, texts *bans, texts *stops,
                  texts *breakers, slm_sampler **sampler, slm_stops **out) {
    slm_error err;
    slm_logit_bias biases[MAX_LIST];
    if (!read_texts(&o->bans, bans) || !read_texts(&o->stops, stops) ||
        !read_texts(&o->breakers, breakers))
        return fail("no memory for the texts of options");
    for (int32_t i = 0; i < o->biases.n; i++) parse_bias(o->biases.v[i], &biases[i]);
    p->logit_biases = biases;
    p->n_logit_biases = o->biases.n;
    p->banned_strings = bans->v;
    p->n_banned_strings = bans->n;
    if (breakers->n > 0) {
        bool none = breakers->n == 1 && strcmp(o->breakers.v[0], "none") == 0;
        p->dry_breakers = breakers->v;
        p->n_dry_breakers = none ? 0 : breakers->n;
    }
    p->repeat_last_n = o->repeat_last_n < 0 ? MAX_LAST_N : o->repeat_last_n;
    p->dry_last_n = o->dry_last_n < 0 ? MAX_LAST_N : o->dry_last_n;
    p->top_n_sigma = o->top_n_sigma < 0 ? 0 : o->top_n_sigma;
    if (slm_sampler_create(p, sampler, &err) != SLM_OK)
        return fail_with("cannot create a sampler", &err);
    if (stops->n > 0 && slm_stops_create(stops->v, stops->n, NULL, out, &err) != SLM_OK)
        return fail_with("--stop", &err);
    return EXIT_DONE;
}

/* ---- Grammars ---- */

static int read_grammar(const sampling_options *o, slm_grammar **out) {
    slm_error err;
    size_t n;
    const char *path = o->schema ? o->schema : o->grammar;
    char *text = read_all(path, &n);
    if (!text) return interrupted() ? EXIT_INTERRUPTED : EXIT_FAILED;
    slm_status status = o->schema ? slm_grammar_from_schema(text, n, NULL, out, &err)
                                  : slm_grammar_parse(text, n, NULL, out, &err);
    free(text);
    return status == SLM_OK ? EXIT_DONE : fail_with(path, &err);
}

static int create_matcher(const slm_model *model, const sampling_options *o, chooser *out) {
    slm_error err;
    if (!o->grammar && !o->schema) return EXIT_DONE;
    int code = read_grammar(o, &out->grammar);
    if (code != EXIT_DONE) return code;
    if (slm_constraint_create(out->grammar, model, NULL, &out->constraint, &err) != SLM_OK ||
        slm_matcher_create(out->constraint, NULL, &out->matcher, &err) != SLM_OK)
        return fail_with(o->schema ? o->schema : o->grammar, &err);
    slm_sampler_set_matcher(out->sampler, out->matcher);
    return EXIT_DONE;
}

int chooser_create(const slm_model *model, const sampling_options *o, chooser *out) {
    slm_sampler_params p = o->params;
    texts bans = {0}, ends = {0}, breakers = {0};
    p.model = model;
    *out = (chooser){0};
    int code = create(&p, o, &bans, &ends, &breakers, &out->sampler, &out->stops);
    free(bans.bytes);
    free(ends.bytes);
    free(breakers.bytes);
    return code == EXIT_DONE ? create_matcher(model, o, out) : code;
}

void chooser_reset(chooser *c) { slm_matcher_reset(c->matcher); }

void chooser_free(chooser *c) {
    slm_stops_free(c->stops);
    slm_sampler_free(c->sampler);
    slm_matcher_free(c->matcher);
    slm_constraint_free(c->constraint);
    slm_grammar_free(c->grammar);
}
