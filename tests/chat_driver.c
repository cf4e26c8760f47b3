/* Chat templates for test_templates.py, one after the other:
 *
 *     chat_driver MODEL < requests > answers
 *
 * A request is two lengths and the seconds since 1970 (u32, u32, i64, as this machine stores them), a template, and a JSON object of
 * variables. An answer is a status and a length (u32 each), and the text or the message.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../include/slm.h"

static char *read_bytes(uint32_t n) {
    char *p = malloc(n + 1);
    if (!p || fread(p, 1, n, stdin) != n) exit(1);
    return p;
}

static void answer(slm_status status, const char *text, size_t n) {
    uint32_t head[2] = {(uint32_t)status, (uint32_t)n};
    fwrite(head, sizeof head, 1, stdout);
    fwrite(text, 1, n, stdout);
    fflush(stdout);
}

static void render(const slm_model *model, slm_chat *chat) {
    size_t n = 0, capacity = 1 << 16;
    char *out = malloc(capacity);
    slm_error err;
    slm_status s = slm_chat_render(model, chat, out, capacity, &n, &err);
    if (s == SLM_ERR_BUFFER) {
        capacity = n;
        out = realloc(out, capacity);
        s = slm_chat_render(model, chat, out, capacity, &n, &err);
    }
    if (s == SLM_OK)
        answer(s, out, n);
    else
        answer(s, err.message, strlen(err.message));
    free(out);
}

int main(int argc, char **argv) {
    slm_model_params params = slm_model_defaults();
    params.vocab_only = true;
    slm_model *model;
    slm_error err;
    if (argc != 2 || slm_model_open(argv[1], &params, &model, &err) != SLM_OK) return 2;
    uint32_t lengths[2];
    int64_t now;
    while (fread(lengths, sizeof lengths, 1, stdin) == 1 &&
           fread(&now, sizeof now, 1, stdin) == 1) {
        slm_chat chat = slm_chat_defaults();
        char *template = read_bytes(lengths[0]), *json = read_bytes(lengths[1]);
        chat.chat_template = template;
        chat.template_bytes = lengths[0];
        chat.extra_json = json;
        chat.extra_bytes = lengths[1];
        chat.now = now;
        render(model, &chat);
        free(template);
        free(json);
    }
    slm_model_close(model);
    return 0;
}
