/* Statements of the source -> tree. */
#include "jinja.h"

typedef jnode *(*statement_parser)(jinja *j);

static jnode *parse_body(jinja *j, const char *const *ends);

static jnode *failed(jinja *j, const char *message) {
    j->pos = j->token->pos;
    slm__j_fail(j, SLM_ERR_UNSUPPORTED, "%s", message);
    return NULL;
}

static bool block_end(jinja *j) {
    if (j->token->type != T_BLOCK_END) return slm__j_unexpected(j, "the end of a block");
    j->token++;
    return true;
}

/* The body up to one of `ends`, whose name is then the token at hand. Its list into *out, NULL if it is empty. */
static bool body_until(jinja *j, const char *const *ends, jnode **out) {
    slm__j_skip_op(j, JOP1(':'));
    if (!block_end(j)) return false;
    *out = parse_body(j, ends);
    return j->status == SLM_OK;
}

/* A body with one end, which is read too. A scope of its own if `fresh`: conditions outside do not count in it. */
static bool body_to(jinja *j, const char *end, bool fresh, jnode **out) {
    uint32_t soft = j->soft, loops = j->loops;
    if (fresh) j->soft = j->loops = 0;
    bool ok = body_until(j, (const char *const[]){end, NULL}, out);
    j->soft = soft;
    j->loops = loops;
    if (ok) j->token++;
    return ok;
}

/* ---- Targets ---- */

static const jname *expect_name(jinja *j) {
    if (j->token->type != T_NAME) {
        slm__j_unexpected(j, "a name");
        return NULL;
    }
    return (j->token++)->name;
}

static jnode *parse_target_name(jinja *j, bool with_namespace) {
    static const char *const literals[] = {"true", "True", "false", "False", "none", "None"};
    for (size_t i = 0; i < SLM_COUNT(literals); i++) {
        if (slm__j_at_name(j, literals[i]))
            return failed(j, "nothing can be assigned to a literal");
    }
    jnode *n = slm__j_node(j, N_NAME);
    if (!n || !(n->name = expect_name(j))) return NULL;
    if (!with_namespace || !slm__j_skip_op(j, JOP1('.'))) return n;
    n->type = N_NSREF;
    n->b = slm__j_node(j, N_NAME);
    if (!n->b || !(n->b->name = expect_name(j))) return NULL;
    return n;
}

static jnode *parse_target(jinja *j, bool with_namespace, int depth);

static jnode *parse_target_item(jinja *j, bool with_namespace, int depth) {
    if (!slm__j_skip_op(j, JOP1('('))) return parse_target_name(j, with_namespace);
    if (depth > 8) return failed(j, "a target that is nested too deep");
    jnode *n = parse_target(j, with_namespace, depth + 1);
    return n && slm__j_expect_op(j, JOP1(')')) ? n : NULL;
}

static jnode *parse_target(jinja *j, bool with_namespace, int depth) {
    jnode *tuple = slm__j_node(j, N_TUPLE), **end = tuple ? &tuple->a : NULL;
    bool is_tuple = false;
    while (tuple) {
        if (tuple->a && !slm__j_expect_op(j, JOP1(','))) return NULL;
        if (tuple->a && (slm__j_at_name(j, "in") || slm__j_at_op(j, JOP1('=')) ||
                         slm__j_at_op(j, JOP1(')')) || j->token->type == T_BLOCK_END))
            break;
        if (!(*end = parse_target_item(j, with_namespace, depth))) return NULL;
        end = &(*end)->next;
        if (!slm__j_at_op(j, JOP1(','))) break;
        is_tuple = true;
    }
    return tuple && !is_tuple ? tuple->a : tuple;
}

/* ---- Statements ---- */

static jnode *parse_set(jinja *j) {
    jnode *n = slm__j_node(j, N_SET);
    if (!n || !(n->a = parse_target(j, true, 0))) return NULL;
    if (slm__j_skip_op(j, JOP1('='))) return (n->b = slm__j_parse_tuple(j, true, false)) ? n : NULL;
    n->type = N_SET_BLOCK;
    jnode *body = slm__j_node(j, N_BODY);
    if (!body || !(n->b = slm__j_parse_filters(j, body, false))) return NULL;
    return body_to(j, "endset", true, &n->d) ? n : NULL;
}

static jnode *parse_if(jinja *j) {
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    jnode *n = slm__j_node(j, N_IF), **end = n ? &n->a : NULL;
    j->soft++;
    for (bool last = false; n && !slm__j_skip_name(j, "endif");) {
        jnode *branch = slm__j_node(j, N_BRANCH);
        if (!branch) return NULL;
        if (!last && !(branch->a = slm__j_parse_tuple(j, false, false))) return NULL;
        if (!body_until(j, last ? ends + 2 : ends, &branch->b)) return NULL;
        *end = branch;
        end = &branch->next;
        last = slm__j_skip_name(j, "else");
        if (!last) slm__j_skip_name(j, "elif");
    }
    j->soft--;
    return n;
}

static jnode *parse_for(jinja *j) {
    static const char *const ends[] = {"endfor", "else", NULL};
    jnode *n = slm__j_node(j, N_FOR);
    uint32_t soft = j->soft;
    if (!n || !(n->a = parse_target(j, false, 0))) return NULL;
    if (!slm__j_skip_name(j, "in")) {
        slm__j_unexpected(j, "in");
        return NULL;
    }
    if (!(n->b = slm__j_parse_tuple(j, false, false))) return NULL;
    j->soft = 0;
    if (slm__j_skip_name(j, "if") && !(n->c = slm__j_parse_expr(j, true))) return NULL;
    n->flag = slm__j_skip_name(j, "recursive");
    j->loops++;
    if (!body_until(j, ends, &n->d)) return NULL;
    j->loops--;
    if (slm__j_skip_name(j, "else")) {
        if (!body_to(j, "endfor", false, &n->e)) return NULL;
    } else {
        j->token++;
    }
    j->soft = soft;
    return n;
}

/* "(" parameters ")" */
static bool parse_signature(jinja *j, jnode *macro) {
    jnode **end = &macro->a;
    bool defaults = false;
    if (!slm__j_expect_op(j, JOP1('('))) return false;
    for (bool first = true; !slm__j_skip_op(j, JOP1(')')); first = false) {
        if (!first && !slm__j_expect_op(j, JOP1(','))) return false;
        jnode *p = slm__j_node(j, N_PARAM);
        if (!p || !(p->name = expect_name(j))) return false;
        if (slm__j_skip_op(j, JOP1('='))) {
            if (!(p->a = slm__j_parse_expr(j, true))) return false;
            defaults = true;
        } else if (defaults) {
            failed(j, "a parameter without default after one with a default");
            return false;
        }
        *end = p;
        end = &p->next;
    }
    return true;
}

static bool macro_body(jinja *j, jnode *macro, const char *end) {
    uint8_t uses = j->uses;
    j->uses = 0;
    if (!body_to(j, end, true, &macro->d)) return false;
    macro->op = j->uses;
    j->uses |= uses;
    return true;
}

static jnode *parse_macro(jinja *j) {
    jnode *n = slm__j_node(j, N_MACRO);
    if (!n || !(n->name = expect_name(j)) || !parse_signature(j, n)) return NULL;
    return macro_body(j, n, "endmacro") ? n : NULL;
}

static jnode *parse_call_block(jinja *j) {
    jnode *n = slm__j_node(j, N_CALL_BLOCK);
    if (!n || !(n->b = slm__j_node(j, N_MACRO))) return NULL;
    if (slm__j_at_op(j, JOP1('(')) && !parse_signature(j, n->b)) return NULL;
    if (!(n->a = slm__j_parse_expr(j, true))) return NULL;
    if (n->a->type != N_CALL) return failed(j, "expected a call");
    return macro_body(j, n->b, "endcall") ? n : NULL;
}

static jnode *parse_filter_block(jinja *j) {
    jnode *n = slm__j_node(j, N_FILTER_BLOCK), *body = slm__j_node(j, N_BODY);
    if (!n || !body || !(n->b = slm__j_parse_filters(j, body, true))) return NULL;
    return body_to(j, "endfilter", true, &n->d) ? n : NULL;
}

static jnode *parse_with(jinja *j) {
    jnode *n = slm__j_node(j, N_WITH), **end = n ? &n->a : NULL;
    while (n && j->token->type != T_BLOCK_END) {
        if (n->a && !slm__j_expect_op(j, JOP1(','))) return NULL;
        jnode *set = slm__j_node(j, N_SET);
        if (!set || !(set->a = parse_target_item(j, false, 0)) || !slm__j_expect_op(j, JOP1('=')) ||
            !(set->b = slm__j_parse_expr(j, true)))
            return NULL;
        *end = set;
        end = &set->next;
    }
    uint32_t loops = j->loops;
    if (!n || !body_to(j, "endwith", true, &n->d)) return NULL;
    j->loops = loops;
    return n;
}

static jnode *parse_generation(jinja *j) {
    jnode *n = slm__j_node(j, N_SCOPE);
    return n && body_to(j, "endgeneration", true, &n->d) ? n : NULL;
}

static jnode *parse_print(jinja *j) {
    jnode *first = NULL, **end = &first;
    while (j->token->type != T_BLOCK_END) {
        if (first && !slm__j_expect_op(j, JOP1(','))) return NULL;
        jnode *n = slm__j_node(j, N_OUTPUT);
        if (!n || !(n->a = slm__j_parse_expr(j, true))) return NULL;
        *end = n;
        end = &n->next;
    }
    return first ? first : slm__j_node(j, N_SCOPE);
}

static jnode *parse_jump(jinja *j) {
    bool is_break = slm__str_eq(j->token[-1].name->s, "break");
    if (j->loops == 0) return failed(j, "not inside of a loop");
    return slm__j_node(j, is_break ? N_BREAK : N_CONTINUE);
}

static const struct {
    const char *name;
    statement_parser parse;
} statements[] = {
    {"set", parse_set},     {"if", parse_if},           {"for", parse_for},
    {"macro", parse_macro}, {"call", parse_call_block}, {"filter", parse_filter_block},
    {"with", parse_with},   {"print", parse_print},     {"generation", parse_generation},
    {"break", parse_jump},  {"continue", parse_jump},
};

static jnode *parse_statement(jinja *j) {
    const jtoken *t = j->token;
    if (t->type != T_NAME) {
        slm__j_unexpected(j, "the name of a statement");
        return NULL;
    }
    for (size_t i = 0; i < SLM_COUNT(statements); i++) {
        if (!slm__str_eq(t->name->s, statements[i].name)) continue;
        if (!slm__j_deeper(j)) return NULL;
        j->token++;
        jnode *n = statements[i].parse(j);
        j->depth--;
        if (n && statements[i].parse != parse_print) n->pos = t->pos;
        return n && block_end(j) ? n : NULL;
    }
    j->pos = t->pos;
    slm__j_fail(j, SLM_ERR_UNSUPPORTED, "statement '%s' is not known here",
                slm__show(t->name->s).text);
    return NULL;
}

static jnode *parse_data(jinja *j) {
    jnode *n = slm__j_node(j, N_DATA);
    if (n) n->value = j->token->value;
    j->token++;
    return n;
}

static jnode *parse_output(jinja *j) {
    jnode *n = slm__j_node(j, N_OUTPUT);
    j->token++;
    if (!n || !(n->a = slm__j_parse_tuple(j, true, false))) return NULL;
    if (j->token->type != T_VARIABLE_END) {
        slm__j_unexpected(j, "the end of an output");
        return NULL;
    }
    j->token++;
    return n;
}

static bool at_end_name(const jinja *j, const char *const *ends) {
    for (; *ends; ends++) {
        if (slm__j_at_name(j, *ends)) return true;
    }
    return false;
}

static jnode *parse_body(jinja *j, const char *const *ends) {
    jnode *first = NULL, **end = &first, *n;
    while (j->status == SLM_OK) {
        if (j->token->type == T_END) {
            if (*ends) {
                j->pos = j->token->pos;
                slm__j_fail(j, SLM_ERR_UNSUPPORTED, "the template ends, expected '%s'", *ends);
            }
            break;
        }
        if (j->token->type == T_DATA) {
            n = parse_data(j);
        } else if (j->token->type == T_VARIABLE_BEGIN) {
            n = parse_output(j);
        } else {
            j->token++; /* T_BLOCK_BEGIN */
            if (at_end_name(j, ends)) break;
            n = parse_statement(j);
        }
        *end = n;
        while (*end) end = &(*end)->next;
    }
    return first;
}

bool slm__j_parse(jinja *j, jnode **body) {
    j->token = j->tokens;
    *body = parse_body(j, (const char *const[]){NULL});
    if (j->status != SLM_OK || !j->unknown) return j->status == SLM_OK;
    j->pos = j->unknown->pos;
    return slm__j_fail(j, SLM_ERR_UNSUPPORTED, "no %s named '%s'",
                       j->unknown->type == N_TEST ? "test" : "filter",
                       slm__show(j->unknown->name->s).text);
}
