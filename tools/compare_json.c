/* The comparison as one JSON object: every figure of comparison.h under its own name, null where it is unknown. An estimate is
 * {"value", "error"}. */
#include <math.h>

#include "comparison.h"
#include "text.h"

/* 0 is unknown. */
static void named_positive(json *j, const char *name, double value) {
    json_named_double(j, name, value > 0 ? value : NAN);
}

static void named_estimate(json *j, const char *name, estimate e) {
    json_named_open(j, name, '{');
    json_named_double(j, "value", e.value);
    json_named_double(j, "error", e.error);
    json_close(j, '}');
}

/* ---- A model ---- */

static void write_tasks(json *j, const comparison *c, const subject *s) {
    json_named_open(j, "tasks", '[');
    for (int32_t t = 0; t < c->n_tasks; t++) {
        const task_figures *f = &s->tasks[t];
        json_open(j, '{');
        json_named_text(j, "name", c->task_names[t]);
        json_named_u64(j, "n_right", f->n_right);
        named_estimate(j, "accuracy", f->accuracy);
        named_estimate(j, "difference", f->difference);
        json_named_double(j, "low", f->low);
        json_named_double(j, "high", f->high);
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void write_subject(json *j, const comparison *c, const subject *s) {
    json_named_text(j, "path", s->path);
    json_named_text(j, "type", s->type);
    json_named_u64(j, "file_bytes", s->file_bytes);
    json_named_u64(j, "n_params", s->n_params);
    json_named_u64(j, "tensor_bytes", s->tensor_bytes);
    named_positive(j, "bits_per_weight", s->bits_per_weight);
    json_named_double(j, "load_seconds", s->load_seconds);
    json_named_u64(j, "memory_bytes", s->memory_bytes);
    named_positive(j, "prefill", s->prefill);
    json_named_double(j, "prefill_share", s->prefill_share);
    named_positive(j, "decode", s->decode);
    json_named_double(j, "decode_share", s->decode_share);
    named_estimate(j, "perplexity", s->perplexity);
    write_tasks(j, c, s);
}

/* ---- A candidate ---- */

static void write_kl(json *j, const kl_figures *kl) {
    json_named_open(j, "kl", '{');
    named_estimate(j, "mean", kl->mean);
    json_named_double(j, "median", kl->median);
    json_named_double(j, "p90", kl->p90);
    json_named_double(j, "p99", kl->p99);
    json_named_double(j, "p999", kl->p999);
    json_named_double(j, "max", kl->max);
    json_close(j, '}');
}

static void write_groups(json *j, const char *name, const kl_group *groups, int32_t n) {
    json_named_open(j, name, '[');
    for (int32_t i = 0; i < n; i++) {
        bool any = groups[i].n > 0;
        json_open(j, '{');
        json_named_text(j, "label", groups[i].label);
        json_named_u64(j, "n", groups[i].n);
        json_named_double(j, "kl", any ? groups[i].kl : NAN);
        json_named_double(j, "agreement", any ? groups[i].agreement : NAN);
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void write_departures(json *j, const departure *d, int32_t n) {
    json_named_open(j, "departures", '[');
    for (int32_t i = 0; i < n; i++) {
        json_open(j, '{');
        json_named_text(j, "prompt", d[i].prompt);
        json_named_text(j, "shared", d[i].shared);
        json_named_text(j, "reference", d[i].reference);
        json_named_text(j, "candidate", d[i].candidate);
        json_named_int(j, "n_shared", d[i].n_shared);
        json_named_int(j, "n_tokens", d[i].n_tokens);
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void write_layers(json *j, const double *error, int32_t n) {
    json_name(j, "layer_error");
    if (!error) {
        json_text(j, NULL);
        return;
    }
    json_open(j, '[');
    for (int32_t i = 0; i < n; i++) json_double(j, error[i]);
    json_close(j, ']');
}

static void write_candidate(json *j, const comparison *c, const candidate *k) {
    json_open(j, '{');
    write_subject(j, c, &k->about);
    write_kl(j, &k->kl);
    named_estimate(j, "dp_mean", k->dp_mean);
    named_estimate(j, "dp_rms", k->dp_rms);
    named_estimate(j, "agreement", k->agreement);
    named_estimate(j, "ppl_ratio", k->ppl_ratio);
    write_groups(j, "positions", k->positions, c->n_positions);
    write_groups(j, "kinds", k->kinds, c->n_kinds);
    write_layers(j, k->layer_error, c->n_layer);
    write_departures(j, k->departures, c->n_departures);
    json_close(j, '}');
}

/* ---- All ---- */

static void write_run(json *j, const comparison *c) {
    json_named_text(j, "program", c->program);
    json_named_text(j, "date", c->date);
    json_named_text(j, "machine", c->machine);
    json_named_text(j, "command", c->command);
    json_named_text(j, "text", c->text);
    json_named_u64(j, "n_tokens", c->n_tokens);
    json_named_u64(j, "n_windows", c->n_windows);
    json_named_u64(j, "window", c->window);
    json_named_u64(j, "n_scored", c->n_scored);
    json_named_int(j, "n_threads", c->n_threads);
    json_named_int(j, "n_layer", c->n_layer);
    named_positive(j, "read_bandwidth", c->read_bandwidth);
    named_positive(j, "int8_ops", c->int8_ops);
    json_named_double(j, "seconds", c->seconds);
    json_named_open(j, "tasks", '[');
    for (int32_t t = 0; t < c->n_tasks; t++) {
        json_open(j, '{');
        json_named_text(j, "name", c->task_names[t]);
        json_named_u64(j, "n_questions", c->task_sizes[t]);
        json_named_double(j, "guess", c->task_guess[t]);
        json_close(j, '}');
    }
    json_close(j, ']');
}

void write_comparison_json(const comparison *c, FILE *out) {
    json j = {.out = out};
    json_open(&j, '{');
    write_run(&j, c);
    json_named_open(&j, "reference", '{');
    write_subject(&j, c, &c->reference);
    json_close(&j, '}');
    json_named_open(&j, "candidates", '[');
    for (int32_t i = 0; i < c->n_candidates; i++) write_candidate(&j, c, &c->candidates[i]);
    json_close(&j, ']');
    json_close(&j, '}');
    fputc('\n', out);
}
