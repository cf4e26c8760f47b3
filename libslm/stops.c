/* Stop strings: text passes through, but what may be the start of one waits. That is what the state of the search stands for, so it
 * is not kept a second time: it is the start of a string. */
#include "strings.h"

struct slm_stops {
    slm_allocator allocator;
    slm__strings strings;
    int32_t state;
    int32_t met; /* -1: none yet */
};

slm_status slm_stops_create(const slm_string *strings, int32_t n, const slm_allocator *allocator,
                            slm_stops **out, slm_error *err) {
    slm__clear(err);
    if (!out) return slm__fail(err, SLM_ERR_ARGUMENT, "out is NULL");
    *out = NULL;
    slm_allocator a = allocator ? *allocator : (slm_allocator){0};
    SLM_TRY(slm__check_allocator(&a, err));
    slm_stops *s = slm__alloc(&a, sizeof *s);
    if (!s) return slm__fail(err, SLM_ERR_NOMEM, "no memory for stop strings");
    s->allocator = a;
    s->met = -1;
    slm_status status = slm__strings_create(&a, "stop strings", strings, n, &s->strings, err);
    if (status == SLM_OK)
        *out = s;
    else
        slm_stops_free(s);
    return status;
}

void slm_stops_free(slm_stops *s) {
    if (!s) return;
    slm_allocator a = s->allocator;
    slm__strings_free(&a, &s->strings);
    slm__free(&a, s);
}

/* The first n bytes of what was held and `text` behind it. */
static void put(const slm_stops *s, const char *text, size_t n, char *buffer) {
    const slm__string_node *held = &s->strings.nodes[s->state];
    size_t n_held = (size_t)held->depth < n ? (size_t)held->depth : n;
    if (n_held > 0) memcpy(buffer, s->strings.strings[held->string].ptr, n_held);
    if (n > n_held) memcpy(buffer + n_held, text, n - n_held);
}

slm_status slm_stops_add(slm_stops *s, const char *text, size_t n_bytes, char *buffer,
                         size_t capacity, size_t *n_out, int32_t *met) {
    if (!s || !n_out || (n_bytes > 0 && !text) || (capacity > 0 && !buffer))
        return SLM_ERR_ARGUMENT;
    *n_out = 0;
    if (met) *met = s->met;
    if (s->met >= 0) return SLM_OK;
    const slm__strings *strings = &s->strings;
    size_t n_held = (size_t)strings->nodes[s->state].depth, i = 0;
    int32_t state = s->state, found = -1;
    while (i < n_bytes && found < 0) {
        state = slm__strings_next(strings, state, (uint8_t)text[i++]);
        found = strings->nodes[state].found;
    }
    size_t stays = found >= 0 ? strings->strings[found].len : (size_t)strings->nodes[state].depth;
    *n_out = n_held + i - stays;
    if (*n_out > capacity) return SLM_ERR_BUFFER;
    put(s, text, *n_out, buffer);
    s->state = found >= 0 ? 0 : state;
    s->met = found;
    if (met) *met = found;
    return SLM_OK;
}

slm_status slm_stops_end(slm_stops *s, char *buffer, size_t capacity, size_t *n_out) {
    if (!s || !n_out || (capacity > 0 && !buffer)) return SLM_ERR_ARGUMENT;
    *n_out = (size_t)s->strings.nodes[s->state].depth;
    if (*n_out > capacity) return SLM_ERR_BUFFER;
    put(s, NULL, *n_out, buffer);
    s->state = 0;
    s->met = -1;
    return SLM_OK;
}
