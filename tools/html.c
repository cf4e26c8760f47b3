#include "html.h"

#include <string.h>

#include "text.h"

void html_text(FILE *out, const char *s) {
    size_t n = s ? strlen(s) : 0;
    while (n > 0) {
        uint32_t code = 0;
        size_t length = utf8_visible(s, n, &code);
        switch (code) {
        case '&': fputs("&amp;", out); break;
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '"': fputs("&quot;", out); break;
        case '\'': fputs("&#39;", out); break;
        case 0xfffd: fputs("\xef\xbf\xbd", out); break;
        default: fwrite(s, 1, length, out);
        }
        s += length;
        n -= length;
    }
}

void html_fill(FILE *out, size_t n, const char *const *parts) {
    size_t next = 1;
    for (const char *p = parts[0]; *p; p++) {
        if (*p != '$')
            fputc(*p, out);
        else if (next < n)
            html_text(out, parts[next++]);
    }
}
