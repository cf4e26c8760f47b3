/* A whole program over libslm: go on with a text, always with the most probable token.  example MODEL PROMPT */
#include <slm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ANSWER = 64 };

static slm_token *tokenize(const slm_model *model, const char *text, size_t *n, slm_error *err) {
    slm_tokenize(model, text, strlen(text), SLM_TOKENIZE_BOS, NULL, 0, n, err); /* only how many */
    slm_token *ids = calloc(*n + 1, sizeof *ids);
    if (ids && !slm_tokenize(model, text, strlen(text), SLM_TOKENIZE_BOS, ids, *n, n, err))
        return ids;
    free(ids);
    return NULL;
}

static int generate(const slm_model *model, slm_context *ctx, slm_sampler *s, slm_error *err) {
    slm_model_info info = {.size = sizeof info};
    slm_text_stream stream = {0};
    char text[1024];
    slm_token token;
    uint32_t attributes = 0;
    size_t n;
    if (slm_model_get_info(model, &info)) return -1;
    for (int i = 0; i < MAX_ANSWER; i++) {
        if (slm_sampler_sample(s, slm_logits(ctx, 0), info.n_vocab, &token, err)) return -1;
        if (slm_token_get(model, token, NULL, NULL, &attributes)) return -1;
        if (attributes & SLM_TOKEN_EOG) break;
        if (slm_text_stream_add(model, &stream, token, text, sizeof text, &n)) return -1;
        fwrite(text, 1, n, stdout); /* whole characters: the stream holds parts of one back */
        if (fflush(stdout) || slm_decode_tokens(ctx, &token, 1, err)) return -1;
    }
    if (slm_text_stream_end(&stream, text, sizeof text, &n)) return -1;
    return printf("%.*s\n", (int)n, text) < 0 || fflush(stdout) ? -1 : 0;
}

int main(int argc, char **argv) {
    if (argc != 3) return fprintf(stderr, "usage: %s MODEL PROMPT\n", argv[0]), 2;
    slm_error err = {SLM_OK, ""};
    slm_model *model = NULL;
    slm_context *ctx = NULL;
    slm_sampler *sampler = NULL;
    slm_token *ids = NULL;
    size_t n = 0;
    slm_context_params params = slm_context_defaults(); /* n_ctx: as trained */
    slm_sampler_params greedy = slm_sampler_defaults();
    int ok = !slm_model_open(argv[1], NULL, &model, &err) &&
             (ids = tokenize(model, argv[2], &n, &err)) &&
             !slm_context_create(model, &params, &ctx, &err) &&
             !slm_sampler_create(&greedy, &sampler, &err) &&
             !slm_decode_tokens(ctx, ids, (int32_t)n, &err) && !generate(model, ctx, sampler, &err);
    if (!ok) fprintf(stderr, "%s: %s\n", argv[0], err.status ? err.message : "output or memory");
    slm_sampler_free(sampler);
    slm_context_free(ctx);
    slm_model_close(model);
    free(ids);
    return ok ? 0 : 1;
}
