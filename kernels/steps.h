/* One short unpacker per block type and vector width: four blocks of each of ROWS rows, as lanes that dot products want.
 *
 * Included by the isa_*.c after their simd_*.h. A vector is ROWS parts of 128 bits, a part is a row (or, where matmul_tmpl.h says so, a step of one row), and its four lanes of 32 bits are
 * four consecutive blocks of 32: the four stripes of numerics.md. So a block's scale, its integer sum and its partial
 * sum all live in one lane, and nothing is ever summed across. Codes are in groups of four: vector g holds weights 4g .. 4g + 3 of
 * each block.
 *
 * Arithmetic and shifts are the compiler's own on vectors (GCC and Clang, any processor); simd_*.h has the rest: loads of rows,
 * shuffles within 128 bits, conversions from f16. Formats: see blocks.h; unpack.h says the same in plain C.
 */
#ifndef SLM_STEPS_H
#define SLM_STEPS_H

#include "inline.h"

/* Code of weight = q - zero of the type (blocks.h); w = d0 * code (first half), d1 * code (second half) if SCALE16;
 * otherwise w = d0 * code + d1 * k. */
typedef struct step {
    rb q[8];
    rf d0, d1;
    rw k; /* two multipliers of 16 bits (SCALE_MIN16) */
} step;

/* The row of a lane is its 128 bits: the four lanes alike in every row. */
#define LANES4(a, b, c, d) rw_all4((const uint32_t[4]){a, b, c, d})

INLINE rw fill8(uint8_t x) { return (rw){0} + x * 0x01010101u; }

/* 4 x 4 transposition of lanes in each row: out[g] = lane g of a, b, c, d. */
INLINE void transpose(rw a, rw b, rw c, rw d, rw out[4]) {
    rw ab0 = zip_lo32(a, b), ab1 = zip_hi32(a, b), cd0 = zip_lo32(c, d), cd1 = zip_hi32(c, d);
    out[0] = zip_lo64(ab0, cd0);
    out[1] = zip_hi64(ab0, cd0);
    out[2] = zip_lo64(ab1, cd1);
    out[3] = zip_hi64(ab1, cd1);
}

/* ---- Blocks of 32: four structs of `stride` bytes a row ---- */

/* 16 bytes at `at` of each of the four blocks -> group g of 4 bytes of all blocks in out[g]. */
INLINE void block_bytes(const uint8_t *const w[ROWS], int64_t at, int stride, rw out[4]) {
    transpose(load_rows(w, at), load_rows(w, at + stride), load_rows(w, at + 2 * stride),
              load_rows(w, at + 3 * stride), out);
}

/* The first 4 of those bytes only. */
INLINE rw block_words(const uint8_t *const w[ROWS], int64_t at, int stride) {
    return zip_lo64(zip_lo32(load_rows(w, at), load_rows(w, at + stride)),
                    zip_lo32(load_rows(w, at + 2 * stride), load_rows(w, at + 3 * stride)));
}

INLINE void nibbles4(const uint8_t *const w[ROWS], int64_t at, int stride, step *s) {
    rw x[4];
    block_bytes(w, at, stride, x);
    UNROLL
    for (int g = 0; g < 4; g++) {
        s->q[g] = (rb)(x[g] & fill8(15));
        s->q[4 + g] = (rb)(x[g] >> 4 & fill8(15));
    }
}

/* A fifth bit for each code: bit j of h for weight j. */
INLINE void fifth_bits(rw h, step *s) {
    static const uint8_t byte_of_block[4][16] = {
        {0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12},
        {1, 1, 1, 1, 5, 5, 5, 5, 9, 9, 9, 9, 13, 13, 13, 13},
        {2, 2, 2, 2, 6, 6, 6, 6, 10, 10, 10, 10, 14, 14, 14, 14},
        {3, 3, 3, 3, 7, 7, 7, 7, 11, 11, 11, 11, 15, 15, 15, 15},
    };
    const rw low = (rw){0} + 0x08040201u, high = (rw){0} + 0x80402010u;
    UNROLL
    for (int i = 0; i < 4; i++) {
        rw x = (rw)shuffle(h, byte_of_block[i]);
        s->q[2 * i] |= (rb)((rb)(x & low) == (rb)low) & (rb)fill8(16);
        s->q[2 * i + 1] |= (rb)((rb)(x & high) == (rb)high) & (rb)fill8(16);
    }
}

INLINE void step_Q4_0(const uint8_t *const w[ROWS], int32_t i, step *s) {
    const int size = sizeof(slm_q4_0);
    int64_t at = (int64_t)i * 4 * size;
    nibbles4(w, at + 2, size, s);
    s->d0 = from_f16(block_words(w, at, size) & 0xffff);
}

INLINE void step_Q4_1(const uint8_t *const w[ROWS], int32_t i, step *s) {
    const int size = sizeof(slm_q4_1);
    int64_t at = (int64_t)i * 4 * size;
    nibbles4(w, at + 4, size, s);
    from_f16_pairs(block_words(w, at, size), &s->d0, &s->d1);
}

INLINE void step_Q5_0(const uint8_t *const w[ROWS], int32_t i, step *s) {
    const int size = sizeof(slm_q5_0);
    int64_t at = (int64_t)i * 4 * size;
    nibbles4(w, at + 6, size, s);
    fifth_bits(block_words(w, at + 2, size), s);
    s->d0 = from_f16(block_words(w, at, size) & 0xffff);
}

INLINE void step_Q5_1(const uint8_t *const w[ROWS], int32_t i, step *s) {
    const int size = sizeof(slm_q5_1);
    int64_t at = (int64_t)i * 4 * size;
    nibbles4(w, at + 8, size, s);
    fifth_bits(block_words(w, at + 4, size), s);
    from_f16_pairs(block_words(w, at, size), &s->d0, &s->d1);
}

INLINE void step_Q8_0(const uint8_t *const w[ROWS], int32_t i, step *s) {
    const int size = sizeof(slm_q8_0);
    int64_t at = (int64_t)i * 4 * size;
    rw x[8];
    block_bytes(w, at + 2, size, x);
    block_bytes(w, at + 18, size, x + 4);
    UNROLL
    for (int g = 0; g < 8; g++) s->q[g] = signed_codes(x[g]);
    s->d0 = from_f16(block_words(w, at, size) & 0xffff);
}

/* Nibbles to the bytes of a table of 16, in place. */
INLINE void look_up4(const uint8_t table[16], step *s) {
    rw t = rw_all4(table);
    UNROLL
    for (int g = 0; g < 8; g++) s->q[g] = shuffle_by(t, (rw)s->q[g]);
}

static const int8_t iq4_codes[16] = {SLM_IQ4_CODES};

INLINE void signed_look_up4(step *s) {
    look_up4((const uint8_t *)iq4_codes, s);
    UNROLL
    for (int g = 0; g < 8; g++) s->q[g] = signed_codes((rw)s->q[g]);
}

INLINE void step_IQ4_NL(const uint8_t *const w[ROWS], int32_t i, step *s) {
    step_Q4_0(w, i, s); /* the same struct */
    signed_look_up4(s);
}

INLINE void step_MXFP4(const uint8_t *const w[ROWS], int32_t i, step *s) {
    static const int8_t signed_codes12[16] = {SLM_MXFP4_CODES};
    const int size = sizeof(slm_mxfp4);
    int64_t at = (int64_t)i * 4 * size;
    uint8_t codes[16];
    for (int j = 0; j < 16; j++) codes[j] = (uint8_t)(signed_codes12[j] + 12);
    nibbles4(w, at + 1, size, s);
    look_up4(codes, s);
    rw e = block_words(w, at, size) & 255; /* unpack.h: mxfp4_scale */
    rw small = (rw)(e < 2), normal = (e - 1) << 23;
    rw nan = (rw)(e == 255) & 0x7fc00000u;
    s->d0 = (rf)(nan | (normal & ~small) | ((fill8(0) + 0x00200000u) << (e & 1) & small));
}

/* ---- Super-blocks of 256: a step is one half of it ---- */

/* The four lanes of a row: codes that lie above each other in the same byte, `apart` bits, the lowest at `first`; to the bottom, or where
 * `mask` is. */
INLINE rw stacked_bits(rw x, int lane, int first, int apart, uint8_t mask) {
    rw each = LANES4((uint32_t)first, (uint32_t)(first + apart), (uint32_t)(first + 2 * apart),
                     (uint32_t)(first + 3 * apart));
    return dup_lane(x, lane) >> each & fill8(mask);
}

/* Bytes 4 * n .. 4 * n + 3 of a row, one in each lane. */
static const uint8_t byte_in_lane[4][16] = {
    {0, 128, 128, 128, 1, 128, 128, 128, 2, 128, 128, 128, 3, 128, 128, 128},
    {4, 128, 128, 128, 5, 128, 128, 128, 6, 128, 128, 128, 7, 128, 128, 128},
    {8, 128, 128, 128, 9, 128, 128, 128, 10, 128, 128, 128, 11, 128, 128, 128},
    {12, 128, 128, 128, 13, 128, 128, 128, 14, 128, 128, 128, 15, 128, 128, 128},
};
/* Even and odd bytes of the first or last 8, one in each lane. */
static const uint8_t even_in_lane[2][16] = {
    {0, 128, 128, 128, 2, 128, 128, 128, 4, 128, 128, 128, 6, 128, 128, 128},
    {8, 128, 128, 128, 10, 128, 128, 128, 12, 128, 128, 128, 14, 128, 128, 128},
};
static const uint8_t odd_in_lane[2][16] = {
    {1, 128, 128, 128, 3, 128, 128, 128, 5, 128, 128, 128, 7, 128, 128, 128},
    {9, 128, 128, 128, 11, 128, 128, 128, 13, 128, 128, 128, 15, 128, 128, 128},
};
/* 16 bits at byte 0, 2 or 14 of a row, in every lane. */
static const uint8_t half_at_0[16] = {0, 1, 128, 128, 0, 1, 128, 128,
                                      0, 1, 128, 128, 0, 1, 128, 128};
static const uint8_t half_at_2[16] = {2, 3, 128, 128, 2, 3, 128, 128,
                                      2, 3, 128, 128, 2, 3, 128, 128};
static const uint8_t half_at_14[16] = {14, 15, 128, 128, 14, 15, 128, 128,
                                       14, 15, 128, 128, 14, 15, 128, 128};

/* Q4_K, Q5_K: d, dmin and twelve bytes of 6-bit scales and minima (unpack.h: q4_k_scale), 16 bytes in all. */
INLINE void k_scales4(rw header, int half, step *s) {
    rw low = (rw)shuffle(header, byte_in_lane[1]), mid = (rw)shuffle(header, byte_in_lane[2]);
    rw scale = low & 63, min = mid & 63;
    if (half) {
        rw last = (rw)shuffle(header, byte_in_lane[3]);
        scale = (last & 15) | low >> 6 << 4;
        min = last >> 4 | mid >> 6 << 4;
    }
    s->d0 = from_f16((rw)shuffle(header, half_at_0)) * to_float((ri)scale);
    s->d1 = -from_f16((rw)shuffle(header, half_at_2)) * to_float((ri)min);
}

/* Low nibbles of 32 bytes are one block, high nibbles the next; two such are a half. */
INLINE void k_nibbles(const uint8_t *const w[ROWS], int64_t at, step *s) {
    UNROLL
    for (int i = 0; i < 2; i++) {
        rw a = load_rows(w, at + 16 * i), b = load_rows(w, at + 32 + 16 * i);
        rw x[2] = {zip_lo32(a, b), zip_hi32(a, b)};
        UNROLL
        for (int j = 0; j < 2; j++) {
            rw low = x[j] & fill8(15), high = x[j] >> 4 & fill8(15);
            s->q[4 * i + 2 * j] = (rb)zip_lo32(low, high);
            s->q[4 * i + 2 * j + 1] = (rb)zip_hi32(low, high);
        }
    }
}

INLINE void step_Q4_K(const uint8_t *const w[ROWS], int32_t i, step *s) {
    int64_t at = (int64_t)(i >> 1) * (int)sizeof(slm_q4_k);
    k_nibbles(w, at + 16 + (i & 1) * 64, s);
    k_scales4(load_rows(w, at), i & 1, s);
}

INLINE void step_Q5_K(const uint8_t *const w[ROWS], int32_t i, step *s) {
    int64_t at = (int64_t)(i >> 1) * (int)sizeof(slm_q5_k);
    k_nibbles(w, at + 48 + (i & 1) * 64, s);
    UNROLL
    for (int g = 0; g < 8; g++) {
        rw h = load_rows(w, at + 16 + g / 4 * 16);
        s->q[g] |= (rb)stacked_bits(i & 1 ? h : h << 4, g % 4, 0, 1, 16);
    }
    k_scales4(load_rows(w, at), i & 1, s);
}

INLINE void step_Q6_K(const uint8_t *const w[ROWS], int32_t i, step *s) {
    int64_t at = (int64_t)(i >> 1) * (int)sizeof(slm_q6_k);
    int half = i & 1;
    UNROLL
    for (int j = 0; j < 2; j++) {
        rw a = load_rows(w, at + 64 * half + 16 * j),
           b = load_rows(w, at + 64 * half + 32 + 16 * j);
        rw h = load_rows(w, at + 128 + 32 * half + 16 * j);
        rw x[2] = {zip_lo32(a, b), zip_hi32(a, b)};
        UNROLL
        for (int k = 0; k < 4; k++) {
            rw low = x[k / 2] & fill8(15), high = x[k / 2] >> 4 & fill8(15);
            rw four = k % 2 ? zip_hi64(low, high) : zip_lo64(low, high);
            s->q[4 * j + k] = (rb)(four | stacked_bits(h, k, 0, 2, 3) << 4);
        }
    }
    rw sc = load_rows(w, at + 192);
    rf d = from_f16((rw)shuffle(load_rows(w, at + 194), half_at_14));
    s->d0 = d * to_float((ri)((rw)shuffle(sc, even_in_lane[half]) << 24) >> 24);
    s->d1 = d * to_float((ri)((rw)shuffle(sc, odd_in_lane[half]) << 24) >> 24);
}

INLINE void step_Q2_K(const uint8_t *const w[ROWS], int32_t i, step *s) {
    int64_t at = (int64_t)(i >> 1) * (int)sizeof(slm_q2_k);
    int half = i & 1;
    rw sc = load_rows(w, at), tail = load_rows(w, at + 68);
    rw first = (rw)shuffle(sc, even_in_lane[half]), second = (rw)shuffle(sc, odd_in_lane[half]);
    UNROLL
    for (int g = 0; g < 8; g++) {
        rw q = load_rows(w, at + 16 + 32 * half + g / 4 * 16);
        rw scale = (g < 4 ? first : second) & 15;
        s->q[g] = (rb)(rw)((rh)stacked_bits(q, g % 4, 0, 2, 3) * (rh)(scale | scale << 16));
    }
    s->k = first >> 4 | second >> 4 << 16;
    rw d = dup_lane(tail, 3);
    s->d0 = from_f16(d & 0xffff);
    s->d1 = -from_f16(d >> 16);
}

INLINE void step_Q3_K(const uint8_t *const w[ROWS], int32_t i, step *s) {
    static const uint8_t from_2[16] = {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 128, 128, 128, 128};
    static const uint8_t high_of_even[16] = {8, 128, 128, 128, 10, 128, 128, 128,
                                             8, 128, 128, 128, 10, 128, 128, 128};
    static const uint8_t high_of_odd[16] = {9, 128, 128, 128, 11, 128, 128, 128,
                                            9, 128, 128, 128, 11, 128, 128, 128};
    int64_t at = (int64_t)(i >> 1) * (int)sizeof(slm_q3_k);
    int half = i & 1;
    rw tail = load_rows(w, at + 94); /* 2 bytes of codes, 12 of scales, d */
    rw sc = (rw)shuffle(tail, from_2);
    rw shift = LANES4(0, 0, 2, 2) + (uint32_t)(4 * half);
    rf d = from_f16((rw)shuffle(tail, half_at_14));
    rw low[2] = {(rw)shuffle(sc, even_in_lane[0]), (rw)shuffle(sc, odd_in_lane[0])};
    rw high[2] = {(rw)shuffle(sc, high_of_even), (rw)shuffle(sc, high_of_odd)};
    UNROLL
    for (int j = 0; j < 2; j++) {
        rw six = (low[j] >> (4 * half) & 15) | (high[j] >> shift & 3) << 4;
        *(j == 0 ? &s->d0 : &s->d1) = d * to_float((ri)six - 32);
        rw q = load_rows(w, at + 32 + 32 * half + 16 * j), h = load_rows(w, at + 16 * j);
        if (!half) h <<= 2;
        UNROLL
        for (int k = 0; k < 4; k++)
            s->q[4 * j + k] =
                (rb)(stacked_bits(q, k, 0, 2, 3) | stacked_bits(h, k, 2 * half, 1, 4));
    }
}

INLINE void step_IQ4_XS(const uint8_t *const w[ROWS], int32_t i, step *s) {
    static const uint8_t l_of_block[2][16] = {
        {4, 128, 128, 128, 4, 128, 128, 128, 5, 128, 128, 128, 5, 128, 128, 128},
        {6, 128, 128, 128, 6, 128, 128, 128, 7, 128, 128, 128, 7, 128, 128, 128},
    };
    int64_t at = (int64_t)(i >> 1) * (int)sizeof(slm_iq4_xs);
    int half = i & 1;
    nibbles4(w, at + 8 + 64 * half, 16, s);
    signed_look_up4(s);
    rw header = load_rows(w, at);
    rw low = (rw)shuffle(header, l_of_block[half]) >> LANES4(0, 4, 0, 4) & 15;
    rw high = (rw)shuffle(header, half_at_2) >> (LANES4(0, 2, 4, 6) + (uint32_t)(8 * half)) & 3;
    ri scale = (ri)(low | high << 4) - 32;
    s->d0 = from_f16((rw)shuffle(header, half_at_0)) * to_float(scale);
}

#endif
