// Words packed without gaps (bits.rs), and a bit of every word. Addresses depend on shapes alone.

// The word of `width` bits from bit `at` of `bytes` on. Reads whole aligned u32, up to 12 bytes past the
// word's first.
template <typename R> __device__ inline R read_word(const u8* bytes, u64 at, u32 width) {
    const u8* byte = bytes + at / 8;
    u32 skip = (u32)((u64)byte % 4);
    const u32* words = (const u32*)(byte - skip);
    u32 by = skip * 8 + (u32)(at % 8);
    u64 word = __funnelshift_r(words[0], words[1], by);
    if (sizeof(R) == 8) word |= (u64)__funnelshift_r(words[1], words[2], by) << 32;
    return (R)word & ones<R>(width);
}

// Packed word `i`, bits 32 i .. 32 (i + 1), of `len` elements at `width`; bits past them are zero.
template <typename R> __device__ inline u32 packed_word(const R* x, u32 i, u32 width, u32 len) {
    // 32 elements fill `width` words
    u32 within = i % width * 32, first = within / width, out = 0;
    u64 e = (u64)(i / width) * 32 + first;
    for (int at = (int)(first * width) - (int)within; at < 32 && e < len; at += (int)width, e++) {
        R v = x[e] & ones<R>(width);
        out |= at < 0 ? (u32)(v >> -at) : (u32)v << at;
    }
    return out;
}

template <typename R> __device__ void pack(u32* out, const R* x, u32 width, u32 len) {
    EACH(i, ((u64)len * width + 31) / 32) out[i] = packed_word(x, (u32)i, width, len);
}

template <typename R> __device__ void unpack(R* out, const u8* bytes, u64 at, u32 width, u32 len) {
    EACH(e, len) out[e] = read_word<R>(bytes, at + e * width, width);
}

template <typename R> __device__ void add_packed(R* x, const u8* bytes, u64 at, u32 width, u32 len) {
    EACH(e, len) x[e] = (x[e] + read_word<R>(bytes, at + e * width, width)) & ones<R>(width);
}

template <typename R> __device__ void stored(R* out, const Stored& f, const Slots& s) {
    EACH(e, s.len) {
        u64 slot = s.first + e, tile = slot / TILE;
        u64 field = (tile + 1) * TILE > s.elements ? f.last : f.full;
        const u8* at = f.bytes + (tile - s.first / TILE) * f.stride + field;
        out[e] = read_word<R>(at, slot % TILE * f.width, f.width);
    }
}

// A warp per output word.
template <typename R> __device__ void bit(u32* out, const R* x, u32 i, u32 len) {
    EACH(e, ((u64)len + 31) / 32 * 32) {
        u32 word = __ballot_sync(~0u, e < len && (x[e] >> i & 1));
        if (e % 32 == 0) out[e / 32] = word;
    }
}

// Elements that a block of 256 threads corrects at a time: a multiple of 32, so that at any width they fill
// whole words, and few enough that 256 blocks of the stream have their words wherever they begin.
template <typename R> constexpr u32 CORRECT_RUN = (256 * 16 / sizeof(R) - 1) / 32 * 32;

// Packed x[e] minus word from + e of a stream, mod 2^width.
template <typename R>
__device__ void correct(
    u32* out, const R* x, u64 from, u64 field, u32 width, u32 len, const Key& key, u32* table, R* run) {
    aes_table(table);
    for (u64 at = (u64)blockIdx.x * CORRECT_RUN<R>; at < len; at += (u64)gridDim.x * CORRECT_RUN<R>) {
        u32 count = (u32)min((u64)CORRECT_RUN<R>, len - at);
        u64 block = (from + at) / (16 / sizeof(R)) + threadIdx.x;
        expand_block(run, from + at, count, (R)~(R)0, table, KeyRounds{key}, field, block);
        __syncthreads();
        for (u32 e = threadIdx.x; e < count; e += 256) run[e] = x[at + e] - run[e];
        __syncthreads();
        u32 words = (u32)(((u64)count * width + 31) / 32);
        u32* to = out + at / 32 * width;
        for (u32 i = threadIdx.x; i < words; i += 256) to[i] = packed_word(run, i, width, count);
        __syncthreads();
    }
}

#define PACKING(R, n)                                                                                        \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
    correct_##n(u32* out, const R* x, u64 from, u64 field, u32 width, u32 len, const Key key) {              \
        __shared__ __align__(16) u32 table[AES_TABLE];                                                       \
        __shared__ R run[CORRECT_RUN<R>];                                                                    \
        correct(out, x, from, field, width, len, key, table, run);                                           \
    }                                                                                                        \
    extern "C" __global__ void pack_##n(u32* out, const R* x, u32 width, u32 len) {                          \
        pack(out, x, width, len);                                                                            \
    }                                                                                                        \
    extern "C" __global__ void unpack_##n(R* out, const u8* bytes, u64 at, u32 width, u32 len) {             \
        unpack(out, bytes, at, width, len);                                                                  \
    }                                                                                                        \
    extern "C" __global__ void add_packed_##n(R* x, const u8* bytes, u64 at, u32 width, u32 len) {           \
        add_packed(x, bytes, at, width, len);                                                                \
    }                                                                                                        \
    extern "C" __global__ void stored_##n(R* out, Stored f, Slots s) {                                       \
        stored(out, f, s);                                                                                   \
    }                                                                                                        \
    extern "C" __global__ void bit_##n(u32* out, const R* x, u32 i, u32 len) {                               \
        bit(out, x, i, len);                                                                                 \
    }
PACKING(u32, 32)
PACKING(u64, 64)
