/* The parts of the HTML report, in the order of the page. Each writes whole elements, or nothing where there is nothing to show. */
#ifndef TOOLS_COMPARE_PAGE_H
#define TOOLS_COMPARE_PAGE_H

#include "compare_tables.h"
#include "html.h"

typedef struct page {
    const comparison *c;
    FILE *out;
    naming by;
} page;

enum { NAME_CHARS = 28, PLOT_NAME_CHARS = 20 };

/* The head of a row: the short name, the whole path on demand. i < 0: the reference. */
void page_row_head(const page *p, int32_t i);
/* A box that scrolls by itself, by keyboard too; closed by "</div>". */
void page_scroll_begin(const page *p, const char *label);

void page_plots(const page *p);
void page_layers(const page *p);
void page_groups(const page *p);
void page_tasks(const page *p);
void page_departures(const page *p);

extern const char page_style[]; /* CSS */

#endif
