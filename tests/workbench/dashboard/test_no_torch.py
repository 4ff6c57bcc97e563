"""Pages and the API hold no tensor: what runs a model, or says where it runs, is in the analyses."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import workbench

SCREENS = [
    path for name in ("api", "dashboard") for path in sorted((Path(workbench.__file__).parent / name).rglob("*.py"))
]


def _imported(path: Path) -> set[str]:
    """Names of all packages that a module imports, also inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).partition(".")[0])
    return found


@pytest.mark.parametrize("path", SCREENS, ids=[str(path.relative_to(path.parents[2])) for path in SCREENS])
def test_a_screen_takes_no_torch(path: Path) -> None:
    assert not _imported(path) & {"torch", "cuda_ext"}


def test_the_search_finds_imports(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("def f():\n    import torch.nn\n    from cuda_ext.routing import Routing\n")
    assert _imported(tmp_path / "one.py") == {"torch", "cuda_ext"}
