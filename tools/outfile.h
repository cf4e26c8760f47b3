/* A file that is there whole or not at all: written under another name beside its place, then renamed. So does the library with the files
 * that it writes; this is for those of the program. */
#ifndef TOOLS_OUTFILE_H
#define TOOLS_OUTFILE_H

#include <stdbool.h>
#include <stdio.h>

typedef struct out_file {
    FILE *out;        /* to write to                                                   */
    const char *path; /* as it was given                                               */
    char *target;     /* behind links                                                  */
    char *temporary;  /* NULL: a device or a pipe, which nothing else can take place of */
} out_file;

/* `path`, which outlives it, keeps what it has until out_close(): the old file, and its permissions. EXIT_DONE; EXIT_FAILED after a message,
 * and nothing is held. */
int out_open(out_file *f, const char *path);

/* In any case. The new file takes its name if all could be written and `good` says so; else there is nothing of it. EXIT_DONE; EXIT_FAILED
 * after a message if it could not be written. */
int out_close(out_file *f, bool good);

#endif
