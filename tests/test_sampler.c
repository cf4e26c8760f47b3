/* The sampler against a plain re-implementation in double: which tokens are left, and how often each comes.
 *
 * The oracle (expect()) copies and sorts the whole row with qsort and libm's exp, and applies the filters one after the other as
 * the papers have them, renormalising nothing by hand; it shares nothing with the sampler. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../include/slm.h"
#include "support/strict.h"
#include "support/suite.h"

enum { MAX_VOCAB = 6000 };

/* ---- Oracle ---- */

typedef struct entry {
    double logit, p;
    int id;
} entry;

static int by_logit(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
    return x->id - y->id;
}

static double softmax(entry *e, int n, double temperature) {
    double sum = 0, all = 0;
    for (int i = 0; i < n; i++) sum += exp((e[i].logit - e[0].logit) / temperature);
    for (int i = 0; i < n; i++) all += e[i].p = exp((e[i].logit - e[0].logit) / temperature) / sum;
    return all;
}

/* Probability of each token in p[n_vocab]. */
static void expect(const slm_sampler_params *sp, const float *row, int n_vocab,
                   const slm_token *recent, int n_recent, double *p) {
    static entry e[MAX_VOCAB];
    for (int i = 0; i < n_vocab; i++) e[i] = (entry){.logit = row[i], .id = i};
    for (int i = 0; i < n_vocab; i++) {
        for (int j = n_recent - 1; j >= 0 && j >= n_recent - sp->repeat_last_n; j--) {
            if (recent[j] != i) continue;
            if (row[i] > 0)
                e[i].logit = row[i] / sp->repeat_penalty;
            else
                e[i].logit = row[i] * sp->repeat_penalty;
            break;
        }
    }
    qsort(e, (size_t)n_vocab, sizeof *e, by_logit);
    int n = sp->top_k > 0 && sp->top_k < n_vocab ? sp->top_k : n_vocab;
    softmax(e, n, 1);
    if (sp->top_p < 1) {
        double sum = 0;
        for (int i = 0; i < n; i++) {
            sum += e[i].p;
            if (sum >= sp->top_p) n = i + 1;
        }
    }
    softmax(e, n, 1);
    while (n > 1 && e[n - 1].p < sp->min_p * e[0].p) n--;
    if (sp->temperature == 0) n = 1;
    ck_assert_double_eq_tol(softmax(e, n, sp->temperature > 0 ? sp->temperature : 1), 1, 1e-9);
    memset(p, 0, (size_t)n_vocab * sizeof *p);
    for (int i = 0; i < n; i++) p[e[i].id] = e[i].p;
}

/* ---- Rows ---- */

static uint32_t random_u32(uint32_t *state) { /* xorshift: Marsaglia 2003 */
    *state ^= *state << 13;
    *state ^= *state >> 17;
    return *state ^= *state << 5;
}

/* About normal, in steps of 1/64: many ties. */
static void fill(float *row, int n, uint32_t seed) {
    for (int i = 0; i < n; i++) {
        int sum = 0;
        for (int j = 0; j < 6; j++) sum += (int)(random_u32(&seed) >> 8 & 255);
        row[i] = (float)(sum - 765) / 64;
    }
}

static slm_sampler *new_sampler(slm_sampler_params p) {
    slm_sampler *s;
    slm_error err;
    p.size = sizeof p;
    ck_assert_msg(slm_sampler_create(&p, &s, &err) == SLM_OK, "%s", err.message);
    return s;
}

static slm_token sample(slm_sampler *s, const float *row, int n) {
    slm_token token = -7;
    slm_error err;
    ck_assert_msg(slm_sampler_sample(s, row, n, &token, &err) == SLM_OK, "%s", err.message);
    ck_assert_int_eq(err.status, SLM_OK);
    ck_assert_int_ge(token, 0);
    ck_assert_int_lt(token, n);
    return token;
}

/* ---- Distribution ---- */

static const struct {
    const char *name;
    int n_vocab;
    slm_sampler_params p;
} cases[] = {
    {"temperature", 61, {.temperature = 1}},
    {"hot", 300, {.temperature = 3}},
    {"cold", 300, {.temperature = .4f}},
    {"top-k", 300, {.temperature = 1, .top_k = 17}},
    {"top-k of all", 50, {.temperature = 1, .top_k = 50}},
    {"top-k past the vocabulary", 50, {.temperature = 1, .top_k = 1 << 30}},
    {"top-p", 300, {.temperature = 1, .top_p = .8f}},
    {"top-p is of temperature 1", 300, {.temperature = 4, .top_p = .8f}},
    {"top-p 0 keeps one", 300, {.temperature = 2, .top_p = 1e-20f}},
    {"top-p past the first list", 5000, {.temperature = 1, .top_p = .9f}},
    {"top-p of nearly all", 5000, {.temperature = 1, .top_p = .9999f}},
    {"min-p", 300, {.temperature = 1, .min_p = .1f}},
    {"min-p is of temperature 1", 300, {.temperature = 4, .min_p = .1f}},
    {"min-p 1 keeps the best", 300, {.temperature = 4, .min_p = 1}},
    {"top-k, then top-p of what is left", 300, {.temperature = 1, .top_k = 20, .top_p = .7f}},
    {"top-k and min-p", 300, {.temperature = 2, .top_k = 20, .min_p = .3f}},
    {"top-p and min-p, p first", 300, {.temperature = 2, .top_p = .3f, .min_p = .01f}},
    {"top-p and min-p, min first", 300, {.temperature = 2, .top_p = .99f, .min_p = .3f}},
    {"as the program has it",
     5000,
     {.temperature = .8f, .top_k = 40, .top_p = .95f, .min_p = .05f}},
    {"penalty", 61, {.temperature = 1, .repeat_penalty = 1.7f, .repeat_last_n = 40}},
    {"penalty with all",
     300,
     {.temperature = 1.5f,
      .repeat_penalty = 1.3f,
      .repeat_last_n = 64,
      .top_k = 60,
      .top_p = .9f,
      .min_p = .05f}},
    {"reward", 61, {.temperature = 1, .repeat_penalty = .6f, .repeat_last_n = 8}},
};

static slm_sampler_params case_params(int i) {
    slm_sampler_params p = cases[i].p;
    if (p.top_p == 0) p.top_p = 1;
    if (p.repeat_penalty == 0) p.repeat_penalty = 1;
    p.seed = 1000 + (uint64_t)i;
    return p;
}

/* Pearson's test. Cells that expect fewer than 5 are put together. The limit is 5 standard deviations of chi-square beyond its mean:
 * with fixed seeds it either always holds or never. */
START_TEST(test_distribution) {
    static float row[MAX_VOCAB];
    static double p[MAX_VOCAB], seen[MAX_VOCAB];
    int n = cases[_i].n_vocab, draws = (n > 1000 ? 2000 : 20000) / (sanitized() ? 4 : 1);
    slm_sampler_params sp = case_params(_i);
    fill(row, n, (uint32_t)_i + 77);
    memset(seen, 0, sizeof seen);

    /* The penalty looks at what came last: the same prompt again before each draw makes draws independent. */
    slm_token prompt[80];
    int n_prompt = sp.repeat_penalty != 1 ? 80 : 0;
    for (int i = 0; i < n_prompt; i++) prompt[i] = i * i % 29;
    expect(&sp, row, n, prompt, n_prompt, p);
    slm_sampler *s = new_sampler(sp);
    for (int i = 0; i < draws; i++) {
        for (int j = 0; j < n_prompt; j++) slm_sampler_accept(s, prompt[j]);
        seen[sample(s, row, n)]++;
    }
    slm_sampler_free(s);

    double chi2 = 0, rest = 0, rest_seen = 0;
    int cells = 0;
    for (int i = 0; i < n; i++) {
        double want = p[i] * draws;
        ck_assert_msg(p[i] > 0 || seen[i] == 0, "%s: token %d must not come", cases[_i].name, i);
        if (want >= 5) {
            chi2 += (seen[i] - want) * (seen[i] - want) / want;
            cells++;
        } else {
            rest += want;
            rest_seen += seen[i];
        }
    }
    if (rest >= 5) {
        chi2 += (rest_seen - rest) * (rest_seen - rest) / rest;
        cells++;
    }
    ck_assert_msg(chi2 <= cells + 5 * sqrt(2.0 * cells), "%s: chi-square %g of %d cells",
                  cases[_i].name, chi2, cells);
}
END_TEST

/* Which tokens are left, exactly: with a very high temperature all of them come soon. */
START_TEST(test_filters_leave_the_right_tokens) {
    static float row[MAX_VOCAB];
    static double p[MAX_VOCAB];
    static char seen[MAX_VOCAB];
    uint32_t seed = 5;
    for (int round = 0; round < 60; round++) {
        int n = 2 + (int)(random_u32(&seed) % 60), kept = 0, found = 0;
        slm_sampler_params sp = {
            .temperature = 1e6f, .repeat_penalty = 1, .top_p = 1, .seed = seed};
        if (random_u32(&seed) & 1) sp.top_k = 2 + (int32_t)(random_u32(&seed) % 30);
        if (random_u32(&seed) & 1) sp.top_p = (float)(random_u32(&seed) % 1000) / 1000;
        if (random_u32(&seed) & 1) sp.min_p = (float)(random_u32(&seed) % 300) / 1000;
        fill(row, n, seed + 1);
        expect(&sp, row, n, NULL, 0, p);
        memset(seen, 0, sizeof seen);
        slm_sampler *s = new_sampler(sp);
        for (int i = 0; i < 40 * n; i++) seen[sample(s, row, n)] = 1;
        slm_sampler_free(s);
        for (int i = 0; i < n; i++) {
            kept += p[i] > 0;
            found += seen[i];
            ck_assert_msg(p[i] > 0 || !seen[i], "round %d: token %d must not come", round, i);
        }
        ck_assert_msg(found >= kept - 1, "round %d: %d of %d tokens came", round, found, kept);
    }
}
END_TEST

/* ---- Greedy and ties ---- */

START_TEST(test_greedy_is_the_maximum_at_every_place) {
    static float row[300];
    slm_sampler_params p = slm_sampler_defaults();
    slm_sampler *greedy = new_sampler(p);
    p.temperature = 2;
    p.top_k = 1;
    slm_sampler *top_1 = new_sampler(p);
    for (int n = 1; n <= 40; n++) {
        for (int at = 0; at < n; at++) {
            for (int i = 0; i < n; i++) row[i] = -3;
            row[at] = -2.5f;
            ck_assert_int_eq(sample(greedy, row, n), at);
            ck_assert_int_eq(sample(top_1, row, n), at);
        }
    }
    slm_sampler_free(greedy);
    slm_sampler_free(top_1);
}
END_TEST

START_TEST(test_equal_logits_the_lowest_token) {
    static float row[200];
    slm_sampler *greedy = new_sampler(slm_sampler_defaults());
    for (int i = 0; i < 200; i++) row[i] = i % 10 == 7 ? 4 : 1;
    ck_assert_int_eq(sample(greedy, row, 200), 7);
    row[3] = -0.0f;
    row[5] = 0.0f;
    for (int i = 0; i < 200; i++) row[i] = i == 3 || i == 5 ? row[i] : -1;
    ck_assert_int_eq(sample(greedy, row, 200), 3);
    slm_sampler_free(greedy);

    /* top-k 4 of many equal ones: the four lowest, and no other */
    int seen[200] = {0};
    for (int i = 0; i < 200; i++) row[i] = i % 10 == 7 ? 4 : 1;
    slm_sampler_params p = slm_sampler_defaults();
    p.temperature = 1;
    p.top_k = 4;
    slm_sampler *s = new_sampler(p);
    for (int i = 0; i < 400; i++) seen[sample(s, row, 200)]++;
    for (int i = 0; i < 200; i++) ck_assert_int_eq(seen[i] > 0, i % 10 == 7 && i < 40);
    slm_sampler_free(s);
}
END_TEST

/* ---- Same seed, same tokens, on every machine ---- */

/* Made with this Python, which shares no code with the sampler:
 *
 *   import math
 *   M = (1 << 64) - 1
 *   def uniform(s):
 *       s[0] = (s[0] + 0x9e3779b97f4a7c15) & M
 *       z = s[0]
 *       z = ((z ^ z >> 30) * 0xbf58476d1ce4e5b9) & M
 *       z = ((z ^ z >> 27) * 0x94d049bb133111eb) & M
 *       return ((z ^ z >> 31) >> 11) / 2.0 ** 53
 *   def tokens(seed, t, listed, n):
 *       l = [(i * 7919 % 1000) / 125 for i in range(100)]
 *       order = sorted(range(100), key=lambda i: (-l[i], i))[:40] if listed else range(100)
 *       w = [math.exp((l[i] - max(l)) / t) for i in order]
 *       s, out = [seed], []
 *       for _ in range(n):
 *           r, acc = uniform(s) * sum(w), 0
 *           for i, x in zip(order, w):
 *               acc += x
 *               if acc > r: break
 *           out.append(i)
 *       return out
 *   print(tokens(42, 1.5, False, 12)); print(tokens(42, 1.5, True, 12))
 */
START_TEST(test_golden_tokens) {
    static const slm_token by_id[] = {75, 14, 26, 30, 2, 87, 21, 78, 29, 62, 17, 50};
    static const slm_token by_logit_40[] = {89, 25, 13, 75, 99, 90, 50, 77, 75, 76, 87, 26};
    float row[100];
    for (int i = 0; i < 100; i++) row[i] = (float)(i * 7919 % 1000) / 125;
    slm_sampler_params p = slm_sampler_defaults();
    p.temperature = 1.5f;
    p.seed = 42;
    slm_sampler *all = new_sampler(p);
    p.top_k = 40;
    slm_sampler *top_40 = new_sampler(p);
    for (int i = 0; i < 12; i++) {
        ck_assert_int_eq(sample(all, row, 100), by_id[i]);
        ck_assert_int_eq(sample(top_40, row, 100), by_logit_40[i]);
    }
    slm_sampler_free(all);
    slm_sampler_free(top_40);
}
END_TEST

START_TEST(test_same_seed_same_tokens) {
    static float row[700];
    int differ = 0;
    for (int i = 0; i < (int)(sizeof cases / sizeof *cases); i++) {
        slm_sampler_params p = case_params(i);
        slm_sampler *a = new_sampler(p), *b = new_sampler(p);
        p.seed++;
        slm_sampler *c = new_sampler(p);
        for (int j = 0; j < 50; j++) {
            fill(row, 700, (uint32_t)(i * 100 + j + 1));
            slm_token token = sample(a, row, 700);
            ck_assert_int_eq(token, sample(b, row, 700));
            differ += token != sample(c, row, 700);
        }
        slm_sampler_free(a);
        slm_sampler_free(b);
        slm_sampler_free(c);
    }
    ck_assert_int_gt(differ, 100);
}
END_TEST

/* ---- Repetition penalty ---- */

START_TEST(test_penalty_forgets_what_is_older_than_last_n) {
    float row[6] = {5, 4, 3, 2, 1, 0};
    slm_sampler_params p = slm_sampler_defaults();
    p.repeat_penalty = 100;
    p.repeat_last_n = 3;
    slm_sampler *s = new_sampler(p);
    static const slm_token want[] = {0, 1, 2, 3, 0, 1, 2, 3}; /* three are always held down */
    for (int i = 0; i < 8; i++) ck_assert_int_eq(sample(s, row, 6), want[i]);
    slm_sampler_free(s);
}
END_TEST

START_TEST(test_penalty_counts_a_token_once_and_knows_signs) {
    float row[5] = {-1, -1.5f, 3, 2, -9};
    slm_sampler_params p = slm_sampler_defaults();
    p.repeat_penalty = 1.4f;
    p.repeat_last_n = 20;
    slm_sampler *s = new_sampler(p);
    for (int i = 0; i < 5; i++) slm_sampler_accept(s, 2);
    ck_assert_int_eq(sample(s, row, 5), 2); /* 3 / 1.4 is still above 2 */
    slm_sampler_free(s);

    float negative[2] = {-1, -1.2f};
    s = new_sampler(p);
    slm_sampler_accept(s, 0);
    ck_assert_int_eq(sample(s, negative, 2), 1); /* -1 * 1.4 is below -1.2 */
    slm_sampler_free(s);
}
END_TEST

/* Greedy choices under a penalty, step by step, against the oracle; tokens that no row has are remembered and harmless. */
START_TEST(test_penalty_against_oracle) {
    static float row[50];
    static double p[50];
    slm_token recent[2000];
    int n_recent = 0;
    slm_sampler_params sp = slm_sampler_defaults();
    sp.repeat_penalty = 1.25f;
    sp.repeat_last_n = 13;
    slm_sampler *s = new_sampler(sp);
    uint32_t seed = 9;
    for (int step = 0; step < 600; step++) {
        slm_token foreign[] = {-1, INT32_MIN, INT32_MAX, 50, 49, 0};
        slm_token extra = foreign[random_u32(&seed) % 6];
        slm_sampler_accept(s, extra);
        recent[n_recent++] = extra;
        fill(row, 50, seed);
        expect(&sp, row, 50, recent, n_recent, p);
        slm_token token = sample(s, row, 50);
        ck_assert_msg(p[token] == 1, "step %d: token %d", step, token);
        recent[n_recent++] = token;
    }
    slm_sampler_free(s);
}
END_TEST

/* ---- Faults ---- */

START_TEST(test_fault_66_null_and_wrong_size) {
    slm_sampler_params p = slm_sampler_defaults();
    slm_sampler *s = (slm_sampler *)&p;
    slm_error err;
    slm_token token = 5;
    float row[2] = {0, 1};
    ck_assert_int_eq(slm_sampler_create(NULL, &s, &err), SLM_ERR_ARGUMENT);
    ck_assert_ptr_null(s);
    ck_assert_int_eq(slm_sampler_create(&p, NULL, NULL), SLM_ERR_ARGUMENT);
    p.size--;
    s = (slm_sampler *)&p;
    ck_assert_int_eq(slm_sampler_create(&p, &s, &err), SLM_ERR_ARGUMENT);
    ck_assert_ptr_null(s);
    ck_assert_ptr_nonnull(strstr(err.message, "size"));
    s = new_sampler(slm_sampler_defaults());
    ck_assert_int_eq(slm_sampler_sample(NULL, row, 2, &token, &err), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_sampler_sample(s, NULL, 2, &token, &err), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_sampler_sample(s, row, 2, NULL, &err), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_sampler_sample(s, row, 0, &token, NULL), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_sampler_sample(s, row, -1, &token, &err), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(token, 5);
    slm_sampler_accept(NULL, 1);
    ck_assert_int_eq(sample(s, row, 2), 1);
    slm_sampler_free(s);
    slm_sampler_free(NULL);
}
END_TEST

START_TEST(test_fault_69_parameters_out_of_range) {
    static const slm_sampler_params bad[] = {
        {.temperature = NAN, .top_p = 1, .repeat_penalty = 1},
        {.temperature = -1, .top_p = 1, .repeat_penalty = 1},
        {.temperature = INFINITY, .top_p = 1, .repeat_penalty = 1},
        {.top_p = 2, .repeat_penalty = 1},
        {.top_p = -.1f, .repeat_penalty = 1},
        {.top_p = NAN, .repeat_penalty = 1},
        {.top_p = 1, .min_p = 1.5f, .repeat_penalty = 1},
        {.top_p = 1, .min_p = NAN, .repeat_penalty = 1},
        {.top_p = 1, .repeat_penalty = 0},
        {.top_p = 1, .repeat_penalty = -1},
        {.top_p = 1, .repeat_penalty = NAN},
        {.top_p = 1, .repeat_penalty = INFINITY},
        {.top_p = 1, .repeat_penalty = 1, .top_k = -1},
        {.top_p = 1, .repeat_penalty = 1, .repeat_last_n = -1},
        {.top_p = 1, .repeat_penalty = 1, .repeat_last_n = 65537},
    };
    static const char *const names[] = {
        "temperature",    "temperature",    "temperature", "top_p",          "top_p",
        "top_p",          "min_p",          "min_p",       "repeat_penalty", "repeat_penalty",
        "repeat_penalty", "repeat_penalty", "top_k",       "repeat_last_n",  "repeat_last_n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        slm_sampler_params p = bad[i];
        p.size = sizeof p;
        slm_sampler *s = (slm_sampler *)&p;
        slm_error err;
        ck_assert_int_eq(slm_sampler_create(&p, &s, &err), SLM_ERR_RANGE);
        ck_assert_int_eq(err.status, SLM_ERR_RANGE);
        ck_assert_ptr_null(s);
        ck_assert_msg(strstr(err.message, names[i]) != NULL, "%zu: %s", i, err.message);
    }
}
END_TEST

/* An allocator that fails at the n-th call and counts what is held. */
typedef struct failing {
    int calls, fail_at, held;
} failing;

static void *failing_alloc(void *user, size_t size) {
    failing *f = user;
    if (f->calls++ == f->fail_at) return NULL;
    f->held++;
    return malloc(size);
}

static void failing_free(void *user, void *ptr) {
    ((failing *)user)->held--;
    free(ptr);
}

/* Each allocation fails once; what was refused succeeds afterwards, with the same token. */
START_TEST(test_fault_84_nth_allocation_fails) {
    static float row[MAX_VOCAB];
    fill(row, 5000, 3);
    slm_sampler_params p = {
        .temperature = 1, .top_p = .999f, .repeat_penalty = 1.1f, .repeat_last_n = 9, .seed = 8};
    slm_sampler *plain = new_sampler(p);
    slm_token want = sample(plain, row, 5000);
    slm_sampler_free(plain);
    int refused = 0, n = 0, done = 0;
    for (; !done; n++) {
        failing f = {.fail_at = n};
        p.size = sizeof p;
        p.allocator = (slm_allocator){failing_alloc, failing_free, &f};
        slm_sampler *s;
        slm_error err;
        slm_status status = slm_sampler_create(&p, &s, &err);
        if (status == SLM_OK) {
            slm_token token = -5;
            status = slm_sampler_sample(s, row, 5000, &token, &err);
            if (status == SLM_ERR_NOMEM) ck_assert_int_eq(token, -5);
            if (status == SLM_ERR_NOMEM) token = sample(s, row, 5000);
            ck_assert_int_eq(token, want);
            slm_sampler_free(s);
        }
        ck_assert(status == SLM_OK || status == SLM_ERR_NOMEM);
        refused += status == SLM_ERR_NOMEM;
        done = status == SLM_OK;
        ck_assert_int_eq(f.held, 0);
    }
    ck_assert_int_eq(refused, n - 1);
    ck_assert_int_ge(refused, 4); /* sampler, ring, sorted ring, the list of top-p */
}
END_TEST

START_TEST(test_fault_90_nan_or_nothing_finite) {
    static float row[300];
    for (int i = 0; i < (int)(sizeof cases / sizeof *cases); i++) {
        slm_sampler *s = new_sampler(case_params(i));
        slm_token token = -5;
        slm_error err;
        slm_sampler_accept(s, 7);
        for (int at = 0; at < 300; at += 7) { /* also at 7, a penalised one */
            fill(row, 300, 4);
            row[at] = at & 1 ? NAN : -NAN;
            ck_assert_int_eq(slm_sampler_sample(s, row, 300, &token, &err), SLM_ERR_NUMERIC);
            ck_assert_ptr_nonnull(strstr(err.message, "NaN"));
            row[at] = INFINITY;
            ck_assert_int_eq(slm_sampler_sample(s, row, 300, &token, &err), SLM_ERR_NUMERIC);
        }
        for (int j = 0; j < 300; j++) row[j] = -INFINITY;
        ck_assert_int_eq(slm_sampler_sample(s, row, 300, &token, &err), SLM_ERR_NUMERIC);
        ck_assert_int_eq(err.status, SLM_ERR_NUMERIC);
        ck_assert_int_eq(token, -5);
        row[123] = -1e30f; /* one is enough, and the sampler still works */
        ck_assert_int_eq(sample(s, row, 300), 123);
        slm_sampler_free(s);
    }
}
END_TEST

START_TEST(test_fault_91_huge_logits_tiny_temperature) {
    static float row[100];
    for (int i = 0; i < (int)(sizeof cases / sizeof *cases); i++) {
        slm_sampler_params p = case_params(i);
        p.temperature = 1e-30f;
        if (p.repeat_penalty != 1) p.repeat_penalty = i & 1 ? 1e30f : 1e-30f;
        slm_sampler *s = new_sampler(p);
        slm_sampler_accept(s, 10);
        slm_sampler_accept(s, 11);
        for (int j = 0; j < 100; j++) row[j] = j == 40 ? 1e30f : j & 1 ? -1e30f : 9e29f;
        slm_token token = sample(s, row, 100);
        ck_assert_int_eq(token, p.repeat_penalty < 1 ? 10 : 40);
        for (int j = 0; j < 100; j++) row[j] = j & 1 ? -FLT_MAX : j == 40 ? FLT_MAX : 0;
        token = sample(s, row, 100);
        ck_assert(token == 40 || p.repeat_penalty != 1);
        slm_sampler_free(s);
    }
    slm_sampler_params p = slm_sampler_defaults();
    p.temperature = FLT_TRUE_MIN;
    slm_sampler *s = new_sampler(p);
    ck_assert_int_eq(sample(s, (float[]){1, 1.0000001f, -INFINITY}, 3), 1);
    slm_sampler_free(s);
    p.temperature = FLT_MAX;
    s = new_sampler(p);
    for (int i = 0; i < 50; i++) ck_assert_int_ne(sample(s, (float[]){-INFINITY, 0, 3}, 3), 0);
    slm_sampler_free(s);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("sampler");
    TCase *c = tcase_create("sampler");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, test_distribution, 0, (int)(sizeof cases / sizeof *cases));
    tcase_add_test(c, test_filters_leave_the_right_tokens);
    tcase_add_test(c, test_greedy_is_the_maximum_at_every_place);
    tcase_add_test(c, test_equal_logits_the_lowest_token);
    tcase_add_test(c, test_same_seed_same_tokens);
    tcase_add_test(c, test_penalty_forgets_what_is_older_than_last_n);
    tcase_add_test(c, test_penalty_counts_a_token_once_and_knows_signs);
    tcase_add_test(c, test_penalty_against_oracle);
    tcase_add_test(c, test_fault_66_null_and_wrong_size);
    tcase_add_test(c, test_fault_69_parameters_out_of_range);
    tcase_add_test(c, test_fault_84_nth_allocation_fails);
    tcase_add_test(c, test_fault_90_nan_or_nothing_finite);
    tcase_add_test(c, test_fault_91_huge_logits_tiny_temperature);
    suite_add_tcase(suite, c);
    c = tcase_create("golden"); /* on ARM64, too */
    tcase_add_test(c, test_golden_tokens);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
