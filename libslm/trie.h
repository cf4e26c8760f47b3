/* The tokens of a vocabulary that stand for text, as a trie of their bytes, in preorder: what is below a node comes right behind it. */
#ifndef SLM_TRIE_H
#define SLM_TRIE_H

#include "vocab.h"

typedef struct slm__trie_node {
    uint32_t
        end; /* node behind all that is below this one                                         */
    uint32_t
        token; /* into `tokens`: first of those that are this node; they end where the next node's begin */
    uint16_t
        depth; /* bytes up to this node, at least 1                                              */
    uint16_t
        deepest; /* of those below                                                                 */
    uint8_t byte;
} slm__trie_node;

typedef struct slm__trie {
    int32_t n_vocab;
    uint32_t n_nodes, n_tokens, n_eog, n_words;
    uint32_t
        longest; /* token, bytes                                                              */
    slm__trie_node
        *nodes; /* [n_nodes + 1], the last one is an end                                     */
    slm_token
        *tokens;    /* [n_tokens] sorted by their bytes                                          */
    slm_token *eog; /* [n_eog] tokens that end a generation                                      */
    slm_token
        *by_length; /* [n_tokens] shortest first                                                 */
    uint32_t
        *length_at; /* [longest + 2] into by_length: first token of so many bytes or more        */
    uint32_t
        first[257]; /* nodes of depth 1: the one of byte b or the next one                       */
} slm__trie;

/* Does such a token stand for text? Those that end a generation do not, nor what is longer than a node can say. */
static inline bool slm__trie_has(slm__str text, uint32_t attributes) {
    const uint32_t others =
        SLM_TOKEN_CONTROL | SLM_TOKEN_UNUSED | SLM_TOKEN_UNKNOWN | SLM_TOKEN_EOG;
    return text.len > 0 && text.len < UINT16_MAX && !(attributes & others);
}

/* LIMIT (bytes that no node can count), NOMEM. *out is freed with slm__trie_free(). */
slm_status slm__trie_create(const slm__vocab *v, const slm_allocator *a, slm__trie **out,
                            slm_error *err);
void slm__trie_free(slm__trie *t, const slm_allocator *a);

#endif
