/* Places in a schema: their paths, and what $ref refers to. */
#include "schema_impl.h"

#include "unicode.h"

enum { NO_PARENT = 0xffffffffu };

static bool index_child(slm__schema *s, uint32_t parent, slm__schema_value *c) {
    const slm__json_value *p = &s->json.values[parent];
    uint32_t number = slm__number_of(s, c);
    s->parents[number] = parent;
    if (p->kind != JSON_OBJECT) return true;
    if (p->n > SLM__SCHEMA_FEW &&
        !slm__lookup_add(s, &s->members, slm__hash_in(parent, c->key), number))
        return false;
    if (c->kind != JSON_STRING ||
        !(slm__str_eq(c->key, "$anchor") || slm__str_eq(c->key, "$dynamicAnchor")))
        return true;
    return slm__lookup_add(s, &s->anchors, slm__hash_in(0, c->text), number);
}

bool slm__schema_index(slm__schema *s) {
    const slm__json_value *values = s->json.values;
    uint64_t n = 1;
    for (uint64_t i = 0; i < n; i++) n += values[i].n; /* parents come before children */
    s->n_values = (uint32_t)n;
    s->parents = slm__arena_take(&s->arena, n, sizeof *s->parents);
    s->looked_at = slm__arena_take(&s->arena, n, 1);
    s->targets = slm__arena_take(&s->arena, n, sizeof *s->targets);
    if (!s->parents || !s->looked_at || !s->targets) {
        slm__schema_no_memory(s);
        return false;
    }
    s->parents[0] = NO_PARENT;
    for (uint32_t i = 0; i < n; i++)
        for (slm__schema_value *c = values[i].first; c; c = c->next)
            if (!index_child(s, i, c)) return false;
    return true;
}

static slm__schema_value *parent_of(const slm__schema *s, slm__schema_value *v) {
    uint32_t p = s->parents[slm__number_of(s, v)];
    return p == NO_PARENT ? NULL : &s->json.values[p];
}

/* ---- Paths ---- */

static uint32_t place_among(slm__schema_value *array, slm__schema_value *v) {
    uint32_t i = 0;
    for (slm__schema_value *c = array->first; c != v; c = c->next) i++;
    return i;
}

/* "/name", the name escaped as pointers and messages have it. */
static slm__path one_step(slm__schema_value *parent, slm__schema_value *v) {
    slm__path step = {.text = "/"};
    size_t n = 1;
    if (parent->kind == JSON_ARRAY) {
        char digits[10];
        int used = 0;
        uint32_t i = place_among(parent, v);
        do digits[used++] = (char)('0' + i % 10);
        while (i /= 10);
        while (used) step.text[n++] = digits[--used];
        return step;
    }
    slm__shown key = slm__show(v->key);
    for (const char *p = key.text; *p && n < sizeof step.text - 3; p++) {
        if (*p == '~' || *p == '/') {
            step.text[n++] = '~';
            step.text[n++] = *p == '~' ? '0' : '1';
        } else {
            step.text[n++] = *p;
        }
    }
    return step;
}

/* From its end: of a long path the last steps are kept. */
slm__path slm__schema_path(const slm__schema *s, slm__schema_value *v) {
    slm__path path = {.text = ""};
    size_t begin = sizeof path.text - 1;
    for (slm__schema_value *p; (p = parent_of(s, v)); v = p) {
        slm__path step = one_step(p, v);
        size_t n = strlen(step.text);
        bool fits = begin >= n + 4;
        if (!fits) {
            step = (slm__path){.text = "..."};
            n = 3;
        }
        begin -= n;
        memcpy(path.text + begin, step.text, n);
        if (!fits) break;
    }
    path.text[--begin] = '#';
    memmove(path.text, path.text + begin, sizeof path.text - begin);
    return path;
}

/* ---- Anchors ---- */

typedef enum location { LOCATION_SCHEMA, LOCATION_LIST, LOCATION_NAMED, LOCATION_DATA } location;

static location location_below(location l, slm__str key) {
    static const struct {
        const char *name;
        location l;
    } known[] = {
        {"allOf", LOCATION_LIST},
        {"anyOf", LOCATION_LIST},
        {"oneOf", LOCATION_LIST},
        {"prefixItems", LOCATION_LIST},
        {"properties", LOCATION_NAMED},
        {"patternProperties", LOCATION_NAMED},
        {"$defs", LOCATION_NAMED},
        {"definitions", LOCATION_NAMED},
        {"dependentSchemas", LOCATION_NAMED},
        {"items", LOCATION_SCHEMA},
        {"additionalProperties", LOCATION_SCHEMA},
        {"not", LOCATION_SCHEMA},
        {"if", LOCATION_SCHEMA},
        {"then", LOCATION_SCHEMA},
        {"else", LOCATION_SCHEMA},
        {"contains", LOCATION_SCHEMA},
        {"propertyNames", LOCATION_SCHEMA},
        {"contentSchema", LOCATION_SCHEMA},
        {"unevaluatedItems", LOCATION_SCHEMA},
        {"unevaluatedProperties", LOCATION_SCHEMA},
    };
    if (l == LOCATION_LIST || l == LOCATION_NAMED) return LOCATION_SCHEMA;
    for (size_t i = 0; i < SLM_COUNT(known) && l == LOCATION_SCHEMA; i++)
        if (slm__str_eq(key, known[i].name)) return known[i].l;
    return LOCATION_DATA;
}

static location location_of(const slm__schema *s, slm__schema_value *v) {
    slm__schema_value *chain[SLM__JSON_DEPTH + 1], *p;
    int n = 0;
    for (; (p = parent_of(s, v)) && n <= SLM__JSON_DEPTH; v = p) chain[n++] = v;
    location l = LOCATION_SCHEMA;
    while (n-- > 0) l = location_below(l, chain[n]->key);
    return l;
}

/* The first schema that has the anchor. */
static slm__schema_value *find_anchor(slm__schema *s, slm__str name) {
    slm__schema_value *first = NULL;
    for (slm__finding f = {0}; slm__lookup_next(s, &s->anchors, slm__hash_in(0, name), &f);) {
        slm__schema_value *v = &s->json.values[f.number];
        if (slm__same_text(v->text, name) && (!first || v < first) &&
            slm__schema_spend(s, SLM__JSON_DEPTH) &&
            location_of(s, parent_of(s, v)) == LOCATION_SCHEMA)
            first = v;
    }
    return first ? parent_of(s, first) : NULL;
}

/* ---- Pointers ---- */

/* The fragment without %XX; NULL: no memory, or not well-formed (then `out` is empty). */
static bool decode_fragment(slm__schema *s, slm__str f, slm__str *out) {
    char *text = slm__arena_take(&s->arena, f.len + 1, 1);
    if (!text) {
        slm__schema_no_memory(s);
        return false;
    }
    *out = (slm__str){text, 0};
    for (size_t i = 0; i < f.len; i++) {
        char c = f.ptr[i];
        if (c == '%') {
            int high = i + 2 < f.len ? slm__hex_digit(f.ptr[i + 1]) : -1;
            int low = i + 2 < f.len ? slm__hex_digit(f.ptr[i + 2]) : -1;
            if (i + 2 >= f.len || high < 0 || low < 0) return false;
            c = (char)(high * 16 + low);
            i += 2;
        }
        text[out->len++] = c;
    }
    return true;
}

/* One step of a pointer: the token without ~0 and ~1, into `token`, which has room. */
static size_t read_token(slm__str pointer, size_t at, slm__str *token, char *room) {
    *token = (slm__str){room, 0};
    for (; at < pointer.len && pointer.ptr[at] != '/'; at++) {
        char c = pointer.ptr[at];
        if (c == '~' && at + 1 < pointer.len) c = pointer.ptr[++at] == '1' ? '/' : '~';
        room[token->len++] = c;
    }
    return at;
}

static slm__schema_value *child_at(slm__schema *s, slm__schema_value *v, slm__str token) {
    if (v->kind == JSON_OBJECT) return slm__member(s, v, token);
    if (v->kind != JSON_ARRAY || token.len == 0 || token.len > 9) return NULL;
    uint32_t i = 0;
    for (size_t k = 0; k < token.len; k++) {
        if (token.ptr[k] < '0' || token.ptr[k] > '9') return NULL;
        i = i * 10 + (uint32_t)(token.ptr[k] - '0');
    }
    slm__schema_value *c = slm__schema_spend(s, i < v->n ? i : 0) ? v->first : NULL;
    while (c && i-- > 0) c = c->next;
    return c;
}

static slm__schema_value *follow(slm__schema *s, slm__str pointer) {
    slm__schema_value *v = s->json.values;
    char *room = slm__arena_take(&s->arena, pointer.len + 1, 1);
    if (!room) {
        slm__schema_no_memory(s);
        return NULL;
    }
    for (size_t at = 0; at < pointer.len && v;) {
        slm__str token;
        at = read_token(pointer, at + 1, &token, room);
        v = child_at(s, v, token);
    }
    return v;
}

/* ---- $ref ---- */

/* Below a schema with an "$id" of its own the same reference would mean something else. */
static bool in_another_resource(slm__schema *s, slm__schema_value *v) {
    for (slm__schema_value *p; (p = parent_of(s, v)); v = p) {
        slm__schema_value *id = slm__member(s, v, (slm__str){"$id", 3});
        if (!id || id->kind != JSON_STRING) continue;
        if (!slm__schema_spend(s, SLM__JSON_DEPTH) || location_of(s, v) == LOCATION_SCHEMA)
            return true;
    }
    return false;
}

/* The part behind "#", if what is before it is this schema. */
static bool local_part(const slm__schema *s, slm__str ref, slm__str *fragment) {
    size_t n = 0;
    while (n < ref.len && ref.ptr[n] != '#') n++;
    *fragment = (slm__str){ref.ptr + n, ref.len - n};
    if (fragment->len) fragment->ptr++, fragment->len--;
    if (n == 0) return true;
    slm__schema_value *id = slm__word(s->json.values, "$id");
    if (!id || id->kind != JSON_STRING) return false;
    slm__str base = id->text;
    if (base.len && base.ptr[base.len - 1] == '#') base.len--;
    return base.len == n && memcmp(base.ptr, ref.ptr, n) == 0;
}

slm__schema_value *slm__schema_resolve(slm__schema *s, slm__schema_value *schema) {
    slm__schema_value *ref = slm__word(schema, "$ref"), *target = NULL;
    slm__str fragment, name = {0};
    uint32_t *known = &s->targets[slm__number_of(s, schema)];
    if (*known) return &s->json.values[*known - 1];
    if (!local_part(s, ref->text, &fragment)) {
        slm__schema_fail(s, SLM_ERR_UNSUPPORTED, ref,
                         "\"%s\" is in another document; nothing is fetched",
                         slm__show(ref->text).text);
        return NULL;
    }
    bool decoded = decode_fragment(s, fragment, &name);
    if (s->status != SLM_OK) return NULL;
    if (decoded && name.len == 0)
        target = s->json.values;
    else if (decoded)
        target = name.ptr[0] == '/' ? follow(s, name) : find_anchor(s, name);
    if (s->status != SLM_OK) return NULL;
    if (!target) {
        slm__schema_fail(s, SLM_ERR_FORMAT, ref, "there is no \"%s\" in the schema",
                         slm__show(ref->text).text);
    } else if (in_another_resource(s, target)) {
        slm__schema_fail(s, SLM_ERR_UNSUPPORTED, ref,
                         "\"%s\" lies in a schema with an \"$id\" of its own",
                         slm__show(ref->text).text);
        target = NULL;
    }
    *known = target ? slm__number_of(s, target) + 1 : 0;
    return target;
}

/* ---- Cycles ---- */

enum { LOOKED_OPEN = 2, LOOKED_DONE = 4 };

typedef struct frame {
    slm__schema_value *schema;
    int word; /* of edge_words: the one at hand        */
    slm__schema_value *next;
} frame;

static const char *const edge_words[] = {"$ref", "allOf", "anyOf", "oneOf"};

/* The next schema that speaks of the same place; NULL: no more, or failed. */
static slm__schema_value *next_edge(slm__schema *s, frame *f) {
    while (!f->next) {
        if (f->word == (int)SLM_COUNT(edge_words)) return NULL;
        slm__schema_value *v = slm__word(f->schema, edge_words[f->word++]);
        if (v && f->word == 1) return slm__schema_resolve(s, f->schema);
        if (v) f->next = v->first;
    }
    slm__schema_value *edge = f->next;
    f->next = edge->next;
    return edge;
}

bool slm__schema_check_cycles(slm__schema *s, slm__schema_value *schema) {
    frame *stack = NULL;
    uint32_t n = 0, room = 0;
    if (s->looked_at[slm__number_of(s, schema)] & LOOKED_DONE) return slm__schema_ok(s);
    for (slm__schema_value *v = schema; v || n;) {
        uint8_t *seen = v ? &s->looked_at[slm__number_of(s, v)] : NULL;
        if (v && *seen & LOOKED_OPEN) {
            slm__schema_fail(s, SLM_ERR_FORMAT, v, "refers to itself for the same value");
            return false;
        }
        if (v && !(*seen & LOOKED_DONE)) {
            if (!slm__schema_check(s, v)) return false;
            frame *more = slm__arena_room(&s->arena, stack, &room, (uint64_t)n + 1, sizeof *stack);
            if (!more) return slm__schema_no_memory(s) != 0;
            stack = more;
            *seen |= LOOKED_OPEN;
            stack[n++] = (frame){.schema = v};
        }
        if (n == 0) break;
        v = next_edge(s, &stack[n - 1]);
        if (s->status != SLM_OK) return false;
        if (v) continue;
        uint8_t *done = &s->looked_at[slm__number_of(s, stack[--n].schema)];
        *done = (uint8_t)((*done & ~LOOKED_OPEN) | LOOKED_DONE);
    }
    return slm__schema_ok(s);
}
