// A stand-in for the CUDA driver, with what cudarc calls: devices whose kernels run on the CPU (see emulate.h).
//
// TWOPLY_EMULATED_DEVICES   how many there are (1)
// TWOPLY_EMULATED_FAULT     alloc:N or launch:N: the N-th call of that kind fails
//
// Streams run late (streams.h) and memory is checked (memory.h). Pageable host memory behaves as CUDA's manual has it:
// what is copied from it is read before the call returns, and a copy to it is done when the call returns. Pinned
// memory is read and written when the stream comes to it. All calls take turns under one lock.
#include "launch.h"
#include "memory.h"
#include "streams.h"
#include <mutex>
#include <set>
#include <string>
#include <vector>

#define API extern "C" __attribute__((visibility("default"))) int

typedef unsigned long long Pointer;

enum Result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_READY = 600,
    HOST_MEMORY_ALREADY_REGISTERED = 712,
    HOST_MEMORY_NOT_REGISTERED = 713,
    LAUNCH_FAILED = 719,
    NOT_SUPPORTED = 801,
};

struct Device {
    Memory memory;
    Stream standard{this, {}};
    std::set<Stream*> streams{&standard};

    void drain() {
        // the youngest first: the order that a caller least expects
        for (auto s = streams.rbegin(); s != streams.rend(); s++) (*s)->drain();
    }
};

struct Function {
    const Kernel* kernel;
    int dynamic_shared = 48 << 10;
};

// Pinned host memory, and how many queued copies use it.
struct Pinned {
    size_t size;
    std::shared_ptr<int> copies;
};

// never destroyed: threads that outlive main may still call
static std::mutex& lock = *new std::mutex;
static bool ready;
static auto& devices = *new std::vector<std::unique_ptr<Device>>;
static auto& pinned = *new std::map<char*, Pinned>;
static thread_local Device* current;

#define LOCKED std::lock_guard hold(lock)
#define IN_CONTEXT                                                                                                     \
    LOCKED;                                                                                                            \
    if (!ready) return NOT_INITIALIZED;                                                                                \
    if (current == nullptr) return INVALID_CONTEXT

// Whether this call of a kind is the one that shall fail.
static bool planted(const char* kind) {
    static std::map<std::string, long> calls;
    const char* fault = getenv("TWOPLY_EMULATED_FAULT");
    const size_t n = strlen(kind);
    const long call = ++calls[kind];
    return fault != nullptr && strncmp(fault, kind, n) == 0 && fault[n] == ':' && atol(fault + n + 1) == call;
}

static Stream& stream_of(Stream* s) { return s == nullptr ? current->standard : *s; }

static std::map<char*, Pinned>::iterator pinned_at(const void* p, size_t size) {
    auto next = pinned.upper_bound((char*)p);
    if (next == pinned.begin()) return pinned.end();
    auto found = std::prev(next);
    return size_t((char*)p - found->first) + size <= found->second.size ? found : pinned.end();
}

// Errors.

static const std::map<int, std::pair<const char*, const char*>> errors = {
    {SUCCESS, {"CUDA_SUCCESS", "no error"}},
    {INVALID_VALUE, {"CUDA_ERROR_INVALID_VALUE", "invalid argument"}},
    {OUT_OF_MEMORY, {"CUDA_ERROR_OUT_OF_MEMORY", "out of memory"}},
    {NOT_INITIALIZED, {"CUDA_ERROR_NOT_INITIALIZED", "initialization error"}},
    {NO_DEVICE, {"CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"}},
    {INVALID_DEVICE, {"CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"}},
    {INVALID_IMAGE, {"CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"}},
    {INVALID_CONTEXT, {"CUDA_ERROR_INVALID_CONTEXT", "invalid device context"}},
    {INVALID_HANDLE, {"CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"}},
    {NOT_FOUND, {"CUDA_ERROR_NOT_FOUND", "named symbol not found"}},
    {NOT_READY, {"CUDA_ERROR_NOT_READY", "device not ready"}},
    {HOST_MEMORY_ALREADY_REGISTERED, {"CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED", "memory is already mapped"}},
    {HOST_MEMORY_NOT_REGISTERED, {"CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED", "memory was never mapped"}},
    {LAUNCH_FAILED, {"CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"}},
    {NOT_SUPPORTED, {"CUDA_ERROR_NOT_SUPPORTED", "operation not supported"}},
};

API cuGetErrorName(int error, const char** out) {
    auto found = errors.find(error);
    *out = found == errors.end() ? nullptr : found->second.first;
    return *out == nullptr ? INVALID_VALUE : SUCCESS;
}
API cuGetErrorString(int error, const char** out) {
    auto found = errors.find(error);
    *out = found == errors.end() ? nullptr : found->second.second;
    return *out == nullptr ? INVALID_VALUE : SUCCESS;
}

// Devices and contexts. A device is its own primary context.

API cuInit(unsigned) {
    LOCKED;
    if (ready) return SUCCESS;
    const char* count = getenv("TWOPLY_EMULATED_DEVICES");
    const int n = count == nullptr ? 1 : atoi(count);
    if (n < 1) return NO_DEVICE;
    for (int i = 0; i < n; i++) devices.push_back(std::make_unique<Device>());
    ready = true;
    return SUCCESS;
}
API cuDriverGetVersion(int* out) {
    *out = 13000;
    return SUCCESS;
}
API cuDeviceGetCount(int* out) {
    LOCKED;
    *out = devices.size();
    return ready ? SUCCESS : NOT_INITIALIZED;
}
API cuDeviceGet(int* out, int ordinal) {
    LOCKED;
    if (!ready) return NOT_INITIALIZED;
    *out = ordinal;
    return ordinal >= 0 && ordinal < (int)devices.size() ? SUCCESS : INVALID_DEVICE;
}
API cuDeviceGetName(char* out, int size, int device) {
    snprintf(out, size, "Emulated GPU %d", device);
    return SUCCESS;
}
API cuDeviceGetUuid_v2(unsigned char out[16], int device) {
    memset(out, 0, 16);
    out[15] = device;
    return SUCCESS;
}
API cuDeviceTotalMem_v2(size_t* out, int) {
    *out = DEVICE_BYTES;
    return SUCCESS;
}
API cuDeviceGetAttribute(int* out, int attribute, int) {
    // few processors, so that grids of some blocks per processor loop over their elements
    static const std::map<int, int> values = {
        {1, 1024},       // MAX_THREADS_PER_BLOCK
        {2, 1024},       // MAX_BLOCK_DIM_X
        {5, 0x7fffffff}, // MAX_GRID_DIM_X
        {8, 48 << 10},   // MAX_SHARED_MEMORY_PER_BLOCK
        {10, 32},        // WARP_SIZE
        {12, 65536},     // MAX_REGISTERS_PER_BLOCK
        {16, 2},         // MULTIPROCESSOR_COUNT
        {39, 2048},      // MAX_THREADS_PER_MULTIPROCESSOR
        {40, 2},         // ASYNC_ENGINE_COUNT
        {41, 1},         // UNIFIED_ADDRESSING
        {75, 9},         // COMPUTE_CAPABILITY_MAJOR
        {76, 0},         // COMPUTE_CAPABILITY_MINOR
        {81, 228 << 10}, // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
        {97, 227 << 10}, // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        {115, 1},        // MEMORY_POOLS_SUPPORTED
    };
    auto found = values.find(attribute);
    if (found == values.end()) return INVALID_VALUE;
    *out = found->second;
    return SUCCESS;
}
API cuDevicePrimaryCtxRetain(Device** out, int device) {
    LOCKED;
    *out = devices[device].get();
    return SUCCESS;
}
API cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
API cuCtxGetCurrent(Device** out) {
    *out = current;
    return SUCCESS;
}
API cuCtxSetCurrent(Device* device) {
    current = device;
    return SUCCESS;
}
API cuCtxSetFlags(unsigned) { return SUCCESS; }
API cuCtxSynchronize() {
    IN_CONTEXT;
    current->drain();
    return SUCCESS;
}
API cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    *least = *greatest = 0;
    return SUCCESS;
}

// Streams and events.

API cuStreamCreate(Stream** out, unsigned flags) {
    IN_CONTEXT;
    // streams that wait for the null stream of themselves are not emulated
    if (flags != 1) return NOT_SUPPORTED;
    *out = new Stream{current, {}};
    current->streams.insert(*out);
    return SUCCESS;
}
API cuStreamCreateWithPriority(Stream** out, unsigned flags, int) { return cuStreamCreate(out, flags); }
API cuStreamDestroy_v2(Stream* s) {
    LOCKED;
    s->drain();
    s->device->streams.erase(s);
    delete s;
    return SUCCESS;
}
API cuStreamSynchronize(Stream* s) {
    IN_CONTEXT;
    stream_of(s).drain();
    return SUCCESS;
}
API cuStreamWaitEvent(Stream* s, Event* e, unsigned) {
    IN_CONTEXT;
    wait_for(stream_of(s), *e);
    return SUCCESS;
}
API cuStreamIsCapturing(Stream*, int* out) {
    *out = 0;
    return SUCCESS;
}
API cuEventCreate(Event** out, unsigned) {
    IN_CONTEXT;
    *out = new Event;
    return SUCCESS;
}
API cuEventDestroy_v2(Event* e) {
    LOCKED;
    delete e;
    return SUCCESS;
}
API cuEventRecord(Event* e, Stream* s) {
    IN_CONTEXT;
    e->record(stream_of(s));
    return SUCCESS;
}
API cuEventSynchronize(Event* e) {
    LOCKED;
    if (e->last) e->last->reach();
    return SUCCESS;
}
// Says "not ready" once before it is: who asks again has waited.
API cuEventQuery(Event* e) {
    LOCKED;
    if (!e->last || e->last->done) return SUCCESS;
    e->last->reach();
    return NOT_READY;
}
API cuEventElapsedTime_v2(float* out, Event* from, Event* to) {
    LOCKED;
    if (!from->last || !to->last) return INVALID_HANDLE;
    if (!from->last->done || !to->last->done) return NOT_READY;
    *out = std::chrono::duration<float, std::milli>(to->last->when - from->last->when).count();
    return SUCCESS;
}

// Device memory.

static int allocate(Pointer* out, size_t size) {
    if (planted("alloc")) return OUT_OF_MEMORY;
    *out = (Pointer)current->memory.take(size);
    return *out == 0 ? OUT_OF_MEMORY : SUCCESS;
}
API cuMemAlloc_v2(Pointer* out, size_t size) {
    IN_CONTEXT;
    return size == 0 ? INVALID_VALUE : allocate(out, size);
}
API cuMemAllocAsync(Pointer* out, size_t size, Stream*) {
    IN_CONTEXT;
    return allocate(out, size);
}
API cuMemAllocFromPoolAsync(Pointer* out, size_t size, Device*, Stream*) {
    IN_CONTEXT;
    return allocate(out, size);
}
API cuMemFree_v2(Pointer p) {
    IN_CONTEXT;
    current->drain();
    current->memory.give((unsigned char*)p);
    return SUCCESS;
}
API cuMemFreeAsync(Pointer p, Stream* s) {
    IN_CONTEXT;
    stream_of(s).queue.push_back([device = current, p] { device->memory.give((unsigned char*)p); });
    return SUCCESS;
}
API cuMemGetInfo_v2(size_t* unused, size_t* total) {
    IN_CONTEXT;
    *total = DEVICE_BYTES;
    *unused = DEVICE_BYTES - current->memory.bytes();
    return SUCCESS;
}
// A device has one pool, and is its handle.
API cuDeviceGetDefaultMemPool(Device** out, int device) { return cuDevicePrimaryCtxRetain(out, device); }
API cuDeviceGetMemPool(Device** out, int device) { return cuDevicePrimaryCtxRetain(out, device); }
API cuMemPoolSetAttribute(Device*, int, void*) { return SUCCESS; }
API cuMemPoolTrimTo(Device*, size_t) { return SUCCESS; }

// Pinned host memory.

API cuMemHostAlloc(void** out, size_t size, unsigned) {
    IN_CONTEXT;
    *out = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
    if (*out == nullptr) return OUT_OF_MEMORY;
    memset(*out, FRESH, size);
    pinned[(char*)*out] = {size, std::make_shared<int>(0)};
    return SUCCESS;
}
static int unpin(void* p) {
    auto found = pinned.find((char*)p);
    if (found == pinned.end()) return HOST_MEMORY_NOT_REGISTERED;
    if (*found->second.copies > 0) {
        fprintf(stderr, "emulated driver: pinned memory is freed while copies still wait to use it\n");
        abort();
    }
    pinned.erase(found);
    return SUCCESS;
}
API cuMemFreeHost(void* p) {
    LOCKED;
    if (unpin(p) != SUCCESS) return INVALID_VALUE;
    free(p);
    return SUCCESS;
}
API cuMemHostRegister_v2(void* p, size_t size, unsigned) {
    IN_CONTEXT;
    if (pinned_at(p, 1) != pinned.end()) return HOST_MEMORY_ALREADY_REGISTERED;
    pinned[(char*)p] = {size, std::make_shared<int>(0)};
    return SUCCESS;
}
API cuMemHostUnregister(void* p) {
    LOCKED;
    return unpin(p);
}

// Copies.

static void to_device(Device* d, Pointer to, const void* from, size_t size) {
    d->memory.check("a copy to the device leaves its allocation", (void*)to, size);
    memcpy((void*)to, from, size);
}
static void to_host(Device* d, void* to, Pointer from, size_t size) {
    d->memory.check("a copy from the device leaves its allocation", (void*)from, size);
    memcpy(to, (void*)from, size);
}
static void fill(Device* d, Pointer at, unsigned char byte, size_t size) {
    d->memory.check("a fill leaves its allocation", (void*)at, size);
    memset((void*)at, byte, size);
}
// Queues work on pinned memory, which may not go away before.
template <class F> static void queue_pinned(Stream& s, const Pinned& p, F work) {
    ++*p.copies;
    s.queue.push_back([copies = p.copies, work] {
        work();
        --*copies;
    });
}

API cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t size, Stream* s) {
    IN_CONTEXT;
    Device* d = current;
    auto found = pinned_at(from, size);
    if (found != pinned.end()) {
        queue_pinned(stream_of(s), found->second, [=] { to_device(d, to, from, size); });
    } else {
        std::vector<char> taken((const char*)from, (const char*)from + size);
        stream_of(s).queue.push_back([=] { to_device(d, to, taken.data(), size); });
    }
    return SUCCESS;
}
API cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t size, Stream* s) {
    IN_CONTEXT;
    Device* d = current;
    auto found = pinned_at(to, size);
    if (found != pinned.end()) {
        queue_pinned(stream_of(s), found->second, [=] { to_host(d, to, from, size); });
    } else {
        stream_of(s).drain();
        to_host(d, to, from, size);
    }
    return SUCCESS;
}
API cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t size, Stream* s) {
    IN_CONTEXT;
    stream_of(s).queue.push_back([=, d = current] {
        d->memory.check("a copy leaves the allocation it writes to", (void*)to, size);
        d->memory.check("a copy leaves the allocation it reads from", (void*)from, size);
        memmove((void*)to, (void*)from, size);
    });
    return SUCCESS;
}
API cuMemsetD8Async(Pointer at, unsigned char byte, size_t size, Stream* s) {
    IN_CONTEXT;
    stream_of(s).queue.push_back([=, d = current] { fill(d, at, byte, size); });
    return SUCCESS;
}
API cuMemcpyHtoD_v2(Pointer to, const void* from, size_t size) {
    IN_CONTEXT;
    current->standard.drain();
    to_device(current, to, from, size);
    return SUCCESS;
}
API cuMemcpyDtoH_v2(void* to, Pointer from, size_t size) {
    IN_CONTEXT;
    current->standard.drain();
    to_host(current, to, from, size);
    return SUCCESS;
}
API cuMemcpyDtoD_v2(Pointer to, Pointer from, size_t size) { return cuMemcpyDtoDAsync_v2(to, from, size, nullptr); }
API cuMemsetD8_v2(Pointer at, unsigned char byte, size_t size) { return cuMemsetD8Async(at, byte, size, nullptr); }

// Modules and kernels. An image is the text from nvrtc.cpp; the kernels are those this library was built with.

struct Module {
    std::vector<std::unique_ptr<Function>> functions;
};

API cuModuleLoadData(Module** out, const void* image) {
    IN_CONTEXT;
    static const char mark[] = "// emulated";
    if (strncmp((const char*)image, mark, sizeof mark - 1) != 0) return INVALID_IMAGE;
    *out = new Module;
    return SUCCESS;
}
API cuModuleLoadDataEx(Module** out, const void* image, unsigned, int*, void**) { return cuModuleLoadData(out, image); }
API cuModuleUnload(Module* m) {
    LOCKED;
    delete m;
    return SUCCESS;
}
API cuModuleGetFunction(Function** out, Module* m, const char* name) {
    IN_CONTEXT;
    const Kernel* kernel = find_kernel(name);
    if (kernel == nullptr) return NOT_FOUND;
    m->functions.push_back(std::make_unique<Function>(Function{kernel}));
    *out = m->functions.back().get();
    return SUCCESS;
}

enum { MAX_THREADS_PER_BLOCK = 0, NUM_REGS = 4, MAX_DYNAMIC_SHARED_SIZE_BYTES = 8 };

API cuFuncGetAttribute(int* out, int attribute, Function* f) {
    switch (attribute) {
    case MAX_THREADS_PER_BLOCK: *out = 1024; return SUCCESS;
    case NUM_REGS: *out = 64; return SUCCESS;
    case MAX_DYNAMIC_SHARED_SIZE_BYTES: *out = f->dynamic_shared; return SUCCESS;
    default: *out = 0; return SUCCESS;
    }
}
API cuFuncSetAttribute(Function* f, int attribute, int value) {
    if (attribute != MAX_DYNAMIC_SHARED_SIZE_BYTES) return SUCCESS;
    if (value > 227 << 10) return INVALID_VALUE;
    f->dynamic_shared = value;
    return SUCCESS;
}
API cuFuncSetCacheConfig(Function*, int) { return SUCCESS; }
API cuOccupancyMaxActiveBlocksPerMultiprocessor(int* out, Function*, int threads, size_t) {
    *out = 2048 / threads;
    return SUCCESS;
}
API cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* out, Function* f, int threads, size_t shared, unsigned) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessor(out, f, threads, shared);
}

API cuLaunchKernel(Function* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
    unsigned shared, Stream* s, void** params, void** extra) {
    IN_CONTEXT;
    const uint64_t threads = (uint64_t)bx * by * bz;
    if (gx == 0 || gy == 0 || gz == 0 || gy > 65535 || gz > 65535 || threads == 0 || threads > 1024) return INVALID_VALUE;
    if ((int)shared > f->dynamic_shared || extra != nullptr) return INVALID_VALUE;
    if (planted("launch")) return LAUNCH_FAILED;
    // parameters are copied now: the caller's are gone when the kernel runs
    const Kernel& k = *f->kernel;
    auto values = std::make_shared<std::vector<std::unique_ptr<char[]>>>();
    for (size_t i = 0; i < k.params; i++) {
        values->push_back(std::make_unique<char[]>(k.sizes[i]));
        memcpy(values->back().get(), params[i], k.sizes[i]);
    }
    stream_of(s).queue.push_back([=, &k] {
        std::vector<void*> each;
        for (auto& v : *values) each.push_back(v.get());
        launch(k, {gx, gy, gz}, {bx, by, bz}, shared, each.data());
    });
    return SUCCESS;
}
