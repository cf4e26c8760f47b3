/* Any parameters, any order of steps, any row: a sampler is refused, or gives tokens of the row that may come, or says that the row has none. The first
 * bytes are the parameters, 64 the order; the rest is a row of floats, which goes on with itself up to the size that is asked for. */
#include <math.h>

#include "fuzz_vocab.h"

enum { ORDER = 64, MAX_ROW = 1200 };

typedef struct input {
    float floats[16];
    int32_t ints[6];
    uint8_t kind, flags;
    uint16_t n_vocab;
} input;

static slm_sampler_params params_of(const input *in, const char *order) {
    slm_sampler_params p = slm_sampler_defaults();
    float *const places[] = {&p.repeat_penalty, &p.temperature,       &p.top_p,
                             &p.min_p,          &p.typical_p,         &p.top_n_sigma,
                             &p.dynatemp_range, &p.dynatemp_exponent, &p.xtc_threshold,
                             &p.mirostat_tau,   &p.mirostat_eta,      &p.dry_multiplier,
                             &p.dry_base,       &p.presence_penalty,  &p.frequency_penalty,
                             &p.xtc_probability};
    for (size_t i = 0; i < 16; i++) {
        float x = in->floats[i], whole;
        if (in->kind & 1) x = modff(fabsf(x), &whole); /* mostly in range */
        if (in->ints[5] >> i & 1) *places[i] = x;
    }
    p.top_k = in->kind & 2 ? in->ints[0] : in->ints[0] & 127;
    p.repeat_last_n = in->ints[1] & 63;
    p.dry_last_n = in->ints[2] & 255;
    p.dry_allowed_length = 1 + (in->ints[3] & 3);
    p.n_dry_breakers = 0;
    p.mirostat = in->flags & 1 ? 2 : 0;
    p.seed = (uint64_t)(uint32_t)in->ints[4];
    if (in->flags & 2) p.order = order;
    return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static float row[MAX_ROW];
    static uint64_t allowed[MAX_ROW / 64 + 1];
    char order[ORDER + 1] = "";
    input in;
    if (n < sizeof in + ORDER + sizeof(float)) return 0;
    memcpy(&in, data, sizeof in);
    memcpy(order, data + sizeof in, ORDER);
    data += sizeof in + ORDER;
    n -= sizeof in + ORDER;
    int32_t n_vocab = 1 + in.n_vocab % MAX_ROW;
    size_t n_floats = n / sizeof(float);
    for (int32_t i = 0; i < n_vocab; i++) memcpy(&row[i], data + (size_t)i % n_floats * 4, 4);
    for (size_t i = 0; i < MAX_ROW / 64 + 1; i++)
        allowed[i] = 0x9e3779b97f4a7c15u * (i + 1 + (uint32_t)in.ints[4]);
    slm_sampler_params p = params_of(&in, order);
    slm_sampler *s;
    slm_error err;
    slm_status status = slm_sampler_create(&p, &s, &err);
    if (status != SLM_OK) {
        require(!s && (status == SLM_ERR_RANGE || status == SLM_ERR_ARGUMENT) && err.message[0]);
        return 0;
    }
    if (in.flags & 4) require(slm_sampler_set_allowed(s, allowed, n_vocab) == SLM_OK);
    for (int i = 0; i < 6; i++) {
        slm_token token = -1;
        status = slm_sampler_sample(s, row, n_vocab, &token, &err);
        require(status == SLM_OK || status == SLM_ERR_NUMERIC);
        if (status == SLM_ERR_NUMERIC) break;
        require(token >= 0 && token < n_vocab && row[token] > -INFINITY);
        require(!(in.flags & 4) || (allowed[token / 64] >> token % 64 & 1));
    }
    slm_sampler_free(s);
    return 0;
}
