/* The tokens of a vocabulary: the bytes that each stands for, and the token of given bytes. */
#ifndef SLM_TOKENS_H
#define SLM_TOKENS_H

#include "gguf.h"

/* Texts of up to eight bytes are told apart by the slot alone, which is most look-ups: memory is read once for them. */
typedef struct slm__token_slot {
    uint64_t word; /* up to 8 bytes: the text, padded with zeros; of longer ones a hash */
    uint32_t len;  /* bytes of the text */
    uint32_t id_1; /* id + 1; 0: the slot is empty */
} slm__token_slot;

typedef struct slm__tokens {
    int32_t n;
    uint32_t max_len; /* of the longest token, bytes                                  */
    bool has_equal;   /* some tokens stand for the same bytes                         */
    char *text;       /* all decoded texts, one behind the other                      */
    uint32_t *at;     /* [n + 1] where in `text` each begins                          */
    uint64_t *raw;    /* a bit for each: it stands for no bytes, its text is as in the file */
    int32_t n_raw;
    slm__token_slot *slots; /* [n_slots] open-addressed */
    uint32_t n_slots;
    uint64_t n_probes; /* of all insertions */
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
typedef struct slm__token_key {
    uint64_t word; /* as in a slot */
    uint32_t len;
    uint32_t hash; /* where the search begins: see slm__tokens_place() */
} slm__token_key;
slm__token_key slm__tokens_key(const void *bytes, size_t n);
static inline uint32_t slm__tokens_place(const slm__tokens *t, uint32_t hash) {
    return (uint32_t)((uint64_t)hash * t->n_slots >> 32);
}
static inline void slm__tokens_prefetch(const slm__tokens *t, const slm__token_key *key) {
    __builtin_prefetch(&t->slots[slm__tokens_place(t, key->hash)]);
}
slm_token slm__tokens_find_key(const slm__tokens *t, const slm__token_key *key, const void *bytes);

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

static inline bool slm__tokens_is_raw(const slm__tokens *t, slm_token token) {
    return t->raw[token / 64] >> token % 64 & 1;
}

#endif
