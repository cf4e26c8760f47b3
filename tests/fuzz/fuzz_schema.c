/* A schema of any bytes becomes a grammar or an error with a place, whatever memory there is. Texts of the grammar are JSON, and the engine agrees
 * that they fit. The first byte chooses spacing and openness. */
#include "../../libslm/schema_impl.h"
#include "../support/draft_walk.c"
#include "../support/grammar_run.c"
#include "fuzz.h"

static void check_texts(const slm__schema *s, const slm_grammar *g, const slm_allocator *a,
                        uint32_t seed) {
    grammar_run *r = gr_new(g);
    dw_text t = {0};
    for (uint32_t i = 0; i < 3; i++) {
        dw_generate(&s->draft, s->conjunctions[0].rule, seed + i, 40 * i, &t);
        if (t.n > 20000) break;
        require(gr_accepts(r, t.bytes, t.n));
        slm__json json;
        slm_error err;
        slm_status status = slm__json_parse(a, t.n ? t.bytes : "", t.n, &json, &err);
        /* additional properties may come twice; schemas may be as deep as JSON is */
        require(status == SLM_OK || status == SLM_ERR_LIMIT || strstr(err.message, "twice"));
        if (status == SLM_OK) slm__json_free(&json);
    }
    free(t.bytes);
    gr_free(r);
}

static bool is_expected(slm_status s) {
    return s == SLM_OK || s == SLM_ERR_FORMAT || s == SLM_ERR_RANGE || s == SLM_ERR_UNSUPPORTED ||
           s == SLM_ERR_LIMIT;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0) return 0;
    fuzz_memory memory = {.left = SIZE_MAX / 2, .calls_left = UINT32_MAX};
    slm_schema_params p = slm_schema_defaults();
    p.allocator = fuzz_allocator(&memory);
    p.spacing = (slm_spacing)(data[0] % 3);
    p.open = data[0] & 4;
    char *text = fuzz_copy(data + 1, n - 1);
    slm_grammar *g = NULL;
    slm_error err = {0};
    slm_status status = slm_grammar_from_schema(text, n - 1, &p, &g, &err);
    fuzz_error(status, &err);
    require(is_expected(status) && (g != NULL) == (status == SLM_OK));
    if (status == SLM_OK) {
        slm__schema s;
        require(slm__schema_begin(&s, text, n - 1, &p, &err) == SLM_OK);
        require(slm__schema_draft(&s));
        if (s.draft.n_nodes < 3000) check_texts(&s, g, &p.allocator, fuzz_choice(data, n));
        slm__schema_end(&s);
    }
    slm_grammar_free(g);
    require(memory.n_live == 0);
    memory.calls_left = fuzz_choice(data, n) % 60;
    slm_status again = slm_grammar_from_schema(text, n - 1, &p, &g, &err);
    fuzz_error(again, &err);
    require(again == status || again == SLM_ERR_NOMEM);
    slm_grammar_free(g);
    require(memory.n_live == 0);
    free(text);
    return 0;
}
