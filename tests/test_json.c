/* The reader of JSON: what RFC 8259 has and has not, where it stops (faults 54 and 74 in kind: depth, 1e400, invalid UTF-8), and memory. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../libslm/json.h"
#include "support/check_alloc.h"
#include "support/strict.h"
#include "support/suite.h"

static check_alloc counts;
static slm_allocator allocator;
static slm__json json;
static slm_error err;

static void setup(void) {
    counts = (check_alloc){0};
    allocator = check_allocator(&counts);
}

static void teardown(void) { ck_assert_int_eq(counts.n_live, 0); }

/* From a block that ends where the text ends. */
static slm_status parse(const char *text, size_t n) {
    char *copy = malloc(n ? n : 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, text, n);
    slm__clear(&err);
    slm_status s = slm__json_parse(&allocator, copy, n, &json, &err);
    free(copy);
    ck_assert_int_eq(err.status, s);
    return s;
}

static const slm__json_value *read(const char *text) {
    ck_assert_msg(parse(text, strlen(text)) == SLM_OK, "%s: %s", text, err.message);
    return json.values;
}

static void refused(const char *text, slm_status status, const char *message) {
    ck_assert_msg(parse(text, strlen(text)) == status, "%s", text);
    ck_assert_msg(strstr(err.message, message) != NULL, "%s: \"%s\" without \"%s\"", text,
                  err.message, message);
}

START_TEST(test_a_tree) {
    const slm__json_value *v =
        read(" {\"a\" : [1, -2.50e+3 ,true,false , null,\"x\"] , \"\" :{}, \"b\\n\":\"\" }\r\n\t");
    ck_assert_int_eq(v->kind, JSON_OBJECT);
    ck_assert_uint_eq(v->n, 3);
    const slm__json_value *a = slm__json_get(v, "a");
    ck_assert_ptr_eq(a, v->first);
    ck_assert_uint_eq(a->n, 6);
    ck_assert_uint_eq(a->offset, 8);
    static const slm__json_kind kinds[] = {JSON_NUMBER, JSON_NUMBER, JSON_TRUE,
                                           JSON_FALSE,  JSON_NULL,   JSON_STRING};
    const slm__json_value *item = a->first;
    for (size_t i = 0; i < SLM_COUNT(kinds); i++, item = item->next)
        ck_assert_int_eq(item->kind, kinds[i]);
    ck_assert_ptr_null(item);
    ck_assert(slm__str_eq(a->first->text, "1"));
    ck_assert(slm__str_eq(a->first->next->text, "-2.50e+3"));
    ck_assert_int_eq(slm__json_get(v, "")->kind, JSON_OBJECT);
    ck_assert_ptr_null(slm__json_get(v, "")->first);
    ck_assert_int_eq(slm__json_get(v, "b\n")->text.len, 0);
    ck_assert_ptr_null(slm__json_get(v, "c"));
    ck_assert_ptr_null(slm__json_get(a, "a"));
    slm__json_free(&json);
}
END_TEST

/* Strings and what they stand for, by RFC 8259, section 7. */
START_TEST(test_strings) {
    static const struct {
        const char *text, *want;
        size_t n;
    } cases[] = {
        {"\"\"", "", 0},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8},
        {"\"\\u0041\\u00e9\\u4F60\"", "A\303\251\344\275\240", 6},
        {"\"\\uD83D\\uDE00\"", "\360\237\230\200", 4},
        {"\"a\\u0000b\"", "a\0b", 3},
        {"\"\303\251\360\237\230\200\x7f\"", "\303\251\360\237\230\200\x7f", 7},
    };
    for (size_t i = 0; i < SLM_COUNT(cases); i++) {
        const slm__json_value *v = read(cases[i].text);
        ck_assert_int_eq(v->kind, JSON_STRING);
        ck_assert_uint_eq(v->text.len, cases[i].n);
        ck_assert_mem_eq(v->text.ptr, cases[i].want, cases[i].n);
        slm__json_free(&json);
    }
}
END_TEST

/* clang-format off */
static const char *const no_json[] = {
    "", " ", "nul", "nulll", "True", "[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "]", "{", "{]",
    "{\"a\"", "{\"a\":", "{\"a\":}", "{\"a\" 1}", "{\"a\":1,}", "{a:1}", "{1:1}", "{'a':1}",
    "[1}", "{\"a\":1]", "1 2", "[] []", "01", "-", "+1", ".5", "1.", "1.e3", "1e", "1e+", "-a",
    "0x10", "NaN", "Infinity", "-Infinity", "\"", "\"a", "\"\\\"", "\"\\", "\"\\x41\"",
    "\"\\u12\"", "\"\\u12g4\"", "\"\\u\"", "\"a\nb\"", "\"\t\"", "\"\\ud800\"",
    "\"\\ud800\\u0041\"", "\"\\ud800x\"", "\"\\udc00\"", "\"\\ud800\\ud800\"", "\"\x80\"",
    "\"\303\"", "\"\300\200\"", "\"\355\240\200\"", "\"\364\220\200\200\"", "// c\n1",
    "\357\273\277" "1", "[\f1]", "{\"a\":1 \"b\":2}",
};
/* clang-format on */

START_TEST(test_no_json) {
    for (size_t i = 0; i < SLM_COUNT(no_json); i++)
        refused(no_json[i], SLM_ERR_FORMAT, "JSON, line 1, column ");
    ck_assert_int_eq(parse("1\0", 2), SLM_ERR_FORMAT);
    ck_assert_int_eq(parse("\"\0\"", 3), SLM_ERR_FORMAT);
    ck_assert_int_eq(parse("\"\\\0\"", 4), SLM_ERR_FORMAT);
}
END_TEST

START_TEST(test_messages_name_the_place) {
    refused("{\"a\": 1,\n  \"b\": x}", SLM_ERR_FORMAT, "line 2, column 8");
    refused("[\n\n1 2]", SLM_ERR_FORMAT, "line 3, column 3");
    refused("{\"a\": 1, \"b\": 2, \"a\": 3}", SLM_ERR_FORMAT, "column 23: the object has the key");
    refused("{\"\\u0061\": 1, \"a\": 3}", SLM_ERR_FORMAT, "twice");
    read("[{\"a\": {\"a\": 1}}, {\"a\": 1, \"A\": 1, \"aa\": 1, \"\": 1}]");
    slm__json_free(&json);
}
END_TEST

/* Thousands of keys, in an order that sorting has to undo, and one that is there twice. */
START_TEST(test_many_keys) {
    enum { N = 5000 };
    char *text = malloc(N * 16);
    ck_assert_ptr_nonnull(text);
    for (int twice = 0; twice < 2; twice++) {
        size_t n = 0;
        text[n++] = '{';
        for (int i = 0; i < N; i++)
            n += (size_t)sprintf(text + n, "%s\"%x\":%d", i ? "," : "",
                                 (unsigned)((twice && i == N - 1 ? 7 : i) * 40503 % 65536), i);
        text[n++] = '}';
        ck_assert_int_eq(parse(text, n), twice ? SLM_ERR_FORMAT : SLM_OK);
        if (!twice) ck_assert_uint_eq(json.values->n, N);
        slm__json_free(&json);
    }
    free(text);
}
END_TEST

START_TEST(test_fault_74_depth) {
    enum { N = 100000 };
    char *text = malloc(2 * N);
    ck_assert_ptr_nonnull(text);
    memset(text, '[', N), memset(text + N, ']', N);
    double begin = strict_seconds();
    ck_assert_int_eq(parse(text, 2 * N), SLM_ERR_LIMIT);
    ck_assert_double_lt(strict_seconds() - begin, 1);
    ck_assert_int_eq(parse(text + N - SLM__JSON_DEPTH - 1, 2 * SLM__JSON_DEPTH + 2), SLM_ERR_LIMIT);
    ck_assert_int_eq(parse(text + N - SLM__JSON_DEPTH, 2 * SLM__JSON_DEPTH), SLM_OK);
    slm__json_free(&json);
    ck_assert_int_eq(parse(text + N - SLM__JSON_DEPTH, 2 * SLM__JSON_DEPTH - 1), SLM_ERR_FORMAT);
    free(text);
}
END_TEST

START_TEST(test_integers) {
    static const struct {
        const char *text;
        bool fits;
        int64_t want;
    } cases[] = {{"0", true, 0},
                 {"-0", true, 0},
                 {"42", true, 42},
                 {"9223372036854775807", true, INT64_MAX},
                 {"-9223372036854775808", true, INT64_MIN},
                 {"9223372036854775808", false, 0},
                 {"-9223372036854775809", false, 0},
                 {"1e400", false, 0},
                 {"1.0", false, 0},
                 {"\"1\"", false, 0}};
    for (size_t i = 0; i < SLM_COUNT(cases); i++) {
        int64_t got = 7;
        ck_assert_int_eq(slm__json_int(read(cases[i].text), &got), cases[i].fits);
        if (cases[i].fits) ck_assert_int_eq(got, cases[i].want);
        slm__json_free(&json);
    }
}
END_TEST

START_TEST(test_fault_84_no_memory) {
    const char *text = "{\"a\": [1, \"two\", {\"b\": null}]}";
    read(text);
    long n_calls = counts.n_calls;
    slm__json_free(&json);
    ck_assert_int_ge(n_calls, 3);
    for (long i = 1; i <= n_calls; i++) {
        counts = (check_alloc){.fail_at = i};
        refused(text, SLM_ERR_NOMEM, "no memory");
        ck_assert_int_eq(counts.n_live, 0);
    }
    counts = (check_alloc){0};
}
END_TEST

int main(void) {
    Suite *suite = suite_create("json");
    TCase *c = tcase_create("json");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, test_a_tree);
    tcase_add_test(c, test_strings);
    tcase_add_test(c, test_no_json);
    tcase_add_test(c, test_messages_name_the_place);
    tcase_add_test(c, test_many_keys);
    tcase_add_test(c, test_fault_74_depth);
    tcase_add_test(c, test_integers);
    tcase_add_test(c, test_fault_84_no_memory);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
