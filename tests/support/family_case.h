/* Every architecture as a tiny random model. */
#ifndef TESTS_FAMILY_CASE_H
#define TESTS_FAMILY_CASE_H

#include "plain_forward.h"
#include "tiny_model.h"

enum { FAMILY_VOCAB = 260, FAMILY_TOKENS = 150 }; /* two borders of cache pages, some windows */

typedef struct family {
    const char *name;
    tiny_shape shape;
    plain_options options;
    uint64_t hash;      /* of the logits after FAMILY_TOKENS tokens, hash_of_text()         */
    uint64_t embedding; /* of the two vectors of the text, mean and last, one after the other */
} family;

enum { N_FAMILIES = 14 };
extern const family families[N_FAMILIES];

#endif
