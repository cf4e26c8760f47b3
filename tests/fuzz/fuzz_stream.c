/* Any tokens become text that is whole code points, the same however little room there is at a time. Two bytes are a token;
 * some are none. */
#include "fuzz_vocab.h"

/* The bytes of the text tokens, one by one through a second stream. */
static size_t byte_by_byte(const slm_model *m, const uint8_t *data, size_t n, char *out) {
    slm_text_stream s = {0};
    size_t used = 0, n_bytes;
    for (size_t i = 0; i + 1 < n; i += 2) {
        slm_token token = (slm_token)(data[i] | (data[i + 1] & 1) << 8);
        const char *text;
        size_t n_text;
        uint32_t attributes;
        if (slm_token_get(m, token, &text, &n_text, &attributes) != SLM_OK) continue;
        if (attributes & (SLM_TOKEN_CONTROL | SLM_TOKEN_UNKNOWN)) continue;
        for (size_t k = 0; k < n_text; k++) {
            require(slm_text_stream_add(m, &s, (uint8_t)text[k], out + used, 6, &n_bytes) ==
                    SLM_OK);
            used += n_bytes;
        }
    }
    require(slm_text_stream_end(&s, out + used, 3, &n_bytes) == SLM_OK);
    return used + n_bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    const slm_model *m = fv_model(0, NULL);
    slm_text_stream s = {0};
    size_t room = 64 * n + 64, used = 0, n_bytes = 0; /* no token has more than 16 bytes */
    char *out = malloc(room), *other = malloc(room);
    require(out && other);
    for (size_t i = 0; i + 1 < n; i += 2) {
        slm_token token = (slm_token)(data[i] | (data[i + 1] & 1) << 8);
        slm_text_stream before = s;
        size_t little = data[i + 1] >> 5;
        slm_status status = slm_text_stream_add(m, &s, token, out + used, little, &n_bytes);
        if (token >= FV_N) {
            require(status == SLM_ERR_RANGE && memcmp(&s, &before, sizeof s) == 0);
            continue;
        }
        if (status == SLM_ERR_BUFFER) {
            size_t needed = n_bytes;
            require(needed > little && memcmp(&s, &before, sizeof s) == 0);
            status = slm_text_stream_add(m, &s, token, out + used, needed, &n_bytes);
            require(n_bytes == needed);
        }
        require(status == SLM_OK && s.n_held <= 3);
        require(fv_is_utf8(out + used, n_bytes));
        used += n_bytes;
    }
    size_t held = s.n_held;
    require(slm_text_stream_end(&s, out + used, 3, &n_bytes) == SLM_OK);
    require(n_bytes == (held ? 3 : 0) && s.n_held == 0);
    used += n_bytes;
    require(byte_by_byte(m, data, n, other) == used);
    require(memcmp(out, other, used) == 0);
    free(out);
    free(other);
    return 0;
}
