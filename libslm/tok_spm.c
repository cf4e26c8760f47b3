/*
 * SentencePiece BPE (Kudo and Richardson 2018, arXiv:1808.06226) as files with tokenizer.ggml.model "llama" have it: a score for each
 * piece, where the published model had merges.
 *
 * The text is cut into characters. Of all neighbours that together are a piece, those of the highest score are joined, the leftmost
 * first, until none are. Spaces are characters like others and are written as U+2581 in the file; our tokens are decoded, so here they
 * are spaces again.
 */
#include "tok_spm.h"

#include <math.h>
#include <stdio.h>

#include "heap.h"

#define NOWHERE UINT32_MAX

static const char space[] = "\xe2\x96\x81"; /* U+2581 */
enum { SPACE_BYTES = sizeof space - 1 };

static bool is_space(const uint8_t *p, size_t n) {
    return n >= SPACE_BYTES && memcmp(p, space, SPACE_BYTES) == 0;
}

/* A piece with a space of its own matches no text: there, they are all U+2581. */
bool slm__spm_decode(slm__str raw, char *out, size_t *n_out) {
    const uint8_t *p = (const uint8_t *)raw.ptr, *end = p + raw.len;
    char *to = out;
    while (p < end) {
        if (*p == ' ') return false;
        bool spaced = is_space(p, (size_t)(end - p));
        *to++ = spaced ? ' ' : (char)*p;
        p += spaced ? SPACE_BYTES : 1;
    }
    *n_out = (size_t)(to - out);
    return true;
}

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

slm_status slm__spm_load(slm__spm *m, const slm__gguf *g, const slm__tokens *tokens,
                         const uint8_t *attributes, const slm_allocator *allocator,
                         slm_error *err) {
    bool found;
    m->tokens = tokens;
    m->attributes = attributes;
    m->space_prefix = true;
    SLM_TRY(slm__gguf_bool(g, "tokenizer.ggml.add_space_prefix", &m->space_prefix, &found, err));
    for (int i = 0; i < 256; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)i);
        m->byte_token[i] = slm__tokens_find(tokens, name, 6);
    }
    return load_ranks(m, g, allocator, err);
}

void slm__spm_free(slm__spm *m, const slm_allocator *allocator) {
    slm__free(allocator, m->rank);
    m->rank = NULL;
}

/* ---- Text to characters ---- */

/* Length of the character by its first byte alone, as the reference has it. */
static size_t character_bytes(uint8_t first) {
    return first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

typedef struct symbol {
    uint32_t at, len;    /* in the text; len 0: joined to the one before it */
    uint32_t next, prev; /* NOWHERE at the ends */
    slm_token joined;    /* what it makes with the next one, or SLM_TOKEN_NONE */
} symbol;

typedef struct work {
    const slm__spm *m;
    uint8_t *text;
    symbol *symbols;
    uint64_t *heap; /* rank << 32 | symbol */
    size_t n_heap;
} work;

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

/* Characters of the text, whose spaces become spaces again: it only grows shorter. Returns how many. */
static uint32_t cut(uint8_t *text, size_t n, symbol *symbols) {
    uint32_t count = 0, used = 0;
    for (size_t at = 0; at < n; count++) {
        size_t len = character_bytes(text[at]);
        if (len > n - at) len = n - at;
        symbol *s = &symbols[count];
        *s = (symbol){used, (uint32_t)len, count + 1, count - 1, SLM_TOKEN_NONE};
        if (len == SPACE_BYTES && is_space(text + at, len)) {
            s->len = 1;
            text[used] = ' ';
        } else {
            memmove(text + used, text + at, len);
        }
        used += s->len;
        at += len;
    }
    if (count > 0) symbols[count - 1].next = NOWHERE;
    return count;
}

/* ---- Joining ---- */

static slm_token find_piece(const slm__spm *m, const uint8_t *text, size_t n) {
    slm_token t = slm__tokens_find(m->tokens, text, n);
    const uint8_t never = SLM_TOKEN_CONTROL | SLM_TOKEN_UNKNOWN | SLM_TOKEN_BYTE;
    return t == SLM_TOKEN_NONE || m->attributes[t] & never ? SLM_TOKEN_NONE : t;
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

/* ---- Tokens ---- */

static void put_byte(const slm__spm *m, uint8_t byte, slm__sink *sink) {
    slm_token t = m->byte_token[byte];
    if (t == SLM_TOKEN_NONE) t = m->unknown;
    if (t != SLM_TOKEN_NONE) slm__sink_put(sink, t);
}

static void put_symbol(const work *w, const symbol *s, slm__sink *sink) {
    const uint8_t *p = w->text + s->at;
    slm_token t = find_piece(w->m, p, s->len);
    if (t != SLM_TOKEN_NONE) {
        slm__sink_put(sink, t);
        return;
    }
    size_t n = s->len;
    if (n == 1 && *p == ' ') p = (const uint8_t *)space, n = SPACE_BYTES;
    for (size_t i = 0; i < n; i++) put_byte(w->m, p[i], sink);
}

bool slm__spm_encode(const slm__spm *m, const slm_allocator *allocator, const uint8_t *text,
                     size_t n, slm__sink *sink) {
    if (n == 0) return true;
    if (n >= UINT32_MAX / SPACE_BYTES - 1) return false; /* places are 32 bits */
    size_t room = (n + 1) * SPACE_BYTES;
    work w = {.m = m, .text = slm__alloc(allocator, room)};
    bool ok = w.text != NULL;
    if (ok) {
        size_t n_text = write_spaces(text, n, m->space_prefix, w.text);
        w.symbols = slm__alloc_array(allocator, n_text, sizeof *w.symbols);
        /* joining takes one pair out and puts at most two in */
        w.heap = slm__alloc_array(allocator, n_text, 2 * sizeof *w.heap);
        ok = w.symbols && w.heap;
        if (ok) {
            join_all(&w, cut(w.text, n_text, w.symbols));
            for (uint32_t i = 0; i != NOWHERE; i = w.symbols[i].next)
                put_symbol(&w, &w.symbols[i], sink);
        }
    }
    slm__free(allocator, w.heap);
    slm__free(allocator, w.symbols);
    slm__free(allocator, w.text);
    return ok;
}
