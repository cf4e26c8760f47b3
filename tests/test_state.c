/* Saved sequences: restored bits go on as if they had stayed; whatever is wrong with the bytes is told, and nothing has changed. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/adapter_case.h"
#include "support/check_alloc.h"
#include "support/kv_case.h"
#include "support/strict.h"
#include "support/suite.h"

enum { N_VOCAB = 260, WINDOW = 33, BATCH = 40 };

#define SIZES .n_vocab = N_VOCAB, .n_embd = 64, .n_head = 4, .n_head_kv = 2, .n_ff = 96
static const tiny_key keys[] = {{"attention.sliding_window", WINDOW, false}, {0}};
static const tiny_shape shapes[] = {
    {SIZES, .n_layer = 2, .seed = 81},
    {SIZES, .n_layer = 2, .keys = keys, .seed = 82}, /* every layer has a window */
    {SIZES, .arch = "gemma3", .n_layer = 7, .post_norms = true, .qk_norm = true, .keys = keys,
     .seed = 83},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

/* ---- System calls that fail: those of the library, as it is linked into this program, come here ---- */

static struct faults {
    long calls, fail_at;  /* of all calls below, from 1; 0: none fails */
    int error;            /* of the one that fails, and all after it   */
    bool bits_and_pieces; /* each second call is interrupted, the others do a few bytes */
} faults;

static bool fails(void) {
    if (++faults.calls < faults.fail_at || faults.fail_at == 0) return false;
    errno = faults.error;
    return true;
}

static bool interrupted(size_t *n) {
    if (!faults.bits_and_pieces) return false;
    if (*n > 1000) *n = 1000;
    errno = EINTR;
    return faults.calls % 2;
}

ssize_t read(int fd, void *data, size_t n) {
    return fails() || interrupted(&n) ? -1 : syscall(SYS_read, fd, data, n);
}
ssize_t write(int fd, const void *data, size_t n) {
    return fails() || interrupted(&n) ? -1 : syscall(SYS_write, fd, data, n);
}
int fsync(int fd) { return fails() ? -1 : (int)syscall(SYS_fsync, fd); }
int rename(const char *from, const char *to) {
    return fails() ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* ---- A sequence and its bytes ---- */

static slm_token text[700];

typedef struct saved {
    uint8_t *data;
    size_t n;
} saved;

static saved save(slm_context *ctx, int32_t seq) {
    saved s = {NULL, 0};
    slm_error err;
    size_t n = 0;
    ck_assert_int_eq(slm_seq_save(ctx, seq, NULL, 0, &s.n, &err), SLM_ERR_BUFFER);
    s.data = malloc(s.n);
    ck_assert_ptr_nonnull(s.data);
    ck_assert_int_eq(slm_seq_save(ctx, seq, s.data, s.n - 1, &n, &err), SLM_ERR_BUFFER);
    ck_assert_msg(slm_seq_save(ctx, seq, s.data, s.n, &n, &err) == SLM_OK, "%s", err.message);
    ck_assert_uint_eq(n, s.n);
    return s;
}

/* In parts of up to a batch. */
static void add_all(slm_context *ctx, int32_t seq, const slm_token *tokens, int32_t n) {
    for (int32_t at = 0; at < n; at += BATCH)
        add_to(ctx, seq, tokens + at, n - at < BATCH ? n - at : BATCH);
}

static void expect_same_tokens(slm_context *a, int32_t seq_a, slm_context *b, int32_t seq_b) {
    slm_token in_a[700], in_b[700];
    size_t n_a, n_b;
    ck_assert_int_eq(slm_seq_tokens(a, seq_a, in_a, 700, &n_a, NULL), SLM_OK);
    ck_assert_int_eq(slm_seq_tokens(b, seq_b, in_b, 700, &n_b, NULL), SLM_OK);
    ck_assert_uint_eq(n_a, n_b);
    ck_assert_int_eq(memcmp(in_a, in_b, n_a * sizeof *in_a), 0);
}

static void setup(void) { fill_tokens(text, 700, N_VOCAB); }

START_TEST(test_restored_sequences_go_on_with_the_same_bits) {
    static const int32_t lengths[] = {1, 63, 64, 65, 130, 600};
    fixture f = open_tiny(&shapes[_i % N_SHAPES]);
    slm_kv_type kv = (slm_kv_type)(_i / N_SHAPES);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        /* another context: size, sequences, batch */
        slm_context *a = create_for_sequences(f.model, 700, 2, BATCH, kv),
                    *b = create_for_sequences(f.model, 800, 3, 7, kv);
        slm_error err;
        int32_t n = lengths[i];
        add_all(a, 1, text, n);
        add_to(b, 0, text + 50, 30);
        saved s = save(a, 1);
        ck_assert_msg(slm_seq_restore(b, 2, s.data, s.n, &err) == SLM_OK, "%s", err.message);
        check_pages(b);
        expect_same_tokens(a, 1, b, 2);
        for (int more = 0; more < 3; more++) {
            add_to(a, 1, text + 11 * more, 25), add_to(b, 2, text + 11 * more, 25);
            ck_assert_int_eq(memcmp(slm_logits(a, 0), slm_logits(b, 0), N_VOCAB * 4), 0);
        }
        /* and can be cut back, as ever */
        ck_assert_int_eq(slm_seq_truncate(a, 1, n + 75 - 64, &err), SLM_OK);
        ck_assert_int_eq(slm_seq_truncate(b, 2, n + 75 - 64, &err), SLM_OK);
        add_to(a, 1, text, 1), add_to(b, 2, text, 1);
        ck_assert_int_eq(memcmp(slm_logits(a, 0), slm_logits(b, 0), N_VOCAB * 4), 0);
        check_pages(b);
        free(s.data);
        slm_context_free(a), slm_context_free(b);
    }
    close_tiny(f);
}
END_TEST

/* Pages have more than the sequence: of others, or from before it was cut. The bytes do not tell. */
START_TEST(test_bytes_hold_nothing_but_the_sequence) {
    fixture f = open_tiny(&shapes[_i]);
    slm_context *used = create_for_sequences(f.model, 700, 2, BATCH, SLM_KV_F16),
                *fresh = create_for_sequences(f.model, 700, 1, BATCH, SLM_KV_F16);
    add_all(used, 0, text + 90, 200);
    ck_assert_int_eq(slm_seq_truncate(used, 0, 0, NULL), SLM_OK);
    add_all(used, 1, text, 230);
    ck_assert_int_eq(slm_seq_truncate(used, 1, 200, NULL), SLM_OK);
    add_all(fresh, 0, text, 200);
    saved a = save(used, 1), b = save(fresh, 0);
    ck_assert_uint_eq(a.n, b.n);
    ck_assert_int_eq(memcmp(a.data, b.data, a.n), 0);
    free(a.data), free(b.data);
    slm_context_free(used), slm_context_free(fresh);
    close_tiny(f);
}
END_TEST

/* After a fork, a removal, and an empty one. */
START_TEST(test_sequences_of_any_past_are_restored) {
    fixture f = open_tiny(&shapes[_i]);
    slm_context *ctx = create_for_sequences(f.model, 1000, 4, BATCH, SLM_KV_F16);
    slm_error err;
    add_all(ctx, 0, text, 300);
    ck_assert_int_eq(slm_seq_fork(ctx, 0, 1, 290, &err), SLM_OK);
    ck_assert_int_eq(slm_seq_remove(ctx, 1, 3, 90, &err), SLM_OK);
    saved s = save(ctx, 1), empty = save(ctx, 3);
    ck_assert_int_eq(slm_seq_restore(ctx, 2, s.data, s.n, &err), SLM_OK);
    ck_assert_int_eq(slm_seq_restore(ctx, 3, empty.data, empty.n, &err), SLM_OK);
    ck_assert_int_eq(slm_seq_length(ctx, 3), 0);
    expect_same_tokens(ctx, 1, ctx, 2);
    float row[N_VOCAB];
    add_to(ctx, 1, text + 5, 30);
    memcpy(row, slm_logits(ctx, 0), sizeof row);
    add_to(ctx, 2, text + 5, 30);
    ck_assert_int_eq(memcmp(row, slm_logits(ctx, 0), sizeof row), 0);
    check_pages(ctx);
    free(s.data), free(empty.data);
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

/* ---- Faults ---- */

static void expect_untouched(slm_context *ctx, slm_error *err, slm_status status, slm_status want) {
    ck_assert_msg(status == want, "%s: %s", slm_status_name(status), err->message);
    strict_message(err, want);
    ck_assert_int_eq(slm_seq_length(ctx, 1), 0);
    ck_assert_int_eq(slm_seq_length(ctx, 0), 20);
    check_pages(ctx);
}

/* Every length that is too short, and each bit of the bytes. */
START_TEST(test_fault_70_cut_and_flipped) {
    static const tiny_shape small = {.n_vocab = N_VOCAB,
                                     .n_embd = 16,
                                     .n_head = 2,
                                     .n_head_kv = 1,
                                     .n_ff = 32,
                                     .n_layer = 2,
                                     .keys = keys,
                                     .seed = 84};
    fixture f = open_tiny(&small);
    slm_context *ctx = create_for_sequences(f.model, 300, 2, BATCH, SLM_KV_Q8_0);
    slm_error err;
    add_to(ctx, 0, text, 20);
    saved s = save(ctx, 0);
    for (size_t n = 0; n < s.n; n += n < 200 || s.n - n < 20 ? 1 : 7) {
        uint8_t *part = strict_copy(s.data, n);
        expect_untouched(ctx, &err, slm_seq_restore(ctx, 1, part, n, &err), SLM_ERR_FORMAT);
        free(part);
    }
    for (size_t bit = 0; bit < 8 * s.n; bit += bit < 800 ? 1 : 3) {
        s.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        slm_status status = slm_seq_restore(ctx, 1, s.data, s.n, &err);
        if (status != SLM_ERR_UNSUPPORTED && status != SLM_ERR_MISMATCH &&
            status != SLM_ERR_CONTEXT_FULL)
            expect_untouched(ctx, &err, status, SLM_ERR_FORMAT);
        else
            ck_assert_uint_lt(bit / 8, 32); /* of the head only: version, parameters, positions */
        ck_assert_int_eq(slm_seq_length(ctx, 1), 0);
        s.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    uint8_t *more = malloc(s.n + 1);
    ck_assert_ptr_nonnull(more);
    memcpy(more, s.data, s.n);
    more[s.n] = 0;
    expect_untouched(ctx, &err, slm_seq_restore(ctx, 1, more, s.n + 1, &err), SLM_ERR_FORMAT);
    ck_assert_int_eq(slm_seq_restore(ctx, 1, s.data, s.n, &err), SLM_OK);
    free(more), free(s.data);
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

/* What `change` makes of the parameters does not fit. */
static void no_change(slm_context_params *p) { (void)p; }
static void other_kv(slm_context_params *p) { p->kv_type = SLM_KV_F32; }
static void other_mode(slm_context_params *p) { p->reference = true; }
static void other_keep(slm_context_params *p) { p->keep_all = true; }
static void too_short(slm_context_params *p) { p->n_ctx = 64; }

START_TEST(test_fault_70_foreign) {
    static const struct {
        int shape;
        void (*change)(slm_context_params *p);
        slm_status status;
    } cases[] = {
        {2, no_change, SLM_OK},
        {1, no_change, SLM_ERR_FORMAT},
        {2, other_kv, SLM_ERR_MISMATCH},
        {2, other_mode, SLM_ERR_MISMATCH},
        {2, other_keep, SLM_ERR_MISMATCH},
        {2, too_short, SLM_ERR_CONTEXT_FULL},
    };
    fixture f = open_tiny(&shapes[2]);
    slm_context *ctx = create_for_sequences(f.model, 300, 1, BATCH, SLM_KV_F16);
    slm_error err;
    add_to(ctx, 0, text, 100);
    saved s = save(ctx, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture other = open_tiny(&shapes[cases[i].shape]);
        slm_context_params p = slm_context_defaults();
        slm_context *there;
        p.n_ctx = 300;
        cases[i].change(&p);
        ck_assert_int_eq(slm_context_create(other.model, &p, &there, &err), SLM_OK);
        slm_status status = slm_seq_restore(there, 0, s.data, s.n, &err);
        ck_assert_msg(status == cases[i].status, "case %zu: %s", i, err.message);
        if (status != SLM_OK) ck_assert_int_eq(slm_seq_length(there, 0), 0);
        check_pages(there);
        slm_context_free(there);
        close_tiny(other);
    }
    slm_context_free(ctx);
    free(s.data);
    close_tiny(f);
}
END_TEST

/* The same file but for a weight, as of a model that was trained further. */
START_TEST(test_fault_70_other_weights) {
    fixture f = open_tiny(&shapes[0]), tuned = open_tiny(&shapes[0]);
    slm_context *ctx = create_for_sequences(f.model, 300, 1, BATCH, SLM_KV_F16),
                *there = create_for_sequences(tuned.model, 300, 1, BATCH, SLM_KV_F16);
    slm_error err;
    add_to(ctx, 0, text, 20);
    saved s = save(ctx, 0);
    uint8_t *weight = (uint8_t *)(uintptr_t)tuned.model->gguf.tensors[3].data;
    *weight ^= 1;
    ck_assert_int_eq(slm_seq_restore(there, 0, s.data, s.n, &err), SLM_ERR_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.message, "of another model"));
    *weight ^= 1;
    ck_assert_int_eq(slm_seq_restore(there, 0, s.data, s.n, &err), SLM_OK);
    free(s.data);
    slm_context_free(ctx), slm_context_free(there);
    close_tiny(f), close_tiny(tuned);
}
END_TEST

/* The same model with an adapter, with another scale of it, and without. */
START_TEST(test_fault_70_other_adapters) {
    fixture f = open_tiny(&shapes[0]);
    slm_context *ctx = create_for_sequences(f.model, 300, 2, BATCH, SLM_KV_F16);
    slm_error err;
    gguf_build b = {0};
    slm_adapter *adapter;
    size_t n;
    const float scales[] = {1, 0.5f};
    tiny_adapter(&b, f.model, &(adapter_shape){.rank = 4, .alpha = 4, .seed = 9});
    const void *file = gb_finish(&b, &n);
    ck_assert_msg(slm_adapter_open_memory(f.model, file, n, NULL, &adapter, &err) == SLM_OK, "%s",
                  err.message);
    const slm_adapter *const adapters[] = {adapter};
    ck_assert_int_eq(slm_context_set_adapters(ctx, adapters, scales, 1, &err), SLM_OK);
    add_to(ctx, 0, text, 20);
    saved s = save(ctx, 0);
    ck_assert_int_eq(slm_context_set_adapters(ctx, adapters, scales + 1, 1, &err), SLM_OK);
    expect_untouched(ctx, &err, slm_seq_restore(ctx, 1, s.data, s.n, &err), SLM_ERR_FORMAT);
    ck_assert_int_eq(slm_context_set_adapters(ctx, NULL, NULL, 0, &err), SLM_OK);
    expect_untouched(ctx, &err, slm_seq_restore(ctx, 1, s.data, s.n, &err), SLM_ERR_FORMAT);
    ck_assert_int_eq(slm_context_set_adapters(ctx, adapters, scales, 1, &err), SLM_OK);
    ck_assert_int_eq(slm_seq_restore(ctx, 1, s.data, s.n, &err), SLM_OK);
    free(s.data);
    slm_context_free(ctx);
    slm_adapter_close(adapter);
    gb_free(&b);
    close_tiny(f);
}
END_TEST

START_TEST(test_fault_68_sequences_that_cannot_be_had) {
    fixture f = open_tiny(&shapes[0]);
    slm_context *ctx = create_for_sequences(f.model, 300, 2, BATCH, SLM_KV_F16);
    slm_error err;
    size_t n;
    add_to(ctx, 0, text, 20);
    saved s = save(ctx, 0);
    ck_assert_int_eq(slm_seq_save(ctx, 2, s.data, s.n, &n, &err), SLM_ERR_RANGE);
    ck_assert_int_eq(slm_seq_save(ctx, -1, s.data, s.n, &n, &err), SLM_ERR_RANGE);
    ck_assert_int_eq(slm_seq_save_file(ctx, 2, "/nowhere/at/all", &err), SLM_ERR_RANGE);
    ck_assert_int_eq(slm_seq_restore(ctx, 2, s.data, s.n, &err), SLM_ERR_RANGE);
    ck_assert_int_eq(slm_seq_restore(ctx, 0, s.data, s.n, &err), SLM_ERR_RANGE);
    ck_assert_ptr_nonnull(strstr(err.message, "is not empty"));
    ck_assert_int_eq(slm_seq_save(NULL, 0, s.data, s.n, &n, &err), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_seq_save(ctx, 0, NULL, s.n, &n, &err), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_seq_save(ctx, 0, s.data, s.n, NULL, &err), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_seq_restore(ctx, 1, NULL, s.n, &err), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_seq_restore(NULL, 1, s.data, s.n, &err), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_seq_save_file(ctx, 0, NULL, &err), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_seq_restore_file(ctx, 1, NULL, &err), SLM_ERR_ARGUMENT);
    ctx->busy = true;
    ck_assert_int_eq(slm_seq_save(ctx, 0, s.data, s.n, &n, &err), SLM_ERR_BUSY);
    ck_assert_int_eq(slm_seq_restore(ctx, 1, s.data, s.n, &err), SLM_ERR_BUSY);
    ctx->busy = false;
    check_pages(ctx);
    free(s.data);
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

/* ---- Files ---- */

typedef struct place {
    char dir[32], path[48];
} place;

static place new_place(void) {
    place p = {.dir = "/tmp/slm_test_XXXXXX"};
    ck_assert_ptr_nonnull(mkdtemp(p.dir));
    snprintf(p.path, sizeof p.path, "%s/state", p.dir);
    return p;
}

/* The directory holds the file and nothing else, so it can be removed after it. */
static void remove_place(const place *p) {
    unlink(p->path);
    ck_assert_int_eq(rmdir(p->dir), 0);
}

START_TEST(test_files_are_what_memory_is) {
    fixture f = open_tiny(&shapes[_i]);
    slm_context *ctx = create_for_sequences(f.model, 700, 2, BATCH, SLM_KV_F16);
    slm_error err;
    place p = new_place();
    struct stat st;
    add_all(ctx, 0, text, 300);
    saved s = save(ctx, 0);
    faults = (struct faults){.bits_and_pieces = _i > 0}; /* fault 86: short, and interrupted */
    ck_assert_msg(slm_seq_save_file(ctx, 0, p.path, &err) == SLM_OK, "%s", err.message);
    ck_assert_int_eq(stat(p.path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0600);
    ck_assert_uint_eq((size_t)st.st_size, s.n);
    uint8_t *bytes = malloc(s.n);
    FILE *file = fopen(p.path, "rb");
    ck_assert(bytes && file && fread(bytes, 1, s.n, file) == s.n);
    fclose(file);
    ck_assert_int_eq(memcmp(bytes, s.data, s.n), 0);
    ck_assert_msg(slm_seq_restore_file(ctx, 1, p.path, &err) == SLM_OK, "%s", err.message);
    ck_assert_int_gt(faults.calls, 5);
    faults = (struct faults){0};
    expect_same_tokens(ctx, 0, ctx, 1);
    ck_assert_int_eq(slm_seq_truncate(ctx, 1, 0, NULL), SLM_OK);
    ck_assert_int_eq(truncate(p.path, (off_t)s.n - 1), 0);
    ck_assert_int_eq(slm_seq_restore_file(ctx, 1, p.path, &err), SLM_ERR_FORMAT);
    ck_assert_int_eq(truncate(p.path, (off_t)s.n + 1), 0);
    ck_assert_int_eq(slm_seq_restore_file(ctx, 1, p.path, &err), SLM_ERR_FORMAT);
    ck_assert_int_eq(slm_seq_length(ctx, 1), 0);
    free(bytes), free(s.data);
    remove_place(&p);
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

/* Each call in turn: the old file stays, nothing is left beside it, and the next try succeeds. */
START_TEST(test_fault_87_disk_full_while_saving) {
    static const int errors[] = {ENOSPC, EIO, EDQUOT};
    fixture f = open_tiny(&shapes[2]);
    slm_context *ctx = create_for_sequences(f.model, 700, 2, BATCH, SLM_KV_F16);
    slm_error err;
    place p = new_place();
    add_all(ctx, 0, text, 100);
    ck_assert_int_eq(slm_seq_save_file(ctx, 0, p.path, &err), SLM_OK);
    add_all(ctx, 0, text, 130);
    long n_calls = 0;
    for (slm_status s = SLM_ERR_IO; s != SLM_OK; n_calls++) {
        ck_assert_int_lt(n_calls, 1000);
        faults = (struct faults){.fail_at = n_calls + 1, .error = errors[n_calls % 3]};
        s = slm_seq_save_file(ctx, 0, p.path, &err);
        bool fault = faults.calls >= faults.fail_at;
        faults = (struct faults){0};
        ck_assert_int_eq(s, fault ? SLM_ERR_IO : SLM_OK);
        ck_assert_int_eq(slm_seq_restore_file(ctx, 1, p.path, &err), SLM_OK);
        ck_assert_int_eq(slm_seq_length(ctx, 1), fault ? 100 : 230);
        ck_assert_int_eq(slm_seq_truncate(ctx, 1, 0, NULL), SLM_OK);
    }
    ck_assert_int_gt(n_calls, 20);
    remove_place(&p);
    ck_assert_int_eq(slm_seq_save_file(ctx, 0, p.path, &err), SLM_ERR_IO); /* no such folder */
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

START_TEST(test_fault_86_reading_fails) {
    fixture f = open_tiny(&shapes[2]);
    slm_context *ctx = create_for_sequences(f.model, 700, 2, BATCH, SLM_KV_F16);
    slm_error err;
    place p = new_place();
    add_all(ctx, 0, text, 20);
    ck_assert_int_eq(slm_seq_save_file(ctx, 0, p.path, &err), SLM_OK);
    long n_calls = 0;
    for (slm_status s = SLM_ERR_IO; s != SLM_OK; n_calls++) {
        ck_assert_int_lt(n_calls, 1000);
        faults = (struct faults){.fail_at = n_calls + 1, .error = EIO};
        s = slm_seq_restore_file(ctx, 1, p.path, &err);
        bool fault = faults.calls >= faults.fail_at;
        faults = (struct faults){0};
        if (fault)
            expect_untouched(ctx, &err, s, SLM_ERR_IO);
        else
            ck_assert_int_eq(s, SLM_OK);
    }
    ck_assert_int_gt(n_calls, 10);
    ck_assert_int_eq(slm_seq_truncate(ctx, 1, 0, NULL), SLM_OK);
    unlink(p.path);
    expect_untouched(ctx, &err, slm_seq_restore_file(ctx, 1, p.path, &err), SLM_ERR_IO);
    expect_untouched(ctx, &err, slm_seq_restore_file(ctx, 1, p.dir, &err), SLM_ERR_IO);
    ck_assert_int_eq(mkfifo(p.path, 0600), 0);
    expect_untouched(ctx, &err, slm_seq_restore_file(ctx, 1, p.path, &err), SLM_ERR_IO);
    remove_place(&p);
    slm_context_free(ctx);
    close_tiny(f);
}
END_TEST

START_TEST(test_fault_84_no_memory_to_save) {
    fixture f = open_tiny(&shapes[0]);
    check_alloc counts = {0};
    slm_context_params params = slm_context_defaults();
    slm_context *ctx;
    slm_error err;
    place p = new_place();
    params.n_ctx = 200;
    params.n_threads = 1;
    params.allocator = check_allocator(&counts);
    ck_assert_int_eq(slm_context_create(f.model, &params, &ctx, &err), SLM_OK);
    decode(ctx, text, 70);
    long live = counts.n_live, fails_seen = 0;
    for (slm_status s = SLM_ERR_NOMEM; s != SLM_OK; fails_seen++) {
        counts.n_calls = 0;
        counts.fail_at = fails_seen + 1;
        s = slm_seq_save_file(ctx, 0, p.path, &err);
        ck_assert_int_eq(s, counts.n_calls < counts.fail_at ? SLM_OK : SLM_ERR_NOMEM);
        ck_assert_int_eq(counts.n_live, live);
        ck_assert_int_eq(access(p.path, F_OK), s == SLM_OK ? 0 : -1);
    }
    ck_assert_int_eq(fails_seen, 3);
    counts.fail_at = 1;
    counts.n_calls = 0;
    size_t n;
    ck_assert_int_eq(slm_seq_save(ctx, 0, NULL, 0, &n, &err), SLM_ERR_NOMEM);
    remove_place(&p);
    slm_context_free(ctx);
    ck_assert_int_eq(counts.n_live, 0);
    close_tiny(f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("state");
    TCase *c = tcase_create("state");
    tcase_set_timeout(c, 300);
    tcase_add_checked_fixture(c, setup, NULL);
    tcase_add_loop_test(c, test_restored_sequences_go_on_with_the_same_bits, 0, 3 * N_SHAPES);
    tcase_add_loop_test(c, test_bytes_hold_nothing_but_the_sequence, 0, N_SHAPES);
    tcase_add_loop_test(c, test_sequences_of_any_past_are_restored, 0, N_SHAPES);
    tcase_add_test(c, test_fault_70_cut_and_flipped);
    tcase_add_test(c, test_fault_70_foreign);
    tcase_add_test(c, test_fault_70_other_weights);
    tcase_add_test(c, test_fault_70_other_adapters);
    tcase_add_test(c, test_fault_68_sequences_that_cannot_be_had);
    tcase_add_loop_test(c, test_files_are_what_memory_is, 0, N_SHAPES);
    tcase_add_test(c, test_fault_87_disk_full_while_saving);
    tcase_add_test(c, test_fault_86_reading_fails);
    tcase_add_test(c, test_fault_84_no_memory_to_save);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
