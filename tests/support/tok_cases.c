#include "tok_cases.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const tc_names[TC_N_NAMES] = {"smollm", "gpt-2", "llama-bpe",
                                          "qwen2",  "gemma", "gemma-prefix"};

static char *unhex(const char *hex, size_t *n) {
    *n = strcmp(hex, "-") == 0 ? 0 : strlen(hex) / 2;
    char *out = malloc(*n + 1);
    ck_assert_ptr_nonnull(out);
    for (size_t i = 0; i < *n; i++) {
        unsigned byte;
        ck_assert_int_eq(sscanf(hex + 2 * i, "%2x", &byte), 1);
        out[i] = (char)byte;
    }
    return out;
}

/* the words that are left in the line */
static void read_ids(tok_case *c, char **rest) {
    c->ids = calloc(5000, sizeof *c->ids);
    ck_assert_ptr_nonnull(c->ids);
    for (char *word; (word = strtok_r(NULL, " \n", rest));) {
        ck_assert_uint_lt(c->n_ids, 5000);
        c->ids[c->n_ids++] = (slm_token)strtol(word, NULL, 10);
    }
}

static tok_case *read_case(char *line) {
    char *rest, *word = strtok_r(line, " \n", &rest);
    tok_case *c = calloc(1, sizeof *c);
    ck_assert(word && c);
    if (*word == 't') {
        c->flags = (uint32_t)strtoul(strtok_r(NULL, " \n", &rest), NULL, 10);
        c->text = unhex(strtok_r(NULL, " \n", &rest), &c->n_bytes);
    } else {
        ck_assert_str_eq(word, "c");
        while (strcmp(word = strtok_r(NULL, " \n", &rest), "=") != 0) {
            ck_assert_uint_lt(c->n_messages, TC_MAX_MESSAGES);
            slm_message *m = &c->messages[c->n_messages++];
            m->role = strdup(word);
            m->content = unhex(strtok_r(NULL, " \n", &rest), &m->n_bytes);
        }
    }
    read_ids(c, &rest);
    return c;
}

static slm_token find_token(const slm_model *m, const char *name) {
    slm_model_info info = {.size = sizeof info};
    ck_assert_int_eq(slm_model_get_info(m, &info), SLM_OK);
    for (slm_token t = 0; t < info.n_vocab; t++) {
        const char *text;
        size_t n;
        ck_assert_int_eq(slm_token_get(m, t, &text, &n, NULL), SLM_OK);
        if (n == strlen(name) && memcmp(text, name, n) == 0) return t;
    }
    ck_abort_msg("no token %s", name);
    return SLM_TOKEN_NONE;
}

void tc_load(tok_cases *cases, const char *name) {
    char path[100];
    snprintf(path, sizeof path, "tests/data/tok/%s.gguf", name);
    slm_model_params p = slm_model_defaults();
    p.vocab_only = true;
    slm_error err;
    slm_status s = slm_model_open(path, &p, &cases->model, &err);
    ck_assert_msg(s == SLM_OK, "%s: %s", path, err.message);
    cases->user = find_token(cases->model, "[user]");
    cases->first = NULL;
    snprintf(path, sizeof path, "tests/data/tok/%s.txt", name);
    FILE *f = fopen(path, "r");
    ck_assert_msg(f != NULL, "%s", path);
    static char line[1 << 16];
    tok_case **end = &cases->first;
    while (fgets(line, sizeof line, f)) {
        *end = read_case(line);
        end = &(*end)->next;
    }
    fclose(f);
}

void tc_free(tok_cases *cases) {
    while (cases->first) {
        tok_case *c = cases->first;
        cases->first = c->next;
        for (size_t i = 0; i < c->n_messages; i++) {
            free((char *)c->messages[i].role);
            free((char *)c->messages[i].content);
        }
        free(c->text);
        free(c->ids);
        free(c);
    }
    slm_model_close(cases->model);
}
