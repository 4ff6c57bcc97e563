"""A missing optional package is answered with the line that installs it, a broken one with what is wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from workbench.errors import UnsupportedError
from workbench.extras import installed, require


def test_require_returns_the_module() -> None:
    assert require("json", "map", "JSON") is json


def test_require_names_the_command_that_installs_a_missing_package() -> None:
    assert not installed("no_such_package")
    with pytest.raises(UnsupportedError, match=r"UMAP is not installed; run `.*pip install .*\[map\]'`"):
        require("no_such_package", "map", "UMAP")


def test_require_names_what_a_broken_package_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_installed.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UnsupportedError, match="importing it failed: No module named 'no_such_package'"):
        require("half_installed", "map", "UMAP")
    assert "half_installed" not in sys.modules
