"""Import, plan, calibrate and check through the binary."""

from __future__ import annotations

import stat
import tempfile
import unittest
from pathlib import Path

import numpy as np

import twoply
from tests.lab import BINARY, DIGITS, NORMALISE, idx, needs_binary


@needs_binary
class ModelTest(unittest.TestCase):
    def setUp(self) -> None:
        self.model = twoply.from_onnx(DIGITS / "digits.onnx", binary=BINARY, **NORMALISE)
        self.samples = idx("calibration-images.idx")

    def test_an_imported_model_keeps_its_weights_private(self) -> None:
        self.assertEqual(self.model.summary["parameters"], 3658)
        self.assertEqual(stat.S_IMODE(self.model.weights.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(self.model.weights.parent.stat().st_mode), 0o700)

    def test_arrays_and_files_give_the_same_plan(self) -> None:
        plan = self.model.plan(self.samples)
        again = self.model.plan(DIGITS / "calibration-images.idx", force=True)
        self.assertEqual(plan.bill["plan"], again.bill["plan"])
        # The same pixels as numbers of other types, sizes, byte orders and orders in memory.
        for dtype in ("f2", ">f4", "f8", "i1", ">i2", "u2", "i8"):
            for order in (np.ascontiguousarray, np.asfortranarray, lambda x: np.repeat(x, 2, axis=0)[::2]):
                samples = order(self.samples.astype(dtype))
                ranges = self.model.plan(samples, force=True).bill["ranges"]
                for one, other in zip(ranges, plan.bill["ranges"]):
                    self.assertEqual((one["name"], one["observed"]), (other["name"], other["observed"]), dtype)
        flags = self.samples > 7
        ranges = [self.model.plan(x, force=True).bill["ranges"] for x in (flags, flags.astype(np.uint8))]
        self.assertEqual(*ranges)
        with self.assertRaises(twoply.TwoplyError) as caught:
            self.model.plan(self.samples)
        self.assertEqual(caught.exception.code, 16)
        self.assertIn("--force", caught.exception.remedy)

    def test_a_check_agrees_and_a_lost_layer_is_named(self) -> None:
        report = self.model.check(self.samples[:20])
        self.assertEqual((report["differing"], report["labels"]["float_private"]), (0, 20))
        plan = self.model.plan(self.samples, ring=64)
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "page.html"
            report = self.model.check(self.samples[:5], plan=plan, html=page)
            self.assertIn("<svg", page.read_text())
        self.assertEqual(report["ring"], 64)
        with self.assertRaises(twoply.TwoplyError) as caught:
            self.model.check(self.samples[:5], fraction=4, tolerance=0.001)
        self.assertEqual((caught.exception.code, caught.exception.layer), (10, "conv1"))
        self.assertEqual(caught.exception.result["lost"]["layer"], "conv1")
        self.assertIn("--fraction", caught.exception.remedy)

    def test_calibration_says_what_fits(self) -> None:
        found = self.model.calibrate(self.samples, margin=2)
        self.assertEqual([fit["ring"] for fit in found["rings"]], [32, 64])
        recommended = found["recommended"]
        self.model.plan(self.samples, margin=2, ring=recommended["ring"], fraction=recommended["fraction"])

    def test_a_plan_without_ranges_warns(self) -> None:
        with self.assertWarnsRegex(UserWarning, "unchecked"):
            self.model.plan(unchecked_ranges=True)

    def test_the_plan_outlives_its_model(self) -> None:
        plan = self.model.plan(self.samples)
        path = plan.path
        del self.model
        self.assertTrue(path.is_file())
        del plan
        self.assertFalse(path.parent.exists(), "no weights are left behind")

    def test_wrong_inputs_are_told_apart(self) -> None:
        with self.assertRaises(TypeError):
            self.model.plan(self.samples.astype(complex))
        for images, code in [(self.samples[:0], 15), (self.samples[:, :4], 15), ("none.idx", 15)]:
            with self.assertRaises(twoply.TwoplyError) as caught:
                self.model.plan(images)
            self.assertEqual(caught.exception.code, code)
        with self.assertRaises(twoply.TwoplyError) as caught:
            self.model.plan(self.samples, ring=48)
        self.assertEqual(caught.exception.code, 2)
        self.assertIn("48", caught.exception.what)


@needs_binary
class RefusedModelTest(unittest.TestCase):
    def test_every_obstacle_is_listed(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "two.onnx"
            path.write_bytes(chain("Sin", "Loop"))
            with self.assertRaises(twoply.ImportObstacles) as caught:
                twoply.from_onnx(path, binary=BINARY)
        found = caught.exception
        self.assertEqual((found.code, len(found.obstacles)), (15, 2))
        self.assertIn("Sin", found.obstacles[0])
        self.assertIn("Loop", found.obstacles[1])

    def test_no_model_at_all_is_another_failure(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.onnx"
            path.write_bytes(b"GIF89a")
            with self.assertRaises(twoply.TwoplyError) as caught:
                twoply.from_onnx(path, binary=BINARY)
        self.assertNotIsInstance(caught.exception, twoply.ImportObstacles)


def chain(*types: str) -> bytes:
    """The bytes of an ONNX model with one node of each type, one after the other."""

    def field(number: int, body: bytes) -> bytes:
        return bytes([number << 3 | 2, len(body)]) + body

    def value(name: str) -> bytes:
        dims = field(1, bytes([8, 1])) + field(1, bytes([8, 4]))
        return field(1, name.encode()) + field(2, field(1, bytes([8, 1]) + field(2, dims)))

    def node(i: int, op: str) -> bytes:
        names = [f"t{i}", f"t{i + 1}", f"t{i + 1}", op]
        return field(1, b"".join(field(number, name.encode()) for number, name in enumerate(names, 1)))

    nodes = b"".join(node(i, op) for i, op in enumerate(types))
    graph = nodes + field(2, b"g") + field(11, value("t0")) + field(12, value(f"t{len(types)}"))
    return bytes([8, 8]) + field(8, bytes([16, 13])) + field(7, graph)


if __name__ == "__main__":
    unittest.main()
