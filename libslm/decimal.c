#include "decimal.h"

static void tidy(slm__decimal *a) {
    int32_t zeros = 0;
    while (zeros < a->n && a->digits[zeros] == '0') zeros++;
    a->n -= zeros;
    memmove(a->digits, a->digits + zeros, (size_t)a->n);
    while (a->n && a->digits[a->n - 1] == '0') a->n--, a->e++;
    if (a->n == 0) *a = (slm__decimal){0};
}

/* The exponent of a number, capped. */
static int32_t read_exponent(slm__str text, size_t at) {
    int32_t e = 0;
    if (at == text.len) return 0;
    bool negative = text.ptr[++at] == '-';
    if (text.ptr[at] == '-' || text.ptr[at] == '+') at++;
    for (; at < text.len; at++)
        if (e < 1000000) e = e * 10 + (text.ptr[at] - '0');
    return negative ? -e : e;
}

bool slm__decimal_read(slm__str text, slm__decimal *out) {
    slm__decimal a = {.negative = text.len && text.ptr[0] == '-'};
    int64_t e = 0;
    size_t at = a.negative;
    bool point = false;
    for (; at < text.len && (text.ptr[at] | 32) != 'e'; at++) {
        if (text.ptr[at] == '.') {
            point = true;
            continue;
        }
        e -= point;
        if (a.n == 0 && text.ptr[at] == '0') continue;
        if (a.n == SLM__DIGITS) {
            /* zeros at the end may still go */
            if (text.ptr[at] != '0') return false;
            e++;
            continue;
        }
        a.digits[a.n++] = text.ptr[at];
    }
    e += read_exponent(text, at);
    if (a.n) {
        if (e > SLM__DIGITS || e < -SLM__DIGITS) return false;
        a.e = (int32_t)e;
    }
    tidy(&a);
    *out = a;
    return slm__decimal_whole(&a) <= SLM__DIGITS && slm__decimal_fraction(&a) <= SLM__DIGITS;
}

int32_t slm__decimal_whole(const slm__decimal *a) { return a->n + a->e > 1 ? a->n + a->e : 1; }

int32_t slm__decimal_fraction(const slm__decimal *a) { return a->e < 0 ? -a->e : 0; }

static int compare_magnitudes(const slm__decimal *a, const slm__decimal *b) {
    if (!a->n || !b->n) return (a->n != 0) - (b->n != 0);
    int32_t top_a = a->n + a->e, top_b = b->n + b->e;
    if (top_a != top_b) return top_a < top_b ? -1 : 1;
    int32_t low = a->e < b->e ? a->e : b->e;
    for (int32_t p = top_a - 1; p >= low; p--) {
        int x = slm__decimal_digit(a, p), y = slm__decimal_digit(b, p);
        if (x != y) return x < y ? -1 : 1;
    }
    return 0;
}

int slm__decimal_compare(const slm__decimal *a, const slm__decimal *b) {
    if (a->negative != b->negative) return a->negative ? -1 : 1;
    int c = compare_magnitudes(a, b);
    return a->negative ? -c : c;
}

/* |a| + 10^power; a is a multiple of it. */
static bool add_one(slm__decimal *a, int32_t power) {
    int32_t top = a->n ? a->n + a->e : power;
    if (top < power + 1) top = power + 1;
    int32_t n = top - power + 1; /* and a digit for the carry */
    if (n > SLM__DIGITS) return false;
    slm__decimal sum = {.negative = a->negative, .n = n, .e = power};
    int carry = 1;
    for (int32_t i = n - 1; i >= 0; i--) {
        int digit = slm__decimal_digit(a, power + n - 1 - i) + carry;
        carry = digit == 10;
        sum.digits[i] = (char)('0' + digit % 10);
    }
    tidy(&sum);
    *a = sum;
    return true;
}

/* |a| - 10^power; a is a multiple of it, and not zero. */
static bool subtract_one(slm__decimal *a, int32_t power) {
    int32_t n = a->n + a->e - power;
    if (n > SLM__DIGITS) return false;
    slm__decimal rest = {.negative = a->negative, .n = n, .e = power};
    int borrow = 1;
    for (int32_t i = n - 1; i >= 0; i--) {
        int digit = slm__decimal_digit(a, power + n - 1 - i) - borrow;
        borrow = digit < 0;
        rest.digits[i] = (char)('0' + digit + 10 * borrow);
    }
    tidy(&rest);
    *a = rest;
    return true;
}

bool slm__decimal_round(slm__decimal *a, int32_t power, bool up, bool beyond) {
    bool whole = a->n == 0 || a->e >= power;
    bool negative = a->negative;
    if (!whole) { /* towards zero */
        int32_t kept = a->n + a->e - power;
        a->n = kept > 0 ? kept : 0;
        a->e = power;
        tidy(a);
    }
    bool away = negative != up; /* from zero */
    if (whole ? !beyond : !away) return true;
    if (whole && !away && a->n) return subtract_one(a, power);
    a->negative = !up;
    return add_one(a, power);
}

uint64_t slm__decimal_mod(const slm__decimal *a, uint64_t m) {
    uint64_t rest = 0;
    for (int32_t p = a->n + a->e - 1; p >= 0 && a->n; p--)
        rest = (rest * 10 + (uint64_t)slm__decimal_digit(a, p)) % m;
    return rest;
}
