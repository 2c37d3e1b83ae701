#!/usr/bin/env bash
# bench/gpu.sh: everything that wants a real GPU, in one call of less than ten minutes: tests of the kernels and gates on
# the device, NVIDIA's sanitizer on some of them, the table of figures, and one inference by real processes.
# What came of it goes to $OUT, else to ./gpu-report. Without a GPU it says so, measures nothing and ends with 77.
#
# bench/gpu.sh --prepare DIR: builds what is run into DIR, for a machine that has no Rust. There:
#     TWOPLY_PREBUILT=DIR bench/gpu.sh
set -uo pipefail
cd "$(dirname "$0")/.."

features=(--release --features cuda)
tests=("twoply-primitives --lib" "twoply-nn --test parties")
binaries=(twoply:twoply-party twoply-bench:twoply-bench)

# Builds all that is run, stripped, into the folder $1.
prepare() {
    local dir=$1 test binary made
    mkdir -p "$dir" || return
    for test in "${tests[@]}"; do
        # shellcheck disable=SC2086 # a package and which of its tests
        made=$(cargo test -q "${features[@]}" -p $test --no-run --message-format=json |
            grep -oP '"executable":"\K[^"]+' | tail -1) || return
        strip -o "$dir/${test%% *}-tests" "$made" || return
    done
    for binary in "${binaries[@]}"; do
        made=$(cargo build -q "${features[@]}" -p "${binary#*:}" --bin "${binary%:*}" --message-format=json |
            grep -oP '"executable":"\K[^"]+') || return
        strip -o "$dir/${binary%:*}" "$made" || return
    done
    commit > "$dir/commit"
}

# What the sources are.
commit() {
    git describe --always --dirty --abbrev=12 2> /dev/null || echo unknown
}

if [[ ${1-} == --prepare ]]; then
    prepare "${2:?a folder}" || exit
    du -sh "$2"
    exit
fi
if ! command -v nvidia-smi > /dev/null || ! nvidia-smi -L 2> /dev/null | grep -q '^GPU'; then
    echo "no GPU here: nothing was measured"
    exit 77
fi

out=${OUT:-gpu-report}
mkdir -p "$out" || exit
if [[ -n ${TWOPLY_PREBUILT-} ]]; then
    built=$TWOPLY_PREBUILT
else
    built=target/gpu
    prepare "$built" || exit
fi

# The compiler of kernels, where the loader does not find it by itself.
if ! ldconfig -p | grep -q 'libnvrtc\.so'; then
    lib=$(find /usr /opt -name 'libnvrtc.so*' -printf '%h\n' -quit 2> /dev/null)
    [[ -z $lib ]] || export LD_LIBRARY_PATH=$lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
export TWOPLY_NEED_CUDA=device RUST_BACKTRACE=1

failed=0
# One line of the summary.
say() {
    echo "$*" | tee -a "$out/summary.txt"
}
# Runs the rest for at most $2 seconds; what it says goes to the log, how it ended to the summary.
step() {
    local name=$1 limit=$2 code=0 began=$SECONDS
    shift 2
    echo "== $name: $*" >> "$out/log.txt"
    timeout "$limit" "$@" >> "$out/log.txt" 2>&1 || code=$?
    case $code in
        0) say "$name: passed, $((SECONDS - began)) s" ;;
        124) say "$name: stopped after $limit s" ;;
        *) say "$name: FAILED with $code, see log.txt" ;;
    esac
    ((code == 0)) || failed=1
}

: > "$out/log.txt"
{
    echo "commit $(cat "$built/commit" 2> /dev/null || commit)"
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,pcie.link.gen.max,pcie.link.width.max,persistence_mode \
        --format=csv
    grep -m1 'model name' /proc/cpuinfo
    echo "$(nproc) cores, $(date -u +%FT%TZ)"
} | tee "$out/summary.txt"

primitives=$built/twoply-primitives-tests
step tests 90 "$primitives" backend::cuda gate::
step "a network" 30 env TWOPLY_TEST_DEVICE=cuda:0 "$built/twoply-nn-tests" two_parties::
if sanitizer=$(command -v compute-sanitizer); then
    step memcheck 75 "$sanitizer" --tool memcheck --error-exitcode 9 "$primitives" backend::cuda
    step racecheck 45 "$sanitizer" --tool racecheck --error-exitcode 9 "$primitives" \
        backend::cuda::tests::products backend::cuda::tests::streams
else
    say "memcheck, racecheck: not run, compute-sanitizer is not installed"
fi
step table 280 bash -c '"$1" --table gpu --json "$2.json" > "$2.txt"' - "$built/twoply-bench" "$out/table"
step demo 40 "$built/twoply" demo --zoo lenet --limit 16 --device cuda:0
cat "$out/table.txt" "$out/summary.txt"
exit "$failed"
