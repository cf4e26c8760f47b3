/* Which tensor gets which type, by what each of them costs this model on a text: docs/quantization.md says how. */
#ifndef TOOLS_MIX_H
#define TOOLS_MIX_H

#include "knapsack.h"
#include "probe.h"

/* What is wanted: the least KL divergence with at most so many bytes or bits, or the fewest bytes with at most that divergence. One of them; the others
 * are 0. */
typedef struct mix_goal {
    uint64_t file_bytes;
    double bits; /* a weight, over all tensors */
    double max_kl;
} mix_goal;

typedef struct mix_tensor {
    int32_t index;
    int64_t row; /* weights */
    uint64_t n_weights;
    const char *types[MAX_OPTIONS]; /* from large to small */
    double error[MAX_OPTIONS];      /* slm_tensor_loss.error of each */
    double kl, measured_error;      /* its divergence, and its error then */
} mix_tensor;

typedef struct mix {
    const char *path, *out; /* of the model, and of the file that it becomes */
    const slm_model *model;
    slm_quantize_params
        params; /* for the quantizer that writes the mixture: type, threads, importance */
    slm_threads *threads;
    slm_quantizer *quantizer; /* the plan */
    probe probe;
    progress_bar bar;
    progress_span span;
    char *work_path, *work_folder; /* of a file to measure, until it is open */
    int32_t n;                     /* tensors whose type is chosen */
    mix_tensor *tensors;           /* [n] */
    choice_item *items;            /* [n] bytes in the file, predicted divergence */
    int32_t *picks;                /* [n] options */
    uint64_t fixed_bytes;          /* of the file, without them */
    double predicted, measured;    /* divergence of the whole mixture */
} mix;

/*
 * Find the mixture and set up m->quantizer for it, with its importance.
 *
 * model   of the file at `path`, with keys and tensors
 * params  choices that are kept, n_threads, requantize, importance (NULL: found on the text); type is not looked at
 * out     path of the file that will be written: a copy in F32, and later mixtures that are measured, lie beside it, in a folder of their own
 *         until they are open and without a name then
 *
 * EXIT_DONE, or the code to exit with after a message; mix_free() in any case.
 */
int mix_find(mix *m, const char *path, const slm_model *model, const slm_quantize_params *params,
             const mix_goal *goal, const char *text, const char *out);
void mix_free(mix *m);

/* Types by part of the model, with the layers that have them. */
void mix_print(const mix *m);

#endif
