/*
 * How fast a vocabulary is opened, and a text becomes tokens, on one thread:
 *
 *     build/bench/tokenize MODEL FILE...
 *
 * The files, one behind the other and over again up to 4 MB, as one text; then 128 KiB of one letter. The best of seven, in processor
 * time, as machines are busy.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../include/slm.h"

enum { ROUNDS = 7, N_TEXT = 4000000, N_RUN = 128 << 10 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static slm_model *open_vocabulary(const char *path, double *seconds) {
    slm_model_params params = slm_model_defaults();
    params.vocab_only = true;
    slm_model *model = NULL;
    slm_error err;
    for (int i = 0; i < ROUNDS; i++) {
        slm_model_close(model);
        double t = now();
        if (slm_model_open(path, &params, &model, &err) != SLM_OK) {
            fprintf(stderr, "%s: %s\n", slm_status_name(err.status), err.message);
            return NULL;
        }
        t = now() - t;
        if (i == 0 || t < *seconds) *seconds = t;
    }
    return model;
}

static double tokenize(const slm_model *model, const char *text, size_t n, slm_token *tokens,
                       size_t *n_tokens) {
    double best = 0;
    for (int i = 0; i < ROUNDS; i++) {
        double t = now();
        slm_tokenize(model, text, n, 0, tokens, n + 16, n_tokens, NULL);
        t = now() - t;
        if (i == 0 || t < best) best = t;
    }
    return best;
}

static size_t read_files(char **paths, int n_paths, char *text) {
    size_t n = 0;
    for (int i = 0; i < n_paths; i++) {
        FILE *f = fopen(paths[i], "rb");
        if (f) n += fread(text + n, 1, N_TEXT - n, f);
        if (f) fclose(f);
    }
    size_t n_once = n;
    while (n_once > 0 && n < N_TEXT) {
        size_t more = n_once < N_TEXT - n ? n_once : N_TEXT - n;
        memcpy(text + n, text, more);
        n += more;
    }
    return n;
}

int main(int argc, char **argv) {
    char *text = malloc(N_TEXT);
    slm_token *tokens = malloc((N_TEXT + 16) * sizeof *tokens);
    double seconds = 0;
    if (argc < 3 || !text || !tokens) return 2;
    slm_model *model = open_vocabulary(argv[1], &seconds);
    size_t n = read_files(argv + 2, argc - 2, text), n_tokens = 0;
    if (!model || n == 0) return 1;
    printf("open %.1f ms", seconds * 1e3);
    seconds = tokenize(model, text, n, tokens, &n_tokens);
    printf(", %.1f MB/s (%.2f bytes a token)", (double)n / seconds * 1e-6,
           (double)n / (double)n_tokens);
    memset(text, 'a', N_RUN);
    seconds = tokenize(model, text, N_RUN, tokens, &n_tokens);
    printf(", 128 KiB of one letter %.1f ms\n", seconds * 1e3);
    slm_model_close(model);
    free(text);
    free(tokens);
    return 0;
}
