/* Code points: UTF-8, and the classes that the splitters of text ask for. */
#ifndef SLM_UNICODE_H
#define SLM_UNICODE_H

#include "base.h"

/* What regular expressions of tokenizers tell apart: \s (White_Space, whatever its category), and general categories. */
typedef enum slm__class {
    CLASS_OTHER,
    CLASS_SPACE,
    CLASS_NUMBER,
    CLASS_PUNCTUATION,
    CLASS_SYMBOL,
    CLASS_MARK,
    CLASS_UPPER, /* Lu, Lt */
    CLASS_LOWER, /* Ll */
    CLASS_LETTER /* Lm, Lo: of no case */
} slm__class;
enum { SLM__N_CLASSES = CLASS_LETTER + 1 };

/* Two-stage tables (unicode_tab.c); all code points from SLM__CLASS_END on are CLASS_OTHER. */
#define SLM__CLASS_END 0xe0200
extern const uint8_t slm__class_index[SLM__CLASS_END / 128];
extern const uint8_t slm__class_blocks[][64];

static inline slm__class slm__class_of(uint32_t cp) {
    if (cp >= SLM__CLASS_END) return CLASS_OTHER;
    uint8_t two = slm__class_blocks[slm__class_index[cp >> 7]][(cp & 127) >> 1];
    return (slm__class)(two >> 4 * (cp & 1) & 15);
}

/*
 * The code point at the start of `p`, *len its bytes (1 to 4), n > 0.
 *
 * Read as the reference tokenizer of GGUF files reads it: the lead byte alone says the length, so overlong forms and
 * surrogates are code points like others; a byte that begins nothing whole is U+FFFD by itself. Beyond 10FFFF there
 * is no reference: such bytes are each U+FFFD here.
 */
uint32_t slm__utf8_read(const uint8_t *p, size_t n, size_t *len);

/* Bytes of a character by its first one alone. */
static inline size_t slm__utf8_length(uint8_t first) {
    return first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

/* The value of a hexadecimal digit; -1: it is none. */
static inline int slm__hex_digit(int c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Bytes stored in `out` (1 to 4); cp <= 10FFFF. */
size_t slm__utf8_write(uint32_t cp, uint8_t out[4]);

/* Bytes at the start of `p` that slm__utf8_read() and slm__utf8_write() give back as they are. */
size_t slm__utf8_clean(const uint8_t *p, size_t n);

/* The same text as slm__utf8_read() understands it. `out` has room for 3 * n bytes; returns how many it took. */
size_t slm__utf8_normalize(const uint8_t *p, size_t n, uint8_t *out);

/* Length of the well-formed code point (Unicode, table 3-7) at the start of `p`; 0 if none begins there; -1 if
 * the bytes end before one that may still become whole. */
int slm__utf8_strict(const uint8_t *p, size_t n);

#endif
