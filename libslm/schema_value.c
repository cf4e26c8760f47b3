/* Constants: when two values are equal, and their texts. */
#include "schema_impl.h"

uint32_t slm__value_type(slm__schema_value *v) {
    static const uint8_t of_kind[] = {
        [JSON_NULL] = TYPE_NULL,     [JSON_FALSE] = TYPE_BOOLEAN, [JSON_TRUE] = TYPE_BOOLEAN,
        [JSON_STRING] = TYPE_STRING, [JSON_ARRAY] = TYPE_ARRAY,   [JSON_OBJECT] = TYPE_OBJECT,
    };
    slm__decimal d;
    if (v->kind != JSON_NUMBER) return of_kind[v->kind];
    /* one that cannot be read is long: by its digits behind the point, or it is refused where it matters */
    return slm__decimal_read(v->text, &d) && slm__decimal_is_integer(&d) ? TYPE_INTEGER
                                                                         : TYPE_FRACTION;
}

static bool equal_leaves(slm__schema_value *a, slm__schema_value *b) {
    slm__decimal x, y;
    if (a->kind != b->kind) return false;
    if (a->kind == JSON_STRING) return slm__same_text(a->text, b->text);
    if (a->kind != JSON_NUMBER) return a->n == b->n;
    if (slm__decimal_read(a->text, &x) && slm__decimal_read(b->text, &y))
        return slm__decimal_compare(&x, &y) == 0;
    return slm__same_text(a->text, b->text);
}

/* The order of members does not matter. As deep as the values, SLM__JSON_DEPTH at most. */
bool slm__json_equal(slm__schema *s, slm__schema_value *a, slm__schema_value *b) {
    if (!slm__schema_spend(s, 1) || !equal_leaves(a, b)) return false;
    slm__schema_value *y = b->first;
    for (slm__schema_value *x = a->first; x; x = x->next) {
        if (b->kind == JSON_OBJECT) y = slm__member(s, b, x->key);
        if (!y || !slm__json_equal(s, x, y)) return false;
        y = y->next;
    }
    return true;
}

/* Equal values have the same. As deep as the value. */
static uint32_t hash_of(slm__schema_value *v) {
    slm__decimal d;
    uint32_t h = slm__hash(v->text.ptr, v->text.len);
    if (v->kind == JSON_NUMBER && slm__decimal_read(v->text, &d))
        h = slm__hash(d.digits, (size_t)d.n) + (d.n ? (uint32_t)d.e : 0) * 2 + d.negative;
    for (slm__schema_value *c = v->first; c; c = c->next) {
        uint32_t part = hash_of(c);
        if (v->kind == JSON_OBJECT)
            h += slm__hash_in(part, c->key); /* in any order */
        else
            h = (h ^ part) * 16777619u;
    }
    return h * 31 + (uint32_t)v->kind;
}

bool slm__json_among(slm__schema *s, slm__schema_value *list, slm__schema_value *v) {
    enum { LOOKED_ENUM = 8 };
    uint32_t owner = slm__number_of(s, list) * 0x9e3779b1u;
    uint8_t *looked = &s->looked_at[slm__number_of(s, list)];
    if (list->n > SLM__SCHEMA_FEW) {
        for (slm__schema_value *c = *looked & LOOKED_ENUM ? NULL : list->first; c; c = c->next)
            if (!slm__lookup_add(s, &s->constants, hash_of(c) + owner, slm__number_of(s, c)))
                return false;
        *looked |= LOOKED_ENUM;
        for (slm__finding f = {0}; slm__lookup_next(s, &s->constants, hash_of(v) + owner, &f);) {
            slm__schema_value *c = &s->json.values[f.number];
            if (&s->json.values[s->parents[f.number]] == list && slm__json_equal(s, c, v))
                return true;
        }
        return false;
    }
    for (slm__schema_value *c = list->first; c; c = c->next)
        if (slm__json_equal(s, c, v)) return true;
    return false;
}

/* ---- Texts ---- */

typedef struct text {
    slm__schema *s;
    char *bytes;
    uint32_t n, room;
} text;

static void put(text *t, const char *bytes, size_t n) {
    char *more = slm__arena_room(&t->s->arena, t->bytes, &t->room, (uint64_t)t->n + n, 1);
    if (!more) {
        slm__schema_no_memory(t->s);
        return;
    }
    t->bytes = more;
    if (n) memcpy(more + t->n, bytes, n);
    t->n += (uint32_t)n;
}

/* Only what has to be escaped is. */
static void put_string(text *t, slm__str str) {
    static const char hex[] = "0123456789abcdef";
    put(t, "\"", 1);
    for (size_t i = 0, plain = 0; i <= str.len; i++) {
        unsigned char c = i < str.len ? (unsigned char)str.ptr[i] : 0;
        if (i < str.len && c >= 0x20 && c != '"' && c != '\\') continue;
        put(t, str.ptr + plain, i - plain);
        plain = i + 1;
        if (i == str.len) break;
        char escape[6] = {'\\', slm__escape_letter(c), '0', '0', hex[c >> 4], hex[c & 15]};
        put(t, escape, escape[1] == 'u' ? 6 : 2);
    }
    put(t, "\"", 1);
}

/* As deep as the value, SLM__JSON_DEPTH at most. */
static void put_value(text *t, slm__schema_value *v) {
    static const char *const names[] = {
        [JSON_NULL] = "null", [JSON_FALSE] = "false", [JSON_TRUE] = "true"};
    bool spaced = t->s->spacing != SLM_SPACING_COMPACT;
    if (v->kind < JSON_NUMBER) put(t, names[v->kind], strlen(names[v->kind]));
    if (v->kind == JSON_NUMBER) put(t, v->text.ptr, v->text.len);
    if (v->kind == JSON_STRING) put_string(t, v->text);
    if (v->kind < JSON_ARRAY) return;
    put(t, v->kind == JSON_ARRAY ? "[" : "{", 1);
    for (slm__schema_value *c = v->first; c; c = c->next) {
        if (v->kind == JSON_OBJECT) {
            put_string(t, c->key);
            put(t, ": ", spaced ? 2 : 1);
        }
        put_value(t, c);
        if (c->next) put(t, ", ", spaced ? 2 : 1);
    }
    put(t, v->kind == JSON_ARRAY ? "]" : "}", 1);
}

int32_t slm__value_node(slm__schema *s, slm__schema_value *value) {
    text t = {.s = s};
    put_value(&t, value);
    return slm__schema_ok(s) ? slm__draft_text(&s->draft, t.bytes, t.n) : 0;
}

int32_t slm__string_node(slm__schema *s, slm__str str) {
    text t = {.s = s};
    put_string(&t, str);
    return slm__schema_ok(s) ? slm__draft_text(&s->draft, t.bytes, t.n) : 0;
}
