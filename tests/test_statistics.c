/* What figures of `slm compare` are made with, against long double and against sorted values; kinds of tokens. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../tools/compare_row.c"
#include "../tools/statistics.c"
#include "../tools/text.c"
#include "../tools/token_kind.c"
#include "support/suite.h"

static uint64_t random_u64(uint64_t *state) { /* SplitMix64 */
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static double uniform(uint64_t *state) { return (double)(random_u64(state) >> 11) * 0x1p-53; }

static void assert_near(double got, double want, double tolerance) {
    ck_assert_msg(fabs(got - want) <= tolerance, "%.17g, not %.17g", got, want);
}

START_TEST(test_exp_and_ln) {
    for (double x = -700; x <= 700; x += 0.37) assert_near(exp_of(x) / exp(x), 1, 1e-12);
    for (double x = 1e-300; x < 1e300; x *= 1.7) assert_near(ln_of(x), log(x), 1e-12);
    for (double x = 0.4; x < 3; x += 0.001) assert_near(ln_of(x), log(x), 1e-15);
    ck_assert(ln_of(1) == 0 && exp_of(0) == 1);
    ck_assert(exp_of(1000) == INFINITY && exp_of(-1000) == 0);
}
END_TEST

START_TEST(test_moments) {
    moments m = {0};
    ck_assert(isnan(moments_estimate(&m).value));
    moments_add(&m, 3);
    ck_assert(moments_estimate(&m).value == 3 && isnan(moments_estimate(&m).error));
    moments_add(&m, 5);
    moments_add(&m, 10); /* deviations -3, -1, 4: 26 / 2 / 3 */
    assert_near(moments_estimate(&m).value, 6, 1e-15);
    assert_near(moments_estimate(&m).error, sqrt(26.0 / 6), 1e-15);
    estimate whole = whole_estimate(18, 9 + 25 + 100, 3);
    assert_near(whole.value, 6, 0);
    assert_near(whole.error, sqrt(26.0 / 6), 1e-15);
    assert_near(moments_exp(&m).value, exp(6), 1e-9);
    assert_near(moments_exp(&m).error, exp(6) * sqrt(26.0 / 6), 1e-9);
}
END_TEST

static double plain_quantile(const float *sorted, size_t n, double q) {
    double at = q * (double)(n - 1);
    size_t i = (size_t)at, j = i + 1 < n ? i + 1 : i;
    return (double)sorted[i] + (at - (double)i) * ((double)sorted[j] - (double)sorted[i]);
}

/* Exact up to the limit, within 1/1000 beyond; both with values that appear many times. */
START_TEST(test_quantiles) {
    static const double shares[] = {0, 0.1, 0.5, 0.9, 0.99, 0.999, 1};
    static const size_t sizes[] = {1, 2, 3, 1000, MOST_VALUES, MOST_VALUES + 1, 3 * MOST_VALUES};
    size_t n = sizes[_i];
    uint64_t state = 7;
    float *all = malloc(n * sizeof *all);
    distribution d = {0};
    ck_assert_ptr_nonnull(all);
    ck_assert(isnan(distribution_quantile(&d, 0.5)));
    for (size_t i = 0; i < n; i++) {
        all[i] = i % 5 == 0 ? 0 : (float)exp(20 * uniform(&state) - 17);
        ck_assert(distribution_add(&d, all[i]));
    }
    qsort(all, n, sizeof *all, compare_floats);
    ck_assert_uint_eq(d.n, n);
    ck_assert(d.max == all[n - 1]);
    ck_assert(n <= MOST_VALUES ? d.values != NULL : d.values == NULL);
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        double want = plain_quantile(all, n, shares[i]);
        assert_near(distribution_quantile(&d, shares[i]), want, n > MOST_VALUES ? want / 1000 : 0);
    }
    distribution_free(&d);
    free(all);
}
END_TEST

/* Of rows of any length, near and far apart. */
START_TEST(test_rows) {
    enum { MOST = 5000 };
    static const int32_t sizes[] = {1, 2, 7, 8, 9, 17, 270, MOST};
    static float x[MOST], y[MOST], weights[MOST];
    uint64_t state = 3;
    for (int round = 0; round < 64; round++) {
        int32_t n = sizes[round % 8];
        float scale = (float)pow(10, round / 8 - 4);
        for (int32_t i = 0; i < n; i++) {
            x[i] = (float)(30 * uniform(&state) - 50);
            y[i] = x[i] + scale * (float)(uniform(&state) - 0.5) + 11;
        }
        long double sum_x = 0, sum_y = 0, kl = 0;
        int32_t best = 0;
        for (int32_t i = 0; i < n; i++) {
            sum_x += expl((long double)x[i]);
            sum_y += expl((long double)y[i]);
            if (x[i] > x[best]) best = i;
        }
        for (int32_t i = 0; i < n; i++) {
            long double p = (long double)x[i] - logl(sum_x), q = (long double)y[i] - logl(sum_y);
            kl += expl(p) * (p - q);
        }
        row_summary of_y, of_x = row_summarize(x, n, weights);
        double got = row_kl(x, weights, &of_x, y, n, &of_y);
        ck_assert_int_eq(of_x.best, best);
        ck_assert_int_eq(row_best(x, n), best);
        assert_near(row_logprob(x, &of_x, n / 2), (double)((long double)x[n / 2] - logl(sum_x)),
                    2e-7);
        assert_near(row_logprob(y, &of_y, n / 2), (double)((long double)y[n / 2] - logl(sum_y)),
                    2e-7);
        assert_near(got, (double)kl, 1e-7 + 1e-6 * (double)kl);
        ck_assert(got >= 0);
        ck_assert(row_kl(x, weights, &of_x, x, n, &of_y) == 0);
    }
}
END_TEST

/* Finite logits, but no finite difference: a figure that is not known must not look like a perfect one. */
START_TEST(test_what_is_not_known_stays_so) {
    float x[9] = {3e38f, -3e38f, 1}, y[9] = {-3e38f, 3e38f, 1}, weights[9];
    row_summary of_y, of_x = row_summarize(x, 9, weights);
    distribution d = {0};
    ck_assert(isnan(row_kl(x, weights, &of_x, y, 9, &of_y)));
    for (int i = 0; i < 9; i++) ck_assert(distribution_add(&d, (float)i));
    ck_assert(distribution_quantile(&d, 0.5) == 4);
    ck_assert(distribution_add(&d, NAN));
    ck_assert(isnan(distribution_quantile(&d, 0.5)));
    ck_assert(distribution_add(&d, 1));
    ck_assert(isnan(distribution_quantile(&d, 1)));
    ck_assert(isnan(d.max));
    distribution_free(&d);
}
END_TEST

START_TEST(test_of_equal_logits_the_first_is_best) {
    float x[20] = {[3] = 2, [11] = 2, [19] = 2}, weights[20];
    ck_assert_int_eq(row_best(x, 20), 3);
    ck_assert_int_eq(row_summarize(x, 20, weights).best, 3);
    x[3] = -1;
    ck_assert_int_eq(row_best(x, 20), 11);
}
END_TEST

START_TEST(test_kinds) {
    static const struct {
        const char *text;
        token_kind kind;
    } cases[] = {
        {" the", KIND_WORD_BEGIN},
        {"\n\tThe", KIND_WORD_BEGIN},
        {"ing", KIND_WORD_INSIDE},
        {"Z", KIND_WORD_INSIDE},
        {" \xc3\xa9t\xc3\xa9", KIND_WORD_BEGIN},
        {"\xc3\xa9", KIND_WORD_INSIDE},
        {"\xe6\x97\xa5", KIND_WORD_INSIDE},
        {"7th", KIND_NUMBER},
        {" 1", KIND_NUMBER},
        {"(a", KIND_PUNCTUATION},
        {" \"", KIND_PUNCTUATION},
        {"\xe2\x80\x9c", KIND_PUNCTUATION},
        {"\xc2\xab", KIND_PUNCTUATION},
        {"\xf0\x9f\x99\x82", KIND_PUNCTUATION},
        {"\xe3\x80\x82", KIND_PUNCTUATION},
        {" ", KIND_WHITE_SPACE},
        {"\r\n", KIND_WHITE_SPACE},
        {"\x01", KIND_OTHER},
        {"\x7f", KIND_OTHER},
        {"\xc2\x85", KIND_OTHER},
        {" \xe6\x97", KIND_OTHER},
        {"\x97", KIND_OTHER},
        {"", KIND_OTHER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_msg(text_kind(cases[i].text, strlen(cases[i].text)) == cases[i].kind, "%s: %s",
                      cases[i].text, token_kind_names[cases[i].kind]);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("statistics");
    TCase *c = tcase_create("all");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, test_exp_and_ln);
    tcase_add_test(c, test_moments);
    tcase_add_loop_test(c, test_quantiles, 0, 7);
    tcase_add_test(c, test_rows);
    tcase_add_test(c, test_what_is_not_known_stays_so);
    tcase_add_test(c, test_of_equal_logits_the_first_is_best);
    tcase_add_test(c, test_kinds);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
