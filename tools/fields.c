#include "fields.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

bool result_add(result_text *r, const char *text, size_t n, double logprob) {
    result_token *tokens = grow(r->tokens, r->n_tokens + 1, &r->token_capacity, sizeof *r->tokens);
    if (!tokens) return false;
    r->tokens = tokens;
    r->tokens[r->n_tokens++] = (result_token){r->json.n, logprob};
    return text_add(&r->json, text, n);
}

void result_clear(result_text *r) {
    text_clear(&r->json);
    r->n_tokens = 0;
}

void result_free(result_text *r) {
    text_free(&r->json);
    free(r->tokens);
}

/* ---- Values and their places: the text is JSON, the grammar saw to it ---- */

typedef struct walker {
    const result_text *r;
    FILE *out;
    bool comma;
    growing_text path; /* a JSON pointer, as it stands in JSON */
    struct level {
        size_t n_path; /* of the array or object itself */
        long index;    /* of an array; -1: an object    */
    } * levels;
    size_t n_levels, level_capacity;
    size_t token; /* the first one that may touch the next value */
} walker;

/* Behind the string, number or name that begins at `at`. */
static size_t end_of(const char *text, size_t at) {
    if (text[at] != '"') return at + strcspn(text + at, ",]} \n\t\r");
    for (at++; text[at] && text[at] != '"'; at++) at += text[at] == '\\' && text[at + 1];
    return at + (text[at] == '"');
}

/* The sum over the tokens with a byte in [begin, end). */
static double logprob_of(walker *w, size_t begin, size_t end) {
    const result_text *r = w->r;
    double sum = 0;
    while (w->token + 1 < r->n_tokens && r->tokens[w->token + 1].begin <= begin) w->token++;
    for (size_t i = w->token; i < r->n_tokens && r->tokens[i].begin < end; i++)
        sum += r->tokens[i].logprob;
    return sum;
}

static void put_value(walker *w, size_t begin, size_t end) {
    fprintf(w->out, "%s\"%.*s\": %.4g", w->comma ? ", " : "", (int)w->path.n, w->path.text,
            exp(logprob_of(w, begin, end)));
    w->comma = true;
}

/* The next element of an array, or the member whose key begins at `at`, joins the path; *at moves to its value. */
static bool enter(walker *w, size_t *at) {
    if (w->n_levels == 0) return text_add(&w->path, "", 0);
    struct level *l = &w->levels[w->n_levels - 1];
    if (l->index >= 0) {
        char step[24];
        int n = snprintf(step, sizeof step, "/%ld", l->index++);
        return text_add(&w->path, step, (size_t)n);
    }
    const char *text = w->r->json.text;
    text_add(&w->path, "/", 1);
    size_t end = end_of(text, *at);
    for (size_t i = *at + 1; i + 1 < end; i++) {
        const char *escape = text[i] == '~' ? "~0" : text[i] == '/' ? "~1" : NULL; /* RFC 6901 */
        text_add(&w->path, escape ? escape : text + i, escape ? 2 : 1);
    }
    *at = end + strspn(text + end, ": \n\t\r");
    return !w->path.failed;
}

static bool begin_level(walker *w, char bracket) {
    struct level *levels = grow(w->levels, w->n_levels + 1, &w->level_capacity, sizeof *w->levels);
    if (!levels) return false;
    w->levels = levels;
    w->levels[w->n_levels++] = (struct level){w->path.n, bracket == '[' ? 0 : -1};
    return true;
}

static bool walk(walker *w) {
    const char *text = w->r->json.text;
    for (size_t at = 0;;) {
        at += strspn(text + at, ", \n\t\r");
        if (!text[at]) return true;
        if (text[at] == ']' || text[at] == '}') {
            if (w->n_levels == 0) return true;
            w->n_levels--;
            at++;
        } else {
            if (!enter(w, &at)) return false;
            if (text[at] == '[' || text[at] == '{') {
                if (!begin_level(w, text[at++])) return false;
                continue;
            }
            size_t end = end_of(text, at);
            put_value(w, at, end);
            at = end > at ? end : at + 1;
        }
        w->path.n = w->n_levels > 0 ? w->levels[w->n_levels - 1].n_path : 0;
    }
}

/* ---- Lines ---- */

char *result_line(const char *id, const result_text *r, bool confidence) {
    char *line = NULL;
    size_t n;
    FILE *out = open_memstream(&line, &n);
    if (!out) return NULL;
    fprintf(out, "{\"id\": %s, \"output\": %s", id, r->json.text);
    walker w = {.r = r, .out = out};
    bool ok = true;
    if (confidence) {
        fputs(", \"confidence\": {", out);
        ok = walk(&w);
        fputc('}', out);
    }
    fputs("}\n", out);
    text_free(&w.path);
    free(w.levels);
    if (fclose(out) == 0 && ok) return line;
    free(line);
    return NULL;
}

char *error_line(const char *id, const char *error) {
    char *line = NULL;
    size_t n;
    FILE *out = open_memstream(&line, &n);
    if (!out) return NULL;
    fprintf(out, "{\"id\": %s, \"error\": ", id);
    json j = {.out = out};
    json_text(&j, error);
    fputs("}\n", out);
    if (fclose(out) == 0) return line;
    free(line);
    return NULL;
}
