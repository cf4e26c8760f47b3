/* Bytes are what a program does with the sequences of a context: tokens added, cut, removed, shared, saved, restored from bytes that may have
 * been changed. The tokens that each sequence holds are known all the time; nothing else may happen than what slm.h says. */
#include "fuzz.h"

enum { N_CTX = 300, SEQS = 3, MAX_STEPS = 60, MAX_STATE = 1 << 18 };

/* A seed of the fuzzer of files, with layers of both kinds, made at the first call and kept. */
static const slm_model *model(slm_model_info *info) {
    static uint8_t bytes[1 << 16];
    static slm_model *m;
    if (!m) {
        FILE *f = fopen("tests/fuzz/corpus/load/seed_windows", "rb");
        require(f);
        size_t n = fread(bytes, 1, sizeof bytes, f);
        fclose(f);
        require(slm_model_open_memory(fuzz_copy(bytes, n), n, NULL, &m, NULL) == SLM_OK);
    }
    info->size = sizeof *info;
    require(slm_model_get_info(m, info) == SLM_OK);
    return m;
}

typedef struct program {
    const uint8_t *data;
    size_t n;
    slm_context *ctx;
    int32_t n_vocab;
    slm_token tokens[SEQS][N_CTX];
    int32_t length[SEQS];
} program;

static uint32_t next(program *p, uint32_t below) {
    if (p->n == 0) return 0;
    uint32_t v = *p->data++;
    p->n--;
    if (below > 256 && p->n > 0) {
        v = v << 8 | *p->data++;
        p->n--;
    }
    return below ? v % below : v;
}

static void add(program *p, int32_t seq) {
    int32_t n = 1 + (int32_t)next(p, 40), sequences[40];
    slm_token tokens[40];
    slm_error err;
    for (int32_t i = 0; i < n; i++) {
        tokens[i] = (slm_token)next(p, (uint32_t)p->n_vocab);
        sequences[i] = seq;
    }
    slm_batch b = {.size = sizeof b, .n_tokens = n, .tokens = tokens, .sequences = sequences};
    slm_status s = slm_decode(p->ctx, &b, &err);
    fuzz_error(s, &err);
    require(s == SLM_OK || s == SLM_ERR_CONTEXT_FULL || s == SLM_ERR_NUMERIC);
    if (s == SLM_ERR_CONTEXT_FULL) return;
    require(p->length[seq] + n <= N_CTX);
    memcpy(p->tokens[seq] + p->length[seq], tokens, (size_t)n * sizeof *tokens);
    p->length[seq] += n;
}

static void cut(program *p, int32_t seq) {
    int32_t length = (int32_t)next(p, N_CTX + 2) - 1;
    slm_error err;
    slm_status s = slm_seq_truncate(p->ctx, seq, length, &err);
    fuzz_error(s, &err);
    require(s == SLM_OK || s == SLM_ERR_RANGE);
    require(s == SLM_OK ? length >= 0 && length <= p->length[seq] : length != 0);
    if (s == SLM_OK) p->length[seq] = length;
}

static void take_out(program *p, int32_t seq) {
    int32_t begin = (int32_t)next(p, N_CTX + 2) - 1, end = begin + (int32_t)next(p, N_CTX) - 1;
    slm_error err;
    slm_status s = slm_seq_remove(p->ctx, seq, begin, end, &err);
    fuzz_error(s, &err);
    require(s == SLM_OK || s == SLM_ERR_RANGE || s == SLM_ERR_CONTEXT_FULL);
    if (s != SLM_OK) return;
    require(0 <= begin && begin <= end && end <= p->length[seq]);
    slm_token *t = p->tokens[seq];
    memmove(t + begin, t + end, (size_t)(p->length[seq] - end) * sizeof *t);
    p->length[seq] -= end - begin;
}

static void share(program *p, int32_t from) {
    int32_t to = (int32_t)next(p, SEQS + 1), length = (int32_t)next(p, N_CTX + 1);
    slm_error err;
    slm_status s = slm_seq_fork(p->ctx, from, to, length, &err);
    fuzz_error(s, &err);
    require(s == SLM_OK || s == SLM_ERR_RANGE);
    if (s != SLM_OK) return;
    require(to < SEQS && to != from && p->length[to] == 0 && length <= p->length[from]);
    memcpy(p->tokens[to], p->tokens[from], sizeof p->tokens[to]);
    p->length[to] = length;
}

static void save_and_restore(program *p, int32_t from) {
    static uint8_t state[MAX_STATE];
    int32_t to = (int32_t)next(p, SEQS);
    bool changed = false, empty = p->length[to] == 0;
    size_t n = 0;
    slm_error err;
    require(slm_seq_save(p->ctx, from, state, sizeof state, &n, &err) == SLM_OK);
    for (uint32_t i = next(p, 4); i > 0; i--) {
        size_t at = next(p, 65536) % n;
        uint8_t by = (uint8_t)next(p, 0);
        state[at] ^= by;
        changed |= by != 0;
    }
    size_t less = next(p, 8) == 0 ? 1 + next(p, 65536) % n : 0;
    slm_status s = slm_seq_restore(p->ctx, to, state, n - less, &err);
    fuzz_error(s, &err);
    if (s != SLM_OK) {
        require(!empty || changed || less || s == SLM_ERR_CONTEXT_FULL);
        return;
    }
    require(empty && !less);
    p->length[to] = slm_seq_length(p->ctx, to); /* two changes may undo each other */
    require(p->length[to] == p->length[from]);
    memcpy(p->tokens[to], p->tokens[from], sizeof p->tokens[to]);
}

static void check(const program *p) {
    for (int32_t s = 0; s < SEQS; s++) {
        slm_token held[N_CTX];
        size_t n;
        require(slm_seq_tokens(p->ctx, s, held, N_CTX, &n, NULL) == SLM_OK);
        require((int32_t)n == p->length[s] && (int32_t)n == slm_seq_length(p->ctx, s));
        require(n == 0 || memcmp(held, p->tokens[s], n * sizeof *held) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static void (*const steps[])(program *, int32_t) = {add,      add,   cut,
                                                        take_out, share, save_and_restore};
    fuzz_memory memory = {.left = 64 << 20, .calls_left = UINT32_MAX};
    program p = {.data = data, .n = n};
    slm_model_info info;
    slm_context_params params = slm_context_defaults();
    const slm_model *m = model(&info);
    uint32_t choice = next(&p, 0);
    p.n_vocab = info.n_vocab;
    params.allocator = fuzz_allocator(&memory);
    params.n_ctx = N_CTX;
    params.n_seq_max = SEQS;
    params.n_batch = 1 + (int32_t)(choice & 15);
    params.n_threads = 1;
    params.kv_type = (slm_kv_type)((choice >> 4) % 3);
    params.keep_all = choice >> 6 & 1;
    require(slm_context_create(m, &params, &p.ctx, NULL) == SLM_OK);
    for (int i = 0; i < MAX_STEPS && p.n > 0; i++) {
        uint32_t step = next(&p, 6);
        steps[step](&p, (int32_t)next(&p, SEQS));
        check(&p);
    }
    slm_context_free(p.ctx);
    require(memory.n_live == 0);
    return 0;
}
