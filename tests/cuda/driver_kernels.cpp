// The stand-in driver's modules and launches. An image is what nvrtc.cpp returned, or code from the real
// NVRTC; the kernels that run are those that this library was built with.
#include "driver.h"
#include "launch.h"
#include <elf.h>
#include <string>

struct Function {
    const Kernel* kernel;
    int dynamic_shared = 48 << 10;
};

struct Module {
    std::string image;
    // Of real code, which names its kernels.
    bool real;
    Held held;
    std::vector<std::unique_ptr<Function>> functions;
};

// The bytes of an image.
static std::string bytes_of(const void* image, bool real) {
    if (!real) return (const char*)image;
    const auto head = (const Elf64_Ehdr*)image;
    return std::string((const char*)image, head->e_shoff + size_t(head->e_shnum) * head->e_shentsize);
}
static bool is_emulated(const std::string& text) {
    const std::string begin = "// emulated\n", end = "// end\n";
    return text.size() >= begin.size() + end.size() && text.compare(0, begin.size(), begin) == 0 &&
           text.compare(text.size() - end.size(), end.size(), end) == 0;
}

API cuModuleLoadData(Module** out, const void* image) {
    IN_CONTEXT;
    if (planted("load")) return UNKNOWN;
    const bool real = memcmp(image, ELFMAG, SELFMAG) == 0;
    const std::string bytes = bytes_of(image, real);
    if (!real && !is_emulated(bytes)) return INVALID_IMAGE;
    *out = new Module{bytes, real, take_account(), {}};
    return SUCCESS;
}
API cuModuleLoadDataEx(Module** out, const void* image, unsigned, int*, void**) {
    return cuModuleLoadData(out, image);
}
API cuModuleUnload(Module* m) {
    IN_CONTEXT;
    delete m;
    return SUCCESS;
}
API cuModuleGetFunction(Function** out, Module* m, const char* name) {
    IN_CONTEXT;
    if (planted("function")) return UNKNOWN;
    const Kernel* kernel = find_kernel(name);
    const std::string code = std::string(".text.") + name + '\0';
    const bool there = !m->real || m->image.find(code) != std::string::npos;
    if (kernel == nullptr || !there) return NOT_FOUND;
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
    LOCKED;
    if (planted("function")) return UNKNOWN;
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
    if (planted("launch")) return UNKNOWN;
    if (planted("sticky")) {
        plan.dead = true;
        return SUCCESS;
    }
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
