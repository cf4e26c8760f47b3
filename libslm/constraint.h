/* A grammar for the tokens of a model, and the walks over the trie of its tokens that make masks. */
#ifndef SLM_CONSTRAINT_H
#define SLM_CONSTRAINT_H

#include <stdatomic.h>

#include "machine.h"
#include "matcher.h"
#include "trie.h"

/* Nodes of the trie, `end` not included. */
typedef struct slm__nodes {
    uint32_t begin, end;
} slm__nodes;

/* What is known of the tokens in a state, whatever its frames are. */
typedef struct slm__local {
    uint64_t *sure; /* [n_words] those that fit, without returning before their last byte */
    slm__nodes
        *open; /* [n_open] the only other ones that may fit, in order; with the nodes above them */
    uint32_t n_open;
    /* Of a loop's body, else NULL: the rounds that each of slm__trie.by_length takes, at most SLM__MANY_ROUNDS; 0 if it is not sure. And the bytes that may
     * go on with the next round. */
    uint8_t *rounds;
    bool again[256];
    uint64_t work;   /* that it took */
    const char *why; /* `sure` NULL: there is nothing of the above, it was too much; the message */
} slm__local;

enum { SLM__MANY_ROUNDS = 255 };

struct slm_constraint {
    slm_allocator allocator;
    const slm_grammar *grammar;
    const slm__vocab *vocab;
    const slm__trie *trie;
    slm_token *symbols; /* [tokens of the grammar] SLM_TOKEN_NONE: no such token               */
    uint8_t *wide;      /* [n_states] many tokens fit: worth a slm__local                      */
    _Atomic(slm__local *)
        *locals;           /* [n_states] set once, by whoever needs it first                      */
    atomic_size_t n_bytes; /* in them                                                             */
};

/* For one thread. */
typedef struct slm__walk {
    slm__machine *m;
    const slm__trie *t;
    const slm_allocator *a;
    uint32_t *sets;  /* [longest + 1] after so many bytes of the path                  */
    uint32_t *nodes; /* [longest + 1] of the path                                      */
    bool *escaped;   /* [longest + 1] something returned before                        */
    uint64_t *bits;  /* [n_words] scratch                                              */
    slm__mark mark;  /* sets from there on may be forgotten while walking              */
    uint64_t n_steps;
} slm__walk;

slm_status slm__walk_init(slm__walk *w, slm__machine *m, const slm_constraint *c,
                          const slm_allocator *a, slm_error *err);
void slm__walk_free(slm__walk *w);

/* Set the bits of all tokens that may come in a set, for the whole of the trie or as far as it is in the cache. LIMIT, NOMEM. */
slm_status slm__walk_mask(slm__walk *w, const slm_constraint *c, uint32_t set, uint64_t *bits,
                          slm_error *err);

/*
 * Make the slm__local of a state with a machine that is as it began, so that it is the same whoever makes it; and keep it for all, unless *mine: there was no
 * room or somebody was faster, slm__local_free() is the caller's. LIMIT only for a limit on work below SLM__MASK_WORK.
 */
slm_status slm__walk_local(slm__walk *w, const slm_constraint *c, uint32_t state, uint64_t most,
                           slm__local **out, bool *mine, slm_error *err);
void slm__local_free(slm__local *l, const slm_allocator *a);

static inline void slm__set_bit(uint64_t *bits, slm_token token) {
    bits[token / 64] |= UINT64_C(1) << token % 64;
}

static inline bool slm__get_bit(const uint64_t *bits, slm_token token) {
    return bits[token / 64] >> token % 64 & 1;
}

#endif
