/*
 * Regular expressions of JSON Schema: those of ECMA-262 with the flag u, as far as they are regular. Values are sequences of code
 * points; an expression fits a value if it fits somewhere in it, so ^ and $ are needed to mean all of it.
 *
 * Known: characters, escapes (\t \n \v \f \r \0 \cX \xHH \uHHHH \u{H}, and \ before punctuation), . \d \D \w \W \s \S, classes,
 * groups (also (?: and (?<name>), alternatives, * + ? {n} {n,} {n,m}, each also with ? behind, ^ and $.
 * UNSUPPORTED: lookaround, backreferences, \b \B, \p \P, repeated ^ or $.
 */
#ifndef SLM_REGEX_H
#define SLM_REGEX_H

#include "draft.h"
#include "ranges.h"

enum {
    SLM__REGEX_DEPTH = 200,
    SLM__REGEX_COUNT = 100000,
    SLM__REGEX_PRODUCT = 100000000, /* of counts inside of each other */
};

typedef enum slm__regex_kind {
    REGEX_CLASS,
    REGEX_SEQ, /* of no items: the empty text */
    REGEX_ALT,
    REGEX_REPEAT,
    REGEX_BEGIN,
    REGEX_END,
} slm__regex_kind;

typedef struct slm__regex_node {
    slm__regex_kind kind;
    struct slm__regex_node *first, *next; /* parts; the next part of the same parent  */
    slm__range *ranges;                   /* of a class                               */
    uint32_t n;                           /* ranges, or parts                         */
    uint32_t min, max;                    /* of a repetition                          */
    uint64_t product;                     /* of the counts in it, at least 1          */
    uint64_t shortest, longest;           /* code points; longest UINT64_MAX: no end  */
    bool anchors;                         /* ^ or $ somewhere in it                   */
} slm__regex_node;

/* FORMAT, UNSUPPORTED, LIMIT (depth, counts, their product), NOMEM; the message begins with the byte offset, "byte 3: ...". */
slm_status slm__regex_parse(slm__arena *a, const char *text, size_t n, slm__regex_node **out,
                            slm_error *err);

/* ---- Automata ---- */

typedef struct slm__recognizer slm__recognizer;

/* LIMIT (counted repetitions are written out here), NOMEM. */
slm_status slm__recognizer_build(slm__arena *a, const slm__regex_node *regex, slm__recognizer **out,
                                 slm_error *err);

/* Does the expression fit somewhere in the value (valid UTF-8)? `steps` is the work that is left for this and others. LIMIT, NOMEM. */
slm_status slm__recognizer_test(slm__arena *a, const slm__recognizer *nfa, const char *text,
                                size_t n, bool *fits, uint64_t *steps, slm_error *err);

/* One code point of the set, as the draft's texts have it. */
typedef int32_t (*slm__emit_fn)(slm__draft *d, void *user, const slm__range *ranges, uint32_t n);

/* The values of min to max (UINT32_MAX: no end) code points in which each expression fits somewhere, as rules; *node refers to them.
 * LIMIT (states, work), NOMEM. */
slm_status slm__recognizer_emit(slm__arena *a, const slm__recognizer *const *nfas, uint32_t n_nfas,
                                uint32_t min, uint32_t max, slm__draft *d, slm__emit_fn emit,
                                void *user, int32_t *node, uint64_t *steps, slm_error *err);

#endif
