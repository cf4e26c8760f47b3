#include "adapter_case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../kernels/kernels.h"
#include "suite.h"

void adapter_keys(gguf_build *b, const char *arch, float alpha) {
    gb_str(b, "general.type", "adapter");
    gb_str(b, "general.architecture", arch);
    gb_str(b, "adapter.type", "lora");
    gb_f32(b, "adapter.lora.alpha", alpha);
}

static void factor(gguf_build *b, const char *name, const char *suffix, slm_type type,
                   int64_t columns, int64_t rows, double rms, uint64_t *state) {
    const slm_type_info *info = &slm__type_info[type];
    char full[96];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    ck_assert_msg(columns % info->block_weights == 0, "%s: %d columns", full, (int)columns);
    uint64_t n_blocks = (uint64_t)(columns / info->block_weights * rows);
    void *data = malloc(n_blocks * info->block_bytes);
    ck_assert_ptr_nonnull(data);
    tiny_weights(type, n_blocks, rms, state, data);
    gb_tensor(b, full, info->gguf_id, 2, (int64_t[]){columns, rows}, data,
              n_blocks * info->block_bytes);
    free(data);
}

static bool is_matrix(const slm__tensor *t) {
    return t->n_dims == 2 && !slm__str_eq(t->name, "token_embd.weight");
}

static void name_of(const slm__tensor *t, char *out) {
    memcpy(out, t->name.ptr, t->name.len);
    out[t->name.len] = '\0';
}

int tiny_adapter(gguf_build *b, const slm_model *m, const adapter_shape *s) {
    uint64_t state = s->seed;
    int n = 0;
    adapter_keys(b, m->arch_name, s->alpha);
    for (int32_t i = 0; i <= m->gguf.n_tensors; i++) {
        const slm__tensor *t = i < m->gguf.n_tensors ? &m->gguf.tensors[i] : m->output;
        char slashed[65] = "/output.weight", *name = slashed + 1;
        if (i < m->gguf.n_tensors && (!is_matrix(t) || t == m->output)) continue;
        if (i < m->gguf.n_tensors) name_of(t, name);
        if (s->only && !strstr(slashed, s->only)) continue;
        factor(b, name, ".lora_a", s->type_a, t->dims[0], s->rank, 1 / sqrt((double)t->dims[0]),
               &state);
        factor(b, name, ".lora_b", s->type_b, s->rank, t->dims[1], 1 / sqrt(s->rank), &state);
        n++;
    }
    return n;
}

/* All rows, as plain C dequantizes them. */
static float *rows_of(const slm__tensor *t) {
    float *w = malloc((size_t)(t->dims[0] * t->dims[1]) * sizeof *w);
    ck_assert_ptr_nonnull(w);
    for (int64_t r = 0; r < t->dims[1]; r++) {
        slm__kernels_level(0)->dequantize[t->type](t->data + (uint64_t)r * t->row_bytes, t->dims[0],
                                                   w + r * t->dims[0]);
    }
    return w;
}

/* w += scale * (alpha / r) * B A, if the adapter has factors for it. */
static bool merge(double *w, const char *name, const gguf_build *adapter, float scale) {
    static const slm_allocator plain;
    slm__gguf g;
    char full[96];
    double alpha = 0;
    bool found;
    ck_assert_int_eq(slm__gguf_parse(&g, adapter->file.data, adapter->file.n, &plain, NULL),
                     SLM_OK);
    ck_assert_int_eq(slm__gguf_f64(&g, "adapter.lora.alpha", &alpha, &found, NULL), SLM_OK);
    snprintf(full, sizeof full, "%s.lora_a", name);
    const slm__tensor *a = slm__gguf_tensor(&g, full);
    snprintf(full, sizeof full, "%s.lora_b", name);
    const slm__tensor *b = slm__gguf_tensor(&g, full);
    if (a) {
        float *fa = rows_of(a), *fb = rows_of(b);
        int64_t rank = a->dims[1], columns = a->dims[0];
        double s = scale * (alpha == 0 ? 1 : alpha / (double)rank);
        for (int64_t i = 0; i < b->dims[1]; i++) {
            for (int64_t r = 0; r < rank; r++) {
                for (int64_t j = 0; j < columns; j++)
                    w[i * columns + j] += s * fb[i * rank + r] * fa[r * columns + j];
            }
        }
        free(fa), free(fb);
    }
    slm__gguf_close(&g);
    return a != NULL;
}

/* The tensor under this name with the adapters in it. Returns whether one of them had something for it. */
static bool merged_tensor(gguf_build *out, const char *name, const slm__tensor *t,
                          const gguf_build *adapters, const float *scales, int n, bool always) {
    int64_t count = t->dims[0] * t->dims[1];
    float *rows = rows_of(t);
    double *w = calloc((size_t)count, sizeof *w);
    bool changed = false;
    ck_assert_ptr_nonnull(w);
    for (int64_t i = 0; i < count; i++) w[i] = rows[i];
    for (int i = 0; i < n; i++) changed |= merge(w, name, &adapters[i], scales[i]);
    for (int64_t i = 0; i < count; i++) rows[i] = (float)w[i];
    if (changed || always)
        gb_tensor(out, name, 0, (uint32_t)t->n_dims, t->dims, rows, (size_t)count * sizeof *rows);
    free(rows), free(w);
    return changed;
}

void merged_model(gguf_build *out, const gguf_build *base, const slm_model *m,
                  const gguf_build *adapters, const float *scales, int n) {
    gb_reset(out);
    gb_put(&out->keys, base->keys.data, base->keys.n);
    out->n_keys = base->n_keys;
    for (int32_t i = 0; i < m->gguf.n_tensors; i++) {
        char name[64];
        name_of(&m->gguf.tensors[i], name);
        merged_tensor(out, name, &m->gguf.tensors[i], adapters, scales, n, true);
    }
    if (m->output == m->token_embd)
        merged_tensor(out, "output.weight", m->output, adapters, scales, n, false);
}
