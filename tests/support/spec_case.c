#include "spec_case.h"

#include "tiny_model.h"

slm_error err;
made big, other, small;
text want, got;

/* ---- Models ---- */

void build(made *m, uint64_t seed, bool floats) {
    tiny_shape shape = {.n_vocab = N_VOCAB,
                        .n_embd = N_EMBD,
                        .n_layer = 2,
                        .n_head = 4,
                        .n_head_kv = 2,
                        .n_ff = 96,
                        .n_ctx = 2048,
                        .types = {SLM_Q8_0, SLM_Q4_0},
                        .n_types = floats ? 0 : 2,
                        .untied = floats,
                        .seed = seed};
    *m = (made){0};
    tiny_model(&m->b, &shape);
}

void open_made(made *m) {
    size_t n;
    const void *file = gb_finish(&m->b, &n);
    GOOD(slm_model_open_memory(file, n, NULL, &m->model, &err));
}

void close_made(made *m) {
    slm_model_close(m->model);
    gb_free(&m->b);
}

/* The first tensor, and the last one. */
float *embedding(made *m, slm_token t) {
    return (float *)(void *)(m->b.tensors.data + (size_t)t * N_EMBD * sizeof(float));
}

float *output(made *m, slm_token t) {
    size_t bytes = (size_t)N_EMBD * sizeof(float);
    return (float *)(void *)(m->b.tensors.data + m->b.tensors.n - (N_VOCAB - (size_t)t) * bytes);
}

void build_small(made *m, uint64_t seed) {
    tiny_shape shape = {.n_vocab = N_VOCAB,
                        .n_embd = 32,
                        .n_layer = 1,
                        .n_head = 2,
                        .n_head_kv = 1,
                        .n_ff = 32,
                        .types = {SLM_Q8_0},
                        .n_types = 1,
                        .seed = seed};
    *m = (made){0};
    tiny_model(&m->b, &shape);
}

void spec_setup(void) {
    build(&big, 3, false);
    build(&other, 4, false);
    build_small(&small, 5);
    open_made(&big);
    open_made(&other);
    open_made(&small);
}

void spec_teardown(void) {
    close_made(&big);
    close_made(&other);
    close_made(&small);
}

/* ---- The two ways to a text ---- */

task new_task(uint64_t seed, int kind) {
    static const struct {
        float temperature, penalty, top_p, min_p;
        int32_t last_n, top_k;
    } kinds[] = {{0, 1, 1, 0, 64, 0},         {0, 1.3f, 1, 0, 20, 0},      {0.7f, 1, 1, 0, 64, 2},
                 {1, 1.1f, 1, 0.02f, 30, 40}, {0.3f, 1, 0.95f, 0, 64, 40}, {3, 1, 1, 0, 0, 0}};
    task t = {.model = big.model,
              .sampler = slm_sampler_defaults(),
              .n_prompt = 1 + (int32_t)(seed % 40),
              .n = 90,
              .n_ctx = 512,
              .n_threads = 1 + (int32_t)(seed % 3),
              .spec = slm_speculator_defaults()};
    t.sampler.temperature = kinds[kind].temperature;
    t.sampler.repeat_penalty = kinds[kind].penalty;
    t.sampler.repeat_last_n = kinds[kind].last_n;
    t.sampler.top_p = kinds[kind].top_p;
    t.sampler.min_p = kinds[kind].min_p;
    t.sampler.top_k = kinds[kind].top_k;
    t.sampler.seed = seed;
    uint64_t state = seed;
    for (int i = 0; i < t.n_prompt; i++) t.prompt[i] = (slm_token)(tiny_random(&state) % N_VOCAB);
    return t;
}

bool ends(const slm_model *m, slm_token token) {
    uint32_t attributes;
    slm_token_get(m, token, NULL, NULL, &attributes);
    return attributes & SLM_TOKEN_EOG;
}

slm_context *context(const slm_model *m, const task *t, int32_t n_logits) {
    slm_context_params p = slm_context_defaults();
    slm_context *ctx;
    p.n_ctx = t->n_ctx;
    p.n_threads = t->n_threads;
    p.n_seq_max = 3;
    p.n_logits = n_logits;
    GOOD(slm_context_create(m, &p, &ctx, &err));
    slm_token tokens[64];
    int32_t sequences[64];
    slm_batch b = {.size = sizeof b, .tokens = tokens, .sequences = sequences};
    for (b.n_tokens = 0; b.n_tokens < t->n_other; b.n_tokens++) {
        tokens[b.n_tokens] = 7 * b.n_tokens % N_VOCAB;
        sequences[b.n_tokens] = (t->sequence + 1 + b.n_tokens % 2) % 3;
    }
    if (t->n_other) GOOD(slm_decode(ctx, &b, &err));
    return ctx;
}

slm_sampler *sampler_of(const task *t) {
    slm_sampler *s;
    GOOD(slm_sampler_create(&t->sampler, &s, &err));
    for (int i = 0; i < t->n_prompt; i++) slm_sampler_accept(s, t->prompt[i]);
    slm_matcher_reset(t->matcher);
    ck_assert_int_eq(slm_sampler_set_matcher(s, t->matcher), SLM_OK);
    return s;
}

void probe(slm_sampler *s, text *out) {
    float row[N_VOCAB];
    uint64_t state = 5;
    for (int i = 0; i < N_VOCAB; i++) row[i] = (float)(tiny_random(&state) >> 60) / 4;
    for (int i = 0; i < N_PROBE; i++)
        GOOD(slm_sampler_sample(s, row, N_VOCAB, &out->probe[i], &err));
}

void plain(const task *t, text *out) {
    *out = (text){0};
    slm_context *ctx = context(t->model, t, 1);
    slm_sampler *s = sampler_of(t);
    int32_t sequences[64];
    for (int i = 0; i < 64; i++) sequences[i] = t->sequence;
    slm_batch b = {
        .size = sizeof b, .n_tokens = t->n_prompt, .tokens = t->prompt, .sequences = sequences};
    for (; out->n < t->n; out->n++) {
        slm_token *next = &out->tokens[out->n];
        out->end = slm_decode(ctx, &b, &err);
        if (out->end == SLM_OK)
            out->end = slm_sampler_sample(s, slm_logits(ctx, 0), N_VOCAB, next, &err);
        if (out->end != SLM_OK) break;
        b.tokens = next;
        b.n_tokens = 1;
        if (!t->past_end && ends(t->model, *next)) {
            out->n++;
            break;
        }
    }
    probe(s, out);
    slm_sampler_free(s);
    slm_context_free(ctx);
}

void go_on(const task *t, slm_speculator *spec, slm_sampler *s, text *out) {
    uint64_t state = t->capacities;
    while (out->n < t->n) {
        int32_t n, capacity = t->n - out->n;
        if (t->capacities) {
            int32_t most = 1 + (int32_t)(tiny_random(&state) % 9);
            capacity = most < capacity ? most : capacity;
        }
        slm_token *next = &out->tokens[out->n];
        next[capacity] = -77;
        out->end = slm_speculate(spec, s, next, capacity, &n, &err);
        ck_assert_int_eq(err.status, out->end);
        ck_assert_int_eq(next[capacity], -77);
        ck_assert_int_eq(n > 0, out->end == SLM_OK);
        ck_assert_int_le(n, capacity);
        out->n += n;
        if (out->end != SLM_OK) break;
        for (int i = 0; i < n - 1; i++) ck_assert(!ends(t->model, next[i]));
        if (!t->past_end && ends(t->model, next[n - 1])) break;
    }
    out->info.size = sizeof out->info;
    ck_assert_int_eq(slm_speculator_get_info(spec, &out->info), SLM_OK);
}

void speculative(const task *t, text *out) {
    *out = (text){0};
    slm_speculator_params p = t->spec;
    slm_context *ctx = context(t->model, t, p.n_draft + 1);
    if (t->draft) p.draft = context(t->draft, t, 1);
    slm_sampler *s = sampler_of(t);
    slm_speculator *spec;
    p.sequence = t->sequence;
    GOOD(slm_speculator_create(ctx, &p, &spec, &err));
    GOOD(slm_speculator_accept(spec, t->prompt, t->n_prompt, &err));
    go_on(t, spec, s, out);
    ck_assert_int_eq(out->info.n_tokens, t->n_prompt + out->n);
    if (out->n > 0) ck_assert_int_eq(slm_seq_length(ctx, t->sequence), out->info.n_tokens - 1);
    if (p.draft) ck_assert_int_lt(slm_seq_length(p.draft, t->sequence), out->info.n_tokens);
    probe(s, out);
    slm_speculator_free(spec);
    slm_sampler_free(s);
    slm_context_free(ctx);
    slm_context_free(p.draft);
}

void assert_same(const text *a, const text *b) {
    for (int i = 0; i < a->n && i < b->n; i++)
        ck_assert_msg(a->tokens[i] == b->tokens[i], "token %d: %d, then %d", i, a->tokens[i],
                      b->tokens[i]);
    ck_assert_int_eq(a->n, b->n);
    ck_assert_str_eq(slm_status_name(a->end), slm_status_name(b->end));
    ck_assert_mem_eq(a->probe, b->probe,
                     sizeof a->probe); /* the sampler is left in the same state */
}

void compare(task *t) {
    plain(t, &want);
    for (int always = 0; always < 2; always++) {
        t->spec.always = always;
        speculative(t, &got);
        assert_same(&want, &got);
    }
}
