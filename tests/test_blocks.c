/* Every block type against the Python package `gguf`: tests/data/blocks.bin, made by make_block_fixtures.py. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/kernels.h"
#include "support/suite.h"

enum { MAX_FILE = 1 << 20, N_WEIGHTS = 1024 };

static uint8_t file[MAX_FILE];
static size_t n_file;

static void read_fixture(void) {
    FILE *f = fopen("tests/data/blocks.bin", "rb");
    ck_assert_ptr_nonnull(f);
    n_file = fread(file, 1, sizeof file, f);
    fclose(f);
    ck_assert(n_file > 0 && n_file < sizeof file);
}

/* The record of a type, or NULL. */
static const uint8_t *find(const char *name, uint32_t *n_bytes) {
    for (size_t at = 0; at + 16 <= n_file;) {
        uint32_t n[2];
        memcpy(n, file + at + 8, sizeof n);
        ck_assert_uint_eq(n[0], N_WEIGHTS);
        *n_bytes = n[1];
        if (strncmp((const char *)file + at, name, 8) == 0) return file + at + 16;
        at += 16 + n[1] + n[0] * sizeof(float);
    }
    return NULL;
}

/* No tolerance: both round the same products and sums. */
START_TEST(test_dequantize_equals_gguf) {
    const slm_type_info *info = &slm__type_info[_i];
    uint32_t n_bytes;
    read_fixture();
    const uint8_t *blocks = find(info->name, &n_bytes);
    ck_assert_msg(blocks != NULL, "no fixture of %s", info->name);
    ck_assert_uint_eq(n_bytes, N_WEIGHTS / info->block_weights * info->block_bytes);
    float want[N_WEIGHTS], got[N_WEIGHTS];
    memcpy(want, blocks + n_bytes, sizeof want);
    void *aligned = aligned_alloc(64, (n_bytes + 63) / 64 * 64);
    ck_assert_ptr_nonnull(aligned);
    memcpy(aligned, blocks, n_bytes);
    const slm_kernels *k;
    for (int32_t level = 0; (k = slm__kernels_level(level)); level++) {
        k->dequantize[_i](aligned, N_WEIGHTS, got);
        for (int i = 0; i < N_WEIGHTS; i++)
            ck_assert_msg(got[i] == want[i], "%s, %s: weight %d is %.9g, expected %.9g", k->name,
                          info->name, i, got[i], want[i]);
    }
    free(aligned);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("blocks");
    TCase *c = tcase_create("blocks");
    tcase_add_loop_test(c, test_dequantize_equals_gguf, 0, SLM_N_TYPES);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
