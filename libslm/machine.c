#include "machine.h"
#include "sort.h"

enum { STEPS = 1 << 14, MOST = 5, CLAMPED_FRAMES = 8 };
_Static_assert(SLM__MASK_WORK == 134217728 && SLM__BYTE_WORK == 1048576, "as messages say");

/* What there can be too much of. */
static const char too_many_ways[] =
    "too many ways to read the text: more than 8192 places in the grammar";
static const char too_deep[] =
    "the text is open in more than 65536 rules of the grammar at a time (brackets)";
const char slm__mask_is_too_much[] =
    "too many ways to read the tokens that may come: more than 134217728 steps";
const char slm__byte_is_too_much[] =
    "too many ways to read the text: more than 1048576 steps for a byte or a token";
static const char too_wide[] =
    "too many places in the grammar are needed at a time, to go on and to step back";

static slm_status no_memory(slm_error *err) {
    return slm__fail(err, SLM_ERR_NOMEM, "no memory for a matcher");
}

slm_status slm__machine_error(const slm__machine *m, slm_error *err) {
    return m->status == SLM_ERR_NOMEM ? no_memory(err)
                                      : slm__fail(err, SLM_ERR_LIMIT, "%s", m->why);
}

/* `why` NULL: there is no memory. */
static uint32_t fail(slm__machine *m, const char *why) {
    m->status = why ? SLM_ERR_LIMIT : SLM_ERR_NOMEM;
    m->why = why;
    return SET_FAILED;
}

void slm__machine_refuse(slm__machine *m, const char *why) { fail(m, why); }

void slm__machine_allow(slm__machine *m, uint64_t n, const char *why) {
    m->work_end = m->work + n;
    m->too_much = why;
}

bool slm__machine_overspent(slm__machine *m) { return fail(m, m->too_much) != SET_FAILED; }

static uint64_t mix(uint64_t h, uint64_t v) {
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 32;
}

static uint64_t both(uint32_t a, uint32_t b) { return (uint64_t)a << 32 | b; }

/* ---- Frames and sets are found in digital search trees (Coffman and Eve 1970): bits of a hash say which tree and then which way. However a grammar is made, a
 * way is no longer than that; and what came last is a leaf, so it can be taken away again. ---- */

/* ---- Frames ---- */

static bool same_frame(const slm__frame *a, const slm__frame *b) {
    return a->ret == b->ret && a->parent == b->parent && a->body == b->body && a->min == b->min &&
           a->max == b->max;
}

uint64_t slm__frame_hash(const slm__frame *f) {
    return mix(mix(mix(f->body, both(f->ret, f->parent)), both(f->min, f->max)), 0);
}

/* What holds the number + 1 of an equal frame, or 0 where it belongs. */
static uint32_t *frame_link(slm__machine *m, const slm__frame *f) {
    uint64_t h = slm__frame_hash(f);
    uint32_t *link = &m->frame_heads[h % SLM__HEADS];
    for (h /= SLM__HEADS; *link != 0 && !same_frame(&m->frames.p[*link - 1], f); h >>= 1)
        link = &m->frames.p[*link - 1].below[h & 1];
    return link;
}

/* SET_FAILED if there is no memory for it. */
static uint32_t intern_frame(slm__machine *m, slm__frame f) {
    if (!SLM_ROOM(&m->allocator, &m->frames, 1)) return fail(m, NULL); /* links stay */
    uint32_t *link = frame_link(m, &f);
    if (*link != 0) return *link - 1;
    if (m->frames.n >= MOST * SLM__FULL_FRAMES) return fail(m, too_deep);
    f.below[0] = f.below[1] = 0;
    m->frames.p[m->frames.n] = f;
    *link = m->frames.n + 1;
    return m->frames.n++;
}

/* ---- The set that is being made ---- */

static void begin(slm__machine *m) {
    m->n_found = 0;
    m->ends = m->escapes = false;
    m->left = 0;
    if (++m->stamp != 0) return;
    memset(m->seen, 0, 2 * SLM__MAX_PLACES * sizeof *m->seen);
    m->stamp = 1;
}

/* The slot of a place, or the free one where it belongs. Steps have lengths of their own, so that places of one slot part. */
static slm__seen *slot_of(const slm__machine *m, uint32_t state, uint32_t frame) {
    uint64_t h = mix(mix(1, both(state, frame)), 0);
    for (uint32_t i = (uint32_t)h, step = (uint32_t)(h >> 32) | 1;; i += step) {
        slm__seen *s = &m->seen[i % (2 * SLM__MAX_PLACES)];
        if (s->stamp != m->stamp) return s;
        const slm__place *p = &m->found[s->number];
        if (p->state == state && p->frame == frame) return s;
    }
}

static bool visit(slm__machine *m, uint32_t state, uint32_t frame) {
    slm__seen *s = slot_of(m, state, frame);
    m->work++;
    if (s->stamp == m->stamp) return true;
    if (m->n_found >= SLM__MAX_PLACES) return fail(m, too_many_ways) != SET_FAILED;
    *s = (slm__seen){m->stamp, m->n_found};
    m->found[m->n_found++] = (slm__place){state, frame};
    return true;
}

static bool visited(const slm__machine *m, uint32_t state, uint32_t frame) {
    return slot_of(m, state, frame)->stamp == m->stamp;
}

/* Where a unit that was called with this frame returns to. */
static bool give_back(slm__machine *m, uint32_t frame) {
    if (frame == FRAME_END || frame == FRAME_UNKNOWN) {
        m->ends |= frame == FRAME_END;
        m->escapes |= frame == FRAME_UNKNOWN;
        return true;
    }
    slm__frame f = m->frames.p[frame];
    if (f.body == SLM__NO_STATE) return visit(m, f.ret, f.parent);
    /* A round is done. One that has read nothing, which is possible only where min is 0, leads to no more than
     * the round before. */
    bool again = f.max > 1 && !(f.min == 0 && visited(m, f.body, frame));
    if (f.min > 0) f.min--;
    if (f.max != UINT32_MAX) f.max--;
    if (f.min == 0 && f.ret == SLM__NO_STATE) {
        m->escapes = true;
        if (f.max > m->left) m->left = f.max;
    } else if (f.min == 0 && !visit(m, f.ret, f.parent)) {
        return false;
    }
    if (!again) return true;
    uint32_t next = intern_frame(m, f);
    return next != SET_FAILED && visit(m, f.body, next);
}

static bool call(slm__machine *m, const slm__call_edge *e, uint32_t frame) {
    const slm_grammar *g = m->grammar;
    if (e->kind == CALL_TOKEN) return true;
    slm__frame f = {.ret = e->to, .parent = frame, .body = SLM__NO_STATE};
    uint32_t start = e->target;
    if (e->kind == CALL_LOOP) {
        const slm__loop *loop = &g->loops.p[e->target];
        if (loop->min == 0 && !visit(m, e->to, frame)) return false;
        f.body = start = loop->body;
        f.min = loop->min;
        f.max = loop->max;
    } else if (g->states.p[e->to].tail) {
        return visit(m, start, frame);
    }
    uint32_t next = intern_frame(m, f);
    return next != SET_FAILED && visit(m, start, next);
}

/* Follow all that needs no reading. */
static bool close_places(slm__machine *m) {
    const slm_grammar *g = m->grammar;
    for (uint32_t i = 0; i < m->n_found; i++) {
        slm__place p = m->found[i];
        const slm__astate *s = &g->states.p[p.state];
        if (s->final && !give_back(m, p.frame)) return false;
        if (!slm__machine_spend(m, s->n_calls)) return false;
        for (uint32_t k = 0; k < s->n_calls; k++)
            if (!call(m, &g->calls.p[s->calls + k], p.frame)) return false;
    }
    return true;
}

/* ---- Sets ---- */

/* What holds the number + 1 of a set of these places that is else like `like`, or 0 where it belongs. */
static uint32_t *set_link(slm__machine *m, const slm__place *p, const slm__place_set *like) {
    uint64_t h = like->ends + 2u * like->escapes + 4 * (uint64_t)like->left;
    for (uint32_t i = 0; i < like->n; i++) h = mix(h, both(p[i].state, p[i].frame));
    h = mix(h, 0);
    uint32_t *link = &m->set_heads[h % SLM__HEADS];
    for (h /= SLM__HEADS; *link != 0; h >>= 1) {
        slm__place_set *s = &m->sets.p[*link - 1];
        if (s->n == like->n && s->ends == like->ends && s->escapes == like->escapes &&
            s->left == like->left &&
            (s->n == 0 || memcmp(m->places.p + s->at, p, s->n * sizeof *p) == 0))
            break;
        link = &s->below[h & 1];
    }
    return link;
}

/* Keep the places that read, sorted. */
static void sort_found(slm__machine *m) {
    slm__place *p = m->found;
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->n_found; i++)
        if (m->grammar->states.p[p[i].state].reads) p[n++] = p[i];
    m->n_found = n;
    if (n < 2) return;
    for (uint32_t i = 0; i < n; i++) m->room[i] = (uint64_t)p[i].state << 32 | p[i].frame;
    slm__sort(m->room, m->room + n, n, 0);
    for (uint32_t i = 0; i < n; i++)
        p[i] = (slm__place){(uint32_t)(m->room[i] >> 32), (uint32_t)m->room[i]};
}

/* The number of the set of all that was found and is closed. */
static uint32_t intern_set(slm__machine *m) {
    sort_found(m);
    uint32_t n = m->n_found;
    slm__place_set s = {m->places.n, n, {0}, m->ends, m->escapes, m->left};
    if (!SLM_ROOM(&m->allocator, &m->sets, 1)) return fail(m, NULL); /* links stay */
    uint32_t *link = set_link(m, m->found, &s);
    if (*link != 0) return *link - 1;
    if (m->sets.n >= MOST * SLM__FULL_SETS || m->places.n + n > MOST * SLM__FULL_PLACES)
        return fail(m, too_wide);
    if (!SLM_ROOM(&m->allocator, &m->places, n)) return fail(m, NULL);
    if (n > 0) memcpy(m->places.p + s.at, m->found, n * sizeof *m->found);
    m->places.n += n;
    m->sets.p[m->sets.n] = s;
    *link = m->sets.n + 1;
    return m->sets.n++;
}

static uint32_t finish(slm__machine *m) { return close_places(m) ? intern_set(m) : SET_FAILED; }

uint32_t slm__machine_start(slm__machine *m) {
    begin(m);
    return visit(m, m->grammar->start, FRAME_END) ? finish(m) : SET_FAILED;
}

uint32_t slm__machine_local(slm__machine *m, uint32_t state) {
    const slm__astate *s = &m->grammar->states.p[state];
    uint32_t frame = FRAME_UNKNOWN;
    if (s->in_loop)
        frame = intern_frame(m, (slm__frame){.ret = SLM__NO_STATE,
                                             .parent = FRAME_UNKNOWN,
                                             .body = s->unit,
                                             .max = SLM__LOCAL_ROUNDS});
    if (frame == SET_FAILED) return SET_FAILED;
    begin(m);
    m->found[m->n_found++] = (slm__place){state, frame};
    return intern_set(m);
}

uint32_t slm__machine_rounds(const slm__machine *m, uint32_t set) {
    const slm__place_set *s = &m->sets.p[set];
    uint32_t least = s->escapes ? SLM__LOCAL_ROUNDS - s->left : UINT32_MAX;
    for (uint32_t i = 0; i < s->n; i++) {
        const slm__frame *f = &m->frames.p[m->places.p[s->at + i].frame];
        while (f->parent > FRAME_UNKNOWN) f = &m->frames.p[f->parent];
        if (f->body == SLM__NO_STATE) continue; /* called from no loop */
        uint32_t begun = SLM__LOCAL_ROUNDS - f->max + 1;
        if (begun < least) least = begun;
    }
    return least;
}

uint32_t slm__machine_exit(slm__machine *m, uint32_t frame) {
    const slm__frame *f = &m->frames.p[frame];
    begin(m);
    return visit(m, f->ret, f->parent) ? finish(m) : SET_FAILED;
}

uint32_t slm__machine_single(slm__machine *m, uint32_t set, uint32_t i) {
    if (m->sets.p[set].n == 1 && !m->sets.p[set].ends) return set;
    begin(m);
    m->found[m->n_found++] = m->places.p[m->sets.p[set].at + i];
    return intern_set(m);
}

uint32_t slm__machine_without(slm__machine *m, uint32_t set, const uint8_t *marked) {
    slm__place_set s = m->sets.p[set];
    begin(m);
    for (uint32_t i = 0; i < s.n; i++) {
        slm__place p = m->places.p[s.at + i];
        if (!marked[p.state]) m->found[m->n_found++] = p;
    }
    return intern_set(m);
}

/* The same frame with smaller counts, as far down as CLAMPED_FRAMES. */
static uint32_t clamp_frame(slm__machine *m, uint32_t frame, uint32_t n) {
    uint32_t chain[CLAMPED_FRAMES], depth = 0, parent = frame;
    for (; parent > FRAME_UNKNOWN && depth < CLAMPED_FRAMES; parent = m->frames.p[parent].parent)
        chain[depth++] = parent;
    while (depth-- > 0 && parent != SET_FAILED) {
        slm__frame f = m->frames.p[chain[depth]];
        uint32_t max = f.max > n ? UINT32_MAX : f.max, min = f.min > n ? n + 1 : f.min;
        if (f.body == SLM__NO_STATE || (max == f.max && min == f.min)) max = f.max, min = f.min;
        if (parent == f.parent && max == f.max && min == f.min) {
            parent = chain[depth];
            continue;
        }
        f.parent = parent;
        f.max = max;
        f.min = min;
        parent = intern_frame(m, f);
    }
    return parent;
}

uint32_t slm__machine_clamp(slm__machine *m, uint32_t set, uint32_t n) {
    slm__place_set s = m->sets.p[set];
    begin(m);
    m->ends = s.ends;
    m->escapes = s.escapes;
    for (uint32_t i = 0; i < s.n; i++) {
        slm__place p = m->places.p[s.at + i];
        p.frame = clamp_frame(m, p.frame, n);
        if (p.frame == SET_FAILED || !visit(m, p.state, p.frame)) return SET_FAILED;
    }
    return intern_set(m);
}

static uint32_t compute_byte(slm__machine *m, uint32_t set, uint8_t byte) {
    slm__place_set s = m->sets.p[set];
    if (!slm__machine_spend(m, s.n)) return SET_FAILED;
    begin(m);
    for (uint32_t i = 0; i < s.n; i++) {
        slm__place p = m->places.p[s.at + i];
        uint32_t to = slm__after_byte(m->grammar, &m->grammar->states.p[p.state], byte);
        if (to != SLM__NO_STATE && !visit(m, to, p.frame)) return SET_FAILED;
    }
    return m->n_found == 0 ? SET_DEAD : finish(m);
}

uint32_t slm__machine_byte(slm__machine *m, uint32_t set, uint8_t byte) {
    slm__machine_step *step = &m->steps[(set * 0x9e3779b1u ^ byte * 0x85ebca77u) >> 18];
    uint32_t key = m->released << 8 | byte;
    if (step->set == set && step->key == key)
        return slm__machine_spend(m, step->work) ? step->next : SET_FAILED;
    uint64_t before = m->work;
    uint32_t next = compute_byte(m, set, byte);
    if (next != SET_FAILED)
        *step = (slm__machine_step){set, next, (uint32_t)(m->work - before), key};
    return next;
}

uint32_t slm__machine_token(slm__machine *m, uint32_t set, const bool *symbols) {
    const slm_grammar *g = m->grammar;
    slm__place_set s = m->sets.p[set];
    begin(m);
    for (uint32_t i = 0; i < s.n; i++) {
        slm__place p = m->places.p[s.at + i];
        const slm__astate *x = &g->states.p[p.state];
        if (!slm__machine_spend(m, x->n_calls)) return SET_FAILED;
        for (uint32_t k = 0; k < x->n_calls; k++) {
            const slm__call_edge *e = &g->calls.p[x->calls + k];
            if (e->kind == CALL_TOKEN && symbols[e->target] && !visit(m, e->to, p.frame))
                return SET_FAILED;
        }
    }
    return m->n_found == 0 ? SET_DEAD : finish(m);
}

uint32_t slm__machine_join(slm__machine *m, uint32_t a, uint32_t b) {
    if (a == b || b == SET_DEAD) return a;
    if (a == SET_DEAD) return b;
    begin(m);
    uint32_t ids[2] = {a, b};
    for (int k = 0; k < 2; k++) {
        slm__place_set s = m->sets.p[ids[k]];
        m->ends |= s.ends;
        m->escapes |= s.escapes;
        for (uint32_t i = 0; i < s.n; i++) {
            slm__place p = m->places.p[s.at + i];
            if (!visit(m, p.state, p.frame)) return SET_FAILED;
        }
    }
    return intern_set(m);
}

/* ---- Keeping it small ---- */

slm__mark slm__machine_mark(const slm__machine *m) {
    return (slm__mark){m->frames.n, m->places.n, m->sets.n};
}

bool slm__machine_full(const slm__machine *m, slm__mark since) {
    return m->sets.n - since.sets > SLM__FULL_SETS ||
           m->places.n - since.places > SLM__FULL_PLACES ||
           m->frames.n - since.frames > SLM__FULL_FRAMES;
}

void slm__machine_release(slm__machine *m, slm__mark mark) {
    while (m->sets.n > mark.sets) {
        slm__place_set s = m->sets.p[m->sets.n - 1];
        *set_link(m, m->places.p + s.at, &s) = 0;
        m->sets.n--;
    }
    while (m->frames.n > mark.frames) {
        slm__frame f = m->frames.p[m->frames.n - 1];
        *frame_link(m, &f) = 0;
        m->frames.n--;
    }
    m->places.n = mark.places;
    m->released = (m->released + 1) % (1 << 24); /* no step is known any more */
    if (m->released == 0) memset(m->steps, 0, STEPS * sizeof *m->steps);
}

/* `number` [frames of `from`]: 0 or 1, wanted; becomes the number in m. */
static bool copy_frames(slm__machine *m, const slm__machine *from, uint32_t *number) {
    number[FRAME_END] = FRAME_END;
    number[FRAME_UNKNOWN] = FRAME_UNKNOWN;
    for (uint32_t i = from->frames.n; i-- > 2;)
        if (number[i] && from->frames.p[i].parent > FRAME_UNKNOWN)
            number[from->frames.p[i].parent] = 1;
    for (uint32_t i = 2; i < from->frames.n; i++) {
        if (!number[i]) continue;
        slm__frame f = from->frames.p[i];
        f.parent = number[f.parent];
        number[i] = intern_frame(m, f);
        if (number[i] == SET_FAILED) return false;
    }
    return true;
}

bool slm__machine_copy(slm__machine *m, const slm__machine *from, uint32_t *ids, uint32_t n) {
    uint32_t *number = slm__alloc_array(&m->allocator, from->frames.n, sizeof *number);
    if (!number) return fail(m, NULL) != SET_FAILED;
    for (uint32_t i = 0; i < n; i++) {
        slm__place_set s = from->sets.p[ids[i]];
        for (uint32_t k = 0; k < s.n; k++)
            if (from->places.p[s.at + k].frame > FRAME_UNKNOWN)
                number[from->places.p[s.at + k].frame] = 1;
    }
    bool done = copy_frames(m, from, number);
    for (uint32_t i = 0; done && i < n; i++) {
        slm__place_set s = from->sets.p[ids[i]];
        begin(m);
        m->ends = s.ends;
        m->escapes = s.escapes;
        for (uint32_t k = 0; k < s.n; k++) {
            slm__place p = from->places.p[s.at + k];
            m->found[m->n_found++] = (slm__place){p.state, number[p.frame]};
        }
        ids[i] = intern_set(m);
        done = ids[i] != SET_FAILED;
    }
    slm__free(&m->allocator, number);
    if (!done) return false;
    if (m->frames.n > SLM__FULL_FRAMES) return fail(m, too_deep) != SET_FAILED;
    if (m->places.n > SLM__FULL_PLACES) return fail(m, too_wide) != SET_FAILED;
    return true;
}

/* ---- Life ---- */

slm_status slm__machine_init(slm__machine *m, const slm_grammar *g, const slm_allocator *a,
                             slm_error *err) {
    *m = (slm__machine){.allocator = *a, .grammar = g, .work_end = UINT64_MAX};
    m->frame_heads = slm__alloc_array(a, SLM__HEADS, sizeof *m->frame_heads);
    m->set_heads = slm__alloc_array(a, SLM__HEADS, sizeof *m->set_heads);
    m->steps = slm__alloc_array(a, STEPS, sizeof *m->steps);
    m->found = slm__alloc_array(a, SLM__MAX_PLACES, sizeof *m->found);
    m->seen = slm__alloc_array(a, 2 * SLM__MAX_PLACES, sizeof *m->seen);
    m->room = slm__alloc_array(a, 2 * SLM__MAX_PLACES, sizeof *m->room);
    bool ok = m->frame_heads && m->set_heads && m->steps && m->found && m->seen && m->room;
    /* in this order they get the numbers that machine.h gives them */
    slm__frame none = {.ret = SLM__NO_STATE, .body = SLM__NO_STATE};
    for (uint32_t i = 0; ok && i <= FRAME_UNKNOWN; i++) {
        none.min = i;
        ok = intern_frame(m, none) == i;
    }
    for (uint32_t i = 0; ok && i <= SET_ENDED; i++) {
        begin(m);
        m->ends = i == SET_ENDED;
        ok = intern_set(m) == i;
    }
    if (ok) return SLM_OK;
    slm__machine_free(m);
    return no_memory(err);
}

void slm__machine_free(slm__machine *m) {
    slm__free(&m->allocator, m->frames.p);
    slm__free(&m->allocator, m->places.p);
    slm__free(&m->allocator, m->sets.p);
    slm__free(&m->allocator, m->frame_heads);
    slm__free(&m->allocator, m->set_heads);
    slm__free(&m->allocator, m->steps);
    slm__free(&m->allocator, m->found);
    slm__free(&m->allocator, m->seen);
    slm__free(&m->allocator, m->room);
    *m = (slm__machine){0};
}
