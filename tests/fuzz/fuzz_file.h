/* For fuzzers of what is written: a folder for one file, in memory where there is such a file system. It goes at the end. */
#ifndef TESTS_FUZZ_FILE_H
#define TESTS_FUZZ_FILE_H

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

static char fuzz_folder[32], fuzz_path[48];

static void fuzz_remove(void) {
    unlink(fuzz_path);
    rmdir(fuzz_folder);
}

static inline void fuzz_make_folder(void) {
    if (fuzz_folder[0]) return;
    strcpy(fuzz_folder, access("/dev/shm", W_OK) == 0 ? "/dev/shm/slm_XXXXXX" : "/tmp/slm_XXXXXX");
    require(mkdtemp(fuzz_folder));
    snprintf(fuzz_path, sizeof fuzz_path, "%s/file", fuzz_folder);
    atexit(fuzz_remove);
}

/* Bytes of the file, which is the only one; -1: there is none. */
static inline int64_t fuzz_file_bytes(void) {
    struct stat st;
    int n = -2;
    DIR *folder = opendir(fuzz_folder);
    require(folder);
    while (readdir(folder)) n++;
    closedir(folder);
    bool is_there = stat(fuzz_path, &st) == 0;
    require(n == is_there);
    return is_there ? (int64_t)st.st_size : -1;
}

#endif
