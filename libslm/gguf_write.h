/* The head of a file that is made from another: its keys, some of them changed, and its tensors with other types. */
#ifndef SLM_GGUF_WRITE_H
#define SLM_GGUF_WRITE_H

#include "gguf.h"

/* A key that the new file has as u32: in its place, or behind the others if it is new. */
typedef struct slm__u32_key {
    const char *name;
    uint32_t value;
} slm__u32_key;

typedef struct slm__gguf_change {
    const slm__gguf *from;
    const slm_type *types; /* [n_tensors], rows are whole blocks */
    const slm__u32_key *keys;
    int32_t n_keys;
} slm__gguf_change;

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
