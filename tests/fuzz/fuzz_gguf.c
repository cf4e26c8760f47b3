/* A file of any bytes is opened, with and without weights and once with failing memory; everything that can be asked of
 * what opens is asked. */
#include "fuzz.h"

static volatile char sink; /* bytes that are handed out must be there to be read */

static void ask_key(const slm_model *m, int32_t i) {
    slm_key_info key = {.size = sizeof key};
    require(slm_model_get_key(m, i, &key) == SLM_OK);
    require(key.name && key.type && slm_model_find_key(m, key.name) == i);
    const uint64_t elements[] = {0, key.n_elements / 2, key.n_elements - 1, key.n_elements,
                                 UINT64_MAX};
    for (size_t j = 0; j < sizeof elements / sizeof *elements; j++) {
        char buffer[64];
        size_t n = 0;
        slm_error err;
        slm_status s = slm_model_key_text(m, i, elements[j], buffer, sizeof buffer, &n, &err);
        fuzz_error(s, &err);
        if (s == SLM_ERR_BUFFER) {
            char *large = malloc(n);
            size_t again = 0;
            require(large && n > sizeof buffer);
            require(slm_model_key_text(m, i, elements[j], large, n, &again, NULL) == SLM_OK &&
                    again == n);
            free(large);
        } else {
            require(s == (elements[j] < key.n_elements ? SLM_OK : SLM_ERR_RANGE));
            require(n <= sizeof buffer);
        }
    }
}

static void ask_tensor(const slm_model *m, int32_t i, uint64_t *n_bytes) {
    slm_tensor_info t = {.size = sizeof t};
    require(slm_model_get_tensor(m, i, &t) == SLM_OK);
    require(t.name && t.type && t.n_dims >= 1 && t.n_dims <= 4);
    for (int d = 0; d < 4; d++) require(t.dims[d] >= 1 && (d < t.n_dims || t.dims[d] == 1));
    *n_bytes += t.n_bytes;
}

static void ask_all(const slm_model *m, size_t n) {
    slm_model_info info = {.size = sizeof info};
    uint64_t n_bytes = 0;
    require(slm_model_get_info(m, &info) == SLM_OK);
    require(info.file_bytes == n && info.n_vocab > 0 && info.architecture);
    for (int32_t i = 0; i < slm_model_n_keys(m); i++) ask_key(m, i);
    for (int32_t i = 0; i < slm_model_n_tensors(m); i++) ask_tensor(m, i, &n_bytes);
    require(n_bytes == info.tensor_bytes && n_bytes < n);
    for (slm_token t = -1; t <= info.n_vocab; t++) {
        const char *text = NULL;
        size_t length = 0;
        uint32_t attributes;
        slm_status s = slm_token_get(m, t, &text, &length, &attributes);
        require(s == (t >= 0 && t < info.n_vocab ? SLM_OK : SLM_ERR_RANGE));
        for (size_t i = 0; i < length; i++) sink = text[i];
    }
    require(slm_token_bos(m) < info.n_vocab && slm_token_eos(m) < info.n_vocab);
}

static slm_status open_once(const void *file, size_t n, bool vocab_only, uint32_t calls) {
    fuzz_memory memory = {.left = 64 << 20, .calls_left = calls};
    slm_model_params p = slm_model_defaults();
    p.allocator = fuzz_allocator(&memory);
    p.vocab_only = vocab_only;
    p.check_weights = !vocab_only;
    slm_model *m = (slm_model *)&memory;
    slm_error err;
    slm_status s = slm_model_open_memory(file, n, &p, &m, &err);
    fuzz_error(s, &err);
    require((m != NULL) == (s == SLM_OK));
    if (m) ask_all(m, n);
    slm_model_close(m);
    require(memory.n_live == 0);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    void *file = fuzz_copy(data, n);
    slm_status s = open_once(file, n, true, UINT32_MAX);
    open_once(file, n, false, UINT32_MAX);
    if (s == SLM_OK) open_once(file, n, true, fuzz_choice(data, n) % 24);
    free(file);
    return 0;
}
