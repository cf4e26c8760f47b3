/* Expressions of the source -> tree. Chains of one precedence are one node with a list, so that they cost no depth. */
#include "jinja.h"

/* ---- Tokens ---- */

jnode *slm__j_node(jinja *j, jtype type) {
    jnode *n = slm__j_array(j, 1, sizeof *n);
    if (!n) return NULL;
    n->type = (uint8_t)type;
    n->pos = j->token->pos;
    return n;
}

bool slm__j_at_name(const jinja *j, const char *name) {
    return j->token->type == T_NAME && slm__str_eq(j->token->name->s, name);
}

bool slm__j_skip_name(jinja *j, const char *name) {
    if (!slm__j_at_name(j, name)) return false;
    j->token++;
    return true;
}

bool slm__j_at_op(const jinja *j, uint16_t op) {
    return j->token->type == T_OPERATOR && j->token->op == op;
}

bool slm__j_skip_op(jinja *j, uint16_t op) {
    if (!slm__j_at_op(j, op)) return false;
    j->token++;
    return true;
}

bool slm__j_unexpected(jinja *j, const char *expected) {
    static const char *const names[] = {"the end of the template",
                                        "text",
                                        "the start of a block",
                                        "the end of a block",
                                        "the start of an output",
                                        "the end of an output",
                                        "a name",
                                        "a string",
                                        "an integer",
                                        "a float",
                                        "an operator"};
    const jtoken *t = j->token;
    j->pos = t->pos;
    if (t->type == T_NAME)
        return slm__j_fail(j, SLM_ERR_UNSUPPORTED, "expected %s, found '%s'", expected,
                           slm__show(t->name->s).text);
    if (t->type == T_OPERATOR)
        return slm__j_fail(j, SLM_ERR_UNSUPPORTED, "expected %s, found '%.1s%c'", expected,
                           t->op > 0xff ? (char[]){(char)(t->op >> 8), 0} : "", (char)t->op);
    return slm__j_fail(j, SLM_ERR_UNSUPPORTED, "expected %s, found %s", expected, names[t->type]);
}

bool slm__j_expect_op(jinja *j, uint16_t op) {
    if (slm__j_skip_op(j, op)) return true;
    char text[] = {'\'', (char)op, '\'', 0};
    return slm__j_unexpected(j, text);
}

bool slm__j_deeper(jinja *j) {
    j->pos = j->token->pos;
    if (++j->depth <= JINJA_DEPTH) return true;
    return slm__j_fail(j, SLM_ERR_LIMIT, "nested more than %d deep", JINJA_DEPTH);
}

static jnode *unexpected(jinja *j, const char *expected) {
    slm__j_unexpected(j, expected);
    return NULL;
}

static jnode *failed(jinja *j, const char *message) {
    j->pos = j->token->pos;
    slm__j_fail(j, SLM_ERR_UNSUPPORTED, "%s", message);
    return NULL;
}

/* ---- Literals ---- */

static jnode *constant(jinja *j, jv v) {
    jnode *n = slm__j_node(j, N_CONST);
    if (n) n->value = v;
    j->token++;
    return n;
}

static jnode *parse_name(jinja *j) {
    static const struct {
        const char *name;
        jkind kind;
        bool b;
    } words[] = {{"true", J_BOOL, true},   {"True", J_BOOL, true}, {"false", J_BOOL, false},
                 {"False", J_BOOL, false}, {"none", J_NONE, 0},    {"None", J_NONE, 0}};
    for (size_t i = 0; i < SLM_COUNT(words); i++) {
        if (slm__j_at_name(j, words[i].name))
            return constant(j, words[i].kind == J_NONE ? JNONE : JBOOL(words[i].b));
    }
    jnode *n = slm__j_node(j, N_NAME);
    if (!n) return NULL;
    n->name = j->token->name;
    if (n->name == j->n_caller) j->uses |= USES_CALLER;
    if (n->name == j->n_varargs) j->uses |= USES_VARARGS;
    if (n->name == j->n_kwargs) j->uses |= USES_KWARGS;
    j->token++;
    return n;
}

/* Strings side by side are one. */
static jnode *parse_string(jinja *j) {
    jnode *n = constant(j, j->token->value);
    while (n && j->token->type == T_STRING) {
        jv joined;
        if (!slm__j_concat(j, &n->value, &j->token->value, &joined)) return NULL;
        n->value = joined;
        j->token++;
    }
    return n;
}

static jnode *parse_list(jinja *j) {
    jnode *n = slm__j_node(j, N_LIST), **end = n ? &n->a : NULL;
    j->token++;
    for (bool first = true; n && !slm__j_skip_op(j, JOP1(']')); first = false) {
        if (!first && !slm__j_expect_op(j, JOP1(','))) return NULL;
        if (slm__j_skip_op(j, JOP1(']'))) break;
        if (!(*end = slm__j_parse_expr(j, true))) return NULL;
        end = &(*end)->next;
    }
    return n;
}

static jnode *parse_dict(jinja *j) {
    jnode *n = slm__j_node(j, N_DICT), **end = n ? &n->a : NULL;
    j->token++;
    for (bool first = true; n && !slm__j_skip_op(j, JOP1('}')); first = false) {
        if (!first && !slm__j_expect_op(j, JOP1(','))) return NULL;
        if (slm__j_skip_op(j, JOP1('}'))) break;
        if (!(*end = slm__j_parse_expr(j, true))) return NULL;
        end = &(*end)->next;
        if (!slm__j_expect_op(j, JOP1(':')) || !(*end = slm__j_parse_expr(j, true))) return NULL;
        end = &(*end)->next;
    }
    return n;
}

jnode *slm__j_parse_primary(jinja *j) {
    const jtoken *t = j->token;
    jnode *n = NULL;
    switch (t->type) {
    case T_NAME: return parse_name(j);
    case T_STRING: return parse_string(j);
    case T_INTEGER:
    case T_FLOAT: return constant(j, t->value);
    default: break;
    }
    if (!slm__j_deeper(j)) return NULL;
    if (slm__j_skip_op(j, JOP1('('))) {
        n = slm__j_parse_tuple(j, true, true);
        if (n && !slm__j_expect_op(j, JOP1(')'))) n = NULL;
    } else if (slm__j_at_op(j, JOP1('['))) {
        n = parse_list(j);
    } else if (slm__j_at_op(j, JOP1('{'))) {
        n = parse_dict(j);
    } else {
        n = unexpected(j, "an expression");
    }
    j->depth--;
    return n;
}

/* ---- What follows a value ---- */

/* One argument, its kind in *op. */
static jnode *parse_arg(jinja *j) {
    jnode *n = slm__j_node(j, N_ARG);
    if (!n) return NULL;
    if (slm__j_skip_op(j, JOP1('*'))) {
        n->op = ARG_STAR;
    } else if (slm__j_skip_op(j, JOP2('*', '*'))) {
        n->op = ARG_STARS;
    } else if (j->token->type == T_NAME && j->token[1].type == T_OPERATOR &&
               j->token[1].op == JOP1('=')) {
        n->op = ARG_KEYWORD;
        n->name = j->token->name;
        j->token += 2;
    }
    n->a = slm__j_parse_expr(j, true);
    return n->a ? n : NULL;
}

/* "(" ... ")". False after a failure; *out may be NULL: none. */
static bool parse_args(jinja *j, jnode **out) {
    jnode **end = out;
    int last = ARG_POSITION;
    *out = NULL;
    j->token++;
    for (bool first = true; !slm__j_skip_op(j, JOP1(')')); first = false) {
        if (!first && !slm__j_expect_op(j, JOP1(','))) return false;
        if (!first && slm__j_skip_op(j, JOP1(')'))) break;
        jnode *n = parse_arg(j);
        if (!n) return false;
        bool ok = n->op == ARG_POSITION  ? last == ARG_POSITION
                  : n->op == ARG_KEYWORD ? last != ARG_STARS
                  : n->op == ARG_STAR    ? last < ARG_STAR
                                         : last != ARG_STARS;
        if (!ok) {
            failed(j, "arguments in a wrong order");
            return false;
        }
        if (n->op > last) last = n->op;
        *end = n;
        end = &n->next;
    }
    return true;
}

static jnode *parse_call(jinja *j, jnode *base) {
    jnode *n = slm__j_node(j, N_CALL);
    if (!n) return NULL;
    n->a = base;
    return parse_args(j, &n->b) ? n : NULL;
}

static bool at_slice_end(const jinja *j) {
    return slm__j_at_op(j, JOP1(']')) || slm__j_at_op(j, JOP1(','));
}

/* An index, or begin:end:step. */
static jnode *parse_index(jinja *j) {
    jnode *first = NULL;
    if (!slm__j_at_op(j, JOP1(':'))) {
        first = slm__j_parse_expr(j, true);
        if (!first || !slm__j_at_op(j, JOP1(':'))) return first;
    }
    jnode *n = slm__j_node(j, N_SLICE);
    if (!n) return NULL;
    j->token++;
    n->a = first;
    if (!slm__j_at_op(j, JOP1(':')) && !at_slice_end(j) && !(n->b = slm__j_parse_expr(j, true)))
        return NULL;
    if (slm__j_skip_op(j, JOP1(':')) && !at_slice_end(j) && !(n->c = slm__j_parse_expr(j, true)))
        return NULL;
    return n;
}

static jnode *parse_brackets(jinja *j, jnode *base) {
    jnode *n = slm__j_node(j, N_ITEM), *list = NULL, **end = &list;
    if (!n) return NULL;
    j->token++;
    n->a = base;
    for (bool first = true; !slm__j_skip_op(j, JOP1(']')); first = false) {
        if (!first && !slm__j_expect_op(j, JOP1(','))) return NULL;
        if (!(*end = parse_index(j))) return NULL;
        end = &(*end)->next;
    }
    if (list && !list->next) {
        n->b = list;
        return n;
    }
    n->b = slm__j_node(j, N_TUPLE);
    if (n->b) n->b->a = list;
    return n->b ? n : NULL;
}

static jnode *parse_dot(jinja *j, jnode *base) {
    jnode *n = slm__j_node(j, N_ATTR);
    if (!n) return NULL;
    j->token++;
    n->a = base;
    if (j->token->type == T_NAME) {
        n->name = j->token->name;
        j->token++;
        return n;
    }
    if (j->token->type != T_INTEGER) return unexpected(j, "a name or number");
    n->type = N_ITEM;
    n->b = constant(j, j->token->value);
    return n->b ? n : NULL;
}

static jnode *parse_postfix(jinja *j, jnode *n) {
    while (n) {
        if (slm__j_at_op(j, JOP1('.')))
            n = parse_dot(j, n);
        else if (slm__j_at_op(j, JOP1('[')))
            n = parse_brackets(j, n);
        else if (slm__j_at_op(j, JOP1('(')))
            n = parse_call(j, n);
        else
            break;
    }
    return n;
}

/* "name" or "name.name" of a filter or test. */
static const jname *parse_dotted(jinja *j) {
    const jname *name = j->token->name;
    if (j->token->type != T_NAME) return (const jname *)(uintptr_t)unexpected(j, "a name");
    j->token++;
    if (slm__j_at_op(j, JOP1('.'))) return (const jname *)(uintptr_t)failed(j, "no such filter");
    return name;
}

/* A filter or test that is not there: an error at once, but inside of conditions only when it is reached. */
static void find_row(jinja *j, jnode *n, const jrow *table) {
    n->row = slm__j_find(table, n->name->s);
    if (!n->row && !j->soft && !j->unknown) j->unknown = n;
}

/* Filters behind `base` (NULL: the text of a block); `begun`: the first comes without its bar. */
jnode *slm__j_parse_filters(jinja *j, jnode *base, bool begun) {
    while (begun || slm__j_skip_op(j, JOP1('|'))) {
        begun = false;
        jnode *n = slm__j_node(j, N_FILTER);
        if (!n || !(n->name = parse_dotted(j))) return NULL;
        find_row(j, n, slm__j_filters);
        n->a = base;
        if (slm__j_at_op(j, JOP1('(')) && !parse_args(j, &n->b)) return NULL;
        base = n;
    }
    return base;
}

/* Does a token begin the one argument of a test that has no parentheses? */
static bool begins_argument(const jinja *j) {
    if (slm__j_at_name(j, "else") || slm__j_at_name(j, "or") || slm__j_at_name(j, "and"))
        return false;
    return (j->token->type >= T_NAME && j->token->type <= T_FLOAT) || slm__j_at_op(j, JOP1('[')) ||
           slm__j_at_op(j, JOP1('{'));
}

static jnode *parse_test(jinja *j, jnode *base) {
    j->token++;
    bool negated = slm__j_skip_name(j, "not");
    jnode *n = slm__j_node(j, N_TEST);
    if (!n || !(n->name = parse_dotted(j))) return NULL;
    find_row(j, n, slm__j_tests);
    n->a = base;
    if (slm__j_at_op(j, JOP1('('))) {
        if (!parse_args(j, &n->b)) return NULL;
    } else if (begins_argument(j)) {
        if (slm__j_at_name(j, "is")) return failed(j, "tests cannot be chained with is");
        if (!(n->b = slm__j_node(j, N_ARG))) return NULL;
        if (!(n->b->a = parse_postfix(j, slm__j_parse_primary(j)))) return NULL;
    }
    if (!negated) return n;
    jnode *not = slm__j_node(j, N_NOT);
    if (not ) not ->a = n;
    return not ;
}

static jnode *parse_filter_expr(jinja *j, jnode *n) {
    while (n) {
        if (slm__j_at_op(j, JOP1('|')))
            n = slm__j_parse_filters(j, n, false);
        else if (slm__j_at_name(j, "is"))
            n = parse_test(j, n);
        else if (slm__j_at_op(j, JOP1('(')))
            n = parse_call(j, n);
        else
            break;
    }
    return n;
}

static jnode *parse_unary(jinja *j, bool with_filter) {
    jnode *n;
    if (slm__j_at_op(j, JOP1('-')) || slm__j_at_op(j, JOP1('+'))) {
        n = slm__j_node(j, slm__j_at_op(j, JOP1('-')) ? N_NEG : N_POS);
        if (!n || !slm__j_deeper(j)) return NULL;
        j->token++;
        n->a = parse_unary(j, false);
        j->depth--;
        if (!n->a) return NULL;
    } else {
        n = slm__j_parse_primary(j);
    }
    n = parse_postfix(j, n);
    return with_filter ? parse_filter_expr(j, n) : n;
}

/* ---- Operators, by rising precedence ---- */

typedef struct operator_row {
    uint16_t token;
    uint8_t op;
} operator_row;

static const operator_row additions[] = {{JOP1('+'), OP_ADD}, {JOP1('-'), OP_SUB}, {0}};
static const operator_row concats[] = {{JOP1('~'), 0}, {0}};
static const operator_row products[] = {{JOP1('*'), OP_MUL},
                                        {JOP1('/'), OP_DIV},
                                        {JOP2('/', '/'), OP_FLOORDIV},
                                        {JOP1('%'), OP_MOD},
                                        {0}};
static const operator_row powers[] = {{JOP2('*', '*'), OP_POW}, {0}};
static const operator_row comparisons[] = {{JOP2('=', '='), OP_EQ},
                                           {JOP2('!', '='), OP_NE},
                                           {JOP1('<'), OP_LT},
                                           {JOP2('<', '='), OP_LE},
                                           {JOP1('>'), OP_GT},
                                           {JOP2('>', '='), OP_GE},
                                           {0}};

enum { LEVEL_ADD, LEVEL_CONCAT, LEVEL_MUL, LEVEL_POW, LEVEL_UNARY };
static const operator_row *const levels[] = {additions, concats, products, powers};

static const operator_row *match(const jinja *j, const operator_row *rows) {
    for (; rows->token; rows++) {
        if (slm__j_at_op(j, rows->token)) return rows;
    }
    return NULL;
}

static jnode *operand(jinja *j, jop op, jnode *value) {
    jnode *n = value ? slm__j_node(j, N_OPERAND) : NULL;
    if (!n) return NULL;
    n->op = (uint8_t)op;
    n->pos = value->pos;
    n->a = value;
    return n;
}

static jnode *parse_level(jinja *j, int level) {
    if (level == LEVEL_UNARY) return parse_unary(j, true);
    jnode *first = parse_level(j, level + 1), *n = NULL, **end = NULL;
    const operator_row *row;
    while (first && (row = match(j, levels[level]))) {
        if (!n) {
            if (!(n = slm__j_node(j, level == LEVEL_CONCAT ? N_CONCAT : N_ARITH))) return NULL;
            n->a = first;
            end = level == LEVEL_CONCAT ? &first->next : &n->b;
        }
        j->token++;
        jnode *right = parse_level(j, level + 1);
        *end = level == LEVEL_CONCAT ? right : operand(j, (jop)row->op, right);
        if (!*end) return NULL;
        end = &(*end)->next;
    }
    return n ? n : first;
}

static jnode *parse_compare(jinja *j) {
    jnode *first = parse_level(j, LEVEL_ADD), *n = NULL, **end = NULL;
    while (first) {
        const operator_row *row = match(j, comparisons);
        bool not_in = slm__j_at_name(j, "not") && j->token[1].type == T_NAME &&
                      slm__str_eq(j->token[1].name->s, "in");
        if (!row && !not_in && !slm__j_at_name(j, "in")) break;
        if (!n) {
            if (!(n = slm__j_node(j, N_COMPARE))) return NULL;
            n->a = first;
            end = &n->b;
        }
        j->token += not_in ? 2 : 1;
        *end = operand(j,
                       row      ? (jop)row->op
                       : not_in ? OP_NOT_IN
                                : OP_IN,
                       parse_level(j, LEVEL_ADD));
        if (!*end) return NULL;
        end = &(*end)->next;
    }
    return n ? n : first;
}

static jnode *parse_not(jinja *j) {
    if (!slm__j_at_name(j, "not")) return parse_compare(j);
    jnode *n = slm__j_node(j, N_NOT);
    if (!n || !slm__j_deeper(j)) return NULL;
    j->token++;
    n->a = parse_not(j);
    j->depth--;
    return n->a ? n : NULL;
}

static jnode *parse_logic(jinja *j, bool or) {
    jnode *first = or ? parse_logic(j, false) : parse_not(j), *n = NULL, **end = NULL;
    while (first && slm__j_skip_name(j, or ? "or" : "and")) {
        if (!n) {
            if (!(n = slm__j_node(j, or ? N_OR : N_AND))) return NULL;
            n->a = first;
            end = &first->next;
        }
        if (!(*end = or ? parse_logic(j, false) : parse_not(j))) return NULL;
        end = &(*end)->next;
    }
    return n ? n : first;
}

/* What stands before "if" turns out to be inside of a condition, too. */
static jnode *parse_cond(jinja *j) {
    const jnode *unknown = j->unknown;
    jnode *first = parse_logic(j, true);
    if (first && slm__j_at_name(j, "if")) j->unknown = unknown;
    j->soft++;
    while (first && slm__j_skip_name(j, "if")) {
        jnode *n = slm__j_node(j, N_COND);
        if (!n || !slm__j_deeper(j)) return NULL;
        n->b = first;
        n->a = parse_logic(j, true);
        if (n->a && slm__j_skip_name(j, "else") && !(n->c = parse_cond(j))) return NULL;
        j->depth--;
        first = n->a ? n : NULL;
    }
    j->soft--;
    return first;
}

jnode *slm__j_parse_expr(jinja *j, bool with_cond) {
    if (!slm__j_deeper(j)) return NULL;
    jnode *n = with_cond ? parse_cond(j) : parse_logic(j, true);
    j->depth--;
    return n;
}

static bool at_tuple_end(const jinja *j) {
    return j->token->type == T_VARIABLE_END || j->token->type == T_BLOCK_END ||
           slm__j_at_op(j, JOP1(')')) || slm__j_at_name(j, "recursive");
}

jnode *slm__j_parse_tuple(jinja *j, bool with_cond, bool parentheses) {
    jnode *list = NULL, **end = &list;
    bool is_tuple = false;
    jnode *n = slm__j_node(j, N_TUPLE);
    if (!n) return NULL;
    for (;;) {
        if (list && !slm__j_expect_op(j, JOP1(','))) return NULL;
        if (at_tuple_end(j)) break;
        if (!(*end = slm__j_parse_expr(j, with_cond))) return NULL;
        end = &(*end)->next;
        if (!slm__j_at_op(j, JOP1(','))) break;
        is_tuple = true;
    }
    if (!is_tuple && list) return list;
    if (!is_tuple && !parentheses) return unexpected(j, "an expression");
    n->a = list;
    return n;
}
