/* JSON (RFC 8259) as a tree, for what callers hand in: schemas, tools and messages of chat templates. */
#ifndef SLM_JSON_H
#define SLM_JSON_H

#include "base.h"

enum { SLM__JSON_DEPTH = 256 }; /* arrays and objects inside each other */

typedef enum slm__json_kind {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
} slm__json_kind;

/* Children of an array or object are a list, in the order of the text. */
typedef struct slm__json_value {
    slm__json_kind kind;
    uint32_t n;   /* children                                                    */
    slm__str key; /* of a member of an object                                    */
    /* A string without its escapes, valid UTF-8 that may hold NUL; a number as it is written. */
    slm__str text;
    const struct slm__json_value *first, *next;
    size_t offset; /* where the value begins in the text, for messages            */
} slm__json_value;

typedef struct slm__json {
    const slm_allocator *allocator;
    slm__json_value *values; /* the first is the whole text */
    char *text;              /* of all strings              */
} slm__json;

/*
 * Read all of `text`, at most INT32_MAX bytes; `allocator` has to outlive the tree, the text need not. Memory: about 100 bytes for each
 * value and the size of the text.
 *
 * FORMAT with line and column (no JSON, something behind it, invalid UTF-8, half of a surrogate pair, a key twice in
 * an object), LIMIT (size, depth), NOMEM. On failure there is nothing to free.
 */
slm_status slm__json_parse(const slm_allocator *allocator, const char *text, size_t n_bytes,
                           slm__json *out, slm_error *err);
void slm__json_free(slm__json *json);

/* Bytes that this will take while it reads, and at most afterwards. */
uint64_t slm__json_cost(const char *text, size_t n_bytes);

/* The member of that name; NULL if there is none or the value is no object. Looks at one after the other. */
const slm__json_value *slm__json_get(const slm__json_value *object, const char *key);

/* A number without fraction and exponent that fits. */
bool slm__json_int(const slm__json_value *value, int64_t *out);

/* "line L, column C" of a place in the text, columns in bytes, both from 1. */
typedef struct slm__json_place {
    size_t line, column;
} slm__json_place;

slm__json_place slm__json_place_of(const char *text, size_t offset);

#endif
