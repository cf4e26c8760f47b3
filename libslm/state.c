/* A sequence as bytes, in memory or in a file. Numbers are little-endian, of 4 bytes:
 *
 *     "SLMSTATE", version, flags, kv_type, positions n, first position of layers with a window, 0
 *     8 bytes    identity of the model and of the adapters
 *     [n]        tokens
 *     pages of layers without a window, then of those with one: as they lie in the cache, each for all layers
 *     8 bytes    checksum of all of that
 *
 * One walk serves both ways: a stream either takes each piece or fills it. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "context.h"
#include "outfile.h"

enum { VERSION = 1 };
enum { STATE_REFERENCE = 1, STATE_LONG_ROPE = 2, STATE_KEEP_ALL = 4 };

typedef struct state_head {
    char magic[8];
    uint32_t version, flags, kv_type;
    int32_t n, first;
    uint32_t zero;
    uint64_t identity;
} state_head;

static const char MAGIC[8] = {'S', 'L', 'M', 'S', 'T', 'A', 'T', 'E'};

/* ---- Checksum: each step is one to one in both of its arguments, so no change of a single word stays unseen ---- */

static uint64_t mix(uint64_t h, uint64_t word) {
    h = (h ^ word) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 32;
}

static uint64_t hash_bytes(uint64_t h, const void *data, uint64_t n) {
    const uint8_t *p = data;
    uint64_t word = 0;
    for (; n >= sizeof word; p += sizeof word, n -= sizeof word) {
        memcpy(&word, p, sizeof word);
        h = mix(h, word);
    }
    word = n;
    for (uint64_t i = 0; i < n; i++) word = word << 8 | p[i];
    return mix(h, word);
}

/* Everything but the weights, and of these a few bytes of each tensor: fine-tuned models differ there. */
static uint64_t hash_file(uint64_t h, const slm__gguf *g) {
    enum { SAMPLE = 64 };
    const uint8_t *weights = g->data + g->n_bytes;
    for (int32_t i = 0; i < g->n_tensors; i++)
        if (g->tensors[i].data < weights) weights = g->tensors[i].data;
    h = hash_bytes(mix(h, g->n_bytes), g->data, (uint64_t)(weights - g->data));
    for (int32_t i = 0; i < g->n_tensors; i++) {
        const slm__tensor *t = &g->tensors[i];
        uint64_t n = t->n_bytes < SAMPLE ? t->n_bytes : SAMPLE;
        h = hash_bytes(h, t->data, n);
        h = hash_bytes(h, t->data + (t->n_bytes - n) / 2, n);
        h = hash_bytes(h, t->data + (t->n_bytes - n), n);
    }
    return h;
}

/* Of the model and the adapters that the context uses. */
static uint64_t identity_of(const slm_context *ctx) {
    uint64_t h = hash_file(0, &ctx->model->gguf);
    for (int32_t i = 0; i < ctx->lora.n; i++)
        h = hash_bytes(hash_file(h, &ctx->lora.adapters[i]->gguf), &ctx->lora.scales[i],
                       sizeof(float));
    return h;
}

/* ---- Streams ---- */

typedef struct stream {
    bool saves;
    uint8_t *memory; /* or NULL: a file */
    size_t at, n;    /* of memory       */
    slm__outfile *file;
    int fd; /* of `path`, to restore from */
    const char *path;
    uint64_t hash;
} stream;

static slm_status io_failed(const stream *s, slm_error *err) {
    int error = errno;
    slm__shown path = slm__show((slm__str){s->path, strlen(s->path)});
    errno = error;
    return slm__fail(err, SLM_ERR_IO, "%s: %m", path.text);
}

static slm_status cut_short(slm_error *err) {
    return slm__fail(err, SLM_ERR_FORMAT, "a saved sequence that is cut short");
}

/* All n bytes, which the system may give in parts. */
static slm_status read_file(const stream *s, uint8_t *data, size_t n, slm_error *err) {
    while (n > 0) {
        ssize_t done = read(s->fd, data, n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return io_failed(s, err);
        if (done == 0) return cut_short(err);
        data += done;
        n -= (size_t)done;
    }
    return SLM_OK;
}

/* With `memory` too small, only the size is counted. */
static slm_status move_bytes(stream *s, void *data, size_t n, slm_error *err) {
    if (s->saves) s->hash = hash_bytes(s->hash, data, n);
    if (s->file) {
        SLM_TRY(slm__outfile_write(s->file, data, n, err));
    } else if (s->path) {
        SLM_TRY(read_file(s, data, n, err));
    } else if (n > s->n || s->at > s->n - n) {
        if (!s->saves) return cut_short(err);
    } else {
        memcpy(s->saves ? s->memory + s->at : data, s->saves ? data : s->memory + s->at, n);
    }
    s->at += n;
    if (!s->saves) s->hash = hash_bytes(s->hash, data, n);
    return SLM_OK;
}

/* ---- The walk ---- */

static slm_status move_tokens(stream *s, const slm__kv *kv, int32_t seq, int32_t n_vocab,
                              slm_error *err) {
    for (int32_t at = 0, n; at < kv->lengths[seq]; at += n) {
        slm_token *tokens = slm__kv_token(kv, seq, at);
        n = kv->lengths[seq] - at < SLM_PAGE ? kv->lengths[seq] - at : SLM_PAGE;
        SLM_TRY(move_bytes(s, tokens, (size_t)n * sizeof *tokens, err));
        for (int32_t i = 0; i < n; i++) {
            if (tokens[i] >= 0 && tokens[i] < n_vocab) continue;
            return slm__fail(err, SLM_ERR_FORMAT, "token %d of the saved sequence is %d", at + i,
                             tokens[i]);
        }
    }
    return SLM_OK;
}

/* Of positions that the sequence does not use, a page has what others left there: saved are zeros. */
static slm_status move_page(stream *s, const slm__kv *kv, uint8_t *page, int32_t from, int32_t to,
                            uint8_t *copy, slm_error *err) {
    if (s->saves && (from > 0 || to < SLM_PAGE)) {
        memcpy(copy, page, (size_t)kv->page_bytes);
        slm__kv_clear(kv, copy, 0, from);
        slm__kv_clear(kv, copy, to, SLM_PAGE);
        page = copy;
    }
    return move_bytes(s, page, (size_t)kv->page_bytes, err);
}

static slm_status move_pages(stream *s, const slm__kv *kv, const slm__kv_group *g, int32_t seq,
                             int32_t first, uint8_t *copy, slm_error *err) {
    int32_t length = kv->lengths[seq];
    for (int32_t i = first / SLM_PAGE; i * SLM_PAGE < length && g->n_layer > 0; i++) {
        int32_t from = first - i * SLM_PAGE, to = length - i * SLM_PAGE;
        from = from > 0 ? from : 0;
        to = to < SLM_PAGE ? to : SLM_PAGE;
        for (int32_t l = 0; l < g->n_layer; l++)
            SLM_TRY(move_page(s, kv, slm__kv_page(kv, g, l, seq, i), from, to, copy, err));
    }
    return SLM_OK;
}

static slm_status move_sequence(stream *s, const slm_context *ctx, int32_t seq, int32_t first,
                                uint8_t *copy, slm_error *err) {
    const slm__kv *kv = &ctx->kv;
    SLM_TRY(move_tokens(s, kv, seq, (int32_t)ctx->model->hp.n_vocab, err));
    SLM_TRY(move_pages(s, kv, &kv->groups[KV_GLOBAL], seq, 0, copy, err));
    return move_pages(s, kv, &kv->groups[KV_LOCAL], seq, first, copy, err);
}

/* ---- Saving ---- */

static state_head head_of(const slm_context *ctx, int32_t seq) {
    state_head h = {.version = VERSION,
                    .kv_type = (uint32_t)ctx->params.kv_type,
                    .n = ctx->kv.lengths[seq],
                    .identity = identity_of(ctx)};
    memcpy(h.magic, MAGIC, sizeof MAGIC);
    if (ctx->params.reference) h.flags |= STATE_REFERENCE;
    if (ctx->global_rope == ROPE_LONG) h.flags |= STATE_LONG_ROPE;
    if (ctx->params.keep_all && ctx->model->hp.n_local > 0) h.flags |= STATE_KEEP_ALL;
    return h;
}

/* What layers with a window have of the sequence and may still need begins in this page at the earliest. */
static int32_t first_saved(const slm__kv *kv, int32_t seq) {
    const slm__kv_group *g = &kv->groups[KV_LOCAL];
    int32_t needed = slm__kv_first_needed(kv, seq) / SLM_PAGE * SLM_PAGE;
    return g->first[seq] > needed ? g->first[seq] : needed;
}

static slm_status save(slm_context *ctx, int32_t seq, stream *s, slm_error *err) {
    SLM_TRY(slm__check_sequence(ctx, seq, err));
    uint8_t *copy = slm__alloc(&ctx->allocator, ctx->kv.page_bytes);
    if (!copy) return slm__fail(err, SLM_ERR_NOMEM, "no memory to save a sequence");
    state_head h = head_of(ctx, seq);
    h.first = first_saved(&ctx->kv, seq);
    slm_status status = move_bytes(s, &h, sizeof h, err);
    if (status == SLM_OK) status = move_sequence(s, ctx, seq, h.first, copy, err);
    uint64_t hash = s->hash;
    if (status == SLM_OK) status = move_bytes(s, &hash, sizeof hash, err);
    slm__free(&ctx->allocator, copy);
    return slm__check_files(ctx, status, err);
}

static slm_status save_memory(slm_context *ctx, int32_t seq, void *buffer, size_t capacity,
                              size_t *n_bytes, slm_error *err) {
    if (!n_bytes || (capacity > 0 && !buffer))
        return slm__fail(err, SLM_ERR_ARGUMENT, "an argument is NULL");
    *n_bytes = 0;
    stream s = {.saves = true, .memory = buffer, .n = capacity};
    SLM_TRY(save(ctx, seq, &s, err));
    *n_bytes = s.at;
    if (s.at <= capacity) return SLM_OK;
    return slm__fail(err, SLM_ERR_BUFFER, "the sequence takes %zu bytes, room for %zu", s.at,
                     capacity);
}

slm_status slm_seq_save(slm_context *ctx, int32_t sequence, void *buffer, size_t capacity,
                        size_t *n_bytes, slm_error *err) {
    SLM_TRY(slm__enter(ctx, err));
    return slm__leave(ctx, save_memory(ctx, sequence, buffer, capacity, n_bytes, err));
}

static slm_status save_file(slm_context *ctx, int32_t seq, const char *path, slm_error *err) {
    slm__outfile file;
    if (!path) return slm__fail(err, SLM_ERR_ARGUMENT, "path is NULL");
    SLM_TRY(slm__check_sequence(ctx, seq, err));
    SLM_TRY(slm__outfile_create(&file, path, 0600, &ctx->allocator, err)); /* texts are private */
    stream s = {.saves = true, .file = &file};
    return slm__outfile_finish(&file, save(ctx, seq, &s, err), err);
}

slm_status slm_seq_save_file(slm_context *ctx, int32_t sequence, const char *path, slm_error *err) {
    SLM_TRY(slm__enter(ctx, err));
    return slm__leave(ctx, save_file(ctx, sequence, path, err));
}

/* ---- Restoring ---- */

static slm_status check_head(const slm_context *ctx, const state_head *h, slm_error *err) {
    state_head want = head_of(ctx, 0);
    if (memcmp(h->magic, MAGIC, sizeof MAGIC) != 0)
        return slm__fail(err, SLM_ERR_FORMAT, "no saved sequence");
    if (h->version != VERSION)
        return slm__fail(err, SLM_ERR_UNSUPPORTED, "a saved sequence of version %u, known: %d",
                         h->version, VERSION);
    if (h->identity != want.identity)
        return slm__fail(err, SLM_ERR_FORMAT,
                         "a saved sequence of another model, or with other adapters");
    if (h->kv_type != want.kv_type || h->flags != want.flags)
        return slm__fail(err, SLM_ERR_MISMATCH,
                         "a saved sequence of a context with another kv_type, reference, keep_all "
                         "or, with LongRoPE, size");
    const slm__kv_group *g = &ctx->kv.groups[KV_LOCAL];
    int64_t latest = g->window ? (int64_t)h->n - g->window + 1 : 0;
    int64_t earliest = (latest - SLM_KV_BEHIND) / SLM_PAGE * SLM_PAGE;
    if (h->n < 0 || h->first < 0 || h->zero != 0 || h->first > (latest > 0 ? latest : 0) ||
        h->first < earliest)
        return slm__fail(err, SLM_ERR_FORMAT, "a saved sequence of %d positions, the window at %d",
                         h->n, h->first);
    return SLM_OK;
}

/* Nothing may follow. */
static slm_status check_end(const stream *s, slm_error *err) {
    uint8_t more;
    ssize_t n = (ssize_t)(s->n - s->at);
    if (s->path) {
        do n = read(s->fd, &more, 1);
        while (n < 0 && errno == EINTR);
    }
    if (n < 0) return io_failed(s, err);
    return n == 0 ? SLM_OK : slm__fail(err, SLM_ERR_FORMAT, "bytes after a saved sequence");
}

static slm_status check_hash(stream *s, slm_error *err) {
    uint64_t want = s->hash, hash = 0;
    SLM_TRY(move_bytes(s, &hash, sizeof hash, err));
    if (hash != want)
        return slm__fail(err, SLM_ERR_FORMAT, "the checksum of a saved sequence is wrong");
    return check_end(s, err);
}

static slm_status restore(slm_context *ctx, int32_t seq, stream *s, slm_error *err) {
    slm__kv *kv = &ctx->kv;
    state_head h;
    SLM_TRY(slm__check_sequence(ctx, seq, err));
    SLM_TRY(slm__check_empty(ctx, seq, err));
    SLM_TRY(move_bytes(s, &h, sizeof h, err));
    SLM_TRY(slm__check_files(ctx, check_head(ctx, &h, err), err));
    slm_status status = slm__kv_place(kv, seq, h.n, h.first, err);
    if (status == SLM_OK) status = move_sequence(s, ctx, seq, h.first, NULL, err);
    if (status == SLM_OK) status = check_hash(s, err);
    if (status == SLM_OK) return SLM_OK;
    slm__kv_set_length(kv, seq, 0);
    slm__kv_trim(kv, seq);
    return status;
}

static slm_status restore_memory(slm_context *ctx, int32_t seq, const void *data, size_t n_bytes,
                                 slm_error *err) {
    if (!data) return slm__fail(err, SLM_ERR_ARGUMENT, "data is NULL");
    stream s = {.memory = (uint8_t *)data, .n = n_bytes}; /* only read */
    return restore(ctx, seq, &s, err);
}

slm_status slm_seq_restore(slm_context *ctx, int32_t sequence, const void *data, size_t n_bytes,
                           slm_error *err) {
    SLM_TRY(slm__enter(ctx, err));
    return slm__leave(ctx, restore_memory(ctx, sequence, data, n_bytes, err));
}

static slm_status restore_file(slm_context *ctx, int32_t seq, const char *path, slm_error *err) {
    if (!path) return slm__fail(err, SLM_ERR_ARGUMENT, "path is NULL");
    stream s = {.path = path, .fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
    if (s.fd < 0) return io_failed(&s, err);
    struct stat st;
    slm_status status = SLM_OK;
    if (fstat(s.fd, &st) != 0)
        status = io_failed(&s, err);
    else if (!S_ISREG(st.st_mode))
        status = slm__fail(err, SLM_ERR_IO, "%s is no regular file",
                           slm__show((slm__str){path, strlen(path)}).text);
    if (status == SLM_OK) status = restore(ctx, seq, &s, err);
    close(s.fd);
    return status;
}

slm_status slm_seq_restore_file(slm_context *ctx, int32_t sequence, const char *path,
                                slm_error *err) {
    SLM_TRY(slm__enter(ctx, err));
    return slm__leave(ctx, restore_file(ctx, sequence, path, err));
}
