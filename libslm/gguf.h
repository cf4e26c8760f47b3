/* The container: a bounded cursor over the mapped file -> table of keys and directory of tensors.
 *
 * Source: the GGUF specification, versions 2 and 3 (little-endian).
 * Nothing is copied but names: strings and arrays point into the mapping. Every count, length and offset is checked
 * against the bytes that are there before it is used.
 *
 * Stated limits: a file of 16 TiB, 65,536 keys, 65,536 tensors, names of keys of 65,535 bytes, names of tensors of 63.
 * So what a hostile header can make the library allocate is bounded by 16 MiB and twice its own bytes.
 */
#ifndef SLM_GGUF_H
#define SLM_GGUF_H

#include "base.h"
#include "guard.h"
#include "../kernels/blocks.h"

/* In the order of their numbers in the file. */
typedef enum slm__gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_N_TYPES
} slm__gguf_type;

typedef struct slm__key {
    slm__str name;       /* not NUL-terminated, holds no NUL                         */
    slm__gguf_type type; /* of the value, or of the elements when is_array           */
    bool is_array;
    uint64_t n;          /* elements; 1 for a single value                           */
    const uint8_t *data; /* first element, unaligned; strings: u64 length, bytes ... */
    uint64_t n_bytes;    /* of all elements                                          */
} slm__key;

typedef struct slm__tensor {
    slm__str name; /* as of a key */
    slm_type type;
    int32_t n_dims;
    int64_t dims[4];     /* dims[0] contiguous; unused ones are 1             */
    uint64_t offset;     /* as the file tells it                              */
    const uint8_t *data; /* in the mapping, aligned to 8 bytes and usually 32 */
    uint64_t row_bytes;  /* of dims[0] weights                                */
    uint64_t n_bytes;
} slm__tensor;

static inline uint64_t slm__n_weights(const slm__tensor *t) {
    return (uint64_t)t->dims[0] * (uint64_t)t->dims[1] * (uint64_t)t->dims[2] *
           (uint64_t)t->dims[3];
}

typedef struct slm__gguf {
    const slm_allocator *allocator;
    const uint8_t *data; /* the whole file */
    uint64_t n_bytes;
    bool is_mapped;         /* by slm__gguf_open(): to be unmapped */
    uint64_t device, inode; /* of the mapped file */
    slm__guard *guard;      /* of the mapping; or NULL */
    uint32_t version;
    uint64_t alignment; /* of tensor data within the file: a power of two, 8 .. 1 MiB */
    int32_t n_keys, n_tensors;
    slm__key *keys;
    slm__tensor *tensors;
    char *names;               /* NUL-terminated copies of all names, for the public API */
    const char **key_names;    /* [n_keys], into names                                   */
    const char **tensor_names; /* [n_tensors], into names                                */
    uint32_t *key_order;       /* [n_keys], indices by rising name                       */
    uint32_t *tensor_order;    /* [n_tensors]                                            */
} slm__gguf;

/* Map and check. `allocator` must outlive the gguf. On failure nothing is held. Pages of tensor data are not read. `guard`:
 * see slm_model_params. */
slm_status slm__gguf_open(slm__gguf *g, const char *path, bool guard,
                          const slm_allocator *allocator, slm_error *err);

/* The same over memory that the caller keeps, aligned to 64. */
slm_status slm__gguf_parse(slm__gguf *g, const void *data, uint64_t n_bytes,
                           const slm_allocator *allocator, slm_error *err);

/* Accepts one that failed to open, or is all zero. */
void slm__gguf_close(slm__gguf *g);

/* NULL if there is none. */
const slm__key *slm__gguf_key(const slm__gguf *g, const char *name);
const slm__tensor *slm__gguf_tensor(const slm__gguf *g, const char *name);

/* Typed access. `found` false (and *out untouched) when the key is missing; TYPE when it has another type.
 * Any integer type serves as u64 (RANGE when negative); F32 and F64 as double. */
slm_status slm__gguf_u64(const slm__gguf *g, const char *name, uint64_t *out, bool *found,
                         slm_error *err);
slm_status slm__gguf_f64(const slm__gguf *g, const char *name, double *out, bool *found,
                         slm_error *err);
slm_status slm__gguf_bool(const slm__gguf *g, const char *name, bool *out, bool *found,
                          slm_error *err);
slm_status slm__gguf_str(const slm__gguf *g, const char *name, slm__str *out, bool *found,
                         slm_error *err);

/* An array whose elements have this type; *out NULL when the key is missing; TYPE otherwise. */
slm_status slm__gguf_array(const slm__gguf *g, const char *name, slm__gguf_type type,
                           const slm__key **out, slm_error *err);

/* The shortest decimal that reads back the same (`narrow`: as a float), with a point in every locale: 1, 0.5, 1e+16, nan. */
enum { SLM__FLOAT_TEXT = 64 };
void slm__float_text(double v, bool narrow, char out[SLM__FLOAT_TEXT]);

/* Element `element` as text, the contract of slm_model_key_text(): RANGE if there is none, BUFFER if `capacity` is
 * less than *n_bytes. Floats are the shortest decimal that reads back the same, with a point in every locale. An
 * element of an array of strings is found by walking over those before it. */
slm_status slm__gguf_value_text(const slm__key *k, uint64_t element, char *buffer, size_t capacity,
                                size_t *n_bytes);

/* Walk over the strings of an array: start with *at = key->data, call key->n times. The lengths were checked. */
slm__str slm__gguf_next_string(const uint8_t **at);

/* Unaligned little-endian reads of array elements. */
static inline float slm__read_f32(const uint8_t *p) {
    float v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline int32_t slm__read_i32(const uint8_t *p) {
    int32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t slm__read_u64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

const char *slm__gguf_type_name(slm__gguf_type type);

static inline uint64_t slm__align_up(uint64_t n, uint64_t alignment) {
    return (n + alignment - 1) / alignment * alignment;
}

#endif
