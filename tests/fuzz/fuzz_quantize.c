/* A file of any bytes is opened for its keys and tensors and quantized to a type that follows from the bytes, with a key more, columns that matter
 * more than others, or failing memory. What is written is read back: the same keys and tensors, of the sizes that were announced. */
#include "fuzz_file.h"

#include "../../libslm/gguf.h"
#include "../../libslm/model.h"

static bool importance(void *user, const char *tensor, int64_t matrix, int64_t n, float *out) {
    (void)user;
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)((i + matrix + (int64_t)strlen(tensor)) % 7) * 0.25f;
    return n % 2 == 0;
}

static bool is_set(slm__str name) {
    return slm__str_eq(name, "general.file_type") ||
           slm__str_eq(name, "general.quantization_version") || slm__str_eq(name, "fuzz.text");
}

/* They are not true of the new file. */
static bool is_dropped(slm__str name) {
    static const char prefix[] = "quantize.imatrix.";
    return name.len >= sizeof prefix - 1 && memcmp(name.ptr, prefix, sizeof prefix - 1) == 0;
}

static void compare_keys(const slm__gguf *in, const slm__gguf *out) {
    int32_t n = 0; /* keys of `in` that are passed */
    for (int32_t i = 0; i < out->n_keys; i++) {
        while (n < in->n_keys && is_dropped(in->keys[n].name)) n++;
        const slm__key *a = &in->keys[n], *b = &out->keys[i];
        if (n == in->n_keys) require(is_set(b->name));
        if (n < in->n_keys) n++;
        if (a == in->keys + in->n_keys || is_set(b->name)) continue;
        require(slm__str_compare(a->name, b->name) == 0);
        require(a->type == b->type && a->is_array == b->is_array && a->n == b->n);
        require(a->n_bytes == b->n_bytes && memcmp(a->data, b->data, (size_t)a->n_bytes) == 0);
    }
    while (n < in->n_keys && is_dropped(in->keys[n].name)) n++;
    require(n == in->n_keys);
}

static void compare_tensors(const slm_quantizer *q, const slm__gguf *in, const slm__gguf *out) {
    require(in->n_tensors == out->n_tensors && in->alignment == out->alignment);
    for (int32_t i = 0; i < in->n_tensors; i++) {
        const slm__tensor *a = &in->tensors[i], *b = &out->tensors[i];
        slm_quantized_tensor t = {.size = sizeof t};
        require(slm_quantizer_get_tensor(q, i, &t) == SLM_OK);
        require(slm__str_compare(a->name, b->name) == 0 && a->n_dims == b->n_dims);
        require(memcmp(a->dims, b->dims, sizeof a->dims) == 0);
        require(t.n_bytes == b->n_bytes && strcmp(t.to, slm__type_info[b->type].name) == 0);
        if (a->type == b->type) require(memcmp(a->data, b->data, (size_t)a->n_bytes) == 0);
    }
}

static void read_back(const slm_quantizer *q, const slm_model *m, int64_t n_bytes) {
    slm_quantizer_info info = {.size = sizeof info};
    slm_model_params p = slm_model_defaults();
    slm_model *written;
    slm_error err;
    require(slm_quantizer_get_info(q, &info) == SLM_OK);
    require(n_bytes == (int64_t)info.file_bytes);
    p.keys_only = true;
    require(slm_model_open(fuzz_path, &p, &written, &err) == SLM_OK);
    compare_keys(&m->gguf, &written->gguf);
    compare_tensors(q, &m->gguf, &written->gguf);
    slm_model_close(written);
}

static slm_status quantize(const slm_model *m, uint32_t choice, uint32_t calls, const char *text) {
    fuzz_memory memory = {.left = 64 << 20, .calls_left = calls};
    slm_new_key key = {"fuzz.text", text, 0};
    slm_quantize_params p = slm_quantize_defaults();
    int32_t n_types = 0;
    while (slm_quantize_type(n_types)) n_types++;
    p.type = slm_quantize_type((int32_t)(choice % (uint32_t)n_types));
    p.n_threads = 1;
    p.requantize = (choice >> 8 & 3) != 0;
    p.importance = choice >> 10 & 1 ? importance : NULL;
    p.keys = &key;
    p.n_keys = choice >> 11 & 1;
    p.allocator = fuzz_allocator(&memory);
    slm_quantizer *q = (slm_quantizer *)&memory;
    slm_error err = {0};
    slm_status s = slm_quantizer_create(m, &p, &q, &err);
    fuzz_error(s, &err);
    require((q != NULL) == (s == SLM_OK));
    if (q) {
        s = slm_quantizer_write(q, fuzz_path, &err);
        fuzz_error(s, &err);
        int64_t n_bytes = fuzz_file_bytes();
        require((n_bytes >= 0) == (s == SLM_OK));
        if (s == SLM_OK) read_back(q, m, n_bytes);
        unlink(fuzz_path);
    }
    slm_quantizer_free(q);
    require(memory.n_live == 0);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    void *file = fuzz_copy(data, n);
    slm_model_params p = slm_model_defaults();
    slm_model *m = NULL;
    slm_error err;
    char text[32] = "";
    p.keys_only = true;
    memcpy(text, data, n < sizeof text ? n : sizeof text - 1);
    fuzz_make_folder();
    if (slm_model_open_memory(file, n, &p, &m, &err) == SLM_OK) {
        uint32_t choice = fuzz_choice(data, n);
        if (quantize(m, choice, UINT32_MAX, text) == SLM_OK)
            quantize(m, choice, choice >> 16 & 7, text);
    }
    slm_model_close(m);
    free(file);
    return 0;
}
