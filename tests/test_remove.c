/* Removing positions from the middle of a sequence: what stays is where it should be, turned as it should be, and nothing else changes. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/kv_case.h"
#include "support/strict.h"
#include "support/suite.h"

enum { N_VOCAB = 260, BATCH = 40, WINDOW = 33 };

#define SIZES .n_vocab = N_VOCAB, .n_embd = 64, .n_head = 4, .n_head_kv = 2, .n_ff = 96
static const tiny_key keys[] = {{"attention.sliding_window", WINDOW, false}, {0}};
static const tiny_key phi3_keys[] = {{"attention.sliding_window", 100, false},
                                     {"rope.scaling.original_context_length", 128, false},
                                     {"rope.scaling.attn_factor", 1.19, true},
                                     {0}};

/* ---- One layer: keys and values depend on a token and its position alone, so all of the result can be had afresh ---- */

static const tiny_shape single[] = {
    {SIZES, .n_layer = 1, .seed = 61},
    {SIZES, .arch = "qwen2", .n_layer = 1, .biases = true, .n_rot = 8, .seed = 62},
    {SIZES, .n_layer = 1, .keys = keys, .seed = 63},
    {SIZES, .arch = "gemma3", .n_layer = 1, .head_dim = 72, .post_norms = true, .qk_norm = true,
     .rope_factor = 8, .keys = keys, .seed = 64},
    {SIZES, .arch = "phi3", .n_layer = 1, .fused = true, .long_rope = true, .keys = phi3_keys,
     .seed = 65},
};
enum { N_SINGLE = sizeof single / sizeof *single };

static const struct {
    int32_t length, begin, end;
} ranges[] = {
    {300, 4, 132},   /* whole pages, not on a border          */
    {300, 64, 128},  /* a page                                */
    {300, 0, 200},   /* nothing is kept                       */
    {300, 10, 11},   /* a position                            */
    {300, 100, 187}, /* more than a page                      */
    {300, 63, 129},  /* over two borders                      */
    {300, 5, 199},   /* what is left is just longer than all windows */
    {140, 1, 20},    /* short */
    {65, 0, 1},
};
enum { N_RANGES = sizeof ranges / sizeof *ranges };

/* Fault 93: of the logits, relative to their spread. Largest seen: 2.8e-3, 2.1e-6, 0.058 (keys of these models are random, and so are
 * their attention weights: they forgive less than trained ones). Keys left unturned give more than 0.4. */
static const double tolerance[] = {[SLM_KV_F16] = 8e-3, [SLM_KV_F32] = 1e-5, [SLM_KV_Q8_0] = 0.12};

START_TEST(test_fault_93_removing_is_fresh_computation_of_one_layer) {
    fixture f = open_tiny(&single[_i / 3]);
    slm_kv_type kv = (slm_kv_type)(_i % 3);
    for (size_t i = 0; i < N_RANGES; i++) {
        int32_t n = ranges[i].length, begin = ranges[i].begin, end = ranges[i].end;
        slm_token text[320];
        slm_error err;
        double want[N_VOCAB];
        fill_tokens(text, 320, N_VOCAB);
        slm_context *ctx = create_for_sequences(f.model, 400, 1, BATCH, kv),
                    *fresh = create_for_sequences(f.model, 400, 1, BATCH, kv);
        for (int32_t at = 0; at < n; at += BATCH)
            add_to(ctx, 0, text + at, at + BATCH < n ? BATCH : n - at);
        ck_assert_msg(slm_seq_remove(ctx, 0, begin, end, &err) == SLM_OK, "%s", err.message);
        ck_assert_int_eq(slm_seq_length(ctx, 0), n - (end - begin));
        check_pages(ctx);
        if (begin > 0) add_to(fresh, 0, text, begin);
        add_to(fresh, 0, text + end, n - end);
        for (int more = 0; more < 70; more += 35) { /* the next tokens, too, over a border */
            add_to(ctx, 0, text + 100 + more, more + 1);
            add_to(fresh, 0, text + 100 + more, more + 1);
            for (int j = 0; j < N_VOCAB; j++) want[j] = slm_logits(fresh, 0)[j];
            double d = distance(slm_logits(ctx, 0), want, N_VOCAB);
            ck_assert_msg(d < tolerance[kv], "shape %d, range %zu: %g", _i / 3, i, d);
        }
        slm_context_free(ctx), slm_context_free(fresh);
    }
    close_tiny(f);
}
END_TEST

/* ---- Any depth: the cache is looked at ---- */

static const tiny_shape deep[] = {
    {SIZES, .n_layer = 3, .seed = 71},
    {SIZES, .n_layer = 2, .keys = keys, .seed = 72},
    {SIZES, .arch = "gemma3", .n_layer = 7, .post_norms = true, .qk_norm = true, .keys = keys,
     .seed = 73},
    {SIZES, .arch = "smollm3", .n_layer = 4, .seed = 74}, /* a layer without RoPE */
};
enum { N_DEEP = sizeof deep / sizeof *deep, SEQS = 4 };

/* Keys (column) or values of a position of head 1 of a layer, of a cache in f32. */
static void look(const slm_context *ctx, int32_t layer, int32_t pos, bool keys_wanted,
                 double *out) {
    const slm__kv *kv = &ctx->kv;
    int32_t page = pos / SLM_PAGE, slot = pos % SLM_PAGE;
    const float *k = (const float *)slm__kv_keys(kv, layer, 0, page, 1),
                *v = (const float *)slm__kv_values(kv, layer, 0, page, 1);
    for (int32_t d = 0; d < kv->head_dim; d++)
        out[d] = keys_wanted ? k[d * SLM_PAGE + slot] : v[slot * kv->head_dim_stored + d];
}

/* By the definition: pair i turns by base^(-2i / n_rot) a position; pairs are neighbours or halves apart. */
static void turn(const slm_model *m, int32_t layer, double positions, double *head) {
    bool local = m->layers[layer].window > 0;
    double base = local ? m->hp.rope_local_base : m->hp.rope_base;
    int32_t n = (int32_t)m->hp.n_rot;
    bool halves = m->arch->rope == ROPE_HALVES;
    for (int32_t i = 0; i < n / 2 && m->layers[layer].rope != ROPE_NONE; i++) {
        double a = positions * pow(base, -2.0 * i / n);
        double *x = head + (halves ? i : 2 * i), *y = head + (halves ? i + n / 2 : 2 * i + 1);
        double was_x = *x, was_y = *y;
        *x = was_x * cos(a) - was_y * sin(a);
        *y = was_x * sin(a) + was_y * cos(a);
    }
}

START_TEST(test_what_is_behind_moves_up_in_every_layer) {
    enum { N = 300, BEGIN = 70, END = 171, DIM = 16 };
    fixture f = open_tiny(&deep[_i]);
    slm_context *ctx = create_for_sequences(f.model, N, 1, N, SLM_KV_F32),
                *before = create_for_sequences(f.model, N, 1, N, SLM_KV_F32);
    slm_token text[N], held[N];
    size_t n;
    fill_tokens(text, N, N_VOCAB);
    add_to(ctx, 0, text, N), add_to(before, 0, text, N);
    ck_assert_int_eq(ctx->kv.head_dim, DIM);
    ck_assert_int_eq(slm_seq_remove(ctx, 0, BEGIN, END, NULL), SLM_OK);
    for (int32_t layer = 0; layer < (int32_t)f.model->hp.n_layer; layer++) {
        for (int32_t pos = 0; pos < N - (END - BEGIN); pos++) {
            int32_t was = pos < BEGIN ? pos : pos + END - BEGIN;
            double got[DIM], want[DIM];
            for (int kind = 0; kind < 2; kind++) {
                look(ctx, layer, pos, kind, got), look(before, layer, was, kind, want);
                if (kind) turn(f.model, layer, pos - was, want);
                for (int d = 0; d < DIM; d++)
                    ck_assert_msg(fabs(got[d] - want[d]) < (kind && pos >= BEGIN ? 1e-6 : 1e-12),
                                  "layer %d, position %d, %s %d: %g, not %g", layer, pos,
                                  kind ? "key" : "value", d, got[d], want[d]);
            }
        }
    }
    ck_assert_int_eq(slm_seq_tokens(ctx, 0, held, N, &n, NULL), SLM_OK);
    ck_assert_uint_eq(n, N - (END - BEGIN));
    ck_assert_int_eq(memcmp(held, text, BEGIN * sizeof *text), 0);
    ck_assert_int_eq(memcmp(held + BEGIN, text + END, (N - END) * sizeof *text), 0);
    slm_context_free(ctx), slm_context_free(before);
    close_tiny(f);
}
END_TEST

/* ---- Sequences that share pages ---- */

/* What was done to a sequence, to be done again to another one alone. */
typedef struct history {
    struct {
        int32_t begin, end; /* removed; end 0: tokens were added */
        int32_t n;
        slm_token tokens[24];
    } steps[400];
    int n;
} history;

static void replay(slm_context *ctx, const history *h) {
    ck_assert_int_eq(slm_seq_truncate(ctx, 0, 0, NULL), SLM_OK);
    for (int i = 0; i < h->n; i++) {
        if (h->steps[i].end)
            ck_assert_int_eq(slm_seq_remove(ctx, 0, h->steps[i].begin, h->steps[i].end, NULL),
                             SLM_OK);
        else
            add_to(ctx, 0, h->steps[i].tokens, h->steps[i].n);
    }
}

static void grow(slm_context *ctx, int32_t seq, history *h, uint64_t *random) {
    int32_t n = 1 + (int32_t)(tiny_random(random) % 24);
    h->steps[h->n].end = 0;
    h->steps[h->n].n = n;
    for (int32_t i = 0; i < n; i++)
        h->steps[h->n].tokens[i] = (slm_token)(tiny_random(random) % N_VOCAB);
    add_to(ctx, seq, h->steps[h->n++].tokens, n);
}

/* Refused only where layers with a window could not see enough: `window` tokens behind the range always do. */
static bool cut(slm_context *ctx, int32_t seq, history *h, uint64_t *random) {
    int32_t length = slm_seq_length(ctx, seq), window = (int32_t)ctx->model->hp.window;
    int32_t begin = (int32_t)(tiny_random(random) % (uint32_t)(length + 1));
    int32_t end = begin + (int32_t)(tiny_random(random) % (uint32_t)(length - begin + 1));
    if (tiny_random(random) % 4 == 0) { /* a cut at the end, of which not all can be had */
        end = length;
        begin = length > 70 ? length - (int32_t)(tiny_random(random) % 70) : begin;
    }
    slm_status s = slm_seq_remove(ctx, seq, begin, end, NULL);
    if (s != SLM_OK) {
        ck_assert_int_eq(s, SLM_ERR_RANGE);
        ck_assert_int_lt(length - end, window);
        ck_assert_int_eq(slm_seq_length(ctx, seq), length);
        return false;
    }
    if (end == begin) return false;
    if (end - begin == length) h->n = 0;
    h->steps[h->n].begin = begin;
    h->steps[h->n].end = end;
    h->n += end - begin < length;
    return true;
}

/* Sequences of a context grow, are cut and share pages, each compared with one that has its history alone. */
static void live_together(const slm_model *m, slm_kv_type kv, int32_t n_batch, uint64_t random,
                          int n_steps) {
    enum { N_CTX = 1500, LONGEST = 330 };
    slm_context *ctx = create_for_sequences(m, N_CTX, SEQS, n_batch, kv),
                *alone = create_for_sequences(m, LONGEST + 64, 1, n_batch, kv);
    static history histories[SEQS];
    int cuts = 0, forks = 0, compared = 0;
    memset(histories, 0, sizeof histories);
    for (int step = 0; step < n_steps; step++) {
        int32_t seq = (int32_t)(tiny_random(&random) % SEQS), length = slm_seq_length(ctx, seq),
                other = (int32_t)(tiny_random(&random) % SEQS);
        history *h = &histories[seq];
        uint64_t what = tiny_random(&random) % 8;
        if (length > LONGEST - 24 || h->n > 390) {
            ck_assert_int_eq(slm_seq_truncate(ctx, seq, 0, NULL), SLM_OK);
            h->n = 0;
        } else if (what == 0) {
            cuts += cut(ctx, seq, h, &random);
        } else if (what == 1 && other != seq && length > 0) {
            ck_assert_int_eq(slm_seq_truncate(ctx, other, 0, NULL), SLM_OK);
            ck_assert_int_eq(slm_seq_fork(ctx, seq, other, length, NULL), SLM_OK);
            histories[other] = *h;
            forks++;
        } else {
            grow(ctx, seq, h, &random);
            if (step % 4 == 0) {
                replay(alone, h);
                ck_assert_int_eq(memcmp(slm_logits(ctx, 0), slm_logits(alone, 0), N_VOCAB * 4), 0);
                compared++;
            }
        }
        check_pages(ctx);
    }
    ck_assert_msg(cuts > n_steps / 50 && forks > n_steps / 50 && compared > n_steps / 12,
                  "%d, %d, %d", cuts, forks, compared);
    slm_context_free(ctx), slm_context_free(alone);
}

START_TEST(test_removing_leaves_sequences_that_share_pages_alone) {
    fixture f = open_tiny(&deep[_i / 2]);
    live_together(f.model, _i % 2 ? SLM_KV_Q8_0 : SLM_KV_F16, BATCH, 5 + (uint64_t)_i,
                  sanitized() ? 100 : 300);
    close_tiny(f);
}
END_TEST

/* A sequence of any length, of which a few or many positions go, holds no more pages than its share. */
static void remove_at_any_length(const slm_model *m, int32_t n_batch) {
    enum { LONGEST = 330 };
    static const int32_t removed[] = {1, 40, 63, 64, 100};
    slm_context *ctx = create_for_sequences(m, 2 * LONGEST + 128, 3, n_batch, SLM_KV_F16);
    slm_token text[LONGEST];
    fill_tokens(text, LONGEST, N_VOCAB);
    add_to(ctx, 0, text, LONGEST - 70);
    for (int32_t n = LONGEST - 70; n < LONGEST; n++) {
        for (size_t i = 0; i < sizeof removed / sizeof *removed; i++) {
            ck_assert_int_eq(slm_seq_fork(ctx, 0, 1, n, NULL), SLM_OK);
            slm_status s = slm_seq_remove(ctx, 1, 0, removed[i], NULL);
            ck_assert(s == SLM_OK ||
                      (s == SLM_ERR_RANGE && n - removed[i] < (int32_t)m->hp.window));
            check_pages(ctx);
            ck_assert_int_eq(slm_seq_truncate(ctx, 1, 0, NULL), SLM_OK);
        }
        add_to(ctx, 0, text + n, 1);
    }
    slm_context_free(ctx);
}

/* Pages are scarcest where a window is just longer than some, and a batch short. */
START_TEST(test_removing_with_any_window_and_batch) {
    static const int32_t batches[] = {1, 2, 3, 16, 31, 63, 100};
    static const int windows[] = {1, 4, 60, 63, 64, 65, 127, 128};
    tiny_key window[] = {{"attention.sliding_window", windows[_i], false}, {0}};
    tiny_shape shape = {SIZES,          .arch = "gemma2", .n_layer = 2, .post_norms = true,
                        .keys = window, .seed = 75};
    fixture f = open_tiny(&shape);
    size_t step = sanitized() ? 3 : 1; /* 1, 16 and 100 */
    for (size_t b = 0; b < sizeof batches / sizeof *batches; b += step)
        live_together(f.model, SLM_KV_F16, batches[b], 100 * (uint64_t)_i + b, 100);
    for (size_t b = 0; b < sizeof batches / sizeof *batches; b += step)
        remove_at_any_length(f.model, batches[b]);
    close_tiny(f);
}
END_TEST

/* What is left in a page before the first position that was kept is no text of this sequence. */
START_TEST(test_fault_68_cut_back_into_what_was_not_kept) {
    tiny_key window[] = {{"attention.sliding_window", 128, false}, {0}};
    tiny_shape shape = {SIZES, .n_layer = 1, .keys = window, .seed = 76};
    fixture f = open_tiny(&shape);
    slm_context *ctx = create_for_sequences(f.model, 300, 1, 256, SLM_KV_F16);
    slm_token text[300];
    slm_error err;
    fill_tokens(text, 300, N_VOCAB);
    add_to(ctx, 0, text, 299);
    add_to(ctx, 0, text, 1); /* gives back what comes before position 64 */
    ck_assert_int_eq(slm_seq_remove(ctx, 0, 0, 100, &err), SLM_OK);
    /* position 109, 64 before the window, is 9 now */
    ck_assert_int_eq(slm_seq_truncate(ctx, 0, 9 + 126, &err), SLM_ERR_RANGE);
    ck_assert_int_eq(slm_seq_truncate(ctx, 0, 9 + 127, &err), SLM_OK);
    check_pages(ctx);
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

/* The same bits on every level, for any number of threads. */
START_TEST(test_removing_gives_the_same_bits_everywhere) {
    uint64_t want = 0;
    fixture f = open_tiny(&deep[_i]);
    slm_token text[200];
    fill_tokens(text, 200, N_VOCAB);
    for (int kv = 0; kv < 3; kv++) {
        for (int level = 0; slm_cpu_level(level); level++) {
            for (int32_t threads = 1; threads < 4; threads += 2) {
                if (sanitized() && (level == 0) != (threads == 1)) continue;
                slm_context *ctx =
                    new_context(f.model, slm_cpu_level(level), threads, 30, (slm_kv_type)kv);
                decode(ctx, text, 200);
                ck_assert_int_eq(slm_seq_remove(ctx, 0, 7, 77, NULL), SLM_OK);
                decode(ctx, text, 3);
                uint64_t h = hash_row(slm_logits(ctx, 0), N_VOCAB);
                if (level == 0 && threads == 1) want = h;
                ck_assert_uint_eq(h, want);
                slm_context_free(ctx);
            }
        }
    }
    close_tiny(f);
}
END_TEST

/* ---- What is refused ---- */

START_TEST(test_fault_68_ranges_that_cannot_be_removed) {
    fixture f = open_tiny(&deep[2]);
    slm_context *ctx = create_for_sequences(f.model, 600, 2, BATCH, SLM_KV_F16);
    static const struct {
        int32_t seq, begin, end;
        const char *says;
    } wrong[] = {
        {-1, 0, 1, "sequence -1 of 2"},
        {2, 0, 1, "sequence 2 of 2"},
        {0, -1, 5, "positions -1 to 5"},
        {0, 6, 5, "positions 6 to 5"},
        {0, 5, 401, "positions 5 to 401 (not included) of 400"},
        {0, INT32_MIN, INT32_MAX, "of 400"},
        {0, 4, 390, "have given back"}, /* ten tokens behind, the window is 33 */
        {0, 100, 400, "have given back"},
    };
    slm_token text[400];
    slm_error err;
    fill_tokens(text, 400, N_VOCAB);
    for (int i = 0; i < 400; i += 20) add_to(ctx, 0, text + i, 20);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ck_assert_int_eq(slm_seq_remove(ctx, wrong[i].seq, wrong[i].begin, wrong[i].end, &err),
                         SLM_ERR_RANGE);
        ck_assert_msg(strstr(err.message, wrong[i].says) != NULL, "%s", err.message);
        ck_assert_int_eq(slm_seq_length(ctx, 0), 400);
    }
    ck_assert_int_eq(slm_seq_remove(NULL, 0, 0, 1, &err), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_seq_remove(ctx, 0, 5, 5, &err), SLM_OK);
    ck_assert_int_eq(slm_seq_remove(ctx, 0, 4, 400 - WINDOW, &err), SLM_OK);
    ck_assert_int_eq(slm_seq_length(ctx, 0), 4 + WINDOW);
    ck_assert_int_eq(slm_seq_remove(ctx, 0, 0, 4 + WINDOW, &err), SLM_OK);
    ck_assert_int_eq(slm_seq_length(ctx, 0), 0);
    check_pages(ctx);
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

START_TEST(test_fault_73_no_room_to_copy_what_is_shared) {
    fixture f = open_tiny(&deep[0]);
    slm_context *ctx = create_for_sequences(f.model, 256, 2, BATCH, SLM_KV_F16);
    slm_token text[220], held[220];
    slm_error err;
    size_t n;
    fill_tokens(text, 220, N_VOCAB);
    add_to(ctx, 0, text, 200);
    ck_assert_int_eq(slm_seq_fork(ctx, 0, 1, 200, &err), SLM_OK);
    ck_assert_int_eq(slm_seq_remove(ctx, 1, 5, 70, &err), SLM_ERR_CONTEXT_FULL);
    ck_assert_int_eq(slm_seq_length(ctx, 1), 200);
    check_pages(ctx);
    ck_assert_int_eq(slm_seq_truncate(ctx, 0, 0, &err), SLM_OK);
    ck_assert_int_eq(slm_seq_remove(ctx, 1, 5, 70, &err), SLM_OK);
    check_pages(ctx);
    ck_assert_int_eq(ctx->kv.used, 135);
    ck_assert_int_eq(slm_seq_tokens(ctx, 1, held, 220, &n, &err), SLM_OK);
    ck_assert(n == 135 && held[4] == text[4] && held[5] == text[70] && held[134] == text[199]);
    ck_assert_int_eq(slm_seq_tokens(ctx, 1, held, 134, &n, &err), SLM_ERR_BUFFER);
    ck_assert_uint_eq(n, 135);
    ck_assert_int_eq(slm_seq_tokens(ctx, 2, held, 220, &n, &err), SLM_ERR_RANGE);
    ck_assert_int_eq(slm_seq_tokens(ctx, 1, NULL, 220, &n, &err), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_seq_tokens(ctx, 1, held, 220, NULL, &err), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_seq_tokens(ctx, 0, NULL, 0, &n, &err), SLM_OK);
    ck_assert_uint_eq(n, 0);
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

/* A context that is always full of its last tokens and the first ones. */
START_TEST(test_fault_73_going_on_past_the_context) {
    enum { N_CTX = 192, KEEP = 5, DROP = 90, N = 900 };
    fixture f = open_tiny(&deep[_i]);
    slm_context *ctx = create_for_sequences(f.model, N_CTX, 1, BATCH, SLM_KV_F16);
    slm_token text[N], held[N_CTX];
    slm_error err;
    size_t n;
    int32_t begin = 0;
    fill_tokens(text, N, N_VOCAB);
    for (int i = 0; i < N; i++) {
        slm_status s = slm_decode_tokens(ctx, text + i, 1, &err);
        ck_assert_int_eq(s, slm_seq_length(ctx, 0) == N_CTX && s != SLM_OK ? SLM_ERR_CONTEXT_FULL
                                                                           : SLM_OK);
        if (s == SLM_OK) continue;
        ck_assert_msg(slm_seq_remove(ctx, 0, KEEP, KEEP + DROP, &err) == SLM_OK, "%s", err.message);
        begin += DROP;
        i--;
        ck_assert_int_eq(slm_seq_tokens(ctx, 0, held, N_CTX, &n, &err), SLM_OK);
        ck_assert_int_eq(memcmp(held, text, KEEP * sizeof *text), 0);
        ck_assert_int_eq(memcmp(held + KEEP, text + begin + KEEP, (n - KEEP) * sizeof *text), 0);
        check_pages(ctx);
    }
    ck_assert_int_gt(begin, 600);
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("remove");
    TCase *c = tcase_create("remove");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, test_fault_93_removing_is_fresh_computation_of_one_layer, 0,
                        3 * N_SINGLE);
    tcase_add_loop_test(c, test_what_is_behind_moves_up_in_every_layer, 0, N_DEEP);
    tcase_add_loop_test(c, test_removing_leaves_sequences_that_share_pages_alone, 0, 2 * N_DEEP);
    tcase_add_loop_test(c, test_removing_with_any_window_and_batch, 0, 8);
    tcase_add_test(c, test_fault_68_cut_back_into_what_was_not_kept);
    tcase_add_loop_test(c, test_removing_gives_the_same_bits_everywhere, 0, N_DEEP);
    tcase_add_test(c, test_fault_68_ranges_that_cannot_be_removed);
    tcase_add_test(c, test_fault_73_no_room_to_copy_what_is_shared);
    tcase_add_loop_test(c, test_fault_73_going_on_past_the_context, 0, N_DEEP);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
