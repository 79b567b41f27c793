/* The threads of a step. The one that calls is always of the team; workers join when they are awake and leave when the
   machine has other work for their cores, always at a barrier. So nobody waits for a thread that is still waking up, and
   who holds the others up once is not waited for again. What a step computes does not depend on its team.

   A worker that has nothing to do watches the state of the team for a moment, then sleeps. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Numbers of looks: some 20 to 60 ns each. */
enum {
    WATCH = 4000, /* of a worker without work, before it sleeps: about the time between two steps of a generation */
    YIELD = 20 * PATIENCE, /* at a barrier, before a core is given away: who does so has to queue for it again */
    GATHER = 1000 /* of a caller that has woken workers, before it goes on without them */
};
/* Nanoseconds that others must have had a thread's core, beside half of the time, for the step to go on without it. */
enum { STOLEN = 200000 };
/* Steps that lose a thread soon after one another: each counts DROP, and each that does not takes one away. At ENOUGH
   the next ones begin with fewer threads, for a time that doubles while it does not help (nanoseconds). */
enum { DROP = 3, ENOUGH = 6 };
enum { LEAST_REST = 40000000, MOST_REST = 1000000000 };
/* Threads are bits of a word whose highest byte counts barriers. The caller is bit 0. */
enum { MOST_THREADS = 56, MOST_STREAMS = 8, LINE = 64 };
#define MEMBERS ((UINT64_C(1) << MOST_THREADS) - 1)

/* Where in a step's table a thread that joins begins. */
typedef struct { const void *stage, *place, *number; } position;
/* Memory that a thread will read next: dense streams, as far as caches hold them. */
typedef struct { const char *from[MOST_STREAMS]; int64_t bytes; int32_t streams, number; } coming;
typedef struct member member;
typedef void work(member *me, const void *job);
struct member {
    int32_t slot, part, parts; /* slot: its bit, -1 of a thread that runs a step alone */
    int32_t dropped;
    position at;
    coming next;
    int64_t wall, cpu; /* nanoseconds, by the clocks of the world and of this thread, since which its core is watched */
};

static struct {
    pthread_mutex_t turn; /* of the caller whose step runs */
    int32_t made, allowed;
    uint64_t limit; /* those that may join the step at hand */
    int64_t rest, rested_until;
    int32_t dropped, drops;
    work *work;
    const void *job;
    position at;
    _Alignas(64) int32_t slow; /* whether somebody has waited long at the barrier at hand */
    _Alignas(64) uint64_t available;
    _Alignas(64) uint64_t open; /* the limit while a step runs, else 0 */
    _Alignas(64) uint64_t state; /* members, and the number of barriers that they have passed */
    _Alignas(64) int64_t arrived;
    struct { _Alignas(64) uint32_t word; } wake[MOST_THREADS];
} team = {.turn = PTHREAD_MUTEX_INITIALIZER, .allowed = MOST_THREADS};

#define LOAD(what) __atomic_load_n(&(what), __ATOMIC_ACQUIRE)
#define STORE(what, value) __atomic_store_n(&(what), (value), __ATOMIC_RELEASE)

static void give_way(void) {
#if defined(__x86_64__) || defined(__i386__)
    __asm__ __volatile__("pause" ::: "memory");
#elif defined(__aarch64__)
    __asm__ __volatile__("yield" ::: "memory");
#endif
}

static int64_t now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static void watch_core(member *me) {
    me->wall = now(CLOCK_MONOTONIC);
    me->cpu = now(CLOCK_THREAD_CPUTIME_ID);
}
static int core_was_taken(const member *me) {
    const int64_t ran = now(CLOCK_THREAD_CPUTIME_ID) - me->cpu, stolen = now(CLOCK_MONOTONIC) - me->wall - ran;
    return stolen > STOLEN && stolen > ran;
}

/* Takes the place that the state gives: whether there is one. */
static int placed(member *me, uint64_t state) {
    const uint64_t bit = UINT64_C(1) << me->slot;
    me->part = __builtin_popcountll(state & (bit - 1));
    me->parts = __builtin_popcountll(state & MEMBERS);
    return (state & bit) != 0;
}

static uint64_t newcomers(void) {
    if (!(__atomic_load_n(&team.available, __ATOMIC_RELAXED) & team.limit))
        return 0;
    return __atomic_fetch_and(&team.available, ~team.limit, __ATOMIC_ACQ_REL) & team.limit;
}

/* Members without some of those that came too late: the last one, who knows that its core was taken from it. The
   caller cannot leave; where it is late, half of the others make room. */
static uint64_t without_late(uint64_t members, member *me) {
    uint64_t left = members & ~(UINT64_C(1) << me->slot);
    if (me->slot == 0)
        for (left = members; __builtin_popcountll(left) > (__builtin_popcountll(members) + 1) / 2;)
            left &= ~(UINT64_C(1) << (63 - __builtin_clzll(left)));
    watch_core(me);
    team.dropped = 1;
    team.limit = left;
    STORE(team.open, left);
    return left;
}

/* What a thread does that waits: it asks for a line of each stream that it will read. */
static void use_time(coming *next) {
    if (next->bytes <= 0) {
        give_way();
        return;
    }
    for (int i = 0; i < next->streams; i++, next->bytes -= LINE) {
        __builtin_prefetch(next->from[i], 0, 2);
        next->from[i] += LINE;
    }
}

/* Waits for all members. At the last barrier of a step `at` is null. Whether this one is a member of what follows. */
static int meet(member *me, const position *at) {
    if (me->slot < 0)
        return 1;
    const uint64_t state = LOAD(team.state), members = state & MEMBERS;
    if (members != 1 && __atomic_add_fetch(&team.arrived, 1, __ATOMIC_ACQ_REL) != me->parts) {
        uint64_t next;
        for (int64_t looks = 0; (next = LOAD(team.state)) == state; looks++) {
            if (looks == PATIENCE)
                STORE(team.slow, 1);
            if (looks < YIELD)
                use_time(&me->next);
            else
                sched_yield();
        }
        me->dropped = at != 0;
        return placed(me, next);
    }
    uint64_t next = members;
    if (members != 1 && LOAD(team.slow)) {
        STORE(team.slow, 0);
        if (core_was_taken(me))
            next = without_late(members, me);
    }
    me->dropped = at != 0;
    if (at == 0) {
        next = 1;
    } else {
        const uint64_t joining = newcomers();
        if (joining) {
            next |= joining;
            team.at = *at;
        } else if (members == 1) {
            return 1;
        }
    }
    STORE(team.arrived, 0);
    next |= ((state >> MOST_THREADS) + 1) << MOST_THREADS;
    STORE(team.state, next);
    return placed(me, next);
}

static void sleep_unless(uint32_t *word, uint32_t value) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, 0, 0, 0);
}
static void wake_up(uint64_t slots) {
    for (; slots; slots &= slots - 1) {
        uint32_t *word = &team.wake[__builtin_ctzll(slots)].word;
        __atomic_add_fetch(word, 1, __ATOMIC_ACQ_REL);
        syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
    }
}

/* Waits until the team takes this worker, at first awake, then asleep. Where a step runs that may take it, it stays
   awake: the next barrier may be behind a stage of milliseconds, and nobody would wake it up again. */
static void wait_for_work(const member *me) {
    const uint64_t bit = UINT64_C(1) << me->slot;
    for (int64_t watch = me->dropped ? 0 : WATCH;; watch = WATCH) {
        const uint32_t woken = LOAD(team.wake[me->slot].word);
        __atomic_fetch_or(&team.available, bit, __ATOMIC_ACQ_REL);
        for (int64_t looks = 0; looks < watch || LOAD(team.open) & bit; looks++) {
            if (LOAD(team.state) & bit)
                return;
            if (looks < YIELD)
                give_way();
            else
                sched_yield();
        }
        if (__atomic_fetch_and(&team.available, ~bit, __ATOMIC_ACQ_REL) & bit)
            sleep_unless(&team.wake[me->slot].word, woken);
        else /* it has been taken already */
            while (!(LOAD(team.state) & bit))
                give_way();
        if (LOAD(team.state) & bit)
            return;
    }
}

static void *worker(void *slot) {
    member me = {.slot = (int32_t)(intptr_t)slot};
    for (;;) {
        wait_for_work(&me);
        placed(&me, LOAD(team.state));
        me.at = team.at;
        watch_core(&me);
        team.work(&me, team.job);
    }
    return 0;
}

/* In a child there is the calling thread alone. */
static void before_fork(void) { pthread_mutex_lock(&team.turn); }
static void in_parent(void) { pthread_mutex_unlock(&team.turn); }
static void in_child(void) {
    team.made = 0;
    team.available = team.open = team.state = team.arrived = 0;
    pthread_mutex_unlock(&team.turn);
}

/* Workers, as far as the system makes them. */
static void make_workers(int32_t threads) {
    static int registered;
    if (!registered)
        registered = !pthread_atfork(before_fork, in_parent, in_child);
    pthread_attr_t detached;
    sigset_t all, before;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    sigfillset(&all); /* signals are for the threads of the program */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (pthread_t made; team.made < threads - 1; team.made++)
        if (pthread_create(&made, &detached, worker, (void *)(intptr_t)(team.made + 1)))
            break;
    pthread_sigmask(SIG_SETMASK, &before, 0);
    pthread_attr_destroy(&detached);
}

/* How many threads a step may have now. After a rest it is tried with more again. */
static int32_t wanted(int32_t threads, int64_t time) {
    if (team.allowed < threads && time > team.rested_until) {
        team.allowed *= 2;
        team.drops = ENOUGH - DROP;
        team.rested_until = time + team.rest;
    }
    return threads < team.allowed ? threads : team.allowed;
}
static void count_drops(void) {
    if (!team.dropped) {
        team.drops -= team.drops > 0;
        return;
    }
    team.dropped = 0;
    team.drops += DROP;
    if (team.drops < ENOUGH)
        return;
    const int64_t time = now(CLOCK_MONOTONIC);
    const int again = time - team.rested_until < 2 * team.rest;
    team.rest = again ? smaller(2 * team.rest, MOST_REST) : larger(team.rest / 2, LEAST_REST);
    team.rested_until = time + team.rest;
    team.allowed = __builtin_popcountll(team.limit);
}

/* Runs a job on at most so many threads, of which the calling one is the first. */
static void run_on_threads(work *run, const void *job, position begin, int32_t threads) {
    threads = threads < MOST_THREADS ? threads : MOST_THREADS;
    member me = {.slot = threads == 1 ? -1 : 0, .part = 0, .parts = 1, .at = begin};
    if (threads == 1) {
        run(&me, job);
        return;
    }
    pthread_mutex_lock(&team.turn);
    make_workers(threads);
    watch_core(&me);
    const int32_t most = wanted(threads, me.wall);
    team.limit = ((UINT64_C(1) << most) - 1) & ((UINT64_C(2) << team.made) - 1);
    team.work = run;
    team.job = job;
    team.at = begin;
    STORE(team.open, team.limit);
    uint64_t members = 1 | newcomers();
    const uint64_t missing = team.limit & ~members;
    if (missing) {
        wake_up(missing);
        for (int64_t looks = 0; looks < GATHER && members != team.limit; looks++) {
            members |= newcomers();
            give_way();
        }
    }
    STORE(team.state, members | ((LOAD(team.state) >> MOST_THREADS) + 1) << MOST_THREADS);
    placed(&me, members);
    run(&me, job);
    STORE(team.open, 0);
    count_drops();
    pthread_mutex_unlock(&team.turn);
}
