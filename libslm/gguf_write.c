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

static void put_str(pen *p, const char *s, uint64_t n) {
    put_u64(p, n);
    put(p, s, n);
}

static void put_u32_key(pen *p, const slm__u32_key *k) {
    put_str(p, k->name, strlen(k->name));
    put_u32(p, GGUF_U32);
    put_u32(p, k->value);
}

/* As it lies in the file: name, type and value. */
static void put_same_key(pen *p, const slm__key *k) {
    const uint8_t *begin = (const uint8_t *)k->name.ptr - sizeof(uint64_t);
    put(p, begin, (uint64_t)(k->data + k->n_bytes - begin));
}

static const slm__u32_key *changed_key(const slm__gguf_change *c, slm__str name) {
    for (int32_t i = 0; i < c->n_keys; i++)
        if (slm__str_eq(name, c->keys[i].name)) return &c->keys[i];
    return NULL;
}

static uint64_t n_new_keys(const slm__gguf_change *c) {
    uint64_t n = 0;
    for (int32_t i = 0; i < c->n_keys; i++) n += !slm__gguf_key(c->from, c->keys[i].name);
    return n;
}

static void put_keys(pen *p, const slm__gguf_change *c) {
    for (int32_t i = 0; i < c->from->n_keys; i++) {
        const slm__u32_key *changed = changed_key(c, c->from->keys[i].name);
        if (changed)
            put_u32_key(p, changed);
        else
            put_same_key(p, &c->from->keys[i]);
    }
    for (int32_t i = 0; i < c->n_keys; i++)
        if (!slm__gguf_key(c->from, c->keys[i].name)) put_u32_key(p, &c->keys[i]);
}

uint64_t slm__gguf_changed_bytes(const slm__gguf_change *c, int32_t index) {
    return slm__type_bytes(c->types[index], slm__n_weights(&c->from->tensors[index]));
}

/* Returns the bytes of all data. */
static uint64_t put_tensors(pen *p, const slm__gguf_change *c) {
    uint64_t offset = 0;
    for (int32_t i = 0; i < c->from->n_tensors; i++) {
        const slm__tensor *t = &c->from->tensors[i];
        put_str(p, t->name.ptr, t->name.len);
        put_u32(p, (uint32_t)t->n_dims);
        for (int32_t d = 0; d < t->n_dims; d++) put_u64(p, (uint64_t)t->dims[d]);
        put_u32(p, slm__type_info[c->types[i]].gguf_id);
        put_u64(p, offset);
        offset += slm__align_up(slm__gguf_changed_bytes(c, i), c->from->alignment);
    }
    return offset;
}

uint64_t slm__gguf_write_head(const slm__gguf_change *c, uint8_t *out, uint64_t room,
                              uint64_t *file_bytes) {
    pen p = {.out = out, .room = room};
    put(&p, "GGUF", 4);
    put_u32(&p, 3);
    put_u64(&p, (uint64_t)c->from->n_tensors);
    put_u64(&p, (uint64_t)c->from->n_keys + n_new_keys(c));
    put_keys(&p, c);
    uint64_t data_bytes = put_tensors(&p, c), end = slm__align_up(p.n, c->from->alignment);
    if (end <= room) memset(out + p.n, 0, (size_t)(end - p.n));
    if (file_bytes) *file_bytes = end + data_bytes;
    return end;
}
