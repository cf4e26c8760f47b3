/* Logits in, a token out.
 *
 * In this order: repetition penalty (Keskar et al. 2019, arXiv:1909.05858), top-k, top-p (Holtzman et al. 2020,
 * arXiv:1904.09751), min-p, temperature. The probabilities that top-p and min-p speak of are therefore those of
 * temperature 1.
 *
 * A row of logits may have a quarter of a million entries, so it is read where it lies and never copied. The
 * penalty changes a few of them only: the row is walked as runs of raw logits with the penalised ones between (struct run).
 * Each of the three filters keeps the first so many tokens by falling logit, thus all of them together do, and there
 * are three ways to a token:
 *
 *   greedy               temperature 0 or top-k 1: the maximum.
 *   no top-k, no top-p   walk_row() twice: the sum of the weights by rising id, then the place of the random number in it.
 *   otherwise            the best tokens in a sorted list, then the same with walk_list().
 *
 * Same seed, same tokens, on every machine: exp is our own, sums are made in double in the order of the walk, and random
 * numbers come from SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", OOPSLA),
 * one for each token that is not chosen greedily.
 */
#include "base.h"

#include <float.h>

#include "../kernels/kernels.h"
#include "../kernels/vmath.h"

enum { MAX_LAST_N = 65536 };

typedef struct candidate {
    float logit;
    slm_token id;
} candidate;

struct slm_sampler {
    slm_sampler_params p;
    const slm_kernels *kernels; /* the highest level: all have the same bits */
    double min_gap;             /* ln(min_p): what min-p asks of a logit less the highest */
    uint64_t random;

    /* The last p.repeat_last_n tokens; none are kept when the penalty is off. */
    int32_t n_recent, max_recent, oldest;
    slm_token *ring;   /* as they came; [oldest] is the next to go once it is full */
    slm_token *recent; /* [n_recent] the same, sorted, a token as often as it came  */

    candidate *list; /* [max_list] */
    int32_t max_list;
};

/* ---- Parameters ---- */

slm_sampler_params slm_sampler_defaults(void) {
    return (slm_sampler_params){
        .size = sizeof(slm_sampler_params), .repeat_penalty = 1, .repeat_last_n = 64, .top_p = 1};
}

static slm_status check_params(const slm_sampler_params *p, slm_error *err) {
    if (p->size != sizeof *p)
        return slm__fail(err, SLM_ERR_ARGUMENT, "slm_sampler_params.size is %zu, expected %zu",
                         p->size, sizeof *p);
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
    };
    for (size_t i = 0; i < SLM_COUNT(ranges); i++)
        if (!(ranges[i].value >= ranges[i].min && ranges[i].value <= ranges[i].max)) /* NaN too */
            return slm__fail(err, SLM_ERR_RANGE, "%s is %g, expected %g to %g", ranges[i].name,
                             ranges[i].value, ranges[i].min, ranges[i].max);
    return SLM_OK;
}

slm_status slm_sampler_create(const slm_sampler_params *params, slm_sampler **out, slm_error *err) {
    slm__clear(err);
    if (out) *out = NULL;
    if (!params || !out)
        return slm__fail(err, SLM_ERR_ARGUMENT, "%s is NULL", out ? "params" : "out");
    SLM_TRY(check_params(params, err));
    const slm_allocator *a = &params->allocator;
    SLM_TRY(slm__check_allocator(a, err));
    slm_sampler *s = slm__alloc(a, sizeof *s);
    if (!s) return slm__fail(err, SLM_ERR_NOMEM, "no memory for a sampler");
    s->p = *params;
    s->kernels = slm__kernels_named(NULL);
    s->random = params->seed;
    s->min_gap = params->min_p > 0 ? slm__log2d(params->min_p) * 0.6931471805599453 : -INFINITY;
    s->max_recent = params->repeat_penalty == 1 ? 0 : params->repeat_last_n;
    s->ring = slm__alloc_array(a, (uint64_t)s->max_recent, sizeof *s->ring);
    s->recent = slm__alloc_array(a, (uint64_t)s->max_recent, sizeof *s->recent);
    if (!s->ring || !s->recent) {
        slm_sampler_free(s);
        return slm__fail(err, SLM_ERR_NOMEM, "no memory for the last %d tokens of a sampler",
                         (int)params->repeat_last_n);
    }
    *out = s;
    return SLM_OK;
}

void slm_sampler_free(slm_sampler *s) {
    if (!s) return;
    slm_allocator a = s->p.allocator; /* the sampler that holds it goes too */
    slm__free(&a, s->ring);
    slm__free(&a, s->recent);
    slm__free(&a, s->list);
    slm__free(&a, s);
}

/* ---- Recent tokens ---- */

/* Index of the first recent token that is not below `token`. */
static int32_t find_recent(const slm_sampler *s, slm_token token) {
    int32_t low = 0, high = s->n_recent;
    while (low < high) {
        int32_t mid = low + (high - low) / 2;
        if (s->recent[mid] < token)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

void slm_sampler_accept(slm_sampler *s, slm_token token) {
    if (!s || s->max_recent == 0) return;
    if (s->n_recent == s->max_recent) {
        slm_token *gone = s->recent + find_recent(s, s->ring[s->oldest]);
        s->n_recent--;
        memmove(gone, gone + 1, (size_t)(s->recent + s->n_recent - gone) * sizeof *gone);
    }
    slm_token *place = s->recent + find_recent(s, token);
    memmove(place + 1, place, (size_t)(s->recent + s->n_recent - place) * sizeof *place);
    *place = token;
    s->n_recent++;
    s->ring[s->oldest] = token;
    s->oldest = (s->oldest + 1) % s->max_recent;
}

/* ---- The row with its penalties ---- */

/* Consecutive tokens of the row. Begin with {0}; next_run() until it returns false. */
typedef struct run {
    const float *logits; /* [n] of the tokens id .. id+n-1 */
    slm_token id;
    int32_t n;
    int32_t recent;  /* index of the next recent token to look at     */
    float penalised; /* where `logits` points for a penalised token   */
} run;

/* A finite logit stays finite: a huge penalty must not turn a token into a NaN or a mask. */
static float penalise(float logit, float penalty) {
    if (!isfinite(logit)) return logit;
    float x = logit > 0 ? logit / penalty : logit * penalty;
    return x > FLT_MAX ? FLT_MAX : x < -FLT_MAX ? -FLT_MAX : x;
}

static bool next_run(const slm_sampler *s, const float *row, int32_t n_vocab, run *r) {
    r->id += r->n;
    while (r->recent < s->n_recent && s->recent[r->recent] < r->id) r->recent++;
    slm_token end = r->recent < s->n_recent ? s->recent[r->recent] : n_vocab;
    if (end > n_vocab) end = n_vocab;
    if (r->id == n_vocab) return false;
    if (r->id < end) {
        r->logits = row + r->id;
        r->n = end - r->id;
    } else {
        r->penalised = penalise(row[r->id], s->p.repeat_penalty);
        r->logits = &r->penalised;
        r->n = 1;
    }
    return true;
}

/* Eight maxima at a time, which the compiler turns into vectors: this passes over the whole row for every token. */
enum { LANES = 8 };

static float max_of_run(const run *r, float max, bool *has_nan) {
    float lanes[LANES];
    int32_t nan[LANES] = {0}, i = 0;
    for (int j = 0; j < LANES; j++) lanes[j] = max;
    for (; i <= r->n - LANES; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            float x = r->logits[i + j];
            lanes[j] = x > lanes[j] ? x : lanes[j];
            nan[j] |= x != x;
        }
    }
    for (; i < r->n; i++) {
        lanes[0] = r->logits[i] > lanes[0] ? r->logits[i] : lanes[0];
        nan[0] |= r->logits[i] != r->logits[i];
    }
    for (int j = 0; j < LANES; j++) {
        max = lanes[j] > max ? lanes[j] : max;
        *has_nan |= nan[j] != 0;
    }
    return max;
}

/* The highest logit; every logit is looked at. -infinity is a token that must not come; NaN and +infinity are faults. */
static slm_status find_max(const slm_sampler *s, const float *row, int32_t n_vocab, float *max,
                           slm_error *err) {
    bool has_nan = false;
    *max = -INFINITY;
    for (run r = {0}; next_run(s, row, n_vocab, &r);) *max = max_of_run(&r, *max, &has_nan);
    if (!has_nan && isfinite(*max)) return SLM_OK;
    for (int32_t i = 0; i < n_vocab; i++)
        if (isnan(row[i]) || row[i] == INFINITY)
            return slm__fail(err, SLM_ERR_NUMERIC, "the logit of token %d is %s", (int)i,
                             isnan(row[i]) ? "NaN" : "infinite");
    return slm__fail(err, SLM_ERR_NUMERIC, "none of %d logits is finite", (int)n_vocab);
}

static slm_token first_with(const slm_sampler *s, const float *row, int32_t n_vocab, float logit) {
    for (run r = {0}; next_run(s, row, n_vocab, &r);)
        for (int32_t i = 0; i < r.n; i++)
            if (r.logits[i] == logit) return r.id + i;
    return SLM_TOKEN_NONE; /* not reached: `logit` is the maximum of the row */
}

/* ---- Weights ---- */

/* exp(gap / temperature), for a logit less the highest one. What our exp cannot reach, 1e-38 and less, is 0. */
static float weight(float gap, float temperature) {
    float x = gap / temperature;
    return x < SLM_EXP_LO ? 0 : slm__expf(x);
}

/* Add up the weights of all tokens that are at most `-min_gap` below `max`, by rising id, until the sum exceeds
 * `stop`: *token is the one that did it. Returns the sum. */
static double walk_row(const slm_sampler *s, const float *row, int32_t n_vocab, float max,
                       double min_gap, float temperature, double stop, slm_token *token) {
    enum { PIECE = 256 };
    float weights[PIECE];
    double sum = 0, lowest = (double)SLM_EXP_LO * temperature; /* the kernel has no 0 */
    if (lowest > min_gap) min_gap = lowest;
    for (run r = {0}; next_run(s, row, n_vocab, &r);) {
        for (int32_t at = 0; at < r.n; at += PIECE) {
            int32_t n = r.n - at < PIECE ? r.n - at : PIECE;
            s->kernels->weights(r.logits + at, n, max, temperature, weights);
            for (int32_t i = 0; i < n; i++) {
                if (r.logits[at + i] - max < min_gap) continue;
                sum += weights[i];
                if (sum > stop) {
                    *token = r.id + at + i;
                    return sum;
                }
            }
        }
    }
    return sum;
}

/* The same over the first n of the list, by falling logit. */
static double walk_list(const slm_sampler *s, int32_t n, float temperature, double stop,
                        slm_token *token) {
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += weight(s->list[i].logit - s->list[0].logit, temperature);
        if (sum > stop) {
            *token = s->list[i].id;
            return sum;
        }
    }
    return sum;
}

/* SplitMix64, and the upper 53 bits as a number from 0 to below 1: times a sum it rounds to less than the sum. */
static double next_uniform(slm_sampler *s) {
    uint64_t z = s->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

/* ---- The list of the best ---- */

static bool better(candidate a, candidate b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/* A heap with the worst at the root: put c at the root of heap[0 .. n-1] and let it sink. */
static void sink(candidate *heap, int32_t n, candidate c) {
    int64_t at = 0, child; /* 2 n does not fit into 32 bits */
    while ((child = 2 * at + 1) < n) {
        if (child + 1 < n && better(heap[child], heap[child + 1])) child++;
        if (!better(c, heap[child])) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = c;
}

static void rise(candidate *heap, int32_t at, candidate c) {
    for (; at > 0 && better(heap[(at - 1) / 2], c); at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = c;
}

/* The k best tokens above `threshold`, best first, in s->list, and their number. Most logits of a row fail the one
 * comparison with the worst in the heap. Tokens come by rising id, so an equal one never displaces another. */
static slm_status list_best(slm_sampler *s, const float *row, int32_t n_vocab, int32_t k,
                            float threshold, int32_t *n_list, slm_error *err) {
    *n_list = 0;
    if (k > s->max_list) {
        slm__free(&s->p.allocator, s->list);
        s->list = slm__alloc_array(&s->p.allocator, (uint64_t)k, sizeof *s->list);
        s->max_list = s->list ? k : 0;
        if (!s->list)
            return slm__fail(err, SLM_ERR_NOMEM, "no memory for a list of %d tokens", (int)k);
    }
    int32_t n = 0;
    for (run r = {0}; next_run(s, row, n_vocab, &r);) {
        for (int32_t i = 0; i < r.n; i++) {
            if (!(r.logits[i] > threshold)) continue;
            candidate c = {r.logits[i], r.id + i};
            if (n < k)
                rise(s->list, n++, c);
            else
                sink(s->list, n, c);
            if (n == k) threshold = s->list[0].logit;
        }
    }
    for (int32_t last = n - 1; last > 0; last--) { /* the worst goes to the end, and so on */
        candidate c = s->list[last];
        s->list[last] = s->list[0];
        sink(s->list, last, c);
    }
    *n_list = n;
    return SLM_OK;
}

/* How many of the n listed tokens top-p and min-p leave; at least one. `total`: the weight that top-p is a share of. */
static int32_t cut_list(const slm_sampler *s, int32_t n, double total) {
    double sum = 0, enough = s->p.top_p < 1 ? s->p.top_p * total : INFINITY;
    for (int32_t i = 0; i < n; i++) {
        float gap = s->list[i].logit - s->list[0].logit;
        if (gap < s->min_gap) return i;
        sum += weight(gap, 1);
        if (sum >= enough) return i + 1;
    }
    return n;
}

/* How many tokens top-p may need, and in *threshold what they are all above: not exact, but never too few. Tokens are counted by
 * how far they are below the highest, and each counts as the least that its distance allows. */
static int32_t expect_list(const slm_sampler *s, const float *row, int32_t n_vocab, float max,
                           double total, float *threshold) {
    enum { BINS = 1024, PER_UNIT = 8 };
    int32_t n_of[BINS] = {0}, n = 0, b = 0;
    for (run r = {0}; next_run(s, row, n_vocab, &r);) {
        for (int32_t i = 0; i < r.n; i++) {
            float below = (max - r.logits[i]) * PER_UNIT;
            n_of[below < BINS - 1 ? (int32_t)below : BINS - 1]++;
        }
    }
    for (double sum = 0; b < BINS - 1 && sum < s->p.top_p * total; n += n_of[b++])
        sum += n_of[b] * (double)slm__expf(-(float)(b + 1) / PER_UNIT);
    *threshold = b + 1 < BINS - 1 ? max - (float)(b + 1) / PER_UNIT : -INFINITY;
    return b + 1 < BINS - 1 ? n + n_of[b] : n_vocab; /* a bin more, for those at its edge */
}

/* List what all filters leave: *n_list tokens. Top-p without top-k needs a list whose length nobody knows. */
static slm_status filter(slm_sampler *s, const float *row, int32_t n_vocab, float max,
                         int32_t *n_list, slm_error *err) {
    slm_token none;
    double total = 0;
    float threshold = -INFINITY;
    int32_t n, k = s->p.top_k < n_vocab ? s->p.top_k : n_vocab;
    if (k == 0) {
        total = walk_row(s, row, n_vocab, max, -INFINITY, 1, INFINITY, &none);
        k = expect_list(s, row, n_vocab, max, total, &threshold);
    }
    SLM_TRY(list_best(s, row, n_vocab, k, threshold, &n, err));
    if (s->p.top_k > 0) total = walk_list(s, n, 1, INFINITY, &none);
    *n_list = cut_list(s, n, total);
    return SLM_OK;
}

/* ---- Sampling ---- */

static slm_status choose(slm_sampler *s, const float *row, int32_t n_vocab, slm_token *token,
                         slm_error *err) {
    float max, temperature = s->p.temperature;
    SLM_TRY(find_max(s, row, n_vocab, &max, err));
    *token = first_with(s, row, n_vocab, max);
    if (temperature == 0 || s->p.top_k == 1) return SLM_OK;
    if (s->p.top_k == 0 && s->p.top_p == 1) {
        double sum = walk_row(s, row, n_vocab, max, s->min_gap, temperature, INFINITY, token);
        walk_row(s, row, n_vocab, max, s->min_gap, temperature, next_uniform(s) * sum, token);
        return SLM_OK;
    }
    int32_t n;
    SLM_TRY(filter(s, row, n_vocab, max, &n, err));
    double sum = walk_list(s, n, temperature, INFINITY, token);
    walk_list(s, n, temperature, next_uniform(s) * sum, token);
    return SLM_OK;
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
    slm_token chosen;
    SLM_TRY(choose(s, logits, n_vocab, &chosen, err));
    slm_sampler_accept(s, chosen);
    *token = chosen;
    return SLM_OK;
}
