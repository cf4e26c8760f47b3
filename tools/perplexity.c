/*
 * slm perplexity: how well a model predicts a text, exp of the mean of -ln p(token | tokens before it in its window).
 *
 * A text is longer than what a model looks back on, so it is cut into windows (docs/perplexity.md has the definitions):
 *
 *   by halves   one window behind the other; the second half of each is scored, so that every scored token has half a window before it
 *   by strides  a window begins `stride` tokens behind the one before; what that one did not have is scored: every token of the text, once
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shares.h"
#include "text.h"
#include "windows.h"

typedef struct perplexity_options {
    const char *model, *file;
    int32_t stride; /* 0: by halves */
    bool json, parse_special;
    compute_options compute; /* its n_ctx is the window */
} perplexity_options;

static const option options[] = {
    {"-m", "MODEL", OPT_TEXT, offsetof(perplexity_options, model), 0, 0, "GGUF file"},
    {"-f", "TEXT", OPT_TEXT, offsetof(perplexity_options, file), 0, 0,
     "the text, less one last newline; -: standard input"},
    {"-c", "N", OPT_INT, offsetof(perplexity_options, compute.n_ctx), SHORTEST_WINDOW, INT32_MAX,
     "tokens of a window (default 512)"},
    {"--stride", "N", OPT_INT, offsetof(perplexity_options, stride), 1, INT32_MAX,
     "score each token once, in windows N tokens apart (default: the second half of each window)"},
    PARSE_SPECIAL_OPTION(perplexity_options),
    {"--json", NULL, OPT_FLAG, offsetof(perplexity_options, json), 0, 0, "one JSON object"},
    WORK_OPTIONS(perplexity_options),
    {0},
};

typedef struct work {
    perplexity_options o;
    slm_model *model;
    adapter_list adapters;
    slm_context *ctx;
    windows windows;
    window_walk walk;
    double *nll;      /* [n_scored] -ln p, in the order of the text */
    size_t n_scored;  /* up to now                                 */
    uint64_t n_bytes; /* of the texts of those tokens              */
    double seconds;
    progress_bar bar;
} work;

static bool show_progress(void *user, float done) {
    work *w = user;
    return progress_update(&w->bar, walk_progress(&w->walk, done));
}

/* The rows of a piece: of each share, the error of the first row that has none. */
typedef struct row_scores {
    const work *w;
    slm_error err[MAX_SHARES];
} row_scores;

static void score_share(void *user, int32_t share, int32_t begin, int32_t end) {
    row_scores *scores = user;
    const work *w = scores->w;
    slm_error *err = &scores->err[share];
    for (int32_t i = begin; i < end && err->status == SLM_OK; i++) {
        slm_logprob p;
        if (slm_context_logprobs(w->ctx, i, &w->walk.rows[i].token, 1, 0, &p, err) == SLM_OK)
            w->nll[w->n_scored + (size_t)i] = -p.logprob;
    }
}

/* With a large vocabulary this is a good part of the work. */
static int score_rows(work *w) {
    row_scores scores = {.w = w};
    share_rows(slm_context_n_threads(w->ctx), w->walk.n_rows, score_share, &scores);
    for (int32_t i = 0; i < MAX_SHARES; i++)
        if (scores.err[i].status != SLM_OK) return fail_with("log-probabilities", &scores.err[i]);
    return EXIT_DONE;
}

static int compute_piece(work *w) {
    const window_walk *walk = &w->walk;
    slm_error err;
    if (walk_decode(walk, w->ctx, &err) != SLM_OK) return fail_with("decode", &err);
    int code = score_rows(w);
    for (int32_t i = 0; i < walk->n_rows && code == EXIT_DONE; i++) {
        size_t n = 0;
        if (slm_token_get(w->model, walk->rows[i].token, NULL, &n, NULL) != SLM_OK)
            return fail_changed(w->o.model);
        w->n_bytes += n;
    }
    w->n_scored += (size_t)walk->n_rows;
    return code;
}

static int compute_all(work *w) {
    double began = now();
    while (walk_next(&w->walk)) {
        int code = compute_piece(w);
        if (code != EXIT_DONE) return code;
    }
    w->seconds = now() - began;
    progress_end(&w->bar);
    return EXIT_DONE;
}

/* ---- Result ---- */

/* exp(x), x >= 0: that of libm need not have the same bits on every machine. exp(x/1024) by its series, squared ten times; within
 * 1e-12 of the value. */
static double exp_of(double x) {
    double y = 1;
    for (int i = 16; i > 0; i--) y = 1 + x / 1024 / i * y;
    for (int i = 0; i < 10; i++) y *= y;
    return y;
}

typedef struct result {
    double nll, nll_error; /* mean of -ln p, and its standard error (NaN: of one token) */
    double perplexity, error;
    double bits_per_byte;
} result;

static result add_up(const double *nll, size_t n, uint64_t n_bytes) {
    static const double ln2 = 0.693147180559945309;
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) sum += nll[i];
    result r = {.nll = sum / (double)n};
    for (size_t i = 0; i < n; i++) squares += (nll[i] - r.nll) * (nll[i] - r.nll);
    r.nll_error = n > 1 ? sqrt(squares / (double)(n - 1) / (double)n) : NAN;
    r.perplexity = exp_of(r.nll);
    r.error = r.perplexity * r.nll_error; /* d exp(x) = exp(x) dx */
    r.bits_per_byte = n_bytes > 0 ? sum / ln2 / (double)n_bytes : NAN;
    return r;
}

static void put_json(const work *w, const result *r) {
    json j = {.out = stdout};
    json_open(&j, '{');
    json_named_double(&j, "perplexity", r->perplexity);
    json_named_double(&j, "standard_error", r->error);
    json_named_double(&j, "nll_per_token", r->nll);
    json_named_double(&j, "bits_per_byte", r->bits_per_byte);
    json_named_u64(&j, "n_tokens", w->windows.text.n);
    json_named_u64(&j, "n_scored", w->n_scored);
    json_named_u64(&j, "n_windows", w->windows.n);
    json_named_u64(&j, "window", w->windows.size);
    json_name(&j, "stride");
    if (w->windows.halves)
        json_text(&j, NULL);
    else
        json_u64(&j, w->windows.step);
    json_named_double(&j, "seconds", w->seconds);
    json_named_double(&j, "tokens_per_second", (double)w->walk.n_total / w->seconds);
    json_close(&j, '}');
    putchar('\n');
}

static void put_plain(const work *w, const result *r) {
    printf("perplexity     %.4f", r->perplexity);
    if (w->n_scored > 1) printf(" +/- %.4f", r->error);
    printf("\nnll per token  %.5f", r->nll);
    if (w->n_scored > 1) printf(" +/- %.5f", r->nll_error);
    printf("\nbits per byte  %.4f\n", r->bits_per_byte);
    printf("scored         %zu of %zu tokens, in %zu window%s of %zu", w->n_scored,
           w->windows.text.n, w->windows.n, w->windows.n == 1 ? "" : "s", w->windows.size);
    if (!w->windows.halves) printf(", %zu apart", w->windows.step);
    printf("\nspeed          %.1f tokens/s, %zu in %.1f s\n", (double)w->walk.n_total / w->seconds,
           w->walk.n_total, w->seconds);
}

/* ---- The whole ---- */

static int prepare(work *w, slm_context_params *params) {
    static const walk_limits limits = {.logits_bytes = 64 << 20, .n_tokens = 2048};
    int code = windows_read(&w->windows, w->model, w->o.file, w->o.parse_special);
    if (code == EXIT_DONE)
        code = windows_cut(&w->windows, (size_t)w->o.compute.n_ctx, (size_t)w->o.stride, w->model);
    if (code == EXIT_DONE)
        code = walk_begin(&w->walk, WALK_SCORED, &w->windows, w->model, limits, params);
    if (code != EXIT_DONE) return code;
    w->nll = calloc(windows_scored(&w->windows), sizeof *w->nll);
    if (!w->nll) return fail("no memory");
    w->bar.label = "computing";
    params->progress = show_progress;
    params->progress_user = w;
    return create_context(w->model, params, &w->adapters, &w->ctx);
}

/* Returns PARSED, or the code to exit with. */
static int read_options(const command *self, int argc, char **argv, work *w,
                        slm_context_params *params) {
    int code = parse_options(self, argc, argv, &w->o, NULL);
    if (code == PARSED) code = compute_params(self, &w->o.compute, params);
    if (code != PARSED) return code;
    if (!w->o.model) return usage_error(self, "-m MODEL is missing");
    if (!w->o.file) return usage_error(self, "-f TEXT is missing");
    if (w->o.stride >= w->o.compute.n_ctx)
        return usage_error(self, "--stride %" PRId32 ": a window has %" PRId32 " tokens (-c)",
                           w->o.stride, w->o.compute.n_ctx);
    return PARSED;
}

static int run(const command *self, int argc, char **argv) {
    work w = {.o = {.compute = {.n_ctx = 512}}};
    slm_context_params params;
    int code = read_options(self, argc, argv, &w, &params);
    if (code != PARSED) return code;
    catch_interrupt();
    code = open_model(w.o.model, OPEN_TO_RUN, &w.model);
    if (code == EXIT_DONE) code = open_adapters(w.model, &w.o.compute.lora, &w.adapters);
    if (code == EXIT_DONE) code = prepare(&w, &params);
    if (code == EXIT_DONE) code = compute_all(&w);
    progress_end(&w.bar);
    if (code == EXIT_DONE) {
        result r = add_up(w.nll, w.n_scored, w.n_bytes);
        (w.o.json ? put_json : put_plain)(&w, &r);
    }
    slm_context_free(w.ctx);
    close_adapters(&w.adapters);
    slm_model_close(w.model);
    windows_free(&w.windows);
    walk_free(&w.walk);
    free(w.nll);
    return code;
}

const command perplexity_command = {
    .name = "perplexity",
    .arguments = "-m MODEL -f TEXT [-c N] [--stride N] [--json] [options]",
    .summary = "measure how well a model predicts a text",
    .details = "Perplexity is exp of the mean of -ln p(token | tokens before it in its window), "
               "here with\n"
               "its standard error. Without --stride windows, scored tokens and so the figure are "
               "those of\n"
               "llama.cpp's llama-perplexity. Figures compare only with the same text, window and\n"
               "vocabulary; bits per byte with any vocabulary.\n",
    .options = options,
    .run = run,
};
