/*
 * SentencePiece's unigram model (Kudo 2018, arXiv:1804.10959): each piece has the logarithm of a probability, and of all ways to cut
 * a text into pieces that with the greatest sum is taken (Viterbi 1967), from left to right: the best way to the end of each
 * character, and its last piece. A character that is no piece is the unknown token, at a price.
 *
 * Before that the text is normalized: the file's map replaces the longest texts that it has, spaces are put in front or made one.
 *
 * Sums are doubles, added in the order of the text, as the reference has them: of ways whose sums are nearly equal the same wins. Scores
 * are floats, so up to a length that their exponents say nothing is rounded. Then a text can be cut where no piece lies across
 * (words.h), and words that come back are looked up.
 */
#include "tok_ugm.h"

#include <float.h>
#include <math.h>

enum {
    MAX_PIECE = 128,      /* bytes; published ones have up to 48. It bounds the time of a text */
    MAX_REPLACED = 256,   /* bytes that are looked up together; published maps have some 20    */
    MAX_PIECES = 1 << 24, /* bytes of all */
    MAX_TEXT = 1 << 28,
    SHORT = 64 /* bytes of a word whose ways are on the stack */
};
static const float UNKNOWN_PRICE = 10; /* below the least score */

/* ---- Pieces ---- */

enum { BEGIN = 1, PIECE = 2 }; /* a longer piece begins so; one ends here */

static inline uint64_t add_byte(uint64_t hash, uint8_t byte) {
    return (hash + byte + 1) * 0x9e3779b97f4a7c15u;
}

static inline int begin_at(const slm__ugm_begins *b, uint64_t hash) {
    uint64_t i = (hash ^ hash << 23) >> b->shift;
    return b->bits[i >> 2] >> 2 * (i & 3) & 3;
}

static void add_piece(slm__ugm_begins *b, slm__str text) {
    uint64_t hash = 0;
    for (size_t k = 0; k < text.len; k++) {
        hash = add_byte(hash, (uint8_t)text.ptr[k]);
        uint64_t i = (hash ^ hash << 23) >> b->shift;
        b->bits[i >> 2] |= (uint8_t)((k + 1 < text.len ? BEGIN : PIECE) << 2 * (i & 3));
    }
}

static bool is_text(const slm__ugm *m, slm_token t) {
    return !(m->attributes[t] & (SLM_TOKEN_CONTROL | SLM_TOKEN_UNKNOWN | SLM_TOKEN_BYTE));
}

/* A raw one has a space of its own, where texts have U+2581. */
static bool is_piece(const slm__ugm *m, slm_token t) {
    return is_text(m, t) && !slm__tokens_is_raw(m->tokens, t);
}

static slm_status no_memory(const slm__ugm *m, slm_error *err) {
    return slm__fail(err, SLM_ERR_NOMEM, "no memory for %d pieces", m->tokens->n);
}

static slm_status measure_pieces(const slm__ugm *m, uint64_t *n_bytes, slm_error *err) {
    *n_bytes = 1;
    for (slm_token k = 0; k < m->tokens->n; k++) {
        size_t len = slm__tokens_text(m->tokens, k).len;
        if (!is_text(m, k)) continue;
        if (len > MAX_PIECE)
            return slm__fail(err, SLM_ERR_LIMIT,
                             "tokenizer.ggml.tokens: piece %d has %zu bytes, at most %d", k, len,
                             MAX_PIECE);
        *n_bytes += len;
    }
    if (*n_bytes > MAX_PIECES)
        return slm__fail(err, SLM_ERR_LIMIT, "tokenizer.ggml.tokens: pieces of %llu bytes",
                         (unsigned long long)*n_bytes);
    return SLM_OK;
}

static slm_status load_pieces(slm__ugm *m, const slm_allocator *allocator, slm_error *err) {
    uint64_t n_bytes;
    int bits = 12;
    SLM_TRY(measure_pieces(m, &n_bytes, err));
    while ((uint64_t)1 << bits < 2 * n_bytes) bits++;
    m->begins.shift = 64 - bits;
    m->begins.bits = slm__alloc(allocator, (uint64_t)1 << (bits - 2));
    if (!m->begins.bits) return no_memory(m, err);
    if (m->tokens->has_equal) {
        m->first = slm__alloc_array(allocator, (uint64_t)m->tokens->n, sizeof *m->first);
        if (!m->first) return no_memory(m, err);
        for (slm_token k = 0; k < m->tokens->n; k++) m->first[k] = SLM_TOKEN_NONE;
    }
    for (slm_token k = 0; k < m->tokens->n; k++) {
        slm__str text = slm__tokens_text(m->tokens, k);
        if (!is_piece(m, k)) continue;
        add_piece(&m->begins, text);
        slm__seams_add(&m->seams, text);
        if (!m->first) continue;
        slm_token lowest = slm__tokens_find(m->tokens, text.ptr, text.len);
        if (lowest != SLM_TOKEN_NONE && m->first[lowest] == SLM_TOKEN_NONE) m->first[lowest] = k;
    }
    return SLM_OK;
}

/* The piece of these bytes, or SLM_TOKEN_NONE. */
static slm_token find_piece(const slm__ugm *m, const uint8_t *text, size_t n) {
    slm_token t = slm__tokens_find(m->tokens, text, n);
    if (t != SLM_TOKEN_NONE && m->first) t = m->first[t];
    return t == SLM_TOKEN_NONE || !isnan(m->scores[t]) ? t : SLM_TOKEN_NONE;
}

/* ---- Scores ---- */

/* As powers of two: what all scores are multiples of; what none reaches; what none of those reaches by which a best way changes from
 * the end of a character to the next one's. */
typedef struct range {
    int low, high, step;
} range;

static void widen(range *r, float x, bool is_step) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    uint32_t e = u >> 23 & 255, digits = (u & 0x7fffff) | (e ? 0x800000 : 0);
    int unit = (int)(e ? e : 1) - 150;
    if (digits == 0) return;
    if (unit + __builtin_ctz(digits) < r->low) r->low = unit + __builtin_ctz(digits);
    if (unit + 24 > r->high) r->high = unit + 24;
    if (is_step && unit + 24 > r->step) r->step = unit + 24;
}

/* A best way is at least as good as the one before with the character by itself, so it is never worse than all of them, and none of its
 * comparisons is of sums beyond that and one score. */
static uint64_t exact_bytes(const range *r) {
    int bits = DBL_MANT_DIG + r->low;
    if (r->high >= bits || r->step >= bits) return 0;
    bits -= r->step + 1;
    return (uint64_t)1 << (bits < 40 ? bits : 40);
}

static bool is_character(slm__str s) {
    return s.len > 0 && s.len == slm__utf8_length((uint8_t)*s.ptr);
}

static slm_status load_scores(slm__ugm *m, const slm__gguf *g, const slm_allocator *allocator,
                              slm_error *err) {
    const slm__key *scores;
    SLM_TRY(slm__gguf_array(g, "tokenizer.ggml.scores", GGUF_F32, &scores, err));
    if (!scores) return slm__fail(err, SLM_ERR_MISMATCH, "key tokenizer.ggml.scores is missing");
    m->scores = slm__alloc_array(allocator, (uint64_t)m->tokens->n, sizeof *m->scores);
    if (!m->scores) return no_memory(m, err);
    float least = FLT_MAX;
    range r = {0};
    for (slm_token t = 0; t < m->tokens->n; t++) {
        float score = slm__read_f32(scores->data + 4 * (size_t)t);
        if (!isfinite(score))
            return slm__fail(err, SLM_ERR_FORMAT,
                             "tokenizer.ggml.scores: that of token %d is no number", t);
        if (m->attributes[t] == 0 && score < least) least = score;
        if (m->attributes[t] & SLM_TOKEN_USER) score = 0;
        m->scores[t] = is_piece(m, t) ? score : NAN;
        if (is_piece(m, t))
            widen(&r, score, score > 0 || is_character(slm__tokens_text(m->tokens, t)));
    }
    m->unknown_score = least - UNKNOWN_PRICE;
    if (isfinite(m->unknown_score)) {
        widen(&r, m->unknown_score, true);
        m->cut_bytes = exact_bytes(&r);
    }
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

/* Where `byte` leads to from `node`, which is where the children of the unit before begin. */
static bool follow(const slm__charsmap *c, uint32_t node, uint8_t byte, uint32_t *at,
                   uint32_t *unit) {
    *at = node ^ byte;
    if (*at >= c->n_units) return false;
    *unit = unit_at(c, *at);
    return (*unit & (IS_TEXT | LABEL)) == byte;
}

/* What is not replaced, nor begins a text whose second byte is ASCII. */
static void find_copied(slm__charsmap *c) {
    for (int i = 0; i < 128; i++) {
        uint32_t at, unit, next, other;
        c->copied[i] = true;
        if (i == 0 || c->n_units == 0 ||
            !follow(c, children_of(unit_at(c, 0)), (uint8_t)i, &at, &unit))
            continue;
        c->copied[i] = !(unit & HAS_TEXT);
        for (int k = 1; k < 128 && c->copied[i]; k++)
            c->copied[i] = !follow(c, at ^ children_of(unit), (uint8_t)k, &next, &other);
    }
}

static slm_status load_charsmap(slm__charsmap *c, const slm__gguf *g,
                                const slm_allocator *allocator, slm_error *err) {
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
    c->bytes = slm__alloc(allocator, key->n);
    if (!c->bytes) return slm__fail(err, SLM_ERR_NOMEM, "no memory for key %s", name);
    memcpy(c->bytes, key->data, key->n);
    c->bytes[key->n - 1] = 0; /* whatever has become of the file since */
    c->units = c->bytes + 4;
    c->n_units = (uint32_t)n_units / 4;
    c->texts = (const char *)c->bytes + 4 + n_units;
    c->n_texts = (uint32_t)(key->n - 4 - n_units);
    return check_units(c, err);
}

/* The replacement of the longest text at p that has one, *len its bytes; NULL if there is none. */
static const char *replacement(const slm__charsmap *c, const uint8_t *p, size_t n, size_t *len) {
    if (c->n_units == 0) return NULL;
    const char *found = NULL;
    uint32_t node = children_of(unit_at(c, 0)), unit;
    if (n > MAX_REPLACED) n = MAX_REPLACED;
    for (size_t i = 0; i < n && p[i] != 0 && follow(c, node, p[i], &node, &unit); i++) {
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
    bool in_word, prefixed, too_long;
} normal;

/* Room for n bytes more. */
static inline bool reserve(normal *o, size_t n) {
    if (o->room - o->n >= n) return true;
    o->too_long = (uint64_t)o->n + n >= UINT32_MAX; /* places are 32 bits */
    if (o->too_long) return false;
    size_t room = (o->n + n) * 2;
    uint8_t *text = slm__alloc(o->allocator, room);
    if (!text) return false;
    memcpy(text, o->text, o->n);
    slm__free(o->allocator, o->text);
    o->text = text;
    o->room = room;
    return true;
}

/* A byte of normalized text: a word begins with a space if spaces are merged, and the first one if there is a prefix. There is room for
 * two. */
static inline void put_normal(normal *o, uint8_t byte) {
    if (byte == ' ') {
        o->in_word = false;
        if (!o->m->merge_spaces) o->text[o->n++] = ' ';
        return;
    }
    if (!o->in_word && (o->m->merge_spaces || (o->m->space_prefix && !o->prefixed))) {
        o->text[o->n++] = ' ';
        o->prefixed = true;
    }
    o->in_word = true;
    o->text[o->n++] = byte;
}

static bool put_all(normal *o, const void *bytes, size_t n) {
    const uint8_t *p = bytes;
    if (!reserve(o, 2 * n)) return false;
    for (size_t i = 0; i < n; i++) put_normal(o, p[i]);
    return true;
}

static bool normalize(normal *o, const uint8_t *text, size_t n) {
    const slm__charsmap *c = &o->m->charsmap;
    for (size_t at = 0, len = 0; at < n; at += len) {
        uint8_t byte = text[at];
        if (byte < 128 && c->copied[byte] && (at + 1 == n || text[at + 1] < 128)) {
            len = 1;
            if (!reserve(o, 2)) return false;
            put_normal(o, byte);
            continue;
        }
        const char *other = replacement(c, text + at, n - at, &len);
        if (other) {
            if (!put_all(o, other, strlen(other))) return false;
            continue;
        }
        uint8_t read[4];
        uint32_t cp = slm__utf8_read(text + at, n - at, &len);
        bool broken = cp == 0xfffd && len == 1;
        size_t n_read = broken ? slm__utf8_write(cp, read) : len;
        if (!put_all(o, broken ? read : text + at, n_read)) return false;
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
    uint64_t hash = 0;
    int begins = BEGIN;
    if (n - at > MAX_PIECE) n = at + MAX_PIECE;
    for (size_t end = at; begins & BEGIN && end < n;) {
        hash = add_byte(hash, text[end++]);
        begins = begin_at(&m->begins, hash);
        if (!(begins & PIECE)) continue;
        slm_token t = find_piece(m, text + at, end - at);
        if (t == SLM_TOKEN_NONE) continue;
        if (end == at + len) single = true;
        offer(&ways[end], sum + (double)m->scores[t], at, t);
    }
    if (!single) offer(&ways[at + len], sum + (double)m->unknown_score, at, m->unknown);
}

/* Turn the way round: tokens in the order of the text. They lie behind one another at the end; returns the first. */
static best *turn(best *ways, size_t n) {
    size_t count = 0;
    for (size_t at = n; at > 0; count++) { /* they go where ways have been read: count <= n - at */
        best b = ways[at];
        ways[n - count].token = b.token;
        at = b.from;
    }
    return &ways[n + 1 - count];
}

typedef struct work {
    const slm__ugm *m;
    const slm_allocator *allocator;
    const slm__words *words;
    best *ways; /* of a long word */
    size_t room;
    bool after_unknown;
} work;

/* Several unknown ones are one. */
static void put(work *w, slm_token t, slm__sink *sink) {
    bool unknown = t == w->m->unknown;
    if (!(unknown && w->after_unknown) && t != SLM_TOKEN_NONE) slm__sink_put(sink, t);
    w->after_unknown = unknown;
}

static best *reserve_ways(work *w, size_t n) {
    if (n > w->room) {
        slm__free(w->allocator, w->ways);
        w->room = n + n / 4;
        w->ways = slm__alloc_array(w->allocator, w->room, sizeof *w->ways);
        if (!w->ways) w->room = 0;
    }
    return w->ways;
}

/* What has no unknown token is kept for the next time. */
static bool encode_word(work *w, const uint8_t *text, size_t n, slm__sink *sink) {
    uint64_t key[2];
    slm__word *entry = slm__words_find(w->words, text, n, key);
    if (slm__words_get(entry, key, sink)) {
        w->after_unknown = false;
        return true;
    }
    best few[SHORT + 1], *ways = n <= SHORT ? few : reserve_ways(w, n + 1);
    if (!ways) return false;
    ways[0] = (best){0, 0, SLM_TOKEN_NONE};
    for (size_t i = 1; i <= n; i++) ways[i] = (best){-DBL_MAX, 0, w->m->unknown};
    for (size_t at = 0, len; at < n; at += len) {
        len = slm__utf8_length(text[at]);
        if (len > n - at) len = n - at;
        offer_pieces(w->m, text, n, at, len, ways);
    }
    slm_token ids[SLM__WORD_TOKENS];
    int count = 0;
    for (const best *b = turn(ways, n); b <= &ways[n]; b++, count++) {
        if (b->token == w->m->unknown) entry = NULL;
        if (count < SLM__WORD_TOKENS) ids[count] = b->token;
        put(w, b->token, sink);
    }
    slm__words_keep(entry, key, ids, count);
    return true;
}

static bool encode_normal(work *w, const uint8_t *text, size_t n, slm__sink *sink) {
    const slm__seams *seams = n <= w->m->cut_bytes ? &w->m->seams : NULL;
    for (size_t at = 0, end; at < n; at = end) {
        end = seams ? at : n;
        while (end < n) {
            end += slm__utf8_length(text[end]);
            if (end >= n || slm__seams_cut(seams, text[end - 1], text[end])) break;
        }
        if (end > n) end = n;
        if (!encode_word(w, text + at, end - at, sink)) return false;
    }
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
    SLM_TRY(load_scores(m, g, allocator, err));
    SLM_TRY(load_charsmap(&m->charsmap, g, allocator, err));
    find_copied(&m->charsmap);
    return load_pieces(m, allocator, err);
}

void slm__ugm_free(slm__ugm *m, const slm_allocator *allocator) {
    slm__free(allocator, m->scores);
    slm__free(allocator, m->first);
    slm__free(allocator, m->begins.bits);
    slm__free(allocator, m->charsmap.bytes);
    *m = (slm__ugm){0};
}

slm_status slm__ugm_encode(const slm__ugm *m, const slm_allocator *allocator,
                           const slm__words *words, const uint8_t *text, size_t n,
                           slm__sink *sink) {
    if (n == 0) return SLM_OK;
    if (n > MAX_TEXT) return SLM_ERR_LIMIT;
    normal o = {.m = m, .allocator = allocator, .room = n + n / 2 + 16};
    work w = {.m = m, .allocator = allocator, .words = words};
    o.text = slm__alloc(allocator, o.room);
    bool done = o.text && normalize(&o, text, n) && encode_normal(&w, o.text, o.n, sink);
    slm_status s = done ? SLM_OK : o.too_long ? SLM_ERR_LIMIT : SLM_ERR_NOMEM;
    slm__free(allocator, w.ways);
    slm__free(allocator, o.text);
    return s;
}
