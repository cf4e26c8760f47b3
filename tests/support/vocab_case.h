/* A fixture of tests that build one vocabulary each, of gpt-2's kind: `v` begins anew with each test, `err` is for its calls. */
#ifndef TESTS_VOCAB_CASE_H
#define TESTS_VOCAB_CASE_H

#include "vocab_build.h"

static vocab_build v;
static slm_error err;

static inline void setup(void) {
    v = (vocab_build){.pre = "gpt-2"};
    vb_begin(&v);
}

static inline void teardown(void) { vb_free(&v); }

/* Another vocabulary in the same test. */
static inline void again(void) {
    teardown();
    setup();
}

#endif
