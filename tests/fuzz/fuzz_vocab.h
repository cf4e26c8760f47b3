/* A small vocabulary for the fuzzers of text: all bytes, some merges, special tokens that overlap. */
#ifndef TESTS_FUZZ_VOCAB_H
#define TESTS_FUZZ_VOCAB_H

#include "fuzz.h"

enum {
    FV_BYTES = 256,
    FV_MARK = 256
}; /* tokens 0 to 255 are the bytes; FV_MARK is the text "\1\2" */

typedef struct fv_file {
    uint8_t bytes[1 << 16];
    size_t n;
} fv_file;

static inline void fv_put(fv_file *f, const void *data, size_t n) {
    require(f->n + n <= sizeof f->bytes);
    memcpy(f->bytes + f->n, data, n);
    f->n += n;
}

static inline void fv_u32(fv_file *f, uint32_t v) { fv_put(f, &v, 4); }
static inline void fv_u64(fv_file *f, uint64_t v) { fv_put(f, &v, 8); }

static inline void fv_string(fv_file *f, const char *s) {
    fv_u64(f, strlen(s));
    fv_put(f, s, strlen(s));
}

/* A byte as GPT-2 writes it. */
static inline void fv_map(char *out, uint8_t byte) {
    uint32_t code = byte;
    if (byte <= 0x20) code = 0x100u + byte;
    if (byte >= 0x7f && byte <= 0xa0) code = 0x121u + (byte - 0x7fu);
    if (byte == 0xad) code = 0x143;
    if (code < 0x80)
        sprintf(out, "%c", (int)code);
    else
        sprintf(out, "%c%c", (int)(0xc0 | code >> 6), (int)(0x80 | (code & 0x3f)));
}

/* "left right": each merge makes the token behind the last one. Mapped text; "\304\240" is a space. */
static const char *const fv_merges[] = {
    "a a",
    "aa aa",
    "aaaa aaaa",
    "a b",
    "b a",
    "ab ab",
    "ba b",
    "t h",
    "th e",
    "\304\240 t",
    "\304\240 the",
    "\304\240t h",
    "\304\240 \304\240",
    "\304\240\304\240 \304\240\304\240",
    "\304\212 \304\212",
    "1 2",
    "12 3",
    "' s",
    "- -",
    "-- --",
    "\303\203 \302\251",
    "\303\242 \304\244",
    "\303\242\304\244 \302\254",
    "i n",
};

/* text, tokenizer.ggml.token_type: 3 control, 4 user-defined */
static const struct {
    const char *text;
    int32_t type;
} fv_special[] = {
    {"<|a|>", 3}, {"<|ab|>", 3}, {"|>", 4},       {"<|", 3},   {"aba", 4},          {"bab", 3},
    {"ababa", 3}, {"  ", 4},     {"\303\251", 4}, {"\251", 3}, {"aaaaaaaaaaaa", 4}, {"<unk>", 2},
};

#define FV_COUNT(a) (sizeof(a) / sizeof(*(a)))
#define FV_N        (FV_BYTES + 1 + (int)FV_COUNT(fv_merges) + (int)FV_COUNT(fv_special))

static inline void fv_token(int t, char *out, int32_t *type) {
    *type = 1;
    int merge = t - FV_BYTES - 1, special = merge - (int)FV_COUNT(fv_merges);
    if (t < FV_BYTES) {
        fv_map(out, (uint8_t)t);
    } else if (t == FV_MARK) {
        strcpy(out, "\1\2");
        *type = 4;
    } else if (special < 0) {
        const char *gap = strchr(fv_merges[merge], ' ');
        sprintf(out, "%.*s%s", (int)(gap - fv_merges[merge]), fv_merges[merge], gap + 1);
    } else {
        strcpy(out, fv_special[special].text);
        *type = fv_special[special].type;
    }
}

static inline void fv_build(fv_file *f, const char *pre) {
    char text[64];
    int32_t type;
    fv_put(f, "GGUF", 4);
    fv_u32(f, 3);
    fv_u64(f, 0);
    fv_u64(f, 5);
    fv_string(f, "tokenizer.ggml.model");
    fv_u32(f, 8);
    fv_string(f, "gpt2");
    fv_string(f, "tokenizer.ggml.pre");
    fv_u32(f, 8);
    fv_string(f, pre);
    fv_string(f, "tokenizer.ggml.tokens");
    fv_u32(f, 9);
    fv_u32(f, 8);
    fv_u64(f, (uint64_t)FV_N);
    for (int t = 0; t < FV_N; t++) {
        fv_token(t, text, &type);
        fv_string(f, text);
    }
    fv_string(f, "tokenizer.ggml.token_type");
    fv_u32(f, 9);
    fv_u32(f, 5);
    fv_u64(f, (uint64_t)FV_N);
    for (int t = 0; t < FV_N; t++) {
        fv_token(t, text, &type);
        fv_put(f, &type, 4);
    }
    fv_string(f, "tokenizer.ggml.merges");
    fv_u32(f, 9);
    fv_u32(f, 8);
    fv_u64(f, FV_COUNT(fv_merges));
    for (size_t i = 0; i < FV_COUNT(fv_merges); i++) fv_string(f, fv_merges[i]);
}

/* A model of one of four pre-tokenizers, made at the first call and kept. */
static inline const slm_model *fv_model(uint32_t which, const slm_allocator *allocator) {
    static const char *const pres[4] = {"gpt-2", "smollm", "llama-bpe", "qwen2"};
    static slm_model *models[4];
    which %= 4;
    if (!models[which]) {
        static fv_file f;
        f.n = 0;
        fv_build(&f, pres[which]);
        slm_model_params p = slm_model_defaults();
        p.vocab_only = true;
        if (allocator) p.allocator = *allocator;
        slm_error err;
        void *copy = fuzz_copy(f.bytes, f.n);
        slm_status s = slm_model_open_memory(copy, f.n, &p, &models[which], &err);
        if (s != SLM_OK) fprintf(stderr, "%s\n", err.message);
        require(s == SLM_OK);
    }
    return models[which];
}

/* Well-formed by Unicode's table 3-7? */
static inline int fv_is_utf8(const char *text, size_t n) {
    const uint8_t *p = (const uint8_t *)text;
    for (size_t i = 0; i < n;) {
        uint32_t cp = p[i], more = cp < 0x80 ? 0 : cp < 0xe0 ? 1 : cp < 0xf0 ? 2 : 3;
        if (cp >= 0x80 && (cp < 0xc0 || cp > 0xf7)) return 0;
        if (more >= n - i) return 0;
        if (more) cp &= 0x3fu >> more;
        for (uint32_t k = 1; k <= more; k++) {
            if ((p[i + k] & 0xc0) != 0x80) return 0;
            cp = cp << 6 | (p[i + k] & 0x3f);
        }
        static const uint32_t least[4] = {0, 0x80, 0x800, 0x10000};
        if (cp < least[more] || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000)) return 0;
        i += more + 1;
    }
    return 1;
}

#endif
