/* slm compare --task: which choice each model finds the most probable behind the query, per byte of its text. */
#include <math.h>
#include <stdlib.h>

#include "compare.h"
#include "statistics.h"

enum {
    LOGITS_BYTES = 64 << 20,
    PAGE = 64 /* positions that sequences share or copy together: slm_seq_fork() */
};

/* A model at work on one task: the front of a question is sequence 0, its choices fork from there. */
typedef struct examinee {
    compare_work *w;
    const compared_model *model;
    slm_context *ctx;
    int32_t n_sequences, max_rows;
    slm_token *tokens, *targets; /* [max_rows] of a batch */
    int32_t *sequences;
    uint8_t *wanted;
    int32_t n;        /* in the batch */
    double *logprobs; /* [most choices] of the question */
    slm_error err;
} examinee;

static double question_units(const question *q, const compared_model *m) {
    double n_tokens = q->n_front;
    for (int32_t c = 0; c < q->n_choices; c++) n_tokens += q->choices[c].n;
    return n_tokens * (double)m->info.n_params * (m->is_reference ? 3 : 1);
}

double units_of_tasks(const compare_work *w) {
    double sum = 0;
    for (int32_t m = 0; m < w->n_models; m++)
        for (int32_t i = 0; i < w->n_tasks; i++)
            for (size_t q = 0; q < w->tasks[i].n; q++)
                sum += question_units(&w->tasks[i].questions[q], &w->models[m]);
    return sum;
}

/* ---- One question ---- */

static slm_status add_logprob(examinee *e, int32_t row, slm_token token, double *sum) {
    slm_logprob p;
    slm_status status = slm_context_logprobs(e->ctx, row, &token, 1, 0, &p, &e->err);
    if (status == SLM_OK) *sum += p.logprob;
    return status;
}

static slm_status compute_batch(examinee *e) {
    slm_batch batch = {.size = sizeof batch,
                       .n_tokens = e->n,
                       .tokens = e->tokens,
                       .sequences = e->sequences,
                       .want_logits = e->wanted};
    slm_status status = e->n > 0 ? slm_decode(e->ctx, &batch, &e->err) : SLM_OK;
    for (int32_t i = 0; i < e->n && status == SLM_OK; i++)
        status = add_logprob(e, i, e->targets[i], &e->logprobs[e->sequences[i] - 1]);
    e->n = 0;
    return status;
}

/* All tokens of the choices but the first of each, which the front predicts. */
static slm_status compute_choices(examinee *e, const question *q) {
    const slm_token *tokens = q->tokens + q->n_front;
    slm_status status = SLM_OK;
    for (int32_t c = 0; c < q->n_choices; tokens += q->choices[c++].n) {
        if (q->choices[c].n == 1) continue;
        if (status == SLM_OK) status = slm_seq_fork(e->ctx, 0, c + 1, q->n_front, &e->err);
        for (int32_t i = 0; i + 1 < q->choices[c].n && status == SLM_OK; i++) {
            if (e->n == e->max_rows) status = compute_batch(e);
            e->tokens[e->n] = tokens[i];
            e->targets[e->n] = tokens[i + 1];
            e->wanted[e->n] = 1;
            e->sequences[e->n++] = c + 1;
        }
    }
    return status == SLM_OK ? compute_batch(e) : status;
}

static slm_status score_choices(examinee *e, const question *q) {
    slm_status status = SLM_OK;
    const slm_token *first = q->tokens + q->n_front;
    for (int32_t s = 0; s < e->n_sequences && status == SLM_OK;
         s++) /* a question before had more */
        status = slm_seq_truncate(e->ctx, s, 0, &e->err);
    if (status == SLM_OK) status = slm_decode_tokens(e->ctx, q->tokens, q->n_front, &e->err);
    for (int32_t c = 0; c < q->n_choices && status == SLM_OK; first += q->choices[c++].n) {
        e->logprobs[c] = 0;
        status = add_logprob(e, 0, *first, &e->logprobs[c]);
    }
    return status == SLM_OK ? compute_choices(e, q) : status;
}

/* Of equal ones the first. */
static int32_t chosen(const examinee *e, const question *q) {
    int32_t best = 0;
    for (int32_t c = 1; c < q->n_choices; c++)
        if (e->logprobs[c] / (double)q->choices[c].n_bytes >
            e->logprobs[best] / (double)q->choices[best].n_bytes)
            best = c;
    return best;
}

/* ---- A task ---- */

/* 95% of the difference of two shares of the same n questions, of which `more` went from wrong to right and `less` from right to
 * wrong: Wald's interval with half a question more in each of the four cells (Agresti and Min 2005, Statistics in Medicine 24:729). */
static void find_interval(double more, double less, double n, task_figures *f) {
    more += 0.5;
    less += 0.5;
    n += 2;
    double middle = (more - less) / n,
           error = sqrt(more + less - (more - less) * (more - less) / n) / n;
    f->low = middle - 1.959964 * error;
    f->high = middle + 1.959964 * error;
}

static int answer(examinee *e, const task *t, task_figures *out) {
    double more = 0, less = 0; /* right where the reference was wrong, and the other way */
    for (size_t i = 0; i < t->n; i++) {
        const question *q = &t->questions[i];
        compare_step(e->w, question_units(q, e->model));
        if (interrupted()) return EXIT_INTERRUPTED;
        if (score_choices(e, q) != SLM_OK) return fail_with(e->model->path, &e->err);
        bool right = chosen(e, q) == q->gold;
        if (e->model->is_reference) t->reference_right[i] = right;
        more += right && !t->reference_right[i];
        less += !right && t->reference_right[i];
        out->n_right += right;
    }
    double n_right = (double)out->n_right;
    out->accuracy = whole_estimate(n_right, n_right, t->n);
    if (e->model->is_reference) return EXIT_DONE;
    out->difference = whole_estimate(more - less, more + less, t->n);
    find_interval(more, less, (double)t->n, out);
    return EXIT_DONE;
}

/* Positions of all sequences of a question. A choice of one token takes none, the last token of any is only predicted; a choice that begins in
 * the middle of a page has a copy of what is before. No more: beyond the original context LongRoPE gives other logits. */
static int64_t positions_of(const question *q) {
    int64_t n = q->n_front;
    for (int32_t c = 0; c < q->n_choices; c++)
        if (q->choices[c].n > 1) n += q->n_front % PAGE + q->choices[c].n - 1;
    return n;
}

static int prepare(examinee *e, const task *t) {
    int64_t n_ctx = 0;
    int32_t n_choices = 0;
    for (size_t i = 0; i < t->n; i++) {
        int64_t n = positions_of(&t->questions[i]);
        n_ctx = n > n_ctx ? n : n_ctx;
        if (t->questions[i].n_choices > n_choices) n_choices = t->questions[i].n_choices;
    }
    slm_context_params params = compare_context(e->w, e->model);
    size_t n_rows = LOGITS_BYTES / ((size_t)e->w->n_vocab * sizeof(float));
    e->max_rows = n_rows < 1 ? 1 : n_rows > 512 ? 512 : (int32_t)n_rows;
    params.n_ctx = (int32_t)n_ctx;
    params.n_seq_max = e->n_sequences = n_choices + 1;
    params.n_logits = e->max_rows;
    size_t n = (size_t)e->max_rows;
    e->tokens = calloc(n, sizeof *e->tokens);
    e->targets = calloc(n, sizeof *e->targets);
    e->sequences = calloc(n, sizeof *e->sequences);
    e->wanted = calloc(n, 1);
    e->logprobs = calloc((size_t)n_choices, sizeof *e->logprobs);
    if (!e->tokens || !e->targets || !e->sequences || !e->wanted || !e->logprobs)
        return fail("no memory");
    slm_status status = slm_context_create(e->model->model, &params, &e->ctx, &e->err);
    return status == SLM_OK ? EXIT_DONE : fail_with(e->model->path, &e->err);
}

static int examine(compare_work *w, const compared_model *m, int32_t number) {
    examinee e = {.w = w, .model = m};
    const task *t = &w->tasks[number];
    int code = prepare(&e, t);
    if (code == EXIT_DONE) code = answer(&e, t, &m->about->tasks[number]);
    slm_context_free(e.ctx);
    free(e.tokens);
    free(e.targets);
    free(e.sequences);
    free(e.wanted);
    free(e.logprobs);
    return code;
}

int compare_tasks(compare_work *w) {
    int code = EXIT_DONE;
    for (int32_t m = 0; m < w->n_models; m++)
        for (int32_t i = 0; i < w->n_tasks && code == EXIT_DONE; i++)
            code = examine(w, &w->models[m], i);
    return code;
}
