/* SentencePiece: any bytes become tokens, and these are the bytes. The first byte chooses the space in front and the flags. */
#include "fuzz_vocab.h"

static const char *const pieces[] = {
    "a",        "b",  "c",   "aa", "aaa",      "ab",           "ba",
    "abc",      "th", "the", "SP", "SPa",      "SPthe",        "SPSP",
    "SPSPSPSP", "t",  "h",   "e",  "\303\251", "\344\275\240", "\360\237\230\200",
    "<s",       "s>"};
enum {
    N_PIECES = sizeof pieces / sizeof *pieces,
    FIRST_BYTE = 4,
    FIRST_PIECE = FIRST_BYTE + 256,
    N_TOKENS = FIRST_PIECE + N_PIECES
};

static fuzz_memory memory;

/* "SP" is U+2581. */
static void put_piece(fv_file *f, const char *piece) {
    char text[64];
    size_t n = 0;
    for (; *piece; piece++) {
        if (piece[0] == 'S' && piece[1] == 'P') {
            memcpy(text + n, "\342\226\201", 3);
            n += 3;
            piece++;
        } else {
            text[n++] = *piece;
        }
    }
    fv_u64(f, n);
    fv_put(f, text, n);
}

static void put_array(fv_file *f, const char *key, uint32_t type) {
    fv_string(f, key);
    fv_u32(f, 9);
    fv_u32(f, type);
    fv_u64(f, N_TOKENS);
}

static void put_vocabulary(fv_file *f) {
    static const char *const special[FIRST_BYTE] = {"<unk>", "<s>", "</s>", "\1\2"};
    put_array(f, "tokenizer.ggml.tokens", 8);
    for (int i = 0; i < FIRST_BYTE; i++) fv_string(f, special[i]);
    for (int i = 0; i < 256; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)i);
        fv_string(f, name);
    }
    for (int i = 0; i < N_PIECES; i++) put_piece(f, pieces[i]);
    put_array(f, "tokenizer.ggml.token_type", 5);
    for (int i = 0; i < N_TOKENS; i++)
        fv_u32(f, i == 0 ? 2 : i < 3 ? 3 : i == 3 ? 4 : i < FIRST_PIECE ? 6 : 1);
    put_array(f, "tokenizer.ggml.scores", 6);
    for (int i = 0; i < N_TOKENS; i++) {
        float score = (float)-(i * 7 % 11); /* some are equal */
        fv_put(f, &score, sizeof score);
    }
}

static const slm_model *model(bool prefix) {
    static slm_model *models[2];
    static fv_file files[2];
    if (models[prefix]) return models[prefix];
    fv_file *f = &files[prefix];
    fv_put(f, "GGUF", 4);
    fv_u32(f, 3);
    fv_u64(f, 0);
    fv_u64(f, 6);
    fv_string(f, "general.architecture");
    fv_u32(f, 8);
    fv_string(f, "llama");
    fv_string(f, "tokenizer.ggml.model");
    fv_u32(f, 8);
    fv_string(f, "llama");
    fv_string(f, "tokenizer.ggml.add_space_prefix");
    fv_u32(f, 7);
    fv_put(f, prefix ? "\1" : "\0", 1);
    put_vocabulary(f);
    slm_model_params p = slm_model_defaults();
    p.vocab_only = true;
    p.allocator = fuzz_allocator(&memory);
    require(slm_model_open_memory(fuzz_copy(f->bytes, f->n), f->n, &p, &models[prefix], NULL) ==
            SLM_OK);
    return models[prefix];
}

/* With spaces for U+2581, in place. */
static size_t with_spaces(char *text, size_t n) {
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        bool spaced = n - i >= 3 && memcmp(text + i, "\342\226\201", 3) == 0;
        text[used++] = spaced ? ' ' : text[i];
        if (spaced) i += 2;
    }
    return used;
}

/* All that the tokens stand for. */
static size_t spell(const slm_model *m, const slm_token *tokens, size_t n, char *out) {
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        const char *text;
        size_t n_text;
        uint32_t attributes;
        require(slm_token_get(m, tokens[i], &text, &n_text, &attributes) == SLM_OK);
        require(!(attributes & (SLM_TOKEN_CONTROL | SLM_TOKEN_UNKNOWN)));
        memcpy(out + used, text, n_text);
        used += n_text;
    }
    return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0) return 0;
    if (memory.left == 0) memory = (fuzz_memory){.left = SIZE_MAX / 2, .calls_left = UINT32_MAX};
    bool prefix = data[0] & 1;
    uint32_t flags = data[0] & 4 ? SLM_TOKENIZE_SPECIAL : 0;
    const slm_model *m = model(prefix);
    n--;
    size_t capacity = 3 * n + 3, n_tokens = 0, again = 0;
    char *text = malloc(n + 1), *spelt = malloc(2 * capacity);
    slm_token *tokens = malloc(2 * capacity * sizeof *tokens);
    slm_error err;
    require(text && spelt && tokens);
    memcpy(text, data + 1, n);
    slm_status s = slm_tokenize(m, text, n, flags, tokens, capacity, &n_tokens, &err);
    fuzz_error(s, &err);
    require(s == SLM_OK && (n_tokens > 0) == (n > 0));
    memory.calls_left = fuzz_choice(data, n) % 8;
    uint32_t live = memory.n_live;
    s = slm_tokenize(m, text, n, flags, tokens + n_tokens, capacity, &again, &err);
    memory.calls_left = UINT32_MAX;
    fuzz_error(s, &err);
    require(memory.n_live == live && (s == SLM_OK || s == SLM_ERR_NOMEM));
    if (s == SLM_OK)
        require(again == n_tokens &&
                memcmp(tokens, tokens + n_tokens, n_tokens * sizeof *tokens) == 0);
    if (!flags && !memchr(text, 1, n)) { /* or a space may come behind "\1\2" */
        size_t n_spelt = with_spaces(spelt, spell(m, tokens, n_tokens, spelt));
        size_t lead = prefix && n > 0;
        require(!lead || spelt[0] == ' ');
        n = with_spaces(text, n);
        require(n_spelt == n + lead && memcmp(spelt + lead, text, n) == 0);
    }
    free(text);
    free(spelt);
    free(tokens);
    return 0;
}
