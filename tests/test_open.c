/* Opening models: every truncation and every flipped bit of a whole one, memory and mappings that fail, paths that are no
 * files, nothing left behind. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libslm/pool.h"
#include "../libslm/prefetch.h"
#include "support/check_alloc.h"
#include "support/gguf_build.h"
#include "support/smallest_model.h"
#include "support/strict.h"
#include "support/suite.h"
#include "support/tiny_model.h"

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

/* ---- params.prefetch ---- */

static const tiny_shape tiny = {.n_vocab = 300,
                                .n_embd = 256,
                                .n_layer = 4,
                                .n_head = 4,
                                .n_head_kv = 2,
                                .n_ff = 768,
                                .seed = 1};

/* The tiny model, of 12 MB, as a file. arch: NULL, or one that is not known. */
static void write_tiny(const char *arch, char path[32], size_t *n) {
    tiny_shape shape = tiny;
    shape.arch = arch;
    tiny_model(&b, &shape);
    const void *file = gb_finish(&b, n);
    strcpy(path, "/tmp/slm_test_XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_eq(write(fd, file, *n), (ssize_t)*n);
    close(fd);
}

/* Bytes of the mapping that holds `data` which the process has without another fault; -1: there is none. */
static long mapped_bytes(const void *data) {
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512];
    long kib = -1;
    bool here = false;
    ck_assert_ptr_nonnull(f);
    while (kib < 0 && fgets(line, sizeof line, f)) {
        unsigned long begin, end;
        if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
            here = (uintptr_t)data >= begin && (uintptr_t)data < end;
        if (here) sscanf(line, "Rss: %ld kB", &kib);
    }
    fclose(f);
    return kib < 0 ? -1 : kib * 1024;
}

static int n_threads(void) {
    DIR *d = opendir("/proc/self/task");
    int n = 0;
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

START_TEST(test_prefetch_maps_all_weights) {
    size_t n;
    char path[32];
    slm__gguf g;
    slm_allocator a = {0};
    slm__prefetch p = {0};
    write_tiny(NULL, path, &n);
    ck_assert_int_eq(slm__gguf_open(&g, path, false, &a, &err), SLM_OK);
    long most = (long)(n - n % 4096), before = mapped_bytes(g.data);
    ck_assert_int_gt(before, 0);
    ck_assert_int_lt(before, most / 2); /* the header */
    slm__prefetch_begin(&p, &g);
    double begin = strict_seconds();
    while (mapped_bytes(g.data) < most && strict_seconds() - begin < 60) usleep(1000);
    ck_assert_int_ge(mapped_bytes(g.data), most);
    slm__prefetch_end(&p);
    slm__prefetch_end(&p); /* again: nothing */
    slm__gguf_close(&g);
    unlink(path);
}
END_TEST

/* Stopped before it began, or somewhere. */
START_TEST(test_prefetch_ends_at_once) {
    size_t n;
    char path[32];
    slm_allocator a = {0};
    write_tiny(NULL, path, &n);
    for (int i = 0; i < 100; i++) {
        slm__gguf g;
        slm__prefetch p = {0};
        ck_assert_int_eq(slm__gguf_open(&g, path, false, &a, &err), SLM_OK);
        slm__prefetch_begin(&p, &g);
        if (i % 2) usleep((useconds_t)i);
        slm__prefetch_end(&p);
        ck_assert_int_eq(n_threads(), 1);
        slm__gguf_close(&g);
    }
    unlink(path);
}
END_TEST

/* The same model, or the same error, and no thread and no memory left. */
START_TEST(test_prefetch_changes_no_result) {
    const char *arch = _i ? "other" : NULL;
    size_t n;
    char path[32];
    check_alloc counts = {0};
    slm_error plain;
    slm_model *m;
    slm_model_params p = slm_model_defaults();
    ck_assert(!p.prefetch);
    p.allocator = check_allocator(&counts);
    write_tiny(arch, path, &n);
    slm_status s = slm_model_open(path, NULL, &m, &plain);
    ck_assert_int_eq(s, arch ? SLM_ERR_UNSUPPORTED : SLM_OK);
    slm_model_close(m);
    p.prefetch = true;
    ck_assert_int_eq(slm_model_open(path, &p, &m, &err), s);
    ck_assert_str_eq(err.message, plain.message);
    ck_assert_int_eq(n_threads(), 1);
    slm_model_close(m);
    ck_assert_int_eq(counts.n_live, 0);
    unlink(path);
}
END_TEST

static void *same(void *arg) { return arg; }

/* Stacks that do not fit in the address space: no thread can be had. */
START_TEST(test_fault_84_prefetch_without_a_thread) {
    size_t n;
    char path[32];
    slm_model *m;
    slm_model_params p = slm_model_defaults();
    pthread_attr_t attr;
    pthread_t thread;
    write_tiny(NULL, path, &n);
    ck_assert_int_eq(pthread_attr_init(&attr), 0);
    ck_assert_int_eq(pthread_attr_setstacksize(&attr, (size_t)1 << 50), 0);
    ck_assert_int_eq(pthread_setattr_default_np(&attr), 0);
    ck_assert_int_ne(slm__thread_start(&thread, same, NULL), 0);
    p.prefetch = true;
    ck_assert_int_eq(slm_model_open(path, &p, &m, &err), SLM_OK);
    slm_model_close(m);
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
    tcase_add_test(c, test_prefetch_maps_all_weights);
    tcase_add_test(c, test_prefetch_ends_at_once);
    tcase_add_loop_test(c, test_prefetch_changes_no_result, 0, 2);
    tcase_add_test(c, test_fault_84_prefetch_without_a_thread);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
