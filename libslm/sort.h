/* Sorting numbers of 64 bits, in linear time and without calling back; and finding the order of anything. */
#ifndef SLM_SORT_H
#define SLM_SORT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { SLM_SORT_FEW = 48 };

/* Rising, by bytes first_byte .. 7 (0: the lowest), the others staying in order: a radix sort from the lowest byte on, which skips
 * bytes that are all alike. A few are inserted, whole. `other` has room for n too. */
static inline void slm__sort(uint64_t *a, uint64_t *other, size_t n, int first_byte) {
    if (n <= SLM_SORT_FEW) {
        const uint64_t low = ((uint64_t)1 << 8 * first_byte) - 1;
        for (size_t i = 1; i < n; i++) {
            uint64_t v = a[i];
            size_t j = i;
            for (; j > 0 && (a[j - 1] | low) > (v | low); j--) a[j] = a[j - 1];
            a[j] = v;
        }
        return;
    }
    uint32_t counts[8][256] = {{0}};
    for (size_t i = 0; i < n; i++)
        for (int byte = first_byte; byte < 8; byte++) counts[byte][a[i] >> 8 * byte & 255]++;
    uint64_t *from = a, *to = other;
    for (int byte = first_byte; byte < 8; byte++) {
        uint32_t *place = counts[byte], sum = 0;
        if (place[a[0] >> 8 * byte & 255] == n) continue;
        for (int v = 0; v < 256; v++) {
            uint32_t count = place[v];
            place[v] = sum;
            sum += count;
        }
        for (size_t i = 0; i < n; i++) to[place[from[i] >> 8 * byte & 255]++] = from[i];
        uint64_t *was = from;
        from = to;
        to = was;
    }
    if (from != a) memcpy(a, from, n * sizeof *a);
}

/* What is to be ordered, by index: below 0, 0 or above 0 as a comes before b, is alike or comes behind it. */
typedef int (*slm__compare_fn)(const void *table, uint32_t a, uint32_t b);

static inline void slm__sift_down(uint32_t *order, uint32_t root, uint32_t n,
                                  slm__compare_fn compare, const void *table) {
    for (uint32_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && compare(table, order[child], order[child + 1]) < 0) child++;
        if (compare(table, order[root], order[child]) >= 0) return;
        uint32_t t = order[root];
        order[root] = order[child];
        order[child] = t;
    }
}

/* order[] becomes 0 .. n-1 sorted: heap sort (Williams 1964). No allocation, no recursion, n log n on hostile input too, which
 * hashes that are known to the file's maker would not give. */
static inline void slm__sort_order(uint32_t *order, uint32_t n, slm__compare_fn compare,
                                   const void *table) {
    for (uint32_t i = 0; i < n; i++) order[i] = i;
    for (uint32_t i = n / 2; i-- > 0;) slm__sift_down(order, i, n, compare, table);
    for (uint32_t i = n; i-- > 1;) {
        uint32_t t = order[0];
        order[0] = order[i];
        order[i] = t;
        slm__sift_down(order, 0, i, compare, table);
    }
}

#endif
