/* Text through stop strings in two splits, and the plain search of the whole: the same comes out. The first byte says how many strings
 * there are, each follows with its length; the rest is the text. */
#include "fuzz_vocab.h"

enum { MAX_STOPS = 8 };

static size_t through(slm_stops *s, const uint8_t *text, size_t n, size_t piece, char *out,
                      size_t room, int32_t *met) {
    size_t used = 0, n_out;
    for (size_t i = 0; i < n; i += piece) {
        size_t now = n - i < piece ? n - i : piece;
        require(slm_stops_add(s, (const char *)text + i, now, out + used, room - used, &n_out,
                              met) == SLM_OK);
        used += n_out;
    }
    require(slm_stops_add(s, NULL, 0, out + used, room - used, &n_out, met) == SLM_OK);
    require(n_out == 0);
    require(slm_stops_end(s, out + used, room - used, &n_out) == SLM_OK);
    require(*met < 0 || n_out == 0);
    return used + n_out;
}

static size_t plain(const uint8_t *text, size_t n, const slm_string *stops, int32_t n_stops) {
    for (size_t end = 1; end <= n; end++) {
        size_t longest = 0;
        for (int32_t i = 0; i < n_stops; i++)
            if (stops[i].n_bytes <= end && stops[i].n_bytes > longest &&
                memcmp(text + end - stops[i].n_bytes, stops[i].text, stops[i].n_bytes) == 0)
                longest = stops[i].n_bytes;
        if (longest > 0) return end - longest;
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    slm_string stops[MAX_STOPS];
    int32_t n_stops = 0, wanted = n > 0 ? *data % (MAX_STOPS + 1) : 0, met[2] = {-1, -1};
    if (n == 0) return 0;
    data++, n--;
    while (n_stops < wanted && n > 1) {
        size_t length = 1 + data[0] % 12;
        if (length > n - 1) length = n - 1;
        stops[n_stops++] = (slm_string){(const char *)data + 1, length};
        data += 1 + length;
        n -= 1 + length;
    }
    slm_stops *s;
    slm_error err;
    require(slm_stops_create(stops, n_stops, NULL, &s, &err) == SLM_OK);
    char *out[2] = {malloc(n + 1), malloc(n + 1)};
    require(out[0] && out[1]);
    size_t a = through(s, data, n, 1, out[0], n + 1, &met[0]);
    size_t b = through(s, data, n, 1 + n / 3, out[1], n + 1, &met[1]);
    require(a == b && met[0] == met[1] && memcmp(out[0], out[1], a) == 0);
    require(a == plain(data, n, stops, n_stops) && (n == 0 || memcmp(out[0], data, a) == 0));
    slm_stops_free(s);
    free(out[0]);
    free(out[1]);
    return 0;
}
