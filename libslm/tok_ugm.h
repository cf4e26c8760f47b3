/* SentencePiece unigram: of all ways to write a text as pieces, the most probable one. */
#ifndef SLM_TOK_UGM_H
#define SLM_TOK_UGM_H

#include "words.h"

/* What pieces begin with: two bits for each prefix of a piece, at a place that its hash says. Others may have set them, so they say where
 * it is worth looking, and where it is not. */
typedef struct slm__ugm_begins {
    uint8_t *bits; /* four pairs in a byte: BEGIN, PIECE */
    int shift;     /* of the 64-bit hash, to a place */
} slm__ugm_begins;

/* tokenizer.ggml.precompiled_charsmap: a double array (Kanda et al. 2018) of what is replaced, and the replacements, each with a NUL
 * behind it. */
typedef struct slm__charsmap {
    uint8_t *bytes;       /* a copy of the value; the others are in it */
    const uint8_t *units; /* of 4 bytes each */
    uint32_t n_units;
    const char *texts;
    uint32_t n_texts;
    bool copied[128]; /* ASCII that stays as it is where ASCII follows */
} slm__charsmap;

typedef struct slm__ugm {
    const slm__tokens *tokens;
    const uint8_t *attributes; /* of the tokens */
    float *scores; /* [n] what a piece adds; NaN: it is none, or not the first of equal ones */
    slm_token
        *first; /* [n] the piece among equal tokens, by the lowest of them; NULL: none are equal */
    slm__ugm_begins begins;
    slm__seams seams;
    uint64_t
        cut_bytes; /* up to here sums are exact, whatever is added to what: a text may be cut */
    slm__charsmap charsmap;
    float unknown_score;
    slm_token unknown; /* or SLM_TOKEN_NONE */
    bool
        space_prefix; /* a text that is not empty begins with a space, also behind a special token */
    bool merge_spaces; /* several are one, and there is none at the end */
} slm__ugm;

/*
 * `tokens` (loaded with slm__spaces_decode), their attributes and the file must outlive it; `unknown` is set by the caller. FORMAT (a
 * score that is no number, a charsmap that is broken), LIMIT, TYPE, NOMEM.
 *
 * No control or unknown token is made from text, and no byte token.
 */
slm_status slm__ugm_load(slm__ugm *m, const slm__gguf *g, const slm__tokens *tokens,
                         const uint8_t *attributes, const slm_allocator *allocator, slm_error *err);
void slm__ugm_free(slm__ugm *m, const slm_allocator *allocator);

/* Text without special tokens, any bytes: what is not UTF-8 is U+FFFD, what is in no piece the unknown token. Time at most n times the square of
 * the longest piece, which LIMIT holds at 128 bytes. `words` are of this vocabulary. NOMEM; LIMIT: more than 2^28 bytes, or 2^32 when normalized. No message. */
slm_status slm__ugm_encode(const slm__ugm *m, const slm_allocator *allocator,
                           const slm__words *words, const uint8_t *text, size_t n, slm__sink *sink);

#endif
