/* Tokens and text: the vocabulary of a file, its tokenizer and its detokenizer. Immutable once loaded. */
#ifndef SLM_VOCAB_H
#define SLM_VOCAB_H

#include "gguf.h"

typedef struct slm__vocab slm__vocab;

/* Read tokenizer.ggml.* . `log` may be NULL. *out is freed with slm__vocab_free(). */
slm_status slm__vocab_load(const slm__gguf *g, const slm_allocator *allocator, slm_log_fn log,
                           void *log_user, slm__vocab **out, slm_error *err);
void slm__vocab_free(slm__vocab *v);

int32_t slm__vocab_n_tokens(const slm__vocab *v);
slm_token slm__vocab_bos(const slm__vocab *v);
slm_token slm__vocab_eos(const slm__vocab *v);

/* The contracts of slm_tokenize(), slm_token_get(), slm_text_stream_add(), slm_chat_render() and slm_chat_encode(); arguments are checked for
 * NULL by api.c. */
slm_status slm__vocab_tokenize(const slm__vocab *v, const char *text, size_t n_bytes,
                               uint32_t flags, slm_token *out, size_t capacity, size_t *n_tokens,
                               slm_error *err);
slm_status slm__vocab_fill(const slm__vocab *v, slm__str prefix, slm__str suffix, slm_token *out,
                           size_t capacity, size_t *n_tokens, slm_error *err);
slm_status slm__vocab_token(const slm__vocab *v, slm_token token, slm__str *text,
                            uint32_t *attributes);
slm_status slm__vocab_stream_add(const slm__vocab *v, slm_text_stream *stream, slm_token token,
                                 char *buffer, size_t capacity, size_t *n_bytes);
slm_status slm__chat_render(const slm__vocab *v, const slm__gguf *g, const slm_chat *chat,
                            char *out, size_t capacity, size_t *n_bytes, slm_error *err);
slm_status slm__chat_encode(const slm__vocab *v, const slm__gguf *g, const slm_chat *chat,
                            slm_token *out, size_t capacity, size_t *n_tokens, slm_error *err);

#endif
