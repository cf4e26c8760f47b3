/* slm tokenize: a text's tokens. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "load.h"
#include "text.h"

typedef struct tokenize_options {
    const char *model, *system;
    bool no_bos, special, chat, text;
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

static int tokenize_file(const tokenize_options *o, const slm_model *model, const char *path) {
    size_t n_bytes;
    char *text = read_all(path, &n_bytes);
    if (!text) return EXIT_FAILED;
    token_list tokens;
    slm_error err;
    uint32_t flags = (o->no_bos ? 0 : SLM_TOKENIZE_BOS) | (o->special ? SLM_TOKENIZE_SPECIAL : 0);
    slm_status status = o->chat ? tokenize_question(model, o->system, text, n_bytes, &tokens, &err)
                                : tokenize(model, text, n_bytes, flags, &tokens, &err);
    int code = EXIT_DONE;
    if (status != SLM_OK)
        code = fail_with(path ? path : "standard input", &err);
    else if (!o->text)
        print_ids(&tokens);
    else if (print_texts(model, &tokens) != SLM_OK) /* the ids are good: they came from the model */
        code = fail_changed(o->model);
    free(tokens.ids);
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
    .arguments = "-m MODEL [--no-bos] [--special] [--chat] [--text] [FILE]",
    .summary = "print the token ids of a text",
    .details = "Takes the bytes of FILE (or of standard input) exactly as they are, a last newline "
               "too; bytes\n"
               "that are no UTF-8 count as U+FFFD, as they did when vocabularies were trained.\n"
               "Special tokens in the text are plain text unless --special is given.\n",
    .options = options,
    .max_operands = 1,
    .run = run,
};
