// The stand-in driver's memory. Pinned memory is read and written when the stream comes to it. Asynchronous
// copies of pageable memory stop the process: CUDA's manual does not promise everywhere that the call is done
// with it when it returns, and the driver would keep what it copies where nobody wipes it.
#include "driver.h"
#include <map>

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
API cuDeviceGetMemPool(Device** out, int device) {
    LOCKED;
    *out = devices[device].get();
    return SUCCESS;
}
API cuDeviceGetDefaultMemPool(Device** out, int device) { return cuDeviceGetMemPool(out, device); }
API cuMemPoolSetAttribute(Device*, int, void*) {
    LOCKED;
    return planted("pool") ? UNKNOWN : SUCCESS;
}
API cuMemPoolTrimTo(Device*, size_t) { return SUCCESS; }

// Pinned host memory.

struct Pinned {
    size_t size;
    // how many queued copies use it
    std::shared_ptr<int> copies;
    Held held;
};

static auto& pinned = *new std::map<char*, Pinned>;

static std::map<char*, Pinned>::iterator pinned_at(const void* p, size_t size) {
    auto next = pinned.upper_bound((char*)p);
    if (next == pinned.begin()) return pinned.end();
    auto found = std::prev(next);
    return size_t((char*)p - found->first) + size <= found->second.size ? found : pinned.end();
}

API cuMemHostAlloc(void** out, size_t size, unsigned) {
    IN_CONTEXT;
    if (planted("pinned")) return OUT_OF_MEMORY;
    *out = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
    if (*out == nullptr) return OUT_OF_MEMORY;
    memset(*out, FRESH, size);
    pinned[(char*)*out] = {size, std::make_shared<int>(0), take_account()};
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
    IN_CONTEXT;
    if (unpin(p) != SUCCESS) return INVALID_VALUE;
    free(p);
    return SUCCESS;
}
API cuMemHostRegister_v2(void* p, size_t size, unsigned) {
    IN_CONTEXT;
    if (pinned_at(p, 1) != pinned.end()) return HOST_MEMORY_ALREADY_REGISTERED;
    pinned[(char*)p] = {size, std::make_shared<int>(0), take_account()};
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

static const Pinned& pinned_host(const void* p, size_t size) {
    auto found = pinned_at(p, size);
    if (found == pinned.end()) {
        fprintf(stderr, "emulated driver: an asynchronous copy of pageable memory (%zu bytes)\n", size);
        abort();
    }
    return found->second;
}

API cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t size, Stream* s) {
    IN_CONTEXT;
    if (planted("copy")) return UNKNOWN;
    queue_pinned(
        stream_of(s), pinned_host(from, size), [=, d = current] { to_device(d, to, from, size); });
    return SUCCESS;
}
API cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t size, Stream* s) {
    IN_CONTEXT;
    if (planted("copy")) return UNKNOWN;
    queue_pinned(stream_of(s), pinned_host(to, size), [=, d = current] { to_host(d, to, from, size); });
    return SUCCESS;
}
API cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t size, Stream* s) {
    IN_CONTEXT;
    if (planted("copy")) return UNKNOWN;
    stream_of(s).queue.push_back([=, d = current] {
        d->memory.check("a copy leaves the allocation it writes to", (void*)to, size);
        d->memory.check("a copy leaves the allocation it reads from", (void*)from, size);
        memmove((void*)to, (void*)from, size);
    });
    return SUCCESS;
}
API cuMemsetD8Async(Pointer at, unsigned char byte, size_t size, Stream* s) {
    IN_CONTEXT;
    if (planted("copy")) return UNKNOWN;
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
API cuMemcpyDtoD_v2(Pointer to, Pointer from, size_t size) {
    return cuMemcpyDtoDAsync_v2(to, from, size, nullptr);
}
API cuMemsetD8_v2(Pointer at, unsigned char byte, size_t size) {
    return cuMemsetD8Async(at, byte, size, nullptr);
}
