/* slm bench: how fast a model is read into the cache and goes on from there, beside what the machine could do at best. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"
#include "machine.h"
#include "speed.h"
#include "text.h"

enum { MAX_POSITIONS = 1 << 27 };

typedef struct bench_options {
    const char *model;
    int_list prompt, gen, depth, batch, threads;
    int32_t n_runs;
    bool json;
    compute_options compute; /* its cpu is a list, too; its numbers are not used */
} bench_options;

#define LIST(member, min, max) OPT_INTS, offsetof(bench_options, member), min, max

static const option options[] = {
    {"-m", "MODEL", OPT_TEXT, offsetof(bench_options, model), 0, 0, "GGUF file"},
    {"-p", "LIST", LIST(prompt, 0, MAX_POSITIONS),
     "tokens of a prompt; 0: no prompts (default 512)"},
    {"-n", "LIST", LIST(gen, 0, MAX_POSITIONS),
     "tokens to generate; 0: no generation (default 128)"},
    {"-d", "LIST", LIST(depth, 0, MAX_POSITIONS),
     "positions in the cache before what is measured (default 0)"},
    {"-b", "LIST", LIST(batch, 1, 1 << 16), "sequences generated together (default 1)"},
    {"-t", "LIST", LIST(threads, 0, 512),
     "threads; 0: the physical cores that this process may use (default 0)"},
    {"-r", "N", OPT_INT, offsetof(bench_options, n_runs), 1, 1000,
     "measure each N times, after one time more that does not count (default 5)"},
    {"--kv", "TYPE", OPT_TEXT, offsetof(bench_options, compute.kv), 0, 0,
     "KV cache in f16, f32 or q8_0 (default: f16)"},
    {"--cpu", "LIST", OPT_TEXT, offsetof(bench_options, compute.cpu), 0, 0,
     "highest instruction sets to use: c, avx2, ... (default: the best)"},
    LORA_OPTION(bench_options),
    {"--json", NULL, OPT_FLAG, offsetof(bench_options, json), 0, 0,
     "an array of JSON objects instead of a table"},
    {0},
};

/* ---- Instruction sets ---- */

typedef struct word_list {
    char *text; /* the words, each with its NUL */
    const char *v[MAX_LIST];
    int32_t n;
} word_list;

/* One level that is NULL, for the best, if there is no text. */
static int split_levels(const command *c, const char *text, word_list *list) {
    list->v[list->n++] = NULL;
    if (!text) return PARSED;
    list->text = strdup(text);
    if (!list->text) return fail("no memory");
    list->n = 0;
    for (char *p = list->text, *comma; p; p = comma ? comma + 1 : NULL) {
        comma = strchr(p, ',');
        if (comma) *comma = '\0';
        if (list->n == MAX_LIST)
            return usage_error(c, "--cpu %s: more than %d levels", text, MAX_LIST);
        list->v[list->n++] = p;
    }
    return PARSED;
}

/* ---- Jobs: what is measured, a row of the table each ---- */

typedef struct job {
    int32_t n_prompt, n_gen; /* one of them is 0    */
    int32_t n_depth;         /* of each sequence    */
    int32_t n_batch;         /* sequences           */
    int32_t n_threads;
    const char *cpu; /* NULL: the best, until the context says which that is */
} job;

/* All that a benchmark holds; freed at the end, however it ends. */
typedef struct bench {
    bench_options o;
    word_list cpus;
    slm_context_params params;
    slm_model *model;
    adapter_list adapters;
    slm_model_info info;
    job *jobs; /* [n_jobs] */
    int32_t n_jobs, n_jobs_done,
        n_runs_done;       /* runs: of the job at hand, with the one to warm up */
    double *runs, *sorted; /* [o.n_runs] tokens per second of the job at hand */
    /* what is computed */
    slm_token *ids; /* [n_ids] */
    int64_t n_ids;
    int32_t *sequences; /* [most sequences of a job] 0, 1, ... */
    uint8_t *wanted;    /* [most sequences of a job] ones      */
    /* the limits */
    work_amounts amounts;
    double read_rate[MAX_LIST], int8_rate[MAX_LIST]; /* by index in o.threads; 0: not measured  */
    /* what is shown */
    json j;
    progress_bar bar;
    char label[64];
    bool timing;
} bench;

static int32_t n_sequences(const job *j) { return j->n_prompt ? 1 : j->n_batch; }

/* Positions of one sequence at the end. */
static int64_t n_positions(const job *j) {
    return (int64_t)j->n_depth + (j->n_prompt ? j->n_prompt : j->n_gen);
}

static void add_job(bench *b, job j) {
    if (j.n_prompt > 0 || j.n_gen > 0) b->jobs[b->n_jobs++] = j;
}

/* The prompts and the generations of one instruction set, number of threads and depth. */
static void add_jobs(bench *b, job j) {
    const bench_options *o = &b->o;
    j.n_batch = 1;
    for (int32_t p = 0; p < o->prompt.n; p++) {
        j.n_prompt = o->prompt.v[p];
        add_job(b, j);
    }
    j.n_prompt = 0;
    for (int32_t n = 0; n < o->gen.n; n++) {
        for (int32_t s = 0; s < o->batch.n; s++) {
            j.n_gen = o->gen.v[n];
            j.n_batch = o->batch.v[s];
            add_job(b, j);
        }
    }
}

static int make_jobs(bench *b) {
    const bench_options *o = &b->o;
    int32_t n = b->cpus.n * o->threads.n * o->depth.n * (o->prompt.n + o->gen.n * o->batch.n);
    b->jobs = calloc((size_t)n, sizeof *b->jobs);
    if (!b->jobs) return fail("no memory for %" PRId32 " measurements", n);
    for (int32_t c = 0; c < b->cpus.n; c++)
        for (int32_t t = 0; t < o->threads.n; t++)
            for (int32_t d = 0; d < o->depth.n; d++)
                add_jobs(b, (job){.n_depth = o->depth.v[d],
                                  .n_threads = o->threads.v[t],
                                  .cpu = b->cpus.v[c]});
    return EXIT_DONE;
}

/* A context with exactly what the job needs. */
static slm_context_params params_of(const bench *b, const job *j) {
    slm_context_params p = b->params;
    int32_t n = j->n_prompt > j->n_depth ? j->n_prompt : j->n_depth;
    p.n_ctx = (int32_t)(n_positions(j) * n_sequences(j));
    p.n_batch = n < p.n_batch ? n : p.n_batch;
    if (p.n_batch < n_sequences(j)) p.n_batch = n_sequences(j);
    p.n_seq_max = p.n_logits = n_sequences(j);
    p.n_threads = j->n_threads;
    p.cpu = j->cpu;
    return p;
}

/* Before anything is measured: could each of them run, and is any longer than the model was trained for. */
static int check_jobs(const bench *b) {
    int64_t longest = 0;
    for (int32_t i = 0; i < b->n_jobs; i++) {
        const job *j = &b->jobs[i];
        int64_t n = n_positions(j) * n_sequences(j);
        if (n > MAX_POSITIONS)
            return fail("a context cannot have %" PRId64 " positions (-p, -n, -d, -b)", n);
        slm_context_params p = params_of(b, j);
        slm_error err;
        size_t n_bytes;
        if (slm_context_memory(b->model, &p, &n_bytes, &err) != SLM_OK)
            return fail_with("context", &err);
        longest = n_positions(j) > longest ? n_positions(j) : longest;
    }
    if (b->info.n_ctx_train > 0 && longest > b->info.n_ctx_train)
        warn("%" PRId64 " positions: the model was trained for %" PRId32, longest,
             b->info.n_ctx_train);
    return EXIT_DONE;
}

/* ---- Limits ---- */

static int32_t index_of(const int_list *list, int32_t value) {
    int32_t i = 0;
    while (list->v[i] != value) i++;
    return i;
}

/* Read bandwidth if something is generated, int8 rate if there is a prompt. */
static void measure_machine(bench *b) {
    const int_list *t = &b->o.threads;
    bool prompts = false, gens = false;
    for (int32_t i = 0; i < b->n_jobs; i++) {
        prompts |= b->jobs[i].n_prompt > 0;
        gens |= b->jobs[i].n_gen > 0;
    }
    for (int32_t i = 0; i < t->n && !interrupted(); i++) {
        if (index_of(t, t->v[i]) < i) continue;
        if (gens) b->read_rate[i] = machine_read_bandwidth(t->v[i]);
        if (prompts) b->int8_rate[i] = machine_int8_ops(t->v[i]);
    }
}

/* What a run at this speed took of the limit, 1 being all of it; 0 if it is not known. */
static double limit_share(const bench *b, const job *j, double tokens_per_second) {
    int32_t t = index_of(&b->o.threads, j->n_threads);
    double amount, rate;
    if (j->n_prompt) {
        amount = prompt_token_ops(&b->amounts, j->n_prompt);
        rate = b->int8_rate[t];
    } else {
        amount = step_token_bytes(&b->amounts, j->n_gen, j->n_depth, j->n_batch);
        rate = b->read_rate[t];
    }
    return rate > 0 ? amount * tokens_per_second / rate : 0;
}

/* ---- Output ---- */

static int put_title(const bench *b) {
    const double mib = 1 << 20;
    printf("%s: %s, %.1f million weights, %.1f MiB; KV cache %s\n", b->o.model,
           b->info.architecture, (double)b->info.n_params * 1e-6,
           (double)b->info.tensor_bytes / mib, kv_name(b->params.kv_type));
    for (int32_t i = 0; i < b->o.threads.n; i++) {
        int32_t n = b->o.threads.v[i];
        if (b->read_rate[i] == 0 && b->int8_rate[i] == 0) continue;
        printf("limit of %" PRId32 " thread%s:", n, n == 1 ? "" : "s");
        if (b->read_rate[i] > 0) printf(" memory read %.1f GB/s", b->read_rate[i] * 1e-9);
        if (b->read_rate[i] > 0 && b->int8_rate[i] > 0) putchar(',');
        if (b->int8_rate[i] > 0)
            printf(" int8 %.3f TOPS (%s)", b->int8_rate[i] * 1e-12, machine_int8_name());
        putchar('\n');
    }
    printf("\n%-16s %8s %6s %8s  %-11s %10s %10s %10s %9s\n", "work", "depth", "batch", "threads",
           "cpu", "tokens/s", "min", "max", "of limit");
    return finish_output();
}

static void put_row(const bench *b, const job *j, double median) {
    char work[24];
    snprintf(work, sizeof work, "%s %" PRId32, j->n_prompt ? "prompt" : "generate",
             j->n_prompt ? j->n_prompt : j->n_gen);
    printf("%-16s %8" PRId32 " %6" PRId32 " %8" PRId32 "  %-11s %10.2f %10.2f %10.2f", work,
           j->n_depth, j->n_batch, j->n_threads, j->cpu, median, b->sorted[0],
           b->sorted[b->o.n_runs - 1]);
    double share = limit_share(b, j, median);
    if (share > 0)
        printf(" %8.1f%%\n", share * 100);
    else
        printf(" %9s\n", "-");
}

/* An object a line, each complete at once, so that what is done can be read while the rest is still at work: the comma
 * comes with the next one. */
static void put_object(bench *b, const job *j, double median) {
    json *out = &b->j;
    double share = limit_share(b, j, median);
    fputs(out->comma ? "," : "[\n", stdout);
    out->comma = false;
    json_open(out, '{');
    json_named_int(out, "n_prompt", j->n_prompt);
    json_named_int(out, "n_gen", j->n_gen);
    json_named_int(out, "n_depth", j->n_depth);
    json_named_int(out, "n_batch", j->n_batch);
    json_named_int(out, "n_threads", j->n_threads);
    json_named_text(out, "cpu", j->cpu);
    json_named_text(out, "kv", kv_name(b->params.kv_type));
    json_named_double(out, "tokens_per_second", median);
    json_named_open(out, "runs", '[');
    for (int32_t i = 0; i < b->o.n_runs; i++) json_double(out, b->runs[i]);
    json_close(out, ']');
    json_name(out, "limit_share");
    if (share > 0)
        json_double(out, share);
    else
        json_text(out, NULL);
    json_close(out, '}');
    fputc('\n', stdout);
}

static int put_result(bench *b, const job *j) {
    int32_t n = b->o.n_runs;
    memcpy(b->sorted, b->runs, (size_t)n * sizeof *b->sorted);
    double median = median_of(b->sorted, n);
    if (b->o.json)
        put_object(b, j, median);
    else
        put_row(b, j, median);
    return finish_output();
}

/* ---- Measuring ---- */

/* The bar is not drawn while the clock runs: that would be measured as well. */
static bool show_progress(void *user, float done) {
    bench *b = user;
    (void)done;
    if (b->timing) return !interrupted();
    double runs = (double)b->n_runs_done / (b->o.n_runs + 1);
    return progress_update(&b->bar, (float)((b->n_jobs_done + runs) / b->n_jobs));
}

static void name_bar(bench *b, const job *j) {
    snprintf(b->label, sizeof b->label, "%s %" PRId32 ", depth %" PRId32 ", batch %" PRId32,
             j->n_prompt ? "prompt" : "generate", j->n_prompt ? j->n_prompt : j->n_gen, j->n_depth,
             j->n_batch);
    b->bar = (progress_bar){.label = b->label};
}

/* The positions before what is measured, of every sequence, a piece at a time; nobody wants their logits. */
static slm_status fill_depth(const bench *b, slm_context *ctx, const job *j, slm_error *err) {
    enum { PIECE = 256 };
    static const uint8_t none[PIECE];
    int32_t sequence[PIECE];
    slm_batch batch = {.size = sizeof batch, .sequences = sequence, .want_logits = none};
    for (int32_t s = 0; s < n_sequences(j); s++) {
        for (int32_t i = 0; i < PIECE; i++) sequence[i] = s;
        for (int32_t at = 0; at < j->n_depth; at += batch.n_tokens) {
            batch.tokens = b->ids + at;
            batch.n_tokens = j->n_depth - at < PIECE ? j->n_depth - at : PIECE;
            slm_status status = slm_decode(ctx, &batch, err);
            if (status != SLM_OK) return status;
        }
    }
    return SLM_OK;
}

/* What is measured: the prompt as one batch, or one token of each sequence after the other. */
static slm_status work_once(const bench *b, slm_context *ctx, const job *j, slm_error *err) {
    if (j->n_prompt) return slm_decode_tokens(ctx, b->ids, j->n_prompt, err);
    slm_batch batch = {.size = sizeof batch,
                       .n_tokens = j->n_batch,
                       .sequences = b->sequences,
                       .want_logits = b->wanted};
    for (int32_t i = 0; i < j->n_gen; i++) {
        batch.tokens = b->ids + (int64_t)i * j->n_batch;
        slm_status status = slm_decode(ctx, &batch, err);
        if (status != SLM_OK) return status;
    }
    return SLM_OK;
}

/* All runs of a job into b->runs; the first one only warms up. */
static slm_status run_job(bench *b, slm_context *ctx, const job *j, slm_error *err) {
    double n_tokens = j->n_prompt ? j->n_prompt : (double)j->n_gen * j->n_batch;
    slm_status status = fill_depth(b, ctx, j, err);
    for (int32_t run = -1; run < b->o.n_runs && status == SLM_OK; run++) {
        for (int32_t s = 0; s < n_sequences(j) && status == SLM_OK; s++)
            status = slm_seq_truncate(ctx, s, j->n_depth, err);
        if (status != SLM_OK) return status;
        b->n_runs_done = run + 1;
        show_progress(b, 0);
        b->timing = run >= 0;
        double begin = now();
        status = work_once(b, ctx, j, err);
        if (run >= 0) b->runs[run] = n_tokens / (now() - begin);
        b->timing = false;
    }
    return status;
}

static int measure_job(bench *b, job j) {
    slm_context_params params = params_of(b, &j);
    slm_context *ctx = NULL;
    slm_error err;
    b->n_runs_done = 0;
    name_bar(b, &j);
    int code = create_context(b->model, &params, &b->adapters, &ctx);
    if (code != EXIT_DONE) return code;
    j.cpu = slm_context_cpu(ctx);
    slm_status status = run_job(b, ctx, &j, &err);
    progress_end(&b->bar);
    code = status == SLM_OK ? put_result(b, &j) : fail_with("decode", &err);
    slm_context_free(ctx);
    return code;
}

/* ---- The whole ---- */

/* Zeros in -t become what a context makes of them: the machine is measured with as many threads. */
static int find_threads(bench *b) {
    slm_context_params params = b->params;
    slm_context *ctx = NULL;
    params.n_ctx = params.n_batch = 1;
    int code = create_context(b->model, &params, NULL, &ctx);
    if (code != EXIT_DONE) return code;
    for (int32_t i = 0; i < b->o.threads.n; i++)
        if (b->o.threads.v[i] == 0) b->o.threads.v[i] = slm_context_n_threads(ctx);
    slm_context_free(ctx);
    return EXIT_DONE;
}

/* The tokens and arrays of the largest job, and of all runs of one. */
static int make_room(bench *b) {
    int32_t most = 1;
    for (int32_t i = 0; i < b->n_jobs; i++) {
        const job *j = &b->jobs[i];
        int64_t n = j->n_prompt ? j->n_prompt : (int64_t)j->n_gen * j->n_batch;
        n = n > j->n_depth ? n : j->n_depth;
        b->n_ids = n > b->n_ids ? n : b->n_ids;
        most = n_sequences(j) > most ? n_sequences(j) : most;
    }
    b->ids = calloc((size_t)b->n_ids, sizeof *b->ids);
    b->sequences = calloc((size_t)most, sizeof *b->sequences);
    b->wanted = malloc((size_t)most);
    b->runs = calloc((size_t)b->o.n_runs, sizeof *b->runs);
    b->sorted = calloc((size_t)b->o.n_runs, sizeof *b->sorted);
    if (!b->ids || !b->sequences || !b->wanted || !b->runs || !b->sorted) return fail("no memory");
    for (int32_t s = 0; s < most; s++) b->sequences[s] = s;
    memset(b->wanted, 1, (size_t)most);
    return EXIT_DONE;
}

static int prepare(bench *b) {
    slm_error err;
    b->info.size = sizeof b->info;
    slm_model_get_info(b->model, &b->info); /* cannot fail: both pointers and the size are good */
    if (find_amounts(b->model, &b->params, &b->adapters, &b->amounts, &err) != SLM_OK)
        return fail_with("context", &err);
    int code = find_threads(b);
    if (code == EXIT_DONE) code = make_jobs(b);
    if (code == EXIT_DONE) code = check_jobs(b);
    if (code == EXIT_DONE) code = make_room(b);
    if (code != EXIT_DONE) return code;
    choose_tokens(b->ids, b->n_ids, b->info.n_vocab);
    return EXIT_DONE;
}

static int measure_all(bench *b) {
    int code = EXIT_DONE;
    b->j.out = stdout;
    b->params.progress = show_progress;
    b->params.progress_user = b;
    measure_machine(b);
    if (!b->o.json && !interrupted()) code = put_title(b);
    for (int32_t i = 0; i < b->n_jobs && code == EXIT_DONE; i++) {
        code = interrupted() ? EXIT_INTERRUPTED : measure_job(b, b->jobs[i]);
        b->n_jobs_done++;
    }
    if (b->o.json && (b->j.comma || code != EXIT_FAILED)) puts(b->j.comma ? "]" : "[]");
    return code;
}

static bool is_all_zero(const int_list *list) {
    for (int32_t i = 0; i < list->n; i++)
        if (list->v[i] != 0) return false;
    return true;
}

/* Each level of --cpu is checked; the first one stays. Returns PARSED, or the code to exit with. */
static int read_options(const command *self, int argc, char **argv, bench *b) {
    int code = parse_options(self, argc, argv, &b->o, NULL);
    if (code == PARSED) code = split_levels(self, b->o.compute.cpu, &b->cpus);
    for (int32_t i = b->cpus.n; i-- > 0 && code == PARSED;) {
        b->o.compute.cpu = b->cpus.v[i];
        code = compute_params(self, &b->o.compute, &b->params);
        b->params.keep_all = true; /* a text is made once and cut back for each run */
    }
    if (code != PARSED) return code;
    if (!b->o.model) return usage_error(self, "-m MODEL is missing");
    if (is_all_zero(&b->o.prompt) && is_all_zero(&b->o.gen))
        return usage_error(self, "-p 0 -n 0: nothing to measure");
    return PARSED;
}

static int run(const command *self, int argc, char **argv) {
    bench b = {.o = {.prompt = {{512}, 1},
                     .gen = {{128}, 1},
                     .depth = {{0}, 1},
                     .batch = {{1}, 1},
                     .threads = {{0}, 1},
                     .n_runs = 5}};
    int code = read_options(self, argc, argv, &b);
    if (code == PARSED) {
        catch_interrupt();
        code = open_model(b.o.model, OPEN_TO_RUN, &b.model);
        if (code == EXIT_DONE) code = open_adapters(b.model, &b.o.compute.lora, &b.adapters);
        if (code == EXIT_DONE) code = prepare(&b);
        if (code == EXIT_DONE) code = measure_all(&b);
    }
    close_adapters(&b.adapters);
    slm_model_close(b.model);
    free(b.cpus.text);
    free(b.jobs);
    free(b.ids);
    free(b.sequences);
    free(b.wanted);
    free(b.runs);
    free(b.sorted);
    return code;
}

const command bench_command = {
    .name = "bench",
    .arguments = "-m MODEL [options]",
    .summary = "measure how fast a model is, beside the limits of the machine",
    .details =
        "A LIST is one value or several with commas between them; all combinations are measured.\n"
        "Shown is the median of all runs, then the slowest and the fastest. The limit of a prompt "
        "is\n"
        "how fast the machine multiplies 8-bit integers, that of generation how fast it reads\n"
        "memory, both measured at the start.\n",
    .options = options,
    .run = run,
};
