/*
 * tokenizer.ggml.* -> a vocabulary; text -> tokens. What the file says about a token's type is completed by what
 * its text says, as in the reference: files often leave the types of well-known control tokens out.
 */
#include "vocab_impl.h"

/* ---- Tokenizers ---- */

static slm_status prepare_bpe(slm__vocab *v, const slm__gguf *g, slm_error *err) {
    SLM_TRY(slm__bpe_find_pretok(&v->bpe, g, v->tokenizer->pre, &v->pre_missing, err));
    v->decode = v->bpe.decode;
    return SLM_OK;
}

static slm_status load_bpe(slm__vocab *v, const slm__gguf *g, slm_error *err) {
    SLM_TRY(slm__bpe_load(&v->bpe, g, &v->tokens, v->attributes, v->allocator, err));
    v->add_bos = v->bpe.pretok->flags & PRETOK_ADD_BOS;
    return SLM_OK;
}

static void free_bpe(slm__vocab *v) { slm__bpe_free(&v->bpe, v->allocator); }

/* What is not clean UTF-8 is encoded as the text that the reference reads in it. */
static slm_status encode_bpe(const slm__vocab *v, slm__bpe_work *work, const char *text, size_t n,
                             slm__sink *sink) {
    const uint8_t *p = (const uint8_t *)text;
    bool spaced = v->bpe.pretok->flags & PRETOK_CHARACTERS;
    if (!spaced && slm__utf8_clean(p, n) == n) return slm__bpe_encode(&v->bpe, work, p, n, sink);
    uint8_t *normal = slm__alloc_array(v->allocator, n, 3);
    if (!normal) return SLM_ERR_NOMEM;
    size_t n_normal = slm__utf8_normalize(p, n, normal);
    if (spaced) n_normal = slm__spaces_read(normal, n_normal);
    slm_status s = slm__bpe_encode(&v->bpe, work, normal, n_normal, sink);
    slm__free(v->allocator, normal);
    return s;
}

static slm_status prepare_pieces(slm__vocab *v, const slm__gguf *g, slm_error *err) {
    (void)g, (void)err;
    v->decode = slm__spaces_decode;
    return SLM_OK;
}

static slm_status load_spm(slm__vocab *v, const slm__gguf *g, slm_error *err) {
    SLM_TRY(slm__spm_load(&v->spm, g, &v->tokens, v->attributes, v->allocator, err));
    v->spm.unknown = v->unknown;
    v->add_bos = true;
    return SLM_OK;
}

static void free_spm(slm__vocab *v) { slm__spm_free(&v->spm, v->allocator); }

static slm_status encode_spm(const slm__vocab *v, slm__bpe_work *work, const char *text, size_t n,
                             slm__sink *sink) {
    return slm__spm_encode(&v->spm, v->allocator, &work->words, (const uint8_t *)text, n, sink);
}

static slm_status load_ugm(slm__vocab *v, const slm__gguf *g, slm_error *err) {
    v->ugm.unknown = v->unknown;
    return slm__ugm_load(&v->ugm, g, &v->tokens, v->attributes, v->allocator, err);
}

static void free_ugm(slm__vocab *v) { slm__ugm_free(&v->ugm, v->allocator); }

static slm_status encode_ugm(const slm__vocab *v, slm__bpe_work *work, const char *text, size_t n,
                             slm__sink *sink) {
    return slm__ugm_encode(&v->ugm, v->allocator, &work->words, (const uint8_t *)text, n, sink);
}

#define NONE SLM_TOKEN_NONE
#define TOKENIZERS(X)                                                                    \
    X("gpt2", NONE, NONE, NONE, NULL, prepare_bpe, load_bpe, free_bpe, encode_bpe)       \
    X("gemma4", NONE, NONE, NONE, "gemma4", prepare_bpe, load_bpe, free_bpe, encode_bpe) \
    X("llama", 1, 2, 0, NULL, prepare_pieces, load_spm, free_spm, encode_spm)            \
    X("t5", NONE, 1, 2, NULL, prepare_pieces, load_ugm, free_ugm, encode_ugm)

static const slm__tokenizer tokenizers[] = {
#define X(name, ...) {name, __VA_ARGS__},
    TOKENIZERS(X)
#undef X
};

static const char *tokenizer_names(void) {
#define X(name, ...) ", " name
    return &TOKENIZERS(X)[2];
#undef X
}

static slm_status find_tokenizer(slm__vocab *v, const slm__gguf *g, slm_error *err) {
    slm__str model = {"", 0};
    bool found = false;
    SLM_TRY(slm__gguf_str(g, "tokenizer.ggml.model", &model, &found, err));
    for (size_t i = 0; i < SLM_COUNT(tokenizers); i++) {
        if (slm__str_eq(model, tokenizers[i].model)) v->tokenizer = &tokenizers[i];
    }
    if (v->tokenizer) return SLM_OK;
    return slm__fail(err, SLM_ERR_UNSUPPORTED, "key tokenizer.ggml.model is %s\"%s\", known: %s",
                     found ? "" : "missing: ", slm__show(model).text, tokenizer_names());
}

/* ---- Special token ids ---- */

enum { EOG = 1 };
enum { BOS, EOS, UNKNOWN, FILL, N_KEPT = FILL + 3 }; /* the first rows below */

/* Keys that hold a token, and the texts by which the reference finds it when there is no such key. */
typedef struct role_row {
    const char *key;      /* after "tokenizer.ggml." */
    int eog;              /* EOG: generation ends with it */
    const char *texts[9]; /* NULL behind the last */
} role_row;

static const role_row roles[] = {
    {"bos_token_id", 0, {0}},
    {"eos_token_id", EOG, {0}},
    {"unknown_token_id", 0, {0}},
    {"fim_pre_token_id",
     0,
     {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<PRE>", "<|code_prefix|>", "<|prefix|>",
      "<\357\275\234fim\342\226\201begin\357\275\234>", "\342\226\201<PRE>"}},
    {"fim_suf_token_id",
     0,
     {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<SUF>", "<|code_suffix|>", "<|suffix|>",
      "<\357\275\234fim\342\226\201hole\357\275\234>", "\342\226\201<SUF>"}},
    {"fim_mid_token_id",
     0,
     {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<MID>", "<|code_middle|>", "<|middle|>",
      "<\357\275\234fim\342\226\201end\357\275\234>", "\342\226\201<MID>"}},
    {"eot_token_id", EOG, {0}},
    {"eom_token_id", EOG, {0}},
    {"seperator_token_id", 0, {0}}, /* spelt so in the format */
    {"padding_token_id", 0, {0}},
    {"mask_token_id", 0, {0}},
    {"cls_token_id", 0, {0}},
    {"fim_pad_token_id", EOG, {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"}},
    {"fim_rep_token_id",
     EOG,
     {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"}},
    {"fim_sep_token_id", EOG, {"<|file_sep|>"}},
};

/* Tokens that open a turn: control tokens whatever the file calls them, or a text could begin one. */
static const char *const start_texts[] = {"<|im_start|>"};

/* Tokens that end a generation wherever they are in a vocabulary. */
static const char *const end_texts[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "[e~[",
    "<\357\275\234end\342\226\201of\342\226\201sentence\357\275\234>", /* DeepSeek: U+FF5C, U+2581 */
};

/* The token whose text in the file this is. Texts that stand for no bytes are in no hash table. */
static slm_token find_text(const slm__vocab *v, const char *text) {
    char decoded[64];
    size_t n = strlen(text);
    if (v->decode((slm__str){text, n}, decoded, &n))
        return slm__tokens_find(&v->tokens, decoded, n);
    n = strlen(text);
    int32_t left = v->tokens.n_raw;
    for (slm_token t = 0; left > 0; t++) {
        if (!slm__tokens_is_raw(&v->tokens, t)) continue;
        left--;
        slm__str raw = slm__tokens_text(&v->tokens, t);
        if (raw.len == n && memcmp(raw.ptr, text, n) == 0) return t;
    }
    return SLM_TOKEN_NONE;
}

static slm_status read_id(const slm__vocab *v, const slm__gguf *g, const char *name, slm_token *id,
                          slm_error *err) {
    char key[64] = "tokenizer.ggml.";
    strncat(key, name, sizeof key - strlen(key) - 1);
    uint64_t value;
    bool found = false;
    SLM_TRY(slm__gguf_u64(g, key, &value, &found, err));
    if (!found) return SLM_OK;
    if (value >= (uint64_t)v->tokens.n)
        return slm__fail(err, SLM_ERR_RANGE, "key %s is %llu, but there are %d tokens", key,
                         (unsigned long long)value, v->tokens.n);
    *id = (slm_token)value;
    return SLM_OK;
}

/* Where a vocabulary has all tokens of the first list, one that ends a generation elsewhere does not. */
static const struct {
    const char *has[2], *token;
    uint32_t lost;
} end_exceptions[] = {
    {{"<|return|>", "<|call|>"}, "<|end|>", SLM_TOKEN_EOG}, /* it ends a part of an answer */
    {{"<|calls|>", "<|flush|>"}, "<|end|>", SLM_TOKEN_EOG},
    {{"<|tool_response>", NULL}, "</s>", SLM_TOKEN_EOG | SLM_TOKEN_CONTROL}, /* a tag of HTML */
};

static void except_ends(slm__vocab *v) {
    for (size_t i = 0; i < SLM_COUNT(end_exceptions); i++) {
        slm_token id = find_text(v, end_exceptions[i].token);
        for (int k = 0; k < 2 && end_exceptions[i].has[k]; k++)
            if (find_text(v, end_exceptions[i].has[k]) == SLM_TOKEN_NONE) id = SLM_TOKEN_NONE;
        if (id != SLM_TOKEN_NONE) v->attributes[id] &= (uint8_t)~end_exceptions[i].lost;
    }
}

static slm_status read_roles(slm__vocab *v, const slm__gguf *g, slm_error *err) {
    const slm__tokenizer *row = v->tokenizer;
    const slm_token given[] = {[BOS] = row->bos, [EOS] = row->eos, [UNKNOWN] = row->unknown};
    slm_token *const kept[N_KEPT] = {&v->bos,     &v->eos,     &v->unknown,
                                     &v->fill[0], &v->fill[1], &v->fill[2]};
    for (size_t i = 0; i < SLM_COUNT(roles); i++) {
        slm_token id = SLM_TOKEN_NONE;
        if (i < SLM_COUNT(given) && given[i] < v->tokens.n) id = given[i];
        /* how older files call the tokens of FILL */
        static const char *const older[] = {"prefix_token_id", "suffix_token_id",
                                            "middle_token_id"};
        if (i >= FILL && i < N_KEPT) SLM_TRY(read_id(v, g, older[i - FILL], &id, err));
        SLM_TRY(read_id(v, g, roles[i].key, &id, err));
        for (int t = 0; roles[i].texts[t] && id == SLM_TOKEN_NONE; t++) {
            id = find_text(v, roles[i].texts[t]);
            if (id != SLM_TOKEN_NONE) v->attributes[id] |= SLM_TOKEN_CONTROL;
        }
        if (i < SLM_COUNT(kept)) *kept[i] = id;
        if (id != SLM_TOKEN_NONE && roles[i].eog) v->attributes[id] |= SLM_TOKEN_EOG;
    }
    for (size_t i = 0; i < SLM_COUNT(start_texts); i++) {
        slm_token id = find_text(v, start_texts[i]);
        if (id != SLM_TOKEN_NONE) v->attributes[id] |= SLM_TOKEN_CONTROL;
    }
    for (size_t i = 0; i < SLM_COUNT(end_texts); i++) {
        slm_token id = find_text(v, end_texts[i]);
        if (id != SLM_TOKEN_NONE) v->attributes[id] |= SLM_TOKEN_CONTROL | SLM_TOKEN_EOG;
    }
    except_ends(v);
    return SLM_OK;
}

static slm_status read_add_bos(slm__vocab *v, const slm__gguf *g, slm_error *err) {
    bool found = false, add_eos = false;
    SLM_TRY(slm__gguf_bool(g, "tokenizer.ggml.add_bos_token", &v->add_bos, &found, err));
    if (found && v->add_bos && v->bos == SLM_TOKEN_NONE) {
        return slm__fail(err, SLM_ERR_MISMATCH,
                         "key tokenizer.ggml.add_bos_token is true, bos_token_id is missing");
    }
    if (v->bos == SLM_TOKEN_NONE) v->add_bos = false;
    /* an end is never put behind a text, but the key has to be right */
    return slm__gguf_bool(g, "tokenizer.ggml.add_eos_token", &add_eos, &found, err);
}

/* ---- Types ---- */

/* tokenizer.ggml.token_type: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte. */
static uint8_t attributes_of(int32_t type) {
    static const uint8_t table[] = {0,
                                    0,
                                    SLM_TOKEN_UNKNOWN,
                                    SLM_TOKEN_CONTROL,
                                    SLM_TOKEN_USER,
                                    SLM_TOKEN_UNUSED,
                                    SLM_TOKEN_BYTE};
    return type >= 0 && type < (int32_t)SLM_COUNT(table) ? table[type] : 0;
}

static slm_status check_length(const slm__vocab *v, const slm__key *key, const char *name,
                               slm_error *err) {
    if (!key || key->n == (uint64_t)v->tokens.n) return SLM_OK;
    return slm__fail(err, SLM_ERR_MISMATCH, "key %s: %llu values for %d tokens", name,
                     (unsigned long long)key->n, v->tokens.n);
}

/* Arrays beside the tokens have one value for each, of the type that the format says. */
static slm_status read_array(const slm__vocab *v, const slm__gguf *g, const char *name,
                             slm__gguf_type type, const slm__key **key, slm_error *err) {
    slm_status s = slm__gguf_array(g, name, type, key, err);
    if (s == SLM_ERR_TYPE) {
        return slm__fail(err, SLM_ERR_MISMATCH, "key %s is no array of %s", name,
                         slm__gguf_type_name(type));
    }
    SLM_TRY(s);
    return check_length(v, *key, name, err);
}

static slm_status read_types(slm__vocab *v, const slm__gguf *g, slm_error *err) {
    const slm__key *types, *scores;
    SLM_TRY(read_array(v, g, "tokenizer.ggml.scores", GGUF_F32, &scores, err));
    SLM_TRY(read_array(v, g, "tokenizer.ggml.token_type", GGUF_I32, &types, err));
    v->attributes = slm__alloc(v->allocator, (uint64_t)v->tokens.n);
    if (!v->attributes)
        return slm__fail(err, SLM_ERR_NOMEM, "no memory for %d tokens", v->tokens.n);
    for (slm_token t = 0; t < v->tokens.n && types; t++)
        v->attributes[t] = attributes_of(slm__read_i32(types->data + 4 * (size_t)t));
    return SLM_OK;
}

/* ---- Tokens with another text than their decoded one ---- */

/* "<0xZZ>" -> its byte, or -1 */
static int parse_byte(slm__str s) {
    if (s.len != 6 || memcmp(s.ptr, "<0x", 3) != 0 || s.ptr[5] != '>') return -1;
    int high = slm__hex_digit(s.ptr[3]), low = slm__hex_digit(s.ptr[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

enum { FOUND = SLM_TOKEN_CONTROL | SLM_TOKEN_USER | SLM_TOKEN_UNKNOWN };

enum { MAX_NAMED = 1 << 15 }; /* special tokens; published vocabularies have up to some 10,000 */

/* `raw` is in the file. */
static slm_status name_token(slm__vocab *v, slm_token t, slm__str raw, slm_error *err) {
    if (v->attributes[t] & SLM_TOKEN_BYTE) {
        int byte = parse_byte(raw);
        if (byte < 0) {
            return slm__fail(
                err, SLM_ERR_FORMAT,
                "tokenizer.ggml.tokens: byte token %d is \"%s\", expected <0x00> to <0xFF>", t,
                slm__show(raw).text);
        }
        raw = (slm__str){&v->bytes[byte], 1};
    }
    v->named[v->n_named++] = (slm__special_token){.text = raw, .token = t};
    return SLM_OK;
}

/* Files do not say which tokens take spaces along; the reference knows it of some models, by what the file calls them. */
static const struct {
    const char *key, *part; /* a word of the key's value, in small letters */
    bool left, right;
    const char *only;      /* the token; NULL: all special tokens but */
    const char *except[4]; /* these */
} strip_rows[] = {
    {"general.architecture", "nomic-bert-moe", true, false, "<mask>", {0}},
    {"general.architecture", "jina-bert-v3", true, false, "<mask>", {0}},
    {"general.name", "phi-3", false, true, NULL, {"<unk>", "<s>", "<|endoftext|>"}},
    {"general.name", "phi3", false, true, NULL, {"<unk>", "<s>", "<|endoftext|>"}},
};

static bool contains_word(slm__str text, const char *word) {
    size_t n = strlen(word);
    for (size_t at = 0; at + n <= text.len; at++) {
        size_t k = 0;
        for (char c; k < n; k++) {
            c = text.ptr[at + k];
            if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != word[k]) break;
        }
        if (k == n) return true;
    }
    return false;
}

static slm_status mark_strip(const slm__gguf *g, slm__special_token *tokens, uint32_t n,
                             slm_error *err) {
    for (size_t r = 0; r < SLM_COUNT(strip_rows); r++) {
        slm__str value = {"", 0};
        bool found;
        SLM_TRY(slm__gguf_str(g, strip_rows[r].key, &value, &found, err));
        if (!contains_word(value, strip_rows[r].part)) continue;
        for (uint32_t i = 0; i < n; i++) {
            bool marked = !strip_rows[r].only || slm__str_eq(tokens[i].text, strip_rows[r].only);
            for (int e = 0; strip_rows[r].except[e]; e++)
                if (slm__str_eq(tokens[i].text, strip_rows[r].except[e])) marked = false;
            if (marked) tokens[i].strip_left = strip_rows[r].left;
            if (marked) tokens[i].strip_right = strip_rows[r].right;
        }
    }
    return SLM_OK;
}

/* The file may be cut short while the model is open, so the texts leave it. */
static slm_status copy_names(slm__vocab *v, slm_error *err) {
    uint64_t n_bytes = 0;
    for (uint32_t i = 0; i < v->n_named; i++) n_bytes += v->named[i].text.len;
    char *to = v->names = slm__alloc(v->allocator, n_bytes);
    if (!to) return slm__fail(err, SLM_ERR_NOMEM, "no memory for %u special tokens", v->n_named);
    for (uint32_t i = 0; i < v->n_named; i++) {
        slm__str *text = &v->named[i].text;
        if (text->len) memcpy(to, text->ptr, text->len);
        text->ptr = to;
        to += text->len;
    }
    return SLM_OK;
}

static slm_status name_tokens(slm__vocab *v, const slm__gguf *g, const slm__key *tokens,
                              slm_error *err) {
    uint32_t n = 0, n_special = 0;
    for (slm_token t = 0; t < v->tokens.n; t++)
        n += (v->attributes[t] & (FOUND | SLM_TOKEN_BYTE)) != 0;
    if (n > MAX_NAMED)
        return slm__fail(err, SLM_ERR_LIMIT,
                         "tokenizer.ggml.token_type: %u special tokens, at most %d", n, MAX_NAMED);
    v->named = slm__alloc_array(v->allocator, n, sizeof *v->named);
    if (!v->named) return slm__fail(err, SLM_ERR_NOMEM, "no memory for %u special tokens", n);
    for (int i = 0; i < 256; i++) v->bytes[i] = (char)i;
    const uint8_t *at = tokens->data;
    for (slm_token t = 0; t < v->tokens.n; t++) {
        slm__str raw = slm__gguf_next_string(&at);
        if (v->attributes[t] & (FOUND | SLM_TOKEN_BYTE)) SLM_TRY(name_token(v, t, raw, err));
    }
    SLM_TRY(copy_names(v, err));
    slm__special_token *special = slm__alloc_array(v->allocator, n, sizeof *special);
    if (!special) return slm__fail(err, SLM_ERR_NOMEM, "no memory for %u special tokens", n);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t a = v->attributes[v->named[i].token] & FOUND;
        if (!a) continue;
        special[n_special] = v->named[i];
        special[n_special++].plain = a == SLM_TOKEN_USER;
    }
    slm_status s = mark_strip(g, special, n_special, err);
    if (s == SLM_OK) return slm__special_build(&v->special, special, n_special, v->allocator, err);
    slm__free(v->allocator, special);
    return s;
}

/* ---- Loading ---- */

static slm_status load(slm__vocab *v, const slm__gguf *g, slm_error *err) {
    const slm__key *tokens;
    SLM_TRY(slm__gguf_array(g, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, err));
    if (!tokens) return slm__fail(err, SLM_ERR_MISMATCH, "key tokenizer.ggml.tokens is missing");
    SLM_TRY(find_tokenizer(v, g, err));
    if (v->tokenizer->load != load_ugm && slm__gguf_key(g, "tokenizer.ggml.precompiled_charsmap"))
        return slm__fail(err, SLM_ERR_UNSUPPORTED,
                         "key tokenizer.ggml.precompiled_charsmap: tokenizer %s has none",
                         v->tokenizer->model);
    SLM_TRY(v->tokenizer->prepare(v, g, err));
    SLM_TRY(slm__tokens_load(&v->tokens, tokens, v->decode, v->allocator, err));
    SLM_TRY(read_types(v, g, err));
    SLM_TRY(read_roles(v, g, err)); /* before the tokenizer, which asks what is a control token */
    SLM_TRY(v->tokenizer->load(v, g, err));
    SLM_TRY(read_add_bos(v, g, err));
    return name_tokens(v, g, tokens, err);
}

slm_status slm__vocab_load(const slm__gguf *g, const slm_allocator *allocator, slm_log_fn log,
                           void *log_user, slm__vocab **out, slm_error *err) {
    *out = NULL;
    slm__vocab *v = slm__alloc(allocator, sizeof *v);
    if (!v) return slm__fail(err, SLM_ERR_NOMEM, "no memory for a vocabulary");
    v->allocator = allocator;
    slm_status s = load(v, g, err);
    if (s != SLM_OK) {
        slm__vocab_free(v);
        return s;
    }
    if (log && v->tokens.has_equal)
        log(log_user, SLM_LOG_WARN,
            "tokenizer.ggml.tokens: some tokens are equal; the lowest of them is used");
    if (log && v->pre_missing)
        log(log_user, SLM_LOG_WARN,
            "key tokenizer.ggml.pre is missing: text is split as \"default\" says, which may not "
            "be "
            "how the model was trained");
    *out = v;
    return SLM_OK;
}

void slm__vocab_free(slm__vocab *v) {
    if (!v) return;
    const slm_allocator *allocator = v->allocator;
    if (v->tokenizer) v->tokenizer->free(v);
    slm__tokens_free(&v->tokens, allocator);
    slm__special_free(&v->special, allocator);
    slm__free(allocator, v->attributes);
    slm__free(allocator, v->named);
    slm__free(allocator, v->names);
    slm__free(allocator, v);
}

/* ---- Text to tokens ---- */

slm_status slm__vocab_encode(const slm__vocab *v, slm__bpe_work *work, const char *text, size_t n,
                             bool all, const uint8_t *marks, slm__sink *sink, slm_error *err) {
    slm__span *spans;
    size_t n_spans, at = 0;
    slm__words_make(&work->words, n,
                    v->allocator); /* here, as special tokens may cut a text small */
    slm_status s = SLM_ERR_NOMEM;
    if (slm__special_find(&v->special, text, n, all, marks, v->allocator, &spans, &n_spans))
        s = SLM_OK;
    for (size_t i = 0; i < n_spans && s == SLM_OK; i++) {
        if (spans[i].at > at) s = v->tokenizer->encode(v, work, text + at, spans[i].at - at, sink);
        slm__sink_put(sink, spans[i].token);
        at = spans[i].at + spans[i].len;
    }
    if (s == SLM_OK && n > at) s = v->tokenizer->encode(v, work, text + at, n - at, sink);
    slm__free(v->allocator, spans);
    if (s == SLM_OK) return s;
    return slm__fail(err, s,
                     s == SLM_ERR_LIMIT ? "a text of %zu bytes is too long for its tokenizer"
                                        : "no memory to tokenize %zu bytes",
                     n);
}

slm_status slm__vocab_tokenize(const slm__vocab *v, const char *text, size_t n_bytes,
                               uint32_t flags, slm_token *out, size_t capacity, size_t *n_tokens,
                               slm_error *err) {
    if (flags & ~(uint32_t)(SLM_TOKENIZE_BOS | SLM_TOKENIZE_SPECIAL))
        return slm__fail(err, SLM_ERR_ARGUMENT, "unknown flags %#x", flags);
    if (n_bytes > INT32_MAX)
        return slm__fail(err, SLM_ERR_LIMIT, "a text of %zu bytes, at most %d", n_bytes, INT32_MAX);
    slm__sink sink = {out, capacity, 0};
    slm__bpe_work work = {.allocator = v->allocator};
    if (flags & SLM_TOKENIZE_BOS && v->add_bos) slm__sink_put(&sink, v->bos);
    slm_status s =
        slm__vocab_encode(v, &work, text, n_bytes, flags & SLM_TOKENIZE_SPECIAL, NULL, &sink, err);
    slm__bpe_work_free(&work);
    SLM_TRY(s);
    *n_tokens = sink.n;
    if (sink.n > capacity)
        return slm__fail(err, SLM_ERR_BUFFER, "%zu tokens, room for %zu", sink.n, capacity);
    return SLM_OK;
}

slm_status slm__vocab_fill(const slm__vocab *v, slm__str prefix, slm__str suffix, slm_token *out,
                           size_t capacity, size_t *n_tokens, slm_error *err) {
    const slm__str parts[] = {prefix, suffix, {"", 0}};
    slm__sink sink = {out, capacity, 0};
    slm__bpe_work work = {.allocator = v->allocator};
    slm_status s = SLM_OK;
    for (int i = 0; i < 3; i++) {
        if (v->fill[i] == SLM_TOKEN_NONE)
            return slm__fail(err, SLM_ERR_UNSUPPORTED,
                             "the vocabulary has no token for key tokenizer.ggml.%s",
                             roles[FILL + i].key);
        if (parts[i].len > INT32_MAX)
            return slm__fail(err, SLM_ERR_LIMIT, "a text of %zu bytes, at most %d", parts[i].len,
                             INT32_MAX);
    }
    if (v->add_bos) slm__sink_put(&sink, v->bos);
    for (int i = 0; i < 3 && s == SLM_OK; i++) {
        slm__sink_put(&sink, v->fill[i]);
        s = slm__vocab_encode(v, &work, parts[i].ptr, parts[i].len, false, NULL, &sink, err);
    }
    slm__bpe_work_free(&work);
    SLM_TRY(s);
    *n_tokens = sink.n;
    if (sink.n > capacity)
        return slm__fail(err, SLM_ERR_BUFFER, "%zu tokens, room for %zu", sink.n, capacity);
    return SLM_OK;
}

/* ---- Looking at tokens ---- */

int32_t slm__vocab_n_tokens(const slm__vocab *v) { return v->tokens.n; }
slm_token slm__vocab_bos(const slm__vocab *v) { return v->bos; }
slm_token slm__vocab_eos(const slm__vocab *v) { return v->eos; }

slm_token slm__vocab_special(const slm__vocab *v, const char *text) {
    for (uint32_t i = 0; i < v->n_named; i++) {
        if (slm__str_eq(v->named[i].text, text) && v->attributes[v->named[i].token] & FOUND)
            return v->named[i].token;
    }
    return SLM_TOKEN_NONE;
}

slm_status slm__vocab_token(const slm__vocab *v, slm_token token, slm__str *text,
                            uint32_t *attributes) {
    if (token < 0 || token >= v->tokens.n) return SLM_ERR_RANGE;
    *attributes = v->attributes[token];
    *text = slm__tokens_text(&v->tokens, token);
    if (!(*attributes & (FOUND | SLM_TOKEN_BYTE))) return SLM_OK;
    uint32_t low = 0, high = v->n_named;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (v->named[middle].token <= token)
            low = middle;
        else
            high = middle;
    }
    *text = v->named[low].text;
    return SLM_OK;
}
