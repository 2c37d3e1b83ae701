#!/usr/bin/env bash
# Compiles the CUDA kernels with the real compilers, nvcc for sm_90 and NVRTC for that and older devices; no GPU is needed. Prints what
# each kernel takes, and fails if one spills registers or takes more of them than it may.
#
#   TWOPLY_CUDA_VENV   virtual environment that has the wheels below (else one is made under target/)
set -euo pipefail

# Registers a kernel may take: of 65536, 256 threads of gemm have a multiprocessor for themselves, two blocks of others
# share one.
gemm_registers=255
registers=128
wheels=(nvidia-cuda-nvcc nvidia-nvvm nvidia-cuda-crt nvidia-cuda-runtime nvidia-cuda-cccl nvidia-cuda-nvrtc)

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

if [[ $(uname -m) != x86_64 ]]; then
    echo "skipped: NVIDIA's compilers are fetched for x86-64 only"
    exit 0
fi
# The kernels' text, in the order in which the backend puts it together.
text=$root/primitives/src/backend/cuda
mapfile -t parts < <(sed -n 's|.*include_str!("\(.*\.cuh\?\)").*|\1|p' "$text/compile.rs")
venv=${TWOPLY_CUDA_VENV:-$root/target/cuda-compilers}
if [[ -z ${TWOPLY_CUDA_VENV:-} && ! -e $venv/complete ]]; then
    python3 -m venv --clear "$venv" && "$venv/bin/pip" install --quiet "${wheels[@]/%/==13.0.*}" || {
        echo "skipped: NVIDIA's compilers cannot be installed"
        exit 0
    }
    touch "$venv/complete"
fi
cuda=$(echo "$venv"/lib/python3*/site-packages/nvidia/cu13)
[[ -x $cuda/bin/nvcc ]] || { echo "no nvcc in $venv" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
for part in "${parts[@]}"; do
    printf '#line 1 "%s"\n' "$part"
    cat "$text/$part"
done > "$work/kernels.cu"

# only the device's side is compiled: the host's would need the emulated instructions
"$cuda/bin/nvcc" -std=c++17 -arch=sm_90 -cubin -Werror all-warnings -Xptxas -v \
    -o "$work/kernels.cubin" "$work/kernels.cu" > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }

awk -v gemm="$gemm_registers" -v other="$registers" '
    BEGIN { printf "%-22s %9s %6s %14s\n", "kernel", "registers", "spills", "static shared" }
    /Compiling entry function/ { split($0, quoted, "\047"); kernel = quoted[2] }
    /bytes spill stores/ { for (i = 1; i < NF; i++) if ($i == "spill") spills += $(i - 2) }
    /Used [0-9]+ registers/ {
        shared = 0
        for (i = 2; i <= NF; i++) {
            if ($i ~ /^registers/) used = $(i - 1)
            if ($i ~ /^smem/) shared = $(i - 2)
        }
        bound = kernel ~ /^gemm/ ? gemm : other
        verdict = spills > 0 || used > bound ? "  too much" : ""
        printf "%-22s %9d %6d %14d%s\n", kernel, used, spills, shared, verdict
        bad += verdict != ""
        spills = 0
        count++
    }
    END {
        if (count == 0) print "ptxas names no kernels"
        exit bad > 0 || count == 0
    }' "$work/log" || { echo "a kernel spills or takes too many registers" >&2; exit 1; }

# NVRTC opens a library of its own by name
LD_LIBRARY_PATH=$cuda/lib python3 "$here/nvrtc.py" "$cuda/lib/libnvrtc.so.13" "$work/kernels.cu"
