// Memory of the emulated devices: fresh bytes are 0xA5, guards around every allocation are checked when it is
// freed, and freed bytes are kept for a while to see whether anything still writes there.
#pragma once
#include "faults.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>

constexpr size_t GUARD_BYTES = 256, DEVICE_BYTES = size_t(8) << 30, KEPT_BYTES = size_t(64) << 20;
constexpr unsigned char FRESH = 0xa5, FREED = 0xdd, BESIDE = 0xc3;

struct Allocation {
    unsigned char* at;
    size_t size;
};

class Memory {
  public:
    // Null if the device is full.
    unsigned char* take(size_t size) {
        if (size > DEVICE_BYTES - used) return nullptr;
        const size_t whole = (size + 2 * GUARD_BYTES + 255) / 256 * 256;
        auto base = (unsigned char*)aligned_alloc(256, whole);
        if (base == nullptr) return nullptr;
        memset(base, BESIDE, whole);
        memset(base + GUARD_BYTES, FRESH, size);
        used += size;
        live[base + GUARD_BYTES] = {size, take_account()};
        return base + GUARD_BYTES;
    }
    void give(unsigned char* at) {
        auto found = live.find(at);
        if (found == live.end()) stop("free of what is not allocated", at, 0);
        const size_t size = found->second.size;
        live.erase(found);
        used -= size;
        if (!all(at - GUARD_BYTES, GUARD_BYTES, BESIDE))
            stop("bytes were written before an allocation", at, size);
        if (!all(at + size, GUARD_BYTES, BESIDE)) stop("bytes were written behind an allocation", at, size);
        memset(at, FREED, size);
        kept.push_back({at, size});
        kept_bytes += size;
        while (kept_bytes > KEPT_BYTES) {
            const Allocation old = kept.front();
            kept.pop_front();
            kept_bytes -= old.size;
            if (!all(old.at, old.size, FREED))
                stop("bytes were written after they were freed", old.at, old.size);
            free(old.at - GUARD_BYTES);
        }
    }
    // Stops the process unless these bytes lie within one allocation.
    void check(const char* what, const void* from, size_t size) const {
        if (size == 0) return;
        auto at = (unsigned char*)from;
        auto next = live.upper_bound(at);
        if (next == live.begin()) stop(what, at, size);
        const auto& [begin, block] = *std::prev(next);
        if (size_t(at - begin) + size > block.size) stop(what, at, size);
    }
    size_t bytes() const { return used; }

  private:
    struct Block {
        size_t size;
        Held held;
    };
    std::map<unsigned char*, Block> live;
    std::deque<Allocation> kept;
    size_t used = 0, kept_bytes = 0;

    static bool all(const unsigned char* at, size_t size, unsigned char byte) {
        return size == 0 || (at[0] == byte && memcmp(at, at + 1, size - 1) == 0);
    }
    [[noreturn]] static void stop(const char* what, const void* at, size_t size) {
        fprintf(stderr, "emulated device memory: %s (%zu bytes at %p)\n", what, size, at);
        abort();
    }
};
