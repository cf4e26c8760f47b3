#include "lineedit.h"

#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include "grow.h"
#include "io.h"
#include "options.h"

enum { HISTORY = 1000 };

struct line_editor {
    EditLine *edit; /* NULL: standard input is no terminal */
    History *history;
    const char *history_file;
    line_reader lines;
    bool goes_on; /* the prompt is that of a message that has begun */
    growing_text text;
};

static char *prompt(EditLine *edit) {
    static char first[] = "> ", more[] = ". ";
    line_editor *e;
    el_get(edit, EL_CLIENTDATA, &e);
    return e->goes_on ? more : first;
}

/* One character. By itself the library would miss a Ctrl-C that comes just before it waits. */
static int read_character(EditLine *edit, wchar_t *out) {
    mbstate_t state = {0};
    (void)edit;
    for (;;) {
        struct pollfd in = {STDIN_FILENO, POLLIN, 0};
        char byte;
        int ready = poll(&in, 1, 100);
        if (interrupted()) return -1;
        if (ready <= 0) continue;
        ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return (int)n;
        size_t length = mbrtowc(out, &byte, 1, &state);
        if (length == (size_t)-2) continue; /* more bytes to come */
        if (length != (size_t)-1) return 1;
        state = (mbstate_t){0};
        *out = L'?';
        return 1;
    }
}

static bool open_terminal(line_editor *e) {
    HistEvent event;
    setlocale(LC_CTYPE, ""); /* characters of more than a byte */
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) setlocale(LC_CTYPE, "C.UTF-8");
    e->edit = el_init("slm", stdin, stdout, stderr);
    e->history = history_init();
    if (!e->edit || !e->history) return false;
    el_set(e->edit, EL_CLIENTDATA, e);
    el_set(e->edit, EL_PROMPT, prompt);
    el_set(e->edit, EL_EDITOR, "emacs");
    el_set(e->edit, EL_SIGNAL, 1); /* the terminal is given back when the program is ended */
    el_wset(e->edit, EL_GETCFN, read_character);
    el_set(e->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_set(e->edit, EL_HIST, history, e->history);
    history(e->history, &event, H_SETSIZE, HISTORY);
    history(e->history, &event, H_SETUNIQUE, 1);
    if (e->history_file)
        history(e->history, &event, H_LOAD, e->history_file); /* there may be none */
    return true;
}

line_editor *editor_open(const char *history_file) {
    line_editor *e = calloc(1, sizeof *e);
    if (!e) {
        fail("no memory");
        return NULL;
    }
    e->lines.fd = -1;
    e->history_file = history_file;
    bool ok = isatty(STDIN_FILENO) ? open_terminal(e) : lines_open(&e->lines, NULL);
    if (ok) return e;
    if (isatty(STDIN_FILENO)) fail("the terminal cannot be used");
    editor_close(e);
    return NULL;
}

void editor_close(line_editor *e) {
    if (!e) return;
    if (e->history) history_end(e->history);
    if (e->edit) el_end(e->edit);
    lines_close(&e->lines);
    text_free(&e->text);
    free(e);
}

bool editor_is_terminal(const line_editor *e) { return e->edit != NULL; }

static input_status read_terminal(line_editor *e, const char **line, size_t *n) {
    HistEvent event;
    int count = 0;
    errno = 0;
    *line = el_gets(e->edit, &count);
    if (interrupted()) {
        clear_interrupt();
        putchar('\n');
        return INPUT_DROPPED;
    }
    if (!*line || count <= 0) {
        putchar('\n');
        return INPUT_END;
    }
    *n = (size_t)count;
    if (strspn(*line, " \n") < *n) {
        history(e->history, &event, H_ENTER, *line);
        if (e->history_file) history(e->history, &event, H_SAVE, e->history_file);
    }
    if ((*line)[*n - 1] == '\n') --*n;
    return INPUT_IS;
}

static input_status read_line(line_editor *e, const char **line, size_t *n) {
    if (e->edit) return read_terminal(e, line, n);
    switch (lines_next(&e->lines, true, line, n)) {
    case LINE_IS: return INPUT_IS;
    case LINE_FAILED: return interrupted() ? INPUT_END : INPUT_FAILED;
    default: return INPUT_END;
    }
}

input_status editor_read(line_editor *e, const char **text, size_t *n) {
    bool quoted = false;
    input_status status = INPUT_IS;
    text_clear(&e->text);
    e->goes_on = false;
    for (bool more = true; more; e->goes_on = more) {
        const char *line;
        size_t length;
        status = read_line(e, &line, &length);
        if (status == INPUT_END && e->goes_on) break; /* of what there is */
        if (status != INPUT_IS) return status;
        bool quotes = length == 3 && memcmp(line, "\"\"\"", 3) == 0;
        if (quotes && !e->goes_on) {
            quoted = true;
            continue;
        }
        if (quotes && quoted) break;
        more = quoted || (length > 0 && line[length - 1] == '\\');
        if (!quoted && more) length--;
        text_add(&e->text, line, length);
        if (more) text_add(&e->text, "\n", 1);
    }
    growing_text *t = &e->text;
    if (quoted && t->n > 0 && t->text[t->n - 1] == '\n') t->n--;
    if (!text_add(t, "", 0)) {
        fail("no memory for a message");
        return INPUT_FAILED;
    }
    *text = t->text;
    *n = t->n;
    return INPUT_IS;
}
