/* As much of the test library Check as the tests that run on ARM64 use: a cross compiler finds no libcheck.
 *
 * The names and what they mean are Check's, so that the sources of the tests are the same. What differs: tests run one after
 * the other in this process, so one that crashes ends all of them, and time limits are not kept. */
#ifndef TESTS_ARM_CHECK_H
#define TESTS_ARM_CHECK_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* ---- A test, and how it fails ---- */

#define START_TEST(name) static void name(int _i __attribute__((unused)))
#define END_TEST

/* Ends the test that runs. */
_Noreturn void check_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define ck_abort_msg(...) check_fail(__FILE__, __LINE__, __VA_ARGS__)
#define ck_assert_msg(condition, ...)                \
    do {                                             \
        if (!(condition)) ck_abort_msg(__VA_ARGS__); \
    } while (0)
#define ck_assert(condition) ck_assert_msg(condition, "not so: %s", #condition)

#define CHECK_NUMBERS(type, format, a, op, b)                                                    \
    do {                                                                                         \
        type a_ = (a), b_ = (b);                                                                 \
        ck_assert_msg(a_ op b_, "not so: %s: " format " " #op " " format, #a " " #op " " #b, a_, \
                      b_);                                                                       \
    } while (0)
#define CHECK_INTS(a, op, b)    CHECK_NUMBERS(intmax_t, "%jd", a, op, b)
#define CHECK_UINTS(a, op, b)   CHECK_NUMBERS(uintmax_t, "%ju", a, op, b)
#define CHECK_DOUBLES(a, op, b) CHECK_NUMBERS(double, "%g", a, op, b)

#define ck_assert_int_eq(a, b)           CHECK_INTS(a, ==, b)
#define ck_assert_int_ne(a, b)           CHECK_INTS(a, !=, b)
#define ck_assert_int_lt(a, b)           CHECK_INTS(a, <, b)
#define ck_assert_int_le(a, b)           CHECK_INTS(a, <=, b)
#define ck_assert_int_gt(a, b)           CHECK_INTS(a, >, b)
#define ck_assert_int_ge(a, b)           CHECK_INTS(a, >=, b)
#define ck_assert_uint_eq(a, b)          CHECK_UINTS(a, ==, b)
#define ck_assert_uint_ne(a, b)          CHECK_UINTS(a, !=, b)
#define ck_assert_uint_lt(a, b)          CHECK_UINTS(a, <, b)
#define ck_assert_uint_le(a, b)          CHECK_UINTS(a, <=, b)
#define ck_assert_uint_gt(a, b)          CHECK_UINTS(a, >, b)
#define ck_assert_double_lt(a, b)        CHECK_DOUBLES(a, <, b)
#define ck_assert_double_le(a, b)        CHECK_DOUBLES(a, <=, b)
#define ck_assert_double_gt(a, b)        CHECK_DOUBLES(a, >, b)
#define ck_assert_double_eq_tol(a, b, t) ck_assert_double_le(fabs((a) - (b)), t)
#define ck_assert_float_gt(a, b)         CHECK_DOUBLES(a, >, b)
#define ck_assert_float_le(a, b)         CHECK_DOUBLES(a, <=, b)
#define ck_assert_ptr_eq(a, b)           ck_assert((const void *)(a) == (const void *)(b))
#define ck_assert_ptr_ne(a, b)           ck_assert((const void *)(a) != (const void *)(b))
#define ck_assert_ptr_null(a)            ck_assert((const void *)(a) == NULL)
#define ck_assert_ptr_nonnull(a)         ck_assert((const void *)(a) != NULL)
#define ck_assert_str_eq(a, b)           ck_assert(strcmp(a, b) == 0)
#define ck_assert_mem_eq(a, b, n)        ck_assert(memcmp(a, b, n) == 0)

/* ---- All of them ---- */

typedef struct Suite Suite;
typedef struct TCase TCase;
typedef struct SRunner SRunner;
enum { CK_NORMAL };

Suite *suite_create(const char *name);
TCase *tcase_create(const char *name);
void tcase_set_timeout(TCase *c, double seconds);
/* Once for each _i of from .. to - 1. */
void check_add(const TCase *c, const char *name, void (*test)(int), int from, int to);
#define tcase_add_loop_test(c, test, from, to) check_add(c, #test, test, from, to)
#define tcase_add_test(c, test)                tcase_add_loop_test(c, test, 0, 1)
void suite_add_tcase(Suite *s, TCase *c);
SRunner *srunner_create(Suite *s);
void srunner_run_all(SRunner *r, int mode);
int srunner_ntests_failed(SRunner *r);
void srunner_free(SRunner *r);

#endif
