/* Reading the container. Every byte of the header goes through one cursor that cannot leave the file, and every failure
 * through one function that says where it stood. */
#include "gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sort.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are read as they lie");

#define MAX_FILE ((uint64_t)1 << 44)

enum {
    MAX_KEYS = 65536,
    MAX_TENSORS = 65536,
    MAX_KEY_NAME = 65535,
    MAX_TENSOR_NAME = 63,
    MIN_KEY_BYTES = 8 + 1 + 4 + 1,            /* length, name, type, value              */
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8, /* length, name, n_dims, dim, type, offset */
    /* The specification wants a multiple of 8. Less could not be accepted either: floats are read where they lie. */
    MIN_ALIGNMENT = 8,
    MAX_ALIGNMENT = 1 << 20,
    DEFAULT_ALIGNMENT = 32,
};

typedef enum value_kind { UNSIGNED, SIGNED, FLOAT, TRUTH, TEXT, NESTED } value_kind;

static const struct {
    const char *name;
    uint32_t bytes; /* 0: as long as it says itself */
    value_kind kind;
} types[GGUF_N_TYPES] = {
    [GGUF_U8] = {"u8", 1, UNSIGNED},     [GGUF_I8] = {"i8", 1, SIGNED},
    [GGUF_U16] = {"u16", 2, UNSIGNED},   [GGUF_I16] = {"i16", 2, SIGNED},
    [GGUF_U32] = {"u32", 4, UNSIGNED},   [GGUF_I32] = {"i32", 4, SIGNED},
    [GGUF_F32] = {"f32", 4, FLOAT},      [GGUF_BOOL] = {"bool", 1, TRUTH},
    [GGUF_STRING] = {"string", 0, TEXT}, [GGUF_ARRAY] = {"array", 0, NESTED},
    [GGUF_U64] = {"u64", 8, UNSIGNED},   [GGUF_I64] = {"i64", 8, SIGNED},
    [GGUF_F64] = {"f64", 8, FLOAT},
};

const char *slm__gguf_type_name(slm__gguf_type type) {
    return (unsigned)type < GGUF_N_TYPES ? types[type].name : "?";
}

/* ---- The cursor ---- */

typedef struct cursor {
    const uint8_t *data;
    uint64_t n_bytes, at; /* at <= n_bytes */
    slm_error *err;
    const char *part; /* what is being read: "header", "key", "tensor"  */
    int32_t index;    /* of the key or tensor                           */
    slm__str name;    /* of it, empty until it was read                 */
} cursor;

/* "key 3 general.alignment, byte 91: ..." */
static slm_status fail_at(const cursor *c, uint64_t at, slm_status status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static slm_status fail_at(const cursor *c, uint64_t at, slm_status status, const char *format,
                          ...) {
    char text[320];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char index[16] = "";
    if (c->index >= 0) snprintf(index, sizeof index, " %d", c->index);
    return slm__fail(c->err, status, "%s%s%s%s, byte %llu: %s", c->part, index,
                     c->name.len ? " " : "", slm__show(c->name).text, (unsigned long long)at, text);
}

static uint64_t bytes_left(const cursor *c) { return c->n_bytes - c->at; }

static slm_status need(const cursor *c, uint64_t n) {
    if (n <= bytes_left(c)) return SLM_OK;
    return fail_at(c, c->at, SLM_ERR_TRUNCATED, "%llu bytes are needed, %llu are left",
                   (unsigned long long)n, (unsigned long long)bytes_left(c));
}

static slm_status read_u32(cursor *c, uint32_t *out) {
    SLM_TRY(need(c, sizeof *out));
    memcpy(out, c->data + c->at, sizeof *out);
    c->at += sizeof *out;
    return SLM_OK;
}

static slm_status read_u64(cursor *c, uint64_t *out) {
    SLM_TRY(need(c, sizeof *out));
    memcpy(out, c->data + c->at, sizeof *out);
    c->at += sizeof *out;
    return SLM_OK;
}

static slm_status skip_string(cursor *c) {
    uint64_t n;
    SLM_TRY(read_u64(c, &n));
    SLM_TRY(need(c, n));
    c->at += n;
    return SLM_OK;
}

/* The name of a key or tensor: handed out NUL-terminated, so it may hold no NUL. */
static slm_status read_name(cursor *c, uint64_t max, slm__str *out) {
    uint64_t n, at = c->at;
    SLM_TRY(read_u64(c, &n));
    if (n == 0 || n > max) {
        return fail_at(c, at, SLM_ERR_FORMAT, "a name of %llu bytes, expected 1 to %llu",
                       (unsigned long long)n, (unsigned long long)max);
    }
    SLM_TRY(need(c, n));
    *out = c->name = (slm__str){(const char *)c->data + c->at, (size_t)n};
    if (memchr(out->ptr, 0, out->len))
        return fail_at(c, c->at, SLM_ERR_FORMAT, "a NUL in the name");
    c->at += n;
    return SLM_OK;
}

/* ---- Header ---- */

/* From what is left of the file, before anything is allocated for the count. */
static slm_status check_count(const cursor *c, const char *what, uint64_t n, uint64_t max,
                              uint64_t min_bytes) {
    if (n > max) {
        return fail_at(c, c->at, SLM_ERR_LIMIT, "%llu %s, at most %llu", (unsigned long long)n,
                       what, (unsigned long long)max);
    }
    if (n * min_bytes > bytes_left(c)) {
        return fail_at(c, c->at, SLM_ERR_TRUNCATED,
                       "%llu %s do not fit in %llu bytes that are left", (unsigned long long)n,
                       what, (unsigned long long)bytes_left(c));
    }
    return SLM_OK;
}

static slm_status read_header(cursor *c, slm__gguf *g) {
    c->part = "header";
    c->index = -1;
    SLM_TRY(need(c, 4));
    if (memcmp(c->data, "GGUF", 4) != 0) {
        return fail_at(c, 0, SLM_ERR_FORMAT, "no GGUF file: it begins with \"%s\"",
                       slm__show((slm__str){(const char *)c->data, 4}).text);
    }
    c->at = 4;
    SLM_TRY(read_u32(c, &g->version));
    if (g->version != 2 && g->version != 3) {
        bool swapped = __builtin_bswap32(g->version) <= 3;
        return fail_at(c, 4, SLM_ERR_UNSUPPORTED, "version %u%s, known: 2 and 3 little-endian",
                       g->version, swapped && g->version ? " (big-endian)" : "");
    }
    uint64_t n_tensors, n_keys;
    SLM_TRY(read_u64(c, &n_tensors));
    SLM_TRY(read_u64(c, &n_keys));
    SLM_TRY(check_count(c, "tensors", n_tensors, MAX_TENSORS, MIN_TENSOR_BYTES));
    SLM_TRY(check_count(c, "keys", n_keys, MAX_KEYS, MIN_KEY_BYTES));
    g->n_tensors = (int32_t)n_tensors;
    g->n_keys = (int32_t)n_keys;
    return SLM_OK;
}

/* ---- Order ---- */

static int compare_offsets(const void *table, uint32_t a, uint32_t b) {
    const slm__tensor *tensors = table;
    return (tensors[a].offset > tensors[b].offset) - (tensors[a].offset < tensors[b].offset);
}

/* Keys or tensors: rows that begin with a name. */
typedef struct named_rows {
    const void *rows;
    size_t stride;
    int32_t n;
} named_rows;

_Static_assert(offsetof(slm__key, name) == 0 && offsetof(slm__tensor, name) == 0, "named_rows");

static slm__str name_of(const named_rows *t, uint32_t i) {
    return *(const slm__str *)(const void *)((const char *)t->rows + i * t->stride);
}

static int compare_names(const void *table, uint32_t a, uint32_t b) {
    return slm__str_compare(name_of(table, a), name_of(table, b));
}

/* order[]: the indices by rising name. Two of the same name: FORMAT. */
static slm_status order_names(cursor *c, named_rows t, uint32_t *order) {
    slm__sort_order(order, (uint32_t)t.n, compare_names, &t);
    for (int32_t i = 1; i < t.n; i++) {
        uint32_t a = order[i - 1], b = order[i];
        if (compare_names(&t, a, b) != 0) continue;
        c->index = (int32_t)(a > b ? a : b);
        c->name = name_of(&t, b);
        return fail_at(c, (uint64_t)(name_of(&t, (uint32_t)c->index).ptr - (const char *)c->data),
                       SLM_ERR_FORMAT, "the same name as %s %u", c->part, a < b ? a : b);
    }
    return SLM_OK;
}

static const void *find_name(named_rows t, const uint32_t *order, const char *name) {
    slm__str wanted = {name, strlen(name)};
    for (int32_t low = 0, high = t.n; low < high;) {
        int32_t middle = low + (high - low) / 2;
        int d = slm__str_compare(wanted, name_of(&t, order[middle]));
        if (d == 0) return (const char *)t.rows + order[middle] * t.stride;
        if (d < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static named_rows key_rows(const slm__gguf *g) {
    return (named_rows){g->keys, sizeof *g->keys, g->n_keys};
}

static named_rows tensor_rows(const slm__gguf *g) {
    return (named_rows){g->tensors, sizeof *g->tensors, g->n_tensors};
}

const slm__key *slm__gguf_key(const slm__gguf *g, const char *name) {
    return find_name(key_rows(g), g->key_order, name);
}

const slm__tensor *slm__gguf_tensor(const slm__gguf *g, const char *name) {
    return find_name(tensor_rows(g), g->tensor_order, name);
}

/* ---- Keys ---- */

static slm_status skip_values(cursor *c, const slm__key *k) {
    uint64_t at = c->at, size = types[k->type].bytes ? types[k->type].bytes : 8;
    if (k->n > MAX_FILE / size) {
        return fail_at(c, at, SLM_ERR_LIMIT, "an array of %llu values of type %s",
                       (unsigned long long)k->n, types[k->type].name);
    }
    SLM_TRY(need(c, k->n * size));
    if (types[k->type].kind == TEXT) {
        for (uint64_t i = 0; i < k->n; i++) SLM_TRY(skip_string(c));
        return SLM_OK;
    }
    for (uint64_t i = 0; types[k->type].kind == TRUTH && i < k->n; i++) {
        if (c->data[at + i] > 1) {
            return fail_at(c, at + i, SLM_ERR_FORMAT, "a bool of %u, expected 0 or 1",
                           c->data[at + i]);
        }
    }
    c->at += k->n * size;
    return SLM_OK;
}

static slm_status read_key(cursor *c, slm__key *k) {
    SLM_TRY(read_name(c, MAX_KEY_NAME, &k->name));
    uint64_t at = c->at;
    uint32_t type;
    SLM_TRY(read_u32(c, &type));
    k->n = 1;
    k->is_array = type == GGUF_ARRAY;
    if (k->is_array) {
        at = c->at;
        SLM_TRY(read_u32(c, &type));
        if (type == GGUF_ARRAY) return fail_at(c, at, SLM_ERR_UNSUPPORTED, "an array of arrays");
    }
    if (type >= GGUF_N_TYPES) {
        return fail_at(c, at, SLM_ERR_FORMAT, "unknown type %u of a value", type);
    }
    k->type = (slm__gguf_type)type;
    if (k->is_array) SLM_TRY(read_u64(c, &k->n));
    k->data = c->data + c->at;
    SLM_TRY(skip_values(c, k));
    k->n_bytes = (uint64_t)(c->data + c->at - k->data);
    return SLM_OK;
}

static slm_status read_keys(cursor *c, slm__gguf *g) {
    c->part = "key";
    g->keys = slm__alloc_array(g->allocator, (uint64_t)g->n_keys, sizeof *g->keys);
    g->key_order = slm__alloc_array(g->allocator, (uint64_t)g->n_keys, sizeof *g->key_order);
    if (!g->keys || !g->key_order)
        return slm__fail(c->err, SLM_ERR_NOMEM, "no memory for %d keys", g->n_keys);
    for (c->index = 0; c->index < g->n_keys; c->index++) {
        c->name.len = 0;
        SLM_TRY(read_key(c, &g->keys[c->index]));
    }
    return order_names(c, key_rows(g), g->key_order);
}

static slm_status read_alignment(const cursor *c, slm__gguf *g) {
    bool found;
    g->alignment = DEFAULT_ALIGNMENT;
    SLM_TRY(slm__gguf_u64(g, "general.alignment", &g->alignment, &found, c->err));
    uint64_t a = g->alignment;
    if (a >= MIN_ALIGNMENT && a <= MAX_ALIGNMENT && (a & (a - 1)) == 0) return SLM_OK;
    const slm__key *k = slm__gguf_key(g, "general.alignment");
    return slm__fail(
        c->err, SLM_ERR_RANGE,
        "key general.alignment, byte %llu: %llu, expected a power of two from %d to %d",
        (unsigned long long)(k->data - g->data), (unsigned long long)a, MIN_ALIGNMENT,
        MAX_ALIGNMENT);
}

/* ---- Tensors ---- */

static slm_status read_dims(cursor *c, slm__tensor *t) {
    uint32_t n_dims;
    uint64_t at = c->at, n_weights = 1;
    SLM_TRY(read_u32(c, &n_dims));
    if (n_dims < 1 || n_dims > 4)
        return fail_at(c, at, SLM_ERR_FORMAT, "%u dimensions, expected 1 to 4", n_dims);
    t->n_dims = (int32_t)n_dims;
    for (uint32_t i = 0; i < 4; i++) {
        uint64_t d = 1;
        at = c->at;
        if (i < n_dims) SLM_TRY(read_u64(c, &d));
        if (d == 0) return fail_at(c, at, SLM_ERR_MISMATCH, "dimension %u is 0", i);
        if (d > INT64_MAX) {
            return fail_at(c, at, SLM_ERR_RANGE, "dimension %u is %lld", i, (long long)(int64_t)d);
        }
        if (!slm__mul(n_weights, d, &n_weights) || n_weights > INT64_MAX) {
            return fail_at(c, at, SLM_ERR_RANGE, "too many weights: dimension %u is %llu", i,
                           (unsigned long long)d);
        }
        t->dims[i] = (int64_t)d;
    }
    return SLM_OK;
}

static slm_status read_type(cursor *c, slm__tensor *t) {
    uint32_t id, i = 0;
    uint64_t at = c->at;
    SLM_TRY(read_u32(c, &id));
    while (i < SLM_N_TYPES && slm__type_info[i].gguf_id != id) i++;
    if (i == SLM_N_TYPES)
        return fail_at(c, at, SLM_ERR_UNSUPPORTED, "unknown type %d of weights", (int32_t)id);
    t->type = (slm_type)i;
    return SLM_OK;
}

static slm_status read_tensor(cursor *c, slm__tensor *t) {
    SLM_TRY(read_name(c, MAX_TENSOR_NAME, &t->name));
    uint64_t at = c->at;
    SLM_TRY(read_dims(c, t));
    SLM_TRY(read_type(c, t));
    const slm_type_info *info = &slm__type_info[t->type];
    uint64_t row = (uint64_t)t->dims[0], n_rows = (uint64_t)(t->dims[1] * t->dims[2] * t->dims[3]);
    if (row % info->block_weights != 0) {
        return fail_at(c, at, SLM_ERR_FORMAT, "a row of %llu weights is no multiple of %u (%s)",
                       (unsigned long long)row, info->block_weights, info->name);
    }
    if (!slm__mul(row / info->block_weights, info->block_bytes, &t->row_bytes) ||
        !slm__mul(t->row_bytes, n_rows, &t->n_bytes)) {
        return fail_at(c, at, SLM_ERR_RANGE, "too many bytes: %llu rows of %llu weights (%s)",
                       (unsigned long long)n_rows, (unsigned long long)row, info->name);
    }
    return read_u64(c, &t->offset);
}

/* The tensor's bytes lie in the file. `begin`: where the data of all tensors begins. */
static slm_status place_tensor(const cursor *c, const slm__gguf *g, uint64_t begin,
                               slm__tensor *t) {
    uint64_t first, end;
    if (t->offset % g->alignment != 0) {
        return fail_at(c, begin, SLM_ERR_FORMAT, "offset %llu is no multiple of the alignment %llu",
                       (unsigned long long)t->offset, (unsigned long long)g->alignment);
    }
    if (!slm__add(begin, t->offset, &first) || !slm__add(first, t->n_bytes, &end)) {
        return fail_at(c, begin, SLM_ERR_RANGE, "offset %llu and %llu bytes of data are too much",
                       (unsigned long long)t->offset, (unsigned long long)t->n_bytes);
    }
    if (end > c->n_bytes) {
        return fail_at(c, first, SLM_ERR_TRUNCATED, "%llu bytes of data, but the file ends at %llu",
                       (unsigned long long)t->n_bytes, (unsigned long long)c->n_bytes);
    }
    t->data = c->data + first;
    return SLM_OK;
}

/* `order` is room for n_tensors indices. */
static slm_status check_overlap(cursor *c, const slm__gguf *g, uint32_t *order) {
    slm__sort_order(order, (uint32_t)g->n_tensors, compare_offsets, g->tensors);
    for (int32_t i = 1; i < g->n_tensors; i++) {
        const slm__tensor *a = &g->tensors[order[i - 1]], *b = &g->tensors[order[i]];
        if (b->offset - a->offset >= a->n_bytes) continue;
        c->index = (int32_t)order[i];
        c->name = b->name;
        return fail_at(c, (uint64_t)(b->data - c->data), SLM_ERR_FORMAT,
                       "its data overlaps that of tensor %u %s", order[i - 1],
                       slm__show(a->name).text);
    }
    return SLM_OK;
}

static slm_status read_tensors(cursor *c, slm__gguf *g) {
    c->part = "tensor";
    g->tensors = slm__alloc_array(g->allocator, (uint64_t)g->n_tensors, sizeof *g->tensors);
    uint32_t *order = slm__alloc_array(g->allocator, (uint64_t)g->n_tensors, sizeof *order);
    g->tensor_order = order;
    if (!g->tensors || !order)
        return slm__fail(c->err, SLM_ERR_NOMEM, "no memory for %d tensors", g->n_tensors);
    for (c->index = 0; c->index < g->n_tensors; c->index++) {
        c->name.len = 0;
        SLM_TRY(read_tensor(c, &g->tensors[c->index]));
    }
    uint64_t begin = slm__align_up(c->at, g->alignment);
    for (c->index = 0; c->index < g->n_tensors; c->index++) {
        c->name = g->tensors[c->index].name;
        SLM_TRY(place_tensor(c, g, begin, &g->tensors[c->index]));
    }
    SLM_TRY(check_overlap(c, g, order));
    return order_names(c, tensor_rows(g), order);
}

/* ---- Opening ---- */

static char *copy_name(char *at, slm__str name, const char **out) {
    *out = at;
    memcpy(at, name.ptr, name.len);
    at[name.len] = '\0';
    return at + name.len + 1;
}

/* The names with an end, for callers of the public API. */
static slm_status copy_names(slm__gguf *g, slm_error *err) {
    uint64_t n_bytes = 0;
    for (int32_t i = 0; i < g->n_keys; i++) n_bytes += g->keys[i].name.len + 1;
    for (int32_t i = 0; i < g->n_tensors; i++) n_bytes += g->tensors[i].name.len + 1;
    g->names = slm__alloc(g->allocator, n_bytes);
    g->key_names = slm__alloc_array(g->allocator, (uint64_t)g->n_keys, sizeof(char *));
    g->tensor_names = slm__alloc_array(g->allocator, (uint64_t)g->n_tensors, sizeof(char *));
    if (!g->names || !g->key_names || !g->tensor_names)
        return slm__fail(err, SLM_ERR_NOMEM, "no memory for the names of keys and tensors");
    char *at = g->names;
    for (int32_t i = 0; i < g->n_keys; i++) at = copy_name(at, g->keys[i].name, &g->key_names[i]);
    for (int32_t i = 0; i < g->n_tensors; i++)
        at = copy_name(at, g->tensors[i].name, &g->tensor_names[i]);
    return SLM_OK;
}

static slm_status parse(slm__gguf *g, slm_error *err) {
    cursor c = {.data = g->data, .n_bytes = g->n_bytes, .err = err};
    SLM_TRY(read_header(&c, g));
    SLM_TRY(read_keys(&c, g));
    SLM_TRY(read_alignment(&c, g));
    SLM_TRY(read_tensors(&c, g));
    return copy_names(g, err);
}

static slm_status check_size(uint64_t n_bytes, slm_error *err) {
    if (n_bytes <= MAX_FILE) return SLM_OK;
    return slm__fail(err, SLM_ERR_LIMIT, "a file of %llu bytes, at most %llu",
                     (unsigned long long)n_bytes, (unsigned long long)MAX_FILE);
}

slm_status slm__gguf_parse(slm__gguf *g, const void *data, uint64_t n_bytes,
                           const slm_allocator *allocator, slm_error *err) {
    *g = (slm__gguf){.allocator = allocator, .data = data, .n_bytes = n_bytes};
    slm_status s = check_size(n_bytes, err);
    if (s == SLM_OK) s = parse(g, err);
    if (s != SLM_OK) slm__gguf_close(g);
    return s;
}

/* Only regular files: O_NONBLOCK, so that a FIFO without a writer does not hold the caller in open(). */
static slm_status open_file(const char *path, int *fd, struct stat *st, slm_error *err) {
    slm__shown shown = slm__show((slm__str){path, strlen(path)});
    do {
        *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    } while (*fd < 0 && errno == EINTR);
    if (*fd < 0) return slm__fail(err, SLM_ERR_IO, "cannot open %s: %m", shown.text);
    slm_status s = SLM_OK;
    if (fstat(*fd, st) != 0)
        s = slm__fail(err, SLM_ERR_IO, "cannot look at %s: %m", shown.text);
    else if (!S_ISREG(st->st_mode))
        s = slm__fail(err, SLM_ERR_IO, "%s is no regular file", shown.text);
    else if (st->st_size == 0)
        s = slm__fail(err, SLM_ERR_TRUNCATED, "%s is empty (byte 0)", shown.text);
    else
        s = check_size((uint64_t)st->st_size, err);
    if (s != SLM_OK) close(*fd);
    return s;
}

/* No advice about pages: the kernel's read-ahead serves the header, and weights are asked for when they are used, or by prefetch.c. */
slm_status slm__gguf_open(slm__gguf *g, const char *path, bool guard,
                          const slm_allocator *allocator, slm_error *err) {
    *g = (slm__gguf){0};
    int fd;
    struct stat st;
    SLM_TRY(open_file(path, &fd, &st, err));
    uint64_t n_bytes = (uint64_t)st.st_size;
    void *data = mmap(NULL, (size_t)n_bytes, PROT_READ, MAP_SHARED, fd, 0);
    int error = errno;
    if (!guard || data == MAP_FAILED) close(fd); /* the mapping stays */
    if (data == MAP_FAILED) {
        errno = error;
        return slm__fail(err, error == ENOMEM || error == EAGAIN ? SLM_ERR_NOMEM : SLM_ERR_IO,
                         "cannot map %llu bytes of %s: %m", (unsigned long long)n_bytes,
                         slm__show((slm__str){path, strlen(path)}).text);
    }
    *g = (slm__gguf){.allocator = allocator,
                     .data = data,
                     .n_bytes = n_bytes,
                     .is_mapped = true,
                     .device = (uint64_t)st.st_dev,
                     .inode = (uint64_t)st.st_ino};
    slm_status s = guard ? slm__guard_create(fd, data, n_bytes, &g->guard, err) : SLM_OK;
    if (s == SLM_OK) s = slm__guard_check(g->guard, parse(g, err), err);
    if (s != SLM_OK) slm__gguf_close(g);
    return s;
}

void slm__gguf_close(slm__gguf *g) {
    slm__free(g->allocator, g->keys);
    slm__free(g->allocator, g->tensors);
    slm__free(g->allocator, g->key_order);
    slm__free(g->allocator, g->tensor_order);
    slm__free(g->allocator, g->names);
    slm__free(g->allocator, g->key_names);
    slm__free(g->allocator, g->tensor_names);
    slm__guard_free(g->guard);
    if (g->is_mapped) munmap((void *)(uintptr_t)g->data, (size_t)g->n_bytes);
    *g = (slm__gguf){0};
}

/* ---- Typed access ---- */

static slm_status wrong_type(const slm__gguf *g, const slm__key *k, const char *expected,
                             slm_error *err) {
    return slm__fail(err, SLM_ERR_TYPE, "key %s, byte %llu: type is %s%s, expected %s",
                     slm__show(k->name).text, (unsigned long long)(k->data - g->data),
                     k->is_array ? "array of " : "", types[k->type].name, expected);
}

/* The key, if it is there and a single value of this kind (or `also`). */
static slm_status find_value(const slm__gguf *g, const char *name, value_kind kind, value_kind also,
                             const char *expected, const slm__key **k, slm_error *err) {
    *k = slm__gguf_key(g, name);
    if (!*k) return SLM_OK;
    value_kind is = types[(*k)->type].kind;
    return !(*k)->is_array && (is == kind || is == also) ? SLM_OK
                                                         : wrong_type(g, *k, expected, err);
}

static uint64_t read_unsigned(slm__gguf_type type, const uint8_t *p) {
    uint64_t v = 0;
    memcpy(&v, p, types[type].bytes);
    return v;
}

static int64_t read_signed(slm__gguf_type type, const uint8_t *p) {
    uint64_t v = read_unsigned(type, p), sign = (uint64_t)1 << (8 * types[type].bytes - 1);
    return (int64_t)((v ^ sign) - sign);
}

static double read_float(slm__gguf_type type, const uint8_t *p) {
    double v;
    if (type == GGUF_F32) return (double)slm__read_f32(p);
    memcpy(&v, p, sizeof v);
    return v;
}

slm_status slm__gguf_u64(const slm__gguf *g, const char *name, uint64_t *out, bool *found,
                         slm_error *err) {
    const slm__key *k;
    SLM_TRY(find_value(g, name, UNSIGNED, SIGNED, "an integer", &k, err));
    *found = k != NULL;
    if (!k) return SLM_OK;
    if (types[k->type].kind == SIGNED && read_signed(k->type, k->data) < 0) {
        return slm__fail(err, SLM_ERR_RANGE, "key %s, byte %llu: %lld is negative",
                         slm__show(k->name).text, (unsigned long long)(k->data - g->data),
                         (long long)read_signed(k->type, k->data));
    }
    *out = read_unsigned(k->type, k->data);
    return SLM_OK;
}

slm_status slm__gguf_f64(const slm__gguf *g, const char *name, double *out, bool *found,
                         slm_error *err) {
    const slm__key *k;
    SLM_TRY(find_value(g, name, FLOAT, FLOAT, "f32 or f64", &k, err));
    *found = k != NULL;
    if (k) *out = read_float(k->type, k->data);
    return SLM_OK;
}

slm_status slm__gguf_bool(const slm__gguf *g, const char *name, bool *out, bool *found,
                          slm_error *err) {
    const slm__key *k;
    SLM_TRY(find_value(g, name, TRUTH, TRUTH, "bool", &k, err));
    *found = k != NULL;
    if (k) *out = k->data[0] == 1;
    return SLM_OK;
}

slm_status slm__gguf_str(const slm__gguf *g, const char *name, slm__str *out, bool *found,
                         slm_error *err) {
    const slm__key *k;
    SLM_TRY(find_value(g, name, TEXT, TEXT, "string", &k, err));
    *found = k != NULL;
    const uint8_t *at = k ? k->data : NULL;
    if (k) *out = slm__gguf_next_string(&at);
    return SLM_OK;
}

slm_status slm__gguf_array(const slm__gguf *g, const char *name, slm__gguf_type type,
                           const slm__key **out, slm_error *err) {
    *out = NULL;
    const slm__key *k = slm__gguf_key(g, name);
    if (!k) return SLM_OK;
    if (!k->is_array || k->type != type) {
        char expected[32];
        snprintf(expected, sizeof expected, "array of %s", slm__gguf_type_name(type));
        return wrong_type(g, k, expected, err);
    }
    *out = k;
    return SLM_OK;
}

slm__str slm__gguf_next_string(const uint8_t **at) {
    slm__str s = {(const char *)*at + 8, (size_t)slm__read_u64(*at)};
    *at += 8 + s.len;
    return s;
}

/* ---- Values as text ---- */

enum { DIGITS_MAX = 32, TEXT_MAX = SLM__FLOAT_TEXT };

/* Digits and exponent of d.ddde+xx, whatever the locale puts for the point: *digits receives the digits alone. */
static int split_digits(const char *e_form, char digits[DIGITS_MAX]) {
    size_t n = 0;
    for (; *e_form != 'e'; e_form++) {
        if (*e_form >= '0' && *e_form <= '9' && n < DIGITS_MAX - 1) digits[n++] = *e_form;
    }
    while (n > 1 && digits[n - 1] == '0') n--;
    digits[n] = '\0';
    return atoi(e_form + 1);
}

/* The fewest digits that read back the same: 9 always do for f32, 17 for f64. Then written plainly from 1e-4 up to
 * 1e16, with an exponent elsewhere. */
void slm__float_text(double v, bool narrow, char out[SLM__FLOAT_TEXT]) {
    if (!isfinite(v)) {
        snprintf(out, TEXT_MAX, "%s%s", signbit(v) ? "-" : "", isnan(v) ? "nan" : "inf");
        return;
    }
    char e_form[TEXT_MAX], digits[DIGITS_MAX];
    double magnitude = fabs(v);
    for (int precision = 0; precision < (narrow ? 9 : 17); precision++) {
        snprintf(e_form, sizeof e_form, "%.*e", precision, magnitude);
        double back = narrow ? (double)strtof(e_form, NULL) : strtod(e_form, NULL);
        if (back == magnitude) break;
    }
    int exponent = split_digits(e_form, digits), n = (int)strlen(digits);
    const char *sign = signbit(v) ? "-" : "";
    if (exponent < -4 || exponent >= 16)
        snprintf(out, TEXT_MAX, "%s%c%s%se%+03d", sign, digits[0], n > 1 ? "." : "", digits + 1,
                 exponent);
    else if (exponent < 0)
        snprintf(out, TEXT_MAX, "%s0.%.*s%s", sign, -exponent - 1, "000", digits);
    else if (n > exponent + 1)
        snprintf(out, TEXT_MAX, "%s%.*s.%s", sign, exponent + 1, digits, digits + exponent + 1);
    else
        snprintf(out, TEXT_MAX, "%s%s%.*s", sign, digits, exponent + 1 - n, "000000000000000");
}

static slm__str scalar_text(slm__gguf_type type, const uint8_t *p, char text[TEXT_MAX]) {
    switch (types[type].kind) {
    case UNSIGNED:
        snprintf(text, TEXT_MAX, "%llu", (unsigned long long)read_unsigned(type, p));
        break;
    case SIGNED: snprintf(text, TEXT_MAX, "%lld", (long long)read_signed(type, p)); break;
    case FLOAT: slm__float_text(read_float(type, p), type == GGUF_F32, text); break;
    default: snprintf(text, TEXT_MAX, "%s", *p ? "true" : "false"); break;
    }
    return (slm__str){text, strlen(text)};
}

slm_status slm__gguf_value_text(const slm__key *k, uint64_t element, char *buffer, size_t capacity,
                                size_t *n_bytes) {
    *n_bytes = 0;
    if (element >= k->n) return SLM_ERR_RANGE;
    char text[TEXT_MAX];
    slm__str s;
    if (types[k->type].kind == TEXT) {
        const uint8_t *at = k->data;
        do {
            s = slm__gguf_next_string(&at);
        } while (element-- > 0);
    } else {
        s = scalar_text(k->type, k->data + element * types[k->type].bytes, text);
    }
    *n_bytes = s.len;
    if (s.len > capacity) return SLM_ERR_BUFFER;
    if (s.len) memcpy(buffer, s.ptr, s.len);
    return SLM_OK;
}
