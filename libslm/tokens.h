/* The tokens of a vocabulary: the bytes that each stands for, and the token of given bytes. */
#ifndef SLM_TOKENS_H
#define SLM_TOKENS_H

#include "gguf.h"

typedef struct slm__tokens {
    int32_t n;
    uint32_t max_len; /* of the longest token, bytes                                  */
    bool has_equal;   /* some tokens stand for the same bytes                         */
    bool has_raw;     /* some have no bytes: their text is as in the file */
    char *text;       /* all decoded texts, one behind the other                      */
    uint32_t *at;     /* [n + 1] where in `text` each begins                          */
    uint64_t *slots;  /* open-addressed: hash << 32 | id + 1; 0 is empty               */
    uint32_t mask;
} slm__tokens;

/* Decode the text of a token as the file has it into the bytes it stands for. `out` has room for raw.len bytes;
 * *n_out is what it took. False: no text is ever encoded as this token; `out` is then not used. */
typedef bool (*slm__token_decode)(slm__str raw, char *out, size_t *n_out);

/* MISMATCH, LIMIT, TYPE, NOMEM. Empty tokens are found by nothing; of equal ones the lowest is found. */
slm_status slm__tokens_load(slm__tokens *t, const slm__key *key, slm__token_decode decode,
                            const slm_allocator *allocator, slm_error *err);
void slm__tokens_free(slm__tokens *t, const slm_allocator *allocator);

/* The token that stands for these bytes, or SLM_TOKEN_NONE. */
slm_token slm__tokens_find(const slm__tokens *t, const void *bytes, size_t n);

/* The same in three steps, for many at a time: memory is waited for once and not for each. */
uint32_t slm__tokens_hash(const void *bytes, size_t n);
static inline void slm__tokens_prefetch(const slm__tokens *t, uint32_t hash) {
    __builtin_prefetch(&t->slots[hash & t->mask]);
}
slm_token slm__tokens_find_hashed(const slm__tokens *t, uint32_t hash, const void *bytes, size_t n);

/* Where tokens go: stored as long as there is room, counted always. */
typedef struct slm__sink {
    slm_token *out;
    size_t capacity, n;
} slm__sink;

static inline void slm__sink_put(slm__sink *s, slm_token token) {
    if (s->n < s->capacity) s->out[s->n] = token;
    s->n++;
}

static inline slm__str slm__tokens_text(const slm__tokens *t, slm_token token) {
    return (slm__str){t->text + t->at[token], t->at[token + 1] - t->at[token]};
}

#endif
