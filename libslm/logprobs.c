/* Log-probabilities of a row as the model gave it, without memory of its own: the best are a heap in the caller's array, which holds logits
 * until the sum of all is known. */
#include <float.h>

#include "../kernels/vmath.h"
#include "context.h"
#include "sampler.h"

enum { PIECE = 256 };

/* Does `a` come before `b`: falling logit, then rising token. */
static bool is_before(slm_logprob a, slm_logprob b) {
    return a.logprob > b.logprob || (a.logprob == b.logprob && a.token < b.token);
}

/* A heap with the last at the root: put c there and let it sink. */
static void sink(slm_logprob *heap, int32_t n, slm_logprob c) {
    int64_t at = 0, child;
    while ((child = 2 * at + 1) < n) {
        child += child + 1 < n && is_before(heap[child], heap[child + 1]);
        if (!is_before(c, heap[child])) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = c;
}

static void rise(slm_logprob *heap, int32_t at, slm_logprob c) {
    for (; at > 0 && is_before(heap[(at - 1) / 2], c); at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = c;
}

static slm_status find_max(const float *x, int32_t n, float *max, slm_error *err) {
    *max = -INFINITY;
    for (int32_t i = 0; i < n; i++) {
        if (isnan(x[i]) || x[i] == INFINITY)
            return slm__fail(err, SLM_ERR_NUMERIC, "the logit of token %d is %s", (int)i,
                             isnan(x[i]) ? "NaN" : "infinite");
        *max = x[i] > *max ? x[i] : *max;
    }
    if (*max > -INFINITY) return SLM_OK;
    return slm__fail(err, SLM_ERR_NUMERIC, "none of %d logits is finite", (int)n);
}

/* ln(sum of exp(x - max)): pieces of 256 in double, by rising index. */
static double log_sum(const slm_kernels *kernels, const float *x, int32_t n, float max) {
    float w[PIECE];
    double sum = 0;
    for (int32_t at = 0; at < n; at += PIECE) {
        int32_t m = n - at < PIECE ? n - at : PIECE;
        double lanes[4] = {0};
        kernels->weights(x + at, m, max, 1, w);
        for (int32_t i = 0; i < m; i++) w[i] = x[at + i] - max >= SLM_EXP_LO ? w[i] : 0;
        for (int32_t i = 0; i < m; i++) lanes[i % 4] += (double)w[i];
        sum += (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
    }
    return slm__ln(sum);
}

static void find_best(const float *x, int32_t n_vocab, int32_t k, slm_logprob *heap) {
    int32_t n = 0;
    for (int32_t i = 0; i < n_vocab && k > 0; i++) {
        slm_logprob c = {i, (double)x[i]};
        if (n < k)
            rise(heap, n++, c);
        else if (c.logprob > heap[0].logprob) /* equal: the tokens in the heap are lower */
            sink(heap, n, c);
    }
    for (int32_t last = n - 1; last > 0; last--) {
        slm_logprob c = heap[last];
        heap[last] = heap[0];
        sink(heap, last, c);
    }
}

static slm_status logprobs_of(const slm_kernels *kernels, const float *logits, int32_t n_vocab,
                              const slm_token *tokens, int32_t n_tokens, int32_t n_top,
                              slm_logprob *out, slm_error *err) {
    if (!logits || n_vocab < 1 || (n_tokens > 0 && !tokens) || !out)
        return slm__fail(err, SLM_ERR_ARGUMENT, "%s",
                         !logits       ? "logits is NULL"
                         : n_vocab < 1 ? "n_vocab is less than 1"
                         : !out        ? "out is NULL"
                                       : "tokens is NULL");
    SLM_TRY(slm__check_range("n_tokens", n_tokens, 0, INT32_MAX, err));
    SLM_TRY(slm__check_range("n_top", n_top, 0, n_vocab, err));
    for (int32_t i = 0; i < n_tokens; i++)
        SLM_TRY(slm__check_range("token", tokens[i], 0, n_vocab - 1, err));
    float max;
    SLM_TRY(find_max(logits, n_vocab, &max, err));
    double minus = (double)max + log_sum(kernels, logits, n_vocab, max);
    for (int32_t i = 0; i < n_tokens; i++)
        out[i] = (slm_logprob){tokens[i], (double)logits[tokens[i]]};
    find_best(logits, n_vocab, n_top, out + n_tokens);
    for (int64_t i = 0; i < (int64_t)n_tokens + n_top; i++) out[i].logprob -= minus;
    return SLM_OK;
}

slm_status slm_logprobs(const float *logits, int32_t n_vocab, const slm_token *tokens,
                        int32_t n_tokens, int32_t n_top, slm_logprob *out, slm_error *err) {
    slm__clear(err);
    return logprobs_of(slm__kernels_named(NULL), logits, n_vocab, tokens, n_tokens, n_top, out,
                       err);
}

slm_status slm_context_logprobs(const slm_context *ctx, int32_t index, const slm_token *tokens,
                                int32_t n_tokens, int32_t n_top, slm_logprob *out, slm_error *err) {
    slm__clear(err);
    if (!ctx) return slm__fail(err, SLM_ERR_ARGUMENT, "context is NULL");
    const float *logits = slm_logits(ctx, index);
    if (!logits) return slm__fail(err, SLM_ERR_RANGE, "there is no row %d of logits", (int)index);
    return logprobs_of(ctx->kernels, logits, (int32_t)ctx->model->hp.n_vocab, tokens, n_tokens,
                       n_top, out, err);
}
