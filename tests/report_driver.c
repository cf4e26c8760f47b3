/* The reports of `slm compare` for test_report.py, of figures that it makes up:
 *
 *     report_driver text|html|markdown|json < figures > report
 *
 * Figures are words: numbers as scanf reads them ("nan", "inf" too), texts as their number of bytes, a colon and the bytes, "-1:" for
 * NULL; in the order in which this file reads them, which is that of comparison.h, counts of arrays before them.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../tools/comparison.h"

/* Of all texts and arrays that were read, to be freed. */
static struct {
    void **blocks;
    size_t n;
} kept;

static void *keep(size_t bytes) {
    void *block = calloc(1, bytes ? bytes : 1);
    kept.blocks = realloc(kept.blocks, (kept.n + 1) * sizeof *kept.blocks);
    if (!block || !kept.blocks) exit(2);
    return kept.blocks[kept.n++] = block;
}

static double number(void) {
    double value;
    if (scanf("%lf", &value) != 1) exit(3);
    return value;
}

static uint64_t whole(void) { return (uint64_t)number(); }

static char *text(void) {
    int n;
    if (scanf("%d", &n) != 1 || getchar() != ':') exit(4);
    if (n < 0) return NULL;
    char *s = keep((size_t)n + 1);
    if (fread(s, 1, (size_t)n, stdin) != (size_t)n) exit(5);
    return s;
}

static void short_text(char *to, size_t size) {
    char *s = text();
    snprintf(to, size, "%s", s ? s : "");
}

static estimate read_estimate(void) {
    estimate e = {.value = number()};
    e.error = number();
    return e;
}

static void read_subject(const comparison *c, subject *s) {
    s->path = text();
    short_text(s->type, sizeof s->type);
    s->file_bytes = whole();
    s->n_params = whole();
    s->tensor_bytes = whole();
    s->bits_per_weight = number();
    s->load_seconds = number();
    s->memory_bytes = whole();
    s->prefill = number();
    s->prefill_share = number();
    s->decode = number();
    s->decode_share = number();
    s->perplexity = read_estimate();
    for (int32_t t = 0; t < c->n_tasks; t++) {
        task_figures *f = &s->tasks[t];
        f->n_right = whole();
        f->accuracy = read_estimate();
        f->difference = read_estimate();
        f->low = number();
        f->high = number();
    }
}

static void read_groups(kl_group *groups, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        groups[i].label = text();
        groups[i].n = whole();
        groups[i].kl = number();
        groups[i].agreement = number();
    }
}

static void read_candidate(const comparison *c, candidate *k) {
    read_subject(c, &k->about);
    k->kl.mean = read_estimate();
    double *rest[] = {&k->kl.median, &k->kl.p90, &k->kl.p99, &k->kl.p999, &k->kl.max};
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) *rest[i] = number();
    k->dp_mean = read_estimate();
    k->dp_rms = read_estimate();
    k->agreement = read_estimate();
    k->ppl_ratio = read_estimate();
    read_groups(k->positions, c->n_positions);
    read_groups(k->kinds, c->n_kinds);
    if (number() != 0) {
        k->layer_error = keep((size_t)c->n_layer * sizeof(double));
        for (int32_t l = 0; l < c->n_layer; l++) k->layer_error[l] = number();
    }
    for (int32_t i = 0; i < c->n_departures; i++) {
        departure *d = &k->departures[i];
        d->prompt = text();
        d->shared = text();
        d->reference = text();
        d->candidate = text();
        d->n_shared = (int32_t)number();
        d->n_tokens = (int32_t)number();
    }
}

static void read_comparison(comparison *c) {
    c->program = text();
    c->machine = text();
    c->command = text();
    short_text(c->date, sizeof c->date);
    c->text = text();
    size_t *counts[] = {&c->n_tokens, &c->n_windows, &c->window, &c->n_scored};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) *counts[i] = (size_t)whole();
    int32_t *sizes[] = {&c->n_threads,    &c->n_layer, &c->n_positions, &c->n_kinds,
                        &c->n_departures, &c->n_tasks, &c->n_candidates};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) *sizes[i] = (int32_t)number();
    c->read_bandwidth = number();
    c->int8_ops = number();
    c->seconds = number();
    for (int32_t t = 0; t < c->n_tasks; t++) {
        c->task_names[t] = text();
        c->task_sizes[t] = (size_t)whole();
        c->task_guess[t] = number();
    }
    read_subject(c, &c->reference);
    c->candidates = keep((size_t)c->n_candidates * sizeof(candidate));
    for (int32_t i = 0; i < c->n_candidates; i++) read_candidate(c, &c->candidates[i]);
}

int main(int argc, char **argv) {
    static comparison c;
    const char *format = argc == 2 ? argv[1] : "";
    read_comparison(&c);
    if (!strcmp(format, "text"))
        write_comparison_text(&c, stdout);
    else if (!strcmp(format, "html"))
        write_comparison_html(&c, stdout);
    else if (!strcmp(format, "markdown"))
        write_comparison_markdown(&c, stdout);
    else if (!strcmp(format, "json"))
        write_comparison_json(&c, stdout);
    else
        return 1;
    for (size_t i = 0; i < kept.n; i++) free(kept.blocks[i]);
    free(kept.blocks);
    return ferror(stdout) || fflush(stdout) != 0;
}
