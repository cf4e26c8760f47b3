/* Files that are cut short while a model is open: CHANGED with a guard, SIGBUS as ever without, and signals that are not the
 * library's. */
#include <check.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../libslm/prefetch.h"
#include "support/adapter_case.h"
#include "support/check_alloc.h"
#include "support/forward_case.h"
#include "support/suite.h"

static const tiny_shape shape = {.n_vocab = 300,
                                 .n_embd = 64,
                                 .n_layer = 4,
                                 .n_head = 4,
                                 .n_head_kv = 2,
                                 .n_ff = 96,
                                 .untied = true,
                                 .seed = 1};
static const slm_token text[] = {1, 2, 3, 4, 5, 6, 7};
enum { N_TEXT = SLM_COUNT(text) };

static gguf_build b;
static const void *file;
static size_t n_file;
static char path[2][32];
static slm_error err;

static void setup(void) {
    tiny_model(&b, &shape);
    file = gb_finish(&b, &n_file);
    for (int i = 0; i < 2; i++) {
        strcpy(path[i], "/tmp/slm_test_XXXXXX");
        int fd = mkstemp(path[i]);
        ck_assert_int_eq(write(fd, file, n_file), (ssize_t)n_file);
        close(fd);
    }
}

static void teardown(void) {
    for (int i = 0; i < 2; i++) unlink(path[i]);
    gb_free(&b);
}

static void cut(int i, size_t n) { ck_assert_int_eq(truncate(path[i], (off_t)n), 0); }

static slm_model *open_guarded(int i, check_alloc *counts) {
    slm_model_params p = slm_model_defaults();
    slm_model *m;
    ck_assert(!p.guard);
    p.guard = true;
    if (counts) p.allocator = check_allocator(counts);
    ck_assert_msg(slm_model_open(path[i], &p, &m, &err) == SLM_OK, "%s", err.message);
    return m;
}

#define ck_changed(call) ASSERT_FAILS(call, SLM_ERR_CHANGED, "cut short while it was open")

static bool is_default(void) {
    struct sigaction now;
    ck_assert_int_eq(sigaction(SIGBUS, NULL, &now), 0);
    return !(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_DFL;
}

/* Sanitizers have a handler of their own. */
static void reset_signal(void) { signal(SIGBUS, SIG_DFL); }

/* ---- The model ---- */

START_TEST(test_fault_85_decode_after_a_cut) {
    const size_t lengths[] = {0, 1, 5000, n_file / 2, n_file - 5000, n_file - 1};
    check_alloc counts = {0};
    reset_signal();
    slm_model *m = open_guarded(0, &counts), *other = open_guarded(1, NULL);
    slm_context *ctx = new_context(m, NULL, 3, 64, SLM_KV_F16),
                *good = new_context(other, NULL, 3, 64, SLM_KV_F16);
    decode(ctx, text, N_TEXT);
    decode(good, text, N_TEXT);
    uint64_t hash = hash_row(slm_logits(good, 0), (int32_t)shape.n_vocab);
    cut(0, lengths[_i]);
    ck_changed(slm_decode_tokens(ctx, text, N_TEXT, &err));
    ck_assert_int_eq(slm_seq_length(ctx, 0), N_TEXT); /* known before anything was computed */
    cut(0, n_file);                                   /* it stays so */
    for (int i = 0; i < 2; i++) ck_changed(slm_decode_tokens(ctx, text, N_TEXT, &err));
    ck_assert_int_eq(slm_seq_truncate(good, 0, 0, &err), SLM_OK);
    decode(good, text, N_TEXT);
    ck_assert_uint_eq(hash_row(slm_logits(good, 0), (int32_t)shape.n_vocab), hash);
    slm_context_free(ctx);
    slm_model_close(m);
    ck_assert_int_eq(counts.n_live, 0);
    decode(good, text, 1); /* its guard is still there */
    cut(1, 0);
    ck_changed(slm_decode_tokens(good, text, 1, &err));
    slm_context_free(good);
    ck_assert(!is_default());
    slm_model_close(other);
    ck_assert(is_default());
}
END_TEST

/* What else reads the file: the identity of a saved sequence, and the shapes and names that an adapter is bound to. */
START_TEST(test_fault_85_saving_after_a_cut) {
    reset_signal();
    slm_model *m = open_guarded(0, NULL), *other = open_guarded(1, NULL);
    slm_context *ctx = new_context(m, NULL, 1, 64, SLM_KV_F16),
                *good = new_context(other, NULL, 1, 64, SLM_KV_F16);
    static uint8_t state[1 << 20];
    size_t n;
    char saved[] = "/tmp/slm_test_XXXXXX";
    close(mkstemp(saved));
    decode(ctx, text, N_TEXT);
    decode(good, text, N_TEXT);
    cut(0, n_file / 2);
    ck_changed(slm_seq_save(ctx, 0, state, sizeof state, &n, &err));
    ck_changed(slm_seq_save_file(ctx, 0, saved, &err));
    ck_assert_int_eq(truncate(saved, 1), 0); /* still there, and empty as it was */
    ck_assert_int_eq(slm_seq_save(good, 0, state, sizeof state, &n, &err), SLM_OK);
    ck_changed(slm_seq_restore(ctx, 1, state, n, &err));
    ck_assert_int_eq(slm_seq_length(ctx, 1), 0);
    unlink(saved);
    slm_context_free(ctx), slm_context_free(good);
    slm_model_close(m), slm_model_close(other);
}
END_TEST

/* A model whose Q, K and V are one matrix, cut anywhere in its header; the adapter is whole. */
START_TEST(test_fault_85_adapter_of_a_model_that_was_cut) {
    static const tiny_shape fused = {.arch = "phi3",
                                     .n_vocab = 300,
                                     .n_embd = 64,
                                     .n_layer = 40,
                                     .n_head = 4,
                                     .n_head_kv = 2,
                                     .n_ff = 96,
                                     .fused = true,
                                     .seed = 2};
    fixture whole = open_tiny(&fused);
    gguf_build lora = {0};
    size_t n, n_lora;
    const void *model_file = gb_finish(&whole.b, &n);
    int n_ok = 0;
    reset_signal();
    tiny_adapter(&lora, whole.model,
                 &(adapter_shape){.rank = 2, .alpha = 2, .only = "blk.0", .seed = 3});
    const void *lora_file = gb_finish(&lora, &n_lora);
    for (size_t length = 0; length < 20000; length += 97) {
        FILE *f = fopen(path[0], "wb");
        ck_assert(f && fwrite(model_file, 1, n, f) == n && fclose(f) == 0);
        slm_model *m = open_guarded(0, NULL);
        slm_adapter *a;
        if (length > 19900) {
            n_ok += slm_adapter_open_memory(m, lora_file, n_lora, NULL, &a, &err) == SLM_OK;
            slm_adapter_close(a);
        }
        cut(0, length);
        ck_changed(slm_adapter_open_memory(m, lora_file, n_lora, NULL, &a, &err));
        ck_assert_ptr_null(a);
        slm_model_close(m);
    }
    ck_assert_int_gt(n_ok, 0);
    gb_free(&lora);
    close_tiny(whole);
}
END_TEST

/* In the middle of a pass: the progress function cuts. */
static bool cutter(void *user, float done) {
    (void)done;
    cut(0, *(const size_t *)user);
    return true;
}

START_TEST(test_fault_85_cut_while_decoding) {
    size_t length = _i ? n_file - 1 : 0;
    slm_model *m = open_guarded(0, NULL);
    slm_context_params p = slm_context_defaults();
    slm_context *ctx;
    slm_token many[200] = {0};
    p.n_ctx = 300;
    p.n_batch = 10;
    p.n_threads = 3;
    p.progress = cutter;
    p.progress_user = &length;
    ck_assert_int_eq(slm_context_create(m, &p, &ctx, &err), SLM_OK);
    ck_changed(slm_decode_tokens(ctx, many, 200, &err));
    ck_assert_int_eq(slm_seq_length(ctx, 0), 200); /* computed, of zeros */
    ck_assert_ptr_null(slm_logits(ctx, 0));
    ck_changed(slm_decode_tokens(ctx, many, 1, &err));
    slm_context_free(ctx);
    slm_model_close(m);
}
END_TEST

static bool cut_and_go_on(void *user, float done) {
    (void)user, (void)done;
    cut(0, 0);
    return true;
}

START_TEST(test_fault_85_cut_while_weights_are_checked) {
    slm_model_params p = slm_model_defaults();
    slm_model *m;
    p.guard = true;
    p.check_weights = true;
    p.progress = cut_and_go_on;
    ck_changed(slm_model_open(path[0], &p, &m, &err));
    ck_assert_ptr_null(m);
}
END_TEST

/* Cuts the file when it is asked for the k-th time. */
typedef struct cutting {
    long n_calls, k, n_live;
    size_t length;
} cutting;

static void *cutting_alloc(void *user, size_t n) {
    cutting *c = user;
    if (++c->n_calls == c->k) cut(0, c->length);
    c->n_live++;
    return malloc(n);
}

static void cutting_free(void *user, void *p) {
    ((cutting *)user)->n_live--;
    free(p);
}

static void write_again(int i) {
    FILE *f = fopen(path[i], "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(file, 1, n_file, f), n_file);
    fclose(f);
}

/* At every allocation that opening a model makes; the first one comes before the file is opened. */
START_TEST(test_fault_85_cut_while_opening) {
    slm_model_params p = slm_model_defaults();
    slm_status s = SLM_ERR_CHANGED;
    long k = 0;
    p.guard = true;
    p.prefetch = _i >= 2; /* then a second thread reads there too */
    while (s != SLM_OK) {
        cutting c = {.k = ++k, .length = _i % 2 ? n_file / 2 : 0};
        slm_model *m;
        p.allocator = (slm_allocator){cutting_alloc, cutting_free, &c};
        write_again(0);
        s = slm_model_open(path[0], &p, &m, &err);
        ck_assert_msg(s == (k == 1          ? SLM_ERR_TRUNCATED
                            : c.n_calls < k ? SLM_OK
                                            : SLM_ERR_CHANGED),
                      "allocation %ld: %s", k, err.message);
        slm_model_close(m);
        ck_assert_int_eq(c.n_live, 0);
    }
    ck_assert_int_gt(k, 10);
}
END_TEST

/* The thread that looks at weights ahead finds none any more: its faults are answered like all others. */
START_TEST(test_fault_85_cut_before_weights_are_prefetched) {
    slm__gguf g;
    slm__prefetch p = {0};
    slm_allocator a = {0};
    reset_signal();
    ck_assert_int_eq(slm__gguf_open(&g, path[0], true, &a, &err), SLM_OK);
    cut(0, 0);
    slm__prefetch_begin(&p, &g);
    ck_assert_ptr_nonnull(p.gguf);
    pthread_join(p.thread, NULL); /* it has looked at all */
    ck_changed(slm__guard_check(g.guard, SLM_OK, &err));
    slm__gguf_close(&g);
    ck_assert(is_default());
}
END_TEST

/* An importance matrix is copied out of its file: whole, or not at all. Its sums lie behind the first page. */
START_TEST(test_fault_85_importance_matrix_cut_while_opening) {
    enum { COLUMNS = 8192 };
    static float sums[COLUMNS], count[1] = {3};
    for (int i = 0; i < COLUMNS; i++) sums[i] = 3;
    gguf_build im_build = {0};
    gb_tensor(&im_build, "a.in_sum2", 0, 1, (int64_t[]){COLUMNS}, sums, sizeof sums);
    gb_tensor(&im_build, "a.counts", 0, 1, (int64_t[]){1}, count, sizeof count);
    size_t n;
    const void *data = gb_finish(&im_build, &n);
    int n_changed = 0;
    slm_status s = SLM_ERR_CHANGED;
    for (long k = 1; s != SLM_OK && k < 50; k++) {
        cutting c = {.k = k, .length = 4096};
        slm_imatrix_params p = slm_imatrix_defaults();
        p.guard = true;
        p.allocator = (slm_allocator){cutting_alloc, cutting_free, &c};
        slm_imatrix *im;
        FILE *f = fopen(path[0], "wb");
        ck_assert(f && fwrite(data, 1, n, f) == n && fclose(f) == 0);
        s = slm_imatrix_open(path[0], &p, &im, &err);
        ck_assert((im == NULL) == (s != SLM_OK));
        if (s == SLM_OK) {
            static float out[COLUMNS];
            cut(0, 0);
            ck_assert(slm_imatrix_importance(im, "a", 0, COLUMNS, out) && out[COLUMNS - 1] == 1);
        } else {
            ck_assert_msg(s == SLM_ERR_CHANGED || (k == 1 && s == SLM_ERR_TRUNCATED), "%s",
                          err.message); /* before it was open */
            n_changed += s == SLM_ERR_CHANGED;
        }
        slm_imatrix_free(im);
        ck_assert_int_eq(c.n_live, 0);
    }
    ck_assert(n_changed > 3 && s == SLM_OK);
    gb_free(&im_build);
}
END_TEST

START_TEST(test_fault_85_text_after_a_cut) {
    slm_model *m = open_guarded(0, NULL);
    slm_message message = {.role = "user", .content = "ab", .n_bytes = 2};
    slm_token out[64];
    char bytes[64];
    size_t n;
    slm_text_stream stream = {{0}, 0, {0}};
    ck_assert_int_eq(slm_tokenize(m, "ab", 2, 0, out, 64, &n, &err), SLM_OK);
    cut(0, 0);
    ck_changed(slm_tokenize(m, "ab cd", 5, SLM_TOKENIZE_SPECIAL, out, 64, &n, &err));
    ck_changed(slm_model_key_text(m, 0, 0, bytes, sizeof bytes, &n, &err));
    ck_assert_int_eq(slm_token_get(m, 1, NULL, NULL, NULL), SLM_ERR_CHANGED);
    ck_assert_int_eq(slm_text_stream_add(m, &stream, 66, bytes, sizeof bytes, &n), SLM_ERR_CHANGED);
    ck_assert_int_ne(slm_chat_tokenize(m, &message, 1, out, 64, &n, &err), SLM_OK);
    slm_model_close(m);
}
END_TEST

static void *decode_and_cut(void *model) {
    slm_context *ctx = new_context(model, NULL, 1, 64, SLM_KV_F16);
    slm_status status = SLM_OK;
    slm_error own = {SLM_OK, ""};
    for (int i = 0; i < 100000 && status == SLM_OK; i++) {
        slm_seq_truncate(ctx, 0, 0, NULL);
        status = slm_decode_tokens(ctx, text, N_TEXT, &own);
        if (i == 20) truncate(path[0], 0);
    }
    slm_context_free(ctx);
    return (void *)(uintptr_t)status;
}

START_TEST(test_fault_85_two_threads) {
    slm_model *m = open_guarded(0, NULL);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, decode_and_cut, m), 0);
    for (int i = 0; i < 2; i++) {
        void *status;
        pthread_join(threads[i], &status);
        ck_assert_int_eq((int)(uintptr_t)status, SLM_ERR_CHANGED);
    }
    slm_model_close(m);
}
END_TEST

static void *open_and_close(void *unused) {
    slm_model_params p = slm_model_defaults();
    p.guard = true;
    for (int i = 0; i < 100; i++) {
        slm_model *m;
        if (slm_model_open(path[1], &p, &m, NULL) != SLM_OK) return (void *)path;
        slm_model_close(m);
    }
    return unused;
}

START_TEST(test_fault_85_opened_and_closed_by_several_threads) {
    reset_signal();
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, open_and_close, NULL), 0);
    slm_model *m = open_guarded(0, NULL);
    slm_context *ctx = new_context(m, NULL, 1, 64, SLM_KV_F16);
    cut(0, 0);
    ck_changed(slm_decode_tokens(ctx, text, N_TEXT, &err));
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        ck_assert_ptr_null(failed);
    }
    slm_context_free(ctx);
    slm_model_close(m);
    ck_assert(is_default());
}
END_TEST

START_TEST(test_fault_85_too_many_guards) {
    slm_model *m[65];
    slm_model_params p = slm_model_defaults();
    p.guard = true;
    for (int i = 0; i < 64; i++) m[i] = open_guarded(0, NULL);
    ASSERT_FAILS(slm_model_open(path[0], &p, &m[64], &err), SLM_ERR_LIMIT, "64");
    slm_model_close(m[7]);
    m[7] = open_guarded(0, NULL);
    for (int i = 0; i < 64; i++) slm_model_close(m[i]);
}
END_TEST

/* ---- Signals of others ---- */

static sigjmp_buf back;
static volatile sig_atomic_t n_caught;
static void *volatile caught_at;

static void jump(int signal_number, siginfo_t *info, void *context) {
    (void)signal_number, (void)context;
    n_caught++;
    caught_at = info->si_addr;
    siglongjmp(back, 1);
}

static void count(int signal_number) {
    (void)signal_number;
    n_caught++;
}

/* A mapping behind the end of its file. */
static volatile char *bad_page(void) {
    int fd = memfd_create("short", 0);
    ck_assert_int_eq(ftruncate(fd, 4096), 0);
    char *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    ck_assert(p != MAP_FAILED);
    ck_assert_int_eq(ftruncate(fd, 0), 0);
    close(fd);
    return p;
}

/* Three times, so that the signal is not left blocked. */
static void touch_and_jump_back(void) {
    volatile char *p = bad_page();
    for (volatile int i = 0; i < 3; i++) {
        n_caught = 0;
        if (sigsetjmp(back, 1) == 0) ck_abort_msg("read %d where nothing is", *p);
        ck_assert_int_eq(n_caught, 1);
        ck_assert_ptr_eq(caught_at, (void *)(uintptr_t)p);
    }
}

START_TEST(test_fault_85_foreign_faults_go_to_the_handler_before) {
    struct sigaction own = {.sa_sigaction = jump, .sa_flags = SA_SIGINFO}, now;
    sigaction(SIGBUS, &own, NULL);
    slm_model *m = open_guarded(0, NULL);
    touch_and_jump_back();
    slm_context *ctx = new_context(m, NULL, 2, 64, SLM_KV_F16);
    cut(0, 0);
    ck_changed(slm_decode_tokens(ctx, text, N_TEXT, &err));
    touch_and_jump_back();
    slm_context_free(ctx);
    slm_model_close(m);
    sigaction(SIGBUS, NULL, &now);
    ck_assert(now.sa_sigaction == jump);
    touch_and_jump_back();
    /* one without information, and a signal that was sent */
    signal(SIGBUS, count);
    m = open_guarded(1, NULL);
    n_caught = 0;
    raise(SIGBUS);
    ck_assert_int_eq(n_caught, 1);
    slm_model_close(m);
}
END_TEST

static struct sigaction replaced;
static void pass_on(int signal_number, siginfo_t *info, void *context) {
    n_caught++;
    replaced.sa_sigaction(signal_number, info, context);
}

/* A handler that is installed later, and hands on: models can be closed and opened again behind it. */
START_TEST(test_fault_85_a_handler_after_ours) {
    struct sigaction own = {.sa_sigaction = pass_on, .sa_flags = SA_SIGINFO}, now;
    slm_model *m = open_guarded(1, NULL);
    sigaction(SIGBUS, &own, &replaced);
    slm_model_close(m);
    sigaction(SIGBUS, NULL, &now);
    ck_assert(now.sa_sigaction == pass_on);
    m = open_guarded(0, NULL);
    slm_context *ctx = new_context(m, NULL, 1, 64, SLM_KV_F16);
    n_caught = 0;
    cut(0, 0);
    ck_assert_int_eq(*(const volatile uint8_t *)m->gguf.data, 0);
    ck_assert_int_eq(n_caught, 1);
    ck_changed(slm_decode_tokens(ctx, text, N_TEXT, &err));
    slm_context_free(ctx);
    slm_model_close(m);
}
END_TEST

/* ---- Without a handler before ---- */

typedef enum death { UNGUARDED, FOREIGN, SENT, GUARDED, N_DEATHS } death;

static void die(death how) {
    struct rlimit no_core = {0, 0};
    slm_model *m;
    setrlimit(RLIMIT_CORE, &no_core);
    reset_signal();
    if (how == UNGUARDED) {
        if (slm_model_open(path[0], NULL, &m, NULL) != SLM_OK) _exit(2);
    } else {
        m = open_guarded(0, NULL);
    }
    if (how == FOREIGN) _exit(3 + *bad_page());
    if (how == SENT) raise(SIGBUS);
    cut(0, 0);
    _exit(*(const volatile uint8_t *)m->gguf.data == 0 ? 0 : 4);
}

START_TEST(test_fault_85_processes_that_end) {
    int status;
    pid_t child = fork();
    if (child == 0) die((death)_i);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    if (_i == GUARDED)
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    else
        ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "%d: %x", _i, status);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("guard");
    TCase *c = tcase_create("guard");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, test_fault_85_saving_after_a_cut);
    tcase_add_test(c, test_fault_85_adapter_of_a_model_that_was_cut);
    tcase_add_loop_test(c, test_fault_85_decode_after_a_cut, 0, 6);
    tcase_add_loop_test(c, test_fault_85_cut_while_decoding, 0, 2);
    tcase_add_loop_test(c, test_fault_85_cut_while_opening, 0, 4);
    tcase_add_test(c, test_fault_85_cut_before_weights_are_prefetched);
    tcase_add_test(c, test_fault_85_cut_while_weights_are_checked);
    tcase_add_test(c, test_fault_85_importance_matrix_cut_while_opening);
    tcase_add_test(c, test_fault_85_text_after_a_cut);
    tcase_add_test(c, test_fault_85_two_threads);
    tcase_add_test(c, test_fault_85_opened_and_closed_by_several_threads);
    tcase_add_test(c, test_fault_85_too_many_guards);
    tcase_add_test(c, test_fault_85_foreign_faults_go_to_the_handler_before);
    tcase_add_test(c, test_fault_85_a_handler_after_ours);
    tcase_add_loop_test(c, test_fault_85_processes_that_end, 0, N_DEATHS);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
