#include "forward_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fnv.h"
#include "suite.h"

fixture open_tiny(const tiny_shape *shape) {
    fixture f = {{0}, NULL};
    slm_error err;
    size_t n;
    tiny_model(&f.b, shape);
    const void *file = gb_finish(&f.b, &n);
    ck_assert_msg(slm_model_open_memory(file, n, NULL, &f.model, &err) == SLM_OK, "%s",
                  err.message);
    return f;
}

void close_tiny(fixture f) {
    slm_model_close(f.model);
    gb_free(&f.b);
}

slm_context *new_context(const slm_model *m, const char *cpu, int32_t threads, int32_t n_batch,
                         slm_kv_type kv) {
    slm_context_params p = slm_context_defaults();
    slm_context *ctx;
    slm_error err;
    p.n_ctx = 300;
    p.n_seq_max = 3;
    p.n_logits = 8;
    p.n_threads = threads;
    p.n_batch = n_batch;
    p.cpu = cpu;
    p.kv_type = kv;
    ck_assert_msg(slm_context_create(m, &p, &ctx, &err) == SLM_OK, "%s", err.message);
    return ctx;
}

void decode(slm_context *ctx, const slm_token *tokens, int32_t n) {
    slm_error err;
    ck_assert_msg(slm_decode_tokens(ctx, tokens, n, &err) == SLM_OK, "%s", err.message);
}

void embed(slm_context *ctx, const slm_token *tokens, int32_t n, slm_pooling pooling, float *out) {
    slm_batch b = {.size = sizeof b, .n_tokens = n, .tokens = tokens};
    slm_error err;
    ck_assert_msg(slm_embed(ctx, &b, pooling, out, &err) == SLM_OK, "%s", err.message);
    ck_assert_int_eq(slm_seq_length(ctx, 0), n);
    ck_assert_int_eq(slm_seq_truncate(ctx, 0, 0, NULL), SLM_OK);
}

void fill_tokens(slm_token *tokens, int n, uint32_t n_vocab) {
    uint64_t state = 42;
    for (int i = 0; i < n; i++) tokens[i] = (slm_token)(tiny_random(&state) % n_vocab);
}

uint64_t hash_row(const float *row, int32_t n) {
    uint64_t h = FNV_BEGIN;
    for (int32_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &row[i], sizeof u);
        for (int b = 0; b < 4; b++) h = fnv_add(h, u >> 8 * b & 255);
    }
    return h;
}

uint64_t hash_of_text(slm_context *ctx, const slm_model *m, int32_t n, const int32_t *parts) {
    slm_model_info info = {.size = sizeof info};
    ck_assert_int_eq(slm_model_get_info(m, &info), SLM_OK);
    slm_token *tokens = malloc((size_t)n * sizeof *tokens);
    ck_assert_ptr_nonnull(tokens);
    fill_tokens(tokens, n, (uint32_t)info.n_vocab);
    for (int32_t at = 0; at<n; at += *parts, parts += parts[1]> 0)
        decode(ctx, tokens + at, *parts < n - at ? *parts : n - at);
    free(tokens);
    ck_assert_int_eq(slm_seq_length(ctx, 0), n);
    return hash_row(slm_logits(ctx, 0), info.n_vocab);
}

double distance(const float *got, const double *want, int n) {
    double worst = 0, square = 0;
    for (int i = 0; i < n; i++) {
        worst = fmax(worst, fabs(got[i] - want[i]));
        square += want[i] * want[i];
    }
    ck_assert_double_gt(square, 0);
    return worst / sqrt(square / n);
}
