/* Arrays: the first places have a conjunction each, all others share one. */
#include "schema_impl.h"

typedef struct array {
    slm__schema *s;
    const slm__branch *b;
    uint32_t n_first; /* places with something of their own */
    uint32_t min, max;
    bool closed; /* no others */
    /* The place at hand, in turn: the constant's item, and [b->n] the schemas' own; NULL behind the last one */
    slm__schema_value *constant, **own;
} array;

static void first_place(array *a) {
    a->constant = a->b->constant ? a->b->constant->first : NULL;
    for (uint32_t i = 0; i < a->b->n; i++) {
        slm__schema_value *list = slm__word(a->b->schemas[i], "prefixItems");
        a->own[i] = list ? list->first : NULL;
    }
}

static void next_place(array *a) {
    if (a->constant) a->constant = a->constant->next;
    for (uint32_t i = 0; i < a->b->n; i++)
        if (a->own[i]) a->own[i] = a->own[i]->next;
}

/* What the place at hand has to satisfy. */
static int32_t item_node(const array *a) {
    slm__items items = {0};
    if (!slm__schema_spend(a->s, 4 * (uint64_t)a->b->n)) return 0;
    if (a->constant) slm__items_add(a->s, &items, a->constant, true);
    for (uint32_t i = 0; i < a->b->n; i++) {
        slm__schema_value *own = a->own[i];
        if (!own) own = slm__word(a->b->schemas[i], "items");
        if (own) slm__items_add(a->s, &items, own, false);
    }
    return slm__schema_ref(a->s, &items, a->b->mode == MODE_MAKE ? MODE_MAKE : MODE_PROVE_ANY);
}

static bool look(array *a) {
    slm__schema_value *where = NULL, *low = NULL;
    bool tuple = false, rest = false;
    a->min = slm__schema_count(a->b, "minItems", false, &low);
    a->max = slm__schema_count(a->b, "maxItems", true, &where);
    for (uint32_t i = 0; i < a->b->n; i++) {
        slm__schema_value *first = slm__word(a->b->schemas[i], "prefixItems");
        tuple = tuple || first;
        rest = rest || slm__word(a->b->schemas[i], "items");
        if (first && first->n > a->n_first) a->n_first = first->n;
    }
    a->closed = tuple && !rest && !a->s->open && a->b->mode == MODE_MAKE && a->min <= a->n_first;
    if (a->b->constant) {
        a->closed = true;
        a->n_first = a->b->constant->n;
        if (a->max > a->n_first) a->max = a->n_first;
        if (a->min < a->n_first) a->min = a->n_first;
    }
    if (a->min > a->max) {
        slm__schema_contradiction(a->s, low ? low : where, SLM_ERR_RANGE,
                                  "at least %u and at most %u items", a->min, a->max);
        return false;
    }
    if (a->n_first > a->max) a->n_first = a->max;
    if (a->n_first <= SLM__SCHEMA_NAMES) return true;
    slm__schema_fail(a->s, SLM_ERR_LIMIT, a->b->schemas[0], "a tuple of more than %d places",
                     SLM__SCHEMA_NAMES);
    return false;
}

/* Items behind the first ones, the place at hand, each after a comma but for the very first of an array. */
static int32_t rest_node(const array *a) {
    slm__draft *d = &a->s->draft;
    uint32_t min = a->min > a->n_first ? a->min - a->n_first : 0;
    uint32_t max = a->max == UINT32_MAX ? UINT32_MAX : a->max - a->n_first;
    if (a->closed || max == 0) return min ? 0 : slm__draft_seq(d, NULL, 0);
    bool alone = a->n_first == 0;
    int32_t more = slm__draft_pair(d, slm__separator_node(a->s, MARK_COMMA), item_node(a));
    uint32_t one = alone ? 1 : 0;
    int32_t all =
        slm__draft_repeat(d, more, min > one ? min - one : 0, max == UINT32_MAX ? max : max - one);
    if (!alone) return all;
    all = slm__draft_pair(d, item_node(a), all);
    return min ? all : slm__draft_maybe(d, all);
}

int32_t slm__schema_array(slm__schema *s, const slm__branch *b) {
    array a = {.s = s, .b = b};
    if (!look(&a)) return 0;
    slm__draft *d = &s->draft;
    int32_t *items = slm__arena_take(&s->arena, a.n_first, sizeof *items);
    a.own = slm__arena_take(&s->arena, b->n, sizeof *a.own);
    if (!items || !a.own) return slm__schema_no_memory(s);
    first_place(&a);
    for (uint32_t i = 0; i < a.n_first && slm__schema_ok(s); i++, next_place(&a)) {
        items[i] = item_node(&a);
        if (i > 0) items[i] = slm__draft_pair(d, slm__separator_node(s, MARK_COMMA), items[i]);
    }
    int32_t node = rest_node(&a);
    for (uint32_t i = a.n_first; i-- > 0 && slm__schema_ok(s);) {
        node = slm__draft_pair(d, items[i], node);
        if (i >= a.min) node = slm__draft_maybe(d, node);
    }
    if (!slm__schema_ok(s)) return 0;
    return slm__draft_seq(d,
                          (int32_t[]){slm__text_node(s, "["), slm__separator_node(s, MARK_OPEN),
                                      node, slm__separator_node(s, MARK_CLOSE),
                                      slm__text_node(s, "]")},
                          5);
}
