/* Conversations in the format of a model: the variables that its chat template sees, the text that it makes of them, and that text's tokens. */
#include <stdio.h>

#include "jinja.h"
#include "vocab_impl.h"

/* JSON that a caller gave, and the values made of it, which point into it. */
enum { MESSAGES, TOOLS, EXTRA, N_JSON };

typedef struct rendering {
    const slm__vocab *v;
    const slm__gguf *g;
    const slm_chat *chat;
    jinja j;
    slm__json json[N_JSON];
    slm_error *err;
} rendering;

/* ---- Variables ---- */

static bool set(jinja *j, const char *name, const jv *v) {
    return slm__j_bind(j, j->globals, slm__j_name(j, name, strlen(name)), v);
}

/* The text of special tokens, under the names that transformers has for them. */
static slm_status set_tokens(rendering *r) {
    static const struct {
        const char *variable, *key;
    } rows[] = {
        {"bos_token", "tokenizer.ggml.bos_token_id"},
        {"eos_token", "tokenizer.ggml.eos_token_id"},
        {"unk_token", "tokenizer.ggml.unknown_token_id"},
        {"sep_token", "tokenizer.ggml.seperator_token_id"}, /* spelt so in the format */
        {"pad_token", "tokenizer.ggml.padding_token_id"},
        {"cls_token", "tokenizer.ggml.cls_token_id"},
        {"mask_token", "tokenizer.ggml.mask_token_id"},
    };
    const slm_token known[SLM_COUNT(rows)] = {r->v->bos, r->v->eos, r->v->unknown, -1, -1, -1, -1};
    for (size_t i = 0; i < SLM_COUNT(rows); i++) {
        uint64_t id = 0;
        bool found = false;
        slm__str text;
        uint32_t attributes;
        jv v;
        SLM_TRY(slm__gguf_u64(r->g, rows[i].key, &id, &found, r->err));
        slm_token token = found && id < INT32_MAX ? (slm_token)id : known[i];
        if (slm__vocab_token(r->v, token, &text, &attributes) != SLM_OK) continue;
        if (!slm__j_outside(&r->j, text.ptr, text.len, false, &v) ||
            !set(&r->j, rows[i].variable, &v))
            return r->j.status;
    }
    return SLM_OK;
}

static slm_status parse_json(rendering *r, int which, const char *name, const char *text, size_t n,
                             slm__json_kind kind) {
    slm_error why;
    slm_status s = slm__json_parse(r->v->allocator, text, n, &r->json[which], &why);
    if (s != SLM_OK) return slm__fail(r->err, s, "%s: %.440s", name, why.message);
    if (r->json[which].values->kind == kind) return SLM_OK;
    return slm__fail(r->err, SLM_ERR_ARGUMENT, "%s is no JSON %s", name,
                     kind == JSON_ARRAY ? "array" : "object");
}

/* A variable for each member of extra_json. */
static slm_status set_extra(rendering *r) {
    const slm_chat *c = r->chat;
    if (!c->extra_json) return SLM_OK;
    SLM_TRY(parse_json(r, EXTRA, "extra_json", c->extra_json, c->extra_bytes, JSON_OBJECT));
    for (const slm__json_value *m = r->json[EXTRA].values->first; m; m = m->next) {
        jv v;
        const jname *name = slm__j_name(&r->j, m->key.ptr, m->key.len);
        if (!slm__j_from_json(&r->j, m, true, false, &v) ||
            !slm__j_bind(&r->j, r->j.globals, name, &v))
            return r->j.status;
    }
    return SLM_OK;
}

static slm_status set_tools(rendering *r) {
    const slm_chat *c = r->chat;
    jv v;
    if (!c->tools_json) return SLM_OK;
    SLM_TRY(parse_json(r, TOOLS, "tools_json", c->tools_json, c->tools_bytes, JSON_ARRAY));
    bool ok =
        slm__j_from_json(&r->j, r->json[TOOLS].values, true, false, &v) && set(&r->j, "tools", &v);
    return ok ? SLM_OK : r->j.status;
}

static bool add_member(jinja *j, jdict *d, const char *key, const char *s, size_t n) {
    jv k, v;
    return slm__j_outside(j, key, strlen(key), false, &k) &&
           slm__j_outside(j, s ? s : "", n, true, &v) && slm__j_dict_set(j, d, &k, &v);
}

static bool is_extra(const rendering *r, const char *name) {
    const slm__json_value *all = r->json[EXTRA].values;
    return all && slm__json_get(all, name);
}

static slm_status set_messages(rendering *r) {
    const slm_chat *c = r->chat;
    jinja *j = &r->j;
    jv list, message;
    if (c->messages_json) {
        SLM_TRY(parse_json(r, MESSAGES, "messages_json", c->messages_json, c->messages_bytes,
                           JSON_ARRAY));
        for (const slm__json_value *m = r->json[MESSAGES].values->first; m; m = m->next) {
            if (m->kind != JSON_OBJECT)
                return slm__fail(r->err, SLM_ERR_ARGUMENT, "messages_json: a message is no object");
        }
        bool ok = slm__j_from_json(j, r->json[MESSAGES].values, true, false, &list) &&
                  set(j, "messages", &list);
        return ok ? SLM_OK : j->status;
    }
    if (c->n_messages == 0 && is_extra(r, "messages")) return SLM_OK;
    if (!slm__j_list(j, J_LIST, 0, &list)) return j->status;
    for (size_t i = 0; i < c->n_messages; i++) {
        const slm_message *m = &c->messages[i];
        if (!slm__j_dict(j, J_DICT, &message) ||
            !add_member(j, message.u.dict, "role", m->role, strlen(m->role)) ||
            !add_member(j, message.u.dict, "content", m->content, m->n_bytes) ||
            !slm__j_append(j, list.u.list, &message))
            return j->status;
    }
    return set(j, "messages", &list) ? SLM_OK : j->status;
}

static slm_status set_variables(rendering *r) {
    jinja *j = &r->j;
    jv none = JNONE, generate = JBOOL(!r->chat->no_generation_prompt);
    for (const jrow *f = slm__j_functions; f->name; f++) {
        jv v = {.kind = J_FUNCTION, .u.row = f};
        if (!set(j, f->name, &v)) return j->status;
    }
    SLM_TRY(set_tokens(r));
    if (!set(j, "tools", &none) || !set(j, "documents", &none) ||
        !set(j, "add_generation_prompt", &generate))
        return j->status;
    SLM_TRY(set_extra(r));
    SLM_TRY(set_tools(r));
    return set_messages(r);
}

/* ---- Rendering ---- */

static slm_status find_template(const rendering *r, slm__str *out) {
    bool found = false;
    if (r->chat->chat_template) {
        *out = (slm__str){r->chat->chat_template, r->chat->template_bytes};
        return SLM_OK;
    }
    SLM_TRY(slm__gguf_str(r->g, "tokenizer.chat_template", out, &found, r->err));
    if (found) return SLM_OK;
    return slm__fail(r->err, SLM_ERR_UNSUPPORTED, "key tokenizer.chat_template is missing");
}

static uint64_t input_bytes(const slm_chat *c) {
    uint64_t n = (uint64_t)c->messages_bytes + c->tools_bytes + c->extra_bytes;
    for (size_t i = 0; i < c->n_messages; i++) n += c->messages[i].n_bytes;
    return n;
}

/* The text is in r->j.out; end_rendering() in any case. */
static slm_status render(rendering *r) {
    slm__str source = {"", 0};
    jnode *body;
    jinja *j = &r->j;
    SLM_TRY(find_template(r, &source));
    SLM_TRY(slm__j_begin(j, r->v->allocator, input_bytes(r->chat), r->err));
    j->now = r->chat->now;
    SLM_TRY(set_variables(r));
    j->scope = slm__j_scope(j, j->globals);
    j->out = slm__j_buf(j, 1024);
    if (!j->scope || !j->out || !slm__j_lex(j, source.ptr, source.len) || !slm__j_parse(j, &body))
        return j->status;
    return slm__j_exec(j, body) ? SLM_OK : j->status;
}

static void end_rendering(rendering *r) {
    slm__j_end(&r->j);
    for (int i = 0; i < N_JSON; i++) {
        if (r->json[i].values) slm__json_free(&r->json[i]);
    }
}

slm_status slm__chat_render(const slm__vocab *v, const slm__gguf *g, const slm_chat *chat,
                            char *out, size_t capacity, size_t *n_bytes, slm_error *err) {
    rendering r = {.v = v, .g = g, .chat = chat, .err = err};
    slm_status s = render(&r);
    if (s == SLM_OK) {
        const jbuf *text = r.j.out;
        *n_bytes = text->n;
        if (text->n > capacity)
            s = slm__fail(err, SLM_ERR_BUFFER, "%u bytes, room for %zu", text->n, capacity);
        else if (text->n)
            memcpy(out, text->p, text->n);
    }
    end_rendering(&r);
    return s;
}

/* ---- Tokens ---- */

/* Does the template itself begin with the begin-of-sequence token? */
static bool begins_with_bos(const slm__vocab *v, const jbuf *text) {
    slm__str bos;
    uint32_t attributes;
    if (slm__vocab_token(v, v->bos, &bos, &attributes) != SLM_OK || bos.len == 0) return false;
    if (bos.len > text->n || memcmp(bos.ptr, text->p, bos.len) != 0) return false;
    return text->mark ? !memchr(text->mark, 1, bos.len) : !text->marked;
}

static slm_status encode(const slm__vocab *v, const jbuf *text, slm__sink *sink, slm_error *err) {
    slm__bpe_work work = {.allocator = v->allocator};
    bool all = text->mark || !text->marked;
    if (v->add_bos && v->bos != SLM_TOKEN_NONE && !begins_with_bos(v, text))
        slm__sink_put(sink, v->bos);
    slm_status s = slm__vocab_encode(v, &work, text->p, text->n, all, text->mark, sink, err);
    slm__bpe_work_free(&work);
    return s;
}

slm_status slm__chat_encode(const slm__vocab *v, const slm__gguf *g, const slm_chat *chat,
                            slm_token *out, size_t capacity, size_t *n_tokens, slm_error *err) {
    rendering r = {.v = v, .g = g, .chat = chat, .err = err};
    slm__sink sink = {out, capacity, 0};
    slm_status s = render(&r);
    if (s == SLM_OK) s = encode(v, r.j.out, &sink, err);
    end_rendering(&r);
    SLM_TRY(s);
    *n_tokens = sink.n;
    if (sink.n > capacity)
        return slm__fail(err, SLM_ERR_BUFFER, "%zu tokens, room for %zu", sink.n, capacity);
    return SLM_OK;
}
