"""The digits example and the binary that was built beside it."""

from __future__ import annotations

import json
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


def initializers(path: Path) -> dict[str, list[int]]:
    """Names and shapes of an ONNX file's initializers, whose dimensions are not packed."""
    (graph,) = [value for number, value in fields(path.read_bytes()) if number == 7]
    tensors = [fields(value) for number, value in fields(graph) if number == 5]
    name = {id(t): next(value.decode() for number, value in t if number == 8) for t in tensors}
    return {name[id(t)]: [value for number, value in t if number == 1] for t in tensors}


def fields(data: bytes) -> list[tuple[int, int | bytes]]:
    """Numbers and values of a protobuf message's fields; messages and texts are bytes."""
    found, at = [], 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
            if byte < 128:
                return value

    while at < len(data):
        key = number()
        if key & 7 == 0:
            found.append((key >> 3, number()))
            continue
        length = number() if key & 7 == 2 else {1: 8, 5: 4}[key & 7]
        found.append((key >> 3, data[at : at + length]))
        at += length
    return found


def tensors(path: Path) -> dict[str, list[int]]:
    """Names and shapes of a safetensors file, by its header."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    return {name: tensor["shape"] for name, tensor in header.items() if name != "__metadata__"}


def idx(name: str) -> np.ndarray:
    """An IDX file of bytes."""
    data = (DIGITS / name).read_bytes()
    axes = data[3]
    shape = struct.unpack(f">{axes}I", data[4 : 4 + 4 * axes])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)
