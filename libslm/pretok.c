/*
 * What published tokenizers write as regular expressions, as hand-written scanners: time linear in the text, no stack
 * that grows with it. Two families:
 *
 *   GPT-2 (Radford et al. 2019):
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *     SmolLM, StarCoder and others first set every \p{N} apart, then split what is between them.
 *   Llama 3, and Qwen 2 with one number instead of three:
 *     (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 *     (?i:) means ASCII letters: reference tokenizers for GGUF files do not take U+017F for an s.
 *
 * \s+(?!\S) is all but the last of the spaces before a word, since the last one belongs to the word.
 */
#include "pretok.h"

#include <stdio.h>

/* Class of the code point at `at`, *len its bytes; CLASS_END (0 bytes) behind the text. */
static slm__class peek(const uint8_t *text, size_t n, size_t at, size_t *len) {
    if (at >= n) {
        *len = 0;
        return CLASS_END;
    }
    if (text[at] < 0x80) {
        *len = 1;
        return (slm__class)slm__ascii_classes[text[at]];
    }
    return slm__class_of(slm__utf8_read(text + at, n - at, len));
}

/* The end of the code points of one class that begin at `at`. */
static size_t run(const uint8_t *text, size_t n, size_t at, slm__class c) {
    for (;;) {
        while (at < n && text[at] < 0x80 && slm__ascii_classes[text[at]] == c) at++;
        size_t len;
        if (at >= n || text[at] < 0x80 || peek(text, n, at, &len) != c) return at;
        at += len;
    }
}

/* Bytes of 's 't 're 've 'm 'll 'd at `at`; 0 if there is none. */
static size_t contraction(const uint8_t *text, size_t n, size_t at, bool any_case) {
    if (text[at] != '\'' || n - at < 2) return 0;
    uint8_t fold =
        any_case ? 0x20 : 0; /* only letters give letters; the three below are compared after it */
    uint8_t a = text[at + 1] | fold, b = n - at > 2 ? text[at + 2] | fold : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
    return 0;
}

/* The spaces at `at` (there is one): all, or all but the last if more text follows them. */
static size_t spaces(const uint8_t *text, size_t n, size_t at, bool apart) {
    size_t end = at, last = at, len;
    slm__class c;
    while ((c = peek(text, n, end, &len)) == CLASS_SPACE || c == CLASS_NEWLINE) {
        last = end;
        end += len;
    }
    if (c == CLASS_NUMBER && apart) c = CLASS_END; /* a number set apart ends the text before it */
    return c == CLASS_END || last == at ? end : last;
}

static size_t next_gpt2(const slm__pretok *row, const uint8_t *text, size_t n, size_t at) {
    bool apart = row->max_digits == 1;
    size_t len;
    slm__class c = peek(text, n, at, &len);
    if (c == CLASS_NUMBER && apart) return at + len;
    size_t end = contraction(text, n, at, false);
    if (end > 0) return at + end;
    size_t begin = text[at] == ' ' ? at + 1 : at;
    if (begin > at) c = peek(text, n, begin, &len);
    if (c == CLASS_NUMBER && apart) return begin; /* the space alone */
    if (c == CLASS_LETTER || c == CLASS_NUMBER || c == CLASS_OTHER) return run(text, n, begin, c);
    return spaces(text, n, at, apart);
}

/* The end of up to row->max_digits numbers. */
static size_t numbers(const slm__pretok *row, const uint8_t *text, size_t n, size_t at) {
    size_t len;
    for (int i = 0; i < row->max_digits && peek(text, n, at, &len) == CLASS_NUMBER; i++) at += len;
    return at;
}

/* The end of the last newline among the spaces at `at`; 0 if there is none. */
static size_t last_newline(const uint8_t *text, size_t n, size_t at) {
    size_t end = 0, len;
    slm__class c;
    for (; (c = peek(text, n, at, &len)) == CLASS_SPACE || c == CLASS_NEWLINE; at += len) {
        if (c == CLASS_NEWLINE) end = at + len;
    }
    return end;
}

static size_t next_llama3(const slm__pretok *row, const uint8_t *text, size_t n, size_t at) {
    size_t len, next_len;
    slm__class c = peek(text, n, at, &len);
    if (c == CLASS_LETTER) return run(text, n, at + len, CLASS_LETTER);
    if (c == CLASS_NUMBER) return numbers(row, text, n, at);
    size_t end = contraction(text, n, at, true);
    if (end > 0) return at + end;
    slm__class next = peek(text, n, at + len, &next_len);
    if (c != CLASS_NEWLINE && next == CLASS_LETTER) return run(text, n, at + len, CLASS_LETTER);
    if (c == CLASS_OTHER || (text[at] == ' ' && next == CLASS_OTHER)) {
        end = run(text, n, at + len, CLASS_OTHER);
        return run(text, n, end, CLASS_NEWLINE);
    }
    end = last_newline(text, n, at);
    return end > 0 ? end : spaces(text, n, at, false);
}

/* Names as files have them; rows of a family split alike and are here because their files say another name. */
static const slm__pretok rows[] = {
    {"gpt-2", next_gpt2, 0, false, false},       {"phi-2", next_gpt2, 0, false, false},
    {"olmo", next_gpt2, 0, false, false},        {"mpt", next_gpt2, 0, false, false},
    {"jais", next_gpt2, 0, false, false},        {"trillion", next_gpt2, 0, false, false},
    {"exaone4", next_gpt2, 0, false, false},     {"mellum", next_gpt2, 0, false, false},
    {"smollm", next_gpt2, 1, false, false},      {"starcoder", next_gpt2, 1, false, false},
    {"refact", next_gpt2, 1, false, false},      {"command-r", next_gpt2, 1, false, false},
    {"codeshell", next_gpt2, 1, false, false},   {"exaone", next_gpt2, 1, false, false},
    {"minerva-7b", next_gpt2, 1, false, false},  {"llama-bpe", next_llama3, 3, true, true},
    {"llama3", next_llama3, 3, true, true},      {"llama-v3", next_llama3, 3, true, true},
    {"falcon3", next_llama3, 3, true, true},     {"lfm2", next_llama3, 3, true, true},
    {"smaug-bpe", next_llama3, 3, false, false}, {"dbrx", next_llama3, 3, false, false},
    {"qwen2", next_llama3, 1, false, false},     {"deepseek-r1-qwen", next_llama3, 1, false, false},
    {"megrez", next_llama3, 1, false, false},    {"stablelm2", next_llama3, 1, false, false},
    {"hunyuan", next_llama3, 1, false, false},
};

const slm__pretok *slm__pretok_find(slm__str name) {
    for (size_t i = 0; i < SLM_COUNT(rows); i++) {
        if (slm__str_eq(name, rows[i].name)) return &rows[i];
    }
    return NULL;
}

void slm__pretok_names(char *out, size_t capacity) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < SLM_COUNT(rows) && used < capacity; i++) {
        int n = snprintf(out + used, capacity - used, "%s%s", i ? ", " : "", rows[i].name);
        used += (size_t)(n > 0 ? n : 0);
    }
}
