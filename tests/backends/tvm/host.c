/* A program of its own around the functions of a decoder's library: it prints the likeliest tokens that follow a prompt.

   host WEIGHTS COUNT TOKEN...

   The sizes of the model are macros: LAYERS, HEADS, SIZE, VOCABULARY. Caches are float32 and contiguous. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    void *data;
    const int64_t *shape;
    int32_t rank;
    uint8_t code, bits;
} tensor;

int32_t graphwright_step_prefill(const tensor *given, int32_t threads);
int64_t graphwright_workspace_prefill(const int64_t *sizes);
int32_t graphwright_step_decode_one_row(const tensor *given, int32_t threads);
int64_t graphwright_workspace_decode_one_row(const int64_t *sizes);

enum { INPUTS = 4, CACHES = 2 * LAYERS, GIVEN = INPUTS + CACHES + 3, THREADS = 2 };
enum { INTEGER = 0, UNSIGNED = 1, FLOAT = 2 };

static void *memory(int64_t bytes) {
    void *made = aligned_alloc(64, (bytes + 64) / 64 * 64);
    if (!made)
        exit(2);
    return memset(made, 0, bytes);
}

static tensor *weights_of(const char *path) {
    static int64_t bytes;
    static tensor weights = {0, &bytes, 1, UNSIGNED, 8};
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) || (bytes = ftell(file)) < 0)
        exit(3);
    rewind(file);
    weights.data = memory(bytes);
    if (fread(weights.data, 1, bytes, file) != (size_t)bytes)
        exit(3);
    fclose(file);
    return &weights;
}

static int64_t likeliest(const float *logits) {
    int64_t best = 0;
    for (int64_t token = 1; token < VOCABULARY; token++)
        if (logits[token] > logits[best])
            best = token;
    return best;
}

int main(int count, char **words) {
    const int64_t prompt = count - 3, wanted = atoi(words[2]), capacity = prompt + wanted;
    int64_t *ids = memory(8 * prompt), past = 0;
    for (int64_t i = 0; i < prompt; i++)
        ids[i] = atoi(words[3 + i]);
    /* In the order of the manifest's dimensions: batch, capacity, positions, sequence. */
    int64_t sizes[4] = {1, capacity, 1, prompt};
    int64_t once[2] = {1, 1}, tokens[2] = {1, prompt}, cache[4] = {1, HEADS, capacity, SIZE};
    int64_t logits[3] = {1, 1, VOCABULARY}, room = graphwright_workspace_prefill(sizes);
    int64_t *scalars[3];
    tensor given[GIVEN] = {{ids, tokens, 2, INTEGER, 64}};
    for (int i = 0; i < 3; i++)
        given[1 + i] = (tensor){scalars[i] = memory(8), once, i < 2 ? 1 : 2, INTEGER, 64};
    for (int i = 0; i < CACHES; i++)
        given[INPUTS + i] = (tensor){memory(4 * HEADS * capacity * SIZE), cache, 4, FLOAT, 32};
    given[GIVEN - 3] = (tensor){memory(4 * VOCABULARY), logits, 3, FLOAT, 32};
    given[GIVEN - 2] = *weights_of(words[1]);
    given[GIVEN - 1] = (tensor){memory(room), &room, 1, UNSIGNED, 8};
    for (int64_t i = 0; i < wanted; i++) {
        *scalars[0] = past;
        *scalars[1] = tokens[1];
        *scalars[2] = tokens[1] - 1;
        int32_t failed = i ? graphwright_step_decode_one_row(given, THREADS) : graphwright_step_prefill(given, THREADS);
        if (failed) {
            fprintf(stderr, "the step gives %d\n", failed);
            return 1;
        }
        past += tokens[1];
        tokens[1] = 1;
        ids[0] = likeliest(given[GIVEN - 3].data);
        printf("%d ", (int)ids[0]);
        if (!i) {
            sizes[3] = 1;
            room = graphwright_workspace_decode_one_row(sizes);
            given[GIVEN - 1].data = memory(room);
        }
    }
    puts("");
    return 0;
}
