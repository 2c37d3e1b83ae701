// The stand-in driver's modules and launches. An image is the text that nvrtc.cpp returned; the kernels are
// those that this library was built with.
#include "driver.h"
#include "launch.h"

struct Function {
    const Kernel* kernel;
    int dynamic_shared = 48 << 10;
};

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
API cuModuleLoadDataEx(Module** out, const void* image, unsigned, int*, void**) {
    return cuModuleLoadData(out, image);
}
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
API cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    int* out, Function* f, int threads, size_t shared, unsigned) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessor(out, f, threads, shared);
}

API cuLaunchKernel(Function* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
    unsigned shared, Stream* s, void** params, void** extra) {
    IN_CONTEXT;
    const uint64_t threads = (uint64_t)bx * by * bz;
    if (gx == 0 || gy == 0 || gz == 0 || gy > 65535 || gz > 65535 || threads == 0 || threads > 1024)
        return INVALID_VALUE;
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
