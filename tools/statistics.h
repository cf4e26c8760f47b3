/* Means with their standard errors, quantiles, and exp and ln that are the same on every machine. */
#ifndef TOOLS_STATISTICS_H
#define TOOLS_STATISTICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "comparison.h"

/* Those of libm need not have the same bits everywhere. Within 1e-12 of the value, relative for exp_of, where |x| <= 700. */
double exp_of(double x);
double ln_of(double x); /* x > 0, normal */

/* Of values as they come (Welford 1962, Technometrics 4:419). Begin with {0}. */
typedef struct moments {
    size_t n;
    double mean, squares; /* squares: of differences from the mean */
} moments;

void moments_add(moments *m, double value);
estimate moments_estimate(const moments *m);

/* The same of n whole numbers whose sum and sum of squares is known: exact. */
estimate whole_estimate(double sum, double squares, size_t n);

/* exp of a mean, the error carried through to first order. */
estimate moments_exp(const moments *m);

/* Values >= 0, for quantiles; with a NaN among them all are NaN. Begin with {0}. Up to 2^20 of them are kept as they are; more are counted in bins of which each is 1/1024 or less of
 * its values wide, so memory has a bound. */
typedef struct distribution {
    float *values; /* [n]; NULL once they are counted */
    size_t n, capacity;
    uint64_t *counts; /* by the upper bits of a float */
    float max;        /* NaN: one was NaN */
} distribution;

bool distribution_add(distribution *d, float value); /* false: no memory */

/* The value at share q of the sorted ones, between two of them linearly. Sorts them. NaN if there are none, or one is. */
double distribution_quantile(distribution *d, double q);

void distribution_free(distribution *d);

#endif
