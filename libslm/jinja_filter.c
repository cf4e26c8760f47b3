/* Filters of text, numbers and single values; those of lists are jinja_list.c. */
#include "jinja.h"

#include <math.h>
#include <stdio.h>

bool slm__j_need_int(jinja *j, const jv *v, int64_t otherwise, int64_t *out) {
    *out = otherwise;
    if (!slm__j_given(v) || slm__j_is_int(v, out)) return true;
    return slm__j_fail(j, SLM_ERR_ARGUMENT, "expected an integer, found %s", slm__j_kind_name(v));
}

/* ---- Text ---- */

static bool cased(jinja *j, const jv *v, jcase how, jv *out) {
    jv s;
    return slm__j_to_string(j, v, &s) && slm__j_case(j, &s, how, out);
}
static bool f_lower(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    return cased(j, v, CASE_LOWER, out);
}
static bool f_upper(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    return cased(j, v, CASE_UPPER, out);
}
static bool f_capitalize(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    return cased(j, v, CASE_CAPITAL, out);
}

/* Words begin at the begin and behind any of "- ( { [ <" and white space. */
static bool f_title(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    jv s, upper, lower;
    jbuf *b = slm__j_buf(j, 0);
    if (!b || !slm__j_to_string(j, v, &s)) return false;
    bool begin = true;
    for (uint32_t i = 0, n; i < s.len; i += n) {
        uint32_t cp = slm__j_char(jbytes(&s) + i, s.len - i, &n), word = n;
        bool space = slm__j_is_space(cp) || (cp < 0x80 && strchr("-({[<", (int)cp) && cp);
        while (!space && !begin && i + word < s.len) {
            uint32_t m, next = slm__j_char(jbytes(&s) + i + word, s.len - i - word, &m);
            if (slm__j_is_space(next) || (next < 0x80 && next && strchr("-({[<", (int)next))) break;
            word += m;
        }
        n = word;
        jv c = jsub(&s, i, n);
        if (!slm__j_case(j, &c, CASE_UPPER, &upper) || !slm__j_case(j, &c, CASE_LOWER, &lower) ||
            !slm__j_put_str(j, b, begin ? &upper : &lower))
            return false;
        begin = space;
    }
    *out = slm__j_whole(b);
    return true;
}

static bool f_trim(jinja *j, const jv *v, jargs *a, jv *out) {
    jv s;
    return slm__j_to_string(j, v, &s) && slm__j_strip(j, &s, &a->v[0], true, true, out);
}

static bool f_string(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    return slm__j_to_string(j, v, out);
}

static bool f_safe(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    if (!slm__j_to_string(j, v, out)) return false;
    out->flag = FLAG_SAFE;
    return true;
}

static bool f_escape(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    jv s;
    return slm__j_to_string(j, v, &s) && slm__j_escape(j, &s, out);
}

static bool f_forceescape(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    jv s;
    if (!slm__j_to_string(j, v, &s)) return false;
    s.flag = 0;
    return slm__j_escape(j, &s, out);
}

static bool f_replace(jinja *j, const jv *v, jargs *a, jv *out) {
    jv s, old, new;
    int64_t count = -1;
    if (slm__j_given(&a->v[2]) && a->v[2].kind != J_NONE &&
        !slm__j_need_int(j, &a->v[2], -1, &count))
        return false;
    if (!slm__j_to_string(j, v, &s) || !slm__j_to_string(j, &a->v[0], &old) ||
        !slm__j_to_string(j, &a->v[1], &new))
        return false;
    s.flag = 0;
    return slm__j_replace(j, &s, &old, &new, count, out);
}

static bool f_center(jinja *j, const jv *v, jargs *a, jv *out) {
    jv s, args[2] = {slm__j_given(&a->v[0]) ? a->v[0] : JINT(80)};
    jargs with = {.v = args, .n = 1};
    return slm__j_to_string(j, v, &s) &&
           slm__j_call_row(j, slm__j_find(slm__j_string_methods, (slm__str){"center", 6}), &s,
                           &with, out);
}

static bool f_format(jinja *j, const jv *v, jargs *a, jv *out) {
    jv s, values;
    if (!slm__j_to_string(j, v, &s)) return false;
    if (a->n_keywords == 0) {
        if (!slm__j_list(j, J_TUPLE, a->n, &values)) return false;
        for (uint32_t i = 0; i < a->n; i++) {
            if (!slm__j_append(j, values.u.list, &a->v[i])) return false;
        }
        return slm__j_percent(j, &s, &values, out);
    }
    if (a->n) return slm__j_fail(j, SLM_ERR_ARGUMENT, "format: arguments by position and by name");
    if (!slm__j_dict(j, J_DICT, &values)) return false;
    for (uint32_t i = 0; i < a->n_keywords; i++) {
        jv key;
        if (!slm__j_keyword_name(j, &a->keywords[i], &key) ||
            !slm__j_dict_set(j, values.u.dict, &key, &a->keywords[i].value))
            return false;
    }
    return slm__j_percent(j, &s, &values, out);
}

/* All lines but the first, with `first` it too; empty ones only with `blank`. */
static bool f_indent(jinja *j, const jv *v, jargs *a, jv *out) {
    jv indent;
    int64_t width = 4;
    jlist *lines;
    bool first = slm__j_truth(&a->v[1]), blank = slm__j_truth(&a->v[2]);
    if (v->kind != J_STRING)
        return v->kind == J_UNDEFINED ? slm__j_fail_undefined(j, v)
                                      : slm__j_fail(j, SLM_ERR_ARGUMENT, "indent wants a string");
    jbuf *b = slm__j_buf(j, v->len), *spaces = slm__j_buf(j, 0);
    if (!b || !spaces || !slm__j_splitlines(j, v, false, &lines)) return false;
    if (a->v[0].kind == J_STRING) {
        indent = a->v[0];
    } else {
        if (!slm__j_need_int(j, &a->v[0], 4, &width)) return false;
        for (int64_t i = 0; i < width; i++) {
            if (!slm__j_puts(j, spaces, " ")) return false;
        }
        indent = slm__j_whole(spaces);
    }
    /* a newline at the end is a line more that is empty, as the text gets one more before it is split */
    const jv *end = lines->n ? &lines->v[lines->n - 1] : NULL;
    uint32_t n = lines->n + (!end || end->at + end->len < v->at + v->len);
    if (first && !slm__j_put_str(j, b, &indent)) return false;
    for (uint32_t i = 0; i < n; i++) {
        jv line = i < lines->n ? lines->v[i] : jsub(v, 0, 0);
        if (i > 0 && !slm__j_puts(j, b, "\n")) return false;
        if (i > 0 && (blank || line.len > 0) && !slm__j_put_str(j, b, &indent)) return false;
        if (!slm__j_put_str(j, b, &line)) return false;
    }
    *out = slm__j_whole(b);
    out->flag = v->flag;
    return true;
}

static bool f_truncate(jinja *j, const jv *v, jargs *a, jv *out) {
    jv s = *v, end = a->v[2], cut, bounds[3] = {JNONE, JNONE, JNONE};
    int64_t length, leeway, n, n_end;
    if (!slm__j_given(&end) && !slm__j_text(j, "...", &end)) return false;
    if (end.kind != J_STRING) return slm__j_fail(j, SLM_ERR_ARGUMENT, "truncate: end is no string");
    if (!slm__j_need_int(j, &a->v[0], 255, &length) || !slm__j_need_int(j, &a->v[3], 5, &leeway) ||
        !slm__j_length(j, v, &n) || !slm__j_length(j, &end, &n_end))
        return false;
    *out = *v;
    if (length < 0) length = 0; /* too short in any case, and nothing overflows */
    if (n <= length || n - length <= leeway) return true;
    if (v->kind != J_STRING) return slm__j_fail(j, SLM_ERR_ARGUMENT, "truncate wants a string");
    if (length < n_end)
        return slm__j_fail(j, SLM_ERR_ARGUMENT,
                           "truncate: the length is less than that of the end");
    bounds[1] = JINT(length - n_end);
    if (!slm__j_slice(j, &s, bounds, &cut)) return false;
    for (uint32_t i = cut.len; !slm__j_truth(&a->v[1]) && i-- > 0;) {
        if (jbytes(&cut)[i] != ' ') continue;
        cut.len = i;
        break;
    }
    return slm__j_concat(j, &cut, &end, out);
}

/* ---- Numbers ---- */

/* The text without white space around and without single underscores between digits, or NULL. */
static bool clean_number(const jv *v, char text[400]) {
    const char *p = jbytes(v);
    uint32_t begin = 0, end = v->len, n = 0, len;
    while (begin < end && slm__j_is_space(slm__j_char(p + begin, end - begin, &len))) begin += len;
    while (end > begin && slm__j_is_space((uint8_t)p[end - 1])) end--;
    if (end - begin >= 399 || begin == end) return false;
    for (uint32_t i = begin; i < end; i++) {
        bool between = i > begin && i + 1 < end && p[i - 1] >= '0' && p[i - 1] <= '9' &&
                       p[i + 1] >= '0' && p[i + 1] <= '9';
        if (p[i] == '_' && between) continue;
        if (p[i] == '_' || p[i] == 0 || p[i] & 0x80) return false;
        text[n++] = p[i];
    }
    text[n] = '\0';
    return true;
}

static bool parse_float(const jv *v, double *out) {
    static const char *const words[] = {"inf", "infinity", "nan"};
    char text[400];
    if (!clean_number(v, text)) return false;
    const char *p = text + (text[0] == '-' || text[0] == '+');
    for (int i = 0; i < 3; i++) {
        size_t k = 0;
        while (words[i][k] && (p[k] | 0x20) == words[i][k]) k++;
        if (words[i][k] || p[k]) continue;
        *out = i == 2 ? (double)NAN : text[0] == '-' ? -(double)INFINITY : (double)INFINITY;
        return true;
    }
    if (strspn(p, "0123456789.eE+-") != strlen(p) || !*p) return false;
    return slm__j_parse_float(text, strlen(text), out);
}

/* 1 whole, 0 none, -1 too large */
static int parse_int(const jv *v, int64_t base, int64_t *out) {
    char text[400];
    if (!clean_number(v, text)) return 0;
    const char *p = text + (text[0] == '-' || text[0] == '+');
    static const char prefixes[][2] = {{'x', 16}, {'o', 8}, {'b', 2}};
    for (int i = 0; i < 3 && p[0] == '0'; i++) {
        if ((p[1] | 0x20) != prefixes[i][0] || (base != prefixes[i][1] && base != 0)) continue;
        base = prefixes[i][1];
        p += 2;
        break;
    }
    if (base == 0) base = 10;
    if (!*p) return 0;
    for (*out = 0; *p; p++) {
        int c = *p | 0x20, d = *p >= '0' && *p <= '9' ? *p - '0'
                               : c >= 'a' && c <= 'z' ? c - 'a' + 10
                                                      : 99;
        if (d >= base) return 0;
        if (__builtin_mul_overflow(*out, base, out) ||
            (text[0] == '-' ? __builtin_sub_overflow(*out, (int64_t)d, out)
                            : __builtin_add_overflow(*out, (int64_t)d, out)))
            return -1;
    }
    return 1;
}

static bool from_float(jinja *j, double f, const jv *otherwise, jv *out) {
    if (isnan(f) || isinf(f)) {
        *out = *otherwise;
        return true;
    }
    if (fabs(f) >= 9.2e18)
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "the result is an integer of more than 64 bits");
    *out = JINT((int64_t)f);
    return true;
}

static bool f_int(jinja *j, const jv *v, jargs *a, jv *out) {
    jv otherwise = slm__j_given(&a->v[0]) ? a->v[0] : JINT(0);
    int64_t base, i;
    double f;
    if (v->kind == J_UNDEFINED) return slm__j_fail_undefined(j, v);
    if (!slm__j_need_int(j, &a->v[1], 10, &base)) return false;
    if (slm__j_is_int(v, &i)) {
        *out = JINT(i);
        return true;
    }
    if (v->kind == J_FLOAT && isinf(v->u.f))
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "infinity is no integer");
    if (v->kind == J_FLOAT) return from_float(j, v->u.f, &otherwise, out);
    *out = otherwise;
    if (v->kind != J_STRING) return true;
    if (!slm__j_scan(j, v->len)) return false;
    int found = parse_int(v, base, &i);
    if (found < 0)
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "the result is an integer of more than 64 bits");
    if (found) {
        *out = JINT(i);
        return true;
    }
    return !parse_float(v, &f) || from_float(j, f, &otherwise, out);
}

static bool f_float(jinja *j, const jv *v, jargs *a, jv *out) {
    double f;
    if (v->kind == J_UNDEFINED) return slm__j_fail_undefined(j, v);
    if (v->kind == J_STRING && !slm__j_scan(j, v->len)) return false;
    bool ok = slm__j_is_number(v, &f) || (v->kind == J_STRING && parse_float(v, &f));
    *out = ok ? JFLOAT(f) : slm__j_given(&a->v[0]) ? a->v[0] : JFLOAT(0);
    return true;
}

static bool need_number(jinja *j, const jv *v, double *out) {
    if (slm__j_is_number(v, out)) return true;
    if (v->kind == J_UNDEFINED) return slm__j_fail_undefined(j, v);
    return slm__j_fail(j, SLM_ERR_ARGUMENT, "expected a number, found %s", slm__j_kind_name(v));
}

static bool f_abs(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    double f;
    int64_t i;
    if (!need_number(j, v, &f)) return false;
    *out = JFLOAT(fabs(f));
    if (!slm__j_is_int(v, &i)) return true;
    *out = JINT(i < 0 ? -i : i);
    return i != INT64_MIN ||
           slm__j_fail(j, SLM_ERR_ARGUMENT, "the result is an integer of more than 64 bits");
}

static bool f_round(jinja *j, const jv *v, jargs *a, jv *out) {
    double f, scale = 1;
    int64_t precision, i;
    char text[400];
    if (!need_number(j, v, &f) || !slm__j_need_int(j, &a->v[0], 0, &precision)) return false;
    bool up = slm__j_given(&a->v[1]) && jis(&a->v[1], "ceil"),
         down = slm__j_given(&a->v[1]) && jis(&a->v[1], "floor");
    if (slm__j_given(&a->v[1]) && !up && !down && !jis(&a->v[1], "common"))
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "round: method must be common, ceil or floor");
    if (precision < 0 || precision > 15)
        return slm__j_fail(j, SLM_ERR_UNSUPPORTED, "round: precision must be 0 to 15");
    for (int64_t k = 0; k < precision; k++) scale *= 10;
    if (up || down) {
        if (isinf(f) || isnan(f)) return slm__j_fail(j, SLM_ERR_ARGUMENT, "round: not finite");
        *out = JFLOAT(((up ? ceil(f * scale) : floor(f * scale)) + 0.0) / scale); /* no -0 */
        return true;
    }
    *out = *v;
    if (slm__j_is_int(v, &i)) *out = JINT(i);
    if (v->kind != J_FLOAT || isinf(f) || isnan(f) || fabs(f) > 1e300) return true;
    snprintf(text, sizeof text, "%.*f", (int)precision,
             f); /* rounded as Python does: the exact value */
    for (char *p = text; *p; p++) {
        if (*p == ',') *p = '.';
    }
    *out = JFLOAT(f);
    return slm__j_parse_float(text, strlen(text), &out->u.f);
}

/* ---- Others ---- */

static bool f_default(jinja *j, const jv *v, jargs *a, jv *out) {
    *out = *v;
    if (v->kind != J_UNDEFINED && (!slm__j_truth(&a->v[1]) || slm__j_truth(v))) return true;
    if (!slm__j_given(&a->v[0])) return slm__j_text(j, "", out);
    *out = a->v[0];
    return true;
}

static bool f_attr(jinja *j, const jv *v, jargs *a, jv *out) {
    if (v->kind == J_DICT && a->v[0].kind == J_STRING && !slm__j_method(v, jstr(&a->v[0]))) {
        *out = JUNDEF;
        return true;
    }
    jv name;
    if (!slm__j_to_string(j, &a->v[0], &name)) return false;
    const jname *n = slm__j_name(j, jbytes(&name), name.len);
    return n && slm__j_attr(j, v, n, out);
}

static bool f_tojson(jinja *j, const jv *v, jargs *a, jv *out) {
    jjson style = {.ascii = slm__j_truth(&a->v[0]), .sorted = slm__j_truth(&a->v[3])};
    int64_t width = 0;
    jbuf *b = slm__j_buf(j, 0), *indent = slm__j_buf(j, 0);
    if (!b || !indent) return false;
    style.pretty = slm__j_given(&a->v[1]) && a->v[1].kind != J_NONE;
    style.indent = a->v[1];
    if (style.pretty && a->v[1].kind != J_STRING) {
        if (!slm__j_need_int(j, &a->v[1], 0, &width)) return false;
        for (int64_t i = 0; i < width; i++) {
            if (!slm__j_puts(j, indent, " ")) return false;
        }
        style.indent = slm__j_whole(indent);
    }
    if (!slm__j_text(j, style.pretty ? "," : ", ", &style.item_separator) ||
        !slm__j_text(j, ": ", &style.key_separator))
        return false;
    if (slm__j_given(&a->v[2]) && a->v[2].kind != J_NONE) {
        jlist *l;
        if (!slm__j_elements(j, &a->v[2], &l)) return false;
        if (l->n != 2 || l->v[0].kind != J_STRING || l->v[1].kind != J_STRING)
            return slm__j_fail(j, SLM_ERR_ARGUMENT, "tojson: separators must be two strings");
        style.item_separator = l->v[0];
        style.key_separator = l->v[1];
    }
    if (!slm__j_json(j, b, v, &style)) return false;
    *out = slm__j_whole(b);
    return true;
}

/* Not of jinja2; some templates of llama.cpp use it. */
static bool f_from_json(jinja *j, const jv *v, jargs *a, jv *out) {
    (void)a;
    slm__json tree;
    slm_error err;
    if (v->kind != J_STRING) return slm__j_fail(j, SLM_ERR_ARGUMENT, "from_json wants a string");
    if (!slm__j_step(j, v->len)) return false;
    if (slm__json_cost(jbytes(v), v->len) > j->memory_left)
        return slm__j_fail(j, SLM_ERR_LIMIT, "it takes more than %d MiB of memory",
                           JINJA_MEMORY >> 20);
    slm_status s = slm__json_parse(j->allocator, jbytes(v), v->len, &tree, &err);
    if (s == SLM_ERR_NOMEM) return slm__j_fail(j, s, "no memory for a chat template");
    if (s != SLM_OK) return slm__j_fail(j, SLM_ERR_ARGUMENT, "from_json: %s", err.message);
    bool marked = false;
    for (uint32_t i = 0; i < v->len && !marked; i++) marked = jmarked(v, i);
    bool ok = slm__j_from_json(j, tree.values, marked, true, out);
    slm__json_free(&tree);
    return ok;
}

const jrow slm__j_filters[] = {
    {"abs", f_abs, "", 0},
    {"attr", f_attr, "name", 1},
    {"batch", slm__f_batch, "linecount fill_with", 1},
    {"capitalize", f_capitalize, "", 0},
    {"center", f_center, "width", 0},
    {"count", slm__f_length, "", 0},
    {"d", f_default, "default_value boolean", 0},
    {"default", f_default, "default_value boolean", 0},
    {"dictsort", slm__f_dictsort, "case_sensitive by reverse", 0},
    {"e", f_escape, "", 0},
    {"escape", f_escape, "", 0},
    {"first", slm__f_first, "", 0},
    {"float", f_float, "default", 0},
    {"forceescape", f_forceescape, "", 0},
    {"format", f_format, NULL, 0},
    {"from_json", f_from_json, "", 0},
    {"indent", f_indent, "width first blank", 0},
    {"int", f_int, "default base", 0},
    {"items", slm__f_items, "", 0},
    {"join", slm__f_join, "d attribute", 0},
    {"last", slm__f_last, "", 0},
    {"length", slm__f_length, "", 0},
    {"list", slm__f_list, "", 0},
    {"lower", f_lower, "", 0},
    {"map", slm__f_map, NULL, 0},
    {"max", slm__f_max, "case_sensitive attribute", 0},
    {"min", slm__f_min, "case_sensitive attribute", 0},
    {"reject", slm__f_reject, NULL, 0},
    {"rejectattr", slm__f_rejectattr, NULL, 0},
    {"replace", f_replace, "old new count", 2},
    {"reverse", slm__f_reverse, "", 0},
    {"round", f_round, "precision method", 0},
    {"safe", f_safe, "", 0},
    {"select", slm__f_select, NULL, 0},
    {"selectattr", slm__f_selectattr, NULL, 0},
    {"slice", slm__f_slice, "slices fill_with", 1},
    {"sort", slm__f_sort, "reverse case_sensitive attribute", 0},
    {"string", f_string, "", 0},
    {"sum", slm__f_sum, "attribute start", 0},
    {"title", f_title, "", 0},
    {"tojson", f_tojson, "ensure_ascii indent separators sort_keys", 0},
    {"trim", f_trim, "chars", 0},
    {"truncate", f_truncate, "length killwords end leeway", 0},
    {"unique", slm__f_unique, "case_sensitive attribute", 0},
    {"upper", f_upper, "", 0},
    {0},
};
