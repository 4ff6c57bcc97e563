"""Holding a run against its manifest, every file there, whole and unchanged; and its files against each other."""

from __future__ import annotations

import hashlib
from collections.abc import Container
from pathlib import Path
from typing import Any

from ..errors import WorkbenchError
from .content import inconsistencies
from .files import TEMPORARY
from .manifest import listed_files, read_manifest
from .remote import Place, file_sizes, open_whole, place
from .schema import MANIFEST

FOLDERS = ("tokens", "documents", "routing", "index", "experts", "examples", "intervals")  # an export's, no one else's


def verify_run(path: str | Path) -> list[str]:
    """Problems of the run at ``path``, one sentence each; an empty list says that it is sound and complete.

    Args:
        path: folder of the run, or its URL; a remote run is read once, file by file, and not kept.
    """
    where = place(path)
    try:
        manifest = read_manifest(where)
    except WorkbenchError as error:
        return [str(error)]
    try:
        files, complete = listed_files(manifest), manifest["state"] == "complete"
        problems = [] if complete else [f"{where} is half-written; continue its export with --resume."]
        problems += damaged_files(where, files)
    except (KeyError, TypeError, AttributeError) as error:
        return [f"{where / MANIFEST} is damaged: it lacks what belongs in it ({error!r})."]
    for left in sorted(file_sizes(where)):
        if left.endswith(TEMPORARY):
            problems.append(f"{left} was left by an interrupted export.")
        elif complete and left.endswith(".parquet") and left not in files and left.partition("/")[0] in FOLDERS:
            problems.append(f"{left} is no file of this run.")
    return problems or inconsistencies(where, manifest)


def damaged_files(path: Place, files: dict[str, dict[str, Any]], read: Container[str] | None = None) -> list[str]:
    """A sentence for each file of a manifest's list that is missing, cut or changed.

    Args:
        path: of the run.
        files: as the manifest lists them.
        read: names of those whose content is looked at, by default all; of the others, the size.
    """
    problems, sizes = [], file_sizes(path)
    for name, expected in files.items():
        size = sizes.get(name)
        if size is None:
            problems.append(f"{name} is missing.")
        elif size != expected["bytes"]:
            problems.append(f"{name} has {size:,} bytes; {expected['bytes']:,} were written.")
        elif (read is None or name in read) and _checksum(path, name) != expected["sha256"]:
            problems.append(f"{name} has changed since it was written: its checksum differs.")
    return problems


def _checksum(path: Place, name: str) -> str:
    with open_whole(path, name) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
