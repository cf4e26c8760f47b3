/* Opening models: every truncation and every flipped bit of a whole one, memory and mappings that fail, paths that are no
 * files, nothing left behind. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libslm/gguf.h"
#include "support/check_alloc.h"
#include "support/gguf_build.h"
#include "support/smallest_model.h"
#include "support/strict.h"
#include "support/suite.h"

static gguf_build b;
static slm_error err;

static void teardown(void) { gb_free(&b); }

/* The file in `b`, with nothing after it. */
static void *finished(size_t *n) {
    const void *file = gb_finish(&b, n);
    return strict_copy(file, *n);
}

#define ck_says(words) ck_assert_msg(strstr(err.message, words), "%s: %s", words, err.message)

START_TEST(test_model_cut_at_every_byte) {
    size_t n;
    smallest_model(&b, &(smallest_params){0});
    const uint8_t *file = gb_finish(&b, &n);
    void *whole = strict_copy(file, n);
    ck_assert_msg(strict_open(whole, n, NULL, &err) == SLM_OK, "%s", err.message);
    free(whole);
    for (size_t cut = 0; cut < n; cut++) {
        void *part = strict_copy(file, cut);
        ck_assert_int_eq(strict_open(part, cut, NULL, &err), SLM_ERR_TRUNCATED);
        free(part);
    }
}
END_TEST

START_TEST(test_model_every_bit_flipped) {
    size_t n;
    smallest_model(&b, &(smallest_params){0});
    uint8_t *file = finished(&n);
    size_t header = n - b.tensors.n;
    check_alloc counts = {.limit = 16 << 20};
    slm_model_params params = slm_model_defaults();
    params.allocator = check_allocator(&counts);
    params.check_weights = true;
    for (size_t bit = 0; bit < 8 * header; bit++) {
        file[bit / 8] ^= (uint8_t)(1u << bit % 8);
        params.vocab_only = bit % 5 == 0;
        params.keys_only = bit % 7 == 0;
        ck_assert_int_ne(strict_open(file, n, &params, &err), SLM_ERR_NOMEM);
        ck_assert_int_eq(counts.n_live, 0);
        file[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    ck_assert_int_eq(strict_open(file, n, &params, &err), SLM_OK);
    free(file);
}
END_TEST

/* Without a vocabulary there are keys and tensors, and no tokens. */
START_TEST(test_keys_only) {
    size_t n, n_bytes;
    slm_model *m;
    slm_model_params params = slm_model_defaults();
    slm_model_info info = {.size = sizeof info};
    slm_text_stream stream = {{0}, 0, {0}};
    slm_message message = {"user", "a", 1};
    slm_context *ctx;
    gb_str(&b, "general.type", "adapter");
    smallest_tensor(&b, "some.weight", 0, 4, 3);
    void *file = finished(&n);
    ASSERT_FAILS(slm_model_open_memory(file, n, NULL, &m, &err), SLM_ERR_MISMATCH, "tokenizer");
    params.vocab_only = true;
    ASSERT_FAILS(slm_model_open_memory(file, n, &params, &m, &err), SLM_ERR_MISMATCH, "tokenizer");
    params.vocab_only = false;
    params.keys_only = true;
    ck_assert_int_eq(strict_open(file, n, &params, &err), SLM_OK);
    ck_assert_int_eq(slm_model_open_memory(file, n, &params, &m, &err), SLM_OK);
    ck_assert_int_eq(slm_model_get_info(m, &info), SLM_OK);
    ck_assert(!info.has_weights && info.n_vocab == 0 && info.n_params == 12);
    ck_assert_int_eq(slm_model_find_key(m, "general.type"), 0);
    ASSERT_FAILS(slm_tokenize(m, "a", 1, 0, NULL, 0, &n_bytes, &err), SLM_ERR_UNSUPPORTED,
                 "without its vocabulary");
    ASSERT_FAILS(slm_chat_tokenize(m, &message, 1, NULL, 0, &n_bytes, &err), SLM_ERR_UNSUPPORTED,
                 "without its vocabulary");
    ASSERT_FAILS(slm_context_create(m, NULL, &ctx, &err), SLM_ERR_UNSUPPORTED, "weights");
    ck_assert_int_eq(slm_token_get(m, 0, NULL, NULL, NULL), SLM_ERR_UNSUPPORTED);
    ck_assert_int_eq(slm_text_stream_add(m, &stream, 0, NULL, 0, &n_bytes), SLM_ERR_UNSUPPORTED);
    ck_assert_int_eq(slm_token_bos(m), SLM_TOKEN_NONE);
    ck_assert_int_eq(slm_token_eos(m), SLM_TOKEN_NONE);
    slm_model_close(m);
    free(file);
}
END_TEST

/* ---- J. Resources ---- */

START_TEST(test_fault_84_nth_allocation_fails) {
    size_t n;
    smallest_model(&b, &(smallest_params){0});
    void *file = finished(&n);
    slm_model_params params = slm_model_defaults();
    params.check_weights = true;
    for (int from = 0; from < 2; from++) {
        long k = 0;
        for (slm_status s = SLM_ERR_NOMEM; s != SLM_OK;) {
            check_alloc counts = {0};
            *(from ? &counts.fail_from : &counts.fail_at) = ++k;
            params.allocator = check_allocator(&counts);
            s = strict_open(file, n, &params, &err);
            ck_assert(s == SLM_OK ? counts.n_calls < k : s == SLM_ERR_NOMEM);
            ck_assert_int_eq(counts.n_live, 0);
        }
        ck_assert_int_gt(k, 10); /* it did meet all of them */
    }
    free(file);
}
END_TEST

static int n_descriptors(void) {
    int n = 0;
    for (int fd = 0; fd < 256; fd++) n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* A file of 8 TiB, when no such piece of the address space is free any more. */
START_TEST(test_fault_84_mmap_fails) {
    const size_t size = (size_t)1 << 43;
    int fd = memfd_create("large", 0);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
    void *taken[64];
    int n_taken = 0, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    while (n_taken < 64 &&
           (taken[n_taken] = mmap(NULL, size, PROT_NONE, flags, -1, 0)) != MAP_FAILED)
        n_taken++;
    ck_assert_int_lt(n_taken, 64);
    int before = n_descriptors();
    slm_model *m = (slm_model *)&b;
    ck_assert_int_eq(slm_model_open(path, NULL, &m, &err), SLM_ERR_NOMEM);
    ck_assert_ptr_null(m);
    strict_message(&err, SLM_ERR_NOMEM);
    ck_says("cannot map 8796093022208 bytes");
    ck_assert_int_eq(n_descriptors(), before);
    while (n_taken > 0) munmap(taken[--n_taken], size);
    close(fd);
}
END_TEST

START_TEST(test_fault_86_no_regular_file) {
    char dir[] = "/tmp/slm_test_XXXXXX", fifo[64], missing[64];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(fifo, sizeof fifo, "%s/fifo", dir);
    snprintf(missing, sizeof missing, "%s/no\nsuch\xff", dir);
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    int before = n_descriptors();
    const char *const paths[] = {fifo, dir, missing, "", "/dev/null", "/dev/zero"};
    for (size_t i = 0; i < SLM_COUNT(paths); i++) {
        slm_model *m = (slm_model *)&b;
        double begin = strict_seconds();
        ck_assert_int_eq(slm_model_open(paths[i], NULL, &m, &err), SLM_ERR_IO);
        ck_assert_double_lt(strict_seconds() - begin, 1.0);
        ck_assert_ptr_null(m);
        strict_message(&err, SLM_ERR_IO);
        if (i < 2) ck_says(paths[i]);
    }
    ck_assert_int_eq(n_descriptors(), before);
    unlink(fifo);
    rmdir(dir);
}
END_TEST

START_TEST(test_files_are_closed_and_unmapped) {
    size_t n;
    smallest_model(&b, &(smallest_params){0});
    const uint8_t *file = gb_finish(&b, &n);
    char path[] = "/tmp/slm_test_XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_eq(write(fd, file, n), (ssize_t)n);
    close(fd);
    int before = n_descriptors();
    for (int i = 0; i < 3; i++) {
        slm__gguf g;
        slm_allocator a = {0};
        ck_assert_int_eq(slm__gguf_open(&g, path, false, &a, &err), SLM_OK);
        ck_assert_int_eq(n_descriptors(), before);
        ck_assert_int_eq(memcmp(g.data, file, n), 0);
        void *page = (void *)(uintptr_t)g.data;
        ck_assert_int_eq(msync(page, n, MS_ASYNC), 0);
        slm__gguf_close(&g);
        ck_assert(msync(page, n, MS_ASYNC) != 0 && errno == ENOMEM);
        slm__gguf_close(&g); /* again: nothing */
        slm_model *m;
        ck_assert_int_eq(slm_model_open(path, NULL, &m, &err), SLM_OK);
        slm_model_close(m);
        ck_assert_int_eq(n_descriptors(), before);
    }
    unlink(path);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("open");
    TCase *c = tcase_create("open");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, NULL, teardown);
    tcase_add_test(c, test_model_cut_at_every_byte);
    tcase_add_test(c, test_model_every_bit_flipped);
    tcase_add_test(c, test_keys_only);
    tcase_add_test(c, test_fault_84_nth_allocation_fails);
    tcase_add_test(c, test_fault_84_mmap_fails);
    tcase_add_test(c, test_fault_86_no_regular_file);
    tcase_add_test(c, test_files_are_closed_and_unmapped);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
