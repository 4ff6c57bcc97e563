"""The files of a migration: all written beside the old ones first, then moved into their places."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from ...errors import DamagedError
from ..files import sync_folder
from ..manifest import describe_file, listed_files, write_manifest
from ..remote import Place, Remote, file_size, file_sizes, move_file, open_whole, remove_files
from ..schema import MANIFEST

STAGING = "migration"  # folder in a run


class Staging:
    """A folder in the run that holds new files until all of them exist; a later process finds the ones already there.

    Args:
        run: the run that is migrated.
        version: the schema version that the new files are of.
    """

    def __init__(self, run: Place, version: int) -> None:
        self._run, self._version = run, version

    def path(self, name: str) -> Path:
        """Where to write the new file for ``name``, atomically."""
        return self._run / self._staged(name)

    def has(self, name: str) -> bool:
        """Whether that file is written."""
        return file_size(self._run, self._staged(name)) is not None

    def describe(self, name: str) -> dict[str, Any]:
        """Size and checksum of a file just written, as a manifest lists them; a remote run's local copy is dropped."""
        staged = self._staged(name)
        if isinstance(self._run, Remote):
            if not (self._run.local / staged).exists():  # written before this process began
                return self._described_there(staged)
            described = describe_file(self._run / staged)
            self._run.drop([staged])
            return described
        return describe_file(self._run / staged)

    def _described_there(self, name: str) -> dict[str, Any]:
        with open_whole(self._run, name) as file:
            return {"bytes": file_size(self._run, name), "sha256": hashlib.file_digest(file, "sha256").hexdigest()}

    def seal(self, manifest: dict[str, Any]) -> None:
        """Declare all new files written; from here on the migration can only go forward."""
        write_manifest(self._run, manifest, self._staged(MANIFEST))

    def sealed(self) -> dict[str, Any] | None:
        """The new manifest, if all new files are written."""
        file = self._run / self._staged(MANIFEST)
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

    def commit(self, manifest: dict[str, Any]) -> None:
        """Move the new files into their places, then the manifest. Safe to repeat after a crash at any point.

        Raises:
            DamagedError: a new file is neither in the staging folder nor in its place.
        """
        sizes = file_sizes(self._run)
        for name, file in listed_files(manifest).items():
            staged = self._staged(name)
            if staged in sizes:
                move_file(self._run, staged, name)
            elif sizes.get(name) != file["bytes"]:
                raise DamagedError(
                    f"the migration of {self._run} cannot go on: {name} is missing or cut. Restore it from a copy."
                )
        if not isinstance(self._run, Remote):
            for folder in {(self._run / name).parent for name in listed_files(manifest)}:
                sync_folder(folder)
        write_manifest(self._run, manifest)

    def _staged(self, name: str) -> str:
        return f"{STAGING}/to-{self._version}/{name}"


def remove_staging(run: Place) -> None:
    """Remove what a finished migration leaves."""
    if isinstance(run, Remote):
        remove_files(run, [name for name in file_sizes(run) if name.startswith(STAGING + "/")])
    else:
        shutil.rmtree(run / STAGING, ignore_errors=True)
