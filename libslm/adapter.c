/* From a GGUF file with low-rank factors to pairs by the number of the matrix. Whatever is not understood is refused by name: an
 * adapter that is used in part gives wrong results. */
#include "adapter.h"

#include <math.h>

enum { MAX_RANK = 65536 };

static unsigned long long byte_of(const slm_adapter *a, const void *p) {
    return (unsigned long long)((const uint8_t *)p - a->gguf.data);
}

/* ---- Keys ---- */

/* A key must have this text; `status` if it has another or is missing. */
static slm_status expect_text(const slm_adapter *a, const char *key, const char *wanted,
                              slm_status status, slm_error *err) {
    slm__str text;
    bool found = false;
    SLM_TRY(slm__gguf_str(&a->gguf, key, &text, &found, err));
    if (!found) return slm__fail(err, status, "key %s is missing, expected \"%s\"", key, wanted);
    if (slm__str_eq(text, wanted)) return SLM_OK;
    return slm__fail(err, status, "key %s, byte %llu: \"%s\", expected \"%s\"", key,
                     byte_of(a, text.ptr), slm__show(text).text, wanted);
}

static slm_status read_keys(slm_adapter *a, slm_error *err) {
    static const char alpha_key[] = "adapter.lora.alpha",
                      invocation[] = "adapter.alora.invocation_tokens";
    double alpha = 0;
    bool found;
    SLM_TRY(expect_text(a, "general.type", "adapter", SLM_ERR_UNSUPPORTED, err));
    SLM_TRY(expect_text(a, "adapter.type", "lora", SLM_ERR_UNSUPPORTED, err));
    SLM_TRY(expect_text(a, "general.architecture", a->model->arch->name, SLM_ERR_MISMATCH, err));
    if (slm__gguf_key(&a->gguf, invocation)) {
        return slm__fail(err, SLM_ERR_UNSUPPORTED,
                         "key %s: adapters that begin with some tokens of a text", invocation);
    }
    SLM_TRY(slm__gguf_f64(&a->gguf, alpha_key, &alpha, &found, err));
    a->alpha = (float)alpha;
    if (isfinite(a->alpha)) return SLM_OK;
    return slm__fail(err, SLM_ERR_RANGE, "key %s, byte %llu: %g, expected a finite number",
                     alpha_key, byte_of(a, slm__gguf_key(&a->gguf, alpha_key)->data), alpha);
}

/* ---- Tensors ---- */

enum { NAME_MAX_BYTES = 64 }; /* of a tensor, with NUL: gguf.c refuses longer ones */

static const char *const suffixes[] = {".lora_a", ".lora_b"};

/* The matrix of the model that the factor belongs to; `which`: 0 is A, 1 is B. */
static slm_status find_matrix(const slm_adapter *a, const slm__tensor *t, const slm__tensor **out,
                              int *which, slm_error *err) {
    const slm_model *m = a->model;
    size_t n_suffix = strlen(suffixes[0]), n = t->name.len - n_suffix;
    char name[NAME_MAX_BYTES] = "";
    slm__shown shown = slm__show(t->name);
    *which = -1;
    for (int i = 0; i < 2 && t->name.len > n_suffix; i++) {
        if (memcmp(t->name.ptr + n, suffixes[i], n_suffix) == 0) *which = i;
    }
    if (*which < 0) {
        return slm__fail(err, SLM_ERR_UNSUPPORTED,
                         "tensor %s, byte %llu: neither .lora_a nor .lora_b", shown.text,
                         byte_of(a, t->name.ptr));
    }
    memcpy(name, t->name.ptr, n);
    *out = strcmp(name, "output.weight") == 0 ? m->output : slm__gguf_tensor(&m->gguf, name);
    if (!*out) {
        return slm__fail(err, SLM_ERR_MISMATCH,
                         "tensor %s, byte %llu: the model (%s, %u layers) has none of this name",
                         shown.text, byte_of(a, t->name.ptr), m->arch->name, m->hp.n_layer);
    }
    if (slm__is_matrix(name)) return SLM_OK;
    return slm__fail(err, SLM_ERR_UNSUPPORTED,
                     "tensor %s, byte %llu: factors of an embedding, a norm or a bias", shown.text,
                     byte_of(a, t->name.ptr));
}

static slm_status check_shape(const slm_adapter *a, const slm__tensor *t, int64_t columns,
                              int64_t rows, slm_error *err) {
    if (t->dims[0] == columns && t->dims[1] == rows && t->dims[2] == 1 && t->dims[3] == 1)
        return SLM_OK;
    return slm__fail(err, SLM_ERR_MISMATCH,
                     "tensor %s, byte %llu: shape [%lld, %lld, %lld, %lld], expected [%lld, %lld]",
                     slm__show(t->name).text, byte_of(a, t->name.ptr), (long long)t->dims[0],
                     (long long)t->dims[1], (long long)t->dims[2], (long long)t->dims[3],
                     (long long)columns, (long long)rows);
}

/* Both factors are there and fit together and to the matrix. */
static slm_status complete_pair(slm_adapter *a, slm__pair *pair, const slm__tensor *w,
                                slm_error *err) {
    const slm__tensor *one = pair->a ? pair->a : pair->b;
    if (!pair->a || !pair->b) {
        return slm__fail(err, SLM_ERR_MISMATCH, "tensor %s, byte %llu: without its %s",
                         slm__show(one->name).text, byte_of(a, one->name.ptr),
                         suffixes[pair->a ? 1 : 0]);
    }
    int64_t rank = pair->a->dims[1];
    SLM_TRY(check_shape(a, pair->a, w->dims[0], rank, err));
    SLM_TRY(check_shape(a, pair->b, rank, w->dims[1], err));
    if (rank > MAX_RANK) {
        return slm__fail(err, SLM_ERR_LIMIT, "tensor %s, byte %llu: rank %lld, at most %d",
                         slm__show(one->name).text, byte_of(a, one->name.ptr), (long long)rank,
                         MAX_RANK);
    }
    pair->factor = a->alpha == 0 ? 1 : a->alpha / (float)rank;
    if (rank > a->max_rank) a->max_rank = (int32_t)rank;
    a->n_matrices++;
    return SLM_OK;
}

/* Where W is one matrix of rows that the network uses apart, so is B. A meets the input once for all of them. */
static void split_pairs(slm_adapter *a) {
    const slm_model *m = a->model;
    int64_t row = 0;
    for (int32_t i = 0; i < m->n_views; i++) {
        const slm__tensor *view = &m->views[i];
        const slm__tensor *whole = slm__whole_of(m, i);
        const slm__pair *pair = &a->pairs[slm__tensor_number(m, whole)];
        if (view->data == whole->data) row = 0;
        if (!pair->a) continue;
        a->pairs[m->gguf.n_tensors + i] = (slm__pair){
            pair->a, slm__view_rows(&a->views[i], pair->b, &row, (uint64_t)view->dims[1]),
            pair->factor};
    }
}

static slm_status bind_pairs(slm_adapter *a, slm_error *err) {
    const slm_model *m = a->model;
    a->pairs = slm__alloc_array(&a->allocator, (uint64_t)m->gguf.n_tensors + (uint64_t)m->n_views,
                                sizeof *a->pairs);
    a->views = slm__alloc_array(&a->allocator, (uint64_t)m->n_views, sizeof *a->views);
    if (!a->pairs || !a->views)
        return slm__fail(err, SLM_ERR_NOMEM, "no memory for the pairs of an adapter");
    if (a->gguf.n_tensors == 0)
        return slm__fail(err, SLM_ERR_MISMATCH, "an adapter without tensors");
    for (int32_t i = 0; i < a->gguf.n_tensors; i++) {
        const slm__tensor *t = &a->gguf.tensors[i], *w = NULL;
        int which = 0;
        SLM_TRY(find_matrix(a, t, &w, &which, err));
        slm__pair *pair = &a->pairs[slm__tensor_number(m, w)];
        *(which == 0 ? &pair->a : &pair->b) = t;
    }
    for (int32_t i = 0; i < m->gguf.n_tensors; i++) {
        slm__pair *pair = &a->pairs[i];
        if (pair->a || pair->b) SLM_TRY(complete_pair(a, pair, &m->gguf.tensors[i], err));
    }
    split_pairs(a);
    return SLM_OK;
}

/* ---- Public ---- */

/* path, or data and n_bytes */
static slm_status open_adapter(const slm_model *model, const char *path, const void *data,
                               size_t n_bytes, const slm_allocator *allocator, slm_adapter **out,
                               slm_error *err) {
    slm__clear(err);
    if (!out) return slm__fail(err, SLM_ERR_ARGUMENT, "out is NULL");
    *out = NULL;
    if (!model) return slm__fail(err, SLM_ERR_ARGUMENT, "model is NULL");
    if (!path && (!data || (uintptr_t)data % 64 != 0)) {
        return slm__fail(err, SLM_ERR_ARGUMENT,
                         "path is NULL, or data is NULL or not aligned to 64 bytes");
    }
    slm_allocator given = allocator ? *allocator : (slm_allocator){0};
    SLM_TRY(slm__check_allocator(&given, err));
    if (!model->has_weights)
        return slm__fail(err, SLM_ERR_UNSUPPORTED, "the model was opened without its weights");
    slm_adapter *a = slm__alloc(&given, sizeof *a);
    if (!a) return slm__fail(err, SLM_ERR_NOMEM, "no memory for an adapter");
    a->allocator = given;
    a->model = model;
    slm_status s =
        path ? slm__gguf_open(&a->gguf, path, model->gguf.guard != NULL, &a->allocator, err)
             : slm__gguf_parse(&a->gguf, data, n_bytes, &a->allocator, err);
    if (s == SLM_OK) s = read_keys(a, err);
    if (s == SLM_OK) s = bind_pairs(a, err);
    s = slm__guard_check(a->gguf.guard, s, err);
    s = slm__guard_check(model->gguf.guard, s, err);
    if (s != SLM_OK) {
        slm_adapter_close(a);
        return s;
    }
    *out = a;
    return SLM_OK;
}

slm_status slm_adapter_open(const slm_model *model, const char *path,
                            const slm_allocator *allocator, slm_adapter **out, slm_error *err) {
    return open_adapter(model, path, NULL, 0, allocator, out, err);
}

slm_status slm_adapter_open_memory(const slm_model *model, const void *data, size_t n_bytes,
                                   const slm_allocator *allocator, slm_adapter **out,
                                   slm_error *err) {
    return open_adapter(model, NULL, data, n_bytes, allocator, out, err);
}

void slm_adapter_close(slm_adapter *a) {
    if (!a) return;
    slm_allocator allocator = a->allocator;
    slm__gguf_close(&a->gguf);
    slm__free(&allocator, a->pairs);
    slm__free(&allocator, a->views);
    slm__free(&allocator, a);
}

slm_status slm_adapter_get_info(const slm_adapter *a, slm_adapter_info *info) {
    if (!a || !info || info->size != sizeof *info) return SLM_ERR_ARGUMENT;
    *info = (slm_adapter_info){.size = sizeof *info,
                               .n_matrices = a->n_matrices,
                               .max_rank = a->max_rank,
                               .alpha = a->alpha,
                               .file_bytes = a->gguf.n_bytes};
    for (int32_t i = 0; i < a->gguf.n_tensors; i++) {
        const slm__tensor *t = &a->gguf.tensors[i];
        info->n_params += (uint64_t)t->dims[0] * (uint64_t)t->dims[1];
    }
    return SLM_OK;
}
