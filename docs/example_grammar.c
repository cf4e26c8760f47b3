/* A whole program over libslm: an answer that fits a grammar, always with the most probable token that it allows.  example_grammar MODEL GBNF PROMPT */
#include <slm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PROMPT = 4096, MAX_ANSWER = 256 };

/* The most probable token whose bit is set. */
static slm_token best_of(const float *logits, const uint64_t *mask, int32_t n_vocab) {
    slm_token best = SLM_TOKEN_NONE;
    for (slm_token i = 0; i < n_vocab; i++)
        if (mask[i / 64] >> i % 64 & 1 && (best < 0 || logits[i] > logits[best])) best = i;
    return best;
}

static int generate(const slm_model *model, slm_context *ctx, slm_matcher *matcher,
                    slm_error *err) {
    slm_model_info info = {.size = sizeof info};
    slm_text_stream stream = {0};
    char text[1024];
    size_t n;
    if (slm_model_get_info(model, &info)) return -1;
    for (int i = 0; i < MAX_ANSWER && slm_matcher_end(matcher) != SLM_END_MUST; i++) {
        const uint64_t *mask;
        uint32_t attributes = 0;
        if (slm_matcher_mask(matcher, &mask, err)) return -1;
        slm_token token = best_of(slm_logits(ctx, 0), mask, info.n_vocab);
        if (slm_matcher_accept(matcher, token, err)) return -1;
        if (slm_token_get(model, token, NULL, NULL, &attributes)) return -1;
        if (attributes & SLM_TOKEN_EOG) break;
        if (slm_text_stream_add(model, &stream, token, text, sizeof text, &n)) return -1;
        fwrite(text, 1, n, stdout);
        if (slm_decode_tokens(ctx, &token, 1, err)) return -1;
    }
    return slm_matcher_end(matcher) == SLM_END_NO; /* cut off: MAX_ANSWER tokens */
}

static int answer(const slm_model *model, const char *gbnf, const char *prompt, slm_error *err) {
    slm_grammar *grammar = NULL;
    slm_constraint *constraint = NULL; /* one for all texts of this grammar and model */
    slm_matcher *matcher = NULL;       /* one for each text at a time                 */
    slm_context *ctx = NULL;
    slm_token ids[MAX_PROMPT];
    size_t n;
    int result = -1;
    if (!slm_grammar_parse(gbnf, strlen(gbnf), NULL, &grammar, err) &&
        !slm_constraint_create(grammar, model, NULL, &constraint, err) &&
        !slm_matcher_create(constraint, NULL, &matcher, err) &&
        !slm_context_create(model, NULL, &ctx, err) &&
        !slm_tokenize(model, prompt, strlen(prompt), SLM_TOKENIZE_BOS, ids, MAX_PROMPT, &n, err) &&
        !slm_decode_tokens(ctx, ids, (int32_t)n, err))
        result = generate(model, ctx, matcher, err);
    slm_context_free(ctx);
    slm_matcher_free(matcher);
    slm_constraint_free(constraint);
    slm_grammar_free(grammar);
    return result;
}

int main(int argc, char **argv) {
    slm_model *model;
    slm_error err = {0};
    if (argc != 4) {
        fprintf(stderr, "usage: %s MODEL GBNF PROMPT\n", argv[0]);
        return 2;
    }
    int result =
        slm_model_open(argv[1], NULL, &model, &err) ? -1 : answer(model, argv[2], argv[3], &err);
    slm_model_close(model);
    if (result < 0) fprintf(stderr, "%s: %s\n", argv[0], err.message);
    return result != 0;
}
