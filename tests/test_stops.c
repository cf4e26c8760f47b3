/* Stop strings against a search of the whole text, in any pieces; log-probabilities against sums in long double. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../include/slm.h"
#include "support/check_alloc.h"
#include "support/fnv.h"
#include "support/suite.h"

static slm_error err;

static uint64_t random_u64(uint64_t *state) { /* SplitMix64 */
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
static int below(uint64_t *state, int n) { return (int)(random_u64(state) % (uint64_t)n); }

/* ---- Stop strings ---- */

/* The first end of a match, of several there the longest; where the text goes to. */
static size_t plain_stop(const char *text, size_t n, const slm_string *stops, int32_t n_stops,
                         int32_t *met) {
    *met = -1;
    for (size_t end = 1; end <= n; end++) {
        for (int32_t i = 0; i < n_stops; i++)
            if (stops[i].n_bytes <= end &&
                memcmp(text + end - stops[i].n_bytes, stops[i].text, stops[i].n_bytes) == 0 &&
                (*met < 0 || stops[i].n_bytes > stops[*met].n_bytes))
                *met = i;
        if (*met >= 0) return end - stops[*met].n_bytes;
    }
    return n;
}

static slm_stops *new_stops(const slm_string *strings, int32_t n) {
    slm_stops *s;
    ck_assert_msg(slm_stops_create(strings, n, NULL, &s, &err) == SLM_OK, "%s", err.message);
    return s;
}

START_TEST(test_fault_53_any_pieces_give_the_same_text) {
    uint64_t state = (uint64_t)_i + 1;
    int n_met = 0, n_not = 0;
    for (int round = 0; round < 1500; round++) {
        char bytes[80], text[60], out[64];
        slm_string stops[6];
        int32_t n_stops = below(&state, 7), want = -1, met = -1;
        size_t at = 0, n = (size_t)below(&state, 60), longest = 0, used = 0, n_out;
        for (int32_t i = 0; i < n_stops; i++) {
            stops[i] = (slm_string){bytes + at, 1 + (size_t)below(&state, 10)};
            for (size_t k = 0; k < stops[i].n_bytes; k++) bytes[at++] = "aaab"[below(&state, 4)];
            if (i > 0 && below(&state, 3) == 0) stops[i] = stops[below(&state, i)];
            if (stops[i].n_bytes > longest) longest = stops[i].n_bytes;
        }
        for (size_t i = 0; i < n; i++) text[i] = "aaaab"[below(&state, 5)];
        size_t want_n = plain_stop(text, n, stops, n_stops, &want);
        slm_stops *s = new_stops(stops, n_stops);
        for (int again = 0; again < 2; again++) { /* the second time after slm_stops_end() */
            used = 0;
            for (size_t i = 0; i < n;) {
                size_t piece = (size_t)below(&state, 6), needed;
                if (piece > n - i) piece = n - i;
                if (slm_stops_add(s, text + i, piece, NULL, 0, &needed, NULL) == SLM_ERR_BUFFER)
                    ck_assert_int_gt(needed, 0);
                else if (needed == 0) { /* done, with nothing to come out */
                    i += piece;
                    continue;
                }
                ck_assert_int_eq(
                    slm_stops_add(s, text + i, piece, out + used, needed, &n_out, &met), SLM_OK);
                ck_assert_int_eq(n_out, needed);
                used += n_out;
                i += piece;
                if (met < 0 && used + (longest > 0 ? longest - 1 : 0) < i)
                    ck_abort_msg("%zu of %zu came, and none is longer than %zu", used, i, longest);
            }
            slm_stops_add(s, NULL, 0, NULL, 0, &n_out, &met);
            ck_assert_int_eq(slm_stops_end(s, out + used, sizeof out - used, &n_out), SLM_OK);
            used += n_out;
            ck_assert_int_eq(used, want_n);
            ck_assert_int_eq(memcmp(out, text, used), 0);
            ck_assert_int_eq(met < 0, want < 0);
            if (met >= 0) ck_assert_int_eq(stops[met].n_bytes, stops[want].n_bytes);
        }
        slm_stops_free(s);
        n_met += want >= 0;
        n_not += want < 0;
    }
    ck_assert_int_gt(n_met, 300);
    ck_assert_int_gt(n_not, 150);
}
END_TEST

/* A text of one letter, and strings of that letter: no byte is looked at more than a few times. */
START_TEST(test_fault_48_long_runs) {
    enum { N = 1 << 20 };
    char *text = malloc(N), *out = malloc(N);
    ck_assert(text && out);
    memset(text, 'a', N);
    char stop[1000];
    memset(stop, 'a', sizeof stop);
    stop[999] = 'b';
    slm_string strings[2] = {{stop, 1000}, {stop + 500, 500}};
    slm_stops *s = new_stops(strings, 2);
    size_t n, used = 0;
    int32_t met;
    for (int i = 0; i < N; i += 16) {
        ck_assert(slm_stops_add(s, text + i, 16, out + used, 16, &n, &met) == SLM_OK);
        used += n;
    }
    ck_assert_int_eq(used, N - 999);
    ck_assert_int_eq(slm_stops_add(s, "b", 1, out + used, 1, &n, &met), SLM_OK);
    ck_assert_int_eq(n, 0);
    ck_assert_int_eq(met, 0);
    ck_assert_int_eq(slm_stops_add(s, "more", 4, NULL, 0, &n, &met), SLM_OK);
    ck_assert_int_eq(n, 0);
    ck_assert_int_eq(met, 0);
    slm_stops_free(s);
    free(text);
    free(out);
}
END_TEST

START_TEST(test_fault_66_arguments) {
    slm_stops *s = (slm_stops *)&err;
    slm_string empty = {"", 0}, x = {"x", 1}, many[1025], large[2];
    char buffer[4], *text = calloc(40000, 1);
    size_t n;
    for (int i = 0; i < 1025; i++) many[i] = x;
    large[0] = large[1] = (slm_string){text, 40000};
    ASSERT_FAILS(slm_stops_create(&empty, 1, NULL, &s, &err), SLM_ERR_ARGUMENT, "empty");
    ck_assert_ptr_null(s);
    ASSERT_FAILS(slm_stops_create(NULL, 1, NULL, &s, &err), SLM_ERR_ARGUMENT, "NULL");
    ASSERT_FAILS(slm_stops_create(&x, 1, NULL, NULL, &err), SLM_ERR_ARGUMENT, "NULL");
    ASSERT_FAILS(slm_stops_create(&x, -1, NULL, &s, &err), SLM_ERR_LIMIT, "-1");
    ASSERT_FAILS(slm_stops_create(many, 1025, NULL, &s, &err), SLM_ERR_LIMIT, "1024");
    ASSERT_FAILS(slm_stops_create(large, 2, NULL, &s, &err), SLM_ERR_LIMIT, "65536");
    s = new_stops(many, 1024);
    ck_assert_int_eq(slm_stops_add(s, NULL, 1, buffer, 4, &n, NULL), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_stops_add(s, "a", 1, NULL, 4, &n, NULL), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_stops_add(s, "a", 1, buffer, 4, NULL, NULL), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_stops_add(NULL, "a", 1, buffer, 4, &n, NULL), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_stops_end(NULL, buffer, 4, &n), SLM_ERR_ARGUMENT);
    slm_stops_free(s);
    slm_stops_free(NULL);
    free(text);
}
END_TEST

START_TEST(test_fault_84_nth_allocation_fails) {
    slm_string x[2] = {{"end", 3}, {"stop", 4}};
    long at = 1;
    for (;; at++) {
        check_alloc c = {.fail_at = at};
        slm_allocator a = check_allocator(&c);
        slm_stops *s;
        slm_status status = slm_stops_create(x, 2, &a, &s, &err);
        ck_assert_int_eq(status, c.n_calls < at ? SLM_OK : SLM_ERR_NOMEM);
        slm_stops_free(s);
        ck_assert_int_eq(c.n_live, 0);
        if (status == SLM_OK) break;
    }
    ck_assert_int_gt(at, 5);
}
END_TEST

/* ---- Log-probabilities ---- */

START_TEST(test_logprobs_against_long_double) {
    static float row[5000];
    static slm_logprob out[5003];
    uint64_t state = 5;
    static const int sizes[] = {1, 2, 3, 255, 256, 257, 1000, 5000};
    for (int round = 0; round < 80; round++) {
        int n = sizes[round % 8], k = round % 3 == 0   ? n
                                      : round % 3 == 1 ? 0
                                                       : 1 + below(&state, n);
        long double sum = 0, max = -INFINITY;
        for (int i = 0; i < n; i++) {
            row[i] = (float)(below(&state, 4000) - 2000) / (round % 2 ? 64 : 500);
            if (round % 5 == 0 && i % 3 == 1) row[i] = -INFINITY;
            if (row[i] > max) max = row[i];
        }
        for (int i = 0; i < n; i++) sum += expl(row[i] - max);
        slm_token wanted[3] = {0, n - 1, n / 2};
        ck_assert_int_eq(slm_logprobs(row, n, wanted, 3, k, out, &err), SLM_OK);
        for (int i = 0; i < 3 + k; i++) {
            ck_assert(i >= 3 || out[i].token == wanted[i]);
            long double want = row[out[i].token] - max - logl(sum);
            if (isinf(row[out[i].token]))
                ck_assert(out[i].logprob == -INFINITY);
            else
                ck_assert_double_eq_tol(out[i].logprob, (double)want, 1e-6);
        }
        for (int i = 4; i < 3 + k; i++) {
            float a = row[out[i - 1].token], b = row[out[i].token];
            ck_assert(a > b || (a == b && out[i - 1].token < out[i].token));
        }
        for (int i = 0, n_before = 0; k > 0 && i <= n; i++) { /* none was left out */
            if (i < n) n_before += row[i] > row[out[2 + k].token];
            if (i == n) ck_assert_int_lt(n_before, k);
        }
    }
}
END_TEST

/* The bits, on every machine: made by this test on x86-64, equal on ARM64 (make check-arm). */
START_TEST(test_logprobs_have_the_same_bits) {
    static float row[3000];
    slm_logprob out[4];
    uint64_t state = 9, hash = FNV_BEGIN;
    for (int i = 0; i < 3000; i++) row[i] = (float)below(&state, 1 << 20) / 65536;
    slm_token wanted[2] = {5, 2999};
    ck_assert_int_eq(slm_logprobs(row, 3000, wanted, 2, 2, out, &err), SLM_OK);
    for (int i = 0; i < 4; i++) {
        uint64_t bits;
        memcpy(&bits, &out[i].logprob, sizeof bits);
        hash = fnv_add(hash, bits);
    }
    ck_assert_uint_eq(hash, UINT64_C(3689761097702753629));
}
END_TEST

START_TEST(test_fault_90_logprobs_of_nan_or_nothing) {
    float row[3] = {0, 1, 2};
    slm_logprob out[6];
    slm_token bad = 3, negative = -1;
    row[1] = NAN;
    ASSERT_FAILS(slm_logprobs(row, 3, NULL, 0, 1, out, &err), SLM_ERR_NUMERIC, "token 1");
    row[1] = INFINITY;
    ASSERT_FAILS(slm_logprobs(row, 3, NULL, 0, 1, out, &err), SLM_ERR_NUMERIC, "token 1");
    row[0] = row[1] = row[2] = -INFINITY;
    ASSERT_FAILS(slm_logprobs(row, 3, NULL, 0, 1, out, &err), SLM_ERR_NUMERIC, "none");
    row[0] = FLT_MAX;
    row[1] = -FLT_MAX;
    ck_assert_int_eq(slm_logprobs(row, 3, NULL, 0, 2, out, &err), SLM_OK);
    ck_assert(out[0].logprob == 0 && out[1].logprob == -2.0 * (double)FLT_MAX);
    ASSERT_FAILS(slm_logprobs(row, 3, NULL, 0, 4, out, &err), SLM_ERR_RANGE, "n_top");
    ASSERT_FAILS(slm_logprobs(row, 3, NULL, 0, -1, out, &err), SLM_ERR_RANGE, "n_top");
    ASSERT_FAILS(slm_logprobs(row, 3, &bad, 1, 0, out, &err), SLM_ERR_RANGE, "token");
    ASSERT_FAILS(slm_logprobs(row, 3, &negative, 1, 0, out, &err), SLM_ERR_RANGE, "token");
    ASSERT_FAILS(slm_logprobs(row, 3, NULL, 1, 0, out, &err), SLM_ERR_ARGUMENT, "tokens");
    ASSERT_FAILS(slm_logprobs(row, 0, NULL, 0, 0, out, &err), SLM_ERR_ARGUMENT, "n_vocab");
    ASSERT_FAILS(slm_logprobs(NULL, 3, NULL, 0, 0, out, &err), SLM_ERR_ARGUMENT, "logits");
    ASSERT_FAILS(slm_logprobs(row, 3, NULL, 0, 0, NULL, &err), SLM_ERR_ARGUMENT, "out");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("stops");
    TCase *c = tcase_create("stops");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, test_fault_53_any_pieces_give_the_same_text, 0, 3);
    tcase_add_test(c, test_fault_48_long_runs);
    tcase_add_test(c, test_fault_66_arguments);
    tcase_add_test(c, test_fault_84_nth_allocation_fails);
    tcase_add_test(c, test_logprobs_against_long_double);
    tcase_add_test(c, test_fault_90_logprobs_of_nan_or_nothing);
    suite_add_tcase(suite, c);
    c = tcase_create("golden"); /* on ARM64, too */
    tcase_add_test(c, test_logprobs_have_the_same_bits);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
