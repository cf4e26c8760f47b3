/* slm compare: where a candidate's answer first departs from the reference's. The reference goes on from the start of the first windows
 * with its most probable tokens; a candidate is given the same text, and where it would have chosen another token it goes on by itself. */
#include "compare.h"

#include <stdlib.h>
#include <string.h>

#include "compare_row.h"
#include "grow.h"

enum { PROMPT = 64, GOES_ON = 64, SHOWN_TOKENS = 12, SHOWN_BYTES = 160 };

/* A prompt and what follows it by the reference, one sequence of a context. */
typedef struct continuation {
    slm_token tokens[PROMPT + GOES_ON];
    int32_t n_prompt, n; /* n: with the prompt */
    bool ended;
} continuation;

typedef struct departures {
    compare_work *w;
    continuation all[MAX_DEPARTURES];
    int32_t n;
    slm_context *ctx; /* of the model at hand: a sequence for each */
} departures;

static int32_t n_departures(const compare_work *w) {
    return w->windows.n < MAX_DEPARTURES ? (int32_t)w->windows.n : MAX_DEPARTURES;
}

static double model_units(const compare_work *w, const compared_model *m) {
    return (double)m->info.n_params * n_departures(w) * (m->is_reference ? 1024 : 256);
}

double units_of_departures(const compare_work *w) {
    double sum = 0;
    for (int32_t i = 0; i < w->n_models; i++) sum += model_units(w, &w->models[i]);
    return sum;
}

static int open_context(departures *d, const compared_model *m) {
    slm_context_params params = compare_context(d->w, m);
    slm_error err;
    params.n_ctx = d->n * (PROMPT + GOES_ON + SHOWN_TOKENS);
    params.n_batch = d->n * (PROMPT + GOES_ON);
    params.n_seq_max = d->n;
    params.n_logits = GOES_ON;
    params.keep_all = true; /* sequences are cut where they depart */
    slm_context_free(d->ctx);
    slm_status status = slm_context_create(m->model, &params, &d->ctx, &err);
    return status == SLM_OK ? EXIT_DONE : fail_with(m->path, &err);
}

static bool ends(const departures *d, slm_token token) {
    uint32_t attributes = 0;
    slm_token_get(d->w->models[0].model, token, NULL, NULL, &attributes);
    return attributes & SLM_TOKEN_EOG;
}

static slm_token best_of(const departures *d, int32_t row) {
    return row_best(slm_logits(d->ctx, row), d->w->n_vocab);
}

/* ---- The reference ---- */

/* The next tokens of all that go on, in one batch; *n is how many those are. */
static slm_status go_on(departures *d, bool begin, int32_t *n, slm_error *err) {
    slm_token tokens[MAX_DEPARTURES * PROMPT];
    int32_t sequences[MAX_DEPARTURES * PROMPT], which[MAX_DEPARTURES];
    uint8_t wanted[MAX_DEPARTURES * PROMPT];
    slm_batch batch = {
        .size = sizeof batch, .tokens = tokens, .sequences = sequences, .want_logits = wanted};
    *n = 0;
    for (int32_t i = 0; i < d->n; i++) {
        continuation *c = &d->all[i];
        if (c->ended || c->n == c->n_prompt + GOES_ON) continue;
        for (int32_t at = begin ? 0 : c->n - 1; at < c->n; at++) {
            wanted[batch.n_tokens] = at == c->n - 1;
            sequences[batch.n_tokens] = i;
            tokens[batch.n_tokens++] = c->tokens[at];
        }
        which[(*n)++] = i;
    }
    slm_status status = *n > 0 ? slm_decode(d->ctx, &batch, err) : SLM_OK;
    for (int32_t row = 0; row < *n && status == SLM_OK; row++) {
        continuation *c = &d->all[which[row]];
        c->tokens[c->n] = best_of(d, row);
        c->ended = ends(d, c->tokens[c->n++]);
    }
    return status;
}

static int write_continuations(departures *d) {
    const windows *t = &d->w->windows;
    slm_error err;
    int32_t n = 1;
    for (int32_t i = 0; i < d->n; i++) {
        continuation *c = &d->all[i];
        c->n = c->n_prompt = window_length(t, (size_t)i) / 2 < PROMPT
                                 ? (int32_t)(window_length(t, (size_t)i) / 2)
                                 : PROMPT;
        for (int32_t at = 0; at < c->n; at++)
            c->tokens[at] = window_token(t, (size_t)i, (size_t)at);
    }
    for (bool begin = true; n > 0; begin = false)
        if (go_on(d, begin, &n, &err) != SLM_OK) return fail_with(d->w->models[0].path, &err);
    return EXIT_DONE;
}

/* ---- A candidate ---- */

/* In *n the tokens that it would have chosen, too. */
static slm_status find_departure(departures *d, int32_t i, int32_t *n, slm_error *err) {
    const continuation *c = &d->all[i];
    int32_t sequences[PROMPT + GOES_ON], n_new = c->n - c->n_prompt;
    uint8_t wanted[PROMPT + GOES_ON];
    slm_batch batch = {.size = sizeof batch,
                       .n_tokens = c->n - 1,
                       .tokens = c->tokens,
                       .sequences = sequences,
                       .want_logits = wanted};
    for (int32_t at = 0; at < batch.n_tokens; at++) {
        sequences[at] = i;
        wanted[at] = at >= c->n_prompt - 1;
    }
    slm_status status = slm_decode(d->ctx, &batch, err);
    if (status != SLM_OK) return status;
    *n = 0;
    while (*n < n_new && best_of(d, *n) == c->tokens[c->n_prompt + *n]) (*n)++;
    return SLM_OK;
}

/* What it writes from there on: the token that was chosen in row `row`, and those that follow. */
static slm_status write_on(departures *d, int32_t i, int32_t row, slm_token *out, int32_t *n,
                           slm_error *err) {
    int32_t sequence = i;
    slm_batch batch = {.size = sizeof batch, .n_tokens = 1, .sequences = &sequence};
    slm_token next = best_of(d, row);
    slm_status status = slm_seq_truncate(d->ctx, i, d->all[i].n_prompt + row, err);
    for (*n = 0; status == SLM_OK;) {
        out[(*n)++] = next;
        if (*n == SHOWN_TOKENS || ends(d, next)) break;
        batch.tokens = &next;
        status = slm_decode(d->ctx, &batch, err);
        if (status == SLM_OK) next = best_of(d, 0);
    }
    return status;
}

/* ---- Text ---- */

/* Without characters that are cut at the end; an ending token has no text. */
static char *text_of(const departures *d, const slm_token *tokens, int32_t n) {
    growing_text text = {0};
    slm_text_stream stream = {0};
    const slm_model *model = d->w->models[0].model;
    text_add(&text, "", 0);
    for (int32_t i = 0; i < n; i++) {
        size_t n_bytes = 0;
        char *buffer;
        if (slm_text_stream_add(model, &stream, tokens[i], NULL, 0, &n_bytes) != SLM_ERR_BUFFER)
            continue; /* no text */
        if (!(buffer = malloc(n_bytes))) break;
        slm_text_stream_add(model, &stream, tokens[i], buffer, n_bytes, &n_bytes);
        for (size_t b = 0; b < n_bytes; b++)
            if (buffer[b] == '\0') buffer[b] = ' ';
        text_add(&text, buffer, n_bytes);
        free(buffer);
    }
    return text.text;
}

/* Its last characters. */
static char *end_of(char *text) {
    if (!text) return NULL;
    size_t n = strlen(text), at = n > SHOWN_BYTES ? n - SHOWN_BYTES : 0;
    while (at < n && ((unsigned char)text[at] & 0xc0) == 0x80) at++;
    memmove(text, text + at, n - at + 1);
    return text;
}

static int describe(departures *d, const compared_model *m, int32_t i, departure *out) {
    const continuation *c = &d->all[i];
    slm_token own[SHOWN_TOKENS];
    int32_t n = 0, n_rest;
    slm_error err;
    slm_status status = find_departure(d, i, &out->n_shared, &err);
    out->n_tokens = c->n - c->n_prompt;
    n_rest = out->n_tokens - out->n_shared;
    if (status == SLM_OK && n_rest > 0) status = write_on(d, i, out->n_shared, own, &n, &err);
    if (status != SLM_OK) return fail_with(m->path, &err);
    const slm_token *behind = c->tokens + c->n_prompt;
    out->prompt = end_of(text_of(d, c->tokens, c->n_prompt));
    out->shared = text_of(d, behind, out->n_shared);
    out->reference =
        text_of(d, behind + out->n_shared, n_rest < SHOWN_TOKENS ? n_rest : SHOWN_TOKENS);
    out->candidate = text_of(d, own, n);
    return out->prompt && out->shared && out->reference && out->candidate ? EXIT_DONE
                                                                          : fail("no memory");
}

int compare_departures(compare_work *w) {
    departures d = {.w = w, .n = n_departures(w)};
    compare_step(w, model_units(w, &w->models[0]));
    int code = open_context(&d, &w->models[0]);
    if (code == EXIT_DONE) code = write_continuations(&d);
    w->result.n_departures = d.n;
    for (int32_t m = 1; m < w->n_models && code == EXIT_DONE; m++) {
        compare_step(w, model_units(w, &w->models[m]));
        code = open_context(&d, &w->models[m]);
        for (int32_t i = 0; i < d.n && code == EXIT_DONE; i++)
            code = describe(&d, &w->models[m], i, &w->result.candidates[m - 1].departures[i]);
    }
    slm_context_free(d.ctx);
    return code;
}
