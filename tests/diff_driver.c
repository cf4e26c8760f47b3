/* Token ids of many files, a line each, for diff_tokenizer.py:
 *
 *     diff_driver MODEL ADD_SPECIAL PARSE_SPECIAL FILE...
 *     diff_driver MODEL time FILE       processor time to open, tokens, MB/s
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../include/slm.h"

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* machines are busy */
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static char *read_file(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *text = malloc(*n + 1);
    if (text && fread(text, 1, *n, f) != *n) *n = 0;
    fclose(f);
    return text;
}

static int measure(const slm_model *model, const char *path, double open_seconds) {
    size_t n, n_tokens = 0;
    char *text = read_file(path, &n);
    slm_token *tokens = malloc((n + 16) * sizeof *tokens);
    if (!text || !tokens) return 1;
    double best = 1e9;
    for (int i = 0; i < 7; i++) {
        double t = now();
        slm_tokenize(model, text, n, 0, tokens, n + 16, &n_tokens, NULL);
        t = now() - t;
        best = t < best ? t : best;
    }
    printf("open %.1f ms, %zu bytes, %zu tokens, %.2f ms, %.1f MB/s\n", open_seconds * 1e3, n,
           n_tokens, best * 1e3, (double)n / best * 1e-6);
    free(text);
    free(tokens);
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    slm_model_params params = slm_model_defaults();
    params.vocab_only = true;
    slm_model *model;
    slm_error err;
    double t = now();
    if (slm_model_open(argv[1], &params, &model, &err) != SLM_OK) {
        fprintf(stderr, "%s: %s\n", slm_status_name(err.status), err.message);
        return 1;
    }
    t = now() - t;
    if (strcmp(argv[2], "time") == 0) return measure(model, argv[3], t);
    uint32_t flags =
        (argv[2][0] == '1' ? SLM_TOKENIZE_BOS : 0) | (argv[3][0] == '1' ? SLM_TOKENIZE_SPECIAL : 0);
    for (int i = 4; i < argc; i++) {
        size_t n, n_tokens;
        char *text = read_file(argv[i], &n);
        slm_token *tokens = malloc((3 * n + 16) * sizeof *tokens); /* a broken byte is three */
        if (!text || !tokens) return 1;
        if (slm_tokenize(model, text, n, flags, tokens, 3 * n + 16, &n_tokens, &err) != SLM_OK) {
            fprintf(stderr, "%s: %s\n", argv[i], err.message);
            return 1;
        }
        for (size_t k = 0; k < n_tokens; k++) printf("%s%d", k ? " " : "", tokens[k]);
        printf("\n");
        free(text);
        free(tokens);
    }
    slm_model_close(model);
    return 0;
}
