/* slm logprobs: what the model expects after each token of given sequences, a JSON object a line. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"
#include "text.h"

typedef struct logprobs_options {
    const char *model, *ids;
    int32_t top, greedy, last;
    bool hash;
    compute_options compute;
} logprobs_options;

static const option options[] = {
    {"-m", "MODEL", OPT_TEXT, offsetof(logprobs_options, model), 0, 0, "GGUF file"},
    {"--ids", "FILE", OPT_TEXT, offsetof(logprobs_options, ids), 0, 0,
     "token ids separated by spaces, a sequence a line; -: standard input"},
    {"--top", "K", OPT_INT, offsetof(logprobs_options, top), 0, INT32_MAX,
     "the K most probable tokens after each position; 0: none (default 10)"},
    {"--last", "N", OPT_INT, offsetof(logprobs_options, last), 0, INT32_MAX,
     "look at the last N positions of a line only; 0: all of them (default 0)"},
    {"--greedy", "N", OPT_INT, offsetof(logprobs_options, greedy), 0, INT32_MAX,
     "N ids that follow, each the most probable one (default 0)"},
    {"--hash", NULL, OPT_FLAG, offsetof(logprobs_options, hash), 0, 0,
     "a hash of all bits of the logits of the sequence"},
    COMPUTE_OPTIONS(logprobs_options, "what the longest line needs"),
    {0},
};

/* ---- Sequences: the whole file is checked before anything is computed ---- */

typedef struct sequences {
    slm_token *ids; /* of all lines                         */
    size_t *ends;   /* [n] where the ids of a line end      */
    size_t n;
    const char *where; /* for messages */
} sequences;

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r'; }

static const char *skip_spaces(const char *p, const char *end) {
    while (p < end && is_space(*p)) p++;
    return p;
}

/* The word at *at as a token id; *at moves behind it. */
static bool parse_id(const char **at, const char *end, int32_t n_vocab, slm_token *id) {
    const char *begin = *at, *p = begin;
    int64_t v = 0;
    for (; p < end && *p >= '0' && *p <= '9' && v < n_vocab; p++) v = v * 10 + (*p - '0');
    *at = p;
    *id = (slm_token)v;
    return p > begin && (p == end || is_space(*p)) && v < n_vocab;
}

/* The ids of one line behind the *n that are there. */
static int parse_line(const sequences *s, const char *p, const char *end, int32_t n_vocab,
                      size_t *n) {
    size_t first = *n, line = s->n + 1;
    for (p = skip_spaces(p, end); p < end; p = skip_spaces(p, end)) {
        if (!parse_id(&p, end, n_vocab, &s->ids[*n]))
            return fail("%s, line %zu: word %zu is not a token id from 0 to %" PRId32, s->where,
                        line, *n - first + 1, n_vocab - 1);
        ++*n;
    }
    return *n > first ? EXIT_DONE : fail("%s, line %zu: no token ids", s->where, line);
}

static int parse_sequences(const char *text, size_t n_bytes, int32_t n_vocab, sequences *s) {
    const char *end = text + n_bytes;
    size_t lines = 1, n_ids = 0;
    for (const char *p = text; p < end; p++) lines += *p == '\n';
    s->ids = calloc(n_bytes / 2 + 1, sizeof *s->ids); /* an id takes a digit and a separator */
    s->ends = calloc(lines, sizeof *s->ends);
    if (!s->ids || !s->ends) return fail("%s: no memory for its token ids", s->where);
    for (const char *p = text; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p)), *stop = newline ? newline : end;
        int code = parse_line(s, p, stop, n_vocab, &n_ids);
        if (code != EXIT_DONE) return code;
        s->ends[s->n++] = n_ids;
        p = stop + (newline != NULL);
    }
    return s->n > 0 ? EXIT_DONE : fail("%s: no token sequence in it", s->where);
}

static int read_sequences(const char *path, int32_t n_vocab, sequences *s) {
    size_t n_bytes = 0;
    char *text = read_all(path, &n_bytes);
    if (!text) return interrupted() ? EXIT_INTERRUPTED : EXIT_FAILED;
    s->where = strcmp(path, "-") == 0 ? "standard input" : path;
    int code = parse_sequences(text, n_bytes, n_vocab, s);
    free(text);
    return code;
}

static size_t begin_of(const sequences *s, size_t i) { return i == 0 ? 0 : s->ends[i - 1]; }
static size_t length_of(const sequences *s, size_t i) { return s->ends[i] - begin_of(s, i); }

/* ---- One row of logits ---- */

static slm_token most_probable(const float *row, int32_t n) {
    slm_token best = 0;
    for (int32_t i = 1; i < n; i++) best = row[i] > row[best] ? i : best;
    return best;
}

#define FNV_OFFSET UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME  UINT64_C(0x100000001b3)

/* FNV-1a of 64 bits over the floats as little-endian bytes (docs/cli.md). */
static uint64_t hash_row(uint64_t hash, const float *row, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &row[i], sizeof bits);
        for (int shift = 0; shift < 32; shift += 8)
            hash = (hash ^ ((bits >> shift) & 0xff)) * FNV_PRIME;
    }
    return hash;
}

/* ---- One sequence ---- */

typedef struct work {
    logprobs_options o;
    slm_model *model;
    adapter_list adapters;
    slm_context *ctx;
    sequences seq;
    int32_t n_vocab, n_trained;
    int32_t piece;    /* tokens whose logits are held at a time */
    uint8_t *wanted;  /* [piece] ones, behind them [longest] zeros */
    slm_logprob *top; /* [o.top]                               */
    uint64_t hash;
    json j;
    progress_bar bar;
    size_t n_total, n_done, n_now; /* tokens: in all, before this piece, in it */
} work;

static bool show_progress(void *user, float done) {
    work *w = user;
    double n = (double)w->n_done + (double)done * (double)w->n_now;
    return progress_update(&w->bar, (float)(n / (double)w->n_total));
}

static bool wants_every_row(const work *w) { return w->o.top > 0 || w->o.hash; }

static int put_top(work *w, const float *row) {
    slm_error err;
    if (slm_logprobs(row, w->n_vocab, NULL, 0, w->o.top, w->top, &err) != SLM_OK)
        return fail_with("log-probabilities", &err);
    json_open(&w->j, '[');
    for (int32_t i = 0; i < w->o.top; i++) {
        json_open(&w->j, '[');
        json_int(&w->j, w->top[i].token);
        json_double(&w->j, w->top[i].logprob);
        json_close(&w->j, ']');
    }
    json_close(&w->j, ']');
    return EXIT_DONE;
}

/* Compute n tokens and look at no row. */
static int skip_tokens(work *w, const slm_token *ids, int32_t n) {
    slm_error err;
    slm_batch batch = {
        .size = sizeof batch, .n_tokens = n, .tokens = ids, .want_logits = w->wanted + w->piece};
    w->n_now = (size_t)n;
    if (slm_decode(w->ctx, &batch, &err) != SLM_OK) return fail_with("decode", &err);
    w->n_done += (size_t)n;
    return EXIT_DONE;
}

/* Compute n tokens and look at their rows; *last receives the row of the last one. */
static int compute_piece(work *w, const slm_token *ids, int32_t n, const float **last) {
    slm_error err;
    slm_batch batch = {.size = sizeof batch, .n_tokens = n, .tokens = ids};
    bool every = wants_every_row(w);
    if (every) batch.want_logits = w->wanted;
    w->n_now = (size_t)n;
    if (slm_decode(w->ctx, &batch, &err) != SLM_OK) return fail_with("decode", &err);
    w->n_done += (size_t)n;
    *last = slm_logits(w->ctx, every ? n - 1 : 0);
    int code = EXIT_DONE;
    for (int32_t i = 0; every && i < n && code == EXIT_DONE; i++) {
        const float *row = slm_logits(w->ctx, i);
        if (w->o.hash) w->hash = hash_row(w->hash, row, w->n_vocab);
        if (w->o.top > 0) code = put_top(w, row);
    }
    return code;
}

static int put_greedy(work *w, const float *row) {
    slm_error err;
    json_named_open(&w->j, "greedy", '[');
    for (int32_t i = 0; i < w->o.greedy; i++) {
        slm_token id = most_probable(row, w->n_vocab);
        json_int(&w->j, id);
        if (i + 1 == w->o.greedy) break;
        w->n_now = 0;
        if (slm_decode_tokens(w->ctx, &id, 1, &err) != SLM_OK) return fail_with("decode", &err);
        row = slm_logits(w->ctx, 0);
    }
    json_close(&w->j, ']');
    return EXIT_DONE;
}

static void put_tokens(work *w, const slm_token *ids, size_t n) {
    json_named_open(&w->j, "tokens", '[');
    for (size_t i = 0; i < n; i++) json_int(&w->j, ids[i]);
    json_close(&w->j, ']');
}

static void put_hash(work *w) {
    char text[24];
    snprintf(text, sizeof text, "0x%016" PRIx64, w->hash);
    json_named_text(&w->j, "logits_hash", text);
}

/* The lists are written as they are computed: with a whole vocabulary they are too long to be held. */
static int put_sequence(work *w, const slm_token *ids, size_t n) {
    int code = EXIT_DONE;
    const float *last = NULL;
    w->j = (json){.out = stdout};
    w->hash = FNV_OFFSET;
    json_open(&w->j, '{');
    put_tokens(w, ids, n);
    if (w->o.top > 0) {
        json_named_open(&w->j, "top", '[');
    }
    size_t at = w->o.last > 0 && n > (size_t)w->o.last ? n - (size_t)w->o.last : 0;
    if (at > 0) code = skip_tokens(w, ids, (int32_t)at);
    for (; at < n && code == EXIT_DONE; at += (size_t)w->piece) {
        size_t left = n - at;
        code =
            compute_piece(w, ids + at, left < (size_t)w->piece ? (int32_t)left : w->piece, &last);
    }
    if (code != EXIT_DONE) return code;
    if (w->o.top > 0) json_close(&w->j, ']');
    if (w->o.greedy > 0) code = put_greedy(w, last);
    if (code != EXIT_DONE) return code;
    if (w->o.hash) put_hash(w);
    json_close(&w->j, '}');
    putchar('\n');
    return finish_output();
}

/* ---- The whole ---- */

/* Positions that sequence i takes; the last greedy id is not computed. */
static int64_t positions_of(const work *w, size_t i) {
    return (int64_t)length_of(&w->seq, i) + (w->o.greedy > 0 ? w->o.greedy - 1 : 0);
}

/* The context holds the longest sequence; one at a time is computed. */
static int choose_n_ctx(const work *w, slm_context_params *params) {
    int64_t longest = 1, limit = params->n_ctx > 0 ? params->n_ctx : w->n_trained;
    for (size_t i = 0; i < w->seq.n; i++) {
        int64_t n = positions_of(w, i);
        if (n > limit)
            return fail("%s, line %zu: takes %" PRId64 " positions, the context has %" PRId64
                        " (-c)",
                        w->seq.where, i + 1, n, limit);
        longest = n > longest ? n : longest;
    }
    params->n_ctx = (int32_t)longest;
    return EXIT_DONE;
}

/* Rows of logits are large: 16 MiB of them at a time. */
static int32_t choose_piece(const work *w) {
    int64_t n = ((int64_t)16 << 20) / ((int64_t)w->n_vocab * (int64_t)sizeof(float));
    return n < 1 ? 1 : n > 64 ? 64 : (int32_t)n;
}

static int prepare(work *w, slm_context_params *params) {
    slm_model_info info = {.size = sizeof info};
    slm_model_get_info(w->model, &info); /* cannot fail: both pointers and the size are good */
    w->n_vocab = info.n_vocab;
    w->n_trained = info.n_ctx_train;
    if (w->o.top > w->n_vocab) w->o.top = w->n_vocab;
    int code = read_sequences(w->o.ids, w->n_vocab, &w->seq);
    if (code == EXIT_DONE) code = choose_n_ctx(w, params);
    if (code != EXIT_DONE) return code;
    w->piece = choose_piece(w);
    w->wanted = calloc((size_t)w->piece + (size_t)params->n_ctx, 1);
    w->top = calloc((size_t)w->o.top + 1, sizeof *w->top);
    if (!w->wanted || !w->top) return fail("no memory");
    memset(w->wanted, 1, (size_t)w->piece);
    w->n_total = w->seq.ends[w->seq.n - 1];
    w->bar.label = isatty(STDOUT_FILENO) ? NULL : "computing"; /* not between lines of the output */
    if (params->n_batch < w->piece) params->n_batch = w->piece;
    params->n_logits = wants_every_row(w) ? w->piece : 1;
    params->progress = show_progress;
    params->progress_user = w;
    return create_context(w->model, params, &w->adapters, &w->ctx);
}

static int put_all(work *w) {
    int code = EXIT_DONE;
    slm_error err;
    for (size_t i = 0; i < w->seq.n && code == EXIT_DONE; i++) {
        if (slm_seq_truncate(w->ctx, 0, 0, &err) != SLM_OK)
            return fail_with("cannot empty the context", &err);
        code = put_sequence(w, w->seq.ids + begin_of(&w->seq, i), length_of(&w->seq, i));
    }
    return code;
}

static int run(const command *self, int argc, char **argv) {
    work w = {.o = {.top = 10}};
    slm_context_params params;
    int code = parse_options(self, argc, argv, &w.o, NULL);
    if (code == PARSED) code = compute_params(self, &w.o.compute, &params);
    if (code != PARSED) return code;
    if (!w.o.model) return usage_error(self, "-m MODEL is missing");
    if (!w.o.ids) return usage_error(self, "--ids FILE is missing");
    catch_interrupt();
    code = open_model(w.o.model, OPEN_TO_RUN, &w.model);
    if (code == EXIT_DONE) code = open_adapters(w.model, &w.o.compute.lora, &w.adapters);
    if (code == EXIT_DONE) code = prepare(&w, &params);
    if (code == EXIT_DONE) code = put_all(&w);
    progress_end(&w.bar);
    slm_context_free(w.ctx);
    close_adapters(&w.adapters);
    slm_model_close(w.model);
    free(w.seq.ids);
    free(w.seq.ends);
    free(w.wanted);
    free(w.top);
    return code;
}

const command logprobs_command = {
    .name = "logprobs",
    .arguments = "-m MODEL --ids FILE [options]",
    .summary = "print what the model expects after each token, as JSON",
    .details =
        "A line of output for each line of FILE:\n"
        "  {\"tokens\":[...], \"top\":[[[id, logprob], ...], ...], \"greedy\":[...],\n"
        "   \"logits_hash\":\"0x...\"}\n"
        "List i of \"top\" is the distribution of the token after position i, the most probable\n"
        "first; with --last, of the last positions only. The hash is the same on every machine.\n",
    .options = options,
    .run = run,
};
