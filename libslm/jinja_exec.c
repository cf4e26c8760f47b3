/* Statements: the tree -> text. */
#include "jinja.h"

/* ---- Assignment ---- */

static bool assign(jinja *j, jscope *scope, const jnode *target, const jv *v);

static bool assign_tuple(jinja *j, jscope *scope, const jnode *target, const jv *v) {
    jlist *l;
    uint32_t i = 0;
    if (!slm__j_elements(j, v, &l)) return false;
    for (const jnode *t = target->a; t; t = t->next, i++) {
        if (i >= l->n) break;
        if (!assign(j, scope, t, &l->v[i])) return false;
        if (!t->next && i + 1 == l->n) return true;
    }
    return slm__j_fail(j, SLM_ERR_ARGUMENT, "%u values do not fit the names that they are given to",
                       l->n);
}

static bool assign_attribute(jinja *j, const jnode *target, const jv *v) {
    jv ns, key;
    jnode load = {.type = N_NAME, .pos = target->pos, .name = target->name};
    if (!slm__j_eval(j, &load, &ns)) return false;
    if (ns.kind != J_NAMESPACE)
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "only namespaces have attributes that can be set");
    slm__str name = target->b->name->s;
    if (name.ptr[0] == '_')
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "'%s' cannot be set: it begins with _",
                           slm__show(name).text);
    return slm__j_outside(j, name.ptr, name.len, false, &key) &&
           slm__j_dict_set(j, ns.u.dict, &key, v);
}

static bool assign(jinja *j, jscope *scope, const jnode *target, const jv *v) {
    if (target->type == N_NAME) return slm__j_bind(j, scope, target->name, v);
    if (target->type == N_NSREF) return assign_attribute(j, target, v);
    return assign_tuple(j, scope, target, v);
}

static bool exec_set(jinja *j, const jnode *n) {
    jv v;
    return slm__j_eval(j, n->b, &v) && assign(j, j->scope, n->a, &v);
}

/* ---- Text into a string instead of the output ---- */

static bool capture(jinja *j, const jnode *body, jscope *scope, jv *out) {
    jbuf *saved = j->out;
    jscope *outer = j->scope;
    j->out = slm__j_buf(j, 0);
    j->scope = scope;
    bool ok = j->out && scope && slm__j_exec(j, body);
    if (ok) *out = slm__j_whole(j->out);
    j->out = saved;
    j->scope = outer;
    return ok;
}

/* The filters of a block, on its text, which takes the place of N_BODY. */
static bool filtered(jinja *j, jnode *filters, const jnode *body, jv *out) {
    jv text;
    jnode *place = filters;
    while (place->type != N_BODY) place = place->a;
    if (!capture(j, body, slm__j_scope(j, j->scope), &text)) return false;
    jv before = place->value; /* of the same block further out */
    place->value = text;
    bool ok = slm__j_eval(j, filters, out);
    place->value = before;
    return ok;
}

static bool exec_set_block(jinja *j, const jnode *n) {
    jv v;
    return filtered(j, n->b, n->d, &v) && assign(j, j->scope, n->a, &v);
}

static bool exec_filter_block(jinja *j, const jnode *n) {
    jv v;
    if (!filtered(j, n->b, n->d, &v)) return false;
    if (v.kind == J_STRING) return slm__j_put_str(j, j->out, &v);
    return slm__j_fail(j, SLM_ERR_ARGUMENT, "the filter of a block gives a %s, expected a string",
                       slm__j_kind_name(&v));
}

/* ---- Macros ---- */

static bool make_macro(jinja *j, const jnode *n, jv *out) {
    jmacro *m = slm__j_alloc(j, sizeof *m);
    if (!m) return false;
    *m = (jmacro){n, j->scope};
    for (jscope *s = j->scope; s && !s->captured; s = s->parent) s->captured = true;
    *out = (jv){.kind = J_MACRO, .u.macro = m};
    return true;
}

static jkeyword *find_keyword(const jargs *args, const jname *name) {
    for (uint32_t i = 0; i < args->n_keywords; i++) {
        if (args->keywords[i].name == name) return &args->keywords[i];
    }
    return NULL;
}

/* Arguments by position and by name; those that are used up are marked in the keywords as J_MISSING. */
static bool bind_given(jinja *j, const jmacro *m, jargs *args, jscope *scope, uint32_t *n_used) {
    uint32_t i = 0;
    for (const jnode *p = m->node->a; p; p = p->next, i++) {
        if (!slm__j_walk(j, args->n_keywords)) return false;
        jkeyword *k = find_keyword(args, p->name);
        if (k && i < args->n)
            return slm__j_fail(j, SLM_ERR_ARGUMENT, "argument '%s' is given twice",
                               slm__show(p->name->s).text);
        const jv *v = i < args->n ? &args->v[i] : k ? &k->value : NULL;
        if (v && !slm__j_bind(j, scope, p->name, v)) return false;
        if (k) k->value.kind = J_MISSING;
    }
    *n_used = i;
    return true;
}

static bool is_bound(const jscope *scope, const jname *name) {
    for (uint32_t i = 0; i < scope->n; i++) {
        if (scope->v[i].name == name) return true;
    }
    return false;
}

/* Defaults see the parameters before them; themselves and those behind them as undefined. */
static bool bind_defaults(jinja *j, const jmacro *m, jscope *scope) {
    jscope *outer = j->scope;
    uint32_t n_given = scope->n;
    bool ok = true;
    for (const jnode *p = m->node->a; p && ok; p = p->next) {
        jv nothing = {.kind = J_UNDEFINED, .u.name = p->name};
        ok = slm__j_scan(j, scope->n) &&
             (is_bound(scope, p->name) || slm__j_bind(j, scope, p->name, &nothing));
    }
    j->scope = scope;
    for (const jnode *p = m->node->a; p && ok; p = p->next) {
        bool given = false;
        if (!(ok = slm__j_scan(j, n_given))) break;
        for (uint32_t i = 0; i < n_given && !given; i++) given = scope->v[i].name == p->name;
        if (given) continue;
        jv v = {.kind = J_UNDEFINED, .u.name = p->name};
        ok = (!p->a || slm__j_eval(j, p->a, &v)) && slm__j_bind(j, scope, p->name, &v);
    }
    j->scope = outer;
    return ok;
}

static bool bind_rest(jinja *j, const jmacro *m, jargs *args, jscope *scope, uint32_t n_used) {
    jv rest, name;
    uint8_t uses = m->node->op;
    if (args->n > n_used && !(uses & USES_VARARGS))
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "a macro takes at most %u arguments, found %u",
                           n_used, args->n);
    if (uses & USES_VARARGS && !is_bound(scope, j->n_varargs)) {
        if (!slm__j_list(j, J_TUPLE, 0, &rest)) return false;
        for (uint32_t i = n_used; i < args->n; i++) {
            if (!slm__j_append(j, rest.u.list, &args->v[i])) return false;
        }
        if (!slm__j_bind(j, scope, j->n_varargs, &rest)) return false;
    }
    if (uses & USES_CALLER && !is_bound(scope, j->n_caller)) {
        jkeyword *k = find_keyword(args, j->n_caller);
        jv v = k ? k->value : (jv){.kind = J_UNDEFINED, .u.name = j->n_caller};
        if (k) k->value.kind = J_MISSING;
        if (!slm__j_bind(j, scope, j->n_caller, &v)) return false;
    }
    if (!slm__j_dict(j, J_DICT, &rest)) return false;
    for (uint32_t i = 0; i < args->n_keywords; i++) {
        const jkeyword *k = &args->keywords[i];
        if (k->value.kind == J_MISSING) continue;
        if (!(uses & USES_KWARGS))
            return slm__j_fail(j, SLM_ERR_ARGUMENT, "a macro takes no argument '%s'",
                               slm__show(k->name->s).text);
        if (!slm__j_keyword_name(j, k, &name) || !slm__j_dict_set(j, rest.u.dict, &name, &k->value))
            return false;
    }
    return !(uses & USES_KWARGS) || is_bound(scope, j->n_kwargs) ||
           slm__j_bind(j, scope, j->n_kwargs, &rest);
}

bool slm__j_call_macro(jinja *j, const jmacro *m, jargs *args, jv *out) {
    uint32_t n_used = 0;
    if (j->calls >= JINJA_DEPTH)
        return slm__j_fail(j, SLM_ERR_LIMIT, "more than %d calls inside each other", JINJA_DEPTH);
    jscope *scope = slm__j_scope(j, m->scope);
    if (!scope || !bind_given(j, m, args, scope, &n_used) ||
        !bind_rest(j, m, args, scope, n_used) || !bind_defaults(j, m, scope))
        return false;
    j->calls++;
    bool ok = capture(j, m->node->d, scope, out);
    j->calls--;
    return ok;
}

static bool exec_macro(jinja *j, const jnode *n) {
    jv macro;
    return make_macro(j, n, &macro) && slm__j_bind(j, j->scope, n->name, &macro);
}

/* The call with one argument more: the block as a macro. */
static bool exec_call_block(jinja *j, const jnode *n) {
    jv f, caller, v;
    jargs args;
    if (!slm__j_eval(j, n->a->a, &f) || !slm__j_eval_args(j, n->a->b, &args) ||
        !make_macro(j, n->b, &caller))
        return false;
    jkeyword *k = slm__j_array(j, args.n_keywords + 1, sizeof *k);
    if (!k) return false;
    if (args.n_keywords) memcpy(k, args.keywords, args.n_keywords * sizeof *k);
    k[args.n_keywords++] = (jkeyword){j->n_caller, caller, NULL};
    args.keywords = k;
    j->pos = n->pos;
    return slm__j_call(j, &f, &args, &v) && slm__j_print(j, j->out, &v);
}

/* ---- Loops ---- */

/* The next element that the loop's condition lets through, into loop->next. */
static bool look_ahead(jinja *j, jloop *loop) {
    if (loop->has_next || loop->ended) return true;
    while (loop->at < loop->items->n) {
        loop->next = loop->items->v[loop->at++];
        loop->has_next = true;
        if (!loop->node->c || loop->sifted) return true;
        jscope *outer = j->scope, *scope = slm__j_scope(j, loop->outer);
        jv yes;
        j->scope = scope;
        bool ok = scope && assign(j, scope, loop->node->a, &loop->next) &&
                  slm__j_eval(j, loop->node->c, &yes);
        j->scope = outer;
        if (!ok) return false;
        if (slm__j_truth(&yes)) return true;
        loop->has_next = false;
    }
    loop->ended = true;
    return true;
}

/* Elements in all. With a condition all that are left have to be looked at; they are then kept. */
static bool loop_length(jinja *j, jloop *loop, int64_t *out) {
    if (loop->node->c && !loop->sifted) {
        jv all, none = JNONE;
        if (!slm__j_list(j, J_LIST, loop->index + 1, &all)) return false;
        for (uint32_t i = 0; i <= loop->index; i++) {
            if (!slm__j_append(j, all.u.list, &none)) return false; /* those that are over */
        }
        while (look_ahead(j, loop) && !loop->ended) {
            if (!slm__j_append(j, all.u.list, &loop->next)) return false;
            loop->has_next = false;
        }
        if (j->status != SLM_OK) return false;
        loop->sifted = true;
        loop->items = all.u.list;
        loop->at = loop->index + 1;
        loop->ended = false;
    }
    *out = loop->items->n;
    return true;
}

static bool loop_cycle(jinja *j, const jv *self, jargs *args, jv *out) {
    if (args->n == 0 || args->n_keywords)
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "no items for cycling given");
    *out = args->v[self->u.loop->index % args->n];
    return true;
}

static bool loop_changed(jinja *j, const jv *self, jargs *args, jv *out) {
    jv now;
    bool same = false;
    if (!slm__j_list(j, J_TUPLE, 0, &now)) return false;
    for (uint32_t i = 0; i < args->n; i++) {
        if (!slm__j_append(j, now.u.list, &args->v[i])) return false;
    }
    if (self->u.loop->changed.kind != J_MISSING &&
        !slm__j_equal(j, &self->u.loop->changed, &now, &same))
        return false;
    self->u.loop->changed = now;
    *out = JBOOL(!same);
    return true;
}

static const jrow loop_methods[] = {
    {"cycle", loop_cycle, NULL, 0}, {"changed", loop_changed, NULL, 0}, {0}};

/* False without a failure: there is no such attribute. */
bool slm__j_loop_attr(jinja *j, jloop *loop, const jname *name, jv *out) {
    static const char *const numbers[] = {"index0",    "index",    "depth0", "depth",
                                          "revindex0", "revindex", "length"};
    for (int i = 0; i < 7; i++) {
        if (!slm__str_eq(name->s, numbers[i])) continue;
        int64_t n = 0, index = loop->index, depth = loop->depth;
        if (i >= 4 && !loop_length(j, loop, &n)) return false;
        const int64_t values[] = {index, index + 1, depth, depth + 1, n - index - 1, n - index, n};
        *out = JINT(values[i]);
        return true;
    }
    bool last = slm__str_eq(name->s, "last"), next = slm__str_eq(name->s, "nextitem");
    if (last || next) {
        if (!look_ahead(j, loop)) return false;
        *out = last ? JBOOL(loop->ended) : loop->ended ? JUNDEF : loop->next;
        return true;
    }
    if (slm__str_eq(name->s, "first")) {
        *out = JBOOL(loop->index == 0);
        return true;
    }
    if (slm__str_eq(name->s, "previtem")) {
        *out = loop->index == 0 ? JUNDEF : loop->previous;
        return true;
    }
    const jrow *row = slm__j_find(loop_methods, name->s);
    jmethod *m = row ? slm__j_alloc(j, sizeof *m) : NULL;
    if (!m) return false;
    *m = (jmethod){{.kind = J_LOOP, .u.loop = loop}, row};
    *out = (jv){.kind = J_METHOD, .u.method = m};
    return true;
}

static bool run_loop(jinja *j, jloop *loop) {
    jscope *outer = j->scope, *scope = NULL;
    jv self = {.kind = J_LOOP, .u.loop = loop};
    bool ok = true, any = false,
         whole = false; /* was there an element; did the body come to its end */
    while (ok && (ok = look_ahead(j, loop)) && !loop->ended) {
        loop->previous = loop->current;
        loop->current = loop->next;
        loop->has_next = false;
        if (any) loop->index++;
        any = true;
        if (!scope || scope->captured) scope = slm__j_scope(j, loop->outer);
        if (!scope) return false;
        scope->n = 0;
        j->scope = scope;
        const jnode *n = loop->node;
        ok = slm__j_step(j, 1) && slm__j_bind(j, scope, j->n_loop, &self) &&
             assign(j, scope, n->a, &loop->current) && slm__j_exec(j, n->d);
        j->scope = outer;
        bool stop = j->flow == FLOW_BREAK;
        whole |= j->flow == FLOW_ON;
        j->flow = FLOW_ON;
        if (stop) break;
    }
    if (!ok || whole || !loop->node->e) return ok;
    j->scope = slm__j_scope(j, loop->outer);
    ok = j->scope && slm__j_exec(j, loop->node->e);
    j->scope = outer;
    return ok;
}

static bool start_loop(jinja *j, const jnode *n, jscope *outer, const jv *v, uint32_t depth) {
    jlist *items;
    jloop *loop = slm__j_array(j, 1, sizeof *loop);
    if (!loop || !slm__j_elements(j, v, &items)) return false;
    loop->node = n;
    loop->outer = outer;
    loop->items = items;
    loop->depth = depth;
    return run_loop(j, loop);
}

static bool exec_for(jinja *j, const jnode *n) {
    jv v;
    return slm__j_eval(j, n->b, &v) && start_loop(j, n, j->scope, &v, 0);
}

bool slm__j_call_loop(jinja *j, const jloop *loop, const jv *v, jv *out) {
    if (!loop->node->flag)
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "only recursive loops can be called");
    if (j->calls >= JINJA_DEPTH)
        return slm__j_fail(j, SLM_ERR_LIMIT, "more than %d calls inside each other", JINJA_DEPTH);
    jbuf *saved = j->out;
    j->out = slm__j_buf(j, 0);
    j->calls++;
    bool ok = j->out && start_loop(j, loop->node, loop->outer, v, loop->depth + 1);
    j->calls--;
    if (ok) *out = slm__j_whole(j->out);
    j->out = saved;
    return ok;
}

/* ---- Others ---- */

static bool exec_if(jinja *j, const jnode *n) {
    for (const jnode *b = n->a; b; b = b->next) {
        jv v = JBOOL(true);
        if (b->a && !slm__j_eval(j, b->a, &v)) return false;
        if (slm__j_truth(&v)) return slm__j_exec(j, b->b);
    }
    return true;
}

static bool exec_output(jinja *j, const jnode *n) {
    jv v;
    if (!slm__j_eval(j, n->a, &v)) return false;
    j->pos = n->pos;
    return slm__j_print(j, j->out, &v);
}

/* The values of "with" do not see its names. */
static bool exec_scope(jinja *j, const jnode *n) {
    jscope *outer = j->scope, *scope = slm__j_scope(j, outer);
    jv v;
    for (const jnode *s = n->a; s && scope; s = s->next) {
        if (!slm__j_eval(j, s->b, &v) || !assign(j, scope, s->a, &v)) return false;
    }
    j->scope = scope;
    bool ok = scope && slm__j_exec(j, n->d);
    j->scope = outer;
    return ok;
}

static bool exec_node(jinja *j, const jnode *n) {
    switch (n->type) {
    case N_DATA: return slm__j_put_str(j, j->out, &n->value);
    case N_OUTPUT: return exec_output(j, n);
    case N_IF: return exec_if(j, n);
    case N_FOR: return exec_for(j, n);
    case N_SET: return exec_set(j, n);
    case N_SET_BLOCK: return exec_set_block(j, n);
    case N_FILTER_BLOCK: return exec_filter_block(j, n);
    case N_MACRO: return exec_macro(j, n);
    case N_CALL_BLOCK: return exec_call_block(j, n);
    case N_BREAK: j->flow = FLOW_BREAK; return true;
    case N_CONTINUE: j->flow = FLOW_CONTINUE; return true;
    default: return exec_scope(j, n);
    }
}

bool slm__j_exec(jinja *j, const jnode *body) {
    for (const jnode *n = body; n && j->flow == FLOW_ON; n = n->next) {
        j->pos = n->pos;
        if (!slm__j_enter(j)) return false;
        bool ok = exec_node(j, n);
        slm__j_leave(j);
        if (!ok) return false;
    }
    return true;
}
