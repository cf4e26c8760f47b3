#include "tokens.h"

enum {
    MAX_TOKENS = 1 << 21, /* published vocabularies have up to 262,144 */
    MAX_TOKEN = 65536,
    /* At the load we keep (two thirds) the worst of a million tokens needs about 200 probes. A file made to need more
     * is refused, before it makes loading quadratic; looking up stops there too. */
    MAX_PROBES = 512
};

/* Up to eight bytes as a number, without reading behind them; parts that are read twice agree. */
static uint64_t load_word(const char *p, size_t n) {
    uint64_t w = 0;
    uint32_t a, b;
    if (n >= 8) {
        memcpy(&w, p, 8);
    } else if (n >= 4) {
        memcpy(&a, p, 4);
        memcpy(&b, p + n - 4, 4);
        w = a | (uint64_t)b << 8 * (n - 4);
    } else if (n > 0) {
        w = (uint8_t)p[0] | (uint64_t)(uint8_t)p[n / 2] << 8 * (n / 2) |
            (uint64_t)(uint8_t)p[n - 1] << 8 * (n - 1);
    }
    return w;
}

/* Eight bytes at a time: loading a vocabulary is mostly this. */
slm__token_key slm__tokens_key(const void *bytes, size_t n) {
    const char *p = bytes;
    const uint64_t k = 0x9e3779b97f4a7c15u;
    uint64_t w = load_word(p, n);
    for (size_t i = 8; i < n; i += 8) {
        size_t at = n - i < 8 ? n - 8 : i;
        w = (w ^ w >> 32) * k ^ load_word(p + at, 8);
    }
    uint64_t h = (w ^ n * 0xd6e8feb86659fd93u) * k;
    h ^= h >> 29;
    h *= 0xbf58476d1ce4e5b9u;
    return (slm__token_key){w, (uint32_t)n, (uint32_t)(h >> 32)};
}

/* Whether the slot has the text; a long one may still be another of the same hash. */
static inline bool is_key(const slm__tokens *t, const slm__token_slot *slot,
                          const slm__token_key *key, const void *bytes) {
    if (slot->word != key->word || slot->len != key->len) return false;
    return key->len <= 8 || memcmp(t->text + t->at[slot->id_1 - 1], bytes, key->len) == 0;
}

slm_token slm__tokens_find_key(const slm__tokens *t, const slm__token_key *key, const void *bytes) {
    if (key->len == 0 || key->len > t->max_len) return SLM_TOKEN_NONE;
    for (uint32_t i = 0; i <= MAX_PROBES; i++) {
        const slm__token_slot *slot = &t->slots[(key->hash + i) & t->mask];
        if (slot->id_1 == 0) return SLM_TOKEN_NONE;
        if (is_key(t, slot, key, bytes)) return (slm_token)(slot->id_1 - 1);
    }
    return SLM_TOKEN_NONE;
}

slm_token slm__tokens_find(const slm__tokens *t, const void *bytes, size_t n) {
    if (n > t->max_len) return SLM_TOKEN_NONE; /* before hashing a word of any length */
    slm__token_key key = slm__tokens_key(bytes, n);
    return slm__tokens_find_key(t, &key, bytes);
}

static slm_status insert(slm__tokens *t, const slm__token_key *key, slm_token id, slm_error *err) {
    const char *text = t->text + t->at[id];
    uint32_t i = key->hash & t->mask;
    for (int probes = 0; t->slots[i].id_1 != 0; probes++, i = (i + 1) & t->mask) {
        if (probes == MAX_PROBES)
            return slm__fail(err, SLM_ERR_LIMIT, "tokenizer.ggml.tokens: %d tokens share a hash",
                             MAX_PROBES);
        if (is_key(t, &t->slots[i], key, text)) {
            t->has_equal = true;
            return SLM_OK;
        }
    }
    t->slots[i] = (slm__token_slot){key->word, key->len, (uint32_t)id + 1};
    return SLM_OK;
}

static slm_status allocate(slm__tokens *t, const slm__key *key, const slm_allocator *allocator,
                           slm_error *err) {
    if (key->n == 0) return slm__fail(err, SLM_ERR_MISMATCH, "tokenizer.ggml.tokens: no tokens");
    if (key->n > MAX_TOKENS || key->n_bytes > UINT32_MAX) {
        return slm__fail(err, SLM_ERR_LIMIT, "tokenizer.ggml.tokens: %llu tokens in %llu bytes",
                         (unsigned long long)key->n, (unsigned long long)key->n_bytes);
    }
    uint32_t n_slots = 16;
    while (n_slots < key->n + key->n / 2) n_slots *= 2;
    t->n = (int32_t)key->n;
    t->mask = n_slots - 1;
    t->text = slm__alloc(allocator, key->n_bytes - 8 * key->n); /* decoding never makes longer */
    t->at = slm__alloc_array(allocator, key->n + 1, sizeof *t->at);
    t->slots = slm__alloc_array(allocator, n_slots, sizeof *t->slots);
    t->raw = slm__alloc_array(allocator, key->n / 64 + 1, sizeof *t->raw);
    if (!t->text || !t->at || !t->slots || !t->raw)
        return slm__fail(err, SLM_ERR_NOMEM, "no memory for %d tokens", t->n);
    return SLM_OK;
}

/* Tokens decoded but not yet in the table: their slots are on the way from memory. */
typedef struct waiting {
    slm__token_key key;
    slm_token id; /* SLM_TOKEN_NONE: nothing waits here */
} waiting;

enum { AHEAD = 16 };

static slm_status decode_all(slm__tokens *t, const slm__key *key, slm__token_decode decode,
                             slm_error *err) {
    waiting ring[AHEAD];
    for (int i = 0; i < AHEAD; i++) ring[i].id = SLM_TOKEN_NONE;
    const uint8_t *at = key->data;
    uint32_t used = 0;
    for (int32_t i = 0; i < t->n + AHEAD; i++) {
        waiting *w = &ring[i % AHEAD];
        if (w->id != SLM_TOKEN_NONE) SLM_TRY(insert(t, &w->key, w->id, err));
        w->id = SLM_TOKEN_NONE;
        if (i >= t->n) continue;
        slm__str raw = slm__gguf_next_string(&at);
        if (raw.len > MAX_TOKEN) {
            return slm__fail(err, SLM_ERR_LIMIT,
                             "tokenizer.ggml.tokens: token %d has %zu bytes, at most %d", i,
                             raw.len, MAX_TOKEN);
        }
        size_t n = 0;
        bool usable = decode(raw, t->text + used, &n);
        if (!usable) {
            memcpy(t->text + used, raw.ptr, raw.len);
            n = raw.len;
            t->raw[i / 64] |= (uint64_t)1 << i % 64;
            t->n_raw++;
        }
        if (usable && n > 0) {
            *w = (waiting){slm__tokens_key(t->text + used, n), i};
            slm__tokens_prefetch(t, &w->key);
        }
        used += (uint32_t)n;
        t->at[i + 1] = used;
        if (n > t->max_len) t->max_len = (uint32_t)n;
    }
    return SLM_OK;
}

slm_status slm__tokens_load(slm__tokens *t, const slm__key *key, slm__token_decode decode,
                            const slm_allocator *allocator, slm_error *err) {
    SLM_TRY(allocate(t, key, allocator, err));
    return decode_all(t, key, decode, err);
}

void slm__tokens_free(slm__tokens *t, const slm_allocator *allocator) {
    slm__free(allocator, t->text);
    slm__free(allocator, t->at);
    slm__free(allocator, t->slots);
    slm__free(allocator, t->raw);
    *t = (slm__tokens){0};
}
