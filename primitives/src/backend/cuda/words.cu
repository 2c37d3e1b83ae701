// Words of streams, and arithmetic element by element. A secret bit gates a term as a mask, never as a
// branch.

// The elements e < total, spread over the threads of any grid. Where bodies divide, they take e as u32:
// nothing has more elements, and a division of 64 bits costs a hundred instructions.
#define EACH(e, total)                                                                                       \
    for (u64 e = blockIdx.x * (u64)blockDim.x + threadIdx.x; e < (total); e += (u64)gridDim.x * blockDim.x)

template <typename R> __device__ inline R ones(u32 bits) {
    return (R)~(R)0 >> (8 * sizeof(R) - bits); // 1 <= bits <= n
}

// Word `i` of a block of a stream.
template <typename R> __device__ inline R block_word(Block b, u32 i) {
    return sizeof(R) == 4 ? b.w[i] : (R)(b.w[2 * i] | (u64)b.w[2 * i + 1] << 32);
}

// Writes those words of block `at` of a stream that are among the `len` words from `from` on.
template <typename R, class Rounds>
__device__ inline void expand_block(
    R* out, u64 from, u32 len, R mask, Lookup t, const Rounds& rounds, u64 field, u64 at) {
    const u32 per = 16 / sizeof(R);
    Block b = aes_counter(t, rounds, field, at);
#pragma unroll
    for (u32 i = 0; i < per; i++) {
        u64 j = at * per + i - from; // before `from` it wraps to a number beyond `len`
        if (j < len) out[j] = block_word<R>(b, i) & mask;
    }
}

// Words from..from + len of a stream, the lowest `bits` bits of each (Stream::words). A thread per block.
template <typename R>
__device__ void expand(R* out, u64 from, u32 len, u64 field, u32 bits, const Key& key, u32* table) {
    aes_table(table);
    const u32 per = 16 / sizeof(R);
    u64 first = from / per, blocks = len > 0 ? (from + len - 1) / per - first + 1 : 0;
    EACH(e, blocks) expand_block(out, from, len, ones<R>(bits), table, KeyRounds{key}, field, first + e);
}

// Words 0..row of field 0 under each of `count` keys, one row behind the other.
template <typename R>
__device__ void expand_each(R* out, u32 row, u32 count, u32 bits, const Key* keys, u32* table) {
    aes_table(table);
    const u32 per = 16 / sizeof(R), blocks = row / per + (row % per > 0);
    EACH(e, (u64)blocks * count) {
        u64 i = (u32)e / blocks;
        expand_block(out + i * row, 0, row, ones<R>(bits), table, KeyRounds{keys[i]}, 0, (u32)e % blocks);
    }
}

// A sum's term c * [bit] * x; null pointers count as one.
#define TERMS(R, n)                                                                                          \
    struct Terms_##n {                                                                                       \
        u32 count;                                                                                           \
        struct {                                                                                             \
            R c;                                                                                             \
            const u32* when;                                                                                 \
            const R* x;                                                                                      \
        } at[12];                                                                                            \
    };
TERMS(u32, 32)
TERMS(u64, 64)

template <typename R, typename Terms> __device__ void sum(R* out, u32 len, const Terms& t, R mask) {
    EACH(e, len) {
        R sum = 0;
        for (u32 i = 0; i < t.count; i++) {
            R term = t.at[i].x ? t.at[i].c * t.at[i].x[e] : t.at[i].c;
            if (t.at[i].when) term &= (R)0 - (R)(t.at[i].when[e / 32] >> e % 32 & 1);
            sum += term;
        }
        out[e] = sum & mask;
    }
}

template <typename R> __device__ void mul(R* out, const R* a, const R* b, u32 len) {
    EACH(e, len) out[e] = a[e] * b[e];
}

// floor((x + add) / 2^by), the sum taken without wrapping: the high parts are added, and the carry of the low
// ones.
template <typename R> __device__ void shift(R* out, const R* x, u64 add, u32 by, R mask, u32 len) {
    R low = ((R)1 << by) - 1, high = (R)add >> by, rest = (R)add & low;
    EACH(e, len) out[e] = ((x[e] >> by) + high + (((x[e] & low) + rest) >> by)) & mask;
}

template <typename R> __device__ void add_row(R* out, const R* x, const R* row, u32 span, u32 rows, u32 len) {
    EACH(e, len) out[e] = x[e] + row[(u32)e / span % rows];
}

template <typename R> __device__ void scale_each(R* out, const R* x, const R* c, u32 rows, R mask, u32 len) {
    EACH(e, len) out[e] = x[e] * c[(u32)e % rows] & mask;
}

#define WORDS(R, n)                                                                                          \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
    expand_##n(R* out, u64 from, u32 len, u64 field, u32 bits, const Key key) {                              \
        __shared__ __align__(16) u32 table[AES_TABLE];                                                       \
        expand(out, from, len, field, bits, key, table);                                                     \
    }                                                                                                        \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
    expand_each_##n(R* out, u32 row, u32 count, u32 bits, const Key* keys) {                                 \
        __shared__ __align__(16) u32 table[AES_TABLE];                                                       \
        expand_each(out, row, count, bits, keys, table);                                                     \
    }                                                                                                        \
    extern "C" __global__ void sum_##n(R* out, u32 len, Terms_##n t, R mask) {                               \
        sum(out, len, t, mask);                                                                              \
    }                                                                                                        \
    extern "C" __global__ void mul_##n(R* out, const R* a, const R* b, u32 len) {                            \
        mul(out, a, b, len);                                                                                 \
    }                                                                                                        \
    extern "C" __global__ void shift_##n(R* out, const R* x, u64 add, u32 by, R mask, u32 len) {             \
        shift(out, x, add, by, mask, len);                                                                   \
    }                                                                                                        \
    extern "C" __global__ void add_row_##n(R* out, const R* x, const R* row, u32 span, u32 rows, u32 len) {  \
        add_row(out, x, row, span, rows, len);                                                               \
    }                                                                                                        \
    extern "C" __global__ void scale_each_##n(R* out, const R* x, const R* c, u32 rows, R mask, u32 len) {   \
        scale_each(out, x, c, rows, mask, len);                                                              \
    }
WORDS(u32, 32)
WORDS(u64, 64)
