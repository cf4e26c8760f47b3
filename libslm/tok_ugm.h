/* SentencePiece unigram: of all ways to write a text as pieces, the most probable one. */
#ifndef SLM_TOK_UGM_H
#define SLM_TOK_UGM_H

#include "words.h"

/* Which bytes lead on from which node: a hash table of node << 40 | byte << 32 | next node; 0 is empty. */
typedef struct slm__ugm_trie {
    uint64_t *edges;
    uint32_t mask, n_edges, n_nodes;
    int shift;         /* of the 64-bit hash, to an index */
    slm_token *tokens; /* [n_nodes] that end at each node, or SLM_TOKEN_NONE */
} slm__ugm_trie;

/* tokenizer.ggml.precompiled_charsmap: a double array (Kanda et al. 2018) of what is replaced, and the replacements, each with a NUL
 * behind it. */
typedef struct slm__charsmap {
    const uint8_t *units; /* of 4 bytes each, in the mapping */
    uint32_t n_units;
    const char *texts;
    uint32_t n_texts;
} slm__charsmap;

typedef struct slm__ugm {
    const slm__tokens *tokens;
    const uint8_t *attributes; /* of the tokens */
    const uint8_t *scores;     /* [n] f32 of the mapping; or NULL: all 0 */
    slm__ugm_trie trie;
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

/* Text without special tokens, any bytes: what is not UTF-8 is U+FFFD, what is in no piece the unknown token. Time n times the longest
 * piece at most. False if there is no memory, or the text has more than 2^28 bytes. */
bool slm__ugm_encode(const slm__ugm *m, const slm_allocator *allocator, const uint8_t *text,
                     size_t n, slm__sink *sink);

#endif
