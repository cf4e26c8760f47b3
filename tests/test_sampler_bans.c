/* What must not come, by brute force: every token is tried on the text so far. And DRY's breakers, which are text too. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../include/slm.h"
#include "support/check_alloc.h"
#include "support/suite.h"
#include "support/vocab_build.h"

static slm_error err;
static vocab_build vocab;
static slm_model *model;
static int32_t n_vocab;
static slm_token end_token, control_token;

#define GOOD(call)                                                                   \
    do {                                                                             \
        slm_status got_ = (call);                                                    \
        ck_assert_msg(got_ == SLM_OK, "%s: %s", slm_status_name(got_), err.message); \
    } while (0)

static uint64_t random_u64(uint64_t *state) { /* SplitMix64 */
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
static int below(uint64_t *state, int n) { return (int)(random_u64(state) % (uint64_t)n); }

/* All bytes; all texts of two and three letters and some of four, of "ab" and the space; an end, a control token. */
static void setup(void) {
    static const char letters[] = "ab ";
    vocab = (vocab_build){.pre = "gpt-2"};
    vb_begin(&vocab);
    for (int i = 0; i < 9; i++) {
        char left[2] = {letters[i / 3], 0}, right[2] = {letters[i % 3], 0};
        vb_merge(&vocab, left, right);
    }
    for (int i = 0; i < 27; i++) {
        char left[3] = {letters[i / 9], letters[i / 3 % 3], 0}, right[2] = {letters[i % 3], 0};
        vb_merge(&vocab, left, right);
    }
    for (int i = 0; i < 81; i += 4) {
        char left[4] = {letters[i / 27], letters[i / 9 % 3], letters[i / 3 % 3], 0};
        char right[2] = {letters[i % 3], 0};
        vb_merge(&vocab, left, right);
    }
    end_token = vb_token(&vocab, "<|im_end|>", VB_CONTROL);
    control_token = vb_token(&vocab, "<|a|>", VB_CONTROL);
    model = vb_open(&vocab);
    slm_model_info info = {.size = sizeof info};
    ck_assert_int_eq(slm_model_get_info(model, &info), SLM_OK);
    n_vocab = info.n_vocab;
}

static void teardown(void) {
    slm_model_close(model);
    vb_free(&vocab);
}

static slm_sampler *new_sampler(slm_sampler_params p) {
    slm_sampler *s;
    GOOD(slm_sampler_create(&p, &s, &err));
    return s;
}

/* The bytes that the token adds to a text. */
static size_t text_of(slm_token t, const char **text) {
    size_t n;
    uint32_t attributes;
    if (slm_token_get(model, t, text, &n, &attributes) != SLM_OK) ck_abort_msg("token %d", t);
    return attributes & SLM_TOKEN_CONTROL ? 0 : n;
}

/* Does one of the strings end among the last n_new bytes? */
static bool completes(const char *text, size_t n, size_t n_new, const slm_string *strings,
                      int32_t n_strings) {
    for (int32_t i = 0; i < n_strings; i++)
        for (size_t end = n - n_new + 1; end <= n; end++)
            if (end >= strings[i].n_bytes &&
                memcmp(text + end - strings[i].n_bytes, strings[i].text, strings[i].n_bytes) == 0)
                return true;
    return false;
}

/* ---- Banned strings ---- */

typedef struct bans {
    char bytes[200];
    slm_string v[8];
    int32_t n;
} bans;

static void random_bans(bans *b, uint64_t *state) {
    size_t at = 0;
    b->n = 1 + below(state, 6);
    for (int32_t i = 0; i < b->n; i++) {
        size_t n = 2 + (size_t)below(state, 7);
        b->v[i] = (slm_string){b->bytes + at, n};
        for (size_t k = 0; k < n; k++) b->bytes[at++] = "aab "[below(state, 4)];
    }
}

/* A sampler with nothing but bans must choose, of a row that falls by a random order, the first token that is allowed: so each choice tells that those
 * before it are banned. The set of all banned tokens is compared when it is its turn. */
START_TEST(test_banned_strings_by_brute_force) {
    static float row[1000];
    static char text[4000];
    uint64_t state = (uint64_t)_i + 1;
    int n_banned = 0;
    for (int round = 0; round < 30; round++) {
        bans b;
        random_bans(&b, &state);
        slm_sampler_params p = slm_sampler_defaults();
        p.model = model;
        p.banned_strings = b.v;
        p.n_banned_strings = b.n;
        slm_sampler *s = new_sampler(p);
        size_t n = 0;
        for (int step = 0; step < 150; step++) {
            for (int t = 0; t < n_vocab; t++) row[t] = (float)below(&state, 100000);
            for (int t = 256; t < n_vocab; t++)
                row[t] += 100000; /* texts of a, b and space first */
            row[control_token] = below(&state, 20) ? 0 : 1e6f;
            slm_token token = -1;
            GOOD(slm_sampler_sample(s, row, n_vocab, &token, &err));
            for (int t = 0; t < n_vocab; t++) {
                const char *bytes;
                size_t more = text_of(t, &bytes);
                memcpy(text + n, bytes, more);
                bool banned = completes(text, n + more, more, b.v, b.n);
                n_banned += banned && row[t] > row[token];
                if (t == token && banned) ck_abort_msg("token %d completes a banned string", t);
                if (row[t] > row[token] && !banned) ck_abort_msg("token %d is not banned", t);
            }
            const char *bytes;
            size_t more = text_of(token, &bytes);
            memcpy(text + n, bytes, more);
            n += more;
        }
        ck_assert(!completes(text, n, n, b.v, b.n));
        slm_sampler_free(s);
    }
    ck_assert_int_gt(n_banned, 500);
}
END_TEST

/* Strings that are equal, end with each other or have each other inside take no more memory than one of them. */
START_TEST(test_strings_that_repeat) {
    enum { N = 900 };
    static slm_string many[N];
    uint64_t peak[2];
    for (int i = 0; i < N; i++) many[i] = (slm_string){"aaaa ", 2 + (size_t)i % 4};
    for (int k = 0; k < 2; k++) {
        static float row[1000];
        check_alloc c = {0};
        slm_sampler_params p = slm_sampler_defaults();
        p.model = model;
        p.allocator = check_allocator(&c);
        p.banned_strings = many;
        p.n_banned_strings = k ? N : 4;
        slm_sampler *s = new_sampler(p);
        uint64_t before = c.n_bytes;
        slm_token token;
        slm_sampler_accept(s, 'a'); /* the text now ends with the start of all */
        GOOD(slm_sampler_sample(s, row, n_vocab, &token, &err));
        peak[k] = c.n_bytes - before;
        slm_sampler_free(s);
    }
    ck_assert_uint_eq(peak[0], peak[1]);
}
END_TEST

/* What was told counts as text; a new text begins after a reset. */
START_TEST(test_banned_strings_span_the_prompt) {
    static float row[1000];
    static const slm_string banned = {"ab", 2};
    slm_sampler_params p = slm_sampler_defaults();
    p.model = model;
    p.banned_strings = &banned;
    p.n_banned_strings = 1;
    slm_sampler *s = new_sampler(p);
    slm_token a, b, token;
    size_t n;
    GOOD(slm_tokenize(model, "a", 1, 0, &a, 1, &n, &err));
    GOOD(slm_tokenize(model, "b", 1, 0, &b, 1, &n, &err));
    row[b] = 2;
    row[control_token] = 1;
    slm_sampler_accept(s, a);
    GOOD(slm_sampler_sample(s, row, n_vocab, &token, &err));
    ck_assert_int_eq(token, control_token); /* gives no text: the b is still banned */
    GOOD(slm_sampler_sample(s, row, n_vocab, &token, &err));
    ck_assert_int_eq(token, control_token);
    slm_sampler_reset(s);
    GOOD(slm_sampler_sample(s, row, n_vocab, &token, &err));
    ck_assert_int_eq(token, b);
    slm_sampler_accept(s, -5); /* no token: no text */
    slm_sampler_accept(s, n_vocab);
    slm_sampler_free(s);
}
END_TEST

/* ---- Ends, biases, allowed tokens ---- */

START_TEST(test_min_tokens) {
    static float row[1000];
    slm_sampler_params p = slm_sampler_defaults();
    p.model = model;
    p.min_tokens = 5;
    slm_sampler *s = new_sampler(p);
    row[end_token] = 5;
    row[7] = 1;
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < 3; i++) slm_sampler_accept(s, 9); /* does not count */
        for (int i = 0; i < 7; i++) {
            slm_token token;
            GOOD(slm_sampler_sample(s, row, n_vocab, &token, &err));
            ck_assert_int_eq(token, i < 5 ? 7 : end_token);
        }
        slm_sampler_reset(s);
    }
    slm_sampler_free(s);
}
END_TEST

START_TEST(test_biases_and_bans_by_number) {
    float row[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    const slm_logit_bias biases[] = {{7, -INFINITY}, {6, -1},        {6, -1.5f}, {900, 5},
                                     {2, 2.75f},     {5, -INFINITY}, {5, 9}};
    slm_sampler_params p = slm_sampler_defaults();
    p.logit_biases = biases;
    p.n_logit_biases = 7;
    slm_sampler *s = new_sampler(p);
    slm_token token;
    GOOD(slm_sampler_sample(s, row, 8, &token, &err));
    ck_assert_int_eq(token, 2); /* 4.75; 6 has 3.5 */
    row[4] = 5;
    GOOD(slm_sampler_sample(s, row, 8, &token, &err));
    ck_assert_int_eq(token, 4);
    slm_sampler_free(s);
}
END_TEST

START_TEST(test_allowed_tokens) {
    static float row[700];
    static uint64_t bits[11];
    uint64_t state = 3;
    slm_sampler *s = new_sampler(slm_sampler_defaults());
    for (int n = 1; n <= 700; n += n < 70 ? 1 : 37) {
        for (int round = 0; round < 20; round++) {
            slm_token token = -1, want = -1;
            for (int i = 0; i < n; i++) row[i] = (float)below(&state, 50);
            for (int w = 0; w < 11; w++)
                bits[w] = round % 4 == 0 ? ~(uint64_t)0 : random_u64(&state) & random_u64(&state);
            if (round % 4 == 1) memset(bits, 0, sizeof bits);
            if (round == 5) bits[(n - 1) / 64] = (uint64_t)1 << (n - 1) % 64;
            for (int i = 0; i < n; i++)
                if ((bits[i / 64] >> i % 64 & 1) && (want < 0 || row[i] > row[want])) want = i;
            ck_assert_int_eq(slm_sampler_set_allowed(s, bits, n), SLM_OK);
            slm_status status = slm_sampler_sample(s, row, n, &token, &err);
            ck_assert_int_eq(status, want < 0 ? SLM_ERR_NUMERIC : SLM_OK);
            ck_assert_int_eq(token, want);
        }
    }
    slm_token token;
    ASSERT_FAILS(slm_sampler_sample(s, row, 5, &token, &err), SLM_ERR_ARGUMENT, "allowed");
    ck_assert_int_eq(slm_sampler_set_allowed(s, bits, 0), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_sampler_set_allowed(NULL, bits, 5), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_sampler_set_allowed(s, NULL, 0), SLM_OK);
    GOOD(slm_sampler_sample(s, row, 5, &token, &err));
    slm_sampler_free(s);
}
END_TEST

/* ---- DRY's breakers ---- */

/* "ab ab " and then: a would prolong a repetition of 3 tokens, but not past a breaker; tokens that have a breaker in them may come. */
START_TEST(test_dry_breakers) {
    static float row[1000];
    static const struct {
        const char *breaker;
        bool penalised;
    } cases[] = {{"x", true}, {" ", false}, {"b a", true}, {"b ", false}, {"a", false}};
    slm_token ids[3], token;
    size_t n;
    for (int i = 0; i < 3; i++) GOOD(slm_tokenize(model, &"ab "[i], 1, 0, &ids[i], 1, &n, &err));
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        slm_string breaker = {cases[c].breaker, strlen(cases[c].breaker)};
        slm_sampler_params p = slm_sampler_defaults();
        p.model = model;
        p.dry_multiplier = 2;
        p.dry_allowed_length = 1;
        p.dry_breakers = &breaker;
        p.n_dry_breakers = 1;
        slm_sampler *s = new_sampler(p);
        for (int i = 0; i < 6; i++) slm_sampler_accept(s, ids[i % 3]);
        row[ids[0]] = 1;
        row[200] = .5f;
        GOOD(slm_sampler_sample(s, row, n_vocab, &token, &err));
        ck_assert_msg(token == (cases[c].penalised ? 200 : ids[0]), "\"%s\": token %d",
                      cases[c].breaker, token);
        slm_sampler_free(s);
    }
}
END_TEST

/* ---- Faults ---- */

START_TEST(test_fault_66_what_is_needed) {
    static const slm_string empty = {"", 0}, null = {NULL, 4}, good = {"x", 1};
    slm_sampler_params d = slm_sampler_defaults(), p = d;
    slm_sampler *s;
    p.n_banned_strings = 1;
    p.banned_strings = &good;
    ASSERT_FAILS(slm_sampler_create(&p, &s, &err), SLM_ERR_ARGUMENT, "model");
    ck_assert_ptr_null(s);
    p.model = model;
    p.banned_strings = &empty;
    ASSERT_FAILS(slm_sampler_create(&p, &s, &err), SLM_ERR_ARGUMENT, "empty");
    p.banned_strings = &null;
    ASSERT_FAILS(slm_sampler_create(&p, &s, &err), SLM_ERR_ARGUMENT, "banned_strings");
    p.banned_strings = NULL;
    ASSERT_FAILS(slm_sampler_create(&p, &s, &err), SLM_ERR_ARGUMENT, "NULL");
    p.n_banned_strings = -1;
    ASSERT_FAILS(slm_sampler_create(&p, &s, &err), SLM_ERR_LIMIT, "banned_strings");
    p = d;
    p.min_tokens = 1;
    ASSERT_FAILS(slm_sampler_create(&p, &s, &err), SLM_ERR_ARGUMENT, "min_tokens");
    p = d;
    p.dry_multiplier = 1;
    ASSERT_FAILS(slm_sampler_create(&p, &s, &err), SLM_ERR_ARGUMENT, "dry_breakers");
    p = d;
    p.n_logit_biases = 1;
    ASSERT_FAILS(slm_sampler_create(&p, &s, &err), SLM_ERR_ARGUMENT, "logit_biases");
    static const char *const orders[] = {"top_k,top_q", "top_k,top_k", "typical;typ_p",
                                         "top_k,",      ",top_k",      " top_k"};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        p = d;
        p.order = orders[i];
        ASSERT_FAILS(slm_sampler_create(&p, &s, &err), SLM_ERR_ARGUMENT, "order");
    }
    p.order = "";
    GOOD(slm_sampler_create(&p, &s, &err));
    slm_sampler_free(s);
    slm_sampler_reset(NULL);
}
END_TEST

START_TEST(test_fault_69_parameters_out_of_range) {
#define OFF .repeat_penalty = 1, .top_p = 1
    static const slm_logit_bias nan_bias = {1, NAN}, plus = {1, INFINITY}, negative = {-1, 1};
    static const struct {
        const char *name;
        slm_sampler_params p;
    } bad[] = {
        {"presence_penalty", {OFF, .presence_penalty = NAN}},
        {"presence_penalty", {OFF, .presence_penalty = -INFINITY}},
        {"frequency_penalty", {OFF, .frequency_penalty = INFINITY}},
        {"dynatemp_range", {OFF, .dynatemp_range = -1}},
        {"dynatemp_range", {OFF, .dynatemp_range = NAN}},
        {"dynatemp_exponent", {OFF, .dynatemp_exponent = -1}},
        {"dynatemp_exponent", {OFF, .dynatemp_exponent = INFINITY}},
        {"typical_p", {OFF, .typical_p = 1.5f}},
        {"typical_p", {OFF, .typical_p = NAN}},
        {"top_n_sigma", {OFF, .top_n_sigma = -1}},
        {"top_n_sigma", {OFF, .top_n_sigma = NAN}},
        {"xtc_probability", {OFF, .xtc_probability = 2}},
        {"xtc_threshold", {OFF, .xtc_threshold = NAN}},
        {"mirostat", {OFF, .mirostat = 1}},
        {"mirostat_tau", {OFF, .mirostat_tau = NAN}},
        {"mirostat_eta", {OFF, .mirostat_eta = -1}},
        {"dry_multiplier", {OFF, .dry_multiplier = NAN, .dry_base = 1, .dry_allowed_length = 1}},
        {"dry_multiplier", {OFF, .dry_multiplier = -1, .dry_base = 1, .dry_allowed_length = 1}},
        {"dry_base", {OFF, .dry_multiplier = 1, .dry_base = .5f, .dry_allowed_length = 1}},
        {"dry_base", {OFF, .dry_multiplier = 1, .dry_base = NAN, .dry_allowed_length = 1}},
        {"dry_allowed_length", {OFF, .dry_multiplier = 1, .dry_base = 1}},
        {"dry_last_n", {OFF, .dry_last_n = -1}},
        {"dry_last_n", {OFF, .dry_last_n = 65537}},
        {"min_tokens", {OFF, .min_tokens = -1}},
        {"n_logit_biases", {OFF, .n_logit_biases = -1}},
        {"logit_biases[0]", {OFF, .n_logit_biases = 1, .logit_biases = &nan_bias}},
        {"logit_biases[0]", {OFF, .n_logit_biases = 1, .logit_biases = &plus}},
        {"logit_biases[0]", {OFF, .n_logit_biases = 1, .logit_biases = &negative}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        slm_sampler_params p = bad[i].p;
        slm_sampler *s = (slm_sampler *)&p;
        p.size = sizeof p;
        ASSERT_FAILS(slm_sampler_create(&p, &s, &err), SLM_ERR_RANGE, bad[i].name);
        ck_assert_ptr_null(s);
    }
    /* tokens that the model does not have */
    slm_logit_bias bias = {n_vocab, 1};
    slm_sampler_params p = slm_sampler_defaults();
    slm_sampler *s;
    p.logit_biases = &bias;
    p.n_logit_biases = 1;
    p.model = model;
    ASSERT_FAILS(slm_sampler_create(&p, &s, &err), SLM_ERR_RANGE, "logit_biases[0]: token");
    bias.token--;
    GOOD(slm_sampler_create(&p, &s, &err));
    slm_sampler_free(s);
}
END_TEST

/* Everything at once, each allocation failing once: NOMEM, nothing is held, and the tokens are those of a sampler that never failed. */
START_TEST(test_fault_84_nth_allocation_fails) {
    static float row[1000];
    static const slm_string banned[] = {{"aab", 3}, {"b b", 3}};
    static const slm_logit_bias bias[] = {{3, 1}, {4, -INFINITY}};
    uint64_t state = 8;
    slm_sampler_params p = slm_sampler_defaults();
    p.model = model;
    p.banned_strings = banned;
    p.n_banned_strings = 2;
    p.logit_biases = bias;
    p.n_logit_biases = 2;
    p.min_tokens = 3;
    p.dry_multiplier = 1;
    p.dry_last_n = 40;
    p.repeat_penalty = 1.2f;
    p.temperature = 1;
    p.typical_p = .9f;
    p.top_p = .95f;
    p.xtc_probability = .5f;
    slm_token want[60], token;
    int refused = 0;
    for (int t = 0; t < n_vocab; t++)
        row[t] = (float)(t >= 256) * 5 + (float)below(&state, 64) / 16;
    slm_sampler *s = new_sampler(p);
    for (int i = 0; i < 60; i++) GOOD(slm_sampler_sample(s, row, n_vocab, &want[i], &err));
    slm_sampler_free(s);
    for (long at = 1;; at++) {
        check_alloc c = {.fail_at = at};
        p.allocator = check_allocator(&c);
        slm_status status = slm_sampler_create(&p, &s, &err);
        int failed = status != SLM_OK;
        ck_assert(status == SLM_OK || status == SLM_ERR_NOMEM);
        for (int i = 0; i < 60 && status == SLM_OK; i++) {
            slm_status one = slm_sampler_sample(s, row, n_vocab, &token, &err);
            if (one == SLM_ERR_NOMEM) {
                failed++;
                one = slm_sampler_sample(s, row, n_vocab, &token, &err);
            }
            ck_assert_int_eq(one, SLM_OK);
            ck_assert_int_eq(token, want[i]);
        }
        slm_sampler_free(s);
        ck_assert_int_eq(c.n_live, 0);
        refused += failed;
        if (c.n_calls < at) break;
        ck_assert_int_eq(failed, 1);
    }
    ck_assert_int_gt(refused, 35);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("sampler_bans");
    TCase *c = tcase_create("sampler_bans");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, test_banned_strings_by_brute_force, 0, 8);
    tcase_add_test(c, test_strings_that_repeat);
    tcase_add_test(c, test_banned_strings_span_the_prompt);
    tcase_add_test(c, test_min_tokens);
    tcase_add_test(c, test_biases_and_bans_by_number);
    tcase_add_test(c, test_allowed_tokens);
    tcase_add_test(c, test_dry_breakers);
    tcase_add_test(c, test_fault_66_what_is_needed);
    tcase_add_test(c, test_fault_69_parameters_out_of_range);
    tcase_add_test(c, test_fault_84_nth_allocation_fails);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
