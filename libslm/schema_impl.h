/*
 * JSON Schema to grammar: what the files of it share.
 *
 * A *place* of a value is described by a conjunction: the set of all schemas that it has to satisfy (an item for each; a constant
 * counts as a schema that only that value satisfies). A rule of the grammar is made for each conjunction once, so recursion needs no
 * care and allOf no merging of texts: what a property has to satisfy is the set of what each schema says of it. anyOf, oneOf
 * and enum split a conjunction into branches.
 *
 *     schema.c          the public call; the list of conjunctions that still need a rule
 *     schema_words.c    keywords: what is known, what they must look like
 *     schema_ref.c      $ref, anchors, the path of a place in the schema
 *     schema_branch.c   a conjunction into branches; oneOf
 *     schema_leaf.c     a branch, type by type
 *     schema_object.c, schema_array.c, schema_string.c, schema_number.c (decimal.c)
 *     schema_value.c    constants: equality, texts
 *     schema_lookup.c   numbers by hash; the work that is left
 *
 * All memory is one arena's, for the time of the call. Functions that make nodes of the draft return 0 (which fits nothing) after
 * a failure; the first one sticks in `status`.
 */
#ifndef SLM_SCHEMA_IMPL_H
#define SLM_SCHEMA_IMPL_H

#include "decimal.h"
#include "draft.h"
#include "json.h"
#include "regex.h"

typedef const slm__json_value slm__schema_value;

/* Kinds of values, as bits. */
enum {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_INTEGER = 4,
    TYPE_FRACTION = 8, /* numbers that are no integers */
    TYPE_STRING = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64,
    TYPE_NUMBER = TYPE_INTEGER | TYPE_FRACTION,
    TYPE_ANY = 127,
};

enum {
    SLM__SCHEMA_BRANCHES = 2000, /* of one conjunction                    */
    SLM__SCHEMA_RULES = 20000,   /* conjunctions                          */
    SLM__SCHEMA_NAMES = 4096,    /* of an object; places of a tuple       */
    SLM__SCHEMA_STATES = 20000,  /* of an object that counts properties   */
    SLM__SCHEMA_MEMORY = 256,    /* MiB                                   */
    SLM__SCHEMA_COUNT = 1000000, /* of code points, items, properties     */
    SLM__SCHEMA_WORK = 1 << 25,  /* steps: less than half a second        */
    SLM__SCHEMA_FEW = 8,         /* so many are looked at one by one      */
};

/* Numbers by hash: several may have the same one. Set to {0} to begin. */
typedef struct slm__found {
    uint32_t hash, number; /* number + 1; 0: free */
} slm__found;
typedef struct slm__lookup {
    slm__found *slots; /* [room], a power of 2 or 0 */
    uint32_t n, room;
} slm__lookup;
/* Where a search is. */
typedef struct slm__finding {
    uint32_t number, tried;
} slm__finding;

/* An item of a conjunction: a schema or, with SLM__CONSTANT added, a value; the number of the JSON value, doubled. */
typedef uint32_t slm__item;
enum { SLM__CONSTANT = 1 };

typedef struct slm__items {
    slm__item *list;
    uint32_t n, room;
} slm__items;

/* How a conjunction is read. */
enum {
    /* Make text: where a schema leaves more open than is of use, less (see `open` in slm.h). */
    MODE_MAKE = 0,
    /* Is there a value at all? Everything that the standard allows counts, and oneOf is anyOf. Types that matter are shifted
     * by 1 and added. */
    MODE_PROVE = 1,
    MODE_PROVE_ANY = MODE_PROVE | TYPE_ANY << 1,
};

typedef struct slm__conjunction {
    slm__items items; /* sorted */
    uint32_t hash;
    int32_t rule;
    uint8_t mode;
} slm__conjunction;

/* A rule that may turn out to fit nothing, and the place that says so. */
typedef struct slm__suspect {
    int32_t rule;
    slm__schema_value *where;
} slm__suspect;

/* That no value satisfies the rule has to come out, or a oneOf is an error. */
typedef struct slm__proof {
    int32_t rule;
    slm__schema_value *one_of;
    uint32_t a, b; /* its alternatives */
} slm__proof;

typedef struct slm__schema {
    slm__arena arena;
    slm__draft draft;
    slm__json json;
    uint32_t n_values;
    uint32_t *parents;  /* [n_values] of each value: the value that it is in     */
    uint8_t *looked_at; /* [n_values] bits: keywords are checked, see below      */
    uint32_t *targets;  /* [n_values] of a schema: what its $ref refers to, + 1  */
    /* values: the members of objects that have many, by object and key; anchors by name; of long enums, by enum and value */
    slm__lookup members, anchors, constants;
    uint64_t work; /* steps that are left                                         */
    bool open;
    int32_t spacing; /* slm_spacing                                          */
    slm__conjunction *conjunctions;
    uint32_t n_conjunctions, room_conjunctions;
    uint32_t n_done; /* those before have their rule defined                     */
    uint32_t *table; /* conjunctions + 1, by hash                                */
    slm__proof *proofs;
    uint32_t n_proofs, room_proofs;
    slm__suspect *suspects;
    uint32_t n_suspects, room_suspects;
    int32_t string_rule;              /* any string; -1: not made yet                          */
    slm__schema_value *contradiction; /* the first place where nothing fits; NULL: none    */
    char why[160];                    /* ... and what is said of it                            */
    slm_status contradiction_status;
    bool quiet; /* contradictions are expected */
    slm_status status;
    slm_error *err;
} slm__schema;

/* A branch: all schemas (objects, $ref and allOf resolved) and values that one place has to satisfy. */
typedef struct slm__branch {
    slm__schema_value **schemas;
    uint32_t n, room;
    slm__schema_value *constant; /* or NULL */
    uint32_t types;              /* those that are left         */
    uint32_t implied; /* with a constant: the types that the schemas' keywords speak of */
    struct slm__expressions *expressions; /* of all its constants; NULL: not yet read */
    uint8_t mode;
} slm__branch;

/* ---- schema.c ---- */

/* Read the text; slm__schema_draft() makes and prunes the draft, the root is the rule of the first conjunction. `params` has to outlive
 * `s`. Only what slm__schema_begin() has begun needs the end. */
slm_status slm__schema_begin(slm__schema *s, const char *json, size_t n_bytes,
                             const slm_schema_params *params, slm_error *err);
bool slm__schema_draft(slm__schema *s);
void slm__schema_end(slm__schema *s);

/* The first failure, with the path of the place. Returns 0. */
int32_t slm__schema_fail(slm__schema *s, slm_status status, slm__schema_value *where,
                         const char *format, ...) __attribute__((format(printf, 4, 5)));
/* An allocation came back NULL. Returns 0. */
int32_t slm__schema_no_memory(slm__schema *s);
/* Nothing fits here: remembered for the message if it turns out that nothing fits at all. Returns 0. */
int32_t slm__schema_contradiction(slm__schema *s, slm__schema_value *where, slm_status status,
                                  const char *format, ...) __attribute__((format(printf, 4, 5)));
static inline bool slm__schema_ok(slm__schema *s) {
    if (s->draft.failed && s->status == SLM_OK) slm__schema_no_memory(s);
    return s->status == SLM_OK;
}

/* ---- schema_lookup.c ---- */

/* Work of about n steps is to be done. False: it is too much, which is LIMIT, or something failed before. */
bool slm__schema_spend(slm__schema *s, uint64_t n);

bool slm__lookup_add(slm__schema *s, slm__lookup *l, uint32_t hash, uint32_t number);
/* The next number that was added with the hash, into f->number; *f is {0} at first. False: no more, or failed. */
bool slm__lookup_next(slm__schema *s, const slm__lookup *l, uint32_t hash, slm__finding *f);
static inline uint32_t slm__hash_in(uint32_t owner, slm__str text) {
    return slm__hash(text.ptr, text.len) + owner * 0x9e3779b1u;
}
static inline bool slm__same_text(slm__str a, slm__str b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* ---- schema.c again ---- */

/* Remember a rule for the message if nothing fits. */
void slm__schema_suspect(slm__schema *s, int32_t rule, slm__schema_value *where);

/* The rule of a conjunction, made later if it is new; the items are sorted. */
int32_t slm__schema_rule(slm__schema *s, slm__items *items, uint8_t mode);
/* A node that refers to it. */
int32_t slm__schema_ref(slm__schema *s, slm__items *items, uint8_t mode);
/* Add an item. True and empty schemas ask nothing and are left out. */
void slm__items_add(slm__schema *s, slm__items *items, slm__schema_value *value, bool constant);

/* ---- schema_words.c ---- */

/* The member of that name; NULL if there is none. */
slm__schema_value *slm__member(slm__schema *s, slm__schema_value *object, slm__str name);
static inline uint32_t slm__number_of(const slm__schema *s, slm__schema_value *value) {
    return (uint32_t)(value - s->json.values);
}
/* A keyword of a schema; NULL if it is not there. */
static inline slm__schema_value *slm__word(slm__schema_value *schema, const char *name) {
    return slm__json_get(schema, name);
}
/* Check all keywords of a schema, once. False: failed. */
bool slm__schema_check(slm__schema *s, slm__schema_value *schema);
/* Types that the keywords of a schema speak of. */
uint32_t slm__schema_implied(slm__schema_value *schema);
/* Does it ask anything but what `word` says? */
bool slm__schema_asks_more(slm__schema_value *schema, slm__schema_value *word);
/* The types of its "type"; TYPE_ANY without. */
uint32_t slm__schema_types(slm__schema_value *schema);
/* The largest `least` (or the smallest, with `most`) of a keyword that is a number of things; *where says which schema. */
uint32_t slm__schema_count(const slm__branch *b, const char *word, bool most,
                           slm__schema_value **where);

/* ---- schema_ref.c ---- */

/* Parents of all values, anchors. */
bool slm__schema_index(slm__schema *s);
/* What the "$ref" of a schema refers to; NULL: failed. */
slm__schema_value *slm__schema_resolve(slm__schema *s, slm__schema_value *schema);
/* JSON pointer of a value as a URI fragment, "#/properties/a", made fit for a message. */
typedef struct slm__path {
    char text[200];
} slm__path;
slm__path slm__schema_path(const slm__schema *s, slm__schema_value *value);
/* Does a schema come back to itself, for the same place, by way of $ref, allOf, anyOf and oneOf? Fails then. */
bool slm__schema_check_cycles(slm__schema *s, slm__schema_value *schema);

/* ---- schema_branch.c ---- */

/* The node of a conjunction. */
int32_t slm__schema_node(slm__schema *s, const slm__items *items, uint8_t mode);
/* Is it plain that no value satisfies it? Looks at types and constants of the items only. */
bool slm__schema_hopeless(slm__schema *s, const slm__items *items);

/* ---- schema_leaf.c and so on: nodes of one branch ---- */

int32_t slm__schema_leaf(slm__schema *s, slm__branch *b);
int32_t slm__schema_object(slm__schema *s, const slm__branch *b);
int32_t slm__schema_array(slm__schema *s, const slm__branch *b);
int32_t slm__schema_string(slm__schema *s, slm__branch *b);
int32_t slm__schema_number(slm__schema *s, const slm__branch *b);

/* Is there an expression for a "format"? */
bool slm__format_known(slm__str name);
/* A text as a string of JSON, with quotes. */
int32_t slm__string_node(slm__schema *s, slm__str text);
/* A key with its quotes that is none of the names. */
int32_t slm__key_node(slm__schema *s, const slm__str *names, uint32_t n);
int32_t slm__any_string(slm__schema *s);

typedef enum slm__separator {
    MARK_COMMA,
    MARK_COLON,
    MARK_OPEN, /* behind [ or {  */
    MARK_CLOSE /* before ] or } */
} slm__separator;

/* A separator with what white space the text has. */
int32_t slm__separator_node(slm__schema *s, slm__separator mark);
static inline int32_t slm__text_node(slm__schema *s, const char *text) {
    return slm__draft_text(&s->draft, text, strlen(text));
}

/* The letter behind the backslash of a character that must be escaped, 'u' if it has none of its own. */
static inline char slm__escape_letter(uint32_t c) {
    static const char letters[] = "btn"
                                  "\0"
                                  "fr";
    if (c == '"' || c == '\\') return (char)c;
    char letter = c >= 8 && c < 14 ? letters[c - 8] : '\0';
    return letter ? letter : 'u';
}

/* ---- schema_value.c ---- */

/* Numbers by what they mean, objects in any order. */
bool slm__json_equal(slm__schema *s, slm__schema_value *a, slm__schema_value *b);
/* Is it equal to one of an array's? */
bool slm__json_among(slm__schema *s, slm__schema_value *list, slm__schema_value *v);
/* The text of a value. */
int32_t slm__value_node(slm__schema *s, slm__schema_value *value);
uint32_t slm__value_type(slm__schema_value *value);

#endif
