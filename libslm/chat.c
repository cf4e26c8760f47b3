/*
 * Chat templates. A file brings its chat format as a Jinja program; instead of running it, its text is brought into
 * a canonical form and compared with the known ones. What those print is written out by hand. For now: ChatML,
 * with or without a system message of the model's own for conversations that begin with another role.
 *
 * Canonical form, so that the many spellings of one template become one (as rendered with trim_blocks and lstrip_blocks, which
 * is what the tools that make these files use):
 *   - no comments, no blanks inside of tags but one between two words; strings unescaped, between QUOTE, a byte that no
 *     template holds: what stands between two of them is one string
 *   - text is an output of a string, outputs side by side are one with a plus, strings added are one string
 *   - a['b'] is a.b
 */
#include "vocab_impl.h"

/* ---- Canonical form ---- */

enum { MAX_TEMPLATE = 1 << 20 };

#define QUOTE "\3"

typedef struct canon {
    const char *src;
    size_t n_src;
    char *out; /* room for 8 times the source */
    size_t n;
    size_t string_begin,
        string_end; /* of the last string in out, without quotes; its closing quote is at the end */
} canon;

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static bool ends_with(const canon *c, const char *s) {
    size_t n = strlen(s);
    return c->n >= n && memcmp(c->out + c->n - n, s, n) == 0;
}

static void emit(canon *c, const char *s) {
    size_t n = strlen(s);
    memcpy(c->out + c->n, s, n);
    c->n += n;
}

/* What follows is a string: a new one, or the end of the one before a plus. */
static void begin_string(canon *c) {
    if (c->n > 0 && c->string_end + 2 == c->n && c->out[c->n - 1] == '+') {
        c->n -= 2;
        return;
    }
    emit(c, QUOTE);
    c->string_begin = c->n;
}

static void end_string(canon *c) {
    c->string_end = c->n;
    emit(c, QUOTE);
}

static void begin_output(canon *c) {
    if (ends_with(c, "}}")) {
        c->n -= 2;
        emit(c, "+");
    } else {
        emit(c, "{{");
    }
}

static void emit_text(canon *c, size_t begin, size_t end) {
    if (begin >= end) return;
    begin_output(c);
    begin_string(c);
    memcpy(c->out + c->n, c->src + begin, end - begin);
    c->n += end - begin;
    end_string(c);
    emit(c, "}}");
}

/* The string that begins with the quote at `at`; returns the place behind it. */
static size_t emit_string(canon *c, size_t at, size_t end) {
    char quote = c->src[at++];
    begin_string(c);
    for (; at < end && c->src[at] != quote; at++) {
        char ch = c->src[at];
        if (ch == '\\' && at + 1 < end) {
            ch = c->src[++at];
            ch = ch == 'n' ? '\n' : ch == 't' ? '\t' : ch == 'r' ? '\r' : ch;
        }
        c->out[c->n++] = ch;
    }
    end_string(c);
    return at < end ? at + 1 : end;
}

/* a['b'] -> a.b, where the closing bracket has just been read */
static bool close_bracket(canon *c) {
    size_t b = c->string_begin;
    if (c->n == 0 || c->string_end + 1 != c->n || b < 3 || c->out[b - 2] != '[') return false;
    if (!is_word(c->out[b - 3]) && c->out[b - 3] != ']') return false;
    for (size_t i = b; i < c->string_end; i++) {
        if (!is_word(c->out[i])) return false;
    }
    memmove(c->out + b - 1, c->out + b, c->string_end - b);
    c->out[b - 2] = '.';
    c->n -= 2;
    c->string_end = 0;
    return true;
}

/* The inside of a tag. */
static void emit_code(canon *c, size_t at, size_t end) {
    bool blank = false;
    while (at < end) {
        char ch = c->src[at];
        if (is_blank(ch)) {
            blank = true;
            at++;
            continue;
        }
        if (blank && is_word(ch) && c->n > 0 && is_word(c->out[c->n - 1])) emit(c, " ");
        blank = false;
        if (ch == '\'' || ch == '"') {
            at = emit_string(c, at, end);
            continue;
        }
        at++;
        if (ch != ']' || !close_bracket(c)) c->out[c->n++] = ch;
    }
}

/* The next "{{", "{%" or "{#" from `at` on; the end of the source if there is none. */
static size_t find_tag(const canon *c, size_t at) {
    for (; at + 1 < c->n_src; at++) {
        if (c->src[at] == '{' && strchr("{%#", c->src[at + 1]) && c->src[at + 1]) return at;
    }
    return c->n_src;
}

/* The end of the tag that opens at `at`: the place of "}}", "%}" or "#}" outside of strings. */
static bool find_tag_end(const canon *c, size_t at, size_t *end) {
    char kind = c->src[at + 1], close = kind == '{' ? '}' : kind, quote = 0;
    for (size_t i = at + 2; i + 1 < c->n_src; i++) {
        char ch = c->src[i];
        if (quote) {
            if (ch == '\\') i++;
            if (ch == quote) quote = 0;
        } else if (ch == close && c->src[i + 1] == '}') {
            *end = i;
            return true;
        } else if (kind != '#' && (ch == '\'' || ch == '"')) {
            quote = ch;
        }
    }
    return false;
}

/* The text between two tags, without what their dashes and the trimming of blocks take away. */
static void emit_between(canon *c, size_t begin, size_t end, char before, bool dash_before,
                         char after, bool dash_after, bool keep_after) {
    size_t b = begin, e = end;
    if (dash_before)
        while (b < e && is_blank(c->src[b])) b++;
    else if (before != '{' && b < e && b > 0 && c->src[b] == '\n')
        b++;
    if (dash_after) {
        while (e > b && is_blank(c->src[e - 1])) e--;
    } else if (after != '{' && !keep_after) {
        size_t line = e;
        while (line > b && (c->src[line - 1] == ' ' || c->src[line - 1] == '\t')) line--;
        if (line == 0 || c->src[line - 1] == '\n') e = line;
    }
    emit_text(c, b, e);
}

/* False if the template has a tag without end. */
static bool canonicalize(canon *c) {
    if (c->n_src > 0 && c->src[c->n_src - 1] == '\n') c->n_src--; /* as Jinja does */
    size_t at = 0;
    char before = '{';
    bool dash_before = false;
    for (;;) {
        size_t tag = find_tag(c, at), end;
        if (tag == c->n_src) {
            emit_between(c, at, tag, before, dash_before, '{', false, false);
            return true;
        }
        if (!find_tag_end(c, tag, &end)) return false;
        char kind = c->src[tag + 1];
        size_t b = tag + 2, e = end;
        char first = b < e ? c->src[b] : 0;
        bool dash = first == '-', plus = first == '+' && kind != '{';
        emit_between(c, at, tag, before, dash_before, kind, dash, plus);
        if (dash || plus) b++;
        dash_before = e > b && c->src[e - 1] == '-';
        before = kind;
        if (e > b && c->src[e - 1] == '+' && kind != '{') {
            e--;
            before = '{'; /* "+%}": the newline stays */
        }
        if (dash_before) e--;
        at = end + 2;
        if (kind == '#') continue;
        if (kind == '{')
            begin_output(c);
        else
            emit(c, "{%");
        emit_code(c, b, e);
        emit(c, kind == '{' ? "}}" : "%}");
    }
}

/* ---- Known templates: a quote in them is QUOTE ---- */

#define SKIP    "\1" /* any text                                     */
#define DEFAULT "\2" /* any text: the system message of the model's own */

#define MESSAGE "{{'<|im_start|>'+message.role+'\n'+message.content+'<|im_end|>\n'}}"
#define FINISH                                                            \
    "{%endfor%}{%if add_generation_prompt%}{{'<|im_start|>assistant\n'}}" \
    "{%endif%}"
#define PRESET "{{'<|im_start|>system\n" DEFAULT "<|im_end|>\n'}}{%endif%}"

typedef struct template_row {
    const char *pattern;
    bool fixed_roles;    /* system, user and assistant only               */
    bool needs_messages; /* the template fails on an empty conversation   */
} template_row;

static const template_row templates[] = {
    /* plain ChatML */
    {"{%for message in messages%}" MESSAGE FINISH, false, false},
    /* SmolLM2, Qwen2 */
    {"{%for message in messages%}{%if loop.first and messages[0].role!='system'%}" PRESET MESSAGE
         FINISH,
     false, false},
    /* Qwen2.5; its tools are never given */
    {"{%if tools%}" SKIP "{%else%}{%if messages[0].role=='system'%}"
     "{{'<|im_start|>system\n'+messages[0].content+'<|im_end|>\n'}}{%else%}" PRESET "{%endif%}"
     "{%for message in messages%}{%if(message.role=='user')or(message.role=='system'and not "
     "loop.first)"
     "or(message.role=='assistant'and not message.tool_calls)%}" MESSAGE
     "{%elif message.role=='assistant'%}" SKIP FINISH,
     true, true},
};

/* What may stand before any of them. */
static const char *const prefixes[] = {
    "{%if not add_generation_prompt is defined%}{%set add_generation_prompt=false%}{%endif%}",
    "{{bos_token}}",
};

static bool equals(const char *s, const char *pattern, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (s[i] != (pattern[i] == '\'' ? QUOTE[0] : pattern[i])) return false;
    }
    return true;
}

static bool starts_with(slm__str s, const char *prefix, size_t n) {
    return s.len >= n && equals(s.ptr, prefix, n);
}

/* Where `piece` is first found in s; s.len + 1 if it is not. */
static size_t find_piece(slm__str s, const char *piece, size_t n) {
    for (size_t at = 0; at + n <= s.len; at++) {
        if (equals(s.ptr + at, piece, n)) return at;
    }
    return s.len + 1;
}

/* Does the whole of `s` fit the pattern? The last piece has to be its end. */
static bool fits(slm__str s, const char *pattern, slm__str *preset) {
    size_t n = strcspn(pattern, SKIP DEFAULT);
    if (!starts_with(s, pattern, n)) return false;
    s.ptr += n;
    s.len -= n;
    for (pattern += n; *pattern; pattern += n) {
        char wild = *pattern++;
        n = strcspn(pattern, SKIP DEFAULT);
        size_t at = find_piece(s, pattern, n);
        if (!pattern[n] && s.len >= n) at = s.len - n;
        if (at > s.len || !starts_with((slm__str){s.ptr + at, s.len - at}, pattern, n))
            return false;
        if (wild == DEFAULT[0]) {
            if (memchr(s.ptr, QUOTE[0], at))
                return false; /* more than one string: it is computed */
            *preset = (slm__str){s.ptr, at};
        }
        s.ptr += at + n;
        s.len -= at + n;
    }
    return s.len == 0;
}

static const template_row *find_template(slm__str s, slm__str *preset, bool *bos) {
    for (size_t i = 0; i < SLM_COUNT(prefixes); i++) {
        size_t n = strlen(prefixes[i]);
        if (!starts_with(s, prefixes[i], n)) continue;
        if (prefixes[i][1] == '{') *bos = true;
        s.ptr += n;
        s.len -= n;
    }
    for (size_t i = 0; i < SLM_COUNT(templates); i++) {
        *preset = (slm__str){NULL, 0};
        if (fits(s, templates[i].pattern, preset)) return &templates[i];
    }
    return NULL;
}

/* ---- Writing ---- */

typedef struct writer {
    const slm__vocab *v;
    slm__bpe_work work;
    slm__sink sink;
    slm_token start, end; /* <|im_start|>, <|im_end|> */
    char *text;
    size_t n_text; /* room */
} writer;

/* "role\ncontent" is one text for the tokenizer: a newline may join what follows. */
static slm_status write_message(writer *w, const char *role, slm__str content, slm_error *err) {
    size_t n_role = strlen(role), n = n_role + 1 + content.len;
    if (n_role > INT32_MAX || content.len > INT32_MAX || n > INT32_MAX)
        return slm__fail(err, SLM_ERR_LIMIT, "a message of %zu bytes, at most %d", content.len,
                         INT32_MAX);
    if (n > w->n_text) {
        slm__free(w->v->allocator, w->text);
        w->n_text = n + n / 4;
        w->text = slm__alloc(w->v->allocator, w->n_text);
        if (!w->text) return slm__fail(err, SLM_ERR_NOMEM, "no memory for a message");
    }
    memcpy(w->text, role, n_role);
    w->text[n_role] = '\n';
    if (content.len > 0) memcpy(w->text + n_role + 1, content.ptr, content.len);
    slm__sink_put(&w->sink, w->start);
    SLM_TRY(slm__vocab_encode(w->v, &w->work, w->text, n, false, &w->sink, err));
    slm__sink_put(&w->sink, w->end);
    return slm__vocab_encode(w->v, &w->work, "\n", 1, false, &w->sink, err);
}

static slm_status check_roles(const template_row *row, const slm_message *messages, size_t n,
                              slm_error *err) {
    static const char *const known[] = {"system", "user", "assistant"};
    if (row->needs_messages && n == 0)
        return slm__fail(err, SLM_ERR_ARGUMENT, "this model's chat template needs a message");
    for (size_t i = 0; i < n && row->fixed_roles; i++) {
        bool ok = false;
        for (size_t k = 0; k < SLM_COUNT(known); k++) ok |= strcmp(messages[i].role, known[k]) == 0;
        if (ok) continue;
        slm__str role = {messages[i].role, strlen(messages[i].role)};
        return slm__fail(err, SLM_ERR_UNSUPPORTED, "message %zu: role \"%s\"", i,
                         slm__show(role).text);
    }
    return SLM_OK;
}

static slm_status write_all(writer *w, slm__str template, const slm_message *messages, size_t n,
                            slm_error *err) {
    slm__str preset;
    bool bos = w->v->add_bos;
    const template_row *row = find_template(template, &preset, &bos);
    if (!row)
        return slm__fail(err, SLM_ERR_UNSUPPORTED,
                         "key tokenizer.chat_template: not a known template");
    SLM_TRY(check_roles(row, messages, n, err));
    w->start = slm__vocab_special(w->v, "<|im_start|>");
    w->end = slm__vocab_special(w->v, "<|im_end|>");
    if (w->start == SLM_TOKEN_NONE || w->end == SLM_TOKEN_NONE)
        return slm__fail(err, SLM_ERR_UNSUPPORTED,
                         "key tokenizer.chat_template is ChatML, but the vocabulary has no %s",
                         w->start == SLM_TOKEN_NONE ? "<|im_start|>" : "<|im_end|>");
    if (bos && w->v->bos != SLM_TOKEN_NONE) slm__sink_put(&w->sink, w->v->bos);
    if (preset.ptr && n > 0 && strcmp(messages[0].role, "system") != 0)
        SLM_TRY(write_message(w, "system", preset, err));
    for (size_t i = 0; i < n; i++) {
        slm__str content = {messages[i].content, messages[i].n_bytes};
        SLM_TRY(write_message(w, messages[i].role, content, err));
    }
    slm__sink_put(&w->sink, w->start);
    return slm__vocab_encode(w->v, &w->work, "assistant\n", 10, false, &w->sink, err);
}

slm_status slm__chat_tokenize(const slm__vocab *v, const slm__gguf *g, const slm_message *messages,
                              size_t n_messages, slm_token *out, size_t capacity, size_t *n_tokens,
                              slm_error *err) {
    slm__str source = {"", 0};
    bool found = false;
    SLM_TRY(slm__gguf_str(g, "tokenizer.chat_template", &source, &found, err));
    if (!found)
        return slm__fail(err, SLM_ERR_UNSUPPORTED, "key tokenizer.chat_template is missing");
    if (source.len > MAX_TEMPLATE)
        return slm__fail(err, SLM_ERR_UNSUPPORTED, "key tokenizer.chat_template has %zu bytes",
                         source.len);
    if (memchr(source.ptr, QUOTE[0], source.len))
        return slm__fail(err, SLM_ERR_UNSUPPORTED,
                         "key tokenizer.chat_template holds the control character 3");
    canon c = {source.ptr, source.len, slm__alloc_array(v->allocator, source.len + 1, 8), 0, 0, 0};
    if (!c.out) return slm__fail(err, SLM_ERR_NOMEM, "no memory for the chat template");
    bool whole = canonicalize(&c);
    writer w = {.v = v, .work = {.allocator = v->allocator}, .sink = {out, capacity, 0}};
    slm_status s = write_all(&w, (slm__str){c.out, whole ? c.n : 0}, messages, n_messages, err);
    slm__bpe_work_free(&w.work);
    slm__free(v->allocator, w.text);
    slm__free(v->allocator, c.out);
    SLM_TRY(s);
    *n_tokens = w.sink.n;
    if (w.sink.n > capacity)
        return slm__fail(err, SLM_ERR_BUFFER, "%zu tokens, room for %zu", w.sink.n, capacity);
    return SLM_OK;
}
