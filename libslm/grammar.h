/*
 * Grammars: rules as a tree, which GBNF and JSON Schema are read into, and then an automaton over bytes.
 *
 *     gbnf.c, schema.c -> rules.c (the tree) -> grammar.c, automaton.c (compiled) -> machine.c (what may follow a text)
 *
 * A node of the tree stands for a set of texts and is a number > 0. It may be used in any number of places. Equal nodes are one:
 * what is built twice costs nothing. Texts are bytes; a class is one code point as UTF-8.
 */
#ifndef SLM_GRAMMAR_H
#define SLM_GRAMMAR_H

#include "base.h"

typedef struct slm__rules
    slm__rules; /* the builder; the first error sticks, later calls return 0 */

/*
 * Limits, all of them LIMIT:
 *   a count of a repetition, but UINT32_MAX as its end: SLM__MAX_COUNT
 *   counts of repetitions inside of each other, multiplied (not through references): SLM__MAX_PRODUCT
 *   nodes, their items, bytes of texts, ranges of classes: SLM__MAX_NODES, SLM__MAX_ITEMS each
 */
enum {
    SLM__MAX_COUNT = 1000000,
    SLM__MAX_PRODUCT = 100000000,
    SLM__MAX_NODES = 1 << 20,
    SLM__MAX_ITEMS = 1 << 22,
    SLM__MAX_RULES = 1 << 16,
};

slm_status slm__rules_create(const slm_allocator *a, slm__rules **out, slm_error *err);
void slm__rules_free(slm__rules *r);

typedef struct slm__range {
    uint32_t first, last; /* code points, inclusive; first > last: none */
} slm__range;

/* These bytes. n 0: the empty text. */
int32_t slm__rules_text(slm__rules *r, const char *text, size_t n);
/* One code point of the ranges, in any order, they may overlap; negated: one of all others. As UTF-8, never a surrogate. */
int32_t slm__rules_class(slm__rules *r, const slm__range *ranges, size_t n, bool negated);
/* One behind the other; n 0: the empty text. */
int32_t slm__rules_seq(slm__rules *r, const int32_t *items, size_t n);
/* One of them; n 0: nothing fits. */
int32_t slm__rules_alt(slm__rules *r, const int32_t *items, size_t n);
/* min to max times; max UINT32_MAX: no end. min > max: nothing fits. */
int32_t slm__rules_repeat(slm__rules *r, int32_t item, uint32_t min, uint32_t max);
/* A token by number, or by text (n bytes, looked up in the vocabulary that the grammar is used with) if `text` is not NULL;
 * negated: one of all other tokens that stand for text. */
int32_t slm__rules_token(slm__rules *r, uint32_t id, const char *text, size_t n, bool negated);

/* A rule to be defined; returns the rule's number, which is no node. The name, for messages, is copied. */
int32_t slm__rules_new(slm__rules *r, const char *name, size_t n);
/* What the rule is defined as, now or later. */
int32_t slm__rules_ref(slm__rules *r, int32_t rule);
/* Once for each rule; a second time: RANGE. */
void slm__rules_define(slm__rules *r, int32_t rule, int32_t node);
/* The first error: LIMIT, NOMEM; RANGE for a number that is no node or rule. */
slm_status slm__rules_status(const slm__rules *r, slm_error *err);

/*
 * Compile; `root` is a rule. Takes over nothing; r may be freed afterwards. Uses r's allocator, which the grammar keeps a copy of.
 *
 * FORMAT (a rule that is not defined; left recursion: a rule that comes to itself again before any text; no text fits), LIMIT (too many
 * states), NOMEM, and slm__rules_status().
 */
slm_status slm__grammar_compile(slm__rules *r, int32_t root, slm_grammar **out, slm_error *err);

#endif
