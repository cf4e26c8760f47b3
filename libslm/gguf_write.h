/* The head of a GGUF file: keys and tensors of another file, some of them changed, or new ones. */
#ifndef SLM_GGUF_WRITE_H
#define SLM_GGUF_WRITE_H

#include "gguf.h"

enum { SLM__GGUF_ALIGNMENT = 32 }; /* of a file that does not say */

typedef struct slm__gguf_change {
    const slm__gguf *from; /* whose keys stay, and its alignment; NULL: none */
    const char *dropped;   /* but for those whose names begin with that; NULL: all stay */
    /* In the place of keys of the same name, or behind all others. A string is its bytes behind a u64, as it lies in a file. */
    const slm__key *keys;
    int32_t n_keys;
    const slm__tensor *tensors; /* only their names and dims are read */
    const slm_type *types;      /* [n_tensors], rows are whole blocks */
    int32_t n_tensors;
} slm__gguf_change;

/* The key of a u32 that stays where it is, at any address. */
slm__key slm__u32_key(const char *name, const void *value);

/* A string, with its length before it, at out[0 .. 8 + len - 1], and its key. */
slm__key slm__text_key(const char *name, slm__str text, uint8_t *out);

uint64_t slm__gguf_alignment(const slm__gguf_change *c);

/* Bytes of tensor `index` after the change, without padding. */
uint64_t slm__gguf_changed_bytes(const slm__gguf_change *c, int32_t index);

/*
 * Write the head: everything before the data of the first tensor, padding too, in GGUF version 3. Tensors stay in order, each at the
 * next multiple of the file's alignment.
 *
 * out      `room` bytes, or NULL and 0: its size is counted.
 * Returns its bytes, more than `room` if they did not fit: a file may change while it is read. *file_bytes (or NULL) receives those of
 * the whole file, in which the last tensor is padded as others are.
 */
uint64_t slm__gguf_write_head(const slm__gguf_change *c, uint8_t *out, uint64_t room,
                              uint64_t *file_bytes);

#endif
