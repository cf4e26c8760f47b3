#include "probe.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shares.h"

enum {
    WINDOW = 64, /* tokens                                                          */
    FIRST = 8,   /* position whose prediction is scored: those before have seen too little */
    GROUP = 4,   /* windows computed together; the first group is what KL is measured on */
    MOST_ROWS = GROUP * (WINDOW - FIRST),
    MOST_GROUPS = 16, /* that importances are from                                       */
    /* Bytes at most of what grows with the vocabulary: */
    LOGITS_BYTES = 128 << 20, /* rows of the context                                     */
    KEPT_BYTES = 128 << 20,   /* tokens of the unchanged model, in all rows               */
};

/* e^-16 of the most probable token: 1e-7. Tokens below that are not told apart. */
static const float logit_range = 16;

/* ---- Importance ---- */

/* An slm_observe_fn. */
static void observe(void *user, const slm_observation *o) {
    const probe *p = user;
    if (p->observing) slm_imatrix_observe(p->imatrix, o);
}

bool probe_importance(void *user, const char *tensor, int64_t matrix, int64_t n, float *out) {
    return slm_imatrix_importance(((probe *)user)->imatrix, tensor, matrix, n, out);
}

/* ---- Passes ---- */

bool progress_in_span(void *user, float done) {
    const progress_span *s = user;
    return progress_update(s->bar, s->from + s->of * done);
}

/* An slm_progress_fn of the context: of a part of a group. */
static bool progress_in_group(void *user, float done) {
    const probe *p = user;
    return progress_in_span(p->progress,
                            ((float)p->at + (float)p->n_part * done) / (float)p->n_group);
}

/* Group g has windows g, g + n_groups ... of those that are taken from all over the text. */
static slm_status begin_group(probe *p, int32_t group, slm_error *err) {
    const windows *w = &p->windows;
    size_t n = (size_t)GROUP * (size_t)p->n_groups, taken = w->n < n ? w->n : n;
    p->n_rows = p->n_group = p->at = p->n_part = 0;
    for (int32_t i = 0; i < GROUP; i++) {
        size_t at = (size_t)i * (size_t)p->n_groups + (size_t)group;
        slm_status status = slm_seq_truncate(p->ctx, i, 0, err);
        if (status != SLM_OK) return status;
        for (int32_t k = 0; k < WINDOW && at < taken; k++) {
            p->wanted[p->n_group] = k >= FIRST;
            p->n_rows += k >= FIRST;
            p->sequences[p->n_group] = i;
            p->tokens[p->n_group++] = window_token(w, at * w->n / taken, (size_t)k);
        }
    }
    return SLM_OK;
}

/* What becomes of rows of logits: those from `first` on of the group are the context's from 0 on. False: no memory. */
typedef bool (*take_rows)(probe *p, int32_t first, int32_t n);

/* As many tokens together as their rows have room. */
static int decode_group(probe *p, int32_t group, take_rows take) {
    slm_error err;
    int32_t first = 0, n;
    if (begin_group(p, group, &err) != SLM_OK) return fail_with("measuring", &err);
    for (; p->at < p->n_group; p->at += p->n_part, first += n) {
        p->n_part = n = 0;
        while (p->at + p->n_part < p->n_group && n + p->wanted[p->at + p->n_part] <= p->max_rows)
            n += p->wanted[p->at + p->n_part++];
        slm_batch batch = {.size = sizeof batch,
                           .n_tokens = p->n_part,
                           .tokens = p->tokens + p->at,
                           .sequences = p->sequences + p->at,
                           .want_logits = p->wanted + p->at};
        if (slm_decode(p->ctx, &batch, &err) != SLM_OK) return fail_with("measuring", &err);
        if (take && !take(p, first, n)) return fail("no memory");
    }
    return EXIT_DONE;
}

/* ---- KL divergence ---- */

static float largest(const float *logits, int32_t n_vocab) {
    float most = logits[0];
    for (int32_t t = 1; t < n_vocab; t++) most = logits[t] > most ? logits[t] : most;
    return most;
}

/* Sum of e^(logit - most) of all tokens that are not kept: single precision is enough for each of so many that are so small. */
static double sum_of_others(const base_row *b, const float *logits, int32_t n_vocab, float most) {
    double sum = 0;
    size_t k = 0;
    for (int32_t t = 0; t < n_vocab; t++) {
        if (k < b->n && b->kept[k].token == t)
            k++;
        else
            sum += (double)expf(logits[t] - most);
    }
    return sum;
}

static double p_of(const base_row *b, size_t i) {
    return exp((double)b->kept[i].logit - b->most) / b->sum;
}

static double change_of(const base_row *b, size_t i, const float *logits) {
    return (double)logits[b->kept[i].token] - (double)b->kept[i].logit;
}

/* KL(p || q) = ln sum p e^d - sum p d, where d is what a logit has changed by; with d less its mean (of p) the second term is 0, and
 * the first is exact for small d. All tokens that are not kept are one, whose logit is that of their sum. */
static double kl_of_row(const base_row *b, const float *logits, int32_t n_vocab) {
    float most = largest(logits, n_vocab);
    double p_others = b->others / b->sum, d_others = 0;
    if (p_others > 0) {
        double others = sum_of_others(b, logits, n_vocab, most);
        others = others < DBL_MIN ? DBL_MIN : others;
        d_others = log(others) + (double)most - (log(b->others) + b->most);
    }
    double mean = p_others * d_others;
    for (size_t i = 0; i < b->n; i++) mean += p_of(b, i) * change_of(b, i, logits);
    double sum = p_others * expm1(d_others - mean);
    for (size_t i = 0; i < b->n; i++) sum += p_of(b, i) * expm1(change_of(b, i, logits) - mean);
    return log1p(sum);
}

typedef struct row_piece {
    probe *p;
    int32_t first; /* of the group is row 0 of the context */
} row_piece;

static void score_share(void *user, int32_t share, int32_t begin, int32_t end) {
    const row_piece *piece = user;
    probe *p = piece->p;
    (void)share;
    for (int32_t i = begin; i < end; i++)
        p->kl[piece->first + i] =
            kl_of_row(&p->rows[piece->first + i], slm_logits(p->ctx, i), p->n_vocab);
}

static bool score_rows(probe *p, int32_t first, int32_t n) {
    share_rows(slm_context_n_threads(p->ctx), n, score_share, &(row_piece){p, first});
    return true;
}

int probe_kl(probe *p, double *kl) {
    int code = decode_group(p, 0, score_rows);
    if (code != EXIT_DONE) return code;
    *kl = 0;
    for (int32_t i = 0; i < p->n_rows; i++) *kl += p->kl[i];
    *kl /= p->n_rows;
    return EXIT_DONE;
}

static size_t count_from(const float *logits, int32_t n_vocab, float least) {
    size_t n = 0;
    for (int32_t t = 0; t < n_vocab; t++) n += logits[t] >= least;
    return n;
}

/* Where all tokens are nearly as probable as each other, the range is smaller, or even the last ones of equals are left out. */
static bool keep_row(base_row *b, const float *logits, int32_t n_vocab, size_t most_kept) {
    float most = largest(logits, n_vocab), range = logit_range;
    size_t n = count_from(logits, n_vocab, most - range);
    while (n > most_kept && range > 0) n = count_from(logits, n_vocab, most - --range);
    n = n < most_kept ? n : most_kept;
    *b = (base_row){.most = (double)most, .kept = calloc(n + 1, sizeof *b->kept)};
    if (!b->kept) return false;
    for (int32_t t = 0; t < n_vocab && b->n < n; t++)
        if (logits[t] >= most - range) b->kept[b->n++] = (base_token){t, logits[t]};
    b->sum = b->others = sum_of_others(b, logits, n_vocab, most);
    for (size_t i = 0; i < b->n; i++) b->sum += exp((double)b->kept[i].logit - b->most);
    return true;
}

static bool keep_rows(probe *p, int32_t first, int32_t n) {
    size_t most_kept = KEPT_BYTES / sizeof(base_token) / (size_t)p->n_rows;
    bool good = true;
    for (int32_t i = 0; i < n && good; i++)
        good = keep_row(&p->rows[first + i], slm_logits(p->ctx, i), p->n_vocab, most_kept);
    return good;
}

/* Importances from all groups; the rows of group 0, the last one, are kept. */
static int measure_base(probe *p) {
    p->rows = calloc(MOST_ROWS, sizeof *p->rows);
    p->kl = calloc(MOST_ROWS, sizeof *p->kl);
    if (!p->rows || !p->kl) return fail("no memory");
    p->observing = true;
    for (int32_t g = p->n_groups - 1; g >= 0; g--) {
        p->progress->of = 1 / (float)p->n_groups;
        p->progress->from = (float)(p->n_groups - 1 - g) * p->progress->of;
        int code = decode_group(p, g, g == 0 ? keep_rows : NULL);
        if (code != EXIT_DONE) return code;
    }
    p->observing = false;
    return EXIT_DONE;
}

/* ---- Weights ---- */

float *probe_tensor(probe *p, int32_t index, const char *name) {
    slm_tensor_info t = {.size = sizeof t};
    uint64_t n = sizeof(float);
    bool good = slm_model_get_tensor(p->model, index, &t) == SLM_OK && strcmp(t.name, name) == 0 &&
                strcmp(t.type, "F32") == 0;
    for (int32_t d = 0; good && d < t.n_dims; d++) n *= (uint64_t)t.dims[d];
    if (good && n == t.n_bytes) return (float *)(void *)(p->data + t.offset);
    fail("the copy in F32 is another one: tensor %s", name);
    return NULL;
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
    int code = windows_read(w, p->model, text, false);
    if (code != EXIT_DONE) return code;
    if (w->n_bos + w->text.n < WINDOW)
        return fail("%s: too short, %zu tokens, and %d are the least", w->name,
                    w->n_bos + w->text.n, WINDOW);
    code = windows_cut(w, WINDOW, 0, p->model);
    size_t n = (w->n + GROUP - 1) / GROUP;
    p->n_groups = n < MOST_GROUPS ? (int32_t)n : MOST_GROUPS;
    return code;
}

static int make_context(probe *p) {
    size_t rows = LOGITS_BYTES / (sizeof(float) * (size_t)p->n_vocab);
    p->max_rows = rows < 1 ? 1 : rows < MOST_ROWS ? (int32_t)rows : MOST_ROWS;
    slm_context_params params = slm_context_defaults();
    params.n_ctx = params.n_batch = GROUP * WINDOW;
    params.n_seq_max = GROUP;
    params.n_logits = p->max_rows;
    params.kv_type = SLM_KV_F32;
    params.reference = true;
    params.threads = p->threads;
    params.observe = observe;
    params.observe_user = p;
    params.progress = progress_in_group;
    params.progress_user = p;
    return create_context(p->model, &params, NULL, &p->ctx);
}

static int open_weights(probe *p, int fd, const char *name) {
    slm_error err;
    slm_model_params params = slm_model_defaults();
    int code = map_file(p, fd, name);
    if (code != EXIT_DONE) return code;
    return slm_model_open_memory(p->data, p->n_bytes, &params, &p->model, &err) == SLM_OK
               ? EXIT_DONE
               : fail_with(name, &err);
}

static void close_weights(probe *p) {
    slm_context_free(p->ctx);
    slm_model_close(p->model);
    if (p->data) munmap(p->data, p->n_bytes);
    p->ctx = NULL;
    p->model = NULL;
    p->data = NULL;
}

int probe_open(probe *p, int fd, const char *name, const char *text, slm_threads *threads,
               progress_span *progress) {
    slm_error err;
    slm_imatrix_params sums = slm_imatrix_defaults();
    sums.output_matrix = true;
    *p = (probe){.progress = progress, .threads = threads};
    int code = open_weights(p, fd, name);
    if (code != EXIT_DONE) return code;
    slm_model_info info = {.size = sizeof info};
    slm_model_get_info(p->model, &info); /* cannot fail: both pointers and the size are good */
    p->n_vocab = info.n_vocab;
    p->tokens = calloc(GROUP * WINDOW, sizeof *p->tokens);
    p->sequences = calloc(GROUP * WINDOW, sizeof *p->sequences);
    p->wanted = calloc(GROUP * WINDOW, 1);
    if (!p->tokens || !p->sequences || !p->wanted) return fail("no memory");
    if (slm_imatrix_create(p->model, &sums, &p->imatrix, &err) != SLM_OK)
        return fail_with(name, &err);
    code = cut_text(p, text);
    if (code == EXIT_DONE) code = make_context(p);
    return code == EXIT_DONE ? measure_base(p) : code;
}

int probe_exchange(probe *p, int fd, const char *name) {
    close_weights(p);
    int code = open_weights(p, fd, name);
    return code == EXIT_DONE ? make_context(p) : code;
}

void probe_close(probe *p) {
    close_weights(p);
    slm_imatrix_free(p->imatrix);
    for (int32_t i = 0; p->rows && i < MOST_ROWS; i++) {
        free(p->rows[i].kept);
    }
    windows_free(&p->windows);
    free(p->tokens);
    free(p->sequences);
    free(p->wanted);
    free(p->rows);
    free(p->kl);
    *p = (probe){0};
}
