#!/usr/bin/env bash
# torch.onnx.export drops AvgPool2d's divisor_override without a word: the file averages over the kernel instead.
#
# torch 2.15.0, onnxruntime 1.32.0, onnxscript 0.7.2. Both exporters (dynamo=True, the default, and dynamo=False) write a
# plain AveragePool, which has no such attribute; on ones with a 2x2 kernel and divisor 1, PyTorch gives 4 and the file 1.
# torch 2.0 refused ("Unsupported: ONNX export of operator avg_pool2d, divisor_override", pytorch/pytorch#105349).
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-cache-dir torch==2.15.0 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder" && CUDA_VISIBLE_DEVICES='' venv/bin/python -W ignore - 2>"$folder/log" <<'PYTHON' || { cat "$folder/log" >&2; exit 1; }
import onnx, onnxruntime, torch

module, x = torch.nn.AvgPool2d(2, divisor_override=1).eval(), torch.ones(1, 1, 2, 2)
seen = [module(x).item()]
for dynamo in (True, False):
    torch.onnx.export(module, (x,), "model.onnx", dynamo=dynamo, verbose=False)
    session = onnxruntime.InferenceSession("model.onnx")
    seen.append(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0].item())
    print("dynamo" if dynamo else "TorchScript", [node.op_type for node in onnx.load("model.onnx").graph.node])
print("PyTorch, file of the dynamo exporter, file of the TorchScript exporter:", seen)
assert seen == [4.0, 1.0, 1.0], "this has changed"
PYTHON
