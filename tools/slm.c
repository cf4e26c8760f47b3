/* slm: one program, a subcommand a file. This one finds it and helps. */
#include <stdio.h>
#include <string.h>

#include "io.h"
#include "options.h"

static const command *const commands[] = {
    &run_command,      &chat_command,       &complete_command, &extract_command, &tokenize_command,
    &logprobs_command, &perplexity_command, &embed_command,    &inspect_command, &quantize_command,
    &imatrix_command,  &compare_command,    &bench_command};

enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void print_overview(FILE *out) {
    fputs("Usage: slm SUBCOMMAND ...\n\n", out);
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fputs(
        "\n'slm SUBCOMMAND --help' tells more, 'slm --version' the version and what --cpu takes.\n",
        out);
}

static const command *find_command(const char *name) {
    for (int i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    return NULL;
}

static int unknown_command(const char *name) {
    fail("unknown subcommand '%s'", name);
    fputs("Try 'slm help'.\n", stderr);
    return EXIT_USAGE;
}

static int help(const char *name) {
    if (!name) {
        print_overview(stdout);
        return EXIT_DONE;
    }
    const command *c = find_command(name);
    if (!c) return unknown_command(name);
    print_help(c);
    return EXIT_DONE;
}

static int print_version(void) {
    printf("slm %s, this machine has:", slm_version());
    const char *level;
    for (int32_t i = 0; (level = slm_cpu_level(i)); i++) printf(" %s", level);
    putchar('\n');
    return EXIT_DONE;
}

static bool is_one_of(const char *s, const char *a, const char *b, const char *c) {
    return strcmp(s, a) == 0 || strcmp(s, b) == 0 || strcmp(s, c) == 0;
}

static int dispatch(int argc, char **argv) {
    if (argc < 2) {
        print_overview(stderr);
        return EXIT_USAGE;
    }
    if (is_one_of(argv[1], "help", "--help", "-h")) return help(argc > 2 ? argv[2] : NULL);
    if (is_one_of(argv[1], "version", "--version", "-V")) return print_version();
    const command *c = find_command(argv[1]);
    return c ? c->run(c, argc - 2, argv + 2) : unknown_command(argv[1]);
}

int main(int argc, char **argv) {
    hold_standard_streams();
    int code = dispatch(argc, argv);
    return code == EXIT_DONE ? finish_output() : code; /* after a failure one message is enough */
}
