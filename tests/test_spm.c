/* SentencePiece: what scores decide, what files leave out, what no text becomes. Ids of another tokenizer: test_tokenize.c. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "support/suite.h"
#include "support/vocab_build.h"

#define SPACE "\xe2\x96\x81"

static vocab_build v;
static float scores[VB_MAX];
static slm_error err;

static int piece(const char *text, float score) {
    int id = vb_token(&v, text, VB_NORMAL);
    scores[id] = score;
    return id;
}

enum { UNKNOWN, BOS, EOS, BYTE_0 };

static void begin(bool bytes, bool prefix) {
    vb_free(&v);
    v = (vocab_build){.model = "llama", .no_merges = true};
    memset(scores, 0, sizeof scores);
    vb_token(&v, "<unk>", VB_UNKNOWN);
    vb_token(&v, "<s>", VB_CONTROL);
    vb_token(&v, "</s>", VB_CONTROL);
    for (int i = 0; bytes && i < 256; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)i);
        vb_token(&v, name, VB_BYTE);
    }
    if (!prefix) gb_bool(&v.file, "tokenizer.ggml.add_space_prefix", 0);
}

static slm_model *open_scored(void) {
    gb_array(&v.file, "tokenizer.ggml.scores", GB_F32, scores, (uint64_t)v.n);
    return vb_open(&v);
}

static void setup(void) { v = (vocab_build){0}; }
static void teardown(void) { vb_free(&v); }

START_TEST(test_the_highest_score_is_joined_first) {
    begin(true, false);
    int a = piece("a", -9), b = piece("b", -9), c = piece("c", -9), ab = piece("ab", -2);
    int bc = piece("bc", -1), abc = piece("abc", -8), aa = piece("aa", -3), cab = piece("cab", -4);
    slm_model *m = open_scored();
    VB_EXPECT(m, "abc", 0, abc);   /* bc, then a + bc */
    VB_EXPECT(m, "cab", 0, cab);   /* ab, then c + ab */
    VB_EXPECT(m, "aaa", 0, aa, a); /* of equal ones the leftmost */
    VB_EXPECT(m, "aab", 0, a, ab);
    VB_EXPECT(m, "bcb", 0, bc, b);
    VB_EXPECT(m, "cc", 0, c, c);
    VB_EXPECT(m, "", 0);
    slm_model_close(m);
}
END_TEST

START_TEST(test_spaces_and_the_one_in_front) {
    for (int prefix = 0; prefix < 2; prefix++) {
        begin(true, prefix);
        int a = piece("a", -1), space = piece(SPACE, -1), word = piece(SPACE "a", -2);
        int user = vb_token(&v, "[u]", VB_USER),
            plain = piece("a a", 0); /* no text has its space */
        const char *text;
        size_t n;
        slm_model *m = open_scored();
        if (prefix) {
            VB_EXPECT(m, "a", 0, word);
            VB_EXPECT(m, " a", 0, space, word);
            VB_EXPECT(m, "a a", 0, word, word);
            VB_EXPECT(m, "[u]a[u]", 0, user, word, user);
            VB_EXPECT(m, "", 0);
        } else {
            VB_EXPECT(m, "a", 0, a);
            VB_EXPECT(m, " a", 0, word);
            VB_EXPECT(m, "a a", 0, a, word);
            VB_EXPECT(m, "a" SPACE "a", 0, a, word);
            VB_EXPECT(m, "[u]a ", 0, user, a, space);
        }
        ck_assert_int_eq(slm_token_get(m, word, &text, &n, NULL), SLM_OK);
        ck_assert(n == 2 && memcmp(text, " a", 2) == 0);
        ck_assert_int_eq(slm_token_get(m, plain, &text, &n, NULL), SLM_OK);
        slm_model_close(m);
    }
}
END_TEST

START_TEST(test_what_is_no_piece_becomes_bytes) {
    begin(true, false);
    int a = piece("a", 0);
    slm_model *m = open_scored();
    VB_EXPECT(m, "a\xc3\xa9", 0, a, BYTE_0 + 0xc3, BYTE_0 + 0xa9);
    VB_EXPECT(m, " ", 0, BYTE_0 + 0xe2, BYTE_0 + 0x96, BYTE_0 + 0x81);
    VB_EXPECT(m, "\xff\0", 0, BYTE_0 + 0xff, BYTE_0);
    /* the length of a character is what its first byte says: it swallows a part of the space */
    VB_EXPECT(m, "\xc3 ", 0, BYTE_0 + 0xc3, BYTE_0 + 0xe2, BYTE_0 + 0x96, BYTE_0 + 0x81);
    slm_model_close(m);
    begin(false, false);
    a = piece("a", 0);
    m = open_scored();
    VB_EXPECT(m, "ab\xc3\xa9", 0, a, UNKNOWN, UNKNOWN, UNKNOWN);
    slm_model_close(m);
}
END_TEST

START_TEST(test_what_the_file_leaves_out) {
    begin(true, true);
    int word = piece(SPACE "a", 0);
    piece(SPACE, 0), piece("a", 0);
    slm_model *m = vb_open(&v); /* and without scores: the leftmost first */
    uint32_t attributes;
    ck_assert_int_eq(slm_token_bos(m), BOS);
    ck_assert_int_eq(slm_token_eos(m), EOS);
    ck_assert_int_eq(slm_token_get(m, EOS, NULL, NULL, &attributes), SLM_OK);
    ck_assert(attributes & SLM_TOKEN_EOG);
    VB_EXPECT(m, "a", SLM_TOKENIZE_BOS, BOS, word);
    slm_model_close(m);
    vb_free(&v); /* one token: there are no ids to fall back to */
    v = (vocab_build){.model = "llama", .no_merges = true};
    vb_token(&v, "a", VB_NORMAL);
    m = vb_open(&v);
    ck_assert(slm_token_bos(m) == SLM_TOKEN_NONE && slm_token_eos(m) == SLM_TOKEN_NONE);
    VB_EXPECT(m, "b", SLM_TOKENIZE_BOS, 0, 0, 0, 0); /* id 0 is the unknown one, for each byte */
    slm_model_close(m);
}
END_TEST

START_TEST(test_fault_50_no_special_token_is_made_from_text) {
    begin(true, false);
    int left = piece("<", -1), s = piece("s", -1), right = piece(">", -1), part = piece("<s", -1);
    int zero = piece("<0x4", 0), one = piece("1>", 0);
    piece("0", -1), piece("x", -1), piece("4", -1), piece("1", -1), piece("<0", -1),
        piece("<0x", -1);
    slm_model *m = open_scored();
    VB_EXPECT(m, "<s>", 0, part, right);
    VB_EXPECT(m, "<s>", SLM_TOKENIZE_SPECIAL, BOS);
    VB_EXPECT(m, "s<", 0, s, left);
    VB_EXPECT(m, "<0x41>", 0, zero, one);
    slm_model_close(m);
}
END_TEST

START_TEST(test_fault_40_scores_that_are_no_numbers) {
    static const float odd[] = {INFINITY, -INFINITY, -0.0f, 1e38f};
    begin(true, false);
    int a = piece("a", NAN);
    slm_model *m;
    gb_array(&v.file, "tokenizer.ggml.scores", GB_F32, scores, (uint64_t)v.n);
    ck_assert_int_eq(vb_try_open(&v, NULL, &m, &err), SLM_ERR_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.message, "tokenizer.ggml.scores"));
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        begin(true, false);
        a = piece("a", 0);
        int aa = piece("aa", odd[i]);
        m = open_scored();
        VB_EXPECT(m, "aaa", 0, aa, a);
        slm_model_close(m);
    }
}
END_TEST

static int make_one_word(void) {
    begin(true, true);
    int word = piece(SPACE "a", 0);
    piece(SPACE, 0), piece("a", 0);
    return word;
}

START_TEST(test_fault_84_nth_allocation_fails) { vb_nth_allocation_fails(&v, make_one_word, "a"); }
END_TEST

int main(void) {
    Suite *suite = suite_create("spm");
    TCase *c = tcase_create("spm");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, test_the_highest_score_is_joined_first);
    tcase_add_test(c, test_spaces_and_the_one_in_front);
    tcase_add_test(c, test_what_is_no_piece_becomes_bytes);
    tcase_add_test(c, test_what_the_file_leaves_out);
    tcase_add_test(c, test_fault_50_no_special_token_is_made_from_text);
    tcase_add_test(c, test_fault_40_scores_that_are_no_numbers);
    tcase_add_test(c, test_fault_84_nth_allocation_fails);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
