/* Vocabularies that are large, or made to be slow: limits, and tables that many of their tokens or merges meet in. Made in memory. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../libslm/tokens.h"
#include "support/check_alloc.h"
#include "support/strict.h"
#include "support/suite.h"
#include "support/vocab_case.h"

/* An array of n empty strings. */
static void empty_strings(const char *key, uint64_t n) {
    size_t n_bytes = 12 + 8 * (size_t)n;
    uint8_t *value = calloc(1, n_bytes);
    ck_assert_ptr_nonnull(value);
    value[0] = GB_STRING;
    memcpy(value + 4, &n, 8);
    gb_key_raw(&v.file, key, GB_ARRAY, value, n_bytes);
    free(value);
}

START_TEST(test_numbers_have_a_limit) {
    v.no_tokens = v.no_types = true;
    empty_strings("tokenizer.ggml.tokens", 917505);
    vb_expect_refused(&v, SLM_ERR_LIMIT, "917505 tokens");
    again();
    v.no_merges = true;
    empty_strings("tokenizer.ggml.merges", (1 << 20) + 1);
    vb_expect_refused(&v, SLM_ERR_LIMIT, "1048577 merges");
    again();
    char *merge = malloc(131075);
    memset(merge, 'a', 131074);
    merge[131074] = '\0';
    vb_merge_text(&v, merge);
    vb_expect_refused(&v, SLM_ERR_FORMAT, "too long");
    free(merge);
}
END_TEST

/* Four letters by a number. */
static void four_letters(uint32_t i, char out[5]) {
    for (int k = 0; k < 4; k++, i /= 26) out[k] = (char)('a' + i % 26);
    out[4] = '\0';
}

/* Add words whose place in the table of 1000 or 4000 tokens lies in [from, to), `each` of a place, in the order of places; `spare` is one
 * more of place `from`. */
static void add_words(int n, uint32_t from, uint32_t to, int each, char spare[5]) {
    static char words[8192][200][5];
    static int found[8192];
    const slm__tokens table = {.n_slots = n == 1000 ? 2048 : 8192};
    memset(found, 0, sizeof found);
    for (uint32_t i = 0; i < 26 * 26 * 26 * 26; i++) {
        char word[5];
        four_letters(i, word);
        uint32_t at = slm__tokens_place(&table, slm__tokens_key(word, 4).hash);
        if (found[at] < 200) memcpy(words[at][found[at]++], word, 5);
    }
    for (uint32_t at = from; at < to; at++) {
        ck_assert_int_gt(found[at], each);
        for (int k = 0; k < each; k++) vb_token(&v, words[at][found[at] - 2 - k], VB_NORMAL);
    }
    memcpy(spare, words[from][found[from] - 1], 5);
}

static void fill_up(int n) {
    while (v.n < n) vb_token(&v, "", VB_NORMAL);
}

/* Tokens made to meet at one place of the hash table are refused; where they are just not too many, a search for what is
 * not there ends too. */
START_TEST(test_tokens_that_share_a_hash) {
    char spare[5];
    add_words(1000, 700, 701, 100, spare);
    fill_up(1000);
    vb_expect_refused(&v, SLM_ERR_LIMIT, "share a hash");
    again();
    v.pre = "llama-bpe"; /* which looks for whole words */
    add_words(1000, 700, 750, 2, spare);
    fill_up(1000);
    slm_model *m = vb_open(&v);
    slm_token bytes[4];
    for (int i = 0; i < 4; i++) bytes[i] = spare[i];
    vb_expect(m, spare, 4, 0, bytes, 4);
    for (int i = 256; i < 356; i++) vb_expect(m, v.tokens[i], 4, 0, (slm_token[]){i}, 1);
    slm_model_close(m);
    /* no one is far from its place, but each of the last ones moves all the others */
    teardown();
    v = (vocab_build){.model = "llama", .no_merges = true};
    add_words(4000, 0, 3000, 1, spare);
    for (uint32_t at = 0; at < 50; at++) add_words(4000, 20 * at, 20 * at + 1, 2, spare);
    fill_up(4000);
    vb_expect_refused(&v, SLM_ERR_LIMIT, "share a hash, up to 304");
}
END_TEST

/* The same for merges; as tok_bpe.c hashes a pair, in a table of 1024. */
static uint32_t place_of_pair(uint32_t left, uint32_t right) {
    uint64_t pair = ((uint64_t)left << 21 | right) << 22;
    return (uint32_t)((pair ^ pair >> 32) * 0x9e3779b97f4a7c15u >> 54);
}

static bool is_letter(uint32_t c) { return c >= 'a' && c <= 'z'; }

/* Merges of two bytes whose places lie in [from, to), `each` of a place, in the order of places. `spare`: one more pair of
 * letters of place `from`, or none. */
static void add_merges(uint32_t from, uint32_t to, int each, char spare[3]) {
    spare[0] = '\0';
    for (uint32_t at = from; at < to; at++) {
        int used = 0;
        for (uint32_t pair = 0; pair < 65536; pair++) {
            uint32_t l = pair >> 8, r = pair & 255;
            if (l == 0 || r == 0 || place_of_pair(l, r) != at) continue;
            if (at == from && is_letter(l) && is_letter(r) && !spare[0]) {
                spare[0] = (char)l, spare[1] = (char)r, spare[2] = '\0';
            } else if (used++ < each) {
                vb_merge(&v, (char[]){(char)l, 0}, (char[]){(char)r, 0});
            }
        }
    }
}

static void check_merges(void) {
    ck_assert_int_gt(v.n_merges, 341); /* a table of 1024 has 342 to 682 */
    ck_assert_int_lt(v.n_merges, 683);
}

START_TEST(test_merges_that_share_a_hash) {
    char spare[3];
    add_merges(100, 110, 64, spare);
    check_merges();
    vb_expect_refused(&v, SLM_ERR_LIMIT, "share a hash");
    for (uint32_t from = 100; from < 700; from++) { /* a place that a pair of letters has */
        again();
        add_merges(from, from + 60, 2, spare);
        if (spare[0]) break;
    }
    char other[3];
    add_merges(800, 1024, 1, other);
    check_merges();
    ck_assert_int_ne(spare[0], 0);
    slm_model *m = vb_open(&v);
    vb_expect(m, spare, 2, 0, (slm_token[]){spare[0], spare[1]}, 2);
    slm_model_close(m);
}
END_TEST

/* Merges whose tokens come in their order are found without a look-up: not where a token is the same but stands for other bytes, or for
 * none, or is not the lowest of equal ones. */
START_TEST(test_tokens_in_the_order_of_merges) {
    int ab = vb_token(&v, "ab", VB_NORMAL);
    int abc = vb_token(&v, "abc", VB_NORMAL);
    int bc = vb_token(&v, "bc", VB_NORMAL);                        /* out of order */
    vb_token(&v, "\xc3\xaf\xc2\xbd", VB_NORMAL);                   /* EF BD */
    vb_token(&v, "\xef\xbd\x9c", VB_NORMAL);                       /* U+FF5C stands for no bytes */
    int bar = vb_token(&v, "\xc3\xaf\xc2\xbd\xc4\xbe", VB_NORMAL); /* EF BD 9C */
    vb_merge(&v, "a", "b");
    vb_merge(&v, "ab", "c");
    vb_merge(&v, "a", "bc");
    vb_merge(&v, "b", "c");
    vb_merge(&v, "\xef", "\xbd");
    vb_merge(&v, "\xef\xbd", "\x9c");
    slm_model *m = vb_open(&v);
    VB_EXPECT(m, "abcbcab", 0, abc, bc, ab);
    VB_EXPECT(m, "\xef\xbd\x9c", 0, bar);
    slm_model_close(m);
    again();
    ab = vb_token(&v, "ab", VB_NORMAL);
    abc = vb_token(&v, "abc", VB_NORMAL);
    vb_token(&v, "abcd", VB_NORMAL);
    vb_token(&v, "abc", VB_NORMAL);
    vb_merge(&v, "a", "b");
    vb_merge(&v, "abc", "d");
    vb_merge(&v, "ab", "c"); /* the token behind the last one has this text, too */
    m = vb_open(&v);
    VB_EXPECT(m, "abc", 0, abc);
    slm_model_close(m);
}
END_TEST

/* n strings, as `text` or, if that is NULL, three letters by their number. */
static void many_strings(const char *key, uint64_t n, const char *text) {
    size_t len = text ? strlen(text) : 3, n_bytes = 12 + (8 + len) * (size_t)n;
    uint8_t *value = calloc(1, n_bytes), *to = value + 12;
    ck_assert_ptr_nonnull(value);
    value[0] = GB_STRING;
    memcpy(value + 4, &n, 8);
    for (uint64_t i = 0; i < n; i++, to += 8 + len) {
        const uint64_t length = len;
        char letters[3] = {(char)('!' + i % 90), (char)('!' + i / 90 % 90),
                           (char)('!' + i / 8100 % 90)};
        memcpy(to, &length, 8);
        memcpy(to + 8, text ? text : letters, len);
    }
    gb_key_raw(&v.file, key, GB_ARRAY, value, n_bytes);
    free(value);
}

/* As many tokens, special tokens and merges as there may be: time and memory are those that a file may take that is refused, a second and
 * 16 MiB with twice its size. */
START_TEST(test_large_vocabularies_take_little) {
    enum { TOKENS = 14 << 16, SPECIAL = 1 << 15, MERGES = 699051 };
    const char *const models[] = {"gpt2", "llama", "t5"};
    static int32_t types[TOKENS];
    static float zeros[TOKENS];
    for (int i = 0; i < TOKENS; i++) types[i] = i < SPECIAL ? VB_CONTROL : VB_NORMAL;
    for (int round = 0; round < 12; round++) {
        int model = round % 3,
            kind = round / 3; /* of tokens: equal, distinct; with types or without; empty */
        again();
        v.model = models[model];
        v.no_tokens = v.no_types = v.no_merges = true;
        many_strings("tokenizer.ggml.tokens", TOKENS, kind == 3 ? "" : kind % 2 ? NULL : "a");
        if (model == 0) many_strings("tokenizer.ggml.merges", kind % 2 ? 0 : MERGES, "a a");
        if (model == 2) gb_array(&v.file, "tokenizer.ggml.scores", GB_F32, zeros, TOKENS);
        if (kind < 2) gb_array(&v.file, "tokenizer.ggml.token_type", GB_I32, types, TOKENS);
        size_t n;
        const void *file = vb_finish(&v, &n);
        check_alloc counts = {0};
        slm_model_params p = slm_model_defaults();
        p.allocator = check_allocator(&counts);
        p.vocab_only = true;
        slm_model *m;
        clock_t begin = clock();
        slm_status s = slm_model_open_memory(file, n, &p, &m, &err);
        double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
        ck_assert_msg(s == SLM_OK || s == SLM_ERR_FORMAT, "%d: %s", round, err.message);
        ck_assert_int_eq(s == SLM_ERR_FORMAT, model == 0 && kind % 2 == 0); /* no "aa" */
        ck_assert_msg(seconds < (sanitized() ? 10 : 1), "%d: %.2f s", round, seconds);
        ck_assert_msg(counts.peak <= (16 << 20) + 2 * (uint64_t)n, "%d: %.1f MB, file %.1f MB",
                      round, 1e-6 * (double)counts.peak, 1e-6 * (double)n);
        slm_model_close(m);
        ck_assert_int_eq(counts.n_live, 0);
    }
}
END_TEST

START_TEST(test_special_tokens_have_a_number) {
    static int32_t types[40000];
    v.no_tokens = v.no_types = true;
    many_strings("tokenizer.ggml.tokens", 40000, NULL);
    for (int i = 0; i < 40000; i++) types[i] = i < 32769 ? VB_CONTROL : VB_NORMAL;
    gb_array(&v.file, "tokenizer.ggml.token_type", GB_I32, types, 40000);
    vb_expect_refused(&v, SLM_ERR_LIMIT, "32769 special tokens, at most 32768");
}
END_TEST

START_TEST(test_special_tokens_have_a_limit) {
    char *text = malloc(65001);
    for (int i = 0; i < 9; i++) { /* 585,000 bytes */
        memset(text, 'a' + i % 26, 65000);
        text[i] = '!';
        text[65000] = '\0';
        vb_token(&v, text, VB_CONTROL);
    }
    vb_expect_refused(&v, SLM_ERR_LIMIT, "special tokens");
    free(text);
}
END_TEST

/* "a", "aa", "aaa" ...: all of them may end at every byte of a text, which would take memory without bounds. */
START_TEST(test_special_tokens_that_end_each_other_have_a_limit) {
    char text[64] = "";
    for (int i = 0; i < 33; i++) {
        text[i] = 'a';
        vb_token(&v, text, VB_USER);
    }
    slm_model *m = vb_open(&v);
    static slm_token out[4000];
    static char many[4000];
    size_t n;
    memset(many, 'a', sizeof many);
    ck_assert_int_eq(slm_tokenize(m, many, sizeof many, 0, out, 4000, &n, &err), SLM_OK);
    ck_assert_uint_eq(n, 4000 / 33 + 1); /* the longest, from the left; 4000 = 121 * 33 + 7 */
    ck_assert_int_eq(out[0], 256 + 32);
    ck_assert_int_eq(out[n - 1], 256 + 6);
    slm_model_close(m);
    again();
    memset(text, 0, sizeof text);
    for (int i = 0; i < 34; i++) {
        text[i] = 'a';
        vb_token(&v, text, VB_CONTROL);
    }
    vb_expect_refused(&v, SLM_ERR_LIMIT, "end each other");
}
END_TEST

/* Line ends of Gemma are tokens of 1 to 31: as many may end at each byte of a run of them. */
START_TEST(test_fault_48_long_run_of_special_tokens) {
    enum { N = 128 << 10 };
    char text[64] = "";
    for (int i = 0; i < 31; i++) {
        text[i] = '\n';
        vb_token(&v, text, VB_USER);
    }
    check_alloc counts = {0};
    slm_allocator allocator = check_allocator(&counts);
    slm_model *m;
    ck_assert_int_eq(vb_try_open(&v, &allocator, &m, &err), SLM_OK);
    uint64_t held = counts.n_bytes;
    counts.peak = held;
    static char run[N];
    static slm_token out[N];
    memset(run, '\n', N);
    size_t n;
    double best = 1;
    for (int i = 0; i < 20 && best >= .05; i++) {
        clock_t begin = clock();
        ck_assert_int_eq(slm_tokenize(m, run, N, 0, out, N, &n, &err), SLM_OK);
        double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
        if (seconds < best) best = seconds;
    }
    ck_assert_msg(best < (sanitized() ? 1 : .05), "%.0f ms", best * 1e3);
    ck_assert_msg(counts.peak - held < 64 * N, "%.0f bytes a byte",
                  (double)(counts.peak - held) / N);
    ck_assert_uint_eq(n, N / 31 + 1); /* N = 4228 * 31 + 4 */
    for (size_t i = 0; i + 1 < n; i++) ck_assert_int_eq(out[i], 256 + 30);
    ck_assert_int_eq(out[n - 1], 256 + 3);
    slm_model_close(m);
    ck_assert_int_eq(counts.n_live, 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("vocab_limits");
    TCase *c = tcase_create("vocab_limits");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, test_numbers_have_a_limit);
    tcase_add_test(c, test_tokens_that_share_a_hash);
    tcase_add_test(c, test_merges_that_share_a_hash);
    tcase_add_test(c, test_tokens_in_the_order_of_merges);
    tcase_add_test(c, test_large_vocabularies_take_little);
    tcase_add_test(c, test_special_tokens_have_a_number);
    tcase_add_test(c, test_special_tokens_have_a_limit);
    tcase_add_test(c, test_special_tokens_that_end_each_other_have_a_limit);
    tcase_add_test(c, test_fault_48_long_run_of_special_tokens);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
