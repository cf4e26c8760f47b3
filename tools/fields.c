#include "fields.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

/* Room for one element more. */
static bool grow(void **array, size_t n, size_t *capacity, size_t size) {
    if (n < *capacity) return true;
    size_t more = 2 * n + 64;
    void *p = realloc(*array, more * size);
    if (!p) return false;
    *array = p;
    *capacity = more;
    return true;
}

bool result_add(result_text *r, const char *text, size_t n, double logprob) {
    if (r->capacity - r->n <= n) {
        size_t capacity = 2 * r->capacity + n + 64;
        char *more = realloc(r->text, capacity);
        if (!more) return false;
        r->text = more;
        r->capacity = capacity;
    }
    if (!grow((void **)&r->tokens, r->n_tokens, &r->token_capacity, sizeof *r->tokens))
        return false;
    r->tokens[r->n_tokens++] = (result_token){r->n, logprob};
    memcpy(r->text + r->n, text, n);
    r->n += n;
    r->text[r->n] = '\0';
    return true;
}

void result_clear(result_text *r) { r->n = r->n_tokens = 0; }

void result_free(result_text *r) {
    free(r->text);
    free(r->tokens);
}

/* ---- Values and their places: the text is JSON, the grammar saw to it ---- */

typedef struct walker {
    const result_text *r;
    FILE *out;
    bool comma;
    char *path; /* a JSON pointer, as it stands in JSON */
    size_t n_path, path_capacity;
    struct level {
        size_t n_path; /* of the array or object itself */
        long index;    /* of an array; -1: an object    */
    } * levels;
    size_t n_levels, level_capacity;
    size_t token; /* the first one that may touch the next value */
} walker;

static bool add_to_path(walker *w, char c) {
    if (!grow((void **)&w->path, w->n_path, &w->path_capacity, 1)) return false;
    w->path[w->n_path++] = c;
    return true;
}

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
    fprintf(w->out, "%s\"%.*s\": %.4g", w->comma ? ", " : "", (int)w->n_path,
            w->path ? w->path : "", exp(logprob_of(w, begin, end)));
    w->comma = true;
}

/* The next element of an array, or the member whose key begins at `at`, joins the path; *at moves to its value. */
static bool enter(walker *w, size_t *at) {
    if (w->n_levels == 0) return true;
    struct level *l = &w->levels[w->n_levels - 1];
    bool ok = add_to_path(w, '/');
    if (l->index >= 0) {
        char digits[24];
        snprintf(digits, sizeof digits, "%ld", l->index++);
        for (const char *c = digits; *c; c++) ok &= add_to_path(w, *c);
        return ok;
    }
    const char *text = w->r->text;
    size_t end = end_of(text, *at);
    for (size_t i = *at + 1; i + 1 < end; i++) {
        bool escaped = text[i] == '~' || text[i] == '/'; /* RFC 6901 */
        ok &= add_to_path(w, escaped ? '~' : text[i]);
        if (escaped) ok &= add_to_path(w, text[i] == '~' ? '0' : '1');
    }
    *at = end + strspn(text + end, ": \n\t\r");
    return ok;
}

static bool walk(walker *w) {
    const char *text = w->r->text;
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
                if (!grow((void **)&w->levels, w->n_levels, &w->level_capacity, sizeof *w->levels))
                    return false;
                w->levels[w->n_levels++] = (struct level){w->n_path, text[at++] == '[' ? 0 : -1};
                continue;
            }
            size_t end = end_of(text, at);
            put_value(w, at, end);
            at = end > at ? end : at + 1;
        }
        w->n_path = w->n_levels > 0 ? w->levels[w->n_levels - 1].n_path : 0;
    }
}

/* ---- Lines ---- */

char *result_line(const char *id, const result_text *r, bool confidence) {
    char *line = NULL;
    size_t n;
    FILE *out = open_memstream(&line, &n);
    if (!out) return NULL;
    fprintf(out, "{\"id\": %s, \"output\": %s", id, r->text);
    walker w = {.r = r, .out = out};
    bool ok = true;
    if (confidence) {
        fputs(", \"confidence\": {", out);
        ok = walk(&w);
        fputc('}', out);
    }
    fputs("}\n", out);
    free(w.path);
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
