/* slm imatrix: how much the columns of each matrix matter on a text, for slm quantize. Windows are computed whole, as llama.cpp's
 * llama-imatrix computes them, and all that is kept of them are sums. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"
#include "windows.h"

typedef struct imatrix_options {
    const char *model, *file, *out, *show;
    text_list in;
    int32_t n_chunks; /* 0: all */
    bool output_matrix, parse_special;
    compute_options compute; /* its n_ctx is the window */
} imatrix_options;

static const option options[] = {
    {"-m", "MODEL", OPT_TEXT, offsetof(imatrix_options, model), 0, 0, "GGUF file"},
    {"-f", "TEXT", OPT_TEXT, offsetof(imatrix_options, file), 0, 0,
     "the text, less one last newline; -: standard input"},
    {"-o", "OUT", OPT_TEXT, offsetof(imatrix_options, out), 0, 0, "the file to write"},
    {"-c", "N", OPT_INT, offsetof(imatrix_options, compute.n_ctx), SHORTEST_WINDOW, INT32_MAX,
     "tokens of a window (default 512)"},
    {"--chunks", "N", OPT_INT, offsetof(imatrix_options, n_chunks), 1, INT32_MAX,
     "the first N windows only (default: all)"},
    {"--in", "FILE", OPT_TEXTS, offsetof(imatrix_options, in), 0, 0,
     "add this importance matrix; may be given several times, also without -m and -f"},
    PARSE_SPECIAL_OPTION(imatrix_options),
    {"--output-matrix", NULL, OPT_FLAG, offsetof(imatrix_options, output_matrix), 0, 0,
     "the output matrix, too, which takes longer (default: the matrices of layers)"},
    {"--show", "FILE", OPT_TEXT, offsetof(imatrix_options, show), 0, 0,
     "print what is in an importance matrix, and do nothing else"},
    WORK_OPTIONS(imatrix_options),
    {0},
};

typedef struct work {
    imatrix_options o;
    slm_context_params params;
    slm_model *model;
    adapter_list adapters;
    slm_context *ctx;
    slm_imatrix *imatrix;
    windows windows;
    window_walk walk;
    double seconds;
    progress_bar bar;
} work;

/* ---- Files ---- */

static int add_one(work *w, const char *path) {
    slm_error err;
    slm_imatrix *more = NULL;
    int code = open_imatrix(path, w->model, &more, NULL);
    if (code != EXIT_DONE) return code;
    if (!w->imatrix) {
        w->imatrix = more;
        return EXIT_DONE;
    }
    if (slm_imatrix_add(w->imatrix, more, &err) != SLM_OK) code = fail_with(path, &err);
    slm_imatrix_free(more);
    return code;
}

static int add_files(work *w) {
    int code = EXIT_DONE;
    for (int32_t i = 0; i < w->o.in.n && code == EXIT_DONE; i++) code = add_one(w, w->o.in.v[i]);
    return code;
}

/* ---- Computing ---- */

static bool show_progress(void *user, float done) {
    work *w = user;
    return progress_update(&w->bar, walk_progress(&w->walk, done));
}

static int create_imatrix(work *w) {
    slm_error err;
    slm_imatrix_params p = slm_imatrix_defaults();
    p.chunk_size = w->o.compute.n_ctx;
    p.output_matrix = w->o.output_matrix;
    if (slm_imatrix_create(w->model, &p, &w->imatrix, &err) != SLM_OK)
        return fail_with(w->o.model, &err);
    return EXIT_DONE;
}

static int prepare(work *w) {
    static const walk_limits limits = {.logits_bytes = 64 << 20, .n_tokens = 2048};
    int code = open_model(w->o.model, OPEN_TO_RUN, &w->model);
    if (code == EXIT_DONE) code = open_adapters(w->model, &w->o.compute.lora, &w->adapters);
    if (code == EXIT_DONE) code = create_imatrix(w);
    if (code == EXIT_DONE) code = add_files(w);
    if (code == EXIT_DONE)
        code = windows_read(&w->windows, w->model, w->o.file, w->o.parse_special);
    if (code == EXIT_DONE) code = windows_cut(&w->windows, (size_t)w->o.compute.n_ctx, 0, w->model);
    if (code != EXIT_DONE) return code;
    if (w->o.n_chunks > 0 && (size_t)w->o.n_chunks < w->windows.n)
        w->windows.n = (size_t)w->o.n_chunks;
    walk_kind kind = w->o.output_matrix ? WALK_ROWS : WALK_WHOLE;
    code = walk_begin(&w->walk, kind, &w->windows, w->model, limits, &w->params);
    if (code != EXIT_DONE) return code;
    w->params.progress = show_progress;
    w->params.progress_user = w;
    w->params.observe = slm_imatrix_observe;
    w->params.observe_user = w->imatrix;
    w->bar.label = "computing";
    return create_context(w->model, &w->params, &w->adapters, &w->ctx);
}

static int compute(work *w) {
    slm_error err;
    int code = prepare(w);
    if (code != EXIT_DONE) return code;
    double began = now();
    while (walk_next(&w->walk))
        if (walk_decode(&w->walk, w->ctx, &err) != SLM_OK) return fail_with(w->o.model, &err);
    w->seconds = now() - began;
    progress_end(&w->bar);
    const char *name = strcmp(w->o.file, "-") == 0 ? "standard input" : file_part(w->o.file);
    if (slm_imatrix_add_dataset(w->imatrix, name, &err) != SLM_OK) return fail_with(name, &err);
    return EXIT_DONE;
}

static void print_summary(const char *path, const slm_imatrix *im) {
    slm_imatrix_info info = {.size = sizeof info};
    slm_imatrix_get_info(im, &info); /* cannot fail: both pointers and the size are good */
    print_escaped(stdout, path, strlen(path), SIZE_MAX);
    printf(": %" PRId32 " tensors, %" PRId64 " window%s of %" PRId32 " tokens\n", info.n_seen,
           info.n_chunks, info.n_chunks == 1 ? "" : "s", info.chunk_size);
}

static int save(const work *w) {
    slm_error err;
    if (slm_imatrix_save(w->imatrix, w->o.out, &err) != SLM_OK)
        return fail_with("cannot save", &err);
    print_summary(w->o.out, w->imatrix);
    if (w->ctx)
        printf("speed: %.1f tokens/s, %zu in %.1f s\n", (double)w->walk.n_total / w->seconds,
               w->walk.n_total, w->seconds);
    return EXIT_DONE;
}

/* ---- What is in a file ---- */

static int falling(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* Means of x^2 of all columns of all matrices that have seen tokens, falling. Returns how many. */
static int64_t collect_means(const slm_imatrix_tensor *t, double *out) {
    int64_t n = 0;
    for (int64_t m = 0; m < t->n_matrices; m++)
        for (int64_t i = 0; i < t->n_columns && t->counts[m] > 0; i++)
            out[n++] = t->sums[m * t->n_columns + i] / t->counts[m];
    qsort(out, (size_t)n, sizeof *out, falling);
    return n;
}

static double sum_of(const double *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    return sum;
}

static int print_tensor(const slm_imatrix_tensor *t) {
    double *means = calloc((size_t)(t->n_columns * t->n_matrices), sizeof *means), tokens = 0;
    if (!means) return fail("no memory");
    int64_t n = collect_means(t, means), n_top = (n + 99) / 100;
    double sum = sum_of(means, n), top = sum_of(means, n_top);
    for (int64_t m = 0; m < t->n_matrices; m++) tokens += t->counts[m];
    size_t width = print_escaped(stdout, t->name, strlen(t->name), SIZE_MAX);
    printf("%*s %8" PRId64 " %10.0f", width < 28 ? (int)(28 - width) : 0, "",
           t->n_columns * t->n_matrices, tokens);
    if (n > 0)
        printf(" %11.4g %11.4g %11.4g %8.1f%%", sum, sum / (double)n, means[0],
               sum > 0 ? 100 * top / sum : 0);
    putchar('\n');
    free(means);
    return EXIT_DONE;
}

static int print_imatrix(const char *path, const slm_imatrix *im) {
    slm_imatrix_info info = {.size = sizeof info};
    slm_imatrix_get_info(im, &info); /* cannot fail: both pointers and the size are good */
    print_summary(path, im);
    for (int64_t i = 0; i < info.n_datasets; i++) {
        slm_string name;
        if (slm_imatrix_get_dataset(im, i, &name) != SLM_OK) break;
        fputs("text: ", stdout);
        print_escaped(stdout, name.text, name.n_bytes, SIZE_MAX);
        putchar('\n');
    }
    printf("\n%-28s %8s %10s %11s %11s %11s %9s\n", "tensor", "columns", "tokens", "sum", "mean",
           "largest", "top 1%");
    int code = EXIT_DONE;
    for (int32_t i = 0; i < info.n_tensors && code == EXIT_DONE; i++) {
        slm_imatrix_tensor t = {.size = sizeof t};
        slm_imatrix_get_tensor(im, i, &t); /* cannot fail: i is below their number */
        code = print_tensor(&t);
    }
    return code;
}

/* ---- The whole ---- */

/* Returns PARSED, or the code to exit with. */
static int read_options(const command *self, int argc, char **argv, work *w) {
    int code = parse_options(self, argc, argv, &w->o, NULL);
    if (code == PARSED) code = compute_params(self, &w->o.compute, &w->params);
    if (code != PARSED || w->o.show) return code;
    if (!w->o.out) return usage_error(self, "-o OUT is missing");
    if (w->o.in.n > 0 && !w->o.model && !w->o.file) return PARSED;
    if (!w->o.model) return usage_error(self, "-m MODEL is missing");
    if (!w->o.file) return usage_error(self, "-f TEXT is missing");
    return PARSED;
}

static int work_on(work *w) {
    if (w->o.show) {
        int code = open_imatrix(w->o.show, NULL, &w->imatrix, NULL);
        return code == EXIT_DONE ? print_imatrix(w->o.show, w->imatrix) : code;
    }
    const input_file in[] = {{w->o.model, "model"}, {w->o.file, "text"}};
    int code = check_regular_out(w->o.out, in, sizeof in / sizeof *in);
    if (code == EXIT_DONE) code = w->o.model ? compute(w) : add_files(w);
    return code == EXIT_DONE ? save(w) : code;
}

static int run(const command *self, int argc, char **argv) {
    work w = {.o = {.compute = {.n_ctx = 512}}};
    int code = read_options(self, argc, argv, &w);
    if (code != PARSED) return code;
    catch_interrupt();
    code = work_on(&w);
    progress_end(&w.bar);
    slm_context_free(w.ctx);
    slm_imatrix_free(w.imatrix);
    close_adapters(&w.adapters);
    slm_model_close(w.model);
    windows_free(&w.windows);
    walk_free(&w.walk);
    return code;
}

const command imatrix_command = {
    .name = "imatrix",
    .arguments = "-m MODEL -f TEXT -o OUT [-c N] [--chunks N] [--in FILE ...] [options]\n"
                 "       slm imatrix --in FILE --in FILE ... -o OUT\n"
                 "       slm imatrix --show FILE",
    .summary = "measure on a text how much each column of a matrix matters, for quantize",
    .details =
        "The importance of a column is the mean of the squares of what the model multiplies it by\n"
        "(docs/imatrix.md). Files are those of llama.cpp's llama-imatrix (GGUF), and so are the "
        "windows.\n",
    .options = options,
    .run = run,
};
