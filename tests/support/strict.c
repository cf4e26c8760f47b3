#include "strict.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../libslm/gguf.h"
#include "check_alloc.h"
#include "suite.h"

void *strict_copy(const void *data, size_t n) {
    void *p;
    ck_assert_int_eq(posix_memalign(&p, 64, n ? n : 1), 0);
    if (n) memcpy(p, data, n);
    return p;
}

double strict_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void strict_message(const slm_error *err, slm_status s) {
    ck_assert_int_eq(err->status, s);
    size_t n = strnlen(err->message, sizeof err->message);
    ck_assert_uint_lt(n, sizeof err->message);
    ck_assert_uint_gt(n, 0);
    for (size_t i = 0; i < n; i++) ck_assert(err->message[i] >= 0x20 && err->message[i] < 0x7f);
}

slm_status strict_parse(const void *data, size_t n, slm_error *err) {
    void *copy = strict_copy(data, n);
    check_alloc counts = {0};
    slm_allocator a = check_allocator(&counts);
    slm__gguf g;
    memset(err, 0xaa, sizeof *err);
    double begin = strict_seconds();
    slm_status s = slm__gguf_parse(&g, copy, n, &a, err);
    ck_assert_double_lt(strict_seconds() - begin, 1.0);
    ck_assert_uint_le(counts.peak, (16 << 20) + 2 * (uint64_t)n);
    if (s == SLM_OK) {
        slm__gguf_close(&g);
    } else {
        strict_message(err, s);
        ck_assert_ptr_null(g.data);
        ck_assert_ptr_null(g.keys);
    }
    ck_assert_int_eq(counts.n_live, 0);
    free(copy);
    return s;
}

static void look_at_keys(const slm_model *m) {
    for (int32_t i = 0; i < slm_model_n_keys(m); i++) {
        char text[32];
        size_t n_bytes;
        slm_key_info key = {.size = sizeof key};
        ck_assert_int_eq(slm_model_get_key(m, i, &key), SLM_OK);
        ck_assert_int_eq(slm_model_find_key(m, key.name), i);
        slm_status t =
            slm_model_key_text(m, i, key.n_elements - 1, text, sizeof text, &n_bytes, NULL);
        ck_assert(t == SLM_OK || (t == SLM_ERR_BUFFER && n_bytes > sizeof text) ||
                  (t == SLM_ERR_RANGE && key.n_elements == 0));
    }
}

slm_status strict_open(const void *data, size_t n, const slm_model_params *params, slm_error *err) {
    slm_model *m = (slm_model *)err; /* anything but NULL */
    memset(err, 0xaa, sizeof *err);
    slm_status s = slm_model_open_memory(data, n, params, &m, err);
    if (s != SLM_OK) {
        ck_assert_ptr_null(m);
        strict_message(err, s);
        return s;
    }
    ck_assert_ptr_nonnull(m);
    ck_assert_str_eq(err->message, "");
    slm_model_info info = {.size = sizeof info};
    ck_assert_int_eq(slm_model_get_info(m, &info), SLM_OK);
    ck_assert_uint_eq(info.file_bytes, n);
    look_at_keys(m);
    for (int32_t i = 0; i < slm_model_n_tensors(m); i++) {
        slm_tensor_info tensor = {.size = sizeof tensor};
        ck_assert_int_eq(slm_model_get_tensor(m, i, &tensor), SLM_OK);
        ck_assert(tensor.n_dims >= 1 && tensor.n_dims <= 4 && tensor.dims[0] > 0);
    }
    slm_model_close(m);
    return s;
}

bool sanitized(void) {
    const char *san = getenv("SAN");
    return san && *san;
}
