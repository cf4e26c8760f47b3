/* Plain C that compilers make vector code of: sums in eight lanes, always the same, so that bits are the same on every machine. */
#include "compare_row.h"

#include <string.h>

#include "statistics.h"

enum { LANES = 8 };

/* exp(x), x <= 0, relative error below 2e-7; 0 below -87. By 2^n exp(r), r <= ln(2) / 2; exp(r) by its series. */
static inline float exp_negative(float x) {
    const float rounder = 12582912.f; /* 1.5 * 2^23: adding it leaves an integer in the last bits */
    float kept = x < -87.f ? -87.f : x;
    float n = (kept * 1.44269504f + rounder) - rounder;
    float r = (kept - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 in two parts */
    float p = 1.f / 5040.f;
    p = p * r + 1.f / 720.f;
    p = p * r + 1.f / 120.f;
    p = p * r + 1.f / 24.f;
    p = p * r + 1.f / 6.f;
    p = p * r + 0.5f;
    p = p * r + 1.f;
    p = p * r + 1.f;
    int32_t bits = ((int32_t)n + 127) * (1 << 23);
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return x < -87.f ? 0.f : p * scale;
}

static double add_lanes(const double *sums) {
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) +
           ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

static float max_of(const float *x, int32_t n) {
    float lanes[LANES], max = x[0];
    for (int l = 0; l < LANES; l++) lanes[l] = x[0];
    int32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
    for (; i < n; i++) max = x[i] > max ? x[i] : max;
    for (int l = 0; l < LANES; l++) max = lanes[l] > max ? lanes[l] : max;
    return max;
}

static slm_token first_of(const float *x, float value) {
    slm_token i = 0;
    while (x[i] != value) i++;
    return i;
}

slm_token row_best(const float *x, int32_t n) { return first_of(x, max_of(x, n)); }

row_summary row_summarize(const float *x, int32_t n, float *weights) {
    row_summary s = {.max = max_of(x, n)};
    double sums[LANES] = {0};
    int32_t i = 0;
    s.best = first_of(x, s.max);
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) weights[i + l] = exp_negative(x[i + l] - s.max);
        for (int l = 0; l < LANES; l++) sums[l] += (double)weights[i + l];
    }
    for (; i < n; i++) {
        weights[i] = exp_negative(x[i] - s.max);
        sums[i % LANES] += (double)weights[i];
    }
    s.ln_sum = ln_of(add_lanes(sums));
    return s;
}

double row_logprob(const float *x, const row_summary *s, slm_token token) {
    return (double)x[token] - (double)s->max - s->ln_sum;
}

/* sum of p (ln p - ln q) = sum of p ((x - max x) - (y - max y)) - ln_sum x + ln_sum y. */
double row_kl(const float *x, const float *weights, const row_summary *of_x, const float *y,
              int32_t n, row_summary *of_y) {
    float mx = of_x->max, my = max_of(y, n);
    double sums[LANES] = {0}, products[LANES] = {0}, totals[LANES] = {0};
    int32_t i = 0;
    *of_y = (row_summary){.max = my, .best = first_of(y, my)};
    for (; i + LANES <= n; i += LANES) {
        float e[LANES], d[LANES];
        for (int l = 0; l < LANES; l++) e[l] = exp_negative(y[i + l] - my);
        for (int l = 0; l < LANES; l++) d[l] = (x[i + l] - mx) - (y[i + l] - my);
        for (int l = 0; l < LANES; l++) sums[l] += (double)e[l];
        for (int l = 0; l < LANES; l++) totals[l] += (double)weights[i + l];
        for (int l = 0; l < LANES; l++) products[l] += (double)weights[i + l] * (double)d[l];
    }
    for (; i < n; i++) {
        float d = (x[i] - mx) - (y[i] - my);
        sums[i % LANES] += (double)exp_negative(y[i] - my);
        totals[i % LANES] += (double)weights[i];
        products[i % LANES] += (double)weights[i] * (double)d;
    }
    of_y->ln_sum = ln_of(add_lanes(sums));
    double kl = add_lanes(products) / add_lanes(totals) - of_x->ln_sum + of_y->ln_sum;
    return kl > 0 ? kl : 0;
}
