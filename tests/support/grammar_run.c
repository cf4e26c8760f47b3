#include "grammar_run.h"

#include <stdlib.h>

#include "../../libslm/machine.h"

struct grammar_run {
    slm__machine m;
    slm__mark begin;
};

grammar_run *gr_new(const slm_grammar *g) {
    grammar_run *r = calloc(1, sizeof *r);
    if (!r || slm__machine_init(&r->m, g, &(slm_allocator){0}, NULL) != SLM_OK) abort();
    r->begin = slm__machine_mark(&r->m);
    return r;
}

bool gr_accepts(grammar_run *r, const char *text, size_t n) {
    slm__machine_release(&r->m, r->begin);
    uint32_t set = slm__machine_start(&r->m);
    for (size_t i = 0; i < n && set != SET_DEAD && set != SET_FAILED; i++)
        set = slm__machine_byte(&r->m, set, (uint8_t)text[i]);
    return set != SET_FAILED && r->m.sets.p[set].ends;
}

void gr_free(grammar_run *r) {
    slm__machine_free(&r->m);
    free(r);
}
