#!/usr/bin/env bash
# The shared MNIST networks in real processes: all 10,000 test digits with digits, 1,000 with dpf, both rings.
# Fails (never skips) if data are missing, if fewer than 99.9 % of the labels agree with the plain network, if accuracy
# is more than 0.1 point lower, or if a counter is not what the plan promised.
#
#   tests/mnist.sh [DATA]      DATA holds data/mnist and models/; default ../shared beside this repository
set -euo pipefail
cd "$(dirname "$0")/.."
data=${1:-../shared}
mnist=$data/data/mnist
for file in "$mnist"/t10k-images-idx3-ubyte.gz "$mnist"/t10k-labels-idx1-ubyte.gz "$mnist"/train-images-idx3-ubyte.gz \
  "$data"/models/{mlp,lenet}_mnist.onnx; do
  [ -r "$file" ] || { echo "missing: $file" >&2; exit 1; }
done
cargo build --release --locked
export TMPDIR=${TWOPLY_SCRATCH:-${TMPDIR:-/var/tmp}}
for model in mlp lenet; do
  for ring in 32 64; do
    for run in "digits 10000" "dpf 1000"; do
      read -r compare images <<<"$run"
      echo "== $model, n=$ring, $compare, $images images"
      target/release/twoply demo --quiet --model "$data/models/${model}_mnist.onnx" \
        --images "$mnist/t10k-images-idx3-ubyte.gz" --labels "$mnist/t10k-labels-idx1-ubyte.gz" \
        --samples "$mnist/train-images-idx3-ubyte.gz" --scale 0.00392156862745098 --mean 0.1307 --std 0.3081 \
        --ring "$ring" --compare "$compare" --limit "$images" --agreement 0.999 --accuracy-loss 0.1
    done
  done
done
echo "all 8 runs passed"
