/* A mixture is a type and exceptions from it. Some tensors harm a model more than others when their weights are coarse, and
 * those of the first and the last layers more than those between; the exceptions give them more bits.
 *
 * The names, their numbers in general.file_type and the exceptions are those of llama.cpp, so that a name means the same size
 * there and here. */
#include "mixture.h"

#include <stdio.h>

/* ---- The table ---- */

typedef enum part { OTHER, EMBEDDING, OUTPUT, ATTN_V, ATTN_OUTPUT, FFN_DOWN } part;

/* Which layers of n: all; the first 2 or 4; the first n/16 or n/8; the first and the last eighth and each third between; all,
 * if at least 4 heads share keys and values. */
typedef enum where { ALL, FIRST_2, FIRST_4, SIXTEENTH, EIGHTH, ENDS_AND_THIRDS, GROUPED } where;

/* Whatever is known of the importance of columns, or only with or without such. */
typedef enum when { ALWAYS, WITH_IMPORTANCE, WITHOUT } when;

typedef struct exception {
    part part; /* OTHER ends the list */
    where where;
    slm_type type;
    when when;
} exception;

struct slm__mixture {
    const char *name, *alias;
    uint32_t file_type;
    slm_type type;
    const exception *exceptions; /* or NULL; the first that holds counts */
};

/* clang-format off */
static const exception k_m[] = {
    {ATTN_V, ENDS_AND_THIRDS, SLM_Q6_K, ALWAYS},
    {FFN_DOWN, ENDS_AND_THIRDS, SLM_Q6_K, ALWAYS},
    {0}};
static const exception q4_k_s[] = {
    {ATTN_V, FIRST_4, SLM_Q5_K, ALWAYS},
    {FFN_DOWN, EIGHTH, SLM_Q5_K, ALWAYS},
    {0}};
static const exception iq4[] = {
    {ATTN_V, GROUPED, SLM_Q5_K, ALWAYS},
    {FFN_DOWN, EIGHTH, SLM_Q5_K, WITHOUT},
    {0}};
static const exception q5_0[] = {
    {FFN_DOWN, EIGHTH, SLM_Q5_1, WITH_IMPORTANCE},
    {0}};
static const exception q4_0[] = {
    {FFN_DOWN, EIGHTH, SLM_Q4_1, WITH_IMPORTANCE},
    {0}};
static const exception q3_k_l[] = {
    {ATTN_V, ALL, SLM_Q5_K, ALWAYS},
    {ATTN_OUTPUT, ALL, SLM_Q5_K, ALWAYS},
    {FFN_DOWN, ALL, SLM_Q5_K, ALWAYS},
    {0}};
static const exception q3_k_m[] = {
    {ATTN_V, FIRST_2, SLM_Q5_K, ALWAYS},
    {ATTN_V, ALL, SLM_Q4_K, ALWAYS},
    {ATTN_OUTPUT, ALL, SLM_Q4_K, ALWAYS},
    {FFN_DOWN, SIXTEENTH, SLM_Q5_K, ALWAYS},
    {FFN_DOWN, ALL, SLM_Q4_K, ALWAYS},
    {0}};
static const exception q2_k[] = {
    {ATTN_V, GROUPED, SLM_Q4_K, ALWAYS},
    {ATTN_V, ALL, SLM_Q3_K, ALWAYS},
    {ATTN_OUTPUT, ALL, SLM_Q3_K, ALWAYS},
    {FFN_DOWN, ALL, SLM_Q3_K, ALWAYS},
    {0}};

/* From large to small. */
static const slm__mixture mixtures[] = {
    {"F32",    NULL,    0, SLM_F32,    NULL},
    {"F16",    NULL,    1, SLM_F16,    NULL},
    {"BF16",   NULL,   32, SLM_BF16,   NULL},
    {"Q8_0",   NULL,    7, SLM_Q8_0,   NULL},
    {"Q6_K",   NULL,   18, SLM_Q6_K,   NULL},
    {"Q5_1",   NULL,    9, SLM_Q5_1,   NULL},
    {"Q5_K_M", "Q5_K", 17, SLM_Q5_K,   k_m},
    {"Q5_K_S", NULL,   16, SLM_Q5_K,   NULL},
    {"Q5_0",   NULL,    8, SLM_Q5_0,   q5_0},
    {"Q4_1",   NULL,    3, SLM_Q4_1,   NULL},
    {"Q4_K_M", "Q4_K", 15, SLM_Q4_K,   k_m},
    {"Q4_K_S", NULL,   14, SLM_Q4_K,   q4_k_s},
    {"Q4_0",   NULL,    2, SLM_Q4_0,   q4_0},
    {"IQ4_NL", NULL,   25, SLM_IQ4_NL, iq4},
    {"IQ4_XS", NULL,   30, SLM_IQ4_XS, iq4},
    {"MXFP4",  NULL,   38, SLM_MXFP4,  NULL},
    {"Q3_K_L", NULL,   13, SLM_Q3_K,   q3_k_l},
    {"Q3_K_M", "Q3_K", 12, SLM_Q3_K,   q3_k_m},
    {"Q3_K_S", NULL,   11, SLM_Q3_K,   NULL},
    {"Q2_K",   NULL,   10, SLM_Q2_K,   q2_k},
};
/* clang-format on */

/* Of blocks of 256: the type with blocks of 32 that takes its place where rows do not divide. */
static const slm_type smaller_blocks[SLM_N_TYPES] = {
    [SLM_Q2_K] = SLM_IQ4_NL, [SLM_Q3_K] = SLM_IQ4_NL, [SLM_IQ4_XS] = SLM_IQ4_NL,
    [SLM_Q4_K] = SLM_Q5_0,   [SLM_Q5_K] = SLM_Q5_1,   [SLM_Q6_K] = SLM_Q8_0,
};

/* ---- Names ---- */

static int lower(char c) { return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c; }

static bool same_name(const char *a, const char *b) {
    while (*a && lower(*a) == lower(*b)) a++, b++;
    return lower(*a) == lower(*b);
}

const slm__mixture *slm__mixture_at(int32_t index) {
    return index >= 0 && (size_t)index < SLM_COUNT(mixtures) ? &mixtures[index] : NULL;
}

const slm__mixture *slm__mixture_find(const char *name) {
    for (size_t i = 0; i < SLM_COUNT(mixtures); i++) {
        const slm__mixture *m = &mixtures[i];
        if (same_name(m->name, name) || (m->alias && same_name(m->alias, name))) return m;
    }
    return NULL;
}

const char *slm__mixture_name(const slm__mixture *m) { return m->name; }
uint32_t slm__mixture_file_type(const slm__mixture *m) { return m->file_type; }

bool slm__type_find(const char *name, slm_type *out) {
    for (int i = 0; i < SLM_N_TYPES; i++) {
        if (!same_name(slm__type_info[i].name, name)) continue;
        *out = (slm_type)i;
        return true;
    }
    return false;
}

/* ---- Tensors by name ---- */

static bool contains(slm__str s, const char *word) {
    return memmem(s.ptr, s.len, word, strlen(word)) != NULL;
}

static bool ends_with(slm__str s, const char *end) {
    size_t n = strlen(end);
    return s.len >= n && memcmp(s.ptr + s.len - n, end, n) == 0;
}

static bool divides(slm_type type, int64_t row) {
    return row % slm__type_info[type].block_weights == 0;
}

slm_type slm__type_that_fits(slm_type type, int64_t row) {
    if (!divides(type, row) && slm__type_info[type].block_weights > 32) type = smaller_blocks[type];
    return divides(type, row) ? type : SLM_F16;
}

bool slm__is_quantizable(const slm__tensor *t) {
    /* norms of several rows, routers, positions and token types, convolutions, relative positions, and of Gemma 3n what
     * mixes its streams */
    static const char *const kept[] = {
        "_norm.weight", "ffn_gate_inp.weight",   "position_embd.weight", "token_types.weight",
        "ssm_conv1d",   "shortconv.conv.weight", "attn_rel_b.weight",    "altup",
        "laurel",       "per_layer_model_proj"};
    if (t->dims[1] * t->dims[2] * t->dims[3] == 1 || !ends_with(t->name, "weight")) return false;
    for (size_t i = 0; i < SLM_COUNT(kept); i++)
        if (contains(t->name, kept[i])) return false;
    return true;
}

static part part_of(slm__str name) {
    static const struct {
        const char *word;
        part part;
    } parts[] = {{"attn_v.weight", ATTN_V},    {"attn_qkv.weight", ATTN_V},
                 {"attn_kv_b.weight", ATTN_V}, {"attn_output.weight", ATTN_OUTPUT},
                 {"ffn_down", FFN_DOWN},       {NULL, OTHER}};
    if (slm__str_eq(name, "output.weight")) return OUTPUT;
    if (slm__str_eq(name, "token_embd.weight") || slm__str_eq(name, "per_layer_token_embd.weight"))
        return EMBEDDING;
    size_t i = 0;
    while (parts[i].word && !contains(name, parts[i].word)) i++;
    return parts[i].part;
}

enum { MAX_LAYERS = 4096 };

/* Of "blk.12.attn_v.weight": 12; 0 where a name has no layer. */
static int32_t layer_of(slm__str name) {
    int32_t layer = 0;
    if (name.len < 4 || memcmp(name.ptr, "blk.", 4) != 0) return 0;
    for (size_t i = 4; i < name.len && name.ptr[i] >= '0' && name.ptr[i] <= '9'; i++) {
        layer = layer * 10 + (name.ptr[i] - '0');
        if (layer >= MAX_LAYERS) return MAX_LAYERS - 1;
    }
    return layer;
}

/* ---- Choosing ---- */

typedef struct layers {
    int32_t n;                             /* of the model                             */
    int32_t n_attn_v;                      /* tensors of that part                     */
    int32_t attn_v_before[MAX_LAYERS + 1]; /* of those, in layers below            */
    bool grouped;                          /* 4 heads or more for each of K and V      */
    bool importance;                       /* that of columns is known                 */
    bool tied;                             /* no output matrix: it is the embedding    */
} layers;

/* An integer, or the first of an array of them; 0: there is none. */
static int64_t first_integer(const slm__gguf *g, const char *arch, const char *key) {
    char name[128];
    snprintf(name, sizeof name, "%s.%s", arch, key);
    const slm__key *k = slm__gguf_key(g, name);
    bool fits = k && k->n > 0 && (k->type == GGUF_U32 || k->type == GGUF_I32);
    return fits ? slm__read_i32(k->data) : 0;
}

static void look_at_layers(const slm__gguf *g, const char *arch, layers *l) {
    int64_t n_head = first_integer(g, arch, "attention.head_count");
    int64_t n_head_kv = first_integer(g, arch, "attention.head_count_kv");
    int64_t n_layer = first_integer(g, arch, "block_count");
    l->tied = true;
    l->grouped = n_head_kv > 0 && n_head / n_head_kv >= 4;
    for (int32_t i = 0; i < g->n_tensors; i++) {
        part p = part_of(g->tensors[i].name);
        int32_t layer = layer_of(g->tensors[i].name);
        l->n = layer >= l->n ? layer + 1 : l->n;
        l->tied = l->tied && p != OUTPUT;
        if (p == ATTN_V) l->attn_v_before[layer + 1]++;
    }
    for (int32_t i = 0; i < MAX_LAYERS; i++) l->attn_v_before[i + 1] += l->attn_v_before[i];
    l->n_attn_v = l->attn_v_before[MAX_LAYERS];
    if (n_layer > 0 && n_layer <= MAX_LAYERS) l->n = (int32_t)n_layer;
}

static bool holds(where w, int32_t i, int32_t n, bool grouped) {
    switch (w) {
    case FIRST_2: return i < 2;
    case FIRST_4: return i < 4;
    case SIXTEENTH: return i < n / 16;
    case EIGHTH: return i < n / 8;
    case ENDS_AND_THIRDS: return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
    case GROUPED: return grouped;
    default: return true;
    }
}

static slm_type choose(const slm__mixture *m, const slm__tensor *t, const layers *l) {
    part p = part_of(t->name);
    if (slm__type_info[m->type].block_weights == 1) return m->type;
    if (p == OUTPUT || (p == EMBEDDING && l->tied))
        return m->type == SLM_Q8_0 || m->type == SLM_MXFP4 || !divides(m->type, t->dims[0])
                   ? SLM_Q8_0
                   : SLM_Q6_K;
    int32_t layer = layer_of(t->name);
    int32_t i = p == ATTN_V ? l->attn_v_before[layer] : layer, n = p == ATTN_V ? l->n_attn_v : l->n;
    for (const exception *e = m->exceptions; e && e->part != OTHER; e++)
        if (e->part == p && holds(e->where, i, n, l->grouped) &&
            e->when != (l->importance ? WITHOUT : WITH_IMPORTANCE))
            return e->type;
    return m->type;
}

slm_status slm__mixture_choose(const slm__mixture *m, const slm__gguf *g, const char *arch,
                               bool importance, const slm_allocator *allocator, slm_type *types,
                               slm_error *err) {
    layers *l = slm__alloc(allocator, sizeof *l);
    if (!l) return slm__fail(err, SLM_ERR_NOMEM, "no memory to choose types");
    look_at_layers(g, arch, l);
    l->importance = importance;
    for (int32_t i = 0; i < g->n_tensors; i++) {
        const slm__tensor *t = &g->tensors[i];
        types[i] = slm__is_quantizable(t) ? choose(m, t, l) : t->type;
    }
    slm__free(allocator, l);
    return SLM_OK;
}
