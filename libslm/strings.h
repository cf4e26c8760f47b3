/* Several strings, looked for at once in bytes as they come (Aho and Corasick 1975, "Efficient string matching", CACM 18). */
#ifndef SLM_STRINGS_H
#define SLM_STRINGS_H

#include "base.h"

enum { SLM_MAX_STRINGS = 1024, SLM_MAX_STRING_BYTES = 65536 };

/* A node of the trie stands for the start of some string; node 0 for nothing. The state of a search is the longest prefix that the
 * text ends with. */
typedef struct slm__string_node {
    int32_t child, sibling; /* 0: none                                                    */
    int32_t shorter;        /* the longest other begin that this one ends with            */
    int32_t depth;          /* bytes of the begin                                         */
    int32_t string;         /* one that begins so                                         */
    int32_t found;          /* the longest string that this one ends with, or -1          */
    uint8_t byte;           /* the last one                                               */
} slm__string_node;

typedef struct slm__strings {
    int32_t n, n_nodes;
    slm__str *strings; /* [n], of bytes */
    char *bytes;
    int32_t *path; /* [bytes of all strings]: the node that stands for a string up to this byte */
    int32_t
        *path_of; /* [n] where the path of a string begins                                     */
    slm__string_node
        *nodes; /* [n_nodes]                                                                 */
    int32_t root[256]; /* children of node 0 by byte; 0: none                                */
} slm__strings;

/* Copies the strings, of n_bytes together, and is to be freed with slm__strings_free(). False: no memory, and nothing is held. */
bool slm__strings_make(const slm_allocator *a, const slm_string *strings, int32_t n, size_t n_bytes,
                       slm__strings *out);

/* The same for strings of a caller. `what` names them in messages ("banned_strings"). Filled by slm__strings_free() or to be freed with it
 * also on failure. ARGUMENT (an empty string, NULL), LIMIT (more than the two above), NOMEM. */
slm_status slm__strings_create(const slm_allocator *a, const char *what, const slm_string *strings,
                               int32_t n, slm__strings *out, slm_error *err);
void slm__strings_free(const slm_allocator *a, slm__strings *s);

static inline int32_t slm__strings_child(const slm__strings *s, int32_t node, uint8_t byte) {
    if (node == 0) return s->root[byte];
    int32_t c = s->nodes[node].child;
    while (c != 0 && s->nodes[c].byte != byte) c = s->nodes[c].sibling;
    return c;
}

/* The state after one byte more; amortised over a text, a constant time. */
static inline int32_t slm__strings_next(const slm__strings *s, int32_t state, uint8_t byte) {
    for (;;) {
        int32_t next = slm__strings_child(s, state, byte);
        if (next != 0 || state == 0) return next;
        state = s->nodes[state].shorter;
    }
}

/* The longest other string that this one ends with, or -1. */
static inline int32_t slm__strings_within(const slm__strings *s, int32_t string) {
    int32_t node = s->path[s->path_of[string] + (int32_t)s->strings[string].len - 1];
    return s->nodes[s->nodes[node].shorter].found;
}

/* The state after `text`; *found is set if a string ended in it, and otherwise left. */
int32_t slm__strings_walk(const slm__strings *s, int32_t state, slm__str text, bool *found);

#endif
