/* What the parts of the sampler share.
 *
 *     sampler.c          parameters, the chain, a token
 *     sampler_row.c      the row where it lies: blocks, their highest logits and sums; lists of the best
 *     sampler_steps.c    a function for each step
 *     sampler_history.c  the tokens that came, what penalties and DRY make of them
 *     sampler_bans.c     tokens that must not come
 */
#ifndef SLM_SAMPLER_H
#define SLM_SAMPLER_H

#include "../kernels/kernels.h"
#include "base.h"
#include "strings.h"

/* ---- A token with its logit, as one number ---- */

/* Rising: falling logit, then rising id. The upper half is the logit's bits, turned so that they order as the numbers do. */
typedef uint64_t slm__choice;

static inline slm__choice slm__choice_of(float logit, slm_token id) {
    uint32_t u;
    logit += 0.0f; /* -0 is 0 */
    memcpy(&u, &logit, sizeof u);
    u = u >> 31 ? u : ~u & 0x7fffffff;
    return (uint64_t)u << 32 | (uint32_t)id;
}

static inline float slm__logit_of(slm__choice c) {
    uint32_t u = (uint32_t)(c >> 32);
    float logit;
    u = u >> 31 ? u : ~u & 0x7fffffff;
    memcpy(&logit, &u, sizeof logit);
    return logit;
}

static inline slm_token slm__id_of(slm__choice c) { return (slm_token)(c & 0xffffffff); }

/* ---- The row ---- */

enum { SLM_ROW_BLOCK = 256, SLM_ROW_WORDS = SLM_ROW_BLOCK / 64 };

/* A logit that is not the one of the row. */
typedef struct slm__edit {
    slm_token id;
    float logit;
} slm__edit;

/* What is to be done to a token's logit: added, or whatever the step makes of it. */
typedef struct slm__change {
    slm_token id;
    float amount;
} slm__change;

/*
 * The tokens that are left, and their probabilities exp((logit - max) / temperature) / (the sum of them).
 *
 * As long as they are most of the row they are not listed: they are the row's logits, but for `edits`, those that `mask` has and that are
 * at least `floor`. Later they are a list. The row is worked on in blocks of 256; where a block has no edits and all of its tokens may
 * come, it is read where it lies.
 */
typedef struct slm__set {
    const slm_allocator *allocator;
    const slm_kernels *kernels; /* the highest level: all have the same bits */

    const float *row;
    int32_t n_vocab, n_blocks;
    bool masked, scanned;
    uint64_t *mask;    /* [n_blocks * SLM_ROW_WORDS] */
    float *max_of;     /* [n_blocks] the highest logit; of what is masked -infinity */
    double *sum_of;    /* [n_blocks] of weights, by slm__row_sums()          */
    int32_t *edits_of; /* [n_blocks + 1] the first edit of a block           */
    int32_t n_edits, max_edits;
    slm__edit *edits, *old_edits; /* [max_edits] by rising id                */
    float max, floor;

    bool listed;
    int32_t n;         /* of the list */
    slm__choice *list; /* [max_list] rising: the best first */
    slm__choice *other;
    float *weights; /* [max_list] by slm__list_weights() */
    int32_t max_list, max_blocks;

    float temperature;
} slm__set;

/* Memory for rows of so many logits, but for lists; it is otherwise taken when such a row comes. NOMEM. */
slm_status slm__set_hold(slm__set *s, int32_t n_vocab, slm_error *err);

/* The whole row, with the temperature 1. NOMEM. */
slm_status slm__set_begin(slm__set *s, const float *row, int32_t n_vocab, slm_error *err);
void slm__set_free(slm__set *s);

/* Let logit = change(logit, amount) for the tokens of `changes` [n], by rising id, at the current temperature. What is finite
 * stays so. NUMERIC, NOMEM. */
typedef double (*slm__change_fn)(const void *user, double logit, double amount);
slm_status slm__set_change(slm__set *s, const slm__change *changes, int32_t n,
                           slm__change_fn change, const void *user, slm_error *err);

/* Begin a mask of ones; take a token out. The row must be scanned again. */
void slm__row_mask(slm__set *s);
void slm__row_forbid(slm__set *s, slm_token token);

/* The highest logits, unless they are known; every logit is looked at. -infinity is a token that must not come; NaN and +infinity
 * are faults. NUMERIC. */
slm_status slm__row_scan(slm__set *s, slm_error *err);

/* Sums over what is left, in the same order everywhere. */
typedef struct slm__sums {
    double weights;
    double gaps;            /* of weight * (max - logit) / temperature                   */
    double logits, squares; /* of max - logit, and its square                   */
    int64_t n;              /* tokens                                                   */
} slm__sums;

double slm__row_weights(slm__set *s);    /* for slm__row_pick(), too  */
slm__sums slm__row_entropy(slm__set *s); /* weights, gaps, n          */
slm__sums slm__row_moments(slm__set *s); /* logits, squares, n        */

/* The token at which the sum of the weights by rising id exceeds `at`, which is less than slm__row_weights() returned; *weight is its own. */
slm_token slm__row_pick(slm__set *s, double at, float *weight);
slm_token slm__row_first(slm__set *s, float logit);

/* A logit that at least k of the row have, the k-th highest at most; -infinity if blocks are too few to tell. NOMEM. */
slm_status slm__row_rank(slm__set *s, int32_t k, float *logit, slm_error *err);

/* A logit below which the weights sum up to `rest` at most, and not to much less. */
float slm__row_reach(const slm__set *s, double rest);

/* List the k best, or all of at least `threshold`. `listed` is left to the caller. NOMEM. */
slm_status slm__row_best(slm__set *s, int32_t k, slm_error *err);
slm_status slm__row_above(slm__set *s, float threshold, slm_error *err);

/* The weights of the list, relative to its first. Their sum, by rising index. */
double slm__list_weights(slm__set *s);

/* ln x of a normal x > 0. */
double slm__ln(double x);

/* ---- What came ---- */

typedef struct slm__history {
    int32_t max, n;    /* the last n of at most `max` tokens, at the end of `tokens`        */
    int32_t end;       /* of them                                                           */
    slm_token *tokens; /* [2 * max] */
    uint8_t *breaks;   /* [2 * max] a DRY breaker ends in the token                         */
    int32_t n_recent, max_recent;
    slm_token *recent; /* [max_recent] the last of them, sorted, a token as often as it came */
    slm__strings breakers;
    int32_t breaker_state;
    int32_t max_dry;
    int32_t *lengths;        /* [max_dry] */
    uint64_t *pairs, *other; /* [max_dry] token, length */
    slm__change *changes;    /* [max of max_recent and max_dry] */
} slm__history;

slm_status slm__history_create(slm__history *h, const slm_sampler_params *p, slm_error *err);
void slm__history_free(slm__history *h, const slm_allocator *a);
void slm__history_add(slm__history *h, const slm_model *model, slm_token token);
void slm__history_reset(slm__history *h);

/* What the steps add to the logits; in h->changes. */
int32_t slm__history_counts(slm__history *h);
int32_t slm__history_dry(slm__history *h, const slm_sampler_params *p);

/* ---- What must not come ---- */

typedef struct slm__bans {
    int32_t n_tokens, n_eog;
    slm_token *tokens; /* [n_tokens] with a bias of -infinity */
    slm_token *eog;    /* [n_eog] ends of a generation, if there is a min_tokens */
    slm__strings strings;
    int32_t state; /* of the text so far */
    int32_t n_vocab;
    uint64_t *whole;  /* [n_vocab / 64] bits of tokens with a whole banned string in them      */
    uint64_t *marked; /* [n_vocab / 64] scratch: the tokens that are found                     */
    uint64_t *sorted; /* [n_vocab] tokens by their first four bytes, which are the upper half  */
    /* Tokens that complete a string in a state: ids, found when the state is first met; all forgotten when they are too many. */
    slm_token **completing; /* [nodes of strings] */
    int32_t *n_completing;  /* [nodes of strings] */
    int64_t n_kept;
} slm__bans;

slm_status slm__bans_create(slm__bans *b, const slm_sampler_params *p, slm_error *err);
void slm__bans_free(slm__bans *b, const slm_allocator *a);
void slm__bans_add(slm__bans *b, const slm_model *model, slm_token token);

/* Take them out of the set, and what `allowed` does not have. NOMEM. */
slm_status slm__bans_apply(slm__bans *b, const slm_model *model, slm__set *s,
                           const uint64_t *allowed, bool may_end, slm_error *err);

/* The bytes of a text token; false: it gives no text. */
bool slm__token_text(const slm_model *model, slm_token token, slm__str *text);

/* ---- The sampler ---- */

enum { SLM_MAX_STEPS = 16 };

typedef struct slm__step slm__step;

struct slm_sampler {
    slm_sampler_params p;
    const slm__step *chain[SLM_MAX_STEPS]; /* [n_steps] those that are on, in their order */
    int32_t n_steps;
    bool greedy;
    uint64_t random;
    double mu; /* of mirostat */
    int64_t n_sampled;
    int32_t n_biases;
    slm__change *biases; /* [n_biases] by rising token, each once, finite */
    const uint64_t *allowed;
    int32_t n_allowed;
    slm_matcher *matcher; /* or NULL: gives `allowed` anew for each row */
    slm__history history;
    slm__bans bans;
    slm__set set;
};

/* What a call may change, until it is sure to succeed. */
typedef struct slm__draw {
    uint64_t random;
    double mu;
} slm__draw;

typedef enum slm__step_kind {
    SLM_EDITS,  /* changes the logits of some tokens: also before greedy choices and mirostat */
    SLM_FILTER, /* drops tokens */
    SLM_TEMPERS /* also before mirostat */
} slm__step_kind;

struct slm__step {
    const char *name, *alias; /* alias: as llama.cpp has it, or NULL */
    slm__step_kind kind;
    bool (*is_on)(const slm_sampler_params *p);
    slm_status (*apply)(slm_sampler *s, slm__draw *d, slm_error *err);
};

/* In the default order; the last has no name. */
extern const slm__step slm__steps[];

/* Mirostat's cut, and the temperature, which it applies itself. */
slm_status slm__mirostat(slm_sampler *s, const slm__draw *d, slm_error *err);

/* From 0 to below 1. */
double slm__uniform(slm__draw *d);

#endif
