/* Inside of `slm compare`: what its parts share. */
#ifndef TOOLS_COMPARE_H
#define TOOLS_COMPARE_H

#include "comparison.h"
#include "load.h"
#include "windows.h"

typedef struct compare_options {
    const char *reference, *text;
    text_list tasks;
    int32_t n_windows; /* 0: all of the text */
    bool no_speed, parse_special;
    const char *json, *markdown, *html;
    compute_options compute; /* its n_ctx is the window */
} compare_options;

/* A file and what is found out about it. */
typedef struct compared_model {
    const char *path;
    slm_model *model;
    slm_model_info info;
    bool is_reference;
    subject *about;
} compared_model;

enum { MAX_MODELS = 1 + MAX_LIST };

/* A question of several choices, as tokens: what all choices have in front, and each choice behind that. */
typedef struct question {
    slm_token *tokens; /* the front, [n_front], then choice after choice */
    int32_t n_front, n_choices, gold;
    struct choice {
        int32_t n; /* tokens */
        size_t n_bytes;
    } * choices; /* [n_choices] */
} question;

typedef struct task {
    const char *path;
    question *questions; /* [n] */
    size_t n, capacity;
    bool *reference_right; /* [n] */
} task;

/* All that is held, from the command line to the result. */
typedef struct compare_work {
    compare_options o;
    slm_context_params params;         /* of candidates, but for sizes */
    compared_model models[MAX_MODELS]; /* [n_models]; the first is the reference */
    int32_t n_models;
    int32_t n_vocab;
    windows windows;
    task tasks[MAX_TASKS];
    int32_t n_tasks;
    comparison result;
    char *labels[MAX_GROUPS]; /* of positions */
    char *program;            /* result.program */
    /* what is shown: work in units that take about the same time each */
    progress_bar bar;
    double n_units, n_done, n_step; /* of all, before this step, of this step */
    bool timing;                    /* nothing is drawn while the clock runs  */
} compare_work;

/* Parameters for a context of this model: reference mode for the reference, however it is stored. */
slm_context_params compare_context(compare_work *w, const compared_model *m);

/* An slm_progress_fn; `work` is the compare_work. The context of compare_context() has another one, for steps of several calls, with
 * which the bar stays where the step began. */
bool compare_progress(void *work, float done);
void compare_step(compare_work *w,
                  double n_units); /* the step before is done, one of so many units begins */

/* How many units each part of the work takes, and the work. All return EXIT_DONE, or the code to exit with after a message. */
double units_of_text(const compare_work *w);
int compare_over_text(compare_work *w);

double units_of_departures(const compare_work *w);
int compare_departures(compare_work *w);

double units_of_tasks(const compare_work *w);
int read_tasks(compare_work *w);
int compare_tasks(compare_work *w);
void free_tasks(compare_work *w);

double units_of_speed(const compare_work *w);
int compare_speed(compare_work *w);

/* Files, machine, command and date: what is known without measuring. */
int describe_subject(compare_work *w, compared_model *m);
int describe_run(compare_work *w, int argc, char **argv);

#endif
