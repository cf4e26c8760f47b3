/* What each matrix product reaches, per level and type, on one thread:
 *
 *     build/bench/kernels [rows columns tokens]
 *
 * decode: GB of weights read a second, one token; prefill: 10^12 integer operations (2 per weight and token) a second. Best
 * of several runs; compare only figures of one run of the program. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../kernels/kernels.h"
#include "../kernels/vmath.h"

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Bytes that are plausible as blocks of the type: no scale is NaN, no float so small that it is slow. */
static void fill(slm_type type, uint8_t *w, size_t n_weights) {
    size_t n_bytes =
        n_weights / slm__type_info[type].block_weights * slm__type_info[type].block_bytes;
    for (size_t i = 0; i < n_bytes; i++) w[i] = (uint8_t)(rand() % 60);
    for (size_t i = 0; slm__type_info[type].block_weights == 1 && i < n_weights; i++) {
        float x = (float)(rand() % 2001 - 1000) * 1e-3f;
        slm_f16 h = slm__to_f16(x);
        slm_bf16 b = (slm_bf16)(slm__bits(x) >> 16);
        if (type == SLM_F32) memcpy(w + 4 * i, &x, sizeof x);
        if (type == SLM_F16) memcpy(w + 2 * i, &h, sizeof h);
        if (type == SLM_BF16) memcpy(w + 2 * i, &b, sizeof b);
    }
}

static double best_time(const slm_kernels *k, slm_type type, const slm_matmul *m, int32_t n_rows,
                        void *scratch) {
    double best = 1e30, begin = now();
    for (int run = 0; run < 3 || (run < 50 && now() - begin < 0.3); run++) {
        double t = now();
        k->matmul[type](m, 0, n_rows, scratch);
        t = now() - t;
        best = t < best ? t : best;
    }
    return best;
}

int main(int argc, char **argv) {
    int32_t rows = argc > 3 ? atoi(argv[1]) : 1536, n = argc > 3 ? atoi(argv[2]) : 1024;
    int32_t tokens = argc > 3 ? atoi(argv[3]) : 128;
    n = n / 32 * 32;
    int32_t stored = slm__n_blocks_stored(n);
    slm_acts x = {.n = n};
    x.x = aligned_alloc(64, (size_t)n * (size_t)tokens * 4); /* as a context's buffers are */
    x.q = aligned_alloc(64, (size_t)stored * SLM_QBLOCK * (size_t)tokens);
    x.d = calloc((size_t)stored * (size_t)tokens, 4);
    x.sum = calloc((size_t)stored * (size_t)tokens, 4);
    x.half = calloc((size_t)stored * (size_t)tokens, 4);
    for (int32_t i = 0; i < n * tokens; i++) x.x[i] = (float)(rand() % 2001 - 1000) * 1e-3f;
    for (int32_t t = 0; t < tokens; t++) slm__kernels_level(0)->quantize(&x, t);
    float *out = calloc((size_t)rows * (size_t)tokens, 4);
    void *scratch = aligned_alloc(64, (slm__matmul_scratch(n) + 63) / 64 * 64);
    uint8_t *w = aligned_alloc(64, (size_t)rows * (size_t)n * 4);

    printf("%d rows, %d columns; prefill of %d tokens\n\n%-12s", rows, n, tokens, "");
    for (int t = 0; t < SLM_N_TYPES; t++) printf("%13s", slm__type_info[t].name);
    printf("   (decode GB/s, prefill TOPS)\n");
    for (int32_t level = 1; slm__kernels_level(level); level++) {
        const slm_kernels *k = slm__kernels_level(level);
        printf("%-12s", k->name);
        for (int t = 0; t < SLM_N_TYPES; t++) {
            uint64_t row_bytes =
                (uint64_t)n / slm__type_info[t].block_weights * slm__type_info[t].block_bytes;
            if (n % slm__type_info[t].block_weights != 0) {
                printf("%13s", "-");
                continue;
            }
            fill((slm_type)t, w, (size_t)rows * (size_t)n);
            slm_matmul m = {w, row_bytes, n, rows, 1, &x, out, rows};
            double decode = best_time(k, (slm_type)t, &m, rows, scratch);
            m.n_tokens = tokens;
            double prefill = best_time(k, (slm_type)t, &m, rows, scratch);
            printf("%7.1f %5.3f", (double)row_bytes * rows / decode * 1e-9,
                   2.0 * rows * n * tokens / prefill * 1e-12);
            fflush(stdout);
        }
        printf("\n");
    }
    free(x.x), free(x.q), free(x.d), free(x.sum), free(x.half), free(out), free(scratch), free(w);
    return 0;
}
