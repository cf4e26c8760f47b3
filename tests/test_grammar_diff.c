/* Random grammars and texts: the automaton and the definition (support/grammar_oracle) allow the same ones, and know of the same that they may still
 * become one.
 *
 * GRAMMAR_PAIRS is how many pairs of a grammar and a text to compare (default: 30,000), GRAMMAR_SEED where to begin. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../libslm/machine.h"
#include "support/grammar_oracle.h"
#include "support/suite.h"

enum { TEXTS = 24 };

static uint32_t number(const char *name, uint32_t otherwise) {
    const char *text = getenv(name);
    return text ? (uint32_t)strtoul(text, NULL, 10) : otherwise;
}

/* Bit i: the first i bytes are a text of the grammar. */
static uint64_t run(slm__machine *m, const char *text, int n, bool *alive) {
    uint32_t set = slm__machine_start(m);
    uint64_t ends = 0;
    for (int i = 0;; i++) {
        if (set == SET_FAILED) return UINT64_MAX;
        ends |= (uint64_t)m->sets.p[set].ends << i;
        if (i == n) break;
        set = slm__machine_byte(m, set, (uint8_t)text[i]);
    }
    *alive = set != SET_DEAD;
    return ends;
}

static int random_text(const go_grammar *g, char *text, uint32_t *seed) {
    static const char bytes[] = "abc\"\n\\\xc3\xa9\xe2\x82\xac\xad\xf0\x9f\x98\x80\xed\xa0x";
    int n = 0, max = (int)(go_random(seed) >> 8) % 16;
    if (go_random(seed) >> 8 & 3)
        n = go_sample(g, text, seed);
    else
        while (n < max) text[n++] = bytes[(go_random(seed) >> 8) % (sizeof bytes - 1)];
    for (uint32_t changes = go_random(seed) >> 8 & 3; changes > 0 && n > 0; changes--) {
        int at = (int)((go_random(seed) >> 8) % (uint32_t)n);
        switch (go_random(seed) >> 8 & 3) {
        case 0: text[at] = bytes[(go_random(seed) >> 8) % (sizeof bytes - 1)]; break;
        case 1: memmove(text + at, text + at + 1, (size_t)(--n - at)); break;
        case 2: n = at; break;
        default: break;
        }
    }
    return n;
}

typedef struct counts {
    uint32_t pairs, grammars, matched, viable, refused, limits, full;
} counts;

static void compare_texts(const go_grammar *g, const slm_grammar *compiled, const char *printed,
                          uint32_t seed, counts *c) {
    slm__machine m;
    slm_error err;
    ck_assert_int_eq(slm__machine_init(&m, compiled, &(slm_allocator){0}, &err), SLM_OK);
    for (int i = 0; i < TEXTS; i++) {
        char text[GO_MAX_TEXT + 1];
        bool viable, alive;
        int n = random_text(g, text, &seed);
        uint64_t expected = go_match(g, text, n, &viable), got = run(&m, text, n, &alive);
        if (got == UINT64_MAX) {
            ck_assert_int_eq(m.status, SLM_ERR_LIMIT);
            c->full++;
            if (getenv("GRAMMAR_SHOW")) printf("FULL %s\n", printed);
            continue;
        }
        if (expected != got || viable != alive) {
            printf("%s---- %d bytes:", printed, n);
            for (int k = 0; k < n; k++) printf(" %02x", (unsigned char)text[k]);
            printf("\n");
            ck_assert_uint_eq(expected, got);
            ck_assert_int_eq(viable, alive);
        }
        c->pairs++;
        c->matched += expected >> n & 1;
        c->viable += viable;
    }
    slm__machine_free(&m);
}

START_TEST(same_texts) {
    counts c = {0};
    uint32_t seed = number("GRAMMAR_SEED", 0x2545f491), wanted = number("GRAMMAR_PAIRS", 30000);
    while (c.pairs < wanted) {
        static go_grammar g;
        static char printed[1 << 16];
        slm_grammar *compiled;
        slm_error err;
        go_make(&g, &seed);
        size_t n = go_print(&g, printed, sizeof printed, &seed);
        slm_status s = slm_grammar_parse(printed, n, NULL, &compiled, &err);
        c.grammars++;
        if (s == SLM_ERR_LIMIT) {
            c.limits++;
            continue;
        }
        bool good = g.productive[g.rules[0]] && !go_left_recursive(&g);
        if (good != (s == SLM_OK)) printf("%s%s\n", printed, err.message);
        ck_assert_int_eq(s, good ? SLM_OK : SLM_ERR_FORMAT);
        if (s != SLM_OK) {
            c.refused++;
            continue;
        }
        compare_texts(&g, compiled, printed, go_random(&seed), &c);
        slm_grammar_free(compiled);
    }
    if (getenv("GRAMMAR_PAIRS"))
        printf("%u pairs, %u grammars, %u texts match, %u may, %u grammars refused, %u too large, "
               "%u texts too ambiguous\n",
               c.pairs, c.grammars, c.matched, c.viable, c.refused, c.limits, c.full);
    ck_assert_uint_gt(c.matched, c.pairs / 16);
    ck_assert_uint_lt(c.viable, c.pairs - c.pairs / 16);
    ck_assert_uint_gt(c.refused, c.grammars / 200);
    ck_assert_uint_le(c.limits, c.grammars / 200);
    ck_assert_uint_le(c.full, c.pairs / 200);
}
END_TEST

int main(void) {
    Suite *s = suite_create("grammar_diff");
    TCase *t = tcase_create("random");
    tcase_set_timeout(t, 36000);
    tcase_add_test(t, same_texts);
    suite_add_tcase(s, t);
    return run_suite(s);
}
