/* Source: the GGUF specification, version 3: header, keys, tensor directory, padding, tensor data. */
#include "gguf_build.h"
#include "suite.h"

#include <stdlib.h>
#include <string.h>

/* ---- Raw bytes ---- */

static void reserve(gb_bytes *b, size_t n) {
    if (b->n + n <= b->capacity) return;
    size_t capacity = (b->n + n) * 2 + 4096;
    capacity = (capacity + 63) / 64 * 64;
    uint8_t *data = aligned_alloc(64, capacity);
    ck_assert_ptr_nonnull(data);
    if (b->n) memcpy(data, b->data, b->n);
    free(b->data);
    b->data = data;
    b->capacity = capacity;
}

void gb_put(gb_bytes *b, const void *data, size_t n) {
    reserve(b, n);
    if (n) memcpy(b->data + b->n, data, n);
    b->n += n;
}

static void pad(gb_bytes *b, size_t alignment) {
    static const uint8_t zero[1] = {0};
    while (b->n % alignment) gb_put(b, zero, 1);
}

void gb_put_u32(gb_bytes *b, uint32_t v) { gb_put(b, &v, sizeof v); }
void gb_put_u64(gb_bytes *b, uint64_t v) { gb_put(b, &v, sizeof v); }

void gb_put_str(gb_bytes *b, const char *s, size_t n) {
    gb_put_u64(b, n);
    gb_put(b, s, n);
}

/* ---- Keys ---- */

void gb_key_raw(gguf_build *b, const char *key, uint32_t type, const void *value, size_t n_bytes) {
    gb_put_str(&b->keys, key, strlen(key));
    gb_put_u32(&b->keys, type);
    gb_put(&b->keys, value, n_bytes);
    b->n_keys++;
}

void gb_u32(gguf_build *b, const char *key, uint32_t v) { gb_key_raw(b, key, GB_U32, &v, 4); }
void gb_i32(gguf_build *b, const char *key, int32_t v) { gb_key_raw(b, key, GB_I32, &v, 4); }
void gb_u64(gguf_build *b, const char *key, uint64_t v) { gb_key_raw(b, key, GB_U64, &v, 8); }
void gb_f32(gguf_build *b, const char *key, float v) { gb_key_raw(b, key, GB_F32, &v, 4); }

void gb_bool(gguf_build *b, const char *key, int v) {
    uint8_t byte = (uint8_t)v;
    gb_key_raw(b, key, GB_BOOL, &byte, 1);
}

void gb_str_n(gguf_build *b, const char *key, const char *v, size_t n) {
    gb_key_raw(b, key, GB_STRING, NULL, 0);
    gb_put_str(&b->keys, v, n);
}

void gb_str(gguf_build *b, const char *key, const char *v) { gb_str_n(b, key, v, strlen(v)); }

static void begin_array(gguf_build *b, const char *key, uint32_t type, uint64_t n) {
    gb_key_raw(b, key, GB_ARRAY, NULL, 0);
    gb_put_u32(&b->keys, type);
    gb_put_u64(&b->keys, n);
}

void gb_str_array(gguf_build *b, const char *key, const char *const *v, size_t n) {
    begin_array(b, key, GB_STRING, n);
    for (size_t i = 0; i < n; i++) gb_put_str(&b->keys, v[i], strlen(v[i]));
}

void gb_array(gguf_build *b, const char *key, uint32_t type, const void *data, uint64_t n) {
    static const size_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    begin_array(b, key, type, n);
    gb_put(&b->keys, data, (size_t)n * sizes[type]);
}

/* ---- Tensors ---- */

static uint32_t alignment_of(const gguf_build *b) { return b->alignment ? b->alignment : 32; }

void gb_tensor_raw(gguf_build *b, const char *name, size_t name_len, uint32_t type, uint32_t n_dims,
                   const uint64_t *dims, uint64_t offset) {
    gb_put_str(&b->directory, name, name_len);
    gb_put_u32(&b->directory, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) gb_put_u64(&b->directory, dims[i]);
    gb_put_u32(&b->directory, type);
    gb_put_u64(&b->directory, offset);
    b->n_tensors++;
}

void gb_tensor(gguf_build *b, const char *name, uint32_t type, uint32_t n_dims, const int64_t *dims,
               const void *data, size_t n_bytes) {
    uint64_t d[4] = {1, 1, 1, 1};
    for (uint32_t i = 0; i < n_dims && i < 4; i++) d[i] = (uint64_t)dims[i];
    pad(&b->tensors, alignment_of(b));
    gb_tensor_raw(b, name, strlen(name), type, n_dims, d, b->tensors.n);
    gb_put(&b->tensors, data, n_bytes);
}

/* ---- The file ---- */

const void *gb_finish(gguf_build *b, size_t *n_bytes) {
    if (b->alignment) gb_u32(b, "general.alignment", b->alignment);
    b->file.n = 0;
    gb_put(&b->file, "GGUF", 4);
    gb_put_u32(&b->file, b->version ? b->version : 3);
    gb_put_u64(&b->file, b->n_tensors);
    gb_put_u64(&b->file, b->n_keys);
    gb_put(&b->file, b->keys.data, b->keys.n);
    gb_put(&b->file, b->directory.data, b->directory.n);
    if (b->n_tensors) pad(&b->file, alignment_of(b));
    gb_put(&b->file, b->tensors.data, b->tensors.n);
    *n_bytes = b->file.n;
    return b->file.data;
}

void gb_reset(gguf_build *b) {
    b->keys.n = b->directory.n = b->tensors.n = b->file.n = 0;
    b->n_keys = b->n_tensors = 0;
    b->version = b->alignment = 0;
}

void gb_free(gguf_build *b) {
    gb_bytes *all[] = {&b->keys, &b->directory, &b->tensors, &b->file};
    for (size_t i = 0; i < 4; i++) free(all[i]->data);
    *b = (gguf_build){0};
}
