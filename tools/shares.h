/* Rows that do not depend on each other, shared out to threads: each is one thread's, so the number of threads changes no result. */
#ifndef TOOLS_SHARES_H
#define TOOLS_SHARES_H

#include <stdint.h>

enum { MAX_SHARES = 64 };

/* Rows begin .. end-1; `share` counts from 0, and no two that run at a time have the same. */
typedef void (*share_fn)(void *user, int32_t share, int32_t begin, int32_t end);

/* Ranges of all n_rows rows, as many as threads but MAX_SHARES at most, and none of them empty; returns when all are done. Where a thread
 * cannot be had, the caller's does its share. */
void share_rows(int32_t n_threads, int32_t n_rows, share_fn run, void *user);

#endif
