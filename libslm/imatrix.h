/* Sums of squares of what the columns of matrices are multiplied by, by the name of the matrix. */
#ifndef SLM_IMATRIX_H
#define SLM_IMATRIX_H

#include "gguf.h"

enum {
    SLM__IMATRIX_NAME =
        55, /* bytes of a matrix' name: those of its tensors in a file have 8 more */
    SLM__IMATRIX_CHUNK = 512,
};

/* A tensor of one matrix or more of the same shape (experts). */
typedef struct slm__sums {
    char name[SLM__IMATRIX_NAME + 1];
    int64_t n, n_matrices;
    double *sums;       /* [n_matrices, n] of x^2; the block that both are in */
    double *counts;     /* [n_matrices] of x                                  */
    const double *twin; /* sums that these are equal to if the counts are, too; NULL: none known */
} slm__sums;

struct slm_imatrix {
    slm_allocator allocator;
    int32_t chunk_size;
    slm__sums *tensors; /* [n_tensors], by rising name */
    int32_t n_tensors;
    const slm__sums *last;    /* the tensor of the observation before; NULL: it was none of these */
    uint8_t *datasets;        /* one string behind the other, as in a file: u64 length, bytes */
    uint64_t *dataset_starts; /* [n_datasets] where in it */
    uint64_t n_datasets, dataset_bytes;
};

/* ARGUMENT, RANGE. */
slm_status slm__imatrix_check(const slm_imatrix_params *p, slm_error *err);

/* An empty one. */
slm_status slm__imatrix_new(const slm_allocator *allocator, int32_t chunk_size, slm_imatrix **out,
                            slm_error *err);

/* A new tensor behind the others, its sums zero. Names come in rising order, and the list has room. *out (or NULL) receives it. LIMIT,
 * NOMEM. */
slm_status slm__imatrix_append(slm_imatrix *im, slm__str name, int64_t n, int64_t n_matrices,
                               slm__sums **out, slm_error *err);

/* Strings as they lie in a file. */
slm_status slm__imatrix_add_datasets(slm_imatrix *im, const uint8_t *strings, uint64_t n_bytes,
                                     uint64_t n, slm_error *err);

/* Windows that the tensor that has seen most tokens has seen, as far as 32 bits go. */
uint32_t slm__imatrix_chunks(const slm_imatrix *im);

/* What a file holds. On failure nothing is held. */
slm_status slm__imatrix_read(const slm__gguf *g, const slm_allocator *allocator, slm_imatrix **out,
                             slm_error *err);

#endif
