/* Numbers found by a hash, and the work that a schema may take. */
#include "schema_impl.h"

bool slm__schema_spend(slm__schema *s, uint64_t n) {
    if (s->status != SLM_OK) return false;
    if (n <= s->work) {
        s->work -= n;
        return true;
    }
    slm__schema_fail(s, SLM_ERR_LIMIT, s->json.values, "it takes more than %d steps",
                     SLM__SCHEMA_WORK);
    return false;
}

/* The slot at which a hash is looked for first. */
static uint32_t home(const slm__lookup *l, uint32_t hash) {
    return (hash * 0x9e3779b1u ^ hash >> 15) & (l->room - 1);
}

static bool put(slm__schema *s, slm__lookup *l, slm__found found) {
    uint32_t slot = home(l, found.hash), tried = 1;
    for (; l->slots[slot].number != 0; tried++) slot = (slot + 1) & (l->room - 1);
    l->slots[slot] = found;
    return slm__schema_spend(s, tried);
}

/* Twice the room, at least 16. */
static bool grow(slm__schema *s, slm__lookup *l) {
    slm__lookup more = {.n = l->n, .room = l->room ? 2 * l->room : 16};
    more.slots = slm__arena_take(&s->arena, more.room, sizeof *more.slots);
    if (!more.slots) return slm__schema_no_memory(s) != 0;
    for (uint32_t i = 0; i < l->room; i++)
        if (l->slots[i].number != 0 && !put(s, &more, l->slots[i])) return false;
    *l = more;
    return true;
}

bool slm__lookup_add(slm__schema *s, slm__lookup *l, uint32_t hash, uint32_t number) {
    if (2 * (l->n + 1) > l->room && !grow(s, l)) return false;
    l->n++;
    return put(s, l, (slm__found){hash, number + 1});
}

bool slm__lookup_next(slm__schema *s, const slm__lookup *l, uint32_t hash, slm__finding *f) {
    while (l->room > 0 && slm__schema_spend(s, 1)) {
        const slm__found *x = &l->slots[(home(l, hash) + f->tried++) & (l->room - 1)];
        if (x->number == 0) return false;
        f->number = x->number - 1;
        if (x->hash == hash) return true;
    }
    return false;
}
