/* What kind of text a token is, by its bytes alone. */
#ifndef TOOLS_TOKEN_KIND_H
#define TOOLS_TOKEN_KIND_H

#include "../include/slm.h"

typedef enum token_kind {
    KIND_WORD_BEGIN, /* a letter, behind white space */
    KIND_WORD_INSIDE,
    KIND_NUMBER,
    KIND_PUNCTUATION, /* all else that is printed     */
    KIND_WHITE_SPACE,
    KIND_OTHER, /* control tokens, control characters, parts of characters */
    N_KINDS,
} token_kind;

extern const char *const token_kind_names[N_KINDS];

token_kind text_kind(const char *text, size_t n); /* of a text that a token stands for */
token_kind kind_of_token(const slm_model *model, slm_token token);

#endif
