/* Two rows of logits beside each other. */
#ifndef TOOLS_COMPARE_ROW_H
#define TOOLS_COMPARE_ROW_H

#include "../include/slm.h"

/* A row's best token (of equal ones the lowest) and logit, and ln(sum of exp(logit - max)). */
typedef struct row_summary {
    float max;
    slm_token best;
    double ln_sum;
} row_summary;

slm_token row_best(const float *x, int32_t n);

/* x is finite, as slm_decode() gives it. exp(x - max) goes into weights, [n]. */
row_summary row_summarize(const float *x, int32_t n, float *weights);

/* The natural logarithm of the token's probability. */
double row_logprob(const float *x, const row_summary *s, slm_token token);

/*
 * The Kullback-Leibler divergence of row y from row x, sum of p (ln p - ln q), p of x, q of y; `weights` and *of_x come from
 * row_summarize() of x. *of_y is stored. Exactly 0 for equal rows, else within 1e-7 + 1e-6 times the value; never negative. NaN if
 * logits of a row are so far apart that a float does not hold the difference.
 */
double row_kl(const float *x, const float *weights, const row_summary *of_x, const float *y,
              int32_t n, row_summary *of_y);

#endif
