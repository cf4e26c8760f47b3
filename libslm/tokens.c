#include "tokens.h"

enum {
    MAX_TOKENS = 14 << 16, /* published vocabularies have up to 262,144, one has 901,629 */
    MAX_TOKEN = 65536,
    SPARSE = 1 << 18,
    /* At most two thirds of the slots are taken, and who is further from its place goes first (Celis 1986, "Robin Hood hashing"), beyond the
     * first few: then a token is found within some 30 probes, and a million of them take 2 each to be put there. A file made to need more is
     * refused. */
    CLOSE = 8,
    MAX_PROBES = 64,
    MAX_PROBES_EACH = 16 /* of all tokens, and 4096 */
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

static uint32_t hash_of(uint64_t word, uint64_t n) {
    uint64_t h = (word ^ n * 0xd6e8feb86659fd93u) * 0x9e3779b97f4a7c15u;
    h ^= h >> 29;
    return (uint32_t)(h * 0xbf58476d1ce4e5b9u >> 32);
}

/* Eight bytes at a time: loading a vocabulary is mostly this. */
slm__token_key slm__tokens_key(const void *bytes, size_t n) {
    const char *p = bytes;
    uint64_t w = load_word(p, n);
    for (size_t i = 8; i < n; i += 8) {
        size_t at = n - i < 8 ? n - 8 : i;
        w = (w ^ w >> 32) * 0x9e3779b97f4a7c15u ^ load_word(p + at, 8);
    }
    return (slm__token_key){w, (uint32_t)n, hash_of(w, n)};
}

/* Whether the slot has the text; a long one may still be another of the same hash. */
static inline bool is_key(const slm__tokens *t, const slm__token_slot *slot,
                          const slm__token_key *key, const void *bytes) {
    if (slot->word != key->word || slot->len != key->len) return false;
    return key->len <= 8 || memcmp(t->text + t->at[slot->id_1 - 1], bytes, key->len) == 0;
}

slm_token slm__tokens_find_key(const slm__tokens *t, const slm__token_key *key, const void *bytes) {
    if (key->len == 0 || key->len > t->max_len) return SLM_TOKEN_NONE;
    uint32_t i = slm__tokens_place(t, key->hash);
    for (int probes = 0; probes <= MAX_PROBES && t->slots[i].id_1 != 0; probes++) {
        if (is_key(t, &t->slots[i], key, bytes)) return (slm_token)(t->slots[i].id_1 - 1);
        if (++i == t->n_slots) i = 0;
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
    slm__token_slot x = {key->word, key->len, (uint32_t)id + 1};
    uint32_t i = slm__tokens_place(t, key->hash), far = 0;
    bool placed = false; /* what moves on now is another one, which is equal to none */
    for (; t->slots[i].id_1 != 0; far++, t->n_probes++, i = i + 1 == t->n_slots ? 0 : i + 1) {
        slm__token_slot *slot = &t->slots[i];
        if (!placed && is_key(t, slot, key, text)) {
            t->has_equal = true;
            return SLM_OK;
        }
        if (far == MAX_PROBES || t->n_probes > MAX_PROBES_EACH * (uint64_t)t->n + 4096)
            return slm__fail(err, SLM_ERR_LIMIT,
                             "tokenizer.ggml.tokens: too many tokens share a hash, up to %d", id);
        if (far < CLOSE) continue;
        uint32_t home = slm__tokens_place(t, hash_of(slot->word, slot->len));
        uint32_t its = i >= home ? i - home : i + t->n_slots - home;
        if (its >= far) continue;
        slm__token_slot moved = *slot;
        *slot = x;
        x = moved;
        far = its;
        placed = true;
    }
    t->slots[i] = x;
    return SLM_OK;
}

static slm_status allocate(slm__tokens *t, const slm__key *key, const slm_allocator *allocator,
                           slm_error *err) {
    if (key->n == 0) return slm__fail(err, SLM_ERR_MISMATCH, "tokenizer.ggml.tokens: no tokens");
    if (key->n > MAX_TOKENS || key->n_bytes > UINT32_MAX) {
        return slm__fail(err, SLM_ERR_LIMIT, "tokenizer.ggml.tokens: %llu tokens in %llu bytes",
                         (unsigned long long)key->n, (unsigned long long)key->n_bytes);
    }
    t->n = (int32_t)key->n;
    t->n_slots = 16; /* twice as many where that is little memory, else half as many more */
    while (t->n_slots < key->n + key->n / 2) t->n_slots *= 2;
    if (key->n > SPARSE) t->n_slots = (uint32_t)(key->n + key->n / 2);
    t->text = slm__alloc(allocator, key->n_bytes - 8 * key->n); /* decoding never makes longer */
    t->at = slm__alloc_array(allocator, key->n + 1, sizeof *t->at);
    t->slots = slm__alloc_table(allocator, t->n_slots, sizeof *t->slots);
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
