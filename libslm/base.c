#include "base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

const char *slm_version(void) { return "0.1.0"; }

const char *slm_status_name(slm_status status) {
    static const char *const names[] = {
        [SLM_OK] = "SLM_OK",
        [SLM_ERR_ARGUMENT] = "SLM_ERR_ARGUMENT",
        [SLM_ERR_RANGE] = "SLM_ERR_RANGE",
        [SLM_ERR_NOMEM] = "SLM_ERR_NOMEM",
        [SLM_ERR_IO] = "SLM_ERR_IO",
        [SLM_ERR_TRUNCATED] = "SLM_ERR_TRUNCATED",
        [SLM_ERR_FORMAT] = "SLM_ERR_FORMAT",
        [SLM_ERR_UNSUPPORTED] = "SLM_ERR_UNSUPPORTED",
        [SLM_ERR_LIMIT] = "SLM_ERR_LIMIT",
        [SLM_ERR_TYPE] = "SLM_ERR_TYPE",
        [SLM_ERR_MISMATCH] = "SLM_ERR_MISMATCH",
        [SLM_ERR_NUMERIC] = "SLM_ERR_NUMERIC",
        [SLM_ERR_BUFFER] = "SLM_ERR_BUFFER",
        [SLM_ERR_CONTEXT_FULL] = "SLM_ERR_CONTEXT_FULL",
        [SLM_ERR_CANCELLED] = "SLM_ERR_CANCELLED",
        [SLM_ERR_BUSY] = "SLM_ERR_BUSY",
        [SLM_ERR_CHANGED] = "SLM_ERR_CHANGED",
    };
    return (size_t)status < SLM_COUNT(names) ? names[status] : "SLM_ERR_?";
}

/* ---- Errors ---- */

slm_status slm__fail(slm_error *err, slm_status status, const char *format, ...) {
    if (!err) return status;
    err->status = status;
    va_list args;
    va_start(args, format);
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    return status;
}

void slm__clear(slm_error *err) {
    if (!err) return;
    err->status = SLM_OK;
    err->message[0] = '\0';
}

bool slm__str_eq(slm__str a, const char *b) {
    size_t n = strlen(b);
    return a.len == n && memcmp(a.ptr, b, n) == 0;
}

int slm__str_compare(slm__str a, slm__str b) {
    int d = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);
    return d ? d : (a.len > b.len) - (a.len < b.len);
}

slm__shown slm__show(slm__str s) {
    static const char hex[] = "0123456789abcdef";
    slm__shown out;
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (n + 8 > sizeof out.text) { /* room for one \xNN, "..." and the end */
            memcpy(out.text + n, "...", 3);
            n += 3;
            break;
        }
        unsigned char c = (unsigned char)s.ptr[i];
        if (c >= 0x20 && c < 0x7f && c != '\\') {
            out.text[n++] = (char)c;
        } else {
            out.text[n++] = '\\';
            out.text[n++] = 'x';
            out.text[n++] = hex[c >> 4];
            out.text[n++] = hex[c & 15];
        }
    }
    out.text[n] = '\0';
    return out;
}

/* ---- Memory ---- */

enum { ALIGN = 64 };

uint64_t slm__alloc_cost(uint64_t n_bytes) { return n_bytes + ALIGN + sizeof(void *); }

/* The caller's allocator aligns as malloc does; the block is moved up to the next 64 bytes and the pointer
 * that the allocator gave is kept just below it. */
void *slm__alloc(const slm_allocator *a, uint64_t n_bytes) {
    if (n_bytes > SIZE_MAX - ALIGN - sizeof(void *)) return NULL;
    size_t n = (size_t)slm__alloc_cost(n_bytes);
    void *raw;
    if (a->alloc) {
        raw = a->alloc(a->user, n);
        if (raw) memset(raw, 0, n);
    } else {
        raw = calloc(1, n); /* untouched pages stay unmapped: a KV cache costs what is used of it */
    }
    if (!raw) return NULL;
    uintptr_t p = ((uintptr_t)raw + sizeof(void *) + ALIGN - 1) & ~(uintptr_t)(ALIGN - 1);
    memcpy((void *)(p - sizeof(void *)), &raw, sizeof raw);
    return (void *)p;
}

slm_status slm__check_allocator(const slm_allocator *a, slm_error *err) {
    if (!a->alloc == !a->free) return SLM_OK;
    return slm__fail(err, SLM_ERR_ARGUMENT,
                     "allocator: alloc and free come together or not at all");
}

void *slm__alloc_array(const slm_allocator *a, uint64_t n, uint64_t size) {
    uint64_t bytes;
    return slm__mul(n, size, &bytes) ? slm__alloc(a, bytes) : NULL;
}

void slm__ask_for_large_pages(void *data, uint64_t n_bytes) {
#if defined(MADV_HUGEPAGE)
    const uint64_t size = 2 << 20;
    uint64_t skip = (size - (uintptr_t)data % size) % size;
    if (n_bytes < skip + size) return;
    madvise((uint8_t *)data + skip, (n_bytes - skip) / size * size, MADV_HUGEPAGE);
#else
    (void)data, (void)n_bytes;
#endif
}

/* Written, though it is zero: the system answers a page that is read first with a shared one, which costs a second fault when it is
 * written, and a message to the processors that run other threads of the process. Callers' memory has been written already. */
void *slm__alloc_table(const slm_allocator *a, uint64_t n, uint64_t size) {
    void *table = slm__alloc_array(a, n, size);
    if (!table || a->alloc) return table;
    slm__ask_for_large_pages(table, n * size);
    return memset(table, 0, n * size);
}

void slm__free(const slm_allocator *a, void *ptr) {
    if (!ptr) return;
    void *raw;
    memcpy(&raw, (char *)ptr - sizeof(void *), sizeof raw);
    if (a->free)
        a->free(a->user, raw);
    else
        free(raw);
}

slm_status slm__check_range(const char *name, int64_t value, int64_t min, int64_t max,
                            slm_error *err) {
    if (value >= min && value <= max) return SLM_OK;
    return slm__fail(err, SLM_ERR_RANGE, "%s is %lld, expected %lld to %lld", name,
                     (long long)value, (long long)min, (long long)max);
}

bool slm__all_finite(const float *x, int64_t n) {
    enum { EACH = 16 }; /* compilers make vectors of a loop of so many */
    uint32_t u[EACH] = {0}, bad[EACH] = {0}, any = 0;
    for (int64_t i = 0; i < n; i += EACH) {
        memcpy(u, x + i, (size_t)(n - i < EACH ? n - i : EACH) * sizeof *u);
        for (int j = 0; j < EACH; j++) bad[j] |= (u[j] & 0x7f800000) == 0x7f800000;
    }
    for (int j = 0; j < EACH; j++) any |= bad[j];
    return any == 0;
}
