/* Arrays and texts that grow. */
#ifndef TOOLS_GROW_H
#define TOOLS_GROW_H

#include <stdbool.h>
#include <stddef.h>

/* The array (malloc, or NULL) with room for `n` elements of `size` bytes, *capacity of them; NULL without memory: it is as it was. */
void *grow(void *array, size_t n, size_t *capacity, size_t size);

/* Begin with {0}. */
typedef struct growing_text {
    char *text; /* [n], then a NUL; NULL before anything was added */
    size_t n, capacity;
    bool failed; /* without memory; what came after that is not in it either */
} growing_text;

/* False if it failed, now or before. */
bool text_add(growing_text *t, const char *text, size_t n);
void text_clear(growing_text *t); /* for another text in the same memory */
void text_free(growing_text *t);

#endif
