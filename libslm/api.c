/* The public functions about models and text: arguments checked, then delegated. Contexts: context.c and batch.c; samplers:
 * sampler.c. */
#include "model.h"
#include "prefetch.h"
#include "trie.h"

slm_model_params slm_model_defaults(void) {
    return (slm_model_params){.size = sizeof(slm_model_params)};
}

/* ---- Opening ---- */

static slm_status read_model(slm_model *m, const slm_model_params *p, bool whole, slm_error *err) {
    slm__str arch = {"", 0};
    bool found = false;
    if (!p->keys_only)
        SLM_TRY(slm__vocab_load(&m->gguf, &m->allocator, p->log, p->log_user, &m->vocab, err));
    SLM_TRY(slm__gguf_str(&m->gguf, "general.architecture", &arch, &found, err));
    if (!found && whole) {
        return slm__fail(err, SLM_ERR_UNSUPPORTED, "key general.architecture is missing");
    }
    if (arch.len < sizeof m->arch_name) memcpy(m->arch_name, arch.ptr, arch.len);
    if (arch.len >= sizeof m->arch_name && whole) {
        return slm__fail(err, SLM_ERR_UNSUPPORTED, "general.architecture is \"%s\"",
                         slm__show(arch).text);
    }
    return whole ? slm__model_bind(m, p, err) : SLM_OK;
}

static slm_status fill_model(slm_model *m, const slm_model_params *p, slm_error *err) {
    bool whole = !p->vocab_only && !p->keys_only;
    slm__prefetch prefetch = {0};
    if (p->prefetch && whole && m->gguf.is_mapped) slm__prefetch_begin(&prefetch, &m->gguf);
    slm_status s = read_model(m, p, whole, err);
    slm__prefetch_end(&prefetch);
    return slm__guard_check(m->gguf.guard, s, err);
}

/* path, or data and n_bytes */
static slm_status open_model(const char *path, const void *data, size_t n_bytes,
                             const slm_model_params *params, slm_model **out, slm_error *err) {
    slm__clear(err);
    if (!out) return slm__fail(err, SLM_ERR_ARGUMENT, "out is NULL");
    *out = NULL;
    slm_model_params p = slm_model_defaults();
    if (params && params->size != sizeof p)
        return slm__fail(err, SLM_ERR_ARGUMENT, "params->size is %zu, expected %zu", params->size,
                         sizeof p);
    if (params) p = *params;
    SLM_TRY(slm__check_allocator(&p.allocator, err));
    if (!path && (!data || (uintptr_t)data % 64 != 0)) {
        return slm__fail(err, SLM_ERR_ARGUMENT,
                         "path is NULL, or data is NULL or not aligned to 64 bytes");
    }
    slm_model *m = slm__alloc(&p.allocator, sizeof *m);
    if (!m) return slm__fail(err, SLM_ERR_NOMEM, "no memory for a model");
    m->allocator = p.allocator;
    slm_status s = path ? slm__gguf_open(&m->gguf, path, p.guard, &m->allocator, err)
                        : slm__gguf_parse(&m->gguf, data, n_bytes, &m->allocator, err);
    if (s == SLM_OK) s = fill_model(m, &p, err);
    if (s != SLM_OK) {
        slm_model_close(m);
        return s;
    }
    *out = m;
    return SLM_OK;
}

slm_status slm_model_open(const char *path, const slm_model_params *params, slm_model **out,
                          slm_error *err) {
    return open_model(path, NULL, 0, params, out, err);
}

slm_status slm_model_open_memory(const void *data, size_t n_bytes, const slm_model_params *params,
                                 slm_model **out, slm_error *err) {
    return open_model(NULL, data, n_bytes, params, out, err);
}

void slm_model_close(slm_model *m) {
    if (!m) return;
    slm_allocator allocator = m->allocator;
    slm__trie_free(m->trie, &allocator);
    slm__vocab_free(m->vocab);
    slm__gguf_close(&m->gguf);
    slm__free(&allocator, m->layers);
    slm__free(&allocator, m->rope_freq);
    slm__free(&allocator, m->views);
    slm__free(&allocator, m);
}

/* ---- Looking at a model ---- */

slm_status slm_model_get_info(const slm_model *m, slm_model_info *info) {
    if (!m || !info || info->size != sizeof *info) return SLM_ERR_ARGUMENT;
    *info = (slm_model_info){
        .size = sizeof *info,
        .architecture = m->arch_name,
        .has_weights = m->has_weights,
        .n_vocab = m->vocab ? slm__vocab_n_tokens(m->vocab) : 0,
        .n_ctx_train = (int32_t)m->hp.n_ctx_train,
        .n_embd = (int32_t)m->hp.n_embd,
        .n_layer = (int32_t)m->hp.n_layer,
        .n_head = (int32_t)m->hp.n_head,
        .n_head_kv = (int32_t)m->hp.n_head_kv,
        .n_ff = (int32_t)m->hp.n_ff,
        .file_bytes = m->gguf.n_bytes,
        .gguf_version = m->gguf.version,
    };
    for (int32_t i = 0; i < m->gguf.n_tensors; i++) {
        const slm__tensor *t = &m->gguf.tensors[i];
        info->n_params += slm__n_weights(t);
        info->tensor_bytes += t->n_bytes;
    }
    return SLM_OK;
}

int32_t slm_model_n_keys(const slm_model *m) { return m ? m->gguf.n_keys : 0; }

int32_t slm_model_n_tensors(const slm_model *m) { return m ? m->gguf.n_tensors : 0; }

slm_status slm_model_get_key(const slm_model *m, int32_t index, slm_key_info *info) {
    if (!m || !info || info->size != sizeof *info) return SLM_ERR_ARGUMENT;
    if (index < 0 || index >= m->gguf.n_keys) return SLM_ERR_RANGE;
    const slm__key *k = &m->gguf.keys[index];
    const char *type = slm__gguf_type_name(k->type);
    *info = (slm_key_info){sizeof *info, m->gguf.key_names[index], k->is_array ? "array" : type,
                           k->is_array ? type : NULL, k->n};
    return SLM_OK;
}

slm_status slm_model_get_tensor(const slm_model *m, int32_t index, slm_tensor_info *info) {
    if (!m || !info || info->size != sizeof *info) return SLM_ERR_ARGUMENT;
    if (index < 0 || index >= m->gguf.n_tensors) return SLM_ERR_RANGE;
    const slm__tensor *t = &m->gguf.tensors[index];
    *info = (slm_tensor_info){.size = sizeof *info,
                              .name = m->gguf.tensor_names[index],
                              .type = slm__type_info[t->type].name,
                              .n_dims = t->n_dims,
                              .n_bytes = t->n_bytes,
                              .offset = (uint64_t)(t->data - m->gguf.data)};
    memcpy(info->dims, t->dims, sizeof info->dims);
    return SLM_OK;
}

int32_t slm_model_find_key(const slm_model *m, const char *name) {
    const slm__key *k = m && name ? slm__gguf_key(&m->gguf, name) : NULL;
    return k ? (int32_t)(k - m->gguf.keys) : -1;
}

slm_status slm_model_key_text(const slm_model *m, int32_t index, uint64_t element, char *buffer,
                              size_t capacity, size_t *n_bytes, slm_error *err) {
    slm__clear(err);
    if (!m || !n_bytes || (capacity > 0 && !buffer))
        return slm__fail(err, SLM_ERR_ARGUMENT, "an argument is NULL");
    *n_bytes = 0;
    if (index < 0 || index >= m->gguf.n_keys) {
        return slm__fail(err, SLM_ERR_RANGE, "key %d of %d", index, m->gguf.n_keys);
    }
    slm_status s = slm__gguf_value_text(&m->gguf.keys[index], element, buffer, capacity, n_bytes);
    SLM_TRY(slm__guard_check(m->gguf.guard, SLM_OK, err));
    if (s == SLM_OK) return s;
    return slm__fail(err, s, "key %s, element %llu: %s", slm__show(m->gguf.keys[index].name).text,
                     (unsigned long long)element,
                     s == SLM_ERR_BUFFER ? "the buffer is too small" : "no such element");
}

/* ---- Text ---- */

static slm_status need_vocab(const slm_model *m, slm_error *err) {
    if (m->vocab) return SLM_OK;
    return slm__fail(err, SLM_ERR_UNSUPPORTED, "the model was opened without its vocabulary");
}

slm_status slm_tokenize(const slm_model *m, const char *text, size_t n_bytes, uint32_t flags,
                        slm_token *out, size_t capacity, size_t *n_tokens, slm_error *err) {
    slm__clear(err);
    if (!m || (n_bytes > 0 && !text) || !n_tokens || (capacity > 0 && !out)) {
        return slm__fail(err, SLM_ERR_ARGUMENT, "an argument is NULL");
    }
    *n_tokens = 0;
    SLM_TRY(need_vocab(m, err));
    slm_status s =
        slm__vocab_tokenize(m->vocab, text, n_bytes, flags, out, capacity, n_tokens, err);
    return slm__guard_check(m->gguf.guard, s, err);
}

slm_status slm_fill_tokenize(const slm_model *m, const char *prefix, size_t n_prefix,
                             const char *suffix, size_t n_suffix, slm_token *out, size_t capacity,
                             size_t *n_tokens, slm_error *err) {
    slm__clear(err);
    if (!m || (n_prefix > 0 && !prefix) || (n_suffix > 0 && !suffix) || !n_tokens ||
        (capacity > 0 && !out)) {
        return slm__fail(err, SLM_ERR_ARGUMENT, "an argument is NULL");
    }
    *n_tokens = 0;
    SLM_TRY(need_vocab(m, err));
    slm_status s = slm__vocab_fill(m->vocab, (slm__str){prefix, n_prefix},
                                   (slm__str){suffix, n_suffix}, out, capacity, n_tokens, err);
    return slm__guard_check(m->gguf.guard, s, err);
}

slm_status slm_token_get(const slm_model *m, slm_token token, const char **text, size_t *n_bytes,
                         uint32_t *attributes) {
    if (!m) return SLM_ERR_ARGUMENT;
    slm__str s = {"", 0};
    uint32_t a = 0;
    SLM_TRY(need_vocab(m, NULL));
    SLM_TRY(slm__vocab_token(m->vocab, token, &s, &a));
    if (text) *text = s.ptr;
    if (n_bytes) *n_bytes = s.len;
    if (attributes) *attributes = a;
    return slm__guard_check(m->gguf.guard, SLM_OK, NULL);
}

slm_token slm_token_bos(const slm_model *m) {
    return m && m->vocab ? slm__vocab_bos(m->vocab) : SLM_TOKEN_NONE;
}

slm_token slm_token_eos(const slm_model *m) {
    return m && m->vocab ? slm__vocab_eos(m->vocab) : SLM_TOKEN_NONE;
}

slm_status slm_text_stream_add(const slm_model *m, slm_text_stream *stream, slm_token token,
                               char *buffer, size_t capacity, size_t *n_bytes) {
    if (!m || !stream || !n_bytes || (capacity > 0 && !buffer)) return SLM_ERR_ARGUMENT;
    SLM_TRY(need_vocab(m, NULL));
    slm_status s = slm__vocab_stream_add(m->vocab, stream, token, buffer, capacity, n_bytes);
    return slm__guard_check(m->gguf.guard, s, NULL);
}

/* ---- Conversations ---- */

slm_chat slm_chat_defaults(void) { return (slm_chat){.size = sizeof(slm_chat)}; }

static slm_status check_chat(const slm_model *m, const slm_chat *chat, const void *out,
                             size_t capacity, size_t *n_out, slm_error *err) {
    slm__clear(err);
    if (!m || !chat || !n_out || (capacity > 0 && !out))
        return slm__fail(err, SLM_ERR_ARGUMENT, "an argument is NULL");
    *n_out = 0;
    if (chat->size != sizeof *chat)
        return slm__fail(err, SLM_ERR_ARGUMENT, "chat->size is %zu, expected %zu", chat->size,
                         sizeof *chat);
    SLM_TRY(need_vocab(m, err));
    if (chat->n_messages > 0 && !chat->messages)
        return slm__fail(err, SLM_ERR_ARGUMENT, "an argument is NULL");
    if (chat->n_messages > 0 && chat->messages_json)
        return slm__fail(err, SLM_ERR_ARGUMENT, "messages and messages_json are both given");
    for (size_t i = 0; i < chat->n_messages; i++) {
        const slm_message *message = &chat->messages[i];
        if (!message->role || (message->n_bytes > 0 && !message->content))
            return slm__fail(err, SLM_ERR_ARGUMENT, "message %zu has no role or no content", i);
    }
    return SLM_OK;
}

slm_status slm_chat_render(const slm_model *m, const slm_chat *chat, char *out, size_t capacity,
                           size_t *n_bytes, slm_error *err) {
    SLM_TRY(check_chat(m, chat, out, capacity, n_bytes, err));
    slm_status s = slm__chat_render(m->vocab, &m->gguf, chat, out, capacity, n_bytes, err);
    return slm__guard_check(m->gguf.guard, s, err);
}

slm_status slm_chat_encode(const slm_model *m, const slm_chat *chat, slm_token *out,
                           size_t capacity, size_t *n_tokens, slm_error *err) {
    SLM_TRY(check_chat(m, chat, out, capacity, n_tokens, err));
    slm_status s = slm__chat_encode(m->vocab, &m->gguf, chat, out, capacity, n_tokens, err);
    return slm__guard_check(m->gguf.guard, s, err);
}

slm_status slm_chat_tokenize(const slm_model *m, const slm_message *messages, size_t n_messages,
                             slm_token *out, size_t capacity, size_t *n_tokens, slm_error *err) {
    slm_chat chat = slm_chat_defaults();
    chat.messages = messages;
    chat.n_messages = n_messages;
    return slm_chat_encode(m, &chat, out, capacity, n_tokens, err);
}
