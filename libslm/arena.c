#include "arena.h"

typedef struct slm__arena_chunk {
    struct slm__arena_chunk *older;
    uint64_t unused; /* keeps what follows aligned */
} slm__arena_chunk;

enum { CHUNK = 1 << 15, GRAIN = 16 };

static bool add_chunk(slm__arena *a, uint64_t n_bytes) {
    uint64_t size = n_bytes > CHUNK ? n_bytes : CHUNK;
    a->limited = size > a->limit - a->total;
    slm__arena_chunk *c = a->limited ? NULL : slm__alloc(a->allocator, sizeof *c + size);
    if (!c) return false;
    c->older = a->chunks;
    a->chunks = c;
    a->used = 0;
    a->size = (size_t)size;
    a->total += size;
    return true;
}

void *slm__arena_take(slm__arena *a, uint64_t n, uint64_t size) {
    uint64_t bytes;
    if (!slm__mul(n, size, &bytes) || bytes > a->limit) {
        a->limited = true;
        return NULL;
    }
    bytes = (bytes + GRAIN - 1) / GRAIN * GRAIN;
    if ((!a->chunks || bytes > a->size - a->used) && !add_chunk(a, bytes)) return NULL;
    void *p = (char *)(a->chunks + 1) + a->used;
    a->used += (size_t)bytes;
    return p;
}

void *slm__arena_room(slm__arena *a, void *list, uint32_t *capacity, uint64_t n, uint64_t size) {
    if (n <= *capacity && list) return list; /* an empty list gets room too: NULL means failure */
    uint64_t wanted = n > 2 * (uint64_t)*capacity ? n : 2 * (uint64_t)*capacity;
    if (wanted < 8) wanted = 8;
    if (wanted > UINT32_MAX) wanted = UINT32_MAX;
    void *more = n <= wanted ? slm__arena_take(a, wanted, size) : NULL;
    if (!more) return NULL;
    if (*capacity) memcpy(more, list, (size_t)(*capacity * size));
    *capacity = (uint32_t)wanted;
    return more;
}

void slm__arena_free(slm__arena *a) {
    while (a->chunks) {
        slm__arena_chunk *c = a->chunks;
        a->chunks = c->older;
        slm__free(a->allocator, c);
    }
}
