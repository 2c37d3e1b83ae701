// Words as signed digits to base 256, for the products of matmul.cu.
//
// x = sum of d_i 256^i mod 2^n with d_i in -128 .. 127: with C = 0x80 in every byte, the bytes of x + C are
// d_i + 128, so those of (x + C) ^ C are the d_i. Digit i of all words of a matrix makes plane i; a row of a
// plane is `k_pad` bytes, zero behind the columns that count, and rows of zeros fill the plane up to
// `rows_pad`.
//
// Planes begin at multiples of 16 bytes. Addresses depend on shapes alone.

// A convolution: x [batch, c, h, w], kernels [oc, c / groups, kernel], result [batch, oc, oh, ow].
struct Conv {
    u32 batch, c, h, w, oc, oh, ow, groups;
    Window window;
};

// Turns rows of a 4 x 4 matrix of bytes into its columns.
__device__ inline void transpose(u32 w[4]) {
    u32 a = __byte_perm(w[0], w[1], 0x5140), b = __byte_perm(w[2], w[3], 0x5140);
    u32 c = __byte_perm(w[0], w[1], 0x7362), d = __byte_perm(w[2], w[3], 0x7362);
    w[0] = __byte_perm(a, b, 0x5410);
    w[1] = __byte_perm(a, b, 0x7632);
    w[2] = __byte_perm(c, d, 0x5410);
    w[3] = __byte_perm(c, d, 0x7632);
}

// Digits of four words: those of place i, together, in planes[i].
template <typename R> __device__ inline void digits(u32 planes[sizeof(R)], const R x[4]) {
    const R c = (R)0x8080808080808080ull;
#pragma unroll
    for (u32 half = 0; half < sizeof(R) / 4; half++) {
#pragma unroll
        for (u32 j = 0; j < 4; j++) planes[4 * half + j] = (u32)(((x[j] + c) ^ c) >> (32 * half));
        transpose(planes + 4 * half);
    }
}

// A thread per four columns, so that a warp writes whole lines.
template <typename R>
__device__ void limbs(s8* out, const R* x, u32 rows, u32 k, u32 rows_pad, u32 k_pad) {
    u32 quads = k_pad / 4;
    u64 plane = (u64)rows_pad * k_pad, total = (u64)rows_pad * quads;
    EACH(e, total) {
        u32 row = (u32)e / quads, column = (u32)e % quads * 4, planes[sizeof(R)];
        R v[4];
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
            v[j] = row < rows && column + j < k ? x[(u64)row * k + column + j] : 0;
        }
        digits(planes, v);
#pragma unroll
        for (u32 i = 0; i < sizeof(R); i++) *(u32*)(out + i * plane + e * 4) = planes[i];
    }
}

// Rows of im2col for one group: row r is output position from + r, counted over (image, oy, ox); column k is
// (channel in the group, ky, kx). A thread per 16 columns: four threads write 64 bytes of a row, and the next
// four take the next position, whose taps lie next to theirs.
template <typename R>
__device__ void limbs_conv(
    s8* out, const R* x, const Conv& g, u32 group, u32 from, u32 count, u32 rows_pad, u32 k_pad) {
    const Window& win = g.window;
    u32 channels = g.c / g.groups, taps = win.kernel[0] * win.kernel[1], k = channels * taps;
    u64 plane = (u64)rows_pad * k_pad, total = (u64)rows_pad * (k_pad / 16);
    EACH(e, total) {
        u32 row = (u32)e / 4 % rows_pad, begin = ((u32)e / 4 / rows_pad * 4 + (u32)e % 4) * 16;
        u32 position = from + row, ox = position % g.ow, oy = position / g.ow % g.oh;
        u64 image = row < count ? position / g.ow / g.oh : 0;
        u32 channel = begin / taps, ky = begin % taps / win.kernel[1], kx = begin % win.kernel[1];
        const R* from_plane = x + (image * g.c + group * channels + channel) * g.h * g.w;
        u32 planes[4][sizeof(R)];
#pragma unroll
        for (u32 quad = 0; quad < 4; quad++) {
            R v[4];
#pragma unroll
            for (u32 j = 0; j < 4; j++) {
                u32 at;
                bool there = tap(&at, win, g.h, g.w, oy, ox, ky, kx);
                v[j] = there && row < count && begin + quad * 4 + j < k ? from_plane[at] : 0;
                kx++;
                ky += kx == win.kernel[1];
                kx = kx == win.kernel[1] ? 0 : kx;
                from_plane += ky == win.kernel[0] ? g.h * g.w : 0;
                ky = ky == win.kernel[0] ? 0 : ky;
            }
            digits(planes[quad], v);
        }
#pragma unroll
        for (u32 i = 0; i < sizeof(R); i++) {
            uint4 word = make_uint4(planes[0][i], planes[1][i], planes[2][i], planes[3][i]);
            *(uint4*)(out + i * plane + (u64)row * k_pad + begin) = word;
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
