/* The reader of JSON: any bytes are a tree or an error with a place, whatever memory there is. */
#include "../../libslm/json.h"
#include "fuzz.h"

/* Values below v, itself included, by the lists of children. */
static size_t count(const slm__json_value *v, int depth) {
    size_t n = 1, children = 0;
    require(depth <= SLM__JSON_DEPTH);
    for (const slm__json_value *c = v->first; c; c = c->next, children++) n += count(c, depth + 1);
    require(children == v->n && (!v->n || v->kind == JSON_ARRAY || v->kind == JSON_OBJECT));
    int64_t number;
    require(!slm__json_int(v, &number) || v->kind == JSON_NUMBER);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    fuzz_memory memory = {.left = SIZE_MAX / 2, .calls_left = UINT32_MAX};
    slm_allocator a = fuzz_allocator(&memory);
    char *text = fuzz_copy(data, n);
    slm__json json;
    slm_error err = {0};
    slm_status s = slm__json_parse(&a, text, n, &json, &err);
    fuzz_error(s, &err);
    require(s == SLM_OK || s == SLM_ERR_FORMAT || s == SLM_ERR_LIMIT);
    if (s == SLM_OK) {
        require(count(json.values, 0) <= n);
        slm__json_free(&json);
    }
    memory.calls_left = fuzz_choice(data, n) % 4;
    slm_error again = {0};
    slm_status t = slm__json_parse(&a, text, n, &json, &again);
    require(t == s || t == SLM_ERR_NOMEM);
    if (t == SLM_OK) slm__json_free(&json);
    require(memory.n_live == 0);
    free(text);
    return 0;
}
