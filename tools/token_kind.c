#include "token_kind.h"

#include "text.h"

const char *const token_kind_names[N_KINDS] = {"word, begin", "word, inside", "number",
                                               "punctuation", "white space",  "other"};

static bool is_space(unsigned char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Beyond ASCII all but what is in blocks without letters (Unicode 15, Blocks.txt): signs of Latin-1, general punctuation to arrows and dingbats,
 * supplemental and CJK punctuation, pictures. */
static bool is_letter(uint32_t c) {
    if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (c < 0xc0) return c == 0xaa || c == 0xb5 || c == 0xba;
    return c != 0xd7 && c != 0xf7 && !(c >= 0x2000 && c <= 0x2bff) &&
           !(c >= 0x2e00 && c <= 0x2e7f) && !(c >= 0x3000 && c <= 0x303f) &&
           !(c >= 0x1f000 && c <= 0x1ffff);
}

token_kind text_kind(const char *text, size_t n) {
    size_t at = 0;
    uint32_t c;
    while (at < n && is_space((unsigned char)text[at])) at++;
    if (at == n) return n > 0 ? KIND_WHITE_SPACE : KIND_OTHER;
    if (utf8_decode(text + at, n - at, &c) == 0 || c < ' ' || (c >= 0x7f && c < 0xa0))
        return KIND_OTHER;
    if (c >= '0' && c <= '9') return KIND_NUMBER;
    if (!is_letter(c)) return KIND_PUNCTUATION;
    return at > 0 ? KIND_WORD_BEGIN : KIND_WORD_INSIDE;
}

token_kind kind_of_token(const slm_model *model, slm_token token) {
    const char *text;
    size_t n;
    uint32_t attributes;
    if (slm_token_get(model, token, &text, &n, &attributes) != SLM_OK ||
        (attributes & (SLM_TOKEN_CONTROL | SLM_TOKEN_UNKNOWN | SLM_TOKEN_UNUSED)))
        return KIND_OTHER;
    return text_kind(text, n);
}
