#include "plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grow.h"
#include "io.h"
#include "outfile.h"

enum { MOST_CHOICES = 1 << 16 };

/* Pattern and type are one copy, split at the last '=', where the type is that follows it. */
typedef enum added { ADDED, NO_CHOICE, NO_MEMORY } added;

static added add(choice_list *list, const char *text, size_t n) {
    const char *equals = memrchr(text, '=', n);
    if (!equals || equals == text || equals + 1 == text + n || memchr(text, '\0', n))
        return NO_CHOICE;
    void *v = grow(list->v, (size_t)list->n + 1, &list->capacity, sizeof *list->v);
    char *copy = v ? strndup(text, n) : NULL;
    if (v) list->v = v;
    if (!copy) return NO_MEMORY;
    copy[equals - text] = '\0';
    list->v[list->n++] = (slm_tensor_choice){copy, copy + (equals + 1 - text)};
    return ADDED;
}

void choices_free(choice_list *list) {
    for (int32_t i = 0; i < list->n; i++) free((char *)list->v[i].pattern);
    free(list->v);
    *list = (choice_list){0};
}

int choices_parse(choice_list *list, const command *self, const text_list *texts) {
    for (int32_t i = 0; i < texts->n; i++) {
        added a = add(list, texts->v[i], strlen(texts->v[i]));
        if (a == NO_MEMORY) return fail("no memory");
        if (a == NO_CHOICE)
            return usage_error(self, "--tensor %s: expected PATTERN=TYPE", texts->v[i]);
    }
    return EXIT_DONE;
}

static int add_line(choice_list *list, const line_reader *r, const char *line, size_t n) {
    if (n == 0 || line[0] == '#') return EXIT_DONE;
    if (list->n == MOST_CHOICES) return fail("%s: more than %d choices", r->name, MOST_CHOICES);
    switch (add(list, line, n)) {
    case ADDED: return EXIT_DONE;
    case NO_MEMORY: return fail("no memory");
    default: return fail("%s: line %zu: expected PATTERN=TYPE", r->name, r->n_lines);
    }
}

int plan_read(choice_list *list, const char *path) {
    line_reader r;
    const char *line;
    size_t n;
    if (!lines_open(&r, path)) return EXIT_FAILED;
    int code = EXIT_DONE;
    line_status status = LINE_IS;
    while (code == EXIT_DONE && (status = lines_next(&r, true, &line, &n)) == LINE_IS)
        code = add_line(list, &r, line, n);
    lines_close(&r);
    return status != LINE_FAILED ? code : interrupted() ? EXIT_INTERRUPTED : EXIT_FAILED;
}

static slm_quantized_tensor tensor_at(const slm_quantizer *q, int32_t i) {
    slm_quantized_tensor t = {.size = sizeof t};
    slm_quantizer_get_tensor(q, i, &t); /* cannot fail: i is below their number */
    return t;
}

/* Whether the line of that name is read as what it is, and the name as no pattern. */
static bool fits_in_a_line(const char *name) { return name[0] != '#' && !strpbrk(name, "\r\n*?"); }

static void write_choices(const slm_quantizer *q, const slm_quantizer_info *info, FILE *out) {
    fprintf(out, "# slm quantize IN OUT %s --plan FILE\n", info->type);
    for (int32_t i = 0; i < info->n_tensors; i++) {
        slm_quantized_tensor t = tensor_at(q, i);
        if (t.quantizable) fprintf(out, "%s=%s\n", t.name, t.to);
    }
}

int plan_write(const char *path, const slm_quantizer *q) {
    slm_quantizer_info info = {.size = sizeof info};
    slm_quantizer_get_info(q, &info); /* cannot fail: pointers and size are good */
    for (int32_t i = 0; i < info.n_tensors; i++)
        if (!fits_in_a_line(tensor_at(q, i).name))
            return fail("no plan can be saved: the name of tensor %d does not fit in a line of it",
                        (int)i);
    out_file f;
    int code = out_open(&f, path);
    if (code != EXIT_DONE) return code;
    write_choices(q, &info, f.out);
    return out_close(&f, true);
}
