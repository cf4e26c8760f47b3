/* A file that is there whole or not at all: written under another name beside its place, then renamed. */
#ifndef SLM_OUTFILE_H
#define SLM_OUTFILE_H

#include "base.h"

typedef struct slm__outfile {
    const slm_allocator *allocator;
    const char *path;
    char *temporary;
    int fd;
    uint64_t n_written, n_begun; /* bytes; of them, on their way to the disk */
} slm__outfile;

/* `mode`: permissions, less those that the process masks or, where a file is replaced, that it does not have. A device, a folder or a link is not replaced by a file. `path` and
 * `allocator` outlive the outfile. On failure nothing is held. IO, NOMEM. */
slm_status slm__outfile_create(slm__outfile *f, const char *path, uint32_t mode,
                               const slm_allocator *allocator, slm_error *err);

/* All n bytes, behind those before. IO. */
slm_status slm__outfile_write(slm__outfile *f, const void *data, uint64_t n, slm_error *err);

/* The end, in any case. With `status` SLM_OK the file, stored by the system (fsync), takes its name; otherwise, or if that fails,
 * nothing is left of it and what had that name before is untouched. Returns `status`, or IO. */
slm_status slm__outfile_finish(slm__outfile *f, slm_status status, slm_error *err);

#endif
