/* A file bound to its architecture: hyperparameters read, every tensor found and its shape checked. Immutable. */
#ifndef SLM_MODEL_H
#define SLM_MODEL_H

#include "arch.h"
#include "gguf.h"
#include "vocab.h"

typedef enum slm__rope_scaling { ROPE_UNSCALED, ROPE_LINEAR, ROPE_YARN } slm__rope_scaling;

typedef struct slm__hparams {
    uint32_t n_ctx_train;
    uint32_t n_embd;
    uint32_t n_layer;
    uint32_t n_ff;
    uint32_t n_head;
    uint32_t n_head_kv;
    uint32_t head_dim; /* of Q, K and V                                    */
    uint32_t n_rot;    /* leading values of a head that RoPE turns; even   */
    uint32_t n_vocab;
    uint32_t n_expert, n_expert_used;
    uint32_t
        window; /* positions that a layer with a window sees, its own one too; 0: no layer has one */
    uint32_t n_local; /* layers with a window */
    float norm_eps;
    float embd_scale;        /* of the rows of the embedding                            */
    float attn_scale;        /* of scores                                               */
    float attn_cap, out_cap; /* of scores and logits, see slm__arch; 0: none            */

    /* RoPE and how it is stretched, see rope.c */
    float rope_base, rope_local_base;
    slm__rope_scaling rope_scaling;
    float rope_factor; /* positions are divided by it; 1 is none */
    float rope_attn_factor, yarn_beta_fast, yarn_beta_slow, yarn_log_multiplier;
    uint32_t n_ctx_orig; /* that the model had before */
} slm__hparams;

/* Frequencies of RoPE. */
typedef enum slm__rope_kind {
    ROPE_NONE,
    ROPE_GLOBAL,
    ROPE_LOCAL, /* of layers with a window, where they differ */
    ROPE_LONG,  /* instead of ROPE_GLOBAL in a context of more than n_ctx_orig */
    N_ROPE_KINDS
} slm__rope_kind;

typedef struct slm__rope {
    double *freq; /* [n_rot / 2] radians per position; NULL: the model has no such kind */
    float scale;  /* of sines and cosines */
} slm__rope;

/* Shapes as [rows, columns]: a row is contiguous. NULL where the architecture or the file has none. */
typedef struct slm__layer {
    uint32_t window;     /* 0: it sees all                  */
    slm__rope_kind rope; /* ROPE_NONE, GLOBAL or LOCAL      */
    int32_t kv_index;    /* which one it is of the layers with a window, or of those without */
    const slm__tensor *attn_norm;       /* [n_embd]                        */
    const slm__tensor *wq, *bq;         /* [n_head * head_dim, n_embd]     */
    const slm__tensor *wk, *bk;         /* [n_head_kv * head_dim, n_embd]  */
    const slm__tensor *wv, *bv;         /* [n_head_kv * head_dim, n_embd]  */
    const slm__tensor *wo, *bo;         /* [n_embd, n_head * head_dim]     */
    const slm__tensor *q_norm, *k_norm; /* of a head, [head_dim], or of all of them      */
    const slm__tensor *attn_post_norm, *ffn_post_norm; /* [n_embd]    */
    const slm__tensor *ffn_norm;                       /* [n_embd]                        */
    const slm__tensor *w_gate;                         /* [n_ff, n_embd]                  */
    const slm__tensor *w_up;                           /* [n_ff, n_embd]                  */
    const slm__tensor *w_down;                         /* [n_embd, n_ff]                  */
    const slm__tensor *w_qkv,
        *w_gate_up; /* FUSED: those above are views of their rows, in this order */
} slm__layer;

struct slm_model {
    slm_allocator allocator;
    slm__gguf gguf;
    slm__vocab *vocab;                /* NULL while opening, and with keys_only */
    _Atomic(struct slm__trie *) trie; /* of the vocabulary, made by the first constraint */
    bool has_weights;
    char arch_name[64];

    const slm__arch *arch;
    slm__hparams hp;
    const slm__tensor *token_embd;  /* [n_vocab, n_embd]                               */
    const slm__tensor *output_norm; /* [n_embd]                                        */
    uint64_t layer_weights;    /* in the matrices of all layers: multiplications for one token */
    const slm__tensor *output; /* [n_vocab, n_embd]; token_embd where it is tied  */
    /* [n_rot / 2] divisors of the frequencies */
    const slm__tensor *rope_freqs, *rope_factors_short, *rope_factors_long;
    slm__layer *layers; /* [n_layer]                                       */
    slm__tensor *views; /* of FUSED: [n_views]: 5 a layer                  */
    int32_t n_views;
    slm__rope rope[N_ROPE_KINDS];
    bool has_local_rope; /* some layer is of ROPE_LOCAL */
    double *rope_freq;   /* all of them */
};

/* Of the fused matrices of a layer: Q, K, V; gate and up. */
enum { SLM_VIEWS = 5, SLM_VIEWS_OF_QKV = 3 };

/* The matrix whose rows view number `i` is. */
static inline const slm__tensor *slm__whole_of(const slm_model *m, int32_t i) {
    const slm__layer *l = &m->layers[i / SLM_VIEWS];
    return i % SLM_VIEWS < SLM_VIEWS_OF_QKV ? l->w_qkv : l->w_gate_up;
}

/* Fill in m->rope. RANGE, MISMATCH, NOMEM. */
slm_status slm__model_rope(slm_model *m, slm_error *err);

/* The byte of the file at which p lies. */
static inline unsigned long long slm__byte_of(const slm_model *m, const void *p) {
    return (unsigned long long)((const uint8_t *)p - m->gguf.data);
}

/* Rows of `whole` from *row on, as a matrix of their own, stored in *view; *row moves behind them. */
const slm__tensor *slm__view_rows(slm__tensor *view, const slm__tensor *whole, int64_t *row,
                                  uint64_t n_rows);

/* Is the tensor of this name, which the model has, a matrix that x is multiplied by? Not the embedding, norms, biases. */
bool slm__is_matrix(const char *name);

/* A number for each tensor that slm__layer or slm_model points to: its place in the file's directory; views come behind. */
static inline int32_t slm__tensor_number(const slm_model *m, const slm__tensor *t) {
    uintptr_t view = (uintptr_t)t - (uintptr_t)m->views;
    bool is_view = m->n_views > 0 && view < (uintptr_t)m->n_views * sizeof *t;
    return is_view ? m->gguf.n_tensors + (int32_t)(view / sizeof *t)
                   : (int32_t)(t - m->gguf.tensors);
}

/* Bind the architecture: fills everything from `arch` on. */
slm_status slm__model_bind(slm_model *m, const slm_model_params *params, slm_error *err);

#endif
