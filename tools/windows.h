/* A text longer than what a model looks back on, cut into windows that are computed each for itself (docs/perplexity.md has the
 * definitions), several of them together. */
#ifndef TOOLS_WINDOWS_H
#define TOOLS_WINDOWS_H

#include "load.h"

enum { SHORTEST_WINDOW = 4 };

/* Window i holds text[i * step ...], behind a begin-of-sequence token if the vocabulary asks for one: n_bos + text.n positions are
 * all that there is. */
typedef struct windows {
    const char *name; /* of the text, for messages */
    uint32_t flags;   /* SLM_TOKENIZE_SPECIAL or 0 */
    char *bytes;      /* [n_bytes] of it */
    size_t n_bytes;
    token_list text;
    slm_token bos;
    size_t n_bos; /* 0 or 1 */
    size_t n, size, step;
    bool halves; /* the second half of each is scored; else each token once */
} windows;

/* For those who let a text be read with its special tokens; `type` has a bool parse_special. */
/* clang-format off */
#define PARSE_SPECIAL_OPTION(type)                                                                \
    {"--parse-special", NULL, OPT_FLAG, offsetof(type, parse_special), 0, 0,                      \
     "read the text of special tokens (<|im_end|>) as those tokens, not as text"}
/* clang-format on */

/* The text in the file ("-": standard input) less one last newline, and its tokens, with SLM_TOKENIZE_SPECIAL or without. EXIT_DONE, or the
 * code to exit with after a message; windows_free() in any case. */
int windows_read(windows *w, const slm_model *model, const char *path, bool parse_special);

/* The tokens of `bytes` by `flags`, and whether the vocabulary wants one before them: text, bos and n_bos, whatever was there before. */
slm_status windows_tokenize(windows *w, const slm_model *model, slm_error *err);

/* Into windows of `size` tokens, the second half of each scored, or, with a stride, `stride` apart, each token scored once. */
int windows_cut(windows *w, size_t size, size_t stride, const slm_model *model);

void windows_free(windows *w);

size_t window_length(const windows *w, size_t i);
slm_token window_token(const windows *w, size_t i, size_t position);
size_t windows_scored(const windows *w);

/* ---- What is computed at a time: a piece of a group of windows, a sequence each ---- */

typedef enum walk_kind {
    WALK_SCORED, /* with rows of logits for all that is scored; all else only as far as they need it */
    WALK_WHOLE, /* every token, and no logits                                                       */
    WALK_ROWS, /* every token, with a row of logits                                                */
} walk_kind;

/* A row of logits predicts one token. */
typedef struct window_row {
    slm_token token;  /* SLM_TOKEN_NONE behind the last one of a window */
    int32_t position; /* of the token in its window */
} window_row;

typedef struct window_walk {
    const windows *windows;
    walk_kind kind;
    size_t n_group;               /* windows computed together */
    int32_t max_rows, max_tokens; /* of a piece */
    /* The piece: */
    bool fresh;         /* the first one of a group: the context is to be empty               */
    slm_token *tokens;  /* [n_tokens] */
    int32_t *sequences; /* [n_tokens] */
    uint8_t *wanted;    /* [n_tokens] */
    window_row *rows;   /* [n_rows]   */
    int32_t n_tokens, n_rows;
    size_t n_total, n_done;  /* tokens of all pieces, and of those before this one               */
    size_t window, position; /* what comes next */
} window_walk;

/* What is held at a time. */
typedef struct walk_limits {
    size_t logits_bytes; /* rows of logits, but for one row at least                     */
    size_t n_tokens;     /* computed together: as many windows as fit, and of one a part */
} walk_limits;

/* A walk through all windows; `params` gets the sizes of a context for it. EXIT_DONE, or EXIT_FAILED after a message; walk_free() in
 * any case. */
int walk_begin(window_walk *walk, walk_kind kind, const windows *w, const slm_model *model,
               walk_limits limits, slm_context_params *params);

/* The next piece; false: there is none. */
bool walk_next(window_walk *walk);

/* Compute it: row i of the logits then predicts rows[i].token. */
slm_status walk_decode(const window_walk *walk, slm_context *ctx, slm_error *err);

/* Of all work, when `done` of this piece is: 0 .. 1. */
float walk_progress(const window_walk *walk, float done);

void walk_free(window_walk *walk);

#endif
