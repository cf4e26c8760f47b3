/*
 * A compiled grammar: an automaton over bytes with a stack.
 *
 * Rules that call each other, and the bodies of repetitions that are counted or that most characters fit, are automata of their own (*units*);
 * all else is written out in place. Each unit is deterministic: a state has at most one edge for a byte, for a call, for a loop and for a
 * token. What is left open, whether to call, to return or to read on, is tried by the machine (machine.h), all ways at a time.
 */
#ifndef SLM_AUTOMATON_H
#define SLM_AUTOMATON_H

#include "rules.h"

typedef enum slm__call_kind {
    CALL_UNIT,  /* go to state `target`, come back to `to`                      */
    CALL_LOOP,  /* the same some number of times, of loop number `target`       */
    CALL_TOKEN, /* read one token, of symbol number `target`, then go to `to`   */
} slm__call_kind;

typedef struct slm__byte_edge {
    uint8_t first, last; /* inclusive */
    uint32_t to;
} slm__byte_edge;

typedef struct slm__call_edge {
    slm__call_kind kind;
    uint32_t target, to;
} slm__call_edge;

typedef struct slm__astate {
    uint32_t bytes, calls; /* where its edges begin; those of bytes are sorted and apart */
    uint32_t n_bytes, n_calls;
    uint32_t unit; /* its first state */
    bool final;    /* may return                                                   */
    bool tail;     /* can only return: nothing has to come back here               */
    bool reads;    /* has an edge of bytes or tokens                               */
    bool in_loop;  /* of the unit of a loop's body: what returns goes round again  */
} slm__astate;

typedef struct slm__loop {
    uint32_t body; /* first state */
    uint32_t min, max;
} slm__loop;

struct slm_grammar {
    slm_allocator allocator;
    uint32_t start;
    SLM_VEC(slm__astate) states;
    SLM_VEC(slm__byte_edge) bytes;
    SLM_VEC(slm__call_edge) calls;
    SLM_VEC(slm__loop) loops;
    SLM_VEC(slm__token_symbol) tokens;
    SLM_VEC(char) text; /* of tokens that are named by it */
};

/* The limits of a grammar: states and edges of the automaton, and those of one unit before it is made deterministic. */
enum { SLM__MAX_STATES = 1 << 18, SLM__MAX_EDGES = 1 << 20 };

/* And the work that all units of a grammar may take together: less than half a second. */
enum { SLM__MAX_STEPS = 1 << 25 };

/* ---- While it is compiled ---- */

typedef enum slm__nfa_kind { NFA_EMPTY, NFA_BYTES, NFA_CALL } slm__nfa_kind;

typedef struct slm__nfa_edge {
    uint32_t from, to;
    slm__nfa_kind kind;
    slm__call_kind call;
    uint32_t a,
        b; /* BYTES: first, last. CALL: target, which is the number of a unit for CALL_UNIT */
} slm__nfa_edge;

/* One unit with empty edges, from state 0 to state 1. */
typedef struct slm__nfa {
    uint32_t n_states;
    SLM_VEC(slm__nfa_edge) edges;
} slm__nfa;

/* Make it deterministic, join states that are plainly equal, and add it to the grammar; *start receives the first state.
 * *steps, SLM__MAX_STEPS at first, is what is left for all units. LIMIT, NOMEM. */
slm_status slm__determinise(slm_grammar *g, const slm__nfa *nfa, bool in_loop, uint64_t *steps,
                            uint32_t *start, slm_error *err);

/*
 * When all units are there and calls lead to states: take away what can never come to an end, refuse left recursion. rule_of
 * [n_states], the rule that a state belongs to, is for messages. FORMAT, NOMEM.
 */
slm_status slm__automaton_finish(slm_grammar *g, const slm__rules *r, const int32_t *rule_of,
                                 slm_error *err);

#endif
