#!/usr/bin/env bash
# torch.onnx.export writes x[:, [2, 0, 3]] as a gather over the batch: the batch axis is moved behind, and back again.
#
# torch 2.15.0, onnxscript 0.7.2. The default exporter (dynamo=True) writes Transpose [1, 0, 2, 3] - GatherND - Transpose
# [1, 0, 2, 3]; torch.index_select, which is the same function here, and the older exporter write one Gather over axis 1. Whoever
# takes axis 0 of an activation for the batch, as most importers and compilers do, reads channels there.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-cache-dir torch==2.15.0 onnx==1.23.2 onnxscript==0.7.2 numpy==2.4.6
cd "$folder" && CUDA_VISIBLE_DEVICES='' venv/bin/python -W ignore - 2>"$folder/log" <<'PYTHON' || { cat "$folder/log" >&2; exit 1; }
import onnx, torch


class Indexed(torch.nn.Module):
    def forward(self, x):
        return x[:, [2, 0, 3]]


class Selected(torch.nn.Module):
    def forward(self, x):
        return torch.index_select(x, 1, torch.tensor([2, 0, 3]))


x = torch.randn(5, 4, 6, 6)
assert torch.equal(Indexed()(x), Selected()(x))
seen = {}
for module in (Indexed(), Selected()):
    for dynamo in (True, False):
        torch.onnx.export(module.eval(), (x,), "model.onnx", dynamo=dynamo, verbose=False)
        nodes = [node.op_type for node in onnx.load("model.onnx").graph.node if node.op_type != "Constant"]
        seen[type(module).__name__, dynamo] = nodes
        print(type(module).__name__, "dynamo" if dynamo else "TorchScript", nodes)
assert seen.pop(("Indexed", True)) == ["Transpose", "GatherND", "Transpose"], "this has changed"
assert all(nodes == ["Gather"] for nodes in seen.values()), "this has changed"
PYTHON
