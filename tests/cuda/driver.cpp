// A stand-in for the CUDA driver, with what cudarc calls: devices whose kernels run on the CPU (emulate.h).
// This part has devices, contexts, streams and events.
//
// TWOPLY_EMULATED_DEVICES   how many devices there are (1)
// TWOPLY_EMULATED_FAULT     KIND:N, as in faults.h: the N-th call of that kind fails, of all threads
#include "driver.h"
#include <string>

bool planted(const char* kind) {
    static std::map<std::string, long> calls;
    const char* fault = getenv("TWOPLY_EMULATED_FAULT");
    const size_t n = strlen(kind);
    const long call = ++calls[kind];
    if (fault != nullptr && strncmp(fault, kind, n) == 0 && fault[n] == ':' && atol(fault + n + 1) == call)
        return true;
    if (plan.kind == nullptr || plan.fired) return false;
    const bool sticky = strcmp(kind, "sticky") == 0;
    if (strcmp(plan.kind, kind) != 0 && (strcmp(plan.kind, "any") != 0 || sticky)) return false;
    return plan.fired = --plan.left == 0;
}

#define FOR_TESTS extern "C" __attribute__((visibility("default")))

// Has the n-th call of a kind fail, from now on and of this thread; no kind: none.
FOR_TESTS void emulated_fault(const char* kind, long n) { plan = {kind, n, false, false}; }
// Whether it did.
FOR_TESTS bool emulated_fired() { return plan.fired; }
// What this thread took and nobody has given back.
FOR_TESTS long emulated_held() {
    LOCKED;
    return *account;
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
    {HOST_MEMORY_ALREADY_REGISTERED,
        {"CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED", "memory is already mapped"}},
    {HOST_MEMORY_NOT_REGISTERED, {"CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED", "memory was never mapped"}},
    {LAUNCH_FAILED, {"CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"}},
    {NOT_SUPPORTED, {"CUDA_ERROR_NOT_SUPPORTED", "operation not supported"}},
    {UNKNOWN, {"CUDA_ERROR_UNKNOWN", "unknown error"}},
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

// Devices and contexts.

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
// The real NVRTC asks the driver for tables of its own, and does without.
API cuGetExportTable(const void** out, const void*) {
    *out = nullptr;
    return INVALID_VALUE;
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
    if (planted("stream")) return UNKNOWN;
    *out = new Stream{current, {}, take_account()};
    current->streams.insert(*out);
    return SUCCESS;
}
API cuStreamCreateWithPriority(Stream** out, unsigned flags, int) { return cuStreamCreate(out, flags); }
API cuStreamDestroy_v2(Stream* s) {
    IN_CONTEXT;
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
    if (planted("event")) return UNKNOWN;
    wait_for(stream_of(s), *e);
    return SUCCESS;
}
API cuStreamIsCapturing(Stream*, int* out) {
    *out = 0;
    return SUCCESS;
}
API cuEventCreate(Event** out, unsigned) {
    IN_CONTEXT;
    if (planted("event")) return UNKNOWN;
    *out = new Event{nullptr, take_account()};
    return SUCCESS;
}
API cuEventDestroy_v2(Event* e) {
    IN_CONTEXT;
    delete e;
    return SUCCESS;
}
API cuEventRecord(Event* e, Stream* s) {
    IN_CONTEXT;
    if (planted("event")) return UNKNOWN;
    e->record(stream_of(s));
    return SUCCESS;
}
API cuEventSynchronize(Event* e) {
    IN_CONTEXT;
    if (e->last) e->last->reach();
    return SUCCESS;
}
// Says "not ready" once before it is: who asks again has waited.
API cuEventQuery(Event* e) {
    IN_CONTEXT;
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
