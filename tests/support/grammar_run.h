/* Does a compiled grammar fit a text? By the engine, without a vocabulary. */
#ifndef TESTS_GRAMMAR_RUN_H
#define TESTS_GRAMMAR_RUN_H

#include "../../include/slm.h"

typedef struct grammar_run grammar_run;

grammar_run *gr_new(const slm_grammar *g);
bool gr_accepts(grammar_run *r, const char *text, size_t n);

/* The same of a text of tokens: ff and a number in 4 bytes, big end first, is the token of that number, which has no text; each other character is a token 0. */
bool gr_accepts_tokens(grammar_run *r, const char *text, size_t n);
void gr_free(grammar_run *r);

#endif
