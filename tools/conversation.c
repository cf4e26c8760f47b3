#include "conversation.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "grow.h"
#include "options.h"

void conversation_forget(conversation *c, size_t at) {
    free((char *)c->messages[at].role);
    free((char *)c->messages[at].content);
    memmove(c->messages + at, c->messages + at + 1, (c->n - at - 1) * sizeof *c->messages);
    c->n--;
}

void conversation_forget_all(conversation *c) {
    while (c->n > 0) conversation_forget(c, c->n - 1);
}

void conversation_free(conversation *c) {
    conversation_forget_all(c);
    free(c->messages);
}

bool conversation_insert(conversation *c, size_t at, const char *role, const char *text, size_t n) {
    slm_message *more = grow(c->messages, c->n + 1, &c->capacity, sizeof *more);
    if (!more) return false;
    c->messages = more;
    char *own_role = strdup(role), *own_text = malloc(n + 1);
    if (!own_role || !own_text) {
        free(own_role);
        free(own_text);
        return false;
    }
    memcpy(own_text, text, n);
    own_text[n] = '\0';
    memmove(c->messages + at + 1, c->messages + at, (c->n - at) * sizeof *c->messages);
    c->messages[at] = (slm_message){own_role, own_text, n};
    c->n++;
    return true;
}

bool conversation_has_system(const conversation *c) {
    return c->n > 0 && strcmp(c->messages[0].role, "system") == 0;
}

bool conversation_set_system(conversation *c, const char *text) {
    if (conversation_has_system(c)) conversation_forget(c, 0);
    return !*text || conversation_insert(c, 0, "system", text, strlen(text));
}

bool conversation_load(conversation *c, const char *path) {
    json_error_t why;
    json_t *list = json_load_file(path, JSON_ALLOW_NUL, &why);
    conversation read = {0};
    bool ok = json_is_array(list);
    size_t i;
    json_t *m;
    json_array_foreach(list, i, m) {
        json_t *role = json_object_get(m, "role"), *content = json_object_get(m, "content");
        ok = ok && json_is_string(role) && json_is_string(content) &&
             conversation_insert(&read, read.n, json_string_value(role), json_string_value(content),
                                 json_string_length(content));
    }
    if (!list)
        warn("%s: %s", path, why.text);
    else if (!ok)
        warn("%s is no conversation: a JSON array of {\"role\": ..., \"content\": ...}", path);
    json_decref(list);
    if (list && ok) {
        conversation old = *c;
        *c = read;
        read = old;
    }
    conversation_free(&read);
    return list && ok;
}
