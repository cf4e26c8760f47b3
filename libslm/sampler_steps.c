/* The steps of the chain. docs/sampling.md has their formulas; each works on the row or, once that was narrowed down, on a list.
 *
 * In a list the best comes first, so what top-k, top-p, min-p, top-n-sigma and XTC keep is a piece of it, and what the typical step
 * keeps too: surprise is the distance from the highest logit, up to a constant, and those nearest to its mean are neighbours. */
#include <float.h>

#include "../kernels/vmath.h"
#include "sampler.h"

double slm__uniform(slm__draw *d) {
    uint64_t z = d->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

static float as_float(double x) {
    return x > FLT_MAX ? FLT_MAX : x < -FLT_MAX ? -FLT_MAX : (float)x;
}

/* Distance of a listed token from the best, in units of the temperature. */
static double gap(const slm__set *s, int32_t i) {
    return ((double)slm__logit_of(s->list[0]) - (double)slm__logit_of(s->list[i])) /
           (double)s->temperature;
}

static double raise_to(double base, double exponent) {
    if (exponent == 0) return 1;
    if (base < DBL_MIN) return 0;
    double log = exponent * slm__log2d(base);
    return log < -900 ? 0 : log > 900 ? DBL_MAX : slm__exp2d(log);
}

/* ---- Drop what is below a logit ---- */

static void keep_above(slm__set *s, double logit) {
    float floor = as_float(logit);
    if (!s->listed) {
        if (floor > s->max) floor = s->max;
        if (floor > s->floor) s->floor = floor;
        return;
    }
    int32_t n = 1;
    while (n < s->n && slm__logit_of(s->list[n]) >= floor) n++;
    s->n = n;
}

static bool has_min_p(const slm_sampler_params *p) { return p->min_p > 0; }

static slm_status min_p(slm_sampler *sampler, slm__draw *d, slm_error *err) {
    (void)d;
    slm__set *s = &sampler->set;
    if (!s->listed) SLM_TRY(slm__row_scan(s, err));
    double max = (double)(s->listed ? slm__logit_of(s->list[0]) : s->max);
    double ln = sampler->p.min_p < FLT_MIN ? -87.4 : slm__ln((double)sampler->p.min_p);
    keep_above(s, max + (double)s->temperature * ln);
    return SLM_OK;
}

static bool has_sigma(const slm_sampler_params *p) { return p->top_n_sigma > 0; }

/* Whatever the temperature: it divides both sides. */
static slm_status top_n_sigma(slm_sampler *sampler, slm__draw *d, slm_error *err) {
    (void)d;
    slm__set *s = &sampler->set;
    slm__sums sums = {0};
    double max;
    if (s->listed) {
        max = (double)slm__logit_of(s->list[0]);
        sums.n = s->n;
        for (int32_t i = 0; i < s->n; i++) {
            double below = max - (double)slm__logit_of(s->list[i]);
            sums.logits += below;
            sums.squares += below * below;
        }
    } else {
        SLM_TRY(slm__row_scan(s, err));
        max = (double)s->max;
        sums = slm__row_moments(s);
    }
    double mean = sums.logits / (double)sums.n;
    double variance = sums.squares / (double)sums.n - mean * mean;
    keep_above(s, max - (double)sampler->p.top_n_sigma * sqrt(variance > 0 ? variance : 0));
    return SLM_OK;
}

/* ---- The best so many ---- */

static bool has_top_k(const slm_sampler_params *p) { return p->top_k > 0; }

static slm_status top_k(slm_sampler *sampler, slm__draw *d, slm_error *err) {
    (void)d;
    slm__set *s = &sampler->set;
    int32_t k = sampler->p.top_k;
    if (s->listed) {
        if (k < s->n) s->n = k;
        return SLM_OK;
    }
    SLM_TRY(slm__row_scan(s, err));
    SLM_TRY(slm__row_best(s, k, err));
    s->listed = true;
    return SLM_OK;
}

/*
 * Cut a list that has all tokens above `lowest` (-infinity: all). False: it may have too few to tell. The list's weights are computed;
 * `enough` is what those that stay must sum up to.
 */
typedef bool (*cut_fn)(slm__set *s, double enough, double centre, double lowest);

static bool cut_top_p(slm__set *s, double enough, double centre, double lowest) {
    (void)centre;
    double sum = 0;
    for (int32_t i = 0; i < s->n; i++) {
        sum += (double)s->weights[i];
        if (sum < enough) continue;
        s->n = i + 1;
        return true;
    }
    return lowest == -INFINITY;
}

/* From the mean distance outwards, the nearest first. */
static bool cut_typical(slm__set *s, double enough, double centre, double lowest) {
    int32_t left = 0, right;
    while (left < s->n && gap(s, left) < centre) left++;
    right = left--;
    double sum = 0, end = ((double)slm__logit_of(s->list[0]) - lowest) / (double)s->temperature;
    while (sum < enough && (left >= 0 || right < s->n)) {
        double before = left >= 0 ? centre - gap(s, left) : INFINITY;
        double after = (right < s->n ? gap(s, right) : end) - centre;
        if (after < before && right == s->n) return false;
        sum += (double)s->weights[before <= after ? left-- : right++];
    }
    if (sum < enough && lowest > -INFINITY) return false;
    s->n = right - left - 1;
    memmove(s->list, s->list + left + 1, (size_t)s->n * sizeof *s->list);
    return true;
}

/* How far down a row must be listed nobody knows. A few dozen tokens mostly do; otherwise as many as have the share, or more and more of
 * the rest: those that are typical need not be the most probable. */
static slm_status cut_row(slm__set *s, float share, bool by_entropy, cut_fn cut, slm_error *err) {
    enum { N_RANKS = 2, N_TRIES = 7 };
    static const int32_t ranks[N_RANKS] = {64, 256};
    SLM_TRY(slm__row_scan(s, err));
    slm__sums sums = {0};
    if (by_entropy)
        sums = slm__row_entropy(s);
    else
        sums.weights = slm__row_weights(s);
    double enough = (double)share * sums.weights, rest = sums.weights - enough;
    for (int i = 0; !s->listed; i++) {
        float lowest = -FLT_MAX;
        if (i < N_RANKS) {
            if (ranks[i] > s->n_blocks) continue;
            SLM_TRY(slm__row_rank(s, ranks[i], &lowest, err));
        } else if (i < N_TRIES) {
            lowest = slm__row_reach(s, rest);
            rest /= 16;
        }
        SLM_TRY(slm__row_above(s, lowest, err));
        slm__list_weights(s);
        s->listed = cut(s, enough, sums.gaps / sums.weights,
                        lowest <= s->floor ? -INFINITY : (double)lowest);
    }
    return SLM_OK;
}

static void cut_list(slm__set *s, float share, cut_fn cut) {
    double sum = slm__list_weights(s), gaps = 0;
    for (int32_t i = 0; i < s->n; i++)
        if (s->weights[i] > 0) gaps += (double)s->weights[i] * gap(s, i);
    cut(s, (double)share * sum, gaps / sum, -INFINITY);
}

static bool has_top_p(const slm_sampler_params *p) { return p->top_p < 1; }

static slm_status top_p(slm_sampler *sampler, slm__draw *d, slm_error *err) {
    (void)d;
    if (!sampler->set.listed)
        return cut_row(&sampler->set, sampler->p.top_p, false, cut_top_p, err);
    cut_list(&sampler->set, sampler->p.top_p, cut_top_p);
    return SLM_OK;
}

static bool has_typical(const slm_sampler_params *p) {
    return p->typical_p > 0 && p->typical_p < 1;
}

static slm_status typical(slm_sampler *sampler, slm__draw *d, slm_error *err) {
    (void)d;
    if (!sampler->set.listed)
        return cut_row(&sampler->set, sampler->p.typical_p, true, cut_typical, err);
    cut_list(&sampler->set, sampler->p.typical_p, cut_typical);
    return SLM_OK;
}

/* ---- XTC ---- */

static bool has_xtc(const slm_sampler_params *p) { return p->xtc_probability > 0; }

/* How many of the list have at least this weight. */
static int32_t count_heavy(const slm__set *s, double weight) {
    int32_t n = 0;
    while (n < s->n && (double)s->weights[n] >= weight) n++;
    return n;
}

static slm_status xtc(slm_sampler *sampler, slm__draw *d, slm_error *err) {
    slm__set *s = &sampler->set;
    double threshold = (double)sampler->p.xtc_threshold;
    bool now = slm__uniform(d) < (double)sampler->p.xtc_probability;
    if (!now || threshold > 0.5) return SLM_OK;
    if (s->listed) {
        int32_t heavy = count_heavy(s, threshold * slm__list_weights(s));
        if (heavy < 2) return SLM_OK;
        s->n -= heavy - 1;
        memmove(s->list, s->list + heavy - 1, (size_t)s->n * sizeof *s->list);
        return SLM_OK;
    }
    SLM_TRY(slm__row_scan(s, err));
    double least = threshold * slm__row_weights(s);
    double below = least < FLT_MIN ? 90 : 1e-3 - slm__ln(least); /* a little more than needed */
    SLM_TRY(slm__row_above(s, as_float((double)s->max - below * (double)s->temperature), err));
    if (s->n < 2) return SLM_OK;
    slm__list_weights(s);
    int32_t heavy = count_heavy(s, least);
    for (int32_t i = 0; i + 1 < heavy; i++) slm__row_forbid(s, slm__id_of(s->list[i]));
    return SLM_OK;
}

/* ---- Temperature ---- */

/* Defaults of 1 do nothing; 0 without a range is a greedy choice, which is made elsewhere. */
static bool has_temperature(const slm_sampler_params *p) {
    return p->temperature != 1 || p->dynatemp_range > 0;
}

static slm_status dynamic(slm__set *s, const slm_sampler_params *p, float *temperature,
                          slm_error *err) {
    slm__sums sums = {0};
    if (s->listed) {
        sums.n = s->n;
        sums.weights = slm__list_weights(s);
        for (int32_t i = 0; i < s->n; i++)
            if (s->weights[i] > 0) sums.gaps += (double)s->weights[i] * gap(s, i);
    } else {
        SLM_TRY(slm__row_scan(s, err));
        sums = slm__row_entropy(s);
    }
    *temperature = 1;
    if (sums.n < 2) return SLM_OK;
    double entropy = slm__ln(sums.weights) + sums.gaps / sums.weights;
    double share = entropy / slm__ln((double)sums.n);
    share = share < 0 ? 0 : share > 1 ? 1 : share;
    double low = (double)p->temperature - (double)p->dynatemp_range;
    double high = (double)p->temperature + (double)p->dynatemp_range;
    if (low < 0) low = 0;
    *temperature = as_float(low + (high - low) * raise_to(share, (double)p->dynatemp_exponent));
    return SLM_OK;
}

static slm_status temperature(slm_sampler *sampler, slm__draw *d, slm_error *err) {
    (void)d;
    slm__set *s = &sampler->set;
    float t = sampler->p.temperature;
    if (sampler->p.dynatemp_range > 0) SLM_TRY(dynamic(s, &sampler->p, &t, err));
    if (t > 0) {
        s->temperature = t;
        return SLM_OK;
    }
    if (!s->listed) {
        SLM_TRY(slm__row_scan(s, err));
        SLM_TRY(slm__row_best(s, 1, err));
    }
    s->listed = true;
    s->n = 1;
    return SLM_OK;
}

/* ---- What came ---- */

static bool has_penalties(const slm_sampler_params *p) {
    return p->repeat_last_n > 0 &&
           (p->repeat_penalty != 1 || p->presence_penalty != 0 || p->frequency_penalty != 0);
}

static double penalise(const void *user, double logit, double count) {
    const slm_sampler_params *p = user;
    double penalty = (double)p->repeat_penalty;
    double x = logit > 0 ? logit / penalty : logit * penalty;
    return x - (count * (double)p->frequency_penalty + (double)p->presence_penalty);
}

static slm_status penalties(slm_sampler *sampler, slm__draw *d, slm_error *err) {
    (void)d;
    int32_t n = slm__history_counts(&sampler->history);
    return slm__set_change(&sampler->set, sampler->history.changes, n, penalise, &sampler->p, err);
}

static bool has_dry(const slm_sampler_params *p) {
    return p->dry_multiplier > 0 && p->dry_last_n > 0;
}

static double subtract(const void *user, double logit, double amount) {
    (void)user;
    return logit - amount;
}

/* A token that is a breaker by itself may come. */
static slm_status dry(slm_sampler *sampler, slm__draw *d, slm_error *err) {
    (void)d;
    slm__history *h = &sampler->history;
    int32_t n = slm__history_dry(h, &sampler->p), kept = 0;
    for (int32_t i = 0; i < n; i++) {
        slm__str text;
        bool breaks = false;
        if (h->breakers.n > 0 && slm__token_text(sampler->p.model, h->changes[i].id, &text))
            slm__strings_walk(&h->breakers, 0, text, &breaks);
        if (!breaks) h->changes[kept++] = h->changes[i];
    }
    return slm__set_change(&sampler->set, h->changes, kept, subtract, NULL, err);
}

/* ---- Mirostat ---- */

/* Of those left only the ones whose surprise is at most mu stay; the best always does. */
slm_status slm__mirostat(slm_sampler *sampler, const slm__draw *d, slm_error *err) {
    slm__set *s = &sampler->set;
    if (s->listed) return SLM_OK; /* the temperature has left one */
    SLM_TRY(slm__row_scan(s, err));
    double below = d->mu * 0.6931471805599453 - slm__ln(slm__row_weights(s));
    if (below > 0) {
        keep_above(s, (double)s->max - below * (double)s->temperature);
        return SLM_OK;
    }
    SLM_TRY(slm__row_best(s, 1, err));
    s->listed = true;
    return SLM_OK;
}

const slm__step slm__steps[] = {
    {"penalties", NULL, SLM_EDITS, has_penalties, penalties},
    {"dry", NULL, SLM_EDITS, has_dry, dry},
    {"top_n_sigma", NULL, SLM_FILTER, has_sigma, top_n_sigma},
    {"top_k", NULL, SLM_FILTER, has_top_k, top_k},
    {"typical", "typ_p", SLM_FILTER, has_typical, typical},
    {"top_p", NULL, SLM_FILTER, has_top_p, top_p},
    {"min_p", NULL, SLM_FILTER, has_min_p, min_p},
    {"xtc", NULL, SLM_FILTER, has_xtc, xtc},
    {"temperature", NULL, SLM_TEMPERS, has_temperature, temperature},
    {0},
};
