/* Expressions: the tree -> a value. */
#include "jinja.h"

bool slm__j_enter(jinja *j) {
    if (!slm__j_step(j, 1)) return false;
    if (j->levels < JINJA_LEVELS) {
        j->levels++;
        return true;
    }
    return slm__j_fail(j, SLM_ERR_LIMIT, "calls inside calls need more than %d levels",
                       JINJA_LEVELS);
}

/* ---- Names ---- */

jscope *slm__j_scope(jinja *j, jscope *parent) {
    jscope *s = slm__j_array(j, 1, sizeof *s);
    if (s) s->parent = parent;
    return s;
}

bool slm__j_bind(jinja *j, jscope *scope, const jname *name, const jv *value) {
    if (!name) return false;
    for (uint32_t i = 0; i < scope->n; i++) {
        if (scope->v[i].name != name) continue;
        scope->v[i].value = *value;
        return slm__j_walk(j, i);
    }
    if (!slm__j_walk(j, scope->n)) return false;
    if (scope->n == scope->capacity) {
        uint32_t capacity = scope->capacity ? 2 * scope->capacity : 4;
        jvar *v = slm__j_array(j, capacity, sizeof *v);
        if (!v) return false;
        if (scope->n) memcpy(v, scope->v, scope->n * sizeof *v);
        scope->v = v;
        scope->capacity = capacity;
    }
    scope->v[scope->n++] = (jvar){name, *value};
    return true;
}

static bool load_name(jinja *j, const jname *name, jv *out) {
    uint64_t n = 0; /* looked at: names, and scopes */
    for (const jscope *s = j->scope; s; s = s->parent, n++) {
        for (uint32_t i = 0; i < s->n; i++, n++) {
            if (s->v[i].name != name) continue;
            *out = s->v[i].value;
            return slm__j_scan(j, n);
        }
    }
    *out = (jv){.kind = J_UNDEFINED, .u.name = name};
    return slm__j_scan(j, n);
}

/* ---- Calls ---- */

static bool add_keyword(jinja *j, jargs *a, uint32_t *capacity, const jname *name, const jv *key,
                        const jv *v) {
    for (uint32_t i = 0; i < a->n_keywords; i++) {
        if (a->keywords[i].name == name)
            return slm__j_fail(j, SLM_ERR_ARGUMENT, "argument '%s' is given twice",
                               slm__show(name->s).text);
    }
    if (a->n_keywords == *capacity) {
        *capacity = *capacity ? 2 * *capacity : 4;
        jkeyword *k = slm__j_array(j, *capacity, sizeof *k);
        if (!k) return false;
        if (a->n_keywords) memcpy(k, a->keywords, a->n_keywords * sizeof *k);
        a->keywords = k;
    }
    a->keywords[a->n_keywords++] = (jkeyword){name, *v, key};
    return slm__j_scan(j, a->n_keywords);
}

static bool add_dict(jinja *j, jargs *a, uint32_t *capacity, const jv *v) {
    if (v->kind == J_UNDEFINED) return slm__j_fail_undefined(j, v);
    if (v->kind != J_DICT)
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "what follows ** must be a mapping, not %s",
                           slm__j_kind_name(v));
    for (uint32_t i = 0; i < v->u.dict->n; i++) {
        const jentry *e = &v->u.dict->e[i];
        if (e->key.kind != J_STRING)
            return slm__j_fail(j, SLM_ERR_ARGUMENT, "keywords must be strings");
        const jname *name = slm__j_name(j, jbytes(&e->key), e->key.len);
        if (!name || !add_keyword(j, a, capacity, name, &e->key, &e->value)) return false;
    }
    return true;
}

bool slm__j_eval_args(jinja *j, const jnode *args, jargs *out) {
    jv list, v;
    uint32_t capacity = 0, n = 0;
    for (const jnode *a = args; a; a = a->next) n++;
    *out = (jargs){0};
    if (n == 0) return true;
    if (!slm__j_list(j, J_LIST, n, &list)) return false;
    for (const jnode *a = args; a; a = a->next) {
        if (!slm__j_eval(j, a->a, &v)) return false;
        jlist *more;
        bool ok = true;
        if (a->op == ARG_KEYWORD) {
            ok = add_keyword(j, out, &capacity, a->name, NULL, &v);
        } else if (a->op == ARG_STARS) {
            ok = add_dict(j, out, &capacity, &v);
        } else if (a->op == ARG_STAR) {
            ok = slm__j_elements(j, &v, &more);
            for (uint32_t i = 0; ok && i < more->n; i++)
                ok = slm__j_append(j, list.u.list, &more->v[i]);
        } else {
            ok = slm__j_append(j, list.u.list, &v);
        }
        if (!ok) return false;
    }
    out->v = list.u.list->v;
    out->n = list.u.list->n;
    return true;
}

bool slm__j_keyword_name(jinja *j, const jkeyword *k, jv *out) {
    if (!k->key) return slm__j_outside(j, k->name->s.ptr, k->name->s.len, false, out);
    *out = *k->key;
    return true;
}

/* The parameter of that name, counted from 0; -1. */
static int find_param(const char *params, slm__str name, int *n_params) {
    int found = -1;
    *n_params = 0;
    for (const char *p = params; *p; (*n_params)++) {
        size_t n = strcspn(p, " ");
        if (n == name.len && memcmp(p, name.ptr, n) == 0) found = *n_params;
        p += n;
        while (*p == ' ') p++;
    }
    return found;
}

static bool bind_params(jinja *j, const jrow *row, jargs *args) {
    int n;
    find_param(row->params, (slm__str){"", 0}, &n);
    if (args->n > (uint32_t)n)
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "%s takes at most %d arguments, found %u",
                           row->name, n, args->n);
    jv *v = slm__j_array(j, (uint64_t)n, sizeof *v);
    if (!v) return false;
    if (args->n) memcpy(v, args->v, args->n * sizeof *v);
    for (uint32_t i = 0; i < args->n_keywords; i++) {
        slm__str name = args->keywords[i].name->s;
        int at = find_param(row->params, name, &n);
        if (at < 0 || v[at].kind != J_MISSING)
            return slm__j_fail(j, SLM_ERR_ARGUMENT, "%s: unexpected argument '%s'", row->name,
                               slm__show(name).text);
        v[at] = args->keywords[i].value;
    }
    for (int i = 0; i < row->n_needed; i++) {
        if (v[i].kind == J_MISSING)
            return slm__j_fail(j, SLM_ERR_ARGUMENT, "%s: argument %d is missing", row->name, i + 1);
    }
    *args = (jargs){.v = v, .n = (uint32_t)n};
    return true;
}

bool slm__j_call_row(jinja *j, const jrow *row, const jv *self, jargs *args, jv *out) {
    if (row->params && !bind_params(j, row, args)) return false;
    return row->fn(j, self, args, out);
}

bool slm__j_call(jinja *j, const jv *f, jargs *args, jv *out) {
    switch (f->kind) {
    case J_FUNCTION: return slm__j_call_row(j, f->u.row, NULL, args, out);
    case J_METHOD: return slm__j_call_row(j, f->u.method->row, &f->u.method->self, args, out);
    case J_MACRO: return slm__j_call_macro(j, f->u.macro, args, out);
    case J_LOOP:
        if (args->n == 1 && args->n_keywords == 0)
            return slm__j_call_loop(j, f->u.loop, &args->v[0], out);
        break;
    case J_UNDEFINED: return slm__j_fail_undefined(j, f);
    default: break;
    }
    return slm__j_fail(j, SLM_ERR_ARGUMENT, "'%s' object is not callable", slm__j_kind_name(f));
}

/* A method is called without making a value of it. */
static bool eval_call(jinja *j, const jnode *n, jv *out) {
    jargs args;
    jv f;
    const jnode *callee = n->a;
    const jrow *row = NULL;
    if (callee->type == N_ATTR) {
        if (!slm__j_eval(j, callee->a, &f)) return false;
        row = slm__j_method(&f, callee->name->s);
        jv self = f;
        j->pos = callee->pos;
        if (!row && !slm__j_attr(j, &self, callee->name, &f)) return false;
    } else if (!slm__j_eval(j, callee, &f)) {
        return false;
    }
    if (!slm__j_eval_args(j, n->b, &args)) return false;
    j->pos = n->pos;
    return row ? slm__j_call_row(j, row, &f, &args, out) : slm__j_call(j, &f, &args, out);
}

static bool eval_filter(jinja *j, const jnode *n, jv *out) {
    jv v;
    jargs args;
    if (!slm__j_eval(j, n->a, &v) || !slm__j_eval_args(j, n->b, &args)) return false;
    j->pos = n->pos;
    if (!n->row)
        return slm__j_fail(j, SLM_ERR_UNSUPPORTED, "no %s named '%s'",
                           n->type == N_TEST ? "test" : "filter", slm__show(n->name->s).text);
    return slm__j_call_row(j, n->row, &v, &args, out);
}

/* ---- Literals ---- */

static bool eval_list(jinja *j, const jnode *n, jkind kind, jv *out) {
    jv v;
    if (!slm__j_list(j, kind, 0, out)) return false;
    for (const jnode *e = n->a; e; e = e->next) {
        if (!slm__j_eval(j, e, &v) || !slm__j_append(j, out->u.list, &v)) return false;
    }
    return true;
}

static bool eval_dict(jinja *j, const jnode *n, jv *out) {
    jv key, value;
    if (!slm__j_dict(j, J_DICT, out)) return false;
    for (const jnode *e = n->a; e; e = e->next->next) {
        if (!slm__j_eval(j, e, &key) || !slm__j_eval(j, e->next, &value)) return false;
        if (!slm__j_dict_set(j, out->u.dict, &key, &value)) return false;
    }
    return true;
}

/* ---- Operators ---- */

/* The first of the values that decides; is it true for "or", is it false for "and". */
static bool eval_logic(jinja *j, const jnode *n, bool or, jv *out) {
    for (const jnode *e = n->a; e; e = e->next) {
        if (!slm__j_eval(j, e, out)) return false;
        if (slm__j_truth(out) == or) return true;
    }
    return true;
}

static bool eval_test(jinja *j, const jnode *n, bool *out) {
    jv v;
    if (!slm__j_eval(j, n, &v)) return false;
    *out = slm__j_truth(&v);
    return true;
}

static bool eval_compare(jinja *j, const jnode *n, jv *out) {
    jv left, right;
    bool yes = true;
    if (!slm__j_eval(j, n->a, &left)) return false;
    for (const jnode *e = n->b; e && yes; e = e->next) {
        if (!slm__j_eval(j, e->a, &right)) return false;
        j->pos = n->pos;
        if (!slm__j_relate(j, (jop)e->op, &left, &right, &yes)) return false;
        left = right;
    }
    *out = JBOOL(yes);
    return true;
}

static bool eval_arith(jinja *j, const jnode *n, jv *out) {
    jv left, right;
    if (!slm__j_eval(j, n->a, &left)) return false;
    for (const jnode *e = n->b; e; e = e->next) {
        if (!slm__j_eval(j, e->a, &right)) return false;
        j->pos = n->pos;
        if (!slm__j_operate(j, (jop)e->op, &left, &right, out)) return false;
        left = *out;
    }
    return true;
}

static bool eval_concat(jinja *j, const jnode *n, jv *out) {
    jv text, v;
    bool first = true;
    for (const jnode *e = n->a; e; e = e->next, first = false) {
        if (!slm__j_eval(j, e, &v) || !slm__j_to_string(j, &v, &text)) return false;
        text.flag = 0;
        v = *out;
        if (first)
            *out = text;
        else if (!slm__j_concat(j, &v, &text, out))
            return false;
    }
    return true;
}

static bool eval_sign(jinja *j, const jnode *n, bool negative, jv *out) {
    static const jv zero = {.kind = J_INT};
    jv v;
    if (!slm__j_eval(j, n->a, &v)) return false;
    if (v.kind == J_FLOAT) {
        *out = JFLOAT(negative ? -v.u.f : v.u.f);
        return true;
    }
    j->pos = n->pos;
    return slm__j_operate(j, negative ? OP_SUB : OP_ADD, &zero, &v, out);
}

static bool eval_item(jinja *j, const jnode *n, jv *out) {
    jv v, key;
    if (!slm__j_eval(j, n->a, &v)) return false;
    if (n->b->type != N_SLICE) {
        if (!slm__j_eval(j, n->b, &key)) return false;
        j->pos = n->pos;
        return slm__j_item(j, &v, &key, out);
    }
    const jnode *const parts[] = {n->b->a, n->b->b, n->b->c};
    jv bounds[3];
    for (int i = 0; i < 3; i++) {
        bounds[i] = JNONE;
        if (parts[i] && !slm__j_eval(j, parts[i], &bounds[i])) return false;
    }
    j->pos = n->pos;
    return slm__j_slice(j, &v, bounds, out);
}

static bool eval_attr(jinja *j, const jnode *n, jv *out) {
    jv v;
    if (!slm__j_eval(j, n->a, &v)) return false;
    j->pos = n->pos;
    return slm__j_attr(j, &v, n->name, out);
}

static bool eval_cond(jinja *j, const jnode *n, jv *out) {
    bool yes = false;
    if (!eval_test(j, n->a, &yes)) return false;
    if (yes) return slm__j_eval(j, n->b, out);
    *out = JUNDEF;
    return !n->c || slm__j_eval(j, n->c, out);
}

static bool eval_not(jinja *j, const jnode *n, jv *out) {
    bool yes = false;
    if (!eval_test(j, n->a, &yes)) return false;
    *out = JBOOL(!yes);
    return true;
}

static bool eval_node(jinja *j, const jnode *n, jv *out) {
    switch (n->type) {
    case N_LIST: return eval_list(j, n, J_LIST, out);
    case N_TUPLE: return eval_list(j, n, J_TUPLE, out);
    case N_DICT: return eval_dict(j, n, out);
    case N_COND: return eval_cond(j, n, out);
    case N_OR: return eval_logic(j, n, true, out);
    case N_AND: return eval_logic(j, n, false, out);
    case N_NOT: return eval_not(j, n, out);
    case N_COMPARE: return eval_compare(j, n, out);
    case N_ARITH: return eval_arith(j, n, out);
    case N_CONCAT: return eval_concat(j, n, out);
    case N_NEG: return eval_sign(j, n, true, out);
    case N_POS: return eval_sign(j, n, false, out);
    case N_ATTR: return eval_attr(j, n, out);
    case N_ITEM: return eval_item(j, n, out);
    case N_CALL: return eval_call(j, n, out);
    case N_FILTER:
    case N_TEST: return eval_filter(j, n, out);
    default:
        return slm__j_fail(j, SLM_ERR_UNSUPPORTED, "a slice inside of a tuple is not supported");
    }
}

bool slm__j_eval(jinja *j, const jnode *n, jv *out) {
    if (n->type == N_CONST || n->type == N_BODY) {
        *out = n->value;
        return slm__j_step(j, 1);
    }
    j->pos = n->pos;
    if (n->type == N_NAME) {
        return load_name(j, n->name, out);
    }
    if (!slm__j_enter(j)) return false;
    bool ok = eval_node(j, n, out);
    slm__j_leave(j);
    return ok;
}
