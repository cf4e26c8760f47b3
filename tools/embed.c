/* slm embed: a vector for each text. Texts are computed together, in groups, and written as soon as their group is done. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"
#include "text.h"

typedef struct embed_options {
    const char *model, *pool, *file;
    bool json, similarity;
    compute_options compute;
} embed_options;

static const option options[] = {
    {"-m", "MODEL", OPT_TEXT, offsetof(embed_options, model), 0, 0, "GGUF file"},
    {"-f", "FILE", OPT_TEXT, offsetof(embed_options, file), 0, 0,
     "a text on each line; -: standard input"},
    {"--pool", "HOW", OPT_TEXT, offsetof(embed_options, pool), 0, 0,
     "mean of the states of all tokens, or that of the last (default: mean)"},
    {"--json", NULL, OPT_FLAG, offsetof(embed_options, json), 0, 0, "a JSON array a line"},
    {"--similarity", NULL, OPT_FLAG, offsetof(embed_options, similarity), 0, 0,
     "no vectors but the cosines between all of them, to look at"},
    COMPUTE_OPTIONS(embed_options, "what the longest text needs"),
    {0},
};

enum {
    MAX_GROUP = 32,    /* texts computed together                               */
    ENOUGH = 512,      /* tokens that are worth a group                         */
    GROUP_CTX = 1024,  /* positions for a group; longer texts are computed alone */
    MAX_SIMILAR = 256, /* texts that --similarity compares                      */
    MAX_SHOWN = 60,    /* characters of a text that it shows                    */
    LABEL = 4 * MAX_SHOWN + 16,
};

/* Of a text: what --similarity needs at the end. */
typedef struct similar {
    char *label; /* its first LABEL bytes at most */
    size_t n_label;
    float *vector; /* [n_embd] */
} similar;

typedef struct work {
    embed_options o;
    const char **operands; /* up to a NULL */
    line_reader lines;     /* if there are no operands */
    slm_model *model;
    adapter_list adapters;
    slm_context_params params;
    slm_context *ctx;
    size_t n_limit; /* tokens of a text, at most */
    size_t n_embd;
    slm_pooling pooling;
    slm_token eos; /* if the file says that it ends a text; else SLM_TOKEN_NONE */
    /* the group: tokens [n_ctx] of n_texts texts, and the sequence of each token */
    slm_token *tokens;
    int32_t *sequences;
    size_t n_tokens, n_texts;
    float *rows;   /* [MAX_GROUP, n_embd]               */
    size_t n_done; /* texts before the group            */
    progress_bar no_bar;
    similar *similar; /* [MAX_SIMILAR] with --similarity   */
} work;

/* ---- Output ---- */

/* "text 3" or "FILE, line 3" */
static const char *text_name(const work *w, size_t index, char *buffer, size_t capacity) {
    if (w->operands[0])
        snprintf(buffer, capacity, "text %zu", index + 1);
    else
        snprintf(buffer, capacity, "%s, line %zu", w->lines.name, index + 1);
    return buffer;
}

enum { NAME = 4200 };

static void put_plain(const float *row, size_t n) {
    for (size_t i = 0; i < n; i++) printf(i ? " %.9g" : "%.9g", (double)row[i]);
    putchar('\n');
}

static void put_json(const float *row, size_t n) {
    json j = {.out = stdout};
    json_open(&j, '[');
    for (size_t i = 0; i < n; i++) json_double(&j, row[i]);
    json_close(&j, ']');
    putchar('\n');
}

static int keep(work *w, size_t index, const float *row) {
    float *copy = malloc(w->n_embd * sizeof *copy);
    if (!copy) return fail("no memory");
    w->similar[index].vector = memcpy(copy, row, w->n_embd * sizeof *copy);
    return EXIT_DONE;
}

static int put_vector(work *w, const float *row) {
    size_t index = w->n_done++;
    if (w->o.similarity) return keep(w, index, row);
    (w->o.json ? put_json : put_plain)(row, w->n_embd);
    return EXIT_DONE;
}

/* Of vectors of length 1. */
static double cosine(const float *a, const float *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)a[i] * b[i];
    return sum;
}

static void put_similarity(const work *w) {
    printf("%4s", "");
    for (size_t j = 0; j < w->n_done; j++) printf(" %6zu", j + 1);
    putchar('\n');
    for (size_t i = 0; i < w->n_done; i++) {
        printf("%4zu", i + 1);
        for (size_t j = 0; j < w->n_done; j++)
            printf(" %6.3f", cosine(w->similar[i].vector, w->similar[j].vector, w->n_embd));
        fputs("  ", stdout);
        print_escaped(stdout, w->similar[i].label, w->similar[i].n_label, MAX_SHOWN);
        putchar('\n');
    }
}

/* ---- Computing ---- */

static bool is_zero(const float *row, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (row[i] != 0) return false;
    return true;
}

/* The vectors of n texts, sequences 0 .. n-1 of an empty context, which is empty afterwards. */
static int compute(work *w, slm_context *ctx, const slm_batch *batch, size_t n) {
    char name[NAME];
    slm_error err, ignored;
    slm_status status = slm_embed(ctx, batch, w->pooling, w->rows, &err);
    if (status != SLM_OK && status != SLM_ERR_NUMERIC) return fail_with("embed", &err);
    for (size_t i = 0; i < n; i++) {
        const float *row = w->rows + i * w->n_embd;
        if (is_zero(row, w->n_embd)) /* see slm_embed(): this one is not good */
            return fail_with(text_name(w, w->n_done, name, sizeof name), &err);
        int code = put_vector(w, row);
        if (code != EXIT_DONE) return code;
        slm_seq_truncate(ctx, (int32_t)i, 0, &ignored); /* cannot fail: it exists */
    }
    return finish_output();
}

static int compute_group(work *w) {
    if (w->n_texts == 0) return EXIT_DONE;
    slm_batch batch = {.size = sizeof batch,
                       .n_tokens = (int32_t)w->n_tokens,
                       .tokens = w->tokens,
                       .sequences = w->sequences};
    size_t n = w->n_texts;
    w->n_texts = w->n_tokens = 0;
    return compute(w, w->ctx, &batch, n);
}

/* A text that is too long for the group's context has one of its own, so that no vector depends on what other texts there are. */
static int compute_alone(work *w, const token_list *t) {
    slm_context *ctx;
    slm_context_params params = w->params;
    slm_batch batch = {.size = sizeof batch, .n_tokens = (int32_t)t->n, .tokens = t->ids};
    params.n_ctx = (int32_t)t->n;
    params.n_seq_max = 1;
    int code = create_context(w->model, &params, &w->adapters, &ctx);
    if (code == EXIT_DONE) code = compute(w, ctx, &batch, 1);
    slm_context_free(ctx);
    return code;
}

static int add_tokens(work *w, const token_list *t) {
    size_t n_ctx = (size_t)w->params.n_ctx;
    int code = EXIT_DONE;
    if (w->n_tokens + t->n > n_ctx) code = compute_group(w);
    if (code != EXIT_DONE) return code;
    if (t->n > n_ctx) return compute_alone(w, t);
    memcpy(w->tokens + w->n_tokens, t->ids, t->n * sizeof *t->ids);
    for (size_t i = 0; i < t->n; i++) w->sequences[w->n_tokens++] = (int32_t)w->n_texts;
    w->n_texts++;
    bool full = w->n_texts == (size_t)w->params.n_seq_max || w->n_tokens >= ENOUGH;
    return full ? compute_group(w) : EXIT_DONE;
}

/* ---- Texts ---- */

enum { WHY = sizeof((slm_error *)NULL)->message + 40 };

/* The text's tokens; false: `why` says what is wrong with it. */
static bool find_tokens(const work *w, const char *text, size_t n_bytes, token_list *t, char *why) {
    slm_error err;
    if (tokenize(w->model, text, n_bytes, SLM_TOKENIZE_BOS, t, &err) != SLM_OK) {
        snprintf(why, WHY, "%s (%s)", err.message, slm_status_name(err.status));
        return false;
    }
    if (n_bytes == 0 || t->n == 0) {
        snprintf(why, WHY, "empty, a text without tokens");
        return false;
    }
    if (w->eos != SLM_TOKEN_NONE) {
        slm_token *ids = realloc(t->ids, (t->n + 1) * sizeof *ids);
        if (!ids) {
            snprintf(why, WHY, "no memory for its tokens");
            return false;
        }
        t->ids = ids;
        ids[t->n++] = w->eos;
    }
    if (t->n > w->n_limit)
        snprintf(why, WHY, "%zu tokens, the context has %zu (-c)", t->n, w->n_limit);
    return t->n <= w->n_limit;
}

static int keep_label(work *w, const char *text, size_t n_bytes) {
    size_t index = w->n_done + w->n_texts;
    if (index >= MAX_SIMILAR) return fail("--similarity takes at most %d texts", MAX_SIMILAR);
    similar *s = &w->similar[index];
    s->n_label = n_bytes < LABEL ? n_bytes : LABEL;
    s->label = malloc(s->n_label + 1);
    if (!s->label) return fail("no memory");
    memcpy(s->label, text, s->n_label);
    return EXIT_DONE;
}

/* What comes before a text that is wrong is computed and written before the message. */
static int add_text(work *w, const char *text, size_t n_bytes) {
    char name[NAME], why[WHY];
    token_list t = {0};
    int code = w->o.similarity ? keep_label(w, text, n_bytes) : EXIT_DONE;
    if (code != EXIT_DONE) return code;
    text_name(w, w->n_done + w->n_texts, name, sizeof name);
    if (find_tokens(w, text, n_bytes, &t, why)) {
        code = add_tokens(w, &t);
    } else {
        code = compute_group(w);
        if (code == EXIT_DONE) code = fail("%s: %s", name, why);
    }
    free(t.ids);
    return code;
}

static line_status next_text(work *w, size_t index, bool wait, const char **text, size_t *n) {
    if (!w->operands[0]) return lines_next(&w->lines, wait, text, n);
    *text = w->operands[index];
    if (!*text) return LINE_NONE;
    *n = strlen(*text);
    return LINE_IS;
}

/* A group is not held back for texts that one would have to wait for. */
static int embed_all(work *w) {
    int code = EXIT_DONE;
    while (code == EXIT_DONE) {
        const char *text = NULL;
        size_t n = 0;
        switch (next_text(w, w->n_done + w->n_texts, w->n_texts == 0, &text, &n)) {
        case LINE_IS: code = add_text(w, text, n); break;
        case LINE_LATER: code = compute_group(w); break;
        case LINE_LONG: /* not asked for */
        case LINE_FAILED: return interrupted() ? EXIT_INTERRUPTED : EXIT_FAILED;
        case LINE_NONE:
            code = compute_group(w);
            if (code == EXIT_DONE && w->n_done == 0)
                code = fail("%s: no text in it", w->lines.name);
            if (code == EXIT_DONE && w->o.similarity) put_similarity(w);
            return code;
        }
    }
    return code;
}

/* ---- The whole ---- */

/* Does the file want its end-of-sequence token behind a text? Models that were trained to have their last state pooled do. */
static slm_token token_at_the_end(const slm_model *model) {
    char text[8] = "";
    size_t n = 0;
    int32_t key = slm_model_find_key(model, "tokenizer.ggml.add_eos_token");
    bool wanted = key >= 0 &&
                  slm_model_key_text(model, key, 0, text, sizeof text, &n, NULL) == SLM_OK &&
                  n == 4 && memcmp(text, "true", 4) == 0;
    return wanted ? slm_token_eos(model) : SLM_TOKEN_NONE;
}

static int prepare(work *w, size_t n_operands) {
    slm_model_info info = {.size = sizeof info};
    slm_model_get_info(w->model, &info); /* cannot fail: both pointers and the size are good */
    slm_context_params *p = &w->params;
    int32_t trained = info.n_ctx_train;
    w->n_limit = (size_t)(p->n_ctx > 0 ? p->n_ctx : trained);
    if (p->n_ctx == 0) p->n_ctx = trained < GROUP_CTX ? trained : GROUP_CTX;
    p->n_seq_max = n_operands > 0 && n_operands < MAX_GROUP ? (int32_t)n_operands : MAX_GROUP;
    p->progress =
        progress_update; /* how many texts are to come is not known: it only looks for Ctrl-C */
    p->progress_user = &w->no_bar;
    w->n_embd = (size_t)info.n_embd;
    w->eos = token_at_the_end(w->model);
    w->tokens = calloc((size_t)p->n_ctx, sizeof *w->tokens);
    w->sequences = calloc((size_t)p->n_ctx, sizeof *w->sequences);
    w->rows = calloc((size_t)p->n_seq_max * w->n_embd, sizeof *w->rows);
    w->similar = calloc(MAX_SIMILAR, sizeof *w->similar);
    if (!w->tokens || !w->sequences || !w->rows || !w->similar) return fail("no memory");
    return create_context(w->model, p, &w->adapters, &w->ctx);
}

static void clean_up(work *w) {
    lines_close(&w->lines);
    slm_context_free(w->ctx);
    close_adapters(&w->adapters);
    slm_model_close(w->model);
    for (size_t i = 0; w->similar && i < MAX_SIMILAR; i++) {
        free(w->similar[i].label);
        free(w->similar[i].vector);
    }
    free(w->similar);
    free(w->rows);
    free(w->tokens);
    free(w->sequences);
    free(w->operands);
}

static int run_all(work *w, size_t n_operands) {
    if (n_operands == 0 && !lines_open(&w->lines, w->o.file)) return EXIT_FAILED;
    int code = open_model(w->o.model, OPEN_TO_RUN, &w->model);
    if (code == EXIT_DONE) code = open_adapters(w->model, &w->o.compute.lora, &w->adapters);
    if (code == EXIT_DONE) code = prepare(w, n_operands);
    return code == EXIT_DONE ? embed_all(w) : code;
}

/* Returns PARSED, or the code to exit with. */
static int read_options(const command *self, int argc, char **argv, work *w) {
    static const char *const names[] = {[SLM_POOL_MEAN] = "mean", [SLM_POOL_LAST] = "last"};
    int code = parse_options(self, argc, argv, &w->o, w->operands);
    if (code == PARSED) code = compute_params(self, &w->o.compute, &w->params);
    if (code != PARSED) return code;
    if (!w->o.model) return usage_error(self, "-m MODEL is missing");
    if (w->o.file && w->operands[0]) return usage_error(self, "-f and TEXT exclude each other");
    if (w->o.json && w->o.similarity)
        return usage_error(self, "--json and --similarity exclude each other");
    for (int i = 0; w->o.pool && i < 2; i++) {
        if (strcmp(w->o.pool, names[i]) != 0) continue;
        w->pooling = (slm_pooling)i;
        return PARSED;
    }
    return w->o.pool ? usage_error(self, "--pool %s: expected mean or last", w->o.pool) : PARSED;
}

static int run(const command *self, int argc, char **argv) {
    work w = {.operands = calloc((size_t)argc + 1, sizeof *w.operands), .lines.fd = -1};
    size_t n_operands = 0;
    if (!w.operands) return fail("no memory");
    int code = read_options(self, argc, argv, &w);
    if (code == PARSED) {
        catch_interrupt();
        while (w.operands[n_operands]) n_operands++;
        code = run_all(&w, n_operands);
    }
    clean_up(&w);
    return code;
}

const command embed_command = {
    .name = "embed",
    .arguments = "-m MODEL [--pool mean|last] [--json] [--similarity] [-f FILE] [TEXT...]",
    .summary = "turn texts into vectors, or compare them",
    .details =
        "Each TEXT, or without one each line of FILE or of standard input, becomes a line of as\n"
        "many numbers as the model's states have, a vector of length 1. Lines are written as soon\n"
        "as there are no more texts to be had without waiting.\n",
    .options = options,
    .max_operands = INT32_MAX,
    .run = run,
};
