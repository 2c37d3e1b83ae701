"""`from_torch`, with a stand-in for torch that exports the digits network."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import unittest
from types import ModuleType, SimpleNamespace
from unittest import mock

import numpy as np

import twoply
from tests.lab import BINARY, DIGITS, NORMALISE, needs_binary


class Module:
    """A module with a part that is frozen in evaluation mode."""

    def __init__(self) -> None:
        self.training = True
        self.frozen = SimpleNamespace(training=False)

    def modules(self) -> list:
        return [self, self.frozen]

    def eval(self) -> None:
        self.training = self.frozen.training = False


def torch_that(export) -> ModuleType:
    torch = ModuleType("torch")
    torch.no_grad = contextlib.nullcontext
    torch.onnx = SimpleNamespace(export=export)
    return torch


class TorchTest(unittest.TestCase):
    @needs_binary
    def test_a_module_is_exported_in_evaluation_mode_and_left_as_it_was(self) -> None:
        seen = {}

        def export(module, inputs, path, *, input_names, output_names, dynamo=True, opset_version=None):
            seen.update(training=module.training, rows=len(inputs[0]), dynamo=dynamo, opset=opset_version, path=path)
            shutil.copy(DIGITS / "digits.onnx", path)

        module = Module()
        with mock.patch.dict(sys.modules, torch=torch_that(export)):
            options = {"export": {"opset_version": 17}, "binary": BINARY, **NORMALISE}
            model = twoply.from_torch(module, np.zeros((5, 1, 8, 8), np.float32), name="net", **options)
        self.assertEqual((seen["training"], seen["rows"], seen["dynamo"], seen["opset"]), (False, 1, False, 17))
        self.assertEqual((module.training, module.frozen.training), (True, False))
        self.assertEqual((model.summary["name"], model.graph.name), ("net", "net.graph.json"))
        self.assertFalse(os.path.exists(seen["path"]), "the exported weights are gone")

    @needs_binary
    def test_a_failed_export_leaves_the_module_as_it_was(self) -> None:
        def export(module, inputs, path, **_):
            raise RuntimeError("no such operator")

        module = Module()
        with mock.patch.dict(sys.modules, torch=torch_that(export)), self.assertRaisesRegex(RuntimeError, "operator"):
            twoply.from_torch(module, np.zeros((1, 4)), binary=BINARY)
        self.assertTrue(module.training)

    def test_nothing_else_needs_torch(self) -> None:
        self.assertNotIn("torch", sys.modules)


if __name__ == "__main__":
    unittest.main()
