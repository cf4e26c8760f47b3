/* What `slm compare` finds out about models beside a reference: made by compare.c, written as text, JSON, Markdown and HTML.
 *
 * A scored position is one of the text where both models predict the next token. Probabilities are of the whole vocabulary,
 * logarithms natural. docs/quantization.md defines each figure. All texts are UTF-8, NUL-terminated, and not escaped. */
#ifndef TOOLS_COMPARISON_H
#define TOOLS_COMPARISON_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A mean and its standard error; NaN where there are too few values. */
typedef struct estimate {
    double value, error;
} estimate;

typedef struct kl_figures {
    estimate mean;
    double median, p90, p99, p999, max; /* over scored positions */
} kl_figures;

/* Of positions of a window, or of tokens of a kind. */
typedef struct kl_group {
    const char *label; /* "1-32"; "word", "number" ...                 */
    size_t n;          /* scored positions; 0: all else is 0           */
    double kl;         /* mean                                         */
    double agreement;  /* of the first choices, 0 .. 1                 */
} kl_group;

enum { MAX_GROUPS = 16 };

/* Greedy continuation of a prompt from the text by both, up to where they part. */
typedef struct departure {
    char *prompt;    /* its last characters                                              */
    char *shared;    /* that both wrote                                                  */
    char *reference; /* what the reference wrote from there on, some tokens              */
    char *candidate;
    int32_t n_shared; /* tokens                                                          */
    int32_t n_tokens; /* compared: n_shared == n_tokens: they never parted               */
} departure;

enum { MAX_DEPARTURES = 4 };

typedef struct task_figures {
    size_t n_right;
    estimate accuracy;   /* 0 .. 1                                                    */
    estimate difference; /* to the reference's, paired; of the reference itself: 0, 0 */
    double low, high;    /* 95% of that difference                                    */
} task_figures;

enum { MAX_TASKS = 8 };

typedef struct subject {
    const char *path;
    char type[32]; /* as general.file_type says, "Q4_K_M"; "mixed" where it does not fit */
    uint64_t file_bytes, n_params, tensor_bytes;
    double bits_per_weight;
    double load_seconds;
    uint64_t memory_bytes; /* of a context of the compared size, beside the file */
    /* tokens/s, and share of the machine's limit (0 .. 1; NaN: unknown): int8 operations and read bandwidth */
    double prefill, prefill_share, decode, decode_share;
    estimate perplexity;
    task_figures tasks[MAX_TASKS];
} subject;

typedef struct candidate {
    subject about;
    kl_figures kl; /* of the candidate from the reference: sum p_ref (ln p_ref - ln p)            */
    estimate
        dp_mean; /* change of the probability of the right token: p - p_ref                     */
    estimate dp_rms;
    estimate
        agreement; /* share of positions where both have the same first choice                   */
    estimate
        ppl_ratio; /* perplexity / reference's, paired                                           */
    kl_group positions[MAX_GROUPS], kinds[MAX_GROUPS];
    double *
        layer_error; /* [n_layer] root mean square, over all positions, of |h - h_ref| / |h_ref| of the state behind each layer; NULL: not comparable */
    departure departures[MAX_DEPARTURES];
} candidate;

typedef struct comparison {
    const char *program; /* name and version                                             */
    char *machine;       /* CPU, instruction set, threads, memory, system: one line      */
    char *command;       /* as a shell would read it                                     */
    char date[32];       /* 2026-01-31 12:00 UTC                                         */
    const char *text;    /* name of the file                                             */
    size_t n_tokens, n_windows, window, n_scored;
    int32_t n_threads, n_layer, n_positions, n_kinds, n_departures, n_tasks, n_candidates;
    double read_bandwidth; /* bytes/s, 0: unknown                                        */
    double int8_ops;       /* operations/s, 0: unknown                                   */
    double seconds;        /* that all took                                              */
    const char *task_names[MAX_TASKS];
    size_t task_sizes[MAX_TASKS]; /* questions                                           */
    double task_guess[MAX_TASKS]; /* accuracy of guessing, 0 .. 1                        */
    subject reference;
    candidate *candidates; /* [n_candidates], in the order of the command line           */
} comparison;

/* The whole report. Flushes nothing; the caller checks the stream. */
void write_comparison_text(const comparison *c, FILE *out);
void write_comparison_json(const comparison *c, FILE *out);
void write_comparison_markdown(const comparison *c, FILE *out);
void write_comparison_html(const comparison *c, FILE *out);

#endif
