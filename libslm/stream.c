/* Tokens to text, one at a time: whole code points leave, the start of one waits for the rest. */
#include "unicode.h"
#include "vocab_impl.h"

/* Bytes, stored as long as there is room, counted always. */
typedef struct text_out {
    char *buffer;
    size_t capacity, n;
} text_out;

static void put(text_out *o, const void *bytes, size_t n) {
    if (n <= o->capacity && o->n <= o->capacity - n) memcpy(o->buffer + o->n, bytes, n);
    o->n += n;
}

static void put_replacement(text_out *o) { put(o, "\xef\xbf\xbd", 3); }

/* Held bytes are always the start of a code point. When the next one cannot go on with it they become one U+FFFD (the
 * "maximal subparts" of Unicode 15, section 3.9), however the bytes were spread over tokens. */
static void add_byte(slm_text_stream *s, text_out *o, uint8_t byte) {
    s->held[s->n_held++] = byte;
    int len = slm__utf8_strict(s->held, s->n_held);
    if (len == 0 && s->n_held > 1) {
        put_replacement(o);
        s->held[0] = byte;
        s->n_held = 1;
        len = slm__utf8_strict(s->held, 1);
    }
    if (len < 0) return;
    if (len > 0)
        put(o, s->held, s->n_held);
    else
        put_replacement(o);
    s->n_held = 0;
}

slm_status slm__vocab_stream_add(const slm__vocab *v, slm_text_stream *stream, slm_token token,
                                 char *buffer, size_t capacity, size_t *n_bytes) {
    const uint32_t silent = SLM_TOKEN_CONTROL | SLM_TOKEN_UNKNOWN | SLM_TOKEN_UNUSED;
    slm__str text;
    uint32_t attributes;
    *n_bytes = 0;
    if (stream->n_held > 3 ||
        (stream->n_held > 0 && slm__utf8_strict(stream->held, stream->n_held) >= 0))
        return SLM_ERR_ARGUMENT; /* not a stream that began with {0} */
    SLM_TRY(slm__vocab_token(v, token, &text, &attributes));
    if (attributes & silent) return SLM_OK;
    text_out o = {buffer, capacity, 0};
    slm_text_stream next = *stream;
    for (size_t i = 0; i < text.len; i++) add_byte(&next, &o, (uint8_t)text.ptr[i]);
    *n_bytes = o.n;
    if (o.n > capacity) return SLM_ERR_BUFFER;
    *stream = next;
    return SLM_OK;
}

slm_status slm_text_stream_end(slm_text_stream *stream, char *buffer, size_t capacity,
                               size_t *n_bytes) {
    if (!stream || !n_bytes || (capacity > 0 && !buffer)) return SLM_ERR_ARGUMENT;
    text_out o = {buffer, capacity, 0};
    if (stream->n_held > 0) put_replacement(&o);
    *n_bytes = o.n;
    if (o.n > capacity) return SLM_ERR_BUFFER;
    *stream = (slm_text_stream){0};
    return SLM_OK;
}
