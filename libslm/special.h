/* Tokens that are found in a text by their own text, before anything else: <|im_end|>. */
#ifndef SLM_SPECIAL_H
#define SLM_SPECIAL_H

#include "strings.h"
#include "tokens.h"

typedef struct slm__special_token {
    slm__str text;
    slm_token token;
    bool plain;                   /* user-defined: found in plain text too */
    bool strip_left, strip_right; /* takes ASCII spaces before or behind it along */
} slm__special_token;

typedef struct slm__special {
    slm__special_token *tokens; /* longest first, then by id */
    uint32_t n_tokens;
    bool any_plain;
    slm__strings strings; /* their texts, by the same numbers */
} slm__special;

/* With the spaces that the token takes along. */
typedef struct slm__span {
    uint32_t at, len;
    slm_token token;
} slm__span;

/* Takes over `tokens` (slm__alloc; empty texts are left out), also on failure. LIMIT, NOMEM. */
slm_status slm__special_build(slm__special *s, slm__special_token *tokens, uint32_t n_tokens,
                              const slm_allocator *allocator, slm_error *err);
void slm__special_free(slm__special *s, const slm_allocator *allocator);

/*
 * The occurrences in a text of at most INT32_MAX bytes, in order, none overlapping: longer tokens have the first
 * choice wherever they are, then lower ids, then what is further left (as in the reference, which looks for one token
 * after the other in what is left of the text).
 *
 * all    false: only those that are found in plain text
 * marks  [n_bytes] 1: this byte is plain text, whatever `all` says; or NULL
 * spans  *n of them, to be freed with slm__free(); NULL if there are none
 *
 * False if there is no memory.
 */
bool slm__special_find(const slm__special *s, const char *text, size_t n_bytes, bool all,
                       const uint8_t *marks, const slm_allocator *allocator, slm__span **spans,
                       size_t *n);

#endif
