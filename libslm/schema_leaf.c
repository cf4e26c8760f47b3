/* A branch, type by type; separators. */
#include "schema_impl.h"

int32_t slm__separator_node(slm__schema *s, slm__separator mark) {
    static const char *const texts[][4] = {
        [SLM_SPACING_PYTHON] = {", ", ": ", "", ""},
        [SLM_SPACING_COMPACT] = {",", ":", "", ""},
        [SLM_SPACING_FREE] = {",", ":", "", ""},
    };
    static const slm__range space[] = {{'\t', '\n'}, {'\r', '\r'}, {' ', ' '}};
    enum { MOST = 20 }; /* a model that likes spaces comes to an end */
    slm__draft *d = &s->draft;
    int32_t text = slm__text_node(s, texts[s->spacing][mark]);
    if (s->spacing != SLM_SPACING_FREE) return text;
    int32_t behind = slm__draft_repeat(d, slm__draft_class(d, space, SLM_COUNT(space)), 0, MOST);
    if (mark == MARK_OPEN || mark == MARK_CLOSE) return behind;
    int32_t before = slm__draft_repeat(d, slm__draft_class(d, space, SLM_COUNT(space)), 0, MOST);
    return slm__draft_seq(d, (int32_t[]){before, text, behind}, 3);
}

static int32_t constant_node(slm__schema *s, slm__branch *b) {
    uint32_t type = slm__value_type(b->constant);
    if (!(type & b->types)) return 0;
    if ((type & (TYPE_NULL | TYPE_BOOLEAN)) || !(type & b->implied))
        return slm__value_node(s, b->constant);
    if (!slm__schema_spend(s, 8 * (uint64_t)b->n)) return 0;
    if (type == TYPE_STRING) return slm__schema_string(s, b);
    if (type == TYPE_ARRAY) return slm__schema_array(s, b);
    return type == TYPE_OBJECT ? slm__schema_object(s, b) : slm__schema_number(s, b);
}

int32_t slm__schema_leaf(slm__schema *s, slm__branch *b) {
    int32_t nodes[8];
    size_t n = 0;
    if (b->constant) return constant_node(s, b);
    if (b->types & TYPE_OBJECT) nodes[n++] = slm__schema_object(s, b);
    if (b->types & TYPE_ARRAY) nodes[n++] = slm__schema_array(s, b);
    if (b->types & TYPE_STRING) nodes[n++] = slm__schema_string(s, b);
    if (b->types & TYPE_NUMBER) nodes[n++] = slm__schema_number(s, b);
    if (b->types & TYPE_BOOLEAN) {
        nodes[n++] = slm__text_node(s, "true");
        nodes[n++] = slm__text_node(s, "false");
    }
    if (b->types & TYPE_NULL) nodes[n++] = slm__text_node(s, "null");
    return slm__schema_ok(s) ? slm__draft_alt(&s->draft, nodes, n) : 0;
}
