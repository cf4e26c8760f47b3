/* A file bound to its architecture: hyperparameters read, every tensor found and its shape checked. Immutable. */
#ifndef SLM_MODEL_H
#define SLM_MODEL_H

#include "arch.h"
#include "gguf.h"
#include "vocab.h"

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
    float norm_eps;
    float rope_base;
    float rope_factor; /* linear scaling: positions are divided by it; 1 is none */
} slm__hparams;

/* Shapes as [rows, columns]: a row is contiguous. NULL where the file has none (biases, rope_freqs). */
typedef struct slm__layer {
    const slm__tensor *attn_norm; /* [n_embd]                        */
    const slm__tensor *wq, *bq;   /* [n_head * head_dim, n_embd]     */
    const slm__tensor *wk, *bk;   /* [n_head_kv * head_dim, n_embd]  */
    const slm__tensor *wv, *bv;   /* [n_head_kv * head_dim, n_embd]  */
    const slm__tensor *wo, *bo;   /* [n_embd, n_head * head_dim]     */
    const slm__tensor *ffn_norm;  /* [n_embd]                        */
    const slm__tensor *w_gate;    /* [n_ff, n_embd]                  */
    const slm__tensor *w_up;      /* [n_ff, n_embd]                  */
    const slm__tensor *w_down;    /* [n_embd, n_ff]                  */
} slm__layer;

struct slm_model {
    slm_allocator allocator;
    slm__gguf gguf;
    slm__vocab *vocab; /* NULL only while opening */
    bool has_weights;
    char arch_name[64];

    const slm__arch *arch;
    slm__hparams hp;
    const slm__tensor *token_embd;  /* [n_vocab, n_embd]                               */
    const slm__tensor *output_norm; /* [n_embd]                                        */
    uint64_t layer_weights;    /* in the matrices of all layers: multiplications for one token */
    const slm__tensor *output; /* [n_vocab, n_embd]; token_embd where it is tied  */
    const slm__tensor *rope_freqs; /* [n_rot / 2] divisors of the frequencies         */
    slm__layer *layers;            /* [n_layer]                                       */
    double *rope_freq;             /* [n_rot / 2] radians per position                */
};

/* Bind the architecture: fills everything from `arch` on. */
slm_status slm__model_bind(slm_model *m, const slm_model_params *params, slm_error *err);

#endif
