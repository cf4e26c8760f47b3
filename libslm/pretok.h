/* Text into words, before byte-level BPE: tokens never cross the border of a word. */
#ifndef SLM_PRETOK_H
#define SLM_PRETOK_H

#include "unicode.h"

typedef struct slm__pretok slm__pretok;

/* A row per value of tokenizer.ggml.pre. */
struct slm__pretok {
    const char *name;
    /* The end of the word that begins at `at` < n; always beyond `at`. `text` is clean (slm__utf8_clean()). */
    size_t (*next)(const slm__pretok *row, const uint8_t *text, size_t n, size_t at);
    uint8_t max_digits; /* numbers in a word; 0: no limit                                    */
    bool whole_words;   /* a word that is a token is that token, whatever the merges say     */
    bool add_bos;       /* when the file does not say                                        */
};

/* NULL if the name is not known. */
const slm__pretok *slm__pretok_find(slm__str name);

/* All names, for a message: "gpt-2, smollm, ..." */
void slm__pretok_names(char *out, size_t capacity);

#endif
