"""Archives of packages that are already there are used, each version in a folder of its own."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from workbench.corpus.packages import fetch_npm


def archive(path: Path, text: str) -> None:
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("package/a.js")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text.encode()))


@pytest.mark.parametrize(
    ("name", "stem", "version"),
    [
        ("mirror@5", "mirror", "5.65.2"),
        ("mirror@6", "mirror", "6.0.1"),
        ("@scope/mirror", "scope-mirror", "1.0.0"),
    ],
)
def test_an_archive_is_found_by_name_and_version(tmp_path: Path, name: str, stem: str, version: str) -> None:
    for made in ("mirror-5.65.2", "mirror-6.0.1", "scope-mirror-1.0.0"):
        archive(tmp_path / f"{made}.tgz", made)
    package = fetch_npm(name, tmp_path)
    assert (package.name, package.version) == (stem, version)
    assert (package.root / "package" / "a.js").read_text() == f"{stem}-{version}"


def test_versions_of_a_package_do_not_share_a_folder(tmp_path: Path) -> None:
    for version in ("5.0.0", "6.0.0"):
        archive(tmp_path / f"mirror-{version}.tgz", version)
    roots = [fetch_npm(f"mirror@{version}", tmp_path).root for version in (5, 6)]
    assert [(root / "package" / "a.js").read_text() for root in roots] == ["5.0.0", "6.0.0"]
