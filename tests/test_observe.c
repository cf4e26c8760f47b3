/* slm_context_params.observe: what is shown is what is computed with, each row once. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../libslm/model.h"
#include "support/suite.h"
#include "support/tiny_model.h"

enum { N_VOCAB = 270, N_EMBD = 64, N_LAYER = 2, N_FF = 96, N_TOKENS = 11, N_BATCH = 4 };

static const tiny_shape shape = {.n_vocab = N_VOCAB,
                                 .n_embd = N_EMBD,
                                 .n_layer = N_LAYER,
                                 .n_head = 4,
                                 .n_head_kv = 2,
                                 .n_ff = N_FF,
                                 .seed = 5};

/* All that was seen of a batch, by name and layer; a row for each token. */
typedef struct seen {
    char name[64];
    int32_t layer, n, n_rows;
    float rows[N_TOKENS][N_FF];
} seen;

enum { MAX_SEEN = 32 };

typedef struct watcher {
    seen all[MAX_SEEN];
    int n;
    float before[N_BATCH * N_FF]; /* the rows of the last call */
    int32_t n_before;
} watcher;

static void watch(void *user, const slm_observation *o) {
    watcher *w = user;
    const char *name = o->tensor ? o->tensor : "state";
    int i = 0;
    while (i < w->n && (strcmp(w->all[i].name, name) != 0 || w->all[i].layer != o->layer)) i++;
    ck_assert_int_lt(i, MAX_SEEN);
    seen *s = &w->all[i];
    if (i == w->n) {
        w->n++;
        snprintf(s->name, sizeof s->name, "%s", name);
        s->layer = o->layer;
        s->n = o->n;
    }
    ck_assert_int_eq(o->n, s->n);
    ck_assert_int_le(o->n, N_FF);
    int32_t n = o->n_rows * o->n;
    size_t n_bytes = (size_t)n * sizeof(float);
    ck_assert_int_le(n, N_BATCH * N_FF);
    bool same = n == w->n_before && memcmp(w->before, o->rows, n_bytes) == 0;
    ck_assert_msg(o->same_input == (same && o->tensor), "%s of layer %d", name, (int)o->layer);
    memcpy(w->before, o->rows, n_bytes);
    w->n_before = n;
    ck_assert_int_eq(o->first, s->n_rows); /* parts follow each other */
    ck_assert_int_le(o->first + o->n_rows, N_TOKENS);
    for (int32_t r = 0; r < o->n_rows; r++)
        memcpy(s->rows[o->first + r], o->rows + (int64_t)r * o->n, (size_t)o->n * sizeof(float));
    s->n_rows += o->n_rows;
}

typedef struct fixture {
    gguf_build build;
    slm_model *model;
    slm_context *ctx;
    watcher watcher;
} fixture;

/* A batch of N_TOKENS in parts of N_BATCH, logits of tokens 2 and 10 wanted. */
static void run(fixture *f, const tiny_shape *s, bool reference) {
    static const uint8_t wanted[N_TOKENS] = {[2] = 1, [10] = 1};
    slm_token tokens[N_TOKENS];
    size_t n;
    slm_error err;
    memset(f, 0, sizeof *f);
    tiny_model(&f->build, s);
    const void *file = gb_finish(&f->build, &n);
    ck_assert_int_eq(slm_model_open_memory(file, n, NULL, &f->model, &err), SLM_OK);
    slm_context_params p = slm_context_defaults();
    p.n_ctx = 64;
    p.n_batch = N_BATCH;
    p.n_logits = 2;
    p.n_threads = 2;
    p.reference = reference;
    p.observe = watch;
    p.observe_user = &f->watcher;
    ck_assert_msg(slm_context_create(f->model, &p, &f->ctx, &err) == SLM_OK, "%s", err.message);
    for (int i = 0; i < N_TOKENS; i++) tokens[i] = (slm_token)(i * 23 % N_VOCAB);
    slm_batch batch = {
        .size = sizeof batch, .n_tokens = N_TOKENS, .tokens = tokens, .want_logits = wanted};
    ck_assert_msg(slm_decode(f->ctx, &batch, &err) == SLM_OK, "%s", err.message);
}

static void end(fixture *f) {
    slm_context_free(f->ctx);
    slm_model_close(f->model);
    gb_free(&f->build);
}

/* Of each layer the inputs of these matrices, then the state; last, the input of the output matrix. */
static void assert_order(const watcher *w, const char *const *names, int n, const char *output) {
    const seen *s = w->all;
    ck_assert_int_eq(w->n, N_LAYER * (n + 1) + 1);
    for (int l = 0; l < N_LAYER; l++) {
        for (int i = 0; i <= n; i++, s++) {
            char name[64] = "state";
            if (i < n) snprintf(name, sizeof name, "blk.%d.%s.weight", l, names[i]);
            ck_assert_str_eq(s->name, name);
            ck_assert_int_eq(s->layer, l);
            ck_assert_int_eq(s->n_rows, N_TOKENS);
        }
    }
    ck_assert_str_eq(s->name, output);
    ck_assert_int_eq(s->layer, N_LAYER);
    ck_assert_int_eq(s->n_rows, 2);
}

START_TEST(test_observe_names_and_rows) {
    static const char *const names[] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                        "ffn_gate", "ffn_up", "ffn_down"};
    fixture f;
    run(&f, &shape, _i);
    assert_order(&f.watcher, names, 7, "token_embd.weight");
    end(&f);
}
END_TEST

START_TEST(test_observe_fused_matrices_are_one) {
    static const char *const names[] = {"attn_qkv", "attn_output", "ffn_up", "ffn_down"};
    tiny_shape s = shape;
    s.arch = "phi3";
    s.fused = s.untied = true;
    fixture f;
    run(&f, &s, false);
    assert_order(&f.watcher, names, 4, "output.weight");
    end(&f);
}
END_TEST

static const seen *find(const watcher *w, const char *name, int32_t layer) {
    for (int i = 0; i < w->n; i++)
        if (strcmp(w->all[i].name, name) == 0 && w->all[i].layer == layer) return &w->all[i];
    ck_abort_msg("%s was not seen", name);
}

static double dot(const slm__tensor *w, int64_t row, const float *x) {
    const float *v = (const float *)(w->data + (uint64_t)row * w->row_bytes);
    double sum = 0;
    for (int64_t i = 0; i < w->dims[0]; i++) sum += (double)v[i] * (double)x[i];
    return sum;
}

static void assert_near(double got, double want) {
    ck_assert_msg(fabs(got - want) <= 1e-4 * (1 + fabs(want)), "%.9g, not %.9g", got, want);
}

/* In double precision from one thing seen to the next: gate and up to down, the last state to the output matrix, that to logits. */
START_TEST(test_observe_is_what_is_computed_with) {
    fixture f;
    run(&f, &shape, true);
    const watcher *w = &f.watcher;
    for (int l = 0; l < N_LAYER; l++) {
        const slm__layer *layer = &f.model->layers[l];
        const seen *in = find(w, l == 0 ? "blk.0.ffn_gate.weight" : "blk.1.ffn_gate.weight", l);
        const seen *out = find(w, l == 0 ? "blk.0.ffn_down.weight" : "blk.1.ffn_down.weight", l);
        for (int t = 0; t < N_TOKENS; t++) {
            for (int i = 0; i < N_FF; i++) {
                double gate = dot(layer->w_gate, i, in->rows[t]);
                assert_near(out->rows[t][i],
                            gate / (1 + exp(-gate)) * dot(layer->w_up, i, in->rows[t]));
            }
        }
    }
    const seen *state = find(w, "state", N_LAYER - 1);
    const seen *last = find(w, "token_embd.weight", N_LAYER);
    const float *weights = (const float *)f.model->output_norm->data;
    for (int row = 0; row < 2; row++) {
        const float *x = state->rows[row ? 10 : 2];
        double squares = 0;
        for (int i = 0; i < N_EMBD; i++) squares += (double)x[i] * (double)x[i];
        double scale = 1 / sqrt(squares / N_EMBD + (double)f.model->hp.norm_eps);
        for (int i = 0; i < N_EMBD; i++)
            assert_near(last->rows[row][i], (double)x[i] * scale * (double)weights[i]);
        for (int i = 0; i < N_VOCAB; i++)
            assert_near(slm_logits(f.ctx, row)[i], dot(f.model->output, i, last->rows[row]));
    }
    end(&f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("observe");
    TCase *c = tcase_create("all");
    tcase_add_loop_test(c, test_observe_names_and_rows, 0, 2);
    tcase_add_test(c, test_observe_fused_matrices_are_one);
    tcase_add_test(c, test_observe_is_what_is_computed_with);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
