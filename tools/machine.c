/* See machine.h. Threads repeat a small piece of work for a moment, several times over; the best time counts, because
 * whatever disturbs a measurement makes it slower. */
#include "machine.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include "io.h"

/* ---- Threads at the same work ---- */

typedef struct worker worker;

struct worker {
    double (*work)(worker *w); /* a piece of it; returns how much that was, 0 if it failed */
    double end;                /* of this round, as now() tells it                         */
    double done;               /* in this round                                            */
    pthread_t thread;
    uint8_t *data; /* [size] what this thread reads; NULL until it begins */
    size_t size, at;
    const struct int8_instruction *instruction; /* NULL until the thread begins */
    uint64_t sum;                               /* of all that was read, so that it is read */
};

static void *repeat(void *arg) {
    worker *w = arg;
    double more;
    w->done = 0;
    do w->done += more = w->work(w);
    while (more > 0 && now() < w->end);
    return NULL;
}

/* Work done in a second by all; 0 if a thread is missing or failed. */
static double one_round(worker *workers, int n) {
    enum { MILLISECONDS = 50 };
    double begin = now(), done = 0;
    int n_started = 1; /* the caller is the first */
    bool failed = false;
    for (int i = 0; i < n; i++) workers[i].end = begin + MILLISECONDS * 1e-3;
    while (n_started < n &&
           pthread_create(&workers[n_started].thread, NULL, repeat, &workers[n_started]) == 0)
        n_started++;
    repeat(&workers[0]);
    for (int i = 1; i < n_started; i++) pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < n_started; i++) {
        done += workers[i].done;
        failed |= workers[i].done == 0;
    }
    return n_started < n || failed ? 0 : done / (now() - begin);
}

static double best_rate(double (*work)(worker *w), size_t size, int n) {
    enum { ROUNDS = 5 };
    worker *workers = calloc((size_t)n, sizeof *workers);
    double best = 0;
    if (!workers) return 0;
    for (int i = 0; i < n; i++) workers[i] = (worker){.work = work, .size = size};
    for (int round = 0; round < ROUNDS && !interrupted(); round++) {
        double rate = one_round(workers, n);
        best = rate > best ? rate : best;
    }
    for (int i = 0; i < n; i++) free(workers[i].data);
    free(workers);
    return best;
}

/* ---- Memory ---- */

typedef uint64_t line __attribute__((vector_size(64))); /* as many bytes as a cache line has */

/* A piece of the thread's part, as four streams a quarter apart: one stream alone does not keep the prefetchers busy.
 * The thread that reads a part is also the first to touch it, which decides on which node its memory lies. */
static double read_piece(worker *w) {
    enum { PIECE = 1 << 18 };
    size_t quarter = w->size / 4, n = quarter - w->at < PIECE ? quarter - w->at : PIECE;
    if (!w->data) {
        w->data = aligned_alloc(sizeof(line), w->size);
        if (!w->data) return 0;
        memset(w->data, 1, w->size);
    }
    const uint8_t *p = w->data + w->at;
    line sum = {0};
    for (size_t i = 0; i < n; i += sizeof(line), p += sizeof(line)) {
        sum ^= *(const line *)p ^ *(const line *)(p + quarter);
        sum ^= *(const line *)(p + 2 * quarter) ^ *(const line *)(p + 3 * quarter);
    }
    for (int i = 0; i < 8; i++) w->sum ^= sum[i];
    w->at = w->at + n < quarter ? w->at + n : 0;
    return 4.0 * (double)n;
}

double machine_read_bandwidth(int n_threads) {
    size_t all = (size_t)256 << 20, least = 1 << 20, unit = 4 * sizeof(line);
    size_t part = all / (size_t)n_threads;
    return best_rate(read_piece, (part > least ? part : least) / unit * unit, n_threads);
}

/* ---- Products of 8-bit integers: twelve chains, none of which waits for another ---- */

/* Registers are named here, and no compiler can take the work apart. What the accumulators begin with does not matter. */
#define TWELVE(chain)                                                                       \
    chain("0") chain("1") chain("2") chain("3") chain("4") chain("5") chain("6") chain("7") \
        chain("8") chain("9") chain("10") chain("11")

enum { STEPS = 1 << 15, CHAINS = 12 };

typedef struct int8_instruction {
    const char *name;
    double ops; /* of one step of a chain: two for each product of bytes */
    bool (*found)(void);
    void (*run)(void); /* STEPS steps of all chains */
} int8_instruction;

#if defined(__x86_64__)

/* Not zeros, with which a multiplier takes less power and may run faster. */
static const uint8_t factors[64] = {[0 ... 63] = 53};

#define VPDPBUSD_512(i) "vpdpbusd %%zmm15, %%zmm15, %%zmm" i "\n"
#define VPMADDUBSW_512(i) \
    "vpmaddubsw %%zmm15, %%zmm15, %%zmm14\nvpaddw %%zmm14, %%zmm" i ", %%zmm" i "\n"
#define VPMADDUBSW_256(i) \
    "vpmaddubsw %%ymm15, %%ymm15, %%ymm14\nvpaddw %%ymm14, %%ymm" i ", %%ymm" i "\n"

/* {vex} vpdpbusd ymmI, ymm15, ymm15, which older assemblers do not know. */
#define VPDPBUSD_256(i) ".byte 0xc4, 0xc2 - (" i " >> 3 << 7), 5, 0x50, 0xc7 + (" i " & 7) * 8\n"

/* A step: the operand once more, in case the compiler used its register, then all chains. */
#define STEP(load, chain)                                                                      \
    __asm__ volatile(load TWELVE(chain)::"m"(factors)                                          \
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", \
                       "xmm9", "xmm10", "xmm11", "xmm14", "xmm15")
#define LOAD_512     "vmovdqu64 %0, %%zmm15\n"
#define LOAD_256     "vmovdqu %0, %%ymm15\n"
#define VZEROUPPER() __asm__ volatile("vzeroupper") /* or code with SSE is slow from here on */

static void run_vpdpbusd_512(void) {
    for (int i = 0; i < STEPS; i++) STEP(LOAD_512, VPDPBUSD_512);
    VZEROUPPER();
}

static void run_vpdpbusd_256(void) {
    for (int i = 0; i < STEPS; i++) STEP(LOAD_256, VPDPBUSD_256);
    VZEROUPPER();
}

static void run_vpmaddubsw_512(void) {
    for (int i = 0; i < STEPS; i++) STEP(LOAD_512, VPMADDUBSW_512);
    VZEROUPPER();
}

static void run_vpmaddubsw_256(void) {
    for (int i = 0; i < STEPS; i++) STEP(LOAD_256, VPMADDUBSW_256);
    VZEROUPPER();
}

/* These ask what the CPU has and what the operating system saves. */
static bool has_avx512vnni(void) { return __builtin_cpu_supports("avx512vnni"); }
static bool has_avx512bw(void) { return __builtin_cpu_supports("avx512bw"); }
static bool has_avx2(void) { return __builtin_cpu_supports("avx2"); }

/* Not every compiler knows this one by name: leaf 7, subleaf 1, bit 4 of EAX. */
static bool has_avxvnni(void) {
    uint32_t a = 0, b, c, d;
    return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}

/* The best first. */
static const int8_instruction instructions[] = {
    {"vpdpbusd, 512 bits", 128, has_avx512vnni, run_vpdpbusd_512},
    {"vpdpbusd, 256 bits", 64, has_avxvnni, run_vpdpbusd_256},
    {"vpmaddubsw + vpaddw, 512 bits", 128, has_avx512bw, run_vpmaddubsw_512},
    {"vpmaddubsw + vpaddw, 256 bits", 64, has_avx2, run_vpmaddubsw_256},
    {0},
};

#elif defined(__aarch64__) && defined(__linux__)

/* smmla and sdot vI.4s, v15.16b, v15.16b, which assemblers know only when told of extensions, each in its own way. */
#define SMMLA(i) ".inst 0x4e8fa5e0 + " i "\n"
#define SDOT(i)  ".inst 0x4e8f95e0 + " i "\n"

#define STEP(chain)                                                                           \
    __asm__ volatile("movi v15.16b, #53\n" TWELVE(chain)::                                    \
                         : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", \
                           "v11", "v15")

static void run_smmla(void) {
    for (int i = 0; i < STEPS; i++) STEP(SMMLA);
}

static void run_sdot(void) {
    for (int i = 0; i < STEPS; i++) STEP(SDOT);
}

/* HWCAP2_I8MM and HWCAP_ASIMDDP of the Linux kernel, whose headers may be older. */
static bool has_smmla(void) { return getauxval(AT_HWCAP2) >> 13 & 1; }
static bool has_sdot(void) { return getauxval(AT_HWCAP) >> 20 & 1; }

static const int8_instruction instructions[] = {
    {"smmla", 64, has_smmla, run_smmla},
    {"sdot", 32, has_sdot, run_sdot},
    {0},
};

#else

static const int8_instruction instructions[] = {{0}};

#endif

static const int8_instruction *best_instruction(void) {
    const int8_instruction *i = instructions;
    while (i->name && !i->found()) i++;
    return i;
}

const char *machine_int8_name(void) { return best_instruction()->name; }

static double multiply_piece(worker *w) {
    if (!w->instruction)
        w->instruction = best_instruction(); /* asking takes long in a virtual machine */
    const int8_instruction *i = w->instruction;
    i->run();
    return i->ops * STEPS * CHAINS;
}

double machine_int8_ops(int n_threads) {
    return machine_int8_name() ? best_rate(multiply_piece, 0, n_threads) : 0;
}
