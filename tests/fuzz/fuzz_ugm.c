/* Unigram: any bytes as a charsmap open or are refused, and any text then becomes tokens of the vocabulary, the same ones again. The first
 * byte chooses the keys and flags, the second how many bytes are the map. */
#include "fuzz_vocab.h"

static const char *const pieces[] = {"a",
                                     "b",
                                     "ab",
                                     "aab",
                                     "bb",
                                     "the",
                                     "\342\226\201",
                                     "\342\226\201a",
                                     "\342\226\201the",
                                     "\1",
                                     "\2",
                                     "e",
                                     "\303\251",
                                     "\357\277\275",
                                     "\342\226\201\342\226\201",
                                     "fi",
                                     "x y"};
enum {
    N_PIECES = sizeof pieces / sizeof *pieces,
    FIRST_PIECE = 4,
    N_TOKENS = FIRST_PIECE + N_PIECES
};

static fuzz_memory memory;

static void put_key(fv_file *f, const char *key, uint32_t type, uint64_t n) {
    fv_string(f, key);
    fv_u32(f, 9);
    fv_u32(f, type);
    fv_u64(f, n);
}

static void put_flag(fv_file *f, const char *key, bool on) {
    fv_string(f, key);
    fv_u32(f, 7);
    fv_put(f, on ? "\1" : "\0", 1);
}

static void build(fv_file *f, uint8_t choice, const uint8_t *map, size_t n_map) {
    static const char *const special[FIRST_PIECE] = {"<pad>", "</s>", "<unk>", "\1\2"};
    f->n = 0;
    fv_put(f, "GGUF", 4);
    fv_u32(f, 3);
    fv_u64(f, 0);
    fv_u64(f, n_map > 0 ? 7 : 6);
    fv_string(f, "tokenizer.ggml.model");
    fv_u32(f, 8);
    fv_string(f, "t5");
    put_flag(f, "tokenizer.ggml.add_space_prefix", choice & 1);
    put_flag(f, "tokenizer.ggml.remove_extra_whitespaces", choice & 2);
    put_key(f, "tokenizer.ggml.tokens", 8, N_TOKENS);
    for (int i = 0; i < FIRST_PIECE; i++) fv_string(f, special[i]);
    for (int i = 0; i < N_PIECES; i++) fv_string(f, pieces[i]);
    put_key(f, "tokenizer.ggml.token_type", 5, N_TOKENS);
    for (int i = 0; i < N_TOKENS; i++) fv_u32(f, i < 2 ? 3 : i == 2 ? 2 : i == 3 ? 4 : 1);
    put_key(f, "tokenizer.ggml.scores", 6, N_TOKENS);
    for (int i = 0; i < N_TOKENS; i++) {
        float score = (float)-(i * 7 % 11); /* some are equal */
        fv_put(f, &score, sizeof score);
    }
    if (n_map == 0) return;
    put_key(f, "tokenizer.ggml.precompiled_charsmap", 0, n_map);
    fv_put(f, map, n_map);
}

static void tokenize_twice(const slm_model *m, const char *text, size_t n, uint32_t flags) {
    size_t capacity = 3 * n + 4096, n_tokens = 0, again = 0;
    slm_token *tokens = malloc(2 * capacity * sizeof *tokens);
    slm_error err;
    require(tokens != NULL);
    slm_status s = slm_tokenize(m, text, n, flags, tokens, capacity, &n_tokens, &err);
    fuzz_error(s, &err);
    /* a map may replace a byte by a long text */
    require(s == SLM_OK || (s == SLM_ERR_BUFFER && n_tokens > capacity));
    for (size_t i = 0; i < n_tokens && s == SLM_OK; i++)
        require(tokens[i] >= 0 && tokens[i] < N_TOKENS && (flags || tokens[i] >= 2));
    memory.calls_left = fuzz_choice((const uint8_t *)text, n) % 6;
    uint32_t live = memory.n_live;
    slm_status t = slm_tokenize(m, text, n, flags, tokens + capacity, capacity, &again, &err);
    memory.calls_left = UINT32_MAX;
    fuzz_error(t, &err);
    require(memory.n_live == live && (t == s || t == SLM_ERR_NOMEM));
    if (t == SLM_OK)
        require(again == n_tokens &&
                memcmp(tokens, tokens + capacity, again * sizeof *tokens) == 0);
    free(tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static fv_file f;
    if (n < 2) return 0;
    memory = (fuzz_memory){.left = SIZE_MAX / 2, .calls_left = UINT32_MAX};
    size_t n_map = 16u * data[1] < n - 2 ? 16u * data[1] : n - 2;
    const char *text = (const char *)data + 2 + n_map;
    build(&f, data[0], data + 2, n_map);
    slm_model_params p = slm_model_defaults();
    p.vocab_only = true;
    p.allocator = fuzz_allocator(&memory);
    slm_model *m = NULL;
    slm_error err;
    void *copy = fuzz_copy(f.bytes, f.n);
    slm_status s = slm_model_open_memory(copy, f.n, &p, &m, &err);
    fuzz_error(s, &err);
    require(s == SLM_OK || (s == SLM_ERR_FORMAT && n_map > 0));
    if (s == SLM_OK) tokenize_twice(m, text, n - 2 - n_map, data[0] & 4 ? SLM_TOKENIZE_SPECIAL : 0);
    slm_model_close(m);
    free(copy);
    require(memory.n_live == 0);
    return 0;
}
