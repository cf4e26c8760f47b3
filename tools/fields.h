/* A JSON text as it was generated, token by token, and how probable each of its values was. */
#ifndef TOOLS_FIELDS_H
#define TOOLS_FIELDS_H

#include "grow.h"

typedef struct result_token {
    size_t begin; /* its first byte in the text */
    double logprob;
} result_token;

/* Begin with {0}. */
typedef struct result_text {
    growing_text json;
    result_token *tokens; /* [n_tokens] */
    size_t n_tokens, token_capacity;
} result_text;

/* False without memory. */
bool result_add(result_text *r, const char *text, size_t n, double logprob);
void result_clear(result_text *r); /* for another text */
void result_free(result_text *r);

/*
 * {"id": ID, "output": TEXT} and a newline; with `confidence` also "confidence": the JSON pointer of each value that is no array or object,
 * and the probability of all tokens that it has a part in. `id` is JSON. To be freed; NULL without memory.
 */
char *result_line(const char *id, const result_text *r, bool confidence);
char *error_line(const char *id, const char *error);

#endif
