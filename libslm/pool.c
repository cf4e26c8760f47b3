/* A loop is a ticket: the number of chunks not yet claimed, tagged with the number of the loop. A thread claims a chunk by
 * lowering the ticket with compare-and-swap, so whoever holds a chunk knows that the loop's description is still that of its
 * chunk, and nobody ever waits for a thread that holds none: one that the system has put to sleep costs nothing.
 * Waiting is a bounded spin, then a condition variable. */
#include "pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

enum { SPINS = 4000 }; /* some 50 us: longer than the gap between two loops of a forward pass */

struct slm_threads {
    slm_allocator allocator;
    int32_t n_threads;
    bool shared;
    pthread_mutex_t turn; /* of callers, if shared */
    int32_t n_started;
    struct worker *workers;

    /* the loop at work; written by the caller while no chunk is claimed */
    slm__chunk_fn fn;
    void *arg;
    uint32_t n_chunks;
    uint32_t loop;

    _Alignas(64) _Atomic uint64_t ticket; /* loop << 32 | chunks left to claim */
    _Alignas(64) _Atomic uint32_t unfinished;
    _Alignas(64) _Atomic int32_t sleepers; /* workers that need a wake-up */
    _Atomic bool caller_sleeps, stop;
    pthread_mutex_t mutex;
    pthread_cond_t work, done;
};

struct worker {
    slm__pool *pool;
    int32_t index;
    pthread_t thread;
};

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool has_chunks(slm__pool *p) { return (uint32_t)atomic_load(&p->ticket) != 0; }

/* Claim and run chunks until none is left. */
static void work_off(slm__pool *p, int32_t thread) {
    uint64_t t = atomic_load(&p->ticket);
    while ((uint32_t)t != 0) {
        if (!atomic_compare_exchange_weak(&p->ticket, &t, t - 1)) continue;
        p->fn(p->arg, (int32_t)(p->n_chunks - (uint32_t)t), thread);
        if (atomic_fetch_sub(&p->unfinished, 1) == 1 && atomic_load(&p->caller_sleeps)) {
            pthread_mutex_lock(&p->mutex);
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->mutex);
        }
        t = atomic_load(&p->ticket);
    }
}

static void sleep_for_work(slm__pool *p) {
    pthread_mutex_lock(&p->mutex);
    atomic_fetch_add(&p->sleepers, 1);
    while (!has_chunks(p) && !atomic_load(&p->stop)) pthread_cond_wait(&p->work, &p->mutex);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->mutex);
}

static void *worker_main(void *arg) {
    struct worker *w = arg;
    slm__pool *p = w->pool;
    while (!atomic_load(&p->stop)) {
        for (int i = 0; i < SPINS && !has_chunks(p) && !atomic_load(&p->stop); i++) relax();
        if (!has_chunks(p)) sleep_for_work(p);
        work_off(p, w->index);
    }
    return NULL;
}

static void wake_workers(slm__pool *p) {
    if (atomic_load(&p->sleepers) == 0) return;
    pthread_mutex_lock(&p->mutex);
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->mutex);
}

static void wait_for_done(slm__pool *p) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&p->unfinished) == 0) return;
        relax();
    }
    pthread_mutex_lock(&p->mutex);
    atomic_store(&p->caller_sleeps, true);
    while (atomic_load(&p->unfinished) != 0) pthread_cond_wait(&p->done, &p->mutex);
    atomic_store(&p->caller_sleeps, false);
    pthread_mutex_unlock(&p->mutex);
}

static void run_on_all(slm__pool *p, int32_t n_chunks, slm__chunk_fn fn, void *arg) {
    p->fn = fn;
    p->arg = arg;
    p->n_chunks = (uint32_t)n_chunks;
    atomic_store(&p->unfinished, (uint32_t)n_chunks);
    atomic_store(&p->ticket, (uint64_t)++p->loop << 32 | (uint32_t)n_chunks);
    wake_workers(p);
    work_off(p, 0);
    wait_for_done(p);
}

void slm__pool_run(slm__pool *p, int32_t n_chunks, slm__chunk_fn fn, void *arg) {
    if (n_chunks <= 1 || p->n_threads == 1) {
        for (int32_t i = 0; i < n_chunks; i++) fn(arg, i, 0);
        return;
    }
    if (p->shared) pthread_mutex_lock(&p->turn);
    run_on_all(p, n_chunks, fn, arg);
    if (p->shared) pthread_mutex_unlock(&p->turn);
}

/* Signals are for the program's own threads; but for those that a thread raises itself, which would end the process if they
 * were blocked: the program may have a handler. */
static int start_worker(struct worker *w) {
    static const int own[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP};
    sigset_t all, before;
    sigfillset(&all);
    for (size_t i = 0; i < SLM_COUNT(own); i++) sigdelset(&all, own[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&w->thread, NULL, worker_main, w);
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
    p->workers = workers;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_mutex_init(&p->turn, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->done, NULL);
    for (; p->n_started < n_threads - 1; p->n_started++) {
        workers[p->n_started] = (struct worker){.pool = p, .index = p->n_started + 1};
        if (start_worker(&workers[p->n_started]) != 0) {
            int32_t n = p->n_started;
            slm__pool_free(p);
            return slm__fail(err, SLM_ERR_NOMEM, "could start only %d of %d threads", n + 1,
                             n_threads);
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
    for (int32_t i = 0; i < p->n_started; i++) pthread_join(p->workers[i].thread, NULL);
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
