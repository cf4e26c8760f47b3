/* One short unpacker per block type: 32 weights of a row in the one form that every product works on.
 *
 * Included by ref.c and by each isa_*.c: the same source, in that instruction set.
 * Formats: see blocks.h.
 */
#ifndef SLM_UNPACK_H
#define SLM_UNPACK_H

#include "vmath.h"

/* A file with conversion instructions defines this before it includes us; the bits are the same. */
#ifndef SLM_FROM_F16
#define SLM_FROM_F16 slm__from_f16
#endif

/* 16 bytes as a vector of the compiler (GCC and Clang, any processor), so that an unpacked block stays in registers. */
typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef int8_t i8x16 __attribute__((vector_size(16)));
typedef uint64_t u64x2 __attribute__((vector_size(16)));

/* weight i = d[i / 16] * q[i / 16][i % 16] + m * k[i / 16] */
typedef struct slm_unit {
    i8x16 q[2];
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

static inline u8x16 load16(const void *p) {
    u8x16 x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* Byte by byte (x >> shift) & mask, where mask takes nothing that came from the neighbour. */
static inline u8x16 bits(u8x16 x, int shift, uint8_t mask) {
    return (u8x16)((u64x2)x >> shift) & mask;
}

/* Each unpacks block b of 32 of the row that starts at `row`. */

/* Low and high nibbles of 16 bytes: weights 0..15 and 16..31. */
static inline void nibbles(const uint8_t q[16], u8x16 out[2]) {
    out[0] = load16(q) & 15;
    out[1] = bits(load16(q), 4, 15);
}

static inline void unpack_Q4_0(const void *row, int32_t b, slm_unit *u) {
    const slm_q4_0 *x = (const slm_q4_0 *)row + b;
    u8x16 q[2];
    nibbles(x->q, q);
    for (int i = 0; i < 2; i++) u->q[i] = (i8x16)(q[i] - 8);
    unit_scales(u, SLM_FROM_F16(x->d), 0);
}

static inline void unpack_Q4_1(const void *row, int32_t b, slm_unit *u) {
    const slm_q4_1 *x = (const slm_q4_1 *)row + b;
    u8x16 q[2];
    nibbles(x->q, q);
    for (int i = 0; i < 2; i++) u->q[i] = (i8x16)q[i];
    unit_scales(u, SLM_FROM_F16(x->d), SLM_FROM_F16(x->m));
}

/* Nibbles with a fifth bit each: bit j of h for weight j. */
static inline void five_bits(const uint8_t q[16], const uint8_t h[4], u8x16 out[2]) {
    const u8x16 which = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    nibbles(q, out);
    for (int i = 0; i < 2; i++) {
        u64x2 spread = {h[2 * i] * 0x0101010101010101u, h[2 * i + 1] * 0x0101010101010101u};
        out[i] |= (u8x16)(((u8x16)spread & which) == which) & 16;
    }
}

static inline void unpack_Q5_0(const void *row, int32_t b, slm_unit *u) {
    const slm_q5_0 *x = (const slm_q5_0 *)row + b;
    u8x16 q[2];
    five_bits(x->q, x->h, q);
    for (int i = 0; i < 2; i++) u->q[i] = (i8x16)(q[i] - 16);
    unit_scales(u, SLM_FROM_F16(x->d), 0);
}

static inline void unpack_Q5_1(const void *row, int32_t b, slm_unit *u) {
    const slm_q5_1 *x = (const slm_q5_1 *)row + b;
    u8x16 q[2];
    five_bits(x->q, x->h, q);
    for (int i = 0; i < 2; i++) u->q[i] = (i8x16)q[i];
    unit_scales(u, SLM_FROM_F16(x->d), SLM_FROM_F16(x->m));
}

static inline void unpack_Q8_0(const void *row, int32_t b, slm_unit *u) {
    const slm_q8_0 *x = (const slm_q8_0 *)row + b;
    for (int i = 0; i < 2; i++) u->q[i] = (i8x16)load16(x->q + 16 * i);
    unit_scales(u, SLM_FROM_F16(x->d), 0);
}

/* The 4-bit scale goes into the code (at most 15 * 3), the 4-bit minima stay as multipliers. */
static inline void unpack_Q2_K(const void *row, int32_t b, slm_unit *u) {
    const slm_q2_k *x = (const slm_q2_k *)row + b / 8;
    int g = b % 8;
    const uint8_t *sc = x->sc + 2 * g;
    unit_scales(u, SLM_FROM_F16(x->d), -SLM_FROM_F16(x->dmin));
    for (int i = 0; i < 2; i++) {
        u8x16 q = bits(load16(x->q + g / 4 * 32 + 16 * i), 2 * (g % 4), 3);
        u->q[i] = (i8x16)(q * (uint8_t)(sc[i] & 15));
        u->k[i] = sc[i] >> 4;
    }
}

/* Scale i of 16 in 12 bytes: four low bits in a nibble of bytes 0..7, two high bits in bytes 8..11. */
static inline int q3_k_scale(const uint8_t sc[12], int i) {
    int low = i < 8 ? sc[i] & 15 : sc[i - 8] >> 4;
    int high = sc[8 + i % 4] >> 2 * (i / 4) & 3;
    return (low | high << 4) - 32;
}

static inline void unpack_Q3_K(const void *row, int32_t b, slm_unit *u) {
    const slm_q3_k *x = (const slm_q3_k *)row + b / 8;
    int g = b % 8;
    float d = SLM_FROM_F16(x->d);
    unit_scales(u, d, 0);
    for (int i = 0; i < 2; i++) {
        u8x16 low = bits(load16(x->q + g / 4 * 32 + 16 * i), 2 * (g % 4), 3);
        u8x16 high = bits(load16(x->h + 16 * i), g, 1);
        u->q[i] = (i8x16)(low + (high << 2)) - 4;
        u->d[i] = d * (float)q3_k_scale(x->sc, 2 * g + i); /* exact */
    }
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
    int g = b % 8;
    const uint8_t *q = x->q + g / 2 * 32;
    for (int i = 0; i < 2; i++) u->q[i] = (i8x16)bits(load16(q + 16 * i), g % 2 * 4, 15);
    k_scales(u, x->d, x->dmin, x->sc, g);
}

static inline void unpack_Q5_K(const void *row, int32_t b, slm_unit *u) {
    const slm_q5_k *x = (const slm_q5_k *)row + b / 8;
    int g = b % 8;
    const uint8_t *q = x->q + g / 2 * 32;
    for (int i = 0; i < 2; i++) {
        u8x16 high = bits(load16(x->h + 16 * i), g, 1);
        u->q[i] = (i8x16)(bits(load16(q + 16 * i), g % 2 * 4, 15) | high << 4);
    }
    k_scales(u, x->d, x->dmin, x->sc, g);
}

static inline void unpack_Q6_K(const void *row, int32_t b, slm_unit *u) {
    const slm_q6_k *x = (const slm_q6_k *)row + b / 8;
    int g = b % 8, part = g % 4;
    const uint8_t *l = x->l + g / 4 * 64 + part % 2 * 32, *h = x->h + g / 4 * 32;
    float d = SLM_FROM_F16(x->d);
    unit_scales(u, d, 0);
    for (int i = 0; i < 2; i++) {
        u8x16 high = bits(load16(h + 16 * i), part * 2, 3);
        u->q[i] = (i8x16)(bits(load16(l + 16 * i), part / 2 * 4, 15) | high << 4) - 32;
        u->d[i] = d * (float)x->sc[2 * g + i]; /* exact */
    }
}

/* The numbers that codes stand for. */
static inline void look_up(const int8_t table[16], u8x16 q[2], slm_unit *u) {
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 16; j++) u->q[i][j] = table[q[i][j]];
}

static inline void unpack_IQ4_NL(const void *row, int32_t b, slm_unit *u) {
    static const int8_t codes[16] = {SLM_IQ4_CODES};
    const slm_iq4_nl *x = (const slm_iq4_nl *)row + b;
    u8x16 q[2];
    nibbles(x->q, q);
    look_up(codes, q, u);
    unit_scales(u, SLM_FROM_F16(x->d), 0);
}

static inline void unpack_IQ4_XS(const void *row, int32_t b, slm_unit *u) {
    static const int8_t codes[16] = {SLM_IQ4_CODES};
    const slm_iq4_xs *x = (const slm_iq4_xs *)row + b / 8;
    int g = b % 8;
    u8x16 q[2];
    nibbles(x->q + 16 * g, q);
    look_up(codes, q, u);
    int scale = (x->l[g / 2] >> g % 2 * 4 & 15) | (x->h >> 2 * g & 3) << 4;
    unit_scales(u, SLM_FROM_F16(x->d) * (float)(scale - 32), 0); /* exact */
}

static inline void unpack_MXFP4(const void *row, int32_t b, slm_unit *u) {
    static const int8_t codes[16] = {SLM_MXFP4_CODES};
    const slm_mxfp4 *x = (const slm_mxfp4 *)row + b;
    u8x16 q[2];
    nibbles(x->q, q);
    look_up(codes, q, u);
    unit_scales(u, mxfp4_scale(x->e), 0);
}

/* ---- A row of weights as floats ---- */

typedef void (*unpack_fn)(const void *row, int32_t b, slm_unit *u);

static inline __attribute__((always_inline)) void dequantize_row(unpack_fn unpack, const void *w,
                                                                 int64_t n, float *out) {
    for (int32_t b = 0; b < n / 32; b++) {
        slm_unit u;
        unpack(w, b, &u);
        for (int j = 0; j < 32; j++) {
            out[b * 32 + j] = u.d[j / 16] * (float)u.q[j / 16][j % 16] + u.m * (float)u.k[j / 16];
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
