/* Values as text: str(), repr() and JSON as Python writes them, the formats of str.format(), "%" and strftime(). */
#include "jinja.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "gguf.h"
#include "jinja_tab.h"
#include "unicode.h"

/* ---- Numbers ---- */

void slm__j_float_text(double v, char out[SLM__FLOAT_TEXT]) {
    slm__float_text(isnan(v) ? (double)NAN : v, false, out);
    if (isfinite(v) && !strpbrk(out, ".e")) memcpy(out + strlen(out), ".0", 3);
}

/* strtod() reads the point of the program's locale. */
bool slm__j_parse_float(const char *s, size_t n, double *out) {
    char text[440], half[16], *end;
    snprintf(half, sizeof half, "%.1f", 0.5);
    size_t n_point = strlen(half) - 2, used = 0;
    for (size_t i = 0; i < n; i++) {
        if (used + n_point + 1 >= sizeof text) return false;
        if (s[i] == '.') {
            memcpy(text + used, half + 1, n_point);
            used += n_point;
        } else {
            text[used++] = s[i];
        }
    }
    text[used] = '\0';
    *out = strtod(text, &end);
    return used > 0 && end == text + used;
}

/* ---- repr() ---- */

static bool is_printable(uint32_t cp) {
    if (cp < 0x7f) return cp >= 0x20;
    uint32_t low = 0, high = slm__j_n_unprintable;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (slm__j_unprintable[middle][1] < cp)
            low = middle + 1;
        else
            high = middle;
    }
    return low == slm__j_n_unprintable || cp < slm__j_unprintable[low][0];
}

static bool repr_char(jinja *j, jbuf *b, const jv *s, uint32_t at, uint32_t len, uint32_t cp,
                      char quote) {
    char text[16];
    bool marked = jmarked(s, at);
    if (cp == (uint32_t)quote || cp == '\\')
        snprintf(text, sizeof text, "\\%c", (char)cp);
    else if (cp == '\n' || cp == '\r' || cp == '\t')
        snprintf(text, sizeof text, "\\%c", cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't');
    else if (is_printable(cp) && !(cp >= 0xdc80 && cp <= 0xdcff))
        return slm__j_put(j, b, jbytes(s) + at, len, marked);
    else
        snprintf(text, sizeof text,
                 cp < 0x100     ? "\\x%02x"
                 : cp < 0x10000 ? "\\u%04x"
                                : "\\U%08x",
                 cp);
    return slm__j_put(j, b, text, strlen(text), marked);
}

static bool repr_string(jinja *j, jbuf *b, const jv *s) {
    const char *p = jbytes(s);
    bool single = s->len && memchr(p, '\'', s->len), both = single && memchr(p, '"', s->len);
    char quote = single && !both ? '"' : '\'';
    if (s->flag & FLAG_SAFE && !slm__j_puts(j, b, "Markup(")) return false;
    if (!slm__j_put(j, b, &quote, 1, false)) return false;
    for (uint32_t i = 0, len; i < s->len; i += len) {
        uint32_t cp = slm__j_char(p + i, s->len - i, &len);
        if (!repr_char(j, b, s, i, len, cp, quote)) return false;
    }
    if (!slm__j_put(j, b, &quote, 1, false)) return false;
    return !(s->flag & FLAG_SAFE) || slm__j_puts(j, b, ")");
}

static bool repr(jinja *j, jbuf *b, const jv *v, uint32_t depth);

static bool repr_list(jinja *j, jbuf *b, const jlist *l, const char *open, const char *close,
                      uint32_t depth) {
    if (!slm__j_puts(j, b, open)) return false;
    for (uint32_t i = 0; i < l->n; i++) {
        if (i > 0 && !slm__j_puts(j, b, ", ")) return false;
        if (!repr(j, b, &l->v[i], depth + 1)) return false;
    }
    return slm__j_puts(j, b, close);
}

static bool repr_dict(jinja *j, jbuf *b, const jdict *d, uint32_t depth) {
    if (!slm__j_puts(j, b, "{")) return false;
    for (uint32_t i = 0; i < d->n; i++) {
        if (i > 0 && !slm__j_puts(j, b, ", ")) return false;
        if (!repr(j, b, &d->e[i].key, depth + 1) || !slm__j_puts(j, b, ": ") ||
            !repr(j, b, &d->e[i].value, depth + 1))
            return false;
    }
    return slm__j_puts(j, b, "}");
}

static bool repr_range(jinja *j, jbuf *b, const jlist *r) {
    char text[100];
    if (r->step == 1)
        snprintf(text, sizeof text, "range(%lld, %lld)", (long long)r->start, (long long)r->stop);
    else
        snprintf(text, sizeof text, "range(%lld, %lld, %lld)", (long long)r->start,
                 (long long)r->stop, (long long)r->step);
    return slm__j_puts(j, b, text);
}

static bool repr_view(jinja *j, jbuf *b, const jv *v, uint32_t depth) {
    static const char *const open[] = {"dict_keys([", "dict_values([", "dict_items(["};
    return repr_list(j, b, v->u.list, open[v->flag], "])", depth);
}

static bool repr_other(jinja *j, jbuf *b, const jv *v) {
    return slm__j_puts(j, b, "<") && slm__j_puts(j, b, slm__j_kind_name(v)) &&
           slm__j_puts(j, b, ">");
}

static bool repr(jinja *j, jbuf *b, const jv *v, uint32_t depth) {
    char text[SLM__FLOAT_TEXT];
    if (depth > JINJA_DEPTH)
        return slm__j_fail(j, SLM_ERR_LIMIT, "values more than %d deep", JINJA_DEPTH);
    if (!slm__j_step(j, 1)) return false;
    switch (v->kind) {
    case J_UNDEFINED: return slm__j_puts(j, b, "Undefined");
    case J_NONE: return slm__j_puts(j, b, "None");
    case J_BOOL: return slm__j_puts(j, b, v->u.b ? "True" : "False");
    case J_INT: snprintf(text, sizeof text, "%lld", (long long)v->u.i); break;
    case J_FLOAT: slm__j_float_text(v->u.f, text); break;
    case J_STRING: return repr_string(j, b, v);
    case J_LIST: return repr_list(j, b, v->u.list, "[", "]", depth);
    case J_TUPLE: return repr_list(j, b, v->u.list, "(", v->u.list->n == 1 ? ",)" : ")", depth);
    case J_RANGE: return repr_range(j, b, v->u.list);
    case J_VIEW: return repr_view(j, b, v, depth);
    case J_DICT: return repr_dict(j, b, v->u.dict, depth);
    case J_NAMESPACE:
        return slm__j_puts(j, b, "<Namespace ") && repr_dict(j, b, v->u.dict, depth) &&
               slm__j_puts(j, b, ">");
    default: return repr_other(j, b, v);
    }
    return slm__j_puts(j, b, text);
}

bool slm__j_repr(jinja *j, jbuf *b, const jv *v) { return repr(j, b, v, 0); }

bool slm__j_print(jinja *j, jbuf *b, const jv *v) {
    if (v->kind == J_STRING) return slm__j_put_str(j, b, v);
    return v->kind == J_UNDEFINED || repr(j, b, v, 0);
}

bool slm__j_to_string(jinja *j, const jv *v, jv *out) {
    if (v->kind == J_STRING) {
        *out = *v;
        return true;
    }
    jbuf *b = slm__j_buf(j, 0);
    if (!b || !slm__j_print(j, b, v)) return false;
    *out = slm__j_whole(b);
    return true;
}

/* ---- HTML ---- */

bool slm__j_escape(jinja *j, const jv *s, jv *out) {
    static const struct {
        char c;
        const char *text;
    } rows[] = {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&#34;"}, {'\'', "&#39;"}};
    *out = *s;
    out->flag = FLAG_SAFE;
    if (s->flag & FLAG_SAFE) return true;
    jbuf *b = slm__j_buf(j, 0);
    if (!b) return false;
    const char *p = jbytes(s);
    for (uint32_t i = 0; i < s->len; i++) {
        slm__str text = {p + i, 1};
        for (size_t r = 0; r < SLM_COUNT(rows); r++) {
            if (p[i] == rows[r].c) text = (slm__str){rows[r].text, strlen(rows[r].text)};
        }
        if (!slm__j_put(j, b, text.ptr, text.len, jmarked(s, i))) return false;
    }
    *out = slm__j_whole(b);
    out->flag = FLAG_SAFE;
    return true;
}

/* ---- JSON: json.dumps() ---- */

static bool json_char(jinja *j, jbuf *b, const jv *s, uint32_t at, uint32_t len, uint32_t cp,
                      bool ascii) {
    static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
    char text[16];
    const char *simple = cp && cp < 0x80 ? strchr(from, (int)cp) : NULL;
    bool marked = jmarked(s, at);
    if (simple)
        snprintf(text, sizeof text, "\\%c", to[simple - from]);
    else if (cp >= 0x20 && (ascii ? cp < 0x7f : true))
        return slm__j_put(j, b, jbytes(s) + at, len, marked);
    else if (cp < 0x10000)
        snprintf(text, sizeof text, "\\u%04x", cp);
    else
        snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xd7c0 + (cp >> 10), 0xdc00 | (cp & 0x3ff));
    return slm__j_put(j, b, text, strlen(text), marked);
}

static bool json_string(jinja *j, jbuf *b, const jv *s, bool ascii) {
    const char *p = jbytes(s);
    if (!slm__j_puts(j, b, "\"")) return false;
    for (uint32_t i = 0, len; i < s->len; i += len) {
        uint32_t run = i;
        while (run < s->len && p[run] >= 0x20 && p[run] < 0x7f && p[run] != '"' && p[run] != '\\')
            run++;
        jv plain = jsub(s, i, run - i);
        if (run > i) {
            if (!slm__j_put_str(j, b, &plain)) return false;
            len = run - i;
            continue;
        }
        uint32_t cp = slm__j_char(p + i, s->len - i, &len);
        if (!json_char(j, b, s, i, len, cp, ascii)) return false;
    }
    return slm__j_puts(j, b, "\"");
}

static bool json(jinja *j, jbuf *b, const jv *v, const jjson *style, uint32_t depth);

static bool json_newline(jinja *j, jbuf *b, const jjson *style, uint32_t depth) {
    if (!style->pretty) return true;
    if (!slm__j_puts(j, b, "\n")) return false;
    for (uint32_t i = 0; i < depth; i++) {
        if (!slm__j_put_str(j, b, &style->indent)) return false;
    }
    return true;
}

static bool json_list(jinja *j, jbuf *b, const jlist *l, const jjson *style, uint32_t depth) {
    if (l->n == 0) return slm__j_puts(j, b, "[]");
    if (!slm__j_puts(j, b, "[")) return false;
    for (uint32_t i = 0; i < l->n; i++) {
        if (i > 0 && !slm__j_put_str(j, b, &style->item_separator)) return false;
        if (!json_newline(j, b, style, depth + 1) || !json(j, b, &l->v[i], style, depth + 1))
            return false;
    }
    return json_newline(j, b, style, depth) && slm__j_puts(j, b, "]");
}

static bool json_key(jinja *j, jbuf *b, const jv *key, const jjson *style) {
    if (key->kind == J_STRING) return json_string(j, b, key, style->ascii);
    if (key->kind == J_TUPLE || key->kind > J_STRING || key->kind == J_UNDEFINED)
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "a key of type %s is no JSON",
                           slm__j_kind_name(key));
    return slm__j_puts(j, b, "\"") && json(j, b, key, style, 0) && slm__j_puts(j, b, "\"");
}

/* The order of the entries by key: places into *out. A merge sort, as it has to keep what is equal. */
static bool sort_keys(jinja *j, const jdict *d, uint32_t *order, uint32_t *other) {
    for (uint32_t i = 0; i < d->n; i++) order[i] = i;
    for (uint32_t width = 1; width < d->n; width *= 2) {
        for (uint32_t at = 0; at < d->n; at += 2 * width) {
            uint32_t middle = at + width < d->n ? at + width : d->n;
            uint32_t end = at + 2 * width < d->n ? at + 2 * width : d->n, l = at, r = middle;
            for (uint32_t k = at; k < end; k++) {
                int c = -1;
                if (l < middle && r < end &&
                    !slm__j_compare(j, &d->e[order[r]].key, &d->e[order[l]].key, &c))
                    return false;
                bool right = l == middle || (r < end && c == -1);
                other[k] = order[right ? r++ : l++];
            }
        }
        memcpy(order, other, d->n * sizeof *order);
    }
    return true;
}

static bool json_dict(jinja *j, jbuf *b, const jdict *d, const jjson *style, uint32_t depth) {
    uint32_t *order = NULL;
    if (d->n == 0) return slm__j_puts(j, b, "{}");
    if (style->sorted) {
        order = slm__j_array(j, 2 * (uint64_t)d->n, sizeof *order);
        if (!order || !sort_keys(j, d, order, order + d->n)) return false;
    }
    if (!slm__j_puts(j, b, "{")) return false;
    for (uint32_t i = 0; i < d->n; i++) {
        const jentry *e = &d->e[order ? order[i] : i];
        if (i > 0 && !slm__j_put_str(j, b, &style->item_separator)) return false;
        if (!json_newline(j, b, style, depth + 1) || !json_key(j, b, &e->key, style) ||
            !slm__j_put_str(j, b, &style->key_separator) ||
            !json(j, b, &e->value, style, depth + 1))
            return false;
    }
    return json_newline(j, b, style, depth) && slm__j_puts(j, b, "}");
}

static bool json(jinja *j, jbuf *b, const jv *v, const jjson *style, uint32_t depth) {
    if (depth > JINJA_DEPTH)
        return slm__j_fail(j, SLM_ERR_LIMIT, "values more than %d deep", JINJA_DEPTH);
    if (!slm__j_step(j, 1)) return false;
    switch (v->kind) {
    case J_NONE: return slm__j_puts(j, b, "null");
    case J_BOOL: return slm__j_puts(j, b, v->u.b ? "true" : "false");
    case J_INT: return repr(j, b, v, 0);
    case J_FLOAT:
        if (isfinite(v->u.f)) return repr(j, b, v, 0);
        return slm__j_puts(j, b, isnan(v->u.f) ? "NaN" : v->u.f < 0 ? "-Infinity" : "Infinity");
    case J_STRING: return json_string(j, b, v, style->ascii);
    case J_LIST:
    case J_TUPLE: return json_list(j, b, v->u.list, style, depth);
    case J_DICT: return json_dict(j, b, v->u.dict, style, depth);
    default:
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "an object of type %s is no JSON",
                           slm__j_kind_name(v));
    }
}

bool slm__j_json(jinja *j, jbuf *b, const jv *v, const jjson *style) {
    return json(j, b, v, style, 0);
}
