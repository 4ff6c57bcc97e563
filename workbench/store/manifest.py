"""The manifest of a run: what it was made from, which parts are written, and whether it is complete."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..errors import WorkbenchError
from .files import sha256, write_json
from .remote import Place
from .schema import MANIFEST, SCHEMA_VERSION

CHECKSUM = "checksum"  # entry of a manifest


def read_manifest(path: Place) -> dict[str, Any]:
    """The manifest of the run at ``path``.

    Raises:
        WorkbenchError: there is no run, its manifest is damaged, or it is of another schema version.
    """
    file = path / MANIFEST
    if not path.is_dir():
        raise WorkbenchError(f"there is no run at {path}; make one with `monet export MODEL CORPUS {path}`.")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WorkbenchError(f"{path} is not a run: it has no {MANIFEST}.") from None
    except (ValueError, OSError, RecursionError) as error:
        raise WorkbenchError(f"{file} is damaged ({error}); export the run again.") from error
    version = manifest.get("schema") if isinstance(manifest, dict) else None
    if version != SCHEMA_VERSION:
        raise WorkbenchError(
            f"the run {path} has schema version {version}, and this program reads {SCHEMA_VERSION}; export it again."
        )
    return manifest


def write_manifest(path: Place, manifest: dict[str, Any]) -> None:
    """Writes the manifest of the run at ``path``, with a checksum of all else in it."""
    write_json(path / MANIFEST, manifest | {CHECKSUM: _checksum(manifest)})


def is_changed(manifest: dict[str, Any]) -> bool:
    """Whether a manifest is not as it was written; one written before manifests had checksums cannot tell."""
    return manifest.get(CHECKSUM) not in (None, _checksum(manifest))


def _checksum(manifest: dict[str, Any]) -> str:
    content = {name: value for name, value in manifest.items() if name != CHECKSUM}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def describe_file(path: Path) -> dict[str, Any]:
    """Size and checksum of a file, as the manifest lists them."""
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def listed_files(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every file the manifest answers for: path inside the run -> bytes and sha256."""
    files = dict(manifest["files"])
    for part in manifest["parts"]:
        files |= part["files"]
    return files
