/* Words of a text: where they may be cut without changing their tokens, and the tokens of those seen before. */
#ifndef SLM_WORDS_H
#define SLM_WORDS_H

#include "tokens.h"
#include "unicode.h"

#define SLM__SPACE "\xe2\x96\x81" /* U+2581, a space in files */

/*
 * Tokenizers that join neighbours all over a text give the same tokens when it is cut where no token lies across: nothing
 * is joined there, and what is joined on one side does not depend on the other. Which two bytes meet at the border of two
 * characters inside a token is a bit here.
 */
typedef struct slm__seams {
    uint32_t within[65536 / 32]; /* of last << 8 | first */
} slm__seams;

/* All borders inside this text are in a token. */
void slm__seams_add(slm__seams *s, slm__str text);

/* Whether a text may be cut between two bytes of which the second begins a character. */
static inline bool slm__seams_cut(const slm__seams *s, uint8_t last, uint8_t first) {
    uint32_t pair = (uint32_t)last << 8 | first;
    return !(s->within[pair >> 5] >> (pair & 31) & 1);
}

/* slm__token_decode of SentencePiece: a space is written as U+2581. A piece with a space of its own matches no text. */
bool slm__spaces_decode(slm__str raw, char *out, size_t *n_out);

/* The other way in a text, any bytes: characters that are U+2581 become spaces, so it only grows shorter. Returns its length. */
size_t slm__spaces_read(uint8_t *text, size_t n);

/* The token "<0x0A>" of a byte, or SLM_TOKEN_NONE. */
slm_token slm__byte_name_find(const slm__tokens *tokens, uint8_t byte);

enum { SLM__WORD_BYTES = 15, SLM__WORD_TOKENS = 4 };

/* A word of up to 15 bytes (padded with zeros, the length in the last byte) and its tokens. */
typedef struct slm__word {
    uint64_t key[2];
    slm_token tokens[SLM__WORD_TOKENS]; /* SLM_TOKEN_NONE behind the last */
} slm__word;

/* Words seen in a call; {0} to begin. */
typedef struct slm__words {
    slm__word *entries;
    uint32_t mask;
} slm__words;

/* For a text of n bytes. Without memory, or for a short one, nothing is kept: that is only slower. */
void slm__words_make(slm__words *w, size_t n, const slm_allocator *allocator);
void slm__words_free(slm__words *w, const slm_allocator *allocator);

/* Where a word is or goes; NULL: it is not kept. *key is for slm__words_keep(). */
slm__word *slm__words_find(const slm__words *w, const uint8_t *word, size_t n, uint64_t key[2]);

/* True, and its tokens to the sink, if the entry is that of the word. */
static inline bool slm__words_get(const slm__word *entry, const uint64_t key[2], slm__sink *sink) {
    if (!entry || entry->key[0] != key[0] || entry->key[1] != key[1]) return false;
    for (int i = 0; i < SLM__WORD_TOKENS && entry->tokens[i] != SLM_TOKEN_NONE; i++)
        slm__sink_put(sink, entry->tokens[i]);
    return true;
}

/* `entry` may be NULL. Words of more than SLM__WORD_TOKENS are not kept. */
void slm__words_keep(slm__word *entry, const uint64_t key[2], const slm_token *tokens, int n);

#endif
