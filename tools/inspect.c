/* slm inspect: what is in a file, for people or as JSON. The file's own bytes are never trusted with the terminal: names
 * and strings go through print_escaped() or json_bytes(). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"
#include "text.h"

typedef struct inspect_options {
    bool json, tensors;
    int32_t elements;
    compute_options compute;
} inspect_options;

static const option options[] = {
    {"--json", NULL, OPT_FLAG, offsetof(inspect_options, json), 0, 0,
     "one JSON object, strings in full"},
    {"--tensors", NULL, OPT_FLAG, offsetof(inspect_options, tensors), 0, 0, "list each tensor too"},
    {"--elements", "N", OPT_INT, offsetof(inspect_options, elements), 0, INT32_MAX,
     "show the first N elements of an array (default 4)"},
    CONTEXT_OPTIONS(inspect_options, "4096"),
    {0},
};

/* Tensors of one type. */
typedef struct type_sum {
    const char *type;
    int32_t n_tensors;
    uint64_t n_params, n_bytes;
} type_sum;

enum { MAX_TYPES = 64 };

typedef struct inspection {
    inspect_options o;
    const char *path;
    slm_model *model;
    slm_model_info info;
    slm_error why_not; /* the model cannot be run; SLM_OK if it can */
    slm_context_params params;
    size_t context_bytes, position_bytes;
    type_sum types[MAX_TYPES];
    int32_t n_types;
    char *value; /* [capacity] text of the value at hand */
    size_t capacity;
} inspection;

/* ---- Finding out ---- */

/* A file that cannot be run can still be looked at, if its keys are sound and its vocabulary is, or if it has none. */
static int open_any(inspection *in) {
    slm_error err;
    slm_status status = try_open_model(in->path, OPEN_ALL, &in->model, &in->why_not);
    if (status == SLM_OK) return EXIT_DONE;
    if (status == SLM_ERR_CANCELLED || status == SLM_ERR_IO)
        return fail_to_open(in->path, &in->why_not);
    status = try_open_model(in->path, OPEN_VOCABULARY, &in->model, &err);
    if (status == SLM_OK) return EXIT_DONE;
    if (try_open_model(in->path, OPEN_KEYS, &in->model, NULL) == SLM_OK &&
        slm_model_find_key(in->model, "tokenizer.ggml.tokens") < 0)
        return EXIT_DONE;
    return fail_to_open(in->path, &err);
}

static uint64_t n_params(const slm_tensor_info *t) {
    uint64_t n = 1;
    for (int i = 0; i < 4; i++) n *= (uint64_t)t->dims[i];
    return n;
}

static void add_to_types(inspection *in, const slm_tensor_info *t) {
    int32_t i = 0;
    while (i < in->n_types && strcmp(in->types[i].type, t->type) != 0) i++;
    if (i == MAX_TYPES) return;
    if (i == in->n_types) in->types[in->n_types++].type = t->type;
    in->types[i].n_tensors++;
    in->types[i].n_params += n_params(t);
    in->types[i].n_bytes += t->n_bytes;
}

static slm_tensor_info tensor_at(const inspection *in, int32_t i) {
    slm_tensor_info t = {.size = sizeof t};
    slm_model_get_tensor(in->model, i, &t); /* cannot fail: i is below the number of tensors */
    return t;
}

static slm_key_info key_at(const inspection *in, int32_t i) {
    slm_key_info k = {.size = sizeof k};
    slm_model_get_key(in->model, i, &k); /* likewise */
    return k;
}

/* What a context takes, and what each position more adds. */
static int measure_context(inspection *in) {
    slm_error err;
    if (in->params.n_ctx == 0) in->params.n_ctx = default_n_ctx(in->model, 0);
    if (slm_context_memory(in->model, &in->params, &in->context_bytes, &err) != SLM_OK ||
        position_bytes(in->model, &in->params, &in->position_bytes, &err) != SLM_OK)
        return fail_with("context", &err);
    return EXIT_DONE;
}

/* Element `e` of key `i` in in->value; *n is its length. */
static int read_value(inspection *in, int32_t i, uint64_t e, size_t *n) {
    slm_error err;
    slm_status status = slm_model_key_text(in->model, i, e, in->value, in->capacity, n, &err);
    if (status == SLM_ERR_BUFFER) {
        char *more = realloc(in->value, *n);
        if (!more) return fail("no memory for a value of %zu bytes", *n);
        in->value = more;
        in->capacity = *n;
        status = slm_model_key_text(in->model, i, e, in->value, in->capacity, n, &err);
    }
    return status == SLM_OK ? EXIT_DONE : fail_with("value", &err);
}

static uint64_t n_shown(const inspection *in, const slm_key_info *k) {
    if (!k->element_type) return 1;
    return k->n_elements < (uint64_t)in->o.elements ? k->n_elements : (uint64_t)in->o.elements;
}

static bool is_string(const slm_key_info *k) {
    return strcmp(k->element_type ? k->element_type : k->type, "string") == 0;
}

static double bits(uint64_t n_bytes, uint64_t n) {
    return n ? 8.0 * (double)n_bytes / (double)n : 0;
}

/* ---- For people ---- */

static void print_padded(const char *text, size_t width) {
    size_t n = print_escaped(stdout, text, strlen(text), SIZE_MAX);
    printf("%*s", n < width ? (int)(width - n) : 0, "");
}

static double mib(uint64_t n_bytes) { return (double)n_bytes / (1 << 20); }

static void print_head(const inspection *in) {
    const slm_model_info *m = &in->info;
    print_escaped(stdout, in->path, strlen(in->path), SIZE_MAX);
    printf(": GGUF version %" PRIu32 ", %" PRIu64 " bytes (%.1f MiB)\n\n", m->gguf_version,
           m->file_bytes, mib(m->file_bytes));
    fputs("architecture  ", stdout);
    print_escaped(stdout, m->architecture, strlen(m->architecture), 60);
    printf("\nparameters    %" PRIu64 " in %" PRId32 " tensors, %.1f MiB, %.2f bits each\n",
           m->n_params, slm_model_n_tensors(in->model), mib(m->tensor_bytes),
           bits(m->tensor_bytes, m->n_params));
    printf("vocabulary    %" PRId32 " tokens\n", m->n_vocab);
    if (!m->has_weights) {
        printf("not runnable  %s\n", in->why_not.message);
        return;
    }
    printf("layers        %" PRId32 "\n", m->n_layer);
    printf("embedding     %" PRId32 ", feed-forward %" PRId32 "\n", m->n_embd, m->n_ff);
    printf("heads         %" PRId32 ", %" PRId32 " of keys and values\n", m->n_head, m->n_head_kv);
    printf("trained for   %" PRId32 " positions\n", m->n_ctx_train);
    printf(
        "context       %" PRId32 " positions take %.1f MiB, each %zu bytes of it (KV cache %s)\n",
        in->params.n_ctx, mib(in->context_bytes), in->position_bytes, kv_name(in->params.kv_type));
}

static void print_types(const inspection *in) {
    if (in->n_types == 0) return;
    printf("\n%-8s %8s %14s %14s %12s\n", "type", "tensors", "parameters", "bytes", "bits/weight");
    for (int32_t i = 0; i < in->n_types; i++) {
        const type_sum *t = &in->types[i];
        printf("%-8s %8" PRId32 " %14" PRIu64 " %14" PRIu64 " %12.3f\n", t->type, t->n_tensors,
               t->n_params, t->n_bytes, bits(t->n_bytes, t->n_params));
    }
}

/* Strings are cut so that a key stays on a line or two. */
static int print_values(inspection *in, int32_t i, const slm_key_info *k) {
    uint64_t shown = n_shown(in, k);
    for (uint64_t e = 0; e < shown; e++) {
        size_t n;
        int code = read_value(in, i, e, &n);
        if (code != EXIT_DONE) return code;
        if (e > 0) fputs(", ", stdout);
        if (is_string(k)) putchar('"');
        print_escaped(stdout, in->value, n, k->element_type ? 24 : 60);
        if (is_string(k)) putchar('"');
    }
    if (shown < k->n_elements) fputs(shown ? ", ..." : "...", stdout);
    return EXIT_DONE;
}

static int print_keys(inspection *in) {
    int code = EXIT_DONE;
    printf("\n%-40s %-14s %s\n", "key", "type", "value");
    for (int32_t i = 0; i < slm_model_n_keys(in->model) && code == EXIT_DONE; i++) {
        slm_key_info k = key_at(in, i);
        char type[64];
        snprintf(type, sizeof type, k.element_type ? "%s[%" PRIu64 "]" : "%s",
                 k.element_type ? k.element_type : k.type, k.n_elements);
        print_padded(k.name, 40);
        printf(" %-14s ", type);
        code = print_values(in, i, &k);
        putchar('\n');
    }
    return code;
}

static void print_tensors(const inspection *in) {
    printf("\n%-32s %-8s %14s  %s\n", "tensor", "type", "bytes", "shape");
    for (int32_t i = 0; i < slm_model_n_tensors(in->model); i++) {
        slm_tensor_info t = tensor_at(in, i);
        print_padded(t.name, 32);
        printf(" %-8s %14" PRIu64 "  ", t.type, t.n_bytes);
        for (int32_t d = 0; d < t.n_dims; d++) printf(d ? " x %" PRId64 : "%" PRId64, t.dims[d]);
        putchar('\n');
    }
}

static int print_all(inspection *in) {
    print_head(in);
    print_types(in);
    int code = print_keys(in);
    if (code == EXIT_DONE && in->o.tensors) print_tensors(in);
    return code;
}

/* ---- JSON ---- */

static void json_head(const inspection *in, json *j) {
    const slm_model_info *m = &in->info;
    json_named_text(j, "file", in->path);
    json_named_u64(j, "file_bytes", m->file_bytes);
    json_named_u64(j, "gguf_version", m->gguf_version);
    json_named_text(j, "architecture", m->architecture);
    json_named_text(j, "not_runnable", m->has_weights ? NULL : in->why_not.message);
    json_named_int(j, "n_vocab", m->n_vocab);
    json_named_u64(j, "n_params", m->n_params);
    json_named_u64(j, "tensor_bytes", m->tensor_bytes);
    json_named_int(j, "n_tensors", slm_model_n_tensors(in->model));
    if (!m->has_weights) return;
    json_named_int(j, "n_layer", m->n_layer);
    json_named_int(j, "n_embd", m->n_embd);
    json_named_int(j, "n_ff", m->n_ff);
    json_named_int(j, "n_head", m->n_head);
    json_named_int(j, "n_head_kv", m->n_head_kv);
    json_named_int(j, "n_ctx_train", m->n_ctx_train);
    json_named_open(j, "context", '{');
    json_named_int(j, "n_ctx", in->params.n_ctx);
    json_named_text(j, "kv", kv_name(in->params.kv_type));
    json_named_u64(j, "bytes", in->context_bytes);
    json_named_u64(j, "bytes_per_position", in->position_bytes);
    json_close(j, '}');
}

static void json_types(const inspection *in, json *j) {
    json_named_open(j, "types", '[');
    for (int32_t i = 0; i < in->n_types; i++) {
        const type_sum *t = &in->types[i];
        json_open(j, '{');
        json_named_text(j, "type", t->type);
        json_named_int(j, "n_tensors", t->n_tensors);
        json_named_u64(j, "n_params", t->n_params);
        json_named_u64(j, "bytes", t->n_bytes);
        json_named_double(j, "bits_per_weight", bits(t->n_bytes, t->n_params));
        json_close(j, '}');
    }
    json_close(j, ']');
}

static int json_value(inspection *in, json *j, int32_t i, const slm_key_info *k, uint64_t e) {
    size_t n;
    int code = read_value(in, i, e, &n);
    if (code != EXIT_DONE) return code;
    const char *type = k->element_type ? k->element_type : k->type;
    if (is_string(k))
        json_bytes(j, in->value, n);
    else if (strcmp(type, "bool") == 0)
        json_bool(j, n == 4); /* "true" */
    else
        json_number(j, in->value, n);
    return EXIT_DONE;
}

/* A list and not an object: a file may hold any bytes as names, and JSON's must differ. */
static int json_keys(inspection *in, json *j) {
    int code = EXIT_DONE;
    json_named_open(j, "keys", '[');
    for (int32_t i = 0; i < slm_model_n_keys(in->model) && code == EXIT_DONE; i++) {
        slm_key_info k = key_at(in, i);
        json_open(j, '{');
        json_named_text(j, "name", k.name);
        json_named_text(j, "type", k.type);
        if (k.element_type) {
            json_named_text(j, "element_type", k.element_type);
            json_named_u64(j, "n", k.n_elements);
            json_named_open(j, "first", '[');
            for (uint64_t e = 0; e < n_shown(in, &k) && code == EXIT_DONE; e++)
                code = json_value(in, j, i, &k, e);
            json_close(j, ']');
        } else {
            json_name(j, "value");
            code = json_value(in, j, i, &k, 0);
        }
        json_close(j, '}');
    }
    json_close(j, ']');
    return code;
}

static void json_tensors(const inspection *in, json *j) {
    json_named_open(j, "tensors", '[');
    for (int32_t i = 0; i < slm_model_n_tensors(in->model); i++) {
        slm_tensor_info t = tensor_at(in, i);
        json_open(j, '{');
        json_named_text(j, "name", t.name);
        json_named_text(j, "type", t.type);
        json_named_open(j, "shape", '[');
        for (int32_t d = 0; d < t.n_dims; d++) json_int(j, t.dims[d]);
        json_close(j, ']');
        json_named_u64(j, "bytes", t.n_bytes);
        json_close(j, '}');
    }
    json_close(j, ']');
}

static int json_all(inspection *in) {
    json j = {.out = stdout};
    json_open(&j, '{');
    json_head(in, &j);
    json_types(in, &j);
    int code = json_keys(in, &j);
    if (code == EXIT_DONE && in->o.tensors) json_tensors(in, &j);
    json_close(&j, '}');
    putchar('\n');
    return code;
}

/* ---- The whole ---- */

static int inspect(inspection *in) {
    int code = open_any(in);
    if (code != EXIT_DONE) return code;
    in->info.size = sizeof in->info;
    slm_model_get_info(in->model, &in->info); /* cannot fail: both pointers and the size are good */
    for (int32_t i = 0; i < slm_model_n_tensors(in->model); i++) {
        slm_tensor_info t = tensor_at(in, i);
        add_to_types(in, &t);
    }
    if (in->info.has_weights) code = measure_context(in);
    if (code != EXIT_DONE) return code;
    return in->o.json ? json_all(in) : print_all(in);
}

static int run(const command *self, int argc, char **argv) {
    inspection in = {.o = {.elements = 4}};
    int code = parse_options(self, argc, argv, &in.o, &in.path);
    if (code == PARSED) code = compute_params(self, &in.o.compute, &in.params);
    if (code != PARSED) return code;
    if (!in.path) return usage_error(self, "MODEL is missing");
    code = inspect(&in);
    slm_model_close(in.model);
    free(in.value);
    return code;
}

const command inspect_command = {
    .name = "inspect",
    .arguments = "MODEL [options]",
    .summary = "show what is in a file, and the memory that it takes to run it",
    .details = "Works on files that hold a vocabulary and no weights, too.\n",
    .options = options,
    .max_operands = 1,
    .run = run,
};
