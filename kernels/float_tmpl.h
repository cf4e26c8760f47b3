/* Matrices of floats: tiles of a few rows x a few tokens, lanes along the row. Included by matmul_tmpl.h. */

/* ---- Weights as floats ---- */

typedef vf (*load_weights_fn)(const void *w, int64_t i);
static inline vf weights_F32(const void *w, int64_t i) { return vf_load((const float *)w + i); }
static inline vf weights_F16(const void *w, int64_t i) {
    return vf_load_f16((const slm_f16 *)w + i);
}
static inline vf weights_BF16(const void *w, int64_t i) {
    return vf_load_bf16((const slm_bf16 *)w + i);
}

/* ---- Rows of float types as floats (of quantized types: unpack.h) ---- */

#define X(name, id, bw, type)                                                               \
    static void dequantize_##name(const void *w, int64_t n, float *out) {                   \
        int64_t i = 0;                                                                      \
        for (; i + SLM_LANES <= n; i += SLM_LANES) vf_store(out + i, weights_##name(w, i)); \
        if (i == n) return;                                                                 \
        uint8_t tail[SLM_LANES * sizeof(float)] = {0};                                      \
        memcpy(tail, (const type *)w + i, (size_t)(n - i) * sizeof(type));                  \
        vf_store_n(out + i, weights_##name(tail, 0), (int)(n - i));                         \
    }
SLM_FLOAT_TYPES(X)
#undef X

/* ---- Their products ---- */

/* Values that a tile takes in before the next one does: those of its rows and of its tokens stay in the first-level cache. One token
 * meets whole rows, as they come from memory. */
enum { FLOAT_CHUNK = 512 };
_Static_assert(SLM_STRIP % FLOAT_ROWS == 0 && FLOAT_CHUNK % SLM_LANES == 0, "float_rows()");

/* Rows that come after these, some multiple of nr, begin so many bytes further. */
INLINE int64_t rows_ahead(const slm_matmul *m, int nr) {
    int64_t n_bytes = nr * (int64_t)m->row_bytes;
    return (FETCH_AHEAD / n_bytes + 1) * n_bytes;
}

/* Values [from, to) of nr rows, w, x nt tokens (both constant): acc goes on. Only the range that ends a row may end within a
 * vector. */
INLINE void add_columns(load_weights_fn load, size_t weight_bytes, int nr, int nt,
                        const slm_matmul *m, const uint8_t *const w[], int32_t token, int32_t from,
                        int32_t to, vf acc[FLOAT_ROWS][FLOAT_TOKENS]) {
    const int64_t further = rows_ahead(m, nr);
    const float *x = m->x->x + (int64_t)token * m->n_in;
    int32_t i = from, left = to % SLM_LANES;
    for (; i < to - left; i += SLM_LANES) {
        UNROLL
        for (int r = 0; r < nr; r++) {
            vf wr = load(w[r], i);
            if (token == 0) __builtin_prefetch(w[r] + further + (size_t)i * weight_bytes, 0, 2);
            UNROLL
            for (int t = 0; t < nt; t++)
                acc[r][t] = vf_fma(wr, vf_load(x + (int64_t)t * m->n_in + i), acc[r][t]);
        }
    }
    if (!left) return;
    UNROLL
    for (int r = 0; r < nr; r++) {
        uint8_t tail[SLM_LANES * sizeof(float)] = {0};
        memcpy(tail, w[r] + (size_t)i * weight_bytes, (size_t)left * weight_bytes);
        vf wr = load(tail, 0);
        UNROLL
        for (int t = 0; t < nt; t++)
            acc[r][t] = vf_fma(wr, vf_load_n(x + (int64_t)t * m->n_in + i, left), acc[r][t]);
    }
}

/* The same of rows from `row` on, of which n_rows are there. Where the columns end, the sums go to m->out. */
INLINE void float_tile(load_weights_fn load, size_t weight_bytes, int nr, int nt,
                       const slm_matmul *m, int32_t row, int32_t n_rows, int32_t token,
                       int32_t from, int32_t to, vf acc[FLOAT_ROWS][FLOAT_TOKENS]) {
    const uint8_t *w[FLOAT_ROWS];
    vf sums[FLOAT_ROWS][FLOAT_TOKENS];
    UNROLL
    for (int r = 0; r < nr; r++) {
        w[r] = m->w + (uint64_t)(row + (r < n_rows ? r : n_rows - 1)) * m->row_bytes;
        UNROLL
        for (int t = 0; t < nt; t++) sums[r][t] = from == 0 ? vf_zero() : acc[r][t];
    }
    add_columns(load, weight_bytes, nr, nt, m, w, token, from, to, sums);
    if (to < m->n_in) {
        UNROLL
        for (int r = 0; r < nr; r++) {
            UNROLL
            for (int t = 0; t < nt; t++) acc[r][t] = sums[r][t];
        }
        return;
    }
    UNROLL
    for (int t = 0; t < nt; t++) {
        float *out = m->out + (token + t) * m->out_stride + row;
        vf of_rows[FLOAT_ROWS];
        UNROLL
        for (int r = 0; r < nr; r++) of_rows[r] = sums[r][t];
        if (nr == FLOAT_ROWS && n_rows >= nr) {
            vf_fold_rows(of_rows, out);
            continue;
        }
        UNROLL
        for (int r = 0; r < nr; r++)
            if (r < n_rows) out[r] = lanes_sum(of_rows[r]);
    }
}

/* Rows `from` .. `end`, at most SLM_STRIP, for nt tokens, nr rows at a time (both constant). */
INLINE void float_rows(load_weights_fn load, size_t weight_bytes, int nr, int nt,
                       const slm_matmul *m, int32_t from, int32_t end, int32_t token) {
    const int32_t n = m->n_in, chunk = nt == 1 ? n : FLOAT_CHUNK;
    vf acc[SLM_STRIP / FLOAT_ROWS][FLOAT_ROWS][FLOAT_TOKENS]; /* of fewer rows: unused */
    for (int32_t i = 0, to; i < n; i = to) {
        to = n - i < chunk ? n : i + chunk;
        for (int32_t r = from; r < end; r += nr)
            float_tile(load, weight_bytes, nr, nt, m, r, end - r, token, i, to,
                       acc[(r - from) / FLOAT_ROWS]);
    }
}

/* Whether FLOAT_TOKENS of those that are left come next: not where that leaves one by itself and pairs would not. */
INLINE bool takes_most(int32_t left) {
    return left >= FLOAT_TOKENS && (FLOAT_TOKENS % 2 == 0 || left != FLOAT_TOKENS + 1);
}

/* All tokens, a few at a time. */
INLINE void float_strip(load_weights_fn load, size_t weight_bytes, const slm_matmul *m,
                        int32_t from, int32_t end) {
    int32_t t = 0, left = m->n_tokens;
    for (; takes_most(left); t += FLOAT_TOKENS, left -= FLOAT_TOKENS)
        float_rows(load, weight_bytes, FLOAT_ROWS, FLOAT_TOKENS, m, from, end, t);
    if (FLOAT_TOKENS > 4 && left >= 4) {
        float_rows(load, weight_bytes, FLOAT_ROWS, 4, m, from, end, t);
        t += 4, left -= 4;
    }
    for (; left >= 2; t += 2, left -= 2)
        float_rows(load, weight_bytes, FLOAT_ROWS, 2, m, from, end, t);
    if (LONE_ROW_BYTES > 0 && m->n_tokens == 1 && m->row_bytes <= LONE_ROW_BYTES)
        float_rows(load, weight_bytes, 1, 1, m, from, end, t);
    else if (left)
        float_rows(load, weight_bytes, FLOAT_ROWS, 1, m, from, end, t);
}

/* So many tokens are worth making floats of a strip of rows first. */
enum { WIDEN_TOKENS = 12 };

/* A strip of rows stays in the second-level cache while all tokens pass, a few of them in the first. */
INLINE void matmul_float(load_weights_fn load, size_t weight_bytes,
                         void (*dequantize)(const void *w, int64_t n, float *out),
                         const slm_matmul *m, int32_t row, int32_t n_rows, float *scratch) {
    bool as_floats = weight_bytes < sizeof(float) && m->n_tokens >= WIDEN_TOKENS;
    for (int32_t end = row + n_rows; row < end; row += SLM_STRIP) {
        int32_t n = end - row < SLM_STRIP ? end - row : SLM_STRIP;
        if (!as_floats) {
            float_strip(load, weight_bytes, m, row, row + n);
            continue;
        }
        slm_matmul strip = *m;
        strip.w = (const uint8_t *)scratch;
        strip.row_bytes = (uint64_t)m->n_in * sizeof(float);
        strip.out = m->out + row;
        for (int32_t r = 0; r < n; r++)
            dequantize(m->w + (uint64_t)(row + r) * m->row_bytes, m->n_in,
                       scratch + (int64_t)r * m->n_in);
        float_strip(weights_F32, sizeof(float), &strip, 0, n);
    }
}

#define X(name, id, bw, type)                                                                    \
    static void matmul_##name(const slm_matmul *m, int32_t row, int32_t n_rows, void *scratch) { \
        matmul_float(weights_##name, sizeof(type), dequantize_##name, m, row, n_rows, scratch);  \
    }
SLM_FLOAT_TYPES(X)
#undef X
