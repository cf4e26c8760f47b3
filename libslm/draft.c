#include "draft.h"

/* ---- Building ---- */

/* NULL if the draft has failed. */
static void *room(slm__draft *d, void *list, uint32_t *capacity, uint64_t n, size_t size) {
    void *p = d->failed ? NULL : slm__arena_room(d->arena, list, capacity, n, size);
    if (!p) d->failed = true;
    return p;
}

static int32_t add_node(slm__draft *d, slm__draft_node node) {
    slm__draft_node *nodes =
        room(d, d->nodes, &d->room_nodes, (uint64_t)d->n_nodes + 1, sizeof *nodes);
    if (!nodes) return 0;
    d->nodes = nodes;
    node.next_ref = -1;
    node.parent = INT32_MAX;
    nodes[d->n_nodes] = node;
    return (int32_t)d->n_nodes++;
}

void slm__draft_init(slm__draft *d, slm__arena *arena) {
    *d = (slm__draft){.arena = arena};
    add_node(d, (slm__draft_node){.kind = DRAFT_ALT});
}

int32_t slm__draft_text(slm__draft *d, const char *text, size_t n) {
    char *bytes = room(d, d->bytes, &d->room_bytes, (uint64_t)d->n_bytes + n, 1);
    if (!bytes) return 0;
    d->bytes = bytes;
    if (n) memcpy(bytes + d->n_bytes, text, n);
    d->n_bytes += (uint32_t)n;
    return add_node(
        d, (slm__draft_node){.kind = DRAFT_TEXT, .at = d->n_bytes - (uint32_t)n, .n = (uint32_t)n});
}

int32_t slm__draft_class(slm__draft *d, const slm__range *ranges, size_t n) {
    if (n == 0) return 0;
    slm__range *all =
        room(d, d->ranges, &d->room_ranges, (uint64_t)d->n_ranges + n, sizeof *ranges);
    if (!all) return 0;
    d->ranges = all;
    memcpy(all + d->n_ranges, ranges, n * sizeof *ranges);
    d->n_ranges += (uint32_t)n;
    return add_node(d, (slm__draft_node){
                           .kind = DRAFT_CLASS, .at = d->n_ranges - (uint32_t)n, .n = (uint32_t)n});
}

static int32_t add_list(slm__draft *d, slm__draft_kind kind, const int32_t *items, size_t n) {
    int32_t *lists = room(d, d->lists, &d->room_lists, (uint64_t)d->n_lists + n, sizeof *lists);
    if (!lists) return 0;
    d->lists = lists;
    uint32_t at = d->n_lists;
    for (size_t i = 0; i < n; i++) lists[d->n_lists++] = items[i];
    int32_t node =
        add_node(d, (slm__draft_node){.kind = (uint8_t)kind, .at = at, .n = (uint32_t)n});
    for (size_t i = 0; i < n; i++) d->nodes[items[i]].parent = node;
    return node;
}

int32_t slm__draft_seq(slm__draft *d, const int32_t *items, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (items[i] == 0) return 0;
    return n == 1 ? items[0] : add_list(d, DRAFT_SEQ, items, n);
}

/* What fits nothing is no choice: the list then has gaps, node 0, which pruning passes over. */
int32_t slm__draft_alt(slm__draft *d, const int32_t *items, size_t n) {
    int32_t only = 0;
    size_t left = 0;
    for (size_t i = 0; i < n; i++) {
        if (items[i] == 0) continue;
        only = items[i];
        left++;
    }
    return left <= 1 ? only : add_list(d, DRAFT_ALT, items, n);
}

int32_t slm__draft_repeat(slm__draft *d, int32_t item, uint32_t min, uint32_t max) {
    if (min > max) return 0;
    if (item == 0) return min == 0 ? slm__draft_seq(d, NULL, 0) : 0;
    if (min == 1 && max == 1) return item;
    if (max == 0) return slm__draft_seq(d, NULL, 0);
    int32_t node = add_node(
        d, (slm__draft_node){.kind = DRAFT_REPEAT, .at = (uint32_t)item, .min = min, .max = max});
    d->nodes[item].parent = node;
    return node;
}

int32_t slm__draft_rule_new(slm__draft *d) {
    slm__draft_rule *rules =
        room(d, d->rules, &d->room_rules, (uint64_t)d->n_rules + 1, sizeof *rules);
    if (!rules) return 0;
    d->rules = rules;
    rules[d->n_rules] = (slm__draft_rule){.node = -1, .first_ref = -1};
    return (int32_t)d->n_rules++;
}

int32_t slm__draft_ref(slm__draft *d, int32_t rule) {
    int32_t node = add_node(d, (slm__draft_node){.kind = DRAFT_REF, .at = (uint32_t)rule});
    if (node == 0) return 0;
    d->nodes[node].next_ref = d->rules[rule].first_ref;
    d->rules[rule].first_ref = node;
    return node;
}

void slm__draft_define(slm__draft *d, int32_t rule, int32_t node) {
    if (d->failed) return;
    d->rules[rule].node = node;
    d->nodes[node].parent = ~rule;
}

/* ---- Pruning ---- */

/* Nodes that are known to fit, whose parents have not been told yet. */
typedef struct todo {
    int32_t *list;
    uint32_t n;
} todo;

static void fits(slm__draft *d, todo *t, int32_t node) {
    if (d->nodes[node].fits) return;
    d->nodes[node].fits = true;
    t->list[t->n++] = node;
}

static void tell_parent(slm__draft *d, todo *t, int32_t node) {
    int32_t parent = d->nodes[node].parent;
    if (parent == INT32_MAX) return;
    if (parent < 0) {
        slm__draft_rule *rule = &d->rules[~parent];
        rule->fits = true;
        for (int32_t r = rule->first_ref; r >= 0; r = d->nodes[r].next_ref) fits(d, t, r);
    } else if (d->nodes[parent].kind != DRAFT_SEQ || --d->nodes[parent].missing == 0) {
        fits(d, t, parent);
    }
}

/* From what fits by itself upwards, so that a rule that needs itself never does. Each node is told of once. */
static void find_fitting(slm__draft *d, todo *t) {
    for (uint32_t i = 0; i < d->n_nodes; i++) {
        slm__draft_node *node = &d->nodes[i];
        node->missing = node->n;
        if (node->kind == DRAFT_TEXT || node->kind == DRAFT_CLASS ||
            (node->kind == DRAFT_SEQ && node->n == 0) ||
            (node->kind == DRAFT_REPEAT && node->min == 0))
            fits(d, t, (int32_t)i);
    }
    while (t->n) tell_parent(d, t, t->list[--t->n]);
}

static void use(slm__draft *d, todo *t, int32_t node) {
    if (!d->nodes[node].fits || d->nodes[node].used) return;
    d->nodes[node].used = true;
    t->list[t->n++] = node;
}

static void find_used(slm__draft *d, todo *t, int32_t root) {
    d->rules[root].used = true;
    use(d, t, d->rules[root].node);
    while (t->n) {
        const slm__draft_node *node = &d->nodes[t->list[--t->n]];
        if (node->kind == DRAFT_REPEAT) use(d, t, (int32_t)node->at);
        if (node->kind == DRAFT_SEQ || node->kind == DRAFT_ALT) {
            for (uint32_t i = 0; i < node->n; i++) use(d, t, d->lists[node->at + i]);
        }
        if (node->kind == DRAFT_REF) {
            d->rules[node->at].used = true;
            use(d, t, d->rules[node->at].node);
        }
    }
}

bool slm__draft_prune(slm__draft *d, int32_t root) {
    todo t = {.list = d->failed ? NULL : slm__arena_take(d->arena, d->n_nodes, sizeof *t.list)};
    if (!t.list) {
        d->failed = true;
        return false;
    }
    find_fitting(d, &t);
    find_used(d, &t, root);
    return true;
}

/* ---- Handing over ---- */

static int32_t build_list(const slm__draft *d, const slm__draft_node *node, slm__rules *r,
                          const int32_t *built, int32_t *items) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < node->n; i++) {
        int32_t child = d->lists[node->at + i];
        if (d->nodes[child].used) items[n++] = built[child];
    }
    return node->kind == DRAFT_SEQ ? slm__rules_seq(r, items, n) : slm__rules_alt(r, items, n);
}

static int32_t build_node(const slm__draft *d, const slm__draft_node *node, slm__rules *r,
                          const int32_t *built, const int32_t *rules, int32_t *items) {
    switch ((slm__draft_kind)node->kind) {
    case DRAFT_TEXT: return slm__rules_text(r, d->bytes + node->at, node->n);
    case DRAFT_CLASS: return slm__rules_class(r, d->ranges + node->at, node->n, false);
    case DRAFT_REF: return slm__rules_ref(r, rules[node->at]);
    case DRAFT_REPEAT:
        if (!d->nodes[node->at].used) return slm__rules_seq(r, NULL, 0);
        return slm__rules_repeat(r, built[node->at], node->min, node->max);
    case DRAFT_SEQ:
    case DRAFT_ALT: break;
    }
    return build_list(d, node, r, built, items);
}

slm_status slm__draft_build(const slm__draft *d, int32_t root, slm__rules *r, int32_t *built_root,
                            slm_error *err) {
    int32_t *built = slm__arena_take(d->arena, d->n_nodes, sizeof *built);
    int32_t *items = slm__arena_take(d->arena, (uint64_t)d->n_lists + 1, sizeof *items);
    int32_t *rules = slm__arena_take(d->arena, d->n_rules, sizeof *rules);
    if ((!built || !items || !rules) && d->arena->limited)
        return slm__fail(err, SLM_ERR_LIMIT, "a grammar takes more than %llu MiB",
                         (unsigned long long)(d->arena->limit >> 20));
    if (!built || !items || !rules) return slm__fail(err, SLM_ERR_NOMEM, "no memory for a grammar");
    for (uint32_t i = 0; i < d->n_rules; i++)
        if (d->rules[i].used) rules[i] = slm__rules_new(r, NULL, 0);
    for (uint32_t i = 0; i < d->n_nodes; i++) { /* children come before parents */
        if (!d->nodes[i].used) continue;
        built[i] = build_node(d, &d->nodes[i], r, built, rules, items);
    }
    for (uint32_t i = 0; i < d->n_rules; i++)
        if (d->rules[i].used) slm__rules_define(r, rules[i], built[d->rules[i].node]);
    *built_root = rules[root];
    return slm__rules_status(r, err);
}
