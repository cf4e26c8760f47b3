/* Text to tokens: the ids of two other tokenizers (tests/data/tok, made by make_tok_fixtures.py), slow and simple
 * re-statements of BPE and of special tokens as oracles, faults 47 to 51. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "support/check_alloc.h"
#include "support/tok_cases.h"
#include "support/vocab_case.h"
#include "support/suite.h"

static uint32_t next_random(uint32_t *seed) {
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

static size_t tokenize(const slm_model *m, const char *text, size_t n, uint32_t flags,
                       slm_token *out, size_t capacity) {
    size_t n_tokens;
    slm_status s = slm_tokenize(m, text, n, flags, out, capacity, &n_tokens, &err);
    ck_assert_msg(s == SLM_OK, "%s", err.message);
    return n_tokens;
}

/* ---- Ids of others ---- */

START_TEST(test_ids_of_other_tokenizers) {
    tok_cases cases;
    tc_load(&cases, tc_names[_i]);
    int texts = 0;
    for (tok_case *c = cases.first; c; c = c->next) {
        if (c->n_messages > 0) continue;
        vb_expect(cases.model, c->text, c->n_bytes, c->flags, c->ids, c->n_ids);
        texts++;
    }
    ck_assert_int_ge(texts, 250);
    tc_free(&cases);
}
END_TEST

/* All texts of a file as one: the words of this call are remembered, and the tokens are those of the first time. */
START_TEST(test_long_text_is_its_parts) {
    tok_cases cases;
    tc_load(&cases, tc_names[_i]);
    size_t n = 0, n_ids = 0;
    static char text[1 << 18];
    static slm_token ids[1 << 18], got[1 << 18];
    for (int round = 0; round < 4; round++) {
        for (tok_case *c = cases.first; c; c = c->next) {
            if (c->n_messages > 0 || c->flags != 0 || c->n_bytes == 0) continue;
            /* between two user-defined tokens every text is by itself */
            ck_assert_uint_lt(n + c->n_bytes + 6, sizeof text);
            memcpy(text + n, c->text, c->n_bytes);
            memcpy(text + n + c->n_bytes, "[user]", 6);
            n += c->n_bytes + 6;
            memcpy(ids + n_ids, c->ids, c->n_ids * sizeof *ids);
            n_ids += c->n_ids;
            ids[n_ids++] = cases.user;
        }
    }
    ck_assert_uint_gt(n, 20000);
    ck_assert_uint_eq(tokenize(cases.model, text, n, 0, got, 1 << 18), n_ids);
    ck_assert_mem_eq(got, ids, n_ids * sizeof *ids);
    tc_free(&cases);
}
END_TEST

/* ---- BPE against its definition ---- */

/* Of all neighbours the earliest merge, the leftmost first, until there is none. */
static size_t plain_bpe(const char *text, size_t n, slm_token *ids) {
    char *mapped[512];
    for (size_t i = 0; i < n; i++) mapped[i] = vb_mapped(text + i, 1);
    for (;;) {
        int best_order = v.n_merges;
        size_t best = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            char pair[2000];
            snprintf(pair, sizeof pair, "%s %s", mapped[i], mapped[i + 1]);
            for (int k = 0; k < best_order; k++) {
                if (strcmp(v.merges[k], pair) == 0) best_order = k, best = i;
            }
        }
        if (best_order == v.n_merges) break;
        char *sum = malloc(strlen(mapped[best]) + strlen(mapped[best + 1]) + 1);
        strcpy(sum, mapped[best]);
        strcat(sum, mapped[best + 1]);
        free(mapped[best]);
        free(mapped[best + 1]);
        mapped[best] = sum;
        n--;
        memmove(mapped + best + 1, mapped + best + 2, (n - best - 1) * sizeof *mapped);
    }
    for (size_t i = 0; i < n; i++) {
        ids[i] = SLM_TOKEN_NONE;
        for (int t = v.n - 1; t >= 0; t--) {
            if (strcmp(v.tokens[t], mapped[i]) == 0) ids[i] = t;
        }
        free(mapped[i]);
    }
    return n;
}

/* Words of every length up to 200, so all three ways (remembered, short, long) and both sides of their borders. */
START_TEST(test_bpe_against_its_definition) {
    uint32_t seed = 77 + (uint32_t)_i;
    const char *letters = _i % 2 ? "ab" : "abcd";
    size_t n_letters = strlen(letters);
    for (int i = 0; i < 25; i++) { /* each merge of two tokens that are there */
        char left[64], right[64];
        int n_extra = v.n - 256;
        for (int side = 0; side < 2; side++) {
            char *to = side ? right : left;
            uint32_t pick = next_random(&seed) % (uint32_t)(n_letters + (size_t)n_extra);
            if (pick < n_letters)
                snprintf(to, 64, "%c", letters[pick]);
            else
                snprintf(to, 64, "%s", v.tokens[256 + (int)(pick - n_letters)]);
        }
        if (strlen(left) + strlen(right) < 60) vb_merge(&v, left, right);
    }
    slm_model *m = vb_open(&v);
    static char text[64 * 210];
    slm_token want[512];
    static slm_token got[64 * 210], all[64 * 210];
    size_t n_text = 0, n_all = 0;
    for (int length = 1; length <= 200; length++) {
        char word[200];
        for (int i = 0; i < length; i++) word[i] = letters[next_random(&seed) % n_letters];
        size_t n = plain_bpe(word, (size_t)length, want);
        vb_expect(m, word, (size_t)length, 0, want, n);
        if (length > 60) continue;
        for (int twice = 0; twice < 3;
             twice++) { /* in one text, after newlines: tokens by themselves */
            memcpy(text + n_text, word, (size_t)length);
            n_text += (size_t)length;
            text[n_text++] = '\n';
            memcpy(all + n_all, want, n * sizeof *want);
            n_all += n;
            all[n_all++] = '\n';
        }
    }
    ck_assert_uint_eq(tokenize(m, text, n_text, 0, got, sizeof got / sizeof *got), n_all);
    ck_assert_mem_eq(got, all, n_all * sizeof *all);
    slm_model_close(m);
}
END_TEST

START_TEST(test_whole_words_before_merges) {
    static const char *const pres[] = {"llama-bpe", "smaug-bpe"};
    for (int i = 0; i < 2; i++) {
        teardown();
        setup();
        v.pre = pres[i];
        int ab = vb_merge(&v, "a", "b"), whole = vb_token(&v, "abc", VB_NORMAL);
        char long_word[81] = {0};
        memset(long_word, 'x', 80);
        int whole_long = vb_token(&v, long_word, VB_NORMAL);
        slm_model *m = vb_open(&v);
        if (i == 0) {
            VB_EXPECT(m, "abc", 0, whole);
            VB_EXPECT(m, "abc abc", 0, whole, ' ', ab, 'c');
            vb_expect(m, long_word, 80, 0, &whole_long, 1);
        } else {
            VB_EXPECT(m, "abc", 0, ab, 'c');
            slm_token x[80];
            for (int k = 0; k < 80; k++) x[k] = 'x';
            vb_expect(m, long_word, 80, 0, x, 80);
        }
        slm_model_close(m);
    }
}
END_TEST

/* A byte that has no token gives none, as in the reference; its neighbours do not merge over it. */
START_TEST(test_bytes_without_token) {
    vb_free(&v);
    v = (vocab_build){.pre = "gpt-2", .model = "gpt2"};
    vb_token(&v, "a", VB_NORMAL);
    vb_token(&v, "b", VB_NORMAL);
    int unknown = vb_token(&v, "<unk>", VB_UNKNOWN);
    gb_u32(&v.file, "tokenizer.ggml.unknown_token_id", (uint32_t)unknown);
    int ab = vb_merge(&v, "a", "b");
    slm_model *m = vb_open(&v);
    VB_EXPECT(m, "ab", 0, ab);
    VB_EXPECT(m, "axb", 0, 0, 1);
    vb_expect(m, "xyz \n\xff", 6, 0, NULL, 0);
    char text[400];
    memset(text, 'x', sizeof text);
    memcpy(text + 200, "ab", 2); /* also in a long word, and in a remembered one */
    vb_expect(m, text, sizeof text, 0, &ab, 1);
    for (int i = 0; i < 400; i += 4) memcpy(text + i, "xab\n", 4);
    slm_token all[100];
    for (int i = 0; i < 100; i++) all[i] = ab;
    vb_expect(m, text, sizeof text, 0, all, 100);
    slm_model_close(m);
}
END_TEST

/* ---- Special tokens against their definition ---- */

typedef struct fragment {
    const char *at;
    size_t n;
    slm_token token; /* SLM_TOKEN_NONE: still text */
} fragment;

/* One token after the other, the longest first, takes its occurrences out of what is left. */
static int plain_special(const char *text, size_t n, bool all, fragment *f) {
    int order[64], n_order = 0, count = 1;
    f[0] = (fragment){text, n, SLM_TOKEN_NONE};
    for (int t = 256; t < v.n; t++) {
        if (all || v.types[t] == VB_USER) order[n_order++] = t;
    }
    for (int i = 1; i < n_order; i++) {
        for (int k = i; k > 0 && strlen(v.tokens[order[k]]) > strlen(v.tokens[order[k - 1]]); k--) {
            int other = order[k];
            order[k] = order[k - 1];
            order[k - 1] = other;
        }
    }
    for (int i = 0; i < n_order; i++) {
        const char *token = v.tokens[order[i]];
        size_t len = strlen(token);
        for (int k = 0; k < count; k++) {
            if (f[k].token != SLM_TOKEN_NONE) continue;
            const char *hit = memmem(f[k].at, f[k].n, token, len);
            if (!hit) continue;
            memmove(f + k + 3, f + k + 1, (size_t)(count - k - 1) * sizeof *f);
            count += 2;
            const char *end = f[k].at + f[k].n;
            f[k].n = (size_t)(hit - f[k].at);
            f[k + 1] = (fragment){hit, len, order[i]};
            f[k + 2] = (fragment){hit + len, (size_t)(end - hit) - len, SLM_TOKEN_NONE};
        }
    }
    return count;
}

START_TEST(test_special_tokens_against_their_definition) {
    static const char *const texts[] = {"ab",  "aba",  "b",    "abab", "cab", "bcab",  "aaaa",
                                        "aaa", "caac", "acac", "bbc",  "cc",  "abcabc"};
    uint32_t seed = 5 + (uint32_t)_i;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (next_random(&seed) % 4 == 0) continue;
        vb_token(&v, texts[i], next_random(&seed) % 2 ? VB_CONTROL : VB_USER);
    }
    slm_model *m = vb_open(&v);
    static fragment f[1000];
    for (int round = 0; round < 400; round++) {
        char text[60];
        size_t n = next_random(&seed) % 60;
        for (size_t i = 0; i < n; i++)
            text[i] = "abcab \n"[next_random(&seed) % (round % 2 ? 7 : 3)];
        for (int all = 0; all < 2; all++) {
            slm_token want[60];
            size_t n_want = 0;
            int count = plain_special(text, n, all, f);
            for (int k = 0; k < count; k++) {
                if (f[k].token != SLM_TOKEN_NONE) {
                    want[n_want++] = f[k].token;
                    continue;
                }
                /* no merges: every byte is a token */
                for (size_t b = 0; b < f[k].n; b++) want[n_want++] = (unsigned char)f[k].at[b];
            }
            vb_expect(m, text, n, all ? SLM_TOKENIZE_SPECIAL : 0, want, n_want);
        }
    }
    slm_model_close(m);
}
END_TEST

/* ---- Faults ---- */

/* The ids of broken UTF-8 in the fixtures are the reference's; here what it reads in it. */
START_TEST(test_fault_47_broken_utf8) {
    static const struct {
        const char *text;
        size_t n;
        const char *read;
        size_t n_read;
    } cases[] = {
        {"\xc0\x80", 2, "\0", 1}, /* overlong */
        {"\xe0\x80\xaf", 3, "/", 1},
        {"\xf0\x80\x80\x80\x80", 5, "\0\xef\xbf\xbd", 4},
        {"\xed\xa0\x80", 3, "\xed\xa0\x80", 3},           /* a surrogate is a code point */
        {"a\xe2\x82", 3, "a\xef\xbf\xbd\xef\xbf\xbd", 7}, /* cut off: each byte by itself */
        {"\xe2\x82z", 3, "\xef\xbf\xbd\xef\xbf\xbdz", 7},
        {"\x80\xff\xfe", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 9},
        {"\xf4\x90\x80\x80", 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 12},
        {"\xf8\x88\x80\x80\x80", 5, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd",
         15},
        {"\xf4\x8f\xbf\xbf", 4, "\xf4\x8f\xbf\xbf", 4},
    };
    slm_model *m = vb_open(&v);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        slm_token want[16];
        for (size_t k = 0; k < cases[i].n_read; k++) want[k] = (unsigned char)cases[i].read[k];
        vb_expect(m, cases[i].text, cases[i].n, 0, want, cases[i].n_read);
    }
    slm_model_close(m);
}
END_TEST

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
#define SLOWER 30
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLOWER 30
#endif
#endif
#ifndef SLOWER
#define SLOWER 1
#endif

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

typedef struct job {
    const slm_model *model;
    const char *text;
    size_t n_bytes, n_tokens;
    slm_token *out;
    double seconds;
    slm_status status;
} job;

static void *run_job(void *arg) {
    job *j = arg;
    double begin = cpu_seconds();
    j->status =
        slm_tokenize(j->model, j->text, j->n_bytes, 0, j->out, 3 * j->n_bytes, &j->n_tokens, NULL);
    j->seconds = cpu_seconds() - begin;
    return NULL;
}

/* In a thread of little stack. The shortest time counts: machines are busy, so up to twenty tries until it is below. */
static void run_on_small_stack(job *j, double limit) {
    pthread_attr_t attr;
    double best = 1e9;
    ck_assert_int_eq(pthread_attr_init(&attr), 0);
    ck_assert_int_eq(pthread_attr_setstacksize(&attr, SLOWER > 1 ? 512 << 10 : 64 << 10), 0);
    for (int i = 0; i < 20 && best >= limit; i++) {
        pthread_t thread;
        ck_assert_int_eq(pthread_create(&thread, &attr, run_job, j), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        if (j->seconds < best) best = j->seconds;
    }
    pthread_attr_destroy(&attr);
    ck_assert_int_eq(j->status, SLM_OK);
    ck_assert_msg(best < limit, "%zu bytes of \"%.3s\": %.0f ms", j->n_bytes, j->text, best * 1e3);
}

START_TEST(test_fault_48_long_run_of_one_letter) {
    enum { N = 128 << 10 };
    static const char *const units[] = {"a",  " ",    "7", "\n", "-", "the", "\xe4\xbd\xa0",
                                        "ab", "\xff", "' "};
    tok_cases cases;
    tc_load(&cases, tc_names[_i]);
    static char spaced[8 * N + 1] = " ", *const text = spaced + 1;
    const size_t n_text = sizeof spaced - 1;
    static slm_token tokens[24 * N];
    bool byte_level = _i < TC_N_BYTE_LEVEL, prefix = _i == TC_N_NAMES - 1;
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        size_t n_unit = strlen(units[u]), n = N / n_unit * n_unit;
        for (size_t i = 0; i < n_text; i++) text[i] = units[u][i % n_unit];
        job j = {.model = cases.model, .text = text, .n_bytes = n, .out = tokens};
        run_on_small_stack(&j, .05 * SLOWER);
        ck_assert_uint_gt(j.n_tokens, 0);
        size_t n_bytes = 0, wrong = 0, tripled = byte_level && *units[u] == '\xff' ? 3 : 1;
        uint32_t first = 0; /* no space goes in front of a user-defined token */
        wrong += slm_token_get(cases.model, tokens[0], NULL, NULL, &first) != SLM_OK;
        bool with_space = prefix && !(first & SLM_TOKEN_USER);
        const char *want = with_space ? spaced : text;
        for (size_t i = 0; i < j.n_tokens; i++) { /* they are this text */
            const char *t;
            size_t n_t = 0;
            wrong += slm_token_get(cases.model, tokens[i], &t, &n_t, NULL) != SLM_OK;
            if (tripled == 1) wrong += memcmp(t, want + n_bytes, n_t) != 0;
            n_bytes += n_t;
        }
        ck_assert_uint_eq(wrong, 0);
        ck_assert_uint_eq(n_bytes, tripled * n + with_space);
    }
    /* eight times as long takes not much more than eight times as long */
    memset(text, 'a', n_text);
    job j = {.model = cases.model, .text = text, .n_bytes = n_text, .out = tokens};
    run_on_small_stack(&j, .6 * SLOWER);
    tc_free(&cases);
}
END_TEST

START_TEST(test_fault_49_nul_empty_too_long) {
    slm_model *m = vb_open(&v);
    slm_token out[8];
    size_t n = 99;
    VB_EXPECT(m, "a\0b\0", 0, 'a', 0, 'b', 0);
    ck_assert_int_eq(slm_tokenize(m, NULL, 0, SLM_TOKENIZE_SPECIAL, NULL, 0, &n, &err), SLM_OK);
    ck_assert_uint_eq(n, 0);
    /* only the length is looked at: there is no such text */
    ck_assert_int_eq(slm_tokenize(m, "x", (size_t)INT32_MAX + 1, 0, out, 8, &n, &err),
                     SLM_ERR_LIMIT);
    ck_assert_int_eq(slm_tokenize(m, "x", SIZE_MAX, 0, out, 8, &n, &err), SLM_ERR_LIMIT);
    ck_assert_int_eq(err.status, SLM_ERR_LIMIT);
    ck_assert_int_eq(slm_tokenize(m, "x", 1, 4, out, 8, &n, &err), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_tokenize(m, NULL, 1, 0, out, 8, &n, &err), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_tokenize(m, "x", 1, 0, NULL, 8, &n, &err), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_tokenize(m, "x", 1, 0, out, 8, NULL, &err), SLM_ERR_ARGUMENT);
    VB_EXPECT(m, "x", 0, 'x');
    slm_model_close(m);
}
END_TEST

START_TEST(test_fault_50_control_text_is_literal_unless_asked) {
    int end = vb_token(&v, "<e>", VB_CONTROL), user = vb_token(&v, "<u>", VB_USER);
    int unknown = vb_token(&v, "<k>", VB_UNKNOWN);
    slm_model *m = vb_open(&v);
    VB_EXPECT(m, "a<e><u><k>", 0, 'a', '<', 'e', '>', user, '<', 'k', '>');
    VB_EXPECT(m, "a<e><u><k>", SLM_TOKENIZE_SPECIAL, 'a', end, user, unknown);
    VB_EXPECT(m, "<e<e>", SLM_TOKENIZE_SPECIAL, '<', 'e', end);
    slm_model_close(m);

    /* also where the tokenizer would make one from text: as a whole word, or by a merge */
    teardown();
    setup();
    v.pre = "llama-bpe";
    char long_word[81] = {0};
    memset(long_word, 'x', 80);
    int word = vb_token(&v, "Stop", VB_CONTROL), pair = vb_token(&v, "##", VB_CONTROL);
    vb_token(&v, long_word, VB_CONTROL);
    vb_merge(&v, "#", "#");
    m = vb_open(&v);
    VB_EXPECT(m, "Stop##", 0, 'S', 't', 'o', 'p', '#', '#');
    VB_EXPECT(m, "Stop##", SLM_TOKENIZE_SPECIAL, word, pair);
    slm_token x[80];
    for (int i = 0; i < 80; i++) x[i] = 'x';
    vb_expect(m, long_word, 80, 0, x, 80);
    slm_model_close(m);
}
END_TEST

START_TEST(test_fault_51_room_for_tokens_short) {
    tok_cases cases;
    tc_load(&cases, "smollm");
    const char *text = "The quick <tool_call> brown fox! \xff";
    size_t n_text = strlen(text), n = 0, n_all;
    slm_token all[64], part[64];
    ck_assert_int_eq(slm_tokenize(cases.model, text, n_text, 0, NULL, 0, &n, &err), SLM_ERR_BUFFER);
    n_all = tokenize(cases.model, text, n_text, 0, all, 64);
    ck_assert_uint_eq(n, n_all);
    for (size_t room = 0; room < n_all; room++) {
        for (int i = 0; i < 64; i++) part[i] = -77;
        n = 0;
        ck_assert_int_eq(slm_tokenize(cases.model, text, n_text, 0, part, room, &n, &err),
                         SLM_ERR_BUFFER);
        ck_assert_int_eq(err.status, SLM_ERR_BUFFER);
        ck_assert_uint_eq(n, n_all);
        for (size_t i = room; i < 64; i++) ck_assert_int_eq(part[i], -77);
    }
    ck_assert_uint_eq(tokenize(cases.model, text, n_text, 0, part, n_all), n_all);
    tc_free(&cases);
}
END_TEST

/* Every allocation of a call fails once: NOMEM or, without the memory of words, the same tokens; nothing is held. */
START_TEST(test_fault_84_nth_allocation_fails) {
    vb_merge(&v, "a", "b");
    int user = vb_token(&v, "<u>", VB_USER);
    check_alloc c = {0};
    slm_allocator a = check_allocator(&c);
    slm_model *m;
    ck_assert_int_eq(vb_try_open(&v, &a, &m, &err), SLM_OK);
    char text[2000];
    memset(text, 'a', sizeof text);
    for (int i = 0; i < 1000; i += 10) text[i] = ' ';
    for (int i = 5; i < 600; i += 30)
        memcpy(text + i, "<u>", 3); /* more than the first list of places */
    text[1990] = '\xff';            /* the text is read anew */
    static slm_token want[2000], got[2000];
    size_t n = tokenize(m, text, sizeof text, 0, want, 2000), n_got;
    ck_assert_int_eq(want[5], user);
    long live = c.n_live, calls = c.n_calls;
    int refused = 0, spared = 0;
    c.n_calls = 0;
    tokenize(m, text, sizeof text, 0, got, 2000);
    calls = c.n_calls;
    ck_assert_int_ge(calls, 7);
    for (long at = 1; at <= calls; at++) {
        c.n_calls = 0;
        c.fail_at = at;
        slm_status s = slm_tokenize(m, text, sizeof text, 0, got, 2000, &n_got, &err);
        c.fail_at = 0;
        ck_assert_int_eq(c.n_live, live);
        refused += s == SLM_ERR_NOMEM;
        if (s == SLM_ERR_NOMEM) continue;
        ck_assert_int_eq(s, SLM_OK);
        ck_assert_uint_eq(n_got, n);
        ck_assert_mem_eq(got, want, n * sizeof *want);
        spared++;
    }
    ck_assert_int_ge(refused, 6);
    ck_assert_int_eq(refused + spared, calls);
    slm_model_close(m);
    ck_assert_int_eq(c.n_live, 0);
}
END_TEST

/* ---- One vocabulary, several threads ---- */

START_TEST(test_threads_share_a_vocabulary) {
    enum { N_THREADS = 4, N = 60000 };
    tok_cases cases;
    tc_load(&cases, "llama-bpe");
    char *text = malloc(N);
    for (int i = 0; i < N; i++) text[i] = "The quick brown fox's 123 \xe4\xbd\xa0\n"[i * 7 % 30];
    job jobs[N_THREADS];
    pthread_t threads[N_THREADS];
    for (int i = 0; i < N_THREADS; i++) {
        jobs[i] = (job){.model = cases.model, .text = text, .n_bytes = N};
        jobs[i].out = malloc(3 * N * sizeof(slm_token));
        ck_assert_ptr_nonnull(jobs[i].out);
    }
    for (int i = 0; i < N_THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_job, &jobs[i]), 0);
    for (int i = 0; i < N_THREADS; i++) ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < N_THREADS; i++) {
        ck_assert_int_eq(jobs[i].status, SLM_OK);
        ck_assert_uint_eq(jobs[i].n_tokens, jobs[0].n_tokens);
        ck_assert_uint_gt(jobs[i].n_tokens, 1000);
        ck_assert_mem_eq(jobs[i].out, jobs[0].out, jobs[0].n_tokens * sizeof(slm_token));
    }
    for (int i = 0; i < N_THREADS; i++) free(jobs[i].out);
    free(text);
    tc_free(&cases);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("tokenize");
    TCase *c = tcase_create("tokenize");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, test_ids_of_other_tokenizers, 0, TC_N_NAMES);
    tcase_add_loop_test(c, test_long_text_is_its_parts, 0, TC_N_NAMES);
    tcase_add_loop_test(c, test_bpe_against_its_definition, 0, 6);
    tcase_add_test(c, test_whole_words_before_merges);
    tcase_add_test(c, test_bytes_without_token);
    tcase_add_loop_test(c, test_special_tokens_against_their_definition, 0, 12);
    tcase_add_test(c, test_fault_47_broken_utf8);
    tcase_add_loop_test(c, test_fault_48_long_run_of_one_letter, 0, TC_N_NAMES);
    tcase_add_test(c, test_fault_49_nul_empty_too_long);
    tcase_add_test(c, test_fault_50_control_text_is_literal_unless_asked);
    tcase_add_test(c, test_fault_51_room_for_tokens_short);
    tcase_add_test(c, test_fault_84_nth_allocation_fails);
    tcase_add_test(c, test_threads_share_a_vocabulary);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
