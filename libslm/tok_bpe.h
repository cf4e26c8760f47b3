/* Byte-level BPE: words of bytes, merged pair by pair in the order of the file's merges. */
#ifndef SLM_TOK_BPE_H
#define SLM_TOK_BPE_H

#include "pretok.h"
#include "words.h"

typedef struct slm__bpe {
    const slm__tokens *tokens;
    const uint8_t *attributes; /* of the tokens */
    const slm__pretok *pretok;
    slm__token_decode decode; /* of `tokens` */
    slm__splitter splitter;
    slm__seams *seams;         /* PRETOK_CHARACTERS; or NULL */
    slm_token byte_token[256]; /* or SLM_TOKEN_NONE */
    /* Open-addressed: left << 43 | right << 22 | order, where "left right" is at place order - 1 of tokenizer.ggml.merges; 0 is
     * an empty slot. Small, as it is read at random places. */
    uint64_t *pairs;
    uint32_t mask;
    int shift;         /* of the 64-bit hash, to an index */
    slm_token *merged; /* [merges] what the two become, at place order - 1 */
} slm__bpe;

/* Memory of one call; {.allocator = a} to begin. */
typedef struct slm__bpe_work {
    const slm_allocator *allocator;
    slm__words words;
    struct symbol *symbols; /* of a long word */
    uint64_t *heap;
    size_t n_symbols; /* room */
} slm__bpe_work;

/* slm__token_decode of GPT-2: each byte is written as a printable code point. */
bool slm__bpe_decode(slm__str raw, char *out, size_t *n_out);

/* Set b->pretok and b->decode: from tokenizer.ggml.pre, or from `name` if it is not NULL. *missing: the file does not say, and
 * the splitting of the reference for such files is used. UNSUPPORTED, TYPE. */
slm_status slm__bpe_find_pretok(slm__bpe *b, const slm__gguf *g, const char *name, bool *missing,
                                slm_error *err);

/*
 * Behind slm__bpe_find_pretok(). `tokens` (loaded with b->decode) and their attributes must outlive it. FORMAT, LIMIT, TYPE, NOMEM.
 *
 * Control tokens are not made from text: no word is one and no merge leads to one, even where the file says so. (The
 * reference makes them; of published vocabularies none has such a token.) A single byte is text whatever its type.
 */
slm_status slm__bpe_load(slm__bpe *b, const slm__gguf *g, const slm__tokens *tokens,
                         const uint8_t *attributes, const slm_allocator *allocator, slm_error *err);
void slm__bpe_free(slm__bpe *b, const slm_allocator *allocator);

/* Text without special tokens, slm__utf8_clean(). A byte that has no token gives none, as in the reference.
 * NOMEM; LIMIT: 2^32 bytes. No message. */
slm_status slm__bpe_encode(const slm__bpe *b, slm__bpe_work *w, const uint8_t *text, size_t n,
                           slm__sink *sink);
void slm__bpe_work_free(slm__bpe_work *w);

#endif
