/* Any bytes as a chat template: a status, never more; the same text twice, and nothing left behind. The first byte says how many
 * allocations there are. */
#include "fuzz_vocab.h"

static const char messages[] =
    "[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"H\\u00e9 "
    "<|a|>\\n\"},"
    "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":1,\"function\":{\"name\":"
    "\"f\","
    "\"arguments\":{\"x\":[1,2.5,true]}}}]},{\"role\":\"tool\",\"content\":[{\"type\":\"text\","
    "\"text\":\"t\"}]}]";
static const char tools[] = "[{\"function\":{\"name\":\"f\",\"parameters\":{\"b\":1,\"a\":{}}}}]";

static slm_chat make_chat(const char *template, size_t n) {
    slm_chat c = slm_chat_defaults();
    c.messages_json = messages;
    c.messages_bytes = sizeof messages - 1;
    c.tools_json = tools;
    c.tools_bytes = sizeof tools - 1;
    c.chat_template = template;
    c.template_bytes = n;
    c.now = 1790000000;
    return c;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static char out[1 << 18], again[1 << 18];
    static fuzz_memory memory = {.left = 256 << 20, .calls_left = UINT32_MAX};
    static slm_allocator allocator;
    if (n == 0) return 0;
    allocator = fuzz_allocator(&memory);
    const slm_model *m = fv_model(1, &allocator);
    uint32_t n_live = memory.n_live;
    char *template = fuzz_copy(data + 1, n - 1);
    slm_chat c = make_chat(template, n - 1);
    slm_error err;
    size_t n_bytes = 0, n_again = 0, n_tokens = 0;
    memory.calls_left = data[0] & 1 ? data[0] >> 1 : UINT32_MAX; /* some run out of memory */
    slm_status s = slm_chat_render(m, &c, out, sizeof out, &n_bytes, &err);
    fuzz_error(s, &err);
    require(s == SLM_OK || s == SLM_ERR_ARGUMENT || s == SLM_ERR_UNSUPPORTED ||
            s == SLM_ERR_LIMIT || s == SLM_ERR_BUFFER ||
            (s == SLM_ERR_NOMEM && memory.calls_left == 0));
    memory.calls_left = UINT32_MAX;
    if (s == SLM_OK) {
        require(slm_chat_render(m, &c, again, sizeof again, &n_again, NULL) == SLM_OK);
        require(n_again == n_bytes && memcmp(out, again, n_bytes) == 0);
        s = slm_chat_encode(m, &c, NULL, 0, &n_tokens, &err);
        require(s == SLM_ERR_BUFFER || (s == SLM_OK && n_tokens == 0));
    }
    require(memory.n_live == n_live);
    free(template);
    return 0;
}
