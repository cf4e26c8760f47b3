/* The cases of tests/data/tok, made by make_tok_fixtures.py: a vocabulary, texts and conversations with their ids. */
#ifndef TESTS_TOK_CASES_H
#define TESTS_TOK_CASES_H

#include "../../include/slm.h"

/* The first ones are byte-level; the last one puts a space in front of a text. */
enum { TC_N_NAMES = 6, TC_N_BYTE_LEVEL = 4, TC_MAX_MESSAGES = 8 };
extern const char *const tc_names[TC_N_NAMES];

typedef struct tok_case {
    struct tok_case *next;
    char *text; /* when it is no conversation */
    size_t n_bytes;
    uint32_t flags;
    slm_message messages[TC_MAX_MESSAGES];
    size_t n_messages; /* 0: a text */
    slm_token *ids;
    size_t n_ids;
} tok_case;

typedef struct tok_cases {
    slm_model *model;
    slm_token user; /* "[user]", which all of the vocabularies have */
    tok_case *first;
} tok_cases;

/* From the folder of the project. Ends the test when something is not as it should be. */
void tc_load(tok_cases *cases, const char *name);
void tc_free(tok_cases *cases);

#endif
