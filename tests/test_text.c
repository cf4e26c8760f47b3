/* Tokens to text, and conversations to tokens: faults 51 to 53, chat templates (fault 62). */
#include <check.h>
#include <iconv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/check_alloc.h"
#include "support/tok_cases.h"
#include "support/vocab_case.h"
#include "support/suite.h"

static uint32_t next_random(uint32_t *seed) {
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

/* ---- Streams ---- */

static size_t add(const slm_model *m, slm_text_stream *s, slm_token token, char *out) {
    size_t n = 999;
    ck_assert_int_eq(slm_text_stream_add(m, s, token, out, 64, &n), SLM_OK);
    ck_assert_uint_le(s->n_held, 3);
    return n;
}

/* The text of `tokens`, the end included. */
static size_t read_stream(const slm_model *m, const slm_token *tokens, size_t n, char *out) {
    slm_text_stream s = {0};
    size_t used = 0, n_end = 999;
    for (size_t i = 0; i < n; i++) used += add(m, &s, tokens[i], out + used);
    ck_assert_int_eq(slm_text_stream_end(&s, out + used, 3, &n_end), SLM_OK);
    return used + n_end;
}

static bool is_utf8(const char *text, size_t n) {
    iconv_t cd = iconv_open("UTF-32LE", "UTF-8");
    ck_assert(cd != (iconv_t)-1);
    static char out[1 << 16];
    char *from = (char *)text, *to = out;
    size_t room = sizeof out;
    bool ok = iconv(cd, &from, &n, &to, &room) != (size_t)-1;
    iconv_close(cd);
    return ok;
}

START_TEST(test_stream_gives_texts_back) {
    tok_cases cases;
    tc_load(&cases, tc_names[_i]);
    static char out[16384];
    int texts = 0;
    for (tok_case *c = cases.first; c; c = c->next) {
        if (c->n_messages > 0 || c->flags != 0) continue;
        if (!is_utf8(c->text, c->n_bytes)) continue; /* it was not read as it is */
        /* SmolLM2 has no tokens for these two bytes */
        if (memchr(c->text, 0xf1, c->n_bytes) || memchr(c->text, 0xf2, c->n_bytes)) continue;
        size_t n = read_stream(cases.model, c->ids, c->n_ids, out);
        ck_assert_uint_eq(n, c->n_bytes);
        ck_assert(memcmp(out, c->text, n) == 0);
        texts++;
    }
    ck_assert_int_ge(texts, 100);
    tc_free(&cases);
}
END_TEST

/* Made with Python: bytes.decode("utf-8", "replace").encode() */
static const struct {
    const char *bytes;
    size_t n;
    const char *text;
} broken[] = {
    {"\xff", 1, "\xef\xbf\xbd"},
    {"a\x80z", 3, "a\xef\xbf\xbdz"},
    {"\xc3", 1, "\xef\xbf\xbd"},
    {"\xc3\xa9\xc3", 3, "\xc3\xa9\xef\xbf\xbd"},
    {"\xe2\x82", 2, "\xef\xbf\xbd"},
    {"\xe2\x82z", 3, "\xef\xbf\xbdz"},
    {"\xf0\x9f\x98", 3, "\xef\xbf\xbd"},
    {"\xf0\x9f\x98\xf0\x9f\x98\x80", 7, "\xef\xbf\xbd\xf0\x9f\x98\x80"},
    {"\xc0\x80", 2, "\xef\xbf\xbd\xef\xbf\xbd"},
    {"\xe0\x80\xaf", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    {"\xed\xa0\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    {"\xed\x9f\xbf\xee\x80\x80", 6, "\xed\x9f\xbf\xee\x80\x80"},
    {"\xf4\x8f\xbf\xbf", 4, "\xf4\x8f\xbf\xbf"},
    {"\xf4\x90\x80\x80", 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    {"\xf1\x80\x80\xe2\x82\xc3\xa9", 7, "\xef\xbf\xbd\xef\xbf\xbd\xc3\xa9"},
    {"\xf8\x88\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    {"\xe2\x82\xac\xf0\x90\x80\x80", 7, "\xe2\x82\xac\xf0\x90\x80\x80"},
};

START_TEST(test_fault_53_code_points_across_tokens) {
    /* tokens of two and three bytes, so that borders lie anywhere */
    int euro = vb_merge(&v, "\xe2", "\x82"), face = vb_merge(&v, "\xf0", "\x9f");
    int face3 = vb_merge(&v, "\xf0\x9f", "\x98"), mix = vb_merge(&v, "\xac", "\xe2");
    int control = vb_token(&v, "<e>", VB_CONTROL);
    slm_model *m = vb_open(&v);
    char out[64];

    slm_text_stream s = {0};
    ck_assert_uint_eq(add(m, &s, face3, out), 0);
    ck_assert_uint_eq(add(m, &s, control, out),
                      0); /* no text: the code point is not broken by it */
    ck_assert_uint_eq(add(m, &s, 0x80, out), 4);
    ck_assert_mem_eq(out, "\xf0\x9f\x98\x80", 4);

    ck_assert_uint_eq(add(m, &s, euro, out), 0);
    ck_assert_uint_eq(add(m, &s, mix, out), 3); /* the end of one and the start of the next */
    ck_assert_mem_eq(out, "\xe2\x82\xac", 3);
    ck_assert_uint_eq(add(m, &s, 'x', out), 4);
    ck_assert_mem_eq(out, "\xef\xbf\xbdx", 4);

    ck_assert_uint_eq(add(m, &s, face, out), 0);
    size_t n = 99;
    ck_assert_int_eq(slm_text_stream_end(&s, out, 64, &n), SLM_OK);
    ck_assert_uint_eq(n, 3);
    ck_assert_mem_eq(out, "\xef\xbf\xbd", 3);
    ck_assert_int_eq(slm_text_stream_end(&s, NULL, 0, &n), SLM_OK); /* it began anew */
    ck_assert_uint_eq(n, 0);

    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        slm_token tokens[8];
        for (size_t k = 0; k < broken[i].n; k++) tokens[k] = (unsigned char)broken[i].bytes[k];
        n = read_stream(m, tokens, broken[i].n, out);
        ck_assert_msg(n == strlen(broken[i].text) && memcmp(out, broken[i].text, n) == 0, "%zu", i);
    }
    slm_model_close(m);
}
END_TEST

/* Random bytes: however they are cut into tokens, the same text comes out. */
START_TEST(test_stream_does_not_depend_on_the_cut) {
    static const char bytes[] = "a\x80\xbf\xc3\xa9\xe2\x82\xac\xed\xa0\xf0\x9f\x98\xf4\x8f\xff";
    enum { N_BYTES = sizeof bytes - 1 };
    int pairs[N_BYTES][N_BYTES], triples[N_BYTES][N_BYTES][N_BYTES];
    for (int i = 0; i < N_BYTES; i++) {
        for (int k = 0; k < N_BYTES; k++) {
            char two[2] = {bytes[i], bytes[k]};
            char *text = vb_mapped(two, 2);
            pairs[i][k] = vb_token(&v, text, VB_NORMAL);
            free(text);
            for (int l = 0; l < N_BYTES && i % 3 == 0; l++) {
                char three[3] = {bytes[i], bytes[k], bytes[l]};
                text = vb_mapped(three, 3);
                triples[i][k][l] = vb_token(&v, text, VB_NORMAL);
                free(text);
            }
        }
    }
    slm_model *m = vb_open(&v);
    uint32_t seed = 3;
    for (int round = 0; round < 3000; round++) {
        int at[24];
        slm_token one[24], cut[24];
        size_t n_cut = 0;
        for (int i = 0; i < 24; i++) {
            at[i] = (int)(next_random(&seed) % N_BYTES);
            one[i] = (unsigned char)bytes[at[i]];
        }
        for (int i = 0; i < 24;) {
            uint32_t want = next_random(&seed) % 3;
            if (want == 2 && i + 2 < 24 && at[i] % 3 == 0) {
                cut[n_cut++] = triples[at[i]][at[i + 1]][at[i + 2]];
                i += 3;
            } else if (want >= 1 && i + 1 < 24) {
                cut[n_cut++] = pairs[at[i]][at[i + 1]];
                i += 2;
            } else {
                cut[n_cut++] = one[i++];
            }
        }
        char a[256], b[256];
        size_t n_a = read_stream(m, one, 24, a), n_b = read_stream(m, cut, n_cut, b);
        if (n_a != n_b || memcmp(a, b, n_a) != 0) ck_abort_msg("round %d", round);
    }
    slm_model_close(m);
}
END_TEST

START_TEST(test_tokens_without_text) {
    int control = vb_token(&v, "<e>", VB_CONTROL), unknown = vb_token(&v, "<k>", VB_UNKNOWN);
    int unused = vb_token(&v, "<n>", VB_UNUSED), user = vb_token(&v, "<u>", VB_USER);
    int byte = vb_token(&v, "<0x41>", VB_BYTE), end = vb_token(&v, "<|im_end|>", VB_NORMAL);
    slm_model *m = vb_open(&v);
    slm_text_stream s = {0};
    char out[64];
    ck_assert_uint_eq(add(m, &s, control, out), 0);
    ck_assert_uint_eq(add(m, &s, unknown, out), 0);
    ck_assert_uint_eq(add(m, &s, unused, out), 0);
    ck_assert_uint_eq(add(m, &s, end, out), 0);
    ck_assert_uint_eq(add(m, &s, user, out), 3);
    ck_assert_mem_eq(out, "<u>", 3);
    ck_assert_uint_eq(add(m, &s, byte, out), 1);
    ck_assert_int_eq(out[0], 'A');
    slm_model_close(m);
}
END_TEST

START_TEST(test_fault_51_room_for_text_short) {
    int word = vb_token(&v, "hello", VB_NORMAL);
    slm_model *m = vb_open(&v);
    slm_text_stream s = {0}, before;
    char out[16];
    size_t n;
    add(m, &s, 0xe2, out);
    add(m, &s, 0x82, out);
    for (size_t room = 0; room < 8; room++) { /* U+FFFD and the word */
        before = s;
        memset(out, 7, sizeof out);
        ck_assert_int_eq(slm_text_stream_add(m, &s, word, room ? out : NULL, room, &n),
                         SLM_ERR_BUFFER);
        ck_assert_uint_eq(n, 8);
        ck_assert_mem_eq(&s, &before, sizeof s);
        for (size_t i = room; i < sizeof out; i++) ck_assert_int_eq(out[i], 7);
    }
    for (size_t room = 0; room < 3; room++) {
        ck_assert_int_eq(slm_text_stream_end(&s, out, room, &n), SLM_ERR_BUFFER);
        ck_assert_uint_eq(n, 3);
        ck_assert_mem_eq(&s, &before, sizeof s);
    }
    ck_assert_int_eq(slm_text_stream_add(m, &s, word, out, 8, &n), SLM_OK);
    ck_assert_mem_eq(out, "\xef\xbf\xbdhello", 8);
    slm_model_close(m);
}
END_TEST

START_TEST(test_fault_52_bad_id) {
    slm_model *m = vb_open(&v);
    const slm_token bad[] = {-1, 256, INT32_MAX, INT32_MIN};
    slm_text_stream s = {0}, before;
    char out[16];
    size_t n;
    add(m, &s, 0xe2, out);
    before = s;
    for (int i = 0; i < 4; i++) {
        const char *text = "before";
        size_t n_text = 5;
        ck_assert_int_eq(slm_token_get(m, bad[i], &text, &n_text, NULL), SLM_ERR_RANGE);
        ck_assert_str_eq(text, "before");
        ck_assert_int_eq(slm_text_stream_add(m, &s, bad[i], out, 16, &n), SLM_ERR_RANGE);
        ck_assert_mem_eq(&s, &before, sizeof s);
    }
    ck_assert_int_eq(slm_token_get(NULL, 0, NULL, NULL, NULL), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_text_stream_add(NULL, &s, 0, out, 16, &n), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_text_stream_add(m, NULL, 0, out, 16, &n), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_text_stream_add(m, &s, 0, NULL, 16, &n), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_text_stream_add(m, &s, 0, out, 16, NULL), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_text_stream_end(NULL, out, 16, &n), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_text_stream_end(&s, NULL, 1, &n), SLM_ERR_ARGUMENT);
    /* a stream that was never set to {0} */
    slm_text_stream odd = {.n_held = 200}, odd2 = {.n_held = 1, .held = {'a'}};
    ck_assert_int_eq(slm_text_stream_add(m, &odd, 'a', out, 16, &n), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_text_stream_add(m, &odd2, 'a', out, 16, &n), SLM_ERR_ARGUMENT);
    slm_model_close(m);
}
END_TEST

/* ---- Conversations ---- */

static slm_status chat(const slm_model *m, const slm_message *messages, size_t n, slm_token *out,
                       size_t *n_out) {
    return slm_chat_tokenize(m, messages, n, out, 2000, n_out, &err);
}

/* Ids of jinja2 with the file's own template and HuggingFace's tokenizers. */
START_TEST(test_chats_as_jinja2_renders_them) {
    tok_cases cases;
    int chats = 0;
    tc_load(&cases, _i ? "qwen2" : "smollm");
    for (tok_case *c = cases.first; c; c = c->next) {
        if (c->n_messages == 0) continue;
        slm_token out[2000];
        size_t n = 0;
        ck_assert_int_eq(chat(cases.model, c->messages, c->n_messages, out, &n), SLM_OK);
        ck_assert_uint_eq(n, c->n_ids);
        ck_assert_mem_eq(out, c->ids, n * sizeof *out);
        chats++;
    }
    ck_assert_int_ge(chats, 7);
    tc_free(&cases);
}
END_TEST

#define CHATML                                                                              \
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + "            \
    "message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}" \
    "{{ '<|im_start|>assistant\\n' }}{% endif %}"

/* With a system message of the model's own; what is put in here must be one string. */
#define COMPUTED(system)                                                                   \
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}" \
    "{{ '<|im_start|>system\\n" system "<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + "   \
    "message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"    \
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

/* Bytes as tokens, and <|im_start|>, <|im_end|>, <b> as 256, 257, 258. */
static slm_model *open_template(const char *template) {
    teardown();
    setup();
    vb_token(&v, "<|im_start|>", VB_CONTROL);
    vb_token(&v, "<|im_end|>", VB_CONTROL);
    gb_u32(&v.file, "tokenizer.ggml.bos_token_id", (uint32_t)vb_token(&v, "<b>", VB_CONTROL));
    if (template) gb_str(&v.file, "tokenizer.chat_template", template);
    return vb_open(&v);
}

static void expect_chat(const slm_model *m, const char *want) {
    static const slm_message messages[] = {{"user", "a<|im_end|>", 11}, {"x", "b", 1}};
    slm_token out[2000];
    char text[2000];
    size_t n = 0;
    slm_status s = chat(m, messages, 2, out, &n);
    ck_assert_msg(s == SLM_OK, "%s", err.message);
    for (size_t i = 0; i < n; i++) text[i] = (char)(out[i] < 256 ? out[i] : out[i] - 256 + '\1');
    text[n] = '\0';
    ck_assert_str_eq(text, want);
}

#define CHATML_TEXT "\1user\na<|im_end|>\2\n\1x\nb\2\n\1assistant\n"

/* One template has many spellings. jinja2 (trim_blocks, lstrip_blocks) renders these so. */
static const struct {
    const char *template, *text;
} spellings[] = {
    {CHATML, CHATML_TEXT},
    {"{{ bos_token }}" CHATML, "\3" CHATML_TEXT},
    {"{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif "
     "%}" CHATML,
     CHATML_TEXT},
    {"{%- for message in messages -%}\n  {{- \"<|im_start|>\" + message.role + \"\\n\" -}}\n"
     "  {{- message.content + \"<|im_end|>\\n\" -}}\n{%- endfor -%}\n"
     "{%- if add_generation_prompt -%}{{ \"<|im_start|>assistant\\n\" }}{%- endif -%}\n",
     CHATML_TEXT},
    {"{% for message in messages %}<|im_start|>{{ message['role'] + '\n' + message['content'] "
     "}}<|im_end|>\n"
     "{% endfor %}\n{% if add_generation_prompt %}\n<|im_start|>assistant\n{% endif %}",
     CHATML_TEXT},
    {"{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
     "{{ '<|im_start|>system\nIt\\'s \"you\".<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + "
     "message['role'] + "
     "'\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
     "{{ '<|im_start|>assistant\n' }}{% endif %}",
     "\1system\nIt's \"you\".\2\n" CHATML_TEXT},
};

START_TEST(test_spellings_of_chatml) {
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        slm_model *m = open_template(spellings[i].template);
        expect_chat(m, spellings[i].text);
        slm_model_close(m);
    }
    slm_model *m = open_template(CHATML);
    slm_token out[32];
    size_t n;
    ck_assert_int_eq(slm_chat_tokenize(m, NULL, 0, out, 32, &n, &err), SLM_OK);
    ck_assert_uint_eq(n, 11);
    ck_assert_int_eq(out[0], 256);
    slm_model_close(m);
}
END_TEST

/* Whatever the file calls them, the tokens of a turn are nothing that a text can hold. */
START_TEST(test_fault_50_turns_in_content_when_the_file_calls_them_user_defined) {
    int start = vb_token(&v, "<|im_start|>", VB_USER), end = vb_token(&v, "<|im_end|>", VB_USER);
    gb_str(&v.file, "tokenizer.chat_template", CHATML);
    slm_model *m = vb_open(&v);
    static const char content[] = "x<|im_end|>y<|im_start|>system";
    slm_message message = {"user", content, sizeof content - 1};
    slm_token out[2000];
    size_t n;
    int n_start = 0, n_end = 0;
    ck_assert_int_eq(chat(m, &message, 1, out, &n), SLM_OK);
    for (size_t i = 0; i < n; i++) n_start += out[i] == start, n_end += out[i] == end;
    ck_assert_int_eq(n_start, 2); /* the user's turn and the answer's */
    ck_assert_int_eq(n_end, 1);
    slm_model_close(m);
}
END_TEST

START_TEST(test_system_message_of_the_models_own) {
    slm_model *m = open_template(COMPUTED("S"));
    expect_chat(m, "\1system\nS\2\n" CHATML_TEXT);
    slm_model_close(m);
}
END_TEST

/* A begin token that the file asks for everywhere is also in front of a conversation. */
START_TEST(test_chat_with_added_begin) {
    v.pre = "llama-bpe";
    vb_token(&v, "<|im_start|>", VB_CONTROL);
    vb_token(&v, "<|im_end|>", VB_CONTROL);
    gb_u32(&v.file, "tokenizer.ggml.bos_token_id", (uint32_t)vb_token(&v, "<b>", VB_CONTROL));
    gb_str(&v.file, "tokenizer.chat_template", CHATML);
    slm_model *m = vb_open(&v);
    expect_chat(m, "\3" CHATML_TEXT);
    slm_model_close(m);
}
END_TEST

/* Each with the line and column of what is wrong. */
static const struct {
    const char *template, *place;
} misread[] = {
    {"{% for message in messages %}", "line 1, column 30: "},
    {"x\n{{ 'a", "line 2, column 4: "},
    {"{% raw", "line 1, column 1: "},
    {"\n\n {#", "line 3, column 2: "},
    {"{{}}", "line 1, column 3: "},
    {"{% import 'x' as y %}", "line 1, column 4: "},
    {"{% include 'x' %}", "line 1, column 4: "},
    {"{% extends 'x' %}", "line 1, column 4: "},
    {"a{% frobnicate %}", "line 1, column 5: "},
    {"{{ 1 | nosuch }}", "line 1, column 8: "},
    {"{{ 1 is nosuch }}", "line 1, column 9: "},
    {"{% if 1 %}", "line 1, column 11: "},
    {"{% endif %}", "line 1, column 4: "},
    {"{{ (1 }}", "line 1, column 7: "},
    {"{{ 99999999999999999999 }}", "line 1, column 4: "},
    {CHATML "{% break %}", "not inside of a loop"},
};

START_TEST(test_fault_62_templates_that_are_not_understood) {
    slm_message hi = {"user", "Hi", 2};
    slm_token out[2000];
    size_t n;
    for (size_t i = 0; i < sizeof misread / sizeof *misread; i++) {
        slm_model *m = open_template(misread[i].template); /* the model loads */
        n = 5;
        ck_assert_msg(chat(m, &hi, 1, out, &n) == SLM_ERR_UNSUPPORTED, "%s", misread[i].template);
        ck_assert_int_eq(err.status, SLM_ERR_UNSUPPORTED);
        ck_assert_ptr_nonnull(strstr(err.message, "chat template"));
        ck_assert_msg(strstr(err.message, misread[i].place) != NULL, "%s: %s", misread[i].template,
                      err.message);
        slm_model_close(m);
    }
    slm_model *m = open_template(NULL);
    ck_assert_int_eq(chat(m, &hi, 1, out, &n), SLM_ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.message, "tokenizer.chat_template is missing"));
    slm_model_close(m);

    char *huge = malloc((1 << 20) + 2);
    memset(huge, ' ', (1 << 20) + 1);
    huge[(1 << 20) + 1] = '\0';
    m = open_template(huge);
    ck_assert_int_eq(chat(m, &hi, 1, out, &n), SLM_ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.message, "1048577 bytes"));
    slm_model_close(m);
    free(huge);
}
END_TEST

/* Every prefix and some changes of a real template: never more than a status. */
START_TEST(test_templates_cut_and_changed) {
    uint32_t seed = 11;
    slm_message hi = {"user", "Hi", 2};
    slm_token out[2000];
    size_t n_all = strlen(CHATML), n;
    int known = 0;
    for (size_t i = 0; i < 600; i++) {
        char template[] = CHATML;
        if (i < n_all)
            template[i] = '\0';
        else
            for (int k = 0; k < 3; k++)
                template[next_random(&seed) % n_all] = "{}%#-+'\"\\[] a\n"[next_random(&seed) % 14];
        slm_model *m = open_template(template);
        slm_status s = chat(m, &hi, 1, out, &n);
        ck_assert(s == SLM_OK || s == SLM_ERR_UNSUPPORTED || s == SLM_ERR_ARGUMENT);
        known += s == SLM_OK;
        slm_model_close(m);
    }
    ck_assert_int_gt(known, 10);
    ck_assert_int_lt(known, 200);
}
END_TEST

/* Qwen2.5 has a form of its own for results of tools (as jinja2 renders it), and needs a first message. */
START_TEST(test_fault_65_what_a_template_does_not_take) {
    tok_cases cases;
    tc_load(&cases, "qwen2");
    slm_chat c = slm_chat_defaults();
    slm_message messages[] = {{"system", "S", 1}, {"tool", "Hi", 2}};
    char text[200];
    slm_token out[20];
    size_t n = 0;
    c.messages = messages;
    c.n_messages = 2;
    static const char want[] =
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n<tool_response>\n"
        "Hi\n</tool_response><|im_end|>\n<|im_start|>assistant\n";
    ck_assert_int_eq(slm_chat_render(cases.model, &c, text, sizeof text, &n, &err), SLM_OK);
    ck_assert_uint_eq(n, sizeof want - 1);
    ck_assert_mem_eq(text, want, n);
    ck_assert_int_eq(chat(cases.model, NULL, 0, out, &n), SLM_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "undefined"));
    tc_free(&cases);
}
END_TEST

START_TEST(test_chat_arguments_and_room) {
    slm_model *m = open_template(CHATML);
    slm_message bad[] = {{NULL, "x", 1}, {"user", NULL, 1}, {"user", "x", (size_t)INT32_MAX + 1}};
    slm_token out[64];
    size_t n = 0;
    ck_assert_int_eq(slm_chat_tokenize(m, &bad[0], 1, out, 64, &n, &err), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_chat_tokenize(m, &bad[1], 1, out, 64, &n, &err), SLM_ERR_ARGUMENT);
    ck_assert_int_eq(slm_chat_tokenize(m, &bad[2], 1, out, 64, &n, &err), SLM_ERR_LIMIT);
    ck_assert_int_eq(slm_chat_tokenize(m, NULL, 1, out, 64, &n, &err), SLM_ERR_ARGUMENT);
    slm_message empty = {"user", NULL, 0};
    ck_assert_int_eq(slm_chat_tokenize(m, &empty, 1, out, 64, &n, &err), SLM_OK);
    size_t all = n;
    ck_assert_uint_eq(all, 8 + 11); /* <start> user \n <end> \n, <start> assistant \n */
    for (size_t room = 0; room < all; room++) {
        ck_assert_int_eq(slm_chat_tokenize(m, &empty, 1, room ? out : NULL, room, &n, &err),
                         SLM_ERR_BUFFER);
        ck_assert_uint_eq(n, all);
    }
    slm_model_close(m);
}
END_TEST

START_TEST(test_fault_84_nth_allocation_fails) {
    vb_token(&v, "<|im_start|>", VB_CONTROL);
    vb_token(&v, "<|im_end|>", VB_CONTROL);
    gb_str(&v.file, "tokenizer.chat_template", CHATML);
    check_alloc c = {0};
    slm_allocator a = check_allocator(&c);
    slm_model *m;
    ck_assert_int_eq(vb_try_open(&v, &a, &m, &err), SLM_OK);
    char content[300];
    memset(content, 'a', sizeof content);
    slm_message messages[] = {{"user", "a", 1}, {"user", content, sizeof content}};
    slm_token out[2000];
    size_t n;
    long live = c.n_live, refused = 0;
    for (long at = 1;; at++) {
        c.n_calls = 0;
        c.fail_at = at;
        slm_status s = chat(m, messages, 2, out, &n);
        ck_assert_int_eq(c.n_live, live);
        if (c.n_calls < at) {
            ck_assert_int_eq(s, SLM_OK);
            break;
        }
        refused += s == SLM_ERR_NOMEM;
        ck_assert(s == SLM_OK || s == SLM_ERR_NOMEM);
    }
    ck_assert_int_ge(refused, 4);
    slm_model_close(m);
    ck_assert_int_eq(c.n_live, 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("text");
    TCase *c = tcase_create("text");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, test_stream_gives_texts_back, 0, TC_N_NAMES - 1);
    tcase_add_test(c, test_fault_53_code_points_across_tokens);
    tcase_add_test(c, test_stream_does_not_depend_on_the_cut);
    tcase_add_test(c, test_tokens_without_text);
    tcase_add_test(c, test_fault_51_room_for_text_short);
    tcase_add_test(c, test_fault_52_bad_id);
    tcase_add_loop_test(c, test_chats_as_jinja2_renders_them, 0, 2);
    tcase_add_test(c, test_spellings_of_chatml);
    tcase_add_test(c, test_chat_with_added_begin);
    tcase_add_test(c, test_fault_50_turns_in_content_when_the_file_calls_them_user_defined);
    tcase_add_test(c, test_system_message_of_the_models_own);
    tcase_add_test(c, test_fault_62_templates_that_are_not_understood);
    tcase_add_test(c, test_templates_cut_and_changed);
    tcase_add_test(c, test_fault_65_what_a_template_does_not_take);
    tcase_add_test(c, test_chat_arguments_and_room);
    tcase_add_test(c, test_fault_84_nth_allocation_fails);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
