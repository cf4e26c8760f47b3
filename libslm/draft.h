/*
 * A grammar while it is made from a schema: parts of it may turn out to fit no text at all (a property that nothing satisfies), and
 * these are left out before the engine gets it.
 *
 * A node is used once, as part of one other node or of one rule; what is wanted in several places is a rule. Node 0 fits nothing
 * and may be used anywhere. All memory is the arena's; the first failure sticks.
 */
#ifndef SLM_DRAFT_H
#define SLM_DRAFT_H

#include "arena.h"
#include "grammar.h"

typedef enum slm__draft_kind {
    DRAFT_TEXT,   /* bytes[at .. at + n)                       */
    DRAFT_CLASS,  /* a code point of ranges[at .. at + n)      */
    DRAFT_SEQ,    /* lists[at .. at + n), one after the other  */
    DRAFT_ALT,    /* one of lists[at .. at + n)                */
    DRAFT_REPEAT, /* `at` is the node; min to max times        */
    DRAFT_REF,    /* `at` is the rule                          */
} slm__draft_kind;

typedef struct slm__draft_node {
    uint8_t kind;
    bool fits;      /* some text does; so known after slm__draft_prune()          */
    bool used;      /* and it can be reached from the root; likewise              */
    int32_t parent; /* the node that it is part of, or ~rule                      */
    uint32_t at, n;
    uint32_t min, max;
    uint32_t missing; /* children that fit nothing as far as known; while pruning */
    int32_t next_ref; /* another node that refers to the same rule; -1: none      */
} slm__draft_node;

typedef struct slm__draft_rule {
    int32_t node;      /* -1: not defined yet                      */
    int32_t first_ref; /* a node that refers to it; -1: none       */
    bool fits, used;
} slm__draft_rule;

typedef struct slm__draft {
    slm__arena *arena;
    slm__draft_node *nodes;
    slm__draft_rule *rules;
    int32_t *lists;
    slm__range *ranges;
    char *bytes;
    uint32_t n_nodes, n_rules, n_lists, n_ranges, n_bytes;
    uint32_t room_nodes, room_rules, room_lists, room_ranges, room_bytes;
    bool failed; /* no memory, or too large: arena->limited */
} slm__draft;

/* An empty draft with node 0. */
void slm__draft_init(slm__draft *d, slm__arena *arena);

int32_t slm__draft_text(slm__draft *d, const char *text, size_t n);
int32_t slm__draft_class(slm__draft *d, const slm__range *ranges, size_t n); /* sorted, apart */
int32_t slm__draft_seq(slm__draft *d, const int32_t *items, size_t n);
int32_t slm__draft_alt(slm__draft *d, const int32_t *items, size_t n);
int32_t slm__draft_repeat(slm__draft *d, int32_t item, uint32_t min, uint32_t max);
int32_t slm__draft_rule_new(slm__draft *d);
int32_t slm__draft_ref(slm__draft *d, int32_t rule);
void slm__draft_define(slm__draft *d, int32_t rule, int32_t node);

/* Two or three items without a list. */
static inline int32_t slm__draft_pair(slm__draft *d, int32_t a, int32_t b) {
    return slm__draft_seq(d, (int32_t[]){a, b}, 2);
}
static inline int32_t slm__draft_either(slm__draft *d, int32_t a, int32_t b) {
    return slm__draft_alt(d, (int32_t[]){a, b}, 2);
}
static inline int32_t slm__draft_maybe(slm__draft *d, int32_t a) {
    return slm__draft_repeat(d, a, 0, 1);
}

/* Find out which nodes and rules fit some text (a finite one), and which of them the rule `root` needs. False: no memory. */
bool slm__draft_prune(slm__draft *d, int32_t root);

/* Hand over what the pruned draft has, with the root; the root must fit something. */
slm_status slm__draft_build(const slm__draft *d, int32_t root, slm__rules *r, int32_t *built_root,
                            slm_error *err);

#endif
