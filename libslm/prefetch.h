/* Weights brought into the process by a thread of their own, while the one that opens a model reads its vocabulary. */
#ifndef SLM_PREFETCH_H
#define SLM_PREFETCH_H

#include <pthread.h>
#include <stdatomic.h>

#include "gguf.h"

typedef struct slm__prefetch {
    const slm__gguf *gguf; /* NULL: no thread was started */
    _Atomic bool stop;
    pthread_t thread;
} slm__prefetch;

/* Begin, in the order of the file's directory, without a table of embeddings that is not the output matrix as well: few of its rows are
 * needed. A wish: without a thread to be had nothing happens. `p` stays in place, and the mapping
 * too, until slm__prefetch_end(). */
void slm__prefetch_begin(slm__prefetch *p, const slm__gguf *g);

/* Stop wherever it is, after the page under way, and join. Accepts one that is all zero. */
void slm__prefetch_end(slm__prefetch *p);

#endif
