/* Sources: RMS norm arXiv:1910.07467, RoPE arXiv:2104.09864, grouped-query attention arXiv:2305.13245, SwiGLU and GeGLU
 * arXiv:2002.05202, GELU arXiv:1606.08415, YaRN arXiv:2309.00071, LongRoPE arXiv:2402.13753, soft caps and windows
 * arXiv:2408.00118. No cache, no blocks, no threads; libm for all functions. */
#include "plain_forward.h"

#include <math.h>
#include <stdlib.h>

#include "../../kernels/tables.h"
#include "suite.h"

static double *numbers(size_t n) {
    double *p = calloc(n, sizeof *p);
    if (!p) ck_abort_msg("no memory");
    return p;
}

/* Row r of a tensor. */
static double *row_of(const slm__tensor *t, int64_t r) {
    int64_t n = t->dims[0];
    float *f = malloc((size_t)n * sizeof *f);
    double *d = numbers((size_t)n);
    if (!f) ck_abort_msg("no memory");
    slm__kernels_c.dequantize[t->type](t->data + (uint64_t)r * t->row_bytes, n, f);
    for (int64_t i = 0; i < n; i++) d[i] = f[i];
    free(f);
    return d;
}

/* out[t] = w x[t] + bias */
static double *product(const slm__tensor *w, const slm__tensor *bias, const double *x, int n) {
    int64_t columns = w->dims[0], rows = w->dims[1];
    double *out = numbers((size_t)(rows * n));
    double *b = bias ? row_of(bias, 0) : NULL;
    for (int64_t r = 0; r < rows; r++) {
        double *wr = row_of(w, r);
        for (int t = 0; t < n; t++) {
            double sum = b ? b[r] : 0;
            for (int64_t i = 0; i < columns; i++) sum += wr[i] * x[t * columns + i];
            out[t * rows + r] = sum;
        }
        free(wr);
    }
    free(b);
    return out;
}

static double *normed(const slm__tensor *weight, const double *x, int n, double eps) {
    int64_t e = weight->dims[0]; /* n rows of so many */
    double *w = row_of(weight, 0), *out = numbers((size_t)(e * n));
    for (int t = 0; t < n; t++) {
        double sum = 0;
        for (int64_t i = 0; i < e; i++) sum += x[t * e + i] * x[t * e + i];
        for (int64_t i = 0; i < e; i++)
            out[t * e + i] = x[t * e + i] / sqrt(sum / (double)e + eps) * w[i];
    }
    free(w);
    return out;
}

/* Radians a position that pair i turns, as YaRN has it: dimensions by the number of rotations in the original context. */
static double yarn(const slm__hparams *hp, double freq, uint32_t i) {
    double d = hp->n_rot, l = hp->n_ctx_orig, b = hp->rope_base, pi = acos(-1);
    double low = floor(d * log(l / (hp->yarn_beta_fast * 2 * pi)) / (2 * log(b)));
    double high = ceil(d * log(l / (hp->yarn_beta_slow * 2 * pi)) / (2 * log(b)));
    low = fmax(low, 0), high = fmin(high, d - 1);
    double gamma = 1 - fmin(fmax((i - low) / fmax(high - low, 0.001), 0), 1);
    return (1 - gamma) * freq / hp->rope_factor + gamma * freq;
}

static void rope(const slm_model *m, const slm__layer *l, const plain_options *o, double *x, int n,
                 uint32_t n_head) {
    const slm__hparams *hp = &m->hp;
    uint32_t hd = hp->head_dim, n_rot = hp->n_rot;
    bool plain = l->window && o->plain_local_rope, is_yarn = hp->rope_scaling == ROPE_YARN;
    const slm__tensor *divisors = o->long_rope            ? m->rope_factors_long
                                  : m->rope_factors_short ? m->rope_factors_short
                                                          : m->rope_freqs;
    double *factors = divisors && !plain ? row_of(divisors, 0) : NULL;
    double scale = plain ? 1 : hp->rope_attn_factor;
    if (is_yarn && !plain && hp->rope_factor > 1) scale *= 0.1 * log(hp->rope_factor) + 1;
    for (int t = 0; t < n; t++) {
        for (uint32_t h = 0; h < n_head; h++) {
            double *head = x + ((size_t)t * n_head + h) * hd;
            for (uint32_t i = 0; i < n_rot / 2; i++) {
                double base = l->window ? hp->rope_local_base : hp->rope_base;
                double freq = pow(base, -2.0 * i / n_rot) / (factors ? factors[i] : 1);
                if (!plain && hp->rope_scaling == ROPE_LINEAR) freq /= hp->rope_factor;
                if (!plain && is_yarn) freq = yarn(hp, freq, i);
                double angle = t * freq;
                bool adjacent = m->arch->rope == ROPE_ADJACENT;
                double *a = head + (adjacent ? 2 * i : i), *b = a + (adjacent ? 1 : n_rot / 2);
                double a0 = *a, b0 = *b;
                *a = scale * (a0 * cos(angle) - b0 * sin(angle));
                *b = scale * (a0 * sin(angle) + b0 * cos(angle));
            }
        }
    }
    free(factors);
}

static double capped(double x, double cap) { return cap > 0 ? cap * tanh(x / cap) : x; }

static double *attention(const slm__hparams *hp, const slm__layer *l, const double *q,
                         const double *k, const double *v, int n) {
    uint32_t hd = hp->head_dim, group = hp->n_head / hp->n_head_kv;
    double *out = numbers((size_t)n * hp->n_head * hd), *p = numbers((size_t)n);
    for (int t = 0; t < n; t++) {
        for (uint32_t h = 0; h < hp->n_head; h++) {
            const double *qh = q + ((size_t)t * hp->n_head + h) * hd;
            double max = -INFINITY, sum = 0;
            int first = l->window && t >= (int)l->window ? t - (int)l->window + 1 : 0;
            for (int j = first; j <= t; j++) {
                const double *kh = k + ((size_t)j * hp->n_head_kv + h / group) * hd;
                p[j] = 0;
                for (uint32_t d = 0; d < hd; d++) p[j] += qh[d] * kh[d] / sqrt(hd);
                p[j] = capped(p[j], hp->attn_cap);
                max = fmax(max, p[j]);
            }
            for (int j = first; j <= t; j++) sum += p[j] = exp(p[j] - max);
            for (int j = first; j <= t; j++) {
                const double *vh = v + ((size_t)j * hp->n_head_kv + h / group) * hd;
                for (uint32_t d = 0; d < hd; d++)
                    out[((size_t)t * hp->n_head + h) * hd + d] += p[j] / sum * vh[d];
            }
        }
    }
    free(p);
    return out;
}

static void add_to(double *x, double *y, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] += y[i];
    free(y);
}

/* x, normed if there are weights for it; x is given up if `own`. */
static double *maybe_normed(const slm__tensor *weight, double *x, bool own, size_t n, double eps) {
    double *out;
    if (weight) {
        out = normed(weight, x, (int)(n / (size_t)weight->dims[0]), eps);
    } else {
        out = numbers(n);
        memcpy(out, x, n * sizeof *x);
    }
    if (own) free(x);
    return out;
}

static double activated(double x, bool gelu) {
    const double a = sqrt(2 / acos(-1));
    return gelu ? x / 2 * (1 + tanh(a * (x + 0.044715 * x * x * x))) : x / (1 + exp(-x));
}

static void layer_forward(const slm_model *m, uint32_t index, const slm__layer *l,
                          const plain_options *o, double *x, int n) {
    const slm__hparams *hp = &m->hp;
    double eps = hp->norm_eps;
    size_t size = (size_t)n * hp->n_embd, hd = hp->head_dim;
    double *h = maybe_normed(l->attn_norm, x, false, size, eps);
    double *q = product(l->wq, l->bq, h, n), *k = product(l->wk, l->bk, h, n);
    double *v = product(l->wv, l->bv, h, n);
    q = maybe_normed(l->q_norm, q, true, (size_t)n * hp->n_head * hd, eps);
    k = maybe_normed(l->k_norm, k, true, (size_t)n * hp->n_head_kv * hd, eps);
    if (!o->no_rope_every || (index + 1) % o->no_rope_every != 0) {
        rope(m, l, o, q, n, hp->n_head);
        rope(m, l, o, k, n, hp->n_head_kv);
    }
    double *a = attention(hp, l, q, k, v, n);
    add_to(x, maybe_normed(l->attn_post_norm, product(l->wo, l->bo, a, n), true, size, eps), size);
    free(h), free(q), free(k), free(v), free(a);

    h = maybe_normed(l->ffn_norm, x, false, size, eps);
    double *gate = product(l->w_gate, NULL, h, n), *up = product(l->w_up, NULL, h, n);
    for (size_t i = 0; i < (size_t)n * hp->n_ff; i++) gate[i] = activated(gate[i], o->gelu) * up[i];
    add_to(x, maybe_normed(l->ffn_post_norm, product(l->w_down, NULL, gate, n), true, size, eps),
           size);
    free(h), free(gate), free(up);
}

void plain_states(const slm_model *m, const plain_options *options, const slm_token *tokens, int n,
                  double *states) {
    plain_options o = options ? *options : (plain_options){0};
    size_t e = m->hp.n_embd;
    double *x = numbers((size_t)n * e);
    for (int t = 0; t < n; t++) {
        double *row = row_of(m->token_embd, tokens[t]);
        for (size_t i = 0; i < e; i++)
            x[(size_t)t * e + i] = row[i] * (o.scaled_embedding ? sqrt((double)e) : 1);
        free(row);
    }
    for (uint32_t l = 0; l < m->hp.n_layer; l++) {
        slm__layer layer = m->layers[l]; /* with what the family says of it, not the library */
        layer.window = o.window && (!o.global_every || (l + 1) % o.global_every) ? o.window : 0;
        layer_forward(m, l, &layer, &o, x, n);
    }
    double *all = normed(m->output_norm, x, n, m->hp.norm_eps);
    memcpy(states, all, (size_t)n * e * sizeof *all);
    free(all), free(x);
}

void plain_forward(const slm_model *m, const plain_options *options, const slm_token *tokens, int n,
                   double *logits) {
    size_t e = m->hp.n_embd;
    double *states = numbers((size_t)n * e);
    plain_states(m, options, tokens, n, states);
    double *out = product(m->output, NULL, states + (size_t)(n - 1) * e, 1);
    for (uint32_t i = 0; i < m->hp.n_vocab; i++) logits[i] = capped(out[i], m->hp.out_cap);
    free(out), free(states);
}
