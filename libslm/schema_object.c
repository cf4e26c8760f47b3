/*
 * Objects: the declared properties in the order of the schema, then others. Whether a comma comes first, and how many properties
 * there are if that is limited, is a state: a rule for each pair of a place among the declared ones and a count.
 */
#include "schema_impl.h"

typedef struct property {
    slm__str name;
    bool required;
    int32_t value; /* a rule; -1: nothing satisfies it */
} property;

typedef struct object {
    slm__schema *s;
    const slm__branch *b;
    property *list;
    uint32_t n, room;
    slm__lookup by_name; /* places in the list, once there are many */
    uint32_t min, max;
    uint32_t cap;  /* counts are kept up to this     */
    bool closed;   /* no others                      */
    int32_t other; /* the rule of their values       */
    int32_t key;   /* and of their names; -1: not made yet */
    slm__str *names;
    int32_t *states; /* [n + 1][cap + 1] rules; -1: not made yet */
    uint32_t *todo;  /* states whose rule is not defined yet     */
    uint32_t n_todo;
} object;

static uint8_t mode_below(const object *o) {
    return o->b->mode == MODE_MAKE ? MODE_MAKE : MODE_PROVE_ANY;
}

/* ---- Names ---- */

static property *find(const object *o, slm__str name) {
    if (o->n > SLM__SCHEMA_FEW) {
        for (slm__finding f = {0}; slm__lookup_next(o->s, &o->by_name, slm__hash_in(0, name), &f);)
            if (slm__same_text(o->list[f.number].name, name)) return &o->list[f.number];
        return NULL;
    }
    for (uint32_t i = 0; i < o->n; i++)
        if (slm__same_text(o->list[i].name, name)) return &o->list[i];
    return NULL;
}

/* The last one is new: from a number of them on they are looked up. */
static bool note_name(object *o) {
    if (o->n <= SLM__SCHEMA_FEW) return true;
    for (uint32_t i = o->n == SLM__SCHEMA_FEW + 1 ? 0 : o->n - 1; i < o->n; i++)
        if (!slm__lookup_add(o->s, &o->by_name, slm__hash_in(0, o->list[i].name), i)) return false;
    return true;
}

static property *add_name(object *o, slm__str name, slm__schema_value *where) {
    property *p = find(o, name);
    if (p || !slm__schema_spend(o->s, 1)) return p;
    if (o->n == SLM__SCHEMA_NAMES) {
        slm__schema_fail(o->s, SLM_ERR_LIMIT, where, "more than %d properties", SLM__SCHEMA_NAMES);
        return NULL;
    }
    property *list =
        slm__arena_room(&o->s->arena, o->list, &o->room, (uint64_t)o->n + 1, sizeof *list);
    if (!list) {
        slm__schema_no_memory(o->s);
        return NULL;
    }
    o->list = list;
    list[o->n] = (property){.name = name, .value = -1};
    o->n++;
    return note_name(o) ? &list[o->n - 1] : NULL;
}

/* Names of a constant first, then those that schemas declare, then those that they only require. */
static bool collect(object *o) {
    slm__schema_value *constant = o->b->constant;
    for (slm__schema_value *m = constant ? constant->first : NULL; m; m = m->next)
        if (!add_name(o, m->key, constant)) return false;
    for (uint32_t i = 0; i < o->b->n && !constant; i++) {
        slm__schema_value *named = slm__word(o->b->schemas[i], "properties");
        for (slm__schema_value *m = named ? named->first : NULL; m; m = m->next)
            if (!add_name(o, m->key, m)) return false;
    }
    for (uint32_t i = 0; i < o->b->n; i++) {
        slm__schema_value *required = slm__word(o->b->schemas[i], "required");
        for (slm__schema_value *r = required ? required->first : NULL; r; r = r->next) {
            if (constant && !find(o, r->text)) {
                slm__schema_contradiction(o->s, r, SLM_ERR_FORMAT,
                                          "the constant has no such property");
                return false;
            }
            property *p = add_name(o, r->text, r);
            if (!p) return false;
            p->required = true;
        }
    }
    for (uint32_t i = 0; i < o->n && constant; i++) o->list[i].required = true;
    return true;
}

/* ---- Values ---- */

static slm__items items_of(const object *o, slm__str name) {
    slm__items items = {0};
    if (!slm__schema_spend(o->s, 8 * (uint64_t)o->b->n)) return items;
    if (o->b->constant) slm__items_add(o->s, &items, slm__member(o->s, o->b->constant, name), true);
    for (uint32_t i = 0; i < o->b->n; i++) {
        slm__schema_value *schema = o->b->schemas[i];
        slm__schema_value *own = slm__member(o->s, slm__word(schema, "properties"), name);
        if (!own) own = slm__word(schema, "additionalProperties");
        if (own) slm__items_add(o->s, &items, own, false);
    }
    return items;
}

/* Required ones first: where one of them is hopeless, so is the object, and nothing else needs a rule. */
static bool find_values(object *o) {
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < o->n && slm__schema_ok(o->s); i++) {
            property *p = &o->list[i];
            if (pass == 0 && !p->required) continue;
            slm__items items = items_of(o, p->name);
            bool hopeless = slm__schema_ok(o->s) && slm__schema_hopeless(o->s, &items);
            if (hopeless && p->required && slm__schema_ok(o->s)) {
                slm__schema_contradiction(
                    o->s, o->b->n ? o->b->schemas[0] : o->s->json.values, SLM_ERR_FORMAT,
                    "nothing satisfies the required property \"%s\"", slm__show(p->name).text);
                return false;
            }
            if (pass == 1 && !hopeless) p->value = slm__schema_rule(o->s, &items, mode_below(o));
        }
    }
    return slm__schema_ok(o->s);
}

/* Whether there may be others, and what they have to satisfy. */
static void find_others(object *o) {
    slm__items items = {0};
    bool declared = false, said = false;
    for (uint32_t i = 0; i < o->b->n; i++) {
        slm__schema_value *others = slm__word(o->b->schemas[i], "additionalProperties");
        declared = declared || slm__word(o->b->schemas[i], "properties");
        if (!others) continue;
        said = true;
        slm__items_add(o->s, &items, others, false);
    }
    bool made = o->b->mode == MODE_MAKE && !o->s->open;
    o->closed = o->b->constant || (made && declared && !said && o->min <= o->n);
    if (o->closed || !slm__schema_ok(o->s)) return;
    o->closed = slm__schema_hopeless(o->s, &items);
    if (!o->closed) o->other = slm__schema_rule(o->s, &items, mode_below(o));
}

static bool find_limits(object *o) {
    slm__schema_value *low = NULL, *high = NULL;
    o->min = slm__schema_count(o->b, "minProperties", false, &low);
    o->max = slm__schema_count(o->b, "maxProperties", true, &high);
    uint32_t required = 0;
    for (uint32_t i = 0; i < o->n; i++) required += o->list[i].required;
    if (o->max < required || o->min > o->max) {
        slm__schema_contradiction(o->s, high, SLM_ERR_RANGE,
                                  "at most %u properties, but at least %u", o->max,
                                  o->min > required ? o->min : required);
        return false;
    }
    if (o->min <= required) o->min = 0;
    find_others(o);
    if (o->closed && o->max >= o->n) o->max = UINT32_MAX;
    if (o->closed && o->min > o->n) {
        slm__schema_contradiction(o->s, low, SLM_ERR_RANGE, "at least %u properties of %u", o->min,
                                  o->n);
        return false;
    }
    o->cap = o->min > 1 ? o->min : 1;
    if (o->max != UINT32_MAX && o->max > o->cap) o->cap = o->max;
    if (o->cap > 1 && o->cap > o->n) o->cap = o->n ? o->n : 1; /* there are no more to count */
    if ((uint64_t)(o->n + 1) * ((uint64_t)o->cap + 1) > SLM__SCHEMA_STATES && o->cap > 1) {
        slm__schema_fail(o->s, SLM_ERR_LIMIT, low && o->min > 1 ? low : high,
                         "counting properties takes more than %d states", SLM__SCHEMA_STATES);
        return false;
    }
    return slm__schema_ok(o->s);
}

/* ---- States ---- */

static int32_t state_ref(object *o, uint32_t place, uint32_t count) {
    uint32_t i = place * (o->cap + 1) + count;
    if (o->states[i] < 0) {
        o->states[i] = slm__draft_rule_new(&o->s->draft);
        o->todo[o->n_todo++] = i;
    }
    return slm__schema_ok(o->s) ? slm__draft_ref(&o->s->draft, o->states[i]) : 0;
}

static int32_t other_node(object *o, bool comma) {
    slm__draft *d = &o->s->draft;
    if (o->key < 0) {
        o->key = slm__draft_rule_new(d);
        slm__draft_define(d, o->key, slm__key_node(o->s, o->names, o->n));
    }
    if (!slm__schema_ok(o->s)) return 0;
    int32_t first = comma ? slm__separator_node(o->s, MARK_COMMA) : slm__draft_seq(d, NULL, 0);
    return slm__draft_seq(d,
                          (int32_t[]){first, slm__draft_ref(d, o->key),
                                      slm__separator_node(o->s, MARK_COLON),
                                      slm__draft_ref(d, o->other)},
                          4);
}

/* Behind the declared ones. Others may have the same name twice and count for one, so they make up for one that is missing at most. */
static int32_t end_node(object *o, uint32_t count) {
    slm__draft *d = &o->s->draft;
    uint32_t missing = o->min > count ? o->min - count : 0;
    uint32_t most = o->max == UINT32_MAX ? UINT32_MAX : o->max - count;
    if (o->closed || most == 0) return missing ? 0 : slm__draft_seq(d, NULL, 0);
    if (missing > 1 && o->b->mode == MODE_MAKE) return 0;
    if (count) return slm__draft_repeat(d, other_node(o, true), missing, most);
    int32_t more =
        slm__draft_repeat(d, other_node(o, true), 0, most == UINT32_MAX ? most : most - 1);
    int32_t all = slm__draft_pair(d, other_node(o, false), more);
    return missing ? all : slm__draft_maybe(d, all);
}

static int32_t property_node(object *o, const property *p, bool comma) {
    slm__draft *d = &o->s->draft;
    int32_t first = comma ? slm__separator_node(o->s, MARK_COMMA) : slm__draft_seq(d, NULL, 0);
    return slm__draft_seq(d,
                          (int32_t[]){first, slm__string_node(o->s, p->name),
                                      slm__separator_node(o->s, MARK_COLON),
                                      slm__draft_ref(d, p->value)},
                          4);
}

/* From a state on: places that leave no choice are passed at once. */
static int32_t state_node(object *o, uint32_t place, uint32_t count) {
    slm__draft *d = &o->s->draft;
    bool counted = o->max != UINT32_MAX || o->min > 1;
    while (place < o->n && o->list[place].value < 0) place++;
    if (place == o->n) return end_node(o, count);
    const property *p = &o->list[place];
    uint32_t next = count < o->cap ? count + 1 : count;
    bool full = o->max != UINT32_MAX && count >= o->max;
    if (!counted && count && !p->required)
        return slm__draft_pair(d, slm__draft_maybe(d, property_node(o, p, true)),
                               state_ref(o, place + 1, count));
    int32_t with =
        full ? 0
             : slm__draft_pair(d, property_node(o, p, count > 0), state_ref(o, place + 1, next));
    if (p->required) return with;
    return slm__draft_either(d, with, state_ref(o, place + 1, count));
}

static int32_t states_node(object *o) {
    uint64_t n = (uint64_t)(o->n + 1) * (o->cap + 1);
    o->states = slm__arena_take(&o->s->arena, n, sizeof *o->states);
    o->todo = slm__arena_take(&o->s->arena, n, sizeof *o->todo);
    o->names = slm__arena_take(&o->s->arena, o->n, sizeof *o->names);
    if (!o->states || !o->todo || !o->names) return slm__schema_no_memory(o->s);
    for (uint64_t i = 0; i < n; i++) o->states[i] = -1;
    for (uint32_t i = 0; i < o->n; i++) o->names[i] = o->list[i].name;
    int32_t root = state_ref(o, 0, 0);
    while (o->n_todo && slm__schema_ok(o->s)) {
        uint32_t i = o->todo[--o->n_todo];
        int32_t node = state_node(o, i / (o->cap + 1), i % (o->cap + 1));
        slm__draft_define(&o->s->draft, o->states[i], node);
    }
    return root;
}

int32_t slm__schema_object(slm__schema *s, const slm__branch *b) {
    object o = {.s = s, .b = b, .other = -1, .key = -1};
    if (!collect(&o) || !find_values(&o) || !find_limits(&o)) return 0;
    bool short_of = o.min > o.n + 1 && b->mode == MODE_MAKE;
    if (short_of)
        return slm__schema_fail(s, SLM_ERR_UNSUPPORTED, b->schemas[0],
                                "minProperties %u with %u declared properties", o.min, o.n);
    int32_t node = states_node(&o);
    if (!slm__schema_ok(s)) return 0;
    return slm__draft_seq(&s->draft,
                          (int32_t[]){slm__text_node(s, "{"), slm__separator_node(s, MARK_OPEN),
                                      node, slm__separator_node(s, MARK_CLOSE),
                                      slm__text_node(s, "}")},
                          5);
}
