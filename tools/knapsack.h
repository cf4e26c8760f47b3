/* Of each of several items one option, so that all together take few bytes and lose little. */
#ifndef TOOLS_KNAPSACK_H
#define TOOLS_KNAPSACK_H

#include <stdbool.h>
#include <stdint.h>

enum { MAX_OPTIONS = 16, MAX_ITEMS = 8192 };

typedef struct choice_item {
    int32_t n_options; /* 1 .. MAX_OPTIONS */
    uint64_t bytes[MAX_OPTIONS];
    double loss[MAX_OPTIONS]; /* finite, at least 0 */
} choice_item;

/*
 * Every best choice at once: the multiple-choice knapsack problem, by dynamic programming over bytes (Kellerer, Pferschy, Pisinger:
 * Knapsack Problems, 2004, section 11.5). Bytes are counted in the greatest unit that divides all differences between options, where that
 * makes not too many of them: choices are then the best that there are. Else they are rounded up to a larger unit: never too large, and
 * nearly the best.
 */
typedef struct knapsack {
    int32_t n_items, n_units;
    const choice_item *items;
    uint64_t least_bytes,
        unit; /* of all smallest options; bytes                                      */
    double
        *loss; /* [n_units + 1] the least that is possible with so many units above least_bytes */
    uint8_t *
        choices; /* [n_items, n_units + 1] the option of an item in it, given those before        */
} knapsack;

/* `items` outlive it. False: no memory, or more than MAX_ITEMS. knapsack_free() in any case. */
bool knapsack_create(knapsack *c, const choice_item *items, int32_t n_items);
void knapsack_free(knapsack *c);

/* The least loss with at most so many bytes in all, or the fewest bytes with at most this loss: picks [n_items] receives an option for
 * each. False: even the smallest options have more bytes, or no choice loses so little. */
bool choose_by_bytes(const knapsack *c, uint64_t most_bytes, int32_t *picks);
bool choose_by_loss(const knapsack *c, double most_loss, int32_t *picks);

#endif
