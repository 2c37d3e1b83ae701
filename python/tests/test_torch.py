"""`from_torch`, with a stand-in for torch that exports the digits network."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
import unittest
from types import ModuleType, SimpleNamespace
from unittest import mock

import numpy as np

import twoply
from tests.lab import BINARY, DIGITS, NORMALISE, idx, needs_binary


class Module:
    """A module with a part that is frozen in evaluation mode."""

    def __init__(self) -> None:
        self.training = True
        self.fault = 0.0
        self.frozen = SimpleNamespace(training=False)

    def modules(self) -> list:
        return [self, self.frozen]

    def eval(self) -> None:
        self.training = self.frozen.training = False

    def __call__(self, inputs) -> np.ndarray:
        """What the digits network gives for its first images, with a fault if one is planted."""
        assert not self.training, "the example goes through the module as it was exported"
        return np.load(DIGITS / "digits.logits.npy")[: len(inputs)] + self.fault


def example() -> np.ndarray:
    """Five images as the module takes them."""
    return ((idx("digits-images.idx")[:5].astype(np.float32) / 16 - 0.3125) / 0.5).reshape(5, 1, 8, 8)


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
            model = twoply.from_torch(module, example(), name="net", **options)
        dynamo = importlib.util.find_spec("onnxscript") is not None
        self.assertEqual((seen["training"], seen["rows"], seen["dynamo"], seen["opset"]), (False, 1, dynamo, 17))
        self.assertEqual((module.training, module.frozen.training), (True, False))
        self.assertEqual((model.summary["name"], model.graph.name), ("net", "net.graph.json"))
        self.assertFalse(os.path.exists(seen["path"]), "the exported weights are gone")
        self.assertEqual(model.summary["example"]["images"], 5)

    @needs_binary
    def test_normalisations_that_are_kept_are_not_folded_by_the_exporter(self) -> None:
        seen = {}

        def export(module, inputs, path, *, input_names, output_names, dynamo=True, optimize=True):
            seen[len(seen)] = (dynamo, optimize)
            shutil.copy(DIGITS / "digits.onnx", path)

        with mock.patch.dict(sys.modules, torch=torch_that(export)):
            options = {"name": "net", "binary": BINARY, **NORMALISE}
            twoply.from_torch(Module(), example(), **options)
            twoply.from_torch(Module(), example(), keep_batchnorm=True, **options)
        dynamo = importlib.util.find_spec("onnxscript") is not None
        self.assertEqual(seen, {0: (dynamo, True), 1: (dynamo, not dynamo)})

    @needs_binary
    def test_an_import_that_computes_something_else_is_refused(self) -> None:
        def export(module, inputs, path, **_):
            shutil.copy(DIGITS / "digits.onnx", path)

        module = Module()
        module.fault = np.eye(5, 10, dtype=np.float32)
        with mock.patch.dict(sys.modules, torch=torch_that(export)), self.assertRaises(twoply.TwoplyError) as caught:
            twoply.from_torch(module, example(), binary=BINARY, **NORMALISE)
        self.assertEqual(caught.exception.code, 15)
        self.assertIn("not the model", caught.exception.what)
        self.assertTrue(module.training)

    @needs_binary
    def test_a_failed_export_leaves_the_module_as_it_was(self) -> None:
        def export(module, inputs, path, **_):
            raise RuntimeError("no such operator")

        module = Module()
        with mock.patch.dict(sys.modules, torch=torch_that(export)), self.assertRaisesRegex(RuntimeError, "operator"):
            twoply.from_torch(module, np.zeros((1, 4)), binary=BINARY)
        self.assertTrue(module.training)

    @needs_binary
    def test_what_the_exporter_leaves_out_is_a_warning(self) -> None:
        def export(module, inputs, path, **_):
            shutil.copy(DIGITS / "digits.onnx", path)

        module = Module()
        module.frozen.divisor_override = 3
        with mock.patch.dict(sys.modules, torch=torch_that(export)):
            with self.assertWarnsRegex(UserWarning, "divisor_override of SimpleNamespace"):
                twoply.from_torch(module, example(), binary=BINARY, **NORMALISE)

    def test_nothing_else_needs_torch(self) -> None:
        self.assertNotIn("torch", sys.modules)


if __name__ == "__main__":
    unittest.main()
