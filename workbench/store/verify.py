"""Checking a run: its files against the manifest, and what they say against each other."""

from __future__ import annotations

import hashlib
from collections.abc import Container
from pathlib import Path
from typing import Any

from ..errors import WorkbenchError
from ..progress import Progress, job, silent
from .checks.consistency import inconsistencies
from .checks.manifest import check_sense, check_shape
from .checks.problem import about
from .manifest import is_changed, listed_files, read_manifest
from .migrations.staging import STAGING
from .remote import Place, file_size, file_sizes, open_whole, place
from .schema import MANIFEST, TEMPORARY

# Folders that belong to the export alone.
FOLDERS = ("tokens", "documents", "routing", "index", "experts", "examples", "intervals", "tokenizer", "state")
MEGA = 10**6


def verify_run(path: str | Path, *, progress: bool = False) -> list[str]:
    """Check a run and return its problems, one sentence each; an empty list means it is sound and complete.

    Sizes and checksums of all files, and of the manifest, reveal whatever changed since the run was written. Then the
    contents are compared with each other, which finds damage even if checksums were made to fit: tokens are computed
    from texts again, statistics from the routing again (see ``inconsistencies``).

    A run contains neither its model nor its corpus, so it cannot be checked against these. Some things only a checksum
    protects: sources and scores of documents, ids where the corpus gave ids, unused tokens of the tokenizer, settings
    that make no difference, what half precision hides, and how documents without stored routing contribute to each
    expert. Results of analyses are not checked.

    Args:
        path: folder of the run, or its URL; a remote run is read about twice, file by file, and not kept here.
        progress: show progress bars.

    Examples:
        >>> from workbench import verify_run
        >>> verify_run("runs/demo")
        []
    """
    where = place(path)
    try:
        manifest = read_manifest(where)
    except WorkbenchError as error:
        return [str(error)]
    problems: list[str] = []
    complete = manifest.get("state") == "complete"
    with about(MANIFEST, problems):
        check_shape(manifest)
        if complete:
            check_sense(manifest)
    if problems:
        return problems
    if is_changed(manifest):
        problems.append(f"{MANIFEST} has changed since it was written: its checksum differs.")
    if not complete:
        problems.append(f"{where} is half-written; continue its export with --resume.")
    files = listed_files(manifest)
    with job("checksums", sum(file["bytes"] for file in files.values()) // MEGA, "MB", progress) as advance:
        damaged = damaged_files(where, files, advance=advance)
    for left in sorted(file_sizes(where)):
        name = left if left.isprintable() else repr(left)
        if left.endswith(TEMPORARY):
            problems.append(f"{name} was left by an interrupted export.")
        elif left.startswith(STAGING + "/"):
            problems.append(f"{name} was left by an interrupted migration; `monet migrate` removes it.")
        elif complete and left not in files and left.partition("/")[0] in FOLDERS:
            problems.append(f"{name} does not belong to this run.")
    problems += damaged
    if complete and not damaged:
        tokens = manifest["parts"][-1]["rows"][1] * len(manifest["model"]["groups"])
        with job("recount", tokens, "tokens", progress) as advance:
            problems += inconsistencies(where, manifest, advance)
    return problems


def damaged_files(
    path: Place,
    files: dict[str, dict[str, Any]],
    read: Container[str] | None = None,
    advance: Progress = silent,
) -> list[str]:
    """One sentence for each file in a manifest's list that is missing, truncated or changed.

    Args:
        path: of the run.
        files: as the manifest lists them.
        read: names of the files to read; the others are checked by size. All by default.
        advance: called with the megabytes of each file checked.
    """
    problems, sizes = [], file_sizes(path)
    for name, expected in files.items():
        size = sizes[name] if name in sizes else file_size(path, name)  # a folder may be a link to elsewhere
        if size is None:
            problems.append(f"{name} is missing.")
        elif size != expected["bytes"]:
            problems.append(f"{name} has {size:,} bytes; {expected['bytes']:,} were written.")
        elif read is None or name in read:
            try:
                changed = _checksum(path, name) != expected["sha256"]
            except OSError as error:
                problems.append(f"{name} cannot be read: {error}.")
            else:
                if changed:
                    problems.append(f"{name} has changed since it was written: its checksum differs.")
        advance(expected["bytes"] / MEGA)
    return problems


def _checksum(path: Place, name: str) -> str:
    with open_whole(path, name) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
