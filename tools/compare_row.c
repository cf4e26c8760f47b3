/* Plain C that compilers make vector code of: sums in eight lanes, always the same, so that bits are the same on every machine. */
#include "compare_row.h"

#include <string.h>

#include "statistics.h"

enum { LANES = 8, PIECE = 256 };

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

/* exp(x - max) of up to a piece. */
static void exp_piece(const float *x, int32_t n, float max, float *e) {
    for (int32_t i = 0; i < n; i++) e[i] = exp_negative(x[i] - max);
}

static void add_piece(const float *e, int32_t n, double *sums) {
    int32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) sums[l] += (double)e[i + l];
    for (; i < n; i++) sums[i % LANES] += (double)e[i];
}

row_summary row_summarize(const float *x, int32_t n, float *weights) {
    row_summary s = {.max = max_of(x, n)};
    double sums[LANES] = {0};
    s.best = first_of(x, s.max);
    exp_piece(x, n, s.max, weights);
    add_piece(weights, n, sums);
    s.ln_sum = ln_of(add_lanes(sums));
    return s;
}

double row_logprob(const float *x, const row_summary *s, slm_token token) {
    return (double)x[token] - (double)s->max - s->ln_sum;
}

/* sum of p (ln p - ln q) = sum of p ((x - max x) - (y - max y)) - ln_sum x + ln_sum y. */
double row_kl(const float *x, const float *weights, const row_summary *of_x, const float *y,
              int32_t n, row_summary *of_y) {
    float mx = of_x->max, my = max_of(y, n), e[PIECE], d[PIECE];
    double sums[LANES] = {0}, products[LANES] = {0}, totals[LANES] = {0};
    *of_y = (row_summary){.max = my, .best = first_of(y, my)};
    for (int32_t at = 0; at < n; at += PIECE) {
        int32_t m = n - at < PIECE ? n - at : PIECE;
        exp_piece(y + at, m, my, e);
        for (int32_t i = 0; i < m; i++) d[i] = (x[at + i] - mx) - (y[at + i] - my);
        for (int32_t i = 0; i < m; i++) d[i] *= weights[at + i];
        add_piece(e, m, sums);
        add_piece(weights + at, m, totals);
        add_piece(d, m, products);
    }
    of_y->ln_sum = ln_of(add_lanes(sums));
    double kl = add_lanes(products) / add_lanes(totals) - of_x->ln_sum + of_y->ln_sum;
    return kl < 0 ? 0 : kl; /* NaN stays NaN */
}
