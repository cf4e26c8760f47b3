/* Rows of floats to blocks: by the published rounding, and by the search (search_tmpl.h). */
#include "quantize.h"

#include "pack.h"
#include "plain.h"

/* ---- Codes of the published rounding ---- */

/* Halves go up; lo .. lo + top are the levels. */
static void truncated_codes(const float *x, float d, float m, float lo, int top, slm_parts *p) {
    float id = d == 0 ? 0 : 1 / d;
    for (int i = 0; i < 32; i++) {
        float t = (x[i] - m) * id + (0.5f - lo);
        p->code[i] = (uint8_t)(!(t > 0) ? 0 : t >= (float)top ? top : (int)t);
    }
}

/* Q8_0: halves are rounded away from zero. */
static void byte_codes(const float *x, float d, slm_parts *p) {
    float id = d == 0 ? 0 : 1 / d;
    for (int i = 0; i < 32; i++) {
        float a = fabsf(x[i]) * id;
        int q = !(a < 127) ? 127 : (int)a;
        if (a < 127 && a - (float)q >= 0.5f) q++;
        p->code[i] = (uint8_t)(x[i] < 0 ? 127 - q : 127 + q);
    }
}

/* MXFP4: a tie goes towards zero. */
static void mx_codes(const float *x, float d, slm_parts *p) {
    static const float levels[] = {0, 1, 2, 3, 4, 6, 8, 12};
    for (int i = 0; i < 32; i++) {
        int best = 0;
        for (int k = 1; k < 8; k++) {
            float error = fabsf(d * levels[k] - fabsf(x[i]));
            if (error < fabsf(d * levels[best] - fabsf(x[i]))) best = k;
        }
        p->code[i] = (uint8_t)(x[i] < 0 ? 7 - best : 7 + best);
    }
}

static bool has_plain(slm_type type) {
    return type == SLM_Q4_0 || type == SLM_Q4_1 || type == SLM_Q5_0 || type == SLM_Q5_1 ||
           type == SLM_Q8_0 || type == SLM_MXFP4;
}

static void round_plainly(slm_type type, const float *x, slm_parts *p) {
    float min = x[0], max = x[0], d, m;
    for (int i = 1; i < 32; i++) {
        min = x[i] < min ? x[i] : min;
        max = x[i] > max ? x[i] : max;
    }
    slm__plain_scales(type, x, min, max, p, &d, &m);
    switch (type) {
    case SLM_Q4_0: truncated_codes(x, d, m, -8, 15, p); break;
    case SLM_Q5_0: truncated_codes(x, d, m, -16, 31, p); break;
    case SLM_Q4_1: truncated_codes(x, d, m, 0, 15, p); break;
    case SLM_Q5_1: truncated_codes(x, d, m, 0, 31, p); break;
    case SLM_Q8_0: byte_codes(x, d, p); break;
    default: mx_codes(x, d, p); break;
    }
}

/* ---- Rows ---- */

typedef void (*pack_fn)(const slm_parts *p, void *block);

#define X(name, ...) [SLM_##name] = pack_##name,
static const pack_fn packers[SLM_N_TYPES] = {SLM_QUANT_TYPES(X)};
#undef X

static void quantize_block(const slm_kernels *k, slm_type type, slm_rounding rounding,
                           const float *x, const float *importance, void *out) {
    slm_parts p;
    if (rounding == SLM_ROUND_PLAIN && has_plain(type))
        round_plainly(type, x, &p);
    else
        k->search(type, x, importance, &p);
    packers[type](&p, out);
}

static void quantize_floats(slm_type type, const float *x, int64_t n, void *out) {
    slm_f16 *half = out;
    slm_bf16 *brain = out;
    if (type == SLM_F32) memcpy(out, x, (size_t)n * sizeof *x);
    for (int64_t i = 0; i < n && type == SLM_F16; i++) {
        float held_x = x[i];
        half[i] = slm__finite_f16(&held_x);
    }
    for (int64_t i = 0; i < n && type == SLM_BF16; i++) {
        uint32_t u = slm__bits(x[i]), top = (u + 0x7fff + (u >> 16 & 1)) >> 16;
        brain[i] = (slm_bf16)((top & 0x7fff) < 0x7f80 ? top : top - 1);
    }
}

/* Bits of floats without sign, below this: finite. */
static bool all_below(const float *x, int64_t n, uint32_t limit, uint32_t mask) {
    uint32_t above = 0;
    for (int64_t i = 0; i < n; i++) above |= (slm__bits(x[i]) & mask) >= limit;
    return !above;
}

bool slm__quantize_row(const slm_kernels *k, slm_type type, slm_rounding rounding, const float *x,
                       int64_t n, const float *importance, void *out) {
    if (!all_below(x, n, 0x7f800000, 0x7fffffff)) return false;
    if (!packers[type]) {
        quantize_floats(type, x, n, out);
        return true;
    }
    const slm_type_info *info = &slm__type_info[type];
    uint8_t *block = out;
    if (importance && (rounding == SLM_ROUND_SEARCH || !has_plain(type)))
        for (int64_t i = 0; i < n; i++)
            if (!(importance[i] >= 0 && importance[i] < INFINITY)) return false;
    for (int64_t i = 0; i < n; i += info->block_weights, block += info->block_bytes)
        quantize_block(k, type, rounding, x + i, importance ? importance + i : NULL, block);
    return true;
}
