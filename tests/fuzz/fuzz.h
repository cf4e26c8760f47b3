/* What every fuzzer shares. A fuzzer is a function of bytes; libFuzzer calls it with bytes that it invents, replay.c with
 * those of the corpus. A broken promise ends the process: require(). */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../include/slm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define require(condition)                                                        \
    do {                                                                          \
        if (condition) break;                                                     \
        fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
        abort();                                                                  \
    } while (0)

/* An allocator with an end: so much in all, and no block after the n-th. */
typedef struct fuzz_memory {
    size_t left;
    uint32_t calls_left;
    uint32_t n_live;
} fuzz_memory;

static inline void *fuzz_alloc(void *user, size_t n) {
    fuzz_memory *m = user;
    if (n > m->left || m->calls_left == 0) return NULL;
    max_align_t *p = malloc(sizeof *p + n);
    if (!p) return NULL;
    memcpy(p, &n, sizeof n);
    m->left -= n;
    m->calls_left--;
    m->n_live++;
    return p + 1;
}

static inline void fuzz_free(void *user, void *ptr) {
    fuzz_memory *m = user;
    max_align_t *p = (max_align_t *)ptr - 1;
    size_t n;
    memcpy(&n, p, sizeof n);
    m->left += n;
    m->n_live--;
    free(p);
}

static inline slm_allocator fuzz_allocator(fuzz_memory *m) {
    return (slm_allocator){fuzz_alloc, fuzz_free, m};
}

/* A copy that ends where its block ends, aligned as a mapping is. */
static inline void *fuzz_copy(const uint8_t *data, size_t n) {
    void *p;
    require(posix_memalign(&p, 64, n ? n : 1) == 0);
    if (n) memcpy(p, data, n);
    return p;
}

/* A number that follows from the input: for choices that are not part of the format. */
static inline uint32_t fuzz_choice(const uint8_t *data, size_t n) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++) h = (h ^ data[i]) * 16777619u;
    return h ^ h >> 15;
}

/* The error agrees with the status and is one line of text. */
static inline void fuzz_error(slm_status s, const slm_error *err) {
    require(err->status == s);
    size_t n = strnlen(err->message, sizeof err->message);
    require(n < sizeof err->message && (n > 0) == (s != SLM_OK));
    for (size_t i = 0; i < n; i++) require(err->message[i] >= 0x20 && err->message[i] < 0x7f);
}

#endif
