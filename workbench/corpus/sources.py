"""Source files of public packages: of Debian, npm and Python's standard library, with label, origin and licence."""

from __future__ import annotations

import platform
import re
import sysconfig
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .licences import FileLicences, normalise, npm_licence
from .packages import Package

_SKIPPED_FOLDERS = re.compile(
    r"(^|/)(tests?|testdata|site-packages|i18n|libs|preprocessed|entityCode|__pycache__)(/|$)"
)


@dataclass(frozen=True)
class SourceFile:
    """One source file: its label, raw bytes, origin and licence.

    Attributes:
        prose: whether its lines are paragraphs, to which limits on the length of lines do not apply.
        split: ``train`` or ``heldout`` if all of its project is in one of them; by its path otherwise.
    """

    label: str
    source: str
    licence: str
    raw: bytes
    prose: bool = False
    split: str | None = None


def matching(root: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    """The files below a folder whose relative path matches from its start, by path; tests and data left out."""
    wanted = re.compile(pattern)
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if wanted.match(name) and not _SKIPPED_FOLDERS.search(name) and path.is_file() and not path.is_symlink():
            yield name, path


def debian_files(label: str, package: Package, pattern: str, licence: str) -> Iterator[SourceFile]:
    """Files of a Debian package; ``licence`` is that of files of which its copyright file says nothing."""
    notice = package.root / "usr/share/doc" / package.name / "copyright"
    licences = FileLicences.read(notice.read_text(encoding="utf-8", errors="replace") if notice.exists() else "")
    for name, path in matching(package.root, pattern):
        stated = licences.of(name) or licence
        yield SourceFile(label, f"{package.name} {package.version}: {name}", normalise(stated), path.read_bytes())


def npm_files(label: str, package: Package, pattern: str, licence: str) -> Iterator[SourceFile]:
    """Files of an npm package; ``licence`` is theirs where its package.json names none."""
    stated = npm_licence(package.root) or licence
    for name, path in matching(package.root, pattern):
        yield SourceFile(label, f"{package.name} {package.version}: {name}", stated, path.read_bytes())


def python_files() -> Iterator[SourceFile]:
    """Python's standard library, as this interpreter has it."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for name, path in matching(root, r".*\.py$"):
        if not name.startswith(("lib2to3", "idlelib/idle_test", "ensurepip", "encodings")):
            source = f"Python {platform.python_version()}: {name}"
            yield SourceFile("python", source, "PSF-2.0", path.read_bytes())


def java_files(package: Package, pattern: str, licence: str) -> Iterator[SourceFile]:
    """The sources in the ``src.zip`` of a Debian package."""
    wanted = re.compile(pattern)
    with zipfile.ZipFile(next(package.root.rglob("src.zip"))) as sources:
        for name in sorted(sources.namelist()):
            if wanted.match(name):
                yield SourceFile("java", f"{package.name} {package.version}: {name}", licence, sources.read(name))
