"""The digits example and the binary that was built beside it."""

from __future__ import annotations

import os
import shutil
import struct
import unittest
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "examples" / "digits"
NORMALISE = {"scale": 1 / 16, "mean": [0.3125], "std": [0.5]}


def built() -> str | None:
    """TWOPLY, else the newest build in this repository, else what is on the PATH."""
    if os.environ.get("TWOPLY"):
        return os.environ["TWOPLY"]
    builds = [ROOT / "target" / kind / "twoply" for kind in ("release", "debug")]
    there = sorted((path for path in builds if path.is_file()), key=lambda path: path.stat().st_mtime)
    return str(there[-1]) if there else shutil.which("twoply")


BINARY = built()
needs_binary = unittest.skipUnless(
    BINARY and DIGITS.is_dir(), "no twoply binary: run `cargo build --release`, or set TWOPLY"
)


def idx(name: str) -> np.ndarray:
    """An IDX file of bytes."""
    data = (DIGITS / name).read_bytes()
    axes = data[3]
    shape = struct.unpack(f">{axes}I", data[4 : 4 + 4 * axes])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)
