/* Arrays that grow. */
#ifndef SLM_VEC_H
#define SLM_VEC_H

#include "base.h"

/* A struct of these three members, in this order. Set to {0} to begin; slm__free() the pointer at the end. */
#define SLM_VEC(type)    \
    struct {             \
        type *p;         \
        uint32_t n, cap; \
    }

/* Room for `more` elements behind the n that are there; false: no memory, and nothing has changed. */
#define SLM_ROOM(a, v, more) \
    ((uint64_t)(v)->n + (more) <= (v)->cap || slm__vec_grow((a), (v), sizeof *(v)->p, (more)))

static inline bool slm__vec_grow(const slm_allocator *a, void *vec, size_t size, uint64_t more) {
    SLM_VEC(void) v;
    memcpy(&v, vec, sizeof v);
    uint64_t need = v.n + more, cap = v.cap < 8 ? 16 : 2 * (uint64_t)v.cap;
    if (cap < need) cap = need;
    void *p = cap <= UINT32_MAX ? slm__alloc_array(a, cap, size) : NULL;
    if (!p) return false;
    if (v.n > 0) memcpy(p, v.p, v.n * size);
    slm__free(a, v.p);
    v.p = p;
    v.cap = (uint32_t)cap;
    memcpy(vec, &v, sizeof v);
    return true;
}

#endif
