/* The tree of rules, for those who read it: rules.c builds it, grammar.c compiles it. */
#ifndef SLM_RULES_H
#define SLM_RULES_H

#include "grammar.h"
#include "vec.h"

typedef enum slm__node_kind {
    NODE_NONE, /* number 0 */
    NODE_TEXT,
    NODE_CLASS,
    NODE_SEQ,
    NODE_ALT,
    NODE_REPEAT,
    NODE_REF,
    NODE_TOKEN,
} slm__node_kind;

typedef struct slm__node {
    slm__node_kind kind;
    /* TEXT: a, n into `bytes`. CLASS: a, n into `ranges`. SEQ, ALT: a, n into `items`. REPEAT: a is the item, n is min. REF: a is the rule.
     * TOKEN: a is the symbol, n its number or the bytes of its text, max says which, and whether it is negated. */
    uint32_t a, n;
    uint32_t max;     /* REPEAT */
    uint32_t product; /* of the counts of repetitions inside, capped by the limit; at least 1 */
    uint32_t next;    /* with the same hash */
} slm__node;

/* A token by number or by text. */
typedef struct slm__token_symbol {
    uint32_t id;
    uint32_t text, n_text; /* into `bytes`, of those by text */
    bool by_text, negated;
} slm__token_symbol;

typedef struct slm__rule {
    uint32_t name, n_name; /* into `bytes` */
    int32_t node;          /* 0: not defined yet */
} slm__rule;

struct slm__rules {
    slm_allocator allocator;
    slm_error error; /* the first one */
    SLM_VEC(slm__node) nodes;
    SLM_VEC(char) bytes;
    SLM_VEC(slm__range) ranges; /* of a class: sorted, apart, without surrogates */
    SLM_VEC(int32_t) items;
    SLM_VEC(slm__token_symbol) tokens;
    SLM_VEC(slm__rule) rules; /* number 0 is none */
    uint32_t *heads;          /* [n_heads] first node of a hash, 0: none */
    uint32_t n_heads;
    uint64_t n_compared;
};

static inline slm__str slm__rule_name(const slm__rules *r, int32_t rule) {
    return (slm__str){r->bytes.p + r->rules.p[rule].name, r->rules.p[rule].n_name};
}

#endif
