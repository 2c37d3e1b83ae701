// Digit tables: made, looked up and multiplied out (Ohata, Nuida 2019). backend/cpu/digits.rs is the
// definition.
//
// Digits that are looked up are public. Those of alpha are secret: they only shift a one, and no address
// depends on them.

__device__ __forceinline__ u32 parity(u64 v) { return __popcll(v) & 1; }

template <typename R> __device__ __forceinline__ u32 digit(R x, u32 shift, u32 bits) {
    return (u32)(x >> shift) & ((1u << bits) - 1);
}

// A table of at most 128 bits.
struct Table {
    u64 low, high;
};

__device__ __forceinline__ Table stored_table(const Stored& f, const Slots& s, u64 g) {
    const u8* bytes = stored_field(f, s, g);
    const u64 at = g % TILE * f.width;
    if (f.width <= 32) return {read_word<u32>(bytes, at, f.width), 0};
    return {read_word<u64>(bytes, at, 64), f.width == 128 ? read_word<u64>(bytes, at + 64, 64) : 0};
}

// Bit y of a table, and the parity of those above it.
struct Found {
    u32 equal, above;
};

__device__ __forceinline__ Found look_up(Table t, u32 y) {
    const bool upper = y >= 64;
    const u64 from = (upper ? t.high : t.low) >> y % 64;
    return {(u32)from & 1, parity(from >> 1) ^ (upper ? 0 : parity(t.high))};
}

template <typename R>
__device__ void digit_lookup(u32* equal, u32* less, const u32* mask_equal, const u32* mask_less, const R* x,
    u32 shift, u32 bits, const Stored& table, const Slots& s) {
    EACH(e, ((u64)s.len + 31) / 32 * 32) {
        Found f = {0, 0};
        if (e < s.len) f = look_up(stored_table(table, s, s.first + e), digit(x[e], shift, bits));
        const u32 same = __ballot_sync(~0u, f.equal), above = __ballot_sync(~0u, f.above);
        if (e % 32 != 0) continue;
        less[e / 32] = above ^ mask_less[e / 32];
        if (equal != nullptr) equal[e / 32] = same ^ mask_equal[e / 32];
    }
}

// Comparisons below 8 bits: parity of T[..= x], that is of all of T less what lies above x.
template <typename R>
__device__ void at_most(u32* out, const R* x, u32 w, const Stored& table, const Slots& s) {
    EACH(e, ((u64)s.len + 31) / 32 * 32) {
        u32 bit = 0;
        if (e < s.len) {
            const Table t = stored_table(table, s, s.first + e);
            bit = parity(t.low ^ t.high) ^ look_up(t, digit(x[e], 0, w)).above;
        }
        const u32 word = __ballot_sync(~0u, bit);
        if (e % 32 == 0) out[e / 32] = word;
    }
}

// A thread makes a word: some narrow tables, or part of a wide one.
template <typename R>
__device__ void one_hot(u32* out, const R* x, u32 shift, u32 bits, const u32* e0, u32 len) {
    const u64 total = (u64)len << bits;
    EACH(i, (total + 31) / 32) {
        const u64 first = 32 * i >> bits;
        const u32 each = bits < 5 ? 32u >> bits : 1, begin = (u32)(32 * i) & ((1u << bits) - 1);
        u32 word = 0;
        for (u32 j = 0; j < each && first + j < len; j++) {
            const u32 at = (j << bits) + digit(x[first + j], shift, bits) - begin;
            word |= (0 - (u32)(at < 32)) & 1u << at % 32;
        }
        out[i] = bits_within(word ^ e0[i], i, total);
    }
}

#define DIGITS(R, n)                                                                                         \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
        digit_lookup_##n(u32* equal, u32* less, const u32* mask_equal, const u32* mask_less, const R* x,     \
            u32 shift, u32 bits, const Stored table, const Slots s) {                                        \
        digit_lookup(equal, less, mask_equal, mask_less, x, shift, bits, table, s);                          \
    }                                                                                                        \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
        at_most_##n(u32* out, const R* x, u32 w, const Stored table, const Slots s) {                        \
        at_most(out, x, w, table, s);                                                                        \
    }                                                                                                        \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
        one_hot_##n(u32* out, const R* x, u32 shift, u32 bits, const u32* e0, u32 len) {                     \
        one_hot(out, x, shift, bits, e0, len);                                                               \
    }
DIGITS(u32, 32)
DIGITS(u64, 64)

// A set of digits is a bit mask: bit j stands for digit j. Stored are the products of two or more b_j, sets
// ascending; then for every digit i the products of a_i and the sets that are not empty, of digits before i.

// Number of the highest digit of a set that is not empty.
__device__ __forceinline__ u32 highest(u32 set) { return 31 - __clz((int)set); }

// Which of the products of the b is that of `set`.
__device__ __forceinline__ u32 product_of(u32 set) { return set - 2 - highest(set); }

// Which product is a_i times that of `set`.
__device__ __forceinline__ u32 product_of_a(u32 k, u32 i, u32 set) {
    return (1u << (k - 1)) - k + (1u << i) - 2 - i + set;
}

// The products of the masks' planes a_0, b_0, a_1, .., each added to its plane of e0. A thread takes one set.
extern "C" __global__ void __launch_bounds__(256)
    digit_products(u32* out, const u32* masks, const u32* e0, u32 stride, u32 k, u32 len) {
    EACH(at, ((1ull << (k - 1)) - 1) * stride) {
        const u32 set = (u32)at / stride + 1, i = (u32)at % stride, high = highest(set);
        u32 product = ~0u;
        for (u32 j = 0; j <= high; j++) {
            product &= masks[(u64)(2 * j + 1) * stride + i] | ((set >> j & 1) - 1);
        }
        const u64 b = (u64)product_of(set) * stride + i;
        if ((set & (set - 1)) != 0) out[b] = bits_within(product ^ e0[b], i, len);
        for (u32 digit = high + 1; digit < k; digit++) {
            const u64 a = (u64)product_of_a(k, digit, set) * stride + i;
            out[a] = bits_within((product & masks[(u64)2 * digit * stride + i]) ^ e0[a], i, len);
        }
    }
}

// This party's share of [alpha <= x] on the digits `from`.., one plus that of [x < alpha]. With
// l_i = L_i + a_i and e_j = E_j + b_j, the sum of l_i prod_{j<i} e_j is the sum over all i and all sets S of
// digits before i of prod_{j not in S} E_j * (L_i prod_{j in S} b_j + a_i prod_{j in S} b_j). `one` is the
// empty product. What S holds is public: all of this branches on sets alone.
extern "C" __global__ void __launch_bounds__(256) digit_merge(u32* out, const u32* opened, const u32* masks,
    const u32* products, u32 stride, u32 k, u32 from, u32 one, u32 len) {
    EACH(w, ((u64)len + 31) / 32) {
        const auto plane = [=](const u32* planes, u32 p) { return planes[(u64)p * stride + w]; };
        u32 sum = one;
        for (u32 set = 0; set < 1u << (k - 1); set += 1u << from) {
            const bool many = (set & (set - 1)) != 0;
            const u32 next = set == 0 ? from : highest(set) + 1;
            const u32 b = set == 0 ? one
                          : many   ? plane(products, product_of(set))
                                   : plane(masks, 2 * next - 1);
            // the E_j of the digits before i that are not in the set
            u32 open = ~0u;
            for (u32 j = from; j < next; j++) open &= plane(opened, 2 * j + 1) | (0 - (set >> j & 1));
            for (u32 i = next; i < k; i++) {
                const u32 a = set == 0 ? plane(masks, 2 * i) : plane(products, product_of_a(k, i, set));
                sum ^= open & ((plane(opened, 2 * i) & b) ^ a);
                if (i + 1 < k) open &= plane(opened, 2 * i + 1);
            }
        }
        out[w] = bits_within(sum, w, len);
    }
}
