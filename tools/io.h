/* Files, standard streams, and what happens while one waits: a bar on a terminal, Ctrl-C. */
#ifndef TOOLS_IO_H
#define TOOLS_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* A path behind its last slash; "" for NULL. */
static inline const char *file_part(const char *path) {
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : path ? path : "";
}

/* Once, at the start: a closed standard stream must not become the first file that is opened. */
void hold_standard_streams(void);

/* All bytes of the file, or of standard input if `path` is NULL or "-", to be freed by the caller. NULL after a message;
 * NULL and no message after Ctrl-C. */
char *read_all(const char *path, size_t *n_bytes);

/* What would only fail at the end of long work, or harm: no file can be written at `out`, or it is one of those that are read, by links or
 * other names, too. A path that is NULL or of no file is passed over. EXIT_DONE, or EXIT_FAILED after a message. */
typedef struct input_file {
    const char *path, *what; /* "model" */
} input_file;
int check_out(const char *out, const input_file *in, size_t n_in);

/* The same for what the library writes, which takes the place of regular files only, not of links and devices. */
int check_regular_out(const char *out, const input_file *in, size_t n_in);

/* A file or standard input line by line. Memory is that of the longest line, LINE_LIMIT bytes at most. */
enum { LINE_LIMIT = 16 << 20 };
typedef struct line_reader {
    int fd;
    const char *name; /* for messages */
    char *data;       /* [capacity]; read and not given out yet: from `begin` to `end` */
    size_t begin, end, capacity;
    size_t searched; /* bytes from `begin` on without a newline */
    size_t n_lines;  /* that were given out */
    bool pass_long;  /* set by the owner: longer lines are LINE_LONG and no failure */
    bool passing;    /* one of them: its end was not seen yet */
    bool ended;
} line_reader;

typedef enum line_status {
    LINE_IS,     /* a line, without its end (LF or CR LF); it stays until the next call           */
    LINE_LATER,  /* only if asked not to wait: there is none yet                                  */
    LINE_NONE,   /* the end                                                                       */
    LINE_LONG,   /* only with pass_long: a line above the limit, which was passed over            */
    LINE_FAILED, /* a message was given; after Ctrl-C: none                                       */
} line_status;

/* NULL or "-": standard input. false after a message. */
bool lines_open(line_reader *r, const char *path);
line_status lines_next(line_reader *r, bool wait, const char **line, size_t *n_bytes);
void lines_close(line_reader *r);

/* Flush stdout. Returns EXIT_DONE; EXIT_FAILED after a message if anything could not be written. */
int finish_output(void);

/* Ctrl-C: the first one sets a flag that loops look at, the second one ends the program as usual. */
void catch_interrupt(void);
bool interrupted(void);
void clear_interrupt(void); /* and catch the next one */

/* Seconds, of a clock that only goes forward. */
double now(void);

/* A bar on stderr, shown only on a terminal and only if it takes a moment. Begin with {.label = "..."}. */
typedef struct progress_bar {
    const char *label; /* NULL: nothing is shown */
    double started, drawn;
    bool shown;
} progress_bar;

/* An slm_progress_fn; `bar` is a progress_bar. Returns false after Ctrl-C. */
bool progress_update(void *bar, float done);

/* Take the bar off the screen, and show none from now on. */
void progress_end(progress_bar *bar);

#endif
