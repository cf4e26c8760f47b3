/* What the container gives back: values of every type, arrays, text, names, tensors; against a file that the Python
 * package gguf wrote (tests/make_gguf_fixture.py says what is in it and what to expect). */
#include <check.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../kernels/kernels.h"
#include "../libslm/gguf.h"
#include "support/gguf_build.h"
#include "support/strict.h"
#include "support/suite.h"

static gguf_build b;
static slm_error err;
static slm__gguf g;
static const slm_allocator standard;

static void teardown(void) {
    slm__gguf_close(&g);
    gb_free(&b);
}

static void parse_built(void) {
    size_t n;
    const void *file = gb_finish(&b, &n);
    slm_status s = slm__gguf_parse(&g, file, n, &standard, &err);
    ck_assert_msg(s == SLM_OK, "%s", err.message);
}

/* Element i of a key, NUL-terminated, in a buffer that the next call takes again. */
static const char *element(const slm__key *k, uint64_t i, size_t *n) {
    static char text[2000];
    ck_assert_int_eq(slm__gguf_value_text(k, i, text, sizeof text - 1, n), SLM_OK);
    text[*n] = '\0';
    return text;
}

/* ---- The file of the Python package ---- */

static void open_fixture(void) {
    slm_status s = slm__gguf_open(&g, "tests/data/gguf/from_python.gguf", false, &standard, &err);
    ck_assert_msg(s == SLM_OK, "%s", err.message);
}

START_TEST(test_python_values_as_text) {
    open_fixture();
    int n_checked = 0;
    for (int32_t i = 0; i < g.n_keys; i++) {
        char name[100];
        snprintf(name, sizeof name, "text:%s", g.key_names[i]);
        const slm__key *k = &g.keys[i], *texts;
        ck_assert_int_eq(slm__gguf_array(&g, name, GGUF_STRING, &texts, &err), SLM_OK);
        if (!texts) continue;
        ck_assert_uint_eq(k->n, texts->n);
        const uint8_t *at = texts->data;
        for (uint64_t j = 0; j < k->n; j++, n_checked++) {
            size_t n;
            slm__str expected = slm__gguf_next_string(&at);
            const char *got = element(k, j, &n);
            ck_assert_msg(n == expected.len && memcmp(got, expected.ptr, n) == 0,
                          "%s[%llu]: %s, expected %.*s", g.key_names[i], (unsigned long long)j, got,
                          (int)expected.len, expected.ptr);
        }
        ck_assert_ptr_eq(at, texts->data + texts->n_bytes);
    }
    ck_assert_int_gt(n_checked, 190);
    ck_assert_uint_eq(g.alignment, 64);
    ck_assert_uint_eq(g.version, 3);
}
END_TEST

static void check_floats(const slm__tensor *t) {
    char name[64];
    snprintf(name, sizeof name, "floats:%s", slm__type_info[t->type].name);
    const slm__tensor *expected = slm__gguf_tensor(&g, name);
    ck_assert_msg(expected != NULL, "%s", name);
    ck_assert_int_eq(memcmp(expected->dims, t->dims, sizeof t->dims), 0);
    ck_assert_uint_eq(t->n_bytes, t->row_bytes * (uint64_t)t->dims[1]);
    float row[256];
    ck_assert_int_le(t->dims[0], 256);
    for (int64_t r = 0; r < t->dims[1]; r++) {
        slm__kernels_level(0)->dequantize[t->type](t->data + (uint64_t)r * t->row_bytes, t->dims[0],
                                                   row);
        for (int64_t i = 0; i < t->dims[0]; i++) {
            float e = slm__read_f32(expected->data + 4 * (r * t->dims[0] + i));
            ck_assert_msg(fabsf(row[i] - e) <= 1e-5f * fabsf(e) + 1e-6f, "%s[%d][%d]: %g, not %g",
                          name, (int)r, (int)i, (double)row[i], (double)e);
        }
    }
}

START_TEST(test_python_tensors) {
    open_fixture();
    int seen[SLM_N_TYPES] = {0};
    for (int32_t i = 0; i < g.n_tensors; i++) {
        const slm__tensor *t = &g.tensors[i];
        ck_assert_ptr_eq(slm__gguf_tensor(&g, g.tensor_names[i]), t);
        ck_assert_uint_eq((uintptr_t)t->data % 64, 0);
        ck_assert(t->data > g.data && t->data + t->n_bytes <= g.data + g.n_bytes);
        if (slm__str_eq(t->name, slm__type_info[t->type].name) && t->type != SLM_F16)
            check_floats(t);
        seen[t->type]++;
    }
    for (int i = 0; i < SLM_N_TYPES; i++) ck_assert_int_gt(seen[i], 0);
    const slm__tensor *cube = slm__gguf_tensor(&g, "cube"), *one = slm__gguf_tensor(&g, "one");
    ck_assert(cube && one);
    ck_assert_int_eq(cube->n_dims, 3);
    ck_assert(cube->dims[0] == 4 && cube->dims[1] == 3 && cube->dims[2] == 2 && cube->dims[3] == 1);
    ck_assert_uint_eq(cube->n_bytes, 96);
    for (int i = 0; i < 24; i++) ck_assert(slm__read_f32(cube->data + 4 * i) == (float)i);
    ck_assert(one->n_dims == 1 && one->dims[0] == 1 && slm__read_f32(one->data) == 0.5f);
}
END_TEST

/* ---- Typed access ---- */

static void every_type(void) {
    gb_key_raw(&b, "u8", GB_U8, "\xff", 1);
    gb_key_raw(&b, "zero", GB_I8, "\0", 1);
    gb_key_raw(&b, "i8", GB_I8, "\x7f", 1);
    gb_key_raw(&b, "u16", GB_U16, "\xfe\xff", 2);
    gb_key_raw(&b, "i16", GB_I16, "\x02\x01", 2);
    gb_u32(&b, "u32", 0xfffffffe);
    gb_i32(&b, "i32", INT32_MAX);
    gb_u64(&b, "u64", UINT64_MAX);
    gb_key_raw(&b, "i64", GB_I64, "\xff\xff\xff\xff\xff\xff\xff\x7f", 8);
    gb_f32(&b, "f32", -1.5f);
    gb_key_raw(&b, "f64", GB_F64, "\0\0\0\0\0\0\xf8\x3f", 8);
    gb_bool(&b, "yes", 1);
    gb_bool(&b, "no", 0);
    gb_str(&b, "text", "words");
    gb_str(&b, "empty", "");
    gb_array(&b, "array", GB_U32, (uint32_t[]){7, 8}, 2);
    gb_key_raw(&b, "minus i8", GB_I8, "\xff", 1);
    gb_key_raw(&b, "minus i16", GB_I16, "\x00\x80", 2);
    gb_i32(&b, "minus i32", -1);
    gb_key_raw(&b, "minus i64", GB_I64, "\0\0\0\0\0\0\0\x80", 8);
    parse_built();
}

START_TEST(test_integers_of_every_size_serve_as_u64) {
    static const struct {
        const char *name;
        uint64_t value;
    } good[] = {{"u8", 255},        {"zero", 0},         {"i8", 127},
                {"u16", 65534},     {"i16", 258},        {"u32", 0xfffffffe},
                {"i32", INT32_MAX}, {"u64", UINT64_MAX}, {"i64", INT64_MAX}};
    every_type();
    for (size_t i = 0; i < SLM_COUNT(good); i++) {
        uint64_t v = 1;
        bool found = false;
        ck_assert_int_eq(slm__gguf_u64(&g, good[i].name, &v, &found, &err), SLM_OK);
        ck_assert(found && v == good[i].value);
    }
    static const char *const negative[] = {"minus i8", "minus i16", "minus i32", "minus i64"};
    for (size_t i = 0; i < SLM_COUNT(negative); i++) {
        uint64_t v = 77;
        bool found;
        ck_assert_int_eq(slm__gguf_u64(&g, negative[i], &v, &found, &err), SLM_ERR_RANGE);
        ck_assert_uint_eq(v, 77);
        strict_message(&err, SLM_ERR_RANGE);
        ck_assert_ptr_nonnull(strstr(err.message, negative[i]));
    }
}
END_TEST

START_TEST(test_floats_bools_strings_arrays) {
    every_type();
    double d = 0;
    bool found = false, yes = false;
    slm__str s;
    const slm__key *k;
    ck_assert(slm__gguf_f64(&g, "f32", &d, &found, &err) == SLM_OK && found && d == -1.5);
    ck_assert(slm__gguf_f64(&g, "f64", &d, &found, &err) == SLM_OK && found && d == 1.5);
    ck_assert(slm__gguf_bool(&g, "yes", &yes, &found, &err) == SLM_OK && found && yes);
    ck_assert(slm__gguf_bool(&g, "no", &yes, &found, &err) == SLM_OK && found && !yes);
    ck_assert(slm__gguf_str(&g, "text", &s, &found, &err) == SLM_OK && slm__str_eq(s, "words"));
    ck_assert(slm__gguf_str(&g, "empty", &s, &found, &err) == SLM_OK && found && s.len == 0);
    ck_assert(slm__gguf_array(&g, "array", GGUF_U32, &k, &err) == SLM_OK && k && k->n == 2);
    ck_assert(k->n_bytes == 8 && slm__read_i32(k->data + 4) == 8);
}
END_TEST

START_TEST(test_fault_15_wrong_type_and_missing_key) {
    every_type();
    /* for each key the accessors that serve: u64, f64, bool, str, array of u32 */
    static const struct {
        const char *name;
        bool serves[5];
    } rows[] = {
        {"u8", {1, 0, 0, 0, 0}},  {"i64", {1, 0, 0, 0, 0}},   {"f32", {0, 1, 0, 0, 0}},
        {"f64", {0, 1, 0, 0, 0}}, {"yes", {0, 0, 1, 0, 0}},   {"text", {0, 0, 0, 1, 0}},
        {"u32", {1, 0, 0, 0, 0}}, {"array", {0, 0, 0, 0, 1}}, {"missing", {1, 1, 1, 1, 1}},
        {"", {1, 1, 1, 1, 1}},
    };
    for (size_t i = 0; i < SLM_COUNT(rows); i++) {
        uint64_t u;
        double d;
        bool t, found[5] = {true, true, true, true, true};
        slm__str s;
        const slm__key *k = g.keys;
        const char *name = rows[i].name;
        slm_error e[5];
        const slm_status got[5] = {slm__gguf_u64(&g, name, &u, &found[0], &e[0]),
                                   slm__gguf_f64(&g, name, &d, &found[1], &e[1]),
                                   slm__gguf_bool(&g, name, &t, &found[2], &e[2]),
                                   slm__gguf_str(&g, name, &s, &found[3], &e[3]),
                                   slm__gguf_array(&g, name, GGUF_U32, &k, &e[4])};
        found[4] = k != NULL;
        for (int j = 0; j < 5; j++) {
            ck_assert_int_eq(got[j], rows[i].serves[j] ? SLM_OK : SLM_ERR_TYPE);
            if (got[j] == SLM_OK) {
                ck_assert_int_eq(found[j], i < 8);
            } else {
                strict_message(&e[j], SLM_ERR_TYPE);
                ck_assert(strstr(e[j].message, name) && strstr(e[j].message, "byte"));
            }
        }
    }
    const slm__key *k = g.keys;
    ck_assert_int_eq(slm__gguf_array(&g, "array", GGUF_I32, &k, &err), SLM_ERR_TYPE);
    ck_assert_ptr_null(k);
}
END_TEST

START_TEST(test_version_2_is_the_same) {
    b.version = 2;
    gb_str(&b, "general.name", "two");
    gb_tensor(&b, "t", 0, 1, (int64_t[]){2}, (float[]){3, 4}, 8);
    parse_built();
    ck_assert_uint_eq(g.version, 2);
    ck_assert_uint_eq(g.alignment, 32);
    slm__str s;
    bool found;
    ck_assert_int_eq(slm__gguf_str(&g, "general.name", &s, &found, &err), SLM_OK);
    ck_assert(found && slm__str_eq(s, "two"));
    ck_assert(slm__read_f32(slm__gguf_tensor(&g, "t")->data + 4) == 4);
}
END_TEST

/* ---- Names ---- */

START_TEST(test_names_are_found_among_many) {
    enum { N = 3000 };
    char name[32];
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "%d.key", i * 7919 % N);
        gb_u32(&b, name, (uint32_t)i);
        snprintf(name, sizeof name, "blk.%d.w", i * 7919 % N);
        gb_tensor(&b, name, 0, 1, (int64_t[]){1}, &(float){(float)i}, 4);
    }
    parse_built();
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "%d.key", i * 7919 % N);
        const slm__key *k = slm__gguf_key(&g, name);
        ck_assert_ptr_eq(k, &g.keys[i]);
        ck_assert_str_eq(g.key_names[i], name);
        ck_assert_int_eq(slm__read_i32(k->data), i);
        snprintf(name, sizeof name, "blk.%d.w", i * 7919 % N);
        const slm__tensor *t = slm__gguf_tensor(&g, name);
        ck_assert_ptr_eq(t, &g.tensors[i]);
        ck_assert_str_eq(g.tensor_names[i], name);
        ck_assert(slm__read_f32(t->data) == (float)i);
    }
    static const char *const absent[] = {"",         "0",       "0.ke", "0.keyy",
                                         "3000.key", "blk.0.w", "zzz",  "\xff"};
    for (size_t i = 0; i < SLM_COUNT(absent); i++) ck_assert_ptr_null(slm__gguf_key(&g, absent[i]));
    ck_assert_ptr_null(slm__gguf_tensor(&g, "0.key"));
}
END_TEST

START_TEST(test_file_without_keys_or_tensors) {
    parse_built();
    ck_assert(g.n_keys == 0 && g.n_tensors == 0);
    ck_assert_ptr_null(slm__gguf_key(&g, "general.alignment"));
    ck_assert_ptr_null(slm__gguf_tensor(&g, "t"));
}
END_TEST

/* As many strings as the largest vocabularies have, and as many keys as are allowed. */
START_TEST(test_large_files_open_fast) {
    gb_key_raw(&b, "tokens", GB_ARRAY, NULL, 0);
    gb_put_u32(&b.keys, GB_STRING);
    gb_put_u64(&b.keys, 262144);
    for (int i = 0; i < 262144; i++) gb_put_str(&b.keys, "some token", (size_t)i % 11);
    char name[64];
    for (int i = 1; i < 65536; i++) {
        snprintf(name, sizeof name, "the.same.begin.of.every.long.name.%d", i);
        gb_u32(&b, name, 0);
    }
    size_t n;
    const void *file = gb_finish(&b, &n);
    ck_assert_int_eq(strict_parse(file, n, &err), SLM_OK); /* within a second and its memory */
    parse_built();
    size_t len;
    ck_assert_str_eq(element(&g.keys[0], 262143, &len), "so");
}
END_TEST

START_TEST(test_tensor_pages_are_not_touched) {
    char path[] = "/tmp/slm_test_XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    enum { WEIGHTS = 16 << 20 };
    gb_tensor_raw(&b, "t", 1, 0, 1, (uint64_t[]){WEIGHTS / 4}, 0);
    size_t n;
    const void *file = gb_finish(&b, &n);
    ck_assert_int_eq(write(fd, file, n), (ssize_t)n);
    ck_assert_int_eq(ftruncate(fd, (off_t)n + WEIGHTS), 0); /* a hole: no page of it is in memory */
    ck_assert_int_eq(slm__gguf_open(&g, path, false, &standard, &err), SLM_OK);
    static unsigned char present[WEIGHTS / 4096];
    void *begin = (void *)(uintptr_t)(g.data + WEIGHTS / 2);
    ck_assert_int_eq(mincore(begin, WEIGHTS / 4, present), 0);
    int n_present = 0;
    for (int i = 0; i < WEIGHTS / 4 / 4096; i++) n_present += present[i] & 1;
    ck_assert_int_eq(n_present, 0);
    close(fd);
    unlink(path);
}
END_TEST

/* ---- Text of values ---- */

START_TEST(test_text_fails_as_promised) {
    gb_str_array(&b, "s", (const char *const[]){"", "four", "x"}, 3);
    gb_u32(&b, "u", 12345);
    gb_array(&b, "none", GB_STRING, NULL, 0);
    parse_built();
    char text[8] = "#######";
    size_t n = 99;
    ck_assert_int_eq(slm__gguf_value_text(&g.keys[0], 1, text, 3, &n), SLM_ERR_BUFFER);
    ck_assert(n == 4 && text[0] == '#');
    ck_assert_int_eq(slm__gguf_value_text(&g.keys[0], 1, text, 4, &n), SLM_OK);
    ck_assert(n == 4 && memcmp(text, "four###", 7) == 0);
    ck_assert_int_eq(slm__gguf_value_text(&g.keys[0], 0, NULL, 0, &n), SLM_OK);
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(slm__gguf_value_text(&g.keys[1], 0, NULL, 0, &n), SLM_ERR_BUFFER);
    ck_assert_uint_eq(n, 5);
    ck_assert_int_eq(slm__gguf_value_text(&g.keys[1], 0, text, 5, &n), SLM_OK);
    ck_assert(memcmp(text, "12345##", 7) == 0);
    static const struct {
        int key;
        uint64_t element;
    } absent[] = {{0, 3}, {0, UINT64_MAX}, {1, 1}, {2, 0}};
    for (size_t i = 0; i < SLM_COUNT(absent); i++) {
        n = 99;
        ck_assert_int_eq(
            slm__gguf_value_text(&g.keys[absent[i].key], absent[i].element, text, 8, &n),
            SLM_ERR_RANGE);
        ck_assert_uint_eq(n, 0);
    }
}
END_TEST

/* Digits of the significand, without point, sign and outer zeros. */
static int n_digits(const char *text) {
    int n = 0, zeros = 0;
    for (; *text && *text != 'e'; text++) {
        if (*text < '0' || *text > '9' || (n == 0 && *text == '0')) continue;
        zeros = *text == '0' ? zeros + 1 : 0;
        n++;
    }
    return n - zeros;
}

START_TEST(test_float_text_is_the_shortest_that_reads_back) {
    uint64_t state = 1;
    for (int i = 0; i < 40000; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t bits = state ^ state >> 31;
        bool wide = i % 2;
        slm__key k = {.type = wide ? GGUF_F64 : GGUF_F32, .n = 1, .data = (const uint8_t *)&bits};
        size_t n;
        const char *text = element(&k, 0, &n);
        double v = (double)slm__read_f32(k.data), back = (double)strtof(text, NULL);
        if (wide) {
            memcpy(&v, &bits, sizeof v);
            back = strtod(text, NULL);
        }
        if (isnan(v)) continue;
        ck_assert_msg(memcmp(&v, &back, sizeof v) == 0, "%s is not %.17g", text, v);
        char fewer[64];
        if (n_digits(text) < 2) continue;
        snprintf(fewer, sizeof fewer, "%.*e", n_digits(text) - 2, v);
        ck_assert_msg((wide ? strtod(fewer, NULL) : (double)strtof(fewer, NULL)) != v,
                      "%s does for %s", fewer, text);
    }
}
END_TEST

/* A locale with a decimal comma: one of the system's, or made by localedef. */
static bool set_comma_locale(const char *dir) {
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE",
                                        "fa_IR"};
    for (size_t i = 0; i < SLM_COUNT(names); i++) {
        if (setlocale(LC_ALL, names[i])) return true;
    }
    char command[200];
    snprintf(command, sizeof command, "localedef -c -i de_DE -f UTF-8 %s/de_DE.utf8 >%s/log 2>&1",
             dir, dir);
    if (system(command) != 0) return false;
    setenv("LOCPATH", dir, 1);
    return setlocale(LC_ALL, "de_DE.utf8") != NULL;
}

START_TEST(test_float_text_in_a_locale_with_a_comma) {
    char dir[] = "/tmp/slm_test_XXXXXX", command[64];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    bool comma = set_comma_locale(dir);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
    char shown[16];
    snprintf(shown, sizeof shown, "%.1f", 0.5);
    if (comma) ck_assert_str_ne(shown, "0.5");
    gb_array(&b, "f", GB_F32, (float[]){0.5f, -1.25e-7f, 123456.79f}, 3);
    parse_built();
    static const char *const expected[] = {"0.5", "-1.25e-07", "123456.79"};
    for (uint64_t i = 0; i < 3; i++) {
        size_t n;
        ck_assert_str_eq(element(g.keys, i, &n), expected[i]);
    }
    setlocale(LC_ALL, "C");
    if (!comma) printf("no locale with a decimal comma here: the test saw a point only\n");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("gguf_read");
    TCase *c = tcase_create("read");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, NULL, teardown);
    tcase_add_test(c, test_python_values_as_text);
    tcase_add_test(c, test_python_tensors);
    tcase_add_test(c, test_integers_of_every_size_serve_as_u64);
    tcase_add_test(c, test_floats_bools_strings_arrays);
    tcase_add_test(c, test_fault_15_wrong_type_and_missing_key);
    tcase_add_test(c, test_version_2_is_the_same);
    tcase_add_test(c, test_names_are_found_among_many);
    tcase_add_test(c, test_file_without_keys_or_tensors);
    tcase_add_test(c, test_large_files_open_fast);
    tcase_add_test(c, test_tensor_pages_are_not_touched);
    tcase_add_test(c, test_text_fails_as_promised);
    tcase_add_test(c, test_float_text_is_the_shortest_that_reads_back);
    tcase_add_test(c, test_float_text_in_a_locale_with_a_comma);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
