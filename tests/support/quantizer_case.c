#include "quantizer_case.h"
#include "suite.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const slm_allocator plain_allocator;

#define GOOD(call) ck_assert_msg((call) == SLM_OK, "%s", err.message)

void open_quantizer_case(quantizer_case *c) {
    slm_error err;
    slm_model_params p = slm_model_defaults();
    p.keys_only = true;
    c->data = gb_finish(&c->b, &c->n_bytes);
    GOOD(slm_model_open_memory(c->data, c->n_bytes, &p, &c->model, &err));
    strcpy(c->dir, "/tmp/slm_test_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(c->dir));
    snprintf(c->path, sizeof c->path, "%s/out.gguf", c->dir);
}

void close_quantizer_case(quantizer_case *c) {
    slm_model_close(c->model);
    gb_free(&c->b);
    unlink(c->path);
    ck_assert_int_eq(rmdir(c->dir), 0);
}

int n_files(const char *dir) {
    int n = -2;
    DIR *d = opendir(dir);
    ck_assert_ptr_nonnull(d);
    while (readdir(d)) n++;
    closedir(d);
    return n;
}

slm_quantize_params quantizer_params(const char *type) {
    slm_quantize_params p = slm_quantize_defaults();
    p.type = type;
    p.n_threads = 2;
    p.requantize = true;
    return p;
}

slm_quantizer *create_quantizer(const quantizer_case *c, const slm_quantize_params *p) {
    slm_error err;
    slm_quantizer *q;
    GOOD(slm_quantizer_create(c->model, p, &q, &err));
    return q;
}

written_file read_written(const char *path) {
    slm_error err;
    written_file w = {0};
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    fseek(file, 0, SEEK_END);
    w.n = (size_t)ftell(file);
    rewind(file);
    w.data = aligned_alloc(64, (w.n + 63) / 64 * 64);
    ck_assert(w.data && fread(w.data, 1, w.n, file) == w.n);
    fclose(file);
    GOOD(slm__gguf_parse(&w.gguf, w.data, w.n, &plain_allocator, &err));
    return w;
}

void free_written(written_file *w) {
    slm__gguf_close(&w->gguf);
    free(w->data);
}

written_file quantize_case(const quantizer_case *c, const slm_quantize_params *p) {
    slm_error err;
    slm_quantizer *q = create_quantizer(c, p);
    GOOD(slm_quantizer_write(q, c->path, &err));
    slm_quantizer_free(q);
    ck_assert_int_eq(n_files(c->dir), 1);
    return read_written(c->path);
}

uint64_t written_u64(const written_file *w, const char *key) {
    slm_error err;
    uint64_t v = 0;
    bool found = false;
    GOOD(slm__gguf_u64(&w->gguf, key, &v, &found, &err));
    ck_assert(found);
    return v;
}
