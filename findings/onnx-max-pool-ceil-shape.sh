#!/usr/bin/env bash
# onnx counts a MaxPool window that ONNX Runtime leaves out, so ONNX Runtime refuses to load a network that it could run.
#
# onnx 1.23.2, onnxruntime 1.32.0. MaxPool with ceil_mode=1, kernel 1, stride 2 on 12 values: a seventh window would begin
# behind the last value, and the operator's text says that such windows are ignored. ONNX Runtime's kernel and
# onnx.reference give 6 values; onnx.shape_inference, which ONNX Runtime uses when it loads a model, says 7. With a MatMul by
# a weight of 6 rows behind the pool, loading fails: "Incompatible dimensions for matrix multiplication"; with one of 7 rows
# loading succeeds and running fails. All opsets below 22, so also 20, PyTorch's default; from opset 22 on both say 6
# (onnx/onnx#5711).
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-cache-dir onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import numpy as np, onnx, onnxruntime
from onnx import helper, TensorProto
from onnx.reference import ReferenceEvaluator

onnxruntime.set_default_logger_severity(4)
x = np.arange(12, dtype=np.float32).reshape(1, 1, 12)


def model(rows, opset=20):
    nodes = [helper.make_node("MaxPool", ["x"], ["p"], kernel_shape=[1], strides=[2], ceil_mode=1)]
    weight = [helper.make_tensor("w", TensorProto.FLOAT, [rows, 1], [1.0] * rows)] if rows else []
    nodes += [helper.make_node("MatMul", ["p", "w"], ["y"])] if rows else []
    result = helper.make_tensor_value_info("y" if rows else "p", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)], [result], weight)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def run(rows):
    try:
        session = onnxruntime.InferenceSession(model(rows).SerializeToString())
    except Exception as e:
        return f"not loaded: {str(e).splitlines()[0]}"
    try:
        return session.run(None, {"x": x})[0].shape
    except Exception:
        return "loaded, fails when run"


def inferred(opset):
    return onnx.shape_inference.infer_shapes(model(0, opset)).graph.output[0].type.tensor_type.shape.dim[2].dim_value


reference = ReferenceEvaluator(model(0)).run(None, {"x": x})[0].shape
print("onnx.shape_inference, opsets 12, 20 and 22:", *map(inferred, (12, 20, 22)), " onnx.reference:", reference, " ONNX Runtime:", run(0))
print("behind it a weight of 6 rows:", run(6))
print("behind it a weight of 7 rows:", run(7))
assert (inferred(12), inferred(20), inferred(22), reference, run(0)) == (7, 7, 6, (1, 1, 6), (1, 1, 6)), "this has changed"
assert "Incompatible dimensions" in run(6) and run(7) == "loaded, fails when run", "this has changed"
PYTHON
