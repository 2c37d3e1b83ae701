// Matrix products over Z_2^n on int8 tensor cores: out[map(i, j)] = sum over k of A[i][k] B[j][k] mod 2^n.
//
// Both operands are planes of signed digits to base 256 (limbs.cu), so the product is the sum over all pairs
// of planes of 256^(i + j) A_i B_j; pairs with 256^(i + j) >= 2^n vanish, which leaves 10 of 16 for 32 bits
// and 36 of 64 for 64. All pairs with i + j = s share an accumulator D_s of 32 bits, and four accumulators
// fit in registers. A pass reads four planes of A and four of B, once, and multiplies those pairs of them
// whose sums belong to the accumulators:
//
//   pass 0   A_0..3 B_0..3, i + j <  4   D_0..3
//   pass 1   A_0..3 B_0..3, i + j >= 4   D_4..7 (D_7 gets nothing: 3 + 3 = 6)
//   pass 2   A_0..3 B_4..7, i + j <  8   D_4..7
//   pass 3   A_4..7 B_0..3, i + j <  8   D_4..7
//
// 32 bits are pass 0 alone. D_s counts mod 2^(n - 8s): mod 2^32 or less in every case but D_0..3 of 64 bits,
// whose totals must therefore be exact in 32 bits, sign and all; the others may wrap. A product of digits is
// at most 2^14, a D_s with s < 4 has up to four per column: exact as long as columns * 2^16 < 2^31. So the
// columns are cut into pieces of at most MATMUL_PIECE. Pieces are blockIdx.z and are added up atomically,
// which gives the same sum in any order as the ring wraps; a small grid is cut into more pieces to fill the
// device.
//
// A block of 8 warps makes 64 x 128 of the result; 64 columns of the eight planes are a stage in shared
// memory, and stages are filled ahead by cp.async. What a warp reads from a stage serves up to four pairs:
// else the reads would bound the tensor cores. In a row of a stage, 16 bytes number c lie at c ^ (row / 2
// % 4), so that neither ldmatrix nor cp.async meets a bank twice. Addresses and control depend on shapes
// alone.

// A product. Its grid is (tiles of m) * (tiles of n) x 1 x pieces, blocks of 256 threads, with MATMUL_SHARED
// bytes of dynamic shared memory.
struct Gemm {
    // Rows of A and of B that count, and rows of their planes: multiples of MATMUL_M and of MATMUL_N.
    u32 m, n, m_pad, n_pad;
    // Bytes of a row, a multiple of MATMUL_K.
    u32 k;
    // Columns of a piece, a multiple of MATMUL_K, at most MATMUL_PIECE; there are ceil(k / piece) pieces.
    u32 piece;
    // 0: the result is written. 1: it is added atomically, as it must be if there is more than one piece.
    u32 add;
    // With p = from + j, row i of A and row j of B make out[at + p / span * image + i * row + p % span].
    // Linear, A = x, B = w: span = row = n. Convolution, A = kernels of a group, B = positions: span = row =
    // oh * ow, image = oc * oh * ow, at = the group's first channel * oh * ow.
    u32 from, span, image, row, at;
};

#define MATMUL_M 64
#define MATMUL_N 128
#define MATMUL_K 64
// 48 KiB each. The host may define fewer, at least 2, for devices with less than 192 KiB of shared memory.
#ifndef MATMUL_STAGES
#define MATMUL_STAGES 4
#endif
#define MATMUL_PIECE (32768 - MATMUL_K)
// Tiles of m that neighbouring blocks share, so that what runs at one time reads a near square of A and B.
#define MATMUL_BAND 16

#define PLANE_A (MATMUL_M * MATMUL_K)
#define PLANE_B (MATMUL_N * MATMUL_K)
#define STAGE (4 * (PLANE_A + PLANE_B))
#define MATMUL_SHARED (MATMUL_STAGES * STAGE)

// d += a b, 16 x 32 bytes of A by 8 x 32 bytes of B; wraps mod 2^32.
__device__ inline void mma(int d[4], const u32 a[4], const u32 b[2]) {
#ifdef __CUDA_ARCH__
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    emulate_mma_s8(d, a, b);
#endif
}

// Four matrices of 8 rows of 16 bytes, lane l giving the address of row l.
__device__ inline void ldmatrix(u32 r[4], const u8* row) {
#ifdef __CUDA_ARCH__
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((u32)__cvta_generic_to_shared(row))
                 : "memory");
#else
    emulate_ldmatrix_x4(r, row);
#endif
}

__device__ inline void copy_async(u8* shared, const s8* global) {
#ifdef __CUDA_ARCH__
    u32 to = (u32)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
#else
    emulate_cp_async16(shared, global, 16);
#endif
}

// Ends a group of copies.
__device__ inline void copy_commit() {
#ifdef __CUDA_ARCH__
    asm volatile("cp.async.commit_group;" ::: "memory");
#else
    emulate_cp_async_commit();
#endif
}

// Waits until at most `left` groups of this thread's copies are under way.
template <int left> __device__ inline void copy_wait() {
#ifdef __CUDA_ARCH__
    asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
#else
    emulate_cp_async_wait(left);
#endif
}

// Copies stage after stage, pass after pass: what a thread copies, and how far it is.
struct Copies {
    // This thread's first 16 bytes of the first stage, and how far planes and half a tile of B are apart.
    const s8 *a, *b;
    u64 plane_a, plane_b, half_b;
    // Where they go in a stage.
    u32 to;
    u32 columns, column, passes, pass;

    // For rows from m0 and n0 on, `columns` columns from k0 on.
    __device__ inline Copies(
        const s8* a0, const s8* b0, const Gemm& g, u32 m0, u32 n0, u32 k0, u32 columns, u32 passes)
        : columns(columns), column(0), passes(passes), pass(0) {
        // four threads per row of 64 bytes, 64 rows at a time
        u32 row = threadIdx.x / 4, chunk = threadIdx.x % 4;
        a = a0 + (u64)(m0 + row) * g.k + k0 + chunk * 16;
        b = b0 + (u64)(n0 + row) * g.k + k0 + chunk * 16;
        plane_a = (u64)g.m_pad * g.k;
        plane_b = (u64)g.n_pad * g.k;
        half_b = 64 * (u64)g.k;
        to = row * MATMUL_K + (chunk ^ row / 2 % 4) * 16;
    }

    // Begins to fill the next stage, if there is one.
    __device__ inline void next(u8* stage) {
        if (pass < passes) {
            const s8* from_a = a + (pass == 3 ? 4 * plane_a : 0) + column;
            const s8* from_b = b + (pass == 2 ? 4 * plane_b : 0) + column;
            stage += to;
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                copy_async(stage + i * PLANE_A, from_a + i * plane_a);
                copy_async(stage + 4 * PLANE_A + i * PLANE_B, from_b + i * plane_b);
                copy_async(stage + 4 * PLANE_A + i * PLANE_B + PLANE_B / 2, from_b + i * plane_b + half_b);
            }
            column += MATMUL_K;
            if (column == columns) {
                column = 0;
                pass++;
            }
        }
        copy_commit();
    }
};

// A warp's 32 x 32 of D_s, as mma lays them out: [s][16 rows][8 columns][register].
typedef int Sums[4][2][4][4];

// Adds a stage's pairs with i + j < 4, or else those with i + j >= 4, for this warp. `a` and `b` are where
// this lane's rows of the first matrices begin, for ldmatrix.
template <bool upper> __device__ inline void multiply(Sums& sums, const u8* a, const u8* b) {
    const int first = upper ? 1 : 0; // no pair with plane 0 has i + j >= 4
#pragma unroll
    for (int half = 0; half < 2; half++) {
        u32 fa[4][2][4];
#pragma unroll
        for (int i = first; i < 4; i++) {
#pragma unroll
            for (int r = 0; r < 2; r++) ldmatrix(fa[i][r], a + i * PLANE_A + r * 16 * MATMUL_K);
        }
#pragma unroll
        for (int j = first; j < 4; j++) {
            u32 fb[2][4]; // for 8 columns each two registers
#pragma unroll
            for (int c = 0; c < 2; c++) ldmatrix(fb[c], b + j * PLANE_B + c * 16 * MATMUL_K);
#pragma unroll
            for (int i = first; i < 4; i++) {
                if ((i + j >= 4) != upper) continue;
#pragma unroll
                for (int r = 0; r < 2; r++) {
#pragma unroll
                    for (int c = 0; c < 4; c++) mma(sums[(i + j) % 4][r][c], fa[i][r], fb[c / 2] + c % 2 * 2);
                }
            }
        }
        // the other 32 bytes: chunk c ^ 2
        a = (const u8*)((u64)a ^ 32);
        b = (const u8*)((u64)b ^ 32);
    }
}

// Writes, or adds, sum over s of D_s 256^s 2^shift of this warp's results.
template <typename R>
__device__ inline void emit(R* out, const Gemm& g, const Sums& sums, u32 i0, u32 j0, u32 shift, bool again) {
    u32 lane = threadIdx.x % 32;
#pragma unroll
    for (u32 c = 0; c < 8; c++) {
        u32 j = j0 + c / 2 * 8 + lane % 4 * 2 + c % 2, p = g.from + j;
        R* column = out + (g.at + p / g.span * g.image + p % g.span);
#pragma unroll
        for (u32 r = 0; r < 4; r++) {
            u32 i = i0 + r * 8 + lane / 4;
            R sum = 0;
#pragma unroll
            for (u32 s = 0; s < 4; s++) {
                sum += (R)(long long)sums[s][r / 2][c / 2][r % 2 * 2 + c % 2] << (8 * s);
            }
            sum <<= shift;
            if (i >= g.m || j >= g.n) continue;
            R* to = column + i * g.row;
            if (g.add) {
                atomicAdd(to, sum);
            } else {
                *to = again ? *to + sum : sum;
            }
        }
    }
}

template <typename R>
__device__ inline void gemm(R* out, const s8* a, const s8* b, const Gemm& g, u8* shared) {
    const u32 passes = sizeof(R) == 4 ? 1 : 4;
    u32 tiles_m = g.m_pad / MATMUL_M, band = MATMUL_BAND * (g.n_pad / MATMUL_N);
    u32 first = blockIdx.x / band * MATMUL_BAND, within = blockIdx.x % band;
    u32 high = min(tiles_m - first, (u32)MATMUL_BAND);
    u32 m0 = (first + within % high) * MATMUL_M, n0 = within / high * MATMUL_N;
    u32 k0 = blockIdx.z * g.piece, columns = min(g.piece, g.k - k0);
    Copies copies(a, b, g, m0, n0, k0, columns, passes);
#pragma unroll
    for (u32 s = 0; s < MATMUL_STAGES - 1; s++) copies.next(shared + s * STAGE);

    // warps are 2 x 4; lanes address 16 rows times 32 bytes in the order in which mma takes the four
    // matrices: for A rows first, for B bytes first
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, swizzle = lane / 2 % 4;
    u32 wm = warp / 4 * 32, wn = warp % 4 * 32;
    u32 la = (wm + lane % 16) * MATMUL_K + (lane / 16 ^ swizzle) * 16;
    u32 lb = 4 * PLANE_A + (wn + lane / 16 * 8 + lane % 8) * MATMUL_K + (lane / 8 % 2 ^ swizzle) * 16;

    bool used = m0 + wm < g.m && n0 + wn < g.n; // else this warp has nothing but padding

    Sums sums = {};
    u32 stage = 0;
    for (u32 pass = 0; pass < passes; pass++) {
        for (u32 column = 0; column < columns; column += MATMUL_K) {
            copy_wait<MATMUL_STAGES - 2>();
            // now the stage is there for all, and all are done with the one before it, which is filled next
            __syncthreads();
            copies.next(shared + (stage + MATMUL_STAGES - 1) % MATMUL_STAGES * STAGE);
            const u8* at = shared + stage * STAGE;
            if (used && pass == 1) {
                multiply<true>(sums, at + la, at + lb);
            } else if (used) {
                multiply<false>(sums, at + la, at + lb);
            }
            stage = (stage + 1) % MATMUL_STAGES;
        }
        if (pass == 0) {
            emit(out, g, sums, m0 + wm, n0 + wn, 0, false);
            if (passes > 1) {
#pragma unroll
                for (u32 i = 0; i < sizeof(Sums) / sizeof(int); i++) (&sums[0][0][0][0])[i] = 0;
            }
        }
    }
    if (passes > 1) emit(out, g, sums, m0 + wm, n0 + wn, sizeof(R) * 4, true);
}

__device__ inline u8* dynamic_shared() {
#ifdef __CUDA_ARCH__
    extern __shared__ __align__(128) u8 shared[];
    return shared;
#else
    return (u8*)emulate_dynamic_shared();
#endif
}

#define GEMM(R, n)                                                                                           \
    extern "C" __global__ void __launch_bounds__(256, 1)                                                     \
    gemm_##n(R* out, const s8* a, const s8* b, Gemm g) {                                                     \
        gemm(out, a, b, g, dynamic_shared());                                                                \
    }
GEMM(u32, 32)
GEMM(u64, 64)
