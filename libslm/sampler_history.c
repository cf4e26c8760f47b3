/* The last tokens, and what the penalties and DRY make of them. */
#include <float.h>

#include "model.h"
#include "sampler.h"
#include "sort.h"

static int32_t larger(int32_t a, int32_t b) { return a > b ? a : b; }

bool slm__token_text(const slm_model *model, slm_token token, slm__str *text) {
    const uint32_t silent = SLM_TOKEN_CONTROL | SLM_TOKEN_UNKNOWN | SLM_TOKEN_UNUSED;
    uint32_t attributes = 0;
    return slm__vocab_token(model->vocab, token, text, &attributes) == SLM_OK &&
           !(attributes & silent);
}

/* Does any of the penalties do something, whatever the order says. */
static bool counts(const slm_sampler_params *p) {
    return p->repeat_penalty != 1 || p->presence_penalty != 0 || p->frequency_penalty != 0;
}

slm_status slm__history_create(slm__history *h, const slm_sampler_params *p, slm_error *err) {
    const slm_allocator *a = &p->allocator;
    h->max_recent = counts(p) ? p->repeat_last_n : 0;
    h->max_dry = p->dry_multiplier > 0 ? p->dry_last_n : 0;
    h->max = larger(h->max_recent, h->max_dry);
    uint64_t dry = (uint64_t)h->max_dry, twice = 2 * (uint64_t)h->max;
    h->tokens = slm__alloc_array(a, twice, sizeof *h->tokens);
    h->recent = slm__alloc_array(a, (uint64_t)h->max_recent, sizeof *h->recent);
    h->changes = slm__alloc_array(a, (uint64_t)h->max, sizeof *h->changes);
    bool good = h->tokens && h->recent && h->changes;
    if (h->max_dry > 0) {
        h->breaks = slm__alloc(a, twice);
        h->lengths = slm__alloc_array(a, dry, sizeof *h->lengths);
        h->pairs = slm__alloc_array(a, dry, sizeof *h->pairs);
        h->other = slm__alloc_array(a, dry, sizeof *h->other);
        good = good && h->breaks && h->lengths && h->pairs && h->other;
    }
    if (!good)
        return slm__fail(err, SLM_ERR_NOMEM, "no memory for the last %d tokens of a sampler",
                         (int)h->max);
    if (h->max_dry == 0) return SLM_OK;
    return slm__strings_create(a, "dry_breakers", p->dry_breakers, p->n_dry_breakers, &h->breakers,
                               err);
}

void slm__history_free(slm__history *h, const slm_allocator *a) {
    slm__free(a, h->tokens);
    slm__free(a, h->recent);
    slm__free(a, h->changes);
    slm__free(a, h->breaks);
    slm__free(a, h->lengths);
    slm__free(a, h->pairs);
    slm__free(a, h->other);
    slm__strings_free(a, &h->breakers);
}

void slm__history_reset(slm__history *h) {
    h->n = h->end = h->n_recent = 0;
    h->breaker_state = 0;
}

/* ---- Remembering ---- */

/* Index of the first recent token that is not below `token`. */
static int32_t find_recent(const slm__history *h, slm_token token) {
    int32_t low = 0, high = h->n_recent;
    while (low < high) {
        int32_t mid = low + (high - low) / 2;
        if (h->recent[mid] < token)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static void add_recent(slm__history *h, slm_token token) {
    if (h->n_recent == h->max_recent) {
        slm_token *gone = h->recent + find_recent(h, h->tokens[h->end - h->max_recent]);
        h->n_recent--;
        memmove(gone, gone + 1, (size_t)(h->recent + h->n_recent - gone) * sizeof *gone);
    }
    slm_token *place = h->recent + find_recent(h, token);
    memmove(place + 1, place, (size_t)(h->recent + h->n_recent - place) * sizeof *place);
    *place = token;
    h->n_recent++;
}

/* Twice as many places as tokens: those that count always lie in a row, and rarely move. */
void slm__history_add(slm__history *h, const slm_model *model, slm_token token) {
    if (h->max == 0) return;
    if (h->max_recent > 0) add_recent(h, token);
    if (h->end == 2 * h->max) {
        h->end = h->n;
        memcpy(h->tokens, h->tokens + 2 * h->max - h->n, (size_t)h->n * sizeof *h->tokens);
        if (h->breaks) memcpy(h->breaks, h->breaks + 2 * h->max - h->n, (size_t)h->n);
    }
    if (h->breaks) {
        slm__str text;
        bool found = false;
        if (h->breakers.n > 0 && slm__token_text(model, token, &text))
            h->breaker_state = slm__strings_walk(&h->breakers, h->breaker_state, text, &found);
        h->breaks[h->end] = found;
    }
    h->tokens[h->end++] = token;
    if (h->n < h->max) h->n++;
}

/* ---- Penalties ---- */

int32_t slm__history_counts(slm__history *h) {
    int32_t n = 0;
    for (int32_t i = 0; i < h->n_recent; i++) {
        if (n > 0 && h->changes[n - 1].id == h->recent[i])
            h->changes[n - 1].amount++;
        else
            h->changes[n++] = (slm__change){h->recent[i], 1};
    }
    return n;
}

/* ---- DRY ---- */

/*
 * lengths[i]: how many of the last tokens, up to `most`, are also those that end i tokens before the end (Gusfield 1997, "Algorithms
 * on strings, trees and sequences", section 1.4: the Z function, of the tokens read backwards). Linear: what is known of one
 * repetition is known of those inside it.
 */
static void find_repetitions(const slm_token *last, int32_t n, int32_t *lengths) {
    int32_t begin = 0,
            end = 0; /* lengths[begin] tokens from `begin` on reach farthest, to end - 1 */
    for (int32_t i = 1; i < n; i++) {
        int32_t k = 0;
        if (i < end) {
            k = lengths[i - begin];
            if (k > end - i) k = end - i;
        }
        while (i + k < n && last[-k] == last[-(i + k)]) k++;
        lengths[i] = k;
        if (i + k > end) {
            begin = i;
            end = i + k;
        }
    }
}

/* x to the power n; not above the largest float. */
static double power(double x, int32_t n) {
    double y = 1;
    for (; n > 0; n /= 2) {
        if (n % 2) y *= x;
        x *= x;
        if (y > FLT_MAX) return FLT_MAX;
        if (x > FLT_MAX) x = FLT_MAX; /* then y will be above it, if it is used */
    }
    return y;
}

int32_t slm__history_dry(slm__history *h, const slm_sampler_params *p) {
    int32_t n = h->n < h->max_dry ? h->n : h->max_dry, most = 0, n_pairs = 0, n_out = 0;
    const slm_token *last = h->tokens + h->end - 1;
    while (most < n && !h->breaks[h->end - 1 - most]) most++;
    if (n <= p->dry_allowed_length || most < p->dry_allowed_length) return 0;
    find_repetitions(last, n, h->lengths);
    for (int32_t i = 1; i < n; i++) {
        int32_t length = h->lengths[i] < most ? h->lengths[i] : most;
        slm_token next = last[1 - i]; /* what followed there */
        if (length >= p->dry_allowed_length && next >= 0)
            h->pairs[n_pairs++] = (uint64_t)next << 32 | (uint32_t)length;
    }
    slm__sort(h->pairs, h->other, (size_t)n_pairs, 0);
    for (int32_t i = 0; i < n_pairs; i++) { /* the longest of a token comes last */
        slm_token token = (slm_token)(h->pairs[i] >> 32);
        if (i + 1 < n_pairs && (slm_token)(h->pairs[i + 1] >> 32) == token) continue;
        int32_t beyond = (int32_t)(h->pairs[i] & 0xffffffff) - p->dry_allowed_length;
        double loss = (double)p->dry_multiplier * power((double)p->dry_base, beyond);
        h->changes[n_out++] = (slm__change){token, loss > FLT_MAX ? FLT_MAX : (float)loss};
    }
    return n_out;
}
