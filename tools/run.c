/* slm run: a prompt's answer, as it comes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "load.h"
#include "sampling.h"
#include "text.h"

typedef struct run_options {
    const char *model, *prompt, *file, *system, *draft, *cache;
    int32_t n, lookup, keep, logprobs;
    bool raw, stats;
    sampling_options sampling;
    compute_options compute;
} run_options;

enum { MAX_DRAFT = 64, MODEL_DRAFT = 8 }; /* tokens that a step drafts: at most; by a model alone */

static const option options[] = {
    {"-m", "MODEL", OPT_TEXT, offsetof(run_options, model), 0, 0, "GGUF file"},
    {"-p", "PROMPT", OPT_TEXT, offsetof(run_options, prompt), 0, 0, "what to answer"},
    {"-f", "FILE", OPT_TEXT, offsetof(run_options, file), 0, 0,
     "the prompt from a file, less one last newline; without -p and -f: standard input"},
    {"--system", "TEXT", OPT_TEXT, offsetof(run_options, system), 0, 0,
     "a system message before the prompt"},
    {"--raw", NULL, OPT_FLAG, offsetof(run_options, raw), 0, 0,
     "go on with the prompt as it is, without the model's chat format"},
    {"-n", "N", OPT_INT, offsetof(run_options, n), 0, INT32_MAX,
     "stop after N tokens (default 0: when the model ends or the context is full)"},
    SAMPLING_OPTIONS(run_options),
    {"--logprobs", "N", OPT_INT, offsetof(run_options, logprobs), 0, 100000,
     "instead of the text a JSON object for each token: its log-probability and the N best"},
    {"--lookup", "N", OPT_INT, offsetof(run_options, lookup), 0, MAX_DRAFT,
     "check up to N tokens at a time that came before, where it pays; same text (default 8)"},
    {"--draft", "MODEL", OPT_TEXT, offsetof(run_options, draft), 0, 0,
     "draft tokens with this smaller model of the same vocabulary; same text"},
    {"--keep", "N", OPT_INT, offsetof(run_options, keep), 0, INT32_MAX,
     "go on when the context is full: forget the older half of what follows the first N tokens "
     "(default: stop there)"},
    {"--cache", "FILE", OPT_TEXT, offsetof(run_options, cache), 0, 0,
     "keep what was computed of the prompt in FILE, and begin with it the next time"},
    {"--stats", NULL, OPT_FLAG, offsetof(run_options, stats), 0, 0,
     "a line on the speed at the end, on stderr (default: on a terminal)"},
    COMPUTE_OPTIONS(run_options, "4096, or more if needed"),
    {0},
};

/* Everything that one run holds; freed at the end, however it ends. */
typedef struct session {
    run_options o;
    slm_context_params params;
    progress_bar bar;
    slm_model *model;
    int32_t n_vocab;
    adapter_list adapters;
    slm_context *ctx;
    slm_sampler *sampler;
    slm_model *draft_model;
    slm_context *draft;
    slm_speculator *speculator;    /* NULL: a token at a time */
    slm_token next[MAX_DRAFT + 1]; /* [n_next] chosen, not shown yet */
    int32_t n_next;
    char *text; /* of the prompt, if it was read */
    token_list prompt;
    slm_text_stream stream;
    slm_stops *stops; /* or NULL */
    char *buffer;     /* [capacity] text of one token */
    char *passed;     /* [capacity_passed] what of it went past the stop strings */
    size_t capacity, capacity_passed;
    slm_logprob *logprobs; /* [1 + --logprobs] */
    bool ends_with_newline;
    const char *why;  /* the answer ended */
    int32_t n_cached; /* tokens of the prompt that need not be computed */
    int32_t n_generated, n_decoded;
    double prompt_seconds, answer_seconds;
} session;

/* ---- Prompt ---- */

static int read_prompt(session *s, const char **text, size_t *n_bytes) {
    if (s->o.prompt) {
        *text = s->o.prompt;
        *n_bytes = strlen(s->o.prompt);
        return EXIT_DONE;
    }
    if (!s->o.file && isatty(STDIN_FILENO)) fputs("Type the prompt, then Ctrl-D:\n", stderr);
    *text = s->text = read_all(s->o.file, n_bytes);
    if (!s->text) return interrupted() ? EXIT_INTERRUPTED : EXIT_FAILED;
    if (*n_bytes > 0 && s->text[*n_bytes - 1] == '\n') --*n_bytes;
    return EXIT_DONE;
}

static int tokenize_prompt(session *s) {
    const char *text = NULL;
    size_t n_bytes = 0;
    slm_error err;
    int code = read_prompt(s, &text, &n_bytes);
    if (code != EXIT_DONE) return code;
    if (n_bytes == 0 && !s->o.raw) return fail("the prompt is empty");
    slm_status status;
    if (s->o.raw) {
        status = tokenize(s->model, text, n_bytes, SLM_TOKENIZE_BOS, &s->prompt, &err);
    } else {
        status = tokenize_question(s->model, s->o.system, text, n_bytes, &s->prompt, &err);
    }
    if (status == SLM_ERR_UNSUPPORTED && !s->o.raw)
        return fail("%s; --raw gives the model the prompt as it is", err.message);
    if (status != SLM_OK) return fail_with("prompt", &err);
    if (s->prompt.n == 0) return fail("the prompt is empty");
    return EXIT_DONE;
}

/* ---- Context ---- */

static int prepare_speculation(session *s, int32_t n_draft) {
    slm_speculator_params p = slm_speculator_defaults();
    p.n_draft = n_draft;
    if (s->o.lookup == 0) p.n_match_max = 0;
    if (s->o.draft) {
        slm_context_params draft = s->params;
        draft.n_logits = 1;
        int code = open_model(s->o.draft, OPEN_ALL, &s->draft_model);
        if (code == EXIT_DONE) code = create_context(s->draft_model, &draft, NULL, &s->draft);
        if (code != EXIT_DONE) return code;
        p.draft = s->draft;
    }
    slm_error err;
    if (slm_speculator_create(s->ctx, &p, &s->speculator, &err) == SLM_OK) return EXIT_DONE;
    return fail_with(s->o.draft ? s->o.draft : "cannot speculate", &err);
}

static int prepare(session *s) {
    slm_model_info info = {.size = sizeof info};
    slm_model_get_info(s->model, &info); /* cannot fail: both pointers and the size are good */
    s->n_vocab = info.n_vocab;
    int64_t n_prompt = (int64_t)s->prompt.n, n_more = s->o.n ? s->o.n : 1024;
    if (s->params.n_ctx == 0) s->params.n_ctx = default_n_ctx(s->model, n_prompt + n_more);
    if (n_prompt > s->params.n_ctx)
        return fail("the prompt has %" PRId64 " tokens, the context %" PRId32 " (-c)", n_prompt,
                    s->params.n_ctx);
    if (info.n_ctx_train > 0 && s->params.n_ctx > info.n_ctx_train)
        warn("-c %" PRId32 ": the model was trained for %" PRId32 " positions", s->params.n_ctx,
             info.n_ctx_train);
    int32_t n_draft = s->o.lookup || !s->o.draft ? s->o.lookup : MODEL_DRAFT;
    if (s->o.logprobs >= 0) { /* each token's row is wanted */
        n_draft = 0;
        if (s->o.logprobs > s->n_vocab) s->o.logprobs = s->n_vocab;
        s->logprobs = calloc((size_t)s->o.logprobs + 1, sizeof *s->logprobs);
        if (!s->logprobs) return fail("no memory for --logprobs %" PRId32, s->o.logprobs);
    }
    s->params.n_logits = n_draft + 1;
    /* prompts may differ early; what is removed may leave less than a window behind it */
    s->params.keep_all = s->o.cache != NULL || s->o.keep >= 0;
    s->bar.label = "reading the prompt";
    s->params.progress = progress_update;
    s->params.progress_user = &s->bar;
    int code = create_context(s->model, &s->params, &s->adapters, &s->ctx);
    if (code != EXIT_DONE) return code;
    code = sampling_create(s->model, &s->o.sampling, &s->sampler, &s->stops);
    if (code != EXIT_DONE) return code;
    return n_draft > 0 ? prepare_speculation(s, n_draft) : EXIT_DONE;
}

/* The speculator would do it too, with the first token of the answer. What fails here, fails or is passed over there. */
static void read_prompt_for_draft(session *s, int32_t n) {
    slm_decode_tokens(s->draft, s->prompt.ids, n, NULL);
}

/* Let the sequence begin with what the file has of the prompt, all but its last token at most: its logits are wanted. */
static int read_cache(session *s) {
    slm_error err;
    size_t n = 0, same = 0;
    if (!s->o.cache || access(s->o.cache, F_OK) != 0) return EXIT_DONE;
    if (slm_seq_restore_file(s->ctx, 0, s->o.cache, &err) != SLM_OK) {
        warn("%s is not used: %s", s->o.cache, err.message);
        return EXIT_DONE;
    }
    slm_seq_tokens(s->ctx, 0, NULL, 0, &n, NULL); /* the number only */
    slm_token *held = malloc((n + 1) * sizeof *held);
    if (!held) return fail("no memory for %zu tokens", n);
    slm_status status = slm_seq_tokens(s->ctx, 0, held, n, &n, &err);
    while (status == SLM_OK && same < n && same + 1 < s->prompt.n &&
           held[same] == s->prompt.ids[same])
        same++;
    free(held);
    if (status == SLM_OK) status = slm_seq_truncate(s->ctx, 0, (int32_t)same, &err);
    s->n_cached = (int32_t)same;
    return status == SLM_OK ? EXIT_DONE : fail_with(s->o.cache, &err);
}

/* If there is more to keep than the file has. The answer matters more than the file. */
static void write_cache(const session *s) {
    slm_error err;
    if (!s->o.cache || s->n_cached + 1 == (int32_t)s->prompt.n) return;
    if (slm_seq_save_file(s->ctx, 0, s->o.cache, &err) != SLM_OK)
        warn("the prompt is not kept: %s", err.message);
}

static int decode_prompt(session *s) {
    slm_error err;
    int32_t n = (int32_t)s->prompt.n;
    double begin = now();
    int code = read_cache(s);
    if (code != EXIT_DONE) return code;
    slm_status status =
        slm_decode_tokens(s->ctx, s->prompt.ids + s->n_cached, n - s->n_cached, &err);
    if (status == SLM_OK && s->draft) read_prompt_for_draft(s, n);
    progress_end(&s->bar);
    if (status == SLM_OK && s->speculator)
        status = slm_speculator_accept(s->speculator, s->prompt.ids, n, &err);
    if (status != SLM_OK) return fail_with("prompt", &err);
    s->prompt_seconds = now() - begin;
    write_cache(s);
    for (size_t i = 0; i < s->prompt.n; i++) slm_sampler_accept(s->sampler, s->prompt.ids[i]);
    return EXIT_DONE;
}

/* ---- Answer ---- */

static bool make_room(char **buffer, size_t *capacity, size_t n) {
    if (n <= *capacity) return true;
    char *more = realloc(*buffer, n);
    if (!more) return false;
    *buffer = more;
    *capacity = n;
    return true;
}

static int write_text(session *s, const char *text, size_t n_bytes) {
    if (n_bytes == 0 || s->o.logprobs >= 0) return EXIT_DONE;
    s->ends_with_newline = text[n_bytes - 1] == '\n';
    fwrite(text, 1, n_bytes, stdout);
    return finish_output();
}

/* The first n_bytes of s->buffer, up to a stop string. */
static int put_text(session *s, size_t n_bytes) {
    if (!s->stops) return write_text(s, s->buffer, n_bytes);
    size_t n = 0;
    int32_t met = -1;
    slm_status status =
        slm_stops_add(s->stops, s->buffer, n_bytes, s->passed, s->capacity_passed, &n, &met);
    if (status == SLM_ERR_BUFFER) {
        if (!make_room(&s->passed, &s->capacity_passed, n))
            return fail("no memory for %zu bytes of text", n);
        slm_stops_add(s->stops, s->buffer, n_bytes, s->passed, s->capacity_passed, &n, &met);
    }
    if (met >= 0) s->why = "--stop met";
    return write_text(s, s->passed, n);
}

static int put_token(session *s, slm_token token) {
    size_t n = 0;
    slm_status status =
        slm_text_stream_add(s->model, &s->stream, token, s->buffer, s->capacity, &n);
    if (status == SLM_ERR_BUFFER) {
        if (!make_room(&s->buffer, &s->capacity, n))
            return fail("no memory for the text of token %" PRId32, token);
        status = slm_text_stream_add(s->model, &s->stream, token, s->buffer, s->capacity, &n);
    }
    if (status == SLM_ERR_CHANGED) return fail_changed(s->o.model);
    if (status != SLM_OK) return fail("token %" PRId32 ": %s", token, slm_status_name(status));
    return put_text(s, n);
}

/* The end of a text file is a newline. */
static int end_text(session *s) {
    size_t n = 0;
    slm_text_stream_end(&s->stream, s->buffer, s->capacity, &n);
    int code = put_text(s, n);
    if (code == EXIT_DONE && s->stops) {
        slm_stops_end(s->stops, NULL, 0, &n); /* only how much */
        if (!make_room(&s->passed, &s->capacity_passed, n))
            return fail("no memory for %zu bytes of text", n);
        slm_stops_end(s->stops, s->passed, s->capacity_passed, &n);
        code = write_text(s, s->passed, n);
    }
    if (code != EXIT_DONE || s->ends_with_newline || s->o.logprobs >= 0) return code;
    putchar('\n');
    return finish_output();
}

/* ---- Log-probabilities ---- */

static void put_token_text(const session *s, json *j, slm_token token) {
    const char *text = "";
    size_t n = 0;
    slm_token_get(s->model, token, &text, &n, NULL);
    json_name(j, "text");
    json_string(j, text, n);
}

/* A line of JSON on the token that was chosen from the row. */
static int put_logprobs(session *s, const float *row, slm_token token) {
    slm_error err;
    json j = {.out = stdout};
    if (slm_logprobs(row, s->n_vocab, &token, 1, s->o.logprobs, s->logprobs, &err) != SLM_OK)
        return fail_with("--logprobs", &err);
    json_open(&j, '{');
    json_name(&j, "token");
    json_int(&j, token);
    put_token_text(s, &j, token);
    json_name(&j, "logprob");
    json_double(&j, s->logprobs[0].logprob);
    json_name(&j, "top");
    json_open(&j, '[');
    for (int32_t i = 1; i <= s->o.logprobs; i++) {
        json_open(&j, '{');
        json_name(&j, "token");
        json_int(&j, s->logprobs[i].token);
        put_token_text(s, &j, s->logprobs[i].token);
        json_name(&j, "logprob");
        json_double(&j, s->logprobs[i].logprob);
        json_close(&j, '}');
    }
    json_close(&j, ']');
    json_close(&j, '}');
    putchar('\n');
    return finish_output();
}

/* Fill s->next: at least a token, the first one of all from the logits of the prompt. */
static int choose(session *s) {
    slm_error err;
    slm_token last = s->next[0];
    bool first = s->n_next == 0;
    int32_t most = s->o.n ? s->o.n - s->n_generated : MAX_DRAFT + 1;
    slm_status status = SLM_OK;
    if (s->speculator && !first) {
        status = slm_speculate(s->speculator, s->sampler, s->next,
                               most < MAX_DRAFT + 1 ? most : MAX_DRAFT + 1, &s->n_next, &err);
    } else {
        s->n_next = 1;
        if (!first) status = slm_decode_tokens(s->ctx, &last, 1, &err);
        if (status == SLM_OK)
            status =
                slm_sampler_sample(s->sampler, slm_logits(s->ctx, 0), s->n_vocab, s->next, &err);
        if (status == SLM_OK && s->speculator)
            status = slm_speculator_accept(s->speculator, s->next, 1, &err);
    }
    if (status != SLM_OK) return fail_with("cannot choose a token", &err);
    if (!first) s->n_decoded += s->n_next;
    return s->o.logprobs >= 0 ? put_logprobs(s, slm_logits(s->ctx, 0), s->next[0]) : EXIT_DONE;
}

static int show(session *s, slm_token token) {
    uint32_t attributes = 0;
    slm_token_get(s->model, token, NULL, NULL, &attributes);
    if (attributes & SLM_TOKEN_EOG) {
        s->why = "the model ended";
        return EXIT_DONE;
    }
    int code = put_token(s, token);
    if (code != EXIT_DONE) return code;
    if (++s->n_generated == s->o.n && !s->why) s->why = "-n reached";
    return EXIT_DONE;
}

/* The context is full: the older half of what follows the first --keep tokens goes. */
static int forget_older(session *s) {
    slm_error err;
    int32_t n = slm_seq_length(s->ctx, 0), begin = s->o.keep < n ? s->o.keep : n;
    int32_t end = begin + (n - begin) / 2;
    if (end == begin) {
        s->why = "context full of tokens that stay (-c, --keep)";
        return EXIT_DONE;
    }
    slm_status status = s->speculator ? slm_speculator_remove(s->speculator, begin, end, &err)
                                      : slm_seq_remove(s->ctx, 0, begin, end, &err);
    return status == SLM_OK ? EXIT_DONE : fail_with("cannot go on (--keep)", &err);
}

/* One token, or some that were drafted: choose and show. Sets s->why when the last one was among them. */
static int step(session *s) {
    int code = choose(s);
    for (int32_t i = 0; i < s->n_next && !s->why && code == EXIT_DONE; i++)
        code = show(s, s->next[i]);
    if (s->why || code != EXIT_DONE || slm_seq_length(s->ctx, 0) < slm_context_n_ctx(s->ctx))
        return code;
    if (s->o.keep >= 0) return forget_older(s);
    s->why = "context full (-c)";
    return code;
}

static int answer(session *s) {
    int code = EXIT_DONE;
    double begin = now();
    while (!s->why && code == EXIT_DONE) code = interrupted() ? EXIT_INTERRUPTED : step(s);
    s->answer_seconds = now() - begin;
    if (code == EXIT_INTERRUPTED) s->why = "interrupted";
    if (code == EXIT_FAILED) return code;
    int end = end_text(s);
    return end == EXIT_DONE ? code : end;
}

/* ---- Speed ---- */

static void print_drafts(const session *s) {
    slm_speculator_info info = {.size = sizeof info};
    if (slm_speculator_get_info(s->speculator, &info) != SLM_OK || info.n_drafted == 0) return;
    fprintf(stderr, ", %" PRId64 " of %" PRId64 " drafted accepted", info.n_accepted,
            info.n_drafted);
}

/* The first token of an answer comes from the prompt's logits: only what was computed after it is counted. */
static void print_stats(const session *s) {
    int32_t n_threads = slm_context_n_threads(s->ctx);
    fprintf(stderr, "prompt %zu token%s", s->prompt.n, s->prompt.n == 1 ? "" : "s");
    if (s->n_cached > 0) fprintf(stderr, " (%" PRId32 " from --cache)", s->n_cached);
    fprintf(stderr, ", %.1f tokens/s; answer %" PRId32 " token%s",
            (double)((int32_t)s->prompt.n - s->n_cached) / s->prompt_seconds, s->n_generated,
            s->n_generated == 1 ? "" : "s");
    if (s->n_decoded > 0)
        fprintf(stderr, ", %.1f tokens/s", (double)s->n_decoded / s->answer_seconds);
    print_drafts(s);
    fprintf(stderr, "; %s; seed %" PRIu64 "; %" PRId32 " thread%s, %s\n", s->why,
            s->o.sampling.params.seed, n_threads, n_threads == 1 ? "" : "s",
            slm_context_cpu(s->ctx));
}

/* ---- The whole ---- */

static int run_session(session *s) {
    int code = open_model(s->o.model, OPEN_ALL, &s->model);
    if (code == EXIT_DONE) code = open_adapters(s->model, &s->o.compute.lora, &s->adapters);
    if (code == EXIT_DONE) code = tokenize_prompt(s);
    if (code == EXIT_DONE) code = prepare(s);
    if (code == EXIT_DONE) code = decode_prompt(s);
    if (code == EXIT_DONE) code = answer(s);
    if (s->why && code != EXIT_FAILED && (s->o.stats || isatty(STDERR_FILENO))) print_stats(s);
    return code;
}

static int run(const command *self, int argc, char **argv) {
    session s = {.capacity = 64, .o.lookup = 8, .o.keep = -1, .o.logprobs = -1};
    s.o.sampling = sampling_defaults();
    int code = parse_options(self, argc, argv, &s.o, NULL);
    if (code == PARSED) code = compute_params(self, &s.o.compute, &s.params);
    if (code == PARSED) code = sampling_check(self, &s.o.sampling);
    if (code != PARSED) return code;
    if (!s.o.model) return usage_error(self, "-m MODEL is missing");
    if (s.o.prompt && s.o.file) return usage_error(self, "-p and -f exclude each other");
    if (s.o.raw && s.o.system) return usage_error(self, "--system wants a chat format, not --raw");
    if (s.o.logprobs >= 0 && s.o.draft)
        return usage_error(self, "--logprobs and --draft exclude each other");
    catch_interrupt();
    s.buffer = malloc(s.capacity);
    code = s.buffer ? run_session(&s) : fail("no memory");
    slm_speculator_free(s.speculator);
    slm_sampler_free(s.sampler);
    slm_stops_free(s.stops);
    slm_context_free(s.draft);
    slm_model_close(s.draft_model);
    slm_context_free(s.ctx);
    close_adapters(&s.adapters);
    slm_model_close(s.model);
    free(s.prompt.ids);
    free(s.buffer);
    free(s.passed);
    free(s.logprobs);
    free(s.text);
    return code;
}

const command run_command = {
    .name = "run",
    .arguments = "-m MODEL [-p PROMPT | -f FILE] [options]",
    .summary = "answer a prompt, or go on with a text",
    .details = "Without -p and -f the prompt is read from standard input. It is put into the "
               "model's chat\n"
               "format unless --raw is given. The answer is written as it comes; Ctrl-C ends it.\n"
               "Steps of choosing a token apply in this order, but for --samplers: penalties, DRY, "
               "top-nsigma,\ntop-k, typical, top-p, min-p, XTC, temperature.\n",
    .options = options,
    .run = run,
};
