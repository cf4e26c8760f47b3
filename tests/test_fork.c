/* Sequences that begin alike share the memory of what they have in common, and are what they are alone. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "support/kv_case.h"
#include "support/suite.h"

enum { N_VOCAB = 260, BATCH = 40 };

static const tiny_key keys[] = {{"attention.sliding_window", 33, false}, {0}};
#define SIZES .n_vocab = N_VOCAB, .n_embd = 64, .n_head = 4, .n_head_kv = 2, .n_ff = 96
static const tiny_shape shapes[] = {
    {SIZES, .n_layer = 2, .seed = 51},
    {SIZES, .n_layer = 2, .keys = keys, .seed = 52}, /* every layer has a window */
    {SIZES, .arch = "gemma3", .n_layer = 7, .post_norms = true, .qk_norm = true, .keys = keys,
     .seed = 53},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

/* A context that holds the prefix sixteen times over has no room for it. */
START_TEST(test_sixteen_sequences_share_a_prefix) {
    enum { PREFIX = 200, MORE = 30, SEQS = 16 };
    const slm_kv_type kv = _i / N_SHAPES ? SLM_KV_Q8_0 : SLM_KV_F16;
    fixture f = open_tiny(&shapes[_i % N_SHAPES]);
    slm_token text[PREFIX + MORE * SEQS];
    static float alone[SEQS][N_VOCAB];
    fill_tokens(text, PREFIX + MORE * SEQS, N_VOCAB);
    for (int s = 0; s < SEQS; s++) {
        slm_context *ctx = create_for_sequences(f.model, PREFIX + MORE, 1, BATCH, kv);
        add_to(ctx, 0, text, PREFIX);
        add_to(ctx, 0, text + PREFIX + MORE * s, MORE);
        memcpy(alone[s], slm_logits(ctx, 0), sizeof alone[s]);
        slm_context_free(ctx);
    }
    slm_context *ctx =
        create_for_sequences(f.model, PREFIX + SEQS * (MORE + PREFIX % SLM_PAGE), SEQS, BATCH, kv);
    add_to(ctx, 0, text, PREFIX);
    for (int s = 1; s < SEQS; s++) ck_assert_int_eq(slm_seq_fork(ctx, 0, s, PREFIX, NULL), SLM_OK);
    ck_assert_int_eq(ctx->kv.used, PREFIX); /* stored once */
    ck_assert_int_eq(ctx->kv.groups[KV_GLOBAL].n_pages - ctx->kv.groups[KV_GLOBAL].n_free,
                     (PREFIX + SLM_PAGE - 1) / SLM_PAGE);
    check_pages(ctx);
    /* all of them go on together, token by token */
    for (int i = 0; i < MORE; i++) {
        slm_token tokens[SEQS];
        int32_t sequences[SEQS];
        uint8_t want[SEQS];
        for (int s = 0; s < SEQS; s++) {
            tokens[s] = text[PREFIX + MORE * s + i];
            sequences[s] = s;
            want[s] = 1;
        }
        slm_batch b = {.size = sizeof b,
                       .n_tokens = SEQS,
                       .tokens = tokens,
                       .sequences = sequences,
                       .want_logits = want};
        ck_assert_int_eq(slm_decode(ctx, &b, NULL), SLM_OK);
    }
    for (int s = 0; s < SEQS; s++)
        ck_assert_int_eq(memcmp(slm_logits(ctx, s), alone[s], sizeof alone[s]), 0);
    check_pages(ctx);
    for (int s = 0; s < SEQS; s++) ck_assert_int_eq(slm_seq_truncate(ctx, s, 0, NULL), SLM_OK);
    ck_assert_int_eq(ctx->kv.used, 0);
    check_pages(ctx);
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

/* Layers with a window may have given back what comes before `length`, after more than one cut. */
static bool check_cut(slm_status status, const slm_context *ctx, int32_t seq, int32_t length) {
    bool possible = length >= slm__kv_shortest(&ctx->kv, seq);
    ck_assert_int_eq(status, possible ? SLM_OK : SLM_ERR_RANGE);
    return possible;
}

/* Sequences that grow, are cut, and begin as others do; each is compared with a fresh computation of its tokens. */
START_TEST(test_sequences_that_fork_at_random) {
    enum { SEQS = 4, N_CTX = 450, STEPS = 500, LONGEST = 300 };
    fixture f = open_tiny(&shapes[_i]);
    slm_context *ctx = create_for_sequences(f.model, N_CTX, SEQS, BATCH, SLM_KV_F16),
                *fresh = create_for_sequences(f.model, LONGEST, 1, BATCH, SLM_KV_F16);
    static slm_token text[SEQS][LONGEST];
    uint64_t random = 11;
    int forks = 0, grown = 0, full = 0;
    for (int step = 0; step < STEPS; step++) {
        int32_t seq = (int32_t)(tiny_random(&random) % SEQS), length = slm_seq_length(ctx, seq);
        int32_t other = (int32_t)(tiny_random(&random) % SEQS);
        switch (tiny_random(&random) % 8) {
        case 0: ck_assert_int_eq(slm_seq_truncate(ctx, seq, 0, NULL), SLM_OK); break;
        case 1:
            length -= (int32_t)(tiny_random(&random) % 65);
            if (length > 0) check_cut(slm_seq_truncate(ctx, seq, length, NULL), ctx, seq, length);
            break;
        case 2:
        case 3:
        case 4:
            length -= (int32_t)(tiny_random(&random) % 65);
            if (seq == other || length <= 0) break;
            ck_assert_int_eq(slm_seq_truncate(ctx, other, 0, NULL), SLM_OK);
            if (!check_cut(slm_seq_fork(ctx, seq, other, length, NULL), ctx, seq, length)) break;
            memcpy(text[other], text[seq], (size_t)length * sizeof **text);
            forks++;
            break;
        default: {
            int32_t n = 1 + (int32_t)(tiny_random(&random) % 70), sequences[70];
            if (length + n > LONGEST) break;
            for (int32_t i = 0; i < n; i++) {
                sequences[i] = seq;
                text[seq][length + i] = (slm_token)(tiny_random(&random) % N_VOCAB);
            }
            slm_batch b = {.size = sizeof b,
                           .n_tokens = n,
                           .tokens = text[seq] + length,
                           .sequences = sequences};
            slm_status s = slm_decode(ctx, &b, NULL);
            if (s == SLM_ERR_CONTEXT_FULL) {
                full++;
                ck_assert_int_eq(slm_seq_truncate(ctx, other, 0, NULL), SLM_OK);
                break;
            }
            ck_assert_int_eq(s, SLM_OK);
            ck_assert_int_eq(slm_seq_truncate(fresh, 0, 0, NULL), SLM_OK);
            add_to(fresh, 0, text[seq], length + n);
            ck_assert_int_eq(memcmp(slm_logits(ctx, 0), slm_logits(fresh, 0), N_VOCAB * 4), 0);
            grown++;
        }
        }
        check_pages(ctx);
        ck_assert_int_le(ctx->kv.used, N_CTX);
    }
    ck_assert_msg(forks > 50 && grown > 100 && full > 0, "%d, %d, %d", forks, grown, full);
    slm_context_free(ctx), slm_context_free(fresh);
    close_tiny(f);
}
END_TEST

START_TEST(test_fault_68_forks_that_cannot_be_had) {
    fixture f = open_tiny(&shapes[2]);
    slm_context *ctx = create_for_sequences(f.model, 600, 3, BATCH, SLM_KV_F16);
    slm_token text[400];
    slm_error err;
    static const struct {
        int32_t from, to, length;
        const char *says;
    } wrong[] = {
        {-1, 1, 5, "sequences -1 and 1 of 3"},
        {0, 3, 5, "sequences 0 and 3 of 3"},
        {0, 0, 5, "sequences 0 and 0"},
        {0, 1, -1, "-1 tokens of sequence 0"},
        {0, 1, 401, "401 tokens"},
        {0, 1, 100, "100 tokens"}, /* given back */
        {0, 2, 390, "is not empty"},
    };
    fill_tokens(text, 400, N_VOCAB);
    for (int i = 0; i < 400; i += 20) add_to(ctx, 0, text + i, 20);
    add_to(ctx, 2, text, 10);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ck_assert_int_eq(slm_seq_fork(ctx, wrong[i].from, wrong[i].to, wrong[i].length, &err),
                         SLM_ERR_RANGE);
        ck_assert_msg(strstr(err.message, wrong[i].says) != NULL, "%s", err.message);
        check_pages(ctx);
    }
    ck_assert_int_eq(slm_seq_fork(NULL, 0, 1, 1, &err), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_seq_fork(ctx, 0, 1, 0, &err), SLM_OK);
    ck_assert_int_eq(slm_seq_length(ctx, 1), 0);
    ck_assert_int_eq(slm_seq_fork(ctx, 0, 1, 390, &err), SLM_OK);
    ck_assert(slm_seq_length(ctx, 0) == 400 && slm_seq_length(ctx, 1) == 390);
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("fork");
    TCase *c = tcase_create("fork");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, test_sixteen_sequences_share_a_prefix, 0, 2 * N_SHAPES);
    tcase_add_loop_test(c, test_sequences_that_fork_at_random, 0, N_SHAPES);
    tcase_add_test(c, test_fault_68_forks_that_cannot_be_had);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
