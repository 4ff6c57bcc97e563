"""The manifest of a run: what it was made from, which parts are written, and whether it is complete."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..errors import DamagedError, NotFoundError, UnsupportedError, shell_command
from .files import sha256, write_json
from .remote import Place
from .schema import MANIFEST, SCHEMA_VERSION

CHECKSUM = "checksum"  # entry of a manifest: of everything else in it
MIGRATED_FROM = "migrated_from"  # entry of a migrated run's manifest: the schema version it was written with
RESTORE = "restore this file from a copy of the run, or export the run again"


def read_manifest(path: Place) -> dict[str, Any]:
    """The manifest of the run at ``path``.

    Raises:
        NotFoundError: there is no run at ``path``.
        DamagedError: its manifest cannot be read.
        UnsupportedError: the run has another schema version; an older one can be migrated.
    """
    manifest = read_any_manifest(path)
    if manifest["schema"] < SCHEMA_VERSION:
        check_migratable(path, manifest)
        raise UnsupportedError(
            f"the run {path} has schema version {manifest['schema']}, and this workbench reads {SCHEMA_VERSION}; bring "
            f"it up to date with `{shell_command('migrate', path)}`, which does not run the model again."
        )
    return manifest


def check_migratable(path: Place, manifest: dict[str, Any]) -> None:
    """Raise UnsupportedError if a run of an older schema is half-written: only complete runs can be migrated."""
    if manifest.get("state") != "complete":
        raise UnsupportedError(
            f"the run {path} has schema version {manifest['schema']} and its export is unfinished; finish it with the "
            "version of the workbench that began it and then migrate it, or export to another folder."
        )


def read_any_manifest(path: Place) -> dict[str, Any]:
    """The manifest of a run of this schema version or an older one.

    Raises:
        NotFoundError: there is no run at ``path``.
        DamagedError: its manifest cannot be read.
        UnsupportedError: the run has a newer schema version.
    """
    file = path / MANIFEST
    if not path.is_dir():
        raise NotFoundError(
            f"there is no run at {path}; make one with `{shell_command('export', 'MODEL', 'CORPUS', path)}`."
        )
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFoundError(
            f"{path} is not a run: it has no {MANIFEST}. Name the folder that `monet export` wrote."
        ) from None
    except (ValueError, OSError, RecursionError) as error:
        raise DamagedError(f"{file} is damaged ({error}); {RESTORE}.") from error
    version = manifest.get("schema") if isinstance(manifest, dict) else None
    if type(version) is not int or version < 1:
        raise DamagedError(f"{file} is damaged: it gives no schema version; {RESTORE}.")
    if version > SCHEMA_VERSION:
        raise UnsupportedError(
            f"the run {path} has schema version {version}, and this workbench reads {SCHEMA_VERSION}; update the "
            "workbench with `pip install -U monet-workbench`."
        )
    return manifest


def write_manifest(path: Place, manifest: dict[str, Any], name: str = MANIFEST) -> None:
    """Write the manifest of the run at ``path``, with a checksum of everything else in it."""
    manifest = {entry: value for entry, value in manifest.items() if entry != CHECKSUM}
    write_json(path / name, manifest | {CHECKSUM: _checksum(manifest)})


def is_changed(manifest: dict[str, Any]) -> bool:
    """Whether a manifest has changed since it was written; False for one from before manifests had checksums."""
    return manifest.get(CHECKSUM) not in (None, _checksum(manifest))


def _checksum(manifest: dict[str, Any]) -> str:
    content = {name: value for name, value in manifest.items() if name != CHECKSUM}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def describe_file(path: Path) -> dict[str, Any]:
    """Size and checksum of a file, as the manifest lists them."""
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def listed_files(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every file that the manifest lists: path inside the run -> bytes and sha256."""
    files = dict(manifest["files"])
    for part in manifest["parts"]:
        files |= part["files"]
    return files
