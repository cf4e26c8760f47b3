/* Every architecture as a tiny random model, some of them twice with other keys, and what plain_forward() must know of each. */
#ifndef TESTS_FAMILIES_H
#define TESTS_FAMILIES_H

#include "plain_forward.h"
#include "tiny_model.h"

enum {
    N_TINY_FAMILIES = 13,
    TINY_FAMILY_TOKENS = 150 /* two borders of cache pages, some windows */
};

typedef struct tiny_family {
    const char *name;
    tiny_shape shape;
    plain_options options;
    uint64_t hash; /* golden: hash_of_text() of TINY_FAMILY_TOKENS, cache in f16 */
} tiny_family;

extern const tiny_family tiny_families[N_TINY_FAMILIES];

#endif
