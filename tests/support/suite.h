/* What every test program ends with, and how a call that must fail is checked. */
#ifndef TESTS_SUITE_H
#define TESTS_SUITE_H

#include <check.h>

/* Check notes the place of every assertion that holds in a file, to tell of it if a test dies: a call of the system each, which was most of the
 * time of tests with loops. Those that fail tell of their place all the same; of a test that dies, Check now names the beginning. */
#define _mark_point(file, line) ((void)0)

/* The call gives the status, and in the program's slm_error `err` the same and a message with the word. */
#define ASSERT_FAILS(call, wanted, word)                                                 \
    do {                                                                                 \
        err = (slm_error){0};                                                            \
        ck_assert_str_eq(slm_status_name(call), slm_status_name(wanted));                \
        ck_assert_int_eq(err.status, wanted);                                            \
        ck_assert_msg(strstr(err.message, word), "\"%s\" in \"%s\"", word, err.message); \
    } while (0)

/* Run all tests of the suite, which goes. Returns the exit code of the program. */
static inline int run_suite(Suite *suite) {
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}

#endif
