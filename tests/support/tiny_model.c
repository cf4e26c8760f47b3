#include "tiny_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../kernels/tables.h"
#include "../../kernels/vmath.h"
#include "suite.h"

uint64_t tiny_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* -1 .. 1; only operations that round alike everywhere. */
static float uniform(uint64_t *state) {
    return (float)((int64_t)(tiny_random(state) >> 40) - (1 << 23)) / (float)(1 << 23);
}

/* ---- Weights ---- */

/* Where the scale and the minimum of a type lie, and the minimum that makes random codes zero on average, as a multiple of
 * the scale. */
static const struct {
    int d, m; /* byte offsets; -1: none */
    double balance;
} scales[SLM_N_TYPES] = {
    [SLM_Q4_0] = {0, -1, 0},    [SLM_Q4_1] = {0, 2, -7.5}, [SLM_Q5_0] = {0, -1, 0},
    [SLM_Q5_1] = {0, 2, -15.5}, [SLM_Q8_0] = {0, -1, 0},   [SLM_Q2_K] = {80, 82, 1.5},
    [SLM_Q3_K] = {108, -1, 0},  [SLM_Q4_K] = {0, 2, 7.5},  [SLM_Q5_K] = {0, 2, 15.5},
    [SLM_Q6_K] = {208, -1, 0},  [SLM_IQ4_NL] = {0, -1, 0}, [SLM_IQ4_XS] = {0, -1, 0},
    [SLM_MXFP4] = {0, -1, 0},
};

static void set_scales(slm_type type, uint8_t *block, double d) {
    if (type == SLM_MXFP4) { /* a power of two */
        int e;
        frexp(d, &e);
        block[0] = (uint8_t)(127 + e);
        return;
    }
    slm_f16 scale = slm__to_f16((float)d), min = slm__to_f16((float)(d * scales[type].balance));
    memcpy(block + scales[type].d, &scale, sizeof scale);
    if (scales[type].m >= 0) memcpy(block + scales[type].m, &min, sizeof min);
}

static void float_weight(slm_type type, float x, void *out) {
    slm_f16 h = slm__to_f16(x);
    slm_bf16 b = (slm_bf16)(slm__bits(x) >> 16);
    if (type == SLM_F32) memcpy(out, &x, sizeof x);
    if (type == SLM_F16) memcpy(out, &h, sizeof h);
    if (type == SLM_BF16) memcpy(out, &b, sizeof b);
}

void tiny_weights(slm_type type, uint64_t n_blocks, double rms, uint64_t *state, void *out) {
    const slm_type_info *info = &slm__type_info[type];
    uint8_t *p = out;
    for (uint64_t i = 0; i < n_blocks; i++, p += info->block_bytes) {
        if (info->block_weights == 1) {
            float_weight(type, (float)rms * 1.7320508f * uniform(state), p);
            continue;
        }
        for (uint32_t j = 0; j < info->block_bytes; j++) p[j] = (uint8_t)(tiny_random(state) >> 56);
        float w[256];
        double sum = 0;
        set_scales(type, p, 1);
        slm__kernels_c.dequantize[type](p, info->block_weights, w);
        for (uint32_t j = 0; j < info->block_weights; j++) sum += (double)w[j] * w[j];
        set_scales(type, p, rms / sqrt(sum / info->block_weights));
    }
}

/* ---- Vocabulary ---- */

/* GPT-2's names of the bytes: printable ones stand for themselves, the others for U+0100 and on, in their order. */
static void byte_name(int byte, char out[8]) {
    int code = byte, n = 0;
    bool plain = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    for (int b = 0; !plain && b < byte; b++)
        n += !((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174);
    if (!plain) code = 256 + n;
    if (code < 128) {
        snprintf(out, 8, "%c", code);
    } else {
        snprintf(out, 8, "%c%c", 0xc0 | code >> 6, 0x80 | (code & 63));
    }
}

void tiny_vocab(gguf_build *b, uint32_t n) {
    char(*names)[24] = calloc(n, sizeof *names);
    const char **list = calloc(n, sizeof *list);
    int32_t *types = calloc(n, sizeof *types);
    const char *merges[] = {"a b"};
    ck_assert(names && list && types && n >= 258);
    for (uint32_t i = 0; i < n; i++) {
        if (i == 0) {
            snprintf(names[i], sizeof names[i], "<|end|>");
        } else if (i <= 256) {
            byte_name((int)i - 1, names[i]);
        } else if (i == 257) {
            snprintf(names[i], sizeof names[i], "ab");
        } else {
            snprintf(names[i], sizeof names[i], "word%u", i);
        }
        list[i] = names[i];
        types[i] = i == 0 ? 3 : 1;
    }
    gb_str(b, "tokenizer.ggml.model", "gpt2");
    gb_str(b, "tokenizer.ggml.pre", "gpt-2");
    gb_str_array(b, "tokenizer.ggml.tokens", list, n);
    gb_array(b, "tokenizer.ggml.token_type", GB_I32, types, n);
    gb_str_array(b, "tokenizer.ggml.merges", merges, 1);
    gb_u32(b, "tokenizer.ggml.bos_token_id", 0);
    gb_u32(b, "tokenizer.ggml.eos_token_id", 0);
    gb_bool(b, "tokenizer.ggml.add_bos_token", 0);
    free(names);
    free((void *)list);
    free(types);
}

/* ---- Model ---- */

typedef struct maker {
    gguf_build *b;
    const tiny_shape *s;
    uint64_t state;
    int next; /* of s->types */
} maker;

/* Blocks one by one, each with a scale of its own, of either sign: types whose codes are not zero on average would otherwise
 * give all rows the same offset, which hides everything else. */
static void uneven_weights(slm_type type, uint64_t n_blocks, double rms, uint64_t *state,
                           void *out) {
    uint8_t *p = out;
    for (uint64_t i = 0; i < n_blocks; i++, p += slm__type_info[type].block_bytes) {
        double scale = 0.9 + 0.7 * (double)uniform(state);
        tiny_weights(type, 1, tiny_random(state) & 1 ? rms * scale : -rms * scale, state, p);
    }
}

static void matrix(maker *m, const char *name, uint32_t columns, uint32_t rows) {
    slm_type type = SLM_F32;
    if (m->s->n_types > 0) type = m->s->types[m->next++ % m->s->n_types];
    const slm_type_info *info = &slm__type_info[type];
    ck_assert_msg(columns % info->block_weights == 0, "%s: %u columns", name, columns);
    uint64_t n_blocks = (uint64_t)columns / info->block_weights * rows;
    void *data = malloc(n_blocks * info->block_bytes);
    ck_assert_ptr_nonnull(data);
    (m->s->uneven ? uneven_weights : tiny_weights)(type, n_blocks, 1 / sqrt(columns), &m->state,
                                                   data);
    gb_tensor(m->b, name, info->gguf_id, 2, (int64_t[]){columns, rows}, data,
              n_blocks * info->block_bytes);
    free(data);
}

/* Values around `middle`. */
static void vector(maker *m, const char *name, uint32_t n, float middle, float spread) {
    float *data = malloc(n * sizeof *data);
    ck_assert_ptr_nonnull(data);
    for (uint32_t i = 0; i < n; i++) data[i] = middle + spread * uniform(&m->state);
    gb_tensor(m->b, name, 0, 1, (int64_t[]){n}, data, n * sizeof *data);
    free(data);
}

static void layer(maker *m, uint32_t l) {
    const tiny_shape *s = m->s;
    uint32_t hd = s->head_dim ? s->head_dim : s->n_embd / s->n_head;
    uint32_t n_q = s->n_head * hd, n_kv = s->n_head_kv * hd;
    const struct {
        const char *name;
        uint32_t columns, rows;
        bool has;
    } rows[] = {
        {"attn_q", s->n_embd, n_q, !s->fused},
        {"attn_k", s->n_embd, n_kv, !s->fused},
        {"attn_v", s->n_embd, n_kv, !s->fused},
        {"attn_qkv", s->n_embd, n_q + 2 * n_kv, s->fused},
        {"attn_output", n_q, s->n_embd, true},
        {"ffn_gate", s->n_embd, s->n_ff, !s->fused},
        {"ffn_up", s->n_embd, s->fused ? 2 * s->n_ff : s->n_ff, true},
        {"ffn_down", s->n_ff, s->n_embd, true},
    };
    const struct {
        const char *name;
        uint32_t n;
        bool has;
    } norms[] = {
        {"attn_norm", s->n_embd, !s->no_pre_norms},
        {"ffn_norm", s->n_embd, !s->no_pre_norms},
        {"post_attention_norm", s->n_embd, s->post_norms},
        {"post_ffw_norm", s->n_embd, s->post_norms},
        {"attn_q_norm", s->qk_norm_row ? n_q : hd, s->qk_norm || s->qk_norm_row},
        {"attn_k_norm", s->qk_norm_row ? n_kv : hd, s->qk_norm || s->qk_norm_row},
    };
    char name[64];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!rows[i].has) continue;
        snprintf(name, sizeof name, "blk.%u.%s.weight", l, rows[i].name);
        matrix(m, name, rows[i].columns, rows[i].rows);
        if (!s->biases || i > 2) continue;
        snprintf(name, sizeof name, "blk.%u.%s.bias", l, rows[i].name);
        vector(m, name, rows[i].rows, 0, 0.3f);
    }
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++) {
        snprintf(name, sizeof name, "blk.%u.%s.weight", l, norms[i].name);
        if (norms[i].has) vector(m, name, norms[i].n, 1, 0.2f);
    }
}

static void hyperparameters(gguf_build *b, const tiny_shape *s) {
    const char *arch = s->arch ? s->arch : "llama";
    const struct {
        const char *key;
        uint32_t value;
    } rows[] = {
        {"context_length", s->n_ctx ? s->n_ctx : 1024},
        {"embedding_length", s->n_embd},
        {"block_count", s->n_layer},
        {"feed_forward_length", s->n_ff},
        {"attention.head_count", s->n_head},
        {"attention.head_count_kv", s->n_head_kv},
        {"attention.key_length", s->head_dim},
        {"attention.value_length", s->head_dim},
        {"rope.dimension_count", s->n_rot},
    };
    char key[96];
    gb_str(b, "general.architecture", arch);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(key, sizeof key, "%s.%s", arch, rows[i].key);
        if (rows[i].value) gb_u32(b, key, rows[i].value);
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", arch);
    gb_f32(b, key, 1e-5f);
    snprintf(key, sizeof key, "%s.rope.freq_base", arch);
    if (s->rope_base > 0) gb_f32(b, key, s->rope_base);
    if (s->rope_factor > 0) {
        snprintf(key, sizeof key, "%s.rope.scaling.type", arch);
        gb_str(b, key, "linear");
        snprintf(key, sizeof key, "%s.rope.scaling.factor", arch);
        gb_f32(b, key, s->rope_factor);
    }
    for (const tiny_key *k = s->keys; k && k->name; k++) {
        snprintf(key, sizeof key, "%s.%s", arch, k->name);
        if (k->is_float)
            gb_f32(b, key, (float)k->value);
        else
            gb_u32(b, key, (uint32_t)k->value);
    }
    snprintf(key, sizeof key, "%s.rope.scaling.type", arch);
    if (s->yarn) gb_str(b, key, "yarn");
}

void tiny_model(gguf_build *b, const tiny_shape *s) {
    maker m = {b, s, s->seed, 0};
    uint32_t hd = s->head_dim ? s->head_dim : s->n_embd / s->n_head;
    hyperparameters(b, s);
    tiny_vocab(b, s->n_vocab);
    matrix(&m, "token_embd.weight", s->n_embd, s->n_vocab);
    for (uint32_t l = 0; l < s->n_layer; l++) layer(&m, l);
    vector(&m, "output_norm.weight", s->n_embd, 1, 0.2f);
    if (s->untied) matrix(&m, "output.weight", s->n_embd, s->n_vocab);
    uint32_t pairs = (s->n_rot ? s->n_rot : hd) / 2;
    if (s->rope_freqs) vector(&m, "rope_freqs.weight", pairs, 2, 1);
    if (!s->long_rope) return;
    vector(&m, "rope_factors_short.weight", pairs, 1.5f, 0.5f);
    vector(&m, "rope_factors_long.weight", pairs, 10, 5);
}
