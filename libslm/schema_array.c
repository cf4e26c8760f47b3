/* Arrays: the first places have a conjunction each, all others share one. */
#include "schema_impl.h"

typedef struct array {
    slm__schema *s;
    const slm__branch *b;
    uint32_t n_first; /* places with something of their own */
    uint32_t min, max;
    bool closed; /* no others */
} array;

static slm__schema_value *nth(slm__schema_value *list, uint32_t i) {
    slm__schema_value *c = list ? list->first : NULL;
    while (c && i-- > 0) c = c->next;
    return c;
}

/* What the place has to satisfy; n_first: all others. */
static int32_t item_node(const array *a, uint32_t place) {
    slm__items items = {0};
    if (a->b->constant) slm__items_add(a->s, &items, nth(a->b->constant, place), true);
    for (uint32_t i = 0; i < a->b->n; i++) {
        slm__schema_value *schema = a->b->schemas[i];
        slm__schema_value *own = nth(slm__word(schema, "prefixItems"), place);
        if (!own) own = slm__word(schema, "items");
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

/* Items behind the first ones, each after a comma but for the very first of an array. */
static int32_t rest_node(const array *a) {
    slm__draft *d = &a->s->draft;
    uint32_t min = a->min > a->n_first ? a->min - a->n_first : 0;
    uint32_t max = a->max == UINT32_MAX ? UINT32_MAX : a->max - a->n_first;
    if (a->closed || max == 0) return min ? 0 : slm__draft_seq(d, NULL, 0);
    bool alone = a->n_first == 0;
    int32_t more =
        slm__draft_pair(d, slm__separator_node(a->s, MARK_COMMA), item_node(a, a->n_first));
    uint32_t one = alone ? 1 : 0;
    int32_t all =
        slm__draft_repeat(d, more, min > one ? min - one : 0, max == UINT32_MAX ? max : max - one);
    if (!alone) return all;
    all = slm__draft_pair(d, item_node(a, 0), all);
    return min ? all : slm__draft_maybe(d, all);
}

int32_t slm__schema_array(slm__schema *s, const slm__branch *b) {
    array a = {.s = s, .b = b};
    if (!look(&a)) return 0;
    slm__draft *d = &s->draft;
    int32_t node = rest_node(&a);
    for (uint32_t i = a.n_first; i-- > 0 && slm__schema_ok(s);) {
        int32_t item = item_node(&a, i);
        if (i > 0) item = slm__draft_pair(d, slm__separator_node(s, MARK_COMMA), item);
        node = slm__draft_pair(d, item, node);
        if (i >= a.min) node = slm__draft_maybe(d, node);
    }
    if (!slm__schema_ok(s)) return 0;
    return slm__draft_seq(d,
                          (int32_t[]){slm__text_node(s, "["), slm__separator_node(s, MARK_OPEN),
                                      node, slm__separator_node(s, MARK_CLOSE),
                                      slm__text_node(s, "]")},
                          5);
}
