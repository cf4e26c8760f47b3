/* Importance matrices in files: GGUF as llama.cpp's llama-imatrix writes and reads it.
 *
 *     general.type         "imatrix"
 *     imatrix.datasets     names of the texts
 *     imatrix.chunk_count  windows
 *     imatrix.chunk_size   tokens of a window
 *     NAME.in_sum2         [n, n_matrices] F32: sums of squares; of one matrix [n]
 *     NAME.counts          [1, n_matrices] F32: of how many tokens; of one matrix [1]
 *
 * Before, it had a format of its own, without a magic number: number of tensors, then length and bytes of the first name ... */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "gguf_write.h"
#include "imatrix.h"
#include "outfile.h"
#include "sort.h"

static const char sums_suffix[] = ".in_sum2", counts_suffix[] = ".counts";

enum { SUFFIX = sizeof sums_suffix - 1, NAME_ROOM = SLM__IMATRIX_NAME + SUFFIX + 1 };

static const char type_key[] = "general.type", datasets_key[] = "imatrix.datasets",
                  chunks_key[] = "imatrix.chunk_count", size_key[] = "imatrix.chunk_size";

/* ---- From a file ---- */

static bool has_suffix(slm__str s, const char *suffix) {
    size_t n = strlen(suffix);
    return s.len > n && memcmp(s.ptr + s.len - n, suffix, n) == 0;
}

static slm_status fail_tensor(const slm__tensor *t, slm_status status, const char *what,
                              slm_error *err) {
    return slm__fail(err, status, "tensor %s: %s", slm__show(t->name).text, what);
}

/* Finite and not negative, all of them. */
static slm_status read_numbers(const slm__tensor *t, double *out, slm_error *err) {
    uint64_t n = slm__n_weights(t);
    for (uint64_t i = 0; i < n; i++) {
        out[i] = (double)slm__read_f32(t->data + i * sizeof(float));
        if (out[i] >= 0 && out[i] <= 3.5e38) continue;
        return slm__fail(err, SLM_ERR_NUMERIC,
                         "tensor %s: number %llu is %g, expected a finite one of at least 0",
                         slm__show(t->name).text, (unsigned long long)i, out[i]);
    }
    return SLM_OK;
}

static slm_status check_pair(const slm__tensor *sums, const slm__tensor *counts, slm_error *err) {
    if (!counts) return fail_tensor(sums, SLM_ERR_MISMATCH, "without its .counts", err);
    if (sums->type != SLM_F32 || counts->type != SLM_F32)
        return fail_tensor(sums->type != SLM_F32 ? sums : counts, SLM_ERR_MISMATCH,
                           "is not of type F32", err);
    if (sums->dims[2] == 1 && sums->dims[3] == 1 &&
        slm__n_weights(counts) == (uint64_t)sums->dims[1])
        return SLM_OK;
    return slm__fail(err, SLM_ERR_MISMATCH,
                     "tensor %s: shape [%lld, %lld, %lld, %lld], and %llu numbers in its .counts, "
                     "expected [columns, "
                     "matrices] and one for each matrix",
                     slm__show(sums->name).text, (long long)sums->dims[0], (long long)sums->dims[1],
                     (long long)sums->dims[2], (long long)sums->dims[3],
                     (unsigned long long)slm__n_weights(counts));
}

static slm__str matrix_name(const slm__tensor *t) {
    return (slm__str){t->name.ptr, t->name.len - SUFFIX};
}

static slm_status read_tensor(slm_imatrix *im, const slm__gguf *g, const slm__tensor *sums,
                              slm_error *err) {
    slm__str name = matrix_name(sums);
    char counts_name[NAME_ROOM] = "";
    slm__sums *t;
    memcpy(counts_name, name.ptr,
           name.len); /* at most SLM__IMATRIX_NAME, as names of tensors are short */
    memcpy(counts_name + name.len, counts_suffix, sizeof counts_suffix);
    const slm__tensor *counts = slm__gguf_tensor(g, counts_name);
    SLM_TRY(check_pair(sums, counts, err));
    SLM_TRY(slm__imatrix_append(im, name, sums->dims[0], sums->dims[1], &t, err));
    SLM_TRY(read_numbers(sums, t->sums, err));
    return read_numbers(counts, t->counts, err);
}

typedef struct name_table {
    const slm__gguf *gguf;
    const uint32_t *sums; /* indices of tensors of sums */
} name_table;

static int compare(const void *table, uint32_t a, uint32_t b) {
    const name_table *t = table;
    return slm__str_compare(matrix_name(&t->gguf->tensors[t->sums[a]]),
                            matrix_name(&t->gguf->tensors[t->sums[b]]));
}

/* `sums` and `order` have room for all tensors. What llama.cpp may add under other suffixes is passed over. */
static slm_status read_tensors(slm_imatrix *im, const slm__gguf *g, uint32_t *sums, uint32_t *order,
                               slm_error *err) {
    uint32_t n = 0, n_counts = 0;
    for (int32_t i = 0; i < g->n_tensors; i++) {
        if (has_suffix(g->tensors[i].name, sums_suffix)) sums[n++] = (uint32_t)i;
        n_counts += has_suffix(g->tensors[i].name, counts_suffix);
    }
    if (n == 0)
        return slm__fail(err, SLM_ERR_MISMATCH,
                         "no importance matrix: none of %d tensors is called NAME%s", g->n_tensors,
                         sums_suffix);
    im->tensors = slm__alloc_array(&im->allocator, n, sizeof *im->tensors);
    if (!im->tensors)
        return slm__fail(err, SLM_ERR_NOMEM, "no memory for %u importance matrices", n);
    slm__sort_order(order, n, compare, &(name_table){g, sums});
    for (uint32_t i = 0; i < n; i++) SLM_TRY(read_tensor(im, g, &g->tensors[sums[order[i]]], err));
    if (n_counts == n) return SLM_OK;
    return slm__fail(err, SLM_ERR_MISMATCH, "%u tensors called NAME%s, but %u called NAME%s", n,
                     sums_suffix, n_counts, counts_suffix);
}

static slm_status read_keys(slm_imatrix *im, const slm__gguf *g, slm_error *err) {
    slm__str type;
    bool found = false;
    uint64_t size = SLM__IMATRIX_CHUNK;
    const slm__key *datasets;
    SLM_TRY(slm__gguf_str(g, type_key, &type, &found, err));
    if (found && !slm__str_eq(type, "imatrix"))
        return slm__fail(err, SLM_ERR_MISMATCH,
                         "no importance matrix: %s is \"%s\", expected \"imatrix\"", type_key,
                         slm__show(type).text);
    SLM_TRY(slm__gguf_u64(g, size_key, &size, &found, err));
    if (size < 1 || size > INT32_MAX)
        return slm__fail(err, SLM_ERR_RANGE, "key %s: %llu, expected 1 to %d", size_key,
                         (unsigned long long)size, INT32_MAX);
    im->chunk_size = (int32_t)size;
    SLM_TRY(slm__gguf_array(g, datasets_key, GGUF_STRING, &datasets, err));
    if (!datasets) return SLM_OK;
    return slm__imatrix_add_datasets(im, datasets->data, datasets->n_bytes, datasets->n, err);
}

static slm_status read_all(slm_imatrix *im, const slm__gguf *g, slm_error *err) {
    SLM_TRY(read_keys(im, g, err));
    uint64_t n = (uint64_t)g->n_tensors;
    uint32_t *room = slm__alloc_array(&im->allocator, 2 * n, sizeof *room);
    if (!room) return slm__fail(err, SLM_ERR_NOMEM, "no memory for %d names", g->n_tensors);
    slm_status s = read_tensors(im, g, room, room + n, err);
    slm__free(&im->allocator, room);
    return s;
}

slm_status slm__imatrix_read(const slm__gguf *g, const slm_allocator *allocator, slm_imatrix **out,
                             slm_error *err) {
    slm_imatrix *im = NULL;
    SLM_TRY(slm__imatrix_new(allocator, SLM__IMATRIX_CHUNK, &im, err));
    slm_status s = slm__guard_check(g->guard, read_all(im, g, err), err);
    if (s == SLM_OK)
        *out = im;
    else
        slm_imatrix_free(im);
    return s;
}

/* A small number, and a name of letters behind its length? */
static bool is_old_format(const char *path) {
    struct {
        int32_t n, length;
        char name[4];
    } head = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return false;
    bool whole = read(fd, &head, sizeof head) == (ssize_t)sizeof head;
    close(fd);
    if (!whole || head.n < 1 || head.n > 1 << 20 || head.length < 4 || head.length > 255)
        return false;
    for (size_t i = 0; i < sizeof head.name; i++)
        if (head.name[i] < '-' || head.name[i] > 'z') return false;
    return true;
}

slm_status slm_imatrix_open(const char *path, const slm_imatrix_params *params, slm_imatrix **out,
                            slm_error *err) {
    slm__clear(err);
    if (!out) return slm__fail(err, SLM_ERR_ARGUMENT, "out is NULL");
    *out = NULL;
    if (!path) return slm__fail(err, SLM_ERR_ARGUMENT, "path is NULL");
    slm_imatrix_params p = slm_imatrix_defaults();
    if (params) p = *params;
    SLM_TRY(slm__imatrix_check(&p, err));
    slm__gguf g;
    slm_status s = slm__gguf_open(&g, path, p.guard, &p.allocator, err);
    if (s == SLM_ERR_FORMAT && is_old_format(path))
        return slm__fail(err, SLM_ERR_UNSUPPORTED,
                         "an importance matrix in the format from before GGUF: llama-imatrix "
                         "--in-file OLD -o NEW.gguf makes a new one of it");
    if (s == SLM_OK) s = slm__imatrix_read(&g, &p.allocator, out, err);
    slm__gguf_close(&g);
    return s;
}

/* ---- To a file ---- */

/* What is written: those tensors that have seen any tokens, two each. */
typedef struct writing {
    const slm_imatrix *im;
    slm__outfile file;
    int32_t n;
    const slm__sums **sums;   /* [n]      */
    slm__tensor *tensors;     /* [2 * n]  */
    slm_type *types;          /* [2 * n]  */
    char (*names)[NAME_ROOM]; /* [2 * n] */
    uint8_t *head;
    uint32_t n_chunks, chunk_size;
    uint8_t type_text[sizeof(uint64_t) + 7];
    slm__key keys[4];
    slm__gguf_change layout;
} writing;

static bool has_seen(const slm__sums *t) {
    for (int64_t m = 0; m < t->n_matrices; m++)
        if (t->counts[m] > 0) return true;
    return false;
}

static slm__tensor named(const slm__sums *t, const char *suffix, char *name, int64_t columns) {
    int n = snprintf(name, NAME_ROOM, "%s%s", t->name, suffix);
    return (slm__tensor){.name = {name, (size_t)n},
                         .n_dims = t->n_matrices > 1 ? 2 : 1,
                         .dims = {columns, t->n_matrices, 1, 1}};
}

static void lay_out(writing *w) {
    const slm_imatrix *im = w->im;
    w->n_chunks = slm__imatrix_chunks(im);
    w->chunk_size = (uint32_t)im->chunk_size;
    w->keys[0] = slm__text_key(type_key, (slm__str){"imatrix", 7}, w->type_text);
    w->keys[1] = (slm__key){.name = {datasets_key, sizeof datasets_key - 1},
                            .type = GGUF_STRING,
                            .is_array = true,
                            .n = im->n_datasets,
                            .data = im->datasets,
                            .n_bytes = im->dataset_bytes};
    w->keys[2] = slm__u32_key(chunks_key, &w->n_chunks);
    w->keys[3] = slm__u32_key(size_key, &w->chunk_size);
    for (int32_t i = 0; i < w->n; i++) {
        const slm__sums *t = w->sums[i];
        w->tensors[2 * i] = named(t, sums_suffix, w->names[2 * i], t->n);
        w->tensors[2 * i + 1] = named(t, counts_suffix, w->names[2 * i + 1], 1);
        w->types[2 * i] = w->types[2 * i + 1] = SLM_F32;
    }
    w->layout = (slm__gguf_change){.keys = w->keys,
                                   .n_keys = SLM_COUNT(w->keys),
                                   .tensors = w->tensors,
                                   .types = w->types,
                                   .n_tensors = 2 * w->n};
}

static slm_status prepare(writing *w, slm_error *err) {
    const slm_imatrix *im = w->im;
    const slm_allocator *a = &im->allocator;
    uint64_t n = (uint64_t)im->n_tensors;
    w->sums = slm__alloc_array(a, n, sizeof *w->sums);
    w->tensors = slm__alloc_array(a, 2 * n, sizeof *w->tensors);
    w->types = slm__alloc_array(a, 2 * n, sizeof *w->types);
    w->names = slm__alloc_array(a, 2 * n, sizeof *w->names);
    if (!w->sums || !w->tensors || !w->types || !w->names)
        return slm__fail(err, SLM_ERR_NOMEM, "no memory to write an importance matrix");
    for (int32_t i = 0; i < im->n_tensors; i++)
        if (has_seen(&im->tensors[i])) w->sums[w->n++] = &im->tensors[i];
    if (w->n == 0)
        return slm__fail(err, SLM_ERR_ARGUMENT, "an importance matrix that has seen no tokens");
    lay_out(w);
    uint64_t head_bytes = slm__gguf_write_head(&w->layout, NULL, 0, NULL);
    w->head = slm__alloc(a, head_bytes);
    if (!w->head) return slm__fail(err, SLM_ERR_NOMEM, "no memory to write an importance matrix");
    slm__gguf_write_head(&w->layout, w->head, head_bytes, NULL);
    return SLM_OK;
}

/* As floats, and zeros up to the alignment. */
static slm_status write_numbers(writing *w, const slm__sums *t, const double *x, int64_t n,
                                slm_error *err) {
    enum { PART = 1024 };
    float out[PART];
    uint64_t padded = slm__align_up((uint64_t)n * sizeof *out, SLM__GGUF_ALIGNMENT) / sizeof *out;
    for (uint64_t first = 0; first < padded; first += PART) {
        uint64_t count = padded - first < PART ? padded - first : PART;
        for (uint64_t i = 0; i < count; i++)
            out[i] = first + i < (uint64_t)n ? (float)x[first + i] : 0;
        if (!slm__all_finite(out, (int64_t)count))
            return slm__fail(err, SLM_ERR_NUMERIC,
                             "tensor %s: the model has put NaN, infinity or too large a number "
                             "into it",
                             slm__show((slm__str){t->name, strlen(t->name)}).text);
        SLM_TRY(slm__outfile_write(&w->file, out, count * sizeof *out, err));
    }
    return SLM_OK;
}

static slm_status write_all(writing *w, slm_error *err) {
    SLM_TRY(slm__outfile_write(&w->file, w->head, slm__gguf_write_head(&w->layout, NULL, 0, NULL),
                               err));
    for (int32_t i = 0; i < w->n; i++) {
        const slm__sums *t = w->sums[i];
        SLM_TRY(write_numbers(w, t, t->sums, t->n * t->n_matrices, err));
        SLM_TRY(write_numbers(w, t, t->counts, t->n_matrices, err));
    }
    return SLM_OK;
}

slm_status slm_imatrix_save(const slm_imatrix *im, const char *path, slm_error *err) {
    slm__clear(err);
    if (!im || !path) return slm__fail(err, SLM_ERR_ARGUMENT, "an argument is NULL");
    const slm_allocator *a = &im->allocator;
    writing w = {.im = im};
    slm_status s = prepare(&w, err);
    if (s == SLM_OK) s = slm__outfile_create(&w.file, path, 0666, a, err);
    if (s == SLM_OK) s = slm__outfile_finish(&w.file, write_all(&w, err), err);
    slm__free(a, w.sums);
    slm__free(a, w.tensors);
    slm__free(a, w.types);
    slm__free(a, w.names);
    slm__free(a, w.head);
    return s;
}
