/* What every file of the library uses: errors, checked arithmetic, memory, strings of the mapping. */
#ifndef SLM_BASE_H
#define SLM_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../include/slm.h"

#define SLM_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Errors ---- */

/* Store status and message (printf-like) in `err`, which may be NULL, and return the status. */
slm_status slm__fail(slm_error *err, slm_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Begin of a public call: an empty error. */
void slm__clear(slm_error *err);

/* Pass a failure on. */
#define SLM_TRY(expr)                                  \
    do {                                               \
        slm_status try_status_ = (expr);               \
        if (try_status_ != SLM_OK) return try_status_; \
    } while (0)

/* Bytes of a file that are not NUL-terminated. */
typedef struct slm__str {
    const char *ptr;
    size_t len;
} slm__str;

bool slm__str_eq(slm__str a, const char *b);

/* By bytes; of a string and its beginning, this first. */
int slm__str_compare(slm__str a, slm__str b);

/* A file's bytes made fit for a message: printable ASCII as it is, the rest as \xNN, cut with "..." */
typedef struct slm__shown {
    char text[100];
} slm__shown;

slm__shown slm__show(slm__str s);

/* ---- Checked arithmetic: false on overflow, *out is then undefined ---- */

static inline bool slm__mul(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}

static inline bool slm__add(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

/* ---- Memory ---- */

/* Zeroed, aligned to 64 bytes; n == 0 gives a valid pointer too. NULL if there is none. */
void *slm__alloc(const slm_allocator *a, uint64_t n_bytes);

/* Zeroed array of `n` elements of `size` bytes, the product checked. */
void *slm__alloc_array(const slm_allocator *a, uint64_t n, uint64_t size);

/* The same for a table of which slots are looked at before they are filled, here and there: its pages are written already, large ones
 * if the system has them. */
void *slm__alloc_table(const slm_allocator *a, uint64_t n, uint64_t size);

/* Ask the system for large pages there. Memory that is read or written here and there costs a miss at each place with small ones. It is
 * a wish, and whole large pages only: what lies around belongs to others. */
void slm__ask_for_large_pages(void *data, uint64_t n_bytes);

/* ARGUMENT unless both functions are there or neither. */
slm_status slm__check_allocator(const slm_allocator *a, slm_error *err);

/* RANGE, with the name of the parameter, unless min <= value <= max. */
slm_status slm__check_range(const char *name, int64_t value, int64_t min, int64_t max,
                            slm_error *err);

/* Neither NaN nor infinity among the n. */
bool slm__all_finite(const float *x, int64_t n);

/* Accepts NULL. */
void slm__free(const slm_allocator *a, void *ptr);

/* Bytes that slm__alloc(n_bytes) takes from the caller's allocator. */
uint64_t slm__alloc_cost(uint64_t n_bytes);

/* FNV-1a, for the hash tables of keys and tokens. */
static inline uint32_t slm__hash(const void *data, size_t n) {
    const uint8_t *p = data;
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 16777619u;
    return h;
}

#endif
