"""Dealer, two servers and both owners as real processes on this machine; the data owner is this package."""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np

import twoply
from twoply.inference import answer
from tests.lab import BINARY, DIGITS, NORMALISE, idx, needs_binary

IMAGES = 8


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@needs_binary
class InferenceTest(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.binary = twoply.Binary(BINARY)

    def identity(self, name: str) -> str:
        return self.binary.run("id", "--new", home=self.folder / name)["fingerprint"]

    def party(self, role: int, *arguments: str) -> None:
        command = [self.binary.path, "party", *arguments, "--role", str(role), "--quiet"]
        command += ["--keys", str(self.folder / f"keys/p{role}"), "--home", str(self.folder / f"p{role}")]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait, 30)
        self.addCleanup(process.send_signal, signal.SIGTERM)

    def test_private_labels_are_the_plain_networks(self) -> None:
        model = twoply.from_onnx(DIGITS / "digits.onnx", binary=self.binary, **NORMALISE)
        plan = model.plan(idx("calibration-images.idx"))
        path = str(plan.path)
        self.binary.run("deal", path, f"--images={IMAGES}", f"--out={self.folder / 'keys'}")
        p0, p1, data, owner = (self.identity(name) for name in ("p0", "p1", "data", "owner"))
        ports = [f"127.0.0.1:{port}" for port in free_ports(2)]
        guests = ["--client", data, "--owner", owner]
        self.party(0, path, "--listen", ports[0], "--peer-key", p1, *guests)
        self.party(1, path, "--listen", ports[1], "--peer", ports[0], "--peer-key", p0, *guests)
        servers = {"p0": twoply.Server(ports[0], p0), "p1": (ports[1], p1)}
        named = ["--p0", ports[0], "--p0-key", p0, "--p1", ports[1], "--p1-key", p1]
        self.binary.run("provision", path, "--weights", str(model.weights), *named, home=self.folder / "owner")

        images = idx("digits-images.idx")[:IMAGES]
        answer = plan.infer(images, home=self.folder / "data", **servers)
        want = np.load(DIGITS / "digits.logits.npy")[:IMAGES]
        np.testing.assert_array_equal(answer.labels, want.argmax(axis=1))
        self.assertEqual((answer.labels.dtype, answer.logits.shape), (np.dtype(np.int64), (IMAGES, 10)))
        self.assertLess(np.abs(answer.logits - want).max(), 0.05)
        self.assertEqual(answer.report["images"], IMAGES)

        # Images of another scale are refused, and nobody is called.
        with self.assertRaises(twoply.TwoplyError) as caught:
            plan.infer(images.astype(np.float32) / 16, home=self.folder / "data", **servers)
        self.assertEqual(caught.exception.code, 15)
        self.assertIn("0..1", caught.exception.what)

        # The keys are spent: the failure says so, with what to do.
        with self.assertRaises(twoply.TwoplyError) as caught:
            twoply.infer(plan.path, images, home=self.folder / "data", binary=self.binary, **servers)
        self.assertIn(caught.exception.code, (8, 14))
        self.assertTrue(caught.exception.remedy)

    def test_outputs_without_labels_keep_their_shape(self) -> None:
        found = answer({"labels": None, "logits": [[1.0, 2.0], [3.0, 4.0]], "output": {"kind": "values", "shape": [1, 2, 1]}})
        self.assertIsNone(found.labels)
        self.assertEqual(found.logits.shape, (2, 1, 2, 1))
        found = answer({"labels": [1], "logits": [[0.5]], "output": {"kind": "score"}})
        self.assertEqual((found.labels.tolist(), found.logits.shape, found.names), ([1], (1, 1), None))
        found = answer({"labels": [1], "logits": None, "names": ["0.png"], "output": {"kind": "score"}})
        self.assertEqual((found.names, "names" in found.report), (["0.png"], False))

    def test_nobody_there_is_exit_4(self) -> None:
        model = twoply.from_onnx(DIGITS / "digits.onnx", binary=self.binary, **NORMALISE)
        plan = model.plan(idx("calibration-images.idx"))
        servers = [(f"127.0.0.1:{port}", self.identity(f"p{i}")) for i, port in enumerate(free_ports(2))]
        self.identity("data")
        with self.assertRaises(twoply.TwoplyError) as caught:
            images, home = idx("digits-images.idx")[:1], self.folder / "data"
            plan.infer(images, p0=servers[0], p1=servers[1], home=home, patience=1)
        self.assertEqual(caught.exception.code, 4)


if __name__ == "__main__":
    unittest.main()
