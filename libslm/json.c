/*
 * One pass counts what may become a value, so that the tree is one array; a second one reads, without recursion: `open` holds the arrays and
 * objects that the place is in. Strings lose their escapes and never grow, so all of them fit into one copy of the text.
 */
#include "json.h"

#include "unicode.h"

typedef struct reader {
    const uint8_t *text;
    size_t n, at;
    slm__json *out;
    uint32_t n_values;
    size_t n_text;
    slm__json_value *open[SLM__JSON_DEPTH], *last[SLM__JSON_DEPTH]; /* last: its youngest child */
    int depth;
    const slm__json_value **sorted; /* room for the members of an object */
    slm_error *err;
} reader;

slm__json_place slm__json_place_of(const char *text, size_t offset) {
    slm__json_place p = {1, 1};
    for (size_t i = 0; i < offset; i++) {
        p.column++;
        if (text[i] == '\n') p.line++, p.column = 1;
    }
    return p;
}

static slm_status fail(reader *r, size_t at, const char *what) {
    slm__json_place p = slm__json_place_of((const char *)r->text, at);
    return slm__fail(r->err, SLM_ERR_FORMAT, "JSON, line %zu, column %zu: %s", p.line, p.column,
                     what);
}

static void skip_spaces(reader *r) {
    while (r->at < r->n && (r->text[r->at] == ' ' || r->text[r->at] == '\t' ||
                            r->text[r->at] == '\n' || r->text[r->at] == '\r'))
        r->at++;
}

static bool take(reader *r, char c) {
    if (r->at == r->n || r->text[r->at] != (uint8_t)c) return false;
    r->at++;
    return true;
}

/* ---- Strings ---- */

/* Four hexadecimal digits; -1 if they are not there. */
static int32_t read_hex(reader *r) {
    int32_t v = 0;
    if (r->n - r->at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        int digit = slm__hex_digit(r->text[r->at++]);
        if (digit < 0) return -1;
        v = v * 16 + digit;
    }
    return v;
}

/* Behind "\u": one code point, which takes a second escape if it is a surrogate. */
static slm_status read_unicode(reader *r, size_t begin) {
    int32_t cp = read_hex(r);
    if (cp < 0) return fail(r, begin, "four hexadecimal digits are needed behind \\u");
    if (cp >= 0xD800 && cp < 0xE000) {
        int32_t low = -1;
        if (cp < 0xDC00 && take(r, '\\') && take(r, 'u')) low = read_hex(r);
        if (low < 0xDC00 || low > 0xDFFF) return fail(r, begin, "half of a surrogate pair");
        cp = 0x10000 + ((cp - 0xD800) << 10) + (low - 0xDC00);
    }
    r->n_text += slm__utf8_write((uint32_t)cp, (uint8_t *)r->out->text + r->n_text);
    return SLM_OK;
}

static slm_status read_escape(reader *r) {
    static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    size_t begin = r->at++;
    if (r->at == r->n) return fail(r, r->at, "a string without end");
    char c = (char)r->text[r->at++];
    if (c == 'u') return read_unicode(r, begin);
    const char *found = c ? strchr(names, c) : NULL;
    if (!found) return fail(r, begin, "an escape that JSON does not have");
    r->out->text[r->n_text++] = bytes[found - names];
    return SLM_OK;
}

/* At the opening quote. */
static slm_status read_string(reader *r, slm__str *out) {
    size_t begin = r->at++, text = r->n_text;
    while (!take(r, '"')) {
        if (r->at == r->n) return fail(r, begin, "a string without end");
        uint8_t c = r->text[r->at];
        if (c == '\\') {
            SLM_TRY(read_escape(r));
            continue;
        }
        if (c < 0x20) return fail(r, r->at, "a control character in a string");
        int len = slm__utf8_strict(r->text + r->at, r->n - r->at);
        if (len <= 0) return fail(r, r->at, "invalid UTF-8");
        memcpy(r->out->text + r->n_text, r->text + r->at, (size_t)len);
        r->n_text += (size_t)len;
        r->at += (size_t)len;
    }
    *out = (slm__str){r->out->text + text, r->n_text - text};
    return SLM_OK;
}

/* ---- Numbers and names ---- */

static bool digits(reader *r) {
    size_t begin = r->at;
    while (r->at < r->n && r->text[r->at] >= '0' && r->text[r->at] <= '9') r->at++;
    return r->at > begin;
}

static slm_status read_number(reader *r, slm__str *out) {
    size_t begin = r->at, text = r->n_text;
    take(r, '-');
    bool ok = take(r, '0') || digits(r);
    if (ok && take(r, '.')) ok = digits(r);
    if (ok && (take(r, 'e') || take(r, 'E'))) {
        if (!take(r, '+')) take(r, '-');
        ok = digits(r);
    }
    if (!ok) return fail(r, begin, "no number that JSON has");
    memcpy(r->out->text + text, r->text + begin, r->at - begin);
    r->n_text += r->at - begin;
    *out = (slm__str){r->out->text + text, r->at - begin};
    return SLM_OK;
}

static slm_status read_name(reader *r, slm__json_value *v) {
    static const struct {
        const char *name;
        slm__json_kind kind;
    } names[] = {{"null", JSON_NULL}, {"false", JSON_FALSE}, {"true", JSON_TRUE}};
    for (size_t i = 0; i < SLM_COUNT(names); i++) {
        size_t n = strlen(names[i].name);
        if (r->n - r->at < n || memcmp(r->text + r->at, names[i].name, n) != 0) continue;
        r->at += n;
        v->kind = names[i].kind;
        return SLM_OK;
    }
    return fail(r, r->at, r->at == r->n ? "it ends where a value is needed" : "no value");
}

/* ---- The tree ---- */

static int compare_keys(const slm__json_value *a, const slm__json_value *b) {
    size_t n = a->key.len < b->key.len ? a->key.len : b->key.len;
    int order = n > 0 ? memcmp(a->key.ptr, b->key.ptr, n) : 0;
    return order ? order : (a->key.len > b->key.len) - (a->key.len < b->key.len);
}

/* Let v find its place below the gap at i, in a heap with the greatest key first. */
static void sift(const slm__json_value **heap, size_t n, size_t i, const slm__json_value *v) {
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        child += child + 1 < n && compare_keys(heap[child], heap[child + 1]) < 0;
        if (compare_keys(v, heap[child]) >= 0) break;
        heap[i] = heap[child];
    }
    heap[i] = v;
}

/* FORMAT if the object has a key twice. By sorting: a hash table is slow where the caller wants it to be. */
static slm_status check_keys(reader *r, const slm__json_value *object) {
    const slm__json_value **heap = r->sorted;
    size_t n = 0;
    for (const slm__json_value *v = object->first; v; v = v->next) heap[n++] = v;
    for (size_t i = n / 2; i-- > 0;) sift(heap, n, i, heap[i]);
    for (const slm__json_value *last = NULL; n > 0;) {
        const slm__json_value *top = heap[0];
        if (last && compare_keys(top, last) == 0)
            return fail(r, last->offset > top->offset ? last->offset : top->offset,
                        "the object has the key of this value twice");
        last = top;
        n--;
        if (n > 0) sift(heap, n, 0, heap[n]);
    }
    return SLM_OK;
}

/* The next value, which is a child of what is open; arrays and objects are only opened. */
static slm_status read_value(reader *r) {
    slm__json_value *v = &r->out->values[r->n_values++], *parent = NULL;
    if (r->depth > 0) {
        parent = r->open[r->depth - 1];
        if (parent->n++ == 0)
            parent->first = v;
        else
            r->last[r->depth - 1]->next = v;
        r->last[r->depth - 1] = v;
    }
    skip_spaces(r);
    v->offset = r->at;
    if (parent && parent->kind == JSON_OBJECT) {
        if (r->at == r->n || r->text[r->at] != '"') return fail(r, r->at, "no key of a member");
        SLM_TRY(read_string(r, &v->key));
        skip_spaces(r);
        if (!take(r, ':')) return fail(r, r->at, "no ':' behind the key");
        skip_spaces(r);
        v->offset = r->at;
    }
    uint8_t c = r->at < r->n ? r->text[r->at] : 0;
    if (c == '{' || c == '[') {
        if (r->depth == SLM__JSON_DEPTH)
            return slm__fail(r->err, SLM_ERR_LIMIT, "JSON, byte %zu: more than %d levels", r->at,
                             SLM__JSON_DEPTH);
        r->at++;
        v->kind = c == '{' ? JSON_OBJECT : JSON_ARRAY;
        r->open[r->depth++] = v;
        return SLM_OK;
    }
    if (c == '"') {
        v->kind = JSON_STRING;
        return read_string(r, &v->text);
    }
    if (c == '-' || (c >= '0' && c <= '9')) {
        v->kind = JSON_NUMBER;
        return read_number(r, &v->text);
    }
    return read_name(r, v);
}

/* Behind a value or an opening bracket: close what ends here, up to where the next value begins. */
static slm_status close_finished(reader *r) {
    while (r->depth > 0) {
        slm__json_value *v = r->open[r->depth - 1];
        bool object = v->kind == JSON_OBJECT;
        skip_spaces(r);
        if (!take(r, object ? '}' : ']')) {
            if (v->n == 0 || take(r, ',')) return SLM_OK;
            return fail(r, r->at, object ? "neither ',' nor '}'" : "neither ',' nor ']'");
        }
        if (object) SLM_TRY(check_keys(r, v));
        r->depth--;
    }
    return SLM_OK;
}

static slm_status read_all(reader *r) {
    do {
        SLM_TRY(read_value(r));
        SLM_TRY(close_finished(r));
    } while (r->depth > 0);
    skip_spaces(r);
    return r->at == r->n ? SLM_OK : fail(r, r->at, "something behind the value");
}

/* A value needs a comma, colon or bracket before it, but for the first. */
static uint64_t count_values(const char *text, size_t n_bytes) {
    uint64_t n = 1;
    for (size_t i = 0; i < n_bytes; i++) n += text[i] == ',' || text[i] == '[' || text[i] == '{';
    return n;
}

uint64_t slm__json_cost(const char *text, size_t n_bytes) {
    return count_values(text, n_bytes) * (sizeof(slm__json_value) + sizeof(slm__json_value *)) +
           n_bytes;
}

slm_status slm__json_parse(const slm_allocator *allocator, const char *text, size_t n_bytes,
                           slm__json *out, slm_error *err) {
    *out = (slm__json){.allocator = allocator};
    if (n_bytes > INT32_MAX)
        return slm__fail(err, SLM_ERR_LIMIT, "JSON of %zu bytes, at most %d", n_bytes, INT32_MAX);
    reader r = {.text = (const uint8_t *)text, .n = n_bytes, .out = out, .err = err};
    uint64_t n_values = count_values(text, n_bytes);
    out->values = slm__alloc_array(allocator, n_values + 1, sizeof *out->values);
    out->text = slm__alloc(allocator, n_bytes + 4);
    r.sorted = slm__alloc_array(allocator, n_values, sizeof *r.sorted);
    slm_status s = out->values && out->text && r.sorted
                       ? read_all(&r)
                       : slm__fail(err, SLM_ERR_NOMEM, "no memory for JSON of %zu bytes", n_bytes);
    slm__free(allocator, r.sorted);
    if (s != SLM_OK) slm__json_free(out);
    return s;
}

void slm__json_free(slm__json *json) {
    slm__free(json->allocator, json->values);
    slm__free(json->allocator, json->text);
    *json = (slm__json){.allocator = json->allocator};
}

/* ---- Looking at it ---- */

const slm__json_value *slm__json_get(const slm__json_value *object, const char *key) {
    if (!object || object->kind != JSON_OBJECT) return NULL;
    for (const slm__json_value *v = object->first; v; v = v->next) {
        if (slm__str_eq(v->key, key)) return v;
    }
    return NULL;
}

bool slm__json_int(const slm__json_value *value, int64_t *out) {
    if (value->kind != JSON_NUMBER) return false;
    bool negative = value->text.ptr[0] == '-';
    *out = 0;
    for (size_t i = negative; i < value->text.len; i++) {
        char c = value->text.ptr[i];
        if (c < '0' || c > '9') return false;
        int digit = negative ? '0' - c : c - '0';
        if (__builtin_mul_overflow(*out, 10, out) || __builtin_add_overflow(*out, digit, out))
            return false;
    }
    return true;
}
