/* Speculation: several tokens a step, and exactly those of plain decoding (Leviathan et al. 2023, arXiv:2211.17192, have the
 * idea; here the logits have the same bits in every batch, so tokens are compared and not distributions).
 *
 *     text    t t t t t t t | d d d d            n_text tokens, then the drafts, in one array
 *     held    <------->                          what the KV cache has of them
 *     batch             t t   d d d d            one slm_decode()
 *     wanted              *   * * * *            row 0 follows the text, row i follows draft i
 *
 * The sampler chooses from row 0, 1, ... in order, so it sees what it would see without drafts. A chosen token takes the place of
 * the draft; at the first that is another one the rest of the batch is worthless and goes from the cache.
 *
 * Drafts are what followed the last tokens when they appeared before ("prompt lookup", Saxena 2023), or come greedily from a
 * smaller model. How many pay is decided by the share of them that was right so far, measured for every length of
 * the match by itself: a token after one equal token is right rarely, after eight nearly always. A lookup costs nothing,
 * so it goes on to be measured when it does not pay, and is on again as soon as it would. No clock is asked: the same text
 * takes the same steps on every machine. */
#include "context.h"
#include "sampler.h"

#include <math.h>

enum { MAX_DRAFT = 64, MAX_MATCH = 16 };

/* What a draft adds to a step, in steps without drafts. Measured with 4-bit weights on AVX2, one and two threads, 1 to 8 drafts: 0.3 to
 * 0.4. The weights are read once for all, but unpacking and multiplying cost each token. */
static const float DRAFT_COST = 0.4f;

/* Steps must promise this many times the tokens of plain ones for the same time, or nothing is drafted: estimates are noisy. */
static const float MIN_GAIN = 1.05f;

/* Share of drafts that was right: a running average with this weight of a new observation. */
static const float RATE = 1.0f / 12;

/* What it begins with: after a match of n tokens n / (n + 2.5), which fits answers and files within 0.1; of a draft model. */
static const float HALF_MATCH = 2.5f, FIRST_OF_MODEL = 0.75f;

/* A draft model is not asked while it does not pay; confidence grows by this each step, until it gets another try. */
static const float FORGIVE = 1.0f / 512;

struct slm_speculator {
    slm_speculator_params p;
    slm_context *ctx;
    int32_t max_text; /* positions of the context and one: the last token is not in the cache yet */
    int32_t max_draft; /* in a step */
    slm_token *text;   /* [max_text + max_draft] n_text tokens, then drafts */
    int32_t n_text;
    int32_t *sequences;         /* [max_text + max_draft] p.sequence, for batches  */
    uint8_t *wants;             /* [max_text] 0, then [max_draft + 1] 1            */
    slm_sampler *greedy;        /* of the draft model; NULL: there is none         */
    float model_cost;           /* of a token that it drafts, in steps of the big one */
    float model_right;          /* share of its drafts that was right              */
    float right[MAX_MATCH + 1]; /* the same of what followed a match of so many tokens */
    bool unsettled;             /* the caches may hold drafts               */
    atomic_bool busy;
    int64_t n_steps, n_drafted, n_accepted;
};

/* ---- Creating ---- */

slm_speculator_params slm_speculator_defaults(void) {
    return (slm_speculator_params){.size = sizeof(slm_speculator_params),
                                   .n_draft = 8,
                                   .n_match_min = 1,
                                   .n_match_max = 8,
                                   .draft_cost = DRAFT_COST};
}

/* Drafts are tokens of the one model and checked by the other: ids must mean the same. */
static slm_status check_vocabulary(const slm_model *a, const slm_model *b, slm_error *err) {
    if (a == b) return SLM_OK;
    if (a->hp.n_vocab != b->hp.n_vocab)
        return slm__fail(err, SLM_ERR_MISMATCH, "the draft model has %u tokens, the other %u",
                         b->hp.n_vocab, a->hp.n_vocab);
    for (slm_token t = 0; (uint32_t)t < a->hp.n_vocab; t++) {
        slm__str x = {"", 0}, y = {"", 0};
        uint32_t attributes;
        slm_status in_a = slm__vocab_token(a->vocab, t, &x, &attributes);
        slm_status in_b = slm__vocab_token(b->vocab, t, &y, &attributes);
        if (in_a != in_b || x.len != y.len || memcmp(x.ptr, y.ptr, x.len) != 0)
            return slm__fail(err, SLM_ERR_MISMATCH,
                             "token %d is \"%s\", but \"%s\" in the draft model", t,
                             slm__show(x).text, slm__show(y).text);
    }
    SLM_TRY(slm__guard_check(a->gguf.guard, SLM_OK, err));
    return slm__guard_check(b->gguf.guard, SLM_OK, err);
}

static slm_status check_params(const slm_context *ctx, const slm_speculator_params *p,
                               slm_error *err) {
    SLM_TRY(slm__check_allocator(&p->allocator, err));
    SLM_TRY(slm__check_range("sequence", p->sequence, 0, ctx->params.n_seq_max - 1, err));
    SLM_TRY(slm__check_range("n_draft", p->n_draft, 0, MAX_DRAFT, err));
    SLM_TRY(slm__check_range("n_match_max", p->n_match_max, 0, MAX_MATCH, err));
    if (p->n_match_max > 0)
        SLM_TRY(slm__check_range("n_match_min", p->n_match_min, 1, p->n_match_max, err));
    if (!(p->draft_cost > 0) || !isfinite(p->draft_cost))
        return slm__fail(err, SLM_ERR_RANGE, "draft_cost is %g, expected more than 0",
                         (double)p->draft_cost);
    if (!p->draft) return SLM_OK;
    SLM_TRY(slm__check_range("sequence (of the draft model)", p->sequence, 0,
                             p->draft->params.n_seq_max - 1, err));
    if (p->draft == ctx)
        return slm__fail(err, SLM_ERR_ARGUMENT, "the draft model needs a context of its own");
    return check_vocabulary(ctx->model, p->draft->model, err);
}

static int32_t min(int32_t a, int32_t b) { return a < b ? a : b; }

/* Multiplications of a token, to compare models. */
static float work_of(const slm_model *m) {
    return (float)m->layer_weights + (float)m->hp.n_vocab * (float)m->hp.n_embd;
}

static slm_status fill(slm_speculator *s, slm_error *err) {
    const slm_allocator *a = &s->p.allocator;
    const slm_context_params *c = &s->ctx->params;
    s->max_text = c->n_ctx + 1;
    s->max_draft = min(s->p.n_draft, min(c->n_logits, c->n_batch) - 1);
    int32_t n = s->max_text + s->max_draft;
    s->text = slm__alloc_array(a, (uint64_t)n, sizeof *s->text);
    s->sequences = slm__alloc_array(a, (uint64_t)n, sizeof *s->sequences);
    s->wants = slm__alloc(a, (uint64_t)n + 1);
    if (!s->text || !s->sequences || !s->wants)
        return slm__fail(err, SLM_ERR_NOMEM, "no memory for the text of a speculator (%d tokens)",
                         n);
    if (s->p.sequence != 0)
        for (int32_t i = 0; i < n; i++) s->sequences[i] = s->p.sequence;
    memset(s->wants + s->max_text, 1, (size_t)s->max_draft + 1);
    for (int i = 0; i <= MAX_MATCH; i++) s->right[i] = (float)i / ((float)i + HALF_MATCH);
    if (!s->p.draft) return SLM_OK;
    s->model_right = FIRST_OF_MODEL;
    s->model_cost = work_of(s->p.draft->model) / work_of(s->ctx->model);
    slm_sampler_params greedy = slm_sampler_defaults();
    greedy.allocator = *a;
    SLM_TRY(slm_sampler_create(&greedy, &s->greedy, err));
    return slm__set_hold(&s->greedy->set, (int32_t)s->p.draft->model->hp.n_vocab, err);
}

slm_status slm_speculator_create(slm_context *ctx, const slm_speculator_params *params,
                                 slm_speculator **out, slm_error *err) {
    slm__clear(err);
    if (!out) return slm__fail(err, SLM_ERR_ARGUMENT, "out is NULL");
    *out = NULL;
    if (!ctx) return slm__fail(err, SLM_ERR_ARGUMENT, "context is NULL");
    if (params && params->size != sizeof *params)
        return slm__fail(err, SLM_ERR_ARGUMENT, "params->size is %zu, expected %zu", params->size,
                         sizeof *params);
    slm_speculator_params p = params ? *params : slm_speculator_defaults();
    SLM_TRY(check_params(ctx, &p, err));
    slm_speculator *s = slm__alloc(&p.allocator, sizeof *s);
    if (!s) return slm__fail(err, SLM_ERR_NOMEM, "no memory for a speculator");
    s->p = p;
    s->ctx = ctx;
    slm_status status = fill(s, err);
    if (status != SLM_OK) {
        slm_speculator_free(s);
        return status;
    }
    *out = s;
    return SLM_OK;
}

void slm_speculator_free(slm_speculator *s) {
    if (!s) return;
    slm_allocator a = s->p.allocator; /* the speculator that holds it goes too */
    slm_sampler_free(s->greedy);
    slm__free(&a, s->text);
    slm__free(&a, s->sequences);
    slm__free(&a, s->wants);
    slm__free(&a, s);
}

/* ---- The caches and the text ---- */

/* The sequence keeps at most the first `length` tokens; none, where its layers with a window have given back what comes before: the text
 * is computed again then. */
static slm_status shorten(slm_context *ctx, int32_t sequence, int32_t length, slm_error *err) {
    if (!ctx || slm_seq_length(ctx, sequence) <= length) return SLM_OK;
    slm_status status = slm_seq_truncate(ctx, sequence, length, err);
    return status == SLM_ERR_RANGE ? slm_seq_truncate(ctx, sequence, 0, err) : status;
}

/* Only text is left in the caches, and not its last token: its logits are wanted again. */
static slm_status settle(slm_speculator *s, slm_error *err) {
    int32_t length = s->n_text > 0 ? s->n_text - 1 : 0;
    SLM_TRY(shorten(s->ctx, s->p.sequence, length, err));
    SLM_TRY(shorten(s->p.draft, s->p.sequence, length, err));
    s->unsettled = false;
    return SLM_OK;
}

static slm_status leave(slm_speculator *s, slm_status status) {
    atomic_store(&s->busy, false);
    return status;
}

static slm_status enter(slm_speculator *s, slm_error *err) {
    slm__clear(err);
    if (!s) return slm__fail(err, SLM_ERR_ARGUMENT, "speculator is NULL");
    if (atomic_exchange(&s->busy, true))
        return slm__fail(err, SLM_ERR_BUSY, "the speculator is at work in another thread");
    slm_status status = s->unsettled ? settle(s, err) : SLM_OK;
    return status == SLM_OK ? SLM_OK : leave(s, status);
}

static slm_status accept(slm_speculator *s, const slm_token *tokens, int32_t n, slm_error *err) {
    int32_t n_vocab = (int32_t)s->ctx->model->hp.n_vocab;
    if (!tokens && n > 0) return slm__fail(err, SLM_ERR_ARGUMENT, "tokens is NULL");
    if (n < 0) return slm__fail(err, SLM_ERR_RANGE, "%d tokens", n);
    if (n > s->max_text - s->n_text)
        return slm__fail(err, SLM_ERR_CONTEXT_FULL, "%d tokens more than the %d of %d", n,
                         s->n_text, s->max_text - 1);
    for (int32_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= n_vocab)
            return slm__fail(err, SLM_ERR_RANGE, "token %d is %d, the vocabulary has %d", i,
                             tokens[i], n_vocab);
    if (n > 0) memcpy(s->text + s->n_text, tokens, (size_t)n * sizeof *tokens);
    s->n_text += n;
    return SLM_OK;
}

slm_status slm_speculator_accept(slm_speculator *s, const slm_token *tokens, int32_t n_tokens,
                                 slm_error *err) {
    SLM_TRY(enter(s, err));
    return leave(s, accept(s, tokens, n_tokens, err));
}

static slm_status truncate_text(slm_speculator *s, int32_t length, slm_error *err) {
    if (length < 0 || length > s->n_text)
        return slm__fail(err, SLM_ERR_RANGE, "the text has %d tokens, not %d", s->n_text, length);
    SLM_TRY(shorten(s->ctx, s->p.sequence, length, err));
    SLM_TRY(shorten(s->p.draft, s->p.sequence, length, err));
    s->n_text = length;
    return SLM_OK;
}

slm_status slm_speculator_truncate(slm_speculator *s, int32_t length, slm_error *err) {
    SLM_TRY(enter(s, err));
    return leave(s, truncate_text(s, length, err));
}

/* Of a sequence that holds the beginning of the text. */
static slm_status remove_from(slm_context *ctx, int32_t sequence, int32_t begin, int32_t end,
                              slm_error *err) {
    if (!ctx || slm_seq_length(ctx, sequence) <= begin) return SLM_OK;
    if (slm_seq_length(ctx, sequence) <= end) return slm_seq_truncate(ctx, sequence, begin, err);
    return slm_seq_remove(ctx, sequence, begin, end, err);
}

static slm_status remove_text(slm_speculator *s, int32_t begin, int32_t end, slm_error *err) {
    if (begin < 0 || end < begin || end > s->n_text)
        return slm__fail(err, SLM_ERR_RANGE, "tokens %d to %d (not included) of %d", begin, end,
                         s->n_text);
    /* the draft first: it may always read the text again */
    if (remove_from(s->p.draft, s->p.sequence, begin, end, NULL) != SLM_OK)
        SLM_TRY(slm_seq_truncate(s->p.draft, s->p.sequence, 0, err));
    slm_status status = remove_from(s->ctx, s->p.sequence, begin, end, err);
    if (status != SLM_OK) {
        if (s->p.draft) slm_seq_truncate(s->p.draft, s->p.sequence, 0, NULL);
        return status;
    }
    memmove(s->text + begin, s->text + end, (size_t)(s->n_text - end) * sizeof *s->text);
    s->n_text -= end - begin;
    return SLM_OK;
}

slm_status slm_speculator_remove(slm_speculator *s, int32_t begin, int32_t end, slm_error *err) {
    SLM_TRY(enter(s, err));
    return leave(s, remove_text(s, begin, end, err));
}

/* ---- Drafts ---- */

typedef enum draft_source { BY_MATCH, BY_MODEL, BY_GRAMMAR } draft_source;

typedef struct drafts {
    int32_t n; /* behind the text */
    draft_source source;
    int32_t n_match; /* tokens before the end of the text that came before; 0: none         */
    slm_token guess; /* what followed them then, whether it was drafted or not               */
} drafts;

static bool ends_generation(const slm_speculator *s, slm_token token) {
    uint32_t attributes = 0;
    slm_token_get(s->ctx->model, token, NULL, NULL, &attributes);
    return attributes & SLM_TOKEN_EOG;
}

/* The longest earlier match of the text's last tokens, of equal ones the latest; *after is where it was followed. A plain walk: 100,000
 * tokens take a fifth of a millisecond, and a token of such a text hundreds of them. */
static int32_t find_match(const slm_speculator *s, int32_t *after) {
    const slm_token *last = s->text + s->n_text - 1;
    int32_t best = 0, most = s->p.n_match_max;
    for (int32_t i = s->n_text - 2; i >= 0 && best < most; i--) {
        if (s->text[i] != *last) continue;
        int32_t n = 1, max = min(most, i + 1);
        while (n < max && s->text[i - n] == last[-n]) n++;
        if (n <= best) continue;
        best = n;
        *after = i + 1;
    }
    return best >= s->p.n_match_min ? best : 0;
}

/* How many drafts, of at most `limit`, give the most tokens for their time; *gain is how many times those of plain steps,
 * MIN_GAIN if none pay. Draft i is right with probability p[i], or that of the last of n_p, if those before it were. */
static int32_t best_number(const float *p, int32_t n_p, int32_t limit, float cost, float *gain) {
    int32_t best = 0;
    float chance = 1, tokens = 1;
    *gain = MIN_GAIN;
    for (int32_t i = 0; i < limit; i++) {
        chance *= p[min(i, n_p - 1)];
        tokens += chance;
        float now = tokens / (1 + cost * (float)(i + 1));
        if (now <= *gain) continue;
        *gain = now;
        best = i + 1;
    }
    return best;
}

/* What followed the match, over the drafts themselves where it reaches the end: a text that repeats itself goes on so. */
static void draft_by_match(slm_speculator *s, int32_t after, int32_t n, drafts *d) {
    slm_token *draft = s->text + s->n_text;
    for (d->n = 0; d->n < n;) {
        draft[d->n] = s->text[after + d->n];
        if (ends_generation(s, draft[d->n++])) break;
    }
}

/* The draft model's most probable tokens. Where it cannot go on there are fewer, and that is no error. */
static slm_status draft_by_model(slm_speculator *s, int32_t n, drafts *d, slm_error *err) {
    slm_context *ctx = s->p.draft;
    slm_token *draft = s->text + s->n_text;
    d->source = BY_MODEL;
    SLM_TRY(shorten(ctx, s->p.sequence, s->n_text - 1, err));
    for (d->n = 0; d->n < n;) {
        int32_t held = slm_seq_length(ctx, s->p.sequence);
        slm_batch batch = {.size = sizeof batch,
                           .n_tokens = s->n_text + d->n - held,
                           .tokens = s->text + held,
                           .sequences = s->sequences};
        slm_status status = slm_decode(ctx, &batch, err);
        if (status == SLM_ERR_CANCELLED || status == SLM_ERR_BUSY) return status;
        if (status == SLM_OK)
            status = slm_sampler_sample(s->greedy, slm_logits(ctx, 0),
                                        (int32_t)ctx->model->hp.n_vocab, &draft[d->n], err);
        if (status != SLM_OK || ends_generation(s, draft[d->n++])) break;
    }
    if (d->n == 0)
        s->model_right = 0; /* its context is full, or it knows no numbers: not soon again */
    return SLM_OK;
}

/* What must come, if a grammar says so; false if it does not. Nothing is learnt from it. */
static bool draft_by_grammar(slm_speculator *s, slm_matcher *matcher, int32_t limit, drafts *d) {
    size_t n = 0;
    if (!matcher || limit <= 0) return false; /* no room: below 0 when the context is full */
    slm_status status =
        slm_matcher_forced_tokens(matcher, s->text + s->n_text, (size_t)limit, &n, NULL);
    if (status != SLM_OK || n == 0) return false;
    *d = (drafts){.n = (int32_t)n, .source = BY_GRAMMAR};
    return true;
}

/* At most `limit` drafts, by what promises more. */
static slm_status make_drafts(slm_speculator *s, slm_matcher *matcher, int32_t limit, drafts *d,
                              slm_error *err) {
    if (draft_by_grammar(s, matcher, limit, d)) return SLM_OK;
    int32_t after = 0, longest = s->p.n_match_max, n = 0, n_model = 0;
    float gain = MIN_GAIN, gain_model = MIN_GAIN;
    *d = (drafts){.n_match = find_match(s, &after)};
    if (d->n_match > 0) {
        d->guess = s->text[after];
        n = best_number(s->right + d->n_match, longest - d->n_match + 1, limit, s->p.draft_cost,
                        &gain);
    }
    if (s->greedy)
        n_model =
            best_number(&s->model_right, 1, limit, s->p.draft_cost + s->model_cost, &gain_model);
    if (s->p.always) {
        n = d->n_match > 0 ? limit : 0;
        n_model = s->greedy ? limit : 0;
    }
    if (n_model > 0 && (n == 0 || gain_model > gain)) return draft_by_model(s, n_model, d, err);
    if (n > 0) draft_by_match(s, after, n, d);
    s->model_right += (1 - s->model_right) * FORGIVE;
    return SLM_OK;
}

/* ---- A step ---- */

/* Learn from the token that came: was draft `row` right, and was the match, if it was not asked. */
static void learn(slm_speculator *s, const drafts *d, int32_t row, slm_token token) {
    const slm_token draft = s->text[s->n_text];
    int32_t n_match = min(d->n_match + row, s->p.n_match_max);
    if (row < d->n && d->source == BY_MODEL)
        s->model_right += ((token == draft ? 1.0f : 0.0f) - s->model_right) * RATE;
    if (d->n_match > 0 && (row == 0 || (row < d->n && d->source == BY_MATCH))) {
        bool right = token == (row == 0 ? d->guess : draft);
        s->right[n_match] += ((right ? 1.0f : 0.0f) - s->right[n_match]) * RATE;
    }
}

/* The text that the sequence does not hold, and the drafts: fewer, if there is no room for them. NUMERIC is left to those who want
 * the row. */
static slm_status decode(slm_speculator *s, drafts *d, slm_error *err) {
    int32_t held = slm_seq_length(s->ctx, s->p.sequence), n_new = s->n_text - held;
    for (;; d->n /= 2) {
        slm_batch batch = {.size = sizeof batch,
                           .n_tokens = n_new + d->n,
                           .tokens = s->text + held,
                           .sequences = s->sequences,
                           .want_logits = s->wants + s->max_text - (n_new - 1)};
        slm_status status = slm_decode(s->ctx, &batch, err);
        if (status != SLM_ERR_CONTEXT_FULL || d->n == 0) return status;
    }
}

/* Sample row by row, as long as drafts were right. `decoded`: OK, or NUMERIC if some row is bad. */
static slm_status sample(slm_speculator *s, const drafts *d, slm_sampler *sampler,
                         slm_status decoded, slm_token *out, int32_t *n_out, slm_error *err) {
    int32_t n_vocab = (int32_t)s->ctx->model->hp.n_vocab;
    for (int32_t row = 0; row <= d->n; row++) {
        slm_token token;
        const float *logits = slm_logits(s->ctx, row);
        if (decoded != SLM_OK && !slm__all_finite(logits, n_vocab)) return decoded;
        SLM_TRY(slm_sampler_sample(sampler, logits, n_vocab, &token, err));
        learn(s, d, row, token);
        bool right = row < d->n && s->text[s->n_text] == token;
        s->n_accepted += right;
        s->text[s->n_text++] = token;
        out[(*n_out)++] = token;
        if (!right || ends_generation(s, token)) break;
    }
    return SLM_OK;
}

static slm_status step(slm_speculator *s, slm_sampler *sampler, slm_token *out, int32_t capacity,
                       int32_t *n_out, slm_error *err) {
    if (!sampler || !out)
        return slm__fail(err, SLM_ERR_ARGUMENT, "%s is NULL", sampler ? "out" : "sampler");
    SLM_TRY(slm__check_range("capacity", capacity, 1, INT32_MAX, err));
    int32_t held = slm_seq_length(s->ctx, s->p.sequence);
    if (s->n_text == 0 || held > s->n_text)
        return slm__fail(err, SLM_ERR_RANGE, "sequence %d holds %d tokens, the text has %d",
                         s->p.sequence, held, s->n_text);
    SLM_TRY(shorten(s->ctx, s->p.sequence, s->n_text - 1, err));
    int32_t limit = min(min(s->max_draft, capacity - 1), s->max_text - 1 - s->n_text);
    drafts d;
    s->unsettled = true;
    SLM_TRY(make_drafts(s, sampler->matcher, limit, &d, err));
    slm_status status = decode(s, &d, err);
    if (status == SLM_OK || status == SLM_ERR_NUMERIC)
        status = sample(s, &d, sampler, status, out, n_out, err);
    if (*n_out == 0) return status;
    s->n_steps++;
    s->n_drafted += d.n;
    return SLM_OK; /* a fault behind the first row comes again, when its turn is */
}

slm_status slm_speculate(slm_speculator *s, slm_sampler *sampler, slm_token *out, int32_t capacity,
                         int32_t *n_out, slm_error *err) {
    slm__clear(err);
    if (!n_out) return slm__fail(err, SLM_ERR_ARGUMENT, "n_out is NULL");
    *n_out = 0;
    SLM_TRY(enter(s, err));
    slm_status status = step(s, sampler, out, capacity, n_out, err);
    if (s->unsettled) settle(s, NULL); /* if it fails, the next call tries again and says so */
    if (status == SLM_OK) slm__clear(err);
    return leave(s, status);
}

slm_status slm_speculator_get_info(const slm_speculator *s, slm_speculator_info *info) {
    if (!s || !info || info->size != sizeof *info) return SLM_ERR_ARGUMENT;
    *info = (slm_speculator_info){.size = sizeof *info,
                                  .n_draft = s->max_draft,
                                  .n_tokens = s->n_text,
                                  .n_steps = s->n_steps,
                                  .n_drafted = s->n_drafted,
                                  .n_accepted = s->n_accepted};
    return SLM_OK;
}
