/* What samplers ask of a matcher beyond slm.h. */
#ifndef SLM_MATCHER_H
#define SLM_MATCHER_H

#include "base.h"

/* Bits of its masks. */
int32_t slm__matcher_n_vocab(const slm_matcher *m);

#endif
