/* Tasks: how many answers are right, and the difference to the reference with its interval, a point and whiskers. */
#include <math.h>

#include "compare_page.h"
#include "svg.h"

enum {
    WIDTH = 400,
    RIGHT = 346,
    TOP = 30,
    ROW = 24,
    FONT = 12,
    MARGIN_BELOW = 44,
    NAME = 16,
    APART = 48
};

static bool has_interval(const task_figures *f) { return isfinite(f->low) && isfinite(f->high); }

/* Of differences in percentage points, with 0 and some room on either side. */
static axis difference_axis(const comparison *c, int32_t task, double left) {
    double ends[2] = {0, 0};
    for (int32_t i = 0; i < c->n_candidates; i++) {
        const task_figures *f = &c->candidates[i].about.tasks[task];
        double values[] = {100 * f->difference.value, 100 * f->low, 100 * f->high};
        for (size_t k = 0; k < 3; k++) {
            if (!isfinite(values[k])) continue;
            ends[0] = fmin(ends[0], values[k]);
            ends[1] = fmax(ends[1], values[k]);
        }
    }
    return axis_fit(AXIS_PLAIN, ends, 2, left, RIGHT);
}

static double label_room(const page *p) {
    double room = 40;
    for (int32_t i = 0; i < p->c->n_candidates; i++)
        room = fmax(room, text_width(subject_name(p->c, &p->by, i, NAME).s, FONT));
    return fmin(room, 200) + 10;
}

static void draw_axis(const page *p, const axis *a, double bottom) {
    double ticks[MAX_TICKS];
    size_t n = axis_ticks(a, APART, ticks);
    for (size_t i = 0; i < n; i++) {
        double x = axis_at(a, ticks[i]);
        html(
            p->out,
            "<path class=\"grid\" d=\"M$ $V$\"/><text x=\"$\" y=\"$\" class=\"tick mid\">$$</text>",
            px(x).s, px(TOP - 4).s, px(bottom).s, px(x).s, px(bottom + 16).s,
            ticks[i] > 0 ? "+" : "", axis_label(a, APART, ticks[i]).s);
    }
    double zero = axis_at(a, 0);
    html(p->out,
         "<path class=\"zero\" d=\"M$ $V$\"/><text x=\"$\" y=\"$\" class=\"label of-reference "
         "mid\">reference</text>",
         px(zero).s, px(TOP - 8).s, px(bottom).s, px(zero).s, px(TOP - 14).s);
    html(p->out,
         "<text x=\"$\" y=\"$\" class=\"name mid\">difference in percentage points <tspan "
         "class=\"soft\">better \xe2\x86\x92</tspan></text>",
         px((a->from + a->to) / 2).s, px(bottom + 36).s);
}

static void draw_row(const page *p, int32_t task, int32_t i, const axis *a, double y) {
    const task_figures *f = &p->c->candidates[i].about.tasks[task];
    double difference = 100 * f->difference.value;
    html(p->out, "<text x=\"$\" y=\"$\" class=\"label end\">$</text>", px(a->from - 10).s,
         px(y + 4).s, subject_name(p->c, &p->by, i, NAME).s);
    if (isfinite(difference)) {
        html(p->out, "<g><title>$: $, 95% from $ to $</title>",
             subject_name(p->c, &p->by, i, NAME_CHARS).s, figure_fixed(difference, 2).s,
             figure_fixed(100 * f->low, 2).s, figure_fixed(100 * f->high, 2).s);
        if (has_interval(f)) {
            double low = axis_at(a, 100 * f->low), high = axis_at(a, 100 * f->high);
            html(p->out, "<path class=\"whisker\" d=\"M$ $v8M$ $H$M$ $v8\"/>", px(low).s,
                 px(y - 4).s, px(low).s, px(y).s, px(high).s, px(high).s, px(y - 4).s);
        }
        html(p->out, "<circle class=\"dot best\" cx=\"$\" cy=\"$\" r=\"4.5\"/></g>",
             px(axis_at(a, difference)).s, px(y).s);
    }
    html(p->out, "<text x=\"$\" y=\"$\" class=\"tick end\">$$</text>\n", px(WIDTH - 2).s,
         px(y + 4).s, difference > 0 ? "+" : "", figure_fixed(difference, 1).s);
}

static void draw_task(const page *p, int32_t task) {
    const comparison *c = p->c;
    double left = label_room(p), bottom = TOP + (double)ROW * c->n_candidates;
    axis a = difference_axis(c, task, left);
    const task_figures *reference = &c->reference.tasks[task];
    figure id = figure_count((uint64_t)task + 1);
    html(p->out, "<figure><h3>$</h3><p class=\"note\">$ questions. The reference has $ right",
         c->task_names[task], figure_count(c->task_sizes[task]).s,
         figure_estimate(reference->accuracy, 100, false, "%").s);
    if (c->task_guess[task] > 0)
        html(p->out, ", guessing $", figure_percent(c->task_guess[task], 0).s);
    html(p->out,
         ".</p>\n<svg viewBox=\"0 0 $ $\" role=\"img\" aria-labelledby=\"task-$-t "
         "task-$-d\"><title id=\"task-$-t\">$</title>"
         "<desc id=\"task-$-d\">Difference of the accuracy to the reference, with 95% intervals. "
         "The table below has the accuracies.</desc>\n",
         figure_count(WIDTH).s, px(bottom + MARGIN_BELOW).s, id.s, id.s, id.s, c->task_names[task],
         id.s);
    draw_axis(p, &a, bottom);
    for (int32_t i = 0; i < c->n_candidates; i++) draw_row(p, task, i, &a, TOP + ROW * (i + 0.5));
    fputs("</svg></figure>\n", p->out);
}

static void accuracy_table(const page *p) {
    const comparison *c = p->c;
    page_table_begin(p, "Right answers", NULL, "");
    for (int32_t t = 0; t < c->n_tasks; t++)
        html(p->out, "<th scope=\"col\" colspan=\"2\" class=\"num\">$</th>", c->task_names[t]);
    fputs("</tr></thead><tbody>\n", p->out);
    for (int32_t i = -1; i < c->n_candidates; i++) {
        page_row_head(p, i);
        for (int32_t t = 0; t < c->n_tasks; t++) {
            const task_figures *f = &comparison_subject(c, i)->tasks[t];
            bool known = isfinite(f->accuracy.value);
            html(p->out, "<td class=\"num soft\">$</td><td class=\"num\">$</td>",
                 known ? figure_count(f->n_right).s : "",
                 figure_estimate(f->accuracy, 100, false, "%").s);
        }
        fputs("</tr>\n", p->out);
    }
    page_table_end(p);
}

void page_tasks(const page *p) {
    if (p->c->n_tasks <= 0 || p->c->n_candidates <= 0) return;
    fputs("<section id=\"tasks\"><h2>Tasks</h2>\n<p class=\"note\">Questions with several answers; "
          "the difference to the reference is paired, "
          "question by question. Whiskers are 95% intervals: where they cross the line, the "
          "questions are too few to tell the two "
          "apart.</p>\n<div class=\"plots\">\n",
          p->out);
    for (int32_t t = 0; t < p->c->n_tasks; t++) draw_task(p, t);
    fputs("</div>\n", p->out);
    accuracy_table(p);
    fputs("</section>\n", p->out);
}
