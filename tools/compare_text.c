/* The comparison as text for a terminal: tables of up to 100 characters a line, what does not fit goes into another one below. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compare_tables.h"
#include "options.h"
#include "text.h"

enum { LINE_WIDTH = 100, NAME_WIDTH = 24, MOST_ROWS = 1 + MAX_LIST, MOST_COLUMNS = 16 };

typedef struct grid {
    short_name names[MOST_ROWS];
    const char *heads[MOST_COLUMNS];
    figure cells[MOST_ROWS][MOST_COLUMNS];
    int n_rows, n_columns;
} grid;

/* Characters, each one place wide. */
static int width_of(const char *s) {
    int n = 0;
    for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static int most(int a, int b) { return a > b ? a : b; }

static void put_right(FILE *out, const char *s, int width) {
    fprintf(out, "%*s%s", width - width_of(s), "", s);
}

/* Columns begin .. end-1. */
static void put_columns(const grid *g, const int *widths, int name_width, int begin, int end,
                        FILE *out) {
    fprintf(out, "%*s", name_width, "");
    for (int c = begin; c < end; c++) put_right(out, g->heads[c], widths[c]);
    fputc('\n', out);
    for (int r = 0; r < g->n_rows; r++) {
        fprintf(out, "%s%*s", g->names[r].s, name_width - width_of(g->names[r].s), "");
        for (int c = begin; c < end; c++) put_right(out, g->cells[r][c].s, widths[c]);
        fputc('\n', out);
    }
}

/* As many columns a line as there is room for. */
static void put_all_columns(const grid *g, FILE *out) {
    int widths[MOST_COLUMNS], name_width = 0;
    for (int r = 0; r < g->n_rows; r++) name_width = most(name_width, width_of(g->names[r].s));
    for (int c = 0; c < g->n_columns; c++) {
        widths[c] = width_of(g->heads[c]);
        for (int r = 0; r < g->n_rows; r++) widths[c] = most(widths[c], width_of(g->cells[r][c].s));
        widths[c] += 2;
    }
    for (int begin = 0, end; begin < g->n_columns; begin = end) {
        int width = name_width;
        for (end = begin; end < g->n_columns; end++) {
            if (end > begin && width + widths[end] > LINE_WIDTH) break;
            width += widths[end];
        }
        put_columns(g, widths, name_width, begin, end, out);
    }
}

static void put_grid(const grid *g, const char *title, FILE *out) {
    fprintf(out, "\n%s\n", title);
    put_all_columns(g, out);
}

/* Rows are the reference, if asked for, and the candidates. */
static grid begin_grid(const comparison *c, const naming *by, bool reference) {
    grid g = {.n_rows = 0};
    for (int32_t i = reference ? -1 : 0; i < c->n_candidates && g.n_rows < MOST_ROWS; i++)
        g.names[g.n_rows++] =
            i < 0 ? (short_name){"reference"} : subject_name(c, by, i, NAME_WIDTH);
    return g;
}

/* Of candidate i, or of the reference (i < 0). */
static figure show_cell(const comparison *c, const column *k, int32_t i) {
    return k->show(c, comparison_subject(c, i), i < 0 ? NULL : &c->candidates[i]);
}

static void put_table(const comparison *c, const naming *by, const table *t, FILE *out) {
    grid g = begin_grid(c, by, true);
    g.n_columns = t->n_columns < MOST_COLUMNS ? (int)t->n_columns : MOST_COLUMNS;
    for (int k = 0; k < g.n_columns; k++) {
        g.heads[k] = t->columns[k].head;
        for (int r = 0; r < g.n_rows; r++) g.cells[r][k] = show_cell(c, &t->columns[k], r - 1);
    }
    put_grid(&g, t->title, out);
}

/* ---- What has other columns in each comparison ---- */

static void put_groups(const comparison *c, const naming *by, const char *title, bool kinds,
                       FILE *out) {
    grid g = begin_grid(c, by, false);
    int32_t n = kinds ? c->n_kinds : c->n_positions;
    for (int32_t k = 0; k < n && k < MOST_COLUMNS && g.n_rows > 0; k++) {
        const candidate *first = &c->candidates[0];
        const kl_group *group = kinds ? &first->kinds[k] : &first->positions[k];
        if (group->n == 0) continue;
        g.heads[g.n_columns] = group->label;
        for (int r = 0; r < g.n_rows; r++) {
            const candidate *x = &c->candidates[r];
            g.cells[r][g.n_columns] =
                figure_digits((kinds ? &x->kinds[k] : &x->positions[k])->kl, 3);
        }
        g.n_columns++;
    }
    put_grid(&g, title, out);
}

/* Some of the layers, the last one too; the other reports have all. */
static void put_layers(const comparison *c, const naming *by, FILE *out) {
    enum { SHOWN = 8 };
    char labels[SHOWN][16];
    grid g = begin_grid(c, by, false);
    bool any = false;
    int32_t n = c->n_layer < SHOWN ? c->n_layer : SHOWN;
    for (int32_t k = 0; k < n; k++) {
        int32_t layer = n > 1 ? (int32_t)((int64_t)k * (c->n_layer - 1) / (n - 1)) : 0;
        snprintf(labels[k], sizeof labels[k], "layer %" PRId32, layer);
        g.heads[g.n_columns] = labels[k];
        for (int r = 0; r < g.n_rows; r++) {
            const double *error = c->candidates[r].layer_error;
            g.cells[r][g.n_columns] = figure_digits(error ? error[layer] : NAN, 3);
            any |= error != NULL;
        }
        g.n_columns++;
    }
    if (any) put_grid(&g, "Error of states behind layers", out);
}

static figure interval_of(const task_figures *f) {
    figure low = figure_fixed(100 * f->low, 1), high = figure_fixed(100 * f->high, 1), out;
    snprintf(out.s, sizeof out.s, "%.28s to %.28s", low.s, high.s);
    return out;
}

static void put_task(const comparison *c, const naming *by, int32_t t, FILE *out) {
    static const char *const heads[] = {"right", "accuracy", "difference", "95% interval"};
    grid g = begin_grid(c, by, true);
    for (int k = 0; k < 4; k++) g.heads[k] = heads[k];
    g.n_columns = 4;
    for (int r = 0; r < g.n_rows; r++) {
        const task_figures *f = &comparison_subject(c, r - 1)->tasks[t];
        g.cells[r][0] = figure_count(f->n_right);
        g.cells[r][1] = figure_estimate(f->accuracy, 100, false, "%");
        g.cells[r][2] = r > 0 ? figure_estimate(f->difference, 100, true, "%") : (figure){UNKNOWN};
        g.cells[r][3] = r > 0 ? interval_of(f) : (figure){UNKNOWN};
    }
    fputs("\nTask ", out);
    print_escaped(out, c->task_names[t], strlen(c->task_names[t]), 128);
    fprintf(out, ": %zu questions, guessing gives %s\n", c->task_sizes[t],
            figure_percent(c->task_guess[t], 0).s);
    put_all_columns(&g, out);
}

static void put_text(FILE *out, const char *label, const char *text) {
    enum { SHOWN = 76 };
    fprintf(out, "    %-10s \"", label);
    print_escaped(out, text, strlen(text), SHOWN);
    fputs("\"\n", out);
}

/* Where a candidate departs first, of all prompts, and what both then write. */
static void put_departure(const candidate *k, const char *name, int32_t n, FILE *out) {
    int32_t first = 0, n_parted = 0;
    for (int32_t i = 0; i < n; i++) {
        const departure *d = &k->departures[i];
        n_parted += d->n_shared < d->n_tokens;
        if (d->n_shared < d->n_tokens &&
            (k->departures[first].n_shared == k->departures[first].n_tokens ||
             d->n_shared < k->departures[first].n_shared))
            first = i;
    }
    const departure *d = &k->departures[first];
    if (n_parted == 0) {
        fprintf(out, "%s: the same tokens in all answers\n", name);
        return;
    }
    fprintf(out,
            "%s: %" PRId32 " of %" PRId32 " answers depart, the first after %" PRId32 " of %" PRId32
            " tokens\n",
            name, n_parted, n, d->n_shared, d->n_tokens);
    put_text(out, "reference", d->reference);
    put_text(out, "candidate", d->candidate);
}

static void put_departures(const comparison *c, const naming *by, FILE *out) {
    if (c->n_departures == 0) return;
    fputs("\nGreedy answers\n", out);
    for (int32_t i = 0; i < c->n_candidates; i++)
        put_departure(&c->candidates[i], subject_name(c, by, i, NAME_WIDTH).s, c->n_departures,
                      out);
}

static void put_name(FILE *out, const char *label, const char *text) {
    fprintf(out, "%-10s ", label);
    print_escaped(out, text, strlen(text), 256);
    fputc('\n', out);
}

void write_comparison_text(const comparison *c, FILE *out) {
    naming by = comparison_naming(c);
    put_name(out, "reference", c->reference.path);
    put_name(out, "text", c->text);
    fprintf(out, "%-10s %zu tokens scored in %zu window%s of %zu\n", "", c->n_scored, c->n_windows,
            c->n_windows == 1 ? "" : "s", c->window);
    put_name(out, "machine", c->machine);
    for (size_t t = 0; t < N_TABLES; t++) put_table(c, &by, &comparison_tables[t], out);
    put_groups(c, &by, "KL by tokens in the window before", false, out);
    put_groups(c, &by, "KL by kind of token", true, out);
    put_layers(c, &by, out);
    for (int32_t t = 0; t < c->n_tasks; t++) put_task(c, &by, t, out);
    put_departures(c, &by, out);
    fprintf(out, "\n%s in all\n", figure_seconds(c->seconds).s);
}
