/* What each matrix product reaches, per level and type:
 *
 *     build/bench/kernels [rows columns tokens]
 *
 * On one thread: decode, GB of weights read a second, one token, from the cache if it holds the rows, with activations of 8 bits and of
 * 16; prefill, 10^12 integer operations
 * (2 per weight and token) a second; best of several runs. Then decode of weights in memory on one thread and on two, as a share of what
 * plain reading of the same bytes takes just before: the median. Compare only figures of one run of the program. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/kernels.h"
#include "../kernels/vmath.h"
#include "timing.h"

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

/* ---- Weights in memory ---- */

enum { N_THREADS = 2, CHUNK_ROWS = 32, MEMORY_BYTES = 128 << 20, MEMORY_RUNS = 9 };

typedef struct share {
    const slm_kernels *k; /* or NULL: only read */
    slm_type type;
    const slm_matmul *m;
    int32_t from, end; /* rows */
    void *scratch;
    uint64_t sum;
} share;

static void *run_share(void *arg) {
    share *s = arg;
    const uint8_t *p = s->m->w + (uint64_t)s->from * s->m->row_bytes;
    uint64_t n = (uint64_t)(s->end - s->from) * s->m->row_bytes / 64, sum[8] = {0};
    for (int32_t row = s->from; s->k && row < s->end; row += CHUNK_ROWS) {
        int32_t left = s->end - row;
        s->k->matmul[s->type](s->m, row, left < CHUNK_ROWS ? left : CHUNK_ROWS, s->scratch);
    }
    for (uint64_t i = 0; !s->k && i < n; i++) {
        uint64_t line[8];
        memcpy(line, p + i * 64, sizeof line);
        for (int j = 0; j < 8; j++) sum[j] += line[j];
    }
    for (int j = 0; j < 8; j++) s->sum += sum[j];
    return NULL;
}

static double memory_time(const slm_kernels *k, slm_type type, const slm_matmul *m, int n_threads,
                          void *const scratch[N_THREADS]) {
    share shares[N_THREADS];
    pthread_t threads[N_THREADS];
    double begin = now();
    for (int i = 0; i < n_threads; i++) {
        int32_t each = m->n_out / n_threads;
        shares[i] = (share){k, type, m, i * each, (i + 1) * each, scratch[i], 0};
        if (i > 0) pthread_create(&threads[i], NULL, run_share, &shares[i]);
    }
    run_share(&shares[0]);
    for (int i = 1; i < n_threads; i++) pthread_join(threads[i], NULL);
    return now() - begin;
}

static double memory_share(const slm_kernels *k, slm_type type, const slm_matmul *m, int n_threads,
                           void *const scratch[N_THREADS]) {
    double shares[MEMORY_RUNS];
    for (int i = 0; i < MEMORY_RUNS; i++) {
        double reading = memory_time(NULL, type, m, n_threads, scratch);
        shares[i] = reading / memory_time(k, type, m, n_threads, scratch);
    }
    qsort(shares, MEMORY_RUNS, sizeof *shares, by_size);
    return shares[MEMORY_RUNS / 2];
}

/* ---- Tables: a column for each type, a row for each level but plain C ---- */

typedef void (*show_fn)(const slm_kernels *k, slm_type type, const slm_matmul *m,
                        void *const scratch[N_THREADS]);

static void show_rates(const slm_kernels *k, slm_type type, const slm_matmul *m,
                       void *const scratch[N_THREADS]) {
    slm_matmul one = *m;
    one.n_tokens = 1;
    double decode = best_time(k, type, &one, m->n_out, scratch[0]);
    double prefill = best_time(k, type, m, m->n_out, scratch[0]);
    slm_acts wide = *m->x;
    wide.wide = true; /* the two first rows, of which only the time matters */
    one.x = &wide;
    double logits = best_time(k, type, &one, m->n_out, scratch[0]),
           bytes = (double)m->row_bytes * m->n_out;
    printf("%6.1f %4.1f %5.3f", bytes / decode * 1e-9, bytes / logits * 1e-9,
           2.0 * m->n_out * m->n_in * m->n_tokens / prefill * 1e-12);
}

static void show_memory_shares(const slm_kernels *k, slm_type type, const slm_matmul *m,
                               void *const scratch[N_THREADS]) {
    for (int n = 1; n <= N_THREADS; n++)
        printf(n == 1 ? "%11.2f" : " %5.2f", memory_share(k, type, m, n, scratch));
}

/* rows: 0 for as many as MEMORY_BYTES hold. */
static void show_table(const char *unit, show_fn show, const slm_acts *x, int32_t rows,
                       int32_t tokens, void *const scratch[N_THREADS]) {
    size_t n = (size_t)x->n, most = rows ? (size_t)rows : MEMORY_BYTES / n * 4;
    uint8_t *w = aligned_alloc(64, rows ? most * n * 4 : MEMORY_BYTES);
    float *out = calloc(most * (size_t)tokens, sizeof *out);
    printf("%-12s", "");
    for (int t = 0; t < SLM_N_TYPES; t++) printf("%17s", slm__type_info[t].name);
    printf("   (%s)\n", unit);
    for (int32_t level = 1; slm__kernels_level(level); level++) {
        const slm_kernels *k = slm__kernels_level(level);
        printf("%-12s", k->name);
        for (int t = 0; t < SLM_N_TYPES; t++) {
            const slm_type_info *info = &slm__type_info[t];
            if (n % info->block_weights != 0) {
                printf("%17s", "-");
                continue;
            }
            uint64_t row_bytes = (uint64_t)n / info->block_weights * info->block_bytes;
            int32_t n_out = rows ? rows : (int32_t)(MEMORY_BYTES / row_bytes);
            fill((slm_type)t, w, (size_t)n_out * n);
            slm_matmul m = {w, row_bytes, x->n, n_out, tokens, x, out, n_out, slm__fetches_near()};
            show(k, (slm_type)t, &m, scratch);
            fflush(stdout);
        }
        printf("\n");
    }
    free(w), free(out);
}

int main(int argc, char **argv) {
    int32_t rows = argc > 3 ? atoi(argv[1]) : 1536, n = argc > 3 ? atoi(argv[2]) : 1024;
    int32_t tokens = argc > 3 && atoi(argv[3]) > 2 ? atoi(argv[3]) : 128;
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
    void *scratch[N_THREADS];
    for (int i = 0; i < N_THREADS; i++)
        scratch[i] = aligned_alloc(64, (slm__matmul_scratch(n) + 63) / 64 * 64);

    printf("%d rows, %d columns; prefill of %d tokens\n\n", rows, n, tokens);
    show_table("decode GB/s, with 16-bit activations, prefill TOPS", show_rates, &x, rows, tokens,
               scratch);
    printf("\nfrom memory, one token\n\n");
    show_table("share of plain reading on 1 and 2 threads", show_memory_shares, &x, 0, 1, scratch);
    for (int i = 0; i < N_THREADS; i++) free(scratch[i]);
    free(x.x), free(x.q), free(x.d), free(x.sum), free(x.half);
    return 0;
}
