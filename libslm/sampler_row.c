/* A row of logits may have a quarter of a million entries, so it is read where it lies, never copied, and as rarely as can be.
 *
 * One pass finds the highest logit of each block of 256. Afterwards a threshold leaves most blocks alone: the k best of the row are
 * at least the k-th best of these maxima, so a few dozen blocks have them all. Sums of weights take a pass of their own, and remember what each block
 * had, so that the block in which a random number falls is all that is looked at again.
 *
 * The inner loops are plain C that compilers turn into vectors, with a fixed order of additions: 256 floats by halves, blocks in
 * double by rising number. */
#include "sampler.h"

#include <float.h>

#include "../kernels/vmath.h"
#include "sort.h"

enum { BLOCK = SLM_ROW_BLOCK };

double slm__ln(double x) { return slm__log2d(x) * 0.6931471805599453; }

/* ---- Memory ---- */

void slm__set_free(slm__set *s) {
    const slm_allocator *a = s->allocator;
    slm__free(a, s->mask);
    slm__free(a, s->max_of);
    slm__free(a, s->sum_of);
    slm__free(a, s->edits_of);
    slm__free(a, s->list);
    slm__free(a, s->other);
    slm__free(a, s->weights);
    s->mask = NULL;
    s->max_of = NULL;
    s->sum_of = NULL;
    s->edits_of = NULL;
    s->list = s->other = NULL;
    s->weights = NULL;
    s->max_blocks = s->max_list = 0;
}

slm_status slm__set_hold(slm__set *s, int32_t n_vocab, slm_error *err) {
    int32_t n = (n_vocab - 1) / BLOCK + 1;
    if (n <= s->max_blocks) return SLM_OK;
    const slm_allocator *a = s->allocator;
    slm__set_free(s);
    s->mask = slm__alloc_array(a, (uint64_t)n * SLM_ROW_WORDS, sizeof *s->mask);
    s->max_of = slm__alloc_array(a, (uint64_t)n, sizeof *s->max_of);
    s->sum_of = slm__alloc_array(a, (uint64_t)n, sizeof *s->sum_of);
    s->edits_of = slm__alloc_array(a, (uint64_t)n + 1, sizeof *s->edits_of);
    if (!s->mask || !s->max_of || !s->sum_of || !s->edits_of)
        return slm__fail(err, SLM_ERR_NOMEM, "no memory for the lists of %d logits", (int)n_vocab);
    s->max_blocks = n;
    return SLM_OK;
}

static slm_status hold_list(slm__set *s, int32_t n, slm_error *err) {
    if (n <= s->max_list) return SLM_OK;
    const slm_allocator *a = s->allocator;
    slm__free(a, s->list);
    slm__free(a, s->other);
    slm__free(a, s->weights);
    s->list = slm__alloc_array(a, (uint64_t)n, sizeof *s->list);
    s->other = slm__alloc_array(a, (uint64_t)n, sizeof *s->other);
    s->weights = slm__alloc_array(a, (uint64_t)n, sizeof *s->weights);
    s->max_list = s->list && s->other && s->weights ? n : 0;
    if (s->max_list == 0)
        return slm__fail(err, SLM_ERR_NOMEM, "no memory for a list of %d tokens", (int)n);
    return SLM_OK;
}

slm_status slm__set_begin(slm__set *s, const float *row, int32_t n_vocab, slm_error *err) {
    s->row = row;
    s->n_vocab = n_vocab;
    s->n_blocks = (n_vocab - 1) / BLOCK + 1;
    s->masked = s->scanned = s->listed = false;
    s->n_edits = 0;
    s->n = 0;
    s->floor = -FLT_MAX;
    s->temperature = 1;
    return slm__set_hold(s, n_vocab, err);
}

/* ---- Edits and masks ---- */

/* Steps behind the temperature see logits divided by it. A logit that must not come stays so, and a finite one finite. */
static float changed(const slm__set *s, float logit, float amount, slm__change_fn change,
                     const void *user) {
    if (!isfinite(logit)) return logit;
    double t = (double)s->temperature, x = (double)logit;
    x = t == 1 ? change(user, x, (double)amount) : change(user, x / t, (double)amount) * t;
    return x > FLT_MAX ? FLT_MAX : x < -FLT_MAX ? -FLT_MAX : (float)x;
}

static void change_list(slm__set *s, const slm__change *changes, int32_t n, slm__change_fn change,
                        const void *user) {
    for (int32_t i = 0; i < s->n; i++) {
        slm_token id = slm__id_of(s->list[i]);
        int32_t low = 0, high = n;
        while (low < high) {
            int32_t mid = low + (high - low) / 2;
            if (changes[mid].id < id)
                low = mid + 1;
            else
                high = mid;
        }
        if (low == n || changes[low].id != id) continue;
        float logit = slm__logit_of(s->list[i]);
        s->list[i] = slm__choice_of(changed(s, logit, changes[low].amount, change, user), id);
    }
    slm__sort(s->list, s->other, (size_t)s->n, 0);
}

/* Merge them into the edits. */
static void change_row(slm__set *s, const slm__change *changes, int32_t n, slm__change_fn change,
                       const void *user) {
    slm__edit *out = s->old_edits;
    int32_t n_out = 0, e = 0;
    for (int32_t c = 0; c < n && changes[c].id < s->n_vocab; c++) {
        slm_token id = changes[c].id;
        if (id < 0) continue;
        while (e < s->n_edits && s->edits[e].id < id) out[n_out++] = s->edits[e++];
        bool again = e < s->n_edits && s->edits[e].id == id;
        float logit = again ? s->edits[e++].logit : s->row[id];
        out[n_out++] = (slm__edit){id, changed(s, logit, changes[c].amount, change, user)};
    }
    while (e < s->n_edits) out[n_out++] = s->edits[e++];
    s->old_edits = s->edits;
    s->edits = out;
    s->n_edits = n_out;
    s->scanned = false;
}

/* What a filter has left stays, however its logits change: once there is a floor, it has to be listed. */
slm_status slm__set_change(slm__set *s, const slm__change *changes, int32_t n,
                           slm__change_fn change, const void *user, slm_error *err) {
    if (n == 0) return SLM_OK;
    if (!s->listed && s->floor > -FLT_MAX) {
        SLM_TRY(slm__row_scan(s, err));
        SLM_TRY(slm__row_above(s, s->floor, err));
        s->listed = true;
    }
    if (s->listed)
        change_list(s, changes, n, change, user);
    else
        change_row(s, changes, n, change, user);
    return SLM_OK;
}

void slm__row_mask(slm__set *s) {
    if (s->masked) return;
    memset(s->mask, 0xff, (size_t)s->n_blocks * SLM_ROW_WORDS * sizeof *s->mask);
    s->masked = true;
}

void slm__row_forbid(slm__set *s, slm_token token) {
    if (token < 0 || token >= s->n_vocab) return;
    slm__row_mask(s);
    s->mask[token / 64] &= ~((uint64_t)1 << token % 64);
    s->scanned = false;
}

static void index_edits(slm__set *s) {
    int32_t e = 0;
    for (int32_t b = 0; b <= s->n_blocks; b++) {
        while (e < s->n_edits && s->edits[e].id / BLOCK < b) e++;
        s->edits_of[b] = e;
    }
}

/* ---- Blocks ---- */

static int32_t length_of(const slm__set *s, int32_t b) {
    int32_t n = s->n_vocab - b * BLOCK;
    return n < BLOCK ? n : BLOCK;
}

/* None of its tokens may come. */
static bool is_empty(const slm__set *s, int32_t b) {
    uint64_t any = 0;
    for (int w = 0; s->masked && w < SLM_ROW_WORDS; w++) any |= s->mask[b * SLM_ROW_WORDS + w];
    return s->masked && any == 0;
}

static bool is_changed(const slm__set *s, int32_t b) {
    if (s->n_edits > 0 && s->edits_of[b] < s->edits_of[b + 1]) return true;
    if (!s->masked) return false;
    uint64_t all = ~(uint64_t)0;
    for (int w = 0; w < SLM_ROW_WORDS; w++) all &= s->mask[b * SLM_ROW_WORDS + w];
    return all != ~(uint64_t)0;
}

/* The logits of those that must not come become -infinity, four at a time. */
static void apply_mask(const uint64_t *mask, float *x) {
    enum { M = -1 };
    static const int32_t keep[16][4] = {{0, 0, 0, 0}, {M, 0, 0, 0}, {0, M, 0, 0}, {M, M, 0, 0},
                                        {0, 0, M, 0}, {M, 0, M, 0}, {0, M, M, 0}, {M, M, M, 0},
                                        {0, 0, 0, M}, {M, 0, 0, M}, {0, M, 0, M}, {M, M, 0, M},
                                        {0, 0, M, M}, {M, 0, M, M}, {0, M, M, M}, {M, M, M, M}};
    const int32_t minus_infinity = (int32_t)0xff800000u;
    for (int i = 0; i < BLOCK; i += 4) {
        const int32_t *k = keep[mask[i / 64] >> i % 64 & 15];
        int32_t u[4];
        memcpy(u, x + i, sizeof u);
        for (int j = 0; j < 4; j++) u[j] = (u[j] & k[j]) | (minus_infinity & ~k[j]);
        memcpy(x + i, u, sizeof u);
    }
}

/* The 256 logits of a block as they are in the row, with -infinity behind the end; and as they are now. In `buffer`, if they do not
 * lie in the row like that. */
static const float *raw_block(const slm__set *s, int32_t b, float *buffer) {
    int32_t n = length_of(s, b);
    const float *x = s->row + (int64_t)b * BLOCK;
    if (n == BLOCK) return x;
    for (int32_t i = 0; i < BLOCK; i++) buffer[i] = i < n ? x[i] : -INFINITY;
    return buffer;
}

static const float *block(const slm__set *s, int32_t b, float *buffer) {
    const float *x = raw_block(s, b, buffer);
    if (!is_changed(s, b)) return x;
    if (x != buffer) memcpy(buffer, x, BLOCK * sizeof *buffer);
    if (s->n_edits > 0)
        for (int32_t e = s->edits_of[b]; e < s->edits_of[b + 1]; e++)
            buffer[s->edits[e].id % BLOCK] = s->edits[e].logit;
    if (s->masked) apply_mask(s->mask + b * SLM_ROW_WORDS, buffer);
    return buffer;
}

static float larger(float a, float b) { return a > b ? a : b; }

/* The maximum, by halves; *strange: one is NaN. */
static float max_of_block(const float *x, bool *strange) {
    float m[BLOCK / 2];
    int32_t nan = 0;
    for (int i = 0; i < BLOCK; i++) nan |= x[i] != x[i];
    for (int i = 0; i < 128; i++) m[i] = larger(x[i], x[i + 128]);
    for (int i = 0; i < 64; i++) m[i] = larger(m[i], m[i + 64]);
    for (int i = 0; i < 32; i++) m[i] = larger(m[i], m[i + 32]);
    for (int i = 0; i < 16; i++) m[i] = larger(m[i], m[i + 16]);
    for (int i = 0; i < 8; i++) m[i] = larger(m[i], m[i + 8]);
    for (int i = 0; i < 4; i++) m[i] = larger(m[i], m[i + 4]);
    *strange |= nan != 0;
    return larger(larger(m[0], m[1]), larger(m[2], m[3]));
}

static slm_status refuse(const slm__set *s, slm_error *err) {
    for (int32_t i = 0; i < s->n_vocab; i++)
        if (isnan(s->row[i]) || s->row[i] == INFINITY)
            return slm__fail(err, SLM_ERR_NUMERIC, "the logit of token %d is %s", (int)i,
                             isnan(s->row[i]) ? "NaN" : "infinite");
    return slm__fail(err, SLM_ERR_NUMERIC, "none of %d logits is finite%s", (int)s->n_vocab,
                     s->masked ? " and of a token that may come" : "");
}

slm_status slm__row_scan(slm__set *s, slm_error *err) {
    float buffer[BLOCK], max = -INFINITY;
    bool strange = false;
    if (s->scanned) return SLM_OK;
    index_edits(s);
    for (int32_t b = 0; b < s->n_blocks; b++) {
        float raw = max_of_block(raw_block(s, b, buffer), &strange);
        strange |= raw == INFINITY;
        s->max_of[b] = is_empty(s, b)     ? -INFINITY
                       : is_changed(s, b) ? max_of_block(block(s, b, buffer), &strange)
                                          : raw;
        max = s->max_of[b] > max ? s->max_of[b] : max;
    }
    if (strange || max == -INFINITY) return refuse(s, err);
    s->max = max;
    s->scanned = true;
    return SLM_OK;
}

/* ---- Sums ---- */

/* What our exp cannot reach, 1e-38 and less, is no weight. */
static float lowest_of(float max, float temperature, float floor) {
    double x = (double)max + (double)SLM_EXP_LO * (double)temperature;
    float lowest = x < -FLT_MAX ? -FLT_MAX : (float)x;
    return lowest > floor ? lowest : floor;
}

static void weights_of_block(const slm__set *s, const float *x, float lowest, float *w) {
    s->kernels->weights(x, BLOCK, s->max, s->temperature, w);
    for (int i = 0; i < BLOCK; i++) w[i] = x[i] >= lowest ? w[i] : 0;
}

/* By halves; w is used up. */
static float sum_of_block(float *w) {
    for (int i = 0; i < 128; i++) w[i] += w[i + 128];
    for (int i = 0; i < 64; i++) w[i] += w[i + 64];
    for (int i = 0; i < 32; i++) w[i] += w[i + 32];
    for (int i = 0; i < 16; i++) w[i] += w[i + 16];
    for (int i = 0; i < 8; i++) w[i] += w[i + 8];
    for (int i = 0; i < 4; i++) w[i] += w[i + 4];
    return (w[0] + w[2]) + (w[1] + w[3]);
}

double slm__row_weights(slm__set *s) {
    float buffer[BLOCK], w[BLOCK];
    double sum = 0;
    float lowest = lowest_of(s->max, s->temperature, s->floor);
    for (int32_t b = 0; b < s->n_blocks; b++) {
        s->sum_of[b] = 0;
        if (s->max_of[b] < lowest) continue;
        const float *x = block(s, b, buffer);
        if (s->floor > -FLT_MAX)
            weights_of_block(s, x, lowest, w);
        else /* what is below `lowest` counts 1e-38, beside one at least that is above it */
            s->kernels->weights(x, BLOCK, s->max, s->temperature, w);
        s->sum_of[b] = (double)sum_of_block(w);
        sum += s->sum_of[b];
    }
    return sum;
}

static int32_t count_block(const float *x, float threshold) {
    int32_t n = 0;
    for (int i = 0; i < BLOCK; i++) n += x[i] >= threshold;
    return n;
}

/* Logits below `floor` become `other`: no distance from it. */
static void replace_below(const float *x, float floor, float other, float *out) {
    for (int i = 0; i < BLOCK; i++) out[i] = x[i] >= floor ? x[i] : other;
}

slm__sums slm__row_entropy(slm__set *s) {
    float buffer[BLOCK], w[BLOCK], g[BLOCK];
    slm__sums out = {0};
    float lowest = lowest_of(s->max, s->temperature, s->floor), max = s->max;
    for (int32_t b = 0; b < s->n_blocks; b++) {
        if (s->max_of[b] < s->floor) continue;
        const float *x = block(s, b, buffer);
        out.n += count_block(x, s->floor);
        if (s->max_of[b] < lowest) continue;
        weights_of_block(s, x, lowest, w);
        replace_below(x, lowest, max, g);
        for (int i = 0; i < BLOCK; i++) g[i] = (max - g[i]) * w[i];
        out.weights += (double)sum_of_block(w);
        out.gaps += (double)sum_of_block(g);
    }
    out.gaps /= (double)s->temperature;
    if (!(out.gaps <= DBL_MAX)) out.gaps = DBL_MAX; /* of logits near the limits of floats */
    return out;
}

slm__sums slm__row_moments(slm__set *s) {
    float buffer[BLOCK], y[BLOCK];
    double sums[BLOCK / 2], squares[BLOCK / 2], max = (double)s->max;
    slm__sums out = {0};
    for (int32_t b = 0; b < s->n_blocks; b++) {
        if (s->max_of[b] < s->floor) continue;
        const float *x = block(s, b, buffer);
        replace_below(x, s->floor, s->max, y);
        for (int i = 0; i < 128; i++) {
            double below = max - (double)y[i], also = max - (double)y[i + 128];
            sums[i] = below + also;
            squares[i] = below * below + also * also;
        }
        for (int n = 64; n >= 8; n /= 2) {
            for (int i = 0; i < n; i++) {
                sums[i] += sums[i + n];
                squares[i] += squares[i + n];
            }
        }
        for (int i = 0; i < 8; i++) {
            out.logits += sums[i];
            out.squares += squares[i];
        }
        out.n += count_block(x, s->floor);
    }
    return out;
}

slm_token slm__row_pick(slm__set *s, double at, float *weight) {
    float buffer[BLOCK], w[BLOCK];
    float lowest = lowest_of(s->max, s->temperature, s->floor);
    double sum = 0;
    int32_t last = 0, b = 0;
    for (; b < s->n_blocks; b++) { /* sums are added up as they were, so `at` is always reached */
        if (s->sum_of[b] > 0) last = b;
        if (sum + s->sum_of[b] > at) break;
        sum += s->sum_of[b];
    }
    weights_of_block(s, block(s, last, buffer), lowest, w);
    slm_token token = SLM_TOKEN_NONE;
    for (int i = 0; i < BLOCK; i++) { /* another order of additions: the last one, if none */
        if (w[i] == 0) continue;
        token = last * BLOCK + i;
        *weight = w[i];
        sum += (double)w[i];
        if (sum > at) break;
    }
    return token;
}

slm_token slm__row_first(slm__set *s, float logit) {
    float buffer[BLOCK];
    for (int32_t b = 0; b < s->n_blocks; b++) {
        if (s->max_of[b] < logit) continue;
        const float *x = block(s, b, buffer);
        for (int i = 0; i < BLOCK; i++)
            if (x[i] == logit) return b * BLOCK + i;
    }
    return SLM_TOKEN_NONE; /* not reached: some token has it */
}

/* ---- Lists ---- */

/* A heap with the worst at the root: put c at the root of heap[0 .. n-1] and let it sink. */
static void sink(slm__choice *heap, int32_t n, slm__choice c) {
    int64_t at = 0, child; /* 2 n does not fit into 32 bits */
    while ((child = 2 * at + 1) < n) {
        child += child + 1 < n && heap[child] < heap[child + 1];
        if (c >= heap[child]) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = c;
}

/* Into the best `k`, of which there are *n. */
static void offer(slm__choice *heap, int32_t *n, int32_t k, slm__choice c) {
    if (*n == k) {
        if (c < heap[0]) sink(heap, k, c);
        return;
    }
    int32_t at = (*n)++;
    for (; at > 0 && heap[(at - 1) / 2] < c; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = c;
}

/* Where in a block those are that are at least `threshold`, rising; returns their number. Most eights have none, and are passed over at
 * once. */
static int find_hits(const float *x, float threshold, uint16_t at[BLOCK]) {
    uint8_t bytes[BLOCK];
    uint64_t eights[BLOCK / 8];
    int n = 0;
    for (int i = 0; i < BLOCK; i++) bytes[i] = x[i] >= threshold;
    memcpy(eights, bytes, sizeof bytes);
    for (int e = 0; e < BLOCK / 8; e++) {
        if (eights[e] == 0) continue;
        for (int i = 8 * e; i < 8 * e + 8; i++)
            if (bytes[i]) at[n++] = (uint16_t)i;
    }
    return n;
}

slm_status slm__row_rank(slm__set *s, int32_t k, float *logit, slm_error *err) {
    *logit = -INFINITY;
    if (k > s->n_blocks) return SLM_OK;
    SLM_TRY(hold_list(s, k, err));
    int32_t n = 0;
    for (int32_t b = 0; b < s->n_blocks; b++)
        offer(s->list, &n, k, slm__choice_of(s->max_of[b], b));
    *logit = slm__logit_of(s->list[0]);
    return SLM_OK;
}

slm_status slm__row_best(slm__set *s, int32_t k, slm_error *err) {
    float buffer[BLOCK], threshold;
    uint16_t at[BLOCK];
    if (k > s->n_vocab) k = s->n_vocab;
    SLM_TRY(slm__row_rank(s, k, &threshold, err));
    if (threshold < s->floor) threshold = s->floor;
    SLM_TRY(hold_list(s, k, err));
    s->n = 0;
    for (int32_t b = 0; b < s->n_blocks; b++) {
        if (s->max_of[b] < threshold) continue;
        const float *x = block(s, b, buffer);
        int n = find_hits(x, threshold, at);
        for (int i = 0; i < n; i++)
            offer(s->list, &s->n, k, slm__choice_of(x[at[i]], b * BLOCK + at[i]));
        if (s->n == k) threshold = slm__logit_of(s->list[0]);
    }
    slm__sort(s->list, s->other, (size_t)s->n, 0);
    return SLM_OK;
}

/* Tokens are counted by their distance from the highest, in eighths, and each counts as the most that its distance allows. */
float slm__row_reach(const slm__set *s, double rest) {
    enum { BINS = 704, PER_UNIT = 8 }; /* down to exp(-88), no weight */
    float buffer[BLOCK], scale = PER_UNIT / s->temperature;
    int32_t n_of[BINS] = {0}, bin[BLOCK];
    for (int32_t b = 0; b < s->n_blocks; b++) {
        if (s->max_of[b] < s->floor) continue;
        const float *x = block(s, b, buffer);
        for (int i = 0; i < BLOCK; i++) {
            float below = (s->max - x[i]) * scale;
            bin[i] = (int32_t)(below < BINS - 1 ? below : BINS - 1);
        }
        for (int i = 0; i < BLOCK; i++) n_of[bin[i]]++;
    }
    int32_t b = BINS - 1;
    for (; b > 0; b--) {
        rest -= n_of[b] * (double)slm__expf(-(float)b / PER_UNIT);
        if (rest < 0) break;
    }
    if (b == BINS - 1) return -FLT_MAX;
    double edge = ((double)(b + 1) / PER_UNIT + 1e-3) * (double)s->temperature; /* and rounding */
    return (double)s->max - edge < -FLT_MAX ? -FLT_MAX : (float)((double)s->max - edge);
}

slm_status slm__row_above(slm__set *s, float threshold, slm_error *err) {
    float buffer[BLOCK];
    uint16_t at[BLOCK];
    int32_t n = 0;
    if (threshold < s->floor) threshold = s->floor;
    for (int32_t b = 0; b < s->n_blocks; b++)
        if (s->max_of[b] >= threshold) n += count_block(block(s, b, buffer), threshold);
    SLM_TRY(hold_list(s, n, err));
    s->n = 0;
    for (int32_t b = 0; b < s->n_blocks; b++) {
        if (s->max_of[b] < threshold) continue;
        const float *x = block(s, b, buffer);
        int n_hits = find_hits(x, threshold, at);
        for (int i = 0; i < n_hits; i++)
            s->list[s->n++] = slm__choice_of(x[at[i]], b * BLOCK + at[i]);
    }
    slm__sort(s->list, s->other, (size_t)s->n, 4); /* ids rise already */
    return SLM_OK;
}

double slm__list_weights(slm__set *s) {
    float x[BLOCK], max = slm__logit_of(s->list[0]),
                    lowest = lowest_of(max, s->temperature, -FLT_MAX);
    double sum = 0;
    for (int32_t at = 0; at < s->n; at += BLOCK) {
        int32_t n = s->n - at < BLOCK ? s->n - at : BLOCK;
        float *w = s->weights + at;
        for (int32_t i = 0; i < n; i++) x[i] = slm__logit_of(s->list[at + i]);
        s->kernels->weights(x, n, max, s->temperature, w);
        for (int32_t i = 0; i < n; i++) {
            w[i] = x[i] >= lowest ? w[i] : 0;
            sum += (double)w[i];
        }
    }
    return sum;
}
