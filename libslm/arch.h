/* A row per architecture: all that forward.c needs to know of a model family. */
#ifndef SLM_ARCH_H
#define SLM_ARCH_H

#include "base.h"

/* Which values of a head RoPE turns together: value i with its neighbour (2i, 2i + 1), or with the one half a head
 * away (i, i + n/2). */
typedef enum slm__rope_pairing { ROPE_ADJACENT, ROPE_HALVES } slm__rope_pairing;

/* Of the gate of the feed-forward network: SwiGLU or GeGLU (Shazeer 2020, arXiv:2002.05202). */
typedef enum slm__activation { ACT_SILU, ACT_GELU } slm__activation;

/* What a layer has beside its matrices, and how these lie in the file. Tensors of parts that a row does not name are refused. */
typedef enum slm__parts {
    PRE_NORMS = 1,   /* x is normed before attention and before feed-forward      */
    POST_NORMS = 2,  /* what these give is normed before it is added to x         */
    QK_NORM = 4,     /* each head of Q and K is normed before RoPE                */
    QK_NORM_ROW = 8, /* all heads of Q are normed as one row, and those of K      */
    SPLIT = 16,      /* Q, K, V and gate, up are matrices of their own            */
    FUSED = 32,      /* Q, K, V are the rows of one matrix; gate and up of another */
} slm__parts;

/* Numbers that a file leaves out are 0 here, where the family has no number for them. */
typedef struct slm__arch {
    const char *name; /* general.architecture, and the prefix of the keys */
    slm__rope_pairing rope;
    slm__activation activation;
    uint32_t parts;        /* slm__parts */
    bool scales_embedding; /* by sqrt(n_embd) */

    /* Of a file that has a window, layer l sees all of the text if (l + 1) % global_every is 0; 0: no layer does. */
    uint32_t global_every;
    uint32_t window;         /* of a file that does not say                         */
    float local_rope_base;   /* of the layers with a window; 0: as in the others    */
    bool local_rope_plain;   /* they have no scaling of RoPE, whatever the others have */
    uint32_t no_rope_every;  /* layer l has no RoPE if (l + 1) % no_rope_every is 0; 0: all have */
    float attn_cap, out_cap; /* of scores and logits: x becomes cap * tanh(x / cap) */

    /* The model of the family with so many layers divides scores by sqrt(n_embd / n_head), not sqrt(head_dim). */
    uint32_t wide_scale_layers;
} slm__arch;

/* NULL if there is none of this name. */
const slm__arch *slm__arch_find(slm__str name);

/* "llama, ..." for messages. */
const char *slm__arch_names(void);

#endif
