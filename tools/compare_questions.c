/* slm compare --task: questions of several choices, an object a line: {"query": "...", "choices": ["...", ...], "gold": 0}. */
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "grow.h"

enum { MOST_CHOICES = 64, MOST_BYTES = 1 << 20 /* of query and choice */, MOST_TOKENS = 1 << 14 };

/* A line at work, for its messages. */
typedef struct line_at {
    const char *path;
    size_t number;
} line_at;

static int fail_line(const line_at *at, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static int fail_line(const line_at *at, const char *format, ...) {
    char why[256];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    return fail("%s, line %zu: %s", at->path, at->number, why);
}

/* ---- What stands in a line ---- */

static int check_object(const line_at *at, json_t *o) {
    json_t *query = json_object_get(o, "query"), *choices = json_object_get(o, "choices"),
           *gold = json_object_get(o, "gold");
    if (!json_is_object(o)) return fail_line(at, "no object");
    if (!json_is_string(query)) return fail_line(at, "\"query\" is no text");
    if (!json_is_array(choices)) return fail_line(at, "\"choices\" is no array");
    size_t n = json_array_size(choices);
    if (n < 2 || n > MOST_CHOICES)
        return fail_line(at, "%zu choices, expected 2 to %d", n, MOST_CHOICES);
    for (size_t i = 0; i < n; i++) {
        size_t own = json_string_length(json_array_get(choices, i));
        if (own == 0) return fail_line(at, "choice %zu is no text, or an empty one", i);
        if (json_string_length(query) > MOST_BYTES || own > MOST_BYTES - json_string_length(query))
            return fail_line(at, "query and choice %zu have more than %d bytes", i, MOST_BYTES);
    }
    if (!json_is_integer(gold)) return fail_line(at, "\"gold\" is no whole number");
    if (json_integer_value(gold) < 0 || (uint64_t)json_integer_value(gold) >= n)
        return fail_line(at, "\"gold\" is %" JSON_INTEGER_FORMAT ", and the choices are 0 to %zu",
                         json_integer_value(gold), n - 1);
    return EXIT_DONE;
}

/* ---- Tokens: those of query and choice as one text, for where a word ends is the tokenizer's to say ---- */

static size_t common_length(const token_list *a, const token_list *b) {
    size_t n = 0;
    while (n < a->n && n < b->n && a->ids[n] == b->ids[n]) n++;
    return n;
}

static int tokenize_both(const line_at *at, const slm_model *model, json_t *query, json_t *choice,
                         token_list *out) {
    growing_text text = {0};
    slm_error err = {SLM_ERR_NOMEM, "no memory"};
    slm_status status = SLM_ERR_NOMEM;
    if (interrupted()) return EXIT_INTERRUPTED;
    text_add(&text, json_string_value(query), json_string_length(query));
    if (choice) text_add(&text, json_string_value(choice), json_string_length(choice));
    if (!text.failed) status = tokenize(model, text.text, text.n, SLM_TOKENIZE_BOS, out, &err);
    text_free(&text);
    if (status != SLM_OK) return fail_line(at, "%s (%s)", err.message, slm_status_name(status));
    return out->n <= MOST_TOKENS
               ? EXIT_DONE
               : fail_line(at, "%zu tokens, expected %d at most", out->n, MOST_TOKENS);
}

/* What all choices have in front is what they share with the tokens of the query alone, but for one token at least that is theirs. */
static int join_tokens(const line_at *at, const token_list *query, const token_list *lists,
                       question *q) {
    size_t front = query->n, n = 0;
    for (int32_t i = 0; i < q->n_choices; i++) {
        size_t common = common_length(query, &lists[i]);
        front = common < front ? common : front;
        if (front == lists[i].n && front > 0) front--;
    }
    for (int32_t i = 0; i < q->n_choices; i++) n += lists[i].n - front;
    if (front == 0) return fail_line(at, "there is no token before the choices");
    if (front + n > MOST_TOKENS)
        return fail_line(at, "%zu tokens, expected %d at most", front + n, MOST_TOKENS);
    q->n_front = (int32_t)front;
    q->tokens = calloc(front + n, sizeof *q->tokens);
    if (!q->tokens) return fail("no memory");
    memcpy(q->tokens, lists[0].ids, front * sizeof *q->tokens);
    slm_token *to = q->tokens + front;
    for (int32_t i = 0; i < q->n_choices; i++) {
        size_t own = lists[i].n - front;
        memcpy(to, lists[i].ids + front, own * sizeof *to);
        q->choices[i].n = (int32_t)own;
        to += own;
    }
    return EXIT_DONE;
}

static int read_question(const line_at *at, const slm_model *model, json_t *o, question *q) {
    json_t *query = json_object_get(o, "query"), *choices = json_object_get(o, "choices");
    size_t n_choices = json_array_size(choices);
    token_list front = {0}, lists[MOST_CHOICES] = {0};
    q->n_choices = (int32_t)n_choices;
    q->gold = (int32_t)json_integer_value(json_object_get(o, "gold"));
    q->choices = calloc(n_choices, sizeof *q->choices);
    if (!q->choices) return fail("no memory");
    int code = tokenize_both(at, model, query, NULL, &front);
    for (size_t i = 0; i < n_choices && code == EXIT_DONE; i++) {
        json_t *choice = json_array_get(choices, i);
        q->choices[i].n_bytes = json_string_length(choice);
        code = tokenize_both(at, model, query, choice, &lists[i]);
    }
    if (code == EXIT_DONE) code = join_tokens(at, &front, lists, q);
    free(front.ids);
    for (size_t i = 0; i < n_choices; i++) free(lists[i].ids);
    return code;
}

/* ---- Files ---- */

static void free_question(question *q) {
    free(q->tokens);
    free(q->choices);
}

static int add_line(const line_at *at, const slm_model *model, const char *line, size_t n,
                    task *t) {
    json_error_t why;
    question q = {0};
    json_t *o = json_loadb(line, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (!o) return fail_line(at, "no JSON: %s", why.text);
    int code = check_object(at, o);
    if (code == EXIT_DONE) code = read_question(at, model, o, &q);
    json_decref(o);
    question *questions = grow(t->questions, t->n + 1, &t->capacity, sizeof *questions);
    if (!questions && code == EXIT_DONE) code = fail("no memory");
    if (questions) t->questions = questions;
    if (code == EXIT_DONE)
        t->questions[t->n++] = q;
    else
        free_question(&q);
    return code;
}

static int read_task(task *t, const slm_model *model) {
    line_reader r;
    const char *line;
    size_t n;
    line_status status;
    int code = EXIT_DONE;
    if (!lines_open(&r, t->path)) return EXIT_FAILED;
    while (code == EXIT_DONE && (status = lines_next(&r, true, &line, &n)) != LINE_NONE) {
        line_at at = {t->path, r.n_lines};
        if (status == LINE_FAILED || interrupted())
            code = interrupted() ? EXIT_INTERRUPTED : EXIT_FAILED;
        else if (n > 0) /* empty lines are none */
            code = add_line(&at, model, line, n, t);
    }
    lines_close(&r);
    if (code == EXIT_DONE && t->n == 0) code = fail("%s: no questions in it", t->path);
    if (code != EXIT_DONE) return code;
    t->reference_right = calloc(t->n, sizeof *t->reference_right);
    return t->reference_right ? EXIT_DONE : fail("no memory");
}

int read_tasks(compare_work *w) {
    comparison *c = &w->result;
    int code = EXIT_DONE;
    for (int32_t i = 0; i < w->o.tasks.n && code == EXIT_DONE; i++) {
        task *t = &w->tasks[w->n_tasks++];
        t->path = w->o.tasks.v[i];
        code = read_task(t, w->models[0].model);
        double guess = 0;
        for (size_t q = 0; q < t->n; q++) guess += 1.0 / t->questions[q].n_choices;
        c->task_names[i] = file_part(t->path);
        c->task_sizes[i] = t->n;
        c->task_guess[i] = guess / (double)t->n;
    }
    c->n_tasks = w->n_tasks;
    return code;
}

void free_tasks(compare_work *w) {
    for (int32_t i = 0; i < w->n_tasks; i++) {
        for (size_t q = 0; q < w->tasks[i].n; q++) free_question(&w->tasks[i].questions[q]);
        free(w->tasks[i].questions);
        free(w->tasks[i].reference_right);
    }
}
