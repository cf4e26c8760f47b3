/*
 * SentencePiece's unigram model (Kudo 2018, arXiv:1804.10959): each piece has the logarithm of a probability, and of all ways to cut
 * a text into pieces that with the greatest sum is taken (Viterbi 1967), from left to right: the best way to the end of each
 * character, and its last piece. A character that is no piece is the unknown token, at a price.
 *
 * Before that the text is normalized: the file's map replaces the longest texts that it has, spaces are put in front or made one.
 *
 * Sums are doubles, added in the order of the text, as the reference has them: of ways whose sums are nearly equal the same wins.
 */
#include "tok_ugm.h"

#include <float.h>
#include <math.h>

enum {
    MAX_PIECE = 1024,    /* bytes; published ones have up to 48. It bounds the time of a text */
    MAX_NODES = 1 << 24, /* 24 bits of an edge */
    FIRST_BITS = 14,     /* of the table of edges, which grows */
    MAX_TEXT = 1 << 28
};
static const float UNKNOWN_PRICE = 10; /* below the least score */

/* ---- The trie of pieces ---- */

static uint32_t edge_slot(const slm__ugm_trie *t, uint32_t from) {
    return (uint32_t)(from * 0x9e3779b97f4a7c15u >> t->shift);
}

/* The slot of an edge, or where it would be. `from` is node << 8 | byte. */
static uint64_t *find_edge(const slm__ugm_trie *t, uint32_t from) {
    uint32_t i = edge_slot(t, from);
    while (t->edges[i] != 0 && t->edges[i] >> 32 != from) i = (i + 1) & t->mask;
    return &t->edges[i];
}

/* The next node, or 0, which is the root. */
static inline uint32_t step(const slm__ugm_trie *t, uint32_t node, uint8_t byte) {
    return (uint32_t)*find_edge(t, node << 8 | byte);
}

static bool grow(slm__ugm_trie *t, const slm_allocator *allocator) {
    slm__ugm_trie bigger = *t;
    bigger.mask = t->mask * 2 + 1;
    bigger.shift = t->shift - 1;
    bigger.edges = slm__alloc_array(allocator, (uint64_t)bigger.mask + 1, sizeof *bigger.edges);
    if (!bigger.edges) return false;
    for (uint32_t i = 0; i <= t->mask && t->n_edges > 0; i++)
        if (t->edges[i]) *find_edge(&bigger, (uint32_t)(t->edges[i] >> 32)) = t->edges[i];
    slm__free(allocator, t->edges);
    *t = bigger;
    return true;
}

static bool add_piece(slm__ugm_trie *t, slm__str text, slm_token token,
                      const slm_allocator *allocator) {
    uint32_t node = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (t->n_edges >= t->mask / 2 && !grow(t, allocator)) return false;
        uint32_t from = node << 8 | (uint8_t)text.ptr[i];
        uint64_t *edge = find_edge(t, from);
        if (*edge == 0) {
            *edge = (uint64_t)from << 32 | t->n_nodes;
            t->tokens[t->n_nodes++] = SLM_TOKEN_NONE;
            t->n_edges++;
        }
        node = (uint32_t)*edge;
    }
    if (t->tokens[node] == SLM_TOKEN_NONE) t->tokens[node] = token; /* of equal ones the lowest */
    return true;
}

static bool is_text(const slm__ugm *m, slm_token t) {
    return !(m->attributes[t] & (SLM_TOKEN_CONTROL | SLM_TOKEN_UNKNOWN | SLM_TOKEN_BYTE));
}

static slm_status load_trie(slm__ugm *m, const slm_allocator *allocator, slm_error *err) {
    slm__ugm_trie *t = &m->trie;
    uint64_t n_bytes = 1;
    for (slm_token k = 0; k < m->tokens->n; k++) {
        size_t len = slm__tokens_text(m->tokens, k).len;
        if (!is_text(m, k)) continue;
        if (len > MAX_PIECE)
            return slm__fail(err, SLM_ERR_LIMIT,
                             "tokenizer.ggml.tokens: piece %d has %zu bytes, at most %d", k, len,
                             MAX_PIECE);
        n_bytes += len;
    }
    if (n_bytes > MAX_NODES)
        return slm__fail(err, SLM_ERR_LIMIT, "tokenizer.ggml.tokens: pieces of %llu bytes",
                         (unsigned long long)n_bytes);
    t->mask = (1u << FIRST_BITS) - 1;
    t->shift = 64 - FIRST_BITS;
    t->edges = slm__alloc_array(allocator, (uint64_t)t->mask + 1, sizeof *t->edges);
    t->tokens = slm__alloc_array(allocator, n_bytes, sizeof *t->tokens);
    bool ok = t->edges && t->tokens;
    if (ok) t->tokens[t->n_nodes++] = SLM_TOKEN_NONE;
    for (slm_token k = 0; k < m->tokens->n && ok; k++) {
        slm__str text = slm__tokens_text(m->tokens, k);
        /* a raw one has a space of its own, where texts have U+2581 */
        if (is_text(m, k) && !slm__tokens_is_raw(m->tokens, k))
            ok = add_piece(t, text, k, allocator);
    }
    return ok ? SLM_OK : slm__fail(err, SLM_ERR_NOMEM, "no memory for %d pieces", m->tokens->n);
}

static float score_of(const slm__ugm *m, slm_token t) {
    return m->scores ? slm__read_f32(m->scores + 4 * (size_t)t) : 0;
}

static slm_status load_scores(slm__ugm *m, const slm__gguf *g, slm_error *err) {
    const slm__key *scores;
    SLM_TRY(slm__gguf_array(g, "tokenizer.ggml.scores", GGUF_F32, &scores, err));
    m->scores = scores ? scores->data : NULL;
    float least = FLT_MAX;
    for (slm_token t = 0; t < m->tokens->n; t++) {
        float score = score_of(m, t);
        if (!isfinite(score))
            return slm__fail(err, SLM_ERR_FORMAT,
                             "tokenizer.ggml.scores: that of token %d is no number", t);
        if (m->attributes[t] == 0 && score < least) least = score;
    }
    m->unknown_score = least - UNKNOWN_PRICE;
    return SLM_OK;
}

/* ---- The map of characters ---- */

/*
 * A unit of the double array: label in bits 0 to 7, and 31 (a text, whose place is in the other bits); bit 8: a text ends
 * here; where its children begin in bits 10 to 30, times 256 if bit 9 is set.
 */
enum { LABEL = 0xff, IS_TEXT = 1u << 31, HAS_TEXT = 1u << 8 };

static uint32_t unit_at(const slm__charsmap *c, uint32_t i) {
    return (uint32_t)slm__read_i32(c->units + 4 * (size_t)i);
}

static uint32_t children_of(uint32_t unit) { return unit >> 10 << ((unit & 1u << 9) >> 6); }

/* Every text that a unit leads to is one. (Children beyond the end are found missing when they are looked for.) */
static slm_status check_units(const slm__charsmap *c, slm_error *err) {
    for (uint32_t i = 0; i < c->n_units; i++) {
        uint32_t unit = unit_at(c, i);
        if (unit & IS_TEXT || !(unit & HAS_TEXT)) continue;
        uint32_t leaf = i ^ children_of(unit);
        if (leaf >= c->n_units || (unit_at(c, leaf) & ~IS_TEXT) >= c->n_texts)
            return slm__fail(
                err, SLM_ERR_FORMAT,
                "key tokenizer.ggml.precompiled_charsmap: unit %u of %u leads to no text", i,
                c->n_units);
    }
    return SLM_OK;
}

static slm_status load_charsmap(slm__charsmap *c, const slm__gguf *g, slm_error *err) {
    static const char name[] = "tokenizer.ggml.precompiled_charsmap";
    const slm__key *key = slm__gguf_key(g, name);
    if (!key) return SLM_OK;
    slm_status s = slm__gguf_array(g, name, GGUF_U8, &key, err);
    if (s == SLM_ERR_TYPE) s = slm__gguf_array(g, name, GGUF_I8, &key, err);
    SLM_TRY(s);
    uint64_t n_units = key->n < 4 ? 0 : (uint32_t)slm__read_i32(key->data);
    if (n_units == 0 || n_units % 4 != 0 || n_units + 4 >= key->n || key->data[key->n - 1] != 0)
        return slm__fail(err, SLM_ERR_FORMAT,
                         "key %s: %llu bytes, %llu of them units of 4, and no text that ends", name,
                         (unsigned long long)key->n, (unsigned long long)n_units);
    if (key->n > INT32_MAX)
        return slm__fail(err, SLM_ERR_LIMIT, "key %s: %llu bytes", name,
                         (unsigned long long)key->n);
    c->units = key->data + 4;
    c->n_units = (uint32_t)n_units / 4;
    c->texts = (const char *)key->data + 4 + n_units;
    c->n_texts = (uint32_t)(key->n - 4 - n_units);
    return check_units(c, err);
}

/* The replacement of the longest text at p that has one, *len its bytes; NULL if there is none. */
static const char *replacement(const slm__charsmap *c, const uint8_t *p, size_t n, size_t *len) {
    if (c->n_units == 0) return NULL;
    const char *found = NULL;
    uint32_t node = children_of(unit_at(c, 0));
    for (size_t i = 0; i < n && p[i] != 0; i++) {
        node ^= p[i];
        if (node >= c->n_units) break;
        uint32_t unit = unit_at(c, node);
        if ((unit & (IS_TEXT | LABEL)) != p[i]) break;
        node ^= children_of(unit);
        if (!(unit & HAS_TEXT)) continue;
        found = c->texts + (unit_at(c, node) & ~IS_TEXT);
        *len = i + 1;
    }
    return found;
}

/* ---- Normalization ---- */

typedef struct normal {
    const slm__ugm *m;
    const slm_allocator *allocator;
    uint8_t *text;
    size_t n, room;
    bool in_word, prefixed;
} normal;

static bool put(normal *o, const char *bytes, size_t n) {
    if (o->room - o->n < n) {
        size_t room = (o->n + n) * 2;
        uint8_t *text = slm__alloc(o->allocator, room);
        if (!text) return false;
        memcpy(text, o->text, o->n);
        slm__free(o->allocator, o->text);
        o->text = text;
        o->room = room;
    }
    memcpy(o->text + o->n, bytes, n);
    o->n += n;
    return true;
}

/* A piece of normalized text: a word begins with a space if spaces are merged, and the first one if there is a prefix. */
static bool put_normal(normal *o, const char *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (p[i] == ' ') {
            o->in_word = false;
            if (!o->m->merge_spaces && !put(o, " ", 1)) return false;
            continue;
        }
        if (!o->in_word && (o->m->merge_spaces || (o->m->space_prefix && !o->prefixed))) {
            if (!put(o, " ", 1)) return false;
            o->prefixed = true;
        }
        o->in_word = true;
        if (!put(o, p + i, 1)) return false;
    }
    return true;
}

static bool normalize(normal *o, const uint8_t *text, size_t n) {
    for (size_t at = 0, len = 0; at < n; at += len) {
        const char *other = replacement(&o->m->charsmap, text + at, n - at, &len);
        if (other) {
            if (!put_normal(o, other, strlen(other))) return false;
            continue;
        }
        uint8_t read[4];
        uint32_t cp = slm__utf8_read(text + at, n - at, &len);
        bool broken = cp == 0xfffd && len == 1;
        size_t n_read = broken ? slm__utf8_write(cp, read) : len;
        const uint8_t *from = broken ? read : text + at;
        if (!put_normal(o, (const char *)from, n_read)) return false;
    }
    o->n = slm__spaces_read(o->text, o->n);
    return true;
}

/* ---- The best way ---- */

/* To the end of a character: its last piece, and where that begins. */
typedef struct best {
    double sum;
    uint32_t from;
    slm_token token;
} best;

static void offer(best *b, double sum, size_t from, slm_token token) {
    if (sum > b->sum) *b = (best){sum, (uint32_t)from, token};
}

/* All pieces that begin at `at`, where a character of `len` bytes does. */
static void offer_pieces(const slm__ugm *m, const uint8_t *text, size_t n, size_t at, size_t len,
                         best *ways) {
    double sum = ways[at].sum;
    bool single = false;
    uint32_t node = 0;
    for (size_t end = at; end < n && (node = step(&m->trie, node, text[end++])) != 0;) {
        slm_token t = m->trie.tokens[node];
        if (t == SLM_TOKEN_NONE) continue;
        if (end == at + len) single = true;
        offer(&ways[end], sum + (m->attributes[t] & SLM_TOKEN_USER ? 0 : (double)score_of(m, t)),
              at, t);
    }
    if (!single) offer(&ways[at + len], sum + (double)m->unknown_score, at, m->unknown);
}

/* Turn the way round: tokens in the order of the text, several unknown ones as one. */
static void put_way(const slm__ugm *m, best *ways, size_t n, slm__sink *sink) {
    size_t count = 0, at = n;
    bool after_unknown = false;
    while (at > 0) { /* the tokens go where ways from[count] have been read: count <= n - at */
        best b = ways[at];
        bool unknown = b.token == m->unknown;
        if (!(unknown && after_unknown)) ways[n - count++].token = b.token;
        after_unknown = unknown;
        at = b.from;
    }
    for (; count > 0; count--) {
        slm_token t = ways[n - count + 1].token;
        if (t != SLM_TOKEN_NONE) slm__sink_put(sink, t);
    }
}

static bool encode_normal(const slm__ugm *m, const slm_allocator *allocator, const uint8_t *text,
                          size_t n, slm__sink *sink) {
    best *ways = slm__alloc_array(allocator, n + 1, sizeof *ways);
    if (!ways) return false;
    for (size_t i = 1; i <= n; i++) ways[i] = (best){-DBL_MAX, 0, m->unknown};
    for (size_t at = 0, len; at < n; at += len) {
        len = slm__utf8_length(text[at]);
        if (len > n - at) len = n - at;
        offer_pieces(m, text, n, at, len, ways);
    }
    put_way(m, ways, n, sink);
    slm__free(allocator, ways);
    return true;
}

/* ---- In and out ---- */

slm_status slm__ugm_load(slm__ugm *m, const slm__gguf *g, const slm__tokens *tokens,
                         const uint8_t *attributes, const slm_allocator *allocator,
                         slm_error *err) {
    bool found;
    m->tokens = tokens;
    m->attributes = attributes;
    SLM_TRY(slm__gguf_bool(g, "tokenizer.ggml.add_space_prefix", &m->space_prefix, &found, err));
    SLM_TRY(slm__gguf_bool(g, "tokenizer.ggml.remove_extra_whitespaces", &m->merge_spaces, &found,
                           err));
    SLM_TRY(load_scores(m, g, err));
    SLM_TRY(load_charsmap(&m->charsmap, g, err));
    return load_trie(m, allocator, err);
}

void slm__ugm_free(slm__ugm *m, const slm_allocator *allocator) {
    slm__free(allocator, m->trie.edges);
    slm__free(allocator, m->trie.tokens);
    *m = (slm__ugm){0};
}

bool slm__ugm_encode(const slm__ugm *m, const slm_allocator *allocator, const uint8_t *text,
                     size_t n, slm__sink *sink) {
    if (n == 0) return true;
    if (n > MAX_TEXT) return false;
    normal o = {.m = m, .allocator = allocator, .room = n + n / 2 + 16};
    o.text = slm__alloc(allocator, o.room);
    bool ok = o.text && normalize(&o, text, n) && encode_normal(m, allocator, o.text, o.n, sink);
    slm__free(allocator, o.text);
    return ok;
}
