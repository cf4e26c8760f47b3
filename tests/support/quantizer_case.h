/* A model in memory, a folder to quantize it into, and the file that comes of it. Whatever fails ends the test. */
#ifndef TESTS_QUANTIZER_CASE_H
#define TESTS_QUANTIZER_CASE_H

#include "../../libslm/gguf.h"
#include "gguf_build.h"

typedef struct quantizer_case {
    gguf_build b;
    const void *data; /* the model's file */
    size_t n_bytes;
    slm_model *model; /* opened for its keys and tensors only */
    char dir[32], path[64];
} quantizer_case;

/* What was built in c->b is opened, and gets a folder of its own. */
void open_quantizer_case(quantizer_case *c);

/* The folder holds the file at c->path, if any, and nothing else. */
void close_quantizer_case(quantizer_case *c);

int n_files(const char *dir);

/* Two threads; quantized models too. */
slm_quantize_params quantizer_params(const char *type);

slm_quantizer *create_quantizer(const quantizer_case *c, const slm_quantize_params *p);

/* A file, read back. */
typedef struct written_file {
    uint8_t *data;
    size_t n;
    slm__gguf gguf;
} written_file;

written_file read_written(const char *path);
void free_written(written_file *w);

/* Into c->path, where nothing else stays. */
written_file quantize_case(const quantizer_case *c, const slm_quantize_params *p);

/* A key that must be there. */
uint64_t written_u64(const written_file *w, const char *key);

#endif
