// Public tables under a secret one-hot. backend/cpu/lookup.rs is the definition.
//
// A thread goes through the whole one-hot of its element. Which entry meets a bit hangs on the public x and on where the
// bit is; whether it counts is a mask.

// What 32 bits of a one-hot, from bit `from` on, say of the entry at x - alpha.
__device__ __forceinline__ u32 entries_of(u32 hot, u32 from, u32 x, const u32* entries, u32 places) {
    u32 found = 0;
    for (u32 j = 0; j < min(32u, places); j++) {
        found ^= bit_mask(hot >> j) & entries[(x - from - j) & (places - 1)];
    }
    return found;
}

template <typename R>
__device__ void look_up(
    R* out, const R* x, u32 width, const u32* entries, const Stored& hot, const Slots& s) {
    const u32 places = 1u << width, each = min(32u, places);
    EACH(e, s.len) {
        const u64 g = s.first + e, at = g % TILE * places;
        const u8* field = stored_field(hot, s, g);
        u32 found = 0;
        for (u32 from = 0; from < places; from += 32) {
            const u32 bits = read_word<u32>(field, at + from, each);
            found ^= entries_of(bits, from, (u32)x[e], entries, places);
        }
        out[e] = found;
    }
}

// Levels of a tree of 64 leaves of 128 bits, less the last.
#define DEEPEST 5

// The same from a half-tree key, all of whose leaves are the one-hot: they are walked from left to right.
template <class Rounds>
__device__ __forceinline__ u32 tree_entry(Lookup t, const Rounds& rk, Block root, u32 x, u32 w, const u8* words,
    u32 step, const u32* entries) {
    const u32 depth = w - 8;
    Block path[DEEPEST + 1];
    path[0] = root;
    u32 found = 0;
    for (u32 node = 0; node < 1u << depth; node++) {
        // from where this node's path leaves that of the one before
        for (u32 level = node == 0 ? 0 : depth - (u32)__ffs((int)node); level < depth; level++) {
            const Block s = path[level], word = load_word(words + level * step);
            const u32 right = bit_mask(node >> (depth - 1 - level));
            path[level + 1] = tree_hash(t, rk, s) ^ (bit_mask(s.w[0]) & word) ^ (right & s);
        }
        const Block s = path[depth];
        for (u32 side = 0; side < 2; side++) {
            const Block word = load_word(words + (depth + side) * step);
            const Block leaf = tree_hash(t, rk, leaf_input(s, side)) ^ (bit_mask(s.w[0]) & word);
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                found ^= entries_of(leaf.w[i], 256 * node + 128 * side + 32 * i, x, entries, 1u << w);
            }
        }
    }
    return found;
}

template <typename R>
__device__ __forceinline__ void look_up_tree(R* out, const R* x, u32 w, const u32* entries, const Key& stream,
    u64 field, u32 party, const Stored& words, const Slots& s, const Key* hashes) {
    __shared__ __align__(16) u32 table[AES_TABLE];
    __shared__ uint4 keys[2 * 11];
    aes_table(table);
    const u64 first = s.first / TILE, tiles = (s.first + s.len - 1) / TILE - first + 1;
    for (u64 from = (u64)blockIdx.x * blockDim.x; from < s.len; from += (u64)gridDim.x * blockDim.x) {
        // a block's elements lie in at most two tiles
        const u64 tile = (s.first + from) / TILE - first;
        load_keys(keys, hashes, tile, 2, tiles);
        const u64 e = from + threadIdx.x;
        if (e >= s.len) continue;
        const u64 g = s.first + e;
        const KeyPlace place = key_place(s, g, w - 6);
        const SharedRounds rk{keys + (g / TILE - first - tile) * 11};
        const Block root = tree_root(table, stream, field, g, party);
        const u8* at = stored_field(words, s, g) + place.at;
        out[e] = tree_entry(table, rk, root, (u32)x[e], w, at, place.step, entries);
    }
}

#define LOOKUP(R, n)                                                                                         \
    extern "C" __global__ void __launch_bounds__(256) look_up_##n(                                           \
        R* out, const R* x, u32 width, const u32* entries, const Stored hot, const Slots s) {                \
        look_up(out, x, width, entries, hot, s);                                                             \
    }                                                                                                        \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
        look_up_tree_##n(R* out, const R* x, u32 w, const u32* entries, const Key stream, u64 field,         \
            u32 party, const Stored words, const Slots s, const Key* hashes) {                               \
        look_up_tree(out, x, w, entries, stream, field, party, words, s, hashes);                            \
    }
LOOKUP(u32, 32)
LOOKUP(u64, 64)
