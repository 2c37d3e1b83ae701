#!/usr/bin/env bash
# A training step of LeNet (batch 128) in CrypTen and here, on this machine, one after the other: milliseconds a step and their ratio.
#
# CrypTen 0.4.1 on torch 2.2.2, in the form of its own tutorial: two processes on loopback, multiplication triples from its trusted
# first party, which costs nothing there. Here: dealer, both parties and owners as processes, keys and delivery included.
#
#   bench/peers/crypten.sh [STEPS] [BATCH]     3 steps of CrypTen, 128 rows; it needs python3 and the package index
set -euo pipefail
cd "$(dirname "$0")/../.."
steps=${1:-3} batch=${2:-128} ours=40
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip() { "$folder/venv/bin/pip" install --quiet --no-cache-dir "$@"; }
pip torch==2.2.2 numpy==1.26.4 onnx==1.15.0 omegaconf==2.3.0 pyyaml==6.0.2 scipy==1.11.4 pandas==2.1.4 scikit-learn==1.3.2
# its requirements name a package that no longer installs
pip --no-deps crypten==0.4.1
cargo build --release --locked --quiet
twoply=$(realpath "${CARGO_TARGET_DIR:-target}/release/twoply")

CUDA_VISIBLE_DEVICES='' "$folder/venv/bin/python" -W ignore bench/peers/crypten-step.py "$batch" "$steps" | tail -1 > "$folder/theirs.json"
python3 - "$folder" $((batch * ours)) <<'PYTHON'
import random, struct, sys
folder, rows = sys.argv[1], int(sys.argv[2])
random.seed(1)
open(f"{folder}/rows.idx", "wb").write(struct.pack(">IIII", 0x803, rows, 28, 28) + random.randbytes(rows * 784))
open(f"{folder}/labels.idx", "wb").write(struct.pack(">II", 0x801, rows) + bytes(i % 10 for i in range(rows)))
PYTHON
data=(--rows "$folder/rows.idx" --row-labels "$folder/labels.idx" --test "$folder/rows.idx" --test-labels "$folder/labels.idx")
"$twoply" demo --train --zoo lenet "${data[@]}" --batch "$batch" --format json --quiet > "$folder/ours.json"
python3 - "$folder" <<'PYTHON'
import json, sys
theirs, ours = (json.load(open(f"{sys.argv[1]}/{name}.json")) for name in ("theirs", "ours"))
step = ours["seconds"] / ours["steps"]
print(f"CrypTen {theirs['crypten']}, torch {theirs['torch']}: {theirs['seconds'] * 1e3:.0f} ms a step of {theirs['batch']} rows")
print(f"here: {step * 1e3:.0f} ms a step, {ours['steps']} steps with keys, masking and delivery: {theirs['seconds'] / step:.0f} times as quick")
PYTHON
