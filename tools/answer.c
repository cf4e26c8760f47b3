#include "answer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

/* ---- Text ---- */

static bool make_room(char **buffer, size_t *capacity, size_t n) {
    if (n <= *capacity) return true;
    char *more = realloc(*buffer, n);
    if (!more) return false;
    *buffer = more;
    *capacity = n;
    return true;
}

static int write_text(answerer *a, const char *text, size_t n_bytes) {
    if (n_bytes == 0 || a->n_top >= 0) return EXIT_DONE;
    a->ends_with_newline = text[n_bytes - 1] == '\n';
    if (a->said) fwrite(text, 1, n_bytes, a->said);
    fwrite(text, 1, n_bytes, stdout);
    return finish_output();
}

/* The first n_bytes of a->buffer, up to a stop string. */
static int put_text(answerer *a, size_t n_bytes) {
    if (!a->by.stops) return write_text(a, a->buffer, n_bytes);
    size_t n = 0;
    int32_t met = -1;
    slm_status status =
        slm_stops_add(a->by.stops, a->buffer, n_bytes, a->passed, a->capacity_passed, &n, &met);
    if (status == SLM_ERR_BUFFER) {
        if (!make_room(&a->passed, &a->capacity_passed, n))
            return fail("no memory for %zu bytes of text", n);
        slm_stops_add(a->by.stops, a->buffer, n_bytes, a->passed, a->capacity_passed, &n, &met);
    }
    if (met >= 0) a->why = "--stop met";
    return write_text(a, a->passed, n);
}

static int put_token(answerer *a, slm_token token) {
    size_t n = 0;
    slm_status status =
        slm_text_stream_add(a->model, &a->stream, token, a->buffer, a->capacity, &n);
    if (status == SLM_ERR_BUFFER) {
        if (!make_room(&a->buffer, &a->capacity, n))
            return fail("no memory for the text of token %" PRId32, token);
        status = slm_text_stream_add(a->model, &a->stream, token, a->buffer, a->capacity, &n);
    }
    if (status == SLM_ERR_CHANGED) return fail_changed(a->path);
    if (status != SLM_OK) return fail("token %" PRId32 ": %s", token, slm_status_name(status));
    return put_text(a, n);
}

/* The end of a text file is a newline. */
static int end_text(answerer *a) {
    size_t n = 0;
    slm_text_stream_end(&a->stream, a->buffer, a->capacity, &n);
    int code = put_text(a, n);
    if (code == EXIT_DONE && a->by.stops) {
        slm_stops_end(a->by.stops, NULL, 0, &n); /* only how much */
        if (!make_room(&a->passed, &a->capacity_passed, n))
            return fail("no memory for %zu bytes of text", n);
        slm_stops_end(a->by.stops, a->passed, a->capacity_passed, &n);
        code = write_text(a, a->passed, n);
    }
    if (code != EXIT_DONE || a->ends_with_newline || a->bare || a->n_top >= 0) return code;
    putchar('\n');
    return finish_output();
}

/* ---- Log-probabilities ---- */

static void put_token_text(const answerer *a, json *j, slm_token token) {
    const char *text = "";
    size_t n = 0;
    slm_token_get(a->model, token, &text, &n, NULL);
    json_named_bytes(j, "text", text, n);
}

/* A line of JSON on the token that was chosen from the row. */
static int put_logprobs(answerer *a, const float *row, slm_token token) {
    slm_error err;
    json j = {.out = stdout};
    if (slm_logprobs(row, a->n_vocab, &token, 1, a->n_top, a->logprobs, &err) != SLM_OK)
        return fail_with("--logprobs", &err);
    json_open(&j, '{');
    json_named_int(&j, "token", token);
    put_token_text(a, &j, token);
    json_named_double(&j, "logprob", a->logprobs[0].logprob);
    json_named_open(&j, "top", '[');
    for (int32_t i = 1; i <= a->n_top; i++) {
        json_open(&j, '{');
        json_named_int(&j, "token", a->logprobs[i].token);
        put_token_text(a, &j, a->logprobs[i].token);
        json_named_double(&j, "logprob", a->logprobs[i].logprob);
        json_close(&j, '}');
    }
    json_close(&j, ']');
    json_close(&j, '}');
    putchar('\n');
    return finish_output();
}

/* ---- Tokens ---- */

/* Fill a->next: at least a token, the first one of all from the logits of the prompt. */
static int choose(answerer *a) {
    slm_error err;
    slm_token last = a->next[0];
    bool first = a->n_next == 0;
    int32_t most = a->most ? a->most - a->n_generated : MAX_DRAFT + 1;
    slm_status status = SLM_OK;
    if (a->speculator && !first) {
        status = slm_speculate(a->speculator, a->by.sampler, a->next,
                               most < MAX_DRAFT + 1 ? most : MAX_DRAFT + 1, &a->n_next, &err);
    } else {
        a->n_next = 1;
        if (!first) status = slm_decode_tokens(a->ctx, &last, 1, &err);
        if (status == SLM_OK)
            status =
                slm_sampler_sample(a->by.sampler, slm_logits(a->ctx, 0), a->n_vocab, a->next, &err);
        if (status == SLM_OK && a->speculator)
            status = slm_speculator_accept(a->speculator, a->next, 1, &err);
    }
    if (status != SLM_OK) return fail_with("cannot choose a token", &err);
    if (!first) a->n_decoded += a->n_next;
    return a->n_top >= 0 ? put_logprobs(a, slm_logits(a->ctx, 0), a->next[0]) : EXIT_DONE;
}

static int show(answerer *a, slm_token token) {
    uint32_t attributes = 0;
    slm_token_get(a->model, token, NULL, NULL, &attributes);
    if (attributes & SLM_TOKEN_EOG) {
        a->why = "the model ended";
        return EXIT_DONE;
    }
    int code = put_token(a, token);
    if (code != EXIT_DONE) return code;
    if (++a->n_generated == a->most && !a->why) a->why = "-n reached";
    return EXIT_DONE;
}

/* The context is full: the older half of what follows the first --keep tokens goes. */
static int forget_older(answerer *a) {
    slm_error err;
    int32_t n = slm_seq_length(a->ctx, 0), begin = a->keep < n ? a->keep : n;
    int32_t end = begin + (n - begin) / 2;
    if (end == begin) {
        a->why = "context full of tokens that stay (-c, --keep)";
        return EXIT_DONE;
    }
    slm_status status = a->speculator ? slm_speculator_remove(a->speculator, begin, end, &err)
                                      : slm_seq_remove(a->ctx, 0, begin, end, &err);
    return status == SLM_OK ? EXIT_DONE : fail_with("cannot go on (--keep)", &err);
}

/* One token, or some that were drafted: choose and show. Sets a->why when the last one was among them. */
static int step(answerer *a) {
    int code = choose(a);
    for (int32_t i = 0; i < a->n_next && !a->why && code == EXIT_DONE; i++)
        code = show(a, a->next[i]);
    if (!a->why && a->by.matcher && slm_matcher_end(a->by.matcher) == SLM_END_MUST)
        a->why = "the grammar ended";
    if (a->why || code != EXIT_DONE || slm_seq_length(a->ctx, 0) < slm_context_n_ctx(a->ctx))
        return code;
    if (a->keep >= 0) return forget_older(a);
    a->why = "context full (-c)";
    return code;
}

/* ---- The whole ---- */

int answerer_open(answerer *a, const char *path, const text_list *lora) {
    a->path = path;
    int code = open_model(path, OPEN_TO_RUN, &a->model);
    return code == EXIT_DONE ? open_adapters(a->model, lora, &a->adapters) : code;
}

int answerer_prepare(answerer *a, const sampling_options *o, int32_t n_draft) {
    slm_model_info info = {.size = sizeof info};
    a->params.n_logits = n_draft + 1;
    a->params.progress = progress_update;
    a->params.progress_user = &a->bar;
    int code = create_context(a->model, &a->params, &a->adapters, &a->ctx);
    if (code == EXIT_DONE) code = chooser_create(a->model, o, &a->by);
    if (code != EXIT_DONE) return code;
    slm_model_get_info(a->model, &info); /* cannot fail: both pointers and the size are good */
    a->n_vocab = info.n_vocab;
    a->capacity = 64;
    a->buffer = malloc(a->capacity);
    if (a->n_top > a->n_vocab) a->n_top = a->n_vocab;
    if (a->n_top >= 0) a->logprobs = calloc((size_t)a->n_top + 1, sizeof *a->logprobs);
    return a->buffer && (a->logprobs || a->n_top < 0) ? EXIT_DONE : fail("no memory");
}

int answerer_speculate(answerer *a, int32_t n_draft) {
    slm_error err;
    slm_speculator_params p = slm_speculator_defaults();
    p.n_draft = n_draft;
    if (n_draft > 0 && slm_speculator_create(a->ctx, &p, &a->speculator, &err) != SLM_OK)
        return fail_with("cannot speculate", &err);
    return EXIT_DONE;
}

slm_status tokens_held(slm_context *ctx, const token_list *tokens, int32_t *n_held,
                       slm_error *err) {
    size_t n = 0, same = 0;
    slm_seq_tokens(ctx, 0, NULL, 0, &n, NULL); /* the number only */
    slm_token *held = malloc((n + 1) * sizeof *held);
    if (!held) {
        *err = (slm_error){SLM_ERR_NOMEM, "no memory for the tokens of the sequence"};
        return SLM_ERR_NOMEM;
    }
    slm_status status = slm_seq_tokens(ctx, 0, held, n, &n, err);
    while (status == SLM_OK && same < n && same + 1 < tokens->n && held[same] == tokens->ids[same])
        same++;
    free(held);
    *n_held = (int32_t)same;
    return status;
}

slm_status answerer_read(answerer *a, const slm_token *tokens, int32_t n, slm_error *err) {
    slm_status status = slm_decode_tokens(a->ctx, tokens, n, err);
    if (status == SLM_OK && a->speculator)
        status = slm_speculator_accept(a->speculator, tokens, n, err);
    for (int32_t i = 0; i < n && status == SLM_OK; i++)
        slm_sampler_accept(a->by.sampler, tokens[i]);
    return status;
}

int answer(answerer *a, int32_t most) {
    int code = EXIT_DONE;
    double begin = now();
    a->most = most;
    a->n_next = a->n_generated = a->n_decoded = 0;
    a->why = NULL;
    a->ends_with_newline = false;
    chooser_reset(&a->by);
    while (!a->why && code == EXIT_DONE) code = interrupted() ? EXIT_INTERRUPTED : step(a);
    a->seconds = now() - begin;
    if (code == EXIT_INTERRUPTED) a->why = "interrupted";
    if (code == EXIT_FAILED) return code;
    int end = end_text(a);
    return end == EXIT_DONE ? code : end;
}

void answerer_free(answerer *a) {
    slm_speculator_free(a->speculator);
    chooser_free(&a->by);
    slm_context_free(a->ctx);
    close_adapters(&a->adapters);
    slm_model_close(a->model);
    free(a->buffer);
    free(a->passed);
    free(a->logprobs);
}
