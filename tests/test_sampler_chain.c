/* Chains of all steps in all orders against a plain re-implementation in double, token by token.
 *
 * The oracle copies the row, changes and sorts it as the papers and docs/sampling.md say, with libm, and shares nothing with the sampler but the
 * random numbers. A token is right if the random number falls on it, with what is left in order of falling logit or of rising id (docs/sampling.md:
 * which of them depends on how much is left), within what rounding may move. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../include/slm.h"
#include "../libslm/sampler.h"
#include "support/fnv.h"
#include "support/suite.h"

enum { MAX_VOCAB = 6000, MAX_TEXT = 400 };

static uint64_t random_u64(uint64_t *state) { /* SplitMix64 */
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static double uniform(uint64_t *state) { return (double)(random_u64(state) >> 11) * 0x1p-53; }
static int below(uint64_t *state, int n) { return (int)(random_u64(state) % (uint64_t)n); }

/* ---- Oracle ---- */

typedef struct entry {
    double logit, p, key;
    int id, tie;
} entry;

typedef struct oracle {
    slm_sampler_params p;
    slm_token text[MAX_TEXT];
    int n_text;
    uint64_t random;
    double mu;
    entry e[MAX_VOCAB];
    int n;
} oracle;

static int by_logit(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
    return x->id - y->id;
}

static int by_key(const void *a, const void *b) {
    const entry *x = a, *y = b;
    return x->key != y->key ? (x->key > y->key) - (x->key < y->key) : x->tie - y->tie;
}

static void sort_softmax(oracle *o) {
    double sum = 0;
    qsort(o->e, (size_t)o->n, sizeof *o->e, by_logit);
    for (int i = 0; i < o->n; i++) sum += o->e[i].p = exp(o->e[i].logit - o->e[0].logit);
    for (int i = 0; i < o->n; i++) o->e[i].p /= sum;
}

static void penalties(oracle *o) {
    const slm_sampler_params *p = &o->p;
    for (int i = 0; i < o->n; i++) {
        int count = 0;
        for (int j = 0; j < p->repeat_last_n && j < o->n_text; j++)
            count += o->text[o->n_text - 1 - j] == o->e[i].id;
        if (count == 0) continue;
        if (o->e[i].logit > 0)
            o->e[i].logit /= p->repeat_penalty;
        else
            o->e[i].logit *= p->repeat_penalty;
        o->e[i].logit -= count * (double)p->frequency_penalty + (double)p->presence_penalty;
    }
}

/* For each place of the text the length of what it has in common with its end: O(n^2). */
static void dry(oracle *o) {
    const slm_sampler_params *p = &o->p;
    static int longest[MAX_VOCAB];
    int first = o->n_text > p->dry_last_n ? o->n_text - p->dry_last_n : 0, last = o->n_text - 1;
    memset(longest, 0, sizeof longest);
    for (int at = first; at < last; at++) {
        int k = 0;
        while (at - k >= first && o->text[at - k] == o->text[last - k]) k++;
        slm_token next = o->text[at + 1];
        if (next < MAX_VOCAB && k > longest[next]) longest[next] = k;
    }
    for (int i = 0; i < o->n; i++) {
        int k = longest[o->e[i].id];
        if (k < p->dry_allowed_length) continue;
        double loss =
            (double)p->dry_multiplier * pow((double)p->dry_base, k - p->dry_allowed_length);
        o->e[i].logit -= fmin(loss, FLT_MAX);
    }
}

static void top_n_sigma(oracle *o) {
    double mean = 0, variance = 0;
    int n = 0;
    sort_softmax(o);
    for (int i = 0; i < o->n; i++) mean += o->e[i].logit / o->n;
    for (int i = 0; i < o->n; i++) variance += pow(o->e[i].logit - mean, 2) / o->n;
    while (n < o->n && o->e[n].logit >= o->e[0].logit - (double)o->p.top_n_sigma * sqrt(variance))
        n++;
    o->n = n;
}

static void top_k(oracle *o) {
    sort_softmax(o);
    if (o->p.top_k < o->n) o->n = o->p.top_k;
}

/* In the order in which they are, as many as it takes. */
static void keep_share(oracle *o, double share) {
    double sum = 0;
    for (int i = 0; i < o->n; i++) {
        sum += o->e[i].p;
        if (sum < share) continue;
        o->n = i + 1;
        return;
    }
}

static void typical(oracle *o) {
    double entropy = 0;
    sort_softmax(o);
    for (int i = 0; i < o->n; i++)
        if (o->e[i].p > 0) entropy -= o->e[i].p * log(o->e[i].p);
    for (int i = 0; i < o->n; i++) {
        double surprise = (o->e[0].logit - o->e[i].logit) - log(o->e[0].p);
        o->e[i].key = fabs(surprise - entropy);
        o->e[i].tie = surprise < entropy ? -o->e[i].id : o->e[i].id; /* the nearest in the list */
    }
    qsort(o->e, (size_t)o->n, sizeof *o->e, by_key);
    keep_share(o, (double)o->p.typical_p);
}

static void top_p(oracle *o) {
    sort_softmax(o);
    keep_share(o, (double)o->p.top_p);
}

static void min_p(oracle *o) {
    int n = 0;
    sort_softmax(o);
    while (n < o->n && o->e[n].p >= (double)o->p.min_p * o->e[0].p) n++;
    o->n = n;
}

static void xtc(oracle *o) {
    int n = 0;
    bool now = uniform(&o->random) < (double)o->p.xtc_probability;
    if (!now || o->p.xtc_threshold > .5f) return;
    sort_softmax(o);
    while (n < o->n && o->e[n].p >= (double)o->p.xtc_threshold) n++;
    if (n < 2) return;
    o->n -= n - 1;
    memmove(o->e, o->e + n - 1, (size_t)o->n * sizeof *o->e);
}

static void temperature(oracle *o) {
    double t = (double)o->p.temperature, range = (double)o->p.dynatemp_range, entropy = 0;
    sort_softmax(o);
    if (range > 0) {
        for (int i = 0; i < o->n; i++)
            if (o->e[i].p > 0) entropy -= o->e[i].p * log(o->e[i].p);
        double low = fmax(0, t - range), high = t + range;
        t = o->n < 2
                ? 1
                : low + (high - low) * pow(entropy / log(o->n), (double)o->p.dynatemp_exponent);
    }
    if (t <= 0) o->n = 1;
    for (int i = 0; i < o->n && t > 0; i++) o->e[i].logit /= t;
}

static const struct {
    const char *name;
    void (*apply)(oracle *o);
} steps[] = {{"penalties", penalties}, {"dry", dry},         {"top_n_sigma", top_n_sigma},
             {"top_k", top_k},         {"typical", typical}, {"top_p", top_p},
             {"min_p", min_p},         {"xtc", xtc},         {"temperature", temperature}};
enum { N_STEPS = sizeof steps / sizeof *steps };

static bool is_on(const slm_sampler_params *p, int step) {
    const bool on[N_STEPS] = {true,
                              p->dry_multiplier > 0,
                              p->top_n_sigma > 0,
                              p->top_k > 0,
                              p->typical_p > 0 &&
                                  p->typical_p<1, p->top_p<1, p->min_p> 0, p->xtc_probability> 0,
                              true};
    return on[step];
}

/* Does `at` (of the sum 1) fall on the token, in the order of o->e? */
static bool falls_on(const oracle *o, double at, slm_token token) {
    double sum = 0, slack = 2e-5;
    for (int i = 0; i < o->n; sum += o->e[i++].p)
        if (o->e[i].id == token) return at >= sum - slack && at <= sum + o->e[i].p + slack;
    return false;
}

/* Is this the token that the sampler has to choose, with steps in this order? It is then remembered. */
static bool agrees(oracle *o, const int *order, int n_order, const float *row, int n_vocab,
                   const uint64_t *allowed, slm_token token) {
    o->n = 0;
    for (int i = 0; i < n_vocab; i++) {
        double bias = 0;
        for (int b = 0; b < o->p.n_logit_biases; b++)
            if (o->p.logit_biases[b].token == i) bias += (double)o->p.logit_biases[b].bias;
        if (allowed && !(allowed[i / 64] >> i % 64 & 1)) continue;
        if (isfinite(row[i]) && isfinite(bias))
            o->e[o->n++] = (entry){.logit = row[i] + bias, .id = i};
    }
    bool greedy = false;
    for (int i = 0; i < n_order; i++)
        greedy |= steps[order[i]].apply == temperature && o->p.temperature == 0 &&
                  o->p.dynatemp_range == 0;
    for (int i = 0; i < n_order; i++) {
        int s = order[i];
        if (s >= 2 && (greedy || (o->p.mirostat && s != N_STEPS - 1))) continue;
        if (is_on(&o->p, s)) steps[s].apply(o);
    }
    sort_softmax(o);
    o->text[o->n_text++] = token;
    if (greedy) return o->e[0].id == token;
    if (o->p.mirostat) {
        int n = 1;
        while (n < o->n && -log2(o->e[n].p) <= o->mu) n++;
        o->n = n;
        sort_softmax(o);
    }
    double at = uniform(&o->random);
    bool good = falls_on(o, at, token);
    for (int i = 0; i < o->n; i++) o->e[i].key = o->e[i].id;
    qsort(o->e, (size_t)o->n, sizeof *o->e, by_key);
    good = good || falls_on(o, at, token);
    for (int i = 0; i < o->n; i++)
        if (o->e[i].id == token)
            o->mu -= (double)o->p.mirostat_eta * (-log2(o->e[i].p) - (double)o->p.mirostat_tau);
    return good;
}

/* ---- Random chains ---- */

/* About normal with some peaks; now and then steps of 1/8, so many ties, and -infinity. */
static void fill(float *row, int n, uint64_t *state) {
    int kind = below(state, 4);
    for (int i = 0; i < n; i++) {
        double x = 0;
        for (int j = 0; j < 6; j++) x += uniform(state) - .5;
        x *= kind == 0 ? .5 : 3;
        if (kind == 1) x = floor(x * 8) / 8;
        if (below(state, n / 4 + 2) == 0) x += 6 * uniform(state);
        row[i] = kind == 2 && below(state, 3) == 0 ? -INFINITY : (float)x;
    }
    row[below(state, n)] = 3;
}

static float pick_float(uint64_t *state, float low, float high) {
    return low + (high - low) * (float)uniform(state);
}

static slm_sampler_params random_params(uint64_t *state, int n_vocab) {
    slm_sampler_params p = slm_sampler_defaults();
    p.n_dry_breakers = 0;
    p.seed = random_u64(state);
    p.temperature = below(state, 12) == 0 ? 0 : pick_float(state, .3f, 3);
    if (below(state, 3) == 0) p.top_k = 1 + below(state, n_vocab + 5);
    if (below(state, 3) == 0) p.top_k = 1 + below(state, 40);
    if (below(state, 3) == 0) p.top_p = pick_float(state, .05f, 1);
    if (below(state, 3) == 0) p.min_p = pick_float(state, .001f, .4f);
    if (below(state, 3) == 0) p.typical_p = pick_float(state, .05f, 1);
    if (below(state, 3) == 0) p.top_n_sigma = pick_float(state, .3f, 4);
    if (below(state, 3) == 0) p.dynatemp_range = pick_float(state, .1f, 1.5f);
    p.dynatemp_exponent = pick_float(state, 0, 3);
    if (below(state, 3) == 0) p.xtc_probability = pick_float(state, .2f, 1);
    p.xtc_threshold = pick_float(state, 0, .3f);
    if (below(state, 6) == 0) p.mirostat = 2;
    p.mirostat_tau = pick_float(state, 1, 8);
    p.mirostat_eta = pick_float(state, 0, .5f);
    p.repeat_last_n = below(state, 80);
    if (below(state, 3) == 0) p.repeat_penalty = pick_float(state, .8f, 1.6f);
    if (below(state, 3) == 0) p.presence_penalty = pick_float(state, -1, 2);
    if (below(state, 3) == 0) p.frequency_penalty = pick_float(state, -.2f, .5f);
    if (below(state, 3) == 0) p.dry_multiplier = pick_float(state, .2f, 2);
    p.dry_base = pick_float(state, 1, 2);
    p.dry_allowed_length = 1 + below(state, 4);
    p.dry_last_n = below(state, 200);
    return p;
}

/* Some of the steps, in any order, in text[]. */
static int random_order(uint64_t *state, int *order, char *text) {
    int n = 0, all[N_STEPS];
    for (int i = 0; i < N_STEPS; i++) all[i] = i;
    for (int i = N_STEPS - 1; i > 0; i--) {
        int j = below(state, i + 1), x = all[i];
        all[i] = all[j];
        all[j] = x;
    }
    *text = '\0';
    for (int i = 0; i < N_STEPS; i++) {
        if (below(state, 8) == 0) continue;
        if (n > 0) strcat(text, below(state, 2) ? "," : ";");
        strcat(text, steps[all[i]].name);
        order[n++] = all[i];
    }
    return n;
}

typedef struct random_chain {
    oracle o;
    char order_text[128];
    int order[N_STEPS], n_order, n_vocab;
    slm_logit_bias biases[5];
    uint64_t allowed[MAX_VOCAB / 64 + 1];
    bool masked;
} random_chain;

static slm_sampler *new_chain(random_chain *c, uint64_t *state) {
    static const int sizes[] = {1, 2, 3, 63, 64, 65, 255, 256, 257, 300, 511, 512, 513, 769, 1500};
    c->n_vocab = below(state, 12) == 0 ? MAX_VOCAB - below(state, 300) : sizes[below(state, 15)];
    c->o = (oracle){.p = random_params(state, c->n_vocab)};
    slm_sampler_params *p = &c->o.p;
    if (below(state, 3) > 0) {
        c->n_order = random_order(state, c->order, c->order_text);
        p->order = c->order_text;
    } else {
        c->n_order = N_STEPS;
        for (int i = 0; i < N_STEPS; i++) c->order[i] = i;
    }
    p->n_logit_biases = below(state, 6);
    p->logit_biases = c->biases;
    for (int i = 0; i < 5; i++) {
        c->biases[i] = (slm_logit_bias){below(state, c->n_vocab + 9), pick_float(state, -3, 3)};
        if (c->n_vocab > 5 && below(state, 3) == 0) c->biases[i].bias = -INFINITY;
    }
    c->masked = below(state, 4) == 0 && c->n_vocab > 64;
    for (int i = 0; i < c->n_vocab / 64 + 1; i++) {
        uint64_t x = random_u64(state);
        c->allowed[i] = i % 3 == 0 ? x : i % 3 == 1 ? 0 : ~(uint64_t)0;
    }
    c->o.random = p->seed;
    c->o.mu = 2 * (double)p->mirostat_tau;
    slm_sampler *s;
    slm_error err;
    ck_assert_msg(slm_sampler_create(p, &s, &err) == SLM_OK, "%s", err.message);
    if (c->masked) ck_assert_int_eq(slm_sampler_set_allowed(s, c->allowed, c->n_vocab), SLM_OK);
    return s;
}

START_TEST(test_random_chains) {
    static random_chain c;
    static float row[MAX_VOCAB];
    uint64_t state = (uint64_t)_i + 1;
    int n_listed = 0, n_refused = 0;
    for (int round = 0; round < 60; round++) {
        slm_sampler *s = new_chain(&c, &state);
        slm_error err;
        for (int i = 0; i < 60; i++) { /* a text that repeats itself */
            slm_token t = i > 20 && below(&state, 6) ? c.o.text[i - 9] : below(&state, c.n_vocab);
            c.o.text[c.o.n_text++] = t;
            slm_sampler_accept(s, t);
        }
        for (int i = 0; i < 12; i++) {
            slm_token token = -1;
            fill(row, c.n_vocab, &state);
            slm_status status = slm_sampler_sample(s, row, c.n_vocab, &token, &err);
            n_refused += status == SLM_ERR_NUMERIC; /* all banned, now and then */
            if (status == SLM_ERR_NUMERIC) continue;
            ck_assert_msg(status == SLM_OK, "%s", err.message);
            ck_assert_msg(agrees(&c.o, c.order, c.n_order, row, c.n_vocab,
                                 c.masked ? c.allowed : NULL, token),
                          "seed %d, round %d, row %d: token %d of %d by \"%s\"", _i + 1, round, i,
                          token, c.n_vocab, c.o.p.order ? c.o.p.order : "");
            n_listed++;
        }
        slm_sampler_free(s);
    }
    ck_assert_int_gt(n_listed, 600);
    ck_assert_int_lt(n_refused, 60);
}
END_TEST

/* Each step by itself, on every size around the borders of blocks. */
START_TEST(test_each_step_alone) {
    static random_chain c;
    static float row[MAX_VOCAB];
    static const int sizes[] = {1, 2, 255, 256, 257, 511, 512, 513, 1024, 1025, MAX_VOCAB};
    uint64_t state = 77 + (uint64_t)_i;
    for (int k = 0; k < 11; k++) {
        slm_sampler_params p = slm_sampler_defaults();
        p.n_dry_breakers = 0;
        p.temperature = 1;
        p.seed = random_u64(&state);
        if (_i == 0) p.repeat_penalty = 1.4f, p.presence_penalty = .3f, p.frequency_penalty = .2f;
        if (_i == 1) p.dry_multiplier = 1.5f;
        if (_i == 2) p.top_n_sigma = 1.5f;
        if (_i == 3) p.top_k = 300;
        if (_i == 4) p.typical_p = .6f;
        if (_i == 5) p.top_p = .9f;
        if (_i == 6) p.min_p = .03f;
        if (_i == 7) p.xtc_probability = .7f, p.xtc_threshold = .004f;
        if (_i == 8) p.temperature = 1.3f, p.dynatemp_range = 1.1f, p.dynatemp_exponent = .7f;
        if (_i == 9) p.mirostat = 2, p.mirostat_tau = 4;
        c.o = (oracle){.p = p, .random = p.seed, .mu = 10};
        if (_i == 9) c.o.mu = 8;
        c.n_order = N_STEPS;
        for (int i = 0; i < N_STEPS; i++) c.order[i] = i;
        slm_sampler *s;
        slm_error err;
        ck_assert_int_eq(slm_sampler_create(&p, &s, &err), SLM_OK);
        for (int i = 0; i < 40; i++) {
            slm_token token;
            fill(row, sizes[k], &state);
            ck_assert_int_eq(slm_sampler_sample(s, row, sizes[k], &token, &err), SLM_OK);
            ck_assert_msg(agrees(&c.o, c.order, c.n_order, row, sizes[k], NULL, token),
                          "step %d, %d tokens, row %d: token %d", _i, sizes[k], i, token);
        }
        slm_sampler_free(s);
    }
}
END_TEST

/* ---- Faults ---- */

static slm_status sample_any(slm_sampler *s, const float *row, int n, slm_token *token) {
    slm_error err;
    *token = -9;
    slm_status status = slm_sampler_sample(s, row, n, token, &err);
    ck_assert_int_eq(status, err.status);
    if (status != SLM_OK) ck_assert_int_eq(*token, -9);
    return status;
}

/* Whatever the steps: a NaN or +infinity anywhere is refused, and the sampler goes on as if it had not been asked. */
START_TEST(test_fault_90_nan_in_any_chain) {
    static random_chain c, same;
    static float row[MAX_VOCAB];
    uint64_t state = 31, also;
    int n_equal = 0;
    for (int round = 0; round < 200; round++) {
        also = state;
        slm_sampler *s = new_chain(&c, &state), *t = new_chain(&same, &also);
        for (int i = 0; i < 4; i++) {
            slm_token a, b;
            fill(row, c.n_vocab, &state);
            int at = below(&state, c.n_vocab);
            float was = row[at];
            row[at] = i & 1 ? INFINITY : NAN;
            ck_assert_int_eq(sample_any(s, row, c.n_vocab, &a), SLM_ERR_NUMERIC);
            row[at] = was;
            slm_status status = sample_any(s, row, c.n_vocab, &a);
            ck_assert_int_eq(status, sample_any(t, row, c.n_vocab, &b));
            ck_assert_int_eq(a, b);
            n_equal += status == SLM_OK;
        }
        for (int i = 0; i < c.n_vocab; i++) row[i] = -INFINITY;
        slm_token none;
        ck_assert_int_eq(sample_any(s, row, c.n_vocab, &none), SLM_ERR_NUMERIC);
        slm_sampler_free(s);
        slm_sampler_free(t);
    }
    ck_assert_int_gt(n_equal, 600);
}
END_TEST

/* Logits up to the limits of floats, temperatures too: some token that may come. */
START_TEST(test_fault_91_huge_logits_in_any_chain) {
    static random_chain c;
    static float row[MAX_VOCAB];
    static const float large[] = {1e30f, -1e30f, FLT_MAX, -FLT_MAX, 0, 1e-38f, -INFINITY, 5};
    uint64_t state = 37;
    int n_good = 0;
    for (int round = 0; round < 300; round++) {
        slm_sampler *s = new_chain(&c, &state);
        slm_sampler_free(s);
        slm_sampler_params p = c.o.p;
        if (round % 3 == 0) p.temperature = 1e-30f;
        if (round % 3 == 1) p.temperature = FLT_MAX;
        if (round % 5 == 0) p.repeat_penalty = 1e30f, p.presence_penalty = FLT_MAX;
        if (round % 7 == 0) p.dry_multiplier = FLT_MAX, p.dry_base = 1e30f;
        if (round % 4 == 0) p.dynatemp_range = FLT_MAX;
        slm_error err;
        ck_assert_int_eq(slm_sampler_create(&p, &s, &err), SLM_OK);
        for (int i = 0; i < 6; i++) {
            slm_token token;
            for (int k = 0; k < c.n_vocab; k++) row[k] = large[below(&state, 8)];
            row[0] = 1;
            slm_status status = sample_any(s, row, c.n_vocab, &token);
            ck_assert(status == SLM_OK || (status == SLM_ERR_NUMERIC && c.o.p.n_logit_biases > 0));
            if (status != SLM_OK) continue;
            ck_assert(token >= 0 && token < c.n_vocab && row[token] > -INFINITY);
            n_good++;
        }
        slm_sampler_free(s);
    }
    ck_assert_int_gt(n_good, 1500);
}
END_TEST

/* The same tokens at every level of kernels. The hash was made by this test on x86-64 with plain C; ARM64 has the same (make check-arm). That
 * these are the right tokens is what the tests above say. */
START_TEST(test_golden_tokens_of_random_chains) {
    static random_chain c;
    static float row[MAX_VOCAB];
    const slm_kernels *kernels;
    for (int32_t level = 0; (kernels = slm__kernels_level(level)); level++) {
        uint64_t state = 4711, hash = FNV_BEGIN;
        for (int round = 0; round < 80; round++) {
            slm_sampler *s = new_chain(&c, &state);
            slm_error err;
            s->set.kernels = kernels;
            for (int i = 0; i < 8; i++) {
                slm_token token = -1;
                fill(row, c.n_vocab, &state);
                slm_sampler_sample(s, row, c.n_vocab, &token, &err); /* -1: nothing allowed */
                hash = fnv_add(hash, (uint32_t)token);
            }
            slm_sampler_free(s);
        }
        ck_assert_msg(hash == UINT64_C(15173697805566695554), "%s: %llu", kernels->name,
                      (unsigned long long)hash);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("sampler_chain");
    TCase *c = tcase_create("sampler_chain");
    tcase_set_timeout(c, 240);
    tcase_add_loop_test(c, test_random_chains, 0, 24);
    tcase_add_loop_test(c, test_each_step_alone, 0, 10);
    tcase_add_test(c, test_fault_90_nan_in_any_chain);
    tcase_add_test(c, test_fault_91_huge_logits_in_any_chain);
    suite_add_tcase(suite, c);
    c = tcase_create("golden"); /* on ARM64, too */
    tcase_set_timeout(c, 120);
    tcase_add_test(c, test_golden_tokens_of_random_chains);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
