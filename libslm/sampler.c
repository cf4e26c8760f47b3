/* Logits in, a token out: parameters, the chain, the choice.
 *
 * The row is only read. Each step narrows down what is left of it, or changes the logits of a few tokens (struct slm__set); at the end a
 * random number falls on one. What is left is walked by rising id as long as it is most of the row, otherwise by falling logit.
 *
 * Same seed, same tokens, on every machine: exp is our own, sums have one order, and random numbers come from SplitMix64
 * (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", OOPSLA): one for each token that is not chosen
 * greedily, and one before it if XTC is on.
 *
 * A call that fails leaves the sampler as it was, so speculation and callers who try again get the same tokens: the random state and mirostat's
 * mu are worked on in a copy (struct slm__draw), and tokens are remembered at the end. */
#include "sampler.h"

#include <float.h>

#include "../kernels/vmath.h"
#include "matcher.h"
#include "model.h"
#include "sort.h"

enum { MAX_LAST_N = 65536 };

/* ---- Parameters ---- */

static const slm_string default_breakers[] = {{"\n", 1}, {":", 1}, {"\"", 1}, {"*", 1}};

slm_sampler_params slm_sampler_defaults(void) {
    return (slm_sampler_params){.size = sizeof(slm_sampler_params),
                                .repeat_penalty = 1,
                                .repeat_last_n = 64,
                                .top_p = 1,
                                .dynatemp_exponent = 1,
                                .typical_p = 1,
                                .xtc_threshold = 0.1f,
                                .mirostat_tau = 5,
                                .mirostat_eta = 0.1f,
                                .dry_base = 1.75f,
                                .dry_allowed_length = 2,
                                .dry_last_n = MAX_LAST_N,
                                .dry_breakers = default_breakers,
                                .n_dry_breakers = SLM_COUNT(default_breakers)};
}

static slm_status check_ranges(const slm_sampler_params *p, slm_error *err) {
    bool dry = p->dry_multiplier != 0;
    const struct {
        const char *name;
        double value, min, max;
    } ranges[] = {
        {"repeat_penalty", p->repeat_penalty, FLT_MIN, FLT_MAX},
        {"repeat_last_n", p->repeat_last_n, 0, MAX_LAST_N},
        {"temperature", p->temperature, 0, FLT_MAX},
        {"top_k", p->top_k, 0, INT32_MAX},
        {"top_p", p->top_p, 0, 1},
        {"min_p", p->min_p, 0, 1},
        {"presence_penalty", p->presence_penalty, -FLT_MAX, FLT_MAX},
        {"frequency_penalty", p->frequency_penalty, -FLT_MAX, FLT_MAX},
        {"dynatemp_range", p->dynatemp_range, 0, FLT_MAX},
        {"dynatemp_exponent", p->dynatemp_exponent, 0, 100},
        {"typical_p", p->typical_p, 0, 1},
        {"top_n_sigma", p->top_n_sigma, 0, FLT_MAX},
        {"xtc_probability", p->xtc_probability, 0, 1},
        {"xtc_threshold", p->xtc_threshold, 0, 1},
        {"mirostat_tau", p->mirostat_tau, 0, 1e6},
        {"mirostat_eta", p->mirostat_eta, 0, 1e6},
        {"dry_multiplier", p->dry_multiplier, 0, FLT_MAX},
        {"dry_base", dry ? p->dry_base : 1, 1, FLT_MAX},
        {"dry_allowed_length", dry ? p->dry_allowed_length : 1, 1, MAX_LAST_N},
        {"dry_last_n", p->dry_last_n, 0, MAX_LAST_N},
        {"n_logit_biases", p->n_logit_biases, 0, 1 << 20},
        {"min_tokens", p->min_tokens, 0, INT32_MAX},
    };
    for (size_t i = 0; i < SLM_COUNT(ranges); i++)
        if (!(ranges[i].value >= ranges[i].min && ranges[i].value <= ranges[i].max)) /* NaN too */
            return slm__fail(err, SLM_ERR_RANGE, "%s is %g, expected %g to %g", ranges[i].name,
                             ranges[i].value, ranges[i].min, ranges[i].max);
    if (p->mirostat != 0 && p->mirostat != 2)
        return slm__fail(err, SLM_ERR_RANGE, "mirostat is %d, expected 0 or 2", (int)p->mirostat);
    return SLM_OK;
}

static slm_status check_biases(const slm_sampler_params *p, slm_error *err) {
    if (p->n_logit_biases > 0 && !p->logit_biases)
        return slm__fail(err, SLM_ERR_ARGUMENT, "logit_biases is NULL");
    int32_t n_vocab =
        p->model && p->model->vocab ? slm__vocab_n_tokens(p->model->vocab) : INT32_MAX;
    for (int32_t i = 0; i < p->n_logit_biases; i++) {
        const slm_logit_bias *b = &p->logit_biases[i];
        if (b->token < 0 || b->token >= n_vocab)
            return slm__fail(err, SLM_ERR_RANGE, "logit_biases[%d]: token %d, expected 0 to %d",
                             (int)i, (int)b->token, (int)n_vocab - 1);
        if (isnan(b->bias) || b->bias == INFINITY)
            return slm__fail(err, SLM_ERR_RANGE,
                             "logit_biases[%d]: bias %g of token %d, expected a number or -inf",
                             (int)i, (double)b->bias, (int)b->token);
    }
    return SLM_OK;
}

static slm_status check_model(const slm_sampler_params *p, slm_error *err) {
    const char *what = p->n_banned_strings != 0                          ? "banned_strings"
                       : p->min_tokens > 0                               ? "min_tokens"
                       : p->dry_multiplier > 0 && p->n_dry_breakers != 0 ? "dry_breakers"
                                                                         : NULL;
    if (!what) return SLM_OK;
    if (!p->model)
        return slm__fail(err, SLM_ERR_ARGUMENT, "%s: a model is needed, and `model` is NULL", what);
    if (p->model->vocab) return SLM_OK;
    return slm__fail(err, SLM_ERR_UNSUPPORTED, "%s: the model has no vocabulary (keys_only)", what);
}

/* ---- The chain ---- */

static bool is_name(const char *name, const char *text, size_t n) {
    return name && strlen(name) == n && memcmp(name, text, n) == 0;
}

static slm_status add_step(slm_sampler *s, const char *name, size_t n, uint32_t *seen,
                           slm_error *err) {
    slm__str text = {name, n};
    int i = 0;
    while (slm__steps[i].name && !is_name(slm__steps[i].name, name, n) &&
           !is_name(slm__steps[i].alias, name, n))
        i++;
    if (!slm__steps[i].name)
        return slm__fail(err, SLM_ERR_ARGUMENT, "order: no step has the name \"%s\"",
                         slm__show(text).text);
    if (*seen >> i & 1)
        return slm__fail(err, SLM_ERR_ARGUMENT, "order: \"%s\" comes twice", slm__show(text).text);
    *seen |= 1u << i;
    if (slm__steps[i].is_on(&s->p)) s->chain[s->n_steps++] = &slm__steps[i];
    return SLM_OK;
}

/* Temperature 0, if the chain has one; a dynamic temperature is decided row by row. */
static bool is_greedy(const slm_sampler *s) {
    bool tempers = false;
    for (int32_t i = 0; i < s->n_steps; i++) tempers |= s->chain[i]->kind == SLM_TEMPERS;
    return tempers && s->p.temperature == 0 && s->p.dynatemp_range == 0;
}

static slm_status make_chain(slm_sampler *s, slm_error *err) {
    uint32_t seen = 0;
    const char *p = s->p.order;
    if (!p)
        for (int i = 0; slm__steps[i].name; i++)
            SLM_TRY(add_step(s, slm__steps[i].name, strlen(slm__steps[i].name), &seen, err));
    while (p && *p) {
        size_t n = strcspn(p, ",;");
        SLM_TRY(add_step(s, p, n, &seen, err));
        if (p[n] && !p[n + 1])
            return slm__fail(err, SLM_ERR_ARGUMENT, "order: a name is missing at its end");
        p += n + (p[n] != '\0');
    }
    s->greedy = is_greedy(s);
    return SLM_OK;
}

/* Finite biases by rising token, each once. */
static slm_status make_biases(slm_sampler *s, slm_error *err) {
    const slm_allocator *a = &s->p.allocator;
    uint64_t n = (uint64_t)s->p.n_logit_biases;
    uint64_t *order =
        slm__alloc_array(a, 2 * n, sizeof *order); /* token, index; and as much again */
    s->biases = slm__alloc_array(a, n, sizeof *s->biases);
    if (order && s->biases) {
        for (uint64_t i = 0; i < n; i++) order[i] = (uint64_t)s->p.logit_biases[i].token << 32 | i;
        slm__sort(order, order + n, n, 4);
    }
    for (uint64_t i = 0; order && s->biases && i < n; i++) {
        slm_logit_bias b = s->p.logit_biases[order[i] & 0xffffffff];
        if (b.bias == -INFINITY) continue; /* a ban */
        if (s->n_biases > 0 && s->biases[s->n_biases - 1].id == b.token)
            s->biases[s->n_biases - 1].amount += b.bias;
        else
            s->biases[s->n_biases++] = (slm__change){b.token, b.bias};
    }
    bool good = order && s->biases;
    slm__free(a, order);
    return good ? SLM_OK : slm__fail(err, SLM_ERR_NOMEM, "no memory for logit_biases");
}

static slm_status make_edits(slm_sampler *s, slm_error *err) {
    slm__set *set = &s->set;
    uint64_t n =
        (uint64_t)s->n_biases + (uint64_t)s->history.max_recent + (uint64_t)s->history.max_dry;
    set->max_edits = (int32_t)n;
    set->edits = slm__alloc_array(set->allocator, n, sizeof *set->edits);
    set->old_edits = slm__alloc_array(set->allocator, n, sizeof *set->old_edits);
    if (set->edits && set->old_edits) return SLM_OK;
    return slm__fail(err, SLM_ERR_NOMEM, "no memory for the changed logits of a sampler");
}

static slm_status fill(slm_sampler *s, slm_error *err) {
    s->set.allocator = &s->p.allocator;
    s->set.kernels = slm__kernels_named(NULL);
    s->random = s->p.seed;
    s->mu = 2.0 * (double)s->p.mirostat_tau;
    SLM_TRY(make_chain(s, err));
    SLM_TRY(make_biases(s, err));
    SLM_TRY(slm__history_create(&s->history, &s->p, err));
    SLM_TRY(slm__bans_create(&s->bans, &s->p, err));
    SLM_TRY(make_edits(s, err));
    s->p.order = NULL; /* what belongs to the caller may go now */
    s->p.dry_breakers = s->p.banned_strings = NULL;
    s->p.logit_biases = NULL;
    return SLM_OK;
}

slm_status slm_sampler_create(const slm_sampler_params *params, slm_sampler **out, slm_error *err) {
    slm__clear(err);
    if (out) *out = NULL;
    if (!params || !out)
        return slm__fail(err, SLM_ERR_ARGUMENT, "%s is NULL", out ? "params" : "out");
    if (params->size != sizeof *params)
        return slm__fail(err, SLM_ERR_ARGUMENT, "slm_sampler_params.size is %zu, expected %zu",
                         params->size, sizeof *params);
    SLM_TRY(check_ranges(params, err));
    SLM_TRY(check_biases(params, err));
    SLM_TRY(check_model(params, err));
    SLM_TRY(slm__check_allocator(&params->allocator, err));
    slm_sampler *s = slm__alloc(&params->allocator, sizeof *s);
    if (!s) return slm__fail(err, SLM_ERR_NOMEM, "no memory for a sampler");
    s->p = *params;
    slm_status status = fill(s, err);
    if (status == SLM_OK)
        *out = s;
    else
        slm_sampler_free(s);
    return status;
}

void slm_sampler_free(slm_sampler *s) {
    if (!s) return;
    slm_allocator a = s->p.allocator; /* the sampler that holds it goes too */
    if (s->set.allocator) slm__set_free(&s->set);
    slm__free(&a, s->set.edits);
    slm__free(&a, s->set.old_edits);
    slm__free(&a, s->biases);
    slm__history_free(&s->history, &a);
    slm__bans_free(&s->bans, &a);
    slm__free(&a, s);
}

/* ---- What came ---- */

void slm_sampler_accept(slm_sampler *s, slm_token token) {
    if (!s) return;
    slm__history_add(&s->history, s->p.model, token);
    slm__bans_add(&s->bans, s->p.model, token);
}

void slm_sampler_reset(slm_sampler *s) {
    if (!s) return;
    slm__history_reset(&s->history);
    s->bans.state = 0;
    s->n_sampled = 0;
    s->mu = 2.0 * (double)s->p.mirostat_tau;
}

slm_status slm_sampler_set_allowed(slm_sampler *s, const uint64_t *bits, int32_t n_vocab) {
    if (!s || (bits && n_vocab < 1)) return SLM_ERR_ARGUMENT;
    s->allowed = bits;
    s->n_allowed = n_vocab;
    s->matcher = NULL;
    return SLM_OK;
}

slm_status slm_sampler_set_matcher(slm_sampler *s, slm_matcher *matcher) {
    if (!s) return SLM_ERR_ARGUMENT;
    s->allowed = NULL;
    s->matcher = matcher;
    if (matcher) s->n_allowed = slm__matcher_n_vocab(matcher);
    return SLM_OK;
}

/* ---- Sampling ---- */

static double add(const void *user, double logit, double amount) {
    (void)user;
    return logit + amount;
}

static slm_status begin(slm_sampler *s, const float *row, int32_t n_vocab, slm_error *err) {
    SLM_TRY(slm__set_begin(&s->set, row, n_vocab, err));
    bool may_end = s->n_sampled >= s->p.min_tokens;
    SLM_TRY(slm__bans_apply(&s->bans, s->p.model, &s->set, s->allowed, may_end, err));
    return slm__set_change(&s->set, s->biases, s->n_biases, add, NULL, err);
}

/* A token that is left, by its weight; *share receives what it has of all of them. */
static slm_status pick(slm__set *s, slm__draw *d, slm_token *token, double *share, slm_error *err) {
    if (!s->listed) {
        float weight = 0;
        SLM_TRY(slm__row_scan(s, err));
        double sum = slm__row_weights(s);
        *token = slm__row_pick(s, slm__uniform(d) * sum, &weight);
        *share = (double)weight / sum;
        return SLM_OK;
    }
    double total = slm__list_weights(s), at = slm__uniform(d) * total, sum = 0;
    int32_t i = 0;
    for (; i < s->n - 1; i++) {
        sum += (double)s->weights[i];
        if (sum > at) break;
    }
    *token = slm__id_of(s->list[i]);
    *share = (double)s->weights[i] / total;
    return SLM_OK;
}

/* Mu learns from the surprise that came, in bits. */
static slm_status with_mirostat(slm_sampler *s, slm__draw *d, slm_token *token, slm_error *err) {
    double share = 1;
    SLM_TRY(slm__mirostat(s, d, err));
    SLM_TRY(pick(&s->set, d, token, &share, err));
    double surprise = share > DBL_MIN ? -slm__log2d(share) : 1022;
    d->mu -= (double)s->p.mirostat_eta * (surprise - (double)s->p.mirostat_tau);
    return SLM_OK;
}

static slm_status choose(slm_sampler *s, slm__draw *d, slm_token *token, slm_error *err) {
    bool mirostat = s->p.mirostat != 0;
    for (int32_t i = 0; i < s->n_steps; i++) {
        const slm__step *step = s->chain[i];
        if (step->kind == SLM_FILTER && (s->greedy || mirostat)) continue;
        if (step->kind == SLM_TEMPERS && s->greedy) continue;
        SLM_TRY(step->apply(s, d, err));
    }
    if (s->greedy) {
        SLM_TRY(slm__row_scan(&s->set, err));
        *token = slm__row_first(&s->set, s->set.max);
        return SLM_OK;
    }
    double share;
    return mirostat ? with_mirostat(s, d, token, err) : pick(&s->set, d, token, &share, err);
}

slm_status slm_sampler_sample(slm_sampler *s, const float *logits, int32_t n_vocab,
                              slm_token *token, slm_error *err) {
    slm__clear(err);
    if (!s || !logits || !token || n_vocab < 1)
        return slm__fail(err, SLM_ERR_ARGUMENT, "%s",
                         !s        ? "sampler is NULL"
                         : !logits ? "logits is NULL"
                         : !token  ? "token is NULL"
                                   : "n_vocab is less than 1");
    if ((s->allowed || s->matcher) && s->n_allowed != n_vocab)
        return slm__fail(err, SLM_ERR_ARGUMENT, "allowed tokens are given for %d, the row has %d",
                         (int)s->n_allowed, (int)n_vocab);
    slm__draw d = {s->random, s->mu};
    slm_token chosen;
    if (s->matcher) SLM_TRY(slm_matcher_mask(s->matcher, &s->allowed, err));
    SLM_TRY(begin(s, logits, n_vocab, err));
    SLM_TRY(choose(s, &d, &chosen, err));
    if (s->matcher) SLM_TRY(slm_matcher_accept(s->matcher, chosen, err));
    s->random = d.random;
    s->mu = d.mu;
    s->n_sampled++;
    slm_sampler_accept(s, chosen);
    *token = chosen;
    return SLM_OK;
}
