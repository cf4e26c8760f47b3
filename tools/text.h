/* Bytes of a file made fit for people and for JSON. */
#ifndef TOOLS_TEXT_H
#define TOOLS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Bytes of the well-formed UTF-8 code point at the start of s[0 .. n-1], stored in *code; 0 if there is none. */
size_t utf8_decode(const char *s, size_t n, uint32_t *code);

/* The same for a page: never 0. Bytes that are no UTF-8 count one by one and are U+FFFD, like what would do something instead of being
 * seen: controls but \n and \t, marks that turn the direction of text, code points that no document may hold. */
size_t utf8_visible(const char *s, size_t n, uint32_t *code);

/* For a terminal: control characters and invalid bytes as \xNN, \n, \t; backslash and quote escaped too. At most
 * `max` characters are printed, then "...". Returns how many were printed. */
size_t print_escaped(FILE *out, const char *s, size_t n, size_t max);

/* ---- JSON: a value or a name at a time, commas come by themselves. Begin with {.out = stdout}. ---- */

typedef struct json {
    FILE *out;
    bool comma; /* a value stands before */
} json;

void json_open(json *j, char bracket); /* '{' or '[' */
void json_close(json *j, char bracket);
void json_name(json *j, const char *name);         /* plain ASCII */
void json_bytes(json *j, const char *s, size_t n); /* any bytes; invalid UTF-8 becomes U+FFFD */
void json_text(json *j, const char *s);            /* NUL-terminated; NULL: null */
void json_int(json *j, int64_t value);
void json_u64(json *j, uint64_t value);
void json_double(json *j, double value); /* null if it is not finite */
void json_bool(json *j, bool value);
void json_number(json *j, const char *s,
                 size_t n); /* as it is if it is one in JSON, else as a string */

/* A name and its value. */
void json_named_open(json *j, const char *name, char bracket);
void json_named_bytes(json *j, const char *name, const char *s, size_t n);
void json_named_text(json *j, const char *name, const char *s);
void json_named_int(json *j, const char *name, int64_t value);
void json_named_u64(json *j, const char *name, uint64_t value);
void json_named_double(json *j, const char *name, double value);

#endif
