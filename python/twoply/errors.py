"""What can go wrong: every failure of the binary keeps its exit code, cause and remedy."""

from __future__ import annotations

from typing import Any


class TwoplyError(Exception):
    """A failure of the ``twoply`` binary.

    ``code`` is its exit code (the table in the README of the project), ``what`` the cause, ``remedy`` what to do,
    ``phase``, ``layer`` and ``peer`` the place where there is one, and ``result`` what the verb printed before it
    failed: ``check`` prints its whole report.
    """

    def __init__(self, failure: dict[str, Any], result: dict[str, Any] | None = None):
        self.code: int = failure["code"]
        self.what: str = failure["what"]
        self.remedy: str = failure.get("remedy", "")
        self.phase: str | None = failure.get("phase")
        self.layer: str | None = failure.get("layer")
        self.peer: str | None = failure.get("peer")
        self.result = result
        super().__init__(f"{self.what}\n  remedy: {self.remedy}\n  exit {self.code}")


class ImportObstacles(TwoplyError):
    """A model that cannot be imported as it is; ``obstacles`` lists everything that stands in the way.

    ``details`` are the same as dictionaries: node, op, times, reason, remedy.
    """

    def __init__(self, failure: dict[str, Any], obstacles: list[str]):
        super().__init__(failure)
        self.obstacles = obstacles
        self.details: list[dict[str, Any]] = failure.get("obstacles", [])


class BinaryNotFound(FileNotFoundError):
    """There is no ``twoply`` binary: build it with ``cargo build --release`` and name it."""
