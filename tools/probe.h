/* How far a model on a text is from itself with other weights: the file is mapped copy on write, so its matrices can be overwritten and
 * restored, and the KL divergence of its predictions from those before is measured. */
#ifndef TOOLS_PROBE_H
#define TOOLS_PROBE_H

#include "windows.h"

/* A part of the work that a bar shows: of all of it, `from` is done before and `of` with it. An slm_progress_fn's `user`. */
typedef struct progress_span {
    progress_bar *bar;
    float from, of;
} progress_span;

bool progress_in_span(void *span, float done);

typedef struct base_token {
    slm_token token;
    float logit;
} base_token;

/* What the unchanged model predicts at one position: tokens, and all those that are far less probable than the first as one. */
typedef struct base_row {
    size_t n;
    base_token *kept; /* [n] by rising token */
    double most;      /* the largest logit */
    double others;    /* sum of e^(logit - most) of all that are not kept */
    double sum;       /* of all tokens */
} base_row;

typedef struct probe {
    uint8_t *data; /* [n_bytes] the private mapping */
    size_t n_bytes;
    slm_model *model;
    slm_context *ctx;
    slm_threads *threads;
    windows windows;
    int32_t n_vocab, n_rows, n_groups;
    slm_token *tokens; /* of the group at work */
    int32_t *sequences;
    uint8_t *wanted;
    int32_t n_group, at, n_part; /* of its tokens: all, and those that are computed now */
    int32_t max_rows;            /* of logits, computed together */
    base_row *rows;              /* [n_rows] */
    double *kl;                  /* [n_rows] */
    slm_imatrix *imatrix;
    bool observing; /* it looks at what is computed */
    progress_span *progress;
} probe;

/* The F32 model in the file `fd`, which may be closed afterwards and which nobody else can change, on windows from all over the text in the file `text`. `name` is for messages.
 * `threads` and `progress`, which the caller sets before each measurement, outlive it. EXIT_DONE, or the code to exit with after a
 * message; probe_close() in any case. */
int probe_open(probe *p, int fd, const char *name, const char *text, slm_threads *threads,
               progress_span *progress);
void probe_close(probe *p);

/* Go on with the same model in other types, from the file `fd`; the weights before, and their memory, are gone. Codes as above. */
int probe_exchange(probe *p, int fd, const char *name);

/* An slm_importance_fn of it. */
bool probe_importance(void *probe, const char *tensor, int64_t matrix, int64_t n, float *out);

/* The weights of tensor `index`, to be overwritten. NULL after a message: it has another name, or is not F32. */
float *probe_tensor(probe *p, int32_t index, const char *name);

/* As it is in the file; with it what shares a page with it. False after a message. */
bool probe_restore(probe *p, int32_t index);

/* The mean of the KL divergence over scored positions, of the weights as they are now. */
int probe_kl(probe *p, double *kl);

#endif
