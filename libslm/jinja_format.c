/* The formats of str.format(), of "%" and of strftime(). */
#include "jinja.h"

#include <stdio.h>

/* ---- A field of a format: [[fill]align][sign][#][0][width][,][.precision][type] ---- */

typedef struct field {
    jv fill; /* a string of one character */
    char align, sign, type;
    bool alternate, comma;
    int64_t width, precision; /* precision -1: none */
} field;

static bool read_number(const char **p, const char *end, int64_t *out) {
    bool any = false;
    for (*out = 0; *p < end && **p >= '0' && **p <= '9'; (*p)++, any = true) {
        if (*out > 1000000) return false;
        *out = *out * 10 + (**p - '0');
    }
    return any;
}

static bool is_align(const char *p, const char *end) { return p < end && strchr("<>=^", *p) && *p; }

static bool read_field(jinja *j, const jv *spec, field *f) {
    const char *p = jbytes(spec), *begin = p, *end = p + spec->len;
    uint32_t len;
    if (!slm__j_text(j, " ", &f->fill)) return false;
    f->align = f->sign = f->type = 0;
    f->alternate = f->comma = false;
    f->width = 0;
    f->precision = -1;
    if (p == end) return true;
    slm__j_char(p, (size_t)(end - p), &len);
    if (is_align(p + len, end)) {
        f->fill = jsub(spec, 0, len);
        f->align = p[len];
        p += len + 1;
    } else if (is_align(p, end)) {
        f->align = *p++;
    }
    if (p < end && (*p == '+' || *p == '-' || *p == ' ')) f->sign = *p++;
    if (p < end && *p == '#') f->alternate = *p++;
    if (p < end && *p == '0') {
        if (!f->align && !slm__j_text(j, "0", &f->fill)) return false;
        if (!f->align) f->align = '=';
    }
    read_number(&p, end, &f->width);
    if (p < end && *p == ',') f->comma = *p++;
    if (p < end && *p == '.') {
        p++;
        if (!read_number(&p, end, &f->precision)) p = begin - 1;
    }
    if (p >= begin && p < end) f->type = *p++;
    if (p == end && f->width <= 100000 && f->precision <= 1000) return true;
    return slm__j_fail(j, SLM_ERR_ARGUMENT, "invalid format specifier '%s'",
                       slm__show(jstr(spec)).text);
}

static bool put_padded(jinja *j, jbuf *b, const field *f, const jv *sign, const jv *text,
                       char align) {
    int64_t n = (int64_t)slm__j_count(text) + (sign ? sign->len : 0);
    int64_t pad = f->width > n ? f->width - n : 0;
    if (f->align) align = f->align;
    int64_t left = align == '>' || align == '=' ? pad : align == '^' ? pad / 2 : 0;
    if (sign && align == '=' && !slm__j_put_str(j, b, sign)) return false;
    for (int64_t i = 0; i < left; i++) {
        if (!slm__j_put_str(j, b, &f->fill)) return false;
    }
    if (sign && align != '=' && !slm__j_put_str(j, b, sign)) return false;
    if (!slm__j_put_str(j, b, text)) return false;
    for (int64_t i = left; i < pad; i++) {
        if (!slm__j_put_str(j, b, &f->fill)) return false;
    }
    return true;
}

static bool bad_type(jinja *j, const field *f, const jv *v) {
    return slm__j_fail(j, SLM_ERR_ARGUMENT, "format '%c' does not fit a %s",
                       f->type >= 0x20 && f->type < 0x7f ? f->type : '?', slm__j_kind_name(v));
}

/* Commas between groups of three digits of the whole part. */
static void add_commas(const char *digits, char *out) {
    size_t whole = strspn(digits, "0123456789");
    for (size_t i = 0; digits[i]; i++) {
        if (i > 0 && i < whole && (whole - i) % 3 == 0) *out++ = ',';
        *out++ = digits[i];
    }
    *out = '\0';
}

static bool put_number(jinja *j, jbuf *b, const field *f, bool negative, char *digits,
                       size_t room) {
    char grouped[600];
    jv sign, text;
    if (strlen(digits) * 2 > sizeof grouped || room > sizeof grouped)
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "a number that is too long");
    add_commas(digits, grouped);
    const char *s = negative ? "-" : f->sign == '+' ? "+" : f->sign == ' ' ? " " : "";
    return slm__j_text(j, s, &sign) && slm__j_text(j, f->comma ? grouped : digits, &text) &&
           put_padded(j, b, f, &sign, &text, '>');
}

static void int_digits(uint64_t v, unsigned base, bool upper, char out[72]) {
    char text[72];
    int n = 0;
    do {
        unsigned d = (unsigned)(v % base);
        text[n++] = (char)(d < 10 ? '0' + d : (upper ? 'A' : 'a') + d - 10);
        v /= base;
    } while (v);
    for (int i = 0; i < n; i++) out[i] = text[n - 1 - i];
    out[n] = '\0';
}

static bool put_int(jinja *j, jbuf *b, const field *f, const jv *v) {
    static const struct {
        char type;
        unsigned base;
        const char *prefix;
    } bases[] = {{0, 10, ""},     {'d', 10, ""},  {'n', 10, ""}, {'x', 16, "0x"},
                 {'X', 16, "0X"}, {'o', 8, "0o"}, {'b', 2, "0b"}};
    int64_t i = 0;
    slm__j_is_int(v, &i);
    for (size_t k = 0; k < SLM_COUNT(bases); k++) {
        if (bases[k].type != f->type) continue;
        if (f->precision >= 0) return bad_type(j, f, v);
        char digits[80];
        strcpy(digits, f->alternate ? bases[k].prefix : "");
        uint64_t magnitude = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
        int_digits(magnitude, bases[k].base, f->type == 'X', digits + strlen(digits));
        return put_number(j, b, f, i < 0, digits, sizeof digits);
    }
    return bad_type(j, f, v);
}

/* snprintf() writes the point of the program's locale. */
static void fix_point(char *text) {
    char *p = text + strspn(text, "0123456789"), *q = p;
    while (*q && !strchr("0123456789eE", *q)) q++;
    if (q == p || !strchr("0123456789", *q)) return;
    *p++ = '.';
    memmove(p, q, strlen(q) + 1);
}

static bool put_float(jinja *j, jbuf *b, const field *f, const jv *v) {
    char digits[500], format[16];
    double d = 0;
    slm__j_is_number(v, &d);
    bool negative = d < 0, percent = f->type == '%';
    if (negative) d = -d;
    int precision = f->precision < 0 ? 6 : (int)f->precision;
    char type = percent ? 'f' : f->type;
    if (type && !strchr("fFeEgG", type)) return bad_type(j, f, v);
    if (precision > 100) return bad_type(j, f, v);
    if (type == 0 && f->precision < 0) {
        slm__j_float_text(d, digits);
    } else {
        snprintf(format, sizeof format, "%%.%d%c", precision, type ? type : 'g');
        snprintf(digits, sizeof digits, format, percent ? d * 100 : d);
        fix_point(digits);
        if (percent) strcat(digits, "%");
    }
    return put_number(j, b, f, negative, digits, 300);
}

/* format(v, spec) */
static bool put_value(jinja *j, jbuf *b, const jv *v, const jv *spec) {
    field f;
    jv text = *v;
    int64_t i;
    if (!read_field(j, spec, &f)) return false;
    bool number = f.type && strchr("fFeEgG%", f.type);
    if (v->kind == J_FLOAT || (number && slm__j_is_int(v, &i))) return put_float(j, b, &f, v);
    if (v->kind == J_INT || (v->kind == J_BOOL && spec->len > 0)) return put_int(j, b, &f, v);
    if (spec->len > 0 && v->kind != J_STRING && v->kind != J_BOOL) {
        if (v->kind == J_UNDEFINED) return slm__j_fail_undefined(j, v);
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "a %s takes no format", slm__j_kind_name(v));
    }
    if (f.type && f.type != 's') return bad_type(j, &f, v);
    if (f.sign || f.comma || f.align == '=') return bad_type(j, &f, v);
    if (!slm__j_to_string(j, v, &text)) return false;
    if (f.precision >= 0) text.len = slm__j_offset(&text, (uint64_t)f.precision);
    return put_padded(j, b, &f, NULL, &text, '<');
}

/* ---- str.format() ---- */

typedef struct replacement {
    jv name, spec; /* parts of the format */
    char conversion;
} replacement;

/* "name!r:spec" */
static bool split_field(jinja *j, const jv *field_text, replacement *r) {
    const char *p = jbytes(field_text);
    uint32_t n = field_text->len, name = 0;
    while (name < n && p[name] != '!' && p[name] != ':') name++;
    r->name = jsub(field_text, 0, name);
    r->conversion = 0;
    if (name < n && p[name] == '!') {
        if (name + 1 >= n || (name + 2 < n && p[name + 2] != ':'))
            return slm__j_fail(j, SLM_ERR_ARGUMENT, "a format that is cut short");
        r->conversion = p[name + 1];
        name += 2;
    }
    r->spec = name < n ? jsub(field_text, name + 1, n - name - 1) : jsub(field_text, n, 0);
    return true;
}

static bool field_base(jinja *j, slm__str name, const jargs *args, uint32_t *next, jv *out) {
    bool digits = name.len > 0;
    uint64_t index = 0;
    for (size_t i = 0; i < name.len; i++) {
        digits &= name.ptr[i] >= '0' && name.ptr[i] <= '9';
        if (digits && index < UINT32_MAX) index = index * 10 + (uint64_t)(name.ptr[i] - '0');
    }
    if (name.len == 0) index = (*next)++;
    if (name.len == 0 || digits) {
        if (index >= args->n)
            return slm__j_fail(j, SLM_ERR_ARGUMENT, "the format wants more arguments than %u",
                               args->n);
        *out = args->v[index];
        return true;
    }
    for (uint32_t i = 0; i < args->n_keywords; i++) {
        slm__str k = args->keywords[i].name->s;
        if (k.len != name.len || memcmp(k.ptr, name.ptr, k.len) != 0) continue;
        *out = args->keywords[i].value;
        return true;
    }
    return slm__j_fail(j, SLM_ERR_ARGUMENT, "the format wants '%s'", slm__show(name).text);
}

/* "base.attribute[element]" */
static bool find_field(jinja *j, const jv *name, const jargs *args, uint32_t *next, jv *out) {
    const char *p = jbytes(name);
    uint32_t n = name->len, at = 0;
    while (at < n && p[at] != '.' && p[at] != '[') at++;
    if (!field_base(j, (slm__str){p, at}, args, next, out)) return false;
    while (at < n) {
        bool element = p[at] == '[';
        uint32_t begin = ++at, end;
        while (at < n && (element ? p[at] != ']' : p[at] != '.' && p[at] != '[')) at++;
        end = at;
        if (element) at++;
        jv from = *out, key = jsub(name, begin, end - begin);
        const jname *attr = slm__j_name(j, p + begin, end - begin);
        if (!attr) return false;
        int64_t index = 0;
        const char *q = p + begin;
        if (element && read_number(&q, p + end, &index) && q == p + end) key = JINT(index);
        if (!(element ? slm__j_item(j, &from, &key, out) : slm__j_attr(j, &from, attr, out)))
            return false;
        if (out->kind == J_UNDEFINED) return slm__j_fail_undefined(j, out);
    }
    return true;
}

static bool put_replacement(jinja *j, jbuf *b, const jv *field_text, const jargs *args,
                            uint32_t *next) {
    replacement r;
    jv v;
    if (!split_field(j, field_text, &r) || !find_field(j, &r.name, args, next, &v)) return false;
    if (r.conversion == 'r') {
        jbuf *text = slm__j_buf(j, 0);
        if (!text || !slm__j_repr(j, text, &v)) return false;
        v = slm__j_whole(text);
    } else if (r.conversion == 's') {
        jv from = v;
        if (!slm__j_to_string(j, &from, &v)) return false;
    } else if (r.conversion) {
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "a format with an unknown conversion");
    }
    return put_value(j, b, &v, &r.spec);
}

bool slm__j_format(jinja *j, const jv *format, const jargs *args, jv *out) {
    jbuf *b = slm__j_buf(j, 0);
    const char *p = jbytes(format);
    uint32_t n = format->len, next = 0;
    for (uint32_t i = 0; b && i < n; i++) {
        uint32_t run = i;
        while (run < n && p[run] != '{' && p[run] != '}') run++;
        jv text = jsub(format, i, run - i);
        if (!slm__j_put_str(j, b, &text)) return false;
        i = run;
        if (i == n) break;
        if (i + 1 < n && p[i + 1] == p[i]) {
            if (!slm__j_put(j, b, p + i, 1, jmarked(format, i))) return false;
            i++;
            continue;
        }
        uint32_t end = i + 1;
        while (end < n && p[end] != '}' && p[end] != '{') end++;
        if (p[i] == '}' || end >= n || p[end] == '{')
            return slm__j_fail(j, SLM_ERR_ARGUMENT, "a format with a single '%c'", p[i]);
        jv inner = jsub(format, i + 1, end - i - 1);
        if (!put_replacement(j, b, &inner, args, &next)) return false;
        i = end;
    }
    if (!b) return false;
    *out = slm__j_whole(b);
    out->flag = format->flag;
    return true;
}

/* ---- "..." % values ---- */

typedef struct percent {
    const jv *args; /* a tuple, a dict or the one value */
    uint32_t used;
    bool named;
} percent;

static bool next_arg(jinja *j, percent *p, jv *out) {
    bool tuple = p->args->kind == J_TUPLE;
    if (p->used >= (tuple ? p->args->u.list->n : 1))
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "not enough arguments for the format");
    *out = tuple ? p->args->u.list->v[p->used] : *p->args;
    p->used++;
    return true;
}

static bool put_percent(jinja *j, jbuf *b, char type, char *flags, const jv *v) {
    jv text, spec;
    double d;
    if (type == 's' || type == 'r') {
        jbuf *t = slm__j_buf(j, 0);
        if (!t || !(type == 's' ? slm__j_print(j, t, v) : slm__j_repr(j, t, v))) return false;
        text = slm__j_whole(t);
        if (!strpbrk(flags, "<>") && flags[strspn(flags, "0123456789")] == 0 && flags[0])
            memmove(flags + 1, flags, strlen(flags) + 1), flags[0] = '>';
        return slm__j_text(j, flags, &spec) && put_value(j, b, &text, &spec);
    }
    if (!slm__j_is_number(v, &d))
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "%%%c wants a number, not %s", type,
                           slm__j_kind_name(v));
    jv number = *v;
    bool whole = strchr("dixXo", type);
    if (whole && v->kind == J_FLOAT) {
        if (strchr("xXo", type) || !(d > -9e18 && d < 9e18))
            return slm__j_fail(j, SLM_ERR_ARGUMENT, "%%%c wants an integer", type);
        number = JINT((int64_t)d);
    }
    size_t n = strlen(flags);
    flags[n] = type == 'i' ? 'd' : type;
    flags[n + 1] = '\0';
    return slm__j_text(j, flags, &spec) && put_value(j, b, &number, &spec);
}

/* What follows a '%': its flags as those of format(), in `flags`; returns behind the type. */
static const char *read_percent(const char *p, const char *end, char flags[40], char *type) {
    size_t n = 0;
    bool minus = false, zero = false;
    char sign = 0;
    for (; p < end && *p && strchr("-+ 0#", *p); p++) {
        if (*p == '-') minus = true;
        if (*p == '0') zero = true;
        if (*p == '+' || (*p == ' ' && !sign)) sign = *p;
    }
    if (minus) flags[n++] = '<';
    if (sign) flags[n++] = sign;
    if (zero && !minus) flags[n++] = '0';
    while (p < end && n < 16 && ((*p >= '0' && *p <= '9') || *p == '.')) flags[n++] = *p++;
    flags[n] = '\0';
    *type = p < end ? *p++ : 0;
    return p;
}

bool slm__j_percent(jinja *j, const jv *format, const jv *args, jv *out) {
    jbuf *b = slm__j_buf(j, 0);
    const char *p = jbytes(format), *end = p + format->len;
    percent state = {.args = args};
    while (b && p < end) {
        const char *run = p;
        while (run < end && *run != '%') run++;
        jv text = jsub(format, (uint32_t)(p - jbytes(format)), (uint32_t)(run - p)), v;
        if (!slm__j_put_str(j, b, &text)) return false;
        if (run == end) break;
        p = run + 1;
        char flags[40], type;
        if (p < end && *p == '(') {
            const char *close = memchr(p, ')', (size_t)(end - p));
            if (!close || args->kind != J_DICT)
                return slm__j_fail(j, SLM_ERR_ARGUMENT, "the format wants a mapping");
            const jentry *e =
                slm__j_dict_find(j, args->u.dict, (slm__str){p + 1, (size_t)(close - p - 1)});
            if (!e)
                return slm__j_fail(j, SLM_ERR_ARGUMENT, "the format wants a key that is missing");
            p = read_percent(close + 1, end, flags, &type);
            v = e->value;
            state.named = true;
        } else {
            p = read_percent(p, end, flags, &type);
            if (type != '%' && !next_arg(j, &state, &v)) return false;
        }
        if (type == '%') {
            if (!slm__j_puts(j, b, "%")) return false;
        } else if (!type || !strchr("sdixXofFeEgGr", type)) {
            return slm__j_fail(j, SLM_ERR_ARGUMENT, "a format with an unknown type");
        } else if (!put_percent(j, b, type, flags, &v)) {
            return false;
        }
    }
    uint32_t n = args->kind == J_TUPLE ? args->u.list->n
                 : args->kind == J_DICT || args->kind == J_LIST || args->kind == J_UNDEFINED ? 0
                                                                                             : 1;
    if (state.used < n && !state.named)
        return slm__j_fail(j, SLM_ERR_ARGUMENT, "not all arguments fit the format");
    if (!b) return false;
    *out = slm__j_whole(b);
    return true;
}

/* ---- Dates ---- */

typedef struct date {
    int64_t year;
    int month, day, weekday, yearday, hour, minute,
        second; /* month, weekday (Sunday), yearday from 0 */
} date;

/* The civil calendar, from days since 1970 (Howard Hinnant's algorithm: eras of 400 years that begin in March). */
static date date_of(int64_t seconds) {
    int64_t days = seconds / 86400, rest = seconds % 86400;
    if (rest < 0) rest += 86400, days--;
    int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    date d = {.day = (int)(doy - (153 * mp + 2) / 5 + 1),
              .month = (int)(mp < 10 ? mp + 2 : mp - 10)};
    d.year = yoe + era * 400 + (d.month < 2);
    bool leap = (d.year % 4 == 0 && d.year % 100 != 0) || d.year % 400 == 0;
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    d.yearday = before[d.month] + d.day - 1 + (leap && d.month > 1);
    d.weekday = (int)(((days + 4) % 7 + 7) % 7);
    d.hour = (int)(rest / 3600);
    d.minute = (int)(rest / 60 % 60);
    d.second = (int)(rest % 60);
    return d;
}

static const char *const month_names[] = {"January",   "February", "March",    "April",
                                          "May",       "June",     "July",     "August",
                                          "September", "October",  "November", "December"};
static const char *const day_names[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                        "Thursday", "Friday", "Saturday"};

/* A directive whose value is a number; *found false: it is none. */
static bool put_date_number(jinja *j, jbuf *b, const date *d, char c, bool plain, bool *found) {
    const struct {
        char c;
        int value, width;
    } numbers[] = {{'d', d->day, 2},
                   {'m', d->month + 1, 2},
                   {'y', (int)(d->year % 100), 2},
                   {'H', d->hour, 2},
                   {'I', (d->hour + 11) % 12 + 1, 2},
                   {'M', d->minute, 2},
                   {'S', d->second, 2},
                   {'j', d->yearday + 1, 3},
                   {'Y', (int)d->year, 1},
                   {'u', (d->weekday + 6) % 7 + 1, 1},
                   {'w', d->weekday, 1},
                   {'C', (int)(d->year / 100), 2},
                   {'U', (d->yearday + 7 - d->weekday) / 7, 2},
                   {'W', (d->yearday + 7 - (d->weekday + 6) % 7) / 7, 2}};
    for (size_t i = 0; i < SLM_COUNT(numbers); i++) {
        char text[64];
        if (numbers[i].c != c) continue;
        *found = true;
        snprintf(text, sizeof text, "%0*d", plain ? 1 : numbers[i].width, numbers[i].value);
        return slm__j_puts(j, b, text);
    }
    return true;
}

/* One directive. "%-d": no zeros in front. */
static bool put_directive(jinja *j, jbuf *b, const date *d, char c, bool plain) {
    static const struct {
        char c;
        const char *format;
    } compounds[] = {{'F', "%Y-%m-%d"},
                     {'T', "%H:%M:%S"},
                     {'D', "%m/%d/%y"},
                     {'R', "%H:%M"},
                     {'x', "%m/%d/%y"},
                     {'X', "%H:%M:%S"},
                     {'c', "%a %b %e %H:%M:%S %Y"},
                     {'r', "%I:%M:%S %p"}};
    char text[64] = "";
    bool found = false;
    if (!put_date_number(j, b, d, c, plain, &found)) return false;
    if (found) return true;
    for (size_t i = 0; i < SLM_COUNT(compounds); i++) {
        if (compounds[i].c != c) continue;
        for (const char *p = compounds[i].format; *p; p++) {
            if (!(*p == '%' ? put_directive(j, b, d, *++p, false) : slm__j_put(j, b, p, 1, false)))
                return false;
        }
        return true;
    }
    switch (c) {
    case 'B': return slm__j_puts(j, b, month_names[d->month]);
    case 'b':
    case 'h': return slm__j_put(j, b, month_names[d->month], 3, false);
    case 'A': return slm__j_puts(j, b, day_names[d->weekday]);
    case 'a': return slm__j_put(j, b, day_names[d->weekday], 3, false);
    case 'p': return slm__j_puts(j, b, d->hour < 12 ? "AM" : "PM");
    case 'e': snprintf(text, sizeof text, plain ? "%d" : "%2d", d->day); break;
    case 'f': return slm__j_puts(j, b, "000000");
    case 'n': return slm__j_puts(j, b, "\n");
    case 't': return slm__j_puts(j, b, "\t");
    case 'Z':
    case 'z': return true; /* a time without zone */
    case '%': return slm__j_puts(j, b, "%");
    default: return slm__j_fail(j, SLM_ERR_UNSUPPORTED, "strftime_now: unknown directive");
    }
    return slm__j_puts(j, b, text);
}

bool slm__j_strftime(jinja *j, const jv *format, jv *out) {
    jbuf *b = slm__j_buf(j, 0);
    date d = date_of(j->now);
    const char *p = jbytes(format), *end = p + format->len;
    if (d.year < 1 || d.year > 9999)
        return slm__j_fail(j, SLM_ERR_RANGE, "strftime_now: the year is not 1 to 9999");
    for (; b && p < end; p++) {
        if (*p != '%' || p + 1 == end) {
            if (!slm__j_put(j, b, p, 1, jmarked(format, (uint32_t)(p - jbytes(format)))))
                return false;
            continue;
        }
        bool plain = *++p == '-' && p + 1 < end;
        if (plain) p++;
        if (!put_directive(j, b, &d, *p, plain)) return false;
    }
    if (!b) return false;
    *out = slm__j_whole(b);
    return true;
}
