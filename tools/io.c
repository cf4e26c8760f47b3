#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "options.h"

/* ---- Streams and files ---- */

/* The folder that a path is in, with its slash; to be freed. */
static char *folder_of(const char *path) {
    return file_part(path) == path ? strdup("./") : strndup(path, (size_t)(file_part(path) - path));
}

static bool is_same(const struct stat *s, const struct stat *t) {
    return s->st_dev == t->st_dev && s->st_ino == t->st_ino;
}

/* Also of files that are not there yet: the same name in the same folder. */
static bool same_file(const char *a, const char *b) {
    struct stat s, t;
    bool there = stat(a, &s) == 0, also = stat(b, &t) == 0;
    if (there || also) return there && also && is_same(&s, &t);
    char *in = folder_of(a), *of = folder_of(b);
    bool same = in && of && strcmp(file_part(a), file_part(b)) == 0 && stat(in, &s) == 0 &&
                stat(of, &t) == 0 && is_same(&s, &t);
    free(in);
    free(of);
    return same;
}

/* Files are written beside their place, which a link to nothing has not; devices and pipes themselves. */
static bool can_write(const char *out) {
    struct stat st;
    bool is_there = stat(out, &st) == 0;
    if (is_there ? access(out, W_OK) != 0 : lstat(out, &st) == 0) return false;
    if (is_there && S_ISDIR(st.st_mode)) {
        errno = EISDIR;
        return false;
    }
    if (is_there && !S_ISREG(st.st_mode)) return true;
    char *target = is_there ? realpath(out, NULL) : strdup(out);
    char *folder = target ? folder_of(target) : NULL;
    bool can = folder && access(folder, W_OK | X_OK) == 0;
    free(target);
    free(folder);
    return can;
}

int check_out(const char *out, const input_file *in, size_t n_in) {
    struct stat st;
    bool device = stat(out, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
    for (size_t i = 0; i < n_in && !device; i++) /* nothing is lost in one */
        if (in[i].path && same_file(in[i].path, out))
            return fail("%s is the %s itself", out, in[i].what);
    return can_write(out) ? EXIT_DONE : fail("cannot write %s: %s", out, strerror(errno));
}

int check_regular_out(const char *out, const input_file *in, size_t n_in) {
    struct stat st;
    if (lstat(out, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return fail("%s is no regular file", out);
    return check_out(out, in, n_in);
}

void hold_standard_streams(void) {
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) != -1) continue;
        /* opened the wrong way round, so that its use fails as that of a closed one does */
        if (open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd) return;
    }
}

/* Would read() return within the time? */
static bool is_ready(int fd, int milliseconds) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, milliseconds) != 0;
}

/* read(), when there is something to read: a Ctrl-C does not end it, nor would one just before. */
static ssize_t read_ready(int fd, void *data, size_t n) {
    while (!interrupted() && !is_ready(fd, 100)) continue;
    return interrupted() ? -1 : read(fd, data, n);
}

static char *read_fd(int fd, const char *name, size_t *n_bytes) {
    size_t n = 0, capacity = 1 << 16;
    char *data = malloc(capacity);
    while (data) {
        ssize_t got = read_ready(fd, data + n, capacity - n);
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

bool lines_open(line_reader *r, const char *path) {
    *r = (line_reader){.fd = STDIN_FILENO, .name = "standard input"};
    if (!path || strcmp(path, "-") == 0) return true;
    r->name = path;
    r->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (r->fd == -1) fail("%s: %s", path, strerror(errno));
    return r->fd != -1;
}

void lines_close(line_reader *r) {
    if (r->fd > STDIN_FILENO) close(r->fd);
    free(r->data);
    *r = (line_reader){.fd = -1};
}

/* Room behind `end`: what was given out goes, then the buffer grows. */
static bool make_room(line_reader *r) {
    if (r->begin > 0) memmove(r->data, r->data + r->begin, r->end - r->begin);
    r->end -= r->begin;
    r->begin = 0;
    if (r->end < r->capacity) return true;
    size_t capacity = r->capacity > 0 ? 2 * r->capacity : 1 << 16;
    char *data = capacity <= LINE_LIMIT ? realloc(r->data, capacity) : NULL;
    if (!data) {
        fail("%s, line %zu: %s %zu bytes", r->name, r->n_lines + 1,
             capacity <= LINE_LIMIT ? "no memory for more than" : "longer than", r->capacity);
        return false;
    }
    r->data = data;
    r->capacity = capacity;
    return true;
}

static bool read_more(line_reader *r) {
    if (!make_room(r)) return false;
    ssize_t got = read_ready(r->fd, r->data + r->end, r->capacity - r->end);
    if (interrupted()) return false;
    if (got < 0) {
        if (errno == EINTR) return true;
        fail("%s: %s", r->name, strerror(errno));
        return false;
    }
    r->end += (size_t)got;
    r->ended = got == 0;
    return true;
}

line_status lines_next(line_reader *r, bool wait, const char **line, size_t *n_bytes) {
    for (;;) {
        size_t left = r->end - r->begin, here = left;
        char *p = left > 0 ? r->data + r->begin : NULL;
        char *newline = p ? memchr(p + r->searched, '\n', left - r->searched) : NULL;
        if (newline) here = (size_t)(newline - p);
        bool full = left == LINE_LIMIT && !newline && r->pass_long;
        if (full || (r->passing && (newline || r->ended))) { /* its begin, or its end */
            r->begin += here + (newline != NULL);
            r->searched = 0;
            r->passing = full;
            if (full) continue;
            r->n_lines++;
            return LINE_LONG;
        }
        if (r->passing) { /* its middle */
            r->begin = r->end;
            left = 0;
        }
        if (newline || (r->ended && left > 0)) {
            *line = p;
            *n_bytes = newline && here > 0 && newline[-1] == '\r' ? here - 1 : here;
            r->begin += here + (newline != NULL);
            r->searched = 0;
            r->n_lines++;
            return LINE_IS;
        }
        r->searched = left;
        if (r->ended) return LINE_NONE;
        if (!wait && !is_ready(r->fd, 0)) return LINE_LATER;
        if (!read_more(r)) return LINE_FAILED;
    }
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

/* SA_RESTART: what is being written is written. */
void catch_interrupt(void) {
    struct sigaction action = {.sa_handler = on_interrupt,
                               .sa_flags = (int)SA_RESETHAND | SA_RESTART};
    sigaction(SIGINT, &action, NULL);
}

bool interrupted(void) { return interrupt_seen; }

void clear_interrupt(void) {
    interrupt_seen = 0;
    catch_interrupt();
}

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
