/* Every architecture with every type of block: a model of each whose matrices are all of that type, those that are views of a
 * fused one too. Sizes, windows and long texts are the business of test_families.c and test_forward.c. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/tables.h"
#include "support/family_case.h"
#include "support/forward_case.h"
#include "support/strict.h"
#include "support/suite.h"

/* The families whose matrices have no type of their own come first; each architecture is among them. */
enum { N_PLAIN = 12, N_TOKENS = 6, N_VOCAB = 260 };

/*
 * Root mean square of the error of all logits, relative to theirs, that 8-bit activations may bring. Measured over all families
 * and types: 0.039 at most, 0.016 on average. A model that has the scales of neighbours exchanged in a single matrix of a single
 * layer is off by 0.079 at least (error_of_a_wrong_one()).
 */
#define TOLERANCE 0.05

/* Rows are whole blocks of every type, and heads as unlike n_embd / n_head as the family has them. Four layers are enough to have
 * one of each kind in some family. */
static tiny_shape shape_of(const family *this, slm_type type) {
    tiny_shape s = this->shape;
    ck_assert_int_eq(s.n_types, 0);
    ck_assert_uint_eq(s.n_vocab, N_VOCAB);
    s.n_embd = s.n_ff = 256;
    s.n_head = 4;
    if (s.n_layer > 4) s.n_layer = 4;
    s.n_head_kv = 1;
    s.head_dim = s.head_dim ? 128 : 0;
    s.types[0] = type;
    s.n_types = 1;
    s.uneven = true;
    return s;
}

typedef struct run {
    const char *cpu;
    int32_t threads;
    bool reference;
    int32_t parts[N_TOKENS]; /* tokens decoded at a time */
} run;

/* Of the last token. */
static void logits_of(const slm_model *m, const run *r, float out[N_VOCAB]) {
    slm_context_params p = slm_context_defaults();
    slm_context *ctx;
    slm_error err;
    slm_token tokens[N_TOKENS];
    fill_tokens(tokens, N_TOKENS, N_VOCAB);
    p.n_batch = N_TOKENS;
    p.n_ctx = 300; /* "phi3, long": more than its original context */
    p.cpu = r->cpu;
    p.n_threads = r->threads;
    p.kv_type = SLM_KV_F32;
    p.reference = r->reference;
    ck_assert_msg(slm_context_create(m, &p, &ctx, &err) == SLM_OK, "%s", err.message);
    int32_t at = 0;
    for (int i = 0; at < N_TOKENS; at += r->parts[i++]) decode(ctx, tokens + at, r->parts[i]);
    ck_assert_int_eq(at, N_TOKENS);
    memcpy(out, slm_logits(ctx, 0), N_VOCAB * sizeof *out);
    slm_context_free(ctx);
}

static void plain_logits(const slm_model *m, const family *this, double out[N_VOCAB]) {
    slm_token tokens[N_TOKENS];
    fill_tokens(tokens, N_TOKENS, N_VOCAB);
    plain_forward(m, &this->options, tokens, N_TOKENS, out);
}

static double rms_error(const float *got, const double *want) {
    double error = 0, square = 0;
    for (int i = 0; i < N_VOCAB; i++) {
        error += (got[i] - want[i]) * (got[i] - want[i]);
        square += want[i] * want[i];
    }
    ck_assert_double_gt(square, 0);
    return sqrt(error / square);
}

static double square_of(const float *x, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (double)x[i] * x[i];
    return sum;
}

/* The tensor as floats, each two neighbouring groups with the size of the other. Groups of zeros stay. Free `data`. */
static slm__tensor exchanged(const slm__tensor *t, int group) {
    slm__tensor out = *t;
    int64_t n = t->dims[0], rows = t->dims[1];
    float *w = malloc((size_t)(n * rows) * sizeof *w);
    ck_assert_ptr_nonnull(w);
    for (int64_t r = 0; r < rows; r++) {
        float *a = w + r * n;
        slm__kernels_c.dequantize[t->type](t->data + (uint64_t)r * t->row_bytes, n, a);
        for (float *end = a + n; a < end; a += 2 * group) {
            double ratio = sqrt(square_of(a + group, group) / square_of(a, group));
            if (!isfinite(ratio) || ratio == 0) continue;
            for (int i = 0; i < group; i++) a[i] *= (float)ratio;
            for (int i = group; i < 2 * group; i++) a[i] /= (float)ratio;
        }
    }
    out.type = SLM_F32;
    out.data = (uint8_t *)w;
    out.row_bytes = (uint64_t)n * sizeof *w;
    return out;
}

/* Weights that have a scale together. */
static int group_of(slm_type type) {
    return type == SLM_Q2_K || type == SLM_Q3_K || type == SLM_Q6_K ? 16 : 32;
}

/* The error that the logits would have if one matrix of the first layer were wrong. */
static double error_of_a_wrong_one(const slm_model *m, const family *this, slm_type type,
                                   const float *got) {
    double wrong[N_VOCAB];
    slm__layer *l = &m->layers[0];
    const slm__tensor **matrix = type % 2 ? &l->w_gate : &l->wv, *right = *matrix;
    slm__tensor bad = exchanged(right, group_of(type));
    *matrix = &bad;
    plain_logits(m, this, wrong);
    *matrix = right;
    free((void *)(uintptr_t)bad.data);
    return rms_error(got, wrong);
}

/* Under sanitizers each type has a third of the families. */
static bool is_wanted(slm_type type, int which) {
    return !sanitized() || ((int)type + which) % 3 == 0;
}

/* Reference mode is exact but for rounding, and so is the default mode where weights are floats. */
START_TEST(test_every_type_against_double_precision) {
    const family *this = &families[_i];
    for (slm_type t = 0; t < SLM_N_TYPES; t++) {
        if (!is_wanted(t, _i)) continue;
        const char *type = slm__type_info[t].name;
        tiny_shape s = shape_of(this, t);
        fixture f = open_tiny(&s);
        double want[N_VOCAB];
        float got[N_VOCAB];
        plain_logits(f.model, this, want);
        logits_of(f.model, &(run){NULL, 2, true, {N_TOKENS}}, got);
        double exact = distance(got, want, N_VOCAB);
        ck_assert_msg(exact < 1e-4, "%s, %s, reference mode: %g", this->name, type, exact);
        logits_of(f.model, &(run){NULL, 2, false, {N_TOKENS}}, got);
        double error = rms_error(got, want);
        if (slm__type_info[t].block_weights == 1) {
            ck_assert_msg(error < 1e-4, "%s, %s: %g", this->name, type, error);
        } else {
            double wrong = error_of_a_wrong_one(f.model, this, t, got);
            ck_assert_msg(error > 1e-4 && error < TOLERANCE, "%s, %s: %g", this->name, type, error);
            ck_assert_msg(wrong > TOLERANCE, "%s, %s, a wrong one: %g", this->name, type, wrong);
        }
        close_tiny(f);
    }
}
END_TEST

START_TEST(test_fault_92_every_type_has_the_same_bits) {
    static const run runs[] = {{NULL, 3, false, {1, 2, 3}}, /* and what plain C has time for: */
                               {NULL, 1, false, {N_TOKENS}},
                               {NULL, 3, false, {N_TOKENS}}};
    const family *this = &families[_i];
    for (int t = 0; t < SLM_N_TYPES; t++) {
        if (!is_wanted((slm_type)t, _i)) continue;
        tiny_shape s = shape_of(this, (slm_type)t);
        fixture f = open_tiny(&s);
        float want[N_VOCAB], got[N_VOCAB];
        logits_of(f.model, &(run){"c", 1, false, {N_TOKENS}}, want);
        const char *cpu;
        for (int32_t l = 0; (cpu = slm_cpu_level(l)); l++) {
            for (size_t i = 0; i < (l == 0 ? 1 : SLM_COUNT(runs)); i++) {
                run r = runs[i];
                r.cpu = cpu;
                logits_of(f.model, &r, got);
                ck_assert_msg(memcmp(got, want, sizeof want) == 0, "%s, %s, %s, run %zu",
                              this->name, slm__type_info[t].name, cpu, i);
            }
        }
        close_tiny(f);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("family types");
    TCase *c = tcase_create("family types");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, test_every_type_against_double_precision, 0, N_PLAIN);
    tcase_add_loop_test(c, test_fault_92_every_type_has_the_same_bits, 0, N_PLAIN);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
