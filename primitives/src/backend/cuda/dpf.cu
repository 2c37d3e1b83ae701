// Point functions on the half-tree (Guo et al., EUROCRYPT 2023), a key per thread; backend/cpu/dpf is the
// definition.
//
// States and control bits are secret: they meet the words only through masks, and the hash takes the same
// time for all (aes.cuh). The point x is public, so which word is read at the last level may depend on it.

// All ones if the lowest bit is 1, else zero.
__device__ __forceinline__ u32 bit_mask(u32 bit) { return 0 - (bit & 1); }

// Where the words of one key lie in a tile: a word per level, `step` bytes apart. Keys come in blocks of 32,
// level by level; the last block of a tile may be short.
struct KeyPlace {
    u32 at, step;
};

__device__ __forceinline__ KeyPlace key_place(const Slots& s, u64 g, u32 levels) {
    const u32 i = g % TILE, block = i / 32 * 32, width = min(32u, tile_len(s, g) - block);
    return {(block * levels + i - block) * 16, width * 16};
}

// A word of a key. Fields of half-tree keys come first in a tile, and whatever they take there is a multiple of
// 16 bytes: so all words begin at one, which the host makes sure of.
__device__ __forceinline__ Block load_word(const u8* at) {
    const uint4 w = __ldg((const uint4*)at);
    return {{w.x, w.y, w.z, w.w}};
}

// Copies the round keys of `count` tiles, of which the part has `tiles`, for all threads of the block.
__device__ __forceinline__ void load_keys(uint4* to, const Key* hashes, u64 tile, u32 count, u64 tiles) {
    __syncthreads();
    const u32 i = threadIdx.x;
    if (i < count * 44 && tile + i / 44 < tiles) ((u32*)to)[i] = hashes[tile + i / 44].rk[i % 44];
    __syncthreads();
}

// Root of slot g: a word of the stream, whose lowest bit is the party's number.
__device__ __forceinline__ Block tree_root(Lookup t, const Key& stream, u64 field, u64 g, u32 party) {
    Block root = aes_counter(t, KeyRounds{stream}, field, g);
    root.w[0] = (root.w[0] & ~1u) | party;
    return root;
}

// What goes into the hash on the last level: the left or the right leaf's.
__device__ __forceinline__ Block leaf_input(Block s, u32 side) {
    s.w[0] = (s.w[0] & ~1u) | side;
    return s;
}

// Parity of the leaf's bits up to x, and on the right of the whole left leaf: that is the control bit of
// their parent `s` less the part of the right leaf above x.
__device__ __forceinline__ u32 counted(Block leaf, u32 s, u32 x) {
    const u32 side = x >> 7 & 1;
    u32 bits = 0;
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        const int j = (int)(x & 127) - 32 * (int)i;
        const u32 upto = j < 0 ? 0 : j >= 31 ? ~0u : (2u << j) - 1;
        bits ^= leaf.w[i] & (upto ^ bit_mask(side));
    }
    return (__popc(bits) ^ (s & side)) & 1;
}

// This party's share of [alpha <= x] for one key.
template <typename R, class Rounds>
__device__ __forceinline__ u32 dpf_walk(
    Lookup t, const Rounds& rk, Block s, R x, u32 w, const u8* words, u32 step) {
    u32 parity = 0;
    for (u32 level = 0; level < w - 8; level++, words += step) {
        const Block word = load_word(words);
        const u32 right = (u32)(x >> (w - 1 - level)) & 1;
        const Block left = tree_hash(t, rk, s) ^ (bit_mask(s.w[0]) & word);
        parity ^= left.w[0] & right;
        s = left ^ (bit_mask(right) & s);
    }
    const u32 side = (u32)x >> 7 & 1;
    const Block word = load_word(words + side * step);
    const Block leaf = tree_hash(t, rk, leaf_input(s, side)) ^ (bit_mask(s.w[0]) & word);
    return (parity ^ counted(leaf, s.w[0], (u32)x)) & 1;
}

template <typename R>
__device__ __forceinline__ void dpf_evaluate(u32* out, const R* x, u32 w, const Key& stream, u64 field,
    u32 party, const Stored& words, const Slots& s, const Key* hashes) {
    __shared__ __align__(16) u32 table[AES_TABLE];
    __shared__ uint4 keys[2 * 11];
    aes_table(table);
    const u64 first = s.first / TILE, tiles = (s.first + s.len - 1) / TILE - first + 1;
    for (u64 from = (u64)blockIdx.x * blockDim.x; from < s.len; from += (u64)gridDim.x * blockDim.x) {
        // a block's elements lie in at most two tiles
        const u64 tile = (s.first + from) / TILE - first;
        load_keys(keys, hashes, tile, 2, tiles);
        // threads past the end repeat the last element
        const u64 e = from + threadIdx.x, at = min(e, (u64)s.len - 1), g = s.first + at;
        const KeyPlace place = key_place(s, g, w - 6);
        const SharedRounds rk{keys + (g / TILE - first - tile) * 11};
        const Block root = tree_root(table, stream, field, g, party);
        const u32 bit = dpf_walk(table, rk, root, x[at], w, stored_field(words, s, g) + place.at, place.step);
        const u32 word = __ballot_sync(~0u, e < s.len && bit);
        if (e % 32 == 0 && e < s.len) out[e / 32] = word;
    }
}

// Correction words for one key, `step` bytes apart. Where b = a xor delta at the roots, it is so on alpha's
// path: the dealer walks one state for both parties.
template <typename R, class Rounds>
__device__ __forceinline__ void dpf_deal(
    Lookup t, const Rounds& rk, Block a, Block delta, R alpha, u32 w, u8* words, u32 step, bool present) {
    for (u32 level = 0; level < w - 8; level++, words += step) {
        const u32 right = bit_mask((u32)(alpha >> (w - 1 - level)));
        const Block ha = tree_hash(t, rk, a), word = ha ^ tree_hash(t, rk, a ^ delta) ^ (~right & delta);
        if (present) *(uint4*)words = make_uint4(word.w[0], word.w[1], word.w[2], word.w[3]);
        a = ha ^ (bit_mask(a.w[0]) & word) ^ (right & a);
    }
    for (u32 side = 0; side < 2; side++, words += step) {
        Block word = tree_hash(t, rk, leaf_input(a, side)) ^ tree_hash(t, rk, leaf_input(a ^ delta, side));
        const u32 bit = (u32)alpha & 127, here = bit_mask(((u32)alpha >> 7) ^ side ^ 1);
#pragma unroll
        for (u32 i = 0; i < 4; i++) word.w[i] ^= here & bit_mask(bit / 32 == i) & 1u << bit % 32;
        if (present) *(uint4*)words = make_uint4(word.w[0], word.w[1], word.w[2], word.w[3]);
    }
}

// `out` begins at a multiple of 16.
template <typename R>
__device__ __forceinline__ void dpf_generate(u8* out, const R* alpha, u32 w, const Key& stream0,
    const Key& stream1, u64 field, const Slots& s, const Key* hashes) {
    __shared__ __align__(16) u32 table[AES_TABLE];
    __shared__ uint4 keys[11];
    aes_table(table);
    for (u64 from = (u64)blockIdx.x * blockDim.x; from < s.len; from += (u64)gridDim.x * blockDim.x) {
        // blocks begin at multiples of 256 in a run that begins with a tile: they lie in one
        load_keys(keys, hashes, from / TILE, 1, ~0ull);
        const u64 e = from + threadIdx.x, at = min(e, (u64)s.len - 1), g = s.first + at;
        const KeyPlace place = key_place(s, g, w - 6);
        const Block a = tree_root(table, stream0, field, g, 0), b = tree_root(table, stream1, field, g, 1);
        u8* words = out + from / TILE * TILE * (w - 6) * 16 + place.at;
        dpf_deal(table, SharedRounds{keys}, a, a ^ b, alpha[at], w, words, place.step, e < s.len);
    }
}

#define DPF(R, n)                                                                                            \
    extern "C" __global__ void __launch_bounds__(256, 4) dpf_evaluate_##n(u32* out, const R* x, u32 w,       \
        const Key stream, u64 field, u32 party, const Stored words, const Slots s, const Key* hashes) {      \
        dpf_evaluate(out, x, w, stream, field, party, words, s, hashes);                                     \
    }                                                                                                        \
    extern "C" __global__ void __launch_bounds__(256, 4) dpf_generate_##n(u8* out, const R* alpha, u32 w,    \
        const Key stream0, const Key stream1, u64 field, const Slots s, const Key* hashes) {                 \
        dpf_generate(out, alpha, w, stream0, stream1, field, s, hashes);                                     \
    }
DPF(u32, 32)
DPF(u64, 64)
