#include "windows.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

slm_status windows_tokenize(windows *w, const slm_model *model, slm_error *err) {
    token_list nothing;
    w->text = (token_list){0};
    slm_status status = tokenize(model, "", 0, SLM_TOKENIZE_BOS, &nothing, err);
    w->n_bos = nothing.n;
    if (status == SLM_OK && nothing.n > 0) w->bos = nothing.ids[0];
    free(nothing.ids);
    return status == SLM_OK ? tokenize(model, w->bytes, w->n_bytes, w->flags, &w->text, err)
                            : status;
}

int windows_read(windows *w, const slm_model *model, const char *path, bool parse_special) {
    slm_error err;
    *w = (windows){.name = strcmp(path, "-") == 0 ? "standard input" : path,
                   .flags = parse_special ? SLM_TOKENIZE_SPECIAL : 0};
    w->bytes = read_all(path, &w->n_bytes);
    if (!w->bytes) return interrupted() ? EXIT_INTERRUPTED : EXIT_FAILED;
    if (w->n_bytes > 0 && w->bytes[w->n_bytes - 1] == '\n') w->n_bytes--;
    if (windows_tokenize(w, model, &err) != SLM_OK) return fail_with(w->name, &err);
    return w->text.n > 0 ? EXIT_DONE : fail("%s: no text in it", w->name);
}

void windows_free(windows *w) {
    free(w->bytes);
    free(w->text.ids);
    w->bytes = NULL;
    w->text = (token_list){0};
}

int windows_cut(windows *w, size_t size, size_t stride, const slm_model *model) {
    size_t n = w->n_bos + w->text.n;
    w->size = size;
    w->halves = stride == 0;
    w->step = w->halves ? size : stride;
    w->n = 0;
    if (w->halves)
        w->n = n / size; /* whole ones only */
    else if (n >= 2)     /* a token, and one that it is predicted from */
        w->n = 1 + (n > size ? (n - size + stride - 1) / stride : 0);
    if (w->n == 0 && w->halves)
        return fail("%s: too short, %zu tokens, and a window has %zu (-c)", w->name, n, size);
    if (w->n == 0) return fail("%s: too short, a token with nothing before it", w->name);
    slm_model_info info = {.size = sizeof info};
    slm_model_get_info(model, &info); /* cannot fail: both pointers and the size are good */
    if (info.n_ctx_train > 0 && window_length(w, 0) > (size_t)info.n_ctx_train)
        warn("%zu tokens: the model was trained for %" PRId32, window_length(w, 0),
             info.n_ctx_train);
    return EXIT_DONE;
}

size_t window_length(const windows *w, size_t i) {
    size_t left = w->n_bos + w->text.n - i * w->step;
    return left < w->size ? left : w->size;
}

slm_token window_token(const windows *w, size_t i, size_t position) {
    return position < w->n_bos ? w->bos : w->text.ids[i * w->step + position - w->n_bos];
}

/* The first position whose token is scored; all behind it are, too. */
static size_t first_scored(const windows *w, size_t i) {
    if (w->halves) return w->size / 2 + 1;
    return i == 0 ? 1 : w->size - w->step;
}

size_t windows_scored(const windows *w) {
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++) n += window_length(w, i) - first_scored(w, i);
    return n;
}

/* ---- Pieces ---- */

/* Positions of a window that are computed: nothing is predicted from its last token. */
static size_t computed_length(const window_walk *walk, size_t i) {
    return window_length(walk->windows, i) - (walk->kind == WALK_SCORED ? 1 : 0);
}

static size_t at_most(size_t n, size_t most) { return n < most ? n : most; }

/* Windows are computed together only if they fit into the tokens that are computed at a time, so that the context has no more positions
 * than that or one window: with many, LongRoPE would have other factors. */
static void size_context(window_walk *walk, size_t row_bytes, walk_limits limits,
                         slm_context_params *p) {
    size_t length = window_length(walk->windows, 0), n_rows = limits.logits_bytes / row_bytes;
    walk->n_group =
        at_most(limits.n_tokens > length ? limits.n_tokens / length : 1, walk->windows->n);
    size_t n = walk->n_group * length;
    if (walk->kind == WALK_WHOLE) n_rows = 1; /* the least that a context can have */
    walk->max_tokens = (int32_t)at_most(n, limits.n_tokens);
    walk->max_rows = (int32_t)at_most(n_rows > 0 ? n_rows : 1, (size_t)walk->max_tokens);
    p->n_ctx = (int32_t)n;
    p->n_batch = walk->max_tokens;
    p->n_seq_max = (int32_t)walk->n_group;
    p->n_logits = walk->max_rows;
}

int walk_begin(window_walk *walk, walk_kind kind, const windows *w, const slm_model *model,
               walk_limits limits, slm_context_params *params) {
    slm_model_info info = {.size = sizeof info};
    slm_model_get_info(model, &info);
    *walk = (window_walk){.kind = kind, .windows = w};
    size_context(walk, (size_t)info.n_vocab * sizeof(float), limits, params);
    size_t n = (size_t)walk->max_tokens;
    walk->tokens = calloc(n, sizeof *walk->tokens);
    walk->sequences = calloc(n, sizeof *walk->sequences);
    walk->wanted = calloc(n, 1);
    walk->rows = calloc((size_t)walk->max_rows, sizeof *walk->rows);
    for (size_t i = 0; i < w->n; i++) walk->n_total += computed_length(walk, i);
    return walk->tokens && walk->sequences && walk->wanted && walk->rows ? EXIT_DONE
                                                                         : fail("no memory");
}

void walk_free(window_walk *walk) {
    free(walk->tokens);
    free(walk->sequences);
    free(walk->wanted);
    free(walk->rows);
}

/* Tokens of one window, as that sequence, up to its end (true) or until there is no place for another token or row. */
static bool add_tokens(window_walk *walk, int32_t sequence) {
    const windows *w = walk->windows;
    size_t length = window_length(w, walk->window), end = computed_length(walk, walk->window);
    size_t first = walk->kind == WALK_SCORED ? first_scored(w, walk->window) - 1 : 0;
    for (; walk->position < end; walk->position++) {
        size_t at = walk->position;
        bool wanted = walk->kind != WALK_WHOLE && at >= first;
        if (walk->n_tokens == walk->max_tokens || (wanted && walk->n_rows == walk->max_rows))
            return false;
        if (wanted)
            walk->rows[walk->n_rows++] = (window_row){
                at + 1 < length ? window_token(w, walk->window, at + 1) : SLM_TOKEN_NONE,
                (int32_t)(at + 1)};
        walk->wanted[walk->n_tokens] = wanted;
        walk->sequences[walk->n_tokens] = sequence;
        walk->tokens[walk->n_tokens++] = window_token(w, walk->window, at);
    }
    return true;
}

bool walk_next(window_walk *walk) {
    walk->n_done += (size_t)walk->n_tokens;
    walk->n_tokens = walk->n_rows = 0;
    walk->fresh = walk->position == 0 && walk->window % walk->n_group == 0;
    while (walk->window < walk->windows->n) {
        if (!add_tokens(walk, (int32_t)(walk->window % walk->n_group))) break;
        walk->position = 0;
        if (++walk->window % walk->n_group == 0) break;
    }
    return walk->n_tokens > 0;
}

slm_status walk_decode(const window_walk *walk, slm_context *ctx, slm_error *err) {
    slm_status status = SLM_OK;
    slm_batch batch = {.size = sizeof batch,
                       .n_tokens = walk->n_tokens,
                       .tokens = walk->tokens,
                       .sequences = walk->sequences,
                       .want_logits = walk->wanted};
    for (int32_t i = 0; walk->fresh && (size_t)i < walk->n_group && status == SLM_OK; i++)
        status = slm_seq_truncate(ctx, i, 0, err);
    return status == SLM_OK ? slm_decode(ctx, &batch, err) : status;
}

float walk_progress(const window_walk *walk, float done) {
    double n = (double)walk->n_done + (double)done * (double)walk->n_tokens;
    return (float)(n / (double)walk->n_total);
}
