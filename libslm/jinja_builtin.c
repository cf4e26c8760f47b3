/* Tests, functions, and the methods of dicts and lists. */
#include "jinja.h"

/* ---- Looking up ---- */

const jrow *slm__j_find(const jrow *table, slm__str name) {
    for (; table->name; table++) {
        if (slm__str_eq(name, table->name)) return table;
    }
    return NULL;
}

const jrow *slm__j_method(const jv *owner, slm__str name) {
    switch (owner->kind) {
    case J_STRING: return slm__j_find(slm__j_string_methods, name);
    case J_DICT: return slm__j_find(slm__j_dict_methods, name);
    case J_LIST:
    case J_TUPLE:
    case J_RANGE: return slm__j_find(slm__j_list_methods, name);
    default: return NULL;
    }
}

/* What jinja2's immutable sandbox hides. */
bool slm__j_is_forbidden(const jv *owner, slm__str name) {
    static const char *const of_lists[] = {"append", "clear",  "pop",    "reverse", "insert",
                                           "sort",   "extend", "remove", NULL};
    static const char *const of_dicts[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
    static const char *const none[] = {NULL};
    const char *const *names = owner->kind == J_LIST   ? of_lists
                               : owner->kind == J_DICT ? of_dicts
                                                       : none;
    for (; *names; names++) {
        if (slm__str_eq(name, *names)) return true;
    }
    return false;
}

/* ---- Tests ---- */

static bool yes(bool b, jv *out) {
    *out = JBOOL(b);
    return true;
}

#define KIND_TEST(name, condition)                               \
    static bool name(jinja *j, const jv *v, jargs *a, jv *out) { \
        (void)j;                                                 \
        (void)a;                                                 \
        return yes(condition, out);                              \
    }

KIND_TEST(t_defined, v->kind != J_UNDEFINED)
KIND_TEST(t_undefined, v->kind == J_UNDEFINED)
KIND_TEST(t_none, v->kind == J_NONE)
KIND_TEST(t_boolean, v->kind == J_BOOL)
KIND_TEST(t_true, v->kind == J_BOOL && v->u.b)
KIND_TEST(t_false, v->kind == J_BOOL && !v->u.b)
KIND_TEST(t_integer, v->kind == J_INT)
KIND_TEST(t_float, v->kind == J_FLOAT)
KIND_TEST(t_number, v->kind == J_INT || v->kind == J_FLOAT || v->kind == J_BOOL)
KIND_TEST(t_string, v->kind == J_STRING)
KIND_TEST(t_mapping, v->kind == J_DICT)
KIND_TEST(t_escaped, v->kind == J_STRING && v->flag & FLAG_SAFE)
KIND_TEST(t_callable, v->kind == J_MACRO || v->kind == J_FUNCTION || v->kind == J_METHOD ||
                          v->kind == J_LOOP || v->kind == J_UNDEFINED)
KIND_TEST(t_sequence, v->kind == J_STRING || v->kind == J_LIST || v->kind == J_TUPLE ||
                          v->kind == J_RANGE || v->kind == J_DICT || v->kind == J_UNDEFINED)
KIND_TEST(t_iterable, v->kind == J_STRING || v->kind == J_LIST || v->kind == J_TUPLE ||
                          v->kind == J_RANGE || v->kind == J_DICT || v->kind == J_VIEW ||
                          v->kind == J_ITERATOR || v->kind == J_LOOP || v->kind == J_UNDEFINED)

static bool remainder_is(jinja *j, const jv *v, const jv *by, int64_t wanted, jv *out) {
    jv rest, want = JINT(wanted);
    bool same;
    if (v->kind == J_STRING && !slm__j_percent(j, v, by, &rest)) return false;
    if (v->kind != J_STRING && !slm__j_operate(j, OP_MOD, v, by, &rest)) return false;
    return slm__j_equal(j, &rest, &want, &same) && yes(same, out);
}

static bool t_odd(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    jv two = JINT(2);
    return remainder_is(j, v, &two, 1, out);
}
static bool t_even(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    jv two = JINT(2);
    return remainder_is(j, v, &two, 0, out);
}
static bool t_divisibleby(jinja *j, const jv *v, jargs *a, jv *out) {
    return remainder_is(j, v, &a->v[0], 0, out);
}

static bool method_test(jinja *j, const jv *v, const char *name, jv *out) {
    jv s;
    jargs none = {0};
    return slm__j_to_string(j, v, &s) &&
           slm__j_call_row(j, slm__j_find(slm__j_string_methods, (slm__str){name, strlen(name)}),
                           &s, &none, out);
}
static bool t_lower(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    return method_test(j, v, "islower", out);
}
static bool t_upper(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    return method_test(j, v, "isupper", out);
}

#define RELATION_TEST(name, op)                                      \
    static bool name(jinja *j, const jv *v, jargs *a, jv *out) {     \
        bool b;                                                      \
        return slm__j_relate(j, op, v, &a->v[0], &b) && yes(b, out); \
    }

RELATION_TEST(t_eq, OP_EQ)
RELATION_TEST(t_ne, OP_NE)
RELATION_TEST(t_lt, OP_LT)
RELATION_TEST(t_le, OP_LE)
RELATION_TEST(t_gt, OP_GT)
RELATION_TEST(t_ge, OP_GE)
RELATION_TEST(t_in, OP_IN)

/* Python's "is": the same object. */
static bool t_sameas(jinja *j, const jv *v, jargs *a, jv *out) {
    const jv *w = &a->v[0];
    bool same = v->kind == w->kind;
    if (same && v->kind != J_NONE && v->kind != J_UNDEFINED) {
        if (v->kind == J_BOOL || v->kind == J_INT || v->kind == J_STRING)
            return slm__j_equal(j, v, w, &same) && yes(same, out);
        same = v->kind != J_FLOAT && v->u.list == w->u.list;
    }
    return yes(same, out);
}

/* Is it a name in a table, which Python asks a dict for. */
static bool is_name(jinja *j, const jv *v, const jrow *table, jv *out) {
    bool ok;
    if (!slm__j_is_hashable(j, v, 0, &ok)) return false;
    if (!ok) return slm__j_fail(j, SLM_ERR_ARGUMENT, "unhashable type: '%s'", slm__j_kind_name(v));
    return yes(v->kind == J_STRING && slm__j_find(table, jstr(v)), out);
}
static bool t_filter(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    return is_name(j, v, slm__j_filters, out);
}
static bool t_test(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    return is_name(j, v, slm__j_tests, out);
}

const jrow slm__j_tests[] = {
    {"!=", t_ne, "other", 1},
    {"<", t_lt, "other", 1},
    {"<=", t_le, "other", 1},
    {"==", t_eq, "other", 1},
    {">", t_gt, "other", 1},
    {">=", t_ge, "other", 1},
    {"boolean", t_boolean, "", 0},
    {"callable", t_callable, "", 0},
    {"defined", t_defined, "", 0},
    {"divisibleby", t_divisibleby, "num", 1},
    {"eq", t_eq, "other", 1},
    {"equalto", t_eq, "other", 1},
    {"escaped", t_escaped, "", 0},
    {"even", t_even, "", 0},
    {"false", t_false, "", 0},
    {"filter", t_filter, "", 0},
    {"float", t_float, "", 0},
    {"ge", t_ge, "other", 1},
    {"greaterthan", t_gt, "other", 1},
    {"gt", t_gt, "other", 1},
    {"in", t_in, "seq", 1},
    {"integer", t_integer, "", 0},
    {"iterable", t_iterable, "", 0},
    {"le", t_le, "other", 1},
    {"lessthan", t_lt, "other", 1},
    {"lower", t_lower, "", 0},
    {"lt", t_lt, "other", 1},
    {"mapping", t_mapping, "", 0},
    {"ne", t_ne, "other", 1},
    {"none", t_none, "", 0},
    {"number", t_number, "", 0},
    {"odd", t_odd, "", 0},
    {"sameas", t_sameas, "other", 1},
    {"sequence", t_sequence, "", 0},
    {"string", t_string, "", 0},
    {"test", t_test, "", 0},
    {"true", t_true, "", 0},
    {"undefined", t_undefined, "", 0},
    {"upper", t_upper, "", 0},
    {0},
};

/* ---- Functions ---- */

static bool fn_range(jinja *j, const jv *self, jargs *a, jv *out) {
    (void)self;
    int64_t v[3] = {0, 0, 1};
    if (a->n < 1 || a->n > 3 || a->n_keywords)
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "range takes 1 to 3 arguments, found %u", a->n);
    for (uint32_t i = 0; i < a->n; i++) {
        if (a->v[i].kind == J_UNDEFINED) return slm__j_fail_undefined(j, &a->v[i]);
        if (!slm__j_is_int(&a->v[i], &v[a->n == 1 ? 1 : i]))
            return slm__j_fail(j, SLM_ERR_ARGUMENT, "range wants integers, found %s",
                               slm__j_kind_name(&a->v[i]));
    }
    if (v[2] == 0) return slm__j_fail(j, SLM_ERR_ARGUMENT, "range: the step is 0");
    uint64_t span = 0, step = v[2] > 0 ? (uint64_t)v[2] : 0 - (uint64_t)v[2];
    if (v[2] > 0 && v[1] > v[0]) span = (uint64_t)v[1] - (uint64_t)v[0];
    if (v[2] < 0 && v[1] < v[0]) span = (uint64_t)v[0] - (uint64_t)v[1];
    uint64_t n = span / step + (span % step != 0);
    if (n > JINJA_RANGE)
        return slm__j_fail(j, SLM_ERR_LIMIT, "a range of %llu numbers, at most %d",
                           (unsigned long long)n, JINJA_RANGE);
    if (!slm__j_list(j, J_RANGE, (uint32_t)n, out)) return false;
    jlist *l = out->u.list;
    l->start = v[0];
    l->stop = v[1];
    l->step = v[2];
    for (uint64_t i = 0; i < n; i++) {
        jv x = JINT((int64_t)((uint64_t)v[0] + i * (uint64_t)v[2]));
        if (!slm__j_append(j, l, &x)) return false;
    }
    return true;
}

/* Entries of a mapping, or pairs. */
static bool add_entries(jinja *j, jdict *d, const jv *from) {
    if (from->kind == J_DICT) {
        for (uint32_t i = 0; i < from->u.dict->n; i++) {
            const jentry *e = &from->u.dict->e[i];
            if (!slm__j_dict_set(j, d, &e->key, &e->value)) return false;
        }
        return true;
    }
    jlist *l, *pair;
    if (!slm__j_elements(j, from, &l)) return false;
    for (uint32_t i = 0; i < l->n; i++) {
        if (!slm__j_elements(j, &l->v[i], &pair)) return false;
        if (pair->n != 2)
            return slm__j_fail(j, SLM_ERR_ARGUMENT, "a dict is made of pairs, found %u values",
                               pair->n);
        if (!slm__j_dict_set(j, d, &pair->v[0], &pair->v[1])) return false;
    }
    return true;
}

static bool make_dict(jinja *j, jargs *a, jkind kind, jv *out) {
    jv key;
    if (a->n > 1) return slm__j_fail(j, SLM_ERR_ARGUMENT, "at most 1 argument by position");
    if (!slm__j_dict(j, kind, out) || (a->n == 1 && !add_entries(j, out->u.dict, &a->v[0])))
        return false;
    for (uint32_t i = 0; i < a->n_keywords; i++) {
        if (!slm__j_keyword_name(j, &a->keywords[i], &key) ||
            !slm__j_dict_set(j, out->u.dict, &key, &a->keywords[i].value))
            return false;
    }
    return true;
}

static bool fn_dict(jinja *j, const jv *self, jargs *a, jv *out) {
    (void)self;
    return make_dict(j, a, J_DICT, out);
}

static bool fn_namespace(jinja *j, const jv *self, jargs *a, jv *out) {
    (void)self;
    if (!make_dict(j, a, J_NAMESPACE, out)) return false;
    for (uint32_t i = 0; i < out->u.dict->n; i++) {
        const jv *key = &out->u.dict->e[i].key;
        if (key->kind == J_STRING && key->len > 0 && *jbytes(key) == '_')
            return slm__j_fail(j, SLM_ERR_ARGUMENT, "a namespace has no names that begin with _");
    }
    return true;
}

static bool fn_raise(jinja *j, const jv *self, jargs *a, jv *out) {
    (void)self;
    jv text;
    if (!slm__j_to_string(j, &a->v[0], &text)) return false;
    *out = text;
    return slm__j_fail_str(j, SLM_ERR_ARGUMENT, jbytes(&text), text.len);
}

static bool fn_strftime(jinja *j, const jv *self, jargs *a, jv *out) {
    (void)self;
    if (a->v[0].kind != J_STRING)
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "strftime_now wants a string");
    return slm__j_strftime(j, &a->v[0], out);
}

const jrow slm__j_functions[] = {
    {"dict", fn_dict, NULL, 0},
    {"namespace", fn_namespace, NULL, 0},
    {"raise_exception", fn_raise, "message", 1},
    {"range", fn_range, NULL, 0},
    {"strftime_now", fn_strftime, "format", 1},
    {0},
};

/* ---- Methods of dicts ---- */

static bool d_get(jinja *j, const jv *v, jargs *a, jv *out) {
    const jentry *e = slm__j_dict_get(j, v->u.dict, &a->v[0]);
    if (j->status != SLM_OK) return false;
    *out = e ? e->value : a->v[1].kind == J_MISSING ? JNONE : a->v[1];
    return true;
}

static bool view(jinja *j, const jv *v, int what, jv *out) {
    jv pair;
    if (!slm__j_list(j, J_VIEW, v->u.dict->n, out)) return false;
    out->flag = (uint8_t)what;
    for (uint32_t i = 0; i < v->u.dict->n; i++) {
        const jentry *e = &v->u.dict->e[i];
        pair = what == VIEW_KEYS ? e->key : e->value;
        if (what == VIEW_ITEMS &&
            (!slm__j_list(j, J_TUPLE, 2, &pair) || !slm__j_append(j, pair.u.list, &e->key) ||
             !slm__j_append(j, pair.u.list, &e->value)))
            return false;
        if (!slm__j_append(j, out->u.list, &pair)) return false;
    }
    return true;
}

static bool d_items(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    return view(j, v, VIEW_ITEMS, out);
}
static bool d_keys(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    return view(j, v, VIEW_KEYS, out);
}
static bool d_values(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    return view(j, v, VIEW_VALUES, out);
}

static bool d_copy(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    return slm__j_dict(j, J_DICT, out) && add_entries(j, out->u.dict, v);
}

const jrow slm__j_dict_methods[] = {
    {"copy", d_copy, "", 0}, {"get", d_get, "key default", 1}, {"items", d_items, "", 0},
    {"keys", d_keys, "", 0}, {"values", d_values, "", 0},      {0},
};

/* ---- Methods of lists ---- */

static bool l_index(jinja *j, const jv *v, jargs *a, jv *out) {
    for (uint32_t i = 0; i < v->u.list->n; i++) {
        bool same;
        if (!slm__j_equal(j, &v->u.list->v[i], &a->v[0], &same)) return false;
        if (!same) continue;
        *out = JINT(i);
        return true;
    }
    return slm__j_fail(j, SLM_ERR_ARGUMENT, "the value is not in the list");
}

static bool l_count(jinja *j, const jv *v, jargs *a, jv *out) {
    int64_t n = 0;
    for (uint32_t i = 0; i < v->u.list->n; i++) {
        bool same;
        if (!slm__j_equal(j, &v->u.list->v[i], &a->v[0], &same)) return false;
        n += same;
    }
    *out = JINT(n);
    return true;
}

static bool l_copy(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    if (v->kind != J_LIST) return slm__j_fail(j, SLM_ERR_ARGUMENT, "only lists can be copied");
    *out = *v;
    return true;
}

const jrow slm__j_list_methods[] = {
    {"copy", l_copy, "", 0}, {"count", l_count, "value", 1}, {"index", l_index, "value", 1}, {0}};
