/* Files to smaller files: which tensor becomes what is decided first (mixture.c), and can be asked; then the data passes through,
 * a slice at a time.
 *
 * Rows are whole blocks of the type that they have and of the one that they get, so the weights of a tensor are one stream, cut into
 * pieces that are whole blocks of every type. Pieces do not depend on each other: threads never change a byte. */
#include <sys/stat.h>

#include "gguf_write.h"
#include "mixture.h"
#include "model.h"
#include "outfile.h"
#include "pool.h"
#include "../kernels/kernels.h"
#include "../kernels/quantize.h"

enum {
    PIECE = 4096,      /* weights: a multiple of all blocks */
    PIECES = 64,       /* of a slice                        */
    VERSION = 2,       /* general.quantization_version      */
    MAX_PATTERN = 256, /* bytes                             */
};

struct slm_quantizer {
    slm_allocator allocator;
    const slm_model *model;
    const slm__mixture *mixture;
    int32_t n_threads;
    slm_progress_fn progress;
    void *progress_user;
    slm_type *wanted, *types; /* [n_tensors]; types: wanted, or what fits */
    uint32_t file_type, version;
    slm__key keys[2];
    slm__gguf_change change;
};

/* ---- Names ---- */

slm_quantize_params slm_quantize_defaults(void) {
    return (slm_quantize_params){.size = sizeof(slm_quantize_params), .type = "Q4_K_M"};
}

const char *slm_quantize_type(int32_t index) {
    const slm__mixture *m = slm__mixture_at(index);
    return m ? slm__mixture_name(m) : NULL;
}

static slm_status unknown_type(const char *name, const char *(*at)(int32_t), slm_error *err) {
    char known[320] = "";
    const char *one;
    for (int32_t i = 0; (one = at(i)); i++) {
        strncat(known, i ? ", " : "", sizeof known - strlen(known) - 1);
        strncat(known, one, sizeof known - strlen(known) - 1);
    }
    return slm__fail(err, SLM_ERR_ARGUMENT, "unknown type %s, known: %s",
                     slm__show((slm__str){name, strlen(name)}).text, known);
}

static const char *block_type_at(int32_t index) {
    return index < SLM_N_TYPES ? slm__type_info[index].name : NULL;
}

/* '*' is any bytes, '?' any byte. Linear in memory, at most the product of the lengths in time: only the last '*' is ever
 * reconsidered. */
static bool matches(const char *pattern, const char *name) {
    const char *star = NULL, *from = NULL;
    while (*name) {
        if (*pattern == '*') {
            star = pattern++;
            from = name;
        } else if (*pattern == '?' || *pattern == *name) {
            pattern++, name++;
        } else if (star) {
            pattern = star + 1;
            name = ++from;
        } else {
            return false;
        }
    }
    while (*pattern == '*') pattern++;
    return *pattern == '\0';
}

/* ---- The plan ---- */

static slm_status check_choice(const slm_tensor_choice *c, int32_t index, slm_type *type,
                               slm_error *err) {
    if (!c->pattern || !c->type)
        return slm__fail(err, SLM_ERR_ARGUMENT, "choice %d has no pattern or no type", index);
    if (strlen(c->pattern) > MAX_PATTERN)
        return slm__fail(err, SLM_ERR_LIMIT, "a pattern of %zu bytes, at most %d",
                         strlen(c->pattern), MAX_PATTERN);
    return slm__type_find(c->type, type) ? SLM_OK : unknown_type(c->type, block_type_at, err);
}

/* The last choice first, so that earlier ones prevail. */
static slm_status apply_choices(slm_quantizer *q, const slm_quantize_params *p, slm_error *err) {
    const slm__gguf *g = &q->model->gguf;
    for (int32_t c = p->n_choices - 1; c >= 0; c--) {
        const slm_tensor_choice *choice = &p->choices[c];
        slm_type type;
        bool used = false;
        SLM_TRY(check_choice(choice, c, &type, err));
        for (int32_t i = 0; i < g->n_tensors; i++) {
            if (!matches(choice->pattern, g->tensor_names[i])) continue;
            if (!slm__is_quantizable(&g->tensors[i])) continue;
            q->wanted[i] = type;
            used = true;
        }
        if (!used)
            return slm__fail(err, SLM_ERR_ARGUMENT, "%s matches no tensor that can be quantized",
                             slm__show((slm__str){choice->pattern, strlen(choice->pattern)}).text);
    }
    return SLM_OK;
}

static slm_status fit_types(slm_quantizer *q, bool requantize, slm_error *err) {
    const slm__gguf *g = &q->model->gguf;
    for (int32_t i = 0; i < g->n_tensors; i++) {
        const slm__tensor *t = &g->tensors[i];
        q->types[i] = slm__type_that_fits(q->wanted[i], t->dims[0]);
        if (q->types[i] == t->type || !slm__is_quantized(t->type) || requantize) continue;
        return slm__fail(err, SLM_ERR_UNSUPPORTED,
                         "tensor %s is quantized already (%s), and each time costs quality: not "
                         "without `requantize`",
                         slm__show(t->name).text, slm__type_info[t->type].name);
    }
    return SLM_OK;
}

static slm_status refuse_parts(const slm__gguf *g, slm_error *err) {
    uint64_t n = 1;
    bool found;
    SLM_TRY(slm__gguf_u64(g, "split.count", &n, &found, err));
    if (n <= 1) return SLM_OK;
    return slm__fail(err, SLM_ERR_UNSUPPORTED, "one of %llu parts of a model: join them first",
                     (unsigned long long)n);
}

static slm_status make_plan(slm_quantizer *q, const slm_quantize_params *p, slm_error *err) {
    const slm__gguf *g = &q->model->gguf;
    q->mixture = slm__mixture_find(p->type);
    if (!q->mixture) return unknown_type(p->type, slm_quantize_type, err);
    q->wanted = slm__alloc_array(&q->allocator, (uint64_t)g->n_tensors, sizeof *q->wanted);
    q->types = slm__alloc_array(&q->allocator, (uint64_t)g->n_tensors, sizeof *q->types);
    if (!q->wanted || !q->types)
        return slm__fail(err, SLM_ERR_NOMEM, "no memory for %d tensors", g->n_tensors);
    SLM_TRY(refuse_parts(g, err));
    SLM_TRY(slm__mixture_choose(q->mixture, g, q->model->arch_name, &q->allocator, q->wanted, err));
    SLM_TRY(apply_choices(q, p, err));
    SLM_TRY(fit_types(q, p->requantize, err));
    q->file_type = slm__mixture_file_type(q->mixture);
    q->version = VERSION;
    q->keys[0] = slm__u32_key("general.file_type", &q->file_type);
    q->keys[1] = slm__u32_key("general.quantization_version", &q->version);
    q->change = (slm__gguf_change){.from = g,
                                   .keys = q->keys,
                                   .n_keys = SLM_COUNT(q->keys),
                                   .tensors = g->tensors,
                                   .types = q->types,
                                   .n_tensors = g->n_tensors};
    return SLM_OK;
}

static slm_status check_params(const slm_quantize_params *p, slm_error *err) {
    if (p->size != sizeof *p)
        return slm__fail(err, SLM_ERR_ARGUMENT, "params->size is %zu, expected %zu", p->size,
                         sizeof *p);
    SLM_TRY(slm__check_allocator(&p->allocator, err));
    SLM_TRY(slm__check_range("n_threads", p->n_threads, 0, SLM_MAX_THREADS, err));
    SLM_TRY(slm__check_range("n_choices", p->n_choices, 0, INT32_MAX, err));
    if (!p->type || (p->n_choices > 0 && !p->choices))
        return slm__fail(err, SLM_ERR_ARGUMENT, "params->type or params->choices is NULL");
    return SLM_OK;
}

slm_status slm_quantizer_create(const slm_model *model, const slm_quantize_params *params,
                                slm_quantizer **out, slm_error *err) {
    slm__clear(err);
    if (!out) return slm__fail(err, SLM_ERR_ARGUMENT, "out is NULL");
    *out = NULL;
    if (!model) return slm__fail(err, SLM_ERR_ARGUMENT, "model is NULL");
    slm_quantize_params p = slm_quantize_defaults();
    if (params) p = *params;
    SLM_TRY(check_params(&p, err));
    slm_quantizer *q = slm__alloc(&p.allocator, sizeof *q);
    if (!q) return slm__fail(err, SLM_ERR_NOMEM, "no memory for a quantizer");
    q->allocator = p.allocator;
    q->model = model;
    q->progress = p.progress;
    q->progress_user = p.progress_user;
    q->n_threads = p.n_threads ? p.n_threads : slm__default_threads(SLM_MAX_THREADS);
    slm_status s = slm__guard_check(model->gguf.guard, make_plan(q, &p, err), err);
    if (s != SLM_OK) {
        slm_quantizer_free(q);
        return s;
    }
    *out = q;
    return SLM_OK;
}

void slm_quantizer_free(slm_quantizer *q) {
    if (!q) return;
    slm_allocator allocator = q->allocator;
    slm__free(&allocator, q->wanted);
    slm__free(&allocator, q->types);
    slm__free(&allocator, q);
}

slm_status slm_quantizer_get_info(const slm_quantizer *q, slm_quantizer_info *info) {
    if (!q || !info || info->size != sizeof *info) return SLM_ERR_ARGUMENT;
    const slm__gguf *g = &q->model->gguf;
    *info = (slm_quantizer_info){.size = sizeof *info,
                                 .type = slm__mixture_name(q->mixture),
                                 .n_threads = q->n_threads,
                                 .n_tensors = g->n_tensors,
                                 .file_bytes_from = g->n_bytes};
    for (int32_t i = 0; i < g->n_tensors; i++) {
        info->n_fallbacks += q->types[i] != q->wanted[i];
        info->n_params += slm__n_weights(&g->tensors[i]);
        info->tensor_bytes_from += g->tensors[i].n_bytes;
        info->tensor_bytes += slm__gguf_changed_bytes(&q->change, i);
    }
    slm__gguf_write_head(&q->change, NULL, 0, &info->file_bytes);
    return SLM_OK;
}

slm_status slm_quantizer_get_tensor(const slm_quantizer *q, int32_t index,
                                    slm_quantized_tensor *info) {
    if (!q || !info || info->size != sizeof *info) return SLM_ERR_ARGUMENT;
    const slm__gguf *g = &q->model->gguf;
    if (index < 0 || index >= g->n_tensors) return SLM_ERR_RANGE;
    const slm__tensor *t = &g->tensors[index];
    *info = (slm_quantized_tensor){.size = sizeof *info,
                                   .name = g->tensor_names[index],
                                   .from = slm__type_info[t->type].name,
                                   .to = slm__type_info[q->types[index]].name,
                                   .wanted = slm__type_info[q->wanted[index]].name,
                                   .n_dims = t->n_dims,
                                   .n_bytes_from = t->n_bytes,
                                   .n_bytes = slm__gguf_changed_bytes(&q->change, index)};
    memcpy(info->dims, t->dims, sizeof info->dims);
    return SLM_OK;
}

/* ---- The data ---- */

/* A slice of a tensor at work, and what all of them need. */
typedef struct work {
    const slm_quantizer *q;
    const slm_kernels *kernels;
    slm__pool *pool;
    slm__outfile *file;
    float *x;     /* [n_threads, PIECE] */
    uint8_t *out; /* [PIECES * PIECE] of the largest type */
    const slm__tensor *tensor;
    slm_type type;
    uint64_t first, end; /* weights of the tensor, in this slice */
    int32_t bad[PIECES]; /* the first weight that is NaN or infinite, or -1 */
    float bad_value[PIECES];
    uint64_t n_done, n_all;
} work;

static int64_t piece_length(const work *w, uint64_t first) {
    return (int64_t)(w->end - first < PIECE ? w->end - first : PIECE);
}

static const uint8_t *piece_data(const work *w, uint64_t first) {
    return w->tensor->data + slm__type_bytes(w->tensor->type, first);
}

static void quantize_piece(void *arg, int32_t chunk, int32_t thread) {
    work *w = arg;
    uint64_t first = w->first + (uint64_t)chunk * PIECE;
    int64_t n = piece_length(w, first);
    float *x = w->x + (size_t)thread * PIECE;
    uint8_t *out = w->out + slm__type_bytes(w->type, (uint64_t)chunk * PIECE);
    w->kernels->dequantize[w->tensor->type](piece_data(w, first), n, x);
    w->bad[chunk] = -1;
    if (!slm__all_finite(x, n)) {
        int32_t i = 0;
        while (slm__all_finite(x + i, 1)) i++;
        w->bad[chunk] = i;
        w->bad_value[chunk] = x[i];
        return;
    }
    if (w->type == w->tensor->type)
        memcpy(out, piece_data(w, first), (size_t)slm__type_bytes(w->type, (uint64_t)n));
    else
        slm__quantize_row(w->type, SLM_ROUND_SEARCH, x, n, NULL, out);
}

static slm_status fail_not_finite(const work *w, int32_t piece, slm_error *err) {
    uint64_t row = (uint64_t)w->tensor->dims[0];
    uint64_t at = w->first + (uint64_t)piece * PIECE + (uint64_t)w->bad[piece];
    float x = w->bad_value[piece];
    return slm__fail(err, SLM_ERR_NUMERIC, "tensor %s: weight %llu of row %llu is %s",
                     slm__show(w->tensor->name).text, (unsigned long long)(at % row),
                     (unsigned long long)(at / row), x != x ? "NaN" : "infinite");
}

static slm_status report(work *w, uint64_t n, slm_error *err) {
    w->n_done += n;
    float done = w->n_all ? (float)((double)w->n_done / (double)w->n_all) : 1;
    if (!w->q->progress || w->q->progress(w->q->progress_user, done)) return SLM_OK;
    return slm__fail(err, SLM_ERR_CANCELLED, "cancelled");
}

static slm_status write_slice(work *w, slm_error *err) {
    uint64_t n = w->end - w->first;
    int32_t n_pieces = (int32_t)((n + PIECE - 1) / PIECE);
    slm__pool_run(w->pool, n_pieces, quantize_piece, w);
    SLM_TRY(slm__guard_check(w->q->model->gguf.guard, SLM_OK, err));
    for (int32_t i = 0; i < n_pieces; i++)
        if (w->bad[i] >= 0) return fail_not_finite(w, i, err);
    SLM_TRY(slm__outfile_write(w->file, w->out, slm__type_bytes(w->type, n), err));
    return report(w, n, err);
}

/* Zeros behind the n bytes of a tensor. */
static slm_status write_padding(work *w, uint64_t n, slm_error *err) {
    uint64_t left = slm__align_up(n, w->q->model->gguf.alignment) - n;
    while (left > 0) {
        uint64_t part = left < PIECE ? left : PIECE;
        memset(w->out, 0, (size_t)part);
        SLM_TRY(slm__outfile_write(w->file, w->out, part, err));
        left -= part;
    }
    return SLM_OK;
}

static slm_status write_tensor(work *w, int32_t index, slm_error *err) {
    const slm__gguf *g = &w->q->model->gguf;
    w->tensor = &g->tensors[index];
    w->type = w->q->types[index];
    uint64_t n = slm__n_weights(w->tensor);
    for (w->first = 0; w->first < n; w->first = w->end) {
        uint64_t left = n - w->first;
        w->end = w->first + (left < PIECES * PIECE ? left : PIECES * PIECE);
        SLM_TRY(write_slice(w, err));
    }
    return write_padding(w, slm__type_bytes(w->type, n), err);
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
    const slm__gguf *g = &w->q->model->gguf;
    for (int32_t i = 0; i < g->n_tensors; i++) w->n_all += slm__n_weights(&g->tensors[i]);
    SLM_TRY(report(w, 0, err));
    SLM_TRY(write_head(w, err));
    for (int32_t i = 0; i < g->n_tensors; i++) SLM_TRY(write_tensor(w, i, err));
    return SLM_OK;
}

static slm_status write_file(const slm_quantizer *q, const char *path, slm_error *err) {
    slm__outfile file;
    work w = {.q = q, .kernels = slm__kernels_named(NULL), .file = &file};
    SLM_TRY(slm__pool_create(q->n_threads, false, &q->allocator, &w.pool, err));
    w.x = slm__alloc_array(&q->allocator, (uint64_t)q->n_threads * PIECE, sizeof *w.x);
    w.out = slm__alloc(&q->allocator, (uint64_t)PIECES * PIECE * sizeof(float));
    slm_status s = SLM_OK;
    if (!w.x || !w.out) s = slm__fail(err, SLM_ERR_NOMEM, "no memory to quantize");
    if (s == SLM_OK) s = slm__outfile_create(&file, path, 0666, &q->allocator, err);
    if (s == SLM_OK) s = slm__outfile_finish(&file, write_all(&w, err), err);
    slm__free(&q->allocator, w.x);
    slm__free(&q->allocator, w.out);
    slm__pool_free(w.pool);
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
