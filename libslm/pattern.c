/*
 * Matching by trying: the alternatives in order, each step as many code points as go, fewer if the rest then fails. That is how
 * the published expressions are meant, so the first match is the same. It is linear in the text because a step that gives back
 * is followed by one that looks at one code point, and because what an alternative has read in vain is taken by a later one
 * (the spaces of \s*[\r\n]+ by \s+). \s+$ would not be, and has its own way; an expression that is not otherwise has no row in pretok.c.
 */
#include "pattern.h"

/* ---- Compiling ---- */

typedef struct parser {
    slm__pattern *p;
    const char *at;
    int n_sets;
    struct {
        const char *begin;
        size_t len;
    } sources[SLM__MAX_SETS]; /* of the sets: equal ones are one */
} parser;

enum { N_ASCII = 128 };

/* A set on its way: ASCII by itself, the rest by class; ranges go straight to the pattern. */
typedef struct set {
    bool ascii[N_ASCII];
    uint32_t classes;
    uint32_t bit;
} set;

static const struct {
    const char *name; /* as it stands behind the backslash */
    uint32_t classes;
} classes[] = {
    {"s", 1u << CLASS_SPACE},
    {"p{L}", 1u << CLASS_UPPER | 1u << CLASS_LOWER | 1u << CLASS_LETTER},
    {"p{N}", 1u << CLASS_NUMBER},
    {"p{P}", 1u << CLASS_PUNCTUATION},
    {"p{S}", 1u << CLASS_SYMBOL},
    {"p{M}", 1u << CLASS_MARK},
    {"p{Lu}", 1u << CLASS_UPPER},
    {"p{Ll}", 1u << CLASS_LOWER},
    {"p{Lm}", 1u << CLASS_LETTER},
};

static bool starts(const char *at, const char *with) {
    return strncmp(at, with, strlen(with)) == 0;
}

/* The number at ps->at, which moves on. */
static uint32_t parse_number(parser *ps, uint32_t base) {
    uint32_t n = 0;
    for (;; ps->at++) {
        uint8_t c = (uint8_t)*ps->at;
        uint32_t digit = base;
        if (c >= '0' && c <= '9') digit = c - (uint32_t)'0';
        if (c >= 'a' && c <= 'f') digit = c - (uint32_t)'a' + 10;
        if (digit >= base || n > 0x10ffff) return n;
        n = n * base + digit;
    }
}

/* The code point at ps->at, which moves on; `*ok` becomes false if there is none. */
static uint32_t parse_char(parser *ps, bool *ok) {
    const char *s = ps->at;
    if (*s == '\0' || (uint8_t)*s >= N_ASCII) *ok = false;
    if (!*ok || *s != '\\') return ps->at++, (uint8_t)*s;
    ps->at += 2;
    if (s[1] == 'n') return '\n';
    if (s[1] == 'r') return '\r';
    if (s[1] == 't') return '\t';
    if (s[1] != 'u') {
        *ok = s[1] != '\0' && !(s[1] >= 'a' && s[1] <= 'z') && !(s[1] >= 'A' && s[1] <= 'Z');
        return (uint8_t)s[1];
    }
    *ok = s[2] == '{';
    ps->at++;
    uint32_t cp = *ok ? parse_number(ps, 16) : 0;
    *ok = *ok && *ps->at++ == '}' && cp <= 0x10ffff;
    return cp;
}

static bool add_range(slm__pattern *p, uint32_t low, uint32_t high, uint32_t bit, bool take) {
    int i = p->n_ranges;
    while (i > 0 && p->ranges[i - 1].low > low) i--;
    slm__code_range *r = &p->ranges[i];
    if (i > 0 && r[-1].low == low && r[-1].high == high) {
        *(take ? &r[-1].take : &r[-1].add) |= bit;
        return true;
    }
    if (p->n_ranges == SLM__MAX_RANGES) return false;
    if ((i > 0 && r[-1].high >= low) || (i < p->n_ranges && r->low <= high)) return false;
    memmove(r + 1, r, (size_t)(p->n_ranges++ - i) * sizeof *r);
    *r = (slm__code_range){low, high, take ? 0 : bit, take ? bit : 0};
    return true;
}

/* One member of a set: a class, a code point, or a range of them. */
static bool parse_member(parser *ps, set *s, bool take) {
    for (size_t i = 0; i < SLM_COUNT(classes); i++) {
        if (*ps->at != '\\' || !starts(ps->at + 1, classes[i].name)) continue;
        ps->at += 1 + strlen(classes[i].name);
        s->classes |= classes[i].classes;
        for (uint32_t c = 0; c < N_ASCII; c++)
            if (classes[i].classes >> slm__class_of(c) & 1) s->ascii[c] = true;
        return !take;
    }
    bool ok = true;
    uint32_t low = parse_char(ps, &ok), high = low;
    if (ok && ps->at[0] == '-' && ps->at[1] != ']') {
        ps->at++;
        high = parse_char(ps, &ok);
    }
    if (!ok || high < low) return false;
    for (uint32_t c = low; c <= high && c < N_ASCII; c++) s->ascii[c] = !take;
    return high < N_ASCII || add_range(ps->p, low < N_ASCII ? N_ASCII : low, high, s->bit, take);
}

static bool parse_members(parser *ps, set *s, bool *negated) {
    *negated = starts(ps->at, "\\S");
    if (*negated) {
        ps->at++;
        const char *behind = ps->at + 1;
        ps->at = "\\s";
        bool ok = parse_member(ps, s, false);
        ps->at = behind;
        return ok;
    }
    if (*ps->at != '[') return parse_member(ps, s, false);
    ps->at++;
    *negated = *ps->at == '^';
    ps->at += *negated;
    for (bool take = false; *ps->at != ']';) {
        if (*ps->at == '~')
            take = true, ps->at++;
        else if (!parse_member(ps, s, take))
            return false;
    }
    ps->at++;
    return true;
}

/* The index of the set at ps->at; -1: there is none, or no room. */
static int parse_set(parser *ps) {
    slm__pattern *p = ps->p;
    if (ps->n_sets == SLM__MAX_SETS) return -1;
    const char *begin = ps->at;
    set s = {.bit = 1u << ps->n_sets};
    bool negated;
    if (!parse_members(ps, &s, &negated)) return -1;
    size_t len = (size_t)(ps->at - begin);
    for (int i = 0; i < ps->n_sets; i++) {
        /* its ranges, if any, have got a bit that the next set will give them anew */
        if (ps->sources[i].len == len && memcmp(ps->sources[i].begin, begin, len) == 0) {
            for (int r = 0; r < p->n_ranges; r++)
                p->ranges[r].add &= ~s.bit, p->ranges[r].take &= ~s.bit;
            return i;
        }
    }
    ps->sources[ps->n_sets].begin = begin;
    ps->sources[ps->n_sets].len = len;
    for (int c = 0; c < N_ASCII; c++)
        if (s.ascii[c] != negated) p->ascii[c] |= s.bit;
    for (int c = 0; c < SLM__N_CLASSES; c++)
        if (s.classes >> c & 1) p->by_class[c] |= s.bit;
    if (negated) p->negated |= s.bit;
    return ps->n_sets++;
}

static bool add_step(slm__pattern *p, slm__pattern_step_kind kind, int index, uint32_t min,
                     uint32_t max) {
    if (p->n_steps == SLM__MAX_STEPS || index < 0) return false;
    p->steps[p->n_steps++] =
        (slm__pattern_step){(uint8_t)kind, (uint8_t)index, (uint16_t)min, (uint16_t)max};
    return true;
}

/* ? * + {n} {m,n} behind a set, or nothing. */
static bool parse_count(parser *ps, uint32_t *min, uint32_t *max) {
    char c = *ps->at;
    *min = c == '?' || c == '*' ? 0 : 1;
    *max = c == '*' || c == '+' ? UINT16_MAX : 1;
    if (c == '?' || c == '*' || c == '+') ps->at++;
    if (c != '{') return true;
    ps->at++;
    *min = *max = parse_number(ps, 10);
    if (*ps->at == ',') {
        ps->at++;
        *max = parse_number(ps, 10);
    }
    return *ps->at++ == '}' && *min <= *max && *max > 0 && *max < UINT16_MAX;
}

/* A new alternative, without its steps; -1: no room. */
static int add_alternative(slm__pattern *p) {
    if (p->n_alternatives == SLM__MAX_ALTERNATIVES) return -1;
    p->begin[p->n_alternatives] = (uint8_t)p->n_steps;
    return p->n_alternatives++;
}

/* Steps up to the end of the alternative. What (?:...)? holds is left for later: *group is its begin. */
static bool parse_steps(parser *ps, const char **group) {
    slm__pattern *p = ps->p;
    *group = NULL;
    while (*ps->at != '\0' && *ps->at != '|' && *ps->at != ')') {
        if (starts(ps->at, "(?:")) {
            *group = ps->at + 3;
            if (!add_step(p, STEP_OPTIONAL, 0, 0, 0)) return false;
            ps->at = strchr(ps->at, ')');
            if (!ps->at || ps->at[1] != '?') return false;
            ps->at += 2;
            break;
        }
        if (starts(ps->at, "(?!")) {
            ps->at += 3;
            if (!add_step(p, STEP_NOT, parse_set(ps), 0, 0) || *ps->at++ != ')') return false;
            continue;
        }
        int index = parse_set(ps);
        uint32_t min, max;
        if (index < 0 || !parse_count(ps, &min, &max)) return false;
        if (!add_step(p, STEP_SET, index, min, max)) return false;
    }
    return add_step(p, STEP_DONE, 0, 0, 0);
}

/* Alternatives up to the end of the pattern or of the group; `groups` is NULL in a group. */
static bool parse_alternatives(parser *ps, const char **groups) {
    for (;; ps->at++) {
        int index = add_alternative(ps->p);
        const char *group;
        if (index < 0 || !parse_steps(ps, &group) || (group && !groups)) return false;
        if (ps->p->steps[ps->p->begin[index]].kind != STEP_SET) return false;
        if (groups) groups[index] = group;
        if (*ps->at != '|') return *ps->at == (groups ? '\0' : ')');
    }
}

static bool parse_groups(parser *ps, const char *const *groups) {
    slm__pattern *p = ps->p;
    int n_top = p->n_alternatives;
    p->top = n_top == 32 ? UINT32_MAX : (1u << n_top) - 1;
    for (int i = 0; i < n_top; i++) {
        if (!groups[i]) continue;
        slm__pattern_step *step = &p->steps[p->begin[i]];
        while (step->kind != STEP_OPTIONAL) step++;
        step->min = (uint16_t)p->n_alternatives;
        ps->at = groups[i];
        if (!parse_alternatives(ps, NULL)) return false;
        step->max = (uint16_t)p->n_alternatives;
    }
    return true;
}

/* With what an alternative may begin. */
static void find_first(slm__pattern *p, int index) {
    const slm__pattern_step *s = &p->steps[p->begin[index]];
    for (; s->kind == STEP_SET; s++) {
        p->first[index] |= 1u << s->set;
        if (s->min > 0) break;
    }
    for (int c = 0; c < N_ASCII; c++)
        if (p->ascii[c] & p->first[index]) p->ascii_first[c] |= 1u << index & p->top;
}

bool slm__pattern_compile(slm__pattern *p, const char *source) {
    *p = (slm__pattern){0};
    parser ps = {.p = p, .at = source};
    const char *groups[SLM__MAX_ALTERNATIVES] = {NULL};
    if (strcmp(source, "\\s+$") == 0) {
        int index = parse_set(&ps);
        p->tail = index < 0 ? 0 : 1u << index;
        return index >= 0;
    }
    if (!parse_alternatives(&ps, groups) || !parse_groups(&ps, groups)) return false;
    for (int i = 0; i < p->n_alternatives; i++) find_first(p, i);
    return true;
}

/* ---- Matching ---- */

#define FAILED SIZE_MAX

/* Sets of a code point beyond ASCII. */
static uint32_t sets_of(const slm__pattern *p, uint32_t cp) {
    slm__class c = slm__class_of(cp);
    uint32_t sets = p->by_class[c];
    int low = 0, high = c == CLASS_SPACE ? 0 : p->n_ranges;
    while (low < high) {
        int middle = (low + high) / 2;
        const slm__code_range *r = &p->ranges[middle];
        if (cp < r->low) {
            high = middle;
        } else if (cp > r->high) {
            low = middle + 1;
        } else {
            sets = (sets | r->add) & ~r->take;
            break;
        }
    }
    return sets ^ p->negated;
}

/* Sets of the code point at `at` < n, *len its bytes. */
static inline uint32_t sets_at(const slm__pattern *p, const uint8_t *text, size_t n, size_t at,
                               size_t *len) {
    *len = 1;
    if (text[at] < N_ASCII) return p->ascii[text[at]];
    return sets_of(p, slm__utf8_read(text + at, n - at, len));
}

/* The end of up to `max` code points of a set; *count is how many. */
static size_t run(const slm__pattern *p, uint32_t bit, uint32_t max, const uint8_t *text, size_t n,
                  size_t at, size_t *count) {
    size_t len, k = 0, limit = max == UINT16_MAX ? SIZE_MAX : max;
    while (k < limit && at < n && sets_at(p, text, n, at, &len) & bit) at += len, k++;
    *count = k;
    return at;
}

static size_t match(const slm__pattern *p, const slm__pattern_step *s, const uint8_t *text,
                    size_t n, size_t at);

/* As deep as an alternative has steps. */
static size_t match_group(const slm__pattern *p, const slm__pattern_step *s, const uint8_t *text,
                          size_t n, size_t at) {
    for (int i = s->min; i < s->max; i++) {
        size_t end = match(p, &p->steps[p->begin[i]], text, n, at);
        if (end != FAILED) return end;
    }
    return at;
}

static size_t match(const slm__pattern *p, const slm__pattern_step *s, const uint8_t *text,
                    size_t n, size_t at) {
    for (;; s++) {
        uint32_t bit = 1u << s->set;
        size_t len, count;
        if (s->kind == STEP_DONE) return at;
        if (s->kind == STEP_OPTIONAL) return match_group(p, s, text, n, at);
        if (s->kind == STEP_NOT) {
            if (at < n && sets_at(p, text, n, at, &len) & bit) return FAILED;
            continue;
        }
        at = run(p, bit, s->max, text, n, at, &count);
        if (count < s->min) return FAILED;
        if (s[1].kind == STEP_DONE) return at;
        if (count == s->min) continue;
        for (;; count--) {
            size_t end = match(p, s + 1, text, n, at);
            if (end != FAILED || count == s->min) return end;
            at--;
            while ((text[at] & 0xc0) == 0x80) at--;
        }
    }
}

/* The end of the match that begins at `at`, or FAILED. */
static size_t match_any(const slm__pattern *p, const uint8_t *text, size_t n, size_t at) {
    uint32_t tried = p->top;
    if (text[at] < N_ASCII) {
        tried = p->ascii_first[text[at]];
    } else {
        size_t len;
        uint32_t sets = sets_at(p, text, n, at, &len);
        for (uint32_t rest = p->top; rest; rest &= rest - 1) {
            int i = __builtin_ctz(rest);
            if (!(p->first[i] & sets)) tried &= ~(1u << i);
        }
    }
    for (; tried; tried &= tried - 1) {
        size_t end = match(p, &p->steps[p->begin[__builtin_ctz(tried)]], text, n, at);
        if (end != FAILED && end > at) return end;
    }
    return FAILED;
}

/* Where the spaces at the end of the text begin. */
static size_t tail_begin(const slm__pattern *p, const uint8_t *text, size_t n, size_t at) {
    for (size_t end = n, len; end > at; n = end) {
        end--;
        while ((text[end] & 0xc0) == 0x80) end--;
        if (!(sets_at(p, text, n, end, &len) & p->tail)) break;
    }
    return n;
}

size_t slm__pattern_next(const slm__pattern *p, const uint8_t *text, size_t n, size_t at) {
    if (p->tail) {
        size_t begin = tail_begin(p, text, n, at);
        return begin > at ? begin : n;
    }
    size_t end = match_any(p, text, n, at);
    if (end != FAILED) return end;
    do {
        at++;
        while (at < n && (text[at] & 0xc0) == 0x80) at++;
    } while (at < n && match_any(p, text, n, at) == FAILED);
    return at;
}
