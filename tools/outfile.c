#include "outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "options.h"

static int failed_to_write(out_file *f) {
    int code = fail("cannot write %s: %s", f->path, strerror(errno));
    free(f->target);
    free(f->temporary);
    *f = (out_file){0};
    return code;
}

/* What the process masks is for new files. */
static mode_t mode_of_new(void) {
    mode_t mask = umask(0);
    umask(mask);
    return 0666 & ~mask;
}

/* A name that nobody knows before, and a file that was not there. */
static FILE *create_beside(out_file *f, mode_t mode) {
    if (asprintf(&f->temporary, "%s.XXXXXX", f->target) < 0) {
        f->temporary = NULL;
        return NULL;
    }
    int fd = mkostemp(f->temporary, O_CLOEXEC);
    if (fd < 0) return NULL;
    FILE *out = fchmod(fd, mode) == 0 ? fdopen(fd, "w") : NULL;
    if (out) return out;
    int error = errno;
    close(fd);
    unlink(f->temporary);
    errno = error;
    return NULL;
}

int out_open(out_file *f, const char *path) {
    struct stat st;
    bool is_there = stat(path, &st) == 0;
    *f = (out_file){.path = path};
    /* a link to nothing stays; what must not be written is not replaced */
    if (is_there ? access(path, W_OK) != 0 : lstat(path, &st) == 0) return failed_to_write(f);
    if (is_there && !S_ISREG(st.st_mode)) {
        f->out = fopen(path, "w");
    } else {
        f->target = is_there ? realpath(path, NULL) : strdup(path);
        if (f->target) f->out = create_beside(f, is_there ? st.st_mode & 07777 : mode_of_new());
    }
    return f->out ? EXIT_DONE : failed_to_write(f);
}

/* To the disk, where the file system can do that: a name must not be of a file that a loss of power leaves empty. */
static bool store(FILE *out) {
    if (fflush(out) != 0 || ferror(out)) return false;
    return fsync(fileno(out)) == 0 || errno == EINVAL || errno == ENOSYS || errno == EROFS;
}

int out_close(out_file *f, bool good) {
    bool written = store(f->out);
    int error = errno;
    if (fclose(f->out) != 0 && written) written = false, error = errno;
    if (f->temporary && good && written && rename(f->temporary, f->target) != 0)
        written = false, error = errno;
    if (f->temporary && !(good && written)) unlink(f->temporary);
    errno = error;
    if (!written) return failed_to_write(f);
    free(f->target);
    free(f->temporary);
    *f = (out_file){0};
    return EXIT_DONE;
}
