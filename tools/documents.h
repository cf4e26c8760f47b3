/* Documents of slm extract: a line of JSON in, a prompt; a line of JSON out, in the same order, whatever happens between. */
#ifndef TOOLS_DOCUMENTS_H
#define TOOLS_DOCUMENTS_H

#include <stdint.h>

#include "io.h"

/* ---- In ---- */

typedef struct document {
    int64_t line; /* of the input, from 1; blank lines are no documents */
    char *id;     /* JSON: the member "id", or the number of the line   */
    char *prompt; /* [n_prompt]; NULL: `error` says why                 */
    size_t n_prompt;
    char *error;
} document;

/* The prompt of a line: `form`, in which {{name}} stands for the line's member of that name (a string as it is, other values as
 * JSON) and {{schema}} for `schema`. A line that is a string counts as {"text": ...}. False without memory. */
bool document_read(const char *line, size_t n, int64_t number, const char *form, const char *schema,
                   document *out);

/* One that cannot be read. */
bool document_refused(int64_t number, const char *why, document *out);
void document_free(document *d);

/* ---- Out ---- */

/* Lines wait here until all before them are written, each in one piece. */
typedef struct ordered_output {
    int fd;
    const char *path;
    int64_t n_bytes; /* of whole lines that were there before; -1: no regular file */
    char **
        lines; /* [n_lines] a ring: what is finished of n_written, n_written + 1, ...; NULL: not yet */
    int32_t n_lines;
    int64_t n_written;
} ordered_output;

/* EXIT_DONE, or a code after a message, here and below. */

/* Open the file, for this process alone, and count its whole lines: documents that are done, n_written of them; with `restart` none are. It is
 * not changed yet. At most `n_lines` documents may be ahead of the first that is not written. Fails if it is the same file as `input` (a
 * descriptor). */
int output_open(ordered_output *o, const char *path, bool restart, int32_t n_lines, int input);

/* Is the next line of what was there before the result of this document? */
int output_check(const ordered_output *o, line_reader *written, const document *d);

/* What is behind the whole lines goes: half a line of a program that was killed, or all if it begins anew. */
int output_begin(ordered_output *o);

/* Take over `line` (malloc), the one of document `index`. */
int output_put(ordered_output *o, int64_t index, char *line);
void output_close(ordered_output *o);

#endif
