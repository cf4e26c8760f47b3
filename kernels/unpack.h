/* One short unpacker per block type: 32 weights of a row in the one form that every product works on.
 *
 * Included by ref.c and by each isa_*.c, whose compiler flags turn the fixed-length loops into that instruction set.
 * Formats: see blocks.h.
 */
#ifndef SLM_UNPACK_H
#define SLM_UNPACK_H

#include "vmath.h"

/* A file with conversion instructions defines this before it includes us; the bits are the same. */
#ifndef SLM_FROM_F16
#define SLM_FROM_F16 slm__from_f16
#endif

/* weight i = d[i / 16] * q[i] + m * k[i / 16] */
typedef struct slm_unit {
    int8_t q[32];
    float d[2];   /* equal unless SCALE16 */
    float m;      /* 0 unless the type has minima */
    int32_t k[2]; /* multipliers of m: 1 unless SCALE_MIN16 */
} slm_unit;

typedef enum slm_geometry { SLM_SCALE, SLM_SCALE_MIN, SLM_SCALE_MIN16, SLM_SCALE16 } slm_geometry;

static inline void unit_scales(slm_unit *u, float d, float m) {
    u->d[0] = u->d[1] = d;
    u->m = m;
    u->k[0] = u->k[1] = 1;
}

/* Each unpacks block b of 32 of the row that starts at `row`. */

static inline void unpack_Q4_0(const void *row, int32_t b, slm_unit *u) {
    const slm_q4_0 *x = (const slm_q4_0 *)row + b;
    for (int j = 0; j < 16; j++) u->q[j] = (int8_t)((x->q[j] & 15) - 8);
    for (int j = 0; j < 16; j++) u->q[j + 16] = (int8_t)((x->q[j] >> 4) - 8);
    unit_scales(u, SLM_FROM_F16(x->d), 0);
}

static inline void unpack_Q4_1(const void *row, int32_t b, slm_unit *u) {
    const slm_q4_1 *x = (const slm_q4_1 *)row + b;
    for (int j = 0; j < 16; j++) u->q[j] = (int8_t)(x->q[j] & 15);
    for (int j = 0; j < 16; j++) u->q[j + 16] = (int8_t)(x->q[j] >> 4);
    unit_scales(u, SLM_FROM_F16(x->d), SLM_FROM_F16(x->m));
}

/* The fifth bits of 32 weights, as 0 or 16. */
static inline void fifth_bits(const uint8_t h[4], uint8_t out[32]) {
    uint32_t bits;
    memcpy(&bits, h, sizeof bits);
    for (int j = 0; j < 32; j++) out[j] = (uint8_t)((bits >> j & 1) << 4);
}

static inline void unpack_Q5_0(const void *row, int32_t b, slm_unit *u) {
    const slm_q5_0 *x = (const slm_q5_0 *)row + b;
    uint8_t high[32];
    fifth_bits(x->h, high);
    for (int j = 0; j < 16; j++) u->q[j] = (int8_t)(((x->q[j] & 15) | high[j]) - 16);
    for (int j = 0; j < 16; j++) u->q[j + 16] = (int8_t)(((x->q[j] >> 4) | high[j + 16]) - 16);
    unit_scales(u, SLM_FROM_F16(x->d), 0);
}

static inline void unpack_Q5_1(const void *row, int32_t b, slm_unit *u) {
    const slm_q5_1 *x = (const slm_q5_1 *)row + b;
    uint8_t high[32];
    fifth_bits(x->h, high);
    for (int j = 0; j < 16; j++) u->q[j] = (int8_t)((x->q[j] & 15) | high[j]);
    for (int j = 0; j < 16; j++) u->q[j + 16] = (int8_t)((x->q[j] >> 4) | high[j + 16]);
    unit_scales(u, SLM_FROM_F16(x->d), SLM_FROM_F16(x->m));
}

static inline void unpack_Q8_0(const void *row, int32_t b, slm_unit *u) {
    const slm_q8_0 *x = (const slm_q8_0 *)row + b;
    memcpy(u->q, x->q, 32);
    unit_scales(u, SLM_FROM_F16(x->d), 0);
}

/* The 4-bit scale goes into the code (at most 15 * 3), the 4-bit minima stay as multipliers. */
static inline void unpack_Q2_K(const void *row, int32_t b, slm_unit *u) {
    const slm_q2_k *x = (const slm_q2_k *)row + b / 8;
    int g = b % 8;
    const uint8_t *q = x->q + g / 4 * 32, *sc = x->sc + 2 * g;
    int shift = 2 * (g % 4);
    for (int j = 0; j < 32; j++) u->q[j] = (int8_t)((q[j] >> shift & 3) * (sc[j / 16] & 15));
    unit_scales(u, SLM_FROM_F16(x->d), -SLM_FROM_F16(x->dmin));
    u->k[0] = sc[0] >> 4;
    u->k[1] = sc[1] >> 4;
}

/* Scale i of 16 in 12 bytes: four low bits in a nibble of bytes 0..7, two high bits in bytes 8..11. */
static inline int q3_k_scale(const uint8_t sc[12], int i) {
    int low = i < 8 ? sc[i] & 15 : sc[i - 8] >> 4;
    int high = sc[8 + i % 4] >> 2 * (i / 4) & 3;
    return (low | high << 4) - 32;
}

/* The 6-bit scale goes into the code. (-32) * (-4) = 128 does not fit 8 bits, its negative does: the sign is in d. */
static inline void unpack_Q3_K(const void *row, int32_t b, slm_unit *u) {
    const slm_q3_k *x = (const slm_q3_k *)row + b / 8;
    int g = b % 8;
    const uint8_t *q = x->q + g / 4 * 32;
    int shift = 2 * (g % 4);
    int sc[2] = {q3_k_scale(x->sc, 2 * g), q3_k_scale(x->sc, 2 * g + 1)};
    for (int j = 0; j < 32; j++) {
        int code = (q[j] >> shift & 3) - (x->h[j] >> g & 1 ? 0 : 4);
        u->q[j] = (int8_t) - (code * sc[j / 16]);
    }
    unit_scales(u, -SLM_FROM_F16(x->d), 0);
}

/* Scale and minimum i of 8 in 12 bytes: 6 bits each, the last four of each with their upper bits apart. */
static inline void q4_k_scale(const uint8_t sc[12], int i, int *scale, int *min) {
    if (i < 4) {
        *scale = sc[i] & 63;
        *min = sc[i + 4] & 63;
    } else {
        *scale = (sc[i + 4] & 15) | (sc[i - 4] >> 6) << 4;
        *min = sc[i + 4] >> 4 | (sc[i] >> 6) << 4;
    }
}

static inline void k_scales(slm_unit *u, slm_f16 d, slm_f16 dmin, const uint8_t sc[12], int g) {
    int scale, min;
    q4_k_scale(sc, g, &scale, &min);
    unit_scales(u, SLM_FROM_F16(d) * (float)scale,
                -SLM_FROM_F16(dmin) * (float)min); /* both exact */
}

static inline void unpack_Q4_K(const void *row, int32_t b, slm_unit *u) {
    const slm_q4_k *x = (const slm_q4_k *)row + b / 8;
    int g = b % 8, shift = g % 2 * 4;
    const uint8_t *q = x->q + g / 2 * 32;
    for (int j = 0; j < 32; j++) u->q[j] = (int8_t)(q[j] >> shift & 15);
    k_scales(u, x->d, x->dmin, x->sc, g);
}

static inline void unpack_Q5_K(const void *row, int32_t b, slm_unit *u) {
    const slm_q5_k *x = (const slm_q5_k *)row + b / 8;
    int g = b % 8, shift = g % 2 * 4;
    const uint8_t *q = x->q + g / 2 * 32;
    for (int j = 0; j < 32; j++) u->q[j] = (int8_t)((q[j] >> shift & 15) | (x->h[j] >> g & 1) << 4);
    k_scales(u, x->d, x->dmin, x->sc, g);
}

static inline void unpack_Q6_K(const void *row, int32_t b, slm_unit *u) {
    const slm_q6_k *x = (const slm_q6_k *)row + b / 8;
    int g = b % 8, part = g % 4;
    const uint8_t *l = x->l + g / 4 * 64 + part % 2 * 32, *h = x->h + g / 4 * 32;
    int low_shift = part / 2 * 4, high_shift = part * 2;
    for (int j = 0; j < 32; j++) {
        u->q[j] = (int8_t)(((l[j] >> low_shift & 15) | (h[j] >> high_shift & 3) << 4) - 32);
    }
    float d = SLM_FROM_F16(x->d);
    unit_scales(u, 0, 0);
    u->d[0] = d * (float)x->sc[2 * g]; /* exact */
    u->d[1] = d * (float)x->sc[2 * g + 1];
}

/* ---- A row of weights as floats ---- */

typedef void (*unpack_fn)(const void *row, int32_t b, slm_unit *u);

static inline __attribute__((always_inline)) void dequantize_row(unpack_fn unpack, const void *w,
                                                                 int64_t n, float *out) {
    for (int32_t b = 0; b < n / 32; b++) {
        slm_unit u;
        unpack(w, b, &u);
        for (int j = 0; j < 32; j++) {
            out[b * 32 + j] = u.d[j / 16] * (float)u.q[j] + u.m * (float)u.k[j / 16];
        }
    }
}

#define SLM_X(name, ...)                                                  \
    static void dequantize_##name(const void *w, int64_t n, float *out) { \
        dequantize_row(unpack_##name, w, n, out);                         \
    }
SLM_QUANT_TYPES(SLM_X)
#undef SLM_X

#endif
