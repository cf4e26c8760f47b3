/* Sets of code points as lists of ranges: sorted, apart, without surrogates. */
#ifndef SLM_RANGES_H
#define SLM_RANGES_H

#include "arena.h"
#include "grammar.h"

/* ---- Lists ---- */

bool slm__ranges_sorted(const slm__range *x, size_t n);
/* In place; `room` has room for 2 * n. */
void slm__ranges_sort(slm__range *x, size_t n, uint64_t *room);
/* The code points of the sorted list x, or with `negated` all others, into `out`, which has room for n + 2; returns how many. */
size_t slm__ranges_tidy(const slm__range *x, size_t n, bool negated, slm__range *out);

/* ---- Sets ---- */

typedef struct slm__chars {
    slm__range *ranges;
    uint32_t n, room;
} slm__chars;

/* Any order, overlaps allowed until slm__chars_tidy(). False: no memory. */
bool slm__chars_add(slm__arena *a, slm__chars *s, uint32_t first, uint32_t last);
bool slm__chars_tidy(slm__arena *a, slm__chars *s);

/* All code points that are not in the tidy set, but for surrogates. */
bool slm__chars_negate(slm__arena *a, slm__chars *s);

/* Those of `s` from first to last. */
bool slm__chars_clip(slm__arena *a, const slm__chars *s, uint32_t first, uint32_t last,
                     slm__chars *out);

static inline bool slm__chars_has(const slm__range *ranges, uint32_t n, uint32_t cp) {
    uint32_t low = 0, high = n;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (ranges[middle].last < cp)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && ranges[low].first <= cp;
}

#endif
