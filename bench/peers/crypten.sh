#!/usr/bin/env bash
# A training step of LeNet (batch 128) in CrypTen and here, on this machine, one after the other: milliseconds a step and their ratio.
#
# CrypTen 0.4.1 on torch 2.2.2, in the form of its own tutorial: two processes on loopback, multiplication triples from its trusted
# first party, which costs nothing there. Here: dealer, both parties and owners as processes, keys and delivery included.
#
#   bench/peers/crypten.sh [STEPS]     3 steps of CrypTen; it needs python3 and the package index
set -euo pipefail
cd "$(dirname "$0")/../.."
steps=${1:-3} batch=128
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip() { "$folder/venv/bin/pip" install --quiet --no-cache-dir "$@"; }
pip torch==2.2.2 numpy==1.26.4 onnx==1.15.0 omegaconf==2.3.0 pyyaml==6.0.2 scipy==1.11.4 pandas==2.1.4 scikit-learn==1.3.2
# its requirements name a package that no longer installs
pip --no-deps crypten==0.4.1
cargo build --release --locked --quiet
twoply=$(realpath "${CARGO_TARGET_DIR:-target}/release/twoply")

CUDA_VISIBLE_DEVICES='' "$folder/venv/bin/python" -W ignore bench/peers/crypten-step.py "$batch" "$steps" | tail -1 > "$folder/theirs.json"
"$twoply" bench --table training --network lenet --steps 50 --format json --quiet > "$folder/ours.json"
python3 - "$folder" <<'PYTHON'
import json, sys
theirs, ours = (json.load(open(f"{sys.argv[1]}/{name}.json")) for name in ("theirs", "ours"))
ours, = ours
step = ours["step_ms"] / 1e3
print(f"CrypTen {theirs['crypten']}, torch {theirs['torch']}: {theirs['seconds'] * 1e3:.0f} ms a step of {theirs['batch']} rows")
print(f"here: {step * 1e3:.0f} ms a step, {ours['steps']} steps with keys, masking and delivery: {theirs['seconds'] / step:.0f} times as quick")
PYTHON
