/* Random grammars, and which texts they allow: by definition, without an automaton.
 *
 * For each node and position, the set of positions at which a text of the node may end, as bits; for rules as the least fixed point. The same
 * for whether what is left of the text is the start of a text of the node. */
#ifndef TESTS_GRAMMAR_ORACLE_H
#define TESTS_GRAMMAR_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GO_MAX_NODES = 256, GO_MAX_RULES = 8, GO_MAX_PARTS = 6, GO_MAX_TEXT = 62, GO_ENDLESS = -1 };

typedef enum go_kind { GO_TEXT, GO_CLASS, GO_SEQ, GO_ALT, GO_REPEAT, GO_REF } go_kind;

typedef struct go_node {
    go_kind kind;
    char text[16]; /* bytes */
    int n;         /* of text, ranges or parts */
    uint32_t ranges[4][2];
    bool negated;
    int parts[GO_MAX_PARTS];
    int min, max;
    int rule;
} go_node;

typedef struct go_grammar {
    go_node nodes[GO_MAX_NODES];
    int n_nodes, n_rules;
    int rules[GO_MAX_RULES]; /* their nodes; 0 is the root */
    bool productive[GO_MAX_NODES], nullable[GO_MAX_NODES];
} go_grammar;

/* xorshift: Marsaglia 2003 */
static inline uint32_t go_random(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    return *state ^= *state << 5;
}

void go_make(go_grammar *g, uint32_t *seed);

/* As GBNF, with random spaces and escapes. Returns its length. */
size_t go_print(const go_grammar *g, char *out, size_t capacity, uint32_t *seed);

/* A rule that the root comes to calls itself before it has read anything. */
bool go_left_recursive(const go_grammar *g);

/* Bit i: the first i bytes are a text of the grammar. *viable: all n bytes are the start of one. n <= GO_MAX_TEXT. */
uint64_t go_match(const go_grammar *g, const char *text, int n, bool *viable);

/* A text that a walk through the grammar gives, mostly one that it allows, at most GO_MAX_TEXT bytes. */
int go_sample(const go_grammar *g, char *out, uint32_t *seed);

#endif
