/* The builder of the tree of rules. Nodes are hash-consed: one that is equal to an older one is that one. So the characters of all strings of a
 * grammar are one node, and what is compiled of it, and cached for it, is shared. */
#include "rules.h"

#include "ranges.h"

enum {
    FIRST_HEADS = 256,
    MAX_COMPARED = 1 << 25, /* nodes of one place in the table: more is a grammar made for that */
};

slm_status slm__rules_create(const slm_allocator *a, slm__rules **out, slm_error *err) {
    *out = NULL;
    slm_allocator allocator = a ? *a : (slm_allocator){0};
    slm__rules *r = slm__alloc(&allocator, sizeof *r);
    if (!r) return slm__fail(err, SLM_ERR_NOMEM, "no memory for a grammar");
    r->allocator = allocator;
    r->n_heads = FIRST_HEADS;
    r->heads = slm__alloc_array(&allocator, r->n_heads, sizeof *r->heads);
    if (!r->heads || !SLM_ROOM(&allocator, &r->nodes, 1) || !SLM_ROOM(&allocator, &r->rules, 1)) {
        slm__rules_free(r);
        return slm__fail(err, SLM_ERR_NOMEM, "no memory for a grammar");
    }
    r->nodes.n = r->rules.n = 1; /* number 0 is none; memory comes zeroed */
    *out = r;
    return SLM_OK;
}

void slm__rules_free(slm__rules *r) {
    if (!r) return;
    slm_allocator a = r->allocator;
    slm__free(&a, r->nodes.p);
    slm__free(&a, r->bytes.p);
    slm__free(&a, r->ranges.p);
    slm__free(&a, r->items.p);
    slm__free(&a, r->tokens.p);
    slm__free(&a, r->rules.p);
    slm__free(&a, r->heads);
    slm__free(&a, r);
}

slm_status slm__rules_status(const slm__rules *r, slm_error *err) {
    if (r->error.status != SLM_OK && err) *err = r->error;
    return r->error.status;
}

/* ---- Errors: the first one stays ---- */

static int32_t no_memory(slm__rules *r) {
    slm__fail(&r->error, SLM_ERR_NOMEM, "no memory for a grammar");
    return 0;
}

static int32_t too_large(slm__rules *r, const char *what, uint64_t limit) {
    slm__fail(&r->error, SLM_ERR_LIMIT, "the grammar has more than %llu %s",
              (unsigned long long)limit, what);
    return 0;
}

static bool is_node(slm__rules *r, int32_t node) {
    if (r->error.status != SLM_OK) return false;
    if (node > 0 && (uint32_t)node < r->nodes.n) return true;
    slm__fail(&r->error, SLM_ERR_RANGE, "there is no node %d in the grammar", node);
    return false;
}

static bool is_rule(slm__rules *r, int32_t rule) {
    if (r->error.status != SLM_OK) return false;
    if (rule > 0 && (uint32_t)rule < r->rules.n) return true;
    slm__fail(&r->error, SLM_ERR_RANGE, "there is no rule %d in the grammar", rule);
    return false;
}

/* ---- Nodes ---- */

/* Of tokens, in `max`. */
enum { TOKEN_BY_TEXT = 1, TOKEN_NEGATED = 2 };

/* The bytes of a node's list: n elements. With NULL, `a` tells nodes apart. */
static slm__str list_of(const slm__rules *r, const slm__node *x) {
    switch (x->kind) {
    case NODE_TEXT: return (slm__str){r->bytes.p + x->a, x->n};
    case NODE_CLASS:
        return (slm__str){(const char *)(r->ranges.p + x->a), x->n * sizeof *r->ranges.p};
    case NODE_SEQ:
    case NODE_ALT: return (slm__str){(const char *)(r->items.p + x->a), x->n * sizeof *r->items.p};
    case NODE_TOKEN:
        return x->max & TOKEN_BY_TEXT ? (slm__str){r->bytes.p + r->tokens.p[x->a].text, x->n}
                                      : (slm__str){"", 0};
    default: return (slm__str){NULL, 0};
    }
}

static uint32_t hash_of(const slm__node *x, slm__str list) {
    uint32_t h = list.len > 0 ? slm__hash(list.ptr, list.len) : 0;
    uint32_t head[4] = {(uint32_t)x->kind, list.ptr ? 0 : x->a, x->n, x->max};
    return h * 31 + slm__hash(head, sizeof head);
}

static bool same(const slm__rules *r, const slm__node *x, slm__str list, const slm__node *y) {
    if (x->kind != y->kind || x->n != y->n || x->max != y->max) return false;
    if (!list.ptr) return x->a == y->a;
    return list.len == 0 || memcmp(list.ptr, list_of(r, y).ptr, list.len) == 0;
}

static bool rehash(slm__rules *r) {
    uint32_t n = 2 * r->n_heads;
    uint32_t *heads = slm__alloc_array(&r->allocator, n, sizeof *heads);
    if (!heads) return false;
    slm__free(&r->allocator, r->heads);
    r->heads = heads;
    r->n_heads = n;
    for (uint32_t i = 1; i < r->nodes.n; i++) {
        slm__node *x = &r->nodes.p[i];
        uint32_t *head = &heads[hash_of(x, list_of(r, x)) % n];
        x->next = *head;
        *head = i;
    }
    return true;
}

/* The number of a node like x whose list is `list` (not yet stored: store() does that, and sets x->a), or of the one that there is. */
static int32_t intern(slm__rules *r, slm__node *x, slm__str list,
                      bool (*store)(slm__rules *r, slm__node *x, slm__str list)) {
    uint32_t h = hash_of(x, list);
    for (uint32_t i = r->heads[h % r->n_heads]; i != 0; i = r->nodes.p[i].next)
        if (same(r, x, list, &r->nodes.p[i]))
            return (int32_t)i;
        else if ((r->n_compared += 1 + list.len / 64) > MAX_COMPARED)
            return too_large(r, "parts of equal hashes", MAX_COMPARED);
    if (r->nodes.n >= SLM__MAX_NODES) return too_large(r, "nodes", SLM__MAX_NODES);
    if (!SLM_ROOM(&r->allocator, &r->nodes, 1)) return no_memory(r);
    if (r->nodes.n >= r->n_heads && !rehash(r)) return no_memory(r);
    if (store && !store(r, x, list)) return 0;
    if (x->product == 0) x->product = 1;
    x->next = r->heads[h % r->n_heads];
    r->heads[h % r->n_heads] = r->nodes.n;
    r->nodes.p[r->nodes.n] = *x;
    return (int32_t)r->nodes.n++;
}

/* Add n elements to one of the lists; where they begin in *at. */
#define APPEND(r, vec, data, count, what, at)                                                  \
    ((uint64_t)(vec)->n + (count) > SLM__MAX_ITEMS                                             \
         ? (too_large((r), (what), SLM__MAX_ITEMS), false)                                     \
     : !SLM_ROOM(&(r)->allocator, (vec), (count))                                              \
         ? (no_memory(r), false)                                                               \
         : (memcpy((vec)->p + (vec)->n, (data), (count) * sizeof *(vec)->p), *(at) = (vec)->n, \
            (vec)->n += (uint32_t)(count), true))

static bool store_bytes(slm__rules *r, slm__node *x, slm__str list) {
    return APPEND(r, &r->bytes, list.ptr, list.len, "bytes of text", &x->a);
}

static bool store_ranges(slm__rules *r, slm__node *x, slm__str list) {
    return list.len == 0 || APPEND(r, &r->ranges, list.ptr, x->n, "ranges", &x->a);
}

static bool store_items(slm__rules *r, slm__node *x, slm__str list) {
    return list.len == 0 || APPEND(r, &r->items, list.ptr, x->n, "items", &x->a);
}

int32_t slm__rules_text(slm__rules *r, const char *text, size_t n) {
    if (r->error.status != SLM_OK) return 0;
    if (n == 0) return slm__rules_seq(r, NULL, 0);
    if (n > SLM__MAX_ITEMS) return too_large(r, "bytes of text", SLM__MAX_ITEMS);
    slm__node x = {.kind = NODE_TEXT, .n = (uint32_t)n};
    return intern(r, &x, (slm__str){text, n}, store_bytes);
}

static int32_t list_node(slm__rules *r, slm__node_kind kind, const int32_t *items, size_t n) {
    if (r->error.status != SLM_OK) return 0;
    if (n > SLM__MAX_ITEMS) return too_large(r, "items", SLM__MAX_ITEMS);
    slm__node x = {.kind = kind, .n = (uint32_t)n};
    for (size_t i = 0; i < n; i++) {
        if (!is_node(r, items[i])) return 0;
        uint32_t product = r->nodes.p[items[i]].product;
        if (product > x.product) x.product = product;
    }
    if (n == 1) return items[0];
    return intern(r, &x, (slm__str){n > 0 ? (const char *)items : "", n * sizeof *items},
                  store_items);
}

int32_t slm__rules_seq(slm__rules *r, const int32_t *items, size_t n) {
    return list_node(r, NODE_SEQ, items, n);
}

int32_t slm__rules_alt(slm__rules *r, const int32_t *items, size_t n) {
    return list_node(r, NODE_ALT, items, n);
}

int32_t slm__rules_repeat(slm__rules *r, int32_t item, uint32_t min, uint32_t max) {
    if (!is_node(r, item)) return 0;
    if (min > max) return slm__rules_alt(r, NULL, 0);
    uint32_t most = max == UINT32_MAX ? min : max;
    if (most > SLM__MAX_COUNT) {
        slm__fail(&r->error, SLM_ERR_LIMIT, "a repetition of %u times, expected at most %d", most,
                  SLM__MAX_COUNT);
        return 0;
    }
    uint64_t product = (uint64_t)(most ? most : 1) * r->nodes.p[item].product;
    if (product > SLM__MAX_PRODUCT) {
        slm__fail(&r->error, SLM_ERR_LIMIT,
                  "repetitions inside of each other of %llu times, expected at most %d",
                  (unsigned long long)product, SLM__MAX_PRODUCT);
        return 0;
    }
    if (max == 0) return slm__rules_seq(r, NULL, 0);
    if (min == 1 && max == 1) return item;
    slm__node x = {NODE_REPEAT, (uint32_t)item, min, max, (uint32_t)product, 0};
    return intern(r, &x, (slm__str){NULL, 0}, NULL);
}

/* ---- Classes ---- */

int32_t slm__rules_class(slm__rules *r, const slm__range *ranges, size_t n, bool negated) {
    if (r->error.status != SLM_OK) return 0;
    if (n > SLM__MAX_ITEMS) return too_large(r, "ranges", SLM__MAX_ITEMS);
    slm__range *sorted = slm__alloc_array(&r->allocator, 2 * n + 2, sizeof *sorted);
    uint64_t *room = slm__alloc_array(&r->allocator, 2 * n, sizeof *room);
    int32_t node = 0;
    if (sorted && room) {
        slm__range *clean = sorted + n;
        if (n > 0) memcpy(sorted, ranges, n * sizeof *sorted);
        slm__ranges_sort(sorted, n, room);
        n = slm__ranges_tidy(sorted, n, negated, clean);
        slm__node x = {.kind = NODE_CLASS, .n = (uint32_t)n};
        slm__str list = {(const char *)clean, n * sizeof *clean};
        node = n == 0 ? slm__rules_alt(r, NULL, 0) : intern(r, &x, list, store_ranges);
    } else {
        no_memory(r);
    }
    slm__free(&r->allocator, room);
    slm__free(&r->allocator, sorted);
    return node;
}

/* ---- Tokens and rules ---- */

static bool store_token(slm__rules *r, slm__node *x, slm__str text) {
    slm__token_symbol t = {.by_text = x->max & TOKEN_BY_TEXT, .negated = x->max & TOKEN_NEGATED};
    if (r->tokens.n >= SLM__MAX_RULES) return too_large(r, "tokens", SLM__MAX_RULES) != 0;
    if (!SLM_ROOM(&r->allocator, &r->tokens, 1)) return no_memory(r) != 0;
    if (t.by_text && !APPEND(r, &r->bytes, text.ptr, text.len, "bytes of text", &t.text))
        return false;
    if (t.by_text)
        t.n_text = x->n;
    else
        t.id = x->n;
    x->a = r->tokens.n;
    r->tokens.p[r->tokens.n++] = t;
    return true;
}

int32_t slm__rules_token(slm__rules *r, uint32_t id, const char *text, size_t n, bool negated) {
    if (r->error.status != SLM_OK) return 0;
    if (text && n > SLM__MAX_ITEMS) return too_large(r, "bytes of text", SLM__MAX_ITEMS);
    slm__node x = {.kind = NODE_TOKEN,
                   .n = text ? (uint32_t)n : id,
                   .max = (text ? TOKEN_BY_TEXT : 0) | (negated ? TOKEN_NEGATED : 0)};
    return intern(r, &x, text ? (slm__str){text, n} : (slm__str){"", 0}, store_token);
}

int32_t slm__rules_new(slm__rules *r, const char *name, size_t n) {
    if (r->error.status != SLM_OK) return 0;
    slm__rule rule = {.n_name = (uint32_t)n};
    if (r->rules.n >= SLM__MAX_RULES) return too_large(r, "rules", SLM__MAX_RULES);
    if (!SLM_ROOM(&r->allocator, &r->rules, 1)) return no_memory(r);
    if (n > 0 && !APPEND(r, &r->bytes, name, n, "bytes of text", &rule.name)) return 0;
    r->rules.p[r->rules.n] = rule;
    return (int32_t)r->rules.n++;
}

int32_t slm__rules_ref(slm__rules *r, int32_t rule) {
    if (!is_rule(r, rule)) return 0;
    slm__node x = {.kind = NODE_REF, .a = (uint32_t)rule};
    return intern(r, &x, (slm__str){NULL, 0}, NULL);
}

void slm__rules_define(slm__rules *r, int32_t rule, int32_t node) {
    if (!is_rule(r, rule) || !is_node(r, node)) return;
    if (r->rules.p[rule].node != 0)
        slm__fail(&r->error, SLM_ERR_RANGE, "rule \"%s\" is defined twice",
                  slm__show(slm__rule_name(r, rule)).text);
    else
        r->rules.p[rule].node = node;
}
