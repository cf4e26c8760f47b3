/* The public call of JSON Schema: bad input by number, limits, memory, where errors say they are. What grammars fit is tested from
 * Python (test_schema_*.py), against its validator. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../include/slm.h"
#include "support/check_alloc.h"
#include "support/grammar_run.h"
#include "support/strict.h"
#include "support/suite.h"

static slm_error err;

static slm_status compile(const char *schema) {
    slm_grammar *g = (slm_grammar *)&err;
    slm_status status = slm_grammar_from_schema(schema, strlen(schema), NULL, &g, &err);
    ck_assert_int_eq(status, err.status);
    ck_assert_msg((g != NULL) == (status == SLM_OK), "%s", err.message);
    slm_grammar_free(g);
    return status;
}

static bool fits(const char *schema, const slm_schema_params *params, const char *text) {
    slm_grammar *g;
    ck_assert_msg(slm_grammar_from_schema(schema, strlen(schema), params, &g, &err) == SLM_OK, "%s",
                  err.message);
    grammar_run *r = gr_new(g);
    bool yes = gr_accepts(r, text, strlen(text));
    gr_free(r);
    slm_grammar_free(g);
    return yes;
}

typedef struct bad {
    const char *schema;
    slm_status status;
    const char *word;
} bad;

static void check_bad(const bad *cases, size_t n) {
    for (size_t i = 0; i < n; i++) {
        err = (slm_error){0};
        slm_status status = compile(cases[i].schema);
        ck_assert_msg(status == cases[i].status && strstr(err.message, cases[i].word),
                      "%s: %s \"%s\", expected %s with \"%s\"", cases[i].schema,
                      slm_status_name(status), err.message, slm_status_name(cases[i].status),
                      cases[i].word);
    }
}

#define CHECK_BAD(cases) check_bad(cases, sizeof(cases) / sizeof *(cases))

/* ---- By number ---- */

START_TEST(test_fault_58_contradictions) {
    static const bad cases[] = {
        {"{\"type\":\"integer\",\"minimum\":5,\"maximum\":3}", SLM_ERR_RANGE, "#: minimum 5"},
        {"{\"type\":\"array\",\"items\":{\"minLength\":2,\"maxLength\":1}}", SLM_ERR_RANGE,
         "#/items: minLength 2 is above maxLength 1"},
        {"{\"minItems\":2,\"maxItems\":1}", SLM_ERR_RANGE, "minItems 2"},
        {"{\"minProperties\":2,\"maxProperties\":1}", SLM_ERR_RANGE, "minProperties 2"},
        {"{\"type\":\"integer\",\"exclusiveMinimum\":1,\"exclusiveMaximum\":2}", SLM_ERR_RANGE,
         "#/exclusiveMinimum: no number"},
        {"{\"type\":\"number\",\"minimum\":1,\"exclusiveMaximum\":1}", SLM_ERR_RANGE, "no number"},
        {"{\"type\":\"integer\",\"allOf\":[{\"minimum\":5},{\"maximum\":3}]}", SLM_ERR_RANGE,
         "#/allOf/0/minimum"},
        {"{\"type\":\"string\",\"allOf\":[{\"minLength\":5},{\"maxLength\":3}]}", SLM_ERR_RANGE,
         "#/allOf/0: minLength 5 and maxLength 3"},
        {"{\"allOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}", SLM_ERR_FORMAT,
         "#/allOf/1: no type is left"},
        {"{\"allOf\":[{\"const\":1},{\"const\":2}]}", SLM_ERR_FORMAT, "#/allOf/1/const"},
        {"{\"allOf\":[{\"enum\":[1,2]},{\"enum\":[3]}]}", SLM_ERR_FORMAT, "no constant is left"},
        {"{\"enum\":[]}", SLM_ERR_FORMAT, "#/enum: expected an array that is not empty"},
        {"{\"const\":5,\"type\":\"string\"}", SLM_ERR_FORMAT, "no constant is left"},
        {"{\"const\":\"abc\",\"maxLength\":2}", SLM_ERR_RANGE, "#/const: the constant has 3"},
        {"{\"const\":\"abc\",\"pattern\":\"^b\"}", SLM_ERR_FORMAT, "#/pattern: it does not fit"},
        {"{\"type\":\"string\",\"pattern\":\"a^b\"}", SLM_ERR_FORMAT, "#/pattern: no text fits"},
        {"{\"required\":[\"a\"],\"properties\":{\"a\":false}}", SLM_ERR_FORMAT,
         "#: nothing satisfies the required property \"a\""},
        {"{\"type\":\"object\",\"properties\":{\"a\":{}},\"required\":[\"a\"],\"maxProperties\":0}",
         SLM_ERR_RANGE, "at most 0 properties"},
        {"false", SLM_ERR_FORMAT, "#: the schema is false"},
    };
    CHECK_BAD(cases);
}
END_TEST

START_TEST(test_fault_58_references) {
    static const bad cases[] = {
        {"{\"$ref\":\"#\"}", SLM_ERR_FORMAT, "#: refers to itself"},
        {"{\"$defs\":{\"a\":{\"$ref\":\"#/$defs/b\"},\"b\":{\"$ref\":\"#/$defs/a\"}},\"$ref\":\"#/"
         "$defs/a\"}",
         SLM_ERR_FORMAT, "#/$defs/a: refers to itself"},
        {"{\"anyOf\":[{\"type\":\"null\"},{\"allOf\":[{\"$ref\":\"#\"}]}]}", SLM_ERR_FORMAT,
         "refers to itself"},
        {"{\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}", SLM_ERR_FORMAT,
         "values without an end"},
        {"{\"$ref\":\"https://example.com/a.json\"}", SLM_ERR_UNSUPPORTED,
         "#/$ref: \"https://example.com/a.json\" is in another document; nothing is fetched"},
        {"{\"$ref\":\"file:///etc/passwd\"}", SLM_ERR_UNSUPPORTED, "nothing is fetched"},
        {"{\"items\":{\"$ref\":\"other.json#/a\"}}", SLM_ERR_UNSUPPORTED, "#/items/$ref"},
        {"{\"$ref\":\"#/$defs/a\"}", SLM_ERR_FORMAT, "#/$ref: there is no \"#/$defs/a\""},
        {"{\"$ref\":\"#a\"}", SLM_ERR_FORMAT, "there is no \"#a\""},
        {"{\"$ref\":\"#/%zz\"}", SLM_ERR_FORMAT, "there is no"},
        {"{\"$ref\":\"#/title\",\"title\":\"x\"}", SLM_ERR_FORMAT, "#/title: expected a schema"},
        {"{\"$dynamicRef\":\"#a\"}", SLM_ERR_UNSUPPORTED, "\"$dynamicRef\" is not supported"},
        {"{\"properties\":{\"a\":{\"$id\":\"b\"}}}", SLM_ERR_UNSUPPORTED, "#/properties/a/$id"},
        {"{\"$ref\":\"#/$defs/a/items\",\"$defs\":{\"a\":{\"$id\":\"b\",\"items\":{}}}}",
         SLM_ERR_UNSUPPORTED, "\"$id\" of its own"},
    };
    CHECK_BAD(cases);
    ck_assert_int_eq(
        compile("{\"$id\":\"http://a/b\",\"properties\":{\"a\":{\"$ref\":\"http://a/b#\"}}}"),
        SLM_OK);
    ck_assert_int_eq(
        compile("{\"items\":{\"$ref\":\"#x~1y\"},\"$defs\":{\"a\":{\"$anchor\":\"x~1y\"}}}"),
        SLM_OK);
    ck_assert_int_eq(
        compile(
            "{\"items\":{\"$ref\":\"#/$defs/a~1b~0c%25\"},\"$defs\":{\"a/b~c%\":{\"const\":1}}}"),
        SLM_OK);
}
END_TEST

START_TEST(test_fault_58_nesting) {
    enum { LEVELS = 10000 };
    static char text[LEVELS * 12 + 10];
    const char *const ways[][2] = {{"{\"items\":", "}"}, {"[", "]"}, {"{\"not\":", "}"}};
    for (size_t w = 0; w < 3; w++) {
        text[0] = '\0';
        char *end = text;
        for (int i = 0; i < LEVELS; i++) end = stpcpy(end, ways[w][0]);
        end = stpcpy(end, "{}");
        for (int i = 0; i < LEVELS; i++) end = stpcpy(end, ways[w][1]);
        ck_assert_int_eq(compile(text), SLM_ERR_LIMIT);
    }
}
END_TEST

START_TEST(test_fault_59_expressions) {
    static const bad cases[] = {
        {"{\"pattern\":\"^?[0-9]\"}", SLM_ERR_UNSUPPORTED, "#/pattern: byte 1: a repeated ^ or $"},
        {"{\"pattern\":\"a(?=b)\"}", SLM_ERR_UNSUPPORTED, "#/pattern: byte 1: lookaround"},
        {"{\"pattern\":\"a(?!b)\"}", SLM_ERR_UNSUPPORTED, "lookaround"},
        {"{\"pattern\":\"(?<=b)a\"}", SLM_ERR_UNSUPPORTED, "byte 0: lookaround"},
        {"{\"pattern\":\"(?<!b)a\"}", SLM_ERR_UNSUPPORTED, "lookaround"},
        {"{\"pattern\":\"(a)\\\\1\"}", SLM_ERR_UNSUPPORTED, "a backreference"},
        {"{\"pattern\":\"(?<n>a)\\\\k<n>\"}", SLM_ERR_UNSUPPORTED, "a backreference"},
        {"{\"pattern\":\"\\\\bfoo\"}", SLM_ERR_UNSUPPORTED, "a word boundary"},
        {"{\"pattern\":\"\\\\p{L}\"}", SLM_ERR_UNSUPPORTED, "\\p"},
        {"{\"pattern\":\"(?i)a\"}", SLM_ERR_UNSUPPORTED, "a group of this kind"},
        {"{\"pattern\":\"(a\"}", SLM_ERR_FORMAT, "byte 0: ( without )"},
        {"{\"pattern\":\"a)\"}", SLM_ERR_FORMAT, "byte 1: ) without ("},
        {"{\"pattern\":\"[a\"}", SLM_ERR_FORMAT, "[ without ]"},
        {"{\"pattern\":\"[b-a]\"}", SLM_ERR_FORMAT, "a range that does not rise"},
        {"{\"pattern\":\"a**\"}", SLM_ERR_FORMAT, "byte 2: a count of a count"},
        {"{\"pattern\":\"*a\"}", SLM_ERR_FORMAT, "byte 0"},
        {"{\"pattern\":\"a{2,1}\"}", SLM_ERR_FORMAT, "end is below its begin"},
        {"{\"pattern\":\"a{,1}\"}", SLM_ERR_FORMAT, "{ is not followed"},
        {"{\"pattern\":\"a\\\\\"}", SLM_ERR_FORMAT, "\\ at the end"},
        {"{\"pattern\":\"\\\\a\"}", SLM_ERR_FORMAT, "an unknown escape"},
        {"{\"pattern\":\"\\\\\\u0000\"}", SLM_ERR_FORMAT, "an unknown escape"},
        {"{\"pattern\":\"\\\\u12\"}", SLM_ERR_FORMAT, "no hexadecimal"},
        {"{\"pattern\":\"a{0,1000000000}\"}", SLM_ERR_LIMIT, "a count above 100000"},
        {"{\"pattern\":\"((((a{1000}){1000}){1000}){1000})\"}", SLM_ERR_LIMIT, "byte 19: counts"},
        {"{\"pattern\":\"^(((a{9}){1000}){1000})$\",\"maxLength\":9}", SLM_ERR_FORMAT,
         "no text fits"},
        {"{\"pattern\":\"(a{999}b?){99}$\",\"maxLength\":99999}", SLM_ERR_LIMIT, "states"},
    };
    CHECK_BAD(cases);
    char deep[1200] = "{\"pattern\":\"";
    memset(deep + strlen(deep), '(', 1000);
    strcat(deep, "\"}");
    ASSERT_FAILS(compile(deep), SLM_ERR_LIMIT, "groups inside each other");
}
END_TEST

/* What makes a backtracking matcher take for ever. */
START_TEST(test_fault_59_no_backtracking) {
    static char text[30010];
    static const char *const patterns[] = {"^(a+)+$", "^(a|a)*$", "^(a*)*b?$", "^(a|aa)+$",
                                           "^(a?){50}a*$"};
    memset(text, 'a', 30000);
    text[0] = '"';
    strcpy(text + 29999, "\"");
    for (size_t i = 0; i < 5; i++) {
        char schema[100];
        snprintf(schema, sizeof schema, "{\"type\":\"string\",\"pattern\":\"%s\"}", patterns[i]);
        ck_assert_msg(fits(schema, NULL, text), "%s", schema);
        strcpy(text + 29998, "c\"");
        ck_assert_msg(!fits(schema, NULL, text), "%s", schema);
        strcpy(text + 29998, "a\"");
    }
}
END_TEST

START_TEST(test_fault_66_arguments) {
    slm_grammar *g;
    ASSERT_FAILS(slm_grammar_from_schema("{}", 2, NULL, NULL, &err), SLM_ERR_ARGUMENT, "out");
    ASSERT_FAILS(slm_grammar_from_schema(NULL, 2, NULL, &g, &err), SLM_ERR_ARGUMENT, "json");
    ck_assert_ptr_null(g);
    slm_schema_params p = slm_schema_defaults();
    ck_assert_uint_eq(p.size, sizeof p);
    p.size--;
    ASSERT_FAILS(slm_grammar_from_schema("{}", 2, &p, &g, &err), SLM_ERR_ARGUMENT, "size");
    p.size = sizeof p;
    p.spacing = (slm_spacing)3;
    ASSERT_FAILS(slm_grammar_from_schema("{}", 2, &p, &g, &err), SLM_ERR_RANGE, "spacing");
    p = slm_schema_defaults();
    p.allocator.alloc = check_allocator(&(check_alloc){0}).alloc;
    ASSERT_FAILS(slm_grammar_from_schema("{}", 2, &p, &g, &err), SLM_ERR_ARGUMENT, "alloc");
    ASSERT_FAILS(slm_grammar_from_schema(NULL, 0, NULL, &g, &err), SLM_ERR_FORMAT, "JSON");
}
END_TEST

/* ---- Keywords ---- */

START_TEST(test_unsupported_keywords) {
    static const char *const words[] = {
        "\"not\":{}",
        "\"if\":{}",
        "\"then\":{}",
        "\"else\":{}",
        "\"contains\":{}",
        "\"minContains\":1",
        "\"uniqueItems\":true",
        "\"patternProperties\":{\"a\":{}}",
        "\"propertyNames\":{}",
        "\"dependentRequired\":{\"a\":[]}",
        "\"dependentSchemas\":{\"a\":{}}",
        "\"unevaluatedItems\":false",
        "\"unevaluatedProperties\":false",
        "\"$vocabulary\":{}",
        "\"frobnicate\":1",
        "\"additionalItems\":true",
        "\"dependencies\":{}",
        "\"format\":\"hostname\"",
        "\"format\":\"\"",
        "\"$schema\":\"http://json-schema.org/draft-04/schema#\"",
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        char schema[200], path[60] = "#/properties/x~1y~0z/items/";
        snprintf(schema, sizeof schema, "{\"properties\":{\"x/y~z\":{\"items\":{%s}}}}", words[i]);
        strncat(path, words[i] + 1, (size_t)(strchr(words[i] + 1, '"') - words[i] - 1));
        ASSERT_FAILS(compile(schema), SLM_ERR_UNSUPPORTED, path);
    }
    ck_assert_int_eq(
        compile("{\"uniqueItems\":false,\"unevaluatedItems\":true,\"patternProperties\":{},"
                "\"propertyNames\":true,\"dependentSchemas\":{},\"contentEncoding\":\"x\"}"),
        SLM_OK);
}
END_TEST

START_TEST(test_forms_of_keywords) {
    static const bad cases[] = {
        {"{\"type\":\"int\"}", SLM_ERR_FORMAT, "#/type: expected the name of a type"},
        {"{\"type\":[]}", SLM_ERR_FORMAT, "#/type"},
        {"{\"properties\":[]}", SLM_ERR_FORMAT, "#/properties: expected an object of schemas"},
        {"{\"properties\":{\"a\":1}}", SLM_ERR_FORMAT, "#/properties"},
        {"{\"required\":\"a\"}", SLM_ERR_FORMAT, "#/required: expected an array of strings"},
        {"{\"items\":[{}]}", SLM_ERR_FORMAT, "#/items: expected a schema"},
        {"{\"prefixItems\":{}}", SLM_ERR_FORMAT, "#/prefixItems"},
        {"{\"anyOf\":[]}", SLM_ERR_FORMAT, "#/anyOf"},
        {"{\"minLength\":-1}", SLM_ERR_FORMAT, "#/minLength: expected an integer"},
        {"{\"minLength\":1.5}", SLM_ERR_FORMAT, "#/minLength"},
        {"{\"minLength\":1000001}", SLM_ERR_LIMIT, "#/minLength: more than 1000000"},
        {"{\"minItems\":1e400}", SLM_ERR_LIMIT, "#/minItems"},
        {"{\"minimum\":\"1\"}", SLM_ERR_FORMAT, "#/minimum: expected a number"},
        {"{\"type\":\"integer\",\"minimum\":1e400}", SLM_ERR_LIMIT, "#/minimum: a number of more"},
        {"{\"multipleOf\":0}", SLM_ERR_FORMAT, "#/multipleOf: expected a number above 0"},
        {"{\"type\":\"number\",\"multipleOf\":0.01}", SLM_ERR_UNSUPPORTED,
         "multiples of a fraction"},
        {"{\"type\":\"number\",\"minimum\":0.1234567890123456}", SLM_ERR_UNSUPPORTED, "15 digits"},
        {"{\"pattern\":1}", SLM_ERR_FORMAT, "#/pattern: expected a string"},
        {"[]", SLM_ERR_FORMAT, "#: expected a schema"},
        {"{\"type\":\"object\",\"minProperties\":2}", SLM_ERR_UNSUPPORTED, "minProperties 2"},
        {"{\"a\":1,}", SLM_ERR_FORMAT, "JSON, line 1, column 8"},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}", SLM_ERR_UNSUPPORTED,
         "#/oneOf: alternatives 0 and 1 are not seen to exclude each other"},
        {"{\"oneOf\":[{\"maxLength\":3},{\"minLength\":3}]}", SLM_ERR_UNSUPPORTED, "#/oneOf"},
    };
    CHECK_BAD(cases);
    ck_assert_int_eq(compile("{\"minLength\":2.0,\"maxLength\":1e99}"), SLM_OK);
    ck_assert_int_eq(
        compile("{\"type\":\"string\",\"oneOf\":[{\"maxLength\":2},{\"minLength\":3}]}"), SLM_OK);
    ck_assert_int_eq(compile("{\"oneOf\":[{\"pattern\":\"^a\"},{\"pattern\":\"^b\"}]}"), SLM_OK);
}
END_TEST

/* Sizes that would take too much end soon. */
START_TEST(test_limits) {
    static char text[400000];
    char *end = stpcpy(text, "{\"allOf\":[");
    for (int i = 0; i < 20; i++)
        end += sprintf(end, "%s{\"anyOf\":[{\"minLength\":1},{\"minItems\":1}]}", i ? "," : "");
    strcpy(end, "]}");
    ASSERT_FAILS(compile(text), SLM_ERR_LIMIT, "combinations of alternatives");
    end = stpcpy(text, "{\"properties\":{");
    for (int i = 0; i < 4097; i++) end += sprintf(end, "%s\"%d\":{}", i ? "," : "", i);
    strcpy(end, "}}");
    ASSERT_FAILS(compile(text), SLM_ERR_LIMIT, "more than 4096 properties");
    end = stpcpy(text, "{\"properties\":{");
    for (int i = 0; i < 1000; i++) end += sprintf(end, "%s\"%d\":{}", i ? "," : "", i);
    strcpy(end, "},\"minProperties\":500}");
    ASSERT_FAILS(compile(text), SLM_ERR_LIMIT, "counting properties");
    ASSERT_FAILS(compile("{\"type\":\"integer\",\"multipleOf\":10007}"), SLM_ERR_UNSUPPORTED,
                 "10000");
    end = stpcpy(text, "{\"type\":\"array\",\"prefixItems\":[");
    for (int i = 0; i < 4097; i++) end += sprintf(end, "%s{}", i ? "," : "");
    strcpy(end, "]}");
    ASSERT_FAILS(compile(text), SLM_ERR_LIMIT, "a tuple of more than 4096 places");
    end = stpcpy(text, "{\"allOf\":[{\"pattern\":\"^[a-z]\"},{\"pattern\":\"[");
    for (int i = 0; i < 5100; i++) end += sprintf(end, "\\\\u%04x", 0x100 + 2 * i);
    strcpy(end, "]$\"}]}");
    ASSERT_FAILS(compile(text), SLM_ERR_LIMIT, "classes of more than 10000 ranges");
    ASSERT_FAILS(compile("{\"type\":\"integer\",\"multipleOf\":9973,\"minimum\":"
                         "123456789012345678901234567890}"),
                 SLM_ERR_LIMIT, "#/minimum: a limit of too many digits");
    ASSERT_FAILS(compile("{\"type\":\"integer\",\"multipleOf\":9973,\"minimum\":"
                         "-123456789012345678,\"maximum\":987654321098765432}"),
                 SLM_ERR_LIMIT, "multipleOf takes more than 20000 states");
}
END_TEST

START_TEST(test_open) {
    slm_schema_params open = slm_schema_defaults();
    open.open = true;
    static const struct {
        const char *schema, *text;
    } cases[] = {
        {"{\"properties\":{\"a\":{}}}", "{\"b\": 1}"},
        {"{\"properties\":{\"a\":{}}}", "7"},
        {"{\"minLength\":3}", "null"},
        {"{\"type\":\"array\",\"prefixItems\":[{}]}", "[1, 2]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ck_assert(fits(cases[i].schema, &open, cases[i].text));
        ck_assert(!fits(cases[i].schema, NULL, cases[i].text));
    }
    ck_assert(
        fits("{\"properties\":{\"a\":{}},\"additionalProperties\":true}", NULL, "{\"b\": 1}"));
    ck_assert(fits("{\"type\":\"object\"}", NULL, "{\"b\": 1}"));
    ck_assert(fits("{\"prefixItems\":[{}],\"items\":{}}", NULL, "[1, 2]"));
}
END_TEST

/* ---- Work ---- */

/* Parts, each with its number in it, with commas, between a begin and an end; `last` goes behind the first end in the same way. */
typedef struct parts {
    const char *begin, *part, *end;
    int n;
    slm_status status;
    const char *word; /* of the error, or a text that fits */
    const char *last, *last_end;
} parts;

static char *write_parts(char *p, const char *part, int n) {
    for (int i = 0; i < n; i++) {
        if (i) *p++ = ',';
        p += sprintf(p, part, i, i);
    }
    return p;
}

/* What is quadratic if it is done as it comes to mind: the first ones are of use. */
static const parts hostile[] = {
    {"{\"enum\":[", "\"word%dx\"", "]}", 10000, SLM_OK, "\"word9999x\"", NULL, NULL},
    {"{\"enum\":[", "%d", "]}", 10000, SLM_OK, "9999", NULL, NULL},
    {"{\"type\":\"string\",\"minLength\":6,\"pattern\":\"^w[a-z]+[0-9]*\",\"enum\":[", "\"word%d\"",
     "]}", 10000, SLM_OK, "\"word9999\"", NULL, NULL},
    {"{\"allOf\":[{\"enum\":[", "{\"a\":[%d,\"%d\"]}", "]},{\"enum\":[", 10000, SLM_OK,
     "{\"a\": [9999, \"9999\"]}", "{\"a\":[%d.0,\"%d\"]}", "]}]}"},
    {"{\"properties\":{", "\"p%d\":{\"type\":\"null\"}", "}}", 4096, SLM_OK, "{\"p4095\": null}",
     NULL, NULL},
    {"{\"prefixItems\":[", "{\"$ref\":\"#/$defs/d%d\"}", "],\"$defs\":{", 4096, SLM_OK, "[0, 1, 2]",
     "\"d%d\":{\"const\":%d}", "}}"},
    {"{\"prefixItems\":[", "{\"$ref\":\"#d%d\"}", "],\"$defs\":{", 4096, SLM_OK, "[1, 1]",
     "\"d%d\":{\"const\":1,\"$anchor\":\"d%d\"}", "}}"},
    {"{\"type\":\"integer\",\"allOf\":[", "{\"minimum\":%d}", "]}", 40000, SLM_OK, "40000", NULL,
     NULL},
    {"{\"type\":\"integer\",\"allOf\":[", "{\"allOf\":[{\"minimum\":%d}]}", "]}", 30000, SLM_OK,
     "30000", NULL, NULL},
    {"{\"minLength\":1,\"allOf\":[", "{\"maxLength\":1%d}", "],\"enum\":[", 4000, SLM_ERR_LIMIT,
     "steps", "\"%d\"", "]}"},
    {"{\"oneOf\":[", "{\"const\":%d}", "]}", 3000, SLM_ERR_LIMIT, "", NULL, NULL},
    {"{\"properties\":{", "\"p%d\":{\"pattern\":\"^(a|b)*a(a|b){9}%d\",\"maxLength\":30}", "}}",
     4000, SLM_ERR_LIMIT, "", NULL, NULL},
};

START_TEST(test_work) {
    const parts *c = &hostile[_i];
    char *text = malloc(1 << 22), *p = stpcpy(text, c->begin);
    ck_assert_ptr_nonnull(text);
    p = stpcpy(write_parts(p, c->part, c->n), c->end);
    if (c->last) strcpy(write_parts(p, c->last, c->n), c->last_end);
    double begin = strict_seconds();
    ck_assert_msg(compile(text) == c->status, "%s", err.message);
    ck_assert_double_lt(strict_seconds() - begin, sanitized() ? 30 : 5);
    if (c->status == SLM_OK)
        ck_assert_msg(fits(text, NULL, c->word), "%s", c->word);
    else
        ck_assert_msg(strstr(err.message, c->word), "%s", err.message);
    free(text);
}
END_TEST

/* A constant of a megabyte against an expression of thousands of states. */
START_TEST(test_long_constant) {
    enum { N = 1 << 20 };
    char *text = malloc(N + 200), *p = stpcpy(text, "{\"pattern\":\"(a?){3000}b\",\"const\":\"");
    ck_assert_ptr_nonnull(text);
    memset(p, 'a', N);
    strcpy(p + N, "\"}");
    double begin = strict_seconds();
    ASSERT_FAILS(compile(text), SLM_ERR_LIMIT, "#/pattern: regular expressions that take too much");
    ck_assert_double_lt(strict_seconds() - begin, sanitized() ? 30 : 5);
    free(text);
}
END_TEST

/* The least common multiple of some is beyond 64 bits. */
START_TEST(test_moduli) {
    ASSERT_FAILS(compile("{\"type\":\"integer\",\"allOf\":[{\"multipleOf\":512},{\"multipleOf\":"
                         "999999999e9}]}"),
                 SLM_ERR_UNSUPPORTED, "10000");
    ck_assert(fits("{\"type\":\"integer\",\"allOf\":[{\"multipleOf\":125},{\"multipleOf\":80}]}",
                   NULL, "4000"));
    ck_assert(!fits("{\"type\":\"integer\",\"allOf\":[{\"multipleOf\":125},{\"multipleOf\":80}]}",
                    NULL, "1000"));
}
END_TEST

/* ---- Memory ---- */

static const char large[] =
    "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\",\"minimum\":-5,\"maximum\":"
    "70,\"multipleOf\":5},"
    "\"b\":{\"oneOf\":[{\"type\":\"string\",\"pattern\":\"a|b\",\"maxLength\":5},{\"type\":"
    "\"number\",\"minimum\":0.5}]},"
    "\"c\":{\"$ref\":\"#/$defs/"
    "%61\"},\"d\":{\"enum\":[1,\"x\",{\"y\":[null]}]}},\"required\":[\"a\"],"
    "\"additionalProperties\":{\"type\":\"array\",\"items\":{\"$ref\":\"#\"},\"maxItems\":3},"
    "\"$defs\":{\"a\":{\"type\":\"string\",\"format\":\"date\"}}}";

START_TEST(test_fault_84_no_memory) {
    for (long n = 1;; n++) {
        check_alloc c = {.fail_at = n};
        slm_schema_params p = slm_schema_defaults();
        p.allocator = check_allocator(&c);
        slm_grammar *g;
        slm_status status = slm_grammar_from_schema(large, strlen(large), &p, &g, &err);
        if (status == SLM_OK) {
            ck_assert_int_gt(n, 20);
            slm_grammar_free(g);
            ck_assert_int_eq(c.n_live, 0);
            break;
        }
        ck_assert_str_eq(slm_status_name(status), "SLM_ERR_NOMEM");
        ck_assert_int_eq(err.status, status);
        ck_assert_ptr_null(g);
        ck_assert_int_eq(c.n_live, 0);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("schema");
    TCase *t = tcase_create("faults");
    tcase_add_test(t, test_fault_58_contradictions);
    tcase_add_test(t, test_fault_58_references);
    tcase_add_test(t, test_fault_58_nesting);
    tcase_add_test(t, test_fault_59_expressions);
    tcase_add_test(t, test_fault_59_no_backtracking);
    tcase_add_test(t, test_fault_66_arguments);
    tcase_add_test(t, test_fault_84_no_memory);
    suite_add_tcase(suite, t);
    t = tcase_create("keywords");
    tcase_set_timeout(t, 30);
    tcase_add_test(t, test_unsupported_keywords);
    tcase_add_test(t, test_forms_of_keywords);
    tcase_add_test(t, test_limits);
    tcase_add_test(t, test_open);
    tcase_add_loop_test(t, test_work, 0, sizeof hostile / sizeof *hostile);
    tcase_add_test(t, test_long_constant);
    tcase_add_test(t, test_moduli);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
