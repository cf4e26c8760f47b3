/* What Python knows of code points beyond unicode.h: case, and what repr() escapes. Tables by make_jinja_tab.py. */
#ifndef SLM_JINJA_TAB_H
#define SLM_JINJA_TAB_H

#include <stdint.h>

/* Code points first, first + step ... last; each becomes itself + delta. Sorted. */
typedef struct jcase_run {
    uint32_t first, last;
    int32_t delta;
    uint32_t step;
} jcase_run;

/* Those that become several: [n] code points, 0 where there are less. */
typedef struct jcase_special {
    uint32_t from, to[3];
} jcase_special;

enum { TAB_LOWER, TAB_UPPER, TAB_TITLE, TAB_N };
extern const jcase_run *const slm__j_case_runs[TAB_N];
extern const uint32_t slm__j_n_case_runs[TAB_N];
extern const jcase_special *const slm__j_case_specials[TAB_N];
extern const uint32_t slm__j_n_case_specials[TAB_N];

/* First and last of what is not printable, from 7f on. */
extern const uint32_t slm__j_unprintable[][2];
extern const uint32_t slm__j_n_unprintable;

/* First and last of what isdigit() means, from 80 on. */
extern const uint32_t slm__j_digits[][2];
extern const uint32_t slm__j_n_digits;

/* First and last of what has case, from 80 on. */
extern const uint32_t slm__j_cased[][2];
extern const uint32_t slm__j_n_cased;

#endif
