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
/* A heading, a note (may be NULL) and a table in a box that scrolls by itself, by keyboard too. */
void page_table_begin(const page *p, const char *title, const char *note, const char *class_name);
void page_table_end(const page *p);

void page_plots(const page *p);
bool page_has_layers(const page *p);
void page_layers(const page *p);
bool page_has_groups(const page *p);
void page_groups(const page *p);
void page_tasks(const page *p);
void page_departures(const page *p);

extern const char page_style[]; /* CSS */

#endif
