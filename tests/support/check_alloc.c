#include "check_alloc.h"

#include <stdlib.h>

/* In front of each block; keeps the alignment of malloc. */
typedef union header {
    size_t n;
    max_align_t align;
} header;

static void *counted_alloc(void *user, size_t n) {
    check_alloc *c = user;
    c->n_calls++;
    if (c->n_calls == c->fail_at || (c->fail_from && c->n_calls >= c->fail_from)) return NULL;
    if (c->limit && n > c->limit - c->n_bytes) return NULL;
    header *h = malloc(sizeof *h + n);
    if (!h) return NULL;
    h->n = n;
    c->n_live++;
    c->n_bytes += n;
    if (c->n_bytes > c->peak) c->peak = c->n_bytes;
    return h + 1;
}

static void counted_free(void *user, void *ptr) {
    check_alloc *c = user;
    header *h = (header *)ptr - 1;
    c->n_live--;
    c->n_bytes -= h->n;
    free(h);
}

slm_allocator check_allocator(check_alloc *c) {
    return (slm_allocator){counted_alloc, counted_free, c};
}
