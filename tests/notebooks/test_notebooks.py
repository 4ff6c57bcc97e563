"""Every notebook runs from top to bottom on the demo run, and is committed with what that shows."""

from __future__ import annotations

import shutil
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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_shows_no_warning_of_the_machine_it_ran_on(path: Path) -> None:
    outputs = [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output.get("name") == "stderr"]


def test_unlearning_measures_the_random_control_where_nobody_has(
    bare_run_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a run without `monet mask`; the first four cells of code are enough."""
    monkeypatch.setenv("MONET_RUN", str(shutil.copytree(bare_run_path, tmp_path / "run")))
    notebook = nbformat.read(NOTEBOOKS[-1], as_version=4)
    wanted = ("LANGUAGE =", "label_edit(", "read_mask(")
    notebook.cells = [c for c in notebook.cells if c.cell_type == "code" and any(w in c.source for w in wanted)]
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    assert "random experts" in notebook.cells[-1].outputs[-1]["data"]["text/plain"]
