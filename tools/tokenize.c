/* slm tokenize: a text's tokens. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "load.h"
#include "text.h"

typedef struct tokenize_options {
    const char *model, *system, *template;
    bool no_bos, special, chat, text, json, render, no_prompt;
} tokenize_options;

static const option options[] = {
    {"-m", "MODEL", OPT_TEXT, offsetof(tokenize_options, model), 0, 0,
     "GGUF file; its vocabulary is enough"},
    {"--no-bos", NULL, OPT_FLAG, offsetof(tokenize_options, no_bos), 0, 0,
     "no begin-of-sequence token, whatever the file's keys say"},
    {"--special", NULL, OPT_FLAG, offsetof(tokenize_options, special), 0, 0,
     "read the text of special tokens (<|im_end|>) as those tokens"},
    {"--chat", NULL, OPT_FLAG, offsetof(tokenize_options, chat), 0, 0,
     "the text as a prompt in the chat format, as 'slm run' gives it to the model"},
    {"--system", "TEXT", OPT_TEXT, offsetof(tokenize_options, system), 0, 0,
     "with --chat: a system message before the prompt"},
    {"--json", NULL, OPT_FLAG, offsetof(tokenize_options, json), 0, 0,
     "with --chat: the text is JSON, an array of messages or an object of all that the template "
     "is given (messages, tools, ...)"},
    {"--template", "FILE", OPT_TEXT, offsetof(tokenize_options, template), 0, 0,
     "with --chat: the chat template in FILE instead of the model's"},
    {"--no-prompt", NULL, OPT_FLAG, offsetof(tokenize_options, no_prompt), 0, 0,
     "with --chat: without the start of the answer"},
    {"--render", NULL, OPT_FLAG, offsetof(tokenize_options, render), 0, 0,
     "with --chat: print the text that the template makes, not its tokens"},
    {"--text", NULL, OPT_FLAG, offsetof(tokenize_options, text), 0, 0,
     "a token a line: its id, a tab, its text in quotes"},
    {0},
};

static void print_ids(const token_list *tokens) {
    for (size_t i = 0; i < tokens->n; i++) printf(i ? " %" PRId32 : "%" PRId32, tokens->ids[i]);
    putchar('\n');
}

static slm_status print_texts(const slm_model *model, const token_list *tokens) {
    for (size_t i = 0; i < tokens->n; i++) {
        const char *text = "";
        size_t n = 0;
        slm_status status = slm_token_get(model, tokens->ids[i], &text, &n, NULL);
        if (status != SLM_OK) return status;
        printf("%" PRId32 "\t\"", tokens->ids[i]);
        print_escaped(stdout, text, n, SIZE_MAX);
        puts("\"");
    }
    return SLM_OK;
}

/* ---- Conversations ---- */

/* What --chat makes of the text; `messages` and `template` are room for it. False: the template could not be read. */
static bool make_chat(const tokenize_options *o, const char *text, size_t n_bytes,
                      slm_message messages[2], char **template, slm_chat *c) {
    *c = slm_chat_defaults();
    c->no_generation_prompt = o->no_prompt;
    c->now = (int64_t)time(NULL);
    size_t blank = 0;
    while (blank < n_bytes && strchr(" \t\r\n", text[blank]) && text[blank]) blank++;
    if (o->json && blank < n_bytes && text[blank] == '{') {
        c->extra_json = text;
        c->extra_bytes = n_bytes;
    } else if (o->json) {
        c->messages_json = text;
        c->messages_bytes = n_bytes;
    } else {
        messages[0] = (slm_message){"system", o->system, o->system ? strlen(o->system) : 0};
        messages[1] = (slm_message){"user", text, n_bytes};
        c->messages = o->system ? messages : messages + 1;
        c->n_messages = o->system ? 2 : 1;
    }
    if (!o->template) return true;
    *template = read_all(o->template, &c->template_bytes);
    c->chat_template = *template;
    return *template != NULL;
}

static slm_status encode(const slm_model *model, const slm_chat *c, token_list *out,
                         slm_error *err) {
    slm_status status = slm_chat_encode(model, c, NULL, 0, &out->n, err);
    if (status != SLM_ERR_BUFFER) return status;
    out->ids = malloc(out->n * sizeof *out->ids);
    if (!out->ids) {
        *err = (slm_error){SLM_ERR_NOMEM, "no memory for the tokens of the text"};
        return SLM_ERR_NOMEM;
    }
    return slm_chat_encode(model, c, out->ids, out->n, &out->n, err);
}

static slm_status print_rendered(const slm_model *model, const slm_chat *c, slm_error *err) {
    size_t n = 0;
    slm_status status = slm_chat_render(model, c, NULL, 0, &n, err);
    if (status != SLM_ERR_BUFFER) return status;
    char *out = malloc(n);
    if (!out) {
        *err = (slm_error){SLM_ERR_NOMEM, "no memory for the text"};
        return SLM_ERR_NOMEM;
    }
    status = slm_chat_render(model, c, out, n, &n, err);
    if (status == SLM_OK) fwrite(out, 1, n, stdout);
    free(out);
    return status;
}

/* What a message is about: the text, or what made a chat of it. */
static const char *blamed(const tokenize_options *o, const char *path, const slm_error *err) {
    static const char *const sources[] = {"messages_json",
                                          "extra_json"}; /* of the library's slm_chat */
    bool text = !o->chat;
    for (int i = 0; i < 2; i++)
        if (strncmp(err->message, sources[i], strlen(sources[i])) == 0) text = true;
    if (text) return path ? path : "standard input";
    return o->template ? o->template : o->model;
}

static int tokenize_file(const tokenize_options *o, const slm_model *model, const char *path) {
    size_t n_bytes;
    char *text = read_all(path, &n_bytes);
    if (!text) return EXIT_FAILED;
    token_list tokens = {0};
    slm_error err;
    uint32_t flags = (o->no_bos ? 0 : SLM_TOKENIZE_BOS) | (o->special ? SLM_TOKENIZE_SPECIAL : 0);
    slm_chat chat;
    slm_message messages[2];
    char *template = NULL;
    if (o->chat && !make_chat(o, text, n_bytes, messages, &template, &chat)) {
        free(text);
        return EXIT_FAILED;
    }
    slm_status status = !o->chat    ? tokenize(model, text, n_bytes, flags, &tokens, &err)
                        : o->render ? print_rendered(model, &chat, &err)
                                    : encode(model, &chat, &tokens, &err);
    int code = EXIT_DONE;
    if (status != SLM_OK)
        code = fail_with(blamed(o, path, &err), &err);
    else if (o->render)
        ; /* printed already */
    else if (!o->text)
        print_ids(&tokens);
    else if (print_texts(model, &tokens) != SLM_OK) /* the ids are good: they came from the model */
        code = fail_changed(o->model);
    free(tokens.ids);
    free(template);
    free(text);
    return code;
}

static int run(const command *self, int argc, char **argv) {
    tokenize_options o = {0};
    const char *path = NULL;
    int code = parse_options(self, argc, argv, &o, &path);
    if (code != PARSED) return code;
    if (!o.model) return usage_error(self, "-m MODEL is missing");
    if (o.system && !o.chat) return usage_error(self, "--system wants --chat");
    if ((o.json || o.template || o.render || o.no_prompt) && !o.chat)
        return usage_error(self, "--json, --template, --render and --no-prompt want --chat");
    if (o.json && o.system) return usage_error(self, "--json goes without --system");
    if (o.chat && (o.no_bos || o.special))
        return usage_error(self, "--chat goes with neither --no-bos nor --special");
    slm_model *model;
    code = open_model(o.model, OPEN_VOCABULARY, &model);
    if (code != EXIT_DONE) return code;
    code = tokenize_file(&o, model, path);
    slm_model_close(model);
    return code;
}

const command tokenize_command = {
    .name = "tokenize",
    .arguments = "-m MODEL [--no-bos] [--special] [--chat [--json] [--render]] [--text] [FILE]",
    .summary = "print the token ids of a text",
    .details = "Takes the bytes of FILE (or of standard input) exactly as they are, a last newline "
               "too; bytes\n"
               "that are no UTF-8 count as U+FFFD, as they did when vocabularies were trained.\n"
               "Special tokens in the text are plain text unless --special is given.\n",
    .options = options,
    .max_operands = 1,
    .run = run,
};
