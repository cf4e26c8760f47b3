/* What a token costs to choose, by chain:
 *
 *     build/bench/sampler [runs [part of a chain's name]]
 *
 * Microseconds of slm_sampler_sample(), median and best of the runs (default 300), on rows of 262,144 and 49,152 logits whose probabilities fall about as those
 * of a language model in the midst of a text: as rank^-1.6, with noise, ids in random order. Each run gets another of 8 rows. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../include/slm.h"
#include "timing.h"

enum { N_ROWS = 8, MAX_RUNS = 100000, HISTORY = 4096 };

static uint64_t random_u64(uint64_t *state) { /* SplitMix64 */
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void fill(float *row, int32_t n, uint64_t seed) {
    for (int32_t i = 0; i < n; i++) {
        double noise = (double)(random_u64(&seed) >> 40) * 0x1p-24;
        row[i] = (float)(12 - 1.6 * log((double)i + 1.5) + noise);
    }
    for (int32_t i = n - 1; i > 0; i--) {
        int32_t j = (int32_t)(random_u64(&seed) % (uint64_t)(i + 1));
        float x = row[i];
        row[i] = row[j];
        row[j] = x;
    }
}

typedef struct chain {
    const char *name;
    slm_sampler_params p;
    int32_t allowed; /* 0: all tokens; else one in so many */
    bool history;
} chain;

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const chain *c, float *const rows[N_ROWS], int32_t n_vocab, int runs) {
    static double times[MAX_RUNS];
    slm_error err;
    slm_sampler *s;
    slm_sampler_params p = c->p;
    uint64_t *bits = calloc((size_t)n_vocab / 64 + 1, sizeof *bits), state = 5;
    p.seed = 1;
    if (!bits || slm_sampler_create(&p, &s, &err) != SLM_OK) exit(1);
    for (int32_t i = 0; i < n_vocab; i++)
        if (c->allowed == 0 || random_u64(&state) % (uint64_t)c->allowed == 0)
            bits[i / 64] |= (uint64_t)1 << i % 64;
    if (c->allowed) slm_sampler_set_allowed(s, bits, n_vocab);
    for (int i = 0; c->history && i < HISTORY; i++) /* a text with repetitions */
        slm_sampler_accept(s, (slm_token)(random_u64(&state) % (i % 64 < 32 ? 50 : 40000)));
    for (int i = 0; i < runs; i++) {
        slm_token token;
        double t = now();
        if (slm_sampler_sample(s, rows[i % N_ROWS], n_vocab, &token, &err) != SLM_OK) exit(1);
        times[i] = now() - t;
    }
    slm_sampler_free(s);
    free(bits);
    qsort(times, (size_t)runs, sizeof *times, by_value);
    printf("%8.1f (%6.1f)", times[runs / 2] * 1e6, times[0] * 1e6);
}

int main(int argc, char **argv) {
    static const int32_t sizes[] = {262144, 49152};
    int runs = argc > 1 ? atoi(argv[1]) : 300;
    if (runs < 1 || runs > MAX_RUNS)
        return fprintf(stderr, "usage: %s [runs [name]]\n", argv[0]), 2;
    slm_sampler_params off = slm_sampler_defaults();
    off.n_dry_breakers = 0;
    chain chains[] = {{"greedy", off, 0, false},
                      {"top-k 40, top-p .95, temperature .8", off, 0, false},
                      {"the same, a quarter of the tokens allowed", off, 4, false},
                      {"top-p .95", off, 0, false},
                      {"min-p .05", off, 0, false},
                      {"top-n-sigma 1", off, 0, false},
                      {"typical .95", off, 0, false},
                      {"mirostat 2", off, 0, false},
                      {"temperature .8", off, 0, false},
                      {"dynamic temperature, 1 +- .5", off, 0, false},
                      {"penalties, DRY of 4096; top-k 40, temperature .8", off, 0, true},
                      {"top-k 1000, top-p .95", off, 0, false},
                      {"top-p .95 at temperature 2", off, 0, false}};
    const int n_chains = sizeof chains / sizeof *chains;
    for (int i = 1; i < n_chains; i++) chains[i].p.temperature = 1;
    chains[1].p.temperature = chains[2].p.temperature = chains[8].p.temperature = .8f;
    chains[1].p.top_k = chains[2].p.top_k = chains[10].p.top_k = 40;
    chains[1].p.top_p = chains[2].p.top_p = chains[3].p.top_p = chains[11].p.top_p =
        chains[12].p.top_p = .95f;
    chains[4].p.min_p = .05f;
    chains[5].p.top_n_sigma = 1;
    chains[6].p.typical_p = .95f;
    chains[7].p.mirostat = 2;
    chains[9].p.dynatemp_range = .5f;
    chains[10].p.temperature = .8f;
    chains[10].p.repeat_penalty = 1.1f;
    chains[10].p.presence_penalty = chains[10].p.frequency_penalty = .1f;
    chains[10].p.repeat_last_n = chains[10].p.dry_last_n = HISTORY;
    chains[10].p.dry_multiplier = .8f;
    chains[11].p.top_k = 1000;
    chains[12].p.temperature = 2;
    chains[12].p.order = "temperature,top_p";
    printf("%-50s", "microseconds: median (best)");
    float *rows[2][N_ROWS];
    for (int v = 0; v < 2; v++) {
        printf("%8d         ", (int)sizes[v]);
        for (int i = 0; i < N_ROWS; i++) {
            rows[v][i] = malloc((size_t)sizes[v] * sizeof(float));
            if (!rows[v][i]) return 1;
            fill(rows[v][i], sizes[v], (uint64_t)i + 1);
        }
    }
    putchar('\n');
    for (int i = 0; i < n_chains; i++) {
        if (argc > 2 && !strstr(chains[i].name, argv[2])) continue;
        printf("%-50s", chains[i].name);
        for (int v = 0; v < 2; v++) measure(&chains[i], rows[v], sizes[v], runs);
        putchar('\n');
    }
    for (int v = 0; v < 2; v++)
        for (int i = 0; i < N_ROWS; i++) free(rows[v][i]);
    return 0;
}
