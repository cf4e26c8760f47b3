/* Schemas, texts and generated texts for test_schema_suite.py and its like. A request is a line and, where it says so, that many bytes:
 *
 *     schema OPEN SPACING BYTES    -> "SLM_OK" or status and message
 *     gbnf BYTES                   -> the same, of a grammar
 *     fits BYTES                   -> 1 or 0: does the schema's grammar, or that of "gbnf", fit the text, by the engine; ff and 4 bytes
 *                                     are a token by its number, see grammar_run.h
 *     accepts BYTES                -> 1 or 0: does the grammar fit the text? Twice: by its definition, and by the engine
 *     generate SEED COUNT WANTED   -> COUNT times: the number of bytes, a line end, the text, a line end
 *     write SEED COUNT WANTED      -> the same of texts that a vocabulary writes by its masks (support/mask_walk.h); -1 bytes: it did not end
 */
#include <stdio.h>
#include <stdlib.h>

#include "../libslm/schema_impl.h"
#include "support/draft_walk.h"
#include "support/grammar_run.h"
#include "support/mask_walk.h"

#define VOCABULARY "tests/data/tok/gpt-2.gguf"

static slm__schema schema;
static slm_schema_params params;
static bool begun;
static slm_grammar *grammar;
static grammar_run *run;
static slm_model *model;
static mask_walk *walk;

static char *read_bytes(size_t n) {
    char *bytes = malloc(n + 1);
    if (!bytes || fread(bytes, 1, n, stdin) != n) exit(1);
    return bytes;
}

static void end_schema(void) {
    if (begun) slm__schema_end(&schema);
    if (run) gr_free(run);
    if (walk) mw_free(walk);
    slm_grammar_free(grammar);
    begun = false;
    run = NULL;
    walk = NULL;
    grammar = NULL;
}

static void read_schema(int open, int spacing, size_t n) {
    slm_error err;
    char *text = read_bytes(n);
    end_schema();
    params = slm_schema_defaults();
    params.open = open;
    params.spacing = (slm_spacing)spacing;
    slm_status status = slm__schema_begin(&schema, text, n, &params, &err);
    begun = status == SLM_OK;
    if (begun && !slm__schema_draft(&schema)) status = schema.status;
    if (status == SLM_OK) status = slm_grammar_from_schema(text, n, &params, &grammar, &err);
    if (status == SLM_OK) run = gr_new(grammar);
    printf("%s %s\n", slm_status_name(status), status == SLM_OK ? "" : err.message);
    free(text);
}

static void read_gbnf(size_t n) {
    slm_error err;
    char *text = read_bytes(n);
    end_schema();
    slm_status status = slm_grammar_parse(text, n, NULL, &grammar, &err);
    if (status == SLM_OK) run = gr_new(grammar);
    printf("%s %s\n", slm_status_name(status), status == SLM_OK ? "" : err.message);
    free(text);
}

static void generate(unsigned long seed, unsigned long count, size_t wanted) {
    dw_text t = {0};
    for (unsigned long i = 0; i < count; i++) {
        dw_generate(&schema.draft, schema.conjunctions[0].rule, (seed + i) * 7919,
                    wanted * (i % 5) / 4, &t);
        printf("%zu\n", t.n);
        fwrite(t.bytes, 1, t.n, stdout);
        putchar('\n');
    }
    free(t.bytes);
}

static void write_by_masks(unsigned long seed, unsigned long count, size_t wanted) {
    slm_model_params p = slm_model_defaults();
    p.vocab_only = true;
    if (!model && slm_model_open(VOCABULARY, &p, &model, NULL) != SLM_OK) exit(1);
    if (!walk) walk = mw_new(model, grammar);
    for (unsigned long i = 0; i < count; i++) {
        size_t n;
        const char *text = mw_generate(walk, (seed + i) * 7919, wanted * (i % 5) / 4, &n);
        if (text) {
            printf("%zu\n", n);
            fwrite(text, 1, n, stdout);
        } else {
            printf("-1\n");
        }
        putchar('\n');
    }
}

int main(void) {
    char line[200];
    while (fgets(line, sizeof line, stdin)) {
        int open, spacing;
        size_t n;
        unsigned long seed, count;
        if (sscanf(line, "schema %d %d %zu", &open, &spacing, &n) == 3) {
            read_schema(open, spacing, n);
        } else if (sscanf(line, "gbnf %zu", &n) == 1) {
            read_gbnf(n);
        } else if (sscanf(line, "fits %zu", &n) == 1) {
            char *text = read_bytes(n);
            printf("%d\n", gr_accepts_tokens(run, text, n));
            free(text);
        } else if (sscanf(line, "accepts %zu", &n) == 1) {
            char *text = read_bytes(n);
            printf("%d %d\n", dw_accepts(&schema.draft, schema.conjunctions[0].rule, text, n),
                   gr_accepts(run, text, n));
            free(text);
        } else if (sscanf(line, "generate %lu %lu %zu", &seed, &count, &n) == 3) {
            generate(seed, count, n);
        } else if (sscanf(line, "write %lu %lu %zu", &seed, &count, &n) == 3) {
            write_by_masks(seed, count, n);
        } else {
            return 1;
        }
        fflush(stdout);
    }
    end_schema();
    slm_model_close(model);
    return 0;
}
