/*
 * libslm: inference for small quantized language models, from a GGUF file to text.
 *
 * The way of things:
 *
 *     slm_model      the file, mapped and checked. Immutable: any number of threads and contexts share it.
 *     slm_context    one KV cache and its threads. One caller at a time.
 *     slm_adapter    a LoRA that contexts of the model may add to its matrices.
 *     slm_decode     tokens in, logits out.
 *     slm_embed      tokens in, a vector for each sequence out.
 *     slm_sampler    logits in, a token out.
 *     slm_speculator the two of them, several tokens at a time.
 *     slm_quantizer  a model in, a file with smaller weights out.
 *     slm_imatrix    what a model computes on a text in, the weight of errors for it out.
 *
 * Rules that hold for every function here:
 *
 *   Errors     A function that can fail returns an slm_status; SLM_OK is 0. The last argument, an
 *              slm_error that the caller owns (or NULL), receives the status and one line of text that names the
 *              key, tensor, token or byte offset. Nothing is ever printed, and nothing ends the program.
 *   Ownership  Create functions set *out to NULL on failure; free functions accept NULL. Pointers that a
 *              function hands out stay valid as long as the object that they came from, unless it says less.
 *   Structs    A struct of parameters or information begins with its size. Fill it with its
 *              slm_*_defaults() (or set `size` yourself for an info struct). It only ever grows at the end.
 *   Text       Strings carry their length and may hold any byte; they need no terminating NUL unless said.
 *   Threads    Functions on a `const` object may run at the same time. No global state (but for slm_model_params.guard, which
 *              is off unless asked for), no environment variables.
 *   Bits       For one file and one sequence of tokens logits and vectors are the same bits on every instruction set,
 *              for any number of threads and any split into batches (docs/numerics.md).
 */
#ifndef SLM_H
#define SLM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SLM_API __attribute__((visibility("default")))
#else
#define SLM_API
#endif

#define SLM_VERSION_MAJOR 0
#define SLM_VERSION_MINOR 1
#define SLM_VERSION_PATCH 0

/* "0.1.0": of the library that is linked, which may be newer than this header. */
SLM_API const char *slm_version(void);

/* ---- Status and error ------------------------------------------------------------------------ */

typedef enum slm_status {
    SLM_OK = 0,
    SLM_ERR_ARGUMENT,     /* NULL where a pointer is needed, a struct of the wrong size          */
    SLM_ERR_RANGE,        /* a number outside of its range                                       */
    SLM_ERR_NOMEM,        /* memory, a thread or a mapping could not be had                      */
    SLM_ERR_IO,           /* the operating system could not open or read                         */
    SLM_ERR_TRUNCATED,    /* the file ends before what it announces                              */
    SLM_ERR_FORMAT,       /* the bytes break the rules of their format                           */
    SLM_ERR_UNSUPPORTED,  /* well-formed, but not something that this version knows              */
    SLM_ERR_LIMIT,        /* larger than a stated limit, or than the bytes that are left         */
    SLM_ERR_TYPE,         /* a key of the file has another type than the format says             */
    SLM_ERR_MISMATCH,     /* two parts of the file contradict each other                         */
    SLM_ERR_NUMERIC,      /* NaN or infinity where a number is needed                            */
    SLM_ERR_BUFFER,       /* the caller's buffer is too small; the needed size was stored        */
    SLM_ERR_CONTEXT_FULL, /* no place left in the KV cache for these tokens                      */
    SLM_ERR_CANCELLED,    /* the caller's cancel function said so                                */
    SLM_ERR_BUSY,         /* the context is at work in another thread                            */
    SLM_ERR_CHANGED,      /* the file was cut short while it was open (slm_model_params.guard)    */
} slm_status;

/* "SLM_ERR_FORMAT" and so on; never NULL. */
SLM_API const char *slm_status_name(slm_status status);

typedef struct slm_error {
    slm_status status;
    char message
        [512]; /* one line, NUL-terminated, bytes of the file escaped; empty when status is SLM_OK */
} slm_error;

/* ---- Memory and messages --------------------------------------------------------------------- */

/* Where the library takes its memory from. Both functions may be called from any thread. `alloc` returns at
 * least `size` (never 0) bytes aligned as malloc does, or NULL. Both functions NULL: malloc and free; only one: ARGUMENT. */
typedef struct slm_allocator {
    void *(*alloc)(void *user, size_t size);
    void (*free)(void *user, void *ptr);
    void *user;
} slm_allocator;

typedef enum slm_log_level { SLM_LOG_INFO, SLM_LOG_WARN } slm_log_level;

/* Remarks that are not errors ("key X ignored"). `message` is one line, valid during the call. */
typedef void (*slm_log_fn)(void *user, slm_log_level level, const char *message);

/* Called from time to time with 0 <= done <= 1. Return false to cancel: the function at work then returns
 * SLM_ERR_CANCELLED. */
typedef bool (*slm_progress_fn)(void *user, float done);

/* ---- Model ----------------------------------------------------------------------------------- */

typedef int32_t slm_token;
#define SLM_TOKEN_NONE ((slm_token)-1)

typedef struct slm_model slm_model;

typedef struct slm_model_params {
    size_t size;             /* sizeof(slm_model_params)                                          */
    slm_allocator allocator; /* used for everything that belongs to the model                     */
    slm_log_fn log;          /* or NULL                                                           */
    void *log_user;
    slm_progress_fn progress; /* or NULL                                                          */
    void *progress_user;
    bool vocab_only; /* keys and vocabulary only: for files without weights, and for tokenizing */
    bool check_weights; /* read every weight once; NaN or infinite scales give SLM_ERR_NUMERIC    */
    /* Keys and tensors only, for looking at files that hold no vocabulary (adapters): every function that takes or gives tokens is
     * then UNSUPPORTED, or gives none. */
    bool keys_only;
    /*
     * SLM_ERR_CHANGED instead of SIGBUS when the file is cut short while it is open. This is the one thing for which the library
     * touches the process as a whole, and only on request: a handler for SIGBUS, installed when the first model with a guard is
     * opened and taken away when the last one is closed. Where the file has gone it puts zeros; other faults go to the handler that
     * was there before, or do what they did without one. So
     *
     *   - threads that use the model must not block SIGBUS (the library's own do not);
     *   - a handler that the program installs while such models are open has to pass on what is not its own, to the
     *     one that sigaction() gave it back; if it is in place when the last one is closed, ours stays behind it;
     *   - the file stays open, by one descriptor, and at most 64 models with a guard can be open at a time (LIMIT).
     *
     * A file that is overwritten at the same length, or cut and filled again between two calls, is not noticed. Opening and closing
     * may be done by several threads. Of no effect with slm_model_open_memory().
     */
    bool guard;
    /* Look at the weights while the vocabulary is read, so that as many of them as there is time for are in the process when the first
     * token needs them: for programs that need all of a model at once. A thread does it that has ended when the function returns, after
     * a read of the file that was under way; what such a read can bring (SIGBUS, CHANGED) may come from it. It is a wish, and of no
     * effect with vocab_only, keys_only and slm_model_open_memory(). */
    bool prefetch;
} slm_model_params;

SLM_API slm_model_params slm_model_defaults(void);

/*
 * Map the GGUF file (version 2 or 3) at `path` (NUL-terminated) and check all of its header: keys, tensors,
 * vocabulary. Weights are used where they lie; nothing is copied or repacked. The file must not shrink while it is open: the
 * system then ends the program with SIGBUS, as with every mapping. With params->guard it does not: everything that reads the file and
 * returns a status (opening, slm_decode(), slm_seq_save(), slm_tokenize(), slm_token_get() and so on) then gives CHANGED, from then on whatever
 * becomes of the file. What it has written by that time may be anything; texts to which pointers were handed out may read as zeros.
 *
 * params  NULL: slm_model_defaults().
 * out     the model; free with slm_model_close(), after all contexts that use it.
 *
 * Any status of the file kind: IO, TRUNCATED, FORMAT, UNSUPPORTED, LIMIT, TYPE, MISMATCH, RANGE, NUMERIC, CHANGED; or NOMEM,
 * CANCELLED, ARGUMENT.
 */
SLM_API slm_status slm_model_open(const char *path, const slm_model_params *params, slm_model **out,
                                  slm_error *err);

/* The same from memory, which must stay in place and unchanged until slm_model_close(), but for
 * weights of matrices (slm_tensor_info.offset): they may change while no function of the model or
 * its contexts is at work, and count from then on. `data` is aligned to at least 64 bytes, as a
 * mapping is; otherwise ARGUMENT. */
SLM_API slm_status slm_model_open_memory(const void *data, size_t n_bytes,
                                         const slm_model_params *params, slm_model **out,
                                         slm_error *err);

SLM_API void slm_model_close(slm_model *model);

typedef struct slm_model_info {
    size_t size;              /* sizeof(slm_model_info), set by the caller                        */
    const char *architecture; /* "llama"; NUL-terminated                                          */
    bool has_weights;         /* false after vocab_only; the numbers of the network are then 0    */
    int32_t n_vocab;
    int32_t n_ctx_train; /* the context that the model was trained for, tokens                    */
    int32_t n_embd;
    int32_t n_layer;
    int32_t n_head;
    int32_t n_head_kv;
    int32_t n_ff;
    uint64_t n_params;     /* weights in all tensors                                              */
    uint64_t file_bytes;   /* of the whole file                                                   */
    uint64_t tensor_bytes; /* of the weights in it                                                */
    uint32_t gguf_version;
} slm_model_info;

/* ARGUMENT if a pointer is NULL or info->size is wrong. */
SLM_API slm_status slm_model_get_info(const slm_model *model, slm_model_info *info);

/* The file's keys and tensors as they are, by index. `name` is NUL-terminated. */
typedef struct slm_key_info {
    size_t size; /* sizeof(slm_key_info), set by the caller */
    const char *name;
    const char *type;         /* "u32", "string", "array" ...             */
    const char *element_type; /* of an array; else NULL                   */
    uint64_t n_elements;      /* of an array; else 1                      */
} slm_key_info;

typedef struct slm_tensor_info {
    size_t size; /* sizeof(slm_tensor_info), set by the caller */
    const char *name;
    const char *type; /* "Q4_1" ...                                       */
    int32_t n_dims;
    int64_t dims[4]; /* dims[0] is contiguous (a row); unused ones are 1  */
    uint64_t n_bytes;
    uint64_t offset; /* of its first byte in the file                               */
} slm_tensor_info;

SLM_API int32_t slm_model_n_keys(const slm_model *model);
SLM_API int32_t slm_model_n_tensors(const slm_model *model);

/* RANGE if there is no such index; ARGUMENT. */
SLM_API slm_status slm_model_get_key(const slm_model *model, int32_t index, slm_key_info *info);
SLM_API slm_status slm_model_get_tensor(const slm_model *model, int32_t index,
                                        slm_tensor_info *info);

/* The index of the key of that name (NUL-terminated), or -1. */
SLM_API int32_t slm_model_find_key(const slm_model *model, const char *name);

/*
 * Element `element` of the key (0 if it is no array) as text: numbers in decimal, shortest that reads back
 * the same; strings as their bytes. *n_bytes receives the length, without a terminating NUL; `buffer` the bytes. RANGE;
 * BUFFER if capacity < *n_bytes (nothing is then stored); ARGUMENT.
 */
SLM_API slm_status slm_model_key_text(const slm_model *model, int32_t index, uint64_t element,
                                      char *buffer, size_t capacity, size_t *n_bytes,
                                      slm_error *err);

/* ---- Vocabulary and text --------------------------------------------------------------------- */

enum {
    SLM_TOKENIZE_BOS =
        1, /* put the begin-of-sequence token in front, if the model asks for it          */
    SLM_TOKENIZE_SPECIAL =
        2, /* read the text of special tokens ("<|im_end|>") as those tokens, not as text */
};

/*
 * Text to tokens. `text` may hold any bytes; invalid UTF-8 is never refused: it is encoded as U+FFFD, a code point for each byte or
 * broken sequence, or, by SentencePiece BPE, as the tokens of its bytes.
 *
 * flags     SLM_TOKENIZE_* or 0.
 * out       room for `capacity` tokens; may be NULL when capacity is 0.
 * n_tokens  receives the number of tokens, also with BUFFER (then nothing in `out` is to be used).
 *
 * BUFFER, LIMIT (more than INT32_MAX bytes; 1.4e9 with a SentencePiece BPE vocabulary, or of invalid UTF-8; 2^28 with a unigram one, or 2^32
 * after its normalization), NOMEM, ARGUMENT. Safe to call from several threads.
 */
SLM_API slm_status slm_tokenize(const slm_model *model, const char *text, size_t n_bytes,
                                uint32_t flags, slm_token *out, size_t capacity, size_t *n_tokens,
                                slm_error *err);

/*
 * Fill in the middle (Bavarian et al. 2022, arXiv:2207.14255): tokens after which the model writes what is missing between two texts, for vocabularies
 * that have tokens for that. They are prefix and suffix, each as by slm_tokenize() without flags, each behind its token, and at the end the token of the middle;
 * before them the begin-of-sequence token, if the model asks for it.
 *
 * UNSUPPORTED (no such tokens); else as slm_tokenize().
 */
SLM_API slm_status slm_fill_tokenize(const slm_model *model, const char *prefix, size_t n_prefix,
                                     const char *suffix, size_t n_suffix, slm_token *out,
                                     size_t capacity, size_t *n_tokens, slm_error *err);

enum {
    SLM_TOKEN_CONTROL = 1, /* steers the model and is no text: <|im_end|>                         */
    SLM_TOKEN_USER = 2,    /* user-defined: matched whole, before all else                        */
    SLM_TOKEN_BYTE = 4,    /* stands for one byte                                                 */
    SLM_TOKEN_UNKNOWN = 8, /* stands for what has no token                                        */
    SLM_TOKEN_UNUSED = 16,
    SLM_TOKEN_EOG = 32, /* ends a generation (end of sequence, end of turn)                       */
};

/* The bytes that a token stands for in a text (a control token: its name), in *text and *n_bytes, valid as long as
 * the model; SLM_TOKEN_* bits in *attributes. Any out pointer may be NULL. RANGE; ARGUMENT. */
SLM_API slm_status slm_token_get(const slm_model *model, slm_token token, const char **text,
                                 size_t *n_bytes, uint32_t *attributes);

/* The token at the begin or the end of a sequence, or SLM_TOKEN_NONE. */
SLM_API slm_token slm_token_bos(const slm_model *model);
SLM_API slm_token slm_token_eos(const slm_model *model);

/* Tokens to text, one at a time. Holds back the bytes of a code point that is not yet whole (at most 3).
 * Set to {0} to begin; no need to free. */
typedef struct slm_text_stream {
    uint8_t held[4];
    uint8_t n_held;
    uint8_t reserved[3];
} slm_text_stream;

/*
 * Add a token to the stream and store the text that is now certain, always whole code points: a byte that can never
 * become one is stored as U+FFFD. Control tokens give no text.
 *
 * *n_bytes receives the length. BUFFER if capacity is less; the stream is then as before. RANGE; ARGUMENT.
 */
SLM_API slm_status slm_text_stream_add(const slm_model *model, slm_text_stream *stream,
                                       slm_token token, char *buffer, size_t capacity,
                                       size_t *n_bytes);

/* The end of the text: what is still held becomes one U+FFFD (0 or 3 bytes). The stream begins anew. */
SLM_API slm_status slm_text_stream_end(slm_text_stream *stream, char *buffer, size_t capacity,
                                       size_t *n_bytes);

/* ---- Conversations ---------------------------------------------------------------------------
 *
 * A file brings its chat format as a template in Jinja (tokenizer.chat_template). It is run as transformers runs it, with the same text as the
 * result (docs/chat.md): at most 1,000,000 steps, 16 MiB of memory, calls 128 deep; one step and 16 bytes more for each byte of
 * the conversation. It can read nothing but what is given here.
 */

typedef struct slm_message {
    const char *role; /* NUL-terminated: "system", "user", "assistant" */
    const char *content;
    size_t n_bytes; /* of content */
} slm_message;

typedef struct slm_chat {
    size_t size; /* sizeof(slm_chat) */
    /* The conversation: [n_messages] of role and content, or the text of a JSON array of objects, for messages with more than that
     * (tool_calls, reasoning_content, content in parts). */
    const slm_message *messages;
    size_t n_messages;
    const char *messages_json;
    size_t messages_bytes;
    /* A JSON array of the tools that the model may call; NULL: none. */
    const char *tools_json;
    size_t tools_bytes;
    /* A JSON object of further variables of the template ("enable_thinking": false); NULL: none. */
    const char *extra_json;
    size_t extra_bytes;
    /* A template instead of the file's; NULL: the file's. At most 1 MiB. */
    const char *chat_template;
    size_t template_bytes;
    bool no_generation_prompt; /* nothing of the assistant's next turn at the end */
    int64_t now; /* the time, seconds since 1970 (UTC), for templates that print the date */
} slm_chat;

SLM_API slm_chat slm_chat_defaults(void);

/*
 * The conversation as the template writes it, ready for the assistant's next words. `out` has room for `capacity` bytes and may be
 * NULL when that is 0; *n_bytes receives the length, also with BUFFER.
 *
 * UNSUPPORTED (no template, one that is not understood: with line and column), ARGUMENT (the template does not take this conversation: its own
 * message; an argument), LIMIT, FORMAT (JSON), BUFFER, CHANGED, NOMEM. Safe to call from several threads; takes up to 512 KiB of
 * stack.
 */
SLM_API slm_status slm_chat_render(const slm_model *model, const slm_chat *chat, char *out,
                                   size_t capacity, size_t *n_bytes, slm_error *err);

/*
 * The tokens of that text. The text of special tokens counts as those tokens only where the template itself wrote all of it: what comes
 * from the caller, in whatever way, stays plain text (but for user-defined tokens, which are text). The begin-of-sequence token is put in front if
 * the model asks for it and the template has not.
 *
 * Statuses as slm_chat_render().
 */
SLM_API slm_status slm_chat_encode(const slm_model *model, const slm_chat *chat, slm_token *out,
                                   size_t capacity, size_t *n_tokens, slm_error *err);

/* slm_chat_encode() of messages and nothing else. */
SLM_API slm_status slm_chat_tokenize(const slm_model *model, const slm_message *messages,
                                     size_t n_messages, slm_token *out, size_t capacity,
                                     size_t *n_tokens, slm_error *err);

/* ---- Context --------------------------------------------------------------------------------- */

/* Threads that several contexts and quantizers share, for programs with more of these than work for
 * all of them at a time. One without such has threads of its own. */
typedef struct slm_threads slm_threads;

/*
 * n_threads  counts the caller of slm_decode(): one less is started. 0: what this process may use.
 * allocator  NULL: malloc and free.
 * out        free with slm_threads_free(), after all contexts and quantizers that use it.
 *
 * RANGE, NOMEM, ARGUMENT.
 */
SLM_API slm_status slm_threads_create(int32_t n_threads, const slm_allocator *allocator,
                                      slm_threads **out, slm_error *err);
SLM_API void slm_threads_free(slm_threads *threads);

typedef struct slm_context slm_context;

/* How keys and values are kept: Q8_0, integers of 8 bits with a scale for each 32, takes about half of the memory of F16. */
typedef enum slm_kv_type { SLM_KV_F16 = 0, SLM_KV_F32 = 1, SLM_KV_Q8_0 = 2 } slm_kv_type;

/*
 * What a context computes on the way to its logits, for those who measure: the input of a matrix
 * product, as floats, before it is quantized, or the residual stream behind a layer. Holds during
 * the call only.
 *
 * Each part of a batch (n_batch tokens) passes through all layers before the next one does. Per
 * layer come the inputs of its matrices, in the order of computation and one by one also where
 * several share an input, then its state; behind the last layer the input of the output matrix.
 * Matrices that are one tensor in the file are one.
 */
typedef struct slm_observation {
    const char *tensor; /* whose input it is, the model's name of it; NULL: a state          */
    int32_t layer;      /* 0 .. n_layer - 1; n_layer for the output matrix                   */
    int32_t first; /* index in the batch of the token of row 0; for the output matrix, which has
                           rows for wanted tokens only, that of the row of logits                 */
    int32_t n_rows, n;
    const float *rows; /* [n_rows, n]                                                        */
    bool same_input;   /* rows are those of the observation before: Q, K and V share an input  */
} slm_observation;

/* By the thread that is in slm_decode() or slm_embed(), which waits for it; it may not use the
 * context. */
typedef void (*slm_observe_fn)(void *user, const slm_observation *o);

typedef struct slm_context_params {
    size_t size;             /* sizeof(slm_context_params)                                        */
    slm_allocator allocator; /* used for everything that belongs to the context                   */
    /* Positions in the KV cache, over all sequences; 0: as trained. Models with factors of RoPE for long contexts (LongRoPE) use
     * them if it is more than the original context: logits then differ. */
    int32_t n_ctx;
    int32_t n_batch;   /* tokens computed at a time; longer batches are split               */
    int32_t n_seq_max; /* sequences 0 .. n_seq_max-1                                        */
    int32_t n_logits;  /* rows of logits that one slm_decode() may want                     */
    int32_t n_threads; /* 0: physical cores that this process may use: affinity, cgroup quota */
    slm_kv_type kv_type;
    const char *cpu; /* highest instruction set to use, a name of slm_cpu_level(); NULL: the best */
    bool reference;  /* exact mode: weights as f32, activations never quantized; slow    */
    slm_progress_fn
        progress; /* or NULL; called while slm_decode() works, at least each 250 ms of work   */
    void *progress_user;
    /* Or NULL: n_threads of its own. Contexts that share threads may work at the same time; they then take turns, many times in
     * each slm_decode(). */
    slm_threads *threads;
    /* Layers with a window keep all positions, too: a sequence can be cut anywhere (slm_seq_truncate()), for the memory of a
     * model without windows. */
    bool keep_all;
    slm_observe_fn observe; /* or NULL */
    void *observe_user;
} slm_context_params;

SLM_API slm_context_params slm_context_defaults(void);

/* The most bytes that a context with these parameters takes from its allocator. Statuses as slm_context_create(). */
SLM_API slm_status slm_context_memory(const slm_model *model, const slm_context_params *params,
                                      size_t *n_bytes, slm_error *err);

/*
 * params  NULL: slm_context_defaults().
 * out     free with slm_context_free(), before the model.
 *
 * RANGE (a parameter), LIMIT (buffers that no machine has), UNSUPPORTED (cpu: not on this machine; model without weights), NOMEM,
 * ARGUMENT.
 */
SLM_API slm_status slm_context_create(const slm_model *model, const slm_context_params *params,
                                      slm_context **out, slm_error *err);

SLM_API void slm_context_free(slm_context *ctx);

/* What the context works with, after defaults were filled in. */
SLM_API int32_t slm_context_n_ctx(const slm_context *ctx);
SLM_API int32_t slm_context_n_threads(const slm_context *ctx);
SLM_API const char *slm_context_cpu(const slm_context *ctx);

/* Names of instruction set levels that this machine can run, from "c" upwards; NULL past the last. */
SLM_API const char *slm_cpu_level(int32_t index);

/*
 * Tokens to compute. Arrays of n_tokens, owned by the caller, read during the call only.
 * Each token goes to the end of its sequence; tokens of different sequences may be mixed.
 */
typedef struct slm_batch {
    size_t size; /* sizeof(slm_batch) */
    int32_t n_tokens;
    const slm_token *tokens;
    const int32_t *positions;   /* or NULL; if given, each must be the next of its sequence       */
    const int32_t *sequences;   /* or NULL: all 0                                                 */
    const uint8_t *want_logits; /* or NULL: for the last token only; else non-zero where wanted   */
} slm_batch;

/*
 * Run the tokens through the network. Afterwards the sequences hold them, and slm_logits() gives the rows
 * that were wanted, in the order of the batch.
 *
 * On ARGUMENT, RANGE and CONTEXT_FULL nothing has changed. On CANCELLED the sequences hold the tokens up to
 * the last whole part that was computed (slm_seq_length() tells). On NUMERIC (NaN or infinity in wanted logits) the tokens
 * are held; rows of other sequences are good. CHANGED (only with a guard): if the file was known to be cut short before, nothing has
 * changed; else the tokens are held, but there are no logits, and nothing more can be computed. BUSY if another thread is inside.
 */
SLM_API slm_status slm_decode(slm_context *ctx, const slm_batch *batch, slm_error *err);

/* The same for n tokens of sequence 0, logits for the last. */
SLM_API slm_status slm_decode_tokens(slm_context *ctx, const slm_token *tokens, int32_t n_tokens,
                                     slm_error *err);

/* Row `index` of the wanted logits of the last slm_decode(): n_vocab floats, valid until the next one.
 * NULL if there is no such row. */
SLM_API const float *slm_logits(const slm_context *ctx, int32_t index);

/* Of the states of a sequence's tokens behind the last layer (normed, what the output matrix would get): */
typedef enum slm_pooling {
    SLM_POOL_MEAN = 0, /* their mean                     */
    SLM_POOL_LAST = 1, /* that of the last token         */
} slm_pooling;

/*
 * Vectors that stand for texts (docs/embeddings.md): run the tokens as slm_decode() does, with the same checks, and pool what the
 * network makes of them instead of computing logits. want_logits is not looked at, and slm_logits() has no rows afterwards.
 * The sequences then hold the tokens, as if slm_decode() had been called; what they held before is seen by the tokens, but
 * not pooled.
 *
 * out  room for [sequences in the batch, n_embd] floats: a row for each sequence that the batch has tokens of, in rising
 *      order of its number; pooled over its tokens in the batch, then divided by its Euclidean length.
 *
 * Every status of slm_decode(), and RANGE for the pooling; ARGUMENT, RANGE and CONTEXT_FULL leave `out` as it was. On
 * CANCELLED it holds nothing of use. On NUMERIC (NaN, infinity, or nothing but zeros pooled) the tokens are held and the rows of
 * such sequences are all 0; the others are good.
 */
SLM_API slm_status slm_embed(slm_context *ctx, const slm_batch *batch, slm_pooling pooling,
                             float *out, slm_error *err);

/* Tokens that the sequence holds; -1 if there is no such sequence. */
SLM_API int32_t slm_seq_length(const slm_context *ctx, int32_t sequence);

/*
 * Forget all but the first `length` tokens of the sequence. Layers with a window have given back what no later token sees: such a
 * sequence can be cut to nothing, or to 64 tokens before where its last part began, further only with params.keep_all.
 *
 * RANGE (then nothing has changed), BUSY, ARGUMENT.
 */
SLM_API slm_status slm_seq_truncate(slm_context *ctx, int32_t sequence, int32_t length,
                                    slm_error *err);

/*
 * Let sequence `to`, which is empty, begin with the first `length` tokens of `from`. Nothing is computed and nothing copied: both use
 * the same memory, and positions that they share count once against n_ctx. What is added to one of them is not seen by the other;
 * a page of 64 positions that both still use is copied before that. As with slm_seq_truncate(), `length` may be less than what
 * `from` holds, in models with a window only as far.
 *
 * RANGE (no such sequence, `to` is not empty, a length that cannot be had; nothing has changed), BUSY, ARGUMENT.
 */
SLM_API slm_status slm_seq_fork(slm_context *ctx, int32_t from, int32_t to, int32_t length,
                                slm_error *err);

/*
 * Forget the positions from `begin` to `end` - 1 of the sequence; the tokens behind them move up. To go on when a context is full, while
 * its first N tokens (a system prompt) stay, remove the oldest ones behind them: slm_seq_remove(ctx, s, N, N + n, &err).
 *
 * With end == slm_seq_length() this is slm_seq_truncate() and exact. Otherwise nothing is computed anew: tokens behind the range keep the
 * keys and values that they had when they saw it, as readers of a shortened text remember what they read. Only their positions change: keys
 * are turned by RoPE and rounded to kv_type once more. So the sequence is what a fresh computation of the remaining tokens gives
 * as far as a token's keys and values depend on itself alone, as in the first layer, within about 1e-6 (f32), 1e-3 (f16) or 1e-2 (Q8_0) of
 * the largest value of a key (docs/context.md); it is not in deeper layers. All bits are the same on every machine, but not the same for one
 * removal as for two of its halves.
 *
 * Layers with a window see `window` tokens back also afterwards; where those were given back, the range is refused (RANGE), as it never is
 * if at least `window` tokens are behind it, or with params.keep_all. Until the next slm_decode() fewer than 64 tokens may then be cut off. Pages of 64 positions that other sequences hold, too, are copied
 * from the range on: CONTEXT_FULL if there is no room.
 *
 * RANGE (no such sequence, not 0 <= begin <= end <= slm_seq_length()), CONTEXT_FULL (nothing has changed in both cases), BUSY, ARGUMENT.
 */
SLM_API slm_status slm_seq_remove(slm_context *ctx, int32_t sequence, int32_t begin, int32_t end,
                                  slm_error *err);

/*
 * The tokens that the sequence holds, slm_seq_length() of them, into `out`, room for `capacity` (may be NULL when that is 0).
 * *n_tokens receives their number, also with BUFFER. RANGE (no such sequence), BUFFER, BUSY, ARGUMENT.
 */
SLM_API slm_status slm_seq_tokens(slm_context *ctx, int32_t sequence, slm_token *out,
                                  size_t capacity, size_t *n_tokens, slm_error *err);

/* ---- Saved sequences ----
 *
 * What a sequence holds, tokens and cache, as bytes: to go on with it later, in another context or another process, with the same bits as if
 * it had stayed. The bytes hold the text: treat them as such. They fit the same file and adapters, kv_type, reference, keep_all, and, for LongRoPE
 * models, contexts on the same side of the original one; n_ctx, n_batch, threads and instruction set may differ.
 */

/*
 * Store the sequence in `buffer`, which has room for `capacity` bytes (and may be NULL when that is 0). *n_bytes receives the size, also with
 * BUFFER. RANGE (no such sequence), BUFFER, CHANGED, NOMEM, BUSY, ARGUMENT.
 */
SLM_API slm_status slm_seq_save(slm_context *ctx, int32_t sequence, void *buffer, size_t capacity,
                                size_t *n_bytes, slm_error *err);

/*
 * Let the sequence, which is empty, hold what was saved. slm_seq_tokens() tells its tokens; to have logits, cut the last one off and decode it
 * again.
 *
 * FORMAT (no saved sequence, cut short, changed, of another model or with other adapters), UNSUPPORTED (a version of the format), MISMATCH (of a context with
 * other parameters), RANGE (no such sequence, or it is not empty), CONTEXT_FULL, CHANGED, BUSY, ARGUMENT. The sequence is then empty as before.
 */
SLM_API slm_status slm_seq_restore(slm_context *ctx, int32_t sequence, const void *data,
                                   size_t n_bytes, slm_error *err);

/* The same with a file, read and written piece by piece. A file that exists is replaced when the new one is whole and safely stored, and
 * stays as it is otherwise; only its owner may read it. What is no regular file is not replaced (IO). IO too. */
SLM_API slm_status slm_seq_save_file(slm_context *ctx, int32_t sequence, const char *path,
                                     slm_error *err);
SLM_API slm_status slm_seq_restore_file(slm_context *ctx, int32_t sequence, const char *path,
                                        slm_error *err);

/* ---- Adapters -------------------------------------------------------------------------------- */

/*
 * LoRA (Hu et al. 2021, arXiv:2106.09685): factors of low rank for some matrices of a model. A context that uses an adapter
 * computes W x + scale * (alpha / r) * B (A x) where the model says W x; the model is neither copied nor changed.
 *
 * The file is a GGUF as llama.cpp's converter writes it: general.type "adapter", adapter.type "lora", general.architecture of the
 * model, adapter.lora.alpha (0 or missing: alpha / r is 1), and for a matrix NAME of the model, [columns, rows], the tensors NAME.lora_a
 * [columns, r] and NAME.lora_b [r, rows], dims[0] first, of any type. r may differ from matrix to matrix. "output.weight" is the output
 * matrix also where the model uses its embedding as that; the embedding itself, norms and biases cannot have factors.
 *
 * An adapter is immutable: any number of threads and contexts share it.
 */
typedef struct slm_adapter slm_adapter;

/*
 * Map the file at `path` (NUL-terminated) and check it against the model. Factors are used where they lie; what
 * slm_model_open() says of files that shrink holds here, too.
 *
 * model      opened with its weights; the adapter is for contexts of this model.
 * allocator  NULL: malloc and free.
 * out        close with slm_adapter_close(), after all contexts that use it and before the model.
 *
 * MISMATCH (a tensor that the model has not, another shape, one factor without the other, another architecture), UNSUPPORTED (no LoRA;
 * factors of an embedding, norm or bias; model without weights), RANGE (alpha), LIMIT (r above 65536), every other status of
 * slm_model_open() for a file; NOMEM, ARGUMENT.
 */
SLM_API slm_status slm_adapter_open(const slm_model *model, const char *path,
                                    const slm_allocator *allocator, slm_adapter **out,
                                    slm_error *err);

/* The same from memory, as slm_model_open_memory(). */
SLM_API slm_status slm_adapter_open_memory(const slm_model *model, const void *data, size_t n_bytes,
                                           const slm_allocator *allocator, slm_adapter **out,
                                           slm_error *err);

SLM_API void slm_adapter_close(slm_adapter *adapter);

typedef struct slm_adapter_info {
    size_t size;        /* sizeof(slm_adapter_info), set by the caller */
    int32_t n_matrices; /* that have factors                           */
    int32_t max_rank;   /* the largest r                               */
    float alpha;
    uint64_t n_params; /* numbers in all factors                      */
    uint64_t file_bytes;
} slm_adapter_info;

/* ARGUMENT if a pointer is NULL or info->size is wrong. */
SLM_API slm_status slm_adapter_get_info(const slm_adapter *adapter, slm_adapter_info *info);

enum { SLM_MAX_ADAPTERS = 64 };

/*
 * Let the context use these adapters, added up, in place of those that it used before; n 0: none, and the bits are again those of the
 * model alone. Nothing is computed anew: what sequences hold was computed with the adapters of then, so empty a sequence if it shall
 * not go on from that.
 *
 * adapters  [n], n <= SLM_MAX_ADAPTERS; read now, the array may go. One may stand in it twice.
 * scales    [n]; one of 0 leaves its adapter out.
 *
 * Takes memory beyond slm_context_memory(), with the context's allocator and until the next call: of each adapter at most
 * 24 * n_batch * R bytes, R being max_rank rounded up to 128; of each thread 64 * n_batch + 68 * R + 24 KiB; and 1 KiB for each adapter.
 *
 * RANGE (n, a scale that is not finite or gives no finite factor), MISMATCH (an adapter for another model), BUSY, LIMIT, NOMEM,
 * ARGUMENT. On failure the context goes on with those that it had.
 */
SLM_API slm_status slm_context_set_adapters(slm_context *ctx, const slm_adapter *const *adapters,
                                            const float *scales, int32_t n, slm_error *err);

/* ---- Grammar --------------------------------------------------------------------------------- */

/*
 * What a text may be, and which tokens may come next (docs/structured-output.md):
 *
 *     slm_grammar      the rules, compiled to an automaton over bytes. Immutable: any number of threads share it.
 *     slm_constraint   a grammar for the tokens of a model, with what was found out about them. Shared in the same way.
 *     slm_matcher      one text that is being generated. One thread at a time.
 */
typedef struct slm_grammar slm_grammar;

/*
 * Read a grammar in GBNF, the format of llama.cpp's grammars: rules `name ::= ...`, of which "root" is what the whole text must
 * match; "literals" and [classes] with the escapes \n \r \t \" \\ \[ \] \- \xHH \uHHHH \UHHHHHHHH, [^classes], `.` for any code point; | and (),
 * * + ? {m} {m,} {m,n}; `# comments`; tokens of the model <[id]> and <text>, and with ! in front all tokens but that one. Texts are
 * UTF-8, and so is what matches.
 *
 * allocator  NULL: malloc and free; used for everything that belongs to the grammar.
 * out        free with slm_grammar_free(), after all constraints of it.
 *
 * FORMAT (with line:column: syntax, an escape, a rule that is not defined or defined twice, no root; and left recursion, or that no text
 * fits), LIMIT (1 MiB of text; groups 256 deep; a count above 1,000,000, or counts inside of each other whose product is above 100,000,000; more than
 * 262,144 states, or more steps to find them than take about half a second: too many ways to read a text), NOMEM, ARGUMENT.
 */
SLM_API slm_status slm_grammar_parse(const char *text, size_t n_bytes,
                                     const slm_allocator *allocator, slm_grammar **out,
                                     slm_error *err);
SLM_API void slm_grammar_free(slm_grammar *grammar);

typedef struct slm_constraint slm_constraint;

/*
 * A grammar for the tokens of a model. Sorts the vocabulary the first time that it is done for a model (which keeps the result, about 16 bytes
 * for each different beginning of a token and 8 for a token: 12 MB for Gemma's 262,144), and finds the tokens of states that most of them fit. Others are found as they are
 * needed, and kept for all matchers, up to 32 MiB.
 *
 * grammar, model  stay until slm_constraint_free().
 * allocator       NULL: malloc and free; for what belongs to the constraint. Called while matchers work, too, from their threads.
 * out             free with slm_constraint_free(), after all matchers of it.
 *
 * MISMATCH (a token of the grammar that the model has not), UNSUPPORTED (keys_only), CHANGED (the model's file, see slm_model_open()), LIMIT (tokens
 * of so many bytes that they cannot be sorted), NOMEM, ARGUMENT.
 */
SLM_API slm_status slm_constraint_create(const slm_grammar *grammar, const slm_model *model,
                                         const slm_allocator *allocator, slm_constraint **out,
                                         slm_error *err);
SLM_API void slm_constraint_free(slm_constraint *constraint);

typedef struct slm_matcher slm_matcher;

/* Steps that slm_matcher_rollback() can take back; fewer where a text can be read in thousands of ways. */
enum { SLM_MATCHER_STEPS = 256 };

/*
 * A matcher at the start of a text. It takes, with its allocator (NULL: malloc and free), up to 48 MiB, and the masks of up to 64 places of
 * the grammar, n_vocab / 8 bytes each. LIMIT (too many ways to read the first byte), NOMEM, ARGUMENT. Free with slm_matcher_free().
 */
SLM_API slm_status slm_matcher_create(const slm_constraint *constraint,
                                      const slm_allocator *allocator, slm_matcher **out,
                                      slm_error *err);
SLM_API void slm_matcher_free(slm_matcher *matcher);

/* Another matcher, of the same allocator, at the same place and with the same steps to take back. NOMEM, ARGUMENT; LIMIT if the text
 * is open in more than 65,536 rules (brackets in brackets), or can be read in thousands of ways at
 * each of these steps. */
SLM_API slm_status slm_matcher_clone(const slm_matcher *matcher, slm_matcher **out, slm_error *err);

/* Back to the start of a text; what was found out stays. Accepts NULL. */
SLM_API void slm_matcher_reset(slm_matcher *matcher);

/*
 * The tokens that may come next: bit i % 64 of word i / 64 of *mask is token i, (n_vocab + 63) / 64 words, valid until the next call for this
 * matcher. A token may come if the text with its bytes behind it can still become one that the grammar allows. Tokens that end a generation
 * (SLM_TOKEN_EOG) may come exactly where the text may end. Control tokens, unused ones and the unknown token never may, but where the grammar
 * names them.
 *
 * MISMATCH: the vocabulary has no token for what must come next; the text cannot go on. LIMIT: too many ways to read the text (more than 8,192
 * places in the grammar at a time, or a mask that would take more than about a second), or it is open in more than 65,536 rules (brackets in
 * brackets). NOMEM, ARGUMENT. *mask is then NULL.
 */
SLM_API slm_status slm_matcher_mask(slm_matcher *matcher, const uint64_t **mask, slm_error *err);

/*
 * Add a token to the text: a step. One that ends a generation, where the text may end, ends it: only such tokens may then follow.
 *
 * MISMATCH (the token may not come here; names the byte), RANGE (no such token), LIMIT (as for a
 * mask, and a byte that takes more than some milliseconds), NOMEM, ARGUMENT. On failure nothing has
 * changed.
 */
SLM_API slm_status slm_matcher_accept(slm_matcher *matcher, slm_token token, slm_error *err);

/* Add bytes to the text, as one step; whatever the tokens are. The same statuses. */
SLM_API slm_status slm_matcher_accept_text(slm_matcher *matcher, const char *text, size_t n_bytes,
                                           slm_error *err);

/* Take back the last n steps. RANGE if there are not so many, or n is above SLM_MATCHER_STEPS; nothing has changed then. ARGUMENT. */
SLM_API slm_status slm_matcher_rollback(slm_matcher *matcher, int32_t n, slm_error *err);

typedef enum slm_text_end {
    SLM_END_NO = 0,  /* the text is not complete                   */
    SLM_END_MAY = 1, /* it is, and may go on                       */
    SLM_END_MUST = 2 /* it is, and nothing may follow              */
} slm_text_end;

/* May the text end here? NO for NULL. */
SLM_API slm_text_end slm_matcher_end(const slm_matcher *matcher);

/*
 * The bytes that must come next whatever is chosen, up to `capacity` and 4,096 of them; *n_bytes receives how many were stored. They are not added to
 * the text. May end inside of a code point. LIMIT, NOMEM, ARGUMENT.
 */
SLM_API slm_status slm_matcher_forced_text(slm_matcher *matcher, char *buffer, size_t capacity,
                                           size_t *n_bytes, slm_error *err);

/*
 * The same as tokens, to be accepted and decoded without sampling: as the model's tokenizer splits those bytes, if it gives these bytes back,
 * else the longest token each time. The last one is left out, unless the text ends there: with what follows it might be another. Looks
 * 256 bytes ahead. LIMIT, NOMEM, ARGUMENT.
 */
SLM_API slm_status slm_matcher_forced_tokens(slm_matcher *matcher, slm_token *out, size_t capacity,
                                             size_t *n_tokens, slm_error *err);

typedef enum slm_spacing {
    SLM_SPACING_PYTHON,  /* {"a": 1, "b": [2, 3]}: what Python's json.dumps() writes              */
    SLM_SPACING_COMPACT, /* {"a":1,"b":[2,3]}                                                     */
    SLM_SPACING_FREE,    /* up to 20 spaces, tabs and line ends wherever JSON allows them         */
} slm_spacing;

typedef struct slm_schema_params {
    size_t size;             /* sizeof(slm_schema_params)                                         */
    slm_allocator allocator; /* used for everything that belongs to the grammar                   */
    slm_spacing spacing;
    /* Everything that the standard allows. Otherwise, where a schema leaves open what its author rarely means: a place without "type"
     * has the types that its keywords speak of ("properties": an object); an object with "properties" has no others, and an array
     * with "prefixItems" no further items, unless "additionalProperties" or "items" says so. */
    bool open;
} slm_schema_params;

SLM_API slm_schema_params slm_schema_defaults(void);

/*
 * A grammar of the JSON texts that satisfy a schema (JSON Schema, draft 2020-12; docs/json-schema.md has the table of keywords). Every
 * text that it fits is valid. Properties come in the order of the schema.
 *
 * params  NULL: the defaults
 * out     free with slm_grammar_free()
 *
 * A keyword that is not supported is never ignored. Messages name the place by its JSON pointer ("#/properties/age").
 *
 * ARGUMENT, RANGE (params; limits that contradict each other); FORMAT (no JSON; a keyword with a value that it cannot have; $ref to nothing or in
 * a circle; nothing satisfies the schema); UNSUPPORTED (keywords, formats, parts of regular expressions; $ref to another document,
 * which is never fetched; oneOf whose alternatives are not seen to exclude each other); LIMIT (256 levels of JSON; 2,000 combinations
 * of alternatives in one place; 20,000 combinations of schemas, 4,096 properties; regular expressions, see the docs; half a second of work; what the engine
 * says of the grammar); NOMEM.
 */
SLM_API slm_status slm_grammar_from_schema(const char *json, size_t n_bytes,
                                           const slm_schema_params *params, slm_grammar **out,
                                           slm_error *err);

/* ---- Sampler --------------------------------------------------------------------------------- */

/* A string that belongs to the caller. It may hold any bytes. */
typedef struct slm_string {
    const char *text;
    size_t n_bytes;
} slm_string;

typedef struct slm_logit_bias {
    slm_token token;
    float bias; /* added to its logit; -INFINITY: the token never comes */
} slm_logit_bias;

typedef struct slm_sampler slm_sampler;

/*
 * From a row of logits to a token, in steps: docs/sampling.md has the formula and the source of each. First come `allowed`
 * (slm_sampler_set_allowed()), biases and bans, then the steps that `order` names, then a random number. A step whose parameter says
 * "off" takes no part. Defaults are greedy: temperature 0, all others off.
 *
 * Two things go before the order: with temperature 0 (and a temperature among the steps) the most probable token that penalties, DRY, biases and bans leave comes, no other step
 * has a say, and no random number is taken; with mirostat penalties, DRY and temperature are the only steps before it.
 *
 * Strings and arrays are copied when the sampler is created.
 */
typedef struct slm_sampler_params {
    size_t size;             /* sizeof(slm_sampler_params)                                        */
    slm_allocator allocator; /* used for everything that belongs to the sampler                   */
    float
        repeat_penalty; /* > 0; 1: off. Divides positive and multiplies negative logits (Keskar et al. 2019,
                                arXiv:1909.05858) of tokens among the last `repeat_last_n`        */
    int32_t repeat_last_n; /* 0 .. 65536                                                        */
    float temperature;     /* >= 0; 0: the most probable token                                  */
    int32_t top_k;         /* keep the k most probable; 0: off                                  */
    float top_p;   /* 0 .. 1, keep the fewest whose probability is at least p (Holtzman et al. 2020,
                                arXiv:1904.09751); 1: off                                         */
    float min_p;   /* 0 .. 1, drop those below min_p times the highest probability; 0: off */
    uint64_t seed; /* same seed, same tokens, on every machine                          */

    /* Names with ',' or ';' between them, NUL-terminated; NULL: "penalties,dry,top_n_sigma,top_k,typical,top_p,min_p,xtc,temperature".
     * Steps that are not named take no part. */
    const char *order;
    /* Taken off the logits of tokens among the last `repeat_last_n`: once, and for each time. 0: off. */
    float presence_penalty, frequency_penalty;
    /* > 0: the temperature moves with the entropy of what is left, from temperature - range (at least 0) to temperature + range; its
     * share of the highest possible entropy, to the power of the exponent (0 .. 100), says where. 0: off. */
    float dynatemp_range, dynatemp_exponent;
    /* 0 .. 1, keep those whose surprise is nearest to the entropy (Meister et al. 2022, arXiv:2202.00666) until their probability is at
     * least so much; 0 or 1: off. */
    float typical_p;
    float
        top_n_sigma; /* >= 0, keep logits within so many standard deviations of the highest (Tang et
                          al. 2024, arXiv:2411.07641); 0: off */
    /* With this probability (0: off) drop all tokens of at least xtc_threshold (0 .. 1) but the least probable of them. */
    float xtc_probability, xtc_threshold;
    /* 2: keep surprise near mirostat_tau bits (>= 0) at learning rate mirostat_eta (>= 0), mirostat 2.0 of Basu et al. 2021,
     * arXiv:2007.14966; 0: off. */
    int32_t mirostat;
    float mirostat_tau, mirostat_eta;
    /* DRY ("don't repeat yourself"): a token that would prolong a repetition of n >= dry_allowed_length (>= 1) tokens within the last
     * dry_last_n (0 .. 65536) loses dry_multiplier * dry_base ^ (n - dry_allowed_length); multiplier >= 0, 0: off; base >= 1. Repetitions
     * do not go past a breaker. Breakers are text and need a model; without one set n_dry_breakers to 0. */
    float dry_multiplier, dry_base;
    int32_t dry_allowed_length, dry_last_n;
    const slm_string *dry_breakers; /* [n_dry_breakers] */
    int32_t n_dry_breakers;
    int32_t n_logit_biases;
    /* [n_logit_biases], finite or -INFINITY; those of a token add up. Tokens of `model`, if it is given; without it, those that a row does
     * not have count for nothing. */
    const slm_logit_bias *logit_biases;
    /* Strings that the text never contains: a token that would complete one, also one that began with earlier tokens, does not come. Needs
     * a model. At most 1024, and 64 KiB. */
    const slm_string *banned_strings; /* [n_banned_strings] */
    int32_t n_banned_strings;
    int32_t
        min_tokens; /* >= 0: no end of generation before so many sampled ones. Needs a model     */
    const slm_model
        *model; /* for what needs it; else NULL. Outlives the sampler                        */
} slm_sampler_params;

SLM_API slm_sampler_params slm_sampler_defaults(void);

/* RANGE (a parameter, NaN too), ARGUMENT (a name in `order` that is unknown or comes twice, no model where one is needed, an empty string;
 * NULL), UNSUPPORTED (a model without a vocabulary), LIMIT (strings), NOMEM. Free with slm_sampler_free(). */
SLM_API slm_status slm_sampler_create(const slm_sampler_params *params, slm_sampler **out,
                                      slm_error *err);
SLM_API void slm_sampler_free(slm_sampler *sampler);

/* Choose a token from a row of logits, which is only read, and remember it.
 * Equal logits: the lowest token. NUMERIC if a logit is NaN or +infinity or no token that may come has a finite one; ARGUMENT (allowed tokens
 * for another n_vocab; NULL); NOMEM. On failure the sampler is as it was. */
SLM_API slm_status slm_sampler_sample(slm_sampler *sampler, const float *logits, int32_t n_vocab,
                                      slm_token *token, slm_error *err);

/* Remember a token that was not sampled (of the prompt), for penalties, DRY and banned strings. It does not count for
 * min_tokens. */
SLM_API void slm_sampler_accept(slm_sampler *sampler, slm_token token);

/* Forget all tokens, and what mirostat has learnt; random numbers go on. For a new text. */
SLM_API void slm_sampler_reset(slm_sampler *sampler);

/*
 * Only these tokens may come, from the next slm_sampler_sample() on: bit i % 64 of bits[i / 64] for token i of n_vocab, which must be
 * that of the rows. The bits stay the caller's and are read by each call that samples, so they may change between calls, and must stay in place
 * until this function is called again (NULL: all tokens may come) or the sampler is freed. ARGUMENT.
 */
SLM_API slm_status slm_sampler_set_allowed(slm_sampler *sampler, const uint64_t *bits,
                                           int32_t n_vocab);

/*
 * The same by a grammar: from the next slm_sampler_sample() on only tokens that the matcher allows come, and each is accepted by it. Speculation
 * (slm_speculate()) then drafts what the grammar leaves no choice about. Tokens given to slm_sampler_accept() do not reach the matcher.
 *
 * matcher  stays the caller's, outlives the sampler or the next call of one of the two functions, and is touched by nobody else between; NULL: all tokens
 *          may come.
 *
 * slm_sampler_sample() then also gives every status of slm_matcher_mask() and slm_matcher_accept(): MISMATCH where no token can go on, LIMIT.
 * ARGUMENT.
 */
SLM_API slm_status slm_sampler_set_matcher(slm_sampler *sampler, slm_matcher *matcher);

/* ---- Log-probabilities ---- */

typedef struct slm_logprob {
    slm_token token;
    double logprob; /* natural logarithm; -INFINITY for a token that cannot come */
} slm_logprob;

/*
 * Of the row as the model gave it: logit - ln(sum of exp(logit)), the same bits on every machine, within 1e-6.
 *
 * tokens  [n_tokens] of interest; may be NULL when that is 0.
 * n_top   0 .. n_vocab: the most probable ones; of equal ones the lower token.
 * out     [n_tokens + n_top]: `tokens` in their order, then the best, falling.
 *
 * Takes no memory; safe to call from several threads. RANGE (a token, n_top), NUMERIC (NaN, +infinity, none finite), ARGUMENT.
 */
SLM_API slm_status slm_logprobs(const float *logits, int32_t n_vocab, const slm_token *tokens,
                                int32_t n_tokens, int32_t n_top, slm_logprob *out, slm_error *err);

/* The same of row `index` of slm_logits(), by several threads too while no other function has the context. For many rows: what the processor
 * can do, which a virtual machine takes microseconds to tell, is not asked again for each. RANGE (also: there is no such row), NUMERIC, ARGUMENT. */
SLM_API slm_status slm_context_logprobs(const slm_context *ctx, int32_t index,
                                        const slm_token *tokens, int32_t n_tokens, int32_t n_top,
                                        slm_logprob *out, slm_error *err);

/* ---- Stop strings ---- */

/*
 * A text that ends where one of several strings appears in it, whatever pieces it comes in: put what slm_text_stream_add() gives
 * through slm_stops_add(). Held back is only what may yet be the start of a string. The first string that is complete counts;
 * of those that are complete at the same byte the longest. Time is linear in the text. One thread at a time.
 */
typedef struct slm_stops slm_stops;

/* strings    [n], copied; at most 1024 and 64 KiB (LIMIT), none empty (ARGUMENT). n may be 0.
 * allocator  NULL: malloc and free.
 * out        free with slm_stops_free().
 * LIMIT, NOMEM, ARGUMENT. */
SLM_API slm_status slm_stops_create(const slm_string *strings, int32_t n,
                                    const slm_allocator *allocator, slm_stops **out,
                                    slm_error *err);
SLM_API void slm_stops_free(slm_stops *stops);

/*
 * Text comes in, and what is certain goes out into `buffer`, at most what was held and `n_bytes`: the longest string less one byte, and n_bytes.
 * *n_out receives the length. *met (or NULL) the number of the string that was met, else -1. From the one met on everything is dropped, that string
 * too, until slm_stops_end().
 *
 * BUFFER if capacity is less than *n_out; nothing has then changed. ARGUMENT.
 */
SLM_API slm_status slm_stops_add(slm_stops *stops, const char *text, size_t n_bytes, char *buffer,
                                 size_t capacity, size_t *n_out, int32_t *met);

/* The end of the text: what was held comes out (nothing if a string was met), and a new text may begin. BUFFER; ARGUMENT. */
SLM_API slm_status slm_stops_end(slm_stops *stops, char *buffer, size_t capacity, size_t *n_out);

/* ---- Speculation ----------------------------------------------------------------------------- */

/*
 * More than one token a step, and exactly the tokens of plain decoding: what may come next is drafted, the drafts are
 * computed in one batch with the token before them, and the sampler is asked row by row, as ever, until it
 * chooses another token than the draft. Drafts come from the tokens themselves (what followed when the last ones
 * appeared before) and, if there is one, from a smaller model of the same vocabulary. See docs/speculation.md.
 *
 *     slm_speculator_accept(s, prompt, n_prompt, &err);
 *     while (!ended && !slm_speculate(s, sampler, out, capacity, &n, &err)) use(out, n);
 *
 * A speculator serves one sequence of one context. It belongs to one thread at a time, as the contexts do.
 */
typedef struct slm_speculator slm_speculator;

typedef struct slm_speculator_params {
    size_t size;             /* sizeof(slm_speculator_params)                                     */
    slm_allocator allocator; /* used for everything that belongs to the speculator                */
    int32_t sequence;        /* of the context, and of the draft model's                          */
    int32_t n_draft;         /* 0 .. 64: most tokens drafted in a step, see slm_speculator_info   */
    int32_t n_match_min;     /* 1 .. n_match_max: draft what followed when the last tokens, at    */
    int32_t n_match_max;     /* least and at most so many, came before; max 0 .. 16, 0: never     */
    float draft_cost;        /* > 0: time that a drafted token adds to a step, in steps without
                                drafts. Decides how many are drafted, never what the text is      */
    bool always;             /* draft as many as can be, also when it does not pay                */
    slm_context *draft; /* a context of a model of the same vocabulary, with this sequence for the
                                speculator alone; outlives it. Or NULL: only n_match_*            */
} slm_speculator_params;

SLM_API slm_speculator_params slm_speculator_defaults(void);

/*
 * ctx     outlives the speculator. A step drafts fewer tokens than the context's n_logits and n_batch, so a
 *         context of slm_context_defaults(), with n_logits 1, never drafts.
 * params  NULL: slm_speculator_defaults().
 * out     free with slm_speculator_free(). Nothing is allocated later.
 *
 * RANGE (a parameter), MISMATCH (the draft model's vocabulary is another one), NOMEM, ARGUMENT.
 */
SLM_API slm_status slm_speculator_create(slm_context *ctx, const slm_speculator_params *params,
                                         slm_speculator **out, slm_error *err);
SLM_API void slm_speculator_free(slm_speculator *s);

/*
 * Add tokens to the end of the speculator's text: of a prompt, or sampled by other means than slm_speculate(). What the sequence
 * does not hold yet is computed by the next step, so it does not matter whether they were decoded already.
 * The sampler is not told (slm_sampler_accept()).
 *
 * CONTEXT_FULL (more than the context's positions and one; none was added), RANGE, BUSY, ARGUMENT.
 */
SLM_API slm_status slm_speculator_accept(slm_speculator *s, const slm_token *tokens,
                                         int32_t n_tokens, slm_error *err);

/* Forget all but the first `length` tokens of the text, in the sequences of both contexts too. RANGE, BUSY, ARGUMENT. */
SLM_API slm_status slm_speculator_truncate(slm_speculator *s, int32_t length, slm_error *err);

/* slm_seq_remove() of the text, in the sequences of both contexts. Its statuses; then nothing has changed. */
SLM_API slm_status slm_speculator_remove(slm_speculator *s, int32_t begin, int32_t end,
                                         slm_error *err);

/*
 * One step: compute what the sequence does not hold of the text yet, and 1 .. `capacity` tokens more, chosen and
 * remembered by `sampler`. They are the tokens that this loop would give, and leave the sampler as it would:
 *
 *     slm_decode(the last token);  slm_sampler_sample(slm_logits(ctx, 0), ...);
 *
 * A step ends with a token that ends a generation (SLM_TOKEN_EOG). The last token is part of the text but not yet of the
 * sequence, and slm_logits() holds nothing of use. The sequence is otherwise only changed through the speculator.
 *
 * out    room for `capacity` tokens, at least 1 (RANGE)
 * n_out  receives their number; 0 on failure
 *
 * On failure no token was sampled and the text is as it was: calling again goes on where this call stopped, with the same
 * tokens. Every status of slm_decode() and slm_sampler_sample(); CONTEXT_FULL, NUMERIC and so on come at the token at which
 * they would come without drafts. Of the draft context only CANCELLED and BUSY matter; where it fails otherwise (it
 * may be shorter) nothing is drafted by it. RANGE if there is no token to go on from, or the sequence holds more than the
 * text. BUSY if another call is inside.
 */
SLM_API slm_status slm_speculate(slm_speculator *s, slm_sampler *sampler, slm_token *out,
                                 int32_t capacity, int32_t *n_out, slm_error *err);

typedef struct slm_speculator_info {
    size_t size;        /* sizeof(slm_speculator_info), set by the caller                         */
    int32_t n_draft;    /* tokens that a step can draft: the parameter, but less than the context's
                           n_logits and n_batch                                                   */
    int32_t n_tokens;   /* of the text                                                            */
    int64_t n_steps;    /* that succeeded                                                         */
    int64_t n_drafted;  /* tokens that were drafted and computed in them                          */
    int64_t n_accepted; /* drafted tokens that the sampler chose                                  */
} slm_speculator_info;

/* ARGUMENT if a pointer is NULL or info->size is wrong. */
SLM_API slm_status slm_speculator_get_info(const slm_speculator *s, slm_speculator_info *info);

/* ---- Importance matrices --------------------------------------------------------------------- */

/*
 * How much each column of each matrix of a model matters, from a text: an error e in column i of a
 * row changes the product with x by e x_i, so the square of an error weighs as much as the mean of
 * x_i^2 over the text. What is kept is the sum of x_i^2 and the number of tokens, as llama.cpp's
 * llama-imatrix does, whose files (GGUF) these are, read and written. See docs/imatrix.md.
 *
 *     slm_imatrix_create(model, NULL, &imatrix, &err);
 *     params.observe = slm_imatrix_observe;        of the context
 *     params.observe_user = imatrix;
 *     ...                     slm_decode() of a text, slm_seq_truncate(), slm_decode() of the next
 *     slm_imatrix_save(imatrix, "imatrix.gguf", &err);
 *
 * The same bits for any number of threads and any split into batches. Sums are kept in double
 * precision, and in single precision in files. Functions on a `const` object may run at the same
 * time, others one at a time.
 */
typedef struct slm_imatrix slm_imatrix;

typedef struct slm_imatrix_params {
    size_t size;             /* sizeof(slm_imatrix_params)                                        */
    slm_allocator allocator; /* used for everything that belongs to the importance matrix         */
    int32_t chunk_size; /* at least 1: tokens of a window, only to be told in the file; default 512.
                           Of a file that is opened: what the file tells                          */
    bool output_matrix; /* of a model: its output matrix, too; else those of its layers only      */
    bool guard; /* of a file that is opened: see slm_model_params                                 */
} slm_imatrix_params;

SLM_API slm_imatrix_params slm_imatrix_defaults(void);

/*
 * Sums of zero for the matrices of a model.
 *
 * model   with weights; need not outlive the importance matrix.
 * params  NULL: slm_imatrix_defaults().
 * out     free with slm_imatrix_free().
 *
 * UNSUPPORTED (model without weights), LIMIT (a name of more than 55 bytes), RANGE, NOMEM,
 * ARGUMENT.
 */
SLM_API slm_status slm_imatrix_create(const slm_model *model, const slm_imatrix_params *params,
                                      slm_imatrix **out, slm_error *err);

/*
 * The same from a file at `path` (NUL-terminated), which is closed again. The format that llama.cpp
 * had before GGUF is UNSUPPORTED.
 *
 * MISMATCH (no importance matrix; sums without counts; a shape), NUMERIC (a sum or count that is
 * negative, NaN or infinite), RANGE, and every status of the file kind that slm_model_open() has;
 * NOMEM, ARGUMENT.
 */
SLM_API slm_status slm_imatrix_open(const char *path, const slm_imatrix_params *params,
                                    slm_imatrix **out, slm_error *err);

SLM_API void slm_imatrix_free(slm_imatrix *imatrix);

/* An slm_observe_fn: add what a context shows. `imatrix` is an slm_imatrix. States, and matrices
 * that it does not have, are passed over. After an slm_decode() that failed (CANCELLED, for one)
 * the sums hold a part of its batch, of some matrices more than of others: of no use. */
SLM_API void slm_imatrix_observe(void *imatrix, const slm_observation *observation);

/* Add what another one has seen, as if it had been seen by this one: sums, counts, names of texts,
 * and tensors that only the other one has.
 *
 * MISMATCH (a shape), NOMEM, ARGUMENT (NULL, or both are the same one): then nothing has
 * changed. */
SLM_API slm_status slm_imatrix_add(slm_imatrix *imatrix, const slm_imatrix *more, slm_error *err);

/* Remember the name (NUL-terminated) of a text, to be told in the file. NOMEM, ARGUMENT. */
SLM_API slm_status slm_imatrix_add_dataset(slm_imatrix *imatrix, const char *name, slm_error *err);

/*
 * Is it for this model? Tensors of the same name must have as many columns and matrices.
 *
 * model  opened in any way, also keys_only
 * n      receives how many tensors of the model it has; 0 on failure
 *
 * MISMATCH (the message names the tensor), ARGUMENT.
 */
SLM_API slm_status slm_imatrix_match(const slm_imatrix *imatrix, const slm_model *model, int32_t *n,
                                     slm_error *err);

/*
 * An slm_importance_fn, for slm_quantize_params.importance: the mean of x^2 of each column;
 * `imatrix` is an slm_imatrix.
 *
 * tensor  its name, NUL-terminated
 * matrix  of a tensor with several (experts), which one; else 0
 * n       columns, of one matrix
 * out     [n] receives the means
 *
 * false, and `out` of no use: there is no such tensor or matrix, it has seen no tokens, or a mean
 * is NaN or infinite. Takes no memory.
 */
SLM_API bool slm_imatrix_importance(void *imatrix, const char *tensor, int64_t matrix, int64_t n,
                                    float *out);

/*
 * Write the file at `path` (NUL-terminated), whole or not at all, as slm_quantizer_write() does.
 * Tensors that have seen no tokens are left out.
 *
 * IO, NUMERIC (NaN, infinity or a sum too large for a float: the message names the tensor), NOMEM,
 * ARGUMENT (no tokens were seen; NULL).
 */
SLM_API slm_status slm_imatrix_save(const slm_imatrix *imatrix, const char *path, slm_error *err);

typedef struct slm_imatrix_info {
    size_t size;       /* sizeof(slm_imatrix_info), set by the caller                             */
    int32_t n_tensors; /* tensors in all, and those that have seen tokens                         */
    int32_t n_seen;
    int32_t chunk_size;
    int64_t n_chunks; /* windows of chunk_size, of the tensor that has seen most: below 2^32      */
    int64_t n_datasets; /* names of texts                                                         */
} slm_imatrix_info;

/* ARGUMENT if a pointer is NULL or info->size is wrong. */
SLM_API slm_status slm_imatrix_get_info(const slm_imatrix *imatrix, slm_imatrix_info *info);

/* `name` and `counts` and so on stay valid until the importance matrix changes. */
typedef struct slm_imatrix_tensor {
    size_t size;      /* sizeof(slm_imatrix_tensor), set by the caller                            */
    const char *name; /* NUL-terminated, the model's                                              */
    int64_t n_columns, n_matrices;
    const double *sums;   /* [n_matrices, n_columns] of x^2                                       */
    const double *counts; /* [n_matrices] tokens                                                  */
} slm_imatrix_tensor;

/* Tensors by rising name. RANGE if there is no such index; ARGUMENT. */
SLM_API slm_status slm_imatrix_get_tensor(const slm_imatrix *imatrix, int32_t index,
                                          slm_imatrix_tensor *info);

/* Names of texts, in the order in which they came; valid until the importance matrix changes.
 * RANGE, ARGUMENT. */
SLM_API slm_status slm_imatrix_get_dataset(const slm_imatrix *imatrix, int64_t index,
                                           slm_string *name);

/* ---- Quantization ---------------------------------------------------------------------------- */

/*
 * A file with smaller weights, from one with exact ones. What each tensor becomes is decided when the quantizer is created, and can be
 * asked before anything is written:
 *
 *     slm_model_open(path, &keys_only, &model, &err);
 *     slm_quantizer_create(model, &params, &q, &err);
 *     slm_quantizer_write(q, "small.gguf", &err);
 *
 * Matrices become the type that is named, or, for a mixture like Q4_K_M, that and better ones where it matters most
 * (docs/quantization.md says which). Norms, biases and other small tensors stay as they are. Scales are searched for, with the
 * least squared error. Keys stay, in order, but for general.file_type and general.quantization_version, which are set; so do
 * tensors and the alignment of the file. The same bytes on every machine and for any number of threads.
 */
typedef struct slm_quantizer slm_quantizer;

/* Names for slm_quantize_params.type by index, from large to small; NULL past the last. */
SLM_API const char *slm_quantize_type(int32_t index);

/* Tensors whose whole name fits the pattern ('*': any bytes, '?': any byte; at most 256 bytes) become this type of blocks: "F16",
 * "Q6_K" and so on, no mixture. */
typedef struct slm_tensor_choice {
    const char *pattern, *type;
} slm_tensor_choice;

/*
 * How much the columns of a matrix matter: scales and codes are then those with a small sum of
 * importance * error^2, where error is what a weight loses. Usually the mean of the squares of what
 * a column is multiplied by, over a text (an importance matrix).
 *
 * tensor  its name, NUL-terminated
 * matrix  of a tensor with three dimensions or more (experts), which one; else 0
 * n       columns: weights of a row
 * out     [n] receives them: finite, at least 0, in any unit
 *
 * Returns whether any are known; if not, all columns of that matrix count alike. Called once for
 * each matrix that is quantized, by the thread that called slm_quantizer_write() or
 * slm_quantizer_tensor_loss().
 */
typedef bool (*slm_importance_fn)(void *user, const char *tensor, int64_t matrix, int64_t n,
                                  float *out);

/* A key of the new file, in the place of the model's of this name or behind all others; none that
 * the quantizer sets itself (general.file_type, general.quantization_version), nor
 * general.alignment. Those of the model stay, but for "quantize.imatrix.*", which tell how its
 * weights were made. */
typedef struct slm_new_key {
    const char *name; /* NUL-terminated */
    const char *text; /* the value, NUL-terminated; NULL: `number`, as u32 */
    uint32_t number;
} slm_new_key;

typedef struct slm_quantize_params {
    size_t size;             /* sizeof(slm_quantize_params)                                       */
    slm_allocator allocator; /* used for everything that belongs to the quantizer                 */
    slm_progress_fn progress; /* or NULL; by the thread that writes                               */
    void *progress_user;
    const char *type; /* a slm_quantize_type(), in capitals or not; default "Q4_K_M"              */
    const slm_tensor_choice
        *choices; /* [n_choices]; the first that fits counts; read at creation */
    int32_t n_choices;
    int32_t n_threads; /* 0: physical cores that this process may use                             */
    bool requantize;   /* also what is quantized already, which costs quality each time           */
    slm_importance_fn importance; /* or NULL: all columns count alike. With it some mixtures choose
                                     other types for some tensors: see docs/quantization.md       */
    void *importance_user;
    slm_threads *threads; /* or NULL: n_threads of its own, while it works; else outlives it      */
    const slm_new_key *keys; /* [n_keys], at most 256; read at creation                           */
    int32_t n_keys;
} slm_quantize_params;

SLM_API slm_quantize_params slm_quantize_defaults(void);

/*
 * model   with tensors, opened in any way (keys_only suffices, for any architecture); outlives the quantizer.
 * params  NULL: slm_quantize_defaults().
 * out     free with slm_quantizer_free().
 *
 * ARGUMENT (a type that is unknown, a pattern that fits nothing, a key that is given twice or not
 * to be set; NULL), UNSUPPORTED (a tensor is quantized already; one of several parts of a model),
 * RANGE, LIMIT, TYPE (a key), CHANGED, NOMEM.
 */
SLM_API slm_status slm_quantizer_create(const slm_model *model, const slm_quantize_params *params,
                                        slm_quantizer **out, slm_error *err);
SLM_API void slm_quantizer_free(slm_quantizer *q);

typedef struct slm_quantizer_info {
    size_t size;      /* sizeof(slm_quantizer_info), set by the caller                            */
    const char *type; /* as slm_quantize_type() spells it                                         */
    int32_t n_threads;
    int32_t n_tensors;
    int32_t n_fallbacks; /* of them: rows are no whole blocks of the type that they should have */
    uint64_t n_params;   /* weights in all tensors                                          */
    uint64_t tensor_bytes_from, tensor_bytes; /* of the weights, before and after                 */
    uint64_t file_bytes_from, file_bytes;     /* of the files                                     */
} slm_quantizer_info;

/* ARGUMENT if a pointer is NULL or info->size is wrong. */
SLM_API slm_status slm_quantizer_get_info(const slm_quantizer *q, slm_quantizer_info *info);

typedef struct slm_quantized_tensor {
    size_t size;      /* sizeof(slm_quantized_tensor), set by the caller                          */
    const char *name; /* NUL-terminated, the model's                                              */
    const char *from, *to; /* types                                                               */
    const char *wanted;    /* another than `to` where rows are no whole blocks of it              */
    int32_t n_dims;
    int64_t dims[4]; /* dims[0] is contiguous (a row); unused ones are 1                          */
    uint64_t n_bytes_from, n_bytes;
    bool quantizable; /* a choice can name it; all others stay what they are                      */
} slm_quantized_tensor;

/* Tensors in the order of the model's. RANGE if there is no such index; ARGUMENT. */
SLM_API slm_status slm_quantizer_get_tensor(const slm_quantizer *q, int32_t index,
                                            slm_quantized_tensor *info);

/*
 * Tensor `index` becomes `type`, whatever was decided before: a type of blocks or floats by name
 * ("Q4_K", "F16"; no mixture), or a larger one where rows are no whole blocks of it. Sizes are then
 * those of the new plan; general.file_type stays that of slm_quantize_params.type. Not while
 * another thread uses the quantizer.
 *
 * RANGE (no such index), ARGUMENT (an unknown type; a tensor that is not to be quantized, like a
 * norm; NULL), UNSUPPORTED (it is quantized already, without `requantize`), CHANGED.
 */
SLM_API slm_status slm_quantizer_set_type(slm_quantizer *q, int32_t index, const char *type,
                                          slm_error *err);

/* What a tensor loses by becoming another type. */
typedef struct slm_tensor_loss {
    size_t size;      /* sizeof(slm_tensor_loss), set by the caller                               */
    const char *type; /* what it would become                                                     */
    uint64_t n_bytes; /* as that                                                                  */
    double error;     /* sum over all weights of importance * (weight - weight as read back)^2    */
    double square;    /* sum of importance * weight^2: error / square is the relative error       */
} slm_tensor_loss;

/*
 * Quantize tensor `index` to `type` (as for slm_quantizer_set_type(), whose rules hold) and read it
 * back, without a file and without a change of the plan. The same sums for any number of threads. A
 * quantizer without threads given starts its own for each call. Importance is 1 where none is
 * known.
 *
 * weights  or NULL; [product of its dims] receives what is read back, in the order of the file;
 *          after a failure a part of it may be there
 *
 * Takes a few MiB of memory while it works; `progress` tells of this tensor only. RANGE, ARGUMENT,
 * UNSUPPORTED, NUMERIC (NaN or infinity among the weights; an importance that is no finite number
 * of at least 0), CANCELLED, CHANGED, NOMEM; *loss is then as it was.
 */
SLM_API slm_status slm_quantizer_tensor_loss(const slm_quantizer *q, int32_t index,
                                             const char *type, float *weights,
                                             slm_tensor_loss *loss, slm_error *err);

/*
 * Write the file at `path` (NUL-terminated): beside it first, under that name with an ending, and
 * it takes its name when all of it is stored; on failure nothing is left, and what was there before
 * stays. A file that is replaced keeps its permissions. Takes threads, a few MiB of memory (each
 * thread beyond 16 adds 100 KiB) and as much as the keys of the file have. A quantizer may write
 * several times, also from several threads.
 *
 * IO (no such folder, no space; a device, a folder or a link at `path`), NUMERIC (NaN or infinity
 * among the weights, an importance that is no finite number of at least 0; the message names the
 * tensor and where in it), CANCELLED, CHANGED, NOMEM, ARGUMENT (the file of the model itself;
 * NULL).
 */
SLM_API slm_status slm_quantizer_write(const slm_quantizer *q, const char *path, slm_error *err);

#ifdef __cplusplus
}
#endif
#endif
