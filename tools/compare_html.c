/* The report as a page: one file that asks for nothing else, without scripts. It is well-formed XML as well. */
#include <math.h>
#include <string.h>

#include "compare_page.h"

/* ---- What all parts use ---- */

void page_row_head(const page *p, int32_t i) {
    const char *path = comparison_subject(p->c, i)->path;
    short_name name = subject_name(p->c, &p->by, i, NAME_CHARS);
    html(p->out, "<tr class=\"$\"><th scope=\"row\" title=\"$\">$</th>",
         i < 0 ? "of-reference" : "file", path, name.s);
}

void page_table_begin(const page *p, const char *title, const char *note, const char *class_name) {
    html(p->out, "<h3>$</h3>", title);
    if (note) html(p->out, "<p class=\"note\">$</p>", note);
    html(p->out,
         "\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"$\"><table "
         "class=\"$\">"
         "<thead><tr><th scope=\"col\">file</th>",
         title, class_name);
}

void page_table_end(const page *p) { fputs("</tbody></table></div>\n", p->out); }

/* ---- Head ---- */

static void write_head(const page *p) {
    const comparison *c = p->c;
    const char *reference = file_part(c->reference.path), *s = c->n_candidates == 1 ? "" : "s";
    html(p->out,
         "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>"
         "<meta name=\"color-scheme\" content=\"light dark\"/><title>$ beside $</title>\n<style>",
         c->n_candidates == 1 ? file_part(c->candidates[0].about.path) : "Models", reference);
    fputs(page_style, p->out);
    html(p->out,
         "</style></head>\n<body><main>\n<header><p class=\"eyebrow\">$ \xc2\xb7 $</p>\n<h1>$ "
         "file$ beside <bdi>$</bdi></h1>\n",
         c->program, c->date, figure_count((uint64_t)(c->n_candidates > 0 ? c->n_candidates : 0)).s,
         s, reference);
    html(
        p->out,
        "<p class=\"meta\">$ scored positions of <bdi>$</bdi>: $ tokens in $ windows of $. $</p>\n",
        figure_count(c->n_scored).s, file_part(c->text), figure_count(c->n_tokens).s,
        figure_count(c->n_windows).s, figure_count(c->window).s, c->machine);
}

static void write_contents(const page *p) {
    const comparison *c = p->c;
    fputs("<nav aria-label=\"Contents\">", p->out);
    if (c->n_candidates > 0)
        fputs("<a href=\"#answer\">Answer</a><a href=\"#plots\">Plots</a>", p->out);
    fputs("<a href=\"#figures\">Figures</a>", p->out);
    if (page_has_layers(p)) fputs("<a href=\"#layers\">Layers</a>", p->out);
    if (page_has_groups(p)) fputs("<a href=\"#groups\">Where in the text</a>", p->out);
    if (c->n_candidates > 0 && c->n_tasks > 0) fputs("<a href=\"#tasks\">Tasks</a>", p->out);
    if (c->n_candidates > 0 && c->n_departures > 0) fputs("<a href=\"#texts\">Texts</a>", p->out);
    fputs("<a href=\"#method\">Method</a></nav></header>\n", p->out);
}

/* ---- The claim ---- */

static void write_answer(const page *p) {
    const comparison *c = p->c;
    const candidate *k = claim_candidate(c);
    if (!k) return;
    answer a = claim_answer(c, k);
    if (!a.any) {
        fputs("<p class=\"note\">Nothing that answers this was measured.</p>\n", p->out);
        return;
    }
    short_name name = subject_name(c, &p->by, (int32_t)(k - c->candidates), NAME_CHARS);
    bool four = is_four_bits(&k->about);
    html(p->out, "<p class=\"answer\">$<bdi>$</bdi>$: <strong>$</strong> than the reference",
         four ? "4 bits (" : "", name.s, four ? ")" : "", a.size.s);
    if (a.halved.s[0])
        html(p->out, " (<strong>$</strong> smaller than 16 bits per weight)", a.halved.s);
    html(p->out,
         ", the same first choice at <strong>$</strong> of the positions, perplexity "
         "<strong>$</strong>",
         a.choice.s, a.ratio.s);
    if (a.tasks.s[0]) html(p->out, ", <strong>$</strong> of the right answers", a.tasks.s);
    fputs(".</p>\n", p->out);
    if (!four)
        fputs("<p class=\"note\">No file of 4 bits was compared; this is the smallest.</p>\n",
              p->out);
}

static void write_verdict(const page *p, const claim *asked, const candidate *k) {
    static const char *const marks[] = {"", "\xe2\x9c\x93 ", "\xe2\x9c\x97 ", "~ "};
    static const char *const classes[] = {"", "yes", "no", "open"};
    kept_share kept = asked->kept(p->c, k);
    verdict v = claim_verdict(asked, kept);
    html(p->out, "<td class=\"num\">$<small class=\"verdict $\">$$</small></td>",
         claim_figure(kept).s, classes[v], marks[v], verdict_names[v]);
}

static void write_claims(const page *p) {
    const comparison *c = p->c;
    fputs("<section id=\"answer\"><h2>75% smaller, with 95% of the quality?</h2>\n", p->out);
    write_answer(p);
    fputs("<p class=\"note\">There is no one figure of quality: each column asks on its own, of "
          "this text and these files.</p>\n",
          p->out);
    page_table_begin(p, "The claim, figure by figure", NULL, "claims");
    for (size_t i = 0; i < N_CLAIMS; i++)
        if (claims[i].asked(c))
            html(p->out, "<th scope=\"col\" class=\"num\">$<small>\xe2\x89\xa5 $?</small></th>",
                 claims[i].head, figure_percent(claims[i].demanded, 0).s);
    fputs("</tr></thead><tbody>\n", p->out);
    for (int32_t i = 0; i < c->n_candidates; i++) {
        page_row_head(p, i);
        for (size_t k = 0; k < N_CLAIMS; k++)
            if (claims[k].asked(c)) write_verdict(p, &claims[k], &c->candidates[i]);
        fputs("</tr>\n", p->out);
    }
    page_table_end(p);
    fputs("</section>\n", p->out);
}

/* ---- Tables ---- */

static double longest_bar(const page *p, const column *col) {
    double most = 0;
    for (int32_t i = 0; col->bar && i < p->c->n_candidates; i++) {
        double v = col->bar(&p->c->candidates[i]);
        if (isfinite(v)) most = fmax(most, v);
    }
    return most;
}

static void write_cell(const page *p, const column *col, int32_t i) {
    const candidate *k = i < 0 ? NULL : &p->c->candidates[i];
    figure f = col->show(p->c, comparison_subject(p->c, i), k);
    double most = k ? longest_bar(p, col) : 0, value = most > 0 ? col->bar(k) : 0;
    if (value > 0 && isfinite(value))
        html(p->out, "<td class=\"num bar\" style=\"--w:$\">$</td>",
             figure_fixed(value / most, 3).s, f.s);
    else
        html(p->out, "<td class=\"num\">$</td>", f.s);
}

static void write_table(const page *p, const table *t) {
    page_table_begin(p, t->title, t->note, "");
    for (size_t k = 0; k < t->n_columns; k++)
        html(p->out, "<th scope=\"col\" class=\"num\">$</th>", t->columns[k].head);
    fputs("</tr></thead><tbody>\n", p->out);
    for (int32_t i = -1; i < p->c->n_candidates; i++) {
        page_row_head(p, i);
        for (size_t k = 0; k < t->n_columns; k++) write_cell(p, &t->columns[k], i);
        fputs("</tr>\n", p->out);
    }
    page_table_end(p);
}

static void write_tables(const page *p) {
    fputs("<section id=\"figures\"><h2>Figures</h2>\n", p->out);
    for (size_t i = 0; i < N_TABLES; i++) write_table(p, &comparison_tables[i]);
    fputs("</section>\n", p->out);
}

/* ---- Method ---- */

static void write_files(const page *p) {
    page_table_begin(p, "Files", NULL, "files");
    fputs("<th scope=\"col\">type</th><th scope=\"col\">path</th></tr></thead><tbody>\n", p->out);
    for (int32_t i = -1; i < p->c->n_candidates; i++) {
        const subject *s = comparison_subject(p->c, i);
        page_row_head(p, i);
        html(p->out, "<td>$</td><td class=\"path\"><bdi>$</bdi></td></tr>\n",
             s->type[0] ? s->type : UNKNOWN, s->path ? s->path : UNKNOWN);
    }
    page_table_end(p);
}

static figure rate(double value, double unit, const char *name) {
    figure f = figure_positive(value / unit, 3);
    if (value > 0) strncat(f.s, name, sizeof f.s - strlen(f.s) - 1);
    return f;
}

static void write_method(const page *p) {
    const comparison *c = p->c;
    html(p->out,
         "<section id=\"method\"><h2>Method</h2>\n<dl "
         "class=\"facts\"><dt>Machine</dt><dd>$</dd><dt>Threads</dt><dd>$</dd>"
         "<dt>Reads from memory</dt><dd>$</dd><dt>8-bit "
         "multiply-adds</dt><dd>$</dd><dt>Took</dt><dd>$</dd></dl>\n",
         c->machine ? c->machine : UNKNOWN,
         c->n_threads > 0 ? figure_count((uint64_t)c->n_threads).s : UNKNOWN,
         rate(c->read_bandwidth, 1e9, " GB/s").s, rate(c->int8_ops, 1e12, " TOPS").s,
         figure_seconds(c->seconds).s);
    html(p->out, "<h3>Command</h3>\n<pre tabindex=\"0\"><code>$</code></pre>\n",
         c->command ? c->command : UNKNOWN);
    write_files(p);
    fputs("<h3>What the figures are</h3>\n<dl class=\"terms\">\n", p->out);
    for (size_t i = 0; i < N_DEFINITIONS; i++)
        html(p->out, "<dt>$</dt><dd>$</dd>\n", definitions[i].term, definitions[i].text);
    fputs("</dl></section>\n", p->out);
}

void write_comparison_html(const comparison *c, FILE *out) {
    page p = {.c = c, .out = out, .by = comparison_naming(c)};
    write_head(&p);
    write_contents(&p);
    if (c->n_candidates > 0) write_claims(&p);
    page_plots(&p);
    write_tables(&p);
    page_layers(&p);
    page_groups(&p);
    page_tasks(&p);
    page_departures(&p);
    write_method(&p);
    fputs("</main></body></html>\n", out);
}
