/* HTML and SVG, so that nothing gets into a page unescaped. */
#ifndef TOOLS_HTML_H
#define TOOLS_HTML_H

#include <stddef.h>
#include <stdio.h>

/* html(out, "<td title=\"$\">$</td>", title, text): the pattern, each $ of it replaced by the next text (a const char *; NULL is empty),
 * which may be any bytes: it becomes what can stand in an element or between double quotes, in HTML and in XML. */
#define html(out, ...)                                                           \
    html_fill(out, sizeof((const char *[]){__VA_ARGS__}) / sizeof(const char *), \
              (const char *[]){__VA_ARGS__})

void html_fill(FILE *out, size_t n, const char *const *parts);
void html_text(FILE *out, const char *s);

#endif
