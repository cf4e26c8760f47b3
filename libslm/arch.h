/* A row per architecture: all that forward.c needs to know of a model family. */
#ifndef SLM_ARCH_H
#define SLM_ARCH_H

#include "base.h"

/* Which values of a head RoPE turns together: value i with its neighbour (2i, 2i + 1), or with the one half a head
 * away (i, i + n/2). */
typedef enum slm__rope_pairing { ROPE_ADJACENT, ROPE_HALVES } slm__rope_pairing;

typedef struct slm__arch {
    const char *name; /* general.architecture, and the prefix of the keys */
    slm__rope_pairing rope;
} slm__arch;

/* NULL if there is none of this name. */
const slm__arch *slm__arch_find(slm__str name);

/* "llama, ..." for messages. */
const char *slm__arch_names(void);

#endif
