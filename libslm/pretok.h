/* Text into words, before BPE: tokens never cross the border of a word. */
#ifndef SLM_PRETOK_H
#define SLM_PRETOK_H

#include "pattern.h"

enum { SLM__MAX_STAGES = 6 };

enum {
    PRETOK_WHOLE_WORDS = 1, /* a word that is a token is that token, whatever the merges say */
    PRETOK_ADD_BOS = 2,     /* when the file does not say */
    PRETOK_CHARACTERS =
        4, /* merges begin with characters, not bytes; spaces are U+2581 in the file */
    PRETOK_WHOLE_NEWLINES = 8, /* as WHOLE_WORDS, for words of newlines only */
};

/* A row per value of tokenizer.ggml.pre. */
typedef struct slm__pretok {
    const char *name;
    int split; /* of pretok.c */
    uint32_t flags;
} slm__pretok;

/* NULL if the name is not known. */
const slm__pretok *slm__pretok_find(slm__str name);

/* All rows, for tests: NULL behind the last. */
const slm__pretok *slm__pretok_row(size_t i);

/* All names, for a message: "gpt-2, smollm, ..." */
void slm__pretok_names(char *out, size_t capacity);

/* The row made ready. Immutable; {0} to begin with. */
typedef struct slm__splitter {
    slm__pattern *stages;
    int n_stages;
} slm__splitter;

/* NOMEM. */
slm_status slm__splitter_make(slm__splitter *s, const slm__pretok *row,
                              const slm_allocator *allocator, slm_error *err);
void slm__splitter_free(slm__splitter *s, const slm_allocator *allocator);

/* Where the pieces of each stage end, in one text; {0} to begin with. */
typedef struct slm__pieces {
    size_t end[SLM__MAX_STAGES];
} slm__pieces;

/* The end of the word that begins at `at` < n; always beyond it. Called with the ends that it has returned, from 0 on. `text` is
 * clean (slm__utf8_clean()). */
size_t slm__splitter_next(const slm__splitter *s, slm__pieces *pieces, const uint8_t *text,
                          size_t n, size_t at);

#endif
