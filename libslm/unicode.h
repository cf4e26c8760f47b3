/* Code points: UTF-8, and the classes that the splitters of text ask for. */
#ifndef SLM_UNICODE_H
#define SLM_UNICODE_H

#include "base.h"

/* \p{L}, \p{N}, \s of the regular expressions of tokenizers; \r and \n are spaces that some splitters treat apart. */
typedef enum slm__class {
    CLASS_OTHER,
    CLASS_LETTER,
    CLASS_NUMBER,
    CLASS_SPACE,
    CLASS_NEWLINE,
    CLASS_END /* behind the text; no code point has it */
} slm__class;

/* Two-stage tables (unicode_tab.c); all code points from SLM__CLASS_END on are CLASS_OTHER. */
#define SLM__CLASS_END 0x32400
extern const uint8_t slm__ascii_classes[128];
extern const uint8_t slm__class_index[SLM__CLASS_END / 128];
extern const uint8_t slm__class_blocks[][32];

static inline slm__class slm__class_of(uint32_t cp) {
    if (cp < 128) return (slm__class)slm__ascii_classes[cp];
    if (cp >= SLM__CLASS_END) return CLASS_OTHER;
    uint8_t four = slm__class_blocks[slm__class_index[cp >> 7]][(cp & 127) >> 2];
    return (slm__class)(four >> 2 * (cp & 3) & 3);
}

/*
 * The code point at the begin of `p`, *len its bytes (1 to 4), n > 0.
 *
 * Read as the reference tokenizer of GGUF files reads it: the lead byte alone says the length, so overlong forms and
 * surrogates are code points like others; a byte that begins nothing whole is U+FFFD by itself. Beyond 10FFFF there
 * is no reference: such bytes are each U+FFFD here.
 */
uint32_t slm__utf8_read(const uint8_t *p, size_t n, size_t *len);

/* Bytes stored in `out` (1 to 4); cp <= 10FFFF. */
size_t slm__utf8_write(uint32_t cp, uint8_t out[4]);

/* Bytes at the begin of `p` that slm__utf8_read() and slm__utf8_write() give back as they are. */
size_t slm__utf8_clean(const uint8_t *p, size_t n);

/* The same text as slm__utf8_read() understands it. `out` has room for 3 * n bytes; returns how many it took. */
size_t slm__utf8_normalize(const uint8_t *p, size_t n, uint8_t *out);

/* Length of the well-formed code point (Unicode, table 3-7) at the begin of `p`; 0 if none begins there; -1 if
 * the bytes end before one that may still become whole. */
int slm__utf8_strict(const uint8_t *p, size_t n);

#endif
