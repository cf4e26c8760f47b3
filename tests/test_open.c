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

static char tiny_path[32];
static long tiny_bytes;

static void write_model(const tiny_shape *shape) {
    size_t n;
    tiny_model(&b, shape);
    const void *file = gb_finish(&b, &n);
    strcpy(tiny_path, "/tmp/slm_test_XXXXXX");
    int fd = mkstemp(tiny_path);
    ck_assert_int_eq(write(fd, file, n), (ssize_t)n);
    close(fd);
    tiny_bytes = (long)n;
}

/* The tiny model, of 12 MB, as a file. arch: NULL, or one that is not known. */
static void write_tiny(const char *arch) {
    tiny_shape shape = tiny;
    shape.arch = arch;
    write_model(&shape);
}

/* Bytes of mappings of the file that the process has without another fault. Huge pages may make a few reads most of 2 MiB. */
static long mapped_bytes(const char *path) {
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512];
    long sum = 0, kib;
    bool here = false;
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f)) {
        unsigned long begin, end;
        if (sscanf(line, "%lx-%lx ", &begin, &end) == 2) here = strstr(line, path) != NULL;
        if (here && sscanf(line, "Rss: %ld kB", &kib) == 1) sum += kib * 1024;
    }
    fclose(f);
    return sum;
}

/* Pages that are just being written are not mapped with those around them. */
static bool has_weights(void) { return mapped_bytes(tiny_path) > tiny_bytes / 4 * 3; }
static bool has_header(void) { return mapped_bytes(tiny_path) < tiny_bytes / 2; }

static bool comes_true(bool (*holds)(void), double within_seconds) {
    double begin = strict_seconds();
    while (!holds() && strict_seconds() - begin < within_seconds) usleep(1000);
    return holds();
}

enum { LONG = 60 };

/* A thread that was joined may still be seen for a moment. */
static bool is_alone(void) {
    DIR *d = opendir("/proc/self/task");
    int n = 0;
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n == 1;
}

/* In the k-th call, gives the weights time to be mapped. */
typedef struct waiting_alloc {
    long n_calls, k, n_live;
    double seconds;
    bool has_weights;
} waiting_alloc;

static void *wait_and_alloc(void *user, size_t n) {
    waiting_alloc *w = user;
    if (++w->n_calls == w->k) w->has_weights = comes_true(has_weights, w->seconds);
    w->n_live++;
    return malloc(n);
}

static void free_waited(void *user, void *p) {
    ((waiting_alloc *)user)->n_live--;
    free(p);
}

static slm_status open_tiny(const void *data, const slm_model_params *p, slm_model **out) {
    return data ? slm_model_open_memory(data, (size_t)tiny_bytes, p, out, &err)
                : slm_model_open(tiny_path, p, out, &err);
}

/* Whether the weights are mapped before the model is open. The last memory that is asked for is for its network or, of a vocabulary only,
 * for that: if a thread looks at them, it has begun by then. data: NULL, or the mapped file. */
static bool maps_weights(const void *data, slm_model_params p, double within_seconds) {
    waiting_alloc w = {0};
    slm_model *m;
    bool prefetch = p.prefetch;
    p.allocator = (slm_allocator){wait_and_alloc, free_waited, &w};
    p.prefetch = false;
    ck_assert_int_eq(open_tiny(data, &p, &m), SLM_OK);
    ck_assert(has_header());
    slm_model_close(m);
    w = (waiting_alloc){.k = w.n_calls, .seconds = within_seconds};
    p.prefetch = prefetch;
    ck_assert_int_eq(open_tiny(data, &p, &m), SLM_OK);
    ck_assert_int_eq(w.n_calls, w.k);
    ck_assert(comes_true(is_alone, LONG));
    slm_model_close(m);
    ck_assert_int_eq(w.n_live, 0);
    return w.has_weights;
}

START_TEST(test_prefetch_maps_weights) {
    slm_model_params p = slm_model_defaults();
    ck_assert(!p.prefetch);
    write_tiny(NULL);
    ck_assert(!maps_weights(NULL, p, 0.2));
    p.prefetch = true;
    ck_assert(maps_weights(NULL, p, LONG));
    unlink(tiny_path);
}
END_TEST

/* Where no weights are wanted, or the mapping is not the library's. */
START_TEST(test_prefetch_of_no_effect) {
    slm_model_params p = slm_model_defaults();
    write_tiny(NULL);
    p.prefetch = true;
    p.vocab_only = true;
    ck_assert(!maps_weights(NULL, p, 0.2));
    p.keys_only = true;
    ck_assert(!maps_weights(NULL, p, 0.2));
    p.vocab_only = p.keys_only = false;
    int fd = open(tiny_path, O_RDONLY);
    void *data = mmap(NULL, (size_t)tiny_bytes, PROT_READ, MAP_SHARED, fd, 0);
    ck_assert(data != MAP_FAILED);
    close(fd);
    ck_assert(!maps_weights(data, p, 0.2));
    munmap(data, (size_t)tiny_bytes);
    unlink(tiny_path);
}
END_TEST

/* The embedding of a model with an output matrix is half of this file. */
START_TEST(test_prefetch_without_embedding) {
    const long embedding = 10000 * 256 * 4;
    tiny_shape shape = tiny;
    slm__gguf g;
    slm__prefetch p = {0};
    slm_allocator a = {0};
    shape.n_vocab = 10000;
    shape.n_layer = 1;
    shape.untied = true;
    write_model(&shape);
    ck_assert_int_eq(slm__gguf_open(&g, tiny_path, false, &a, &err), SLM_OK);
    slm__prefetch_begin(&p, &g);
    ck_assert_ptr_nonnull(p.gguf);
    pthread_join(p.thread, NULL); /* it has looked at all that it wants to */
    long mapped = mapped_bytes(tiny_path);
    ck_assert_int_gt(mapped, (tiny_bytes - embedding) / 4 * 3);
    ck_assert_int_lt(mapped, tiny_bytes - embedding / 2);
    slm__gguf_close(&g);
    unlink(tiny_path);
}
END_TEST

/* Of 8 GiB that are not there, few are looked at before it is stopped. */
START_TEST(test_prefetch_ends_where_it_is) {
    const uint64_t n = (uint64_t)8 << 30;
    strcpy(tiny_path, "/tmp/slm_test_XXXXXX");
    int fd = mkstemp(tiny_path);
    ck_assert_int_eq(ftruncate(fd, (off_t)n), 0);
    void *data = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, 0);
    ck_assert(data != MAP_FAILED);
    close(fd);
    slm__tensor tensor = {.name = {"x", 1}, .data = data, .n_bytes = n};
    slm__gguf g = {.n_tensors = 1, .tensors = &tensor, .tensor_order = (uint32_t[]){0}};
    slm__prefetch p = {0};
    slm__prefetch_end(&p); /* never begun: nothing */
    slm__prefetch_begin(&p, &g);
    slm__prefetch_end(&p);
    ck_assert_int_lt(mapped_bytes(tiny_path), (long)(n / 2));
    ck_assert(comes_true(is_alone, LONG));
    slm__prefetch_end(&p); /* again: nothing */
    munmap(data, n);
    unlink(tiny_path);
}
END_TEST

/* An error that comes after the vocabulary: the same, and no thread and no memory left. */
START_TEST(test_prefetch_of_a_bad_model) {
    check_alloc counts = {0};
    slm_error plain;
    slm_model *m;
    slm_model_params p = slm_model_defaults();
    p.allocator = check_allocator(&counts);
    write_tiny("other");
    ck_assert_int_eq(slm_model_open(tiny_path, NULL, &m, &plain), SLM_ERR_UNSUPPORTED);
    p.prefetch = true;
    ck_assert_int_eq(slm_model_open(tiny_path, &p, &m, &err), SLM_ERR_UNSUPPORTED);
    ck_assert_str_eq(err.message, plain.message);
    ck_assert(comes_true(is_alone, LONG));
    ck_assert_int_eq(counts.n_live, 0);
    unlink(tiny_path);
}
END_TEST

static void *same(void *arg) { return arg; }

/* Stacks that do not fit in the address space: no thread can be had. */
START_TEST(test_fault_84_prefetch_without_a_thread) {
    slm_model *m;
    slm_model_params p = slm_model_defaults();
    pthread_attr_t before, attr;
    pthread_t thread;
    write_tiny(NULL);
    ck_assert_int_eq(pthread_getattr_default_np(&before), 0);
    ck_assert_int_eq(pthread_attr_init(&attr), 0);
    ck_assert_int_eq(pthread_attr_setstacksize(&attr, (size_t)1 << 50), 0);
    ck_assert_int_eq(pthread_setattr_default_np(&attr), 0);
    ck_assert_int_ne(slm__thread_start(&thread, same, NULL), 0);
    p.prefetch = true;
    ck_assert_int_eq(slm_model_open(tiny_path, &p, &m, &err), SLM_OK);
    ck_assert(has_header());
    slm_model_close(m);
    ck_assert_int_eq(pthread_setattr_default_np(&before), 0);
    unlink(tiny_path);
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
    tcase_add_test(c, test_prefetch_maps_weights);
    tcase_add_test(c, test_prefetch_of_no_effect);
    tcase_add_test(c, test_prefetch_without_embedding);
    tcase_add_test(c, test_prefetch_ends_where_it_is);
    tcase_add_test(c, test_prefetch_of_a_bad_model);
    tcase_add_test(c, test_fault_84_prefetch_without_a_thread);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
