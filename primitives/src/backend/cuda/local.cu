// Linear maps without keys: gather, and sums over windows. Addresses depend on shapes and on public indices
// alone.

// A window over planes: see Window in tensor.rs. Padding: top, left, bottom, right.
struct Window {
    u32 kernel[2], stride[2], pad[4], dilation[2];
};

// Where tap (ky, kx) of the window at output position (oy, ox) lies in a plane of h x w; false if that is
// padding.
__device__ inline bool tap(u32* at, const Window& g, u32 h, u32 w, u32 oy, u32 ox, u32 ky, u32 kx) {
    // above and left of the plane the difference wraps to a number beyond it
    u32 y = oy * g.stride[0] + ky * g.dilation[0] - g.pad[0];
    u32 x = ox * g.stride[1] + kx * g.dilation[1] - g.pad[1];
    *at = y * w + x;
    return y < h && x < w;
}

#define OPERANDS(R, n)                                                                                       \
    struct Operands_##n {                                                                                    \
        u32 count;                                                                                           \
        struct {                                                                                             \
            const R* x;                                                                                      \
            u32 row;                                                                                         \
        } at[12];                                                                                            \
    };
OPERANDS(u32, 32)
OPERANDS(u64, 64)

// out[b * row + j] is element index[j] of the operands' images b, concatenated.
template <typename R, typename Operands>
__device__ void gather(R* out, const u32* index, u32 row, u32 batch, const Operands& ops, R mask) {
    u64 total = (u64)row * batch;
    EACH(e, total) {
        u32 image = (u32)e / row, i = index[(u32)e % row], o = 0;
        while (o + 1 < ops.count && i >= ops.at[o].row) i -= ops.at[o++].row;
        out[e] = ops.at[o].x[(u64)image * ops.at[o].row + i] & mask;
    }
}

// Sums over the window at every position; `planes` is images times channels, and padding adds nothing.
template <typename R>
__device__ void sum_pool(
    R* out, const R* x, u32 planes, u32 h, u32 w, u32 oh, u32 ow, const Window& g, R mask) {
    u64 total = (u64)planes * oh * ow;
    EACH(e, total) {
        u32 ox = (u32)e % ow, oy = (u32)e / ow % oh;
        const R* plane = x + (u64)((u32)e / ow / oh) * h * w;
        R sum = 0;
        for (u32 ky = 0; ky < g.kernel[0]; ky++) {
            for (u32 kx = 0; kx < g.kernel[1]; kx++) {
                u32 at;
                if (tap(&at, g, h, w, oy, ox, ky, kx)) sum += plane[at];
            }
        }
        out[e] = sum & mask;
    }
}

// out[b * row + j] is the sum of image b's elements starts[j]..starts[j + 1], of `places` each.
template <typename R>
__device__ void segments(R* out, const R* x, const u32* starts, u32 row, u32 places, R mask, u32 len) {
    EACH(e, (u64)len) {
        u32 image = (u32)e / row, j = (u32)e % row;
        const R* from = x + (u64)image * places;
        R sum = 0;
        for (u32 i = starts[j]; i < starts[j + 1]; i++) sum += from[i];
        out[e] = sum & mask;
    }
}

// out[j] is the sum of element j of all images, of `len` each.
template <typename R> __device__ void sum_batch(R* out, const R* x, u32 batch, R mask, u32 len) {
    EACH(e, (u64)len) {
        R sum = 0;
        for (u32 b = 0; b < batch; b++) sum += x[(u64)b * len + e];
        out[e] = sum & mask;
    }
}

#define LOCAL(R, n)                                                                                          \
    extern "C" __global__ void gather_##n(                                                                   \
        R* out, const u32* index, u32 row, u32 batch, Operands_##n ops, R mask) {                            \
        gather(out, index, row, batch, ops, mask);                                                           \
    }                                                                                                        \
    extern "C" __global__ void sum_pool_##n(                                                                 \
        R* out, const R* x, u32 planes, u32 h, u32 w, u32 oh, u32 ow, Window g, R mask) {                    \
        sum_pool(out, x, planes, h, w, oh, ow, g, mask);                                                     \
    }                                                                                                        \
    extern "C" __global__ void segments_##n(                                                                 \
        R* out, const R* x, const u32* starts, u32 row, u32 places, R mask, u32 len) {                       \
        segments(out, x, starts, row, places, mask, len);                                                    \
    }                                                                                                        \
    extern "C" __global__ void sum_batch_##n(R* out, const R* x, u32 batch, R mask, u32 len) {               \
        sum_batch(out, x, batch, mask, len);                                                                 \
    }
LOCAL(u32, 32)
LOCAL(u64, 64)
