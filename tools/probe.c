#include "probe.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    WINDOW = 64,      /* tokens                                                          */
    FIRST = 8,        /* position whose prediction is scored: those before have seen too little */
    GROUP = 4,        /* windows computed together; the first group is what KL is measured on */
    MOST_GROUPS = 16, /* that importances are from                                       */
};

/* e^-16 of the most probable token: 1e-7. What is below adds nothing that could be seen. */
static const float logit_range = 16;

/* ---- Importance ---- */

static importance_row *find_importance(probe *p, const char *tensor) {
    for (int32_t i = 0; i < p->n_importance; i++)
        if (strcmp(p->importance[i].tensor, tensor) == 0) return &p->importance[i];
    return NULL;
}

static importance_row *add_importance(probe *p, const slm_observation *o) {
    double *squares = calloc((size_t)o->n, sizeof *squares);
    if (!squares || p->n_importance == p->n_tensors) {
        free(squares);
        return NULL;
    }
    p->importance[p->n_importance] = (importance_row){o->tensor, o->n, 0, squares};
    return &p->importance[p->n_importance++];
}

/* An slm_observe_fn. Without memory a tensor has no importance. */
static void observe(void *user, const slm_observation *o) {
    probe *p = user;
    if (!p->observing || !o->tensor) return;
    importance_row *row = find_importance(p, o->tensor);
    if (!row) row = add_importance(p, o);
    if (!row || row->n != o->n) return;
    for (int32_t r = 0; r < o->n_rows; r++)
        for (int32_t i = 0; i < o->n; i++) {
            double x = (double)o->rows[(size_t)r * (size_t)o->n + (size_t)i];
            row->squares[i] += x * x;
        }
    row->n_rows += (uint64_t)o->n_rows;
}

bool probe_importance(void *user, const char *tensor, int64_t matrix, int64_t n, float *out) {
    const importance_row *row = find_importance(user, tensor);
    if (!row || matrix != 0 || row->n != n || row->n_rows == 0) return false;
    for (int64_t i = 0; i < n; i++) out[i] = (float)(row->squares[i] / (double)row->n_rows);
    return true;
}

/* ---- Passes ---- */

bool progress_in_span(void *user, float done) {
    const progress_span *s = user;
    return progress_update(s->bar, s->from + s->of * done);
}

/* Group g has windows g, g + n_groups ... of those that are taken from all over the text. */
static slm_status decode_group(probe *p, int32_t group, slm_error *err) {
    const windows *w = &p->windows;
    size_t n = (size_t)GROUP * (size_t)p->n_groups, taken = w->n < n ? w->n : n;
    slm_batch batch = {.size = sizeof batch,
                       .tokens = p->tokens,
                       .sequences = p->sequences,
                       .want_logits = p->wanted};
    p->n_rows = 0;
    for (int32_t i = 0; i < GROUP; i++) {
        size_t at = (size_t)i * (size_t)p->n_groups + (size_t)group;
        slm_status status = slm_seq_truncate(p->ctx, i, 0, err);
        if (status != SLM_OK) return status;
        for (int32_t k = 0; k < WINDOW && at < taken; k++) {
            p->wanted[batch.n_tokens] = k >= FIRST;
            p->n_rows += k >= FIRST;
            p->sequences[batch.n_tokens] = i;
            p->tokens[batch.n_tokens++] = window_token(w, at * w->n / taken, (size_t)k);
        }
    }
    return batch.n_tokens > 0 ? slm_decode(p->ctx, &batch, err) : SLM_OK;
}

/* ---- KL divergence ---- */

/* KL(p || q) = ln sum p e^d - sum p d, where d is what a logit has changed by; with d less its mean (of p) the second term is 0, and
 * the first is exact for small d. */
static double kl_of_row(const base_row *b, const float *logits) {
    double mean = 0, sum = 0;
    for (size_t i = 0; i < b->n; i++)
        mean += b->p[i] * ((double)logits[b->tokens[i]] - (double)b->logits[i]);
    for (size_t i = 0; i < b->n; i++)
        sum += b->p[i] * expm1((double)logits[b->tokens[i]] - (double)b->logits[i] - mean);
    return log1p(sum);
}

/* A thread's share of the rows: each is one thread's, so their number changes nothing. */
typedef struct share {
    probe *p;
    int32_t begin, end;
} share;

static void *score_share(void *user) {
    const share *s = user;
    for (int32_t i = s->begin; i < s->end; i++)
        s->p->kl[i] = kl_of_row(&s->p->rows[i], slm_logits(s->p->ctx, i));
    return NULL;
}

static void score_rows(probe *p) {
    enum { MAX_SHARES = 16 };
    share shares[MAX_SHARES];
    pthread_t threads[MAX_SHARES];
    bool started[MAX_SHARES] = {false};
    int32_t n = slm_context_n_threads(p->ctx);
    n = n > MAX_SHARES ? MAX_SHARES : n;
    for (int32_t i = 0; i < n; i++)
        shares[i] = (share){p, p->n_rows * i / n, p->n_rows * (i + 1) / n};
    for (int32_t i = 1; i < n; i++)
        started[i] = pthread_create(&threads[i], NULL, score_share, &shares[i]) == 0;
    for (int32_t i = 0; i < n; i++)
        if (!started[i]) score_share(&shares[i]);
    for (int32_t i = 1; i < n; i++)
        if (started[i]) pthread_join(threads[i], NULL);
}

int probe_kl(probe *p, double *kl) {
    slm_error err;
    if (decode_group(p, 0, &err) != SLM_OK) return fail_with("measuring", &err);
    score_rows(p);
    *kl = 0;
    for (int32_t i = 0; i < p->n_rows; i++) *kl += p->kl[i];
    *kl /= p->n_rows;
    return EXIT_DONE;
}

static bool keep_row(base_row *b, const float *logits, int32_t n_vocab) {
    float most = logits[0];
    double sum = 0;
    for (int32_t t = 1; t < n_vocab; t++) most = logits[t] > most ? logits[t] : most;
    for (int32_t t = 0; t < n_vocab; t++) b->n += logits[t] >= most - logit_range;
    b->tokens = calloc(b->n, sizeof *b->tokens);
    b->logits = calloc(b->n, sizeof *b->logits);
    b->p = calloc(b->n, sizeof *b->p);
    if (!b->tokens || !b->logits || !b->p) return false;
    size_t n = 0;
    for (int32_t t = 0; t < n_vocab; t++) {
        if (!(logits[t] >= most - logit_range)) continue;
        b->tokens[n] = t;
        b->logits[n] = logits[t];
        sum += b->p[n++] = exp((double)logits[t] - (double)most);
    }
    for (size_t i = 0; i < n; i++) b->p[i] /= sum;
    return true;
}

/* Importances from all groups; the rows of group 0, the last one, are kept. */
static int measure_base(probe *p) {
    slm_error err;
    p->observing = true;
    for (int32_t g = p->n_groups - 1; g >= 0; g--) {
        p->progress->of = 1 / (float)p->n_groups;
        p->progress->from = (float)(p->n_groups - 1 - g) * p->progress->of;
        if (decode_group(p, g, &err) != SLM_OK) return fail_with("measuring", &err);
    }
    p->observing = false;
    p->rows = calloc((size_t)p->n_rows, sizeof *p->rows);
    p->kl = calloc((size_t)p->n_rows, sizeof *p->kl);
    bool good = p->rows && p->kl;
    for (int32_t i = 0; good && i < p->n_rows; i++)
        good = keep_row(&p->rows[i], slm_logits(p->ctx, i), p->n_vocab);
    return good ? EXIT_DONE : fail("no memory");
}

/* ---- Weights ---- */

float *probe_tensor(probe *p, int32_t index) {
    slm_tensor_info t = {.size = sizeof t};
    slm_model_get_tensor(p->model, index, &t); /* cannot fail: the caller's index is good */
    return (float *)(void *)(p->data + t.offset);
}

bool probe_restore(probe *p, int32_t index) {
    slm_tensor_info t = {.size = sizeof t};
    slm_model_get_tensor(p->model, index, &t);
    size_t page = (size_t)sysconf(_SC_PAGESIZE), begin = (size_t)t.offset / page * page;
    /* What was written to private pages is gone, and the file shows again. */
    if (madvise(p->data + begin, (size_t)(t.offset + t.n_bytes) - begin, MADV_DONTNEED) == 0)
        return true;
    fail("cannot restore weights: %s", strerror(errno));
    return false;
}

/* ---- The whole ---- */

static int map_file(probe *p, int fd, const char *name) {
    struct stat st;
    if (fstat(fd, &st) != 0) return fail("%s: %s", name, strerror(errno));
    p->n_bytes = (size_t)st.st_size;
    p->data = mmap(NULL, p->n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (p->data != MAP_FAILED) return EXIT_DONE;
    p->data = NULL;
    return fail("cannot map %s: %s", name, strerror(errno));
}

static int cut_text(probe *p, const char *text) {
    windows *w = &p->windows;
    int code = windows_read(w, p->model, text);
    if (code != EXIT_DONE) return code;
    if (w->n_bos + w->text.n < WINDOW)
        return fail("%s: too short, %zu tokens, and %d are the least", w->name,
                    w->n_bos + w->text.n, WINDOW);
    code = windows_cut(w, WINDOW, 0, p->model);
    size_t n = (w->n + GROUP - 1) / GROUP;
    p->n_groups = n < MOST_GROUPS ? (int32_t)n : MOST_GROUPS;
    return code;
}

static int make_context(probe *p, slm_threads *threads) {
    slm_context_params params = slm_context_defaults();
    params.n_ctx = params.n_batch = GROUP * WINDOW;
    params.n_seq_max = GROUP;
    params.n_logits = GROUP * (WINDOW - FIRST);
    params.kv_type = SLM_KV_F32;
    params.reference = true;
    params.threads = threads;
    params.observe = observe;
    params.observe_user = p;
    params.progress = progress_in_span;
    params.progress_user = p->progress;
    return create_context(p->model, &params, NULL, &p->ctx);
}

int probe_open(probe *p, int fd, const char *name, const char *text, slm_threads *threads,
               progress_span *progress) {
    slm_error err;
    slm_model_params params = slm_model_defaults();
    *p = (probe){.progress = progress};
    int code = map_file(p, fd, name);
    if (code != EXIT_DONE) return code;
    if (slm_model_open_memory(p->data, p->n_bytes, &params, &p->model, &err) != SLM_OK)
        return fail_with(name, &err);
    slm_model_info info = {.size = sizeof info};
    slm_model_get_info(p->model, &info); /* cannot fail: both pointers and the size are good */
    p->n_vocab = info.n_vocab;
    p->n_tensors = slm_model_n_tensors(p->model);
    p->tokens = calloc(GROUP * WINDOW, sizeof *p->tokens);
    p->sequences = calloc(GROUP * WINDOW, sizeof *p->sequences);
    p->wanted = calloc(GROUP * WINDOW, 1);
    p->importance = calloc((size_t)p->n_tensors + 1, sizeof *p->importance);
    if (!p->tokens || !p->sequences || !p->wanted || !p->importance) return fail("no memory");
    code = cut_text(p, text);
    if (code == EXIT_DONE) code = make_context(p, threads);
    return code == EXIT_DONE ? measure_base(p) : code;
}

void probe_close(probe *p) {
    slm_context_free(p->ctx);
    slm_model_close(p->model);
    if (p->data) munmap(p->data, p->n_bytes);
    for (int32_t i = 0; i < p->n_importance; i++) free(p->importance[i].squares);
    for (int32_t i = 0; p->rows && i < p->n_rows; i++) {
        free(p->rows[i].tokens);
        free(p->rows[i].logits);
        free(p->rows[i].p);
    }
    windows_free(&p->windows);
    free(p->tokens);
    free(p->sequences);
    free(p->wanted);
    free(p->importance);
    free(p->rows);
    free(p->kl);
    *p = (probe){0};
}
