#include "prefetch.h"

#include "pool.h"

/* For a page that is asked for, Linux maps those of the 64 KiB around it that are in memory (fault_around_bytes). Asking for all of them
 * by madvise() takes twice as long: MADV_POPULATE_READ goes page by page. */
enum { STEP = 65536 };

static void *look(void *arg) {
    slm__prefetch *p = arg;
    const slm__gguf *g = p->gguf;
    const slm__tensor *few = NULL;
    if (slm__gguf_tensor(g, "output.weight")) few = slm__gguf_tensor(g, "token_embd.weight");
    for (int32_t i = 0; i < g->n_tensors; i++) {
        const slm__tensor *t = &g->tensors[i];
        if (t == few) continue;
        for (uint64_t at = 0; at < t->n_bytes; at += STEP) {
            if (atomic_load_explicit(&p->stop, memory_order_relaxed)) return NULL;
            (void)*(const volatile uint8_t *)(t->data + at);
        }
    }
    return NULL;
}

void slm__prefetch_begin(slm__prefetch *p, const slm__gguf *g) {
    p->gguf = g;
    atomic_init(&p->stop, false);
    if (slm__thread_start(&p->thread, look, p) != 0) p->gguf = NULL;
}

void slm__prefetch_end(slm__prefetch *p) {
    if (!p->gguf) return;
    atomic_store_explicit(&p->stop, true, memory_order_relaxed);
    pthread_join(p->thread, NULL);
    p->gguf = NULL;
}
