/* Turning pairs of values by RoPE (Su et al. 2021, arXiv:2104.09864); the frequencies are in rope.c. */
#ifndef SLM_ROPE_H
#define SLM_ROPE_H

#include "model.h"

/* Cosine and sine of each pair at a position: out is [n_rot]. */
void slm__rope_row(const slm__rope *rope, int32_t position, int32_t n_rot, float *out);

/* Turn the pairs of one head. */
static inline void slm__rope_head(float *head, const float *table, int32_t n_rot,
                                  slm__rope_pairing pairing) {
    int32_t step = pairing == ROPE_ADJACENT ? 2 : 1,
            apart = pairing == ROPE_ADJACENT ? 1 : n_rot / 2;
    for (int32_t i = 0; i < n_rot / 2; i++) {
        float c = table[2 * i], s = table[2 * i + 1];
        float a = head[i * step], b = head[i * step + apart];
        head[i * step] = a * c - b * s;
        head[i * step + apart] = a * s + b * c;
    }
}

#endif
