#include "mix.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "text.h"

/* From large to small. Types with blocks of 256 weights are the better ones of their size: those with blocks of 32 are for rows that
 * 256 does not divide. */
static const struct {
    const char *name;
    int32_t block;
    bool substitute;
} menu[] = {
    {"F16", 1, false},    {"Q8_0", 32, false},    {"Q6_K", 256, false}, {"Q5_1", 32, true},
    {"Q5_K", 256, false}, {"Q5_0", 32, true},     {"Q4_1", 32, true},   {"Q4_K", 256, false},
    {"IQ4_NL", 32, true}, {"IQ4_XS", 256, false}, {"Q3_K", 256, false}, {"Q2_K", 256, false},
};
enum { N_MENU = sizeof menu / sizeof *menu };

/* With 4 bits the divergence is large enough to be told from rounding, and small enough to grow with the square of the error. */
static const char measured_type[] = "IQ4_NL";

static bool is_offered(int32_t k, int64_t row) {
    return row % menu[k].block == 0 && !(menu[k].substitute && row % 256 == 0);
}

static void show(mix *m, const char *label, double from, double of) {
    m->bar.label = label;
    m->span = (progress_span){&m->bar, (float)from, (float)of};
}

/* ---- What there is to choose ---- */

static slm_quantized_tensor tensor_at(const slm_quantizer *q, int32_t i) {
    slm_quantized_tensor t = {.size = sizeof t};
    slm_quantizer_get_tensor(q, i, &t); /* cannot fail: i is below their number */
    return t;
}

static uint64_t file_bytes(const mix *m) {
    slm_quantizer_info info = {.size = sizeof info};
    slm_quantizer_get_info(m->quantizer, &info); /* cannot fail: pointers and size are good */
    return info.file_bytes;
}

static int create_quantizer(mix *m, const char *type, slm_quantizer **out) {
    slm_error err;
    m->params.type = type;
    return slm_quantizer_create(m->model, &m->params, out, &err) == SLM_OK
               ? EXIT_DONE
               : fail_with(m->path, &err);
}

/* Those whose type follows that of the quantizer: no norms, and none of the
 * caller's choices. */
static int find_tensors(mix *m) {
    slm_quantizer *other;
    int code = create_quantizer(m, "Q8_0", &m->quantizer);
    if (code == EXIT_DONE) code = create_quantizer(m, "F16", &other);
    if (code != EXIT_DONE) return code;
    int32_t n = slm_model_n_tensors(m->model);
    m->tensors = calloc((size_t)n + 1, sizeof *m->tensors);
    m->items = calloc((size_t)n + 1, sizeof *m->items);
    m->picks = calloc((size_t)n + 1, sizeof *m->picks);
    bool good = m->tensors && m->items && m->picks;
    for (int32_t i = 0; good && i < n; i++) {
        slm_quantized_tensor a = tensor_at(m->quantizer, i), b = tensor_at(other, i);
        if (strcmp(a.wanted, b.wanted) == 0) continue;
        mix_tensor *t = &m->tensors[m->n++];
        t->index = i;
        t->row = a.dims[0];
        t->n_weights = 1;
        for (int32_t d = 0; d < a.n_dims; d++) t->n_weights *= (uint64_t)a.dims[d];
    }
    slm_quantizer_free(other);
    if (!good) return fail("no memory");
    if (m->n == 0 || m->n > MAX_ITEMS)
        return fail("%s: %" PRId32 " tensors whose type could be chosen, expected 1 to %d", m->path,
                    m->n, MAX_ITEMS);
    return EXIT_DONE;
}

/* ---- Files beside OUT, which nobody else can change or cut short while their weights are mapped ---- */

static int make_work_path(mix *m) {
    if (asprintf(&m->work_folder, "%s.XXXXXX", m->out) < 0) {
        m->work_folder = NULL;
        return fail("no memory");
    }
    if (!mkdtemp(m->work_folder)) {
        int error = errno;
        free(m->work_folder);
        m->work_folder = NULL;
        return fail("cannot create a folder beside %s: %s", m->out, strerror(error));
    }
    if (asprintf(&m->work_path, "%s/work.gguf", m->work_folder) >= 0) return EXIT_DONE;
    m->work_path = NULL;
    return fail("no memory");
}

static void remove_work(mix *m) {
    if (m->work_path) unlink(m->work_path);
    if (m->work_folder) rmdir(m->work_folder);
    free(m->work_path);
    free(m->work_folder);
    m->work_path = m->work_folder = NULL;
}

/* What `q` makes, in a file without a name that *fd is open on. */
static int write_work(mix *m, const slm_quantizer *q, int *fd) {
    slm_error err;
    *fd = -1;
    int code = make_work_path(m);
    if (code == EXIT_DONE && slm_quantizer_write(q, m->work_path, &err) != SLM_OK)
        code = fail_with("a file to measure", &err);
    if (code == EXIT_DONE && (*fd = open(m->work_path, O_RDONLY | O_CLOEXEC)) < 0)
        code = fail("cannot open %s: %s", m->work_path, strerror(errno));
    remove_work(m); /* open, or of no use */
    return code;
}

static int open_probe(mix *m, const char *text) {
    slm_error err;
    slm_quantizer *exact;
    int fd;
    slm_quantize_params p = slm_quantize_defaults();
    p.type = "F32";
    p.requantize = true;
    p.threads = m->threads;
    p.progress = progress_in_span;
    p.progress_user = &m->span;
    show(m, "copying", 0, 1);
    if (slm_quantizer_create(m->model, &p, &exact, &err) != SLM_OK) return fail_with(m->path, &err);
    int code = write_work(m, exact, &fd);
    slm_quantizer_free(exact);
    progress_end(&m->bar);
    show(m, "reading", 0, 1);
    if (code == EXIT_DONE) code = probe_open(&m->probe, fd, m->path, text, m->threads, &m->span);
    if (fd >= 0) close(fd);
    progress_end(&m->bar);
    return code;
}

/* ---- What each choice costs ---- */

static int set_type(mix *m, int32_t i, const char *type) {
    slm_error err;
    return slm_quantizer_set_type(m->quantizer, m->tensors[i].index, type, &err) == SLM_OK
               ? EXIT_DONE
               : fail_with(m->path, &err);
}

/* Bytes are those that the file has more with it, its padding included; `largest` is the file in which all tensors have the first type. */
static int add_option(mix *m, int32_t i, const char *type, uint64_t largest) {
    slm_error err;
    mix_tensor *t = &m->tensors[i];
    choice_item *item = &m->items[i];
    slm_tensor_loss loss = {.size = sizeof loss};
    uint64_t most = tensor_at(m->quantizer, t->index).n_bytes;
    int code = set_type(m, i, type);
    uint64_t less = largest - file_bytes(m);
    if (code == EXIT_DONE) code = set_type(m, i, menu[0].name);
    if (code != EXIT_DONE) return code;
    if (slm_quantizer_tensor_loss(m->quantizer, t->index, type, NULL, &loss, &err) != SLM_OK)
        return fail_with("cannot quantize", &err);
    int32_t o = item->n_options++;
    item->bytes[o] = most - less;
    t->types[o] = loss.type;
    t->error[o] = loss.error;
    return EXIT_DONE;
}

static int measure_losses(mix *m) {
    uint64_t n_weights = 0, n_done = 0, most = 0;
    for (int32_t i = 0; i < m->n; i++) {
        int code = set_type(m, i, menu[0].name);
        if (code != EXIT_DONE) return code;
        n_weights += m->tensors[i].n_weights;
        most += tensor_at(m->quantizer, m->tensors[i].index).n_bytes;
    }
    uint64_t largest = file_bytes(m);
    m->fixed_bytes = largest - most;
    for (int32_t i = 0; i < m->n; i++) {
        double part = (double)m->tensors[i].n_weights / (double)n_weights / N_MENU;
        for (int32_t k = 0; k < N_MENU; k++) {
            if (!is_offered(k, m->tensors[i].row)) continue;
            show(m, "quantizing", (double)n_done / (double)n_weights + part * k, part);
            int code = add_option(m, i, menu[k].name, largest);
            if (code != EXIT_DONE) return code;
        }
        n_done += m->tensors[i].n_weights;
    }
    return EXIT_DONE;
}

/* Overwrite a tensor of the probe by what the type makes of it. */
static int apply(mix *m, mix_tensor *t, const char *type) {
    slm_error err;
    slm_tensor_loss loss = {.size = sizeof loss};
    float *weights = probe_tensor(&m->probe, t->index, tensor_at(m->quantizer, t->index).name);
    if (!weights) return EXIT_FAILED;
    if (slm_quantizer_tensor_loss(m->quantizer, t->index, type, weights, &loss, &err) != SLM_OK)
        return fail_with("cannot quantize", &err);
    t->measured_error = loss.error;
    return EXIT_DONE;
}

static int measure_tensor(mix *m, mix_tensor *t) {
    int code = apply(m, t, measured_type);
    if (code == EXIT_DONE) code = probe_kl(&m->probe, &t->kl);
    if (code == EXIT_DONE && !probe_restore(&m->probe, t->index)) code = EXIT_FAILED;
    return code;
}

/* The divergence of two distributions that lie close together is a quadratic
 * form of what lies between them, so a tensor's goes with the sum of its
 * squared errors (weighted by what its columns are multiplied by). */
static int measure_tensors(mix *m) {
    for (int32_t i = 0; i < m->n; i++) {
        mix_tensor *t = &m->tensors[i];
        choice_item *item = &m->items[i];
        show(m, "measuring", (double)i / m->n, 1.0 / m->n);
        int code = measure_tensor(m, t);
        if (code != EXIT_DONE) return code;
        double kl = t->kl > 0 ? t->kl : 0; /* rounding */
        for (int32_t o = 0; o < item->n_options; o++)
            item->loss[o] = t->measured_error > 0 ? kl * (t->error[o] / t->measured_error) : 0;
    }
    return EXIT_DONE;
}

/* ---- The choice ---- */

static void take_picks(mix *m) {
    m->predicted = 0;
    for (int32_t i = 0; i < m->n; i++) m->predicted += m->items[i].loss[m->picks[i]];
}

/* All of the mixture at once, with what the caller chose: the file, in reference mode, so that its weights take no memory as floats. */
static int measure_mix(mix *m) {
    int code = EXIT_DONE, fd = -1;
    for (int32_t i = 0; i < m->n && code == EXIT_DONE; i++)
        code = set_type(m, i, m->tensors[i].types[m->picks[i]]);
    show(m, "checking", 0, 0.5);
    if (code == EXIT_DONE) code = write_work(m, m->quantizer, &fd);
    if (code == EXIT_DONE) code = probe_exchange(&m->probe, fd, m->path);
    show(m, "checking", 0.5, 0.5);
    if (code == EXIT_DONE) code = probe_kl(&m->probe, &m->measured);
    if (fd >= 0) close(fd);
    return code;
}

static int choose_size(mix *m, const knapsack *c, const mix_goal *goal) {
    uint64_t most = goal->file_bytes, least = m->fixed_bytes + c->least_bytes;
    slm_quantizer_info info = {.size = sizeof info};
    slm_quantizer_get_info(m->quantizer, &info);
    if (goal->bits > 0)
        most = info.file_bytes - info.tensor_bytes +
               (uint64_t)(goal->bits / 8 * (double)info.n_params);
    if (most < least || !choose_by_bytes(c, most - m->fixed_bytes, m->picks))
        return fail("%s: at most %" PRIu64 " bytes are wanted, and %" PRIu64
                    " are the fewest that it can have",
                    m->path, most, least);
    take_picks(m);
    return measure_mix(m);
}

/* The sum over tensors is nearly proportional to the divergence of them
 * together: the limit is searched for at which that is just below the goal. */
static int choose_kl(mix *m, const knapsack *c, double goal) {
    enum { ROUNDS = 8 };
    double low = 0, high = INFINITY, limit = goal, found = 0;
    for (int round = 0; round < ROUNDS; round++) {
        if (!choose_by_loss(c, limit, m->picks)) break;
        take_picks(m);
        int code = measure_mix(m);
        if (code != EXIT_DONE) return code;
        if (m->measured <= goal) low = found = limit;
        if (m->measured > goal) high = limit;
        if (m->measured <= goal && m->measured > 0.97 * goal) return EXIT_DONE;
        limit *= goal / (m->measured > goal / 8 ? m->measured : goal / 8);
        if (!(limit > low && limit < high)) limit = isinf(high) ? low * 2 : (low + high) / 2;
    }
    if (found == 0) return fail("%s: no mixture has a KL divergence of at most %g", m->path, goal);
    choose_by_loss(c, found, m->picks);
    take_picks(m);
    return measure_mix(m);
}

/* general.file_type is that of most weights. */
static int create_plan(mix *m) {
    uint64_t most = 0;
    const char *type = menu[0].name;
    for (int32_t k = 0; k < N_MENU; k++) {
        uint64_t n = 0;
        for (int32_t i = 0; i < m->n; i++)
            if (strcmp(m->tensors[i].types[m->picks[i]], menu[k].name) == 0)
                n += m->tensors[i].n_weights;
        if (n > most) type = menu[k].name;
        most = n > most ? n : most;
    }
    slm_quantizer_free(m->quantizer);
    m->quantizer = NULL;
    m->params.progress = progress_update;
    m->params.progress_user = &m->bar;
    int code = create_quantizer(m, type, &m->quantizer);
    for (int32_t i = 0; i < m->n && code == EXIT_DONE; i++)
        code = set_type(m, i, m->tensors[i].types[m->picks[i]]);
    return code;
}

static int choose(mix *m, const mix_goal *goal) {
    knapsack c;
    int code = knapsack_create(&c, m->items, m->n) ? EXIT_DONE : fail("no memory");
    if (code == EXIT_DONE)
        code = goal->max_kl > 0 ? choose_kl(m, &c, goal->max_kl) : choose_size(m, &c, goal);
    knapsack_free(&c);
    return code == EXIT_DONE ? create_plan(m) : code;
}

/* ---- The whole ---- */

int mix_find(mix *m, const char *path, const slm_model *model, const slm_quantize_params *params,
             const mix_goal *goal, const char *text, const char *out) {
    slm_error err;
    *m = (mix){.path = path, .out = out, .model = model, .params = *params};
    if (slm_threads_create(params->n_threads, NULL, &m->threads, &err) != SLM_OK)
        return fail_with("threads", &err);
    m->params.threads = m->threads;
    if (!m->params.importance) {
        m->params.importance = probe_importance;
        m->params.importance_user = &m->probe;
    }
    m->params.progress = progress_in_span;
    m->params.progress_user = &m->span;
    int code = find_tensors(m);
    if (code == EXIT_DONE) code = open_probe(m, text);
    if (code == EXIT_DONE) code = measure_losses(m);
    progress_end(&m->bar);
    if (code == EXIT_DONE) code = measure_tensors(m);
    progress_end(&m->bar);
    if (code == EXIT_DONE) code = choose(m, goal);
    progress_end(&m->bar);
    return code;
}

void mix_free(mix *m) {
    slm_quantizer_free(m->quantizer);
    probe_close(&m->probe);
    remove_work(m);
    slm_threads_free(m->threads);
    free(m->tensors);
    free(m->items);
    free(m->picks);
}

/* ---- Output ---- */

/* "blk.12.attn_q.weight": 12, and where the number begins and ends; else -1. */
static int32_t layer_of(const char *name, int *begin, int *end) {
    int32_t layer = -1;
    *begin = *end = 0;
    if (sscanf(name, "blk.%n%" SCNd32 "%n", begin, &layer, end) != 1 || layer < 0) return -1;
    return layer;
}

static bool same_part(const char *a, const char *b) {
    int begin, end_a, end_b;
    if (layer_of(a, &begin, &end_a) < 0 || layer_of(b, &begin, &end_b) < 0)
        return strcmp(a, b) == 0;
    return strcmp(a + end_a, b + end_b) == 0;
}

static const char *name_of(const mix *m, int32_t i) {
    return tensor_at(m->quantizer, m->tensors[i].index).name;
}

/* Layers of a part that have the type: " 0-3 7". */
static void print_layers(const mix *m, int32_t part, const char *type) {
    int begin, end;
    int32_t from = -1, to = -1;
    for (int32_t i = part; i <= m->n; i++) {
        int32_t layer = -1;
        if (i < m->n) {
            if (!same_part(name_of(m, part), name_of(m, i)) ||
                strcmp(m->tensors[i].types[m->picks[i]], type) != 0)
                continue;
            layer = layer_of(name_of(m, i), &begin, &end);
            if (from >= 0 && layer == to + 1) {
                to = layer;
                continue;
            }
        }
        if (from >= 0) printf(" %" PRId32, from);
        if (from >= 0 && to > from) printf("-%" PRId32, to);
        from = to = layer;
    }
}

static void print_part(const mix *m, int32_t part) {
    const char *name = name_of(m, part);
    int begin, end;
    char shown[64];
    if (layer_of(name, &begin, &end) >= 0)
        snprintf(shown, sizeof shown, "blk.*%s", name + end);
    else
        snprintf(shown, sizeof shown, "%s", name);
    size_t n = print_escaped(stdout, shown, strlen(shown), SIZE_MAX);
    printf("%*s", n < 26 ? (int)(26 - n) : 1, "");
    const char *separator = "";
    for (int32_t k = 0; k < N_MENU; k++)
        for (int32_t i = part; i < m->n; i++) {
            if (!same_part(name, name_of(m, i)) ||
                strcmp(m->tensors[i].types[m->picks[i]], menu[k].name) != 0)
                continue;
            printf("%s%s", separator, menu[k].name);
            print_layers(m, part, menu[k].name);
            separator = ", ";
            break;
        }
    putchar('\n');
}

void mix_print(const mix *m) {
    for (int32_t i = 0; i < m->n; i++) {
        bool seen = false;
        for (int32_t k = 0; k < i && !seen; k++) seen = same_part(name_of(m, k), name_of(m, i));
        if (!seen) print_part(m, i);
    }
    const char *text = m->probe.windows.name;
    fputs("\nKL divergence on ", stdout);
    print_escaped(stdout, text, strlen(text), SIZE_MAX);
    printf(": %.3g measured, %.3g predicted\n", m->measured, m->predicted);
}
