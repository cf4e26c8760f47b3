/* Threads that share one loop at a time. No globals: a pool belongs to its context, or to the caller for several of them. */
#ifndef SLM_POOL_H
#define SLM_POOL_H

#include <pthread.h>

#include "base.h"

typedef struct slm_threads slm__pool;

enum { SLM_MAX_THREADS = 512 };

/* Chunk `chunk` of a loop, on thread `thread` (0 is the caller of slm__pool_run()). */
typedef void (*slm__chunk_fn)(void *arg, int32_t chunk, int32_t thread);

/* `n_threads` counts the caller: n_threads - 1 are started. NOMEM when one cannot be had; nothing is then left. Of a pool that is
 * `shared`, slm__pool_run() may be called by several threads: it takes one loop after the other. */
slm_status slm__pool_create(int32_t n_threads, bool shared, const slm_allocator *allocator,
                            slm__pool **out, slm_error *err);

/* Stops and joins. Accepts NULL. */
void slm__pool_free(slm__pool *pool);

int32_t slm__pool_n_threads(const slm__pool *pool);
uint64_t slm__pool_bytes(int32_t n_threads);

/* Run chunks first .. first+n_chunks-1, each once, in any order, by whichever thread is free; return when all are done, with everything
 * that they wrote visible. A single chunk runs on the caller. What the other threads read of `arg` comes from the caller's core, and each
 * pointer that they follow to get there takes as long again: best is a small struct that has everything in it. */
void slm__pool_run(slm__pool *pool, int32_t first, int32_t n_chunks, slm__chunk_fn fn, void *arg);

/* A thread that takes no signals but those that it raises itself. Returns what pthread_create() does: 0, or why there is none. */
int slm__thread_start(pthread_t *thread, void *(*run)(void *), void *arg);

/* Physical cores that this process may use: affinity, cgroup quota (quota.c); 1 .. max. */
int32_t slm__default_threads(int32_t max);

/* Processors, of which a core may have several, that this process may use; at least 1. */
int32_t slm__processors(void);

/* Cores among the processors 0 .. n-1 that are `allowed`. `root` is /sys/devices/system/cpu; what it does not tell of counts as a core. */
int32_t slm__physical_cores(const uint8_t *allowed, int32_t n, const char *root);

/* The processors that control groups leave to the process that /proc/self/cgroup (here `groups`) describes, rounded down but at least 1;
 * 0: no limit. `root` is where they are mounted, /sys/fs/cgroup. */
int32_t slm__cgroup_quota(const char *groups, const char *root);

#endif
