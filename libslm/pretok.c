/*
 * What published tokenizers write as regular expressions: a row per value of tokenizer.ggml.pre. Most of them are of four families,
 *
 *   GPT-2 (Radford et al. 2019), alone or after every number has been set apart;
 *   Llama 3, whose words take what is before them along and whose numbers are short, in variants;
 *   GPT-4o, whose words also end where a small letter is followed by a capital;
 *   DeepSeek, which splits step by step.
 *
 * Where a file's expression has several steps, each splits further what the one before it has left: a match by itself, and what is
 * between two matches.
 *
 * (?i:) of the published ones is written out for ASCII letters: reference tokenizers for GGUF files do not take U+017F for an s.
 * \s+(?!\S) is all but the last of the spaces before a word, since the last one belongs to the word.
 */
#include "pretok.h"

#include <stdio.h>

/* clang-format off */
#define GPT2 \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

#define ANY_CASE "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
#define WORD     "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define SIGNS    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define SPACES   "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LLAMA3(numbers) ANY_CASE "|" WORD "|" numbers "|" SIGNS "|" SPACES

/* Capitals before small letters; letters of no case are both. */
#define CAPITALS "[\\p{Lu}\\p{Lm}\\p{M}]"
#define SMALL    "[\\p{Ll}\\p{Lm}\\p{M}]"
#define CASED(tail)                                          \
    "[^\\r\\n\\p{L}\\p{N}]?" CAPITALS "*" SMALL "+" tail     \
    "|[^\\r\\n\\p{L}\\p{N}]?" CAPITALS "+" SMALL "*" tail
#define GPT4O(tail, numbers) CASED(tail) "|" numbers "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES
#define TAIL "(?:" ANY_CASE ")?"

/* Letters of alphabets with cases as they were when DeepSeek wrote them down. */
#define CASED_LETTERS \
    "A-Za-z\\u{b5}\\u{c0}-\\u{d6}\\u{d8}-\\u{f6}\\u{f8}-\\u{1ba}\\u{1bc}-\\u{1bf}" \
    "\\u{1c4}-\\u{293}\\u{295}-\\u{2af}\\u{370}-\\u{373}\\u{376}\\u{377}\\u{37b}-\\u{37d}" \
    "\\u{37f}\\u{386}\\u{388}-\\u{38a}\\u{38c}\\u{38e}-\\u{3a1}\\u{3a3}-\\u{3f5}" \
    "\\u{3f7}-\\u{481}\\u{48a}-\\u{52f}\\u{531}-\\u{556}\\u{10a0}-\\u{10c5}" \
    "\\u{13a0}-\\u{13f5}\\u{13f8}-\\u{13fd}\\u{1c90}-\\u{1cba}\\u{1cbd}-\\u{1cbf}" \
    "\\u{1d00}-\\u{1d2b}\\u{1d6b}-\\u{1d77}\\u{1d79}-\\u{1d9a}\\u{1e00}-\\u{1f15}" \
    "\\u{1f18}-\\u{1f1d}\\u{1f20}-\\u{1f45}\\u{1f48}-\\u{1f4d}\\u{1f50}-\\u{1f57}" \
    "\\u{1f59}\\u{1f5b}\\u{1f5d}\\u{1f5f}-\\u{1f7d}\\u{1f80}-\\u{1fb4}\\u{1fb6}-\\u{1fbc}" \
    "\\u{1fbe}\\u{1fc2}-\\u{1fc4}\\u{1fc6}-\\u{1fcc}\\u{1fd0}-\\u{1fd3}" \
    "\\u{1fd6}-\\u{1fdb}\\u{1fe0}-\\u{1fec}\\u{1ff2}-\\u{1ff4}\\u{1ff6}-\\u{1ffc}" \
    "\\u{2102}\\u{2107}\\u{210a}-\\u{2113}\\u{2115}\\u{2119}-\\u{211d}\\u{2124}\\u{2126}" \
    "\\u{2128}\\u{212a}-\\u{212d}\\u{212f}-\\u{2134}\\u{2139}\\u{213c}-\\u{213f}" \
    "\\u{2145}-\\u{2149}\\u{214e}\\u{2183}\\u{2184}\\u{2c00}-\\u{2c7b}\\u{2c7e}-\\u{2ce4}" \
    "\\u{2ceb}-\\u{2cee}\\u{2cf2}\\u{2cf3}\\u{a640}-\\u{a66d}\\u{a680}-\\u{a69b}" \
    "\\u{a722}-\\u{a76f}\\u{a771}-\\u{a787}\\u{a78b}-\\u{a78e}\\u{ab70}-\\u{abbf}" \
    "\\u{fb00}-\\u{fb06}\\u{fb13}-\\u{fb17}\\u{ff21}-\\u{ff3a}\\u{ff41}-\\u{ff5a}" \
    "\\u{10400}-\\u{1044f}\\u{104b0}-\\u{104d3}\\u{104d8}-\\u{104fb}\\u{10c80}-\\u{10cb2}" \
    "\\u{10cc0}-\\u{10cf2}\\u{118a0}-\\u{118df}\\u{1e900}-\\u{1e943}"

#define ASCII_SIGNS "[!-/:-@\\[-`{-\\~]"
#define KANJI_KANA  "[\\u{4e00}-\\u{9fa5}\\u{3040}-\\u{309f}\\u{30a0}-\\u{30ff}]+"
#define DEEPSEEK3(newlines)                                                                  \
    ASCII_SIGNS "[A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+" newlines

#define HAN "\\u{3400}-\\u{4dbf}\\u{4e00}-\\u{9fff}\\u{f900}-\\u{faff}\\u{20000}-\\u{2a6df}\\u{2a700}-\\u{2b73f}" \
    "\\u{2b740}-\\u{2b81f}\\u{2b820}-\\u{2ceaf}\\u{2ceb0}-\\u{2ebef}\\u{2f800}-\\u{2fa1f}"

#define NOT_ENDS " ?[^(\\s|.,!?\\u{2026}\\u{3002}\\u{ff0c}\\u{3001}\\u{964}\\u{6d4}\\u{60c})]+"

/* How a text is split; several names may mean one way. */
typedef enum split {
    SPLIT_GPT2, SPLIT_DIGITS_GPT2, SPLIT_LLAMA3, SPLIT_QWEN2, SPLIT_QWEN35, SPLIT_MINICPM5,
    SPLIT_BAILING, SPLIT_SEED_CODER, SPLIT_UFAKZEKA, SPLIT_LAGUNA, SPLIT_KIMI_K2, SPLIT_GPT4O, SPLIT_TEKKEN,
    SPLIT_YOUTU, SPLIT_DEEPSEEK_LLM, SPLIT_DEEPSEEK_CODER, SPLIT_DEEPSEEK3, SPLIT_SPARK, SPLIT_FALCON,
    SPLIT_DEFAULT, SPLIT_BLOOM, SPLIT_VIKING, SPLIT_CHAMELEON, SPLIT_LINES, N_SPLITS
} split;

static const char *const splits[N_SPLITS][SLM__MAX_STAGES] = {
    [SPLIT_GPT2] = {GPT2},
    [SPLIT_DIGITS_GPT2] = {"\\p{N}", GPT2},
    [SPLIT_LLAMA3] = {LLAMA3("\\p{N}{1,3}")},
    [SPLIT_QWEN2] = {LLAMA3("\\p{N}")},
    [SPLIT_QWEN35] = {ANY_CASE "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}"
                      "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES},
    [SPLIT_MINICPM5] = {"\\p{N}{1,3}", LLAMA3("\\p{N}+")},
    [SPLIT_BAILING] = {ANY_CASE "|" WORD "|\\p{N}|" SIGNS "|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"},
    [SPLIT_SEED_CODER] = {ANY_CASE "|" WORD "|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" SPACES},
    [SPLIT_UFAKZEKA] = {WORD "|\\p{N}|" SIGNS "|" SPACES},
    [SPLIT_LAGUNA] = {"[^\\n]+|[\\n]+", LLAMA3("\\p{N}")},
    [SPLIT_KIMI_K2] = {"[" HAN "]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}~" HAN "]+" TAIL "|\\p{N}{1,3}|" SIGNS "|" SPACES},
    [SPLIT_GPT4O] = {GPT4O(TAIL, "\\p{N}{1,3}")},
    [SPLIT_TEKKEN] = {GPT4O("", "\\p{N}")},
    [SPLIT_YOUTU] = {"[\\u{ac00}-\\u{d7a3}\\u{3131}-\\u{318e}]+"
                     "|[\\u{ff01}\\u{2026}\\u{201c}\\u{201d}\\u{2018}\\u{2019}\\u{2014}\\u{ff1a}\\u{ff1b}\\u{ff0c}"
                     "\\u{3001}-\\u{303f}\\u{fe30}-\\u{fe4f}]+|[\\u{3105}-\\u{312f}]+|" KANJI_KANA,
                     GPT4O(TAIL, "\\p{N}")},
    [SPLIT_DEEPSEEK_LLM] = {"[\\r\\n]", "\\s?[" CASED_LETTERS "]+",
                            "\\s?[!-/:-\\~\\u{ff01}-\\u{ff0f}\\u{ff1a}-\\u{ff5e}\\u{2018}-\\u{201f}\\u{3001}-\\u{3002}]+",
                            "\\s+$", "[\\u{800}-\\u{9fa5}\\u{ac00}-\\u{d7ff}]+", "\\p{N}+"},
    [SPLIT_DEEPSEEK_CODER] = {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+",
                              "[\\u{800}-\\u{9fa5}\\u{ac00}-\\u{d7ff}]+", "\\p{N}"},
    [SPLIT_DEEPSEEK3] = {"\\p{N}{1,3}", KANJI_KANA, DEEPSEEK3("[\\r\\n]*|" SPACES)},
    [SPLIT_SPARK] = {"\\p{N}{1,3}", KANJI_KANA, DEEPSEEK3("|[\\r\\n]|\\s+(?!\\S)|\\s+"), "\\p{N}"},
    [SPLIT_FALCON] = {"[\\p{P}$+<=>^\\~|`]+", GPT2, "[0-9][0-9][0-9]"},
    [SPLIT_DEFAULT] = {"[\\p{P}$+<=>^\\~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"},
    [SPLIT_BLOOM] = {NOT_ENDS},
    [SPLIT_VIKING] = {NOT_ENDS, "\\p{N}"},
    [SPLIT_CHAMELEON] = {"<sentinel:[0-9]+>", "IMGIMG[A-I]{1,4}Z", "[\\t\\n]|    |  ", "\\p{N}",
                         "[\\p{P}!-/:-@\\[-`{-\\~]", GPT2},
    [SPLIT_LINES] = {"[^\\n]+|[\\n]+"},
};

/* Names as files have them. */
static const slm__pretok rows[] = {
    {"gpt-2", SPLIT_GPT2, 0},
    {"phi-2", SPLIT_GPT2, 0},
    {"olmo", SPLIT_GPT2, 0},
    {"mpt", SPLIT_GPT2, 0},
    {"jais", SPLIT_GPT2, 0},
    {"trillion", SPLIT_GPT2, 0},
    {"granite-docling", SPLIT_GPT2, 0},
    {"exaone4", SPLIT_GPT2, 0},
    {"mellum", SPLIT_GPT2, 0},
    {"gigachat", SPLIT_GPT2, 0},
    {"a.x-4.0", SPLIT_GPT2, 0},
    {"smollm", SPLIT_DIGITS_GPT2, 0},
    {"starcoder", SPLIT_DIGITS_GPT2, 0},
    {"refact", SPLIT_DIGITS_GPT2, 0},
    {"command-r", SPLIT_DIGITS_GPT2, 0},
    {"codeshell", SPLIT_DIGITS_GPT2, 0},
    {"exaone", SPLIT_DIGITS_GPT2, 0},
    {"minerva-7b", SPLIT_DIGITS_GPT2, 0},
    {"mellum2", SPLIT_DIGITS_GPT2, 0},
    {"llama-bpe", SPLIT_LLAMA3, PRETOK_WHOLE_WORDS | PRETOK_ADD_BOS},
    {"llama3", SPLIT_LLAMA3, PRETOK_WHOLE_WORDS | PRETOK_ADD_BOS},
    {"llama-v3", SPLIT_LLAMA3, PRETOK_WHOLE_WORDS | PRETOK_ADD_BOS},
    {"falcon3", SPLIT_LLAMA3, PRETOK_WHOLE_WORDS | PRETOK_ADD_BOS},
    {"falcon-h1", SPLIT_LLAMA3, PRETOK_WHOLE_WORDS | PRETOK_ADD_BOS},
    {"pixtral", SPLIT_LLAMA3, PRETOK_WHOLE_WORDS | PRETOK_ADD_BOS},
    {"midm-2.0", SPLIT_LLAMA3, PRETOK_WHOLE_WORDS | PRETOK_ADD_BOS},
    {"lfm2", SPLIT_LLAMA3, PRETOK_WHOLE_WORDS | PRETOK_ADD_BOS},
    {"smaug-bpe", SPLIT_LLAMA3, 0},
    {"dbrx", SPLIT_LLAMA3, 0},
    {"chatglm-bpe", SPLIT_LLAMA3, 0},
    {"glm4", SPLIT_LLAMA3, PRETOK_WHOLE_WORDS},
    {"glm5", SPLIT_LLAMA3, PRETOK_WHOLE_WORDS},
    {"qwen2", SPLIT_QWEN2, 0},
    {"deepseek-r1-qwen", SPLIT_QWEN2, 0},
    {"kormo", SPLIT_QWEN2, 0},
    {"megrez", SPLIT_QWEN2, 0},
    {"stablelm2", SPLIT_QWEN2, 0},
    {"hunyuan", SPLIT_QWEN2, 0},
    {"solar-open", SPLIT_QWEN2, 0},
    {"grok-2", SPLIT_QWEN2, 0},
    {"qwen35", SPLIT_QWEN35, 0},
    {"minicpm5", SPLIT_MINICPM5, PRETOK_WHOLE_WORDS},
    {"bailingmoe", SPLIT_BAILING, 0},
    {"bailingmoe2", SPLIT_BAILING, 0},
    {"llada-moe", SPLIT_BAILING, 0},
    {"seed-coder", SPLIT_SEED_CODER, 0},
    {"ufakzeka", SPLIT_UFAKZEKA, 0},
    {"laguna", SPLIT_LAGUNA, 0},
    {"kimi-k2", SPLIT_KIMI_K2, 0},
    {"gpt-4o", SPLIT_GPT4O, 0},
    {"llama4", SPLIT_GPT4O, 0},
    {"kanana2", SPLIT_GPT4O, 0},
    {"talkie", SPLIT_GPT4O, 0},
    {"minimax-m2", SPLIT_GPT4O, 0},
    {"tekken", SPLIT_TEKKEN, PRETOK_WHOLE_WORDS | PRETOK_ADD_BOS},
    {"youtu", SPLIT_YOUTU, PRETOK_WHOLE_WORDS},
    {"deepseek-llm", SPLIT_DEEPSEEK_LLM, 0},
    {"deepseek-coder", SPLIT_DEEPSEEK_CODER, 0},
    {"deepseek-v3", SPLIT_DEEPSEEK3, 0},
    {"hunyuan-dense", SPLIT_DEEPSEEK3, 0},
    {"hy_v4", SPLIT_DEEPSEEK3, 0},
    {"joyai-llm", SPLIT_DEEPSEEK3, 0},
    {"spark2_5", SPLIT_SPARK, 0},
    {"falcon", SPLIT_FALCON, 0},
    {"default", SPLIT_DEFAULT, 0},
    {"bloom", SPLIT_BLOOM, 0},
    {"gpt3-finnish", SPLIT_BLOOM, 0},
    {"poro-chat", SPLIT_BLOOM, 0},
    {"viking", SPLIT_VIKING, 0},
    {"chameleon", SPLIT_CHAMELEON, PRETOK_ADD_BOS},
    {"gemma4", SPLIT_LINES, PRETOK_CHARACTERS | PRETOK_WHOLE_NEWLINES | PRETOK_ADD_BOS},
    {"sarvam-moe", SPLIT_LINES, PRETOK_CHARACTERS},
};
/* clang-format on */

const slm__pretok *slm__pretok_find(slm__str name) {
    for (size_t i = 0; i < SLM_COUNT(rows); i++) {
        if (slm__str_eq(name, rows[i].name)) return &rows[i];
    }
    return NULL;
}

const slm__pretok *slm__pretok_row(size_t i) { return i < SLM_COUNT(rows) ? &rows[i] : NULL; }

void slm__pretok_names(char *out, size_t capacity) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < SLM_COUNT(rows) && used < capacity; i++) {
        int n = snprintf(out + used, capacity - used, "%s%s", i ? ", " : "", rows[i].name);
        used += (size_t)(n > 0 ? n : 0);
    }
}

slm_status slm__splitter_make(slm__splitter *s, const slm__pretok *row,
                              const slm_allocator *allocator, slm_error *err) {
    const char *const *sources = splits[row->split];
    int n = 0;
    while (n < SLM__MAX_STAGES && sources[n]) n++;
    s->stages = slm__alloc_array(allocator, (uint64_t)n, sizeof *s->stages);
    if (!s->stages)
        return slm__fail(err, SLM_ERR_NOMEM, "no memory for pre-tokenizer %s", row->name);
    for (; s->n_stages < n; s->n_stages++) {
        if (!slm__pattern_compile(&s->stages[s->n_stages], sources[s->n_stages]))
            return slm__fail(err, SLM_ERR_UNSUPPORTED, "pre-tokenizer %s: step %d is no pattern",
                             row->name, s->n_stages);
    }
    return SLM_OK;
}

void slm__splitter_free(slm__splitter *s, const slm_allocator *allocator) {
    slm__free(allocator, s->stages);
    *s = (slm__splitter){0};
}

/* Pieces lie in each other: a stage goes on where its piece has ended, inside the piece of the stage before. */
size_t slm__splitter_next(const slm__splitter *s, slm__pieces *pieces, const uint8_t *text,
                          size_t n, size_t at) {
    int stage = 0;
    while (stage < s->n_stages - 1 && pieces->end[stage] > at) stage++;
    for (; stage < s->n_stages; stage++) {
        size_t limit = stage > 0 ? pieces->end[stage - 1] : n;
        pieces->end[stage] = slm__pattern_next(&s->stages[stage], text, limit, at);
    }
    return pieces->end[s->n_stages - 1];
}
