/* From keys and tensors to a model: a table of hyperparameters, a table of tensors, one strict loop over each. */
#include "model.h"

#include <math.h>
#include <stdio.h>

#include "../kernels/kernels.h"
#include "../kernels/vmath.h"

/* ---- Hyperparameters ---- */

typedef enum hp_kind { HP_U32, HP_F32 } hp_kind;
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
    {"feed_forward_length", HP_U32, REQUIRED, HP(n_ff), 1, 1 << 22, SLM_ERR_RANGE},
    {"attention.head_count", HP_U32, REQUIRED, HP(n_head), 1, 65536, SLM_ERR_RANGE},
    {"attention.head_count_kv", HP_U32, OPTIONAL, HP(n_head_kv), 1, 65536, SLM_ERR_RANGE},
    {"attention.key_length", HP_U32, OPTIONAL, HP(head_dim), 1, 4096, SLM_ERR_RANGE},
    {"attention.layer_norm_rms_epsilon", HP_F32, REQUIRED, HP(norm_eps), 1e-12, 1, SLM_ERR_RANGE},
    {"rope.dimension_count", HP_U32, OPTIONAL, HP(n_rot), 2, 4096, SLM_ERR_RANGE},
    {"rope.freq_base", HP_F32, OPTIONAL, HP(rope_base), 1, 1e12, SLM_ERR_RANGE},
    {"rope.scaling.factor", HP_F32, OPTIONAL, HP(rope_factor), 1e-3, 1e6, SLM_ERR_RANGE},
    {"expert_count", HP_U32, OPTIONAL, HP(n_expert), 0, 65536, SLM_ERR_RANGE},
    {"expert_used_count", HP_U32, OPTIONAL, HP(n_expert_used), 0, 65536, SLM_ERR_RANGE},
};

enum { KEY_MAX = 160 };

static void full_key(const slm_model *m, const char *key, char out[KEY_MAX]) {
    snprintf(out, KEY_MAX, "%s.%s", m->arch->name, key);
}

/* Files may give a number for each layer; ours are the same in all. */
static slm_status uniform_array(const slm_model *m, const char *key, const slm__key *k, double *out,
                                slm_error *err) {
    if (k->n != m->hp.n_layer) {
        return slm__fail(err, SLM_ERR_MISMATCH, "key %s: %llu values for %u layers", key,
                         (unsigned long long)k->n, m->hp.n_layer);
    }
    if (k->type != GGUF_U32 && k->type != GGUF_I32) {
        return slm__fail(err, SLM_ERR_TYPE, "key %s: array of %s, expected u32", key,
                         slm__gguf_type_name(k->type));
    }
    int32_t first = slm__read_i32(k->data);
    for (uint64_t i = 1; i < k->n; i++) {
        if (slm__read_i32(k->data + 4 * i) != first) {
            return slm__fail(err, SLM_ERR_UNSUPPORTED,
                             "key %s: values that differ from layer to layer", key);
        }
    }
    *out = first;
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
    if (k->is_array) {
        SLM_TRY(uniform_array(m, key, k, &value, err));
    } else if (row->kind == HP_U32) {
        SLM_TRY(slm__gguf_u64(&m->gguf, key, &whole, &found, err));
        value = (double)whole;
    } else {
        SLM_TRY(slm__gguf_f64(&m->gguf, key, &value, &found, err));
    }
    if (!(value >= row->min && value <= row->max)) { /* NaN too */
        return slm__fail(err, row->status, "key %s is %g, expected %g to %g", key, value, row->min,
                         row->max);
    }
    void *field = (char *)&m->hp + row->offset;
    if (row->kind == HP_U32) {
        uint32_t v = (uint32_t)value;
        memcpy(field, &v, sizeof v);
    } else {
        float v = (float)value;
        memcpy(field, &v, sizeof v);
    }
    return SLM_OK;
}

static slm_status check_rope_scaling(slm_model *m, slm_error *err) {
    char key[KEY_MAX];
    full_key(m, "rope.scaling.type", key);
    slm__str type;
    bool found = false;
    SLM_TRY(slm__gguf_str(&m->gguf, key, &type, &found, err));
    if (!found || slm__str_eq(type, "none")) {
        m->hp.rope_factor = 1;
    } else if (!slm__str_eq(type, "linear")) {
        return slm__fail(err, SLM_ERR_UNSUPPORTED, "key %s is \"%s\", known: none, linear", key,
                         slm__show(type).text);
    }
    return SLM_OK;
}

static slm_status check_value_length(const slm_model *m, slm_error *err) {
    char key[KEY_MAX];
    full_key(m, "attention.value_length", key);
    uint64_t n;
    bool found = false;
    SLM_TRY(slm__gguf_u64(&m->gguf, key, &n, &found, err));
    if (found && n != m->hp.head_dim) {
        return slm__fail(err, SLM_ERR_UNSUPPORTED, "key %s is %llu, keys have %u", key,
                         (unsigned long long)n, m->hp.head_dim);
    }
    return SLM_OK;
}

/* What the file leaves out, and what must fit together. */
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
    if (hp->rope_base == 0) hp->rope_base = 10000;
    if (hp->rope_factor == 0) hp->rope_factor = 1;
    if (hp->n_expert_used > hp->n_expert) {
        return slm__fail(err, SLM_ERR_RANGE, "%u of %u experts used", hp->n_expert_used,
                         hp->n_expert);
    }
    if (hp->n_expert > 0)
        return slm__fail(err, SLM_ERR_UNSUPPORTED, "mixture of %u experts", hp->n_expert);
    SLM_TRY(check_rope_scaling(m, err));
    return check_value_length(m, err);
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

typedef enum dim { DIM_NONE, DIM_EMBD, DIM_VOCAB, DIM_FF, DIM_Q, DIM_KV, DIM_ROT_PAIRS } dim;

static uint64_t dim_size(const slm__hparams *hp, dim d) {
    switch (d) {
    case DIM_EMBD: return hp->n_embd;
    case DIM_VOCAB: return hp->n_vocab;
    case DIM_FF: return hp->n_ff;
    case DIM_Q: return (uint64_t)hp->n_head * hp->head_dim;
    case DIM_KV: return (uint64_t)hp->n_head_kv * hp->head_dim;
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
} tensor_row;

#define MODEL(field) offsetof(slm_model, field)
#define LAYER(field) offsetof(slm__layer, field)

static const tensor_row model_tensors[] = {
    {"token_embd.weight", REQUIRED, DIM_EMBD, DIM_VOCAB, MODEL(token_embd)},
    {"output_norm.weight", REQUIRED, DIM_EMBD, DIM_NONE, MODEL(output_norm)},
    {"output.weight", OPTIONAL, DIM_EMBD, DIM_VOCAB, MODEL(output)},
    {"rope_freqs.weight", OPTIONAL, DIM_ROT_PAIRS, DIM_NONE, MODEL(rope_freqs)},
};

/* after "blk.<layer>." */
static const tensor_row layer_tensors[] = {
    {"attn_norm.weight", REQUIRED, DIM_EMBD, DIM_NONE, LAYER(attn_norm)},
    {"attn_q.weight", REQUIRED, DIM_EMBD, DIM_Q, LAYER(wq)},
    {"attn_q.bias", OPTIONAL, DIM_Q, DIM_NONE, LAYER(bq)},
    {"attn_k.weight", REQUIRED, DIM_EMBD, DIM_KV, LAYER(wk)},
    {"attn_k.bias", OPTIONAL, DIM_KV, DIM_NONE, LAYER(bk)},
    {"attn_v.weight", REQUIRED, DIM_EMBD, DIM_KV, LAYER(wv)},
    {"attn_v.bias", OPTIONAL, DIM_KV, DIM_NONE, LAYER(bv)},
    {"attn_output.weight", REQUIRED, DIM_Q, DIM_EMBD, LAYER(wo)},
    {"attn_output.bias", OPTIONAL, DIM_EMBD, DIM_NONE, LAYER(bo)},
    {"ffn_norm.weight", REQUIRED, DIM_EMBD, DIM_NONE, LAYER(ffn_norm)},
    {"ffn_gate.weight", REQUIRED, DIM_EMBD, DIM_FF, LAYER(w_gate)},
    {"ffn_up.weight", REQUIRED, DIM_EMBD, DIM_FF, LAYER(w_up)},
    {"ffn_down.weight", REQUIRED, DIM_FF, DIM_EMBD, LAYER(w_down)},
};

static slm_status bind_tensor(const slm_model *m, const char *name, const tensor_row *row,
                              void *base, slm_error *err) {
    const slm__tensor *t = slm__gguf_tensor(&m->gguf, name);
    if (!t) {
        if (row->need == OPTIONAL) return SLM_OK;
        return slm__fail(err, SLM_ERR_MISMATCH, "tensor %s is missing", name);
    }
    uint64_t columns = dim_size(&m->hp, row->columns), rows = dim_size(&m->hp, row->rows);
    if ((uint64_t)t->dims[0] != columns || (uint64_t)t->dims[1] != rows || t->dims[2] != 1 ||
        t->dims[3] != 1) {
        return slm__fail(err, SLM_ERR_MISMATCH,
                         "tensor %s: shape [%lld, %lld, %lld, %lld], expected [%llu, %llu]", name,
                         (long long)t->dims[0], (long long)t->dims[1], (long long)t->dims[2],
                         (long long)t->dims[3], (unsigned long long)columns,
                         (unsigned long long)rows);
    }
    if (row->rows == DIM_NONE && t->type != SLM_F32) {
        return slm__fail(err, SLM_ERR_MISMATCH, "tensor %s: type %s, expected F32", name,
                         slm__type_info[t->type].name);
    }
    memcpy((char *)base + row->offset, &t, sizeof t);
    return SLM_OK;
}

static slm_status bind_tensors(slm_model *m, slm_error *err) {
    for (size_t i = 0; i < SLM_COUNT(model_tensors); i++) {
        SLM_TRY(bind_tensor(m, model_tensors[i].name, &model_tensors[i], m, err));
    }
    if (!m->output) m->output = m->token_embd;
    /* every layer has tensors: a count beyond them is found at its first, before memory is taken for it */
    if (m->hp.n_layer > (uint32_t)m->gguf.n_tensors) {
        return slm__fail(err, SLM_ERR_LIMIT, "%u layers, but only %d tensors", m->hp.n_layer,
                         m->gguf.n_tensors);
    }
    m->layers = slm__alloc_array(&m->allocator, m->hp.n_layer, sizeof *m->layers);
    if (!m->layers) return slm__fail(err, SLM_ERR_NOMEM, "no memory for %u layers", m->hp.n_layer);
    for (uint32_t l = 0; l < m->hp.n_layer; l++) {
        for (size_t i = 0; i < SLM_COUNT(layer_tensors); i++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%u.%s", l, layer_tensors[i].name);
            SLM_TRY(bind_tensor(m, name, &layer_tensors[i], &m->layers[l], err));
        }
    }
    return SLM_OK;
}

/* ---- RoPE (Su et al. 2021, arXiv:2104.09864): pair i turns by base^(-2i / n_rot) radians a position ---- */

static slm_status make_rope(slm_model *m, slm_error *err) {
    uint32_t pairs = m->hp.n_rot / 2;
    m->rope_freq = slm__alloc_array(&m->allocator, pairs, sizeof *m->rope_freq);
    if (!m->rope_freq) return slm__fail(err, SLM_ERR_NOMEM, "no memory for RoPE");
    double log2_base = slm__log2d(m->hp.rope_base);
    for (uint32_t i = 0; i < pairs; i++) {
        double freq = slm__exp2d(-2.0 * i / m->hp.n_rot * log2_base) / m->hp.rope_factor;
        if (m->rope_freqs) {
            float factor = slm__read_f32(m->rope_freqs->data + 4 * (size_t)i);
            if (!(factor >= 1e-3f && factor <= 1e6f)) {
                return slm__fail(err, SLM_ERR_RANGE, "tensor rope_freqs.weight: factor %u is %g", i,
                                 (double)factor);
            }
            freq /= factor;
        }
        m->rope_freq[i] = freq;
    }
    return SLM_OK;
}

/* ---- params->check_weights: NaN and infinity, by tensor and row (fault 36) ---- */

static slm_status check_tensor(const slm_model *m, const slm__tensor *t, float *row,
                               slm_error *err) {
    const slm_kernels *k = slm__kernels_named(NULL);
    uint64_t n_rows = (uint64_t)t->dims[1] * (uint64_t)t->dims[2] * (uint64_t)t->dims[3];
    for (uint64_t r = 0; r < n_rows; r++) {
        k->dequantize[t->type](t->data + r * t->row_bytes, t->dims[0], row);
        for (int64_t i = 0; i < t->dims[0]; i++) {
            if (!isfinite(row[i])) {
                return slm__fail(
                    err, SLM_ERR_NUMERIC,
                    "tensor %s, row %llu: weight %lld is not finite (byte %llu)",
                    slm__show(t->name).text, (unsigned long long)r, (long long)i,
                    (unsigned long long)((uint64_t)(t->data - m->gguf.data) + r * t->row_bytes));
            }
        }
    }
    return SLM_OK;
}

static slm_status check_weights(const slm_model *m, const slm_model_params *params,
                                slm_error *err) {
    for (int32_t i = 0; i < m->gguf.n_tensors; i++) {
        const slm__tensor *t = &m->gguf.tensors[i];
        float *row = slm__alloc_array(&m->allocator, (uint64_t)t->dims[0], sizeof *row);
        if (!row)
            return slm__fail(err, SLM_ERR_NOMEM, "no memory for a row of %lld weights",
                             (long long)t->dims[0]);
        slm_status s = check_tensor(m, t, row, err);
        slm__free(&m->allocator, row);
        SLM_TRY(s);
        if (params->progress &&
            !params->progress(params->progress_user, (float)(i + 1) / (float)m->gguf.n_tensors)) {
            return slm__fail(err, SLM_ERR_CANCELLED, "cancelled while checking weights");
        }
    }
    return SLM_OK;
}

slm_status slm__model_bind(slm_model *m, const slm_model_params *params, slm_error *err) {
    slm__str name = {m->arch_name, strlen(m->arch_name)};
    m->arch = slm__arch_find(name);
    if (!m->arch) {
        return slm__fail(err, SLM_ERR_UNSUPPORTED, "general.architecture is \"%s\", known: %s",
                         slm__show(name).text, slm__arch_names());
    }
    SLM_TRY(read_hparams(m, err));
    SLM_TRY(bind_tensors(m, err));
    SLM_TRY(make_rope(m, err));
    if (params->check_weights) SLM_TRY(check_weights(m, params, err));
    m->has_weights = true;
    return SLM_OK;
}
