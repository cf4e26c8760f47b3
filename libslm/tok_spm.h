/* SentencePiece BPE: pieces of text with scores, the neighbours that make the piece of the highest score joined first. */
#ifndef SLM_TOK_SPM_H
#define SLM_TOK_SPM_H

#include "words.h"

typedef struct slm__spm {
    const slm__tokens *tokens;
    const uint8_t *attributes; /* of the tokens */
    uint32_t *rank;            /* [n] lower is joined first: the score, turned into an order */
    slm__seams *seams;         /* between characters that are in no piece together */
    slm_token byte_token[256]; /* "<0x00>" ...; SLM_TOKEN_NONE: the file has none */
    slm_token unknown;         /* or SLM_TOKEN_NONE */
    bool space_prefix;         /* a text begins with a space, also behind a special token */
} slm__spm;

/*
 * `tokens` (loaded with slm__spaces_decode) and their attributes must outlive it. FORMAT (a score that is no number), TYPE, NOMEM.
 *
 * No control, unknown or byte token is made from text, even if it is reached by joining. (The reference makes them; of published
 * vocabularies none has such a token.)
 */
slm_status slm__spm_load(slm__spm *m, const slm__gguf *g, const slm__tokens *tokens,
                         const uint8_t *attributes, const slm_allocator *allocator, slm_error *err);
void slm__spm_free(slm__spm *m, const slm_allocator *allocator);

/* Text without special tokens, any bytes: what is in no piece becomes the tokens of its bytes. n log n, however long it is, and
 * three bytes of memory for each of the text, 40 more for each of its longest word. `words` are of this
 * vocabulary. NOMEM; LIMIT: more than 1.4e9 bytes. No message. */
slm_status slm__spm_encode(const slm__spm *m, const slm_allocator *allocator,
                           const slm__words *words, const uint8_t *text, size_t n, slm__sink *sink);

#endif
