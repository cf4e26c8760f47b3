/* A loop is shared out in ranges of chunks, one for each thread. A thread takes the chunks of its own range in order, so that what it reads
 * is one stream, then the last ones of the others'. It claims a chunk by compare-and-swap on the range, which is tagged
 * with the number of the loop: whoever holds a chunk that is not reported as finished knows that the loop's description is still that of
 * its chunk, and nobody ever waits for a thread that holds none: one that the system has put to sleep costs nothing.
 * Waiting is a bounded spin, in which threads that are more than the processors give way to each other, then a condition variable.
 *
 * A cache line takes 0.1 to 0.3 us from one core to another, and a small model has hundreds of loops of some us for each token. So a loop begins with
 * one line for each thread, on which it waits and which says all about its part, and ends with one that is written once by each. */
#include "pool.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

enum { SPINS = 4000 }; /* some 50 us: longer than the gap between two loops of a forward pass */

struct slm_threads {
    /* the same from the first loop to the last */
    slm_allocator allocator;
    int32_t n_threads, n_started; /* the caller too */
    bool shared;
    bool crowded;      /* more threads than processors */
    _Atomic bool stop; /* from the last loop on */
    struct worker *workers;

    /* of the caller */
    _Alignas(64) pthread_mutex_t turn; /* of callers, if shared */
    uint32_t loop;                     /* number of the last one, counted modulo 2^32 */
    uint32_t expected;                 /* `finished` at its end */

    _Alignas(64) _Atomic uint32_t finished; /* chunks that workers have run, modulo 2^32 */

    /* of those that sleep */
    _Alignas(64) _Atomic int32_t sleepers; /* workers that need a wake-up */
    _Atomic bool caller_sleeps;
    pthread_mutex_t mutex;
    pthread_cond_t work, done;
};

/* One for each thread, the caller too, whose `thread` is not used: a line each. */
struct worker {
    _Alignas(64) _Atomic uint64_t
        range; /* of chunks that are not claimed: number of the loop << 32 | begin << 16 | end */
    /* written by the caller before `range`, when all chunks of the loop before are finished */
    slm__chunk_fn fn;
    void *arg;
    int32_t first_chunk; /* what begin and end count from */
    slm__pool *pool;
    int32_t index;
    pthread_t thread;
};

enum { MOST_CHUNKS = 65535 }; /* of a range */

/* Where threads are more than processors, whoever waits leaves its own to one that has none. */
static void relax(const slm__pool *p) {
    if (p->crowded) {
        sched_yield();
        return;
    }
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Claim the first chunk of a range, or the last one: its number, or -1 if there is none. */
static int32_t claim(struct worker *w, bool last) {
    uint64_t range = atomic_load(&w->range);
    for (;;) {
        uint32_t begin = (uint32_t)range >> 16, end = (uint32_t)range & 0xffff;
        if (begin == end) return -1;
        uint64_t rest = last ? range - 1 : range + (1u << 16);
        if (atomic_compare_exchange_weak(&w->range, &range, rest))
            return w->first_chunk + (int32_t)(last ? end - 1 : begin);
    }
}

/* Claim and run chunks until none is left. Returns how many. */
static uint32_t work_off(slm__pool *p, int32_t thread) {
    uint32_t n = 0;
    int32_t chunk;
    for (int32_t i = 0; i < p->n_threads; i++) {
        struct worker *from = &p->workers[(thread + i) % p->n_threads];
        for (; (chunk = claim(from, i > 0)) >= 0; n++) from->fn(from->arg, chunk, thread);
    }
    return n;
}

static bool is_over(struct worker *w, uint32_t loop) {
    return (uint32_t)(atomic_load(&w->range) >> 32) == loop && !atomic_load(&w->pool->stop);
}

static void sleep_for_work(struct worker *w, uint32_t loop) {
    slm__pool *p = w->pool;
    pthread_mutex_lock(&p->mutex);
    atomic_fetch_add(&p->sleepers, 1); /* see run_on_all() */
    while (is_over(w, loop)) pthread_cond_wait(&p->work, &p->mutex);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->mutex);
}

/* The caller may go on at once when it sees the sum. */
static void report(slm__pool *p, uint32_t n_chunks) {
    if (n_chunks == 0) return;
    atomic_fetch_add(&p->finished, n_chunks);
    if (!atomic_load(&p->caller_sleeps)) return;
    pthread_mutex_lock(&p->mutex);
    pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->mutex);
}

static void *worker_main(void *arg) {
    struct worker *w = arg;
    slm__pool *p = w->pool;
    uint32_t loop = 0; /* the last one that this thread has seen */
    while (!atomic_load(&p->stop)) {
        for (int i = 0; i < SPINS && is_over(w, loop); i++) relax(p);
        if (is_over(w, loop)) sleep_for_work(w, loop);
        loop = (uint32_t)(atomic_load(&w->range) >> 32);
        report(p, work_off(p, w->index));
    }
    return NULL;
}

static void wake_workers(slm__pool *p, int32_t n_sleepers) {
    if (n_sleepers == 0) return;
    pthread_mutex_lock(&p->mutex);
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->mutex);
}

static bool is_done(slm__pool *p) { return atomic_load(&p->finished) == p->expected; }

static void wait_for_done(slm__pool *p) {
    for (int i = 0; i < SPINS; i++) {
        if (is_done(p)) return;
        relax(p);
    }
    pthread_mutex_lock(&p->mutex);
    atomic_store(&p->caller_sleeps, true);
    while (!is_done(p)) pthread_cond_wait(&p->done, &p->mutex);
    atomic_store(&p->caller_sleeps, false);
    pthread_mutex_unlock(&p->mutex);
}

static void run_on_all(slm__pool *p, int32_t first, int32_t n_chunks, slm__chunk_fn fn, void *arg) {
    p->loop++;
    for (int32_t i = p->n_threads - 1; i >= 0; i--) { /* the caller's own is last */
        struct worker *w = &p->workers[i];
        int32_t begin = (int32_t)((int64_t)n_chunks * i / p->n_threads);
        int32_t end = (int32_t)((int64_t)n_chunks * (i + 1) / p->n_threads);
        w->fn = fn;
        w->arg = arg;
        w->first_chunk = first + begin;
        atomic_store_explicit(&w->range, (uint64_t)p->loop << 32 | (uint32_t)(end - begin),
                              memory_order_release);
    }
    /* Who sleeps already is woken at once, and who is about to, later: of two read-modify-writes of `sleepers` one is first, so that a worker
     * sees the loop or is seen itself, but ours would wait until the lines written above have come. */
    wake_workers(p, atomic_load(&p->sleepers));
    uint32_t own = work_off(p, 0);
    wake_workers(p, atomic_fetch_add(&p->sleepers, 0));
    p->expected += (uint32_t)n_chunks - own;
    wait_for_done(p);
}

void slm__pool_run(slm__pool *p, int32_t first, int32_t n_chunks, slm__chunk_fn fn, void *arg) {
    int64_t end = (int64_t)first + n_chunks, most = (int64_t)MOST_CHUNKS * p->n_threads;
    if (n_chunks <= 1 || p->n_threads == 1) {
        for (int64_t i = first; i < end; i++) fn(arg, (int32_t)i, 0);
        return;
    }
    if (p->shared) pthread_mutex_lock(&p->turn);
    for (int64_t i = first; i < end; i += most)
        run_on_all(p, (int32_t)i, (int32_t)(end - i < most ? end - i : most), fn, arg);
    if (p->shared) pthread_mutex_unlock(&p->turn);
}

/* Signals are for the program's own threads; but for those that a thread raises itself, which would end the process if they
 * were blocked: the program may have a handler. */
int slm__thread_start(pthread_t *thread, void *(*run)(void *), void *arg) {
    static const int own[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP};
    sigset_t all, before;
    sigfillset(&all);
    for (size_t i = 0; i < SLM_COUNT(own); i++) sigdelset(&all, own[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

slm_status slm__pool_create(int32_t n_threads, bool shared, const slm_allocator *allocator,
                            slm__pool **out, slm_error *err) {
    *out = NULL;
    slm__pool *p = slm__alloc(allocator, sizeof *p);
    struct worker *workers = slm__alloc_array(allocator, (uint64_t)n_threads, sizeof *workers);
    if (!p || !workers) {
        slm__free(allocator, p);
        slm__free(allocator, workers);
        return slm__fail(err, SLM_ERR_NOMEM, "no memory for %d threads", n_threads);
    }
    p->allocator = *allocator;
    p->n_threads = n_threads;
    p->shared = shared;
    p->crowded = n_threads > 1 && n_threads > slm__processors();
    p->workers = workers;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_mutex_init(&p->turn, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->done, NULL);
    for (int32_t i = 0; i < n_threads; i++) workers[i] = (struct worker){.pool = p, .index = i};
    for (p->n_started = 1; p->n_started < n_threads; p->n_started++) {
        int32_t n = p->n_started;
        if (slm__thread_start(&workers[n].thread, worker_main, &workers[n]) != 0) {
            slm__pool_free(p);
            return slm__fail(err, SLM_ERR_NOMEM, "could start only %d of %d threads", n, n_threads);
        }
    }
    *out = p;
    return SLM_OK;
}

void slm__pool_free(slm__pool *p) {
    if (!p) return;
    pthread_mutex_lock(&p->mutex);
    atomic_store(&p->stop, true);
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->mutex);
    for (int32_t i = 1; i < p->n_started; i++) pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->done);
    pthread_mutex_destroy(&p->mutex);
    pthread_mutex_destroy(&p->turn);
    slm_allocator allocator = p->allocator;
    slm__free(&allocator, p->workers);
    slm__free(&allocator, p);
}

int32_t slm__pool_n_threads(const slm__pool *p) { return p->n_threads; }

uint64_t slm__pool_bytes(int32_t n_threads) {
    return slm__alloc_cost(sizeof(slm__pool)) +
           slm__alloc_cost((uint64_t)n_threads * sizeof(struct worker));
}

/* ---- Public ---- */

slm_status slm_threads_create(int32_t n_threads, const slm_allocator *allocator, slm_threads **out,
                              slm_error *err) {
    slm__clear(err);
    if (!out) return slm__fail(err, SLM_ERR_ARGUMENT, "out is NULL");
    *out = NULL;
    slm_allocator a = allocator ? *allocator : (slm_allocator){0};
    SLM_TRY(slm__check_allocator(&a, err));
    SLM_TRY(slm__check_range("n_threads", n_threads, 0, SLM_MAX_THREADS, err));
    if (n_threads == 0) n_threads = slm__default_threads(SLM_MAX_THREADS);
    return slm__pool_create(n_threads, true, &a, out, err);
}

void slm_threads_free(slm_threads *threads) { slm__pool_free(threads); }
