/* A byte-level BPE vocabulary made in memory, for tests. Every function ends the test (ck_abort) when something is not
 * as it should be.
 *
 *     vocab_build v = {.pre = "gpt-2"};
 *     vb_begin(&v);                            tokens 0 to 255 are the bytes
 *     int ab = vb_merge(&v, "a", "b");         a merge and its token
 *     int end = vb_token(&v, "<|end|>", VB_CONTROL);
 *     slm_model *m = vb_open(&v);              valid until vb_free()
 */
#ifndef TESTS_VOCAB_BUILD_H
#define TESTS_VOCAB_BUILD_H

#include <stdbool.h>

#include "../../include/slm.h"
#include "gguf_build.h"

/* tokenizer.ggml.token_type */
enum { VB_NORMAL = 1, VB_UNKNOWN, VB_CONTROL, VB_USER, VB_UNUSED, VB_BYTE };
enum { VB_MAX = 4096 };

typedef struct vocab_build {
    const char *model, *pre;               /* NULL: no such key */
    bool no_tokens, no_types, no_merges;   /* leave the key out */
    char *tokens[VB_MAX], *merges[VB_MAX]; /* as the file has them */
    int32_t types[VB_MAX];
    int n, n_merges;
    gguf_build file; /* more keys may be put here */
} vocab_build;

/* Bytes as GPT-2 writes them, to be freed. */
char *vb_mapped(const char *bytes, size_t n);

void vb_begin(vocab_build *v);
int vb_token(vocab_build *v, const char *text, int32_t type);
/* left and right are bytes; a token for both together is added if there is none. Returns its id. */
int vb_merge(vocab_build *v, const char *left, const char *right);
void vb_merge_text(vocab_build *v, const char *text);

const void *vb_finish(vocab_build *v, size_t *n_bytes);
slm_status vb_try_open(vocab_build *v, const slm_allocator *allocator, slm_model **out,
                       slm_error *err);
slm_model *vb_open(vocab_build *v);

/* Opening it fails with `status`, says `word`, and nothing stays held. Returns the error. */
slm_error vb_expect_refused(vocab_build *v, slm_status status, const char *word);

void vb_free(vocab_build *v);

/* Tokens of a text, compared with `ids` (n of them). */
void vb_expect(const slm_model *m, const char *text, size_t n_bytes, uint32_t flags,
               const slm_token *ids, size_t n);
#define VB_EXPECT(m, text, flags, ...)                                                    \
    vb_expect(m, text, sizeof(text) - 1, flags, (const slm_token[]){-7, __VA_ARGS__} + 1, \
              sizeof((const slm_token[]){-7, __VA_ARGS__}) / sizeof(slm_token) - 1)

/* `make` fills *v with a vocabulary in which `text` is one token, and returns that. The first allocation of opening it and tokenizing the text
 * fails, then the second ...: each time all memory comes back, and the result is NOMEM or right. */
void vb_nth_allocation_fails(vocab_build *v, int (*make)(void), const char *text);

#endif
