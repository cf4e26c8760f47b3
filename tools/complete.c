/* slm complete: what is missing between two texts, for models that were trained to fill in the middle. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"

typedef struct complete_options {
    const char *model, *prefix, *suffix;
    int32_t n, lookup;
    sampling_options sampling;
    compute_options compute;
} complete_options;

static const option options[] = {
    {"-m", "MODEL", OPT_TEXT, offsetof(complete_options, model), 0, 0, "GGUF file"},
    {"--prefix", "FILE", OPT_TEXT, offsetof(complete_options, prefix), 0, 0,
     "what comes before; - or nothing: standard input"},
    {"--suffix", "FILE", OPT_TEXT, offsetof(complete_options, suffix), 0, 0,
     "what comes behind (default: nothing)"},
    {"-n", "N", OPT_INT, offsetof(complete_options, n), 1, INT32_MAX,
     "tokens, at most (default 256)"},
    LOOKUP_OPTION(complete_options),
    SAMPLING_OPTIONS(complete_options),
    COMPUTE_OPTIONS(complete_options, "4096, or more if needed"),
    {0},
};

typedef struct completion {
    complete_options o;
    answerer a;
    char *prefix, *suffix;
    token_list prompt;
} completion;

static int read_texts(completion *c) {
    slm_error err;
    size_t n_prefix, n_suffix = 0;
    c->prefix = read_all(c->o.prefix, &n_prefix);
    if (c->prefix) c->suffix = c->o.suffix ? read_all(c->o.suffix, &n_suffix) : strdup("");
    if (!c->prefix || !c->suffix) return interrupted() ? EXIT_INTERRUPTED : EXIT_FAILED;
    slm_status status =
        tokenize_fill(c->a.model, c->prefix, n_prefix, c->suffix, n_suffix, &c->prompt, &err);
    return status == SLM_OK ? EXIT_DONE : fail_with(c->o.model, &err);
}

static int prepare(completion *c) {
    int64_t n_prompt = (int64_t)c->prompt.n;
    if (c->a.params.n_ctx == 0) c->a.params.n_ctx = default_n_ctx(c->a.model, n_prompt + c->o.n);
    if (n_prompt > c->a.params.n_ctx)
        return fail("prefix and suffix have %" PRId64 " tokens, the context %" PRId32 " (-c)",
                    n_prompt, c->a.params.n_ctx);
    c->a.bar.label = "reading";
    int code = answerer_prepare(&c->a, &c->o.sampling, c->o.lookup);
    return code == EXIT_DONE ? answerer_speculate(&c->a, c->o.lookup) : code;
}

static int read_prompt(completion *c) {
    slm_error err;
    slm_status status = answerer_read(&c->a, c->prompt.ids, (int32_t)c->prompt.n, &err);
    progress_end(&c->a.bar);
    return status == SLM_OK ? EXIT_DONE : fail_with("prefix and suffix", &err);
}

static int run(const command *self, int argc, char **argv) {
    completion c = {.o = {.n = 256, .lookup = 8, .sampling = sampling_defaults()},
                    .a = {ANSWERER_DEFAULTS, .bare = true}};
    int code = parse_options(self, argc, argv, &c.o, NULL);
    if (code == PARSED) code = compute_params(self, &c.o.compute, &c.a.params);
    if (code == PARSED) code = sampling_check(self, &c.o.sampling);
    if (code != PARSED) return code;
    if (!c.o.model) return usage_error(self, "-m MODEL is missing");
    catch_interrupt();
    code = answerer_open(&c.a, c.o.model, &c.o.compute.lora);
    if (code == EXIT_DONE) code = read_texts(&c);
    if (code == EXIT_DONE) code = prepare(&c);
    if (code == EXIT_DONE) code = read_prompt(&c);
    if (code == EXIT_DONE) code = answer(&c.a, c.o.n);
    answerer_free(&c.a);
    free(c.prompt.ids);
    free(c.prefix);
    free(c.suffix);
    return code;
}

const command complete_command = {
    .name = "complete",
    .arguments = "-m MODEL [--prefix FILE] [--suffix FILE] [options]",
    .summary = "write what is missing between two texts",
    .details = "For models with tokens for filling in the middle. Only what is missing is written, "
               "byte for byte:\nno newline is added at its end.\n",
    .options = options,
    .run = run,
};
