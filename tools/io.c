#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "options.h"

/* ---- Streams and files ---- */

void hold_standard_streams(void) {
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) != -1) continue;
        /* opened the wrong way round, so that its use fails as that of a closed one does */
        if (open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd) return;
    }
}

static char *read_fd(int fd, const char *name, size_t *n_bytes) {
    size_t n = 0, capacity = 1 << 16;
    char *data = malloc(capacity);
    while (data) {
        ssize_t got = read(fd, data + n, capacity - n);
        if (interrupted()) {
            free(data);
            return NULL;
        }
        if (got > 0) {
            n += (size_t)got;
            if (n < capacity) continue;
            char *more = capacity <= (size_t)-1 / 4 ? realloc(data, capacity * 2) : NULL;
            if (!more) break;
            data = more;
            capacity *= 2;
        } else if (got == 0) {
            *n_bytes = n;
            return data;
        } else if (errno != EINTR) {
            fail("%s: %s", name, strerror(errno));
            free(data);
            return NULL;
        }
    }
    fail("%s: no memory for more than %zu bytes", name, n);
    free(data);
    return NULL;
}

char *read_all(const char *path, size_t *n_bytes) {
    if (!path || strcmp(path, "-") == 0) return read_fd(STDIN_FILENO, "standard input", n_bytes);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1) {
        fail("%s: %s", path, strerror(errno));
        return NULL;
    }
    char *data = read_fd(fd, path, n_bytes);
    close(fd);
    return data;
}

int finish_output(void) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return EXIT_DONE;
    int error = errno;
    return fail("cannot write the output: %s", strerror(error));
}

/* ---- Ctrl-C ---- */

static volatile sig_atomic_t interrupt_seen;

static void on_interrupt(int signal_number) {
    (void)signal_number;
    interrupt_seen = 1;
}

void catch_interrupt(void) {
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
}

bool interrupted(void) { return interrupt_seen; }

/* ---- Progress ---- */

double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

bool progress_update(void *bar, float done) {
    enum { WIDTH = 30 };
    progress_bar *b = bar;
    if (!b->label || !isatty(STDERR_FILENO)) return !interrupted();
    double t = now();
    if (b->started == 0) b->started = b->drawn = t + 0.2; /* what is quicker shows no bar */
    if (t >= b->drawn) {
        done = done < 0 ? 0 : done > 1 ? 1 : done;
        int full = (int)(done * WIDTH);
        fprintf(stderr, "\r%s [%.*s%*s] %3d%%", b->label, full, "##############################",
                WIDTH - full, "", (int)(done * 100));
        fflush(stderr);
        b->drawn = t + 0.1;
        b->shown = true;
    }
    return !interrupted();
}

void progress_end(progress_bar *b) {
    if (b->shown) fputs("\r\033[K", stderr);
    *b = (progress_bar){0};
}
