// What all kernels share: integers, keys, and where the slots of a run lie in stored tiles.

typedef unsigned char u8;
typedef signed char s8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
static_assert(sizeof(u32) == 4 && sizeof(u64) == 8, "words");

// Slots of a tile.
#define TILE 4096u

// AES-128 round keys 0 to 10, each 16 bytes in the order of FIPS-197, read as little-endian words.
struct Key {
    u32 rk[44];
};

// A run of `len` slots of a part, from slot `first` on. Slot g lies in tile g / TILE; the part has `elements` slots, so
// its last tile may be short.
struct Slots {
    u64 first;
    u64 elements;
    u32 len;
};

// One field in stored tiles. `bytes` is where the tile of slot `first` begins; a full tile takes `stride` bytes. The field
// begins `full` bytes into a full tile and `last` bytes into a short last one; slot i of the tile has its bits
// i * width .. (i + 1) * width.
struct Stored {
    const u8* bytes;
    u64 stride;
    u64 full;
    u64 last;
    u32 width;
};
