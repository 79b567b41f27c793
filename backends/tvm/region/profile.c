/* When each thread came to each stage of the step that ran last, waited and was done, in ticks of the processor's clock,
   and how long those are. A library has this only if it is asked for. */
#include <string.h>
static int64_t ticks(void) {
#if defined(__x86_64__)
    unsigned core;
    return (int64_t)__builtin_ia32_rdtscp(&core); /* reads the clock when what stands before it is done */
#elif defined(__aarch64__)
    int64_t count;
    __asm__ __volatile__("isb; mrs %0, cntvct_el0" : "=r"(count)::"memory");
    return count;
#endif
}

typedef struct { int64_t arrived, began, ended; } stamp;
struct {
    int64_t stages, threads; /* the lengths of the table, which may be longer than the plan and wider than the team */
    int64_t nanoseconds[2], ticks[2]; /* when the step began and ended, by two clocks */
    stamp stamps[MOST_THREADS][PROFILED_STAGES];
} graphwright_profile = {.stages = PROFILED_STAGES, .threads = MOST_THREADS};

static stamp *stamp_of(const member *me, int64_t stage) { return &graphwright_profile.stamps[me->part][stage]; }
/* Who does not take part in a stage leaves nothing there. */
static void begin_profile(int threads) {
    memset(graphwright_profile.stamps, 0, threads * sizeof graphwright_profile.stamps[0]);
    graphwright_profile.nanoseconds[0] = now(CLOCK_MONOTONIC);
    graphwright_profile.ticks[0] = ticks();
}
static void end_profile(void) {
    graphwright_profile.nanoseconds[1] = now(CLOCK_MONOTONIC);
    graphwright_profile.ticks[1] = ticks();
}
