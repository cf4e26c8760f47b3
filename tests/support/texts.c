#include "texts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (int)(sizeof(array) / sizeof *(array))

static const char *const words[] = {
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "that",
    "it",
    "with",
    "from",
    "which",
    "their",
    "would",
    "people",
    "Hello",
    "World",
    "I'm",
    "don't",
    "We'LL",
    "they're",
    "IT'S",
    "'tis",
    "rock'n'roll",
    "you've",
    "I'd",
    "he'd",
    "O'Neil",
    "naïve",
    "café",
    "Straße",
    "über",
    "façade",
    "Ἀθῆναι",
    "ΑΒΓαβγ",
    "Привет",
    "МИР",
    "мир",
    "שלום",
    "مرحبا",
    "नमस्ते",
    "สวัสดี",
    "안녕하세요",
    "こんにちは",
    "カタカナ",
    "你好",
    "世界",
    "今天天气很好",
    "ǅ",
    "ǅungla",
    "ﬁne",
    "ÀÉÎaé",
    "HTTP",
    "README",
    "snake_case",
    "camelCase",
    "PascalCase",
    "XMLHttpRequest",
    "x86_64",
    "e.g.",
    "U.S.A.",
    "3.14159",
    "1,000,000",
    "0xDEADBEEF",
    "2024-01-31",
    "10:30:59",
    "１２３",
    "٣٤٥",
    "Ⅷ",
    "½",
    "²",
    "A",
    "a",
    "I",
};
static const char *const codes[] = {
    "int main(void) { return 0; }",
    "for (i = 0; i < n; ++i) a[i] += b[i] * 3.0f;",
    "def f(x, *args, **kw):\n    return x  # !\n",
    "#include <stdio.h>\n\n\tif (x != NULL && !y) {\n\t\tfree(x);\n\t}",
    "<div class=\"a\">&nbsp;</div>",
    "SELECT * FROM t WHERE a='b';",
    "{\"key\": [1, 2.5e-3, null]}",
    "$ ls -la | grep '^d' > /dev/null 2>&1",
    "\\frac{a}{b} \\sum_{i=1}^{n}",
    "https://example.org/?q=a%20b#c",
    "<s>",
    "</s>",
    "<unk>",
    "<0x0A>",
    "<pad>",
    "IMGIMGABCZ",
    "<sentinel:12>",
    "//!",
    "/*",
    "\r\n/",
    "=\n",
    "\xe2\x96\x81",
    "\xe2\x96\x81\xe2\x96\x81the",
};
static const char *const spaces[] = {
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\r\n",
    "\r",
    "\v",
    "\f",
    " \n",
    "\n\n",
    "\n ",
    "\xc2\x85",
    "\xc2\xa0",
    "\xe1\x9a\x80",
    "\xe2\x80\x83",
    "\xe2\x80\xa8",
    "\xe2\x80\xaf",
    "\xe3\x80\x80",
    "\xe2\x80\x8b",
    "\x1c",
};
static const char *const emoji[] = {
    "\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "\U0001f3f3\ufe0f\u200d\U0001f308",
    "\U0001f44d\U0001f3fd",
    "\U0001f1e9\U0001f1ea",
    "\u2764\ufe0f",
    "\U0001f600",
    "1\ufe0f\u20e3",
    "e\u0301",
    "\u0301",
    "a\u0300\u0316",
    "\u0915\u093f",
};
static const char *const tails[] = {
    "'s", "'S",      "'t",      "'re", "'RE", "'vE", "'m",  "'ll", "'lL",
    "'d", "\u2019s", "'\u017f", "''",  "'",   "'l",  "'r ", "'K",  "'0",
};
static const struct {
    uint32_t low, high;
} ranges[] = {
    {0x20, 0x7e},       {0xa0, 0x24f},      {0x300, 0x36f},     {0x370, 0x3ff},
    {0x400, 0x52f},     {0x5d0, 0x5ea},     {0x600, 0x6ff},     {0x900, 0x97f},
    {0xe00, 0xe7f},     {0x10a0, 0x10ff},   {0x1100, 0x11ff},   {0x1f00, 0x1fff},
    {0x2000, 0x206f},   {0x2070, 0x218f},   {0x2200, 0x22ff},   {0x2460, 0x24ff},
    {0x3000, 0x30ff},   {0x3100, 0x318f},   {0x4e00, 0x9fff},   {0xac00, 0xd7a3},
    {0xfe00, 0xfe6f},   {0xff00, 0xffef},   {0x10000, 0x104ff}, {0x1d400, 0x1d7ff},
    {0x1f300, 0x1faff}, {0x20000, 0x2fa1f}, {0, 0x10ffff},
};

/* SplitMix64 (Steele et al. 2014). */
static uint64_t next(texts *t) {
    uint64_t z = t->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint32_t below(texts *t, uint32_t n) { return (uint32_t)((next(t) >> 32) * n >> 32); }

bool tx_make(texts *t, const slm_model *model, uint64_t seed) {
    *t = (texts){.state = seed, .model = model};
    while (slm_token_get(model, t->n_tokens, NULL, NULL, NULL) == SLM_OK) t->n_tokens++;
    t->special = malloc((size_t)t->n_tokens * sizeof *t->special);
    if (!t->special) return false;
    for (slm_token k = 0; k < t->n_tokens; k++) {
        const char *text;
        size_t n;
        uint32_t attributes;
        if (slm_token_get(model, k, &text, &n, &attributes) != SLM_OK) continue;
        if (attributes & (SLM_TOKEN_CONTROL | SLM_TOKEN_USER | SLM_TOKEN_UNKNOWN))
            t->special[t->n_special++] = k;
    }
    return true;
}

void tx_free(texts *t) { free(t->special); }

static void add(texts *t, const void *bytes, size_t n) {
    if (n > TX_MAX_BYTES - t->n) n = TX_MAX_BYTES - t->n;
    memcpy(t->text + t->n, bytes, n);
    t->n += n;
}

static void add_one_of(texts *t, const char *const *list, int n) {
    const char *s = list[below(t, (uint32_t)n)];
    add(t, s, strlen(s));
}

static void add_code_point(texts *t, uint32_t cp) {
    uint8_t b[4];
    if (cp >= 0xd800 && cp < 0xe000) cp = 0xfffd;
    if (cp < 0x80) {
        b[0] = (uint8_t)cp;
        add(t, b, 1);
    } else if (cp < 0x800) {
        b[0] = (uint8_t)(0xc0 | cp >> 6);
        b[1] = (uint8_t)(0x80 | (cp & 0x3f));
        add(t, b, 2);
    } else if (cp < 0x10000) {
        b[0] = (uint8_t)(0xe0 | cp >> 12);
        b[1] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
        b[2] = (uint8_t)(0x80 | (cp & 0x3f));
        add(t, b, 3);
    } else {
        b[0] = (uint8_t)(0xf0 | cp >> 18);
        b[1] = (uint8_t)(0x80 | (cp >> 12 & 0x3f));
        b[2] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
        b[3] = (uint8_t)(0x80 | (cp & 0x3f));
        add(t, b, 4);
    }
}

/* From one range, or each from another. */
static void add_code_points(texts *t, uint32_t n) {
    uint32_t r = below(t, COUNT(ranges));
    bool same = below(t, 2);
    for (; n > 0; n--) {
        if (!same) r = below(t, COUNT(ranges));
        add_code_point(t, ranges[r].low + below(t, ranges[r].high - ranges[r].low + 1));
    }
}

static void add_token(texts *t, slm_token token) {
    const char *text;
    size_t n;
    uint32_t attributes;
    if (slm_token_get(t->model, token, &text, &n, &attributes) == SLM_OK) add(t, text, n);
}

/* A special token, or a piece of its text. */
static void add_special(texts *t) {
    if (t->n_special == 0) return;
    size_t before = t->n;
    add_token(t, t->special[below(t, (uint32_t)t->n_special)]);
    uint32_t n = (uint32_t)(t->n - before), cut = below(t, 10);
    if (n == 0 || cut < 7) return;
    uint32_t kept = below(t, n) + 1;
    if (cut < 9) memmove(t->text + before, t->text + t->n - kept, kept);
    t->n = before + kept;
}

static void add_number(texts *t) {
    for (uint32_t n = 1 + below(t, 12); n > 0; n--) {
        uint8_t digit = (uint8_t)('0' + below(t, 10));
        add(t, &digit, 1);
    }
}

static void add_signs(texts *t) {
    static const char signs[] = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ \n";
    for (uint32_t n = 1 + below(t, 8); n > 0; n--) add(t, &signs[below(t, sizeof signs - 1)], 1);
}

static void add_run(texts *t) {
    const char *s = spaces[below(t, 8)];
    static const uint8_t lengths[] = {1, 2, 3, 5, 8, 40};
    for (uint32_t n = lengths[below(t, COUNT(lengths))]; n > 0; n--) add(t, s, strlen(s));
}

static void add_words(texts *t) {
    for (uint32_t n = 1 + below(t, 6); n > 0; n--) {
        add_one_of(t, words, COUNT(words));
        if (below(t, 5)) add(t, " ", 1);
    }
}

static void add_piece(texts *t) {
    switch (below(t, 14)) {
    case 0:
    case 1: add_words(t); break;
    case 2: add_one_of(t, codes, COUNT(codes)); break;
    case 3: add_one_of(t, spaces, COUNT(spaces)); break;
    case 4: add_run(t); break;
    case 5: add_code_points(t, 1 + below(t, 8)); break;
    case 6: add_number(t); break;
    case 7:
        add_one_of(t, words, COUNT(words));
        add_one_of(t, tails, COUNT(tails));
        break;
    case 8: add_one_of(t, emoji, COUNT(emoji)); break;
    case 9: add_signs(t); break;
    case 10:
    case 11: add_special(t); break;
    default:
        for (uint32_t n = 1 + below(t, 5); n > 0; n--)
            add_token(t, (slm_token)below(t, (uint32_t)t->n_tokens));
    }
}

/* A byte more, less or other, or a part somewhere else. */
static void mutate(texts *t) {
    size_t at = below(t, (uint32_t)t->n + 1);
    uint8_t byte = (uint8_t)below(t, below(t, 4) ? 0x80 : 0x100);
    uint32_t kind = below(t, 4);
    if (kind == 0 && t->n < TX_MAX_BYTES) {
        memmove(t->text + at + 1, t->text + at, t->n - at);
        t->text[at] = byte;
        t->n++;
    } else if (kind == 1 && at < t->n) {
        memmove(t->text + at, t->text + at + 1, t->n - at - 1);
        t->n--;
    } else if (kind == 2 && at < t->n) {
        t->text[at] = byte;
    } else if (at < t->n) {
        size_t n = below(t, (uint32_t)(t->n - at)) % 20 + 1;
        uint8_t part[20];
        memcpy(part, t->text + at, n);
        add(t, part, n);
    }
}

/* No form beyond 10FFFF, and none of a space in more than one byte: its first byte becomes a letter. */
static void keep_inside(texts *t) {
    static const uint8_t overlong[3][5] = {"\xc0\xa0", "\xe0\x80\xa0", "\xf0\x80\x80\xa0"};
    for (size_t i = 0; i < t->n; i++) {
        uint8_t b = t->text[i];
        bool bad = b > 0xf4 || (b == 0xf4 && i + 1 < t->n && t->text[i + 1] > 0x8f);
        for (size_t k = 0; k < 3; k++)
            bad = bad || (t->n - i >= k + 2 && memcmp(t->text + i, overlong[k], k + 2) == 0);
        if (bad) t->text[i] = 'f';
    }
}

void tx_next(texts *t) {
    t->n = 0;
    for (uint32_t n = 1 + below(t, below(t, 4) ? 4 : 10); n > 0; n--) add_piece(t);
    if (below(t, 2))
        for (uint32_t n = 1 + below(t, 3); n > 0; n--) mutate(t);
    if (t->n > 600) t->n = 600;
    keep_inside(t);
}

bool tx_print_hashes(texts *t, int n, bool special, tx_tokenize tokenize, void *user) {
    slm_token *ids = malloc((3 * TX_MAX_BYTES + 16) * sizeof *ids);
    bool ok = ids != NULL;
    for (int i = 0; i < n && ok; i++) {
        tx_next(t);
        int32_t n_ids = tokenize(user, t->text, t->n, special, ids);
        ok = n_ids >= 0;
        uint32_t hash = 2166136261u;
        for (int32_t k = 0; k < n_ids; k++)
            for (int b = 0; b < 32; b += 8)
                hash = (hash ^ ((uint32_t)ids[k] >> b & 0xff)) * 16777619u;
        printf("%s%08x", i ? " " : "", hash);
    }
    printf("\n");
    free(ids);
    return ok;
}
