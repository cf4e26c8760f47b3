/*
 * SentencePiece BPE (Kudo and Richardson 2018, arXiv:1808.06226) as files with tokenizer.ggml.model "llama" have it: a score for each
 * piece, where the published model had merges.
 *
 * The text is cut into words where no piece lies across (words.h); in English that is before each space, and a word that was there
 * before is looked up.
 *
 * A word is cut into characters. Of all neighbours that together are a piece, those of the highest score are joined, the leftmost
 * first, until none are. Spaces are characters like others and are written as U+2581 in the file; our tokens are decoded, so here they
 * are spaces again.
 */
#include "tok_spm.h"

#include <math.h>

#include "heap.h"

#define NOWHERE UINT32_MAX

enum { SHORT = 40 }; /* characters of a word whose pairs are all looked at */

static const char space[] = SLM__SPACE;
enum { SPACE_BYTES = sizeof space - 1 };

/* ---- Loading ---- */

/* A higher score is a lower rank; -0 equals 0. */
static uint32_t rank_of(float score) {
    uint32_t u;
    score += 0.0f;
    memcpy(&u, &score, sizeof u);
    return u >> 31 ? u : 0x7fffffff - u;
}

static slm_status load_ranks(slm__spm *m, const slm__gguf *g, const slm_allocator *allocator,
                             slm_error *err) {
    const slm__key *scores;
    int32_t n = m->tokens->n;
    SLM_TRY(slm__gguf_array(g, "tokenizer.ggml.scores", GGUF_F32, &scores, err));
    m->rank = slm__alloc_array(allocator, (uint64_t)n, sizeof *m->rank);
    if (!m->rank) return slm__fail(err, SLM_ERR_NOMEM, "no memory for %d tokens", n);
    for (slm_token t = 0; t < n && scores; t++) {
        float score = slm__read_f32(scores->data + 4 * (size_t)t);
        if (isnan(score))
            return slm__fail(err, SLM_ERR_FORMAT, "tokenizer.ggml.scores: that of token %d is NaN",
                             t);
        m->rank[t] = rank_of(score);
    }
    return SLM_OK;
}

/* Tokens that text may become. */
static bool is_text(const slm__spm *m, slm_token t) {
    return !(m->attributes[t] & (SLM_TOKEN_CONTROL | SLM_TOKEN_UNKNOWN | SLM_TOKEN_BYTE));
}

static slm_status load_seams(slm__spm *m, const slm_allocator *allocator, slm_error *err) {
    m->seams = slm__alloc(allocator, sizeof *m->seams);
    if (!m->seams) return slm__fail(err, SLM_ERR_NOMEM, "no memory for a vocabulary");
    for (slm_token t = 0; t < m->tokens->n; t++)
        if (is_text(m, t)) slm__seams_add(m->seams, slm__tokens_text(m->tokens, t));
    return SLM_OK;
}

slm_status slm__spm_load(slm__spm *m, const slm__gguf *g, const slm__tokens *tokens,
                         const uint8_t *attributes, const slm_allocator *allocator,
                         slm_error *err) {
    bool found;
    m->tokens = tokens;
    m->attributes = attributes;
    m->space_prefix = true;
    SLM_TRY(slm__gguf_bool(g, "tokenizer.ggml.add_space_prefix", &m->space_prefix, &found, err));
    for (int i = 0; i < 256; i++) m->byte_token[i] = slm__byte_name_find(tokens, (uint8_t)i);
    SLM_TRY(load_seams(m, allocator, err));
    return load_ranks(m, g, allocator, err);
}

void slm__spm_free(slm__spm *m, const slm_allocator *allocator) {
    slm__free(allocator, m->rank);
    slm__free(allocator, m->seams);
    m->rank = NULL;
    m->seams = NULL;
}

/* ---- Text to characters ---- */

/* Spaces as the reference has them: a broken character before one swallows its first bytes. Room for 3 n + 3 bytes. */
static size_t write_spaces(const uint8_t *text, size_t n, bool prefix, uint8_t *out) {
    size_t used = 0;
    if (prefix) {
        memcpy(out, space, SPACE_BYTES);
        used = SPACE_BYTES;
    }
    for (size_t i = 0; i < n; i++) {
        if (text[i] == ' ') {
            memcpy(out + used, space, SPACE_BYTES);
            used += SPACE_BYTES;
        } else {
            out[used++] = text[i];
        }
    }
    return used;
}

static size_t character_at(const uint8_t *text, size_t n, size_t at) {
    size_t len = slm__utf8_length(text[at]); /* by the first byte alone, as the reference has it */
    return len < n - at ? len : n - at;
}

/* ---- Tokens ---- */

static slm_token find_piece(const slm__spm *m, const uint8_t *text, size_t n) {
    slm_token t = slm__tokens_find(m->tokens, text, n);
    return t == SLM_TOKEN_NONE || is_text(m, t) ? t : SLM_TOKEN_NONE;
}

static void put_byte(const slm__spm *m, uint8_t byte, slm__sink *sink) {
    slm_token t = m->byte_token[byte];
    if (t == SLM_TOKEN_NONE) t = m->unknown;
    if (t != SLM_TOKEN_NONE) slm__sink_put(sink, t);
}

static void put_piece(const slm__spm *m, const uint8_t *p, size_t n, slm__sink *sink) {
    slm_token t = find_piece(m, p, n);
    if (t != SLM_TOKEN_NONE) {
        slm__sink_put(sink, t);
        return;
    }
    if (n == 1 && *p == ' ') p = (const uint8_t *)space, n = SPACE_BYTES;
    for (size_t i = 0; i < n; i++) put_byte(m, p[i], sink);
}

/* ---- Short words: the highest score by looking at all ---- */

/* Rank of what the characters from at[0] to at[2] are; UINT32_MAX, which no score has: no piece. */
static uint32_t pair_rank(const slm__spm *m, const uint8_t *text, const uint32_t *at) {
    slm_token t = find_piece(m, text + at[0], at[2] - at[0]);
    return t == SLM_TOKEN_NONE ? UINT32_MAX : m->rank[t];
}

/* at[0] to at[n]: where the n characters of the word begin, and its end. */
static void encode_short(const slm__spm *m, const uint8_t *text, uint32_t *at, int n,
                         slm__sink *sink) {
    uint32_t rank[SHORT];
    for (int i = 0; i + 1 < n; i++) rank[i] = pair_rank(m, text, at + i);
    while (n > 1) {
        int best = 0;
        for (int i = 1; i + 1 < n; i++) best = rank[i] < rank[best] ? i : best;
        if (rank[best] == UINT32_MAX) break;
        n--;
        memmove(at + best + 1, at + best + 2, (size_t)(n - best) * sizeof *at);
        memmove(rank + best, rank + best + 1, (size_t)(n - best - 1) * sizeof *rank);
        if (best > 0) rank[best - 1] = pair_rank(m, text, at + best - 1);
        if (best + 1 < n) rank[best] = pair_rank(m, text, at + best);
    }
    for (int i = 0; i < n; i++) put_piece(m, text + at[i], at[i + 1] - at[i], sink);
}

/* ---- Long words: linked symbols and a heap of pairs, n log n however long ---- */

typedef struct symbol {
    uint32_t at, len;    /* in the text; len 0: joined to the one before it */
    uint32_t next, prev; /* NOWHERE at the ends */
    slm_token joined;    /* what it makes with the next one, or SLM_TOKEN_NONE */
} symbol;

typedef struct work {
    const slm__spm *m;
    const slm_allocator *allocator;
    uint8_t *text;
    symbol *symbols;
    uint64_t *heap; /* rank << 32 | symbol */
    size_t n_heap, room;
    const slm__words *words;
} work;

static bool reserve(work *w, size_t n) {
    if (n <= w->room) return true;
    slm__free(w->allocator, w->symbols);
    slm__free(w->allocator, w->heap);
    w->room = n + n / 4;
    w->symbols = slm__alloc_array(w->allocator, w->room, sizeof *w->symbols);
    /* joining takes one pair out and puts at most two in */
    w->heap = slm__alloc_array(w->allocator, w->room, 2 * sizeof *w->heap);
    if (w->symbols && w->heap) return true;
    w->room = 0;
    return false;
}

static uint32_t cut(work *w, size_t at, size_t end) {
    uint32_t count = 0;
    for (size_t len; at < end; count++, at += len) {
        len = character_at(w->text, end, at);
        w->symbols[count] =
            (symbol){(uint32_t)at, (uint32_t)len, count + 1, count - 1, SLM_TOKEN_NONE};
    }
    w->symbols[count - 1].next = NOWHERE;
    return count;
}

/* Look up the pair that begins at symbol i, and queue it. */
static void renew(work *w, uint32_t i) {
    if (i == NOWHERE) return;
    symbol *s = &w->symbols[i];
    s->joined = SLM_TOKEN_NONE;
    if (s->next == NOWHERE) return;
    s->joined = find_piece(w->m, w->text + s->at, (size_t)s->len + w->symbols[s->next].len);
    if (s->joined != SLM_TOKEN_NONE)
        slm__heap_push(w->heap, &w->n_heap, (uint64_t)w->m->rank[s->joined] << 32 | i);
}

static void join_all(work *w, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) renew(w, i);
    while (w->n_heap > 0) {
        uint64_t top = slm__heap_pop(w->heap, &w->n_heap);
        symbol *s = &w->symbols[(uint32_t)top];
        /* the pair may have changed, or its left one been joined, since it was put there */
        if (s->len == 0 || s->joined == SLM_TOKEN_NONE || w->m->rank[s->joined] != top >> 32)
            continue;
        symbol *gone = &w->symbols[s->next];
        s->len += gone->len;
        gone->len = 0;
        s->next = gone->next;
        if (s->next != NOWHERE) w->symbols[s->next].prev = (uint32_t)top;
        renew(w, s->prev);
        renew(w, (uint32_t)top);
    }
}

static bool encode_long(work *w, size_t at, size_t end, slm__sink *sink) {
    if (!reserve(w, end - at)) return false;
    join_all(w, cut(w, at, end));
    for (uint32_t i = 0; i != NOWHERE; i = w->symbols[i].next)
        put_piece(w->m, w->text + w->symbols[i].at, w->symbols[i].len, sink);
    return true;
}

/* ---- Words ---- */

/* The word that begins at `at`: its end is at[*count]; *count is SHORT + 1 if it has more than SHORT characters. */
static size_t find_word(const work *w, size_t n, size_t at, uint32_t starts[SHORT + 2],
                        int *count) {
    *count = 0;
    do {
        if (*count <= SHORT) starts[(*count)++] = (uint32_t)at;
        at += character_at(w->text, n, at);
    } while (at < n && !slm__seams_cut(w->m->seams, w->text[at - 1], w->text[at]));
    starts[*count] = (uint32_t)at;
    return at;
}

static bool encode_words(work *w, size_t n, slm__sink *sink) {
    for (size_t at = 0, end; at < n; at = end) {
        uint32_t starts[SHORT + 2];
        int count;
        end = find_word(w, n, at, starts, &count);
        if (count > SHORT) {
            if (!encode_long(w, at, end, sink)) return false;
            continue;
        }
        uint64_t key[2];
        slm__word *entry = slm__words_find(w->words, w->text + at, end - at, key);
        if (slm__words_get(entry, key, sink)) continue;
        slm_token ids[4 * SHORT]; /* a character has four bytes at most */
        slm__sink word = {ids, SLM_COUNT(ids), 0};
        encode_short(w->m, w->text, starts, count, &word);
        for (size_t i = 0; i < word.n; i++) slm__sink_put(sink, ids[i]);
        slm__words_keep(entry, key, ids, (int)word.n);
    }
    return true;
}

slm_status slm__spm_encode(const slm__spm *m, const slm_allocator *allocator,
                           const slm__words *words, const uint8_t *text, size_t n,
                           slm__sink *sink) {
    if (n == 0) return SLM_OK;
    if (n >= UINT32_MAX / SPACE_BYTES - 1) return SLM_ERR_LIMIT; /* places are 32 bits */
    work w = {.m = m, .allocator = allocator, .words = words};
    w.text = slm__alloc(allocator, (n + 1) * SPACE_BYTES);
    bool ok = w.text != NULL;
    if (ok) {
        size_t n_text = write_spaces(text, n, m->space_prefix, w.text);
        ok = encode_words(&w, slm__spaces_read(w.text, n_text), sink);
    }
    slm__free(allocator, w.heap);
    slm__free(allocator, w.symbols);
    slm__free(allocator, w.text);
    return ok ? SLM_OK : SLM_ERR_NOMEM;
}
