#include "trie.h"

enum { KEY_BYTES = 8 };

/* A token to be sorted: its first bytes, the first one on top. Most of what is done needs no more of its text, which lies anywhere in memory. */
typedef struct entry {
    uint64_t key;
    slm_token token;
    uint16_t len, common; /* bytes; those that it has in common with the entry before */
} entry;

static slm__str text_of(const slm__vocab *v, slm_token token) {
    slm__str text = {"", 0};
    uint32_t attributes;
    slm__vocab_token(v, token, &text, &attributes);
    return text;
}

/* ---- Sorting ---- */

static bool behind(const slm__vocab *v, const entry *a, const entry *b) {
    if (a->key != b->key) return a->key > b->key;
    if (a->len <= KEY_BYTES && a->len == b->len) return a->token > b->token;
    slm__str x = text_of(v, a->token), y = text_of(v, b->token);
    int c = memcmp(x.ptr, y.ptr, x.len < y.len ? x.len : y.len);
    if (c == 0 && x.len != y.len) return x.len > y.len;
    return c != 0 ? c > 0 : a->token > b->token;
}

/* By key, a byte at a time from the last one on, each pass stable; then, by all that they are, those of equal keys. */
static void sort_entries(const slm__vocab *v, entry *x, entry *other, uint32_t n) {
    for (int shift = 0; shift < 8 * KEY_BYTES; shift += 8) {
        uint32_t at[257] = {0};
        for (uint32_t i = 0; i < n; i++) at[(x[i].key >> shift & 255) + 1]++;
        for (int b = 0; b < 256; b++) at[b + 1] += at[b];
        for (uint32_t i = 0; i < n; i++) other[at[x[i].key >> shift & 255]++] = x[i];
        entry *t = x;
        x = other;
        other = t;
    }
    for (uint32_t begin = 0, end; begin < n; begin = end) {
        for (end = begin + 1; end < n && x[end].key == x[begin].key;) end++;
        for (uint32_t gap = (end - begin) / 2; gap > 0; gap /= 2) {
            for (uint32_t i = begin + gap; i < end; i++) {
                entry e = x[i];
                uint32_t j = i;
                for (; j >= begin + gap && behind(v, &x[j - gap], &e); j -= gap) x[j] = x[j - gap];
                x[j] = e;
            }
        }
    }
}

/* ---- Nodes ---- */

static uint16_t common(const slm__vocab *v, const entry *a, const entry *b) {
    size_t n = 0, most = a->len < b->len ? a->len : b->len;
    if (a->key != b->key) {
        n = (size_t)__builtin_clzll(a->key ^ b->key) / 8;
    } else if (most > KEY_BYTES) {
        slm__str x = text_of(v, a->token), y = text_of(v, b->token);
        for (n = KEY_BYTES; n < most && x.ptr[n] == y.ptr[n];) n++;
    } else {
        n = most;
    }
    return (uint16_t)(n < most ? n : most);
}

static uint64_t count_nodes(const slm__vocab *v, entry *x, uint32_t n) {
    uint64_t count = n > 0 ? x[0].len : 0;
    for (uint32_t i = 1; i < n; i++) {
        x[i].common = common(v, &x[i - 1], &x[i]);
        count += x[i].len - x[i].common;
    }
    return count;
}

/* `path` [longest + 1]: the node of each depth that is not closed yet. */
static void close_nodes(slm__trie *t, const uint32_t *path, size_t from, size_t to) {
    for (size_t depth = from; depth > to; depth--) {
        slm__trie_node *x = &t->nodes[path[depth]];
        x->end = t->n_nodes;
        if (depth > 1 && x->deepest > t->nodes[path[depth - 1]].deepest)
            t->nodes[path[depth - 1]].deepest = x->deepest;
    }
}

static void add_nodes(slm__trie *t, const slm__vocab *v, const entry *x, uint32_t *path) {
    size_t last = 0;
    for (uint32_t i = 0; i < t->n_tokens; i++) {
        slm__str text = {NULL, 0};
        if (x[i].len > KEY_BYTES) text = text_of(v, x[i].token);
        close_nodes(t, path, last, x[i].common);
        for (size_t depth = x[i].common + 1u; depth <= x[i].len; depth++) {
            uint8_t byte = depth <= KEY_BYTES ? (uint8_t)(x[i].key >> 8 * (KEY_BYTES - depth))
                                              : (uint8_t)text.ptr[depth - 1];
            path[depth] = t->n_nodes;
            t->nodes[t->n_nodes++] = (slm__trie_node){
                .token = i, .depth = (uint16_t)depth, .deepest = (uint16_t)depth, .byte = byte};
        }
        t->tokens[i] = x[i].token;
        last = x[i].len;
    }
    close_nodes(t, path, last, 0);
    t->nodes[t->n_nodes] = (slm__trie_node){.end = t->n_nodes, .token = t->n_tokens};
    uint32_t node = 0;
    for (uint32_t b = 0; b <= 256; b++) {
        while (node < t->n_nodes && t->nodes[node].byte < b) node = t->nodes[node].end;
        t->first[b] = node;
    }
}

static void sort_by_length(slm__trie *t) {
    for (uint32_t i = 0; i < t->n_nodes; i++)
        t->length_at[t->nodes[i].depth] += t->nodes[i + 1].token - t->nodes[i].token;
    for (uint32_t n = 1; n <= t->longest + 1; n++) t->length_at[n] += t->length_at[n - 1];
    for (uint32_t i = t->n_nodes; i-- > 0;)
        for (uint32_t k = t->nodes[i].token; k < t->nodes[i + 1].token; k++)
            t->by_length[--t->length_at[t->nodes[i].depth]] = t->tokens[k];
    /* length_at[n] is now the first token of n bytes */
}

/* ---- All of it ---- */

static slm_status fill(slm__trie *t, const slm__vocab *v, const slm_allocator *a, entry *x,
                       slm_error *err) {
    for (slm_token token = 0; token < t->n_vocab; token++) {
        slm__str text = {"", 0};
        uint32_t attributes = 0;
        slm__vocab_token(v, token, &text, &attributes);
        t->n_eog += (attributes & SLM_TOKEN_EOG) != 0;
        if (!slm__trie_has(text, attributes)) continue;
        entry e = {.token = token, .len = (uint16_t)text.len};
        for (size_t i = 0; i < KEY_BYTES; i++)
            e.key = e.key << 8 | (i < text.len ? (uint8_t)text.ptr[i] : 0);
        if (text.len > t->longest) t->longest = (uint32_t)text.len;
        x[t->n_tokens++] = e;
    }
    sort_entries(v, x, x + t->n_vocab, t->n_tokens);
    uint64_t n_nodes = count_nodes(v, x, t->n_tokens);
    if (n_nodes >= UINT32_MAX / 2)
        return slm__fail(err, SLM_ERR_LIMIT, "the vocabulary's tokens have too many bytes");
    t->nodes = slm__alloc_array(a, n_nodes + 1, sizeof *t->nodes);
    t->tokens = slm__alloc_array(a, t->n_tokens, sizeof *t->tokens);
    t->eog = slm__alloc_array(a, t->n_eog, sizeof *t->eog);
    t->by_length = slm__alloc_array(a, t->n_tokens, sizeof *t->by_length);
    t->length_at = slm__alloc_array(a, (uint64_t)t->longest + 2, sizeof *t->length_at);
    uint32_t *path = slm__alloc_array(a, (uint64_t)t->longest + 1, sizeof *path);
    bool ok = t->nodes && t->tokens && t->eog && t->by_length && t->length_at && path;
    if (ok) add_nodes(t, v, x, path);
    slm__free(a, path);
    if (!ok) return slm__fail(err, SLM_ERR_NOMEM, "no memory for the tokens of a vocabulary");
    uint32_t n_eog = 0;
    sort_by_length(t);
    for (slm_token token = 0; token < t->n_vocab && t->n_eog > 0; token++) {
        slm__str text;
        uint32_t attributes = 0;
        slm__vocab_token(v, token, &text, &attributes);
        if (attributes & SLM_TOKEN_EOG) t->eog[n_eog++] = token;
    }
    return SLM_OK;
}

slm_status slm__trie_create(const slm__vocab *v, const slm_allocator *a, slm__trie **out,
                            slm_error *err) {
    *out = NULL;
    slm__trie *t = slm__alloc(a, sizeof *t);
    int32_t n = slm__vocab_n_tokens(v);
    entry *x = slm__alloc_array(a, 2 * (uint64_t)n, sizeof *x);
    slm_status s = SLM_OK;
    if (!t || !x) s = slm__fail(err, SLM_ERR_NOMEM, "no memory for the tokens of a vocabulary");
    if (s == SLM_OK) {
        t->n_vocab = n;
        t->n_words = ((uint32_t)n + 63) / 64;
        s = fill(t, v, a, x, err);
    }
    slm__free(a, x);
    if (s == SLM_OK)
        *out = t;
    else
        slm__trie_free(t, a);
    return s;
}

void slm__trie_free(slm__trie *t, const slm_allocator *a) {
    if (!t) return;
    slm__free(a, t->nodes);
    slm__free(a, t->tokens);
    slm__free(a, t->eog);
    slm__free(a, t->by_length);
    slm__free(a, t->length_at);
    slm__free(a, t);
}
