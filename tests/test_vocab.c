/* Loading a vocabulary: faults 38 to 46, what tokens are and say, failing memory. Vocabularies are made in memory. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../libslm/unicode.h"
#include "support/check_alloc.h"
#include "support/vocab_case.h"
#include "support/suite.h"

/* ---- Tokens ---- */

static uint32_t attributes_of(const slm_model *m, slm_token token) {
    uint32_t a = 12345;
    ck_assert_int_eq(slm_token_get(m, token, NULL, NULL, &a), SLM_OK);
    return a;
}

static void check_text(const slm_model *m, slm_token token, const char *bytes, size_t n) {
    const char *text = NULL;
    size_t n_bytes = 999;
    ck_assert_int_eq(slm_token_get(m, token, &text, &n_bytes, NULL), SLM_OK);
    ck_assert_uint_eq(n_bytes, n);
    ck_assert_mem_eq(text, bytes, n);
}

START_TEST(test_tokens_and_what_they_stand_for) {
    int space_a = vb_merge(&v, " ", "a"), accent = vb_merge(&v, "\xc3", "\xa9");
    int control = vb_token(&v, "<|x|>", VB_CONTROL), user = vb_token(&v, "<\xc4\xa0>", VB_USER);
    int unknown = vb_token(&v, "<unk>", VB_UNKNOWN), unused = vb_token(&v, "[u1]", VB_UNUSED);
    int byte = vb_token(&v, "<0xfE>", VB_BYTE), zero = vb_token(&v, "<0x00>", VB_BYTE);
    int foreign = vb_token(&v, "\xe2\x96\x81w", VB_NORMAL), space = vb_token(&v, "a b", VB_NORMAL);
    slm_model *m = vb_open(&v);
    for (int b = 0; b < 256; b++) {
        char c = (char)b;
        check_text(m, b, &c, 1);
        ck_assert_uint_eq(attributes_of(m, b), 0);
    }
    check_text(m, space_a, " a", 2);
    check_text(m, accent, "\xc3\xa9", 2);
    check_text(m, control, "<|x|>", 5);
    check_text(m, user, "<\xc4\xa0>",
               4); /* by its own text, not by the bytes that it would be written with */
    check_text(m, unknown, "<unk>", 5);
    check_text(m, unused, "[u1]", 4);
    check_text(m, byte, "\xfe", 1);
    check_text(m, zero, "\0", 1);
    check_text(m, foreign, "\xe2\x96\x81w", 4);
    check_text(m, space, "a b", 3);
    ck_assert_uint_eq(attributes_of(m, control), SLM_TOKEN_CONTROL);
    ck_assert_uint_eq(attributes_of(m, user), SLM_TOKEN_USER);
    ck_assert_uint_eq(attributes_of(m, unknown), SLM_TOKEN_UNKNOWN);
    ck_assert_uint_eq(attributes_of(m, unused), SLM_TOKEN_UNUSED);
    ck_assert_uint_eq(attributes_of(m, byte), SLM_TOKEN_BYTE);
    slm_model_info info = {.size = sizeof info};
    ck_assert_int_eq(slm_model_get_info(m, &info), SLM_OK);
    ck_assert_int_eq(info.n_vocab, v.n);
    slm_model_close(m);
}
END_TEST

START_TEST(test_without_types_all_tokens_are_normal) {
    int t = vb_token(&v, "<x>", VB_CONTROL);
    v.no_types = true;
    slm_model *m = vb_open(&v);
    ck_assert_uint_eq(attributes_of(m, t), 0);
    VB_EXPECT(m, "<x>", SLM_TOKENIZE_SPECIAL, '<', 'x', '>');
    slm_model_close(m);
}
END_TEST

START_TEST(test_begin_and_end) {
    int bos = vb_token(&v, "<b>", VB_CONTROL), eos = vb_token(&v, "<e>", VB_CONTROL);
    int eot = vb_token(&v, "<t>", VB_CONTROL), eom = vb_token(&v, "<m>", VB_CONTROL);
    int pad = vb_token(&v, "<p>", VB_CONTROL);
    gb_u32(&v.file, "tokenizer.ggml.bos_token_id", (uint32_t)bos);
    gb_i32(&v.file, "tokenizer.ggml.eos_token_id", eos);
    gb_u64(&v.file, "tokenizer.ggml.eot_token_id", (uint64_t)eot);
    gb_u32(&v.file, "tokenizer.ggml.eom_token_id", (uint32_t)eom);
    gb_u32(&v.file, "tokenizer.ggml.padding_token_id", (uint32_t)pad);
    slm_model *m = vb_open(&v);
    ck_assert_int_eq(slm_token_bos(m), bos);
    ck_assert_int_eq(slm_token_eos(m), eos);
    ck_assert_uint_eq(attributes_of(m, bos), SLM_TOKEN_CONTROL);
    ck_assert_uint_eq(attributes_of(m, eos), SLM_TOKEN_CONTROL | SLM_TOKEN_EOG);
    ck_assert_uint_eq(attributes_of(m, eot), SLM_TOKEN_CONTROL | SLM_TOKEN_EOG);
    ck_assert_uint_eq(attributes_of(m, eom), SLM_TOKEN_CONTROL | SLM_TOKEN_EOG);
    ck_assert_uint_eq(attributes_of(m, pad), SLM_TOKEN_CONTROL);
    VB_EXPECT(m, "a", SLM_TOKENIZE_BOS, 'a'); /* gpt-2 does not ask for one */
    slm_model_close(m);

    again();
    m = vb_open(&v);
    ck_assert_int_eq(slm_token_bos(m), SLM_TOKEN_NONE);
    ck_assert_int_eq(slm_token_eos(m), SLM_TOKEN_NONE);
    slm_model_close(m);
}
END_TEST

START_TEST(test_bos_is_added_when_the_file_or_its_tokenizer_asks) {
    static const struct {
        const char *pre;
        int key; /* -1: none */
        bool bos_id, added;
    } cases[] = {{"gpt-2", -1, true, false},     {"gpt-2", 1, true, true},
                 {"gpt-2", 0, true, false},      {"llama-bpe", -1, true, true},
                 {"llama-bpe", 0, true, false},  {"llama-bpe", -1, false, false},
                 {"llama-bpe", 0, false, false}, {"qwen2", -1, true, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        again();
        v.pre = cases[i].pre;
        int bos = vb_token(&v, "<b>", VB_CONTROL);
        if (cases[i].bos_id) gb_u32(&v.file, "tokenizer.ggml.bos_token_id", (uint32_t)bos);
        if (cases[i].key >= 0) gb_bool(&v.file, "tokenizer.ggml.add_bos_token", cases[i].key);
        slm_model *m = vb_open(&v);
        if (cases[i].added) {
            VB_EXPECT(m, "a", SLM_TOKENIZE_BOS, bos, 'a');
            VB_EXPECT(m, "", SLM_TOKENIZE_BOS, bos);
        } else {
            VB_EXPECT(m, "a", SLM_TOKENIZE_BOS, 'a');
        }
        VB_EXPECT(m, "a", 0, 'a');
        slm_model_close(m);
    }
    again();
    gb_bool(&v.file, "tokenizer.ggml.add_bos_token", 1);
    vb_expect_refused(&v, SLM_ERR_MISMATCH, "bos_token_id");
    again();
    gb_u32(&v.file, "tokenizer.ggml.add_bos_token", 1);
    vb_expect_refused(&v, SLM_ERR_TYPE, "add_bos_token");
    again();
    gb_u32(&v.file, "tokenizer.ggml.add_eos_token", 1);
    vb_expect_refused(&v, SLM_ERR_TYPE, "add_eos_token");
}
END_TEST

/* Files leave out the type of well-known tokens: their text tells, as in the reference. */
START_TEST(test_tokens_known_by_their_text) {
    static const char *const ends[] = {
        "<|im_end|>", "<|eot_id|>",      "<|end|>",     "<|endoftext|>", "<end_of_turn>", "</s>",
        "<|eom_id|>", "<|end_of_text|>", "<|fim_pad|>", "<|file_sep|>",  "<|repo_name|>"};
    static const char *const others[] = {"<|fim_prefix|>", "<fim_suffix>", "<fim-middle>"};
    int end_ids[11], other_ids[3];
    for (int i = 0; i < 11; i++) end_ids[i] = vb_token(&v, ends[i], i % 2 ? VB_NORMAL : VB_CONTROL);
    for (int i = 0; i < 3; i++) other_ids[i] = vb_token(&v, others[i], VB_NORMAL);
    int deepseek = vb_token(
        &v, "<\xef\xbd\x9c\x65nd\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>", VB_NORMAL);
    int plain = vb_token(&v, "<|other|>", VB_NORMAL);
    slm_model *m = vb_open(&v);
    for (int i = 0; i < 11; i++)
        ck_assert_uint_eq(attributes_of(m, end_ids[i]), SLM_TOKEN_CONTROL | SLM_TOKEN_EOG);
    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(attributes_of(m, other_ids[i]), SLM_TOKEN_CONTROL);
    ck_assert_uint_eq(attributes_of(m, deepseek), SLM_TOKEN_CONTROL | SLM_TOKEN_EOG);
    ck_assert_uint_eq(attributes_of(m, plain), 0);
    VB_EXPECT(m, "<|eot_id|>x", SLM_TOKENIZE_SPECIAL, end_ids[1], 'x');
    slm_model_close(m);

    /* a key for the role: no text is asked */
    again();
    int prefix = vb_token(&v, "<fim_prefix>", VB_NORMAL), own = vb_token(&v, "<own>", VB_CONTROL);
    gb_u32(&v.file, "tokenizer.ggml.fim_pre_token_id", (uint32_t)own);
    m = vb_open(&v);
    ck_assert_uint_eq(attributes_of(m, prefix), 0);
    slm_model_close(m);
}
END_TEST

/* Counts and sums (s = s * 31 + yes, 32 bits, over all code points) made with Python's unicodedata2 15.1.0, from
 * category(chr(c))[0] == 'L' and == 'N'; the 25 spaces are White_Space of PropList.txt. */
START_TEST(test_classes_of_code_points) {
    uint32_t letters = 0, numbers = 0, spaces = 0, letter_sum = 0, number_sum = 0;
    for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
        slm__class c = slm__class_of(cp);
        bool letter = c == CLASS_LETTER || c == CLASS_UPPER || c == CLASS_LOWER;
        letters += letter;
        numbers += c == CLASS_NUMBER;
        spaces += c == CLASS_SPACE;
        letter_sum = letter_sum * 31 + letter;
        number_sum = number_sum * 31 + (c == CLASS_NUMBER);
    }
    ck_assert_uint_eq(letters, 136726);
    ck_assert_uint_eq(numbers, 1831);
    ck_assert_uint_eq(spaces, 25);
    ck_assert_uint_eq(letter_sum, 2266731952u);
    ck_assert_uint_eq(number_sum, 677959939u);
    ck_assert_int_eq(slm__class_of(0x10ffff), CLASS_OTHER);
    ck_assert_int_eq(slm__class_of(0x2ebf0), CLASS_LETTER); /* came with 15.1 */
    ck_assert_int_eq(slm__class_of(0x1c89), CLASS_OTHER);   /* comes with 16 */
}
END_TEST

/* ---- Faults ---- */

START_TEST(test_fault_38_no_tokens) {
    v.no_tokens = true;
    vb_expect_refused(&v, SLM_ERR_MISMATCH, "tokenizer.ggml.tokens");
    again();
    while (v.n > 0) free(v.tokens[--v.n]);
    vb_expect_refused(&v, SLM_ERR_MISMATCH, "tokenizer.ggml.tokens");
    again();
    v.no_tokens = true;
    gb_array(&v.file, "tokenizer.ggml.tokens", GB_I32, v.types, 256);
    vb_expect_refused(&v, SLM_ERR_TYPE, "tokenizer.ggml.tokens");
}
END_TEST

START_TEST(test_fault_39_merges_missing_or_malformed) {
    static const char *const bad[] = {
        "",       " ",      "ab",     "a",          " a",  "a ",
        "a b c",  "a  b",   "a xy",   "xy a",       "a z", "a \xe2\x96\x81",
        "\xff a", "a\tb c", "a \xc4", "a \xc5\x84", /* U+0144 is one beyond the bytes */
    };
    v.no_merges = true;
    vb_expect_refused(&v, SLM_ERR_FORMAT, "tokenizer.ggml.merges");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        again();
        vb_merge(&v, "a", "b");
        vb_merge_text(&v, bad[i]);
        vb_expect_refused(&v, SLM_ERR_FORMAT, "merge 1 ");
    }
    again();
    v.no_merges = true;
    gb_array(&v.file, "tokenizer.ggml.merges", GB_I32, v.types, 3);
    vb_expect_refused(&v, SLM_ERR_TYPE, "tokenizer.ggml.merges");
    again(); /* an empty list is a list: every byte by itself */
    slm_model *m = vb_open(&v);
    VB_EXPECT(m, "ab", 0, 'a', 'b');
    slm_model_close(m);
}
END_TEST

/* The first of two equal merges counts; a merge may be as long as two tokens. */
START_TEST(test_merges_equal_and_long) {
    int bc = vb_merge(&v, "b", "c"), ab = vb_merge(&v, "a", "b");
    vb_merge(&v, "b", "c");
    slm_model *m = vb_open(&v);
    VB_EXPECT(m, "abc", 0, 'a', bc);
    VB_EXPECT(m, "abd", 0, ab, 'd');
    slm_model_close(m);

    again();
    enum { N = 32768 };
    char *half = malloc(2 * N + 2), *merge = malloc(2 * N + 2);
    memset(half, 'q', N);
    half[N] = '\0';
    vb_token(&v, half, VB_NORMAL);
    memset(merge, 'q', 2 * N + 1);
    merge[N] = ' ';
    merge[2 * N + 1] = '\0';
    for (int i = 0; i < 5; i++) vb_merge_text(&v, merge); /* more than a group has room for */
    memset(half, 'q', 2 * N);
    half[2 * N] = '\0';
    vb_token(&v, half, VB_NORMAL);
    m = vb_open(&v);
    slm_model_close(m);
    free(half);
    free(merge);
}
END_TEST

START_TEST(test_fault_40_scores_and_types_of_wrong_length_or_type) {
    v.no_types = true;
    gb_array(&v.file, "tokenizer.ggml.token_type", GB_I32, v.types, 255);
    vb_expect_refused(&v, SLM_ERR_MISMATCH, "token_type");
    again();
    v.no_types = true;
    static float scores[300];
    gb_array(&v.file, "tokenizer.ggml.token_type", GB_F32, scores, 256);
    vb_expect_refused(&v, SLM_ERR_MISMATCH, "token_type");
    again();
    v.no_types = true;
    gb_u32(&v.file, "tokenizer.ggml.token_type", 1);
    vb_expect_refused(&v, SLM_ERR_MISMATCH, "token_type");
    again();
    gb_array(&v.file, "tokenizer.ggml.scores", GB_F32, scores, 257);
    vb_expect_refused(&v, SLM_ERR_MISMATCH, "scores");
    again();
    gb_array(&v.file, "tokenizer.ggml.scores", GB_I32, scores, 256);
    vb_expect_refused(&v, SLM_ERR_MISMATCH, "scores");
    again();
    gb_array(&v.file, "tokenizer.ggml.scores", GB_F32, scores, 256);
    v.types[5] = -1; /* types that nobody knows are normal ones */
    v.types[6] = 7;
    v.types[7] = INT32_MIN;
    slm_model *m = vb_open(&v);
    for (int t = 5; t < 8; t++) ck_assert_uint_eq(attributes_of(m, t), 0);
    slm_model_close(m);
}
END_TEST

static void count_log(void *user, slm_log_level level, const char *message) {
    ck_assert_int_eq(level, SLM_LOG_WARN);
    ck_assert_ptr_nonnull(strstr(message, "equal"));
    ++*(int *)user;
}

START_TEST(test_fault_41_equal_and_empty_tokens_the_lowest_wins) {
    int ab = vb_merge(&v, "a", "b");
    int again_ab = vb_token(&v, "ab", VB_NORMAL), again_a = vb_token(&v, "a", VB_NORMAL);
    int empty = vb_token(&v, "", VB_NORMAL), empty_control = vb_token(&v, "", VB_CONTROL);
    int x1 = vb_token(&v, "<x>", VB_CONTROL), x2 = vb_token(&v, "<x>", VB_CONTROL);
    size_t n;
    const void *file = vb_finish(&v, &n);
    slm_model_params p = slm_model_defaults();
    int warnings = 0;
    p.vocab_only = true;
    p.log = count_log;
    p.log_user = &warnings;
    slm_model *m;
    ck_assert_int_eq(slm_model_open_memory(file, n, &p, &m, &err), SLM_OK);
    ck_assert_int_eq(warnings, 1);
    VB_EXPECT(m, "ab a<x>", SLM_TOKENIZE_SPECIAL, ab, ' ', 'a', x1);
    check_text(m, again_ab, "ab", 2);
    check_text(m, again_a, "a", 1);
    check_text(m, empty, "", 0);
    check_text(m, empty_control, "", 0);
    check_text(m, x2, "<x>", 3);
    slm_model_close(m);
}
END_TEST

START_TEST(test_fault_42_byte_tokens_malformed) {
    static const char *const bad[] = {"<0x-1>", "<0xZZ>", "<0x0>",  "<0x000>", "0x00",   "<0x00",
                                      "",       "a",      "<0X00>", "<0x 1>",  "<0x1g>", "<0x11)"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        again();
        vb_token(&v, bad[i], VB_BYTE);
        vb_expect_refused(&v, SLM_ERR_FORMAT, "byte token 256");
    }
    again();
    vb_token(&v, "<0xZZ>", VB_NORMAL); /* any other type: text */
    slm_model *m = vb_open(&v);
    check_text(m, 256, "<0xZZ>", 6);
    slm_model_close(m);
}
END_TEST

START_TEST(test_fault_43_special_id_beyond_vocabulary) {
    static const char *const names[] = {"bos",       "eos",     "eot",     "eom",     "unknown",
                                        "seperator", "padding", "cls",     "mask",    "fim_pre",
                                        "fim_suf",   "fim_mid", "fim_pad", "fim_rep", "fim_sep"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char key[64];
        snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", names[i]);
        again();
        gb_u32(&v.file, key, 256);
        vb_expect_refused(&v, SLM_ERR_RANGE, key);
        again();
        gb_u64(&v.file, key, UINT64_MAX);
        vb_expect_refused(&v, SLM_ERR_RANGE, key);
        again();
        gb_str(&v.file, key, "1");
        vb_expect_refused(&v, SLM_ERR_TYPE, key);
        again();
        gb_u32(&v.file, key, 255);
        slm_model_close(vb_open(&v));
    }
}
END_TEST

START_TEST(test_fault_44_token_too_long) {
    char *text = malloc(65538);
    memset(text, 'a', 65537);
    text[65537] = '\0';
    vb_token(&v, text, VB_NORMAL);
    vb_expect_refused(&v, SLM_ERR_LIMIT, "token 256");
    again();
    text[65536] = '\0';
    int user = vb_token(&v, text, VB_USER);
    slm_model *m = vb_open(&v);
    vb_expect(m, text, 65536, 0, &user, 1);
    slm_model_close(m);
    free(text);
}
END_TEST

START_TEST(test_fault_45_charsmap) {
    static const uint8_t map[] = {255, 255, 255, 255, 0};
    gb_array(&v.file, "tokenizer.ggml.precompiled_charsmap", GB_U8, map, sizeof map);
    vb_expect_refused(&v, SLM_ERR_UNSUPPORTED, "precompiled_charsmap");
}
END_TEST

START_TEST(test_fault_46_unknown_pre_tokenizer_or_model) {
    static const char *const pres[] = {"", "gpt2", "qwen2 ", "llama", "superbpe", "\x01\xff"};
    for (size_t i = 0; i < sizeof pres / sizeof *pres; i++) {
        again();
        v.pre = pres[i];
        err = vb_expect_refused(&v, SLM_ERR_UNSUPPORTED, "tokenizer.ggml.pre");
        ck_assert_ptr_nonnull(strstr(err.message, "smollm"));
        ck_assert_ptr_nonnull(strstr(err.message, "qwen2"));
    }
    again();
    v.pre = NULL;
    gb_u32(&v.file, "tokenizer.ggml.pre", 1);
    vb_expect_refused(&v, SLM_ERR_TYPE, "tokenizer.ggml.pre");
    static const char *const models[] = {NULL, "", "bert", "GPT2", "Llama", "T5"};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        again();
        v.model = models[i];
        vb_expect_refused(&v, SLM_ERR_UNSUPPORTED, "known: gpt2, gemma4, llama, t5");
    }
}
END_TEST

/* Old files have no such key. What the reference then does is a guess, so it is never done silently. */
static void count_missing(void *user, slm_log_level level, const char *message) {
    ck_assert_int_eq(level, SLM_LOG_WARN);
    ck_assert_ptr_nonnull(strstr(message, "tokenizer.ggml.pre is missing"));
    ++*(int *)user;
}

START_TEST(test_fault_46_no_pre_tokenizer_is_said) {
    static const char *const pres[] = {"default", NULL};
    for (int i = 0; i < 2; i++) {
        again();
        v.pre = pres[i];
        int dots = vb_merge(&v, ".", "."), digits = vb_merge(&v, "1", "2"), warnings = 0;
        size_t n;
        const void *file = vb_finish(&v, &n);
        slm_model_params p = slm_model_defaults();
        p.vocab_only = true;
        p.log = count_missing;
        p.log_user = &warnings;
        slm_model *m;
        ck_assert_int_eq(slm_model_open_memory(file, n, &p, &m, &err), SLM_OK);
        ck_assert_int_eq(warnings, i);
        VB_EXPECT(m, "12..", 0, digits, dots);
        slm_model_close(m);
    }
}
END_TEST

/* ---- Memory ---- */

/* Tokens are looked up, shown and found when the file is no longer there: it may be cut short while it is open. */
START_TEST(test_fault_85_nothing_is_read_from_the_file_later) {
    int end = vb_token(&v, "<|im_end|>", VB_CONTROL), user = vb_token(&v, "<user>", VB_USER);
    int ab = vb_merge(&v, "a", "b");
    size_t n, n_bytes;
    const void *file = vb_finish(&v, &n);
    void *copy = aligned_alloc(64, (n + 63) / 64 * 64);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, file, n);
    slm_model_params p = slm_model_defaults();
    slm_model *m;
    p.vocab_only = true;
    ck_assert_int_eq(slm_model_open_memory(copy, n, &p, &m, &err), SLM_OK);
    memset(copy, 0, n);
    VB_EXPECT(m, "ab<user><|im_end|>", SLM_TOKENIZE_SPECIAL, ab, user, end);
    const char *text;
    ck_assert_int_eq(slm_token_get(m, user, &text, &n_bytes, NULL), SLM_OK);
    ck_assert(n_bytes == 6 && memcmp(text, "<user>", 6) == 0);
    ck_assert_int_eq(slm_token_get(m, end, &text, &n_bytes, NULL), SLM_OK);
    ck_assert(n_bytes == 10 && memcmp(text, "<|im_end|>", 10) == 0);
    slm_model_close(m);
    free(copy);
}
END_TEST

/* Every allocation fails once: NOMEM, nothing held; with memory again the same tokens as ever. */
START_TEST(test_fault_84_nth_allocation_fails) {
    vb_merge(&v, "a", "b");
    vb_token(&v, "<x>", VB_CONTROL);
    int refused = 0;
    for (long n = 1;; n++) {
        check_alloc c = {.fail_at = n};
        slm_allocator a = check_allocator(&c);
        slm_model *m = NULL;
        gb_reset(&v.file);
        slm_status s = vb_try_open(&v, &a, &m, &err);
        bool last = c.n_calls < n;
        c.fail_at = 0;
        if (s == SLM_OK) {
            VB_EXPECT(m, "ab<x>", SLM_TOKENIZE_SPECIAL, 256, 257);
            slm_model_close(m);
        } else {
            ck_assert_int_eq(s, SLM_ERR_NOMEM);
            ck_assert_int_eq(err.status, SLM_ERR_NOMEM);
            refused++;
        }
        ck_assert_int_eq(c.n_live, 0);
        if (last) break;
    }
    ck_assert_int_ge(refused, 10);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("vocab");
    TCase *c = tcase_create("vocab");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, test_tokens_and_what_they_stand_for);
    tcase_add_test(c, test_without_types_all_tokens_are_normal);
    tcase_add_test(c, test_begin_and_end);
    tcase_add_test(c, test_bos_is_added_when_the_file_or_its_tokenizer_asks);
    tcase_add_test(c, test_tokens_known_by_their_text);
    tcase_add_test(c, test_classes_of_code_points);
    tcase_add_test(c, test_fault_38_no_tokens);
    tcase_add_test(c, test_fault_39_merges_missing_or_malformed);
    tcase_add_test(c, test_merges_equal_and_long);
    tcase_add_test(c, test_fault_40_scores_and_types_of_wrong_length_or_type);
    tcase_add_test(c, test_fault_41_equal_and_empty_tokens_the_lowest_wins);
    tcase_add_test(c, test_fault_42_byte_tokens_malformed);
    tcase_add_test(c, test_fault_43_special_id_beyond_vocabulary);
    tcase_add_test(c, test_fault_44_token_too_long);
    tcase_add_test(c, test_fault_45_charsmap);
    tcase_add_test(c, test_fault_46_unknown_pre_tokenizer_or_model);
    tcase_add_test(c, test_fault_46_no_pre_tokenizer_is_said);
    tcase_add_test(c, test_fault_85_nothing_is_read_from_the_file_later);
    tcase_add_test(c, test_fault_84_nth_allocation_fails);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
