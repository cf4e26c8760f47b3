/* The block formats of GGUF, and one row for each.
 *
 * Source: the GGUF specification and the GGML quantization formats as the Python package `gguf` (gguf/quants.py,
 * gguf/constants.py) reads and writes them. Little-endian; scales are IEEE binary16 ("f16").
 *
 * A row of a matrix is a whole number of blocks. Structs have the alignment of 2 bytes at most, so that they lie at any
 * 32-byte aligned tensor address of a mapping without padding.
 */
#ifndef SLM_BLOCKS_H
#define SLM_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

typedef uint16_t slm_f16;  /* bits of an IEEE binary16 */
typedef uint16_t slm_bf16; /* upper half of an IEEE binary32 */

/* w = d * (q - 8); q: low nibbles are weights 0..15, high nibbles 16..31 */
typedef struct {
    slm_f16 d;
    uint8_t q[16];
} slm_q4_0;

/* w = d * q + m */
typedef struct {
    slm_f16 d, m;
    uint8_t q[16];
} slm_q4_1;

/* w = d * (q - 16); bit j of h is the fifth bit of weight j */
typedef struct {
    slm_f16 d;
    uint8_t h[4];
    uint8_t q[16];
} slm_q5_0;

/* w = d * q + m */
typedef struct {
    slm_f16 d, m;
    uint8_t h[4];
    uint8_t q[16];
} slm_q5_1;

/* w = d * q */
typedef struct {
    slm_f16 d;
    int8_t q[32];
} slm_q8_0;

/* 16 groups of 16; w = d * (sc & 15) * q - dmin * (sc >> 4), q of 2 bits: of each 128 weights, byte j & 31 of 32,
 * bits 2 * (j / 32) */
typedef struct {
    uint8_t sc[16];
    uint8_t q[64];
    slm_f16 d, dmin;
} slm_q2_k;

/* 16 groups of 16; w = d * (sc - 32) * (q - 4); low two bits of q as in Q2_K, the third in h (bit j / 32 of byte j & 31) */
typedef struct {
    uint8_t h[32];
    uint8_t q[64];
    uint8_t sc[12];
    slm_f16 d;
} slm_q3_k;

/* 8 groups of 32 with 6-bit scales and minima; w = d * sc * q - dmin * m */
typedef struct {
    slm_f16 d, dmin;
    uint8_t sc[12];
    uint8_t q[128];
} slm_q4_k;

/* the same with a fifth bit in h (bit j / 32 of byte j & 31) */
typedef struct {
    slm_f16 d, dmin;
    uint8_t sc[12];
    uint8_t h[32];
    uint8_t q[128];
} slm_q5_k;

/* 16 groups of 16; w = d * sc * (q - 32); low nibbles in l, upper two bits in h */
typedef struct {
    uint8_t l[128];
    uint8_t h[64];
    int8_t sc[16];
    slm_f16 d;
} slm_q6_k;

/* w = d * SLM_IQ4_CODES[q]; nibbles as in Q4_0 */
typedef struct {
    slm_f16 d;
    uint8_t q[16];
} slm_iq4_nl;

/* 8 groups of 32 as IQ4_NL; w = d * (sc - 32) * SLM_IQ4_CODES[q], low 4 bits of the 6 of sc in l, upper 2 in h */
typedef struct {
    slm_f16 d;
    uint16_t h;
    uint8_t l[4];
    uint8_t q[128];
} slm_iq4_xs;

/* OCP Microscaling Formats (MX) v1.0, MXFP4: e is an exponent (E8M0), q are E2M1 floats; nibbles as in Q4_0.
 * w = 2^(e - 128) * SLM_MXFP4_CODES[q], which are twice the values */
typedef struct {
    uint8_t e;
    uint8_t q[16];
} slm_mxfp4;

/* The codebooks, as signed bytes. */
#define SLM_IQ4_CODES   -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113
#define SLM_MXFP4_CODES 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12

/*
 * How the scales of a type lie over 32 weights: the formula of its dot product (docs/numerics.md).
 *
 *   SCALE        one scale                          d * s
 *   SCALE_MIN    one scale, one minimum             d * s + m * sum
 *   SCALE_MIN16  one scale, a minimum for each 16   d * s + m * (k0 * half0 + k1 * half1)
 *   SCALE16      a scale for each 16                d0 * s0 + d1 * s1
 *
 * s: sum of codes times activations; sum, half: sums of the activations.
 */
#define SLM_FLOAT_TYPES(X) \
    X(F32, 0, 1, float)    \
    X(F16, 1, 1, slm_f16)  \
    X(BF16, 30, 1, slm_bf16)

/* X(NAME, id in GGUF, weights in a block, C type of a block, geometry of the scales, codes: the largest, zero)
 *
 * Codes as kernels work on them are 0 .. largest and stand for code - zero; 255, 128 are signed bytes. */
#define SLM_QUANT_TYPES(X)                          \
    X(Q4_0, 2, 32, slm_q4_0, SCALE, 15, 8)          \
    X(Q4_1, 3, 32, slm_q4_1, SCALE_MIN, 15, 0)      \
    X(Q5_0, 6, 32, slm_q5_0, SCALE, 31, 16)         \
    X(Q5_1, 7, 32, slm_q5_1, SCALE_MIN, 31, 0)      \
    X(Q8_0, 8, 32, slm_q8_0, SCALE, 255, 128)       \
    X(Q2_K, 10, 256, slm_q2_k, SCALE_MIN16, 45, 0)  \
    X(Q3_K, 11, 256, slm_q3_k, SCALE16, 7, 4)       \
    X(Q4_K, 12, 256, slm_q4_k, SCALE_MIN, 15, 0)    \
    X(Q5_K, 13, 256, slm_q5_k, SCALE_MIN, 31, 0)    \
    X(Q6_K, 14, 256, slm_q6_k, SCALE16, 63, 32)     \
    X(IQ4_NL, 20, 32, slm_iq4_nl, SCALE, 255, 128)  \
    X(IQ4_XS, 23, 256, slm_iq4_xs, SCALE, 255, 128) \
    X(MXFP4, 39, 32, slm_mxfp4, SCALE, 24, 12)

#define SLM_BLOCK_TYPES(X) SLM_FLOAT_TYPES(X) SLM_QUANT_TYPES(X)

/* Our own dense numbering of the types: SLM_Q4_0 and so on index every table of kernels. */
#define SLM_X(name, ...) SLM_##name,
typedef enum slm_type { SLM_BLOCK_TYPES(SLM_X) SLM_N_TYPES } slm_type;
#undef SLM_X

typedef struct slm_type_info {
    const char *name;
    uint32_t gguf_id;
    uint32_t block_weights;
    uint32_t block_bytes;
} slm_type_info;

extern const slm_type_info slm__type_info[SLM_N_TYPES];

static inline bool slm__is_quantized(slm_type type) {
    return slm__type_info[type].block_weights > 1;
}

/* Of n weights, a whole number of blocks. */
static inline uint64_t slm__type_bytes(slm_type type, uint64_t n) {
    return n / slm__type_info[type].block_weights * slm__type_info[type].block_bytes;
}

_Static_assert(sizeof(slm_q4_0) == 18, "Q4_0");
_Static_assert(sizeof(slm_q4_1) == 20, "Q4_1");
_Static_assert(sizeof(slm_q5_0) == 22, "Q5_0");
_Static_assert(sizeof(slm_q5_1) == 24, "Q5_1");
_Static_assert(sizeof(slm_q8_0) == 34, "Q8_0");
_Static_assert(sizeof(slm_q2_k) == 84, "Q2_K");
_Static_assert(sizeof(slm_q3_k) == 110, "Q3_K");
_Static_assert(sizeof(slm_q4_k) == 144, "Q4_K");
_Static_assert(sizeof(slm_q5_k) == 176, "Q5_K");
_Static_assert(sizeof(slm_q6_k) == 210, "Q6_K");
_Static_assert(sizeof(slm_iq4_nl) == 18, "IQ4_NL");
_Static_assert(sizeof(slm_iq4_xs) == 136, "IQ4_XS");
_Static_assert(sizeof(slm_mxfp4) == 17, "MXFP4");

#endif
