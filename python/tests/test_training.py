"""A training run with real processes on this machine; owner of data and model is this package."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import unittest
import unittest.mock
from pathlib import Path

import numpy as np

import twoply
from tests.lab import BINARY, DIGITS, NORMALISE, ROOT, idx, initializers, needs_binary, tensors
from tests.test_inference import free_ports

ROWS = 96


@needs_binary
class TrainingTest(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.binary = twoply.Binary(BINARY)
        self.running: list[subprocess.Popen[bytes]] = []
        self.addCleanup(self.stop)

    def start(self, home: str, *arguments: str) -> None:
        command = [self.binary.path, *arguments, "--home", str(self.folder / home), "--quiet"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.running.append(process)

    def stop(self) -> None:
        """Ends what runs."""
        for process in self.running:
            process.send_signal(signal.SIGTERM)
        for process in self.running:
            process.wait(60)
        self.running.clear()

    def cast(self, plan: twoply.TrainingPlan) -> dict[str, tuple[str, str]]:
        """Starts parties and dealer; where the parties are."""
        keys = {}
        for name in ("p0", "p1", "dealer", "owner"):
            home = self.folder / name
            made = [] if (home / "identity.key").exists() else ["--new"]
            keys[name] = self.binary.run("id", *made, home=home)["fingerprint"]
        ports = [f"127.0.0.1:{port}" for port in free_ports(2)]
        owners = [f"--owner={name}={keys['owner']}" for name in ("data", "judge")]
        guests = ["--dealer", keys["dealer"], *owners, "--model-owner", keys["owner"]]
        run = ["train", "run", str(plan.path), *guests]
        self.start("p0", *run, "--role", "0", "--listen", ports[0], "--peer-key", keys["p1"])
        self.start("p1", *run, "--role", "1", "--listen", ports[1], "--peer-key", keys["p0"], "--peer", ports[0])
        places = {"p0": twoply.Server(ports[0], keys["p0"]), "p1": (ports[1], keys["p1"])}
        named = [f"--{flag}={value}" for p in places for flag, value in zip((p, f"{p}-key"), places[p])]
        self.start("dealer", "deal", str(plan.path), "--follow", *named)
        return places

    def test_numpy_in_a_model_out(self) -> None:
        model = twoply.from_onnx(DIGITS / "digits.onnx", folder=self.folder, binary=self.binary, **NORMALISE)
        images, labels = idx("digits-images.idx"), idx("digits-labels.idx")
        choices = {"epochs": 2, "batch": 32, "rate": "1/32", "held": 100, "simulate": 20}
        choices |= {"share": "judge=held:70", "reveal": ["accuracy=judge", "loss=judge"]}
        plan = twoply.plan_training(model, ROWS, images, labels, **choices)
        self.assertEqual(plan.bill["steps"], 6)
        history = plan.rehearse(images, labels.astype(np.uint8), held=404, steps=6, every=3, no_parties=True)["points"]
        self.assertEqual([point["step"] for point in history], [0, 3, 6])

        places = self.cast(plan)
        home, out = self.folder / "owner", self.folder / "learnt"
        held = ("judge", images[400:470], labels[400:470])
        learnt = twoply.train(plan, images[:ROWS], labels[:ROWS], out=out, home=home, held=held, **places)
        figures = [(figure["figure"], figure["step"], figure["rows"]) for figure in learnt.history]
        wanted = [(figure, step, 64) for step in (3, 6) for figure in ("accuracy", "loss")]
        self.assertEqual(sorted(figures), sorted(wanted))
        self.assertTrue(all(0 <= figure["right"] <= 64 for figure in learnt.history if figure["figure"] == "accuracy"))
        self.assertEqual(learnt.summary["step"], 6)
        # the state dictionary of the imported model
        self.assertEqual(tensors(learnt.weights), initializers(DIGITS / "digits.onnx"))
        report = learnt.check(images[:4], limit=4)
        self.assertTrue(report)

        # What does not fit says so, with what to do.
        with self.assertRaises(twoply.TwoplyError) as caught:
            plan.share(images[:ROWS - 1], labels[:ROWS - 1], home=home, **places)
        self.assertEqual(caught.exception.code, 15)
        self.assertIn("95 rows where the plan has 96", caught.exception.what)

    def test_the_readme_does_what_it_says(self) -> None:
        section = (ROOT / "python" / "README.md").read_text().split("## Training\n")[1].split("\n## ")[0]
        planned, trained, shared = [part.split("```")[0] for part in section.split("```python\n")[1:]]
        images, labels = idx("digits-images.idx"), idx("digits-labels.idx")
        model = twoply.from_onnx(DIGITS / "digits.onnx", folder=self.folder, binary=self.binary, **NORMALISE)
        names: dict[str, object] = {"twoply": twoply, "model": model, "public": images, "public_labels": labels}
        names |= {"rows": images[:96], "labels": labels[:96], "held": images[400:470], "held_labels": labels[400:470]}
        exec(planned, names)
        plan = names["plan"]
        self.assertEqual([point["step"] for point in names["curves"]], [0, 3, 6])
        self.assertGreater(plan.bill["disk"]["party"]["most"], 96 * 74 * 4)
        self.assertGreater(plan.bill["memory_estimate"]["dealer"], 0)
        self.assertGreater(plan.bill["time"]["run"], 0)

        environment = {"TWOPLY": self.binary.path, "TWOPLY_HOME": str(self.folder / "owner")}
        (self.folder / "work").mkdir()
        with unittest.mock.patch.dict(os.environ, environment), contextlib.chdir(self.folder / "work"):
            exec(self.at(self.cast(plan), trained), names)
            learnt = names["learnt"]
            self.assertEqual([figure["step"] for figure in learnt.history], [3, 6])
            self.stop()
            # again, on the rows that are there
            names["servers"] = self.cast(plan)
            exec(shared.replace("lenet.train.json", str(plan.path)), names)
        self.assertEqual(names["model"].summary["step"], 6)
        self.assertEqual(len(names["figures"]), 2)

    def at(self, places: dict[str, tuple[str, str]], text: str) -> str:
        """A text with these places instead of those of examples."""
        for name, place in places.items():
            text = text.replace(f"{name}.example:7700", place[0]).replace(f"tp1-{name.upper()}", place[1])
        return text
