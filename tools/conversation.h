/* The messages of a conversation. */
#ifndef TOOLS_CONVERSATION_H
#define TOOLS_CONVERSATION_H

#include <stdbool.h>
#include <stddef.h>

#include "../include/slm.h"

/* Begin with {0}. */
typedef struct conversation {
    slm_message *messages; /* [n] of [capacity]; all texts are malloc()ed */
    size_t n, capacity;
} conversation;

/* Before message `at`. False without memory. */
bool conversation_insert(conversation *c, size_t at, const char *role, const char *text, size_t n);
void conversation_forget(conversation *c, size_t at);
void conversation_forget_all(conversation *c);
void conversation_free(conversation *c);

bool conversation_has_system(const conversation *c);

/* In place of the system message that there is; an empty text: none. False without memory. */
bool conversation_set_system(conversation *c, const char *text);

/* A JSON array of {"role": ..., "content": ...}. False after a message; the conversation is then as before. */
bool conversation_load(conversation *c, const char *path);

#endif
