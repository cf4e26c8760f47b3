/* Where a candidate differs: by layer, by position and kind of token, and in a text that it writes. */
#include <math.h>
#include <string.h>

#include "compare_page.h"

/* ---- By layer ---- */

enum { N_SHADES = 10, MANY_LAYERS = 36 };

/* Shades stand for equal steps of the value, or of its logarithm where values span more than a factor of 12. */
typedef struct shades {
    double low, high;
    bool log;
} shades;

static shades find_shades(const comparison *c) {
    shades s = {INFINITY, 0, false};
    for (int32_t i = 0; i < c->n_candidates; i++)
        for (int32_t l = 0; c->candidates[i].layer_error && l < c->n_layer; l++) {
            double v = c->candidates[i].layer_error[l];
            if (!isfinite(v) || v <= 0) continue;
            s.low = fmin(s.low, v);
            s.high = fmax(s.high, v);
        }
    s.log = s.high > 12 * s.low;
    if (!s.log) s.low = 0;
    return s;
}

static int shade_of(const shades *s, double v) {
    if (!(v > s->low) || s->high <= s->low) return 0;
    double part =
        s->log ? log(v / s->low) / log(s->high / s->low) : (v - s->low) / (s->high - s->low);
    int shade = (int)(part * N_SHADES);
    return shade >= N_SHADES ? N_SHADES - 1 : shade;
}

/* The least value of a shade. */
static double shade_from(const shades *s, int shade) {
    double part = (double)shade / N_SHADES;
    return s->log ? s->low * pow(s->high / s->low, part) : s->low + part * (s->high - s->low);
}

static figure short_percent(double share) {
    double v = 100 * share;
    if (v == 0) return (figure){"0"};
    return figure_fixed(v, v < 0.095 ? 2 : v < 9.95 ? 1 : 0);
}

static void layer_legend(const page *p, const shades *s) {
    fputs("<p class=\"legend\"><span>error, %</span>", p->out);
    for (int i = 0; i < N_SHADES; i++)
        html(p->out, "<span class=\"shade h$\">$</span>", figure_count((uint64_t)i).s,
             short_percent(shade_from(s, i)).s);
    html(p->out, "<span>to $</span></p>\n", short_percent(s->high).s);
}

static void layer_row(const page *p, int32_t i, const shades *s) {
    const candidate *k = &p->c->candidates[i];
    page_row_head(p, i);
    if (!k->layer_error) {
        html(p->out,
             "<td colspan=\"$\" class=\"none\">not comparable</td><td class=\"num\">" UNKNOWN
             "</td></tr>\n",
             figure_count((uint64_t)p->c->n_layer).s);
        return;
    }
    for (int32_t l = 0; l < p->c->n_layer; l++) {
        double v = k->layer_error[l];
        if (!isfinite(v))
            fputs("<td class=\"cell\">" UNKNOWN "</td>", p->out);
        else
            html(p->out, "<td class=\"cell h$\" title=\"layer $: $%\">$</td>",
                 figure_count((uint64_t)shade_of(s, v)).s, figure_count((uint64_t)l).s,
                 figure_digits(100 * v, 3).s, short_percent(v).s);
    }
    double last = k->layer_error[p->c->n_layer - 1];
    html(p->out, "<td class=\"num\">$</td></tr>\n",
         isfinite(last) ? figure_percent(last, last < 0.0995 ? 2 : 1).s : UNKNOWN);
}

bool page_has_layers(const page *p) {
    bool any = false;
    for (int32_t i = 0; i < p->c->n_candidates; i++) any |= p->c->candidates[i].layer_error != NULL;
    return any && p->c->n_layer > 0;
}

void page_layers(const page *p) {
    const comparison *c = p->c;
    if (!page_has_layers(p)) return;
    shades s = find_shades(c);
    fputs("<section id=\"layers\"><h2>Error by layer</h2>\n<p class=\"note\">How far the state "
          "behind each layer is from the reference's, "
          "|h \xe2\x88\x92 h_ref| / |h_ref|, in percent: the root mean square over all positions. "
          "Errors of a layer go on into all that "
          "follow.</p>\n",
          p->out);
    layer_legend(p, &s);
    page_table_begin(p, "From the first layer to the last", NULL,
                     c->n_layer > MANY_LAYERS ? "heat dense" : "heat");
    for (int32_t l = 0; l < c->n_layer; l++)
        html(p->out, "<th scope=\"col\" class=\"cell\">$</th>", figure_count((uint64_t)l).s);
    fputs("<th scope=\"col\" class=\"num\">last</th></tr></thead><tbody>\n", p->out);
    for (int32_t i = 0; i < c->n_candidates; i++) layer_row(p, i, &s);
    page_table_end(p);
    fputs("</section>\n", p->out);
}

/* ---- By position and kind of token ---- */

static void group_row(const page *p, int32_t i, bool kinds, const int32_t *shown, int32_t n) {
    const kl_group *groups = candidate_groups(&p->c->candidates[i], kinds);
    double most = 0;
    for (int32_t g = 0; g < n; g++)
        if (isfinite(groups[shown[g]].kl)) most = fmax(most, groups[shown[g]].kl);
    page_row_head(p, i);
    for (int32_t g = 0; g < n; g++) {
        const kl_group *group = &groups[shown[g]];
        double part = most > 0 && group->kl > 0 ? group->kl / most : 0;
        if (group->n == 0)
            fputs("<td class=\"num\">" UNKNOWN "</td>", p->out);
        else
            html(p->out, "<td class=\"num bar\" style=\"--w:$\">$<small>$</small></td>",
                 figure_fixed(part, 3).s, figure_digits(group->kl, 3).s,
                 figure_percent(group->agreement, 1).s);
    }
    fputs("</tr>\n", p->out);
}

static void group_table(const page *p, bool kinds, const char *title) {
    int32_t shown[MAX_GROUPS], n = comparison_groups(p->c, kinds, shown);
    if (n == 0) return;
    const kl_group *first = candidate_groups(&p->c->candidates[0], kinds);
    page_table_begin(p, title, NULL, "groups");
    for (int32_t g = 0; g < n; g++)
        html(p->out, "<th scope=\"col\" class=\"num\">$<small>$</small></th>",
             first[shown[g]].label, figure_count(first[shown[g]].n).s);
    fputs("</tr></thead><tbody>\n", p->out);
    for (int32_t i = 0; i < p->c->n_candidates; i++) group_row(p, i, kinds, shown, n);
    page_table_end(p);
}

bool page_has_groups(const page *p) {
    int32_t shown[MAX_GROUPS];
    return comparison_groups(p->c, false, shown) + comparison_groups(p->c, true, shown) > 0;
}

void page_groups(const page *p) {
    if (!page_has_groups(p)) return;
    fputs("<section id=\"groups\"><h2>Where in the text</h2>\n<p class=\"note\">Mean KL "
          "divergence, and below it the share of the same first "
          "choice. Bars are relative to the largest of their row, so that they show where a file "
          "is weak, and not which file is. "
          "Below the heads: scored positions.</p>\n",
          p->out);
    group_table(p, false, "By position in the window");
    group_table(p, true, "By kind of token");
    fputs("</section>\n", p->out);
}

/* ---- Texts ---- */

/* A space before the first word would look like an error of the page. */
static const char *without_space(const char *s) { return s && *s == ' ' ? s + 1 : s; }

static void departure_row(const page *p, int32_t i, const departure *d) {
    short_name name = subject_name(p->c, &p->by, i, NAME_CHARS);
    bool parted = d->n_shared < d->n_tokens;
    figure shared = figure_count((uint64_t)(d->n_shared > 0 ? d->n_shared : 0)),
           all = figure_count((uint64_t)(d->n_tokens > 0 ? d->n_tokens : 0));
    html(p->out, "<article class=\"parting\"><h4>$ <span class=\"soft\">", name.s);
    if (d->n_tokens <= 0)
        fputs("not compared</span></h4></article>\n", p->out);
    else if (!parted)
        html(p->out,
             "the same, all $ tokens</span></h4><p class=\"text\" dir=\"auto\"><span "
             "class=\"shared\">$</span></p></article>\n",
             all.s, without_space(d->shared));
    else
        html(p->out,
             "the same for $ of $ tokens</span></h4>"
             "<p class=\"text\" dir=\"auto\"><span class=\"shared\">$</span></p>"
             "<div class=\"both\"><p class=\"text\" dir=\"auto\"><b "
             "class=\"of-reference\">reference</b><q>$</q></p>"
             "<p class=\"text\" dir=\"auto\"><b>$</b><q>$</q></p></div></article>\n",
             shared.s, all.s, without_space(d->shared), without_space(d->reference), name.s,
             without_space(d->candidate));
}

void page_departures(const page *p) {
    const comparison *c = p->c;
    int32_t n = c->n_departures < MAX_DEPARTURES ? c->n_departures : MAX_DEPARTURES;
    if (n <= 0 || c->n_candidates <= 0) return;
    fputs("<section id=\"texts\"><h2>Where the texts part</h2>\n<p class=\"note\">Both models go "
          "on from the same prompt, always with the most "
          "probable token. Pale is what both wrote; then what each would write next. Two good "
          "models part early, too: this shows how, "
          "not how much.</p>\n",
          p->out);
    for (int32_t t = 0; t < n; t++) {
        const departure *first = &c->candidates[0].departures[t];
        fputs(t == 0 || c->n_candidates <= 12 ? "<details open=\"open\">" : "<details>", p->out);
        html(p->out,
             "<summary><h3>Prompt $</h3></summary>\n<p class=\"text prompt\" "
             "dir=\"auto\">\xe2\x80\xa6$</p>\n<div class=\"partings\">\n",
             figure_count((uint64_t)t + 1).s, first->prompt);
        for (int32_t i = 0; i < c->n_candidates; i++)
            departure_row(p, i, &c->candidates[i].departures[t]);
        fputs("</div></details>\n", p->out);
    }
    fputs("</section>\n", p->out);
}
