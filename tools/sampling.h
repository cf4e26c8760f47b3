/* The options that say how tokens are chosen and where the text ends, for every subcommand that writes text. */
#ifndef TOOLS_SAMPLING_H
#define TOOLS_SAMPLING_H

#include "options.h"

typedef struct sampling_options {
    slm_sampler_params params;         /* numbers; what is text is below, until sampling_create() */
    int32_t repeat_last_n, dry_last_n; /* as on the command line: -1 is as many as can be */
    float top_n_sigma;
    text_list biases, bans, breakers, stops;
    const char *grammar, *schema; /* files */
} sampling_options;

#define SAMPLING_AT(type, member) offsetof(type, sampling.member)

/* Rows for a struct `type` with a member `sampling`. */
/* clang-format off */
#define SAMPLING_OPTIONS(type)                                                                     \
    {"--temp", "F", OPT_FLOAT, SAMPLING_AT(type, params.temperature), 0, 3.4e38,                    \
     "temperature; 0: always the most probable token (default 0.8)"},                              \
    {"--dynatemp-range", "F", OPT_FLOAT, SAMPLING_AT(type, params.dynatemp_range), 0, 3.4e38,       \
     "let it move by so much to both sides, with the entropy; 0: off (default 0)"},                 \
    {"--dynatemp-exp", "F", OPT_FLOAT, SAMPLING_AT(type, params.dynatemp_exponent), 0, 100,         \
     "to the power of this (default 1)"},                                                          \
    {"--top-k", "N", OPT_INT, SAMPLING_AT(type, params.top_k), 0, INT32_MAX,                        \
     "choose among the N most probable tokens; 0: all (default 40)"},                              \
    {"--top-p", "F", OPT_FLOAT, SAMPLING_AT(type, params.top_p), 0, 1,                              \
     "among the fewest that have this probability together; 1: all (default 0.95)"},               \
    {"--min-p", "F", OPT_FLOAT, SAMPLING_AT(type, params.min_p), 0, 1,                              \
     "among those with this share of the highest probability; 0: all (default 0.05)"},             \
    {"--typical", "F", OPT_FLOAT, SAMPLING_AT(type, params.typical_p), 0, 1,                        \
     "among the most typical that have this probability together; 1: all (default 1)"},            \
    {"--top-nsigma", "F", OPT_FLOAT, SAMPLING_AT(type, top_n_sigma), -1, 3.4e38,                    \
     "among those within F standard deviations of the highest logit; -1 or 0: all (default -1)"},  \
    {"--xtc-probability", "F", OPT_FLOAT, SAMPLING_AT(type, params.xtc_probability), 0, 1,          \
     "so often drop all but the least of the tokens above --xtc-threshold; 0: never (default 0)"}, \
    {"--xtc-threshold", "F", OPT_FLOAT, SAMPLING_AT(type, params.xtc_threshold), 0, 1,              \
     "probability above which that may happen (default 0.1)"},                                     \
    {"--mirostat", "N", OPT_INT, SAMPLING_AT(type, params.mirostat), 0, 2,                          \
     "2: keep surprise even, in place of the filters above; 0: off (default 0)"},                   \
    {"--mirostat-ent", "F", OPT_FLOAT, SAMPLING_AT(type, params.mirostat_tau), 0, 1e6,              \
     "near so many bits (default 5)"},                                                             \
    {"--mirostat-lr", "F", OPT_FLOAT, SAMPLING_AT(type, params.mirostat_eta), 0, 1e6,               \
     "and learn so fast (default 0.1)"},                                                           \
    {"--repeat-penalty", "F", OPT_FLOAT, SAMPLING_AT(type, params.repeat_penalty), 1e-6, 1e6,       \
     "make the last tokens less probable; 1: off (default 1)"},                                    \
    {"--repeat-last-n", "N", OPT_INT, SAMPLING_AT(type, repeat_last_n), -1, 65536,                  \
     "how many tokens the penalties look back on; -1: 65536 (default 64)"},                        \
    {"--presence-penalty", "F", OPT_FLOAT, SAMPLING_AT(type, params.presence_penalty), -3.4e38, 3.4e38, \
     "taken off the logits of those tokens; 0: off (default 0)"},                                  \
    {"--frequency-penalty", "F", OPT_FLOAT, SAMPLING_AT(type, params.frequency_penalty), -3.4e38, 3.4e38, \
     "the same, for each time that they came (default 0)"},                                        \
    {"--dry-multiplier", "F", OPT_FLOAT, SAMPLING_AT(type, params.dry_multiplier), 0, 3.4e38,       \
     "penalty (DRY) on tokens that prolong a repetition; 0: off (default 0)"},                     \
    {"--dry-base", "F", OPT_FLOAT, SAMPLING_AT(type, params.dry_base), 1, 3.4e38,                   \
     "times this for each token of it (default 1.75)"},                                            \
    {"--dry-allowed-length", "N", OPT_INT, SAMPLING_AT(type, params.dry_allowed_length), 1, 65536,  \
     "beyond so many (default 2)"},                                                                \
    {"--dry-penalty-last-n", "N", OPT_INT, SAMPLING_AT(type, dry_last_n), -1, 65536,                \
     "how many tokens DRY looks back on; -1: 65536 (default -1)"},                                 \
    {"--dry-sequence-breaker", "TEXT", OPT_TEXTS, SAMPLING_AT(type, breakers), 0, 0,                \
     "repetitions end at TEXT; may be given several times, 'none': at nothing (default: \\n : \" *)"}, \
    {"--logit-bias", "TOKEN(+|-)F", OPT_TEXTS, SAMPLING_AT(type, biases), 0, 0,                     \
     "add F to the logit of this id; -inf: never; may be given several times"},                    \
    {"--ban", "TEXT", OPT_TEXTS, SAMPLING_AT(type, bans), 0, 0,                                     \
     "never write TEXT; may be given several times"},                                              \
    {"--stop", "TEXT", OPT_TEXTS, SAMPLING_AT(type, stops), 0, 0,                                   \
     "end before TEXT; may be given several times"},                                               \
    {"--grammar", "FILE", OPT_TEXT, SAMPLING_AT(type, grammar), 0, 0,                               \
     "write what this GBNF grammar allows (docs/structured-output.md)"},                          \
    {"--schema", "FILE", OPT_TEXT, SAMPLING_AT(type, schema), 0, 0,                                 \
     "write JSON that fits this JSON Schema (docs/json-schema.md)"},                               \
    {"--min-tokens", "N", OPT_INT, SAMPLING_AT(type, params.min_tokens), 0, INT32_MAX,              \
     "do not end before N tokens (default 0)"},                                                    \
    {"--samplers", "ORDER", OPT_TEXT, SAMPLING_AT(type, params.order), 0, 0,                        \
     "which steps, in which order, names with ; between them (see docs/sampling.md)"},             \
    {"--seed", "N", OPT_U64, SAMPLING_AT(type, params.seed), 0, 0,                                  \
     "same seed, same text, on every machine (default: from the clock)"}
/* clang-format on */

/* What the help says without options; a seed from the clock. */
sampling_options sampling_defaults(void);

/* PARSED, or EXIT_USAGE after a message: values that the table of options cannot tell. */
int sampling_check(const command *c, const sampling_options *o);

/* What chooses tokens and ends texts. */
typedef struct chooser {
    slm_sampler *sampler;
    slm_stops *stops; /* or NULL */
    slm_grammar *grammar;
    slm_constraint *constraint;
    slm_matcher *matcher; /* or NULL; the sampler's */
} chooser;

/* Of a model. EXIT_DONE, or the code to exit with after a message; chooser_free() in both cases. */
int chooser_create(const slm_model *model, const sampling_options *o, chooser *out);

/* For another text: its grammar begins anew, the tokens that came are remembered. */
void chooser_reset(chooser *c);
void chooser_free(chooser *c);

#endif
