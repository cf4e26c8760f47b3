/* An allocator that counts, and can be told to fail: for tests of what is held, how much, and what happens without. */
#ifndef TESTS_CHECK_ALLOC_H
#define TESTS_CHECK_ALLOC_H

#include <stddef.h>
#include <stdint.h>

#include "../../include/slm.h"

typedef struct check_alloc {
    long n_live;             /* blocks that were not freed yet     */
    uint64_t n_bytes, peak;  /* in them now, and at most so far    */
    long n_calls;            /* of alloc                           */
    long fail_at, fail_from; /* call number, from 1; 0: never      */
    uint64_t limit;          /* for n_bytes; 0: none               */
} check_alloc;

/* `c` must outlive what is made with it. For one thread. */
slm_allocator check_allocator(check_alloc *c);

#endif
