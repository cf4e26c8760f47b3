/* One short unpacker per block type: four blocks of each of ROWS rows.
 *
 * Included by the isa_*.c after their simd_*.h. A vector is ROWS parts of 128 bits, and a part is a row (or, in joined_tmpl.h, a
 * step of one row). Codes stay as they are stored, 16 of a block in a part. What belongs to a block as a whole, its scales and its sums, is in
 * one lane of 32 bits: the four lanes of a part are four consecutive blocks of 32, the four stripes of numerics.md.
 *
 * Arithmetic and shifts are the compiler's own on vectors (GCC and Clang, any processor); simd_*.h has the rest: loads of rows,
 * shuffles within 128 bits, conversions from f16. Formats: see blocks.h; unpack.h says the same in plain C.
 */
#ifndef SLM_STEPS_H
#define SLM_STEPS_H

#include "inline.h"

/* Whether there are gather_f16() and gather_f16_pairs(). */
#ifndef GATHERS_F16
#define GATHERS_F16 0
#endif

/* Whether a product is of two rows x two tokens, dot_squares(). */
#ifndef SQUARES
#define SQUARES 0
#endif

#ifndef SWAPS
#define SWAPS 0
INLINE rw swap_lanes(rw x) { return x; }
#endif

/* Whether dot_wide() makes one sum of both parts of wide activations, which join_acts() prepared. */
#ifndef JOINS_WIDE
#define JOINS_WIDE 0
INLINE void join_acts(int max, rw *high, rw *low) { (void)max, (void)high, (void)low; }
INLINE ri dot_wide(int max, int n, const rb *w, const rw *high, const rw *low) {
    (void)max, (void)n, (void)w, (void)high, (void)low;
    return (ri){0};
}
#endif

/* Where the parts begin; joined: each where the one before it ends. Where quads_fit(), codes of joined parts are then swapped: q[h][k] has the
 * blocks of part k. */
typedef struct parts {
    const uint8_t *at[ROWS];
    bool joined;
    int n_blocks; /* of 32, that are there: 4, or fewer in the last step of a row; others are zeros */
} parts;

/* Code of weight = q - zero of the type (blocks.h); w = d0 * code (first half), d1 * code (second half) if SCALE16;
 * w = d0 * c * code + d1 * k if SCALE_MIN16; otherwise w = d0 * code + d1. */
typedef struct step {
    rb q[8]; /* [2 halves of 16, 4 blocks] */
    rf d0, d1;
    rw c,
        k; /* two multipliers of 16 bits each, of the halves of the codes and of d1 (SCALE_MIN16) */
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

/* Lane k: the sum of the four lanes of s[k], none of which is above `most`. */
INLINE ri sums_of_lanes(int most, const ri s[4]) {
    return pair_sums(2 * most, pair_sums(most, s[0], s[1]), pair_sums(most, s[2], s[3]));
}

/* Codes times their multipliers, which then need not be kept. */
INLINE void multiply_codes(step *s) {
    rw first = (s->c & 0xffff) | s->c << 16, second = (s->c & 0xffff0000u) | s->c >> 16;
    UNROLL
    for (int j = 0; j < 8; j++)
        s->q[j] = (rb)(rw)((rh)s->q[j] * (rh)dup_lane(j < 4 ? first : second, j % 4));
}

/* ---- Blocks of 32: four structs of `stride` bytes a row ---- */

/* 16 bytes at `at` of each of the four blocks. */
INLINE void block_bytes(const parts *w, int64_t at, int stride, rw out[4]) {
#if SWAPS
    if (w->joined && quads_fit(stride)) {
        UNROLL
        for (int k = 0; k < 4; k++) out[k] = quad_bytes(w->at[0], k, (int)at, stride);
        return;
    }
#endif
    UNROLL
    for (int k = 0; k < 4; k++)
        out[k] = k < w->n_blocks ? load_rows(w->at, at + k * stride) : (rw){0};
}

/* The first 4 of those bytes only. */
INLINE rw block_words(const parts *w, int64_t at, int stride) {
#if SWAPS
    if (w->joined && quads_fit(stride)) return stream_words(w->at[0], (int)at, stride);
#endif
    rw x[4];
    block_bytes(w, at, stride, x);
    return zip_lo64(zip_lo32(x[0], x[1]), zip_lo32(x[2], x[3]));
}

/* The f16 at `at` of each of the four blocks. */
INLINE rf block_f16(const parts *w, int64_t at, int stride) {
#if GATHERS_F16
    if (w->n_blocks == SLM_STRIPES) return gather_f16(w->at, at, stride);
#endif
    return from_f16(block_words(w, at, stride) & 0xffff);
}

/* Two of them. */
INLINE void block_f16_pairs(const parts *w, int64_t at, int stride, rf *first, rf *second) {
#if GATHERS_F16
    if (w->n_blocks == SLM_STRIPES) {
        gather_f16_pairs(w->at, at, stride, first, second);
        return;
    }
#endif
    from_f16_pairs(block_words(w, at, stride), first, second);
}

INLINE void nibbles4(const parts *w, int64_t at, int stride, step *s) {
    rw x[4];
    block_bytes(w, at, stride, x);
    UNROLL
    for (int k = 0; k < 4; k++) {
        s->q[k] = (rb)(x[k] & fill8(15));
        s->q[4 + k] = (rb)(x[k] >> 4 & fill8(15));
    }
}

/* A fifth bit for each code: bit j of h for weight j. */
INLINE void fifth_bits(const parts *w, rw h, step *s) {
#define TWO_BYTES(i)                                                                         \
    {                                                                                        \
        (i), (i), (i), (i), (i), (i), (i), (i), (i) + 1, (i) + 1, (i) + 1, (i) + 1, (i) + 1, \
            (i) + 1, (i) + 1, (i) + 1                                                        \
    }
    static const uint8_t byte_of_weight[8][16] = {
        TWO_BYTES(0), TWO_BYTES(4), TWO_BYTES(8),  TWO_BYTES(12),
        TWO_BYTES(2), TWO_BYTES(6), TWO_BYTES(10), TWO_BYTES(14),
    };
#undef TWO_BYTES
    const rb bits = (rb)LANES4(0x08040201, 0x80402010, 0x08040201, 0x80402010);
    if (w->joined) h = swap_lanes(h); /* all types with a fifth bit fit */
    UNROLL
    for (int i = 0; i < 8; i++)
        s->q[i] = add_where(s->q[i], shuffle(h, byte_of_weight[i]), bits, (rb)fill8(16));
}

INLINE void step_Q4_0(const parts *w, int32_t i, step *s) {
    const int size = sizeof(slm_q4_0);
    int64_t at = (int64_t)i * 4 * size;
    nibbles4(w, at + 2, size, s);
    s->d0 = block_f16(w, at, size);
}

INLINE void step_Q4_1(const parts *w, int32_t i, step *s) {
    const int size = sizeof(slm_q4_1);
    int64_t at = (int64_t)i * 4 * size;
    nibbles4(w, at + 4, size, s);
    block_f16_pairs(w, at, size, &s->d0, &s->d1);
}

INLINE void step_Q5_0(const parts *w, int32_t i, step *s) {
    const int size = sizeof(slm_q5_0);
    int64_t at = (int64_t)i * 4 * size;
    nibbles4(w, at + 6, size, s);
    fifth_bits(w, block_words(w, at + 2, size), s);
    s->d0 = block_f16(w, at, size);
}

INLINE void step_Q5_1(const parts *w, int32_t i, step *s) {
    const int size = sizeof(slm_q5_1);
    int64_t at = (int64_t)i * 4 * size;
    nibbles4(w, at + 8, size, s);
    fifth_bits(w, block_words(w, at + 4, size), s);
    block_f16_pairs(w, at, size, &s->d0, &s->d1);
}

INLINE void step_Q8_0(const parts *w, int32_t i, step *s) {
    const int size = sizeof(slm_q8_0);
    int64_t at = (int64_t)i * 4 * size;
    rw x[8];
    block_bytes(w, at + 2, size, x);
    block_bytes(w, at + 18, size, x + 4);
    UNROLL
    for (int g = 0; g < 8; g++) s->q[g] = signed_codes(x[g]);
    s->d0 = block_f16(w, at, size);
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

INLINE void step_IQ4_NL(const parts *w, int32_t i, step *s) {
    step_Q4_0(w, i, s); /* the same struct */
    signed_look_up4(s);
}

INLINE void step_MXFP4(const parts *w, int32_t i, step *s) {
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

/* From bit `from` of each byte to bit `to`, as many bits as `mask` (there) has. */
INLINE rw move_bits(rw x, int from, int to, uint8_t mask) {
    return (from > to ? x >> (from - to) : x << (to - from)) & fill8(mask);
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
/* 16 bits at byte 2 or 14 of a row, in every lane. */
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
    rw d = (rw)first_f16s(header);
    s->d0 = (rf)dup_lane(d, 0) * to_float((ri)scale);
    s->d1 = -(rf)dup_lane(d, 1) * to_float((ri)min);
}

/* 64 bytes, block a in the low and block b in the high nibbles of the first 32, c and d in those of the others. */
INLINE void half_nibbles(const parts *w, int64_t at, int a, int b, int c, int d, step *s) {
    UNROLL
    for (int i = 0; i < 4; i++) {
        rw x = load_rows(w->at, at + 16 * i);
        s->q[i % 2 * 4 + (i < 2 ? a : c)] = (rb)(x & fill8(15));
        s->q[i % 2 * 4 + (i < 2 ? b : d)] = (rb)(x >> 4 & fill8(15));
    }
}

INLINE void step_Q4_K(const parts *w, int32_t i, step *s) {
    int64_t at = (int64_t)(i >> 1) * (int)sizeof(slm_q4_k);
    half_nibbles(w, at + 16 + (i & 1) * 64, 0, 1, 2, 3, s);
    k_scales4(load_rows(w->at, at), i & 1, s);
}

INLINE void step_Q5_K(const parts *w, int32_t i, step *s) {
    int64_t at = (int64_t)(i >> 1) * (int)sizeof(slm_q5_k);
    half_nibbles(w, at + 48 + (i & 1) * 64, 0, 1, 2, 3, s);
    UNROLL
    for (int j = 0; j < 8; j++) {
        rw h = load_rows(w->at, at + 16 + j / 4 * 16);
        s->q[j] |= (rb)move_bits(h, 4 * (i & 1) + j % 4, 4, 16);
    }
    k_scales4(load_rows(w->at, at), i & 1, s);
}

INLINE void step_Q6_K(const parts *w, int32_t i, step *s) {
    int64_t at = (int64_t)(i >> 1) * (int)sizeof(slm_q6_k);
    int half = i & 1;
    half_nibbles(w, at + 64 * half, 0, 2, 1, 3, s);
    UNROLL
    for (int j = 0; j < 8; j++) {
        rw h = load_rows(w->at, at + 128 + 32 * half + j / 4 * 16);
        s->q[j] |= (rb)move_bits(h, 2 * (j % 4), 4, 48);
    }
    rw sc = load_rows(w->at, at + 192);
    rf d = from_f16((rw)shuffle(load_rows(w->at, at + 194), half_at_14));
    s->d0 = d * to_float((ri)((rw)shuffle(sc, even_in_lane[half]) << 24) >> 24);
    s->d1 = d * to_float((ri)((rw)shuffle(sc, odd_in_lane[half]) << 24) >> 24);
}

/* Bytes 2k and 2k + 1 of the first or last 8 of a row, each in one half of lane k. */
static const uint8_t pair_in_lane[2][16] = {
    {0, 128, 1, 128, 2, 128, 3, 128, 4, 128, 5, 128, 6, 128, 7, 128},
    {8, 128, 9, 128, 10, 128, 11, 128, 12, 128, 13, 128, 14, 128, 15, 128},
};

INLINE void step_Q2_K(const parts *w, int32_t i, step *s) {
    int64_t at = (int64_t)(i >> 1) * (int)sizeof(slm_q2_k);
    int half = i & 1;
    rw sc = load_rows(w->at, at), tail = load_rows(w->at, at + 68);
    rw both = (rw)shuffle(sc, pair_in_lane[half]);
    UNROLL
    for (int j = 0; j < 8; j++) {
        rw q = load_rows(w->at, at + 16 + 32 * half + j / 4 * 16);
        s->q[j] = (rb)move_bits(q, 2 * (j % 4), 0, 3);
    }
    s->c = both & 0x000f000fu;
    s->k = both >> 4 & 0x000f000fu;
    rw d = dup_lane(tail, 3);
    s->d0 = from_f16(d & 0xffff);
    s->d1 = -from_f16(d >> 16);
}

INLINE void step_Q3_K(const parts *w, int32_t i, step *s) {
    static const uint8_t from_2[16] = {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 128, 128, 128, 128};
    static const uint8_t high_of_even[16] = {8, 128, 128, 128, 10, 128, 128, 128,
                                             8, 128, 128, 128, 10, 128, 128, 128};
    static const uint8_t high_of_odd[16] = {9, 128, 128, 128, 11, 128, 128, 128,
                                            9, 128, 128, 128, 11, 128, 128, 128};
    int64_t at = (int64_t)(i >> 1) * (int)sizeof(slm_q3_k);
    int half = i & 1;
    rw tail = load_rows(w->at, at + 94); /* 2 bytes of codes, 12 of scales, d */
    rw sc = (rw)shuffle(tail, from_2);
    rw shift = LANES4(0, 0, 2, 2) + (uint32_t)(4 * half);
    rf d = from_f16((rw)shuffle(tail, half_at_14));
    rw low[2] = {(rw)shuffle(sc, even_in_lane[0]), (rw)shuffle(sc, odd_in_lane[0])};
    rw high[2] = {(rw)shuffle(sc, high_of_even), (rw)shuffle(sc, high_of_odd)};
    UNROLL
    for (int j = 0; j < 2; j++) {
        rw six = (low[j] >> (4 * half) & 15) | (high[j] >> shift & 3) << 4;
        *(j == 0 ? &s->d0 : &s->d1) = d * to_float((ri)six - 32);
        rw q = load_rows(w->at, at + 32 + 32 * half + 16 * j), h = load_rows(w->at, at + 16 * j);
        UNROLL
        for (int k = 0; k < 4; k++)
            s->q[4 * j + k] = (rb)(move_bits(q, 2 * k, 0, 3) | move_bits(h, 4 * half + k, 2, 4));
    }
}

INLINE void step_IQ4_XS(const parts *w, int32_t i, step *s) {
    static const uint8_t l_of_block[2][16] = {
        {4, 128, 128, 128, 4, 128, 128, 128, 5, 128, 128, 128, 5, 128, 128, 128},
        {6, 128, 128, 128, 6, 128, 128, 128, 7, 128, 128, 128, 7, 128, 128, 128},
    };
    int64_t at = (int64_t)(i >> 1) * (int)sizeof(slm_iq4_xs);
    int half = i & 1;
    nibbles4(w, at + 8 + 64 * half, 16, s);
    signed_look_up4(s);
    rw header = load_rows(w->at, at);
    rw low = (rw)shuffle(header, l_of_block[half]) >> LANES4(0, 4, 0, 4) & 15;
    rw high = (rw)shuffle(header, half_at_2) >> (LANES4(0, 2, 4, 6) + (uint32_t)(8 * half)) & 3;
    ri scale = (ri)(low | high << 4) - 32;
    s->d0 = (rf)dup_lane((rw)first_f16s(header), 0) * to_float(scale);
}

#endif
