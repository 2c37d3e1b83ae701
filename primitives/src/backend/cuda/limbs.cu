// Words as signed digits to base 256, for the products of matmul.cu.
//
// x = sum of d_i 256^i mod 2^n with d_i in -128 .. 127: with C = 0x80 in every byte, the bytes of x + C are
// d_i + 128, so those of (x + C) ^ C are the d_i. Digit i of all words of a matrix makes plane i; a row of a
// plane is `k_pad` bytes, zero behind the columns that count, and rows of zeros fill the plane up to
// `rows_pad`.
//
// Addresses depend on shapes alone.

// A convolution: x [batch, c, h, w], kernels [oc, c / groups, kernel], result [batch, oc, oh, ow].
struct Conv {
    u32 batch, c, h, w, oc, oh, ow, groups;
    Window window;
};

template <typename R> __device__ inline R digits_of(R x) {
    const R c = (R)0x8080808080808080ull;
    return (x + c) ^ c;
}

// Writes four neighbouring columns of a row, which begin at byte `at` of a plane: their digits i go to plane
// i together.
template <typename R> __device__ inline void store_digits(s8* out, u64 plane, u64 at, const R x[4]) {
    R d[4];
    for (u32 j = 0; j < 4; j++) d[j] = digits_of(x[j]);
    for (u32 i = 0; i < sizeof(R); i++) {
        u32 word = 0;
        for (u32 j = 0; j < 4; j++) word |= (u32)(u8)(d[j] >> (8 * i)) << (8 * j);
        *(u32*)(out + i * plane + at) = word;
    }
}

// A thread per four columns, so that a warp writes runs of whole lines.
template <typename R>
__device__ void limbs(s8* out, const R* x, u32 rows, u32 k, u32 rows_pad, u32 k_pad) {
    u32 quads = k_pad / 4;
    u64 plane = (u64)rows_pad * k_pad, total = (u64)rows_pad * quads;
    EACH(e, total) {
        u32 row = (u32)(e / quads), column = (u32)(e % quads) * 4;
        R v[4];
        for (u32 j = 0; j < 4; j++) {
            v[j] = row < rows && column + j < k ? x[(u64)row * k + column + j] : 0;
        }
        store_digits(out, plane, (u64)row * k_pad + column, v);
    }
}

// Rows of im2col for one group: row r is output position from + r, counted over (image, oy, ox); column k is
// (channel in the group, ky, kx). A thread per 16 columns, neighbours on neighbouring positions: what a warp
// reads then lies together.
template <typename R>
__device__ void limbs_conv(
    s8* out, const R* x, const Conv& g, u32 group, u32 from, u32 count, u32 rows_pad, u32 k_pad) {
    const Window& win = g.window;
    u32 channels = g.c / g.groups, taps = win.kernel[0] * win.kernel[1], k = channels * taps;
    u64 plane = (u64)rows_pad * k_pad, total = (u64)rows_pad * (k_pad / 16);
    EACH(e, total) {
        u32 row = (u32)(e % rows_pad), begin = (u32)(e / rows_pad) * 16;
        u32 position = from + row, ox = position % g.ow, oy = position / g.ow % g.oh;
        u32 image = row < count ? position / (g.ow * g.oh) : 0;
        u32 channel = begin / taps, ky = begin % taps / win.kernel[1], kx = begin % win.kernel[1];
        const R* from_plane = x + ((u64)image * g.c + group * channels + channel) * g.h * g.w;
        for (u32 column = begin; column < begin + 16; column += 4) {
            R v[4];
            for (u32 j = 0; j < 4; j++) {
                u32 at;
                bool there = tap(&at, win, g.h, g.w, oy, ox, ky, kx);
                v[j] = there && row < count && column + j < k ? from_plane[at] : 0;
                if (++kx == win.kernel[1]) {
                    kx = 0;
                    if (++ky == win.kernel[0]) {
                        ky = 0;
                        from_plane += g.h * g.w;
                    }
                }
            }
            store_digits(out, plane, (u64)row * k_pad + column, v);
        }
    }
}

#define LIMBS(R, n)                                                                                          \
    extern "C" __global__ void limbs_##n(s8* out, const R* x, u32 rows, u32 k, u32 rows_pad, u32 k_pad) {    \
        limbs(out, x, rows, k, rows_pad, k_pad);                                                             \
    }                                                                                                        \
    extern "C" __global__ void limbs_conv_##n(                                                               \
        s8* out, const R* x, Conv g, u32 group, u32 from, u32 count, u32 rows_pad, u32 k_pad) {              \
        limbs_conv(out, x, g, group, from, count, rows_pad, k_pad);                                          \
    }
LIMBS(u32, 32)
LIMBS(u64, 64)
