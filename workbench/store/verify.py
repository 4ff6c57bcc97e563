"""Holding a run against its manifest: every file there, whole and unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import WorkbenchError
from .files import TEMPORARY, sha256
from .manifest import listed_files, read_manifest


def verify_run(path: str | Path) -> list[str]:
    """Problems of the run at ``path``, one sentence each; an empty list says that it is sound and complete."""
    path = Path(path)
    try:
        manifest = read_manifest(path)
    except WorkbenchError as error:
        return [str(error)]
    problems = []
    if manifest["state"] != "complete":
        problems.append(f"{path} is half-written; continue its export with --resume.")
    problems += damaged_files(path, listed_files(manifest))
    for left in sorted(path.rglob(f"*{TEMPORARY}")):
        problems.append(f"{left.relative_to(path)} was left by an interrupted export.")
    return problems


def damaged_files(path: Path, files: dict[str, dict[str, Any]]) -> list[str]:
    """A sentence for each file of a manifest's list that is missing, cut or changed."""
    problems = []
    for name, expected in files.items():
        file = path / name
        if not file.is_file():
            problems.append(f"{name} is missing.")
        elif file.stat().st_size != expected["bytes"]:
            problems.append(f"{name} has {file.stat().st_size:,} bytes; {expected['bytes']:,} were written.")
        elif sha256(file) != expected["sha256"]:
            problems.append(f"{name} has changed since it was written: its checksum differs.")
    return problems
