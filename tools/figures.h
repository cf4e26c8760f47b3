/* Figures as people read them, and short names for models that are compared. Whatever is unknown (NaN; 0 where 0 is no figure) is an
 * en dash. */
#ifndef TOOLS_FIGURES_H
#define TOOLS_FIGURES_H

#include <stdbool.h>

#include "comparison.h"
#include "io.h"

#define UNKNOWN "\xe2\x80\x93"

typedef struct figure {
    char s[64];
} figure;

figure figure_count(uint64_t n);                  /* "12,345"; 0 is "0"                          */
figure figure_bytes(uint64_t n);                  /* "98.4 MB", 10^6 bytes; 0 is unknown          */
figure figure_seconds(double seconds);            /* "12 ms", "4.1 s", "3 min 20 s"; 0 is unknown */
figure figure_fixed(double value, int decimals);  /* "-1.20" with a true minus                    */
figure figure_digits(double value, int digits);   /* significant ones: "0.00123", "1.2e-07"       */
figure figure_positive(double value, int digits); /* the same; 0 and less are unknown             */
figure figure_percent(double share,
                      int decimals); /* "91.3%"                                      */

/* factor * value and its error, to the digits that the error leaves: "0.0123 ± 0.0004". `plus`: with a sign. */
figure figure_estimate(estimate e, double factor, bool plus, const char *unit);

/* ---- Names ---- */

/* The shortest kind of name by which all of them differ. */
typedef struct naming {
    enum { NAME_TYPE, NAME_FILE, NAME_PATH, NAME_NUMBER } kind;
    size_t prefix; /* bytes that all names begin with and that none needs */
} naming;

naming comparison_naming(const comparison *c);

typedef struct short_name {
    char s[144];
} short_name;

/* Of candidate i, or of the reference (i < 0): at most `max` characters (up to 32), the middle left out, valid UTF-8, not escaped. */
short_name subject_name(const comparison *c, const naming *by, int32_t i, size_t max);

/* The reference, or candidate i. */
const subject *comparison_subject(const comparison *c, int32_t i);

#endif
