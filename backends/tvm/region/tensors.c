/* What a step is given, and whether it is what its plan takes. */
#include <stdint.h>

/* A dense array of the caller's: DLPack's code of its element type, and bits of an element. */
typedef struct {
    char *data;
    const int64_t *shape;
    int32_t rank;
    uint8_t code, bits;
} tensor;
/* The type that one must have. */
typedef struct { int16_t code, bits, rank; } kind;

/* What the function of a step gives; 0 where it has run. */
enum { DOES_NOT_FIT = 1, FAILED = 2 };

static int64_t floordiv(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t aligned(int64_t size) { return floordiv(size + ALIGNMENT - 1, ALIGNMENT) * ALIGNMENT; }

/* `axes` number its lengths among those that are known. */
static int fits(const tensor *given, kind wanted, const int16_t *axes, const int64_t *known) {
    if (given->code != wanted.code || given->bits != wanted.bits || given->rank != wanted.rank)
        return 0;
    int64_t count = 1;
    for (int axis = 0; axis < wanted.rank; axis++) {
        if (given->shape[axis] != known[axes[axis]])
            return 0;
        count *= given->shape[axis];
    }
    return count == 0 || (uintptr_t)given->data % ALIGNMENT == 0;
}

static int all_fit(const tensor *given, const kind *kinds, int count, const int16_t *axes, const int64_t *known) {
    for (int i = 0; i < count; axes += kinds[i++].rank) {
        if (!fits(&given[i], kinds[i], axes, known))
            return 0;
    }
    return 1;
}

static int bytes_fit(const tensor *given, int64_t least, int64_t most) {
    return given->rank == 1 && given->bits == 8 && given->shape[0] >= least && given->shape[0] <= most &&
           (given->shape[0] == 0 || (uintptr_t)given->data % ALIGNMENT == 0);
}
