// Bit vectors ("planes"): elementwise logic, bits of streams and of stored tiles, and the order in which
// planes travel. Addresses depend on shapes alone.
//
// On the wire lies tile after tile, in each tile plane after plane, without gaps.

// The bits of word `i` of a vector of `len` bits; those past its end become zero.
__device__ __forceinline__ u32 bits_within(u32 word, u64 i, u64 len) {
    const u64 from = 32 * i;
    return from + 32 <= len ? word : from < len ? word & ((1u << (len - from)) - 1) : 0;
}

// `n` bits of a plane from bit `at` on, 1 <= n <= 32. Reads a word more than it may need.
__device__ __forceinline__ u32 plane_bits(const u32* plane, u32 at, u32 n) {
    return __funnelshift_r(plane[at / 32], plane[at / 32 + 1], at % 32) & ~0u >> (32 - n);
}

// What of a run lies in one tile: `len` elements from element `first` of the run on.
struct Piece {
    u32 first, len;
};

__device__ __forceinline__ Piece piece_of(const Slots& s, u64 element) {
    const u64 into = s.first % TILE, tile = (element + into) / TILE;
    const u64 first = tile == 0 ? 0 : tile * TILE - into, end = (tile + 1) * TILE - into;
    return {(u32)first, (u32)(min(end, (u64)s.len) - first)};
}

// Slots of the tile that slot g lies in.
__device__ __forceinline__ u32 tile_len(const Slots& s, u64 g) {
    return (u32)min((u64)TILE, s.elements - g / TILE * TILE);
}

// Where a field begins in the tile of slot g.
__device__ __forceinline__ const u8* stored_field(const Stored& f, const Slots& s, u64 g) {
    return f.bytes + (g / TILE - s.first / TILE) * f.stride + (tile_len(s, g) < TILE ? f.last : f.full);
}

extern "C" __global__ void __launch_bounds__(256)
    logic(u32* out, const u32* a, const u32* b, u32 op, u32 len) {
    EACH(i, ((u64)len + 31) / 32) {
        const u32 word = op == 0 ? a[i] ^ b[i] : op == 1 ? a[i] & b[i] : ~a[i];
        out[i] = bits_within(word, i, len);
    }
}

// Plane p is bits first .. first + len of stream fields[p]. A lane makes 128 bits of it from its own AES
// block and the next lane's, as `first` need not begin a block: the last lane of a warp only helps.
extern "C" __global__ void __launch_bounds__(256)
    bit_fields(u32* out, u32 stride, u64 first, u32 len, const u32* fields, u32 count, const Key key) {
    __shared__ __align__(16) u32 table[AES_TABLE];
    aes_table(table);
    const u32 groups = (stride + 3) / 4, warps = (groups + 30) / 31;
    EACH(thread, (u64)count * warps * 32) {
        const u32 lane = thread % 32, plane = (u32)thread / 32 / warps;
        const u32 group = (u32)thread / 32 % warps * 31 + lane;
        const Block own = aes_counter(table, KeyRounds{key}, fields[plane], first / 128 + group);
        u32 v[8];
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            v[i] = own.w[i];
            v[4 + i] = __shfl_down_sync(~0u, own.w[i], 1);
        }
        if (first & 32) {
#pragma unroll
            for (u32 i = 0; i < 7; i++) v[i] = v[i + 1];
        }
        if (first & 64) {
#pragma unroll
            for (u32 i = 0; i < 6; i++) v[i] = v[i + 2];
        }
#pragma unroll
        for (u32 i = 0; i < 4; i += 2) {
            const u32 word = 4 * group + i;
            if (lane == 31 || word >= stride) continue;
            *(uint2*)(out + (u64)plane * stride + word) =
                make_uint2(bits_within(__funnelshift_r(v[i], v[i + 1], first % 32), word, len),
                    bits_within(__funnelshift_r(v[i + 1], v[i + 2], first % 32), word + 1, len));
        }
    }
}

// `count` fields of a bit each, which follow each other in a tile.
extern "C" __global__ void __launch_bounds__(256)
    stored_planes(u32* out, u32 stride, u32 count, const Stored f, const Slots s) {
    EACH(i, (u64)count * stride) {
        const u64 plane = (u32)i / stride, begin = (u64)((u32)i % stride) * 32;
        u32 word = 0;
        for (u32 done = 0, n; done < 32 && begin + done < s.len; done += n) {
            const u64 e = begin + done, g = s.first + e;
            const Piece piece = piece_of(s, e);
            n = min(32 - done, piece.first + piece.len - (u32)e);
            const u8* bytes = stored_field(f, s, g) + plane * ((tile_len(s, g) + 7) / 8);
            word |= read_word<u32>(bytes, g % TILE, n) << done;
        }
        out[i] = word;
    }
}

// Planes to wire order: count * len bits, fewer than 2^32.
extern "C" __global__ void __launch_bounds__(256)
    join(u32* out, const u32* planes, u32 stride, u32 count, const Slots s) {
    const u64 total = (u64)count * s.len;
    const u32 head = piece_of(s, 0).len;
    EACH(i, (total + 31) / 32) {
        u32 word = 0;
        for (u32 done = 0, n; done < 32 && 32 * i + done < total; done += n) {
            const u32 at = 32 * (u32)i + done;
            const u32 tiles = at < count * head ? 0 : (at - count * head) / (count * TILE) * TILE + head;
            const Piece piece = piece_of(s, tiles);
            const u32 bit = at - count * piece.first, e = bit % piece.len;
            const u64 plane = bit / piece.len;
            n = min(32 - done, piece.len - e);
            word |= plane_bits(planes + plane * stride, piece.first + e, n) << done;
        }
        out[i] = word;
    }
}

// The inverse for what the peer sent, from bit `at` of `theirs` on, added to mine.
extern "C" __global__ void __launch_bounds__(256)
    open(u32* out, const u32* mine, const u8* theirs, u64 at, u32 stride, u32 count, const Slots s) {
    EACH(i, (u64)count * stride) {
        const u64 plane = (u32)i / stride, begin = (u64)((u32)i % stride) * 32;
        u32 word = 0;
        for (u32 done = 0, n; done < 32 && begin + done < s.len; done += n) {
            const u32 e = (u32)begin + done;
            const Piece piece = piece_of(s, e);
            n = min(32 - done, piece.first + piece.len - e);
            const u64 from = at + (u64)count * piece.first + plane * piece.len + (e - piece.first);
            word |= read_word<u32>(theirs, from, n) << done;
        }
        out[i] = word ^ mine[i];
    }
}
