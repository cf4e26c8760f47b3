/*
 * slm extract: a schema and many documents, each to its JSON. Several are worked on at a time: each has a sequence that begins as a fork of what
 * all prompts have in common, and every step is one batch of what they have to compute. What the schema leaves no choice about is not sampled.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "documents.h"
#include "fields.h"
#include "load.h"

typedef struct extract_options {
    const char *model, *schema, *form, *system, *output;
    int32_t n, parallel;
    bool raw, logprobs, restart;
    compute_options compute;
} extract_options;

enum {
    MAX_PARALLEL = 64,
    AHEAD = 64
}; /* AHEAD: documents that may be finished before an earlier one, for each at a time */

static const char default_form[] = "Extract the data from the text below as JSON that fits this "
                                   "schema:\n{{schema}}\n\nText:\n{{text}}";

static const char no_room[] = "no room left in the context (-c, --parallel)";

static const option options[] = {
    {"-m", "MODEL", OPT_TEXT, offsetof(extract_options, model), 0, 0, "GGUF file"},
    {"--schema", "FILE", OPT_TEXT, offsetof(extract_options, schema), 0, 0,
     "JSON Schema of what is wanted (docs/json-schema.md)"},
    {"--prompt", "TEXT", OPT_TEXT, offsetof(extract_options, form), 0, 0,
     "what to ask of each document: {{NAME}} stands for its member NAME, {{schema}} for the "
     "schema"},
    {"--system", "TEXT", OPT_TEXT, offsetof(extract_options, system), 0, 0,
     "a system message before it"},
    {"--raw", NULL, OPT_FLAG, offsetof(extract_options, raw), 0, 0,
     "the prompt as it is, without the model's chat format"},
    {"-o", "FILE", OPT_TEXT, offsetof(extract_options, output), 0, 0,
     "where results go, a line for each document; if it has some already, go on behind them"},
    {"--restart", NULL, OPT_FLAG, offsetof(extract_options, restart), 0, 0,
     "begin FILE of -o anew"},
    {"-n", "N", OPT_INT, offsetof(extract_options, n), 1, INT32_MAX,
     "tokens that a result may have (default 1024)"},
    {"--parallel", "N", OPT_INT, offsetof(extract_options, parallel), 1, MAX_PARALLEL,
     "documents at a time (default 8)"},
    {"--logprobs", NULL, OPT_FLAG, offsetof(extract_options, logprobs), 0, 0,
     "with each result the probability of each of its values, as \"confidence\""},
    COMPUTE_OPTIONS(extract_options, "what --parallel documents of 2048 tokens need"),
    {0},
};

/* A document at work, in a sequence of its own. */
typedef struct slot {
    bool busy, began;
    int64_t index; /* among the documents */
    document doc;
    token_list pending; /* computed up to `at`: the prompt, then what was chosen */
    size_t at, n_prompt, capacity;
    int32_t n_generated;
    int32_t row; /* of the logits that this step gives; -1: none */
    slm_matcher *matcher;
    slm_sampler *sampler;
    result_text result;
} slot;

/* [n_batch] each */
typedef struct step_arrays {
    slm_token *tokens;
    int32_t *sequences;
    uint8_t *want;
} step_arrays;

typedef struct extraction {
    extract_options o;
    slm_context_params params;
    slm_model *model;
    int32_t n_vocab;
    adapter_list adapters;
    slm_context *ctx;
    char *schema;
    slm_grammar *grammar;
    slm_constraint *constraint;
    slot slots[MAX_PARALLEL];
    token_list prefix; /* what the first two prompts have in common; sequence 0 holds it */
    line_reader in;
    bool ended;       /* no more documents */
    int64_t n_read;   /* documents that have begun */
    int64_t n_before; /* that were done by an earlier run */
    int64_t n_errors;
    int64_t n_lines; /* of the input, for the bar; 0: not known */
    ordered_output out;
    step_arrays step;
    int32_t n_each; /* positions for a document */
    bool prefix_tried;
    float *row; /* [n_vocab], with --logprobs */
    double began, drawn;
} extraction;

/* Sequence 0 holds the prefix. */
static int32_t sequence_of(const extraction *e, const slot *s) {
    return (int32_t)(s - e->slots) + 1;
}

/* ---- Progress ---- */

static void show_progress(extraction *e, bool last) {
    double t = now();
    if (!isatty(STDERR_FILENO) || (!last && t < e->drawn + 0.5) || (last && e->drawn == 0)) return;
    e->drawn = t;
    int64_t n_new = e->out.n_written - e->n_before;
    fprintf(stderr, "\r%" PRId64, e->out.n_written);
    if (e->n_lines > 0) fprintf(stderr, " of %" PRId64, e->n_lines);
    fprintf(stderr, " documents, %.0f an hour", (double)n_new / (t - e->began + 1e-9) * 3600);
    if (e->n_lines > e->out.n_written && n_new > 0)
        fprintf(stderr, ", %.0f s to go",
                (double)(e->n_lines - e->out.n_written) * (t - e->began) / (double)n_new);
    fputs(last ? "\033[K\n" : "\033[K", stderr);
    fflush(stderr);
}

/* ---- Documents in ---- */

/* The next document; *has is false at the end, or if there is none yet and it shall not wait. */
static int next_document(extraction *e, document *d, bool wait, bool *has) {
    const char *line;
    size_t n;
    *has = false;
    while (!e->ended) {
        line_status s = lines_next(&e->in, wait, &line, &n);
        if (s == LINE_FAILED) return interrupted() ? EXIT_INTERRUPTED : EXIT_FAILED;
        if (s == LINE_LATER) return EXIT_DONE;
        e->ended = s == LINE_NONE;
        if (e->ended || (s == LINE_IS && strspn(line, " \t") == n)) continue;
        const char *form = e->o.form ? e->o.form : default_form;
        int64_t number = (int64_t)e->in.n_lines;
        bool ok = s == LINE_LONG ? document_refused(number, "the line is too long", d)
                                 : document_read(line, n, number, form, e->schema, d);
        if (!ok) return fail("no memory for a document");
        *has = true;
        break;
    }
    return EXIT_DONE;
}

/* Pass over the documents that the output has. */
static int skip_written(extraction *e) {
    line_reader written;
    e->n_before = e->out.n_written;
    if (e->n_before == 0) return EXIT_DONE;
    if (!lines_open(&written, e->o.output)) return EXIT_FAILED;
    int code = EXIT_DONE;
    for (int64_t i = 0; i < e->n_before && code == EXIT_DONE; i++) {
        document d = {0};
        bool has;
        code = next_document(e, &d, true, &has);
        if (code == EXIT_DONE && !has)
            code = fail("%s has %" PRId64
                        " results, more than there are documents; --restart begins anew",
                        e->o.output, e->n_before);
        if (code == EXIT_DONE) code = output_check(&e->out, &written, &d);
        document_free(&d);
    }
    lines_close(&written);
    e->n_read = e->n_before;
    return code;
}

static slm_status prompt_tokens(const extraction *e, const document *d, token_list *out,
                                slm_error *err) {
    if (e->o.raw) return tokenize(e->model, d->prompt, d->n_prompt, SLM_TOKENIZE_BOS, out, err);
    return tokenize_question(e->model, e->o.system, d->prompt, d->n_prompt, out, err);
}

/* ---- Results out ---- */

static int put_result(extraction *e, slot *s) {
    char *line = s->doc.error ? error_line(s->doc.id, s->doc.error)
                              : result_line(s->doc.id, &s->result, e->o.logprobs);
    if (!line) return fail("no memory for a result");
    e->n_errors += s->doc.error != NULL;
    return output_put(&e->out, s->index, line);
}

/* The document is done, or cannot be. */
static int finish(extraction *e, slot *s, const char *error) {
    if (error && !s->doc.error) s->doc.error = strdup(error);
    int code = put_result(e, s);
    slm_seq_truncate(e->ctx, sequence_of(e, s), 0, NULL); /* to nothing: always possible */
    document_free(&s->doc);
    free(s->pending.ids);
    s->pending = (token_list){0};
    s->busy = s->began = false;
    show_progress(e, false);
    return code;
}

/* ---- Beginning ---- */

/* Read a document into an idle slot. What cannot be asked is its result at once; the slot is then still idle. */
static int load(extraction *e, slot *s, bool wait, bool *has) {
    slm_error err;
    int code = next_document(e, &s->doc, wait, has);
    if (code != EXIT_DONE || !*has) return code;
    s->index = e->n_read++;
    if (s->doc.error) return finish(e, s, NULL);
    slm_status status = prompt_tokens(e, &s->doc, &s->pending, &err);
    if (status == SLM_ERR_UNSUPPORTED && !e->o.raw)
        return fail("%s; --raw gives the model the prompt as it is", err.message);
    if (status == SLM_ERR_ARGUMENT || status == SLM_ERR_LIMIT || status == SLM_ERR_FORMAT)
        return finish(e, s, err.message); /* of this document only */
    if (status != SLM_OK) return fail_with("prompt", &err);
    s->capacity = s->pending.n;
    if (s->pending.n == 0) return finish(e, s, "the prompt is empty");
    if ((int64_t)s->pending.n >= e->n_each)
        return finish(e, s, "the prompt leaves no room for an answer (-c, --parallel)");
    s->busy = true;
    return EXIT_DONE;
}

static size_t common(const token_list *a, const token_list *b) {
    size_t n = 0;
    while (n < a->n && n < b->n && a->ids[n] == b->ids[n]) n++;
    return n;
}

/* Compute what the first two prompts have in common, once: it is what the form says before the document. */
static int read_prefix(extraction *e) {
    const token_list *first = NULL;
    slm_error err;
    for (int32_t i = 0; i < e->o.parallel && e->prefix.n == 0; i++) {
        const slot *s = &e->slots[i];
        if (s->busy && first) e->prefix.n = common(first, &s->pending);
        if (s->busy && !first) first = &s->pending;
    }
    if (e->prefix.n == 0) return EXIT_DONE;
    e->prefix.ids = malloc(e->prefix.n * sizeof *e->prefix.ids);
    if (!e->prefix.ids) return fail("no memory");
    memcpy(e->prefix.ids, first->ids, e->prefix.n * sizeof *e->prefix.ids);
    slm_status status = slm_decode_tokens(e->ctx, e->prefix.ids, (int32_t)e->prefix.n, &err);
    return status == SLM_OK ? EXIT_DONE : fail_with("prompt", &err);
}

/* The token joins the result and what is to be computed. */
static int append(extraction *e, slot *s, slm_token token, double logprob) {
    const char *text;
    size_t n;
    if (slm_token_get(e->model, token, &text, &n, NULL) != SLM_OK) return fail_changed(e->o.model);
    slm_token *ids = grow(s->pending.ids, s->pending.n + 1, &s->capacity, sizeof *ids);
    if (!ids) return fail("no memory");
    s->pending.ids = ids;
    s->pending.ids[s->pending.n++] = token;
    s->n_generated++;
    return result_add(&s->result, text, n, logprob) ? EXIT_DONE : fail("no memory");
}

/* What must come is not sampled. */
static int append_forced(extraction *e, slot *s) {
    enum { MOST = 256 };
    slm_token tokens[MOST];
    slm_error err;
    size_t n = 0;
    if (slm_matcher_forced_tokens(s->matcher, tokens, MOST, &n, &err) != SLM_OK)
        return fail_with("schema", &err);
    for (size_t i = 0; i < n; i++) {
        if (slm_matcher_accept(s->matcher, tokens[i], &err) != SLM_OK)
            return fail_with("schema", &err);
        int code = append(e, s, tokens[i], 0);
        if (code != EXIT_DONE) return code;
    }
    return EXIT_DONE;
}

/* Let the slot's sequence begin with what is computed already of its prompt. */
static int begin(extraction *e, slot *s) {
    slm_error err;
    size_t n = common(&e->prefix, &s->pending);
    if (n == s->pending.n) n--; /* the logits of the last token are wanted */
    s->at = n;
    s->n_prompt = s->pending.n;
    s->n_generated = 0;
    s->began = true;
    result_clear(&s->result);
    slm_matcher_reset(s->matcher);
    if (n > 0 && slm_seq_fork(e->ctx, 0, sequence_of(e, s), (int32_t)n, &err) != SLM_OK)
        return fail_with("prompt", &err);
    int code = append_forced(e, s);
    if (code == EXIT_DONE && (int64_t)s->pending.n >= e->n_each) return finish(e, s, no_room);
    return code;
}

static bool is_idle(const extraction *e) {
    for (int32_t i = 0; i < e->o.parallel; i++)
        if (e->slots[i].busy) return false;
    return true;
}

static int fill_slots(extraction *e) {
    int code = EXIT_DONE;
    bool has = true;
    for (int32_t i = 0; i < e->o.parallel && has && code == EXIT_DONE; i++) {
        slot *s = &e->slots[i];
        while (!s->busy && has && code == EXIT_DONE &&
               e->n_read < e->out.n_written + e->out.n_lines)
            code = load(e, s, is_idle(e), &has);
        if (e->n_read >= e->out.n_written + e->out.n_lines) break; /* an early one takes long */
    }
    if (code == EXIT_DONE && !e->prefix_tried) {
        code = read_prefix(e);
        e->prefix_tried = true;
    }
    for (int32_t i = 0; i < e->o.parallel && code == EXIT_DONE; i++) {
        slot *s = &e->slots[i];
        if (s->busy && !s->began) code = begin(e, s);
    }
    return code;
}

/* ---- A step ---- */

/* Answers first, then as much of prompts as the batch still takes. False: nothing to do. */
static bool make_batch(extraction *e, slm_batch *b) {
    step_arrays *a = &e->step;
    int32_t n = 0, n_rows = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int32_t i = 0; i < e->o.parallel; i++) {
            slot *s = &e->slots[i];
            if (!s->busy || (s->at >= s->n_prompt) != (pass == 0)) continue;
            s->row = -1;
            for (; s->at < s->pending.n && n < e->params.n_batch; s->at++, n++) {
                bool last = s->at + 1 == s->pending.n;
                a->tokens[n] = s->pending.ids[s->at];
                a->sequences[n] = sequence_of(e, s);
                a->want[n] = last;
                if (last) s->row = n_rows++;
            }
        }
    }
    *b = (slm_batch){.size = sizeof *b,
                     .n_tokens = n,
                     .tokens = a->tokens,
                     .sequences = a->sequences,
                     .want_logits = a->want};
    return n > 0;
}

/* The token's logarithm of probability among those that the schema allows. */
static int logprob_of(extraction *e, const float *logits, const uint64_t *allowed, slm_token token,
                      double *out) {
    slm_error err;
    slm_logprob p;
    for (int32_t i = 0; i < e->n_vocab; i++)
        e->row[i] = allowed[i / 64] >> i % 64 & 1 ? logits[i] : -INFINITY;
    if (slm_logprobs(e->row, e->n_vocab, &token, 1, 0, &p, &err) != SLM_OK)
        return fail_with("logits", &err);
    *out = p.logprob;
    return EXIT_DONE;
}

/* From the logits of the slot's last token to the next one, and what must follow it. */
static int advance(extraction *e, slot *s) {
    const float *logits = slm_logits(e->ctx, s->row);
    const uint64_t *allowed;
    slm_token token;
    double logprob = 0;
    slm_error err;
    if (slm_matcher_mask(s->matcher, &allowed, &err) != SLM_OK) return finish(e, s, err.message);
    slm_sampler_set_allowed(s->sampler, allowed, e->n_vocab);
    if (slm_sampler_sample(s->sampler, logits, e->n_vocab, &token, &err) != SLM_OK)
        return finish(e, s, err.message);
    int code = e->row ? logprob_of(e, logits, allowed, token, &logprob) : EXIT_DONE;
    if (code != EXIT_DONE) return code;
    uint32_t attributes = 0;
    slm_token_get(e->model, token, NULL, NULL, &attributes);
    if (attributes & SLM_TOKEN_EOG) return finish(e, s, NULL);
    if (slm_matcher_accept(s->matcher, token, &err) != SLM_OK) return fail_with("schema", &err);
    code = append(e, s, token, logprob);
    if (code == EXIT_DONE) code = append_forced(e, s);
    if (code != EXIT_DONE) return code;
    if (slm_matcher_end(s->matcher) == SLM_END_MUST) return finish(e, s, NULL);
    if (s->n_generated >= e->o.n) return finish(e, s, "-n reached before the end");
    if ((int64_t)s->pending.n >= e->n_each) return finish(e, s, no_room);
    return EXIT_DONE;
}

static int step(extraction *e, bool *more) {
    slm_batch b;
    slm_error err;
    int code = fill_slots(e);
    if (code != EXIT_DONE) return code;
    *more = true;
    if (!make_batch(e, &b)) {
        *more = !e->ended; /* those that were begun ended at once */
        return EXIT_DONE;
    }
    if (slm_decode(e->ctx, &b, &err) != SLM_OK) return fail_with("cannot go on", &err);
    for (int32_t i = 0; i < e->o.parallel && code == EXIT_DONE; i++) {
        slot *s = &e->slots[i];
        if (s->busy && s->row >= 0) code = advance(e, s);
    }
    return code;
}

/* ---- The whole ---- */

static int compile_schema(extraction *e) {
    slm_error err;
    size_t n;
    e->schema = read_all(e->o.schema, &n);
    if (!e->schema) return interrupted() ? EXIT_INTERRUPTED : EXIT_FAILED;
    char *with_end = realloc(e->schema, n + 1); /* it is put into prompts as a string */
    if (!with_end) return fail("no memory");
    e->schema = with_end;
    e->schema[n] = '\0';
    if (slm_grammar_from_schema(e->schema, n, NULL, &e->grammar, &err) != SLM_OK)
        return fail_with(e->o.schema, &err);
    if (slm_constraint_create(e->grammar, e->model, NULL, &e->constraint, &err) != SLM_OK)
        return fail_with(e->o.schema, &err);
    return EXIT_DONE;
}

static int create_slots(extraction *e) {
    slm_error err;
    slm_sampler_params p = slm_sampler_defaults(); /* always the most probable token */
    for (int32_t i = 0; i < e->o.parallel; i++) {
        if (slm_matcher_create(e->constraint, NULL, &e->slots[i].matcher, &err) != SLM_OK ||
            slm_sampler_create(&p, &e->slots[i].sampler, &err) != SLM_OK)
            return fail_with("cannot prepare", &err);
    }
    if (e->o.logprobs && !(e->row = malloc((size_t)e->n_vocab * sizeof *e->row)))
        return fail("no memory");
    return EXIT_DONE;
}

static int create_sequences(extraction *e) {
    slm_model_info info = {.size = sizeof info};
    slm_model_get_info(e->model, &info); /* cannot fail: both pointers and the size are good */
    e->n_vocab = info.n_vocab;
    /* one share for the prefix; pages have 64 positions, and none has parts of two sequences */
    int64_t n_each = e->params.n_ctx ? e->params.n_ctx / (e->o.parallel + 1) : 2048;
    e->n_each =
        (int32_t)(n_each < info.n_ctx_train || info.n_ctx_train <= 0 ? n_each : info.n_ctx_train) /
        64 * 64;
    if (e->n_each == 0)
        return fail("-c %" PRId32 " is too few for --parallel %" PRId32, e->params.n_ctx,
                    e->o.parallel);
    e->params.n_ctx = e->n_each * (e->o.parallel + 1);
    e->params.n_seq_max = e->o.parallel + 1;
    e->params.n_logits = e->o.parallel;
    int32_t n = e->params.n_batch;
    e->step = (step_arrays){calloc((size_t)n, sizeof *e->step.tokens),
                            calloc((size_t)n, sizeof *e->step.sequences), calloc((size_t)n, 1)};
    if (!e->step.tokens || !e->step.sequences || !e->step.want) return fail("no memory");
    return create_context(e->model, &e->params, &e->adapters, &e->ctx);
}

/* For the bar. */
static int64_t count_documents(const char *path) {
    line_reader r;
    const char *line;
    size_t n;
    int64_t n_lines = 0;
    line_status status;
    if (!path || strcmp(path, "-") == 0 || !lines_open(&r, path)) return 0;
    r.pass_long = true;
    while ((status = lines_next(&r, true, &line, &n)) == LINE_IS || status == LINE_LONG)
        n_lines += status == LINE_LONG || strspn(line, " \t") < n;
    lines_close(&r);
    return n_lines;
}

static int run_extraction(extraction *e, const char *input) {
    int code = open_model(e->o.model, OPEN_TO_RUN, &e->model);
    if (code == EXIT_DONE) code = open_adapters(e->model, &e->o.compute.lora, &e->adapters);
    if (code == EXIT_DONE) code = compile_schema(e);
    if (code == EXIT_DONE) code = create_sequences(e);
    if (code == EXIT_DONE) code = create_slots(e);
    if (code == EXIT_DONE && isatty(STDERR_FILENO)) e->n_lines = count_documents(input);
    if (code == EXIT_DONE && !lines_open(&e->in, input)) code = EXIT_FAILED;
    if (code == EXIT_DONE)
        code = output_open(&e->out, e->o.output, e->o.restart, e->o.parallel * AHEAD, e->in.fd);
    e->in.pass_long = true;
    if (code == EXIT_DONE) code = skip_written(e);
    if (code == EXIT_DONE) code = output_begin(&e->out);
    e->began = now();
    for (bool more = true; more && code == EXIT_DONE;)
        code = interrupted() ? EXIT_INTERRUPTED : step(e, &more);
    show_progress(e, true);
    if (e->n_errors > 0)
        warn("%" PRId64 " document%s no result: see \"error\" in %s", e->n_errors,
             e->n_errors == 1 ? " has" : "s have", e->o.output);
    return code;
}

static void free_extraction(extraction *e) {
    for (int32_t i = 0; i < e->o.parallel; i++) {
        slot *s = &e->slots[i];
        slm_matcher_free(s->matcher);
        slm_sampler_free(s->sampler);
        document_free(&s->doc);
        result_free(&s->result);
        free(s->pending.ids);
    }
    output_close(&e->out);
    lines_close(&e->in);
    slm_context_free(e->ctx);
    slm_constraint_free(e->constraint);
    slm_grammar_free(e->grammar);
    close_adapters(&e->adapters);
    slm_model_close(e->model);
    free(e->step.tokens);
    free(e->step.sequences);
    free(e->step.want);
    free(e->prefix.ids);
    free(e->schema);
    free(e->row);
}

static int run(const command *self, int argc, char **argv) {
    extraction e = {.o = {.n = 1024, .parallel = 8}, .out.fd = -1, .in.fd = -1};
    const char *input = NULL;
    int code = parse_options(self, argc, argv, &e.o, &input);
    if (code == PARSED) code = compute_params(self, &e.o.compute, &e.params);
    if (code != PARSED) return code;
    if (!e.o.model) return usage_error(self, "-m MODEL is missing");
    if (!e.o.schema) return usage_error(self, "--schema FILE is missing");
    if (!e.o.output || strcmp(e.o.output, "-") == 0) return usage_error(self, "-o FILE is missing");
    if (e.o.raw && e.o.system) return usage_error(self, "--system wants a chat format, not --raw");
    catch_interrupt();
    code = run_extraction(&e, input);
    free_extraction(&e);
    return code;
}

const command extract_command = {
    .name = "extract",
    .arguments = "-m MODEL --schema FILE -o FILE [options] [INPUT]",
    .summary = "turn documents into data that fits a JSON Schema",
    .details =
        "INPUT (or standard input) has a document on each line: a JSON object with a member "
        "\"text\", "
        "or a\nstring. Each result is a line of the output, in the same order: {\"id\": ..., "
        "\"output\": ...}, the\nid being the document's own or the number of its line, or {\"id\": "
        "..., "
        "\"error\": ...}. Killed and\nstarted again, it goes on where it was.\n",
    .options = options,
    .max_operands = 1,
    .run = run,
};
