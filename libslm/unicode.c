#include "unicode.h"

static bool continues(uint8_t byte) { return (byte & 0xc0) == 0x80; }

uint32_t slm__utf8_read(const uint8_t *p, size_t n, size_t *len) {
    uint32_t b = p[0];
    *len = 1;
    if (b < 0x80) return b;
    if (b >= 0xc0 && b < 0xe0 && n >= 2 && continues(p[1])) {
        *len = 2;
        return (b & 0x1f) << 6 | (p[1] & 0x3fu);
    }
    if (b >= 0xe0 && b < 0xf0 && n >= 3 && continues(p[1]) && continues(p[2])) {
        *len = 3;
        return (b & 0x0f) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
    }
    if (b >= 0xf0 && b < 0xf8 && n >= 4 && continues(p[1]) && continues(p[2]) && continues(p[3])) {
        uint32_t cp =
            (b & 0x07) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
        if (cp <= 0x10ffff) {
            *len = 4;
            return cp;
        }
    }
    return 0xfffd;
}

size_t slm__utf8_write(uint32_t cp, uint8_t out[4]) {
    if (cp < 0x80) {
        out[0] = (uint8_t)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (uint8_t)(0xc0 | cp >> 6);
        out[1] = (uint8_t)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (uint8_t)(0xe0 | cp >> 12);
        out[1] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | cp >> 18);
    out[1] = (uint8_t)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (cp & 0x3f));
    return 4;
}

size_t slm__utf8_clean(const uint8_t *p, size_t n) {
    size_t at = 0;
    while (at < n) {
        uint64_t eight;
        if (p[at] < 0x80) {
            if (n - at >= 8 && (memcpy(&eight, p + at, 8), (eight & 0x8080808080808080u) == 0))
                at += 8;
            else
                at++;
            continue;
        }
        size_t len;
        uint32_t cp = slm__utf8_read(p + at, n - at, &len);
        if (len == 1 || (len == 2 && cp < 0x80) || (len == 3 && cp < 0x800) ||
            (len == 4 && cp < 0x10000))
            break;
        at += len;
    }
    return at;
}

size_t slm__utf8_normalize(const uint8_t *p, size_t n, uint8_t *out) {
    size_t used = 0;
    for (size_t at = 0, len; at < n; at += len) {
        uint32_t cp = slm__utf8_read(p + at, n - at, &len);
        used += slm__utf8_write(cp, out + used);
    }
    return used;
}

int slm__utf8_strict(const uint8_t *p, size_t n) {
    if (n == 0) return -1;
    uint8_t b = p[0];
    if (b < 0x80) return 1;
    if (b < 0xc2 || b > 0xf4) return 0;
    int len = b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
    /* no overlong forms, no surrogates, nothing beyond 10FFFF: the second byte tells */
    uint8_t low = b == 0xe0 ? 0xa0 : b == 0xf0 ? 0x90 : 0x80;
    uint8_t high = b == 0xed ? 0x9f : b == 0xf4 ? 0x8f : 0xbf;
    for (int i = 1; i < len; i++) {
        if ((size_t)i == n) return -1;
        if (p[i] < low || p[i] > high) return 0;
        low = 0x80, high = 0xbf;
    }
    return len;
}
