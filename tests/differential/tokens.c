/*
 * Token ids of this library against those of llama.cpp, on random and mutated texts; run.py builds and runs it.
 *
 *     tokens MODEL compare N SEED    N texts, special tokens in them read and not: what differs; exit code 1 if anything does
 *     tokens MODEL hashes N SEED     two lines: hashes of the ids of llama.cpp, for tests/data/tok/peer.txt
 *     tokens MODEL cases INP OUT     the cases of llama.cpp
 */
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/texts.h"

enum { ROOM = 3 * TX_MAX_BYTES + 16, MAX_SHOWN = 20 };

typedef struct both {
    slm_model *ours;
    const struct llama_vocab *theirs;
    slm_token *a, *b;
} both;

static void be_quiet(enum ggml_log_level level, const char *text, void *user) {
    (void)level, (void)text, (void)user;
}

static int32_t their_ids(void *user, const uint8_t *text, size_t n, bool special, slm_token *out) {
    return llama_tokenize(((both *)user)->theirs, (const char *)text, (int32_t)n, out, ROOM, false,
                          special);
}

static int32_t our_ids(void *user, const uint8_t *text, size_t n, bool special, slm_token *out) {
    size_t n_ids = 0;
    slm_error err;
    if (slm_tokenize(((both *)user)->ours, (const char *)text, n,
                     special ? SLM_TOKENIZE_SPECIAL : 0, out, ROOM, &n_ids, &err) == SLM_OK)
        return (int32_t)n_ids;
    fprintf(stderr, "slm_tokenize: %s\n", err.message);
    return -1;
}

static void show(const char *name, const slm_token *ids, int32_t n) {
    printf("  %s", name);
    for (int32_t i = 0; i < n; i++) printf(" %d", ids[i]);
    printf("\n");
}

static bool equal(both *m, const uint8_t *text, size_t n, bool special) {
    int32_t n_a = our_ids(m, text, n, special, m->a), n_b = their_ids(m, text, n, special, m->b);
    if (n_a == n_b && memcmp(m->a, m->b, (size_t)n_a * sizeof *m->a) == 0) return true;
    printf("special %d: \"", special);
    for (size_t i = 0; i < n; i++)
        printf(text[i] >= 0x20 && text[i] < 0x7f && text[i] != '\\' ? "%c" : "\\x%02x", text[i]);
    printf("\"\n");
    show("ours  ", m->a, n_a);
    show("theirs", m->b, n_b);
    return false;
}

static int compare(both *m, texts *t, long n) {
    long differ = 0, bytes = 0;
    for (long i = 0; i < n && differ < MAX_SHOWN; i++) {
        tx_next(t);
        bytes += (long)t->n;
        for (int special = 0; special < 2; special++) differ += !equal(m, t->text, t->n, special);
    }
    printf("%ld texts, %ld bytes, %ld differ\n", n, bytes, differ);
    return differ > 0;
}

static char *read_file(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    char *text = f ? malloc(1 << 22) : NULL;
    *n = text ? fread(text, 1, (1 << 22) - 1, f) : 0;
    if (text) text[*n] = '\0';
    if (f) fclose(f);
    return text;
}

/* Texts between marks, and a line of ids for each. */
static int cases(both *m, const char *inp, const char *out) {
    static const char mark[] = "\n__ggml_vocab_test__\n";
    size_t n_texts, n_ids;
    char *texts = read_file(inp, &n_texts), *ids = read_file(out, &n_ids);
    if (!texts || !ids) return 2;
    int n = 0, differ = 0;
    for (char *at = texts, *line = ids, *end; at; at = end ? end + sizeof mark - 1 : NULL, n++) {
        end = strstr(at, mark);
        size_t len = end ? (size_t)(end - at) : strlen(at);
        if (!end && len == 0) break;
        int32_t n_a = our_ids(m, (const uint8_t *)at, len, false, m->a);
        bool same = true;
        for (int32_t i = 0; i < n_a; i++) {
            char *next;
            same = same && strtol(line, &next, 10) == m->a[i] && next > line;
            line = next;
        }
        line += strspn(line, " ");
        same = same && (*line == '\n' || *line == '\0');
        line = strchr(line, '\n');
        if (line) line++;
        differ += !same;
        if (!same) printf("case %d differs\n", n);
        if (!line) break;
    }
    printf("%d cases, %d differ\n", n, differ);
    free(texts);
    free(ids);
    return differ > 0;
}

int main(int argc, char **argv) {
    if (argc < 5) return 2;
    llama_log_set(be_quiet, NULL);
    struct llama_model_params theirs = llama_model_default_params();
    theirs.vocab_only = true;
    struct llama_model *peer = llama_model_load_from_file(argv[1], theirs);
    slm_model_params params = slm_model_defaults();
    params.vocab_only = true;
    slm_error err;
    both m = {NULL, peer ? llama_model_get_vocab(peer) : NULL, malloc(ROOM * sizeof *m.a),
              malloc(ROOM * sizeof *m.b)};
    if (!peer || !m.a || !m.b || slm_model_open(argv[1], &params, &m.ours, &err) != SLM_OK) {
        fprintf(stderr, "%s: cannot be opened: %s\n", argv[1],
                m.a && m.b && peer ? err.message : "");
        return 2;
    }
    if (strcmp(argv[2], "cases") == 0) return cases(&m, argv[3], argv[4]);
    texts t;
    long n = strtol(argv[3], NULL, 10);
    uint64_t seed = strtoull(argv[4], NULL, 10);
    if (!tx_make(&t, m.ours, seed)) return 2;
    if (strcmp(argv[2], "compare") == 0) return compare(&m, &t, n);
    for (int special = 0; special < 2; special++) {
        t.state = seed;
        if (!tx_print_hashes(&t, (int)n, special, their_ids, &m)) return 2;
    }
    return 0;
}
