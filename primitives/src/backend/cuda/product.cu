// Ring products in plain integer arithmetic: for shapes with too few rows for the tiles of matmul.cu (a
// linear layer on a few images, depthwise groups), and what it is checked against; transposes of convolutions,
// and inner products per channel. Addresses depend on shapes alone.

// Images that a warp multiplies by a row of w at a time.
#define PRODUCT_IMAGES 4

// out[i * n + j] = sum over k of x[i][k] w[j][k]. A warp per row of w, since reading w is what takes the
// time.
template <typename R>
__device__ void product_linear(R* out, const R* x, const R* w, u32 batch, u32 k, u32 n) {
    u32 lane = threadIdx.x % 32;
    EACH(e, 32ull * n) {
        u64 j = e / 32;
        for (u32 first = 0; first < batch; first += PRODUCT_IMAGES) {
            u32 images = min((u32)PRODUCT_IMAGES, batch - first);
            R sum[PRODUCT_IMAGES] = {};
            for (u32 c = lane; c < k; c += 32) {
                R weight = w[j * k + c];
#pragma unroll
                for (u32 i = 0; i < PRODUCT_IMAGES; i++) {
                    if (i < images) sum[i] += x[(u64)(first + i) * k + c] * weight;
                }
            }
#pragma unroll
            for (u32 i = 0; i < PRODUCT_IMAGES; i++) {
                for (u32 by = 16; by > 0; by /= 2) sum[i] += __shfl_xor_sync(~0u, sum[i], by);
                if (lane == 0 && i < images) out[(u64)(first + i) * n + j] = sum[i];
            }
        }
    }
}

// A thread per output.
template <typename R> __device__ void product_conv(R* out, const R* x, const R* w, const Conv& g) {
    const Window& win = g.window;
    u32 channels = g.c / g.groups, taps = win.kernel[0] * win.kernel[1];
    EACH(e, (u64)g.batch * g.oc * g.oh * g.ow) {
        u32 plane_number = (u32)e / g.ow / g.oh, kernel = plane_number % g.oc;
        u32 ox = (u32)e % g.ow, oy = (u32)e / g.ow % g.oh;
        u64 image = plane_number / g.oc;
        const R* plane = x + (image * g.c + kernel / (g.oc / g.groups) * channels) * g.h * g.w;
        const R* weight = w + (u64)kernel * channels * taps;
        R sum = 0;
        for (u32 channel = 0; channel < channels; channel++, plane += g.h * g.w) {
            for (u32 ky = 0; ky < win.kernel[0]; ky++) {
                for (u32 kx = 0; kx < win.kernel[1]; kx++, weight++) {
                    u32 at;
                    if (tap(&at, win, g.h, g.w, oy, ox, ky, kx)) sum += plane[at] * *weight;
                }
            }
        }
        out[e] = sum;
    }
}

// out[j * rows + i] = x[i * columns + j].
template <typename R> __device__ void product_transpose(R* out, const R* x, u32 rows, u32 columns) {
    EACH(e, (u64)rows * columns) {
        out[e] = x[(u64)((u32)e % rows) * columns + (u32)e / rows];
    }
}

// The sum over a warp's lanes, in lane 0.
template <typename R> __device__ inline R warp_sum(R sum) {
    for (u32 by = 16; by > 0; by /= 2) sum += __shfl_xor_sync(~0u, sum, by);
    return sum;
}

// A thread per element of the layer's input: `out` [batch, c, h, w], `g` [batch, oc, oh, ow].
template <typename R> __device__ void product_conv_dx(R* out, const R* g, const R* w, const Conv& layer) {
    const Window& win = layer.window;
    u32 channels = layer.c / layer.groups, kernels = layer.oc / layer.groups;
    u32 taps = win.kernel[0] * win.kernel[1], positions = layer.oh * layer.ow;
    EACH(e, (u64)layer.batch * layer.c * layer.h * layer.w) {
        u32 plane_number = (u32)e / layer.w / layer.h, channel = plane_number % layer.c;
        u32 x = (u32)e % layer.w, y = (u32)e / layer.w % layer.h, first = channel / channels * kernels;
        const R* from = g + ((u64)(plane_number / layer.c) * layer.oc + first) * positions;
        R sum = 0;
        for (u32 tap = 0; tap < taps; tap++) {
            // at a negative position the difference wraps to one beyond the last
            u32 down = y + win.pad[0] - tap / win.kernel[1] * win.dilation[0];
            u32 along = x + win.pad[1] - tap % win.kernel[1] * win.dilation[1];
            u32 oy = down / win.stride[0], ox = along / win.stride[1];
            if (down % win.stride[0] || along % win.stride[1] || oy >= layer.oh || ox >= layer.ow) continue;
            const R* weight = w + ((u64)first * channels + channel % channels) * taps + tap;
            for (u32 kernel = 0; kernel < kernels; kernel++) {
                sum += from[(u64)kernel * positions + oy * layer.ow + ox] * weight[(u64)kernel * channels * taps];
            }
        }
        out[e] = sum;
    }
}

// A warp per weight: `out` [oc, c / groups, kernel], `g` [batch, oc, oh, ow], `x` [batch, c, h, w].
template <typename R> __device__ void product_conv_dw(R* out, const R* g, const R* x, const Conv& layer) {
    const Window& win = layer.window;
    u32 channels = layer.c / layer.groups, taps = win.kernel[0] * win.kernel[1];
    EACH(e, 32ull * layer.oc * channels * taps) {
        u32 number = (u32)(e / 32), tap_number = number % taps, kernel = number / taps / channels;
        u32 ky = tap_number / win.kernel[1], kx = tap_number % win.kernel[1];
        u32 channel = kernel / (layer.oc / layer.groups) * channels + number / taps % channels;
        R sum = 0;
        for (u32 p = threadIdx.x % 32; p < layer.batch * layer.oh * layer.ow; p += 32) {
            u32 ox = p % layer.ow, oy = p / layer.ow % layer.oh, at;
            if (!tap(&at, win, layer.h, layer.w, oy, ox, ky, kx)) continue;
            u64 image = p / layer.ow / layer.oh;
            R gradient = g[((image * layer.oc + kernel) * layer.oh + oy) * layer.ow + ox];
            sum += gradient * x[(image * layer.c + channel) * layer.h * layer.w + at];
        }
        sum = warp_sum(sum);
        if (threadIdx.x % 32 == 0) out[number] = sum;
    }
}

// A warp per block and channel: `x` and `y` [places / plane, c, plane], `out` [blocks, c].
template <typename R>
__device__ void product_dot(R* out, const R* x, const R* y, u32 places, u32 plane, u32 c, u32 block, u32 blocks) {
    EACH(e, 32ull * blocks * c) {
        u32 number = (u32)(e / 32), channel = number % c, first = number / c * block;
        u32 len = min(block, places - first);
        R sum = 0;
        for (u32 i = threadIdx.x % 32; i < len; i += 32) {
            u64 at = ((u64)((first + i) / plane) * c + channel) * plane + (first + i) % plane;
            sum += x[at] * y[at];
        }
        sum = warp_sum(sum);
        if (threadIdx.x % 32 == 0) out[number] = sum;
    }
}

#define PRODUCT(R, b)                                                                                        \
    extern "C" __global__ void product_linear_##b(R* out, const R* x, const R* w, u32 batch, u32 k, u32 n) { \
        product_linear(out, x, w, batch, k, n);                                                              \
    }                                                                                                        \
    extern "C" __global__ void product_conv_##b(R* out, const R* x, const R* w, Conv g) {                    \
        product_conv(out, x, w, g);                                                                          \
    }                                                                                                        \
    extern "C" __global__ void product_transpose_##b(R* out, const R* x, u32 rows, u32 columns) {            \
        product_transpose(out, x, rows, columns);                                                            \
    }                                                                                                        \
    extern "C" __global__ void product_conv_dx_##b(R* out, const R* g, const R* w, Conv layer) {             \
        product_conv_dx(out, g, w, layer);                                                                   \
    }                                                                                                        \
    extern "C" __global__ void product_conv_dw_##b(R* out, const R* g, const R* x, Conv layer) {             \
        product_conv_dw(out, g, x, layer);                                                                   \
    }                                                                                                        \
    extern "C" __global__ void product_dot_##b(                                                              \
        R* out, const R* x, const R* y, u32 places, u32 plane, u32 c, u32 block, u32 blocks) {               \
        product_dot(out, x, y, places, plane, c, block, blocks);                                             \
    }
PRODUCT(u32, 32)
PRODUCT(u64, 64)
