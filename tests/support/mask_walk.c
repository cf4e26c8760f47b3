#include "mask_walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1000, LONGEST = 256 };

/* Whether a token closes something, or at least opens nothing. */
enum { CLOSES, NEITHER, OPENS, N_KINDS };

struct mask_walk {
    const slm_model *model;
    slm_constraint *constraint;
    slm_matcher *matcher;
    int32_t n_vocab;
    slm_token *tokens[N_KINDS]; /* [n_vocab] those that may come */
    char *bytes;
    size_t room;
};

/* Nothing of this may fail. */
static void must(slm_status s, const slm_error *err) {
    if (s == SLM_OK) return;
    fprintf(stderr, "%s: %s\n", slm_status_name(s), err->message);
    exit(1);
}

mask_walk *mw_new(const slm_model *model, const slm_grammar *g) {
    slm_error err;
    slm_model_info info = {.size = sizeof info};
    mask_walk *w = calloc(1, sizeof *w);
    if (!w) exit(1);
    w->model = model;
    must(slm_model_get_info(model, &info), &err);
    must(slm_constraint_create(g, model, NULL, &w->constraint, &err), &err);
    must(slm_matcher_create(w->constraint, NULL, &w->matcher, &err), &err);
    w->n_vocab = info.n_vocab;
    for (int i = 0; i < N_KINDS; i++) {
        w->tokens[i] = calloc((size_t)w->n_vocab, sizeof *w->tokens[i]);
        if (!w->tokens[i]) exit(1);
    }
    return w;
}

static uint32_t draw(uint64_t *state, uint32_t below) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*state >> 33) % below);
}

static int kind_of(const char *text, size_t n) {
    size_t at = 0;
    while (at < n && text[at] == ' ') at++;
    if (at == n) return NEITHER;
    return memchr("\"]}", text[at], 3) ? CLOSES : memchr("[{", text[at], 2) ? OPENS : NEITHER;
}

/* One of the tokens that may come; NONE: the end, which alone is left or may come when it is time to close. */
static slm_token choose(mask_walk *w, uint64_t *state, bool close) {
    slm_error err;
    const uint64_t *mask;
    uint32_t n[N_KINDS] = {0}, n_all = 0;
    must(slm_matcher_mask(w->matcher, &mask, &err), &err);
    if (close && slm_matcher_end(w->matcher) != SLM_END_NO) return SLM_TOKEN_NONE;
    for (slm_token t = 0; t < w->n_vocab; t++) {
        const char *text;
        size_t n_text;
        uint32_t attributes;
        if (!(mask[t / 64] >> t % 64 & 1)) continue;
        must(slm_token_get(w->model, t, &text, &n_text, &attributes), &err);
        if (attributes & SLM_TOKEN_EOG) continue;
        int kind = kind_of(text, n_text);
        w->tokens[kind][n[kind]++] = t;
        n_all++;
    }
    if (n_all == 0) return SLM_TOKEN_NONE;
    close = close || draw(state, 8) == 0;
    uint32_t at = draw(state, n_all);
    for (int kind = 0;; kind++) {
        if (close && n[kind] > 0) return w->tokens[kind][at % n[kind]];
        if (at < n[kind]) return w->tokens[kind][at];
        at -= n[kind];
    }
}

const char *mw_generate(mask_walk *w, uint64_t seed, size_t wanted, size_t *n) {
    slm_error err;
    uint64_t state = seed;
    *n = 0;
    slm_matcher_reset(w->matcher);
    if (w->room < wanted + MOST + LONGEST) {
        w->room = wanted + MOST + LONGEST;
        w->bytes = realloc(w->bytes, w->room);
        if (!w->bytes) exit(1);
    }
    while (*n < wanted + MOST) {
        slm_text_end end = slm_matcher_end(w->matcher);
        if (end == SLM_END_MUST || (end == SLM_END_MAY && draw(&state, 8) == 0)) return w->bytes;
        slm_token token = choose(w, &state, *n >= wanted);
        const char *text;
        size_t n_text;
        if (token == SLM_TOKEN_NONE) return w->bytes;
        must(slm_token_get(w->model, token, &text, &n_text, NULL), &err);
        must(slm_matcher_accept(w->matcher, token, &err), &err);
        if (n_text > LONGEST) exit(1);
        memcpy(w->bytes + *n, text, n_text);
        *n += n_text;
    }
    return NULL;
}

void mw_free(mask_walk *w) {
    slm_matcher_free(w->matcher);
    slm_constraint_free(w->constraint);
    for (int i = 0; i < N_KINDS; i++) free(w->tokens[i]);
    free(w->bytes);
    free(w);
}
