/* The regular expressions of tokenizers: alternatives of few steps, matched in time linear in the text. */
#ifndef SLM_PATTERN_H
#define SLM_PATTERN_H

#include "unicode.h"

enum { SLM__MAX_SETS = 31, SLM__MAX_ALTERNATIVES = 32, SLM__MAX_STEPS = 160, SLM__MAX_RANGES = 96 };

/* What a step of an alternative wants of the text. */
typedef enum slm__pattern_step_kind {
    STEP_DONE,    /* nothing more */
    STEP_SET,     /* min to max code points of a set, as many as go */
    STEP_NOT,     /* none of the set follows */
    STEP_OPTIONAL /* one of the alternatives min to max - 1, or nothing; the last step */
} slm__pattern_step_kind;

typedef struct slm__pattern_step {
    uint8_t kind, set;
    uint16_t min, max;
} slm__pattern_step;

/* Code points from 128 on that sets name: what they add to the sets of their class, and what they take away. */
typedef struct slm__code_range {
    uint32_t low, high, add, take;
} slm__code_range;

/* Sets are bits, so that one look-up tells all sets that a code point is in. */
typedef struct slm__pattern {
    uint32_t ascii[128];               /* sets of these */
    uint32_t ascii_first[128];         /* alternatives that may begin with these */
    uint32_t by_class[SLM__N_CLASSES]; /* sets of all others, before ranges and `negated` */
    uint32_t negated;
    uint32_t first[SLM__MAX_ALTERNATIVES]; /* sets that an alternative may begin with */
    uint32_t top;                          /* alternatives that are not in a group */
    uint8_t begin[SLM__MAX_ALTERNATIVES];  /* their first steps */
    slm__pattern_step steps[SLM__MAX_STEPS];
    slm__code_range ranges[SLM__MAX_RANGES]; /* by code point, none overlapping */
    int n_alternatives, n_steps, n_ranges;
    uint32_t tail; /* the pattern is \s+$ : its set; 0: it is not */
} slm__pattern;

/*
 * `source` in the notation of published tokenizers, as far as they use it:
 *
 *   x \n \r \t \\ \u{61}     a code point           [a-z\p{L}~x]  a set; after ~ what is not in it    [^...]  all others
 *   \s \S \p{L} \p{N} \p{P} \p{S} \p{M} \p{Lu} \p{Ll} \p{Lm}    with Lu also Lt, with Lm also Lo
 *   ? * + {3} {1,3}          after a set           (?!\S)  not followed by          (?:a|b)?  at the end of an alternative
 *   |                        the first alternative that matches counts              \s+$      as a pattern of its own
 *
 * Spaces beyond ASCII are in no range. False: it is something else, or too long.
 */
bool slm__pattern_compile(slm__pattern *p, const char *source);

/* The end of the piece that begins at `at` < n, always beyond it: a match, or what is between two matches. `text` is clean
 * (slm__utf8_clean()); nothing behind n is looked at. */
size_t slm__pattern_next(const slm__pattern *p, const uint8_t *text, size_t n, size_t at);

#endif
