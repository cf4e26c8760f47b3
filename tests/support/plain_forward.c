/* Sources: RMS norm arXiv:1910.07467, RoPE arXiv:2104.09864, grouped-query attention arXiv:2305.13245, SwiGLU
 * arXiv:2002.05202. No cache, no blocks, no threads; libm for all functions. */
#include "plain_forward.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "../../kernels/kernels.h"

static double *numbers(size_t n) {
    double *p = calloc(n, sizeof *p);
    ck_assert_ptr_nonnull(p);
    return p;
}

/* Row r of a tensor. */
static double *row_of(const slm__tensor *t, int64_t r) {
    int64_t n = t->dims[0];
    float *f = malloc((size_t)n * sizeof *f);
    double *d = numbers((size_t)n);
    ck_assert_ptr_nonnull(f);
    slm__kernels_level(0)->dequantize[t->type](t->data + (uint64_t)r * t->row_bytes, n, f);
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
    int64_t e = weight->dims[0];
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

static void rope(const slm_model *m, double *x, int n, uint32_t n_head) {
    uint32_t hd = m->hp.head_dim, n_rot = m->hp.n_rot;
    double *factors = m->rope_freqs ? row_of(m->rope_freqs, 0) : NULL;
    for (int t = 0; t < n; t++) {
        for (uint32_t h = 0; h < n_head; h++) {
            double *head = x + ((size_t)t * n_head + h) * hd;
            for (uint32_t i = 0; i < n_rot / 2; i++) {
                double angle = t / (double)m->hp.rope_factor *
                               pow(m->hp.rope_base, -2.0 * i / n_rot) / (factors ? factors[i] : 1);
                bool adjacent = m->arch->rope == ROPE_ADJACENT;
                double *a = head + (adjacent ? 2 * i : i), *b = a + (adjacent ? 1 : n_rot / 2);
                double a0 = *a, b0 = *b;
                *a = a0 * cos(angle) - b0 * sin(angle);
                *b = a0 * sin(angle) + b0 * cos(angle);
            }
        }
    }
    free(factors);
}

static double *attention(const slm__hparams *hp, const double *q, const double *k, const double *v,
                         int n) {
    uint32_t hd = hp->head_dim, group = hp->n_head / hp->n_head_kv;
    double *out = numbers((size_t)n * hp->n_head * hd), *p = numbers((size_t)n);
    for (int t = 0; t < n; t++) {
        for (uint32_t h = 0; h < hp->n_head; h++) {
            const double *qh = q + ((size_t)t * hp->n_head + h) * hd;
            double max = -INFINITY, sum = 0;
            for (int j = 0; j <= t; j++) {
                const double *kh = k + ((size_t)j * hp->n_head_kv + h / group) * hd;
                p[j] = 0;
                for (uint32_t d = 0; d < hd; d++) p[j] += qh[d] * kh[d] / sqrt(hd);
                max = fmax(max, p[j]);
            }
            for (int j = 0; j <= t; j++) sum += p[j] = exp(p[j] - max);
            for (int j = 0; j <= t; j++) {
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

static void layer_forward(const slm_model *m, const slm__layer *l, double *x, int n) {
    const slm__hparams *hp = &m->hp;
    double *h = normed(l->attn_norm, x, n, hp->norm_eps);
    double *q = product(l->wq, l->bq, h, n), *k = product(l->wk, l->bk, h, n);
    double *v = product(l->wv, l->bv, h, n);
    rope(m, q, n, hp->n_head);
    rope(m, k, n, hp->n_head_kv);
    double *a = attention(hp, q, k, v, n);
    add_to(x, product(l->wo, l->bo, a, n), (size_t)n * hp->n_embd);
    free(h), free(q), free(k), free(v), free(a);

    h = normed(l->ffn_norm, x, n, hp->norm_eps);
    double *gate = product(l->w_gate, NULL, h, n), *up = product(l->w_up, NULL, h, n);
    for (size_t i = 0; i < (size_t)n * hp->n_ff; i++)
        gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
    add_to(x, product(l->w_down, NULL, gate, n), (size_t)n * hp->n_embd);
    free(h), free(gate), free(up);
}

void plain_forward(const slm_model *m, const slm_token *tokens, int n, double *logits) {
    size_t e = m->hp.n_embd;
    double *x = numbers((size_t)n * e);
    for (int t = 0; t < n; t++) {
        double *row = row_of(m->token_embd, tokens[t]);
        memcpy(x + (size_t)t * e, row, e * sizeof *x);
        free(row);
    }
    for (uint32_t l = 0; l < m->hp.n_layer; l++) layer_forward(m, &m->layers[l], x, n);
    double *last = normed(m->output_norm, x + (size_t)(n - 1) * e, 1, m->hp.norm_eps);
    double *out = product(m->output, NULL, last, 1);
    memcpy(logits, out, m->hp.n_vocab * sizeof *out);
    free(out), free(last), free(x);
}
