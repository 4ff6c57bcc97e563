"""`monet migrate`: bring a run that an older workbench wrote up to the present schema, without the model."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ..errors import DamagedError
from ..progress import job
from .lock import locked
from .manifest import check_migratable, listed_files, read_any_manifest
from .migrations import load_step
from .migrations.staging import Staging, remove_staging
from .remote import Place, Remote, place
from .schema import SCHEMA_VERSION
from .verify import MEGA, damaged_files


def migrate_run(path: str | Path, *, progress: bool = False) -> int:
    """Bring a run of an older schema version up to date, in place, and return the version it had.

    Neither the model nor the corpus is read. All new files are written beside the old ones first and moved into their
    places at the end, the manifest last, so a run whose migration was interrupted still counts as one of the old
    schema; calling this again goes on where it stopped. A run of the present schema is left as it is. Memory stays
    within what the export of one group took. docs/run-format.md says what changed between versions, and what a migrated
    run cannot have as exactly as a fresh one.

    Args:
        path: folder of the run, or its URL.
        progress: show progress bars.

    Raises:
        NotFoundError: there is no run at ``path``.
        DamagedError: the run is not as it was written; nothing is changed then.
        UnsupportedError: the run is newer than this workbench, its export is unfinished, or it is being
            written by another process.

    Examples:
        >>> from workbench.store import migrate_run
        >>> migrate_run("runs/demo")  # written by this version: nothing to do
        3
    """
    where = place(path)
    read_any_manifest(where)  # before a folder is made to lock
    with nullcontext() if isinstance(where, Remote) else locked(where):
        manifest = read_any_manifest(where)
        version = int(manifest["schema"])
        for number in range(version, SCHEMA_VERSION):
            manifest = _take_step(where, manifest, number, progress)
        remove_staging(where)
    return version


def _take_step(path: Place, manifest: dict[str, Any], version: int, progress: bool) -> dict[str, Any]:
    """Bring a run from one schema version to the next; returns its new manifest."""
    staging = Staging(path, version + 1)
    migrated = staging.sealed()
    if migrated is None:
        check_migratable(path, manifest)
        _check_undamaged(path, manifest, progress)
        tokens = manifest["parts"][-1]["rows"][1] * len(manifest["model"]["groups"])
        with job(f"migrate to schema {version + 1}", tokens, "tokens", progress) as advance:
            migrated = load_step(version)(path, manifest, staging, advance)
        staging.seal(migrated)
    staging.commit(migrated)
    return migrated


def _check_undamaged(path: Place, manifest: dict[str, Any], progress: bool) -> None:
    """Raise DamagedError unless all files are as they were written: new checksums must not cover up old damage."""
    files = listed_files(manifest)
    with job("checksums", sum(file["bytes"] for file in files.values()) // MEGA, "MB", progress) as advance:
        problems = damaged_files(path, files, advance=advance)
    if problems:
        raise DamagedError(f"the run {path} cannot be migrated: {' '.join(problems)} Restore it from a copy first.")
