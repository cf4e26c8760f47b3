/* Plots in SVG: axes, and labels that do not cover one another. Lengths are pixels of the picture's own grid; colours and strokes come
 * of the page's style, by class. */
#ifndef TOOLS_SVG_H
#define TOOLS_SVG_H

#include <stdbool.h>

#include "figures.h"
#include "html.h"

figure px(double pixels); /* for html(): px(x).s */

/* ---- Axes ---- */

/* Values low .. high lie at from .. to; logarithmic if `log`. What is outside, in value or by nature (0 on a logarithmic axis), may have
 * a place of its own beyond the axis: `beyond`, NaN if there is none. */
typedef struct axis {
    double low, high, from, to, beyond;
    bool log;
} axis;

typedef enum axis_kind {
    AXIS_PLAIN, /* linear, as far as the values need                                                   */
    AXIS_LOG, /* logarithmic if the values span a factor of 8 or more, else linear from 0            */
} axis_kind;

/* An axis that has all finite values (of AXIS_LOG: those above 0), with some room at the ends. n_values may be 0. */
axis axis_fit(axis_kind kind, const double *values, size_t n_values, double from, double to);
double axis_at(const axis *a, double value); /* pixels; `beyond` where it is outside; NaN of NaN */
bool axis_holds(const axis *a, double value);

enum { MAX_TICKS = 12 };

/* Round values on the axis, at most MAX_TICKS, about one every `apart` pixels. */
size_t axis_ticks(const axis *a, double apart, double ticks[MAX_TICKS]);
figure axis_label(const axis *a, double apart, double tick);

/* ---- Text ---- */

double text_width(const char *s,
                  double size); /* pixels, rather more than less: the font is the reader's */

/* ---- Labels beside points ---- */

typedef struct box {
    double left, top, right, bottom;
} box;

/* Boxes that are taken; begin with {.within = ...} and room for as many as will be added. */
typedef struct placing {
    box within;
    box *taken;
    size_t n_taken;
    const box
        *avoided; /* [n_avoided] where a label may be, if there is no better place near its point */
    size_t n_avoided;
} placing;

void placing_add(placing *p, box b);
typedef struct place {
    double x, y;        /* of the text, its base line                          */
    const char *anchor; /* what of the text is at x: "start", "middle", "end"  */
    bool far;           /* a line should lead from the point to line_x, line_y */
    double line_x, line_y;
} place;

/* A free place for a text of this size beside the point (x, y) with the radius; taken from then on. False: there is none. */
bool placing_find(placing *p, double x, double y, double radius, double width, double size,
                  place *to);

#endif
