/* Quality against size and speed: a point per candidate, the reference in a corner of its own where it is far from all of them. */
#include <math.h>
#include <stdlib.h>

#include "compare_page.h"
#include "svg.h"

enum { WIDTH = 400, HEIGHT = 330, LEFT = 48, RIGHT = 388, TOP = 40, BOTTOM = 282 };
enum { BAND_X = 56, BAND_Y = 34 }; /* for what lies beyond an axis */
enum { RADIUS = 5, FONT = 12, N_AVOIDED = 160, APART_X = 56, APART_Y = 26 };

typedef enum quantity { FILE_SIZE, DECODE, PREFILL, KL_MEAN, FIRST_CHOICE } quantity;

typedef struct view {
    const char *title;
    quantity x, y;
} view;

static const view views[] = {
    {"Divergence and size", FILE_SIZE, KL_MEAN},
    {"First choices and size", FILE_SIZE, FIRST_CHOICE},
    {"Divergence and decode speed", DECODE, KL_MEAN},
    {"Divergence and prefill speed", PREFILL, KL_MEAN},
};

static const struct {
    const char *title, *better;
    int sign; /* of what is better */
    axis_kind axis;
} quantities[] = {
    [FILE_SIZE] = {"file size, MB", "smaller", -1, AXIS_PLAIN},
    [DECODE] = {"decode, tokens/s", "faster", 1, AXIS_PLAIN},
    [PREFILL] = {"prefill, tokens/s", "faster", 1, AXIS_PLAIN},
    [KL_MEAN] = {"mean KL divergence, nats", "closer to the reference", -1, AXIS_LOG},
    [FIRST_CHOICE] = {"same first choice, %", "closer to the reference", 1, AXIS_PLAIN},
};

typedef struct dot {
    double x, y, y_error; /* NaN: unknown */
    double at_x, at_y;    /* pixels */
    bool best;            /* no other is better in one and at least as good in the other */
    int32_t subject;
} dot;

typedef struct plot {
    const page *page;
    const view *view;
    double unit; /* bytes of the unit of sizes */
    axis x, y;
    dot *dots; /* [n_dots], those that have both figures */
    size_t n_dots;
    dot reference;
    bool has_reference;
    placing placing;
    box avoided[N_AVOIDED];
} plot;

/* ---- Figures ---- */

static double positive(double v) { return v > 0 && isfinite(v) ? v : NAN; }

static estimate value_of(const plot *p, quantity q, int32_t i) {
    const subject *s = comparison_subject(p->page->c, i);
    const candidate *k = i < 0 ? NULL : &p->page->c->candidates[i];
    switch (q) {
    case FILE_SIZE: return (estimate){positive((double)s->file_bytes / p->unit), NAN};
    case DECODE: return (estimate){positive(s->decode), NAN};
    case PREFILL: return (estimate){positive(s->prefill), NAN};
    case KL_MEAN: /* rounding may leave it below 0 */
        if (!k) return (estimate){0, NAN};
        return (estimate){k->kl.mean.value < 0 ? 0 : k->kl.mean.value, k->kl.mean.error};
    case FIRST_CHOICE:
        return k ? (estimate){100 * k->agreement.value, 100 * k->agreement.error}
                 : (estimate){100, NAN};
    }
    return (estimate){NAN, NAN};
}

static dot make_dot(const plot *p, int32_t i) {
    estimate x = value_of(p, p->view->x, i), y = value_of(p, p->view->y, i);
    return (dot){.x = x.value, .y = y.value, .y_error = y.error, .subject = i};
}

static bool is_whole(const dot *d) { return isfinite(d->x) && isfinite(d->y); }

static void mark_best(plot *p) {
    int sx = quantities[p->view->x].sign, sy = quantities[p->view->y].sign;
    for (size_t i = 0; i < p->n_dots; i++) {
        dot *d = &p->dots[i];
        d->best = true;
        for (size_t k = 0; k < p->n_dots && d->best; k++) {
            double dx = sx * (p->dots[k].x - d->x), dy = sy * (p->dots[k].y - d->y);
            d->best = !(dx >= 0 && dy >= 0 && (dx > 0 || dy > 0));
        }
    }
}

/* From left to right. */
static int by_x(const void *a, const void *b) {
    double x = ((const dot *)a)->x, y = ((const dot *)b)->x;
    return (x > y) - (x < y);
}

/* ---- Axes ---- */

/* Two numbers for each candidate. */
static void fit_axes(plot *p, double *values) {
    quantity qx = p->view->x, qy = p->view->y;
    double low = INFINITY, high = -INFINITY, r = p->reference.x;
    size_t n = p->n_dots;
    for (size_t i = 0; i < n; i++) {
        values[i] = p->dots[i].x;
        low = fmin(low, values[i]);
        high = fmax(high, values[i]);
    }
    double near = 0.7 * (high - low);
    bool beyond = p->has_reference && high > low && (r > high + near || r < low - near);
    bool left = beyond && r < low;
    if (p->has_reference && !beyond) values[n] = r;
    p->x = axis_fit(quantities[qx].axis, values, n + (p->has_reference && !beyond),
                    left ? LEFT + BAND_X : LEFT, beyond && !left ? RIGHT - BAND_X : RIGHT);
    p->x.low = fmax(p->x.low, 0);
    if (beyond) p->x.beyond = left ? LEFT + BAND_X / 2 : RIGHT - BAND_X / 2;

    for (size_t i = 0; i < n; i++) values[i] = p->dots[i].y;
    if (p->has_reference) values[n] = p->reference.y;
    p->y = axis_fit(quantities[qy].axis, values, n + p->has_reference, BOTTOM, TOP);
    if (qy == FIRST_CHOICE) p->y.high = fmin(p->y.high, 100);
    if (p->y.log) { /* 0 is below all logarithms */
        p->y.from = BOTTOM - BAND_Y;
        p->y.beyond = BOTTOM - BAND_Y / 2;
    }
}

/* Two strokes across an axis that is cut here. */
static void draw_cut(FILE *out, double x, double y) {
    for (int i = -1; i <= 1; i += 2)
        html(out, "<path class=\"cut\" d=\"M$ $l6 -10\"/>", px(x - 3 + 2.5 * i).s, px(y + 5).s);
}

static void draw_x_axis(const plot *p) {
    FILE *out = p->page->out;
    double ticks[MAX_TICKS];
    size_t n = axis_ticks(&p->x, APART_X, ticks);
    for (size_t i = 0; i < n; i++) {
        double x = axis_at(&p->x, ticks[i]);
        html(out,
             "<path class=\"grid\" d=\"M$ $V$\"/><text x=\"$\" y=\"$\" class=\"tick mid\">$</text>",
             px(x).s, px(TOP).s, px(BOTTOM).s, px(x).s, px(BOTTOM + 17).s,
             axis_label(&p->x, APART_X, ticks[i]).s);
    }
    html(out, "<path class=\"axis\" d=\"M$ $H$\"/>", px(LEFT).s, px(BOTTOM).s, px(RIGHT).s);
    if (isfinite(p->x.beyond)) {
        bool left = p->x.beyond < p->x.from;
        draw_cut(out, left ? p->x.from : p->x.to, BOTTOM);
        html(out, "<text x=\"$\" y=\"$\" class=\"tick mid\">$</text>", px(p->x.beyond).s,
             px(BOTTOM + 17).s, figure_digits(p->reference.x, 3).s);
    }
    html(out, "<text x=\"$\" y=\"$\" class=\"name mid\">$ <tspan class=\"soft\">$$$</tspan></text>",
         px((LEFT + RIGHT) / 2.0).s, px(BOTTOM + 38).s,
         p->unit > 1e6 && p->view->x == FILE_SIZE ? "file size, GB" : quantities[p->view->x].title,
         quantities[p->view->x].sign < 0 ? "\xe2\x86\x90 " : "", quantities[p->view->x].better,
         quantities[p->view->x].sign > 0 ? " \xe2\x86\x92" : "");
}

static void draw_y_axis(const plot *p) {
    FILE *out = p->page->out;
    double ticks[MAX_TICKS];
    size_t n = axis_ticks(&p->y, APART_Y, ticks);
    for (size_t i = 0; i < n; i++) {
        double y = axis_at(&p->y, ticks[i]);
        html(out,
             "<path class=\"grid\" d=\"M$ $H$\"/><text x=\"$\" y=\"$\" class=\"tick end\">$</text>",
             px(LEFT).s, px(y).s, px(RIGHT).s, px(LEFT - 7).s, px(y + 4).s,
             axis_label(&p->y, APART_Y, ticks[i]).s);
    }
    html(out, "<path class=\"axis\" d=\"M$ $V$\"/>", px(LEFT).s, px(TOP).s, px(BOTTOM).s);
    if (isfinite(p->y.beyond)) {
        draw_cut(out, LEFT, p->y.from + 4);
        html(out,
             "<path class=\"grid\" d=\"M$ $H$\"/><text x=\"$\" y=\"$\" class=\"tick end\">0</text>",
             px(LEFT).s, px(p->y.beyond).s, px(RIGHT).s, px(LEFT - 7).s, px(p->y.beyond + 4).s);
    }
    html(out, "<text x=\"$\" y=\"$\" class=\"name\">$ <tspan class=\"soft\">$ $</tspan></text>",
         "0.0", px(16).s, quantities[p->view->y].title,
         quantities[p->view->y].sign < 0 ? "\xe2\x86\x93" : "\xe2\x86\x91",
         quantities[p->view->y].better);
}

/* ---- Points ---- */

/* Boxes along a line. */
static void avoid_line(plot *p, const dot *from, const dot *to, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double part = (double)(i + 1) / (double)(n + 1),
               x = from->at_x + part * (to->at_x - from->at_x),
               y = from->at_y + part * (to->at_y - from->at_y);
        p->avoided[p->placing.n_avoided++] = (box){x - 2, y - 2, x + 2, y + 2};
    }
}

static void draw_frontier(plot *p) {
    FILE *out = p->page->out;
    size_t n = 0;
    for (size_t i = 0; i < p->n_dots; i++) n += p->dots[i].best;
    if (n < 2) return;
    const dot *last = NULL;
    for (size_t i = 0; i < p->n_dots; i++) {
        if (!p->dots[i].best) continue;
        if (last)
            avoid_line(p, last, &p->dots[i], N_AVOIDED / (n - 1) < 24 ? N_AVOIDED / (n - 1) : 24);
        last = &p->dots[i];
    }
    p->placing.avoided = p->avoided;
    fputs("<path class=\"frontier\" d=\"", out);
    for (size_t i = 0, k = 0; i < p->n_dots; i++)
        if (p->dots[i].best)
            html(out, k++ ? "L$ $" : "M$ $", px(p->dots[i].at_x).s, px(p->dots[i].at_y).s);
    fputs("\"/>", out);
}

/* One standard error up and down, where the point does not hide it. */
static void draw_error(const plot *p, const dot *d) {
    if (!(d->y_error > 0) || !axis_holds(&p->y, d->y)) return;
    double up = axis_at(&p->y, fmin(d->y + d->y_error, p->y.high)),
           down = axis_at(&p->y, fmax(d->y - d->y_error, p->y.low));
    if (down - up > 2 * RADIUS + 3)
        html(p->page->out, "<path class=\"whisker\" d=\"M$ $V$\"/>", px(d->at_x).s, px(up).s,
             px(down).s);
}

static void draw_point(const plot *p, const dot *d) {
    FILE *out = p->page->out;
    estimate y = {d->y, d->y_error};
    short_name name = subject_name(p->page->c, &p->page->by, d->subject, NAME_CHARS);
    html(out, "<g><title>$: $ ($), $ ($)</title>", name.s, figure_digits(d->x, 4).s,
         p->unit > 1e6 && p->view->x == FILE_SIZE ? "file size, GB" : quantities[p->view->x].title,
         figure_estimate(y, 1, false, "").s, quantities[p->view->y].title);
    if (d->subject < 0)
        html(out, "<path class=\"reference\" d=\"M$ $l6.5 6.5l-6.5 6.5l-6.5 -6.5z\"/>",
             px(d->at_x).s, px(d->at_y - 6.5).s);
    else
        html(out, "<circle class=\"$\" cx=\"$\" cy=\"$\" r=\"$\"/>", d->best ? "dot best" : "dot",
             px(d->at_x).s, px(d->at_y).s, px(RADIUS).s);
    fputs("</g>", out);
}

static bool draw_label(plot *p, const dot *d) {
    short_name name = subject_name(p->page->c, &p->page->by, d->subject, PLOT_NAME_CHARS);
    place at;
    if (!placing_find(&p->placing, d->at_x, d->at_y, RADIUS + (d->subject < 0),
                      text_width(name.s, FONT), FONT, &at))
        return false;
    FILE *out = p->page->out;
    if (at.far)
        html(out, "<path class=\"lead\" d=\"M$ $L$ $\"/>", px(d->at_x).s, px(d->at_y).s,
             px(at.line_x).s, px(at.line_y).s);
    html(out, "<text x=\"$\" y=\"$\" text-anchor=\"$\" class=\"label$\">$</text>", px(at.x).s,
         px(at.y).s, at.anchor, d->subject < 0 ? " of-reference" : "", name.s);
    return true;
}

/* How many labels had no room. Labels of the best come first, and points are drawn over the lines that lead to them. */
static size_t draw_points(plot *p) {
    size_t n_left_out = 0;
    double r = RADIUS + 1;
    for (size_t i = 0; i < p->n_dots; i++) {
        const dot *d = &p->dots[i];
        placing_add(&p->placing, (box){d->at_x - r, d->at_y - r, d->at_x + r, d->at_y + r});
    }
    if (p->has_reference) {
        const dot *d = &p->reference;
        placing_add(&p->placing, (box){d->at_x - 8, d->at_y - 8, d->at_x + 8, d->at_y + 8});
        draw_label(p, d);
    }
    draw_frontier(p);
    for (int best = 1; best >= 0; best--)
        for (size_t i = 0; i < p->n_dots; i++)
            if (p->dots[i].best == best) n_left_out += !draw_label(p, &p->dots[i]);
    for (size_t i = 0; i < p->n_dots; i++) draw_error(p, &p->dots[i]);
    for (size_t i = 0; i < p->n_dots; i++) draw_point(p, &p->dots[i]);
    if (p->has_reference) draw_point(p, &p->reference);
    return n_left_out;
}

/* ---- One plot ---- */

static void prepare(plot *p, double *values) {
    const comparison *c = p->page->c;
    uint64_t largest = 0;
    for (int32_t i = 0; i < c->n_candidates; i++)
        if (c->candidates[i].about.file_bytes > largest)
            largest = c->candidates[i].about.file_bytes;
    p->unit = largest >= 2000000000u ? 1e9 : 1e6;
    p->n_dots = 0;
    for (int32_t i = 0; i < c->n_candidates; i++) {
        dot d = make_dot(p, i);
        if (is_whole(&d)) p->dots[p->n_dots++] = d;
    }
    if (p->n_dots) qsort(p->dots, p->n_dots, sizeof *p->dots, by_x);
    p->reference = make_dot(p, -1);
    p->has_reference = is_whole(&p->reference);
    mark_best(p);
    fit_axes(p, values);
    for (size_t i = 0; i < p->n_dots; i++) {
        p->dots[i].at_x = axis_at(&p->x, p->dots[i].x);
        p->dots[i].at_y = axis_at(&p->y, p->dots[i].y);
    }
    p->reference.at_x = axis_at(&p->x, p->reference.x);
    p->reference.at_y = axis_at(&p->y, p->reference.y);
    p->placing.n_taken = 0;
    p->placing.within = (box){LEFT + 2, TOP - 12, RIGHT + 12, BOTTOM - 1};
}

static void draw_plot(plot *p, int number) {
    FILE *out = p->page->out;
    const view *v = p->view;
    char id[16];
    snprintf(id, sizeof id, "plot-%d", number);
    html(out, "<figure><h3>$</h3>", v->title);
    if (p->n_dots == 0) {
        fputs("<p class=\"none\">No file has both figures.</p></figure>\n", out);
        return;
    }
    html(out,
         "<svg viewBox=\"0 0 $ $\" role=\"img\" aria-labelledby=\"$-t $-d\"><title "
         "id=\"$-t\">$</title>"
         "<desc id=\"$-d\">$ against $, a point for each of $ files. The tables below have the "
         "numbers.</desc>\n",
         figure_count(WIDTH).s, figure_count(HEIGHT).s, id, id, id, v->title, id,
         quantities[v->y].title, quantities[v->x].title, figure_count(p->n_dots).s);
    draw_x_axis(p);
    draw_y_axis(p);
    size_t n_left_out = draw_points(p), n_missing = (size_t)p->page->c->n_candidates - p->n_dots;
    fputs("</svg>", out);
    if (n_left_out || n_missing) {
        fputs("<p class=\"note\">", out);
        if (n_left_out)
            html(out, "Names that found no room: $; the tables have them. ",
                 figure_count(n_left_out).s);
        if (n_missing) html(out, "Left out, a figure is unknown: $.", figure_count(n_missing).s);
        fputs("</p>", out);
    }
    fputs("</figure>\n", out);
}

void page_plots(const page *p) {
    size_t n = (size_t)p->c->n_candidates + 1;
    dot *dots = calloc(n, sizeof *dots);
    double *values = calloc(n, sizeof *values);
    box *boxes = calloc(2 * n, sizeof *boxes);
    if (dots && values && boxes && n > 1) {
        fputs("<section id=\"plots\"><h2>Quality against size and speed</h2>\n"
              "<p class=\"note\"><span class=\"key\">\xe2\x97\x8f</span> no other file is better "
              "in one and as good in the other, "
              "<span class=\"key\">\xe2\x97\x8b</span> another is; <span class=\"key "
              "of-reference\">\xe2\x97\x86</span> the reference. "
              "Lines up and down: one standard error, where it is larger than the point.</p>\n<div "
              "class=\"plots\">\n",
              p->out);
        for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
            plot one = {.page = p, .view = &views[i], .dots = dots, .placing.taken = boxes};
            prepare(&one, values);
            draw_plot(&one, (int)i + 1);
        }
        fputs("</div></section>\n", p->out);
    }
    free(dots);
    free(values);
    free(boxes);
}
