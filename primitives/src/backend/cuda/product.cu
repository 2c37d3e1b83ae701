// Ring products in plain integer arithmetic: for shapes with too few rows for the tiles of matmul.cu (a
// linear layer on a few images, depthwise groups), and what it is checked against. Addresses depend on shapes
// alone.

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

#define PRODUCT(R, b)                                                                                        \
    extern "C" __global__ void product_linear_##b(R* out, const R* x, const R* w, u32 batch, u32 k, u32 n) { \
        product_linear(out, x, w, batch, k, n);                                                              \
    }                                                                                                        \
    extern "C" __global__ void product_conv_##b(R* out, const R* x, const R* w, Conv g) {                    \
        product_conv(out, x, w, g);                                                                          \
    }
PRODUCT(u32, 32)
PRODUCT(u64, 64)
