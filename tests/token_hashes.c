/* token_hashes MODEL N SEED: hashes of the ids of N random texts (support/texts.h), a line without and one with special tokens. */
#include <stdio.h>
#include <stdlib.h>

#include "support/texts.h"

static int32_t ids(void *user, const uint8_t *text, size_t n, bool special, slm_token *out) {
    size_t n_ids = 0;
    slm_status s = slm_tokenize(user, (const char *)text, n, special ? SLM_TOKENIZE_SPECIAL : 0,
                                out, 3 * TX_MAX_BYTES + 16, &n_ids, NULL);
    return s == SLM_OK ? (int32_t)n_ids : -1;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    slm_model_params p = slm_model_defaults();
    p.vocab_only = true;
    slm_model *model;
    slm_error err;
    if (slm_model_open(argv[1], &p, &model, &err) != SLM_OK) {
        fprintf(stderr, "%s: %s\n", argv[1], err.message);
        return 1;
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
