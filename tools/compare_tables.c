#include "compare_tables.h"

#include <math.h>
#include <string.h>

/* ---- Columns ---- */

#define COLUMN(name, of_reference, of_candidate)                                               \
    static figure show_##name(const comparison *c, const subject *about, const candidate *k) { \
        (void)c, (void)about;                                                                  \
        return k ? (of_candidate) : (of_reference);                                            \
    }
#define NONE ((figure){UNKNOWN})

static estimate less_one(estimate e) { return (estimate){e.value - 1, e.error}; }

static double ratio_of(uint64_t a, uint64_t b) { return a && b ? (double)a / (double)b : NAN; }

COLUMN(file, figure_bytes(about->file_bytes), figure_bytes(about->file_bytes))
COLUMN(share, about->file_bytes ? figure_percent(1, 0) : NONE,
       figure_percent(ratio_of(about->file_bytes, c->reference.file_bytes), 1))
COLUMN(bits, figure_positive(about->bits_per_weight, 3), figure_positive(about->bits_per_weight, 3))
COLUMN(weights, about->n_params ? figure_count(about->n_params) : NONE,
       about->n_params ? figure_count(about->n_params) : NONE)
COLUMN(tensors, figure_bytes(about->tensor_bytes), figure_bytes(about->tensor_bytes))

COLUMN(kl, NONE, figure_estimate(k->kl.mean, 1, false, ""))
COLUMN(median, NONE, figure_digits(k->kl.median, 3))
COLUMN(p90, NONE, figure_digits(k->kl.p90, 3))
COLUMN(p99, NONE, figure_digits(k->kl.p99, 3))
COLUMN(p999, NONE, figure_digits(k->kl.p999, 3))
COLUMN(max, NONE, figure_digits(k->kl.max, 3))
COLUMN(agreement, NONE, figure_estimate(k->agreement, 100, false, "%"))
COLUMN(perplexity, figure_estimate(about->perplexity, 1, false, ""),
       figure_estimate(about->perplexity, 1, false, ""))
COLUMN(ratio, NONE, figure_estimate(less_one(k->ppl_ratio), 100, true, "%"))
COLUMN(dp_mean, NONE, figure_estimate(k->dp_mean, 100, true, "%"))
COLUMN(dp_rms, NONE, figure_estimate(k->dp_rms, 100, false, "%"))

static figure positive_share(double share) {
    return share > 0 ? figure_percent(share, 0) : (figure){UNKNOWN};
}

COLUMN(prefill, figure_positive(about->prefill, 3), figure_positive(about->prefill, 3))
COLUMN(prefill_share, positive_share(about->prefill_share), positive_share(about->prefill_share))
COLUMN(decode, figure_positive(about->decode, 3), figure_positive(about->decode, 3))
COLUMN(decode_share, positive_share(about->decode_share), positive_share(about->decode_share))
COLUMN(load, figure_seconds(about->load_seconds), figure_seconds(about->load_seconds))
COLUMN(memory, figure_bytes(about->memory_bytes), figure_bytes(about->memory_bytes))

static double bar_size(const candidate *k) { return (double)k->about.file_bytes; }
static double bar_prefill(const candidate *k) { return k->about.prefill; }
static double bar_decode(const candidate *k) { return k->about.decode; }

static const column size_columns[] = {
    {"file size", show_file, bar_size},   {"of reference", show_share, NULL},
    {"bits per weight", show_bits, NULL}, {"weights", show_weights, NULL},
    {"tensors", show_tensors, NULL},
};

static const column kl_columns[] = {
    {"mean", show_kl, NULL}, {"median", show_median, NULL}, {"90%", show_p90, NULL},
    {"99%", show_p99, NULL}, {"99.9%", show_p999, NULL},    {"max", show_max, NULL},
};

static const column choice_columns[] = {
    {"same first choice", show_agreement, NULL},
    {"perplexity", show_perplexity, NULL},
    {"perplexity change", show_ratio, NULL},
    {"change of p", show_dp_mean, NULL},
    {"its RMS", show_dp_rms, NULL},
};

static const column speed_columns[] = {
    {"prefill, tokens/s", show_prefill, bar_prefill},
    {"of limit", show_prefill_share, NULL},
    {"decode, tokens/s", show_decode, bar_decode},
    {"of limit", show_decode_share, NULL},
    {"load", show_load, NULL},
    {"memory", show_memory, NULL},
};

#define COLUMNS(c) (c), sizeof(c) / sizeof *(c)

const table comparison_tables[N_TABLES] = {
    {"KL divergence",
     "How far probabilities are from the reference's, in nats per token; 0 is the same.",
     COLUMNS(kl_columns)},
    {"First choices and perplexity",
     "Beside the reference, position by position, in percent or percentage points.",
     COLUMNS(choice_columns)},
    {"Size", "MB and GB are powers of ten. Bits per weight are of all tensors, not of the type.",
     COLUMNS(size_columns)},
    {"Speed and memory",
     "Of limit: of what the machine multiplies (prefill) or reads from memory (decode) at best. "
     "Memory is that beside the file.",
     COLUMNS(speed_columns)},
};

/* ---- Groups ---- */

const kl_group *candidate_groups(const candidate *k, bool kinds) {
    return kinds ? k->kinds : k->positions;
}

int32_t comparison_groups(const comparison *c, bool kinds, int32_t shown[MAX_GROUPS]) {
    int32_t n = 0, n_groups = kinds ? c->n_kinds : c->n_positions;
    for (int32_t g = 0; g < n_groups && g < MAX_GROUPS; g++) {
        bool any = false;
        for (int32_t i = 0; i < c->n_candidates; i++)
            any |= candidate_groups(&c->candidates[i], kinds)[g].n > 0;
        if (any) shown[n++] = g;
    }
    return n;
}

/* ---- The claim ---- */

static const double z95 = 1.959964; /* standard errors, for 95% */

static kept_share exactly(double value) { return (kept_share){{value, 0}, value, value}; }

static kept_share measured(double value, double error) {
    return (kept_share){{value, error}, value - z95 * error, value + z95 * error};
}

static kept_share kept_size(const comparison *c, const candidate *k) {
    return exactly(1 - ratio_of(k->about.file_bytes, c->reference.file_bytes));
}

/* The interval is Wilson's (1927, JASA 22:209), which is one also where all or none are the same. */
static kept_share kept_choices(const comparison *c, const candidate *k) {
    double n = (double)c->n_scored, p = k->agreement.value;
    double middle = (p + z95 * z95 / 2 / n) / (1 + z95 * z95 / n);
    double margin = z95 * sqrt(p * (1 - p) / n + z95 * z95 / 4 / n / n) / (1 + z95 * z95 / n);
    return (kept_share){k->agreement, middle - margin, middle + margin};
}

static kept_share kept_perplexity(const comparison *c, const candidate *k) {
    (void)c;
    double ratio = k->ppl_ratio.value;
    return measured(ratio > 0 ? 1 / ratio : NAN, k->ppl_ratio.error / (ratio * ratio));
}

/* Right answers of all tasks, of those of the reference. The error is that of the intervals of the paired differences, which is not 0
 * where all answers are alike. */
static kept_share kept_answers(const comparison *c, const candidate *k) {
    double reference = 0, difference = 0, variance = 0;
    for (int32_t t = 0; t < c->n_tasks; t++) {
        double n = (double)c->task_sizes[t];
        const task_figures *f = &k->about.tasks[t];
        double error = (f->high - f->low) / (2 * z95);
        reference += n * c->reference.tasks[t].accuracy.value;
        difference += n * f->difference.value;
        variance += n * error * n * error;
    }
    if (!(reference > 0)) return measured(NAN, NAN);
    return measured(1 + difference / reference, sqrt(variance) / reference);
}

/* Beside a reference of 32 bits everything is small: what "75% smaller" means is 4 bits instead of 16. */
static kept_share kept_of_16(const comparison *c, const candidate *k) {
    (void)c;
    double bits = k->about.bits_per_weight;
    return exactly(bits > 0 ? 1 - bits / 16 : NAN);
}

static bool always(const comparison *c) {
    (void)c;
    return true;
}

static bool has_tasks(const comparison *c) { return c->n_tasks > 0; }

static bool has_wide_reference(const comparison *c) { return c->reference.bits_per_weight > 16.5; }

const claim claims[N_CLAIMS] = {
    {"smaller", 0.75, kept_size, always},
    {"than 16 bits", 0.75, kept_of_16, has_wide_reference},
    {"same first choices", 0.95, kept_choices, always},
    {"perplexity kept", 0.95, kept_perplexity, always},
    {"right answers kept", 0.95, kept_answers, has_tasks},
};

figure claim_figure(kept_share kept) {
    return kept.shown.error == 0 ? figure_percent(kept.shown.value, 1)
                                 : figure_estimate(kept.shown, 100, false, "%");
}

const char *const verdict_names[] = {"", "yes", "no", "not clear"};

verdict claim_verdict(const claim *asked, kept_share kept) {
    if (!isfinite(kept.shown.value)) return VERDICT_UNKNOWN;
    if (kept.low >= asked->demanded) return VERDICT_YES;
    return kept.high < asked->demanded ? VERDICT_NO : VERDICT_OPEN; /* NaN is neither */
}

/* By the name of the type, which is what users say: tensors that could not get it make a file of "4 bits" one of 5 or 6. */
bool is_four_bits(const subject *s) {
    if (strstr(s->type, "Q4") || strstr(s->type, "FP4")) return true;
    return !strcmp(s->type, "mixed") && s->bits_per_weight >= 4 && s->bits_per_weight < 5;
}

/* Is `a` the better answer? */
static bool answers_better(const candidate *a, const candidate *b) {
    bool four = is_four_bits(&a->about);
    if (four != is_four_bits(&b->about)) return four;
    if (!four) return a->about.file_bytes < b->about.file_bytes;
    return isnan(b->kl.mean.value) ? !isnan(a->kl.mean.value) : a->kl.mean.value < b->kl.mean.value;
}

const candidate *claim_candidate(const comparison *c) {
    const candidate *best = NULL;
    for (int32_t i = 0; i < c->n_candidates; i++)
        if (!best || answers_better(&c->candidates[i], best)) best = &c->candidates[i];
    return best;
}

answer claim_answer(const comparison *c, const candidate *k) {
    answer a = {.tasks = {""}, .halved = {""}};
    double saved = kept_size(c, k).shown.value;
    a.size = figure_percent(fabs(saved), 1);
    if (isfinite(saved)) strcat(a.size.s, saved < 0 ? " larger" : " smaller");
    if (has_wide_reference(c)) a.halved = claim_figure(kept_of_16(c, k));
    a.choice = figure_estimate(k->agreement, 100, false, "%");
    a.ratio = show_ratio(c, &k->about, k);
    a.any = isfinite(saved) || isfinite(k->agreement.value) || isfinite(k->ppl_ratio.value);
    estimate tasks = kept_answers(c, k).shown;
    if (isfinite(tasks.value)) a.tasks = figure_estimate(tasks, 100, false, "%");
    return a;
}

/* ---- Definitions ---- */

const definition definitions[N_DEFINITIONS] = {
    {"Scored position", "a position of the text where both models predict the next token."},
    {"KL divergence", "of the candidate from the reference at a position: the sum over the "
                      "vocabulary of p_ref (ln p_ref \xe2\x88\x92 ln p), in nats. 0 if all "
                      "probabilities are the same. 90%, 99%, 99.9%: so many positions have less."},
    {"Same first choice",
     "share of scored positions where both find the same token most probable."},
    {"Perplexity", "exp of the mean of \xe2\x88\x92ln p(next token)."},
    {"Perplexity change", "perplexity divided by the reference's, less 1. Its error is of the "
                          "paired differences, and so far smaller than that of either perplexity."},
    {"Change of p", "probability of the token that comes next in the text, less what the reference "
                    "gives it: mean and root of the mean square, in percentage points."},
    {"Than 16 bits",
     "smaller than 16 bits per weight would be; asked where the reference has more."},
    {"Perplexity kept", "the reference's perplexity divided by the candidate's."},
    {"Right answers kept", "right answers in all tasks, divided by the reference's. Its error is "
                           "that of the intervals of the differences."},
    {"\xc2\xb1",
     "one standard error, as if positions were drawn independently: a lower bound. "
     "\xe2\x80\x9cNot clear\xe2\x80\x9d: the demanded share is within 1.96 of them (for first "
     "choices: in Wilson's interval of 95%), or they are not known."},
    {"Bits per weight", "bytes of all tensors times 8, divided by the number of weights."},
    {"Error of a layer", "|h \xe2\x88\x92 h_ref| / |h_ref| of the state behind the layer: the root "
                         "of the mean of its square, over all positions. Layers count from 0, as "
                         "the tensors of a file do."},
    {"Tasks",
     "the answer that a model finds most probable per byte is its choice. Intervals are 95%, of "
     "the paired "
     "difference to the reference: questions that both get right, or wrong, do not widen them."},
    {"Prefill, decode",
     "tokens per second of a prompt, and of an answer, token by token. The limit of prefill is the "
     "machine's rate of 8-bit multiplications, that of decode its rate of reading memory."},
    {"Memory", "of a context of the compared size, beside the file itself, which is mapped."},
};
