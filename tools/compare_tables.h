/* What the pages of a comparison show in tables, whatever they are written in, and the claim that they answer. */
#ifndef TOOLS_COMPARE_TABLES_H
#define TOOLS_COMPARE_TABLES_H

#include "figures.h"

/* `k` is NULL for the reference. */
typedef struct column {
    const char *head;
    figure (*show)(const comparison *c, const subject *about, const candidate *k);
    double (*bar)(const candidate *k); /* what a bar in the cell may show; NULL: none */
} column;

typedef struct table {
    const char *title;
    const char *note;
    const column *columns;
    size_t n_columns;
} table;

enum { N_TABLES = 4 };
extern const table comparison_tables[N_TABLES];

/* Positions, or kinds of tokens, that any candidate has something of: how many, their numbers in `shown`. */
int32_t comparison_groups(const comparison *c, bool kinds, int32_t shown[MAX_GROUPS]);
const kl_group *candidate_groups(const candidate *k, bool kinds);

/* ---- "4 bits are 75% smaller and keep at least 95% of the quality" ---- */

/* What is left of something: with its standard error (0: exact), and between what it is with 95%. NaN: not measured. */
typedef struct kept_share {
    estimate shown;
    double low, high;
} kept_share;

/* That, beside a share that the claim demands. */
typedef struct claim {
    const char *head;
    double demanded;
    kept_share (*kept)(const comparison *c, const candidate *k);
    bool (*asked)(const comparison *c); /* does it make sense here */
} claim;

enum { N_CLAIMS = 5 };
extern const claim claims[N_CLAIMS];
figure claim_figure(kept_share kept);

typedef enum verdict { VERDICT_UNKNOWN, VERDICT_YES, VERDICT_NO, VERDICT_OPEN } verdict;

/* Open: the demanded share lies within the interval, or there is none. */
verdict claim_verdict(const claim *asked, kept_share kept);
extern const char *const verdict_names[]; /* "yes", "no" ... */

bool is_four_bits(const subject *s);

/* Whose figures answer: of those with 4 bits the nearest to the reference; if there is none, the smallest file. NULL: no candidates. */
const candidate *claim_candidate(const comparison *c);

/* The figures of that answer. */
typedef struct answer {
    figure size;   /* "72.9% smaller"                          */
    figure halved; /* "69.1%" smaller than 16 bits a weight, "" if the reference has no more */
    figure choice; /* "91.3 ± 0.3%" of the first choices        */
    figure ratio;  /* "+1.9 ± 0.2%" of the perplexity           */
    bool any;      /* of the first three is known              */
    figure tasks;  /* "98.1 ± 1.2%" of the right answers; "" if there are no tasks */
} answer;

answer claim_answer(const comparison *c, const candidate *k);

/* What each figure is. */
typedef struct definition {
    const char *term, *text;
} definition;

enum { N_DEFINITIONS = 15 };
extern const definition definitions[N_DEFINITIONS];

#endif
