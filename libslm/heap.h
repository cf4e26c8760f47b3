/* A binary heap of keys, the least first. */
#ifndef SLM_HEAP_H
#define SLM_HEAP_H

#include <stddef.h>
#include <stdint.h>

static inline void slm__heap_push(uint64_t *heap, size_t *n, uint64_t v) {
    size_t i = (*n)++;
    for (; i > 0 && heap[(i - 1) / 2] > v; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = v;
}

/* The gap that the least leaves goes down to a leaf before the last key is put there: it is nearly always one of the
 * largest, so comparing with it on the way would be in vain and hard to predict. */
static inline uint64_t slm__heap_pop(uint64_t *heap, size_t *n) {
    uint64_t top = heap[0], last = heap[--*n];
    size_t i = 0, size = *n;
    for (size_t child; (child = 2 * i + 1) < size; i = child) {
        child += child + 1 < size && heap[child + 1] < heap[child];
        heap[i] = heap[child];
    }
    for (; i > 0 && heap[(i - 1) / 2] > last; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = last;
    return top;
}

#endif
