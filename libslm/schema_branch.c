/*
 * A conjunction into branches: $ref and allOf are followed until only objects with keywords are left; then each anyOf and oneOf of
 * which no alternative is among them yet is split, and each constant of an enum becomes a branch of its own.
 */
#include "schema_impl.h"

typedef struct meeting {
    slm__schema_value *schema;
    uint32_t next; /* of `met`; 0: the last one             */
    bool taken;    /* and what it refers to has been met    */
} meeting;

/* A conjunction that is being taken apart. */
typedef struct flat {
    slm__branch b;
    /* Every schema that was met, the true and false ones too: an alternative that is among them holds. A list that begins at number 0, which is none
     * itself, in the order in which their properties are written. */
    meeting *met;
    uint32_t n_met, room_met;
    slm__lookup numbers; /* the schemas' own, once there are many */
    slm__schema_value **enums;
    uint32_t n_enums, room_enums;
    bool dead; /* nothing satisfies it */
} flat;

static bool push(slm__schema *s, slm__schema_value ***list, uint32_t *n, uint32_t *room,
                 slm__schema_value *v) {
    slm__schema_value **more =
        slm__arena_room(&s->arena, *list, room, (uint64_t)*n + 1, sizeof *more);
    if (!more) return slm__schema_no_memory(s) != 0;
    *list = more;
    more[(*n)++] = v;
    return true;
}

static bool met(slm__schema *s, const flat *f, slm__schema_value *v) {
    if (f->n_met > SLM__SCHEMA_FEW) {
        slm__finding found = {0};
        return slm__lookup_next(s, &f->numbers, slm__number_of(s, v), &found);
    }
    for (uint32_t i = 1; i < f->n_met; i++)
        if (f->met[i].schema == v) return true;
    return false;
}

/* The last one is new: from a number of them on they are looked up. */
static bool note_number(slm__schema *s, flat *f) {
    if (f->n_met <= SLM__SCHEMA_FEW) return true;
    for (uint32_t i = f->n_met == SLM__SCHEMA_FEW + 1 ? 1 : f->n_met - 1; i < f->n_met; i++) {
        uint32_t number = slm__number_of(s, f->met[i].schema);
        if (!slm__lookup_add(s, &f->numbers, number, number)) return false;
    }
    return true;
}

static bool add_meeting(slm__schema *s, flat *f, meeting m) {
    meeting *more =
        slm__arena_room(&s->arena, f->met, &f->room_met, (uint64_t)f->n_met + 1, sizeof *more);
    if (!more) return slm__schema_no_memory(s) != 0;
    f->met = more;
    more[f->n_met++] = m;
    return true;
}

/* Put it behind number *at, which moves on. */
static void meet(slm__schema *s, flat *f, slm__schema_value *v, uint32_t *at) {
    if (!slm__schema_spend(s, 1) || met(s, f, v)) return;
    if (!add_meeting(s, f, (meeting){.schema = v, .next = f->met[*at].next})) return;
    f->met[*at].next = f->n_met - 1;
    *at = f->n_met - 1;
    note_number(s, f);
}

static void die(slm__schema *s, flat *f, slm__schema_value *where, const char *why) {
    f->dead = true;
    slm__schema_contradiction(s, where, SLM_ERR_FORMAT, "%s", why);
}

static void set_constant(slm__schema *s, flat *f, slm__schema_value *v) {
    if (f->b.constant && !slm__json_equal(s, f->b.constant, v))
        die(s, f, v, "this constant differs from another one of the same place");
    else if (!f->b.constant)
        f->b.constant = v;
}

/* What schema number `self` includes comes before its own properties, which is behind number `at`, or behind them, as it is written. */
static void take_included(slm__schema *s, flat *f, slm__schema_value *v, uint32_t self,
                          uint32_t at) {
    for (slm__schema_value *w = v->first; w && slm__schema_ok(s); w = w->next) {
        if (slm__str_eq(w->key, "properties")) {
            at = self;
        } else if (slm__str_eq(w->key, "$ref")) {
            slm__schema_value *target = slm__schema_resolve(s, v);
            if (target) meet(s, f, target, &at);
        } else if (slm__str_eq(w->key, "allOf")) {
            for (slm__schema_value *c = w->first; c; c = c->next) meet(s, f, c, &at);
        }
    }
}

static void take_schema(slm__schema *s, flat *f, uint32_t self, uint32_t before) {
    slm__schema_value *v = f->met[self].schema;
    f->met[self].taken = true;
    if (v->kind == JSON_FALSE) die(s, f, v, "the schema is false");
    if (v->kind != JSON_OBJECT || !slm__schema_check_cycles(s, v)) return;
    if (!slm__schema_spend(s, 8 * (1 + (uint64_t)v->n))) return;
    take_included(s, f, v, self, before);
    slm__schema_value *is = slm__word(v, "const");
    if (is) set_constant(s, f, is);
    if (slm__word(v, "enum")) push(s, &f->enums, &f->n_enums, &f->room_enums, slm__word(v, "enum"));
    f->b.types &= slm__schema_types(v);
    if (f->b.types == 0 && !f->dead)
        die(s, f, v, "no type is left that all schemas of this place allow");
}

/* Until all are taken; what was included stands next to the one at hand, before or behind it. */
static void take_all(slm__schema *s, flat *f) {
    for (uint32_t at = 0, next; (next = f->met[at].next) && !f->dead && slm__schema_ok(s);) {
        if (f->met[next].taken)
            at = next;
        else
            take_schema(s, f, next, at); /* may have put others here */
    }
    for (uint32_t i = f->met[0].next; i && slm__schema_ok(s); i = f->met[i].next)
        if (f->met[i].schema->kind == JSON_OBJECT)
            push(s, &f->b.schemas, &f->b.n, &f->b.room, f->met[i].schema);
}

/* The types that text is made of where no schema says which: those that the keywords speak of. */
static void imply_types(slm__schema *s, flat *f) {
    uint32_t implied = 0;
    if (s->open || f->b.mode != MODE_MAKE || f->b.constant || f->n_enums) return;
    for (uint32_t i = 0; i < f->b.n; i++) {
        if (slm__word(f->b.schemas[i], "type")) return;
        implied |= slm__schema_implied(f->b.schemas[i]);
    }
    if (implied) f->b.types &= implied;
}

static void flatten(slm__schema *s, flat *f, const slm__items *items, uint8_t mode) {
    *f = (flat){.b = {.types = TYPE_ANY, .mode = mode}};
    if (mode != MODE_MAKE) f->b.types = mode >> 1;
    uint32_t last = 0;
    f->dead = !add_meeting(s, f, (meeting){0});
    for (uint32_t i = 0; i < items->n && !f->dead; i++) {
        slm__schema_value *v = &s->json.values[items->list[i] / 2];
        if (items->list[i] & SLM__CONSTANT)
            set_constant(s, f, v);
        else
            meet(s, f, v, &last);
    }
    if (!f->dead) take_all(s, f);
    f->dead = f->dead || f->b.types == 0 || !slm__schema_ok(s);
    if (!f->dead) imply_types(s, f);
}

/* ---- Constants ---- */

/* By the types and all enums from number `from` on. */
static bool allowed(slm__schema *s, const flat *f, slm__schema_value *v, uint32_t from) {
    if (!slm__schema_spend(s, 1) || !(slm__value_type(v) & f->b.types)) return false;
    for (uint32_t i = from; i < f->n_enums; i++)
        if (!slm__json_among(s, f->enums[i], v)) return false;
    return true;
}

/* The constants that are left, one call for each; NULL once if it takes no constant. NULL at the end. */
static slm__schema_value *first_constant(slm__schema *s, const flat *f, slm__schema_value *after) {
    if (f->b.constant) return !after && allowed(s, f, f->b.constant, 0) ? f->b.constant : NULL;
    slm__schema_value *c = after ? after->next : f->enums[0]->first;
    while (c && !allowed(s, f, c, 1)) c = c->next;
    return c;
}

bool slm__schema_hopeless(slm__schema *s, const slm__items *items) {
    flat f;
    bool quiet = s->quiet;
    s->quiet = true;
    flatten(s, &f, items, MODE_PROVE_ANY);
    s->quiet = quiet;
    if (f.dead || !slm__schema_ok(s)) return true;
    return (f.b.constant || f.n_enums) && !first_constant(s, &f, NULL);
}

/* ---- Splitting ---- */

/* Conjunctions that are still to be looked at, the last first, and the nodes of what has been. */
typedef struct work {
    slm__items *list;
    uint32_t n, room;
    int32_t *nodes;
    uint32_t n_nodes, room_nodes;
    uint32_t n_branches;
    uint8_t mode;
} work;

static void add_node(slm__schema *s, work *w, int32_t node) {
    if (node == 0) return;
    int32_t *more = slm__arena_room(&s->arena, w->nodes, &w->room_nodes, (uint64_t)w->n_nodes + 1,
                                    sizeof *more);
    if (!more) {
        slm__schema_no_memory(s);
        return;
    }
    w->nodes = more;
    more[w->n_nodes++] = node;
}

/* A list of its own with one more schema, which may be one that asks nothing. */
static slm__items with(slm__schema *s, const slm__items *items, slm__schema_value *v) {
    slm__items more = {0};
    more.list = slm__arena_take(&s->arena, (uint64_t)items->n + 1, sizeof *more.list);
    if (!more.list) {
        slm__schema_no_memory(s);
        return more;
    }
    more.room = items->n + 1;
    slm__item item = slm__number_of(s, v) * 2;
    for (uint32_t i = 0; i < items->n; i++) {
        if (more.n == i && items->list[i] >= item) more.list[more.n++] = item;
        if (items->list[i] != item) more.list[more.n++] = items->list[i];
    }
    if (more.n == 0 || more.list[more.n - 1] < item) more.list[more.n++] = item;
    return more;
}

/* Of an anyOf that holds already nothing is left to do. */
static bool resolved(slm__schema *s, const flat *f, slm__schema_value *alternatives) {
    for (slm__schema_value *a = alternatives->first; a && slm__schema_spend(s, 1); a = a->next)
        if (a->kind == JSON_TRUE || met(s, f, a)) return true;
    return false;
}

static bool one_resolved(slm__schema *s, const flat *f, slm__schema_value *alternatives) {
    for (slm__schema_value *a = alternatives->first; a && slm__schema_spend(s, 1); a = a->next)
        if (met(s, f, a)) return true;
    return false;
}

static slm__schema_value *next_split(slm__schema *s, const flat *f, bool *is_one) {
    for (uint32_t i = 0; i < f->b.n; i++) {
        slm__schema_value *any = slm__word(f->b.schemas[i], "anyOf");
        slm__schema_value *one = slm__word(f->b.schemas[i], "oneOf");
        *is_one = false;
        if (any && !resolved(s, f, any)) return any;
        *is_one = f->b.mode == MODE_MAKE;
        if (one && !(*is_one ? one_resolved(s, f, one) : resolved(s, f, one))) return one;
    }
    return NULL;
}

/* Types of what is made for an alternative. */
static uint32_t made_types(slm__schema *s, const slm__items *items) {
    flat f;
    bool is_one;
    flatten(s, &f, items, MODE_MAKE);
    if (f.dead) return 0;
    if (!next_split(s, &f, &is_one)) return f.b.types;
    flatten(s, &f, items, MODE_PROVE_ANY);
    return f.dead ? 0 : f.b.types;
}

static void prove_pair(slm__schema *s, const slm__items *items, slm__schema_value *one_of,
                       slm__schema_value *pair[2], const uint32_t place[2], uint32_t types) {
    slm__items both = with(s, items, pair[0]);
    if (slm__schema_ok(s)) both = with(s, &both, pair[1]);
    if (!slm__schema_ok(s) || types == 0 || slm__schema_hopeless(s, &both)) return;
    slm__proof *more = slm__arena_room(&s->arena, s->proofs, &s->room_proofs,
                                       (uint64_t)s->n_proofs + 1, sizeof *more);
    if (!more) {
        slm__schema_no_memory(s);
        return;
    }
    s->proofs = more;
    int32_t rule = slm__schema_rule(s, &both, (uint8_t)(MODE_PROVE | types << 1));
    s->proofs[s->n_proofs++] = (slm__proof){rule, one_of, place[0], place[1]};
}

/* No value that is made for one alternative may satisfy another one. */
static void prove_apart(slm__schema *s, const slm__items *items, slm__schema_value *one_of) {
    uint32_t *types = slm__arena_take(&s->arena, one_of->n, sizeof *types), n = 0;
    if (!types) {
        slm__schema_no_memory(s);
        return;
    }
    for (slm__schema_value *a = one_of->first; a && slm__schema_ok(s); a = a->next) {
        slm__items more = with(s, items, a);
        types[n++] = slm__schema_ok(s) ? made_types(s, &more) : 0;
    }
    uint32_t place[2] = {0, 0};
    for (slm__schema_value *a = one_of->first; a; a = a->next, place[0]++) {
        place[1] = place[0] + 1;
        for (slm__schema_value *b = a->next; b && slm__schema_ok(s); b = b->next, place[1]++)
            prove_pair(s, items, one_of, (slm__schema_value *[]){a, b}, place,
                       types[place[0]] | types[place[1]]);
    }
}

/* A conjunction that asks nothing but one anyOf or oneOf is a choice of the alternatives' own rules. */
static bool is_plain(const flat *f, slm__schema_value *split) {
    if (f->b.constant || f->n_enums) return false;
    if (f->b.mode != MODE_MAKE && f->b.types != TYPE_ANY) return false;
    for (uint32_t i = 0; i < f->b.n; i++) {
        slm__schema_value *schema = f->b.schemas[i];
        slm__schema_value *ref = slm__word(schema, "$ref"), *all = slm__word(schema, "allOf");
        bool mine = slm__word(schema, "anyOf") == split || slm__word(schema, "oneOf") == split;
        if (ref && all) return false;
        if (mine ? (ref || all || slm__schema_asks_more(schema, split))
                 : slm__schema_asks_more(schema, ref ? ref : all))
            return false;
    }
    return true;
}

static void split_up(slm__schema *s, work *w, const flat *f, const slm__items *items,
                     slm__schema_value *split, bool is_one) {
    bool plain = is_plain(f, split);
    if (is_one) prove_apart(s, items, split);
    /* the list is worked off from its end: turned around, so that the first alternative is the first */
    uint32_t begin = w->n;
    for (slm__schema_value *a = split->first; a && slm__schema_ok(s); a = a->next) {
        if (++w->n_branches > SLM__SCHEMA_BRANCHES) {
            slm__schema_fail(s, SLM_ERR_LIMIT, split, "more than %d combinations of alternatives",
                             SLM__SCHEMA_BRANCHES);
            return;
        }
        if (plain) {
            slm__items only = {0};
            slm__items_add(s, &only, a, false);
            add_node(s, w, slm__schema_ref(s, &only, w->mode));
            continue;
        }
        slm__items *more =
            slm__arena_room(&s->arena, w->list, &w->room, (uint64_t)w->n + 1, sizeof *more);
        if (!more) {
            slm__schema_no_memory(s);
            return;
        }
        w->list = more;
        w->list[w->n++] = with(s, items, a);
    }
    for (uint32_t i = begin, j = w->n; i + 1 < j; i++) {
        slm__items x = w->list[i];
        w->list[i] = w->list[--j];
        w->list[j] = x;
    }
}

static void finish_branch(slm__schema *s, work *w, flat *f) {
    if (!f->b.constant && !f->n_enums) {
        add_node(s, w, slm__schema_leaf(s, &f->b));
        return;
    }
    slm__schema_value *c = first_constant(s, f, NULL);
    if (!c && f->b.n)
        slm__schema_contradiction(s, f->b.schemas[0], SLM_ERR_FORMAT, "no constant is left");
    slm__branch b = f->b;
    for (uint32_t i = 0; i < b.n; i++) b.implied |= slm__schema_implied(b.schemas[i]);
    for (; c && slm__schema_ok(s); c = f->b.constant ? NULL : first_constant(s, f, c)) {
        b.constant = c;
        add_node(s, w, slm__schema_leaf(s, &b));
    }
}

int32_t slm__schema_node(slm__schema *s, const slm__items *items, uint8_t mode) {
    work w = {.mode = mode};
    w.list = slm__arena_room(&s->arena, NULL, &w.room, 1, sizeof *w.list);
    if (!w.list) return slm__schema_no_memory(s);
    w.list[w.n++] = *items;
    s->quiet = mode != MODE_MAKE;
    while (w.n && slm__schema_ok(s)) {
        slm__items one = w.list[--w.n];
        flat f;
        bool is_one;
        flatten(s, &f, &one, mode);
        if (f.dead) continue;
        slm__schema_value *split = next_split(s, &f, &is_one);
        if (split)
            split_up(s, &w, &f, &one, split, is_one);
        else
            finish_branch(s, &w, &f);
    }
    s->quiet = false;
    return slm__schema_ok(s) ? slm__draft_alt(&s->draft, w.nodes, w.n_nodes) : 0;
}
