/* What it costs to share out a loop that does next to nothing:
 *
 *     build/bench/loops [threads]
 *
 * A decode step of a small model is some hundred loops of a few microseconds, so this is part of each token's time. Between loops the caller
 * is alone, as it is in a forward pass, and writes what the others then read: an input of 4 KiB, and a thread answers in a line of its
 * own for each chunk. Shown beside it is how long a cache line takes to another core and back, which no loop can be faster than. Medians;
 * compare only figures of one run, as cores that are near each other today may be far apart tomorrow. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "../libslm/pool.h"
#include "timing.h"

enum { RUNS = 31, LOOPS = 2000, INPUT = 1024, LINE = 16, MOST_CHUNKS = 64 };

typedef struct sums {
    _Alignas(64) float input[INPUT];
    float output[MOST_CHUNKS * LINE];
} sums;

static void add_up(void *arg, int32_t c, int32_t thread) {
    (void)thread;
    sums *s = arg;
    float sum[LINE] = {0};
    for (int i = 0; i < INPUT; i++) sum[i % LINE] += s->input[i];
    for (int i = 0; i < LINE; i++) s->output[c * LINE + i] = sum[i];
}

/* Seconds that a loop of that many chunks takes. */
static double loop_time(slm__pool *pool, int32_t n_chunks) {
    static sums s;
    double begin = now();
    for (int i = 0; i < LOOPS; i++) {
        for (int j = 0; j < INPUT; j++) s.input[j] = s.output[j % (MOST_CHUNKS * LINE)] + 1;
        slm__pool_run(pool, 0, n_chunks, add_up, &s);
        for (int j = 0; j < MOST_CHUNKS * LINE; j++) s.output[j] *= 1e-6f;
    }
    return (now() - begin) / LOOPS;
}

static _Alignas(64) _Atomic int there;
static _Alignas(64) _Atomic int back;

static void play(void *arg, int32_t side, int32_t thread) {
    (void)arg, (void)thread;
    for (int i = 1; i <= LOOPS && side == 0; i++) {
        atomic_store(&there, i);
        while (atomic_load(&back) != i) {}
    }
    for (int i = 1; i <= LOOPS && side != 0; i++) {
        while (atomic_load(&there) != i) {}
        atomic_store(&back, i);
    }
}

/* Seconds for a line to another thread and back. */
static double line_time(slm__pool *pool) {
    there = back = 0;
    double begin = now();
    slm__pool_run(pool, 0, 2, play, NULL);
    return (now() - begin) / LOOPS;
}

static double median(double times[RUNS]) {
    qsort(times, RUNS, sizeof *times, by_size);
    return times[RUNS / 2];
}

int main(int argc, char **argv) {
    int32_t n = argc > 1 ? atoi(argv[1]) : 2;
    slm_allocator allocator = {0};
    slm__pool *pool, *alone;
    double times[RUNS];
    if (n < 2 || n > SLM_MAX_THREADS ||
        slm__pool_create(n, false, &allocator, &pool, NULL) != SLM_OK)
        return 1;
    if (slm__pool_create(1, false, &allocator, &alone, NULL) != SLM_OK) return 1;
    for (int i = 0; i < RUNS; i++) times[i] = line_time(pool);
    printf("a line there and back: %.2f us\n\nchunks  1 thread  %d threads  (us a loop)\n",
           1e6 * median(times), (int)n);
    for (int32_t chunks = 2; chunks <= MOST_CHUNKS; chunks *= 2) {
        for (int i = 0; i < RUNS; i++) times[i] = loop_time(alone, chunks);
        printf("%6d %9.2f", (int)chunks, 1e6 * median(times));
        for (int i = 0; i < RUNS; i++) times[i] = loop_time(pool, chunks);
        printf(" %10.2f\n", 1e6 * median(times));
    }
    slm__pool_free(pool);
    slm__pool_free(alone);
    return 0;
}
