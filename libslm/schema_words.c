/* The keywords of JSON Schema, draft 2020-12: a row for each that the standard has. */
#include "schema_impl.h"

/* What the value of a keyword has to be. */
typedef enum form {
    FORM_ANY,
    FORM_COUNT, /* an integer >= 0 */
    FORM_NUMBER,
    FORM_POSITIVE, /* a number > 0   */
    FORM_STRING,
    FORM_BOOLEAN,
    FORM_SCHEMA,
    FORM_SCHEMAS, /* an array of them, not empty */
    FORM_NAMED,   /* an object of schemas         */
    FORM_NAMES,   /* an array of strings          */
    FORM_LIST,    /* an array, not empty          */
    FORM_TYPE,
} form;

typedef enum use {
    USE_ASKS,   /* handled                                             */
    USE_SAYS,   /* asks nothing of a value                             */
    USE_UNLESS, /* asks something, and is refused, unless it is `false` or `true`, see below */
    USE_REFUSED,
} use;

typedef struct word {
    const char *name;
    use use;
    form form;
    uint32_t types; /* that it speaks of; 0: of all or none */
} word;

static const word words[] = {
    {"type", USE_ASKS, FORM_TYPE, 0},
    {"enum", USE_ASKS, FORM_LIST, 0},
    {"const", USE_ASKS, FORM_ANY, 0},
    {"allOf", USE_ASKS, FORM_SCHEMAS, 0},
    {"anyOf", USE_ASKS, FORM_SCHEMAS, 0},
    {"oneOf", USE_ASKS, FORM_SCHEMAS, 0},
    {"$ref", USE_ASKS, FORM_STRING, 0},
    {"properties", USE_ASKS, FORM_NAMED, TYPE_OBJECT},
    {"required", USE_ASKS, FORM_NAMES, TYPE_OBJECT},
    {"additionalProperties", USE_ASKS, FORM_SCHEMA, TYPE_OBJECT},
    {"minProperties", USE_ASKS, FORM_COUNT, TYPE_OBJECT},
    {"maxProperties", USE_ASKS, FORM_COUNT, TYPE_OBJECT},
    {"items", USE_ASKS, FORM_SCHEMA, TYPE_ARRAY},
    {"prefixItems", USE_ASKS, FORM_SCHEMAS, TYPE_ARRAY},
    {"minItems", USE_ASKS, FORM_COUNT, TYPE_ARRAY},
    {"maxItems", USE_ASKS, FORM_COUNT, TYPE_ARRAY},
    {"minLength", USE_ASKS, FORM_COUNT, TYPE_STRING},
    {"maxLength", USE_ASKS, FORM_COUNT, TYPE_STRING},
    {"pattern", USE_ASKS, FORM_STRING, TYPE_STRING},
    {"format", USE_ASKS, FORM_STRING, TYPE_STRING},
    {"minimum", USE_ASKS, FORM_NUMBER, TYPE_NUMBER},
    {"maximum", USE_ASKS, FORM_NUMBER, TYPE_NUMBER},
    {"exclusiveMinimum", USE_ASKS, FORM_NUMBER, TYPE_NUMBER},
    {"exclusiveMaximum", USE_ASKS, FORM_NUMBER, TYPE_NUMBER},
    {"multipleOf", USE_ASKS, FORM_POSITIVE, TYPE_NUMBER},
    {"uniqueItems", USE_UNLESS, FORM_BOOLEAN, TYPE_ARRAY},
    {"unevaluatedItems", USE_UNLESS, FORM_SCHEMA, TYPE_ARRAY},
    {"unevaluatedProperties", USE_UNLESS, FORM_SCHEMA, TYPE_OBJECT},
    {"propertyNames", USE_UNLESS, FORM_SCHEMA, TYPE_OBJECT},
    {"patternProperties", USE_UNLESS, FORM_NAMED, TYPE_OBJECT},
    {"contains", USE_REFUSED, FORM_SCHEMA, 0},
    {"minContains", USE_REFUSED, FORM_COUNT, 0},
    {"maxContains", USE_REFUSED, FORM_COUNT, 0},
    {"dependentRequired", USE_UNLESS, FORM_ANY, TYPE_OBJECT},
    {"dependentSchemas", USE_UNLESS, FORM_NAMED, TYPE_OBJECT},
    {"not", USE_REFUSED, FORM_SCHEMA, 0},
    {"if", USE_REFUSED, FORM_SCHEMA, 0},
    {"then", USE_REFUSED, FORM_SCHEMA, 0},
    {"else", USE_REFUSED, FORM_SCHEMA, 0},
    {"$dynamicRef", USE_REFUSED, FORM_STRING, 0},
    {"$vocabulary", USE_REFUSED, FORM_ANY, 0},
    {"$defs", USE_SAYS, FORM_NAMED, 0},
    {"definitions", USE_SAYS, FORM_NAMED, 0},
    {"$anchor", USE_SAYS, FORM_STRING, 0},
    {"$dynamicAnchor", USE_SAYS, FORM_STRING, 0},
    {"$comment", USE_SAYS, FORM_STRING, 0},
    {"title", USE_SAYS, FORM_STRING, 0},
    {"description", USE_SAYS, FORM_STRING, 0},
    {"default", USE_SAYS, FORM_ANY, 0},
    {"examples", USE_SAYS, FORM_ANY, 0},
    {"deprecated", USE_SAYS, FORM_BOOLEAN, 0},
    {"readOnly", USE_SAYS, FORM_BOOLEAN, 0},
    {"writeOnly", USE_SAYS, FORM_BOOLEAN, 0},
    {"contentEncoding", USE_SAYS, FORM_STRING, 0},
    {"contentMediaType", USE_SAYS, FORM_STRING, 0},
    {"contentSchema", USE_SAYS, FORM_SCHEMA, 0},
    {"$id", USE_SAYS, FORM_STRING, 0},
    {"$schema", USE_SAYS, FORM_STRING, 0},
};

static const struct {
    const char *name;
    uint32_t types;
} types[] = {
    {"null", TYPE_NULL},     {"boolean", TYPE_BOOLEAN}, {"integer", TYPE_INTEGER},
    {"number", TYPE_NUMBER}, {"string", TYPE_STRING},   {"array", TYPE_ARRAY},
    {"object", TYPE_OBJECT},
};

static const word *find_word(slm__str name) {
    for (size_t i = 0; i < SLM_COUNT(words); i++)
        if (slm__str_eq(name, words[i].name)) return &words[i];
    return NULL;
}

slm__schema_value *slm__member(slm__schema *s, slm__schema_value *object, slm__str name) {
    if (!object || object->kind != JSON_OBJECT) return NULL;
    if (object->n > SLM__SCHEMA_FEW) {
        uint32_t owner = slm__number_of(s, object), hash = slm__hash_in(owner, name);
        for (slm__finding f = {0}; slm__lookup_next(s, &s->members, hash, &f);)
            if (s->parents[f.number] == owner && slm__same_text(s->json.values[f.number].key, name))
                return &s->json.values[f.number];
        return NULL;
    }
    for (slm__schema_value *m = object->first; m; m = m->next)
        if (slm__same_text(m->key, name)) return m;
    return NULL;
}

/* ---- Forms ---- */

static uint32_t type_named(slm__schema_value *v) {
    for (size_t i = 0; i < SLM_COUNT(types) && v->kind == JSON_STRING; i++)
        if (slm__str_eq(v->text, types[i].name)) return types[i].types;
    return 0;
}

static bool is_schema(slm__schema_value *v) {
    return v->kind == JSON_OBJECT || v->kind == JSON_TRUE || v->kind == JSON_FALSE;
}

static bool is_number(slm__schema_value *v, bool positive) {
    slm__decimal d;
    if (v->kind != JSON_NUMBER) return false;
    return !positive || !slm__decimal_read(v->text, &d) || (d.n > 0 && !d.negative);
}

static bool is_count(slm__schema_value *v) {
    slm__decimal d;
    return v->kind == JSON_NUMBER &&
           (!slm__decimal_read(v->text, &d) || (slm__decimal_is_integer(&d) && !d.negative));
}

static bool all_children(slm__schema_value *v, slm__json_kind kind,
                         bool (*test)(slm__schema_value *), uint32_t least) {
    if (v->kind != kind || v->n < least) return false;
    for (slm__schema_value *c = v->first; c; c = c->next)
        if (!test(c)) return false;
    return true;
}

static bool is_string(slm__schema_value *v) { return v->kind == JSON_STRING; }
static bool is_type(slm__schema_value *v) { return type_named(v) != 0; }

static const char *const form_names[] = {
    [FORM_COUNT] = "an integer that is not negative",
    [FORM_NUMBER] = "a number",
    [FORM_POSITIVE] = "a number above 0",
    [FORM_STRING] = "a string",
    [FORM_BOOLEAN] = "true or false",
    [FORM_SCHEMA] = "a schema (an object, true or false)",
    [FORM_SCHEMAS] = "an array of schemas that is not empty",
    [FORM_NAMED] = "an object of schemas",
    [FORM_NAMES] = "an array of strings",
    [FORM_LIST] = "an array that is not empty",
    [FORM_TYPE] = "the name of a type or an array of some",
};

static bool has_form(slm__schema_value *v, form f) {
    switch (f) {
    case FORM_ANY: return true;
    case FORM_COUNT: return is_count(v);
    case FORM_NUMBER: return is_number(v, false);
    case FORM_POSITIVE: return is_number(v, true);
    case FORM_STRING: return v->kind == JSON_STRING;
    case FORM_BOOLEAN: return v->kind == JSON_TRUE || v->kind == JSON_FALSE;
    case FORM_SCHEMA: return is_schema(v);
    case FORM_SCHEMAS: return all_children(v, JSON_ARRAY, is_schema, 1);
    case FORM_NAMED: return all_children(v, JSON_OBJECT, is_schema, 0);
    case FORM_NAMES: return all_children(v, JSON_ARRAY, is_string, 0);
    case FORM_LIST: return v->kind == JSON_ARRAY && v->n > 0;
    case FORM_TYPE: return is_type(v) || all_children(v, JSON_ARRAY, is_type, 1);
    }
    return false;
}

/* ---- Checking ---- */

/* Values of a refused keyword that ask nothing. */
static bool asks_nothing(const word *w, slm__schema_value *v) {
    if (strcmp(w->name, "uniqueItems") == 0) return v->kind == JSON_FALSE;
    if (w->form == FORM_SCHEMA) return v->kind == JSON_TRUE;
    return v->kind == JSON_OBJECT && v->n == 0;
}

/* Other drafts whose schemas mean the same as far as their keywords are known here. */
static bool check_draft(slm__schema *s, slm__schema_value *v) {
    static const char *const known[] = {"https://json-schema.org/draft/2020-12/schema",
                                        "https://json-schema.org/draft/2019-09/schema",
                                        "http://json-schema.org/draft-07/schema",
                                        "http://json-schema.org/draft-06/schema"};
    slm__str name = v->text;
    if (name.len && name.ptr[name.len - 1] == '#') name.len--;
    for (size_t i = 0; i < SLM_COUNT(known); i++)
        if (slm__str_eq(name, known[i])) return true;
    slm__schema_fail(s, SLM_ERR_UNSUPPORTED, v, "the draft \"%s\" is not known",
                     slm__show(v->text).text);
    return false;
}

static bool is_huge(slm__schema_value *v) {
    slm__decimal d, most = {.n = 1, .e = 6, .digits = "1"}; /* SLM__SCHEMA_COUNT */
    return !slm__decimal_read(v->text, &d) || slm__decimal_compare(&d, &most) > 0;
}

static bool check_word(slm__schema *s, slm__schema_value *v) {
    const word *w = find_word(v->key);
    if (!w) {
        slm__schema_fail(s, SLM_ERR_UNSUPPORTED, v, "unknown keyword \"%s\"",
                         slm__show(v->key).text);
    } else if (!has_form(v, w->form)) {
        slm__schema_fail(s, SLM_ERR_FORMAT, v, "expected %s", form_names[w->form]);
    } else if (w->use == USE_REFUSED || (w->use == USE_UNLESS && !asks_nothing(w, v))) {
        slm__schema_fail(s, SLM_ERR_UNSUPPORTED, v, "\"%s\" is not supported", w->name);
    } else if (strcmp(w->name, "$id") == 0 && s->parents[slm__number_of(s, v)] != 0) {
        slm__schema_fail(s, SLM_ERR_UNSUPPORTED, v, "\"$id\" is supported at the root only");
    } else if (strcmp(w->name, "format") == 0 && !slm__format_known(v->text)) {
        slm__schema_fail(s, SLM_ERR_UNSUPPORTED, v, "the format \"%s\" is not supported",
                         slm__show(v->text).text);
    } else if (w->form == FORM_COUNT && strncmp(w->name, "min", 3) == 0 && is_huge(v)) {
        slm__schema_fail(s, SLM_ERR_LIMIT, v, "more than %d", SLM__SCHEMA_COUNT);
    } else if (strcmp(w->name, "$schema") == 0) {
        check_draft(s, v);
    }
    return s->status == SLM_OK;
}

/* The first limit of a pair above the second. */
static bool check_pair(slm__schema *s, slm__schema_value *schema, const char *low,
                       const char *high) {
    slm__schema_value *a = slm__word(schema, low), *b = slm__word(schema, high);
    slm__decimal x, y;
    if (!a || !b || !slm__decimal_read(a->text, &x) || !slm__decimal_read(b->text, &y)) return true;
    if (slm__decimal_compare(&x, &y) <= 0) return true;
    slm__schema_fail(s, SLM_ERR_RANGE, schema, "%s %s is above %s %s", low, slm__show(a->text).text,
                     high, slm__show(b->text).text);
    return false;
}

enum { LOOKED_WORDS = 1 };

bool slm__schema_check(slm__schema *s, slm__schema_value *schema) {
    uint8_t *seen = &s->looked_at[slm__number_of(s, schema)];
    if (*seen & LOOKED_WORDS) return slm__schema_ok(s);
    *seen |= LOOKED_WORDS;
    if (!is_schema(schema)) {
        slm__schema_fail(s, SLM_ERR_FORMAT, schema, "expected %s", form_names[FORM_SCHEMA]);
        return false;
    }
    for (slm__schema_value *v = schema->first; v && schema->kind == JSON_OBJECT; v = v->next)
        if (!check_word(s, v)) return false;
    static const char *const pairs[][2] = {
        {"minLength", "maxLength"},
        {"minItems", "maxItems"},
        {"minProperties", "maxProperties"},
        {"minimum", "maximum"},
        {"exclusiveMinimum", "exclusiveMaximum"},
    };
    for (size_t i = 0; i < SLM_COUNT(pairs); i++)
        if (!check_pair(s, schema, pairs[i][0], pairs[i][1])) return false;
    return slm__schema_ok(s);
}

/* ---- What a schema says ---- */

uint32_t slm__schema_types(slm__schema_value *schema) {
    slm__schema_value *type = slm__word(schema, "type");
    uint32_t all = 0;
    if (!type) return TYPE_ANY;
    if (type->kind == JSON_STRING) return type_named(type);
    for (slm__schema_value *t = type->first; t; t = t->next) all |= type_named(t);
    return all;
}

uint32_t slm__schema_implied(slm__schema_value *schema) {
    uint32_t all = 0;
    for (slm__schema_value *v = schema->first; v; v = v->next) {
        const word *w = find_word(v->key);
        if (w) all |= w->types;
    }
    return all;
}

bool slm__schema_asks_more(slm__schema_value *schema, slm__schema_value *but) {
    for (slm__schema_value *v = schema->first; v; v = v->next) {
        const word *w = find_word(v->key);
        if (v != but && w && w->use == USE_ASKS) return true;
    }
    return false;
}

/* Capped: no more is made. */
static uint32_t read_count(slm__schema_value *v) {
    slm__decimal d;
    if (is_huge(v) || !slm__decimal_read(v->text, &d)) return SLM__SCHEMA_COUNT;
    return (uint32_t)slm__decimal_mod(&d, 1 << 30);
}

uint32_t slm__schema_count(const slm__branch *b, const char *name, bool most,
                           slm__schema_value **where) {
    uint32_t count = most ? UINT32_MAX : 0;
    for (uint32_t i = 0; i < b->n; i++) {
        slm__schema_value *v = slm__word(b->schemas[i], name);
        if (!v) continue;
        uint32_t n = read_count(v);
        if (n == 0 && !most) continue;
        if (most ? n >= count : n < count) continue;
        count = n;
        if (where) *where = b->schemas[i];
    }
    return count;
}
