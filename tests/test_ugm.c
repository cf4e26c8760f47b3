/* Unigram: the most probable way by a plain search, normalization, charsmaps good and broken. Vocabularies are made in memory. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../libslm/model.h"
#include "../libslm/vocab_impl.h"
#include "support/suite.h"
#include "support/vocab_build.h"

#define SPACE "\xe2\x96\x81"

static vocab_build v;
static float scores[VB_MAX];
static slm_error err;

enum { PAD, EOS, UNKNOWN };

static int piece_of(const char *text, float score, int32_t type) {
    int id = vb_token(&v, text, type);
    scores[id] = score;
    return id;
}

static int piece(const char *text, float score) { return piece_of(text, score, VB_NORMAL); }

static void begin(bool prefix, bool merge) {
    vb_free(&v);
    v = (vocab_build){.model = "t5", .no_merges = true};
    memset(scores, 0, sizeof scores);
    vb_token(&v, "<pad>", VB_CONTROL);
    vb_token(&v, "</s>", VB_CONTROL);
    vb_token(&v, "<unk>", VB_UNKNOWN);
    gb_bool(&v.file, "tokenizer.ggml.add_space_prefix", prefix);
    gb_bool(&v.file, "tokenizer.ggml.remove_extra_whitespaces", merge);
}

static slm_model *open_scored(void) {
    gb_array(&v.file, "tokenizer.ggml.scores", GB_F32, scores, (uint64_t)v.n);
    return vb_open(&v);
}

static void setup(void) { v = (vocab_build){0}; }
static void teardown(void) { vb_free(&v); }

START_TEST(test_the_greatest_sum_wins) {
    begin(false, false);
    int a = piece("a", -1), b = piece("b", -2), ab = piece("ab", -4), abb = piece("abb", -4.5f);
    int bb = piece("bb", -1);
    slm_model *m = open_scored();
    VB_EXPECT(m, "ab", 0, a, b);   /* -3 against -4 */
    VB_EXPECT(m, "abb", 0, a, bb); /* -2 against -4.5 and -5 */
    VB_EXPECT(m, "abbb", 0, a, b, bb);
    VB_EXPECT(m, "", 0);
    VB_EXPECT(m, "axxb\xc3\xa9y", 0, a, UNKNOWN, b, UNKNOWN); /* several are one */
    VB_EXPECT(m, "<pad></s>", SLM_TOKENIZE_SPECIAL | SLM_TOKENIZE_BOS, PAD, EOS);
    (void)ab, (void)abb;
    slm_model_close(m);
}
END_TEST

START_TEST(test_of_equal_sums_the_one_found_first) {
    begin(false, false);
    int a = piece("a", -1), aa = piece("aa", -2), user = piece_of("ba", -50, VB_USER);
    int b = piece("b", -1);
    slm_model *m = open_scored();
    VB_EXPECT(m, "aa", 0, aa); /* a way that comes later has to be better */
    VB_EXPECT(m, "aaa", 0, a, aa);
    VB_EXPECT(m, "baa", 0, user, a);
    VB_EXPECT(m, "bb", 0, b, b);
    slm_model_close(m);
}
END_TEST

START_TEST(test_spaces) {
    for (int prefix = 0; prefix < 2; prefix++) {
        for (int merge = 0; merge < 2; merge++) {
            begin(prefix, merge);
            int a = piece("a", -1), s = piece(SPACE, -1), x = piece_of("<x>", 0, VB_USER);
            slm_model *m = open_scored();
            slm_token some[16];
            const char *want[2][2] = {{"a  a ", " a a"}, {" a  a ", " a a"}};
            size_t n = 0;
            for (const char *c = want[prefix][merge]; *c; c++) some[n++] = *c == 'a' ? a : s;
            vb_expect(m, "a  a ", 5, 0, some, n);
            slm_token literal[] = {s, a, s, s,
                                   a}; /* U+2581 is no space yet when spaces are merged */
            vb_expect(m, "a " SPACE "a ", 7, 0, merge ? literal : some, merge ? 5 : n);
            slm_token spaced[] = {s, a, x, s, a}, bare[] = {a, x, a};
            vb_expect(m, "a<x>a", 5, 0, prefix || merge ? spaced : bare, prefix || merge ? 5 : 3);
            slm_model_close(m);
        }
    }
}
END_TEST

/* ---- Against a plain search over all pieces at each place ---- */

static uint32_t random_state = 1;
static uint32_t below(uint32_t n) {
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % n;
}

enum { PLAIN_MAX = 1200, PIECE_MAX = 8 };

static size_t plain(const char *text, size_t n, double unknown, slm_token *out) {
    static double sum[PLAIN_MAX + 1];
    static size_t from[PLAIN_MAX + 1];
    static int last[PLAIN_MAX + 1];
    sum[0] = 0;
    for (size_t end = 1; end <= n; end++) {
        sum[end] = -1e300;
        for (size_t at = end < PIECE_MAX ? 0 : end - PIECE_MAX; at < end; at++) {
            int found = -1;
            for (int t = 3; t < v.n && found < 0; t++)
                if (strlen(v.tokens[t]) == end - at &&
                    memcmp(v.tokens[t], text + at, end - at) == 0)
                    found = t;
            double price = found >= 0 ? (double)scores[found] : unknown;
            if (found < 0 && end - at > 1) continue;
            if (sum[at] + price > sum[end]) {
                sum[end] = sum[at] + price;
                from[end] = at;
                last[end] = found >= 0 ? found : UNKNOWN;
            }
        }
    }
    static slm_token turned[PLAIN_MAX];
    size_t n_turned = 0, n_out = 0;
    for (size_t end = n; end > 0; end = from[end])
        if (!(last[end] == UNKNOWN && n_turned && turned[n_turned - 1] == UNKNOWN))
            turned[n_turned++] = last[end];
    while (n_turned > 0) out[n_out++] = turned[--n_turned];
    return n_out;
}

START_TEST(test_random_vocabularies_against_a_plain_search) {
    for (int round = 0; round < 100; round++) {
        begin(false, false);
        float least = 1e9f;
        for (int i = 0; i < 30; i++) {
            char text[6] = {0};
            for (uint32_t k = 0, n = 1 + below(5); k < n; k++) text[k] = (char)('a' + below(3));
            int id = piece(text, -(float)below(40) / 4);
            if (scores[id] < least) least = scores[id];
        }
        slm_model *m = open_scored();
        for (int k = 0; k < 50; k++) {
            char text[40];
            size_t n = below(sizeof text);
            for (size_t i = 0; i < n; i++) text[i] = (char)('a' + below(i % 7 ? 3 : 4));
            slm_token want[64];
            size_t n_want = plain(text, n, (double)least - 10, want);
            vb_expect(m, text, n, 0, want, n_want);
        }
        slm_model_close(m);
    }
}
END_TEST

/* Long enough for words to be remembered. Dots are in no piece, so texts are cut before each; '!' and the letters that follow are in one.
 * Scores whose sums are exact, and such of all sizes that are not: there each sum depends on all before it. */
START_TEST(test_long_texts_against_a_plain_search) {
    static char text[PLAIN_MAX];
    static slm_token want[PLAIN_MAX];
    for (int round = 0; round < 40; round++) {
        bool exact = round % 2 == 0;
        begin(false, false);
        float least = 1e9f;
        for (int i = 0; i < 60; i++) {
            static const char letters[] = "abc!";
            char piece_text[PIECE_MAX] = {0};
            for (uint32_t k = 0, n = 1 + below(PIECE_MAX - 2); k < n; k++)
                piece_text[k] = letters[below(k ? 3 : 4)];
            float price = (float)(1 + below(1 << 20));
            int id = piece(piece_text, exact ? -price / 1024 : -ldexpf(price, -(int)below(60)));
            if (scores[id] < least) least = scores[id];
        }
        slm_model *m = open_scored();
        for (int k = 0; k < 4; k++) {
            size_t n = 300 + below(PLAIN_MAX - 300);
            for (size_t i = 0; i < n; i++) text[i] = "abc!.xabcab"[below(i % 3 ? 3 : 11)];
            size_t n_want = plain(text, n, (double)(least - 10), want);
            vb_expect(m, text, n, 0, want, n_want);
        }
        slm_model_close(m);
    }
}
END_TEST

/* ---- Up to cut_bytes a text is cut where no piece lies across, beyond it is not ---- */

static const char *const letters[] = {"a", "b", "\xc3\xa9", "\xe6\xbc\xa2", "\xf0\x9f\x98\x80"};
static const char *const strangers[] = {".", "\xc2\xab", "\xe2\x80\xa6", "\xf0\x9f\x9a\x80"};
enum { MANY_MAX = 6000, LETTERS_MAX = 5 };

/* Of a text from `begin` on; *sum is that of what comes before, and then of all. Characters that are no piece cost `unknown`. */
static size_t plain_characters(const char *text, size_t begin, size_t n, double unknown,
                               double *sum_at, slm_token *out) {
    static double sum[MANY_MAX + 1];
    static size_t from[MANY_MAX + 1];
    static slm_token last[MANY_MAX + 1], turned[MANY_MAX];
    for (size_t i = begin; i <= n; i++) sum[i] = -1e300;
    sum[begin] = *sum_at;
    for (size_t at = begin; at < n; at++) {
        if ((text[at] & 0xc0) == 0x80) continue;
        size_t len = 1;
        while (at + len < n && (text[at + len] & 0xc0) == 0x80) len++;
        bool single = false;
        for (int t = 3; t <= v.n; t++) {
            size_t size = t < v.n ? strlen(v.tokens[t]) : len;
            bool fits =
                t == v.n ? !single : size <= n - at && !memcmp(v.tokens[t], text + at, size);
            if (!fits) continue;
            single = single || size == len;
            double price = t < v.n ? (double)scores[t] : unknown;
            if (sum[at] + price <= sum[at + size]) continue;
            sum[at + size] = sum[at] + price;
            from[at + size] = at;
            last[at + size] = t < v.n ? t : UNKNOWN;
        }
    }
    *sum_at = sum[n];
    size_t n_turned = 0, n_out = 0;
    for (size_t end = n; end > begin; end = from[end]) turned[n_turned++] = last[end];
    while (n_turned > 0) out[n_out++] = turned[--n_turned];
    return n_out;
}

/* Several unknown ones are one. */
static size_t join_unknown(slm_token *ids, size_t n) {
    size_t n_out = 0;
    for (size_t i = 0; i < n; i++)
        if (ids[i] != UNKNOWN || n_out == 0 || ids[n_out - 1] != UNKNOWN) ids[n_out++] = ids[i];
    return n_out;
}

/* As if it were cut before each stranger. */
static size_t plain_cut(const char *text, size_t n, double unknown, slm_token *out) {
    size_t n_out = 0;
    for (size_t at = 0, end; at < n; at = end) {
        end = at + 1;
        for (bool cut = false; end < n && !cut; end += !cut)
            for (int i = 0; i < 4; i++)
                if (!strncmp(text + end, strangers[i], strlen(strangers[i]))) cut = true;
        double sum = 0;
        n_out += plain_characters(text, at, end, unknown, &sum, out + n_out);
    }
    return join_unknown(out, n_out);
}

/* Pieces of a word differ by units of 2^-39, so ways to read it do; beside sums of 2^15 those are rounded away. */
static double make_units(void) {
    float least = 0;
    begin(false, false);
    while (v.n < 60) {
        char text[4 * LETTERS_MAX + 1] = "";
        uint32_t n = 1 + below(LETTERS_MAX);
        for (uint32_t k = 0; k < n; k++) strcat(text, letters[below(5)]);
        bool there = false;
        for (int t = 3; t < v.n; t++) there = there || strcmp(v.tokens[t], text) == 0;
        if (there) continue;
        int id = piece(text, -ldexpf((float)n, -18) - ldexpf((float)below(4), -39));
        if (scores[id] < least) least = scores[id];
    }
    return (double)(least - 10);
}

/* A text of n bytes exactly: words with strangers between them, one in so many characters. */
static void make_text(char *text, size_t n, uint32_t strange) {
    size_t at = 0;
    while (at < n) {
        bool letter = below(strange) != 0;
        const char *c = letter ? letters[below(5)] : strangers[below(4)];
        size_t len = strlen(c);
        if (len > n - at) c = "ab", len = n - at < 2 ? 1 : 2;
        memcpy(text + at, c, len);
        at += len;
    }
}

START_TEST(test_texts_around_the_longest_that_is_cut) {
    enum { CUT = 512 };
    static char text[MANY_MAX + 8];
    static slm_token want[MANY_MAX], cut[MANY_MAX];
    int n_other = 0;
    for (int round = 0; round < 12; round++) {
        double unknown = make_units(), sum;
        slm_model *m = open_scored();
        ck_assert_uint_eq(m->vocab->ugm.cut_bytes, CUT);
        for (int k = 0; k < 20; k++) {
            /* 509 to 516 bytes, the last character of up to four of them; and texts long enough that a cut would show */
            bool is_long = k >= 16;
            size_t n = is_long ? MANY_MAX - below(64) : CUT - 3 + (size_t)k % 8;
            if (is_long) {
                memset(text, '.', 4000); /* of 10 each */
                make_text(text + 4000, n - 4000, 2 + below(8));
            } else {
                const char *c = k < 8 ? letters[1 + k % 4] : strangers[k % 4];
                make_text(text, n - strlen(c), 4);
                memcpy(text + n - strlen(c), c, strlen(c));
            }
            text[n] = '\0';
            sum = 0;
            size_t n_want = join_unknown(want, plain_characters(text, 0, n, unknown, &sum, want));
            vb_expect(m, text, n, 0, want, n_want);
            size_t n_cut = plain_cut(text, n, unknown, cut);
            bool other = n_cut != n_want || memcmp(cut, want, n_cut * sizeof *cut) != 0;
            ck_assert(!other || is_long);
            n_other += other;
        }
        slm_model_close(m);
    }
    ck_assert_int_gt(n_other, 10);
}
END_TEST

/* A control token is no piece, even if it is the lowest of equal ones. */
START_TEST(test_equal_tokens) {
    begin(false, false);
    piece("a", -1), piece("b", -1);
    piece_of("ab", -1, VB_CONTROL);
    int first = piece("ab", -1);
    piece("ab", -0.5f);
    slm_model *m = open_scored();
    VB_EXPECT(m, "ab", 0, first);
    slm_model_close(m);
}
END_TEST

START_TEST(test_text_too_long) {
    size_t n = ((size_t)1 << 28) + 1, n_out = 0;
    char *text = calloc(1, n); /* never written to */
    ck_assert_ptr_nonnull(text);
    begin(false, false);
    slm_model *m = open_scored();
    ASSERT_FAILS(slm_tokenize(m, text, n, 0, NULL, 0, &n_out, &err), SLM_ERR_LIMIT, "268435457");
    slm_model_close(m);
    free(text);
}
END_TEST

/* ---- Charsmaps: a block of 256 units for each node, children at block + byte, the text's unit at the block ---- */

typedef struct map {
    uint32_t units[256 * 64];
    uint32_t n_blocks;
    char texts[256];
    uint32_t n_texts;
} map;

static map charsmap;

static void map_begin(void) {
    memset(&charsmap, 0, sizeof charsmap);
    charsmap.n_blocks = 2;
    charsmap.units[0] = 256u << 10; /* the root's children are in block 1 */
}

static void map_add(const char *from, const char *to) {
    uint32_t block = 256;
    uint32_t *unit = NULL;
    for (; *from; from++) {
        uint32_t i = block + (uint8_t)*from;
        unit = &charsmap.units[i];
        if (*unit == 0) *unit = (i ^ 256 * charsmap.n_blocks++) << 10 | (uint8_t)*from;
        block = i ^ *unit >> 10;
    }
    *unit |= 1u << 8;
    charsmap.units[block] = 1u << 31 | charsmap.n_texts;
    strcpy(charsmap.texts + charsmap.n_texts, to);
    charsmap.n_texts += (uint32_t)strlen(to) + 1;
}

static uint8_t map_file[sizeof charsmap.units + 300];

static size_t map_bytes(void) {
    uint32_t n = charsmap.n_blocks * 1024;
    memcpy(map_file, &n, 4);
    memcpy(map_file + 4, charsmap.units, n);
    memcpy(map_file + 4 + n, charsmap.texts, charsmap.n_texts);
    return 4 + n + charsmap.n_texts;
}

static void map_put(uint32_t type, size_t n) {
    gb_array(&v.file, "tokenizer.ggml.precompiled_charsmap", type, map_file, n);
}

START_TEST(test_the_longest_text_is_replaced) {
    static const uint32_t types[] = {GB_U8, GB_I8};
    for (int i = 0; i < 2; i++) {
        begin(true, true);
        int a = piece("a", -1), f = piece("f", -1), fi = piece("fi", -1), s = piece(SPACE, -1);
        int broken = piece("\xef\xbf\xbd", -1), e = piece("\xc3\xa9", -1);
        map_begin();
        map_add("A", "a");
        map_add("AA", "f");
        map_add("\xef\xac\x81", "fi"); /* a ligature */
        map_add("e\xcc\x81", "\xc3\xa9");
        map_add("\t", " ");
        map_add("\x01", "");
        map_add("Bxy", "f"); /* neither B nor Bx is replaced */
        map_put(types[i], map_bytes());
        slm_model *m = open_scored();
        VB_EXPECT(m, "A", 0, s, a);
        VB_EXPECT(m, "AAA", 0, s, f, a);
        VB_EXPECT(m, "\xef\xac\x81\t\tA", 0, s, fi, s, a);
        VB_EXPECT(m,
                  "e\xcc\x81\x01"
                  "a\x01",
                  0, s, e, a);
        VB_EXPECT(m, "\x01\t ", 0);
        VB_EXPECT(m,
                  "\xef\xac"
                  "a\xff",
                  0, s, broken, broken, a, broken); /* fault 47 */
        VB_EXPECT(m, "A\0A", 0, s, a, UNKNOWN, a);
        VB_EXPECT(m, "BxyBx", 0, s, f, UNKNOWN);
        slm_model_close(m);
    }
}
END_TEST

/* The map, made wrong in one way after the other. */
START_TEST(test_fault_45_broken_charsmaps) {
    for (int kind = 0; kind < 9; kind++) {
        begin(false, false);
        piece("a", -1);
        map_begin();
        map_add("A", "a");
        map_add("BC", "cc");
        if (kind == 4) charsmap.units[256 + 'A'] |= 0x1fffffu << 10; /* its text beyond the end */
        if (kind == 5) charsmap.units[512] = 1u << 31 | charsmap.n_texts;
        if (kind == 6) charsmap.units[512] = UINT32_MAX;
        size_t n = map_bytes();
        uint32_t n_units = charsmap.n_blocks * 1024;
        if (kind == 0) n = 3;
        if (kind == 1) n_units = (uint32_t)n;
        if (kind == 2) n_units -= 2;
        if (kind == 3) map_file[n - 1] = 'x';
        if (kind == 7) n_units = UINT32_MAX;
        if (kind == 8) n_units = 0;
        memcpy(map_file, &n_units, 4);
        map_put(GB_U8, n);
        gb_array(&v.file, "tokenizer.ggml.scores", GB_F32, scores, (uint64_t)v.n);
        slm_model *m;
        ASSERT_FAILS(vb_try_open(&v, NULL, &m, &err), SLM_ERR_FORMAT, "precompiled_charsmap");
        ck_assert_ptr_null(m);
    }
    begin(false, false);
    gb_array(&v.file, "tokenizer.ggml.scores", GB_F32, scores, (uint64_t)v.n);
    gb_str(&v.file, "tokenizer.ggml.precompiled_charsmap", "text");
    slm_model *m;
    ASSERT_FAILS(vb_try_open(&v, NULL, &m, &err), SLM_ERR_TYPE, "precompiled_charsmap");
}
END_TEST

/* Every byte of a map changed: it opens or it is refused, and whatever it then replaces, nothing outside of it is read (that is for
 * sanitizers to see). */
START_TEST(test_fault_45_changed_charsmaps) {
    int opened = 0, refused = 0;
    map_begin();
    map_add("A", "a");
    map_add("BC", "cc");
    size_t n = map_bytes();
    static uint8_t good[sizeof map_file];
    memcpy(good, map_file, n);
    for (uint32_t k = 0; k < 3000; k++) {
        memcpy(map_file, good, n);
        size_t at = k < 4 ? k : below((uint32_t)n);
        if (k % 3 == 1) at = 4 + 4 * (256 + (k % 2 ? 'A' : 'B')) + k % 4;
        map_file[at] ^= (uint8_t)(1 + below(255));
        begin(false, false);
        piece("a", -1);
        map_put(GB_U8, n);
        gb_array(&v.file, "tokenizer.ggml.scores", GB_F32, scores, (uint64_t)v.n);
        slm_model *m;
        slm_status s = vb_try_open(&v, NULL, &m, &err);
        ck_assert(s == SLM_OK || s == SLM_ERR_FORMAT);
        opened += s == SLM_OK, refused += s != SLM_OK;
        if (s != SLM_OK) continue;
        slm_token out[64];
        size_t n_out = 0;
        ck_assert_int_eq(slm_tokenize(m,
                                      "ABBCAx\xff"
                                      "BCA",
                                      10, 0, out, 64, &n_out, &err),
                         SLM_OK);
        ck_assert_uint_gt(n_out, 0);
        slm_model_close(m);
    }
    ck_assert_int_gt(opened, 100);
    ck_assert_int_gt(refused, 100);
}
END_TEST

START_TEST(test_fault_50_no_special_token_is_made_from_text) {
    begin(false, false);
    int left = piece("<", -1), right = piece(">", -1), p = piece("pad", -1), u = piece("unk", -1);
    slm_model *m = open_scored();
    VB_EXPECT(m, "<pad><unk>", 0, left, p, right, left, u, right);
    VB_EXPECT(m, "<pad><unk>", SLM_TOKENIZE_SPECIAL, PAD, UNKNOWN);
    slm_model_close(m);
}
END_TEST

START_TEST(test_fault_40_no_scores) {
    begin(false, false);
    piece("a", -1);
    slm_model *m;
    ASSERT_FAILS(vb_try_open(&v, NULL, &m, &err), SLM_ERR_MISMATCH, "scores is missing");
}
END_TEST

START_TEST(test_fault_40_scores_that_are_no_numbers) {
    static const float odd[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        begin(false, false);
        piece("a", odd[i]);
        gb_array(&v.file, "tokenizer.ggml.scores", GB_F32, scores, (uint64_t)v.n);
        slm_model *m;
        ASSERT_FAILS(vb_try_open(&v, NULL, &m, &err), SLM_ERR_FORMAT, "tokenizer.ggml.scores");
    }
}
END_TEST

START_TEST(test_fault_44_piece_too_long) {
    static char text[200];
    for (int n = 128; n <= 129; n++) {
        begin(false, false);
        memset(text, 'a', (size_t)n);
        text[n] = '\0';
        int id = piece(text, -1);
        gb_array(&v.file, "tokenizer.ggml.scores", GB_F32, scores, (uint64_t)v.n);
        slm_model *m;
        if (n == 129) {
            ASSERT_FAILS(vb_try_open(&v, NULL, &m, &err), SLM_ERR_LIMIT, "at most 128");
            continue;
        }
        ck_assert_int_eq(vb_try_open(&v, NULL, &m, &err), SLM_OK);
        vb_expect(m, text, 128, 0, &id, 1);
        slm_model_close(m);
    }
}
END_TEST

START_TEST(test_fault_48_long_run_of_one_letter) {
    enum { N = 128 << 10 };
    static char text[N];
    static slm_token out[N + 2];
    begin(true, true);
    piece("a", -1), piece("aaaa", -3), piece("aaaaaaaaaaaaaaaa", -8);
    slm_model *m = open_scored();
    for (const char *unit = "a xb"; *unit; unit++) {
        memset(text, *unit, N);
        size_t n = 0;
        clock_t t = clock();
        ck_assert_int_eq(slm_tokenize(m, text, N, 0, out, N + 2, &n, &err), SLM_OK);
        double seconds = (double)(clock() - t) / CLOCKS_PER_SEC;
        ck_assert_msg(seconds < (getenv("SAN") ? 1.5 : .05), "%.3f s", seconds);
        ck_assert_uint_eq(n, *unit == 'a' ? N / 16 + 1 : *unit == ' ' ? 0 : 1);
    }
    slm_model_close(m);
}
END_TEST

/* A map whose node is its own child: the same letter again and again leads nowhere, and never ends. */
START_TEST(test_fault_48_map_in_a_circle) {
    enum { N = 128 << 10 };
    static char text[N];
    static slm_token out[N + 2];
    begin(true, true);
    piece("x", -1);
    map_begin();
    map_add("A", "a");
    charsmap.units[256 + 'x'] = (uint32_t)'x' << 10 | 'x';
    map_put(GB_U8, map_bytes());
    slm_model *m = open_scored();
    memset(text, 'x', N);
    size_t n = 0;
    clock_t t = clock();
    ck_assert_int_eq(slm_tokenize(m, text, N, 0, out, N + 2, &n, &err), SLM_OK);
    double seconds = (double)(clock() - t) / CLOCKS_PER_SEC;
    ck_assert_msg(seconds < (getenv("SAN") ? 5 : 1), "%.3f s", seconds);
    ck_assert_uint_eq(n, N + 1); /* of a space before them, too */
    slm_model_close(m);
}
END_TEST

static int make_one_word(void) {
    begin(true, true);
    int word = piece(SPACE "a", 0);
    map_begin();
    map_add("A", "a");
    map_put(GB_U8, map_bytes());
    gb_array(&v.file, "tokenizer.ggml.scores", GB_F32, scores, (uint64_t)v.n);
    return word;
}

START_TEST(test_fault_84_nth_allocation_fails) { vb_nth_allocation_fails(&v, make_one_word, "A"); }
END_TEST

int main(void) {
    Suite *suite = suite_create("ugm");
    TCase *c = tcase_create("ugm");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, test_the_greatest_sum_wins);
    tcase_add_test(c, test_of_equal_sums_the_one_found_first);
    tcase_add_test(c, test_spaces);
    tcase_add_test(c, test_random_vocabularies_against_a_plain_search);
    tcase_add_test(c, test_long_texts_against_a_plain_search);
    tcase_add_test(c, test_texts_around_the_longest_that_is_cut);
    tcase_add_test(c, test_equal_tokens);
    tcase_add_test(c, test_text_too_long);
    tcase_add_test(c, test_the_longest_text_is_replaced);
    tcase_add_test(c, test_fault_45_broken_charsmaps);
    tcase_add_test(c, test_fault_45_changed_charsmaps);
    tcase_add_test(c, test_fault_50_no_special_token_is_made_from_text);
    tcase_add_test(c, test_fault_40_no_scores);
    tcase_add_test(c, test_fault_40_scores_that_are_no_numbers);
    tcase_add_test(c, test_fault_44_piece_too_long);
    tcase_add_test(c, test_fault_48_long_run_of_one_letter);
    tcase_add_test(c, test_fault_48_map_in_a_circle);
    tcase_add_test(c, test_fault_84_nth_allocation_fails);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
