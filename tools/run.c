/* slm run: a prompt's answer, as it comes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "answer.h"

typedef struct run_options {
    const char *model, *prompt, *file, *system, *draft, *cache;
    int32_t n, lookup, keep, logprobs;
    bool raw, stats;
    sampling_options sampling;
    compute_options compute;
} run_options;

enum { MODEL_DRAFT = 8 }; /* tokens that a step drafts by a model alone */

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
    LOOKUP_OPTION(run_options),
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
    answerer a;
    slm_model *draft_model;
    slm_context *draft;
    char *text; /* of the prompt, if it was read */
    token_list prompt;
    int32_t n_cached; /* tokens of the prompt that need not be computed */
    double prompt_seconds;
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
        status = tokenize(s->a.model, text, n_bytes, SLM_TOKENIZE_BOS, &s->prompt, &err);
    } else {
        status = tokenize_question(s->a.model, s->o.system, text, n_bytes, &s->prompt, &err);
    }
    if (status == SLM_ERR_UNSUPPORTED && !s->o.raw)
        return fail("%s; --raw gives the model the prompt as it is", err.message);
    if (status != SLM_OK) return fail_with("prompt", &err);
    if (s->prompt.n == 0) return fail("the prompt is empty");
    return EXIT_DONE;
}

/* ---- Context ---- */

static int speculate_by_model(session *s, int32_t n_draft) {
    slm_context_params params = s->a.params;
    params.n_logits = 1;
    int code = open_model(s->o.draft, OPEN_TO_RUN, &s->draft_model);
    if (code == EXIT_DONE) code = create_context(s->draft_model, &params, NULL, &s->draft);
    if (code != EXIT_DONE) return code;
    slm_speculator_params p = slm_speculator_defaults();
    p.n_draft = n_draft;
    if (s->o.lookup == 0) p.n_match_max = 0;
    p.draft = s->draft;
    slm_error err;
    if (slm_speculator_create(s->a.ctx, &p, &s->a.speculator, &err) == SLM_OK) return EXIT_DONE;
    return fail_with(s->o.draft, &err);
}

static int prepare(session *s) {
    slm_model_info info = {.size = sizeof info};
    slm_model_get_info(s->a.model, &info); /* cannot fail: both pointers and the size are good */
    int64_t n_prompt = (int64_t)s->prompt.n, n_more = s->o.n ? s->o.n : 1024;
    if (s->a.params.n_ctx == 0) s->a.params.n_ctx = default_n_ctx(s->a.model, n_prompt + n_more);
    if (n_prompt > s->a.params.n_ctx)
        return fail("the prompt has %" PRId64 " tokens, the context %" PRId32 " (-c)", n_prompt,
                    s->a.params.n_ctx);
    if (info.n_ctx_train > 0 && s->a.params.n_ctx > info.n_ctx_train)
        warn("-c %" PRId32 ": the model was trained for %" PRId32 " positions", s->a.params.n_ctx,
             info.n_ctx_train);
    int32_t n_draft = s->o.lookup || !s->o.draft ? s->o.lookup : MODEL_DRAFT;
    if (s->o.logprobs >= 0) n_draft = 0; /* each token's row is wanted */
    /* prompts may differ early; what is removed may leave less than a window behind it */
    s->a.params.keep_all = s->o.cache != NULL || s->o.keep >= 0;
    s->a.keep = s->o.keep;
    s->a.n_top = s->o.logprobs;
    s->a.bar.label = "reading the prompt";
    int code = answerer_prepare(&s->a, &s->o.sampling, n_draft);
    if (code != EXIT_DONE) return code;
    return s->o.draft ? speculate_by_model(s, n_draft) : answerer_speculate(&s->a, n_draft);
}

/* The speculator would do it too, with the first token of the answer. What fails here, fails or is passed over there. */
static void read_prompt_for_draft(session *s, int32_t n) {
    slm_decode_tokens(s->draft, s->prompt.ids, n, NULL);
}

/* Let the sequence begin with what the file has of the prompt, all but its last token at most: its logits are wanted. */
static int read_cache(session *s) {
    slm_error err;
    if (!s->o.cache || access(s->o.cache, F_OK) != 0) return EXIT_DONE;
    if (slm_seq_restore_file(s->a.ctx, 0, s->o.cache, &err) != SLM_OK) {
        warn("%s is not used: %s", s->o.cache, err.message);
        return EXIT_DONE;
    }
    slm_status status = tokens_held(s->a.ctx, &s->prompt, &s->n_cached, &err);
    if (status == SLM_OK) status = slm_seq_truncate(s->a.ctx, 0, s->n_cached, &err);
    return status == SLM_OK ? EXIT_DONE : fail_with(s->o.cache, &err);
}

/* If there is more to keep than the file has. The answer matters more than the file. */
static void write_cache(const session *s) {
    slm_error err;
    if (!s->o.cache || s->n_cached + 1 == (int32_t)s->prompt.n) return;
    if (slm_seq_save_file(s->a.ctx, 0, s->o.cache, &err) != SLM_OK)
        warn("the prompt is not kept: %s", err.message);
}

static int decode_prompt(session *s) {
    slm_error err;
    int32_t n = (int32_t)s->prompt.n;
    double begin = now();
    int code = read_cache(s);
    if (code != EXIT_DONE) return code;
    slm_status status =
        slm_decode_tokens(s->a.ctx, s->prompt.ids + s->n_cached, n - s->n_cached, &err);
    if (status == SLM_OK && s->draft) read_prompt_for_draft(s, n);
    progress_end(&s->a.bar);
    if (status == SLM_OK && s->a.speculator)
        status = slm_speculator_accept(s->a.speculator, s->prompt.ids, n, &err);
    if (status != SLM_OK) return fail_with("prompt", &err);
    s->prompt_seconds = now() - begin;
    write_cache(s);
    for (size_t i = 0; i < s->prompt.n; i++) slm_sampler_accept(s->a.by.sampler, s->prompt.ids[i]);
    return EXIT_DONE;
}

/* ---- Speed ---- */

static void print_drafts(const session *s) {
    slm_speculator_info info = {.size = sizeof info};
    if (slm_speculator_get_info(s->a.speculator, &info) != SLM_OK || info.n_drafted == 0) return;
    fprintf(stderr, ", %" PRId64 " of %" PRId64 " drafted accepted", info.n_accepted,
            info.n_drafted);
}

/* The first token of an answer comes from the prompt's logits: only what was computed after it is counted. */
static void print_stats(const session *s) {
    int32_t n_threads = slm_context_n_threads(s->a.ctx);
    fprintf(stderr, "prompt %zu token%s", s->prompt.n, s->prompt.n == 1 ? "" : "s");
    if (s->n_cached > 0) fprintf(stderr, " (%" PRId32 " from --cache)", s->n_cached);
    fprintf(stderr, ", %.1f tokens/s; answer %" PRId32 " token%s",
            (double)((int32_t)s->prompt.n - s->n_cached) / s->prompt_seconds, s->a.n_generated,
            s->a.n_generated == 1 ? "" : "s");
    if (s->a.n_decoded > 0)
        fprintf(stderr, ", %.1f tokens/s", (double)s->a.n_decoded / s->a.seconds);
    print_drafts(s);
    fprintf(stderr, "; %s; seed %" PRIu64 "; %" PRId32 " thread%s, %s\n", s->a.why,
            s->o.sampling.params.seed, n_threads, n_threads == 1 ? "" : "s",
            slm_context_cpu(s->a.ctx));
}

/* ---- The whole ---- */

static int run_session(session *s) {
    int code = answerer_open(&s->a, s->o.model, &s->o.compute.lora);
    if (code == EXIT_DONE) code = tokenize_prompt(s);
    if (code == EXIT_DONE) code = prepare(s);
    if (code == EXIT_DONE) code = decode_prompt(s);
    if (code == EXIT_DONE) code = answer(&s->a, s->o.n);
    if (s->a.why && code != EXIT_FAILED && (s->o.stats || isatty(STDERR_FILENO))) print_stats(s);
    return code;
}

static int run(const command *self, int argc, char **argv) {
    session s = {.o.lookup = 8, .o.keep = -1, .o.logprobs = -1};
    s.o.sampling = sampling_defaults();
    int code = parse_options(self, argc, argv, &s.o, NULL);
    if (code == PARSED) code = compute_params(self, &s.o.compute, &s.a.params);
    if (code == PARSED) code = sampling_check(self, &s.o.sampling);
    if (code != PARSED) return code;
    if (!s.o.model) return usage_error(self, "-m MODEL is missing");
    if (s.o.prompt && s.o.file) return usage_error(self, "-p and -f exclude each other");
    if (s.o.raw && s.o.system) return usage_error(self, "--system wants a chat format, not --raw");
    if (s.o.logprobs >= 0 && s.o.draft)
        return usage_error(self, "--logprobs and --draft exclude each other");
    catch_interrupt();
    code = run_session(&s);
    answerer_free(&s.a);
    slm_context_free(s.draft);
    slm_model_close(s.draft_model);
    free(s.prompt.ids);
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
