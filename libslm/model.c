/* From keys and tensors to a model: a table of hyperparameters, a table of tensors, one strict loop over each. */
#include "model.h"

#include <math.h>
#include <stdio.h>

#include "../kernels/kernels.h"

/* ---- Hyperparameters ---- */

typedef enum hp_kind {
    HP_U32,
    HP_LAYERS, /* u32, or an array with the same number for each layer */
    HP_F32,
} hp_kind;
typedef enum hp_need { REQUIRED, OPTIONAL } hp_need;

typedef struct hp_row {
    const char *key; /* after "<architecture>." */
    hp_kind kind;
    hp_need need; /* OPTIONAL: stays 0 and is filled in by hp_defaults() */
    size_t offset;
    double min, max;
    slm_status status; /* when it is outside */
} hp_row;

#define HP(field) offsetof(slm__hparams, field)

static const hp_row hp_rows[] = {
    {"context_length", HP_U32, REQUIRED, HP(n_ctx_train), 1, 1 << 27, SLM_ERR_RANGE},
    {"embedding_length", HP_U32, REQUIRED, HP(n_embd), 1, 1 << 20, SLM_ERR_RANGE},
    {"block_count", HP_U32, REQUIRED, HP(n_layer), 1, 4096, SLM_ERR_LIMIT},
    {"feed_forward_length", HP_LAYERS, REQUIRED, HP(n_ff), 1, 1 << 22, SLM_ERR_RANGE},
    {"attention.head_count", HP_LAYERS, REQUIRED, HP(n_head), 1, 65536, SLM_ERR_RANGE},
    {"attention.head_count_kv", HP_LAYERS, OPTIONAL, HP(n_head_kv), 1, 65536, SLM_ERR_RANGE},
    {"attention.key_length", HP_U32, OPTIONAL, HP(head_dim), 1, 4096, SLM_ERR_RANGE},
    {"attention.layer_norm_rms_epsilon", HP_F32, REQUIRED, HP(norm_eps), 1e-12, 1, SLM_ERR_RANGE},
    {"rope.dimension_count", HP_U32, OPTIONAL, HP(n_rot), 2, 4096, SLM_ERR_RANGE},
    {"rope.freq_base", HP_F32, OPTIONAL, HP(rope_base), 1, 1e12, SLM_ERR_RANGE},
    {"rope.scale_linear", HP_F32, OPTIONAL, HP(rope_factor), 1e-3, 1e6,
     SLM_ERR_RANGE}, /* its old name */
    {"rope.scaling.factor", HP_F32, OPTIONAL, HP(rope_factor), 1e-3, 1e6, SLM_ERR_RANGE},
    {"rope.scaling.attn_factor", HP_F32, OPTIONAL, HP(rope_attn_factor), 1e-3, 1e3, SLM_ERR_RANGE},
    {"rope.scaling.original_context_length", HP_U32, OPTIONAL, HP(n_ctx_orig), 1, 1 << 27,
     SLM_ERR_RANGE},
    {"rope.scaling.yarn_beta_fast", HP_F32, OPTIONAL, HP(yarn_beta_fast), 1e-3, 1e6, SLM_ERR_RANGE},
    {"rope.scaling.yarn_beta_slow", HP_F32, OPTIONAL, HP(yarn_beta_slow), 1e-3, 1e6, SLM_ERR_RANGE},
    {"rope.scaling.yarn_log_multiplier", HP_F32, OPTIONAL, HP(yarn_log_multiplier), 0, 1e3,
     SLM_ERR_RANGE},
    {"rope.freq_base_swa", HP_F32, OPTIONAL, HP(rope_local_base), 1, 1e12, SLM_ERR_RANGE},
    {"attention.sliding_window", HP_U32, OPTIONAL, HP(window), 0, 1 << 27, SLM_ERR_RANGE},
    {"attention.scale", HP_F32, OPTIONAL, HP(attn_scale), 1e-6, 1e3, SLM_ERR_RANGE},
    {"attn_logit_softcapping", HP_F32, OPTIONAL, HP(attn_cap), 0, 1e6, SLM_ERR_RANGE},
    {"final_logit_softcapping", HP_F32, OPTIONAL, HP(out_cap), 0, 1e6, SLM_ERR_RANGE},
    {"expert_count", HP_U32, OPTIONAL, HP(n_expert), 0, 65536, SLM_ERR_RANGE},
    {"expert_used_count", HP_U32, OPTIONAL, HP(n_expert_used), 0, 65536, SLM_ERR_RANGE},
};

enum { KEY_MAX = 160 };

static void full_key(const slm_model *m, const char *key, char out[KEY_MAX]) {
    snprintf(out, KEY_MAX, "%s.%s", m->arch->name, key);
}

static slm_status check_range(const slm_model *m, const hp_row *row, const char *key,
                              const slm__key *k, double value, slm_error *err) {
    if (value >= row->min && value <= row->max) return SLM_OK; /* not for NaN */
    return slm__fail(err, row->status, "key %s, byte %llu: %g, expected %g to %g", key,
                     slm__byte_of(m, k->data), value, row->min, row->max);
}

/* Files may give a number for each layer; ours are the same in all. */
static slm_status uniform_array(const slm_model *m, const hp_row *row, const char *key,
                                const slm__key *k, double *out, slm_error *err) {
    if (k->type != GGUF_U32 && k->type != GGUF_I32) {
        return slm__fail(err, SLM_ERR_TYPE, "key %s, byte %llu: array of %s, expected u32", key,
                         slm__byte_of(m, k->data), slm__gguf_type_name(k->type));
    }
    if (k->n != m->hp.n_layer) {
        return slm__fail(err, SLM_ERR_MISMATCH, "key %s, byte %llu: %llu values for %u layers", key,
                         slm__byte_of(m, k->data), (unsigned long long)k->n, m->hp.n_layer);
    }
    for (uint64_t i = 0; i < k->n; i++) {
        int32_t v = slm__read_i32(k->data + 4 * i);
        double value = k->type == GGUF_U32 ? (double)(uint32_t)v : (double)v;
        SLM_TRY(check_range(m, row, key, k, value, err));
        if (i > 0 && value != *out) {
            return slm__fail(err, SLM_ERR_UNSUPPORTED,
                             "key %s, byte %llu: values that differ from layer to layer", key,
                             slm__byte_of(m, k->data));
        }
        *out = value;
    }
    return SLM_OK;
}

static slm_status read_hparam(slm_model *m, const hp_row *row, slm_error *err) {
    char key[KEY_MAX];
    full_key(m, row->key, key);
    const slm__key *k = slm__gguf_key(&m->gguf, key);
    if (!k) {
        if (row->need == OPTIONAL) return SLM_OK;
        return slm__fail(err, SLM_ERR_MISMATCH, "key %s is missing", key);
    }
    bool found;
    double value = 0;
    uint64_t whole = 0;
    if (k->is_array && row->kind == HP_LAYERS) {
        SLM_TRY(uniform_array(m, row, key, k, &value, err));
    } else if (row->kind == HP_F32) {
        SLM_TRY(slm__gguf_f64(&m->gguf, key, &value, &found, err));
    } else {
        SLM_TRY(slm__gguf_u64(&m->gguf, key, &whole, &found, err));
        value = (double)whole;
    }
    SLM_TRY(check_range(m, row, key, k, value, err));
    void *field = (char *)&m->hp + row->offset;
    if (row->kind == HP_F32) {
        float v = (float)value;
        memcpy(field, &v, sizeof v);
    } else {
        uint32_t v = (uint32_t)value;
        memcpy(field, &v, sizeof v);
    }
    return SLM_OK;
}

/* A factor without a type is linear, as with other readers of these files. What "longrope" does is said by its tensors. */
static slm_status read_rope_scaling(slm_model *m, slm_error *err) {
    static const struct {
        const char *name;
        slm__rope_scaling scaling;
    } known[] = {{"none", ROPE_UNSCALED},
                 {"linear", ROPE_LINEAR},
                 {"yarn", ROPE_YARN},
                 {"longrope", ROPE_UNSCALED}};
    char key[KEY_MAX];
    full_key(m, "rope.scaling.type", key);
    slm__str type;
    bool found = false;
    SLM_TRY(slm__gguf_str(&m->gguf, key, &type, &found, err));
    m->hp.rope_scaling = ROPE_LINEAR;
    if (!found) return SLM_OK;
    for (size_t i = 0; i < SLM_COUNT(known); i++) {
        if (!slm__str_eq(type, known[i].name)) continue;
        m->hp.rope_scaling = known[i].scaling;
        if (known[i].scaling == ROPE_UNSCALED) m->hp.rope_factor = 1;
        return SLM_OK;
    }
    return slm__fail(err, SLM_ERR_UNSUPPORTED,
                     "key %s, byte %llu: \"%s\", known: none, linear, yarn, longrope", key,
                     slm__byte_of(m, type.ptr), slm__show(type).text);
}

static slm_status check_value_length(const slm_model *m, slm_error *err) {
    char key[KEY_MAX];
    full_key(m, "attention.value_length", key);
    uint64_t n;
    bool found = false;
    SLM_TRY(slm__gguf_u64(&m->gguf, key, &n, &found, err));
    if (found && n != m->hp.head_dim) {
        return slm__fail(err, SLM_ERR_UNSUPPORTED, "key %s, byte %llu: %llu, but keys have %u", key,
                         slm__byte_of(m, slm__gguf_key(&m->gguf, key)->data), (unsigned long long)n,
                         m->hp.head_dim);
    }
    return SLM_OK;
}

static bool has_key(const slm_model *m, const char *name) {
    char key[KEY_MAX];
    full_key(m, name, key);
    return slm__gguf_key(&m->gguf, key) != NULL;
}

#define OR(field, value)                     \
    do {                                     \
        if ((field) == 0) (field) = (value); \
    } while (0)

/* What the file leaves out and the family says. Of caps and the window, 0 in the file is "none". */
static slm_status numbers_of_family(slm_model *m, slm_error *err) {
    slm__hparams *hp = &m->hp;
    const slm__arch *arch = m->arch;
    uint32_t scale_dim = hp->head_dim;
    if (arch->wide_scale_layers == hp->n_layer) scale_dim = hp->n_embd / hp->n_head;
    if (scale_dim == 0)
        return slm__fail(err, SLM_ERR_RANGE, "embedding of %u, less than %u heads", hp->n_embd,
                         hp->n_head);
    hp->embd_scale = arch->scales_embedding ? sqrtf((float)hp->n_embd) : 1;
    OR(hp->attn_scale, 1.0f / sqrtf((float)scale_dim));
    if (!has_key(m, "attn_logit_softcapping")) hp->attn_cap = arch->attn_cap;
    if (!has_key(m, "final_logit_softcapping")) hp->out_cap = arch->out_cap;
    if (!has_key(m, "attention.sliding_window")) hp->window = arch->window;
    OR(hp->rope_base, 10000);
    OR(hp->rope_local_base, arch->local_rope_base);
    OR(hp->rope_local_base, hp->rope_base);
    OR(hp->rope_factor, 1);
    OR(hp->rope_attn_factor, 1);
    OR(hp->yarn_beta_fast, 32);
    OR(hp->yarn_beta_slow, 1);
    OR(hp->n_ctx_orig, hp->n_ctx_train);
    return SLM_OK;
}

/* What must fit together. */
static slm_status complete_hparams(slm_model *m, slm_error *err) {
    slm__hparams *hp = &m->hp;
    if (hp->n_head_kv == 0) hp->n_head_kv = hp->n_head;
    if (hp->n_head_kv > hp->n_head || hp->n_head % hp->n_head_kv != 0) {
        return slm__fail(err, SLM_ERR_RANGE, "%u heads cannot share %u KV heads", hp->n_head,
                         hp->n_head_kv);
    }
    if (hp->head_dim == 0) {
        if (hp->n_embd % hp->n_head != 0) {
            return slm__fail(err, SLM_ERR_RANGE, "embedding of %u is no multiple of %u heads",
                             hp->n_embd, hp->n_head);
        }
        hp->head_dim = hp->n_embd / hp->n_head;
    }
    if (hp->n_rot == 0) hp->n_rot = hp->head_dim;
    if (hp->n_rot > hp->head_dim || hp->n_rot % 2 != 0) {
        return slm__fail(err, SLM_ERR_MISMATCH, "RoPE over %u of %u values of a head", hp->n_rot,
                         hp->head_dim);
    }
    if (hp->n_expert_used > hp->n_expert) {
        return slm__fail(err, SLM_ERR_RANGE, "%u of %u experts used", hp->n_expert_used,
                         hp->n_expert);
    }
    if (hp->n_expert > 0)
        return slm__fail(err, SLM_ERR_UNSUPPORTED, "mixture of %u experts", hp->n_expert);
    SLM_TRY(read_rope_scaling(m, err));
    SLM_TRY(check_value_length(m, err));
    return numbers_of_family(m, err);
}

static slm_status read_hparams(slm_model *m, slm_error *err) {
    m->hp.n_vocab = (uint32_t)slm__vocab_n_tokens(m->vocab);
    /* the number of layers first: arrays have one value for each */
    for (size_t i = 0; i < SLM_COUNT(hp_rows); i++) {
        if (hp_rows[i].offset == HP(n_layer)) SLM_TRY(read_hparam(m, &hp_rows[i], err));
    }
    for (size_t i = 0; i < SLM_COUNT(hp_rows); i++) SLM_TRY(read_hparam(m, &hp_rows[i], err));
    return complete_hparams(m, err);
}

/* ---- Tensors ---- */

typedef enum dim {
    DIM_NONE,
    DIM_EMBD,
    DIM_VOCAB,
    DIM_FF,
    DIM_TWO_FF,
    DIM_Q,
    DIM_KV,
    DIM_QKV,
    DIM_HEAD,
    DIM_ROT_PAIRS
} dim;

static uint64_t dim_size(const slm__hparams *hp, dim d) {
    switch (d) {
    case DIM_EMBD: return hp->n_embd;
    case DIM_VOCAB: return hp->n_vocab;
    case DIM_FF: return hp->n_ff;
    case DIM_TWO_FF: return 2 * (uint64_t)hp->n_ff;
    case DIM_Q: return (uint64_t)hp->n_head * hp->head_dim;
    case DIM_KV: return (uint64_t)hp->n_head_kv * hp->head_dim;
    case DIM_QKV: return ((uint64_t)hp->n_head + 2 * hp->n_head_kv) * hp->head_dim;
    case DIM_HEAD: return hp->head_dim;
    case DIM_ROT_PAIRS: return hp->n_rot / 2;
    case DIM_NONE: break;
    }
    return 1;
}

typedef struct tensor_row {
    const char *name;
    hp_need need;
    dim columns, rows; /* a vector has no rows and must be F32 */
    size_t offset;
    uint32_t parts; /* slm__parts, of which the architecture must have one; 0: it belongs to all */
} tensor_row;

#define MODEL(field) offsetof(slm_model, field)
#define LAYER(field) offsetof(slm__layer, field)

static const tensor_row model_tensors[] = {
    {"token_embd.weight", REQUIRED, DIM_EMBD, DIM_VOCAB, MODEL(token_embd), 0},
    {"output_norm.weight", REQUIRED, DIM_EMBD, DIM_NONE, MODEL(output_norm), 0},
    {"output.weight", OPTIONAL, DIM_EMBD, DIM_VOCAB, MODEL(output), 0},
    {"rope_freqs.weight", OPTIONAL, DIM_ROT_PAIRS, DIM_NONE, MODEL(rope_freqs), 0},
    {"rope_factors_short.weight", OPTIONAL, DIM_ROT_PAIRS, DIM_NONE, MODEL(rope_factors_short), 0},
    {"rope_factors_long.weight", OPTIONAL, DIM_ROT_PAIRS, DIM_NONE, MODEL(rope_factors_long), 0},
};

/* after "blk.<layer>." */
static const tensor_row layer_tensors[] = {
    {"attn_norm.weight", REQUIRED, DIM_EMBD, DIM_NONE, LAYER(attn_norm), PRE_NORMS},
    {"attn_q.weight", REQUIRED, DIM_EMBD, DIM_Q, LAYER(wq), SPLIT},
    {"attn_q.bias", OPTIONAL, DIM_Q, DIM_NONE, LAYER(bq), SPLIT},
    {"attn_k.weight", REQUIRED, DIM_EMBD, DIM_KV, LAYER(wk), SPLIT},
    {"attn_k.bias", OPTIONAL, DIM_KV, DIM_NONE, LAYER(bk), SPLIT},
    {"attn_v.weight", REQUIRED, DIM_EMBD, DIM_KV, LAYER(wv), SPLIT},
    {"attn_v.bias", OPTIONAL, DIM_KV, DIM_NONE, LAYER(bv), SPLIT},
    {"attn_qkv.weight", REQUIRED, DIM_EMBD, DIM_QKV, LAYER(w_qkv), FUSED},
    {"attn_q_norm.weight", REQUIRED, DIM_HEAD, DIM_NONE, LAYER(q_norm), QK_NORM},
    {"attn_k_norm.weight", REQUIRED, DIM_HEAD, DIM_NONE, LAYER(k_norm), QK_NORM},
    {"attn_q_norm.weight", REQUIRED, DIM_Q, DIM_NONE, LAYER(q_norm), QK_NORM_ROW},
    {"attn_k_norm.weight", REQUIRED, DIM_KV, DIM_NONE, LAYER(k_norm), QK_NORM_ROW},
    {"attn_output.weight", REQUIRED, DIM_Q, DIM_EMBD, LAYER(wo), 0},
    {"attn_output.bias", OPTIONAL, DIM_EMBD, DIM_NONE, LAYER(bo), 0},
    {"post_attention_norm.weight", REQUIRED, DIM_EMBD, DIM_NONE, LAYER(attn_post_norm), POST_NORMS},
    {"ffn_norm.weight", REQUIRED, DIM_EMBD, DIM_NONE, LAYER(ffn_norm), PRE_NORMS},
    {"ffn_gate.weight", REQUIRED, DIM_EMBD, DIM_FF, LAYER(w_gate), SPLIT},
    {"ffn_up.weight", REQUIRED, DIM_EMBD, DIM_FF, LAYER(w_up), SPLIT},
    {"ffn_up.weight", REQUIRED, DIM_EMBD, DIM_TWO_FF, LAYER(w_gate_up), FUSED},
    {"ffn_down.weight", REQUIRED, DIM_FF, DIM_EMBD, LAYER(w_down), 0},
    {"post_ffw_norm.weight", REQUIRED, DIM_EMBD, DIM_NONE, LAYER(ffn_post_norm), POST_NORMS},
};

bool slm__is_matrix(const char *name) {
    static const char prefix[] = "blk.";
    if (strcmp(name, "output.weight") == 0) return true;
    if (strncmp(name, prefix, sizeof prefix - 1) != 0) return false;
    const char *rest = strchr(name + sizeof prefix - 1, '.');
    for (size_t i = 0; rest && i < SLM_COUNT(layer_tensors); i++) {
        if (strcmp(rest + 1, layer_tensors[i].name) == 0) return layer_tensors[i].rows != DIM_NONE;
    }
    return false;
}

static slm_status check_tensor_shape(const slm_model *m, const char *name, const tensor_row *row,
                                     const slm__tensor *t, slm_error *err) {
    uint64_t columns = dim_size(&m->hp, row->columns), rows = dim_size(&m->hp, row->rows);
    if ((uint64_t)t->dims[0] != columns || (uint64_t)t->dims[1] != rows || t->dims[2] != 1 ||
        t->dims[3] != 1) {
        return slm__fail(err, SLM_ERR_MISMATCH,
                         "tensor %s, byte %llu: shape [%lld, %lld, %lld, %lld], expected "
                         "[%llu, %llu]",
                         name, slm__byte_of(m, t->name.ptr), (long long)t->dims[0],
                         (long long)t->dims[1], (long long)t->dims[2], (long long)t->dims[3],
                         (unsigned long long)columns, (unsigned long long)rows);
    }
    if (row->rows == DIM_NONE && t->type != SLM_F32) {
        return slm__fail(err, SLM_ERR_MISMATCH, "tensor %s, byte %llu: type %s, expected F32", name,
                         slm__byte_of(m, t->name.ptr), slm__type_info[t->type].name);
    }
    return SLM_OK;
}

/* Tensors go into a struct's fields; `bound` marks those that did. */
typedef struct binder {
    const slm_model *m;
    bool *bound; /* [n_tensors] */
    slm_error *err;
} binder;

static slm_status bind_tensor(const binder *b, const char *name, const tensor_row *row,
                              void *base) {
    const slm__tensor *t = slm__gguf_tensor(&b->m->gguf, name);
    if (!t) {
        if (row->need == OPTIONAL) return SLM_OK;
        return slm__fail(b->err, SLM_ERR_MISMATCH, "tensor %s is missing", name);
    }
    SLM_TRY(check_tensor_shape(b->m, name, row, t, b->err));
    memcpy((char *)base + row->offset, &t, sizeof t);
    b->bound[t - b->m->gguf.tensors] = true;
    return SLM_OK;
}

static slm_status bind_layers(slm_model *m, const binder *b) {
    /* every layer has tensors: a count beyond them is refused before memory is taken for it */
    if (m->hp.n_layer > (uint32_t)m->gguf.n_tensors) {
        return slm__fail(b->err, SLM_ERR_LIMIT, "%u layers, but only %d tensors", m->hp.n_layer,
                         m->gguf.n_tensors);
    }
    m->layers = slm__alloc_array(&m->allocator, m->hp.n_layer, sizeof *m->layers);
    if (!m->layers)
        return slm__fail(b->err, SLM_ERR_NOMEM, "no memory for %u layers", m->hp.n_layer);
    for (uint32_t l = 0; l < m->hp.n_layer; l++) {
        for (size_t i = 0; i < SLM_COUNT(layer_tensors); i++) {
            char name[64];
            if (layer_tensors[i].parts && !(layer_tensors[i].parts & m->arch->parts)) continue;
            snprintf(name, sizeof name, "blk.%u.%s", l, layer_tensors[i].name);
            SLM_TRY(bind_tensor(b, name, &layer_tensors[i], &m->layers[l]));
            if (layer_tensors[i].rows == DIM_NONE) continue;
            m->layer_weights += dim_size(&m->hp, layer_tensors[i].columns) *
                                dim_size(&m->hp, layer_tensors[i].rows);
        }
    }
    return SLM_OK;
}

const slm__tensor *slm__view_rows(slm__tensor *view, const slm__tensor *whole, int64_t *row,
                                  uint64_t n_rows) {
    *view = *whole;
    view->dims[1] = (int64_t)n_rows;
    view->data += (uint64_t)*row * whole->row_bytes;
    view->n_bytes = n_rows * whole->row_bytes;
    *row += (int64_t)n_rows;
    return view;
}

static slm_status split_fused(slm_model *m, slm_error *err) {
    if (!(m->arch->parts & FUSED)) return SLM_OK;
    m->views = slm__alloc_array(&m->allocator, m->hp.n_layer, SLM_VIEWS * sizeof *m->views);
    if (!m->views) return slm__fail(err, SLM_ERR_NOMEM, "no memory for %u layers", m->hp.n_layer);
    m->n_views = (int32_t)m->hp.n_layer * SLM_VIEWS;
    uint64_t n_q = dim_size(&m->hp, DIM_Q), n_kv = dim_size(&m->hp, DIM_KV);
    for (uint32_t i = 0; i < m->hp.n_layer; i++) {
        slm__layer *l = &m->layers[i];
        slm__tensor *view = m->views + (uint64_t)i * SLM_VIEWS;
        int64_t row = 0;
        l->wq = slm__view_rows(view++, l->w_qkv, &row, n_q);
        l->wk = slm__view_rows(view++, l->w_qkv, &row, n_kv);
        l->wv = slm__view_rows(view++, l->w_qkv, &row, n_kv);
        row = 0;
        l->w_gate = slm__view_rows(view++, l->w_gate_up, &row, m->hp.n_ff);
        l->w_up = slm__view_rows(view++, l->w_gate_up, &row, m->hp.n_ff);
    }
    return SLM_OK;
}

/* ---- Windows and RoPE of the layers ---- */

static bool is_global(const slm_model *m, const slm__key *pattern, uint32_t every, uint32_t layer) {
    if (m->hp.window == 0) return true;
    if (pattern && pattern->is_array) return pattern->data[layer] == 0;
    return every > 0 && (layer + 1) % every == 0;
}

/* attention.sliding_window_pattern: for each layer whether it has the window, or which ones have not. */
static slm_status set_layer_kinds(slm_model *m, slm_error *err) {
    slm__hparams *hp = &m->hp;
    char key[KEY_MAX];
    full_key(m, "attention.sliding_window_pattern", key);
    const slm__key *pattern = slm__gguf_key(&m->gguf, key);
    uint64_t every = m->arch->global_every;
    bool found;
    if (pattern && !pattern->is_array) SLM_TRY(slm__gguf_u64(&m->gguf, key, &every, &found, err));
    if (pattern && pattern->is_array) {
        SLM_TRY(slm__gguf_array(&m->gguf, key, GGUF_BOOL, &pattern, err));
        if (pattern->n != hp->n_layer)
            return slm__fail(err, SLM_ERR_MISMATCH, "key %s, byte %llu: %llu values for %u layers",
                             key, slm__byte_of(m, pattern->data), (unsigned long long)pattern->n,
                             hp->n_layer);
    }
    if (every > hp->n_layer) every = 0;
    bool own_rope = m->arch->local_rope_plain || hp->rope_local_base != hp->rope_base;
    for (uint32_t l = 0; l < hp->n_layer; l++) {
        bool global = is_global(m, pattern, (uint32_t)every, l);
        uint32_t none = m->arch->no_rope_every;
        m->layers[l].window = global ? 0 : hp->window;
        m->layers[l].kv_index = (int32_t)(global ? l - hp->n_local : hp->n_local++);
        m->layers[l].rope = none && (l + 1) % none == 0 ? ROPE_NONE
                            : own_rope && !global       ? ROPE_LOCAL
                                                        : ROPE_GLOBAL;
        m->has_local_rope |= m->layers[l].rope == ROPE_LOCAL;
    }
    return SLM_OK;
}

/* A tensor that the network would go without is a model that we do not know: its results would be wrong. */
static slm_status bind_all(slm_model *m, const binder *b) {
    for (size_t i = 0; i < SLM_COUNT(model_tensors); i++) {
        SLM_TRY(bind_tensor(b, model_tensors[i].name, &model_tensors[i], m));
    }
    if (!m->output) m->output = m->token_embd;
    SLM_TRY(bind_layers(m, b));
    for (int32_t i = 0; i < m->gguf.n_tensors; i++) {
        const slm__tensor *t = &m->gguf.tensors[i];
        if (b->bound[i]) continue;
        return slm__fail(
            b->err, SLM_ERR_MISMATCH, "tensor %s, byte %llu: no part of a %s model of %u layers",
            slm__show(t->name).text, slm__byte_of(m, t->name.ptr), m->arch->name, m->hp.n_layer);
    }
    return SLM_OK;
}

static slm_status bind_tensors(slm_model *m, slm_error *err) {
    binder b = {m, slm__alloc_array(&m->allocator, (uint64_t)m->gguf.n_tensors, 1), err};
    if (!b.bound)
        return slm__fail(err, SLM_ERR_NOMEM, "no memory for %d tensors", m->gguf.n_tensors);
    slm_status s = bind_all(m, &b);
    slm__free(&m->allocator, b.bound);
    return s;
}

/* ---- params->check_weights: NaN and infinity, by tensor and row (fault 36) ---- */

/* Weights looked at together: whole blocks of every type. */
enum { CHECK_WEIGHTS = 2048 };

static slm_status check_row(const slm_model *m, const slm_kernels *k, const slm__tensor *t,
                            uint64_t r, slm_error *err) {
    const slm_type_info *info = &slm__type_info[t->type];
    const uint8_t *p = t->data + r * t->row_bytes;
    float w[CHECK_WEIGHTS];
    for (int64_t begin = 0; begin < t->dims[0]; begin += CHECK_WEIGHTS) {
        int64_t n = t->dims[0] - begin < CHECK_WEIGHTS ? t->dims[0] - begin : CHECK_WEIGHTS;
        k->dequantize[t->type](p, n, w);
        for (int64_t i = 0; i < n; i++) {
            if (isfinite(w[i])) continue;
            return slm__fail(
                err, SLM_ERR_NUMERIC, "tensor %s, row %llu, byte %llu: weight %lld is not finite",
                slm__show(t->name).text, (unsigned long long)r,
                slm__byte_of(m, p + (uint64_t)i / info->block_weights * info->block_bytes),
                (long long)(begin + i));
        }
        p += (uint64_t)n / info->block_weights * info->block_bytes;
    }
    return SLM_OK;
}

static slm_status check_weights(const slm_model *m, const slm_model_params *params,
                                slm_error *err) {
    const slm_kernels *k = slm__kernels_named(NULL);
    for (int32_t i = 0; i < m->gguf.n_tensors; i++) {
        const slm__tensor *t = &m->gguf.tensors[i];
        uint64_t n_rows = t->n_bytes / t->row_bytes;
        for (uint64_t r = 0; r < n_rows; r++) SLM_TRY(check_row(m, k, t, r, err));
        if (params->progress &&
            !params->progress(params->progress_user, (float)(i + 1) / (float)m->gguf.n_tensors)) {
            return slm__fail(err, SLM_ERR_CANCELLED, "cancelled while checking weights");
        }
    }
    return SLM_OK;
}

slm_status slm__model_bind(slm_model *m, const slm_model_params *params, slm_error *err) {
    slm__str name = {"", 0}; /* not m->arch_name, which ends at the first NUL */
    bool found;
    SLM_TRY(slm__gguf_str(&m->gguf, "general.architecture", &name, &found, err));
    m->arch = slm__arch_find(name);
    if (!m->arch) {
        return slm__fail(err, SLM_ERR_UNSUPPORTED, "key general.architecture is \"%s\", known: %s",
                         slm__show(name).text, slm__arch_names());
    }
    SLM_TRY(read_hparams(m, err));
    SLM_TRY(bind_tensors(m, err));
    SLM_TRY(split_fused(m, err));
    SLM_TRY(set_layer_kinds(m, err));
    SLM_TRY(slm__model_rope(m, err));
    if (params->check_weights) SLM_TRY(check_weights(m, params, err));
    m->has_weights = true;
    return SLM_OK;
}
