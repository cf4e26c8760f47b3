/* Which tensors get which types: from the command line (--tensor PATTERN=TYPE), and from and to files with a line for each. */
#ifndef TOOLS_PLAN_H
#define TOOLS_PLAN_H

#include "options.h"

/* Begin with {0}. */
typedef struct choice_list {
    slm_tensor_choice *v; /* [n], with texts of their own */
    int32_t n;
    size_t capacity;
} choice_list;

void choices_free(choice_list *list);

/* Those of --tensor. EXIT_DONE, or the code to exit with after a message. */
int choices_parse(choice_list *list, const command *self, const text_list *texts);

/* Those in a file, behind what is there: PATTERN=TYPE, a line each; empty lines and those that begin with # say nothing. EXIT_DONE, or
 * EXIT_FAILED after a message. */
int plan_read(choice_list *list, const char *path);

/* Such a file of all tensors that a choice can name, and a remark with the TYPE for all others. EXIT_DONE, or EXIT_FAILED after a message. */
int plan_write(const char *path, const slm_quantizer *q);

#endif
