/* A plan's table of stages, and one loop over it in which all threads of a step take part. */

/* A kernel's code: the calling thread, the number of threads, pointers to buffers, sizes. Not 0 where it fails. */
typedef int32_t code(int32_t part, int32_t parts, char *const *at, const int64_t *size);
/* Memory that a stage is given: so many bytes behind one of the step's bases. */
typedef struct { int64_t offset; int32_t base; } place;
/* Weights that a stage shares by rows: row i of each of some streams, which follow one another, is its iteration i. */
typedef struct { int64_t offset, row_bytes; int32_t rows, streams; } streamed;
/* `coming`: the weights that are read next, by their place in the plan's table, at a wait; else -1. */
typedef struct { code *run; int16_t waits, shared, places, sizes, coming; } stage;
typedef struct {
    const stage *begin, *end;
    const streamed *streams;
    char *const *bases;
    const char *weights;
    const int64_t *known;
    int32_t *failed;
} step;

#ifdef PROFILED_STAGES
#define STAMP(moment) stamp_of(me, next - plan->begin)->moment = ticks()
#define BEGIN_PROFILE(threads) begin_profile(threads)
#define END_PROFILE() end_profile()
#else
#define STAMP(moment)
#define BEGIN_PROFILE(threads)
#define END_PROFILE()
#endif

/* Turns to the share of a thread in the weights that are read next, if it has not yet begun with them. */
static void expect(member *me, const step *plan, int number) {
    if (number < 0 || me->next.number == number)
        return;
    const streamed *of = &plan->streams[number];
    const int64_t first = (int64_t)of->rows * me->part / me->parts, end = (int64_t)of->rows * (me->part + 1) / me->parts;
    me->next.number = number;
    me->next.streams = of->streams;
    me->next.bytes = smaller((end - first) * of->row_bytes * of->streams, AHEAD);
    for (int i = 0; i < of->streams; i++)
        me->next.from[i] = plan->weights + of->offset + ((int64_t)of->rows * i + first) * of->row_bytes;
}

static void run_stages(member *me, const void *job) {
    const step *const plan = job;
    const stage *next = me->at.stage;
    const place *places = me->at.place;
    const int16_t *numbers = me->at.number;
    char *at[MOST];
    int64_t size[MOST];
    me->next = (coming){.number = -1};
    for (int joined = 1; next != plan->end; next++, joined = 0) {
        STAMP(arrived);
        expect(me, plan, next->coming);
        /* Who joins does so behind the barrier in front of the stage. */
        if (next->waits && !joined && !meet(me, &(position){next, places, numbers}))
            return;
        STAMP(began);
        if (me->part == 0 || next->shared) {
            for (int i = 0; i < next->places; i++)
                at[i] = plan->bases[places[i].base] + places[i].offset;
            for (int i = 0; i < next->sizes; i++)
                size[i] = plan->known[numbers[i]];
            if (next->run(me->part, me->parts, at, size))
                __atomic_store_n(plan->failed, 1, __ATOMIC_RELAXED);
        }
        STAMP(ended);
        places += next->places;
        numbers += next->sizes;
    }
    meet(me, 0);
}

/* What code that TVM writes takes from its runtime: memory for a stage alone, by pointers that it looks up, and a
   function that is told why a stage fails, which its result says too. */
#include <stdlib.h>
static void *allocate(int device, int number, uint64_t bytes, int code, int bits) {
    void *made = 0;
    return posix_memalign(&made, ALIGNMENT, bytes) ? 0 : made;
}
static int release(int device, int number, void *made) {
    free(made);
    return 0;
}
void *(*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int) = allocate;
int (*__TVMBackendFreeWorkspace)(int, int, void *) = release;
void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count) {}
