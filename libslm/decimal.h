/* Numbers of JSON, exactly: D * 10^e with D of any length. */
#ifndef SLM_DECIMAL_H
#define SLM_DECIMAL_H

#include "base.h"

/* Longer numbers, and those of more digits before or behind the point, are no use as limits. */
enum { SLM__DIGITS = 310 };

typedef struct slm__decimal {
    bool negative; /* never of zero                                 */
    int32_t n;     /* digits of D; 0: zero                          */
    int32_t e;
    char digits[SLM__DIGITS]; /* no zeros at either end */
} slm__decimal;

/* `text` is a number of JSON. False: SLM__DIGITS is passed. */
bool slm__decimal_read(slm__str text, slm__decimal *out);

int slm__decimal_compare(const slm__decimal *a, const slm__decimal *b);

static inline bool slm__decimal_is_integer(const slm__decimal *a) { return a->n == 0 || a->e >= 0; }

/* Digits in front of the point, at least 1, and behind it. */
int32_t slm__decimal_whole(const slm__decimal *a);
int32_t slm__decimal_fraction(const slm__decimal *a);

/* The digit of 10^power. */
static inline int slm__decimal_digit(const slm__decimal *a, int32_t power) {
    int32_t i = a->n - 1 - (power - a->e);
    return i >= 0 && i < a->n ? a->digits[i] - '0' : 0;
}

/* The next multiple of 10^power that is not below (up) or not above (down) `a`; one further with `beyond` if `a` is itself one.
 * False: SLM__DIGITS is passed. */
bool slm__decimal_round(slm__decimal *a, int32_t power, bool up, bool beyond);

/* |a| mod m for an integer; 0 < m < 2^60. */
uint64_t slm__decimal_mod(const slm__decimal *a, uint64_t m);

#endif
