/* Files to smaller files: which tensor becomes what is decided first (mixture.c), and can be asked and changed; the data pass through
 * afterwards (quantizer_data.c). */
#include "quantizer.h"

#include "pool.h"

enum {
    VERSION = 2,       /* general.quantization_version */
    MAX_PATTERN = 256, /* bytes                        */
    MAX_KEYS = 256,    /* of a caller                  */
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

/* What a tensor becomes that should become `wanted`. */
static slm_status fit_type(const slm_quantizer *q, int32_t index, slm_type wanted, slm_type *type,
                           slm_error *err) {
    const slm__tensor *t = &q->model->gguf.tensors[index];
    *type = slm__type_that_fits(wanted, t->dims[0]);
    if (*type == t->type || !slm__is_quantized(t->type) || q->requantize) return SLM_OK;
    return slm__fail(err, SLM_ERR_UNSUPPORTED,
                     "tensor %s is quantized already (%s), and each time costs quality: not "
                     "without `requantize`",
                     slm__show(t->name).text, slm__type_info[t->type].name);
}

static slm_status refuse_parts(const slm__gguf *g, slm_error *err) {
    uint64_t n = 1;
    bool found;
    SLM_TRY(slm__gguf_u64(g, "split.count", &n, &found, err));
    if (n <= 1) return SLM_OK;
    return slm__fail(err, SLM_ERR_UNSUPPORTED, "one of %llu parts of a model: join them first",
                     (unsigned long long)n);
}

/* ---- Keys ---- */

/* Those that a caller may not set: that of the mixture and its version come first, and data lie where the alignment says. */
static slm_status check_key(const slm_quantizer *q, const slm_new_key *k, slm_error *err) {
    enum { MAX_NAME = 65535 };
    if (!k->name || !*k->name || strlen(k->name) > MAX_NAME)
        return slm__fail(err, SLM_ERR_ARGUMENT, "a key without a name, or with one too long");
    slm__str name = {k->name, strlen(k->name)};
    bool taken = slm__str_eq(name, "general.alignment");
    for (int32_t i = 0; i < q->n_keys; i++) taken |= slm__str_eq(name, q->keys[i].name.ptr);
    if (!taken) return SLM_OK;
    return slm__fail(err, SLM_ERR_ARGUMENT, "key %s is given twice, or is not to be set",
                     slm__show(name).text);
}

/* A copy, as it will lie in the file, at *at, which moves behind it. */
static slm__key copy_key(const slm_new_key *k, uint8_t **at) {
    size_t name_bytes = strlen(k->name) + 1;
    char *name = memcpy(*at, k->name, name_bytes);
    uint8_t *value = *at + name_bytes;
    slm__key key;
    if (k->text) {
        key = slm__text_key(name, (slm__str){k->text, strlen(k->text)}, value);
    } else {
        memcpy(value, &k->number, sizeof k->number);
        key = slm__u32_key(name, value);
    }
    *at = value + key.n_bytes;
    return key;
}

static uint64_t key_bytes(const slm_new_key *k) {
    return (k->name ? strlen(k->name) : 0) + 1 +
           (k->text ? sizeof(uint64_t) + strlen(k->text) : sizeof(uint32_t));
}

static slm_status make_keys(slm_quantizer *q, const slm_quantize_params *p, slm_error *err) {
    enum { OURS = 2 };
    const slm_new_key ours[OURS] = {
        {"general.file_type", NULL, slm__mixture_file_type(q->mixture)},
        {"general.quantization_version", NULL, VERSION},
    };
    uint64_t n_bytes = 0;
    for (int32_t i = 0; i < OURS; i++) n_bytes += key_bytes(&ours[i]);
    for (int32_t i = 0; i < p->n_keys; i++) n_bytes += key_bytes(&p->keys[i]);
    q->keys = slm__alloc_array(&q->allocator, OURS + (uint64_t)p->n_keys, sizeof *q->keys);
    q->key_bytes = slm__alloc(&q->allocator, n_bytes);
    if (!q->keys || !q->key_bytes)
        return slm__fail(err, SLM_ERR_NOMEM, "no memory for %llu bytes of keys",
                         (unsigned long long)n_bytes);
    uint8_t *at = q->key_bytes;
    for (; q->n_keys < OURS; q->n_keys++) q->keys[q->n_keys] = copy_key(&ours[q->n_keys], &at);
    for (int32_t i = 0; i < p->n_keys; i++) {
        SLM_TRY(check_key(q, &p->keys[i], err));
        q->keys[q->n_keys++] = copy_key(&p->keys[i], &at);
    }
    return SLM_OK;
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
    SLM_TRY(slm__mixture_choose(q->mixture, g, q->model->arch_name, p->importance != NULL,
                                &q->allocator, q->wanted, err));
    SLM_TRY(apply_choices(q, p, err));
    for (int32_t i = 0; i < g->n_tensors; i++)
        SLM_TRY(fit_type(q, i, q->wanted[i], &q->types[i], err));
    SLM_TRY(make_keys(q, p, err));
    q->change = (slm__gguf_change){.from = g,
                                   .dropped = "quantize.imatrix.", /* tells of the old weights */
                                   .keys = q->keys,
                                   .n_keys = q->n_keys,
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
    SLM_TRY(slm__check_range("n_keys", p->n_keys, 0, MAX_KEYS, err));
    if (!p->type || (p->n_choices > 0 && !p->choices) || (p->n_keys > 0 && !p->keys))
        return slm__fail(err, SLM_ERR_ARGUMENT,
                         "params->type, params->choices or params->keys is NULL");
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
    q->importance = p.importance;
    q->importance_user = p.importance_user;
    q->requantize = p.requantize;
    q->threads = p.threads;
    q->n_threads = p.threads     ? slm__pool_n_threads(p.threads)
                   : p.n_threads ? p.n_threads
                                 : slm__default_threads(SLM_MAX_THREADS);
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
    slm__free(&allocator, q->keys);
    slm__free(&allocator, q->key_bytes);
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
                                   .n_bytes = slm__gguf_changed_bytes(&q->change, index),
                                   .quantizable = slm__is_quantizable(t)};
    memcpy(info->dims, t->dims, sizeof info->dims);
    return SLM_OK;
}

static slm_status find_type(const slm_quantizer *q, int32_t index, const char *name,
                            slm_type *wanted, slm_type *type, slm_error *err) {
    const slm__gguf *g = &q->model->gguf;
    SLM_TRY(slm__check_range("index", index, 0, g->n_tensors - 1, err));
    if (!slm__type_find(name, wanted)) return unknown_type(name, block_type_at, err);
    const slm__tensor *t = &g->tensors[index];
    if (*wanted != t->type && !slm__is_quantizable(t))
        return slm__fail(err, SLM_ERR_ARGUMENT, "tensor %s can only stay what it is",
                         slm__show(t->name).text);
    return fit_type(q, index, *wanted, type, err);
}

/* It depends on the tensor's name, which lies in the file. */
slm_status slm__quantizer_type(const slm_quantizer *q, int32_t index, const char *name,
                               slm_type *wanted, slm_type *type, slm_error *err) {
    slm_status s = find_type(q, index, name, wanted, type, err);
    return slm__guard_check(q->model->gguf.guard, s, err);
}

slm_status slm_quantizer_set_type(slm_quantizer *q, int32_t index, const char *type,
                                  slm_error *err) {
    slm__clear(err);
    if (!q || !type) return slm__fail(err, SLM_ERR_ARGUMENT, "an argument is NULL");
    slm_type wanted, fits;
    SLM_TRY(slm__quantizer_type(q, index, type, &wanted, &fits, err));
    q->wanted[index] = wanted;
    q->types[index] = fits;
    return SLM_OK;
}
