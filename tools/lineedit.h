/* What a person types, or a program writes: messages of a conversation, of one line or several. */
#ifndef TOOLS_LINEEDIT_H
#define TOOLS_LINEEDIT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct line_editor line_editor;

typedef enum input_status {
    INPUT_IS,
    INPUT_END,     /* Ctrl-D, or the end of the file */
    INPUT_DROPPED, /* Ctrl-C: what was typed is forgotten */
    INPUT_FAILED,  /* after a message */
} input_status;

/* On a terminal lines can be edited, and earlier ones come back with the arrow up; they are kept in the file `history`, which only its owner can
 * read (NULL: not kept). Otherwise standard input is read line by line. NULL after a message. */
line_editor *editor_open(const char *history);
void editor_close(line_editor *e);

/* A message: a line, of which a '\' at the end says that it goes on in the next one; or the lines between two lines that are """. *text stays until the next call. */
input_status editor_read(line_editor *e, const char **text, size_t *n);

bool editor_is_terminal(const line_editor *e);

#endif
