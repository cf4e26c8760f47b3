/* slm chat: a conversation on the terminal. What it says is rendered by the model's template anew for each answer; of the tokens only
 * those are computed that the sequence does not hold yet. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "answer.h"
#include "conversation.h"
#include "lineedit.h"
#include "outfile.h"
#include "text.h"

typedef struct chat_options {
    const char *model, *system, *load;
    int32_t n, lookup;
    bool no_history;
    sampling_options sampling;
    compute_options compute;
} chat_options;

static const option options[] = {
    {"-m", "MODEL", OPT_TEXT, offsetof(chat_options, model), 0, 0, "GGUF file"},
    {"--system", "TEXT", OPT_TEXT, offsetof(chat_options, system), 0, 0,
     "a system message before the conversation"},
    {"--load", "FILE", OPT_TEXT, offsetof(chat_options, load), 0, 0,
     "go on with a conversation that /save has written"},
    {"-n", "N", OPT_INT, offsetof(chat_options, n), 0, INT32_MAX,
     "tokens of an answer, at most (default 0: until it ends)"},
    {"--no-history", NULL, OPT_FLAG, offsetof(chat_options, no_history), 0, 0,
     "do not keep what was typed in ~/.slm_history"},
    LOOKUP_OPTION(chat_options),
    SAMPLING_OPTIONS(chat_options),
    COMPUTE_OPTIONS(chat_options, "4096"),
    {0},
};

typedef struct chat {
    chat_options o;
    answerer a;
    line_editor *editor;
    char *history_file;
    conversation said;
    bool ended;
} chat;

/* ---- Writing it down, as conversation_load() reads it ---- */

static int save(const conversation *c, const char *path) {
    out_file f;
    if (out_open(&f, path) != EXIT_DONE) return EXIT_DONE;
    json j = {.out = f.out};
    json_open(&j, '[');
    for (size_t i = 0; i < c->n; i++) {
        json_open(&j, '{');
        json_named_text(&j, "role", c->messages[i].role);
        json_named_bytes(&j, "content", c->messages[i].content, c->messages[i].n_bytes);
        json_close(&j, '}');
    }
    json_close(&j, ']');
    fputc('\n', f.out);
    out_close(&f, true); /* one goes on where it could not be written, too */
    return EXIT_DONE;
}

/* ---- An answer ---- */

/* The conversation as tokens that leave room for an answer: the oldest turns go, if they must. */
static int tokens_of(chat *c, token_list *out) {
    slm_error err;
    int32_t room = c->a.params.n_ctx - (c->a.params.n_ctx < 512 ? c->a.params.n_ctx / 4 : 128);
    for (bool told = false;; told = true) {
        slm_status status = tokenize_chat(c->a.model, c->said.messages, c->said.n, out, &err);
        if (status != SLM_OK) return fail_with("the conversation", &err);
        if ((int64_t)out->n <= room) return EXIT_DONE;
        size_t first = conversation_has_system(&c->said);
        if (c->said.n < first + 3) {
            warn("the message has too many tokens for the context (-c)");
            return EXIT_FAILED;
        }
        if (!told) warn("the context is full: the oldest messages are forgotten");
        conversation_forget(&c->said, first);
        conversation_forget(&c->said, first);
        free(out->ids);
    }
}

/* Let the sequence hold these tokens; what it has of them already stays. The sampler begins anew with each answer and sees all of them: what was dropped
 * of the conversation is nothing that could be repeated, and --min-tokens is of one answer. */
static int read_tokens(chat *c, const token_list *tokens) {
    slm_error err;
    int32_t same;
    slm_status status = tokens_held(c->a.ctx, tokens, &same, &err);
    slm_sampler_reset(c->a.by.sampler);
    for (int32_t i = 0; i < same && status == SLM_OK; i++)
        slm_sampler_accept(c->a.by.sampler, tokens->ids[i]);
    c->a.bar = (progress_bar){.label = "reading"};
    if (status == SLM_OK)
        status = c->a.speculator ? slm_speculator_truncate(c->a.speculator, same, &err)
                                 : slm_seq_truncate(c->a.ctx, 0, same, &err);
    if (status == SLM_OK)
        status = answerer_read(&c->a, tokens->ids + same, (int32_t)tokens->n - same, &err);
    progress_end(&c->a.bar);
    if (status == SLM_ERR_CANCELLED) return EXIT_INTERRUPTED;
    return status == SLM_OK ? EXIT_DONE : fail_with("the conversation", &err);
}

static void print_speed(const chat *c) {
    if (!isatty(STDERR_FILENO)) return;
    fprintf(stderr, "\033[2m[%" PRId32 " token%s", c->a.n_generated,
            c->a.n_generated == 1 ? "" : "s");
    if (c->a.n_decoded > 0)
        fprintf(stderr, ", %.1f a second", (double)c->a.n_decoded / c->a.seconds);
    fprintf(stderr, "; context %" PRId32 " of %" PRId32, slm_seq_length(c->a.ctx, 0),
            slm_context_n_ctx(c->a.ctx));
    if (strcmp(c->a.why, "the model ended") != 0) fprintf(stderr, "; %s", c->a.why);
    fputs("]\033[0m\n", stderr);
}

/* The assistant's turn: answer, and remember what was said. *answered is false if the answer could not begin. */
static int reply(chat *c, bool *answered) {
    token_list tokens = {0};
    char *text = NULL;
    size_t n = 0;
    int code = tokens_of(c, &tokens);
    if (code == EXIT_DONE) code = read_tokens(c, &tokens);
    free(tokens.ids);
    *answered = code == EXIT_DONE;
    if (!*answered) {
        if (code == EXIT_INTERRUPTED) clear_interrupt();
        return EXIT_DONE;
    }
    c->a.said = open_memstream(&text, &n);
    if (!c->a.said) return fail("no memory");
    code = answer(&c->a, c->o.n);
    fclose(c->a.said);
    c->a.said = NULL;
    if (code == EXIT_INTERRUPTED) {
        clear_interrupt();
        code = EXIT_DONE;
    }
    if (code == EXIT_DONE) {
        print_speed(c);
        if (!conversation_insert(&c->said, c->said.n, "assistant", text ? text : "", n))
            code = fail("no memory");
    }
    free(text);
    return code;
}

/* ---- Commands ---- */

static int do_help(chat *c, const char *argument);

static int do_reset(chat *c, const char *argument) {
    (void)argument;
    while (c->said.n > (size_t)conversation_has_system(&c->said))
        conversation_forget(&c->said, c->said.n - 1);
    return EXIT_DONE;
}

static int do_system(chat *c, const char *argument) {
    return conversation_set_system(&c->said, argument) ? EXIT_DONE : fail("no memory");
}

static int do_save(chat *c, const char *argument) {
    if (*argument) return save(&c->said, argument);
    warn("/save FILE: a name is missing");
    return EXIT_DONE;
}

static int do_load(chat *c, const char *argument) {
    if (*argument)
        conversation_load(&c->said, argument);
    else
        warn("/load FILE: a name is missing");
    return EXIT_DONE;
}

static int do_again(chat *c, const char *argument) {
    (void)argument;
    if (c->said.n < 2 || strcmp(c->said.messages[c->said.n - 1].role, "assistant") != 0) {
        warn("/again: nothing was answered yet");
        return EXIT_DONE;
    }
    slm_message old = c->said.messages[--c->said.n];
    bool answered;
    int code = reply(c, &answered);
    if (!answered) { /* the old one stays; there is room where it was */
        c->said.messages[c->said.n++] = old;
        return code;
    }
    free((char *)old.role);
    free((char *)old.content);
    return code;
}

static int do_quit(chat *c, const char *argument) {
    (void)argument;
    c->ended = true;
    return EXIT_DONE;
}

static const struct chat_command {
    const char *name, *argument, *help;
    int (*run)(chat *c, const char *argument);
} commands[] = {
    {"/help", "", "this list", do_help},
    {"/reset", "", "forget the conversation, all but the system message", do_reset},
    {"/system", " [TEXT]", "another system message, or none; the conversation stays", do_system},
    {"/again", "", "another answer to the last message", do_again},
    {"/save", " FILE", "write the conversation to a file, as JSON", do_save},
    {"/load", " FILE", "go on with one from a file", do_load},
    {"/quit", "", "the end; Ctrl-D, too", do_quit},
};

enum { N_COMMANDS = sizeof commands / sizeof *commands };

static int do_help(chat *c, const char *argument) {
    (void)c;
    (void)argument;
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(stderr, "  %s%-*s  %s\n", commands[i].name, 16 - (int)strlen(commands[i].name),
                commands[i].argument, commands[i].help);
    fputs(
        "  A line that ends in \\ goes on in the next one; so do lines between two lines of "
        "\"\"\".\n"
        "  Ctrl-C stops an answer. A message that begins with / is sent with a space before it.\n",
        stderr);
    return EXIT_DONE;
}

static int do_command(chat *c, const char *text) {
    for (int i = 0; i < N_COMMANDS; i++) {
        size_t n = strlen(commands[i].name);
        if (strncmp(text, commands[i].name, n) != 0 ||
            (text[n] && text[n] != ' ' && text[n] != '\n'))
            continue;
        text += n;
        return commands[i].run(c, text + strspn(text, " \n"));
    }
    warn("%.*s is no command; /help lists them", (int)strcspn(text, " \n"), text);
    return EXIT_DONE;
}

/* ---- The whole ---- */

static int converse(chat *c) {
    int code = EXIT_DONE;
    if (editor_is_terminal(c->editor)) fputs("/help lists what there is beside talking.\n", stderr);
    while (code == EXIT_DONE && !c->ended) {
        const char *text;
        size_t n;
        input_status status = editor_read(c->editor, &text, &n);
        if (status == INPUT_FAILED) return EXIT_FAILED;
        if (status == INPUT_END) return interrupted() ? EXIT_INTERRUPTED : EXIT_DONE;
        if (status == INPUT_DROPPED || strspn(text, " \n\t") == n) continue;
        if (text[0] == '/') {
            code = do_command(c, text);
            continue;
        }
        if (!conversation_insert(&c->said, c->said.n, "user", text, n)) return fail("no memory");
        bool answered;
        code = reply(c, &answered);
        if (!answered && c->said.n > 0) /* as if it had not been asked */
            conversation_forget(&c->said, c->said.n - 1);
    }
    return code;
}

static int prepare(chat *c) {
    if (c->a.params.n_ctx == 0) c->a.params.n_ctx = default_n_ctx(c->a.model, 0);
    c->a.params.keep_all = true; /* an answer may be rendered in another way than it came */
    int code = answerer_prepare(&c->a, &c->o.sampling, c->o.lookup);
    return code == EXIT_DONE ? answerer_speculate(&c->a, c->o.lookup) : code;
}

/* A file without a template is told before anything is typed. */
static int check_template(chat *c) {
    slm_error err;
    token_list tokens = {0};
    slm_message hello = {"user", "hello", 5};
    slm_status status = tokenize_chat(c->a.model, &hello, 1, &tokens, &err);
    free(tokens.ids);
    if (status == SLM_ERR_UNSUPPORTED) return fail_with(c->o.model, &err);
    return EXIT_DONE;
}

static int run_chat(chat *c) {
    const char *home = getenv("HOME");
    int code = answerer_open(&c->a, c->o.model, &c->o.compute.lora);
    if (code == EXIT_DONE) code = check_template(c);
    if (code == EXIT_DONE) code = prepare(c);
    if (code == EXIT_DONE && c->o.load && !conversation_load(&c->said, c->o.load))
        code = EXIT_FAILED;
    if (code == EXIT_DONE && c->o.system && !conversation_set_system(&c->said, c->o.system))
        code = fail("no memory");
    if (code != EXIT_DONE) return code;
    if (home && !c->o.no_history && asprintf(&c->history_file, "%s/.slm_history", home) < 0)
        c->history_file = NULL;
    c->editor = editor_open(c->history_file);
    return c->editor ? converse(c) : EXIT_FAILED;
}

static int run(const command *self, int argc, char **argv) {
    chat c = {.o.lookup = 8, .a = {ANSWERER_DEFAULTS}};
    c.o.sampling = sampling_defaults();
    int code = parse_options(self, argc, argv, &c.o, NULL);
    if (code == PARSED) code = compute_params(self, &c.o.compute, &c.a.params);
    if (code == PARSED) code = sampling_check(self, &c.o.sampling);
    if (code != PARSED) return code;
    if (!c.o.model) return usage_error(self, "-m MODEL is missing");
    catch_interrupt();
    code = run_chat(&c);
    editor_close(c.editor);
    answerer_free(&c.a);
    conversation_free(&c.said);
    free(c.history_file);
    return code;
}

const command chat_command = {
    .name = "chat",
    .arguments = "-m MODEL [options]",
    .summary = "talk with a model, message by message",
    .details =
        "Each line is a message; /help lists commands. Ctrl-C stops an answer, Ctrl-D ends the "
        "program.\nWithout a terminal, standard input has a message on each line.\n",
    .options = options,
    .run = run,
};
