"""Finding the binary, and what it may say: needs none."""

from __future__ import annotations

import os
import stat
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np

import twoply
from twoply._arrays import image_file
from twoply._binary import flags


class BinaryTest(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def script(self, body: str, name: str = "twoply") -> Path:
        """A stand-in for the binary."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o700)
        return path

    def test_argument_then_variable_then_path(self) -> None:
        named, set_, found = (self.script("", name) for name in ("named", "set", "twoply"))
        with mock.patch.dict(os.environ, {"TWOPLY": str(set_), "PATH": str(self.folder)}):
            self.assertEqual(twoply.Binary(named).path, str(named))
            self.assertEqual(twoply.Binary().path, str(set_))
            del os.environ["TWOPLY"]
            self.assertEqual(twoply.Binary().path, str(found))
            os.environ["PATH"] = "/nowhere"
            with self.assertRaisesRegex(twoply.BinaryNotFound, "cargo build"):
                twoply.Binary()
            with self.assertRaisesRegex(twoply.BinaryNotFound, "none"):
                twoply.Binary(self.folder / "none")

    def test_failures_keep_code_place_and_remedy(self) -> None:
        failure = '{"code": 10, "phase": "plan", "what": "too large", "remedy": "shrink", "layer": "fc", "peer": null}'
        binary = self.script(f"echo '{{\"wraps\": 3}}'; echo 'a log line' >&2; echo '{failure}' >&2; exit 10")
        with self.assertRaises(twoply.TwoplyError) as caught:
            twoply.Binary(binary).run("check")
        found = caught.exception
        self.assertEqual((found.code, found.layer, found.remedy, found.phase), (10, "fc", "shrink", "plan"))
        self.assertEqual(found.result, {"wraps": 3})
        self.assertIn("exit 10", str(found))

    def test_whatever_else_it_says_is_an_error_too(self) -> None:
        torn = "echo '{\"a\"' >&2; exit 3"
        for body, code in [("echo nonsense", 1), ("exit 2", 2), ("kill -9 $$", -9), (torn, 3), ("echo 1", 1)]:
            with self.assertRaises(twoply.TwoplyError) as caught:
                twoply.Binary(self.script(body)).run("plan")
            self.assertEqual(caught.exception.code, code, body)

    def test_warnings_are_not_lost(self) -> None:
        binary = self.script("echo 'warning: beware' >&2; echo '{}'")
        with self.assertWarnsRegex(UserWarning, "beware"):
            self.assertEqual(twoply.Binary(binary).run("plan"), {})

    def test_flags(self) -> None:
        given = {"ring": 64, "labels_only": True, "force": False, "out": None, "mean": "-0.5,1", "plan": Path("-x")}
        here = os.path.abspath("-x")
        self.assertEqual(flags(given), ["--ring=64", "--labels-only", "--mean=-0.5,1", f"--plan={here}"])

    def test_arrays_stand_in_private_files_for_a_while(self) -> None:
        images = np.arange(6, dtype=np.float64).reshape(1, 2, 3)[:, :, ::-1]
        with image_file(images) as path:
            self.assertEqual(stat.S_IMODE(path.parent.stat().st_mode), 0o700)
            stored = np.load(path)
            self.assertEqual(stored.dtype, np.dtype("<f8"))
            np.testing.assert_array_equal(stored, images)
        self.assertFalse(path.parent.exists())
        with image_file(np.ones((2, 3), np.longdouble)) as path:
            self.assertEqual(np.load(path).dtype, np.dtype(np.float64))
        for bad in (np.zeros(3, "M8[s]"), np.zeros(3, complex), np.array(["a"]), np.array([None])):
            with self.assertRaises(TypeError), image_file(bad):
                pass


if __name__ == "__main__":
    unittest.main()
