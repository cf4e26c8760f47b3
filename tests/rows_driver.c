/* Everything that a model computes, for test_compare.py:
 *
 *     rows_driver MODEL reference|default f16|f32 N    standard input: lines of token ids
 *
 * For each line, alone in its context, all as bytes of this machine: of each token n_vocab logits, then [n_layer, n_embd] states, as floats; then N tokens
 * that follow by the largest logit, the lowest of equal ones, as int32; behind one that ends a text: -1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../include/slm.h"

enum { MOST_TOKENS = 1024 };

typedef struct driver {
    slm_model *model;
    slm_model_info info;
    slm_context *ctx;
    float *states; /* [n_layer, MOST_TOKENS, n_embd] */
    int32_t at;    /* tokens before the batch        */
} driver;

static void check(slm_status status, const slm_error *err) {
    if (status == SLM_OK) return;
    fprintf(stderr, "%s\n", err->message);
    exit(1);
}

static void watch(void *user, const slm_observation *o) {
    driver *d = user;
    if (o->tensor) return;
    int64_t first = (int64_t)o->layer * MOST_TOKENS + d->at + o->first;
    memcpy(d->states + first * o->n, o->rows, (size_t)o->n_rows * (size_t)o->n * sizeof(float));
}

static int32_t read_ids(char *line, slm_token *ids) {
    int32_t n = 0;
    for (char *word = strtok(line, " \n"); word && n < MOST_TOKENS; word = strtok(NULL, " \n"))
        ids[n++] = (slm_token)strtol(word, NULL, 10);
    return n;
}

static slm_token best_of(const float *row, int32_t n) {
    slm_token best = 0;
    for (int32_t i = 1; i < n; i++)
        if (row[i] > row[best]) best = i;
    return best;
}

static void put(const void *data, size_t n) {
    if (fwrite(data, 1, n, stdout) != n) exit(1);
}

static void run_line(driver *d, const slm_token *ids, int32_t n, int32_t n_more) {
    slm_error err;
    size_t n_embd = (size_t)d->info.n_embd;
    slm_token next = -1;
    check(slm_seq_truncate(d->ctx, 0, 0, &err), &err);
    for (d->at = 0; d->at < n; d->at++) {
        check(slm_decode_tokens(d->ctx, ids + d->at, 1, &err), &err);
        const float *row = slm_logits(d->ctx, 0);
        put(row, (size_t)d->info.n_vocab * sizeof *row);
        for (int64_t l = 0; l < d->info.n_layer; l++)
            put(d->states + (l * MOST_TOKENS + d->at) * (int64_t)n_embd, n_embd * sizeof(float));
        next = best_of(row, d->info.n_vocab);
    }
    for (int32_t i = 0; i < n_more; i++) {
        uint32_t attributes = 0;
        put(&next, sizeof next);
        if (next >= 0) slm_token_get(d->model, next, NULL, NULL, &attributes);
        if (next < 0 || (attributes & SLM_TOKEN_EOG)) {
            next = -1;
            continue;
        }
        check(slm_decode_tokens(d->ctx, &next, 1, &err), &err);
        d->at++;
        next = best_of(slm_logits(d->ctx, 0), d->info.n_vocab);
    }
}

int main(int argc, char **argv) {
    static char line[1 << 16];
    slm_token ids[MOST_TOKENS];
    driver d = {.info = {.size = sizeof d.info}};
    slm_error err;
    slm_context_params params = slm_context_defaults();
    if (argc != 5) return 2;
    check(slm_model_open(argv[1], NULL, &d.model, &err), &err);
    slm_model_get_info(d.model, &d.info);
    d.states =
        calloc((size_t)d.info.n_layer * MOST_TOKENS * (size_t)d.info.n_embd, sizeof *d.states);
    if (!d.states) return 1;
    params.n_ctx = MOST_TOKENS;
    params.reference = strcmp(argv[2], "reference") == 0;
    params.kv_type = strcmp(argv[3], "f32") == 0 ? SLM_KV_F32 : SLM_KV_F16;
    params.observe = watch;
    params.observe_user = &d;
    check(slm_context_create(d.model, &params, &d.ctx, &err), &err);
    while (fgets(line, sizeof line, stdin)) {
        int32_t n = read_ids(line, ids);
        run_line(&d, ids, n, (int32_t)strtol(argv[4], NULL, 10));
    }
    slm_context_free(d.ctx);
    slm_model_close(d.model);
    free(d.states);
    return 0;
}
