#!/usr/bin/env bash
# Tests of the GPU backend on a machine without a GPU: the kernels compiled for the CPU, behind a stand-in for the driver
# that the unmodified bindings load; then the same text through NVIDIA's own compilers, where they can be had.
#
#   --full     networks too: random graphs, LeNet and others in every ring, comparison and rounding, and the table of
#              figures at small sizes (15 minutes)
#   --device   on the driver and the device that are there, instead of the stand-in
set -euo pipefail
cd "$(dirname "$0")/../.."
if [[ " $* " == *" --device "* ]]; then
    export TWOPLY_NEED_CUDA=device
    release=(--release)
else
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

# The same build as that of the README's tests, of which some are run here: what is built once serves both.
build=(cargo test --locked --workspace --all-features "${release[@]}" --no-run)
binary() {
    "${build[@]}" --message-format=json 2> /dev/null | sed -n "s/.*\"executable\":\"\([^\"]*\/$1\)\".*/\1/p" | tail -1
}
tests() {
    local program
    program=$(binary "deps\/$2-[0-9a-f]*")
    (cd "$1" && "${program:?}" "${@:3}")
}
"${build[@]}"
tests primitives twoply_primitives
if [[ " $* " == *" --full "* ]]; then
    tests bench gpu
    TWOPLY_TEST_DEVICE=cuda:0 tests nn parties two_parties:: networks::
fi
twoply=$(binary twoply)
"${twoply:?}" demo --quiet --device cuda:0 --limit 40
