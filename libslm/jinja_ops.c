/* Operators, attributes, elements and slices, as Python and jinja2's sandbox define them. */
#include "jinja.h"

#include <math.h>

static bool bad_operands(jinja *j, const char *op, const jv *a, const jv *b) {
    if (a->kind == J_UNDEFINED) return slm__j_fail_undefined(j, a);
    if (b->kind == J_UNDEFINED) return slm__j_fail_undefined(j, b);
    return slm__j_fail(j, SLM_ERR_ARGUMENT, "unsupported operands for %s: '%s' and '%s'", op,
                       slm__j_kind_name(a), slm__j_kind_name(b));
}

/* ---- Numbers ---- */

static bool overflow(jinja *j) {
    return slm__j_fail(j, SLM_ERR_ARGUMENT, "the result is an integer of more than 64 bits");
}

static bool int_power(jinja *j, int64_t base, int64_t exponent, jv *out) {
    int64_t r = 1;
    while (exponent > 0) {
        if (exponent & 1 && __builtin_mul_overflow(r, base, &r)) return overflow(j);
        exponent >>= 1;
        if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return overflow(j);
    }
    *out = JINT(r);
    return true;
}

/* Towards minus infinity, the remainder with the sign of b. */
static bool int_divide(jinja *j, int64_t a, int64_t b, int64_t *q, int64_t *r) {
    if (b == 0) return slm__j_fail(j, SLM_ERR_ARGUMENT, "division by zero");
    if (b == -1) {
        *r = 0;
        return !__builtin_sub_overflow((int64_t)0, a, q) || overflow(j);
    }
    *q = a / b;
    *r = a % b;
    if (*r != 0 && (*r < 0) != (b < 0)) {
        *q -= 1;
        *r += b;
    }
    return true;
}

static bool float_divide(jinja *j, double a, double b, double *q, double *r) {
    if (b == 0) return slm__j_fail(j, SLM_ERR_ARGUMENT, "division by zero");
    double m = fmod(a, b);
    double d = (a - m) / b;
    if (m != 0 && (b < 0) != (m < 0)) {
        m += b;
        d -= 1;
    } else if (m == 0) {
        m = copysign(0.0, b);
    }
    double whole = d != 0 ? floor(d) : copysign(0.0, a / b);
    if (d != 0 && d - whole > 0.5) whole += 1;
    *q = whole;
    *r = m;
    return true;
}

static bool int_arithmetic(jinja *j, jop op, int64_t a, int64_t b, jv *out) {
    int64_t r = 0, q = 0;
    bool over = false;
    switch (op) {
    case OP_ADD: over = __builtin_add_overflow(a, b, &r); break;
    case OP_SUB: over = __builtin_sub_overflow(a, b, &r); break;
    case OP_MUL: over = __builtin_mul_overflow(a, b, &r); break;
    case OP_FLOORDIV:
        if (!int_divide(j, a, b, &q, &r)) return false;
        r = q;
        break;
    case OP_MOD:
        if (!int_divide(j, a, b, &q, &r)) return false;
        break;
    case OP_POW:
        if (b >= 0) return int_power(j, a, b, out);
        return slm__j_fail(j, SLM_ERR_UNSUPPORTED, "powers of negative or broken exponents");
    default:
        if (b == 0) return slm__j_fail(j, SLM_ERR_ARGUMENT, "division by zero");
        *out = JFLOAT((double)a / (double)b);
        return true;
    }
    if (over) return overflow(j);
    *out = JINT(r);
    return true;
}

static bool float_arithmetic(jinja *j, jop op, double a, double b, jv *out) {
    double q = 0, r = 0;
    switch (op) {
    case OP_ADD: r = a + b; break;
    case OP_SUB: r = a - b; break;
    case OP_MUL: r = a * b; break;
    case OP_FLOORDIV:
        if (!float_divide(j, a, b, &q, &r)) return false;
        r = q;
        break;
    case OP_MOD:
        if (!float_divide(j, a, b, &q, &r)) return false;
        break;
    case OP_DIV:
        if (b == 0) return slm__j_fail(j, SLM_ERR_ARGUMENT, "division by zero");
        r = a / b;
        break;
    default: return slm__j_fail(j, SLM_ERR_UNSUPPORTED, "powers of numbers that are no integers");
    }
    *out = JFLOAT(r);
    return true;
}

/* ---- Strings and lists ---- */

static bool add_strings(jinja *j, const jv *a, const jv *b, jv *out) {
    jv x = *a, y = *b;
    bool safe = a->flag & FLAG_SAFE || b->flag & FLAG_SAFE;
    if (safe && (!slm__j_escape(j, a, &x) || !slm__j_escape(j, b, &y))) return false;
    if (!slm__j_concat(j, &x, &y, out)) return false;
    out->flag = safe ? FLAG_SAFE : 0;
    return true;
}

static bool add_lists(jinja *j, const jv *a, const jv *b, jv *out) {
    const jlist *x = a->u.list, *y = b->u.list;
    if (!slm__j_list(j, (jkind)a->kind, x->n + y->n, out)) return false;
    for (uint32_t i = 0; i < x->n; i++) {
        if (!slm__j_append(j, out->u.list, &x->v[i])) return false;
    }
    for (uint32_t i = 0; i < y->n; i++) {
        if (!slm__j_append(j, out->u.list, &y->v[i])) return false;
    }
    return true;
}

static bool repeat(jinja *j, const jv *v, int64_t n, jv *out) {
    if (v->kind == J_STRING) {
        jbuf *b = slm__j_buf(j, 0);
        for (int64_t i = 0; b && v->len > 0 && i < n; i++) {
            if (!slm__j_put_str(j, b, v)) return false;
        }
        if (!b) return false;
        *out = slm__j_whole(b);
        out->flag = v->flag;
        return true;
    }
    if (!slm__j_list(j, (jkind)v->kind, 0, out)) return false;
    for (int64_t i = 0; v->u.list->n > 0 && i < n; i++) {
        for (uint32_t k = 0; k < v->u.list->n; k++) {
            if (!slm__j_append(j, out->u.list, &v->u.list->v[k])) return false;
        }
    }
    return true;
}

static bool is_sequence(const jv *v) {
    return v->kind == J_STRING || v->kind == J_LIST || v->kind == J_TUPLE;
}

bool slm__j_operate(jinja *j, jop op, const jv *a, const jv *b, jv *out) {
    static const char *const names[] = {"+", "-", "*", "/", "//", "%", "**"};
    int64_t i, k;
    double f, g;
    if (slm__j_is_int(a, &i) && slm__j_is_int(b, &k)) return int_arithmetic(j, op, i, k, out);
    if (slm__j_is_number(a, &f) && slm__j_is_number(b, &g))
        return float_arithmetic(j, op, f, g, out);
    if (op == OP_ADD && a->kind == J_STRING && b->kind == J_STRING)
        return add_strings(j, a, b, out);
    if (op == OP_ADD && a->kind == b->kind && (a->kind == J_LIST || a->kind == J_TUPLE))
        return add_lists(j, a, b, out);
    if (op == OP_MUL && is_sequence(a) && slm__j_is_int(b, &k)) return repeat(j, a, k, out);
    if (op == OP_MUL && is_sequence(b) && slm__j_is_int(a, &i)) return repeat(j, b, i, out);
    if (op == OP_MOD && a->kind == J_STRING) return slm__j_percent(j, a, b, out);
    return bad_operands(j, names[op], a, b);
}

bool slm__j_relate(jinja *j, jop op, const jv *a, const jv *b, bool *out) {
    int c;
    switch (op) {
    case OP_EQ: return slm__j_equal(j, a, b, out);
    case OP_NE:
        if (!slm__j_equal(j, a, b, out)) return false;
        *out = !*out;
        return true;
    case OP_IN: return slm__j_contains(j, b, a, out);
    case OP_NOT_IN:
        if (!slm__j_contains(j, b, a, out)) return false;
        *out = !*out;
        return true;
    default: break;
    }
    if (!slm__j_compare(j, a, b, &c)) return false;
    *out = op == OP_LT   ? c == -1
           : op == OP_LE ? c == -1 || c == 0
           : op == OP_GT ? c == 1
                         : c == 1 || c == 0;
    return true;
}

/* ---- Attributes and elements ---- */

static bool undefined_of(const jv *owner, const jname *name, bool forbidden, jv *out) {
    *out = (jv){.kind = J_UNDEFINED, .flag = forbidden, .at = owner->kind, .u.name = name};
    return true;
}

static bool is_dunder(slm__str s) {
    return s.len > 4 && memcmp(s.ptr, "__", 2) == 0 && memcmp(s.ptr + s.len - 2, "__", 2) == 0;
}

/* What Python finds as an attribute: methods. False: nothing, or a failure. */
static bool python_attr(jinja *j, const jv *v, const jname *name, jv *out) {
    if (is_dunder(name->s) || slm__j_is_forbidden(v, name->s))
        return undefined_of(v, name, true, out);
    if (v->kind == J_LOOP) return slm__j_loop_attr(j, v->u.loop, name, out);
    if (v->kind == J_NAMESPACE) {
        const jentry *e = slm__j_dict_find(j, v->u.dict, name->s);
        if (e) *out = e->value;
        return e;
    }
    if (v->kind == J_MACRO && slm__str_eq(name->s, "name") && v->u.macro->node->name)
        return slm__j_outside(j, v->u.macro->node->name->s.ptr, v->u.macro->node->name->s.len,
                              false, out);
    const jrow *row = slm__j_method(v, name->s);
    jmethod *m = row ? slm__j_alloc(j, sizeof *m) : NULL;
    if (!m) return false;
    *m = (jmethod){*v, row};
    *out = (jv){.kind = J_METHOD, .u.method = m};
    return true;
}

bool slm__j_attr(jinja *j, const jv *v, const jname *name, jv *out) {
    if (v->kind == J_UNDEFINED && !slm__str_eq(name->s, "__class__"))
        return slm__j_fail_undefined(j, v);
    if (python_attr(j, v, name, out)) return true;
    if (j->status != SLM_OK) return false;
    const jentry *e = v->kind == J_DICT ? slm__j_dict_find(j, v->u.dict, name->s) : NULL;
    if (j->status != SLM_OK) return false;
    if (!e) return undefined_of(v, name, false, out);
    *out = e->value;
    return slm__j_step(j, 1);
}

/* v[index] of a string or list; *found false: out of its range. */
static bool by_index(jinja *j, const jv *v, int64_t index, bool *found, jv *out) {
    int64_t n = v->kind == J_STRING ? 0 : v->u.list->n;
    if (v->kind == J_STRING && (!slm__j_scan(j, v->len) || !slm__j_length(j, v, &n))) return false;
    if (index < 0) index += n;
    *found = index >= 0 && index < n;
    if (!*found) return true;
    if (v->kind != J_STRING) {
        *out = v->u.list->v[index];
        return true;
    }
    uint32_t at = slm__j_offset(v, (uint64_t)index), len;
    slm__j_char(jbytes(v) + at, v->len - at, &len);
    *out = jsub(v, at, len);
    return true;
}

bool slm__j_item(jinja *j, const jv *v, const jv *key, jv *out) {
    bool found = false;
    int64_t index;
    if (v->kind == J_UNDEFINED) return slm__j_fail_undefined(j, v);
    bool hashable = false;
    if (v->kind == J_DICT && !slm__j_is_hashable(j, key, 0, &hashable)) return false;
    if (hashable) {
        const jentry *e = slm__j_dict_get(j, v->u.dict, key);
        if (e) *out = e->value;
        found = e;
    } else if ((is_sequence(v) || v->kind == J_RANGE) && slm__j_is_int(key, &index)) {
        if (!by_index(j, v, index, &found, out)) return false;
    }
    if (found || j->status != SLM_OK) return j->status == SLM_OK;
    if (key->kind != J_STRING) return undefined_of(v, NULL, false, out);
    const jname *name = slm__j_name(j, jbytes(key), key->len);
    if (!name) return false;
    if (python_attr(j, v, name, out)) return true;
    return j->status == SLM_OK && undefined_of(v, name, false, out);
}

/* ---- Slices ---- */

/* begin, end, step of Python for n elements (PySlice_AdjustIndices); false after a failure. */
static bool bounds_of(jinja *j, const jv bounds[3], int64_t n, int64_t out[3]) {
    int64_t given[3];
    for (int i = 0; i < 3; i++) {
        if (bounds[i].kind == J_UNDEFINED) return slm__j_fail_undefined(j, &bounds[i]);
        if (bounds[i].kind != J_NONE && !slm__j_is_int(&bounds[i], &given[i]))
            return slm__j_fail(j, SLM_ERR_ARGUMENT, "slice indices must be integers or None");
    }
    int64_t step = bounds[2].kind == J_NONE ? 1 : given[2];
    if (step == 0) return slm__j_fail(j, SLM_ERR_ARGUMENT, "slice step cannot be zero");
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
    for (int i = 0; i < 2; i++) {
        bool first = i == 0;
        int64_t v = bounds[i].kind == J_NONE ? 0 : given[i];
        if (v < 0) v = v < -n ? low : v + n;
        if (v < low) v = low;
        if (v > high) v = high;
        if (bounds[i].kind == J_NONE) v = first == (step > 0) ? low : high;
        out[i] = v;
    }
    out[2] = step < -n ? -n - 1 : step > n ? n + 1 : step;
    return true;
}

static bool slice_string(jinja *j, const jv *v, const int64_t b[3], jv *out) {
    if (b[2] == 1) {
        uint32_t at = slm__j_offset(v, (uint64_t)b[0]);
        jv rest = jsub(v, at, v->len - at);
        *out = jsub(v, at, b[1] > b[0] ? slm__j_offset(&rest, (uint64_t)(b[1] - b[0])) : 0);
        return true;
    }
    jlist *l;
    jbuf *buf = slm__j_buf(j, 0);
    if (!buf || !slm__j_elements(j, v, &l)) return false;
    for (int64_t i = b[0]; b[2] > 0 ? i < b[1] : i > b[1]; i += b[2]) {
        if (!slm__j_put_str(j, buf, &l->v[i])) return false;
    }
    *out = slm__j_whole(buf);
    out->flag = v->flag;
    return true;
}

bool slm__j_slice(jinja *j, const jv *v, const jv bounds[3], jv *out) {
    int64_t n, b[3] = {0, 0, 1};
    if (v->kind == J_UNDEFINED) return slm__j_fail_undefined(j, v);
    if (!is_sequence(v) && v->kind != J_RANGE)
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "'%s' object cannot be sliced",
                           slm__j_kind_name(v));
    if (!slm__j_length(j, v, &n) || !bounds_of(j, bounds, n, b)) return false;
    if (v->kind == J_STRING) return slm__j_scan(j, v->len) && slice_string(j, v, b, out);
    if (!slm__j_list(j, (jkind)v->kind, 0, out)) return false;
    for (int64_t i = b[0]; b[2] > 0 ? i < b[1] : i > b[1]; i += b[2]) {
        if (!slm__j_append(j, out->u.list, &v->u.list->v[i])) return false;
    }
    if (v->kind == J_RANGE) {
        jlist *r = out->u.list;
        const jlist *of = v->u.list;
        /* a stop behind the last 64-bit number is that number: nothing comes of it */
        if (__builtin_mul_overflow(b[0], of->step, &r->start) ||
            __builtin_add_overflow(of->start, r->start, &r->start))
            r->start = of->stop;
        if (__builtin_mul_overflow(b[1], of->step, &r->stop) ||
            __builtin_add_overflow(of->start, r->stop, &r->stop))
            r->stop = of->step > 0 ? INT64_MAX : INT64_MIN;
        if (__builtin_mul_overflow(of->step, b[2], &r->step))
            r->step = (of->step > 0) == (b[2] > 0) ? INT64_MAX : INT64_MIN;
    }
    return true;
}
