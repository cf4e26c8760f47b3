/* slm compare: what is known without measuring. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "compare.h"
#include "grow.h"

/* ---- The type of a file ---- */

/* general.file_type, as llama.h numbers it. */
static const struct {
    uint32_t number;
    const char *name;
} file_types[] = {
    {0, "F32"},     {1, "F16"},     {2, "Q4_0"},    {3, "Q4_1"},    {7, "Q8_0"},
    {8, "Q5_0"},    {9, "Q5_1"},    {10, "Q2_K"},   {11, "Q3_K_S"}, {12, "Q3_K_M"},
    {13, "Q3_K_L"}, {14, "Q4_K_S"}, {15, "Q4_K_M"}, {16, "Q5_K_S"}, {17, "Q5_K_M"},
    {18, "Q6_K"},   {25, "IQ4_NL"}, {30, "IQ4_XS"}, {32, "BF16"},   {38, "MXFP4"},
};

/* Weights in matrices, and those of them in the most frequent type, which is named. */
static const char *main_type(const slm_model *model, double *share) {
    enum { MOST = 64 };
    struct {
        const char *type;
        double n;
    } types[MOST];
    int n_types = 0, best = 0;
    double all = 0;
    for (int32_t i = 0; i < slm_model_n_tensors(model); i++) {
        slm_tensor_info t = {.size = sizeof t};
        int k = 0;
        slm_model_get_tensor(model, i, &t); /* cannot fail: i is below the number of tensors */
        if (t.n_dims < 2) continue;
        while (k < n_types && strcmp(types[k].type, t.type) != 0) k++;
        if (k == MOST) continue;
        if (k == n_types) {
            types[n_types].n = 0;
            types[n_types++].type = t.type;
        }
        double n = 1;
        for (int d = 0; d < 4; d++) n *= (double)t.dims[d];
        types[k].n += n;
        all += n;
        if (types[k].n > types[best].n) best = k;
    }
    *share = n_types > 0 ? types[best].n / all : 0;
    return n_types > 0 ? types[best].type : "";
}

/* Q4_0 is seen, too, where rows are no whole blocks of what is wanted. */
static bool as_planned(const slm_quantized_tensor *t) {
    return strcmp(t->from, t->to) == 0 ||
           (strcmp(t->wanted, t->to) != 0 && strcmp(t->from, "Q4_0") == 0);
}

/* Do nearly all weights have the types that quantizing to `name` gives them? One in 25 depends on importance (mixture.c), and there are
 * other versions of the program that made the file. */
static bool fits_mixture(const slm_model *model, const char *name) {
    slm_quantize_params params = slm_quantize_defaults();
    slm_quantizer *q = NULL;
    slm_error err;
    double all = 0, same = 0;
    params.type = name;
    params.requantize = true; /* nothing is written */
    params.n_threads = 1;
    if (slm_quantizer_create(model, &params, &q, &err) != SLM_OK) return false;
    for (int32_t i = 0; i < slm_model_n_tensors(model); i++) {
        slm_quantized_tensor t = {.size = sizeof t};
        slm_quantizer_get_tensor(q, i, &t); /* cannot fail: i is below the number of tensors */
        double n = 1;
        for (int d = 0; d < 4; d++) n *= (double)t.dims[d];
        all += n;
        if (as_planned(&t)) same += n;
    }
    slm_quantizer_free(q);
    return same > 0.95 * all;
}

/* The name of general.file_type if tensors bear it out, which those of an automatic mixture do not; else the type that nearly all
 * weights have. */
static const char *type_name(const slm_model *model) {
    char text[24] = "";
    size_t n = 0;
    double share;
    int32_t key = slm_model_find_key(model, "general.file_type");
    if (key >= 0 && slm_model_key_text(model, key, 0, text, sizeof text - 1, &n, NULL) == SLM_OK) {
        text[n] = '\0';
        for (size_t i = 0; i < sizeof file_types / sizeof *file_types; i++)
            if (strtoul(text, NULL, 10) == file_types[i].number && text[0] >= '0' &&
                fits_mixture(model, file_types[i].name))
                return file_types[i].name;
    }
    const char *type = main_type(model, &share);
    return share > 0.9 ? type : "mixed";
}

int describe_subject(compare_work *w, compared_model *m) {
    subject *s = m->about;
    slm_context_params params = w->params; /* as it would be used: without reference mode */
    slm_error err;
    size_t n_bytes = 0;
    params.n_ctx = w->o.compute.n_ctx;
    if (slm_context_memory(m->model, &params, &n_bytes, &err) != SLM_OK)
        return fail_with(m->path, &err);
    s->path = m->path;
    snprintf(s->type, sizeof s->type, "%s", type_name(m->model));
    s->file_bytes = m->info.file_bytes;
    s->n_params = m->info.n_params;
    s->tensor_bytes = m->info.tensor_bytes;
    s->bits_per_weight = s->n_params > 0 ? 8 * (double)s->tensor_bytes / (double)s->n_params : 0;
    s->memory_bytes = n_bytes;
    return EXIT_DONE;
}

/* ---- The run ---- */

/* What follows the colon in the first line of that file that begins with the name. */
static void read_line_of(const char *path, const char *name, char *out, size_t capacity) {
    char line[512];
    FILE *f = fopen(path, "r");
    out[0] = '\0';
    while (f && !out[0] && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, name, strlen(name)) != 0 || !colon) continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(out, capacity, "%.*s", (int)strcspn(colon, "\n"), colon);
    }
    if (f) fclose(f);
}

static char *describe_machine(const compare_work *w) {
    struct utsname system;
    char cpu[256], *text = NULL;
    const char *level = w->params.cpu;
    const char *name;
    for (int32_t i = 0; !w->params.cpu && (name = slm_cpu_level(i)); i++) level = name;
    read_line_of("/proc/cpuinfo", "model name", cpu, sizeof cpu);
    double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGE_SIZE);
    if (uname(&system) != 0) system = (struct utsname){.sysname = "?", .machine = "?"};
    if (asprintf(&text, "%s, %s, %" PRId32 " thread%s, %.1f GiB of memory, %s %s %s",
                 cpu[0] ? cpu : "unknown processor", level, w->result.n_threads,
                 w->result.n_threads == 1 ? "" : "s", memory / (1 << 30), system.sysname,
                 system.release, system.machine) < 0)
        return NULL;
    return text;
}

/* In quotes if there is anything in it that a shell would take for something else. */
static void add_word(growing_text *t, const char *word) {
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=,:+@%";
    text_add(t, " ", 1);
    if (word[0] && word[strspn(word, plain)] == '\0') {
        text_add(t, word, strlen(word));
        return;
    }
    text_add(t, "'", 1);
    for (const char *c = word; *c; c++) text_add(t, *c == '\'' ? "'\\''" : c, *c == '\'' ? 4 : 1);
    text_add(t, "'", 1);
}

int describe_run(compare_work *w, int argc, char **argv) {
    comparison *c = &w->result;
    time_t t = time(NULL);
    struct tm date;
    growing_text line = {0}, program = {0};
    c->machine = describe_machine(w);
    text_add(&line, "slm compare", 11);
    for (int i = 0; i < argc; i++) add_word(&line, argv[i]);
    c->command = line.text;
    text_add(&program, "slm ", 4);
    text_add(&program, slm_version(), strlen(slm_version()));
    w->program = program.text;
    c->program = w->program;
    if (gmtime_r(&t, &date)) strftime(c->date, sizeof c->date, "%Y-%m-%d %H:%M UTC", &date);
    return c->machine && !line.failed && !program.failed ? EXIT_DONE : fail("no memory");
}
