/*
 * The machine: where in a grammar a text can be. A *place* is a state of the automaton and a frame: what to do when the unit returns, and the
 * frame below it. Frames and sets of places are interned, so equal ones have the same number, and what a byte makes of a set is remembered.
 */
#ifndef SLM_MACHINE_H
#define SLM_MACHINE_H

#include "automaton.h"

enum {
    FRAME_END = 0,           /* returning from it ends the text                                   */
    FRAME_UNKNOWN = 1,       /* stands for all frames: see slm__machine_local()                   */
    SET_DEAD = 0,            /* no place, and the text cannot end                                 */
    SET_ENDED = 1,           /* no place: the text has ended                                      */
    SET_FAILED = UINT32_MAX, /* machine->status says why; nothing has changed                */
};

/* A machine is full when it has so many more sets, places or frames than it had, and fails with MOST times as many. That is room for what a machine begins with
 * after a copy, what comes to it until it is full, what a clamp adds, and two walks that each fill it. */
enum { SLM__FULL_SETS = 1 << 14, SLM__FULL_PLACES = 1 << 17, SLM__FULL_FRAMES = 1 << 16 };

/* Trees in which frames are found, by the low bits of a hash; and of sets as many. */
enum { SLM__HEADS = 1 << 15 };

enum { SLM__NO_STATE = UINT32_MAX, SLM__MAX_PLACES = 8192, SLM__LOCAL_ROUNDS = 1 << 30 };

typedef struct slm__frame {
    uint32_t ret, parent; /* go on in state `ret` (NO_STATE: FRAME_UNKNOWN's) with frame `parent` */
    uint32_t body;     /* NO_STATE, or of a loop: first state of its body; max is then > 0      */
    uint32_t min, max; /* rounds, this one too; max UINT32_MAX: no end                          */
    uint32_t below[2]; /* in the tree that it is found in: numbers + 1                          */
} slm__frame;

typedef struct slm__place {
    uint32_t state, frame;
} slm__place;

typedef struct slm__place_set {
    uint32_t at, n;    /* into `places`: those whose states read, sorted */
    uint32_t below[2]; /* in the tree that it is found in: numbers + 1 */
    bool ends;         /* the text may end here                          */
    bool escapes;      /* returned from FRAME_UNKNOWN                    */
    uint32_t left;     /* rounds that were left then, in a local loop: the most */
} slm__place_set;

typedef struct slm__machine_step {
    uint32_t set, next, work;
    uint32_t key; /* of the time since the last release, and the byte */
} slm__machine_step;

typedef struct slm__seen {
    uint32_t stamp, number;
} slm__seen;

typedef struct slm__machine {
    slm_allocator allocator;
    const slm_grammar *grammar;
    SLM_VEC(slm__frame) frames;
    SLM_VEC(slm__place) places;
    SLM_VEC(slm__place_set) sets;
    uint32_t *frame_heads, *set_heads; /* [SLM__HEADS] of a tree, number + 1     */
    slm__machine_step *steps;          /* [STEPS] what was found lately        */
    slm__place *found;                 /* [SLM__MAX_PLACES] of the set that is being made */
    slm__seen *seen;                   /* [2 * MAX_PLACES] hash table of them */
    uint64_t *room;                    /* [2 * MAX_PLACES] to sort them       */
    uint32_t n_found, stamp, released;
    bool ends, escapes;
    uint32_t left;
    uint64_t work, work_end; /* steps; see slm__machine_spend()                                */
    const char *too_much;    /* message for more work than that                                */
    slm_status status;       /* of the last SET_FAILED: LIMIT, NOMEM                           */
    const char *why;         /* LIMIT: what there is too much of                               */
} slm__machine;

slm_status slm__machine_init(slm__machine *m, const slm_grammar *g, const slm_allocator *a,
                             slm_error *err);
void slm__machine_free(slm__machine *m);

/* Where a text begins. */
uint32_t slm__machine_start(slm__machine *m);

/* What follows whatever the frames are: a set with that state alone, of which all that is known is that it returns to somewhere. Where the state is
 * of a loop's body, more rounds are left than any token takes: SLM__LOCAL_ROUNDS. */
uint32_t slm__machine_local(slm__machine *m, uint32_t state);

/* Rounds of the local loop that were begun on the way to the set, or are done where it escapes: at least so many must be left. */
uint32_t slm__machine_rounds(const slm__machine *m, uint32_t set);

/* Where the unit that has this frame returns to. */
uint32_t slm__machine_exit(slm__machine *m, uint32_t frame);

/* The one place number i of a set as a set. */
uint32_t slm__machine_single(slm__machine *m, uint32_t set, uint32_t i);

/* The places of a set whose states are not marked, without its ends. */
uint32_t slm__machine_without(slm__machine *m, uint32_t set, const uint8_t *marked);

/* A set from which the same follows for texts of up to n bytes: rounds of loops that so few bytes cannot use up do not count. Many sets become one by
 * that. */
uint32_t slm__machine_clamp(slm__machine *m, uint32_t set, uint32_t n);

/*
 * Work is counted in steps of a few nanoseconds, and what is remembered costs as much as when it was found out: whether something is too much depends
 * on the grammar and the text, not on what was asked before. From now on n steps may be done, and then it is LIMIT, with that message. (At first,
 * any number.)
 */
enum { SLM__MASK_WORK = 1 << 27, SLM__BYTE_WORK = 1 << 20 };
extern const char slm__mask_is_too_much[], slm__byte_is_too_much[];
void slm__machine_allow(slm__machine *m, uint64_t n, const char *why);

/* Work of n steps is to be done. False: it is too much, as with SET_FAILED. */
bool slm__machine_overspent(slm__machine *m);
static inline bool slm__machine_spend(slm__machine *m, uint64_t n) {
    m->work += n;
    return m->work <= m->work_end || slm__machine_overspent(m);
}

/* It is LIMIT, with that message, as with SET_FAILED. */
void slm__machine_refuse(slm__machine *m, const char *why);

/* The set after a byte. */
uint32_t slm__machine_byte(slm__machine *m, uint32_t set, uint8_t byte);

/* The set after a token, for those places that read tokens: symbols[i] are the matching ones. */
uint32_t slm__machine_token(slm__machine *m, uint32_t set, const bool *symbols);

/* The union of two sets. */
uint32_t slm__machine_join(slm__machine *m, uint32_t a, uint32_t b);

/* What there is now, and to forget what came later: numbers of sets and frames above are then void. */
typedef struct slm__mark {
    uint32_t frames, places, sets;
} slm__mark;
slm__mark slm__machine_mark(const slm__machine *m);
void slm__machine_release(slm__machine *m, slm__mark mark);

/* Is it time to release or to copy? */
bool slm__machine_full(const slm__machine *m, slm__mark since);

/* Release if it is time. */
static inline void slm__machine_trim(slm__machine *m, slm__mark mark) {
    if (slm__machine_full(m, mark)) slm__machine_release(m, mark);
}

/* Put the sets `ids` [n] of another machine into this one, which is new; ids become those of this one. False: as with SET_FAILED; LIMIT if they
 * alone would fill it. */
bool slm__machine_copy(slm__machine *m, const slm__machine *from, uint32_t *ids, uint32_t n);

uint64_t slm__frame_hash(const slm__frame *f);

/* The message that belongs to SET_FAILED. */
slm_status slm__machine_error(const slm__machine *m, slm_error *err);

/* The edge of a byte, by halves: a state may have 128. */
static inline uint32_t slm__after_byte(const slm_grammar *g, const slm__astate *s, uint8_t byte) {
    uint32_t n = s->n_bytes, at = s->bytes;
    while (n > 0) { /* a grammar of tokens has no edges of bytes at all */
        const slm__byte_edge *e = &g->bytes.p[at + n / 2];
        if (byte < e->first) {
            n /= 2;
        } else if (byte <= e->last) {
            return e->to;
        } else {
            at += n / 2 + 1;
            n -= n / 2 + 1;
        }
    }
    return SLM__NO_STATE;
}

#endif
