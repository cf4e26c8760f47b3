/*
 * Byte-level BPE (Sennrich et al. 2016, arXiv:1508.07909; Radford et al. 2019): of all neighbours in a word those with the
 * earliest merge are joined, the leftmost first, until none has a merge.
 *
 * Three ways to the same tokens, by what a word costs: words of a few bytes come back in any text and are remembered
 * for the call; up to SHORT symbols the earliest merge is searched in an array on the stack; longer words use a heap and
 * linked symbols, n log n however long.
 */
#include "tok_bpe.h"

#include "heap.h"

enum {
    MAX_MERGES = 1 << 20, /* published vocabularies have up to 514,906 */
    MAX_TOKEN = 65536,
    /* At most two thirds of the slots are taken: the worst of a million merges needs about 200 probes, all of them 2 each. A file made to need
     * more is refused; looking up stops there too. */
    MAX_PROBES = 512,
    MAX_PROBES_EACH = 16, /* of all merges, and 4096 */
    SHORT = 40
};

/* ---- Bytes as code points: GPT-2 writes bytes that print as themselves, the rest in order from U+0100 ---- */

/* The byte that the code point stands for; -1: none. */
static int byte_of(uint32_t cp) {
    if ((cp >= 0x21 && cp <= 0x7e) || (cp >= 0xa1 && cp <= 0xff && cp != 0xad)) return (int)cp;
    if (cp < 0x100 || cp > 0x143) return -1;
    int n = (int)cp - 0x100; /* 00..20, 7F, 80..A0, AD */
    if (n < 0x21) return n;
    return n == 0x43 ? 0xad : n - 0x21 + 0x7f;
}

bool slm__bpe_decode(slm__str raw, char *out, size_t *n_out) {
    const uint8_t *p = (const uint8_t *)raw.ptr, *end = p + raw.len;
    char *to = out;
    while (p < end) {
        uint32_t cp = *p++;
        if (cp >= 0x80) { /* two bytes reach to U+07FF: enough */
            if (cp < 0xc2 || cp > 0xdf || p == end || (*p & 0xc0) != 0x80) return false;
            cp = (cp & 0x1f) << 6 | (*p++ & 0x3f);
        }
        int byte = byte_of(cp);
        if (byte < 0) return false;
        *to++ = (char)byte;
    }
    *n_out = (size_t)(to - out);
    return true;
}

/* ---- Merges ---- */

static bool is_text(const slm__bpe *b, slm_token token) {
    return !(b->attributes[token] & (SLM_TOKEN_CONTROL | SLM_TOKEN_UNKNOWN));
}

enum { TOKEN_BITS = 21, ORDER_BITS = 22 };
_Static_assert(MAX_MERGES < 1 << ORDER_BITS && 2 * TOKEN_BITS + ORDER_BITS == 64, "of a pair");

static inline uint64_t pair_of(slm_token left, slm_token right) {
    return ((uint64_t)left << TOKEN_BITS | (uint64_t)right) << ORDER_BITS;
}

static inline uint32_t pair_slot(const slm__bpe *b, uint64_t pair) {
    return (uint32_t)((pair ^ pair >> 32) * 0x9e3779b97f4a7c15u >> b->shift);
}

/* 0 if the two do not merge. */
static inline uint32_t merge_order(const slm__bpe *b, slm_token left, slm_token right) {
    if (left < 0 || right < 0) return 0; /* a byte that has no token */
    uint64_t pair = pair_of(left, right);
    uint32_t slot = pair_slot(b, pair);
    for (uint32_t i = 0; i <= MAX_PROBES; i++) {
        uint64_t order = b->pairs[(slot + i) & b->mask] ^ pair;
        if (order >> ORDER_BITS == 0) return (uint32_t)order;
        if (order == pair) return 0;
    }
    return 0;
}

/* A merge that is there already stays: the earlier one counts. */
static slm_status insert_pair(slm__bpe *b, uint64_t pair, uint32_t order, uint64_t *probes_left,
                              slm_error *err) {
    uint32_t i = pair_slot(b, pair);
    for (int probes = 0; b->pairs[i] != 0; probes++, i = (i + 1) & b->mask) {
        if (probes == MAX_PROBES || (*probes_left)-- == 0)
            return slm__fail(err, SLM_ERR_LIMIT,
                             "tokenizer.ggml.merges: too many merges share a hash, up to %u",
                             order - 1);
        if ((b->pairs[i] ^ pair) >> ORDER_BITS == 0) return SLM_OK;
    }
    b->pairs[i] = pair | order;
    return SLM_OK;
}

static slm_status bad_merge(uint64_t index, slm__str s, const char *why, slm_error *err) {
    return slm__fail(err, SLM_ERR_FORMAT, "tokenizer.ggml.merges: merge %llu \"%s\" %s",
                     (unsigned long long)index, slm__show(s).text, why);
}

/* Half a million merges at random places of two large tables: done in groups, so that the memory of the next
 * ones is on its way while one is looked at. */
enum { GROUP = 32, GROUP_BYTES = 2 * MAX_TOKEN + 1 };

typedef struct pending {
    slm__str raw;
    const char *text; /* both parts decoded, one behind the other */
    size_t n_left, n_right;
    slm__token_key left, right, both; /* `both` only where `merged` is not known yet */
    slm_token merged;
    uint64_t pair;
} pending;

/* Where the tokens are in the order of the merges that make them, the next one, or where several merges make a token the same
 * once more: then nothing has to be looked up. SLM_TOKEN_NONE: neither. */
static slm_token guess_merged(const slm__tokens *t, slm_token last, const pending *p) {
    size_t n = p->n_left + p->n_right;
    if (t->has_equal) return SLM_TOKEN_NONE; /* it has to be the lowest */
    for (slm_token id = last; id < t->n && id <= last + 1; id++) {
        slm__str text = slm__tokens_text(t, id);
        if (text.len == n && memcmp(text.ptr, p->text, n) == 0 && !slm__tokens_is_raw(t, id))
            return id;
    }
    return SLM_TOKEN_NONE;
}

static void find_merged(const slm__tokens *t, pending *p, slm_token *last) {
    p->merged = guess_merged(t, *last, p);
    if (p->merged != SLM_TOKEN_NONE) {
        *last = p->merged;
        return;
    }
    p->both = slm__tokens_key(p->text, p->n_left + p->n_right);
    slm__tokens_prefetch(t, &p->both);
}

static slm_status decode_merge(const slm__bpe *b, uint64_t index, pending *p, char *text,
                               slm_error *err) {
    slm__str s = p->raw;
    const char *gap = s.len > 1 ? memchr(s.ptr + 1, ' ', s.len - 1) : NULL;
    if (!gap) return bad_merge(index, s, "has no two parts", err);
    slm__str l = {s.ptr, (size_t)(gap - s.ptr)}, r = {gap + 1, s.len - l.len - 1};
    if (!b->decode(l, text, &p->n_left) || !b->decode(r, text + p->n_left, &p->n_right))
        return bad_merge(index, s, "has a character that stands for no byte", err);
    p->text = text;
    p->left = slm__tokens_key(text, p->n_left);
    p->right = slm__tokens_key(text + p->n_left, p->n_right);
    slm__tokens_prefetch(b->tokens, &p->left);
    slm__tokens_prefetch(b->tokens, &p->right);
    return SLM_OK;
}

/* Both parts and their sum must be tokens: what no token covers could never be written out. */
static slm_status resolve_merge(const slm__bpe *b, uint64_t index, pending *p, slm_error *err) {
    const slm__tokens *t = b->tokens;
    slm_token left = slm__tokens_find_key(t, &p->left, p->text);
    slm_token right = slm__tokens_find_key(t, &p->right, p->text + p->n_left);
    if (p->merged == SLM_TOKEN_NONE) p->merged = slm__tokens_find_key(t, &p->both, p->text);
    if (left < 0 || right < 0 || p->merged < 0)
        return bad_merge(index, p->raw, "has a part or a result that is no token", err);
    b->merged[index] = p->merged;
    p->pair = pair_of(left, right);
    __builtin_prefetch(&b->pairs[pair_slot(b, p->pair)], 1);
    return SLM_OK;
}

/* `text` has room for GROUP_BYTES. */
static slm_status fill_merges(slm__bpe *b, const slm__key *key, char *text, slm_error *err) {
    pending group[GROUP];
    slm_token last = 0;
    uint64_t probes_left = MAX_PROBES_EACH * key->n + 4096;
    const uint8_t *at = key->data;
    for (uint64_t first = 0, next = 0; first < key->n; first = next) {
        size_t used = 0;
        int n = 0;
        for (; n < GROUP && next < key->n; n++, next++) {
            const uint8_t *before = at;
            group[n].raw = slm__gguf_next_string(&at);
            if (group[n].raw.len > GROUP_BYTES)
                return bad_merge(next, group[n].raw, "is too long", err);
            if (used + group[n].raw.len > GROUP_BYTES) {
                at = before;
                break;
            }
            SLM_TRY(decode_merge(b, next, &group[n], text + used, err));
            used += group[n].n_left + group[n].n_right;
            find_merged(b->tokens, &group[n], &last);
        }
        for (int i = 0; i < n; i++) SLM_TRY(resolve_merge(b, first + (uint64_t)i, &group[i], err));
        last = group[n - 1].merged;
        for (int i = 0; i < n; i++) {
            if (is_text(b, group[i].merged))
                SLM_TRY(insert_pair(b, group[i].pair, (uint32_t)first + (uint32_t)i + 1,
                                    &probes_left, err));
        }
    }
    return SLM_OK;
}

static slm_status load_merges(slm__bpe *b, const slm__key *key, const slm_allocator *allocator,
                              slm_error *err) {
    if (key->n > MAX_MERGES)
        return slm__fail(err, SLM_ERR_LIMIT, "tokenizer.ggml.merges: %llu merges, at most %d",
                         (unsigned long long)key->n, MAX_MERGES);
    int bits = 4;
    while ((uint64_t)1 << bits < key->n + key->n / 2) bits++;
    b->mask = ((uint32_t)1 << bits) - 1;
    b->shift = 64 - bits;
    b->pairs = slm__alloc_table(allocator, (uint64_t)b->mask + 1, sizeof *b->pairs);
    b->merged = slm__alloc_array(allocator, key->n, sizeof *b->merged);
    char *text = slm__alloc(allocator, GROUP_BYTES);
    slm_status s = b->pairs && b->merged && text
                       ? fill_merges(b, key, text, err)
                       : slm__fail(err, SLM_ERR_NOMEM, "no memory for %llu merges",
                                   (unsigned long long)key->n);
    slm__free(allocator, text);
    return s;
}

slm_status slm__bpe_find_pretok(slm__bpe *b, const slm__gguf *g, const char *name, bool *missing,
                                slm_error *err) {
    slm__str pre = {"", 0};
    bool found = false;
    SLM_TRY(slm__gguf_str(g, "tokenizer.ggml.pre", &pre, &found, err));
    *missing = !found && !name;
    if (*missing) name = "default";
    if (name) pre = (slm__str){name, strlen(name)};
    b->pretok = slm__pretok_find(pre);
    if (!b->pretok) {
        char known[1000];
        slm__pretok_names(known, sizeof known);
        return slm__fail(err, SLM_ERR_UNSUPPORTED, "key tokenizer.ggml.pre is \"%s\", known: %s",
                         slm__show(pre).text, known);
    }
    b->decode = b->pretok->flags & PRETOK_CHARACTERS ? slm__spaces_decode : slm__bpe_decode;
    return SLM_OK;
}

/* Tokens of single bytes, which have names where merges begin with characters. */
static void load_bytes(slm__bpe *b) {
    for (int i = 0; i < 256; i++) {
        uint8_t byte = (uint8_t)i;
        b->byte_token[i] = b->pretok->flags & PRETOK_CHARACTERS
                               ? slm__byte_name_find(b->tokens, byte)
                               : slm__tokens_find(b->tokens, &byte, 1);
    }
}

static slm_status load_seams(slm__bpe *b, const slm_allocator *allocator, slm_error *err) {
    b->seams = slm__alloc(allocator, sizeof *b->seams);
    if (!b->seams) return slm__fail(err, SLM_ERR_NOMEM, "no memory for a vocabulary");
    for (slm_token t = 0; t < b->tokens->n; t++)
        if (is_text(b, t)) slm__seams_add(b->seams, slm__tokens_text(b->tokens, t));
    return SLM_OK;
}

slm_status slm__bpe_load(slm__bpe *b, const slm__gguf *g, const slm__tokens *tokens,
                         const uint8_t *attributes, const slm_allocator *allocator,
                         slm_error *err) {
    b->tokens = tokens;
    b->attributes = attributes;
    SLM_TRY(slm__splitter_make(&b->splitter, b->pretok, allocator, err));
    if (b->pretok->flags & PRETOK_CHARACTERS) SLM_TRY(load_seams(b, allocator, err));
    load_bytes(b);
    const slm__key *merges;
    SLM_TRY(slm__gguf_array(g, "tokenizer.ggml.merges", GGUF_STRING, &merges, err));
    if (!merges) return slm__fail(err, SLM_ERR_FORMAT, "key tokenizer.ggml.merges is missing");
    return load_merges(b, merges, allocator, err);
}

void slm__bpe_free(slm__bpe *b, const slm_allocator *allocator) {
    slm__splitter_free(&b->splitter, allocator);
    slm__free(allocator, b->seams);
    slm__free(allocator, b->pairs);
    slm__free(allocator, b->merged);
    *b = (slm__bpe){0};
}

/* ---- What merges begin with: bytes, or characters and the bytes of those that are no token ---- */

enum { MAX_START = 4 };

/* Add the tokens of what a word begins with, a byte or a character; returns its bytes. */
static size_t start(const slm__bpe *b, const uint8_t *word, slm_token *ids, int *n_ids) {
    if (!b->seams) {
        ids[(*n_ids)++] = b->byte_token[*word];
        return 1;
    }
    size_t len = slm__utf8_length(*word);
    slm_token t = slm__tokens_find(b->tokens, word, len);
    if (t != SLM_TOKEN_NONE && is_text(b, t)) {
        ids[(*n_ids)++] = t;
        return len;
    }
    for (size_t i = 0; i < len; i++) ids[(*n_ids)++] = b->byte_token[word[i]];
    return len;
}

/* ---- Short words: the earliest merge by looking at all ---- */

/* `ids` are the tokens of n bytes; afterwards of the merged word, whose length is returned. */
static int merge_short(const slm__bpe *b, slm_token *ids, int n) {
    uint32_t order[SHORT]; /* of the merge with the next; UINT32_MAX: none */
    for (int i = 0; i + 1 < n; i++) order[i] = merge_order(b, ids[i], ids[i + 1]) - 1;
    while (n > 1) {
        int best = 0;
        for (int i = 1; i + 1 < n; i++) best = order[i] < order[best] ? i : best;
        if (order[best] == UINT32_MAX) break;
        ids[best] = b->merged[order[best]];
        n--;
        memmove(ids + best + 1, ids + best + 2, (size_t)(n - best - 1) * sizeof *ids);
        memmove(order + best, order + best + 1, (size_t)(n - best - 1) * sizeof *order);
        if (best > 0) order[best - 1] = merge_order(b, ids[best - 1], ids[best]) - 1;
        if (best + 1 < n) order[best] = merge_order(b, ids[best], ids[best + 1]) - 1;
    }
    return n;
}

/* ---- Long words: linked symbols, and a heap of pairs: order << 32 | place of the left one ---- */

#define NOWHERE UINT32_MAX

struct symbol {
    slm_token token;
    uint32_t order; /* of the merge with the next; 0: none */
    uint32_t next, prev;
};

static bool reserve(slm__bpe_work *w, size_t n) {
    if (n <= w->n_symbols) return true;
    slm__free(w->allocator, w->symbols);
    slm__free(w->allocator, w->heap);
    w->n_symbols = n + n / 4;
    w->symbols = slm__alloc_array(w->allocator, w->n_symbols, sizeof *w->symbols);
    /* a merge takes one pair out and puts at most two in */
    w->heap = slm__alloc_array(w->allocator, w->n_symbols, 2 * sizeof *w->heap);
    if (w->symbols && w->heap) return true;
    w->n_symbols = 0;
    return false;
}

/* Look up the pair that begins at `i`, and queue it. */
static void renew(const slm__bpe *b, slm__bpe_work *w, uint32_t i, size_t *n_heap) {
    struct symbol *s = w->symbols;
    if (i == NOWHERE) return;
    s[i].order = s[i].next == NOWHERE ? 0 : merge_order(b, s[i].token, s[s[i].next].token);
    if (s[i].order) slm__heap_push(w->heap, n_heap, (uint64_t)s[i].order << 32 | i);
}

static bool encode_long(const slm__bpe *b, slm__bpe_work *w, const uint8_t *text, size_t n,
                        slm__sink *sink) {
    if (!reserve(w, n)) return false;
    struct symbol *s = w->symbols;
    size_t n_heap = 0;
    uint32_t count = 0;
    for (size_t at = 0; at < n;) {
        slm_token ids[MAX_START];
        int n_ids = 0;
        at += start(b, text + at, ids, &n_ids);
        for (int k = 0; k < n_ids; k++, count++) /* before the first: 0 - 1 is NOWHERE */
            s[count] = (struct symbol){ids[k], 0, count + 1, count - 1};
    }
    s[count - 1].next = NOWHERE;
    for (uint32_t i = 0; i < count; i++) renew(b, w, i, &n_heap);
    while (n_heap > 0) {
        uint64_t top = slm__heap_pop(w->heap, &n_heap);
        uint32_t i = (uint32_t)top;
        /* the pair may have changed, or its left one been taken, since it was put there */
        if (s[i].order != top >> 32) continue;
        uint32_t gone = s[i].next;
        s[i].token = b->merged[s[i].order - 1];
        s[i].next = s[gone].next;
        s[gone].order = 0;
        if (s[i].next != NOWHERE) s[s[i].next].prev = i;
        renew(b, w, s[i].prev, &n_heap);
        renew(b, w, i, &n_heap);
    }
    for (uint32_t i = 0; i != NOWHERE; i = s[i].next) {
        if (s[i].token != SLM_TOKEN_NONE) slm__sink_put(sink, s[i].token);
    }
    return true;
}

/* ---- Words ---- */

/* The token of the whole word, where the tokenizer looks for it. */
static slm_token find_whole(const slm__bpe *b, const uint8_t *word, size_t n) {
    if (!(b->pretok->flags & PRETOK_WHOLE_WORDS) &&
        !(b->pretok->flags & PRETOK_WHOLE_NEWLINES && *word == '\n'))
        return SLM_TOKEN_NONE;
    slm_token t = slm__tokens_find(b->tokens, word, n);
    return t == SLM_TOKEN_NONE || is_text(b, t) ? t : SLM_TOKEN_NONE;
}

/* The tokens of a word of up to SHORT bytes; returns how many. */
static int encode_short(const slm__bpe *b, const uint8_t *word, size_t n, slm_token ids[SHORT]) {
    int n_ids = 0, kept = 0;
    for (size_t at = 0; at < n;) at += start(b, word + at, ids, &n_ids);
    n_ids = merge_short(b, ids, n_ids);
    for (int i = 0; i < n_ids; i++) {
        if (ids[i] != SLM_TOKEN_NONE) ids[kept++] = ids[i];
    }
    return kept;
}

static bool encode_word(const slm__bpe *b, slm__bpe_work *w, const uint8_t *word, size_t n,
                        slm__sink *sink) {
    uint64_t key[2];
    slm__word *entry = slm__words_find(&w->words, word, n, key);
    if (slm__words_get(entry, key, sink)) return true;
    slm_token ids[SHORT];
    int n_ids = 1;
    ids[0] = find_whole(b, word, n);
    if (ids[0] == SLM_TOKEN_NONE) {
        if (n > SHORT) return encode_long(b, w, word, n, sink);
        n_ids = encode_short(b, word, n, ids);
    }
    for (int i = 0; i < n_ids; i++) slm__sink_put(sink, ids[i]);
    slm__words_keep(entry, key, ids, n_ids);
    return true;
}

/* A line of characters, cut where no token lies across. */
static bool encode_line(const slm__bpe *b, slm__bpe_work *w, const uint8_t *line, size_t n,
                        slm__sink *sink) {
    for (size_t at = 0, end; at < n; at = end) {
        end = at;
        do end += slm__utf8_length(line[end]);
        while (end < n && !slm__seams_cut(b->seams, line[end - 1], line[end]));
        if (!encode_word(b, w, line + at, end - at, sink)) return false;
    }
    return true;
}

slm_status slm__bpe_encode(const slm__bpe *b, slm__bpe_work *w, const uint8_t *text, size_t n,
                           slm__sink *sink) {
    slm__pieces pieces = {{0}};
    if (n >= UINT32_MAX) return SLM_ERR_LIMIT; /* places are 32 bits */
    for (size_t at = 0, end; at < n; at = end) {
        end = slm__splitter_next(&b->splitter, &pieces, text, n, at);
        bool ok = b->seams ? encode_line(b, w, text + at, end - at, sink)
                           : encode_word(b, w, text + at, end - at, sink);
        if (!ok) return SLM_ERR_NOMEM;
    }
    return SLM_OK;
}

void slm__bpe_work_free(slm__bpe_work *w) {
    slm__words_free(&w->words, w->allocator);
    slm__free(w->allocator, w->symbols);
    slm__free(w->allocator, w->heap);
}
