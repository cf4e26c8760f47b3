/* Filters of lists, and of whatever else has elements. */
#include "jinja.h"

/* ---- Elements by an attribute ---- */

/* "a.b.0" of an element; `otherwise` (or NULL) where it is undefined. */
static bool attribute_of(jinja *j, const jv *v, const jv *path, const jv *otherwise, jv *out) {
    jv at = *v, key;
    *out = *v;
    if (path->kind != J_STRING) return slm__j_item(j, v, path, out);
    if (!slm__j_scan(j, path->len)) return false;
    for (uint32_t begin = 0, end; begin <= path->len; begin = end + 1) {
        const char *p = jbytes(path);
        int64_t index = 0;
        bool digits = true;
        for (end = begin; end < path->len && p[end] != '.'; end++) {
            digits &= p[end] >= '0' && p[end] <= '9' && end - begin < 9;
            index = digits ? index * 10 + (p[end] - '0') : 0;
        }
        key = digits && end > begin ? JINT(index) : jsub(path, begin, end - begin);
        if (!slm__j_item(j, &at, &key, out)) return false;
        if (otherwise && out->kind == J_UNDEFINED) *out = *otherwise;
        at = *out;
    }
    return true;
}

/* What elements are sorted and told apart by. */
static bool key_of(jinja *j, const jv *v, const jv *path, bool case_sensitive, jv *out) {
    jv key = *v;
    if (slm__j_given(path) && path->kind != J_NONE && !attribute_of(j, v, path, NULL, &key))
        return false;
    *out = key;
    return case_sensitive || key.kind != J_STRING || slm__j_case(j, &key, CASE_LOWER, out);
}

static bool keys_of(jinja *j, const jlist *l, const jv *path, bool case_sensitive, jlist **out) {
    jv keys, key;
    if (!slm__j_list(j, J_LIST, l->n, &keys)) return false;
    for (uint32_t i = 0; i < l->n; i++) {
        if (!key_of(j, &l->v[i], path, case_sensitive, &key) ||
            !slm__j_append(j, keys.u.list, &key))
            return false;
    }
    *out = keys.u.list;
    return true;
}

/* A merge sort: what is equal stays in order. Elements follow their keys. */
static bool sort(jinja *j, jlist *keys, const jlist *l, bool reverse, jv *out) {
    uint32_t n = l->n;
    uint32_t *order = slm__j_array(j, 2 * (uint64_t)n, sizeof *order), *other = order + n;
    if (!order || !slm__j_list(j, J_LIST, n, out)) return false;
    for (uint32_t i = 0; i < n; i++) order[i] = i;
    for (uint32_t width = 1; width < n; width *= 2) {
        for (uint32_t at = 0; at < n; at += 2 * width) {
            uint32_t middle = at + width < n ? at + width : n;
            uint32_t end = at + 2 * width < n ? at + 2 * width : n, a = at, b = middle;
            for (uint32_t k = at; k < end; k++) {
                int c = 1;
                if (a < middle && b < end &&
                    !slm__j_compare(j, &keys->v[order[b]], &keys->v[order[a]], &c))
                    return false;
                bool second = a == middle || (b < end && c == (reverse ? 1 : -1));
                other[k] = order[second ? b++ : a++];
            }
        }
        memcpy(order, other, n * sizeof *order);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!slm__j_append(j, out->u.list, &l->v[order[i]])) return false;
    }
    return true;
}

/* By a list of attributes, which are compared as lists are. */
static bool sort_key(jinja *j, const jv *v, const jv *paths, bool case_sensitive, jv *out) {
    jv key;
    if (!slm__j_list(j, J_LIST, 1, out)) return false;
    if (paths->kind != J_STRING)
        return key_of(j, v, paths, case_sensitive, &key) && slm__j_append(j, out->u.list, &key);
    for (uint32_t begin = 0, end; begin <= paths->len; begin = end + 1) {
        for (end = begin; end < paths->len && jbytes(paths)[end] != ','; end++) continue;
        jv path = jsub(paths, begin, end - begin);
        if (!key_of(j, v, &path, case_sensitive, &key) || !slm__j_append(j, out->u.list, &key))
            return false;
    }
    return true;
}

bool slm__f_sort(jinja *j, const jv *v, jargs *a, jv *out) {
    jlist *l;
    jv keys, key;
    if (!slm__j_elements(j, v, &l) || !slm__j_list(j, J_LIST, l->n, &keys)) return false;
    for (uint32_t i = 0; i < l->n; i++) {
        if (!sort_key(j, &l->v[i], &a->v[2], slm__j_truth(&a->v[1]), &key) ||
            !slm__j_append(j, keys.u.list, &key))
            return false;
    }
    return sort(j, keys.u.list, l, slm__j_truth(&a->v[0]), out);
}

bool slm__f_dictsort(jinja *j, const jv *v, jargs *a, jv *out) {
    if (v->kind == J_UNDEFINED) return slm__j_fail_undefined(j, v);
    if (v->kind != J_DICT) return slm__j_fail(j, SLM_ERR_ARGUMENT, "dictsort wants a mapping");
    bool sensitive = slm__j_truth(&a->v[0]), reverse = slm__j_truth(&a->v[2]);
    bool by_value = slm__j_given(&a->v[1]) && jis(&a->v[1], "value");
    if (slm__j_given(&a->v[1]) && !by_value && !jis(&a->v[1], "key"))
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "dictsort: sorted by key or value");
    jv items, keys, pair, key, missing = {.kind = J_MISSING};
    if (!slm__j_list(j, J_LIST, 0, &items) || !slm__j_list(j, J_LIST, 0, &keys)) return false;
    for (uint32_t i = 0; i < v->u.dict->n; i++) {
        const jentry *e = &v->u.dict->e[i];
        if (!slm__j_list(j, J_TUPLE, 2, &pair) || !slm__j_append(j, pair.u.list, &e->key) ||
            !slm__j_append(j, pair.u.list, &e->value) ||
            !key_of(j, by_value ? &e->value : &e->key, &missing, sensitive, &key) ||
            !slm__j_append(j, keys.u.list, &key) || !slm__j_append(j, items.u.list, &pair))
            return false;
    }
    return sort(j, keys.u.list, items.u.list, reverse, out);
}

bool slm__f_unique(jinja *j, const jv *v, jargs *a, jv *out) {
    jlist *l, *keys;
    jv seen, result;
    if (!slm__j_elements(j, v, &l) || !keys_of(j, l, &a->v[1], slm__j_truth(&a->v[0]), &keys) ||
        !slm__j_dict(j, J_DICT, &seen) || !slm__j_list(j, J_LIST, 0, &result))
        return false;
    for (uint32_t i = 0; i < l->n; i++) {
        if (slm__j_dict_get(j, seen.u.dict, &keys->v[i])) continue;
        if (j->status != SLM_OK || !slm__j_dict_set(j, seen.u.dict, &keys->v[i], &keys->v[i]) ||
            !slm__j_append(j, result.u.list, &l->v[i]))
            return false;
    }
    return slm__j_iterator(j, result.u.list, out);
}

static bool extreme(jinja *j, const jv *v, jargs *a, int wanted, jv *out) {
    jlist *l, *keys;
    if (!slm__j_elements(j, v, &l)) return false;
    *out = JUNDEF;
    if (l->n == 0) return true;
    if (!keys_of(j, l, &a->v[1], slm__j_truth(&a->v[0]), &keys)) return false;
    uint32_t best = 0;
    for (uint32_t i = 1; i < l->n; i++) {
        int c;
        if (!slm__j_compare(j, &keys->v[i], &keys->v[best], &c)) return false;
        if (c == wanted) best = i;
    }
    *out = l->v[best];
    return true;
}
bool slm__f_min(jinja *j, const jv *v, jargs *a, jv *out) { return extreme(j, v, a, -1, out); }
bool slm__f_max(jinja *j, const jv *v, jargs *a, jv *out) { return extreme(j, v, a, 1, out); }

bool slm__f_sum(jinja *j, const jv *v, jargs *a, jv *out) {
    jlist *l;
    jv sum = slm__j_given(&a->v[1]) ? a->v[1] : JINT(0), x;
    if (!slm__j_elements(j, v, &l)) return false;
    if (sum.kind == J_STRING) return slm__j_fail(j, SLM_ERR_ARGUMENT, "sum cannot add up strings");
    for (uint32_t i = 0; i < l->n; i++) {
        x = l->v[i];
        if (slm__j_given(&a->v[0]) && a->v[0].kind != J_NONE &&
            !attribute_of(j, &l->v[i], &a->v[0], NULL, &x))
            return false;
        jv before = sum;
        if (!slm__j_operate(j, OP_ADD, &before, &x, &sum)) return false;
    }
    *out = sum;
    return true;
}

bool slm__f_join(jinja *j, const jv *v, jargs *a, jv *out) {
    jlist *l;
    jv between, mapped, x;
    if (!slm__j_elements(j, v, &l)) return false;
    if (!slm__j_given(&a->v[0])) {
        if (!slm__j_text(j, "", &between)) return false;
    } else if (!slm__j_to_string(j, &a->v[0], &between)) {
        return false;
    }
    if (slm__j_given(&a->v[1]) && a->v[1].kind != J_NONE) {
        if (!slm__j_list(j, J_LIST, l->n, &mapped)) return false;
        for (uint32_t i = 0; i < l->n; i++) {
            if (!attribute_of(j, &l->v[i], &a->v[1], NULL, &x) ||
                !slm__j_append(j, mapped.u.list, &x))
                return false;
        }
        l = mapped.u.list;
    }
    return slm__j_join(j, &between, l, false, out);
}

/* ---- Elements one by one ---- */

static bool tail(const jargs *a, uint32_t from, jargs *out) {
    *out = *a;
    uint32_t n = from < a->n ? from : a->n;
    if (n) out->v += n;
    out->n -= n;
    return true;
}

static jkeyword *keyword(const jargs *a, const char *name) {
    for (uint32_t i = 0; i < a->n_keywords; i++) {
        if (slm__str_eq(a->keywords[i].name->s, name)) return &a->keywords[i];
    }
    return NULL;
}

/* What is false, none too, has no elements for map, select and the like. */
static bool nothing(jinja *j, jv *out) {
    jv l;
    return slm__j_list(j, J_LIST, 0, &l) && slm__j_iterator(j, l.u.list, out);
}

/* By an attribute, or through the filter that the first argument names. */
bool slm__f_map(jinja *j, const jv *v, jargs *a, jv *out) {
    jlist *l;
    jv result, x;
    const jkeyword *attribute = keyword(a, "attribute"), *otherwise = keyword(a, "default");
    const jrow *row = NULL;
    if (!slm__j_truth(v)) return nothing(j, out);
    if (a->n == 0 && !attribute) return slm__j_fail(j, SLM_ERR_ARGUMENT, "map requires a filter");
    if (a->n == 0 && a->n_keywords > 1u + (otherwise != NULL))
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "map: unexpected argument");
    if (a->n > 0 && a->v[0].kind == J_STRING) row = slm__j_find(slm__j_filters, jstr(&a->v[0]));
    if (!slm__j_elements(j, v, &l) || !slm__j_list(j, J_LIST, l->n, &result)) return false;
    for (uint32_t i = 0; i < l->n; i++) {
        jargs rest;
        tail(a, 1, &rest);
        if (a->n > 0 && !row) return slm__j_fail(j, SLM_ERR_UNSUPPORTED, "map: no such filter");
        bool ok = row ? slm__j_enter(j) && slm__j_call_row(j, row, &l->v[i], &rest, &x)
                      : attribute_of(j, &l->v[i], &attribute->value,
                                     otherwise ? &otherwise->value : NULL, &x);
        if (row) slm__j_leave(j);
        if (!ok || !slm__j_append(j, result.u.list, &x)) return false;
    }
    return slm__j_iterator(j, result.u.list, out);
}

/* Elements for which the test (or their truth) is `wanted`; with an attribute, the first argument, it is asked of that. */
static bool filter_by(jinja *j, const jv *v, jargs *a, bool wanted, bool attribute, jv *out) {
    jlist *l;
    jv result, x, yes;
    uint32_t n_own = attribute ? 1 : 0;
    const jrow *row = NULL;
    if (!slm__j_truth(v)) return nothing(j, out);
    if (a->n < n_own) return slm__j_fail(j, SLM_ERR_ARGUMENT, "the attribute is missing");
    bool test = a->n > n_own;
    if (test && a->v[n_own].kind == J_STRING) row = slm__j_find(slm__j_tests, jstr(&a->v[n_own]));
    if (!slm__j_elements(j, v, &l) || !slm__j_list(j, J_LIST, 0, &result)) return false;
    for (uint32_t i = 0; i < l->n; i++) {
        jargs rest;
        tail(a, n_own + 1, &rest);
        x = l->v[i];
        if (attribute && !attribute_of(j, &l->v[i], &a->v[0], NULL, &x)) return false;
        if (test && !row) return slm__j_fail(j, SLM_ERR_UNSUPPORTED, "no such test");
        yes = x;
        if (row && !slm__j_call_row(j, row, &x, &rest, &yes)) return false;
        if (slm__j_truth(&yes) == wanted && !slm__j_append(j, result.u.list, &l->v[i]))
            return false;
    }
    return slm__j_iterator(j, result.u.list, out);
}

bool slm__f_select(jinja *j, const jv *v, jargs *a, jv *out) {
    return filter_by(j, v, a, true, false, out);
}
bool slm__f_reject(jinja *j, const jv *v, jargs *a, jv *out) {
    return filter_by(j, v, a, false, false, out);
}
bool slm__f_selectattr(jinja *j, const jv *v, jargs *a, jv *out) {
    return filter_by(j, v, a, true, true, out);
}
bool slm__f_rejectattr(jinja *j, const jv *v, jargs *a, jv *out) {
    return filter_by(j, v, a, false, true, out);
}

/* ---- Lists ---- */

bool slm__f_list(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    jlist *l;
    if (!slm__j_elements(j, v, &l)) return false;
    *out = (jv){.kind = J_LIST, .u.list = l};
    return true;
}

bool slm__f_length(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    int64_t n;
    if (!slm__j_length(j, v, &n)) return false;
    *out = JINT(n);
    return true;
}

static bool end_of(jinja *j, const jv *v, bool last, jv *out) {
    jlist *l;
    if (last && v->kind == J_ITERATOR)
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "'generator' object is not reversible");
    if (!slm__j_elements(j, v, &l)) return false;
    *out = l->n == 0 ? JUNDEF : l->v[last ? l->n - 1 : 0];
    return true;
}
bool slm__f_first(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    if (v->kind == J_ITERATOR && v->u.iter->at < v->u.iter->list->n) {
        *out = v->u.iter->list->v[v->u.iter->at++];
        return true;
    }
    return end_of(j, v, false, out);
}
bool slm__f_last(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    return end_of(j, v, true, out);
}

bool slm__f_reverse(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    jlist *l;
    jv r, bounds[3] = {JNONE, JNONE, JINT(-1)};
    if (v->kind == J_STRING) return slm__j_slice(j, v, bounds, out);
    if (!slm__j_elements(j, v, &l) || !slm__j_list(j, J_LIST, l->n, &r)) return false;
    for (uint32_t i = l->n; i-- > 0;) {
        if (!slm__j_append(j, r.u.list, &l->v[i])) return false;
    }
    *out = r;
    return v->kind == J_ITERATOR || slm__j_iterator(j, r.u.list, out);
}

bool slm__f_items(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    jv l, pair;
    if (v->kind != J_DICT && v->kind != J_UNDEFINED)
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "items wants a mapping");
    if (!slm__j_list(j, J_LIST, 0, &l)) return false;
    for (uint32_t i = 0; v->kind == J_DICT && i < v->u.dict->n; i++) {
        if (!slm__j_list(j, J_TUPLE, 2, &pair) ||
            !slm__j_append(j, pair.u.list, &v->u.dict->e[i].key) ||
            !slm__j_append(j, pair.u.list, &v->u.dict->e[i].value) ||
            !slm__j_append(j, l.u.list, &pair))
            return false;
    }
    return slm__j_iterator(j, l.u.list, out);
}

/* Rows of n elements; the last one filled up. */
bool slm__f_batch(jinja *j, const jv *v, jargs *a, jv *out) {
    jlist *l;
    jv rows, row;
    int64_t n;
    if (!slm__j_need_int(j, &a->v[0], 0, &n) || !slm__j_elements(j, v, &l)) return false;
    if (!slm__j_list(j, J_LIST, 0, &rows)) return false;
    for (uint32_t i = 0; i < l->n; i++) {
        if (i == 0 || (n > 0 && i % n == 0)) {
            if (!slm__j_list(j, J_LIST, 0, &row) || !slm__j_append(j, rows.u.list, &row))
                return false;
        }
        if (!slm__j_append(j, row.u.list, &l->v[i])) return false;
    }
    bool fill = slm__j_given(&a->v[1]) && a->v[1].kind != J_NONE && l->n > 0;
    while (fill && row.u.list->n < n) {
        if (!slm__j_append(j, row.u.list, &a->v[1])) return false;
    }
    return slm__j_iterator(j, rows.u.list, out);
}

bool slm__f_slice(jinja *j, const jv *v, jargs *a, jv *out) {
    jlist *l;
    jv rows, row;
    int64_t n;
    if (!slm__j_need_int(j, &a->v[0], 0, &n) || !slm__j_elements(j, v, &l)) return false;
    if (n <= 0) return slm__j_fail(j, SLM_ERR_ARGUMENT, "slice: the number must be at least 1");
    if (!slm__j_list(j, J_LIST, 0, &rows)) return false;
    int64_t each = l->n / n, more = l->n % n, at = 0;
    for (int64_t s = 0; s < n; s++) {
        if (!slm__j_list(j, J_LIST, 0, &row)) return false;
        for (int64_t end = at + each + (s < more); at < end; at++) {
            if (!slm__j_append(j, row.u.list, &l->v[at])) return false;
        }
        if (slm__j_given(&a->v[1]) && a->v[1].kind != J_NONE && s >= more &&
            !slm__j_append(j, row.u.list, &a->v[1]))
            return false;
        if (!slm__j_append(j, rows.u.list, &row)) return false;
    }
    return slm__j_iterator(j, rows.u.list, out);
}
