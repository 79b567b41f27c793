/* A stand-in for the CUDA driver. The memory of its device is a shared file of the host's, and a launch is a call back
   into Python, which has the kernel interpreted. It refuses what a driver would: launches of another size than the
   kernel was compiled for, arguments that are missing, work in a capture that cannot be captured. Around each
   allocation lie guards, which are looked at after each launch, and fresh memory is poisoned. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef int Result;
enum {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  NO_BINARY_FOR_GPU = 209,
  NOT_FOUND = 500,
  LAUNCH_FAILED = 719,
  CAPTURE_UNSUPPORTED = 900
};
enum { GUARD = 256, GUARD_BYTE = 0xA5, POISON = 0xFF, MOST_PARAMETERS = 64, MOST_SHARED = 227 * 1024 };

typedef struct {
  int number, parameters, threads;
  int sizes[MOST_PARAMETERS];
  unsigned allowed_shared;
} Function;
typedef struct { unsigned grid[3], block[3], shared; void *stream, *attributes; unsigned attribute_count; } Config;
typedef struct { Function *function; unsigned programs; uint64_t values[MOST_PARAMETERS]; } Launch;
typedef struct { int count, room; Launch *launches; } Graph;
typedef struct Block { size_t begin, bytes; int used; struct Block *next; } Block;

/* Of a module and a symbol: fills in the function and returns 0. */
typedef int (*Find)(const void *image, const char *symbol, Function *function);
/* Runs a function; values are addresses of the device or integers. Returns 0, or 1 where it failed. */
typedef int (*Run)(int number, unsigned programs, const uint64_t *values);

static Find find_function;
static Run run_function;
static char *memory;
static size_t memory_bytes;
static int memory_file = -1;
static Block *blocks;
static Graph *capturing;
static int context, stream;
static char message[512] = "no error";
static long counts[3]; /* launches by themselves, graphs, copies */

static Result fail(Result code, const char *why) {
  snprintf(message, sizeof message, "%s", why);
  return code;
}

/* -- what Python calls */

int emulator_start(size_t bytes, Find find, Run run) {
  find_function = find;
  run_function = run;
  if (memory) return memory_file;
  memory_file = memfd_create("emulated-device", 0);
  if (memory_file < 0 || ftruncate(memory_file, (off_t)bytes)) return -1;
  memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory_file, 0);
  if (memory == MAP_FAILED) return -1;
  memory_bytes = bytes;
  return memory_file;
}
uint64_t emulator_base(void) { return (uint64_t)(uintptr_t)memory; }
void emulator_say(const char *why) { fail(0, why); }
void emulator_counts(long *out) { memcpy(out, counts, sizeof counts); }

/* -- memory */

static Result broken_guard(void) {
  for (Block *b = blocks; b; b = b->next) {
    if (!b->used) continue;
    const unsigned char *before = (unsigned char *)memory + b->begin - GUARD, *after = before + GUARD + b->bytes;
    for (int i = 0; i < GUARD; i++)
      if (before[i] != GUARD_BYTE || after[i] != GUARD_BYTE) {
        snprintf(message, sizeof message, "it wrote %s an allocation of %zu bytes",
                 before[i] != GUARD_BYTE ? "in front of" : "behind", b->bytes);
        return LAUNCH_FAILED;
      }
  }
  return SUCCESS;
}

Result cuMemAlloc(uint64_t *address, size_t bytes) {
  if (capturing) return fail(CAPTURE_UNSUPPORTED, "memory is allocated in a capture");
  size_t begin = GUARD;
  Block **place = &blocks;
  while (*place) {
    if (!(*place)->used && (*place)->bytes == bytes) break; /* one of the same size was freed */
    begin = (*place)->begin + (((*place)->bytes + GUARD - 1) / GUARD + 2) * GUARD;
    place = &(*place)->next;
  }
  if (!*place) {
    if (begin + bytes + 2 * GUARD > memory_bytes) return fail(OUT_OF_MEMORY, "the device has no memory left");
    *place = calloc(1, sizeof **place);
    (*place)->begin = begin;
    (*place)->bytes = bytes;
  }
  Block *block = *place;
  block->used = 1;
  memset(memory + block->begin - GUARD, GUARD_BYTE, GUARD);
  memset(memory + block->begin + bytes, GUARD_BYTE, GUARD);
  memset(memory + block->begin, POISON, bytes);
  *address = (uint64_t)(uintptr_t)memory + block->begin;
  return SUCCESS;
}

static Block *holding(uint64_t address, size_t bytes) {
  for (Block *b = blocks; b; b = b->next) {
    uint64_t begin = (uint64_t)(uintptr_t)memory + b->begin;
    if (b->used && address >= begin && address + bytes <= begin + b->bytes) return b;
  }
  return NULL;
}

Result cuMemFree(uint64_t address) {
  Block *block = holding(address, 0);
  if (!block || address != (uint64_t)(uintptr_t)memory + block->begin)
    return fail(INVALID_VALUE, "what is freed was not allocated");
  block->used = 0;
  memset(memory + block->begin, POISON, block->bytes);
  return SUCCESS;
}

static Result copy(void *target, const void *source, size_t bytes, uint64_t device) {
  if (capturing) return fail(CAPTURE_UNSUPPORTED, "a copy that waits, in a capture");
  if (!holding(device, bytes)) return fail(INVALID_VALUE, "a copy goes beyond what was allocated");
  counts[2]++;
  memmove(target, source, bytes);
  return SUCCESS;
}
Result cuMemcpyHtoD(uint64_t d, const void *s, size_t n) { return copy((void *)(uintptr_t)d, s, n, d); }
Result cuMemcpyDtoH(void *d, uint64_t s, size_t n) { return copy(d, (void *)(uintptr_t)s, n, s); }
Result cuMemcpyDtoD(uint64_t d, uint64_t s, size_t n) {
  if (!holding(s, n)) return fail(INVALID_VALUE, "a copy goes beyond what was allocated");
  return copy((void *)(uintptr_t)d, (void *)(uintptr_t)s, n, d);
}

/* -- the device */

Result cuInit(unsigned flags) { return SUCCESS; }
Result cuDriverGetVersion(int *version) { *version = 13000; return SUCCESS; }
Result cuDeviceGetCount(int *count) { *count = 1; return SUCCESS; }
Result cuDeviceGet(int *device, int number) { *device = number; return number ? INVALID_VALUE : SUCCESS; }
Result cuDeviceGetAttribute(int *value, int attribute, int device) {
  *value = attribute == 16 ? 4 : 0; /* four multiprocessors; of no compute capability, 75 and 76 */
  return SUCCESS;
}
Result cuDevicePrimaryCtxRetain(void **found, int device) { *found = &context; return SUCCESS; }
Result cuCtxSetCurrent(void *given) { return SUCCESS; }
Result cuStreamCreate(void **made, unsigned flags) { *made = &stream; return SUCCESS; }
Result cuStreamSynchronize(void *given) {
  return capturing ? fail(CAPTURE_UNSUPPORTED, "a stream in a capture is waited for") : SUCCESS;
}

/* -- kernels */

Result cuModuleLoadData(void **module, const void *image) {
  if (memcmp(image, "\177EMULATED\n", 10)) return fail(NO_BINARY_FOR_GPU, "the emulator runs no machine code");
  *module = strdup(image);
  return SUCCESS;
}
Result cuModuleGetFunction(void **function, void *module, const char *symbol) {
  Function *made = calloc(1, sizeof *made);
  made->allowed_shared = 48 * 1024;
  if (find_function(module, symbol, made)) return NOT_FOUND;
  *function = made;
  return SUCCESS;
}
Result cuFuncSetAttribute(void *function, int attribute, int value) {
  if (value > MOST_SHARED) return fail(INVALID_VALUE, "more shared memory than a block may have");
  if (attribute == 8) ((Function *)function)->allowed_shared = (unsigned)value;
  return SUCCESS;
}
Result cuFuncGetParamInfo(void *function, size_t number, size_t *offset, size_t *bytes) {
  Function *f = function;
  if (number >= (size_t)f->parameters) return INVALID_VALUE;
  *offset = 0;
  for (size_t i = 0; i < number; i++) *offset += (size_t)f->sizes[i];
  *bytes = (size_t)f->sizes[number];
  return SUCCESS;
}

static Result run(const Launch *launch) {
  if (run_function(launch->function->number, launch->programs, launch->values)) return LAUNCH_FAILED;
  return broken_guard();
}

Result cuLaunchKernelEx(const Config *config, void *function, void **parameters, void **extra) {
  Function *f = function;
  if (config->block[0] * config->block[1] * config->block[2] != (unsigned)f->threads)
    return fail(INVALID_VALUE, "a block of another size than the kernel was compiled for");
  if (config->shared > f->allowed_shared) return fail(INVALID_VALUE, "more shared memory than the function was given");
  if (!config->grid[0] || config->grid[0] > 0x7fffffffu || config->grid[1] != 1 || config->grid[2] != 1)
    return fail(INVALID_VALUE, "a grid that is empty, or too large, or of more than one axis");
  if (!parameters) return fail(INVALID_VALUE, "a launch without arguments");
  Launch launch = {.function = f, .programs = config->grid[0]};
  for (int i = 0; i < f->parameters; i++) memcpy(&launch.values[i], parameters[i], (size_t)f->sizes[i]);
  if (!capturing) {
    counts[0]++;
    return run(&launch);
  }
  if (capturing->count == capturing->room) {
    capturing->room = capturing->room ? 2 * capturing->room : 64;
    capturing->launches = realloc(capturing->launches, (size_t)capturing->room * sizeof(Launch));
  }
  capturing->launches[capturing->count++] = launch;
  return SUCCESS;
}

/* -- graphs */

Result cuStreamBeginCapture(void *given, int mode) {
  if (capturing) return fail(INVALID_VALUE, "a capture in a capture");
  capturing = calloc(1, sizeof *capturing);
  return SUCCESS;
}
Result cuStreamEndCapture(void *given, void **graph) {
  if (!capturing) return fail(INVALID_VALUE, "no capture has begun");
  *graph = capturing;
  capturing = NULL;
  return SUCCESS;
}
Result cuGraphInstantiateWithFlags(void **ready, void *graph, unsigned long long flags) {
  Graph *copied = calloc(1, sizeof *copied), *given = graph;
  *copied = *given;
  size_t bytes = (size_t)given->count * sizeof(Launch);
  copied->launches = malloc(bytes + 1);
  memcpy(copied->launches, given->launches, bytes);
  *ready = copied;
  return SUCCESS;
}
Result cuGraphDestroy(void *graph) {
  free(((Graph *)graph)->launches);
  free(graph);
  return SUCCESS;
}
Result cuGraphLaunch(void *ready, void *given) {
  Graph *graph = ready;
  counts[1]++;
  for (int i = 0; i < graph->count; i++) {
    Result code = run(graph->launches + i);
    if (code) return code;
  }
  return SUCCESS;
}

/* -- errors and symbols */

Result cuGetErrorString(int code, const char **text) { *text = message; return SUCCESS; }
Result cuGetErrorName(int code, const char **text) { *text = "EMULATED"; return SUCCESS; }

Result cuGetProcAddress_v2(const char *symbol, void **found, int version, uint64_t flags, int *status) {
  char name[128];
  snprintf(name, sizeof name, "%s", symbol);
  void *self = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
  *found = dlsym(self ? self : RTLD_DEFAULT, name);
  size_t length = strlen(name);
  if (!*found && length > 3 && !strcmp(name + length - 3, "_v2")) {
    name[length - 3] = 0;
    *found = dlsym(self ? self : RTLD_DEFAULT, name);
  }
  if (!strcmp(symbol, "cuGetProcAddress")) *found = (void *)cuGetProcAddress_v2;
  if (!strcmp(symbol, "cuGraphInstantiate")) *found = (void *)cuGraphInstantiateWithFlags;
  if (status) *status = !*found;
  return *found ? SUCCESS : NOT_FOUND;
}
