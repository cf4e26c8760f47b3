#include "documents.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "grow.h"
#include "options.h"

/* ---- In ---- */

/* The value of {{name}}. False if the document has no such member. */
static bool put_member(growing_text *out, json_t *object, const char *name, size_t n_name,
                       const char *schema) {
    json_t *v = json_object_getn(object, name, n_name);
    if (!v && n_name == strlen("schema") && memcmp(name, "schema", n_name) == 0) {
        text_add(out, schema, strlen(schema));
        return true;
    }
    if (!v) return false;
    if (json_is_string(v)) {
        text_add(out, json_string_value(v), json_string_length(v));
        return true;
    }
    char *dumped = json_dumps(v, JSON_ENCODE_ANY);
    if (dumped)
        text_add(out, dumped, strlen(dumped));
    else
        out->failed = true;
    free(dumped);
    return true;
}

static void set_error(document *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void set_error(document *d, const char *format, ...) {
    va_list args;
    va_start(args, format);
    if (vasprintf(&d->error, format, args) < 0) d->error = NULL;
    va_end(args);
}

/* `form` with the members put in; NULL with d->error, or without memory. */
static char *fill_in(json_t *object, const char *form, const char *schema, document *d) {
    growing_text filled = {0};
    text_add(&filled, "", 0);
    for (const char *at = form; *at;) {
        const char *open = strstr(at, "{{"), *close = open ? strstr(open, "}}") : NULL;
        if (!close) {
            text_add(&filled, at, strlen(at));
            break;
        }
        text_add(&filled, at, (size_t)(open - at));
        const char *name = open + 2, *end = close;
        while (name < end && *name == ' ') name++;
        while (end > name && end[-1] == ' ') end--;
        if (!put_member(&filled, object, name, (size_t)(end - name), schema)) {
            set_error(d, "the document has no member \"%.*s\"", (int)(end - name), name);
            filled.failed = true;
        }
        at = close + 2;
    }
    d->n_prompt = filled.n;
    if (!filled.failed) return filled.text;
    text_free(&filled);
    return NULL;
}

/* What one line holds, as an object; NULL with d->error, or without memory. */
static json_t *read_object(const char *line, size_t n, document *d) {
    json_error_t why;
    size_t flags = JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
    json_t *v = json_loadb(line, n, flags, &why);
    if (!v)
        v = json_loadb(line, n, flags | JSON_DECODE_INT_AS_REAL, &why); /* integers above 64 bits */
    if (json_is_string(v)) {
        json_t *object = json_pack("{s:o}", "text", v);
        return object;
    }
    if (json_is_object(v)) return v;
    if (v)
        set_error(d, "the line is neither an object nor a string");
    else
        set_error(d, "the line is no JSON: %s", why.text);
    json_decref(v);
    return NULL;
}

bool document_read(const char *line, size_t n, int64_t number, const char *form, const char *schema,
                   document *out) {
    *out = (document){.line = number};
    json_t *object = read_object(line, n, out);
    json_t *id = json_object_get(object, "id");
    if (object && json_is_string(id))
        out->id = json_dumps(id, JSON_ENCODE_ANY);
    else if (object && json_is_integer(id))
        out->id = json_dumps(id, JSON_ENCODE_ANY);
    else if (asprintf(&out->id, "%" PRId64, number) < 0)
        out->id = NULL;
    if (object) out->prompt = fill_in(object, form, schema, out);
    json_decref(object);
    return out->id && (out->prompt || out->error);
}

bool document_refused(int64_t number, const char *why, document *out) {
    *out = (document){.line = number, .error = strdup(why)};
    if (asprintf(&out->id, "%" PRId64, number) < 0) out->id = NULL;
    return out->id && out->error;
}

void document_free(document *d) {
    free(d->id);
    free(d->prompt);
    free(d->error);
    *d = (document){0};
}

/* ---- Out ---- */

static int fail_errno(const ordered_output *o, const char *what) {
    return fail("cannot %s %s: %s", what, o->path, strerror(errno));
}

/* Whole lines of the file, and the bytes that they take. */
static int count_lines(ordered_output *o) {
    char buffer[1 << 16];
    off_t at = 0;
    ssize_t n;
    while ((n = pread(o->fd, buffer, sizeof buffer, at)) != 0) {
        if (interrupted()) return EXIT_INTERRUPTED;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno(o, "read");
        for (ssize_t i = 0; i < n; i++) {
            if (buffer[i] != '\n') continue;
            o->n_written++;
            o->n_bytes = at + i + 1;
        }
        at += n;
    }
    return EXIT_DONE;
}

int output_open(ordered_output *o, const char *path, bool restart, int32_t n_lines, int input) {
    struct stat in, out;
    *o = (ordered_output){.fd = -1, .path = path, .n_lines = n_lines};
    o->lines = calloc((size_t)n_lines, sizeof *o->lines);
    if (!o->lines) return fail("no memory");
    o->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (o->fd < 0 || fstat(o->fd, &out) != 0) return fail_errno(o, "open");
    if (!S_ISREG(out.st_mode)) {
        o->n_bytes = -1;
        return EXIT_DONE;
    }
    if (fstat(input, &in) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino)
        return fail("%s is the input: its documents would be lost", path);
    if (flock(o->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return fail("%s is being written by another program", path);
    return restart ? EXIT_DONE : count_lines(o);
}

int output_check(const ordered_output *o, line_reader *written, const document *d) {
    const char *line = "";
    size_t n = 0, n_id = strlen(d->id);
    line_status status = lines_next(written, true, &line, &n);
    if (status == LINE_FAILED) return interrupted() ? EXIT_INTERRUPTED : EXIT_FAILED;
    /* as fields.c writes it, so nothing has to be parsed */
    static const char *const begins[] = {", \"output\": ", ", \"error\": "};
    for (int i = 0; i < 2 && status == LINE_IS; i++) {
        size_t n_begin = strlen(begins[i]);
        if (n >= 7 + n_id + n_begin && memcmp(line, "{\"id\": ", 7) == 0 &&
            memcmp(line + 7, d->id, n_id) == 0 && memcmp(line + 7 + n_id, begins[i], n_begin) == 0)
            return EXIT_DONE;
    }
    return fail("%s, line %zu: not of document %s, so it is the output of another input; --restart "
                "begins anew",
                o->path, written->n_lines, d->id);
}

int output_begin(ordered_output *o) {
    return o->n_bytes < 0 || ftruncate(o->fd, o->n_bytes) == 0 ? EXIT_DONE : fail_errno(o, "cut");
}

static int write_line(ordered_output *o, const char *line) {
    size_t n = strlen(line);
    while (n > 0) {
        ssize_t done = write(o->fd, line, n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return fail_errno(o, "write to");
        line += done;
        n -= (size_t)done;
    }
    return EXIT_DONE;
}

int output_put(ordered_output *o, int64_t index, char *line) {
    o->lines[index % o->n_lines] = line;
    int code = EXIT_DONE;
    for (;;) {
        char **first = &o->lines[o->n_written % o->n_lines];
        if (!*first || code != EXIT_DONE) return code;
        code = write_line(o, *first);
        free(*first);
        *first = NULL;
        o->n_written++;
    }
}

void output_close(ordered_output *o) {
    for (int32_t i = 0; o->lines && i < o->n_lines; i++) free(o->lines[i]);
    free(o->lines);
    if (o->fd >= 0) close(o->fd);
    *o = (ordered_output){.fd = -1};
}
