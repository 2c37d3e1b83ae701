// Faults that tests plant, and what a thread has not given back. Both belong to the calling thread, as all
// tests share the process and its devices.
#pragma once
#include <memory>

struct Plan {
    // What is to fail: alloc, pinned, copy, event, stream, load, function, pool, launch, any of them, or
    // sticky: a launch that goes wrong on the device, after which every call of the thread fails.
    const char* kind = nullptr;
    // How many calls of that kind are left until then.
    long left = 0;
    bool fired = false, dead = false;
};
inline thread_local Plan plan;

// Whether this call of a kind is the one that is to fail.
bool planted(const char* kind);

// Memory, streams, events and modules that the thread took and nobody has given back.
inline thread_local std::shared_ptr<long> account = std::make_shared<long>(0);

// One of them; counted until the last copy goes.
typedef std::shared_ptr<void> Held;
inline Held take_account() {
    ++*account;
    return Held(nullptr, [of = account](void*) { --*of; });
}
