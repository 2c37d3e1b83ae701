#!/usr/bin/env bash
# build.sh [out-dir]: builds a stand-in for the CUDA driver, with the kernels as CPU code in it, and one for
# NVRTC, unless they are newer than their sources. Prints out-dir, for LD_LIBRARY_PATH.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
text=$here/../../primitives/src/backend/cuda
out=${1:-$here/../../target/cuda-emulated}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cxx=(g++ -std=c++17 -O2 -fPIC -fvisibility=hidden -Wall -Wextra -Wno-unknown-pragmas -Wno-unused-parameter
    -I"$here" -I"$out")

# in the order in which the backend puts them together
mapfile -t parts < <(sed -n 's|.*include_str!("\(.*\.cuh\?\)").*|'"$text"'/\1|p' "$text/compile.rs")

# several test programs may build at once
exec 9> "$out/lock"
flock 9

# whether $1 is older than any of the files behind it
stale() {
    local made=$1 source
    shift
    for source; do
        [[ $made -nt $source ]] || return 0
    done
    return 1
}

if stale "$out/kernels.o" "${parts[@]}" "$here"/{kernels.cpp,emulate.h,fibers.h,launch.h,build.sh}; then
    for part in "${parts[@]}"; do
        printf '#line 1 "%s"\n' "$part"
        # C linkage would ignore the namespace they are put in
        sed 's/extern "C"/extern "C++"/' "$part"
    done > "$out/kernels.inc"
    "${cxx[@]}" -E -P -DLISTING "$here/kernels.cpp" | tr '\n' ' ' |
        grep -oP 'section\("kernels"\)\)\)\s+void\s+\K\w+(?=\s*\()' |
        sed 's/.*/EMULATED(&)/' > "$out/table.inc"
    "${cxx[@]}" -c "$here/kernels.cpp" -o "$out/kernels.o"
fi
driver=("$here"/{driver,driver_memory,driver_kernels}.cpp)
if stale "$out/libcuda.so.1" "$out/kernels.o" "${driver[@]}" "$here"/{driver.h,faults.h,memory.h,streams.h}; then
    "${cxx[@]}" -shared "${driver[@]}" "$out/kernels.o" -lpthread -o "$out/libcuda.so.1"
fi
if stale "$out/libnvrtc.so.13" "$here/nvrtc.cpp"; then
    "${cxx[@]}" -shared "$here/nvrtc.cpp" -o "$out/libnvrtc.so.13"
fi
# a driver from before most of what is needed
if stale "$out/old/libcuda.so.1" "$here/build.sh"; then
    mkdir -p "$out/old"
    echo 'extern "C" __attribute__((visibility("default"))) int cuInit(unsigned) { return 0; }' |
        "${cxx[@]}" -shared -x c++ - -o "$out/old/libcuda.so.1"
fi
echo "$out"
