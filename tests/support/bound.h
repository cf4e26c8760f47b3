/* A small vocabulary, and grammars bound to it. Whatever fails ends the test. */
#ifndef BOUND_H
#define BOUND_H

#include "../../include/slm.h"
#include "suite.h"
#include "vocab_build.h"

/* All bytes (token = byte), pieces of what the oracle's texts are made of, halves of characters, long ones. */
typedef struct tokens {
    vocab_build v;
    slm_model *model;
    int n, end, other_end, control, unused, user;
} tokens;

enum { LONGEST_TEXT = 34 };

void open_tokens(tokens *t);
void close_tokens(tokens *t);

/* The first token of this text. */
slm_token token_of(const tokens *t, const char *text);

/* Everything for one grammar text. */
typedef struct bound {
    slm_grammar *g;
    slm_constraint *c;
    slm_matcher *m;
} bound;

bound bind_text(const tokens *t, const char *grammar);
void release(bound *b);

const uint64_t *mask_of(slm_matcher *m);
void accept(slm_matcher *m, slm_token token);

static inline bool allowed(const uint64_t *mask, slm_token token) {
    return mask[token / 64] >> token % 64 & 1;
}

/* An assertion that tells of the token. */
void hold(bool condition, const char *what, slm_token token);

/* Names of n rules between `begin` and `end`, and their definitions, both with %d for the number (in a definition twice); to be freed. */
char *many_rules(const char *begin, const char *name, const char *end, const char *definition,
                 int n);

#endif
