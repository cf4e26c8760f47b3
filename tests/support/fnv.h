/* FNV-1a of 64 bits (Fowler, Noll, Vo): golden hashes. */
#ifndef TESTS_FNV_H
#define TESTS_FNV_H

#include <stdint.h>

#define FNV_BEGIN UINT64_C(0xcbf29ce484222325)

/* With one byte more; some golden hashes take wider numbers at once. */
static inline uint64_t fnv_add(uint64_t hash, uint64_t byte) {
    return (hash ^ byte) * UINT64_C(0x100000001b3);
}

#endif
