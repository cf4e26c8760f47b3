#include "load.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static void remark(void *user, slm_log_level level, const char *message) {
    (void)user;
    if (level == SLM_LOG_WARN) warn("%s", message);
}

slm_status try_open_model(const char *path, open_what what, slm_model **out, slm_error *err) {
    progress_bar bar = {.label = "loading"};
    slm_model_params params = slm_model_defaults();
    params.vocab_only = what == OPEN_VOCABULARY;
    params.keys_only = what == OPEN_KEYS;
    params.guard = true;
    params.prefetch = what == OPEN_TO_RUN;
    params.log = remark;
    params.progress = progress_update;
    params.progress_user = &bar;
    slm_status status = slm_model_open(path, &params, out, err);
    progress_end(&bar);
    return status;
}

int fail_to_open(const char *path, const slm_error *err) {
    bool named = strstr(err->message, path) != NULL; /* by messages about the file as a whole */
    return named && err->status != SLM_ERR_CANCELLED
               ? fail("%s (%s)", err->message, slm_status_name(err->status))
               : fail_with(path, err);
}

int fail_changed(const char *path) {
    return fail("%s: the file was cut short while it was open (%s)", path,
                slm_status_name(SLM_ERR_CHANGED));
}

int open_model(const char *path, open_what what, slm_model **out) {
    slm_error err;
    slm_status status = try_open_model(path, what, out, &err);
    return status == SLM_OK ? EXIT_DONE : fail_to_open(path, &err);
}

int create_context(const slm_model *model, const slm_context_params *params,
                   const adapter_list *adapters, slm_context **out) {
    slm_error err;
    if (slm_context_create(model, params, out, &err) != SLM_OK)
        return fail_with("cannot create a context", &err);
    if (!adapters || adapters->n == 0) return EXIT_DONE;
    const slm_adapter *list[MAX_LIST];
    for (int32_t i = 0; i < adapters->n; i++) list[i] = adapters->v[i];
    slm_status status = slm_context_set_adapters(*out, list, adapters->scales, adapters->n, &err);
    return status == SLM_OK ? EXIT_DONE : fail_with("--lora", &err);
}

/* ---- Adapters ---- */

/* What follows the last colon is the scale if it is a number; a file whose name ends so is given with a scale behind it. */
static size_t split_scale(const char *spec, float *scale) {
    const char *colon = strrchr(spec, ':');
    char *end;
    *scale = 1;
    if (!colon || !colon[1]) return strlen(spec);
    float v = strtof(colon + 1, &end);
    if (*end) return strlen(spec);
    *scale = v;
    return (size_t)(colon - spec);
}

int open_adapters(const slm_model *model, const text_list *files, adapter_list *out) {
    for (int32_t i = 0; i < files->n; i++) {
        slm_error err;
        char *path = strndup(files->v[i], split_scale(files->v[i], &out->scales[i]));
        if (!path) return fail("no memory");
        slm_status status = slm_adapter_open(model, path, NULL, &out->v[i], &err);
        int code = status == SLM_OK ? EXIT_DONE : fail_to_open(path, &err);
        free(path);
        if (code != EXIT_DONE) return code;
        out->n++;
    }
    return EXIT_DONE;
}

void close_adapters(adapter_list *list) {
    for (int32_t i = 0; i < list->n; i++) slm_adapter_close(list->v[i]);
}

int32_t default_n_ctx(const slm_model *model, int64_t wanted) {
    slm_model_info info = {.size = sizeof info};
    if (slm_model_get_info(model, &info) != SLM_OK) info.n_ctx_train = 0;
    int64_t trained = info.n_ctx_train > 0 ? info.n_ctx_train : INT32_MAX;
    int64_t n = wanted > 4096 ? wanted : 4096;
    return (int32_t)(n < trained ? n : trained);
}

slm_status position_bytes(const slm_model *model, const slm_context_params *params, size_t *n_bytes,
                          slm_error *err) {
    enum { MORE = 1024 };
    slm_context_params a = *params, b = *params;
    size_t a_bytes = 0, b_bytes = 0;
    a.n_ctx = MORE;
    b.n_ctx = 2 * MORE;
    slm_status status = slm_context_memory(model, &a, &a_bytes, err);
    if (status == SLM_OK) status = slm_context_memory(model, &b, &b_bytes, err);
    *n_bytes = (b_bytes - a_bytes) / MORE;
    return status;
}

/* ---- Tokens: asked for with a guess, then, if that was too short, with the number that is needed ---- */

typedef struct request {
    const slm_model *model;
    const char *text;
    size_t n_bytes;
    uint32_t flags;
    const slm_message *messages; /* NULL: the text */
    size_t n_messages;
    const char *suffix; /* NULL: the text is no prefix */
    size_t n_suffix;
} request;

static slm_status ask(const request *r, token_list *out, size_t capacity, slm_error *err) {
    if (r->messages) {
        slm_chat chat = slm_chat_defaults();
        chat.messages = r->messages;
        chat.n_messages = r->n_messages;
        chat.now = (int64_t)time(NULL);
        return slm_chat_encode(r->model, &chat, out->ids, capacity, &out->n, err);
    }
    if (r->suffix)
        return slm_fill_tokenize(r->model, r->text, r->n_bytes, r->suffix, r->n_suffix, out->ids,
                                 capacity, &out->n, err);
    return slm_tokenize(r->model, r->text, r->n_bytes, r->flags, out->ids, capacity, &out->n, err);
}

static slm_status ask_twice(const request *r, size_t guess, token_list *out, slm_error *err) {
    slm_status status = SLM_ERR_BUFFER;
    for (int i = 0; i < 2 && status == SLM_ERR_BUFFER; i++) {
        size_t capacity = i == 0 ? guess : out->n;
        slm_token *ids =
            capacity <= SIZE_MAX / sizeof *ids ? realloc(out->ids, capacity * sizeof *ids) : NULL;
        if (!ids) {
            *err = (slm_error){SLM_ERR_NOMEM, "no memory for the tokens of the text"};
            return SLM_ERR_NOMEM;
        }
        out->ids = ids;
        status = ask(r, out, capacity, err);
    }
    return status;
}

slm_status tokenize(const slm_model *model, const char *text, size_t n_bytes, uint32_t flags,
                    token_list *out, slm_error *err) {
    *out = (token_list){0};
    request r = {.model = model, .text = text, .n_bytes = n_bytes, .flags = flags};
    return ask_twice(&r, n_bytes / 3 + 64, out, err);
}

slm_status tokenize_fill(const slm_model *model, const char *prefix, size_t n_prefix,
                         const char *suffix, size_t n_suffix, token_list *out, slm_error *err) {
    *out = (token_list){0};
    request r = {.model = model,
                 .text = prefix,
                 .n_bytes = n_prefix,
                 .suffix = suffix,
                 .n_suffix = n_suffix};
    return ask_twice(&r, (n_prefix + n_suffix) / 3 + 64, out, err);
}

slm_status tokenize_chat(const slm_model *model, const slm_message *messages, size_t n_messages,
                         token_list *out, slm_error *err) {
    *out = (token_list){0};
    request r = {.model = model, .messages = messages, .n_messages = n_messages};
    return ask_twice(&r, 256, out, err);
}

slm_status tokenize_question(const slm_model *model, const char *system, const char *prompt,
                             size_t n_bytes, token_list *out, slm_error *err) {
    slm_message messages[2] = {{.role = "system", .content = system},
                               {.role = "user", .content = prompt, .n_bytes = n_bytes}};
    if (system) messages[0].n_bytes = strlen(system);
    size_t first = system ? 0 : 1;
    return tokenize_chat(model, messages + first, 2 - first, out, err);
}

int open_imatrix(const char *path, const slm_model *model, slm_imatrix **out, int32_t *n_matched) {
    slm_error err;
    slm_imatrix_params p = slm_imatrix_defaults();
    int32_t n = 0;
    int code = EXIT_DONE;
    p.guard = true;
    if (slm_imatrix_open(path, &p, out, &err) != SLM_OK) return fail_to_open(path, &err);
    if (model && slm_imatrix_match(*out, model, &n, &err) != SLM_OK)
        code = fail_with(path, &err);
    else if (model && n == 0)
        code = fail("%s: none of its tensors is in the model", path);
    if (n_matched) *n_matched = n;
    if (code == EXIT_DONE) return code;
    slm_imatrix_free(*out);
    *out = NULL;
    return code;
}
