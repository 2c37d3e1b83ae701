#!/usr/bin/env bash
# Tests of the GPU backend on a machine without a GPU: the kernels compiled for the CPU, behind a stand-in for the driver
# that the unmodified bindings load; then the same text through NVIDIA's own compilers, where they can be had.
#
#   --full     networks too: random graphs, LeNet and others in every ring, comparison and rounding, and the table of
#              figures at small sizes (15 minutes)
#   --device   on the driver and the device that are there, instead of the stand-in
set -euo pipefail
cd "$(dirname "$0")/../.."
export TWOPLY_NEED_CUDA=device
release=(--release)
if [[ " $* " != *" --device "* ]]; then
    export TWOPLY_NEED_CUDA=stand-in
    release=()
    library=$(tests/cuda/build.sh)
    export LD_LIBRARY_PATH=$library${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    # what this stand-in "compiled" is no device's
    cache=$(mktemp -d)
    trap 'rm -rf "$cache"' EXIT
    export XDG_CACHE_HOME=$cache
    tests/cuda/compile.sh
fi
cargo test --locked -p twoply-primitives --features cuda --lib
if [[ " $* " == *" --full "* ]]; then
    cargo test --locked -p twoply-bench --features cuda --test gpu
    TWOPLY_TEST_DEVICE=cuda:0 cargo test --locked -p twoply-nn --features cuda --test parties -- two_parties:: networks::
fi
cargo run "${release[@]}" --locked --features cuda -- demo --quiet --device cuda:0 --limit 40
