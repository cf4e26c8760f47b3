/* A text made in two ways, by plain decoding and by speculation, on models of random weights, and compared. */
#ifndef TESTS_SPEC_CASE_H
#define TESTS_SPEC_CASE_H

#include <check.h>
#include <string.h>

#include "../../include/slm.h"
#include "gguf_build.h"
#include "suite.h"

enum { N_VOCAB = 270, N_EMBD = 64, MAX_TOKENS = 400, N_PROBE = 12, N_KINDS = 6 };

extern slm_error err;

#define GOOD(call)                                                                   \
    do {                                                                             \
        slm_status got_ = (call);                                                    \
        ck_assert_msg(got_ == SLM_OK, "%s: %s", slm_status_name(got_), err.message); \
    } while (0)

/* ---- Models ---- */

typedef struct made {
    gguf_build b;
    slm_model *model;
} made;

/* Quantized, and untied matrices of floats that tests may change before open_made(). Same vocabulary; `small`: a fifth of the work. */
void build(made *m, uint64_t seed, bool floats);
void build_small(made *m, uint64_t seed);
void open_made(made *m);
void close_made(made *m);

/* Rows of a float model: of the embedding and of the output matrix. */
float *embedding(made *m, slm_token t);
float *output(made *m, slm_token t);

/* Made by spec_setup() for each test: one to generate, and two with other weights. */
extern made big, other, small;
void spec_setup(void);
void spec_teardown(void);

/* ---- The two ways to a text ---- */

typedef struct task {
    const slm_model *model;
    slm_sampler_params sampler;
    slm_token prompt[64];
    int32_t n_prompt, n;                         /* tokens to generate: at most */
    int32_t n_ctx, n_threads, sequence, n_other; /* tokens of other sequence(s) in the context */
    bool past_end;                               /* go on behind an end-of-generation token */
    slm_speculator_params spec;
    const slm_model *draft;
    slm_matcher *matcher; /* begun anew for each way; NULL: none */
    uint64_t capacities;  /* seed of random ones; 0: always all that is left */
} task;

typedef struct text {
    slm_token tokens[MAX_TOKENS + 80];
    int32_t n;
    slm_status end;           /* what stopped it, if it was not task.n or the end of generation */
    slm_token probe[N_PROBE]; /* what the sampler chooses next from a fixed row */
    slm_speculator_info info;
} text;

/* kind: of sampler, 0 (greedy) .. N_KINDS - 1. The seed decides the prompt and the number of threads too. */
task new_task(uint64_t seed, int kind);

bool ends(const slm_model *m, slm_token token);
slm_context *context(const slm_model *m, const task *t, int32_t n_logits);

/* A sampler that knows the prompt. */
slm_sampler *sampler_of(const task *t);

/* What the sampler chooses next: equal if the state is. */
void probe(slm_sampler *s, text *out);

/* A loop of slm_decode() and slm_sampler_sample(). */
void plain(const task *t, text *out);

/* The same by a speculator of its own; and, with one that is there, until t->n tokens are in `out`. */
void speculative(const task *t, text *out);
void go_on(const task *t, slm_speculator *spec, slm_sampler *s, text *out);

void assert_same(const text *a, const text *b);

/* plain() in `want`, speculative() in `got`: once while it pays, once always. */
extern text want, got;
void compare(task *t);

#endif
