#include "gguf_write.h"

/* What is put is counted, and kept if there is room. */
typedef struct pen {
    uint8_t *out;
    uint64_t n, room;
} pen;

static void put(pen *p, const void *data, uint64_t n) {
    if (n > 0 && p->n <= p->room && n <= p->room - p->n) memcpy(p->out + p->n, data, (size_t)n);
    p->n += n;
}

static void put_u32(pen *p, uint32_t v) { put(p, &v, sizeof v); }
static void put_u64(pen *p, uint64_t v) { put(p, &v, sizeof v); }

static void put_str(pen *p, slm__str s) {
    put_u64(p, s.len);
    put(p, s.ptr, s.len);
}

/* ---- Keys ---- */

slm__key slm__u32_key(const char *name, const void *value) {
    return (slm__key){.name = {name, strlen(name)},
                      .type = GGUF_U32,
                      .n = 1,
                      .data = value,
                      .n_bytes = sizeof(uint32_t)};
}

slm__key slm__text_key(const char *name, slm__str text, uint8_t *out) {
    uint64_t n = text.len;
    memcpy(out, &n, sizeof n);
    if (n > 0) memcpy(out + sizeof n, text.ptr, text.len);
    return (slm__key){.name = {name, strlen(name)},
                      .type = GGUF_STRING,
                      .n = 1,
                      .data = out,
                      .n_bytes = sizeof n + n};
}

static void put_key(pen *p, const slm__key *k) {
    put_str(p, k->name);
    if (k->is_array) put_u32(p, GGUF_ARRAY);
    put_u32(p, k->type);
    if (k->is_array) put_u64(p, k->n);
    put(p, k->data, k->n_bytes);
}

static const slm__key *find_key(const slm__key *keys, int32_t n, slm__str name) {
    for (int32_t i = 0; i < n; i++)
        if (slm__str_compare(keys[i].name, name) == 0) return &keys[i];
    return NULL;
}

static bool is_dropped(const slm__gguf_change *c, slm__str name) {
    size_t n = c->dropped ? strlen(c->dropped) : 0;
    return n > 0 && name.len >= n && memcmp(name.ptr, c->dropped, n) == 0;
}

/* Returns their number. */
static uint64_t put_keys(pen *p, const slm__gguf_change *c) {
    const slm__key *from = c->from ? c->from->keys : NULL;
    int32_t n_from = c->from ? c->from->n_keys : 0;
    uint64_t n = 0;
    for (int32_t i = 0; i < n_from; i++) {
        const slm__key *key = find_key(c->keys, c->n_keys, from[i].name);
        if (!key && is_dropped(c, from[i].name)) continue;
        put_key(p, key ? key : &from[i]);
        n++;
    }
    for (int32_t i = 0; i < c->n_keys; i++) {
        if (find_key(from, n_from, c->keys[i].name)) continue;
        put_key(p, &c->keys[i]);
        n++;
    }
    return n;
}

/* ---- Tensors ---- */

uint64_t slm__gguf_alignment(const slm__gguf_change *c) {
    return c->from ? c->from->alignment : SLM__GGUF_ALIGNMENT;
}

uint64_t slm__gguf_changed_bytes(const slm__gguf_change *c, int32_t index) {
    return slm__type_bytes(c->types[index], slm__n_weights(&c->tensors[index]));
}

/* Returns the bytes of all data. */
static uint64_t put_tensors(pen *p, const slm__gguf_change *c) {
    uint64_t offset = 0, alignment = slm__gguf_alignment(c);
    for (int32_t i = 0; i < c->n_tensors; i++) {
        const slm__tensor *t = &c->tensors[i];
        put_str(p, t->name);
        put_u32(p, (uint32_t)t->n_dims);
        for (int32_t d = 0; d < t->n_dims; d++) put_u64(p, (uint64_t)t->dims[d]);
        put_u32(p, slm__type_info[c->types[i]].gguf_id);
        put_u64(p, offset);
        offset += slm__align_up(slm__gguf_changed_bytes(c, i), alignment);
    }
    return offset;
}

uint64_t slm__gguf_write_head(const slm__gguf_change *c, uint8_t *out, uint64_t room,
                              uint64_t *file_bytes) {
    pen p = {.out = out, .room = room}, count = {0};
    put(&p, "GGUF", 4);
    put_u32(&p, 3);
    put_u64(&p, (uint64_t)c->n_tensors);
    put_u64(&p, put_keys(&count, c));
    put_keys(&p, c);
    uint64_t data_bytes = put_tensors(&p, c), end = slm__align_up(p.n, slm__gguf_alignment(c));
    if (end <= room) memset(out + p.n, 0, (size_t)(end - p.n));
    if (file_bytes) *file_bytes = end + data_bytes;
    return end;
}
