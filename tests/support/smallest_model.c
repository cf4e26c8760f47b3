#include "smallest_model.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../kernels/blocks.h"
#include "suite.h"

static const slm_type_info *type_info(uint32_t type) {
    for (int i = 0; i < SLM_N_TYPES; i++) {
        if (slm__type_info[i].gguf_id == type) return &slm__type_info[i];
    }
    ck_abort_msg("no type %u", type);
    return NULL;
}

static uint32_t next(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

void smallest_tensor(gguf_build *b, const char *name, uint32_t type, uint32_t columns,
                     uint32_t rows) {
    const slm_type_info *info = type_info(type);
    size_t n_weights = (size_t)columns * (rows ? rows : 1);
    size_t n_bytes = n_weights / info->block_weights * info->block_bytes;
    uint8_t *data = malloc(n_bytes);
    ck_assert_ptr_nonnull(data);
    uint32_t state = columns * 31 + rows;
    for (const char *c = name; *c; c++) state = state * 31 + (uint8_t)*c;
    for (size_t i = 0; i < n_weights && type == 0; i++) {
        float w =
            rows ? ((float)(next(&state) % 201) - 100) / 100 : 1 + (float)(next(&state) % 9) / 8;
        memcpy(data + 4 * i, &w, 4);
    }
    /* no byte above 0x3b: whichever two of them are a scale, it is below 1 and no NaN */
    for (size_t i = 0; i < n_bytes && type != 0; i++) data[i] = (uint8_t)(next(&state) % 0x3c);
    gb_tensor(b, name, type, rows ? 2 : 1, (int64_t[]){columns, rows}, data, n_bytes);
    free(data);
}

static bool wanted(const smallest_params *p, const char *name) {
    for (size_t i = 0; i < sizeof p->without / sizeof *p->without; i++) {
        if (p->without[i] && strcmp(p->without[i], name) == 0) return false;
    }
    return true;
}

static void vocabulary(gguf_build *b, const smallest_params *p) {
    static const char *const tokens[SMALLEST_VOCAB] = {"a",   "b",        "c",   "ab",
                                                       "abc", "\xc4\xa0", "<s>", "</s>"};
    static const int32_t types[SMALLEST_VOCAB] = {1, 1, 1, 1, 1, 1, 3, 3};
    static const char *const merges[] = {"a b", "ab c"};
    if (wanted(p, "tokenizer.ggml.model")) gb_str(b, "tokenizer.ggml.model", "gpt2");
    if (wanted(p, "tokenizer.ggml.pre")) gb_str(b, "tokenizer.ggml.pre", "gpt-2");
    if (wanted(p, "tokenizer.ggml.tokens"))
        gb_str_array(b, "tokenizer.ggml.tokens", tokens, SMALLEST_VOCAB);
    if (wanted(p, "tokenizer.ggml.token_type"))
        gb_array(b, "tokenizer.ggml.token_type", GB_I32, types, SMALLEST_VOCAB);
    if (wanted(p, "tokenizer.ggml.merges")) gb_str_array(b, "tokenizer.ggml.merges", merges, 2);
    if (wanted(p, "tokenizer.ggml.bos_token_id")) gb_u32(b, "tokenizer.ggml.bos_token_id", 6);
    if (wanted(p, "tokenizer.ggml.eos_token_id")) gb_u32(b, "tokenizer.ggml.eos_token_id", 7);
}

static void u32(gguf_build *b, const smallest_params *p, const char *key, uint32_t v) {
    if (wanted(p, key)) gb_u32(b, key, v);
}

static void tensor(gguf_build *b, const smallest_params *p, const char *name, uint32_t columns,
                   uint32_t rows) {
    if (wanted(p, name)) smallest_tensor(b, name, rows ? p->type : 0, columns, rows);
}

static void layer(gguf_build *b, const smallest_params *p, uint32_t l, uint32_t n_kv) {
    uint32_t n = p->n_embd;
    const struct {
        const char *name;
        uint32_t columns, rows;
        bool optional;
    } tensors[] = {
        {"attn_norm.weight", n, 0, false},
        {"attn_q.weight", n, n, false},
        {"attn_q.bias", n, 0, true},
        {"attn_k.weight", n, n_kv, false},
        {"attn_k.bias", n_kv, 0, true},
        {"attn_v.weight", n, n_kv, false},
        {"attn_v.bias", n_kv, 0, true},
        {"attn_output.weight", n, n, false},
        {"attn_output.bias", n, 0, true},
        {"ffn_norm.weight", n, 0, false},
        {"ffn_gate.weight", n, p->n_ff, false},
        {"ffn_up.weight", n, p->n_ff, false},
        {"ffn_down.weight", p->n_ff, n, false},
    };
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.%s", l, tensors[i].name);
        if (!tensors[i].optional || p->all_tensors)
            tensor(b, p, name, tensors[i].columns, tensors[i].rows);
    }
}

void smallest_model(gguf_build *b, const smallest_params *given) {
    smallest_params p = *given;
    if (!p.n_embd) p.n_embd = 4;
    if (!p.n_head) p.n_head = 2;
    if (!p.n_head_kv) p.n_head_kv = 1;
    if (!p.n_ff) p.n_ff = 6;
    if (!p.n_layer) p.n_layer = 1;
    uint32_t head_dim = p.n_embd / p.n_head;
    gb_reset(b);
    if (wanted(&p, "general.architecture")) gb_str(b, "general.architecture", "llama");
    u32(b, &p, "llama.context_length", 64);
    u32(b, &p, "llama.embedding_length", p.n_embd);
    u32(b, &p, "llama.block_count", p.n_layer);
    u32(b, &p, "llama.feed_forward_length", p.n_ff);
    u32(b, &p, "llama.attention.head_count", p.n_head);
    u32(b, &p, "llama.attention.head_count_kv", p.n_head_kv);
    if (wanted(&p, "llama.attention.layer_norm_rms_epsilon"))
        gb_f32(b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    vocabulary(b, &p);
    tensor(b, &p, "token_embd.weight", p.n_embd, SMALLEST_VOCAB);
    tensor(b, &p, "output_norm.weight", p.n_embd, 0);
    if (p.all_tensors) tensor(b, &p, "output.weight", p.n_embd, SMALLEST_VOCAB);
    if (p.all_tensors) tensor(b, &p, "rope_freqs.weight", head_dim / 2, 0);
    for (uint32_t l = 0; l < p.n_layer; l++) layer(b, &p, l, p.n_head_kv * head_dim);
}
