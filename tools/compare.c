/*
 * slm compare: what is lost and what is won by smaller files of a model, beside one that is exact.
 *
 * The reference computes in reference mode, each candidate as it would be used. A text, its departures, tasks and speed are measured one after
 * the other (compare_kl.c, compare_depart.c, compare_exam.c, compare_speed.c); docs/quantization.md defines the figures.
 */
#include "compare.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "outfile.h"

static const option options[] = {
    {"--reference", "REF", OPT_TEXT, offsetof(compare_options, reference), 0, 0,
     "GGUF file to compare with, best one in F32, F16 or BF16; computed exactly"},
    {"-f", "TEXT", OPT_TEXT, offsetof(compare_options, text), 0, 0,
     "the text, less one last newline; - or nothing: standard input"},
    {"-c", "N", OPT_INT, offsetof(compare_options, compute.n_ctx), SHORTEST_WINDOW, 1 << 20,
     "tokens of a window, of which the second half is scored (default 512)"},
    {"--windows", "N", OPT_INT, offsetof(compare_options, n_windows), 1, INT32_MAX,
     "only the first N windows of the text"},
    PARSE_SPECIAL_OPTION(compare_options),
    {"--task", "FILE", OPT_TEXTS, offsetof(compare_options, tasks), 0, 0,
     "questions of several choices, JSON lines; may be given several times"},
    {"--no-speed", NULL, OPT_FLAG, offsetof(compare_options, no_speed), 0, 0,
     "do not measure how fast the files are"},
    {"--json", "FILE", OPT_TEXT, offsetof(compare_options, json), 0, 0,
     "write the report as JSON, too"},
    {"--markdown", "FILE", OPT_TEXT, offsetof(compare_options, markdown), 0, 0,
     "write it as Markdown"},
    {"--html", "FILE", OPT_TEXT, offsetof(compare_options, html), 0, 0,
     "write it as a page to look at"},
    CACHE_OPTIONS(compare_options),
    {"--cpu", "LEVEL", OPT_TEXT, offsetof(compare_options, compute.cpu), 0, 0,
     "highest instruction set to use: c, avx2, ... (default: the best)"},
    {0},
};

/* ---- What its parts use ---- */

static bool pulse(void *work, float done) {
    compare_work *w = work;
    (void)done;
    return w->timing ? !interrupted() : compare_progress(w, 0);
}

slm_context_params compare_context(compare_work *w, const compared_model *m) {
    slm_context_params params = w->params;
    params.progress = pulse;
    params.progress_user = w;
    params.reference = m->is_reference;
    if (m->is_reference) params.kv_type = SLM_KV_F32;
    return params;
}

bool compare_progress(void *work, float done) {
    compare_work *w = work;
    return progress_update(&w->bar, (float)((w->n_done + (double)done * w->n_step) / w->n_units));
}

void compare_step(compare_work *w, double n_units) {
    w->n_done += w->n_step;
    w->n_step = n_units;
}

/* ---- Opening ---- */

static bool is_quantized(const slm_model *model) {
    for (int32_t i = 0; i < slm_model_n_tensors(model); i++) {
        slm_tensor_info t = {.size = sizeof t};
        slm_model_get_tensor(model, i, &t); /* cannot fail: i is below the number of tensors */
        if (strcmp(t.type, "F32") != 0 && strcmp(t.type, "F16") != 0 && strcmp(t.type, "BF16") != 0)
            return true;
    }
    return false;
}

/* Each token must be the same bytes and of the same kind. */
static int check_vocabulary(const compare_work *w, const compared_model *m) {
    const compared_model *ref = &w->models[0];
    if (m->info.n_vocab != ref->info.n_vocab)
        return fail("%s has another vocabulary than %s: %" PRId32 " tokens, not %" PRId32, m->path,
                    ref->path, m->info.n_vocab, ref->info.n_vocab);
    for (slm_token t = 0; t < m->info.n_vocab; t++) {
        const char *a, *b;
        size_t n_a, n_b;
        uint32_t is_a, is_b;
        if (slm_token_get(ref->model, t, &a, &n_a, &is_a) != SLM_OK) return fail_changed(ref->path);
        if (slm_token_get(m->model, t, &b, &n_b, &is_b) != SLM_OK) return fail_changed(m->path);
        if (n_a != n_b || is_a != is_b || memcmp(a, b, n_a) != 0)
            return fail("%s has another vocabulary than %s: token %" PRId32 " is another one",
                        m->path, ref->path, t);
    }
    return EXIT_DONE;
}

static int open_one(compare_work *w, compared_model *m) {
    double begin = now();
    int code = open_model(m->path, OPEN_TO_RUN, &m->model);
    m->about->load_seconds = now() - begin;
    if (code != EXIT_DONE) return code;
    m->info.size = sizeof m->info;
    slm_model_get_info(m->model, &m->info); /* cannot fail: both pointers and the size are good */
    if (m->is_reference && is_quantized(m->model))
        warn("%s is quantized: figures tell how far the others are from that, not from the model",
             m->path);
    if (!m->is_reference) code = check_vocabulary(w, m);
    return code == EXIT_DONE ? describe_subject(w, m) : code;
}

/* Rules of a tokenizer are in many keys; that they make the same of this text is what matters. */
static int check_tokenizer(const compare_work *w, const compared_model *m) {
    const windows *ref = &w->windows;
    windows own = *ref;
    slm_error err;
    slm_status status = windows_tokenize(&own, m->model, &err);
    bool same = status == SLM_OK && own.n_bos == ref->n_bos && own.bos == ref->bos &&
                own.text.n == ref->text.n &&
                memcmp(own.text.ids, ref->text.ids, ref->text.n * sizeof *ref->text.ids) == 0;
    free(own.text.ids);
    if (status != SLM_OK) return fail_with(m->path, &err);
    return same ? EXIT_DONE
                : fail("%s has another tokenizer than %s: the text becomes other tokens", m->path,
                       w->models[0].path);
}

static int open_all(compare_work *w) {
    int code = EXIT_DONE;
    for (int32_t i = 0; i < w->n_models && code == EXIT_DONE; i++) {
        code = interrupted() ? EXIT_INTERRUPTED : open_one(w, &w->models[i]);
        if (i == 0 && code == EXIT_DONE) w->n_vocab = w->models[0].info.n_vocab;
    }
    return code;
}

static int read_text(compare_work *w) {
    windows *t = &w->windows;
    int code = windows_read(t, w->models[0].model, w->o.text, w->o.parse_special);
    for (int32_t i = 1; i < w->n_models && code == EXIT_DONE; i++)
        code = check_tokenizer(w, &w->models[i]);
    if (code == EXIT_DONE) code = windows_cut(t, (size_t)w->o.compute.n_ctx, 0, w->models[0].model);
    free(t->bytes); /* tokens are enough from here on */
    t->bytes = NULL;
    if (w->o.n_windows > 0 && t->n > (size_t)w->o.n_windows) t->n = (size_t)w->o.n_windows;
    w->result.text = t->name;
    w->result.n_tokens = t->text.n;
    w->result.n_windows = t->n;
    w->result.window = t->size;
    return code;
}

/* ---- Reports ---- */

typedef struct report {
    const char *path; /* NULL: not wanted */
    void (*write)(const comparison *c, FILE *out);
    const char *name;
} report;

enum { N_REPORTS = 3 };

/* That all reports can be written is known before hours are spent on them, and that nothing of what is read would be lost. */
static int check_reports(const compare_work *w, const report *all) {
    input_file others[MAX_LIST + MAX_TASKS + N_REPORTS + 2];
    size_t n = 0;
    others[n++] = (input_file){w->o.text, "text"};
    for (int32_t i = 0; i < w->n_models; i++)
        others[n++] = (input_file){w->models[i].path, "model"};
    for (int32_t i = 0; i < w->o.tasks.n; i++) others[n++] = (input_file){w->o.tasks.v[i], "task"};
    for (int i = 0; i < N_REPORTS; i++) {
        if (!all[i].path) continue;
        int code = check_out(all[i].path, others, n);
        if (code != EXIT_DONE) return code;
        others[n++] = (input_file){all[i].path, all[i].name};
    }
    return EXIT_DONE;
}

/* All that can be: hours of work are in them. */
static int write_reports(const comparison *c, const report *all) {
    int code = EXIT_DONE;
    for (int i = 0; i < N_REPORTS; i++) {
        out_file f;
        if (!all[i].path) continue;
        int own = out_open(&f, all[i].path);
        if (own == EXIT_DONE) {
            all[i].write(c, f.out);
            own = out_close(&f, true);
        }
        code = own == EXIT_DONE ? code : own;
    }
    return code;
}

/* ---- The whole ---- */

static int measure(compare_work *w, int argc, char **argv) {
    double begin = now();
    int code = open_all(w);
    if (code == EXIT_DONE) code = read_text(w);
    if (code == EXIT_DONE) code = read_tasks(w);
    if (code != EXIT_DONE) return code;
    w->n_units = units_of_text(w) + units_of_departures(w) + units_of_tasks(w) + units_of_speed(w);
    w->bar.label = "comparing";
    code = compare_over_text(w);
    if (code == EXIT_DONE) code = compare_departures(w);
    if (code == EXIT_DONE) code = compare_tasks(w);
    if (code == EXIT_DONE && !w->o.no_speed) code = compare_speed(w);
    if (code == EXIT_DONE) code = describe_run(w, argc, argv);
    w->result.seconds = now() - begin;
    return code;
}

static int compare(compare_work *w, int argc, char **argv) {
    const report reports[N_REPORTS] = {
        {w->o.json, write_comparison_json, "JSON report"},
        {w->o.markdown, write_comparison_markdown, "Markdown report"},
        {w->o.html, write_comparison_html, "page"}};
    int code = check_reports(w, reports);
    if (code == EXIT_DONE) code = measure(w, argc, argv);
    progress_end(&w->bar);
    if (code != EXIT_DONE) return code;
    write_comparison_text(&w->result, stdout);
    return write_reports(&w->result, reports);
}

/* Returns PARSED, or the code to exit with. */
static int read_options(const command *self, int argc, char **argv, compare_work *w) {
    const char *operands[MAX_LIST] = {0};
    int code = parse_options(self, argc, argv, &w->o, operands);
    if (code == PARSED) code = compute_params(self, &w->o.compute, &w->params);
    if (code != PARSED) return code;
    w->params.n_ctx = 0;
    if (!w->o.reference) return usage_error(self, "--reference REF is missing");
    if (!operands[0]) return usage_error(self, "no MODEL to compare with %s", w->o.reference);
    if (w->o.tasks.n > MAX_TASKS)
        return usage_error(self, "--task: %" PRId32 " files, expected %d at most", w->o.tasks.n,
                           MAX_TASKS);
    w->result.candidates = calloc(MAX_LIST, sizeof *w->result.candidates);
    if (!w->result.candidates) return fail("no memory");
    w->models[w->n_models++] = (compared_model){
        .path = w->o.reference, .is_reference = true, .about = &w->result.reference};
    for (int32_t i = 0; i < MAX_LIST && operands[i]; i++)
        w->models[w->n_models++] =
            (compared_model){.path = operands[i], .about = &w->result.candidates[i].about};
    w->result.n_candidates = w->n_models - 1;
    return PARSED;
}

static void free_all(compare_work *w) {
    comparison *c = &w->result;
    for (int32_t i = 0; i < w->n_models; i++) slm_model_close(w->models[i].model);
    for (int32_t i = 0; i < c->n_candidates; i++) {
        free(c->candidates[i].layer_error);
        for (int32_t d = 0; d < MAX_DEPARTURES; d++) {
            departure *x = &c->candidates[i].departures[d];
            free(x->prompt);
            free(x->shared);
            free(x->reference);
            free(x->candidate);
        }
    }
    for (int32_t i = 0; i < MAX_GROUPS; i++) free(w->labels[i]);
    free(c->candidates);
    free(c->machine);
    free(c->command);
    free(w->program);
    free_tasks(w);
    windows_free(&w->windows);
}

static int run(const command *self, int argc, char **argv) {
    compare_work *w = calloc(1, sizeof *w); /* too large for a stack */
    if (!w) return fail("no memory");
    w->o.text = "-";
    w->o.compute.n_ctx = 512;
    int code = read_options(self, argc, argv, w);
    if (code == PARSED) {
        catch_interrupt();
        code = compare(w, argc, argv);
    }
    free_all(w);
    free(w);
    return code;
}

const command compare_command = {
    .name = "compare",
    .arguments = "--reference REF [-f TEXT] [options] MODEL...",
    .summary = "measure what smaller files of a model cost, beside an exact one",
    .details =
        "REF computes exactly, each MODEL as it would be used. Over the text: how far their\n"
        "probabilities for the next token are apart (Kullback-Leibler divergence), how often both\n"
        "choose the same, perplexities, errors by layer, and where answers depart. With --task:\n"
        "questions of several choices. Of the files: size, memory and speed.\n",
    .options = options,
    .max_operands = MAX_LIST,
    .run = run,
};
