// What the stand-in driver knows of the emulated kernels.
#pragma once
#include <cstddef>

struct Dim {
    unsigned x, y, z;
};

// A kernel: `call` runs it as the current thread of the current block; parameter i takes sizes[i] bytes.
struct Kernel {
    const char* name;
    void (*call)(void** params);
    const size_t* sizes;
    size_t params;
};

// The kernel of this name, or null.
const Kernel* find_kernel(const char* name);

// Runs all blocks of a launch, on as many OS threads as the machine has cores; returns when they are done.
void launch(const Kernel& kernel, Dim grid, Dim block, size_t dynamic_shared, void** params);
