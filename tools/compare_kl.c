/* slm compare over a text: a piece of a window by the reference, the same by each candidate, and their rows of logits side by side while all
 * are there. Nothing of a piece is kept but its sums, so memory does not grow with the text. */
#include "compare.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare_row.h"
#include "shares.h"
#include "statistics.h"
#include "token_kind.h"

enum { MOST_POSITION_GROUPS = 8 };

/* What one model gave a row. */
typedef struct row_score {
    float kl; /* of a candidate */
    double logprob;
    slm_token best;
} row_score;

typedef struct group_sum {
    moments kl;
    size_t n_agree;
} group_sum;

/* Of a candidate, over all rows. */
typedef struct candidate_sums {
    moments kl, nll, nll_change, dp, dp_square;
    size_t n_agree;
    distribution all_kl;
    group_sum positions[MAX_GROUPS], kinds[MAX_GROUPS];
    double *layers; /* [n_layer] sums of squares of relative errors of a token's state */
} candidate_sums;

/* Who looks at states: a model's place in the list. */
typedef struct watcher {
    struct text_pass *pass;
    int32_t index;
} watcher;

typedef struct text_pass {
    compare_work *w;
    window_walk walk;
    slm_context *ctx[MAX_MODELS];
    watcher watchers[MAX_MODELS];
    candidate_sums sums[MAX_MODELS]; /* of the reference: nll */
    row_score *scores;               /* [n_rows, n_models]   */
    float *weights;                  /* [n_threads, n_vocab] */
    float *states;  /* [n_layer, max_tokens, n_embd] the reference's, of this piece */
    uint8_t *kinds; /* [n_vocab] */
    int32_t n_threads, n_positions;
    size_t n_states; /* tokens whose states were compared */
} text_pass;

/* ---- States behind layers ---- */

static double relative_square(const float *x, const float *y, int32_t n) {
    double difference = 0, size = 0;
    for (int32_t i = 0; i < n; i++) {
        double a = (double)x[i], d = (double)y[i] - a;
        difference += d * d;
        size += a * a;
    }
    return size > 0 ? difference / size : 0;
}

static void watch(void *user, const slm_observation *o) {
    const watcher *seer = user;
    text_pass *p = seer->pass;
    if (o->tensor) return;
    int64_t first = (int64_t)o->layer * p->walk.max_tokens + o->first, n = o->n;
    float *states = p->states + first * n;
    if (seer->index == 0) {
        memcpy(states, o->rows, (size_t)o->n_rows * (size_t)n * sizeof *states);
        return;
    }
    double *sum = &p->sums[seer->index].layers[o->layer];
    for (int64_t r = 0; r < o->n_rows; r++)
        *sum += relative_square(states + r * n, o->rows + r * n, o->n);
}

static bool same_shape(const compare_work *w, int32_t i) {
    const slm_model_info *a = &w->models[0].info, *b = &w->models[i].info;
    return a->n_layer == b->n_layer && a->n_embd == b->n_embd;
}

/* ---- Rows ---- */

static void score_row(text_pass *p, int32_t row, float *weights) {
    const compare_work *w = p->w;
    slm_token token = p->walk.rows[row].token;
    row_score *scores = p->scores + (int64_t)row * w->n_models;
    const float *x = slm_logits(p->ctx[0], row);
    row_summary reference = row_summarize(x, w->n_vocab, weights);
    scores[0] = (row_score){0, row_logprob(x, &reference, token), reference.best};
    for (int32_t i = 1; i < w->n_models; i++) {
        const float *y = slm_logits(p->ctx[i], row);
        row_summary s;
        double kl = row_kl(x, weights, &reference, y, w->n_vocab, &s);
        scores[i] = (row_score){(float)kl, row_logprob(y, &s, token), s.best};
    }
}

static void score_share(void *user, int32_t share, int32_t begin, int32_t end) {
    text_pass *p = user;
    float *weights = p->weights + (int64_t)share * p->w->n_vocab;
    for (int32_t row = begin; row < end; row++) score_row(p, row, weights);
}

static int32_t position_group(const text_pass *p, int32_t position) {
    int32_t first = (int32_t)p->w->windows.size / 2 + 1, n = (int32_t)p->w->windows.size - first;
    return (int32_t)((int64_t)(position - first) * p->n_positions / n);
}

static void add_to_group(group_sum *g, double kl, bool agree) {
    moments_add(&g->kl, kl);
    g->n_agree += agree;
}

static bool add_row(text_pass *p, int32_t row) {
    const row_score *scores = p->scores + (int64_t)row * p->w->n_models;
    const window_row *at = &p->walk.rows[row];
    double reference = scores[0].logprob, p_reference = exp_of(reference);
    moments_add(&p->sums[0].nll, -reference);
    for (int32_t i = 1; i < p->w->n_models; i++) {
        candidate_sums *s = &p->sums[i];
        double kl = (double)scores[i].kl, dp = exp_of(scores[i].logprob) - p_reference;
        bool agree = scores[i].best == scores[0].best;
        moments_add(&s->kl, kl);
        moments_add(&s->nll, -scores[i].logprob);
        moments_add(&s->nll_change, reference - scores[i].logprob);
        moments_add(&s->dp, dp);
        moments_add(&s->dp_square, dp * dp);
        s->n_agree += agree;
        add_to_group(&s->positions[position_group(p, at->position)], kl, agree);
        add_to_group(&s->kinds[p->kinds[at->token]], kl, agree);
        if (!distribution_add(&s->all_kl, scores[i].kl)) return false;
    }
    return true;
}

/* ---- Pieces ---- */

enum { REFERENCE_UNITS = 3 }; /* as long as so many candidates, about */

static double model_units(const compared_model *m) {
    return (double)m->info.n_params * (m->is_reference ? REFERENCE_UNITS : 1);
}

static int compute_piece(text_pass *p) {
    compare_work *w = p->w;
    slm_error err;
    for (int32_t i = 0; i < w->n_models; i++) {
        compare_step(w, p->walk.n_tokens * model_units(&w->models[i]));
        if (walk_decode(&p->walk, p->ctx[i], &err) != SLM_OK)
            return fail_with(w->models[i].path, &err);
    }
    share_rows(p->n_threads, p->walk.n_rows, score_share, p);
    p->n_states += (size_t)p->walk.n_tokens;
    for (int32_t row = 0; row < p->walk.n_rows; row++)
        if (!add_row(p, row)) return fail("no memory");
    return EXIT_DONE;
}

double units_of_text(const compare_work *w) {
    double sum = 0;
    for (int32_t i = 0; i < w->n_models; i++) sum += model_units(&w->models[i]);
    return sum * (double)(w->windows.n * (w->windows.size - 1));
}

/* ---- Before and after ---- */

/* Logits and states of a piece have a budget, whatever the models; pieces of fewer tokens than these take longer than they should. */
static walk_limits limits_of(const compare_work *w) {
    enum { LOGITS = 512 << 20, STATES = 64 << 20, MOST = 512, LEAST = 64 };
    const slm_model_info *info = &w->models[0].info;
    size_t state_bytes = (size_t)info->n_layer * (size_t)info->n_embd * sizeof(float);
    size_t n = STATES / (state_bytes > 0 ? state_bytes : 1), logits = LOGITS / (size_t)w->n_models;
    n = n < LEAST ? LEAST : n > MOST ? MOST : n;
    return (walk_limits){.logits_bytes = logits < 64 << 20 ? logits : 64 << 20, .n_tokens = n};
}

static int create_contexts(text_pass *p, const slm_context_params *sizes) {
    compare_work *w = p->w;
    for (int32_t i = 0; i < w->n_models; i++) {
        const compared_model *m = &w->models[i];
        slm_context_params params = compare_context(w, m);
        slm_error err;
        params.n_ctx = sizes->n_ctx;
        params.n_batch = sizes->n_batch;
        params.n_seq_max = sizes->n_seq_max;
        params.n_logits = sizes->n_logits;
        params.progress = compare_progress;
        p->watchers[i] = (watcher){p, i};
        if (same_shape(w, i)) {
            params.observe = watch;
            params.observe_user = &p->watchers[i];
        }
        if (slm_context_create(m->model, &params, &p->ctx[i], &err) != SLM_OK)
            return fail_with(m->path, &err);
    }
    int32_t n = slm_context_n_threads(p->ctx[0]);
    p->n_threads = n < MAX_SHARES ? n : MAX_SHARES;
    w->result.n_threads = n;
    return EXIT_DONE;
}

static int make_room(text_pass *p) {
    compare_work *w = p->w;
    size_t n_layer = (size_t)w->models[0].info.n_layer, n_vocab = (size_t)w->n_vocab;
    size_t n_states = n_layer * (size_t)p->walk.max_tokens * (size_t)w->models[0].info.n_embd;
    p->scores = calloc((size_t)p->walk.max_rows * (size_t)w->n_models, sizeof *p->scores);
    p->weights = calloc((size_t)p->n_threads * n_vocab, sizeof *p->weights);
    p->states = calloc(n_states > 0 ? n_states : 1, sizeof *p->states);
    p->kinds = calloc(n_vocab, 1);
    if (!p->scores || !p->weights || !p->states || !p->kinds) return fail("no memory");
    for (int32_t i = 1; i < w->n_models; i++)
        if (!(p->sums[i].layers = calloc(n_layer + 1, sizeof(double)))) return fail("no memory");
    for (int32_t t = 0; t < w->n_vocab; t++)
        p->kinds[t] = (uint8_t)kind_of_token(w->models[0].model, t);
    return EXIT_DONE;
}

/* Ranges of positions, all of the same length or one more. */
static int name_groups(text_pass *p) {
    compare_work *w = p->w;
    int32_t size = (int32_t)w->windows.size, first = size / 2 + 1, n = size - first;
    p->n_positions = n < MOST_POSITION_GROUPS ? n : MOST_POSITION_GROUPS;
    for (int32_t g = 0, at = first; g < p->n_positions; g++) {
        int32_t begin = at;
        while (at < size && position_group(p, at) == g) at++;
        if (asprintf(&w->labels[g], "%" PRId32 "-%" PRId32, begin, at - 1) < 0) {
            w->labels[g] = NULL;
            return fail("no memory");
        }
    }
    w->result.n_positions = p->n_positions;
    w->result.n_kinds = N_KINDS;
    return EXIT_DONE;
}

static kl_group group_figures(const group_sum *g, const char *label) {
    kl_group out = {.label = label, .n = g->kl.n};
    if (out.n == 0) return out;
    out.kl = g->kl.mean;
    out.agreement = (double)g->n_agree / (double)out.n;
    return out;
}

/* Root of a mean: the error of the mean, carried through to first order. */
static estimate root(estimate square) {
    double r = sqrt(square.value);
    return (estimate){r, r > 0 ? square.error / (2 * r) : square.error > 0 ? NAN : square.error};
}

static int store_candidate(text_pass *p, int32_t i) {
    comparison *result = &p->w->result;
    candidate_sums *s = &p->sums[i];
    candidate *c = &result->candidates[i - 1];
    c->kl = (kl_figures){.mean = moments_estimate(&s->kl),
                         .median = distribution_quantile(&s->all_kl, 0.5),
                         .p90 = distribution_quantile(&s->all_kl, 0.9),
                         .p99 = distribution_quantile(&s->all_kl, 0.99),
                         .p999 = distribution_quantile(&s->all_kl, 0.999),
                         .max = (double)s->all_kl.max};
    c->dp_mean = moments_estimate(&s->dp);
    c->dp_rms = root(moments_estimate(&s->dp_square));
    c->agreement = whole_estimate((double)s->n_agree, (double)s->n_agree, s->kl.n);
    c->ppl_ratio = moments_exp(&s->nll_change);
    for (int32_t g = 0; g < result->n_positions; g++)
        c->positions[g] = group_figures(&s->positions[g], p->w->labels[g]);
    for (int32_t g = 0; g < N_KINDS; g++)
        c->kinds[g] = group_figures(&s->kinds[g], token_kind_names[g]);
    if (!same_shape(p->w, i)) return EXIT_DONE;
    c->layer_error = calloc((size_t)result->n_layer + 1, sizeof *c->layer_error);
    if (!c->layer_error) return fail("no memory");
    for (int32_t l = 0; l < result->n_layer; l++)
        c->layer_error[l] = sqrt(s->layers[l] / (double)p->n_states);
    return EXIT_DONE;
}

static int store(text_pass *p) {
    compare_work *w = p->w;
    int code = EXIT_DONE;
    w->result.n_scored = p->sums[0].nll.n;
    w->result.n_layer = w->models[0].info.n_layer;
    for (int32_t i = 0; i < w->n_models && code == EXIT_DONE; i++) {
        w->models[i].about->perplexity = moments_exp(&p->sums[i].nll);
        if (i > 0) code = store_candidate(p, i);
    }
    return code;
}

static void free_pass(text_pass *p) {
    for (int32_t i = 0; i < p->w->n_models; i++) {
        slm_context_free(p->ctx[i]);
        distribution_free(&p->sums[i].all_kl);
        free(p->sums[i].layers);
    }
    walk_free(&p->walk);
    free(p->scores);
    free(p->weights);
    free(p->states);
    free(p->kinds);
    free(p);
}

int compare_over_text(compare_work *w) {
    text_pass *p = calloc(1, sizeof *p); /* too large for a stack */
    slm_context_params sizes;
    if (!p) return fail("no memory");
    p->w = w;
    int code =
        walk_begin(&p->walk, WALK_SCORED, &w->windows, w->models[0].model, limits_of(w), &sizes);
    if (code == EXIT_DONE) code = create_contexts(p, &sizes);
    if (code == EXIT_DONE) code = make_room(p);
    if (code == EXIT_DONE) code = name_groups(p);
    while (code == EXIT_DONE && walk_next(&p->walk)) code = compute_piece(p);
    if (code == EXIT_DONE) code = store(p);
    free_pass(p);
    return code;
}
