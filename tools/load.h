/* From a path to a model, from a text to tokens, with messages. */
#ifndef TOOLS_LOAD_H
#define TOOLS_LOAD_H

#include "io.h"
#include "options.h"

/* How much of a file is wanted. */
typedef enum open_what {
    OPEN_TO_RUN, /* all of it, and the weights are needed at once */
    OPEN_ALL,
    OPEN_VOCABULARY,
    OPEN_KEYS
} open_what;

/* Of --lora. */
typedef struct adapter_list {
    slm_adapter *v[MAX_LIST];
    float scales[MAX_LIST];
    int32_t n;
} adapter_list;

/* EXIT_DONE, or the code to exit with after a message. */
int open_model(const char *path, open_what what, slm_model **out);
int open_adapters(const slm_model *model, const text_list *files, adapter_list *out);

/* With these adapters in use; NULL: none. */
int create_context(const slm_model *model, const slm_context_params *params,
                   const adapter_list *adapters, slm_context **out);

/* An importance matrix, guarded; with a model, one for some of its tensors: *n_matched (or NULL) of them. */
int open_imatrix(const char *path, const slm_model *model, slm_imatrix **out, int32_t *n_matched);

void close_adapters(adapter_list *list);

/* The same without a message; and that message. */
slm_status try_open_model(const char *path, open_what what, slm_model **out, slm_error *err);
int fail_to_open(const char *path, const slm_error *err);

/* SLM_ERR_CHANGED from a function that gives no message. */
int fail_changed(const char *path);

/* min(trained, max(4096, wanted)): what a context has if nobody says how long. */
int32_t default_n_ctx(const slm_model *model, int64_t wanted);

/* What each position more adds to a context: the rise over whole pages of the KV cache. Statuses as slm_context_memory(). */
slm_status position_bytes(const slm_model *model, const slm_context_params *params, size_t *n_bytes,
                          slm_error *err);

typedef struct token_list {
    slm_token *ids; /* to be freed by the caller */
    size_t n;
} token_list;

/* slm_tokenize(), slm_fill_tokenize() and slm_chat_tokenize(), with a list of the right length. */
slm_status tokenize(const slm_model *model, const char *text, size_t n_bytes, uint32_t flags,
                    token_list *out, slm_error *err);
slm_status tokenize_fill(const slm_model *model, const char *prefix, size_t n_prefix,
                         const char *suffix, size_t n_suffix, token_list *out, slm_error *err);
slm_status tokenize_chat(const slm_model *model, const slm_message *messages, size_t n_messages,
                         token_list *out, slm_error *err);

/* The conversation that a prompt begins, after a system message unless `system` is NULL. */
slm_status tokenize_question(const slm_model *model, const char *system, const char *prompt,
                             size_t n_bytes, token_list *out, slm_error *err);

#endif
