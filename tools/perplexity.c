/*
 * slm perplexity: how well a model foretells a text, exp of the mean of -ln p(token | tokens before it in its window).
 *
 * A text is longer than what a model looks back on, so it is cut into windows (docs/perplexity.md has the definitions):
 *
 *   by halves   one window behind the other; the second half of each is scored, so that every scored token has half a window before it
 *   by strides  a window begins `stride` tokens behind the one before; what that one did not have is scored: every token of the text, once
 */
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"
#include "text.h"

typedef struct perplexity_options {
    const char *model, *file;
    int32_t stride; /* 0: by halves */
    bool json;
    compute_options compute; /* its n_ctx is the window */
} perplexity_options;

enum { SHORTEST_WINDOW = 4 };

static const option options[] = {
    {"-m", "MODEL", OPT_TEXT, offsetof(perplexity_options, model), 0, 0, "GGUF file"},
    {"-f", "TEXT", OPT_TEXT, offsetof(perplexity_options, file), 0, 0,
     "the text, less one last newline; -: standard input"},
    {"-c", "N", OPT_INT, offsetof(perplexity_options, compute.n_ctx), SHORTEST_WINDOW, INT32_MAX,
     "tokens of a window (default 512)"},
    {"--stride", "N", OPT_INT, offsetof(perplexity_options, stride), 1, INT32_MAX,
     "score each token once, in windows N tokens apart (default: the second half of each window)"},
    {"--json", NULL, OPT_FLAG, offsetof(perplexity_options, json), 0, 0, "one JSON object"},
    WORK_OPTIONS(perplexity_options),
    {0},
};

/* ---- Windows ---- */

/* Window i holds text[i * step ...], behind a begin-of-sequence token if the vocabulary asks for one: n_bos + n_text positions are
 * all that there is. */
typedef struct windows {
    size_t n, size, step;
    size_t n_bos, n_text; /* n_bos: 0 or 1 */
    bool halves;
} windows;

static windows cut_text(size_t size, size_t stride, size_t n_bos, size_t n_text) {
    windows w = {.size = size, .n_bos = n_bos, .n_text = n_text, .halves = stride == 0};
    size_t n = n_bos + n_text;
    w.step = w.halves ? size : stride;
    if (w.halves)
        w.n = n / size; /* whole ones only */
    else if (n >= 2)    /* a token, and one that it is foretold from */
        w.n = 1 + (n > size ? (n - size + stride - 1) / stride : 0);
    return w;
}

static size_t window_length(const windows *w, size_t i) {
    size_t left = w->n_bos + w->n_text - i * w->step;
    return left < w->size ? left : w->size;
}

/* The first position whose token is scored; all behind it are, too. */
static size_t first_scored(const windows *w, size_t i) {
    if (w->halves) return w->size / 2 + 1;
    return i == 0 ? 1 : w->size - w->step;
}

/* The token of the text at a position of a window, which is not that of n_bos. */
static size_t text_index(const windows *w, size_t i, size_t position) {
    return i * w->step + position - w->n_bos;
}

static size_t count_scored(const windows *w) {
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++) n += window_length(w, i) - first_scored(w, i);
    return n;
}

/* The last token of a window is scored and not computed. */
static size_t count_computed(const windows *w) {
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++) n += window_length(w, i) - 1;
    return n;
}

/* ---- What is computed and scored at a time: a piece of a group of windows, a sequence each ---- */

typedef struct piece {
    slm_token *tokens;
    int32_t *sequences;
    uint8_t *wanted;
    slm_token *targets; /* [n_rows] the token that each row of logits should foretell */
    int32_t n_tokens, n_rows;
} piece;

typedef struct work {
    perplexity_options o;
    slm_model *model;
    adapter_list adapters;
    slm_context *ctx;
    int32_t n_vocab;
    slm_token bos;
    token_list text;
    windows windows;
    size_t n_group;   /* windows computed together                 */
    int32_t n_logits; /* rows of logits held at a time             */
    double *nll;      /* [n_scored] -ln p, in the order of the text */
    size_t n_scored;  /* up to now                                 */
    uint64_t n_bytes; /* of the texts of those tokens              */
    piece piece;
    double seconds;
    progress_bar bar;
    size_t n_total, n_done; /* tokens to compute, and those before this piece */
} work;

static bool show_progress(void *user, float done) {
    work *w = user;
    double n = (double)w->n_done + (double)done * (double)w->piece.n_tokens;
    return progress_update(&w->bar, (float)(n / (double)w->n_total));
}

/* Rows begin .. end-1 of a piece, a thread's share. */
typedef struct share {
    const work *w;
    int32_t begin, end;
    slm_error err; /* of the first row that has none */
} share;

static void *score_share(void *user) {
    share *s = user;
    const work *w = s->w;
    s->err.status = SLM_OK;
    for (int32_t i = s->begin; i < s->end && s->err.status == SLM_OK; i++) {
        slm_logprob p;
        if (slm_logprobs(slm_logits(w->ctx, i), w->n_vocab, &w->piece.targets[i], 1, 0, &p,
                         &s->err) == SLM_OK)
            w->nll[w->n_scored + (size_t)i] = -p.logprob;
    }
    return NULL;
}

/* With a large vocabulary this is a good part of the work. Each row is one thread's, so their number changes nothing. */
static int score_rows(work *w) {
    enum { MAX_SHARES = 64 };
    share shares[MAX_SHARES];
    pthread_t threads[MAX_SHARES];
    bool started[MAX_SHARES] = {false};
    int32_t n = slm_context_n_threads(w->ctx), n_rows = w->piece.n_rows;
    n = n > MAX_SHARES ? MAX_SHARES : n;
    for (int32_t i = 0; i < n; i++)
        shares[i] = (share){.w = w,
                            .begin = (int32_t)((int64_t)n_rows * i / n),
                            .end = (int32_t)((int64_t)n_rows * (i + 1) / n)};
    for (int32_t i = 1; i < n && n_rows >= n; i++)
        started[i] = pthread_create(&threads[i], NULL, score_share, &shares[i]) == 0;
    for (int32_t i = 0; i < n; i++)
        if (!started[i]) score_share(&shares[i]);
    for (int32_t i = 1; i < n; i++)
        if (started[i]) pthread_join(threads[i], NULL);
    for (int32_t i = 0; i < n; i++)
        if (shares[i].err.status != SLM_OK) return fail_with("log-probabilities", &shares[i].err);
    return EXIT_DONE;
}

static int compute_piece(work *w) {
    piece *p = &w->piece;
    slm_error err;
    slm_batch batch = {.size = sizeof batch,
                       .n_tokens = p->n_tokens,
                       .tokens = p->tokens,
                       .sequences = p->sequences,
                       .want_logits = p->wanted};
    if (p->n_tokens == 0) return EXIT_DONE;
    if (slm_decode(w->ctx, &batch, &err) != SLM_OK) return fail_with("decode", &err);
    int code = score_rows(w);
    for (int32_t i = 0; i < p->n_rows && code == EXIT_DONE; i++) {
        size_t n = 0;
        if (slm_token_get(w->model, p->targets[i], NULL, &n, NULL) != SLM_OK)
            return fail_changed(w->o.model);
        w->n_bytes += n;
    }
    w->n_scored += (size_t)p->n_rows;
    w->n_done += (size_t)p->n_tokens;
    p->n_tokens = p->n_rows = 0;
    return code;
}

/* All but the last token of window i, as that sequence. */
static int add_window(work *w, size_t i, int32_t sequence) {
    const windows *all = &w->windows;
    const slm_token *text = w->text.ids;
    piece *p = &w->piece;
    size_t length = window_length(all, i), scored = first_scored(all, i);
    for (size_t at = 0; at + 1 < length; at++) {
        bool wanted = at + 1 >= scored;
        if (wanted && p->n_rows == w->n_logits) {
            int code = compute_piece(w);
            if (code != EXIT_DONE) return code;
        }
        if (wanted) p->targets[p->n_rows++] = text[text_index(all, i, at + 1)];
        p->wanted[p->n_tokens] = wanted;
        p->sequences[p->n_tokens] = sequence;
        p->tokens[p->n_tokens++] = at < all->n_bos ? w->bos : text[text_index(all, i, at)];
    }
    return EXIT_DONE;
}

static int compute_all(work *w) {
    slm_error err;
    double began = now();
    for (size_t first = 0; first < w->windows.n; first += w->n_group) {
        size_t left = w->windows.n - first, n = left < w->n_group ? left : w->n_group;
        int code = EXIT_DONE;
        for (size_t i = 0; i < n && code == EXIT_DONE; i++)
            code = add_window(w, first + i, (int32_t)i);
        if (code == EXIT_DONE) code = compute_piece(w);
        if (code != EXIT_DONE) return code;
        for (size_t i = 0; i < n; i++)
            if (slm_seq_truncate(w->ctx, (int32_t)i, 0, &err) != SLM_OK)
                return fail_with("cannot empty the context", &err);
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
    json_name(&j, "perplexity");
    json_double(&j, r->perplexity);
    json_name(&j, "standard_error");
    json_double(&j, r->error);
    json_name(&j, "nll_per_token");
    json_double(&j, r->nll);
    json_name(&j, "bits_per_byte");
    json_double(&j, r->bits_per_byte);
    json_name(&j, "n_tokens");
    json_u64(&j, w->text.n);
    json_name(&j, "n_scored");
    json_u64(&j, w->n_scored);
    json_name(&j, "n_windows");
    json_u64(&j, w->windows.n);
    json_name(&j, "window");
    json_u64(&j, w->windows.size);
    json_name(&j, "stride");
    if (w->windows.halves)
        json_text(&j, NULL);
    else
        json_u64(&j, w->windows.step);
    json_name(&j, "seconds");
    json_double(&j, w->seconds);
    json_name(&j, "tokens_per_second");
    json_double(&j, (double)w->n_done / w->seconds);
    json_close(&j, '}');
    putchar('\n');
}

static void put_plain(const work *w, const result *r) {
    printf("perplexity     %.4f", r->perplexity);
    if (w->n_scored > 1) printf(" +/- %.4f", r->error);
    printf("\nnll per token  %.5f", r->nll);
    if (w->n_scored > 1) printf(" +/- %.5f", r->nll_error);
    printf("\nbits per byte  %.4f\n", r->bits_per_byte);
    printf("scored         %zu of %zu tokens, in %zu window%s of %zu", w->n_scored, w->text.n,
           w->windows.n, w->windows.n == 1 ? "" : "s", w->windows.size);
    if (!w->windows.halves) printf(", %zu apart", w->windows.step);
    printf("\nspeed          %.1f tokens/s, %zu in %.1f s\n", (double)w->n_done / w->seconds,
           w->n_done, w->seconds);
}

/* ---- The whole ---- */

static const char *text_name(const work *w) {
    return strcmp(w->o.file, "-") == 0 ? "standard input" : w->o.file;
}

/* The text's tokens, and whether the vocabulary wants one before them. */
static int read_text(work *w) {
    slm_error err;
    size_t n_bytes = 0;
    token_list nothing;
    char *text = read_all(w->o.file, &n_bytes);
    if (!text) return interrupted() ? EXIT_INTERRUPTED : EXIT_FAILED;
    if (n_bytes > 0 && text[n_bytes - 1] == '\n') n_bytes--;
    slm_status status = tokenize(w->model, "", 0, SLM_TOKENIZE_BOS, &nothing, &err);
    w->windows.n_bos = nothing.n;
    if (status == SLM_OK && nothing.n > 0) w->bos = nothing.ids[0];
    free(nothing.ids);
    if (status == SLM_OK) status = tokenize(w->model, text, n_bytes, 0, &w->text, &err);
    free(text);
    if (status != SLM_OK) return fail_with(text_name(w), &err);
    return w->text.n > 0 ? EXIT_DONE : fail("%s: no text in it", text_name(w));
}

static int cut_windows(work *w, const slm_model_info *info) {
    size_t size = (size_t)w->o.compute.n_ctx;
    w->windows = cut_text(size, (size_t)w->o.stride, w->windows.n_bos, w->text.n);
    size_t n = w->windows.n_bos + w->text.n;
    if (w->windows.n == 0 && w->windows.halves)
        return fail("%s: too short, %zu tokens, and a window has %zu (-c, --stride)", text_name(w),
                    n, size);
    if (w->windows.n == 0)
        return fail("%s: too short, a token with nothing before it", text_name(w));
    if (info->n_ctx_train > 0 && window_length(&w->windows, 0) > (size_t)info->n_ctx_train)
        warn("%zu tokens: the model was trained for %" PRId32, window_length(&w->windows, 0),
             info->n_ctx_train);
    return EXIT_DONE;
}

/* Windows are computed together as long as they fit into the tokens that are computed at a time: fewer than the positions from which on
 * LongRoPE would have other factors. */
static void size_context(work *w, slm_context_params *p) {
    enum { LOGITS_BYTES = 64 << 20, MOST_TOKENS = 2048 };
    size_t length = window_length(&w->windows, 0);
    w->n_group = MOST_TOKENS > length ? MOST_TOKENS / length : 1;
    if (w->n_group > w->windows.n) w->n_group = w->windows.n;
    size_t n_rows = LOGITS_BYTES / ((size_t)w->n_vocab * sizeof(float)), rows = w->n_group * length;
    n_rows = n_rows < rows ? n_rows : rows;
    w->n_logits = n_rows > 0 ? (int32_t)n_rows : 1;
    p->n_ctx = (int32_t)(w->n_group * length);
    p->n_batch = p->n_ctx < MOST_TOKENS ? p->n_ctx : MOST_TOKENS;
    p->n_seq_max = (int32_t)w->n_group;
    p->n_logits = w->n_logits;
    p->progress = show_progress;
    p->progress_user = w;
}

static int prepare(work *w, slm_context_params *params) {
    slm_model_info info = {.size = sizeof info};
    slm_model_get_info(w->model, &info); /* cannot fail: both pointers and the size are good */
    w->n_vocab = info.n_vocab;
    int code = read_text(w);
    if (code == EXIT_DONE) code = cut_windows(w, &info);
    if (code != EXIT_DONE) return code;
    size_context(w, params);
    size_t n = (size_t)params->n_ctx;
    w->piece = (piece){.tokens = calloc(n, sizeof *w->piece.tokens),
                       .sequences = calloc(n, sizeof *w->piece.sequences),
                       .wanted = calloc(n, 1),
                       .targets = calloc((size_t)w->n_logits, sizeof *w->piece.targets)};
    w->nll = calloc(count_scored(&w->windows), sizeof *w->nll);
    if (!w->piece.tokens || !w->piece.sequences || !w->piece.wanted || !w->piece.targets || !w->nll)
        return fail("no memory");
    w->n_total = count_computed(&w->windows);
    w->bar.label = "computing";
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
    code = open_model(w.o.model, OPEN_ALL, &w.model);
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
    free(w.text.ids);
    free(w.piece.tokens);
    free(w.piece.sequences);
    free(w.piece.wanted);
    free(w.piece.targets);
    free(w.nll);
    return code;
}

const command perplexity_command = {
    .name = "perplexity",
    .arguments = "-m MODEL -f TEXT [-c N] [--stride N] [--json] [options]",
    .summary = "measure how well a model foretells a text",
    .details = "Perplexity is exp of the mean of -ln p(token | tokens before it in its window), "
               "here with\n"
               "its standard error. Without --stride windows, scored tokens and so the figure are "
               "those of\n"
               "llama.cpp's llama-perplexity. Figures compare only with the same text, window and\n"
               "vocabulary; bits per byte with any vocabulary.\n",
    .options = options,
    .run = run,
};
