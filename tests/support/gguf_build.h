/* A GGUF file made in memory, for tests. Every function ends the test (ck_abort) when memory is short.
 *
 *     gguf_build b = {0};
 *     gb_str(&b, "general.architecture", "llama");
 *     gb_tensor(&b, "output_norm.weight", 0, 1, (int64_t[]){n}, data, n * 4);
 *     const void *file = gb_finish(&b, &n_bytes);      aligned to 64, valid until gb_free()
 *     gb_free(&b);
 */
#ifndef TESTS_GGUF_BUILD_H
#define TESTS_GGUF_BUILD_H

#include <stddef.h>
#include <stdint.h>

/* Types of keys, as the GGUF specification numbers them. */
enum {
    GB_U8,
    GB_I8,
    GB_U16,
    GB_I16,
    GB_U32,
    GB_I32,
    GB_F32,
    GB_BOOL,
    GB_STRING,
    GB_ARRAY,
    GB_U64,
    GB_I64,
    GB_F64
};

typedef struct gb_bytes {
    uint8_t *data;
    size_t n, capacity;
} gb_bytes;

typedef struct gguf_build {
    uint32_t version;   /* 0: 3                                    */
    uint32_t alignment; /* 0: 32; another value is written as a key */
    gb_bytes keys, directory, tensors, file;
    uint64_t n_keys, n_tensors;
} gguf_build;

/* ---- Raw bytes ---- */
void gb_put(gb_bytes *b, const void *data, size_t n);
void gb_put_u32(gb_bytes *b, uint32_t v);
void gb_put_u64(gb_bytes *b, uint64_t v);
void gb_put_str(gb_bytes *b, const char *s, size_t n); /* u64 length, bytes */

/* ---- Keys ---- */
void gb_u32(gguf_build *b, const char *key, uint32_t v);
void gb_i32(gguf_build *b, const char *key, int32_t v);
void gb_u64(gguf_build *b, const char *key, uint64_t v);
void gb_f32(gguf_build *b, const char *key, float v);
void gb_bool(gguf_build *b, const char *key, int v); /* the byte `v` */
void gb_str(gguf_build *b, const char *key, const char *v);
void gb_str_n(gguf_build *b, const char *key, const char *v, size_t n);
void gb_str_array(gguf_build *b, const char *key, const char *const *v, size_t n);
/* n elements of a fixed-size type */
void gb_array(gguf_build *b, const char *key, uint32_t type, const void *data, uint64_t n);
/* Any type with any bytes as its value. */
void gb_key_raw(gguf_build *b, const char *key, uint32_t type, const void *value, size_t n_bytes);

/* ---- Tensors: `type` is the number in the file; data is copied ---- */
void gb_tensor(gguf_build *b, const char *name, uint32_t type, uint32_t n_dims, const int64_t *dims,
               const void *data, size_t n_bytes);
/* The row of the directory as it is told, without data. */
void gb_tensor_raw(gguf_build *b, const char *name, size_t name_len, uint32_t type, uint32_t n_dims,
                   const uint64_t *dims, uint64_t offset);

/* ---- The file ---- */
const void *gb_finish(gguf_build *b, size_t *n_bytes);
void gb_free(gguf_build *b);

/* Keys and tensors removed, memory kept: to build the next. */
void gb_reset(gguf_build *b);

#endif
