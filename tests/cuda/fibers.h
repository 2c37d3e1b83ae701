// A block of CUDA threads on one OS thread: every thread is a fiber, which runs until it waits for others.
//
// Lanes and warps run in ascending order in one block and in descending order in the next, so that a
// forgotten barrier shows up as a wrong result in one of them.
#pragma once
#include "launch.h"
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <sys/mman.h>
#include <thread>
#include <vector>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emulate {

constexpr unsigned WARP = 32;
constexpr size_t STACK = 128 << 10, GUARD = 4 << 10;
// The most dynamic shared memory a block can have.
constexpr size_t SHARED = 227 << 10;

// A stack and where its owner stopped. `swap` stops `from` and goes on with `to`.
#if defined(__x86_64__)
struct Context {
    void* sp;
};
extern "C" __attribute__((visibility("hidden"))) void emulate_swap(void** from, void* to);
asm(R"(
    .text
    .type emulate_swap, @function
    .hidden emulate_swap
emulate_swap:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emulate_swap, .-emulate_swap
)");
inline void swap(Context& from, Context& to) { emulate_swap(&from.sp, to.sp); }
inline void prepare(Context& c, char* stack, size_t size, void (*entry)()) {
    void** top = (void**)(stack + size) - 1; // entry begins as if called: 8 bytes off a multiple of 16
    *--top = (void*)entry;
    for (int i = 0; i < 6; i++) *--top = nullptr;
    c.sp = top;
}
#else
typedef ucontext_t Context;
inline void swap(Context& from, Context& to) { swapcontext(&from, &to); }
inline void prepare(Context& c, char* stack, size_t size, void (*entry)()) {
    getcontext(&c);
    c.uc_stack.ss_sp = stack;
    c.uc_stack.ss_size = size;
    c.uc_link = nullptr;
    makecontext(&c, entry, 0);
}
#endif

// What each lane brings to a collective.
struct Lanes {
    uint32_t of[WARP][8];
};

// Collectives of a warp take turns on two places: none can begin the next but one before all have read this
// one.
struct Warp {
    Lanes lanes[2];
    unsigned turn, arrived;
    const char* kind;
};

struct Copy {
    char* to;
    const char* from;
    int bytes;
};

enum State : uint8_t { READY, IN_WARP, IN_BLOCK, DONE };

struct Fiber {
    Context context;
    Dim thread;
    unsigned lane;
    State state;
    Warp* warp;
    // groups of asynchronous copies that nobody has waited for, the last one still open
    std::vector<std::vector<Copy>> copies;
};

struct Launch {
    const Kernel* kernel;
    Dim grid, block;
    size_t dynamic_shared;
    void** params;
    unsigned threads() const { return block.x * block.y * block.z; }
};

// What runs one block at a time. Kept between launches for its stacks.
struct Processor {
    const Launch* launch;
    Dim block;
    Context scheduler;
    Fiber* current;
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    std::vector<char*> stacks;
    unsigned in_block;
    alignas(128) char shared[SHARED];
};

// The processor of this OS thread.
inline thread_local Processor* here;

[[noreturn]] inline void fail(const char* why) {
    const Dim b = here->block;
    fprintf(
        stderr, "emulated kernel %s, block %u %u %u: %s\n", here->launch->kernel->name, b.x, b.y, b.z, why);
    abort();
}

inline void wait(State s) {
    Fiber* me = here->current;
    me->state = s;
    swap(me->context, here->scheduler);
}

inline void entry() {
    here->launch->kernel->call(here->launch->params);
    wait(DONE);
}

inline void barrier() {
    here->in_block++;
    wait(IN_BLOCK);
}

// Leaves n words for the other lanes, waits for all of them to leave theirs, and returns what they left.
inline const Lanes& exchange(const char* kind, const void* words, size_t n) {
    Fiber* me = here->current;
    Warp& w = *me->warp;
    const Lanes& lanes = w.lanes[w.turn];
    memcpy(w.lanes[w.turn].of[me->lane], words, n * 4);
    if (w.arrived > 0 && strcmp(w.kind, kind) != 0) fail("the lanes of a warp meet in different collectives");
    w.kind = kind;
    if (++w.arrived < WARP) {
        wait(IN_WARP);
        return lanes;
    }
    w.arrived = 0;
    w.turn ^= 1;
    Fiber* first = me - me->lane;
    for (unsigned i = 0; i < WARP; i++) first[i].state = READY;
    return lanes;
}

inline bool run_ready(Processor& p, size_t warp, bool descending) {
    bool any = false;
    for (unsigned i = 0; i < WARP; i++) {
        Fiber& f = p.fibers[warp * WARP + (descending ? WARP - 1 - i : i)];
        if (f.state != READY) continue;
        any = true;
        p.current = &f;
        swap(p.scheduler, f.context);
    }
    return any;
}

inline void run_block(Processor& p, bool descending) {
    const Dim d = p.launch->block;
    const unsigned threads = p.launch->threads();
    memset(p.shared, 0xa5, p.launch->dynamic_shared);
    p.in_block = 0;
    for (Warp& w : p.warps) w.arrived = 0;
    for (unsigned i = 0; i < threads; i++) {
        Fiber& f = p.fibers[i];
        prepare(f.context, p.stacks[i] + GUARD, STACK, entry);
        f.thread = {i % d.x, i / d.x % d.y, i / d.x / d.y};
        f.lane = i % WARP;
        f.state = READY;
        f.warp = &p.warps[i / WARP];
        f.copies.clear();
    }
    const size_t warps = threads / WARP;
    for (bool any = true; any;) {
        any = false;
        for (size_t i = 0; i < warps; i++) {
            while (run_ready(p, descending ? warps - 1 - i : i, descending)) any = true;
        }
        if (p.in_block == threads) {
            p.in_block = 0;
            for (unsigned i = 0; i < threads; i++) p.fibers[i].state = READY;
            any = true;
        }
    }
    for (unsigned i = 0; i < threads; i++) {
        if (p.fibers[i].state == IN_BLOCK) fail("__syncthreads is not reached by all threads");
        if (p.fibers[i].state == IN_WARP) fail("a collective is not reached by all lanes");
    }
}

// Processors that no launch uses now.
inline std::mutex idle_lock;
inline std::vector<std::unique_ptr<Processor>> idle;

inline std::unique_ptr<Processor> take(const Launch& launch) {
    std::unique_ptr<Processor> p;
    {
        std::lock_guard hold(idle_lock);
        if (!idle.empty()) {
            p = std::move(idle.back());
            idle.pop_back();
        }
    }
    if (!p) p = std::make_unique<Processor>();
    p->launch = &launch;
    const size_t threads = launch.threads();
    if (p->fibers.size() < threads) p->fibers.resize(threads);
    p->warps.resize(p->fibers.size() / WARP);
    while (p->stacks.size() < threads) {
        void* at = mmap(nullptr, GUARD + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED || mprotect(at, GUARD, PROT_NONE) != 0) abort();
        p->stacks.push_back((char*)at);
    }
    return p;
}

inline void run(const Launch& launch) {
    static std::atomic<unsigned> launches{0};
    const unsigned number = launches++;
    const Dim g = launch.grid;
    const uint64_t blocks = (uint64_t)g.x * g.y * g.z;
    std::atomic<uint64_t> next{0};
    auto work = [&] {
        std::unique_ptr<Processor> p = take(launch);
        here = p.get();
        for (uint64_t b; (b = next++) < blocks;) {
            p->block = {unsigned(b % g.x), unsigned(b / g.x % g.y), unsigned(b / g.x / g.y)};
            run_block(*p, (number + b) % 2 == 1);
        }
        std::lock_guard hold(idle_lock);
        idle.push_back(std::move(p));
    };
    const uint64_t cores = std::thread::hardware_concurrency();
    std::vector<std::thread> more;
    while (more.size() + 1 < cores && more.size() + 1 < blocks) more.emplace_back(work);
    work();
    for (std::thread& t : more) t.join();
}

} // namespace emulate
