#include "statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* exp(x/1024) by its series, squared ten times. */
double exp_of(double x) {
    double y = 1, z = x < 0 ? -x : x;
    if (z > 700) return x < 0 ? 0 : INFINITY;
    for (int i = 16; i > 0; i--) y = 1 + z / 1024 / i * y;
    for (int i = 0; i < 10; i++) y *= y;
    return x < 0 ? 1 / y : y;
}

/* x = 2^e m with m near 1; ln m = 2 artanh((m - 1) / (m + 1)) by its series. */
double ln_of(double x) {
    static const double ln2 = 0.693147180559945309, root_half = 0.707106781186547524;
    int e;
    double m = frexp(x, &e);
    if (m < root_half) {
        m *= 2;
        e--;
    }
    double t = (m - 1) / (m + 1), t2 = t * t, sum = 0;
    for (int i = 25; i > 0; i -= 2) sum = 1.0 / i + t2 * sum;
    return e * ln2 + 2 * t * sum;
}

void moments_add(moments *m, double value) {
    double step = value - m->mean;
    m->n++;
    m->mean += step / (double)m->n;
    m->squares += step * (value - m->mean);
}

estimate moments_estimate(const moments *m) {
    double n = (double)m->n;
    return (estimate){.value = m->n > 0 ? m->mean : NAN,
                      .error = m->n > 1 ? sqrt(m->squares / (n - 1) / n) : NAN};
}

estimate whole_estimate(double sum, double squares, size_t n) {
    double count = (double)n, around = squares - sum * sum / count;
    return (estimate){.value = n > 0 ? sum / count : NAN,
                      .error = n > 1 ? sqrt(around / (count - 1) / count) : NAN};
}

estimate moments_exp(const moments *m) {
    estimate e = moments_estimate(m);
    double value = m->n > 0 ? exp_of(e.value) : NAN;
    return (estimate){value, value * e.error};
}

/* ---- Quantiles ---- */

enum { MOST_VALUES = 1 << 20, DROPPED_BITS = 13, N_BINS = 1 << (31 - DROPPED_BITS) };

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Floats that are not negative are ordered as their bits. */
static uint32_t bin_of(float x) { return bits_of(x) >> DROPPED_BITS; }

static double middle_of(uint32_t bin) {
    uint32_t bits = bin << DROPPED_BITS | 1 << (DROPPED_BITS - 1);
    float x;
    memcpy(&x, &bits, sizeof x);
    return bin == 0 ? 0 : (double)x;
}

static bool begin_counting(distribution *d) {
    d->counts = calloc(N_BINS, sizeof *d->counts);
    if (!d->counts) return false;
    for (size_t i = 0; i < d->n; i++) d->counts[bin_of(d->values[i])]++;
    free(d->values);
    d->values = NULL;
    return true;
}

bool distribution_add(distribution *d, float value) {
    bool unknown = isnan(value);
    if (!(value > 0)) value = 0; /* -0 too */
    if (!d->counts && d->n == MOST_VALUES && !begin_counting(d)) return false;
    if (!d->counts && d->n == d->capacity) {
        size_t capacity = d->capacity ? 2 * d->capacity : 1024;
        float *more = realloc(d->values, capacity * sizeof *more);
        if (!more) return false;
        d->values = more;
        d->capacity = capacity;
    }
    d->max = unknown ? NAN : value > d->max ? value : d->max;
    if (d->counts)
        d->counts[bin_of(value)]++;
    else
        d->values[d->n] = value;
    d->n++;
    return true;
}

static int compare_floats(const void *x, const void *y) {
    float a = *(const float *)x, b = *(const float *)y;
    return (a > b) - (a < b);
}

static double value_at(const distribution *d, size_t index) {
    if (!d->counts) return (double)d->values[index];
    uint64_t before = 0;
    for (uint32_t bin = 0; bin < N_BINS; bin++) {
        before += d->counts[bin];
        if (before > index) return fmin(middle_of(bin), (double)d->max);
    }
    return (double)d->max;
}

double distribution_quantile(distribution *d, double q) {
    if (d->n == 0 || isnan(d->max)) return NAN;
    if (d->values) qsort(d->values, d->n, sizeof *d->values, compare_floats);
    double at = q * (double)(d->n - 1);
    size_t i = (size_t)at;
    double low = value_at(d, i), high = i + 1 < d->n ? value_at(d, i + 1) : low;
    return low + (at - (double)i) * (high - low);
}

void distribution_free(distribution *d) {
    free(d->values);
    free(d->counts);
    *d = (distribution){0};
}
