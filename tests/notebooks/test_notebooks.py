"""Every notebook runs from top to bottom on the demo run, and is committed with what that shows."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
PLOT = "application/vnd.plotly.v1+json"


def _shown(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """The kinds of output of each code cell; warnings and progress, on standard error, are not committed."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    kept = [[output for output in cell.outputs if output.get("name") != "stderr"] for cell in cells]
    return [sorted({kind for one in some for kind in one.get("data", {one.output_type: ""})}) for some in kept]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, demo_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONET_RUN", str(demo_run))
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    committed = _shown(notebook)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    ).execute()
    assert _shown(notebook) == committed
    assert any(PLOT in kinds for kinds in committed)
