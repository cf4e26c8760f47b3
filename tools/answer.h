/* An answer, from the logits of a prompt to text on stdout as it comes: what slm run, chat and complete have in common. */
#ifndef TOOLS_ANSWER_H
#define TOOLS_ANSWER_H

#include <stdio.h>

#include "io.h"
#include "load.h"
#include "sampling.h"

enum { MAX_DRAFT = 64 }; /* tokens that a step drafts, at most */

/* A row for a struct `type` with a member `lookup`. */
/* clang-format off */
#define LOOKUP_OPTION(type)                                                                       \
    {"--lookup", "N", OPT_INT, offsetof(type, lookup), 0, MAX_DRAFT,                              \
     "check up to N tokens at a time that came before, where it pays; same text (default 8)"}
/* clang-format on */

typedef struct answerer {
    /* set by the owner */
    slm_context_params params;
    int32_t keep;  /* tokens that stay when the context is full; -1: the answer ends then */
    int32_t n_top; /* instead of text the log-probabilities of so many tokens; -1: text */
    bool bare;     /* no newline at the end that the model did not write */
    FILE *said;    /* or NULL: the text goes here, too */
    /* its own */
    const char *path; /* of the model, for messages */
    slm_model *model;
    adapter_list adapters;
    slm_context *ctx;           /* sequence 0 */
    slm_speculator *speculator; /* NULL: a token at a time */
    progress_bar bar;           /* while tokens are read, if it has a label */
    chooser by;
    int32_t n_vocab;
    slm_token next[MAX_DRAFT + 1]; /* [n_next] chosen, not shown yet */
    int32_t n_next, most;
    slm_text_stream stream;
    char *buffer; /* [capacity] text of one token */
    char *passed; /* [capacity_passed] what of it went past the stop strings */
    size_t capacity, capacity_passed;
    slm_logprob *logprobs; /* [1 + n_top] */
    bool ends_with_newline;
    /* of the last answer */
    const char *why; /* it ended */
    int32_t n_generated;
    int32_t n_decoded; /* of those: computed after the prompt */
    double seconds;
} answerer;

/* Begins with these, and the rest 0. */
#define ANSWERER_DEFAULTS .keep = -1, .n_top = -1

/* EXIT_DONE, or the code to exit with after a message, here and below. First the model and its adapters; `path` must stay. */
int answerer_open(answerer *a, const char *path, const text_list *lora);

/* When the fields of the owner are set, with params.n_ctx: a context, what chooses tokens, room for n_draft tokens a step that are drafted. */
int answerer_prepare(answerer *a, const sampling_options *o, int32_t n_draft);

/* Draft so many tokens a step, by what came before; 0: a token at a time. */
int answerer_speculate(answerer *a, int32_t n_draft);

/* How many of the tokens sequence 0 begins with: all but the last at most, as its logits are wanted. NOMEM and what slm_seq_tokens() gives. */
slm_status tokens_held(slm_context *ctx, const token_list *tokens, int32_t *n_held, slm_error *err);

/* Put the tokens behind what sequence 0 holds, and let the speculator and the sampler know them. */
slm_status answerer_read(answerer *a, const slm_token *tokens, int32_t n, slm_error *err);

/* The answer to what sequence 0 holds, whose last token has the only row of logits; `most` tokens, 0: as many as come. EXIT_DONE, EXIT_INTERRUPTED,
 * or EXIT_FAILED after a message. */
int answer(answerer *a, int32_t most);

void answerer_free(answerer *a);

#endif
