/* The matrix products of a model by OpenBLAS, on weights in f32: what one would write by hand.
 *
 *     build/bench/sgemm THREADS RUNS ROWSxCOLUMNSxTOKENS...
 *
 * The products are done in the order given, RUNS times after one time that warms up; as JSON, the seconds of each run. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <cblas.h>

#include "timing.h"

typedef struct product {
    int rows, columns, tokens;
} product;

/* Weights follow each other in a ring that no cache holds, as those of a model do: the same few megabytes again and again
 * would be read faster than any model. */
typedef struct room {
    float *weights, *in, *out; /* [n_weights], [n_in], [n_out] */
    size_t n_weights, n_in, n_out, at;
} room;

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static float *random_floats(size_t n) {
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; x && i < n; i++) x[i] = (float)(rand() % 2001 - 1000) * 1e-3f;
    return x;
}

/* out[tokens, rows] = in[tokens, columns] * weights[rows, columns] transposed */
static void multiply(const product *p, const float *weights, const float *in, float *out) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, p->tokens, p->rows, p->columns, 1.0f, in,
                p->columns, weights, p->columns, 0.0f, out, p->rows);
}

/* Old builds of OpenBLAS compute wrong results on new processors; their speed means nothing. */
static int is_right(const room *r) {
    const product p = {.rows = 37, .columns = 64, .tokens = 5};
    multiply(&p, r->weights, r->in, r->out);
    for (int i = 0; i < p.tokens * p.rows; i++) {
        const float *x = r->in + i / p.rows * p.columns, *w = r->weights + i % p.rows * p.columns;
        double sum = 0;
        for (int k = 0; k < p.columns; k++) sum += (double)x[k] * w[k];
        if (!(fabs(sum - r->out[i]) < 1e-4)) return 0;
    }
    return 1;
}

static int make_room(room *r, const product *p, int n) {
    r->n_weights = (size_t)64 << 20;
    r->n_in = r->n_out = 1024; /* for is_right() */
    for (int i = 0; i < n; i++) {
        r->n_weights = larger(r->n_weights, (size_t)p[i].rows * (size_t)p[i].columns);
        r->n_in = larger(r->n_in, (size_t)p[i].tokens * (size_t)p[i].columns);
        r->n_out = larger(r->n_out, (size_t)p[i].tokens * (size_t)p[i].rows);
    }
    r->weights = random_floats(r->n_weights);
    r->in = random_floats(r->n_in);
    r->out = random_floats(r->n_out);
    return r->weights && r->in && r->out;
}

static double run_once(room *r, const product *p, int n) {
    double begin = now();
    for (int i = 0; i < n; i++) {
        size_t size = (size_t)p[i].rows * (size_t)p[i].columns;
        if (r->at + size > r->n_weights) r->at = 0;
        multiply(&p[i], r->weights + r->at, r->in, r->out);
        r->at += size;
    }
    return now() - begin;
}

static int read_product(const char *text, product *p) {
    char rest;
    return sscanf(text, "%dx%dx%d%c", &p->rows, &p->columns, &p->tokens, &rest) == 3 &&
           p->rows > 0 && p->columns > 0 && p->tokens > 0;
}

static int fail(const char *why) {
    fprintf(stderr, "sgemm: %s\n", why);
    return 1;
}

static int measure(room *r, const product *p, int n, int n_runs) {
    if (!make_room(r, p, n)) return fail("no memory");
    if (!is_right(r)) return fail("OpenBLAS computes wrong results on this machine");
    run_once(r, p, n);
    printf("{\"openblas\":\"%s\",\"seconds\":[", openblas_get_config());
    for (int i = 0; i < n_runs; i++) printf("%s%.9g", i ? "," : "", run_once(r, p, n));
    puts("]}");
    return 0;
}

int main(int argc, char **argv) {
    int n = argc - 3, n_threads = argc > 3 ? atoi(argv[1]) : 0,
        n_runs = argc > 3 ? atoi(argv[2]) : 0;
    room r = {0};
    product *p = n > 0 ? calloc((size_t)n, sizeof *p) : NULL;
    int good = p && n_threads > 0 && n_runs > 0, code = 2;
    for (int i = 0; good && i < n; i++) good = read_product(argv[3 + i], &p[i]);
    if (good) {
        openblas_set_num_threads(n_threads);
        code = measure(&r, p, n, n_runs);
    } else {
        fprintf(stderr, "usage: sgemm THREADS RUNS ROWSxCOLUMNSxTOKENS...\n");
    }
    free(r.weights);
    free(r.in);
    free(r.out);
    free(p);
    return code;
}
