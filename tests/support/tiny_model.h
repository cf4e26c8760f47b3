/* Small random models for tests: real GGUF files in memory, every number from one seed, the same on every machine. */
#ifndef TESTS_TINY_MODEL_H
#define TESTS_TINY_MODEL_H

#include <stdbool.h>

#include "../../kernels/blocks.h"
#include "gguf_build.h"

typedef struct tiny_key {
    const char *name; /* after "<architecture>." */
    double value;
    bool is_float;
} tiny_key;

typedef struct tiny_shape {
    const char *arch; /* NULL: "llama" */
    uint32_t n_vocab, n_embd, n_layer, n_head, n_head_kv, n_ff;
    uint32_t head_dim; /* 0: n_embd / n_head            */
    uint32_t n_rot;    /* 0: head_dim                   */
    uint32_t n_ctx;    /* 0: 1024                       */
    bool untied;       /* an output matrix of its own   */
    bool biases;       /* on q, k, v                    */
    bool rope_freqs;   /* a factor for each pair        */
    bool yarn;         /* the type of scaling           */
    bool long_rope;    /* factors for short and for long contexts */
    bool fused;        /* q, k, v one matrix; gate, up another    */
    bool no_pre_norms, post_norms;
    bool qk_norm, qk_norm_row;
    const struct tiny_key
        *keys;         /* more of the architecture's, up to one without a name; NULL: none */
    float rope_base;   /* 0: no key                     */
    float rope_factor; /* linear scaling; 0: no key     */
    slm_type types[8]; /* of matrices, in turn          */
    int n_types;       /* 0: F32                        */
    bool uneven;       /* blocks of a matrix differ in scale, up to 8 times */
    uint64_t seed;
} tiny_shape;

/* The keys of a vocabulary of n tokens: the 256 bytes, then words that no merge reaches; token 0 begins and ends. n >= 257. */
void tiny_vocab(gguf_build *b, uint32_t n);

/* A whole file; call gb_finish() and gb_free(). */
void tiny_model(gguf_build *b, const tiny_shape *shape);

/* splitmix64 */
uint64_t tiny_random(uint64_t *state);

/* n_blocks of random weights of a type, zero on average, root mean square about `rms`. */
void tiny_weights(slm_type type, uint64_t n_blocks, double rms, uint64_t *state, void *out);

#endif
