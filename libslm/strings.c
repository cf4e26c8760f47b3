#include "strings.h"

static slm_status check(const char *what, const slm_string *strings, int32_t n, size_t *n_bytes,
                        slm_error *err) {
    if (n < 0 || n > SLM_MAX_STRINGS)
        return slm__fail(err, SLM_ERR_LIMIT, "%s: %d strings, expected 0 to %d", what, (int)n,
                         (int)SLM_MAX_STRINGS);
    if (n > 0 && !strings) return slm__fail(err, SLM_ERR_ARGUMENT, "%s is NULL", what);
    for (int32_t i = 0; i < n; i++) {
        if (!strings[i].text || strings[i].n_bytes == 0)
            return slm__fail(err, SLM_ERR_ARGUMENT, "%s: string %d is empty", what, (int)i);
        if (strings[i].n_bytes > SLM_MAX_STRING_BYTES - *n_bytes)
            return slm__fail(err, SLM_ERR_LIMIT, "%s: more than %d bytes", what,
                             (int)SLM_MAX_STRING_BYTES);
        *n_bytes += strings[i].n_bytes;
    }
    return SLM_OK;
}

static void add_string(slm__strings *s, int32_t i) {
    int32_t node = 0;
    for (size_t k = 0; k < s->strings[i].len; k++) {
        uint8_t byte = (uint8_t)s->strings[i].ptr[k];
        int32_t next = slm__strings_child(s, node, byte);
        if (next == 0) {
            next = s->n_nodes++;
            s->nodes[next] = (slm__string_node){.sibling = s->nodes[node].child,
                                                .depth = s->nodes[node].depth + 1,
                                                .string = i,
                                                .found = -1,
                                                .byte = byte};
            s->nodes[node].child = next;
            if (node == 0) s->root[byte] = next;
        }
        s->path[s->path_of[i] + (int32_t)k] = node = next;
    }
    if (s->nodes[node].found < 0) s->nodes[node].found = i; /* of equal ones the first */
}

/* By rising depth, so that what is shorter is done: `queue` has room for all nodes. */
static void link_nodes(slm__strings *s, int32_t *queue) {
    int32_t n = 1;
    queue[0] = 0;
    for (int32_t i = 0; i < n; i++) {
        for (int32_t c = s->nodes[queue[i]].child; c != 0; c = s->nodes[c].sibling) {
            slm__string_node *node = &s->nodes[c];
            queue[n++] = c;
            if (queue[i] != 0)
                node->shorter = slm__strings_next(s, s->nodes[queue[i]].shorter, node->byte);
            if (node->found < 0) node->found = s->nodes[node->shorter].found;
        }
    }
}

bool slm__strings_make(const slm_allocator *a, const slm_string *strings, int32_t n, size_t n_bytes,
                       slm__strings *out) {
    *out = (slm__strings){.n = n, .n_nodes = 1};
    out->strings = slm__alloc_array(a, (uint64_t)n, sizeof *out->strings);
    out->bytes = slm__alloc(a, n_bytes);
    out->path = slm__alloc_array(a, n_bytes, sizeof *out->path);
    out->path_of = slm__alloc_array(a, (uint64_t)n, sizeof *out->path_of);
    out->nodes = slm__alloc_array(a, n_bytes + 1, sizeof *out->nodes);
    int32_t *queue = slm__alloc_array(a, n_bytes + 1, sizeof *queue);
    bool good = out->strings && out->bytes && out->path && out->path_of && out->nodes && queue;
    if (good) {
        out->nodes[0].found = -1;
        size_t at = 0;
        for (int32_t i = 0; i < n; i++) {
            memcpy(out->bytes + at, strings[i].text, strings[i].n_bytes);
            out->strings[i] = (slm__str){out->bytes + at, strings[i].n_bytes};
            out->path_of[i] = (int32_t)at;
            at += strings[i].n_bytes;
            add_string(out, i);
        }
        link_nodes(out, queue);
    } else {
        slm__strings_free(a, out);
    }
    slm__free(a, queue);
    return good;
}

slm_status slm__strings_create(const slm_allocator *a, const char *what, const slm_string *strings,
                               int32_t n, slm__strings *out, slm_error *err) {
    size_t n_bytes = 0;
    *out = (slm__strings){0};
    SLM_TRY(check(what, strings, n, &n_bytes, err));
    if (slm__strings_make(a, strings, n, n_bytes, out)) return SLM_OK;
    return slm__fail(err, SLM_ERR_NOMEM, "no memory for %s", what);
}

void slm__strings_free(const slm_allocator *a, slm__strings *s) {
    slm__free(a, s->strings);
    slm__free(a, s->bytes);
    slm__free(a, s->path);
    slm__free(a, s->path_of);
    slm__free(a, s->nodes);
    *s = (slm__strings){0};
}

int32_t slm__strings_walk(const slm__strings *s, int32_t state, slm__str text, bool *found) {
    for (size_t i = 0; i < text.len; i++) {
        state = slm__strings_next(s, state, (uint8_t)text.ptr[i]);
        if (s->nodes[state].found >= 0) *found = true;
    }
    return state;
}
