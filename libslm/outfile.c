#include "outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_NAMES = 1000, NAME_MORE = 16, STORE_AT_ONCE = 8 << 20 };

static slm_status io_failed(const char *path, slm_error *err) {
    int error = errno;
    slm__shown shown = slm__show((slm__str){path, strlen(path)});
    errno = error;
    return slm__fail(err, SLM_ERR_IO, "%s: %m", shown.text);
}

/* *mode becomes what a file that is there allows, of that. */
static slm_status check_place(const char *path, uint32_t *mode, bool *is_there, slm_error *err) {
    struct stat st;
    *is_there = false;
    if (!*path) return slm__fail(err, SLM_ERR_IO, "the path is empty");
    if (lstat(path, &st) != 0) return errno == ENOENT ? SLM_OK : io_failed(path, err);
    *is_there = true;
    *mode &= (uint32_t)st.st_mode;
    if (S_ISREG(st.st_mode)) return SLM_OK;
    return slm__fail(err, SLM_ERR_IO, "%s is no regular file",
                     slm__show((slm__str){path, strlen(path)}).text);
}

/* The first name that is free: who creates a file has it, also among several processes. */
static int create_beside(slm__outfile *f, uint32_t mode) {
    int fd = -1;
    for (int i = 0; i < MOST_NAMES; i++) {
        snprintf(f->temporary, strlen(f->path) + NAME_MORE, "%s.part%d", f->path, i);
        do fd = open(f->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode);
        while (fd < 0 && errno == EINTR);
        if (fd >= 0 || errno != EEXIST) break;
    }
    return fd;
}

slm_status slm__outfile_create(slm__outfile *f, const char *path, uint32_t mode,
                               const slm_allocator *allocator, slm_error *err) {
    *f = (slm__outfile){.allocator = allocator, .path = path, .fd = -1};
    bool is_there;
    SLM_TRY(check_place(path, &mode, &is_there, err));
    f->temporary = slm__alloc(allocator, (uint64_t)strlen(path) + NAME_MORE);
    if (!f->temporary) return slm__fail(err, SLM_ERR_NOMEM, "no memory to write a file");
    f->fd = create_beside(f, mode);
    /* what the process masks is for new files */
    if (f->fd >= 0 && (!is_there || fchmod(f->fd, (mode_t)mode) == 0)) return SLM_OK;
    slm_status status = io_failed(path, err);
    if (f->fd >= 0) {
        close(f->fd);
        unlink(f->temporary);
    }
    slm__free(allocator, f->temporary);
    return status;
}

/* The disk may begin with what there is, so that little is left to wait for at the end. Whether it does is its own matter. */
static void start_storing(slm__outfile *f) {
    if (f->n_written - f->n_begun < STORE_AT_ONCE) return;
#ifdef SYNC_FILE_RANGE_WRITE
    sync_file_range(f->fd, (off_t)f->n_begun, (off_t)(f->n_written - f->n_begun),
                    SYNC_FILE_RANGE_WRITE);
#endif
    f->n_begun = f->n_written;
}

/* The system may take fewer bytes at a time. */
slm_status slm__outfile_write(slm__outfile *f, const void *data, uint64_t n, slm_error *err) {
    const uint8_t *at = data;
    while (n > 0) {
        ssize_t done = write(f->fd, at, (size_t)n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return io_failed(f->path, err);
        at += done;
        n -= (uint64_t)done;
        f->n_written += (uint64_t)done;
    }
    start_storing(f);
    return SLM_OK;
}

/* To the disk, where the file system can do that. */
static bool store(int fd) {
    int failed;
    do failed = fsync(fd);
    while (failed && errno == EINTR);
    return !failed || errno == EINVAL || errno == ENOSYS;
}

slm_status slm__outfile_finish(slm__outfile *f, slm_status status, slm_error *err) {
    if (status == SLM_OK && !store(f->fd)) status = io_failed(f->path, err);
    if (close(f->fd) != 0 && status == SLM_OK) status = io_failed(f->path, err);
    if (status == SLM_OK && rename(f->temporary, f->path) != 0) status = io_failed(f->path, err);
    if (status != SLM_OK) unlink(f->temporary);
    slm__free(f->allocator, f->temporary);
    f->fd = -1;
    return status;
}
