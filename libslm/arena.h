/* Memory that is taken bit by bit and given back all at once. */
#ifndef SLM_ARENA_H
#define SLM_ARENA_H

#include "base.h"

typedef struct slm__arena {
    const slm_allocator *allocator;
    struct slm__arena_chunk *chunks; /* the newest first           */
    size_t used, size;               /* of the newest              */
    uint64_t total, limit;           /* bytes of all; at most      */
    bool limited;                    /* what failed was the limit  */
} slm__arena;

/* Zeroed, aligned to 16 bytes. NULL: no memory, or `limit` (then `limited` is set). */
void *slm__arena_take(slm__arena *a, uint64_t n, uint64_t size);

/* Room for `n` elements of `size` bytes in a list that has room for *capacity: the same pointer, or a copy of twice
 * the room. NULL as above; the old list stays. */
void *slm__arena_room(slm__arena *a, void *list, uint32_t *capacity, uint64_t n, uint64_t size);

void slm__arena_free(slm__arena *a);

#endif
