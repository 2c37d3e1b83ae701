#!/usr/bin/env bash
# Tests of the GPU backend on a machine without a GPU: the kernels compiled for the CPU, behind a stand-in for the driver
# that the unmodified bindings load; then the same text through NVIDIA's own compilers, where they can be had.
# With --device it uses the driver and the device that are there.
set -euo pipefail
cd "$(dirname "$0")/../.."
export TWOPLY_NEED_CUDA=1
if [[ ${1:-} != --device ]]; then
    library=$(tests/cuda/build.sh)
    export LD_LIBRARY_PATH=$library${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    # kernels that this stand-in "compiled" are no device's
    cache=$(mktemp -d)
    trap 'rm -rf "$cache"' EXIT
    export XDG_CACHE_HOME=$cache
fi
cargo test --locked -p twoply-primitives --features cuda --lib
[[ ${1:-} == --device ]] || tests/cuda/compile.sh
