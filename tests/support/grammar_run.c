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

/* The set after a token, where places read it whole and where they read its bytes. */
static uint32_t after_token(grammar_run *r, uint32_t set, uint32_t id, const char *text, size_t n) {
    const slm_grammar *g = r->m.grammar;
    bool *symbols = calloc(g->tokens.n + 1, sizeof *symbols);
    if (!symbols) abort();
    for (uint32_t i = 0; i < g->tokens.n; i++)
        symbols[i] = (g->tokens.p[i].id == id) != g->tokens.p[i].negated;
    uint32_t whole = slm__machine_token(&r->m, set, symbols);
    if (n == 0) set = SET_DEAD;
    for (size_t i = 0; i < n && set != SET_DEAD && set != SET_FAILED; i++)
        set = slm__machine_byte(&r->m, set, (uint8_t)text[i]);
    free(symbols);
    return whole == SET_FAILED || set == SET_FAILED ? SET_FAILED
                                                    : slm__machine_join(&r->m, whole, set);
}

bool gr_accepts_tokens(grammar_run *r, const char *text, size_t n) {
    slm__machine_release(&r->m, r->begin);
    uint32_t set = slm__machine_start(&r->m);
    for (size_t i = 0, size; i < n && set != SET_DEAD && set != SET_FAILED; i += size) {
        const uint8_t *at = (const uint8_t *)text + i;
        bool named = *at == 0xff && i + 5 <= n;
        size = named ? 5 : *at < 0xc0 ? 1 : *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : 4;
        if (size > n - i) size = n - i;
        uint32_t id = named ? (uint32_t)at[1] << 24 | at[2] << 16 | at[3] << 8 | at[4] : 0;
        set = after_token(r, set, id, text + i, named ? 0 : size);
    }
    return set != SET_FAILED && r->m.sets.p[set].ends;
}

void gr_free(grammar_run *r) {
    slm__machine_free(&r->m);
    free(r);
}
