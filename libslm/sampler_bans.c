/* Tokens that must not come: by number, by the end of a generation, by what the text would then contain.
 *
 * A token completes a banned string if it has the whole of it inside, which does not depend on the text, or if the text ends with the
 * first part of one and the token begins with the rest. The state of the search stands for all first parts that the text ends with, so the tokens
 * are a function of it, and are looked up once: tokens sorted by their bytes have those with a common begin together. */
#include <math.h>

#include "model.h"
#include "sampler.h"
#include "sort.h"

/* Ids that are kept for states of the text, at most: 4 MiB. Only those of one state alone may be more, as many as there are tokens. */
enum { MAX_KEPT = 1 << 20 };

/* ---- Tokens by their first bytes ---- */

static uint32_t first_four(slm__str text) {
    uint32_t key = 0;
    for (size_t i = 0; i < 4; i++) key = key << 8 | (i < text.len ? (uint8_t)text.ptr[i] : 0);
    return key;
}

/* Index of the first sorted token whose key is at least `key`. */
static int32_t find_key(const slm__bans *b, uint64_t key) {
    int32_t low = 0, high = b->n_vocab;
    while (low < high) {
        int32_t mid = low + (high - low) / 2;
        if (b->sorted[mid] >> 32 < key)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static slm_status sort_tokens(slm__bans *b, const slm_model *model, const slm_allocator *a,
                              slm_error *err) {
    int32_t n = slm__vocab_n_tokens(model->vocab);
    b->whole = slm__alloc_array(a, (uint64_t)n / 64 + 1, sizeof *b->whole);
    b->marked = slm__alloc_array(a, (uint64_t)n / 64 + 1, sizeof *b->marked);
    b->sorted = slm__alloc_array(a, (uint64_t)n, sizeof *b->sorted);
    b->completing = slm__alloc_array(a, (uint64_t)b->strings.n_nodes, sizeof *b->completing);
    b->n_completing = slm__alloc_array(a, (uint64_t)b->strings.n_nodes, sizeof *b->n_completing);
    uint64_t *other = slm__alloc_array(a, (uint64_t)n, sizeof *other);
    if (!b->whole || !b->marked || !b->sorted || !b->completing || !b->n_completing || !other) {
        slm__free(a, other);
        return slm__fail(err, SLM_ERR_NOMEM, "no memory for banned_strings");
    }
    for (slm_token t = 0; t < n; t++) {
        slm__str text;
        bool found = false;
        if (!slm__token_text(model, t, &text) || text.len == 0) continue;
        slm__strings_walk(&b->strings, 0, text, &found);
        if (found) b->whole[t / 64] |= (uint64_t)1 << t % 64;
        b->sorted[b->n_vocab++] = (uint64_t)first_four(text) << 32 | (uint32_t)t;
    }
    slm__sort(b->sorted, other, (size_t)b->n_vocab, 4);
    slm__free(a, other);
    return slm__guard_check(model->gguf.guard, SLM_OK, err);
}

/* ---- Creating ---- */

static slm_status find_ends(slm__bans *b, const slm_model *model, const slm_allocator *a,
                            slm_error *err) {
    int32_t n = slm__vocab_n_tokens(model->vocab);
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) b->eog = slm__alloc_array(a, (uint64_t)b->n_eog, sizeof *b->eog);
        if (pass == 1 && !b->eog)
            return slm__fail(err, SLM_ERR_NOMEM, "no memory for %d tokens", (int)b->n_eog);
        b->n_eog = 0;
        for (slm_token t = 0; t < n; t++) {
            slm__str text;
            uint32_t attributes = 0;
            slm__vocab_token(model->vocab, t, &text, &attributes);
            if (!(attributes & SLM_TOKEN_EOG)) continue;
            if (pass == 1) b->eog[b->n_eog] = t;
            b->n_eog++;
        }
    }
    return SLM_OK;
}

slm_status slm__bans_create(slm__bans *b, const slm_sampler_params *p, slm_error *err) {
    const slm_allocator *a = &p->allocator;
    b->tokens = slm__alloc_array(a, (uint64_t)p->n_logit_biases, sizeof *b->tokens);
    if (!b->tokens) return slm__fail(err, SLM_ERR_NOMEM, "no memory for logit_biases");
    for (int32_t i = 0; i < p->n_logit_biases; i++)
        if (p->logit_biases[i].bias == -INFINITY)
            b->tokens[b->n_tokens++] = p->logit_biases[i].token;
    if (p->min_tokens > 0) SLM_TRY(find_ends(b, p->model, a, err));
    if (p->n_banned_strings == 0) return SLM_OK;
    SLM_TRY(slm__strings_create(a, "banned_strings", p->banned_strings, p->n_banned_strings,
                                &b->strings, err));
    return sort_tokens(b, p->model, a, err);
}

static void forget_completing(slm__bans *b, const slm_allocator *a) {
    for (int32_t i = 0; b->completing && i < b->strings.n_nodes; i++) {
        slm__free(a, b->completing[i]);
        b->completing[i] = NULL;
    }
    b->n_kept = 0;
}

void slm__bans_free(slm__bans *b, const slm_allocator *a) {
    forget_completing(b, a);
    slm__free(a, b->tokens);
    slm__free(a, b->eog);
    slm__free(a, b->whole);
    slm__free(a, b->marked);
    slm__free(a, b->sorted);
    slm__free(a, b->completing);
    slm__free(a, b->n_completing);
    slm__strings_free(a, &b->strings);
}

void slm__bans_add(slm__bans *b, const slm_model *model, slm_token token) {
    slm__str text;
    bool found = false;
    if (b->strings.n > 0 && slm__token_text(model, token, &text))
        b->state = slm__strings_walk(&b->strings, b->state, text, &found);
}

/* ---- What completes a string that the text has begun ---- */

/* Mark the tokens that begin with `rest`. */
static void mark_tokens(slm__bans *b, const slm_model *model, slm__str rest) {
    size_t n_key = rest.len < 4 ? rest.len : 4;
    uint64_t low = first_four(rest), high = low + ((uint64_t)1 << 8 * (4 - n_key));
    int32_t end = find_key(b, high);
    for (int32_t i = find_key(b, low); i < end; i++) {
        slm_token t = (slm_token)(b->sorted[i] & 0xffffffff);
        slm__str text;
        if (slm__token_text(model, t, &text) && text.len >= rest.len &&
            memcmp(text.ptr, rest.ptr, rest.len) == 0)
            b->marked[t / 64] |= (uint64_t)1 << t % 64;
    }
}

/* Whether string i, once the text ends with its first `depth` bytes, is needed: not if it is equal to one before it, or if another
 * string ends on the way to its end. */
static bool is_needed(const slm__strings *s, int32_t i, int32_t depth) {
    const int32_t *path = s->path + s->path_of[i];
    int32_t len = (int32_t)s->strings[i].len;
    for (int32_t k = depth; k < len - 1; k++)
        if (s->nodes[path[k]].found >= 0) return false;
    return s->nodes[path[len - 1]].found == i;
}

/* For each prefix of a string that the text ends with, the longest first, each rest. Tokens may begin with several of them. */
static void mark_completing(slm__bans *b, const slm_model *model) {
    const slm__strings *s = &b->strings;
    for (int32_t node = b->state; node != 0; node = s->nodes[node].shorter) {
        int32_t depth = s->nodes[node].depth;
        for (int32_t i = 0; i < s->n; i++) {
            slm__str text = s->strings[i];
            if ((size_t)depth >= text.len || s->path[s->path_of[i] + depth - 1] != node) continue;
            if (is_needed(s, i, depth))
                mark_tokens(b, model, (slm__str){text.ptr + depth, text.len - (size_t)depth});
        }
    }
}

static slm_status find_completing(slm__bans *b, const slm_model *model, const slm_allocator *a,
                                  slm_error *err) {
    if (b->state == 0 || b->completing[b->state]) return SLM_OK;
    int32_t n_words = slm__vocab_n_tokens(model->vocab) / 64 + 1, n = 0, used = 0;
    memset(b->marked, 0, (size_t)n_words * sizeof *b->marked);
    mark_completing(b, model);
    for (int32_t w = 0; w < n_words; w++) n += __builtin_popcountll(b->marked[w]);
    if (b->n_kept + n > MAX_KEPT) forget_completing(b, a);
    slm_token *list = slm__alloc_array(a, (uint64_t)n, sizeof *list);
    if (!list) return slm__fail(err, SLM_ERR_NOMEM, "no memory for %d banned tokens", (int)n);
    for (int32_t w = 0; w < n_words; w++)
        for (uint64_t bits = b->marked[w]; bits; bits &= bits - 1)
            list[used++] = w * 64 + __builtin_ctzll(bits);
    b->completing[b->state] = list;
    b->n_completing[b->state] = n;
    b->n_kept += n;
    return slm__guard_check(model->gguf.guard, SLM_OK, err);
}

/* ---- Applying ---- */

static void forbid_all(slm__set *s, const slm_token *tokens, int32_t n) {
    for (int32_t i = 0; i < n; i++) slm__row_forbid(s, tokens[i]);
}

slm_status slm__bans_apply(slm__bans *b, const slm_model *model, slm__set *s,
                           const uint64_t *allowed, bool may_end, slm_error *err) {
    if (allowed) {
        slm__row_mask(s);
        memcpy(s->mask, allowed, ((size_t)s->n_vocab + 63) / 64 * sizeof *allowed);
    }
    forbid_all(s, b->tokens, b->n_tokens);
    if (!may_end) forbid_all(s, b->eog, b->n_eog);
    if (b->strings.n == 0) return SLM_OK;
    SLM_TRY(find_completing(b, model, s->allocator, err));
    slm__row_mask(s);
    int32_t n = slm__vocab_n_tokens(model->vocab);
    for (int32_t w = 0; w * 64 < (n < s->n_vocab ? n : s->n_vocab); w++) s->mask[w] &= ~b->whole[w];
    if (b->state != 0) forbid_all(s, b->completing[b->state], b->n_completing[b->state]);
    return SLM_OK;
}
