/* What `slm quantize --target-size` chooses is the best that there is: against every combination, in small random cases. */
#include "../tools/knapsack.c"

#include <check.h>

#include "support/suite.h"

enum { ITEMS = 6, OPTIONS = 4, CASES = 40 };

static uint32_t state;

static uint32_t random_below(uint32_t n) {
    state = state * 1664525 + 1013904223;
    return (state >> 8) % n;
}

/* Sizes are multiples of `unit`, losses small integers: sums are exact, and there are ties. */
static void make_items(choice_item *items, int seed, uint64_t unit) {
    state = (uint32_t)seed;
    for (int i = 0; i < ITEMS; i++) {
        items[i].n_options = 1 + (int32_t)random_below(OPTIONS);
        for (int o = 0; o < items[i].n_options; o++) {
            items[i].bytes[o] = unit * (1 + random_below(50));
            items[i].loss[o] = random_below(64);
        }
    }
}

static void sum(const choice_item *items, const int32_t *picks, uint64_t *bytes, double *loss) {
    *bytes = 0;
    *loss = 0;
    for (int i = 0; i < ITEMS; i++) {
        ck_assert(picks[i] >= 0 && picks[i] < items[i].n_options);
        *bytes += items[i].bytes[picks[i]];
        *loss += items[i].loss[picks[i]];
    }
}

/* The least loss with at most so many bytes and the fewest bytes with at most that loss, over all combinations. */
static void try_all(const choice_item *items, uint64_t most_bytes, double most_loss, double *loss,
                    uint64_t *bytes) {
    int n = 1;
    *loss = INFINITY;
    *bytes = UINT64_MAX;
    for (int i = 0; i < ITEMS; i++) n *= items[i].n_options;
    for (int k = 0; k < n; k++) {
        int32_t picks[ITEMS];
        uint64_t b;
        double l;
        for (int i = 0, rest = k; i < ITEMS; rest /= items[i++].n_options)
            picks[i] = rest % items[i].n_options;
        sum(items, picks, &b, &l);
        if (b <= most_bytes && l < *loss) *loss = l;
        if (l <= most_loss && b < *bytes) *bytes = b;
    }
}

START_TEST(test_best_of_all) {
    choice_item items[ITEMS] = {0};
    uint64_t unit = _i % 2 ? 3456 : 1, bytes, best_bytes;
    double loss, best_loss;
    int32_t picks[ITEMS];
    knapsack k;
    make_items(items, _i, unit);
    ck_assert(knapsack_create(&k, items, ITEMS));
    for (int step = 0; step < 60; step++) {
        uint64_t most_bytes = unit * (uint64_t)(step * 5) + (uint64_t)(step % 2);
        double most_loss = step * 6;
        try_all(items, most_bytes, most_loss, &best_loss, &best_bytes);
        ck_assert_int_eq(choose_by_bytes(&k, most_bytes, picks), !isinf(best_loss));
        if (!isinf(best_loss)) {
            sum(items, picks, &bytes, &loss);
            ck_assert(bytes <= most_bytes);
            ck_assert_double_eq(loss, best_loss);
        }
        ck_assert_int_eq(choose_by_loss(&k, most_loss, picks), best_bytes < UINT64_MAX);
        if (best_bytes < UINT64_MAX) {
            sum(items, picks, &bytes, &loss);
            ck_assert(loss <= most_loss);
            ck_assert_uint_eq(bytes, best_bytes);
        }
    }
    knapsack_free(&k);
}
END_TEST

/* Sizes without a common divisor are rounded up: never more bytes than are allowed, and less than a thousandth of the range given away. */
START_TEST(test_sizes_that_are_rounded) {
    choice_item items[ITEMS] = {0};
    uint64_t unit = 1000000007, bytes, best_bytes, range = 50 * unit * ITEMS;
    double loss, best_loss, worst;
    int32_t picks[ITEMS];
    knapsack k;
    make_items(items, _i, unit);
    for (int i = 0; i < ITEMS; i++)
        for (int o = 0; o < items[i].n_options; o++) items[i].bytes[o] += random_below(1000);
    ck_assert(knapsack_create(&k, items, ITEMS));
    ck_assert_int_lt(k.n_units, 1 << 18);
    for (uint64_t most = range / 10; most < range; most += range / 10) {
        try_all(items, most, 0, &best_loss, &best_bytes);
        try_all(items, most - range / 1000, 0, &worst, &best_bytes);
        if (!choose_by_bytes(&k, most, picks)) {
            ck_assert(isinf(worst));
            continue;
        }
        sum(items, picks, &bytes, &loss);
        ck_assert(bytes <= most);
        ck_assert(loss >= best_loss && loss <= worst);
    }
    knapsack_free(&k);
}
END_TEST

START_TEST(test_limits) {
    knapsack k;
    choice_item one = {.n_options = 1, .bytes = {7}, .loss = {0.5}};
    int32_t pick = -1;
    ck_assert(!knapsack_create(&k, &one, MAX_ITEMS + 1));
    knapsack_free(&k);
    ck_assert(knapsack_create(&k, &one, 1));
    ck_assert(!choose_by_bytes(&k, 6, &pick));
    ck_assert(!choose_by_loss(&k, 0.4, &pick));
    ck_assert(choose_by_bytes(&k, UINT64_MAX, &pick) && pick == 0);
    ck_assert(choose_by_loss(&k, 0.5, &pick) && pick == 0);
    knapsack_free(&k);
}
END_TEST

int main(void) {
    Suite *s = suite_create("knapsack");
    TCase *t = tcase_create("knapsack");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, test_best_of_all, 0, CASES);
    tcase_add_loop_test(t, test_sizes_that_are_rounded, 0, 4);
    tcase_add_test(t, test_limits);
    suite_add_tcase(s, t);
    return run_suite(s);
}
