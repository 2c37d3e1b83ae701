// The kernels as functions of the CPU, and the table of them. build.sh makes both included files.
#include "emulate.h"

// in a namespace, as a kernel may have the name of a function of the C library
namespace kernels {
#include "kernels.inc"
}

#ifndef LISTING
static const Kernel table[] = {
#include "table.inc"
};

const Kernel* find_kernel(const char* name) {
    for (const Kernel& k : table) {
        if (strcmp(k.name, name) == 0) return &k;
    }
    return nullptr;
}

void launch(const Kernel& kernel, Dim grid, Dim block, size_t dynamic_shared, void** params) {
    const emulate::Launch l{&kernel, grid, block, dynamic_shared, params};
    if (l.threads() % emulate::WARP != 0 || dynamic_shared > emulate::SHARED) {
        fprintf(stderr, "emulated kernel %s: a launch with broken warps or too much shared memory\n",
            kernel.name);
        abort();
    }
    emulate::run(l);
}
#endif
