/* What holds for every file that is opened, good or bad: an orderly error, nothing held, little taken, no time lost. */
#ifndef TESTS_STRICT_H
#define TESTS_STRICT_H

#include <stddef.h>

#include "../../include/slm.h"

/* A copy in a block of exactly n bytes, aligned to 64: a sanitizer sees a read past its end. To be freed. */
void *strict_copy(const void *data, size_t n);

/* Monotonic. */
double strict_seconds(void);

/* `err` has this status and one line of printable ASCII. */
void strict_message(const slm_error *err, slm_status s);

/* slm__gguf_parse() of a strict copy, then closed. Fails the test on a leak, on more than 16 MiB + 2 n bytes taken, on
 * more than a second, on a bad message, or on something left in the struct. */
slm_status strict_parse(const void *data, size_t n, slm_error *err);

/* slm_model_open_memory(), everything asked that can be asked, closed. `data` stays where it is; params may be NULL. */
slm_status strict_open(const void *data, size_t n, const slm_model_params *params, slm_error *err);

/* Are the tests built with sanitizers? They take ten times as long then, so some do less. */
bool sanitized(void);

#endif
