// What the parts of the stand-in driver share.
#pragma once
#include "faults.h"
#include "memory.h"
#include "streams.h"
#include <mutex>
#include <set>
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
    UNKNOWN = 999,
};

// A device is its own primary context, and its own pool of memory.
struct Device {
    Memory memory;
    Stream standard{this, {}, {}};
    std::set<Stream*> streams{&standard};

    void drain() {
        // the youngest first: the order that a caller least expects
        for (auto s = streams.rbegin(); s != streams.rend(); s++) (*s)->drain();
    }
};

// Never destroyed: threads that outlive main may still call.
inline std::mutex& lock = *new std::mutex;
inline auto& devices = *new std::vector<std::unique_ptr<Device>>;
inline bool ready;
inline thread_local Device* current;

// All calls take turns.
#define LOCKED std::lock_guard hold(lock)
#define IN_CONTEXT                                                                                           \
    LOCKED;                                                                                                  \
    if (plan.dead) return LAUNCH_FAILED;                                                                     \
    if (!ready) return NOT_INITIALIZED;                                                                      \
    if (current == nullptr) return INVALID_CONTEXT

inline Stream& stream_of(Stream* s) { return s == nullptr ? current->standard : *s; }
