/* Contexts from outside: what they refuse, what they hold, and that they stay usable whatever happens. */
#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../include/slm.h"
#include "../libslm/pool.h"
#include "support/check_alloc.h"
#include "support/strict.h"
#include "support/tiny_model.h"
#include "support/suite.h"

enum { N_VOCAB = 270 };

static const tiny_shape shape = {.n_vocab = N_VOCAB,
                                 .n_embd = 64,
                                 .n_layer = 3,
                                 .n_head = 4,
                                 .n_head_kv = 2,
                                 .n_ff = 96,
                                 .types = {SLM_Q8_0, SLM_Q4_0},
                                 .n_types = 2,
                                 .seed = 3};
static gguf_build build;
static slm_model *model;
static slm_error err;

static void setup(void) {
    size_t n;
    tiny_model(&build, &shape);
    const void *file = gb_finish(&build, &n);
    ck_assert_msg(slm_model_open_memory(file, n, NULL, &model, &err) == SLM_OK, "%s", err.message);
}

static void teardown(void) {
    slm_model_close(model);
    gb_free(&build);
}

static slm_context_params params(int32_t n_ctx) {
    slm_context_params p = slm_context_defaults();
    p.n_ctx = n_ctx;
    p.n_threads = 2;
    return p;
}

static slm_context *create(const slm_context_params *p) {
    slm_context *ctx;
    ck_assert_msg(slm_context_create(model, p, &ctx, &err) == SLM_OK, "%s", err.message);
    return ctx;
}

/* The context still computes: logits of a token at the end of sequence 0 are finite. */
static void assert_usable(slm_context *ctx) {
    slm_token token = 5;
    ck_assert_int_eq(slm_seq_truncate(ctx, 0, 0, &err), SLM_OK);
    ck_assert_msg(slm_decode_tokens(ctx, &token, 1, &err) == SLM_OK, "%s", err.message);
    ck_assert(isfinite(slm_logits(ctx, 0)[0]));
    ck_assert_int_eq(slm_seq_length(ctx, 0), 1);
}

/* ---- Arguments ---- */

START_TEST(test_fault_66_null_and_wrong_size) {
    slm_context *ctx = (slm_context *)&err;
    slm_context_params p = params(64);
    size_t n;
    ASSERT_FAILS(slm_context_create(NULL, &p, &ctx, &err), SLM_ERR_ARGUMENT, "model");
    ck_assert_ptr_null(ctx);
    ASSERT_FAILS(slm_context_create(model, &p, NULL, &err), SLM_ERR_ARGUMENT, "out");
    ASSERT_FAILS(slm_context_memory(model, &p, NULL, &err), SLM_ERR_ARGUMENT, "n_bytes");
    p.size--;
    ASSERT_FAILS(slm_context_create(model, &p, &ctx, &err), SLM_ERR_ARGUMENT, "size");
    ASSERT_FAILS(slm_context_memory(model, &p, &n, &err), SLM_ERR_ARGUMENT, "size");
    p.size++;
    ctx = create(&p);
    slm_token token = 1;
    slm_batch batch = {.size = sizeof batch, .n_tokens = 1, .tokens = &token};
    ASSERT_FAILS(slm_decode(NULL, &batch, &err), SLM_ERR_ARGUMENT, "context");
    ASSERT_FAILS(slm_decode(ctx, NULL, &err), SLM_ERR_ARGUMENT, "batch");
    ASSERT_FAILS(slm_decode_tokens(ctx, NULL, 1, &err), SLM_ERR_ARGUMENT, "tokens");
    ASSERT_FAILS(slm_seq_truncate(NULL, 0, 0, &err), SLM_ERR_ARGUMENT, "context");
    batch.size = 4;
    ASSERT_FAILS(slm_decode(ctx, &batch, &err), SLM_ERR_ARGUMENT, "size");
    ck_assert_ptr_null(slm_logits(NULL, 0));
    ck_assert_ptr_null(slm_logits(ctx, 0));
    ck_assert_int_eq(slm_seq_length(NULL, 0), -1);
    ck_assert_int_eq(slm_context_n_ctx(NULL), 0);
    ck_assert_int_eq(slm_decode(ctx, NULL, NULL), SLM_ERR_ARGUMENT); /* no one wants to know why */
    slm_context_free(NULL);
    slm_model_close(NULL);
    assert_usable(ctx);
    slm_context_free(ctx);
}
END_TEST

/* An older caller's struct is shorter: nothing behind its size may be read (the sanitizer sees it). */
START_TEST(test_fault_66_short_structs) {
    size_t *small = malloc(sizeof *small);
    ck_assert_ptr_nonnull(small);
    *small = sizeof *small;
    slm_model *m;
    slm_context *ctx;
    slm_sampler *s;
    ASSERT_FAILS(slm_model_open_memory(build.file.data, build.file.n,
                                       (slm_model_params *)(void *)small, &m, &err),
                 SLM_ERR_ARGUMENT, "size");
    ASSERT_FAILS(slm_context_create(model, (slm_context_params *)(void *)small, &ctx, &err),
                 SLM_ERR_ARGUMENT, "size");
    ASSERT_FAILS(slm_sampler_create((slm_sampler_params *)(void *)small, &s, &err),
                 SLM_ERR_ARGUMENT, "size");
    free(small);
}
END_TEST

static void *never(void *user, size_t n) {
    (void)user, (void)n;
    return NULL;
}

START_TEST(test_fault_66_half_an_allocator) {
    slm_allocator half = {.alloc = never};
    slm_model_params mp = slm_model_defaults();
    slm_context_params cp = params(64);
    slm_sampler_params sp = slm_sampler_defaults();
    slm_model *m;
    slm_context *ctx;
    slm_sampler *s;
    mp.allocator = cp.allocator = sp.allocator = half;
    ASSERT_FAILS(slm_model_open_memory(build.file.data, build.file.n, &mp, &m, &err),
                 SLM_ERR_ARGUMENT, "allocator");
    ASSERT_FAILS(slm_context_create(model, &cp, &ctx, &err), SLM_ERR_ARGUMENT, "allocator");
    ASSERT_FAILS(slm_sampler_create(&sp, &s, &err), SLM_ERR_ARGUMENT, "allocator");
}
END_TEST

START_TEST(test_fault_67_parameters_out_of_range) {
    static const struct {
        size_t offset;
        int32_t value;
        const char *name;
    } rows[] = {
#define P(field) offsetof(slm_context_params, field)
        {P(n_ctx), -1, "n_ctx"},
        {P(n_ctx), INT32_MAX, "n_ctx"},
        {P(n_batch), 0, "n_batch"},
        {P(n_batch), -5, "n_batch"},
        {P(n_seq_max), 0, "n_seq_max"},
        {P(n_seq_max), INT32_MAX, "n_seq_max"},
        {P(n_logits), 0, "n_logits"},
        {P(n_threads), -1, "n_threads"},
        {P(n_threads), 100000, "n_threads"},
        {P(kv_type), 77, "kv_type"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        slm_context_params p = params(64);
        slm_context *ctx;
        memcpy((char *)&p + rows[i].offset, &rows[i].value, sizeof rows[i].value);
        ASSERT_FAILS(slm_context_create(model, &p, &ctx, &err), SLM_ERR_RANGE, rows[i].name);
        ck_assert_ptr_null(ctx);
    }
}
END_TEST

START_TEST(test_fault_67_token_position_sequence_out_of_range) {
    slm_context_params p = params(64);
    p.n_seq_max = 2;
    slm_context *ctx = create(&p);
    slm_token tokens[3] = {1, 2, 3};
    int32_t positions[3] = {0, 1, 2}, sequences[3] = {0, 0, 0};
    uint8_t want[3] = {1, 1, 1};
    slm_batch b = {sizeof b, 3, tokens, positions, sequences, NULL};
    tokens[1] = N_VOCAB;
    ASSERT_FAILS(slm_decode(ctx, &b, &err), SLM_ERR_RANGE, "token 1 of the batch is 270");
    tokens[1] = -1;
    ASSERT_FAILS(slm_decode(ctx, &b, &err), SLM_ERR_RANGE, "token 1");
    tokens[1] = 2;
    positions[2] = 3;
    ASSERT_FAILS(slm_decode(ctx, &b, &err), SLM_ERR_RANGE, "position 3");
    positions[2] = 2;
    sequences[0] = 2;
    ASSERT_FAILS(slm_decode(ctx, &b, &err), SLM_ERR_RANGE, "sequence 2");
    sequences[0] = -1;
    ASSERT_FAILS(slm_decode(ctx, &b, &err), SLM_ERR_RANGE, "sequence -1");
    sequences[0] = 0;
    b.want_logits = want;
    ASSERT_FAILS(slm_decode(ctx, &b, &err), SLM_ERR_RANGE, "n_logits");
    b.n_tokens = 0;
    ASSERT_FAILS(slm_decode(ctx, &b, &err), SLM_ERR_RANGE, "0 tokens");
    b.n_tokens = -1;
    ASSERT_FAILS(slm_decode(ctx, &b, &err), SLM_ERR_RANGE, "-1 tokens");
    ck_assert_int_eq(slm_seq_length(ctx, 0), 0); /* nothing of all that was taken in */
    ck_assert_int_eq(slm_seq_length(ctx, 2), -1);
    assert_usable(ctx);
    slm_context_free(ctx);
}
END_TEST

START_TEST(test_fault_67_context_of_one_position) {
    slm_context_params p = params(1);
    slm_context *ctx = create(&p);
    ck_assert_int_eq(slm_context_n_ctx(ctx), 1);
    assert_usable(ctx);
    slm_token token = 1;
    ASSERT_FAILS(slm_decode_tokens(ctx, &token, 1, &err), SLM_ERR_CONTEXT_FULL, "0 of 1");
    slm_context_free(ctx);
    p.n_ctx = 0; /* as the model was trained */
    ctx = create(&p);
    ck_assert_int_eq(slm_context_n_ctx(ctx), 1024);
    slm_context_free(ctx);
}
END_TEST

START_TEST(test_fault_68_truncate_out_of_range) {
    slm_context_params p = params(64);
    slm_context *ctx = create(&p);
    slm_token tokens[5] = {1, 2, 3, 4, 5};
    ck_assert_int_eq(slm_decode_tokens(ctx, tokens, 5, &err), SLM_OK);
    ASSERT_FAILS(slm_seq_truncate(ctx, 0, 6, &err), SLM_ERR_RANGE, "holds 5 tokens");
    ASSERT_FAILS(slm_seq_truncate(ctx, 0, -1, &err), SLM_ERR_RANGE, "-1");
    ASSERT_FAILS(slm_seq_truncate(ctx, 1, 0, &err), SLM_ERR_RANGE, "sequence 1");
    ASSERT_FAILS(slm_seq_truncate(ctx, -1, 0, &err), SLM_ERR_RANGE, "sequence -1");
    ck_assert_int_eq(slm_seq_length(ctx, 0), 5);
    assert_usable(ctx);
    slm_context_free(ctx);
}
END_TEST

START_TEST(test_fault_89_levels_by_name) {
    slm_context_params p = params(64);
    slm_context *ctx;
    p.cpu = "abacus";
    ASSERT_FAILS(slm_context_create(model, &p, &ctx, &err), SLM_ERR_UNSUPPORTED, "abacus");
    const char *cpu;
    int32_t n = 0;
    for (; (cpu = slm_cpu_level(n)); n++) {
        p.cpu = cpu;
        ctx = create(&p);
        ck_assert_str_eq(slm_context_cpu(ctx), cpu);
        assert_usable(ctx);
        slm_context_free(ctx);
    }
    ck_assert_int_ge(n, 1);
    ck_assert_str_eq(slm_cpu_level(0), "c");
    ck_assert_ptr_null(slm_cpu_level(-1));
}
END_TEST

static void put_file(const char *dir, const char *name, const char *text) {
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

/* Processors of the same core count once, unless the process may use only one of them. */
START_TEST(test_fault_88_physical_cores) {
    static const struct {
        const char *lists[4]; /* of processor 0 .. 3; NULL: no such file */
        uint8_t allowed[4];
        int32_t cores;
    } rows[] = {
        {{"0-1\n", "0-1\n", "2-3\n", "2-3\n"}, {1, 1, 1, 1}, 2},
        {{"0,2\n", "1,3\n", "0,2\n", "1,3\n"}, {1, 1, 1, 1}, 2},
        {{"0,2\n", "1,3\n", "0,2\n", "1,3\n"}, {0, 0, 1, 1}, 2},
        {{"0,2\n", "1,3\n", "0,2\n", "1,3\n"}, {1, 0, 1, 0}, 1},
        {{"0\n", "1\n", "2\n", "3\n"}, {1, 1, 1, 0}, 3},
        {{NULL, NULL, NULL, NULL}, {1, 1, 0, 0}, 2},
        {{"x\n", "1-\n", ",\n", "-5-2,3\n"}, {1, 1, 1, 1}, 4},
        {{"0-3\n", "0-3\n", "0-3\n", "0-3\n"}, {1, 1, 1, 1}, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char root[] = "/tmp/slm-cores-XXXXXX", path[100], command[200];
        ck_assert_ptr_nonnull(mkdtemp(root));
        for (int cpu = 0; cpu < 4; cpu++) {
            if (!rows[i].lists[cpu]) continue;
            snprintf(path, sizeof path, "%s/cpu%d/topology", root, cpu);
            snprintf(command, sizeof command, "mkdir -p %s", path);
            ck_assert_int_eq(system(command), 0);
            put_file(path, "thread_siblings_list", rows[i].lists[cpu]);
        }
        ck_assert_msg(slm__physical_cores(rows[i].allowed, 4, root) == rows[i].cores, "row %zu: %d",
                      i, slm__physical_cores(rows[i].allowed, 4, root));
        snprintf(command, sizeof command, "rm -r %s", root);
        ck_assert_int_eq(system(command), 0);
    }
}
END_TEST

/* Control groups as the kernel's documentation shows them, in a folder of our own. */
START_TEST(test_fault_88_quota_of_control_groups) {
    static const struct {
        const char *groups, *where, *name, *text, *period;
        int32_t quota;
    } rows[] = {
        {"0::/\n", "", "cpu.max", "150000 100000\n", NULL, 1},
        {"0::/a/b\n", "a/b", "cpu.max", "400000 100000\n", NULL, 4},
        {"0::/a/b\n", "a", "cpu.max", "250000 100000\n", NULL, 2},     /* of a group above */
        {"0::/far/away\n", "", "cpu.max", "300000 100000\n", NULL, 3}, /* seen from a container */
        {"0::/a\n", "a", "cpu.max", "max 100000\n", NULL, 0},
        {"0::/a\n", "a", "cpu.max", "10000 100000\n", NULL, 1},
        {"0::/a\n", "a", "cpu.max", "nonsense\n", NULL, 0},
        {"3:cpu,cpuacct:/x\n1:name=systemd:/y\n", "cpu/x", "cpu.cfs_quota_us", "200000\n",
         "100000\n", 2},
        {"3:cpu,cpuacct:/x\n", "cpu/x", "cpu.cfs_quota_us", "-1\n", "100000\n", 0},
        {"5:cpuset:/x\n", "cpu/x", "cpu.cfs_quota_us", "200000\n", "100000\n", 0},
        {"no colons", "", "cpu.max", "150000 100000\n", NULL, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char root[] = "/tmp/slm-quota-XXXXXX", path[100], command[200];
        ck_assert_ptr_nonnull(mkdtemp(root));
        snprintf(path, sizeof path, "%s/%s", root, rows[i].where);
        snprintf(command, sizeof command, "mkdir -p %s", path);
        ck_assert_int_eq(system(command), 0);
        put_file(root, "groups", rows[i].groups);
        put_file(path, rows[i].name, rows[i].text);
        if (rows[i].period) put_file(path, "cpu.cfs_period_us", rows[i].period);
        snprintf(command, sizeof command, "%s/groups", root);
        ck_assert_msg(slm__cgroup_quota(command, root) == rows[i].quota, "row %zu: %d", i,
                      slm__cgroup_quota(command, root));
        snprintf(command, sizeof command, "rm -r %s", root);
        ck_assert_int_eq(system(command), 0);
    }
    ck_assert_int_eq(slm__cgroup_quota("/nowhere", "/nowhere"), 0);
    ck_assert_int_eq(slm__default_threads(1), 1);
}
END_TEST

START_TEST(test_fault_88_default_threads) {
    slm_context_params p = params(64);
    p.n_threads = 0;
    slm_context *ctx = create(&p);
    ck_assert_int_ge(slm_context_n_threads(ctx), 1);
    ck_assert_int_le(slm_context_n_threads(ctx), 512);
    assert_usable(ctx);
    slm_context_free(ctx);
}
END_TEST

/* ---- Full, busy, cancelled, not a number ---- */

START_TEST(test_fault_73_context_full) {
    slm_context_params p = params(100);
    p.n_seq_max = 2;
    p.n_batch = 32;
    slm_context *ctx = create(&p);
    slm_token tokens[120];
    int32_t sequences[120];
    for (int i = 0; i < 120; i++) tokens[i] = i, sequences[i] = i % 2;
    slm_batch b = {sizeof b, 90, tokens, NULL, sequences, NULL};
    ck_assert_int_eq(slm_decode(ctx, &b, &err), SLM_OK);
    b.n_tokens = 11;
    ASSERT_FAILS(slm_decode(ctx, &b, &err), SLM_ERR_CONTEXT_FULL, "10 of 100");
    ck_assert_int_eq(slm_seq_length(ctx, 0), 45);
    ck_assert_int_eq(slm_seq_length(ctx, 1), 45);
    b.n_tokens = 10;
    ck_assert_int_eq(slm_decode(ctx, &b, &err), SLM_OK);
    ck_assert_int_eq(slm_seq_truncate(ctx, 1, 0, &err), SLM_OK); /* room again, wherever it lies */
    ck_assert_int_eq(slm_decode_tokens(ctx, tokens, 50, &err), SLM_OK);
    ck_assert_int_eq(slm_seq_length(ctx, 0), 100);
    assert_usable(ctx);
    slm_context_free(ctx);
}
END_TEST

typedef struct stop_after {
    int calls, stop_at;
    struct timespec stopped;
    slm_context *ctx;
    slm_status inner;
} stop_after;

static bool stop(void *user, float done) {
    stop_after *s = user;
    ck_assert(done >= 0 && done <= 1);
    return ++s->calls < s->stop_at;
}

START_TEST(test_fault_72_cancelled_at_any_call) {
    slm_token tokens[100];
    float want[N_VOCAB];
    for (int i = 0; i < 100; i++) tokens[i] = i + 1;
    slm_context_params p = params(128);
    p.n_batch = 32;
    slm_context *plain = create(&p);
    ck_assert_int_eq(slm_decode_tokens(plain, tokens, 100, &err), SLM_OK);
    memcpy(want, slm_logits(plain, 0), sizeof want);
    slm_context_free(plain);
    stop_after s = {0};
    p.progress = stop;
    p.progress_user = &s;
    slm_context *ctx = create(&p);
    for (s.stop_at = 1;; s.stop_at++) {
        s.calls = 0;
        ck_assert_int_eq(slm_seq_truncate(ctx, 0, 0, &err), SLM_OK);
        slm_status status = slm_decode_tokens(ctx, tokens, 100, &err);
        if (status == SLM_OK) break;
        ck_assert_int_eq(status, SLM_ERR_CANCELLED);
        int32_t held = slm_seq_length(ctx, 0);
        ck_assert_msg(held % 32 == 0 && held < 100, "%d tokens held", held); /* whole parts */
        s.calls = -1000000;
        ck_assert_int_eq(slm_decode_tokens(ctx, tokens + held, 100 - held, &err), SLM_OK);
        ck_assert_int_eq(memcmp(slm_logits(ctx, 0), want, sizeof want),
                         0); /* as if nothing had been */
    }
    ck_assert_int_gt(s.stop_at, 4);
    slm_context_free(ctx);
}
END_TEST

/* ---- Progress: a fraction that only rises, and short waits even in plain C on one thread ---- */

typedef struct watch {
    float last;
    double longest, before;
    int calls;
} watch;

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* a busy machine is not the library's fault */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool look(void *user, float done) {
    watch *w = user;
    double now = seconds();
    ck_assert_msg(done >= w->last && done <= 1, "%g after %g", (double)done, (double)w->last);
    w->last = done;
    w->longest = now - w->before > w->longest ? now - w->before : w->longest;
    w->before = now;
    w->calls++;
    return true;
}

/* Large matrices and many rows of logits: some 2^31 multiplications, seconds in plain C. */
START_TEST(test_fault_72_progress_at_least_each_250_ms) {
    static const tiny_shape large = {.n_vocab = 8000,
                                     .n_embd = 512,
                                     .n_layer = 1,
                                     .n_head = 8,
                                     .n_head_kv = 4,
                                     .n_ff = 3072,
                                     .types = {SLM_Q4_0},
                                     .n_types = 1,
                                     .seed = 4};
    gguf_build b = {0};
    size_t n;
    slm_model *m;
    tiny_model(&b, &large);
    const void *file = gb_finish(&b, &n);
    ck_assert_int_eq(slm_model_open_memory(file, n, NULL, &m, &err), SLM_OK);
    enum { N = 160 };
    slm_token tokens[N];
    uint8_t want[N];
    for (int i = 0; i < N; i++) tokens[i] = i, want[i] = i >= N / 2;
    watch w = {0};
    slm_context_params p = slm_context_defaults();
    p.n_ctx = N;
    p.n_batch = 96;
    p.n_logits = N;
    p.n_threads = 1;
    p.cpu = "c";
    p.progress = look;
    p.progress_user = &w;
    slm_context *ctx;
    ck_assert_int_eq(slm_context_create(m, &p, &ctx, &err), SLM_OK);
    slm_batch batch = {sizeof batch, N, tokens, NULL, NULL, want};
    w.before = seconds();
    ck_assert_int_eq(slm_decode(ctx, &batch, &err), SLM_OK);
    double tail = seconds() - w.before;
    w.longest = tail > w.longest ? tail : w.longest;
    ck_assert_int_gt(w.calls, 40);
    ck_assert_float_gt(w.last, 0.9f);
    ck_assert_msg(w.longest < (sanitized() ? 5 : 0.25), "%.3f s", w.longest);
    slm_context_free(ctx);
    slm_model_close(m);
    gb_free(&b);
}
END_TEST

/* The same context from within its own call is the plainest second user. */
static bool call_again(void *user, float done) {
    (void)done;
    stop_after *s = user;
    slm_token token = 1;
    s->inner = slm_decode_tokens(s->ctx, &token, 1, NULL);
    return true;
}

START_TEST(test_fault_71_busy) {
    stop_after s = {0};
    slm_context_params p = params(64);
    p.progress = call_again;
    p.progress_user = &s;
    s.ctx = create(&p);
    slm_token token = 7;
    ck_assert_int_eq(slm_decode_tokens(s.ctx, &token, 1, &err), SLM_OK);
    ck_assert_int_eq(s.inner, SLM_ERR_BUSY);
    ck_assert_int_eq(slm_seq_length(s.ctx, 0), 1);
    assert_usable(s.ctx);
    slm_context_free(s.ctx);
}
END_TEST

/* A weight that is no number: the sequence that meets it is told; the row of the other is good. */
START_TEST(test_fault_90_nan_in_one_sequence) {
    size_t n;
    gguf_build b = {0};
    slm_model *broken;
    tiny_shape with_floats = shape;
    with_floats.n_types = 0;
    tiny_model(&b, &with_floats);
    float nan_value = NAN; /* first tensor: the embedding; of token 9 */
    memcpy(b.tensors.data + 9 * 64 * sizeof(float), &nan_value, sizeof nan_value);
    const void *file = gb_finish(&b, &n);
    slm_model_params check = slm_model_defaults();
    check.check_weights = true;
    ASSERT_FAILS(slm_model_open_memory(file, n, &check, &broken, &err), SLM_ERR_NUMERIC,
                 "token_embd.weight, row 9");
    ck_assert_int_eq(slm_model_open_memory(file, n, NULL, &broken, &err), SLM_OK);
    slm_context_params p = params(64);
    p.n_seq_max = p.n_logits = 2;
    slm_context *ctx;
    ck_assert_int_eq(slm_context_create(broken, &p, &ctx, &err), SLM_OK);
    slm_token tokens[2] = {9, 10};
    int32_t sequences[2] = {0, 1};
    uint8_t want[2] = {1, 1};
    slm_batch batch = {sizeof batch, 2, tokens, NULL, sequences, want};
    ASSERT_FAILS(slm_decode(ctx, &batch, &err), SLM_ERR_NUMERIC, "row 0");
    ck_assert_ptr_nonnull(slm_logits(ctx, 1));
    for (int i = 10; i < N_VOCAB; i++) ck_assert(isfinite(slm_logits(ctx, 1)[i]));
    ck_assert_int_eq(slm_seq_length(ctx, 1), 1);
    slm_context_free(ctx);
    slm_model_close(broken);
    gb_free(&b);
}
END_TEST

/* ---- Memory ---- */

START_TEST(test_fault_84_nth_allocation_fails) {
    for (long n = 1;; n++) {
        check_alloc counter = {.fail_at = n};
        slm_context_params p = params(64);
        p.allocator = check_allocator(&counter);
        slm_context *ctx;
        slm_status s = slm_context_create(model, &p, &ctx, &err);
        if (s == SLM_OK) {
            ck_assert_int_gt(n, 3);
            assert_usable(ctx);
            slm_context_free(ctx);
            ck_assert_int_eq(counter.n_live, 0);
            break;
        }
        ck_assert_int_eq(s, SLM_ERR_NOMEM);
        ck_assert_ptr_null(ctx);
        ck_assert_int_eq(counter.n_live, 0);
    }
}
END_TEST

START_TEST(test_memory_is_what_was_said_and_all_at_once) {
    check_alloc counter = {0};
    slm_context_params p = params(500);
    p.allocator = check_allocator(&counter);
    p.n_seq_max = 5;
    p.n_logits = 7;
    size_t said;
    ck_assert_int_eq(slm_context_memory(model, &p, &said, &err), SLM_OK);
    slm_context *ctx = create(&p);
    ck_assert_uint_eq(counter.peak, said);
    long calls = counter.n_calls;
    slm_token tokens[300];
    for (int i = 0; i < 300; i++) tokens[i] = i % N_VOCAB;
    ck_assert_int_eq(slm_decode_tokens(ctx, tokens, 300, &err), SLM_OK);
    ck_assert_int_eq(counter.n_calls, calls); /* nothing while it works */
    slm_context_free(ctx);
    ck_assert_int_eq(counter.n_live, 0);
}
END_TEST

/* ---- Contexts in threads ---- */

static void *own_context(void *arg) {
    float *out = arg;
    slm_context_params p = slm_context_defaults();
    slm_context *ctx;
    slm_token tokens[40];
    for (int i = 0; i < 40; i++) tokens[i] = i + 20;
    p.n_ctx = 64;
    p.n_threads = 2;
    if (slm_context_create(model, &p, &ctx, NULL) != SLM_OK) return NULL;
    bool good = slm_decode_tokens(ctx, tokens, 40, NULL) == SLM_OK;
    if (good) memcpy(out, slm_logits(ctx, 0), N_VOCAB * sizeof *out);
    slm_context_free(ctx);
    return good ? out : NULL;
}

START_TEST(test_a_model_is_shared_by_contexts_in_threads) {
    enum { N = 6 };
    static float out[N][N_VOCAB];
    pthread_t threads[N];
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, own_context, out[i]), 0);
    for (int i = 0; i < N; i++) {
        void *result;
        pthread_join(threads[i], &result);
        ck_assert_ptr_eq(result, out[i]);
        ck_assert_int_eq(memcmp(out[i], out[0], sizeof out[0]), 0);
    }
}
END_TEST

/* Contexts that share threads: at work at the same time, each as if it were alone. */
static slm_threads *shared;

static void *sharing_context(void *out) {
    slm_context_params p = params(64);
    slm_context *ctx;
    slm_token tokens[40];
    p.threads = shared;
    for (int i = 0; i < 40; i++) tokens[i] = i + 20;
    if (slm_context_create(model, &p, &ctx, NULL) != SLM_OK) return NULL;
    bool good = true;
    for (int i = 0; i < 40 && good; i++)
        good = slm_decode_tokens(ctx, tokens + i, 1, NULL) == SLM_OK;
    if (good) memcpy(out, slm_logits(ctx, 0), N_VOCAB * sizeof(float));
    slm_context_free(ctx);
    return good ? out : NULL;
}

START_TEST(test_threads_are_shared_by_contexts) {
    enum { N = 5 };
    static float out[N][N_VOCAB], alone[N_VOCAB];
    pthread_t threads[N];
    ck_assert_ptr_nonnull(own_context(alone));
    for (int32_t n = 1; n <= 4; n++) {
        ck_assert_int_eq(slm_threads_create(n, NULL, &shared, &err), SLM_OK);
        for (int i = 0; i < N; i++)
            ck_assert_int_eq(pthread_create(&threads[i], NULL, sharing_context, out[i]), 0);
        for (int i = 0; i < N; i++) {
            void *result;
            pthread_join(threads[i], &result);
            ck_assert_ptr_eq(result, out[i]);
            ck_assert_int_eq(memcmp(out[i], alone, sizeof alone), 0);
        }
        slm_threads_free(shared);
    }
}
END_TEST

START_TEST(test_fault_67_threads_to_share) {
    slm_threads *t = (slm_threads *)&err;
    ASSERT_FAILS(slm_threads_create(2, NULL, NULL, &err), SLM_ERR_ARGUMENT, "out");
    ASSERT_FAILS(slm_threads_create(-1, NULL, &t, &err), SLM_ERR_RANGE, "n_threads is -1");
    ck_assert_ptr_null(t);
    ASSERT_FAILS(slm_threads_create(513, NULL, &t, &err), SLM_ERR_RANGE, "n_threads is 513");
    slm_allocator half = {.free = (void (*)(void *, void *))(uintptr_t)1};
    ASSERT_FAILS(slm_threads_create(1, &half, &t, &err), SLM_ERR_ARGUMENT, "allocator");
    slm_threads_free(NULL);
    /* the context's own number of threads does not count then */
    slm_context_params p = params(64);
    size_t n_bytes;
    ck_assert_int_eq(slm_threads_create(0, NULL, &t, &err), SLM_OK);
    p.threads = t;
    p.n_threads = 7;
    ck_assert_int_eq(slm_context_memory(model, &p, &n_bytes, &err), SLM_OK);
    slm_context *ctx = create(&p);
    ck_assert_int_ge(slm_context_n_threads(ctx), 1);
    ck_assert_int_ne(slm_context_n_threads(ctx), 7);
    assert_usable(ctx);
    slm_context_free(ctx);
    slm_threads_free(t);
}
END_TEST

static uint8_t times_run[300001];

static void count_chunk(void *arg, int32_t chunk, int32_t thread) {
    ck_assert(thread >= 0 && thread < *(const int32_t *)arg);
    times_run[chunk]++;
}

/* More chunks than fit the ranges of a loop at once, fewer than threads, and whatever lies between. */
START_TEST(test_each_chunk_runs_once) {
    static const int32_t counts[] = {1, 2, 3, 7, 64, 65535, 65536, 131071, 131072, 299999};
    for (int32_t n = 1; n <= 5; n++) {
        slm_threads *pool;
        ck_assert_int_eq(slm_threads_create(n, NULL, &pool, &err), SLM_OK);
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            memset(times_run, 0, sizeof times_run);
            slm__pool_run(pool, 0, counts[i], count_chunk, &n);
            int32_t c = 0;
            while (c < 300000 && times_run[c] == (c < counts[i])) c++;
            ck_assert_msg(c == 300000, "%d threads, chunk %d of %d: %d", n, c, counts[i],
                          times_run[c]);
        }
        slm_threads_free(pool);
    }
}
END_TEST

/* Bit for bit those of the row alone, on every instruction set. */
START_TEST(test_logprobs_of_rows) {
    enum { N_TOP = 7 };
    static const slm_token wanted[] = {3, 0, N_VOCAB - 1};
    static const uint8_t all[] = {1, 1, 1};
    slm_logprob a[3 + N_TOP], b[3 + N_TOP];
    for (int level = 0; slm_cpu_level(level); level++) {
        slm_context_params p = params(64);
        p.cpu = slm_cpu_level(level);
        p.n_logits = 3;
        slm_context *ctx = create(&p);
        ASSERT_FAILS(slm_context_logprobs(ctx, 0, wanted, 3, N_TOP, a, &err), SLM_ERR_RANGE,
                     "no row 0");
        slm_batch batch = {
            .size = sizeof batch, .n_tokens = 3, .tokens = wanted, .want_logits = all};
        ck_assert_int_eq(slm_decode(ctx, &batch, &err), SLM_OK);
        for (int32_t row = 0; row < 3; row++) {
            ck_assert_int_eq(slm_context_logprobs(ctx, row, wanted, 3, N_TOP, a, &err), SLM_OK);
            ck_assert_int_eq(slm_logprobs(slm_logits(ctx, row), N_VOCAB, wanted, 3, N_TOP, b, &err),
                             SLM_OK);
            for (int i = 0; i < 3 + N_TOP; i++)
                ck_assert(a[i].token == b[i].token && a[i].logprob == b[i].logprob);
        }
        ASSERT_FAILS(slm_context_logprobs(ctx, 3, wanted, 3, 0, a, &err), SLM_ERR_RANGE, "row 3");
        ASSERT_FAILS(slm_context_logprobs(ctx, -1, wanted, 3, 0, a, &err), SLM_ERR_RANGE, "row -1");
        ASSERT_FAILS(slm_context_logprobs(ctx, 0, wanted, 3, N_VOCAB + 1, a, &err), SLM_ERR_RANGE,
                     "n_top");
        slm_context_free(ctx);
    }
    ASSERT_FAILS(slm_context_logprobs(NULL, 0, wanted, 3, 0, a, &err), SLM_ERR_ARGUMENT, "context");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("context");
    TCase *c = tcase_create("context");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, test_fault_66_null_and_wrong_size);
    tcase_add_test(c, test_fault_66_short_structs);
    tcase_add_test(c, test_fault_66_half_an_allocator);
    tcase_add_test(c, test_fault_67_parameters_out_of_range);
    tcase_add_test(c, test_fault_67_token_position_sequence_out_of_range);
    tcase_add_test(c, test_fault_67_threads_to_share);
    tcase_add_test(c, test_logprobs_of_rows);
    tcase_add_test(c, test_threads_are_shared_by_contexts);
    tcase_add_test(c, test_each_chunk_runs_once);
    tcase_add_test(c, test_fault_67_context_of_one_position);
    tcase_add_test(c, test_fault_68_truncate_out_of_range);
    tcase_add_test(c, test_fault_71_busy);
    tcase_add_test(c, test_fault_72_cancelled_at_any_call);
    tcase_add_test(c, test_fault_72_progress_at_least_each_250_ms);
    tcase_add_test(c, test_fault_73_context_full);
    tcase_add_test(c, test_fault_84_nth_allocation_fails);
    tcase_add_test(c, test_fault_88_physical_cores);
    tcase_add_test(c, test_fault_88_quota_of_control_groups);
    tcase_add_test(c, test_fault_88_default_threads);
    tcase_add_test(c, test_fault_89_levels_by_name);
    tcase_add_test(c, test_fault_90_nan_in_one_sequence);
    tcase_add_test(c, test_memory_is_what_was_said_and_all_at_once);
    tcase_add_test(c, test_a_model_is_shared_by_contexts_in_threads);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
