/* JSON Schema to grammar: the call, and the list of conjunctions that still need a rule. */
#include "schema_impl.h"

#include <stdarg.h>
#include <stdio.h>

enum { TABLE = 1 << 16 }; /* more than twice SLM__SCHEMA_RULES */

/* ---- Failures ---- */

int32_t slm__schema_fail(slm__schema *s, slm_status status, slm__schema_value *where,
                         const char *format, ...) {
    char what[260];
    if (s->status != SLM_OK) return 0;
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    s->status = slm__fail(s->err, status, "schema, %s: %s", slm__schema_path(s, where).text, what);
    return 0;
}

int32_t slm__schema_no_memory(slm__schema *s) {
    if (s->status != SLM_OK) return 0;
    if (s->arena.limited)
        s->status = slm__fail(s->err, SLM_ERR_LIMIT, "schema: its grammar takes more than %d MiB",
                              SLM__SCHEMA_MEMORY);
    else
        s->status = slm__fail(s->err, SLM_ERR_NOMEM, "no memory for a schema");
    return 0;
}

int32_t slm__schema_contradiction(slm__schema *s, slm__schema_value *where, slm_status status,
                                  const char *format, ...) {
    if (s->quiet || s->contradiction || s->status != SLM_OK) return 0;
    s->contradiction = where;
    s->contradiction_status = status;
    va_list args;
    va_start(args, format);
    vsnprintf(s->why, sizeof s->why, format, args);
    va_end(args);
    return 0;
}

void slm__schema_suspect(slm__schema *s, int32_t rule, slm__schema_value *where) {
    if (s->quiet) return;
    slm__suspect *list = slm__arena_room(&s->arena, s->suspects, &s->room_suspects,
                                         (uint64_t)s->n_suspects + 1, sizeof *list);
    if (!list) {
        slm__schema_no_memory(s);
        return;
    }
    s->suspects = list;
    list[s->n_suspects++] = (slm__suspect){rule, where};
}

/* ---- Conjunctions ---- */

/* A schema that only says what another one is. */
static slm__schema_value *behind_refs(slm__schema *s, slm__schema_value *v) {
    if (!slm__schema_check_cycles(s, v)) return NULL;
    for (slm__schema_value *ref; v->kind == JSON_OBJECT && (ref = slm__word(v, "$ref")) &&
                                 !slm__schema_asks_more(v, ref);) {
        v = slm__schema_resolve(s, v);
        if (!v || !slm__schema_check_cycles(s, v)) return NULL;
    }
    return v;
}

void slm__items_add(slm__schema *s, slm__items *items, slm__schema_value *value, bool constant) {
    if (!slm__schema_ok(s)) return;
    if (!constant) value = behind_refs(s, value);
    if (!value) return;
    if (!constant && (value->kind == JSON_TRUE || (value->kind == JSON_OBJECT && !value->n)))
        return;
    slm__item item = slm__number_of(s, value) * 2 + (constant ? SLM__CONSTANT : 0);
    uint32_t at = items->n;
    while (at > 0 && items->list[at - 1] > item) at--;
    if (!slm__schema_spend(s, 1 + (items->n - at) / 2)) return;
    if (at > 0 && items->list[at - 1] == item) return;
    slm__item *list =
        slm__arena_room(&s->arena, items->list, &items->room, (uint64_t)items->n + 1, sizeof *list);
    if (!list) {
        slm__schema_no_memory(s);
        return;
    }
    memmove(list + at + 1, list + at, (items->n - at) * sizeof *list);
    list[at] = item;
    items->list = list;
    items->n++;
}

static int32_t add_conjunction(slm__schema *s, const slm__conjunction *c) {
    if (s->n_conjunctions == SLM__SCHEMA_RULES)
        return slm__schema_fail(s, SLM_ERR_LIMIT, s->json.values,
                                "more than %d combinations of schemas", SLM__SCHEMA_RULES);
    slm__conjunction *list = slm__arena_room(&s->arena, s->conjunctions, &s->room_conjunctions,
                                             (uint64_t)s->n_conjunctions + 1, sizeof *list);
    if (!list) return slm__schema_no_memory(s);
    s->conjunctions = list;
    list[s->n_conjunctions] = *c;
    list[s->n_conjunctions].rule = slm__draft_rule_new(&s->draft);
    return list[s->n_conjunctions++].rule;
}

int32_t slm__schema_rule(slm__schema *s, slm__items *items, uint8_t mode) {
    if (!slm__schema_ok(s)) return 0;
    slm__conjunction c = {.items = *items, .mode = mode};
    c.hash = slm__hash(items->list, items->n * sizeof *items->list) * 31 + mode;
    uint32_t slot = c.hash & (TABLE - 1);
    for (; s->table[slot] && slm__schema_spend(s, 1); slot = (slot + 1) & (TABLE - 1)) {
        const slm__conjunction *known = &s->conjunctions[s->table[slot] - 1];
        if (known->hash == c.hash && known->mode == mode && known->items.n == items->n &&
            (items->n == 0 ||
             memcmp(known->items.list, items->list, items->n * sizeof *items->list) == 0))
            return known->rule;
    }
    if (!slm__schema_ok(s)) return 0;
    int32_t rule = add_conjunction(s, &c);
    s->table[slot] = s->n_conjunctions;
    return rule;
}

int32_t slm__schema_ref(slm__schema *s, slm__items *items, uint8_t mode) {
    int32_t rule = slm__schema_rule(s, items, mode);
    return slm__schema_ok(s) ? slm__draft_ref(&s->draft, rule) : 0;
}

/* ---- The whole ---- */

static void make_rules(slm__schema *s) {
    slm__items root = {0};
    slm__items_add(s, &root, s->json.values, false);
    slm__schema_rule(s, &root, MODE_MAKE);
    for (; s->n_done < s->n_conjunctions && slm__schema_ok(s); s->n_done++) {
        slm__conjunction c = s->conjunctions[s->n_done]; /* the list may move */
        int32_t node = slm__schema_node(s, &c.items, c.mode);
        slm__draft_define(&s->draft, c.rule, node);
    }
}

/* All proofs that oneOf needs have come out, and something fits. */
static void check_result(slm__schema *s) {
    int32_t root = slm__schema_ok(s) ? s->conjunctions[0].rule : 0;
    if (!slm__schema_ok(s) || !slm__draft_prune(&s->draft, root)) return;
    for (uint32_t i = 0; i < s->n_proofs; i++) {
        const slm__proof *p = &s->proofs[i];
        if (s->draft.rules[p->rule].fits)
            slm__schema_fail(s, SLM_ERR_UNSUPPORTED, p->one_of,
                             "alternatives %u and %u are not seen to exclude each other", p->a,
                             p->b);
    }
    if (s->draft.rules[root].fits || s->status != SLM_OK) return;
    for (uint32_t i = 0; i < s->n_suspects; i++)
        if (!s->draft.rules[s->suspects[i].rule].fits)
            slm__schema_contradiction(s, s->suspects[i].where, SLM_ERR_FORMAT, "no text fits");
    if (s->contradiction)
        slm__schema_fail(s, s->contradiction_status, s->contradiction,
                         "%s, so that nothing satisfies the schema", s->why);
    else
        slm__schema_fail(s, SLM_ERR_FORMAT, s->json.values,
                         "only values without an end satisfy the schema");
}

bool slm__schema_draft(slm__schema *s) {
    s->string_rule = -1;
    slm__draft_init(&s->draft, &s->arena);
    s->table = slm__arena_take(&s->arena, TABLE, sizeof *s->table);
    if (!s->table) slm__schema_no_memory(s);
    if (slm__schema_ok(s) && slm__schema_index(s)) {
        make_rules(s);
        check_result(s);
    }
    return slm__schema_ok(s);
}

slm_status slm__schema_begin(slm__schema *s, const char *json, size_t n_bytes,
                             const slm_schema_params *params, slm_error *err) {
    *s = (slm__schema){.open = params->open, .spacing = params->spacing, .err = err};
    s->work = SLM__SCHEMA_WORK;
    s->arena =
        (slm__arena){.allocator = &params->allocator, .limit = (uint64_t)SLM__SCHEMA_MEMORY << 20};
    return slm__json_parse(&params->allocator, json, n_bytes, &s->json, err);
}

void slm__schema_end(slm__schema *s) {
    slm__arena_free(&s->arena);
    slm__json_free(&s->json);
}

static slm_status build(slm__schema *s, const slm_allocator *a, slm_grammar **out, slm_error *err) {
    slm__rules *rules;
    int32_t root;
    SLM_TRY(slm__rules_create(a, &rules, err));
    slm_status status = slm__draft_build(&s->draft, s->conjunctions[0].rule, rules, &root, err);
    if (status == SLM_OK) status = slm__grammar_compile(rules, root, out, err);
    slm__rules_free(rules);
    return status;
}

slm_schema_params slm_schema_defaults(void) {
    return (slm_schema_params){.size = sizeof(slm_schema_params)};
}

static slm_status check_params(const slm_schema_params *p, slm_error *err) {
    if (p->size != sizeof *p)
        return slm__fail(err, SLM_ERR_ARGUMENT, "slm_schema_params.size is %zu, expected %zu",
                         p->size, sizeof *p);
    SLM_TRY(slm__check_allocator(&p->allocator, err));
    return slm__check_range("slm_schema_params.spacing", (int64_t)p->spacing, SLM_SPACING_PYTHON,
                            SLM_SPACING_FREE, err);
}

slm_status slm_grammar_from_schema(const char *json, size_t n_bytes,
                                   const slm_schema_params *params, slm_grammar **out,
                                   slm_error *err) {
    slm__clear(err);
    if (!out) return slm__fail(err, SLM_ERR_ARGUMENT, "out is NULL");
    *out = NULL;
    if (!json && n_bytes) return slm__fail(err, SLM_ERR_ARGUMENT, "json is NULL");
    slm_schema_params p = slm_schema_defaults();
    if (params) p = *params;
    SLM_TRY(check_params(&p, err));
    slm__schema s;
    SLM_TRY(slm__schema_begin(&s, json, n_bytes, &p, err));
    slm_status status = slm__schema_draft(&s) ? build(&s, &p.allocator, out, err) : s.status;
    slm__schema_end(&s);
    return status;
}
