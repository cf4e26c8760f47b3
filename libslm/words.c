#include "words.h"

#include <stdio.h>

bool slm__spaces_decode(slm__str raw, char *out, size_t *n_out) {
    const size_t n_space = sizeof SLM__SPACE - 1;
    const char *p = raw.ptr, *end = p + raw.len;
    char *to = out;
    while (p < end) {
        if (*p == ' ') return false;
        bool space = (size_t)(end - p) >= n_space && memcmp(p, SLM__SPACE, n_space) == 0;
        *to++ = space ? ' ' : *p;
        p += space ? n_space : 1;
    }
    *n_out = (size_t)(to - out);
    return true;
}

size_t slm__spaces_read(uint8_t *text, size_t n) {
    const size_t n_space = sizeof SLM__SPACE - 1;
    size_t used = 0;
    for (size_t at = 0, len; at < n; at += len) {
        uint64_t eight;
        if (n - at >= 8 && (memcpy(&eight, text + at, 8), (eight & 0x8080808080808080u) == 0)) {
            memcpy(text + used, &eight, len = 8); /* ASCII */
            used += 8;
            continue;
        }
        len = slm__utf8_length(text[at]);
        if (len > n - at) len = n - at;
        if (len == n_space && memcmp(text + at, SLM__SPACE, n_space) == 0) {
            text[used++] = ' ';
        } else if (len == 1) {
            text[used++] = text[at];
        } else {
            memmove(text + used, text + at, len);
            used += len;
        }
    }
    return used;
}

slm_token slm__byte_name_find(const slm__tokens *tokens, uint8_t byte) {
    char name[8];
    snprintf(name, sizeof name, "<0x%02X>", (unsigned)byte);
    return slm__tokens_find(tokens, name, 6);
}

void slm__seams_add(slm__seams *s, slm__str text) {
    const uint8_t *p = (const uint8_t *)text.ptr;
    for (size_t i = 1; i < text.len; i++) {
        uint32_t pair = (uint32_t)p[i - 1] << 8 | p[i];
        s->within[pair >> 5] |= 1u << (pair & 31);
    }
}

void slm__words_make(slm__words *w, size_t n, const slm_allocator *allocator) {
    if (w->entries || n < 256) return; /* not worth clearing a table for */
    uint32_t size = n < 16384 ? 256 : n < 262144 ? 2048 : 8192;
    w->entries = slm__alloc_array(allocator, size, sizeof *w->entries);
    if (w->entries) w->mask = size - 1;
}

void slm__words_free(slm__words *w, const slm_allocator *allocator) {
    slm__free(allocator, w->entries);
    w->entries = NULL;
}

slm__word *slm__words_find(const slm__words *w, const uint8_t *word, size_t n, uint64_t key[2]) {
    if (!w->entries || n > SLM__WORD_BYTES) return NULL;
    uint8_t padded[16] = {0};
    memcpy(padded, word, n);
    padded[15] = (uint8_t)n;
    memcpy(key, padded, 16);
    uint64_t h = (key[0] ^ key[1] * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
    return &w->entries[h >> 40 & w->mask];
}

void slm__words_keep(slm__word *entry, const uint64_t key[2], const slm_token *tokens, int n) {
    if (!entry || n > SLM__WORD_TOKENS) return;
    memcpy(entry->key, key, sizeof entry->key);
    for (int i = 0; i < SLM__WORD_TOKENS; i++)
        entry->tokens[i] = i < n ? tokens[i] : SLM_TOKEN_NONE;
}
