// The words of CUDA C++ for g++: put in front of the kernels' text, it makes them functions that run on
// the CPU.
//
// Warps must be whole, and take part in collectives with all lanes. Where `__CUDA_ARCH__` is not defined, as
// here, the text calls what stands for PTX instructions that CUDA C++ has no word for:
//
//   emulate_mma_s8(d, a, b)             mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32, d += a b
//   emulate_ldmatrix_x4(r, row), _x2    ldmatrix.sync.aligned.m8n8.x4.shared.b16, .x2
//   emulate_cp_async16(to, from, n)     cp.async.cg.shared.global of 16 bytes: n from memory, the rest zero
//   emulate_cp_async_commit()           cp.async.commit_group
//   emulate_cp_async_wait(n)            cp.async.wait_group
//   emulate_dynamic_shared()            extern __shared__
#pragma once
#include "fibers.h"

#define __host__
#define __device__
#define __constant__
#define __shared__ static thread_local
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __grid_constant__
// build.sh finds the kernels by this section's name
#define __global__ __attribute__((section("kernels")))

#define threadIdx (emulate::here->current->thread)
#define blockIdx (emulate::here->block)
#define blockDim (emulate::here->launch->block)
#define gridDim (emulate::here->launch->grid)
#define warpSize 32

struct alignas(4) uchar4 {
    unsigned char x, y, z, w;
};
struct alignas(8) int2 {
    int x, y;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) ulonglong2 {
    unsigned long long x, y;
};
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline ulonglong2 make_ulonglong2(unsigned long long x, unsigned long long y) { return {x, y}; }

// Arithmetic.

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline unsigned long long min(unsigned long long a, unsigned long long b) { return a < b ? a : b; }
inline unsigned long long max(unsigned long long a, unsigned long long b) { return a > b ? a : b; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (uint64_t)a * b >> 32; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned __int128)a * b >> 64;
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned s) {
    const uint64_t both = (uint64_t)y << 32 | x;
    unsigned r = 0;
    for (int i = 0; i < 4; i++) r |= unsigned(both >> 8 * (s >> 4 * i & 7) & 0xff) << 8 * i;
    return r;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) {
    return ((uint64_t)high << 32 | low) >> (by & 31);
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned by) {
    return ((uint64_t)high << 32 | low) << (by & 31) >> 32;
}

// Memory.

template <class T> inline T __ldg(const T* p) { return *p; }
template <class T> inline T __ldcs(const T* p) { return *p; }
template <class T> inline void __stcs(T* p, T v) { *p = v; }
inline unsigned atomicAdd(unsigned* p, unsigned v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }
inline unsigned long long atomicAdd(unsigned long long* p, unsigned long long v) {
    return __atomic_fetch_add(p, v, __ATOMIC_RELAXED);
}
inline unsigned atomicOr(unsigned* p, unsigned v) { return __atomic_fetch_or(p, v, __ATOMIC_RELAXED); }
inline unsigned atomicXor(unsigned* p, unsigned v) { return __atomic_fetch_xor(p, v, __ATOMIC_RELAXED); }
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline size_t __cvta_generic_to_shared(const void* p) { return (size_t)p; }
inline void* emulate_dynamic_shared() { return emulate::here->shared; }

// Collectives.

inline void emulate_whole(unsigned mask) {
    if (mask != ~0u) emulate::fail("a collective's mask leaves lanes out");
}
inline unsigned emulate_lane() { return emulate::here->current->lane; }

inline void __syncthreads() { emulate::barrier(); }
inline void __syncwarp(unsigned mask = ~0u) {
    emulate_whole(mask);
    emulate::exchange("__syncwarp", nullptr, 0);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    emulate_whole(mask);
    const emulate::Lanes& l = emulate::exchange("__ballot_sync", &predicate, 1);
    unsigned r = 0;
    for (unsigned i = 0; i < 32; i++) r |= unsigned(l.of[i][0] != 0) << i;
    return r;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == ~0u; }

// The value of lane `from` of this lane's group of `width` lanes, or one's own if `from` lies outside it.
template <class T> inline T emulate_shuffle(const char* kind, unsigned mask, T v, int from, int width) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move words");
    emulate_whole(mask);
    const emulate::Lanes& l = emulate::exchange(kind, &v, sizeof(T) / 4);
    const int lane = emulate_lane(), first = lane & -width;
    const int source = from >= first && from < first + width ? from : lane;
    T r;
    memcpy(&r, l.of[source], sizeof(T));
    return r;
}
template <class T> inline T __shfl_sync(unsigned mask, T v, int lane, int width = 32) {
    const int first = emulate_lane() & -width;
    return emulate_shuffle("__shfl_sync", mask, v, first + (lane & (width - 1)), width);
}
template <class T> inline T __shfl_xor_sync(unsigned mask, T v, int by, int width = 32) {
    return emulate_shuffle("__shfl_xor_sync", mask, v, emulate_lane() ^ by, width);
}
template <class T> inline T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32) {
    return emulate_shuffle("__shfl_down_sync", mask, v, emulate_lane() + by, width);
}
template <class T> inline T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32) {
    return emulate_shuffle("__shfl_up_sync", mask, v, emulate_lane() - by, width);
}

// Matrix instructions, as the PTX manual lays out their fragments.

inline void emulate_ldmatrix(const char* kind, unsigned* r, unsigned matrices, const void* row) {
    const uint64_t mine = (uint64_t)row;
    if (mine % 16 != 0) emulate::fail("ldmatrix of a row that does not begin at a multiple of 16 bytes");
    const emulate::Lanes& l = emulate::exchange(kind, &mine, 2);
    const unsigned lane = emulate_lane();
    for (unsigned m = 0; m < matrices; m++) {
        uint64_t at;
        memcpy(&at, l.of[m * 8 + lane / 4], 8);
        memcpy(&r[m], (const char*)at + 4 * (lane % 4), 4);
    }
    // nobody may overwrite a row that another lane has yet to read
    __syncwarp();
}
inline void emulate_ldmatrix_x4(unsigned r[4], const void* row) {
    emulate_ldmatrix("ldmatrix.x4", r, 4, row);
}
inline void emulate_ldmatrix_x2(unsigned r[2], const void* row) {
    emulate_ldmatrix("ldmatrix.x2", r, 2, row);
}

inline void emulate_mma_s8(int d[4], const unsigned a[4], const unsigned b[2]) {
    const unsigned mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    const emulate::Lanes& l = emulate::exchange("mma.m16n8k32", mine, 6);
    const unsigned lane = emulate_lane();
    for (unsigned i = 0; i < 4; i++) {
        // A's row lane / 4 (+ 8) lies in lanes 4 * (lane / 4) .., B's column c in lanes 4 * c ..
        const unsigned row = lane / 4 * 4, column = (lane % 4 * 2 + i % 2) * 4;
        unsigned sum = d[i];
        for (unsigned t = 0; t < 4; t++) {
            for (unsigned half = 0; half < 2; half++) {
                const unsigned x = l.of[row + t][2 * half + i / 2], y = l.of[column + t][4 + half];
                for (unsigned k = 0; k < 32; k += 8) sum += (int8_t)(x >> k) * (int8_t)(y >> k);
            }
        }
        d[i] = sum;
    }
}

// Asynchronous copies, made as late as the waits allow.

inline void emulate_cp_async16(void* shared, const void* global, int bytes) {
    if ((uint64_t)shared % 16 != 0 || (uint64_t)global % 16 != 0)
        emulate::fail("cp.async of unaligned 16 bytes");
    auto& groups = emulate::here->current->copies;
    if (groups.empty()) groups.emplace_back();
    groups.back().push_back({(char*)shared, (const char*)global, bytes});
}
inline void emulate_cp_async_commit() {
    auto& groups = emulate::here->current->copies;
    if (groups.empty()) groups.emplace_back();
    groups.emplace_back();
}
inline void emulate_cp_async_wait(int pending) {
    auto& groups = emulate::here->current->copies;
    while ((int)groups.size() - 1 > pending) {
        for (const emulate::Copy& c : groups.front()) {
            memset(c.to, 0, 16);
            memcpy(c.to, c.from, c.bytes);
        }
        groups.erase(groups.begin());
    }
}

// An entry of the table of kernels.

template <auto F, class... A, size_t... I> inline void emulate_call(void** p, std::index_sequence<I...>) {
    F(*(A*)p[I]...);
}
template <auto F, class... A> inline Kernel emulate_entry(const char* name, void (*)(A...)) {
    static const size_t sizes[] = {sizeof(A)...};
    auto call = [](void** p) { emulate_call<F, A...>(p, std::index_sequence_for<A...>()); };
    return {name, call, sizes, sizeof...(A)};
}
#define EMULATED(kernel) emulate_entry<&kernels::kernel>(#kernel, &kernels::kernel),
