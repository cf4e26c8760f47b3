/* slm quantize: a file with smaller weights. What each tensor becomes, and the size of all, is known before the work begins. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mix.h"
#include "plan.h"
#include "text.h"

typedef struct quantize_options {
    text_list tensors; /* PATTERN=TYPE */
    const char *imatrix;
    int32_t n_threads;
    bool requantize, dry_run;
    const char *target_size, *file, *plan, *save_plan;
    float max_kl, bits;
} quantize_options;

static const option options[] = {
    {"--tensor", "PATTERN=TYPE", OPT_TEXTS, offsetof(quantize_options, tensors), 0, 0,
     "this type for tensors whose name fits (* any text, ? any character); may be given several "
     "times, the first that fits counts"},
    {"--plan", "FILE", OPT_TEXT, offsetof(quantize_options, plan), 0, 0,
     "the same from a file with a line PATTERN=TYPE for each, behind those of --tensor"},
    {"--save-plan", "FILE", OPT_TEXT, offsetof(quantize_options, save_plan), 0, 0,
     "write what each tensor becomes into a file for --plan"},
    {"--target-size", "SIZE", OPT_TEXT, offsetof(quantize_options, target_size), 0, 0,
     "instead of TYPE: the mixture of types that costs this model least, in a file of at most "
     "SIZE: "
     "bytes, or with kB, MB, GB, KiB, MiB or GiB behind"},
    {"--bits", "X", OPT_FLOAT, offsetof(quantize_options, bits), 1, 32,
     "the same with at most X bits a weight"},
    {"--max-kl", "X", OPT_FLOAT, offsetof(quantize_options, max_kl), 1e-6, 100,
     "instead of TYPE: the smallest mixture whose KL divergence from the model is at most X"},
    {"-f", "TEXT", OPT_TEXT, offsetof(quantize_options, file), 0, 0,
     "the text on which that is measured; -: standard input"},
    {"--imatrix", "FILE", OPT_TEXT, offsetof(quantize_options, imatrix), 0, 0,
     "an importance matrix of the model: errors are smallest where it says that they matter"},
    {"--requantize", NULL, OPT_FLAG, offsetof(quantize_options, requantize), 0, 0,
     "also tensors that are quantized already, which costs quality each time"},
    {"--dry-run", NULL, OPT_FLAG, offsetof(quantize_options, dry_run), 0, 0,
     "list what each tensor would become, and write nothing"},
    {"-t", "N", OPT_INT, offsetof(quantize_options, n_threads), 0, 512,
     "threads (default: the physical cores that this process may use)"},
    {0},
};

enum { IN, OUT, TYPE, N_OPERANDS };

typedef struct quantization {
    quantize_options o;
    const char *operands[N_OPERANDS];
    slm_model *model;
    slm_imatrix *imatrix;
    slm_quantizer *quantizer; /* of its own, or that of the mixture */
    mix_goal goal;            /* all 0: TYPE is given               */
    mix mix;
    slm_quantizer_info info;
    int32_t n_important; /* tensors that the importance matrix has */
    progress_bar bar;
} quantization;

/* ---- Importance ---- */

/* What llama-quantize notes in the new file, but for the folder. `dataset` is a copy, to be freed. */
enum { IMATRIX_KEYS = 4 };
static int imatrix_keys(const quantization *z, slm_new_key *keys, int32_t *n, char **dataset) {
    slm_imatrix_info info = {.size = sizeof info};
    slm_string name;
    slm_imatrix_get_info(z->imatrix, &info); /* cannot fail: both pointers and the size are good */
    keys[(*n)++] = (slm_new_key){"quantize.imatrix.file", file_part(z->o.imatrix), 0};
    if (slm_imatrix_get_dataset(z->imatrix, 0, &name) == SLM_OK) {
        *dataset = strndup(name.text, name.n_bytes);
        if (!*dataset) return fail("no memory");
        keys[(*n)++] = (slm_new_key){"quantize.imatrix.dataset", *dataset, 0};
    }
    keys[(*n)++] = (slm_new_key){"quantize.imatrix.entries_count", NULL, (uint32_t)info.n_tensors};
    if (info.n_chunks > 0)
        keys[(*n)++] =
            (slm_new_key){"quantize.imatrix.chunks_count", NULL, (uint32_t)info.n_chunks};
    return EXIT_DONE;
}

static int use_imatrix(quantization *z, slm_quantize_params *p, slm_new_key *keys, char **dataset) {
    if (!z->o.imatrix) return EXIT_DONE;
    int code = open_imatrix(z->o.imatrix, z->model, &z->imatrix, &z->n_important);
    if (code == EXIT_DONE) code = imatrix_keys(z, keys, &p->n_keys, dataset);
    p->keys = keys;
    p->importance = slm_imatrix_importance;
    p->importance_user = z->imatrix;
    return code;
}

/* ---- The plan ---- */

static int create_quantizer(const command *self, quantization *z) {
    slm_error err;
    choice_list choices = {0};
    slm_new_key keys[IMATRIX_KEYS];
    char *dataset = NULL;
    slm_quantize_params p = slm_quantize_defaults();
    p.type = z->operands[TYPE];
    p.n_threads = z->o.n_threads;
    p.requantize = z->o.requantize;
    p.progress = progress_update;
    p.progress_user = &z->bar;
    int code = choices_parse(&choices, self, &z->o.tensors);
    if (code == EXIT_DONE && z->o.plan) code = plan_read(&choices, z->o.plan);
    p.choices = choices.v;
    p.n_choices = choices.n;
    if (code == EXIT_DONE) code = open_model(z->operands[IN], OPEN_KEYS, &z->model);
    if (code == EXIT_DONE) code = use_imatrix(z, &p, keys, &dataset);
    if (code == EXIT_DONE && z->operands[TYPE]) {
        if (slm_quantizer_create(z->model, &p, &z->quantizer, &err) != SLM_OK)
            code = fail_with(z->operands[IN], &err);
    } else if (code == EXIT_DONE) {
        code =
            mix_find(&z->mix, z->operands[IN], z->model, &p, &z->goal, z->o.file, z->operands[OUT]);
        z->quantizer = z->mix.quantizer;
    }
    choices_free(&choices);
    free(dataset);
    if (code != EXIT_DONE) return code;
    z->info.size = sizeof z->info;
    slm_quantizer_get_info(z->quantizer, &z->info); /* cannot fail: pointers and size are good */
    return EXIT_DONE;
}

/* ---- Output ---- */

static void print_row(const slm_quantized_tensor *t) {
    size_t n = print_escaped(stdout, t->name, strlen(t->name), SIZE_MAX);
    printf("%*s %-8s %-8s %14" PRIu64 "  ", n < 32 ? (int)(32 - n) : 0, "", t->from, t->to,
           t->n_bytes);
    for (int32_t d = 0; d < t->n_dims; d++) printf(d ? " x %" PRId64 : "%" PRId64, t->dims[d]);
    if (strcmp(t->to, t->wanted) != 0) printf(", not %s", t->wanted);
    putchar('\n');
}

static void print_tensors(const quantization *z) {
    printf("%-32s %-8s %-8s %14s  %s\n", "tensor", "from", "to", "bytes", "shape");
    for (int32_t i = 0; i < z->info.n_tensors; i++) {
        slm_quantized_tensor t = {.size = sizeof t};
        slm_quantizer_get_tensor(z->quantizer, i, &t); /* cannot fail: i is below their number */
        print_row(&t);
    }
    putchar('\n');
}

static void print_size(const char *path, uint64_t file_bytes, uint64_t tensor_bytes,
                       uint64_t n_params) {
    print_escaped(stdout, path, strlen(path), SIZE_MAX);
    printf(": %" PRIu64 " bytes (%.1f MiB), %.2f bits a weight\n", file_bytes,
           (double)file_bytes / (1 << 20),
           n_params ? 8.0 * (double)tensor_bytes / (double)n_params : 0);
}

static void print_summary(const quantization *z) {
    const slm_quantizer_info *info = &z->info;
    print_size(z->operands[IN], info->file_bytes_from, info->tensor_bytes_from, info->n_params);
    print_size(z->operands[OUT], info->file_bytes, info->tensor_bytes, info->n_params);
    printf("%s: %.1f%% of the size", z->operands[TYPE] ? info->type : "mixture",
           100 * (double)info->file_bytes / (double)info->file_bytes_from);
    if (info->n_fallbacks > 0)
        printf("; %" PRId32 " of %" PRId32
               " tensors get a larger type, as their rows are no multiple of its blocks",
               info->n_fallbacks, info->n_tensors);
    if (z->imatrix) {
        printf("; importance of %" PRId32 " tensors from ", z->n_important);
        print_escaped(stdout, z->o.imatrix, strlen(z->o.imatrix), SIZE_MAX);
    }
    putchar('\n');
}

/* ---- The goal of a mixture ---- */

/* "75MB": a number and a unit; 0: it is none. */
static uint64_t parse_size(const char *text) {
    static const struct {
        const char *name;
        double bytes;
    } units[] = {{"", 1},
                 {"B", 1},
                 {"kB", 1e3},
                 {"KB", 1e3},
                 {"MB", 1e6},
                 {"GB", 1e9},
                 {"KiB", 1024},
                 {"MiB", 1024 * 1024},
                 {"GiB", 1024.0 * 1024 * 1024}};
    char *end;
    if (text[0] < '0' || text[0] > '9') return 0;
    double n = strtod(text, &end);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(end, units[i].name) == 0 && n * units[i].bytes < 1e18)
            return (uint64_t)(n * units[i].bytes);
    return 0;
}

/* PARSED, or EXIT_USAGE after a message. */
static int parse_goal(const command *self, quantization *z) {
    const quantize_options *o = &z->o;
    int n = !!o->target_size + (o->bits > 0) + (o->max_kl > 0);
    z->goal = (mix_goal){.bits = (double)o->bits, .max_kl = (double)o->max_kl};
    if (!z->operands[TYPE] && n == 0)
        return usage_error(self, "TYPE is missing, or --target-size, --bits or --max-kl");
    if (n + !!z->operands[TYPE] > 1)
        return usage_error(self, "one of TYPE, --target-size, --bits and --max-kl, not several");
    if (n == 1 && !o->file) return usage_error(self, "-f TEXT is missing, on which is measured");
    if (n == 0 && o->file) return usage_error(self, "-f: nothing is measured for a TYPE");
    if (!o->target_size) return PARSED;
    z->goal.file_bytes = parse_size(o->target_size);
    return z->goal.file_bytes > 0
               ? PARSED
               : usage_error(self, "--target-size %s: expected a size like 75MB", o->target_size);
}

/* ---- The whole ---- */

/* Before the long work: whether its files can be written, and are none that are read. */
static int check_files(const quantization *z) {
    const char *out = z->operands[OUT], *save = z->o.save_plan;
    const input_file in[] = {{z->operands[IN], "model"},
                             {z->o.file, "text"},
                             {z->o.imatrix, "importance matrix"},
                             {z->o.plan, "plan"},
                             {out, "new model"}};
    enum { N_IN = sizeof in / sizeof *in };
    int code = z->o.dry_run ? EXIT_DONE : check_regular_out(out, in, N_IN - 1);
    if (code != EXIT_DONE || !save) return code;
    return check_out(save, in, N_IN);
}

static int quantize(const command *self, quantization *z) {
    slm_error err;
    int code = check_files(z);
    if (code == EXIT_DONE) code = create_quantizer(self, z);
    if (code == EXIT_DONE && z->o.save_plan) code = plan_write(z->o.save_plan, z->quantizer);
    if (code != EXIT_DONE) return code;
    if (z->o.dry_run) {
        print_tensors(z);
    } else {
        z->bar.label = z->mix.bar.label = "quantizing";
        slm_status status = slm_quantizer_write(z->quantizer, z->operands[OUT], &err);
        progress_end(&z->bar);
        progress_end(&z->mix.bar);
        if (status != SLM_OK) return fail_with("cannot quantize", &err);
    }
    if (!z->operands[TYPE]) mix_print(&z->mix);
    print_summary(z);
    return EXIT_DONE;
}

static int run(const command *self, int argc, char **argv) {
    static const char *const names[] = {"IN", "OUT"};
    quantization z = {0};
    int code = parse_options(self, argc, argv, &z.o, z.operands);
    if (code != PARSED) return code;
    for (int i = 0; i < TYPE; i++)
        if (!z.operands[i]) return usage_error(self, "%s is missing", names[i]);
    code = parse_goal(self, &z);
    if (code != PARSED) return code;
    catch_interrupt();
    code = quantize(self, &z);
    if (z.operands[TYPE])
        slm_quantizer_free(z.quantizer);
    else
        mix_free(&z.mix);
    slm_imatrix_free(z.imatrix);
    slm_model_close(z.model);
    return code;
}

const command quantize_command = {
    .name = "quantize",
    .arguments = "IN OUT [TYPE] [options]",
    .summary = "make the weights of a file smaller",
    .details =
        "TYPE: F32, F16, BF16, Q8_0, Q6_K, Q5_1, Q5_K_M, Q5_K_S, Q5_0, Q4_1, Q4_K_M, Q4_K_S, "
        "Q4_0,\nIQ4_NL, IQ4_XS, MXFP4, Q3_K_L, Q3_K_M, Q3_K_S or Q2_K (docs/quantization.md). OUT "
        "is there when all of\nit is written; the same bytes for any number of threads.\n"
        "Without TYPE a mixture is found by what each tensor costs this model on a text:\n"
        "--target-size 75MB -f TEXT, --bits 4.5 -f TEXT or --max-kl 0.01 -f TEXT.\n",
    .options = options,
    .max_operands = N_OPERANDS,
    .run = run,
};
