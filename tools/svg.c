#include "svg.h"

#include <math.h>
#include <string.h>

#include "text.h"

figure px(double pixels) {
    figure f;
    snprintf(f.s, sizeof f.s, "%.1f", isfinite(pixels) ? pixels : 0.0);
    return f;
}

/* ---- Axes ---- */

static bool usable(axis_kind kind, double value) {
    return isfinite(value) && (kind == AXIS_PLAIN || value > 0);
}

axis axis_fit(axis_kind kind, const double *values, size_t n_values, double from, double to) {
    enum { LOG_FROM = 8 };
    axis a = {.low = INFINITY, .high = -INFINITY, .from = from, .to = to, .beyond = NAN};
    for (size_t i = 0; i < n_values; i++) {
        if (!usable(kind, values[i])) continue;
        a.low = fmin(a.low, values[i]);
        a.high = fmax(a.high, values[i]);
    }
    if (a.low > a.high) a.low = a.high = 1;
    a.log = kind == AXIS_LOG && a.high >= LOG_FROM * a.low;
    if (a.log) {
        double room = pow(a.high / a.low, 0.06);
        a.low /= room;
        a.high *= room;
        return a;
    }
    if (kind == AXIS_LOG) a.low = 0;
    double span = a.high - a.low;
    /* one value: it is in the middle */
    double room = span > 0 ? 0.08 * span : a.high != 0 ? 0.5 * fabs(a.high) : 1;
    if (kind == AXIS_PLAIN) a.low -= room;
    a.high += room;
    return a;
}

bool axis_holds(const axis *a, double value) {
    if (!isfinite(value) || (a->log && value <= 0)) return false;
    double slack = 1e-9 * (a->high - a->low);
    return value >= a->low - slack && value <= a->high + slack;
}

double axis_at(const axis *a, double value) {
    if (isnan(value)) return NAN;
    if (!axis_holds(a, value)) return a->beyond;
    double part = a->log ? log(value / a->low) / log(a->high / a->low)
                         : (value - a->low) / (a->high - a->low);
    return a->from + part * (a->to - a->from);
}

/* The step of 1, 2 or 5 times a power of ten that gives about one tick every `apart` pixels. */
static double linear_step(const axis *a, double apart) {
    double wanted = fmax(fabs(a->to - a->from) / apart, 1), raw = (a->high - a->low) / wanted;
    double power = pow(10, floor(log10(raw))), part = raw / power;
    return power * (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10);
}

static size_t linear_ticks(const axis *a, double apart, double ticks[MAX_TICKS]) {
    double step = linear_step(a, apart), first = ceil(a->low / step - 1e-9);
    size_t n = 0;
    for (; n < MAX_TICKS && (first + (double)n) * step <= a->high + 1e-9 * step; n++)
        ticks[n] = (first + (double)n) * step;
    return n;
}

/* Powers of ten, with what lies between them as far as there is room. */
static size_t log_ticks(const axis *a, double apart, double ticks[MAX_TICKS]) {
    static const double parts[][3] = {{1, 2, 5}, {1, 3, 0}, {1, 0, 0}};
    double decades = log10(a->high / a->low), room = fabs(a->to - a->from) / apart;
    size_t set = 3 * decades <= room ? 0 : 2 * decades <= room ? 1 : 2, n = 0;
    int every = 1 + (int)(decades / fmax(fmin(room, MAX_TICKS), 1)); /* decades from tick to tick */
    for (int e = (int)floor(log10(a->low)); e <= (int)ceil(log10(a->high)); e++) {
        if (e % every != 0) continue;
        for (size_t k = 0; k < 3 && parts[set][k] > 0; k++) {
            double tick = parts[set][k] * pow(10, e);
            if (n < MAX_TICKS && axis_holds(a, tick)) ticks[n++] = tick;
        }
    }
    return n;
}

size_t axis_ticks(const axis *a, double apart, double ticks[MAX_TICKS]) {
    return a->log ? log_ticks(a, apart, ticks) : linear_ticks(a, apart, ticks);
}

figure axis_label(const axis *a, double apart, double tick) {
    if (tick == 0) return (figure){"0"};
    if (a->log) return figure_digits(tick, 1);
    double step = linear_step(a, apart);
    int decimals = (int)ceil(-log10(step) - 1e-9);
    if (decimals > 6 || step >= 1e7) return figure_digits(tick, 2);
    return figure_fixed(tick, decimals > 0 ? decimals : 0);
}

/* ---- Text ---- */

double text_width(const char *s, double size) {
    double width = 0;
    size_t n = strlen(s);
    while (n > 0) {
        uint32_t code = 0;
        size_t length = utf8_visible(s, n, &code);
        if (code >= 0x300)
            width += 1.05;
        else if (strchr(" .,:;|'!ijl()[]/-", (int)code))
            width += 0.4;
        else if (code == 'm' || code == 'w' || code == 'M' || code == 'W' || code == '%')
            width += 0.98;
        else
            width += code >= 'a' && code <= 'z' ? 0.63 : 0.7;
        s += length;
        n -= length;
    }
    return width * size;
}

/* ---- Labels ---- */

static bool overlap(box a, box b) {
    return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

void placing_add(placing *p, box b) { p->taken[p->n_taken++] = b; }

static bool is_free(const placing *p, box b, bool avoid) {
    if (b.left < p->within.left || b.right > p->within.right || b.top < p->within.top ||
        b.bottom > p->within.bottom)
        return false;
    for (size_t i = 0; i < p->n_taken; i++)
        if (overlap(b, p->taken[i])) return false;
    for (size_t i = 0; avoid && i < p->n_avoided; i++)
        if (overlap(b, p->avoided[i])) return false;
    return true;
}

/* The text's nearest point, on a ring around the labelled one, in its radii. */
typedef struct way {
    double side, up;
} way;

static bool find_on_ring(placing *p, way v, double x, double y, double distance, double width,
                         double size, bool avoid, place *to) {
    double near_x = x + v.side * distance, near_y = y - v.up * distance;
    double left = v.side > 0 ? near_x : v.side < 0 ? near_x - width : near_x - width / 2;
    double top = fabs(v.up) < 0.6 ? near_y - size / 2 : v.up > 0 ? near_y - size : near_y;
    box b = {left, top, left + width, top + size};
    if (!is_free(p, b, avoid)) return false;
    placing_add(p, b);
    *to = (place){.x = near_x, .y = b.bottom - 0.22 * size};
    to->anchor = v.side > 0 ? "start" : v.side < 0 ? "end" : "middle";
    to->line_x = v.side == 0 ? x : near_x - (v.side > 0 ? 2 : -2);
    to->line_y = fabs(v.up) < 0.6 ? near_y : v.up > 0 ? b.bottom + 1 : b.top - 1;
    return true;
}

/* Around the point, the best first: beside, above, below, and then farther out, where a line shows whose it is. */
bool placing_find(placing *p, double x, double y, double radius, double width, double size,
                  place *to) {
    static const way ways[] = {{1, 0},      {-1, 0},      {0.8, 0.8},   {0.8, -0.8},
                               {-0.8, 0.8}, {-0.8, -0.8}, {0, 1},       {0, -1},
                               {0.9, 0.45}, {0.9, -0.45}, {-0.9, 0.45}, {-0.9, -0.45}};
    static const struct {
        double more; /* than beside the point */
        bool avoid;
    } rings[] = {{0, true},   {0, false},  {10, true}, {18, true},
                 {28, false}, {40, false}, {54, false}};
    for (size_t r = 0; r < sizeof rings / sizeof *rings; r++)
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++)
            if (find_on_ring(p, ways[w], x, y, radius + 3 + rings[r].more, width, size,
                             rings[r].avoid, to)) {
                to->far = rings[r].more > 0;
                return true;
            }
    return false;
}
