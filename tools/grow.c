#include "grow.h"

#include <stdlib.h>
#include <string.h>

void *grow(void *array, size_t n, size_t *capacity, size_t size) {
    if (array && n <= *capacity) return array;
    size_t more = n + n / 2 + 64;
    void *grown = realloc(array, more * size);
    if (grown) *capacity = more;
    return grown;
}

bool text_add(growing_text *t, const char *text, size_t n) {
    char *room = t->failed ? NULL : grow(t->text, t->n + n + 1, &t->capacity, 1);
    t->failed = !room;
    if (!room) return false;
    t->text = room;
    memcpy(t->text + t->n, text, n);
    t->n += n;
    t->text[t->n] = '\0';
    return true;
}

void text_clear(growing_text *t) {
    t->n = 0;
    t->failed = false;
}

void text_free(growing_text *t) {
    free(t->text);
    *t = (growing_text){0};
}
