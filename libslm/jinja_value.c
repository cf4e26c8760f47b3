/* Memory, strings, lists and dicts of the interpreter, and how Python compares them. */
#include "jinja.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "unicode.h"

/* ---- Begin, end, failures ---- */

slm_status slm__j_begin(jinja *j, const slm_allocator *allocator, uint64_t n_input,
                        slm_error *err) {
    *j = (jinja){.allocator = allocator, .err = err};
    uint64_t input = n_input < INT32_MAX ? n_input : INT32_MAX;
    j->memory_left = JINJA_MEMORY + 16 * input;
    j->steps_left = JINJA_STEPS + (int64_t)input;
    j->n_loop = slm__j_name(j, "loop", 4);
    j->n_caller = slm__j_name(j, "caller", 6);
    j->n_varargs = slm__j_name(j, "varargs", 7);
    j->n_kwargs = slm__j_name(j, "kwargs", 6);
    j->globals = j->scope = j->status == SLM_OK ? slm__j_scope(j, NULL) : NULL;
    return j->status;
}

void slm__j_end(jinja *j) {
    for (jchunk *c = j->chunks, *next; c; c = next) {
        next = c->next;
        slm__free(j->allocator, c);
    }
    j->chunks = NULL;
}

bool slm__j_fail_str(jinja *j, slm_status status, const char *text, size_t n) {
    static const char hex[] = "0123456789abcdef";
    if (j->status != SLM_OK) return false;
    j->status = status;
    if (!j->err) return false;
    char *out = j->err->message;
    size_t room = sizeof j->err->message;
    slm__json_place place = {1, 1};
    if (j->source) place = slm__json_place_of(j->source, j->pos);
    int head =
        snprintf(out, room, "chat template, line %zu, column %zu: ", place.line, place.column);
    size_t used = head > 0 ? (size_t)head : 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (used + 8 > room) {
            memcpy(out + used, "...", 3);
            used += 3;
            break;
        }
        if (c >= 0x20 && c < 0x7f && c != '\\') {
            out[used++] = (char)c;
        } else {
            memcpy(out + used, "\\x", 2);
            out[used + 2] = hex[c >> 4];
            out[used + 3] = hex[c & 15];
            used += 4;
        }
    }
    out[used] = '\0';
    j->err->status = status;
    return false;
}

bool slm__j_fail(jinja *j, slm_status status, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return slm__j_fail_str(j, status, text, strlen(text));
}

bool slm__j_step(jinja *j, uint64_t n) {
    if (n <= (uint64_t)j->steps_left) {
        j->steps_left -= (int64_t)n;
        return true;
    }
    return slm__j_fail(j, SLM_ERR_LIMIT, "it takes more than %d steps", JINJA_STEPS);
}

/* ---- Memory ---- */

enum { CHUNK_MIN = 1 << 15, CHUNK_MAX = 1 << 20, CHUNK_HEAD = 64 };

static bool add_chunk(jinja *j, uint64_t n) {
    uint64_t used = JINJA_MEMORY - (j->memory_left < JINJA_MEMORY ? j->memory_left : JINJA_MEMORY);
    uint64_t size = used < CHUNK_MIN ? CHUNK_MIN : used > CHUNK_MAX ? CHUNK_MAX : used;
    if (size < n + CHUNK_HEAD) size = n + CHUNK_HEAD;
    if (size > j->memory_left) size = n + CHUNK_HEAD;
    if (size > j->memory_left) {
        return slm__j_fail(j, SLM_ERR_LIMIT, "it takes more than %d MiB of memory",
                           JINJA_MEMORY >> 20);
    }
    jchunk *c = slm__alloc(j->allocator, size);
    if (!c) return slm__j_fail(j, SLM_ERR_NOMEM, "no memory for a chat template");
    j->memory_left -= size;
    c->next = j->chunks;
    j->chunks = c;
    j->top = (char *)c + CHUNK_HEAD;
    j->end = (char *)c + size;
    return true;
}

void *slm__j_alloc(jinja *j, uint64_t n) {
    if (j->status != SLM_OK) return NULL;
    if (n > UINT32_MAX) {
        slm__j_fail(j, SLM_ERR_LIMIT, "it takes more than %d MiB of memory", JINJA_MEMORY >> 20);
        return NULL;
    }
    n = (n + 7) & ~(uint64_t)7;
    if (n > (uint64_t)(j->end - j->top) && !add_chunk(j, n)) return NULL;
    void *p = j->top;
    j->top += n;
    return p;
}

void *slm__j_array(jinja *j, uint64_t n, uint64_t size) {
    uint64_t bytes;
    void *p = slm__j_alloc(j, slm__mul(n, size, &bytes) ? bytes : UINT64_MAX - 8);
    if (p) memset(p, 0, bytes);
    return p;
}

/* `p` with room for more: where it is if nothing lies behind it, or a copy. */
static void *grow(jinja *j, void *p, uint64_t old_bytes, uint64_t bytes) {
    uint64_t old = (old_bytes + 7) & ~(uint64_t)7, more = ((bytes + 7) & ~(uint64_t)7) - old;
    if (p && (char *)p + old == j->top && more <= (uint64_t)(j->end - j->top)) {
        j->top += more;
        return p;
    }
    void *q = slm__j_alloc(j, bytes);
    if (q && old_bytes) memcpy(q, p, old_bytes);
    return q;
}

const jname *slm__j_name(jinja *j, const char *s, size_t n) {
    uint32_t hash = slm__hash(s, n);
    const jname **bucket = &j->buckets[hash % JINJA_BUCKETS];
    uint64_t looked_at = n;
    for (const jname *k = *bucket; k; k = k->next, looked_at++) {
        if (k->hash == hash && k->s.len == n && memcmp(k->s.ptr, s, n) == 0)
            return slm__j_walk(j, looked_at) ? k : NULL;
    }
    if (!slm__j_walk(j, looked_at)) return NULL;
    jname *name = slm__j_alloc(j, sizeof *name + n);
    if (!name) return NULL;
    memcpy(name + 1, s, n);
    *name = (jname){{(char *)(name + 1), n}, hash, *bucket};
    *bucket = name;
    return name;
}

/* ---- Strings ---- */

jbuf *slm__j_buf(jinja *j, size_t capacity) {
    jbuf *b = slm__j_array(j, 1, sizeof *b);
    if (b) b->p = (char *)(uintptr_t) ""; /* never written to: there is no capacity */
    if (b && capacity) {
        b->p = slm__j_alloc(j, capacity);
        b->capacity = (uint32_t)capacity;
    }
    return b && (b->p || !capacity) ? b : NULL;
}

static bool reserve(jinja *j, jbuf *b, size_t n) {
    if (n <= b->capacity - b->n) return true;
    uint64_t capacity = b->n + (uint64_t)n + b->n / 2 + 32;
    if (capacity > INT32_MAX)
        return slm__j_fail(j, SLM_ERR_LIMIT, "a string is longer than %d bytes", INT32_MAX);
    char *p = grow(j, b->p, b->capacity, capacity);
    if (!p) return false;
    if (b->mark) {
        uint8_t *mark = grow(j, b->mark, b->capacity, capacity);
        if (!mark) return false;
        b->mark = mark;
    }
    b->p = p;
    b->capacity = (uint32_t)capacity;
    return true;
}

static bool add_marks(jinja *j, jbuf *b) {
    if (b->mark) return true;
    b->mark = slm__j_alloc(j, b->capacity);
    if (b->mark) memset(b->mark, b->marked, b->n);
    return b->mark;
}

bool slm__j_put(jinja *j, jbuf *b, const char *s, size_t n, bool marked) {
    if (n == 0) return true;
    if (!slm__j_scan(j, n) || !reserve(j, b, n)) return false;
    if (b->n == 0 && !b->mark) b->marked = marked;
    if (!b->mark && marked != b->marked && !add_marks(j, b)) return false;
    memcpy(b->p + b->n, s, n);
    if (b->mark) memset(b->mark + b->n, marked, n);
    b->n += (uint32_t)n;
    return true;
}

bool slm__j_put_str(jinja *j, jbuf *b, const jv *s) {
    const jbuf *from = s->u.buf;
    if (!from->mark) return slm__j_put(j, b, jbytes(s), s->len, from->marked);
    if (s->len == 0) return true;
    if (!slm__j_scan(j, s->len) || !reserve(j, b, s->len) || !add_marks(j, b)) return false;
    memcpy(b->p + b->n, jbytes(s), s->len);
    memcpy(b->mark + b->n, from->mark + s->at, s->len);
    b->n += s->len;
    return true;
}

jv slm__j_whole(jbuf *b) { return (jv){.kind = J_STRING, .len = b->n, .u.buf = b}; }

bool slm__j_outside(jinja *j, const char *s, size_t n, bool marked, jv *out) {
    if (n > INT32_MAX)
        return slm__j_fail(j, SLM_ERR_LIMIT, "a string of %zu bytes, at most %d", n, INT32_MAX);
    jbuf *b = slm__j_array(j, 1, sizeof *b);
    if (!b) return false;
    *b = (jbuf){(char *)(uintptr_t)s, NULL, (uint32_t)n, (uint32_t)n, marked};
    *out = slm__j_whole(b);
    return true;
}

bool slm__j_text(jinja *j, const char *s, jv *out) {
    jbuf *b = slm__j_buf(j, strlen(s));
    if (!b || !slm__j_puts(j, b, s)) return false;
    *out = slm__j_whole(b);
    return true;
}

/* A string that ends its buffer goes on in it, so adding to the end of a text again and again takes linear time. */
bool slm__j_concat(jinja *j, const jv *a, const jv *b, jv *out) {
    jbuf *buf = a->u.buf;
    if (a->len > 0 && a->at + a->len == buf->n && b->len <= buf->capacity - buf->n) {
        if (!slm__j_put_str(j, buf, b)) return false;
        *out = (jv){.kind = J_STRING, .at = a->at, .len = a->len + b->len, .u.buf = buf};
        return true;
    }
    uint64_t n = (uint64_t)a->len + b->len;
    buf = slm__j_buf(j, n + (a->len > 128 ? a->len : 16));
    if (!buf || !slm__j_put_str(j, buf, a) || !slm__j_put_str(j, buf, b)) return false;
    *out = slm__j_whole(buf);
    return true;
}

uint32_t slm__j_char(const char *p, size_t n, uint32_t *len) {
    const uint8_t *u = (const uint8_t *)p;
    *len = 1;
    if (u[0] < 0x80) return u[0];
    if (slm__utf8_strict(u, n) <= 0) return 0xdc00u + u[0];
    size_t l;
    uint32_t cp = slm__utf8_read(u, n, &l);
    *len = (uint32_t)l;
    return cp;
}

uint32_t slm__j_count(const jv *s) {
    const char *p = jbytes(s);
    uint32_t n = 0;
    for (uint32_t i = 0, len; i < s->len; i += len, n++) slm__j_char(p + i, s->len - i, &len);
    return n;
}

uint32_t slm__j_offset(const jv *s, uint64_t index) {
    const char *p = jbytes(s);
    uint32_t i = 0;
    for (uint32_t len; index > 0 && i < s->len; i += len, index--)
        slm__j_char(p + i, s->len - i, &len);
    return i;
}

bool slm__j_is_space(uint32_t cp) {
    return (cp >= 9 && cp <= 13) || (cp >= 0x1c && cp <= 0x20) || cp == 0x85 || cp == 0xa0 ||
           cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 ||
           cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

/* ---- Lists ---- */

bool slm__j_list(jinja *j, jkind kind, uint32_t capacity, jv *out) {
    jlist *l = slm__j_array(j, 1, sizeof *l);
    if (!l) return false;
    if (capacity && !(l->v = slm__j_array(j, capacity, sizeof *l->v))) return false;
    l->capacity = capacity;
    *out = (jv){.kind = (uint8_t)kind, .u.list = l};
    return true;
}

bool slm__j_append(jinja *j, jlist *l, const jv *v) {
    if (!slm__j_step(j, 1)) return false;
    if (l->n == l->capacity) {
        uint64_t capacity = l->capacity ? 2 * (uint64_t)l->capacity : 4;
        jv *p = grow(j, l->v, l->capacity * sizeof *p, capacity * sizeof *p);
        if (!p) return false;
        l->v = p;
        l->capacity = (uint32_t)capacity;
    }
    l->v[l->n++] = *v;
    return true;
}

bool slm__j_iterator(jinja *j, jlist *l, jv *out) {
    jiter *i = slm__j_array(j, 1, sizeof *i);
    if (!i) return false;
    i->list = l;
    *out = (jv){.kind = J_ITERATOR, .u.iter = i};
    return true;
}

static bool characters(jinja *j, const jv *s, jlist **out) {
    jv l;
    if (!slm__j_list(j, J_LIST, slm__j_count(s), &l)) return false;
    const char *p = jbytes(s);
    for (uint32_t i = 0, len; i < s->len; i += len) {
        slm__j_char(p + i, s->len - i, &len);
        jv c = jsub(s, i, len);
        c.flag = 0;
        if (!slm__j_append(j, l.u.list, &c)) return false;
    }
    *out = l.u.list;
    return true;
}

static bool keys_of(jinja *j, const jdict *d, jlist **out) {
    jv l;
    if (!slm__j_list(j, J_LIST, d->n, &l)) return false;
    for (uint32_t i = 0; i < d->n; i++) {
        if (!slm__j_append(j, l.u.list, &d->e[i].key)) return false;
    }
    *out = l.u.list;
    return true;
}

bool slm__j_elements(jinja *j, const jv *v, jlist **out) {
    jv l;
    switch (v->kind) {
    case J_LIST:
    case J_TUPLE:
    case J_RANGE:
    case J_VIEW: *out = v->u.list; return true;
    case J_STRING: return characters(j, v, out);
    case J_DICT: return keys_of(j, v->u.dict, out);
    case J_UNDEFINED:
        if (!slm__j_list(j, J_LIST, 0, &l)) return false;
        *out = l.u.list;
        return true;
    case J_ITERATOR:
        if (!slm__j_list(j, J_LIST, 0, &l)) return false;
        *l.u.list = *v->u.iter->list;
        if (v->u.iter->at) l.u.list->v += v->u.iter->at;
        l.u.list->n -= v->u.iter->at;
        l.u.list->capacity = l.u.list->n;
        v->u.iter->at = v->u.iter->list->n;
        *out = l.u.list;
        return true;
    default:
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "'%s' object is not iterable", slm__j_kind_name(v));
    }
}

bool slm__j_length(jinja *j, const jv *v, int64_t *out) {
    switch (v->kind) {
    case J_LIST:
    case J_TUPLE:
    case J_RANGE:
    case J_VIEW: *out = v->u.list->n; return true;
    case J_DICT: *out = v->u.dict->n; return true;
    case J_STRING: *out = slm__j_count(v); return slm__j_scan(j, v->len);
    case J_UNDEFINED: *out = 0; return true;
    default:
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "object of type '%s' has no length",
                           slm__j_kind_name(v));
    }
}

/* ---- Dicts ---- */

enum { SMALL_DICT = 8 };

bool slm__j_dict(jinja *j, jkind kind, jv *out) {
    jdict *d = slm__j_array(j, 1, sizeof *d);
    *out = (jv){.kind = (uint8_t)kind, .u.dict = d};
    return d;
}

/* Tuples may share their elements, so that looking at all of them is exponential: each is a step. */
bool slm__j_is_hashable(jinja *j, const jv *v, uint32_t depth, bool *out) {
    *out = v->kind != J_LIST && v->kind != J_DICT &&
           (v->kind != J_VIEW || v->flag == VIEW_VALUES) && depth <= JINJA_DEPTH;
    for (uint32_t i = 0; *out && v->kind == J_TUPLE && i < v->u.list->n; i++) {
        if (!slm__j_step(j, 1) || !slm__j_is_hashable(j, &v->u.list->v[i], depth + 1, out))
            return false;
    }
    return true;
}

static bool hash_of(jinja *j, const jv *v, uint32_t depth, uint32_t *out) {
    double f;
    int64_t i;
    if (v->kind == J_STRING) {
        *out = slm__hash(jbytes(v), v->len);
        return slm__j_scan(j, v->len);
    }
    if (slm__j_is_int(v, &i)) {
        *out = slm__hash(&i, sizeof i);
        return true;
    }
    if (v->kind == J_FLOAT) {
        f = v->u.f;
        bool whole = f >= -9e18 && f <= 9e18 && f == (double)(int64_t)f;
        i = whole ? (int64_t)f : 0;
        *out = whole ? slm__hash(&i, sizeof i) : slm__hash(&f, sizeof f);
        return true;
    }
    bool ok;
    *out = v->kind;
    if (!slm__j_is_hashable(j, v, depth, &ok)) return false;
    if (!ok) return slm__j_fail(j, SLM_ERR_ARGUMENT, "unhashable type: '%s'", slm__j_kind_name(v));
    for (uint32_t k = 0; v->kind == J_TUPLE && k < v->u.list->n; k++) {
        uint32_t h;
        if (!slm__j_step(j, 1) || !hash_of(j, &v->u.list->v[k], depth + 1, &h)) return false;
        *out = *out * 31 + h;
    }
    return true;
}

/* NULL if there is none; then *slot is the free one. */
static jentry *look_up(jinja *j, const jdict *d, const jv *key, uint32_t hash, uint32_t *slot) {
    bool same;
    if (!d->slots) {
        for (uint32_t i = 0; i < d->n; i++) {
            if (d->e[i].hash != hash) continue;
            if (!slm__j_equal(j, &d->e[i].key, key, &same)) return NULL;
            if (same) return &d->e[i];
        }
        return NULL;
    }
    for (uint32_t s = hash & d->mask, n = 1;; s = (s + 1) & d->mask, n++) {
        *slot = s;
        if (d->slots[s] == 0) return NULL;
        jentry *e = &d->e[d->slots[s] - 1];
        if (n % 64 == 0 && !slm__j_step(j, 1)) return NULL;
        if (e->hash != hash) continue;
        if (!slm__j_equal(j, &e->key, key, &same)) return NULL;
        if (same) return e;
    }
}

static bool index_dict(jinja *j, jdict *d, uint32_t capacity) {
    d->slots = slm__j_array(j, 2 * (uint64_t)capacity, sizeof *d->slots);
    if (!d->slots) return false;
    d->mask = 2 * capacity - 1;
    uint64_t n = 0; /* slots that are taken */
    for (uint32_t i = 0; i < d->n; i++) {
        uint32_t s = d->e[i].hash & d->mask;
        for (; d->slots[s]; n++) s = (s + 1) & d->mask;
        d->slots[s] = i + 1;
        if (n >= 64 && !slm__j_scan(j, n)) return false;
        n = n < 64 ? n : 0;
    }
    return true;
}

bool slm__j_dict_set(jinja *j, jdict *d, const jv *key, const jv *value) {
    uint32_t hash, slot = 0;
    if (!slm__j_step(j, 1) || !hash_of(j, key, 0, &hash)) return false;
    jentry *e = look_up(j, d, key, hash, &slot);
    if (j->status != SLM_OK) return false;
    if (e) {
        e->value = *value;
        return true;
    }
    if (d->n == d->capacity) {
        uint32_t capacity = d->capacity ? 2 * d->capacity : 4;
        jentry *p = grow(j, d->e, d->capacity * sizeof *p, capacity * sizeof *p);
        if (!p) return false;
        d->e = p;
        d->capacity = capacity;
        if (capacity > SMALL_DICT) {
            if (!index_dict(j, d, capacity)) return false;
            look_up(j, d, key, hash, &slot);
            if (j->status != SLM_OK) return false;
        }
    }
    d->e[d->n] = (jentry){*key, *value, hash};
    d->n++;
    if (d->slots) d->slots[slot] = d->n;
    return true;
}

jentry *slm__j_dict_get(jinja *j, const jdict *d, const jv *key) {
    uint32_t hash, slot;
    return slm__j_step(j, 1) && hash_of(j, key, 0, &hash) ? look_up(j, d, key, hash, &slot) : NULL;
}

jentry *slm__j_dict_find(jinja *j, const jdict *d, slm__str key) {
    uint32_t hash = slm__hash(key.ptr, key.len);
    uint32_t s = d->slots ? hash & d->mask : 0;
    for (uint32_t n = 1;; s = d->slots ? (s + 1) & d->mask : s + 1, n++) {
        if (d->slots ? d->slots[s] == 0 : s == d->n) return NULL;
        if (n % 64 == 0 && !slm__j_step(j, 1)) return NULL;
        jentry *e = d->slots ? &d->e[d->slots[s] - 1] : &d->e[s];
        if (e->hash == hash && e->key.kind == J_STRING && e->key.len == key.len &&
            memcmp(jbytes(&e->key), key.ptr, key.len) == 0)
            return e;
    }
}

/* ---- Python's rules ---- */

bool slm__j_truth(const jv *v) {
    switch (v->kind) {
    case J_MISSING:
    case J_UNDEFINED:
    case J_NONE: return false;
    case J_BOOL: return v->u.b;
    case J_INT: return v->u.i != 0;
    case J_FLOAT: return v->u.f != 0;
    case J_STRING: return v->len > 0;
    case J_LIST:
    case J_TUPLE:
    case J_RANGE:
    case J_VIEW: return v->u.list->n > 0;
    case J_DICT: return v->u.dict->n > 0;
    default: return true;
    }
}

const char *slm__j_kind_name(const jv *v) {
    static const char *const names[J_N_KINDS] = {
        "missing", "Undefined", "NoneType",    "bool",  "int",        "float",
        "str",     "list",      "tuple",       "range", "dict_items", "generator",
        "dict",    "Namespace", "LoopContext", "Macro", "function",   "builtin_function_or_method"};
    return v->kind < J_N_KINDS ? names[v->kind] : "?";
}

bool slm__j_fail_undefined(jinja *j, const jv *v) {
    slm__shown name = slm__show(v->u.name ? v->u.name->s : (slm__str){"", 0});
    jv owner = {.kind = (uint8_t)v->at};
    if (v->flag == FLAG_FORBIDDEN)
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "access to attribute '%s' of '%s' object is unsafe",
                           name.text, slm__j_kind_name(&owner));
    if (!v->u.name) return slm__j_fail(j, SLM_ERR_ARGUMENT, "a value is undefined");
    if (v->at == 0) return slm__j_fail(j, SLM_ERR_ARGUMENT, "'%s' is undefined", name.text);
    return slm__j_fail(j, SLM_ERR_ARGUMENT, "'%s' object has no attribute '%s'",
                       slm__j_kind_name(&owner), name.text);
}

bool slm__j_is_int(const jv *v, int64_t *out) {
    if (v->kind != J_INT && v->kind != J_BOOL) return false;
    *out = v->kind == J_BOOL ? v->u.b : v->u.i;
    return true;
}

bool slm__j_is_number(const jv *v, double *out) {
    int64_t i;
    if (v->kind == J_FLOAT)
        *out = v->u.f;
    else if (slm__j_is_int(v, &i))
        *out = (double)i;
    else
        return false;
    return true;
}

static int sign(int64_t a, int64_t b) { return (a > b) - (a < b); }

/* -1, 0, 1; 2 if one is no number. The integer and the float are compared as such. */
static int compare_numbers(const jv *a, const jv *b) {
    int64_t i, k;
    double f, g;
    if (slm__j_is_int(a, &i) && slm__j_is_int(b, &k)) return sign(i, k);
    if (!slm__j_is_number(a, &f) || !slm__j_is_number(b, &g) || isnan(f) || isnan(g)) return 2;
    if (f != g) return f < g ? -1 : 1;
    /* equal as doubles: what rounding took away decides */
    if (fabs(f) > 9e15 && fabs(f) < 9.2e18)
        return sign(slm__j_is_int(a, &i) ? i : (int64_t)f, slm__j_is_int(b, &k) ? k : (int64_t)g);
    return 0;
}

static int compare_bytes(slm__str a, slm__str b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.ptr, b.ptr, n) : 0;
    return c ? (c > 0) - (c < 0) : sign((int64_t)a.len, (int64_t)b.len);
}

static bool equal(jinja *j, const jv *a, const jv *b, uint32_t depth, bool *out);

static bool equal_lists(jinja *j, const jlist *a, const jlist *b, uint32_t depth, bool *out) {
    *out = a->n == b->n;
    for (uint32_t i = 0; i < a->n && *out; i++) {
        if (!equal(j, &a->v[i], &b->v[i], depth + 1, out)) return false;
    }
    return true;
}

static bool equal_dicts(jinja *j, const jdict *a, const jdict *b, uint32_t depth, bool *out) {
    *out = a->n == b->n;
    for (uint32_t i = 0; i < a->n && *out; i++) {
        jentry *e = slm__j_dict_get(j, b, &a->e[i].key);
        if (j->status != SLM_OK) return false;
        *out = e;
        if (e && !equal(j, &a->e[i].value, &e->value, depth + 1, out)) return false;
    }
    return true;
}

static bool equal(jinja *j, const jv *a, const jv *b, uint32_t depth, bool *out) {
    double f;
    if (depth > JINJA_DEPTH)
        return slm__j_fail(j, SLM_ERR_LIMIT, "values more than %d deep", JINJA_DEPTH);
    if (!slm__j_step(j, 1)) return false;
    *out = false;
    if (slm__j_is_number(a, &f) || a->kind != b->kind) {
        *out = compare_numbers(a, b) == 0;
        return true;
    }
    switch (a->kind) {
    case J_UNDEFINED:
    case J_NONE: *out = true; return true;
    case J_STRING:
        *out = a->len == b->len && (a->len == 0 || memcmp(jbytes(a), jbytes(b), a->len) == 0);
        return slm__j_scan(j, a->len);
    case J_VIEW:
        if (a->flag == VIEW_VALUES || b->flag != a->flag) return true;
        return equal_lists(j, a->u.list, b->u.list, depth, out);
    case J_LIST:
    case J_TUPLE:
    case J_RANGE: return equal_lists(j, a->u.list, b->u.list, depth, out);
    case J_DICT: return equal_dicts(j, a->u.dict, b->u.dict, depth, out);
    case J_METHOD: *out = a->u.method == b->u.method; return true;
    default: *out = a->u.macro == b->u.macro; return true;
    }
}

bool slm__j_equal(jinja *j, const jv *a, const jv *b, bool *out) { return equal(j, a, b, 0, out); }

static bool compare(jinja *j, const jv *a, const jv *b, uint32_t depth, int *out) {
    if (depth > JINJA_DEPTH)
        return slm__j_fail(j, SLM_ERR_LIMIT, "values more than %d deep", JINJA_DEPTH);
    if (!slm__j_step(j, 1)) return false;
    if (a->kind == J_UNDEFINED) return slm__j_fail_undefined(j, a);
    if (b->kind == J_UNDEFINED) return slm__j_fail_undefined(j, b);
    double f, g;
    if (slm__j_is_number(a, &f) && slm__j_is_number(b, &g)) {
        *out = compare_numbers(a, b);
        return true;
    }
    if (a->kind == J_STRING && b->kind == J_STRING) {
        *out = compare_bytes(jstr(a), jstr(b));
        return slm__j_scan(j, a->len < b->len ? a->len : b->len);
    }
    if (a->kind != b->kind || (a->kind != J_LIST && a->kind != J_TUPLE))
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "'%s' and '%s' cannot be ordered",
                           slm__j_kind_name(a), slm__j_kind_name(b));
    const jlist *x = a->u.list, *y = b->u.list;
    for (uint32_t i = 0; i < x->n && i < y->n; i++) {
        bool same;
        if (!equal(j, &x->v[i], &y->v[i], depth + 1, &same)) return false;
        if (!same) return compare(j, &x->v[i], &y->v[i], depth + 1, out);
    }
    *out = sign(x->n, y->n);
    return true;
}

/* 2: neither less, equal nor greater (NaN). */
bool slm__j_compare(jinja *j, const jv *a, const jv *b, int *out) {
    return compare(j, a, b, 0, out);
}

bool slm__j_contains(jinja *j, const jv *container, const jv *v, bool *out) {
    *out = false;
    if (container->kind == J_STRING) {
        if (v->kind == J_UNDEFINED) return slm__j_fail_undefined(j, v);
        if (v->kind != J_STRING)
            return slm__j_fail(j, SLM_ERR_ARGUMENT, "'in <string>' requires a string, not %s",
                               slm__j_kind_name(v));
        *out = slm__j_search(container, 0, v) >= 0;
        return slm__j_scan(j, container->len);
    }
    if (container->kind == J_DICT) {
        *out = slm__j_dict_get(j, container->u.dict, v);
        return j->status == SLM_OK;
    }
    jlist *l;
    uint32_t hash;
    bool of_keys = container->kind == J_VIEW && container->flag == VIEW_KEYS;
    if (of_keys && !hash_of(j, v, 0, &hash)) return false;
    if (!slm__j_elements(j, container, &l)) return false;
    for (uint32_t i = 0; i < l->n && !*out; i++) {
        if (!slm__j_equal(j, &l->v[i], v, out)) return false;
    }
    return true;
}

/* ---- From JSON ---- */

static bool json_number(jinja *j, const slm__json_value *v, jv *out) {
    int64_t i;
    if (slm__json_int(v, &i)) {
        *out = JINT(i);
        return true;
    }
    *out = JFLOAT(0);
    bool is_float = memchr(v->text.ptr, '.', v->text.len) ||
                    memchr(v->text.ptr, 'e', v->text.len) || memchr(v->text.ptr, 'E', v->text.len);
    if (is_float && slm__j_parse_float(v->text.ptr, v->text.len, &out->u.f)) return true;
    return slm__j_fail(j, SLM_ERR_RANGE, "the number %s has more than 64 bits",
                       slm__show(v->text).text);
}

/* How strings are taken over: as they are in the tree, or as copies. */
typedef struct json_way {
    bool marked, copy;
} json_way;

static bool json_text(jinja *j, slm__str text, json_way way, jv *out) {
    if (!way.copy) return slm__j_outside(j, text.ptr, text.len, way.marked, out);
    jbuf *b = slm__j_buf(j, text.len);
    if (!b || !slm__j_put(j, b, text.ptr, text.len, way.marked)) return false;
    *out = slm__j_whole(b);
    return true;
}

static bool from_json(jinja *j, const slm__json_value *v, json_way way, uint32_t depth, jv *out) {
    jv key, child;
    if (depth > JINJA_DEPTH)
        return slm__j_fail(j, SLM_ERR_LIMIT, "values more than %d deep", JINJA_DEPTH);
    switch (v->kind) {
    case JSON_NULL: *out = JNONE; return true;
    case JSON_FALSE:
    case JSON_TRUE: *out = JBOOL(v->kind == JSON_TRUE); return true;
    case JSON_NUMBER: return json_number(j, v, out);
    case JSON_STRING: return json_text(j, v->text, way, out);
    case JSON_ARRAY:
        if (!slm__j_list(j, J_LIST, v->n, out)) return false;
        break;
    case JSON_OBJECT:
        if (!slm__j_dict(j, J_DICT, out)) return false;
        break;
    }
    for (const slm__json_value *c = v->first; c; c = c->next) {
        if (!from_json(j, c, way, depth + 1, &child)) return false;
        if (v->kind == JSON_ARRAY) {
            if (!slm__j_append(j, out->u.list, &child)) return false;
        } else if (!json_text(j, c->key, way, &key) ||
                   !slm__j_dict_set(j, out->u.dict, &key, &child)) {
            return false;
        }
    }
    return true;
}

bool slm__j_from_json(jinja *j, const slm__json_value *v, bool marked, bool copy, jv *out) {
    return from_json(j, v, (json_way){marked, copy}, 0, out);
}
