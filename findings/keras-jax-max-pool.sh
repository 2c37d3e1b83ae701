#!/usr/bin/env bash
# Keras on JAX exports MaxPooling2D as an ONNX pool over four axes, which ONNX Runtime loads and cannot run.
#
# keras 3.15.1, jax 0.10.2, jax2onnx 0.17.1 (which model.export(format="onnx") asks for), onnxruntime 1.32.0. The pool gets
# two new axes in front, so that batch, rows, columns and channels all count as places that its window slides over
# (kernel_shape [1, 2, 2, 1]). ONNX Runtime: "Unsupported pooling size". The same model on the PyTorch backend runs. The
# export raises nothing, so a convolutional network seems to be exported.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-cache-dir keras==3.15.1 jax==0.10.2 jax2onnx==0.17.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder" && KERAS_BACKEND=jax JAX_PLATFORMS=cpu venv/bin/python -W ignore - 2>"$folder/log" <<'PYTHON' || { cat "$folder/log" >&2; exit 1; }
import keras, numpy as np, onnx, onnxruntime

onnxruntime.set_default_logger_severity(4)
network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.MaxPooling2D(2)])
network(np.zeros((1, 8, 8, 3), np.float32))
network.export("model.onnx", format="onnx", verbose=False)
pool = next(node for node in onnx.load("model.onnx").graph.node if node.op_type == "MaxPool")
kernel = next(list(a.ints) for a in pool.attribute if a.name == "kernel_shape")
session = onnxruntime.InferenceSession("model.onnx")
try:
    answer = session.run(None, {session.get_inputs()[0].name: np.zeros((1, 8, 8, 3), np.float32)})[0].shape
except Exception as e:
    answer = str(e).rpartition("Status Message: ")[2].strip()
print("kernel_shape:", kernel, " ONNX Runtime:", answer)
assert kernel == [1, 2, 2, 1] and "Unsupported pooling size" in str(answer), "this has changed"
PYTHON
