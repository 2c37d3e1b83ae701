"""Finding and calling the binary."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

from .errors import BinaryNotFound, ImportObstacles, TwoplyError

PathLike = str | os.PathLike[str]

#: How the binary begins each entry of a list of faults.
ITEM = "\n  - "


class Binary:
    """The ``twoply`` binary: as named, else by the environment variable TWOPLY, else on the PATH."""

    def __init__(self, path: PathLike | Binary | None = None):
        if isinstance(path, Binary):
            self.path: str = path.path
            return
        named = path or os.environ.get("TWOPLY")
        found = shutil.which(os.path.abspath(os.fspath(named))) if named else shutil.which("twoply")
        if found is None:
            where = f"{os.fspath(named)} is no executable file" if named else "there is no `twoply` on the PATH"
            raise BinaryNotFound(
                f"{where}; build it with `cargo build --release`, then pass binary=..., or set TWOPLY or PATH"
            )
        self.path = found

    def run(self, *arguments: str, home: PathLike | None = None) -> dict[str, Any]:
        """Runs a verb and returns its JSON result.

        Raises TwoplyError, or ImportObstacles where a model is refused. Warnings of the binary become warnings here.
        """
        command = [self.path, *arguments, "--format", "json", "--quiet"]
        if home is not None:
            command += ["--home", absolute(home)]
        piped = {"stdin": subprocess.DEVNULL, "capture_output": True}
        done = subprocess.run(command, encoding="utf-8", errors="replace", **piped)
        for line in done.stderr.splitlines():
            if line.startswith("warning: "):
                warnings.warn(line.removeprefix("warning: "), stacklevel=3)
        result = parsed(done.stdout)
        if done.returncode != 0:
            raise failure(done, result)
        if result is None:
            raise TwoplyError({"code": 1, "what": f"no JSON from {self.path}: {done.stdout[:200]!r}"})
        return result


def parsed(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is, if it is one."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def failure(done: subprocess.CompletedProcess[str], result: dict[str, Any] | None) -> TwoplyError:
    """The exception of a failed run: its JSON line on standard error, or what is there instead."""
    lines = [parsed(line) for line in done.stderr.splitlines() if line.startswith("{")]
    found = next((line for line in reversed(lines) if line and {"code", "what"} <= line.keys()), None)
    if found is None:
        # Wrong arguments end in a usage text; a signal leaves nothing.
        what = done.stderr.strip() or f"it ended with {done.returncode} and said nothing"
        return TwoplyError({"code": done.returncode, "what": what, "remedy": "see `twoply help`"}, result)
    head, *obstacles = found["what"].split(ITEM)
    if obstacles and "cannot be imported" in head:
        return ImportObstacles(found, obstacles)
    return TwoplyError(found, result)


def absolute(path: PathLike) -> str:
    """A path that no option can be mistaken for."""
    return os.path.abspath(os.fspath(path))


def flags(options: dict[str, Any]) -> list[str]:
    """Options as flags: ``None`` and ``False`` are left out, ``True`` is the flag alone, paths become absolute, lists give a flag each."""
    out: list[str] = []
    for name, value in options.items():
        if value is None or value is False:
            continue
        if isinstance(value, (list, tuple)):
            for one in value:
                out += flags({name: one})
            continue
        text = absolute(value) if isinstance(value, Path) else str(value)
        flag = "--" + name.replace("_", "-")
        # One word, so that a negative number is no option.
        out.append(flag if value is True else f"{flag}={text}")
    return out
