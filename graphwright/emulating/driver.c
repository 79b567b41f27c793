/* A stand-in for the CUDA driver. The memory of its device is a shared file of the host's, and a launch is a call back
   into Python, which has the kernel interpreted. It refuses what a driver would: launches of another size than the
   kernel was compiled for, arguments that are missing, work in a capture that cannot be captured. Around each
   allocation lie guards, which are looked at after each launch, and fresh memory is poisoned: as floats it is not a
   number, as integers far from any index.

   What a stream is given is done as late as a driver may: when somebody waits for it. So a result that is read too
   early, and a buffer of the host's that is filled again too early, show. */
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
  INVALID_CONTEXT = 201,
  NO_BINARY_FOR_GPU = 209,
  NOT_FOUND = 500,
  LAUNCH_FAILED = 719,
  CAPTURE_UNSUPPORTED = 900
};
enum { GUARD = 256, GUARD_BYTE = 0xA5, MOST_PARAMETERS = 64, MOST_SHARED = 227 * 1024, MOST_THREADS = 1024 };
/* Bytes between allocations, which cost nothing until they are written: who writes behind one seldom meets another. */
enum { APART = 1 << 16 };
enum { POISON_LOW = 0xFF, POISON_HIGH = 0x7F };

typedef struct {
  int number, parameters, threads;
  int sizes[MOST_PARAMETERS];
  unsigned needed_shared, allowed_shared;
} Function;
typedef struct { unsigned grid[3], block[3], shared; void *stream, *attributes; unsigned attribute_count; } Config;
typedef struct { int pending; } Event;
typedef enum { LAUNCH, COPY, FILL, RECORD } Kind;
typedef struct {
  Kind kind;
  Function *function;
  unsigned programs;
  uint64_t values[MOST_PARAMETERS];
  void *target, *source, *staged;
  size_t bytes;
  int byte;
  Event *event;
} Work;
typedef struct { int count, room; Work *work; } List;
typedef struct Block { size_t begin, bytes; int used; char name[64]; struct Block *next; } Block;
typedef struct Pinned { char *begin; size_t bytes; struct Pinned *next; } Pinned;

/* Of a module and a symbol: fills in the function and returns 0. */
typedef int (*Find)(const void *image, const char *symbol, Function *function);
/* Runs a function; values are addresses of the device or integers. Returns 0, or 1 where it failed. */
typedef int (*Run)(int number, unsigned programs, const uint64_t *values);

static Find find_function;
static Run run_function;
static char *memory;
static size_t memory_bytes;
static int memory_file = -1;
static size_t device_bytes, used_bytes;
static Block *blocks;
static Pinned *pinned;
static List queue, *capturing;
static int context, stream, retained, version = 13000;
static char message[512] = "no error";
static long counts[3]; /* launches by themselves, graphs, copies between host and device */

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
/* A smaller device, or an older driver, than the one that there is. */
void emulator_limit(size_t bytes) { device_bytes = bytes; }
void emulator_version(int number) { version = number; }

/* -- memory */

static Block *holding(uint64_t address, size_t bytes) {
  for (Block *b = blocks; b; b = b->next) {
    uint64_t begin = (uint64_t)(uintptr_t)memory + b->begin;
    if (b->used && address >= begin && address + bytes <= begin + b->bytes) return b;
  }
  return NULL;
}

int emulator_bounds(uint64_t address, uint64_t *begin, uint64_t *bytes) {
  Block *block = holding(address, 0);
  if (!block) return 1;
  *begin = (uint64_t)(uintptr_t)memory + block->begin;
  *bytes = block->bytes;
  return 0;
}
void emulator_name(uint64_t address, const char *name) {
  Block *block = holding(address, 0);
  if (block && !block->name[0]) snprintf(block->name, sizeof block->name, "%s", name);
}

static void restore_guards(const Block *b) {
  memset(memory + b->begin - GUARD, GUARD_BYTE, GUARD);
  memset(memory + b->begin + b->bytes, GUARD_BYTE, GUARD);
}

/* Says the first guard that is broken, and makes all good again: who wrote far wrote over several, and the launches of
   others that come later are not to answer for it. */
static Result broken_guard(void) {
  Result code = SUCCESS;
  for (Block *b = blocks; b; b = b->next) {
    if (!b->used) continue;
    const unsigned char *before = (unsigned char *)memory + b->begin - GUARD, *after = before + GUARD + b->bytes;
    for (int i = 0; i < GUARD; i++)
      if (before[i] != GUARD_BYTE || after[i] != GUARD_BYTE) {
        const char *where = before[i] != GUARD_BYTE ? "in front of" : "behind";
        size_t said = strlen(message);
        if (code == SUCCESS)
          snprintf(message + said, sizeof message - said, ", and wrote %s %s of %zu bytes", where,
                   b->name[0] ? b->name : "an allocation", b->bytes);
        code = LAUNCH_FAILED;
        restore_guards(b);
        break;
      }
  }
  return code;
}

static void poison(char *begin, size_t bytes) {
  memset(begin, POISON_LOW, bytes);
  for (size_t i = 1; i < bytes; i += 2) begin[i] = POISON_HIGH;
}

static Result drain(void) {
  List work = queue;
  queue = (List){0, 0, NULL};
  Result code = SUCCESS;
  for (int i = 0; i < work.count; i++) {
    Work *w = work.work + i;
    if (code == SUCCESS) {
      if (w->kind == COPY) memmove(w->target, w->staged ? w->staged : w->source, w->bytes);
      if (w->kind == FILL) memset(w->target, w->byte, w->bytes);
      if (w->kind == LAUNCH) {
        code = run_function(w->function->number, w->programs, w->values) ? LAUNCH_FAILED : broken_guard();
      }
    }
    if (w->kind == RECORD) w->event->pending--;
    free(w->staged);
  }
  free(work.work);
  return code;
}

static Result add(Work work) {
  List *list = capturing ? capturing : &queue;
  if (list->count == list->room) {
    list->room = list->room ? 2 * list->room : 64;
    list->work = realloc(list->work, (size_t)list->room * sizeof(Work));
  }
  list->work[list->count++] = work;
  return SUCCESS;
}

Result cuMemAlloc(uint64_t *address, size_t bytes) {
  if (capturing) return fail(CAPTURE_UNSUPPORTED, "memory is allocated in a capture");
  if (!bytes) return fail(INVALID_VALUE, "an allocation of no bytes");
  if (used_bytes + bytes > (device_bytes ? device_bytes : memory_bytes))
    return fail(OUT_OF_MEMORY, "the device has no memory left");
  size_t begin = GUARD;
  Block **place = &blocks;
  while (*place) {
    if (!(*place)->used && (*place)->bytes == bytes) break; /* one of the same size was freed */
    begin = (*place)->begin + (((*place)->bytes + GUARD - 1) / GUARD + 1) * GUARD + APART;
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
  block->name[0] = 0;
  used_bytes += bytes;
  restore_guards(block);
  poison(memory + block->begin, bytes);
  *address = (uint64_t)(uintptr_t)memory + block->begin;
  return SUCCESS;
}

Result cuMemFree(uint64_t address) {
  if (capturing) return fail(CAPTURE_UNSUPPORTED, "memory is freed in a capture");
  Block *block = holding(address, 0);
  if (!block || address != (uint64_t)(uintptr_t)memory + block->begin)
    return fail(INVALID_VALUE, "what is freed was not allocated");
  Result code = drain();
  block->used = 0;
  used_bytes -= block->bytes;
  poison(memory + block->begin, block->bytes);
  return code;
}

Result cuMemGetInfo(size_t *left, size_t *total) {
  *total = device_bytes ? device_bytes : memory_bytes;
  *left = *total > used_bytes ? *total - used_bytes : 0;
  return SUCCESS;
}

Result cuMemHostAlloc(void **made, size_t bytes, unsigned flags) {
  Pinned *p = calloc(1, sizeof *p);
  p->begin = *made = malloc(bytes + 1);
  p->bytes = bytes;
  p->next = pinned;
  pinned = p;
  poison(p->begin, bytes);
  return SUCCESS;
}
Result cuMemFreeHost(void *given) {
  for (Pinned **place = &pinned; *place; place = &(*place)->next)
    if ((*place)->begin == given) {
      Pinned *p = *place;
      Result code = drain();
      *place = p->next;
      free(p->begin);
      free(p);
      return code;
    }
  return fail(INVALID_VALUE, "memory of the host is freed that was not allocated");
}
static int is_pinned(const char *at, size_t bytes) {
  for (Pinned *p = pinned; p; p = p->next)
    if (at >= p->begin && at + bytes <= p->begin + p->bytes) return 1;
  return 0;
}

/* Of what is copied from pageable memory the driver takes a copy at once; pinned memory is read when the copy is made. */
Result cuMemcpyHtoDAsync(uint64_t target, const void *source, size_t bytes, void *given) {
  if (!holding(target, bytes)) return fail(INVALID_VALUE, "a copy goes beyond what was allocated");
  Work work = {.kind = COPY, .target = (void *)(uintptr_t)target, .source = (void *)source, .bytes = bytes};
  if (!is_pinned(source, bytes)) {
    if (capturing) return fail(CAPTURE_UNSUPPORTED, "a copy from pageable memory, in a capture");
    work.staged = malloc(bytes + 1);
    memcpy(work.staged, source, bytes);
  }
  counts[2]++;
  return add(work);
}
Result cuMemcpyDtoHAsync(void *target, uint64_t source, size_t bytes, void *given) {
  if (!holding(source, bytes)) return fail(INVALID_VALUE, "a copy goes beyond what was allocated");
  if (capturing && !is_pinned(target, bytes))
    return fail(CAPTURE_UNSUPPORTED, "a copy to pageable memory, in a capture");
  counts[2]++;
  return add((Work){.kind = COPY, .target = target, .source = (void *)(uintptr_t)source, .bytes = bytes});
}
Result cuMemcpyDtoDAsync(uint64_t target, uint64_t source, size_t bytes, void *given) {
  if (!holding(source, bytes) || !holding(target, bytes))
    return fail(INVALID_VALUE, "a copy goes beyond what was allocated");
  void *from = (void *)(uintptr_t)source, *to = (void *)(uintptr_t)target;
  return add((Work){.kind = COPY, .target = to, .source = from, .bytes = bytes});
}
Result cuMemsetD8Async(uint64_t target, unsigned char byte, size_t bytes, void *given) {
  if (!holding(target, bytes)) return fail(INVALID_VALUE, "what is filled goes beyond what was allocated");
  return add((Work){.kind = FILL, .target = (void *)(uintptr_t)target, .byte = byte, .bytes = bytes});
}

/* -- the device */

Result cuInit(unsigned flags) { return SUCCESS; }
Result cuDriverGetVersion(int *found) { *found = version; return SUCCESS; }
Result cuDeviceGetCount(int *count) { *count = 1; return SUCCESS; }
Result cuDeviceGet(int *device, int number) { *device = number; return number ? INVALID_VALUE : SUCCESS; }
Result cuDeviceGetAttribute(int *value, int attribute, int device) {
  *value = attribute == 16 ? 4 : 0; /* four multiprocessors; of no compute capability, 75 and 76 */
  return SUCCESS;
}
Result cuDeviceGetName(char *name, int room, int device) {
  snprintf(name, (size_t)room, "emulator");
  return SUCCESS;
}
Result cuDeviceTotalMem(size_t *bytes, int device) { size_t left; return cuMemGetInfo(&left, bytes); }
Result cuDevicePrimaryCtxRetain(void **found, int device) { *found = &context; retained++; return SUCCESS; }
Result cuDevicePrimaryCtxRelease(int device) {
  if (!retained) return fail(INVALID_CONTEXT, "a context is released that is not retained");
  retained--;
  return drain();
}
static void *current[16];
static int depth;
Result cuCtxPushCurrent(void *given) {
  if (!retained || given != &context || depth == 16) return fail(INVALID_CONTEXT, "no context that is retained");
  current[depth++] = given;
  return SUCCESS;
}
Result cuCtxPopCurrent(void **found) {
  if (!depth) return fail(INVALID_CONTEXT, "there is no current context");
  *found = current[--depth];
  return SUCCESS;
}
Result cuStreamCreate(void **made, unsigned flags) { *made = &stream; return SUCCESS; }
Result cuStreamSynchronize(void *given) {
  return capturing ? fail(CAPTURE_UNSUPPORTED, "a stream in a capture is waited for") : drain();
}
Result cuEventCreate(void **made, unsigned flags) { *made = calloc(1, sizeof(Event)); return SUCCESS; }
Result cuEventRecord(void *event, void *given) {
  ((Event *)event)->pending++;
  return add((Work){.kind = RECORD, .event = event});
}
Result cuEventSynchronize(void *event) {
  if (capturing) return fail(CAPTURE_UNSUPPORTED, "an event is waited for in a capture");
  return ((Event *)event)->pending ? drain() : SUCCESS;
}
Result cuEventDestroy(void *event) {
  Result code = drain();
  free(event);
  return code;
}

/* -- kernels */

Result cuModuleLoadData(void **module, const void *image) {
  if (capturing) return fail(CAPTURE_UNSUPPORTED, "a module is loaded in a capture");
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

Result cuLaunchKernelEx(const Config *config, void *function, void **parameters, void **extra) {
  Function *f = function;
  unsigned threads = config->block[0] * config->block[1] * config->block[2];
  if (!threads || threads > MOST_THREADS) return fail(INVALID_VALUE, "a block of no threads, or of more than 1024");
  if (threads != (unsigned)f->threads)
    return fail(INVALID_VALUE, "a block of another size than the kernel was compiled for");
  if (config->shared > f->allowed_shared) return fail(INVALID_VALUE, "more shared memory than the function was given");
  if (config->shared < f->needed_shared) return fail(INVALID_VALUE, "less shared memory than the kernel needs");
  if (!config->grid[0] || config->grid[0] > 0x7fffffffu || config->grid[1] != 1 || config->grid[2] != 1)
    return fail(INVALID_VALUE, "a grid that is empty, or too large, or of more than one axis");
  if (!parameters) return fail(INVALID_VALUE, "a launch without arguments");
  Work work = {.kind = LAUNCH, .function = f, .programs = config->grid[0]};
  for (int i = 0; i < f->parameters; i++) memcpy(&work.values[i], parameters[i], (size_t)f->sizes[i]);
  if (!capturing) counts[0]++;
  return add(work);
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
  List *copied = calloc(1, sizeof *copied), *given = graph;
  *copied = *given;
  size_t bytes = (size_t)given->count * sizeof(Work);
  copied->work = malloc(bytes + 1);
  memcpy(copied->work, given->work, bytes);
  *ready = copied;
  return SUCCESS;
}
Result cuGraphDestroy(void *graph) {
  free(((List *)graph)->work);
  free(graph);
  return SUCCESS;
}
Result cuGraphExecDestroy(void *ready) {
  Result code = drain();
  cuGraphDestroy(ready);
  return code;
}
Result cuGraphLaunch(void *ready, void *given) {
  List *graph = ready;
  if (capturing) return fail(CAPTURE_UNSUPPORTED, "a graph is launched in a capture");
  counts[1]++;
  for (int i = 0; i < graph->count; i++) add(graph->work[i]);
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
