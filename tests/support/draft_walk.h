/* What a draft of a grammar fits, by plain means: random texts of it, and whether it fits a text. Shares nothing with the engine. */
#ifndef TESTS_DRAFT_WALK_H
#define TESTS_DRAFT_WALK_H

#include "../../libslm/draft.h"

typedef struct dw_text {
    char *bytes;
    size_t n, room;
} dw_text;

/* A random text of the rule; about `wanted` bytes, more only if it has to be. The same seed gives the same text. */
void dw_generate(const slm__draft *d, int32_t rule, uint64_t seed, size_t wanted, dw_text *out);

/* Does the rule fit the whole text? */
bool dw_accepts(const slm__draft *d, int32_t rule, const char *text, size_t n);

#endif
