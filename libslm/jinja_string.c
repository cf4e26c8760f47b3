/* Methods of strings. */
#include "jinja.h"
#include "jinja_tab.h"
#include "unicode.h"

/* ---- Searching ---- */

static int64_t search_back(const jv *s, uint32_t end, const jv *needle) {
    const char *p = jbytes(s), *q = jbytes(needle);
    for (int64_t i = (int64_t)end - needle->len; i >= 0; i--) {
        if (needle->len == 0 || memcmp(p + i, q, needle->len) == 0) return i;
    }
    return -1;
}

int64_t slm__j_search(const jv *s, uint32_t from, const jv *needle) {
    if (needle->len > s->len - from) return -1;
    if (needle->len == 0) return from;
    const char *p = memmem(jbytes(s) + from, s->len - from, jbytes(needle), needle->len);
    return p ? p - jbytes(s) : -1;
}

static bool need_string(jinja *j, const jv *v) {
    if (v->kind == J_STRING) return true;
    if (v->kind == J_UNDEFINED) return slm__j_fail_undefined(j, v);
    return slm__j_fail(j, SLM_ERR_ARGUMENT, "expected a string, found %s", slm__j_kind_name(v));
}

static bool optional_int(jinja *j, const jv *v, int64_t otherwise, int64_t *out) {
    *out = otherwise;
    if (v->kind == J_MISSING || v->kind == J_NONE || slm__j_is_int(v, out)) return true;
    if (v->kind == J_UNDEFINED) return slm__j_fail_undefined(j, v);
    return slm__j_fail(j, SLM_ERR_ARGUMENT, "expected an integer, found %s", slm__j_kind_name(v));
}

/* ---- Strip, replace, join ---- */

/* Is the code point at p among `chars`? Also false after too many steps. */
static bool in_set(jinja *j, const jv *chars, const char *p, uint32_t len) {
    const char *set = jbytes(chars);
    if (!slm__j_scan(j, chars->len)) return false;
    for (uint32_t i = 0, n; i < chars->len; i += n) {
        slm__j_char(set + i, chars->len - i, &n);
        if (n == len && memcmp(set + i, p, n) == 0) return true;
    }
    return false;
}

/* Bytes of the code point that ends at `end`. */
static uint32_t last_char(const char *p, uint32_t end) {
    for (uint32_t n = 1; n <= 4 && n <= end; n++) {
        uint32_t len;
        if (((uint8_t)p[end - n] & 0xc0) == 0x80 && n < 4) continue;
        slm__j_char(p + end - n, n, &len);
        return len == n ? n : 1;
    }
    return 1;
}

bool slm__j_strip(jinja *j, const jv *s, const jv *chars, bool left, bool right, jv *out) {
    const char *p = jbytes(s);
    uint32_t begin = 0, end = s->len, n;
    bool space = chars->kind == J_MISSING || chars->kind == J_NONE;
    if (!space && !need_string(j, chars)) return false;
    while (left && begin < end) {
        uint32_t cp = slm__j_char(p + begin, end - begin, &n);
        if (!(space ? slm__j_is_space(cp) : in_set(j, chars, p + begin, n))) break;
        begin += n;
    }
    while (right && begin < end) {
        n = last_char(p, end);
        if (n > end - begin) n = 1;
        uint32_t cp = slm__j_char(p + end - n, n, &n);
        if (!(space ? slm__j_is_space(cp) : in_set(j, chars, p + end - n, n))) break;
        end -= n;
    }
    *out = jsub(s, begin, end - begin);
    return j->status == SLM_OK && slm__j_scan(j, (uint64_t)s->len - out->len);
}

/* An empty `old` stands before each character and at the end. */
bool slm__j_replace(jinja *j, const jv *s, const jv *old, const jv *new, int64_t count, jv *out) {
    if (!slm__j_scan(j, s->len)) return false;
    *out = *s;
    int64_t found = slm__j_search(s, 0, old);
    if (found < 0 || count == 0) return true;
    jbuf *b = slm__j_buf(j, s->len + (size_t) new->len);
    uint32_t at = 0;
    for (int64_t i = 0; b && found >= 0 && (count < 0 || i < count); i++) {
        uint32_t n = 0, f = (uint32_t)found;
        if (old->len == 0 && i > 0) {
            if (f == s->len) break;
            slm__j_char(jbytes(s) + f, s->len - f, &n);
        }
        jv before = jsub(s, at, f + n - at);
        if (!slm__j_put_str(j, b, &before) || !slm__j_put_str(j, b, new)) return false;
        if (!slm__j_step(j, 1)) return false;
        at = f + n + old->len;
        found = slm__j_search(s, at, old);
    }
    jv rest = jsub(s, at, s->len - at);
    if (!b || !slm__j_put_str(j, b, &rest)) return false;
    *out = slm__j_whole(b);
    out->flag = s->flag;
    return true;
}

bool slm__j_join(jinja *j, const jv *between, const jlist *l, bool only_strings, jv *out) {
    jbuf *b = slm__j_buf(j, 0);
    for (uint32_t i = 0; b && i < l->n; i++) {
        if (only_strings && !need_string(j, &l->v[i])) return false;
        if (i > 0 && !slm__j_put_str(j, b, between)) return false;
        if (!slm__j_step(j, 1) || !slm__j_print(j, b, &l->v[i])) return false;
    }
    if (!b) return false;
    *out = slm__j_whole(b);
    return true;
}

static bool is_line_end(uint32_t cp) {
    return (cp >= 10 && cp <= 13) || (cp >= 0x1c && cp <= 0x1e) || cp == 0x85 || cp == 0x2028 ||
           cp == 0x2029;
}

bool slm__j_splitlines(jinja *j, const jv *s, bool keep, jlist **out) {
    jv l;
    const char *p = jbytes(s);
    if (!slm__j_scan(j, s->len) || !slm__j_list(j, J_LIST, 0, &l)) return false;
    *out = l.u.list;
    for (uint32_t begin = 0, at = 0, n; at < s->len; at += n) {
        uint32_t cp = slm__j_char(p + at, s->len - at, &n);
        bool end = is_line_end(cp);
        if (cp == '\r' && at + 1 < s->len && p[at + 1] == '\n') n = 2;
        if (!end && at + n < s->len) continue;
        jv line = jsub(s, begin, at + (end && !keep ? 0 : n) - begin);
        if (!slm__j_append(j, l.u.list, &line)) return false;
        begin = at + n;
    }
    return true;
}

/* ---- Case ---- */

static const jcase_special *find_special(int table, uint32_t cp) {
    for (uint32_t i = 0; i < slm__j_n_case_specials[table]; i++) {
        if (slm__j_case_specials[table][i].from == cp) return &slm__j_case_specials[table][i];
    }
    return NULL;
}

static uint32_t map_case(int table, uint32_t cp) {
    uint32_t low = 0, high = slm__j_n_case_runs[table];
    const jcase_run *runs = slm__j_case_runs[table];
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (runs[middle].last < cp)
            low = middle + 1;
        else
            high = middle;
    }
    /* runs of every second code point may enclose others */
    for (; low < slm__j_n_case_runs[table] && runs[low].first <= cp; low++) {
        if (cp <= runs[low].last && (cp - runs[low].first) % runs[low].step == 0)
            return (uint32_t)((int64_t)cp + runs[low].delta);
    }
    return cp;
}

/* Is it in one of the sorted ranges? */
static bool in_ranges(const uint32_t (*ranges)[2], uint32_t n, uint32_t cp) {
    uint32_t low = 0, high = n;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (ranges[middle][1] < cp)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && cp >= ranges[low][0];
}

static bool is_cased(uint32_t cp) {
    if (cp < 0x80) return (cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z');
    return in_ranges(slm__j_cased, slm__j_n_cased, cp);
}

/* A capital sigma at the end of a word has another small letter. */
static bool is_final_sigma(const jv *s, uint32_t at, bool after_letter) {
    uint32_t n;
    const char *p = jbytes(s);
    if (!after_letter || at + 2 > s->len) return false;
    return at + 2 == s->len || !is_cased(slm__j_char(p + at + 2, s->len - at - 2, &n));
}

static bool put_cased(jinja *j, jbuf *b, const jv *s, uint32_t at, uint32_t len, uint32_t cp,
                      int table, bool after_letter) {
    uint8_t utf8[12];
    size_t n = 0;
    bool marked = jmarked(s, at);
    if (cp < 0x80) {
        utf8[n++] = (uint8_t)map_case(table, cp);
    } else if (cp >= 0xdc80 && cp <= 0xdcff) {
        return slm__j_put(j, b, jbytes(s) + at, len, marked);
    } else if (cp == 0x3a3 && table == TAB_LOWER) {
        n = slm__utf8_write(is_final_sigma(s, at, after_letter) ? 0x3c2 : 0x3c3, utf8);
    } else {
        const jcase_special *special = find_special(table, cp);
        uint32_t one[3] = {special ? 0 : map_case(table, cp)};
        const uint32_t *to = special ? special->to : one;
        for (int i = 0; i < 3 && to[i]; i++) n += slm__utf8_write(to[i], utf8 + n);
    }
    return slm__j_put(j, b, (const char *)utf8, n, marked);
}

bool slm__j_case(jinja *j, const jv *s, jcase how, jv *out) {
    const char *p = jbytes(s);
    jbuf *b = slm__j_buf(j, s->len);
    bool after = false;
    for (uint32_t i = 0, len; b && i < s->len; i += len) {
        uint32_t cp = slm__j_char(p + i, s->len - i, &len);
        bool upper = map_case(TAB_LOWER, cp) != cp;
        int table = how == CASE_LOWER   ? TAB_LOWER
                    : how == CASE_UPPER ? TAB_UPPER
                    : how == CASE_SWAP  ? (upper ? TAB_LOWER : TAB_UPPER)
                    : how == CASE_TITLE ? (after ? TAB_LOWER : TAB_TITLE)
                                        : (i > 0 ? TAB_LOWER : TAB_TITLE);
        if (!put_cased(j, b, s, i, len, cp, table, after)) return false;
        after = is_cased(cp);
    }
    if (!b) return false;
    *out = slm__j_whole(b);
    out->flag = s->flag;
    return true;
}

static bool m_lower(jinja *j, const jv *s, jargs *a, jv *out) {
    (void)a;
    return slm__j_case(j, s, CASE_LOWER, out);
}
static bool m_upper(jinja *j, const jv *s, jargs *a, jv *out) {
    (void)a;
    return slm__j_case(j, s, CASE_UPPER, out);
}
static bool m_title(jinja *j, const jv *s, jargs *a, jv *out) {
    (void)a;
    return slm__j_case(j, s, CASE_TITLE, out);
}
static bool m_capitalize(jinja *j, const jv *s, jargs *a, jv *out) {
    (void)a;
    return slm__j_case(j, s, CASE_CAPITAL, out);
}
static bool m_swapcase(jinja *j, const jv *s, jargs *a, jv *out) {
    (void)a;
    return slm__j_case(j, s, CASE_SWAP, out);
}

/* ---- Methods: what they strip, find and replace ---- */

static bool m_strip(jinja *j, const jv *s, jargs *a, jv *out) {
    return slm__j_strip(j, s, &a->v[0], true, true, out);
}
static bool m_lstrip(jinja *j, const jv *s, jargs *a, jv *out) {
    return slm__j_strip(j, s, &a->v[0], true, false, out);
}
static bool m_rstrip(jinja *j, const jv *s, jargs *a, jv *out) {
    return slm__j_strip(j, s, &a->v[0], false, true, out);
}

static bool m_replace(jinja *j, const jv *s, jargs *a, jv *out) {
    int64_t count;
    return need_string(j, &a->v[0]) && need_string(j, &a->v[1]) &&
           optional_int(j, &a->v[2], -1, &count) &&
           slm__j_replace(j, s, &a->v[0], &a->v[1], count, out);
}

static bool m_join(jinja *j, const jv *s, jargs *a, jv *out) {
    jlist *l;
    return slm__j_elements(j, &a->v[0], &l) && slm__j_join(j, s, l, true, out);
}

/* The part of s from code point a->v[first] to a->v[first + 1]; false in *ok if that is nothing at all. */
static bool part(jinja *j, const jv *s, const jargs *a, int first, jv *out, bool *ok) {
    jv bounds[3] = {a->v[first], a->v[first + 1], JNONE};
    int64_t n, from = 0;
    if (bounds[0].kind == J_MISSING) bounds[0] = JNONE;
    if (bounds[1].kind == J_MISSING) bounds[1] = JNONE;
    *ok = true;
    *out = *s;
    if (bounds[0].kind == J_NONE && bounds[1].kind == J_NONE) return true;
    if (!slm__j_length(j, s, &n) || !slm__j_slice(j, s, bounds, out)) return false;
    *ok = !slm__j_is_int(&bounds[0], &from) || from <= n;
    return true;
}

/* startswith and endswith, of one string or any of a tuple */
static bool affix(jinja *j, const jv *s, jargs *a, bool at_end, jv *out) {
    jv of, one = a->v[0];
    bool ok;
    jlist single = {&one, 1, 1, 0, 0, 0}, *l = &single;
    if (one.kind == J_TUPLE) l = one.u.list;
    *out = JBOOL(false);
    if (!part(j, s, a, 1, &of, &ok)) return false;
    for (uint32_t i = 0; i < l->n; i++) {
        const jv *x = &l->v[i];
        if (!need_string(j, x)) return false;
        if (!ok || x->len > of.len) continue;
        const char *p = jbytes(&of) + (at_end ? of.len - x->len : 0);
        if (x->len == 0 || memcmp(p, jbytes(x), x->len) == 0) *out = JBOOL(true);
        if (!slm__j_scan(j, x->len)) return false;
    }
    return true;
}

static bool m_startswith(jinja *j, const jv *s, jargs *a, jv *out) {
    return affix(j, s, a, false, out);
}
static bool m_endswith(jinja *j, const jv *s, jargs *a, jv *out) {
    return affix(j, s, a, true, out);
}

/* The code point at which a->v[0] is found, or -1. */
static bool find(jinja *j, const jv *s, jargs *a, bool last, int64_t *out) {
    jv of;
    bool ok;
    *out = -1;
    if (!need_string(j, &a->v[0]) || !part(j, s, a, 1, &of, &ok)) return false;
    if (!ok) return true;
    if (!slm__j_scan(j, (uint64_t)of.len * (last ? 1 + a->v[0].len / 8 : 1))) return false;
    int64_t at = last ? search_back(&of, of.len, &a->v[0]) : slm__j_search(&of, 0, &a->v[0]);
    if (at < 0) return true;
    jv before = jsub(s, 0, of.at - s->at + (uint32_t)at);
    *out = slm__j_count(&before);
    return true;
}

static bool find_row(jinja *j, const jv *s, jargs *a, bool last, bool must, jv *out) {
    int64_t at;
    if (!find(j, s, a, last, &at)) return false;
    *out = JINT(at);
    return at >= 0 || !must || slm__j_fail(j, SLM_ERR_ARGUMENT, "substring not found");
}

static bool m_find(jinja *j, const jv *s, jargs *a, jv *out) {
    return find_row(j, s, a, false, false, out);
}
static bool m_rfind(jinja *j, const jv *s, jargs *a, jv *out) {
    return find_row(j, s, a, true, false, out);
}
static bool m_index(jinja *j, const jv *s, jargs *a, jv *out) {
    return find_row(j, s, a, false, true, out);
}
static bool m_rindex(jinja *j, const jv *s, jargs *a, jv *out) {
    return find_row(j, s, a, true, true, out);
}

static bool m_count(jinja *j, const jv *s, jargs *a, jv *out) {
    jv of;
    bool ok;
    int64_t n = 0;
    if (!need_string(j, &a->v[0]) || !part(j, s, a, 1, &of, &ok)) return false;
    if (!slm__j_scan(j, of.len)) return false;
    if (ok && a->v[0].len == 0) n = (int64_t)slm__j_count(&of) + 1;
    for (int64_t at = 0;
         ok && a->v[0].len && (at = slm__j_search(&of, (uint32_t)at, &a->v[0])) >= 0;
         at += a->v[0].len)
        n++;
    *out = JINT(n);
    return true;
}

static bool remove_affix(jinja *j, const jv *s, jargs *a, bool at_end, jv *out) {
    jv yes, args[3] = {a->v[0]};
    if (!need_string(j, &a->v[0])) return false;
    jargs with = {.v = args, .n = 3};
    if (!affix(j, s, &with, at_end, &yes)) return false;
    uint32_t n = yes.u.b ? a->v[0].len : 0;
    *out = jsub(s, at_end ? 0 : n, s->len - n);
    return true;
}

static bool m_removeprefix(jinja *j, const jv *s, jargs *a, jv *out) {
    return remove_affix(j, s, a, false, out);
}
static bool m_removesuffix(jinja *j, const jv *s, jargs *a, jv *out) {
    return remove_affix(j, s, a, true, out);
}

/* ---- Splitting ---- */

static bool append_part(jinja *j, jlist *l, const jv *s, uint32_t begin, uint32_t end) {
    jv piece = jsub(s, begin, end - begin);
    return slm__j_append(j, l, &piece);
}

static bool split_space(jinja *j, const jv *s, int64_t max, jlist *l) {
    const char *p = jbytes(s);
    uint32_t at = 0, n;
    for (int64_t i = 0;; i++) {
        while (at < s->len && slm__j_is_space(slm__j_char(p + at, s->len - at, &n))) at += n;
        if (at == s->len) return true;
        uint32_t begin = at;
        if (i == max) return append_part(j, l, s, begin, s->len);
        while (at < s->len && !slm__j_is_space(slm__j_char(p + at, s->len - at, &n))) at += n;
        if (!append_part(j, l, s, begin, at)) return false;
    }
}

static bool split_space_back(jinja *j, const jv *s, int64_t max, jlist *l) {
    const char *p = jbytes(s);
    uint32_t end = s->len, n;
    for (int64_t i = 0;; i++) {
        jv rest = jsub(s, 0, end), none = {.kind = J_MISSING};
        if (!slm__j_strip(j, &rest, &none, false, true, &rest)) return false;
        end = rest.len;
        if (end == 0) return true;
        if (i == max) return slm__j_append(j, l, &rest);
        uint32_t begin = end;
        while (begin > 0) {
            n = last_char(p, begin);
            if (slm__j_is_space(slm__j_char(p + begin - n, n, &n))) break;
            begin -= n;
        }
        if (!append_part(j, l, s, begin, end)) return false;
        end = begin;
    }
}

static void reverse(jlist *l) {
    for (uint32_t i = 0; i < l->n / 2; i++) {
        jv v = l->v[i];
        l->v[i] = l->v[l->n - 1 - i];
        l->v[l->n - 1 - i] = v;
    }
}

static bool split_by(jinja *j, const jv *s, const jv *by, int64_t max, bool back, jlist *l) {
    uint32_t begin = 0, end = s->len;
    for (int64_t i = 0; max < 0 || i < max; i++) {
        jv rest = jsub(s, 0, end);
        int64_t at = back ? search_back(&rest, end, by) : slm__j_search(s, begin, by);
        if (at < 0) break;
        if (!(back ? append_part(j, l, s, (uint32_t)at + by->len, end)
                   : append_part(j, l, s, begin, (uint32_t)at)))
            return false;
        if (back)
            end = (uint32_t)at;
        else
            begin = (uint32_t)at + by->len;
    }
    return append_part(j, l, s, begin, end);
}

static bool split(jinja *j, const jv *s, jargs *a, bool back, jv *out) {
    int64_t max;
    const jv *by = &a->v[0];
    bool space = by->kind == J_MISSING || by->kind == J_NONE, ok;
    if (!optional_int(j, &a->v[1], -1, &max) || !slm__j_list(j, J_LIST, 0, out)) return false;
    if (!slm__j_scan(j, (uint64_t)s->len * (back && !space ? 1 + by->len / 8 : 1))) return false;
    if (space) {
        ok = back ? split_space_back(j, s, max, out->u.list) : split_space(j, s, max, out->u.list);
    } else {
        if (!need_string(j, by)) return false;
        if (by->len == 0) return slm__j_fail(j, SLM_ERR_ARGUMENT, "empty separator");
        ok = split_by(j, s, by, max, back, out->u.list);
    }
    if (back) reverse(out->u.list);
    return ok;
}

static bool m_split(jinja *j, const jv *s, jargs *a, jv *out) { return split(j, s, a, false, out); }
static bool m_rsplit(jinja *j, const jv *s, jargs *a, jv *out) { return split(j, s, a, true, out); }

static bool m_splitlines(jinja *j, const jv *s, jargs *a, jv *out) {
    jlist *l;
    int64_t keep;
    if (!optional_int(j, &a->v[0], 0, &keep) || !slm__j_splitlines(j, s, keep != 0, &l))
        return false;
    *out = (jv){.kind = J_LIST, .u.list = l};
    return true;
}

static bool partition(jinja *j, const jv *s, jargs *a, bool last, jv *out) {
    const jv *by = &a->v[0];
    if (!need_string(j, by) || !slm__j_list(j, J_TUPLE, 3, out)) return false;
    if (by->len == 0) return slm__j_fail(j, SLM_ERR_ARGUMENT, "empty separator");
    if (!slm__j_scan(j, (uint64_t)s->len * (last ? 1 + by->len / 8 : 1))) return false;
    int64_t at = last ? search_back(s, s->len, by) : slm__j_search(s, 0, by);
    jlist *l = out->u.list;
    uint32_t n = s->len, i = at < 0 ? (last ? 0 : n) : (uint32_t)at, k = at < 0 ? 0 : by->len;
    return append_part(j, l, s, 0, i) && append_part(j, l, s, i, i + k) &&
           append_part(j, l, s, i + k, n);
}

static bool m_partition(jinja *j, const jv *s, jargs *a, jv *out) {
    return partition(j, s, a, false, out);
}
static bool m_rpartition(jinja *j, const jv *s, jargs *a, jv *out) {
    return partition(j, s, a, true, out);
}

/* ---- Padding ---- */

static bool pad(jinja *j, const jv *s, jargs *a, int how, jv *out) {
    int64_t width, n;
    jv fill = a->v[1];
    if (!optional_int(j, &a->v[0], 0, &width) || !slm__j_length(j, s, &n)) return false;
    if (fill.kind == J_MISSING && !slm__j_text(j, " ", &fill)) return false;
    if (!need_string(j, &fill)) return false;
    if (slm__j_count(&fill) != 1)
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "the fill character must be exactly one");
    int64_t more = width > n ? width - n : 0;
    int64_t left = how == '>' ? more : how == '^' ? more / 2 + (more & width & 1) : 0;
    jbuf *b = slm__j_buf(j, s->len);
    for (int64_t i = 0; b && i < left; i++) {
        if (!slm__j_put_str(j, b, &fill)) return false;
    }
    if (!b || !slm__j_put_str(j, b, s)) return false;
    for (int64_t i = left; i < more; i++) {
        if (!slm__j_put_str(j, b, &fill)) return false;
    }
    *out = slm__j_whole(b);
    out->flag = s->flag;
    return true;
}

static bool m_center(jinja *j, const jv *s, jargs *a, jv *out) { return pad(j, s, a, '^', out); }
static bool m_ljust(jinja *j, const jv *s, jargs *a, jv *out) { return pad(j, s, a, '<', out); }
static bool m_rjust(jinja *j, const jv *s, jargs *a, jv *out) { return pad(j, s, a, '>', out); }

static bool m_zfill(jinja *j, const jv *s, jargs *a, jv *out) {
    jv zero, args[2], rest, text;
    int64_t width;
    if (!optional_int(j, &a->v[0], 0, &width) || !slm__j_text(j, "0", &zero)) return false;
    uint32_t sign = s->len > 0 && (*jbytes(s) == '+' || *jbytes(s) == '-') ? 1 : 0;
    args[0] = JINT(width > 0 ? width - sign : 0);
    args[1] = zero;
    jargs with = {.v = args, .n = 2};
    rest = jsub(s, sign, s->len - sign);
    jv head = jsub(s, 0, sign);
    return pad(j, &rest, &with, '>', &text) && slm__j_concat(j, &head, &text, out);
}

static bool m_format(jinja *j, const jv *s, jargs *a, jv *out) {
    return slm__j_format(j, s, a, out);
}

/* ---- What kind of characters ---- */

static bool is_digit(uint32_t cp) {
    if (cp < 0x80) return cp >= '0' && cp <= '9';
    return in_ranges(slm__j_digits, slm__j_n_digits, cp);
}

static bool is_alpha(uint32_t cp) { return slm__class_of(cp) >= CLASS_UPPER; }
static bool is_alnum(uint32_t cp) {
    return is_alpha(cp) || is_digit(cp) || slm__class_of(cp) == CLASS_NUMBER;
}
static bool is_ascii(uint32_t cp) { return cp < 0x80; }

static bool all(jinja *j, const jv *s, bool (*test)(uint32_t cp), bool empty, jv *out) {
    bool yes = s->len > 0 || empty;
    for (uint32_t i = 0, n; i < s->len && yes; i += n)
        yes = test(slm__j_char(jbytes(s) + i, s->len - i, &n));
    *out = JBOOL(yes);
    return slm__j_scan(j, s->len);
}

static bool m_isdigit(jinja *j, const jv *s, jargs *a, jv *out) {
    (void)a;
    return all(j, s, is_digit, false, out);
}
static bool m_isalpha(jinja *j, const jv *s, jargs *a, jv *out) {
    (void)a;
    return all(j, s, is_alpha, false, out);
}
static bool m_isalnum(jinja *j, const jv *s, jargs *a, jv *out) {
    (void)a;
    return all(j, s, is_alnum, false, out);
}
static bool m_isspace(jinja *j, const jv *s, jargs *a, jv *out) {
    (void)a;
    return all(j, s, slm__j_is_space, false, out);
}
static bool m_isascii(jinja *j, const jv *s, jargs *a, jv *out) {
    (void)a;
    return all(j, s, is_ascii, true, out);
}

static bool only_case(jinja *j, const jv *s, bool want_upper, jv *out) {
    bool any = false, yes = true;
    for (uint32_t i = 0, n; i < s->len && yes; i += n) {
        uint32_t cp = slm__j_char(jbytes(s) + i, s->len - i, &n);
        bool upper = map_case(TAB_LOWER, cp) != cp, lower = !upper && is_cased(cp);
        any |= upper || lower;
        yes = want_upper ? !lower : !upper;
    }
    *out = JBOOL(any && yes);
    return slm__j_scan(j, s->len);
}

static bool m_isupper(jinja *j, const jv *s, jargs *a, jv *out) {
    (void)a;
    return only_case(j, s, true, out);
}
static bool m_islower(jinja *j, const jv *s, jargs *a, jv *out) {
    (void)a;
    return only_case(j, s, false, out);
}

const jrow slm__j_string_methods[] = {
    {"capitalize", m_capitalize, "", 0},
    {"center", m_center, "width fillchar", 1},
    {"count", m_count, "sub start end", 1},
    {"endswith", m_endswith, "suffix start end", 1},
    {"find", m_find, "sub start end", 1},
    {"format", m_format, NULL, 0},
    {"index", m_index, "sub start end", 1},
    {"isalnum", m_isalnum, "", 0},
    {"isalpha", m_isalpha, "", 0},
    {"isascii", m_isascii, "", 0},
    {"isdecimal", m_isdigit, "", 0},
    {"isdigit", m_isdigit, "", 0},
    {"islower", m_islower, "", 0},
    {"isnumeric", m_isdigit, "", 0},
    {"isspace", m_isspace, "", 0},
    {"isupper", m_isupper, "", 0},
    {"join", m_join, "iterable", 1},
    {"ljust", m_ljust, "width fillchar", 1},
    {"lower", m_lower, "", 0},
    {"lstrip", m_lstrip, "chars", 0},
    {"partition", m_partition, "sep", 1},
    {"removeprefix", m_removeprefix, "prefix", 1},
    {"removesuffix", m_removesuffix, "suffix", 1},
    {"replace", m_replace, "old new count", 2},
    {"rfind", m_rfind, "sub start end", 1},
    {"rindex", m_rindex, "sub start end", 1},
    {"rjust", m_rjust, "width fillchar", 1},
    {"rpartition", m_rpartition, "sep", 1},
    {"rsplit", m_rsplit, "sep maxsplit", 0},
    {"rstrip", m_rstrip, "chars", 0},
    {"split", m_split, "sep maxsplit", 0},
    {"splitlines", m_splitlines, "keepends", 0},
    {"startswith", m_startswith, "prefix start end", 1},
    {"strip", m_strip, "chars", 0},
    {"swapcase", m_swapcase, "", 0},
    {"title", m_title, "", 0},
    {"upper", m_upper, "", 0},
    {"zfill", m_zfill, "width", 1},
    {0},
};
