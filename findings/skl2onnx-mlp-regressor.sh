#!/usr/bin/env bash
# skl2onnx writes an MLPRegressor of several targets with a last Reshape to one column: rows and targets are mixed up.
#
# skl2onnx 1.20.0, scikit-learn 1.9.1, onnxruntime 1.32.0. With two targets, predict gives [3, 2] for three rows and the
# file [6, 1]; the numbers are the same, one target below the other. The converter says nothing.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-cache-dir scikit-learn==1.9.1 skl2onnx==1.20.0 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import numpy as np, onnxruntime
from skl2onnx import to_onnx
from sklearn.neural_network import MLPRegressor

rng = np.random.default_rng(0)
x, y = rng.standard_normal((50, 4)).astype(np.float32), rng.standard_normal((50, 2))
network = MLPRegressor(hidden_layer_sizes=(5,), max_iter=20, random_state=0).fit(x, y)
session = onnxruntime.InferenceSession(to_onnx(network, x[:1]).SerializeToString())
found, wanted = session.run(None, {"X": x[:3]})[0], network.predict(x[:3])
print("predict:", wanted.shape, " file:", found.shape)
assert wanted.shape == (3, 2) and found.shape == (6, 1), "this has changed"
assert np.allclose(found.reshape(3, 2), wanted, atol=1e-5), "this has changed"
PYTHON
