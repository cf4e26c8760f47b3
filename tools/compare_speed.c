/* slm compare: how fast each file is as it would be used, beside the limits of the machine. */
#include <math.h>
#include <stdlib.h>

#include "compare.h"
#include "machine.h"
#include "speed.h"

enum { N_PROMPT = 512, N_GEN = 32, N_RUNS = 3 };

/* Generation takes longer for a token than a prompt does. */
static double model_units(const compared_model *m) {
    return (double)m->info.n_params * (N_RUNS + 1) * (N_PROMPT + 4 * N_GEN);
}

double units_of_speed(const compare_work *w) {
    double sum = 0;
    for (int32_t i = 0; i < w->n_models && !w->o.no_speed; i++) sum += model_units(&w->models[i]);
    return sum;
}

/* A prompt, then tokens one by one, from an empty context; seconds. */
static slm_status run_once(slm_context *ctx, const slm_token *ids, double *prompt, double *gen,
                           slm_error *err) {
    slm_status status = slm_seq_truncate(ctx, 0, 0, err);
    double begin = now();
    if (status == SLM_OK) status = slm_decode_tokens(ctx, ids, N_PROMPT, err);
    double middle = now();
    for (int32_t i = 0; i < N_GEN && status == SLM_OK; i++)
        status = slm_decode_tokens(ctx, ids + i, 1, err);
    *prompt = middle - begin;
    *gen = now() - middle;
    return status;
}

static double share_of(double amount, double tokens_per_second, double rate) {
    return rate > 0 ? amount * tokens_per_second / rate : NAN;
}

static int measure(compare_work *w, compared_model *m, const slm_token *ids) {
    double prompt[N_RUNS], gen[N_RUNS];
    slm_context_params params = w->params; /* no reference mode: as it would be used */
    slm_context *ctx;
    slm_error err;
    work_amounts amounts;
    params.n_ctx = N_PROMPT + N_GEN;
    slm_status status = slm_context_create(m->model, &params, &ctx, &err);
    if (status == SLM_OK) status = find_amounts(m->model, &params, NULL, &amounts, &err);
    if (status == SLM_OK) status = run_once(ctx, ids, prompt, gen, &err); /* does not count */
    w->timing = true;
    for (int32_t i = 0; i < N_RUNS && status == SLM_OK; i++)
        status = run_once(ctx, ids, prompt + i, gen + i, &err);
    w->timing = false;
    slm_context_free(ctx);
    if (status != SLM_OK) return fail_with(m->path, &err);
    subject *s = m->about;
    s->prefill = N_PROMPT / median_of(prompt, N_RUNS);
    s->decode = N_GEN / median_of(gen, N_RUNS);
    s->prefill_share =
        share_of(prompt_token_ops(&amounts, N_PROMPT), s->prefill, w->result.int8_ops);
    s->decode_share = share_of(step_token_bytes(&amounts, N_GEN, N_PROMPT, 1), s->decode,
                               w->result.read_bandwidth);
    return EXIT_DONE;
}

int compare_speed(compare_work *w) {
    slm_token ids[N_PROMPT];
    int code = EXIT_DONE;
    choose_tokens(ids, N_PROMPT, w->n_vocab);
    w->result.read_bandwidth = machine_read_bandwidth(w->result.n_threads);
    w->result.int8_ops = machine_int8_ops(w->result.n_threads);
    for (int32_t i = 0; i < w->n_models && code == EXIT_DONE; i++) {
        compare_step(w, model_units(&w->models[i]));
        code = interrupted() ? EXIT_INTERRUPTED : measure(w, &w->models[i], ids);
    }
    return code;
}
