/* The importance matrix of a model: for each column of each matrix, the sum of x^2 over the tokens of a text.
 *
 * With y = W x, an error e of the weights of a row changes y by sum e_i x_i, whose square is on average sum e_i^2 E[x_i^2] if the
 * columns are not correlated: E[x_i^2] is what an error in column i weighs. Known from llama.cpp (pull request 4861), whose files these
 * are (imatrix_file.c).
 *
 * Squares of floats are exact in double precision and are added token by token: the same bits for any number of threads and any batch. */
#include "imatrix.h"

#include <math.h>

#include "mixture.h"
#include "model.h"

/* ---- A list of tensors ---- */

slm_imatrix_params slm_imatrix_defaults(void) {
    return (slm_imatrix_params){.size = sizeof(slm_imatrix_params),
                                .chunk_size = SLM__IMATRIX_CHUNK};
}

slm_status slm__imatrix_new(const slm_allocator *allocator, int32_t chunk_size, slm_imatrix **out,
                            slm_error *err) {
    slm_imatrix *im = slm__alloc(allocator, sizeof *im);
    if (!im) return slm__fail(err, SLM_ERR_NOMEM, "no memory for an importance matrix");
    im->allocator = *allocator;
    im->chunk_size = chunk_size;
    *out = im;
    return SLM_OK;
}

void slm_imatrix_free(slm_imatrix *im) {
    if (!im) return;
    slm_allocator allocator = im->allocator;
    for (int32_t i = 0; i < im->n_tensors; i++) slm__free(&allocator, im->tensors[i].sums);
    slm__free(&allocator, im->tensors);
    slm__free(&allocator, im->datasets);
    slm__free(&allocator, im->dataset_starts);
    slm__free(&allocator, im);
}

static slm_status no_memory(slm_error *err) {
    return slm__fail(err, SLM_ERR_NOMEM, "no memory for the sums of an importance matrix");
}

slm_status slm__imatrix_append(slm_imatrix *im, slm__str name, int64_t n, int64_t n_matrices,
                               slm__sums **out, slm_error *err) {
    slm__sums *t = &im->tensors[im->n_tensors];
    uint64_t n_sums;
    if (name.len > SLM__IMATRIX_NAME)
        return slm__fail(err, SLM_ERR_LIMIT,
                         "tensor %s: a name of %zu bytes, at most %d in an importance matrix",
                         slm__show(name).text, name.len, SLM__IMATRIX_NAME);
    if (!slm__mul((uint64_t)n, (uint64_t)n_matrices, &n_sums)) return no_memory(err);
    double *sums = slm__alloc_array(&im->allocator, n_sums + (uint64_t)n_matrices, sizeof *sums);
    if (!sums) return no_memory(err);
    *t = (slm__sums){.n = n, .n_matrices = n_matrices, .sums = sums, .counts = sums + n_sums};
    memcpy(t->name, name.ptr, name.len);
    im->n_tensors++;
    if (out) *out = t;
    return SLM_OK;
}

static slm__sums *find(const slm_imatrix *im, const char *name) {
    int32_t low = 0, high = im->n_tensors;
    while (low < high) {
        int32_t middle = low + (high - low) / 2, order = strcmp(im->tensors[middle].name, name);
        if (order == 0) return &im->tensors[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

uint32_t slm__imatrix_chunks(const slm_imatrix *im) {
    static const double rounding = 1 + 0x1p-23; /* of counts, which are floats in files */
    double most = 0;
    for (int32_t i = 0; i < im->n_tensors; i++) {
        const slm__sums *t = &im->tensors[i];
        for (int64_t m = 0; m < t->n_matrices; m++)
            if (t->counts[m] > most) most = t->counts[m];
    }
    double n = round(most / im->chunk_size);
    if (n * im->chunk_size > most * rounding) n = floor(most / im->chunk_size);
    return n < (double)UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

/* ---- Of a model ---- */

slm_status slm__imatrix_check(const slm_imatrix_params *p, slm_error *err) {
    if (p->size != sizeof *p)
        return slm__fail(err, SLM_ERR_ARGUMENT, "params->size is %zu, expected %zu", p->size,
                         sizeof *p);
    SLM_TRY(slm__check_allocator(&p->allocator, err));
    return slm__check_range("chunk_size", p->chunk_size, 1, INT32_MAX, err);
}

/* The matrices of layers, and on request the output matrix, be it the embedding. */
static slm_status append_matrices(slm_imatrix *im, const slm_model *m, bool output,
                                  slm_error *err) {
    const slm__gguf *g = &m->gguf;
    im->tensors = slm__alloc_array(&im->allocator, (uint64_t)g->n_tensors, sizeof *im->tensors);
    if (!im->tensors) return no_memory(err);
    for (int32_t i = 0; i < g->n_tensors; i++) {
        const slm__tensor *t = &g->tensors[g->tensor_order[i]];
        bool in_layer = t->name.len > 4 && memcmp(t->name.ptr, "blk.", 4) == 0;
        if (t == m->output ? !output : !in_layer || !slm__is_quantizable(t)) continue;
        SLM_TRY(slm__imatrix_append(im, t->name, t->dims[0], t->dims[2] * t->dims[3], NULL, err));
    }
    return SLM_OK;
}

slm_status slm_imatrix_create(const slm_model *model, const slm_imatrix_params *params,
                              slm_imatrix **out, slm_error *err) {
    slm__clear(err);
    if (!out) return slm__fail(err, SLM_ERR_ARGUMENT, "out is NULL");
    *out = NULL;
    if (!model) return slm__fail(err, SLM_ERR_ARGUMENT, "model is NULL");
    slm_imatrix_params p = slm_imatrix_defaults();
    if (params) p = *params;
    SLM_TRY(slm__imatrix_check(&p, err));
    if (!model->has_weights)
        return slm__fail(err, SLM_ERR_UNSUPPORTED, "the model was opened without its weights");
    slm_imatrix *im = NULL;
    SLM_TRY(slm__imatrix_new(&p.allocator, p.chunk_size, &im, err));
    slm_status s = append_matrices(im, model, p.output_matrix, err);
    if (s != SLM_OK) {
        slm_imatrix_free(im);
        return s;
    }
    *out = im;
    return SLM_OK;
}

/* Row by row, so that it does not matter how rows came; four at a time, so that a sum is loaded and stored once for them. */
static void add_squares(double *restrict sums, const float *restrict x, int32_t n_rows, int32_t n) {
    int32_t r = 0;
    for (; r + 4 <= n_rows; r += 4) {
        const float *a = x + (int64_t)r * n, *b = a + n, *c = b + n, *d = c + n;
        for (int32_t i = 0; i < n; i++)
            sums[i] = sums[i] + (double)a[i] * (double)a[i] + (double)b[i] * (double)b[i] +
                      (double)c[i] * (double)c[i] + (double)d[i] * (double)d[i];
    }
    for (; r < n_rows; r++) {
        const float *a = x + (int64_t)r * n;
        for (int32_t i = 0; i < n; i++) sums[i] += (double)a[i] * (double)a[i];
    }
}

/* The same squares added to equal sums are equal sums again: tensors that share all their inputs, as Q, K and V do, are summed once. `same`:
 * the tensor, if any, that just got these rows. */
static void add_rows(slm__sums *t, const slm_observation *o, const slm__sums *same) {
    size_t n_bytes = (size_t)t->n * sizeof *t->sums;
    t->counts[0] += o->n_rows;
    same = same && same->n == t->n && same->counts[0] == t->counts[0] ? same : NULL;
    if (same && t->twin == same->sums) {
        memcpy(t->sums, same->sums, n_bytes);
    } else {
        add_squares(t->sums, o->rows, o->n_rows, o->n);
        t->twin = same && memcmp(t->sums, same->sums, n_bytes) == 0 ? same->sums : NULL;
    }
}

void slm_imatrix_observe(void *imatrix, const slm_observation *o) {
    if (!imatrix || !o) return;
    slm_imatrix *im = imatrix;
    const slm__sums *before = im->last;
    slm__sums *t = o->tensor ? find(im, o->tensor) : NULL;
    if (t && (t->n != o->n || t->n_matrices != 1)) t = NULL;
    im->last = t;
    if (t) add_rows(t, o, o->same_input && before != t ? before : NULL);
}

/* ---- Sums of two ---- */

slm_status slm__imatrix_add_datasets(slm_imatrix *im, const uint8_t *strings, uint64_t n_bytes,
                                     uint64_t n, slm_error *err) {
    if (n == 0) return SLM_OK;
    uint8_t *all = slm__alloc(&im->allocator, im->dataset_bytes + n_bytes);
    uint64_t *starts = slm__alloc_array(&im->allocator, im->n_datasets + n, sizeof *starts);
    if (!all || !starts) {
        slm__free(&im->allocator, all);
        slm__free(&im->allocator, starts);
        return slm__fail(err, SLM_ERR_NOMEM, "no memory for the names of texts");
    }
    if (im->n_datasets > 0) {
        memcpy(all, im->datasets, (size_t)im->dataset_bytes);
        memcpy(starts, im->dataset_starts, (size_t)im->n_datasets * sizeof *starts);
    }
    memcpy(all + im->dataset_bytes, strings, (size_t)n_bytes);
    const uint8_t *at = all + im->dataset_bytes;
    for (uint64_t i = 0; i < n; i++) {
        starts[im->n_datasets + i] = (uint64_t)(at - all);
        slm__gguf_next_string(&at);
    }
    slm__free(&im->allocator, im->datasets);
    slm__free(&im->allocator, im->dataset_starts);
    im->datasets = all;
    im->dataset_starts = starts;
    im->dataset_bytes += n_bytes;
    im->n_datasets += n;
    return SLM_OK;
}

slm_status slm_imatrix_add_dataset(slm_imatrix *im, const char *name, slm_error *err) {
    slm__clear(err);
    if (!im || !name) return slm__fail(err, SLM_ERR_ARGUMENT, "an argument is NULL");
    uint64_t n = strlen(name);
    uint8_t *string = slm__alloc(&im->allocator, sizeof n + n);
    if (!string) return slm__fail(err, SLM_ERR_NOMEM, "no memory for the name of a text");
    memcpy(string, &n, sizeof n);
    memcpy(string + sizeof n, name, (size_t)n);
    slm_status s = slm__imatrix_add_datasets(im, string, sizeof n + n, 1, err);
    slm__free(&im->allocator, string);
    return s;
}

/* The tensors that `im` does not have, with sums of zero, into `fresh`. */
static slm_status append_missing(const slm_imatrix *im, const slm_imatrix *more, slm_imatrix *fresh,
                                 slm_error *err) {
    fresh->tensors =
        slm__alloc_array(&im->allocator, (uint64_t)more->n_tensors, sizeof *fresh->tensors);
    if (!fresh->tensors) return no_memory(err);
    for (int32_t i = 0; i < more->n_tensors; i++) {
        const slm__sums *t = &more->tensors[i], *same = find(im, t->name);
        slm__str name = {t->name, strlen(t->name)};
        if (!same) {
            SLM_TRY(slm__imatrix_append(fresh, name, t->n, t->n_matrices, NULL, err));
        } else if (same->n != t->n || same->n_matrices != t->n_matrices) {
            return slm__fail(err, SLM_ERR_MISMATCH,
                             "tensor %s: %lld columns of %lld matrices, and %lld of %lld in the "
                             "other importance matrix",
                             slm__show(name).text, (long long)same->n, (long long)same->n_matrices,
                             (long long)t->n, (long long)t->n_matrices);
        }
    }
    return SLM_OK;
}

/* Both lists are sorted, and no name is in both. */
static void merge(const slm_imatrix *a, const slm_imatrix *b, slm__sums *out) {
    int32_t i = 0, j = 0;
    while (i < a->n_tensors || j < b->n_tensors) {
        bool first = j == b->n_tensors ||
                     (i < a->n_tensors && strcmp(a->tensors[i].name, b->tensors[j].name) < 0);
        *out++ = first ? a->tensors[i++] : b->tensors[j++];
    }
}

/* Everything that can fail; then the list of `im` has room for all. */
static slm_status widen(slm_imatrix *im, const slm_imatrix *more, slm_imatrix *fresh,
                        slm_error *err) {
    SLM_TRY(append_missing(im, more, fresh, err));
    uint64_t n = (uint64_t)im->n_tensors + (uint64_t)fresh->n_tensors;
    slm__sums *all = slm__alloc_array(&im->allocator, n, sizeof *all);
    if (!all) return no_memory(err);
    slm_status s =
        slm__imatrix_add_datasets(im, more->datasets, more->dataset_bytes, more->n_datasets, err);
    if (s != SLM_OK) {
        slm__free(&im->allocator, all);
        return s;
    }
    merge(im, fresh, all);
    slm__free(&im->allocator, im->tensors);
    im->tensors = all;
    im->n_tensors = (int32_t)n;
    fresh->n_tensors = 0;
    return SLM_OK;
}

slm_status slm_imatrix_add(slm_imatrix *im, const slm_imatrix *more, slm_error *err) {
    slm__clear(err);
    if (!im || !more || im == more)
        return slm__fail(err, SLM_ERR_ARGUMENT, "an argument is NULL, or both are the same");
    slm_imatrix *fresh = NULL;
    SLM_TRY(slm__imatrix_new(&im->allocator, im->chunk_size, &fresh, err));
    slm_status s = widen(im, more, fresh, err);
    slm_imatrix_free(fresh);
    im->last = NULL;
    for (int32_t i = 0; i < im->n_tensors; i++) im->tensors[i].twin = NULL;
    for (int32_t i = 0; i < more->n_tensors && s == SLM_OK; i++) {
        const slm__sums *from = &more->tensors[i];
        slm__sums *to = find(im, from->name);
        for (int64_t j = 0; j < from->n * from->n_matrices; j++) to->sums[j] += from->sums[j];
        for (int64_t j = 0; j < from->n_matrices; j++) to->counts[j] += from->counts[j];
    }
    return s;
}

/* ---- Questions ---- */

slm_status slm_imatrix_get_info(const slm_imatrix *im, slm_imatrix_info *info) {
    if (!im || !info || info->size != sizeof *info) return SLM_ERR_ARGUMENT;
    *info = (slm_imatrix_info){.size = sizeof *info,
                               .n_tensors = im->n_tensors,
                               .chunk_size = im->chunk_size,
                               .n_chunks = slm__imatrix_chunks(im),
                               .n_datasets = (int64_t)im->n_datasets};
    for (int32_t i = 0; i < im->n_tensors; i++) {
        double n = 0;
        for (int64_t m = 0; m < im->tensors[i].n_matrices; m++) n += im->tensors[i].counts[m];
        info->n_seen += n > 0;
    }
    return SLM_OK;
}

slm_status slm_imatrix_get_tensor(const slm_imatrix *im, int32_t index, slm_imatrix_tensor *info) {
    if (!im || !info || info->size != sizeof *info) return SLM_ERR_ARGUMENT;
    if (index < 0 || index >= im->n_tensors) return SLM_ERR_RANGE;
    const slm__sums *t = &im->tensors[index];
    *info = (slm_imatrix_tensor){sizeof *info, t->name, t->n, t->n_matrices, t->sums, t->counts};
    return SLM_OK;
}

slm_status slm_imatrix_get_dataset(const slm_imatrix *im, int64_t index, slm_string *name) {
    if (!im || !name) return SLM_ERR_ARGUMENT;
    if (index < 0 || (uint64_t)index >= im->n_datasets) return SLM_ERR_RANGE;
    const uint8_t *at = im->datasets + im->dataset_starts[index];
    slm__str s = slm__gguf_next_string(&at);
    *name = (slm_string){s.ptr, s.len};
    return SLM_OK;
}

slm_status slm_imatrix_match(const slm_imatrix *im, const slm_model *model, int32_t *n,
                             slm_error *err) {
    slm__clear(err);
    if (!im || !model || !n) return slm__fail(err, SLM_ERR_ARGUMENT, "an argument is NULL");
    *n = 0;
    for (int32_t i = 0; i < im->n_tensors; i++) {
        const slm__sums *s = &im->tensors[i];
        const slm__tensor *t = slm__gguf_tensor(&model->gguf, s->name);
        if (!t) continue;
        int64_t n_matrices = t->dims[2] * t->dims[3];
        /* llama.cpp has the columns of several matrices in one row if all of them were used for every token */
        if (s->n * s->n_matrices != t->dims[0] * n_matrices ||
            (s->n_matrices != 1 && s->n != t->dims[0]))
            return slm__fail(err, SLM_ERR_MISMATCH,
                             "tensor %s: %lld columns of %lld matrices in the importance matrix, "
                             "%lld of %lld in the model",
                             slm__show(t->name).text, (long long)s->n, (long long)s->n_matrices,
                             (long long)t->dims[0], (long long)n_matrices);
        ++*n;
    }
    return SLM_OK;
}

bool slm_imatrix_importance(void *imatrix, const char *tensor, int64_t matrix, int64_t n,
                            float *out) {
    if (!imatrix || !tensor || !out || n < 1 || matrix < 0) return false;
    const slm__sums *t = find(imatrix, tensor);
    if (!t || (t->n_matrices != 1 && t->n != n) || matrix >= t->n * t->n_matrices / n) return false;
    double count = t->counts[t->n_matrices == 1 ? 0 : matrix];
    if (!(count > 0)) return false;
    for (int64_t i = 0; i < n; i++) out[i] = (float)(t->sums[matrix * n + i] / count);
    return slm__all_finite(out, n);
}
