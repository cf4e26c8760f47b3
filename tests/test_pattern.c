/* Pre-tokenizers: every row compiles, splits as HuggingFace's tokenizers does it (tests/make_split_fixtures.py), in linear time; what is no
 * pattern is refused. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../libslm/pretok.h"
#include "support/check_alloc.h"
#include "support/suite.h"

enum { MAX_LINE = 4096 };

static check_alloc counts;
static slm_allocator allocator;

static void make(slm__splitter *s, const char *name) {
    slm_error err;
    allocator = check_allocator(&counts);
    const slm__pretok *row = slm__pretok_find((slm__str){name, strlen(name)});
    ck_assert_msg(row != NULL, "%s", name);
    *s = (slm__splitter){0};
    ck_assert_msg(slm__splitter_make(s, row, &allocator, &err) == SLM_OK, "%s", err.message);
}

static size_t from_hex(const char *hex, uint8_t *out) {
    size_t n = 0;
    for (unsigned byte; sscanf(hex + 2 * n, "%2x", &byte) == 1; n++) out[n] = (uint8_t)byte;
    return n;
}

START_TEST(test_published_expressions) {
    FILE *f = fopen("tests/data/tok/splits.txt", "r");
    ck_assert_ptr_nonnull(f);
    static char line[MAX_LINE];
    static uint8_t text[MAX_LINE];
    int n_lines = 0;
    for (; fgets(line, sizeof line, f); n_lines++) {
        slm__splitter s;
        make(&s, strtok(line, " "));
        const char *hex = strtok(NULL, " ");
        size_t n = from_hex(hex, text), at = 0;
        slm__pieces pieces = {{0}};
        while (at < n) {
            at = slm__splitter_next(&s, &pieces, text, n, at);
            const char *end = strtok(NULL, " \n");
            ck_assert_msg(end && at == strtoul(end, NULL, 10),
                          "line %d, %s: word ends at %zu, not %s", n_lines + 1, line, at,
                          end ? end : "at all");
        }
        slm__splitter_free(&s, &allocator);
    }
    ck_assert_int_gt(n_lines, 1000);
    fclose(f);
}
END_TEST

/* Runs that a search for the next match could go over again and again. */
START_TEST(test_fault_48_every_row_is_linear) {
    enum { N = 128 << 10 };
    static uint8_t text[N];
    static const char *const units[] = {"a",  " ",  "7",   "\n", "-",          "A",
                                        "\t", "aB", " \n", "a ", "<sentinel:1"};
    size_t n_rows = 0;
    for (const slm__pretok *row; (row = slm__pretok_row(n_rows)) != NULL; n_rows++) {
        slm__splitter s;
        make(&s, row->name);
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            size_t n_unit = strlen(units[u]), n_words = 0, wrong = 0;
            for (size_t i = 0; i < N; i++) text[i] = (uint8_t)units[u][i % n_unit];
            slm__pieces pieces = {{0}};
            clock_t t = clock();
            for (size_t at = 0, end; at < N; at = end, n_words++) {
                end = slm__splitter_next(&s, &pieces, text, N, at);
                wrong += end <= at || end > N;
                if (wrong) break;
            }
            double seconds = (double)(clock() - t) / CLOCKS_PER_SEC;
            ck_assert_msg(seconds < (getenv("SAN") ? 1.5 : .05), "%s, \"%s\": %.3f s", row->name,
                          units[u], seconds);
            ck_assert_uint_eq(wrong, 0);
            ck_assert_uint_ge(n_words, 1);
        }
        slm__splitter_free(&s, &allocator);
    }
    ck_assert_uint_gt(n_rows, 70);
}
END_TEST

START_TEST(test_what_is_no_pattern) {
    static const char *const bad[] = {
        "",       "[a",    "a|",   "(?:a)", "(?:a|b", "(?:a(?:b)?)?",
        "\\p{X}", "\\w",   "a{",   "a{0}",  "a{2,1}", "\\u{",
        "\\u{g}", "[b-a]", "(?!a", "a)",    "\xc3",   "[\\u{100}-\\u{200}\\u{180}-\\u{300}]",
        "[~\\s]", "a$\\"};
    static slm__pattern p;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!slm__pattern_compile(&p, bad[i]), "%s", bad[i]);
    static char many[200];
    for (int i = 0; i < 99; i++) many[2 * i] = 'a', many[2 * i + 1] = '|';
    many[198] = 'a';
    ck_assert(!slm__pattern_compile(&p, many));
    ck_assert(slm__pattern_compile(&p, "a{2,3}|[^\\s~ ]|\\u{4e00}+(?!\\S)|x(?:b|c)?"));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("pattern");
    TCase *c = tcase_create("pattern");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, test_published_expressions);
    tcase_add_test(c, test_fault_48_every_row_is_linear);
    tcase_add_test(c, test_what_is_no_pattern);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
