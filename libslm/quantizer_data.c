/* The weights of a model on their way into a file, or only into blocks and back, which says what they lose by it.
 *
 * Rows are whole blocks of the type that they have and of the one that they get, so the weights of a tensor are one stream (of each of
 * its matrices, where they have an importance), cut into pieces that are whole blocks of every type. Pieces do not depend on each
 * other: threads never change a byte. All threads quantize the pieces of a slice, and one of them writes the slice before meanwhile. */
#include <math.h>
#include <sys/stat.h>

#include "outfile.h"
#include "pool.h"
#include "quantizer.h"
#include "../kernels/kernels.h"
#include "../kernels/quantize.h"

enum {
    PIECE = 4096,       /* weights: a multiple of all blocks */
    FEWEST_PIECES = 64, /* of a slice                        */
    PIECES_A_THREAD = 4,
    BUFFERS = 3, /* of a piece, for each thread: weights, importance, what is read back */
};

typedef struct piece {
    int64_t
        bad; /* the first weight that is NaN or infinite, PIECE: none but it failed, -1: all is well */
    float bad_value;
    double error, square; /* see slm_tensor_loss */
} piece;

/* A slice of a tensor at work, and what all of them need. */
typedef struct work {
    const slm_quantizer *q;
    const slm_kernels *kernels;
    slm__pool *pool;
    float *buffers; /* [n_threads, BUFFERS, PIECE]       */
    int32_t n_pieces;
    piece *pieces; /* [n_pieces]                        */
    uint8_t *out;  /* [n_pieces, PIECE] of the largest type */
    uint8_t *full; /* the same: n_full bytes of the slice before, on their way to the file */
    uint64_t n_full;
    slm_status written; /* what became of them, and the message */
    slm_error *write_error;
    float *importance; /* [longest row], or NULL: nobody knows any */
    /* Where blocks go: to a file, or nowhere, and the loss is added up. */
    slm__outfile *file;
    slm_tensor_loss *loss;
    float *read_back; /* or NULL; [weights of the tensor] */
    int32_t index;    /* of the tensor */
    const slm__tensor *tensor;
    slm_type type;
    bool weighted;       /* this matrix has an importance    */
    uint64_t first, end; /* weights of the tensor, in this slice */
    uint64_t n_done, n_all;
} work;

/* ---- Pieces ---- */

/* Importance goes by columns, and pieces begin anywhere in a row. */
static const float *piece_importance(const work *w, uint64_t first, int64_t n, float *out) {
    uint64_t row = (uint64_t)w->tensor->dims[0], column = first % row;
    if (!w->weighted) return NULL;
    for (int64_t i = 0; i < n; i++) {
        out[i] = w->importance[column];
        if (++column == row) column = 0;
    }
    return out;
}

/* In the order of the weights: the same sums for any number of threads. */
static void measure_piece(const float *x, const float *y, const float *importance, int64_t n,
                          piece *p) {
    p->error = p->square = 0;
    for (int64_t i = 0; i < n; i++) {
        double wi = importance ? (double)importance[i] : 1, xi = (double)x[i],
               d = xi - (double)y[i];
        p->error += wi * (d * d);
        p->square += wi * (xi * xi);
    }
}

static void find_bad(const float *x, int64_t n, piece *p) {
    int64_t i = 0;
    while (i < n && slm__all_finite(x + i, 1)) i++;
    p->bad = i < n ? i : PIECE;
    p->bad_value = i < n ? x[i] : 0;
}

static void quantize_piece(work *w, int32_t chunk, int32_t thread) {
    piece *p = &w->pieces[chunk];
    uint64_t first = w->first + (uint64_t)chunk * PIECE;
    int64_t n = (int64_t)(w->end - first < PIECE ? w->end - first : PIECE);
    float *x = w->buffers + (size_t)thread * BUFFERS * PIECE, *y = x + 2 * PIECE;
    const float *importance = piece_importance(w, first, n, x + PIECE);
    const uint8_t *in = w->tensor->data + slm__type_bytes(w->tensor->type, first);
    uint8_t *out = w->out + slm__type_bytes(w->type, (uint64_t)chunk * PIECE);
    bool copied = w->type == w->tensor->type;
    w->kernels->dequantize[w->tensor->type](in, n, x);
    p->bad = -1;
    if (copied) memcpy(out, in, (size_t)slm__type_bytes(w->type, (uint64_t)n));
    if (copied ? !slm__all_finite(x, n)
               : !slm__quantize_row(w->kernels, w->type, SLM_ROUND_SEARCH, x, n, importance, out)) {
        find_bad(x, n, p);
        return;
    }
    if (!w->loss) return;
    if (w->read_back) y = w->read_back + first;
    w->kernels->dequantize[w->type](out, n, y);
    measure_piece(x, y, importance, n, p);
}

/* ---- Slices ---- */

static slm_status fail_piece(const work *w, int32_t chunk, slm_error *err) {
    const piece *p = &w->pieces[chunk];
    slm__shown name = slm__show(w->tensor->name);
    uint64_t row = (uint64_t)w->tensor->dims[0];
    uint64_t at = w->first + (uint64_t)chunk * PIECE + (uint64_t)p->bad;
    if (p->bad == PIECE)
        return slm__fail(err, SLM_ERR_NUMERIC, "tensor %s cannot become %s", name.text,
                         slm__type_info[w->type].name);
    return slm__fail(err, SLM_ERR_NUMERIC, "tensor %s: weight %llu of row %llu is %s", name.text,
                     (unsigned long long)(at % row), (unsigned long long)(at / row),
                     p->bad_value != p->bad_value ? "NaN" : "infinite");
}

static slm_status report(work *w, uint64_t n, slm_error *err) {
    w->n_done += n;
    float done = w->n_all ? (float)((double)w->n_done / (double)w->n_all) : 1;
    if (!w->q->progress || w->q->progress(w->q->progress_user, done)) return SLM_OK;
    return slm__fail(err, SLM_ERR_CANCELLED, "cancelled");
}

static void write_full(work *w) {
    uint64_t n = w->n_full;
    w->n_full = 0;
    if (n > 0) w->written = slm__outfile_write(w->file, w->full, n, w->write_error);
}

/* Chunk 0 is taken first. */
static void slice_chunk(void *arg, int32_t chunk, int32_t thread) {
    if (chunk == 0)
        write_full(arg);
    else
        quantize_piece(arg, chunk - 1, thread);
}

/* Nothing is on its way then. */
static slm_status flush(work *w, slm_error *err) {
    w->write_error = err;
    write_full(w);
    return w->written;
}

static slm_status pass_slice(work *w, slm_error *err) {
    uint64_t n = w->end - w->first;
    int32_t n_pieces = (int32_t)((n + PIECE - 1) / PIECE);
    w->write_error = err;
    slm__pool_run(w->pool, 0, n_pieces + 1, slice_chunk, w);
    SLM_TRY(w->written);
    SLM_TRY(slm__guard_check(w->q->model->gguf.guard, SLM_OK, err));
    for (int32_t i = 0; i < n_pieces; i++)
        if (w->pieces[i].bad >= 0) return fail_piece(w, i, err);
    for (int32_t i = 0; i < n_pieces && w->loss; i++) {
        w->loss->error += w->pieces[i].error;
        w->loss->square += w->pieces[i].square;
    }
    if (w->file) {
        uint8_t *out = w->out;
        w->out = w->full;
        w->full = out;
        w->n_full = slm__type_bytes(w->type, n);
    }
    return report(w, n, err);
}

/* ---- Tensors ---- */

static slm_status ask_importance(work *w, int64_t matrix, slm_error *err) {
    const slm_quantizer *q = w->q;
    int64_t n = w->tensor->dims[0];
    w->weighted = q->importance(q->importance_user, q->model->gguf.tensor_names[w->index], matrix,
                                n, w->importance);
    for (int64_t i = 0; i < n && w->weighted; i++) {
        float x = w->importance[i];
        if (x >= 0 && x < INFINITY) continue;
        return slm__fail(err, SLM_ERR_NUMERIC,
                         "importance of column %lld of tensor %s (matrix %lld) is %g, expected a "
                         "finite number of at least 0",
                         (long long)i, slm__show(w->tensor->name).text, (long long)matrix,
                         (double)x);
    }
    return SLM_OK;
}

static bool wants_importance(const slm_quantizer *q, int32_t index, slm_type type) {
    return q->importance && slm__is_quantized(type) && type != q->model->gguf.tensors[index].type;
}

static slm_status pass_tensor(work *w, int32_t index, slm_type type, slm_error *err) {
    const slm__tensor *t = &w->q->model->gguf.tensors[index];
    uint64_t n = slm__n_weights(t), matrix = n, slice = (uint64_t)w->n_pieces * PIECE;
    bool asks = wants_importance(w->q, index, type);
    w->index = index;
    w->tensor = t;
    w->type = type;
    w->weighted = false;
    if (asks) matrix = (uint64_t)t->dims[0] * (uint64_t)t->dims[1];
    for (w->first = 0; w->first < n; w->first = w->end) {
        uint64_t left = matrix - w->first % matrix;
        if (asks && w->first % matrix == 0)
            SLM_TRY(ask_importance(w, (int64_t)(w->first / matrix), err));
        w->end = w->first + (left < slice ? left : slice);
        SLM_TRY(pass_slice(w, err));
    }
    return SLM_OK;
}

static void free_work(work *w) {
    const slm_allocator *a = &w->q->allocator;
    slm__free(a, w->buffers);
    slm__free(a, w->pieces);
    slm__free(a, w->out);
    slm__free(a, w->full);
    slm__free(a, w->importance);
    if (w->pool != w->q->threads) slm__pool_free(w->pool);
}

/* For rows of at most `row` weights that have an importance. */
static slm_status create_work(work *w, const slm_quantizer *q, int64_t row, slm_error *err) {
    const slm_allocator *a = &q->allocator;
    int32_t n = q->n_threads * PIECES_A_THREAD;
    *w = (work){.q = q, .kernels = slm__kernels_named(NULL), .pool = q->threads};
    w->n_pieces = n > FEWEST_PIECES ? n : FEWEST_PIECES;
    if (!w->pool) SLM_TRY(slm__pool_create(q->n_threads, false, a, &w->pool, err));
    w->buffers = slm__alloc_array(a, (uint64_t)q->n_threads * BUFFERS * PIECE, sizeof *w->buffers);
    w->pieces = slm__alloc_array(a, (uint64_t)w->n_pieces, sizeof *w->pieces);
    w->out = slm__alloc_array(a, (uint64_t)w->n_pieces * PIECE, sizeof(float));
    w->full = slm__alloc_array(a, (uint64_t)w->n_pieces * PIECE, sizeof(float));
    if (row > 0) w->importance = slm__alloc_array(a, (uint64_t)row, sizeof *w->importance);
    if (w->buffers && w->pieces && w->out && w->full && (w->importance || row == 0)) return SLM_OK;
    free_work(w);
    return slm__fail(err, SLM_ERR_NOMEM, "no memory to quantize");
}

/* ---- What a tensor loses ---- */

slm_status slm_quantizer_tensor_loss(const slm_quantizer *q, int32_t index, const char *type,
                                     float *weights, slm_tensor_loss *loss, slm_error *err) {
    slm__clear(err);
    if (!q || !type || !loss || loss->size != sizeof *loss)
        return slm__fail(err, SLM_ERR_ARGUMENT, "an argument is NULL, or loss->size is wrong");
    slm_type wanted, to;
    work w;
    SLM_TRY(slm__quantizer_type(q, index, type, &wanted, &to, err));
    const slm__tensor *t = &q->model->gguf.tensors[index];
    SLM_TRY(create_work(&w, q, wants_importance(q, index, to) ? t->dims[0] : 0, err));
    slm_tensor_loss found = {.size = sizeof found, .type = slm__type_info[to].name};
    found.n_bytes = slm__type_bytes(to, slm__n_weights(t));
    w.loss = &found;
    w.read_back = weights;
    w.n_all = slm__n_weights(t);
    slm_status s = pass_tensor(&w, index, to, err);
    free_work(&w);
    if (s == SLM_OK) *loss = found;
    return s;
}

/* ---- Files ---- */

/* Zeros behind the n bytes of a tensor. */
static slm_status write_padding(work *w, uint64_t n, slm_error *err) {
    uint64_t left = slm__align_up(n, w->q->model->gguf.alignment) - n;
    if (left > 0) SLM_TRY(flush(w, err));
    while (left > 0) {
        uint64_t part = left < PIECE ? left : PIECE;
        memset(w->out, 0, (size_t)part);
        SLM_TRY(slm__outfile_write(w->file, w->out, part, err));
        left -= part;
    }
    return SLM_OK;
}

static slm_status write_head(const work *w, slm_error *err) {
    const slm_quantizer *q = w->q;
    uint64_t n = slm__gguf_write_head(&q->change, NULL, 0, NULL);
    uint8_t *head = slm__alloc(&q->allocator, n);
    if (!head)
        return slm__fail(err, SLM_ERR_NOMEM, "no memory for keys of %llu bytes",
                         (unsigned long long)n);
    bool same = slm__gguf_write_head(&q->change, head, n, NULL) == n;
    slm_status s = slm__guard_check(q->model->gguf.guard, SLM_OK, err);
    if (s == SLM_OK && !same)
        s = slm__fail(err, SLM_ERR_CHANGED, "the model's file was changed while it was read");
    if (s == SLM_OK) s = slm__outfile_write(w->file, head, n, err);
    slm__free(&q->allocator, head);
    return s;
}

static slm_status write_all(work *w, slm_error *err) {
    const slm_quantizer *q = w->q;
    const slm__gguf *g = &q->model->gguf;
    for (int32_t i = 0; i < g->n_tensors; i++) w->n_all += slm__n_weights(&g->tensors[i]);
    SLM_TRY(report(w, 0, err));
    SLM_TRY(write_head(w, err));
    for (int32_t i = 0; i < g->n_tensors; i++) {
        SLM_TRY(pass_tensor(w, i, q->types[i], err));
        SLM_TRY(write_padding(w, slm__gguf_changed_bytes(&q->change, i), err));
    }
    return flush(w, err);
}

static int64_t longest_row(const slm_quantizer *q) {
    const slm__gguf *g = &q->model->gguf;
    int64_t row = 0;
    for (int32_t i = 0; i < g->n_tensors; i++)
        if (wants_importance(q, i, q->types[i]) && g->tensors[i].dims[0] > row)
            row = g->tensors[i].dims[0];
    return row;
}

static slm_status write_file(const slm_quantizer *q, const char *path, slm_error *err) {
    slm__outfile file;
    work w;
    SLM_TRY(create_work(&w, q, longest_row(q), err));
    w.file = &file;
    slm_status s = slm__outfile_create(&file, path, 0666, &q->allocator, err);
    if (s == SLM_OK) s = slm__outfile_finish(&file, write_all(&w, err), err);
    free_work(&w);
    return s;
}

slm_status slm_quantizer_write(const slm_quantizer *q, const char *path, slm_error *err) {
    slm__clear(err);
    if (!q || !path) return slm__fail(err, SLM_ERR_ARGUMENT, "an argument is NULL");
    const slm__gguf *g = &q->model->gguf;
    struct stat st;
    if (g->is_mapped && stat(path, &st) == 0 && g->device == (uint64_t)st.st_dev &&
        g->inode == (uint64_t)st.st_ino)
        return slm__fail(err, SLM_ERR_ARGUMENT, "%s is the model itself",
                         slm__show((slm__str){path, strlen(path)}).text);
    return write_file(q, path, err);
}
