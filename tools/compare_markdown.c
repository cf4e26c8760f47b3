/* The comparison as Markdown (CommonMark, and the tables of GitHub's). */
#include <ctype.h>
#include <math.h>
#include <string.h>

#include "compare_tables.h"
#include "text.h"

/* ---- Text that means nothing to Markdown, in one line ---- */

static bool is_special(const char *begin, const char *s) {
    if (*s == '_') /* inside of a word it is no emphasis */
        return s == begin || !isalnum((unsigned char)s[-1]) || !isalnum((unsigned char)s[1]);
    return *s && strchr("\\`*[]<>|&#~$", *s);
}

static void write_text(FILE *out, const char *s) {
    const char *begin = s ? s : "";
    size_t n = strlen(begin);
    for (s = begin; n > 0;) {
        uint32_t code = 0;
        size_t length = utf8_visible(s, n, &code);
        if (code == '\n' || code == '\t') {
            fputc(' ', out);
        } else if (code == 0xfffd) {
            fputs("\xef\xbf\xbd", out);
        } else {
            if (is_special(begin, s)) fputc('\\', out);
            fwrite(s, 1, length, out);
        }
        s += length;
        n -= length;
    }
}

/* A block of code, its fence longer than all runs of backticks in it. */
static void write_block(FILE *out, const char *s) {
    size_t fence = 3, run = 0;
    for (const char *p = s; *p; p++) {
        run = *p == '`' ? run + 1 : 0;
        if (run >= fence) fence = run + 1;
    }
    for (size_t i = 0; i < fence; i++) fputc('`', out);
    fputc('\n', out);
    for (size_t n = strlen(s); n > 0;) {
        uint32_t code = 0;
        size_t length = utf8_visible(s, n, &code);
        if (code == 0xfffd)
            fputs("\xef\xbf\xbd", out);
        else
            fwrite(s, 1, length, out);
        s += length;
        n -= length;
    }
    fputc('\n', out);
    for (size_t i = 0; i < fence; i++) fputc('`', out);
    fputs("\n\n", out);
}

/* ---- Tables ---- */

typedef struct writer {
    const comparison *c;
    FILE *out;
    naming by;
} writer;

static void write_name(const writer *w, int32_t i) {
    write_text(w->out, subject_name(w->c, &w->by, i, 28).s);
}

/* A row's head, left; then cells, right. */
static void begin_row(const writer *w, int32_t i) {
    fputs("| ", w->out);
    write_name(w, i);
    fputs(" |", w->out);
}

static void write_cell(const writer *w, const char *text) {
    fputc(' ', w->out);
    write_text(w->out, text);
    fputs(" |", w->out);
}

static void write_rule(const writer *w, size_t n_columns) {
    fputs("\n|---|", w->out);
    for (size_t i = 0; i < n_columns; i++) fputs("---:|", w->out);
    fputc('\n', w->out);
}

static void write_table(const writer *w, const table *t) {
    fprintf(w->out, "## %s\n\n%s\n\n| file |", t->title, t->note);
    for (size_t k = 0; k < t->n_columns; k++) write_cell(w, t->columns[k].head);
    write_rule(w, t->n_columns);
    for (int32_t i = -1; i < w->c->n_candidates; i++) {
        const candidate *one = i < 0 ? NULL : &w->c->candidates[i];
        begin_row(w, i);
        for (size_t k = 0; k < t->n_columns; k++)
            write_cell(w, t->columns[k].show(w->c, comparison_subject(w->c, i), one).s);
        fputc('\n', w->out);
    }
    fputc('\n', w->out);
}

static void write_answer(const writer *w, const candidate *k) {
    answer a = claim_answer(w->c, k);
    bool four = is_four_bits(&k->about);
    if (!a.any) return;
    fputs(four ? "**4 bits (" : "**", w->out);
    write_name(w, (int32_t)(k - w->c->candidates));
    fprintf(w->out, "%s: %s** than the reference", four ? ")" : "", a.size.s);
    if (a.halved.s[0]) fprintf(w->out, " (**%s** smaller than 16 bits per weight)", a.halved.s);
    fprintf(w->out, ", the same first choice at **%s** of the positions, perplexity **%s**",
            a.choice.s, a.ratio.s);
    if (a.tasks.s[0]) fprintf(w->out, ", **%s** of the right answers", a.tasks.s);
    fputs(four ? ".\n\n" : ". (No file of 4 bits was compared; this is the smallest.)\n\n", w->out);
}

static void write_claims(const writer *w) {
    const comparison *c = w->c;
    const candidate *best = claim_candidate(c);
    if (!best) return;
    size_t n = 0;
    write_answer(w, best);
    fputs("| file |", w->out);
    for (size_t i = 0; i < N_CLAIMS; i++) {
        if (!claims[i].asked(c)) continue;
        fprintf(w->out, " %s | \xe2\x89\xa5 %s? |", claims[i].head,
                figure_percent(claims[i].demanded, 0).s);
        n++;
    }
    write_rule(w, 2 * n);
    for (int32_t i = 0; i < c->n_candidates; i++) {
        begin_row(w, i);
        for (size_t q = 0; q < N_CLAIMS; q++) {
            if (!claims[q].asked(c)) continue;
            kept_share kept = claims[q].kept(c, &c->candidates[i]);
            write_cell(w, claim_figure(kept).s);
            write_cell(w, verdict_names[claim_verdict(&claims[q], kept)]);
        }
        fputc('\n', w->out);
    }
    fputc('\n', w->out);
}

/* ---- Where they differ ---- */

static void write_groups(const writer *w, const char *title, bool kinds) {
    const comparison *c = w->c;
    int32_t shown[MAX_GROUPS], n = comparison_groups(c, kinds, shown);
    if (n == 0) return;
    fprintf(w->out, "## %s\n\nMean KL divergence, same first choice.\n\n| file |", title);
    for (int32_t g = 0; g < n; g++)
        write_cell(w, candidate_groups(&c->candidates[0], kinds)[shown[g]].label);
    write_rule(w, (size_t)n);
    for (int32_t i = 0; i < c->n_candidates; i++) {
        begin_row(w, i);
        for (int32_t g = 0; g < n; g++) {
            const kl_group *group = &candidate_groups(&c->candidates[i], kinds)[shown[g]];
            if (group->n)
                fprintf(w->out, " %s, %s |", figure_digits(group->kl, 3).s,
                        figure_percent(group->agreement, 1).s);
            else
                write_cell(w, UNKNOWN);
        }
        fputc('\n', w->out);
    }
    fputc('\n', w->out);
}

/* A layer is a row: there are more layers than files. */
static void write_layers(const writer *w) {
    const comparison *c = w->c;
    bool any = false;
    for (int32_t i = 0; i < c->n_candidates; i++) any |= c->candidates[i].layer_error != NULL;
    if (!any || c->n_layer <= 0) return;
    fputs("## Error by layer\n\nRelative error of the state behind each layer.\n\n| layer |",
          w->out);
    for (int32_t i = 0; i < c->n_candidates; i++) write_cell(w, subject_name(c, &w->by, i, 28).s);
    write_rule(w, (size_t)c->n_candidates);
    for (int32_t l = 0; l < c->n_layer; l++) {
        fprintf(w->out, "| %d |", (int)l);
        for (int32_t i = 0; i < c->n_candidates; i++) {
            const double *error = c->candidates[i].layer_error;
            double v = error ? error[l] : NAN;
            write_cell(w, isfinite(v) ? figure_percent(v, v < 0.0995 ? 2 : 1).s : UNKNOWN);
        }
        fputc('\n', w->out);
    }
    fputc('\n', w->out);
}

static void write_tasks(const writer *w) {
    const comparison *c = w->c;
    if (c->n_tasks <= 0) return;
    fputs("## Tasks\n\nAccuracy; difference to the reference in percentage points, with its 95% "
          "interval.\n\n| file |",
          w->out);
    for (int32_t t = 0; t < c->n_tasks; t++) {
        write_cell(w, c->task_names[t]);
        fprintf(w->out, " of %s |", figure_count(c->task_sizes[t]).s);
    }
    write_rule(w, 2 * (size_t)c->n_tasks);
    for (int32_t i = -1; i < c->n_candidates; i++) {
        begin_row(w, i);
        for (int32_t t = 0; t < c->n_tasks; t++) {
            const task_figures *f = &comparison_subject(c, i)->tasks[t];
            write_cell(w, figure_estimate(f->accuracy, 100, false, "%").s);
            if (i < 0)
                fprintf(w->out, " guess %s |", figure_percent(c->task_guess[t], 0).s);
            else
                fprintf(w->out, " %s (%s to %s) |", figure_fixed(100 * f->difference.value, 1).s,
                        figure_fixed(100 * f->low, 1).s, figure_fixed(100 * f->high, 1).s);
        }
        fputc('\n', w->out);
    }
    fputc('\n', w->out);
}

static void write_departures(const writer *w) {
    const comparison *c = w->c;
    if (c->n_candidates <= 0) return;
    for (int32_t t = 0; t < c->n_departures; t++) {
        fprintf(w->out, "## Where the texts part: prompt %d\n\n\xe2\x80\xa6", (int)t + 1);
        write_text(w->out, c->candidates[0].departures[t].prompt);
        fputs(
            "\n\n| file | same tokens | both | reference | file's own |\n|---|---:|---|---|---|\n",
            w->out);
        for (int32_t i = 0; i < c->n_candidates; i++) {
            const departure *d = &c->candidates[i].departures[t];
            begin_row(w, i);
            fprintf(w->out, " %d of %d |", (int)d->n_shared, (int)d->n_tokens);
            write_cell(w, d->shared);
            write_cell(w, d->reference);
            write_cell(w, d->candidate);
            fputc('\n', w->out);
        }
        fputc('\n', w->out);
    }
}

/* ---- All ---- */

static void write_method(const writer *w) {
    const comparison *c = w->c;
    fputs("## Method\n\n", w->out);
    write_text(w->out, c->program);
    fputs(", ", w->out);
    write_text(w->out, c->date);
    fprintf(w->out, ", %s. ", figure_seconds(c->seconds).s);
    write_text(w->out, c->machine);
    fprintf(w->out, "; %d threads, %s GB/s from memory, %s TOPS of 8-bit multiply-adds.\n\n",
            (int)c->n_threads, figure_positive(c->read_bandwidth / 1e9, 3).s,
            figure_positive(c->int8_ops / 1e12, 3).s);
    write_block(w->out, c->command ? c->command : UNKNOWN);
    for (size_t i = 0; i < N_DEFINITIONS; i++) {
        fprintf(w->out, "- **%s**: ", definitions[i].term);
        write_text(w->out, definitions[i].text);
        fputc('\n', w->out);
    }
}

void write_comparison_markdown(const comparison *c, FILE *out) {
    writer w = {c, out, comparison_naming(c)};
    fprintf(out, "# %d file%s beside ", (int)c->n_candidates, c->n_candidates == 1 ? "" : "s");
    write_text(out, file_part(c->reference.path));
    fprintf(out, "\n\n%s scored positions of ", figure_count(c->n_scored).s);
    write_text(out, file_part(c->text));
    fprintf(out, ": %s tokens in %s windows of %s.\n\n", figure_count(c->n_tokens).s,
            figure_count(c->n_windows).s, figure_count(c->window).s);
    write_claims(&w);
    for (size_t i = 0; i < N_TABLES; i++) write_table(&w, &comparison_tables[i]);
    write_layers(&w);
    write_groups(&w, "By position in the window", false);
    write_groups(&w, "By kind of token", true);
    write_tasks(&w);
    write_departures(&w);
    write_method(&w);
}
