"""A training run with real processes on this machine; owner of data and model is this package."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np

import twoply
from tests.lab import BINARY, DIGITS, NORMALISE, idx, needs_binary
from tests.test_inference import free_ports

ROWS = 96


@needs_binary
class TrainingTest(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.binary = twoply.Binary(BINARY)

    def start(self, home: str, *arguments: str) -> None:
        command = [self.binary.path, *arguments, "--home", str(self.folder / home), "--quiet"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait, 60)
        self.addCleanup(process.send_signal, signal.SIGTERM)

    def test_numpy_in_a_model_out(self) -> None:
        model = twoply.from_onnx(DIGITS / "digits.onnx", folder=self.folder, binary=self.binary, **NORMALISE)
        images, labels = idx("digits-images.idx"), idx("digits-labels.idx")
        choices = {"epochs": 2, "batch": 32, "rate": "1/32", "held": 100, "simulate": 20}
        choices |= {"share": "judge=held:70", "reveal": ["accuracy=judge", "loss=judge"]}
        plan = twoply.plan_training(model, ROWS, images, labels, **choices)
        self.assertEqual(plan.bill["steps"], 6)
        history = plan.rehearse(images, labels.astype(np.uint8), held=404, steps=6, every=3, no_parties=True)["points"]
        self.assertEqual([point["step"] for point in history], [0, 3, 6])

        keys = {}
        for name in ("p0", "p1", "dealer", "owner"):
            keys[name] = self.binary.run("id", "--new", home=self.folder / name)["fingerprint"]
        ports = [f"127.0.0.1:{port}" for port in free_ports(2)]
        guests = ["--dealer", keys["dealer"], "--owner", f"data={keys['owner']}", "--owner", f"judge={keys['owner']}", "--model-owner", keys["owner"]]
        run = ["train", "run", str(plan.path), *guests]
        self.start("p0", *run, "--role", "0", "--listen", ports[0], "--peer-key", keys["p1"])
        self.start("p1", *run, "--role", "1", "--listen", ports[1], "--peer-key", keys["p0"], "--peer", ports[0])
        places = {"p0": twoply.Server(ports[0], keys["p0"]), "p1": (ports[1], keys["p1"])}
        named = [f"--{flag}={value}" for p in places for flag, value in zip((p, f"{p}-key"), places[p])]
        self.start("dealer", "deal", str(plan.path), "--follow", *named)
        home, out = self.folder / "owner", self.folder / "learnt"
        held = ("judge", images[400:470], labels[400:470])
        learnt = twoply.train(plan, images[:ROWS], labels[:ROWS], out=out, home=home, held=held, **places)
        figures = [(figure["figure"], figure["step"], figure["rows"]) for figure in learnt.history]
        wanted = [(figure, step, 64) for step in (3, 6) for figure in ("accuracy", "loss")]
        self.assertEqual(sorted(figures), sorted(wanted))
        self.assertTrue(all(0 <= figure["right"] <= 64 for figure in learnt.history if figure["figure"] == "accuracy"))
        self.assertEqual(learnt.summary["step"], 6)
        self.assertTrue(learnt.weights.is_file())
        report = learnt.check(images[:4], limit=4)
        self.assertTrue(report)

        # What does not fit says so, with what to do.
        with self.assertRaises(twoply.TwoplyError) as caught:
            plan.share(images[:ROWS - 1], labels[:ROWS - 1], home=home, **places)
        self.assertEqual(caught.exception.code, 15)
        self.assertIn("95 rows where the plan has 96", caught.exception.what)
