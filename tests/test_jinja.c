/* The Jinja of chat templates: values, statements, limits (faults 62 to 65), and what becomes tokens (fault 50). */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/check_alloc.h"
#include "support/suite.h"
#include "support/vocab_build.h"

static vocab_build v;
static slm_error err;
static slm_model *model;
static check_alloc memory;
static int start, end_, mark; /* <|im_start|>, <|im_end|> (control), <user> (user-defined) */

static void setup(void) {
    v = (vocab_build){.pre = "gpt-2"};
    vb_begin(&v);
    start = vb_token(&v, "<|im_start|>", VB_CONTROL);
    end_ = vb_token(&v, "<|im_end|>", VB_CONTROL);
    mark = vb_token(&v, "<user>", VB_USER);
    int bos = vb_token(&v, "<s>", VB_CONTROL);
    gb_u32(&v.file, "tokenizer.ggml.bos_token_id", (uint32_t)bos);
    memory = (check_alloc){0};
    slm_allocator a = check_allocator(&memory);
    ck_assert_int_eq(vb_try_open(&v, &a, &model, &err), SLM_OK);
}

static void teardown(void) {
    slm_model_close(model);
    ck_assert_int_eq(memory.n_live, 0);
    vb_free(&v);
}

static slm_chat with(const char *template) {
    slm_chat c = slm_chat_defaults();
    c.chat_template = template;
    c.template_bytes = strlen(template);
    c.now = 1790000000;
    return c;
}

static slm_status render(const char *template, char *out, size_t room) {
    slm_chat c = with(template);
    size_t n = 0;
    slm_status s = slm_chat_render(model, &c, out, room - 1, &n, &err);
    out[s == SLM_OK ? n : 0] = '\0';
    return s;
}

/* ---- Values: as jinja2 3.1.6 renders them, set up as transformers does ---- */

typedef struct row {
    const char *template, *text;
} row;

static const row expressions[] = {
    {"{{ 1 + 2 * 3 ** 2 - 7 // 2 % 3 }}", "19"},
    {"{{ -7 // 2 ~ ',' ~ -7 % 3 ~ ',' ~ 7.5 // -2 ~ ',' ~ 7.5 % -2 }}", "-4,2,-4.0,-0.5"},
    {"{{ 1 / 4 ~ ' ' ~ 1e16 ~ ' ' ~ 1e-5 ~ ' ' ~ (0.1 + 0.2) ~ ' ' ~ 100.0 }}",
     "0.25 1e+16 1e-05 0.30000000000000004 100.0"},
    {"{{ 0x1F + 0b11 + 0o17 + 1_000 }}", "1049"},
    {"{{ 1 < 2 <= 2 != 3 }}", "True"},
    {"{{ 'a' 'b' ~ \"c\\n\\x41\\u00e9\" }}", "abc\nA\303\251"},
    {"{{ [1, 'a', none, true, 1.5, (2,), {'k': [1]}] }}",
     "[1, 'a', None, True, 1.5, (2,), {'k': [1]}]"},
    {"{{ \"it's\" ~ [\"it's\", 'q\"', 'both\\'\"', '\303\251\\x00\\u200b'] }}",
     "it's[\"it's\", 'q\"', 'both\\'\"', '\303\251\\x00\\u200b']"},
    {"{{ not 1 in [1, 2] or 'b' in 'abc' and 3 not in [1] }}", "True"},
    {"{{ 'x' if false }}", ""},
    {"{{ ('x' if 1 else 'y') ~ ('x' if '' else 'y') }}", "xy"},
    {"{{ 'h\303\251llo'[1:-1] ~ 'h\303\251llo'[::-1] ~ [1, 2, 3, 4][-2:] ~ 'abc'[5:] ~ (1, 2, "
     "3)[::2] }}",
     "\303\251lloll\303\251h[3, 4](1, 3)"},
    {"{{ 'abc'[-1] ~ [1, 2][5] ~ {'a': 1}['b'] ~ {'a': 1}.a ~ 'abc'.x }}", "c1"},
    {"{{ ' a b  c '.split() ~ 'a,b,,c'.split(',') ~ 'a,b,c'.split(',', 1) ~ 'a b c'.rsplit(' ', 1) "
     "}}",
     "['a', 'b', 'c']['a', 'b', '', 'c']['a', 'b,c']['a b', 'c']"},
    {"{{ '  pad\\n'.strip() ~ 'xxaxx'.strip('x') ~ 'xxaxx'.lstrip('x') ~ 'xxaxx'.rstrip('x') }}",
     "padaaxxxxa"},
    {"{{ 'Stra\303\237e \303\200\316\243 \316\221\316\243'.lower() ~ 'stra\303\237e "
     "\305\211'.upper() ~ 'hello wORLD'.title() ~ 'hELLO'.capitalize() }}",
     "stra\303\237e \303\240\317\202 \316\261\317\202STRASSE \312\274NHello WorldHello"},
    {"{{ 'hello world-foo (bar'|title ~ ' x '|trim ~ 'abc'|replace('b', 'BB') ~ 'aaa'.replace('a', "
     "'b', 2) }}",
     "Hello World-Foo (BarxaBBcbba"},
    {"{{ [3, 1, 2]|sort|join(',') ~ ['b', 'A']|sort|join ~ ['b', 'A', 'a']|unique|list ~ [1, "
     "2]|sum }}",
     "1,2,3Ab['b', 'A']3"},
    {"{{ {'b': 1, 'a': [1, {'x': none}], 'c': '\303\251\"<\\n'}|tojson }}",
     "{\"b\": 1, \"a\": [1, {\"x\": null}], \"c\": \"\303\251\\\"<\\n\"}"},
    {"{{ {'b': 1, 'a': [1, {}, []]}|tojson(indent=2) }}",
     "{\n  \"b\": 1,\n  \"a\": [\n    1,\n    {},\n    []\n  ]\n}"},
    {"{{ {'b': 1.0, 'a': '\303\251\360\237\230\200'}|tojson(ensure_ascii=true, sort_keys=true, "
     "separators=(',', ':')) }}",
     "{\"a\":\"\\u00e9\\ud83d\\ude00\",\"b\":1.0}"},
    {"{{ [{'a': 1}, {'a': 2, 'b': 1}]|selectattr('b')|map(attribute='a')|list ~ [1, 2, "
     "3]|reject('odd')|list }}",
     "[2][2]"},
    {"{{ 'a\\nb\\n\\nc'|indent ~ '|' ~ 'a\\nb'|indent(2, true) }}", "a\n    b\n\n    c|  a\n  b"},
    {"{{ '%s|%5d|%-4s|%05.2f|%x|%%' % ('a', 42, 'b', 3.14159, 255) }}", "a|   42|b   |03.14|ff|%"},
    {"{{ '{} {1} {a!r:>5} {{}}'.format(1, 2, a='x') if false else '{0} {1} {a!r:>5} "
     "{{}}'.format(1, 2, a='x') }}",
     "1 2   'x' {}"},
    {"{{ '{:,} {:>6.2f} {:^7} {:+d} {:08.3f}'.format(1234567, 2.5, 'ab', 5, -3.14159) }}",
     "1,234,567   2.50   ab    +5 -003.142"},
    {"{{ missing ~ '|' ~ missing|default('d') ~ ''|default('e', true) ~ missing|length ~ [missing] "
     "~ (missing is defined) }}",
     "|de0[Undefined]False"},
    {"{{ 1 is number and 'a' is string and {} is mapping and [] is sequence and none is none and "
     "true is boolean and 1.0 is float }}",
     "True"},
    {"{{ range(5)|list ~ range(1, 10, 3) ~ dict(a=1, b=2) ~ range(3)[-1] }}",
     "[0, 1, 2, 3, 4]range(1, 10, 3){'a': 1, 'b': 2}2"},
    {"{{ ('<b>'|safe + '<i>') ~ '<&>'|e ~ ('<b>'|safe ~ '<i>') }}",
     "<b>&lt;i&gt;&lt;&amp;&gt;<b><i>"},
    {"{{ ('42'|int + ' 7 '|int) ~ 'x'|int(5) ~ '2.9'|int ~ '1e3'|float ~ 'ff'|int(base=16) }}",
     "49521000.0255"},
    {"{{ 2.5|round ~ 3.5|round ~ 2.675|round(2) ~ 7|round ~ 2.1|round(0, 'ceil') }}",
     "2.04.02.6773.0"},
    {"{{ 'abc'.startswith(('x', 'ab')) ~ 'abc'.endswith('c') ~ 'abcabc'.find('c', 3) ~ "
     "'abcabc'.rfind('b') ~ 'a-b-c'.partition('-') }}",
     "TrueTrue54('a', '-', 'b-c')"},
    {"{{ strftime_now('%Y-%m-%d %H:%M:%S %a %A %b %B %j %-d %e %p %I') }}",
     "2026-09-21 14:13:20 Mon Monday Sep September 264 21 21 PM 02"},
    {"{{ 'a\\r\\nb\\x0bc\\u2028d'.splitlines() ~ '12'.isdigit() ~ 'aB'.isalpha() ~ "
     "'\302\262'.isdigit() ~ 'A1'.isupper() }}",
     "['a', 'b', 'c', 'd']TrueTrueTrueTrue"},
    {"{{ {1: 'a', 1.0: 'b', true: 'c'} ~ {'a': 1}.items() ~ {'a': 1}.keys()|list ~ {}.get('x', 5) "
     "}}",
     "{1: 'c'}dict_items([('a', 1)])['a']5"},
    {"{{ [[1, 2], [1, 1]]|sort ~ (1, 2) < (1, 3) ~ [1] == [1.0] ~ ('a' < 'b') ~ (none == missing) "
     "}}",
     "False"},
    {"{{ 'truncate this text please'|truncate(12) ~ 'abcdef'|center(10) ~ [1, 2, 3, 4, "
     "5]|batch(2)|list ~ [1, 2, 3]|slice(2)|list }}",
     "truncate...  abcdef  [[1, 2], [3, 4], [5]][[1, 2], [3]]"},
    {"{{ '' and 1 ~ 2 or 3 }}", "3"},
    {"{{ 9223372036854775807 ~ (-9223372036854775807 - 1) }}",
     "9223372036854775807-9223372036854775808"},
    {"{{ 'a' * 3 ~ [1] * 2 ~ 2 * 'b' ~ ([1] + [2]) ~ 1.5 * 2 }}", "aaa[1, 1]bb[1, 2]3.0"},
    {"{{ 5 is divisibleby 5 and 4 is even and 3 is odd and 2 is in [2] and 1 is eq 1 and 'A' is "
     "upper }}",
     "True"},
    {"{{ 'abc'|first ~ 'abc'|last ~ [1, 2]|last ~ ''|first ~ [3, 1]|min ~ [3, 1]|max ~ "
     "'abc'|reverse }}",
     "ac213cba"},
    {"{{ 'x'.zfill(3) ~ '-5'.zfill(4) ~ 'a'.center(4, '*') ~ 'a'.ljust(3) ~ 'a'.rjust(3) ~ '|' }}",
     "00x-005*a**a    a|"},
    {"{{ 'ab'|list ~ {'b': 1, 'A': 2}|dictsort ~ {'b': 1, 'A': 2}|dictsort(by='value', "
     "reverse=true) ~ {'a': 1}|items|list }}",
     "['a', 'b'][('A', 2), ('b', 1)][('A', 2), ('b', 1)][('a', 1)]"},
    {"{{ 'a'.__class__ ~ [].append ~ {}.pop ~ ('a'.__class__ is defined) }}", "False"},
    {"{{ '{\"a\": [1, 2.0, null, \"\\u00e9\"]}'|from_json }}", "{'a': [1, 2.0, None, '\303\251']}"},
};

static const row templates[] = {
    {"{% for i in [1, 2, 3] %}{{ loop.index }}{{ loop.first }}{{ loop.last }}{{ loop.previtem }}{{ "
     "loop.nextitem }}{{ loop.revindex0 }}{{ loop.length }} {% endfor %}",
     "1TrueFalse223 2FalseFalse1313 3FalseTrue203 "},
    {"{% for i in range(6) if i is odd %}{{ loop.index }}:{{ i }}/{{ loop.length }} {% else "
     "%}none{% endfor %}",
     "1:1/3 2:3/3 3:5/3 "},
    {"{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}{% for k, v in {'x': "
     "1}.items() %}{{ k }}{{ v }}{% endfor %}",
     "123x1"},
    {"{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% "
     "endif %}{{ i }}{% else %}e{% endfor %}",
     "013"},
    {"{% for i in [] %}x{% else %}empty{% endfor %}{% for c in 'a\303\251' %}{{ c }}.{% endfor "
     "%}{% for k in {'p': 1} %}{{ k }}{% endfor %}",
     "emptya.\303\251.p"},
    {"{% for n in [{'v': 1, 'c': [{'v': 2, 'c': []}]}] recursive %}{{ n.v }}({{ loop.depth }}{{ "
     "loop(n.c) }}){% endfor %}",
     "1(12(2))"},
    {"{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}{% if true "
     "%}{% set x = 9 %}{% endif %}{{ x }}",
     "2319"},
    {"{% set ns = namespace(n=0, l=[]) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% endfor "
     "%}{{ ns.n }}{{ ns.q is defined }}",
     "3False"},
    {"{% macro m(a, b='d', c=a) %}[{{ a }},{{ b }},{{ c }}{{ varargs }}{{ kwargs }}]{% endmacro "
     "%}{{ m(1) }}{{ m(1, c=3) }}{{ m(1, 2, 3, 4, z=5) }}{{ m() }}",
     "[1,d,1(){}][1,d,3(){}][1,2,3(4,){'z': 5}][,d,(){}]"},
    {"{% macro box(t) %}<{{ t }}>{{ caller('x') }}</{{ t }}>{% endmacro %}{% call(y) box('b') %}in "
     "{{ y }}{% endcall %}",
     "<b>in x</b>"},
    {"{% set b = 5 %}{% macro m(a=b, b=b) %}[{{ a }},{{ b }}]{% endmacro %}{{ m() }}{{ m(b=1) }}",
     "[,][1,1]"},
    {"{% macro r(n) %}{{ n }}{% if n > 0 %}{{ r(n - 1) }}{% endif %}{% endmacro %}{{ r(5) }}",
     "543210"},
    {"{% set b %}a{{ 1 }}{% endset %}{% set u | upper | replace('A', 'x') %}a b{% endset %}{{ b "
     "}}{{ u }}{% filter upper %}f{{ b }}{% endfilter %}",
     "a1x BFA1"},
    {"{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}{% generation %}{% set g = 1 %}g{{ "
     "g }}{% endgeneration %}{{ g }}",
     "12g1"},
    {"a {%- if true %} b {%- endif -%} c\n  {% if true %}\n  d\n  {% endif %}\n  e {# c #}\nf\n",
     "a bc\n  d\n  e f"},
    {"  {{ 1 }}\n  {%+ if true %} x\n{% endif +%}\ny {#- c -#} z{{- 1 -}} w", "  1\n   x\n\nyz1w"},
    {"{% raw %}{{ x }} {% y %}{% endraw %}|{%- raw -%} {# z #} {%- endraw -%}|\n{% raw %}\n a\n{% "
     "endraw %}\n",
     "{{ x }} {% y %}|{# z #}|\n\n a\n"},
    {"{{ 'a' }}\r\n{{ 'b\r\nc' }}\r{% if 1 %}\r\nx{% endif %}\n", "a\nb\nc\nx"},
    {"{% set a, b = 1, [2] %}{{ a }}{{ b }}{% set t = 1, %}{{ t }}{% if a, b %}y{% endif %}{% "
     "print a, b %}",
     "1[2](1,)y1[2]"},
    {"{% if x is defined and x %}1{% elif not x %}2{% else %}3{% endif %}{% if false %}{{ 1|nosuch "
     "}}{% endif %}",
     "2"},
    {"{{ {'a': 1}['a'] }}{{ [[1], [2]][1][0] }}{{ 'ab'.upper()[0].lower() }}{{ 1 .x }}", "12a"},
};

static void expect_rows(const row *rows, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char out[2000];
        slm_status s = render(rows[i].template, out, sizeof out);
        ck_assert_msg(s == SLM_OK, "%s: %s", rows[i].template, err.message);
        ck_assert_msg(strcmp(out, rows[i].text) == 0, "%s\n  want %s\n  got  %s", rows[i].template,
                      rows[i].text, out);
    }
}

START_TEST(test_expressions_as_jinja2) {
    expect_rows(expressions, sizeof expressions / sizeof *expressions);
}
END_TEST

START_TEST(test_templates_as_jinja2) {
    expect_rows(templates, sizeof templates / sizeof *templates);
}
END_TEST

/* ---- Limits and errors ---- */

typedef struct failing {
    const char *template;
    slm_status status;
    const char *word;
} failing;

static void expect_failures(const failing *rows, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char out[100];
        long live = memory.n_live;
        slm_status s = render(rows[i].template, out, sizeof out);
        ck_assert_msg(s == rows[i].status, "%s: %s %s", rows[i].template, slm_status_name(s),
                      err.message);
        ck_assert_msg(strstr(err.message, rows[i].word) != NULL, "%s: %s", rows[i].template,
                      err.message);
        ck_assert_int_eq(memory.n_live, live);
    }
}

START_TEST(test_fault_63_limits) {
    static const failing rows[] = {
        {"{% for i in range(1000000000) %}x{% endfor %}", SLM_ERR_LIMIT, "range"},
        {"{% set r = range(5000) %}{% for i in r %}{% for k in r %}{% endfor %}{% endfor %}",
         SLM_ERR_LIMIT, "steps"},
        {"{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}"
         "{% endfor %}",
         SLM_ERR_LIMIT, "M"},
        {"{% set ns = namespace(t=(1,)) %}{% for i in range(60) %}{% set ns.t = (ns.t, ns.t) %}"
         "{% endfor %}{{ ns.t is filter }}",
         SLM_ERR_LIMIT, ""},
        {"{% set ns = namespace(t=(1,)) %}{% for i in range(60) %}{% set ns.t = (ns.t, ns.t) %}"
         "{% endfor %}{{ {}[ns.t] }}",
         SLM_ERR_LIMIT, ""},
        {"{{ 'ab' * 1000000000 }}", SLM_ERR_LIMIT, ""},
        {"{{ [1] * 1000000000 }}", SLM_ERR_LIMIT, ""},
        {"{{ 'x'.center(1000000000) }}", SLM_ERR_LIMIT, ""},
        {"{% macro r(n) %}{{ r(n) }}{% endmacro %}{{ r(0) }}", SLM_ERR_LIMIT, "128"},
        {"{% set ns = namespace(l=[1]) %}{% for i in range(64) %}{% set ns.l = [ns.l, ns.l] %}"
         "{% endfor %}{{ ns.l }}",
         SLM_ERR_LIMIT, "steps"},
        {"{% set ns = namespace(l=[1]) %}{% for i in range(500) %}{% set ns.l = [ns.l] %}"
         "{% endfor %}{{ ns.l == ns.l }}",
         SLM_ERR_LIMIT, "128 deep"},
        {"{% set ns = namespace(l=[1]) %}{% for i in range(500) %}{% set ns.l = [ns.l] %}"
         "{% endfor %}{{ ns.l|tojson }}",
         SLM_ERR_LIMIT, "128 deep"},
    };
    expect_failures(rows, sizeof rows / sizeof *rows);
}
END_TEST

static uint32_t fnv(const char *s) {
    uint32_t h = 2166136261u;
    for (; *s; s++) h = (h ^ (uint8_t)*s) * 16777619u;
    return h;
}

/* Looking for characters, names, keywords and keys costs steps by how many are looked at. Each of these has thousands to look at, and would
 * otherwise take minutes, or do its work uncounted. */
START_TEST(test_fault_63_work_is_counted) {
    static const failing rows[] = {
        {"{% set s = 'a' * 1000000 %}{{ s.strip('b' * 1000000 ~ 'a') }}", SLM_ERR_LIMIT, "steps"},
        {"{% set s = 'a' * 1000000 %}{{ s.rstrip('b' * 1000000 ~ 'a') }}", SLM_ERR_LIMIT, "steps"},
        {"{% set s = ' ' * 4000000 %}{% for i in range(100000) %}{{ s|int }}{% endfor %}",
         SLM_ERR_LIMIT, "steps"},
        {"{% set s = 'a' * 4000000 %}{% for i in range(100000) %}{{ 'b'|truncate(1, end=s) }}"
         "{% endfor %}",
         SLM_ERR_LIMIT, "steps"},
        {"{{ ('[' ~ '0,' * 300000 ~ '0]')|from_json }}", SLM_ERR_LIMIT, "memory"},
    };
    expect_failures(rows, sizeof rows / sizeof *rows);
    enum { N = 20000, SAME = 1000, ROOM = 64 * N };
    char *text = malloc(ROOM), out[100], *p = text;
    for (int i = 0; i < N; i++) p += sprintf(p, "{%% set a%d = 1 %%}", i);
    strcpy(p, "{% for i in range(10000) %}{{ a19999 }}{% endfor %}");
    ck_assert_int_eq(render(text, out, sizeof out), SLM_ERR_LIMIT);

    slm_chat c = with("{% set n = dict(**d) %}");
    size_t n;
    c.extra_json = text;
    p = text + sprintf(text, "{\"d\": {\"k\": 0");
    for (int i = 0; i < N; i++) p += sprintf(p, ", \"k%d\": 0", i);
    c.extra_bytes = (size_t)(stpcpy(p, "}}") - text);
    ck_assert_int_eq(slm_chat_render(model, &c, out, sizeof out, &n, &err), SLM_ERR_LIMIT);

    /* all at one place of a table of 2048, as jinja_value.c hashes them */
    c = with("{% for i in range(50000) %}{{ d.get('k') }}{{ d.k }}{% endfor %}");
    c.extra_json = text;
    p = text + sprintf(text, "{\"d\": {\"x\": 0");
    for (int i = 0, found = 0; found < SAME; i++) {
        char key[16];
        sprintf(key, "%d", i);
        if ((fnv(key) & 2047) != (fnv("k") & 2047)) continue;
        p += sprintf(p, ", \"%s\": 0", key);
        found++;
    }
    c.extra_bytes = (size_t)(stpcpy(p, "}}") - text);
    ck_assert_int_eq(slm_chat_render(model, &c, out, sizeof out, &n, &err), SLM_ERR_LIMIT);
    ck_assert_ptr_nonnull(strstr(err.message, "steps"));
    free(text);
}
END_TEST

/* Brackets, signs, conditions and blocks inside each other: a status, and no deep stack. */
START_TEST(test_fault_63_nested_sources) {
    static const char *const open[] = {"(",  "[",  "{1:",          "-",    "not ",
                                       "a[", "a(", "a if b else ", "1 + ("};
    enum { N = 20000 };
    char *source = malloc(16 * N + 10), out[10];
    for (size_t i = 0; i < sizeof open / sizeof *open; i++) {
        strcpy(source, "{{ ");
        char *p = source + 3;
        for (int k = 0; k < N; k++) p = stpcpy(p, open[i]);
        strcpy(p, "1 }}");
        ck_assert_msg(render(source, out, sizeof out) == SLM_ERR_LIMIT, "%s: %s", open[i],
                      err.message);
        ck_assert_ptr_nonnull(strstr(err.message, "deep"));
    }
    static const char *const blocks[] = {"{% if 1 %}", "{% for a in b %}", "{% set x %}",
                                         "{% call f() %}"};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        char *p = source;
        for (int k = 0; k < N; k++) p = stpcpy(p, blocks[i]);
        ck_assert_msg(render(source, out, sizeof out) == SLM_ERR_LIMIT, "%s: %s", blocks[i],
                      err.message);
    }
    /* long chains are no nesting, but for what has to be looked up one in the other */
    strcpy(source, "{{ 1");
    char *p = source + 4;
    for (int k = 0; k < N; k++) p = stpcpy(p, k % 2 ? " + 1" : " - 1");
    strcpy(p, " }}");
    ck_assert_int_eq(render(source, out, sizeof out), SLM_OK);
    ck_assert_str_eq(out, "1");
    strcpy(source, "{{ a");
    p = source + 4;
    for (int k = 0; k < N; k++) p = stpcpy(p, "|d");
    strcpy(p, " }}");
    ck_assert_int_eq(render(source, out, sizeof out), SLM_ERR_LIMIT);
    free(source);
}
END_TEST

START_TEST(test_fault_64_nothing_of_python) {
    static const failing rows[] = {
        {"{{ ''.__class__.__mro__ }}", SLM_ERR_ARGUMENT, "__class__"},
        {"{{ ''['__class__']['__mro__'] }}", SLM_ERR_ARGUMENT, "__class__"},
        {"{{ ''|attr('__class__')|attr('__base__') }}", SLM_ERR_ARGUMENT, "__class__"},
        {"{{ namespace.__init__.__globals__ }}", SLM_ERR_ARGUMENT, "__init__"},
        {"{{ [].append(1) }}", SLM_ERR_ARGUMENT, "append"},
        {"{{ {}.update({}) }}", SLM_ERR_ARGUMENT, "update"},
        {"{{ open('/etc/passwd') }}", SLM_ERR_ARGUMENT, "'open' is undefined"},
        {"{{ self.x }}", SLM_ERR_ARGUMENT, "'self' is undefined"},
        {"{{ '{0.__class__.__mro__}'.format('') }}", SLM_ERR_ARGUMENT, "__class__"},
        {"{% import 'os' as os %}", SLM_ERR_UNSUPPORTED, "import"},
        {"{% from 'os' import x %}", SLM_ERR_UNSUPPORTED, "from"},
        {"{% set ns = namespace() %}{% set ns.__class__ = 1 %}", SLM_ERR_ARGUMENT, "__class__"},
    };
    char out[20];
    expect_failures(rows, sizeof rows / sizeof *rows);
    ck_assert_int_eq(render("{{ ''.__class__ is defined }}", out, sizeof out), SLM_OK);
    ck_assert_str_eq(out, "False");
}
END_TEST

START_TEST(test_fault_65_errors_of_templates) {
    static const failing rows[] = {
        {"\n {{ raise_exception('roles must alternate\n') }}", SLM_ERR_ARGUMENT,
         "line 2, column 20: roles must alternate\\x0a"},
        {"{{ a.b }}", SLM_ERR_ARGUMENT, "line 1, column 5: 'a' is undefined"},
        {"{{ {'x': 1}.y.z }}", SLM_ERR_ARGUMENT, "'dict' object has no attribute 'y'"},
        {"{{ a() }}", SLM_ERR_ARGUMENT, "'a' is undefined"},
        {"{{ a + 1 }}", SLM_ERR_ARGUMENT, "'a' is undefined"},
        {"{{ 1 + 'a' }}", SLM_ERR_ARGUMENT, "'int' and 'str'"},
        {"{{ [] < 1 }}", SLM_ERR_ARGUMENT, "ordered"},
        {"{{ 1 in 2 }}", SLM_ERR_ARGUMENT, "iterable"},
        {"{{ 9223372036854775807 + 1 }}", SLM_ERR_ARGUMENT, "64 bits"},
        {"{{ 2 ** 64 }}", SLM_ERR_ARGUMENT, "64 bits"},
        {"{{ 'abc'[::0] }}", SLM_ERR_ARGUMENT, "step"},
        {"{{ 'abc'['a':] }}", SLM_ERR_ARGUMENT, "slice"},
        {"{{ 1 // 0 }}", SLM_ERR_ARGUMENT, "zero"},
        {"{{ (-9223372036854775807 - 1) // -1 }}", SLM_ERR_ARGUMENT, "64 bits"},
        {"{{ none|length }}", SLM_ERR_ARGUMENT, "length"},
        {"{{ {[]: 1} }}", SLM_ERR_ARGUMENT, "unhashable"},
        {"{{ missing|tojson }}", SLM_ERR_ARGUMENT, "JSON"},
        {"{% set a, b = [1] %}", SLM_ERR_ARGUMENT, "values"},
        {"{% for a in 1 %}{% endfor %}", SLM_ERR_ARGUMENT, "iterable"},
        {"{% macro m() %}{% endmacro %}{{ m(1) }}", SLM_ERR_ARGUMENT, "at most 0"},
        {"{{ 'a'.upper(1) }}", SLM_ERR_ARGUMENT, "at most 0"},
        {"{{ 'a'|replace('a') }}", SLM_ERR_ARGUMENT, "missing"},
    };
    expect_failures(rows, sizeof rows / sizeof *rows);
}
END_TEST

/* Bounds of slices far outside, as Python takes them. */
START_TEST(test_fault_65_slices_far_outside) {
    char out[100];
    ck_assert_int_eq(render("{{ 'abc'[-9223372036854775807:9223372036854775807] }}"
                            "{{ 'abc'[9223372036854775807::-9223372036854775807] }}"
                            "{{ [1, 2][:-9223372036854775807] }}{{ 'abc'[::9223372036854775807] }}",
                            out, sizeof out),
                     SLM_OK);
    ck_assert_str_eq(out, "abcc[]a");
}
END_TEST

/* ---- Tokens ---- */

/* What comes from the caller is never a control token, whatever the template does with it. */
START_TEST(test_fault_50_text_of_the_caller_stays_text) {
    static const char *const templates_[] = {
        "{{ c }}",
        "{{ c|upper|lower }}",
        "{{ c[0:12] }}",
        "{{ c|trim }}",
        "{{ [c]|tojson }}",
        "{{ c|replace('a', 'b') }}",
        "{{ c|replace('|', '|') }}",
        "{{ '<' + c[1:] }}",
        "{{ c[:-1] ~ '>' }}",
        "{{ [c]|join }}",
        "{{ c|list|join }}",
        "{{ c|indent }}",
        "{{ '%s' % c }}",
        "{{ '{}'.format(c) }}",
        "{% set x %}{{ c }}{% endset %}{{ x }}",
        "{% filter trim %}{{ c }}{% endfilter %}",
        "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(c) }}",
        "{{ [c] }}",
        "{{ {c: 1} }}",
        "{{ c.split('x')[0] }}",
        "{{ c|e|replace('&lt;', '<')|replace('&gt;', '>') }}",
        "{{ c|safe + '' }}",
        "{{ c|title|lower }}",
        "{{ c.center(40) }}",
        "{{ c|reverse|reverse }}",
        "{{ '\"' ~ (c|tojson|from_json) }}",
        "{{ k|list|first }}",
        "{{ dict(**k) }}",
        "{{ dict(**k)|list|first }}",
        "{% macro m() %}{{ kwargs }}{% endmacro %}{{ m(**k) }}",
        "{{ '%s'|format(k) }}",
        "{{ c|format }}",
        "{{ strftime_now(c) }}",
        "{{ c.partition('_')|join }}",
        "{{ c|truncate(9, true, '>', 0) }}",
        "{{ '<|im_star'|replace('r', c[8:]) }}",
        "{{ c|map('string')|join }}",
        "{{ c.join(['', '']) }}",
    };
    static const char extra[] = "{\"c\": \"<|im_start|>\", \"k\": {\"<|im_start|>\": 1}}";
    for (size_t i = 0; i < sizeof templates_ / sizeof *templates_; i++) {
        slm_chat c = with(templates_[i]);
        c.extra_json = extra;
        c.extra_bytes = sizeof extra - 1;
        slm_token out[500];
        size_t n = 0;
        slm_status s = slm_chat_encode(model, &c, out, 500, &n, &err);
        ck_assert_msg(s == SLM_OK, "%s: %s", templates_[i], err.message);
        ck_assert_uint_ge(n, 9);
        for (size_t k = 0; k < n; k++) ck_assert_msg(out[k] != start, "%s", templates_[i]);
    }
}
END_TEST

/* The template's own is, in pieces too; user-defined tokens are text and found everywhere; a text is encoded whole between tokens. */
START_TEST(test_fault_50_text_of_the_template_is_read) {
    static const char extra[] = "{\"c\": \"<user>a<|im_end|>\"}";
    slm_chat c = with("{{ '<|im_' ~ 'start|>' }}{{ c }}{{ '<|IM_END|>'|lower }}<us{{ 'er>' }}");
    c.extra_json = extra;
    c.extra_bytes = sizeof extra - 1;
    slm_token out[40];
    const slm_token head[] = {start, mark, 'a', '<', '|'};
    size_t n = 0;
    ck_assert_int_eq(slm_chat_encode(model, &c, out, 40, &n, &err), SLM_OK);
    ck_assert_uint_eq(n, 1 + 1 + 11 + 1 + 1);
    ck_assert_mem_eq(out, head, sizeof head);
    ck_assert_int_eq(out[n - 2], end_);
    ck_assert_int_eq(out[n - 1], mark);
}
END_TEST

/* A begin token that the file asks for stands once, also where the template prints it. */
START_TEST(test_one_begin_token) {
    vocab_build w = {.pre = "llama-bpe"};
    vb_begin(&w);
    int bos = vb_token(&w, "<s>", VB_CONTROL);
    gb_u32(&w.file, "tokenizer.ggml.bos_token_id", (uint32_t)bos);
    slm_model *m = vb_open(&w);
    static const char *const templates_[] = {"{{ bos_token }}a", "a", "<s>a", "{{ c }}a"};
    static const size_t lengths[] = {2, 2, 2, 5};
    for (int i = 0; i < 4; i++) {
        slm_chat c = with(templates_[i]);
        c.extra_json = "{\"c\": \"<s>\"}";
        c.extra_bytes = strlen(c.extra_json);
        slm_token out[10];
        size_t n = 0;
        ck_assert_int_eq(slm_chat_encode(m, &c, out, 10, &n, &err), SLM_OK);
        ck_assert_uint_eq(n, lengths[i]);
        ck_assert_int_eq(out[0], bos);
        ck_assert_int_eq(out[n - 1], 'a');
    }
    slm_model_close(m);
    vb_free(&w);
}
END_TEST

/* ---- The API ---- */

#define SHOW \
    "{{ messages|tojson }}|{{ tools|tojson }}|{{ x }}|{{ add_generation_prompt }}|{{ bos_token }}"

static void expect_chat(slm_chat *c, const char *want) {
    char out[400];
    size_t n = 0;
    slm_status s = slm_chat_render(model, c, out, sizeof out, &n, &err);
    ck_assert_msg(s == SLM_OK, "%s", err.message);
    ck_assert_uint_eq(n, strlen(want));
    ck_assert_mem_eq(out, want, n);
}

#define JSON(c, field, text) ((c).field##_json = (text), (c).field##_bytes = strlen(text))

START_TEST(test_what_a_template_is_given) {
    slm_message hi = {"user", "Hi", 2};
    slm_chat c = with(SHOW);
    expect_chat(&c, "[]|null||True|<s>");
    c.messages = &hi;
    c.n_messages = 1;
    c.no_generation_prompt = true;
    expect_chat(&c, "[{\"role\": \"user\", \"content\": \"Hi\"}]|null||False|<s>");
    c = with(SHOW);
    JSON(c, messages, "[{\"content\": [1.50, null], \"role\": \"x\"}]");
    JSON(c, tools, "[{\"name\": \"f\"}]");
    JSON(c, extra, "{\"x\": -7, \"bos_token\": \"B\", \"add_generation_prompt\": false}");
    expect_chat(&c, "[{\"content\": [1.5, null], \"role\": \"x\"}]|[{\"name\": \"f\"}]|-7|False|B");
    c = with(SHOW);
    JSON(c, extra, "{\"messages\": [1], \"tools\": {}}");
    expect_chat(&c, "[1]|{}||True|<s>");
}
END_TEST

START_TEST(test_fault_66_arguments) {
    char out[10];
    size_t n = 5;
    slm_chat c = with("x"), bad = with("x");
    slm_message hi = {"user", "Hi", 2}, none = {NULL, "x", 1};
    bad.size = 1;
    ASSERT_FAILS(slm_chat_render(NULL, &c, out, 10, &n, &err), SLM_ERR_ARGUMENT, "NULL");
    ASSERT_FAILS(slm_chat_render(model, NULL, out, 10, &n, &err), SLM_ERR_ARGUMENT, "NULL");
    ASSERT_FAILS(slm_chat_render(model, &c, NULL, 10, &n, &err), SLM_ERR_ARGUMENT, "NULL");
    ASSERT_FAILS(slm_chat_render(model, &c, out, 10, NULL, &err), SLM_ERR_ARGUMENT, "NULL");
    ASSERT_FAILS(slm_chat_render(model, &bad, out, 10, &n, &err), SLM_ERR_ARGUMENT, "size");
    c.n_messages = 1;
    ASSERT_FAILS(slm_chat_render(model, &c, out, 10, &n, &err), SLM_ERR_ARGUMENT, "NULL");
    c.messages = &none;
    ASSERT_FAILS(slm_chat_render(model, &c, out, 10, &n, &err), SLM_ERR_ARGUMENT, "message 0");
    c.messages = &hi;
    JSON(c, messages, "[]");
    ASSERT_FAILS(slm_chat_render(model, &c, out, 10, &n, &err), SLM_ERR_ARGUMENT, "both");
    static const struct {
        const char *text;
        slm_status status;
        const char *word;
    } json[] = {
        {"[", SLM_ERR_FORMAT, "messages_json: "},
        {"{}", SLM_ERR_ARGUMENT, "no JSON array"},
        {"[1]", SLM_ERR_ARGUMENT, "no object"},
        {"[{\"a\": 99999999999999999999}]", SLM_ERR_RANGE, "64 bits"},
    };
    for (size_t i = 0; i < sizeof json / sizeof *json; i++) {
        c = with("x");
        JSON(c, messages, json[i].text);
        ASSERT_FAILS(slm_chat_render(model, &c, out, 10, &n, &err), json[i].status, json[i].word);
    }
    c = with("x");
    JSON(c, tools, "{}");
    ASSERT_FAILS(slm_chat_render(model, &c, out, 10, &n, &err), SLM_ERR_ARGUMENT, "tools_json");
    c = with("x");
    JSON(c, extra, "[]");
    ASSERT_FAILS(slm_chat_render(model, &c, out, 10, &n, &err), SLM_ERR_ARGUMENT, "extra_json");
}
END_TEST

START_TEST(test_fault_51_room) {
    slm_chat c = with("hello");
    char out[6] = "######";
    size_t n;
    for (size_t room = 0; room < 5; room++) {
        ASSERT_FAILS(slm_chat_render(model, &c, room ? out : NULL, room, &n, &err), SLM_ERR_BUFFER,
                     "5 bytes");
        ck_assert_uint_eq(n, 5);
        ck_assert_mem_eq(out, "######", 6);
    }
    ck_assert_int_eq(slm_chat_render(model, &c, out, 5, &n, &err), SLM_OK);
    ck_assert_mem_eq(out, "hello#", 6);
}
END_TEST

START_TEST(test_fault_84_nth_allocation_fails) {
    slm_chat c =
        with("{% for m in messages %}{{ m.content|upper|tojson }}{{ ('x' * 99999)|length }}"
             "{{ '[1]'|from_json }}{% endfor %}<|im_end|>{{ x }}");
    JSON(c, messages, "[{\"content\": \"a\"}]");
    JSON(c, tools, "[]");
    JSON(c, extra, "{\"x\": [1]}");
    slm_token out[200];
    size_t n;
    long refused = 0, live = memory.n_live;
    for (long at = 1;; at++) {
        memory.n_calls = 0;
        memory.fail_at = at;
        slm_status s = slm_chat_encode(model, &c, out, 200, &n, &err);
        ck_assert_int_eq(memory.n_live, live);
        if (memory.n_calls < at) {
            ck_assert_int_eq(s, SLM_OK);
            break;
        }
        ck_assert_int_eq(s, SLM_ERR_NOMEM);
        ck_assert_uint_gt(strlen(err.message), 0);
        refused++;
    }
    memory.fail_at = 0;
    ck_assert_int_ge(refused, 8);
}
END_TEST

/* Longer texts than the limits for small ones: they grow with what is given. */
START_TEST(test_long_conversations) {
    enum { N = 4000000 };
    char *text = malloc(N);
    memset(text, 'a', N);
    slm_message m = {"user", text, N};
    slm_chat c = with("{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = ns.t + "
                      "'<' + m.role + m.content|trim "
                      "+ '>' %}{% endfor %}{{ ns.t }}");
    c.messages = &m;
    c.n_messages = 1;
    size_t n = 0;
    ck_assert_int_eq(slm_chat_render(model, &c, NULL, 0, &n, &err), SLM_ERR_BUFFER);
    ck_assert_uint_eq(n, N + 6);
    free(text);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("jinja");
    TCase *c = tcase_create("jinja");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, test_expressions_as_jinja2);
    tcase_add_test(c, test_templates_as_jinja2);
    tcase_add_test(c, test_fault_63_limits);
    tcase_add_test(c, test_fault_63_work_is_counted);
    tcase_add_test(c, test_fault_63_nested_sources);
    tcase_add_test(c, test_fault_64_nothing_of_python);
    tcase_add_test(c, test_fault_65_errors_of_templates);
    tcase_add_test(c, test_fault_65_slices_far_outside);
    tcase_add_test(c, test_fault_50_text_of_the_caller_stays_text);
    tcase_add_test(c, test_fault_50_text_of_the_template_is_read);
    tcase_add_test(c, test_one_begin_token);
    tcase_add_test(c, test_what_a_template_is_given);
    tcase_add_test(c, test_fault_66_arguments);
    tcase_add_test(c, test_fault_51_room);
    tcase_add_test(c, test_fault_84_nth_allocation_fails);
    tcase_add_test(c, test_long_conversations);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
