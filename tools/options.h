/* What the subcommands have in common: one table of options each, exit codes, messages. */
#ifndef TOOLS_OPTIONS_H
#define TOOLS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../include/slm.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

/* ---- Messages: on stderr, after "slm: " ---- */

/* Return EXIT_FAILED, so that a function can end with it. */
int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A remark, after which things go on. */
void warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same for an error of the library about `what`; EXIT_INTERRUPTED when it was cancelled. */
int fail_with(const char *what, const slm_error *err);

/* ---- Options ---- */

typedef enum option_kind {
    OPT_FLAG,  /* bool         */
    OPT_TEXT,  /* const char * */
    OPT_TEXTS, /* text_list: one more each time */
    OPT_INT,   /* int32_t      */
    OPT_INTS,  /* int_list     */
    OPT_U64,   /* uint64_t     */
    OPT_FLOAT, /* float        */
} option_kind;

enum { MAX_LIST = 32 };

/* "512" or "1,4,8": at least one number. */
typedef struct int_list {
    int32_t v[MAX_LIST];
    int32_t n;
} int_list;

/* The values of an option that is given several times. */
typedef struct text_list {
    const char *v[MAX_LIST];
    int32_t n;
} text_list;

/* A row of the table, for a value in the subcommand's struct of options. */
typedef struct option {
    const char *name;  /* "-n" or "--top-k"; NULL ends the table  */
    const char *value; /* what the help calls it; NULL for a flag */
    option_kind kind;
    size_t offset;   /* of the value in the struct             */
    double min, max; /* of OPT_INT, OPT_INTS and OPT_FLOAT     */
    const char *help;
} option;

typedef struct command {
    const char *name;
    const char *arguments; /* as the usage line shows them          */
    const char *summary;   /* one line, in the list of subcommands  */
    const char *details;   /* more lines for --help; may be NULL    */
    const option *options;
    int max_operands; /* arguments that are no options         */
    int (*run)(const struct command *self, int argc, char **argv);
} command;

extern const command run_command, chat_command, complete_command, extract_command, tokenize_command,
    logprobs_command, perplexity_command, embed_command, inspect_command, quantize_command,
    imatrix_command, compare_command, bench_command;

/*
 * Read argv[0 .. argc-1] into the struct `values`, which holds the defaults, and the operands into `operands`
 * (max_operands of them; unused ones are left as they are).
 *
 * Returns PARSED to go on; otherwise the code to exit with: the help was printed, or a message about the usage.
 */
enum { PARSED = -1 };
int parse_options(const command *c, int argc, char **argv, void *values, const char **operands);

/* A message and where to find help. Returns EXIT_USAGE. */
int usage_error(const command *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

void print_help(const command *c);

/* ---- Options of everything that computes ---- */

typedef struct compute_options {
    int32_t n_ctx; /* 0: the subcommand chooses */
    int32_t n_threads;
    const char *cpu;
    const char *kv;
    bool reference;
    text_list lora; /* FILE[:SCALE] */
} compute_options;

/* Rows for a struct `type` with a member `compute`: what decides the memory of a context (CONTEXT_OPTIONS), that and how it computes
 * (COMPUTE_OPTIONS), and without the size of the context (WORK_OPTIONS). */
/* clang-format off */
#define CONTEXT_SIZE(type, default_c)                                                             \
    {"-c", "N", OPT_INT, offsetof(type, compute.n_ctx), 0, INT32_MAX,                             \
     "positions in the KV cache (default: " default_c ", at most as many as trained)"}
#define CACHE_OPTIONS(type)                                                                       \
    {"-t", "N", OPT_INT, offsetof(type, compute.n_threads), 0, 512,                               \
     "threads (default: the physical cores that this process may use)"},                          \
    {"--kv", "TYPE", OPT_TEXT, offsetof(type, compute.kv), 0, 0,                                  \
     "KV cache in f16, f32 or q8_0 (default: f16)"}
#define LORA_OPTION(type)                                                                         \
    {"--lora", "FILE[:SCALE]", OPT_TEXTS, offsetof(type, compute.lora), 0, 0,                     \
     "add this adapter, times SCALE (default 1); may be given several times"}
#define WORK_OPTIONS(type)                                                                        \
    CACHE_OPTIONS(type),                                                                          \
    {"--cpu", "LEVEL", OPT_TEXT, offsetof(type, compute.cpu), 0, 0,                               \
     "highest instruction set to use: c, avx2, ... (default: the best)"},                         \
    {"--reference", NULL, OPT_FLAG, offsetof(type, compute.reference), 0, 0,                      \
     "exact mode: weights in f32, activations never quantized; slow"},                            \
    LORA_OPTION(type)
#define CONTEXT_OPTIONS(type, default_c) CONTEXT_SIZE(type, default_c), CACHE_OPTIONS(type)
#define COMPUTE_OPTIONS(type, default_c) CONTEXT_SIZE(type, default_c), WORK_OPTIONS(type)
/* clang-format on */

/* "f16" and so on. */
const char *kv_name(slm_kv_type type);

/* slm_context_defaults() with these. Returns PARSED, or EXIT_USAGE after a message. */
int compute_params(const command *c, const compute_options *o, slm_context_params *params);

#endif
