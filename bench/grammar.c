/* What a grammar costs, on a real vocabulary:
 *
 *     build/bench/grammar MODEL [GRAMMAR.gbnf TEXT]
 *
 * For each grammar: reading and compiling it, binding it to the model's tokens (the first time with sorting the vocabulary, which the model keeps), and then for
 * each token of texts that fit it what mask and accept take together: the median, the 99th percentile and the most. "new": each text with a
 * matcher of its own; "kept": one matcher for all, as a batch of documents has it. The texts are tokenized as they are. Times are those of the processor,
 * so another program on the machine does not count. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../include/slm.h"

enum { MAX_TOKENS = 1 << 16, ROUNDS = 20 };

#define STRING   "\"\\\"\" ([^\"\\\\\\x00-\\x1f] | \"\\\\\" [\"\\\\bfnrt])"
#define JSON_END " \"\\\"\""

static const struct {
    const char *name, *gbnf;
    const char *texts[4];
} cases[] = {
    {"any JSON",
     "root ::= ws value\n"
     "value ::= (object | array | string | number | \"true\" | \"false\" | \"null\") ws\n"
     "object ::= \"{\" ws (string ws \":\" ws value (\",\" ws string ws \":\" ws value)*)? \"}\"\n"
     "array ::= \"[\" ws (value (\",\" ws value)*)? \"]\"\n"
     "string ::= " STRING "*" JSON_END "\n"
     "number ::= \"-\"? (\"0\" | [1-9] [0-9]{0,15}) (\".\" [0-9]+)? ([eE] [-+]? [0-9]{1,3})?\n"
     "ws ::= [ \\n\\t]*\n",
     {"{\"id\": 17, \"name\": \"Anna Maria Keller\", \"tags\": [\"new\", \"checked\", \"on "
      "hold\"], \"address\": {\"street\": "
      "\"12 Long Lane\", \"city\": \"Bern\", \"codes\": [1, 2.5, -3e10, true, null]}}",
      "[{\"a\": {\"b\": {\"c\": [[[\"deep\"]], {\"d\": false}]}}}, \"text with \\\"quotes\\\" and "
      "\\\\ in it\", 0.125]"}},
    {"a record",
     "root ::= \"{\\\"patient\\\": \" short \", \\\"age\\\": \" [0-9]{1,3} \", \\\"sex\\\": \" sex "
     "\", \\\"date\\\": \" date \", "
     "\\\"diagnosis\\\": \" long \", \\\"medication\\\": \" list \", \\\"follow_up\\\": \" "
     "(\"true\" | \"false\") \"}\"\n"
     "short ::= " STRING "{1,40}" JSON_END "\n"
     "long ::= " STRING "{0,400}" JSON_END "\n"
     "sex ::= \"\\\"female\\\"\" | \"\\\"male\\\"\" | \"\\\"other\\\"\" | \"null\"\n"
     "date ::= \"\\\"\" [0-9]{4} \"-\" [01] [0-9] \"-\" [0-3] [0-9] \"\\\"\"\n"
     "list ::= \"[\" (drug (\", \" drug){0,19})? \"]\"\n"
     "drug ::= \"{\\\"name\\\": \" short \", \\\"dose\\\": \" short \"}\"\n",
     {"{\"patient\": \"Jane Roe\", \"age\": 57, \"sex\": \"female\", \"date\": \"2024-03-11\", "
      "\"diagnosis\": \"Community-acquired "
      "pneumonia of the left lower lobe, improving on oral antibiotics.\", \"medication\": "
      "[{\"name\": \"Amoxicillin\", \"dose\": "
      "\"500 mg three times a day\"}, {\"name\": \"Paracetamol\", \"dose\": \"as needed\"}], "
      "\"follow_up\": true}",
      "{\"patient\": \"J. Doe\", \"age\": 8, \"sex\": null, \"date\": \"2023-12-01\", "
      "\"diagnosis\": \"\", \"medication\": [], "
      "\"follow_up\": false}"}},
    {"short texts",
     "root ::= (\"- \" [^\\n]{1,12} \"\\n\"){1,200}\n",
     {"- apples\n- pears\n- bread rolls\n- milk\n- coffee\n- soap\n- three eggs\n- a candle\n- "
      "flour\n- green tea\n"}},
    {"words",
     "root ::= [a-z]+ (\" \" [a-z]+)* \".\"\n",
     {"the quick brown fox jumps over the lazy dog and then runs away from it."}},
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + 1e-3 * (double)t.tv_nsec;
}

static void check(slm_status s, const slm_error *err) {
    if (s == SLM_OK) return;
    fprintf(stderr, "%s\n", err->message);
    exit(1);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct times {
    double us[MAX_TOKENS];
    int n;
} times;

static void show(const char *what, times *t) {
    qsort(t->us, (size_t)t->n, sizeof *t->us, ascending);
    printf("  %-5s %6d tokens: median %7.1f us, p99 %7.1f, most %8.1f\n", what, t->n,
           t->us[t->n / 2], t->us[t->n * 99 / 100], t->us[t->n - 1]);
}

static void follow(const slm_model *model, slm_matcher *m, const char *text, times *t) {
    static slm_token tokens[MAX_TOKENS];
    size_t n;
    slm_error err;
    check(slm_tokenize(model, text, strlen(text), 0, tokens, MAX_TOKENS, &n, &err), &err);
    for (size_t i = 0; i < n && t->n < MAX_TOKENS; i++) {
        const uint64_t *mask;
        double begin = now();
        check(slm_matcher_mask(m, &mask, &err), &err);
        check(slm_matcher_accept(m, tokens[i], &err), &err);
        t->us[t->n++] = now() - begin;
    }
}

static void run(const slm_model *model, const char *name, const char *gbnf,
                const char *const *texts, int n_texts) {
    slm_error err;
    slm_grammar *g;
    slm_constraint *c;
    slm_matcher *kept, *fresh;
    static times t;
    double begin = now();
    check(slm_grammar_parse(gbnf, strlen(gbnf), NULL, &g, &err), &err);
    double parsed = now();
    check(slm_constraint_create(g, model, NULL, &c, &err), &err);
    double bound = now();
    printf("%s\n  read and compiled in %.2f ms, bound in %.2f ms\n", name, (parsed - begin) * 1e-3,
           (bound - parsed) * 1e-3);
    check(slm_matcher_create(c, NULL, &kept, &err), &err);
    for (int keep = 0; keep < 2; keep++) {
        t.n = 0;
        for (int round = 0; round < ROUNDS; round++) {
            for (int i = 0; i < n_texts && texts[i]; i++) {
                check(slm_matcher_create(c, NULL, &fresh, &err), &err);
                if (keep) slm_matcher_reset(kept);
                follow(model, keep ? kept : fresh, texts[i], &t);
                slm_matcher_free(fresh);
            }
        }
        show(keep ? "kept" : "new", &t);
    }
    slm_matcher_free(kept);
    slm_constraint_free(c);
    slm_grammar_free(g);
}

static char *read_file(const char *path) {
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, 1 << 20);
    if (!f || !text || fread(text, 1, (1 << 20) - 1, f) == 0) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(1);
    }
    fclose(f);
    return text;
}

int main(int argc, char **argv) {
    slm_model_params p = slm_model_defaults();
    slm_model *model;
    slm_error err;
    if (argc != 2 && argc != 4) {
        fprintf(stderr, "usage: %s MODEL [GRAMMAR.gbnf TEXT]\n", argv[0]);
        return 2;
    }
    p.vocab_only = true;
    check(slm_model_open(argv[1], &p, &model, &err), &err);
    if (argc == 4) {
        char *gbnf = read_file(argv[2]), *text = read_file(argv[3]);
        run(model, argv[2], gbnf, (const char *const[]){text}, 1);
        free(gbnf);
        free(text);
    }
    for (size_t i = 0; argc == 2 && i < sizeof cases / sizeof *cases; i++)
        run(model, cases[i].name, cases[i].gbnf, cases[i].texts, 4);
    slm_model_close(model);
    return 0;
}
