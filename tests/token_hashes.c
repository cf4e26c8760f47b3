/* token_hashes MODEL N SEED: hashes of the ids of N random texts (support/texts.h), a line without and one with special tokens.
 * token_hashes MODEL MARK: the ids themselves of the texts on standard input, between them MARK; a line each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/texts.h"

static int32_t ids(void *user, const uint8_t *text, size_t n, bool special, slm_token *out) {
    size_t n_ids = 0;
    slm_status s = slm_tokenize(user, (const char *)text, n, special ? SLM_TOKENIZE_SPECIAL : 0,
                                out, 3 * TX_MAX_BYTES + 16, &n_ids, NULL);
    return s == SLM_OK ? (int32_t)n_ids : -1;
}

static bool print_ids(slm_model *model, const char *text, size_t n) {
    static slm_token out[1 << 16];
    size_t n_ids = 0;
    if (slm_tokenize(model, text, n, 0, out, sizeof out / sizeof *out, &n_ids, NULL) != SLM_OK)
        return false;
    for (size_t i = 0; i < n_ids; i++) printf("%s%d", i ? " " : "", (int)out[i]);
    return putchar('\n') != EOF;
}

static bool print_all(slm_model *model, const char *mark) {
    static char all[1 << 20];
    size_t n = fread(all, 1, sizeof all, stdin), n_mark = strlen(mark);
    const char *at = all, *end = all + n;
    for (const char *next; (next = memmem(at, (size_t)(end - at), mark, n_mark));
         at = next + n_mark)
        if (!print_ids(model, at, (size_t)(next - at))) return false;
    return n < sizeof all && print_ids(model, at, (size_t)(end - at));
}

int main(int argc, char **argv) {
    if (argc != 3 && argc != 4) return 2;
    slm_model_params p = slm_model_defaults();
    p.vocab_only = true;
    slm_model *model;
    slm_error err;
    if (slm_model_open(argv[1], &p, &model, &err) != SLM_OK) {
        fprintf(stderr, "%s: %s\n", argv[1], err.message);
        return 1;
    }
    if (argc == 3) {
        bool good = print_all(model, argv[2]);
        slm_model_close(model);
        return !good;
    }
    texts t;
    uint64_t seed = strtoull(argv[3], NULL, 10);
    if (!tx_make(&t, model, seed)) return 1;
    bool ok = true;
    for (int special = 0; special < 2 && ok; special++) {
        t.state = seed;
        ok = tx_print_hashes(&t, atoi(argv[2]), special, ids, model);
    }
    tx_free(&t);
    slm_model_close(model);
    return !ok;
}
