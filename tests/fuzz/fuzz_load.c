/* A file of any bytes is loaded whole; where that succeeds, a context is made and two tokens are computed, on an instruction
 * set and with a mode that follow from the bytes. */
#include "fuzz.h"

static void decode(const slm_model *m, uint32_t choice, fuzz_memory *memory) {
    slm_model_info info = {.size = sizeof info};
    require(slm_model_get_info(m, &info) == SLM_OK && info.has_weights);
    slm_context_params p = slm_context_defaults();
    p.allocator = fuzz_allocator(memory);
    p.n_ctx = info.n_ctx_train < 64 ? info.n_ctx_train : 64;
    p.n_batch = 1 + choice % 2;
    p.n_threads = 1;
    p.n_logits = 2;
    p.kv_type = choice >> 2 & 1 ? SLM_KV_F32 : SLM_KV_F16;
    p.reference = choice >> 3 & 1;
    int32_t levels = 0;
    while (slm_cpu_level(levels)) levels++;
    p.cpu = slm_cpu_level((int32_t)(choice >> 4) % levels);
    size_t bytes = 0, before = memory->left;
    slm_context *ctx = (slm_context *)&info;
    slm_error err;
    slm_status s = slm_context_memory(m, &p, &bytes, &err);
    fuzz_error(s, &err);
    slm_status created = slm_context_create(m, &p, &ctx, &err);
    fuzz_error(created, &err);
    require((ctx != NULL) == (created == SLM_OK));
    if (s != SLM_OK || bytes > before) require(created != SLM_OK);
    if (!ctx) return;
    require(before - memory->left <= bytes);
    const slm_token tokens[2] = {0, info.n_vocab - 1};
    int32_t n = info.n_ctx_train < 2 ? 1 : 2;
    slm_batch batch = {sizeof batch, n, tokens, NULL, NULL, (const uint8_t[2]){1, 1}};
    s = slm_decode(ctx, &batch, &err);
    fuzz_error(s, &err);
    require(s == SLM_OK || s == SLM_ERR_NUMERIC);
    require(slm_seq_length(ctx, 0) == n && slm_logits(ctx, n) == NULL);
    for (int32_t i = 0; i < n && s == SLM_OK; i++) {
        const float *logits = slm_logits(ctx, i);
        for (int32_t t = 0; t < info.n_vocab; t++) require(logits[t] - logits[t] == 0); /* finite */
    }
    slm_context_free(ctx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    fuzz_memory memory = {.left = 64 << 20, .calls_left = UINT32_MAX};
    void *file = fuzz_copy(data, n);
    slm_model_params p = slm_model_defaults();
    p.allocator = fuzz_allocator(&memory);
    slm_model *m = (slm_model *)&memory;
    slm_error err;
    slm_status s = slm_model_open_memory(file, n, &p, &m, &err);
    fuzz_error(s, &err);
    require((m != NULL) == (s == SLM_OK));
    if (m) decode(m, fuzz_choice(data, n), &memory);
    slm_model_close(m);
    require(memory.n_live == 0);
    free(file);
    return 0;
}
