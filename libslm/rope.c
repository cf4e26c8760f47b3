/* The frequencies of RoPE (Su et al. 2021, arXiv:2104.09864): pair i of a head turns by base^(-2i / n_rot) radians a position.
 *
 * Models that were stretched to longer texts turn more slowly:
 *     linear     all pairs by the same factor (Chen et al. 2023, arXiv:2306.15595)
 *     divisors   one for each pair (Llama 3.1; LongRoPE, Ding et al. 2024, arXiv:2402.13753: two sets, for short and long contexts)
 *     YaRN       slow pairs by the factor, fast ones not at all, those between in part (Peng et al. 2023, arXiv:2309.00071)
 */
#include "../kernels/vmath.h"
#include "rope.h"

/* ---- YaRN ---- */

/* The pair that turns so often in the original context. */
static double pair_of_turns(const slm__hparams *hp, double turns) {
    const double two_pi = 6.283185307179586;
    return hp->n_rot * slm__log2d(hp->n_ctx_orig / (turns * two_pi)) /
           (2 * slm__log2d(hp->rope_base));
}

/* Between 0 and n_rot; 0 for NaN. A base of 1 makes all pairs turn alike, and the quotient infinite. */
static double clamped(const slm__hparams *hp, double pair) {
    return pair > 0 ? (pair < hp->n_rot ? pair : hp->n_rot) : 0;
}

/* 1 for pairs that keep their frequency, 0 for those that are slowed down. */
static double kept(const slm__hparams *hp, uint32_t pair) {
    double low = clamped(hp, pair_of_turns(hp, hp->yarn_beta_fast)),
           high = clamped(hp, pair_of_turns(hp, hp->yarn_beta_slow));
    int32_t first = (int32_t)low;                          /* rounded down */
    int32_t last = (int32_t)high + (high > (int32_t)high); /* rounded up   */
    if (last > (int32_t)hp->n_rot - 1) last = (int32_t)hp->n_rot - 1;
    double width = last - first;
    if (width < 0.001) width = 0.001;
    double at = ((int32_t)pair - first) / width;
    return at <= 0 ? 1 : at >= 1 ? 0 : 1 - at;
}

/* Scores become softer where texts become longer: 0.1 ln(factor) + 1. */
static double yarn_scale(double factor, double multiplier) {
    const double ln2 = 0.6931471805599453;
    return factor <= 1 ? 1 : 0.1 * multiplier * ln2 * slm__log2d(factor) + 1;
}

/* ---- The kinds ---- */

static slm_status divide(const slm_model *m, const slm__tensor *divisors, double *freq,
                         slm_error *err) {
    for (int64_t i = 0; divisors && i < divisors->dims[0]; i++) {
        const uint8_t *at = divisors->data + 4 * (size_t)i;
        float divisor = slm__read_f32(at);
        if (!(divisor >= 1e-3f && divisor <= 1e6f)) {
            return slm__fail(err, SLM_ERR_RANGE, "tensor %s, byte %llu: factor %lld is %g",
                             slm__show(divisors->name).text, slm__byte_of(m, at), (long long)i,
                             (double)divisor);
        }
        freq[i] /= divisor;
    }
    return SLM_OK;
}

static slm_status make_kind(slm_model *m, slm__rope_kind kind, const slm__tensor *divisors,
                            slm_error *err) {
    const slm__hparams *hp = &m->hp;
    uint32_t pairs = hp->n_rot / 2;
    bool local = kind == ROPE_LOCAL, plain = local && m->arch->local_rope_plain;
    double log2_base = slm__log2d(local ? hp->rope_local_base : hp->rope_base);
    slm__rope *r = &m->rope[kind];
    r->freq = m->rope_freq + (uint64_t)kind * pairs;
    r->scale = plain ? 1 : hp->rope_attn_factor;
    for (uint32_t i = 0; i < pairs; i++) r->freq[i] = slm__exp2d(-2.0 * i / hp->n_rot * log2_base);
    if (plain) return SLM_OK;
    SLM_TRY(divide(m, divisors, r->freq, err));
    for (uint32_t i = 0; i < pairs && hp->rope_scaling != ROPE_UNSCALED; i++) {
        double keep = hp->rope_scaling == ROPE_YARN ? kept(hp, i) : 0;
        r->freq[i] = r->freq[i] / hp->rope_factor * (1 - keep) + r->freq[i] * keep;
    }
    if (hp->rope_scaling == ROPE_YARN)
        r->scale = (float)(r->scale * yarn_scale(hp->rope_factor, 1) /
                           yarn_scale(hp->rope_factor, hp->yarn_log_multiplier));
    return SLM_OK;
}

slm_status slm__model_rope(slm_model *m, slm_error *err) {
    const slm__tensor *fixed = m->rope_freqs, *few = m->rope_factors_short,
                      *many = m->rope_factors_long;
    if (!few != !many || (few && fixed)) {
        return slm__fail(err, SLM_ERR_MISMATCH,
                         "tensors rope_factors_short, rope_factors_long: both or none, and then no "
                         "rope_freqs");
    }
    m->rope_freq = slm__alloc_array(&m->allocator, (uint64_t)N_ROPE_KINDS * (m->hp.n_rot / 2),
                                    sizeof *m->rope_freq);
    if (!m->rope_freq) return slm__fail(err, SLM_ERR_NOMEM, "no memory for RoPE");
    SLM_TRY(make_kind(m, ROPE_GLOBAL, few ? few : fixed, err));
    SLM_TRY(make_kind(m, ROPE_LOCAL, few ? few : fixed, err));
    return many ? make_kind(m, ROPE_LONG, many, err) : SLM_OK;
}

/* ---- A position ---- */

void slm__rope_row(const slm__rope *rope, int32_t position, int32_t n_rot, float *out) {
    for (int32_t i = 0; i < n_rot / 2; i++) {
        double sine, cosine;
        slm__sincosd(position * rope->freq[i], &sine, &cosine);
        out[2 * i] = (float)cosine * rope->scale;
        out[2 * i + 1] = (float)sine * rope->scale;
    }
}
