#include "shares.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct row_share {
    share_fn run;
    void *user;
    int32_t number, begin, end;
    pthread_t thread;
    bool started;
} row_share;

static void *run_share(void *user) {
    const row_share *s = user;
    s->run(s->user, s->number, s->begin, s->end);
    return NULL;
}

void share_rows(int32_t n_threads, int32_t n_rows, share_fn run, void *user) {
    row_share shares[MAX_SHARES];
    int32_t n = n_threads < MAX_SHARES ? n_threads : MAX_SHARES;
    n = n < n_rows ? n : n_rows;
    for (int32_t i = 0; i < n; i++)
        shares[i] = (row_share){.run = run,
                                .user = user,
                                .number = i,
                                .begin = (int32_t)((int64_t)n_rows * i / n),
                                .end = (int32_t)((int64_t)n_rows * (i + 1) / n)};
    for (int32_t i = 1; i < n; i++)
        shares[i].started = pthread_create(&shares[i].thread, NULL, run_share, &shares[i]) == 0;
    for (int32_t i = 0; i < n; i++)
        if (!shares[i].started) run_share(&shares[i]);
    for (int32_t i = 1; i < n; i++)
        if (shares[i].started) pthread_join(shares[i].thread, NULL);
}
