/* One short packer per quantized type, the inverse of unpack.h: codes and scales as numbers to the bytes of a block.
 *
 * Formats: see blocks.h.
 */
#ifndef SLM_PACK_H
#define SLM_PACK_H

#include <stdint.h>
#include <string.h>

#include "kernels.h"

/* Every layout of codes: bits `from` and up, `bits` of them, of n codes. `width` codes go to as many bytes, the next
 * `width` above them in the same bytes, and so on until the bytes are full. */
static inline void pack_bits(const uint8_t *code, int n, int from, int bits, int width,
                             uint8_t *out) {
    int rows = 8 / bits, mask = (1 << bits) - 1;
    for (int at = 0; at < n / rows; at += width, code += width * rows) {
        for (int j = 0; j < width; j++) {
            int byte = 0;
            for (int row = 0; row < rows; row++)
                byte |= (code[row * width + j] >> from & mask) << row * bits;
            out[at + j] = (uint8_t)byte;
        }
    }
}

static inline void pack_Q4_0(const slm_parts *p, void *block) {
    slm_q4_0 *b = block;
    b->d = p->d;
    pack_bits(p->code, 32, 0, 4, 16, b->q);
}

static inline void pack_Q4_1(const slm_parts *p, void *block) {
    slm_q4_1 *b = block;
    b->d = p->d;
    b->m = p->m;
    pack_bits(p->code, 32, 0, 4, 16, b->q);
}

static inline void pack_Q5_0(const slm_parts *p, void *block) {
    slm_q5_0 *b = block;
    b->d = p->d;
    pack_bits(p->code, 32, 0, 4, 16, b->q);
    pack_bits(p->code, 32, 4, 1, 1, b->h);
}

static inline void pack_Q5_1(const slm_parts *p, void *block) {
    slm_q5_1 *b = block;
    b->d = p->d;
    b->m = p->m;
    pack_bits(p->code, 32, 0, 4, 16, b->q);
    pack_bits(p->code, 32, 4, 1, 1, b->h);
}

static inline void pack_Q8_0(const slm_parts *p, void *block) {
    slm_q8_0 *b = block;
    b->d = p->d;
    for (int j = 0; j < 32; j++) b->q[j] = (int8_t)(p->code[j] - 127);
}

static inline void pack_Q2_K(const slm_parts *p, void *block) {
    slm_q2_k *b = block;
    b->d = p->d;
    b->dmin = p->m;
    for (int i = 0; i < 16; i++) b->sc[i] = (uint8_t)(p->sc[i] | p->mn[i] << 4);
    pack_bits(p->code, 256, 0, 2, 32, b->q);
}

/* See q3_k_scale() of unpack.h. */
static inline void pack_Q3_K(const slm_parts *p, void *block) {
    slm_q3_k *b = block;
    uint8_t sc[16];
    for (int i = 0; i < 16; i++) sc[i] = (uint8_t)(p->sc[i] + 32);
    b->d = p->d;
    pack_bits(sc, 16, 0, 4, 8, b->sc);
    pack_bits(sc, 16, 4, 2, 4, b->sc + 8);
    pack_bits(p->code, 256, 0, 2, 32, b->q);
    pack_bits(p->code, 256, 2, 1, 32, b->h);
}

/* See q4_k_scale() of unpack.h. */
static inline void pack_k_scales(const slm_parts *p, uint8_t out[12]) {
    for (int i = 0; i < 4; i++) {
        int sc = p->sc[i + 4], mn = p->mn[i + 4];
        out[i] = (uint8_t)(p->sc[i] | sc >> 4 << 6);
        out[i + 4] = (uint8_t)(p->mn[i] | mn >> 4 << 6);
        out[i + 8] = (uint8_t)((sc & 15) | (mn & 15) << 4);
    }
}

static inline void pack_Q4_K(const slm_parts *p, void *block) {
    slm_q4_k *b = block;
    b->d = p->d;
    b->dmin = p->m;
    pack_k_scales(p, b->sc);
    pack_bits(p->code, 256, 0, 4, 32, b->q);
}

static inline void pack_Q5_K(const slm_parts *p, void *block) {
    slm_q5_k *b = block;
    b->d = p->d;
    b->dmin = p->m;
    pack_k_scales(p, b->sc);
    pack_bits(p->code, 256, 0, 4, 32, b->q);
    pack_bits(p->code, 256, 4, 1, 32, b->h);
}

static inline void pack_Q6_K(const slm_parts *p, void *block) {
    slm_q6_k *b = block;
    b->d = p->d;
    for (int i = 0; i < 16; i++) b->sc[i] = (int8_t)p->sc[i];
    pack_bits(p->code, 256, 0, 4, 64, b->l);
    pack_bits(p->code, 256, 4, 2, 32, b->h);
}

static inline void pack_IQ4_NL(const slm_parts *p, void *block) {
    pack_Q4_0(p, block); /* the same struct */
}

static inline void pack_IQ4_XS(const slm_parts *p, void *block) {
    slm_iq4_xs *b = block;
    b->d = p->d;
    memset(b->l, 0, sizeof b->l);
    unsigned high = 0;
    for (int i = 0; i < 8; i++) {
        unsigned sc = (unsigned)(p->sc[i] + 32);
        b->l[i / 2] = (uint8_t)(b->l[i / 2] | (sc & 15) << i % 2 * 4);
        high |= sc >> 4 << 2 * i;
    }
    b->h = (uint16_t)high;
    pack_bits(p->code, 256, 0, 4, 16, b->q);
}

/* Codes count from the lowest of 15 levels; in the block, from zero up and, with bit 3 set, down. */
static inline void pack_MXFP4(const slm_parts *p, void *block) {
    slm_mxfp4 *b = block;
    uint8_t code[32];
    for (int j = 0; j < 32; j++)
        code[j] = (uint8_t)(p->code[j] < 7 ? 8 + 7 - p->code[j] : p->code[j] - 7);
    b->e = (uint8_t)p->d;
    pack_bits(code, 32, 0, 4, 16, b->q);
}

#endif
