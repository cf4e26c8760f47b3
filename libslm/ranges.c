#include "ranges.h"

#include "sort.h"

enum { LAST_CODE_POINT = 0x10FFFF, SURROGATES = 0xD800, SURROGATES_END = 0xE000 };

/* ---- Lists ---- */

/* first to last without surrogates, behind the n that are there. */
static size_t put(slm__range *out, size_t n, uint32_t first, uint32_t last) {
    if (first < SURROGATES && first <= last)
        out[n++] = (slm__range){first, last < SURROGATES ? last : SURROGATES - 1};
    if (last >= SURROGATES_END && first <= last)
        out[n++] = (slm__range){first >= SURROGATES_END ? first : SURROGATES_END, last};
    return n;
}

static uint64_t key_of(slm__range r) { return (uint64_t)r.first << 32 | r.last; }

bool slm__ranges_sorted(const slm__range *x, size_t n) {
    for (size_t i = 1; i < n; i++)
        if (key_of(x[i - 1]) > key_of(x[i])) return false;
    return true;
}

void slm__ranges_sort(slm__range *x, size_t n, uint64_t *room) {
    for (size_t i = 0; i < n; i++) room[i] = key_of(x[i]);
    slm__sort(room, room + n, n, 0);
    for (size_t i = 0; i < n; i++)
        x[i] = (slm__range){(uint32_t)(room[i] >> 32), (uint32_t)room[i]};
}

size_t slm__ranges_tidy(const slm__range *x, size_t n, bool negated, slm__range *out) {
    size_t used = 0;
    uint32_t next = 0; /* code points below are done */
    for (size_t i = 0; i < n;) {
        uint32_t first = x[i].first, last = x[i].last;
        if (first > last || first > LAST_CODE_POINT) {
            i++;
            continue;
        }
        for (i++; i < n && (x[i].first <= last || x[i].first == last + 1); i++)
            if (x[i].last > last) last = x[i].last;
        if (last > LAST_CODE_POINT) last = LAST_CODE_POINT;
        if (!negated) used = put(out, used, first, last);
        if (negated && first > next) used = put(out, used, next, first - 1);
        next = last + 1;
    }
    return negated && next <= LAST_CODE_POINT ? put(out, used, next, LAST_CODE_POINT) : used;
}

/* ---- Sets ---- */

bool slm__chars_add(slm__arena *a, slm__chars *s, uint32_t first, uint32_t last) {
    slm__range *r = slm__arena_room(a, s->ranges, &s->room, (uint64_t)s->n + 1, sizeof *r);
    if (!r) return false;
    s->ranges = r;
    r[s->n++] = (slm__range){first, last};
    return true;
}

static bool tidy(slm__arena *a, slm__chars *s, bool negated) {
    slm__chars out = {.room = s->n + 2};
    out.ranges = slm__arena_take(a, out.room, sizeof *out.ranges);
    if (!out.ranges) return false;
    out.n = (uint32_t)slm__ranges_tidy(s->ranges, s->n, negated, out.ranges);
    *s = out;
    return true;
}

bool slm__chars_tidy(slm__arena *a, slm__chars *s) {
    if (!slm__ranges_sorted(s->ranges, s->n)) {
        uint64_t *room = slm__arena_take(a, 2 * (uint64_t)s->n, sizeof *room);
        if (!room) return false;
        slm__ranges_sort(s->ranges, s->n, room);
    }
    return tidy(a, s, false);
}

bool slm__chars_negate(slm__arena *a, slm__chars *s) { return tidy(a, s, true); }

bool slm__chars_clip(slm__arena *a, const slm__chars *s, uint32_t first, uint32_t last,
                     slm__chars *out) {
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t f = s->ranges[i].first > first ? s->ranges[i].first : first;
        uint32_t l = s->ranges[i].last < last ? s->ranges[i].last : last;
        if (f <= l && !slm__chars_add(a, out, f, l)) return false;
    }
    return true;
}
