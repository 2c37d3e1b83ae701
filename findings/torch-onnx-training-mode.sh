#!/usr/bin/env bash
# torch.onnx.export(model.train(), ..., training=TrainingMode.TRAINING) folds BatchNorm's running statistics into the convolution.
#
# torch 2.15.0, onnxscript 0.7.2. The default exporter (dynamo=True) passes `training=` over: Dropout follows the module's own mode, and
# BatchNorm becomes part of the weights in front of it in either mode, as in inference, so that a file which has its Dropout has lost its
# normalisation. optimize=False leaves BatchNormalization as a node, without training_mode; do_constant_folding=False does not. The older
# exporter (dynamo=False) writes both for training: BatchNormalization with training_mode=1 and three outputs, and Dropout.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-cache-dir torch==2.15.0 onnx==1.23.2 onnxscript==0.7.2 numpy==2.4.6
cd "$folder" && CUDA_VISIBLE_DEVICES='' venv/bin/python -W ignore - 2>"$folder/log" <<'PYTHON' || { cat "$folder/log" >&2; exit 1; }
import onnx, torch


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.drop = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(torch.relu(self.norm(self.conv(x))))


def exported(train, **options):
    mode = torch.onnx.TrainingMode.TRAINING if train else torch.onnx.TrainingMode.EVAL
    torch.onnx.export(Block().train(train), (torch.randn(2, 3, 6, 6),), "m.onnx", training=mode, verbose=False, **options)
    nodes = [node for node in onnx.load("m.onnx").graph.node if node.op_type != "Constant"]
    flags = [a.i for node in nodes for a in node.attribute if a.name == "training_mode"]
    return [node.op_type for node in nodes], flags


seen = {
    "default, train": exported(True, dynamo=True),
    "default, eval": exported(False, dynamo=True),
    "do_constant_folding=False, train": exported(True, dynamo=True, do_constant_folding=False),
    "optimize=False, train": exported(True, dynamo=True, optimize=False),
    "TorchScript, train": exported(True, dynamo=False),
}
for how, what in seen.items():
    print(how, *what)
assert seen == {
    "default, train": (["Conv", "Relu", "Dropout"], []),
    "default, eval": (["Conv", "Relu"], []),
    "do_constant_folding=False, train": (["Conv", "Relu", "Dropout"], []),
    "optimize=False, train": (["Conv", "BatchNormalization", "Relu", "Dropout"], []),
    "TorchScript, train": (["Conv", "BatchNormalization", "Relu", "Dropout"], [1]),
}, "this has changed"
PYTHON
