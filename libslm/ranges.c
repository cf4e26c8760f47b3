#include "ranges.h"

#include "heap.h"

bool slm__chars_add(slm__arena *a, slm__chars *s, uint32_t first, uint32_t last) {
    slm__range *r = slm__arena_room(a, s->ranges, &s->room, (uint64_t)s->n + 1, sizeof *r);
    if (!r) return false;
    s->ranges = r;
    r[s->n++] = (slm__range){first, last};
    return true;
}

static uint64_t key_of(slm__range r) { return (uint64_t)r.first << 32 | r.last; }

static bool sort(slm__arena *a, slm__chars *s) {
    bool sorted = true;
    for (uint32_t i = 1; i < s->n; i++)
        sorted = sorted && key_of(s->ranges[i - 1]) <= key_of(s->ranges[i]);
    if (sorted) return true;
    uint64_t *heap = slm__arena_take(a, s->n, sizeof *heap);
    if (!heap) return false;
    size_t n = 0;
    for (uint32_t i = 0; i < s->n; i++) slm__heap_push(heap, &n, key_of(s->ranges[i]));
    for (uint32_t i = 0; i < s->n; i++) {
        uint64_t key = slm__heap_pop(heap, &n);
        s->ranges[i] = (slm__range){(uint32_t)(key >> 32), (uint32_t)key};
    }
    return true;
}

/* Cuts the surrogates out; in place, as tidying only joins: the one range that may become two is added by the caller. */
static void join(slm__chars *s) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        slm__range r = s->ranges[i];
        if (r.first >= 0xD800 && r.first <= 0xDFFF) r.first = 0xE000;
        if (r.last >= 0xD800 && r.last <= 0xDFFF) r.last = 0xD7FF;
        if (r.first > r.last) continue;
        if (n && (r.first <= s->ranges[n - 1].last || r.first == s->ranges[n - 1].last + 1)) {
            if (r.last > s->ranges[n - 1].last) s->ranges[n - 1].last = r.last;
        } else {
            s->ranges[n++] = r;
        }
    }
    s->n = n;
}

bool slm__chars_tidy(slm__arena *a, slm__chars *s) {
    if (!sort(a, s)) return false;
    join(s);
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t last = s->ranges[i].last;
        if (s->ranges[i].first >= 0xD800 || last <= 0xDFFF) continue;
        s->ranges[i].last = 0xD7FF;
        if (!slm__chars_add(a, s, 0xE000, last)) return false;
        return sort(a, s);
    }
    return true;
}

bool slm__chars_negate(slm__arena *a, slm__chars *s) {
    slm__chars out = {0};
    uint32_t next = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->ranges[i].first > next && !slm__chars_add(a, &out, next, s->ranges[i].first - 1))
            return false;
        next = s->ranges[i].last + 1;
    }
    if (next <= 0x10FFFF && !slm__chars_add(a, &out, next, 0x10FFFF)) return false;
    *s = out;
    return slm__chars_tidy(a, s);
}

bool slm__chars_clip(slm__arena *a, const slm__chars *s, uint32_t first, uint32_t last,
                     slm__chars *out) {
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t f = s->ranges[i].first > first ? s->ranges[i].first : first;
        uint32_t l = s->ranges[i].last < last ? s->ranges[i].last : last;
        if (f <= l && !slm__chars_add(a, out, f, l)) return false;
    }
    return true;
}
