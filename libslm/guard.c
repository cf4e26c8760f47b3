/*
 * The one part of the library that has state of the whole process: a handler for SIGBUS, which the system raises where a mapping
 * goes on behind the end of its file. It is there while guarded mappings are, and hands on all faults that are not theirs.
 *
 * A page that is cut through by the new end of the file reads as zeros from there on without any signal. So the size of the
 * file is asked for, too, whenever somebody wants to know.
 */
#include "guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { GUARDS_MAX = 64 };

/* The handler may look at a guard while another thread makes or frees it: `version` is odd meanwhile. Nobody faults in a
 * mapping whose guard is not whole, so such ones are passed over. */
struct slm__guard {
    atomic_uint version;
    atomic_uintptr_t begin, end; /* whole pages; 0: the guard is free */
    atomic_bool changed;
    int fd; /* of the mapped file, to ask for its size */
    uint64_t n_bytes;
};

static struct {
    pthread_mutex_t mutex; /* of making and freeing; the handler never takes it */
    struct slm__guard list[GUARDS_MAX];
    int32_t n_used;
    bool installed;
    struct sigaction before; /* written only while the handler is not installed */
    uintptr_t page_bytes;    /* likewise */
} guards = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* ---- In the handler: only what may be done there. mmap() is a bare system call on Linux. ---- */

static bool holds(struct slm__guard *g, uintptr_t at, uintptr_t *end) {
    unsigned version = atomic_load(&g->version);
    uintptr_t begin = atomic_load(&g->begin);
    *end = atomic_load(&g->end);
    return begin <= at && at < *end && version % 2 == 0 && atomic_load(&g->version) == version;
}

/* All that is left of the mapping becomes zeros, so that it faults but once. The flag comes first: whoever reads them finds it
 * set. */
static bool put_zeros(uintptr_t at) {
    for (int i = 0; i < GUARDS_MAX; i++) {
        struct slm__guard *g = &guards.list[i];
        uintptr_t end, page = at & ~(guards.page_bytes - 1);
        if (!holds(g, at, &end)) continue;
        atomic_store(&g->changed, true);
        return mmap((void *)page, end - page, PROT_READ,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
    }
    return false;
}

/* As if our handler were not there. By default a fault ends the process when the instruction runs again; a signal that
 * somebody sent has to be sent again. */
static void hand_on(int signal_number, siginfo_t *info, void *context) {
    const struct sigaction *before = &guards.before;
    bool sent = info->si_code <= 0;
    if (before->sa_flags & SA_SIGINFO) {
        before->sa_sigaction(signal_number, info, context);
    } else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN) {
        before->sa_handler(signal_number);
    } else if (before->sa_handler == SIG_DFL || !sent) {
        sigaction(signal_number, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
        if (sent) raise(signal_number);
    }
}

static void on_sigbus(int signal_number, siginfo_t *info, void *context) {
    int error = errno;
    bool ours = info->si_code == BUS_ADRERR && put_zeros((uintptr_t)info->si_addr);
    errno = error;
    if (!ours) hand_on(signal_number, info, context);
}

/* ---- Outside of it; the mutex is held ---- */

static void install(void) {
    if (guards.installed) return;
    guards.page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    sigaction(SIGBUS, NULL, &guards.before);
    struct sigaction ours = {.sa_sigaction = on_sigbus,
                             .sa_mask = guards.before.sa_mask,
                             .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    guards.installed = sigaction(SIGBUS, &ours, NULL) == 0;
}

/* If somebody else's handler has come after ours, it may call ours: then ours stays, with nothing to guard, and must not be put
 * in front of that one later, or they would call each other for ever. */
static void uninstall(void) {
    struct sigaction now;
    bool on_top = sigaction(SIGBUS, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) &&
                  now.sa_sigaction == on_sigbus;
    if (on_top) guards.installed = sigaction(SIGBUS, &guards.before, NULL) != 0;
}

static void set_range(slm__guard *g, uintptr_t begin, uintptr_t end) {
    atomic_fetch_add(&g->version, 1);
    atomic_store(&g->begin, begin);
    atomic_store(&g->end, end);
    atomic_store(&g->changed, false);
    atomic_fetch_add(&g->version, 1);
}

static slm__guard *take_free_one(void) {
    for (int i = 0; i < GUARDS_MAX; i++)
        if (atomic_load(&guards.list[i].end) == 0) return &guards.list[i];
    return NULL;
}

/* ---- For the library ---- */

slm_status slm__guard_create(int fd, const void *data, uint64_t n_bytes, slm__guard **out,
                             slm_error *err) {
    uintptr_t begin = (uintptr_t)data;
    pthread_mutex_lock(&guards.mutex);
    slm__guard *g = take_free_one();
    if (g) {
        install();
        g->fd = fd;
        g->n_bytes = n_bytes;
        set_range(g, begin, (begin + n_bytes + guards.page_bytes - 1) & ~(guards.page_bytes - 1));
        guards.n_used++;
    }
    pthread_mutex_unlock(&guards.mutex);
    *out = g;
    if (g) return SLM_OK;
    close(fd);
    return slm__fail(err, SLM_ERR_LIMIT, "%d models with a guard are open, more cannot be",
                     GUARDS_MAX);
}

void slm__guard_free(slm__guard *g) {
    if (!g) return;
    pthread_mutex_lock(&guards.mutex);
    close(g->fd);
    set_range(g, 0, 0);
    if (--guards.n_used == 0) uninstall();
    pthread_mutex_unlock(&guards.mutex);
}

slm_status slm__guard_check(slm__guard *g, slm_status status, slm_error *err) {
    struct stat now;
    if (!g) return status;
    if (!atomic_load(&g->changed) &&
        (fstat(g->fd, &now) != 0 || (uint64_t)now.st_size >= g->n_bytes))
        return status;
    atomic_store(&g->changed, true); /* for good, also if the file grows again */
    return slm__fail(err, SLM_ERR_CHANGED, "the file was cut short while it was open");
}
