/*
 * The Jinja of chat templates, as transformers sets jinja2 up for them: trim_blocks, lstrip_blocks, break and continue, {% generation %},
 * a sandbox in which nothing can be changed but namespaces. A template is read (jinja_lex.c, jinja_parse.c, jinja_expr.c) into a tree, which is walked
 * (jinja_exec.c statements, jinja_eval.c expressions); values are jinja_value.c and jinja_print.c, what they can do are tables of
 * jinja_string.c, jinja_filter.c, jinja_list.c and jinja_builtin.c.
 *
 * All memory of a rendering is one arena with a limit; nothing is given back before the end. Steps are counted: nodes, elements, and bytes that are
 * looked at. Depth is counted: of the source, of calls and of values.
 *
 * Every byte of a string knows whether it comes from the caller (a "mark") or from the template, so that the text of special tokens
 * counts only where the template wrote it.
 */
#ifndef SLM_JINJA_H
#define SLM_JINJA_H

#include "base.h"
#include "json.h"

enum {
    JINJA_MEMORY =
        16 << 20, /* bytes, and 16 for each byte of the caller's                            */
    JINJA_STEPS =
        1000000,       /* and one for each byte of the caller's                                  */
    JINJA_DEPTH = 128, /* of nesting in the source, of calls inside each other, of values        */
    JINJA_LEVELS =
        1000, /* of the tree, over all calls that are open: bounds the stack (docs/chat.md) */
    JINJA_SOURCE =
        1 << 20, /* bytes of a template                                                    */
    JINJA_RANGE =
        100000, /* numbers in a range, as in jinja2's sandbox                             */
};

/* ---- Values ---- */

typedef enum jkind {
    J_MISSING, /* an argument that was not given; no value of a template */
    J_UNDEFINED,
    J_NONE,
    J_BOOL,
    J_INT,
    J_FLOAT,
    J_STRING,
    J_LIST,
    J_TUPLE,
    J_RANGE,
    J_VIEW,     /* what keys(), values() and items() give: a list that cannot be indexed */
    J_ITERATOR, /* what map and select give: a list that is used up by going over it     */
    J_DICT,
    J_NAMESPACE,
    J_LOOP,
    J_MACRO,
    J_FUNCTION,
    J_METHOD,
    J_N_KINDS
} jkind;

/* Bytes that grow at the end; strings are views into them. What a view sees never changes. */
typedef struct jbuf {
    char *p;
    uint8_t *mark; /* [n] 1: of the caller; NULL: all as `marked` says */
    uint32_t n, capacity;
    bool marked;
} jbuf;

typedef struct jlist jlist;
typedef struct jdict jdict;
typedef struct jloop jloop;
typedef struct jmacro jmacro;
typedef struct jmethod jmethod;
typedef struct jiter jiter;
typedef struct jrow jrow;
typedef struct jnode jnode;
typedef struct jname jname;
typedef struct jinja jinja;

enum { FLAG_SAFE = 1 }; /* of a string: no HTML in it needs escaping ("Markup")         */
/* Of an undefined, for its message: Python has this attribute, templates have not. */
enum { FLAG_FORBIDDEN = 1 };
enum {
    VIEW_KEYS,
    VIEW_VALUES,
    VIEW_ITEMS
}; /* flag of a J_VIEW                                            */

typedef struct jv {
    uint8_t kind, flag;
    uint32_t at,
        len; /* J_STRING: bytes of the buffer; J_UNDEFINED: at is the kind of the owner, 0: a variable */
    union {
        bool b;
        int64_t i;
        double f;
        jbuf *buf;
        jlist *list; /* J_LIST, J_TUPLE, J_RANGE, J_VIEW */
        jiter *iter;
        jdict *dict; /* J_DICT, J_NAMESPACE */
        jloop *loop;
        jmacro *macro;
        const jrow *row; /* J_FUNCTION */
        jmethod *method;
        const jname *name; /* J_UNDEFINED; may be NULL */
    } u;
} jv;

struct jlist {
    jv *v;
    uint32_t n, capacity;
    int64_t start, stop, step; /* of a J_RANGE */
};

struct jiter {
    jlist *list;
    uint32_t at;
};

typedef struct jentry {
    jv key, value;
    uint32_t hash;
} jentry;

/* In the order of insertion. */
struct jdict {
    jentry *e;
    uint32_t n, capacity;
    uint32_t *slots; /* [mask + 1] index + 1, 0: free; NULL while the dict is small */
    uint32_t mask;
};

struct jmethod {
    jv self;
    const jrow *row;
};

/* ---- Calls ---- */

typedef struct jkeyword {
    const jname *name;
    jv value;
    const jv
        *key; /* where it came from: of a mapping behind **; NULL: written so in the template */
} jkeyword;

typedef struct jargs {
    jv *v; /* [n] by position; after binding to a row's parameters one for each of them, J_MISSING where none was given */
    jkeyword *keywords;
    uint32_t n, n_keywords;
} jargs;

typedef bool (*jfunction)(jinja *j, const jv *self, jargs *args, jv *out);

/* A filter, test, method or function. */
struct jrow {
    const char *name;
    jfunction fn;
    const char *params; /* names, blanks between them; NULL: any arguments, as they are */
    uint8_t n_needed;
};

/* The row of that name; NULL. Tables end with a row without name. */
const jrow *slm__j_find(const jrow *table, slm__str name);
extern const jrow slm__j_filters[], slm__j_tests[], slm__j_functions[], slm__j_string_methods[],
    slm__j_dict_methods[], slm__j_list_methods[];
/* Of jinja_list.c, for the table of filters. */
typedef bool jfilter(jinja *j, const jv *v, jargs *a, jv *out);
extern jfilter slm__f_sort, slm__f_dictsort, slm__f_unique, slm__f_min, slm__f_max, slm__f_sum,
    slm__f_join, slm__f_map, slm__f_select, slm__f_reject, slm__f_selectattr, slm__f_rejectattr,
    slm__f_list, slm__f_length, slm__f_first, slm__f_last, slm__f_reverse, slm__f_items,
    slm__f_batch, slm__f_slice;
bool slm__j_call_row(jinja *j, const jrow *row, const jv *self, jargs *args, jv *out);
static inline bool slm__j_given(const jv *v) { return v->kind != J_MISSING; }
/* An argument that is an integer, or `otherwise` if it was not given. */
bool slm__j_need_int(jinja *j, const jv *v, int64_t otherwise, int64_t *out);
/* Methods of Python that exist and change what they belong to, or are nothing for templates: not here. */
bool slm__j_is_forbidden(const jv *owner, slm__str name);
const jrow *slm__j_method(const jv *owner, slm__str name);

/* ---- The tree ---- */

struct jname {
    slm__str s;
    uint32_t hash;
    const jname *next; /* in its bucket */
};

typedef enum jtype {
    /* expressions */
    N_CONST,   /* value                                              */
    N_NAME,    /* name                                               */
    N_LIST,    /* a: list of elements                                */
    N_TUPLE,   /* a                                                  */
    N_DICT,    /* a: key, value, key, value ...                      */
    N_COND,    /* a if b else c; c may be NULL                       */
    N_OR,      /* a: list                                            */
    N_AND,     /* a: list                                            */
    N_NOT,     /* a                                                  */
    N_COMPARE, /* a, list b of N_OPERAND                             */
    N_ARITH,   /* a, list b of N_OPERAND: from left to right         */
    N_OPERAND, /* op, a                                              */
    N_CONCAT,  /* a: list                                            */
    N_NEG,     /* a                                                  */
    N_POS,     /* a                                                  */
    N_ATTR,    /* a.name                                             */
    N_ITEM,    /* a[b]                                               */
    N_SLICE,   /* a:b:c, each may be NULL                            */
    N_CALL,    /* a(list b of N_ARG)                                 */
    N_FILTER,  /* a|name(b); row, NULL: no such filter               */
    N_TEST,    /* a is name(b)                                       */
    N_ARG,     /* a; op ARG_*; name                                  */
    /* statements */
    N_DATA,         /* value                                           */
    N_OUTPUT,       /* a                                               */
    N_IF,           /* a: list of N_BRANCH                             */
    N_BRANCH,       /* a: condition, NULL: else; b: body               */
    N_FOR,          /* for a in b if c: d, else e; flag: recursive     */
    N_SET,          /* a = b                                           */
    N_SET_BLOCK,    /* a = body d through the filters b (N_FILTER on N_BODY) */
    N_FILTER_BLOCK, /* body d through b                              */
    N_BODY,         /* the text that those filters get               */
    N_MACRO,        /* name, a: list of N_PARAM, d: body; op USES_*    */
    N_PARAM,        /* name, a: default or NULL                        */
    N_CALL_BLOCK,   /* a: N_CALL, b: N_MACRO without name              */
    N_WITH,         /* a: list of N_SET, d: body                       */
    N_SCOPE,        /* d: body ({% generation %})                      */
    N_BREAK,
    N_CONTINUE,
    N_NSREF, /* a target: name.attr, attr in b->name                 */
} jtype;

enum { ARG_POSITION, ARG_KEYWORD, ARG_STAR, ARG_STARS };
enum { USES_CALLER = 1, USES_VARARGS = 2, USES_KWARGS = 4 };

struct jnode {
    uint8_t type, op;
    bool flag;
    uint32_t pos; /* in the source */
    jnode *next;  /* in its list   */
    jnode *a, *b, *c, *d, *e;
    const jname *name;
    const jrow *row;
    jv value;
};

typedef enum jop {
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_FLOORDIV,
    OP_MOD,
    OP_POW,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IN,
    OP_NOT_IN,
} jop;

/* ---- Tokens of the source ---- */

typedef enum jtoken_type {
    T_END,
    T_DATA,
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_VARIABLE_BEGIN,
    T_VARIABLE_END,
    T_NAME,
    T_STRING,
    T_INTEGER,
    T_FLOAT,
    T_OPERATOR,
} jtoken_type;

/* Operators are told apart by their one or two characters. */
#define JOP1(a)    ((uint16_t)(a))
#define JOP2(a, b) ((uint16_t)((a) << 8 | (b)))

typedef struct jtoken {
    uint8_t type;
    uint16_t op; /* T_OPERATOR */
    uint32_t pos;
    const jname *name; /* T_NAME */
    jv value;          /* T_DATA, T_STRING, T_INTEGER, T_FLOAT */
} jtoken;

/* ---- The interpreter ---- */

/* Names that are bound at one place; looked up from the innermost outwards. */
typedef struct jvar {
    const jname *name;
    jv value;
} jvar;

typedef struct jscope {
    struct jscope *parent;
    jvar *v;
    uint32_t n, capacity;
    bool captured; /* by a macro: it may live longer than its block */
} jscope;

struct jmacro {
    const jnode *node;
    jscope *scope;
};

struct jloop {
    const jnode *node;
    jscope *outer; /* where the loop stands                              */
    jlist *items;
    uint32_t at;    /* the next one of `items`                            */
    uint32_t index; /* from 0, of the element at hand                     */
    uint32_t depth; /* of recursive loops, from 0                         */
    jv previous, current, next;
    bool has_next; /* `next` was looked up already                       */
    bool ended;
    bool sifted; /* the condition was asked for all of `items`         */
    jv changed;  /* what loop.changed() was last called with           */
};

typedef struct jchunk {
    struct jchunk *next;
} jchunk;

enum { JINJA_BUCKETS = 256 };

typedef enum jflow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE } jflow;

struct jinja {
    const slm_allocator *allocator;
    slm_error *err;
    slm_status status; /* of the first failure */
    /* memory */
    jchunk *chunks;
    char *top, *end;
    uint64_t memory_left;
    int64_t steps_left;
    /* source */
    const char *source;
    uint32_t n_source;
    uint32_t pos; /* of the node at work, for messages */
    const jname *buckets[JINJA_BUCKETS];
    jtoken *tokens;
    uint32_t n_tokens, token_capacity;
    /* parsing */
    const jtoken *token;
    uint32_t depth; /* of nesting */
    uint32_t loops; /* around what is read */
    uint32_t soft;  /* inside of a condition: unknown filters fail only when they are reached */
    const jnode *unknown; /* the first filter or test outside of conditions that there is not */
    uint8_t uses;         /* USES_* of the macro that is read */
    /* rendering */
    jscope *scope, *globals;
    jbuf *out;
    jflow flow;
    uint32_t levels, calls;
    int64_t now; /* seconds since 1970 */
    const jname *n_loop, *n_caller, *n_varargs, *n_kwargs;
};

/* ---- jinja_value.c ---- */

/* `n_input`: bytes of the caller's. Free with slm__j_end(), also after a failure. */
slm_status slm__j_begin(jinja *j, const slm_allocator *allocator, uint64_t n_input, slm_error *err);
void slm__j_end(jinja *j);

/* False, always. The first failure is kept. "line L, column C: " comes in front of the message. */
bool slm__j_fail(jinja *j, slm_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool slm__j_fail_str(jinja *j, slm_status status, const char *text, size_t n);

/* NULL after a failure. Not zeroed. */
void *slm__j_alloc(jinja *j, uint64_t n_bytes);
/* The same for n elements of `size` bytes, zeroed. */
void *slm__j_array(jinja *j, uint64_t n, uint64_t size);
bool slm__j_step(jinja *j, uint64_t n);
/* For looking at n bytes or elements. */
static inline bool slm__j_scan(jinja *j, uint64_t n) { return slm__j_step(j, 1 + n / 64); }
/* The same on the way to something that is a step anyhow. */
static inline bool slm__j_walk(jinja *j, uint64_t n) { return slm__j_step(j, n / 64); }

const jname *slm__j_name(jinja *j, const char *s, size_t n);

bool slm__j_put(jinja *j, jbuf *b, const char *s, size_t n, bool marked);
bool slm__j_put_str(jinja *j, jbuf *b, const jv *s);
static inline bool slm__j_puts(jinja *j, jbuf *b, const char *s) {
    return slm__j_put(j, b, s, strlen(s), false);
}
jbuf *slm__j_buf(jinja *j, size_t capacity);
jv slm__j_whole(jbuf *b); /* all of it as a string */
/* Bytes that stay where they are. */
bool slm__j_outside(jinja *j, const char *s, size_t n, bool marked, jv *out);
bool slm__j_text(jinja *j, const char *s, jv *out); /* a string of the interpreter's own */

static inline const char *jbytes(const jv *s) { return s->u.buf->p + s->at; }
static inline slm__str jstr(const jv *s) { return (slm__str){jbytes(s), s->len}; }
static inline bool jmarked(const jv *s, uint32_t i) {
    return s->u.buf->mark ? s->u.buf->mark[s->at + i] : s->u.buf->marked;
}
static inline jv jsub(const jv *s, uint32_t at, uint32_t len) {
    jv r = *s;
    r.at += at;
    r.len = len;
    return r;
}
static inline bool jis(const jv *v, const char *s) {
    return v->kind == J_STRING && slm__str_eq(jstr(v), s);
}
bool slm__j_concat(jinja *j, const jv *a, const jv *b, jv *out);

#define JNONE     ((jv){.kind = J_NONE})
#define JBOOL(x)  ((jv){.kind = J_BOOL, .u.b = (x)})
#define JINT(x)   ((jv){.kind = J_INT, .u.i = (x)})
#define JFLOAT(x) ((jv){.kind = J_FLOAT, .u.f = (x)})
#define JUNDEF    ((jv){.kind = J_UNDEFINED})

bool slm__j_list(jinja *j, jkind kind, uint32_t capacity, jv *out);
bool slm__j_append(jinja *j, jlist *l, const jv *v);
bool slm__j_iterator(jinja *j, jlist *l, jv *out);
bool slm__j_dict(jinja *j, jkind kind, jv *out);
bool slm__j_dict_set(jinja *j, jdict *d, const jv *key, const jv *value);
/* NULL: there is none, or a failure (an unhashable key): see j->status. */
jentry *slm__j_dict_get(jinja *j, const jdict *d, const jv *key);
jentry *slm__j_dict_find(jinja *j, const jdict *d, slm__str key);

/* depth 0 */
bool slm__j_is_hashable(jinja *j, const jv *v, uint32_t depth, bool *out);

/* The name of a keyword as a value: of whom its bytes are is not forgotten. */
bool slm__j_keyword_name(jinja *j, const jkeyword *k, jv *out);
bool slm__j_truth(const jv *v);
const char *slm__j_kind_name(const jv *v); /* as Python calls it: "str" */
bool slm__j_fail_undefined(jinja *j, const jv *v);
/* Failing as Python does; -1, 0, 1 in *out. */
bool slm__j_equal(jinja *j, const jv *a, const jv *b, bool *out);
bool slm__j_compare(jinja *j, const jv *a, const jv *b, int *out);
bool slm__j_contains(jinja *j, const jv *container, const jv *v, bool *out);
/* A number as a double or an integer; bools count. */
bool slm__j_is_int(const jv *v, int64_t *out);
bool slm__j_is_number(const jv *v, double *out);
/* Elements of anything that can be gone over, as a new list or the value's own; iterators are used up. */
bool slm__j_elements(jinja *j, const jv *v, jlist **out);
bool slm__j_length(jinja *j, const jv *v, int64_t *out);
/* `copy`: strings do not point into the tree. */
bool slm__j_from_json(jinja *j, const slm__json_value *v, bool marked, bool copy, jv *out);

/* Code points: a byte that begins nothing well-formed counts as one by itself. */
uint32_t slm__j_char(const char *p, size_t n, uint32_t *len);
uint32_t slm__j_count(const jv *s);
bool slm__j_is_space(uint32_t cp);
/* The byte at which the code point `index` begins, at most s->len. */
uint32_t slm__j_offset(const jv *s, uint64_t index);

/* ---- jinja_lex.c, jinja_parse.c, jinja_expr.c ---- */

bool slm__j_lex(jinja *j, const char *source, size_t n);
bool slm__j_parse(jinja *j, jnode **body);
jnode *slm__j_node(jinja *j, jtype type);
bool slm__j_unexpected(jinja *j, const char *expected);
bool slm__j_at_name(const jinja *j, const char *name);
bool slm__j_skip_name(jinja *j, const char *name);
bool slm__j_at_op(const jinja *j, uint16_t op);
bool slm__j_skip_op(jinja *j, uint16_t op);
bool slm__j_expect_op(jinja *j, uint16_t op);
bool slm__j_deeper(jinja *j);
/* NULL after a failure. */
jnode *slm__j_parse_expr(jinja *j, bool with_cond);
jnode *slm__j_parse_tuple(jinja *j, bool with_cond, bool parentheses);
jnode *slm__j_parse_filters(jinja *j, jnode *base, bool begun);
jnode *slm__j_parse_primary(jinja *j);

/* ---- jinja_exec.c, jinja_eval.c ---- */

bool slm__j_exec(jinja *j, const jnode *body);
bool slm__j_eval(jinja *j, const jnode *n, jv *out);
bool slm__j_eval_args(jinja *j, const jnode *args, jargs *out);
bool slm__j_enter(jinja *j);
static inline void slm__j_leave(jinja *j) { j->levels--; }
jscope *slm__j_scope(jinja *j, jscope *parent);
bool slm__j_bind(jinja *j, jscope *scope, const jname *name, const jv *value);
/* Attribute and element as environment.getattr() and getitem() of jinja2 find them. */
bool slm__j_attr(jinja *j, const jv *v, const jname *name, jv *out);
bool slm__j_item(jinja *j, const jv *v, const jv *key, jv *out);
bool slm__j_call(jinja *j, const jv *f, jargs *args, jv *out);
bool slm__j_call_macro(jinja *j, const jmacro *m, jargs *args, jv *out);
bool slm__j_call_loop(jinja *j, const jloop *loop, const jv *v, jv *out);
bool slm__j_loop_attr(jinja *j, jloop *loop, const jname *name, jv *out);
bool slm__j_operate(jinja *j, jop op, const jv *a, const jv *b, jv *out);
bool slm__j_relate(jinja *j, jop op, const jv *a, const jv *b, bool *out);
bool slm__j_slice(jinja *j, const jv *v, const jv bounds[3], jv *out);

/* ---- jinja_print.c ---- */

/* str(v) and repr(v) of Python, put into the buffer. */
bool slm__j_print(jinja *j, jbuf *b, const jv *v);
bool slm__j_repr(jinja *j, jbuf *b, const jv *v);
bool slm__j_to_string(jinja *j, const jv *v, jv *out);
typedef struct jjson {
    bool ascii, sorted, pretty;
    jv indent, item_separator, key_separator; /* strings */
} jjson;
bool slm__j_json(jinja *j, jbuf *b, const jv *v, const jjson *style);
bool slm__j_format(jinja *j, const jv *format, const jargs *args, jv *out); /* str.format() */
bool slm__j_percent(jinja *j, const jv *format, const jv *args, jv *out);   /* "%s" % x     */
bool slm__j_strftime(jinja *j, const jv *format, jv *out);
bool slm__j_escape(jinja *j, const jv *s, jv *out); /* HTML */
void slm__j_float_text(double v, char out[64]);
bool slm__j_parse_float(const char *s, size_t n, double *out);

/* ---- jinja_string.c ---- */

typedef enum jcase { CASE_LOWER, CASE_UPPER, CASE_TITLE, CASE_CAPITAL, CASE_SWAP } jcase;
bool slm__j_case(jinja *j, const jv *s, jcase how, jv *out);
bool slm__j_strip(jinja *j, const jv *s, const jv *chars, bool left, bool right, jv *out);
bool slm__j_replace(jinja *j, const jv *s, const jv *old, const jv *new, int64_t count, jv *out);
bool slm__j_join(jinja *j, const jv *between, const jlist *l, bool only_strings, jv *out);
bool slm__j_splitlines(jinja *j, const jv *s, bool keep, jlist **out);
/* Where `needle` begins in s from byte `from` on, or -1. */
int64_t slm__j_search(const jv *s, uint32_t from, const jv *needle);

#endif
