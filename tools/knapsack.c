#include "knapsack.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_UNITS = 1 << 17, MAX_CHOICES = 1 << 28 };

/* So that neither time nor memory grows with hostile sizes. */
static uint64_t most_units(const knapsack *c) {
    uint64_t n = MAX_CHOICES / (uint64_t)(c->n_items > 0 ? c->n_items : 1);
    return n < MAX_UNITS ? n : MAX_UNITS;
}

static uint64_t least(const choice_item *item) {
    uint64_t bytes = item->bytes[0];
    for (int32_t i = 1; i < item->n_options; i++)
        if (item->bytes[i] < bytes) bytes = item->bytes[i];
    return bytes;
}

static uint64_t common_divisor(uint64_t a, uint64_t b) {
    while (b > 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The unit, and how many of them there are between the smallest and the largest choice. */
static void measure(knapsack *c) {
    uint64_t range = 0, unit = 0, most_n = most_units(c);
    c->least_bytes = 0;
    for (int32_t i = 0; i < c->n_items; i++) {
        const choice_item *item = &c->items[i];
        uint64_t from = least(item), most = 0;
        for (int32_t o = 0; o < item->n_options; o++) {
            uint64_t more = item->bytes[o] - from;
            unit = common_divisor(unit, more);
            most = more > most ? more : most;
        }
        c->least_bytes += from;
        range += most;
    }
    if (unit == 0) unit = 1;
    if (range / unit > most_n) unit = range / (most_n - (uint64_t)c->n_items) + 1;
    c->unit = unit;
    /* Each item may round up by one. */
    uint64_t n = range / unit + (range % unit > 0 ? (uint64_t)c->n_items : 0);
    c->n_units = (int32_t)(n < most_n ? n : most_n);
}

/* One item more: the best of its options with what is left for the items before, for each number of units. Of equal ones the last. */
static void add_item(const knapsack *c, const choice_item *item, const double *before,
                     uint8_t *choices) {
    uint64_t from = least(item);
    for (int32_t u = 0; u <= c->n_units; u++) c->loss[u] = INFINITY;
    for (int32_t o = 0; o < item->n_options; o++) {
        uint64_t units = (item->bytes[o] - from + c->unit - 1) / c->unit;
        if (units > (uint64_t)c->n_units) continue;
        for (int32_t u = (int32_t)units; u <= c->n_units; u++) {
            double loss = before[u - (int32_t)units] + item->loss[o];
            if (loss > c->loss[u]) continue;
            c->loss[u] = loss;
            choices[u] = (uint8_t)o;
        }
    }
}

bool knapsack_create(knapsack *c, const choice_item *items, int32_t n_items) {
    *c = (knapsack){.n_items = n_items, .items = items};
    if (n_items < 0 || n_items > MAX_ITEMS) return false;
    measure(c);
    size_t width = (size_t)c->n_units + 1;
    double *before = calloc(width, sizeof *before);
    c->loss = calloc(width, sizeof *c->loss);
    c->choices = calloc((size_t)n_items + 1, width); /* an item more: not nothing */
    bool good = before && c->loss && c->choices;
    for (int32_t i = 0; good && i < n_items; i++) {
        for (size_t u = 0; u < width; u++) before[u] = c->loss[u];
        add_item(c, &items[i], before, c->choices + (size_t)i * width);
    }
    free(before);
    return good;
}

void knapsack_free(knapsack *c) {
    free(c->loss);
    free(c->choices);
    *c = (knapsack){0};
}

/* The choice that has loss[units], from the last item back. */
static void take(const knapsack *c, int32_t units, int32_t *picks) {
    size_t width = (size_t)c->n_units + 1;
    for (int32_t i = c->n_items - 1; i >= 0; i--) {
        const choice_item *item = &c->items[i];
        int32_t o = c->choices[(size_t)i * width + (size_t)units];
        picks[i] = o;
        units -= (int32_t)((item->bytes[o] - least(item) + c->unit - 1) / c->unit);
    }
}

bool choose_by_bytes(const knapsack *c, uint64_t most_bytes, int32_t *picks) {
    if (most_bytes < c->least_bytes) return false;
    uint64_t units = (most_bytes - c->least_bytes) / c->unit;
    take(c, units < (uint64_t)c->n_units ? (int32_t)units : c->n_units, picks);
    return true;
}

bool choose_by_loss(const knapsack *c, double most_loss, int32_t *picks) {
    for (int32_t u = 0; u <= c->n_units; u++) {
        if (c->loss[u] > most_loss) continue;
        take(c, u, picks);
        return true;
    }
    return false;
}
