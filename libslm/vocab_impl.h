/* What vocab.c, stream.c and chat.c share. */
#ifndef SLM_VOCAB_IMPL_H
#define SLM_VOCAB_IMPL_H

#include "special.h"
#include "tok_bpe.h"
#include "tok_spm.h"
#include "tok_ugm.h"
#include "vocab.h"

typedef struct slm__tokenizer slm__tokenizer;

struct slm__vocab {
    const slm_allocator *allocator;
    const slm__tokenizer *tokenizer;
    slm__tokens tokens;
    uint8_t *attributes; /* [n] SLM_TOKEN_* */
    /* Tokens whose text is not the decoded one of `tokens` (control tokens, bytes), by id. */
    slm__special_token *named;
    uint32_t n_named;
    char *names;     /* their texts, one behind the other */
    char bytes[256]; /* [b] is b: what byte tokens stand for */
    slm__special special;
    slm__bpe bpe;
    slm__spm spm;
    slm__ugm ugm;
    slm__token_decode decode; /* of `tokens` */
    slm_token bos, eos, unknown;
    slm_token
        fill[3]; /* before the prefix, before the suffix, before what is missing between them */
    bool add_bos;
    bool pre_missing; /* see slm__bpe_find_pretok() */
};

/* A row per value of tokenizer.ggml.model. */
struct slm__tokenizer {
    const char *model;
    slm_token bos, eos, unknown; /* where the file does not say */
    const char *pre;             /* whatever the file says; or NULL */
    /* Set v->decode, before the tokens are loaded. */
    slm_status (*prepare)(slm__vocab *v, const slm__gguf *g, slm_error *err);
    slm_status (*load)(slm__vocab *v, const slm__gguf *g, slm_error *err);
    void (*free)(slm__vocab *v);
    /* Text without special tokens, any bytes. NOMEM, LIMIT; no message. */
    slm_status (*encode)(const slm__vocab *v, slm__bpe_work *work, const char *text, size_t n,
                         slm__sink *sink);
};

/* Text to the sink: special tokens (of plain text only the user-defined, without `all`), then the tokenizer. Where `marks`, which has a
 * value for each byte or is NULL, is 1, the text counts as plain. */
slm_status slm__vocab_encode(const slm__vocab *v, slm__bpe_work *work, const char *text, size_t n,
                             bool all, const uint8_t *marks, slm__sink *sink, slm_error *err);

/* The token that is found by this text, or SLM_TOKEN_NONE. */
slm_token slm__vocab_special(const slm__vocab *v, const char *text);

#endif
